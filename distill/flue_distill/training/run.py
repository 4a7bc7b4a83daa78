"""One whole distillation, from names to a folder: models, corpus, training, result."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from flue_bench import files
from flue_bench.data.model_files import BIN, SAFETENSORS, matching
from flue_bench.errors import DataError, FlueBenchError, ModelError, RecordError, UsageError
from flue_bench.progress import Bar, Display
from flue_bench.record import ModelRef
from flue_bench.training import checkpoint, models
from flue_bench.training.device import check_compiler, environment, peak_memory, prepare, random_state_kept
from flue_bench.training.models import Resolved
from flue_distill.corpus import demo
from flue_distill.corpus.shards import MANIFEST, Manifest, open_corpus
from flue_distill.corpus.tokens import identify
from flue_distill.training import log, result, resume, trackers
from flue_distill.training.curves import LOSSES, OF_LAYERS
from flue_distill.training.data import Data
from flue_distill.training.objective import BACKEND
from flue_distill.training.recipe import LATER, DistilRecipe, LossWeights
from flue_distill.training.student import MaskedLM, Teacher, check_fit, from_config, student_of
from flue_distill.training.trainer import (
    CHECKPOINTS,
    PROTOCOL,
    Together,
    Trained,
    launched,
    processes,
    train,
    with_others,
)


class Models(NamedTuple):
    """The student and the teacher of a distillation."""

    student: Any
    """A transformers masked LM, as is the teacher."""
    teacher: Any | None
    tokenizer: Any
    layers: tuple[int, ...]
    """The teacher's layer behind each of the student's; empty if it was not made from the teacher."""
    refs: dict[str, dict[str, Any] | None]
    """Identities of ``teacher`` and ``student``, if they were loaded rather than made."""


def find(recipe: DistilRecipe, offline: bool) -> Models:
    """Load the teacher and the student, or make the student.

    Raises:
        UsageError: neither is named.
        ModelError: one of them is not a masked LM, or they do not fit each other.
        ModelNotFoundError, HubError: as for ``flue_bench.training.models.resolve``.
    """
    refs: dict[str, dict[str, Any] | None] = {"teacher": None, "student": None}
    teacher = tokenizer = student = None
    layers: tuple[int, ...] = ()
    if recipe.teacher is not None:
        resolved = models.resolve(recipe.teacher, offline)
        refs["teacher"] = resolved.ref.model_dump(exclude={"training"})
        teacher, tokenizer = models.load_masked_lm(resolved), models.load_tokenizer(resolved)
    if recipe.student is not None:
        resolved, fresh = _student(recipe.student, offline)
        refs["student"] = resolved.ref.model_dump(exclude={"training"})
        own = models.load_tokenizer(resolved)
        student = from_config(resolved.config, recipe.seed) if fresh else models.load_masked_lm(resolved)
        if teacher is not None:
            if tokenizer is not None and own.get_vocab() != tokenizer.get_vocab():
                raise ModelError(
                    f"Student {resolved.ref.name} has another vocabulary than the teacher: both read the same "
                    "tokens, and all parts of the loss compare them position by position. Use a student with the "
                    "teacher's tokenizer, or leave --student out."
                )
            check_fit(student, teacher, resolved.ref.name, recipe.weights)
        tokenizer = own
    elif teacher is not None:
        student, layers = student_of(teacher, recipe.layers)
    else:
        raise UsageError("Nothing to train: give --teacher, or --student to train one with MLMLoss alone.")
    return Models(student, teacher, tokenizer, layers, refs)


def _student(name: str, offline: bool) -> tuple[Resolved, bool]:
    """Resolve a model, or a folder with only configuration and tokenizer, whose weights then start random."""
    folder = files.at_home(name)
    weights = (*SAFETENSORS, *BIN)
    if not (folder / "config.json").is_file() or matching([path.name for path in folder.iterdir()], weights):
        return models.resolve(name, offline), False
    config = models.read_config(folder, str(folder))
    named = files.as_text(folder.resolve().name)
    ref = ModelRef(name=named, origin="directory", digest=files.sha256(folder / "config.json")[:16])
    return Resolved(ref, folder.resolve(), config), True


def distil(
    recipe: DistilRecipe,
    corpus_folder: Path | None,
    out: Path,
    display: Display,
    *,
    device: str = "auto",
    resume: bool = False,
    offline: bool = False,
    compiled: bool = False,
    save_every: int | None = None,
    report_to: Sequence[str] = (),
    asked: Collection[str] = (),
) -> bool:
    """Run a recipe; on several processes if started by ``accelerate launch`` or ``torchrun``.

    Args:
        recipe: the recipe to run.
        corpus_folder: folder of ``flue-bench corpus``, made with the models' tokenizer; None for the text of ``demo``.
        out: the folder to write; new, or with ``resume`` that of an unfinished run.
        display: where the main process draws.
        device: auto, cpu, cuda or cuda:N.
        resume: resume from the newest checkpoint.
        offline: make no network call.
        compiled: put both encoders and the loss through ``torch.compile``, on a GPU alone: minutes at the start, a
            faster step on some, other rounding.
        save_every: also save the student after every so many steps, to ``out/checkpoint-STEP``.
        report_to: names of accelerate's trackers.
        asked: fields of the recipe that the user names; with ``resume`` some of them may change on the way
            (``resume.ON_THE_WAY``).

    Returns:
        False if the run was already finished.

    Raises:
        FlueBenchError: the recipe cannot be run.
    """

    def begins() -> bool:
        """Return whether there is anything to do."""
        if resume and (out / result.DISTILLATION).exists():
            _check_finished(out, recipe, corpus_folder, asked)
            checkpoint.drop(out / CHECKPOINTS)  # a kill may have left them
            return False
        _check_out(out, resume)
        if resume and not out.exists():
            display.line(f"--resume: there is no {out} yet: it begins at the first step.")
        return True

    several = launched()
    if several and os.environ.get("RANK") == "0":  # the others may come much later
        host, port = (os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        display.once(f"Waiting for all {os.environ['WORLD_SIZE']} processes at {host}:{port}")
    if not several and not begins():
        return False
    trackers.check(report_to, offline)
    accelerator = processes(device)
    if not accelerator.is_main_process:
        display.console.quiet = True
    state, others = random_state_kept(accelerator.device), with_others(accelerator.num_processes)
    with state, others, Together(accelerator) as together:
        # Were the first process to end before the others are told, they would wait for it for many minutes.
        begun = not several or together.told(begins)
        if begun:
            _distil(recipe, corpus_folder, out, display, together, offline, compiled, save_every, report_to, asked)
    return begun


def _distil(
    recipe: DistilRecipe,
    corpus_folder: Path | None,
    out: Path,
    display: Display,
    together: Together,
    offline: bool,
    compiled: bool,
    save_every: int | None,
    report_to: Sequence[str],
    asked: Collection[str],
) -> None:
    """Run a recipe in processes that go together; other arguments as for ``distil``."""
    accelerator = together.accelerator
    with accelerator.main_process_first():  # the others find it in the cache
        loaded = find(recipe, offline)
    student = MaskedLM(loaded.student)
    here = prepare(accelerator.device, recipe.precision, loaded.student.config.hidden_size)
    recipe = recipe.model_copy(update={"precision": here.precision})
    for model in filter(None, (loaded.student, loaded.teacher)):
        positions = models.max_positions(model.config)
        if positions is not None and recipe.length > positions:
            raise UsageError(
                f"length {recipe.length}: the model takes {positions} tokens at most. Use --set length={positions}."
            )
    if compiled:
        check_compiler("--compile", here.where)
    student.to(here.where)
    teacher = None
    if loaded.teacher is not None:
        teacher = Teacher(loaded.teacher.to(here.where), here.dtype, recipe.bf16_teacher)
    named = {role: ref["name"] for role, ref in loaded.refs.items() if ref}  # a path is never an identity
    with nullcontext(corpus_folder) if corpus_folder else demo.corpus(loaded.tokenizer) as folder:
        manifest, data = _data(folder, loaded.tokenizer, recipe.length)
        identity = {
            "protocol": PROTOCOL,
            "corpus": manifest.digest,
            **{f"weights of the {role}": ref and ref["digest"] for role, ref in loaded.refs.items()},
        }
        settings = recipe.model_dump(mode="json") | named
        trackers.begin(accelerator, report_to, out, settings, offline, display.once)
        display.line(here.why or f"precision {here.precision}")
        if not len(data.held_out):
            display.line(f"Held-out text: not one sequence of {recipe.length} tokens, so no held-out scores.")
        if compiled:
            for model in filter(None, (loaded.student, loaded.teacher)):
                model.base_model.compile(backend=BACKEND)
        with display.running(), display.bar("Distilling" if teacher else "Training") as bar:

            def made(trained: Trained) -> dict[str, Any]:
                at_end = recipe.model_copy(update={"micro_batch": trained.micro_batch})
                return {
                    "schema_version": 1,
                    "protocol": PROTOCOL,
                    "recipe": at_end.model_dump(mode="json") | named,
                    "corpus": manifest.model_dump(mode="json", exclude={"shards", "plan", "schema_version"}),
                    **loaded.refs,
                    "weights": recipe.weights.model_dump(),
                    "batch_tokens": recipe.batch_tokens,
                    "layers": list(loaded.layers),
                    "mask_token": loaded.tokenizer.mask_token,
                    "cost": {
                        "steps": trained.steps,
                        "tokens": trained.tokens,
                        "seconds": trained.seconds,
                        "tokens_per_second": trained.tokens / max(trained.seconds, 1e-9),
                        "peak_memory_bytes": peak_memory(here.where),
                        "parameters": loaded.student.num_parameters(),
                        "processes": accelerator.num_processes,
                        "resumed": trained.resumed,
                        "skipped": trained.skipped,
                    },
                    **({"changes": list(trained.changes)} if trained.changes else {}),
                    **({"compiled": True} if compiled else {}),
                    **({} if trained.loss_scale is None else {"loss_scale": trained.loss_scale}),
                    "environment": environment(here).model_dump(mode="json"),
                }

            def keep(trained: Trained) -> None:
                folder, now = out / f"checkpoint-{trained.steps}", made(trained)
                if not result.is_saved(folder, now):
                    result.save(folder, loaded.student, loaded.tokenizer, now, out)

            show, tell = _shown(bar, recipe.weights, display), display.once
            trained = train(
                student, teacher, data, recipe, together, here, out, identity, show, tell, keep, save_every, asked
            )
    if accelerator.is_main_process:
        result.write(out, loaded.student, loaded.tokenizer, made(trained))
        checkpoint.drop(out / CHECKPOINTS)
        for line in result.course(log.lines(out / log.LOG)):
            display.line(line)
        if trained.skipped:
            display.line(f"Steps that were not finite and were left out: {trained.skipped:,} of {trained.steps:,}")
    accelerator.wait_for_everyone()


def _data(folder: Path, tokenizer: Any, length: int) -> tuple[Manifest, Data]:
    """Return a corpus as training reads it, with its manifest."""
    known = identify(tokenizer)
    corpus = open_corpus(folder, known.digest)
    made_with = corpus.manifest.plan.tokenizer
    if (made_with.vocab_size, made_with.cls, made_with.sep) != (known.vocab_size, known.cls, known.sep):
        raise DataError(
            f"{folder} has another size of vocabulary, or other tokens at the ends of a text, than the model's "
            "tokenizer: damaged. Build the corpus again."
        )
    data = Data(
        train=corpus.blocks(length),
        held_out=corpus.held_out(length),
        counts=corpus.token_counts(),
        special=set(tokenizer.all_special_ids),
        pad_id=tokenizer.pad_token_id,
        mask_id=tokenizer.mask_token_id,
    )
    if not len(data.train):
        raise DataError(
            f"{folder} holds {corpus.manifest.tokens:,} tokens: not one sequence of {length}. Give more text to "
            "`flue-bench corpus`, or a smaller --set length."
        )
    return corpus.manifest, data


def _check_out(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file.")
    present = {path.name for path in out.iterdir()} if out.exists() else set()
    if present and not resume:
        raise UsageError(f"--out {out} is not empty: --resume continues a run started there; or give another folder.")
    if present and CHECKPOINTS not in present:
        raise UsageError(f"--out {out} holds no unfinished run: give another folder, or leave --resume out.")


def _check_finished(out: Path, recipe: DistilRecipe, corpus_folder: Path | None, named: Collection[str]) -> None:
    """Check that the request equals what was done; a corpus and models that are no longer there are needed no more.

    What moves no weight may differ, and what was changed on the way, if it is not named again.
    """
    path = out / result.DISTILLATION
    try:
        made = json.loads(files.read(path, root=out))
        done, changed = dict(made["recipe"]), {each["field"] for each in made.get("changes", [])}
        identities = _identities(made, recipe, corpus_folder)
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        raise RecordError(f"{path}: cannot be read ({error}); give another --out.") from None
    asked = recipe.model_dump(mode="json", exclude={"teacher", "student", *resume.NO_WEIGHTS, *(changed - set(named))})
    for key in ("precision", "micro_batch"):
        if asked.get(key) == "auto":
            asked[key] = done.get(key, "auto")
    for key in (name for name in LATER if name not in changed):  # what is left out has its default
        default = DistilRecipe.model_fields[key].default
        asked.setdefault(key, default)
        done.setdefault(key, default)
    other = [f"{key} {done[key]}, not {value}" for key, value in asked.items() if done.get(key, value) != value]
    other += resume.unknown(done)
    for what, before, now in identities:
        if before != now:
            other.append(f"{what} {before}, not {now}")
    if other:
        raise UsageError(f"--out {out} holds a finished run with {'; '.join(other)}: give another folder.")


def _identities(made: dict[str, Any], recipe: DistilRecipe, corpus_folder: Path | None) -> list[tuple[str, str, str]]:
    """Return what a finished run was made of and what is given now, by content, where both are known here."""
    found: list[tuple[str, str, str]] = []
    with suppress(FlueBenchError):  # damaged since
        if corpus_folder is not None and (corpus_folder / MANIFEST).exists():
            found.append(("corpus", made["corpus"]["digest"], open_corpus(corpus_folder).manifest.digest))
    for role, name in (("teacher", recipe.teacher), ("student", recipe.student)):
        if made.get(role) and name and files.at_home(name).is_dir():
            with suppress(FlueBenchError):
                resolved = _student(name, offline=True)[0] if role == "student" else models.resolve(name, offline=True)
                found.append((f"weights of the {role}", made[role]["digest"], resolved.ref.digest))
    return found


def _shown(bar: Bar, weights: LossWeights, display: Display) -> Any:
    """Return a function that updates the bar after a step, and prints a line after the first."""
    first = True

    def show(step: int, steps: int, line: dict[str, float]) -> None:
        nonlocal first
        if first:
            first = False
            parts = " + ".join(f"{weight:g} · {line[name]:.3f} ({name})" for name, weight in weights if weight)
            display.line(f"Step {step} of {steps}: loss {line['loss']:.3f} = {parts}")
        if bar.due() or step == steps:
            parts = " ".join(f"{name} {line[name]:.3f}" for name in (*LOSSES, *OF_LAYERS) if name in line)
            speed, memory = line["tokens_per_second"], line["memory_bytes"] / 2**30
            bar.update(step, steps, f"{parts}  lr {line['learning_rate']:.1e}  {speed:,.0f} tokens/s  {memory:.1f} GiB")

    return show
