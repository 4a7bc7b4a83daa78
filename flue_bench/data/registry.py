"""The registry of tasks: those of installed packages, found by their entry points, and loose task files."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ValidationError

from flue_bench import plugins
from flue_bench.errors import Fault, TaskFileError, UnknownNameError, UsageError, faults, near_names, quoted, short
from flue_bench.files import read
from flue_bench.kinds.kind import Kind, installed, kind_named
from flue_bench.recipe import Recipe
from flue_bench.task import SPLITS, Archive, Column, Columns, Cut, Reader, Source, SplitFiles, Task, nfc

LONGEST_PATH = 255
"""Characters of the path or glob of data files."""


MADE = Path("(made in Python)")
"""Stands for the file of a task that has none."""


@dataclass(frozen=True)
class Registered:
    """A task, and the file and package that declare it."""

    task: Task
    file: Path
    package: str
    """Distribution (or module) that provides it; empty for a loose file."""
    trained_on: Registered | None = None
    """The task that ``Task.train_from`` names."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that can be fetched, or are made, without asking anybody."""
        return tuple(each for each in self.task.source if not each.access and not each.by_user)

    @property
    def open(self) -> bool:
        """Whether all that is needed can be fetched without asking: here, and for the task that it is trained on."""
        return bool(self.sources) and (self.trained_on is None or self.trained_on.open)

    @property
    def moves(self) -> bool:
        """Whether all that can be fetched without asking is on branches of the hub, which can change."""
        return self.open and not any(each.pinned for each in self.sources)


def load_file(path: Path) -> Registered:
    """Read one task file.

    Raises:
        TaskFileError: the file does not exist, is not TOML, or is not a task; the message names the file and the key,
            and for an unknown key the nearest known one.
    """
    try:
        data = tomllib.loads(read(path).decode())
    except OSError as error:
        raise TaskFileError(f"Task file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # invalid TOML or UTF-8; nested too deep
        raise TaskFileError(f"Task file {path} is not TOML: {error}.") from None
    try:
        task = Task.model_validate(data)
    except ValidationError as error:
        raise TaskFileError("\n".join(f"{path}: {line}" for line in _explained(error, data))) from None
    except UsageError as error:  # an invalid recipe
        raise TaskFileError(f"{path}: {_recipe_at_fault(data)}: {error}") from None
    task._file = path
    for key, fault in _faults(task):
        raise TaskFileError(f"{path}: {short(key)}: {fault if fault.endswith(('.', '?')) else f'{fault}.'}")
    return Registered(task, path, "")


@cache
def registered() -> dict[str, Registered]:
    """Return every installed task by name, sorted.

    Raises:
        TaskFileError: a package cannot be imported or holds no task, a file does not validate, or two tasks have the
            same name; the message names the plugin or both files.
    """
    tasks: dict[str, Registered] = {}
    for entry in plugins.entries(plugins.TASKS):
        module = plugins.load(entry)
        package = entry.dist.name if entry.dist else entry.module
        files = sorted(file for folder in getattr(module, "__path__", ()) for file in Path(folder).glob("*.toml"))
        if not files:
            raise TaskFileError(
                f"{plugins.describe(entry)} has no task: '{entry.value}' is not a package with *.toml files."
            )
        for file in files:
            task = load_file(file).task
            if task.name in tasks:
                raise TaskFileError(f"Task name '{task.name}' is taken twice: by {tasks[task.name].file} and {file}.")
            tasks[task.name] = Registered(task, file, package)
    tasks = {name: _with_training(each, tasks) for name, each in tasks.items()}
    columns: dict[str, Registered] = {}
    _check_groups(tasks)
    for each in tasks.values():
        first = columns.setdefault(each.task.board_column, each)
        if first.package != each.package:  # otherwise FLUE's averages would depend on what else is installed
            raise TaskFileError(
                f"{each.file}: column: '{each.task.board_column}' belongs to {first.package}, see {first.file}."
            )
    return dict(sorted(tasks.items()))


def select(names: Sequence[Task | str | Path]) -> list[Registered]:
    """Return tasks in the given order and without repeats.

    Args:
        names: each the name of a task or a group; the path of a ``.toml`` file; the path of a folder of such files,
            for all of them; ``FOLDER/NAME``, for the task or the group of that name in the folder; or a task that
            was made or loaded in Python.

    Raises:
        UnknownNameError: no task or group has that name.
        TaskFileError: a task file does not validate, its name is already taken, or a folder holds none.
    """
    known = registered()
    chosen: dict[str, Registered] = {}
    for name in names:
        path = Path() if isinstance(name, Task) else Path(name)
        if isinstance(name, Task):
            tasks = [_given(name, known)]
        elif path.suffix == ".toml" and not path.is_dir():
            tasks = [_loose(load_file(path), known)]
        elif named := _named(str(name), known):
            tasks = named
        elif path.is_dir():
            tasks = list(_in_folder(path, known).values())
        elif path.name != str(name) and path.parent.is_dir():
            inside = _in_folder(path.parent, known)
            tasks = _named(path.name, inside)
            if not tasks:
                raise UnknownNameError("task", path.name, _names(inside), of=str(path.parent))
        else:
            raise UnknownNameError("task", str(name), _names(known), "`flue-bench tasks` lists all.")
        for each in tasks:
            before = chosen.setdefault(each.task.name, each)
            if before.file.resolve() != each.file.resolve() or before.task != each.task:
                raise TaskFileError(f"Task name '{each.task.name}' is taken twice: by {before.file} and {each.file}.")
    return list(chosen.values())


def filtered(
    *, group: str | None = None, kind: str | None = None, licence: str | None = None, open_only: bool = False
) -> list[Registered]:
    """Return the installed tasks that are all of what is asked, sorted by name; none may be.

    Args:
        group: a task or a group.
        kind: the name of a kind of task.
        licence: a licence as the tasks spell it; case, blanks and hyphens do not matter, and a version may be left out.
        open_only: only those whose data can be fetched without asking anybody.

    Raises:
        UnknownNameError: nothing is called so.
        TaskFileError: as for ``registered``.
    """
    if kind is not None and kind not in installed():
        raise UnknownNameError("kind of task", kind, installed())
    licences = {each.task.licence for each in registered().values()} - {""}
    if licence is not None and not any(_licensed(each, licence) for each in licences):
        raise UnknownNameError("licence", licence, {short(each, 40) for each in licences})
    chosen = list(registered().values()) if group is None else select([group])
    if kind is not None:
        of_kind: dict[str, list[Registered]] = {kind: []}
        for each in chosen:
            of_kind.setdefault(each.task.kind, []).append(each)
        chosen = of_kind[kind]
    return sorted(
        (
            each
            for each in chosen
            if (licence is None or _licensed(each.task.licence, licence)) and (each.open or not open_only)
        ),
        key=lambda each: each.task.name,
    )


def _licensed(stated: str, asked: str) -> bool:
    """Return whether a licence is the one that is asked for: "cc-by" is CC BY 4.0, and not CC BY-NC 4.0."""
    plain, wanted = (re.sub(r"[\s_-]+", "", each).lower() for each in (stated, asked))
    return re.fullmatch(rf"{re.escape(wanted)}v?[\d.]*", plain) is not None


def members(column: str) -> tuple[str, ...]:
    """Return the sorted names of the installed tasks that share a board column."""
    return tuple(name for name, each in registered().items() if each.task.board_column == column)


@cache
def readers() -> dict[str, Reader]:
    """Return every installed reader by name.

    Raises:
        TaskFileError: a plugin cannot be imported, or two readers have the same name.
    """
    return plugins.load_all(plugins.READERS)


def _given(task: Task, known: dict[str, Registered]) -> Registered:
    """Return a task that was made or loaded in Python."""
    for key, fault in _faults(task):
        raise TaskFileError(f"task {task.name}: {key}: {fault if fault.endswith(('.', '?')) else f'{fault}.'}")
    return _loose(Registered(task, task._file or MADE, ""), known)


def _named(name: str, among: dict[str, Registered]) -> list[Registered]:
    """Return the task of this name, or those of the group of this name."""
    return [among[name]] if name in among else [each for each in among.values() if name in each.task.groups]


def _names(among: dict[str, Registered]) -> set[str]:
    """Return the names of tasks and of their groups."""
    return {*among, *(group for each in among.values() for group in each.task.groups)}


def _in_folder(folder: Path, known: dict[str, Registered]) -> dict[str, Registered]:
    """Return the tasks of the files of a folder by name, in the order of the files.

    Raises:
        TaskFileError: there are none, one does not validate, or two have the same name or that of a group.
    """
    tasks: dict[str, Registered] = {}
    for file in sorted(folder.glob("*.toml")):
        each = _loose(load_file(file), known)
        if each.task.name in tasks:
            first = tasks[each.task.name].file
            raise TaskFileError(f"Task name '{each.task.name}' is taken twice: by {first} and {file}.")
        tasks[each.task.name] = each
    if not tasks:
        raise TaskFileError(f"{folder} is a folder without task files (*.toml).")
    _check_groups(tasks)
    return tasks


def _check_groups(tasks: dict[str, Registered]) -> None:
    """Refuse a group that has the name of a task: neither could be asked for. Raises TaskFileError."""
    for each in tasks.values():
        for group in each.task.groups:
            if group in tasks:
                raise TaskFileError(f"'{group}' is a group in {each.file} and a task in {tasks[group].file}.")


def _loose(loose: Registered, known: dict[str, Registered]) -> Registered:
    """Return a task that is not installed, after a check of its names; an installed one is returned as such."""
    path = loose.file
    for each in known.values():
        if each.file.resolve() == path.resolve() and each.task == loose.task:
            return each
        task = each.task
        if loose.task.name in (task.name, *task.groups) or loose.task.board_column == task.board_column:
            raise TaskFileError(
                f"{path}: '{loose.task.name}' (column '{loose.task.board_column}') takes a name of {each.file}. "
                "Choose another."
            )
    if loose.task.train_from is None or loose.task.train_from in known:
        return _with_training(loose, known)
    beside = path.parent / f"{loose.task.train_from}.toml"
    own = [load_file(beside)] if beside.is_file() else []
    return _with_training(loose, known | {each.task.name: each for each in own})


def _with_training(each: Registered, known: dict[str, Registered]) -> Registered:
    """Return the task with the one that it is trained on, if it names one.

    Raises:
        TaskFileError: there is no such task, or one that does not fit.
    """
    name = each.task.train_from
    if name is None:
        return each
    if name not in known:
        raise TaskFileError(
            f"{each.file}: train_from: {UnknownNameError('task', name, known)} A task of your own is looked for in "
            f"{name}.toml beside this file."
        )
    trained_on = known[name]
    if trained_on.task.train_from is not None:
        raise TaskFileError(f"{each.file}: train_from: '{name}' has no training rows of its own either.")
    for key in ("kind", "labels", "scheme", "options"):
        ours, theirs = getattr(each.task, key), getattr(trained_on.task, key)
        if ours != theirs:
            raise TaskFileError(
                f"{each.file}: {key}: {quoted(ours)} should be as in {trained_on.file}, on which the task is trained: "
                f"{quoted(theirs)}."
            )
    return replace(each, trained_on=trained_on)


def _faults(task: Task) -> list[tuple[str, str]]:
    """Return (key, fault) for each fault that involves several parts of a task."""
    try:
        kind = kind_named(task.kind)
    except UnknownNameError as error:
        return [("kind", str(error))]
    faults = list(kind.faults(task))
    for number, source in enumerate(task.source):
        key = f"source[{number}]"
        if source.reader:
            installed = [entry.name for entry in plugins.entries(plugins.READERS)]
            if source.reader not in installed:
                faults.append((f"{key}.reader", str(UnknownNameError("reader", source.reader, installed))))
        for theirs, ours in source.label_names.items():
            if ours not in task.labels:
                fault = f"'{ours}' is not one of 'labels': {', '.join(task.labels)}"
                faults.append((f"{key}.label_names.{theirs}", fault))
        faults += _of_columns(kind, task, source.columns, f"{key}.columns")
        for split, files in source.files.items():
            faults += _of_columns(kind, task, files.columns or {}, f"{key}.files.{split}.columns")
            if fault := _of_path(files.path, upwards=not source.hub and not source.archives):
                faults.append((f"{key}.files.{split}", fault))
    return faults


def _of_path(text: str, upwards: bool) -> str:
    """Return what is wrong with the path of data files; empty if nothing is. ``upwards`` allows '..' at its start."""
    path = PurePosixPath(text)
    inner = list(dropwhile("..".__eq__, path.parts)) if upwards else path.parts
    if path.is_absolute() or ".." in inner or re.search(r"[\x00-\x1f\x7f\\]|^\w:", text):
        where = "except at its start" if upwards else "in a repository or an archive"
        return f"{quoted(text)} is not a relative path without '..' {where}, with '/' between its parts"
    if len(text) > LONGEST_PATH:
        return f"{quoted(text)} has {len(text):,} characters, and {LONGEST_PATH} is the limit"
    if text.count("**") > 1:  # each more multiplies the folders that are looked through
        return f"{quoted(text)} has '**' more than once"
    return ""


def _of_columns(kind: Kind[Any], task: Task, columns: Columns, key: str) -> list[tuple[str, str]]:
    known = ["id", "group", *kind.needs, *kind.may_have]
    faults = [(f"{key}.{name}", f"unknown key. {_nearest(name, known)}") for name in columns if name not in known]
    for name, column in columns.items():
        if not isinstance(column, dict | tuple) or name not in known:
            continue
        wanted = kind.gathered.get(name)
        if wanted is None:
            faults.append((f"{key}.{name}", f"kind '{kind.name}' reads it from one column"))
        elif isinstance(wanted, tuple):
            if not isinstance(column, dict) or column.keys() != {*wanted}:
                form = ", ".join(f'{part} = "…"' for part in wanted)
                fault = f"kind '{kind.name}' reads it from one column, or from a table of columns, {{ {form} }}"
                faults.append((f"{key}.{name}", fault))
        elif not isinstance(column, wanted):
            form = "a table, label = column" if wanted is dict else "a list of columns"
            faults.append((f"{key}.{name}", f"kind '{kind.name}' reads it from one column, or from {form}"))
        elif isinstance(column, dict) and (other := [label for label in column if label not in task.labels]):
            faults.append(
                (f"{key}.{name}.{other[0]}", f"'{other[0]}' is not one of 'labels': {', '.join(task.labels)}")
            )
        elif isinstance(column, dict) and (left := [label for label in task.labels if label not in column]):
            faults.append((f"{key}.{name}", f"no column is named for the label {', '.join(left)}"))
        elif twice := [column for column, times in Counter(_several(column)).items() if times > 1]:
            faults.append((f"{key}.{name}", f"the column {quoted(twice[0])} is named twice"))
        elif not column:
            faults.append((f"{key}.{name}", "names no column"))
    return faults


def _several(columns: dict[str, Column] | tuple[Column, ...]) -> Sequence[Column]:
    """Return the columns of a table or a list, in the form in which they are looked up."""
    named = columns.values() if isinstance(columns, dict) else columns
    return tuple(nfc(column) if isinstance(column, str) else column for column in named)


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return advice on an unknown key."""
    nearest = near_names(name, known)
    return f"Did you mean '{nearest[0]}'?" if nearest else f"Known: {', '.join(known)}."


def _explained(error: ValidationError, data: dict[str, Any]) -> list[str]:
    """Return at most two errors as ``key: what is wrong``; unknown keys first, since they often explain the rest."""
    by_key: dict[str, Fault] = {}
    for each in sorted(faults(error), key=lambda each: each.kind != "extra_forbidden"):
        by_key.setdefault(_key(each.place, data), each)
    inner = [(key, each) for key, each in by_key.items() if each.kind != "too_short"]  # a consequence of the others
    return [_explain(key, each) for key, each in (inner or list(by_key.items()))[:2]]


def _key(loc: tuple[int | str, ...], data: Any) -> str:
    """Return the dotted key of a place in a task file: ``source[0].columns.text``."""
    key = ""
    for part in loc:  # the names of the types that pydantic tried follow the key
        if isinstance(data, dict) and part != "[key]":
            key, data = f"{key}.{part}", data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            key, data = f"{key}[{part}]", data[part]
        else:
            break
    return short(key.removeprefix("."))


def _explain(key: str, fault: Fault) -> str:
    if fault.kind == "extra_forbidden":
        fields = list(_model_at(fault.place[:-1]).model_fields)
        return f"{key}: unknown key. {_nearest(str(fault.place[-1]), fields)}"
    if fault.kind == "missing":
        return f"{key}: missing."
    if fault.kind == "value_error":
        return f"{key}: {fault.reason}".removeprefix(": ")
    return f"{key}: {fault.reason}, not {quoted(fault.value)}."


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model whose fields are allowed at this place of a task file."""
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    parts: dict[str, type[BaseModel]] = {"source": Source, "archives": Archive, "split": Cut}
    return SplitFiles if name in SPLITS else parts.get(name, Task)


def _recipe_at_fault(data: dict[str, Any]) -> str:
    for name, settings in data["recipe"].items():
        try:
            Recipe().override(settings)
        except UsageError:
            return short(f"recipe.{name}")
    return "recipe"
