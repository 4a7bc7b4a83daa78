"""What the commands ``corpus`` and ``distill`` do, as functions; see ``flue_bench.api`` for what holds for all of them.

Texts are tokenised in processes of their own, which Python starts by importing the main script again: a script calls
these functions under ``if __name__ == "__main__":``. A notebook needs nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flue_bench import files
from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.progress import Display
    from flue_distill.corpus.shards import Manifest
    from flue_distill.training.recipe import DistilRecipe

DEMO = "demo"
"""The recipe that has its own text."""


@dataclass(frozen=True)
class Distilled:
    """A finished student."""

    folder: Path
    """A folder that ``flue_bench.run`` and transformers load as a model."""
    made: dict[str, Any]
    """How it was made: the content of its ``distillation.json``, with losses, held-out scores and cost."""
    recipe: DistilRecipe
    """The recipe that was asked for; ``made`` holds it as it was resolved."""
    was_finished: bool
    """Whether the folder held the finished student already."""


def distill(
    recipe: DistilRecipe | str | Path | None = None,
    *,
    teacher: str | Path | None = None,
    student: str | Path | None = None,
    corpus: str | Path | None = None,
    out: str | Path | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    device: str = "auto",
    compile: bool = False,
    save_every: int | None = None,
    report_to: str | Sequence[str] = (),
    offline: bool = False,
    progress: bool | Display = True,
) -> Distilled:
    """Distil a masked LM, or train one without a teacher; also in the processes of ``accelerate launch``.

    Args:
        recipe: a recipe, its file, or the name of an included one: distilcamembert, laptop, demo; None: the reference's
            settings, or without ``corpus`` the demonstration.
        teacher: masked LM: hub id or folder; None: the recipe's.
        student: start from this masked LM instead of the teacher's layers.
        corpus: the folder that ``build_corpus`` wrote; the recipe demo has its own text.
        out: the folder of the student: a new one, or with ``resume`` that of an interrupted run.
        steps: optimiser steps.
        epochs: passes over the corpus, instead of ``steps``.
        overrides: other fields of the recipe to change.
        resume: continue from the newest checkpoint in ``out``. What moves no weight may differ then, and
            ``micro_batch``; ``learning_rate``, ``max_grad_norm`` and ``precision`` where ``overrides`` name them. What
            differs stands in ``made["changes"]``.
        device: auto, cpu, cuda or cuda:N.
        compile: use ``torch.compile``, on a GPU alone: minutes at the start, faster steps on some.
        save_every: also save the student after every so many steps, to ``out/checkpoint-STEP``, as a model like any
            other; ``flue_bench.run("OUT/checkpoint-*")`` scores them.
        report_to: trackers that are told of every step: tensorboard, wandb, mlflow, trackio.
        offline: make no network call.
        progress: show bars in a terminal or a notebook; False: nothing.

    Raises:
        UsageError: something that was asked for is invalid.
        FlueBenchError: models or corpus cannot be loaded or do not fit, or the training is no longer finite.
        KeyboardInterrupt: after Ctrl-C; the same call with ``resume=True`` continues from the last finished step.
    """
    import json

    from flue_bench.api import display_for
    from flue_bench.data import model_names
    from flue_bench.memory import loading
    from flue_distill.training.recipe import DistilRecipe

    if corpus is None and recipe in (None, DEMO):
        recipe, out = DEMO, out or Path("student")
    if corpus is not None and not resume and not Path(corpus).is_dir():  # a finished run needs it no more
        raise UsageError(f"--corpus {corpus}: no such folder. `flue-bench corpus` makes one of your texts.")
    if out is None or (corpus is None and recipe != DEMO):
        raise UsageError("distill needs --corpus FOLDER (made by flue-bench corpus) and --out FOLDER.")
    begun = resume and files.at_home(out).exists()  # by a command that was checked, or that an earlier version took
    lasts = {key: given or (overrides or {}).get(key) for key, given in (("steps", steps), ("epochs", epochs))}
    if all(lasts.values()) and not begun:
        raise UsageError("--steps or --epochs: give one or the other.")
    if save_every is not None and save_every < 1:
        raise UsageError(f"save_every {save_every}: at least 1 step.")
    named = {"teacher": teacher, "student": student}
    settings: dict[str, Any] = {
        **(overrides or {}),
        **{key: str(each) for key, each in named.items() if each is not None},
    }
    settings |= {key: value for key, value in {"steps": steps, "epochs": epochs}.items() if value is not None}
    if lasts["epochs"] and not lasts["steps"]:
        settings["steps"] = None
    if isinstance(recipe, DistilRecipe):
        chosen = recipe.override(settings)
    else:  # before torch, so that a misspelt key is reported at once
        chosen = DistilRecipe.load(None if recipe is None else str(recipe), settings)
    if not begun:  # a finished run needs no models
        _check_fields(chosen, set(overrides or ()))
        model_names.check(name for name in (chosen.teacher, chosen.student) if name is not None)
    display = display_for(progress)
    with display.console.status("Loading PyTorch and transformers"), loading():
        from flue_distill.training import result, run

    out, folder = files.at_home(out), None if corpus is None else files.at_home(corpus)
    with _own_accelerate():
        fresh = run.distil(
            chosen,
            folder,
            out,
            display,
            device=device,
            resume=resume,
            offline=offline,
            compiled=compile,
            save_every=save_every,
            report_to=[report_to] if isinstance(report_to, str) else list(report_to),
            asked=set(overrides or ()),
        )
    made = json.loads(files.read(out / result.DISTILLATION, root=out))
    return Distilled(out, made, chosen, was_finished=not fresh)


_OF_TEACHER = ("weight_distil", "weight_cosine", "temperature", "kl_rows")
"""Fields of a recipe that mean nothing without a teacher, beside those that the recipe itself refuses then."""


def _check_fields(recipe: DistilRecipe, named: Collection[str]) -> None:
    """Refuse fields that were asked for and would change nothing.

    Raises:
        UsageError: says which, and why.
    """
    if recipe.student is not None and "layers" in named:
        raise UsageError("layers are those that a student is made of, and --student has its own: leave one out.")
    if recipe.teacher is None:
        if unused := [name for name in _OF_TEACHER if name in named and getattr(recipe, name)]:
            raise UsageError(f"{unused[0]} says how to learn from a teacher: give --teacher, or leave it out.")
        if "weight_mlm" in named and not recipe.weight_mlm:
            raise UsageError("weight_mlm 0: without --teacher there is no other part of the loss. Leave it out.")


def build_corpus(
    inputs: str | Path | Sequence[str | Path],
    tokenizer: str | Path,
    out: str | Path,
    *,
    field: str = "text",
    lines: bool = False,
    processes: int | None = None,
    held_out: float = 0.01,
    min_tokens: int = 12,
    shard_tokens: int = 2**26,
    workers: int | Literal["auto"] | None = None,
    cluster: str | Path | None = None,
    offline: bool = False,
    progress: bool | Display = True,
) -> Manifest:
    """Turn texts into a corpus of token shards for ``distill``; after a kill the same call continues.

    Args:
        inputs: files (.txt, .jsonl, plain or .gz, .xz, .bz2, .zst; .parquet), folders, globs, or data sets of the hub
            such as ``hub:wikimedia/wikipedia:20231101.fr``, which are streamed.
        tokenizer: hub id, folder, or ``embedded:NAME``.
        out: the folder to write.
        field: the field that holds a row's text.
        lines: read each line of a .txt file as a document; otherwise blank lines separate them.
        processes: number of processes that tokenise; None: one per core. With workers, of each of them.
        held_out: share of the documents to keep from training, for evaluation.
        min_tokens: drop documents of fewer tokens.
        shard_tokens: tokens in a shard.
        workers: make a part of the corpus in each of several workers, which share the cores: so many, or ``auto``. The
            corpus is the same, to the byte; one that was begun so goes on so.
        cluster: make a part in each worker of a cluster; as for ``flue_bench.run``.
        offline: make no network call.
        progress: show bars in a terminal or a notebook; False: nothing.

    Returns:
        The description of the corpus, as in its ``manifest.json``.

    Raises:
        DataError: no text, an unreadable or unknown file, a missing field.
        UsageError: workers cannot be had, or are asked for data sets of the hub.
        FlueBenchError: the tokenizer cannot be used, a data set cannot be streamed, or the folder cannot be written.
    """
    from flue_bench.api import display_for, workers_for
    from flue_bench.errors import RecordError
    from flue_distill.corpus import parts, shards

    spread = workers_for(workers, processes, cluster, "cpu") if (workers, cluster) != (None, None) else None
    display, out = display_for(progress), files.at_home(out)
    if spread is None and parts.division(out) and not (out / shards.MANIFEST).exists():
        raise RecordError(f"{out} holds parts: go on with --workers, --cluster or --part and --merge, or delete it.")
    with display.console.status("Loading the tokenizer"):
        loaded = load_tokenizer(str(tokenizer), offline)
    texts = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    settings: dict[str, Any] = {
        "field": field,
        "shard_tokens": shard_tokens,
        "min_tokens": min_tokens,
        "held_out": held_out,
        "lines": lines,
    }
    if spread is None:
        return shards.build(texts, loaded, out, processes=processes, show=display, **settings)
    from flue_distill.spread import build

    folder, _ = tokenizer_folder(str(tokenizer), offline)
    return build(texts, loaded, folder, out, spread, display, **settings)


def build_corpus_part(
    inputs: str | Path | Sequence[str | Path],
    tokenizer: str | Path,
    out: str | Path,
    part: int,
    parts: int,
    *,
    field: str = "text",
    lines: bool = False,
    processes: int | None = None,
    held_out: float = 0.01,
    min_tokens: int = 12,
    shard_tokens: int = 2**26,
    offline: bool = False,
    progress: bool | Display = True,
) -> Path:
    """Tokenise one part of the texts, on one of many machines; ``merge_corpus`` joins the parts.

    Every machine is given the same texts and settings and the same folder, and another ``part``.

    Args:
        inputs: as for ``build_corpus``, as are all others, but no data sets of the hub.
        tokenizer: likewise.
        out: the folder of the corpus, which all machines share.
        part: number of the part, from 1.
        parts: how many there are.
        field: likewise.
        lines: likewise.
        processes: likewise.
        held_out: likewise.
        min_tokens: likewise.
        shard_tokens: likewise.
        offline: likewise.
        progress: likewise.

    Returns:
        The folder of the part.

    Raises:
        UsageError: there is no such part, or a text is a data set of the hub.
        FlueBenchError: as for ``build_corpus``, or ``out`` holds parts of other texts or settings.
    """
    from flue_bench.api import display_for
    from flue_distill.corpus import parts as in_parts

    display = display_for(progress)
    with display.console.status("Loading the tokenizer"):
        loaded = load_tokenizer(str(tokenizer), offline)
    return in_parts.make(
        [inputs] if isinstance(inputs, str | Path) else list(inputs),
        loaded,
        files.at_home(out),
        part,
        parts,
        field=field,
        processes=processes,
        shard_tokens=shard_tokens,
        min_tokens=min_tokens,
        held_out=held_out,
        lines=lines,
        show=display,
    )


def merge_corpus(out: str | Path, *, processes: int | None = None, progress: bool | Display = True) -> Manifest:
    """Join the parts in a folder to the corpus that one machine makes of the same texts, equal to the byte.

    Args:
        out: the folder that was given to ``build_corpus_part``.
        processes: number of processes; None: one per core.
        progress: show bars in a terminal or a notebook; False: nothing.

    Returns:
        The description of the corpus, as in its ``manifest.json``.

    Raises:
        DataError: a part is missing, or parts do not belong together.
        RecordError: ``out`` cannot be written, or a part is damaged.
    """
    from flue_bench.api import display_for
    from flue_distill.corpus import parts as in_parts

    return in_parts.merge(files.at_home(out), processes=processes, show=display_for(progress))


def tokenizer_folder(name: str, offline: bool) -> tuple[Path, list[str]]:
    """Return a folder with a tokenizer's files, and the names of all files there or in its repository on the hub."""
    from flue_bench.data import hub, model_files
    from flue_bench.training import models

    folder = files.at_home(name)
    if name.startswith("embedded:"):
        folder = models.resolve(name).folder
    elif not folder.is_dir():
        repo_id, _, revision = name.partition("@")
        present = hub.files(repo_id, repo_type="model", revision=revision or None, offline=offline)
        wanted = model_files.matching(present, (model_files.CONFIG, *model_files.TOKENIZER_FILES))
        fetched = hub.fetch(repo_id, repo_type="model", revision=revision or None, patterns=wanted, offline=offline)
        return fetched.folder, present
    return folder, [path.name for path in folder.iterdir()]


def load_tokenizer(name: str, offline: bool) -> Any:
    """Load the tokenizer of a hub repository, or of a folder that need not hold a model."""
    from flue_bench.training import models

    folder, _ = tokenizer_folder(name, offline)
    tokenizer = models.read_tokenizer(folder, name)
    models.check_french(tokenizer, name)
    return tokenizer


@contextlib.contextmanager
def _own_accelerate() -> Iterator[None]:
    """Keep to a block what training sets for the process: accelerate's one state, and the current CUDA device."""
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    kinds = (PartialState, AcceleratorState, GradientState)
    before = [dict(kind._shared_state) for kind in kinds]
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
    for kind in kinds:
        kind._shared_state.clear()
    try:
        yield
    finally:
        for kind, state in zip(kinds, before, strict=True):
            kind._shared_state.clear()
            kind._shared_state.update(state)
        if torch.cuda.is_initialized():
            torch.cuda.set_device(device)
