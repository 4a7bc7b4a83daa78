"""Kind ``multi-label``: one or two texts, transformers' own head, a yes or no for each label (binary cross-entropy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from flue_bench.errors import quoted
from flue_bench.kinds.multi_label import HALF, METRICS, Several, by_label, by_sample
from flue_bench.kinds.network.network import Batch, Encoded, Floats, Ints, Network, encode_examples
from flue_bench.kinds.own_head import meaning
from flue_bench.record import NoTraining
from flue_bench.task import Task

PROBLEM = "multi_label_classification"
"""transformers' name of such a head in ``config.json``."""
GRID = np.arange(1, 100) / 100
"""Thresholds that are tried on validation."""


class EncodedLabels(Encoded):
    """Texts, or pairs; ``labels`` are (rows, labels), whether a row has each label."""

    def targets(self, rows: Sequence[int] | Ints, real: npt.NDArray[np.bool_], flat: Ints) -> npt.NDArray[Any]:
        """Return 1.0 for the labels of a row and 0.0 for the others, (rows, labels)."""
        chosen: npt.NDArray[np.float32] = self.labels[rows].astype(np.float32)
        return chosen

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the summed binary cross-entropy of logits (rows, labels), ()."""
        return F.binary_cross_entropy_with_logits(outputs.logits.float(), batch.labels, reduction="sum")

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's probabilities, (labels,), which need not sum to 1."""
        probabilities: npt.NDArray[np.float32] = outputs.logits.float().sigmoid().cpu().numpy()
        return list(probabilities)

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of yes and of no for each label of each row, (rows · labels, 2).

        The sigmoid of a logit is the softmax of it and 0, so that their divergence is the binary cross-entropy with the
        teacher's probabilities, less what it is where the student's are the same.
        """
        both = super().beside(outputs, batch, rows, scores)
        yes, theirs = (torch.stack([logits, torch.zeros_like(logits)], -1).flatten(0, 1) for logits in both)
        return yes, theirs

    def chosen(self, answers: Sequence[Floats], task: Task) -> dict[str, float]:
        """Return the threshold that makes the task's metric highest, the nearest to 0.5 of equals, if asked for."""
        if task.options.get("threshold") != "validation":
            return {}
        metric, probabilities = METRICS[task.metric], np.stack(answers)
        count = by_label if metric.level == "class" else by_sample
        reached = [float(metric.score(count(self.labels, probabilities >= at).sum(axis=0))) for at in GRID]
        best = [at for at, score in zip(GRID, reached, strict=True) if score == max(reached)]
        return {"threshold": float(min(best, key=lambda at: abs(at - HALF)))}

    def in_task(self, answers: Sequence[Floats], task: Task, how: NoTraining) -> Sequence[Floats]:
        """Return the probability of each label of the task, (labels,).

        Where several labels of the head mean one it is the largest, so that any of them predicts it; 0 where none does.
        """
        meant = meaning(how.answers, task.labels)
        found = np.zeros((len(answers), len(task.labels)), np.float32)
        np.maximum.at(found.T, meant, np.reshape(answers, (-1, len(meant))).T)
        return list(found)

    def decided(self, answers: Sequence[Floats], task: Task) -> dict[str, Sequence[Any]]:
        """Return the labels whose probability is at least the threshold."""
        threshold = task.options.get("threshold", HALF)
        return {"predicted": [np.flatnonzero(row >= threshold).tolist() for row in answers]}


class MultiLabelNetwork(Network[Several]):
    """Any number of labels for a text, or for a pair."""

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        """Set one output a label."""
        super().configure(config, labels)
        config.problem_type = PROBLEM

    def unfit(self, config: Mapping[str, Any]) -> str | None:
        """Return a reason unless the configuration says that the head chooses any number of labels."""
        said = config.get("problem_type")
        if said == PROBLEM:
            return None
        what = f"says problem_type {quoted(said)}" if said else "has no problem_type"
        return (
            f"its config.json {what}, and a head that chooses one label answers otherwise than one that chooses any "
            f'number. Was it trained to choose any number? Then give a copy whose config.json says "problem_type": '
            f'"{PROBLEM}"'
        )

    def encode(self, examples: Sequence[Several], task: Task, tokenizer: Any, max_length: int) -> EncodedLabels:
        """Tokenise texts, or pairs if the examples have a second text."""
        marks = np.zeros((len(examples), len(task.labels)), bool)
        for row, example in enumerate(examples):
            marks[row, list(example.labels)] = True
        return EncodedLabels(**vars(encode_examples(examples, marks, tokenizer, max_length)))


MULTI_LABEL = MultiLabelNetwork()
