"""The objective of DistilCamemBERT, as in its model card.

    Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss

Each part is a sum over positions divided by a given count. The counts are those of the whole optimiser step, over all
micro-batches and processes, so that the shares of the loss add up to that of the large batch, exactly.

``plain`` is the objective as one would write it down; ``fast`` never makes the full logits. The formulas are shared.
"""

from __future__ import annotations

from collections.abc import Callable
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
) -> tuple[Tensor, LossParts]:
    """Compute the objective with the vocabulary projected a chunk of rows at a time.

    Args:
        student: its rows; gradients flow to hidden states, features, projection and bias.
        teacher: its rows, or None for MLMLoss alone.
        labels: (masked,), original tokens at the first of the rows.
        counts: the divisor of each part's sum.
        weights: the weights of the parts.
        temperature: the temperature of DistilLoss.
        chunk: rows of logits at once; None chooses for the device.
        scale: (), what the loss and so all gradients are multiplied by before anything is cast, for fp16; None: 1.

    Returns:
        The loss, times the scale, differentiable once, and its parts, for the log only; a part that needs the teacher
        and has weight 0 is 0.
    """
    zero = student.hidden.new_zeros((), dtype=student.weight.dtype)

    def parts_of(logits: Tensor, rows: slice) -> LossParts:
        """Return the parts of one chunk (rows, vocab) that need logits."""
        distil = mlm = zero
        if (targets := labels[rows]).numel():
            mlm = mlm_loss(logits[: len(targets)], targets) / counts.mlm
        if teacher is not None and weights.distil:
            target = project(teacher.features[rows], teacher.weight, teacher.bias)
            distil = distil_loss(logits, target.to(logits.dtype), temperature) / counts.distil
        return LossParts(distil, mlm, zero)

    distilled = teacher is not None and weights.distil > 0
    features = student.features if distilled else student.features[: len(labels)]
    chunk = chunk or CHUNK_ROWS[features.device.type]
    loss, distil, mlm = _Vocabulary.apply(  # type: ignore[no-untyped-call]
        features, student.weight, student.bias, parts_of, weights, chunk, scale
    )
    cosine = zero
    if teacher is not None and weights.cosine:
        cosine = cosine_loss(student.hidden.to(zero.dtype), teacher.hidden.to(zero.dtype)) / counts.cosine
    rest = LossParts(zero, zero, cosine).loss(weights)
    return loss + (rest if scale is None else rest * scale), LossParts(distil, mlm, cosine.detach())


def project(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Project features (rows, hidden) to logits (rows, vocab), in the precision of the weight."""
    return F.linear(features.to(weight.dtype), weight, bias.to(weight.dtype))


def _down_to_logits(
    logits: Tensor, rows: slice, parts_of: Callable[[Tensor, slice], LossParts], weights: LossWeights
) -> tuple[Tensor, Tensor]:
    """Return a chunk's gradient (chunk, vocab), and its loss, DistilLoss and MLMLoss (3,)."""
    logits.requires_grad_()
    with torch.enable_grad():
        parts = parts_of(logits, rows)
        loss = parts.loss(weights)
        (d_logits,) = torch.autograd.grad(loss, logits)
    return d_logits, torch.stack([loss, parts.distil, parts.mlm]).detach()


class _Vocabulary(torch.autograd.Function):
    """Projection and losses, chunk by chunk; gradients are computed in the forward pass, while a chunk's logits exist.

    That needs neither full logits nor a second projection in the backward pass: autograd goes from a chunk's losses to
    its logits, and two matrix products from there to features and weight.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        parts_of: Callable[[Tensor, slice], LossParts],
        weights: LossWeights,
        chunk: int,
        scale: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = features.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        matrix = weight.to(low)  # (vocab, hidden), once for all chunks
        sums = weight.new_zeros(3)  # loss, DistilLoss, MLMLoss
        d_features, d_weight, d_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(features), chunk):
                rows = slice(start, start + chunk)
                x = features[rows].to(low)  # (chunk, hidden)
                d_logits, values = _down_to_logits(project(x, matrix, bias).to(weight.dtype), rows, parts_of, weights)
                sums += values
                if scale is not None:  # here: the cast below would flush small gradients to zero
                    d_logits *= scale
                d_bias += d_logits.sum(0)
                d_logits = d_logits.to(low)  # (chunk, vocab)
                d_features[rows] = d_logits @ matrix
                if low == weight.dtype:
                    d_weight.addmm_(d_logits.T, x)
                else:
                    d_weight += d_logits.T @ x  # a chunk's product in low precision, their sum in float32
                del d_logits  # otherwise it would exist beside the next chunk's
        ctx.save_for_backward(d_features, d_weight, d_bias)
        total, distil, mlm = (each.clone() for each in sums)
        if scale is not None:
            total = total * scale
        ctx.mark_non_differentiable(distil, mlm)
        return total, distil, mlm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # In place: autograd refuses a second backward pass over the same graph, so that it cannot be wrong.
        return *(gradient.mul_(d_total) for gradient in ctx.saved_tensors), None, None, None, None
