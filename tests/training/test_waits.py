"""Nothing in a training step waits for the device: operations that read a value back are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from flue_bench.recipe import Recipe
from flue_bench.training import train
from flue_bench.training.device import Device
from flue_bench.training.waits import KnownMask
from support.networks import CPU, sentences
from support.tiny import KINDS, tiny

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim"}
"""Operations for whose result, or for whose result's shape, the processor has to wait."""
OWN_READS = {"flaubert"}  # its model asserts on the longest row, by itself


class WaitedError(Exception):
    """The processor would have waited."""


class Ahead(TorchDispatchMode):
    """Refuses what would wait on a device that is behind the processor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name == "index" and any(each is not None and each.dtype == torch.bool for each in args[1])
        if name in READS or masked:
            raise WaitedError(name)
        return func(*args, **(kwargs or {}))


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
    with Ahead(), pytest.raises(WaitedError):  # at the latest by the mean loss of the epoch
        train.fine_tune(
            network, data, recipe, 0, CPU, lambda _: {"accuracy": 0.0}, "accuracy", folder / "checkpoint", shown
        )
    return steps


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - OWN_READS))
def test_no_step_waits(kind: str, tmp_path: Path, as_on_a_gpu: None) -> None:
    assert steps_of(kind, tmp_path) == [1, 2, 3, 4]


def test_transformers_alone_would_wait(tmp_path: Path) -> None:
    assert steps_of("camembert", tmp_path) == []


def test_a_loss_read_at_every_step_is_found(tmp_path: Path, as_on_a_gpu: None) -> None:
    assert steps_of("camembert", tmp_path, lambda at: math.isfinite(at.loss())) == [1]


def test_the_answer_is_that_of_the_mask() -> None:
    for full, mask in ((True, torch.ones(2, 3)), (False, torch.tensor([[1, 1], [1, 0]]))):
        with KnownMask(mask, full), Ahead():
            assert mask.to(torch.bool).all() is full and mask.bool().all() is full
        with KnownMask(mask, full):
            assert (mask == 2).all().item() is False and mask.all(dim=1).shape == (2,)
