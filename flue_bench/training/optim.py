"""AdamW's parameter groups and the learning-rate schedule, for fine-tuning and distillation alike."""

from __future__ import annotations

import math

import torch
from torch import nn

from flue_bench.recipe import Schedule


def adamw(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """Return fused AdamW with weight decay on matrices only (not on biases and norms), as transformers' ``Trainer``."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps, fused=True)


def learning_rate_factor(step: int, total: int, warmup: int, schedule: Schedule) -> float:
    """Return the share of the peak learning rate at ``step`` (from 0): linear warm-up, then the schedule.

    The values are those of transformers' ``get_linear_schedule_with_warmup``, ``get_cosine_schedule_with_warmup`` (half
    a period) and ``get_constant_schedule_with_warmup``.
    """
    if step < warmup:
        return step / max(1, warmup)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))))
    return max(0.0, (total - step) / max(1, total - warmup))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
