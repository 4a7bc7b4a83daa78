"""``--train-rows``: nested draws of train, each a setting of its own, with validation and test whole."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import flue_bench
from flue_bench.data.sources import drawn, limited
from flue_bench.errors import UsageError
from flue_bench.record import Cell, RunRecord
from flue_bench.results.verify import faults
from flue_bench.task import Example
from support.command_line import flue_bench as command
from support.command_line import refused
from support.factories import make_cell

MODEL = "embedded:untrained"
SMALL: dict[str, Any] = {"overrides": {"epochs": 1}, "device": "cpu", "progress": False}
ROWS = [
    {"text": f"Cela {'va' if i % 2 else 'ne va pas'}, dit {i}.", "label": "oui" if i % 2 else "non"} for i in range(48)
]
EXAMPLES = [Example(id=f"train-{i}", group=str(i), label=i % 2, text=str(i)) for i in range(500)]


def own(**more: Any) -> flue_bench.Task:
    declared: dict[str, Any] = {"labels": ["non", "oui"], "metric": "f1_macro"}
    return flue_bench.Task.from_examples(
        "avis", "sentence", **declared | {"train": ROWS, "validation": ROWS[:12], "test": ROWS[:10]} | more
    )


def test_more_rows_of_a_seed_hold_the_fewer_and_another_seed_draws_others() -> None:
    draws = [{example.id for example in drawn(EXAMPLES, rows, seed=3)} for rows in (1, 10, 100, 499, 500)]
    assert [len(draw) for draw in draws] == [1, 10, 100, 499, 500]
    assert all(few < more for few, more in pairwise(draws))
    other = {example.id for example in drawn(EXAMPLES, 100, seed=4)}
    assert 5 < len(other & draws[2]) < 50  # 20 are expected of two independent draws of a fifth
    assert other != {example.id for example in limited(EXAMPLES, 100)}
    ids = [int(example.id.removeprefix("train-")) for example in drawn(EXAMPLES, 100, seed=3)]
    assert ids == sorted(ids)  # the order of the file, whatever the draw


def test_each_number_is_a_setting_of_its_own_and_epochs_follow(tmp_path: Path) -> None:
    settings: dict[str, Any] = SMALL | {
        "overrides": {"epochs": "auto", "batch_size": 8},
        "results": tmp_path,
        "seeds": 2,
    }
    made = flue_bench.run(MODEL, own(), train_rows=["all", 32, 8], **settings)
    by_rows: dict[int | None, list[RunRecord]] = {}
    for record in made:
        by_rows.setdefault(record.cell.train_rows, []).append(record)
    assert list(by_rows) == [8, 32, None]  # the quickest first
    assert len({record.setting_digest for record in made}) == 3 and len({record.cell_digest for record in made}) == 6
    assert {rows: of[0].cell.recipe.epochs for rows, of in by_rows.items()} == {8: 30, 32: 30, None: 30}
    assert [of[0].cost.steps for of in by_rows.values()] == [30, 120, 180]
    assert {record.predictions.rows for record in made} == {10}
    assert {record.data.rows["train"] for record in made} == {48}  # of the data, not of the draw
    assert not [fault for checked in flue_bench.verify_records(tmp_path, progress=False) for fault in checked.faults]
    again = flue_bench.run(MODEL, own(), train_rows=8, **settings)
    assert again.reused == 2

    board = flue_bench.build_board(made)
    assert [column.train_rows for column in board.columns] == [None, 32, 8]
    assert [column.title for column in board.columns][1:] == ["avis on 32 train rows", "avis on 8 train rows"]
    assert board.to_pandas()["train_rows"].dropna().tolist() == [32, 8]


def test_a_draw_of_all_rows_is_the_whole_run(tmp_path: Path) -> None:
    whole = flue_bench.run(MODEL, own(), results=tmp_path, **SMALL)
    same = flue_bench.run(MODEL, own(), train_rows=[48, 1000, "all"], results=tmp_path, **SMALL)
    assert len(same) == same.reused == 1 and same.records == whole.records
    limited_too = flue_bench.run(MODEL, own(), train_rows=[16, 20], limit=16, results=tmp_path, **SMALL)
    assert [record.cell.train_rows for record in limited_too] == [None]


def test_a_draw_without_a_label_is_trained_on_and_says_so(tmp_path: Path) -> None:
    rare = [*ROWS[1::2], ROWS[0]]
    record = flue_bench.run(MODEL, own(train=rare), train_rows=4, results=tmp_path, **SMALL).records[0]
    assert "the 4 rows drawn from train have no non" in record.environment.notes
    both = flue_bench.run(MODEL, own(), train_rows=40, results=tmp_path, **SMALL).records[0]
    assert not any("drawn from train" in note for note in both.environment.notes)


def test_cells_without_a_draw_are_what_they_were() -> None:
    cell = make_cell()
    assert "train_rows" not in cell.model_dump() and "train_rows" not in json.loads(cell.model_dump_json())
    assert Cell.model_validate(cell.model_dump()) == cell
    drawn_from = cell.model_copy(update={"train_rows": 100})
    assert drawn_from.model_dump()["train_rows"] == 100
    assert (cell.schema_version, drawn_from.schema_version) == (1, 2)  # 0.1 has no such cell
    assert not {*drawn_from.digests()} & {*cell.digests()}


def test_verify_refuses_a_draw_of_more_rows_than_there_are(tmp_path: Path) -> None:
    flue_bench.run(MODEL, own(), train_rows=8, results=tmp_path, **SMALL)
    (path,) = tmp_path.glob("runs/*/*/*.json")
    content = json.loads(path.read_text())
    content["cell"]["train_rows"] = 48
    cell = Cell.model_validate(content["cell"])
    content |= {"cell_digest": cell.digest, "setting_digest": cell.setting_digest}
    path.write_text(json.dumps(content))
    assert any(fault.startswith("cell.train_rows: 48, but the train split has 48 rows") for fault in faults(path))


def test_models_of_different_draws_are_not_compared(tmp_path: Path) -> None:
    for model, rows in ((MODEL, 8), ("embedded:student", 16)):
        flue_bench.run(model, own(), seeds=2, train_rows=rows, results=tmp_path, **SMALL)
    with pytest.raises(UsageError, match="train rows 8 and 16"):
        flue_bench.compare(MODEL, "embedded:student", tmp_path)


@pytest.mark.parametrize("asked", [0, -1, [], [0, "all"], "viele", [1.5]])
def test_what_is_no_number_of_rows_is_refused_before_anything_runs(asked: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train_rows"):
        flue_bench.run(MODEL, own(), train_rows=asked, results=tmp_path / "none", **SMALL)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("asked", ["0", "100,", "-5", "1e3", "alles", ""])
def test_the_option_takes_numbers_and_all(asked: str, tmp_path: Path) -> None:
    said = refused("run", "-m", MODEL, "-t", "mini-cls", f"--train-rows={asked}", "--results", tmp_path)
    assert "100,300,1000,all" in said


def test_the_option_runs_a_cell_for_each(tmp_path: Path) -> None:
    options = ["--limit", "24", "--set", "epochs=1", "--train-rows", "6, 1_2,all", "--results", str(tmp_path)]
    said = command("run", "-m", MODEL, "-t", "mini-cls", *options)
    assert said.code == 0 and "mini-cls · 6 train rows · seed 0" in said.err and "[3/3]" in said.err
