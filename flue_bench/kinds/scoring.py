"""Scores of a test set, every averaging by its own name: a sentence task's, and a tagging task's at three levels.

All follow from counts (true positives, predicted, gold) in NumPy; scikit-learn and seqeval are the tests' oracles. A
ratio whose denominator is zero is 0.0, without a warning. Scores are fractions of 1 (MCC from -1 to 1).

The levels of a tagging task answer different questions (of one published model on WikiNER, "98" is the weighted
sub-word F1 with O, "92" the same without O, and neither is the entity-level F1):

- ``entity``: an entity counts if its first word, its last word and its type are right, as seqeval's ``mode="strict"``.
- ``word``: each word's class counts. Classes have no prefix: B-PER and I-PER are PER.
- ``subword``: as ``word``, each word counted once for every sub-word it is cut into.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flue_bench.record import ClassScores
from flue_bench.task import Scheme

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Tags = Sequence[Collection[int]]
"""One int sequence a sentence, one tag a word: indexes of the task's labels."""

_OUTSIDE, _INSIDE, _BEGIN = 0, 1, 2


@dataclass(frozen=True)
class Scores:
    """What one set of predictions scores against gold."""

    scores: dict[str, float]
    """By the names of ``flue_bench.task.SENTENCE_METRICS`` and ``TOKEN_METRICS``."""
    per_class: dict[str, dict[str, ClassScores]]
    """Level (``class``, ``entity``, ``word``, ``subword``) → class → scores."""


def sentence_scores(gold: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> Scores:
    """Scores of a classification.

    ``f1_macro`` is the mean over all ``labels``; one that occurs neither in gold nor in the predictions counts as 0.0,
    as with scikit-learn's ``labels=range(n), zero_division=0``. ``f1_micro`` equals the accuracy. ``f1_binary`` exists
    for two labels only and is the F1 of the last one. ``mcc`` is Matthews' correlation, for any number of classes as
    generalised by Gorodkin (2004).

    Args:
        gold: (examples,), indexes of ``labels``.
        predicted: (examples,), likewise.
        labels: names of the classes.

    Raises:
        ValueError: the shapes differ, or an index names no label.
    """
    gold, predicted = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    if gold.ndim != 1 or gold.shape != predicted.shape:
        raise ValueError(f"gold {gold.shape} and predicted {predicted.shape} should both be of one shape (examples,)")
    _check_range(gold, predicted, len(labels))
    counts = _class_counts(gold, predicted, len(labels))
    f1 = _precision_recall_f1(counts)[2]
    hit, guessed, true = counts.astype(np.float64).T  # (classes,) each
    accuracy = _ratio(hit.sum(), true.sum())
    scores = {
        "accuracy": accuracy,
        "f1_macro": f1.mean(),
        "f1_micro": accuracy,
        "f1_weighted": _weighted(f1, true),
    }
    if len(labels) == 2:
        scores["f1_binary"] = f1[-1]
    n = true.sum()
    spread = (n * n - guessed @ guessed) * (n * n - true @ true)
    scores["mcc"] = _ratio(hit.sum() * n - guessed @ true, np.sqrt(spread))
    return Scores(_floats(scores), {"class": _rows(counts, labels)})


def token_scores(
    gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme, subwords_per_word: Sequence[Collection[int]]
) -> Scores:
    """All scores of a tagging task: ``entity_scores`` and ``word_scores`` together.

    Args:
        gold: one int sequence a sentence, one tag a word, indexes of ``labels``.
        predicted: same shape.
        labels: names of the tags.
        scheme: how entities are written in ``labels``.
        subwords_per_word: same shape; how many sub-words each word was cut into.

    Raises:
        ValueError: the shapes differ, or an index names no label.
    """
    entity = entity_scores(gold, predicted, labels, scheme)
    word = word_scores(gold, predicted, labels, subwords_per_word)
    return Scores(entity.scores | word.scores, entity.per_class | word.per_class)


def entity_scores(gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme) -> Scores:
    """Strict entity-level scores, from the sum of ``entity_counts``; arguments and errors as there.

    ``entity_f1_macro`` is the mean over the types that occur in gold or in the predictions, as seqeval has it.
    """
    counts = entity_counts(gold, predicted, labels, scheme).sum(axis=0)  # (types, 3)
    f1 = _precision_recall_f1(counts)[2]
    micro = _precision_recall_f1(counts.sum(axis=0))
    occurs = counts.any(axis=1)
    scores = {
        "entity_f1_micro": micro[2],
        "entity_f1_macro": _weighted(f1, occurs),
        "entity_precision_micro": micro[0],
        "entity_recall_micro": micro[1],
    }
    return Scores(_floats(scores), {"entity": _rows(counts, entity_types(labels))})


def word_scores(
    gold: Tags, predicted: Tags, labels: Sequence[str], subwords_per_word: Sequence[Collection[int]]
) -> Scores:
    """Scores of single words and of their sub-words; arguments and errors as for ``token_scores``.

    Names end in ``with_o`` or ``without_o``: averaged over all classes, or over all but O. ``weighted`` averages F1 by
    gold support, ``macro`` does not weigh and counts every class of ``labels``, occurring or not. ``word_accuracy`` is
    the share of words whose class is right. O's row stays in ``per_class`` at both levels.
    """
    gold_tags, predicted_tags, lengths = _flat_pair(gold, predicted, labels)
    subwords, subword_lengths = _flat(subwords_per_word)
    _check_lengths(lengths, subword_lengths, "subwords_per_word")
    classes = list(dict.fromkeys(map(entity_class, labels)))
    class_of = np.array([classes.index(entity_class(tag)) for tag in labels])
    without_o = np.array([name != "O" for name in classes])
    scores: dict[str, Any] = {}
    per_class = {}
    for level, weights in ("word", None), ("subword", subwords):
        counts = _class_counts(class_of[gold_tags], class_of[predicted_tags], len(classes), weights)
        f1 = _precision_recall_f1(counts)[2]
        support = counts[:, 2]
        if level == "word":
            scores["word_accuracy"] = _ratio(counts[:, 0].sum(), support.sum())
        scores |= {
            f"{level}_f1_weighted_with_o": _weighted(f1, support),
            f"{level}_f1_weighted_without_o": _weighted(f1, support * without_o),
            f"{level}_f1_macro_with_o": f1.mean(),
            f"{level}_f1_macro_without_o": _weighted(f1, without_o),
        }
        per_class[level] = _rows(counts, classes)
    return Scores(_floats(scores), per_class)


def entity_counts(gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme) -> Ints:
    """Entities of each sentence, counted: what a bootstrap over sentences resamples.

    - ``IO``: each maximal run of one class is an entity; labels are bare (``PER``) or have ``I-``.
    - ``IOB2``: ``B-`` opens an entity, ``I-`` of the same type continues it. An ``I-`` that continues nothing is no
      entity.
    - ``IOB1``: ``I-`` opens an entity wherever it does not continue one. ``B-`` parts an entity from one of the same
      type right before it. A ``B-`` anywhere else is ill-formed and opens nothing, and a one-word ``B-`` entity right
      before an ill-formed ``B-`` is lost with it: both are seqeval's reading (``mode="strict", scheme=IOB1``).

    Args:
        gold: one int sequence a sentence, one tag a word, indexes of ``labels``.
        predicted: same shape.
        labels: names of the tags.
        scheme: how entities are written in ``labels``.

    Returns:
        (sentences, types, 3): true positives, predicted, gold; types in the order of ``entity_types(labels)``.

    Raises:
        ValueError: the shapes differ, or an index names no label.
    """
    gold_tags, predicted_tags, lengths = _flat_pair(gold, predicted, labels)
    types = len(entity_types(labels))
    sentence = np.repeat(np.arange(len(lengths)), lengths)  # (words,)
    first = np.diff(sentence, prepend=-1) != 0
    gold_end, gold_type = _entities(gold_tags, first, labels, scheme)
    predicted_end, predicted_type = _entities(predicted_tags, first, labels, scheme)
    right = (gold_end == predicted_end) & (gold_type == predicted_type)

    def count(starts: NDArray[np.bool_], kind: Ints) -> Ints:
        cells = sentence[starts] * types + kind[starts]
        return np.bincount(cells, minlength=len(lengths) * types).reshape(len(lengths), types)

    return np.stack(
        [
            count(right & (gold_end > 0), gold_type),
            count(predicted_end > 0, predicted_type),
            count(gold_end > 0, gold_type),
        ],
        axis=-1,
    )


def entity_class(tag: str) -> str:
    """A tag without its prefix: ``PER`` for ``B-PER``, ``I-PER`` and ``PER``; ``O`` for ``O``."""
    return tag[2:] if tag.startswith(("B-", "I-")) else tag


def entity_types(labels: Sequence[str]) -> list[str]:
    """The classes of ``labels`` other than O, in their order."""
    return [name for name in dict.fromkeys(map(entity_class, labels)) if name != "O"]


TRY = "try more epochs, another learning rate, more seeds"
"""Where runs collapsed."""


def collapsed(predicted: ArrayLike, gold: ArrayLike, labels: Sequence[str]) -> str | None:
    """In words, if a single label is predicted throughout while gold holds several; None otherwise.

    Args:
        predicted: indexes of ``labels``, (examples,) or, of all sentences in a row, (words,).
        gold: likewise.
        labels: names of the classes or tags.
    """
    guessed, true = np.unique(np.asarray(predicted)), np.unique(np.asarray(gold))
    if len(guessed) != 1 or len(true) < 2:
        return None
    return f"predicts only '{labels[int(guessed[0])]}' (gold has {len(true)} classes)"


def _entities(tags: Ints, first: NDArray[np.bool_], labels: Sequence[str], scheme: Scheme) -> tuple[Ints, Ints]:
    """Where entities start, where they end, and their types.

    Args:
        tags: (words,), all sentences in a row.
        first: (words,), True at each sentence's first word.
        labels: names of the tags.
        scheme: how entities are written in them.

    Returns:
        (words,), at a word where an entity starts the position after its last word, elsewhere 0; and (words,), each
        word's type, -1 for O.
    """
    types = entity_types(labels)
    type_of = np.array([-1 if tag == "O" else types.index(entity_class(tag)) for tag in labels])
    # IO is IOB1 without a single B-: a run ends where the class changes.
    begin = "" if scheme == "IO" else "B-"
    prefix_of = np.array(
        [_OUTSIDE if tag == "O" else _BEGIN if begin and tag.startswith(begin) else _INSIDE for tag in labels]
    )
    kind, prefix = type_of[tags], prefix_of[tags]
    before = np.where(first, _OUTSIDE, np.roll(prefix, 1))
    same = (before != _OUTSIDE) & (kind == np.roll(kind, 1))  # the word before has the same type
    continues = (prefix == _INSIDE) & same
    lost: NDArray[np.bool_] = np.zeros_like(first)
    if scheme == "IOB2":
        starts = prefix == _BEGIN
    else:
        parts = (prefix == _BEGIN) & same
        # An I- also opens one after a B- of its type that itself opened nothing.
        starts = parts | (prefix == _INSIDE) & (~same | (before == _BEGIN) & ~np.roll(parts, 1))
        ill_formed = (prefix == _BEGIN) & (before == _BEGIN) & ~same
        lost = np.roll(ill_formed, -1)
    end = np.zeros_like(tags)
    opening = np.flatnonzero(starts & ~lost)
    breaks = np.append(np.flatnonzero(~continues), len(tags))
    end[opening] = breaks[np.searchsorted(breaks, opening, side="right")]
    return end, kind


def _flat(sequences: Sequence[Collection[int]]) -> tuple[Ints, Ints]:
    """All sentences in a row (words,), and their lengths (sentences,)."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    return np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths.sum())), lengths


def _flat_pair(gold: Tags, predicted: Tags, labels: Sequence[str]) -> tuple[Ints, Ints, Ints]:
    """Gold and predicted tags in a row (words,), and the sentences' lengths."""
    gold_tags, lengths = _flat(gold)
    predicted_tags, predicted_lengths = _flat(predicted)
    _check_lengths(lengths, predicted_lengths, "predicted")
    _check_range(gold_tags, predicted_tags, len(labels))
    return gold_tags, predicted_tags, lengths


def _check_lengths(gold: Ints, other: Ints, name: str) -> None:
    if len(gold) != len(other):
        raise ValueError(f"gold has {len(gold)} sentences, {name} {len(other)}")
    if (gold != other).any():
        at = int(np.flatnonzero(gold != other)[0])
        raise ValueError(f"sentence {at} (from 0) has {gold[at]} words in gold, {other[at]} in {name}")


def _check_range(gold: Ints, predicted: Ints, labels: int) -> None:
    for name, values in ("gold", gold), ("predicted", predicted):
        wrong = np.flatnonzero((values < 0) | (values >= labels))
        if len(wrong):
            raise ValueError(f"{name} holds {values[wrong[0]]}, which is no index of {labels} labels")


def _class_counts(gold: Ints, predicted: Ints, classes: int, weights: Ints | None = None) -> Ints:
    """(classes, 3): true positives, predicted, gold, each item counted ``weights`` times."""
    cells = np.bincount(gold * classes + predicted, weights, minlength=classes * classes)
    confusion = cells.astype(np.int64).reshape(classes, classes)  # rows gold, columns predicted
    return np.stack([confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)], axis=-1)


def _precision_recall_f1(counts: Ints) -> tuple[Floats, Floats, Floats]:
    """From (…, 3) true positives, predicted, gold: three arrays (…)."""
    hit, guessed, true = np.moveaxis(counts, -1, 0)
    return _ratio(hit, guessed), _ratio(hit, true), _ratio(2 * hit, guessed + true)


def _ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Elementwise quotient; 0.0 where the denominator is zero."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient: Floats = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient


def _weighted(values: Floats, weights: ArrayLike) -> Floats:
    """Mean of (classes,) by (classes,) weights; 0.0 if all of them are zero."""
    weights = np.asarray(weights, np.float64)
    return _ratio(values @ weights, weights.sum())


def _rows(counts: Ints, names: Sequence[str]) -> dict[str, ClassScores]:
    return {
        name: ClassScores(precision=p, recall=r, f1=f, support=n)
        for name, p, r, f, n in zip(names, *_precision_recall_f1(counts), counts[:, 2], strict=True)
    }


def _floats(scores: dict[str, Any]) -> dict[str, float]:
    """Python's own floats, which JSON can write."""
    return {name: float(value) for name, value in scores.items()}
