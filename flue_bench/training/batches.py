"""Which rows go together: batches of nearly equal length, in an order that seed and epoch alone decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

POOL = 50
"""Batches sorted by length together: long enough to waste little padding, short enough to keep batches random."""


def training_batches(lengths: Ints, batch_size: int, seed: int, epoch: int) -> list[Ints]:
    """Row numbers of each batch of one epoch.

    Rows are shuffled, cut into pools of at most ``POOL`` batches (but two pools at least, so that a small set is not
    cut the same way every epoch), sorted by length within a pool, and the batches shuffled.

    Args:
        lengths: (rows,) sub-words of each row.
        batch_size: rows a batch; the last rows make up one that may be smaller.
        seed: the run's seed.
        epoch: from 0.
    """
    # RandomState's stream is frozen for good (NumPy's NEP 19); that of the newer Generator is not.
    random = np.random.RandomState([seed % 2**32, epoch])
    order = random.permutation(len(lengths))
    pool = batch_size * max(1, min(len(lengths) // (batch_size * 2), POOL))
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def prediction_batches(lengths: Ints, positions: int) -> list[Ints]:
    """Row numbers of each batch, longest first, with at most ``positions`` padded positions a batch (but one row)."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, positions // int(lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches
