"""Distillation: the whole step on one screen."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from filelock import Timeout
from torch import Tensor, nn

from flue_bench import files
from flue_bench.errors import DeviceError, ModelError, UsageError
from flue_bench.locks import Lock
from flue_bench.record import digest_of
from flue_bench.training import checkpoint
from flue_bench.training.device import Device, peak_memory, pick_device
from flue_bench.training.optim import adamw, learning_rate_factor, set_learning_rate
from flue_bench.training.waits import Later
from flue_distill.training.data import Data, Stream, to_device
from flue_distill.training.objective import CHUNK_ROWS, LossParts, Rows, distil_loss, fast, mlm_loss, project
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch, MaskedLM, Teacher

LOG, CHECKPOINTS = "log.jsonl", "checkpoints"
PROTOCOL = 2
"""Raised when the same recipe, models and corpus would give other weights; 1 is that of 0.1, which did not write it."""


@dataclass(frozen=True)
class Trained:
    """The course of a training; the student holds its last weights."""

    steps: int
    tokens: int
    """Tokens read by the student, without padding."""
    seconds: float
    """Seconds of all steps, those before a resumption included, held-out evaluations excluded."""
    resumed: int
    """How often the run was resumed from a checkpoint."""


def processes(asked: str) -> Accelerator:
    """Return the distributed engine: one process, or those of ``accelerate launch`` or ``torchrun``.

    It neither divides the loss (``backward`` is the tensor's own) nor casts: both are done once, in the loop below.
    """
    device = pick_device(asked)
    if device.type == "mps":
        raise DeviceError("--device mps: distill adds its losses up in float64, which mps lacks; use cpu or cuda.")
    if device.type == "cuda" and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


class Objective(nn.Module):
    """The student and its loss in one forward pass, as replicas on several devices need it."""

    def __init__(self, student: MaskedLM, recipe: DistilRecipe) -> None:
        """Wrap the student, which keeps its parameters."""
        super().__init__()
        self.student, self.recipe = student, recipe

    def forward(self, batch: Batch, target: Rows | None, counts: LossParts) -> tuple[Tensor, Tensor]:
        """Return a micro-batch's share of the loss, and of its parts, (3,)."""
        rows = self.student(batch, self.recipe.kl_rows if target else "masked")
        loss, parts = fast(rows, target, batch.labels, counts, self.recipe.weights, self.recipe.temperature)
        return loss, torch.stack(parts)


def total_steps(recipe: DistilRecipe, sequences: int) -> int:
    """Return the optimiser steps of a training on this number of sequences."""
    return recipe.steps or max(1, recipe.epochs * sequences // recipe.batch_sequences)


def train(
    student: MaskedLM,
    teacher: Teacher | None,
    data: Data,
    recipe: DistilRecipe,
    accelerator: Accelerator,
    device: Device,
    folder: Path,
    identity: dict[str, Any],
    show: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
    tell: Callable[[str], None] = lambda _: None,
    keep: Callable[[Trained], None] = lambda _: None,
    save_every: int | None = None,
) -> Trained:
    """Train ``student`` in place; resume from the newest checkpoint in ``folder`` if there is one.

    Order, masks, dropout and learning rate are pure functions of (seed, step): a run that was killed and resumed ends
    with the same weights to the bit as one that was not (same machine, threads and processes; on the CPU).

    Args:
        student: float32, on the device.
        teacher: on the device, or None for MLMLoss alone.
        data: the corpus.
        recipe: the recipe, with its precision resolved.
        accelerator: from ``processes``.
        device: the device of this process.
        folder: for log and checkpoints.
        identity: what a checkpoint must match to be resumed.
        show: called for each step with the step, the number of steps, and the line of the log; where the processor
            runs ahead of the device, when the next step is queued.
        tell: called with messages for the user.
        keep: called in the main process with the course of the training so far, after every ``save_every`` steps.
        save_every: steps; None for never.

    Raises:
        ModelError: a loss or gradient is no longer finite; no checkpoint holds that step or a later one.
        UsageError: the checkpoint is of another run, another process is training into ``folder``, or the batch is
            smaller than the number of processes.
        KeyboardInterrupt, SystemExit: a signal came; the checkpoint is written.
    """
    if recipe.batch_sequences < accelerator.num_processes:
        raise UsageError(
            f"batch_sequences {recipe.batch_sequences}: fewer than processes ({accelerator.num_processes})."
        )
    stream = Stream(data, recipe, accelerator.process_index, accelerator.num_processes, device.where.type == "cuda")
    total = total_steps(recipe, len(data.train))
    warmup = round(recipe.warmup_ratio * total)
    optimizer = adamw(student, recipe.learning_rate, recipe.weight_decay, recipe.betas, recipe.eps)
    run = _Run(student, optimizer, accelerator, folder, identity)
    if run.lock and run.lock.warning:
        tell(run.lock.warning)
    taught = teacher if recipe.weights.distil or recipe.weights.cosine else None
    model = accelerator.prepare(Objective(student, recipe))
    together = _Together(accelerator)
    compiled = student.network.base_model._compiled_call_impl is not None
    queued: deque[_Queued] = deque()

    def settle(ahead: int = 0) -> None:
        """Read, check and log what was queued, but for this number of the newest steps."""
        while len(queued) > ahead:
            past = queued.popleft()
            *parts, norm = past.values.read()
            named = LossParts(*parts)
            value = named.loss(recipe.weights)
            if not (math.isfinite(value) and math.isfinite(norm)):
                raise run.broken(past.step, total, named, norm)
            seconds = run.clock()
            run.seconds += seconds
            line = {"step": past.step, "loss": value, **named._asdict(), "learning_rate": past.learning_rate}
            line |= {"gradient_norm": norm, "tokens_per_second": past.tokens / seconds}
            line |= {"memory_bytes": peak_memory(device.where)}
            run.log(line)
            show(past.step, total, line)

    def running_ahead(batch: Batch) -> contextlib.AbstractContextManager[object]:
        if batch.attention is None or compiled:  # what is compiled reads no mask, and would be compiled anew for each
            return contextlib.nullcontext()
        return device.running_ahead(batch.attention, full=False)

    def look() -> None:
        settle()
        run.log({"step": run.step, "held_out": evaluate(student, teacher, stream, accelerator, device)})

    if run.step == 0:
        look()
    with checkpoint.interruption() as interruption, ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(stream.step, run.step)
        for step in range(run.step, total):
            if not queued:
                run.clock()
            batches, mine = ahead.result()
            ahead = pool.submit(stream.step, step + 1)
            # The denominators of the whole step, before its first backward pass; and whether any process has to stop.
            *summed, stop = together.sum([*mine, interruption.signal or 0])
            if stop:
                settle()
                run.save()
                interruption.raise_if_set()
                raise KeyboardInterrupt
            counts = LossParts(*(max(1.0, count) for count in summed))

            learning_rate = recipe.learning_rate * learning_rate_factor(step, total, warmup, "linear")
            set_learning_rate(optimizer, learning_rate)
            student.train()
            parts = torch.zeros(3, dtype=student.weight.dtype, device=device.where)
            for number, (first, batch) in enumerate(batches):
                last = number == len(batches) - 1
                batch = to_device(batch, device.where)
                with contextlib.nullcontext() if last else accelerator.no_sync(model), running_ahead(batch):
                    with device.autocast():
                        target = taught(batch, recipe.kl_rows) if taught else None
                    rows, length = batch.ids.shape
                    with device.training(rows, length, recipe.seed, step, first):
                        loss, share = model(batch, target, counts)
                    # Replicas average their gradients, and the shares of the loss are to be summed.
                    (loss * accelerator.num_processes).backward()
                parts += share
            norm = nn.utils.clip_grad_norm_(student.parameters(), recipe.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()

            run.step, run.tokens = run.step + 1, run.tokens + int(counts.cosine)
            values = Later(torch.cat([accelerator.reduce(parts, "sum"), norm.to(parts.dtype).reshape(1)]))
            queued.append(_Queued(run.step, counts.cosine, learning_rate, values))
            settle(device.steps_ahead)
            if save_every and run.step % save_every == 0:
                settle()  # what is not finite is not kept
                if run.writes:
                    keep(run.course())
            if run.step % recipe.evaluate_steps == 0 or run.step == total:
                look()
            if run.due(recipe.checkpoint_seconds) or run.step == total:
                settle()
                run.save()
    return run.course()


class _Queued(NamedTuple):
    """A step whose results are still to be read."""

    step: int
    tokens: float
    learning_rate: float
    values: Later
    """(4,), the parts of the loss and the norm of the gradient."""


class _Together:
    """Sums over processes that wait for these alone, and not for their devices."""

    def __init__(self, accelerator: Accelerator) -> None:
        several = accelerator.num_processes > 1
        self.group = torch.distributed.new_group(backend="gloo") if several else None

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Return each number's sum over the processes."""
        if self.group is None:
            return [float(number) for number in numbers]
        summed = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(summed, group=self.group)
        return [float(number) for number in summed.tolist()]


@torch.no_grad()
def evaluate(
    student: MaskedLM, teacher: Teacher | None, stream: Stream, accelerator: Accelerator, device: Device
) -> dict[str, float]:
    """Score the held-out split at masked positions: MLMLoss, and the student's agreement with a teacher, if any.

    Returns:
        ``mlm`` (mean cross-entropy), ``top1`` (share of positions where both guess the same token first) and ``kl``
        (KL of the student from the teacher at T = 1); nothing where nothing is held out.
    """
    student.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device.where)
    chunk = CHUNK_ROWS[device.where.type]
    for batch in stream.held_out():
        batch = to_device(batch, device.where)
        with device.autocast():
            rows = student(batch, "masked")
            target = teacher(batch, "masked") if teacher else None
        for start in range(0, len(batch.labels), chunk):
            some = slice(start, start + chunk)
            with device.autocast():
                logits = project(rows.features[some], rows.weight, rows.bias)  # (chunk, vocab)
                wanted = project(target.features[some], target.weight, target.bias) if target else None
            logits = logits.to(rows.weight.dtype)
            sums[0] += len(logits)
            sums[1] += mlm_loss(logits, batch.labels[some])
            if wanted is not None:
                sums[2] += (logits.argmax(-1) == wanted.argmax(-1)).sum()
                sums[3] += distil_loss(logits, wanted.to(logits.dtype), temperature=1.0)
    n, mlm, top1, kl = accelerator.reduce(sums, "sum").tolist()
    if not n:
        return {}
    return {"mlm": mlm / n} | ({"top1": top1 / n, "kl": kl / n} if teacher else {})


class _Run:
    """What is kept on disk: checkpoints, written by one process and read by all, and the log."""

    def __init__(
        self,
        student: MaskedLM,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        folder: Path,
        identity: dict[str, Any],
    ) -> None:
        self.network, self.optimizer, self.writes = student.network, optimizer, accelerator.is_main_process
        self.folder, self.identity = folder, digest_of(identity)
        self.step = self.tokens = self.resumed = 0
        self.seconds, self.saved = 0.0, time.perf_counter()
        self.read = self.saved
        self.lock: Lock | None = None
        if self.writes:
            with _explained(folder):
                files.make_folder(folder / CHECKPOINTS, folder)  # first: by it a begun run is known
                self.lock = Lock(folder / CHECKPOINTS / "lock", folder)
                try:
                    self.lock.acquire(blocking=False)
                except Timeout:
                    raise UsageError(f"Another process is training into {folder}: wait for it, or stop it.") from None
        if checkpoints := checkpoint.steps(folder / CHECKPOINTS):
            state = checkpoint.load(checkpoints[-1])
            assert state is not None
            with checkpoint.applied(checkpoints[-1]):
                if state["identity"] != self.identity:
                    raise UsageError(
                        f"{checkpoints[-1]} belongs to another run (recipe, models, corpus or protocol differ). "
                        "Resume with the settings it was started with, or give another --out."
                    )
                self.network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                self.step, self.tokens, self.seconds = int(state["step"]), int(state["tokens"]), float(state["seconds"])
                self.resumed = int(state["resumed"]) + 1
        accelerator.wait_for_everyone()  # all have read before one writes
        if self.writes:
            with _explained(folder):
                _cut_log(folder / LOG, self.step)

    def clock(self) -> float:
        """Return the seconds since the last call."""
        before, self.read = self.read, time.perf_counter()
        return self.read - before

    def course(self) -> Trained:
        return Trained(self.step, self.tokens, self.seconds, self.resumed)

    def log(self, line: dict[str, Any]) -> None:
        if self.writes:
            with _explained(self.folder):
                files.append(self.folder / LOG, (json.dumps(line) + "\n").encode())

    def due(self, seconds: float) -> bool:
        return self.writes and time.perf_counter() - self.saved >= seconds

    def save(self) -> None:
        if self.writes:
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "identity": self.identity,
                "step": self.step,
                "tokens": self.tokens,
                "seconds": self.seconds,
                "resumed": self.resumed,
            }
            checkpoint.save_step(self.folder / CHECKPOINTS, self.step, state)
            self.saved = time.perf_counter()

    def broken(self, step: int, total: int, parts: LossParts, norm: float) -> ModelError:
        """Return the error for a step that cannot be applied."""
        checkpoints = checkpoint.steps(self.folder / CHECKPOINTS)
        good = f"The last good checkpoint is {checkpoints[-1]}" if checkpoints else "There is no checkpoint yet"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in parts._asdict().items())
        return ModelError(
            f"Not finite at step {step} of {total} ({shown}, gradient norm {norm:.4g}). {good}.\n"
            "Lower --set learning_rate, or --set precision=fp32, with another --out."
        )


def _explained(folder: Path) -> contextlib.AbstractContextManager[None]:
    return files.explained(folder, "and continue from the last checkpoint with --resume")


def _cut_log(path: Path, step: int) -> None:
    """Remove what a killed run logged after its last checkpoint (``step``, 0: none), since it is done again."""
    kept = [line for line in read_log(path) if step and line["step"] <= step] if path.exists() else []
    files.write(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, without a last one that a kill cut short."""
    lines = []
    for text in files.read(path, files.LARGE, path.parent).decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines
