"""Comparisons of two trainings, or of two gradients, for the self-test."""

from __future__ import annotations

import torch

from flue_bench.plugins import Finding

REPORT = "Please report it with all of these lines: flue-bench's scores cannot be relied on here."


def same_bits(
    what: str, precision: str, one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], device: torch.device
) -> Finding:
    """Report whether two trainings ended with the same weights; on a GPU, which promises less, how far apart they are.

    Args:
        what: a name for what is compared.
        precision: the precision of both trainings.
        one: name → weights.
        other: the same names → weights.
        device: the device they were trained on.
    """
    apart = max(float((one[key].double() - other[key].double()).abs().max()) for key in one if one[key].numel())
    name = f"{what}, {precision}"
    if apart == 0:
        return Finding("ok", name, "the same weights to the bit")
    gap = f"weights differ by up to {apart:.1e}"
    if device.type == "cpu":
        return Finding("problem", name, gap, REPORT)
    return Finding("note", name, f"{gap}: sums on {device.type} have no fixed order, so this is not promised here")


def near(what: str, precision: str, got: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> Finding:
    """Report whether two gradients, (parameters,), agree within rounding, by the norm of their difference."""
    apart = float((got.double() - wanted.double()).norm() / wanted.double().norm())
    said = f"gradients {apart:.1e} apart (relative; up to {tolerance:.0e} is rounding)"
    if apart <= tolerance:
        return Finding("ok", f"{what}, {precision}", said)
    return Finding("problem", f"{what}, {precision}", said, REPORT)
