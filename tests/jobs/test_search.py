"""Searches: points scored on validation alone, the best run on test, and all of it in the record."""

from __future__ import annotations

import builtins
import json
import os
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import flue_bench
from flue_bench import search as asking
from flue_bench.data import registry
from flue_bench.errors import DivergedError, IncompleteError, UnknownNameError, UsageError
from flue_bench.jobs import cell as cells
from flue_bench.record import TUNING, Point, RunRecord, Searched
from flue_bench.results.store import Store
from support.command_line import done, refused
from support.command_line import flue_bench as flue_bench_command
from support.factories import make_cell, make_record
from support.tasks import sentence_task

MODEL = "embedded:untrained"
POINTS = {"learning_rate": [3e-4, 1e-3, 3e-3], "batch_size": [4, 8]}
"""Some collapse."""
SMALL: dict[str, Any] = {"overrides": {"epochs": 4}, "device": "cpu", "progress": False}


def files(folder: Path, name: str = "avis", rows: int = 48) -> Path:
    """A task in files of its own, whose text says the label."""
    folder.mkdir(exist_ok=True)
    for split, number in (("train", rows), ("validation", 24), ("test", 20)):
        lines = ["text,label"] + [
            f"Cela {'va' if i % 2 else 'ne va pas'} dit {split} {i}.,{'oui' if i % 2 else 'non'}" for i in range(number)
        ]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = folder / f"{name}.toml"
    task.write_text(sentence_task(name, "train.csv", "validation.csv", "test.csv", dropout=0.0), encoding="utf-8")
    return task


def tuning(folder: Path) -> list[RunRecord]:
    return [record for record in Store(folder).records() if record.cell.scored == "validation"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No file of a test split can be opened while the list is empty."""
    opened = ["open"]
    before, low = builtins.open, os.open

    def forbidden(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).name.startswith("test.") and not opened

    def refuse(path: Any, *more: Any, **named: Any) -> Any:
        if forbidden(path):
            raise AssertionError(f"{path} was opened during a search")
        return before(path, *more, **named)

    def refuse_low(path: Any, *more: Any, **named: Any) -> Any:
        if forbidden(path):
            raise AssertionError(f"{path} was opened during a search")
        return low(path, *more, **named)

    import io

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr(os, "open", refuse_low)
    return opened


def test_no_test_file_is_read_before_all_points_are_done(
    tmp_path: Path, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flue_bench.jobs import search

    task = files(tmp_path / "data")
    closed.clear()
    with pytest.raises(AssertionError, match="during a search"):  # the guard holds
        flue_bench.load_data(task, progress=False)
    before, grids = search.run_grid, []

    def watched(grid: Any, *more: Any) -> Any:
        grids.append(grid.split)
        if grid.split == "test":
            closed.append("open")
        return before(grid, *more)

    monkeypatch.setattr(search, "run_grid", watched)
    made = flue_bench.run(MODEL, task, search=POINTS, results=tmp_path / "out", **SMALL)
    assert grids == ["validation", "test"]
    assert len(made) == 1 and len(tuning(tmp_path / "out")) == 6
    (record,) = made
    assert record.search and [point.settings for point in record.search.points] == [
        {"batch_size": size, "learning_rate": rate} for size in (4, 8) for rate in (3e-4, 1e-3, 3e-3)
    ]
    best = record.search.best
    assert best and best.score == max(point.score or 0 for point in record.search.points if not point.lost)
    recipe = record.cell.trained.recipe
    assert best.settings == {"batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate}
    by_digest = {each.cell_digest: each for each in tuning(tmp_path / "out")}
    for point in record.search.points:
        (run,) = point.runs
        theirs = by_digest[run.cell_digest]
        assert run.seed == TUNING == theirs.cell.seed and record.cell.seed == 0
        assert (run.score, run.seconds, run.steps) == (
            theirs.scores["accuracy"], theirs.cost.seconds, theirs.cost.steps,
        )  # fmt: skip
        assert theirs.scores == theirs.history[theirs.selected_epoch - 1].scores | theirs.scores
        assert theirs.history[theirs.selected_epoch - 1].scores["accuracy"] == theirs.scores["accuracy"]
        assert theirs.predictions.rows == 24 and set(theirs.data.rows) == {"train", "validation"}
        assert not any("test" in file for file in theirs.data.files)
    assert record.predictions.rows == 20 and record.search.seconds == pytest.approx(
        sum(each.cost.seconds for each in by_digest.values())
    )
    assert {each.schema_version for each in (*by_digest.values(), record)} == {2}
    assert all(checked.ok for checked in flue_bench.verify_records(tmp_path / "out", progress=False))
    again = [Store(tmp_path / "out").record_path(each.cell) for each in (record, next(iter(by_digest.values())))]
    rerun = flue_bench.verify_records(again, rerun=True, tasks=task, device="cpu", progress=False)
    assert [each.verdict for each in rerun] == ["same bits"] * 2


def test_it_is_resumed_and_more_seeds_cost_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = files(tmp_path / "data")
    ran: list[str] = []
    before = cells.fine_tune

    def counted(*given: Any, **named: Any) -> Any:
        ran.append("cell")
        if len(ran) == 3:
            raise KeyboardInterrupt
        return before(*given, **named)

    monkeypatch.setattr(cells, "fine_tune", counted)
    asked = SMALL | {"search": POINTS, "results": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        flue_bench.run(MODEL, task, **asked)
    assert len(tuning(tmp_path / "out")) == 2
    (first,) = flue_bench.run(MODEL, task, **asked)
    assert len(ran) == 3 + 4 + 1
    again = flue_bench.run(MODEL, task, seeds=2, **asked)
    assert len(ran) == 9 and again.reused == 1
    assert {record.setting_digest for record in again} == {first.setting_digest}
    assert [record.search for record in again] == [first.search] * 2


def test_trials_are_drawn_by_a_hash_and_nested() -> None:
    grid = asking.searched("camembert2")
    assert (grid.of, grid.points, grid.budget) == (36, 36, "best of 36") and len(grid.settings()) == 36
    drawn = [asking.searched("camembert2", trials).settings() for trials in (2, 6, 20)]
    assert [len(points) for points in drawn] == [2, 6, 20]
    assert all(point in more for few, more in pairwise(drawn) for point in few)
    assert drawn[1] == [point for point in grid.settings() if point in drawn[1]]
    assert all(len({json.dumps(point[name]) for point in drawn[1]}) > 1 for name in ("learning_rate", "batch_size"))
    # One search has one name, however it is written.
    same = [
        asking.searched({"batch_size": ["16", "8"], "learning_rate": ["1e-3", "0.0001"]}),
        asking.searched({"learning_rate": [1e-4, 1e-3], "batch_size": [8, 16]}),
    ]
    assert same[0] == same[1] and Searched.model_validate_json(same[0].model_dump_json()) == same[0]
    with_none = asking.searched({"dropout": ["0.1", "none", 0], "epochs": ["auto", 3]})
    assert with_none == asking.searched({"dropout": ["0.1", None, 0], "epochs": ["auto", 3]})
    assert with_none.fields == {"dropout": (0.0, 0.1, None), "epochs": (3, "auto")}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"search": {"learning_rate": [1e-5]}}, "has 1 point: give from 2"),
        ({"search": {}}, "has no field"),
        ({"search": {"learning_rate": []}}, "has the values none"),
        ({"search": {"learning_rate": [1e-5, "0.00001"]}}, "give each once"),
        ({"search": {"learning_rate": "1e-5,3e-5"}}, "a list of values"),
        ({"search": {"learning_rate": 1e-5}}, "a list of values"),
        ({"search": ["camembert2"]}, "a name, or values by field"),
        ({"search": {"max_length": [64, 100_000]}}, "--search max_length has 100000. Leave it out of the search"),
        ({"search": {"learning_rate": ["x", 1]}}, "'learning_rate' cannot be 'x'"),
        ({"search": {"precision": ["fp32", "bf16"]}}, "a row of the board has one"),
        ({"search": {"epochs": [1, 2]}}, "are both given"),
        ({"search": {"lr": [1, 2]}}, "learning_rate"),
        ({"search": "camembert3"}, "camembert2"),
        ({"search": POINTS, "search_trials": 7}, "from 2 to the 6 points"),
        ({"search": POINTS, "search_seeds": 0}, "tuning seeds"),
        ({"search_trials": 2}, "need --search"),
        ({"search": POINTS, "seeds": [3, TUNING]}, "is a tuning seed"),
        ({"search": POINTS, "split": "validation"}, "leave --split validation out"),
        ({"split": "validation", "keep": "all"}, "leave --split validation out"),
        ({"split": "train"}, "validation"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_runs(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        flue_bench.run(MODEL, "mini-cls", results=tmp_path / "out", **SMALL | asked)
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(tmp_path: Path) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    common = ["-t", task, "--device", "cpu", "--set", "epochs=4", "--results", out]
    both = ["run", "-m", MODEL, *common, "--search", "learning_rate=1e-3,3e-3", "--search", "batch_size=4,8"]
    shown = done(*both, "--search-trials", "3")
    assert "best of 3" in shown and len(tuning(out)) == 3
    board = done("leaderboard", "--results", out)
    assert "best of 3" in board and "batch_size 4, 8; learning_rate 0.001, 0.003" in " ".join(board.split())
    assert "seed 4000000000" in " ".join(board.split())
    assert "3 records scored on validation" in " ".join(board.split())
    said = flue_bench_command("run", "-m", MODEL, *common, "--search", "compiled=true,false")
    assert said.code == 2 and "leave --search compiled out" in said.err
    on_validation = done("leaderboard", "--results", out, "--split", "validation", "-f", "csv")
    assert on_validation.count("4000000000") == 3 and "best of" not in on_validation
    assert "Did you mean camembert2" in refused("run", "-m", MODEL, *common, "--search", "camembert")
    assert "given twice" in refused(
        "run", "-m", MODEL, *common, "--search", "batch_size=1,2", "--search", "batch_size=3"
    )
    assert "KEY=VALUE,VALUE" in refused("run", "-m", MODEL, *common, "--search", "=1,2")


def test_tuning_by_hand_never_stands_beside_test(tmp_path: Path, closed: list[str]) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    closed.clear()
    for rate in (1e-3, 3e-3):
        overrides = {"epochs": 4, "batch_size": 4, "learning_rate": rate}
        flue_bench.run(MODEL, task, **SMALL | {"overrides": overrides}, split="validation", results=out)
    with pytest.raises(UsageError, match="No record is scored on test, but 2 records scored on validation"):
        flue_bench.build_board(out)
    with pytest.raises(UsageError, match="No record is scored on test, but 2 records scored on validation"):
        flue_bench.compare("untrained", "student", out)
    assert f"--results {out} --split validation shows them" in refused("leaderboard", "--results", out)
    assert f"--results {out} --split validation shows them" in refused("card", "-m", "untrained", "--results", out)
    board = flue_bench.build_board(out, split="validation")
    said = " ".join(str(board).split())
    assert "Validation scores in percent" in said and "test example" not in said and "test set" not in said
    assert "validation examples" in said
    assert [column.title for column in board.columns] == ["avis (validation)"] and len(board.rows) == 2
    assert all(row.entries[0] and (row.entries[0].interval or row.entries[0].collapsed) for row in board.rows)
    closed.append("open")
    flue_bench.run(MODEL, task, **SMALL, results=out)
    board = flue_bench.build_board(out)
    assert [column.title for column in board.columns] == ["avis"] and len(board.rows) == 1
    assert any("scored on validation" in note.what for note in board.left_out)


def test_a_point_by_hand_is_the_same_cell(tmp_path: Path) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    by_hand = {"overrides": {"epochs": 4, "learning_rate": 1e-3, "batch_size": 8}, "seeds": [TUNING]}
    flue_bench.run(MODEL, task, **SMALL | by_hand, split="validation", results=out)
    before = {record.cell_digest: record.created for record in tuning(out)}
    flue_bench.run(MODEL, task, search=POINTS, results=out, **SMALL)
    assert len(tuning(out)) == 6 and before.keys() <= {record.cell_digest for record in tuning(out)}


def test_several_tuning_seeds_models_and_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    made = flue_bench.run(
        [MODEL, "embedded:student"], task, search={"learning_rate": [1e-3, 3e-3]}, search_seeds=2,
        train_rows=[40, "all"], results=out, **SMALL | {"overrides": {"epochs": 4, "batch_size": 4}, "progress": True},
    )  # fmt: skip
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("avis · 40 train rows: best on validation") == said.count("avis: best on validation") == 2
    assert len(made) == 4 and len(tuning(out)) == 16
    for record in made:
        assert record.search and record.cell.search and record.cell.search.seeds == (TUNING, TUNING + 1)
        digests = {run.cell_digest for point in record.search.points for run in point.runs}
        theirs = [each for each in tuning(out) if each.cell_digest in digests]
        assert len(theirs) == 4
        assert {each.cell.train_rows for each in theirs} == {record.cell.train_rows}
        assert {each.cell.model.digest for each in theirs} == {record.cell.model.digest}
        means = [sum(run.score or 0 for run in point.runs) / 2 for point in record.search.points]
        best = record.search.best
        assert best and best.score == pytest.approx(max(means))


def test_collapsed_and_diverged_points_lose_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they score: the point of 1e-3 is made to collapse, that of 3e-3 to diverge."""
    task, out = files(tmp_path / "data"), tmp_path / "out"
    fine_tune, record_of = cells.fine_tune, cells._record

    def diverging(network: Any, data: Any, recipe: Any, *more: Any, **named: Any) -> Any:
        if recipe.learning_rate == 3e-3:
            raise DivergedError("The training loss is no longer finite.")
        return fine_tune(network, data, recipe, *more, **named)

    def collapsing(cell: Any, *more: Any) -> Any:
        record = record_of(cell, *more)
        if cell.recipe.learning_rate != 1e-3:
            return record.model_copy(update={"collapsed": None})
        return record.model_copy(update={"collapsed": "predicts only 'oui'", "scores": {"accuracy": 1.0}})

    monkeypatch.setattr(cells, "fine_tune", diverging)
    monkeypatch.setattr(cells, "_record", collapsing)
    made = flue_bench.run(MODEL, task, search={"learning_rate": [1e-4, 1e-3, 3e-3]}, results=out, **SMALL)
    (record,) = made  # a diverged point is an answer, no failure
    assert record.search and record.search.lost == {"collapsed": 1, "diverged": 1}
    assert record.cell.trained.recipe.learning_rate == 1e-4
    assert [point.lost for point in record.search.points] == [None, "collapsed", "diverged"]
    assert Store(out).failures()[0].diverged
    board = str(flue_bench.build_board(replace(made, stand=True)))
    assert "3 points, 1 collapsed, 1 diverged" in " ".join(board.split())

    with pytest.raises(IncompleteError, match=r"no point stands \(1 collapsed, 1 diverged\)") as error:
        flue_bench.run(MODEL, task, search={"learning_rate": [1e-3, 3e-3]}, results=out, **SMALL)
    assert not error.value.results.records and "more epochs or other rates" in error.value.reasons[0]


def test_what_diverged_is_an_answer_and_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    fine_tune, ran = cells.fine_tune, []

    def diverging(network: Any, data: Any, recipe: Any, *more: Any, **named: Any) -> Any:
        ran.append(recipe.learning_rate)
        if recipe.learning_rate == 3e-3:
            raise DivergedError("The training loss is no longer finite.")
        return fine_tune(network, data, recipe, *more, **named)

    monkeypatch.setattr(cells, "fine_tune", diverging)
    asked = SMALL | {"search": {"learning_rate": [1e-3, 3e-3]}, "results": out}
    asked["overrides"] = {"epochs": 4, "batch_size": 4}
    (first,) = flue_bench.run(MODEL, task, **asked)
    assert ran == [1e-3, 3e-3, 1e-3]
    again = flue_bench.run(MODEL, task, seeds=2, **asked)
    assert ran == [1e-3, 3e-3, 1e-3, 1e-3] and [record.search for record in again] == [first.search] * 2
    flue_bench.run(MODEL, task, seeds=3, dry_run=True, **asked | {"progress": True})
    said = " ".join(capsys.readouterr().err.split())
    assert "has diverged before, and loses; --force runs it again" in said and "best on validation: " in said
    assert "3 cells: 2 have a record, 1 to run." in said
    flue_bench.run(MODEL, task, force=True, **asked)
    assert ran[4:] == [1e-3, 3e-3, 1e-3]


def test_the_card_of_a_tuned_model_has_the_command_that_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    search = {"learning_rate": [1e-3, 3e-3], "dropout": [None, 0.0]}
    overrides = {"epochs": 4, "batch_size": 4}
    made = flue_bench.run(
        MODEL, task, search=search, search_trials=3, keep="all", results=out, **SMALL | {"overrides": overrides}
    )
    (record,) = made
    folder = made.model_dir(record)
    assert folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "the best on validation of 3 points" in text
    (command,) = re.findall(r"```sh\n(flue-bench .*)\n```", text)
    monkeypatch.chdir(task.parent)
    said = done(*shlex.split(command)[1:], "--results", out, "--device", "cpu", "--dry-run")
    assert "1 cell: 1 have a record, 0 to run." in said
    (scored,) = flue_bench.score(folder, task, results=out, device="cpu", progress=False)
    assert scored.recipe_name == f"kept: {record.recipe_name}, best of 3, seed 0"
    assert all(checked.ok for checked in flue_bench.verify_records(out, progress=False))


def test_the_board_that_is_named_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of validation, where all points have lost or the split was asked for."""
    task = files(tmp_path / "data")
    common = ["run", "-m", MODEL, "-t", task, "--device", "cpu", "--set", "epochs=1", "--set", "batch_size=4"]

    def named(*words: str, code: int = 0) -> None:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        said = flue_bench_command(*common, *words, "--results", out)
        assert said.code == code, said
        (command,) = re.findall(r"The whole board: flue-bench (.*)", " ".join(said.err.split()))
        assert ("--split validation" in command) == (code == 1 or "validation" in words)
        assert "avis" in done(*shlex.split(command))

    monkeypatch.setenv("COLUMNS", "400")
    named("--set", "learning_rate=1e-3")
    named("--set", "learning_rate=1e-3", "--split", "validation")
    monkeypatch.setattr(Point, "lost", property(lambda point: "collapsed"))
    named("--search", "learning_rate=1e-3,3e-3", code=1)


def test_another_failure_leaves_the_search_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    fine_tune, broken = cells.fine_tune, [True]

    def failing(network: Any, data: Any, recipe: Any, *more: Any, **named: Any) -> Any:
        if recipe.learning_rate == 1e-3 and broken:
            raise OSError("the disk is on fire")
        return fine_tune(network, data, recipe, *more, **named)

    monkeypatch.setattr(cells, "fine_tune", failing)
    asked = SMALL | {"search": {"learning_rate": [1e-3, 3e-3]}, "results": out}
    asked["overrides"] = {"epochs": 4, "batch_size": 4}
    with pytest.raises(IncompleteError, match="the disk is on fire") as error:
        flue_bench.run(MODEL, task, **asked)
    assert "1 run of the search failed: the same command goes on" in error.value.results.unloaded[0]
    assert len(tuning(out)) == 1 and all(record.cell.scored == "validation" for record in Store(out).records())
    broken.clear()
    assert len(flue_bench.run(MODEL, task, **asked)) == 1


def test_what_is_cut_for_test_is_cut_and_not_seen(tmp_path: Path) -> None:
    """A task whose only file is train: the same train and validation rows as with test."""
    from flue_bench.data import sources

    files(tmp_path / "data")
    task = tmp_path / "data" / "coupe.toml"
    task.write_text(
        'name = "coupe"\nkind = "sentence"\nlabels = ["non", "oui"]\nmetric = "accuracy"\n'
        '[[source]]\nfiles = { train = "train.csv" }\n[split]\nvalidation = 0.2\ntest = 0.25\n'
    )
    (registered,) = registry.select([task])
    whole, blind = (sources.load(registered, test=test) for test in (True, False))
    assert set(blind.splits) == {"train", "validation"} and blind.ref.cut == ("validation",)
    assert all(blind.splits[split] == whole.splits[split] for split in blind.splits)
    assert blind.ref.digest != whole.ref.digest and blind.ref.rows == {"train": 28, "validation": 8}


def test_a_reader_is_not_asked_for_test() -> None:
    from flue_bench.data import sources
    from flue_bench.data.registry import readers

    (registered,) = registry.select(["mini-cls"])
    asked: list[str] = []
    before = readers()["mini"]

    def watched(folder: Path, split: Any, task: Any) -> Any:
        asked.append(split)
        return before(folder, split, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readers(), "mini", watched)
        data = sources.load(registered, test=False)
    assert set(asked) == {"train", "validation"} == set(data.splits) and data.ref.canonical


def test_cells_without_a_search_are_what_they_were() -> None:
    cell = make_cell()
    assert not {"scored", "search"} & cell.model_dump().keys()
    assert not {"search"} & make_record().model_dump().keys() and cell.schema_version == 1
    validation = cell.model_copy(update={"scored": "validation"})
    tuned = cell.model_copy(update={"search": asking.searched(POINTS)})
    assert len({each.digest for each in (cell, validation, tuned)}) == 3
    assert validation.schema_version == tuned.schema_version == 2 and validation.split == "validation"
    other = cell.model_copy(update={"search": asking.searched(POINTS, 4)})
    assert other.setting_digest != tuned.setting_digest


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content["search"]["points"].pop(), "search.points: not those of cell.search"),
        (lambda content: content["search"]["points"][0]["runs"][0].update(seed=7), "search.points.0: seeds 7"),
        (lambda content: _best_of(content, 1.0), "the best point of the search has"),
        (lambda content: content.pop("search"), "'search' and 'cell.search' go together"),
    ],
)
def test_verify_finds_a_search_that_was_changed(tmp_path: Path, edit: Any, said: str) -> None:
    task, out = files(tmp_path / "data"), tmp_path / "out"
    (record,) = flue_bench.run(MODEL, task, search=POINTS, search_trials=3, results=out, **SMALL)
    path = Store(out).record_path(record.cell)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    (checked,) = flue_bench.verify_records(path, progress=False)
    assert any(said in fault for fault in checked.faults), checked.faults


def _best_of(content: dict[str, Any], score: float) -> None:
    """Let another point than the chosen one have the highest score."""
    recipe = content["cell"]["recipe"]
    for point in content["search"]["points"]:
        chosen = all(recipe[name] == value for name, value in point["settings"].items())
        point["runs"][0].update(score=0.0 if chosen else score, collapsed=None)


def test_an_unknown_search_is_named_with_what_to_give() -> None:
    with pytest.raises(UnknownNameError, match="Or give values"):
        asking.searched("nothing like it")


def test_a_dry_run(tmp_path: Path) -> None:
    """Its points, what is there of them, and what follows: exactly once the best is known, before as its longest."""
    words = ("run", "-m", MODEL, "-t", files(tmp_path / "d"), "--device", "cpu", "--results", tmp_path / "r")
    search = ("--set", "batch_size=4", "--search", "learning_rate=1e-3,3e-3", "--search", "epochs=2,4")
    said = done(*words, *search, "--seeds", "3", "--dry-run")
    assert "Search: best of 4 points (epochs, learning_rate), 1 tuning seed" in said
    assert "4 cells: 0 have a record, 4 to run." in said and "counted as long as the longest point" in said
    assert "3 cells: 0 have a record, 3 to run." in said and "3 seeds of each" in said
    assert said.count("The smallest true difference") == 1, "a search is no comparison"
    assert not (tmp_path / "r").exists()

    point = ("--set", "epochs=4", "--set", "learning_rate=1e-3", "--set", "batch_size=4", "--seed", str(TUNING))
    done(*words, "--split", "validation", *point)
    said = done(*words, *search, "--seeds", "3", "--dry-run")
    assert "4 cells: 1 have a record, 3 to run." in said
    assert "Time of 1 cell:" in said, "as long at another rate; of two epochs nothing is known"
    assert "Time of 3 cells:" in said, "all final ones, counted as those of four epochs"

    done(*words, *search)
    said = done(*words, *search, "--seeds", "3", "--dry-run")
    assert "4 cells: 4 have a record, 0 to run." in said and "best on validation: " in said
    assert "3 cells: 1 have a record, 2 to run." in said and "longest" not in said
    assert len(Store(tmp_path / "r").records()) == 5
