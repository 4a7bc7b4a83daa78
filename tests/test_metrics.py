"""The ``evaluate`` metrics: same scores as a run's, by name or by index, without the hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest

from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.kinds.sentence import METRICS, sentence_scores
from flue_bench.kinds.tokens import ENTITY_METRICS, entity_scores, token_scores, word_metrics
from flue_bench.metrics import EntityScores, SentenceScores, WordScores

TAGS = ["O", "PER", "ORG", "LOC"]
GOLD = [["PER", "PER", "O", "ORG"], ["O", "LOC", "LOC"], ["O"]]
PREDICTED = [["PER", "PER", "O", "LOC"], ["O", "LOC", "O"], ["O"]]
SUBWORDS = [[2, 3, 1, 1], [1, 1, 4], [2]]


def indexes(sentences: list[list[str]]) -> list[list[int]]:
    return [[TAGS.index(tag) for tag in sentence] for sentence in sentences]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"cache_dir": str(tmp_path)}


def expected_tokens() -> dict[str, float]:
    return token_scores(indexes(GOLD), indexes(PREDICTED), TAGS, "IO", SUBWORDS).scores


def test_sentences_by_name_by_index_and_as_an_array(settings: dict[str, Any]) -> None:
    metric = SentenceScores(["négatif", "positif"], **settings)
    gold, predicted = [0, 1, 1, 0], [0, 1, 0, 0]
    expected = sentence_scores(gold, predicted, ["négatif", "positif"]).scores
    assert set(expected) == set(METRICS)
    assert metric.compute(predictions=predicted, references=gold) == expected
    assert metric.compute(predictions=np.array(predicted), references=np.array(gold)) == expected
    names = [["négatif", "positif"][i] for i in gold]
    assert metric.compute(predictions=predicted, references=names) == expected


def test_labels_that_look_like_numbers_are_names_when_they_are_strings(settings: dict[str, Any]) -> None:
    metric = SentenceScores(["1", "2", "3"], **settings)
    scores = metric.compute(predictions=["1", "2", "3", "3"], references=[0, 1, 2, 0])
    assert scores["accuracy"] == 0.75


def test_tokens_by_name_and_by_index(settings: dict[str, Any]) -> None:
    entities, words = EntityScores(TAGS, "IO", **settings), WordScores(TAGS, **settings)
    for gold, predicted in (GOLD, PREDICTED), (indexes(GOLD), indexes(PREDICTED)):
        scores = entities.compute(predictions=predicted, references=gold)
        scores |= words.compute(predictions=predicted, references=gold, subwords_per_word=SUBWORDS)
        assert scores == expected_tokens()


def test_perfect_predictions_on_bare_tags_score_one(settings: dict[str, Any]) -> None:
    scores = EntityScores(labels=TAGS, scheme="IO", **settings).compute(
        predictions=GOLD, references=GOLD, per_class=True
    )
    assert scores["entity_f1_micro"] == scores["entity_f1_macro"] == 1.0
    assert scores["entity"]["ORG"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}


def test_batches_and_single_examples_add_up(settings: dict[str, Any]) -> None:
    metric = EntityScores(TAGS, "IO", **settings)
    metric.add_batch(predictions=[[]], references=[[]])  # an empty sentence first
    metric.add_batch(predictions=PREDICTED[:2], references=indexes(GOLD[:2]))
    metric.add(prediction=PREDICTED[2], reference=GOLD[2])
    scores = metric.compute()
    assert scores == {name: value for name, value in expected_tokens().items() if name.startswith("entity")}


@pytest.mark.parametrize("in_batches", [True, False])
def test_combined_they_give_every_token_score(settings: dict[str, Any], in_batches: bool) -> None:
    combined = evaluate.combine([EntityScores(TAGS, "IO", **settings), WordScores(TAGS, **settings)])
    inputs = {"predictions": PREDICTED, "references": GOLD, "subwords_per_word": SUBWORDS}
    if in_batches:
        combined.add_batch(**inputs)
        scores = combined.compute()
    else:
        scores = combined.compute(**inputs)
    assert set(scores) == {*ENTITY_METRICS, *word_metrics(TAGS)}
    assert scores == expected_tokens()


def test_kept_in_memory(settings: dict[str, Any]) -> None:
    metric = SentenceScores(["non", "oui"], keep_in_memory=True, **settings)
    assert metric.compute(predictions=["oui"], references=["oui"])["accuracy"] == 1.0


def test_unknown_label_and_unequal_lengths(settings: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown label 'LOCC'\. Did you mean LOC\?"):
        EntityScores(TAGS, "IO", **settings).compute(predictions=[["LOCC"]], references=[["LOC"]])
    with pytest.raises(ValueError, match="3 words in gold, 2 in predicted"):
        EntityScores(TAGS, "IO", **settings).compute(predictions=[["O", "O"]], references=[["O", "O", "O"]])


@pytest.mark.parametrize(
    ("labels", "scheme", "message"),
    [
        (["O", "B-PER", "I-PER"], "BIO", r"IO, IOB1 or IOB2 \(also called BIO\), not in 'BIO'"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "BILOU", "not in 'BILOU'"),
        (["O", "B-PER", "I-PER"], "iob2", "not in 'iob2'"),
        (["O", "B-PER", "I-PER"], "IO", "scheme IO has no tags such as B-PER: they would be IOB2 or IOB1"),
        (["O", "PER"], "IOB2", "scheme IOB2 has no tags such as PER: write 'B-PER', 'I-PER', or scheme IO"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "IO", "such as B-PER, E-PER, S-PER: they would be IOBES"),
        (["O", "B-PER", "L-PER"], "IOB2", "such as L-PER: they would be BILOU"),
    ],
)
def test_a_scheme_that_labels_are_not_in(
    settings: dict[str, Any], labels: list[str], scheme: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        EntityScores(labels, scheme, **settings)
    if "not in" in message:
        with pytest.raises(ValueError, match=message):
            entity_scores([[0]], [[0]], labels, scheme)


def test_without_the_hub_in_a_fresh_process(tmp_path: Path) -> None:
    code = (
        "from flue_bench.metrics import SentenceScores\n"
        "print(SentenceScores(labels=['non', 'oui']).compute(predictions=['oui'], references=['oui'])['accuracy'])"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.0\n"
