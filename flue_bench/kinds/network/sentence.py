"""Kinds ``sentence`` and ``sentence-pair``: texts, and transformers' own head for one label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flue_bench.kinds.network.network import Encoded, Network, encode_examples
from flue_bench.task import Example, Task


class SentenceNetwork(Network[Example]):
    """Classification of a text, or of a pair."""

    def encode(self, examples: Sequence[Example], task: Task, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenise texts, or pairs if the examples have a second text."""
        labels = np.array([example.label for example in examples], dtype=np.int64)
        return encode_examples(examples, labels, tokenizer, max_length)


SENTENCE = SentenceNetwork()
