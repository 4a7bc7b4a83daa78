"""RelationLoss: positions are to attend to each other as in the teacher, by queries, by keys and by values.

    RelationLoss = Σ_{X ∈ Q, K, V} 1 / A · Σ_a KL(softmax(X'_a X'_aᵀ / √d') ‖ softmax(X_a X_aᵀ / √d))

(Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation", arXiv:2012.15828, the three relations
with equal weights.) Q, K and V are those of the student's last layer and, primed, of a chosen layer of the teacher, cut
into A relation heads of d and d' units: hidden sizes, layers, attention heads and outputs may all differ. Where
positions are told by a rotation of queries and keys (ModernBERT), they are taken before it.

``plain`` is the loss as one would write it down; ``fast`` never has more than some (length, length) matrices at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flue_bench.errors import UsageError
from flue_bench.training.models import width
from flue_distill.training.families import attention_names, layer_names, queries_keys_values
from flue_distill.training.objective import Rows
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch, MaskedLM

CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**26}
"""Values of relations that exist at once, of one model."""


def plain(student: Tensor, teacher: Tensor, heads: int, real: Tensor) -> Tensor:
    """Compute one relation's loss in its plain form, as a reference.

    Args:
        student: queries, keys or values (batch, length, width).
        teacher: the same of the teacher (batch, length, another width).
        heads: A; both widths are multiples of it.
        real: (batch, length), False at padding.

    Returns:
        The divergence, mean over relation heads, summed over the positions without padding.
    """
    total = student.new_zeros(())
    for ours, theirs, here in zip(student, teacher, real, strict=True):
        log_q, log_p = (_log_relations(_heads(x[here][None], heads)) for x in (ours, theirs))
        total = total + F.kl_div(log_q, log_p, reduction="sum", log_target=True) / heads
    return total


def fast(student: Tensor, teacher: Tensor, heads: int, real: Tensor | None, chunk: int | None = None) -> Tensor:
    """Compute the same as ``plain``, some heads of some sequences at a time, with the gradient by hand.

    Args:
        student: as for ``plain``; gradients flow to it.
        teacher: likewise, without gradients.
        heads: likewise.
        real: likewise; None if nothing is padded.
        chunk: heads of sequences at once; None chooses for the device.
    """
    chunk = chunk or max(1, CHUNK_VALUES[student.device.type] // student.shape[1] ** 2)
    loss: Tensor = _Relations.apply(student, teacher, heads, real, chunk)  # type: ignore[no-untyped-call]
    return loss


def _heads(x: Tensor, heads: int) -> Tensor:
    """Return (batch, length, width) as (batch · heads, length, width / heads), in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _log_relations(x: Tensor, real: Tensor | None = None) -> Tensor:
    """Return the logarithms of the relations (n, length, length) of n heads (n, length, d)."""
    scores = x @ x.mT * x.shape[-1] ** -0.5
    if real is not None:  # finite, so that 0 · log 0 is 0
        scores = scores.masked_fill(~real[:, None], torch.finfo(scores.dtype).min / 2)
    return F.log_softmax(scores, -1)


class _Relations(torch.autograd.Function):
    """``fast``; the gradient is computed in the forward pass, while a chunk's relations exist.

    Of KL(p ‖ q) with q = softmax(S) it is q - p to S; and S = X Xᵀ / √d hands (D + Dᵀ) X / √d on to X for D to S.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, heads: int, real: Tensor | None, chunk: int) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            ours, theirs = _heads(student, heads), _heads(teacher, heads)  # (batch · heads, length, d or d')
            here = None if real is None else real.repeat_interleave(heads, 0)  # (batch · heads, length)
            down = torch.empty_like(ours)
            total = ours.new_zeros(())
            for start in range(0, len(ours), chunk):
                some = slice(start, start + chunk)
                kept = None if here is None else here[some]
                log_q, log_p = _log_relations(ours[some], kept), _log_relations(theirs[some], kept)
                p = log_p.exp()
                differ = log_q.exp() - p  # (chunk, length, length)
                each = (p * (log_p - log_q)).sum(-1)  # (chunk, length)
                if kept is not None:
                    each, differ = each * kept, differ * kept[..., None]
                total += each.sum()
                down[some] = (differ + differ.mT) @ ours[some]
            down *= ours.shape[-1] ** -0.5 / heads
            batch = len(student)
            ctx.save_for_backward(torch.unflatten(down, 0, (batch, heads)).transpose(1, 2).flatten(2))
            ctx.kind = student.dtype
            return total / heads

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        (down,) = ctx.saved_tensors  # in float32 until the loss scale has multiplied it
        return (down * d_total).to(ctx.kind), None, None, None, None


class RelationLoss(nn.Module):
    """The part of the loss; it has no parameters."""

    def __init__(self, student: MaskedLM, teacher: MaskedLM, recipe: DistilRecipe) -> None:
        """Have both models show queries, keys and values.

        Raises:
            UsageError: the teacher has no such layer, or a width is no multiple of the number of relation heads.
        """
        super().__init__()
        depth = len(layer_names(teacher.network))
        layer = depth - 1 if recipe.relation_layer is None else recipe.relation_layer
        if layer >= depth:
            raise UsageError(f"relation_layer {layer}: the teacher has layers 0 to {depth - 1}.")
        self.heads = recipe.relation_heads or teacher.network.config.num_attention_heads
        for role, model in (("student", student), ("teacher", teacher)):
            if (size := width(model.network.config)) % self.heads:
                raise UsageError(
                    f"relation_heads {self.heads}: the {role}'s {size} hidden units cannot be cut into so many. Use "
                    "--set relation_heads=N with an N that divides the hidden sizes of student and teacher."
                )
        self.own = attention_names(student.network, -1)
        self.theirs = attention_names(teacher.network, layer)
        student.watch(self.own)
        teacher.watch(self.theirs)

    def forward(self, student: Rows, teacher: Rows, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over Q, K and V and over positions without padding."""
        ours = queries_keys_values([student.inside[name] for name in self.own])
        theirs = queries_keys_values([teacher.inside[name] for name in self.theirs])
        real = None if batch.attention is None else batch.attention.bool()
        losses = [fast(x, y, self.heads, real) for x, y in zip(ours, theirs, strict=True)]
        return torch.stack(losses).sum().to(student.weight.dtype)
