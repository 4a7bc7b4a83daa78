from __future__ import annotations

import csv
import io
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import typer
from pydantic import ValidationError

from flue_bench.boards.board import Board, Column, Entry, Row
from flue_bench.boards.latex import latex
from flue_bench.boards.render import markdown, terminal, to_csv, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.wording import tables
from flue_bench.cli.leaderboard import leaderboard
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.progress import Console
from flue_bench.record import RunRecord, Truncation
from flue_bench.results.store import Store
from flue_bench.statistics.power import Noise, power
from support.boards import teacher_and_student, write_run
from support.command_line import done, refused
from support.factories import CLS, make_cell, make_failure, make_record, make_speed

HOSTILE = "org/mod|èle[red]x[/red]\x1b[31m\x07\n**gras** <b>`c`\u202e_"


def drawn(board: Board, width: int = 80, **console: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, **console).print(terminal(board))
    return out.getvalue()


def entry(board: Board, row: int = 0, column: int = 0) -> Entry:
    found = board.rows[row].entries[column]
    assert found is not None
    return found


def reasons(board: Board) -> list[str]:
    return [reason for _, reason in board.left_out]


def flue(model: str, seeds: int = 3, **more: Any) -> list[RunRecord]:
    tasks = [*CLS, "paws-x", "xnli", "wikiner"]
    return [make_record(model, task, seed, 0.8 + 0.01 * seed, **more) for task in tasks for seed in range(seeds)]


class Watched(dict[str, float]):
    """Scores that count how often they are looked at."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        Watched.looks += 1
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        Watched.looks += 1
        return super().__iter__()


@pytest.mark.parametrize("metric", [None, "accuracy"])
def test_every_record_is_looked_at_as_often_whatever_the_number_of_rows(metric: str | None) -> None:
    looks = []
    for models in (5, 20):
        records = [
            record.model_copy(update={"scores": Watched(record.scores)})
            for model in range(models)
            for task in ("xnli", "paws-x")
            for record in (make_record(f"org/m{model}", task, seed) for seed in (0, 1))
        ]
        Watched.looks = 0
        assert len(build(records, metric=metric).rows) == models
        looks.append(Watched.looks / len(records))
    assert looks[0] == looks[1] > 0


def test_mean_and_sample_deviation_over_seeds() -> None:
    board = build([make_record(seed=seed, score=score) for seed, score in enumerate([0.80, 0.82, 0.84])])
    assert entry(board).mean == pytest.approx(0.82)
    assert entry(board).sd == pytest.approx(0.02)
    assert entry(board).n == 3
    assert entry(board).seeds == (0, 1, 2)
    assert "82.00 ± 2.00 (3 min 80.0)" in markdown(board)
    assert re.search(r"82\.00 ±2\.00\n.*n=3", drawn(board))


def test_where_no_seed_failed_no_median_is_spoken_of() -> None:
    board = build([make_record(seed=seed, score=score) for seed, score in enumerate([0.80, 0.82, 0.84])])
    assert "median" not in drawn(board) and "median" not in markdown(board)


def test_a_single_seed_has_no_deviation() -> None:
    board = build([make_record(score=0.81234)])
    assert entry(board).sd is None
    assert "| 81.23 (1) |" in re.sub(" +", " ", markdown(board))


def test_cls_is_averaged_seed_by_seed() -> None:
    scores = {0: (0.90, 0.80, 0.70), 1: (0.92, 0.84, 0.76)}
    board = build(
        make_record(task=task, seed=seed, score=score)
        for seed, of_seed in scores.items()
        for task, score in zip(CLS, of_seed, strict=True)
    )
    assert [column.title for column in board.columns] == ["cls"]
    assert entry(board).scores == pytest.approx((0.80, 0.84))
    assert entry(board).mean == pytest.approx(0.82)
    assert entry(board).sd == pytest.approx(0.0282843, abs=1e-7)
    assert [(run.task, run.seed, run.score) for run in entry(board).runs][:2] == [
        ("cls-books", 0, 0.90),
        ("cls-dvd", 0, 0.80),
    ]
    assert board.left_out == ()


def test_a_seed_that_lacks_a_member_does_not_count() -> None:
    records = [make_record(task=task, seed=seed, score=0.8 + 0.1 * seed) for task in CLS for seed in (0, 1)]
    board = build(record for record in records if (record.cell.task, record.cell.seed) != ("cls-dvd", 1))
    assert entry(board).mean == pytest.approx(0.8)
    assert entry(board).n == 1
    assert board.left_out == (("org/modele (standard, fp32)", "cls: cls-dvd missing for seed 1"),)


def test_a_column_without_all_its_members_is_left_out_and_says_so() -> None:
    records = [make_record(task="cls-books", seed=seed, score=0.8 + 0.1 * seed) for seed in (0, 1)]
    board = build([*records, make_record(task="xnli")])
    assert [column.name for column in board.columns] == ["xnli"]
    assert reasons(board) == ["cls: cls-dvd, cls-music missing (cls-books: f1_macro 85.00, n=2)"]
    assert "cls-dvd, cls-music missing" in " ".join(drawn(board).split())


def test_members_without_a_common_seed_make_no_entry() -> None:
    """Nor a column: it would hold dashes alone. What is missing is said, and another model's column stays."""
    torn = [make_record(task=task, seed=seed) for seed, task in enumerate(CLS)]
    board = build(torn)
    assert board.rows == board.columns == () and len(board.left_out) == 4
    assert [(row.label, len(row.entries)) for row in build([*torn, make_record("b")]).rows] == [("b", 1)]


def test_columns_are_flue_first_then_by_name() -> None:
    others = [make_record(task=task) for task in ("zzz", "amazon-books")]
    board = build([*others, *flue("m", 1)])
    assert [column.title for column in board.columns] == ["cls", "paws-x", "xnli", "wikiner", "amazon-books", "zzz"]
    assert [column.metric for column in board.columns[2:4]] == ["f1_macro", "entity_f1_micro"]


def test_of_several_tasks_in_a_column_it_is_told_which_one_has_other_data() -> None:
    parts = [
        make_record("m", task, canonical=False, deviations=["archive inconnue", "train a 9 lignes"])
        for task in ("cls-books", "cls-dvd", "cls-music")
    ]
    alone = make_record("m", "xnli", canonical=False, deviations=["train a 9 lignes"])
    cls, xnli = build([*parts, alone]).columns
    assert cls.deviations[2:4] == ("cls-dvd: archive inconnue", "cls-dvd: train a 9 lignes")
    assert len({*cls.deviations}) == 6 and xnli.deviations == ("train a 9 lignes",)


def test_what_is_not_canonical_or_limited_has_a_column_of_its_own() -> None:
    board = build(
        [
            make_record("m", "wikiner", score=0.9),
            make_record(
                "m", "wikiner", score=0.8, data="b" * 16, canonical=False, train_rows=113296, deviations=["dédoublonné"]
            ),
            make_record("m", "wikiner", score=0.7, limit=500),
            make_record("m", "wikiner", score=0.6, limit=1000),
        ]
    )
    assert [column.title for column in board.columns] == [
        "wikiner",
        "wikiner limit 1000",
        "wikiner limit 500",
        "wikiner (113,296 train rows)",
    ]
    assert [entry(board, 0, i).mean for i in range(4)] == [0.9, 0.6, 0.7, 0.8]
    assert "- wikiner (113,296 train rows): dédoublonné" in markdown(board)


def test_canonical_and_other_data_are_not_averaged_in_one_column() -> None:
    records = [make_record(task="cls-books"), make_record(task="cls-dvd")]
    board = build([*records, make_record(task="cls-music", canonical=False, data="b" * 16)])
    assert board.rows == ()
    assert len(board.left_out) == 2
    assert "cls (data not canonical): cls-books, cls-dvd missing" in " ".join(reasons(board))
    assert "No model has a whole entry yet" in drawn(board)
    assert "No model has a whole entry yet" in markdown(board)


@pytest.mark.parametrize(
    ("one", "other", "titles"),
    [
        ({"task_version": 1}, {"task_version": 2}, ["xnli v1", "xnli v2"]),
        ({"data": "a" * 16}, {"data": "b" * 16}, ["xnli data aaaaaa", "xnli data bbbbbb"]),
        ({"metric": "accuracy"}, {"metric": "f1_macro"}, ["xnli accuracy", "xnli f1_macro"]),
    ],
)
def test_versions_data_and_metrics_are_never_mixed(
    one: dict[str, Any], other: dict[str, Any], titles: list[str]
) -> None:
    board = build([make_record("a", score=0.9, **one), make_record("b", score=0.8, **other)])
    assert [column.title for column in board.columns] == titles
    assert [[bool(found) for found in row.entries] for row in board.rows] == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"recipe_name": "standard"}, {"recipe_name": "flue", "recipe": {"batch_size": 8}}),
        ({"recipe": {"precision": "fp32"}}, {"recipe": {"precision": "bf16"}}),
        ({"protocol": 1}, {"protocol": 2}),
        ({"model_digest": "a" * 16, "revision": "1" * 40}, {"model_digest": "b" * 16, "revision": "2" * 40}),
    ],
)
def test_recipes_precisions_protocols_and_weights_have_rows_of_their_own(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    board = build([make_record(score=0.9, **one), make_record(score=0.8, **other)])
    assert [row.entries[0].mean for row in board.rows if row.entries[0]] == [0.9, 0.8]
    first, second = re.findall(r"^\| org.*?\|.*?\|", markdown(board), re.M)
    assert first != second


def test_models_that_share_a_name_are_told_apart() -> None:
    named = [make_record("m", model_digest=d * 16, revision=r) for d, r in (("a", "1" * 40), ("b", "2" * 40))]
    assert [row.label for row in build(named).rows] == ["m@1111111", "m@2222222"]
    unnamed = [make_record("m", model_digest=digest * 16) for digest in "ab"]
    assert [row.label for row in build(unnamed).rows] == ["m (aaaaaaa)", "m (bbbbbbb)"]


def test_the_same_weights_are_one_row_under_their_name_on_the_hub() -> None:
    here = make_record("a-copie", seed=0, model_digest="d" * 16, origin="directory")
    hub = make_record("org/modele", seed=1, model_digest="d" * 16, revision="1" * 40)
    (row,) = build([here, hub]).rows
    assert (row.label, row.entries[0] and row.entries[0].n) == ("org/modele", 2)


def test_one_setting_an_entry_and_the_other_is_named() -> None:
    board = build(
        [
            *(make_record(seed=seed, score=0.8) for seed in range(3)),
            *(make_record(seed=seed, score=0.4, recipe={"epochs": 5, "learning_rate": 1e-4}) for seed in range(2)),
        ]
    )
    assert (entry(board).mean, entry(board).n) == (pytest.approx(0.8), 3)
    assert reasons(board) == [
        "xnli, seed 0, 1: another setting under the same recipe name: epochs 5 (shown: 3), "
        "learning_rate 0.0001 (shown: 3e-05)"
    ]


def test_on_a_tie_the_newest_setting_is_kept() -> None:
    older = make_record(score=0.4, created="2025-01-01T00:00:00Z")
    newer = make_record(score=0.8, recipe={"epochs": 5}, created="2025-02-01T00:00:00Z")
    for records in ([older, newer], [newer, older]):
        assert entry(build(records)).mean == 0.8


def test_the_same_cell_twice_counts_once() -> None:
    board = build([make_record(), make_record(), make_record(seed=1)])
    assert (entry(board).n, board.left_out) == (2, ())


def test_the_same_cell_with_other_predictions_is_listed() -> None:
    old, new = make_record(score=0.7, created="2025-01-01T00:00:00Z"), make_record(score=0.8)
    changed = new.model_copy(update={"predictions": new.predictions.model_copy(update={"sha256": "f" * 64})})
    board = build([changed, old])
    assert entry(board).mean == 0.8
    assert board.left_out == (
        ("org/modele: xnli, seed 0", "1 more of the same cell with other predictions; the newest is shown"),
    )


def test_collapsed_runs_are_averaged_and_marked() -> None:
    records = [make_record(task="wikiner", seed=seed, score=0.6) for seed in (0, 1)]
    board = build([*records, make_record(task="wikiner", seed=2, score=0.0, collapsed="predicts only 'O'")])
    assert entry(board).mean == pytest.approx(0.4)
    assert entry(board).collapsed == ("predicts only 'O' in 1 of 3 seeds",)
    assert "median 60.00†" in drawn(board)
    assert "median 60.00† (3 min 0.0)" in markdown(board)
    for text in (drawn(board), markdown(board)):
        assert "Where a seed failed, the median stands for the mean" in " ".join(text.split())
        assert "40.00" not in text, "the mean of runs of which one failed is that of neither"
    assert '"mean": 0.39999' in to_json(board) or '"mean": 0.4' in to_json(board), "every figure is in the data"
    for text in (drawn(board), markdown(board)):
        assert "org/modele (standard, fp32), wikiner: predicts only 'O' in 1 of 3 seeds" in " ".join(text.split())


def test_a_collapsed_member_is_named() -> None:
    collapsed = {"cls-dvd": "predicts only 'positif'"}
    board = build(make_record(task=task, collapsed=collapsed.get(task)) for task in CLS)
    assert entry(board).collapsed == ("cls-dvd predicts only 'positif' in 1 of 1 seed",)


def test_a_model_that_was_fine_tuned_before_is_marked() -> None:
    heads = {"xnli": "replaced", "paws-x": "permuted", "wikiner": "absent"}
    board = build(
        [make_record("org/reglé", task, head=head) for task, head in heads.items()]
        + [make_record("org/nu", "xnli"), make_record("org/ancien", "xnli", head=None)]
    )
    words = ("started from, its rows in the task's order, on paws-x", "replaced by a new one on xnli")
    assert {row.label: row.fine_tuned for row in board.rows} == {"org/reglé": words, "org/nu": (), "org/ancien": ()}
    for text in (drawn(board), markdown(board)):
        assert "org/reglé ‡" in text and text.count("‡") == 2  # its row, and the note
        assert f"org/reglé (standard, fp32): {'; '.join(words)}" in " ".join(text.split())
    assert r"org/reglé $^{\ddagger}$" in latex(board)
    assert [line["head"] for line in csv.DictReader(io.StringIO(to_csv(board)))].count("permuted") == 1
    assert json.loads(to_json(board))["rows"][0]["fine_tuned"]


def test_a_head_that_the_first_release_took_by_position_is_told() -> None:
    record = make_record(head=None)
    said = "the checkpoint brought its own classification head of this size: fine-tuning starts from it"
    environment = record.environment.model_copy(update={"notes": (said,)})
    (row,) = build([record.model_copy(update={"environment": environment})]).rows
    assert row.fine_tuned == ("taken by position, whatever its labels were, on xnli",)


def test_inputs_of_which_half_were_cut_are_told() -> None:
    """On the board too, in every format for people: the screen of the run is gone by then."""

    def cut(seed: int, limit: int | None = None, **shares: float) -> RunRecord:
        record = make_record("org/court", "xnli", seed, limit=limit)
        rows = {split: min(count, limit or count) for split, count in record.data.rows.items()}
        examples = {split: round(shares.get(split, 0) * count) for split, count in rows.items()}
        return record.model_copy(update={"truncation": Truncation(examples=examples)})

    rows = make_record().data.rows
    board = build([cut(0, test=0.5, train=0.25), make_record("org/long", "xnli"), make_record("org/court", "paws-x")])
    said = f"xnli: {rows['test'] // 2:,} of {rows['test']:,} rows of test at 128 sub-words"
    assert {row.label: row.cut for row in board.rows} == {"org/court": (said,), "org/long": ()}
    for text in (drawn(board), markdown(board), latex(board).replace("{-}", "-")):
        assert f"org/court (standard, fp32): {said}" in " ".join(text.split())
    assert json.loads(to_json(board))["rows"][0]["cut"] == [said]
    assert build([cut(0, test=0.4, train=0.4, validation=0.2)]).rows[0].cut == ()
    (both,) = build([cut(0), cut(1, train=0.9, validation=0.6)]).rows  # one seed says it for the row
    assert "rows of train" in both.cut[0] and "rows of validation" in both.cut[0] and "test" not in both.cut[0]
    (few,) = build([cut(0, limit=10, test=0.6)]).rows
    assert few.cut == ("xnli: 6 of 10 rows of test at 128 sub-words",)


def test_failures_are_shown_until_their_cell_is_done() -> None:
    failures = [make_failure("plus de mémoire", seed=1), make_failure("dépassé", seed=0)]
    board = build([make_record(seed=0)], failures)
    assert board.failed == (("org/modele: xnli, seed 1", "plus de mémoire"),)
    for text in (drawn(board), markdown(board)):
        assert "org/modele: xnli, seed 1: plus de mémoire" in text
    assert build([], failures).failed[0].reason == "dépassé"


def test_another_metric() -> None:
    records = [make_record(task="xnli", scores={"f1_macro": 0.8, "accuracy": 0.85}), make_record(task="wikiner")]
    board = build(records, metric="accuracy")
    assert [(column.name, column.metric) for column in board.columns] == [("xnli", "accuracy")]
    assert entry(board).mean == 0.85
    assert board.left_out == (("wikiner", "no model has a whole entry by accuracy"),)
    assert re.search(r"\| +85\.00 \(1\) \|", markdown(board))
    with pytest.raises(UnknownNameError, match=r"Unknown metric .acuracy.\. Did you mean accuracy"):
        build(records, metric="acuracy")


def test_a_score_that_is_missing_is_left_out() -> None:
    board = build([make_record(seed=0), make_record(seed=1, scores={"accuracy": 0.8})])
    assert entry(board).n == 1
    assert reasons(board)[0] == "xnli, seed 1: f1_macro is missing"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 9.0, -1.5])
def test_a_score_that_cannot_be_is_no_record(score: float) -> None:
    with pytest.raises(ValidationError, match="f1_macro"):
        make_record(scores={"f1_macro": score})


def test_rows_are_sorted_by_their_columns_and_the_best_is_bold() -> None:
    board = build(
        [
            make_record("sans", "xnli", score=0.99),
            make_record("moyen", "paws-x", score=0.7),
            make_record("bon", "paws-x", score=0.9),
            make_record("bon", "xnli", score=0.6),
            make_record("ex-aequo", "paws-x", score=0.900_01),
        ]
    )
    assert [row.label for row in board.rows] == ["ex-aequo", "bon", "moyen", "sans"]
    assert re.findall(r"\*\*(.+?)\*\*", markdown(board)) == ["90.00", "90.00", "99.00"]
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(terminal(board))
    assert len(re.findall(r"\x1b\[1m *90\.00", out.getvalue())) == 2
    assert not re.search(r"\x1b\[1m *70\.00", out.getvalue())


def test_a_lonely_entry_is_not_the_best() -> None:
    assert "**" not in markdown(build([make_record()]))


def test_the_order_of_records_does_not_matter() -> None:
    records = [*flue("a"), *flue("b", recipe_name="flue"), *flue("a", recipe={"epochs": 9}), make_record(score=0.1)]
    expected = build(records)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        board = build(shuffled)
        assert board == expected
        for render in (markdown, to_json, to_csv, drawn):
            assert render(board) == render(expected)


def test_four_tasks_fit_80_columns() -> None:
    text = drawn(build([*flue("cmarkea/distilcamembert-base"), *flue("almanach/camembert-base")]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.search(r"cls +paws-x +xnli +wikiner", lines[0])
    assert lines[1].split() == ["model", "f1_macro", "f1_macro", "f1_macro", "entity_f1_micro"]
    assert "distilcamembert-base " in text
    assert text.count("81.00 ±1.00") == 8
    assert "standard, fp32, 68.1 M" in " ".join(text.split())


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_many_columns_go_on_below(width: int) -> None:
    board = build(make_record(task=f"tache-{i}", score=i / 20) for i in range(12))
    text = drawn(board, width)
    assert max(map(len, text.splitlines())) <= max(width, 40)
    if width >= 40:
        assert [f"{5 * i}.00" in text for i in range(12)] == [True] * 12


def test_hostile_names_are_harmless() -> None:
    board = build(
        [make_record(HOSTILE, collapsed="predicts only '\x1b]0;titre\x07'")],
        [make_failure("cassé\x1b[2J | [bold]", model=HOSTILE, seed=1)],
        [(Path("\x1b[31mfichier.json"), "not JSON")],
    )
    for text in (drawn(board), drawn(board, 200), markdown(board), to_json(board), to_csv(board)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "[red]x[/red]" in drawn(board, 200)
    (line,) = [line for line in markdown(board).splitlines() if "80.00" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 5
    assert r"\*\*gras\*\*" in line and r"\<b\>\`c\`" in line
    (row,) = csv.DictReader(io.StringIO(to_csv(board)))
    assert "gras" in row["model"]
    assert json.loads(to_json(board))["rows"][0]["model"] == HOSTILE


def test_json_holds_everything() -> None:
    records = flue("m", 2)
    content = json.loads(to_json(build(records, [make_failure(seed=9)], [(Path("a.json"), "not JSON")])))
    assert [column["title"] for column in content["columns"]] == ["cls", "paws-x", "xnli", "wikiner"]
    assert [member["task"] for member in content["columns"][0]["members"]] == list(CLS)
    (row,) = content["rows"]
    runs = [run for found in row["entries"] for run in found["runs"]]
    assert {run["cell_digest"] for run in runs} == {record.cell_digest for record in records}
    assert {run["predictions_sha256"] for run in runs} == {record.predictions.sha256 for record in records}
    assert row["entries"][0]["scores"] == pytest.approx([0.80, 0.81])
    assert content["failed"] == [{"what": "org/modele: xnli, seed 9", "reason": "the loss is not finite"}]
    assert content["left_out"] == [{"what": "a.json", "reason": "not JSON"}]


def test_csv_has_a_line_a_task_and_seed() -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(build(flue("m", 2, limit=500))))))
    assert len(lines) == 12
    assert [(line["column"], line["task"], line["seed"], line["score"]) for line in lines[:2]] == [
        ("cls limit 500", "cls-books", "0", "0.8"),
        ("cls limit 500", "cls-dvd", "0", "0.8"),
    ]
    assert {line["limit"] for line in lines} == {"500"}


# Cost, and what a student keeps ---------------------------------------------------------------------------------------

TEACHER = make_cell("maitre").model.digest


def pair(**student: Any) -> list[RunRecord]:
    """A teacher and its student on two tasks: it keeps 90 and 80 %."""
    taught: dict[str, Any] = {"teacher": TEACHER, "parameters": 30_000_000, "weights_bytes": 120_000_000, **student}
    return [
        *(make_record("maitre", "xnli", seed, 0.8 + 0.1 * seed, parameters=60_000_000) for seed in (0, 1)),
        *(make_record("eleve", "xnli", seed, 0.765, **taught) for seed in (0, 1)),
        make_record("maitre", "wikiner", score=0.5, parameters=60_000_000),
        make_record("eleve", "wikiner", score=0.4, **taught),
    ]


def test_a_student_is_found_by_its_teachers_digest() -> None:
    board = build(pair(), speeds=[make_speed("maitre", 100), make_speed("eleve", 190)])
    (found,) = board.pairs
    assert [board.rows[i].label for i in (found.student, found.teacher)] == ["eleve", "maitre"]
    assert [kept and kept.ratio for kept in found.kept] == pytest.approx([0.9, 0.8])
    assert (found.mean, found.parameters, found.speeds) == (pytest.approx(0.85), 0.5, (pytest.approx(1.9),))
    said = "eleve keeps 85.0 % of maitre's score (mean of 2 tasks) with 50 % of its parameters, at 1.9 times its speed."
    for text in (drawn(board, 100), markdown(board)):
        assert said in " ".join(text.split())
        assert re.search(r"90\.0 %.*80\.0 %", text)
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert {
        (line["model"], line["task"], line["kept"] and f"{float(line['kept']):.2f}")
        for line in lines
        if line["seed"] == "0"
    } == {
        ("eleve", "xnli", "0.90"),
        ("eleve", "wikiner", "0.80"),
        ("maitre", "xnli", ""),
        ("maitre", "wikiner", ""),
    }
    assert {line["examples_per_second (CPU, 2 threads, fp32, batches of 32, sample 000000)"] for line in lines} == {
        "100.0",
        "190.0",
    }
    content = json.loads(to_json(board))
    assert content["pairs"][0]["mean"] == pytest.approx(0.85)
    assert content["rows"][1]["speeds"][0]["examples_per_second"] == 190


def test_a_pair_can_be_asked_for() -> None:
    records = pair(teacher=None)
    assert build(records).pairs == ()
    by_name = build(records, pair=("maitre", "eleve")).pairs
    assert by_name == build(records, pair=(TEACHER[:8], "eleve")).pairs != ()
    assert build(records, pair=("eleve", "maitre")).pairs[0].kept[0] is not None
    with pytest.raises(UnknownNameError, match=r"Unknown model .maitr.\. Did you mean maitre"):
        build(records, pair=("maitr", "eleve"))
    two = [make_record("m", model_digest=digest * 16, revision=digest * 40) for digest in "ab"]
    with pytest.raises(UsageError, match=r"Several models go by 'm': give one of m@aaaaaaa, m@bbbbbbb"):
        build([*records, *two], pair=("m", "eleve"))


def test_a_student_stands_beside_its_teacher_as_fine_tuned_alike() -> None:
    other = [make_record("maitre", recipe_name="flue", recipe={"batch_size": 8}, score=0.99)]
    board = build([*other, *pair()])
    assert [board.rows[found.teacher].recipe for found in board.pairs] == ["standard"]
    assert "; student" not in markdown(board)
    board = build([*other, *(record for record in pair() if record.cell.model.name == "eleve")])
    assert "student standard, fp32, teacher flue, fp32" in markdown(board)


def test_what_has_no_ratio_has_none() -> None:
    taught = {"teacher": TEACHER}
    board = build([make_record("maitre", score=0.0), make_record("eleve", score=0.5, **taught)])
    assert (board.pairs[0].kept, board.pairs[0].mean) == ((None,), None)
    assert "keeps" not in markdown(board)
    apart = build([make_record("maitre"), make_record("eleve", "paws-x", **taught)])
    assert apart.pairs == ()  # not a row of dashes
    drawn(board), drawn(apart)


def test_speeds_of_two_machines_are_never_compared() -> None:
    speeds = [
        make_speed("maitre", 100),
        make_speed("eleve", 200),
        make_speed("eleve", 9000, device="GPU", precision="bf16"),
        make_speed("eleve", 150, threads=1),
    ]
    board = build(pair(), speeds=speeds)
    assert len(board.machines) == 3
    assert board.pairs[0].speeds == (None, 2.0, None)
    text = " ".join(drawn(board, 200).split())
    assert "at 2.0 times its speed (CPU, 2 threads, fp32)." in text
    assert [text.count(f"Cost on {name}") for name in ("CPU, 1 thread,", "CPU, 2", "GPU")] == [1, 1, 1]
    # Each block names both models; who was not measured there has no figure.
    assert text.count("maitre 60.0 – – – –") == 2  # noqa: RUF001


def test_the_newest_speed_counts_and_one_without_scores_is_told() -> None:
    speeds = [make_speed("maitre", 100, created="2025-02-01T00:00:00Z"), make_speed("maitre", 50), make_speed("absent")]
    for given in (speeds, speeds[::-1]):
        board = build([make_record("maitre")], speeds=given)
        assert [speed and speed.examples_per_second for speed in board.rows[0].speeds] == [100]
        assert ("absent", "its speed was measured, but it has no score") in board.left_out


def test_size_alone_is_shown_and_nothing_without_it() -> None:
    assert "size (MB)" not in markdown(build([make_record()]))
    text = markdown(build([make_record("a", weights_bytes=12_345_678), make_record("b")]))
    assert re.search(r"\| a +\| +68\.1 \| +12\.3 \|\n\| b +\| +68\.1 \| +– \|", text)  # noqa: RUF001
    assert "latency" not in text


def test_a_model_whose_heads_differ_has_a_range_of_parameters() -> None:
    """A student is set against its teacher with the head of a task that both have."""
    of_heads = {"teacher": TEACHER, "weights_bytes": 6_000_000}
    board = build(
        [
            make_record("maitre", "xnli", parameters=60_500_000),
            make_record("maitre", "wikiner", parameters=60_000_000),
            make_record("eleve", "wikiner", parameters=30_000_000, **of_heads),
            make_record("eleve", "xnli", parameters=30_040_000, **of_heads, recipe_name="quick"),
        ]
    )
    rows = {(row.label, row.how): (row.smallest, row.parameters) for row in board.rows}
    assert rows["maitre", "standard"] == (60_000_000, 60_500_000)
    assert {pair.parameters for pair in board.pairs} == {0.5, 30_040_000 / 60_500_000}
    for text in (drawn(board, 100), markdown(board), latex(board), board._repr_html_()):
        assert re.search("60\\.0(–|--)60\\.5", text), text  # noqa: RUF001
        assert "30.0–" not in text  # noqa: RUF001  # what is equal as it is printed has no range
    assert re.search(r"\| maitre +\| +60\.0–60\.5 \| +– \|", markdown(board))  # noqa: RUF001


def test_a_column_of_dashes_in_a_table_is_left_out_and_named() -> None:
    records = [make_record("maitre"), make_record("eleve")]
    board = build(records, speeds=[make_speed("maitre", 100)])
    (costs,) = [table for table in tables(board) if table.title.startswith("Cost on")]
    assert costs.headers == ["model", "parameters (M)", "examples/s", "latency (ms)", "p95 (ms)"]
    assert costs.numbers == (1, 2, 3, 4) and costs.caption.endswith(" Nothing is known of: size (MB).")
    assert [line[2] for line in costs.lines] == ["\N{EN DASH}", "100"]
    for text in (drawn(board, 100), markdown(board), latex(board), board._repr_html_()):
        assert "Nothing is known of: size (MB)." in " ".join(text.split()), text
    sized = build([make_record("maitre", weights_bytes=10**7), records[1]], speeds=[make_speed("maitre", 100)])
    assert all("Nothing is known" not in table.caption for table in tables(sized))


def test_the_last_line_says_what_each_column_can_show() -> None:
    board = build([make_record(model, task) for model in ("a", "b") for task in ("xnli", "paws-x")])
    assert "smallest difference shown" not in markdown(board)
    shown = power(Noise(0.01, 0.01, 500), 3)
    board = replace(board, power=(shown, None))
    points = f"{100 * shown.smallest:.1f}"
    line = next(line for line in markdown(board).splitlines() if "smallest difference shown" in line)
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["points", "", points, "\N{EN DASH}"]
    assert f"smallest difference shown & points &  & {points} & -- " in latex(board)
    for text in (drawn(board, 100), board._repr_html_()):
        assert re.search(rf"smallest difference shown\D+{points}", text), text


def test_two_models_on_four_tasks_fit_100_columns() -> None:
    teacher, student = (
        flue("almanach/camembert-base"),
        flue("cmarkea/distilcamembert-base", teacher=make_cell("almanach/camembert-base").model.digest),
    )
    speeds = [make_speed("almanach/camembert-base", device="A processor of a rather long name @ 2.10GHz")]
    text = drawn(build([*teacher, *student], speeds=speeds), 100)
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) <= 25


def test_the_board_is_frozen() -> None:
    for kind in (Board, Row, Column, Entry):
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


# The command ---------------------------------------------------------------------------------------------------------

app = typer.Typer()
app.command()(leaderboard)


def fill(root: Path, records: list[RunRecord]) -> Path:
    for record in records:
        folder = Store(root).folder(record.cell)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"seed{record.cell.seed}-{record.cell_digest}.json"
        path.write_text(json.dumps(record.model_dump()), encoding="utf-8")
    return root


def shown(*arguments: str | Path) -> str:
    return done("leaderboard", *arguments)


def test_the_command_merges_directories(tmp_path: Path, all_stand: None) -> None:
    one, two = fill(tmp_path / "a", flue("m", 2)), fill(tmp_path / "b", flue("m", 3))
    for name in ("terminal", "markdown", "html", "latex", "json", "csv"):
        text = shown("--results", one, "--results", two, "--format", name)
        out = tmp_path / f"board.{name}"
        assert shown("--results", one, "--results", two, "--format", name, "--out", out) == ""
        assert out.read_text(encoding="utf-8").splitlines()[:3] == text.splitlines()[:3] or name == "terminal"
        assert "\x1b" not in out.read_text(encoding="utf-8")
    assert "81.00 ± 1.00 (3 min 80.0)" in shown("--results", one, "--results", two, "-f", "markdown")
    assert "n=3" in (tmp_path / "board.terminal").read_text(encoding="utf-8")
    assert "accuracy" in shown("--results", one, "--metric", "accuracy")


def test_the_default_directory_and_a_written_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = write_run(Store(Path("results")), "m", "xnli", 0, 0.8)
    assert f"{100 * record.scores['f1_macro']:.2f}" in shown()


def test_a_damaged_file_is_left_out_with_its_path(tmp_path: Path, all_stand: None) -> None:
    root = fill(tmp_path / "a", flue("m", 1))
    broken = next(root.rglob("*.json"))
    broken.write_text('{"schema_version": 1,')
    content = json.loads(shown("--results", root, "-f", "json"))
    assert {"what": str(broken), "reason": content["left_out"][0]["reason"]} in content["left_out"]


def test_nothing_to_show_names_the_command_that_makes_records(tmp_path: Path) -> None:
    assert re.search(r"No records in .*flue-bench run", refused("leaderboard", "--results", tmp_path))


def test_a_folder_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    said = refused("leaderboard", "--results", tmp_path, "--results", tmp_path / "absent")
    assert "absent: there is no such folder" in said


def test_teacher_and_student_go_together(tmp_path: Path) -> None:
    root = teacher_and_student(tmp_path / "a", "maitre", "eleve", seeds=1).root
    assert "eleve keeps 8" in shown("--results", root, "--teacher", "maitre", "--student", "eleve")
    said = refused("leaderboard", "--results", root, "--teacher", "maitre")
    assert "--teacher and --student go together" in said


def test_speeds_are_read_from_the_directory(tmp_path: Path) -> None:
    root = teacher_and_student(tmp_path / "a", "maitre", "eleve", seeds=1).root
    assert "at 1.9 times its speed." in " ".join(shown("--results", root).split())


def test_out_that_cannot_be_written_is_told(tmp_path: Path, all_stand: None) -> None:
    root = fill(tmp_path / "a", flue("m", 1))
    said = refused("leaderboard", "--results", root, "--out", tmp_path, code=1)
    assert "cannot be written: Is a directory" in said


def test_a_thousand_records_are_a_matter_of_a_second(tmp_path: Path) -> None:
    root = fill(tmp_path, [r for m in range(56) for r in flue(f"org/modele-{m}", 3)])
    began = time.process_time()
    contents = Store(root).read()
    board = build(contents.records)
    assert time.process_time() - began < 2
    assert (len(contents.records), len(board.rows)) == (1008, 56)


LIGHT = """
import sys, typer
from flue_bench.cli.leaderboard import leaderboard
app = typer.Typer()
app.command()(leaderboard)
for name in ("terminal", "markdown", "latex", "json", "csv"):
    app(["--results", sys.argv[1], "--format", name], standalone_mode=False)
heavy = {"torch", "transformers", "evaluate", "sklearn", "scipy", "pandas", "pyarrow", "datasets", "huggingface_hub"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""


def test_no_heavy_import_on_the_way_to_the_board(tmp_path: Path) -> None:
    records = [write_run(Store(tmp_path), "m", "xnli", seed, 0.8) for seed in (0, 1)]
    root, _ = tmp_path, shown("--results", tmp_path)  # what is computed from predictions is known from then on
    ended = subprocess.run([sys.executable, "-c", LIGHT, str(root)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    mean, sd = (of([100 * record.scores["f1_macro"] for record in records]) for of in (fmean, stdev))
    assert f"{mean:.2f} ±{sd:.2f}" in ended.stdout
