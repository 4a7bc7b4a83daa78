"""What models cost to use: size, arithmetic, latency, throughput and memory, measured side by side.

Measured is the forward pass of the bare encoder (as its sentence classifier holds it, without the classifier), on texts
that are tokenised and on the device already. Models take turns within every round, so that what else the machine is
doing hits all of them alike: their ratio within a round is worth more than either figure.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flue_bench.record import SpeedRecord, digest_of
from flue_bench.task import Example
from flue_bench.training import models
from flue_bench.training.batches import training_batches
from flue_bench.training.device import Device, environment, keep_freed_memory, pick_device, prepare
from flue_bench.training.encode import encode_texts
from flue_bench.training.models import Resolved
from flue_bench.training.train import flops_per_example

SAMPLE = Path(__file__).parent / "sample.txt"
"""French texts of one to five sentences, one a line; ``benchmarks/makers/texts.py`` wrote them."""
ROUNDS = 5
BATCH_SIZE = 32
LATENCY_EVERY = 4
"""One text in so many is read alone, too."""
MAX_LENGTH = 512

Inputs = dict[str, Tensor]


@dataclass
class Subject:
    """A model that is being measured."""

    model: Resolved
    device: Device
    encoder: nn.Module
    notes: tuple[str, ...]
    batches: list[Inputs]
    """Of like length: ``input_ids``, ``attention_mask`` …, each (rows, longest)."""
    singles: list[Inputs]
    """Each (1, length)."""
    tokens: int
    """Sub-words of the sample that are no padding."""
    flops: float
    seconds: list[float] = field(default_factory=list)
    """One a round: all batches."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of all rounds."""


def texts() -> list[str]:
    """The sample."""
    return SAMPLE.read_text(encoding="utf-8").splitlines()


def measure(
    names: Sequence[str],
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    show: Callable[[int, int], None] = lambda *_: None,
) -> tuple[list[SpeedRecord], list[list[float]]]:
    """Measure models in turns.

    Args:
        names: of models, as ``models.resolve`` takes them.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.
        offline: make no network call.
        show: called with what is done of what is to be done.

    Returns:
        A record a model; and for each model, round by round, its examples a second over those of the first model.

    Raises:
        FlueBenchError: a model, the device or the precision is not to be had.
    """
    keep_freed_memory()
    where, steps = pick_device(device), len(names) * (ROUNDS + 2)
    subjects: list[Subject] = []
    for name in names:
        subjects.append(_subject(models.resolve(name, offline), where, precision))
        show(len(subjects), steps)
    peaks = [peak_memory(subject) for subject in subjects]  # also warms up
    for number in range(ROUNDS + 1):
        for subject in subjects if number % 2 else subjects[::-1]:
            _round(subject)
            show(len(subjects) * (number + 1) + sum(len(each.seconds) > number for each in subjects), steps)
    for subject in subjects:
        del subject.seconds[0], subject.latencies[: len(subject.singles)]  # warm-up
    first = np.array(subjects[0].seconds)
    records = [_record(subject, peak) for subject, peak in zip(subjects, peaks, strict=True)]
    return records, [(first / subject.seconds).tolist() for subject in subjects]


def _subject(model: Resolved, where: torch.device, precision: str) -> Subject:
    device = prepare(where, precision, models.width(model.config))
    length = min(MAX_LENGTH, models.max_positions(model.config) or MAX_LENGTH)
    examples = [Example(str(number), "", text=text) for number, text in enumerate(texts())]
    encoded = encode_texts(examples, models.load_tokenizer(model), length)
    encoder = models.load_encoder(model).to(where).eval()
    return Subject(
        model=model,
        device=device,
        encoder=encoder,
        notes=model.notes,
        batches=[encoded.batch(rows, where).inputs for rows in training_batches(encoded.lengths, BATCH_SIZE, 0, 0)],
        singles=[encoded.batch([row], where).inputs for row in range(0, len(encoded), LATENCY_EVERY)],
        tokens=int(encoded.lengths.sum()),
        flops=flops_per_example(encoder, encoded, device),
    )


def _round(subject: Subject) -> None:
    """All batches against the clock, then single texts."""
    # One block, so that weights are cast once and not for every batch; under inference_mode autocast keeps no cast.
    with torch.no_grad(), subject.device.autocast():
        subject.encoder(**subject.singles[0])
        began = _now(subject)
        for inputs in subject.batches:
            subject.encoder(**inputs)
        subject.seconds.append(_now(subject) - began)
        for inputs in subject.singles:
            began = _now(subject)
            subject.encoder(**inputs)
            subject.latencies.append(_now(subject) - began)


def _now(subject: Subject) -> float:
    """Seconds, when the device has done what it was asked."""
    subject.device.synchronize()
    return time.perf_counter()


def peak_memory(subject: Subject) -> int:
    """Bytes of the encoder's weights and, at the worst moment, of all else it holds for the batch with most positions.

    On CUDA as the allocator counts, on the CPU the tensors that torch makes: the process itself, which may hold several
    models, is left out.
    """
    largest = max(subject.batches, key=lambda inputs: inputs["input_ids"].numel())
    weights = sum(tensor.nbytes for tensor in (*subject.encoder.parameters(), *subject.encoder.buffers()))
    device = subject.device.torch
    with torch.no_grad(), subject.device.autocast():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            subject.encoder(**largest)
            held = torch.cuda.max_memory_allocated(device) - before
        else:
            with _Held() as block:
                subject.encoder(**largest)
            held = block.peak
    return weights + int(held)


class _Held(TorchDispatchMode):
    """Counts the bytes of tensors made within the block that are alive together."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        views = _storages((args, kwargs)).keys()  # what shares memory with an argument is nothing new
        for place, storage in _storages(made).items():
            if place in views:
                continue
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def _freed(self, size: int) -> None:
        self.now -= size


def _storages(tensors: Any) -> dict[int, torch.UntypedStorage]:
    """Address → memory, of all tensors in a nested structure."""
    found = (leaf.untyped_storage() for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor))
    return {storage.data_ptr(): storage for storage in found}


def _record(subject: Subject, peak: int) -> SpeedRecord:
    examples = len(texts())
    seconds, latencies = float(np.median(subject.seconds)), 1e3 * np.array(subject.latencies)
    return SpeedRecord(
        model=subject.model.ref,
        precision=subject.device.precision,
        batch_size=BATCH_SIZE,
        text=digest_of(texts()),
        examples=examples,
        parameters=sum(parameter.numel() for parameter in subject.encoder.parameters()),
        flops_per_example=subject.flops,
        latency_ms_median=float(np.median(latencies)),
        latency_ms_p95=float(np.quantile(latencies, 0.95)),
        examples_per_second=examples / seconds,
        tokens_per_second=subject.tokens / seconds,
        peak_memory_bytes=peak,
        environment=environment(subject.device, subject.notes),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
