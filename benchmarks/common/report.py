"""How the benchmarks keep what they find: with what it was measured, tables, files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from flue_bench import files
from flue_bench.training.device import Device, environment


def versions(device: Device) -> dict[str, Any]:
    """Where and with what something was measured."""
    here = environment(device).model_dump(mode="json")
    here["packages"]["accelerate"] = version("accelerate")
    return here | {"cuda": torch.version.cuda, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY")}


def machine_line(here: dict[str, Any]) -> str:
    """``versions`` in a line of Markdown."""
    packages = ", ".join(f"{name} {here['packages'][name]}" for name in ("torch", "transformers", "accelerate"))
    commit = f" at {here['commit'][:10]}{' (with changes)' if here['dirty'] else ''}" if here["commit"] else ""
    return (
        f"{here['device']}, {here['threads']} threads (OMP_WAIT_POLICY {here['OMP_WAIT_POLICY'] or 'unset'}); "
        f"Python {here['python']}, {packages}, flue-bench {here['flue_bench']}{commit}."
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is left-aligned, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(folder: Path, stem: str, result: Any, text: str) -> None:
    """Keep ``stem.json`` and ``stem.md`` in ``folder``."""
    write_json(folder / f"{stem}.json", result)
    files.write(folder / f"{stem}.md", text.encode(), folder)


def write_json(path: Path, value: Any) -> None:
    """In one step, so that an interrupted benchmark leaves no half file."""
    files.write(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode(), path.parent)
