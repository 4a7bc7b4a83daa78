"""Kind ``question-answering``: the part of a text that answers a question; in SQuAD 2's manner, some have none.

A prediction is a span of the characters of the context as the files have it. It is scored by its words, which the file
of predictions holds as numbers: they say which words of an answer are those of another, and spell none.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from flue_bench.errors import quoted
from flue_bench.kinds import counts
from flue_bench.kinds.counts import Floats, Ints, Metric, Scores, ratio
from flue_bench.kinds.kind import VALIDATION, Declared, Kind, Texts, integers
from flue_bench.kinds.own_head import Reading
from flue_bench.kinds.rows import NO_JSON, Row, from_json, plain_number
from flue_bench.record import RunRecord
from flue_bench.task import Example, Split, nfc

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T", bound=Hashable)

MAX_ANSWER_LENGTH, N_BEST, STRIDE = 30, 20, 128
"""Defaults of the options: those of ``run_qa.py`` of Hugging Face transformers."""


@dataclass(frozen=True, slots=True)
class Asked(Example):
    """A question on a context."""

    question: str = ""
    context: str = ""
    """As the files have it, not normalised."""
    answers: tuple[tuple[str, int], ...] = ()
    """Each right answer, and the character of the context at which it begins; none if the context has none."""


def _share(counted: Floats, part: int, of: int) -> Floats:
    return ratio(np.asarray(counted)[..., part], np.asarray(counted)[..., of])


_BEST = "the best over the right answers of a question"
METRICS = {
    "f1": Metric(
        partial(_share, part=2, of=0), "answer", "f1", f"the mean over the questions of the F1 of words, {_BEST}"
    ),
    "exact_match": Metric(
        partial(_share, part=1, of=0),
        "answer",
        "exact_match",
        "share of the questions whose answer is a right one, apart from articles, punctuation and capitals",
        of_examples=True,
    ),
}
NO_WORDS = "none"
"""Stands for the words of an answer that is articles and punctuation alone."""
OF_EITHER = {
    "f1_answerable": Metric(partial(_share, part=5, of=3), "answer", "f1", "F1 over the questions that have an answer"),
    "exact_match_answerable": Metric(
        partial(_share, part=4, of=3), "answer", "exact_match", "exact matches among the questions that have an answer"
    ),
    "exact_match_unanswerable": Metric(
        partial(_share, part=7, of=6), "answer", "exact_match", "share of the questions without an answer that get none"
    ),
}
"""Scores of a task some of whose questions have no answer."""


class QuestionAnswering(Kind[Asked]):
    """A search for the part of a context that answers a question.

    A task some of whose questions have no answer (SQuAD 2) has the option ``threshold``: none is predicted where the
    score of "no answer" exceeds that of the best span by more. With ``"validation"`` it is what makes the headline
    metric highest there, and the record keeps it (``chosen``).
    """

    name = "question-answering"
    network = "flue_bench.kinds.network.question_answering:QUESTION_ANSWERING"
    hub_task = "question-answering"
    needs = ("question", "context", "answers")
    gathered: Mapping[str, type | tuple[str, ...]] = {"answers": ("text", "answer_start")}
    options = ("threshold", "max_answer_length", "n_best", "stride")
    absent = ""
    told = ("start", "end")
    views: ClassVar[Mapping[str, Callable[[Texts], Texts]]] = {
        "question and context": lambda texts: ("\n".join(texts),),
        "context": lambda texts: texts[1:],
    }

    def metrics(self, task: Declared | None = None) -> Mapping[str, Metric]:
        """Return exact match and F1; where questions may have no answer, those of either part besides."""
        return METRICS | OF_EITHER if task is None or "threshold" in task.options else METRICS

    def check(self, task: Declared) -> Iterator[tuple[str, str]]:
        """Yield a fault unless there are neither labels nor a scheme, and the options are what they should be."""
        if task.labels:
            yield "labels", "kind 'question-answering' has none: its answers are parts of the context"
        if task.scheme is not None:
            yield "scheme", "is for kind 'tokens' only"
        given = task.options.get("threshold", 0.0)
        number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
        if not number and given != VALIDATION:
            yield "options", "'threshold' is a number, such as 0, or \"validation\", where it is then chosen"
        for name, least in ("max_answer_length", 1), ("n_best", 1), ("stride", 0):
            value = task.options.get(name, least)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 10_000:
                yield "options", f"'{name}' is a whole number from {least} to 10,000"
        if task.metric in OF_EITHER:
            yield "metric", f"'{task.metric}' is of a part of the questions; choose one of {', '.join(METRICS)}"

    def describe(self, task: Declared) -> str:
        """Return the kind, and how it is decided that a question has no answer."""
        if "threshold" not in task.options:
            return self.name
        given = task.options["threshold"]
        how = "chosen on validation" if given == VALIDATION else f"{given:g}"
        return f"{self.name}, some without an answer, threshold {how}"

    def example(self, row: Row) -> Asked:
        """Return the example of a row; questions on one context share a group."""
        question, context = row.text("question"), row.untouched("context")
        for name, text in ("question", question), ("context", context):
            if not text.strip():
                raise ValueError(f"the {name} is empty")
        answers = _answers(row.values["answers"])
        for text, start in answers:
            if context[start : start + len(text)] != text or start < 0:
                raise ValueError(_elsewhere(context, text, start))
        if not answers and "threshold" not in row.options:
            raise ValueError(
                'the question has no answer: `options = { threshold = "validation" }` is for a task with such questions'
            )
        return Asked(row.id, row.group(context), question=question, context=context, answers=answers)

    def gold(self, example: Asked) -> tuple[tuple[int, ...], ...]:
        """Return the right answers' words as numbers; see ``numbers_of``."""
        return tuple(numbers_of(example))

    def shown(self, example: Asked, task: Declared) -> str:
        """Return the right answers with the characters at which they begin."""
        found = dict.fromkeys(f"{quoted(text)} at {start}" for text, start in example.answers)
        return " or ".join(found) or "no answer"

    def balance(self, examples: Sequence[Asked], task: Declared) -> dict[str, int]:
        """Return how many questions have an answer."""
        answered = sum(bool(example.answers) for example in examples)
        return {"with an answer": answered, "without": len(examples) - answered}

    def texts(self, example: Asked) -> Texts:
        """Return question and context."""
        return example.question, nfc(example.context)

    def remarks(self, splits: Mapping[Split, Sequence[Asked]], task: Declared) -> Iterator[str]:
        """Yield a hint on answers of which normalisation leaves nothing.

        A threshold that is to be chosen among questions that all have an answer, or all have none, is an error.
        """
        yield from super().remarks(splits, task)
        for split, examples in splits.items():
            answered = self.balance(examples, task)["with an answer"]
            if not answered:
                raise ValueError(f"{split}: no question has an answer")
            if split == "validation" and task.options.get("threshold") == VALIDATION and answered == len(examples):
                raise ValueError("validation: all questions have an answer, so that no threshold can be chosen there")
            bare = [text for example in examples for text, _ in example.answers if not words_of(text)]
            if bare:
                yield f"{split}: {len(bare):,} answers, such as {quoted(bare[0])}, are articles and punctuation alone"

    def schema(self) -> dict[str, Any]:
        """Return the columns.

        ``gold`` are the right answers, ``predicted`` is the predicted one, as numbers of words (``numbers_of``); both
        are empty for no answer. ``start`` and ``end`` are the characters of the context between which the predicted
        answer stands, -1 for none. ``no_answer`` is the score of "no answer" less that of the best span.
        """
        import pyarrow

        words, place = pyarrow.list_(pyarrow.int32()), pyarrow.int32()
        gold = pyarrow.list_(words)
        return {"gold": gold, "predicted": words, "start": place, "end": place, "no_answer": pyarrow.float32()}

    def counts(self, table: pyarrow.Table, task: Declared, level: str, cluster: Ints) -> Floats:
        """Return the sums of ``outcomes`` by cluster, (clusters, 8)."""
        clusters = int(cluster.max(initial=-1)) + 1
        return np.stack([np.bincount(cluster, column, clusters) for column in _outcomes(table).T], axis=-1)

    def errors(self, table: pyarrow.Table, task: Declared) -> Floats:
        """Return how far the F1 of each answer is from 1, in whole hundredths."""
        return np.round(100 * (1 - _outcomes(table)[:, 2]))

    def apart(self, one: pyarrow.Table, other: pyarrow.Table, task: Declared) -> Floats:
        """Return how far the F1 of two answers, of one against the other, is from 1, in whole hundredths."""
        pairs = zip(one["predicted"].to_pylist(), other["predicted"].to_pylist(), strict=True)
        return np.round([100 * (1 - _f1(a, b)) for a, b in pairs])

    def answers(self, row: Mapping[str, Any], task: Declared, example: Asked | None = None) -> tuple[Texts, Texts]:
        """Return answers as they stand in the context; without it, as numbers of words and of characters."""
        start, end = row["start"], row["end"]
        if example is None:
            gold = dict.fromkeys(f"words {' '.join(map(str, words))}" for words in row["gold"] if words)
            words = " ".join(map(str, row["predicted"])) or NO_WORDS
            return tuple(gold), () if start == -1 else (f"words {words} (characters {start} to {end})",)
        right = dict.fromkeys(text for text, _ in example.answers)
        return tuple(right), () if start == -1 else (example.context[start:end],)

    def collapsed(self, table: pyarrow.Table, task: Declared) -> str | None:
        """Return a sentence if no answer, or the beginning of the context, is predicted throughout."""
        found, starts = _outcomes(table), np.unique(integers(table["start"]))
        if len(starts) != 1 or len(found) < 2 or found[:, 1].all():
            return None
        if starts[0] == -1:
            return f"predicts that no question has an answer ({found[:, 3].sum():,.0f} of {len(found):,} have one)"
        return f"predicts answers that begin at character {starts[0]:,} throughout"

    def read_head(self, theirs: Sequence[str], task: Declared, given: Mapping[str, str]) -> Reading:
        """Return that nothing is to be read: the head scores where answers begin and end, whatever its rows' names."""
        if given:
            raise ValueError("a head that marks parts of a text has no labels: leave --labels out")
        if len(theirs) != 2:
            raise ValueError(f"its head has {len(theirs)} rows, and one that marks where answers begin and end has 2")
        return Reading({})

    def contradictions(self, table: pyarrow.Table, record: RunRecord) -> Iterator[str]:
        """Yield where a span is none, or does not fit its words, or none is predicted against the threshold."""
        start, end = integers(table["start"]), integers(table["end"])
        words = table["predicted"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        none = start == -1
        if count := int((((end == -1) != none) | (~none & ((start < 0) | (end <= start)))).sum()):
            yield f"start, end: {count:,} are no span"
        if count := int((none & (words > 0)).sum()):
            yield f"predicted: {count:,} answers have words and no span"
        difference = np.array(table["no_answer"].to_pylist(), np.float64)
        if np.isnan(difference).any():
            yield "no_answer: some are no numbers"
        given = record.options.get("threshold", math.inf)
        threshold = record.chosen.get("threshold") if given == VALIDATION else given
        if threshold is None:
            yield "chosen: there is no threshold, which the task has from validation"
        elif count := int((none != ((difference > threshold) | np.isposinf(difference))).sum()):
            yield f"no_answer: {count:,} of {len(none):,} decisions are not those of the threshold {threshold:g}"


QUESTION_ANSWERING = QuestionAnswering()


def question_answering_scores(gold: Sequence[Sequence[str]], predicted: Sequence[str | None]) -> Scores:
    """Return exact match and F1; where a question has no right answer, the scores of either part besides.

    Args:
        gold: the texts of the right answers of each question; none, or empty texts, for one without an answer.
        predicted: the text of the answer; empty or None for none.

    Raises:
        ValueError: the lengths differ, or the right answers of a question are no list.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} questions in gold, {len(predicted)} answers in predicted")
    if alone := [texts for texts in gold if isinstance(texts, str)]:
        raise ValueError(f"the right answers of a question are a list of texts, not {quoted(alone[0])}")
    right = [[words_of(text) for text in texts if text] for texts in gold]
    total = outcomes(right, [words_of(text or "") for text in predicted]).sum(axis=0)
    metrics = METRICS | OF_EITHER if total[6] else METRICS
    return counts.scored(metrics, {"answer": total}, {})


_ARTICLES = re.compile(r"\b(le|la|les|l'|du|des|au|aux|un|une)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_of(text: str) -> list[str]:
    """Return the words of an answer as FQuAD compares them: lower case, without articles and then punctuation.

    Articles are le, la, les, l', un, une and the contracted du, des, au, aux; punctuation is ASCII's, so that « » and
    the typographic apostrophe stay. That is FQuAD's evaluation script (d'Hoffschmidt et al. 2020, arXiv 2002.06071),
    the French counterpart of SQuAD's. Letters are composed before (NFC), so that no accent makes an article of "là".
    """
    return _ARTICLES.sub(" ", nfc(text).lower()).translate(_PUNCTUATION).split()


def numbers_of(example: Asked, *more: str) -> list[tuple[int, ...]]:
    """Return the words of the right answers, and of more texts, as numbers: by where they first occur in the context.

    Words are compared as in ``words_of``; those that it lacks, such as a part of one, come after.
    """
    known: dict[str, int] = {}
    texts = [example.context, *(text for text, _ in example.answers), *more]
    return [tuple(known.setdefault(word, len(known)) for word in words_of(text)) for text in texts][1:]


def match(right: Sequence[Sequence[T]], predicted: Sequence[T]) -> tuple[bool, float]:
    """Return whether an answer is a right one, and its F1: each the best over the right answers.

    As in the script of SQuAD 2: where either side has no words, F1 is whether the other has none.

    Args:
        right: the words of each right answer; those without words do not count beside others.
        predicted: the words of the answer.
    """
    rights = [words for words in right if words] or [[]]
    return any(list(words) == list(predicted) for words in rights), max(_f1(words, predicted) for words in rights)


def _f1(gold: Sequence[T], predicted: Sequence[T]) -> float:
    if not gold or not predicted:
        return float(len(gold) == len(predicted))
    shared = (Counter(gold) & Counter(predicted)).total()
    return 2 * shared / (len(gold) + len(predicted))


def outcomes(right: Sequence[Sequence[Sequence[T]]], predicted: Sequence[Sequence[T]]) -> Floats:
    """Return what each question adds to the scores, (questions, 8).

    They are 1, exact match, F1; the same three of a question that has an answer, else 0; then, of one that has none, 1
    and exact match.

    Args:
        right: the right answers' words, none for a question without an answer.
        predicted: the predicted answers' words.
    """
    matched = [match(words, answer) for words, answer in zip(right, predicted, strict=True)]
    each = np.array([(1, exact, f1) for exact, f1 in matched], np.float64).reshape(-1, 3)
    answered = np.array([bool(words) for words in right], bool)[:, None]
    return np.hstack([each, each * answered, each[:, :2] * ~answered])


def _outcomes(table: pyarrow.Table) -> Floats:
    import pyarrow

    gold, predicted = table["gold"], table["predicted"]
    if not (pyarrow.types.is_list(predicted.type) and pyarrow.types.is_integer(predicted.type.value_type)):
        raise ValueError(f"expected lists of whole numbers in predicted, not {predicted.type}")
    if not (pyarrow.types.is_list(gold.type) and gold.type.value_type == predicted.type):
        raise ValueError(f"expected lists of such lists in gold, not {gold.type}")
    if gold.null_count or predicted.null_count:
        raise ValueError("gold or predicted has an empty cell")
    return outcomes(gold.to_pylist(), predicted.to_pylist())


def _answers(value: Any) -> tuple[tuple[str, int], ...]:
    """Return answers and their starts from a table of lists, as data sets have it, or a list of tables, as SQuAD has.

    A cell of text holds either as JSON. A single answer needs no lists. An empty text stands for no answer.
    """
    form = 'answers are { "text": […], "answer_start": […] }, or a list of such pairs'
    value = from_json(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", "("):
        raise ValueError(f"the column for 'answers' holds {quoted(value)}{NO_JSON}")
    if isinstance(value, Mapping) and value.keys() >= {"text", "answer_start"}:
        texts, starts = value["text"], value["answer_start"]
        if not isinstance(texts, list | tuple) and not isinstance(starts, list | tuple):
            if texts is None or texts == "":
                return ()
            number = plain_number(starts)
            texts, starts = [texts], [int(number) if number is not None and number.is_integer() else starts]
        if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple) or len(texts) != len(starts):
            raise ValueError(f"'text' and 'answer_start' are not lists of one length: {quoted(value)}")
        pairs = list(zip(texts, starts, strict=True))
    elif isinstance(value, list | tuple):
        pairs = []
        for each in value:
            if isinstance(each, Mapping) and each.keys() >= {"text", "answer_start"}:
                pairs.append((each["text"], each["answer_start"]))
            elif isinstance(each, tuple) and len(each) == 2:
                pairs.append(each)
            else:
                raise ValueError(f"the column for 'answers' holds {quoted(each)}: {form}")
    else:
        two = '. In two columns they are `columns = { answers = { text = "…", answer_start = "…" } }`'
        raise ValueError(
            f"the column for 'answers' holds {quoted(value)}: {form}{two if isinstance(value, str) else ''}"
        )
    for text, start in pairs:
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            raise ValueError(f"an answer is a text and a whole number, not {quoted(text)} and {quoted(start)}")
    return tuple((text, int(start)) for text, start in pairs if text)


def _elsewhere(context: str, text: str, start: int) -> str:
    """Return what is wrong with an answer that does not stand where its number says, and what to do."""
    places = [found.start() for found in re.finditer(re.escape(text), context)]
    there = (
        f"{quoted(context[start : start + len(text)])} is there" if 0 <= start < len(context) else "there is nothing"
    )
    if not places:
        same = _otherwise(context, text)
        return f"the answer {quoted(text)} is nowhere in the context{same}; at character {start}, {there}"
    nearest = min(places, key=lambda place: abs(place - start))
    counted = next((what for place in places[:100] for what, at in _counted(context, place) if at == start), "")
    return (
        f"the answer {quoted(text)} is not at character {start} of the context ({there}) but at {nearest}: "
        f"'answer_start' counts characters from 0{counted}"
    )


def _counted(context: str, place: int) -> Iterator[tuple[str, int]]:
    """Yield how else a place in a text may have been counted, and the number that it then has."""
    before = context[:place]
    yield ", and this may be a number of bytes in UTF-8", len(before.encode())
    units = len(before.encode("utf-16-le")) // 2
    yield ", and this may be a number of UTF-16 units, as JavaScript and Java count", units
    yield ", and this may take each line end \\r\\n for one", place - before.count("\r\n")
    yield ", and this may be a place in the text in Unicode's NFC", len(nfc(before))
    yield ", and this may count from 1", place + 1


def _otherwise(context: str, text: str) -> str:
    """Return how a text that does not stand in another one does stand there."""
    if nfc(text) in nfc(context):
        return " as it is, but in another of Unicode's forms: write both in one of them"
    if " ".join(text.split()) in " ".join(context.split()):
        return " as it is, but with other blanks or line ends: write both alike"
    if text.casefold() in context.casefold():
        return " as it is, but with other capitals: write both alike"
    return ""
