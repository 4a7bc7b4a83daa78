"""The records of one or more results folders, read as a whole."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flue_bench.errors import UsageError, counted
from flue_bench.record import Failure, RunRecord, SpeedRecord
from flue_bench.results import remote
from flue_bench.results.standing import Known, judged
from flue_bench.results.store import RUNS, Damaged, Store
from flue_bench.tabular import Tabular

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Results(Tabular):
    """Records and what stands beside them. Its length is the number of records, and iteration yields them."""

    folders: tuple[Path, ...]
    """The results folders, where the predictions are."""
    records: list[RunRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    """Cells that ended in an error."""
    damaged: list[Damaged] = field(default_factory=list)
    """Files that cannot be read, and records set apart because they are not what they say they are; and why."""
    speeds: list[SpeedRecord] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    """After a run: the tasks whose data and the models whose files could not be loaded, with the reason."""
    reused: int = 0
    """After a run: the number of records that were there before it."""
    stand: bool = field(default=False, repr=False)
    """Whether all records were checked, as ``standing`` does."""
    unkept: list[str] = field(default_factory=list)
    """After a run: the models that could not be kept, with the reason."""

    @property
    def published(self) -> tuple[str, ...]:
        """The repositories of the hub that records come from, each with its commit and their number, in words."""
        return tuple(
            remote.said(folder, sum(remote.of_root(record) == folder for record in self.records))
            for folder in self.folders
            if remote.is_published(folder)
        )

    def model_dir(self, record: RunRecord) -> Path | None:
        """Return the folder of the fine-tuned model behind a record; None if none was kept, or it is elsewhere."""
        folders = (Store(folder).model_dir(record.cell) for folder in self.folders) if record.kept else ()
        return next((folder for folder in folders if folder.is_dir()), None)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self.records)

    def __repr__(self) -> str:
        said = counted(len(self), "record")
        for number, words in (
            (len(self.failures), counted(len(self.failures), "failure")),
            (len(self.damaged), f"{len(self.damaged):,} damaged"),
            (len(self.speeds), counted(len(self.speeds), "speed")),
        ):
            said += f", {words}" if number else ""
        return f"<Results: {said} in {', '.join(str(remote.shown(folder)) for folder in self.folders)}>"

    def to_arrow(self) -> pyarrow.Table:
        """Return a table with a row for each record.

        Scores are fractions of 1, in columns named ``scores.accuracy`` and so on, null where the run's task does not
        have the score; other results on the test set are in ``measures.…``, the caller's own in ``own_scores.…``, and
        costs in ``cost.…``.
        """
        import pyarrow

        lines = [_line(record) for record in self.records]
        names = dict.fromkeys(name for line in lines for name in line)
        families = ("scores.", "measures.", "own_scores.", "cost.")
        ordered = [name for name in names if not name.startswith(families)]
        ordered += [name for family in families for name in sorted(names) if name.startswith(family)]
        return pyarrow.table({name: [line.get(name) for line in lines] for name in ordered})


def _line(record: RunRecord) -> dict[str, Any]:
    cell, model = record.cell, record.cell.model
    return {
        "model": model.name,
        "revision": model.revision,
        "model_digest": model.digest,
        "origin": model.origin,
        "teacher": model.teacher,
        "weights_bytes": model.weights_bytes,
        "task": cell.task,
        "task_version": cell.task_version,
        "kind": record.kind,
        "column": record.column,
        "data": cell.data,
        "canonical": record.data.canonical,
        "limit": cell.limit,
        "train_rows": cell.train_rows,
        "recipe": record.recipe_name,
        "precision": cell.recipe.precision,
        "tuned": cell.search and cell.search.budget,
        "taught_by": cell.teacher and cell.teacher.model.name,
        "taught_by_digest": cell.teacher and cell.teacher.model.digest,
        "epochs": None if cell.untrained else cell.trained.recipe.epochs,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "split": cell.split,
        "metric": record.metric,
        "score": record.scores.get(record.metric),
        "collapsed": record.collapsed,
        "head": record.head,
        "leaks": list(record.leaks),
        "selected_epoch": record.selected_epoch,
        "device": record.environment.device,
        "threads": record.environment.threads,
        "flue_bench": record.environment.flue_bench,
        "created": record.created,
        "cell_digest": record.cell_digest,
        "setting_digest": record.setting_digest,
        "predictions_sha256": record.predictions.sha256,
        **{f"scores.{name}": score for name, score in record.scores.items()},
        **{f"measures.{name}": value for name, value in record.measures.items()},
        **{f"own_scores.{name}": value for name, value in record.own_scores.items()},
        **{f"cost.{name}": value for name, value in record.cost.model_dump().items()},
    }


def standing(results: Results, known: Iterable[Known] = ()) -> Results:
    """Return the results with those records alone that are what they say they are, and that no other contradicts.

    The others are among ``damaged``, each with its reason.

    Args:
        results: the results.
        known: as for ``judged``.

    Raises:
        TaskFileError: an installed package of tasks or kinds is broken.
    """
    if results.stand:
        return results
    checked = list(zip(results.records, judged(results.records, known), strict=True))
    apart = [Damaged(remote.shown(each.file), "; ".join(each.faults)) for _, each in checked if not each.ok]
    return replace(
        results,
        records=[record for record, each in checked if each.ok],
        damaged=[*results.damaged, *apart],
        stand=True,
    )


def read(folders: Sequence[Path]) -> Results:
    """Read the results folders as a whole, and set apart the records that do not stand.

    Args:
        folders: folders, or repositories of the hub as ``remote.local`` takes them.

    Raises:
        HubError, OfflineError: as for ``remote.local``.
        TaskFileError: as for ``standing``.
        UsageError: one of them does not exist, or none holds a record, a failure or a speed.
    """
    folders = [remote.local(folder) for folder in folders]
    advice = "Make some with flue-bench run, or name another results folder."
    for folder in folders:
        if not folder.is_dir():
            what = "not a folder" if folder.exists() else "there is no such folder"
            raise UsageError(f"No records in {folder}: {what}. {advice}")
    results = Results(tuple(folders))
    # Records have no cycles: looking for cycles among them, again and again as they become more, costs a third of the
    # time.
    collects = gc.isenabled()
    gc.disable()
    try:
        results = standing(results, _read_into(results))
    finally:
        if collects:
            gc.enable()
    if not any((results.records, results.failures, results.damaged, results.speeds)):
        parts = [part for folder in folders for part in (folder, *folder.parents) if part.name == RUNS]
        if above := next((part.parent for part in parts if any(part.glob("*/*/*.json"))), None):
            advice = f"A results folder is the one that holds {RUNS}: give --results {above}."
        raise UsageError(f"No records in {', '.join(map(str, folders))}. {advice}")
    return results


def _read_into(results: Results) -> list[Known]:
    """Read the folders, and return what is known of their records."""
    known = [Known(folder) for folder in results.folders]
    for folder, of_folder in zip(results.folders, known, strict=True):
        contents = Store(folder).read(of_folder.passed)
        results.records.extend(contents.records)
        results.failures.extend(contents.failures)
        results.damaged.extend(Damaged(remote.shown(folder / path), reason) for path, reason in contents.damaged)
        results.speeds.extend(contents.speeds)
    return known
