"""Plugins of installed packages, found by their entry points. pydantic is not imported, so that ``--help`` is fast."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from flue_bench.errors import TaskFileError

TASKS = "flue_bench.tasks"
"""Entry points of this group name packages; each ``*.toml`` in such a package is a task."""
READERS = "flue_bench.readers"
"""Entry points of this group name functions, see ``flue_bench.task.Reader``."""
KINDS = "flue_bench.kinds"
"""Entry points of this group name objects, see ``flue_bench.kinds.kind.Kind``."""
COMMANDS = "flue_bench.commands"
"""Entry points of this group name functions in typer's style; they become ``flue-bench NAME``."""
JOBS = "flue_bench.jobs"
"""Entry points of this group name functions that workers run: ``flue_bench.jobs.worker.Job``."""
CHECKS = "flue_bench.checks"
"""Entry points of this group name functions that ``doctor --self-test`` runs: ``flue_bench.jobs.selftest.Check``."""


class Finding(NamedTuple):
    """One line of ``flue-bench doctor``."""

    state: Literal["ok", "note", "problem"]
    what: str
    found: str
    advice: str = ""
    """What to do about a problem."""


def commands() -> dict[str, Callable[..., None]]:
    """Return every command that plugins add to the command line, by name.

    Raises:
        TaskFileError: a plugin that cannot be imported, a name taken twice.
    """
    return load_all(COMMANDS)


def load_all(group: str) -> dict[str, Any]:
    """Load the objects that the entry points of a group name, by the entry points' names.

    Raises:
        TaskFileError: a plugin that cannot be imported, a name taken twice.
    """
    loaded: dict[str, Any] = {}
    for entry in entries(group):
        if entry.name in loaded:
            raise TaskFileError(f"The name '{entry.name}' is taken twice; the second time by {describe(entry)}.")
        loaded[entry.name] = load(entry)
    return loaded


def entries(group: str) -> list[EntryPoint]:
    """Return the entry points of a group in an order that does not depend on the installation."""
    return sorted(entry_points(group=group), key=lambda entry: (entry.value, entry.name))


def load(entry: EntryPoint) -> Any:
    """Import the object that an entry point names.

    Raises:
        TaskFileError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:  # whatever a plugin's module raises
        raise TaskFileError(f"{describe(entry)} cannot be loaded: {type(error).__name__}: {error}") from error


def describe(entry: EntryPoint) -> str:
    """Return how an error message names a plugin."""
    of = f" of package {entry.dist.name}" if entry.dist else ""
    return f"Plugin '{entry.name} = {entry.value}' ({entry.group}){of}"
