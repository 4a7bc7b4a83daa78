"""fp16: the loss scale is where gradients are cast, is found by itself, and is part of a checkpoint."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flue_bench.training import checkpoint, scale
from flue_bench.training.device import Device
from flue_bench.training.optim import adamw
from flue_bench.training.scale import LossScale, not_finite, step_unless
from flue_distill.training.log import LOG, read_log
from flue_distill.training.masking import IGNORED
from flue_distill.training.objective import LossParts, Rows, fast, plain
from flue_distill.training.recipe import LossWeights
from flue_distill.training.trainer import CHECKPOINTS
from support.distilling import distil

HALF = Device(torch.device("cpu"), "fp16", "")
COUNT = 128_000
"""Positions of a step of the reference: 250 sequences of 512 tokens."""
BOUND = 2e-3
"""The most relative distance of fp16 gradients from those in float64, by tensor: fp16 has 11 bits."""
SEQUENCES, LENGTH, HIDDEN, VOCABULARY = 2, 32, 64, 3000


def gradients(dtype: torch.dtype, value: float | None, which: LossWeights) -> dict[str, Tensor]:
    """The gradients of a part of a step of ``COUNT`` positions; in fp16 as training computes them."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    masked = torch.rand(SEQUENCES, LENGTH, generator=random) < 0.15
    tokens = torch.randint(VOCABULARY, (SEQUENCES, LENGTH), generator=random)
    counts = LossParts(COUNT, round(0.15 * COUNT), COUNT)
    sizes = (SEQUENCES, LENGTH, HIDDEN), (VOCABULARY, HIDDEN), (VOCABULARY,)
    ours, theirs = ([(normal(*size) / HIDDEN**0.25).to(torch.float32).to(dtype) for size in sizes] for _ in range(2))
    for leaf in ours:
        leaf.requires_grad_()
    order = torch.cat([masked.flatten().nonzero()[:, 0], (~masked).flatten().nonzero()[:, 0]])
    if dtype == torch.float64:
        labels, real = torch.where(masked, tokens, IGNORED), torch.ones_like(masked)
        outputs = ((hidden, hidden @ weight.T + bias) for hidden, weight, bias in (ours, theirs))
        loss, _ = plain(next(outputs), next(outputs), labels, real, counts, which, 2.0, "all")
    else:
        rows = [Rows(flat := hidden.flatten(0, 1)[order], flat, *rest) for hidden, *rest in (ours, theirs)]
        labels = tokens.flatten()[order[: int(masked.sum())]]
        scaled = None if value is None else torch.tensor(value)
        with HALF.autocast():
            loss, _ = fast(*rows, labels, counts, which, 2.0, scale=scaled)
    found = torch.autograd.grad(loss, ours)
    names = ("hidden", "weight", "bias")
    return {name: each.double() / (value or 1.0) for name, each in zip(names, found, strict=True)}


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    "which", [LossWeights(), LossWeights(distil=1, mlm=0, cosine=0), LossWeights(distil=0, mlm=1, cosine=0)], ids=str
)
def test_gradients_at_the_references_count_are_those_of_float64(which: LossWeights) -> None:
    wanted = gradients(torch.float64, None, which)
    found = gradients(torch.float32, scale.FIRST, which)
    distances = {name: distance(found[name], wanted[name]) for name in wanted}
    assert all(value < BOUND for value in distances.values()), distances


def test_without_a_scale_they_vanish_which_is_why_there_is_one() -> None:
    only = LossWeights(distil=1, mlm=0, cosine=0)
    wanted = gradients(torch.float64, None, only)
    found = gradients(torch.float32, None, only)
    assert not found["weight"].any() or distance(found["weight"], wanted["weight"]) > 0.1


def test_a_scale_outside_comes_too_late() -> None:
    """As a ``GradScaler`` around the loss would scale: what was flushed stays flushed."""
    only = LossWeights(distil=1, mlm=0, cosine=0)
    wanted = gradients(torch.float64, None, only)["weight"]
    late = gradients(torch.float32, None, only)["weight"] * scale.FIRST / scale.FIRST
    inside = gradients(torch.float32, scale.FIRST, only)["weight"]
    assert distance(inside, wanted) < BOUND < 0.1 < distance(late, wanted)


def test_a_scale_changes_no_bit_of_the_gradient_in_float32() -> None:
    """A power of two is exact."""
    leaf = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rows = Rows(leaf, leaf, torch.randn(11, 7), torch.zeros(11))
    found = []
    for value in (None, torch.tensor(1024.0)):
        loss, parts = fast(
            rows, None, torch.arange(5), LossParts(5, 5, 5), LossWeights(distil=0, mlm=1), 1.0, scale=value
        )
        (gradient,) = torch.autograd.grad(loss, leaf)
        found.append((gradient / (1 if value is None else value), parts.mlm))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


# The scale.


def test_it_moves_as_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "EVERY", 3)
    ours = LossScale(torch.device("cpu"))
    theirs = torch.amp.GradScaler("cpu", init_scale=scale.FIRST, growth_interval=3)
    ours_net, theirs_net = (nn.Linear(3, 2) for _ in range(2))
    theirs_net.load_state_dict(ours_net.state_dict())
    ours_opt, theirs_opt = adamw(ours_net, 0.1, 0.01), adamw(theirs_net, 0.1, 0.01)
    for number, broken in enumerate([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0]):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number)) * (float("inf") if broken else 1.0)
        theirs.scale(theirs_net(x).square().mean()).backward()
        theirs.unscale_(theirs_opt)
        theirs.step(theirs_opt)
        theirs.update()
        (ours_net(x).square().mean() * ours.value).backward()
        ours.unscale(ours_net.parameters())
        left_out = not_finite(
            torch.stack([each.grad.norm() for each in ours_net.parameters() if each.grad is not None])
        )
        step_unless(ours_opt, left_out)
        ours.update(left_out)
        for optimizer in (ours_opt, theirs_opt):
            optimizer.zero_grad()
        assert float(ours.value) == theirs.get_scale(), number
        assert all(torch.equal(a, b) for a, b in zip(ours_net.parameters(), theirs_net.parameters(), strict=True))
    again = LossScale(torch.device("cpu"))
    again.restore(ours.state())
    assert again.state() == ours.state()


# A training in fp16.

STEPS: dict[str, Any] = dict(steps=8, learning_rate=1e-2, precision="fp16")


def test_it_learns_as_in_float32(tmp_path: Path) -> None:
    half, trained = distil(tmp_path / "half", STEPS | dict(steps=40), device=HALF)
    single, _ = distil(tmp_path / "single", STEPS | dict(steps=40, precision="fp32"))
    losses = [
        [line["loss"] for line in read_log(tmp_path / which / LOG) if "loss" in line] for which in ("half", "single")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2) and losses[0] != losses[1]
    assert np.mean(losses[0][-5:]) < np.mean(losses[0][:5])
    assert trained.loss_scale == scale.FIRST and trained.skipped == 0
    assert all(line["loss_scale"] == scale.FIRST for line in read_log(tmp_path / "half" / LOG) if "loss" in line)
    assert not all(np.array_equal(half[name], single[name]) for name in half)


def test_a_scale_that_is_too_large_is_halved_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "FIRST", 2.0**30)
    told: list[str] = []
    _, trained = distil(tmp_path, STEPS | dict(steps=20), device=HALF, tell=told.append)
    assert trained.loss_scale is not None and 1 < trained.skipped < 20
    assert trained.loss_scale == 2.0 ** (30 - trained.skipped)
    left = [line for line in read_log(tmp_path / LOG) if "not_finite" in line]
    assert [line["loss_scale"] for line in left] == [2.0 ** (30 - n) for n in range(trained.skipped)]
    assert told == []  # it looks for its size: nothing is wrong


@pytest.mark.parametrize("at", [2, 5])
def test_it_is_resumed_to_the_bit_scale_and_all(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut while the scale still falls, and while it rises."""
    monkeypatch.setattr(scale, "FIRST", 2.0**20)
    monkeypatch.setattr(scale, "EVERY", 2)
    whole, wanted = distil(tmp_path / "whole", STEPS, device=HALF)

    def stop(step: int, *_: object) -> None:
        if step >= at:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(tmp_path / "cut", STEPS, device=HALF, show=stop)
    state = checkpoint.load(checkpoint.steps(tmp_path / "cut" / CHECKPOINTS)[-1])
    assert state is not None and state["scale"].keys() == {"value", "good"}
    found, trained = distil(tmp_path / "cut", STEPS, device=HALF)
    assert all(np.array_equal(found[name], whole[name]) for name in whole)
    assert (trained.loss_scale, trained.skipped) == (wanted.loss_scale, wanted.skipped)
    scales = [
        [line["loss_scale"] for line in read_log(tmp_path / which / LOG) if "loss_scale" in line]
        for which in ("cut", "whole")
    ]
    assert scales[0] == scales[1] and len(set(scales[0])) > 1


def test_from_fp16_to_float32_on_the_way(tmp_path: Path) -> None:
    def stop(step: int, *_: object) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(tmp_path, STEPS, device=HALF, show=stop)
    _, trained = distil(tmp_path, STEPS | dict(precision="fp32"), asked={"precision"})
    assert trained.changes == ({"step": 4, "field": "precision", "before": "fp16", "after": "fp32"},)
    assert trained.loss_scale is None
