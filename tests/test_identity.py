"""Digests of cells: those of all committed records stay, whatever fields come later."""

from __future__ import annotations

import json

import pytest

from flue_bench.record import Cell
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
    teacher: str = ""


@pytest.mark.parametrize(("teacher", "same"), [("", True), ("0" * 16, False)])
def test_a_later_field_counts_only_where_it_says_something(teacher: str, same: bool) -> None:
    cell = make_cell()
    later = Later.model_validate(cell.model_dump() | {"teacher": teacher})
    assert (later.digest == cell.digest) is same
    assert (later.setting_digest == cell.setting_digest) is same
