"""What all simulations ask for on the command line, and settings simulated one after another, kept as they are made."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, report

RESULTS = ROOT / "results" / "statistics"


def arguments(doc: str | None, rounds: int, of: str) -> argparse.Namespace:
    """Return ``rounds``, of what each setting has so many, and ``out``, the folder to write to."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"{of} of each setting (default: {rounds})")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to (default: results/statistics)")
    return parser.parse_args()


def in_turn(
    asked: argparse.Namespace,
    stem: str,
    settings: Sequence[Any],
    simulate: Callable[[int, int], dict[str, Any]],
    markdown: Callable[[list[dict[str, Any]]], str],
) -> None:
    """Simulate setting after setting with ``simulate(rounds, number)``; an interrupted run goes on after the last."""
    kept = asked.out / f"{stem}.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    for number in range(len(rows), len(settings)):
        began = time.perf_counter()
        rows.append(simulate(asked.rounds, number))
        print(f"{settings[number]}: {time.perf_counter() - began:.0f} s", flush=True)
        report.write(asked.out, stem, rows, markdown(rows))
