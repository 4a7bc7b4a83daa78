"""A record held against what is installed: its task in the same version, data that come with it, embedded models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flue_bench import files
from flue_bench.data import registry
from flue_bench.data.embedded import embedded, embedded_of
from flue_bench.data.registry import Registered
from flue_bench.errors import FlueBenchError, UsageError
from flue_bench.kinds.kind import kind_named
from flue_bench.recipe import Recipe
from flue_bench.record import RunRecord
from flue_bench.results import code
from flue_bench.results.prints import Gold, Prints, gold_in, of_gold, typed
from flue_bench.task import Split, Task


def faults(record: RunRecord, prints: Prints | None) -> Iterator[str]:
    """Yield contradictions to what is installed, in words. Another version of the task may differ.

    Args:
        record: a record.
        prints: the fingerprint of its predictions; None if they cannot be read.

    Raises:
        TaskFileError: an installed task package is broken.
    """
    yield from _of_model(record)
    installed = registry.registered().get(record.cell.task)
    if installed is None or installed.task.version != record.cell.task_version:
        return
    task = installed.task
    there = f"the installed task {task.name} version {task.version} has"
    for name, theirs, ours in (
        ("kind", record.kind, task.kind),
        ("labels", record.labels, task.labels),
        ("scheme", record.scheme, task.scheme),
        ("options", record.options, task.options),
        ("metric", record.metric, task.metric),
        ("column", record.column, task.board_column),
        ("column_members", record.column_members, registry.members(task.board_column)),
        ("train_from", record.train_from, task.train_from),
    ):
        if theirs != ours:
            yield f"{name}: {said(theirs)}, {there} {said(ours)}"
    for name, fault in (*_of_recipe(record, task), *_of_rows(record, task)):
        yield f"{name}, {there} {fault}"
    if _comes_with(installed):
        yield from _of_data(record, prints, installed)


def said(value: Any) -> str:
    """Return a value of a field in words."""
    return "none" if not value else ", ".join(value) if isinstance(value, tuple) else str(value)


def _of_model(record: RunRecord) -> Iterator[str]:
    """Yield where an embedded model, by name or by digest, is not the one that is installed."""
    model = record.cell.model
    named = embedded(model.name) if model.origin == "embedded" else None
    name, ours = (model.name, named) if named else embedded_of(model.digest)
    if ours is None:
        return
    for field, theirs, value in (
        ("digest", model.digest, ours.digest),
        ("teacher", model.teacher, ours.teacher),
        ("weights_bytes", model.weights_bytes, ours.weights_bytes),
    ):
        older = field != "digest" and model.weights_bytes is None  # a record from before 0.2, which has neither
        copy = field == "teacher" and theirs is None and not named  # in a folder without its distillation.json
        if theirs != value and not older and not copy:
            yield f"cell.model.{field}: {said(theirs)}, the installed {name} has {said(value)}"
            return


def _of_recipe(record: RunRecord, task: Task) -> Iterator[tuple[str, str]]:
    """Yield where the cell's recipe is not the one that ``recipe_name`` names; without training there is none."""
    if record.cell.untrained:
        return
    theirs = record.cell.trained.recipe
    name, *changes = record.recipe_name.split()
    settings = {key: None if value == "None" else value for key, _, value in (each.partition("=") for each in changes)}
    try:
        named = task.named_recipe(name).override(settings)
        if record.search and record.search.best:  # ``verify`` holds it against the points
            named = named.override(dict(record.search.best.settings))
    except UsageError as error:
        yield f"recipe_name: {record.recipe_name}", f"none of that name: {error}"
        return
    epochs = named.epochs_on(record.cell.served(record.data.rows).get("train", 0))
    expected = named.model_copy(update={"epochs": epochs, "precision": theirs.precision})
    for field in Recipe.model_fields:
        if (value := getattr(theirs, field)) != (ours := getattr(expected, field)):
            yield f"cell.recipe.{field}: {value}", f"{ours} under the name '{record.recipe_name}'"


def _of_rows(record: RunRecord, task: Task) -> Iterator[tuple[str, str]]:
    """Yield where data that count as canonical have other rows than are published.

    Splits that were cut come from train; what was left out on purpose, such as a placeholder, is in the deviations.
    """
    if not record.data.canonical:
        return
    for split, published in task.rows.items():
        if split in record.data.cut or split not in record.cell.reads:
            continue
        parts = (split, *(record.data.cut if split == "train" else ()))
        there = sum(record.data.rows.get(part, 0) for part in parts)
        fewer = any(words.startswith(f"{split}: ") for words in record.data.deviations)
        if there not in published and not (fewer and there < max(published)):
            yield f"data.rows: {there:,} of {split}, which count as canonical", " or ".join(f"{n:,}" for n in published)


def _of_data(record: RunRecord, prints: Prints | None, installed: Registered) -> Iterator[str]:
    """Yield where a record's data are not those that its task's package brings."""
    task, cell = installed.task, record.cell
    ours = _data(installed.task.name, cell.split, cell.limit, "test" in cell.reads)
    if ours is None:
        return
    if cell.data != ours.digest:
        # A reader without files of its own reads nothing from --data-dir, where the user may put other files.
        if ours.source == record.data.source and ours.source.startswith("reader:"):
            there = f"that of the installed task {task.name} version {task.version} is {ours.digest}"
            yield f"data.digest: {cell.data}, {there}"
        return
    if record.data.rows != ours.rows:
        yield f"data.rows: {_counts(record.data.rows)}; the installed task {task.name} has {_counts(ours.rows)}"
    for part, name in ("ids", "ids"), ("labels", "gold labels"), ("groups", "groups"):
        if prints and getattr(prints.gold, part) != getattr(ours.gold, part):
            there = f"those of the installed task {task.name} ({ours.gold.rows:,})"
            yield f"predictions: {name} of the {prints.gold.rows:,} {cell.split} rows are not {there}"
            return


def _counts(rows: Any) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in rows.items())


def _comes_with(installed: Registered) -> bool:
    """Return whether the data of a task come with its package, so that they are here and nowhere fetched from."""
    return installed.trained_on is None and not any(each.hub or each.archives for each in installed.task.source)


@dataclass(frozen=True)
class _Data:
    """The data of an installed task, as a record names them, and the rows of one split under one limit."""

    source: str
    digest: str
    rows: dict[Any, int]
    gold: Gold


@cache
def _data(name: str, split: Split, limit: int | None, test: bool = True) -> _Data | None:
    """Return the data of an installed task, from the reader's cache or anew; None if they cannot be loaded."""
    installed = registry.registered()[name]
    version = code.version(kind_named(installed.task.kind))
    key = json.dumps([name, split, limit, test, version, _stamp(installed.file.parent)])
    cache = files.cache_dir()
    path = cache / "checks" / "data" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        kept = json.loads(files.read(path, root=cache))
        typed(kept, {"of": str, "source": str, "digest": str, "rows": dict, "gold": dict})
        if kept.pop("of") == key and all(type(rows) is int for rows in kept["rows"].values()):
            return _Data(**kept | {"gold": gold_in(kept["gold"])})
    from flue_bench.data import sources

    try:
        loaded = sources.load(installed, offline=True, test=test)
    except FlueBenchError:
        return None
    kind, rows = kind_named(installed.task.kind), sources.limited(list(loaded.splits[split]), limit)
    data = _Data(
        source=loaded.ref.source,
        digest=loaded.ref.digest,
        rows=dict(loaded.ref.rows),
        gold=of_gold(kind.table(rows, {})),
    )
    with suppress(OSError):
        files.write(path, json.dumps({"of": key} | asdict(data)).encode(), cache)
    return data


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Return what changes when a file of a package is written."""
    inside = sorted(path for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file())
    return [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in inside]
