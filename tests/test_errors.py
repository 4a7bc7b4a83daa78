"""What pydantic finds wrong, in words."""

from __future__ import annotations

from typing import Annotated, Self

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from flue_bench.errors import Fault, UnknownNameError, UsageError, faults, near_names
from flue_bench.recipe import Recipe
from support import ROOT


class Inner(BaseModel, extra="forbid"):
    rate: float = Field(1.0, gt=0)


class Outer(BaseModel):
    parts: tuple[Inner, ...]
    names: Annotated[tuple[str, ...], Field(max_length=1)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.parts:
            raise ValueError("parts are what it is made of.")
        return self


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"parts": [{"rate": -1}]}, "field 'parts.0.rate': it has to be greater than 0"),
        ({"parts": [{"ratte": 1}]}, "field 'parts.0.ratte': not known here"),
        ({}, "field 'parts': missing"),
        ({"parts": []}, "parts are what it is made of"),
    ],
)
def test_the_first_fault_in_words(value: object, said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(value)
    assert str(faults(raised.value)[0]) == said


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "x", "it has to be a whole number"),
        (int, 1.5, "it has to be a whole number"),
        (float, "x", "it has to be a number"),
        (bool, "x", "it has to be true or false"),
        (str, 1, "it has to be a text"),
        (tuple[str, ...], 1, "it has to be a list"),
        (Inner, 1, "it has to be a table"),
    ],
)
def test_no_name_of_pydantics_own_types(kind: type, value: object, said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(value)
    assert str(faults(raised.value)[0]) == said


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("learnin_rate", ["learning_rate", "warmup_ratio", "max_length"], ["learning_rate"]),
        ("mini-clss", ["mini-cls", "mini-xnli", "mini-pawsx"], ["mini-cls"]),
        ("org/x", ["org/a", "org/b", "autre"], ["org/b", "org/a"]),  # as near as each other
        ("flue", ["quick", "standard"], []),
    ],
)
def test_only_near_names_are_offered(name: str, known: list[str], nearest: list[str]) -> None:
    assert near_names(name, known) == nearest


def test_each_alternative_of_a_field() -> None:
    with pytest.raises(UsageError, match=r"'epochs' cannot be 'x': it has to be a whole number or 'auto'\."):
        Recipe().override({"epochs": "x", "batch_size": "y"})
    with pytest.raises(UsageError, match=r"'batch_size' cannot be 'y': it has to be a whole number\."):
        Recipe().override({"batch_size": "y"})


def test_a_name_that_something_lacks() -> None:
    error = UnknownNameError("recipe", "flue", ["standard", "quick"], of="Task xnli")
    assert str(error) == "Task xnli has no recipe 'flue'. Known: quick, standard."


def test_all_faults_with_what_was_found() -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"parts": [{"rate": "x"}], "names": ["a", "b"]})
    first, second = faults(raised.value)
    assert first[:3] == (("parts", 0, "rate"), "float_parsing", "x") and first.key == "parts.0.rate"
    assert second == Fault(("names",), "too_long", ["a", "b"], second.reason)


def test_nobody_else_takes_a_validation_error_apart() -> None:
    code = [file for folder in ("flue_bench", "tasks", "distill") for file in (ROOT / folder).rglob("*.py")]
    assert [file.name for file in code if ".errors(" in file.read_text(encoding="utf-8")] == ["errors.py"]
