"""How much is computed for a kind's rows: as many steps as transformers' Trainer takes, and no more positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from flue_bench.kinds.multi_label import Several
from flue_bench.kinds.multiple_choice import Question
from flue_bench.kinds.question_answering import Asked
from flue_bench.kinds.regression import Measured
from flue_bench.task import Example, Source, Task
from flue_bench.training import models
from flue_bench.training.batches import training_batches
from support.networks import encode
from support.tiny import SENTENCES, tiny

BATCH = 8
ROWS = 240


def _task(kind: str, metric: str, labels: tuple[str, ...] = (), **options: Any) -> Task:
    source = (Source(files={"train": "a.csv"}),)
    return Task(name="t", kind=kind, metric=metric, labels=labels, options=options, source=source)


def _text(rng: np.random.Generator) -> str:
    return " ".join(SENTENCES[rng.integers(125)].split()[: rng.integers(1, 12)])


CASES: dict[str, tuple[Task, Callable[[np.random.Generator], Example]]] = {
    "regression": (
        _task("regression", "pearson", range=[0, 5]),
        lambda rng: Measured("", "", _text(rng), _text(rng), value=float(rng.integers(6))),
    ),
    "multi-label": (
        _task("multi-label", "f1_micro", ("a", "b")),
        lambda rng: Several("", "", _text(rng), labels=(1,)),
    ),
    "multiple-choice": (
        _task("multiple-choice", "accuracy", ("A", "B", "C")),
        lambda rng: Question("", "", _text(rng), label=0, choices=tuple(_text(rng) for _ in range(3))),
    ),
    "question-answering": (  # whose rows are windows
        _task("question-answering", "f1", stride=8),
        lambda rng: Asked("", "", question=_text(rng), context=" ".join(_text(rng) for _ in range(rng.integers(1, 9)))),
    ),
}


def _positions(data: Any, batches: Sequence[Sequence[int]]) -> int:
    return sum(data.batch(rows, torch.device("cpu")).inputs["input_ids"].numel() for rows in batches)


@pytest.mark.parametrize("kind", CASES)
def test_no_more_than_trainer_grouped_by_length(kind: str, tmp_path: Path) -> None:
    task, example = CASES[kind]
    rng = np.random.default_rng(0)
    tokenizer = models.load_tokenizer(models.resolve(str(tiny("camembert", tmp_path / "m"))))
    data = encode([example(rng) for _ in range(ROWS)], task, tokenizer, 64)
    ours = training_batches(data.lengths, BATCH, 0, 0)
    generator = torch.Generator().manual_seed(0)
    order = list(LengthGroupedSampler(BATCH, lengths=data.lengths.tolist(), generator=generator))
    theirs = [order[i : i + BATCH] for i in range(0, len(data), BATCH)]
    assert sorted(row for rows in ours for row in rows) == sorted(order) and len(ours) == len(theirs)
    assert len(data) > ROWS if kind == "question-answering" else len(data) == ROWS
    computed, real = _positions(data, ours), len(data.ids)
    assert computed <= _positions(data, theirs)
    if kind != "multiple-choice":  # whose choices are of one batch, however long each is
        assert computed < 1.1 * real
