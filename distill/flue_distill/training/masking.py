"""Choice of the tokens to predict: a pure function of (seed, epoch, sequence), however a batch is cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flue_distill.training.keyed import Ints, keys, uniforms
from flue_distill.training.recipe import DistilRecipe

IGNORED = -100
"""Label of a position that is not a target, as everywhere in PyTorch."""
CHOICE, FATE, TOKEN = range(3)
"""The three draws per position: whether it is a target, what replaces it, which random token."""


@dataclass(frozen=True)
class Masking:
    """Draws ``ceil(fraction · n)`` targets from a sequence of n tokens, rare tokens more often, special ones never."""

    rate: npt.NDArray[np.float64]
    """(vocab,), the rate at which a token becomes a target: count^-smoothing, 0 for special tokens."""
    mask_id: int
    recipe: DistilRecipe

    @classmethod
    def of(cls, recipe: DistilRecipe, counts: Ints, special: Iterable[int], mask_id: int) -> Masking:
        """Return the masking for a corpus's token counts (vocab,) and a tokenizer's special tokens."""
        rate = np.maximum(counts, 1).astype(np.float64) ** -recipe.mask_smoothing
        rate[list(special)] = 0.0
        return cls(rate, mask_id, recipe)

    def __call__(self, ids: Ints, real: npt.NDArray[np.bool_], epochs: Ints, rows: Ints) -> tuple[Ints, Ints]:
        """Return corrupted copies and labels of some sequences.

        Args:
            ids: (batch, length).
            real: (batch, length), False at padding.
            epochs: (batch,), from 0.
            rows: (batch,), number of each sequence in the corpus.

        Returns:
            Inputs and labels, both (batch, length); labels are ``IGNORED`` except at the targets.
        """
        length = ids.shape[1]
        choice, fate, token = (
            uniforms(keys(self.recipe.seed, epochs, rows, draw), length) for draw in (CHOICE, FATE, TOKEN)
        )
        # An exponential race: the first k to finish are k draws without replacement, with probability ∝ rate.
        rate = np.where(real, self.rate[ids], 0.0)
        with np.errstate(divide="ignore"):
            finish = -np.log(choice) / rate
        wanted = np.ceil(np.round(self.recipe.mask_fraction * real.sum(1), 9)).astype(np.int64)
        wanted = np.minimum(wanted, (rate > 0).sum(1))
        place = np.argsort(np.argsort(finish, axis=1, kind="stable"), axis=1, kind="stable")
        target = place < wanted[:, None]

        masked = target & (fate < self.recipe.replace_mask)
        random = target & ~masked & (fate < self.recipe.replace_mask + self.recipe.replace_random)
        inputs = np.where(masked, self.mask_id, ids)
        inputs = np.where(random, (token * len(self.rate)).astype(np.int64), inputs)
        return inputs, np.where(target, ids, IGNORED)
