"""Intervals and verdicts on the board, from real predictions; and LaTeX, which has all of it to print."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

import flue_bench
from flue_bench import escape
from flue_bench.boards.board import Board, Entry, build
from flue_bench.boards.latex import latex
from flue_bench.boards.published import load, quote
from flue_bench.boards.render import markdown, to_csv, to_json
from flue_bench.boards.verdicts import weigh
from flue_bench.errors import UsageError
from flue_bench.record import RunRecord
from flue_bench.results import comparison
from flue_bench.results.comparison import Evidence
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


def test_who_cannot_be_told_from_the_best_is_marked(board: Board) -> None:
    found = entries(board)
    assert found["autre"].versus is None  # the best itself
    assert found["org/maitre"].as_good and not found["org/eleve"].as_good
    assert markdown(board).count("≈ [") == sum(e.as_good for row in board.rows for e in row.entries if e)
    assert "≈ not distinguishable from the column's best" in markdown(board)


def test_rows_of_another_protocol_are_said_not_to_be_compared(board: Board) -> None:
    *others, one = board.rows
    mixed = replace(board, rows=(*others, replace(one, protocol=one.protocol + 1)))
    said = "Entries of another protocol than that best one's are not compared with it."
    assert said in markdown(mixed) and said not in markdown(board)


def test_p_values_are_adjusted_over_the_column(board: Board) -> None:
    versus = [e.versus for e in entries(board).values() if e.versus]
    p = sorted((v.p, v.p_holm) for v in versus if v.p is not None and v.p_holm is not None)
    assert len(p) == 2
    assert [adjusted for _, adjusted in p] == pytest.approx([2 * p[0][0], max(2 * p[0][0], p[1][0])])


def test_with_one_seed_there_is_no_verdict(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, right in (("a", 0.9), ("b", 0.89)):
        write_run(store, model, "xnli", 0, right)
    board = weighed(store)
    (versus,) = [entry.versus for entry in entries(board).values() if entry.versus]
    assert versus.p is None and "one seed" in (versus.reason or "")
    assert "≈" not in markdown(board)
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
    assert not any(entry.versus for entry in found.values())  # the best of the rest is not the best
    assert [what for what, reason in weighed(store).left_out if "xnli: no interval:" in reason] == [without]


def test_predictions_that_went_after_their_interval_was_cached(tmp_path: Path) -> None:
    """What a board shows of a results directory does not hang on what its reader has seen before."""
    store = Store(tmp_path)
    for model in ("a", "b"):
        for seed in (0, 1):
            write_run(store, model, "xnli", seed, 0.9)
    assert all(entry.interval for entry in entries(weighed(store)).values())
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert not any(entry.interval or entry.versus for entry in entries(weighed(store)).values())
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
