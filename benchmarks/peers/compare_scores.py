"""Does flue-bench score what ``transformers.Trainer`` scores? The same cells with both, and the means' difference.

    python -m benchmarks.peers.compare_scores --model DIR --data-dir DIR --tasks sick=1000 pawsx-small --seeds 3

TASK=ROWS takes at most so many rows of each split. Every cell is run once: flue-bench's are records in ``--results``,
like those of ``flue-bench run``, Trainer's one JSON file each in ``--results``/trainer/cells. Interrupted, it goes on
with what is missing. The table is written to ``--results``/trainer/scores.md and scores.json (another name than scores:
--name); with another --padding than Trainer's default, to scores-grouped.md or scores-padded.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy.stats import ttest_ind

from benchmarks.common import report, works
from benchmarks.peers import trainer
from flue_bench.data import registry
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.progress import Console, Display
from flue_bench.record import RunRecord
from flue_bench.results.store import Store
from flue_bench.statistics.intervals import mean_sd
from flue_bench.training.device import pick_device, prepare


def theirs(record: RunRecord, work: works.Work, padding: trainer.Padding, device: str, folder: Path) -> dict[str, Any]:
    """Run the record's cell with Trainer, or read its file if it exists."""
    cell = record.cell
    path = folder / f"{cell.task}-seed{cell.seed}-{cell.digest}-{padding}.json"
    if not path.is_file():
        fitted = trainer.fine_tune(work, *cell.trained, pick_device(device), padding)
        settled = prepare(pick_device(device), cell.recipe.precision, work.model.config.hidden_size)
        kept = {"cell": cell.model_dump(mode="json"), "cell_digest": cell.digest, "padding": padding}
        report.write_json(path, kept | asdict(fitted) | {"environment": report.versions(settled)})
    outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return outcome


def difference(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """Return the mean of ``a`` less that of ``b``, with Welch's (1947) 95 % interval; a point if neither varies."""
    mean = float(np.mean(a) - np.mean(b))
    if np.ptp(a) == np.ptp(b) == 0:
        return {"mean": mean, "low": mean, "high": mean}
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return {"mean": mean, "low": float(interval.low), "high": float(interval.high)}


def compare(records: list[RunRecord], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one task's scores by seed, with both tools, and the difference of their means, in percent."""
    metric = records[0].metric
    ours = [100 * record.scores[metric] for record in records]
    trainers = [100 * cell["scores"][metric] for cell in cells]
    welch = difference(ours, trainers) if len(ours) > 1 else None
    return {
        "task": records[0].cell.task,
        "metric": metric,
        "recipe": records[0].cell.recipe.model_dump(),
        "limit": records[0].cell.limit,
        "rows": records[0].data.rows,
        "seeds": [record.cell.seed for record in records],
        "flue_bench": {"scores": ours, "cells": [record.cell_digest for record in records]},
        "trainer": {"scores": trainers, "padding": cells[0]["padding"]},
        "collapsed": {
            "flue_bench": sum(record.collapsed is not None for record in records),
            "trainer": sum(cell["collapsed"] is not None for cell in cells),
        },
        "difference": welch,
        "contains_zero": None if welch is None else welch["low"] <= 0 <= welch["high"],
    }


def markdown(results: list[dict[str, Any]], model: str, machine: dict[str, Any]) -> str:
    """Return the table with its description."""
    rows = []
    for each in results:
        recipe, difference, collapsed = each["recipe"], each["difference"], each["collapsed"]
        rows.append(
            [
                f"{each['task']} ({each['metric']})",
                "all" if each["limit"] is None else f"{each['limit']:,}",
                f"{recipe['learning_rate']:g}, {recipe['epochs']}",
                recipe["precision"],
                str(len(each["seeds"])),
                _spread(each["flue_bench"]["scores"], collapsed["flue_bench"]),
                _spread(each["trainer"]["scores"], collapsed["trainer"]),
                f"{difference['mean']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]"
                if difference
                else "n/a",
                {True: "yes", False: "no", None: "n/a"}[each["contains_zero"]],
            ]
        )
    header = (
        "task (test score)", "rows a split", "rate, epochs", "precision", "seeds", "flue-bench", "Trainer",
        "difference [95 %]", "contains 0",
    )  # fmt: skip
    return f"""# Scores: flue-bench and transformers.Trainer

Model {model}. The same weights and random head, sub-word ids, recipe, selection of the epoch on validation, and
seeds; scored by the same code, in percent. Mean ± standard deviation over the seeds; the difference of the means
(flue-bench less Trainer) with its interval after Welch. Trainer: {results[0]["trainer"]["padding"]} padding. "rows a
split" is the limit on each split, test included: where it is not "all", scores are on a part of the test set.

{report.markdown_table(header, rows)}

{report.machine_line(machine)}
"""


def _spread(scores: list[float], collapsed: int) -> str:
    mean, sd, n = mean_sd(scores)
    spread = f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
    return f"{spread} ({collapsed} of {n} collapsed)" if collapsed else spread


def main() -> None:
    """Run what is missing, then write and print the table."""
    parser = works.parser(__doc__, ["sick", "pawsx-small", "wikineural-small", "amazon-books"])
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 (default: 3)")
    parser.add_argument("--recipe", default="standard")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change fields of the recipe")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument(
        "--padding", choices=get_args(trainer.Padding), default="dynamic", help="how Trainer pads (default: dynamic)"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    parser.add_argument("--records", type=Path, help="folder of flue-bench's records (default: that of --results)")
    parser.add_argument("--name", default="scores", help="name of the table's files (default: scores)")
    arguments = parser.parse_args()

    folder, results = arguments.results / "trainer", []
    display = Display(Console(stderr=True))
    for asked in arguments.tasks:
        name, _, rows = asked.partition("=")
        limit = int(rows) if rows else None
        grid = Grid(
            models=[arguments.model],
            tasks=registry.select([works.task_file(name)]),
            seeds=range(arguments.seeds),
            recipe=arguments.recipe,
            overrides=dict(pair.split("=", 1) for pair in arguments.set),
            precision=arguments.precision,
            device=arguments.device,
            limit=limit,
            data_dir=arguments.data_dir,
            offline=True,
        )
        outcome = run_grid(grid, Store(arguments.records or arguments.results), display)
        if outcome.failures or outcome.unloaded:
            raise SystemExit(f"{name}: flue-bench's own cells failed, see above.")
        work = works.load(name, arguments.model, arguments.data_dir, limit)
        cells = []
        for record in outcome.records:
            cells.append(theirs(record, work, arguments.padding, arguments.device, folder / "cells"))
            score = 100 * cells[-1]["scores"][record.metric]
            display.line(f"Trainer · {name} · seed {record.cell.seed}: {record.metric} {score:.2f}")
        results.append(compare(outcome.records, cells))
    machine = cells[0]["environment"]
    text = markdown(results, work.model.ref.name, machine)
    name = arguments.name if arguments.padding == "dynamic" else f"{arguments.name}-{arguments.padding}"
    report.write(folder, name, {"model": work.model.ref.model_dump(), "machine": machine, "tasks": results}, text)
    print(text)


if __name__ == "__main__":
    main()
