"""The predictions beside records, and what was computed from them: whoever asks again computes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter

from flue_bench.errors import FlueBenchError, RecordError, cause
from flue_bench.kinds.kind import kind_of
from flue_bench.record import RunRecord
from flue_bench.results import code
from flue_bench.results.kept import Kept
from flue_bench.results.store import read_predictions

if TYPE_CHECKING:
    import pyarrow

_Value = TypeVar("_Value")  # a dataclass


@dataclass(frozen=True)
class Evidence:
    """The predictions stored beside records, and the intervals already computed from them.

    Intervals are kept in the reader's own cache folder by the hash of everything that determines them: the SHA-256 of
    the predictions, how they are scored, the metric, and the version of the code. No results folder can put one
    there that does not follow from its predictions.
    """

    folders: tuple[Path, ...]
    """Results folders."""
    _files: dict[str, list[tuple[Path, Path]]] = field(default_factory=dict, compare=False, repr=False)
    _names: set[str] = field(default_factory=set, compare=False, repr=False)
    _kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    def predictions(self, record: RunRecord, more: Sequence[str] = ()) -> pyarrow.Table:
        """Return what is scored of the record's test predictions, and ``more`` columns, from any of the folders.

        Raises:
            RecordError: the file does not exist, is not the one that the record was written with, or lacks a column;
                or no installed package provides the record's kind of task.
        """
        columns = ["id", "group", *kind_of(record).scored, *more]
        name, problem = record.predictions.file, RecordError("")
        for path, folder in self._files_of(record):
            try:
                table = read_predictions(record, path.parent, columns, folder)
            except RecordError as error:
                problem = error
                continue
            if lacking := sorted(set(columns) - set(table.column_names)):
                raise RecordError(f"{name}: has no column {', '.join(lacking)}.")
            return table
        raise problem

    def _files_of(self, record: RunRecord) -> list[tuple[Path, Path]]:
        """Return at least one file that may hold the record's predictions, each with its results folder."""
        if not self._files:
            for folder in self.folders:
                for path in folder.glob("runs/*/*/*.predictions.parquet"):
                    self._files.setdefault(path.name, []).append((path, folder))
            for same in self._files.values():
                same.sort()
        name = record.predictions.file
        if (found := self._files.get(name) or self._files.get(Path(name).name)) is None:
            where = ", ".join(f"{folder}/runs" for folder in self.folders)
            raise RecordError(f"{Path(name).name}: not found under {where}.")
        return found

    def _check_there(self, record: RunRecord) -> None:
        """Check that there is a file of the name of the record's predictions.

        Raises:
            RecordError: there is none.
        """
        if not self._names:  # quicker than ``_files_of``, which only computing needs
            for folder in self.folders:
                for inside in folder.glob("runs/*/*"):
                    with contextlib.suppress(OSError):
                        self._names.update(os.listdir(inside))
        if record.predictions.file not in self._names:
            self._files_of(record)

    def kept(self, key: Any, kind: type[_Value], compute: Callable[[], _Value], records: Iterable[RunRecord]) -> _Value:
        """Return the cached value of this key, or compute and cache it.

        Raises:
            RecordError: nothing can be computed from the predictions, for whatever reason; or those of a record are
                missing: what is shown of a results folder must not depend on what its reader has seen before.
        """
        versions = set()
        for record in records:
            self._check_there(record)
            versions.add(code.version(kind_of(record)))
        name = hashlib.sha256(json.dumps([sorted(versions), kind.__name__, key]).encode()).hexdigest()
        if (value := self._kept.get(name)) is not None:
            with contextlib.suppress(ValueError):
                kept: _Value = _adapter(kind).validate_json(value)
                return kept
        computed = attempted(compute)
        self._kept.put(name, json.dumps(asdict(cast(Any, computed))).encode())
        return computed


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Adapters are expensive to make, and one serves all values of a type."""


def attempted(compute: Callable[[], _Value]) -> _Value:
    """Return what is computed, and raise ``RecordError`` for what predictions of a stranger may cause."""
    try:
        return compute()
    except FlueBenchError:
        raise
    except Exception as error:
        raise RecordError(f"the predictions cannot be scored: {cause(error)}") from error
