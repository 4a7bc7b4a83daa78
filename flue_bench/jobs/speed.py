"""What models cost to use: size, arithmetic, latency, throughput and memory, measured side by side.

The forward pass of the bare encoder is measured (as its sentence classifier holds it, without the classifier), on texts
already tokenised and on the device. Models take turns within every round, so that other load on the machine affects all
of them alike: their ratio within a round is more reliable than either figure.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flue_bench.errors import FlueBenchError, UsageError
from flue_bench.jobs.figures import attempted, rate
from flue_bench.kinds.network.network import encode_texts
from flue_bench.record import SCHEMA_VERSION, SpeedRecord, digest_of
from flue_bench.training import models
from flue_bench.training.batches import training_batches
from flue_bench.training.device import Device, environment, pick_device, prepare, random_state_kept
from flue_bench.training.models import Resolved
from flue_bench.training.peak import Products, share_of_peak
from flue_bench.training.train import flops_per_example

SAMPLE = Path(__file__).parent / "sample.txt"
"""French texts of one to five sentences, one per line; ``benchmarks/makers/texts.py`` wrote them."""
ROUNDS = 5
BATCH_SIZE = 32
LATENCY_EVERY = 4
"""Every how many texts one is also read alone, for latency."""
MAX_LENGTH = 512

Inputs = dict[str, Tensor]


@dataclass
class Subject:
    """A model that is being measured."""

    model: Resolved
    device: Device
    encoder: nn.Module
    notes: list[str]
    batches: list[Inputs]
    """Batches of similar length: ``input_ids``, ``attention_mask`` …, each (rows, longest)."""
    singles: list[Inputs]
    """Single texts, each (1, length)."""
    tokens: int
    """Sub-words of the sample, without padding."""
    flops: float | None
    peak: int | None
    seconds: list[float] = field(default_factory=list)
    """Seconds for all batches, one value per round."""
    latencies: list[float] = field(default_factory=list)
    """Seconds per single text, of all rounds."""


class Measured(NamedTuple):
    """The measurements."""

    records: list[SpeedRecord]
    """One per model."""
    ratios: list[list[float]]
    """For each of them, round by round, its examples a second over those of the first."""
    failed: dict[str, str]
    """Name of a model that could not be measured → why."""


def texts() -> list[str]:
    """Return the sample texts."""
    return SAMPLE.read_text(encoding="utf-8").splitlines()


def measure(
    names: Sequence[str],
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    show: Callable[[int, int], None] = lambda *_: None,
) -> Measured:
    """Measure models in turns. One that fails is left out, and the others go on.

    Args:
        names: names of models, as for ``models.resolve``.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        offline: make no network call.
        show: called with the number of steps done and the total.

    Raises:
        UsageError: a name, the device or the precision is invalid.
        FlueBenchError: the only model cannot be loaded.
    """
    where, done, steps = pick_device(device), 0, len(names) * (ROUNDS + 2)
    subjects: dict[str, Subject] = {}
    failed: dict[str, str] = {}

    def step(name: str, work: Callable[[], object]) -> None:
        nonlocal done
        try:
            work()
        except UsageError:
            raise
        except Exception as error:  # transformers raises whatever its models raise
            if len(names) == 1 and isinstance(error, FlueBenchError):
                raise
            unexpected = f"unexpected {type(error).__name__}: {models.first_line(error)}"
            failed[name] = str(error) if isinstance(error, FlueBenchError) else unexpected
            subjects.pop(name, None)
        done += 1
        show(done, steps)

    def load(name: str) -> None:
        subjects[name] = _subject(models.resolve(name, offline), where, precision)

    with random_state_kept(where):
        for name in names:
            step(name, partial(load, name))
        for number in range(ROUNDS + 1):
            for name, subject in list(subjects.items())[:: 1 if number % 2 else -1]:
                step(name, partial(_round, subject))
        for subject in subjects.values():
            del subject.seconds[0], subject.latencies[: len(subject.singles)]  # warm-up
        records = [_record(subject) for subject in subjects.values()]
    first = next((np.array(subject.seconds) for subject in subjects.values()), np.empty(0))
    return Measured(records, [(first / subject.seconds).tolist() for subject in subjects.values()], failed)


def _subject(model: Resolved, where: torch.device, precision: str) -> Subject:
    device = prepare(where, precision, models.width(model.config))
    length = min(MAX_LENGTH, models.max_positions(model.config) or MAX_LENGTH)
    sample = texts()
    encoded = encode_texts(sample, None, np.zeros(len(sample), np.int64), models.load_tokenizer(model), length)
    encoder = models.load_encoder(model).to(where).eval()
    subject = Subject(
        model=model,
        device=device,
        encoder=encoder,
        notes=list(model.notes),
        batches=[encoded.batch(rows, where).inputs for rows in training_batches(encoded.lengths, BATCH_SIZE, 0, 0)],
        singles=[encoded.batch([row], where).inputs for row in range(0, len(encoded), LATENCY_EVERY)],
        tokens=int(encoded.lengths.sum()),
        flops=None,
        peak=None,
    )
    with torch.no_grad(), device.autocast():  # fails now if the model cannot read them
        encoder(**_largest(subject))
    subject.peak = attempted("peak memory", lambda: peak_memory(subject), subject.notes)
    count = partial(flops_per_example, encoder, encoded, device)
    subject.flops = attempted("operations an example", count, subject.notes)
    return subject


def _largest(subject: Subject) -> Inputs:
    """Return the batch with the most positions."""
    return max(subject.batches, key=lambda inputs: inputs["input_ids"].numel())


def _round(subject: Subject) -> None:
    """Time all batches, then single texts."""
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
    """Return the time in seconds, once the device has finished its queue."""
    subject.device.synchronize()
    return time.perf_counter()


def peak_memory(subject: Subject) -> int:
    """Return the bytes of the encoder's weights plus the peak of all else for the batch with the most positions.

    On CUDA the allocator counts, on the CPU the tensors that torch makes are counted: the process itself, which may
    hold several models, is left out.
    """
    largest = _largest(subject)
    weights = sum(tensor.nbytes for tensor in (*subject.encoder.parameters(), *subject.encoder.buffers()))
    device = subject.device.where
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
    """Counts the bytes of tensors made within the block that are alive at the same time."""

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
    """Return address → memory of all tensors in a nested structure."""
    storages = (leaf.untyped_storage() for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor))
    return {storage.data_ptr(): storage for storage in storages}


def _share_of_peak(subject: Subject, seconds: float) -> float:
    with Products() as products, torch.no_grad(), subject.device.autocast():
        for inputs in subject.batches:
            subject.encoder(**inputs)
    return share_of_peak(products, seconds, subject.device)


def _record(subject: Subject) -> SpeedRecord:
    examples = len(texts())
    seconds, latencies = float(np.median(subject.seconds)), 1e3 * np.array(subject.latencies)
    share = attempted("share of the peak", lambda: _share_of_peak(subject, seconds), subject.notes)
    return SpeedRecord(
        schema_version=SCHEMA_VERSION,
        model=subject.model.ref,
        precision=subject.device.precision,
        batch_size=BATCH_SIZE,
        text=digest_of(texts()),
        examples=examples,
        parameters=sum(parameter.numel() for parameter in subject.encoder.parameters()),
        flops_per_example=subject.flops,
        latency_ms_median=float(np.median(latencies)),
        latency_ms_p95=float(np.quantile(latencies, 0.95)),
        examples_per_second=rate(examples, seconds),
        tokens_per_second=rate(subject.tokens, seconds),
        share_of_peak=share,
        peak_memory_bytes=subject.peak,
        environment=environment(subject.device, tuple(subject.notes)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
