"""Kind ``multi-label``: any number of labels for a text, or for two: none, one or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores, ratio
from flue_bench.kinds.kind import VALIDATION, Declared, Kind, as_gold, lists
from flue_bench.kinds.own_head import Reading, read_labels
from flue_bench.kinds.rows import Row
from flue_bench.kinds.sentence import MEAN
from flue_bench.kinds.texts import VIEWS, check_pairs
from flue_bench.record import RunRecord
from flue_bench.task import Example, Split

if TYPE_CHECKING:
    import pyarrow

Marks = NDArray[np.bool_]
"""(examples, labels): which labels each example has."""


@dataclass(frozen=True, slots=True)
class Several(Example):
    """A text, or two, and the indexes of the labels that they have, in ascending order."""

    labels: tuple[int, ...] = ()


def _samples(counted: Floats) -> Floats:
    return ratio(np.asarray(counted)[..., 1], np.asarray(counted)[..., 0])


def _exact(counted: Floats) -> Floats:
    return ratio(np.asarray(counted)[..., 2], np.asarray(counted)[..., 0])


METRICS = {
    "f1_micro": Metric(counts.micro_f1, "class", "f1", "F1 of all labels of all examples together"),
    "f1_macro": Metric(counts.macro_f1, "class", "f1", f"{MEAN}, unweighted".replace("classes", "labels")),
    "f1_weighted": Metric(
        counts.weighted_f1, "class", "f1", f"{MEAN}, weighted by its gold examples".replace("classes", "labels")
    ),
    "f1_samples": Metric(
        _samples,
        "sample",
        "f1",
        "the mean over the examples of each one's F1, 1 where neither side has a label",
    ),
    "exact_match": Metric(
        _exact, "sample", "exact_match", "share of the examples all of whose labels are right", of_examples=True
    ),
}

AT_ONCE = 2**20
"""Marks that are counted at once: each takes 24 bytes there."""
MOST_MARKS = 2**30
"""Examples times labels."""
HALF = 0.5
"""The probability from which on a label is predicted, unless the task says otherwise."""


class MultiLabel(Kind[Several]):
    """A choice of any number of labels.

    A label is predicted from a probability on: ``threshold`` of the task's options, by default 0.5; with
    ``"validation"`` it is what makes the headline metric highest there, and the record keeps it (``chosen``). A mean
    over labels counts one that occurs nowhere as 0.0, as scikit-learn does with ``zero_division=0``; for ``f1_samples``
    an example that has no label, and for which none is predicted, is right: 1.0.
    """

    name = "multi-label"
    network = "flue_bench.kinds.network.multi_label:MULTI_LABEL"
    hub_task = "text-classification"
    needs = ("text", "labels")
    may_have = ("text_pair",)
    gathered: Mapping[str, type | tuple[str, ...]] = {"labels": dict}
    options = ("threshold",)
    levels: Mapping[str, str] = {"class": "Labels"}
    views: ClassVar = VIEWS

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return the metrics, each averaging under its own name."""
        return METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless there are labels, no scheme, and a threshold that is one."""
        if len(task.labels) < 2:
            yield "labels", "kind 'multi-label' needs at least two"
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"
        given = task.options.get("threshold", HALF)
        number = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < 1
        if not number and given != VALIDATION:
            yield "options", "'threshold' is a number between 0 and 1, or \"validation\", where it is then chosen"

    def describe(self, task: Declared) -> str:
        """Return the kind with the threshold."""
        given = task.options.get("threshold", HALF)
        return f"{self.name}, threshold {'chosen on validation' if given == 'validation' else given}"

    def example(self, row: Row) -> Several:
        """Return the example of a row; equal texts share a group."""
        text, pair = row.text("text"), row.text_or_none("text_pair")
        found = row.several("labels")
        if twice := [index for index, count in Counter(found).items() if count > 1]:
            raise ValueError(f"the column for 'labels' holds '{row.labels.names[twice[0]]}' twice")
        return Several(row.id, row.group(text), text, pair, labels=tuple(sorted(found)))

    def gold(self, example: Several) -> tuple[int, ...]:
        """Return the labels' indexes."""
        return example.labels

    def shown(self, example: Several, task: Declared) -> str:
        """Return the labels' names."""
        return ", ".join(task.labels[label] for label in example.labels) or "no label"

    def balance(self, examples: Sequence[Several], task: Declared) -> dict[str, int]:
        """Return the number of examples that have each label."""
        counted = Counter(label for example in examples for label in example.labels)
        return {name: counted[index] for index, name in enumerate(task.labels)}

    def remarks(self, splits: Mapping[Split, Sequence[Several]], task: Declared) -> Iterator[str]:
        """Yield hints where no example has two labels, or most have none; pairs beside single texts are an error."""
        yield from super().remarks(splits, task)
        check_pairs(splits)
        for split, examples in splits.items():
            several = [len(example.labels) for example in examples]
            if max(several) < 2:
                yield f"{split}: no example has two labels; for one label each there is kind 'sentence'"
            elif min(several) == len(task.labels):
                yield f"{split}: every example has all labels: are its zeros and ones taken for positions?"
            if (none := several.count(0)) * 2 > len(several):
                yield f"{split}: {none:,} of {len(several):,} examples have no label"

    def unscorable(self, split: Split, splits: Mapping[Split, Sequence[Several]], task: Declared) -> str | None:
        """Return that no F1 exists where no example has a label."""
        if any(example.labels for example in splits[split]):
            return None
        return "no example has a label, and no F1 exists without one"

    def schema(self) -> dict[str, Any]:
        """Return the columns: lists of label indexes ``gold``, ``predicted``; ``probabilities``, 4 decimals each."""
        import pyarrow

        labels = pyarrow.list_(pyarrow.int16())
        return {"gold": labels, "predicted": labels, "probabilities": pyarrow.list_(pyarrow.float32())}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints | Floats:
        """Return true positives, predicted and gold, (clusters, labels, 3), or the sums of ``by_sample``."""
        gold, predicted = (marked(table[name], len(task.labels)) for name in self.scored)
        if len(gold) != len(predicted):
            raise ValueError(f"{len(gold)} examples in gold, {len(predicted)} in predicted")
        clusters = int(cluster.max(initial=-1)) + 1
        if level != "class":
            each = by_sample(gold, predicted)
            total = np.zeros((clusters, each.shape[1]), each.dtype)
            np.add.at(total, cluster, each)
            return total
        of_labels = np.zeros((clusters, len(task.labels), 3), np.int64)
        rows = max(1, AT_ONCE // max(1, len(task.labels)))
        for at in range(0, len(gold), rows):
            some = slice(at, at + rows)
            np.add.at(of_labels, cluster[some], by_label(gold[some], predicted[some]))
        return of_labels

    def classes(self, task: Declared) -> Mapping[str, Sequence[str]]:
        """Return the labels."""
        return {"class": task.labels}

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return the number of wrong labels of each example, too many and too few."""
        gold, predicted = (marked(table[name], len(task.labels)) for name in ("gold", "predicted"))
        wrong: Floats = (gold != predicted).sum(axis=1).astype(np.float64)
        return wrong

    def apart(self, one: pyarrow.Table, other: pyarrow.Table, task: Declared) -> Floats:
        """Return the number of labels that one of two predictions has and the other has not."""
        return self.errors(as_gold(one, other), task)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if the same labels are predicted throughout."""
        guessed, true = (np.unique(marked(table[name], len(task.labels)), axis=0) for name in ("predicted", "gold"))
        if len(guessed) != 1 or len(true) < 2:
            return None
        names = ", ".join(f"'{name}'" for name, mark in zip(task.labels, guessed[0], strict=True) if mark)
        return f"predicts {f'only {names}' if names else 'no label at all'} (gold has {len(true)} sets of labels)"

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return what the labels of a head mean, by name; where several mean one, any of them predicts it."""
        return read_labels(theirs, task, given)

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield where probabilities are none, or the predicted labels are not those above the threshold."""
        rows = table["probabilities"].to_pylist()
        if {len(row) for row in rows} != {len(record.labels)}:
            yield f"probabilities: they are not {len(record.labels)} in each row"
            return
        probabilities = np.array(rows, np.float64)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            yield "probabilities: they are not between 0 and 1"
        given = record.options.get("threshold", HALF)
        threshold = record.chosen.get("threshold") if given == VALIDATION else given
        if threshold is None:
            yield "chosen: there is no threshold, which the task has from validation"
            return
        sure = np.abs(probabilities - threshold) > 1e-4  # they are rounded
        other = (marked(table["predicted"], len(record.labels)) != (probabilities >= threshold)) & sure
        if count := int(other.any(axis=1).sum()):
            yield f"predicted: in {count:,} of {len(rows):,} examples not the labels from {threshold:g} on"


MULTI_LABEL = MultiLabel()


def multi_label_scores(gold: Sequence[ArrayLike], predicted: Sequence[ArrayLike], labels: Sequence[str]) -> Scores:
    """Return the scores of a choice of labels; see ``MultiLabel``.

    Args:
        gold: for each example, the indexes of its labels.
        predicted: likewise.
        labels: names of the labels.

    Raises:
        ValueError: the lengths differ, or an index names no label, or stands twice.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} examples in gold, {len(predicted)} in predicted")
    marks = [_marks([list(np.asarray(each, np.int64)) for each in side], len(labels)) for side in (gold, predicted)]
    totals: dict[str, Ints | Floats] = {"class": by_label(*marks).sum(axis=0), "sample": by_sample(*marks).sum(axis=0)}
    return counts.scored(METRICS, totals, {"class": labels})


def by_label(gold: Marks, predicted: Marks) -> Ints:
    """Return true positives, predicted and gold of each example, (examples, labels, 3)."""
    return np.stack([gold & predicted, predicted, gold], axis=-1).astype(np.int64)


def by_sample(gold: Marks, predicted: Marks) -> Floats:
    """Return 1, its F1, and whether all labels are right, of each example: (examples, 3)."""
    both, together = (gold & predicted).sum(axis=1), gold.sum(axis=1) + predicted.sum(axis=1)
    f1 = np.where(together > 0, ratio(2 * both, together), 1.0)
    return np.stack([np.ones(len(gold)), f1, (gold == predicted).all(axis=1)], axis=-1)


def marked(column: pyarrow.ChunkedArray, labels: int) -> Marks:
    """Return which labels each example of a column of lists has; raise ``ValueError`` where it holds something else."""
    flat, lengths = lists(column)
    return _marks(np.split(flat, lengths.cumsum()[:-1]) if len(lengths) else [], labels)


def _marks(rows: Sequence[Sequence[int] | Ints], labels: int) -> Marks:
    flat = np.fromiter(chain.from_iterable(rows), np.int64)
    counts.check_range(flat, flat, labels)
    if len(rows) * labels > MOST_MARKS:
        raise ValueError(f"{len(rows):,} examples and {labels:,} labels are too many")
    marks = np.zeros((len(rows), labels), bool)
    marks[np.repeat(np.arange(len(rows)), [len(row) for row in rows]), flat] = True
    if int(marks.sum()) != len(flat):
        raise ValueError("an example has a label twice (they are given by their indexes, not as zeros and ones)")
    return marks
