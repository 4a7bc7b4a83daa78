"""What does a row of a corpus cost that is not in memory? Bytes read from the disk for each token, and time a row.

    python -m benchmarks.cost.cold_corpus [--folder FOLDER] [--megabytes 1024]

A corpus of random tokens is written (to ``--folder``, which should be where yours lies: the system's cache and its
read-ahead differ by file system), synced, and dropped from the cache (``posix_fadvise``), so that none of it is cached
when random rows of 512 tokens are read, as training reads them. In turns, each on a corpus that is cold again: as
``flue-bench distill`` maps shards, and as ``numpy.memmap`` maps them, with the system's read-ahead. Bytes are the
kernel's own count (``read_bytes`` of ``/proc/self/io``): Linux only. The table goes to
``--results``/performance/cold_corpus.md and cold_corpus.json.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.common import report
from flue_bench.training.device import Device
from flue_distill.corpus import shards
from flue_distill.corpus.shards import Blocks
from flue_distill.training.keyed import permuted

LENGTH, SHARD, ROUNDS = 512, 2**25, 5
"""Tokens a row, bytes a shard, rounds of either way."""


def fill(folder: Path, number: int) -> Blocks:
    """Write shards of random tokens to the disk, and return their rows."""
    draws, paths = np.random.default_rng(0), []
    for each in range(number):
        paths.append(folder / f"train-{each:05}.bin")
        with paths[-1].open("wb") as file:
            file.write(draws.integers(5, 32_000, SHARD // 2, dtype=np.uint16).tobytes())
            os.fsync(file.fileno())
    return Blocks(paths, [SHARD // 2] * number, "uint16", LENGTH, 5, 6)


def chill(blocks: Blocks) -> None:
    """Drop the shards from the system's cache."""
    for path in blocks.files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read() -> int:
    """Return how many bytes this process has caused to be read from the disk."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes:")))


def measure(blocks: Blocks, rows: int, seed: int) -> dict[str, float]:
    """Read random rows of a cold corpus: milliseconds and bytes from the disk, a row."""
    chosen = permuted(np.arange(rows), len(blocks), seed, 0)
    chill(blocks)
    before, began = bytes_read(), time.perf_counter()
    for row in chosen:
        blocks[int(row)]
    measured = {"ms": 1e3 * (time.perf_counter() - began) / rows, "bytes": (bytes_read() - before) / rows}
    shards.mapped.cache_clear()  # what is mapped stays in the cache
    return measured


def with_read_ahead() -> Any:
    """Map shards as ``numpy.memmap`` does."""
    eager: Callable[[str, str], Any] = lambda path, dtype: np.memmap(path, dtype, "r")  # noqa: E731
    return mock.patch.object(shards, "mapped", functools.cache(eager))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write the corpus; by default the system's temporary one")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {"as flue-bench maps": [], "with read-ahead": []}
    with TemporaryDirectory(dir=arguments.folder) as folder:
        blocks = fill(Path(folder), max(1, arguments.megabytes * 2**20 // SHARD))
        for each in range(ROUNDS):
            rounds["as flue-bench maps"].append(measure(blocks, arguments.rows, each))
            with with_read_ahead():
                rounds["with read-ahead"].append(measure(blocks, arguments.rows, each))
    here = report.versions(Device(torch.device("cpu"), "fp32", ""))
    result = {"megabytes": arguments.megabytes, "rows": arguments.rows, "rounds": rounds, "environment": here}
    text = write(result)
    report.write(arguments.results / "performance", "cold_corpus", result, text)
    print(text)


def write(result: dict[str, Any]) -> str:
    """Return the table."""

    def median(way: str, what: str) -> float:
        return float(statistics.median(each[what] for each in result["rounds"][way]))

    table = report.markdown_table(
        ("shards mapped", "ms a row", "bytes from the disk a row", "a token"),
        [
            (way, f"{median(way, 'ms'):.3f}", f"{median(way, 'bytes'):,.0f}", f"{median(way, 'bytes') / LENGTH:,.1f}")
            for way in result["rounds"]
        ],
    )
    return (
        "# A row of a cold corpus\n\n"
        f"{result['rows']} random rows of {LENGTH} tokens (2 bytes each) of {result['megabytes']:,} MiB in shards of "
        f"{SHARD >> 20} MiB, none of it cached; medians of {ROUNDS} rounds in turns, by "
        f"`python -m benchmarks.cost.cold_corpus`.\n\n{table}\n\n{report.machine_line(result['environment'])}\n"
    )


if __name__ == "__main__":
    main()
