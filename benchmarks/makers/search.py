"""Does tuning change what the embedded student keeps of its teacher? Six points on three tasks: ``results/search``.

    python -m benchmarks.makers.search --data-dir ../shared/data --results results/search

It runs what ``flue-bench run`` runs, without a search and with ``--search learning_rate=… --search batch_size=…``, goes
on where it was interrupted, and then writes ``leaderboard.md``, ``curves.svg`` and ``retention.md`` beside the records.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import flue_bench
from benchmarks.common import ROOT, report
from flue_bench.boards import render
from flue_bench.boards.board import Board, Kept
from flue_bench.boards.wording import interval_text
from flue_bench.memory import keep_freed_memory

TASKS = {"sick": 400, "wikineural-small": 400, "mini-cls": 800}
"""Task → the most rows of a split: a cell takes seconds."""
MODELS = ("embedded:teacher", "embedded:student")
RECIPE = {"epochs": 3, "learning_rate": 3e-4, "batch_size": 16}
"""Untuned: chosen beforehand."""
SEARCH = {"learning_rate": (1e-4, 3e-4, 1e-3), "batch_size": (8, 16)}


def main() -> None:
    """Run all, and write board, curves and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="holds sick_fr/ and wikineural_fr/")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--model", action="append", help="instead of the embedded pair; may be repeated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, help="for a trial: at most so many rows of a split")
    options = parser.parse_args()
    keep_freed_memory()
    for task, limit in TASKS.items():
        for search in (None, SEARCH):
            fixed = {name: value for name, value in RECIPE.items() if search is None or name not in search}
            flue_bench.run(
                options.model or MODELS,
                task if task.startswith("mini-") else ROOT / "benchmarks" / "tasks" / f"{task}.toml",
                seeds=options.seeds,
                limit=options.most or limit,
                overrides=fixed,
                search=search,
                data_dir=options.data_dir,
                offline=True,
                results=options.results,
            )
    board = flue_bench.build_board(options.results)
    (options.results / "leaderboard.md").write_text(render.FORMATS["markdown"](board), encoding="utf-8")
    (options.results / "curves.svg").write_text(board.svg(), encoding="utf-8")
    (options.results / "retention.md").write_text(retention(board), encoding="utf-8")


def retention(board: Board) -> str:
    """Return what the student keeps, untuned and tuned, and what the searches cost beside the final runs."""
    columns = range(len(board.columns))
    lines = [
        [
            board.rows[pair.student].key.budget or "not tuned",
            *(_kept(pair.kept[i]) for i in columns),
            _kept(None if pair.mean is None else Kept(pair.mean, pair.mean_low, pair.mean_high)),
        ]
        for pair in board.pairs
    ]
    costs = []
    for row in (row for row in board.rows if row.search):
        tuned = [entry.tuned if entry else () for entry in row.entries]
        seconds = [sum(each.seconds for each in of_column) for of_column in tuned]
        steps = sum(each.steps for of_column in tuned for each in of_column)
        costs.append([row.label, *(f"{each:,.0f}" for each in (*seconds, sum(seconds))), f"{steps:,}"])
    titles = [column.title for column in board.columns]
    return (
        "# What the student keeps of its teacher's score, untuned and tuned\n\n"
        "Test, in percent of the teacher's mean over seeds, with 95 % intervals.\n\n"
        + report.markdown_table(("recipes", *titles, "mean"), lines)
        + "\n\nWall time of the searches in seconds, on the machine that the records name:\n\n"
        + report.markdown_table(("model", *titles, "all", "optimiser steps"), costs)
        + "\n"
    )


def _kept(kept: Kept | None) -> str:
    return f"{100 * kept.ratio:.1f} {interval_text(kept)}".strip() if kept else ""


if __name__ == "__main__":
    main()
