"""Kind ``regression``: one or two texts, transformers' own head with one output, and the squared error.

The network learns the share of the task's range, so that the loss of one task is as large as that of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from flue_bench.errors import quoted
from flue_bench.kinds.network.network import Batch, Encoded, Floats, Ints, Network, encode_examples
from flue_bench.kinds.regression import Measured, line_of, range_of
from flue_bench.record import NoTraining
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

    def scores(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's answer, (), as ``read`` does."""
        return self.read(outputs, batch, rows)

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both answers to each row, (rows,), as shares of the range."""
        answers, theirs = super().beside(outputs, batch, rows, scores)
        return answers[:, 0], theirs

    def in_task(self, answers: Sequence[Floats], task: Task, how: NoTraining) -> Sequence[Floats]:
        """Return shares of the task's range, (), float64 unless the head gives just these."""
        low, high = range_of(task)
        one, first, slope = line_of(how.answers)
        if (one, first, slope) == (0, low, high - low):
            return answers
        shares: list[Any] = [
            np.float64((first + slope * (float(answer) - one) - low) / (high - low)) for answer in answers
        ]
        return shares

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

    def unfit(self, config: Mapping[str, Any]) -> str | None:
        """Return a reason if the configuration says that the head gives no number, or that one follows by a function.

        sentence-transformers' cross-encoders name the function that their numbers go through.
        """
        said, own = config.get("problem_type"), config.get("sentence_transformers")
        if said not in (None, "regression"):
            return f"its config.json says problem_type {quoted(said)}, which is no regression"
        after = own.get("activation_fn") if isinstance(own, Mapping) else None
        after = after or config.get("sbert_ce_default_activation_function")
        if after and not str(after).endswith(".Identity"):
            return f"its config.json says that its numbers go through {quoted(after)}, which is not part of its head"
        return None

    def encode(self, examples: Sequence[Measured], task: Task, tokenizer: Any, max_length: int) -> EncodedNumbers:
        """Tokenise texts, or pairs if the examples have a second text."""
        low, high = range_of(task)
        values = np.array([example.value for example in examples], np.float64)
        shares = ((values - low) / (high - low)).astype(np.float32)
        return EncodedNumbers(**vars(encode_examples(examples, shares, tokenizer, max_length)))


REGRESSION = RegressionNetwork()
