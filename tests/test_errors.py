"""What pydantic finds wrong, in words."""

from __future__ import annotations

from typing import Annotated, Self

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from flue_bench.errors import Fault, faults
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
        ({"parts": [{"rate": -1}]}, "field 'parts.0.rate': Input should be greater than 0"),
        ({"parts": [{"ratte": 1}]}, "field 'parts.0.ratte': Extra inputs are not permitted"),
        ({}, "field 'parts': Field required"),
        ({"parts": []}, "parts are what it is made of"),
    ],
)
def test_the_first_fault_in_words(value: object, said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(value)
    assert str(faults(raised.value)[0]) == said


def test_all_faults_with_what_was_found() -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"parts": [{"rate": "x"}], "names": ["a", "b"]})
    first, second = faults(raised.value)
    assert first[:3] == (("parts", 0, "rate"), "float_parsing", "x") and first.key == "parts.0.rate"
    assert second == Fault(("names",), "too_long", ["a", "b"], second.reason)


def test_nobody_else_takes_a_validation_error_apart() -> None:
    code = [file for folder in ("flue_bench", "tasks", "distill") for file in (ROOT / folder).rglob("*.py")]
    assert [file.name for file in code if ".errors(" in file.read_text(encoding="utf-8")] == ["errors.py"]
