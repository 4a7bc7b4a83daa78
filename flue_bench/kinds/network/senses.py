"""Kind ``senses``: the vector of one word of a sentence, from a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from flue_bench.kinds.network.network import Batch, Encoded, Floats, Frozen, Ints, flat, offsets_of
from flue_bench.kinds.network.tokens import cut_words, special_tokens
from flue_bench.kinds.senses import LAST, SENSES, Occurrence, nearest
from flue_bench.task import Task


@dataclass(frozen=True)
class EncodedOccurrences(Encoded):
    """Sentences; ``labels`` are (rows, 2), where the sub-words of the word begin and end in its row."""

    pooling: str

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return the vector of each row's word, (width,); an empty one for a word without sub-words.

        Args:
            outputs: (rows, longest, width), one layer.
            batch: as for ``Encoded.read``.
            rows: likewise.
        """
        begin, end = batch.labels[:, :1], batch.labels[:, 1:]  # (rows, 1)
        place = torch.arange(outputs.shape[1], device=outputs.device)
        if self.pooling == "first":
            end = torch.minimum(begin + 1, end)
        elif self.pooling == "last":
            begin = torch.maximum(end - 1, begin)
        chosen = ((begin <= place) & (place < end)).float()  # (rows, longest)
        sums = (outputs.float() * chosen[..., None]).sum(1)  # no product of matrices: autocast would round it
        vectors = (sums / chosen.sum(1, keepdim=True).clamp(min=1)).cpu().numpy()
        seen = self.labels[np.asarray(rows), 0] < self.labels[np.asarray(rows), 1]
        return [vector if there else np.empty(0, np.float32) for vector, there in zip(vectors, seen, strict=True)]


class Layer(nn.Module):
    """An encoder of which one layer is read: 0 is the embeddings, -1 the last."""

    def __init__(self, encoder: nn.Module, layer: int) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return the hidden states of the layer, (rows, longest, width)."""
        states: torch.Tensor
        if self.layer == LAST:
            states = self.encoder(**inputs)[0]
        else:
            states = self.encoder(**inputs, output_hidden_states=True).hidden_states[self.layer]
        return states


class SensesNetwork(Frozen[Occurrence]):
    """The nearest sense by the vectors of a frozen encoder."""

    def misfit(self, config: Any, settings: Mapping[str, Any]) -> str | None:
        """Return that the model has fewer layers than asked for."""
        layers, layer = getattr(config, "num_hidden_layers", None), settings["layer"]
        if layers is None or -layers - 1 <= layer <= layers:
            return None
        return f"it has {layers} layers: 'layer' is from 0 (the embeddings) to {layers}, or from -1 to {-layers - 1}"

    def encode(self, examples: Sequence[Occurrence], task: Task, tokenizer: Any, max_length: int) -> EncodedOccurrences:
        """Tokenise sentences word by word; of one that is too long, the part around the word is kept."""
        prefix, suffix = special_tokens(tokenizer)
        room = max_length - len(prefix) - len(suffix)
        ids: list[list[int]] = []
        places: list[tuple[int, int]] = []
        truncated = 0
        for example, (body, owners) in zip(examples, cut_words(examples, tokenizer), strict=True):
            mine = [place for place, owner in enumerate(owners) if owner == example.target]
            begin, end = (mine[0], mine[-1] + 1) if mine else (0, 0)
            truncated += len(body) > room
            first = min(max((begin + end - room) // 2, 0), max(len(body) - room, 0))
            ids.append([*prefix, *body[first : first + room], *suffix])
            shift = len(prefix) - first
            places.append((max(begin, first) + shift, min(end, first + room) + shift) if mine else (0, 0))
        return EncodedOccurrences(
            ids=flat(ids, np.int32),
            offsets=offsets_of([len(row) for row in ids]),
            type_ids=np.zeros(sum(map(len, ids)), np.uint8)
            if "token_type_ids" in tokenizer.model_input_names
            else None,
            labels=np.array(places, np.int64).reshape(-1, 2),
            pad_id=tokenizer.pad_token_id,
            truncated=truncated,
            pooling=SENSES.settings(task, {})["pooling"],
        )

    def known(self, train: Sequence[Occurrence], asked: Sequence[Occurrence]) -> list[Occurrence]:
        """Return the occurrences in train of lemmas that are asked for."""
        lemmas = {example.lemma for example in asked}
        return [example for example in train if example.lemma in lemmas]

    def frozen(self, encoder: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
        """Return the encoder with the layer that is read."""
        return Layer(encoder, settings["layer"])

    def answered(
        self,
        known: Sequence[Occurrence],
        of_known: Sequence[Floats],
        asked: Sequence[Occurrence],
        of_asked: Sequence[Floats],
    ) -> dict[str, Sequence[Any]]:
        """Return the nearest sense of each occurrence, its similarity, and among how many it was chosen."""
        found = nearest(known, of_known, asked, of_asked)
        return {"predicted": found.senses, "similarity": found.similarity, "choices": found.choices}


SENSES_NETWORK = SensesNetwork()
