"""Nothing in a step of a distillation waits for the device, and what is read a step later is what was read at once."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flue_bench.errors import ModelError
from flue_bench.training import checkpoint
from flue_bench.training.device import Device
from flue_bench.training.waits import KnownMask, Later
from flue_distill.training import trainer
from flue_distill.training.log import LOG, read_log
from flue_distill.training.trainer import CHECKPOINTS
from support import distilling
from support.distilling import distil
from support.waits import WaitedError, ahead

MEASURED = ("tokens_per_second", "memory_bytes")
"""Of a log's line: what differs between two equal runs."""


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "running_ahead", lambda self, mask, full: KnownMask(mask, full))
    monkeypatch.setattr(Device, "steps_ahead", 1)


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sequences end in padding, so that batches have attention masks."""
    whole = distilling.data()
    for row in whole.train[::3]:
        row[-5:] = whole.pad_id
    monkeypatch.setattr(distilling, "data", lambda: whole)


def waits(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> int:
    """Steps that were queued until something waited."""
    steps: list[int] = []
    real = trainer._Queued

    def queued(step: int, *more: Any) -> Any:
        steps.append(step)
        return real(step, *more)

    monkeypatch.setattr(trainer, "_Queued", queued)
    monkeypatch.setattr(trainer, "evaluate", lambda *_: {})
    with pytest.raises(WaitedError), ahead(later=True):  # at the latest when the last step is read
        distil(folder, dict(steps=5, **settings))
    return len(steps)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("settings", [{}, {"teacher": None}, {"kl_rows": "masked"}, {"batch_sequences": 4}])
def test_no_step_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padded: None, settings: dict[str, Any]) -> None:
    assert waits(tmp_path, monkeypatch, **settings) == 5


def test_a_loss_read_in_its_own_step_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(tmp_path, monkeypatch) == 1  # as on a CPU, where nothing is behind


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_mask_read_by_transformers_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padded: None) -> None:
    monkeypatch.setattr(Device, "running_ahead", lambda *_, **__: nullcontext())
    assert waits(tmp_path, monkeypatch) == 0


def logged(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in read_log(folder / LOG)]


def test_a_step_later_the_same_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and log, with evaluations and checkpoints between steps, are the same to the bit."""
    settings = dict(steps=7, evaluate_steps=3, checkpoint_seconds=0, learning_rate=1e-2)
    shown: dict[str, list[int]] = {"now": [], "later": []}
    now, _ = distil(tmp_path / "now", settings, show=lambda step, *_: shown["now"].append(step))
    monkeypatch.setattr(Device, "steps_ahead", 1)
    later, trained = distil(tmp_path / "later", settings, show=lambda step, *_: shown["later"].append(step))
    assert now.keys() == later.keys() and all(np.array_equal(now[name], later[name]) for name in now)
    assert logged(tmp_path / "now") == logged(tmp_path / "later")
    assert shown["now"] == shown["later"] == [1, 2, 3, 4, 5, 6, 7]
    assert trained.steps == 7 and trained.seconds > 0
    assert all(line["tokens_per_second"] > 0 for line in read_log(tmp_path / "later" / LOG) if "loss" in line)


def test_a_checkpoint_has_the_lines_of_all_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed just after any checkpoint has lost none."""
    monkeypatch.setattr(Device, "steps_ahead", 1)
    real, seen = checkpoint.save_step, []

    def save(folder: Path, step: int, state: dict[str, Any]) -> None:
        real(folder, step, state)
        seen.append((step, [line["step"] for line in read_log(tmp_path / LOG) if "loss" in line]))

    monkeypatch.setattr(checkpoint, "save_step", save)
    distil(tmp_path, dict(steps=4, checkpoint_seconds=0))
    assert seen == [(step, list(range(1, step + 1))) for step in range(1, 5)]


@pytest.mark.parametrize("steps_ahead", [0, 1])
@pytest.mark.parametrize(("seconds", "kept"), [(0, [1, 2]), (1000, [])])
def test_broken_steps_are_in_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_ahead: int, seconds: int, kept: list[int]
) -> None:
    """Found a step later, the last that is allowed is named all the same, and nothing that came after is kept."""
    monkeypatch.setattr(Device, "steps_ahead", steps_ahead)
    monkeypatch.setattr(trainer, "MOST_SKIPPED", 2)
    real, calls = trainer.Objective.forward, 0

    def forward(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        loss, parts = real(self, *arguments)
        return (loss * float("nan"), parts * float("nan")) if calls >= 5 else (loss, parts)  # two a step: the third

    monkeypatch.setattr(trainer.Objective, "forward", forward)
    with pytest.raises(
        ModelError,
        match="2 steps in a row not finite, the last at step 4 of 6 (.|\n)*" + ("step-0*2:" if kept else "No check"),
    ):
        distil(tmp_path, dict(steps=6, checkpoint_seconds=seconds))
    assert [line["step"] for line in logged(tmp_path) if "loss" in line] == [1, 2]
    assert [line["step"] for line in logged(tmp_path) if "not_finite" in line] == [3, 4]
    states = [checkpoint.load(path) for path in checkpoint.steps(tmp_path / CHECKPOINTS)]
    assert [state["step"] for state in states if state] == kept


def test_values_are_read_as_they_were() -> None:
    values = torch.tensor([0.1, float("inf"), 3.0])
    assert Later(values).read() == values.tolist()
