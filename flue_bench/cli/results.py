"""The option ``--results``: one or more results directories, read as a whole."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from flue_bench.record import RunRecord
    from flue_bench.results.rows import NamedRow
    from flue_bench.results.store import Contents

Results = Annotated[list[Path] | None, typer.Option(show_default="results", help="A results directory. Repeatable.")]


def read(results: list[Path] | None) -> dict[Path, Contents]:
    """Return the content of each directory.

    Raises:
        UsageError: one of them is not a directory, or all are empty.
    """
    from flue_bench.results.store import Store

    folders = results or [Path("results")]
    for folder in folders:
        if results and not folder.is_dir():
            raise UsageError(
                f"--results {folder}: {'not a directory' if folder.exists() else 'there is no such folder'}."
            )
    # Records have no cycles and stay until the command ends: looking for cycles among them, again and again as they
    # become more, costs a third of the time.
    gc.disable()
    try:
        by_folder = {folder: Store(folder).read() for folder in folders}
    finally:
        gc.freeze()
        gc.enable()
    if not any(any(contents) for contents in by_folder.values()):
        where = ", ".join(map(str, folders))
        raise UsageError(
            f"No records in {where}. Make some with flue-bench run, or give another folder with --results."
        )
    return by_folder


def records_of(by_folder: dict[Path, Contents]) -> list[RunRecord]:
    """Return the records of all directories."""
    return [record for contents in by_folder.values() for record in contents.records]


def damaged(by_folder: dict[Path, Contents]) -> list[tuple[Path, str]]:
    """Return the files that cannot be read, and why."""
    return [(folder / path, reason) for folder, contents in by_folder.items() for path, reason in contents.damaged]


def known_name(rows: Sequence[NamedRow], wanted: str) -> str:
    """Return a name that ``find`` knows: ``wanted`` itself, or for the path of a directory its model's digest.

    Raises:
        UnknownNameError: no row has this name, nor is it a directory whose model has been run.
        UsageError: several models have it.
    """
    from flue_bench.results.rows import find

    try:
        find(rows, wanted)
    except UnknownNameError:
        if not Path(wanted).expanduser().is_dir():
            raise
        from flue_bench.training import models  # reads the weights; all other names cost nothing

        given = models.resolve(wanted, offline=True).ref
        if not any(row.key.model == given.digest for row in rows):
            raise UnknownNameError(
                "model",
                wanted,
                {row.label for row in rows},
                f"No record has the weights in that directory ({given.digest[:7]}).",
            ) from None
        return given.digest
    return wanted
