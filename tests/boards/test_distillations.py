"""Several distillations of one recipe are one row of a board, and their spread is in its intervals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flue_bench
from flue_bench.boards import rules
from flue_bench.boards.board import Entry, Row
from flue_bench.errors import UsageError
from flue_bench.results.store import Store
from flue_bench.statistics import ranks
from flue_bench.statistics.power import smallest_difference
from support.boards import RIGHT, distillations, scores_on_xnli, write_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distillations with their teacher, and a model beside them."""
    store = Store(tmp_path_factory.mktemp("board"))
    distillations(store)
    for task in ("xnli", "paws-x"):
        for seed in range(3):
            write_run(store, "autre", task, seed, 0.74)
    return store.root


def labelled(built: flue_bench.Board, label: str) -> Row:
    (row,) = [row for row in built.rows if row.label == label]
    return row


def entry(built: flue_bench.Board, label: str, name: str) -> Entry:
    (at,) = [i for i, column in enumerate(built.columns) if column.name == name]
    found = labelled(built, label).entries[at]
    assert found is not None
    return found


def test_distillations_are_one_row_and_a_single_one_stays(root: Path) -> None:
    built = flue_bench.build_board(root)
    assert sorted(row.label for row in built.rows) == ["autre", "eleve-0", "maitre", "seul"]
    row = labelled(built, "eleve-0")
    assert row.how == "standard, 3 distillations" and len(row.distillations) == 3
    found = entry(built, "eleve-0", "xnli")
    means = [np.mean(scores_on_xnli(root, f"eleve-{i}")) for i in range(3)]
    assert (found.n, found.distillations) == (9, 3) and found.mean == pytest.approx(np.mean(means))
    assert found.sd == pytest.approx(np.std(means, ddof=1))
    assert (entry(built, "eleve-0", "paws-x").n, entry(built, "eleve-0", "paws-x").distillations) == (6, 2)
    assert labelled(built, "seul").how == "standard" and entry(built, "seul", "xnli").distillations == 1
    said = str(built)
    assert "n=9 in 3 distillations" in " ".join(said.split())
    assert "Several distillations of one recipe that are one row" in " ".join(said.split())
    assert "eleve-2" in said


def test_rows_of_one_model_are_what_they_were(root: Path) -> None:
    together, apart = (rules.build(Store(root).records(), together=both) for both in (True, False))
    assert len(apart.rows) == len(together.rows) + 2
    for label in ("maitre", "seul", "autre"):
        assert labelled(together, label).entries == labelled(apart, label).entries


def test_the_interval_holds_the_spread_over_distillations(root: Path) -> None:
    """The variance of the means of the distillations: they are what was drawn."""
    found = entry(flue_bench.build_board(root), "eleve-0", "xnli")
    assert found.interval is not None and found.interval.distillations == 3
    means = [np.mean(scores_on_xnli(root, f"eleve-{i}")) for i in range(3)]
    assert found.interval.se_seeds == pytest.approx(np.std(means, ddof=1) / math.sqrt(3))
    assert found.interval.covers == "distillations, seeds and test examples"
    line = flue_bench.compare("eleve-1", "maitre", root, tasks="xnli", question="distilled").lines[0].comparison
    assert found.versus is not None and found.versus.difference == pytest.approx(line.difference)
    assert (found.versus.low, found.versus.high) == (pytest.approx(line.low), pytest.approx(line.high))


def test_unequal_numbers_of_seeds_weigh_each_distillation_alike(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i, number in enumerate((4, 2)):
        for seed in range(number):
            write_run(store, f"eleve-{i}", "xnli", seed, RIGHT[i], distilled=("a", i))
    for seed in range(2):
        write_run(store, "autre", "xnli", seed, 0.74)
    built = flue_bench.build_board(tmp_path)
    found = entry(built, "eleve-0", "xnli")
    means = [np.mean(scores_on_xnli(tmp_path, f"eleve-{i}")) for i in range(2)]
    assert found.mean == pytest.approx(np.mean(means)) and found.interval is not None
    assert found.interval.mean == pytest.approx(found.mean)
    (title,) = [f"{row.label} ({row.how}, {row.precision})" for row in built.rows if row.distillations]
    line = flue_bench.compare(title, "autre", tmp_path).lines[0].comparison
    assert line.a == pytest.approx(found.mean) and line.a - line.b == pytest.approx(line.difference)


def test_compare_takes_the_title_that_the_board_prints(root: Path) -> None:
    title = "eleve-0 (standard, 3 distillations, fp32)"
    one = flue_bench.compare(title, "maitre", root, tasks="xnli")
    many = flue_bench.compare("eleve-1", "maitre", root, tasks="xnli", question="distilled")
    assert one.a == title and one.lines[0].comparison.low == pytest.approx(many.lines[0].comparison.low)
    assert one.lines[0].retention is not None  # the teacher is known
    assert not any("is one distillation" in note for note in one.notes)
    assert flue_bench.compare(title, "maitre", root, question="distilled").lines == (
        flue_bench.compare("eleve-0", "maitre", root, question="distilled").lines
    )
    assert flue_bench.compare("eleve-0", "maitre", root).a == "eleve-0 (standard, fp32)"  # itself, by its name
    with pytest.raises(UsageError, match="eleve-0 is one of the distillations of"):
        flue_bench.compare(title, "eleve-0", root)
    with pytest.raises(UsageError, match="several fine-tuned models of each seed: name one of eleve-0, eleve-1"):
        flue_bench.compare(title, "maitre", root, question="trained")


def test_a_student_keeps_what_its_distillations_keep(root: Path) -> None:
    built = flue_bench.build_board(root)
    pairs = {built.rows[pair.student].label: pair for pair in built.pairs}
    kept = pairs["eleve-0"].kept[[column.name for column in built.columns].index("xnli")]
    assert built.rows[pairs["eleve-0"].teacher].label == "maitre" and kept is not None
    assert kept.ratio == pytest.approx(entry(built, "eleve-0", "xnli").mean / entry(built, "maitre", "xnli").mean)
    assert kept.low is not None
    asked = flue_bench.build_board(root, teacher="maitre", student="eleve-1", floor="autre", overall=["xnli"])
    (pair,) = asked.pairs  # by the name of any of them
    assert asked.rows[pair.student].label == "eleve-0" and pair.above is not None
    assert asked.overall is not None
    places = {asked.rows[place.row].label: place for place in asked.overall.rankings[0].places}
    assert places["eleve-0"].low is not None and places["eleve-0"].mean == entry(asked, "eleve-0", "xnli").mean


def test_the_probability_of_improvement_is_of_distillations(root: Path) -> None:
    board = flue_bench.build_board(root, overall=["xnli", "paws-x"])
    assert board.overall is not None
    numbers = {row.label: number for number, row in enumerate(board.rows)}
    place = board.overall.of_row(numbers["eleve-0"])
    assert place is not None
    (given,) = [each for each in place.improvements if each.over == numbers["autre"]]
    ours, theirs = ([entry(board, label, task).scores for task in ("paws-x", "xnli")] for label in ("eleve-0", "autre"))
    of_three = [list(range(3 * i, 3 * i + 3)) for i in range(3)]
    alone = [[0], [1], [2]]
    expected = ranks.improvement(ours, theirs, units=([of_three[:2], of_three], [alone, alone]))
    assert (given.probability, given.low, given.high) == pytest.approx(expected)
    assert given.high - given.low > 0.5  # of two trials a task, whatever the number of runs


def test_what_more_distillations_would_show(root: Path) -> None:
    """The power line has the seeds of a model, as before, and the distillations of a recipe beside them."""
    built = flue_bench.build_board(root)
    at = [column.name for column in built.columns].index("xnli")
    seeds, recipes = built.power[at], built.power_of_recipes[at]
    assert seeds is not None and recipes is not None and (seeds.seeds, recipes.seeds) == (3, 3)
    means = [np.mean(scores_on_xnli(root, f"eleve-{i}")) for i in range(3)]
    assert recipes.noise.sd == pytest.approx(np.std(means, ddof=1))
    singles = [
        np.var(scores_on_xnli(root, name), ddof=1) for name in ("maitre", "autre")
    ]  # a seed of seul lies far off
    assert seeds.noise.sd == pytest.approx(math.sqrt(np.mean(singles)))
    assert recipes.smallest == pytest.approx(smallest_difference(recipes.noise, 3))
    said = " ".join(str(built).split())
    assert "with 3 seeds of each" in said and "with 3 distillations of each" in said


def test_the_same_seed_again_and_a_teacher_stay_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taught: Any = None
    for seed in range(2):
        for i, right in enumerate(RIGHT):
            taught = write_run(store, f"eleve-{i}", "xnli", seed, right, distilled=("a", i)).cell.model.digest
        write_run(store, "eleve-0-ailleurs", "xnli", seed, 0.71, distilled=("a", 0))
        write_run(store, "petit", "xnli", seed, 0.6, teacher=taught, distilled=("c", 0))
    built = flue_bench.build_board(tmp_path)
    hows = sorted((row.label, row.how) for row in built.rows)
    assert [how for label, how in hows if label == "eleve-2"] == ["standard"]  # the teacher of petit: it is given
    assert sum(how == "standard, 2 distillations" for _, how in hows) == 1 and len(hows) == 4
    (pair,) = built.pairs
    assert built.rows[pair.teacher].label == "eleve-2"


def test_another_fine_tuning_of_them_is_another_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        for i, right in enumerate(RIGHT):
            write_run(store, f"eleve-{i}", "xnli", seed, right, distilled=("a", i))
            if i < 2:
                other: Any = {"recipe_name": "flue", "recipe": {"epochs": 2}}
                write_run(store, f"eleve-{i}", "xnli", seed, right, distilled=("a", i), **other)
    hows = sorted(row.how for row in flue_bench.build_board(tmp_path).rows)
    assert hows == ["flue, 2 distillations", "standard, 3 distillations"]


def test_a_card_is_of_one_model(root: Path) -> None:
    from flue_bench.boards import card

    name, settings, _ = card.settings(Store(root).records(), "eleve-1")
    assert name == "eleve-1" and all(len(setting.records) == 3 for setting in settings)
