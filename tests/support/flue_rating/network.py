"""Kind ``rating``, the half with torch: one output, squared error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flue_bench.kinds.network.network import Batch, Encoded, Network, encode_texts
from flue_bench.task import Task

from .rating import Passage


class Rated(Encoded):
    """``labels`` are float32."""

    def terms(self, batch: Batch) -> torch.Tensor:
        return torch.tensor(len(batch.labels), device=batch.labels.device)

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        return (outputs.logits.float()[:, 0] - batch.labels).square().sum()

    def read(self, outputs: Any, batch: Batch, rows: Any) -> Sequence[npt.NDArray[np.float32]]:
        return list(outputs.logits.float()[:, 0].cpu().numpy())

    def decided(self, answers: Sequence[npt.NDArray[np.float32]], task: Task) -> dict[str, Sequence[Any]]:
        return {"predicted": [float(answer) for answer in answers]}

    def kept(self, answers: Sequence[npt.NDArray[np.float32]]) -> dict[str, Sequence[Any]]:
        return {}


class RatingNetwork(Network[Passage]):
    """transformers' own head, with one output; the register is read as a second text."""

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        config.num_labels, config.problem_type = 1, "regression"

    def encode(self, examples: Sequence[Passage], task: Task, tokenizer: Any, max_length: int) -> Rated:
        texts, registers = [each.text for each in examples], [each.register for each in examples]
        ratings = np.array([each.rating for each in examples], np.float32)
        return Rated(**vars(encode_texts(texts, registers, ratings, tokenizer, max_length)))


RATING = RatingNetwork()
