"""Reports of the benchmarks: environment, tables, files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from flue_bench import files
from flue_bench.training.device import Device, environment


def versions(device: Device) -> dict[str, Any]:
    """Return the machine and the versions of a measurement."""
    here = environment(device).model_dump(mode="json")
    here["packages"]["accelerate"] = version("accelerate")
    if hasattr(os, "getloadavg"):
        here["load"] = os.getloadavg()[0]
    return here | {"cuda": torch.version.cuda, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY")}


def machine_line(here: dict[str, Any]) -> str:
    """Return ``versions`` as a line of Markdown."""
    packages = ", ".join(f"{name} {here['packages'][name]}" for name in ("torch", "transformers", "accelerate"))
    load = f", load {here['load']:.1f} on {os.cpu_count()} cores" if "load" in here else ""
    commit = f" at {here['commit'][:10]}{' (with changes)' if here['dirty'] else ''}" if here["commit"] else ""
    return (
        f"{here['device']}, {here['threads']} threads (OMP_WAIT_POLICY {here['OMP_WAIT_POLICY'] or 'unset'}){load}; "
        f"Python {here['python']}, {packages}, flue-bench {here['flue_bench']}{commit}."
    )


def exponent(sizes: tuple[float, float], seconds: tuple[float, float]) -> str:
    """Return the exponent of the growth from one size to the next: 1 is linear, 2 quadratic, 0 no growth."""
    return f"{math.log(seconds[1] / seconds[0]) / math.log(sizes[1] / sizes[0]):.2f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column left-aligned, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(folder: Path, stem: str, result: Any, text: str) -> None:
    """Write ``stem.json`` and ``stem.md`` to ``folder``."""
    write_json(folder / f"{stem}.json", result)
    files.write(folder / f"{stem}.md", text.encode(), folder)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, so that an interrupted benchmark leaves no partial file."""
    files.write(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode(), path.parent)
