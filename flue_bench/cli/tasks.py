"""``flue-bench tasks`` lists the tasks, shows one, checks a task file, and audits a task's data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flue_bench.cli.command import Command, Group
from flue_bench.cli.output import put, say
from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.data.registry import Registered
    from flue_bench.kinds.kind import Kind
    from flue_bench.task import Archive, Example, Source, Split, Task

app = typer.Typer(cls=Group, invoke_without_command=True)


@app.callback()
def table(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="List only this kind of task: tokens, regression, ….")] = None,
    group: Annotated[str | None, typer.Option(help="List only this group: flue, french, similarity, ….")] = None,
    licence: Annotated[
        str | None, typer.Option(help="List only this licence, with or without its version: MIT, cc-by, ….")
    ] = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="List only tasks whose data can be fetched without asking anybody.")
    ] = False,
) -> None:
    """List the tasks; show one; check a task file; audit its data.

    Examples:
        flue-bench tasks --open --group french --kind tokens
        flue-bench tasks show xnli
        flue-bench tasks check ./mine.toml

    See also: run and score, which take a task's name or file. docs/your-model.md, docs/task-files.md.
    """
    filters = {"--kind": kind, "--group": group, "--licence": licence, "--open": open_only}
    asked = [name for name, value in filters.items() if value]
    if context.invoked_subcommand:
        if asked:
            raise UsageError(
                f"{asked[0]} filters the list of tasks: leave it out of `tasks {context.invoked_subcommand}`."
            )
        return
    from rich import box
    from rich.table import Table

    from flue_bench.data import registry
    from flue_bench.progress import Console

    found = registry.filtered(group=group, kind=kind, licence=licence, open_only=open_only)
    if not found:
        say(f"No task has all of {', '.join(asked)}.")
        return
    columns = (
        "task",
        "version",
        "kind",
        "labels",
        "metric",
        "rows: train, validation, test",
        "data",
        "groups",
        "licence",
    )
    shown = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    shown.columns[0].no_wrap = True
    for each in found:
        task = each.task
        cells = (
            task.name,
            str(task.version),
            task.kind,
            _few(task.labels),
            task.metric,
            _rows(task),
            _data(each),
            ", ".join(task.groups),
            task.licence,
        )
        shown.add_row(*cells)
    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file or a pipe has no width to fit
    console.print(shown)
    if len(found) > 1:
        free = sum(each.open for each in found)
        console.print(f"{len(found)} tasks; the data of {free} can be fetched, or are made, without asking anybody.")
    if any(each.moves for each in found):
        console.print("open, moves: on a branch of the hub, which can change: its data are never canonical.")


@app.command(cls=Command)
def show(names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Task, group or task file.")]) -> None:
    """Show everything about a task: sources, recipes, licence, citation.

    Examples:
        flue-bench tasks show xnli
        flue-bench tasks show ./mine.toml

    See also: tasks check, for its data; run. docs/task-files.md.
    """
    from flue_bench.data import registry

    say("\n\n".join(_described(each) for each in registry.select(names)))


@app.command(cls=Command)
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Task file, folder of them, task or group.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use first; see docs/your-model.md."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Show the rows as this model will see them.")
    ] = "embedded:untrained",
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show.")] = 3,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Check a task file: validate it, load its data, and print some rows as a model will see them.

    Examples:
        flue-bench tasks check ./mine.toml
        flue-bench tasks check xnli --model camembert-base --rows 10

    See also: tasks audit, for duplicates and truncation; run. docs/task-files.md.
    """
    import flue_bench
    from flue_bench.data import registry
    from flue_bench.kinds.kind import kind_named
    from flue_bench.task import SPLITS

    for each in registry.select(files):
        task = each.task
        kind = kind_named(task.kind)
        data = flue_bench.load_data(task, data_dir=data_dir, offline=offline, progress=False)
        say(f"{task.name} (version {task.version}, {task.kind}): {each.file}")
        say(f"source: {data.ref.source}, digest {data.ref.digest}; examples and labels:")
        for split in SPLITS:
            cut = " (cut from train)" if split in data.ref.cut else ""
            say(f"{split}: {data.ref.rows[split]:,}{cut}: {_balance(kind, task, data.splits[split])}")
        if not task.rows:
            say("canonical: yes, the task states no row counts")
        else:
            say(f"canonical: {'yes' if data.ref.canonical else 'no'}")
        for deviation in data.ref.deviations:
            say(f"deviation: {deviation}")
        for hint in data.hints:
            say(f"hint: {hint}")
        if (recipe := task.named_recipe("standard")).epochs == "auto" and kind.frozen is None:
            train = data.ref.rows["train"]
            say(f"recipe standard: epochs auto, {recipe.epochs_on(train)} on {train:,} rows")
        if rows:
            _show_rows(kind, task, data.splits["train"][:rows], model, offline)


@app.command(cls=Command)
def audit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Task or task file.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use first; see docs/your-model.md."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Also count what truncation loses for this model: hub id or folder.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=4, show_default="of recipe standard", help="Sub-words, with --tokenizer.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write counts and ids to this file, as JSON.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Audit a data set: what its splits share, contradictory labels, balance, lengths, truncation.

    Two texts have the same words if they are equal in lower case and without punctuation; they are near if the sets of
    character 5-grams of these have a Jaccard index of at least 0.8. Only counts and ids are shown, never a text.

    Examples:
        flue-bench tasks audit xnli --tokenizer camembert-base
        flue-bench tasks audit ./mine.toml --out audit.json

    See also: tasks check; verify, for records. docs/records.md.
    """
    if max_length and not tokenizer:
        raise UsageError("--max-length says where inputs are cut: it needs --tokenizer.")

    from rich import box
    from rich.table import Table

    from flue_bench.data import registry, sources
    from flue_bench.jobs import audit as audits
    from flue_bench.progress import Console, Display

    chosen = registry.select([name])
    if len(chosen) > 1:
        raise UsageError(f"{name} is a group: audit one of {', '.join(each.task.name for each in chosen)}.")
    task = chosen[0].task
    display = Display(Console(stderr=True))
    with display.running():
        with display.bar(f"{task.name}: reading data"):
            data = sources.load(chosen[0], data_dir=data_dir, offline=offline)
        made = audits.audit(task, data, display)
        if tokenizer:
            length = max_length or task.named_recipe("standard").max_length
            with display.bar(f"{task.name}: sub-words"):
                made = replace(made, subwords=audits.subwords(task, data, tokenizer, length, offline))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to fit
    for each in audits.tables(made):
        shown = Table(*each.columns, title=each.title, box=box.SIMPLE_HEAD, pad_edge=False)
        for line in each.rows:
            shown.add_row(*line)
        console.print(shown)
    if out is not None:
        put(audits.to_json(made), out)


def _show_rows(kind: Kind[Any], task: Task, examples: list[Example], model: str, offline: bool) -> None:
    from flue_bench.kinds.network.network import network_of
    from flue_bench.training import models

    tokenizer = models.load_tokenizer(models.resolve(model, offline))
    length = task.named_recipe("standard").max_length
    encoded = network_of(task).encode(examples, task, tokenizer, length)
    say(f"the first {len(examples)} of train, as {model} sees them (at most {length} sub-words):")
    rows = iter(range(len(encoded)))
    for index, example in enumerate(examples):
        say(f"\n{example.id}: {kind.shown(example, task)}")
        for row in islice(rows, 1 if encoded.windows is None else int(encoded.windows[index])):
            say(" ".join(tokenizer.convert_ids_to_tokens(encoded.row(row).tolist())))


def _balance(kind: Kind[Any], task: Task, examples: list[Example]) -> str:
    """Return the share of each label, tag or range."""
    counts = kind.balance(examples, task)
    total = sum(counts.values()) or 1
    return ", ".join(f"{name} {count / total:.1%}" for name, count in counts.items())


def _data(each: Registered) -> str:
    """Return in a word or two whether the data can be had without asking."""
    if each.open:
        return "open, moves" if each.moves else "open"
    return "on request" if any(source.access for source in each.task.source) else "your files"


def _rows(task: Task) -> str:
    from flue_bench.task import SPLITS

    counts = {split: " or ".join(f"{count:,}" for count in task.rows[split]) for split in task.rows}
    return ", ".join(counts.get(split, "-") for split in SPLITS) if counts else ""


def _described(registered: Registered) -> str:
    from flue_bench.kinds.kind import kind_named
    from flue_bench.task import SPLITS

    task = registered.task
    kind = kind_named(task.kind)
    others = [name for name in kind.metrics(task) if name != task.metric]
    cut = ", ".join(f"{getattr(task.split, split):.0%} for {split}" for split in ("validation", "test"))
    lines = [
        f"{task.name} (version {task.version}){f': {task.title}' if task.title else ''}",
        f"file: {registered.file}" + (f" ({registered.package})" if registered.package else ""),
        f"kind: {kind.describe(task)}",
        f"labels: {', '.join(task.labels) or 'none'}",
        f"headline metric: {task.metric}; also {', '.join(others) or 'none'}",
        f"groups: {', '.join(task.groups) or 'none'}; column of the board: {task.board_column}",
        f"canonical rows (train, validation, test): {_rows(task) or 'not stated'}",
        f"data: {_data(registered)}",
        f"a split that is missing is cut from train: {cut} (seed {task.split.seed})",
        *([f"trained on: train and validation rows of {task.train_from}"] if task.train_from else []),
        "sources, in order of preference:",
    ]
    for number, source in enumerate(task.source, start=1):
        lines += [f"  {number}. {line}" if not i else f"     {line}" for i, line in enumerate(_source(task, source))]
    lines.append("recipes:" if kind.frozen is None else f"recipes: none, nothing is trained ({kind.frozen})")
    for name in sorted({"standard", *task.recipe}) if kind.frozen is None else ():
        recipe = task.named_recipe(name)
        settings = recipe.model_dump(exclude_none=True)
        if recipe.epochs == "auto" and len(task.rows) == len(SPLITS):  # nothing is cut from train
            counts = {f"{recipe.epochs_on(rows)} on {rows:,} rows": None for rows in task.rows["train"]}
            settings["epochs"] = f"auto ({' or '.join(counts)})"
        lines.append(f"  {name}: " + ", ".join(f"{key}={value}" for key, value in settings.items()))
    lines += _published(task)
    for key in ("licence", "homepage", "notes", "citation"):
        if text := getattr(task, key).strip():
            lines.append(f"{key}: {text}" if "\n" not in text else f"{key}:\n{text}")
    return "\n".join(lines)


def _published(task: Task) -> list[str]:
    """Return a line that says who publishes scores on the task's column of boards, and what they call them."""
    from flue_bench.boards import published

    file = published.load()
    by = dict.fromkeys(
        f"{score.metric or score.said} by {file.source[score.source].title} ({file.source[score.source].url})"
        for score in file.score
        if score.column == task.board_column
    )
    return [f"published scores: {'; '.join(by)}"] if by else []


def _source(task: Task, source: Source) -> list[str]:
    """Return the lines that describe a source, its files, and their places under ``--data-dir``."""
    from flue_bench.task import SPLITS

    if source.hub:
        moves = "" if source.pinned else " (a branch, which can change: never canonical)"
        lines = [f"hub: {source.hub} at {source.revision}{moves}", f"under --data-dir: {source.hub}/"]
    elif source.archives:
        lines = [f"archive: {archive.shown}{_known(archive)}" for archive in source.archives]
        lines.append(f"under --data-dir: {', '.join(archive.name for archive in source.archives)}")
    elif source.files:
        lines = ["files beside the task file", f"under --data-dir: {task.name}/ or the folder itself"]
    else:
        lines = []
    if source.access:
        lines.append(f"access: {' '.join(source.access.split())} {source.by_hand}")
    written = source.model_dump(include={"delimiter", "quoting", "encoding", "scheme"}, exclude_defaults=True)
    if written:
        lines.append("written with " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in written.items()))
    if source.reader:
        lines.append(f"reader: {source.reader}")
    order: tuple[Split, ...] = SPLITS
    return lines + [f"{split}: {source.files[split].path}" for split in order if split in source.files]


def _known(archive: Archive) -> str:
    """Return size and hash, as far as the task file gives them."""
    size = f"{archive.size:,} bytes" if archive.size else ""
    digest = f"SHA-256 {archive.sha256}" if archive.sha256 else ""
    return f" ({', '.join(filter(None, (size, digest)))})" if size or digest else ""


def _few(labels: Sequence[str], most: int = 9) -> str:
    """Return labels for a table: many are cut, and counted; ``tasks show`` has them all."""
    return ", ".join(labels) if len(labels) <= most else f"{', '.join(labels[: most // 2])}, … ({len(labels)})"
