"""A kind of task: everything that differs from one kind to another, in one object.

A kind is two files of one name. This half needs no torch: boards, ``compare`` and ``verify`` use it. The other one,
whose base is ``kinds.network.network.Network``, encodes, trains and predicts, and is imported only for that.

All kinds, built-in ones too, are found by entry points (group ``flue_bench.kinds``). A new one is a subclass of
``Kind``, a subclass of ``Network``, and, where an example holds more than ``Example`` does, a subclass of that.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from flue_bench import plugins
from flue_bench.errors import RecordError, TaskFileError, UnknownNameError
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores, scored
from flue_bench.kinds.own_head import Reading
from flue_bench.kinds.rows import Row
from flue_bench.record import NoTraining, RunRecord
from flue_bench.task import Example, Scheme, Split

if TYPE_CHECKING:
    import pyarrow

E = TypeVar("E", bound=Example)
Columns = Mapping[str, Sequence[Any]]
"""Columns of predictions by name, one value per example."""
VALIDATION = "validation"
"""The value of an option that is decided on validation."""
Texts = tuple[str, ...]
"""One example as one or several texts."""


class Declared(Protocol):
    """The properties of a task that its task file declares and the record of a run repeats."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes or tags; empty for a kind without labels."""

    @property
    def scheme(self) -> Scheme | None:
        """The scheme by which ``labels`` encode entities."""

    @property
    def metric(self) -> str:
        """The headline metric."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that only this kind has."""


class Kind(ABC, Generic[E]):
    """A kind of task: how its files are checked and read, and its predictions kept, scored and presented.

    The subclass names its type of example: ``class Sentence(Kind[Example])``.
    """

    name: str
    """The name in task files; also the name of the entry point."""
    network: str
    """The half with torch: ``module:name`` of a ``kinds.network.network.Network``."""
    hub_task: str
    """The hub's name of such a task, for model cards: ``text-classification``."""
    needs: tuple[str, ...]
    """Columns that a source must have."""
    may_have: tuple[str, ...] = ()
    """Columns that are read where the data have one of this name or a source names another; ``id`` and ``group`` where
    a source names them."""
    gathered: Mapping[str, type | tuple[str, ...]] = {}
    """Of these, the ones that a source may gather from several columns → how it names them: ``dict``, label of the task
    → column, ``tuple``, or the names of its parts, each of which has a column. A row has their values likewise."""
    conll: tuple[str, str] | None = None
    """The two columns that a CoNLL file fills, the words and a value for each; None if the kind cannot use one."""
    frozen: str | None = None
    """How models are scored without any training, and without a head of their own: ``NoTraining.method``, by a
    ``kinds.network.network.Frozen``. None for a kind whose models are fine-tuned."""
    options: tuple[str, ...] = ()
    """Keys of ``Task.options`` that this kind knows. One whose value is ``"validation"`` is decided there, by
    ``Encoded.chosen``, and the record keeps what was decided (``RunRecord.chosen``)."""
    scored: tuple[str, ...] = ("gold", "predicted")
    """Columns of the predictions from which scores and counts are computed."""
    told: tuple[str, ...] = ()
    """Columns of the predictions beside ``scored`` that ``answers`` and ``confidence`` use."""
    levels: Mapping[str, str] = {}
    """Levels of ``RunRecord.per_class`` that a board's page shows → their headings."""
    absent: str = " (a mean over all labels counts it as 0)"
    """What a label that occurs nowhere does to the scores, in words."""
    views: ClassVar[Mapping[str, Callable[[Texts], Texts]]] = {"text": lambda texts: texts}
    """What ``tasks audit`` looks for in other rows: name of the view → its texts, any of which may match."""

    # The task.

    @abstractmethod
    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return the metrics of a task by their full names; without a task, those that any task of this kind has."""

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield key and fault of what the declaration lacks or should not have; ``faults`` adds the common checks."""
        yield from ()

    def faults(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield key and fault of everything in a declaration that does not fit this kind."""
        for key in task.options:
            if key not in self.options:
                yield "options", str(UnknownNameError("option", key, self.options, of=f"Kind '{self.name}'"))
        wrong = list(self.check(task))
        yield from wrong
        known = [] if wrong else [name for name, metric in self.metrics(task).items() if metric.headline]
        if known and task.metric not in known:
            yield "metric", f"'{task.metric}' is not one of {', '.join(known)}"

    def describe(self, task: Declared) -> str:
        """Return the kind, with what matters of the declaration, for ``tasks show``."""
        return self.name

    # Examples.

    @abstractmethod
    def example(self, row: Row) -> E:
        """Return the example that a row holds.

        Raises:
            ValueError: the row is wrong; the message says how.
            Skipped: the row holds no example.
        """

    @abstractmethod
    def gold(self, example: E) -> Any:
        """Return the right answer, hashable, as the column ``gold`` of the predictions holds it."""

    @abstractmethod
    def shown(self, example: E, task: Declared) -> str:
        """Return the right answer in words."""

    def cluster(self, example: E) -> str:
        """Return the name of the examples that are resampled together, which the column ``group`` holds: the group."""
        return example.group

    def stratum(self, example: E) -> Hashable:
        """Return the stratum of an example: a split that is cut from train has the same shares of each as train."""
        return None

    def balance(self, examples: Sequence[E], task: Declared) -> dict[str, int]:
        """Return the distribution of the right answers: name of a label or of a range → count."""
        return {}

    def remarks(self, splits: Mapping[Split, Sequence[E]], task: Declared) -> Iterator[str]:
        """Yield hints on what examples and declaration say of each other: by default, labels that are in no split.

        ``splits`` has train and validation, and test unless it is not read.

        Raises:
            ValueError: they contradict each other; the message says how, and what to declare.
        """
        for split, examples in splits.items():
            yield from _of_texts(split, [text for example in examples for text in self.texts(example)])
        counts = {split: self.balance(examples, task) for split, examples in splits.items()}
        absent = {label: [split for split in splits if not counts[split].get(label)] for label in task.labels}
        if nowhere := [label for label, where in absent.items() if len(where) == len(splits)]:
            yield f"no split has the label {', '.join(nowhere)}{self.absent}"
        for label, where in absent.items():
            if "train" in where and len(where) < len(splits):
                there = ", ".join(f"{counts[split][label]:,} in {split}" for split in splits if split not in where)
                yield f"train does not have the label {label}, so that no model learns it ({there})"

    def unscorable(self, split: Split, splits: Mapping[Split, Sequence[E]], task: Declared) -> str | None:
        """Return why every model has the same scores on a split, validation or test; None if they may differ."""
        return None

    def texts(self, example: E) -> Texts:
        """Return the texts of an example, which ``tasks audit`` compares with those of others."""
        return (example.text,) if example.text_pair is None else (example.text, example.text_pair)

    def same_input(self, example: E, in_words: Texts) -> Hashable:
        """Return a key that examples share if they should have one answer; ``in_words`` are its texts in lower case."""
        return in_words

    def length(self, example: E, in_words: Texts) -> int:
        """Return the length in words; ``in_words`` are the example's texts in lower case, without punctuation."""
        return sum(len(text.split()) for text in in_words)

    # Predictions.

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the columns of the predictions after ``id`` and ``group`` → pyarrow types; none may hold a text."""

    @abstractmethod
    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints | Floats:
        """Return the counts from which a level's scores are computed, summed over the examples of each cluster.

        Args:
            table: predictions, with the columns ``scored``.
            task: gives the meaning of the numbers in it.
            level: ``Metric.level``.
            cluster: (examples,), the number of the cluster that each example belongs to, from 0 without a gap.

        Returns:
            (clusters, …), of a shape that the level's formulas take.

        Raises:
            ValueError: the columns do not match each other or the task.
        """

    def classes(self, task: Declared) -> Mapping[str, Sequence[str]]:
        """Return level → class names for levels with counts (classes, 3): the contents of ``RunRecord.per_class``."""
        return {}

    def table(self, examples: Sequence[E], columns: Mapping[str, Sequence[Any]]) -> pyarrow.Table:
        """Return predictions as they are scored and kept, one row per example.

        Args:
            examples: the examples that were predicted.
            columns: columns of ``schema`` without ``gold``; missing ones are left out.
        """
        import pyarrow

        types = {"id": pyarrow.string(), "group": pyarrow.string(), **self.schema()}
        values: dict[str, Sequence[Any]] = {
            "id": [example.id for example in examples],
            "group": [self.cluster(example) for example in examples],
            "gold": [self.gold(example) for example in examples],
            **columns,
        }
        return pyarrow.table(
            {name: pyarrow.array(values[name], type_) for name, type_ in types.items() if name in values}
        )

    def scores(self, table: pyarrow.Table, task: Declared) -> Scores:
        """Return every score of a set of predictions.

        Raises:
            KeyError: a column is missing.
            ValueError: the columns do not match each other or the task.
        """
        metrics = self.metrics(task)
        together = np.zeros(len(table), np.int64)
        levels = dict.fromkeys(metric.level for metric in metrics.values())
        totals = {level: self.counts(table, task, level, together)[0] for level in levels}
        return scored(metrics, totals, self.classes(task))

    # A model that is scored as it is.

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return what the labels of a checkpoint's own head mean in a task.

        Args:
            theirs: the labels, in the order of the head's rows.
            task: gives the labels of the task.
            given: label of the head → label of the task, where the caller says so; numbers for a kind without labels.

        Raises:
            ValueError: they do not mean the task's, or this kind of task cannot use a head as it is.
        """
        raise ValueError(f"kind '{self.name}' does not say what the head of a checkpoint means")

    def stated(self, record: RunRecord, task: Declared) -> Mapping[str, str]:
        """Return what ``read_head`` is given of a head that a run of ours trained; by default its labels' names do.

        Args:
            record: the run that trained it, on a task of any kind.
            task: the task that it is to be scored on.
        """
        return {}

    def translated(self, columns: Columns, task: Declared, how: NoTraining) -> Columns:
        """Return predicted columns in the labels of a task.

        Args:
            columns: those of ``Kind.scored`` without gold, in the labels of the head.
            task: gives the labels of the task.
            how: what the labels of the head mean, from ``read_head``.
        """
        return columns

    # A kind whose models are not trained.

    def settings(self, task: Declared, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings of the method ``frozen``.

        Args:
            task: has those that are not given.
            given: name → value, which may be a text as from a command line.

        Raises:
            ValueError: there is no such setting, or no such value.
        """
        raise ValueError(f"kind '{self.name}' trains its models: leave settings out")

    def called(self, settings: Mapping[str, Any]) -> str:
        """Return what a board's row is called by: the method with its settings."""
        return self.frozen or self.name

    # What is said of predictions.

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return how wrong each prediction is, (examples,), 0 for a right one; by default 1 for all others."""
        gold, predicted = table["gold"].to_pylist(), table["predicted"].to_pylist()
        return np.array([one != other for one, other in zip(gold, predicted, strict=True)], np.float64)

    def apart(self, one: pyarrow.Table, other: pyarrow.Table, task: Declared) -> Floats:
        """Return how far two models' answers to the same examples are from each other, (examples,), in the unit of
        ``errors``; 0 where they are the same. By default 1 for all others.
        """
        pairs = zip(one["predicted"].to_pylist(), other["predicted"].to_pylist(), strict=True)
        return np.array([a != b for a, b in pairs], np.float64)

    def confidence(self, table: pyarrow.Table) -> Floats | None:
        """Return the probability of each prediction, (examples,); None where predictions have none of their own."""
        return None

    def answers(self, row: Mapping[str, Any], task: Declared, example: E | None = None) -> tuple[Texts, Texts]:
        """Return the right and the predicted answer of a row of predictions, each as its parts in words.

        Args:
            row: columns ``scored`` and ``told`` → the row's values.
            task: gives the meaning of the numbers in them.
            example: the example, from whose texts the answers may be quoted; None: no text of it is said.
        """
        return in_words(row["gold"], task.labels), in_words(row["predicted"], task.labels)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if the model gives one answer throughout while gold holds several, otherwise None."""
        return None

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield, in words, where predictions contradict themselves or the record, apart from the scores."""
        yield from ()

    def confusion(self, table: pyarrow.Table, task: Declared) -> tuple[Sequence[str], Ints] | None:
        """Return class names and counts (classes, classes), rows gold, columns predicted; None without classes."""
        return None


def installed() -> list[str]:
    """Return the names of all kinds that installed packages provide."""
    return sorted({entry.name for entry in plugins.entries(plugins.KINDS)})


@cache
def kind_named(name: str) -> Kind[Any]:
    """Return the kind of this name.

    Raises:
        UnknownNameError: no installed package provides it.
        TaskFileError: two do, or the entry point cannot be imported or is not a kind of this name.
    """
    entries = [entry for entry in plugins.entries(plugins.KINDS) if entry.name == name]
    if not entries:
        raise UnknownNameError("kind of task", name, installed())
    if len(entries) > 1:
        raise TaskFileError(f"Kind '{name}' is taken twice; the second time by {plugins.describe(entries[1])}.")
    kind = plugins.load(entries[0])
    if not isinstance(kind, Kind) or kind.name != name:
        raise TaskFileError(f"{plugins.describe(entries[0])} is not a flue_bench.kinds.kind.Kind named '{name}'.")
    return kind


def kind_of(record: RunRecord) -> Kind[Any]:
    """Return the kind of a record's task.

    Raises:
        RecordError: no installed package provides it.
        TaskFileError: as for ``kind_named``.
    """
    try:
        return kind_named(record.kind)
    except UnknownNameError:
        raise RecordError(
            f"{record.cell.task}: no installed package provides the kind of task '{record.kind}' "
            f"(known: {', '.join(installed())}): install the one that this record was made with."
        ) from None


def in_words(answer: Any, labels: Sequence[str]) -> Texts:
    """Return an answer's parts in words: the names of labels, numbers, what a list holds; nothing for no answer."""
    if answer is None:
        return ()
    if isinstance(answer, list | tuple):
        return tuple(part for each in answer for part in in_words(each, labels))
    if isinstance(answer, int) and labels:
        return (labels[answer],)
    return (f"{answer:.4g}" if isinstance(answer, float) else str(answer),)


def likeliest(probabilities: pyarrow.ChunkedArray) -> Floats:
    """Return the largest probability of each example, (examples,), from a column of lists."""
    return np.array([max(row, default=0.0) for row in probabilities.to_pylist()], np.float64)


def as_gold(one: pyarrow.Table, other: pyarrow.Table) -> pyarrow.Table:
    """Return the first predictions as if those of the second were right."""
    return one.set_column(one.column_names.index("gold"), "gold", other["predicted"])


def integers(column: pyarrow.ChunkedArray) -> Ints:
    """Return a column of whole numbers as an array, (rows,); raise ``ValueError`` for any other column."""
    import pyarrow

    if not pyarrow.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"expected whole numbers, not {column.type} with {column.null_count} empty cells")
    values: Ints = column.to_numpy().astype(np.int64)
    return values


def lists(column: pyarrow.ChunkedArray) -> tuple[Ints, Ints]:
    """Return the numbers of a column of lists, concatenated, and the length of each list, (rows,).

    Raises:
        ValueError: it holds something else.
    """
    import pyarrow

    if not pyarrow.types.is_list(column.type) or column.null_count:
        raise ValueError(f"expected lists, not {column.type} with {column.null_count} empty cells")
    whole = column.combine_chunks()
    return integers(pyarrow.chunked_array([whole.flatten()])), whole.value_lengths().to_numpy().astype(np.int64)


_MOJIBAKE = re.compile("[ÃÂâ][\u0080-\u00bf\u0152-\u0192\u2013-\u2122]")
"""An accented letter's or a quotation mark's bytes in UTF-8, each read as a character of Windows-1252."""


def _of_texts(split: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield hints on texts that are empty, or that somebody read in another encoding than theirs."""
    if empty := sum(not text.strip() for text in texts):
        yield f"{split}: {empty:,} texts are empty"
    for count, what in (
        (sum(_MOJIBAKE.search(text) is not None for text in texts), "hold UTF-8 that was read as Windows-1252 (Ã©)"),
        (sum("\ufffd" in text for text in texts), "hold \ufffd, left by a decoder that did not know what stood there"),
    ):
        if count * 100 > len(texts):
            yield f"{split}: {count:,} of {len(texts):,} texts {what}: the file was damaged before"
