"""``flue-bench distill``: from a teacher and a corpus to a student of half the depth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flue_bench.errors import UsageError

DEMO = "demo"
"""The recipe that has its own text."""


def distill(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="Recipe file (.toml), or a shipped one: distilcamembert, laptop, demo.  [default: demo; with a "
            "corpus the reference's]",
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Masked LM: hub id (org/name[@revision]) or directory. None: MLM loss alone.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Start from this masked LM instead of the teacher's layers; a directory with config.json and "
            "tokenizer alone starts random."
        ),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder written by: flue-bench corpus. None: demo's own text.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the student; new, or with --resume begun.  [default, demo: student]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the corpus.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the recipe. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile: minutes at the start, a faster step on some GPUs.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Distil a masked LM, or train one without a teacher; also under `accelerate launch` and `torchrun`.

    Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss. Every other choice is a field of the recipe. Without
    arguments: a demonstration of about a minute, on a small embedded teacher and text.
    """
    if corpus is None and recipe in (None, DEMO):
        recipe, out = DEMO, out or Path("student")
    if out is None or (corpus is None and recipe != DEMO):
        raise UsageError("distill wants --corpus FOLDER (made by flue-bench corpus) and --out FOLDER.")
    if steps and epochs:
        raise UsageError("--steps or --epochs: give one or the other.")
    settings: dict[str, object] = {}
    for pair in set_ or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set wants KEY=VALUE, not '{pair}'.")
        settings[key.strip()] = value.strip()
    named = {"teacher": teacher, "student": student, "steps": steps, "epochs": epochs}
    settings |= {key: value for key, value in named.items() if value is not None}
    if epochs:
        settings["steps"] = None

    from rich.console import Console

    from flue_distill.training.recipe import DistilRecipe

    chosen = DistilRecipe.load(recipe, settings)  # before torch, so that a misspelt key is reported at once
    console = Console(stderr=True)
    with console.status("Loading PyTorch and transformers"):
        from flue_bench.progress import Display
        from flue_distill.training import run

    display = Display(console)
    if not run.distil(chosen, corpus, out, display, device=device, resume=resume, offline=offline, compiled=compile_):
        display.line(f"{out} was finished before: nothing to do.")
        return
    if corpus:
        display.line(f"Student: {out}   Try it: flue-bench run --model {out}")
        return
    models = f"--model {chosen.teacher} --model {out}" if chosen.teacher else f"--model {out}"
    display.line(f"Student: {out}   Score it: flue-bench run {models} --task mini")
