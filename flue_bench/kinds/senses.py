"""Kind ``senses``: which sense of its lemma a word has in a sentence, by the nearest sense vector of a frozen encoder.

The method is that of Segonne, Candito and Crabbé (2019), as FLUE's own scripts have it (getalp/Flaubert,
``flue/wsd/verbs``): the vector of a sense is the mean over its occurrences in train, and an occurrence has the sense of
its lemma whose vector is nearest by cosine. Nothing is trained, and an occurrence of a lemma that train lacks has no
answer. F1 is theirs: the harmonic mean of the share of the answers that are right and of the share of the occurrences
that are answered right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flue_bench.errors import quoted
from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores
from flue_bench.kinds.kind import Declared, Kind, Texts
from flue_bench.kinds.rows import Row, digest, text
from flue_bench.record import RunRecord
from flue_bench.task import Example, Split

if TYPE_CHECKING:
    import pyarrow

Vector = npt.NDArray[np.float32]
METHOD = "nearest sense"
"""What a record without training calls it (``NoTraining.method``)."""
POOLING = ("mean", "first", "last")
"""How the vector of a word follows from those of its sub-words."""
LAST = -1
"""The layer of FLUE's scripts."""
DEEPEST = 1000
"""More layers than any model has."""

METRICS = {
    "f1_micro": Metric(
        counts.micro_f1, "sense", "f1", "F1 of all answers, a lemma that train lacks having none (FLUE's f-score)"
    ),
    "precision_micro": Metric(counts.micro_precision, "sense", "precision", "share of the answers that are right"),
    "accuracy": Metric(
        counts.micro_recall,
        "sense",
        "accuracy",
        "share of the occurrences whose sense is right; one without an answer is wrong",
        of_examples=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Occurrence(Example):
    """A word of a sentence (``words``) whose sense is asked for."""

    target: int = 0
    """Its position, from 0."""
    lemma: str = ""
    senses: tuple[str, ...] = ()
    """The right ones. In train it is an occurrence of the first, as in FLUE's scripts."""


class Senses(Kind[Occurrence]):
    """A choice among the senses of a word's lemma. Senses are names, as many as the data have: the task lists none."""

    name = "senses"
    network = "flue_bench.kinds.network.senses:SENSES_NETWORK"
    hub_task = "token-classification"
    needs = ("words", "target", "lemma", "senses")
    options = ("layer", "pooling")
    frozen = METHOD

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return F1, precision and accuracy."""
        return METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless layer and pooling are such, and there are neither labels nor a scheme."""
        if task.labels:
            yield "labels", "kind 'senses' has none: senses are named in the data"
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"
        try:
            self.settings(task, {})
        except ValueError as error:
            yield "options", str(error)

    def describe(self, task: Declared) -> str:
        """Return the kind with layer and pooling."""
        return f"{self.name}, {self.called(self.settings(task, {}))}"

    def settings(self, task: Declared, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return layer and pooling: what is given, else the task's, else the last layer and the mean of sub-words.

        Raises:
            ValueError: one of them is none, or something else is given.
        """
        if unknown := sorted(given.keys() - {*self.options}):
            raise ValueError(f"'{unknown[0]}' is no setting of kind 'senses', which has {' and '.join(self.options)}")
        said = {"layer": LAST, "pooling": POOLING[0]} | dict(task.options) | dict(given)
        layer = said["layer"]
        if isinstance(layer, str) and layer.removeprefix("-").isdecimal():
            layer = int(layer)
        if type(layer) is not int or abs(layer) > DEEPEST:
            raise ValueError(f"'layer' is a whole number, -1 the last and 0 the embeddings, not {quoted(layer)}")
        if said["pooling"] not in POOLING:
            raise ValueError(f"'pooling' is one of {', '.join(POOLING)}, not {quoted(said['pooling'])}")
        return {"layer": layer, "pooling": said["pooling"]}

    def called(self, settings: Mapping[str, Any]) -> str:
        """Return method and settings as a board's row is called by them."""
        layer, pooling = settings["layer"], settings["pooling"]
        return f"{METHOD}, {'last layer' if layer == LAST else f'layer {layer}'}, {pooling}"

    def example(self, row: Row) -> Occurrence:
        """Return the example of a row; occurrences in equal sentences share a group."""
        words, place, given = row.texts("words"), row.number("target"), row.values["senses"]
        if not (place.is_integer() and 0 <= place < len(words)):
            raise ValueError(f"'target' is {place:g}, and the sentence has {len(words)} words, from 0")
        target, lemma = int(place), row.text("lemma")
        if not lemma.strip() or not words[target].strip():
            raise ValueError("the lemma is empty" if not lemma.strip() else f"the word {target} (from 0) is empty")
        if isinstance(given, str) and given.lstrip()[:2] in ('["', "['", "[]"):
            given = row.items("senses")  # a list in a cell of text
        several = list(given) if isinstance(given, list | tuple) else [given]
        senses = tuple(text(sense, "senses") for sense in several)
        if not senses or not all(sense.strip() for sense in senses):
            raise ValueError('the sense is empty (`drop_if` with "" leaves such rows out)')
        if len({*senses}) < len(senses):
            raise ValueError(f"the column for 'senses' holds {quoted(Counter(senses).most_common(1)[0][0])} twice")
        return Occurrence(row.id, row.group(" ".join(words)), words=words, target=target, lemma=lemma, senses=senses)

    def gold(self, example: Occurrence) -> tuple[str, ...]:
        """Return the names of the right senses."""
        return example.senses

    def shown(self, example: Occurrence, task: Declared) -> str:
        """Return the word, its lemma, and the right senses."""
        place = f"{example.words[example.target]} (word {example.target}, from 0; {example.lemma})"
        return f"{place}: {' or '.join(example.senses)}"

    def cluster(self, example: Occurrence) -> str:
        """Return a hash of the lemma: all its occurrences are answered by the same vectors of senses."""
        return digest(example.lemma)

    def stratum(self, example: Occurrence) -> tuple[str, str]:
        """Return the sense, so that a split that is cut from train leaves an occurrence of each there."""
        return example.lemma, example.senses[0]

    def balance(self, examples: Sequence[Occurrence], task: Declared) -> dict[str, int]:
        """Return the number of occurrences whose lemma has so many senses here."""
        senses = _inventory(examples)
        sizes = np.array([len(senses[example.lemma]) for example in examples], np.int64)
        ranges = (("1 sense", 1, 1), ("2 or 3 senses", 2, 3), ("4 to 7 senses", 4, 7), ("more", 8, np.inf))
        return {name: int(((low <= sizes) & (sizes <= high)).sum()) for name, low, high in ranges}

    def remarks(self, splits: Mapping[Split, Sequence[Occurrence]], task: Declared) -> Iterator[str]:
        """Yield hints on occurrences that get no answer, or a wrong one, whatever the model is."""
        yield from super().remarks(splits, task)
        known = _inventory(splits["train"])
        for split, examples in splits.items():
            if split == "train":
                continue
            lacking = [example for example in examples if example.lemma not in known]
            never = sum(not known[each.lemma] & {*each.senses} for each in examples if each.lemma in known)
            alone = sum(len(known[each.lemma]) == 1 for each in examples if each.lemma in known)
            if lacking:
                lemmas = len({example.lemma for example in lacking})
                yield f"{split}: {len(lacking):,} occurrences of {lemmas:,} lemmas that train lacks get no answer"
            if never:
                yield f"{split}: {never:,} of {len(examples):,} occurrences have senses that train lacks: always wrong"
            if alone:
                yield f"{split}: {alone:,} of {len(examples):,} occurrences have lemmas with a single sense in train"
        for split, examples in splits.items():
            here, before = (sum(_alike(each, each.target - step) for each in examples) for step in (0, 1))
            if before > here and before * 2 > len(examples):
                yield (
                    f"{split}: of {before:,} of {len(examples):,} occurrences the word before 'target' looks like the "
                    "lemma: is it counted from 1, and not from 0?"
                )

    def unscorable(self, split: Split, splits: Mapping[Split, Sequence[Occurrence]], task: Declared) -> str | None:
        """Return that no occurrence has a right sense among two or more."""
        known = _inventory(splits["train"])
        if any(len(known.get(each.lemma, ())) > 1 and known[each.lemma] & {*each.senses} for each in splits[split]):
            return None
        return f"for none of {len(splits[split]):,} occurrences has train the right sense and another one of its lemma"

    def texts(self, example: Occurrence) -> Texts:
        """Return the words, joined by blanks."""
        return (" ".join(example.words),)

    def same_input(self, example: Occurrence, in_words: Texts) -> tuple[Texts, int]:
        """Return the sentence and the place of the word."""
        return in_words, example.target

    def length(self, example: Occurrence, in_words: Texts) -> int:
        """Return the number of words."""
        return len(example.words)

    def schema(self) -> dict[str, Any]:
        """Return the columns: ``gold``, names of senses; ``predicted``, one of them or null; how it came about.

        ``similarity`` is the cosine of the predicted sense, 4 decimals, and ``choices`` the number of senses of the
        lemma in train; both are 0 where there is no answer.
        """
        import pyarrow

        name = pyarrow.string()
        return {
            "gold": pyarrow.list_(name),
            "predicted": name,
            "similarity": pyarrow.float32(),
            "choices": pyarrow.int32(),
        }

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Ints:
        """Return right answers, answers and occurrences: (clusters, 1, 3)."""
        each = counted(*_both(table))
        total = np.zeros((int(cluster.max(initial=-1)) + 1, 3), np.int64)
        np.add.at(total, cluster, each)
        return total[:, None]

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return 1 for an occurrence without a right answer."""
        return 1.0 - counted(*_both(table))[:, 0].astype(np.float64)

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield answers without a choice, choices without an answer, and similarities that are no cosines."""
        gold, predicted = _both(table)
        choices, similarity = table["choices"].to_numpy(), table["similarity"].to_numpy().astype(np.float64)
        answered = np.array([name is not None for name in predicted], bool)
        if not all(gold):
            yield "gold: an occurrence without a sense"
        if wrong := int((answered != (choices > 0)).sum()):
            yield f"choices: {wrong:,} occurrences have an answer without a choice, or a choice without an answer"
        if wrong := int((~(np.abs(similarity) <= 1 + 1e-4) | (~answered & (similarity != 0))).sum()):
            yield f"similarity: {wrong:,} are no cosines, or of occurrences without an answer"


SENSES = Senses()


class Answers(NamedTuple):
    """Which sense each occurrence has, by the nearest vector."""

    senses: list[str | None]
    similarity: list[float]
    """The cosine of the sense, rounded to 4 decimals; 0 without an answer."""
    choices: list[int]
    """The senses of the lemma; 0 where there is none, or no vector of the word."""


def nearest(
    known: Sequence[Occurrence], of_known: Sequence[Vector], asked: Sequence[Occurrence], of_asked: Sequence[Vector]
) -> Answers:
    """Return the nearest sense of each occurrence that is asked for.

    Args:
        known: the occurrences that senses are made of.
        of_known: the vector of each, (width,); an empty one for a word that the model does not see.
        asked: the occurrences whose senses are asked for.
        of_asked: likewise.
    """
    by_sense: dict[str, dict[str, list[Vector]]] = defaultdict(lambda: defaultdict(list))
    for example, vector in zip(known, of_known, strict=True):
        if len(vector):
            by_sense[example.lemma][example.senses[0]].append(vector)
    units = {
        lemma: (list(senses), _unit(np.stack([np.mean(each, axis=0, dtype=np.float64) for each in senses.values()])))
        for lemma, senses in by_sense.items()
    }
    found = Answers([], [], [])
    for example, vector in zip(asked, of_asked, strict=True):
        names, of_senses = units.get(example.lemma, ([], np.empty((0, 0))))
        cosines = of_senses @ _unit(np.asarray(vector, np.float64)[None])[0] if names and len(vector) else np.empty(0)
        best = int(cosines.argmax()) if len(cosines) else -1  # of equals the one that is first in train
        found.senses.append(names[best] if len(cosines) else None)
        found.similarity.append(round(float(cosines[best]), 4) if len(cosines) else 0.0)
        found.choices.append(len(cosines))
    return found


def sense_scores(gold: Sequence[Sequence[str]], predicted: Sequence[str | None]) -> Scores:
    """Return the scores of predicted senses.

    Args:
        gold: one list an occurrence, the right senses.
        predicted: one sense an occurrence; None for no answer.

    Raises:
        ValueError: they are not as many, or an occurrence has no right sense, or no list of them.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} occurrences in gold, {len(predicted)} in predicted")
    if not all(gold):
        raise ValueError("gold holds an occurrence without a sense")
    if alone := [right for right in gold if isinstance(right, str)]:
        raise ValueError(f"the right senses of an occurrence are a list of names, not {quoted(alone[0])}")
    return counts.scored(METRICS, {"sense": counted(gold, predicted).sum(axis=0)[None]}, {})


def counted(gold: Sequence[Sequence[str]], predicted: Sequence[str | None]) -> Ints:
    """Return for each occurrence whether its answer is right, whether there is one, and 1: (occurrences, 3)."""
    pairs = zip(gold, predicted, strict=True)
    each = [(name is not None and name in right, name is not None, True) for right, name in pairs]
    return np.array(each, np.int64).reshape(-1, 3)


def _alike(example: Occurrence, place: int) -> bool:
    """Return whether the word at a place begins as the lemma does."""
    return place >= 0 and example.words[place][:2].casefold() == example.lemma[:2].casefold()


def _inventory(examples: Sequence[Occurrence]) -> dict[str, set[str]]:
    """Return the senses of each lemma that these are occurrences of."""
    senses: dict[str, set[str]] = {}
    for example in examples:
        senses.setdefault(example.lemma, set()).add(example.senses[0])
    return senses


def _unit(vectors: Floats) -> Floats:
    """Return vectors, (rows, width), of length 1; zeros stay zeros, and are at a cosine of 0 to all."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    of_length_1: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return of_length_1


def _both(table: pyarrow.Table) -> tuple[list[list[str]], list[str | None]]:
    """Return gold and predicted; raise ``ValueError`` where they are of other types."""
    import pyarrow

    gold, predicted = table["gold"], table["predicted"]
    if gold.type != pyarrow.list_(pyarrow.string()) or gold.null_count or predicted.type != pyarrow.string():
        raise ValueError(f"expected lists of names and names, not {gold.type} and {predicted.type}")
    return gold.to_pylist(), predicted.to_pylist()
