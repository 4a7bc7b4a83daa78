"""What a checkpoint's own head says, in the labels of a task: for models that are scored as they are.

A head answers with its most probable label, as it would for anybody else, and that answer is put in the task's words:
no probabilities of several labels are added up. Tags of entities keep their borders: whatever scheme the head writes,
an entity begins where it begins for the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flue_bench.kinds.counts import Floats, Ints
from flue_bench.kinds.names import counterparts, parts
from flue_bench.task import AS_IOB2

if TYPE_CHECKING:
    from flue_bench.kinds.kind import Declared


class Reading(NamedTuple):
    """What the labels of a head mean."""

    answers: dict[str, str]
    """Label of the head, in the order of its rows → label of the task; of entities, tag → class."""
    scheme: str | None = None
    """Entities only: the scheme of the head's tags."""
    converted: str = ""
    """How tags of this scheme become those of the task, in words; empty where they are the same."""


def read_labels(theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
    """Return what the labels of a head mean, by name.

    Raises:
        ValueError: there is one label, as of a regression, or as for ``names.counterparts``.
    """
    if len(theirs) < 2:
        raise ValueError("its head has a single row, so that it gives a number and no label")
    return Reading(counterparts(theirs, task.labels, given))


def meaning(answers: Mapping[str, str], labels: Sequence[str]) -> Ints:
    """Return the index in ``labels`` of what each label of the head means, (labels of the head,)."""
    return np.array([labels.index(name) for name in answers.values()], np.int64)


def unlikely(probabilities: Floats, predicted: Ints, meant: Ints) -> int:
    """Return how many decisions are not what a most probable label of the head means.

    Args:
        probabilities: (decisions, labels of the head), rounded, so that the largest may be a tie.
        predicted: (decisions,), indexes of the task's labels.
        meant: (labels of the head,), from ``meaning``.
    """
    largest = probabilities == probabilities.max(-1, keepdims=True, initial=0)
    return int((~(largest & (meant == predicted[:, None])).any(-1)).sum())


# Tags of entities.

_PREFIXES = {"IO": {"", "I-"}, "IOB2": {"B-", "I-"}} | {name: {"B-", "I-", *more} for name, more in AS_IOB2.items()}
_WORDS = {
    "IO": "runs of one class are entities",
    "IOB2": "B- opens an entity",
    "IOB1": "B- parts an entity from one of its type right before it",
    "BILOU": "B- or U- opens an entity",
    "IOBES": "B- or S- opens an entity",
}


def read_tags(theirs: Sequence[str], classes: Sequence[str], scheme: str, given: Mapping[str, str]) -> Reading:
    """Return what the tags of a head mean.

    Classes are matched by name, without the prefixes of tags, and any of the head's may be given as ``O``.

    Args:
        theirs: tags of the head, in the order of its rows.
        classes: classes of the task, O included.
        scheme: the task's.
        given: tag or class of the head → tag or class of the task, where the caller says so.

    Raises:
        ValueError: the tags are in no scheme, or as for ``names.counterparts``.
    """
    prefixes = {tag: parts(tag)[0] for tag in theirs}
    fitting = [name for name, known in _PREFIXES.items() if {p for t, p in prefixes.items() if t != "O"} <= known]
    if not fitting:
        raise ValueError(f"its tags are in none of the schemes {', '.join(_PREFIXES)}")
    class_of = {tag: parts(tag)[1] for tag in theirs}
    said: dict[str, str] = {}
    for one, other in given.items():
        key, value = class_of.get(one, one), other if other in classes else parts(other)[1]
        if said.setdefault(key, value) != value:
            raise ValueError(f"'{key}' is given as '{said[key]}' and as '{value}'")
    found = counterparts(list(dict.fromkeys(class_of.values())), classes, said)
    converted = "" if fitting[0] == scheme else f"its tags are {fitting[0]}, where {_WORDS[fitting[0]]}; "
    converted += f"written as the task's {scheme}, where {_WORDS[scheme]}" if converted else ""
    return Reading({tag: found[class_] for tag, class_ in class_of.items()}, fitting[0], converted)


def written(
    tags: Ints,
    first: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    answers: Mapping[str, str],
    scheme: str,
    labels: Sequence[str],
    as_scheme: str,
) -> Ints:
    """Return the head's tags as tags of the task, (words,).

    Args:
        tags: (words,), indexes of the keys of ``answers``; all sentences concatenated.
        first: (words,), True at each sentence's first word.
        seen: (words,), False where the model saw nothing of a word, which is O then.
        answers: tag of the head → class of the task.
        scheme: the head's.
        labels: tags of the task.
        as_scheme: the task's.

    Raises:
        ValueError: the task has no tag for what the head says.
    """
    theirs = list(answers)
    own = list(dict.fromkeys(parts(tag)[1] for tag in theirs))
    own_class = np.array([own.index(parts(tag)[1]) for tag in theirs])
    opens = np.array([parts(tag)[0] in ("B-", "U-", "S-") for tag in theirs])
    classes = list(dict.fromkeys(["O", *answers.values()]))
    class_of = np.array([classes.index(name) for name in answers.values()])
    safe = np.where(seen, tags, 0)
    mine = np.where(seen, own_class[safe], -1)  # (words,) class of the head
    class_ = np.where(seen, class_of[safe], 0)  # (words,) class of the task; 0 is O
    begins = first | (mine != np.roll(mine, 1)) if scheme == "IO" else opens[safe]
    if as_scheme == "IOB1":
        begins = begins & ~first & (class_ == np.roll(class_, 1))
    beginning = np.array([_tag(name, "B-", labels, as_scheme) for name in classes], np.int64)
    inside = np.array([_tag(name, "I-", labels, as_scheme) for name in classes], np.int64)
    return np.where(begins, beginning[class_], inside[class_])


def _tag(class_: str, prefix: str, labels: Sequence[str], scheme: str) -> int:
    """Return the index of the tag of a class."""
    if class_ == "O":
        return labels.index("O")
    written = [f"I-{class_}", class_] if scheme == "IO" else [prefix + class_]
    found = [labels.index(tag) for tag in written if tag in labels]
    if not found:
        raise ValueError(f"the task has no tag {written[0]}")
    return found[0]
