"""What pydantic finds wrong, in words."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Annotated, Self

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from flue_bench.errors import (
    _ENOUGH,
    Fault,
    UnknownNameError,
    UsageError,
    faults,
    near_names,
    plain_addresses,
    quoted,
)
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
        ("Mini-CLS", ["mini-cls", "mini-qa", "mini-pos"], ["mini-cls"]),
        ("camembert", ["CamemBERT", "autre"], ["CamemBERT"]),
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://Nora:Secret@host/a?key=Secret, or ftp://b", "see http://host/a or ftp://b"),
        ("2.http://Nora:Secret@host", "2.http://host"),
        ("a://b://Nora:Secret@host", "(an address that is not shown)"),
        ("://Nora:Secret@host", "(an address that is not shown)"),
        ("1://Nora:Secret@host", "1(an address that is not shown)"),
        ("x" * 100 + "http://Nora:Secret@host", "(an address that is not shown)"),
        ("http://host/a and https://host/b", "http://host/a and https://host/b"),
        ("nothing: //here @ all", "nothing: //here @ all"),
    ],
)
def test_addresses_in_a_text(text: str, shown: str) -> None:
    assert plain_addresses(text) == shown


def test_a_cut_address_is_quoted_without_its_secret() -> None:
    """Wherever the cut falls, in the scheme, the name, the password or behind it."""
    url = "http://Nora:" + "Secret" * 10 + "@host/path?key=Secret"
    for blanks in range(_ENOUGH - len(url) - 2, _ENOUGH + 2):
        text = repr(" " * blanks + url)
        said = plain_addresses(text[:_ENOUGH], cut=len(text) > _ENOUGH)
        assert "Sec" not in said and "Nora" not in said
    assert "Secret" not in quoted("http://Nora:" + "Secret" * 1000 + "@host")
    assert "Secret" not in quoted("http://Nora:Secret#" + "x" * 10_000 + "@host")


QUOTING = """
from flue_bench.data.hub import cleaned
from flue_bench.errors import plain_addresses, quoted

for part in ("a", "a.", "1", "a://", "a://b:c", "://", "http:/", "http://b ", "@", "bearer ", " ", "a@", "é"):
    text = part * (2_000_000 // len(part))
    plain_addresses(text), cleaned(text)
    assert len(quoted(text)) <= 81, part
    assert len(quoted([text])) <= 81, part
"""


def test_a_long_text_is_quoted_in_a_time_that_grows_with_its_length() -> None:
    """Two megabytes take hours where the time grows with the square."""
    subprocess.run([sys.executable, "-c", QUOTING], check=True, timeout=120)


def test_nobody_else_takes_a_validation_error_apart() -> None:
    code = [file for folder in ("flue_bench", "tasks", "distill") for file in (ROOT / folder).rglob("*.py")]
    taken = [file.name for file in code if re.search(r"\.errors\((?:\)|include_)", file.read_text(encoding="utf-8"))]
    assert taken == ["errors.py"]
