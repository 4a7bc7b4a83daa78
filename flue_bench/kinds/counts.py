"""What scores are made of: counts that can be summed over examples, and the formula of each score, once.

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
    """One score of a kind of task: what it follows from, its formula, and how it is presented."""

    score: Callable[[Floats], Floats]
    """(…, one example's shape) summed counts → (…)."""
    level: str
    """Which counts it follows from: an argument of ``Kind.counts``, and a key of ``RunRecord.per_class``."""
    hub: str
    """The hub's name of the metric, such as ``f1``."""
    what: str
    """What it is, in words."""
    low: float = 0.0
    """The lowest value there is."""
    high: float = 1.0
    """The highest value there is."""
    headline: bool = True
    """Whether it may select the best epoch and head a board: a fraction of 1, and more is better."""
    of_examples: bool = False
    """Whether it is the share of the examples that are right, one decision each: McNemar's test then applies."""


@dataclass(frozen=True)
class Scores:
    """What one set of predictions scores against gold."""

    scores: dict[str, float]
    """By their full names: fractions of 1."""
    per_class: dict[str, dict[str, ClassScores]]
    """Level (``class``, ``entity``, ``word``, ``subword``) → class → scores."""
    measures: dict[str, float] = field(default_factory=dict)
    """What is no fraction of 1, and heads no board."""


def scored(
    metrics: Mapping[str, Metric], totals: Mapping[str, Ints | Floats], classes: Mapping[str, Sequence[str]]
) -> Scores:
    """Every score, and those of each class.

    Args:
        metrics: by name.
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
    """Decisions counted by cluster and class.

    Args:
        gold: (items,), indexes of classes.
        predicted: (items,), likewise.
        classes: how many there are.
        cluster: (items,), the number of the cluster that each item belongs to; without it, all are in one.
        clusters: how many there are.
        weights: (items,), how many times each item counts; without it, once.

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
    """(classes, classes): how often each class, in rows, was predicted as each, in columns.

    Raises:
        ValueError: an index names no class.
    """
    check_range(gold, predicted, classes)
    return np.bincount(gold * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def check_range(gold: Ints, predicted: Ints, labels: int) -> None:
    """Raise ``ValueError`` for an index that names none of so many labels."""
    for name, values in ("gold", gold), ("predicted", predicted):
        wrong = np.flatnonzero((values < 0) | (values >= labels))
        if len(wrong):
            raise ValueError(f"{name} holds {values[wrong[0]]}, which is no index of {labels} labels")


TRY = "try more epochs, another learning rate, more seeds"
"""Where runs collapsed."""


def collapsed(gold: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> str | None:
    """In words, if a single label is predicted throughout while gold holds several; None otherwise.

    Args:
        gold: indexes of ``labels``, (examples,) or, of all sentences in a row, (words,).
        predicted: likewise.
        labels: names of the classes or tags.
    """
    guessed, true = np.unique(np.asarray(predicted)), np.unique(np.asarray(gold))
    if len(guessed) != 1 or len(true) < 2:
        return None
    return f"predicts only '{labels[int(guessed[0])]}' (gold has {len(true)} classes)"


def accuracy(counts: ArrayLike) -> Floats:
    """Share of right decisions."""
    hit, _, true = _parts(counts)
    return ratio(hit.sum(-1), true.sum(-1))


def micro_precision(counts: ArrayLike) -> Floats:
    """Share of the predicted items that are right."""
    hit, guessed, _ = _parts(counts)
    return ratio(hit.sum(-1), guessed.sum(-1))


def micro_recall(counts: ArrayLike) -> Floats:
    """Share of the gold items that are found."""
    hit, _, true = _parts(counts)
    return ratio(hit.sum(-1), true.sum(-1))


def micro_f1(counts: ArrayLike) -> Floats:
    """F1 of all items together."""
    hit, guessed, true = _parts(counts)
    return ratio(2 * hit.sum(-1), (guessed + true).sum(-1))


def f1(counts: ArrayLike) -> Floats:
    """(…, classes): F1 of each class."""
    hit, guessed, true = _parts(counts)
    return ratio(2 * hit, guessed + true)


def macro_f1(counts: ArrayLike, chosen: ArrayLike | None = None) -> Floats:
    """The mean of the classes' F1, of all classes or of those (classes,) that are chosen."""
    each = f1(counts)
    return np.asarray(each.mean(-1)) if chosen is None else _weighted(each, chosen)


def macro_f1_of_occurring(counts: ArrayLike) -> Floats:
    """The mean of the F1 of those classes that occur in gold or in the predictions."""
    counts = np.asarray(counts)
    return _weighted(f1(counts), counts.any(axis=-1))


def weighted_f1(counts: ArrayLike, chosen: ArrayLike | None = None) -> Floats:
    """As ``macro_f1``, each class weighted by its gold items."""
    true = _parts(counts)[2]
    return _weighted(f1(counts), true if chosen is None else true * np.asarray(chosen))


def last_f1(counts: ArrayLike) -> Floats:
    """F1 of the last class: of two, the positive one."""
    last: Floats = f1(counts)[..., -1]
    return last


def mcc(counts: ArrayLike) -> Floats:
    """Matthews' correlation from -1 to 1, of any number of classes as generalised by Gorodkin (2004)."""
    hit, guessed, true = _parts(counts)
    n = true.sum(-1)
    spread = (n * n - _dot(guessed, guessed)) * (n * n - _dot(true, true))
    return ratio(hit.sum(-1) * n - _dot(guessed, true), np.sqrt(spread))


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Elementwise quotient; 0.0 where the denominator is zero."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient: Floats = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient


def _parts(counts: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """True positives, predicted, gold: (…, classes) each."""
    hit, guessed, true = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return hit, guessed, true


def _weighted(values: Floats, weights: ArrayLike) -> Floats:
    """Mean over the last axis by weights of its shape or (classes,); 0.0 where all of them are zero."""
    weights = np.asarray(weights, np.float64)
    total = _dot(values, weights)
    return ratio(total, np.broadcast_to(weights.sum(-1), total.shape))


def _dot(a: Floats, b: Floats) -> Floats:
    """Products summed over the last axis; of one row as of many the same bits, those of ``a @ b``."""
    product: Floats = np.matmul(a[..., None, :], b[..., :, None])[..., 0, 0]
    return product
