"""All models of a column at once: which of them are below the one that came out best.

The best is chosen by the data, from all of them. So a model that is tested against it is in truth tested against
whichever model happened to come out on top, and the level must hold for every pair of the column: among equally good
models, the one that came out best and the one that came out worst may be any two.

Hsu's (1996) multiple comparisons with the best need less, but what they claim is less: a model that they exclude is not
better than all others. It may be exactly as good, and "below the best" would be wrong of it.
"""

from __future__ import annotations

import math

import numpy as np

from flue_bench.statistics.intervals import Floats, Means

DRAWS = 5000
"""Columns without a difference that are drawn: a p-value of 0.05 is then known to within 0.006."""
PAIRS = 10**8
"""Pairs of models that are compared at most, over all draws; a column of very many models has fewer draws."""


def p_values(means: Means, best: int, draws: int | None = None) -> Floats:
    """Return p-values of the models' differences from one of them, adjusted over all pairs of the column.

    Each is the probability that, of equally good models with these spreads, *some* pair would differ by as many of its
    standard errors. It is found by a parametric bootstrap (Krishnamoorthy, Lu & Mathew 2007), which keeps unequal
    spreads and numbers of seeds, and the examples that all models share: means and variances are drawn anew from the
    estimated ones, and the largest of all pairs' differences is compared with the one observed. Two or three seeds say
    little about a spread, and a standard error from them alone would leave no power. So the variance over seeds of each
    model is taken halfway to the column's pooled one, in what was observed as in what is drawn (shrinkage as in Smyth
    2004, by a fixed half).

    Args:
        means: the column's models, each with its spread over two seeds or more.
        best: index of the model with which the others are compared.
        draws: number of columns to draw; None draws ``DRAWS``, or as ``PAIRS`` allows, but at least 1,000.

    Returns:
        (models,), with 1 for ``best``.
    """
    rng = np.random.default_rng(0)
    models = len(means.mean)
    draws = draws or max(1000, min(DRAWS, PAIRS // models**2))
    own = np.diag(means.examples)
    apart = np.maximum(own[:, None] + own - 2 * means.examples, 0)  # (models, models): variances of differences
    roots, axes = np.linalg.eigh(means.examples)
    shared = axes * np.sqrt(np.maximum(roots, 0))  # (models, models), of which the square is the covariance
    centre = shared @ rng.standard_normal((models, draws))
    centre += np.sqrt(means.seeds)[:, None] * rng.standard_normal((models, draws))
    freedom = means.freedom[:, None]
    seeds = means.seeds[:, None] * rng.chisquare(freedom, (models, draws)) / freedom

    observed = _apart(means.mean[:, None], _shrunk(means.seeds[:, None], means.freedom), apart, best)[:, 0]  # (models,)
    largest, variances = np.zeros(draws), _shrunk(seeds, means.freedom)
    for i in range(models - 1):
        np.maximum(largest, _apart(centre[i:], variances[i:], apart[i:, i:], 0).max(axis=0), out=largest)
    as_far = draws - np.searchsorted(np.sort(largest), observed)
    adjusted: Floats = (1 + as_far) / (1 + draws)
    adjusted[best] = 1.0
    return adjusted


def _shrunk(seeds: Floats, freedom: Floats) -> Floats:
    """Return the squared standard errors from the seeds, (models, draws), halfway to those of the pooled variance."""
    number = (freedom + 1)[:, None]
    pooled = (freedom[:, None] * number * seeds).sum(axis=0) / freedom.sum()
    halfway: Floats = (seeds + pooled / number) / 2
    return halfway


def _apart(mean: Floats, seeds: Floats, examples: Floats, one: int) -> Floats:
    """Return the square of how many standard errors each model differs from ``one``; without chance, 0 or infinity.

    Args:
        mean: (models, draws).
        seeds: (models, draws), squared standard errors.
        examples: (models, models), variances of the differences.
        one: index of a model.
    """
    squared = np.square(mean - mean[one])
    variance = seeds + (seeds[one] + examples[one][:, None])
    without = np.where(squared > 0, math.inf, 0.0) if not variance.all() else squared
    far: Floats = np.divide(squared, variance, out=without, where=variance > 0)
    return far
