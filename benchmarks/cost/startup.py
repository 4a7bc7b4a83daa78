"""How long does the command line take to start, and what does it import on the way? ``--help``, and a board.

    python -m benchmarks.cost.startup

The board is of ``--records`` records: those of ``--source`` and copies of them with other seeds, in a folder of their
own; it is drawn once before, which computes the intervals that it then reads (that time is given too). Every command
runs in a process of its own, in turns with an empty Python. Processor time says more where others use the same cores.
The tables go to ``--results``/performance/startup.md and startup.json.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import processes, report
from flue_bench.record import Predictions, RunRecord
from flue_bench.results.store import Store, read_predictions
from flue_bench.training.device import pick_device, prepare

HEAVY = ("torch", "transformers", "evaluate", "datasets", "sklearn", "scipy", "pyarrow", "pydantic", "numpy")
TARGETS = {"--help": 0.3, "leaderboard": 1.0}
"""Seconds."""
ENTRIES = 15


def fill(source: Path, folder: Path, records: int) -> None:
    """Copy records, each with its predictions, until there are ``records`` of them."""
    store, kept = Store(folder), Store(source)
    known = kept.records()
    rounds = ((record, seed) for seed in count() for record in known)
    for number, (record, seed) in zip(range(records), rounds, strict=False):
        cell = record.cell.model_copy(update={"seed": 100 * seed + record.cell.trained.seed})

        def build(
            predictions: Predictions, record: RunRecord = record, cell: Any = cell, number: int = number
        ) -> RunRecord:
            return record.model_copy(update={"cell": cell, "cell_digest": cell.digest, "predictions": predictions})

        store.write(build, read_predictions(record, kept.folder(record.cell)), cell)


def timed(*words: str) -> dict[str, float]:
    """Return the wall and processor seconds of ``python …``."""
    began, before = time.perf_counter(), os.times()
    processes.python(*words)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "processor": used}


def imports(*words: str) -> list[dict[str, Any]]:
    """Return the modules a command imports, in order, with microseconds alone and with what they import."""
    done = processes.python("-X", "importtime", *words)
    lines = re.findall(r"^import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)$", done.stderr, re.M)
    return [
        {"name": name, "self": int(alone), "cumulative": int(whole), "depth": len(indent) // 2}
        for alone, whole, indent, name in lines
    ]


def top(modules: list[dict[str, Any]]) -> list[list[str]]:
    """Return the packages whose own modules take longest."""
    packages: dict[str, list[int]] = {}
    for each in modules:
        packages.setdefault(each["name"].partition(".")[0], []).append(each["self"])
    ranked = sorted(packages.items(), key=lambda item: -sum(item[1]))[:ENTRIES]
    return [[name, f"{len(times)}", f"{sum(times) / 1000:.0f}"] for name, times in ranked]


def graph(modules: list[dict[str, Any]]) -> str:
    """Return the other packages that our modules import, as a tree of the costly branches (10 ms and more)."""
    lines = [
        f"{'  ' * each['depth']}{each['name']} {each['cumulative'] / 1000:.0f} ms"
        for each in reversed(modules)  # a module is listed after what it imports
        if each["cumulative"] >= 10_000 and each["depth"] <= 3
    ]
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """Return the tables."""
    rows = []
    for name, rounds in result["seconds"].items():
        wall, processor = ([each[key] for each in rounds] for key in ("wall", "processor"))
        target = f"{TARGETS[name]:g}" if name in TARGETS else ""
        spread = f"{min(wall):.2f} ({median(wall):.2f}, {max(wall):.2f})"
        rows.append([name, spread, f"{min(processor):.2f} ({median(processor):.2f})", target])
    text = f"""# Start-up

Seconds of a whole process: the least of {result["rounds"]}, the one that other work on the same cores held up least
(then the median and the most). `leaderboard` is of {result["records"]} records; the first one, which computes its
intervals, took {result["first"]["wall"]:.1f} s, {result["first"]["processor"]:.1f} of the processor.

{report.markdown_table(["command", "wall", "processor", "target"], rows)}

{report.machine_line(result["machine"])}
"""
    for name, modules in result["imports"].items():
        loaded = {each["name"].partition(".")[0] for each in modules}
        there = [package for package in HEAVY if package in loaded]
        text += f"\n## What `{name}` imports\n\n{len(modules)} modules. Of {', '.join(HEAVY)}: "
        text += f"{', '.join(there) or 'none'}.\n\n"
        text += report.markdown_table(["package", "modules", "ms, by `-X importtime`"], top(modules))
        text += f"\n\n```text\n{graph(modules)}\n```\n"
    return text


def main() -> None:
    """Measure, then write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100, help="records on the board (default: 100)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to measure (default: 9)")
    parser.add_argument(
        "--source",
        type=Path,
        default=Path("results/embedded"),
        help="results to copy records from (default: results/embedded)",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        fill(arguments.source, Path(temporary), arguments.records)
        board = ("-m", "flue_bench", "leaderboard", "--results", temporary)
        commands = {"python": ("-c", ""), "--help": ("-m", "flue_bench", "--help"), "leaderboard": board}
        first = timed(*board)
        rounds = [{name: timed(*words) for name, words in commands.items()} for _ in range(arguments.rounds)]
        result = {
            "records": arguments.records,
            "rounds": arguments.rounds,
            "machine": report.versions(prepare(pick_device("cpu"), "fp32", 0)),
            "first": first,
            "seconds": {name: [each[name] for each in rounds] for name in commands},
            "imports": {name: imports(*words) for name, words in commands.items() if name != "python"},
        }
    text = markdown(result)
    result["imports"] = {name: top(modules) for name, modules in result["imports"].items()}
    report.write(arguments.results / "performance", "startup", result, text)
    print(text)


if __name__ == "__main__":
    main()
