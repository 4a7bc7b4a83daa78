"""Which share of making a corpus in parts can only one process do, and how many hours follow for OSCAR?

    python -m benchmarks.cost.corpus_parts TEXTS… --tokenizer almanach/camembert-base [--megabytes 64]

Documents of the given texts are written anew as OSCAR comes, ``.jsonl.zst`` (23.01) and ``.txt.gz``, and made into a
corpus by ``--part 1/1`` and ``--merge``. Counted are processor seconds, of this process and its workers apart, which
do not depend on how busy the machine is as a clock on the wall does; what a corpus of two documents costs, the start
of the processes above all, is subtracted. The table goes to ``--results``/performance/corpus_parts.md and
corpus_parts.json. Hours are arithmetic with these numbers, for machines that were not there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from benchmarks.common import report
from flue_bench.training.device import Device
from flue_distill.api import load_tokenizer
from flue_distill.corpus import parts, texts
from flue_distill.corpus.shards import Manifest

FORMATS = {"jsonl.zst": "OSCAR 23.01", "txt.gz": "OSCAR 2019"}
OSCAR = 140e9
"""Bytes of text."""
MACHINES = (("2 cores", 1, 2), ("32 cores", 1, 32), ("128 cores", 1, 128), ("8 nodes of 32 cores", 8, 32))
"""Name, machines, cores of each."""
PROCESSES = 2


class Spent(NamedTuple):
    """Processor seconds."""

    here: float
    """Of the process that reads, writes and joins."""
    workers: float


def spent(work: Callable[[], Any]) -> tuple[Any, Spent]:
    """Do some work whose child processes end with it."""

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, began = children(), time.process_time()
    result = work()
    return result, Spent(time.process_time() - began, children() - before)


def documents(inputs: list[str], most: float) -> Iterator[str]:
    """Yield the documents of all texts in turns, up to so many bytes."""
    found = texts.find(inputs, hashed=False)
    readers = [(text for batch in texts.batches([each], "text", 0, None) for text in batch.texts) for each in found]
    while readers and most > 0:
        for reader in list(readers):
            text = next(reader, None)
            if text is None:
                readers.remove(reader)
            elif most > 0:
                most -= len(text.encode())
                yield text


def fill(path: Path, docs: list[str]) -> Path:
    """Write documents in the format that the name tells."""
    if path.name.endswith(".jsonl.zst"):
        rows = "".join(json.dumps({"content": doc}, ensure_ascii=False) + "\n" for doc in docs)
        path.write_bytes(pa.compress(rows.encode(), codec="zstd", asbytes=True))
    else:
        path.write_bytes(gzip.compress("\n\n".join(docs).encode(), 6))
    return path


def make(source: Path, tokenizer: Any, out: Path) -> tuple[Manifest, dict[str, Spent]]:
    """Make a corpus of a file as one part, and join it."""
    kept: dict[str, Any] = {"field": "content", "processes": PROCESSES}
    _, part = spent(lambda: parts.make([source], tokenizer, out, 1, 1, **kept))
    manifest, merge = spent(lambda: parts.merge(out, processes=PROCESSES))
    return manifest, {"part": part, "merge": merge}


def measure(suffix: str, docs: list[str], tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Return processor seconds a GB of text, by phase and by who spends them."""
    source = fill(folder / f"texts.{suffix}", docs)
    one = fill(folder / f"one.{suffix}", docs[:1] + docs[-1:])
    make(one, tokenizer, folder / f"first-{suffix}")  # what is imported when it is first used
    _, fixed = make(one, tokenizer, folder / f"one-{suffix}")
    manifest, all_ = make(source, tokenizer, folder / f"corpus-{suffix}")
    _, reading = spent(lambda: sum(1 for _ in texts.batches(texts.find([source], hashed=False), "content", 0, None)))
    giga = manifest.text_bytes / 1e9
    phases = {
        f"{phase}: {who}": (getattr(all_[phase], who) - getattr(fixed[phase], who)) / giga
        for phase in ("part", "merge")
        for who in ("here", "workers")
    }
    return {
        "text_bytes": manifest.text_bytes,
        "file_bytes": source.stat().st_size,
        "documents": manifest.documents,
        "tokens": manifest.tokens,
        "seconds_a_gigabyte": phases,
        "reading_alone": reading.here / giga,
        "start": {phase: each._asdict() for phase, each in fixed.items()},
    }


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Return which share of all seconds one process has to spend: of each part, and of the whole."""
    total = sum(seconds.values())
    return {"a part": seconds["part: here"] / total, "the whole": seconds["merge: here"] / total}


def hours(seconds: dict[str, float], machines: int, cores: int) -> float:
    """Return the hours for OSCAR: a part a machine, as many processes as cores, then joined on one machine.

    The process that reads takes a core like any other, and no machine is faster than it.
    """
    giga = OSCAR / 1e9
    reading, tokenising = (giga / machines * seconds[f"part: {who}"] for who in ("here", "workers"))
    joining, writing = (giga * seconds[f"merge: {who}"] for who in ("here", "workers"))
    return (max(reading, (reading + tokenising) / cores) + joining + writing / cores) / 3600


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", help="as for flue-bench corpus")
    parser.add_argument("--tokenizer", default="embedded:teacher")
    parser.add_argument("--megabytes", type=float, default=64, help="of text")
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    docs = list(documents(arguments.texts, arguments.megabytes * 1e6))
    tokenizer = load_tokenizer(arguments.tokenizer, offline=True)
    with TemporaryDirectory() as folder:
        measured = {suffix: measure(suffix, docs, tokenizer, Path(folder)) for suffix in FORMATS}
    here = report.versions(Device(torch.device("cpu"), "fp32", ""))
    result = {"vocabulary": len(tokenizer), "formats": measured, "environment": here}
    text = write(result)
    report.write(arguments.results / "performance", "corpus_parts", result, text)
    print(text)


def write(result: dict[str, Any]) -> str:
    """Return the tables."""
    found = {suffix: each["seconds_a_gigabyte"] for suffix, each in result["formats"].items()}
    spent_by = report.markdown_table(
        ("processor seconds a GB of text", *found),
        [
            *(
                (name, *(f"{seconds[key]:,.1f}" for seconds in found.values()))
                for name, key in (
                    ("a part: its workers tokenise", "part: workers"),
                    ("a part: one process reads and writes", "part: here"),
                    ("merge: its workers drop duplicates and write shards", "merge: workers"),
                    ("merge: one process joins and hashes", "merge: here"),
                )
            ),
            ("reading alone", *(f"{each['reading_alone']:,.1f}" for each in result["formats"].values())),
            *(
                (f"share of {what} that one process does", *(f"{shares(each)[what]:.2%}" for each in found.values()))
                for what in ("a part", "the whole")
            ),
        ],
    )
    estimated = report.markdown_table(
        ("hours for 140 GB, estimated", *found),
        [(name, *(f"{hours(each, *size):.1f}" for each in found.values())) for name, *size in MACHINES],
    )
    first = next(iter(result["formats"].values()))
    return (
        "# A corpus made in parts\n\n"
        f"{first['text_bytes'] / 1e6:,.0f} MB of French texts ({first['documents']:,} documents, "
        f"{first['tokens']:,} tokens of a vocabulary of {result['vocabulary']:,}) as `--part 1/1 --processes "
        f"{PROCESSES}` and `--merge`, by `python -m benchmarks.cost.corpus_parts`. Processor seconds; what a corpus of "
        f"two documents costs is subtracted.\n\n{spent_by}\n\n"
        "One process reads a part and writes its blocks: more parts are more such processes, so that only what the "
        "merge does in one process is serial for the whole. A single file that is divided is read by each part up to "
        "its share: the last part reads all of it.\n\n"
        "## Estimated, not measured\n\n"
        "From the seconds above: a part a machine, as many processes as cores, joined on one machine; cores as fast as "
        "this one, disks that keep up.\n\n"
        f"{estimated}\n\n{report.machine_line(result['environment'])}\n"
    )


if __name__ == "__main__":
    main()
