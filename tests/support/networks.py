"""A network of one layer and rows that it can learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from flue_bench.kinds.network.network import Encoded, network_of
from flue_bench.task import Example, Task
from flue_bench.training.device import Device
from flue_bench.training.train import predict

CPU = Device(torch.device("cpu"), "fp32", "")


CONFIG = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3
)


def sentences(rows: int, seed: int = 0) -> Encoded:
    """Rows of random ids whose label is written in their first id."""
    random = np.random.RandomState(seed)
    lengths = random.randint(3, 12, rows)
    labels = random.randint(0, 3, rows)
    ids = [
        np.concatenate([[5 + label], random.randint(10, 50, n - 1)]) for n, label in zip(lengths, labels, strict=True)
    ]
    return Encoded(
        ids=np.concatenate(ids).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        type_ids=None,
        labels=labels.astype(np.int64),
        pad_id=0,
        truncated=0,
    )


def encode(examples: Sequence[Example], task: Task, tokenizer: Any, max_length: int) -> Any:
    """A split as the task's kind encodes it."""
    return network_of(task).encode(examples, task, tokenizer, max_length)


def network(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(CONFIG)


def accuracy(data: Encoded):
    def validate(model: nn.Module) -> dict[str, float]:
        return {"accuracy": float(np.mean([row.argmax() for row in predict(model, data, CPU)] == data.labels))}

    return validate


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])
