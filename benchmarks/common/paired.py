"""Paired measurements in rounds: the median of their ratios, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import NamedTuple


class Paired(NamedTuple):
    """A ratio of two ways, computed within each round."""

    median: float
    low: float
    """Lower end of the 95 % interval of the median; NaN with too few rounds for one (under six)."""
    high: float
    least: float
    most: float

    def __str__(self) -> str:
        """Return the median and its interval as ``1.29 [1.27, 1.31]``."""
        interval = f"[{self.low:.2f}, {self.high:.2f}]" if self.low == self.low else "[too few rounds]"
        return f"{self.median:.2f} {interval}"


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Paired:
    """Return the median of the rounds' ratios with its 95 % interval, from order statistics: distribution-free.

    Half of all ratios lie below their median, so how many of n fall below it is binomial; the interval reaches from the
    k-th smallest to the k-th largest, with the largest k that leaves at most 2.5 % on either side.
    """
    ordered = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    n, k, tail = len(ordered), 0, 0.5 ** len(ordered)
    while tail <= 0.025:
        k += 1
        tail += comb(n, k) * 0.5**n
    low, high = (ordered[k - 1], ordered[-k]) if k else (float("nan"), float("nan"))
    return Paired(median(ordered), low, high, ordered[0], ordered[-1])
