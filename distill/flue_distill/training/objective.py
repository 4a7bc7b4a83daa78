"""The objective of DistilCamemBERT, as in its model card.

    Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss

Each part is a sum over positions divided by a given count. The counts are those of the whole optimiser step, over all
micro-batches and processes, so that the shares of the loss add up to that of the large batch, exactly.

``plain`` is the objective as one would write it down, and autograd's to differentiate; ``fast`` never makes the full
logits, and its gradient of them is written out by hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from flue_bench.training.soft_labels import distil_loss
from flue_distill.training.masking import IGNORED
from flue_distill.training.recipe import KlRows, LossWeights

CHUNK_ROWS = {"cpu": 256, "cuda": 4096}
"""Rows of logits that exist at once: few save memory, many speed up the products, whose weight gradient (vocab, hidden)
is written once per chunk."""
TILE_LOGITS = 2**18
"""Logits that a thread of a CPU takes through all steps of the loss before it takes others: they stay in its cache."""
ALIGNED = 64
"""A matrix that is copied into a lower precision gets a multiple of this many rows, as tensor cores want it."""
BACKEND = "inductor"
"""What ``torch.compile`` hands the loss to."""


class LossParts(NamedTuple):
    """DistilLoss, MLMLoss and CosineLoss, or their counts."""

    distil: Any
    mlm: Any
    cosine: Any

    def loss(self, weights: LossWeights) -> Any:
        """Return ``Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss``, with these weights."""
        return weights.distil * self.distil + weights.mlm * self.mlm + weights.cosine * self.cosine


def mlm_loss(student: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy at T = 1 of logits (rows, vocab) and the original tokens (rows,), summed over rows."""
    return F.cross_entropy(student, labels, reduction="sum")


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ``1 - cos`` between last hidden states (rows, hidden), summed over rows."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).sum()


def plain(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor] | None,
    labels: Tensor,
    real: Tensor,
    counts: LossParts,
    weights: LossWeights,
    temperature: float,
    kl_rows: KlRows,
) -> tuple[Tensor, LossParts]:
    """Compute the objective in its plain form, as a reference.

    Args:
        student: last hidden states (batch, length, hidden) and logits (batch, length, vocab).
        teacher: the same, or None for MLMLoss alone.
        labels: (batch, length), ``IGNORED`` except at masked positions.
        real: (batch, length), False at padding.
        counts: the divisor of each part's sum.
        weights: the weights of the parts.
        temperature: the temperature of DistilLoss.
        kl_rows: the positions in DistilLoss.

    Returns:
        The loss and its parts.
    """
    hidden, logits = student
    masked = labels != IGNORED
    parts = LossParts(logits.new_zeros(()), mlm_loss(logits[masked], labels[masked]) / counts.mlm, logits.new_zeros(()))
    if teacher is not None:
        rows = masked if kl_rows == "masked" else real
        parts = LossParts(
            distil=distil_loss(logits[rows], teacher[1][rows], temperature) / counts.distil,
            mlm=parts.mlm,
            cosine=cosine_loss(hidden[real], teacher[0][real]) / counts.cosine,
        )
    return parts.loss(weights), parts


class Rows(NamedTuple):
    """The tensors of a model that ``fast`` reads at the positions that count, masked ones first."""

    hidden: Tensor
    """(real, hidden), last hidden states at all positions except padding."""
    features: Tensor
    """(rows, hidden), inputs of the vocabulary projection, at the positions to project, the first of ``hidden``."""
    weight: Tensor
    """(vocab, hidden), of the projection."""
    bias: Tensor
    """(vocab,)"""
    inside: dict[str, Tensor] = {}  # noqa: RUF012 - never written to
    """What the modules of the base model put out that are watched, each (batch, length, width), by name."""


def fast(
    student: Rows,
    teacher: Rows | None,
    labels: Tensor,
    counts: LossParts,
    weights: LossWeights,
    temperature: float,
    chunk: int | None = None,
    scale: Tensor | None = None,
    compiled: bool = False,
) -> tuple[Tensor, LossParts]:
    """Compute the objective with the vocabulary projected a chunk of rows at a time.

    Args:
        student: its rows; gradients flow to hidden states, features, projection and bias.
        teacher: its rows, or None for MLMLoss alone; its projection may be one of ``low_copy``.
        labels: (masked,), original tokens at the first of the rows.
        counts: the divisor of each part's sum.
        weights: the weights of the parts.
        temperature: the temperature of DistilLoss.
        chunk: rows of logits at once; None chooses for the device.
        scale: (), what the loss and so all gradients are multiplied by before anything is cast, for fp16; None: 1.
        compiled: take logits to their gradient through ``torch.compile``.

    Returns:
        The loss, times the scale, differentiable once, and its parts, for the log only; a part that needs the teacher
        and has weight 0 is 0.
    """
    zero = student.hidden.new_zeros((), dtype=student.weight.dtype)
    distilled = teacher if weights.distil else None
    features = student.features if distilled else student.features[: len(labels)]
    loss, distil, mlm = _Vocabulary.apply(  # type: ignore[no-untyped-call]
        features, student.weight, student.bias, distilled, labels, counts, weights, temperature,
        chunk or CHUNK_ROWS[features.device.type], scale, compiled,
    )  # fmt: skip
    cosine = zero
    if teacher is not None and weights.cosine:
        cosine = cosine_loss(student.hidden.to(zero.dtype), teacher.hidden.to(zero.dtype)) / counts.cosine
    rest = LossParts(zero, zero, cosine).loss(weights)
    return loss + (rest if scale is None else rest * scale), LossParts(distil, mlm, cosine.detach())


def project(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Project features (rows, hidden) to logits (rows, vocab), in the precision of the weight.

    Rows that ``low_copy`` added to the weight are nobody's logits: they are cut off, or kept if the bias has them too.
    """
    wide = F.pad(bias.to(weight.dtype), (0, len(weight) - len(bias)))
    return F.linear(features.to(weight.dtype), weight, wide)[:, : len(bias)]


def low_copy(weight: Tensor, low: torch.dtype) -> Tensor:
    """Return a projection (vocab, hidden) in a lower precision, with rows of zeros up to a multiple of ``ALIGNED``.

    It is the weight itself where that already has the precision.
    """
    if weight.dtype == low:
        return weight
    copy = weight.new_empty(-(-len(weight) // ALIGNED) * ALIGNED, weight.shape[1], dtype=low)
    copy[: len(weight)] = weight
    copy[len(weight) :] = 0
    return copy


def descend(
    logits: Tensor,
    target: Tensor | None,
    labels: Tensor | None,
    temperature: float,
    of_distil: Tensor,
    of_mlm: Tensor,
    d_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """Turn logits into the gradient of the loss, in place, and return the sums of DistilLoss and MLMLoss, (), ().

    With q the student's and p the teacher's probabilities at T, the gradient of ``T² · KL(p ‖ q)`` is ``T · (q - p)``;
    that of the cross-entropy is the student's probabilities at T = 1, minus 1 at the label. As few passes as possible,
    in the precision of ``d_bias``; ``mlm_loss``, ``distil_loss`` and autograd are the oracle.

    Args:
        logits: the student's (rows, vocab), in any precision.
        target: the teacher's, or None for MLMLoss alone.
        labels: (rows,), or None for DistilLoss alone.
        temperature: T.
        of_distil: (), what the gradient of DistilLoss's sum is multiplied by.
        of_mlm: (), the same of MLMLoss's.
        d_bias: (vocab,), to which the gradient's sum over rows is added before it is rounded to the logits' precision.
    """
    own = logits.to(d_bias.dtype)
    distil = mlm = d_bias.new_zeros(())
    gradient: Tensor | None = None
    if labels is not None:
        log_q = F.log_softmax(own, -1)
        at = labels[:, None]
        mlm = -log_q.gather(1, at).sum()
        gradient = log_q.exp_().scatter_add_(1, at, log_q.new_full(at.shape, -1.0)).mul_(of_mlm)
    if target is not None:
        log_p = F.log_softmax(target.to(d_bias.dtype) / temperature, -1)
        log_q = F.log_softmax(own / temperature, -1)
        p = log_p.exp()
        distil = temperature**2 * log_p.sub_(log_q).mul_(p).sum()
        softened = log_q.exp_().sub_(p).mul_(of_distil * temperature)
        gradient = softened if gradient is None else gradient.add_(softened)
    if gradient is not None:
        d_bias += gradient.sum(0)
        logits.copy_(gradient)
    return distil, mlm


@functools.cache
def _compiled(backend: str | Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return ``descend`` through ``torch.compile``. Its sizes are symbols: any number of rows shares a graph."""
    return torch.compile(descend, dynamic=True, fullgraph=True, backend=backend)


def tiles(start: int, stop: int, masked: int, vocabulary: int, device: torch.device) -> Iterator[slice]:
    """Yield the rows from ``start`` to ``stop`` as slices for ``descend``, masked rows apart from the others."""
    most = max(1, TILE_LOGITS // vocabulary) * torch.get_num_threads() if device.type == "cpu" else stop - start
    while start < stop:
        end = min(start + most, stop, masked if start < masked else stop)
        yield slice(start, end)
        start = end


class _Vocabulary(torch.autograd.Function):
    """Projection and losses, chunk by chunk; gradients are computed in the forward pass, while a chunk's logits exist.

    That needs neither full logits nor a second projection in the backward pass: a chunk's logits become their own
    gradient, and two matrix products lead from there to features and weight.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        teacher: Rows | None,
        labels: Tensor,
        counts: LossParts,
        weights: LossWeights,
        temperature: float,
        chunk: int,
        scale: Tensor | None,
        compiled: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind, vocabulary = features.device.type, len(weight)
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        matrix = low_copy(weight, low)  # (vocab and some rows of zeros, hidden), once for all chunks
        wide = F.pad(bias.to(low), (0, len(matrix) - vocabulary))  # as long: logits 0 there, of gradient 0
        distil, mlm = weight.new_zeros(()), weight.new_zeros(())
        of_distil = weight.new_full((), weights.distil / counts.distil)
        of_mlm = weight.new_full((), weights.mlm / counts.mlm)
        if scale is not None:  # here: the cast of the gradient would flush small ones to zero
            of_distil, of_mlm = of_distil * scale, of_mlm * scale
        d_features, d_weight, d_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        down = _compiled(BACKEND) if compiled else descend
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(features), chunk):
                rows = slice(start, start + chunk)
                x = features[rows].to(low)  # (chunk, hidden)
                logits, target = project(x, matrix, wide), None  # (chunk, vocab and more), to become their gradient
                if teacher is not None:
                    target = project(teacher.features[rows], teacher.weight, teacher.bias)  # (chunk, vocab)
                for tile in tiles(start, start + len(x), len(labels), vocabulary, features.device):
                    here = slice(tile.start - start, tile.stop - start)
                    # Detached: what is compiled would be compiled anew for a slice that is the whole tensor.
                    sums = down(
                        logits[here, :vocabulary].detach(),
                        None if target is None else target[here].detach(),
                        labels[tile].detach() if tile.start < len(labels) else None,
                        temperature, of_distil, of_mlm, d_bias,
                    )  # fmt: skip
                    distil += sums[0]
                    mlm += sums[1]
                d_features[rows] = logits @ matrix
                if low == weight.dtype:
                    d_weight.addmm_(logits.T, x)
                else:
                    d_weight += (logits.T @ x)[:vocabulary]  # a chunk's product in low precision, their sum in float32
                del logits, target  # otherwise they would exist beside the next chunk's
        ctx.save_for_backward(d_features, d_weight, d_bias)
        distil, mlm = distil / counts.distil, mlm / counts.mlm
        total = LossParts(distil, mlm, 0.0).loss(weights)
        if scale is not None:
            total = total * scale
        ctx.mark_non_differentiable(distil, mlm)
        return total, distil, mlm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # In place: autograd refuses a second backward pass over the same graph, so that it cannot be wrong.
        return *(gradient.mul_(d_total) for gradient in ctx.saved_tensors), *(8 * [None])
