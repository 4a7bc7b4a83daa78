"""Fine-tuning in fp16: a loss scale that finds its size, kept in the checkpoint, and the same training otherwise."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from flue_bench.recipe import Recipe
from flue_bench.record import Cell
from flue_bench.training import checkpoint, scale
from flue_bench.training.device import Device
from flue_bench.training.train import fine_tune
from support.factories import make_cell
from support.networks import CPU, accuracy, network, sentences, weights

HALF = Device(torch.device("cpu"), "fp16", "")


def trained(folder: Path, device: Device = HALF, stop: int = 0, **changes: Any) -> torch.Tensor:
    data, model = sentences(64), network()
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "selection": "last", **changes}
    recipe = Recipe(precision=device.precision, **settings)

    def interrupt(progress: Any) -> None:
        if progress.step == stop:
            signal.raise_signal(signal.SIGTERM)

    fine_tune(model, data, recipe, 0, device, accuracy(data), "accuracy", folder, show=interrupt)
    return weights(model)


def test_it_is_near_float32(tmp_path: Path) -> None:
    half, single = trained(tmp_path / "half"), trained(tmp_path / "single", CPU)
    assert not torch.equal(half, single)
    assert float((half - single).norm() / single.norm()) < 5e-3


@pytest.mark.parametrize("stop", [2, 9])
def test_it_is_resumed_to_the_bit(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "FIRST", 2.0**30)  # so large that the first steps are left out
    monkeypatch.setattr(scale, "EVERY", 3)
    whole = trained(tmp_path / "whole")
    with pytest.raises(SystemExit):
        trained(tmp_path / "cut", stop=stop)
    state = checkpoint.load(tmp_path / "cut")
    assert state is not None and state["scale"]["value"] != 2.0**30
    assert torch.equal(trained(tmp_path / "cut"), whole)


def test_a_step_that_overflows_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "FIRST", 2.0**120)
    untrained = weights(network())
    assert torch.equal(trained(tmp_path, epochs=1), untrained)  # eight steps do not halve that enough


def test_a_record_of_it_is_none_that_the_first_release_reads() -> None:
    content = make_cell().model_dump()
    assert Cell.model_validate(content).schema_version == 1
    half = Cell.model_validate(content | {"recipe": content["recipe"] | {"precision": "fp16"}})
    assert half.schema_version == 2 and half.digest != Cell.model_validate(content).digest
