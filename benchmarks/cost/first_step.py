"""How long until a run's first training step? That of a new process, and that of the cells which follow in it.

    python -m benchmarks.cost.first_step

A round is a process that runs ``--cells`` seeds of a task on an embedded model, as ``flue-bench run`` does. The first
cell's time counts from the start of Python (imports, registry, data, hashes, sub-words, model), a later cell's from the
end of the one before. Beside them stands the floor: a process that only imports what transformers' own classes need for
this model. The table goes to ``--results``/performance/first_step.md and first_step.json.
"""

# ruff: noqa: E402 - the clock comes before the imports

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from benchmarks.common import processes, report

TARGETS = {"first cell": 3.0, "later cells": 0.3}
"""Seconds of wall time."""
MODEL = "embedded:student"
FLOOR = "imports alone"
IMPORTS = """
import time
began = time.perf_counter()
import gc, json
gc.disable()
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
import transformers.models.camembert.modeling_camembert
print(json.dumps({"wall": time.perf_counter() - began, "processor": time.process_time()}))
"""
"""What no cell of this model can do without, looks for cycles left out as flue-bench leaves them out."""


def child(task: str, cells: int) -> list[dict[str, float]]:
    """Run the cells in this process; return the wall and processor seconds before the first step of each."""
    from flue_bench.data import registry

    tasks = registry.select([task])  # before PyTorch, as the command does

    from flue_bench.memory import keep_freed_memory, loading, set_modules_aside

    keep_freed_memory()  # as the command does
    set_modules_aside()
    with loading():
        from flue_bench.jobs.cell import run_cell
        from flue_bench.jobs.grid import Grid, run_grid
        from flue_bench.progress import Console, Display
        from flue_bench.results.store import Store
        from flue_bench.training import train

    waits: list[dict[str, float]] = []
    begun = [(BEGAN, 0.0)]
    add_gradient = train.add_gradient

    def step(*args: Any, **kwargs: Any) -> Any:
        if len(waits) < len(begun):
            wall, processor = begun[-1]
            waits.append({"wall": time.perf_counter() - wall, "processor": time.process_time() - processor})
        return add_gradient(*args, **kwargs)

    def cell(*args: Any, **kwargs: Any) -> Any:
        if waits:
            begun.append((time.perf_counter(), time.process_time()))
        return run_cell(*args, **kwargs)

    asked = Grid(models=[MODEL], tasks=tasks, seeds=range(cells), offline=True)
    with (
        TemporaryDirectory() as folder,
        mock.patch.object(train, "add_gradient", step),
        mock.patch("flue_bench.jobs.grid.run_cell", cell),
    ):
        outcome = run_grid(asked, Store(Path(folder)), Display(Console(stderr=True)))
    if outcome.failures or outcome.unloaded:
        raise SystemExit("The run failed, see above.")
    return waits


def markdown(result: dict[str, Any]) -> str:
    """Return the table."""
    rows = []
    for name, waits in result["seconds"].items():
        wall, processor = ([each[key] for each in waits] for key in ("wall", "processor"))
        spread = f"{median(wall):.2f} ({min(wall):.2f} to {max(wall):.2f})"
        target = f"{TARGETS[name]:g}" if name in TARGETS else ""
        rows.append([name, spread, f"{median(processor):.2f} ({min(processor):.2f})", target])
    pairs = zip(result["seconds"]["first cell"], result["seconds"][FLOOR], strict=True)
    ours = median(first["wall"] - floor["wall"] for first, floor in pairs)
    return f"""# Until the first step

`python -m benchmarks.cost.first_step`: {result["task"]} on {MODEL}, {result["rounds"]} processes of {result["cells"]}
cells. Seconds before a cell's first training step: median (least to most); of the processor: median (least).

{report.markdown_table(["cell", "wall", "processor", "target, wall"], rows)}

The last line is the floor: a process that only imports PyTorch, and transformers' classes for this model. What
flue-bench adds to it before the first step (command, registry, data, hashes, sub-words, model, and the checks of all
these) is {ours:.2f} s of wall time, the median of the rounds.

{report.machine_line(result["machine"])}
"""


def main() -> None:
    """Measure, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="mini-cls", help="task to run (default: mini-cls)")
    parser.add_argument("--cells", type=int, default=3, help="cells of each run (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default: 5)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        json.dump(child(arguments.task, arguments.cells), sys.stdout)
        return

    words = ("--child", "--task", arguments.task, "--cells", str(arguments.cells))
    rounds, floors = [], []
    for _ in range(arguments.rounds):  # in turns, so that others on the same cores disturb both alike
        rounds.append(processes.answer("benchmarks.cost.first_step", *words))
        floors.append(json.loads(processes.python("-c", IMPORTS).stdout))

    from flue_bench.training.device import pick_device, prepare

    result = {
        "task": arguments.task,
        "cells": arguments.cells,
        "rounds": arguments.rounds,
        "machine": report.versions(prepare(pick_device("cpu"), "fp32", 0)),
        "seconds": {
            "first cell": [waits[0] for waits in rounds],
            "later cells": [wait for waits in rounds for wait in waits[1:]],
            FLOOR: floors,
        },
    }
    text = markdown(result)
    report.write(arguments.results / "performance", "first_step", result, text)
    print(text)


if __name__ == "__main__":
    main()
