"""What does a large task take? Time and peak memory of loading, encoding, batching and auditing XNLI's number of pairs.

    python -m benchmarks.cost.large_task
    python -m benchmarks.cost.large_task --corpus ../shared/corpus    # also audits pairs of real sentences

Generated pairs of about XNLI's lengths, in a parquet file with a task file beside it; the tokenizer is an embedded
model's. Loading reads, checks and hashes them, encoding tokenises the training split, an epoch draws its batches and
pads each, as training does, and an audit compares validation and test (300 rows each) with all others. With
``--corpus``, a folder of .txt.xz files of French text, an audit is measured on its sentences too: two that follow each
other are a pair, and validation and test have 2,500 and 5,000 pairs, as XNLI has about. Every size is
measured in a process of its own; peak memory is that process's resident set so far, so that what a step adds is the
difference. The table goes to ``--results``/performance/large_task.md and large_task.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
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
files = { train = "train.parquet", validation = "validation.parquet", test = "test.parquet" }
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


REAL = {"validation": 2_500, "test": 5_000}


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
    write(folder, {"train": table, "validation": table.slice(0, 300), "test": table.slice(0, 300)})


def take(folder: Path, corpus: Path, rows: int) -> None:
    """Write the task and its data: pairs of sentences that follow each other in a corpus, held-out ones from all of it.

    Raises:
        SystemExit: the corpus has fewer.
    """
    texts = list(islice(sentences(corpus), 2 * (rows + sum(REAL.values()))))
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    if len(pairs) < rows + sum(REAL.values()):
        raise SystemExit(f"{corpus}: {len(pairs):,} pairs of sentences, {rows + sum(REAL.values()):,} are wanted")
    random.Random(0).shuffle(pairs)
    splits = {}
    for split, size in ({"train": rows} | REAL).items():
        part, pairs = pairs[:size], pairs[size:]
        columns = {"text": [one for one, _ in part], "text_pair": [two for _, two in part]}
        splits[split] = pyarrow.table(columns | {"label": [i % 3 for i in range(size)]})
    write(folder, splits)


def sentences(corpus: Path) -> Iterator[str]:
    """Yield the sentences of 20 to 300 characters of a folder's .txt.xz files."""
    for file in sorted(corpus.glob("*.txt.xz")):
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield from (each for each in re.split(r"(?<=[.!?])\s+", line.strip()) if 20 <= len(each) <= 300)


def write(folder: Path, splits: Mapping[str, pyarrow.Table]) -> None:
    """Write the task and these splits."""
    for split, table in splits.items():
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    (folder / "task.toml").write_text(TASK, encoding="utf-8")


def measure(folder: Path, steps: Sequence[str]) -> dict[str, Any]:
    """Measure each step in this process: processor seconds, peak memory after it in MB; and hash all batches.

    Args:
        folder: the folder of the task.
        steps: those of ``STEPS`` that are wanted: without ``encode`` and ``epoch`` nothing is tokenised.
    """
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
    if "encode" in steps:
        encoded = network_of(task.task).encode(data.splits["train"], task.task, tokenizer, 128)
        done("encode")
        content = hashlib.sha256(np.int64(data.ref.rows["train"]).tobytes() + data.ref.digest.encode())
        for rows in training_batches(encoded.lengths, 32, 0, 0):
            batch = encoded.batch(rows, torch.device("cpu"))
            for block in (batch.inputs["input_ids"], batch.labels):
                content.update(block.numpy().tobytes())
        done("epoch")
        cost |= {"subwords": len(encoded.ids), "content": content.hexdigest()}
    made = audit.audit(task.task, data, Display(Console(quiet=True)))
    done("audit")
    near = {view: {place: each.rows for place, each in places.items()} for view, places in made.near.items()}
    return cost | {"rows": data.ref.rows["train"], "near": near}


def main() -> None:
    """Measure every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--corpus", type=Path, help="a folder of .txt.xz: audit pairs of its sentences too")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, *steps = arguments.measure
        print(json.dumps(measure(Path(folder), steps)))
        return
    costs = [in_own_process(STEPS, partial(generate, rows=rows)) for rows in arguments.rows]
    real = []
    if arguments.corpus:
        of_corpus = partial(take, corpus=arguments.corpus)
        real = [in_own_process(AUDIT, partial(of_corpus, rows=rows)) for rows in arguments.rows]

    import torch

    from benchmarks.common import report
    from flue_bench.training.device import prepare

    here = report.versions(prepare(torch.device("cpu"), "fp32", 128))
    text = (
        f"# A task of XNLI's size\n\n`python -m benchmarks.cost.large_task`. {report.machine_line(here)}\n\n"
        f"{table(costs, STEPS)}\n\n"
        "Seconds of processor time; in brackets the exponent of the growth from the size before: 1 is linear, 2 "
        "quadratic. Peaks of the process so far. 'start' is Python with torch and transformers loaded, 'epoch' draws "
        "and pads all batches of one epoch, 'audit' is that of `flue-bench tasks audit`.\n"
    )
    if real:
        held_out = " and ".join(f"{size:,}" for size in REAL.values())
        text += f"\nPairs of real sentences (`--corpus`), {held_out} of them in validation and test:\n\n"
        text += f"{table(real, AUDIT)}\n"
    print(text)
    result = {"machine": here, "sizes": costs, "real": real}
    report.write(arguments.results / "performance", "large_task", result, text)


AUDIT = ("start", "load", "audit")
"""The steps on real sentences."""


def table(costs: Sequence[dict[str, Any]], steps: Sequence[str]) -> str:
    """Return the table of these sizes."""
    from benchmarks.common import report

    whole = "encode" in steps
    header = ["rows", *(["sub-words"] if whole else []), *(f"{step}, s" for step in steps)]
    lines = []
    for before, each in zip((None, *costs), costs, strict=False):
        cells = [f"{each['rows']:,}", *([f"{each['subwords']:,}"] if whole else [])]
        for step in steps:
            seconds = each["seconds"][step]
            earlier = before["seconds"][step] if before and step != "start" else 0.0
            grown = before and min(earlier, seconds) >= 0.05  # less is nothing that a clock can compare
            sizes = (before["rows"] if before else 0, each["rows"])
            cells.append(f"{seconds:.1f}" + (f" ({report.exponent(sizes, (earlier, seconds))})" if grown else ""))
        lines.append([*cells, *(f"{each['peak_mb'][step]:,.0f}" for step in steps)])
    return report.markdown_table([*header, *(f"peak after {step}, MB" for step in steps)], lines)


def in_own_process(steps: Sequence[str], fill: Callable[[Path], None]) -> dict[str, Any]:
    """Run ``measure`` in a process of its own, on what ``fill`` writes into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        words = ("benchmarks.cost.large_task", "--measure", folder, *steps)
        cost: dict[str, Any] = processes.answer(*words, FLUE_BENCH_CACHE=folder, HF_HUB_OFFLINE="1")
    print(cost["rows"], cost["seconds"], flush=True)
    return cost


if __name__ == "__main__":
    main()
