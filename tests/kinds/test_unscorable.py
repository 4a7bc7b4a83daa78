"""Rows on which all models would have the same scores are refused when read, and said when a limit leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flue_bench.data import registry, sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError
from flue_bench.jobs.loader import TaskInputs
from flue_bench.metrics import EntityScores
from flue_bench.task import Task

ROWS = 20


def tagged(*tags: str) -> dict[str, Any]:
    return {"words": [f"mot{tag}{at}" for at, tag in enumerate(tags)], "tags": list(tags)}


def task(kind: str, rows: list[dict[str, Any]], test: list[dict[str, Any]], **settings: Any) -> Registered:
    made = Task.from_examples("essai", kind, train=rows, validation=rows, test=test, **settings)
    return Registered(made, Path(), "")


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "IO": (
        tagged("O", "PER", "O"),
        tagged("O", "O", "O"),
        {"kind": "tokens", "labels": ["O", "PER"], "scheme": "IO", "metric": "entity_f1_micro"},
        r"test: none of \d+ words is part of an entity",
    ),
    "IOB2, by words": (
        tagged("O", "B-PER", "I-PER"),
        tagged("O", "O", "O"),
        {"kind": "tokens", "labels": ["O", "B-PER", "I-PER"], "scheme": "IOB2", "metric": "word_accuracy"},
        r"test: none of \d+ words is part of an entity",
    ),
    "multi-label": (
        {"text": "un texte", "labels": ["joie"]},
        {"text": "un autre texte", "labels": []},
        {"kind": "multi-label", "labels": ["joie", "peur"], "metric": "f1_micro"},
        "test: no example has a label, and no F1 exists without one",
    ),
    "regression": (
        {"text": "un texte", "value": 1.0},
        {"text": "un autre texte", "value": 2.0},
        {"kind": "regression", "metric": "pearson", "options": {"range": [0, 5]}},
        "test: all 2?[0-9] numbers are 2, and no correlation with them exists",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_where_it_is_read(name: str) -> None:
    right, wrong, settings, message = KINDS[name]
    kind = settings["kind"]
    settings = {key: value for key, value in settings.items() if key != "kind"}
    both = [right, wrong] * (ROWS // 2)
    assert sources.load(task(kind, both, both, **settings)).ref.rows["test"] == ROWS
    with pytest.raises(DataError, match=message):
        sources.load(task(kind, both, [wrong] * ROWS, **settings))


@pytest.mark.parametrize("name", KINDS)
def test_where_a_limit_leaves_it_it_is_said(name: str) -> None:
    right, wrong, settings, _ = KINDS[name]
    kind = settings["kind"]
    settings = {key: value for key, value in settings.items() if key != "kind"}
    both = [right, wrong] * (ROWS // 2)
    one = task(kind, both, [right, *[wrong] * (ROWS - 1)], **settings)
    inputs = TaskInputs(one, sources.load(one))
    assert inputs.alone(None) == ()
    said = [words for words in inputs.alone(2) if "leaves test of essai" in words]
    assert len(said) == 1 and "say nothing" in said[0]


def test_words_with_classes_of_their_own_need_no_entity() -> None:
    rows = [tagged("NOUN", "VERB")] * ROWS
    pos = task("tokens", rows, rows, labels=["NOUN", "VERB"], metric="word_accuracy")
    assert sources.load(pos).ref.rows["test"] == ROWS
    with_o = task("tokens", rows, rows, labels=["O", "NOUN", "VERB"], metric="word_accuracy")
    assert sources.load(with_o).ref.rows["test"] == ROWS
    assert registry.registered()["ud-sequoia"].task.scheme is None


def test_the_metric_says_that_the_references_have_none(tmp_path: Path) -> None:
    metric = EntityScores(labels=["O", "PER"], scheme="IO", cache_dir=str(tmp_path))
    with pytest.warns(UserWarning, match="The references have no entity"):
        scores = metric.compute(predictions=[["O", "PER"]], references=[["O", "O"]])
    assert scores["entity_f1_micro"] == 0.0
