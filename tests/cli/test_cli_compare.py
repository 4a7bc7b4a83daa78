"""``flue-bench compare``: which rows it takes, what it says, what it refuses."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_bench.boards.compared_text import MOST, _span
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.kinds.counts import TRY
from flue_bench.results.rows import check_metric
from flue_bench.results.store import Store
from support import command_line
from support.command_line import done
from support.judged import seeds, sentences

GOOD, LIKE_IT, BAD = [0.9, 0.91, 0.92], [0.9, 0.92, 0.91], [0.6, 0.62, 0.61]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks; org/a and org/twin are alike, org/b is worse."""
    root = tmp_path_factory.mktemp("results")
    for task in ("xnli", "paws-x"):
        for model, accuracies in {"org/a": GOOD, "org/twin": LIKE_IT, "org/b": BAD}.items():
            seeds(root, model, accuracies, task=task, examples=300)
    return root


@pytest.fixture
def root(results: Path, tmp_path: Path) -> Path:
    """Those results, to be added to."""
    return shutil.copytree(results, tmp_path / "results")


def compared(root: Path, *words: str) -> str:
    """What is shown of a comparison that succeeds."""
    return done("compare", *words, "--results", root)


def answer(root: Path, *words: str) -> Any:
    """Its JSON."""
    return json.loads(compared(root, *words, "--format", "json"))


def refused(root: Path, *words: str) -> str:
    """What is said of a comparison that cannot be made."""
    return command_line.refused("compare", *words, "--results", root)


def test_what_it_says(root: Path) -> None:
    said = compared(root, "org/a", "org/b")
    for part in (
        "Which pretrained model is better to fine-tune? Intervals cover seeds and test examples",
        "A: org/a (standard, fp32)",
        "B: org/b (standard, fp32)",
        "A is better",
        "<0.001",
        "3, 3",
        "(300)",
        "Student's t over seeds and test examples",
        "Holm",
    ):
        assert part in said, part
    assert "keeps" not in said and max(map(len, said.splitlines())) <= 100


def test_models_that_are_alike(root: Path) -> None:
    given = answer(root, "org/a", "org/twin")
    assert [line["task"] for line in given["lines"]] == ["paws-x", "xnli"]
    for line in given["lines"]:
        assert line["verdict"] == "no difference shown"
        assert line["comparison"]["low"] < 0 < line["comparison"]["high"]
        assert line["retention"] is None


def test_holm_over_the_tasks(root: Path) -> None:
    both = answer(root, "org/a", "org/b")["lines"]
    lowest, highest = sorted(both, key=lambda line: float(line["comparison"]["p"]))
    assert lowest["p_holm"] == pytest.approx(2 * lowest["comparison"]["p"])
    assert highest["p_holm"] == pytest.approx(max(lowest["p_holm"], highest["comparison"]["p"]))
    (alone,) = answer(root, "org/a", "org/b", "--task", "xnli")["lines"]
    assert alone["p_holm"] == alone["comparison"]["p"]


def test_turned_round(root: Path) -> None:
    given = answer(root, "org/b", "org/a", "--metric", "accuracy")
    assert {line["verdict"] for line in given["lines"]} == {"B is better"}
    assert {line["comparison"]["metric"] for line in given["lines"]} == {"accuracy"}


def test_trained_models(root: Path) -> None:
    words = ("org/a", "org/b", "--question", "trained", "--metric", "accuracy")
    for seed, given in (
        (0, answer(root, *words)),
        (
            2,
            answer(root, *words, "--seed", "2"),
        ),
    ):
        for line in given["lines"]:
            assert line["comparison"]["seeds_a"] == line["comparison"]["seeds_b"] == [seed]
            assert line["comparison"]["test"] == "exact McNemar"
    assert "Which of these two fine-tuned models is better?" in compared(root, *words)
    assert "there is no seed 7 of A or B (A: 0, 1, 2; B: 0, 1, 2)" in refused(root, *words, "--seed", "7")
    assert "--seed needs --question trained" in refused(root, "org/a", "org/b", "--seed", "1")


def test_one_seed_gives_no_verdict(root: Path) -> None:
    seeds(root, "org/once", [0.5], task="xnli", examples=300)
    said = " ".join(compared(root, "org/a", "org/once").split())
    assert "no verdict on xnli: one seed of org/once says nothing about the spread over seeds; run more with" in said
    assert "paws-x: only A has been run on it" in said and "is better" not in said.split("fine-tune?")[1]


def test_a_student_and_its_teacher(root: Path) -> None:
    teacher = Store(root).records()[0].cell.model
    assert teacher.name == "org/a"
    for seed, accuracy in enumerate([0.88, 0.9, 0.89]):
        record = sentences(root, "org/student", seed, accuracy, task="xnli", examples=300)
        file = Store(root).folder(record.cell) / record.predictions.file.replace(".predictions.parquet", ".json")
        content = json.loads(file.read_text(encoding="utf-8"))
        content["cell"]["model"]["teacher"] = teacher.digest
        file.write_text(json.dumps(content), encoding="utf-8")
    (line,) = answer(root, "org/student", "org/a")["lines"]
    assert line["retention"]["margin"] == 0.97
    assert line["retention"]["low"] < line["retention"]["ratio"] < line["retention"]["high"]
    (line,) = answer(root, "org/student", "org/a", "--retention", "0.5")["lines"]
    assert line["retention_verdict"] == "keeps at least 50 %"
    (line,) = answer(root, "org/a", "org/student")["lines"]
    assert line["retention"] is None
    given = answer(root, "org/b", "org/a", "--retention", "0.97")
    assert {line["retention_verdict"] for line in given["lines"]} == {"not shown to keep at least 97 %"}


def test_an_interval_that_says_nothing_has_no_figure(root: Path) -> None:
    """Two seeds that lie far apart: a Student interval of one degree of freedom is wider than the scale."""
    for model, accuracies in {"org/c": [0.9, 0.3], "org/d": [0.95, 0.35]}.items():
        seeds(root, model, accuracies, task="stsb", examples=40)
    words = ("org/c", "org/d", "--metric", "accuracy", "--retention", "0.9")
    (line,) = answer(root, *words)["lines"]
    assert line["comparison"]["low"] < -1 and line["comparison"]["high"] > 1, "JSON has every figure"
    said = " ".join(compared(root, *words).split())
    assert said.count("[no figure]") == 2 and "inf" not in said
    assert "No figure: the seeds are too few and differ too much" in said
    board = " ".join(done("leaderboard", "--metric", "accuracy", "--results", root).split())
    assert "stsb: none that can be shown with 2 seeds of each" in board
    assert "No figure" not in compared(root, "org/a", "org/b")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.1, 0.2, "[-10.00, +20.00]"),
        (-1.7, 0.2, "[<-100.00, +20.00]"),
        (0.1, 1.2, "[+10.00, >+100.00]"),
        (-1.7, 1.6, "[no figure]"),
        (-math.inf, math.inf, "[no figure]"),
    ],
)
def test_no_end_of_a_difference_is_beyond_what_a_score_can_differ(low: float, high: float, said: str) -> None:
    assert _span(low, high, "+.2f", MOST) == f"\n{said}"


def test_a_measure_has_no_board_and_no_comparison(root: Path) -> None:
    records = [record.model_copy(update={"measures": {"rmse": 0.4, "r2": 0.5}}) for record in Store(root).records()[:2]]
    with pytest.raises(UsageError, match=r"'rmse' stands in the records alone .*no interval.*: .*f1_macro"):
        check_metric(records, "rmse")
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'mae'"):
        check_metric(records, "mae")
    check_metric(records, "accuracy")
    check_metric(records, None)


def test_a_part_of_a_results_directory_names_the_whole(root: Path) -> None:
    for part in (root / "runs", next((root / "runs").iterdir())):
        said = command_line.refused("compare", "org/a", "org/b", "--results", part)
        assert f"A results folder is the one that holds runs: give --results {root}." in "".join(
            said.split("\n")
        ).replace("  ", " ")


def test_a_mean_says_of_how_many_tasks(root: Path) -> None:
    seeds(root, "org/c", BAD, task="xnli", examples=300, only=1)
    seeds(root, "org/c", LIKE_IT, task="paws-x", examples=300)
    assert "mean of 1 task " in compared(root, "org/c", "org/a", "--retention", "0.9")
    assert "mean of 2 tasks " in compared(root, "org/b", "org/a", "--retention", "0.9")


def test_equivalence_within_a_margin(root: Path) -> None:
    given = answer(root, "org/a", "org/twin", "--margin", "20%")
    assert {line["equivalence_verdict"] for line in given["lines"]} == {"equivalent within 20 %"}
    lowest, highest = sorted(given["lines"], key=lambda line: float(line["equivalence"]["p"]))
    assert lowest["equivalence_p_holm"] == pytest.approx(2 * lowest["equivalence"]["p"])
    assert lowest["equivalence"]["p"] <= highest["equivalence"]["p"]
    given = answer(root, "org/a", "org/twin", "--margin", "0.5 points")
    assert {line["equivalence_verdict"] for line in given["lines"]} == {"not shown equivalent within 0.5 points"}
    given = answer(root, "org/a", "org/b", "--margin", "5%")  # far apart
    assert all(line["equivalence"]["p"] > 0.5 for line in given["lines"])
    said = compared(root, "org/a", "org/twin", "--margin", "1point")
    assert "within 1 point" in said and "the margin has to be named before" in " ".join(said.split())
    trained = answer(root, "org/a", "org/twin", "--margin", "20%", "--question", "trained")
    assert {line["equivalence_verdict"] for line in trained["lines"]} == {"equivalent within 20 %"}
    assert answer(root, "org/a", "org/twin")["lines"][0]["equivalence"] is None


def test_half_the_difference_that_both_ends_of_a_margin_allow(root: Path) -> None:
    """The p-value is that of the end which is nearer: one side of non-inferiority with the same margin."""
    (line,) = answer(root, "org/b", "org/a", "--task", "xnli", "--margin", "3%", "--retention", "0.97")["lines"]
    assert line["equivalence"]["p"] == pytest.approx(line["retention"]["p"])


@pytest.mark.parametrize(
    ("margin", "number", "reason"),
    [
        *((margin, "3", "") for margin in ("3", "3pp", "nan%", "", "3 %%", "1e2points", "0.03")),
        ("2.5", "2.5", ""),
        ("0.005", "0.5", ""),
        *((margin, "3", ": it is above 0") for margin in ("0%", "0", "-1%", "-0.03", "0.0points")),
        *((margin, "3", ": it is below 100") for margin in ("100%", "300", "300points")),
    ],
)
def test_a_margin_says_of_what(margin: str, number: str, reason: str, root: Path) -> None:
    said = refused(root, "org/a", "org/twin", f"--margin={margin}")
    advice = f"--margin {margin}: give a share of B's score, {number}%, or points, {number}points{reason}."
    assert advice in " ".join(said.split())


def test_one_seed_is_not_equivalent_to_anything(root: Path) -> None:
    seeds(root, "org/once", [0.9], task="xnli", examples=300)
    (line,) = answer(root, "org/a", "org/once", "--margin", "50%")["lines"]
    assert line["equivalence"]["p"] is None and line["equivalence_verdict"] == "no verdict"
    assert "one seed of org/once" in line["equivalence"]["reason"]


def test_a_name_for_several_rows_is_refused_with_the_choices(root: Path) -> None:
    seeds(root, "org/a", [0.5, 0.6], task="xnli", examples=300, recipe={"epochs": 9}, recipe_name="standard epochs=9")
    said = refused(root, "org/a", "org/b")
    assert "org/a (standard epochs=9, fp32); org/a (standard, fp32)" in said
    given = answer(root, "org/a (standard epochs=9, fp32)", "org/b")
    assert [line["task"] for line in given["lines"]] == ["xnli"]
    assert given["notes"] == ["paws-x: only B has been run on it"]


def test_the_start_of_a_digest_is_a_name(root: Path) -> None:
    digest = next(r.cell.model.digest for r in Store(root).records() if r.cell.model.name == "org/twin")
    assert answer(root, "org/a", digest[:8])["b"] == "org/twin (standard, fp32)"


def test_two_models_of_one_name(root: Path) -> None:
    seeds(root, "org/a", BAD, task="xnli", examples=300, model_digest="feedfacefeedface")
    said = refused(root, "org/a", "org/b")
    assert "org/a (feedfac)" in said
    assert answer(root, "feedface", "org/b")["a"] == "org/a (feedfac) (standard, fp32)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("org/x", "org/b"), "Unknown model 'org/x'. Did you mean org/b or org/a"),
        (("org/a", "org/a"), "A and B are both org/a (standard, fp32)"),
        (("org/a", "org/b", "--task", "xnl"), "Unknown task 'xnl'. Did you mean xnli?"),
        (
            ("org/a", "org/b", "--task", "mini-cls"),
            "No record of task mini-cls in these results: they hold paws-x, xnli.",
        ),
        (("org/a", "org/b", "--metric", "f1_macr"), "Unknown metric 'f1_macr'. Did you mean f1_macro"),
    ],
)
def test_what_cannot_be_asked(words: tuple[str, ...], said: str, root: Path) -> None:
    assert said in refused(root, *words)


def test_no_records(
    tmp_path: Path,
) -> None:
    assert "No records in" in refused(tmp_path, "org/a", "org/b")
    assert "no such folder" in refused(tmp_path / "none", "org/a", "org/b")


def test_other_data_is_not_compared(root: Path) -> None:
    seeds(root, "org/new", BAD, task="xnli", examples=300, task_version=2)
    said = refused(root, "org/a", "org/new", "--task", "xnli")
    assert re.search(r"No task on which to compare .*\nxnli: not comparable: task version 99 and 2", said)


def test_limits_stand_apart(root: Path) -> None:
    for model in ("org/a", "org/b"):
        seeds(root, model, BAD, task="xnli", limit=100, examples=100, test_rows=300)
    given = answer(root, "org/a", "org/b", "-t", "xnli")
    assert sorted(line["task"] for line in given["lines"]) == ["xnli limit 100", "xnli whole"]


def test_collapsed_runs_are_named(root: Path) -> None:
    seeds(root, "org/c", BAD, task="xnli", examples=300, only=1)
    given = answer(root, "org/a", "org/c")
    assert "xnli: B, seed 1: predicts only 'neutre' (gold has 3 classes); " + TRY in given["notes"]
    (line,) = given["lines"]
    assert (line["mark_a"], line["mark_b"]) == ("", "†"), "as a board marks them"
    said = " ".join(compared(root, "org/a", "org/c").split())
    mean = f"{100 * line['comparison']['b']:.2f}"
    assert f" {mean}† " in said and f"{100 * line['comparison']['a']:.2f}†" not in said
    assert "† A run collapsed: the mean over all seeds, where a board of several seeds shows the median." in said
    assert "median" not in compared(root, "org/a", "org/b")


def test_a_seed_far_below_the_others_is_marked(root: Path) -> None:
    seeds(root, "org/c", [0.9, 0.91, 0.92, 0.905, 0.4], task="xnli", examples=300)
    (line,) = answer(root, "org/a", "org/c", "--metric", "accuracy")["lines"]
    assert (line["mark_a"], line["mark_b"]) == ("", "¶")
    said = " ".join(compared(root, "org/a", "org/c", "--metric", "accuracy").split())
    assert "¶ A seed lies far below the others: the mean over all seeds" in said


def test_a_model_that_was_fine_tuned_before_is_named(root: Path) -> None:
    seeds(root, "org/c", BAD, task="xnli", examples=300, head="kept")
    (note,) = [n for n in answer(root, "org/a", "org/c")["notes"] if "pretrained" in n]
    assert note.startswith("B is not only pretrained") and note.endswith("started from on xnli")


def test_formats_and_files(root: Path) -> None:
    words = ("compare", "org/a", "org/b", "--retention", "0.9", "--results", str(root))
    out = root / "said"
    for form, part in ("markdown", "| xnli f1_macro"), ("terminal", "A / B"):
        assert done(*words, "--format", form, "--out", out) == ""
        assert part in out.read_text(encoding="utf-8")
    assert "cannot be written" in command_line.refused(*words, "--out", root / "none" / "said", code=1)


def test_names_cannot_drive_the_terminal(root: Path) -> None:
    seeds(root, "evil\x1b[31m[bold]|x", BAD, task="xnli", examples=300)
    for form in ("terminal", "markdown"):
        words = ("compare", "org/a", "evil\x1b[31m[bold]|x", "--results", str(root), "--format", form)
        said = done(*words)
        assert "\x1b" not in said and ("\\[bold\\]\\|x" if form == "markdown" else "[bold]|x") in said


def test_it_starts_without_torch(root: Path) -> None:
    program = (
        "import sys\nfrom flue_bench.cli import main\n"
        f"sys.argv = ['flue-bench', 'compare', 'org/a', 'org/b', '--results', {str(root)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('loaded:', *(n for n in ('torch', 'transformers', 'sklearn', 'scipy.stats') if n in sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].strip() == "loaded:"


def test_a_task_without_its_predictions_is_noted(root: Path) -> None:
    first, *others = sorted(root.glob("runs/org--a/xnli/*.parquet"))
    first.unlink()
    given = answer(root, "org/a", "org/b", "-t", "xnli")
    assert len(given["lines"][0]["comparison"]["seeds_a"]) == len(others)
    assert any("xnli" in note and f"{first.name}: cannot be read: No such file" in note for note in given["notes"])
    for file in others:
        file.unlink()
    given = answer(root, "org/a", "org/b")
    assert [line["task"] for line in given["lines"]] == ["paws-x"] and "xnli: only B has been run on it" in given[
        "notes"
    ]
    told = command_line.flue_bench("compare", "org/a", "org/b", "-t", "xnli", "--results", root)
    assert told.code == 2 and "No task on which to compare" in told.err
