"""Teacher and student: masked language models, taken apart where the objective needs it, and made from one another."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flue_bench.errors import ModelError, UsageError
from flue_bench.training import models
from flue_distill.training.objective import Rows
from flue_distill.training.recipe import KlRows


class Batch(NamedTuple):
    """Some sequences, corrupted, and where to look."""

    ids: Tensor
    """(batch, length) what the models read."""
    attention: Tensor | None
    """(batch, length) 1 but at padding; None where nothing is padded."""
    real: Tensor
    """(real,) flat positions that are no padding, masked ones first."""
    labels: Tensor
    """(masked,) tokens that were at the first of these positions."""


def _roberta(network: Any) -> Callable[[Tensor], Tensor]:
    head = network.lm_head
    return lambda x: head.layer_norm(nn.functional.gelu(head.dense(x)))


def _bert(network: Any) -> Callable[[Tensor], Tensor]:
    transform: nn.Module = network.cls.predictions.transform
    return transform


def _distilbert(network: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: network.vocab_layer_norm(network.activation(network.vocab_transform(x)))


TRANSFORMS = {
    "bert": _bert,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
}
"""Model type → its masked-LM head without the projection on the vocabulary."""


class MaskedLM(nn.Module):
    """A transformers masked LM whose encoder, head and projection are called apart: so only some rows are projected."""

    def __init__(self, network: Any) -> None:
        """Around ``network``, whose parameters stay its own.

        Raises:
            ModelError: of a family whose head is not known here.
        """
        super().__init__()
        family = network.config.model_type
        if family not in TRANSFORMS:
            raise ModelError(f"Masked LMs of type '{family}' cannot be distilled; known: {', '.join(TRANSFORMS)}.")
        self.network = network
        self.transform = TRANSFORMS[family](network)
        decoder = network.get_output_embeddings()
        self.weight, self.bias = decoder.weight, decoder.bias  # the network's own parameters, (vocab, hidden), (vocab,)

    def forward(self, batch: Batch, projected: KlRows) -> Rows:
        """Hidden states at all positions that are no padding; head features at these, or at the masked ones alone."""
        encoded = self.network.base_model(input_ids=batch.ids, attention_mask=batch.attention)
        hidden = encoded.last_hidden_state.flatten(0, 1)[batch.real]  # (real, hidden)
        features = self.transform(hidden[: len(batch.labels)] if projected == "masked" else hidden)  # (rows, hidden)
        return Rows(hidden, features, self.weight, self.bias)


class Teacher:
    """A frozen masked LM that is only asked."""

    def __init__(self, network: Any, low: torch.dtype) -> None:
        """Around ``network``, on its device.

        Matrices are kept in ``low``, the precision in which autocast multiplies: the same products, without a cast at
        every step.
        """
        self.model = MaskedLM(network.eval().requires_grad_(False))
        weight = self.model.weight.to(low)
        for module in network.base_model.modules():
            if isinstance(module, nn.Linear):
                module.to(low)
        self.weight = weight

    def __call__(self, batch: Batch, projected: KlRows) -> Rows:
        """As ``MaskedLM``, without gradients."""
        with torch.inference_mode():
            rows = self.model(batch, projected)
        return Rows(rows.hidden.clone(), rows.features.clone(), self.weight, rows.bias)


def spread(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Layers to keep, first and last among them, evenly spread: ``round(i (N - 1) / (n - 1))``, halves up.

    For 12 → 6 these are the reference's 0, 2, 4, 7, 9, 11.
    """
    if student_layers == 1:
        return (0,)
    last, gaps = teacher_layers - 1, student_layers - 1
    return tuple((2 * i * last + gaps) // (2 * gaps) for i in range(student_layers))


def student_of(teacher: Any, layers: tuple[int, ...] = ()) -> tuple[Any, tuple[int, ...]]:
    """The teacher's configuration with fewer layers; layers that are kept, embeddings and head are copied.

    Args:
        teacher: a transformers masked LM.
        layers: of the teacher, from 0; none: half of them, evenly spread.

    Returns:
        The student, and the teacher's layer behind each of its layers.

    Raises:
        UsageError: a layer that the teacher does not have, or one named twice.
    """
    depth = teacher.config.num_hidden_layers
    kept = layers or spread(depth, max(1, depth // 2))
    if len(set(kept)) < len(kept) or not all(0 <= layer < depth for layer in kept):
        raise UsageError(f"layers {list(kept)}: the teacher has layers 0 to {depth - 1}, and each can be kept once.")
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in kept]
    student = from_config(config, seed=0)
    state = teacher.state_dict()
    numbered = re.compile(r"(\.layer\.)(\d+)\.")
    student.load_state_dict(
        {name: state[numbered.sub(lambda m: f"{m[1]}{kept[int(m[2])]}.", name)] for name in student.state_dict()}
    )
    return student, kept


def from_config(config: Any, seed: int) -> Any:
    """A masked LM with random weights, float32."""
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(seed)
    try:
        return AutoModelForMaskedLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(
            f"No masked LM can be made from a configuration of type '{config.model_type}': {models.first_line(error)}."
        ) from error


def check_fit(student: Any, teacher: Any, name: str) -> None:
    """Refuse a student that cannot be compared with the teacher.

    Raises:
        ModelError: another vocabulary or hidden size; says which.
    """
    for key, what in (("vocab_size", "entries in its vocabulary"), ("hidden_size", "hidden units")):
        found, wanted = getattr(student.config, key), getattr(teacher.config, key)
        if found != wanted:
            raise ModelError(
                f"Student {name} has {found:,} {what}, the teacher {wanted:,}: their outputs cannot be compared. "
                "Take a student of the teacher's sizes, or leave --student out."
            )
