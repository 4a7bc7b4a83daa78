"""docs/task-files.md: every key of a task file is there, with an example that validates."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from flue_bench.data import registry
from flue_bench.errors import TaskFileError
from flue_bench.kinds.kind import installed, kind_named
from flue_bench.task import Archive, Source, SplitFiles, Task
from support import ROOT

PAGE = (ROOT / "docs" / "task-files.md").read_text(encoding="utf-8")
TABLES = [dict(re.findall(r"^\| `(\w+)` \|.*\| `([^`]+)` \|$", part, re.M)) for part in PAGE.split("| key |")[1:]]
WHOLE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("model", "number"), [(Task, 0), (Source, 1), (SplitFiles, 2)])
def test_every_key_has_an_example_that_validates(model: Any, number: int) -> None:
    table = TABLES[number]
    assert table.keys() | ({"source"} & model.model_fields.keys()) == model.model_fields.keys()
    for key, example in table.items():
        parsed = tomllib.loads(example)
        assert list(parsed) == [key]
        field = model.model_fields[key]
        TypeAdapter(Annotated[field.annotation, *field.metadata, "as its model has it"]).validate_python(parsed[key])
    assert len(TABLES) == 4 and all(f"`{key}`" in PAGE for key in Archive.model_fields if key != "url")


def test_every_option_of_a_kind_has_an_example_that_the_kind_takes() -> None:
    """The example as such; and other values, which tests of the kind try, are faults."""
    kinds = [kind_named(name) for name in installed() if kind_named(name).__module__.startswith("flue_bench.")]
    assert TABLES[3].keys() == {option for kind in kinds for option in kind.options}
    for key, example in TABLES[3].items():
        parsed = tomllib.loads(example)
        assert list(parsed) == [key]
        for kind in kinds:
            if key in kind.options:
                row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{key}` |"))
                assert f"`{kind.name}`" in row
                task = SimpleNamespace(options=parsed, labels=("a", "b"), scheme=None, metric="")
                assert not [fault for where, fault in kind.faults(task) if where == "options"]


@pytest.mark.parametrize("number", range(10))
def test_every_whole_example_is_a_task(number: int, tmp_path: Path) -> None:
    path = tmp_path / "essai.toml"
    path.write_text(WHOLE[number], encoding="utf-8")
    assert [f'name = "{each.task.name}"' in WHOLE[number] for each in registry.select([str(path)])] == [True]
    path.write_text(WHOLE[number] + "\ninconnu = 1\n", encoding="utf-8")
    with pytest.raises(TaskFileError, match=r"unknown key|Unknown recipe field"):
        registry.select([str(path)])
    assert len(WHOLE) == 10
