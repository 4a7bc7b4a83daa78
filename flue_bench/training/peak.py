"""How close to the hardware's limit some work came: its matrix products, run again alone, over the time it took.

The peak is measured, never taken from a data sheet: the same products, in the same shapes, layouts and precision, on
the same device in the same minutes. A step that consisted of nothing but its matrix products would reach 100 %.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flue_bench.training.device import Device

REPEATS = 5
"""Runs of a product, of which the fastest counts."""


class Operand(NamedTuple):
    """A tensor's shape, layout and type, without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


Product = tuple[Operand, Operand]
"""Two matrices (m, k) and (k, n), or two stacks (b, m, k) and (b, k, n)."""


class Products(TorchDispatchMode):
    """Counts the matrix products that PyTorch carries out within the block, those of a backward pass included.

    Fused attention counts as the products it consists of: forward two, backward five (it recomputes the weights).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Product] = Counter()

    @property
    def flops(self) -> int:
        """Return the floating-point operations of all products, a multiplication and an addition counting as two."""
        return sum(
            times * 2 * left.shape[-1] * right.shape[-1] * _size(left.shape[:-1])
            for (left, right), times in self.counts.items()
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [each for each in args if isinstance(each, Tensor)]
        if name in ("mm", "bmm"):
            self._count(tensors[0], tensors[1])
        elif name in ("addmm", "baddbmm"):  # the first is what is added
            self._count(tensors[1], tensors[2])
        elif name.startswith("_scaled_dot_product"):
            backward = "backward" in name
            query, key, value = tensors[backward : 3 + backward]  # after the gradient, in a backward pass
            self._attention(query, key, value, backward)
        return func(*args, **(kwargs or {}))

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, backward: bool) -> None:
        query, key, value = (each.flatten(0, 1) for each in (query, key, value))  # (rows · heads, length, size)
        weights = query.new_empty(query.shape[0], query.shape[1], key.shape[1])
        self._count(query, key.transpose(1, 2), 1 + backward)  # the weights; their gradient, from that of the output
        if backward:
            self._count(weights.transpose(1, 2), query, 2)  # the gradients of values and keys
            self._count(weights, key)  # that of the queries
        else:
            self._count(weights, value)

    def _count(self, left: Tensor, right: Tensor, times: int = 1) -> None:
        self.counts[_operand(left), _operand(right)] += times


def share_of_peak(products: Products, seconds: float, device: Device) -> float:
    """Return the share of some work's time that its matrix products alone would take.

    Args:
        products: the products counted while the work was done once.
        seconds: the time of doing it once, without counting.
        device: where it was done.

    Returns:
        A fraction of 1; the products are timed now, each as the fastest of ``REPEATS`` runs.
    """
    return product_seconds(products, device) / seconds


def product_seconds(products: Products, device: Device) -> float:
    """Return the seconds that the counted products take alone, each as the fastest of ``REPEATS`` runs."""
    return sum(times * _fastest(product, device) for product, times in products.counts.items())


def _fastest(product: Product, device: Device) -> float:
    left, right = (_filled(operand, device.where) for operand in product)
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.mm if left.ndim == 2 else torch.bmm
    taken = []
    for _ in range(REPEATS + 1):  # the first warms up
        device.synchronize()
        began = time.perf_counter()
        multiply(left, right)
        device.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _operand(tensor: Tensor) -> Operand:
    return Operand(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _filled(operand: Operand, device: torch.device) -> Tensor:
    """Return numbers between 0 and 1 in this shape and layout, since a model multiplies no zeros or denormals."""
    if 0 in operand.stride:  # an expanded tensor: several places are one
        return torch.rand(operand.shape, device=device).to(operand.dtype)
    return torch.empty_strided(operand.shape, operand.stride, dtype=operand.dtype, device=device).uniform_()


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
