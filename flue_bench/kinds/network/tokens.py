"""Kind ``tokens``: words, each of which has its tag at its first sub-word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flue_bench.kinds.network.network import (
    IGNORED,
    PART,
    Batch,
    Encoded,
    Floats,
    Ints,
    Network,
    flat,
    moved,
    offsets_of,
)
from flue_bench.kinds.tokens import of_unseen
from flue_bench.task import Example, Task


@dataclass(frozen=True)
class EncodedWords(Encoded):
    """Sentences of words; ``labels`` are (sub-words of all rows,), ``IGNORED`` but on the first sub-word of a word."""

    subwords_per_word: tuple[npt.NDArray[np.int32], ...]
    """For each row, the number of sub-words of each word in the input (0: lost to truncation)."""

    @property
    def lost_words(self) -> int:
        """The number of words without a sub-word in the input."""
        return int(sum((counts == 0).sum() for counts in self.subwords_per_word))

    def targets(self, rows: Sequence[int] | Ints, real: npt.NDArray[np.bool_], flat: Ints) -> npt.NDArray[Any]:
        """Return the labels of a batch, (rows, longest)."""
        block = np.full(real.shape, IGNORED, dtype=np.int64)
        block[real] = self.labels[flat]
        return block

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's probabilities, (words, labels), from words' first sub-words; zeros for a word without."""
        return self._by_word(outputs.logits.float().softmax(-1), batch, rows)

    def scores(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each row's logits, (words, labels), from words' first sub-words; zeros for a word without."""
        return self._by_word(outputs.logits.float(), batch, rows)

    def taught(self, theirs: Encoded, scores: Sequence[Floats]) -> Sequence[Floats]:
        """Return the logits of each word, (words, labels); NaN for a word of which the teacher sees nothing."""
        assert isinstance(theirs, EncodedWords)
        unseen = [counts == 0 for counts in theirs.subwords_per_word]
        return [np.where(none[:, None], np.nan, row) for none, row in zip(unseen, scores, strict=True)]

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the words of which both see something, (words, labels)."""
        longest = batch.inputs["input_ids"].shape[1]
        places: list[Ints] = []  # of words in the batch, its rows laid end to end
        theirs: list[npt.NDArray[Any]] = []
        for i, (row, of_row) in enumerate(zip(rows, scores, strict=True)):
            first = np.flatnonzero(self.labels[self.offsets[row] : self.offsets[row + 1]] != IGNORED)
            words = of_row[self.subwords_per_word[row] > 0]  # (words that the student sees, labels)
            known = ~np.isnan(words).any(-1)
            places.append(i * longest + first[known])
            theirs.append(words[known])
        logits = outputs.logits.float().flatten(0, 1)  # (rows · longest, labels)
        where = moved(np.concatenate(places), logits.device)
        return logits[where], moved(np.concatenate(theirs).astype(np.float32), logits.device)

    def _by_word(self, values: torch.Tensor, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return the values (rows, longest, labels) of words' first sub-words by row, (words, labels)."""
        first = (batch.labels != IGNORED).cpu().numpy()  # (rows, longest)
        answers = []
        for row, found, places in zip(rows, values.cpu().numpy(), first, strict=True):
            counts = self.subwords_per_word[row]
            of_row = np.zeros((len(counts), found.shape[-1]), np.float32)
            of_row[counts > 0] = found[places]
            answers.append(of_row)
        return answers

    def decided(self, answers: Sequence[Floats], task: Task) -> dict[str, Sequence[Any]]:
        """Return the most probable tag of each word; a word that the model never saw is O, or wrong without that."""
        outside = of_unseen(task.labels)
        return {
            "predicted": [np.where(row.any(-1), row.argmax(-1), outside) for row in answers],
            "subwords": list(self.subwords_per_word),
        }


class TokensNetwork(Network[Example]):
    """Classification of words."""

    head = "TokenClassification"

    def encode(self, examples: Sequence[Example], task: Task, tokenizer: Any, max_length: int) -> EncodedWords:
        """Tokenise words; only a word's first sub-word has its tag and a loss (as Hugging Face's ``run_ner.py``)."""
        prefix, suffix = special_tokens(tokenizer)
        room = max_length - len(prefix) - len(suffix)
        ids: list[list[int]] = []
        labels: list[list[int]] = []
        counts: list[npt.NDArray[np.int32]] = []
        truncated = 0
        for example, (body, owners) in zip(examples, cut_words(examples, tokenizer), strict=True):
            truncated += len(body) > room
            owners = owners[:room]
            is_first = [place == 0 or owners[place - 1] != owner for place, owner in enumerate(owners)]
            tags = [example.tags[owner] if first else IGNORED for owner, first in zip(owners, is_first, strict=True)]
            ids.append([*prefix, *body[:room], *suffix])
            labels.append([IGNORED] * len(prefix) + tags + [IGNORED] * len(suffix))
            counts.append(np.bincount(owners, minlength=len(example.words)).astype(np.int32))
        return EncodedWords(
            ids=flat(ids, np.int32),
            offsets=offsets_of([len(row) for row in ids]),
            type_ids=np.zeros(sum(map(len, ids)), np.uint8)
            if "token_type_ids" in tokenizer.model_input_names
            else None,
            labels=flat(labels, np.int64),
            subwords_per_word=tuple(counts),
            pad_id=tokenizer.pad_token_id,
            truncated=truncated,
        )


TOKENS = TokensNetwork()


def cut_words(examples: Sequence[Example], tokenizer: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Yield each example's sub-word ids and the number of the word of each, without special tokens, untruncated."""
    if tokenizer.is_fast:
        for start in range(0, len(examples), PART):
            part = examples[start : start + PART]
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


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a single text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]
