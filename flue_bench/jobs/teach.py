"""A teacher of tasks: which fine-tuned models can be one, and their soft labels, computed once for all epochs.

A teacher reads the rows of train by itself, with its own tokenizer, at the length at which the student's inputs are cut
and in its precision. What it says belongs to the rows, so that all seeds and students of a task share it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flue_bench.errors import FlueBenchError, ModelError, UsageError, quoted, short
from flue_bench.jobs.loader import Loader, TaskInputs
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.names import matched
from flue_bench.kinds.network.network import Encoded, Floats
from flue_bench.progress import Display
from flue_bench.record import OWN_HEAD, Cell, NoTraining, Teacher
from flue_bench.results.store import kept_record
from flue_bench.task import Task
from flue_bench.training import models
from flue_bench.training.device import Device
from flue_bench.training.models import Resolved
from flue_bench.training.soft_labels import SoftLabels
from flue_bench.training.train import predict


def teacher_for(model: Resolved, task: Task) -> Teacher:
    """Return a fine-tuned model as the teacher of a task; no weights are read.

    Raises:
        UsageError: it has no head of the task's kind, or what its head says is not what the task's labels say.
    """
    kind, record = kind_named(task.kind), kept_record(model.folder, model.ref.digest)
    given = kind.stated(record, task) if record else {}
    fits = f"What flue-bench run --keep makes on {task.name} is a teacher of it."
    try:
        theirs = models.own_labels(model, task)
    except ModelError as error:
        raise UsageError(f"--teacher: {error}") from None
    try:
        answers = kind.read_head(theirs, task, given).answers
    except ValueError as error:
        if not task.labels:
            reason = str(error).partition(":")[0]
            raise UsageError(f"--teacher {model.ref.name} on {task.name}: {reason}. {fits}") from None
        answers = dict.fromkeys(theirs, "")
    if answers and task.labels:
        same = record is not None and tuple(theirs) == task.labels  # ours, whatever they are called
        order = tuple(range(len(theirs))) if same else matched(theirs, task.labels)
        if order is None:
            raise UsageError(
                f"--teacher {model.ref.name} on {task.name}: the labels of its head are {_listed(theirs)}; those of "
                f"the task {_listed(task.labels)}. {fits}"
            )
        of = dict(zip(order, task.labels, strict=True))
        answers = {label: of[row] for row, label in enumerate(theirs)}
    base, how = (record.cell.model, record.recipe_name) if record else (None, None)
    return Teacher(model=model.ref, answers=answers, base=base, recipe_name=how)


def soft_labels(
    cell: Cell, train: Encoded, loader: Loader, inputs: TaskInputs, device: Device, display: Display
) -> SoftLabels | None:
    """Return what a cell's teacher says of the rows of train; None without one, or where its weight is 0.

    Args:
        cell: names the teacher.
        train: as the student reads it.
        loader: finds the teacher.
        inputs: of the cell's task; keep the teacher's scores for the next cell.
        device: the student's device and precision.
        display: shows the run.

    Raises:
        UsageError: what it says cannot be put beside what the student says.
        FlueBenchError: the teacher cannot be loaded, or its outputs are not finite.
    """
    teacher, (recipe, seed) = cell.teacher, cell.trained
    if teacher is None or recipe.alpha == 0:
        return None
    task = inputs.registered.task
    if type(train).loss is not Encoded.loss and type(train).beside is Encoded.beside:
        raise UsageError(f"kind '{task.kind}' has a loss of its own and does not say what soft labels are in it.")
    model = loader.model(teacher.model)
    draw = (cell.train_rows, seed) if cell.train_rows is not None else ()
    key = (teacher.model.digest, draw, cell.limit, recipe.max_length, device.precision, str(device.where))
    theirs = loader.encoded(
        inputs, model, cell.limit, recipe.max_length, display, ("train",), train_rows=cell.train_rows, seed=seed
    )["train"]
    if inputs.soft is None or inputs.soft[0] != key:
        inputs.soft = None
        inputs.soft = key, _scores(model, teacher, task, theirs, device, recipe.max_length)
    try:
        return SoftLabels(train.taught(theirs, inputs.soft[1]), recipe.temperature, recipe.alpha)
    except ValueError as error:
        raise UsageError(f"--teacher {teacher.model.name} on {task.name}: {error}.") from None


def told(cell: Cell, soft: SoftLabels | None) -> tuple[str, ...]:
    """Return in words what a cell learns from its teacher."""
    if cell.teacher is None:
        return ()
    recipe = cell.trained.recipe
    how = f"soft labels, at temperature {recipe.temperature:g}"
    if soft is not None and all(scores.ndim == 0 for scores in soft.scores):
        how = "numbers"  # which no temperature softens
    notes = (f"taught by {cell.teacher.model.name}: {recipe.alpha:g} of the loss is against its {how}",)
    if lacking := 0 if soft is None else soft.lacking:
        return (*notes, f"{lacking:,} words of train have no soft label: its teacher sees nothing of them")
    return notes


def _scores(
    model: Resolved, teacher: Teacher, task: Task, data: Encoded, device: Device, max_length: int
) -> Sequence[Floats]:
    """Return a teacher's scores of each row, in the task's labels and their order."""
    network = models.load_own_head(model, task, models.own_labels(model, task)).to(device.where)
    try:
        scores = predict(network, data, device, read=data.scores)
    except FlueBenchError as error:
        raise ModelError(f"The teacher {model.ref.name}: its outputs are not finite at {device.precision}.") from error
    finally:
        del network
        if device.where.type == "cuda":
            torch.cuda.empty_cache()
    if teacher.answers and task.labels:
        theirs = list(teacher.answers.values())
        order = [theirs.index(label) for label in task.labels]
        return scores if order == sorted(order) else [row[..., order] for row in scores]
    how = NoTraining(method=OWN_HEAD, max_length=max_length, precision=device.precision, answers=teacher.answers)
    return data.in_task(scores, task, how)


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(quoted(short(label, 40)) for label in labels[:20])
    return (shown + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")) or "none"
