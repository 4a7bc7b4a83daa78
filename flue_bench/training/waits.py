"""Steps that never wait for the device: the host answers what a library would otherwise read back from it.

On a GPU work is queued and the processor runs ahead until a value is read. transformers reads at every forward pass
whether a batch has any padding (``padding_mask.all()``), and so waits for the whole queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from flue_bench.kinds.network.network import Ints


class Later:
    """Values of a device, copied while it goes on; to read them waits for that copy alone, not for what came after."""

    def __init__(self, values: torch.Tensor) -> None:
        """Queue the copy.

        Args:
            values: (n,); not to be written to before they are read.
        """
        self.values, self.copied = values, None
        if values.device.type == "cuda":
            self.values = torch.empty_like(values, device="cpu", pin_memory=True)
            self.values.copy_(values, non_blocking=True)
            self.copied = torch.cuda.Event()
            self.copied.record(torch.cuda.current_stream(values.device))

    def read(self) -> list[float]:
        """Return the values."""
        if self.copied is not None:
            self.copied.synchronize()
        return [float(value) for value in self.values.tolist()]


def row_lengths(model: nn.Module, ids: torch.Tensor, lengths: Ints) -> dict[str, torch.Tensor]:
    """Return the input by which a model of XLM's family knows its rows' lengths; nothing for other models.

    Without it such a model counts them on the device, and reads the longest back for an assertion of its own.

    Args:
        model: a transformers model.
        ids: (rows, longest), or more than one sequence a row, of choices, for which these models take no lengths.
        lengths: (rows,), on the processor.
    """
    counts = getattr(model.config, "model_type", "") in ("flaubert", "xlm") and len(ids) == len(lengths)
    return {"lengths": torch.from_numpy(lengths)} if counts else {}


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
