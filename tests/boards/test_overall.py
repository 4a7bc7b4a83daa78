"""An overall: over one set of columns, for the rows that have all of it, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flue_bench
from flue_bench.boards import compared, floors
from flue_bench.boards.board import Board
from flue_bench.boards.html import html
from flue_bench.boards.latex import latex
from flue_bench.boards.notebook import html as notebook
from flue_bench.boards.overall import Overall, Place, place
from flue_bench.boards.render import markdown, to_csv, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.record import NoTraining
from flue_bench.results import overall as measuring
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import named_rows
from flue_bench.results.store import Store
from flue_bench.statistics import ranks
from support import command_line
from support.boards import teacher_and_student, write_run
from support.command_line import done
from support.factories import CLS, make_record
from support.right import NOT_INSTALLED

SET = ("paws-x", "xnli", "wikiner")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """org/maitre and autre are alike, org/eleve is worse; what the others lack is in their names."""
    store = teacher_and_student(tmp_path_factory.mktemp("overall"))
    for seed in range(2):
        write_run(store, "without-xnli", "paws-x", seed, 0.9)
        write_run(store, "without-xnli", "wikiner", seed, 0.9)
    for task in SET:
        for seed in range(2):
            write_run(store, "collapsed-on-xnli", task, seed, 0.9, only=0 if task == "xnli" and seed else None)
        write_run(store, "once", task, 0, 0.6)
    return store


def placed(store: Store, *names: str, metric: str | None = None) -> Board:
    contents = store.read()
    board = weigh(build(contents.records, metric=metric), contents.records, Evidence((store.root,)))
    return place(board, contents.records, Evidence((store.root,)), names)


@pytest.fixture(scope="module")
def board(store: Store) -> Board:
    return placed(store, *SET)


def overall(board: Board) -> Overall:
    assert board.overall
    return board.overall


def places(board: Board) -> dict[str, Place]:
    return {board.rows[each.row].label: each for ranking in overall(board).rankings for each in ranking.places}


def test_means_and_ranks_are_over_the_columns_of_the_set(board: Board) -> None:
    found = places(board)
    assert set(found) == {"org/maitre", "autre", "org/eleve", "once"}
    means = {row.label: [entry.mean for entry in row.entries if entry] for row in board.rows if row.label in found}
    for label, each in found.items():
        assert each.mean == pytest.approx(np.mean(means[label]))
        better = [sum(other[i] > means[label][i] for other in means.values()) for i in range(3)]
        assert each.mean_rank == pytest.approx(1 + np.mean(better))
    in_order = sorted(found.values(), key=lambda each: -each.mean)
    assert [each.rank for each in in_order] == [1, 2, 3, 4]
    (ranking,) = overall(board).rankings
    assert list(ranking.places) == in_order


def test_who_lacks_a_task_or_collapsed_has_no_overall_and_is_told_why(board: Board) -> None:
    assert dict(overall(board).without) == {
        "without-xnli (standard, fp32)": "lacks xnli",
        "collapsed-on-xnli (standard, fp32)": "collapsed runs on xnli",
    }
    assert "without-xnli (standard, fp32): lacks xnli" in str(board)


def test_intervals_of_ranks_are_those_of_the_predictions(board: Board, store: Store) -> None:
    found = places(board)
    several = ["org/maitre", "org/eleve", "autre"]
    evidence = Evidence((store.root,))
    columns = [
        [[r for r in store.records() if (r.cell.model.name, r.cell.task) == (label, task)] for label in several]
        for task in SET
    ]
    (alone,) = {
        tuple(
            (each.rank_low, each.rank_high)
            for each in measuring.standings(columns, ["f1_macro", "f1_macro", "entity_f1_micro"], evidence).models
        )
    }
    # The model with a single seed may be anywhere: it widens the intervals of the others by one.
    assert tuple((found[label].rank_low, (found[label].rank_high or 0) - 1) for label in several) == alone
    assert alone[1] == (3, 3) and alone[0][0] < 3 and alone[2][0] < 3
    assert found["once"].rank_low is found["once"].low is None
    (ranking,) = overall(board).rankings
    assert [note.what for note in ranking.reasons] == ["once (standard, fp32)"]
    assert "one seed says nothing about the spread over seeds" in markdown(board)


def test_the_probability_of_improvement_is_paired_over_tasks(board: Board) -> None:
    found = places(board)
    numbers = {row.label: i for i, row in enumerate(board.rows)}
    scores = {
        label: [entry.scores for entry in board.rows[numbers[label]].entries if entry]
        for label in ("org/maitre", "org/eleve")
    }
    expected = ranks.improvement(scores["org/maitre"], scores["org/eleve"])
    (given,) = [e for e in found["org/maitre"].improvements if e.over == numbers["org/eleve"]]
    assert (given.probability, given.low, given.high) == pytest.approx(expected)
    (back,) = [e for e in found["org/eleve"].improvements if e.over == numbers["org/maitre"]]
    assert back.probability == pytest.approx(1 - given.probability)


def test_a_group_and_its_columns_are_the_same_set(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for task in SET:
        write_run(store, "a", task, 0, 0.8)
    records = store.records()
    records += [make_record("a", task, 0, column="cls", column_members=CLS) for task in CLS]
    built = place(build(records), records, Evidence((tmp_path,)), ["flue"])
    assert sorted(overall(built).columns) == ["cls", "paws-x", "wikiner", "xnli"] and overall(built).missing == ()
    assert (
        overall(place(build(records), records, Evidence((tmp_path,)), ["cls", *SET])).columns == overall(built).columns
    )
    less = [record for record in records if record.cell.task != "wikiner"]
    lacking = place(build(less), less, Evidence((tmp_path,)), ["flue"])
    assert overall(lacking).missing == ("wikiner",) and overall(lacking).rankings == ()
    assert overall(lacking).without == (("a (standard, fp32)", "lacks wikiner"),)


def test_names_that_do_not_say_which_column(tmp_path: Path) -> None:
    records = [make_record("a", "xnli", limit=limit) for limit in (10, 20)]
    records += [make_record("a", task, column="cls", column_members=CLS) for task in CLS]
    board, evidence = build(records), Evidence((tmp_path,))
    with pytest.raises(UsageError, match="several columns: give one of xnli limit 20; xnli limit 10"):
        place(board, records, evidence, ["xnli"])
    assert overall(place(board, records, evidence, ["xnli limit 20"])).columns == ("xnli limit 20",)
    with pytest.raises(UsageError, match="only as a part of the column cls: name that"):
        place(board, records, evidence, ["cls-books"])
    with pytest.raises(UnknownNameError, match="Did you mean flue"):
        place(board, records, evidence, ["fleu"])
    whole = [*records, make_record("a", "xnli")]
    assert overall(place(build(whole), whole, evidence, ["xnli"])).columns == ("xnli",)  # the title itself


AS_IT_IS = NoTraining(method="own head", max_length=128, precision="fp32", answers={"a": "a"})


def test_a_model_that_was_scored_as_it_is_has_no_overall_and_is_no_floor(store: Store, tmp_path: Path) -> None:
    records = [
        *store.records(),
        *(make_record("own-head", task, 0, how=AS_IT_IS, task_version=NOT_INSTALLED) for task in SET),
    ]
    built = place(build(records), records, Evidence((store.root,)), SET)
    row = next(row for row in built.rows if row.label == "own-head")
    title = f"own-head ({row.recipe}, {row.precision})"
    assert dict(overall(built).without)[title] == "was scored as it is, not fine-tuned here"
    above = floors.above(built, records, Evidence((store.root,)), "own-head").pairs[0].above
    assert above and above.floor is None and "not fine-tuned as the teacher was" in above.reasons[0].reason
    pairs = {label: next(r for r in named_rows(records) if r.label == label) for label in ("org/eleve", "org/maitre")}
    floor = next(r for r in named_rows(records) if r.label == "own-head")
    with pytest.raises(UsageError, match="scored as it is: name a model that was fine-tuned here"):
        compared.compare(*pairs.values(), Evidence((store.root,)), floor=floor)


def test_protocols_are_ranked_apart(tmp_path: Path) -> None:
    records = [make_record(m, "xnli", seed, protocol=p) for p in (1, 2) for m in ("a", "b") for seed in (0, 1)]
    built = place(build(records), records, Evidence((tmp_path,)), ["xnli"])
    assert [(each.protocol, len(each.places)) for each in overall(built).rankings] == [(1, 2), (2, 2)]
    assert {each.rank for ranking in overall(built).rankings for each in ranking.places} == {1.5}
    assert "Overall, xnli, protocol 1" in markdown(built) and "Overall, xnli, protocol 2" in markdown(built)


def test_without_predictions_there_are_means_but_no_intervals(tmp_path: Path) -> None:
    records = [make_record(m, "xnli", seed, score=s) for m, s in (("a", 0.9), ("b", 0.8)) for seed in (0, 1)]
    built = place(build(records), records, Evidence((tmp_path,)), ["xnli"])
    assert [each.mean for each in places(built).values()] == pytest.approx([0.9, 0.8])
    assert all(each.low is each.rank_low is None for each in places(built).values())
    assert "Overall without intervals (xnli)" in markdown(built) and "not found under" in markdown(built)


def test_records_that_their_predictions_do_not_bear_out_have_no_ranks(store: Store) -> None:
    records = [
        r.model_copy(update={"scores": r.scores | {"f1_macro": 0.999}})
        if (r.cell.model.name, r.cell.task) == ("org/eleve", "xnli")
        else r
        for r in store.records()
    ]
    built = place(build(records), records, Evidence((store.root,)), SET)
    assert all(each.rank_low is None for each in places(built).values())
    assert any("see flue-bench verify" in reason for _, reason in overall(built).rankings[0].reasons)


def test_every_format_has_it(board: Board, store: Store) -> None:
    first, mean = places(board)["org/maitre"], f"{100 * places(board)['org/maitre'].mean:.2f}"
    page = html(board, store.records(), Evidence((store.root,)), lambda run: None)
    for text in (str(board), markdown(board), latex(board), page, notebook(board)):
        assert "Overall, paws" in text and mean in text and "No overall" in text
    content = json.loads(to_json(board))["overall"]
    assert content["rankings"][0]["places"][int(first.rank) - 1]["rank_high"] == first.rank_high
    assert content["without"][0].keys() == {"what", "reason"}
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    ours = {line["overall_rank"] for line in lines if line["model"] == "org/maitre"}
    assert ours == {str(first.rank)} and {line["overall_mean"] for line in lines if "xnli" in line["model"]} == {""}


def test_tables_for_analysis(board: Board) -> None:
    rows = overall(board).to_arrow().to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["label"].startswith(board.rows[rows[0]["row"]].label)
    assert {each["over"] for each in rows[0]["improvements"]} == {row["label"] for row in rows[1:]}
    entries = board.to_arrow().to_pylist()
    assert {line["overall_rank"] for line in entries if line["label"] == "without-xnli"} == {None}
    assert {line["overall_rank"] for line in entries if line["label"] == "org/eleve"} == {3.0}


def test_nothing_is_said_where_none_was_asked_for(store: Store) -> None:
    built = build(store.records())
    assert "verall" not in markdown(built) + to_csv(built) and "overall" not in json.loads(to_json(built))
    assert not any(name.startswith("overall") for name in built.to_arrow().column_names)


def test_the_command_and_the_function(store: Store) -> None:
    words: tuple[Any, ...] = ("leaderboard", "--results", store.root, "--format", "json")
    asked = json.loads(done(*words, *(word for name in SET for word in ("--overall", name))))
    made = flue_bench.build_board(store.root, overall=SET)
    assert asked["overall"] == json.loads(to_json(made))["overall"]
    assert overall(flue_bench.build_board(store.root, overall="xnli")).columns == ("xnli",)
    assert "Unknown column or group 'fleu'" in command_line.refused(*words, "--overall", "fleu")
