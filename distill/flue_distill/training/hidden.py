"""HiddenLoss: what the student's layers put out, projected, is to be what the teacher's layers do.

    HiddenLoss = Σ_m MSE(H_m · W, H'_g(m))

(Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", arXiv:1909.10351, its hidden states.)
``g`` maps the student's layers to the teacher's, and ``W`` (student's width, teacher's width) is learned with the
student, one for all layers, and dropped with the training. A layer's output is what the next layer reads: after its
norm in BERT's kin, before the next one in ModernBERT.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flue_bench.errors import UsageError
from flue_bench.training.models import width
from flue_distill.training.families import layer_names
from flue_distill.training.objective import Rows
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch, MaskedLM


def hidden_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance between states (rows, width), mean over the width, summed over rows."""
    return F.mse_loss(student, teacher, reduction="sum") / teacher.shape[-1]


def layer_map(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return the teacher's layer for each of the student's, from 0: TinyBERT's ``g(m) = m · N / n``, rounded up.

    Each of the student's layers learns from the last of the teacher's that it stands for: of 12 → 6, 1, 3, 5, 7, 9, 11.
    """
    return tuple(-(-(m + 1) * teacher_layers // student_layers) - 1 for m in range(student_layers))


class HiddenLoss(nn.Module):
    """The part of the loss, with its projection."""

    def __init__(self, student: MaskedLM, teacher: MaskedLM, recipe: DistilRecipe) -> None:
        """Make the projection, and have both models show their layers.

        Where the widths are equal it starts as the identity, else with orthonormal rows or columns, drawn by the seed.

        Raises:
            UsageError: the recipe's map names a layer that the teacher lacks, or has not one for each of the student's.
        """
        super().__init__()
        own, theirs = layer_names(student.network), layer_names(teacher.network)
        mapped = recipe.hidden_layers or layer_map(len(theirs), len(own))
        if len(mapped) != len(own) or not all(0 <= layer < len(theirs) for layer in mapped):
            raise UsageError(
                f"hidden_layers {','.join(map(str, mapped))}: one of the teacher's layers, 0 to {len(theirs) - 1}, for "
                f"each of the student's {len(own)}."
            )
        self.pairs = [(name, theirs[layer]) for name, layer in zip(own, mapped, strict=True)]
        student.watch(own)
        teacher.watch(name for _, name in self.pairs)
        sizes = width(teacher.network.config), width(student.network.config)
        start = torch.empty(sizes, dtype=torch.float64)
        if sizes[0] == sizes[1]:
            nn.init.eye_(start)
        else:
            nn.init.orthogonal_(start, generator=torch.Generator().manual_seed(recipe.seed))
        self.projection = nn.Parameter(start.to(student.weight))  # (teacher's width, student's width): W transposed

    def forward(self, student: Rows, teacher: Rows, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over layers and over positions without padding."""

        def real(states: Tensor) -> Tensor:
            rows = states.flatten(0, 1)  # (batch · length, width)
            return rows if batch.attention is None else rows[batch.real]

        kind = self.projection.dtype
        total = self.projection.new_zeros(())
        for own, theirs in self.pairs:
            projected = F.linear(real(student.inside[own]), self.projection).to(kind)
            total = total + hidden_loss(projected, real(teacher.inside[theirs]).to(kind))
        return total
