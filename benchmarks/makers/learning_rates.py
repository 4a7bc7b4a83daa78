"""The best validation score of every record in a results folder, by learning rate: what a rate is chosen by.

python -m benchmarks.makers.learning_rates results/learning-rates > results/learning-rates/validation.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import report
from flue_bench.results.store import Store


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    records = Store(parser.parse_args().results).records()
    rows = []
    for record in sorted(records, key=lambda record: (record.cell.task, record.cell.trained.recipe.learning_rate)):
        recipe = record.cell.trained.recipe
        rows.append(
            [
                f"{record.cell.task} ({record.metric})",
                str(record.cell.limit or "all"),
                f"{recipe.learning_rate:g}",
                f"{recipe.batch_size}",
                f"{recipe.epochs}",
                ", ".join(f"{100 * epoch.scores[record.metric]:.2f}" for epoch in record.history),
                record.collapsed or "",
            ]
        )
    header = ("task", "rows a split", "learning rate", "batch", "epochs", "validation after each epoch", "collapsed")
    print("# Validation scores by learning rate, in percent\n")
    print(report.markdown_table(header, rows))


if __name__ == "__main__":
    main()
