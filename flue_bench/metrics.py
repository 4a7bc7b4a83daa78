"""The scores of every kind of task as metrics of the library ``evaluate``; they need no hub.

    >>> from flue_bench.metrics import EntityScores
    >>> metric = EntityScores(labels=["O", "PER", "LOC"], scheme="IO")
    >>> metric.compute(predictions=[["PER", "PER", "O"]], references=[["PER", "PER", "O"]])["entity_f1_micro"]
    1.0

Predictions and references are names of labels or their indexes. ``add``, ``add_batch`` and ``evaluate.combine`` work as
for any metric; no two for one kind of task share the name of a score. ``compute(per_class=True)`` adds precision,
recall, F1 and support of every class, under the name of the level: ``class``, ``entity``, or ``word`` and ``subword``.
Settings of ``evaluate.Metric`` (``cache_dir``, ``keep_in_memory``, ``experiment_id``, …) go through.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, Value
from datasets import Sequence as ListOf

from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.kinds.counts import Scores
from flue_bench.kinds.multi_label import multi_label_scores
from flue_bench.kinds.multiple_choice import multiple_choice_scores
from flue_bench.kinds.question_answering import question_answering_scores
from flue_bench.kinds.regression import regression_scores
from flue_bench.kinds.senses import sense_scores
from flue_bench.kinds.sentence import sentence_scores
from flue_bench.kinds.tokens import entity_scores, known_scheme, label_fault, word_scores
from flue_bench.task import Scheme


class _LabelMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Takes labels by name or by index, and keeps the indexes."""

    _feature: Any
    _inputs: tuple[str, ...] = ("predictions", "references")

    def __init__(self, labels: Sequence[str], **settings: Any) -> None:
        self._labels = tuple(labels)
        super().__init__(**settings)

    def add(self, *, prediction: Any = None, reference: Any = None, **inputs: Any) -> None:
        """Add one prediction and its reference."""
        super().add(prediction=self._indexes(prediction), reference=self._indexes(reference), **inputs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **inputs: Any) -> None:
        """Add predictions and their references."""
        super().add_batch(predictions=self._indexes(predictions), references=self._indexes(references), **inputs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description=f"Labels: {', '.join(self._labels)}.",
            features=Features(dict.fromkeys(self._inputs, self._feature)),
        )

    def _indexes(self, labels: Any) -> Any:
        if hasattr(labels, "tolist"):  # an array or a tensor
            labels = labels.tolist()
        if isinstance(labels, str):
            if labels not in self._labels:
                raise UnknownNameError("label", labels, self._labels)
            return self._labels.index(labels)
        return [self._indexes(label) for label in labels] if isinstance(labels, list | tuple) else labels


class SentenceScores(_LabelMetric):
    """Accuracy, F1 by every averaging, and MCC of a classification.

    ``compute(predictions=["non"], references=["oui"])``: one label an example. Scores as in
    ``flue_bench.kinds.sentence.sentence_scores``.
    """

    _feature = Value("int64")

    def _compute(self, predictions: Any, references: Any, per_class: bool = False) -> dict[str, Any]:
        return _result(sentence_scores(references, predictions, self._labels), per_class)


class MultiLabelScores(_LabelMetric):
    """F1 by every averaging, and the share of exact matches, of a choice of any number of labels.

    ``compute(predictions=[["joie", "peur"]], references=[["joie"]])``: one list an example, which may be empty. Scores
    as in ``flue_bench.kinds.multi_label.multi_label_scores``.
    """

    _feature = ListOf(Value("int64"))

    def _compute(self, predictions: Any, references: Any, per_class: bool = False) -> dict[str, Any]:
        return _result(multi_label_scores(references, predictions, self._labels), per_class)


class MultipleChoiceScores(_LabelMetric):
    """Accuracy of a choice among texts.

    ``compute(predictions=["B"], references=["A"])``: one position an example, by its name or its number. Scores as in
    ``flue_bench.kinds.multiple_choice.multiple_choice_scores``.
    """

    _feature = Value("int64")

    def _compute(self, predictions: Any, references: Any, per_class: bool = False) -> dict[str, Any]:
        return _result(multiple_choice_scores(references, predictions, self._labels), per_class)


class EntityScores(_LabelMetric):
    """Strict entity-level scores of a tagging; 0.0 with a warning where the references have no entity.

    ``compute(predictions=[["O", "PER"]], references=[["O", "PER"]])``: one list a sentence, one tag a word. Scores and
    schemes (IO, IOB1, IOB2) as in ``flue_bench.kinds.tokens.entity_scores`` and ``entity_counts``.
    """

    _feature = ListOf(Value("int64"))

    def __init__(self, labels: Sequence[str], scheme: Scheme, **settings: Any) -> None:
        """Name the tags by ``labels``; ``scheme`` says how they encode entities.

        Raises:
            UsageError: there is no such scheme, or it has not all of these labels.
        """
        try:
            self._scheme: Scheme = known_scheme(scheme)
        except ValueError as error:
            raise UsageError(f"Scheme: {error}.") from None
        fault = label_fault(labels, self._scheme)
        if fault:
            raise UsageError(f"Labels: {fault}.")
        super().__init__(labels, **settings)

    def _compute(
        self, predictions: Any, references: Any, per_class: bool = False, subwords_per_word: Any = None
    ) -> dict[str, Any]:
        # subwords_per_word is accepted because evaluate.combine gives every metric the inputs of all.
        scores = entity_scores(references, predictions, self._labels, self._scheme)
        if not any(row.support for row in scores.per_class["entity"].values()):
            warnings.warn("The references have no entity: these scores are 0.0 whatever is predicted.", stacklevel=2)
        return _result(scores, per_class)


class WordScores(_LabelMetric):
    """Word-level and sub-word-level scores of a tagging, with and without O.

    ``compute(predictions=[["O", "PER"]], references=[["O", "PER"]], subwords_per_word=[[1, 3]])``: one list a sentence,
    one tag a word, and how many sub-words the word is cut into. Scores as in ``flue_bench.kinds.tokens.word_scores``.
    """

    _feature = ListOf(Value("int64"))
    _inputs = ("predictions", "references", "subwords_per_word")

    def _compute(
        self, predictions: Any, references: Any, subwords_per_word: Any, per_class: bool = False
    ) -> dict[str, Any]:
        return _result(word_scores(references, predictions, self._labels, subwords_per_word), per_class)


class SenseScores(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """F1, precision and accuracy of senses of words.

    ``compute(predictions=["voler-1", None], references=[["voler-1"], ["voler-2", "voler-3"]])``: one sense an
    occurrence, or None for no answer; and a list of those that are right. Scores as in
    ``flue_bench.kinds.senses.sense_scores``.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="Names of senses.",
            features=Features({"predictions": Value("string"), "references": ListOf(Value("string"))}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        return _result(sense_scores(references, predictions), per_class=False)


class RegressionScores(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Pearson's and Spearman's correlations, mean absolute error, root mean squared error and R² of predicted numbers.

    ``compute(predictions=[2.5, 4.0], references=[3.0, 4.5])``: one number an example, in any unit. Scores as in
    ``flue_bench.kinds.regression.regression_scores``.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="Numbers.",
            features=Features(dict.fromkeys(("predictions", "references"), Value("float64"))),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        return _result(regression_scores(references, predictions), per_class=False)


class QuestionAnsweringScores(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Exact match and F1 of answers, with FQuAD's French normalisation; of questions without an answer besides.

    ``compute(predictions=["Lyon", ""], references=[["Lyon", "à Lyon"], []])``: one text a question, empty for no
    answer, against the texts of its right answers, none for a question that has none. Scores as in
    ``flue_bench.kinds.question_answering.question_answering_scores``.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="Texts.",
            features=Features({"predictions": Value("string"), "references": ListOf(Value("string"))}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        return _result(question_answering_scores(references, predictions), per_class=False)


def _result(scores: Scores, per_class: bool) -> dict[str, Any]:
    result: dict[str, Any] = scores.scores | scores.measures
    if per_class:
        result |= {
            level: {name: row.model_dump() for name, row in rows.items()} for level, rows in scores.per_class.items()
        }
    return result
