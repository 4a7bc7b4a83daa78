"""What the benchmarks share: a task and a model made ready, common options, and how results are kept."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from flue_bench.data import registry, sources
from flue_bench.task import SPLITS, Example, Split, Task
from flue_bench.training import models
from flue_bench.training.device import Device, environment
from flue_bench.training.encode import Encoded, encode
from flue_bench.training.models import Resolved

TASKS = Path(__file__).resolve().parent / "tasks"


@dataclass(frozen=True)
class Work:
    """A task's examples as one model reads them."""

    task: Task
    model: Resolved
    tokenizer: Any
    splits: dict[Split, list[Example]]

    def encode(self, split: Split, max_length: int, rows: Sequence[int] | None = None) -> Encoded:
        """A split's sub-word ids; of these rows only, if given."""
        examples = self.splits[split] if rows is None else [self.splits[split][row] for row in rows]
        return encode(examples, self.task, self.tokenizer, max_length)


def load(task: str, model: str, data_dir: Path | None, limit: int | None = None) -> Work:
    """Make a task and a model ready; ``limit`` leaves the examples that ``flue-bench run --limit`` leaves."""
    registered = registry.select([task_file(task)])[0]
    resolved = models.resolve(model, offline=True)
    splits = sources.load(registered, data_dir=data_dir, offline=True).splits
    if limit is not None:
        from flue_bench.jobs.runner import limited  # wants pyarrow, which the speed benchmark does without

        splits = {split: limited(splits[split], limit) for split in SPLITS}
    return Work(registered.task, resolved, models.load_tokenizer(resolved), splits)


def task_file(name: str) -> str:
    """A task file of ours by its name; any other name (a path, an installed task) as it is."""
    ours = TASKS / f"{name}.toml"
    return str(ours) if ours.is_file() else name


def parser(description: str | None, tasks: Sequence[str], models: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The options that all benchmarks have; those with default ``models`` take several."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    model: dict[str, Any] = {"nargs": "+", "default": list(models)} if models else {"required": True}
    parser.add_argument("--model", help="directory, embedded:NAME, or hub id in the cache", **model)
    parser.add_argument("--data-dir", type=Path, help="where the tasks' data lies")
    known = ", ".join(sorted(file.stem for file in TASKS.glob("*.toml")))
    parser.add_argument("--tasks", nargs="+", default=list(tasks), metavar="TASK", help=f"{known}, or a task file")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return parser


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
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{stem}.json", result)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """In one step, so that an interrupted benchmark leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    staged.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    staged.replace(path)
