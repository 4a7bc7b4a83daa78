"""What is counted in predictions beside scores: confusion matrices, and how wrong a run is on each example.

It is kept in the reader's cache as intervals are (``Evidence``), whose keys cover the code of this folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flue_bench.errors import RecordError
from flue_bench.kinds.kind import kind_of
from flue_bench.record import RunRecord
from flue_bench.results.evidence import Evidence

CLASSES = 200
"""The largest number of labels whose confusion matrix is shown."""


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: gold in rows, predicted in columns, summed over seeds."""

    labels: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class Errors:
    """How wrong a run is on each example."""

    ids: str
    """Hash of the examples' ids, in order."""
    wrong: str
    """The bits that an example has, then base 64: how wrong it is, up to 255; 0 where it is right."""


@dataclass(frozen=True)
class Ids:
    """The ids of the examples of a test set, in order."""

    names: list[str]


def confusion(records: Sequence[RunRecord], evidence: Evidence) -> Confusion | None:
    """Return the confusion matrix summed over the seeds of a setting; None for a kind without classes.

    Raises:
        RecordError: there are too many labels; predictions are missing, damaged, or cannot be counted; or no installed
            package provides the kind.
    """
    kind = kind_of(records[0])
    if len(records[0].labels) > CLASSES:
        raise RecordError(f"{len(records[0].labels):,} labels; a matrix is shown for up to {CLASSES}")

    def compute() -> Confusion:
        labels: Sequence[str] = []
        counts = np.zeros((1, 1), np.int64)
        for record in records:
            try:
                found = kind.confusion(evidence.predictions(record), record)
            except (IndexError, TypeError, ValueError) as error:  # labels that the record does not have
                raise _uncountable(record, error) from error
            if found is None:
                return Confusion([], [])
            labels, counts = found[0], counts + found[1]
        return Confusion(list(labels), counts.tolist())

    key = [kind.name, records[0].labels, [record.predictions.sha256 for record in records]]
    kept = evidence.kept(key, Confusion, compute, records)
    return kept if kept.labels else None


def errors(record: RunRecord, evidence: Evidence) -> Errors:
    """Return how wrong a run is on each example, rounded up to a whole number.

    Raises:
        RecordError: as for ``confusion``.
    """
    kind = kind_of(record)

    def compute() -> Errors:
        table = evidence.predictions(record)
        try:
            wrong = kind.errors(table, record)
        except (IndexError, TypeError, ValueError) as error:
            raise _uncountable(record, error) from error
        levels = np.clip(np.ceil(wrong), 0, 255).astype(np.uint8)
        bits = next(bits for bits in (1, 4, 8) if levels.max(initial=0) < 2**bits)
        packed = np.packbits(np.unpackbits(levels[:, None], axis=1)[:, 8 - bits :]).tobytes()
        names = json.dumps(table["id"].to_pylist()).encode()
        return Errors(hashlib.sha256(names).hexdigest(), f"{bits}{base64.b64encode(packed).decode()}")

    declared = [record.labels, record.scheme, dict(record.options)]
    return evidence.kept([kind.name, declared, record.predictions.sha256], Errors, compute, [record])


def ids(record: RunRecord, of: str, evidence: Evidence) -> list[str]:
    """Return the ids of a record's examples, in order.

    Args:
        record: any record of the test set.
        of: ``Errors.ids``.
        evidence: the source of its predictions.

    Raises:
        RecordError: its predictions are missing or damaged.
    """
    return evidence.kept([of], Ids, lambda: Ids(evidence.predictions(record)["id"].to_pylist()), [record]).names


def _uncountable(record: RunRecord, error: Exception) -> RecordError:
    return RecordError(f"{record.predictions.file}: cannot be counted: {error}. See flue-bench verify.")
