"""What is committed under results/ can be had again from what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flue_bench
from flue_bench.boards import render
from flue_bench.record import RunRecord
from flue_bench.results.store import FAILED, Store
from flue_bench.results.verify import faults
from support import ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "results").rglob("leaderboard.md") if "local" not in path.parts)
RECORDS = [
    path for folder in FOLDERS for path in sorted(folder.glob("runs/*/*/*.json")) if not path.name.endswith(FAILED)
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_board_is_that_of_the_records(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path))  # nothing cached
    contents = Store(folder).read()
    assert contents.records and not contents.damaged
    built = flue_bench.build_board(folder)
    assert render.markdown(built) == (folder / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_scores_are_those_of_the_predictions(path: Path) -> None:
    assert faults(path) == []


def test_a_later_field_is_not_written_into_a_record_that_does_not_use_it() -> None:
    """Then a record that is stored again keeps its hash. Those from before 0.2 lack fields that were then added."""
    kept = 0
    for path in RECORDS:
        text = path.read_text(encoding="utf-8")
        record = RunRecord.model_validate_json(text)
        if record.cell.protocol > 1:
            assert json.loads(record.model_dump_json()) == json.loads(text), path.name
            kept += 1
    assert kept > 50
