"""What a record knows of a student's distillation: the recipe without its seed, and the seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flue_bench.record import ModelRef
from flue_bench.training.models import _distilled, _training

MADE: dict[str, Any] = {
    "schema_version": 1,
    "protocol": 2,
    "recipe": {"teacher": "org/t", "student": None, "temperature": 2.0, "seed": 3, "evaluate_steps": 10},
    "teacher": {"name": "org/t", "digest": "a" * 16},
    "student": None,
    "corpus": {"digest": "c" * 16, "tokens": 5},
    "cost": {"seconds": 1.0, "steps": 100},
}


def said(folder: Path, **changes: Any) -> Any:
    (folder / "distillation.json").write_text(json.dumps(MADE | changes), encoding="utf-8")
    return _distilled(folder)


def test_only_the_seed_differs_between_distillations_of_one_recipe(tmp_path: Path) -> None:
    first, other = said(tmp_path), said(tmp_path, recipe=MADE["recipe"] | {"seed": 4})
    assert (first.seed, other.seed) == (3, 4) and first.recipe == other.recipe


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": MADE["recipe"] | {"teacher": "../elsewhere/t", "evaluate_steps": 99, "checkpoint_seconds": 1.0}},
        {"cost": {"seconds": 9.0, "steps": 100}},
        {"teacher": {"name": "another name", "digest": "a" * 16}},
        {"corpus": {"digest": "c" * 16}},
    ],
)
def test_names_costs_and_looks_are_not_of_the_recipe(changes: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, **changes) == said(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": 1},
        {"cost": {"seconds": 1.0, "steps": 50}},
        {"recipe": MADE["recipe"] | {"temperature": 3.0}},
        {"teacher": {"name": "org/t", "digest": "b" * 16}},
        {"student": {"name": "s", "digest": "b" * 16}},
        {"corpus": {"digest": "d" * 16}},
    ],
)
def test_what_decides_the_weights_is(changes: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, **changes).recipe != said(tmp_path).recipe


@pytest.mark.parametrize(
    "changes",
    [
        *({"recipe": given} for given in (None, {}, {"seed": "3"}, {"seed": -1}, {"seed": True}, {"seed": 10**30})),
        {"recipe": {"seed": 0, "note": "\ud800"}},
        {"protocol": {"\ud800": 1}},
        *({"corpus": given} for given in (None, [])),
    ],
)
def test_a_file_of_another_shape_says_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, **changes) is None


@pytest.mark.parametrize(
    "steps", ["\ud800", {"a": "\udfff"}, json.loads("[" * 900 + "]" * 900)], ids=["", "deeper", "deep"]
)
def test_a_trainers_state_of_another_shape_is_no_reason_to_stop(steps: Any, tmp_path: Path) -> None:
    state = {"max_steps": steps, "global_step": 5}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    found = _training(tmp_path, "")
    assert found is None or found.step == 5


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    assert _distilled(tmp_path) is None
    older = {"name": "m", "origin": "directory", "digest": "a" * 16}
    assert ModelRef.model_validate(older).distilled is None
