"""Distillation: the whole step on one screen."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from accelerate import Accelerator
from filelock import Timeout
from torch import Tensor, nn

from flue_bench import files
from flue_bench.errors import DeviceError, FlueBenchError, ModelError, UsageError, counted, quoted, short
from flue_bench.locks import Lock
from flue_bench.record import digest_of
from flue_bench.signals import Handled
from flue_bench.training import checkpoint
from flue_bench.training.device import Device, peak_memory, pick_device
from flue_bench.training.optim import adamw, learning_rate_factor, set_learning_rate
from flue_bench.training.scale import LossScale, not_finite, step_unless
from flue_bench.training.soft_labels import distil_loss
from flue_bench.training.waits import Later
from flue_distill.training import log, memory, resume
from flue_distill.training.curves import Curves, page
from flue_distill.training.data import Data, Stream, to_device
from flue_distill.training.hidden import HiddenLoss
from flue_distill.training.log import LOG
from flue_distill.training.objective import CHUNK_ROWS, LossParts, Rows, fast, mlm_loss, project
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.relations import RelationLoss
from flue_distill.training.student import Batch, MaskedLM, Teacher

CHECKPOINTS, PAGE = "checkpoints", "curves.html"
PAGE_SECONDS = 60.0
"""Between two drawings of the curves, which reload by themselves, while a training goes on."""
MOST_SKIPPED = 20
"""Steps in a row that are not finite and are left out, before the training stops. A loss scale falls from 65,536 to
below 1 in fewer."""
SHARED_SECONDS = 30.0
"""How long a file that the first process has made may take to be seen by the others."""
T = TypeVar("T")
PROTOCOL = 3
"""Raised when the same recipe, models and corpus would give other weights; 1 is that of 0.1, which did not write it, 3
rounds the gradient of the logits in another place."""


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
    skipped: int = 0
    """Steps that were not finite and left no trace in the weights."""
    changes: tuple[dict[str, Any], ...] = ()
    """What was changed on the way, as ``resume.changes`` says it."""
    micro_batch: int = 0
    """Sequences a forward pass, at the end."""
    loss_scale: float | None = None
    """The loss scale at the end, in fp16."""


def processes(asked: str) -> Accelerator:
    """Return the distributed engine: one process, or those of ``accelerate launch`` or ``torchrun``.

    It neither divides the loss (``backward`` is the tensor's own) nor casts: both are done once, in the loop below.

    Raises:
        DeviceError: there is no such device, or it cannot distil.
        FlueBenchError: the others were not met, for as long as PyTorch waits.
        UsageError: the variables that name the others are not whole.
    """
    device = pick_device(asked)
    if device.type == "mps":
        raise DeviceError("--device mps: distill adds its losses up in float64, which mps lacks; use cpu or cuda.")
    if device.type == "cuda" and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(device)
    try:
        # While it waits for the other processes, in PyTorch's own code, no handler of Python's would be called.
        with Handled(signal.SIG_DFL, ignored=False):
            return Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    except (torch.distributed.DistError, ValueError) as error:  # of a GPU there are others
        if not launched():
            raise
        kind = FlueBenchError if isinstance(error, torch.distributed.DistError) else UsageError
        raise kind(
            f"The processes of WORLD_SIZE {os.environ['WORLD_SIZE']} do not meet ({_said(error)}).\n"
            "Start them with torchrun or accelerate launch, which set MASTER_ADDR, MASTER_PORT, RANK and LOCAL_RANK; "
            "or unset WORLD_SIZE and train in one process."
        ) from error


def launched() -> bool:
    """Return whether this is one of several processes that a launcher has started.

    Raises:
        UsageError: the launcher's variable holds no number.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if not processes.isdecimal():
        raise UsageError(f"WORLD_SIZE is {quoted(processes)}, not a number of processes: unset it.")
    return int(processes) > 1


def _said(error: Exception) -> str:
    """Return the first sentence of PyTorch's error about other processes, without the place in its code."""
    line = (str(error).splitlines() or [""])[0].rpartition("] ")[2]
    return short(re.split(r"\.(?: |$)", line)[0], 200)


@contextlib.contextmanager
def with_others(processes: int) -> Iterator[None]:
    """Say in a sentence that another process of this training has ended: PyTorch names the connection alone.

    Raises:
        FlueBenchError: another process ended, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if processes < 2 or not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        raise FlueBenchError(
            f"Another of the {processes} processes ended or cannot be reached ({_said(error)}): what it said last says "
            "why.\n"
            "The same command with --resume goes on from the last checkpoint."
        ) from error


class Objective(nn.Module):
    """The student and its loss in one forward pass, as replicas on several devices need it."""

    def __init__(self, student: MaskedLM, teacher: Teacher | None, recipe: DistilRecipe) -> None:
        """Wrap the student, which keeps its parameters, and make the parts of the loss that read layers, if any.

        Where the student's encoder is compiled, so is the fast loss.

        Raises:
            UsageError: a part does not fit these models.
        """
        super().__init__()
        self.student, self.recipe, self.weights = student, recipe, recipe.weights
        self.of_layers = nn.ModuleDict()
        if teacher is not None and self.weights.hidden:
            self.of_layers["hidden"] = HiddenLoss(student, teacher.model, recipe)
        if teacher is not None and self.weights.relations:
            self.of_layers["relations"] = RelationLoss(student, teacher.model, recipe)
        self.parts = (*LossParts._fields, *self.of_layers)

    def forward(
        self, batch: Batch, target: Rows | None, counts: LossParts, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a micro-batch's share of the loss, times the scale, and of its ``parts``, (3 to 5,)."""
        rows = self.student(batch, self.recipe.kl_rows if target else "masked")
        loss, shares = fast(
            rows, target, batch.labels, counts, self.weights, self.recipe.temperature, scale=scale,
            compiled=self.student.compiled,
        )  # fmt: skip
        values = list(shares)
        for name, part in self.of_layers.items():
            value = part(rows, target, batch) / counts.cosine  # like CosineLoss: all positions without padding
            share = value * getattr(self.weights, name)
            loss = loss + (share if scale is None else share * scale)
            values.append(value.detach())
        return loss, torch.stack(values)

    def loss(self, values: dict[str, float]) -> float:
        """Return the loss of a step whose parts have these values."""
        total: float = LossParts(*(values[name] for name in LossParts._fields)).loss(self.weights)
        for name in self.of_layers:
            total += getattr(self.weights, name) * values[name]
        return total


def total_steps(recipe: DistilRecipe, sequences: int) -> int:
    """Return the optimiser steps of a training on this number of sequences."""
    return recipe.steps or max(1, recipe.epochs * sequences // recipe.batch_sequences)


def train(
    student: MaskedLM,
    teacher: Teacher | None,
    data: Data,
    recipe: DistilRecipe,
    together: Together,
    device: Device,
    folder: Path,
    identity: dict[str, Any],
    show: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
    tell: Callable[[str], None] = lambda _: None,
    keep: Callable[[Trained], None] = lambda _: None,
    save_every: int | None = None,
    asked: Collection[str] = (),
) -> Trained:
    """Train ``student`` in place; resume from the newest checkpoint in ``folder`` if there is one.

    Order, masks, dropout and learning rate are pure functions of (seed, step): a run that was killed and resumed ends
    with the same weights to the bit as one that was not (same machine, threads and processes; on the CPU). A step that
    is not finite is left out; which ones are is a function of the same, and a checkpoint keeps the loss scale.

    Args:
        student: float32, on the device.
        teacher: on the device, or None for MLMLoss alone.
        data: the corpus.
        recipe: the recipe, with its precision resolved.
        together: the processes that train.
        device: the device of this process.
        folder: for log and checkpoints; one that all processes see.
        identity: what a checkpoint must match to be resumed, beside the recipe, of which ``resume.changes`` lets some
            fields differ.
        show: called for each step with the step, the number of steps, and the line of the log; where the processor
            runs ahead of the device, when the next step is queued.
        tell: called with messages for the user.
        keep: called in the main process with the course of the training so far, after every ``save_every`` steps.
        save_every: steps; None for never.
        asked: fields of the recipe that the user names in order to change them on the way.

    Raises:
        ModelError: ``MOST_SKIPPED`` steps in a row were not finite, or the last one was not; the newest checkpoint is
            older than they are.
        UsageError: the checkpoint is of another run, another process is training into ``folder``, the processes do not
            share it, or the batch is smaller than their number.
        KeyboardInterrupt, SystemExit: a signal came; the checkpoint is written.
    """
    accelerator = together.accelerator
    if recipe.batch_sequences < accelerator.num_processes:
        raise UsageError(
            f"batch_sequences {recipe.batch_sequences}: fewer than processes ({accelerator.num_processes})."
        )
    if recipe.freeze_positions:
        _freeze_positions(student.network)
    weights = recipe.weights
    taught = teacher if any((weights.distil, weights.cosine, weights.hidden, weights.relations)) else None
    objective = Objective(student, taught, recipe)
    optimizer = adamw(objective, recipe.learning_rate, recipe.weight_decay, recipe.betas, recipe.eps)
    scale = LossScale(device.where) if device.precision == "fp16" else None
    run = _Run(objective, optimizer, scale, recipe, together, folder, identity, asked, tell)
    if recipe.micro_batch == "auto":
        recipe = run.recipe = recipe.model_copy(
            update={"micro_batch": run.micro_batch or memory.found(objective, taught, data, recipe, together, device)}
        )
        tell(f"micro_batch auto: {recipe.micro_batch} sequences a forward pass")
    stream = Stream(data, recipe, accelerator.process_index, accelerator.num_processes, device.where.type == "cuda")
    total = total_steps(recipe, len(data.train))
    warmup = round(recipe.warmup_ratio * total)
    model = accelerator.prepare(objective)
    queued: deque[_Queued] = deque()

    def settle(ahead: int = 0) -> None:
        """Read, check and log what was queued, but for this number of the newest steps."""
        while len(queued) > ahead:
            past = queued.popleft()
            values = past.values.read()
            named = dict(zip(objective.parts, values, strict=False))
            norm, *scaled = values[len(named) :]
            seconds = run.clock()
            run.seconds += seconds
            line: dict[str, Any] = {"step": past.step}
            finite = all(map(math.isfinite, (*named.values(), norm)))
            if finite:
                line |= {"loss": objective.loss(named), **named}
            else:
                line["not_finite"] = {key: f"{value:.4g}" for key, value in named.items()}
            line["learning_rate"] = past.learning_rate
            line["gradient_norm"] = norm if finite else f"{norm:.4g}"
            line |= {"tokens_per_second": past.tokens / seconds, "memory_bytes": peak_memory(device.where)}
            if scaled:
                line["loss_scale"] = scaled[0]
            run.log(line)
            run.count(line, total, device)
            if finite:
                show(past.step, total, line)

    def running_ahead(batch: Batch) -> contextlib.AbstractContextManager[object]:
        if (
            batch.attention is None or student.compiled
        ):  # what is compiled reads no mask, and would be compiled anew for each
            return contextlib.nullcontext()
        return device.running_ahead(batch.attention, full=False)

    alike = teacher if teacher and len(teacher.model.weight) == len(student.weight) else None  # as many outputs

    def look() -> None:
        settle()
        run.log({"step": run.step, "held_out": evaluate(student, alike, stream, accelerator, device)})

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
                raise SystemExit(128 + signal.SIGTERM)  # another process was stopped: resume me, as it says too
            counts = LossParts(*(max(1.0, count) for count in summed))

            learning_rate = recipe.learning_rate * learning_rate_factor(step, total, warmup, "linear")
            set_learning_rate(optimizer, learning_rate)
            student.train()
            parts = torch.zeros(len(objective.parts), dtype=student.weight.dtype, device=device.where)
            for number, (first, batch) in enumerate(batches):
                last = number == len(batches) - 1
                batch = to_device(batch, device.where)
                with contextlib.nullcontext() if last else accelerator.no_sync(model), running_ahead(batch):
                    with device.autocast():
                        target = taught(batch, recipe.kl_rows) if taught else None
                    rows, length = batch.ids.shape
                    with device.training(rows, length, recipe.seed, step, first):
                        loss, share = model(batch, target, counts, scale.value if scale else None)
                    # Replicas average their gradients, and the shares of the loss are to be summed.
                    (loss * accelerator.num_processes).backward()
                parts += share
            if scale:
                scale.unscale(objective.parameters())
            norm = nn.utils.clip_grad_norm_(objective.parameters(), recipe.max_grad_norm)
            results = torch.cat([accelerator.reduce(parts, "sum"), norm.to(parts.dtype).reshape(1)])
            left_out = not_finite(results)
            step_unless(optimizer, left_out)
            optimizer.zero_grad()

            run.step, run.tokens = run.step + 1, run.tokens + int(counts.cosine)
            values = torch.cat([results, *([scale.value.reshape(1)] if scale else [])])
            if scale:
                scale.update(left_out)
            queued.append(_Queued(run.step, counts.cosine, learning_rate, Later(values)))
            settle(device.steps_ahead)
            if save_every and run.step % save_every == 0:
                settle()
                if run.writes:
                    keep(run.course())
            if run.step % recipe.evaluate_steps == 0 or run.step == total:
                look()
            if run.due(recipe.checkpoint_seconds) or run.step == total:
                settle()
                if not run.in_a_row or run.step == total:  # none is written amid steps that are left out
                    run.save()
    return run.course()


def _freeze_positions(network: Any) -> None:
    positions = getattr(network.base_model.embeddings, "position_embeddings", None)
    if positions is None:
        raise UsageError(
            f"freeze_positions: this {network.config.model_type} has no embeddings of positions, they are relative. "
            "Leave it out, or --set freeze_positions=false."
        )
    positions.requires_grad_(False)


class _Queued(NamedTuple):
    """A step whose results are still to be read."""

    step: int
    tokens: float
    learning_rate: float
    values: Later
    """(4 to 6,), the parts of the loss and the norm of the gradient; in fp16 the loss scale too."""


class Together:
    """Agrees with the other processes, waiting for these alone and not for their devices; within ``with``."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.first, self.processes = accelerator.is_main_process, accelerator.num_processes
        self.group = torch.distributed.new_group(backend="gloo") if self.processes > 1 else None

    def __enter__(self) -> Together:
        """Begin."""
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        """Leave the other processes, and close the trackers; after a failure, wait for nobody.

        Groups of gloo are ended in any case: a thread of theirs may still let go of a tensor when Python ends, which
        aborts the process. NCCL's wait for the others, so after a failure they are left to the end of the process.
        """
        group, self.group = self.group, None
        if group is not None:
            torch.distributed.destroy_process_group(group)
        if failed and torch.distributed.is_initialized() and torch.distributed.get_backend() != "gloo":
            for tracker in self.accelerator.trackers:
                tracker.finish()
        else:
            self.accelerator.end_training()

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Return each number's sum over the processes."""
        if self.group is None:
            return [float(number) for number in numbers]
        summed = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(summed, group=self.group)
        return [float(number) for number in summed.tolist()]

    def least(self, number: int) -> int:
        """Return the least of the processes' numbers."""
        if self.group is None:
            return number
        least = torch.tensor(number)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN, group=self.group)
        return int(least)

    def told(self, work: Callable[[], T]) -> T:
        """Return what the main process's work returned; raise everywhere what it raised there."""
        said: list[Any] = [None, None]
        if self.first:
            try:
                said = [work(), None]
            except FlueBenchError as error:
                said = [None, error]
        if self.group is not None:
            torch.distributed.broadcast_object_list(said, src=0, group=self.group)
        result, stopped = said
        if stopped is not None:
            raise stopped
        return cast(T, result)


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
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        scale: LossScale | None,
        recipe: DistilRecipe,
        together: Together,
        folder: Path,
        identity: dict[str, Any],
        asked: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        self.network, self.of_layers = objective.student.network, objective.of_layers
        self.optimizer, self.scale, self.compiled = optimizer, scale, objective.student.compiled
        self.recipe, self.accelerator, self.writes = recipe, together.accelerator, together.first
        self.folder, self.identity, self.tell = folder, identity, tell
        self.step = self.tokens = self.resumed = self.skipped = self.in_a_row = self.micro_batch = 0
        self.seconds, self.saved = 0.0, time.perf_counter()
        self.read, self.drawn = self.saved, -math.inf
        self.changes: list[dict[str, Any]] = []
        self.lock: Lock | None = None
        begun = together.told(self._begin)
        _check_shared(begun, folder, digest_of([identity, recipe.model_dump(mode="json")]), together)
        if begun.step:
            self._load(folder / CHECKPOINTS / f"step-{begun.step:09}", asked)
        self.accelerator.wait_for_everyone()  # all have read before one writes
        self.curves = Curves()
        if self.writes:
            with _explained(folder):
                (folder / CHECKPOINTS / begun.mark).unlink(missing_ok=True)
                done = log.last_step(folder / LOG) if (folder / LOG).exists() else 0
                if done > 0 and not self.step:
                    tell(f"{folder / CHECKPOINTS} holds no checkpoint: from the start, although step {done} was done.")
                log.cut(folder / LOG, self.step)
                for line in log.lines(folder / LOG):
                    self.curves.add(line)

    def _begin(self) -> _Begun:
        """Take the folder, and return the step to resume at; in the main process, which alone decides it."""
        with _explained(self.folder):
            files.make_folder(self.folder / CHECKPOINTS, self.folder)  # first: by it a begun run is known
            self.lock = Lock(self.folder / CHECKPOINTS / "lock", self.folder)
            try:
                self.lock.acquire(blocking=False)
            except Timeout:
                raise UsageError(f"Another process is training into {self.folder}: wait for it, or stop it.") from None
            if self.lock.warning:
                self.tell(self.lock.warning)
            there = checkpoint.steps(self.folder / CHECKPOINTS)
            mark = f"seen-{secrets.token_hex(8)}"
            if self.accelerator.num_processes > 1:
                files.write(self.folder / CHECKPOINTS / mark, b"")
        known = digest_of([self.identity, self.recipe.model_dump(mode="json")])
        return _Begun(int(there[-1].name.removeprefix("step-")) if there else 0, mark, known)

    def _load(self, path: Path, asked: Collection[str]) -> None:
        state = checkpoint.load(path)
        if state is None:
            raise UsageError(f"{path} is gone: does another process train into {self.folder}?")
        with checkpoint.applied(path):
            found = resume.changes(path, state, self.identity, self.recipe, asked)
            if (before := bool(state.get("compiled"))) != self.compiled:
                found.append({"field": "compile", "before": before, "after": self.compiled})
            self.network.load_state_dict(state["network"])
            self.of_layers.load_state_dict(state.get("of_layers", {}))
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scale and state["scale"] is not None:
                self.scale.restore(state["scale"])
            self.step, self.tokens, self.seconds = int(state["step"]), int(state["tokens"]), float(state["seconds"])
            self.resumed, self.skipped = int(state["resumed"]) + 1, int(state["skipped"])
            self.in_a_row, self.micro_batch = int(state["in_a_row"]), int(state["recipe"]["micro_batch"])
            self.in_a_row *= not found  # another learning rate has its chance
            self.changes = [*state["changes"], *({"step": self.step, **each} for each in found)]
        for each in found:
            self.tell(
                f"From step {self.step} on: {each['field']} {each['after']}, not {each['before']}. "
                "distillation.json says so."
            )

    def clock(self) -> float:
        """Return the seconds since the last call."""
        before, self.read = self.read, time.perf_counter()
        return self.read - before

    def course(self) -> Trained:
        scale = float(self.scale.value) if self.scale else None
        changes, at_once = tuple(self.changes), self.recipe.at_once
        return Trained(self.step, self.tokens, self.seconds, self.resumed, self.skipped, changes, at_once, scale)

    def log(self, line: dict[str, Any]) -> None:
        """Write a line to the log and to the trackers, and draw the curves if it is time."""
        if not self.writes:
            return
        with _explained(self.folder):
            log.append(self.folder / LOG, line)
            self.curves.add(line)
            if time.perf_counter() - self.drawn >= PAGE_SECONDS:
                self.drawn = time.perf_counter()
                files.write(self.folder / PAGE, page(self.curves.draw(), PAGE_SECONDS).encode())
        if self.accelerator.trackers:
            self.accelerator.log(_numbers(line), step=line["step"])

    def count(self, line: dict[str, Any], total: int, device: Device) -> None:
        """Count a step that was left out; stop where too many are, one after the other, or the last one is."""
        said = line.get("not_finite")
        if said is None:
            self.in_a_row = 0
            return
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        values = ", ".join(f"{name} {value}" for name, value in said.items())
        values += f", gradient norm {line['gradient_norm']}"
        only_scaled = self.scale is not None and all(math.isfinite(float(value)) for value in said.values())
        if self.in_a_row >= MOST_SKIPPED or (line["step"] == total and not only_scaled):
            raise self._broken(line["step"], total, values, device)
        if not only_scaled:  # a scale that looks for its size is nothing to be told of
            self.tell(f"Step {line['step']} of {total} is not finite ({values}): left out.")

    def due(self, seconds: float) -> bool:
        """Return whether it is time for a checkpoint."""
        return self.writes and time.perf_counter() - self.saved >= seconds

    def save(self) -> None:
        if self.writes:
            state = {
                "network": self.network.state_dict(),
                **({"of_layers": self.of_layers.state_dict()} if self.of_layers else {}),
                "optimizer": self.optimizer.state_dict(),
                "scale": self.scale.state() if self.scale else None,
                "identity": self.identity,
                "recipe": self.recipe.model_dump(mode="json"),
                "changes": self.changes,
                "compiled": self.compiled,
                "step": self.step,
                "tokens": self.tokens,
                "seconds": self.seconds,
                "resumed": self.resumed,
                "skipped": self.skipped,
                "in_a_row": self.in_a_row,
            }
            checkpoint.save_step(self.folder / CHECKPOINTS, self.step, state)
            self.saved = time.perf_counter()

    def _broken(self, step: int, total: int, values: str, device: Device) -> ModelError:
        """Return the error for a training whose steps are no longer finite."""
        checkpoints = checkpoint.steps(self.folder / CHECKPOINTS)
        good = (
            f"The last good checkpoint is {checkpoints[-1]}: go on" if checkpoints else "No checkpoint yet: begin again"
        )
        other = "" if device.precision == "fp32" else ", or --set precision=fp32"
        return ModelError(
            f"{counted(self.in_a_row, 'step')} in a row not finite, the last at step {step} of {total} ({values}): "
            f"left out of the weights.\n{good} with --resume and a lower --set learning_rate (now "
            f"{self.recipe.learning_rate:g}){other}."
        )


class _Begun(NamedTuple):
    """What the main process tells the others at the start."""

    step: int
    """Of the checkpoint to resume from; 0: none."""
    mark: str
    """A file that it has just made in the folder of the checkpoints."""
    known: str
    """Digest of its identity and recipe."""


def _check_shared(begun: _Begun, folder: Path, known: str, together: Together) -> None:
    """Refuse processes that do not see what the first one writes, or that were started with other settings."""
    if together.processes == 1:
        return
    wanted = [folder / CHECKPOINTS / begun.mark]
    wanted += [folder / CHECKPOINTS / f"step-{begun.step:09}" / checkpoint.FILE] if begun.step else []
    deadline = time.monotonic() + SHARED_SECONDS  # a network's file system may show a new file late
    while not (sees := all(path.exists() for path in wanted)) and time.monotonic() < deadline:
        time.sleep(0.1)
    blind, others = together.sum([not sees, known != begun.known])
    if blind:
        raise UsageError(
            f"--out {folder} is not one folder for all: {blind:.0f} of {together.processes} processes do not see what "
            "the first one wrote there. Give a folder that all machines share."
        )
    if others:
        raise UsageError(
            f"{others:.0f} of {together.processes} processes were given other settings, models or another corpus than "
            "the first one. Start all with the same command."
        )


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of the log by name, as trackers take them."""
    held_out = {f"held_out/{name}": value for name, value in line.get("held_out", {}).items()}
    return {key: value for key, value in line.items() if key != "step" and isinstance(value, int | float)} | held_out


def _explained(folder: Path) -> contextlib.AbstractContextManager[None]:
    return files.explained(folder, "and continue from the last checkpoint with --resume")
