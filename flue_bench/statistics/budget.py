"""How good the best of n points of a search is to be expected: what a comparison owes to the budget.

Dodge, Gururangan, Card, Schwartz and Smith 2019, *Show Your Work: Improved Reporting of Experimental Results* (EMNLP).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Expected(NamedTuple):
    """The score of the best of n points."""

    mean: float
    sd: float
    """Standard deviation over which points are drawn."""


def expected_best(scores: Sequence[float]) -> list[Expected]:
    """Return what the best of 1, 2, … points is to be expected to score, up to as many points as there are scores.

    Points are drawn from these with replacement: the best of n is the i-th of N with probability (i/N)^n - ((i-1)/N)^n.

        E[best of n] = sum over i of s_i ((i/N)^n - ((i-1)/N)^n)

    For n = 1 it is the mean. The best of N draws with replacement is below the best of N.

    Args:
        scores: of all points, that which loses to all others first: in ascending order where no point lost for another
            reason than its score.

    Returns:
        One for each number of points, from 1; none without scores.
    """
    total = len(scores)
    found = []
    for n in range(1, total + 1):
        shares = [((i + 1) / total) ** n - (i / total) ** n for i in range(total)]
        mean = math.fsum(score * share for score, share in zip(scores, shares, strict=True))
        variance = math.fsum((score - mean) ** 2 * share for score, share in zip(scores, shares, strict=True))
        found.append(Expected(mean, math.sqrt(variance)))
    return found
