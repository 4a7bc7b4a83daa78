"""The option ``--results``: one or more results folders, read as a whole."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import flue_bench
from flue_bench.cli.output import say

if TYPE_CHECKING:
    from flue_bench.results.runs import Results as Read

Results = Annotated[
    list[Path] | None,
    typer.Option(
        show_default="results",
        help="A results folder, or what somebody published: hub:org/name, hub:org/name@revision. Repeatable.",
    ),
]


MOST = 5
"""Files that are left out and named, each on a line; the board's notes have all of them."""


def read(results: list[Path] | None) -> Read:
    """Return the content of the folders that were named, or of the usual one, and say what is left out of it.

    Raises:
        UsageError: one of them is not a folder, or all are empty.
    """
    # Records stay until the command ends. They are set aside before the collector may look for cycles among them: one
    # look at ten thousand takes half a second.
    collects = gc.isenabled()
    gc.disable()
    try:
        contents = flue_bench.read_results(results or [Path("results")])
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    for words in contents.published:
        say(words, err=True)
    for path, reason in contents.damaged[:MOST]:
        say(f"Left out: {path}: {reason}", err=True)
    if (more := len(contents.damaged) - MOST) > 0:
        say(f"Left out: {more:,} more; see flue-bench verify.", err=True)
    return contents
