"""Kind ``multiple-choice``: each choice is a sequence with the text, scored by one output; softmax over the choices.

transformers' own head for it is used where the architecture has one, and otherwise its classifier with one output over
the pooled text. Either takes the choices of all rows as so many sequences, whose number may differ between rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from flue_bench.errors import quoted
from flue_bench.kinds.multiple_choice import Question
from flue_bench.kinds.network.network import (
    ABSENT,
    Batch,
    Encoded,
    Floats,
    Ints,
    Network,
    encode_texts,
    moved,
    offsets_of,
)
from flue_bench.task import Task


@dataclass(frozen=True)
class EncodedChoices(Encoded):
    """Rows of several sequences: ``offsets`` are those of the sequences, ``labels`` (rows,), the right choices."""

    first: Ints
    """(rows + 1,): the sequences of row ``i`` are those from ``first[i]`` to ``first[i + 1]``."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.first) - 1

    @property
    def choices(self) -> Ints:
        """The number of choices of each row, (rows,)."""
        return np.diff(self.first)

    @property
    def lengths(self) -> Ints:
        """The number of sub-words of each row's longest sequence, (rows,)."""
        longest: Ints = np.maximum.reduceat(np.diff(self.offsets), self.first[:-1])
        return longest

    @property
    def positions(self) -> Ints:
        """The positions of each row when it is padded alone, (rows,)."""
        return self.lengths * self.choices

    def row(self, index: int) -> npt.NDArray[np.int32]:
        """Return the sub-word ids of one row, its sequences one after the other."""
        return self.ids[self.offsets[self.first[index]] : self.offsets[self.first[index + 1]]]

    def batch(self, rows: Sequence[int] | Ints, device: torch.device, longest: int = 0) -> Batch:
        """Return rows by number: inputs (sequences of all rows, longest), labels (rows, 2)."""
        sequences = np.concatenate([np.arange(self.first[row], self.first[row + 1]) for row in rows])
        return self.padded(sequences, rows, device, longest)

    def targets(self, rows: Sequence[int] | Ints, real: npt.NDArray[np.bool_], flat: Ints) -> npt.NDArray[Any]:
        """Return the right choice and the number of choices, (rows, 2)."""
        return np.stack([self.labels[rows], self.choices[rows]], axis=-1)

    def terms(self, batch: Batch) -> torch.Tensor:
        """Return the number of rows, ()."""
        return torch.ones_like(batch.labels[:, 0]).sum()

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the summed cross-entropy over each row's choices, ()."""
        return F.cross_entropy(self._by_row(outputs, batch), batch.labels[:, 0], reduction="sum")

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's probabilities, (choices,)."""
        probabilities = self._by_row(outputs, batch).softmax(-1).cpu().numpy()
        return [row[:choices] for row, choices in zip(probabilities, self.choices[rows], strict=True)]

    def scores(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's scores, (choices,)."""
        scores = self._by_row(outputs, batch).cpu().numpy()
        return [row[:choices] for row, choices in zip(scores, self.choices[rows], strict=True)]

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both scores of each row's choices, (rows, the most choices of the split)."""
        ours = self._by_row(outputs, batch).clamp(min=ABSENT)
        theirs = np.full(ours.shape, ABSENT, np.float32)
        for block, row in zip(theirs, scores, strict=True):
            block[: len(row)] = row
        return ours, moved(theirs, ours.device)

    def _by_row(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the scores by row, (rows, the most choices of the split), -inf where a row has fewer."""
        logits = outputs.logits.float()[:, 0]  # (sequences,)
        numbers = torch.arange(int(self.choices.max()), device=logits.device)
        there = numbers < batch.labels[:, 1:]  # (rows, most)
        scores: torch.Tensor = logits.new_full(there.shape, -torch.inf).masked_scatter(there, logits)
        return scores


class MultipleChoiceNetwork(Network[Question]):
    """A choice among texts."""

    head = "MultipleChoice"

    def loader(self) -> Any:
        """Return what loads transformers' head for choices, or else its classifier."""
        return _Loader

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        """Set a single output."""
        config.num_labels = 1
        config.problem_type = None

    def fits(self, architecture: str, config: Any) -> bool:
        """Return whether it is transformers' head for choices, or else, where there is none, the classifier."""
        return architecture.endswith(f"For{self.head}" if _own_head(config) else "ForSequenceClassification")

    def unfit(self, config: Mapping[str, Any]) -> str | None:
        """Return a reason if the configuration says that the head does something else."""
        said = config.get("problem_type")
        return f"its config.json says problem_type {quoted(said)}, which is no choice among texts" if said else None

    def encode(self, examples: Sequence[Question], task: Task, tokenizer: Any, max_length: int) -> EncodedChoices:
        """Tokenise each choice together with the text; the longer of the two is cut first."""
        sizes = [len(example.choices) for example in examples]
        encoded = encode_texts(
            [example.text for example in examples for _ in example.choices],
            [choice for example in examples for choice in example.choices],
            np.array([example.label for example in examples], np.int64),
            tokenizer,
            max_length,
            np.repeat(np.arange(len(examples)), sizes),
        )
        return EncodedChoices(**vars(encoded), first=offsets_of(sizes))


MULTIPLE_CHOICE = MultipleChoiceNetwork()


class _Loader:
    """Loads an encoder with one output a sequence, (sequences, 1)."""

    @staticmethod
    def from_config(config: Any) -> Any:
        own = _own_head(config)
        return own(config) if own else _classifier().from_config(config)

    @staticmethod
    def from_pretrained(folder: Any, *, config: Any, **settings: Any) -> Any:
        return (_own_head(config) or _classifier()).from_pretrained(folder, config=config, **settings)


def _classifier() -> Any:
    import transformers

    return transformers.AutoModelForSequenceClassification


def _own_head(config: Any) -> Any:
    """Return transformers' class for choices of this architecture, or None."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIPLE_CHOICE_MAPPING

    head = MODEL_FOR_MULTIPLE_CHOICE_MAPPING.get(type(config), None)
    return None if head is None else _of_single_sequences(head)


@cache
def _of_single_sequences(head: Any) -> Any:
    """Return the class, which takes (rows, choices, length), as one that takes (sequences, length): of one choice each.

    It flattens the first two dimensions, so that the same numbers are computed.
    """

    def forward(self: Any, **inputs: torch.Tensor) -> Any:
        return head.forward(self, **{name: values.unsqueeze(1) for name, values in inputs.items()})

    return type(head.__name__, (head,), {"forward": forward, "__module__": head.__module__})
