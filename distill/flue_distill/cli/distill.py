"""``flue-bench distill`` makes a student of half the depth from a teacher and a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
            help="Masked LM: hub id (org/name or org/name@revision) or folder. None: train with the MLM loss alone."
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Start from this masked LM instead of the teacher's layers. A folder with only config.json and "
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
            help="Folder of the student: a new one, or with --resume that of the interrupted run.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the corpus.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one field of the recipe; docs/recipe-fields.md has them all. Repeatable.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the newest checkpoint in --out. What moves no weight may differ then, and micro_batch; "
            "learning_rate, max_grad_norm and precision where --set names them.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile", help="On a GPU: use torch.compile. Takes minutes at the start, makes steps faster on some."
        ),
    ] = False,
    save_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Also save the student each time this many steps are done, as the model OUT/checkpoint-STEP.",
        ),
    ] = None,
    report_to: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="Log every step to tensorboard, wandb, mlflow or trackio. Repeatable."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Distil a masked LM, or train one without a teacher; also under `accelerate launch` and `torchrun`.

    Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss. Every other choice is a field of the recipe. Without
    arguments it runs a demonstration of about a minute, with a small embedded teacher and text.

    Examples:
        flue-bench distill
        flue-bench distill distilcamembert --corpus corpus --out my-student --save-every 10000
        flue-bench distill distilcamembert --corpus corpus --out my-student --resume --set micro_batch=2

    See also: corpus, which makes texts ready; run, which scores the student, and with --teacher teaches it on a task;
    compare, for what it keeps. docs/distillation.md.
    """
    import flue_distill
    from flue_bench.cli.settings import settings
    from flue_bench.memory import keep_freed_memory, set_modules_aside
    from flue_bench.progress import Console, Display

    keep_freed_memory()
    set_modules_aside()
    display = Display(Console(stderr=True))
    done = flue_distill.distill(
        recipe,
        teacher=teacher,
        student=student,
        corpus=corpus,
        out=out,
        steps=steps,
        epochs=epochs,
        overrides=settings(set_ or [], {"teacher": teacher, "student": student, "steps": steps, "epochs": epochs}),
        resume=resume,
        device=device,
        compile=compile_,
        save_every=save_every,
        report_to=report_to or (),
        offline=offline,
        progress=display,
    )
    if done.was_finished:
        display.line(f"{done.folder} is already finished: nothing to do.")
    elif corpus:
        display.line(f"Student: {done.folder}   Try it: flue-bench run --model {done.folder}")
    else:
        both = [f"--model {name}" for name in (done.recipe.teacher, done.folder) if name]
        display.line(f"Student: {done.folder}   Score it: flue-bench run {' '.join(both)} --task mini")
