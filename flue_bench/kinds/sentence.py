"""Kinds ``sentence`` and ``sentence-pair``: one label for a text, or for two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores
from flue_bench.kinds.kind import Columns, Declared, Kind, Texts, integers, likeliest
from flue_bench.kinds.own_head import Reading, meaning, read_labels, unlikely
from flue_bench.kinds.rows import Row
from flue_bench.record import NoTraining, RunRecord
from flue_bench.task import Example

if TYPE_CHECKING:
    import pyarrow

MEAN = "the mean over the classes of each one's F1"
METRICS = {
    "accuracy": Metric(
        counts.accuracy, "class", "accuracy", "share of the examples whose label is right", of_examples=True
    ),
    "f1_macro": Metric(counts.macro_f1, "class", "f1", f"{MEAN}, unweighted"),
    "f1_micro": Metric(
        counts.accuracy, "class", "f1", "F1 of all decisions together; here equal to the accuracy", of_examples=True
    ),
    "f1_weighted": Metric(counts.weighted_f1, "class", "f1", f"{MEAN}, weighted by its gold examples"),
    "f1_binary": Metric(counts.last_f1, "class", "f1", "F1 of the last label"),
    "mcc": Metric(
        counts.mcc,
        "class",
        "matthews_correlation",
        "Matthews' correlation coefficient, from -1 to 1",
        low=-1.0,
    ),
}


class Sentence(Kind[Example]):
    """A classification of texts, or of pairs of texts.

    ``f1_macro`` is the mean over all labels; one that occurs neither in gold nor in the predictions counts as 0.0, as
    with scikit-learn's ``labels=range(n), zero_division=0``. ``f1_micro`` equals the accuracy. ``f1_binary`` exists for
    two labels only and is the F1 of the last one.
    """

    network = "flue_bench.kinds.network.sentence:SENTENCE"
    hub_task = "text-classification"
    told = ("probabilities",)
    levels: Mapping[str, str] = {"class": "Classes"}

    def __init__(self, name: str, texts: tuple[str, ...], views: Mapping[str, Callable[[Texts], Texts]]) -> None:
        """``texts`` are the columns that hold the texts of an example."""
        self.name, self.needs = name, (*texts, "label")
        self._second = "text_pair" in texts
        self.views = views  # type: ignore[misc]

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return the metrics, each averaging under its own name."""
        return metrics(2 if task is None else len(task.labels))

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless there are at least two labels and no scheme."""
        if len(task.labels) < 2:
            yield "labels", f"kind '{self.name}' needs at least two"
        elif task.metric == "f1_binary" and len(task.labels) != 2:
            yield "metric", "'f1_binary' needs two labels"
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"

    def example(self, row: Row) -> Example:
        """Return the example of a row; equal texts share a group."""
        text = row.text("text")
        pair = row.text("text_pair") if self._second else None
        return Example(row.id, row.group(text), text, pair, label=row.label("label"))

    def gold(self, example: Example) -> int:
        """Return the label's index."""
        return example.label

    def shown(self, example: Example, task: Declared) -> str:
        """Return the label's name."""
        return task.labels[example.label]

    def stratum(self, example: Example) -> int:
        """Return the label."""
        return example.label

    def balance(self, examples: Sequence[Example], task: Declared) -> dict[str, int]:
        """Return the number of examples of each label."""
        counted = Counter(example.label for example in examples)
        return {name: counted[index] for index, name in enumerate(task.labels)}

    def schema(self) -> dict[str, Any]:
        """Return the columns: label indexes ``gold``, ``predicted``; ``probabilities``, one per label, 4 decimals."""
        import pyarrow

        label = pyarrow.int16()
        return {"gold": label, "predicted": label, "probabilities": pyarrow.list_(pyarrow.float32())}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints:
        """Return true positives, predicted and gold: (clusters, labels, 3)."""
        gold, predicted = integers(table["gold"]), integers(table["predicted"])
        return counts.class_counts(gold, predicted, len(task.labels), cluster, int(cluster.max()) + 1)

    def classes(self, task: Declared) -> Mapping[str, Sequence[str]]:
        """Return the labels."""
        return {"class": task.labels}

    def confidence(self, table: pyarrow.Table) -> Floats:
        """Return the probability of the most probable answer."""
        return likeliest(table["probabilities"])

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if one label is predicted throughout."""
        return counts.collapsed(integers(table["gold"]), integers(table["predicted"]), task.labels)

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield where the predicted label is not the most probable one or probabilities are not valid."""
        probabilities = np.array(table["probabilities"].to_pylist(), np.float64)
        predicted, how = integers(table["predicted"]), record.cell.untrained
        if how is None:
            yield from improbable(probabilities, predicted, len(record.labels))
            return
        faults = list(improbable(probabilities, None, len(how.answers)))
        yield from faults
        if wrong := 0 if faults else unlikely(probabilities, predicted, meaning(how.answers, record.labels)):
            yield f"predicted: in {wrong:,} of {len(predicted):,} decisions not what the most probable label means"

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return what the labels of a head mean, by name."""
        return read_labels(theirs, task, given)

    def translated(self, columns: Columns, task: Declared, how: NoTraining) -> Columns:
        """Return what each answer of the head means."""
        return {"predicted": meaning(how.answers, task.labels)[np.asarray(columns["predicted"], np.int64)].tolist()}

    def confusion(self, table: pyarrow.Table, task: Declared) -> tuple[Sequence[str], Ints]:
        """Return labels and counts by label."""
        gold, predicted = integers(table["gold"]), integers(table["predicted"])
        return task.labels, counts.confusion(gold, predicted, len(task.labels))


SENTENCE = Sentence("sentence", ("text",), {"text": lambda texts: texts})
SENTENCE_PAIR = Sentence(
    "sentence-pair",
    ("text", "text_pair"),
    {
        "first text": lambda texts: texts[:1],
        "second text": lambda texts: texts[1:],
        "pair": lambda texts: ("\n".join(sorted(texts)),),
        "either text": lambda texts: texts,
    },
)


def metrics(labels: int) -> dict[str, Metric]:
    """Return the metrics of a classification with this number of labels."""
    return {name: metric for name, metric in METRICS.items() if name != "f1_binary" or labels == 2}


def sentence_scores(gold: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> Scores:
    """Return the scores of a classification; see ``Sentence``.

    Args:
        gold: (examples,), indexes of ``labels``.
        predicted: (examples,), likewise.
        labels: names of the classes.

    Raises:
        ValueError: the shapes differ, or an index names no label.
    """
    gold, predicted = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    if gold.ndim != 1 or gold.shape != predicted.shape:
        raise ValueError(f"gold {gold.shape} and predicted {predicted.shape} should both have the shape (examples,)")
    total = counts.class_counts(gold, predicted, len(labels))[0]
    return counts.scored(metrics(len(labels)), {"class": total}, {"class": labels})


def improbable(probabilities: Floats, predicted: Ints | None, labels: int) -> Iterator[str]:
    """Yield, in words, what is wrong with probabilities.

    Args:
        probabilities: (decisions, labels), rounded to four decimals.
        predicted: (decisions,), indexes of labels; None: they are not of these labels.
        labels: the number of labels.
    """
    rows = len(probabilities if predicted is None else predicted)
    if probabilities.shape != (rows, labels):
        width = probabilities.shape[-1] if probabilities.ndim == 2 else "not always as many"
        yield f"probabilities: {width} in a row, there are {labels} labels"
        return
    # Rounding to four decimals can make the largest a tie, and the error of the sum grows with the number of labels.
    if not (np.abs(probabilities.sum(-1) - 1) <= 1e-4 * labels).all():
        yield "probabilities: they do not sum to 1"
    if predicted is None:
        return
    chosen = np.take_along_axis(probabilities, predicted[:, None], 1)[:, 0]
    if other := int((chosen < probabilities.max(-1)).sum()):
        yield f"probabilities: in {other:,} of {len(predicted):,} decisions another label is more probable"
