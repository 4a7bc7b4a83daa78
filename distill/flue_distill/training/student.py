"""Teacher and student: masked language models, split where the objective needs it, one made from the other."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flue_bench.errors import ModelError, UsageError
from flue_bench.training import models
from flue_distill.training.families import family_of, head_of
from flue_distill.training.objective import Rows, low_copy
from flue_distill.training.recipe import KlRows, LossWeights


class Batch(NamedTuple):
    """Some corrupted sequences and their positions of interest."""

    ids: Tensor
    """(batch, length), the models' input."""
    attention: Tensor | None
    """(batch, length), 1 except at padding; None if nothing is padded."""
    real: Tensor
    """(real,), flat positions without padding, masked ones first."""
    labels: Tensor
    """(masked,), original tokens at the first of these positions."""


class MaskedLM(nn.Module):
    """A transformers masked LM with encoder, head and projection called separately: only some rows are projected."""

    def __init__(self, network: Any) -> None:
        """Wrap ``network``, which keeps its parameters.

        Raises:
            ModelError: the head of its family is not known here.
        """
        super().__init__()
        self.network = network
        self.transform, self.weight, bias = head_of(
            network
        )  # the network's own parameters, (vocab, features), (vocab,)
        if bias is None:
            self.register_buffer("bias", self.weight.new_zeros(len(self.weight)), persistent=False)
        else:
            self.bias = bias
        self.watched: set[str] = set()
        self.seen: dict[str, Tensor] = {}

    def watch(self, names: Iterable[str]) -> None:
        """Have ``Rows.inside`` hold what these modules of the base model put out."""
        for name in set(names) - self.watched:
            self.network.base_model.get_submodule(name).register_forward_hook(partial(self._see, name))
            self.watched.add(name)

    def _see(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        # The first call of a pass: DeBERTa-v2 projects its relative positions by the same matrices afterwards.
        self.seen.setdefault(name, output[0] if isinstance(output, tuple) else output)

    @property
    def compiled(self) -> bool:
        """Whether the encoder goes through ``torch.compile``, as ``nn.Module.compile`` arranges it."""
        return self.network.base_model._compiled_call_impl is not None

    def forward(self, batch: Batch, projected: KlRows) -> Rows:
        """Return hidden states at all positions without padding, and head features at these or only the masked ones."""
        self.seen = {}
        encoded = self.network.base_model(input_ids=batch.ids, attention_mask=batch.attention)
        hidden = encoded.last_hidden_state.flatten(0, 1)[batch.real]  # (real, hidden)
        features = self.transform(hidden[: len(batch.labels)] if projected == "masked" else hidden)  # (rows, hidden)
        inside, self.seen = self.seen, {}  # no graph outlives its step
        return Rows(hidden, features, self.weight, self.bias, inside)


class Teacher:
    """A frozen masked LM, used for inference only."""

    def __init__(self, network: Any, low: torch.dtype, whole: bool = False) -> None:
        """Wrap ``network``, on its device.

        Matrices are kept in ``low``, the precision in which autocast multiplies: the same products, without a cast at
        every step. ``whole``: all else is too, where ``low`` is bf16, whose range is float32's.
        """
        self.model = MaskedLM(network.eval().requires_grad_(False))
        self.weight = low_copy(self.model.weight, low)
        self.whole = whole and low == torch.bfloat16
        for module in network.base_model.modules():
            if isinstance(module, nn.Linear):
                module.to(low)
        if self.whole:
            self.model.to(low)

    def __call__(self, batch: Batch, projected: KlRows) -> Rows:
        """Return the same as ``MaskedLM``, without gradients."""
        casts = torch.autocast(batch.ids.device.type, enabled=False) if self.whole else nullcontext()
        with torch.inference_mode(), casts:
            rows = self.model(batch, projected)
        inside = {name: each.clone() for name, each in rows.inside.items()}
        return Rows(rows.hidden.clone(), rows.features.clone(), self.weight, rows.bias, inside)


def spread(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return the layers to keep, evenly spread, first and last included: ``round(i (N - 1) / (n - 1))``, halves up.

    For 12 → 6 these are the reference's 0, 2, 4, 7, 9, 11.
    """
    if student_layers == 1:
        return (0,)
    last, gaps = teacher_layers - 1, student_layers - 1
    return tuple((2 * i * last + gaps) // (2 * gaps) for i in range(student_layers))


def student_of(teacher: Any, layers: tuple[int, ...] = ()) -> tuple[Any, tuple[int, ...]]:
    """Make a student: the teacher's configuration with fewer layers, and copies of these, of embeddings and head.

    Args:
        teacher: a transformers masked LM.
        layers: layers of the teacher to keep, from 0; empty for half of them, evenly spread.

    Returns:
        The student, and the teacher's layer behind each of its layers.

    Raises:
        UsageError: a layer does not exist in the teacher, is named twice, or cannot stand where it would.
    """
    depth = teacher.config.num_hidden_layers
    kept = layers or spread(depth, max(1, depth // 2))
    if len(set(kept)) < len(kept) or not all(0 <= layer < depth for layer in kept):
        raise UsageError(f"layers {list(kept)}: the teacher has layers 0 to {depth - 1}, and each can be kept once.")
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):  # local or global attention: layers keep theirs, wherever they stand now
        config.layer_types = [config.layer_types[layer] for layer in kept]
        if hasattr(config, "global_attn_every_n_layers"):  # the older name of a regular pattern, which this one is not
            del config.global_attn_every_n_layers
    student = from_config(config, seed=0)
    state = teacher.state_dict()
    numbered = re.compile(rf"(?<=\b{re.escape(family_of(teacher).layers)}\.)\d+(?=\.)")
    behind = {name: numbered.sub(lambda m: str(kept[int(m[0])]), name) for name in student.state_dict()}
    left = {name for name in state if (at := numbered.search(name)) and int(at[0]) in kept} - set(behind.values())
    if left or not state.keys() >= set(behind.values()):  # ModernBERT's first layer has no norm before its attention
        raise UsageError(
            f"layers {','.join(map(str, kept))}: the first layer of a {config.model_type} differs in form from the "
            "others. Keep layer 0, as the first one."
        )
    student.load_state_dict({name: state[other] for name, other in behind.items()})
    return student, kept


def from_config(config: Any, seed: int) -> Any:
    """Return a masked LM with random weights, float32."""
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(seed)
    try:
        return AutoModelForMaskedLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(
            f"No masked LM can be made from a configuration of type '{config.model_type}': {models.first_line(error)}."
        ) from error


def check_fit(student: Any, teacher: Any, name: str, weights: LossWeights) -> None:
    """Refuse a student that the weighted parts of the loss cannot compare with the teacher.

    Raises:
        ModelError: the vocabulary or the hidden size differs; the message says which, and which parts are free of it.
    """
    compared = (
        ("vocab_size", "entries in its vocabulary", "DistilLoss compares outputs", "weight_distil", weights.distil),
        ("hidden_size", "hidden units", "CosineLoss compares hidden states", "weight_cosine", weights.cosine),
    )
    for key, what, why, field, weight in compared:
        own, wanted = getattr(student.config, key), getattr(teacher.config, key)
        if own != wanted and weight:
            raise ModelError(
                f"Student {name} has {own:,} {what}, the teacher {wanted:,}, and {why}. Use a student of the teacher's "
                f"sizes, or --set {field}=0: HiddenLoss (weight_hidden) and RelationLoss (weight_relations) compare "
                "models of any sizes."
            )
