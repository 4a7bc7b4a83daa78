"""Curves of a board: which columns and which rows they are made of, and the pictures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import flue_bench
from flue_bench import svg
from flue_bench.boards import curves
from flue_bench.boards.rules import build
from flue_bench.errors import UsageError
from flue_bench.record import ModelRef, RunRecord, Training
from flue_bench.results.store import Store
from flue_bench.search import searched
from support.boards import write_run
from support.command_line import done, refused
from support.factories import make_cell, make_record

RIGHT = {30: 0.5, 100: 0.6, 300: 0.7, None: 0.8}
HOSTILE = "<img src=x onerror=alert(1)>\"'</svg><script>alert(2)</script>"


def learning(root: Path, models: tuple[str, ...] = ("org/maitre", "org/eleve"), task: str = "paws-x") -> None:
    for model in models:
        for served, right in RIGHT.items():
            for seed in range(2):
                write_run(Store(root), model, task, seed, right, served=served, recipe={"epochs": 30 if served else 3})


def saved(step: int, tokens: int | None = None, of: str = "essai", **more: object) -> RunRecord:
    training = Training(name=of, digest=of * 2, step=step, tokens=tokens)
    named = {
        "training": training,
        "model_digest": f"{step:08}{len(of):08}",
        "origin": "directory",
        "score": step / 1000,
    }
    return make_record(f"checkpoint-{step}", "xnli", **named | more)  # type: ignore[arg-type]


def test_a_learning_curve_is_what_differs_in_rows_alone(tmp_path: Path) -> None:
    learning(tmp_path)
    write_run(Store(tmp_path), "org/eleve", "xnli", 0, 0.7, served=100)  # one point is no curve
    board = flue_bench.build_board(tmp_path)
    (curve,) = curves.of(board)
    assert (curve.title, curve.metric, curve.x) == ("paws-x", "f1_macro", "rows of train")
    assert {line.label for line in curve.lines} == {"org/maitre (standard, fp32)", "org/eleve (standard, fp32)"}
    for line in curve.lines:
        assert [point.x for point in line.points] == [30, 100, 300, 49401]
        means = [point.entry.mean for point in line.points]
        assert means == sorted(means) and line.points[-1].of_all == 1
        assert line.points[0].of_all == pytest.approx(means[0] / means[-1])
        assert all(point.entry.interval for point in line.points)
    table = curves.table(curve)
    assert [line[5] for line in table.lines[:4]] == ["30", "30", "30", "3"]
    assert "another choice of labels" in table.caption


def test_how_many_labels_a_student_needs_is_said_for_each_number_of_its_teachers(tmp_path: Path) -> None:
    records = [make_record("t", served=served, score=score) for served, score in ((10, 0.5), (100, 0.7), (None, 0.9))]
    taught = {"teacher": records[0].cell.model.digest}
    records += [
        make_record("s", served=served, score=score, **taught)
        for served, score in ((10, 0.4), (100, 0.6), (1000, 0.71), (None, 0.85))
    ]
    (curve,) = curves.of(build(records))
    said = "needs 100 rows for its 10, 1,000 rows for its 100, more than 392,702 rows for its 392,702."
    assert curve.notes[0] == f"To have the mean of t (standard, fp32), s (standard, fp32) {said}"
    alone = [record for record in records if record.cell.model.name == "s"]
    assert len(curves.of(build(alone))[0].notes) == 1


def test_other_data_limits_and_metrics_are_other_curves() -> None:
    records = [
        make_record("m", "xnli", served=served, **settings)
        for settings in ({}, {"limit": 500}, {"data": "0" * 16, "canonical": False})
        for served in (10, 20)
    ]  # fmt: skip
    assert sorted(curve.title for curve in curves.of(build(records))) == ["xnli", "xnli", "xnli limit 500"]


def test_a_training_is_drawn_over_tokens_where_all_say_them_and_else_over_steps() -> None:
    counted = [saved(1000, 10**6), saved(200, 2 * 10**5), saved(900, 9 * 10**5)]
    (curve,) = curves.of(build(counted))
    assert curve.x == "tokens read" and curve.title == "xnli: checkpoints"
    assert [point.x for point in curve.lines[0].points] == [2 * 10**5, 9 * 10**5, 10**6]
    assert curve.lines[0].label == "essai (standard, fp32)"
    (curve,) = curves.of(build([*counted, saved(100, None, "autre"), saved(300, None, "autre")]))
    assert curve.x == "optimiser steps" and len(curve.lines) == 2
    assert [point.x for point in curve.lines[0].points] in ([200, 900, 1000], [100, 300])


def test_what_is_unknown_of_a_checkpoint_is_said() -> None:
    silent = make_record("checkpoint-700", "xnli", origin="directory")
    (curve,) = curves.of(build([saved(100), saved(200), silent]))
    assert [point.x for point in curve.lines[0].points] == [100, 200]
    assert "checkpoint-700: its folder does not say how far" in curves.table(curve).caption
    twice = [saved(100), saved(200), saved(200, model_digest="f" * 16), saved(1, of="b"), saved(2, of="b")]
    (curve,) = curves.of(build(twice))
    assert [line.label for line in curve.lines] == ["b (standard, fp32)"]
    assert any("not drawn, since several checkpoints say the same step" in note for note in curve.notes)
    assert curves.of(build([saved(100), make_record()])) == []


def test_both_are_on_the_page_and_in_one_svg(tmp_path: Path) -> None:
    root = tmp_path / "results"
    learning(root)
    for step in (100, 200):
        training = Training(name="essai", digest="ab", step=step, tokens=step * 1000)
        write_run(Store(root), f"checkpoint-{step}", "xnli", 0, 0.5 + step / 1000, training=training)
    done("leaderboard", "--results", root, "--format", "html", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 3
    titles = re.findall(r"<figure><h3>(.*?)</h3>", page)
    assert "Score against tokens read, xnli: checkpoints" in titles and "Score against rows of train, paws-x" in titles
    done("leaderboard", "--results", root, "--format", "svg", "--out", tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert text == flue_bench.build_board(root).svg()
    tree = ElementTree.fromstring(text)
    assert len(tree.findall(".//{*}polyline")) == 3 and len(tree.findall(".//{*}circle")) == 10
    board = json.loads(done("leaderboard", "--results", root, "--format", "json"))
    assert {column["train_rows"] for column in board["columns"]} == {None, 30, 100, 300}
    assert {row["checkpoint"] and row["checkpoint"]["tokens"] for row in board["rows"]} == {None, 100_000, 200_000}


def test_checkpoints_that_were_tuned_are_a_line_of_their_own() -> None:
    tuned: dict[str, Any] = {"search": searched({"learning_rate": [1e-5, 3e-5]}), "tried": [0.5, 0.6]}
    board = build([saved(step, **more) for step in (100, 200) for more in ({}, tuned)])
    (curve,) = curves.of(board)
    assert {line.label: len(line.points) for line in curve.lines} == {
        "essai (standard, fp32)": 2,
        "essai (standard, best of 2, fp32)": 2,
    }
    assert not any("not drawn" in note for note in curve.notes)


def test_a_board_without_curves_says_what_they_take(tmp_path: Path) -> None:
    write_run(Store(tmp_path), "m", "xnli", 0, 0.7)
    assert "No curve: it takes records of several --train-rows" in refused(
        "leaderboard", "--results", tmp_path, "--format", "svg"
    )
    with pytest.raises(UsageError, match="No curve"):
        build([make_record()]).svg()


def test_names_cannot_leave_the_picture(tmp_path: Path) -> None:
    learning(tmp_path, (HOSTILE,))
    text = flue_bench.build_board(tmp_path).svg()
    assert "<script" not in text and "<img" not in text
    assert any(HOSTILE in (element.text or "") for element in ElementTree.fromstring(text).iter())


@pytest.mark.parametrize("logarithmic", [False, True])
def test_points_are_where_they_belong(logarithmic: bool) -> None:
    xs = (1, 10, 100) if logarithmic else (0, 50, 100)
    points = [svg.Point(x, y, y - 1, y + 1, "dit") for x, y in zip(xs, (0, 5, 10), strict=True)]
    drawn = svg.draw([svg.Panel("Titre", [svg.Line("m", points)], logarithmic=logarithmic, from_zero=False)])
    found = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    left, middle, right = found
    assert middle[0] == pytest.approx((left[0] + right[0]) / 2) and middle[1] == pytest.approx((left[1] + right[1]) / 2)
    assert left[0] == svg.LEFT and right[0] == 360 - svg.RIGHT and left[1] > right[1]
    assert len(re.findall(r'stroke-opacity="0.5"', drawn)) == 3


def test_one_point_and_equal_values_are_finite() -> None:
    for points in ([svg.Point(7, 3)], [svg.Point(7, 3), svg.Point(7, 3)], [svg.Point(1, 0), svg.Point(2, 0)], []):
        for logarithmic in (False, True):
            lines = [svg.Line("m", points)] if points or not logarithmic else [svg.Line("m", [svg.Point(1, 1)])]
            text = svg.draw(
                [svg.Panel("t", lines, logarithmic=logarithmic, from_zero=False, x_title="x", stacked=True)]
            )
            assert "nan" not in text and "inf" not in text
            assert all(math.isfinite(float(number)) for number in re.findall(r"[-\d.]+(?=,)", text) if number != "-")


def test_how_far_a_training_had_come_is_no_part_of_a_model() -> None:
    training = Training(name="essai", digest="ab", step=5, tokens=None)
    assert make_cell(training=training).digest == make_cell().digest
    assert "training" not in make_cell().model.model_dump()
    again = ModelRef.model_validate(make_cell(training=training).model.model_dump())
    assert again.training == training


@pytest.mark.parametrize(("most", "half"), [(6, 4), (5, 3), (36, 18)])
def test_a_number_below_the_picture_stands_at_its_point(most: int, half: int) -> None:
    panel = svg.Panel("points", [svg.Line("row", [svg.Point(x=n, y=n) for n in range(1, most + 1)])])
    drawn = svg.draw([panel], columns=1)
    points = re.findall(r"<polyline points=\"([^\"]+)\"", drawn)[0].split()
    label = re.search(rf'<text x="([0-9.]+)" [^>]*text-anchor="middle">{half}</text>', drawn)
    assert label and label[1] == points[half - 1].split(",")[0]
