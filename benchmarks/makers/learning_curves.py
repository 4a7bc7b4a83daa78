"""Score against labels, of the embedded teacher and its student on real French data: ``results/learning-curves``.

    python -m benchmarks.makers.learning_curves --data-dir ../shared/data --results results/learning-curves

It runs what ``flue-bench run --train-rows`` runs, goes on where it was interrupted, and then writes ``leaderboard.md``
and ``curves.svg`` beside the records. One recipe for both models, chosen beforehand and not tuned.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import flue_bench
from benchmarks.common import ROOT
from flue_bench.boards import render
from flue_bench.memory import keep_freed_memory

TASKS = {"wikineural-small": 1000, "amazon-books": None}
"""Task → the most rows of a split: predicting 12,678 test sentences takes longer than the training."""
MODELS = ("embedded:teacher", "embedded:student")


def main() -> None:
    """Run both tasks, and write board and curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="holds wikineural_fr/ and amazon_books_fr/")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="two processes can share them")
    parser.add_argument("--train-rows", default="100,300,all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, help="for a trial: at most so many rows of a split")
    options = parser.parse_args()
    keep_freed_memory()
    for task in options.tasks:
        flue_bench.run(
            MODELS,
            ROOT / "benchmarks" / "tasks" / f"{task}.toml",
            seeds=options.seeds,
            train_rows=["all" if rows == "all" else int(rows) for rows in options.train_rows.split(",")],
            limit=options.most or TASKS[task],
            overrides={"epochs": "auto", "learning_rate": 3e-4},
            data_dir=options.data_dir,
            offline=True,
            results=options.results,
        )
    board = flue_bench.build_board(options.results)
    (options.results / "leaderboard.md").write_text(render.FORMATS["markdown"](board), encoding="utf-8")
    (options.results / "curves.svg").write_text(board.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
