"""``flue-bench verify`` checks that records are what they say they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.cli.output import say
from flue_bench.errors import FlueBenchError, UsageError

if TYPE_CHECKING:
    from flue_bench.jobs.loader import Loader
    from flue_bench.progress import Display


def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Records (.json), or results directories for all in them.")
    ],
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
            help="With --rerun: the model's hub id or directory; by default the record's, at its revision.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="With --rerun: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="With --rerun: folder of data to use instead of downloads."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Recompute every score from the stored predictions, and check hashes, digests and schema.

    The exit code is 1 if a record is not as it was written or, with --rerun, its predictions are not the same to the
    byte. Equal bytes are promised only on the machine that made the record; elsewhere the differences are named.
    """
    if not rerun and (task or model):
        raise UsageError("--task and --model say what to train again: they need --rerun.")

    from flue_bench.data import registry
    from flue_bench.progress import Console, Display
    from flue_bench.results.verify import faults

    files = _records(paths)
    console = Console(stderr=True)
    display = Display(console)
    faulty: dict[Path, list[str]] = {}
    with display.running(), display.bar(f"verifying {len(files):,} records") as bar:
        for done, file in enumerate(files):
            bar.update(done, len(files))
            faulty[file] = faults(file)
    said = dict.fromkeys(files, "ok")
    if rerun:
        tasks = registry.select(task or [])
        with console.status("Loading PyTorch and transformers"):
            from flue_bench.jobs.loader import Loader
        loader = Loader(tasks, data_dir=data_dir, offline=offline)  # one for all: a model is hashed once
        for file in (file for file in files if not faulty[file]):
            same, said[file] = _trained_again(file, loader, display, model, device)
            faulty[file] = [] if same else [said[file]]
    _show({file: "; ".join(faulty[file]) or said[file] for file in files})
    wrong = sum(map(bool, faulty.values()))
    say(f"{len(files):,} records: {len(files) - wrong:,} ok, {wrong:,} not")
    if wrong:
        raise typer.Exit(1)


def _records(paths: Iterable[Path]) -> list[Path]:
    """Return the records' files, each once, in the order given.

    Raises:
        UsageError: a path is neither a file nor a folder with records.
    """
    from flue_bench.results.store import FAILED

    files: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            files[path] = None
            continue
        inside = [file for file in sorted(path.glob("runs/*/*/*.json")) if not file.name.endswith(FAILED)]
        if not inside:
            what = "a folder without runs/MODEL/TASK/*.json" if path.is_dir() else "neither a file nor a folder"
            raise UsageError(f"{path} is {what}: give records or a results directory.")
        files |= dict.fromkeys(inside)
    return list(files)


def _trained_again(file: Path, loader: Loader, display: Display, model: str | None, device: str) -> tuple[bool, str]:
    """Return whether the predictions are the same to the byte, and a line that says so."""
    from flue_bench.jobs.rerun import rerun
    from flue_bench.results.store import read_record

    try:
        compared = rerun(read_record(file), file.parent, loader, display, model=model, device=device)
    except FlueBenchError as error:
        return False, f"rerun: {error}"
    return compared.same_file, f"rerun: {compared}"


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
