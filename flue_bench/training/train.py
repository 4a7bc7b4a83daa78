"""Fine-tuning and prediction: the whole training step on one screen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flue_bench.errors import DivergedError
from flue_bench.kinds.network.network import Batch, Encoded, Floats, Ints
from flue_bench.recipe import Recipe
from flue_bench.record import Epoch
from flue_bench.training import checkpoint
from flue_bench.training.batches import prediction_batches, training_batches
from flue_bench.training.device import Device
from flue_bench.training.optim import adamw, learning_rate_factor, set_learning_rate
from flue_bench.training.scale import LossScale, not_finite, step_unless
from flue_bench.training.soft_labels import SoftLabels
from flue_bench.training.waits import row_lengths

Validate = Callable[[nn.Module], dict[str, float]]
"""A function that scores a model on validation."""

CHECKPOINT_SECONDS = 300.0
POSITIONS = 8192
"""The most padded positions of a prediction batch."""
BACKEND = "inductor"
"""What ``torch.compile`` hands a step to."""


@dataclass
class Progress:
    """What a display may show after each step; the loss is read from the device only on demand."""

    step: int
    steps: int
    epoch: int
    loss: Callable[[], float]
    examples: int
    """Since the cell started or resumed."""
    seconds: float


@dataclass
class Fit:
    """The course of a fine-tuning; the model holds the selected weights."""

    history: list[Epoch]
    selected_epoch: int
    steps: int
    seconds: float
    """Forward, backward and optimiser, without validation."""
    examples: int
    real_tokens: int
    padded_tokens: int
    resumed: int
    rows_at_once: int
    """The recipe's batch size, or less if the device's memory was too small."""


def fine_tune(
    model: nn.Module,
    data: Encoded,
    recipe: Recipe,
    seed: int,
    device: Device,
    validate: Validate,
    metric: str,
    folder: Path,
    show: Callable[[Progress], None] = lambda _: None,
    ended: Callable[[Epoch], None] = lambda _: None,
    soft: SoftLabels | None = None,
) -> Fit:
    """Train ``model`` in place, and leave in it the weights of the selected evaluation, by default that of an epoch.

    Batches, learning rate and dropout are pure functions of (seed, step): a run resumed from its checkpoint ends with
    the same weights to the bit as one that was never interrupted (same machine, same threads). In fp16 the loss is
    scaled, and a step whose gradients overflow is left out.

    Args:
        model: float32, on ``device``.
        data: the training split.
        recipe: the recipe, with its precision resolved.
        seed: decides order and dropout.
        device: device and precision.
        validate: called for each evaluation: after each epoch, or every ``evaluate_steps``.
        metric: the one of ``validate``'s scores that selects the weights, and that ``patience`` watches.
        folder: for the checkpoint, written every five minutes, on a signal, and at the end of a longer training.
        show: called after each step.
        ended: called after each evaluation; if it raises, the checkpoint is written first.
        soft: a teacher's soft labels of each row of ``data``; None: the labels alone.

    Raises:
        DivergedError: the loss is no longer finite.
        KeyboardInterrupt, SystemExit: a signal came; the checkpoint is written.
    """
    total = recipe.steps_on(len(data))
    warmup = round(recipe.warmup_ratio * total)
    optimizer = adamw(model, recipe.learning_rate, recipe.weight_decay)
    dropout = recipe.dropout != 0  # None: the model's own
    # Not the model itself, which predicts as ever. One compilation serves all lengths: its sizes are symbols.
    stepping: Any = torch.compile(model, dynamic=True, backend=BACKEND) if recipe.compiled else model
    scale = LossScale(device.where) if device.precision == "fp16" else None
    run = _State(model, optimizer, scale, device, folder, recipe.batch_size)
    began = saved = time.perf_counter()
    validating = 0.0

    with checkpoint.interruption() as interruption:

        def evaluate() -> None:
            nonlocal validating
            since = run.step - (run.history[-1].step if run.history else 0)
            mean_loss = run.loss.item() / since
            if not np.isfinite(mean_loss):
                raise DivergedError(
                    f"The training loss is no longer finite in epoch {_epoch(run.step - 1, data, recipe) + 1} (step "
                    f"{run.step} of {total}): lower --set learning_rate (now {recipe.learning_rate:g}) or use "
                    "--precision fp32."
                )
            before = time.perf_counter()
            scores = validate(model)
            validating += time.perf_counter() - before
            number = len(run.history) + 1
            run.end_epoch(Epoch(epoch=number, step=run.step, train_loss=mean_loss, scores=scores), metric)
            try:
                ended(run.history[-1])
            except BaseException:
                run.save()
                raise
            if interruption.signal is not None:  # it came during validation
                run.save()
                interruption.raise_if_set()

        if recipe.evaluated(run.step, len(data)) and (not run.history or run.history[-1].step < run.step):
            evaluate()  # the checkpoint was written between a step and its evaluation
        for epoch, rows in _left(data, recipe, seed, run.step, total):
            if recipe.stops(len(run.history), run.best_epoch):
                break
            model.train()
            factor = learning_rate_factor(run.step, total, warmup, recipe.schedule)
            set_learning_rate(optimizer, recipe.learning_rate * factor)
            done = None
            while done is None:
                try:
                    done = add_gradient(
                        stepping, data, rows, run.rows_at_once, device, seed, run.step, dropout, scale, soft
                    )
                except torch.OutOfMemoryError:
                    if run.rows_at_once == 1:
                        raise
                    run.rows_at_once //= 2  # for the rest of the run; the step begins again
                    optimizer.zero_grad()
            if scale:
                scale.unscale(model.parameters())
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            if scale:
                overflow = not_finite(norm.reshape(1))
                step_unless(optimizer, overflow)
                scale.update(overflow)
            else:
                optimizer.step()
            optimizer.zero_grad()

            run.step += 1
            loss, real, padded = done
            run.loss += loss
            run.count(rows=len(rows), real=real, padded=padded)
            seconds = time.perf_counter() - began - validating
            show(Progress(run.step, total, epoch + 1, loss.item, run.examples, seconds))
            if interruption.signal is not None or time.perf_counter() - saved > CHECKPOINT_SECONDS:
                run.save()
                saved = time.perf_counter()
                interruption.raise_if_set()
            if recipe.evaluated(run.step, len(data)):
                evaluate()

    if time.perf_counter() - saved > CHECKPOINT_SECONDS / 10:
        run.save()  # so that a failure of the scoring does not lose the training
    if recipe.selection == "best":
        run.restore_best()
    return Fit(
        history=run.history,
        selected_epoch=run.best_epoch if recipe.selection == "best" else len(run.history),
        steps=run.step,
        seconds=time.perf_counter() - began - validating,
        examples=run.examples,
        real_tokens=run.real_tokens,
        padded_tokens=run.padded_tokens,
        resumed=run.resumed,
        rows_at_once=run.rows_at_once,
    )


def _epoch(step: int, data: Encoded, recipe: Recipe) -> int:
    """Return the epoch, from 0, that a step from 0 belongs to."""
    return step // -(-len(data) // recipe.batch_size)


def _left(data: Encoded, recipe: Recipe, seed: int, step: int, total: int) -> Iterator[tuple[int, Ints]]:
    """Yield the epoch and the rows of each step from ``step`` on; an epoch's order does not depend on those before."""
    while step < total:
        epoch = _epoch(step, data, recipe)
        batches = training_batches(data.lengths, recipe.batch_size, seed, epoch)
        for rows in batches[step - epoch * len(batches) : total - epoch * len(batches)]:
            yield epoch, rows
            step += 1


def add_gradient(
    model: nn.Module,
    data: Encoded,
    rows: Sequence[int] | Ints,
    at_once: int,
    device: Device,
    seed: int,
    step: int,
    dropout: bool = True,
    scale: LossScale | None = None,
    soft: SoftLabels | None = None,
) -> tuple[torch.Tensor, int, int]:
    """Add the gradient of one batch's mean loss, by forward and backward passes over ``at_once`` rows at a time.

    Losses are summed and divided by the terms of the whole batch, and its parts are padded to one length, so that
    cutting it changes only rounding, and except on a CPU the draws of dropout.

    Returns:
        The loss, (), without the scale that its gradients have; sub-words without padding; positions with padding.
    """
    longest = int(data.lengths[rows].max())
    parts = [data.batch(rows[i : i + at_once], device.where, longest) for i in range(0, len(rows), at_once)]
    count = torch.stack([data.terms(part) for part in parts]).sum()
    total = torch.zeros((), device=device.where)
    first = 0
    for i, part in enumerate(parts):
        full, sequences = part.tokens == part.inputs["input_ids"].numel(), len(part.inputs["input_ids"])
        ahead: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if not hasattr(model, "_orig_mod"):  # what is compiled reads no mask, and would be compiled anew for each
            ahead = device.running_ahead(part.inputs["attention_mask"], full)
        of_part = rows[i * at_once : (i + 1) * at_once]
        with device.training(sequences, longest, seed, step, first, dropout), ahead:
            known = row_lengths(model, part.inputs["input_ids"], data.lengths[of_part])
            outputs = model(**part.inputs, **known)
        first += sequences
        loss = (soft.loss(outputs, data, part, of_part) if soft else data.loss(outputs, part)) / count
        (loss * scale.value if scale else loss).backward()
        total += loss.detach()
    return total, sum(part.tokens for part in parts), sum(part.inputs["input_ids"].numel() for part in parts)


class _State:
    """The contents of a checkpoint: weights, optimiser, step, history, and the best epoch's weights."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scale: LossScale | None,
        device: Device,
        folder: Path,
        rows_at_once: int,
    ) -> None:
        self.model, self.optimizer, self.folder, self.rows_at_once = model, optimizer, folder, rows_at_once
        self.scale = scale
        self.step, self.best_epoch, self.resumed = 0, 0, 0
        self.examples = self.real_tokens = self.padded_tokens = 0
        self.history: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = {}
        self.loss = torch.zeros((), device=device.where)  # sum over the epoch's steps
        if (state := checkpoint.load(folder)) is not None:
            with checkpoint.applied(folder):
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
                if scale:
                    scale.restore(state["scale"])
                self.step, self.best_epoch, self.best = (
                    int(state["step"]),
                    int(state["best_epoch"]),
                    dict(state["best"]),
                )
                self.history = [Epoch.model_validate_json(epoch) for epoch in state["history"]]
                self.loss = state["loss"].to(device.where)
                self.real_tokens, self.padded_tokens = int(state["real_tokens"]), int(state["padded_tokens"])
                self.resumed = int(state["resumed"]) + 1
                self.rows_at_once = int(state.get("rows_at_once", rows_at_once))  # not in checkpoints of 0.1

    def save(self) -> None:
        checkpoint.save(
            self.folder,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "best_epoch": self.best_epoch,
                "best": self.best,
                "history": [epoch.model_dump_json() for epoch in self.history],
                "loss": self.loss,
                "real_tokens": self.real_tokens,
                "padded_tokens": self.padded_tokens,
                "resumed": self.resumed,
                "rows_at_once": self.rows_at_once,
                "scale": self.scale.state() if self.scale else None,
            },
        )

    def count(self, rows: int, real: int, padded: int) -> None:
        self.examples += rows
        self.real_tokens += real
        self.padded_tokens += padded

    def end_epoch(self, epoch: Epoch, metric: str) -> None:
        """Keep the history, and the weights if they are the best so far (the earlier of equals)."""
        if not self.history or epoch.scores[metric] > self.history[self.best_epoch - 1].scores[metric]:
            self.best_epoch = epoch.epoch
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}
        self.history.append(epoch)
        self.loss = torch.zeros_like(self.loss)

    def restore_best(self) -> None:
        self.model.load_state_dict(self.best)


@torch.no_grad()  # under inference_mode autocast keeps no cast
def predict(
    model: nn.Module,
    data: Encoded,
    device: Device,
    cut: Callable[[int], None] = lambda _: None,
    read: Callable[[Any, Batch, Ints], Sequence[Floats]] | None = None,
) -> list[Floats]:
    """Return a model's answer to each row, in the order of ``data``: for classifiers, probabilities.

    If memory runs out, the remaining batches are halved, which changes only padding and rounding.

    Args:
        model: the model, on ``device``.
        data: the split.
        device: device and precision.
        cut: called with the number of rows of the first half whenever batches are halved.
        read: how outputs are read; None: by ``data.read``.

    Returns:
        One array per row, as it is read.

    Raises:
        DivergedError: an output is not finite.
        torch.OutOfMemoryError: a single row does not fit.
    """
    model.eval()
    read = read or data.read
    by_row: list[Any] = [None] * len(data)
    with device.autocast():  # around all batches: weights are cast once
        left = prediction_batches(data.positions, POSITIONS)[::-1]
        while left:
            rows = left.pop()
            try:
                batch = data.batch(rows, device.where)
                answers = read(model(**batch.inputs), batch, rows)
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                left = [half for each in (*left, rows) for half in np.array_split(each, 2)[::-1] if len(half)]
                cut(len(left[-1]))
                continue
            if not all(np.isfinite(answer).all() for answer in answers):
                raise DivergedError(
                    "The model's outputs are no longer finite: lower --set learning_rate or use --precision fp32."
                )
            for row, answer in zip(rows, answers, strict=True):
                by_row[row] = answer
    return by_row


def flops_per_example(network: nn.Module, test: Encoded, device: Device) -> float:
    """Return forward floating-point operations for a test example of mean length, by torch's counter on one row."""
    lengths = test.lengths
    row = int(np.abs(lengths - lengths.mean()).argmin())
    # With gradients: otherwise the counter fails if a parameter is an argument of a sub-module, as in DeBERTa.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        network(**test.batch([row], device.where).inputs)
    return float(counter.get_total_flops())
