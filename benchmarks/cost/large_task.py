"""What does a large task take? Time and peak memory of loading, encoding, batching and auditing XNLI's number of pairs.

    python -m benchmarks.cost.large_task

Generated pairs of about XNLI's lengths, in a parquet file with a task file beside it; the tokenizer is an embedded
model's. Loading reads, checks and hashes them, encoding tokenises the training split, an epoch draws its batches and
pads each, as training does, and an audit compares validation and test (300 rows each) with all others. Every size is
measured in a process of its own; peak memory is that process's resident set so far, so that what a step adds is the
difference. The table goes to ``--results``/performance/large_task.md and large_task.json.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from benchmarks.common import processes

XNLI = 392_702
SIZES = (1_000, 10_000, 100_000, XNLI)
STEPS = ("start", "load", "encode", "epoch", "audit")
TASK = """
name = "essai-grand"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "accuracy"
[[source]]
files = { train = "train.parquet", validation = "small.parquet", test = "small.parquet" }
[recipe.standard]
batch_size = 32
max_length = 128
"""
WORDS = (
    "le",
    "la",
    "une",
    "livre",
    "ville",
    "regarde",
    "demain",
    "souvent",
    "maison",
    "Brest",
    "jamais",
    "sous",
    "été",
)


def generate(folder: Path, rows: int) -> None:
    """Write the task and its data: premises of 5 to 35 words, each with three hypotheses."""
    draw = random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(least, most))) + f" {draw.randrange(10**6)}."

    premises = [text(5, 35) for _ in range(-(-rows // 3))]
    columns = {
        "text": [premises[i // 3] for i in range(rows)],
        "text_pair": [text(4, 16) for _ in range(rows)],
        "label": [i % 3 for i in range(rows)],
    }
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    pyarrow.parquet.write_table(table.slice(0, 300), folder / "small.parquet")
    (folder / "task.toml").write_text(TASK, encoding="utf-8")


def measure(folder: Path) -> dict[str, Any]:
    """Measure each step in this process: processor seconds, peak memory after it in MB; and hash all batches."""
    import hashlib

    import numpy as np
    import torch

    from flue_bench.data import registry, sources
    from flue_bench.jobs import audit
    from flue_bench.kinds.network.network import network_of
    from flue_bench.progress import Console, Display
    from flue_bench.training import models
    from flue_bench.training.batches import training_batches

    cost: dict[str, Any] = {"seconds": {}, "peak_mb": {}}
    began = 0.0

    def done(step: str) -> None:
        nonlocal began
        cost["seconds"][step] = time.process_time() - began
        cost["peak_mb"][step] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began = time.process_time()

    (task,) = registry.select([str(folder / "task.toml")])
    tokenizer = models.load_tokenizer(models.resolve("embedded:teacher"))
    done("start")
    data = sources.load(task)
    done("load")
    encoded = network_of(task.task).encode(data.splits["train"], task.task, tokenizer, 128)
    done("encode")
    content = hashlib.sha256(np.int64(data.ref.rows["train"]).tobytes() + data.ref.digest.encode())
    for rows in training_batches(encoded.lengths, 32, 0, 0):
        batch = encoded.batch(rows, torch.device("cpu"))
        for block in (batch.inputs["input_ids"], batch.labels):
            content.update(block.numpy().tobytes())
    done("epoch")
    audit.audit(task.task, data, Display(Console(quiet=True)))
    done("audit")
    return cost | {"rows": len(encoded), "subwords": len(encoded.ids), "content": content.hexdigest()}


def main() -> None:
    """Measure every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    costs = [in_own_process(rows) for rows in arguments.rows]

    import torch

    from benchmarks.common import report
    from flue_bench.training.device import prepare

    here = report.versions(prepare(torch.device("cpu"), "fp32", 128))
    header = ["rows", "sub-words", *(f"{step}, s" for step in STEPS), *PEAKS]
    text = (
        f"# A task of XNLI's size\n\n`python -m benchmarks.cost.large_task`. {report.machine_line(here)}\n\n"
        f"{report.markdown_table(header, [line(each) for each in costs])}\n\n"
        "Seconds of processor time; peaks of the process so far. 'start' is Python with torch and transformers loaded, "
        "'epoch' draws and pads all batches of one epoch, 'audit' is that of `flue-bench tasks audit`.\n"
    )
    print(text)
    report.write(arguments.results / "performance", "large_task", {"machine": here, "sizes": costs}, text)


PEAKS = [f"peak after {step}, MB" for step in STEPS]


def line(cost: dict[str, Any]) -> Sequence[str]:
    """Return a row of the table."""
    times = [f"{cost['seconds'][step]:.1f}" for step in STEPS]
    return [f"{cost['rows']:,}", f"{cost['subwords']:,}", *times, *(f"{cost['peak_mb'][s]:,.0f}" for s in STEPS)]


def in_own_process(rows: int) -> dict[str, Any]:
    """Run ``measure`` on this number of rows in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), rows)
        words = ("benchmarks.cost.large_task", "--measure", folder)
        cost: dict[str, Any] = processes.answer(*words, FLUE_BENCH_CACHE=folder, HF_HUB_OFFLINE="1")
    return cost


if __name__ == "__main__":
    main()
