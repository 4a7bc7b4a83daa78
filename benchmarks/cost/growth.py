"""How do time and memory grow with the work? Rows, their length, classes, seeds, models; each size in its own process.

    python -m benchmarks.cost.growth

- **rows**: ``flue-bench run`` on a sentence task of so many generated rows a split, one epoch.
- **sequence length**: three training steps over ``POSITIONS`` positions, cut into rows of that length, in the embedded
  teacher's shape; what attention adds is what grows.
- **classes**: ``flue-bench run`` on a sentence task of ``ROWS`` generated rows with so many labels; and the scores of
  ``TAGGED`` generated sentences with so many types of entity.
- **seeds**, **models**: ``flue-bench run`` on the same rows; the models differ in their weights.

``benchmarks/cost/large_task.py`` has the rows of a large task, step by step. The exponent is that of the growth from
one size to the next: 1 is linear, 2 quadratic. Time is the processor's, the least of ``--rounds`` runs in turns; memory
is the process's peak less what it held before. The table goes to ``--results``/performance/growth.md and growth.json.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.common import processes, report
from flue_bench.data import model_names, registry
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.kinds.network.network import Encoded
from flue_bench.kinds.tokens import token_scores
from flue_bench.memory import keep_freed_memory
from flue_bench.progress import Console, Display
from flue_bench.results.store import Store
from flue_bench.training.device import Device, peak_memory, pick_device, prepare
from flue_bench.training.optim import adamw
from flue_bench.training.train import add_gradient

POSITIONS, ROWS, TAGGED = 4096, 200, 20_000
SIZES = {
    "rows": (200, 400, 800, 1_600, 3_200),
    "sequence length": (32, 64, 128, 256, 512),
    "classes": (2, 20, 200),
    "types of entity": (1, 10, 100),
    "seeds": (1, 2, 4, 8, 16),
    "models": (1, 2, 4, 8, 16),
}
CPU = Device(torch.device("cpu"), "fp32", "")

Work = Callable[[], object]


def length(size: int, folder: Path) -> Work:
    """Return work that runs training steps over rows of this length."""
    config = AutoConfig.from_pretrained(model_names.EMBEDDED / "teacher")
    network = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    network.train()
    rows = POSITIONS // size
    random = np.random.RandomState(0)
    data = Encoded(
        ids=random.randint(5, config.vocab_size, POSITIONS).astype(np.int32),
        offsets=np.arange(rows + 1, dtype=np.int64) * size,
        type_ids=None,
        labels=random.randint(0, 2, rows),
        pad_id=config.pad_token_id,
        truncated=0,
    )
    optimizer = adamw(network, 1e-4, 0.0)

    def steps() -> None:
        for _ in range(3):
            add_gradient(network, data, range(rows), rows, CPU, 0, 0)
            optimizer.step()

    return steps


def run(folder: Path, rows: int | None = None, classes: int = 2, seeds: int = 1, count: int = 1) -> Work:
    """Return work that runs ``flue-bench run`` with this number of rows (None: ``ROWS``), labels, seeds and models."""
    rows = rows or ROWS
    labels = [f"classe {i}" for i in range(classes)]
    task = ["[[source]]", 'files = { train = "r.csv", validation = "r.csv", test = "r.csv" }', "[recipe.standard]"]
    task = ['name = "croissance"', 'kind = "sentence"', f"labels = {json.dumps(labels)}", 'metric = "accuracy"', *task]
    (folder / "t.toml").write_text("\n".join([*task, "epochs = 1"]), encoding="utf-8")
    lines = [f"La phrase numéro {i} parle de {labels[i % classes]}.,{labels[i % classes]}" for i in range(rows)]
    (folder / "r.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    base = model_names.EMBEDDED / "untrained"
    network = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
    for number in range(count):
        torch.nn.init.normal_(network.get_input_embeddings().weight, std=0.02)
        network.save_pretrained(folder / str(number))
        AutoTokenizer.from_pretrained(base).save_pretrained(folder / str(number))
    grid = Grid(
        models=[str(folder / str(number)) for number in range(count)],
        tasks=registry.select([str(folder / "t.toml")]),
        seeds=range(seeds),
        device="cpu",
        precision="fp32",
    )

    def work() -> None:
        keep_freed_memory()  # as the command does
        outcome = run_grid(grid, Store(folder / "results"), Display(Console(file=io.StringIO())))
        assert len(outcome.records) == seeds * count, outcome

    return work


def tagging(size: int, folder: Path) -> Work:
    """Return work that computes all scores of a tagging with this number of entity types."""
    labels = ["O", *(f"{prefix}-T{i}" for i in range(size) for prefix in "BI")]
    random = np.random.RandomState(0)
    gold, guessed = (
        [
            np.where(random.uniform(size=20) < 0.3, random.randint(len(labels), size=20), 0).tolist()
            for _ in range(TAGGED)
        ]
        for _ in range(2)
    )
    counts = [[1] * 20] * TAGGED
    return lambda: token_scores(gold, guessed, labels, "IOB2", counts)


AXES: dict[str, Callable[[int, Path], Work]] = {
    "rows": lambda size, folder: run(folder, rows=size),
    "sequence length": length,
    "classes": lambda size, folder: run(folder, classes=size),
    "types of entity": tagging,
    "seeds": lambda size, folder: run(folder, seeds=size),
    "models": lambda size, folder: run(folder, count=size),
}


def one(axis: str, size: int) -> dict[str, float]:
    """Measure in this process: processor seconds, and peak bytes less those before."""
    with TemporaryDirectory() as folder:
        work = AXES[axis](size, Path(folder))
        before, began = peak_memory(CPU.where), time.process_time()
        work()
        return {"seconds": time.process_time() - began, "peak": peak_memory(CPU.where) - before}


def elsewhere(axis: str, size: int) -> dict[str, float]:
    """Measure in a fresh process with one thread, so that processor time is work and not waiting."""
    words = ("benchmarks.cost.growth", "--one", axis, str(size))
    cost: dict[str, float] = processes.answer(*words, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    print(f"{axis} {size}: {cost['seconds']:.2f} s, {cost['peak'] / 2**20:.0f} MiB", flush=True)
    return cost


def markdown(least: dict[str, dict[str, dict[str, float]]], rounds: int, machine: dict[str, Any]) -> str:
    """Return the table with its description."""
    rows = []
    for axis, sizes in least.items():
        before: tuple[int, float] | None = None
        for size, each in ((int(size), each) for size, each in sizes.items()):
            exponent = report.exponent((before[0], size), (before[1], each["seconds"])) if before else ""
            rows.append([f"{axis}: {size:,}", f"{each['seconds']:.2f}", exponent, f"{each['peak'] / 2**20:,.0f}"])
            before = size, each["seconds"]
    header = ["work", "processor seconds", "exponent of time", "peak memory, MiB more"]
    return f"""# Cost as the work grows

The exponent is that of the growth of time from the size before: 1 is linear, 2 quadratic, 0 no growth. Sequence
length: three training steps over the same {POSITIONS:,} positions, so that 0 means time linear in the length of a row.
Rows, classes, seeds and models: `flue-bench run` with embedded models, loading included, on {ROWS} rows a split where
rows do not grow. What a run costs whatever its size shows as an exponent below 1. Types of entity:
scoring {TAGGED:,} sentences. Each size in a process of its own, the least of {rounds}; fp32, one thread. What grows
with the length of a row is attention, which PyTorch on a CPU makes whole (rows · heads · length²) where it has dropout.

{report.markdown_table(header, rows)}

{report.machine_line(machine)}
"""


def main() -> None:
    """Measure, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--sizes", nargs="+", type=int, help="sizes to measure instead of each axis's own")
    parser.add_argument("--rounds", type=int, default=2, help="rounds to measure (default: 2)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    parser.add_argument("--one", nargs=2, metavar=("AXIS", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.one:
        print(json.dumps(one(arguments.one[0], int(arguments.one[1]))))
        return
    asked = [(axis, size) for axis in arguments.axes for size in arguments.sizes or SIZES[axis]]
    rounds = [{key: elsewhere(*key) for key in asked} for _ in range(arguments.rounds)]
    least: dict[str, dict[str, dict[str, float]]] = {axis: {} for axis in arguments.axes}
    for axis, size in asked:
        least[axis][str(size)] = min((each[axis, size] for each in rounds), key=lambda each: each["seconds"])
    machine = report.versions(prepare(pick_device("cpu"), "fp32", 0)) | {"threads": 1, "OMP_WAIT_POLICY": "PASSIVE"}
    text = markdown(least, arguments.rounds, machine)
    result = {"rounds": arguments.rounds, "machine": machine, "found": least}
    report.write(arguments.results / "performance", "growth", result, text)
    print(text)


if __name__ == "__main__":
    main()
