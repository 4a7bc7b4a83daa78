"""Kind ``tokens``: one tag for each word of a sentence, scored at three levels.

The levels answer different questions (for one published model on WikiNER, "98" is the weighted sub-word F1 with O,
"92" the same without O, and neither is the entity-level F1):

- ``entity``: an entity counts if its first word, its last word and its type are right, as seqeval's ``mode="strict"``.
- ``word``: each word's class counts. Classes have no prefix: B-PER and I-PER are PER.
- ``subword``: as ``word``, each word counted once for every sub-word it is cut into.

scikit-learn and seqeval are the tests' oracles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from flue_bench.errors import quoted
from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores
from flue_bench.kinds.kind import Columns, Declared, Kind, Texts, lists
from flue_bench.kinds.own_head import Reading, meaning, read_labels, read_tags, written
from flue_bench.kinds.rows import Row, Skipped
from flue_bench.kinds.sentence import MEAN, improbable
from flue_bench.record import NoTraining, RunRecord
from flue_bench.task import AS_IOB2, Example, Scheme, Split

if TYPE_CHECKING:
    import pyarrow

Tags = Sequence[Collection[int]]
"""One int sequence per sentence, one tag per word: indexes of the task's labels."""

ENTITY_METRICS = {
    "entity_f1_micro": Metric(
        counts.micro_f1,
        "entity",
        "f1",
        "F1 of all entities; one counts if its borders and its type are right (seqeval, strict)",
    ),
    "entity_f1_macro": Metric(
        counts.macro_f1_of_occurring,
        "entity",
        "f1",
        "the mean over the types of each one's strict entity-level F1",
    ),
    "entity_precision_micro": Metric(
        counts.micro_precision, "entity", "precision", "share of the predicted entities that are right"
    ),
    "entity_recall_micro": Metric(counts.micro_recall, "entity", "recall", "share of the gold entities that are found"),
}

_OUTSIDE, _INSIDE, _BEGIN = 0, 1, 2


class Tokens(Kind[Example]):
    """A tagging of words: entities, with O for words outside any; or, without a scheme, one class a word (POS).

    ``entity_f1_macro`` is the mean over the types that occur in gold or in the predictions, as in seqeval. Scores
    of words and sub-words end in ``with_o`` or ``without_o``: averaged over all classes, or over all but O.
    ``weighted`` averages F1 by gold support; ``macro`` is unweighted and counts every class, occurring or not. Where
    there is no label O, names end in ``macro`` and ``weighted``, and ``macro`` is over the classes that occur in gold
    or in the predictions, as scikit-learn's: few treebanks have an interjection in every split. There are no entities
    without a scheme.
    """

    name = "tokens"
    network = "flue_bench.kinds.network.tokens:TOKENS"
    hub_task = "token-classification"
    needs = ("words", "tags")
    conll = ("words", "tags")
    scored = ("gold", "predicted", "subwords")
    levels: Mapping[str, str] = {"entity": "Entities", "word": "Words"}
    absent = ""

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return the metrics of every level, each averaging under its own name."""
        if task is None:
            return ENTITY_METRICS | word_metrics(("O",)) | word_metrics(())
        return (ENTITY_METRICS if task.scheme else {}) | word_metrics(task.labels)

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless labels and scheme fit each other; entities need a scheme and the label O."""
        if len(task.labels) < 2:
            yield "labels", "kind 'tokens' needs at least two"
        elif task.scheme is None:
            if task.metric in ENTITY_METRICS:
                yield "scheme", f"'{task.metric}' counts entities: say how 'labels' encode them, {_SCHEMES}"
            elif prefixed := [tag for tag in task.labels if _PREFIX.match(tag)]:
                yield "scheme", f"'{prefixed[0]}' is part of an entity: say how 'labels' encode entities, {_SCHEMES}"
        elif "O" not in task.labels:
            yield "labels", "entities need the label 'O'; a tagging without entities (POS) has no 'scheme'"
        elif fault := label_fault(task.labels, task.scheme):
            yield "labels", fault

    def describe(self, task: Declared) -> str:
        """Return the kind with the scheme."""
        return f"{self.name}, tags in {task.scheme}" if task.scheme else f"{self.name}, one class a word"

    def example(self, row: Row) -> Example:
        """Return the example of a row; equal sentences share a group."""
        words, given = row.texts("words"), row.items("tags")
        if len(words) != len(given):
            raise ValueError(f"{len(words)} words but {len(given)} tags")
        tags = tuple(row.labels(tag) for tag in given)
        if row.labels.scheme:
            check_closed(given, row.labels.scheme)
        if not words:
            raise Skipped("sentences without words")
        return Example(row.id, row.group(" ".join(words)), words=words, tags=tags)

    def gold(self, example: Example) -> tuple[int, ...]:
        """Return the tags' indexes."""
        return example.tags

    def shown(self, example: Example, task: Declared) -> str:
        """Return the tags' names."""
        return " ".join(task.labels[tag] for tag in example.tags)

    def balance(self, examples: Sequence[Example], task: Declared) -> dict[str, int]:
        """Return the number of words of each tag."""
        counted = Counter(tag for example in examples for tag in example.tags)
        return {name: counted[index] for index, name in enumerate(task.labels)}

    def texts(self, example: Example) -> Texts:
        """Return the words, joined by blanks."""
        return (" ".join(example.words),)

    def same_input(self, example: Example, in_words: Texts) -> tuple[str, ...]:
        """Return the words as they are, since capitals decide about names."""
        return example.words

    def length(self, example: Example, in_words: Texts) -> int:
        """Return the number of words."""
        return len(example.words)

    def remarks(self, splits: Mapping[Split, Sequence[Example]], task: Declared) -> Iterator[str]:
        """Yield a hint for each split with tags that the scheme does not allow; more than another's are an error."""
        yield from super().remarks(splits, task)
        for split, examples in splits.items():
            yield from _of_words(split, examples)
        if task.scheme in (None, "IO"):
            return
        of_scheme: Scheme = "IOB2" if task.scheme == "IOB2" else "IOB1"
        for split, examples in splits.items():
            by_scheme = misfits([example.tags for example in examples], task.labels)
            wrong, other = by_scheme[of_scheme], by_scheme["IOB1" if of_scheme == "IOB2" else "IOB2"]
            if not wrong.count:
                continue
            said = f"{split}: scheme {task.scheme}, but {wrong.count:,} of {wrong.of:,} entities {wrong.what}"
            if other.count < wrong.count:
                fits = f"all but {other.count:,}" if other.count else "all"
                raise ValueError(f'{said}; {other.scheme} fits {fits}. Say `scheme = "{other.scheme}"`')
            yield f"{said}: they count as none"

    def unscorable(self, split: Split, splits: Mapping[Split, Sequence[Example]], task: Declared) -> str | None:
        """Return that no entity-level score exists where entities are counted and there is none."""
        tags = [example.tags for example in splits[split]]
        if task.scheme is None or entity_counts(tags, tags, task.labels, task.scheme)[..., 2].any():
            return None
        return (
            f"none of {sum(map(len, tags)):,} words is part of an entity, and no entity-level score exists without "
            "one (a tagging without entities, such as parts of speech, has no 'scheme')"
        )

    def schema(self) -> dict[str, Any]:
        """Return the columns of ``Sentence`` as lists over words, and sub-word counts (ids would spell the words)."""
        import pyarrow

        labels, probabilities = pyarrow.list_(pyarrow.int16()), pyarrow.list_(pyarrow.list_(pyarrow.float32()))
        subwords = pyarrow.list_(pyarrow.int32())
        return {"gold": labels, "predicted": labels, "probabilities": probabilities, "subwords": subwords}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints:
        """Return true positives, predicted and gold entities, words or sub-words: (clusters, types or classes, 3)."""
        tagging = _tagging(lists(table["gold"]), lists(table["predicted"]), task.labels)
        if level == "entity":
            return _entities_counted(tagging, task.labels, _scheme(task), cluster)
        weights = _alongside(tagging, lists(table["subwords"])) if level == "subword" else None
        return _words_counted(tagging, task.labels, cluster, weights)

    def classes(self, task: Declared) -> Mapping[str, Sequence[str]]:
        """Return the types of entities, and the classes of words and sub-words, O included."""
        classes = word_classes(task.labels)
        entity = {"entity": entity_types(task.labels)} if task.scheme else {}
        return entity | {"word": classes, "subword": classes}

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return the number of wrong tags in each sentence."""
        tagging = _tagging(lists(table["gold"]), lists(table["predicted"]), task.labels)
        wrong = tagging.gold != tagging.predicted
        return np.bincount(tagging.sentence, wrong, len(tagging.lengths)).astype(np.float64)

    def apart(self, one: pyarrow.Table, other: pyarrow.Table, task: Declared) -> Floats:
        """Return the number of words of each sentence that two models tag differently."""
        (ours, lengths), (theirs, same) = (lists(table["predicted"]) for table in (one, other))
        _check_lengths(lengths, same, "predicted")
        return np.bincount(np.repeat(np.arange(len(lengths)), lengths), ours != theirs, len(lengths)).astype(np.float64)

    def answers(self, row: Mapping[str, Any], task: Declared, example: Example | None = None) -> tuple[Texts, Texts]:
        """Return the entities with the numbers of their words, from 0; without a scheme, each word with its class."""
        words = example.words if example else None
        gold, predicted = (_parts(row[name], task, words) for name in ("gold", "predicted"))
        return gold, predicted

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if one tag is predicted throughout."""
        predicted = lists(table["predicted"])[0]
        return counts.collapsed(lists(table["gold"])[0], predicted[predicted != UNSEEN], task.labels)

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield contradictions as ``Sentence`` does; an unseen word has no probabilities and counts as lost."""
        nested = list(chain.from_iterable(table["probabilities"].to_pylist()))
        predicted, seen = lists(table["predicted"])[0], lists(table["subwords"])[0] > 0
        probabilities = np.array(nested, np.float64).reshape(len(predicted), -1)  # (words, labels)
        unseen = predicted[~seen]
        if (unseen != of_unseen(record.labels)).any() or probabilities[~seen].any():
            instead = "O" if "O" in record.labels else f"{UNSEEN}, which is no class"
            yield f"probabilities: a word without sub-words has some, or is not predicted {instead}"
        if len(unseen) != (lost := record.truncation.words.get(record.cell.split, 0)):
            yield f"truncation: {lost:,} {record.cell.split} words lost, the predictions say {len(unseen):,}"
        if (how := record.cell.untrained) is None:
            yield from improbable(probabilities[seen], predicted[seen], len(record.labels))
            return
        faults = list(improbable(probabilities[seen], None, len(how.answers)))
        yield from faults
        if faults:
            return
        lengths = lists(table["predicted"])[1]
        largest = probabilities == probabilities.max(-1, keepdims=True, initial=0)
        again = self._translated(probabilities.argmax(-1), lengths, seen, record, how)
        # Rounding may have made the largest a tie, and a border depends on the word before it.
        sure = ~np.isin(np.repeat(np.arange(len(lengths)), lengths), _sentences(largest.sum(-1) > 1, lengths, seen))
        if wrong := int((again != predicted)[sure].sum()):
            yield f"predicted: {wrong:,} of {len(predicted):,} words are not what the most probable tags mean"

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return what the tags of a head mean, by class where they are of entities, and how they are converted."""
        if task.scheme is None:
            return read_labels(theirs, task, given)
        return read_tags(theirs, word_classes(task.labels), task.scheme, given)

    def translated(self, columns: Columns, task: Declared, how: NoTraining) -> Columns:
        """Return the tags of the head as the task writes them."""
        tags, lengths = _flat(columns["predicted"])
        seen = _flat(columns["subwords"])[0] > 0
        words = self._translated(tags, lengths, seen, task, how)
        return {**columns, "predicted": np.split(words, np.cumsum(lengths)[:-1])}

    def _translated(self, tags: Ints, lengths: Ints, seen: NDArray[np.bool_], task: Declared, how: NoTraining) -> Ints:
        """Return tags of the head as tags of the task, (words,); ``of_unseen`` for a word that the model never saw."""
        if task.scheme is None or how.scheme is None:
            words = meaning(how.answers, task.labels)[np.where(seen, tags, 0)]
        else:
            first = np.zeros(len(tags), bool)
            first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
            words = written(tags, first, seen, how.answers, how.scheme, task.labels, task.scheme)
        return np.where(seen, words, of_unseen(task.labels))

    def confusion(self, table: pyarrow.Table, task: Declared) -> tuple[Sequence[str], Ints]:
        """Return the classes of words and the counts by class."""
        tagging = _tagging(lists(table["gold"]), lists(table["predicted"]), task.labels)
        names, class_of = word_classes(task.labels), _class_of(task.labels)
        seen = tagging.predicted != UNSEEN
        return names, counts.confusion(class_of[tagging.gold[seen]], class_of[tagging.predicted[seen]], len(names))


TOKENS = Tokens()


def _sentences(words: NDArray[np.bool_], lengths: Ints, seen: NDArray[np.bool_]) -> Ints:
    """Return the numbers of the sentences that have one of these words, if the model saw it."""
    return np.unique(np.repeat(np.arange(len(lengths)), lengths)[words & seen])


def _of_words(split: str, examples: Sequence[Example]) -> Iterator[str]:
    """Yield hints on words that are probably none; raise ``ValueError`` where they certainly are none."""
    several = [example.words for example in examples if len(example.words) > 1]
    if several and all(words in (_numbers(0, len(words)), _numbers(1, len(words))) for words in several):
        raise ValueError(f"{split}: the words are their own numbers, {', '.join(several[0][:3])}: name another column")
    words = [word for example in examples for word in example.words]
    if (left_out := words.count("_")) > len(words) / 2:
        raise ValueError(f"{split}: {left_out:,} of {len(words):,} words are '_': the corpus comes without its text")
    if len(examples) > 1 and not several:
        yield f"{split}: each of {len(examples):,} sentences is a single word: are there blank lines between words?"
    elif len(words) > 20 and all(len(word) < 2 for word in words):
        yield f"{split}: all words are single characters: is the file tagged by characters?"


def _numbers(first: int, count: int) -> tuple[str, ...]:
    return tuple(map(str, range(first, first + count)))


UNSEEN = -1
"""What is predicted for a word that the model never saw, where no label is O."""
_SCHEMES = "IO, IOB1, IOB2 (also called BIO), BILOU or IOBES"
_PREFIX = re.compile("[BILUES]-.")


def of_unseen(labels: Sequence[str]) -> int:
    """Return what counts as predicted for a word that the model never saw: O, or else ``UNSEEN``, which is wrong."""
    return labels.index("O") if "O" in labels else UNSEEN


def known_scheme(scheme: str) -> Scheme:
    """Return a scheme by which entities are counted; raise ``ValueError`` for any other name."""
    for known in get_args(Scheme):
        if scheme == known:
            return cast(Scheme, known)
    raise ValueError(f"entities are counted in IO, IOB1 or IOB2 (also called BIO), not in {quoted(scheme)}")


def label_fault(labels: Sequence[str], scheme: str) -> str:
    """Return which labels a scheme does not have, and which schemes fit all of them; empty where it has them."""
    if bare := [tag for tag in labels if tag in ("B", "I", "L", "U", "E", "S")]:
        return f"'{bare[0]}' has no type: call it '{bare[0]}-X', where X is the type, and say so in 'label_names'"
    prefixes = {tag: tag[:2] if _PREFIX.match(tag) else "" for tag in labels if tag != "O"}
    used = set(prefixes.values())
    if used <= _PREFIXES[scheme]:
        return ""
    fitting = [known for known in ("IO", "IOB2", "IOB1") if used <= _PREFIXES[known]]
    fitting = fitting or [known for known in AS_IOB2 if used <= _PREFIXES[known]]
    wrong = [tag for tag, prefix in prefixes.items() if prefix not in _PREFIXES[scheme]]
    advice = f": they would be {' or '.join(fitting)}" if fitting else ""
    if wrong and not any(prefixes[tag] for tag in wrong):
        written = [f"'{prefix}{tag}'" for tag in wrong[:2] for prefix in sorted(_PREFIXES[scheme])]
        advice = f": write {', '.join(written)}{', …' if len(wrong) > 2 else ''}"
        advice += ", or scheme IO if the data have them as they are" if "IO" in fitting else ""
    return f"scheme {scheme} has no tags such as {', '.join(wrong[:4])}{advice}"


_PREFIXES = {"IO": {"", "I-"}, "IOB2": {"B-", "I-"}, "IOB1": {"B-", "I-"}}
_PREFIXES |= {scheme: {"B-", "I-", *more} for scheme, more in AS_IOB2.items()}


def check_closed(tags: Sequence[Any], scheme: str) -> None:
    """Raise ``ValueError`` unless the tags of a sentence open and close their entities as BILOU or IOBES has it."""
    last, alone = AS_IOB2[scheme]
    inside = False
    for before, tag in pairwise(["O", *map(str, tags), "O"]):
        if inside != (tag[:2] in ("I-", last)) or (inside and before[2:] != tag[2:]):
            raise ValueError(
                f"'{tag}' follows '{before}', which scheme {scheme} excludes: B- opens an entity, I- and then {last} "
                f"of its type end it, {alone} is one of one word"
            )
        inside = tag[:2] in ("B-", "I-")


@dataclass(frozen=True)
class Misfits:
    """How often tags are not as a scheme has them."""

    scheme: Scheme
    count: int
    of: int
    """The number of entities, each of which opens at a B-, or at an I- that continues nothing."""
    what: str
    """What is wrong with them, in words."""


def misfits(tags: Tags, labels: Sequence[str]) -> dict[Scheme, Misfits]:
    """Return what does not fit IOB2, and what does not fit IOB1, in sentences of tags with B- and I-."""
    words, lengths = _flat(tags)
    first = np.zeros(len(words), bool)
    first[np.append(0, lengths.cumsum()[:-1])[lengths > 0]] = True
    types = entity_types(labels)
    type_of = np.array([-1 if tag == "O" else types.index(entity_class(tag)) for tag in labels])
    begins, type_ = np.array([tag.startswith("B-") for tag in labels])[words], type_of[words]
    alone = (type_ >= 0) & (first | (type_ != np.roll(type_, 1)))
    entities = int((begins | alone).sum())
    return {
        "IOB2": Misfits("IOB2", int((alone & ~begins).sum()), entities, "begin with I-"),
        "IOB1": Misfits("IOB1", int((alone & begins).sum()), entities, "begin with B- after none of their type"),
    }


def word_metrics(labels: Sequence[str]) -> dict[str, Metric]:
    """Return the metrics of words and of sub-words with these tags; with and without O where there is O."""
    if "O" not in labels:
        return _metrics_without_o()
    every = np.ones(len(word_classes(labels)), bool)
    without_o = np.array([name != "O" for name in word_classes(labels)])
    metrics = {"word_accuracy": WORD_ACCURACY}
    for level in ("word", "subword"):
        averages: list[tuple[str, str, Callable[[Floats], Floats], str]] = [
            ("weighted", "with", partial(counts.weighted_f1, chosen=every), "weighted by support"),
            ("weighted", "without", partial(counts.weighted_f1, chosen=without_o), "weighted by support"),
            ("macro", "with", counts.macro_f1, "unweighted"),
            ("macro", "without", partial(counts.macro_f1, chosen=without_o), "unweighted"),
        ]
        for average, o, formula, weight in averages:
            what = f"{level}-level: {MEAN}, {weight}, {o} O"
            metrics[f"{level}_f1_{average}_{o}_o"] = Metric(formula, level, "f1", what)
    return metrics


WORD_ACCURACY = Metric(counts.accuracy, "word", "accuracy", "share of the words whose class is right")


def _metrics_without_o() -> dict[str, Metric]:
    """Return the metrics where every word has a class of its own, such as its part of speech."""
    metrics = {"word_accuracy": WORD_ACCURACY}
    for level in ("word", "subword"):
        occurring = f"{level}-level: {MEAN} that occurs in gold or in the predictions, unweighted"
        weighted = f"{level}-level: {MEAN}, weighted by support"
        metrics[f"{level}_f1_macro"] = Metric(counts.macro_f1_of_occurring, level, "f1", occurring)
        metrics[f"{level}_f1_weighted"] = Metric(counts.weighted_f1, level, "f1", weighted)
    return metrics


def token_scores(
    gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme, subwords_per_word: Sequence[Collection[int]]
) -> Scores:
    """Return all scores of a tagging: ``entity_scores`` and ``word_scores`` together.

    Args:
        gold: one int sequence per sentence, one tag per word, indexes of ``labels``.
        predicted: same shape.
        labels: names of the tags.
        scheme: the scheme by which ``labels`` encode entities.
        subwords_per_word: same shape; the number of sub-words of each word.

    Raises:
        ValueError: the shapes differ, or an index names no label.
    """
    entity = entity_scores(gold, predicted, labels, scheme)
    word = word_scores(gold, predicted, labels, subwords_per_word)
    return Scores(entity.scores | word.scores, entity.per_class | word.per_class)


def entity_scores(gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme) -> Scores:
    """Return the strict entity-level scores, from the sum of ``entity_counts``; arguments and errors as there."""
    total = entity_counts(gold, predicted, labels, scheme).sum(axis=0)
    return counts.scored(ENTITY_METRICS, {"entity": total}, {"entity": entity_types(labels)})


def word_scores(
    gold: Tags, predicted: Tags, labels: Sequence[str], subwords_per_word: Sequence[Collection[int]]
) -> Scores:
    """Return the scores of single words and of their sub-words; arguments and errors as for ``token_scores``.

    ``word_accuracy`` is the share of words whose class is right. O's row stays in ``per_class`` at both levels.
    """
    tagging = _tagging(_flat(gold), _flat(predicted), labels)
    weights = _alongside(tagging, _flat(subwords_per_word))
    together = np.zeros(len(tagging.lengths), np.int64)
    totals = {
        "word": _words_counted(tagging, labels, together, None)[0],
        "subword": _words_counted(tagging, labels, together, weights)[0],
    }
    return counts.scored(word_metrics(labels), totals, dict.fromkeys(totals, word_classes(labels)))


def entity_counts(gold: Tags, predicted: Tags, labels: Sequence[str], scheme: Scheme) -> Ints:
    """Count the entities of each sentence.

    - ``IO``: each maximal run of one class is an entity; labels are bare (``PER``) or have ``I-``.
    - ``IOB2``: ``B-`` opens an entity, ``I-`` of the same type continues it. An ``I-`` that continues nothing is not
      an entity.
    - ``IOB1``: ``I-`` opens an entity wherever it does not continue one. ``B-`` separates an entity from one of the
      same type right before it. A ``B-`` anywhere else is ill-formed and opens nothing, and a one-word ``B-`` entity
      right before an ill-formed ``B-`` is lost with it: both as in seqeval (``mode="strict", scheme=IOB1``).

    Args:
        gold: one int sequence per sentence, one tag per word, indexes of ``labels``.
        predicted: same shape.
        labels: names of the tags.
        scheme: the scheme by which ``labels`` encode entities.

    Returns:
        (sentences, types, 3): true positives, predicted, gold; types in the order of ``entity_types(labels)``.

    Raises:
        ValueError: the shapes differ, an index names no label, or there is no such scheme.
    """
    known_scheme(scheme)
    tagging = _tagging(_flat(gold), _flat(predicted), labels)
    return _entities_counted(tagging, labels, scheme, np.arange(len(tagging.lengths)))


def entity_class(tag: str) -> str:
    """Return a tag without its prefix: ``PER`` for ``B-PER``, ``I-PER`` and ``PER``; ``O`` for ``O``."""
    return tag[2:] if tag.startswith(("B-", "I-")) else tag


def entity_types(labels: Sequence[str]) -> list[str]:
    """Return the classes of ``labels`` other than O, in their order."""
    return [name for name in word_classes(labels) if name != "O"]


def word_classes(labels: Sequence[str]) -> list[str]:
    """Return the classes of ``labels``, O included, in their order."""
    return list(dict.fromkeys(map(entity_class, labels)))


@dataclass(frozen=True)
class _Tagging:
    """Gold and predicted tags of all sentences, concatenated, (words,) each, and the sentences' lengths."""

    gold: Ints
    predicted: Ints
    lengths: Ints

    @property
    def sentence(self) -> Ints:
        """The number of the sentence that each word is in, (words,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def _tagging(gold: tuple[Ints, Ints], predicted: tuple[Ints, Ints], labels: Sequence[str]) -> _Tagging:
    """Check and combine the concatenated tags and the lengths of both sides."""
    _check_lengths(gold[1], predicted[1], "predicted")
    counts.check_range(gold[0], np.where(predicted[0] == of_unseen(labels), 0, predicted[0]), len(labels))
    return _Tagging(gold[0], predicted[0], gold[1])


def _alongside(tagging: _Tagging, subwords: tuple[Ints, Ints]) -> Ints:
    """Return the number of sub-words of each word, (words,), checked against the tags."""
    _check_lengths(tagging.lengths, subwords[1], "subwords_per_word")
    return subwords[0]


def _scheme(task: Declared) -> Scheme:
    if task.scheme is None:
        raise ValueError("kind 'tokens' needs a scheme")
    return task.scheme


def _class_of(labels: Sequence[str]) -> Ints:
    """Return the number of each tag's class, (labels,)."""
    classes = word_classes(labels)
    return np.array([classes.index(entity_class(tag)) for tag in labels], np.int64)


def _words_counted(tagging: _Tagging, labels: Sequence[str], cluster: Ints, weights: Ints | None) -> Ints:
    """Count words, each ``weights`` times: (clusters, classes, 3); ``cluster`` is one number per sentence."""
    classes = len(word_classes(labels))
    class_of = np.append(_class_of(labels), classes)  # the last is what ``UNSEEN`` finds: a class of its own
    return counts.class_counts(
        class_of[tagging.gold],
        class_of[tagging.predicted],
        classes + 1,
        np.repeat(cluster, tagging.lengths),
        int(cluster.max(initial=0)) + 1,
        weights,
    )[:, :classes]


def _entities_counted(tagging: _Tagging, labels: Sequence[str], scheme: Scheme, cluster: Ints) -> Ints:
    """Count entities: (clusters, types, 3); ``cluster`` is one number per sentence."""
    types, clusters = len(entity_types(labels)), int(cluster.max(initial=-1)) + 1
    first = np.diff(tagging.sentence, prepend=-1) != 0
    of_word = np.repeat(cluster, tagging.lengths)
    gold_end, gold_type = _entities(tagging.gold, first, labels, scheme)
    predicted_end, predicted_type = _entities(tagging.predicted, first, labels, scheme)
    right = (gold_end == predicted_end) & (gold_type == predicted_type)

    def count(starts: NDArray[np.bool_], type_: Ints) -> Ints:
        cells = of_word[starts] * types + type_[starts]
        return np.bincount(cells, minlength=clusters * types).reshape(clusters, types)

    return np.stack(
        [
            count(right & (gold_end > 0), gold_type),
            count(predicted_end > 0, predicted_type),
            count(gold_end > 0, gold_type),
        ],
        axis=-1,
    )


def _entities(tags: Ints, first: NDArray[np.bool_], labels: Sequence[str], scheme: Scheme) -> tuple[Ints, Ints]:
    """Find where entities start, where they end, and their types.

    Args:
        tags: (words,), all sentences concatenated.
        first: (words,), True at each sentence's first word.
        labels: names of the tags.
        scheme: the scheme by which they encode entities.

    Returns:
        (words,), the position after an entity's last word where one starts, 0 elsewhere; and (words,), each word's
        type, -1 for O.
    """
    types = entity_types(labels)
    type_of = np.array([-1 if tag == "O" else types.index(entity_class(tag)) for tag in labels])
    # IO is IOB1 without a single B-: a run ends where the class changes.
    begin = "" if scheme == "IO" else "B-"
    prefix_of = np.array(
        [_OUTSIDE if tag == "O" else _BEGIN if begin and tag.startswith(begin) else _INSIDE for tag in labels]
    )
    type_, prefix = type_of[tags], prefix_of[tags]
    before = np.where(first, _OUTSIDE, np.roll(prefix, 1))
    same = (before != _OUTSIDE) & (type_ == np.roll(type_, 1))  # the word before has the same type
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
    return end, type_


def _parts(tags: Sequence[int], task: Declared, words: Sequence[str] | None) -> Texts:
    """Return the entities of a sentence, or its words, in words: ``3-4 PER``, or ``3-4 «Victor Hugo» PER``."""
    if task.scheme is None:
        spans = [(n, n + 1, "no class" if tag == UNSEEN else task.labels[tag]) for n, tag in enumerate(tags)]
    else:
        first = np.arange(len(tags)) == 0
        ends, types = _entities(np.asarray(tags, np.int64), first, task.labels, task.scheme)
        names = entity_types(task.labels)
        spans = [(start, int(ends[start]), names[types[start]]) for start in np.flatnonzero(ends).tolist()]
    said = []
    for start, end, name in spans:
        quote = f" «{' '.join(words[start:end])}»" if words else ""
        said.append(f"{start}{f'-{end - 1}' if end > start + 1 else ''}{quote} {name}")
    return tuple(said)


def _flat(sequences: Sequence[Collection[int]]) -> tuple[Ints, Ints]:
    """Concatenate all sentences (words,); return their lengths (sentences,) too."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    return np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths.sum())), lengths


def _check_lengths(gold: Ints, other: Ints, name: str) -> None:
    if len(gold) != len(other):
        raise ValueError(f"gold has {len(gold)} sentences, {name} {len(other)}")
    if (gold != other).any():
        at = int(np.flatnonzero(gold != other)[0])
        raise ValueError(f"sentence {at} (from 0) has {gold[at]} words in gold, {other[at]} in {name}")
