"""The classification head that a checkpoint brought: its labels, and the rows of its last layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def last_layer(network: Any, labels: int) -> str | None:
    """Return the name of the module that scores labels: the last linear layer outside the encoder with so many rows."""
    body = f"{network.base_model_prefix}."
    fitting = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels and not name.startswith(body)
    ]
    return fitting[-1] if fitting else None


def permute(layer: nn.Linear, order: Sequence[int]) -> None:
    """Reorder the rows of a layer in place: row ``i`` becomes what row ``order[i]`` was."""
    for parameter in (layer.weight, layer.bias):  # (labels, hidden), (labels,)
        if isinstance(parameter, Tensor):
            parameter.data = parameter.data[list(order)].clone()


def names_of(id2label: Any, rows: int) -> list[str] | None:
    """Return the labels of a configuration in the order of their rows; None unless there is one for each row."""
    if not isinstance(id2label, Mapping):
        return None
    by_row = {str(row): name for row, name in id2label.items()}
    names = [by_row.get(str(row)) for row in range(rows)]
    return [str(name) for name in names if name is not None] if None not in names and len(by_row) == rows else None
