"""Means over seeds and test examples, with intervals that keep these two sources of chance apart.

Everything starts from counts that determine a score (``flue_bench.kinds.counts``): their sum over the test set gives
the score, so that resampling counts is resampling examples. Examples that share a premise or a source sentence form a
cluster, and are drawn together.

docs/decisions/0010-statistics.md explains the estimator and gives results of simulations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""A score as a function of summed counts, (…, one example's shape) → (…): ``flue_bench.kinds.counts.Metric.score``."""

Ratio = tuple[Sequence[float], Sequence[float]]
"""A ratio of means: the weights of the models in its numerator and in its denominator."""
KEPT: Ratio = ((1, 0), (0, 1))
"""What the first of two models, a student, keeps of the second, its teacher."""
KEPT_ABOVE: Ratio = ((1, 0, -1), (0, 1, -1))
"""The same above a third model, a floor."""

REPLICATES = 2000
"""Replicates of the bootstrap: the standard error is then known to within 1.6 %."""

_AT_A_TIME = 100
"""Bootstrap replicates, or permutations of a test, in memory at once."""


class Summary(NamedTuple):
    """Scores of one setting over its seeds."""

    mean: float
    sd: float | None
    """Sample standard deviation (n - 1 in the denominator); None for a single value."""
    n: int


class Estimate(NamedTuple):
    """A mean, or a weighted difference of two, and the sources of its uncertainty."""

    value: float
    se_seeds: float
    """Standard error from the choice of seeds; 0 if the trained models are taken as fixed."""
    se_examples: float
    """Standard error from the sampling of the test set."""
    freedom: float
    """Degrees of freedom of the squared standard error, by ``freedom_of_sum``."""

    @property
    def se(self) -> float:
        """Standard error from both sources."""
        return math.hypot(self.se_seeds, self.se_examples)


@dataclass(frozen=True)
class Means:
    """Mean scores of models, and both of their components of variance."""

    mean: Floats
    """(models,)"""
    seeds: Floats
    """(models,), squared standard errors from the seeds, which are independent between models."""
    freedom: Floats
    """(models,), their degrees of freedom."""
    examples: Floats
    """(models, models), covariance from the sampling of one test set, which the models share."""
    clusters: int
    """Number of clusters in the test set."""

    def of(self, *models: int) -> Means:
        """Return those of some models, by their indexes."""
        some = list(models)
        return Means(
            self.mean[some], self.seeds[some], self.freedom[some], self.examples[np.ix_(some, some)], self.clusters
        )


def mean_sd(values: Sequence[float]) -> Summary:
    """Return mean and sample standard deviation.

    Raises:
        ValueError: there is no value.
    """
    n = len(values)
    if not n:
        raise ValueError("a mean needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean, None, n)
    return Summary(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), n)


def resample(counts: ArrayLike, replicates: int = REPLICATES) -> Floats:
    """Resample the test set's counts by the cluster bootstrap: as many clusters as there are, drawn with replacement.

    All models see the same draws, so that their scores stay paired. The draws depend only on the number of clusters:
    equal counts give equal results.

    Args:
        counts: (models, clusters, …).
        replicates: number of test sets to draw.

    Returns:
        (replicates, models, …), summed over the clusters.
    """
    counts = np.asarray(counts, np.float64)
    models, clusters, *rest = counts.shape
    flat = np.moveaxis(counts, 1, 0).reshape(clusters, -1)
    rng = np.random.default_rng(0)
    drawn = [np.empty((0, flat.shape[1]))]
    for size in chunks(replicates):
        cells = rng.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        weights = np.bincount(cells.ravel(), minlength=size * clusters).reshape(size, clusters)
        drawn.append(weights.astype(np.float64) @ flat)
    return np.concatenate(drawn).reshape(replicates, models, *rest)


def covariance(resampled: Floats, score: Score, clusters: int) -> Floats:
    """Return the covariance of the models' scores over bootstrap replicates.

    Args:
        resampled: (replicates, models, …), from ``resample``.
        score: the function from these counts to scores.
        clusters: number in the test set, at least two. The bootstrap's variance is (clusters - 1) / clusters of the
            unbiased one (Efron & Tibshirani 1993, section 5.3), which is corrected here.

    Returns:
        (models, models)
    """
    return covariance_of(score(resampled), clusters)


def covariance_of(scores: Floats, clusters: int) -> Floats:
    """Return the same from the scores of the replicates, (replicates, models)."""
    corrected: Floats = np.atleast_2d(np.cov(scores, rowvar=False)) * clusters / (clusters - 1)
    return corrected


def seeds_and_examples(scores: Sequence[Floats], covariance: Floats, clusters: int) -> Means:
    """Return the means of models over their seeds: each model has its own training runs, and all share one test set.

    A seed's score is the model's mean + an effect of the seed + an effect of the test set, which all seeds share + an
    interaction of both. The variance over seeds on the single test set estimates the first and the last of the effects
    together. Only the part of the test set's effect that the seeds *share* is missing, and that is the covariance of
    two *different* seeds: the diagonal, which includes the interaction, would count it twice. This is the split of
    Obuchowski & Rockette (1995) for readers (here seeds) who read the cases (test examples) of one test only.

    Args:
        scores: a model's scores over its seeds, (seeds,), at least two; one model or more.
        covariance: covariance of all these scores, in their order, under the sampling of the test set.
        clusters: number in the test set.

    Raises:
        ValueError: a model has a single seed.
    """
    sizes = [len(each) for each in scores]
    if min(sizes) < 2:
        raise ValueError("the variance over seeds needs two seeds a model")
    starts = np.cumsum([0, *sizes[:-1]])
    sums = np.add.reduceat(np.add.reduceat(covariance, starts, axis=0), starts, axis=1)
    n = np.array(sizes, np.float64)
    shared = sums / np.outer(n, n)
    own = np.add.reduceat(np.diag(covariance), starts)
    np.fill_diagonal(shared, (np.diag(sums) - own) / (n * (n - 1)))
    return Means(
        mean=np.array([each.mean() for each in scores]),
        seeds=np.array([each.var(ddof=1) / len(each) for each in scores]),
        freedom=n - 1,
        examples=shared,
        clusters=clusters,
    )


def examples_only(scores: Floats, covariance: Floats, clusters: int) -> Means:
    """Return the means of trained models, (models,), taken as fixed: the test set is the only source of chance."""
    nothing = np.zeros_like(scores)
    return Means(scores, nothing, nothing, covariance, clusters)


def estimate(means: Means, weights: Sequence[float] | Floats) -> Estimate:
    """Estimate a weighted sum of the models' means: [1, -1] gives their difference.

    Args:
        means: means of one or two models.
        weights: one weight per model.
    """
    w = np.asarray(weights, np.float64)
    seeds = w * w * means.seeds
    examples = max(float(w @ means.examples @ w), 0.0)  # an unbiased estimate of a variance may be negative
    return Estimate(
        value=float(w @ means.mean),
        se_seeds=math.sqrt(seeds.sum()),
        se_examples=math.sqrt(examples),
        freedom=freedom_of_sum([*seeds, examples], [*means.freedom, means.clusters - 1]),
    )


def satterthwaite(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of independent variance estimates (Satterthwaite 1946).

    Args:
        variances: the estimates that are summed, none negative; zeros have no effect.
        freedoms: the degrees of freedom of each.
    """
    total = math.fsum(variances)
    if total == 0:
        return math.inf
    return 1 / math.fsum((v / total) ** 2 / d for v, d in zip(variances, freedoms, strict=True) if v > 0)


def freedom_of_sum(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of variance estimates, for an interval that holds where they are few.

    Satterthwaite's rule takes the estimated shares of the variance for the true ones. Where one estimate with few
    degrees of freedom, such as that of two or three seeds, has most of the variance, it is too liberal: 95 % intervals
    hold the truth in 87 % of the cases with two seeds, in 92 % with three. So no component may ask for more: half of
    the 95 % interval is at least, in standard errors, the normal quantile plus

        (share of the variance)^(2 - 1/d) · (Student's quantile with d degrees of freedom - the normal one)

    for each component. With one degree of freedom this is the rule of Cochran & Cox (1957, section 4.14), with many the
    first term of Welch's series (1947). The result is the number of degrees of freedom with which Student's
    distribution has that quantile. ``results/statistics/simulation.md`` has the coverage of each rule.

    Args:
        variances: the estimates that are summed, none negative; zeros have no effect.
        freedoms: the degrees of freedom of each.
    """
    from scipy import special

    total = math.fsum(variances)
    if total == 0:
        return math.inf
    freedom = satterthwaite(variances, freedoms)
    normal = _t(math.inf, 0.95)
    for variance, own in zip(variances, freedoms, strict=True):
        if variance > 0:
            quantile = normal + (variance / total) ** (2 - 1 / own) * (_t(own, 0.95) - normal)
            if quantile > _t(freedom, 0.95):
                freedom = float(special.stdtridf(0.975, quantile))
    return freedom


def t_interval(estimated: Estimate, confidence: float = 0.95) -> tuple[float, float]:
    """Return both ends of Student's interval around an estimate."""
    half = _t(estimated.freedom, confidence) * estimated.se
    return estimated.value - half, estimated.value + half


def score_interval(
    means: Means, lowest: float = 0.0, highest: float = 1.0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return both ends of one model's interval, on the logit scale, by the delta method (Agresti 2013, 3.1).

    A nearly perfect score cannot vary upwards as much as downwards, and the interval ends before 1. For MCC and
    correlations, whose range begins at -1, this is Fisher's transformation. A score at an end of its range, where
    nothing varies, has the bound of Clopper and Pearson (1934) for as many trials as the test set has clusters.

    Args:
        means: the mean of one model.
        lowest: the score's lowest value.
        highest: its highest.
        confidence: between 0 and 1.
    """
    from scipy import special

    score = estimate(means, [1])
    width = highest - lowest
    share = (score.value - lowest) / width
    if not 0 < share < 1:
        bound = ((1 - confidence) / 2) ** (1 / means.clusters)
        return (lowest + width * bound, highest) if share >= 1 else (lowest, lowest + width * (1 - bound))
    half = _t(score.freedom, confidence) * score.se / width / (share * (1 - share))
    low, high = lowest + width * special.expit(special.logit(share) + np.array([-half, half]))
    return float(low), float(high)


def fieller(means: Means, weights: Ratio = KEPT, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the ratio of two weighted sums of the means (Fieller 1954): by default first over second.

    It holds every ratio r for which ``numerator - r · denominator`` is not significantly different from zero, with the
    degrees of freedom of the ratio that was found.

    Args:
        means: the models' means.
        weights: of the models in the numerator and in the denominator.
        confidence: between 0 and 1.

    Returns:
        Both ends; (-inf, inf) if the denominator is not distinguishable from zero.

    Raises:
        ValueError: the denominator is not above zero.
    """
    w = np.asarray(weights, np.float64)  # (2, models)
    first, second = w @ means.mean
    if second <= 0:
        raise ValueError("the denominator's mean is not above zero")
    t = _t(estimate(means, w[0] - first / second * w[1]).freedom, confidence)
    seeds, examples = w @ np.diag(means.seeds) @ w.T, w @ means.examples @ w.T
    # A ratio whose estimated variance from the examples is negative is judged by the seeds alone, as ``estimate`` does;
    # the ratio that was found lies in both sets.
    both, alone = (_within(first, second, v, t) for v in (seeds + examples, seeds))
    return min(both[0], alone[0]), max(both[1], alone[1])


def _within(first: float, second: float, v: Floats, t: float) -> tuple[float, float]:
    """Return the ends of the ratios r with ``(first - r second)² ≤ t² (1, -r) v (1, -r)'``; a point if none has."""
    # a r² - 2 b r + c ≤ 0
    a, b, c = second**2 - t * t * v[1, 1], first * second - t * t * v[0, 1], first**2 - t * t * v[0, 0]
    if a <= 0:
        return -math.inf, math.inf
    if b * b < a * c:
        return first / second, first / second
    root = math.sqrt(b * b - a * c)
    return float((b - root) / a), float((b + root) / a)


def _t(freedom: float, confidence: float) -> float:
    """Return Student's quantile for a two-sided interval."""
    from scipy import special

    return float(special.stdtrit(min(freedom, 1e9), (1 + confidence) / 2))


def chunks(total: int) -> Iterator[int]:
    """Yield chunk sizes that sum to ``total``."""
    for start in range(0, total, _AT_A_TIME):
        yield min(_AT_A_TIME, total - start)
