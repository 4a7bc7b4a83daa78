"""Preparation of a task and a model, and the options that benchmarks have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flue_bench.data import registry, sources
from flue_bench.kinds.network.network import Encoded, network_of
from flue_bench.task import SPLITS, Example, Split, Task
from flue_bench.training import models
from flue_bench.training.models import Resolved

TASKS = Path(__file__).resolve().parents[1] / "tasks"


@dataclass(frozen=True)
class Work:
    """A task's examples and the model that reads them."""

    task: Task
    model: Resolved
    tokenizer: Any
    splits: dict[Split, list[Example]]

    def encode(self, split: Split, max_length: int, rows: Sequence[int] | None = None) -> Encoded:
        """Return a split's sub-word ids, of the given rows only if any are given."""
        examples = self.splits[split] if rows is None else [self.splits[split][row] for row in rows]
        return network_of(self.task).encode(examples, self.task, self.tokenizer, max_length)


def load(task: str, model: str, data_dir: Path | None, limit: int | None = None) -> Work:
    """Prepare a task and a model; ``limit`` keeps the examples that ``flue-bench run --limit`` keeps."""
    registered = registry.select([task_file(task)])[0]
    resolved = models.resolve(model, offline=True)
    splits = sources.load(registered, data_dir=data_dir, offline=True).splits
    if limit is not None:
        splits = {split: sources.limited(splits[split], limit) for split in SPLITS}
    return Work(registered.task, resolved, models.load_tokenizer(resolved), splits)


def task_file(name: str) -> str:
    """Return the path of one of our task files by its name; any other name (a path, an installed task) unchanged."""
    ours = TASKS / f"{name}.toml"
    return str(ours) if ours.is_file() else name


def parser(description: str | None, tasks: Sequence[str], models: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser with the common options; with default ``models`` it accepts several."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    model: dict[str, Any] = {"nargs": "+", "default": list(models)} if models else {"required": True}
    parser.add_argument("--model", help="folder, embedded:NAME, or hub id in the cache", **model)
    parser.add_argument("--data-dir", type=Path, help="folder of the tasks' data")
    known = ", ".join(sorted(file.stem for file in TASKS.glob("*.toml")))
    parser.add_argument("--tasks", nargs="+", default=list(tasks), metavar="TASK", help=f"{known}, or a task file")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return parser
