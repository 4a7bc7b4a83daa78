"""Where a seed collapsed, or lies far below the others, a board shows the median and the lowest, and claims no 95 %."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from flue_bench.boards.board import Board
from flue_bench.boards.html import html
from flue_bench.boards.latex import latex
from flue_bench.boards.notebook import html as fragment
from flue_bench.boards.published import load, quote
from flue_bench.boards.render import markdown, terminal, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.progress import Console
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from support.boards import write_run
from support.factories import make_record

SAID = "Where a seed failed, the median stands for the mean, and there is no interval."


def failed(root: Path, how: str) -> tuple[Store, Board]:
    """Three seeds of a model, one of which failed, beside one whose seeds did not."""
    store = Store(root)
    for seed in range(3):
        bad = seed == 1
        write_run(
            store,
            "org/m",
            "xnli",
            seed,
            0.2 if bad and how == "outlying" else 0.8,
            only=0 if bad and how == "collapsed" else None,
        )
        write_run(store, "org/autre", "xnli", seed, 0.75)
    records = list(store.records())
    return store, weigh(build(records), records, Evidence((root,)))


@pytest.mark.parametrize("how", ["collapsed", "outlying"])
def test_the_median_and_the_lowest_and_no_interval_in_every_form(how: str, tmp_path: Path) -> None:
    store, board = failed(tmp_path, how)
    entry, other = (next(row.entries[0] for row in board.rows if row.label == name) for name in ("org/m", "org/autre"))
    assert entry and other and bool(entry.collapsed if how == "collapsed" else entry.outlying) and not entry.stands
    assert entry.interval is None and other.interval is not None
    out = io.StringIO()
    Console(file=out, width=160, color_system=None).print(terminal(board))
    records = list(store.records())
    forms = {
        "terminal": out.getvalue(),
        "markdown": markdown(board),
        "latex": latex(board),
        "notebook": fragment(board),
        "html": html(board, records, Evidence((tmp_path,)), lambda run: None),
    }
    for form, text in forms.items():
        said = " ".join(text.split())
        assert f"median {100 * entry.median:.2f}" in said and f"min {100 * entry.lowest:.1f}" in said, form
        assert f"{100 * entry.mean:.2f}" not in said, f"{form}: the mean of runs of which one failed is that of neither"
        assert f"{100 * other.mean:.2f}" in said and SAID in said, form
    (kept,) = (row["entries"][0] for row in json.loads(to_json(board))["rows"] if row["label"] == "org/m")
    assert kept["mean"] == entry.mean and kept["median"] == entry.median, "every figure is in the data"


def test_a_single_run_that_collapsed_is_no_median(tmp_path: Path) -> None:
    board = build([make_record(score=0.4, collapsed="predicts only 'positif'")])
    assert "40.00†" in markdown(board) and "median" not in markdown(board)


def test_beside_published_scores_the_median_is_named_as_one() -> None:
    records = [
        make_record("m", "xnli", seed, scores={"f1_macro": score, "accuracy": score}, collapsed=words)
        for seed, (score, words) in enumerate([(0.8, None), (0.82, None), (0.33, "predicts only 'neutral'")])
    ]
    board = quote(build(records), records, load())
    (ours,) = (line for each in board.quotes if each.metric == "accuracy" for line in each.lines if line.ours)
    assert (ours.percent, ours.sd) == (pytest.approx(80), None) and ours.detail.startswith(
        "median, since a seed failed"
    )
