"""``flue-bench verify`` checks that records are what they say they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.output import say
from flue_bench.errors import counted

if TYPE_CHECKING:
    from flue_bench.results.verify import Checked
    from flue_bench.statistics.reruns import Verdict


def verify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH…]",
            show_default="results",
            help="Records (.json), or results folders and hub:org/name for all in them.",
        ),
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Also train each cell again and compare the predictions.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="With --rerun: the file of a task that is not installed. Repeatable."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="With --rerun: the model's hub id or folder; by default the record's, at its revision, or "
            "the one that was kept in its results folder.",
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="With --rerun: the same of the teacher of a record that has one.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --rerun: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="FLUE_BENCH_DATA", help="With --rerun: folder of data to use first; see docs/your-model.md."
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Recompute every score from the stored predictions, and check hashes, digests and schema.

    Records are also held against what is installed, and against each other: give them together. Boards, compare and
    card leave out what is found here.

    The exit code is 1 if a record is not as it was written, or could not be run again. Equal bytes are promised only on
    the machine that made the record, with its threads and versions. With --rerun, a record whose predictions are not
    the same to the byte gets a verdict, and the worst of several is the exit code: 3, another machine (the differences
    are no more than that makes); 4, undecided; 5, not borne out (the rows lean to one side by more than chance, and by
    more than those of the setting's other seeds).

    Examples:
        flue-bench verify
        flue-bench verify results hub:org/records
        flue-bench verify results/runs/camembert-base/xnli/seed0-0123456789abcdef.json --rerun

    See also: leaderboard, compare and card, which show only what passes; tasks audit, for the data. docs/records.md.
    """
    import flue_bench
    from flue_bench.memory import keep_freed_memory

    if rerun:
        keep_freed_memory()
    checked = flue_bench.verify_records(
        paths or [Path("results")],
        rerun=rerun,
        tasks=task or (),
        model=model,
        teacher=teacher,
        device=device,
        data_dir=data_dir,
        offline=offline,
    )
    _show({each.file: "; ".join([*(each.faults or [each.rerun or "ok"]), *each.remarks]) for each in checked})
    wrong = sum(not each.ok for each in checked)
    verdicts = Counter(each.verdict for each in checked if each.verdict)
    rerun_said = (
        f"; rerun: {', '.join(f'{number:,} {words}' for words, number in verdicts.items())}" if verdicts else ""
    )
    say(f"{counted(len(checked), 'record')}: {len(checked) - wrong:,} ok, {wrong:,} not{rerun_said}")
    if code := exit_code(checked):
        raise typer.Exit(code)


CODES: dict[Verdict, int] = {"another machine": 3, "undecided": 4, "not borne out": 5}
"""Exit codes of what a rerun finds."""


def exit_code(checked: Iterable[Checked]) -> int:
    """Return 1 if anything is wrong but what a rerun found, otherwise the highest code of a rerun's verdict."""
    codes = [CODES.get(each.verdict, 0) if each.verdict else int(not each.ok) for each in checked]
    return 1 if 1 in codes else max(codes, default=0)


def _show(said: dict[Path, str]) -> None:
    from rich import box
    from rich.table import Table

    from flue_bench.progress import Console

    table = Table("record", "", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = "fold"
    for file, words in said.items():
        table.add_row(str(file), words)
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to fit
    console.print(table)
