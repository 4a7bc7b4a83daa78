"""Dropout on a CPU: random numbers that are a pure function of (seed, step, call, row), drawn on all threads.

PyTorch's generator for the CPU is one sequential stream (a Mersenne twister): its draws take longer than anything else
about dropout, and they depend on how a batch is cut. Here they come from Philox (Salmon and others 2011, "Parallel
random numbers: as easy as 1, 2, 3"), a counter run through a mixer, in NumPy's implementation, whose stream is frozen
(NEP 19): any part of any stream can be drawn directly. Every value gets 16 bits, so that a rate is exact to 2^-16.

No model and no library is changed: ``KeyedDropout`` is a PyTorch mode, which intercepts each call of ``dropout`` and
``scaled_dot_product_attention``, whichever architecture makes it.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LEVELS = 2**16
"""The number of values that a draw can take."""
DRAWS_PER_BLOCK = 16
"""Philox gives 256 bits for each value of its counter."""
CHUNK = 2**17
"""Draws made and compared at a time, so that they stay in the cache; also a thread's smallest share."""


class KeyedDropout(TorchFunctionMode):
    """A context in which dropout in a model's forward pass on the CPU uses these draws, in training only.

    The draws are a pure function of (seed, step, number of the call within the pass, row, place within the row):
    neither the number of threads nor how a batch is cut into parts of one length changes them. Values whose first
    dimension is not the rows of the pass (relative positions, say) have one mask, the same in every part.

    Dropped values are zero, and kept ones are divided by the share that is kept, as usual. Attention with dropout is
    computed as plain products. Causal attention, grouped queries and the rarer dropouts (whole channels, in place)
    remain PyTorch's, with draws from its own generator.
    """

    def __init__(self, seed: int, step: int, first: int, rows: int) -> None:
        """Key the draws of one forward pass.

        Args:
            seed: the seed of the run.
            step: the optimiser step, from 0.
            first: number of the pass's first row among the rows of the step.
            rows: the number of rows of the pass.
        """
        super().__init__()
        self.seed, self.step, self.first, self.rows, self.calls = seed, step, first, rows, 0
        self._mask: tuple[torch.Tensor, torch.Tensor] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace dropout and attention with dropout; pass on all other calls."""
        if func is F.dropout:
            return self._dropout(*args, **kwargs or {})
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs or {})
        return func(*args, **kwargs or {})

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or inplace or not 0 < p < 1:
            return F.dropout(input, p, training, inplace)
        return self._dropped(input, p)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Attend over (rows, heads, length, head size) with a mask that broadcasts to (rows, heads, length, length)."""
        if not 0 < dropout_p < 1 or is_causal or enable_gqa:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query * scale) @ key.transpose(-1, -2)  # (rows, heads, length, length)
        if attn_mask is not None:
            scores.add_(self._added(attn_mask, scores.dtype))
        return self._dropped(scores.softmax(-1), dropout_p) @ value

    def _added(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the mask as a term to add to the scores, made once for all layers, which share the tensor."""
        if mask.dtype != torch.bool:
            return mask
        if self._mask is None or self._mask[0] is not mask or self._mask[1].dtype != dtype:
            # Finite: a row that may attend to nothing (padding outside a window) must not become NaN.
            lowest = torch.full((), torch.finfo(dtype).min, dtype=dtype)
            self._mask = mask, torch.where(mask, torch.zeros((), dtype=dtype), lowest)
        return self._mask[1]

    def _dropped(self, values: torch.Tensor, p: float) -> torch.Tensor:
        threshold = round(p * LEVELS)
        by_row = values.shape[:1] == (self.rows,)
        start = self.first * (values.numel() // self.rows) if by_row else 0
        counter = (0, self.calls, self.step, 0)
        self.calls += 1
        kept = draw(values.numel(), threshold, (self.seed, 0), counter, start).view(values.shape)
        dropped: torch.Tensor = _Dropped.apply(values, kept, LEVELS / (LEVELS - threshold))  # type: ignore[no-untyped-call]
        return dropped


class _Dropped(torch.autograd.Function):
    """``values * kept * scale``, which saves only ``kept``, one byte per value, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return torch.addcmul(values.new_zeros(()), values, kept, value=scale)  # one pass over memory

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return torch.addcmul(gradient.new_zeros(()), gradient, kept, value=ctx.scale), None, None


def draw(n: int, threshold: int, key: tuple[int, int], counter: tuple[int, int, int, int], start: int) -> torch.Tensor:
    """Draw which of ``n`` values are kept: 1, or 0 with probability ``threshold`` / ``LEVELS``, independently.

    Args:
        n: the number of values.
        threshold: draws below it are dropped.
        key: the stream's key, two integers.
        counter: the stream's counter, four integers; the first counts blocks of draws and must be 0.
        start: index of the first value in the stream.

    Returns:
        (n,) uint8.
    """
    block, skipped = divmod(start, DRAWS_PER_BLOCK)
    kept = np.empty(skipped + n, np.bool_)  # from the start of a block
    threads = max(1, min(torch.get_num_threads(), len(kept) // CHUNK))
    share = max(1, -(-len(kept) // threads // CHUNK)) * CHUNK

    def fill(begin: int) -> None:
        stream = np.random.Philox(key=_words(*key), counter=_words(block + begin // DRAWS_PER_BLOCK, *counter[1:]))
        end = min(len(kept), begin + share)
        for at in range(begin, end, CHUNK):
            part = kept[at : min(at + CHUNK, end)]
            words = stream.random_raw(-(-len(part) // 4))  # the GIL is released
            np.greater_equal(words.astype("<u8", copy=False).view("<u2")[: len(part)], threshold, out=part)

    others = [_pool().submit(fill, begin) for begin in range(share, len(kept), share)]
    fill(0)
    for other in others:
        other.result()
    return torch.from_numpy(kept.view(np.uint8))[skipped:]


def _words(*values: int) -> npt.NDArray[np.uint64]:
    return np.array([value % 2**64 for value in values], np.uint64)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the thread pool, which starts as many threads as are requested at once."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "dropout")


if hasattr(os, "register_at_fork"):  # a pool's threads stay behind in the parent
    os.register_at_fork(after_in_child=_pool.cache_clear)
