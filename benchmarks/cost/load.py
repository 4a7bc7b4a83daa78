"""Thousands of finished cells in one results folder: how long do the board and a `run` that finds all done take?

    python -m benchmarks.cost.load

Twenty tasks, five seeds, and ten models or more. One cell is run; the other records are copies of it with their own
cell, random predictions and the scores of these, written by the store: all that `verify` asks of them is there.
Models are the embedded one with different
weights, tasks have some sentences. Every command runs in a process of its own, imports and all, and the least of
``--rounds`` counts; the first board, which computes the intervals that later ones read, and the first page, which adds
the confusion matrices, are measured once. What a command opens is counted by Python's audit hook, in a run that is not
timed. The table goes to ``--results``/performance/load.md and load.json.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

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

TASKS, SEEDS = 20, 5

COUNTED = """
import collections, json, sys, time
counted = collections.Counter()
root, figures, hooked = sys.argv[1:4]
del sys.argv[1:4]

def count(event, details):
    if event in ("open", "os.scandir", "os.listdir") and str(details[0]).startswith(root):
        ours = "folders" if event != "open" else "predictions" if str(details[0]).endswith(".parquet") else "files"
        counted[ours] += 1

if hooked == "counted":
    sys.addaudithook(count)
from flue_bench.cli import main
try:
    main()
finally:
    with open(figures, "w") as file:
        json.dump({"processor": time.process_time(), **counted}, file)
"""
"""A command that reports its processor time and, if asked, what it opened below a folder."""


OPENED = ("files", "predictions", "folders")
"""What is counted: ``files`` are those without predictions."""


class Filled(NamedTuple):
    """A results folder, and the arguments with which ``flue-bench run`` finds all of it done."""

    results: Path
    words: list[str]


def fill(folder: Path, models: int, tasks: int, seeds: int) -> Filled:
    """Write the models, the tasks, and records of all their cells."""
    import numpy as np
    from safetensors import torch as safetensors

    from flue_bench.data import registry, sources
    from flue_bench.jobs.grid import Grid, run_grid
    from flue_bench.kinds.sentence import SENTENCE, sentence_scores
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
    loaded = [(task, sources.load(task)) for task in registered]
    for model in (known.resolve(word) for word in words[1 : 2 * models : 2]):
        # Each write looks for older files of its cell: in a folder of this model's alone, which is moved then.
        part = Store(folder / "part")
        for (number, (task, data)), seed in product(enumerate(loaded), range(seeds)):
            examples = data.splits["test"]
            gold = np.array([example.label for example in examples])
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

            sure = (0.5 + 0.5 * draw.random(len(gold))).round(4)
            probabilities = np.where(predicted[:, None] == (0, 1), sure[:, None], 1 - sure[:, None]).round(4)
            table = SENTENCE.table(examples, {"predicted": predicted.tolist(), "probabilities": probabilities.tolist()})
            with mock.patch("os.fsync"):  # no power cut is awaited
                part.write(build, table, cell)
        for made in (part.root / "runs").iterdir():
            shutil.copytree(made, store.root / "runs" / made.name, dirs_exist_ok=True)
        shutil.rmtree(part.root)
    return Filled(store.root, [*words, "--seeds", str(seeds), "--device", "cpu"])


def measure(filled: Filled, *words: str, counted: bool = False) -> dict[str, float]:
    """Run a command in a process of its own, with a cache beside the results folder.

    Returns:
        ``processor``, its seconds; where ``counted``, also what was opened in the results folder: ``files`` without
        ``predictions``, and ``folders`` listed.
    """
    figures, cache = filled.results.with_name("figures.json"), str(filled.results.with_name("cache"))
    asked = [str(filled.results), str(figures), "counted" if counted else "timed"]
    environment = {"OMP_NUM_THREADS": "1", "FLUE_BENCH_CACHE": cache}
    processes.python("-c", COUNTED, *asked, *words, "--results", str(filled.results), **environment)
    cost: dict[str, float] = json.loads(figures.read_text())
    return dict.fromkeys(OPENED, 0.0) | cost if counted else cost


def measured(models: int, rounds: int) -> dict[str, Any]:
    """Fill a folder with the records of so many models, and measure every command on it."""
    with tempfile.TemporaryDirectory() as folder:
        filled, page = fill(Path(folder), models, TASKS, SEEDS), Path(folder) / "board.html"
        board, html = ["leaderboard"], ["leaderboard", "--format", "html", "--out", str(page)]
        commands = {
            "leaderboard, first": measure(filled, *board, counted=True),
            "leaderboard, HTML, first": measure(filled, *html, counted=True),
        }
        for name, words in {
            "leaderboard": board,
            "leaderboard, HTML": html,
            "run, all done": ["run", *filled.words],
        }.items():
            opened = measure(filled, *words, counted=True)
            least = min(measure(filled, *words)["processor"] for _ in range(rounds))
            commands[name] = opened | {"processor": least}
            print(models, name, commands[name], flush=True)
        records = sum(1 for _ in filled.results.glob("runs/*/*/*.parquet"))
        return {"records": records, "page_bytes": page.stat().st_size, "commands": commands}


def main() -> None:
    """Measure every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", type=int, nargs="+", default=(10, 30, 100), help="numbers of models to measure (default: 10 30 100)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds to measure (default: 3)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()
    sizes: list[dict[str, Any]] = []
    for models in arguments.models:
        sizes.append(measured(models, arguments.rounds))
        write(sizes, arguments.results)  # each time: an interruption loses one size


def write(sizes: list[dict[str, Any]], results: Path) -> None:
    """Print and write the table of these sizes."""
    import torch

    from benchmarks.common import report
    from flue_bench.training.device import prepare

    here = report.versions(prepare(torch.device("cpu"), "fp32", 128))
    lines = []
    for name in sizes[0]["commands"]:
        for before, size in zip((None, *sizes), sizes, strict=False):
            of = size["commands"][name]
            seconds = (before["commands"][name]["processor"], of["processor"]) if before else None
            exponent = report.exponent((before["records"], size["records"]), seconds) if before and seconds else ""
            opened = [f"{of[key]:,.0f}" for key in OPENED]
            lines.append([f"{name}: {size['records']:,}", f"{of['processor']:.2f}", exponent, *opened])
    pages = ", ".join(f"{size['page_bytes'] / 1e6:.2f}" for size in sizes)
    header = ["command: records", "processor seconds", "exponent", *OPENED]
    text = (
        f"# Thousands of cells in one results folder\n\n"
        f"`python -m benchmarks.cost.load`. {report.machine_line(here)}\n\n"
        f"{report.markdown_table(header, lines)}\n\n"
        f"{TASKS} tasks and {SEEDS} seeds of each model. The exponent is that of the growth of time from the size "
        f"before: 1 is linear. Opened and listed: below the results folder. The pages have {pages} MB.\n"
    )
    print(text)
    report.write(results / "performance", "load", {"machine": here, "sizes": sizes}, text)


if __name__ == "__main__":
    main()
