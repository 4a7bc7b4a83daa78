"""Verification of a record: everything in it that follows from something else is recomputed and compared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flue_bench.data import model_files
from flue_bench.errors import RecordError, TaskFileError, UsageError, cause
from flue_bench.kinds.counts import Scores
from flue_bench.kinds.kind import Kind, kind_of
from flue_bench.record import (
    CUT_AT,
    ELSEWHERE,
    KEPT_OF,
    OWN_HEAD,
    PROTOCOL,
    SCHEMA_VERSION,
    ClassScores,
    Epoch,
    RunRecord,
)
from flue_bench.results import installed
from flue_bench.results.installed import said
from flue_bench.results.prints import Prints, of_predictions
from flue_bench.results.store import FAILED, RECORDS, model_name, read_predictions, read_record, stem
from flue_bench.statistics.reruns import Verdict

if TYPE_CHECKING:
    import pyarrow

SAME = 1e-9
"""Scores that differ by less are equal: another version of NumPy may add in another order."""


@dataclass(frozen=True)
class Checked:
    """A record's file and what is wrong with it."""

    file: Path
    faults: tuple[str, ...]
    """In words; empty if the record is what it says it is."""
    remarks: tuple[str, ...] = ()
    """What is no fault of the record and still to be known, in words."""
    rerun: str = ""
    """What training its cell again gave, in words; empty if that was not asked for."""
    verdict: Verdict | None = None
    """What follows of it; None if it was not asked for, or could not be done. One that is not borne out is a fault."""
    record: RunRecord | None = field(default=None, repr=False)
    """None if it cannot be read."""
    prints: Prints | None = field(default=None, repr=False)
    """None if its predictions cannot be read."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, nor open after a rerun."""
        return not self.faults and self.verdict != "undecided"


def records_in(paths: Iterable[Path]) -> list[Path]:
    """Return the files of records, each once, in the order given: those named, and all in the results folders.

    Raises:
        UsageError: a path is neither a file nor a folder with records.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            files[path] = None
            continue
        inside = [file for file in sorted(path.glob(RECORDS)) if not file.name.endswith(FAILED)]
        if not inside:
            what = "a folder without runs/MODEL/TASK/*.json" if path.is_dir() else "neither a file nor a folder"
            raise UsageError(f"{path} is {what}: give records or a results folder.")
        files |= dict.fromkeys(inside)
    return list(files)


def schema() -> str:
    """Return the JSON schema of a record, as in ``results/schema``."""
    made = RunRecord.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"flue-bench run record, schema version {SCHEMA_VERSION}",
    }
    return json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def faults(path: Path) -> list[str]:
    """Return what is wrong with a record by itself, in words; empty if its parts are consistent.

    This checks the JSON schema, the digests of cell and setting, the SHA-256 of the predictions and their rows, every
    score and class of the record, whether the model collapsed, the selected epoch, that the most probable label is the
    predicted one, the seed in the file's name, and what ``installed.faults`` does. What other records say of the same
    things, ``across.clashes`` checks.

    Args:
        path: the record's JSON file, with its predictions in the same folder.

    Raises:
        TaskFileError: an installed task package is broken.
    """
    return list(checked(path).faults)


def checked(path: Path) -> Checked:
    """Return a record's file with what is wrong with it by itself; arguments and errors are those of ``faults``."""
    if path.name.endswith(FAILED):
        where = f"give {path.parent} or the record of a run"
        return Checked(path, (f"the record of a failed cell, without scores to verify: {where}",))
    try:
        record = read_record(path)
    except RecordError as error:
        return Checked(path, (_without(path, error),))
    return _with_kept(examined(record, path, of_files(record, path.parent, path.parent)), record)


def examined(record: RunRecord, path: Path, of_files: OfFiles) -> Checked:
    """Return a record with everything that is wrong with it by itself.

    Args:
        record: the record.
        path: its file.
        of_files: from the function of this name.

    Raises:
        TaskFileError: an installed task package is broken.
    """
    reasons = (*of_files.faults, *_of_names(record, path), *installed.faults(record, of_files.prints))
    return Checked(path, reasons, record=record, prints=of_files.prints)


class OfFiles(NamedTuple):
    """What follows from a record's two files alone."""

    faults: tuple[str, ...]
    prints: Prints | None
    """The fingerprint of the predictions; None if they cannot be read."""


def of_files(record: RunRecord, folder: Path, root: Path) -> OfFiles:
    """Return what is wrong with a record whatever its files are called and whatever is installed.

    Args:
        record: the record.
        folder: the folder of its predictions.
        root: the results folder, out of which no link is followed.

    Raises:
        TaskFileError: a package of kinds is broken.
    """
    reasons: list[str] = []
    try:
        reasons += _of_record(record)
        kind = kind_of(record)
        reasons += [f"{key}: {fault}" for key, fault in kind.faults(record)]
        reasons += _of_method(record, kind)
        table = read_predictions(record, folder, root=root)
        reasons += _of_predictions(record, table)
        return OfFiles(tuple(reasons), None if reasons else of_predictions(table))
    except RecordError as error:
        return OfFiles((*reasons, _without(folder, error)), None)
    except TaskFileError:
        raise
    except Exception as error:  # whatever columns, pyarrow or scoring raise
        return OfFiles((*reasons, f"its predictions cannot be scored: {cause(error)}"), None)


def _without(path: Path, error: RecordError) -> str:
    """Return the message without the part that the table of records already shows."""
    return str(error).removeprefix(f"{path}").lstrip("/: ")


def _of_names(record: RunRecord, path: Path) -> Iterator[str]:
    """Yield where a file's name says of another cell than the record does; another name than ours says nothing."""
    ours = stem(record.cell, record.cell_digest)
    for file in (path.name, record.predictions.file):
        if not file.startswith(f"{ours}.") and re.match(r"(seed\d+|scored)-[0-9a-f]{16}\.", file):
            yield f"{file}: the record is that of {ours}"


def _of_record(record: RunRecord) -> Iterator[str]:
    """Yield contradictions between fields."""
    cell, metric = record.cell, record.metric
    if cell.protocol > PROTOCOL:
        yield (
            f"cell.protocol: {cell.protocol}, by a later version of flue-bench than this one, which has {PROTOCOL}: "
            "update flue-bench to verify it"
        )
    if metric not in record.scores:
        yield f"metric: there is no score {metric}"
    if cell.data != record.data.digest:
        yield "data: the digest is not that of 'cell.data'"
    rows = record.data.rows.get(cell.split, 0)
    if record.predictions.rows != cell.served(record.data.rows).get(cell.split, 0):
        yield (
            f"predictions: {record.predictions.rows:,} rows, but the {cell.split} split has {rows:,}, "
            f"limit {cell.limit}"
        )
    whole = cell.model_copy(update={"train_rows": None}).served(record.data.rows).get("train", 0)
    if cell.train_rows is not None and cell.train_rows >= whole:
        yield f"cell.train_rows: {cell.train_rows:,}, but the train split has {whole:,} rows: a cell on all names none"
    yield from _of_no_training(record) if cell.untrained else _of_training(record)


def _of_training(record: RunRecord) -> Iterator[str]:
    """Yield contradictions between the recipe and what its run left behind."""
    recipe, history = record.cell.trained.recipe, record.history
    if recipe.epochs == "auto":
        yield "cell.recipe.epochs: 'auto', which no cell is run with"
        return
    steps: list[int] = []
    if recipe.max_steps or recipe.evaluate_steps:
        rows = record.rows_an_epoch
        due = recipe.evaluations_on(rows) if rows else range(0)
        steps = [*due[: len(history)], recipe.steps_on(rows)][: len(history)]
        most = max(1, -(-due.stop // due.step))  # not len(due): no list has as many as a record may claim
    else:
        most = recipe.epochs
    best = ended = 0
    for number, epoch in enumerate(history, 1):
        if ended or epoch.epoch != number:
            break
        if not best or _headline(record, epoch) > _headline(record, history[best - 1]):  # as the run selects
            best = number
        if number == most or recipe.stops(number, best):
            ended = number
    if not ended or ended != len(history):
        until = f", or fewer by patience {recipe.patience}" if recipe.patience else ""
        yield f"history: {len(history)} evaluations, the recipe has {most}{until}"
        return
    for epoch, step in zip(history, steps, strict=False):
        if epoch.step != step:
            yield f"history: evaluation {epoch.epoch} after {epoch.step:,} steps, by the recipe after {step:,}"
            return
    selected = best if recipe.selection == "best" else ended
    if record.selected_epoch != selected:
        yield f"selected_epoch: {record.selected_epoch}, by history and recipe it is {selected}"
    yield from _of_search(record)


def _of_search(record: RunRecord) -> Iterator[str]:
    """Yield contradictions between what was searched, the points that were tried, and the recipe."""
    searched, search = record.cell.search, record.search
    if searched is None or search is None:
        return
    if [point.settings for point in search.points] != searched.settings():
        yield f"search.points: not those of cell.search, which are {searched.points:,}"
        return
    for number, point in enumerate(search.points):
        if (seeds := tuple(run.seed for run in point.runs)) != searched.seeds:
            yield f"search.points.{number}: seeds {said(tuple(map(str, seeds)))}, cell.search has others"
            return
    if search.best is None:
        yield "search: no point stands, so that none was chosen"
        return
    for name, value in search.best.settings.items():
        if value != "auto" and (ours := getattr(record.cell.recipe, name, None)) != value:
            yield f"cell.recipe.{name}: {ours}, the best point of the search has {value}"


def _headline(record: RunRecord, epoch: Epoch) -> float:
    return epoch.scores.get(record.metric, -math.inf)


def _of_no_training(record: RunRecord) -> Iterator[str]:
    """Yield what only a record of a training can have; rows of train may serve a method other than the model's head."""
    cost, how = record.cost, record.cell.untrained
    own = how is not None and how.method == OWN_HEAD
    for name, value in (
        ("history", len(record.history)),
        ("selected_epoch", record.selected_epoch),
        ("head", record.head),
        ("kept", record.kept),
        ("cell.train_rows", record.cell.train_rows),
        ("truncation.examples", "train" if own and record.truncation.examples.get("train") else None),
        ("truncation.words", "train" if own and record.truncation.words.get("train") else None),
        ("cost.steps", cost.steps),
        ("cost.train_seconds", cost.train_seconds),
        ("cost.train_examples_per_second", cost.train_examples_per_second),
        ("cost.real_tokens", cost.real_tokens),
        ("cost.padded_tokens", cost.padded_tokens),
        ("cost.resumed", cost.resumed),
    ):
        if value:
            yield f"{name}: {value}, but nothing was trained"
    name = record.recipe_name.removesuffix(CUT_AT.format(how.max_length)) if how else record.recipe_name
    if own and name != ELSEWHERE and not name.startswith(KEPT_OF):
        yield f"recipe_name: {name}, but nothing was trained"


def _of_method(record: RunRecord, kind: Kind[Any]) -> Iterator[str]:
    """Yield where a record without training is not by a method of its kind, or is called by other settings than its."""
    how = record.cell.untrained
    if how is None or how.method == OWN_HEAD:
        return
    if how.method != kind.frozen:
        yield f"cell.recipe.method: '{how.method}' is none of kind '{kind.name}'"
        return
    try:
        settings = kind.settings(record, how.options)
    except ValueError as error:
        yield f"cell.recipe.options: {error}"
        return
    if settings != how.options:
        yield f"cell.recipe.options: {said(str(how.options))}, with what they leave out {settings}"
    elif record.recipe_name.removesuffix(CUT_AT.format(how.max_length)) != (called := kind.called(settings)):
        yield f"recipe_name: {record.recipe_name}, by its settings it is {called}"


def _with_kept(checked: Checked, record: RunRecord) -> Checked:
    """Return a checked record with what is to be said of its model, if it was kept and is in the record's folder."""
    path = checked.file.resolve()
    folder = path.parents[3] / "models" / model_name(record.cell) if len(path.parents) > 3 else path
    if record.kept is None or not folder.is_dir():
        return checked
    fault = None
    try:
        if names := model_files.added(folder, record.kept):
            where = f"kept: {', '.join(names)} in models/{folder.name}"
            return replace(checked, remarks=(f"{where} came later; without, it is the model that was kept",))
        if names is None:
            there = model_files.digest(folder)
            fault = f"kept: the model in {folder.name} has the digest {there}, the record names {record.kept}"
    except OSError as error:
        fault = f"kept: {error.filename}: cannot be read: {error.strerror}"
    return replace(checked, faults=(*checked.faults, *filter(None, [fault])))


def _of_predictions(record: RunRecord, table: pyarrow.Table) -> Iterator[str]:
    """Yield contradictions to the test predictions."""
    kind = kind_of(record)
    columns = ["id", "group", *kind.schema()]
    if table.column_names != columns:
        yield f"predictions: columns {', '.join(table.column_names)}; they should be {', '.join(columns)}"
        return
    for name in ("id", "group"):
        if str(table[name].type) not in ("string", "large_string") or table[name].null_count:
            nulls = f", {table[name].null_count:,} of them empty" if table[name].null_count else ""
            yield f"predictions: {name} holds {table[name].type}{nulls}; it should hold texts"
            return
    if table.num_rows != record.predictions.rows:
        yield f"predictions: {table.num_rows:,} rows in the file, {record.predictions.rows:,} in the record"
    if len(table["id"].unique()) < table.num_rows:
        yield "predictions: an id occurs twice"
    again = kind.scores(table, record)
    for key, theirs, ours in (
        ("scores", record.scores, again.scores),
        ("measures", record.measures, again.measures),
    ):
        if wrong := sorted(theirs.keys() ^ ours.keys()):
            yield f"{key}: {', '.join(wrong)} missing or too many"
        for name in sorted(theirs.keys() & ours.keys()):
            if abs(theirs[name] - ours[name]) > SAME:
                yield f"{key}: {name} is {theirs[name]:.6f}, the predictions give {ours[name]:.6f}"
    yield from _of_classes(record, again)
    collapsed = kind.collapsed(table, record)
    if collapsed != record.collapsed:
        yield f"collapsed: {said(record.collapsed)}, the predictions say {said(collapsed)}"
    yield from kind.contradictions(table, record)


def _of_classes(record: RunRecord, again: Scores) -> Iterator[str]:
    """Yield contradictions to the predictions in single classes."""
    for level in sorted(again.per_class.keys() | record.per_class.keys()):
        theirs, ours = record.per_class.get(level, {}), again.per_class.get(level, {})
        wrong = [
            name
            for name in dict.fromkeys([*ours, *theirs])
            if name not in ours or name not in theirs or not _alike(ours[name], theirs[name])
        ]
        if wrong:
            yield f"per_class: {level} {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not as predicted"


def _alike(one: ClassScores, other: ClassScores) -> bool:
    """Return whether two scores are equal except for rounding; NaN equals nothing."""
    ours, theirs = one.model_dump().values(), other.model_dump().values()
    return all(abs(a - b) <= SAME for a, b in zip(ours, theirs, strict=True))
