"""The names of a board's rows: what one command prints, the others know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flue_bench import escape
from flue_bench.boards import card, rules
from flue_bench.boards.wording import COLLAPSED, FINE_TUNED, setting_text
from flue_bench.data import model_names
from flue_bench.data.embedded import embedded
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.record import RunRecord
from flue_bench.results.rows import NamedRow, find, find_one, named_rows, newest
from support.boards import write_run
from support.command_line import done, refused
from support.factories import make_record

ONE, TWO = "1" * 40, "2" * 40
HOSTILE = "org/mal\x1b[31m\u202etexte\nligne"
TEACHER = embedded("embedded:teacher")
assert TEACHER
CLASHING: list[dict[str, Any]] = [
    {"model": "org/m", "revision": ONE},
    {"model": "org/m", "revision": TWO},
    {"model": "org/m@1111111", "model_digest": "c0ffee" + "0" * 10},  # a name that is another's label
    {"model": "local", "origin": "directory", "model_digest": "abcdef0123456789"},
    {"model": "local", "origin": "directory", "model_digest": "abcdef9876543210"},
    {"model": "embedded:teacher", "origin": "embedded", "model_digest": TEACHER.digest},
    {"model": "org/plain"},
    {"model": "org/plain", "recipe_name": "standard epochs=9", "recipe": {"epochs": 9}},
    {"model": "org/plain", "recipe": {"precision": "bf16"}},
    {"model": "org/old", "protocol": 1},
    {"model": HOSTILE},
    {"model": "org/m (standard, fp32)"},  # a name that is nearly another's title
]


def rows_of(records: list[RunRecord]) -> list[NamedRow]:
    return named_rows(newest(records)[0])


def test_tasks_that_are_asked_for_tell_the_rows_of_a_model_apart() -> None:
    """A name that goes by several rows is no question where only one of them has the task."""
    changed = {"recipe_name": "standard epochs=9", "recipe": {"epochs": 9}}
    rows = rows_of([make_record(task="un"), make_record(task="deux", **changed), make_record(task="deux", seed=1)])
    (model,) = {row.label for row in rows}
    with pytest.raises(UsageError, match="Several rows go by"):
        find_one(rows, model)
    assert [each.cell.task for each in find_one(rows, model, ["un"]).records] == ["deux", "un"]
    with pytest.raises(UsageError, match="Several rows go by"):
        find_one(rows, model, ["deux"])
    with pytest.raises(UsageError, match="Several rows go by"):
        find_one(rows, model, ["un", "deux"])


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    return [make_record(seed=seed, **each) for each in CLASHING for seed in (0, 1)]


def test_every_name_that_a_board_prints_is_known(records: list[RunRecord]) -> None:
    built, rows = rules.build(records), rows_of(records)
    assert len(built.rows) == len(CLASHING) == len({row.label + setting_text(built, row) for row in built.rows})
    for row in built.rows:
        title = f"{row.label} ({setting_text(built, row)})"
        for printed in (title, escape.plain(title)):
            assert find_one(rows, printed).key == row.key
        pinned = [f"{row.model}@{row.revision}"] if row.revision else []
        marked = [f"{row.label} {mark}" for mark in (COLLAPSED, FINE_TUNED)]
        for printed in (row.label, escape.plain(row.label), row.model_digest, *pinned, *marked):
            assert {each.key.model for each in find(rows, printed)} == {row.model_digest}, printed


def test_titles_are_those_of_the_board(records: list[RunRecord]) -> None:
    built = rules.build(records)
    assert {row.key: row.title for row in rows_of(records)} == {
        row.key: f"{row.label} ({setting_text(built, row)})" for row in built.rows
    }


@pytest.mark.parametrize(
    ("wanted", "label"),
    [
        ("org/m@1", "org/m@1111111"),
        ("org/m@22222", "org/m@2222222"),
        ("c0ffee", "org/m@1111111 (c0ffee0)"),
        ("abcdef0", "local (abcdef0)"),
        ("org/plain", "org/plain"),
    ],
)
def test_names_that_tell_a_model_from_the_others(records: list[RunRecord], wanted: str, label: str) -> None:
    labels = {row.label for row in find(rows_of(records), wanted)}
    assert len(labels) == 1 and labels.pop().startswith(label)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("org/m", r"Several models go by 'org/m': give one of org/m@1111111 \(\w{7}\), org/m@2222222, or the start"),
        ("local", r"give one of local \(abcdef0\), local \(abcdef9\)"),
        ("abcdef", r"Several models go by 'abcdef'"),
    ],
)
def test_names_of_several_models_are_refused_with_the_choices(records: list[RunRecord], wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find(rows_of(records), wanted)


@pytest.mark.parametrize("wanted", ["org/absent", "abcde", "org", "", "org/m@3", "org/plain (flue, fp32)"])
def test_names_that_nothing_goes_by(records: list[RunRecord], wanted: str) -> None:
    with pytest.raises(UnknownNameError, match="See: flue-bench leaderboard"):
        find(rows_of(records), wanted)


def test_several_rows_of_one_model(records: list[RunRecord]) -> None:
    rows = rows_of(records)
    assert len(find(rows, "org/plain")) == 3
    with pytest.raises(UsageError, match=r"Give one of: org/plain \(standard epochs=9, fp32, protocol \d\); org/plain"):
        find_one(rows, "org/plain")
    assert find_one(rows, "org/plain (standard, bf16)").key.precision == "bf16"


def test_the_same_weights_go_by_each_of_their_names() -> None:
    digest = "d" * 16
    names = [("org/m", "hub"), ("copie", "directory")]
    records = [
        make_record(name, seed=seed, origin=origin, model_digest=digest) for seed, (name, origin) in enumerate(names)
    ]
    (row,) = rows_of(records)
    assert row.label == "org/m" and find_one([row], "copie") is row and find_one([row], "org/m") is row


def test_of_one_cell_the_newest_record_counts() -> None:
    old, new = (make_record(score=score, created=f"2025-01-0{day}T00:00:00Z") for day, score in ((1, 0.1), (2, 0.2)))
    other = new.predictions.model_copy(update={"sha256": "f" * 64})
    once, others = newest([new.model_copy(update={"predictions": other}), old])
    assert [record.scores["f1_macro"] for record in once] == [0.2] and others == {old.cell_digest: 1}


def test_a_board_compare_and_card_take_the_same_names(tmp_path: Path) -> None:
    from flue_bench.results.store import Store

    here = str(tmp_path / "results")
    for number, each in enumerate(CLASHING):
        write_run(Store(Path(here)), **each, task="xnli", seed=0, right=0.5 + number / 50)

    def answer(*words: str) -> Any:
        return json.loads(done(*words, "--results", here, "--format", "json"))

    drawn = answer("leaderboard")["rows"]
    titles = [f"{row['label']} ({row['recipe']}, {row['precision']}, protocol {row['protocol']})" for row in drawn]
    assert len(set(titles)) == len(CLASHING)
    alike = [title for title in titles if not title.startswith("org/old")]  # of one protocol
    for a, b in zip(alike, alike[1:] + alike[:1], strict=True):
        compared = answer("compare", escape.plain(a), escape.plain(b))
        assert (compared["a"], compared["b"]) == (a, b)
    for row in drawn:
        other = next(each for each in drawn if each["model_digest"] != row["model_digest"])
        pairs = answer(
            "leaderboard", "--teacher", escape.plain(other["label"]), "--student", escape.plain(row["label"])
        )["pairs"]
        assert {drawn[pair["student"]]["model_digest"] for pair in pairs} == {row["model_digest"]}
        text = done("card", "--model", escape.plain(row["label"]), "--results", here)
        assert f"{row['recipe']}, {row['precision']}" in text


def test_the_path_of_a_directory_is_the_model_that_lies_there(tmp_path: Path) -> None:
    """Known by its weights: another folder of the same name is another model."""
    import shutil

    from flue_bench.results.store import Store
    from flue_bench.training import models

    here = tmp_path / "results"
    for name in ("teacher", "student"):
        shutil.copytree(model_names.EMBEDDED / name, tmp_path / name / "model")
    digest = models.resolve(str(tmp_path / "teacher" / "model")).ref.digest
    write_run(Store(here), "model", "xnli", 0, 0.8, origin="directory", model_digest=digest)
    write_run(Store(here), "org/b", "xnli", 0, 0.6)
    words = ["org/b", "--results", here, "--format", "json"]
    assert json.loads(done("compare", tmp_path / "teacher" / "model", *words))["a"] == "model (standard, fp32)"
    assert "No record has the weights in that folder" in refused("compare", tmp_path / "student" / "model", *words)


def test_a_card_of_one_row_is_of_that_row_alone() -> None:
    records = [make_record("org/m"), make_record("org/m", recipe_name="flue", recipe={"batch_size": 8})]
    name, settings, _ = card.settings(records, "org/m (flue, fp32)")
    assert name == "org/m" and [each.records for each in settings] == [(records[1],)]
    assert len(card.settings(records, "org/m")[1]) == 2
