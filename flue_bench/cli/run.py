"""``flue-bench run`` fine-tunes and scores models on tasks, writes a record for each cell, and shows the board."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.choices import SplitChoice
from flue_bench.cli.made import made
from flue_bench.cli.settings import CLUSTER, MODELS, THREADS, WORKERS, number_of, settings, values
from flue_bench.errors import UsageError, quoted

if TYPE_CHECKING:
    from flue_bench.progress import Display
    from flue_bench.results.runs import Results


class KeepChoice(StrEnum):
    """Values of ``--keep``."""

    best = "best"
    all = "all"


class PrecisionChoice(StrEnum):
    """Values of ``--precision``."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def run(
    model: Annotated[list[str] | None, MODELS] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Task, group (flue, cls, mini), task file, or folder of them. Repeatable. See: flue-bench tasks.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="FINE-TUNED",
            help="Also learn from the soft labels of this fine-tuned model: one that --keep left behind, or any whose "
            "head has the tasks' labels. --set alpha and --set temperature say how. See docs/teachers.md.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, show_default="1", help="Run seeds 0 to N-1.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, max=2**32 - 1, help="Run this seed. Repeatable.")] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Named recipe of the tasks: standard, flue, quick; or of the field: run_glue, run_ner, euroeval."
        ),
    ] = "standard",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one field of the recipe; docs/recipe-fields.md has them all. Repeatable.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help="auto chooses bf16 or fp16 where the hardware gains from it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many examples of each split.")] = None,
    train_rows: Annotated[
        str,
        typer.Option(
            metavar="N,N,…,all",
            help="Train on this many rows, drawn by seed; each number is a run of its own; validation and test stay "
            "whole. See docs/checkpoints-and-curves.md.",
        ),
    ] = "all",
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use first; see docs/your-model.md."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
    results: Annotated[Path, typer.Option(help="The results folder to write to.")] = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Run cells again that have a record already.")] = False,
    keep: Annotated[
        KeepChoice | None,
        typer.Option(
            help="Keep fine-tuned models in RESULTS/models: all, or of each model and task the best on validation."
        ),
    ] = None,
    split: Annotated[
        SplitChoice,
        typer.Option(help="The split to score; validation reads no test data, for tuning by hand."),
    ] = SplitChoice.test,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,VALUE…",
            help="Choose a field of the recipe on validation alone, then run the best of each model and task; or a "
            "named search: camembert2. Several make all combinations. Repeatable. See docs/tuning.md.",
        ),
    ] = None,
    search_trials: Annotated[
        int | None,
        typer.Option(min=2, help="Try only this many of the combinations, drawn by a hash.", show_default="all"),
    ] = None,
    search_seeds: Annotated[int, typer.Option(min=1, help="Tuning seeds of each combination.")] = 1,
    workers: Annotated[str | None, WORKERS] = None,
    threads: Annotated[int | None, THREADS] = None,
    cluster: Annotated[Path | None, CLUSTER] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be run, how long it takes and what it can show; run nothing."),
    ] = False,
) -> None:
    """Fine-tune and score models on tasks; every cell (model, task, seed) is run once and recorded.

    Without --task it runs the group 'flue'; with neither --task nor --model, the mini tasks on the embedded teacher
    and its student, which needs no network.

    Examples:
        flue-bench run -m camembert-base -m ./my-student -t flue-open --seeds 5
        flue-bench run -m camembert-base -t flue-open --seeds 5 --workers auto --dry-run
        flue-bench run -m ./my-student -t xnli --search learning_rate=1e-5,3e-5,5e-5 --seeds 3

    See also: score, for models that are fine-tuned already; leaderboard, compare and verify, for what was recorded;
    fetch, for machines without network. docs/your-model.md.
    """
    if seed and seeds:
        raise UsageError("--seeds N runs seeds 0 to N-1, --seed K a single one: give one or the other.")
    overrides = settings(set_ or [], {"precision": precision})
    sizes = [size.strip().replace("_", "") for size in train_rows.split(",")]
    if not all(size == "all" or (size.isdecimal() and int(size)) for size in sizes):
        raise UsageError(f"--train-rows {quoted(train_rows)}: numbers of at least 1 row, or all: 100,300,1000,all.")

    import flue_bench
    from flue_bench.api import EMBEDDED

    def make(display: Display) -> Results:
        return flue_bench.run(
            model,
            task,
            teacher=teacher,
            seeds=seed or seeds or 1,
            recipe=recipe,
            overrides=overrides,
            precision=precision.value if precision else None,
            device=device,
            limit=limit,
            train_rows=["all" if size == "all" else int(size) for size in sizes],
            data_dir=data_dir,
            offline=offline,
            results=results,
            force=force,
            keep=keep.value if keep else None,
            split=split.value,
            search=values(search) if search else None,
            search_trials=search_trials,
            search_seeds=search_seeds,
            workers=number_of(workers),
            threads=threads,
            cluster=cluster,
            dry_run=dry_run,
            progress=display,
        )

    if dry_run:
        from flue_bench.progress import Console, Display

        make(Display(Console()))
        return
    made(
        make,
        results,
        again="cells had a record already; --force runs them again.",
        opening=None if model else f"No --model given: {' and '.join(EMBEDDED)}, small enough for any machine.",
        more=_kept if keep else lambda done: (),
        tuned=bool(search),
    )


def _kept(done: Results) -> Iterator[str]:
    """Return where the models are that a run kept."""
    for record in done.records:
        if (folder := done.model_dir(record)) is not None:
            yield f"Kept: {folder}{f'  COLLAPSED: {record.collapsed}' if record.collapsed else ''}"
