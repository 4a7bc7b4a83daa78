"""Kind ``rating``: a number for a text. No labels, float answers, examples with fields of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flue_bench.kinds.counts import Floats, Ints, Metric, ratio
from flue_bench.kinds.kind import Declared, Kind
from flue_bench.kinds.rows import Row
from flue_bench.record import RunRecord
from flue_bench.task import Example

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Passage(Example):
    """A text, its register, and what people rated it."""

    register: str = ""
    rating: float = 0.0


def pearson(sums: Floats) -> Floats:
    """Of (…, 8): n, gold, predicted, their squares, their product, the error, the close ones."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums, np.float64)[..., :6], -1, 0)
    return ratio(n * xy - x * y, np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)))


def close(sums: Floats) -> Floats:
    """The share of the answers that are close."""
    sums = np.asarray(sums, np.float64)
    return ratio(sums[..., 7], sums[..., 0])


def mean_error(sums: Floats) -> Floats:
    """The mean absolute error."""
    sums = np.asarray(sums, np.float64)
    return ratio(sums[..., 6], sums[..., 0])


METRICS = {
    "pearson": Metric(pearson, "sums", "pearsonr", "Pearson's correlation, from -1 to 1", low=-1.0),
    "close": Metric(close, "sums", "accuracy", "share of the answers that are close", of_examples=True),
    "mae": Metric(mean_error, "sums", "mae", "mean absolute error", high=np.inf, headline=False),
}


class Rating(Kind[Passage]):
    """A regression."""

    name = "rating"
    network = "flue_rating.network:RATING"
    hub_task = "text-regression"
    needs = ("text", "rating")
    may_have = ("register",)
    options = ("within",)

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        return METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        if task.labels:
            yield "labels", "kind 'rating' has none"
        if not isinstance(task.options.get("within"), float):
            yield "options", "kind 'rating' needs 'within', a number such as 0.5"

    def describe(self, task: Declared) -> str:
        return f"rating, close within {task.options['within']}"

    def example(self, row: Row) -> Passage:
        text = row.text("text")
        register = row.text("register") if "register" in row.values else ""
        return Passage(row.id, row.group(text), text, register=register, rating=row.number("rating"))

    def gold(self, example: Passage) -> float:
        return example.rating

    def shown(self, example: Passage, task: Declared) -> str:
        return f"{example.rating:.1f} ({example.register})"

    def stratum(self, example: Passage) -> str:
        return example.register

    def balance(self, examples: Sequence[Passage], task: Declared) -> dict[str, int]:
        high = sum(example.rating >= 3 for example in examples)
        return {"under 3": len(examples) - high, "3 and more": high}

    def schema(self) -> dict[str, Any]:
        import pyarrow

        return {"gold": pyarrow.float64(), "predicted": pyarrow.float32()}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Floats:
        x, y = (table[name].to_numpy().astype(np.float64) for name in self.scored)
        off = np.abs(x - y)
        each = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, off, off <= task.options["within"]], axis=-1)
        total = np.zeros((int(cluster.max()) + 1, 8))
        np.add.at(total, cluster, each)
        return total

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        x, y = (table[name].to_numpy().astype(np.float64) for name in self.scored)
        return np.abs(x - y)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        x, y = (table[name].to_numpy() for name in self.scored)
        if np.ptp(y) >= 0.1 * np.ptp(x):
            return None
        return f"predicts about {abs(y).mean():.1f} throughout"

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        if not np.isfinite(table["predicted"].to_numpy()).all():
            yield "predicted: not finite"


RATING = Rating()
