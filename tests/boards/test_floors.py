"""What students keep: its mean over columns with an interval, and what lies above a floor, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import flue_bench
from flue_bench.boards.board import Board, Pair
from flue_bench.boards.html import html
from flue_bench.boards.latex import latex
from flue_bench.boards.notebook import html as notebook
from flue_bench.boards.render import markdown, to_csv, to_json
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.results.evidence import Evidence
from flue_bench.results.retained import retained
from flue_bench.results.store import Store
from support.boards import LABELS, teacher_and_student, write_run
from support.command_line import done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher and student on three tasks; a floor on two, collapsed on one of them in the model of that name."""
    store = teacher_and_student(tmp_path_factory.mktemp("floors"))
    for seed in range(3):
        for task in ("xnli", "wikiner"):
            write_run(store, "random", task, seed, 0.55)
            write_run(store, "collapses", task, seed, 0.55, only=0 if task == "xnli" and not seed else None)
            write_run(store, "as-good", task, seed, 0.9)
    write_run(store, "once", "xnli", 0, 0.55)
    return store.root


def pair_of(board: Board) -> Pair:
    (pair,) = board.pairs
    return pair


def test_the_mean_over_tasks_has_an_interval(root: Path) -> None:
    pair = pair_of(flue_bench.build_board(root))
    assert pair.mean is not None and pair.mean_low is not None and pair.mean_high is not None
    assert pair.mean_low < pair.mean < pair.mean_high
    widths = [kept.high - kept.low for kept in pair.kept if kept and kept.low and kept.high]
    assert pair.mean_high - pair.mean_low < min(widths) and len(widths) == 3
    store = Store(root)
    of = {name: [r for r in store.records() if r.cell.model.name == name] for name in ("org/eleve", "org/maitre")}
    columns = [[[r for r in runs if r.cell.task == task] for runs in of.values()] for task in LABELS]
    again = retained(columns, ["f1_macro", "f1_macro", "entity_f1_micro"], Evidence((root,)))
    assert (again.ratio, again.low, again.high) == pytest.approx((pair.mean, pair.mean_low, pair.mean_high))
    said = (
        f"keeps {100 * pair.mean:.1f} % [{100 * pair.mean_low:.1f}, {100 * pair.mean_high:.1f}] of org/maitre's score"
    )
    assert said in " ".join(str(flue_bench.build_board(root)).split())


def test_a_single_seed_has_a_mean_without_interval(tmp_path: Path) -> None:
    teacher_and_student(tmp_path, seeds=1)
    pair = pair_of(flue_bench.build_board(tmp_path))
    assert pair.mean and pair.mean_low is pair.mean_high is None


def test_above_a_floor(root: Path) -> None:
    board = flue_bench.build_board(root, floor="random")
    pair = pair_of(board)
    assert pair.above and pair.above.floor is not None and board.rows[pair.above.floor].label == "random"
    titles = [column.title for column in board.columns]
    for title in ("xnli", "wikiner"):
        i = titles.index(title)
        student, teacher, floor = (board.rows[n].entries[i] for n in (pair.student, pair.teacher, pair.above.floor))
        assert student and teacher and floor
        kept, raw = pair.above.kept[i], pair.kept[i]
        assert kept and raw and kept.low and kept.high and kept.low < kept.ratio < kept.high
        assert kept.ratio == pytest.approx((student.mean - floor.mean) / (teacher.mean - floor.mean))
        assert kept.ratio < raw.ratio
    assert pair.above.mean and pair.above.mean.low
    assert pair.above.mean.ratio == pytest.approx(sum(k.ratio for k in pair.above.kept if k) / 2)
    assert dict(pair.above.reasons) == {"paws-x": "the floor was not run on it"}


@pytest.mark.parametrize(
    ("floor", "reason"),
    [
        ("collapses", "collapses predicts only 'entailment' (gold has 3 classes) in 1 of 3 seeds"),
        ("as-good", "the teacher's score is not above the floor's"),
        ("once", "one seed of once says nothing about the spread over seeds"),
        ("org/maitre", "the floor is one of the two"),
    ],
)
def test_a_floor_that_gives_none_says_why(floor: str, reason: str, root: Path) -> None:
    board = flue_bench.build_board(root, floor=floor)
    above = pair_of(board).above
    assert above and above.kept[[column.title for column in board.columns].index("xnli")] is None
    assert reason in dict(above.reasons).get("xnli", dict(above.reasons).get("All", ""))
    assert "Nothing above the floor" in markdown(board)


def test_a_floor_of_another_recipe_is_none(root: Path, tmp_path: Path) -> None:
    store = teacher_and_student(tmp_path)
    for seed in range(2):
        write_run(store, "other", "xnli", seed, 0.5, recipe_name="quick", recipe={"epochs": 1})
    above = pair_of(flue_bench.build_board(tmp_path, floor="other")).above
    assert above and above.floor is None and "not fine-tuned as the teacher was" in above.reasons[0].reason
    with pytest.raises(UnknownNameError):
        flue_bench.build_board(root, floor="nobody")


def test_every_format_has_it(root: Path) -> None:
    board = flue_bench.build_board(root, floor="random")
    above = pair_of(board).above
    assert above and above.mean
    shown = f"{100 * above.mean.ratio:.1f}"
    page = html(board, Store(root).records(), Evidence((root,)), lambda run: None)
    for text in (str(board), markdown(board), latex(board), page, notebook(board)):
        assert "What students keep above a floor" in text and shown in text
    (pair,) = json.loads(to_json(board))["pairs"]
    assert pair["above"]["mean"]["ratio"] == above.mean.ratio and pair["mean_low"] < pair["mean"] < pair["mean_high"]
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    found = {(line["model"], line["column"]): line["above_floor_ratio"] for line in lines}
    i = [column.title for column in board.columns].index("xnli")
    assert above.kept[i] and float(found["org/eleve", "xnli"]) == above.kept[i].ratio  # type: ignore[union-attr]
    assert found["org/maitre", "xnli"] == found["org/eleve", "paws-x"] == ""
    rows = {(row["label"], row["column"]): row for row in board.to_arrow().to_pylist()}
    assert rows["org/eleve", "xnli"]["above_floor_low"] == above.kept[i].low  # type: ignore[union-attr]
    plain = flue_bench.build_board(root)
    assert "floor" not in markdown(plain) + to_csv(plain) and pair_of(plain).above is None
    said = json.loads(done("leaderboard", "--results", root, "--floor", "random", "--format", "json"))
    assert said["pairs"][0]["above"] == pair["above"]


def test_compare_has_the_mean_and_the_floor(root: Path) -> None:
    board, answer = (
        flue_bench.build_board(root, floor="random"),
        flue_bench.compare("org/eleve", "org/maitre", root, floor="random"),
    )
    pair = pair_of(board)
    assert answer.mean_retention and answer.mean_above_floor and pair.above and pair.above.mean
    assert (answer.mean_retention.ratio, answer.mean_retention.low) == pytest.approx((pair.mean, pair.mean_low))
    assert (answer.mean_above_floor.ratio, answer.mean_above_floor.high) == pytest.approx(
        (pair.above.mean.ratio, pair.above.mean.high)
    )
    lines = {line.task: line for line in answer.lines}
    assert lines["paws-x"].above_floor is None and lines["xnli"].above_floor
    assert any("paws-x: nothing above the floor random" in note for note in answer.notes)
    for text in (str(answer), answer.to_markdown()):
        assert "Floor: random (standard, fp32)" in text and f"{100 * answer.mean_above_floor.ratio:.1f} %" in text
    with pytest.raises(UsageError, match="name a third row"):
        flue_bench.compare("org/eleve", "org/maitre", root, floor="org/maitre")
    with pytest.raises(UsageError, match="--floor needs --question pretrained"):
        flue_bench.compare("org/eleve", "org/maitre", root, floor="random", question="trained")
    # A floor asks what is kept of any B, teacher or not.
    assert flue_bench.compare("as-good", "org/maitre", root, floor="random").mean_retention
