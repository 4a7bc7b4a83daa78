"""Examples → sub-word ids: tokenised once, kept flat and unpadded, padded only to the longest row of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flue_bench.task import Example, Task
from flue_bench.training.models import quiet

IGNORED = -100
"""Label of a position that has no loss (torch's ``ignore_index``)."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some rows, padded to the longest of them."""

    inputs: dict[str, torch.Tensor]
    """``input_ids``, ``attention_mask``, for some models ``token_type_ids``: each (rows, longest)."""
    labels: torch.Tensor
    """(rows,) for sentences; (rows, longest) for tokens, ``IGNORED`` but on the first sub-word of a word."""
    tokens: int
    """Sub-words that are no padding."""


@dataclass(frozen=True)
class Encoded:
    """One split as a model reads it. Row ``i`` stands at ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: npt.NDArray[np.int32]
    """(sub-words of all rows,), special tokens included."""
    offsets: Ints
    """(rows + 1,)"""
    type_ids: npt.NDArray[np.uint8] | None
    """(sub-words of all rows,): segment of a pair, for models that want it."""
    labels: Ints
    """(rows,) for sentences; (sub-words of all rows,) for tokens."""
    subwords_per_word: tuple[npt.NDArray[np.int32], ...]
    """Tokens only: a row's words → how many sub-words each is in the input (0: lost to truncation)."""
    pad_id: int
    truncated: int
    """Rows that lost sub-words to ``max_length``."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """(rows,) sub-words."""
        return np.diff(self.offsets)

    @property
    def lost_words(self) -> int:
        """Words without a sub-word in the input."""
        return int(sum((counts == 0).sum() for counts in self.subwords_per_word))

    def row(self, index: int) -> npt.NDArray[np.int32]:
        """Sub-word ids of one row."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def batch(self, rows: Sequence[int] | Ints, device: torch.device, longest: int = 0) -> Batch:
        """Rows by number, padded to the longest of them (or to ``longest``, if that is more), on ``device``."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        columns = np.arange(max(longest, lengths.max()))
        real = columns < lengths[:, None]  # (rows, longest)
        flat = (starts[:, None] + columns)[real]  # where each real position stands in the flat arrays

        def padded(values: npt.NDArray[Any], filler: int) -> torch.Tensor:
            block = np.full(real.shape, filler, dtype=np.int64)
            block[real] = values[flat]
            return to_device(block)

        def to_device(block: npt.NDArray[Any]) -> torch.Tensor:
            tensor = torch.from_numpy(block)
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

        inputs = {"input_ids": padded(self.ids, self.pad_id), "attention_mask": to_device(real.astype(np.int64))}
        if self.type_ids is not None:
            inputs["token_type_ids"] = padded(self.type_ids, 0)
        labels = padded(self.labels, IGNORED) if self.subwords_per_word else to_device(self.labels[rows])
        return Batch(inputs, labels, int(lengths.sum()))


def encode(examples: Sequence[Example], task: Task, tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise one split.

    Args:
        examples: the split.
        task: says whether there are texts, pairs or words.
        tokenizer: a transformers tokenizer, checked by ``models.load_tokenizer``.
        max_length: sub-words a row at most, special tokens included; the longer text of a pair is cut first.
    """
    if task.kind == "tokens":
        return _encode_words(examples, tokenizer, max_length)
    return encode_texts(examples, tokenizer, max_length)


def encode_texts(examples: Sequence[Example], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise texts, or pairs of texts; the longer text of a pair is cut first. Arguments as ``encode`` takes them."""
    pairs = any(example.text_pair is not None for example in examples)
    wants_types = "token_type_ids" in tokenizer.model_input_names
    # Arrays part by part: as Python's integers, XNLI would take gigabytes.
    ids: list[npt.NDArray[np.int32]] = []
    types: list[npt.NDArray[np.uint8]] = []
    lengths: list[int] = []
    truncated = 0
    for part in _parts(examples):
        texts = [example.text for example in part]
        others = [example.text_pair or "" for example in part] if pairs else None
        # Cut by the tokenizer, but counted by us: only the whole encoding tells which rows lost something.
        whole = tokenizer(texts, others, truncation=False, verbose=False)
        long = [i for i, row in enumerate(whole["input_ids"]) if len(row) > max_length]
        truncated += len(long)
        if long:
            again = ([texts[i] for i in long], [others[i] for i in long] if others else None)
            with quiet("transformers"):  # FlauBERT's tokenizer logs a line for each pair that it cuts
                cut = tokenizer(*again, truncation=True, max_length=max_length, verbose=False)
            for place, i in enumerate(long):
                for name in tokenizer.model_input_names:
                    whole[name][i] = cut[name][place]
        ids.append(_flat(whole["input_ids"], np.int32))
        types += [_flat(whole["token_type_ids"], np.uint8)] if wants_types else []
        lengths += map(len, whole["input_ids"])
    return Encoded(
        ids=np.concatenate(ids) if ids else np.empty(0, np.int32),
        offsets=_offsets(lengths),
        type_ids=np.concatenate(types) if types else None,
        labels=np.array([example.label for example in examples], dtype=np.int64),
        subwords_per_word=(),
        pad_id=tokenizer.pad_token_id,
        truncated=truncated,
    )


def _encode_words(examples: Sequence[Example], tokenizer: Any, max_length: int) -> Encoded:
    """Each word's first sub-word carries its tag; the others have no loss (as in Hugging Face's ``run_ner.py``)."""
    prefix, suffix = _special_tokens(tokenizer)
    room = max_length - len(prefix) - len(suffix)
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    counts: list[npt.NDArray[np.int32]] = []
    truncated = 0
    for example, (body, owners) in zip(examples, _cut_words(examples, tokenizer), strict=True):
        truncated += len(body) > room
        owners = owners[:room]
        is_first = [place == 0 or owners[place - 1] != owner for place, owner in enumerate(owners)]
        tags = [example.tags[owner] if first else IGNORED for owner, first in zip(owners, is_first, strict=True)]
        ids.append([*prefix, *body[:room], *suffix])
        labels.append([IGNORED] * len(prefix) + tags + [IGNORED] * len(suffix))
        counts.append(np.bincount(owners, minlength=len(example.words)).astype(np.int32))
    return Encoded(
        ids=_flat(ids, np.int32),
        offsets=_offsets([len(row) for row in ids]),
        type_ids=np.zeros(sum(map(len, ids)), np.uint8) if "token_type_ids" in tokenizer.model_input_names else None,
        labels=_flat(labels, np.int64),
        subwords_per_word=tuple(counts),
        pad_id=tokenizer.pad_token_id,
        truncated=truncated,
    )


def _cut_words(examples: Sequence[Example], tokenizer: Any) -> Iterator[tuple[list[int], list[int]]]:
    """(sub-word ids, number of the word each belongs to) of each example, without special tokens, uncut."""
    if tokenizer.is_fast:
        for part in _parts(examples):
            # A byte-level tokenizer must see a blank before each word, as in running text; the others ignore it.
            words = [[f" {word}" if word.strip() else "" for word in example.words] for example in part]
            cut = tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False)
            yield from ((cut["input_ids"][i], cut.word_ids(i)) for i in range(len(part)))
        return
    # A tokenizer without an alignment of its own (FlauBERT's): cut word by word, each distinct word once.
    cache: dict[str, list[int]] = {}
    for example in examples:
        for word in example.words:
            if word not in cache:
                cache[word] = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
        pieces = [cache[word] for word in example.words]
        yield [i for piece in pieces for i in piece], [n for n, piece in enumerate(pieces) for _ in piece]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a single text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def _parts(examples: Sequence[Example], size: int = 4096) -> Iterator[Sequence[Example]]:
    """So many at a time: bounds what the tokenizer holds besides the ids."""
    return (examples[start : start + size] for start in range(0, len(examples), size))


def _flat(rows: Iterable[Sequence[int]], dtype: Any) -> npt.NDArray[Any]:
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


def _offsets(lengths: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
