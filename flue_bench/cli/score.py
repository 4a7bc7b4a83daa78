"""``flue-bench score`` scores fine-tuned checkpoints as they are, writes a record for each, and shows the board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flue_bench.cli.choices import SplitChoice
from flue_bench.cli.made import made
from flue_bench.cli.run import PrecisionChoice
from flue_bench.cli.settings import CLUSTER, MODELS, THREADS, WORKERS, number_of, settings
from flue_bench.errors import UsageError, quoted


def score(
    model: Annotated[list[str], MODELS],
    task: Annotated[
        list[str],
        typer.Option(
            "--task", "-t", help="Task, group, task file, or folder of them. Repeatable. See: flue-bench tasks."
        ),
    ],
    split: Annotated[SplitChoice, typer.Option(help="The split to score.")] = SplitChoice.test,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THEIRS=OURS,…",
            help="What the head's labels mean in the task, where their names do not say it; names with = or , stand in "
            "double quotes. Of a head that gives numbers, two of them: 0=0,1=5. Repeatable.",
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=4, show_default="the most the model takes", help="Sub-words at which inputs are cut."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto chooses bf16 or fp16 where the hardware gains from it.")
    ] = PrecisionChoice.fp32,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For a kind without training (senses): layer=-1 is the last, 0 the embeddings; pooling=mean, first or "
            "last sub-word. Repeatable.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many examples of each split.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use first; see docs/your-model.md."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
    results: Annotated[Path, typer.Option(help="The results folder to write to.")] = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Score again what has a record already.")] = False,
    workers: Annotated[str | None, WORKERS] = None,
    threads: Annotated[int | None, THREADS] = None,
    cluster: Annotated[Path | None, CLUSTER] = None,
) -> None:
    """Score models as they are, nothing trained: a fine-tuned one with its own head, or any frozen encoder on senses.

    Labels are matched by name, never by position; what was matched is printed. The board shows such models in rows of
    their own.

    Examples:
        flue-bench score -m cmarkea/distilcamembert-base-nli -t xnli
        flue-bench score -m ./my-model -t ./mine.toml --labels LABEL_0=negative,LABEL_1=positive
        flue-bench score -m camembert-base -t flue-vsd

    See also: run, which fine-tunes; leaderboard; compare --question trained. docs/published-models.md.
    """
    given = _pairs(labels or [])

    import flue_bench

    made(
        lambda display: flue_bench.score(
            model,
            task,
            split=split.value,
            labels=given,
            max_length=max_length,
            device=device,
            precision=precision.value,
            limit=limit,
            settings=settings(set_ or [], {}),
            data_dir=data_dir,
            offline=offline,
            results=results,
            force=force,
            workers=number_of(workers),
            threads=threads,
            cluster=cluster,
            progress=display,
        ),
        results,
        again="had a record already; --force scores them again.",
    )


def _pairs(given: list[str]) -> dict[str, str]:
    """Return what labels of a head mean, from every ``--labels``.

    Raises:
        UsageError: one cannot be read, or gives a label a second meaning.
    """
    from flue_bench.kinds.names import pairs

    meant: dict[str, str] = {}
    for option in given:
        try:
            found = pairs(option)
        except ValueError as error:
            raise UsageError(
                f"--labels {quoted(option)}: {error}: --labels 'LABEL_0=negative,LABEL_1=positive', "
                "--labels '\"a=b\"=positive'."
            ) from None
        for theirs, ours in found:
            if meant.setdefault(theirs, ours) != ours:
                raise UsageError(f"--labels: '{theirs}' is given twice, with two meanings.")
    return meant
