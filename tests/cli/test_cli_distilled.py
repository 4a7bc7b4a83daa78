"""``compare --question distilled``: several distillations of one recipe are one side of a comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flue_bench
from flue_bench.results import comparison
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import named_rows, replicates
from flue_bench.results.store import Store
from support import command_line
from support.boards import RIGHT, distillations, scores_on_xnli, write_run
from support.command_line import done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distillations with their teacher, and an older record of a student."""
    store = Store(tmp_path_factory.mktemp("distilled"))
    taught = distillations(store)
    for task in ("xnli", "paws-x"):
        for seed in range(3):
            write_run(store, "ancien", task, seed, 0.7, teacher=taught)
    return store.root


def answer(root: Path, *words: str) -> Any:
    return json.loads(done("compare", *words, "--results", root, "--format", "json"))


def line(given: Any, task: str = "xnli") -> Any:
    (found,) = [each for each in given["lines"] if each["task"] == task]
    return found


def test_distillations_of_one_recipe_are_found_by_their_seeds(root: Path) -> None:
    rows = {row.label: row for row in named_rows(Store(root).records())}
    group, rest = replicates(rows.values(), rows["eleve-1"])
    assert [row.label for row in group] == ["eleve-0", "eleve-1", "eleve-2"] and rest == []
    for alone in ("seul", "ancien", "maitre"):
        assert replicates(rows.values(), rows[alone]) == ([rows[alone]], [])


def test_the_same_seed_on_another_machine_is_no_other_distillation(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        for i, right in enumerate(RIGHT):
            write_run(store, f"eleve-{i}", "xnli", seed, right, distilled=("a", i))
        write_run(store, "eleve-0-ailleurs", "xnli", seed, 0.71, distilled=("a", 0))
        write_run(store, "autre", "xnli", seed, 0.8)
    given = answer(tmp_path, "eleve-1", "autre", "--question", "distilled")
    assert line(given)["spread_a"]["distillations"] == 3 and given["a"].startswith("eleve-0")
    (said,) = [note for note in given["notes"] if note.endswith("is not in A: a distillation with the same seed is")]
    assert said.startswith("eleve-0")
    named = answer(tmp_path, "eleve-0-ailleurs", "autre", "--question", "distilled")
    assert named["a"].startswith("eleve-0-ailleurs, eleve-1, eleve-2: ")


def test_records_of_one_model_agree_on_its_distillation(tmp_path: Path) -> None:
    """Three say one thing and one another: it is set apart, and joins no other recipe's distillations."""
    store = Store(tmp_path)
    for seed in range(4):
        write_run(store, "eleve", "xnli", seed, 0.75, distilled=("b" if seed == 3 else "a", 0))
        write_run(store, "autre", "xnli", seed, 0.8)
    given = answer(tmp_path, "eleve", "autre")
    assert line(given)["comparison"]["seeds_a"] == [0, 1, 2]
    assert any("cell.model.distilled" in note for note in given["notes"])


def test_all_distillations_are_one_side(root: Path) -> None:
    given = answer(root, "eleve-1", "maitre", "--question", "distilled")
    assert given["a"].startswith("eleve-0, eleve-1, eleve-2: distillation ") and "seeds 0, 1, 2" in given["a"]
    assert given["b"] == "maitre (standard, fp32)"
    assert given == answer(root, "eleve-2", "maitre", "--question", "distilled")
    found = line(given)["comparison"]
    means = [np.mean(scores_on_xnli(root, model)) for model in ("eleve-0", "eleve-1", "eleve-2")]
    assert found["a"] == pytest.approx(np.mean(means)) and len(found["seeds_a"]) == 9
    assert found["se_seeds"] ** 2 >= np.var(means, ddof=1) / 3  # their spread, and the teacher's over seeds
    assert found["low"] < found["difference"] < found["high"] and found["p"] is not None


def test_the_interval_holds_what_one_distillation_hides(root: Path) -> None:
    one = line(answer(root, "eleve-1", "maitre"))["comparison"]
    all_ = line(answer(root, "eleve-1", "maitre", "--question", "distilled"))["comparison"]
    assert all_["se_seeds"] > one["se_seeds"]


def test_sources_of_chance(root: Path) -> None:
    found = line(answer(root, "eleve-1", "maitre", "--question", "distilled"))
    a, b = found["spread_a"], found["spread_b"]
    assert (a["distillations"], a["runs"], b["distillations"], b["runs"]) == (3, 9, 1, 3)
    assert 0.01 < a["sd_distillations"] < 0.08 and 0 < a["sd_seeds"] < 0.05 and b["sd_distillations"] is None
    assert b["sd_seeds"] == pytest.approx(np.std(scores_on_xnli(root, "maitre"), ddof=1))
    assert 0 < a["se_examples"] < 0.1
    said = done("compare", "eleve-1", "maitre", "--question", "distilled", "--results", root)
    assert "Which distillation recipe is better?" in said and "xnli, A" in said and "3, 9" in said


def test_a_task_that_one_of_them_lacks(root: Path) -> None:
    given = answer(root, "eleve-1", "maitre", "--question", "distilled")
    assert line(given, "paws-x")["spread_a"]["distillations"] == 2
    assert any(note == "paws-x: without eleve-2 of A, not run on it alike" for note in given["notes"])


def test_one_distillation_gives_no_verdict_and_says_so(root: Path) -> None:
    given = answer(root, "seul", "maitre", "--question", "distilled")
    assert line(given)["verdict"] == "no verdict" and line(given)["comparison"]["low"] is None
    assert "one distillation of seul says nothing about the spread over distillations" in given["notes"][0]
    both = answer(root, "seul", "eleve-0", "--question", "distilled")
    assert line(both)["comparison"]["p"] is None and line(both)["spread_b"]["distillations"] == 3


def test_the_usual_question_says_what_is_not_in_it(root: Path) -> None:
    said = "A is one distillation: how much another one would differ is not in the intervals"
    notes = answer(root, "eleve-1", "maitre")["notes"]
    assert f"{said}; --question distilled takes all 3 of its recipe" in notes
    assert said in answer(root, "seul", "maitre")["notes"]
    assert said in answer(root, "ancien", "maitre")["notes"]  # its teacher is known
    assert not any("is one distillation" in note and note.startswith("B") for note in notes)


def test_a_teacher_is_given_however_it_was_made(tmp_path: Path) -> None:
    """``flue-bench distill`` trains teachers too; as the other side's teacher such a model is not drawn anew."""
    store = Store(tmp_path)
    for seed in range(2):
        taught = write_run(store, "maitre", "xnli", seed, 0.85, distilled=("mlm", 1)).cell.model.digest
        for i, right in enumerate(RIGHT):
            write_run(store, f"eleve-{i}", "xnli", seed, right, teacher=taught, distilled=("a", i))
        write_run(store, "mlm", "xnli", seed, 0.6, distilled=("mlm alone", 0))
    given = answer(tmp_path, "eleve-0", "maitre", "--question", "distilled")
    assert given["b"] == "maitre (standard, fp32)" and line(given)["comparison"]["p"] is not None
    assert answer(tmp_path, "maitre", "eleve-0", "--question", "distilled")["a"] == given["b"]
    assert not any(note.startswith("B is one") for note in answer(tmp_path, "eleve-0", "maitre")["notes"])
    control = answer(tmp_path, "eleve-0", "mlm", "--question", "distilled")
    assert line(control)["verdict"] == "no verdict" and "one distillation of mlm" in control["notes"][0]
    said = "B is one training of its recipe: how much another one would differ is not in the intervals"
    assert said in answer(tmp_path, "eleve-0", "mlm")["notes"]


def test_what_is_asked_of_two_distillations_works_for_recipes(root: Path) -> None:
    words = ("eleve-0", "maitre", "--question", "distilled")
    found = line(answer(root, *words, "--retention", "0.5", "--margin", "60%"))
    assert found["retention_verdict"] == "keeps at least 50 %" and found["retention"]["low"] < 1
    assert found["equivalence_verdict"] == "equivalent within 60 %"


def test_seeds_of_one_each_are_enough_with_several_distillations(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = [write_run(store, f"e{i}", "xnli", 0, right, distilled=("a", i)) for i, right in enumerate(RIGHT)]
    others = [write_run(store, f"f{i}", "xnli", 0, 0.9, distilled=("b", i)) for i in range(3)]
    found = comparison.compare(records, others, "f1_macro", Evidence((tmp_path,)), "distilled")
    assert found.p is not None and found.reason is None and found.freedom and found.freedom < 200
    spread = comparison.spread(records, "f1_macro", Evidence((tmp_path,)))
    assert spread.sd_distillations is None and (spread.distillations, spread.runs) == (3, 3)


def test_what_is_no_distillation_is_refused(root: Path) -> None:
    words = ("--question", "distilled", "--results", root)
    assert "is known to be a distillation" in command_line.refused("compare", "ancien", "maitre", *words)
    said = command_line.refused("compare", "eleve-0", "eleve-1", *words)
    assert "are distillations of one recipe: name another model" in " ".join(said.split())
    assert flue_bench.compare("eleve-0", "seul", root, question="distilled").question == "distilled"
