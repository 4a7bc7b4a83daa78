"""What a number of seeds and a test set can show: before a run, and of the entries of a board.

The smallest difference that a comparison would show is (t of the level + t of the power) standard errors (Bloom 1995,
"Minimum detectable effects"), with the degrees of freedom of the interval that will judge it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.05
POWER = 0.8
DIFFERENCES = (0.01, 0.02, 0.03)
MOST = 1000
"""The largest number of seeds that is looked for."""


@dataclass(frozen=True)
class Noise:
    """The two sources of chance in the difference of two models on one test set; scores as fractions of 1."""

    sd: float
    """Standard deviation of one model's scores over its seeds."""
    se_examples: float
    """Standard error of the difference from the sampling of the test set, which both models share."""
    clusters: int
    """Groups of examples in the test set."""


@dataclass(frozen=True)
class Power:
    """What a column can show of two models that are named beforehand, as pretrained models; fractions of 1."""

    smallest: float
    """The smallest true difference that would be shown in four of five cases, with ``seeds`` of each model."""
    seeds: int
    noise: Noise
    """Over seeds pooled over the column's entries, over test examples as in its median pair."""
    needed: tuple[tuple[float, int | None], ...]
    """A difference, and the seeds a model that would show it; None where no number would, on this test set."""


def power(noise: Noise, seeds: int) -> Power:
    """Return what a number of seeds of each model shows of two models, and how many show 1, 2 and 3 points."""
    return Power(
        smallest=smallest_difference(noise, seeds),
        seeds=seeds,
        noise=noise,
        needed=tuple((each, seeds_needed(noise, each)) for each in DIFFERENCES),
    )


def smallest_difference(noise: Noise, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest true difference of two models that ``flue_bench.compare`` would show, as a fraction of 1.

    It is about two models named beforehand: a board adjusts for all the pairs that it has, and shows less.

    Args:
        noise: of models that have been run on the task (``Board.power`` of their records has it), or an assumption.
        seeds: number of seeds of each of the models.
        level: of the two-sided test.
        power: the probability of showing the difference.

    Raises:
        ValueError: there is less than two seeds a model, which allow no verdict.
    """
    from scipy import special

    from flue_bench.statistics.intervals import freedom_of_sum

    if seeds < 2:
        raise ValueError("a difference needs two seeds a model")
    own, shared = noise.sd**2 / seeds, noise.se_examples**2
    freedom = min(freedom_of_sum([own, own, shared], [seeds - 1, seeds - 1, noise.clusters - 1]), 1e9)
    quantiles = special.stdtrit(freedom, 1 - level / 2) + special.stdtrit(freedom, power)
    return float(quantiles * math.sqrt(2 * own + shared))


def seeds_needed(noise: Noise, difference: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """Return the number of seeds a model with which a true difference of this size would be shown.

    Args:
        noise: as for ``smallest_difference``.
        difference: a fraction of 1, above 0.
        level: of the two-sided test.
        power: the probability of showing the difference.

    Returns:
        The number, or None where no thousand seeds would show it: the test set is too small.
    """
    too_few, enough = 1, MOST
    if smallest_difference(noise, MOST, level, power) > difference:
        return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if smallest_difference(noise, middle, level, power) > difference:
            too_few = middle
        else:
            enough = middle
    return enough
