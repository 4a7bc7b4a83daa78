"""What each family of masked LMs calls its parts: its head before the vocabulary, its layers, queries, keys, values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flue_bench.errors import ModelError


class Head(NamedTuple):
    """A masked-LM head, taken apart."""

    transform: Callable[[Tensor], Tensor]
    """Last hidden states (rows, hidden) → inputs of the projection on the vocabulary (rows, features)."""
    weight: Tensor
    """(vocab, features), of the projection: the network's own parameter."""
    bias: Tensor | None
    """(vocab,)"""


class Family(NamedTuple):
    """Where a family keeps what distillation reads."""

    transform: Callable[[Any], Callable[[Tensor], Tensor]]
    """Network → the head without the projection."""
    layers: str
    """Name of the list of layers, in the base model."""
    attention: tuple[str, ...]
    """Names, in a layer, of the projections to queries, to keys and to values; or of the one that makes all three."""


def _roberta(network: Any) -> Callable[[Tensor], Tensor]:
    head = network.lm_head
    return lambda x: head.layer_norm(nn.functional.gelu(head.dense(x)))


def _bert(network: Any) -> Callable[[Tensor], Tensor]:
    transform: nn.Module = network.cls.predictions.transform
    return transform


def _distilbert(network: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: network.vocab_layer_norm(network.activation(network.vocab_transform(x)))


def _deberta(network: Any) -> Callable[[Tensor], Tensor]:
    if network.config.legacy:
        return _bert(network)
    head = network.lm_predictions.lm_head
    return lambda x: head.LayerNorm(head.transform_act_fn(head.dense(x)))


def _modernbert(network: Any) -> Callable[[Tensor], Tensor]:
    head: nn.Module = network.head
    return head


_LIKE_BERT = "encoder.layer", ("attention.self.query", "attention.self.key", "attention.self.value")
_PROJECTED = ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj")

FAMILIES = {
    "bert": Family(_bert, *_LIKE_BERT),
    "camembert": Family(_roberta, *_LIKE_BERT),
    "deberta-v2": Family(_deberta, "encoder.layer", _PROJECTED),
    "distilbert": Family(_distilbert, "transformer.layer", ("attention.q_lin", "attention.k_lin", "attention.v_lin")),
    "modernbert": Family(_modernbert, "layers", ("attn.Wqkv",)),
    "roberta": Family(_roberta, *_LIKE_BERT),
    "xlm-roberta": Family(_roberta, *_LIKE_BERT),
}
"""Model type → where it keeps them. CamemBERTa and CamemBERTaV2 are deberta-v2, ModernCamemBERT is modernbert."""


def family_of(network: Any) -> Family:
    """Return the family of a transformers masked LM.

    Raises:
        ModelError: it is not known here.
    """
    kind = network.config.model_type
    if kind not in FAMILIES:
        raise ModelError(f"Masked LMs of type '{kind}' cannot be distilled; known: {', '.join(FAMILIES)}.")
    return FAMILIES[kind]


def head_of(network: Any) -> Head:
    """Return the head of a transformers masked LM of a known family, taken apart."""
    transform = family_of(network).transform(network)
    if network.config.model_type == "deberta-v2" and not network.config.legacy:
        # Its "output embeddings" are the dense layer before; the projection is by the word embeddings themselves.
        return Head(transform, network.get_input_embeddings().weight, network.lm_predictions.lm_head.bias)
    decoder = network.get_output_embeddings()
    return Head(transform, decoder.weight, decoder.bias)


def layer_names(network: Any) -> list[str]:
    """Return the names of a network's layers in its base model, from first to last."""
    layers = family_of(network).layers
    return [f"{layers}.{number}" for number in range(network.config.num_hidden_layers)]


def attention_names(network: Any, layer: int) -> list[str]:
    """Return the names of what makes a layer's queries, keys and values, or of the one module that makes all three."""
    return [f"{layer_names(network)[layer]}.{name}" for name in family_of(network).attention]


def queries_keys_values(outputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return queries, keys and values, each (batch, length, width), of the outputs of ``attention_names``."""
    return torch.chunk(outputs[0], 3, -1) if len(outputs) == 1 else tuple(outputs)
