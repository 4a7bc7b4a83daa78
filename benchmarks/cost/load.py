"""A thousand finished cells in one results directory: how long do the board and a `run` that finds all done take?

    python -m benchmarks.cost.load

Ten models, ten tasks and ten seeds. One cell is run; the other records are copies of it with their own cell, random
predictions and the scores of these, written by the store. Models are the embedded one with ten different weights, tasks
have some sentences. Every command runs in a process of its own, imports and all, and the best of ``--rounds`` counts;
the first board, which computes the intervals that later ones read, is measured once. Opened files are counted by
Python's audit hook. The table goes to ``--results``/performance/load.md and load.json.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import processes

TASK = """
name = "NAME"
kind = "sentence"
labels = ["non", "oui"]
metric = "accuracy"
[[source]]
files = { train = "train.tsv", validation = "validation.tsv", test = "test.tsv" }
[recipe.standard]
epochs = 1
max_length = 32
"""
ROWS = {"train": 32, "validation": 32, "test": 400}

COUNTED = """
import collections, json, os, sys, time
began, counted = time.perf_counter(), collections.Counter()
root, figures = sys.argv[1:3]
del sys.argv[1:3]

def count(event, details):
    if event in ("open", "os.scandir", "os.listdir") and str(details[0]).startswith(root):
        ours = "folders" if event != "open" else "predictions" if str(details[0]).endswith(".parquet") else "files"
        counted[ours] += 1

sys.addaudithook(count)
from flue_bench.cli import main
try:
    main()
finally:
    with open(figures, "w") as file:
        json.dump({"seconds": time.perf_counter() - began, "processor": time.process_time(), **counted}, file)
"""
"""A command that reports its time, and what it opened below a folder."""


OPENED = ("files", "predictions", "folders")
"""What is counted: ``files`` are those without predictions."""


class Filled(NamedTuple):
    """A results directory, and the arguments with which ``flue-bench run`` finds all of it done."""

    results: Path
    words: list[str]


def fill(folder: Path, models: int, tasks: int, seeds: int) -> Filled:
    """Write the models, the tasks, and records of all their cells."""
    import numpy as np
    import pyarrow
    from safetensors import torch as safetensors

    from flue_bench.data import registry, sources
    from flue_bench.jobs.grid import Grid, run_grid
    from flue_bench.kinds.sentence import sentence_scores
    from flue_bench.progress import Console, Display
    from flue_bench.record import Predictions, RunRecord
    from flue_bench.results.store import Store
    from flue_bench.training import models as known

    store, words = Store(folder / "results"), []
    for number in range(models):
        copy = folder / f"model-{number}"
        shutil.copytree(known.resolve("embedded:untrained").folder, copy)
        weights = safetensors.load_file(copy / "model.safetensors")
        next(iter(weights.values())).view(-1)[0] = number
        safetensors.save_file(weights, copy / "model.safetensors", {"format": "pt"})
        words += ["-m", str(copy)]
    for number in range(tasks):
        home = folder / f"task-{number}"
        home.mkdir()
        for split, rows in ROWS.items():
            lines = [f"Phrase {i} de {split} {number}.\t{('non', 'oui')[i % 2]}" for i in range(rows)]
            (home / f"{split}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
        (home / "task.toml").write_text(TASK.replace("NAME", f"task-{number}"), encoding="utf-8")
        words += ["-t", str(home / "task.toml")]

    registered = registry.select([word for word in words if word.endswith(".toml")])
    grid = Grid([words[1]], registered[:1], [0], device="cpu")
    (first,) = run_grid(grid, store, Display(Console(file=io.StringIO()))).records
    for number, task in enumerate(registered):
        data = sources.load(task)
        examples = data.splits["test"]
        gold = np.array([example.label for example in examples])
        for model in (known.resolve(word) for word in words[1 : 2 * models : 2]):
            for seed in range(seeds):
                update = {"model": model.ref, "task": task.task.name, "data": data.ref.digest, "seed": seed}
                cell = first.cell.model_copy(update=update)
                draw = np.random.default_rng([number, seed, *model.ref.digest.encode()])
                predicted = np.where(draw.random(len(gold)) < 0.8, gold, 1 - gold)
                scores = sentence_scores(gold, predicted, task.task.labels)
                more: dict[str, Any] = {
                    "cell": cell, "cell_digest": cell.digest, "setting_digest": cell.setting_digest,
                    "task_title": cell.task, "column": cell.task, "column_members": (cell.task,), "data": data.ref,
                    "scores": scores.scores, "per_class": scores.per_class, "collapsed": None,
                }  # fmt: skip

                def build(predictions: Predictions, more: dict[str, Any] = more) -> RunRecord:
                    return first.model_copy(update=more | {"predictions": predictions})

                columns = {"id": [each.id for each in examples], "group": [each.group for each in examples]}
                store.write(build, pyarrow.table({**columns, "gold": gold, "predicted": predicted}), cell)
    return Filled(store.root, [*words, "--seeds", str(seeds), "--device", "cpu"])


def measure(filled: Filled, *words: str) -> dict[str, float]:
    """Run a command in a process of its own.

    Returns:
        ``seconds``, those of the ``processor``, and what was opened in the results directory: ``files`` without
        ``predictions``, and ``folders`` listed.
    """
    figures = filled.results.with_name("figures.json")
    results = str(filled.results)
    processes.python("-c", COUNTED, results, str(figures), *words, "--results", results, OMP_NUM_THREADS="1")
    opened: dict[str, float] = json.loads(figures.read_text())
    return dict.fromkeys(OPENED, 0.0) | opened


def main() -> None:
    """Fill, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        filled = fill(Path(folder), 10, 10, 10)
        page = str(Path(folder) / "board.html")
        commands = {
            "leaderboard, first": (1, ["leaderboard"]),
            "leaderboard": (arguments.rounds, ["leaderboard"]),
            "leaderboard, HTML": (arguments.rounds, ["leaderboard", "--format", "html", "--out", page]),
            "run, all done": (arguments.rounds, ["run", *filled.words]),
        }
        table = {
            name: min((measure(filled, *words) for _ in range(rounds)), key=lambda figures: figures["seconds"])
            for name, (rounds, words) in commands.items()
        }
        size = Path(page).stat().st_size
        rows = sum(1 for _ in filled.results.glob("runs/*/*/*.parquet"))

    import torch

    from benchmarks.common import report
    from flue_bench.training.device import prepare

    here = report.versions(prepare(torch.device("cpu"), "fp32", 128))
    lines = [
        [name, f"{of['seconds']:.2f}", f"{of['processor']:.2f}", *(f"{of[key]:,.0f}" for key in OPENED)]
        for name, of in table.items()
    ]
    text = (
        f"# {rows:,} cells in one results directory\n\n"
        f"`python -m benchmarks.cost.load`. {report.machine_line(here)}\n\n"
        f"{report.markdown_table(['command', 'seconds', 'processor seconds', *OPENED], lines)}\n\n"
        f"Opened and listed: below the results directory. Where the machine is shared with other work, only processor "
        f"seconds compare. The HTML board has {size / 1e6:.2f} MB.\n"
    )
    print(text)
    report.write(arguments.results / "performance", "load", {"machine": here, "commands": table}, text)


if __name__ == "__main__":
    main()
