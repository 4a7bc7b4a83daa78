"""``flue-bench leaderboard`` shows the records of one or more results folders as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from flue_bench.cli.choices import SplitChoice
from flue_bench.cli.output import put
from flue_bench.cli.results import Results, read

if TYPE_CHECKING:
    from flue_bench.boards.board import Run
    from flue_bench.record import RunRecord


class Format(StrEnum):
    """Values of ``--format``."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    latex = "latex"
    json = "json"
    csv = "csv"
    svg = "svg"


def leaderboard(
    results: Results = None,
    metric: Annotated[
        str | None, typer.Option(help="Show this score, e.g. accuracy, instead of each task's headline metric.")
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="Output format. csv has a line for each task and seed; json holds everything; svg the curves alone.",
        ),
    ] = Format.terminal,
    teacher: Annotated[
        str | None, typer.Option(help="With --student: show how much of this model's scores the student keeps.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(help="With --teacher. Without both, each student is paired with the model it was distilled from."),
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(help="Show what students keep above this model's scores too, e.g. one with random weights."),
    ] = None,
    overall: Annotated[
        list[str] | None,
        typer.Option(
            help="Rank the models that have all of these by their mean over them: a group such as flue, a task, "
            "a column. Repeatable."
        ),
    ] = None,
    split: Annotated[
        SplitChoice, typer.Option(help="The split whose scores are shown; validation is for tuning by hand.")
    ] = SplitChoice.test,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
) -> None:
    """Show the board: a row for each model, a column for each task, mean ± sd over seeds, with 95 % intervals.

    Examples:
        flue-bench leaderboard --overall flue-open
        flue-bench leaderboard --format html --out board.html
        flue-bench leaderboard --results results --results hub:org/records

    See also: compare, for two models; verify, for what is left out; speed, for what models cost.
    docs/reading-a-board.md explains every mark.
    """
    import flue_bench
    from flue_bench.boards import render
    from flue_bench.progress import Console
    from flue_bench.results.evidence import Evidence

    contents = read(results)
    built = flue_bench.build_board(
        contents,
        metric=metric,
        teacher=teacher,
        student=student,
        overall=overall or (),
        floor=floor,
        split=split.value,
    )
    if format_ is Format.html:
        from flue_bench.boards.html import html
        from flue_bench.results.remote import is_published

        own = [folder for folder in contents.folders if not is_published(folder)]
        link = _link(contents.records, own, out)
        text = html(built, contents.records, Evidence(contents.folders), link)
    elif format_ is not Format.terminal:
        text = render.FORMATS[format_](built)
    elif out is not None:
        text = str(built)
    else:
        Console().print(built)
        return
    put(text, out)


def _link(records: list[RunRecord], folders: Sequence[Path], out: Path | None) -> Callable[[Run], str | None]:
    """Return a function from a run to the relative address of its record, or None where the page is not near it.

    A path that climbs through the whole disk would publish the names of its folders.
    """
    from flue_bench.results.rows import by_run
    from flue_bench.results.store import Store

    records_of = by_run(records)

    def link(run: Run) -> str | None:
        record = records_of[run.key]
        for folder in folders if out else ():
            file = Store(folder).record_path(record.cell)
            if out and file.is_file():
                path = Path(os.path.relpath(file, out.parent))
                return quote(path.as_posix()) if path.parts[:3] != ("..", "..", "..") else None
        return None

    return link
