"""``flue-bench compare`` tests whether the difference of two models, on the tasks they share, is more than chance."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.output import put
from flue_bench.cli.results import Results, read
from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.boards.compared import Comparison


class QuestionChoice(StrEnum):
    """Values of ``--question``."""

    pretrained = "pretrained"
    trained = "trained"
    distilled = "distilled"


class Format(StrEnum):
    """Values of ``--format``."""

    terminal = "terminal"
    markdown = "markdown"
    json = "json"


FORMATS: dict[Format, Callable[[Comparison], str]] = {
    Format.terminal: str,
    Format.markdown: lambda answer: answer.to_markdown(),
    Format.json: lambda answer: answer.to_json(),
}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A model's name on the board, or the start of its digest.")],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The other model. 'NAME (RECIPE, PRECISION)' names one of several rows.")
    ],
    results: Results = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Task or board column. Repeatable.")] = None,
    question: Annotated[
        QuestionChoice,
        typer.Option(
            help="pretrained: over all seeds. trained: two fine-tuned models of one seed, as they are. "
            "distilled: over all distillations of a recipe."
        ),
    ] = QuestionChoice.pretrained,
    metric: Annotated[
        str | None, typer.Option(help="Compare by this score, e.g. accuracy, instead of each task's headline metric.")
    ] = None,
    retention: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            show_default="0.97 if B is the teacher of A",
            help="Test whether A keeps at least this share of B's score.",
        ),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Test whether A and B are equivalent within a share of B's score, 3%, or within points, 3points. "
            "Name it before you see the scores."
        ),
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(help="Show what A keeps of B's score above this model's too, e.g. one with random weights."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(show_default="lowest in common", help="With --question trained: the seed to compare.")
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", "-f", help="Output format; json holds everything.")
    ] = Format.terminal,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
) -> None:
    """Test whether one model is better than another, or the difference is chance; --question says in which sense."""
    if seed is not None and question is not QuestionChoice.trained:
        raise UsageError("--seed needs --question trained: the comparison of pretrained models uses all seeds.")

    import flue_bench
    from flue_bench.progress import Console

    answer = flue_bench.compare(
        a,
        b,
        read(results),
        tasks=task or (),
        question=question.value,
        metric=metric,
        retention=retention,
        seed=seed,
        margin=margin,
        floor=floor,
    )
    if format_ is Format.terminal and out is None:
        Console().print(answer)
        return
    put(FORMATS[format_](answer), out)
