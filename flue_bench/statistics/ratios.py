"""The mean of a ratio over tasks, such as the share of its teacher's score that a student keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flue_bench.statistics.intervals import KEPT, Estimate, Means, Ratio, fieller, satterthwaite, t_interval


def ratio(means: Means, weights: Ratio = KEPT) -> float:
    """Return the ratio of two weighted sums of the means."""
    first, second = np.asarray(weights, np.float64) @ means.mean
    return float(first / second)


def mean_ratio_interval(tasks: Sequence[Means], weights: Ratio = KEPT, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean of a ratio over tasks, whose runs and test sets are independent.

    Of one task it is Fieller's. Of several it is Student's by the delta method: to first order a ratio varies as
    ``(numerator - ratio · denominator) / mean of the denominator``, a weighted sum of means, whose variances are added
    over the tasks. ``results/statistics/retention.md`` has the coverage.

    Args:
        tasks: the means of each task, the models in one order.
        weights: of the models in the numerator and in the denominator.
        confidence: between 0 and 1.

    Returns:
        Both ends; (-inf, inf) if one of the denominators is not distinguishable from zero.

    Raises:
        ValueError: a denominator is not above zero.
    """
    each = [fieller(means, weights, confidence) for means in tasks]
    if len(each) == 1:
        return each[0]
    if not all(math.isfinite(high - low) for low, high in each):
        return -math.inf, math.inf
    numerator, denominator = np.asarray(weights, np.float64)
    seeds: list[float] = []
    examples: list[float] = []
    for means in tasks:
        slope = (numerator - ratio(means, weights) * denominator) / (denominator @ means.mean) / len(tasks)
        seeds += (slope**2 * means.seeds).tolist()
        examples.append(max(float(slope @ means.examples @ slope), 0.0))
    freedoms = [d for means in tasks for d in means.freedom] + [means.clusters - 1 for means in tasks]
    return t_interval(
        Estimate(
            value=math.fsum(ratio(means, weights) for means in tasks) / len(tasks),
            se_seeds=math.sqrt(math.fsum(seeds)),
            se_examples=math.sqrt(math.fsum(examples)),
            freedom=satterthwaite(seeds + examples, freedoms),
        ),
        confidence,
    )
