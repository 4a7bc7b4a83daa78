"""Steps that are left out on the device itself, and the scale that keeps small gradients alive in fp16.

Whether a step is finite is known on the device alone, and to ask it would make the processor wait. So the optimiser is
told by a tensor (the way PyTorch's own ``GradScaler`` tells it), and the scale is one too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

FIRST, GROWTH, BACKOFF, EVERY = 2.0**16, 2.0, 0.5, 2000
"""The scale at the start, its factors after ``EVERY`` steps without overflow and after one with, as in PyTorch."""


class LossScale:
    """A dynamic loss scale (Micikevicius et al. 2018, "Mixed precision training").

    Numbers below 6e-8 are zero in fp16, and gradients of a mean over many rows are smaller. The loss is multiplied by
    the scale, which has to be done before anything is cast; gradients are divided by it once they are in float32. Both
    are exact, since the scale is a power of two. A step whose gradients overflow is left out, and halves it.
    """

    def __init__(self, device: torch.device) -> None:
        """Start at ``FIRST``."""
        self.value = torch.full((), FIRST, dtype=torch.float32, device=device)
        self.good = torch.zeros((), dtype=torch.int64, device=device)
        """Steps without overflow since the scale last changed."""

    def unscale(self, parameters: Iterable[Tensor]) -> None:
        """Divide the gradients by the scale, in place."""
        inverse = 1 / self.value
        for each in parameters:
            if each.grad is not None:
                each.grad.mul_(inverse)

    def update(self, overflow: Tensor) -> None:
        """Follow a step: halve the scale after an overflow, double it after ``EVERY`` steps without one.

        Args:
            overflow: (), 1 where something was not finite, else 0.
        """
        over = overflow.bool()
        self.good = torch.where(over, 0, self.good + 1)
        grows = self.good >= EVERY
        self.value = self.value * torch.where(over, BACKOFF, torch.where(grows, GROWTH, 1.0))
        self.good = torch.where(grows, 0, self.good)

    def state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {"value": float(self.value), "good": int(self.good)}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from ``state``."""
        self.value.fill_(float(state["value"]))
        self.good.fill_(int(state["good"]))


def not_finite(values: Tensor) -> Tensor:
    """Return 1 if any of the values (n,) is not finite, else 0; (), float32, on their device."""
    return (~values.isfinite().all()).to(torch.float32)


def step_unless(optimizer: torch.optim.Optimizer, left_out: Tensor) -> None:
    """Make a fused optimiser's step, unless ``left_out`` (), float32, is 1: then neither weights nor state change."""
    optimizer.found_inf, optimizer.grad_scale = left_out, None  # type: ignore[attr-defined]
    optimizer.step()
