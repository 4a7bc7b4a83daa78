"""``flue-bench fetch`` downloads everything that a later ``flue-bench run --offline`` needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from flue_bench import files
from flue_bench.cli.output import say
from flue_bench.errors import FlueBenchError, UsageError

if TYPE_CHECKING:
    from flue_bench.data.registry import Registered


class _Have(NamedTuple):
    """A model, or a task's data, on this machine."""

    digest: str
    bytes: int
    where: str


def fetch(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="As for run: hub id, folder or embedded:NAME. Repeatable."),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="As for run: task, group or task file. Repeatable.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="As for run; only its name is checked.")] = "standard",
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="FLUE_BENCH_DATA", help="Folder of data to use first; see docs/your-model.md."),
    ] = None,
) -> None:
    """Fetch models, tokenizers and data, so that `run --offline` with the same arguments needs no network.

    Run it on the login node of a cluster. It reports what cannot be fetched and keeps the rest; the same command
    fetches what is still missing.

    Examples:
        flue-bench fetch -m cmarkea/distilcamembert-base -t flue-open
        flue-bench run -m cmarkea/distilcamembert-base -t flue-open --offline

    See also: run; doctor, which says what is cached. docs/offline-clusters.md.
    """
    if not model and not task:
        raise UsageError("fetch needs --model, --task, or both.")

    from flue_bench.data import model_names, registry
    from flue_bench.memory import loading
    from flue_bench.progress import Console

    tasks = registry.select(task or ["flue"])
    for each in tasks:
        each.task.named_recipe(recipe)
    model_names.check(model or [])
    with Console(stderr=True).status("Loading PyTorch and transformers"), loading():
        from huggingface_hub import constants

        from flue_bench.data import sources
        from flue_bench.training import models

    def find_model(name: str, offline: bool) -> _Have:
        resolved = models.resolve(name, offline)
        models.load_tokenizer(resolved)  # what is wrong with it should show here, not on the compute node
        return _Have(resolved.ref.digest, resolved.ref.weights_bytes or 0, str(resolved.folder))

    def find_data(each: Registered, offline: bool) -> _Have:
        data = sources.load(each, data_dir=data_dir, offline=offline)
        folder = os.path.commonpath([file.parent for file in data.files]) if data.files else "made by its reader"
        return _Have(data.ref.digest, sum(file.stat().st_size for file in data.files), folder)

    wanted: dict[str, Callable[[bool], _Have]] = {name: partial(find_model, name) for name in model or []}
    wanted |= {each.task.name: partial(find_data, each) for each in tasks}
    lacking = 0
    for name, find in wanted.items():
        try:
            before = find(True)
        except FlueBenchError:
            before = None
        try:
            after = find(False)
        except FlueBenchError as error:
            lacking += 1
            say(f"{name}: {error}", err=True)
            continue
        state = "already here" if after == before else "fetched"
        say(f"{name}: {state}, {after.bytes / 1e6:,.1f} MB, {after.where}")
    if lacking:
        say(f"{lacking} of {len(wanted)} could not be fetched; the same command fetches what is missing.", err=True)
        raise typer.Exit(1)
    say(
        "Ready for `flue-bench run --offline` on machines that see these folders: "
        f"{constants.HF_HUB_CACHE} (HF_HOME), {files.cache_dir()} (FLUE_BENCH_CACHE)."
    )
