"""Kind ``regression``: a number for a text, or for two: a similarity, a rating.

The task states the range of its numbers. Pearson's correlation, errors and R² follow from sums over the examples, which
are resampled as the counts of a classification are. Spearman's correlation does not: its counts are the jackknife's
pseudo-values, whose mean is the correlation itself and whose spread is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores, ratio
from flue_bench.kinds.kind import Declared, Kind, as_gold
from flue_bench.kinds.own_head import Reading
from flue_bench.kinds.rows import Row
from flue_bench.kinds.texts import VIEWS, check_pairs
from flue_bench.record import RunRecord
from flue_bench.task import Example, Split

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Measured(Example):
    """A text, or two, and the number that they have."""

    value: float = 0.0


def _pearson(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy, _, _ = _parts(sums)
    spread = np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)
    return np.clip(ratio(n * xy - x * y, np.sqrt(spread)), -1, 1)


def _r2(sums: Floats) -> Floats:
    n, x, _, xx, _, _, _, squares = _parts(sums)
    around = xx - ratio(x * x, n)
    return np.where(around > 0, 1 - ratio(squares, around), 0.0)


def _mae(sums: Floats) -> Floats:
    return ratio(_parts(sums)[6], _parts(sums)[0])


def _rmse(sums: Floats) -> Floats:
    return np.sqrt(ratio(_parts(sums)[7], _parts(sums)[0]))


def _mean(sums: Floats) -> Floats:
    n, total = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    return np.clip(ratio(total, n), -1, 1)


METRICS = {
    "pearson": Metric(_pearson, "sums", "pearsonr", "Pearson's correlation, from -1 to 1", low=-1.0),
    "spearman": Metric(_mean, "ranks", "spearmanr", "Spearman's correlation of ranks, from -1 to 1", low=-1.0),
    "mae": Metric(_mae, "sums", "mae", "mean absolute error, in the task's unit", high=np.inf, headline=False),
    "rmse": Metric(
        _rmse, "sums", "rmse", "root of the mean squared error, in the task's unit", high=np.inf, headline=False
    ),
    "r2": Metric(
        _r2, "sums", "r_squared", "share of gold's variance that is predicted, at most 1", low=-np.inf, headline=False
    ),
}

SAME = 0.02
"""The standard deviation of predictions, as a share of gold's, below which they are one answer throughout."""
WIDEST = 1e50
"""The width of the widest range; the narrowest has its reciprocal. A float holds the fourth power of either."""
FINEST = 1e-9
"""The least width of a range as a share of the numbers in it: a hundredth of it is 45,000 steps of a float."""


class Regression(Kind[Measured]):
    """A prediction of numbers.

    A correlation where either side does not vary is 0.0, and so is ``r2`` where gold does not. The predictions are in
    the task's unit, and may lie beyond its range.
    """

    name = "regression"
    network = "flue_bench.kinds.network.regression:REGRESSION"
    hub_task = "text-classification"
    needs = ("text", "value")
    may_have = ("text_pair",)
    options = ("range",)
    views: ClassVar = VIEWS

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return both correlations, and the errors, which are measures."""
        return METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless there is a range, and neither labels nor a scheme."""
        if task.labels:
            yield "labels", "kind 'regression' has none: its answers are numbers"
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"
        try:
            range_of(task)
        except ValueError as error:
            yield "options", str(error)

    def describe(self, task: Declared) -> str:
        """Return the kind with the range."""
        low, high = range_of(task)
        return f"{self.name}, from {low:g} to {high:g}"

    def example(self, row: Row) -> Measured:
        """Return the example of a row; equal texts share a group."""
        text, value = row.text("text"), row.number("value")
        pair = row.text_or_none("text_pair")
        low, high = range_of(row)
        if not low <= value <= high:
            raise ValueError(
                f"the column for 'value' holds {value:g}, and the task's numbers are from {low:g} to {high:g} "
                "(`range` of 'options')"
            )
        return Measured(row.id, row.group(text), text, pair, value=value)

    def gold(self, example: Measured) -> float:
        """Return the number."""
        return example.value

    def shown(self, example: Measured, task: Declared) -> str:
        """Return the number, in the task's unit."""
        return f"{example.value:g}"

    def balance(self, examples: Sequence[Measured], task: Declared) -> dict[str, int]:
        """Return the number of examples in each fifth of the range."""
        edges = np.linspace(*range_of(task), 6)
        counted = np.histogram([example.value for example in examples], edges)[0].tolist()
        return {f"{a:g} to {b:g}": count for (a, b), count in zip(pairwise(edges), counted, strict=True)}

    def remarks(self, splits: Mapping[Split, Sequence[Measured]], task: Declared) -> Iterator[str]:
        """Yield a hint where the numbers fill a small part of the range; pairs beside single texts are an error."""
        yield from super().remarks(splits, task)
        check_pairs(splits)
        values = [example.value for examples in splits.values() for example in examples]
        (low, high), (least, most) = range_of(task), (min(values), max(values))
        if most - least < (high - low) / 2:
            yield f"all numbers are from {least:g} to {most:g}, the task's range is {low:g} to {high:g}: is it theirs?"

    def unscorable(self, split: Split, splits: Mapping[Split, Sequence[Measured]], task: Declared) -> str | None:
        """Return that no correlation exists with numbers that are all the same."""
        numbers = np.array([example.value for example in splits[split]])
        if _centred(numbers)[1]:
            return None
        return f"all {len(numbers):,} numbers are {numbers[0]:g}, and no correlation with them exists"

    def schema(self) -> dict[str, Any]:
        """Return the columns: the numbers ``gold`` and ``predicted``, in the task's unit."""
        import pyarrow

        return {"gold": pyarrow.float64(), "predicted": pyarrow.float64()}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Floats:
        """Return the sums of ``sums_of``, or of ``ranks_of``, by cluster: (clusters, 8) or (clusters, 2)."""
        each = (sums_of if level == "sums" else ranks_of)(*_both(table))
        clusters = int(cluster.max(initial=-1)) + 1
        return np.stack([np.bincount(cluster, column, clusters) for column in each.T], axis=-1)

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return how far each prediction is from gold, in whole hundredths of the range: less is no difference."""
        gold, predicted = _both(table)
        low, high = range_of(task)
        return np.round(100 * np.abs(predicted - gold) / (high - low))

    def apart(self, one: pyarrow.Table, other: pyarrow.Table, task: Declared) -> Floats:
        """Return how far two predictions are from each other, in whole hundredths of the range."""
        return self.errors(as_gold(one, other), task)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if all predictions are nearly the same number."""
        gold, predicted = _both(table)
        if predicted.std() >= SAME * gold.std() or not len(gold):
            return None
        return f"predicts about {predicted.mean():.3g} throughout (gold is {gold.min():g} to {gold.max():g})"

    def stated(self, record: RunRecord, task: Declared) -> Mapping[str, str]:
        """Return that a head of ours gives 0 at the range's lower end and 1 at its upper one, if the ranges are one."""
        low, high = range_of(task)
        same = record.kind == self.name and range_of(record) == (low, high)
        return {"0": repr(low), "1": repr(high)} if same else {}

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return which numbers of the task two numbers of the head are: the others are on the line through them."""
        if len(theirs) != 1:
            raise ValueError(f"its head has {len(theirs)} rows, and one that gives a number has a single row")
        low, high = (f"{end:g}" for end in range_of(task))
        if not given:
            raise ValueError(
                f"nothing says which numbers its head gives: --labels '0={low},1={high}' if it is from 0 to 1, "
                f"--labels '{low}={low},{high}={high}' if it is the task's own"
            )
        _, _, slope = line_of(given)
        if not slope:
            raise ValueError("two numbers of the head are given the same number of the task")
        return Reading(dict(given))

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield numbers that are not finite, and gold beyond the range."""
        low, high = range_of(record)
        gold, predicted = _both(table, finite=False)
        for name, values in ("gold", gold), ("predicted", predicted):
            if count := int((~np.isfinite(values)).sum()):
                yield f"{name}: {count:,} numbers are not finite"
        if count := int(((gold < low) | (gold > high)).sum()):
            yield f"gold: {count:,} numbers are beyond the range {low:g} to {high:g}"


REGRESSION = Regression()


def regression_scores(gold: ArrayLike, predicted: ArrayLike) -> Scores:
    """Return the scores of predicted numbers; see ``Regression``.

    Args:
        gold: (examples,)
        predicted: (examples,), in the same unit.

    Raises:
        ValueError: the shapes differ, or a number is not finite.
    """
    x, y = np.asarray(gold, np.float64), np.asarray(predicted, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"gold {x.shape} and predicted {y.shape} should both have the shape (examples,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("gold or predicted holds a number that is not finite")
    return counts.scored(METRICS, {"sums": sums_of(x, y).sum(axis=0), "ranks": ranks_of(x, y).sum(axis=0)}, {})


def sums_of(gold: Floats, predicted: Floats) -> Floats:
    """Return what each example adds to the sums of Pearson's correlation and of the errors, (examples, 8).

    They are 1, x, y, x², y², xy, |error|, error². Both x (gold) and y (predicted) are distances from their means over
    all examples, which changes no correlation and keeps digits where numbers are far from 0; y is in standard
    deviations besides, so that a permutation of two models' answers does not mix units.
    """
    (x, _), (y, deviation) = _centred(gold), _centred(predicted)
    y, error = y / (deviation or 1), predicted - gold
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(error), error * error], axis=-1)


def ranks_of(gold: Floats, predicted: Floats) -> Floats:
    """Return 1 and the pseudo-value of Spearman's correlation of each example, (examples, 2).

    The pseudo-values are the correlation plus the empirical influence of each example (the infinitesimal jackknife;
    Efron & Tibshirani 1993, chapter 21): their mean is the correlation of the average ranks, as SciPy has it, and the
    variance of a resampled mean that of the correlation, ranks drawn anew included. Ranks of the full sample alone,
    resampled as if they were numbers, are short of that.
    """
    (f, above_f), (g, above_g) = _midranks(gold), _midranks(predicted)
    n = max(len(f), 1)
    of_f, of_g = f @ f / n, g @ g / n
    if min(of_f, of_g) <= 0:
        return np.stack([np.ones(len(f)), np.zeros(len(f))], axis=-1)
    # The derivative of mean(f g) by the weight of an example: its own product, and what it adds to others' ranks.
    scale = math.sqrt(of_f * of_g)
    correlation = f @ g / n / scale
    of_product = (f * g + above_f(g) + above_g(f)) / scale
    of_spreads = (f * f + 2 * above_f(f)) / of_f + (g * g + 2 * above_g(g)) / of_g
    influence = of_product - correlation / 2 * of_spreads
    return np.stack([np.ones(len(f)), correlation + influence - influence.mean()], axis=-1)


def range_of(declared: Any) -> tuple[float, float]:
    """Return the lowest and the highest number of a task; raise ``ValueError`` if ``options`` do not say so.

    Args:
        declared: a task, a record or a row: anything with ``options``.
    """
    given = declared.options.get("range")
    ends = given if isinstance(given, list | tuple) and len(given) == 2 else ()
    if not ends or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise ValueError(
            "kind 'regression' needs the lowest and the highest number, such as `options = { range = [0, 5] }`"
        )
    try:
        low, high = map(float, ends)
    except OverflowError:  # an integer of more than 308 digits
        low = high = math.inf
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the range is {low:g} to {high:g}: the second number has to be the higher one, both finite")
    if not (1 / WIDEST <= high - low <= WIDEST and high - low >= FINEST * max(abs(low), abs(high))):
        raise ValueError(
            f"the range is {low:g} to {high:g}: numbers that far apart, or that close together, cannot be told "
            "apart when they are squared and added up. Give them in another unit, or from another zero"
        )
    return low, high


def line_of(given: Mapping[str, str]) -> tuple[float, float, float]:
    """Return a number of the head, the task's number for it, and how much the task's rises with the head's.

    Raises:
        ValueError: they are not two different numbers of the head, and a number of the task for each.
    """
    try:
        (one, first), (other, second) = ((float(theirs), float(ours)) for theirs, ours in given.items())
        slope = (second - first) / (other - one)
    except (ValueError, ZeroDivisionError):
        slope = math.nan
    if not math.isfinite(slope):
        raise ValueError("--labels: a head that gives numbers needs two of them, such as --labels '0=0,1=5'")
    return one, first, slope


def _parts(sums: Floats) -> tuple[Floats, ...]:
    """Return the sums of ``sums_of``, one after the other."""
    return tuple(np.moveaxis(np.asarray(sums, np.float64), -1, 0))


def _centred(values: Floats) -> tuple[Floats, float]:
    """Return distances from the mean and the standard deviation; zeros where values differ by rounding alone."""
    distances = values - values.mean() if len(values) else values
    deviation = float(np.sqrt(np.mean(distances * distances))) if len(values) else 0.0
    if deviation <= 1e-14 * np.abs(values).max(initial=0):
        return np.zeros_like(distances), 0.0
    return distances, deviation


def _midranks(values: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return the average ranks of values as shares of their number around 0, and who is above whom.

    Returns:
        (examples,), of mean 0; and a function that gives each example the mean of what it is given over those above it,
        equals counted half.
    """
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    n = max(len(values), 1)
    below = np.cumsum(times) - times

    def above(weights: Floats) -> Floats:
        total = np.bincount(place, weights, len(times))
        return ((total[::-1].cumsum()[::-1] - total / 2) / n)[place]

    return ((below + times / 2) / n - 0.5)[place], above


def _both(table: pyarrow.Table, finite: bool = True) -> tuple[Floats, Floats]:
    """Return gold and predicted, (examples,) each; raise ``ValueError`` where they are no numbers, or not finite."""
    import pyarrow

    values = []
    for name in ("gold", "predicted"):
        column = table[name]
        if not pyarrow.types.is_floating(column.type) or column.null_count:
            raise ValueError(f"expected numbers, not {column.type} with {column.null_count} empty cells")
        values.append(column.to_numpy().astype(np.float64))
        if finite and not np.isfinite(values[-1]).all():
            raise ValueError(f"{name} holds a number that is not finite")
    return values[0], values[1]
