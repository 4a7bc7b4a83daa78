"""``flue-bench distill`` makes a student of half the depth from a teacher and a corpus."""

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
            show_default="the reference's settings; without --corpus: demo",
            help="Recipe file (.toml), or an included one: distilcamembert, laptop, demo.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Masked LM: hub id (org/name or org/name@revision) or directory. None: train with the MLM loss alone."
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Start from this masked LM instead of the teacher's layers. A directory with only config.json and "
            "tokenizer starts from random weights."
        ),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder that `flue-bench corpus` wrote. The recipe demo has its own text.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            show_default="student, for the recipe demo",
            help="Directory of the student: a new one, or with --resume that of the interrupted run.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the corpus.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the recipe. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile", help="Use torch.compile: takes minutes at the start, makes steps faster on some GPUs."
        ),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Distil a masked LM, or train one without a teacher; also under `accelerate launch` and `torchrun`.

    Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss. Every other choice is a field of the recipe. Without
    arguments it runs a demonstration of about a minute, with a small embedded teacher and text.
    """
    if corpus is None and recipe in (None, DEMO):
        recipe, out = DEMO, out or Path("student")
    if out is None or (corpus is None and recipe != DEMO):
        raise UsageError("distill needs --corpus FOLDER (made by flue-bench corpus) and --out FOLDER.")
    if steps and epochs:
        raise UsageError("--steps or --epochs: give one or the other.")
    settings: dict[str, object] = {}
    for pair in set_ or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set needs KEY=VALUE, not '{pair}'.")
        settings[key.strip()] = value.strip()
    named = {"teacher": teacher, "student": student, "steps": steps, "epochs": epochs}
    settings |= {key: value for key, value in named.items() if value is not None}
    if epochs:
        settings["steps"] = None

    from flue_bench.memory import keep_freed_memory
    from flue_bench.progress import Console
    from flue_distill.training.recipe import DistilRecipe

    keep_freed_memory()
    chosen = DistilRecipe.load(recipe, settings)  # before torch, so that a misspelt key is reported at once
    console = Console(stderr=True)
    with console.status("Loading PyTorch and transformers"):
        from flue_bench.progress import Display
        from flue_distill.training import run

    display = Display(console)
    if not run.distil(chosen, corpus, out, display, device=device, resume=resume, offline=offline, compiled=compile_):
        display.line(f"{out} is already finished: nothing to do.")
        return
    if corpus:
        display.line(f"Student: {out}   Try it: flue-bench run --model {out}")
        return
    models = f"--model {chosen.teacher} --model {out}" if chosen.teacher else f"--model {out}"
    display.line(f"Student: {out}   Score it: flue-bench run {models} --task mini")
