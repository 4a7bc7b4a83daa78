"""Steps that never wait for the device: the host answers what a library would otherwise read back from it.

On a GPU work is queued and the processor runs ahead until a value is read. transformers reads at every forward pass
whether a batch has any padding (``padding_mask.all()``), and so waits for the whole queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class KnownMask(TorchFunctionMode):
    """A context in which the host answers ``mask.all()`` for the mask of one batch and its copies.

    No library is changed: a PyTorch mode intercepts every call of its functions.
    """

    def __init__(self, mask: torch.Tensor, full: bool) -> None:
        """Watch a mask.

        Args:
            mask: (rows, longest), of the batch.
            full: whether no row of the batch has padding.
        """
        super().__init__()
        self.masks, self.full = [mask], full

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not (args and any(args[0] is mask for mask in self.masks)):
            return func(*args, **(kwargs or {}))
        if func is torch.Tensor.all and len(args) == 1 and not kwargs:
            return self.full
        result = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.to, torch.Tensor.bool):  # the same mask of another type
            self.masks.append(result)
        return result
