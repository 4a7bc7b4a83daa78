"""A device that is behind the processor, played on a CPU: what would wait for it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim"}
"""Operations for whose result, or for whose result's shape, the processor has to wait."""
COPIES = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__}
"""Functions that read a tensor on a CPU without any operation."""


class WaitedError(Exception):
    """The processor would have waited."""


class Operations(TorchDispatchMode):
    """Refuses operations that read, and notes how many optimiser steps were queued when each result was."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.queued: Any = WeakIdKeyDictionary()
        self.own: Any = WeakIdKeyDictionary()

    def stays(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Take inputs for what stays with the processor: they, and what is computed from them alone, may be read."""
        self.own.update(dict.fromkeys(inputs.values(), True))
        return inputs

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name == "index" and any(each is not None and each.dtype == torch.bool for each in args[1])
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        own = bool(tensors) and all(each in self.own for each in tensors)
        if (name in READS or masked) and not own:
            raise WaitedError(name)
        self.steps += name == "_fused_adamw_"
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else [results]:
            if isinstance(result, torch.Tensor):
                self.queued[result] = self.steps
                if own:
                    self.own[result] = True
        return results


class _Functions(TorchFunctionMode):
    """Refuses copies to the processor, unless a whole step was queued since, where ``later`` allows them."""

    def __init__(self, operations: Operations, later: bool) -> None:
        super().__init__()
        self.operations, self.later = operations, later

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in COPIES and not (self.later and self.operations.queued.get(args[0], 10**9) < self.operations.steps):
            raise WaitedError(func.__name__)
        return func(*args, **(kwargs or {}))


@contextmanager
def ahead(later: bool = False) -> Iterator[Operations]:
    """Refuse whatever would wait for a device that is behind.

    Args:
        later: whether a value may be copied once an optimiser step was queued after it.
    """
    operations = Operations()
    with operations, _Functions(operations, later):
        yield operations
