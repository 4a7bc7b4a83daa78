"""Options of several commands: ``--model``, ``--set``, ``--search``, ``--workers``, ``--threads``, ``--cluster``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import typer

from flue_bench import field
from flue_bench.errors import UsageError, quoted

MODELS: Any = typer.Option(
    "--model",
    "-m",
    help="Hub id (org/name or org/name@revision), folder, pattern of folders ('OUT/checkpoint-*', quoted), or "
    "embedded:NAME. Repeatable.",
)
WORKERS: Any = typer.Option(
    metavar="N|auto",
    help="Run several cells at once, each in a process of its own; auto: one a GPU, or one for each --threads cores. "
    "Needs the extra 'cluster'; see docs/clusters.md.",
)
THREADS: Any = typer.Option(
    min=1,
    show_default="the cores divided among them; with --workers auto on a CPU OMP_NUM_THREADS, or 4",
    help="Threads of each worker.",
)

CLUSTER: Any = typer.Option(
    metavar="FILE",
    help="Run the cells on a cluster: a .toml of settings for Slurm, or a .py with a Parsl configuration, which is run "
    "as your own code. See docs/clusters.md.",
)


def number_of(workers: str | None) -> int | Literal["auto"] | None:
    """Return what ``--workers`` says.

    Raises:
        UsageError: it is neither a number nor ``auto``.
    """
    if workers is None:
        return None
    if workers == "auto":
        return "auto"
    if not workers.isdecimal():
        raise UsageError(f"--workers {quoted(workers)}: a number of at least 1, or auto.")
    return int(workers)


def settings(pairs: Iterable[str], options: Mapping[str, object]) -> dict[str, str]:
    """Return ``key=value`` options as a dictionary.

    Args:
        pairs: ``key=value``, each key once.
        options: options of the command that set a field of the recipe too: field → value, None where it is not given.

    Raises:
        UsageError: a pair without a key or an equals sign, or a key that is given twice.
    """
    named: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise UsageError(f"--set needs KEY=VALUE, not {quoted(pair)}.")
        if key in named:
            raise UsageError(f"--set {key} is given twice, as {quoted(named[key])} and {quoted(value)}: leave one out.")
        if options.get(key) is not None:
            raise UsageError(f"--{key} and --set {key} are both given: leave one out.")
        named[key] = value
    return named


def values(asked: Iterable[str]) -> dict[str, list[str]]:
    """Return ``key=value,value`` options as a dictionary; the name of a search stands for its fields.

    Raises:
        UnknownNameError: an option without an equals sign is the name of no search.
        UsageError: an option without a key, or a key that is given twice.
    """
    named: dict[str, list[str]] = {}
    for option in asked:
        key, equals, listed = (part.strip() for part in option.partition("="))
        if equals and not key:
            raise UsageError(f"--search needs KEY=VALUE,VALUE, not {quoted(option)}.")
        if not equals and key not in field.SEARCHES:
            raise field.unknown_search(key)
        given = {key: listed.split(",")} if equals else field.SEARCHES[key].fields
        for name, of_name in given.items():
            if name in named:
                raise UsageError(f"--search {name} is given twice: leave one out.")
            named[name] = [str(value).strip() for value in of_name]
    return named
