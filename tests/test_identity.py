"""Digests of cells: those of all committed records stay, whatever fields come later."""

from __future__ import annotations

import json

import pytest

from flue_bench.record import FIRST_OF_NO_TRAINING, Cell, digest_of
from support import ROOT
from support.factories import make_cell

RECORDS = sorted(
    path for path in (ROOT / "results").rglob("runs/*/*/*.json") if "cell_digest" in json.loads(path.read_bytes())
)


def test_the_digests_of_all_committed_records_stay() -> None:
    assert len(RECORDS) >= 99
    for path in RECORDS:
        kept = json.loads(path.read_bytes())
        assert Cell.model_validate(kept["cell"]).digest == kept["cell_digest"], path


class Later(Cell):
    tutor: str = ""


@pytest.mark.parametrize(("tutor", "same"), [("", True), ("0" * 16, False)])
def test_a_later_field_counts_only_where_it_says_something(tutor: str, same: bool) -> None:
    cell = make_cell()
    later = Later.model_validate(cell.model_dump() | {"tutor": tutor})
    assert (later.digest == cell.digest) is same
    assert (later.setting_digest == cell.setting_digest) is same


@pytest.mark.parametrize("task", ["xnli", ',"task":', '","seed":7,"task":"', '\\","seed":7,"task":"é'])
@pytest.mark.parametrize("later", [{}, {"tutor": '","seed":7,"task":"'}])
def test_both_digests_are_those_of_the_whole_cell(task: str, later: dict[str, str]) -> None:
    cell = Later.model_validate(make_cell(task=task, seed=11).model_dump() | later)
    said = cell.model_dump(mode="json")
    first = {"model": cell.model.digest, **{key: value for key, value in said.items() if key not in ("model", *later)}}
    whole = first | later if later else {key: value for key, value in first.items() if key != "tutor"}
    setting = {key: value for key, value in whole.items() if key != "seed"}
    assert cell.digests() == (digest_of(whole), digest_of(setting)) == (cell.digest, cell.setting_digest)


def test_the_digests_of_a_cell_without_training_are_those_of_the_whole_too() -> None:
    asked = {"method": "own head", "max_length": 8, "precision": "fp32", "options": {"k": {"a": 1, "task": ',"task":'}}}
    cell = Cell.model_validate(make_cell().model_dump() | {"seed": None, "recipe": asked})
    said = cell.model_dump(mode="json")
    kept = {key: value for key, value in said["recipe"].items() if key in FIRST_OF_NO_TRAINING or key in asked}
    whole = said | {"model": cell.model.digest, "recipe": kept}
    setting = {key: value for key, value in whole.items() if key != "seed"}
    assert cell.digests() == (digest_of(whole), digest_of(setting))


def test_seed_stands_before_task_as_the_digests_take_for_granted() -> None:
    fields = sorted(Cell.model_fields)
    assert fields[fields.index("seed") + 1] == "task"
