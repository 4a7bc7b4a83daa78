"""``micro_batch = "auto"``: as many sequences a forward pass as the device's memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import nn

from flue_bench.errors import DeviceError
from flue_bench.training.device import Device
from flue_distill.training.data import Data, Stream, to_device
from flue_distill.training.objective import LossParts, Rows
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch, Teacher

ON_A_CPU = 16
"""Sequences a forward pass on a CPU, where memory that runs out ends the process instead of being told."""
SPARE = 0.08
"""Share of the device's memory that is left free: what is kept in pieces cannot all be used."""


class Objective(Protocol):
    """The student with its loss."""

    def __call__(self, batch: Batch, target: Rows | None, counts: LossParts) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a micro-batch's share of the loss, and of its parts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is trained."""

    def train(self) -> object:
        """Switch dropout on."""


class Together(Protocol):
    """What agrees with the other processes."""

    processes: int

    def least(self, number: int) -> int:
        """Return the least of the processes' numbers."""


def found(
    objective: Objective, teacher: Teacher | None, data: Data, recipe: DistilRecipe, together: Together, device: Device
) -> int:
    """Return the sequences of a forward pass: the most that every device holds, spread evenly over the passes.

    Each size is tried with a whole forward and backward pass over sequences without padding, beside what the optimiser
    will take. On a CPU it is ``ON_A_CPU``.

    Raises:
        DeviceError: not even one sequence fits.
    """
    share = -(-recipe.batch_sequences // together.processes)
    most = (
        min(share, ON_A_CPU) if device.where.type == "cpu" else _most(share, objective, teacher, data, recipe, device)
    )
    most = together.least(most)
    if not most:
        raise DeviceError(
            f"micro_batch auto: not one sequence of {recipe.length} tokens fits the device's memory. Use a smaller "
            "--set length, a smaller model, or another --device."
        )
    return spread(share, most)


def spread(sequences: int, most: int) -> int:
    """Return the size of passes of at most ``most`` sequences each, so that the last is about as large as the others.

    There are as few passes as there can be.
    """
    return -(-sequences // -(-sequences // most))


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest size from 1 to ``most`` that fits, 0 if none does: doubled while it fits, then halved in."""
    low, high = 0, 1
    while fits(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _most(
    share: int, objective: Objective, teacher: Teacher | None, data: Data, recipe: DistilRecipe, device: Device
) -> int:
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    where = device.where
    of_optimiser = [torch.empty_like(parameter) for parameter in trained for _ in range(2)]
    _, total = torch.cuda.mem_get_info(where)

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(where)
        try:
            _pass(size, objective, teacher, data, recipe, device)
            torch.cuda.synchronize(where)
            return torch.cuda.max_memory_reserved(where) <= (1 - SPARE) * total
        except torch.OutOfMemoryError:
            return False
        finally:
            for parameter in trained:
                parameter.grad = None

    try:
        return largest(share, fits)
    finally:
        del of_optimiser
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(where)


def _pass(
    size: int, objective: Objective, teacher: Teacher | None, data: Data, recipe: DistilRecipe, device: Device
) -> None:
    """Compute the gradient of a batch of this size, as a step does."""
    cut = recipe.model_copy(update={"batch_sequences": size, "micro_batch": size})
    ((first, batch),), counts = Stream(data, cut).step(0)
    batch = to_device(batch, device.where)
    objective.train()
    with device.autocast():
        target = teacher(batch, recipe.kl_rows) if teacher else None
    with device.training(size, recipe.length, recipe.seed, 0, first):
        loss, _ = objective(batch, target, counts)
    loss.backward()
