"""Kind ``regression``: one or two texts, transformers' own head with one output, and the squared error.

The network learns the share of the task's range, so that the loss of one task is as large as that of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from flue_bench.kinds.network.network import Batch, Encoded, Floats, Ints, Network, encode_examples
from flue_bench.kinds.regression import Measured, range_of
from flue_bench.task import Task


class EncodedNumbers(Encoded):
    """Texts, or pairs; ``labels`` are (rows,), float32, from 0 at the range's lower end to 1 at its upper one."""

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the summed squared error, ()."""
        error: torch.Tensor = outputs.logits.float()[:, 0] - batch.labels
        return error.square().sum()

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's answer, (), as a share of the range."""
        return list(outputs.logits.float()[:, 0].cpu().numpy())

    def decided(self, answers: Sequence[Floats], task: Task) -> dict[str, Sequence[Any]]:
        """Return the predicted numbers, in the task's unit and not cut to its range."""
        low, high = range_of(task)
        return {"predicted": [low + (high - low) * float(answer) for answer in answers]}

    def kept(self, answers: Sequence[Floats]) -> dict[str, Sequence[Any]]:
        """Return nothing: the predicted numbers are all there is."""
        return {}


class RegressionNetwork(Network[Measured]):
    """A number for a text, or for a pair."""

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        """Set a single output."""
        config.num_labels = 1
        config.problem_type = "regression"

    def encode(self, examples: Sequence[Measured], task: Task, tokenizer: Any, max_length: int) -> EncodedNumbers:
        """Tokenise texts, or pairs if the examples have a second text."""
        low, high = range_of(task)
        values = np.array([example.value for example in examples], np.float64)
        shares = ((values - low) / (high - low)).astype(np.float32)
        return EncodedNumbers(**vars(encode_examples(examples, shares, tokenizer, max_length)))


REGRESSION = RegressionNetwork()
