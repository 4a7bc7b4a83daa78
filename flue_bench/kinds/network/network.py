"""The half of a kind of task that needs torch: a model's inputs, head, loss and outputs.

A split is tokenised once, kept flat and unpadded, and padded only to the longest row of a batch. ``Network`` makes it;
the loss, and how outputs are read, belong to the split (``Encoded``), which alone knows the meaning of its rows.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from flue_bench.errors import quoted
from flue_bench.kinds.kind import E, kind_named
from flue_bench.progress import quiet
from flue_bench.record import NoTraining
from flue_bench.task import Example, Task

IGNORED = -100
"""Label of a position that has no loss (torch's ``ignore_index``)."""
ABSENT = -1e30
"""Score of a class that a row does not have: finite at any temperature, and its probability is exactly 0."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Some rows, padded to the longest of them."""

    inputs: dict[str, torch.Tensor]
    """``input_ids``, ``attention_mask``, for some models ``token_type_ids``: each (rows, longest)."""
    labels: torch.Tensor
    """(rows, …), as the kind of task needs them; ``IGNORED`` where a position has no loss."""
    tokens: int
    """The number of sub-words, without padding."""


@dataclass(frozen=True)
class Encoded:
    """One split as a model reads it. Row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    This is the split of a kind with one label per row; other kinds subclass it.
    """

    ids: npt.NDArray[np.int32]
    """(sub-words of all rows,), special tokens included."""
    offsets: Ints
    """(rows + 1,)"""
    type_ids: npt.NDArray[np.uint8] | None
    """(sub-words of all rows,): segment of a pair, for models that use it."""
    labels: npt.NDArray[Any]
    """(rows, …), of any type that the loss accepts, or ``targets`` turns into one."""
    pad_id: int
    truncated: int
    """The number of rows that lost sub-words to ``max_length``."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """The number of sub-words of each row, (rows,)."""
        return np.diff(self.offsets)

    @property
    def positions(self) -> Ints:
        """The positions of each row when it is padded alone, (rows,)."""
        return self.lengths

    @property
    def windows(self) -> Ints | None:
        """The number of rows of each example, (examples,), for a kind that cuts them; None where each is one row."""
        return None

    @property
    def lost_words(self) -> int | None:
        """The number of words with an answer of their own that are cut off; None if words have none."""
        return None

    def row(self, index: int) -> npt.NDArray[np.int32]:
        """Return the sub-word ids of one row."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def batch(self, rows: Sequence[int] | Ints, device: torch.device, longest: int = 0) -> Batch:
        """Return rows by number, padded to the longest (or to ``longest``, if that is more), on ``device``."""
        return self.padded(np.asarray(rows), rows, device, longest)

    def padded(self, sequences: Ints, rows: Sequence[int] | Ints, device: torch.device, longest: int) -> Batch:
        """Return sequences by number as the inputs of a batch of rows; arguments as for ``batch``."""
        starts = self.offsets[sequences]
        lengths = self.offsets[sequences + 1] - starts
        columns = np.arange(max(longest, lengths.max()))
        real = columns < lengths[:, None]  # (rows, longest)
        flat = (starts[:, None] + columns)[real]  # index of each real position in the flat arrays

        def padded(values: npt.NDArray[Any], filler: int) -> torch.Tensor:
            block = np.full(real.shape, filler, dtype=np.int64)
            block[real] = values[flat]
            return moved(block, device)

        inputs = {"input_ids": padded(self.ids, self.pad_id), "attention_mask": moved(real.astype(np.int64), device)}
        if self.type_ids is not None:
            inputs["token_type_ids"] = padded(self.type_ids, 0)
        return Batch(inputs, moved(self.targets(rows, real, flat), device), int(lengths.sum()))

    def targets(self, rows: Sequence[int] | Ints, real: npt.NDArray[np.bool_], flat: Ints) -> npt.NDArray[Any]:
        """Return the labels of a batch, (rows, …).

        Args:
            rows: numbers of the rows.
            real: (rows, longest), False on padding.
            flat: (real positions,), their indexes in ``ids``.
        """
        return self.labels[rows]

    def terms(self, batch: Batch) -> torch.Tensor:
        """Return the number of terms in ``loss``, (): a step divides by those of all its rows."""
        return batch.labels.ne(IGNORED).sum()

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch, (): cross-entropy of logits (rows, labels) or (rows, longest, labels).

        Args:
            outputs: the model's outputs.
            batch: its inputs and labels.
        """
        logits = outputs.logits.float().flatten(0, -2)
        return F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return the model's answer to each row of a batch: here probabilities, (labels,)."""
        probabilities: npt.NDArray[np.float32] = outputs.logits.float().softmax(-1).cpu().numpy()
        return list(probabilities)

    # Of a teacher, whose soft labels a student learns from: ``flue_bench.training.soft_labels``.

    def scores(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return what a teacher's soft labels are made of, for each row of a batch: here logits, (labels,)."""
        return list(outputs.logits.float().cpu().numpy())

    def taught(self, theirs: Encoded, scores: Sequence[Floats]) -> Sequence[Floats]:
        """Return a teacher's scores for each row of this split.

        Args:
            theirs: this split as the teacher reads it, whose tokenizer may be another.
            scores: what ``scores`` returned for each of its rows, the labels in the task's order.

        Raises:
            ValueError: they say nothing of the rows of this split, in words.
        """
        return scores

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a student's and its teacher's logits (terms, classes), of which their difference is the divergence.

        Numbers (terms,) differ by their squared error instead. There are no more terms than ``terms`` says.

        Args:
            outputs: the student's outputs.
            batch: its inputs and labels.
            rows: numbers of the rows.
            scores: what ``taught`` returned for each of these rows.
        """
        return outputs.logits.float(), moved(np.stack(scores).astype(np.float32), outputs.logits.device)

    def chosen(self, answers: Sequence[Floats], task: Task) -> dict[str, float]:
        """Return the options whose value is ``"validation"`` as this split decides them: name → value; by default none.

        They stand in for the task's own in ``decided``, and the record keeps them.

        Args:
            answers: what ``read`` returned for each row of this split, which is validation.
            task: its options say what is to be chosen.
        """
        return {}

    def in_task(self, answers: Sequence[Floats], task: Task, how: NoTraining) -> Sequence[Floats]:
        """Return the answers of a checkpoint's own head as ``read`` gives those of a head for this task.

        By default they stay as they are, and ``Kind.translated`` puts what follows from them in the task's words.

        Args:
            answers: what ``read`` returned for each row.
            task: the task that is scored.
            how: what the head means, from ``Kind.read_head``.
        """
        return answers

    def decided(self, answers: Sequence[Floats], task: Task) -> dict[str, Sequence[Any]]:
        """Return the scored columns of the predictions (``Kind.scored``) without gold, one value per example.

        Args:
            answers: what ``read`` returned for each row.
            task: names the labels.
        """
        return {"predicted": [int(row.argmax()) for row in answers]}

    def kept(self, answers: Sequence[Floats]) -> dict[str, Sequence[Any]]:
        """Return the other columns of the predictions, one value per example, rounded to be compact."""
        return {"probabilities": [row.round(4).tolist() for row in answers]}


class Network(ABC, Generic[E]):
    """How a kind of task loads, configures and feeds a model."""

    head = "SequenceClassification"
    """The transformers head to load: ``AutoModelFor…``."""

    def loader(self) -> Any:
        """Return the class that loads an encoder with its head.

        It has transformers' ``from_pretrained(folder, config=…, output_loading_info=True, …)``, which returns the
        network and a table of missing and mismatched keys; a network names its encoder in ``base_model_prefix``.
        """
        import transformers

        return getattr(transformers, f"AutoModelFor{self.head}")

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        """Set what the head needs in the model's configuration."""
        config.num_labels = len(labels)
        config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
        config.problem_type = None

    def fits(self, architecture: str, config: Any) -> bool:
        """Return whether a checkpoint of this architecture (``CamembertFor…``) has the head that ``loader`` loads."""
        return architecture.endswith(f"For{self.head}")

    def unfit(self, config: Mapping[str, Any]) -> str | None:
        """Return why a checkpoint's own head is not to be scored as this kind's, in words; ``config`` is its JSON.

        By default that is a ``problem_type`` other than the choice of one label; most configurations have none.
        """
        said = config.get("problem_type")
        if said in (None, "single_label_classification"):
            return None
        return f"its config.json says problem_type {quoted(said)}, and the answer here is one label"

    @abstractmethod
    def encode(self, examples: Sequence[E], task: Task, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenise one split.

        Args:
            examples: the split.
            task: the task they belong to.
            tokenizer: a transformers tokenizer, checked by ``models.load_tokenizer``.
            max_length: the most sub-words of a row, special tokens included.
        """


class Frozen(Network[E]):
    """A network that is not trained: the answers follow from its vectors of this split and of train."""

    @abstractmethod
    def known(self, train: Sequence[E], asked: Sequence[E]) -> list[E]:
        """Return the examples of train from which the answers to those that are asked follow."""

    def misfit(self, config: Any, settings: Mapping[str, Any]) -> str | None:
        """Return why a model of this transformers configuration does not have what settings ask for, in words."""
        return None

    @abstractmethod
    def frozen(self, encoder: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
        """Return an encoder as ``Encoded.read`` takes its outputs.

        Args:
            encoder: without a head.
            settings: from ``Kind.settings``; the options of the task that ``encode`` takes are the same.
        """

    @abstractmethod
    def answered(
        self, known: Sequence[E], of_known: Sequence[Floats], asked: Sequence[E], of_asked: Sequence[Floats]
    ) -> dict[str, Sequence[Any]]:
        """Return the columns of the predictions without gold, one value an example that is asked.

        Args:
            known: from the function of this name.
            of_known: what ``Encoded.read`` gives of each.
            asked: the split that is scored.
            of_asked: likewise.
        """


def network_of(task: Task) -> Network[Any]:
    """Return the half with torch of the task's kind.

    Raises:
        UnknownNameError, TaskFileError: as for ``kind_named``.
    """
    network: Network[Any] = pkgutil.resolve_name(kind_named(task.kind).network)
    return network


def encode_examples(examples: Sequence[Example], labels: npt.NDArray[Any], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise the texts of examples, or pairs of texts if they have a second one; see ``encode_texts``."""
    pairs = any(example.text_pair is not None for example in examples)
    others = [example.text_pair or "" for example in examples] if pairs else None
    return encode_texts([example.text for example in examples], others, labels, tokenizer, max_length)


def encode_texts(
    texts: Sequence[str],
    others: Sequence[str] | None,
    labels: npt.NDArray[Any],
    tokenizer: Any,
    max_length: int,
    rows: Ints | None = None,
) -> Encoded:
    """Tokenise texts, or pairs of texts; the longer text of a pair is cut first.

    Args:
        texts: one per row, unless ``rows`` says otherwise.
        others: the second text of each, if they are pairs.
        labels: (rows, …)
        tokenizer: as for ``Network.encode``.
        max_length: likewise.
        rows: (texts,), the row that each belongs to, which counts as truncated once; None for a text a row.
    """
    wants_types = "token_type_ids" in tokenizer.model_input_names
    # Arrays part by part: as Python's integers, XNLI would take gigabytes.
    ids: list[npt.NDArray[np.int32]] = []
    types: list[npt.NDArray[np.uint8]] = []
    lengths: list[int] = []
    truncated: set[int] = set()
    for start in range(0, len(texts), PART):
        part = slice(start, start + PART)
        firsts, seconds = list(texts[part]), None if others is None else list(others[part])
        # The tokenizer truncates, but we count: only the whole encoding shows which rows lost something.
        whole = tokenizer(firsts, seconds, truncation=False, verbose=False)
        long = [i for i, row in enumerate(whole["input_ids"]) if len(row) > max_length]
        truncated |= {start + i if rows is None else int(rows[start + i]) for i in long}
        if long:
            again = ([firsts[i] for i in long], None if seconds is None else [seconds[i] for i in long])
            with quiet("transformers"):  # FlauBERT's tokenizer logs a line for each pair that it cuts
                cut = tokenizer(*again, truncation=True, max_length=max_length, verbose=False)
            for place, i in enumerate(long):
                for name in tokenizer.model_input_names:
                    whole[name][i] = cut[name][place]
        ids.append(flat(whole["input_ids"], np.int32))
        types += [flat(whole["token_type_ids"], np.uint8)] if wants_types else []
        lengths += map(len, whole["input_ids"])
    return Encoded(
        ids=np.concatenate(ids) if ids else np.empty(0, np.int32),
        offsets=offsets_of(lengths),
        type_ids=np.concatenate(types) if types else None,
        labels=labels,
        pad_id=tokenizer.pad_token_id,
        truncated=len(truncated),
    )


PART = 4096
"""Rows tokenised at a time, which bounds the tokenizer's memory besides the ids."""


def moved(block: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device, without waiting for the copy."""
    tensor = torch.from_numpy(block)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def flat(rows: Iterable[Sequence[int]], dtype: Any) -> npt.NDArray[Any]:
    """Concatenate all rows."""
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


def offsets_of(lengths: Sequence[int]) -> Ints:
    """Return where rows of these lengths begin and end, (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
