"""Models made of their predictions: records with real predictions files beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from flue_bench.record import RunRecord
from flue_bench.results.store import Store
from support.factories import make_record
from support.right import NOT_INSTALLED, right_record

CLASSES = ("négatif", "neutre", "positif")


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


Ints = NDArray[np.int64]


def keep(root: Path, columns: dict[str, Any], **record: Any) -> RunRecord:
    """Write predictions and the record that names them."""
    read_as = {name: record.pop(name) for name in ("kind", "labels", "scheme") if name in record}
    rows = record.pop("test_rows", None)
    made = make_record(**{"task_version": NOT_INSTALLED, **record}).model_copy(update={"scheme": None} | read_as)
    named = f"{made.cell.model.name} {made.cell.task}"  # probabilities of their own: no two of them are one run
    draw = np.random.default_rng([made.cell.seed, *named.encode()])
    return right_record(Store(root), made, columns, draw, rows)


def sentences(
    root: Path,
    model: str,
    seed: int,
    accuracy: float,
    examples: int = 120,
    each: int = 1,
    order: Ints | None = None,
    prefix: str = "g",
    only: int | None = None,
    **record: Any,
) -> RunRecord:
    """A model's predictions on a test set that all models share; ``each`` examples form a group.

    With ``only`` it collapsed, and predicts this label throughout.

    Most of an example's difficulty is the same for all models and seeds.
    """
    fixed, rng = np.random.default_rng(0), np.random.default_rng([seed, sum(map(ord, model))])
    gold, difficulty = fixed.integers(0, 3, examples), fixed.random(examples)
    difficulty = np.where(rng.random(examples) < 0.7, difficulty, rng.random(examples))
    predicted = np.where(difficulty < accuracy, gold, (gold + 1) % 3) if only is None else np.full(examples, only)
    order = np.arange(examples) if order is None else order
    table = {
        "id": [f"test-{i:04}" for i in order],
        "group": [f"{prefix}{crc32(f'{prefix}{i // each}'.encode())}" for i in order],
        "gold": gold[order].tolist(),
        "predicted": predicted[order].tolist(),
    }
    return keep(root, table, model=model, seed=seed, kind="sentence", labels=CLASSES, **record)


def tagged(root: Path, seed: int, examples: int = 80, **record: Any) -> tuple[RunRecord, list[Any], list[Any]]:
    """The same for a tagging task; and gold and predicted tags."""
    rng = np.random.default_rng(seed)
    gold = [np.random.default_rng(i).integers(0, len(TAGS), 2 + i % 9).tolist() for i in range(examples)]
    predicted = [[t if rng.random() < 0.8 else int(rng.integers(0, len(TAGS))) for t in sentence] for sentence in gold]
    subwords = [[1 + word % 3 for word in range(len(sentence))] for sentence in gold]
    table = {
        "id": [f"test-{i:04}" for i in range(examples)],
        "group": [f"g{i}" for i in range(examples)],
        "gold": gold,
        "predicted": predicted,
        "subwords": subwords,
    }
    made = keep(root, table, task="wikiner", seed=seed, kind="tokens", labels=TAGS, scheme="IOB2", **record)
    return made, gold, predicted


def seeds(root: Path, model: str, accuracies: Iterable[float], **record: Any) -> list[RunRecord]:
    return [sentences(root, model, seed, accuracy, **record) for seed, accuracy in enumerate(accuracies)]
