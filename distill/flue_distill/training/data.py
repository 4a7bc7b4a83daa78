"""The sequences of a step and their corruption: pure functions of (seed, step), divided among processes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flue_bench.errors import DataError
from flue_distill.training.keyed import Ints, permuted
from flue_distill.training.masking import IGNORED, Masking
from flue_distill.training.objective import LossParts
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch

HELD_OUT = 2**40
"""The epoch of the held-out masks: always the same, and none of training's."""


@dataclass(frozen=True)
class Data:
    """A corpus as training reads it."""

    train: Sequence[Ints]
    """Each (length,)."""
    held_out: Sequence[Ints]
    """Each (length,)."""
    counts: Ints
    """(vocab,), count of each token in train."""
    special: Collection[int]
    pad_id: int
    mask_id: int


class Stream:
    """One process's share of every step."""

    def __init__(self, data: Data, recipe: DistilRecipe, rank: int = 0, processes: int = 1, pin: bool = False) -> None:
        """Store the share; ``pin`` puts tensors in memory from which a GPU can copy while it computes."""
        self.data, self.recipe, self.rank, self.processes, self.pin = data, recipe, rank, processes, pin
        self.masking = Masking.of(recipe, data.counts, data.special, data.mask_id)

    def step(self, step: int) -> tuple[list[tuple[int, Batch]], LossParts]:
        """Return the micro-batches of a step (from 0), and the number of positions for each part of the loss.

        Sequences are numbered across all epochs; each micro-batch comes with the number of its first.
        """
        size, n = self.recipe.batch_sequences, len(self.data.train)
        numbers = np.array_split(np.arange(step * size, (step + 1) * size), self.processes)[self.rank]
        batches = []
        for start in range(0, len(numbers), self.recipe.at_once):
            some = numbers[start : start + self.recipe.at_once]
            rows = permuted(some % n, n, self.recipe.seed, some // n)
            batches.append((int(some[0]), self._batch(self.data.train, rows, some // n)))
        real = sum(len(batch.real) for _, batch in batches)
        masked = sum(len(batch.labels) for _, batch in batches)
        return batches, LossParts(masked if self.recipe.kl_rows == "masked" else real, masked, real)

    def held_out(self) -> Iterator[Batch]:
        """Yield this process's share of the held-out sequences, masked the same way every time."""
        n = min(len(self.data.held_out), self.recipe.evaluate_sequences)
        mine = np.arange(n)[self.rank :: self.processes]
        for start in range(0, len(mine), self.recipe.at_once):
            rows = mine[start : start + self.recipe.at_once]
            yield self._batch(self.data.held_out, rows, np.full(len(rows), HELD_OUT))

    def _batch(self, blocks: Sequence[Ints], rows: Ints, epochs: Ints) -> Batch:
        ids = np.stack([blocks[int(row)] for row in rows])  # (batch, length)
        if ids.max() >= len(self.data.counts):
            raise DataError(
                f"The corpus holds token {ids.max()}, and its tokenizer has {len(self.data.counts)}: damaged. "
                "Build the corpus again."
            )
        real = ids != self.data.pad_id
        inputs, labels = self.masking(ids, real, epochs, rows)
        flat, labels = np.flatnonzero(real), labels.ravel()
        masked = labels[flat] != IGNORED

        def tensor(array: Ints) -> torch.Tensor:
            return torch.from_numpy(array).pin_memory() if self.pin else torch.from_numpy(array)

        return Batch(
            ids=tensor(inputs),
            attention=None if real.all() else tensor(real.astype(np.int64)),
            real=tensor(np.concatenate([flat[masked], flat[~masked]])),
            labels=tensor(labels[flat[masked]]),
        )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Copy a batch to a device, while it computes if the batch is pinned."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device, non_blocking=True)

    attention = None if batch.attention is None else moved(batch.attention)
    return Batch(moved(batch.ids), attention, moved(batch.real), moved(batch.labels))
