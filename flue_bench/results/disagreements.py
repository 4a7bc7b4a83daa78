"""The examples on which two models disagree, the surest disagreements first: from their predictions, without a text.

Each model has one run or several. The share of the pairs of runs, one of each model, whose answers differ says how sure
a disagreement is; how far answers are apart, and how wrong each is, the kind says (``Kind.apart``, ``Kind.errors``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flue_bench.errors import RecordError
from flue_bench.kinds.counts import Floats
from flue_bench.kinds.kind import Kind, kind_of
from flue_bench.record import RunRecord
from flue_bench.results.evidence import Evidence, attempted
from flue_bench.task import Example

if TYPE_CHECKING:
    import pyarrow

Nearer = Literal["A", "B"]
NEARER: dict[str, Nearer | None] = {"A": "A", "B": "B", "neither": None}
Parts = tuple[str, ...]
"""An answer in words: a label, several, the entities of a sentence; empty for no answer."""


@dataclass(frozen=True)
class Run:
    """One run behind a side."""

    model: str
    seed: int | None
    """None for a model that was scored as it is."""


@dataclass(frozen=True)
class Disagreement:
    """An example on which two models disagree; of each answer, the parts that not all of the answers here have."""

    id: str
    nearer: Nearer | None
    """The model whose answers are less wrong, on average over its runs; None where both are as wrong."""
    share: float
    """Of the pairs of runs, one of each model, those whose answers differ."""
    apart: float
    """How far the answers are from each other, on average over those pairs, in the unit of the errors."""
    error_a: float
    """How wrong A's answers are, on average over its runs: 0 where all are right."""
    error_b: float
    gold: Parts
    a: tuple[Parts, ...]
    """One a run."""
    b: tuple[Parts, ...]


@dataclass(frozen=True)
class OnTask:
    """Where two models disagree on one task."""

    task: str
    """The task, with what tells its records from others of it."""
    examples: int
    always: dict[str, int]
    """Whose answers are nearer (``A``, ``B``, ``neither``) → examples on which every pair of runs disagrees."""
    sometimes: dict[str, int]
    """The same of examples on which some pairs of runs disagree and others do not."""
    runs_a: tuple[Run, ...]
    runs_b: tuple[Run, ...]
    listed: tuple[Disagreement, ...]
    """The surest disagreements: those nearer to A, to B, and neither, each at most as many as were asked for."""
    record: RunRecord = field(compare=False, repr=False)
    """Any of the records: it names the test set."""
    rows: dict[str, list[dict[str, Any]]] = field(compare=False, repr=False)
    """Id of what is listed → the predictions of each run, A's first; for ``quoted``."""

    @property
    def disagreed(self) -> int:
        """On how many examples any pair of runs disagrees."""
        return sum(self.always.values()) + sum(self.sometimes.values())

    def quoted(self, found: Disagreement, example: Example) -> Disagreement:
        """Return what is listed with its answers quoted from the example's texts."""
        return _told(found, self.rows[found.id], self.record, len(self.runs_a), example)


def on_task(
    title: str, a: Sequence[RunRecord], b: Sequence[RunRecord], evidence: Evidence, limit: int | None = None
) -> OnTask:
    """Return where the runs of two models on one task disagree.

    Args:
        title: what the task is called.
        a: the records of A, at least one.
        b: those of B, on the same rows.
        evidence: the source of their predictions.
        limit: list at most so many examples that are nearer to A, to B and to neither; None: all. Counts are whole.

    Raises:
        RecordError: predictions are missing or damaged, or of different test sets.
    """
    return attempted(lambda: _on_task(title, a, b, evidence, limit))


def _on_task(
    title: str, a: Sequence[RunRecord], b: Sequence[RunRecord], evidence: Evidence, limit: int | None
) -> OnTask:
    record, kind = a[0], kind_of(a[0])
    tables = _tables([*a, *b], kind, evidence)
    ours, theirs = tables[: len(a)], tables[len(a) :]
    error_a, error_b = (np.mean([kind.errors(table, record) for table in of], axis=0) for of in (ours, theirs))
    pairs = np.stack([kind.apart(one, other, record) for one in ours for other in theirs])  # (pairs, examples)
    share, apart = (pairs > 0).mean(axis=0), pairs.mean(axis=0)
    nearer = np.where(np.isclose(error_a, error_b), "neither", np.where(error_a < error_b, "A", "B"))
    ids = tables[0]["id"].to_pylist()
    # The first key is the last; equals stay in the order of their ids.
    order = np.lexsort((-_sure(kind, ours, theirs), -np.abs(error_a - error_b), -apart, -share))
    groups = {name: order[(nearer[order] == name) & (share[order] > 0)] for name in ("A", "B", "neither")}
    rows: dict[str, list[dict[str, Any]]] = {}
    listed = []
    for name, of_group in groups.items():
        shown = of_group[:limit]
        of_runs = zip(*(table.take(shown).to_pylist() for table in tables), strict=True)
        for at, of_row in zip(shown.tolist(), of_runs, strict=True):
            rows[ids[at]] = list(of_row)
            bare = Disagreement(
                id=ids[at],
                nearer=NEARER[name],
                share=float(share[at]),
                apart=float(apart[at]),
                error_a=float(error_a[at]),
                error_b=float(error_b[at]),
                gold=(),
                a=(),
                b=(),
            )
            listed.append(_told(bare, rows[ids[at]], record, len(a), None))
    return OnTask(
        task=title,
        examples=len(ids),
        always={name: int((share[of] == 1).sum()) for name, of in groups.items()},
        sometimes={name: int((share[of] < 1).sum()) for name, of in groups.items()},
        runs_a=tuple(Run(each.cell.model.name, each.cell.seed) for each in a),
        runs_b=tuple(Run(each.cell.model.name, each.cell.seed) for each in b),
        listed=tuple(listed),
        record=record,
        rows=rows,
    )


def _tables(records: Sequence[RunRecord], kind: Kind[Any], evidence: Evidence) -> list[pyarrow.Table]:
    """Return the predictions of records, sorted by id, which are those of one test set."""
    tables = [evidence.predictions(record, kind.told).sort_by("id") for record in records]
    for record, table in zip(records, tables, strict=True):
        if any(table[name].to_pylist() != tables[0][name].to_pylist() for name in ("id", "gold")):
            raise RecordError(
                f"{record.predictions.file}: not the test set of {records[0].predictions.file}, "
                "though both name the same data; run one of them again."
            )
    return tables


def _sure(kind: Kind[Any], ours: Sequence[pyarrow.Table], theirs: Sequence[pyarrow.Table]) -> Floats:
    """Return the confidence of the less confident model, (examples,); 0 where predictions have none."""

    def mean(tables: Sequence[pyarrow.Table]) -> Floats:
        each = [kind.confidence(table) for table in tables]
        found: Floats = np.mean([np.zeros(len(tables[0])) if one is None else one for one in each], axis=0)
        return found

    return np.minimum(mean(ours), mean(theirs))


def _told(
    found: Disagreement, rows: Sequence[dict[str, Any]], record: RunRecord, runs_a: int, example: Example | None
) -> Disagreement:
    """Return a disagreement with its answers in words, from the predictions of each run."""
    answers = [kind_of(record).answers(row, record, example) for row in rows]
    every = [answers[0][0], *(predicted for _, predicted in answers)]
    shared = set(every[0]).intersection(*every[1:])
    gold, *predicted = (tuple(part for part in parts if part not in shared) for parts in every)
    return replace(found, gold=gold, a=tuple(predicted[:runs_a]), b=tuple(predicted[runs_a:]))
