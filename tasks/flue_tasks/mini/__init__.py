"""Small generated French tasks of our own: shaped like FLUE's, never comparable with them.

Hashes of a row's sentences, or of their parts, determine its split, so that no two splits can share a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from flue_bench.errors import DataError
from flue_bench.task import Example, Split, Task
from flue_tasks.mini.choices import question
from flue_tasks.mini.entities import tagged
from flue_tasks.mini.inference import inference
from flue_tasks.mini.names import belongs, group_of
from flue_tasks.mini.paraphrases import pair
from flue_tasks.mini.passages import passage
from flue_tasks.mini.ratings import rated
from flue_tasks.mini.reviews import review
from flue_tasks.mini.senses import used
from flue_tasks.mini.speech import classed
from flue_tasks.mini.topics import about
from flue_tasks.readers import Passage

Row = tuple[tuple[str, ...], Example]
"""The texts that decide the split of a row, the first of which names its group; and the row."""


@dataclass(frozen=True, slots=True)
class Rated(Example):
    """A text and a number."""

    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Marked(Example):
    """A text and its labels."""

    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Used(Example):
    """A sentence, the position of a word in it, its lemma, and its sense."""

    target: int = 0
    lemma: str = ""
    senses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked(Example):
    """A text, its choices, and the position of the right one as ``label``."""

    choices: tuple[str, ...] = ()


def _labelled(labels: int, write: Callable[[Random, int, str], tuple[tuple[str, ...], str, str | None]]) -> Writer:
    def row(rng: Random, number: int, split: Split) -> Row:
        keys, text, text_pair = write(rng, number % labels, split)
        return keys, Example("", "", text=text, text_pair=text_pair, label=number % labels)

    return row


def _in_words(write: Callable[[Random, int, str], tuple[tuple[str, ...], tuple[int, ...]]]) -> Writer:
    def row(rng: Random, number: int, split: Split) -> Row:
        words, tags = write(rng, number, split)
        return (" ".join(words),), Example("", "", words=words, tags=tags)

    return row


def _rated(rng: Random, number: int, split: Split) -> Row:
    stars = 1 + number % 4
    keys, text = rated(rng, stars, split)
    return keys, Rated("", "", text, value=float(stars))


def _marked(rng: Random, number: int, split: Split) -> Row:
    topics = frozenset(topic for topic in range(4) if number >> topic & 1)  # each set of them in turn
    keys, text = about(rng, topics, split)
    return keys, Marked("", "", text, labels=tuple(sorted(topics)))


def _asked(rng: Random, number: int, split: Split) -> Row:
    keys, text, choices, answer = question(rng, number, split)
    return keys, Asked("", "", text, label=answer, choices=choices)


def _used(rng: Random, number: int, split: Split) -> Row:
    words, target, lemma, sense = used(rng, number)
    return (" ".join(words),), Used("", "", words=words, target=target, lemma=lemma, senses=(sense,))


def _on_passage(rng: Random, number: int, split: Split) -> Row:
    keys, question, context, answers = passage(rng, number, split)
    return keys, Passage("", "", question=question, context=context, answers=answers)


Writer = Callable[[Random, int, Split], Row]
_WRITERS: dict[str, Writer] = {
    "mini-cls": _labelled(2, review),
    "mini-pawsx": _labelled(2, pair),
    "mini-xnli": _labelled(3, inference),
    "mini-ner": _in_words(tagged),
    "mini-stars": _rated,
    "mini-topics": _marked,
    "mini-choices": _asked,
    "mini-senses": _used,
    "mini-pos": _in_words(classed),
    "mini-qa": _on_passage,
}


def read(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Generate a split with as many rows as the task declares: the reader ``mini``.

    The rows are the same on every machine; nothing is read from ``folder``.

    Raises:
        DataError: the task is none that this reader writes.
    """
    if task.name not in _WRITERS:
        *first, last = _WRITERS
        raise DataError(f"The reader 'mini' writes {', '.join(first)} and {last}, not '{task.name}'.")
    rng, groups = Random(f"{task.name} {split}"), set[str]()
    while (row := len(groups)) < task.rows[split][0]:
        keys, example = _WRITERS[task.name](rng, row, split)
        group = group_of(keys[0])
        if group not in groups and all(belongs(key, split) for key in keys):
            groups.add(group)
            yield replace(example, id=f"{split}-{row}", group=group)
