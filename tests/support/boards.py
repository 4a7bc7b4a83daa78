"""A results folder with real predictions: what intervals, confusion matrices and the HTML board are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flue_bench.record import RunRecord
from flue_bench.results.store import Store
from support.factories import make_record, make_speed
from support.right import NOT_INSTALLED, right_record

LABELS = {
    "paws-x": ("different", "paraphrase"),
    "xnli": ("entailment", "neutral", "contradiction"),
    "wikiner": ("O", "LOC", "PER", "MISC", "ORG"),
}


def write_run(
    store: Store,
    model: str,
    task: str,
    seed: int,
    right: float,
    rows: int = 120,
    only: int | None = None,
    **more: Any,
) -> RunRecord:
    """A run whose predictions are right with this probability, kept in the store as ``flue-bench run`` keeps it.

    With ``only`` it is one that collapsed, and predicts this label throughout. All that ``verify`` looks at fits, but
    the data are not those of the installed task of that name: of a version that is not installed, unless it is given.

    What is hard is hard for every model: examples share a difficulty.
    """
    labels = LABELS[task]
    shared = np.random.default_rng(0)
    words = shared.integers(4, 9, rows) if task == "wikiner" else np.ones(rows, np.int64)
    n = int(words.sum())
    gold = shared.integers(len(labels), size=n)
    difficulty = shared.random(n)
    own = np.random.default_rng([seed, *model.encode()])
    wrong = 0.7 * difficulty + 0.3 * own.random(n) > right
    predicted = np.where(wrong, (gold + own.integers(1, len(labels), n)) % len(labels), gold)
    if only is not None:
        predicted = np.full(n, only)
    columns: dict[str, Any] = {
        "id": [f"test-{i}" for i in range(rows)],
        "group": [f"g{i // 2}" for i in range(rows)],
        "gold": gold.tolist(),
        "predicted": predicted.tolist(),
    }
    if task == "wikiner":
        cut = np.cumsum(words)[:-1]
        columns |= {name: [part.tolist() for part in np.split(columns[name], cut)] for name in ("gold", "predicted")}
        columns["subwords"] = [[1] * int(count) for count in words]
    made = make_record(model, task, seed, **{"task_version": NOT_INSTALLED, **more})
    return right_record(store, made.model_copy(update={"labels": labels}), columns, own)


RIGHT = (0.70, 0.76, 0.73)
"""How often each of three distillations is right."""


def distillations(store: Store) -> str:
    """A teacher, three distillations of one recipe (two of them on PAWS-X), and one of another, with three seeds each.

    Returns the teacher's digest.
    """
    taught = ""
    for task in ("xnli", "paws-x"):
        for seed in range(3):
            taught = write_run(store, "maitre", task, seed, 0.85).cell.model.digest
            for i, right in enumerate(RIGHT):
                if (task, i) != ("paws-x", 2):
                    write_run(store, f"eleve-{i}", task, seed, right, teacher=taught, distilled=("a", i))
            write_run(store, "seul", task, seed, 0.7, teacher=taught, distilled=("b", 0))
    return taught


def scores_on_xnli(root: Path, model: str) -> list[float]:
    """Macro-F1 of a model's runs."""
    return [
        record.scores["f1_macro"]
        for record in Store(root).records()
        if (record.cell.model.name, record.cell.task) == (model, "xnli")
    ]


def teacher_and_student(root: Path, teacher: str = "org/maitre", student: str = "org/eleve", seeds: int = 3) -> Store:
    """Two models on three tasks, a speed for each, and a third model as good as the teacher with one seed less."""
    store = Store(root)
    for task in LABELS:
        for seed in range(seeds):
            taught = write_run(store, teacher, task, seed, 0.85, parameters=110_000_000, weights_bytes=440_000_000)
            write_run(
                store,
                student,
                task,
                seed,
                0.78,
                parameters=68_000_000,
                weights_bytes=272_000_000,
                teacher=taught.cell.model.digest,
            )
            if seed:
                write_run(store, "autre", task, seed, 0.845, parameters=110_000_000)
    for name, speed in ((teacher, 41.0), (student, 79.0)):
        store.write_speed(make_speed(name, speed, device="Some CPU @ 2.10GHz"))
    return store
