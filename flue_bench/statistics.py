"""What a board over seeds needs: a mean with its spread, and the difference of two means with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """Scores of one setting over its seeds."""

    mean: float
    sd: float | None
    """Sample standard deviation (n - 1 in the denominator); None for a single value."""
    n: int


class Difference(NamedTuple):
    """A difference of two means and the ends of its confidence interval, in the values' unit."""

    mean: float
    low: float
    high: float


def mean_sd(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation.

    Raises:
        ValueError: no value.
    """
    n = len(values)
    if not n:
        raise ValueError("a mean needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean, None, n)
    return Summary(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), n)


def welch_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """Difference of the means of two independent samples, ``a`` minus ``b``, with its confidence interval.

    Variances need not be equal: Student's t with the degrees of freedom of Welch (1947). Where neither sample varies,
    the interval is a point.

    Args:
        a: at least two values.
        b: at least two values.
        confidence: between 0 and 1.

    Raises:
        ValueError: a sample has fewer than two values.
    """
    from scipy import stats  # slow to import, and the board never comes here

    first, second = mean_sd(a), mean_sd(b)
    if first.sd is None or second.sd is None:
        raise ValueError(f"an interval needs two values a sample, not {first.n} and {second.n}")
    difference = first.mean - second.mean
    u, v = first.sd**2 / first.n, second.sd**2 / second.n  # squared standard errors
    if u + v == 0:
        return Difference(difference, difference, difference)
    freedom = (u + v) ** 2 / (u**2 / (first.n - 1) + v**2 / (second.n - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(u + v)
    return Difference(difference, difference - half, difference + half)
