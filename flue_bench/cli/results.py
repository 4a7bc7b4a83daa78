"""The option ``--results``: one or more results directories, read as a whole."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import flue_bench

if TYPE_CHECKING:
    from flue_bench.results.runs import Results as Read

Results = Annotated[list[Path] | None, typer.Option(show_default="results", help="A results directory. Repeatable.")]


def read(results: list[Path] | None) -> Read:
    """Return the content of the directories that were named, or of the usual one.

    Raises:
        UsageError: one of them is not a directory, or all are empty.
    """
    # Records stay until the command ends. They are set aside before the collector may look for cycles among them: one
    # look at ten thousand takes half a second.
    collects = gc.isenabled()
    gc.disable()
    try:
        return flue_bench.read_results(results or [Path("results")])
    finally:
        gc.freeze()
        if collects:
            gc.enable()
