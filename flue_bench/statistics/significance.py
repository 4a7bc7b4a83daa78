"""Significance tests: of estimates over seeds and test examples, and of two trained models on one test set.

An estimate comes from ``flue_bench.statistics.intervals``; docs/decisions/0010-statistics.md says which test answers
which question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from flue_bench.statistics.intervals import Estimate, Floats, Score, chunks

PERMUTATIONS = 10_000


def t_test(estimated: Estimate) -> float:
    """Return the two-sided p-value of the estimate being zero."""
    above = t_test_above(estimated)
    return min(1.0, 2 * min(above, 1 - above))


def t_test_above(estimated: Estimate) -> float:
    """Return the one-sided p-value, which is small if the estimate is above zero."""
    from scipy import special  # slow to import

    if estimated.se == 0:
        return 0.0 if estimated.value > 0 else 1.0 if estimated.value < 0 else 0.5
    return float(special.stdtr(min(estimated.freedom, 1e9), -estimated.value / estimated.se))


def equivalence_test(above: Estimate, below: Estimate) -> float:
    """Return the p-value of two one-sided tests: small if both estimates are above zero (Schuirmann 1987).

    Args:
        above: how far a difference lies above the lower end of what counts as equivalent.
        below: how far it lies below the upper end.
    """
    return max(t_test_above(above), t_test_above(below))


def permutation_test(counts: ArrayLike, score: Score, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value of two trained models being interchangeable on every cluster of the test set.

    The two models' predictions are swapped at random, cluster by cluster (Noreen 1989, Yeh 2000). The value counts the
    observed assignment as one of the draws, so that it is never 0 and never too small (Phipson & Smyth 2010).

    Args:
        counts: (2, clusters, …).
        score: the function from summed counts to scores.
        permutations: number to draw.
    """
    first, second = np.asarray(counts, np.float64)
    swap = (second - first).reshape(len(first), -1)
    swap = swap[swap.any(axis=1)]  # clusters on which both agree have no effect
    totals = first.sum(0), second.sum(0)

    def apart(shift: Floats) -> Floats:
        return np.abs(score(totals[0] + shift) - score(totals[1] - shift))

    observed = apart(np.zeros_like(totals[0])) - 1e-12  # sums of floats in another order
    rng = np.random.default_rng(0)
    as_far = 0
    for size in chunks(permutations):
        swapped = rng.integers(2, size=(size, len(swap))).astype(np.float64)
        as_far += int((apart((swapped @ swap).reshape(size, *totals[0].shape)) >= observed).sum())
    return (1 + as_far) / (1 + permutations)


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value of two trained models being equally accurate on independent examples.

    Source: McNemar 1947.

    Args:
        first_only: number of examples that only the first model classifies correctly.
        second_only: number of examples that only the second model classifies correctly.
    """
    from scipy import special

    fewer, n = min(first_only, second_only), first_only + second_only
    return min(1.0, 2 * float(special.bdtr(fewer, n, 0.5))) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple testing (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
