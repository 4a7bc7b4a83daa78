"""What a student loses against a teacher's soft labels: in distillation on texts, and in that on a task.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from flue_bench.kinds.network.network import Batch, Encoded, Floats, Ints


def distil_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, summed over rows (Hinton et al. 2015).

    Args:
        student: logits (rows, classes); of a language model, the classes are the vocabulary.
        teacher: logits (rows, classes).
        temperature: T.
    """
    log_p = F.log_softmax(teacher / temperature, -1)
    log_q = F.log_softmax(student / temperature, -1)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2


@dataclass(frozen=True)
class SoftLabels:
    """What a teacher says of each row of train, and how much of the loss that is."""

    scores: Sequence[Floats]
    """One array a row of train, from ``Encoded.taught``."""
    temperature: float
    alpha: float
    """Weight of the soft labels; the task's own have 1 - alpha."""

    @property
    def lacking(self) -> int:
        """The number of terms without a soft label."""
        return sum(int(np.isnan(row).any(-1).sum()) for row in self.scores)

    def loss(self, outputs: Any, data: Encoded, batch: Batch, rows: Sequence[int] | Ints) -> Tensor:
        """Return ``(1 - alpha) · loss + alpha · soft``, (), summed as ``Encoded.loss`` is.

        ``soft`` is ``distil_loss``, and for numbers, which no temperature softens, the squared error to the teacher's.
        A term without a soft label, as a word that the teacher does not see, has its label alone, of weight 1 - alpha.

        Args:
            outputs: the student's outputs.
            data: train.
            batch: the inputs and labels of these rows.
            rows: their numbers.
        """
        student, teacher = data.beside(outputs, batch, rows, [self.scores[row] for row in rows])
        if student.ndim == 1:
            soft = (student - teacher).square().sum()
        else:
            soft = distil_loss(student, teacher, self.temperature)
        return (1 - self.alpha) * data.loss(outputs, batch) + self.alpha * soft
