"""``flue-bench run`` fine-tunes and scores models on tasks, writes a record for each cell, and shows the board."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.jobs.grid import Outcome

EMBEDDED = ["embedded:teacher", "embedded:student"]
"""The models that run where none is named."""


class PrecisionChoice(StrEnum):
    """Values of ``--precision``."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def run(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Hub id (org/name or org/name@revision), directory, or embedded:NAME. Repeatable."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", help="Task, group (flue, cls, mini) or task file. Repeatable. See: flue-bench tasks."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, show_default="1", help="Run seeds 0 to N-1.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, max=2**32 - 1, help="Run this seed. Repeatable.")] = None,
    recipe: Annotated[str, typer.Option(help="Named recipe of the tasks: standard, flue, quick.")] = "standard",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the recipe. Repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help="auto chooses bf16 where the hardware gains from it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many examples of each split.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use instead of downloads; see the README."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
    results: Annotated[Path, typer.Option(help="The folder to write records to.")] = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Run cells again that have a record already.")] = False,
) -> None:
    """Fine-tune and score models on tasks; every cell (model, task, seed) is run once and recorded.

    Without --task it runs the group 'flue'; with neither --task nor --model, the mini tasks on the embedded teacher
    and its student, which needs no network.
    """
    if seed and seeds:
        raise UsageError("--seeds N runs seeds 0 to N-1, --seed K a single one: give one or the other.")
    overrides = _settings(set_ or [])

    from flue_bench.data import registry
    from flue_bench.progress import Console

    tasks = registry.select(task or (["flue"] if model else ["mini"]))  # before torch: names are checked at once
    console = Console(stderr=True)
    if not model:
        console.print(f"No --model given: {' and '.join(EMBEDDED)}, small enough for any machine.")
    with console.status("Loading PyTorch and transformers"):
        from flue_bench.jobs.grid import Grid, run_grid
        from flue_bench.progress import Display
        from flue_bench.results.store import Store

    grid = Grid(
        models=list(dict.fromkeys(model or EMBEDDED)),
        tasks=tasks,
        seeds=sorted(set(seed)) if seed else list(range(seeds or 1)),
        recipe=recipe,
        overrides=overrides,
        precision=precision.value if precision else None,
        device=device,
        limit=limit,
        data_dir=data_dir,
        offline=offline,
        force=force,
    )
    display = Display(console)
    outcome = run_grid(grid, Store(results), display)
    _show(outcome)
    if outcome.reused:
        display.line(f"{outcome.reused} of {len(outcome.records)} cells had a record already; --force runs them again.")
    display.line(f"Records: {results / 'runs'}   The whole board: flue-bench leaderboard --results {results}")
    if outcome.failures or outcome.unloaded:
        raise typer.Exit(1)


def _settings(pairs: list[str]) -> dict[str, str]:
    """Return ``key=value`` options as a dictionary.

    Raises:
        UsageError: one of them has no equals sign.
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set needs KEY=VALUE, not '{pair}'.")
        settings[key.strip()] = value.strip()
    return settings


def _show(outcome: Outcome) -> None:
    """Print the board of this grid alone, on stdout."""

    from flue_bench.boards import board, render
    from flue_bench.progress import Console

    if outcome.records or outcome.failures:
        Console().print(render.terminal(board.build(outcome.records, outcome.failures)))
