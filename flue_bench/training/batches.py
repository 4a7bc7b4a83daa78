"""Batches of rows of nearly equal length, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

POOL = 50
"""Batches per pool that is sorted by length: enough to waste little padding, few enough to keep batches random."""


BATCH_COST = 128
"""The fixed cost of a prediction batch, in padded positions."""
MOST_PADDING = 1.05
"""The most positions per sub-word that prediction may compute."""


def training_batches(lengths: Ints, batch_size: int, seed: int, epoch: int) -> list[Ints]:
    """Return the row numbers of each batch of one epoch.

    Rows are shuffled, cut into pools of at most ``POOL`` batches (but at least two pools, so that a small set is not
    cut the same way every epoch), sorted by length within a pool, and the batches shuffled.

    Args:
        lengths: (rows,) sub-words of each row.
        batch_size: rows per batch; the last batch may be smaller.
        seed: the run's seed.
        epoch: from 0.
    """
    # RandomState's stream is frozen (NumPy's NEP 19); that of the newer Generator is not.
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
    """Return the row numbers of each batch, longest first: at most ``positions`` padded positions, or a single row.

    Rows are sorted by length and cut where the length changes, so that padded positions plus ``BATCH_COST`` per batch
    are minimal; a set that this pads by more than ``MOST_PADDING`` is cut finer.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))  # (distinct lengths,) first row of each
    ends = np.append(starts[1:], len(ordered))
    cost = BATCH_COST
    while True:
        cuts = _cuts(ordered[starts], starts, ends, positions, cost)
        padded = sum(int(ordered[start]) * (end - start) for start, end in cuts)
        if padded <= MOST_PADDING * int(ordered.sum()) or not cost:
            break
        cost -= 8  # at 0 nothing is padded
    rows = [(start, end, max(1, positions // int(ordered[start]))) for start, end in cuts]
    return [order[i : min(i + most, end)] for start, end, most in rows for i in range(start, end, most)]


def _cuts(longest: Ints, starts: Ints, ends: Ints, positions: int, cost: int) -> list[tuple[int, int]]:
    """Return the cheapest runs (first row, end) of neighbouring lengths, found from the last length backwards."""
    best, next_cut = np.zeros(len(longest) + 1, np.int64), np.zeros(len(longest), np.int64)
    for i in reversed(range(len(longest))):
        rows = ends[i:] - starts[i]  # of a run from this length to each later one
        batches = -(-rows // max(1, positions // int(longest[i])))
        total = longest[i] * rows + cost * batches + best[i + 1 :]
        best[i], next_cut[i] = total.min(), i + 1 + total.argmin()
    cuts, i = [], 0
    while i < len(longest):
        cuts.append((int(starts[i]), int(ends[next_cut[i] - 1])))
        i = int(next_cut[i])
    return cuts
