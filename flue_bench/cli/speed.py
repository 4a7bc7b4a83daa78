"""``flue-bench speed`` measures what models cost to use, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.run import PrecisionChoice
from flue_bench.cli.settings import MODELS
from flue_bench.errors import IncompleteError

if TYPE_CHECKING:
    from rich.table import Table

    from flue_bench.record import SpeedRecord


def speed(
    model: Annotated[list[str], MODELS],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto chooses bf16 or fp16 where the hardware gains from it.")
    ] = PrecisionChoice.auto,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
    results: Annotated[Path, typer.Option(help="The results folder to write to.")] = Path("results"),
) -> None:
    """Measure models in turns: parameters, arithmetic, latency, throughput and memory of the encoder on French texts.

    Compare models only by ratios from one run on one machine; the last line of the table has them.

    Examples:
        flue-bench speed -m camembert-base -m ./my-student
        flue-bench speed -m camembert-base -m ./my-student --device cuda --precision bf16

    See also: leaderboard, which shows the speeds beside the scores. docs/speed.md.
    """
    import flue_bench
    from flue_bench.memory import keep_freed_memory, set_modules_aside
    from flue_bench.progress import Console, Display

    keep_freed_memory()
    set_modules_aside()
    display = Display(Console(stderr=True))
    failed: dict[str, str] = {}
    try:
        measured = flue_bench.measure_speed(
            model, device=device, precision=precision.value, offline=offline, results=results, progress=display
        )
    except IncompleteError as error:
        measured = error.results
        failed = measured.failed
    for name, reason in failed.items():
        display.line(f"{name}: not measured: {reason}")
    records, ratios = measured.records, measured.ratios
    if not records:
        raise typer.Exit(1)
    shown = Console()
    shown.print(_table(records, ratios))
    shown.print(
        f"\nForward pass of the bare encoder on {records[0].examples} French texts ({records[0].text}), tokenised "
        "before. Latency: one text at a time; throughput: batches of like length; median of the rounds."
    )
    for record in records:
        for note in record.environment.notes:
            display.once(f"{record.model.name}: {note}")
    display.line(f"Records: {results / 'speed'}   The board: flue-bench leaderboard --results {results}")
    if failed:
        raise typer.Exit(1)


def _table(records: list[SpeedRecord], ratios: list[list[float]]) -> Table:
    """Return a table with a column for each model.

    Args:
        records: measurements of the models, at least one.
        ratios: (models, rounds), throughput over that of the first; its median and range make the last line.
    """
    from statistics import median

    from rich.table import Table
    from rich.text import Text

    from flue_bench.boards.wording import NONE

    here = records[0].environment
    table = Table(
        "",
        title=f"{here.device}, {here.threads} thread{'s' * (here.threads > 1)}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for record in records:
        table.add_column(Text(record.model.name), justify="right", overflow="fold")

    def row(name: str, show: Callable[[SpeedRecord], str]) -> None:
        table.add_row(name, *map(show, records))

    def figure(value: float | None, unit: float, form: str, name: str) -> str:
        return NONE if value is None else f"{value / unit:{form}} {name}"

    row("precision", lambda it: it.precision)
    row("parameters", lambda it: f"{it.parameters / 1e6:.1f} M")
    row("weights on disk", lambda it: f"{(it.model.weights_bytes or 0) / 1e6:.1f} MB")
    row(
        "arithmetic a text", lambda it: NONE if (flops := it.flops_per_example) is None else f"{flops / 1e9:.3g} GFLOPs"
    )
    row("latency, median", lambda it: f"{it.latency_ms_median:.3g} ms")
    row("latency, 95 % under", lambda it: f"{it.latency_ms_p95:.3g} ms")
    row(f"throughput, batches of {records[0].batch_size}", lambda it: f"{it.examples_per_second:,.0f} texts/s")
    row("", lambda it: f"{it.tokens_per_second:,.0f} sub-words/s")
    row("share of matrix products' peak", lambda it: NONE if (share := it.share_of_peak) is None else f"{share:.0%}")
    row(
        "memory of such a batch", lambda it: NONE if (peak := it.peak_memory_bytes) is None else f"{peak / 1e6:,.0f} MB"
    )
    if len(records) > 1:
        table.add_row(
            "throughput ÷ first", "1", *(f"{median(one):.2f} ({min(one):.2f} to {max(one):.2f})" for one in ratios[1:])
        )
    return table
