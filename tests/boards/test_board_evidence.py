"""Intervals and verdicts on the board, from real predictions; and LaTeX, which has all of it to print."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

import flue_bench
from flue_bench import escape
from flue_bench.boards.board import Board, Entry
from flue_bench.boards.latex import latex
from flue_bench.boards.published import load, quote
from flue_bench.boards.render import markdown, to_csv, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.errors import UsageError
from flue_bench.record import RunRecord
from flue_bench.results import comparison
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from support.boards import teacher_and_student, write_run
from support.factories import make_record

HOSTILE = "org/a_b%c$d&e#f{g}~^\\input{x}--[1] «é»"


def weighed(store: Store) -> Board:
    contents = store.read()
    return weigh(build(contents.records, speeds=contents.speeds), contents.records, Evidence((store.root,)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return teacher_and_student(tmp_path_factory.mktemp("evidence"))


@pytest.fixture(scope="module")
def board(store: Store) -> Board:
    return weighed(store)


def entries(board: Board, column: str = "xnli") -> dict[str, Entry]:
    i = [each.name for each in board.columns].index(column)
    return {row.label: entry for row in board.rows if (entry := row.entries[i])}


def records(store: Store, model: str, task: str) -> list[RunRecord]:
    return [r for r in store.records() if (r.cell.model.name, r.cell.task) == (model, task)]


def test_an_entry_has_the_interval_of_its_records(board: Board, store: Store) -> None:
    found = entries(board)["org/maitre"].interval
    evidence = Evidence((store.root,))
    assert found == comparison.interval(records(store, "org/maitre", "xnli"), "f1_macro", evidence)
    assert found.low < found.mean < found.high
    assert f"[{100 * found.low:.1f}, {100 * found.high:.1f}] (3 min " in markdown(board)
    assert "[95 % interval over seeds and test examples]" in markdown(board)
    assert '"low": ' in to_json(board) and f"{found.low},{found.high}" in to_csv(board)


def test_each_of_the_three_states_is_marked_in_every_format(board: Board) -> None:
    found = entries(board)
    assert {name: entry.verdict for name, entry in found.items()} == {
        "autre": "best",
        "org/maitre": "not told apart",
        "org/eleve": "below",
    }
    for text in (markdown(board), str(board), board._repr_html_()):
        for mark, verdict in (("≈", "not told apart"), ("↓", "below")):
            marked = sum(e.verdict == verdict for row in board.rows for e in row.entries if e)
            assert (
                text.count(f"{mark} ") + text.count(f"{mark}\n") + text.count(f"{mark}<") >= marked + 1
            )  # the caption
        said = " ".join(html.unescape(text).split())
        assert "↓ below the column's best as a pretrained model; ≈ not told apart" in said
    assert r"$^{\approx}$" in latex(board) and r"$^{\downarrow}$" in latex(board)
    rows = json.loads(to_json(board))["rows"]
    assert {e["verdict"] for row in rows for e in row["entries"] if e} == {"best", "not told apart", "below"}
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert {line["verdict"] for line in lines} == {"best", "not told apart", "below"}


def mixed(tmp_path: Path, seeds: int) -> Board:
    """A board of three models, of which the last has as many seeds as are asked for."""
    store = Store(tmp_path)
    for seed in range(3):
        write_run(store, "a", "xnli", seed, 0.9)
        write_run(store, "c", "xnli", seed, 0.9)
    for seed in range(seeds):
        write_run(store, "b", "xnli", seed, 0.8)
    return weighed(store)


def test_no_verdict_says_why(tmp_path: Path) -> None:
    board = mixed(tmp_path, seeds=1)
    verdicts = {name: entry.verdict for name, entry in entries(board).items()}
    assert verdicts.pop("b") == "none" and sorted(map(str, verdicts.values())) == ["best", "not told apart"]
    reason = "one seed of b says nothing about the spread over seeds"
    for text in (markdown(board), str(board), latex(board), board._repr_html_()):
        assert reason in " ".join(text.replace("\n", " ").split())
        assert "No verdict" in text
    assert re.search(r"\d\d\.\d\d\? \[", markdown(board))
    (line,) = [line for line in csv.DictReader(io.StringIO(to_csv(board))) if line["model"] == "b"]
    assert line["verdict"] == "none" and reason in line["no_verdict_because"]


def test_a_seed_far_below_the_others_claims_no_interval(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, right in enumerate((0.9, 0.9, 0.6)):
        write_run(store, "a", "xnli", seed, right)
        write_run(store, "b", "xnli", seed, 0.85)
        write_run(store, "c", "xnli", seed, 0.85)
    board = weighed(store)
    found = entries(board)
    assert found["a"].outlying and not found["a"].collapsed and found["a"].outlying[0].startswith("seed 2 at ")
    assert found["a"].interval is None and found["a"].verdict == "none" and not found["a"].stands
    assert sorted(str(found[name].verdict) for name in "bc") == ["best", "not told apart"]
    for text in (markdown(board), str(board), board._repr_html_()):
        assert "¶ Seeds far below the others" in text and found["a"].outlying[0] in " ".join(text.split())
    of = [[r for r in store.records() if r.cell.model.name == name] for name in "ab"]
    difference = comparison.compare(*of, "f1_macro", Evidence((tmp_path,)))
    assert difference.low is difference.p is None and "seed 2 at" in (difference.reason or "")
    assert comparison.retention(*of, "f1_macro", Evidence((tmp_path,))).low is None


def test_a_test_set_that_is_not_the_others_costs_its_entry_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        for model, right in (("a", 0.9), ("b", 0.85), ("c", 0.8)):
            write_run(store, model, "xnli", seed, right, **({"rows": 110} if model == "c" else {}))
    found = entries(weighed(store))
    assert found["c"].verdict == "none" and "not the test set of" in (found["c"].versus.reason or "")
    assert found["a"].verdict == "best" and found["b"].versus and found["b"].versus.p is not None


def test_what_a_column_can_show_is_on_every_format(board: Board) -> None:
    i = [each.name for each in board.columns].index("xnli")
    power = board.power[i]
    assert power and power.seeds == 3
    said = f"{board.columns[i].title}: {100 * power.smallest:.1f} points with 3 seeds of each; 1, 2, 3 points with "
    for text in (markdown(board), str(board), latex(board), board._repr_html_()):
        assert said in " ".join(text.split())
    assert json.loads(to_json(board))["power"][i]["smallest"] == power.smallest
    lines = csv.DictReader(io.StringIO(to_csv(board)))
    assert {line["smallest_difference"] for line in lines if line["column"] == "xnli"} == {f"{power.smallest}"}


def test_p_values_are_those_of_compare_and_adjusted_over_the_column(board: Board, store: Store) -> None:
    found = entries(board)
    for name, entry in found.items():
        if entry.versus:
            pair = (records(store, each, "xnli") for each in (name, "autre"))
            alone = comparison.compare(*pair, "f1_macro", Evidence((store.root,)))
            assert (entry.versus.difference, entry.versus.low, entry.versus.high, entry.versus.p) == pytest.approx(
                (alone.difference, alone.low, alone.high, alone.p)
            )
            assert entry.versus.p_adjusted is not None and entry.versus.p is not None
            assert entry.versus.p < entry.versus.p_adjusted <= 1


def test_with_one_seed_there_is_no_verdict(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, right in (("a", 0.9), ("b", 0.89)):
        write_run(store, model, "xnli", 0, right)
    board = weighed(store)
    (versus,) = [entry.versus for entry in entries(board).values() if entry.versus]
    assert versus.p is None and "one seed" in (versus.reason or "")
    assert "≈" not in markdown(board) and board.power == (None,)
    assert "[95 % interval over test examples (one seed)]" in markdown(board)


def test_what_a_student_keeps_has_its_interval(board: Board) -> None:
    (pair,) = board.pairs
    for kept in pair.kept:
        assert kept and kept.low and kept.high and kept.low < kept.ratio < kept.high
        assert f"{100 * kept.ratio:.1f} % [{100 * kept.low:.1f}, {100 * kept.high:.1f}]" in markdown(board)


@pytest.mark.parametrize("without", ["best", "other"])
def test_without_predictions_the_board_stands_and_says_so(without: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, right in (("best", 0.9), ("other", 0.89)):
        for seed in (0, 1):
            write_run(store, model, "xnli", seed, right)
    next((tmp_path / "runs" / without).rglob("*.parquet")).unlink()
    found = entries(weighed(store))
    assert {model: bool(entry.interval) for model, entry in found.items()} == {
        "best": without != "best",
        "other": without != "other",
    }
    assert not any(entry.versus and entry.versus.p for entry in found.values())  # the best of the rest is not the best
    assert sorted(str(entry.verdict) for entry in found.values()) == ["best", "none"]
    assert [what for what, reason in weighed(store).left_out if "xnli: no interval:" in reason] == [without]


def test_predictions_that_went_after_their_interval_was_cached(tmp_path: Path) -> None:
    """What a board shows of a results folder does not hang on what its reader has seen before."""
    store = Store(tmp_path)
    for model in ("a", "b"):
        for seed in (0, 1):
            write_run(store, model, "xnli", seed, 0.9)
    assert all(entry.interval for entry in entries(weighed(store)).values())
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert not any(e.interval or (e.versus and e.versus.p) for e in entries(weighed(store)).values())
    assert [what for what, reason in weighed(store).left_out if "not found under" in reason] == ["a", "b"]


SECOND = """
import sys, typer
from flue_bench.cli.leaderboard import leaderboard
app = typer.Typer()
app.command()(leaderboard)
app(["--results", sys.argv[1], "--format", "markdown"], standalone_mode=False)
assert not {"torch", "scipy", "pyarrow", "sklearn"} & sys.modules.keys()
"""


def test_cached_intervals_want_no_scipy(board: Board, store: Store) -> None:
    assert board.rows and flue_bench.read_results(store.root)  # computed and checked, and so cached
    command = [sys.executable, "-c", SECOND, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "≈ [" in done.stdout


# LaTeX ---------------------------------------------------------------------------------------------------------------


def printed(store: Store, board: Board) -> str:
    return latex(quote(board, store.records(), load()))


def test_latex_says_what_markdown_says(store: Store, board: Board) -> None:
    text = printed(store, board)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    for table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.S):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}
    numbers = re.findall(r"\d+\.\d+", markdown(quote(board, store.records(), load())))
    assert sorted(numbers) == sorted(re.findall(r"\d+\.\d+", text))
    assert r"\textbf{" in text and r"$^{\approx}$" in text


def test_latex_specials_are_escaped() -> None:
    text = latex(build([make_record(HOSTILE, collapsed="predicts only '$x_1$'"), make_record("b\x1b[31m\u202e")]))
    assert r"a\_b\%c\$d\&e\#f\{g\}\textasciitilde{}\textasciicircum{}\textbackslash{}input\{x\}" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    assert escape.latex("a--b") == "a{-}{-}b"


def test_an_empty_board_in_latex() -> None:
    assert "No model has a whole entry yet." in latex(build([]))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_it_compiles(store: Store, board: Board, tmp_path: Path) -> None:
    hostile = make_record(HOSTILE, "sst", collapsed="predicts only '«é»'")
    (tmp_path / "hostile.tex").write_text(latex(build([hostile])), encoding="utf-8")
    (tmp_path / "board.tex").write_text(printed(store, board), encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}"
        r"\begin{document}\input{board}\input{hostile}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_scores_that_do_not_follow_from_the_predictions_have_no_interval(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in (0, 1):
        write_run(store, "a", "xnli", seed, 0.8)
    changed = [r.model_copy(update={"scores": r.scores | {"f1_macro": 0.99}}) for r in store.records()]
    board = weigh(build(changed), changed, Evidence((store.root,)))
    assert entries(board)["a"].interval is None
    assert "the records 99.00; see flue-bench verify" in str(board.left_out)


@pytest.mark.parametrize("what", ["columns", "pages"])
def test_damaged_predictions_end_no_board(what: str, tmp_path: Path) -> None:
    """Whose hash was put right: what is wrong shows only when they are read."""
    store = Store(tmp_path)
    record = write_run(store, "a", "xnli", 0, 0.8)
    path = next(tmp_path.rglob("*.parquet"))
    if what == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), path)
    else:
        content = bytearray(path.read_bytes())
        content[10:200] = bytes(190)
        path.write_bytes(content)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = [record.model_copy(update={"predictions": record.predictions.model_copy(update={"sha256": sha256})})]
    board = weigh(build(changed), changed, Evidence((store.root,)))
    assert entries(board)["a"].interval is None
    assert {"columns": "has no column gold, group, predicted", "pages": "damaged"}[what] in str(board.left_out)


def test_a_model_is_not_its_own_student(store: Store) -> None:
    with pytest.raises(UsageError, match="are both org/maitre"):
        build(store.records(), pair=("org/maitre", "org/maitre"))
