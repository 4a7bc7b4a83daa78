"""Seeds that lie far below the others of their entry: no interval of three seeds holds where one run in seven fails.

A run that gives one answer throughout is known to have collapsed (``results.entries.collapsed``). One that learnt a
little before it failed is not, but its score tells.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import cache

LEVEL = 0.05
"""How often the lowest of normal scores is as far from the others, relative to their own spread, as the rule asks."""
POINTS = 0.05
"""How far below the median a score is at least, as a fraction of 1: nearer ones are no failure, whatever the others."""
_DRAWS = 100_000


def outlying(scores: Sequence[float]) -> tuple[int, ...]:
    """Return the indexes of scores that lie far below the others of one entry; none where there are fewer than three.

    The rule: the lowest score is at least five points below the median, and farther below it, relative to the distance
    of the median from the highest score, than the lowest of as many normal scores is in 5 % of the cases. With three
    seeds that is 16 times as far: Dixon's (1950) ratio of the gap to the range, one-sided; for more seeds the median
    hides no second failure, as the mean would. Every score as far below the median counts. ``few-seeds.md`` in
    ``results/statistics`` says how often the rule errs and what it finds.

    Args:
        scores: scores of one entry over its seeds, fractions of 1.
    """
    if len(scores) < 3 or (median := statistics.median(scores)) - min(scores) <= POINTS:
        return ()
    far = max(POINTS, threshold(len(scores)) * (max(scores) - median))
    return tuple(i for i, score in enumerate(scores) if median - score > far)


@cache
def threshold(n: int) -> float:
    """Return the ratio (median - lowest) / (highest - median) that ``n`` normal values exceed in 5 % of the cases.

    Args:
        n: number of values, three or more.
    """
    import numpy as np

    values = np.sort(np.random.default_rng(0).standard_normal((_DRAWS, n)), axis=1)
    median = np.median(values, axis=1)
    return float(np.quantile((median - values[:, 0]) / (values[:, -1] - median), 1 - LEVEL))
