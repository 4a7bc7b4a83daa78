"""``flue-bench compare`` tests whether the difference of two models, on the tasks they share, is more than chance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.output import put, say
from flue_bench.cli.results import Results, read
from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.boards.compared import Comparison
    from flue_bench.boards.disagreed import Disagreements


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
    csv = "csv"
    jsonl = "jsonl"


FORMATS: dict[Format, Callable[[Comparison], str]] = {
    Format.terminal: str,
    Format.markdown: lambda answer: answer.to_markdown(),
    Format.json: lambda answer: answer.to_json(),
}
OF_ROWS: dict[Format, Callable[[Disagreements], str]] = {
    Format.terminal: str,
    Format.json: lambda answer: answer.to_json(),
    Format.csv: lambda answer: answer.to_csv(),
    Format.jsonl: lambda answer: answer.to_jsonl(),
}
LIMIT = 10
"""Examples of a kind of disagreement that are shown where nothing else is asked for; files have all of them."""


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
        Format,
        typer.Option("--format", "-f", help="json holds everything; csv and jsonl are of --rows."),
    ] = Format.terminal,
    rows: Annotated[
        bool,
        typer.Option(
            "--rows",
            help="List the examples on which A and B disagree, the surest first. Their texts are read from your own "
            "data, and shown in a terminal alone.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="10 on the screen, all in a file",
            help="With --rows: list at most this many examples of a task that are nearer to A, to B, and neither.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="With --rows: folder of data to use first. Nothing is downloaded."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
) -> None:
    """Test whether one model is better than another or the difference is chance; --question says in which sense.

    Examples:
        flue-bench compare ./my-student camembert-base
        flue-bench compare ./my-student camembert-base --retention 0.97 --margin 3%
        flue-bench compare ./my-student camembert-base -t xnli --rows

    See also: leaderboard, which has the names; run --dry-run, which says what so many seeds can show.
    docs/comparing.md.
    """
    if rows:
        others = {"metric": metric, "retention": retention, "margin": margin, "floor": floor}
        _rows(a, b, results, task or [], question, seed, format_, limit, data_dir, out, others)
        return
    if limit is not None:
        raise UsageError("--limit says how many examples are listed: it needs --rows.")
    if format_ not in FORMATS:
        raise UsageError(f"--format {format_} lists examples: it needs --rows.")
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


def _rows(
    a: str,
    b: str,
    results: list[Path] | None,
    tasks: list[str],
    question: QuestionChoice,
    seed: int | None,
    format_: Format,
    limit: int | None,
    data_dir: Path | None,
    out: Path | None,
    others: Mapping[str, object],
) -> None:
    """Show where the models disagree."""
    if given := [name for name, value in others.items() if value is not None]:
        raise UsageError(f"--{given[0]} is of the test of a difference: leave it or --rows out.")
    if format_ not in OF_ROWS:
        raise UsageError(f"--format {format_} does not list examples: take terminal, json, csv or jsonl.")

    import flue_bench
    from flue_bench.boards.disagreed import heading
    from flue_bench.data import registry
    from flue_bench.progress import Console
    from flue_bench.results import texts

    loose = registry.select([each for each in tasks if each.endswith(".toml")])  # tasks that are not installed
    names = [*(each for each in tasks if not each.endswith(".toml")), *(each.task.name for each in loose)]
    on_screen = format_ is Format.terminal and out is None
    answer = flue_bench.compare_rows(
        a,
        b,
        read(results),
        tasks=names,
        question=question.value,
        seed=seed,
        limit=limit or (LIMIT if on_screen else None),
    )
    console = Console()
    if on_screen and sys.stdout.isatty():  # what rich takes for a terminal may be a file
        with Console(stderr=True).status("Reading the texts of your data"):
            found = {on.task: texts.of_record(on.record, loose, data_dir) for on in answer.tasks}
        examples = {task: of_task for task, (of_task, _) in found.items()}
        console.print(answer.with_texts(examples, {task: reason for task, (_, reason) in found.items() if reason}))
        return
    if on_screen:
        console.print(answer)
        say("Texts of your data are shown in a terminal alone.", err=True)
        return
    if format_ in (Format.csv, Format.jsonl):
        for on in answer.tasks:
            say(heading(on), err=True)
    put(OF_ROWS[format_](answer), out)
