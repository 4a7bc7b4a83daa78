"""Scores against scikit-learn, seqeval and values worked out by hand."""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB1, IOB2, Entities
from sklearn import metrics

from flue_bench.kinds import counts as formulas
from flue_bench.kinds import sentence as classification
from flue_bench.kinds.counts import Scores, collapsed
from flue_bench.kinds.sentence import SENTENCE, sentence_scores
from flue_bench.kinds.tokens import (
    ENTITY_METRICS,
    entity_counts,
    entity_scores,
    entity_types,
    token_scores,
    word_metrics,
    word_scores,
)
from flue_bench.task import Scheme

SENTENCE_METRICS, TOKEN_METRICS = tuple(SENTENCE.metrics()), (*ENTITY_METRICS, *word_metrics("O"))

TYPES = ("PER", "LOC", "ORG")
BARE = ("O", *TYPES)
PREFIXED = ("O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BI"))
LABELS: dict[Scheme, tuple[str, ...]] = {"IO": BARE, "IOB1": PREFIXED, "IOB2": PREFIXED}
SCHEMES: list[Scheme] = ["IO", "IOB1", "IOB2"]

Sentences = list[list[int]]


def random_tags(rng: np.random.Generator, tags: int, sentences: int, longest: int = 12) -> tuple[Sentences, Sentences]:
    """Gold and predicted tags of which many agree; some sentences are empty."""
    gold, predicted = [], []
    for _ in range(sentences):
        length = int(rng.integers(0, longest + 1))
        true = rng.integers(0, tags, length)
        wrong = rng.random(length) < rng.choice([0.0, 0.1, 0.5])
        gold.append(true.tolist())
        predicted.append(np.where(wrong, rng.integers(0, tags, length), true).tolist())
    return gold, predicted


def as_seqeval(sentences: Sentences, scheme: Scheme) -> list[list[str]]:
    """Tags as seqeval wants them; in IO every run of one class becomes B- I- I-…"""
    words = [[LABELS[scheme][tag] for tag in sentence] for sentence in sentences]
    if scheme != "IO":
        return words
    return [
        [
            tag if tag == "O" else f"{'I' if i and sentence[i - 1] == tag else 'B'}-{tag}"
            for i, tag in enumerate(sentence)
        ]
        for sentence in words
    ]


def assert_equals_seqeval(gold: Sentences, predicted: Sentences, scheme: Scheme) -> None:
    ours = entity_scores(gold, predicted, LABELS[scheme], scheme)
    oracle = IOB1 if scheme == "IOB1" else IOB2
    true, guessed = as_seqeval(gold, scheme), as_seqeval(predicted, scheme)
    if not Entities(true, oracle).unique_tags | Entities(guessed, oracle).unique_tags:
        assert set(ours.scores.values()) == {0.0}  # seqeval's report cannot be built from nothing
        return
    report = classification_report(true, guessed, mode="strict", scheme=oracle, output_dict=True, zero_division=0)
    assert ours.scores == pytest.approx(
        {
            "entity_f1_micro": report["micro avg"]["f1-score"],
            "entity_f1_macro": report["macro avg"]["f1-score"],
            "entity_precision_micro": report["micro avg"]["precision"],
            "entity_recall_micro": report["micro avg"]["recall"],
        },
        abs=1e-12,
    )
    nothing = {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0}
    for name, row in ours.per_class["entity"].items():
        expected = report.get(name, nothing)
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(
            tuple(expected[key] for key in ("precision", "recall", "f1-score", "support")), abs=1e-12
        )


# Sentences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_sentence_scores_equal_scikit_learns(classes: int, seed: int) -> None:
    rng = np.random.default_rng([classes, seed])
    n = int(rng.integers(2, 60))
    gold = rng.integers(0, classes if seed % 2 else max(2, classes - 1), n)  # even seeds: the last class may be absent
    predicted = np.where(rng.random(n) < 0.5, gold, rng.integers(0, classes, n))
    gold[:2] = 0, 1  # scikit-learn's MCC warns of a single label
    names = [f"classe {i}" for i in range(classes)]
    ours = sentence_scores(gold, predicted, names)
    expected: dict[str, Any] = {
        "accuracy": metrics.accuracy_score(gold, predicted),
        **{
            f"f1_{average}": metrics.f1_score(gold, predicted, average=average, labels=range(classes), zero_division=0)
            for average in ("macro", "micro", "weighted")
        },
        "mcc": metrics.matthews_corrcoef(gold, predicted),
    }
    if classes == 2:
        expected["f1_binary"] = metrics.f1_score(gold, predicted, zero_division=0)
    assert ours.scores == pytest.approx(expected, abs=1e-12)
    rows = metrics.precision_recall_fscore_support(gold, predicted, labels=range(classes), zero_division=0)
    for name, *row in zip(names, *rows, strict=True):
        got = ours.per_class["class"][name]
        assert (got.precision, got.recall, got.f1, got.support) == pytest.approx(tuple(row), abs=1e-12)


def test_sentence_scores_by_hand() -> None:
    # Of the last label: 2 right, 3 predicted, 3 gold. Of the first: 1 right, 2 predicted, 2 gold.
    scores = sentence_scores([0, 0, 1, 1, 1], [0, 1, 0, 1, 1], ["négatif", "positif"]).scores
    assert tuple(scores) == SENTENCE_METRICS
    assert scores["f1_binary"] == pytest.approx(2 / 3)
    assert scores["f1_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["f1_weighted"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)
    assert scores["mcc"] == pytest.approx((2 * 1 - 1 * 1) / 6)  # (tp·tn - fp·fn) / sqrt(3·3·2·2)


def test_a_class_that_occurs_nowhere_counts_in_the_macro_average() -> None:
    assert sentence_scores([0, 1], [0, 1], ["a", "b", "c"]).scores["f1_macro"] == pytest.approx(2 / 3)
    assert "f1_binary" not in sentence_scores([0, 1], [0, 1], ["a", "b", "c"]).scores


@pytest.mark.parametrize(("gold", "predicted"), [([], []), ([1, 1], [1, 1]), ([0, 1], [1, 1]), ([1, 1], [0, 0])])
def test_sentence_scores_of_degenerate_predictions_are_numbers(gold: list[int], predicted: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = sentence_scores(gold, predicted, ["non", "oui"]).scores
    assert scores["mcc"] == 0.0
    assert scores["accuracy"] == (sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold) if gold else 0)


def test_mcc_does_not_overflow_on_many_examples() -> None:
    gold = np.arange(400_000) % 2
    assert sentence_scores(gold, gold, ["non", "oui"]).scores["mcc"] == pytest.approx(1.0)


# Entities ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_equal_seqevals_on_thousands_of_random_sequences(scheme: Scheme) -> None:
    rng = np.random.default_rng(0)
    tags = len(LABELS[scheme])
    for _ in range(150):
        assert_equals_seqeval(*random_tags(rng, tags, sentences=20), scheme)
    assert_equals_seqeval(*random_tags(rng, tags, sentences=1000), scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_equal_seqevals_on_every_short_sequence(scheme: Scheme) -> None:
    # Two types and four words hold every transition there is. Each sequence against itself shows which entities it has;
    # against its neighbour, whether they are compared rightly.
    tags = 3 if scheme == "IO" else 5
    every = [[n // tags**i % tags for i in range(4)] for n in range(tags**4)]
    ours = entity_counts(every, every[1:] + every[:1], LABELS[scheme], scheme)
    oracle = IOB1 if scheme == "IOB1" else IOB2
    true = Entities(as_seqeval(every, scheme), oracle).entities
    for i, counts in enumerate(ours):
        gold = {(e.tag, e.start, e.end) for e in true[i]}
        predicted = {(e.tag, e.start, e.end) for e in true[(i + 1) % len(true)]}
        for name, row in zip(TYPES, counts, strict=True):
            sets = gold & predicted, predicted, gold
            assert row.tolist() == [sum(tag == name for tag, *_ in found) for found in sets], every[i]


@settings(max_examples=300)
@given(st.data())
def test_entities_equal_seqevals_on_what_hypothesis_finds(data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(SCHEMES))
    tag = st.integers(0, len(LABELS[scheme]) - 1)
    pairs = data.draw(st.lists(st.lists(st.tuples(tag, tag), max_size=6), min_size=1, max_size=4))
    assert_equals_seqeval([[g for g, _ in pair] for pair in pairs], [[p for _, p in pair] for pair in pairs], scheme)


@pytest.mark.parametrize("prefix", ["", "I-"])
def test_perfect_predictions_on_io_tags_score_one_with_every_type(prefix: str) -> None:
    labels = ["O", *(prefix + name for name in TYPES)]
    tags = [[1, 1, 0, 3, 3, 2], [3], [2, 3, 3]]
    result = entity_scores(tags, tags, labels, "IO")
    assert set(result.scores.values()) == {1.0}
    assert {name: row.support for name, row in result.per_class["entity"].items()} == {"PER": 1, "LOC": 2, "ORG": 3}


def test_entities_do_not_reach_over_the_end_of_a_sentence() -> None:
    counts = entity_counts([[0, 1], [1, 0]], [[0, 1], [1, 1]], BARE, "IO")
    assert counts[:, 0].tolist() == [[1, 1, 1], [0, 1, 1]]


def test_iob1_by_hand() -> None:
    o, b_per, i_per, b_loc = (PREFIXED.index(tag) for tag in ("O", "B-PER", "I-PER", "B-LOC"))
    spans = {
        (i_per, b_per, o): 2,  # adjacent entities, parted by B-
        (i_per, i_per, o): 1,
        (o, b_per, o): 0,  # nothing of its type before it: ill-formed
        (o, b_per, i_per): 1,  # … and the I- opens one
        (i_per, b_per, b_loc): 1,  # the B-PER is lost with the ill-formed B-LOC
    }
    for sentence, entities in spans.items():
        assert entity_counts([sentence], [sentence], PREFIXED, "IOB1").sum(axis=(0, 1)).tolist() == [entities] * 3


def test_counts_of_each_sentence_add_up_to_the_scores() -> None:
    gold, predicted = random_tags(np.random.default_rng(1), len(PREFIXED), 200)
    counts = entity_counts(gold, predicted, PREFIXED, "IOB2")
    assert counts.shape == (200, 3, 3)
    for i in (0, 17, 199):
        assert (counts[i] == entity_counts([gold[i]], [predicted[i]], PREFIXED, "IOB2")[0]).all()
    hit, guessed, true = counts.sum(axis=(0, 1))
    scores = entity_scores(gold, predicted, PREFIXED, "IOB2").scores
    assert scores["entity_f1_micro"] == pytest.approx(2 * hit / (guessed + true))


def test_thirteen_thousand_sentences_take_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(2)
    gold = rng.integers(0, len(PREFIXED), (13_000, 25)).tolist()
    start = time.process_time()
    counts = entity_counts(gold, gold, PREFIXED, "IOB2")
    assert time.process_time() - start < 1.5  # 0.07 s where nothing else runs; seqeval needs 3.6 s
    assert (counts[..., 0] == counts[..., 2]).all()


# Words and sub-words -----------------------------------------------------------------------------------------------


def test_words_and_subwords_by_hand() -> None:
    # Gold:      Marie/PER  vit/O  à/O  Saint-Malo/LOC      and sub-words 1 1 1 3
    # Predicted: Marie/PER  vit/O  à/O  Saint-Malo/O
    result = token_scores([[1, 0, 0, 2]], [[1, 0, 0, 0]], BARE, "IO", [[1, 1, 1, 3]])
    assert set(result.scores) == set(TOKEN_METRICS)
    # Words: O has 2 right of 3 predicted and 2 gold (F1 4/5), PER 1, LOC and ORG 0.
    assert result.scores["word_accuracy"] == 3 / 4
    assert result.scores["word_f1_weighted_with_o"] == pytest.approx((2 * 4 / 5 + 1 * 1 + 1 * 0) / 4)
    assert result.scores["word_f1_weighted_without_o"] == pytest.approx((1 * 1 + 1 * 0) / 2)
    assert result.scores["word_f1_macro_with_o"] == pytest.approx((4 / 5 + 1 + 0 + 0) / 4)
    assert result.scores["word_f1_macro_without_o"] == pytest.approx(1 / 3)
    # Sub-words: O has 2 right of 5 predicted and 2 gold (F1 4/7), PER 1 of 1, LOC 0 of 3.
    assert result.scores["subword_f1_weighted_with_o"] == pytest.approx((2 * 4 / 7 + 1 * 1 + 3 * 0) / 6)
    assert result.scores["subword_f1_weighted_without_o"] == pytest.approx((1 * 1 + 3 * 0) / 4)
    assert result.scores["subword_f1_macro_with_o"] == pytest.approx((4 / 7 + 1) / 4)
    assert result.scores["subword_f1_macro_without_o"] == pytest.approx(1 / 3)
    assert {name: row.support for name, row in result.per_class["subword"].items()} == {
        "O": 2,
        "PER": 1,
        "LOC": 3,
        "ORG": 0,
    }
    assert result.per_class["word"]["O"].precision == pytest.approx(2 / 3)
    # Entities: one of two found, nothing invented.
    assert result.scores["entity_f1_micro"] == pytest.approx(2 / 3)
    assert result.scores["entity_f1_macro"] == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("seed", range(10))
def test_words_and_subwords_equal_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted = random_tags(rng, len(PREFIXED), 30)
    subwords = [rng.integers(0, 5, len(sentence)).tolist() for sentence in gold]
    scores = word_scores(gold, predicted, PREFIXED, subwords).scores
    class_of = np.array([0, 1, 1, 2, 2, 3, 3])
    true, guessed = class_of[np.concatenate(gold).astype(int)], class_of[np.concatenate(predicted).astype(int)]
    assert scores["word_accuracy"] == pytest.approx(metrics.accuracy_score(true, guessed))
    for level, weights in ("word", None), ("subword", np.concatenate(subwords)):
        for average in "weighted", "macro":
            for name, labels in ("with_o", [0, 1, 2, 3]), ("without_o", [1, 2, 3]):
                expected = metrics.f1_score(
                    true, guessed, labels=labels, average=average, sample_weight=weights, zero_division=0
                )
                assert scores[f"{level}_f1_{average}_{name}"] == pytest.approx(expected, abs=1e-12)


def test_a_weighted_average_with_and_without_o_differ_as_the_published_ones_do() -> None:
    # Rare entities found less well than O: nine words in ten are O. Ten PER and ten LOC words, one of each missed.
    gold = [[0] * 180 + [1] * 10 + [2] * 10]
    predicted = [[0] * 180 + [1] * 9 + [0] + [2] * 9 + [0]]
    scores = word_scores(gold, predicted, BARE, [[1] * 200]).scores
    o, entity = 2 * 180 / (180 + 182), 2 * 9 / (9 + 10)
    assert scores["subword_f1_weighted_with_o"] == pytest.approx((180 * o + 20 * entity) / 200)
    assert scores["subword_f1_weighted_without_o"] == pytest.approx(entity)


# Edges -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sentences", [[], [[]], [[], [0]], [[0, 0], [0]]])
def test_no_entity_anywhere_scores_zero_without_a_warning(scheme: Scheme, sentences: Sentences) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ones = [[1] * len(sentence) for sentence in sentences]
        result = token_scores(sentences, sentences, LABELS[scheme], scheme, ones)
    words = sum(map(len, sentences))
    assert result.scores["entity_f1_micro"] == result.scores["entity_f1_macro"] == 0.0
    assert result.scores["word_f1_weighted_without_o"] == 0.0
    assert result.scores["word_accuracy"] == (1.0 if words else 0.0)
    assert result.per_class["word"]["O"].support == words


def test_scores_are_pythons_own_floats() -> None:
    results: list[Scores] = [
        sentence_scores([0, 1], [1, 1], ["non", "oui"]),
        token_scores([[0, 1]], [[1, 1]], BARE, "IO", [[1, 2]]),
    ]
    for result in results:
        assert {type(value) for value in result.scores.values()} == {float}


def test_arrays_serve_as_well_as_lists() -> None:
    gold, predicted = random_tags(np.random.default_rng(3), len(BARE), 20)
    arrays = [np.array(sentence, np.int32) for sentence in predicted]
    assert (entity_counts(gold, arrays, BARE, "IO") == entity_counts(gold, predicted, BARE, "IO")).all()


def test_types_and_classes_have_no_prefix() -> None:
    assert entity_types(PREFIXED) == entity_types(BARE) == list(TYPES)
    assert list(word_scores([[1]], [[2]], PREFIXED, [[1]]).per_class["word"]) == list(BARE)
    assert word_scores([[1]], [[2]], PREFIXED, [[1]]).scores["word_accuracy"] == 1.0  # B-PER and I-PER are PER


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"gold \(2,\) and predicted \(1,\)"):
        sentence_scores([0, 1], [0], ["non", "oui"])
    with pytest.raises(ValueError, match="predicted holds 2, which is not an index of 2 labels"):
        sentence_scores([0, 1], [0, 2], ["non", "oui"])
    with pytest.raises(ValueError, match="gold holds -100"):
        entity_counts([[0, -100]], [[0, 0]], BARE, "IO")
    with pytest.raises(ValueError, match="gold has 2 sentences, predicted 1"):
        entity_counts([[0], [0]], [[0]], BARE, "IO")
    with pytest.raises(ValueError, match=r"sentence 1 \(from 0\) has 2 words in gold, 1 in predicted"):
        entity_counts([[0], [0, 0]], [[0], [0]], BARE, "IO")
    with pytest.raises(ValueError, match="subwords_per_word"):
        token_scores([[0]], [[0]], BARE, "IO", [[1, 1]])


def test_collapsed() -> None:
    assert collapsed([0, 1, 2, 3], [0, 0, 0, 0], BARE) == "predicts only 'O' (gold has 4 classes)"
    assert collapsed([1, 0], [1, 1], ["non", "oui"]) == "predicts only 'oui' (gold has 2 classes)"
    assert collapsed([1, 0], [1, 0], ["non", "oui"]) is None
    assert collapsed([1, 1], [1, 1], ["non", "oui"]) is None  # gold holds nothing else
    assert collapsed([], [], ["non", "oui"]) is None


@pytest.mark.parametrize("classes", [2, 3, 5, 17, 40])
def test_a_score_of_many_test_sets_is_that_of_each_to_the_bit(classes: int) -> None:
    rng = np.random.default_rng(classes)
    gold = rng.integers(classes, size=400)
    chosen = np.arange(classes) > 0
    each = [formulas.class_counts(gold, np.where(rng.random(400) < q, gold, 0), classes)[0] for q in rng.random(6)]
    for formula in (
        *(metric.score for metric in classification.metrics(classes).values()),
        *(metric.score for metric in ENTITY_METRICS.values()),
        partial(formulas.weighted_f1, chosen=chosen),
        partial(formulas.macro_f1, chosen=chosen),
    ):
        together = formula(np.stack(each).reshape(2, 3, classes, 3).astype(float))
        assert together.ravel().tolist() == [float(formula(one)) for one in each]


def test_counts_by_cluster_add_up_and_keep_empty_clusters() -> None:
    rng = np.random.default_rng(0)
    gold, predicted, weights = rng.integers(4, size=200), rng.integers(4, size=200), rng.integers(3, size=200)
    cluster = rng.integers(7, size=200)
    by_cluster = formulas.class_counts(gold, predicted, 4, cluster, 9, weights)
    assert by_cluster.shape == (9, 4, 3) and not by_cluster[7:].any()
    for each in range(7):
        of_one = cluster == each
        alone = formulas.class_counts(gold[of_one], predicted[of_one], 4, weights=weights[of_one])
        assert (by_cluster[each] == alone[0]).all()
    with pytest.raises(ValueError, match="predicted holds 4, which is not an index of 4 labels"):
        formulas.class_counts(gold, predicted + 4, 4)
