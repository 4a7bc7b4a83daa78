"""Kind ``multiple-choice``: the right one of several texts, of which each row may have another number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from flue_bench.errors import quoted
from flue_bench.kinds import counts, rows
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores
from flue_bench.kinds.kind import Declared, Kind, Texts, integers, likeliest
from flue_bench.kinds.own_head import Reading
from flue_bench.kinds.rows import Row, plain_number
from flue_bench.record import RunRecord
from flue_bench.task import Example, nfc

if TYPE_CHECKING:
    import pyarrow

METRICS = {
    "accuracy": Metric(
        counts.accuracy, "position", "accuracy", "share of the questions whose answer is right", of_examples=True
    )
}


@dataclass(frozen=True, slots=True)
class Question(Example):
    """A text, and the texts one of which goes with it: ``label`` is its position."""

    choices: tuple[str, ...] = ()


class MultipleChoice(Kind[Question]):
    """A choice among texts. The task's ``labels`` name the positions, at least as many as any row has choices."""

    name = "multiple-choice"
    network = "flue_bench.kinds.network.multiple_choice:MULTIPLE_CHOICE"
    hub_task = "multiple-choice"
    needs = ("text", "choices", "label")
    gathered: Mapping[str, type | tuple[str, ...]] = {"choices": tuple}
    told = ("probabilities",)
    levels: Mapping[str, str] = {"position": "Positions"}
    absent = ""
    views: ClassVar[Mapping[str, Callable[[Texts], Texts]]] = {
        "text": lambda texts: texts[:1],
        "text and choices": lambda texts: ("\n".join([texts[0], *sorted(texts[1:])]),),
    }

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return the accuracy."""
        return METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless there are names of positions and no scheme."""
        if len(task.labels) < 2:
            yield "labels", 'kind \'multiple-choice\' needs the positions\' names, such as ["A", "B", "C"]'
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"

    def describe(self, task: Declared) -> str:
        """Return the kind with the largest number of choices."""
        return f"{self.name}, up to {len(task.labels)} choices"

    def example(self, row: Row) -> Question:
        """Return the example of a row; equal texts share a group. Empty cells after the last choice are none."""
        text, given = row.text("text"), list(row.items("choices"))
        while given and (given[-1] is None or given[-1] == ""):
            given.pop()
        choices = tuple(rows.text(each, "choices") for each in given)
        if empty := [number for number, choice in enumerate(choices, start=1) if not choice.strip()]:
            raise ValueError(f"choice {empty[0]} of {len(choices)} is empty")
        if not 2 <= len(choices) <= len(row.labels.names):
            raise ValueError(
                f"{len(choices)} choices, where there should be from 2 to {len(row.labels.names)}, which 'labels' name"
            )
        said, names = row.values["label"], row.labels.names
        if isinstance(said, str) and nfc(said) in choices and not row.labels.knows(said) and plain_number(said) is None:
            name = names[choices.index(nfc(said))]
            raise ValueError(f"the label is the text of a choice, {quoted(said)}: give its position, '{name}'")
        answer = row.label("label")
        if answer >= len(choices):
            number = plain_number(said) is not None and not row.labels.knows(str(said))
            advice = " (a number counts from 0; what others stand for, 'label_names' says)" if number else ""
            raise ValueError(f"the answer is '{names[answer]}', and there are {len(choices)} choices{advice}")
        if again := [at for at, choice in enumerate(choices) if choice == choices[answer] and at != answer]:
            raise ValueError(
                f"the right choice, '{names[answer]}', reads as '{names[again[0]]}' does: which of the two is meant?"
            )
        return Question(row.id, row.group(text), text, label=answer, choices=choices)

    def gold(self, example: Question) -> int:
        """Return the position of the right choice."""
        return example.label

    def shown(self, example: Question, task: Declared) -> str:
        """Return the name of the position, and the choice."""
        return f"{task.labels[example.label]} of {len(example.choices)}, {example.choices[example.label]}"

    def balance(self, examples: Sequence[Question], task: Declared) -> dict[str, int]:
        """Return the number of examples whose answer is at each position."""
        counted = Counter(example.label for example in examples)
        return {name: counted[index] for index, name in enumerate(task.labels)}

    def texts(self, example: Question) -> Texts:
        """Return the text and the choices."""
        return (example.text, *example.choices)

    def same_input(self, example: Question, in_words: Texts) -> Texts:
        """Return the text with its choices in their order, by which the answer is given."""
        return in_words

    def schema(self) -> dict[str, Any]:
        """Return the columns: positions ``gold``, ``predicted``; ``probabilities``, one a choice, 4 decimals each."""
        import pyarrow

        position = pyarrow.int16()
        return {"gold": position, "predicted": position, "probabilities": pyarrow.list_(pyarrow.float32())}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints:
        """Return true positives, predicted and gold: (clusters, positions, 3)."""
        gold, predicted = integers(table["gold"]), integers(table["predicted"])
        return counts.class_counts(gold, predicted, len(task.labels), cluster, int(cluster.max(initial=-1)) + 1)

    def classes(self, task: Declared) -> Mapping[str, Sequence[str]]:
        """Return the names of the positions."""
        return {"position": task.labels}

    def confidence(self, table: pyarrow.Table) -> Floats:
        """Return the probability of the most probable answer."""
        return likeliest(table["probabilities"])

    def answers(self, row: Mapping[str, Any], task: Declared, example: Question | None = None) -> tuple[Texts, Texts]:
        """Return the names of the positions, with the choices that stand there."""
        if example is None:
            return super().answers(row, task)
        gold, predicted = (f"{task.labels[row[name]]}: {example.choices[row[name]]}" for name in ("gold", "predicted"))
        return (gold,), (predicted,)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if the same position is chosen throughout."""
        return counts.collapsed(integers(table["gold"]), integers(table["predicted"]), task.labels)

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return that nothing is to be read: the head scores each choice, whatever its configuration calls its rows."""
        if given:
            raise ValueError("a head that chooses among texts has no labels: leave --labels out")
        return Reading({})

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield where the predicted choice is not the most probable one, or is none, or probabilities are not valid."""
        predicted, gold = integers(table["predicted"]), integers(table["gold"])
        found = [np.array(row, np.float64) for row in table["probabilities"].to_pylist()]
        sizes = np.array([len(row) for row in found], np.int64)
        if ((sizes < 2) | (sizes > len(record.labels))).any():
            yield f"probabilities: not from 2 to {len(record.labels)} in each row"
        elif ((predicted >= sizes) | (gold >= sizes)).any():
            yield "probabilities: fewer than the position that is gold or predicted"
        elif any(abs(row.sum() - 1) > 1e-4 * len(row) for row in found):
            yield "probabilities: they do not sum to 1"
        elif other := sum(row[at] < row.max() for row, at in zip(found, predicted, strict=True)):
            yield f"probabilities: in {other:,} of {len(found):,} decisions another choice is more probable"

    def confusion(self, table: pyarrow.Table, task: Declared) -> tuple[Sequence[str], Ints]:
        """Return the positions and the counts by position."""
        gold, predicted = integers(table["gold"]), integers(table["predicted"])
        return task.labels, counts.confusion(gold, predicted, len(task.labels))


MULTIPLE_CHOICE = MultipleChoice()


def multiple_choice_scores(gold: ArrayLike, predicted: ArrayLike, positions: Sequence[str]) -> Scores:
    """Return the scores of a choice among texts.

    Args:
        gold: (examples,), positions from 0.
        predicted: (examples,), likewise.
        positions: their names.

    Raises:
        ValueError: the shapes differ, or a number is no position.
    """
    gold, predicted = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    if gold.ndim != 1 or gold.shape != predicted.shape:
        raise ValueError(f"gold {gold.shape} and predicted {predicted.shape} should both have the shape (examples,)")
    total = counts.class_counts(gold, predicted, len(positions))[0]
    return counts.scored(METRICS, {"position": total}, {"position": positions})
