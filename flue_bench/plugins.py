"""What installed packages bring, found by their entry points. Without pydantic, so that ``--help`` is quick."""

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
CHECKS = "flue_bench.checks"
"""Entry points of this group name functions that ``doctor --self-test`` runs: ``flue_bench.jobs.selftest.Check``."""


class Finding(NamedTuple):
    """One line of ``flue-bench doctor``."""

    state: Literal["ok", "note", "problem"]
    what: str
    found: str
    advice: str = ""
    """What to do where all is not well."""


def commands() -> dict[str, Callable[..., None]]:
    """Every command that plugins add to the command line, by name.

    Raises:
        TaskFileError: a plugin that cannot be imported, a name taken twice.
    """
    return load_all(COMMANDS)


def load_all(group: str) -> dict[str, Any]:
    """What the entry points of a group name, by their own names.

    Raises:
        TaskFileError: a plugin that cannot be imported, a name taken twice.
    """
    found: dict[str, Any] = {}
    for entry in entries(group):
        if entry.name in found:
            raise TaskFileError(f"The name '{entry.name}' is taken twice; the second time by {describe(entry)}.")
        found[entry.name] = load(entry)
    return found


def entries(group: str) -> list[EntryPoint]:
    """Entry points in an order that does not depend on the installation."""
    return sorted(entry_points(group=group), key=lambda entry: (entry.value, entry.name))


def load(entry: EntryPoint) -> Any:
    """What it names.

    Raises:
        TaskFileError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:  # whatever a plugin's module raises
        raise TaskFileError(f"{describe(entry)} cannot be loaded: {type(error).__name__}: {error}") from error


def describe(entry: EntryPoint) -> str:
    """A plugin in an error message."""
    of = f" of package {entry.dist.name}" if entry.dist else ""
    return f"Plugin '{entry.name} = {entry.value}' ({entry.group}){of}"
