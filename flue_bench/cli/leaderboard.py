"""``flue-bench leaderboard``: the records of one or more results directories as a table."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flue_bench.errors import RecordError, UsageError


class Format(StrEnum):
    """Values of ``--format``."""

    terminal = "terminal"
    markdown = "markdown"
    json = "json"
    csv = "csv"


def leaderboard(
    results: Annotated[
        list[Path] | None, typer.Option(show_default="results", help="A results directory. Repeatable.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Show this score, e.g. accuracy, instead of each task's headline metric.")
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", "-f", help="csv has one line a task and seed; json holds everything.")
    ] = Format.terminal,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
) -> None:
    """Compare models: a row each, a column a task, mean ± standard deviation over seeds."""
    from rich.console import Console

    from flue_bench.leaderboard import board, render
    from flue_bench.store import Store

    folders = results or [Path("results")]
    contents = [Store(folder).read() for folder in folders]
    if not any(any(content) for content in contents):
        where = ", ".join(map(str, folders))
        raise UsageError(
            f"No records in {where}. Make some with flue-bench run, or name another folder with --results."
        )
    built = board.build(
        [record for content in contents for record in content.records],
        [failure for content in contents for failure in content.failures],
        [
            (folder / path, reason)
            for folder, content in zip(folders, contents, strict=True)
            for path, reason in content.damaged
        ],
        metric,
    )
    if format_ is not Format.terminal:
        text = render.FORMATS[format_](built)
    elif out is not None:
        drawn = io.StringIO()
        Console(file=drawn, width=100, color_system=None).print(render.terminal(built))
        text = drawn.getvalue()
    else:
        Console().print(render.terminal(built))
        return
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RecordError(f"{out}: cannot be written: {error.strerror or error}.") from error
