"""Counts that can be summed over examples, and the formula of each score, written once.

Counts of classes are (…, classes, 3): true positives, predicted, gold, of each class or entity type. A score that
follows from the sum over the test set follows from the sum over a resampled one as well, so that a run, ``verify`` and
every interval use the same formulas. A ratio whose denominator is zero is 0.0, without a warning. Scores are fractions
of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flue_bench.record import ClassScores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One score of a kind of task: the counts it is computed from, its formula, and how it is presented."""

    score: Callable[[Floats], Floats]
    """(…, one example's shape) summed counts → (…)."""
    level: str
    """The counts it is computed from: an argument of ``Kind.counts``, and a key of ``RunRecord.per_class``."""
    hub: str
    """The hub's name of the metric, such as ``f1``."""
    what: str
    """A description in words."""
    low: float = 0.0
    """The lowest possible value."""
    high: float = 1.0
    """The highest possible value."""
    headline: bool = True
    """Whether it may select the best epoch and head a board: a fraction of 1, and more is better."""
    of_examples: bool = False
    """Whether it is the share of the examples that are right, one decision each: McNemar's test then applies."""


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions against gold."""

    scores: dict[str, float]
    """Full name → score, a fraction of 1."""
    per_class: dict[str, dict[str, ClassScores]]
    """Level (``class``, ``entity``, ``word``, ``subword``) → class → scores."""
    measures: dict[str, float] = field(default_factory=dict)
    """Metrics that are not fractions of 1 and cannot head a board."""


def scored(
    metrics: Mapping[str, Metric], totals: Mapping[str, Ints | Floats], classes: Mapping[str, Sequence[str]]
) -> Scores:
    """Return every score, and the scores of each class.

    Args:
        metrics: name → metric.
        totals: level → counts, summed over the test set.
        classes: level → names of the classes, where its counts are (classes, 3).
    """
    summed = {level: np.asarray(total, np.float64) for level, total in totals.items()}
    values = {name: float(metric.score(summed[metric.level])) for name, metric in metrics.items()}
    return Scores(
        {name: value for name, value in values.items() if metrics[name].headline},
        {
            level: {
                name: ClassScores(precision=p, recall=r, f1=f, support=n)
                for name, p, r, f, n in zip(
                    names,
                    ratio(totals[level][:, 0], totals[level][:, 1]),
                    ratio(totals[level][:, 0], totals[level][:, 2]),
                    f1(totals[level]),
                    totals[level][:, 2],
                    strict=True,
                )
            }
            for level, names in classes.items()
        },
        {name: value for name, value in values.items() if not metrics[name].headline},
    )


def class_counts(
    gold: Ints,
    predicted: Ints,
    classes: int,
    cluster: Ints | None = None,
    clusters: int = 1,
    weights: Ints | None = None,
) -> Ints:
    """Count decisions by cluster and class.

    Args:
        gold: (items,), indexes of classes.
        predicted: (items,), likewise.
        classes: the number of classes.
        cluster: (items,), the number of the cluster that each item belongs to; None puts all in one.
        clusters: the number of clusters.
        weights: (items,), how many times each item counts; None counts each once.

    Returns:
        (clusters, classes, 3): true positives, predicted, gold.

    Raises:
        ValueError: an index names no class.
    """
    check_range(gold, predicted, classes)
    first = np.zeros_like(gold) if cluster is None else cluster * classes
    right = gold == predicted

    def count(labels: Ints, of: NDArray[np.bool_] | slice) -> Ints:
        cells = np.bincount((first + labels)[of], None if weights is None else weights[of], clusters * classes)
        return cells.astype(np.int64).reshape(clusters, classes)

    return np.stack([count(gold, right), count(predicted, slice(None)), count(gold, slice(None))], axis=-1)


def confusion(gold: Ints, predicted: Ints, classes: int) -> Ints:
    """Return how often each class (rows) was predicted as each class (columns): (classes, classes).

    Raises:
        ValueError: an index names no class.
    """
    check_range(gold, predicted, classes)
    return np.bincount(gold * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def check_range(gold: Ints, predicted: Ints, labels: int) -> None:
    """Raise ``ValueError`` for an index outside ``range(labels)``."""
    for name, values in ("gold", gold), ("predicted", predicted):
        wrong = np.flatnonzero((values < 0) | (values >= labels))
        if len(wrong):
            raise ValueError(f"{name} holds {values[wrong[0]]}, which is not an index of {labels} labels")


TRY = "try more epochs, another learning rate, more seeds"
"""Advice to give where runs collapsed."""


def collapsed(gold: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> str | None:
    """Return a sentence if one label is predicted throughout while gold holds several, otherwise None.

    Args:
        gold: indexes of ``labels``, (examples,), or (words,) with all sentences concatenated.
        predicted: likewise.
        labels: names of the classes or tags.
    """
    guessed, true = np.unique(np.asarray(predicted)), np.unique(np.asarray(gold))
    if len(guessed) != 1 or len(true) < 2:
        return None
    return f"predicts only '{labels[int(guessed[0])]}' (gold has {len(true)} classes)"


def accuracy(counts: ArrayLike) -> Floats:
    """Return the share of right decisions."""
    hit, _, true = _parts(counts)
    return ratio(hit.sum(-1), true.sum(-1))


def micro_precision(counts: ArrayLike) -> Floats:
    """Return the share of the predicted items that are right."""
    hit, guessed, _ = _parts(counts)
    return ratio(hit.sum(-1), guessed.sum(-1))


def micro_recall(counts: ArrayLike) -> Floats:
    """Return the share of the gold items that are found."""
    hit, _, true = _parts(counts)
    return ratio(hit.sum(-1), true.sum(-1))


def micro_f1(counts: ArrayLike) -> Floats:
    """Return the F1 of all items together."""
    hit, guessed, true = _parts(counts)
    return ratio(2 * hit.sum(-1), (guessed + true).sum(-1))


def f1(counts: ArrayLike) -> Floats:
    """Return the F1 of each class, (…, classes)."""
    hit, guessed, true = _parts(counts)
    return ratio(2 * hit, guessed + true)


def macro_f1(counts: ArrayLike, chosen: ArrayLike | None = None) -> Floats:
    """Return the mean F1 of all classes, or of those marked in ``chosen``, (classes,)."""
    each = f1(counts)
    return np.asarray(each.mean(-1)) if chosen is None else _weighted(each, chosen)


def macro_f1_of_occurring(counts: ArrayLike) -> Floats:
    """Return the mean F1 of the classes that occur in gold or in the predictions."""
    counts = np.asarray(counts)
    return _weighted(f1(counts), counts.any(axis=-1))


def weighted_f1(counts: ArrayLike, chosen: ArrayLike | None = None) -> Floats:
    """Return the mean F1 of the classes as ``macro_f1`` does, each weighted by its number of gold items."""
    true = _parts(counts)[2]
    return _weighted(f1(counts), true if chosen is None else true * np.asarray(chosen))


def last_f1(counts: ArrayLike) -> Floats:
    """Return the F1 of the last class: of two, the positive one."""
    last: Floats = f1(counts)[..., -1]
    return last


def mcc(counts: ArrayLike) -> Floats:
    """Return Matthews' correlation, -1 to 1, for any number of classes as generalised by Gorodkin (2004)."""
    hit, guessed, true = _parts(counts)
    n = true.sum(-1)
    spread = (n * n - _dot(guessed, guessed)) * (n * n - _dot(true, true))
    return ratio(hit.sum(-1) * n - _dot(guessed, true), np.sqrt(spread))


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Return the elementwise quotient, 0.0 where the denominator is zero."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient: Floats = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient


def _parts(counts: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return true positives, predicted and gold, (…, classes) each."""
    hit, guessed, true = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return hit, guessed, true


def _weighted(values: Floats, weights: ArrayLike) -> Floats:
    """Return the mean over the last axis, weighted (same shape or (classes,)); 0.0 where all weights are zero."""
    weights = np.asarray(weights, np.float64)
    total = _dot(values, weights)
    return ratio(total, np.broadcast_to(weights.sum(-1), total.shape))


def _dot(a: Floats, b: Floats) -> Floats:
    """Return products summed over the last axis, with the bits of ``a @ b`` for one row as for many."""
    product: Floats = np.matmul(a[..., None, :], b[..., :, None])[..., 0, 0]
    return product
