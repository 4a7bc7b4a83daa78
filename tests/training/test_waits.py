"""Nothing in a training step waits for the device: operations that read a value back are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from flue_bench.recipe import Recipe
from flue_bench.training import train
from flue_bench.training.device import Device
from flue_bench.training.waits import KnownMask, row_lengths
from support.networks import CPU, sentences
from support.tiny import KINDS, tiny
from support.waits import WaitedError, ahead


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "running_ahead", lambda self, mask, full: KnownMask(mask, full))


def steps_of(kind: str, folder: Path, show: Callable[[train.Progress], None] = lambda _: None) -> list[int]:
    """Steps of an epoch until something waits."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tiny(kind, folder / kind), num_labels=3)
    data, steps = sentences(16), []
    data.ids[:] = data.ids % 20 + 5

    def shown(at: train.Progress) -> None:
        steps.append(at.step)
        show(at)

    recipe = Recipe(epochs=1, batch_size=4, precision="fp32")
    with pytest.raises(WaitedError), ahead() as played, pytest.MonkeyPatch.context() as patched:
        # At the latest the mean loss of the epoch waits.
        patched.setattr(train, "row_lengths", lambda *given: played.stays(row_lengths(*given)))
        train.fine_tune(
            network, data, recipe, 0, CPU, lambda _: {"accuracy": 0.0}, "accuracy", folder / "checkpoint", shown
        )
    return steps


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_step_waits(kind: str, tmp_path: Path, as_on_a_gpu: None) -> None:
    assert steps_of(kind, tmp_path) == [1, 2, 3, 4]


def test_transformers_alone_would_wait(tmp_path: Path) -> None:
    assert steps_of("camembert", tmp_path) == []


def test_a_loss_read_at_every_step_is_found(tmp_path: Path, as_on_a_gpu: None) -> None:
    assert steps_of("camembert", tmp_path, lambda at: math.isfinite(at.loss())) == [1]


def test_the_answer_is_that_of_the_mask() -> None:
    for full, mask in ((True, torch.ones(2, 3)), (False, torch.tensor([[1, 1], [1, 0]]))):
        with KnownMask(mask, full), ahead():
            assert mask.to(torch.bool).all() is full and mask.bool().all() is full
        with KnownMask(mask, full):
            assert (mask == 2).all().item() is False and mask.all(dim=1).shape == (2,)
