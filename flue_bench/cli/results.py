"""What ``--results`` names: one or more results directories, read whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.record import RunRecord
    from flue_bench.results.store import Contents

Results = Annotated[list[Path] | None, typer.Option(show_default="results", help="A results directory. Repeatable.")]


def read(results: list[Path] | None) -> dict[Path, Contents]:
    """What each of the directories holds.

    Raises:
        UsageError: one of them is no directory, or nothing is in any.
    """
    from flue_bench.results.store import Store

    folders = results or [Path("results")]
    for folder in folders:
        if results and not folder.is_dir():
            raise UsageError(
                f"--results {folder}: {'not a directory' if folder.exists() else 'there is no such folder'}."
            )
    found = {folder: Store(folder).read() for folder in folders}
    if not any(any(contents) for contents in found.values()):
        where = ", ".join(map(str, folders))
        raise UsageError(
            f"No records in {where}. Make some with flue-bench run, or name another folder with --results."
        )
    return found


def records_of(found: dict[Path, Contents]) -> list[RunRecord]:
    """Of all the directories."""
    return [record for contents in found.values() for record in contents.records]


def damaged(found: dict[Path, Contents]) -> list[tuple[Path, str]]:
    """Files that cannot be read, and why."""
    return [(folder / path, reason) for folder, contents in found.items() for path, reason in contents.damaged]
