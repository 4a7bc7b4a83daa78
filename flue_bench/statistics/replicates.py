"""Runs of several distillations of one recipe: the distillation is a source of chance above the seed of fine-tuning.

A run's score is *mean + distillation + seed within it + test set + interactions*. Distillations are the units that were
drawn independently: the variance of their means over each other holds the spread of the distillations and, divided by
the number of seeds, that of the seeds. So everything that ``intervals`` says of seeds is asked of these means instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flue_bench.statistics.intervals import Floats

Units = Sequence[Sequence[int]]
"""The numbers of the runs that each unit holds: each run in one unit."""


def averaged(scores: Sequence[Floats], covariance: Floats, units: Sequence[Units]) -> tuple[list[Floats], Floats]:
    """Return the means of units of runs, and their covariance under the sampling of the test set.

    Args:
        scores: for each model or recipe, the scores of its runs.
        covariance: of all these scores, in their order.
        units: for each model or recipe, the runs of each of its units.
    """
    runs = [len(each) for each in scores]
    weights = np.zeros((sum(map(len, units)), sum(runs)))
    row, first = 0, 0
    for count, of_model in zip(runs, units, strict=True):
        for unit in of_model:
            weights[row, [first + i for i in unit]] = 1 / len(unit)
            row += 1
        first += count
    means = weights @ np.concatenate(scores)
    return np.split(means, np.cumsum([len(of_model) for of_model in units])[:-1]), weights @ covariance @ weights.T


def components(scores: Sequence[Floats]) -> tuple[float | None, float | None]:
    """Return the standard deviations between units and within them, by the analysis of variance (Searle 1971, 9.9).

    Args:
        scores: the scores of the runs of each unit; the numbers may differ.

    Returns:
        The standard deviation of the units' own effect, 0 where the seeds explain more than there is, None for a single
        unit; and that of the runs within a unit. Both are None where no unit has two runs: they cannot be told apart.
    """
    sizes = np.array([len(each) for each in scores])
    total, k = int(sizes.sum()), len(scores)
    if total == k:
        return None, None
    within = math.fsum(float(((each - each.mean()) ** 2).sum()) for each in scores) / (total - k)
    if k == 1:
        return None, math.sqrt(within)
    mean = np.concatenate(scores).mean()
    between = math.fsum(len(each) * float((each.mean() - mean) ** 2) for each in scores) / (k - 1)
    size = (total - (sizes**2).sum() / total) / (k - 1)
    return math.sqrt(max((between - within) / size, 0.0)), math.sqrt(within)
