"""Ranks of several models by their mean over tasks, with intervals that hold for all of them at once.

A rank says who comes out above whom in this sample of seeds and test examples; its interval says which ranks are still
possible for the model's true mean. It is read off the pairwise differences, as Mogstad, Romano, Shaikh & Wilhelm (2024,
Inference for Ranks with Applications to Mobility across Neighborhoods and Academic Achievement across Countries, Review
of Economic Studies 91) do: a model can be no better than all that are shown to be above it, and no worse than all that
are shown to be below. One critical value for all ordered pairs, stepped down (Romano & Wolf 2005), keeps the
probability of a single wrong "above" below 5 %. They take the critical value from a bootstrap of the observations; with
three seeds there is nothing to resample, and it is simulated here from the estimated model, variances included (the
parametric bootstrap of Krishnamoorthy, Lu & Mathew 2007). ``results/statistics/overall.md`` has the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flue_bench.statistics.intervals import Floats, Means, satterthwaite
from flue_bench.statistics.replicates import Units

DRAWS = 5000
"""Draws of all differences from the estimated model: the level is then kept to within a standard error of 0.3 %."""
_PAIRS_AT_A_TIME = 2**22
"""Numbers in memory at once."""

Bools = NDArray[np.bool_]


class RankInterval(NamedTuple):
    """The ranks that are possible for a model, 1 the best."""

    low: int
    high: int


class Improvement(NamedTuple):
    """The probability that a run of one model scores above a run of another, on a task of the set drawn at random."""

    probability: float
    low: float
    """Lower end of its 95 % interval over the choice of seeds; the test sets are those there are."""
    high: float


def over_tasks(tasks: Sequence[Means]) -> Means:
    """Return the means of the same models over several tasks, whose runs and test sets are independent.

    Args:
        tasks: the means of each task, (models,), the models in one order.
    """
    count = len(tasks)
    variances = np.array([each.seeds for each in tasks]) / count**2  # (tasks, models)
    freedoms = np.array([each.freedom for each in tasks])
    return Means(
        mean=np.mean([each.mean for each in tasks], axis=0),
        seeds=variances.sum(axis=0),
        freedom=np.array([satterthwaite(*both) for both in zip(variances.T, freedoms.T, strict=True)]),
        examples=np.sum([each.examples for each in tasks], axis=0) / count**2,
        clusters=min(each.clusters for each in tasks),
    )


def ranks(values: ArrayLike, same: float = 1e-6) -> Floats:
    """Return ranks, 1 for the largest; values that differ by no more than ``same`` share the mean of their ranks."""
    values = np.asarray(values, np.float64)
    above = values[:, None] - values  # (models, models): how far each is above each
    placed: Floats = 1 + (above < -same).sum(axis=1) + ((np.abs(above) <= same).sum(axis=1) - 1) / 2
    return placed


def told_apart(means: Means, confidence: float = 0.95, draws: int = DRAWS) -> Bools:
    """Return which models are shown to be above which, with one error rate for all ordered pairs.

    Args:
        means: means of any number of models, in one order.
        confidence: the probability, at least, that no model is called above one that is as good.
        draws: draws of the differences.

    Returns:
        (models, models): whether the model of the row is above that of the column.
    """
    models = len(means.mean)
    first, second = np.triu_indices(models, 1)
    if not len(first):
        return np.zeros((models, models), bool)
    k = means.examples
    shared = np.maximum(np.diag(k)[first] + np.diag(k)[second] - 2 * k[first, second], 0)
    error = np.sqrt(means.seeds[first] + means.seeds[second] + shared)
    apart = _divided(means.mean[first] - means.mean[second], error)  # (pairs,), positive: the first is above
    largest = _draw(means, first, second, shared, draws)  # (draws, pairs), of a world where all are equal

    above = np.zeros((models, models), bool)
    open_first, open_second = np.ones(len(first), bool), np.ones(len(first), bool)
    while True:
        # Hypotheses that are still open: "the first is not above the second", and the other way round.
        most = np.maximum(
            largest[:, open_first].max(axis=1, initial=-np.inf), (-largest[:, open_second]).max(axis=1, initial=-np.inf)
        )
        critical = float(np.quantile(most, confidence, method="higher"))
        up, down = open_first & (apart > critical), open_second & (-apart > critical)
        if not (up.any() or down.any()):
            return above
        above[first[up], second[up]] = above[second[down], first[down]] = True
        open_first, open_second = open_first & ~up, open_second & ~down


def rank_intervals(above: ArrayLike) -> list[RankInterval]:
    """Return the possible ranks of every model, from ``told_apart``.

    With the probability that no "above" is wrong they hold the true ranks of all models at once; where true means are
    equal, all ranks that these share.
    """
    shown = np.asarray(above, bool)
    models = len(shown)
    return [
        RankInterval(1 + int(better), models - int(worse))
        for better, worse in zip(shown.sum(axis=0), shown.sum(axis=1), strict=True)
    ]


def improvement(
    a: Sequence[ArrayLike],
    b: Sequence[ArrayLike],
    confidence: float = 0.95,
    units: tuple[Sequence[Units], Sequence[Units]] | None = None,
) -> Improvement:
    """Return the probability that a run of A scores above a run of B, averaged over tasks (Agarwal et al. 2021).

    On each task it is the share of the pairs of runs in which A's is above, an equal score counting one half
    (Mann & Whitney 1947). Its interval is Wilson's (1927) for as many trials as there are tasks times runs of the model
    with fewer: no distribution of scores gives the statistic a larger variance (van Dantzig 1951, Birnbaum & Klose
    1957). A bootstrap of the runs, as in the paper, has an interval of no width where three runs are above three.

    Of several distillations of one recipe, distillations are what was drawn independently: each weighs alike, whatever
    its number of runs, and there are as many trials as the model with fewer has of them. The bound holds for the mean
    over pairs of units of any value from 0 to 1 (Hoeffding 1963, section 5), such as the share of their pairs of runs.

    Args:
        a: scores of A's runs on each task.
        b: scores of B's runs, the tasks in the same order.
        confidence: between 0 and 1.
        units: for each task, the runs of each unit of A that was drawn independently; likewise of B. None: each run.
    """
    from scipy import special

    shares, fewest = [], []
    for task, (ours, theirs) in enumerate(zip(a, b, strict=True)):
        gap = np.asarray(ours, np.float64)[:, None] - np.asarray(theirs, np.float64)
        above = (gap > 0) + 0.5 * (gap == 0)  # (runs of A, runs of B)
        for axis, of_model in enumerate(units or ()):
            above = np.stack([above.take(unit, axis).mean(axis) for unit in of_model[task]], axis)
        shares.append(float(np.mean(above)))
        fewest.append(min(above.shape))
    p, trials = math.fsum(shares) / len(shares), len(shares) * min(fewest)
    z = float(special.ndtri((1 + confidence) / 2))
    centre, half = p + z * z / (2 * trials), z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    return Improvement(p, max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0))


def _draw(
    means: Means, first: NDArray[np.int64], second: NDArray[np.int64], shared: Floats, draws: int
) -> NDArray[np.float32]:
    """Draw the studentised differences of all pairs, (draws, pairs), as if all models were equally good.

    What is estimated from few seeds is drawn anew as well: a seed variance v with d degrees of freedom is v χ²(d) / d.
    """
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(means.examples)
    root = vectors * np.sqrt(np.maximum(values, 0))  # an estimate need not be positive definite
    freedom = np.minimum(means.freedom, 1e9)
    drawn = np.empty((draws, len(first)), np.float32)
    step = max(1, _PAIRS_AT_A_TIME // len(first))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        effect = rng.standard_normal((size, len(root))) @ root.T
        effect += rng.standard_normal((size, len(root))) * np.sqrt(means.seeds)
        variance = means.seeds * rng.chisquare(freedom, (size, len(root))) / freedom
        error = np.sqrt(variance[:, first] + variance[:, second] + shared)
        drawn[start : start + size] = _divided(effect[:, first] - effect[:, second], error)
    return drawn


def _divided(difference: Floats, error: Floats) -> Floats:
    """Return differences in standard errors; one without an error is infinitely many, none at all is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = np.nan_to_num(difference / error, nan=0.0, posinf=math.inf, neginf=-math.inf)
    return quotient
