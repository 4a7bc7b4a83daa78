"""No verdict on retention or equality stands on runs that predict a single class, in whatever output."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flue_bench.boards import card
from flue_bench.boards.board import Board
from flue_bench.boards.html import html
from flue_bench.boards.latex import latex
from flue_bench.boards.render import markdown, terminal, to_csv, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.boards.wording import COLLAPSED
from flue_bench.kinds.counts import TRY
from flue_bench.progress import Console
from flue_bench.results.comparison import compare, retention
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from support.boards import write_run
from support.command_line import done
from support.factories import make_speed

TEACHER, STUDENT = "org/maitre", "org/eleve"

# Which seeds of teacher and student collapsed, on every one of three: both, one of them, a single run of either.
CASES = {
    "both": ({0, 1, 2}, {0, 1, 2}),
    "teacher": ({0, 1, 2}, set()),
    "student": (set(), {0, 1, 2}),
    "a seed of the teacher": ({1}, set()),
    "a seed of the student": (set(), {2}),
}


def pair_of(root: Path, teacher: set[int], student: set[int], tasks: tuple[str, ...] = ("xnli",)) -> Store:
    """A teacher and its student, alike but for the seeds that collapsed on the first task."""
    store = Store(root)
    for task in tasks:
        for seed in range(3):
            first = task == tasks[0]
            of = write_run(store, TEACHER, task, seed, 0.85, only=0 if first and seed in teacher else None)
            digest = of.cell.model.digest
            write_run(store, STUDENT, task, seed, 0.85, only=0 if first and seed in student else None, teacher=digest)
    return store


def weighed(store: Store) -> Board:
    contents = store.read()
    return weigh(build(contents.records, speeds=contents.speeds), contents.records, Evidence((store.root,)))


def drawn(store: Store) -> dict[str, str]:
    """The board in every format."""
    board, out = weighed(store), io.StringIO()
    Console(file=out, width=160, color_system=None).print(terminal(board))
    page = html(board, store.records(), Evidence((store.root,)), lambda run: None)
    return {
        "terminal": out.getvalue(),
        "markdown": markdown(board),
        "latex": latex(board),
        "html": page,
        "json": to_json(board),
        "csv": to_csv(board),
    }


@pytest.fixture(params=CASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return pair_of(tmp_path / "results", *CASES[request.param])


def test_the_board_draws_no_conclusion(store: Store) -> None:
    said = drawn(store)
    for form in ("terminal", "markdown", "latex", "html"):
        assert not re.search(r"keeps [\d.]+ \\?%", said[form]), form
        assert not re.search(r"\d\.\d \\?%", said[form].partition("Behind the numbers")[0]), form  # no share, either
        assert "≈" not in said[form] and r"\approx" not in said[form], form
        assert " ".join(said[form].replace("{'}", "'").split()).count("is not known: collapsed on xnli.") == 1, form
        assert TRY in " ".join(said[form].split()), form
    content = json.loads(said["json"])
    assert content["pairs"][0]["kept"] == [None] and content["pairs"][0]["mean"] is None
    assert content["pairs"][0]["collapsed"] == ["xnli"]
    versus = [row["entries"][0]["versus"] for row in content["rows"] if row["entries"][0]["versus"]]
    assert all(
        v["p"] is v["p_adjusted"] is v["low"] is v["high"] is None and "collapsed" in v["reason"] for v in versus
    )
    for line in csv.DictReader(io.StringIO(said["csv"])):
        assert line["kept"] == line["p_adjusted"] == ""
        of_model = [r for r in store.records() if r.cell.model.name == line["model"]]
        assert (line["low"] == line["high"] == "") == any(record.collapsed for record in of_model)


def test_a_collapsed_entry_is_never_the_best(store: Store) -> None:
    for row in weighed(store).rows:
        (entry,) = row.entries
        assert entry
        bold = f"**{100 * entry.mean:.2f}" in markdown(weighed(store))
        assert bold == entry.stands  # of two, at least one collapsed


@pytest.mark.parametrize("question", ["pretrained", "trained"])
@pytest.mark.parametrize("form", ["terminal", "markdown", "json"])
def test_compare_draws_no_conclusion(question: str, form: str, store: Store) -> None:
    collapsed = {r.cell.seed for r in store.records() if r.collapsed}
    words = ["--question", question, "--retention", "0.5", "--format", form]
    if question == "trained":
        words += ["--seed", str(min(collapsed))]
    said = done("compare", STUDENT, TEACHER, *words, "--results", store.root)
    for verdict in ("keep at least", "keeps", "no difference shown", "is better\n", "A is better", "B is better"):
        assert verdict not in said, verdict
    assert "collapsed runs allow no verdict" in " ".join(said.split())
    if form == "json":
        (line,) = json.loads(said)["lines"]
        found, kept = line["comparison"], line["retention"]
        assert found["p"] is found["low"] is found["high"] is line["p_holm"] is None
        assert kept["ratio"] is kept["p"] is kept["low"] is kept["high"] is line["retention_p_holm"] is None
        assert line["verdict"] == line["retention_verdict"] == "no verdict"
    else:
        assert not re.search(r"\d\.\d %", said.partition("A / B")[2].partition("Scores")[0])


def test_seeds_that_did_not_collapse_can_be_compared_one_by_one(tmp_path: Path) -> None:
    """The question about two fine-tuned models looks at these two alone."""
    store = pair_of(tmp_path, {1}, set())
    records = {(r.cell.model.name, r.cell.seed): r for r in store.records()}
    evidence = Evidence((tmp_path,))
    for seed in range(3):
        pair = [records[STUDENT, seed]], [records[TEACHER, seed]]
        found = compare(*pair, "f1_macro", evidence, "trained")
        kept = retention(*pair, "f1_macro", evidence, "trained", margin=0.5)
        assert (found.p is None) == (kept.p is None) == (kept.ratio is None) == (seed == 1)


def test_what_was_cached_does_not_stand_for_another_record(tmp_path: Path) -> None:
    """The same predictions, said to have collapsed since."""
    store = pair_of(tmp_path, set(), set())
    of = [[r for r in store.records() if r.cell.model.name == name] for name in (STUDENT, TEACHER)]
    assert compare(*of, "f1_macro", Evidence((tmp_path,))).p is not None
    of[0][0] = of[0][0].model_copy(update={"collapsed": "predicts only 'neutral' (gold has 3 classes)"})
    assert compare(*of, "f1_macro", Evidence((tmp_path,))).p is None


def test_other_columns_are_still_concluded_on(tmp_path: Path) -> None:
    store = pair_of(tmp_path / "results", {0, 1, 2}, {0, 1, 2}, tasks=("xnli", "paws-x", "wikiner"))
    (pair,) = weighed(store).pairs
    assert [kept is None for kept in pair.kept] == [False, True, False]  # FLUE's order
    assert pair.collapsed == ("xnli",)
    for form in ("terminal", "markdown", "html"):
        text = " ".join(drawn(store)[form].split())
        assert "(mean of 2 tasks; without xnli: collapsed runs)" in text, form
    ratios = [kept.ratio for kept in pair.kept if kept]
    assert pair.mean == pytest.approx(sum(ratios) / 2)


def test_a_collapsed_leader_does_not_keep_others_from_the_comparison(tmp_path: Path) -> None:
    """The best of a column is the best of those that stand: a fortunate mean over collapsed runs is none."""
    store = Store(tmp_path)
    for seed in range(3):
        write_run(store, "chanceux", "xnli", seed, 0.99, only=0 if seed == 2 else None)
        write_run(store, "bon", "xnli", seed, 0.6)
        write_run(store, "aussi-bon", "xnli", seed, 0.6)
    found = {row.label: row.entries[0] for row in weighed(store).rows}
    lucky, others = found.pop("chanceux"), list(found.values())
    assert lucky and lucky.mean > max(entry.mean for entry in others if entry)
    assert lucky.verdict == "none" and lucky.versus and lucky.versus.p is None and lucky.interval is None
    assert sorted(entry.verdict or "" for entry in others if entry) == ["best", "not told apart"]


def test_a_column_of_several_tasks_names_the_task(tmp_path: Path) -> None:
    store = Store(tmp_path)
    more: dict[str, Any] = {"column": "deux", "column_members": ("xnli", "paws-x")}
    for seed in range(2):
        write_run(store, "m", "xnli", seed, 0.9, **more)
        write_run(store, "m", "paws-x", seed, 0.9, only=1 if seed else None, **more)
    (entry,) = weighed(store).rows[0].entries
    assert entry and entry.collapsed == ("paws-x predicts only 'paraphrase' (gold has 2 classes) in 1 of 2 seeds",)


def test_the_picture_and_the_card_mark_it(tmp_path: Path) -> None:
    store = pair_of(tmp_path, set(), {0, 1, 2})
    for name, speed in ((TEACHER, 40.0), (STUDENT, 80.0)):
        store.write_speed(make_speed(name, speed))
    page = drawn(store)["html"]
    assert re.search(rf"<text [^>]*>{STUDENT} {COLLAPSED}</text>", page)
    assert page.count('class="on"') == 1  # the faster one collapsed: it is not on the front
    _, of_model, _ = card.settings(store.records(), STUDENT)
    (result, *_) = card.results(of_model)
    words = "predicts only 'entailment' (gold has 3 classes) in 3 of 3 seeds"
    assert result.metric_args and result.metric_args["collapsed"] == [words]
    assert f" {COLLAPSED}" in card.section(of_model) and "they allow no verdict" in card.section(of_model)
    _, of_teacher, _ = card.settings(store.records(), TEACHER)
    assert all("collapsed" not in (each.metric_args or {}) for each in card.results(of_teacher))
