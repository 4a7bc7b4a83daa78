"""Position embeddings that are left as they are: to the bit, whatever else the training does."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from flue_bench.errors import UsageError
from flue_bench.training import checkpoint
from flue_distill.training.families import FAMILIES
from flue_distill.training.student import from_config
from flue_distill.training.trainer import CHECKPOINTS
from support import distilling
from support.distilling import VOCABULARY, distil

RELATIVE = {"deberta-v2", "modernbert"}
"""Families whose published models have no position embeddings: there is nothing to freeze."""
FROZEN: dict[str, Any] = dict(freeze_positions=True, steps=6, learning_rate=1e-2, weight_decay=0.5)
"""A large step and a large decay: what they touch at all is moved by them."""


def position(weights: dict[str, Any]) -> str:
    (name,) = [name for name in weights if "position_embeddings" in name]
    return name


def moved(weights: dict[str, Any], before: dict[str, Any]) -> set[str]:
    return {name for name in weights if not np.array_equal(weights[name], before[name])}


def start(folder: Path) -> dict[str, Any]:
    """The student before its first step: its learning rate is 0 there, in warm-up."""
    weights, _ = distil(folder, dict(steps=1, warmup_ratio=0.9))
    return weights


def stopped(folder: Path, at: int, settings: dict[str, Any]) -> None:
    """Train, and stop with a checkpoint after a step."""

    def stop(step: int, *_: object) -> None:
        if step == at:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(folder, settings, show=stop)


def test_no_bit_of_them_moves_and_everything_else_does(tmp_path: Path) -> None:
    before = start(tmp_path / "start")
    weights, _ = distil(tmp_path / "frozen", FROZEN)
    assert moved(weights, before) == {*weights} - {position(weights)}
    free, _ = distil(tmp_path / "free", FROZEN | dict(freeze_positions=False))
    assert moved(free, before) == {*weights}  # which is what an option is for


@pytest.mark.parametrize("family", sorted({*FAMILIES} - RELATIVE))
def test_in_every_family_that_can_be_distilled(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = (
        dict(dim=16, n_layers=2, n_heads=2, hidden_dim=32)
        if family == "distilbert"
        else dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    )
    config = transformers.AutoConfig.for_model(
        family, vocab_size=VOCABULARY, max_position_embeddings=20, pad_token_id=1, **sizes
    )
    monkeypatch.setattr(distilling, "teacher", lambda *_: from_config(config, 0))
    before = start(tmp_path / "start")
    weights, _ = distil(tmp_path / "frozen", FROZEN | dict(steps=3))
    left = {*weights} - moved(weights, before)
    assert position(weights) in left
    assert not {name for name in left if "embeddings" in name} - {position(weights)}


def test_they_are_exact_through_a_resumption(tmp_path: Path) -> None:
    whole, _ = distil(tmp_path / "whole", FROZEN)
    stopped(tmp_path / "cut", 3, FROZEN)
    weights, trained = distil(tmp_path / "cut", FROZEN)
    assert trained.resumed == 1 and not moved(weights, whole)
    assert position(weights) not in moved(weights, start(tmp_path / "start"))


def test_the_optimiser_does_not_know_them(tmp_path: Path) -> None:
    """No moments are kept for them, no decay is applied to them, and no gradient of theirs counts in the norm."""

    def state(folder: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], int, Any]:
        stopped(folder, 2, settings)
        (path,) = [each for each in checkpoint.steps(folder / CHECKPOINTS) if each.name.endswith("2")]
        loaded = checkpoint.load(path)
        assert loaded is not None
        known = sum(len(group["params"]) for group in loaded["optimizer"]["param_groups"])
        assert len(loaded["optimizer"]["state"]) == known
        return loaded["network"], known, loaded["optimizer"]["state"]

    network, known, moments = state(tmp_path / "frozen", FROZEN)
    _, more, _ = state(tmp_path / "free", FROZEN | dict(freeze_positions=False))
    assert more == known + 1
    shape = network[position(network)].shape
    assert shape not in {each["exp_avg"].shape for each in moments.values()}

    def norm(folder: Path, settings: dict[str, Any]) -> float:
        norms: list[float] = []
        distil(folder, settings | dict(steps=1), show=lambda _, __, line: norms.append(line["gradient_norm"]))
        return norms[0]

    assert norm(tmp_path / "one", FROZEN) < norm(tmp_path / "two", FROZEN | dict(freeze_positions=False))


def test_a_run_that_trained_them_is_not_resumed_without(tmp_path: Path) -> None:
    stopped(tmp_path, 2, FROZEN | dict(freeze_positions=False))
    with pytest.raises(UsageError, match="freeze_positions False, not True"):
        distil(tmp_path, FROZEN)
