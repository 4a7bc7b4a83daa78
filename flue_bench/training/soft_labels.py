"""What a student loses against a teacher's soft labels: in distillation on texts, and in that on a task.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


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
