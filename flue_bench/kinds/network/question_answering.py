"""Kind ``question-answering``: windows over the context, transformers' own head, two scores a sub-word (start and end).

A context that does not fit beside its question is cut into windows that overlap. Each is a row of its own: batches hold
windows of nearly equal length, whichever questions they belong to. Windows, labels and the search for the best span are
those of ``run_qa.py`` of Hugging Face transformers: where a window does not hold the whole answer, its label is the
first position, whose score stands for "no answer".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from flue_bench.errors import UsageError, quoted
from flue_bench.kinds.kind import VALIDATION
from flue_bench.kinds.network.network import (
    ABSENT,
    IGNORED,
    PART,
    Batch,
    Encoded,
    Floats,
    Ints,
    Network,
    moved,
    offsets_of,
)
from flue_bench.kinds.question_answering import (
    MAX_ANSWER_LENGTH,
    N_BEST,
    STRIDE,
    Asked,
    match,
    numbers_of,
    words_of,
)
from flue_bench.task import Task, nfc


class Found(NamedTuple):
    """What the windows of a question say together."""

    start: int
    """Of the best span, as characters of the context; -1 if the tokenizer left nothing of the context."""
    end: int
    no_answer: np.float32
    """The score of "no answer" in the window where it is lowest, less that of the best span."""


@dataclass(frozen=True)
class EncodedWindows(Encoded):
    """Windows; ``labels`` are (windows, 2), the positions of the answer's first and last sub-word, 0 for no answer."""

    asked: tuple[Asked, ...]
    first: Ints
    """(questions + 1,): the windows of question ``i`` are those from ``first[i]`` to ``first[i + 1]``."""
    places: Ints
    """(windows, 2): the positions of a window that hold its context, from the first to before the second."""
    spans: npt.NDArray[np.int32]
    """(sub-words of all rows, 2): the characters of the context that a sub-word stands for, without blanks at its ends;
    two equal numbers outside the context, and for blanks alone."""

    @property
    def windows(self) -> Ints:
        """The number of windows of each question, (questions,)."""
        return np.diff(self.first)

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the summed cross-entropy of starts and of ends over the positions of a row, padding included, ().

        Divided by ``terms``, it is transformers' mean of both.
        """
        both = zip((outputs.start_logits, outputs.end_logits), batch.labels.T, strict=True)
        losses = [F.cross_entropy(each.float(), at, ignore_index=IGNORED, reduction="sum") for each, at in both]
        return torch.stack(losses).sum()

    def read(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each window's scores of starts and of ends, (2, 1 + sub-words of its context): "no answer" first."""
        scores = torch.stack([outputs.start_logits, outputs.end_logits], dim=1).float().cpu().numpy()
        return [
            np.concatenate([row[:, :1], row[:, first:last]], axis=1)
            for row, (first, last) in zip(scores, self.places[rows], strict=True)
        ]

    def scores(self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints) -> Sequence[Floats]:
        """Return each window's scores of starts and of ends at all its positions, (2, sub-words)."""
        scores = torch.stack([outputs.start_logits, outputs.end_logits], dim=1).float().cpu().numpy()
        return [row[:, :length] for row, length in zip(scores, self.lengths[rows], strict=True)]

    def taught(self, theirs: Encoded, scores: Sequence[Floats]) -> Sequence[Floats]:
        """Return the scores as they are, if the teacher reads the same windows: they are of its sub-words."""
        assert isinstance(theirs, EncodedWindows)
        for one, other in (self.offsets, theirs.offsets), (self.ids, theirs.ids), (self.places, theirs.places):
            if not np.array_equal(one, other):
                raise ValueError("its tokenizer cuts the contexts otherwise, and it scores sub-words, not words")
        return scores

    def beside(
        self, outputs: Any, batch: Batch, rows: Sequence[int] | Ints, scores: Sequence[Floats]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores of starts, and below them those of ends, (2 · rows, longest); padding is no place."""
        both = torch.cat([outputs.start_logits, outputs.end_logits]).float()  # (2 · rows, longest)
        theirs = np.full((2, len(scores), both.shape[1]), ABSENT, np.float32)
        for i, window in enumerate(scores):
            theirs[:, i, : window.shape[1]] = window
        padding = batch.inputs["attention_mask"].eq(0).repeat(2, 1)
        return both.masked_fill(padding, ABSENT), moved(theirs.reshape(both.shape), both.device)

    def chosen(self, answers: Sequence[Floats], task: Task) -> dict[str, float]:
        """Return the threshold that makes the task's metric highest, the nearest to 0 of equals, if asked for.

        Tried are 0, a number between any two differences next to each other, and one beyond either end.
        """
        if task.options.get("threshold") != VALIDATION:
            return {}
        metric = ("exact_match", "f1").index(task.metric)
        gains, differences = [], []
        for example, found in zip(self.asked, self.found(answers, task), strict=True):
            if np.isfinite(found.no_answer):
                right = [words_of(text) for text, _ in example.answers]
                said = words_of(example.context[found.start : found.end])
                gains.append(float(match(right, said)[metric]) - float(match(right, [])[metric]))
                differences.append(float(found.no_answer))
        order = np.argsort(differences, kind="stable")
        ordered = np.array(differences, np.float64)[order]
        answered = np.concatenate([[0.0], np.cumsum(np.array(gains, np.float64)[order])])  # the first so many of them
        tried = [0.0, *((ordered[1:] + ordered[:-1]) / 2)]
        tried += [ordered[0] - 1, ordered[-1] + 1] if len(ordered) else []
        reached = [round(float(answered[np.searchsorted(ordered, at, "right")]), 9) for at in tried]
        best = [at for at, gain in zip(tried, reached, strict=True) if gain == max(reached)]
        return {"threshold": float(min(best, key=abs))}

    def decided(self, answers: Sequence[Floats], task: Task) -> dict[str, Sequence[Any]]:
        """Return answers: their words as numbers, their characters, and how much surer "no answer" is."""
        threshold = task.options.get("threshold", np.inf)
        columns: dict[str, list[Any]] = {name: [] for name in ("predicted", "start", "end", "no_answer")}
        for example, found in zip(self.asked, self.found(answers, task), strict=True):
            none = found.start < 0 or float(found.no_answer) > threshold
            start, end = (-1, -1) if none else found[:2]
            said = "" if none else example.context[start:end]
            columns["predicted"].append(numbers_of(example, said)[-1])
            columns["start"].append(start)
            columns["end"].append(end)
            columns["no_answer"].append(found.no_answer)
        return dict(columns)

    def kept(self, answers: Sequence[Floats]) -> dict[str, Sequence[Any]]:
        """Return nothing: ``decided`` has all columns."""
        return {}

    def found(self, answers: Sequence[Floats], task: Task) -> Iterator[Found]:
        """Yield the best span of each question, of all its windows the first of equals."""
        longest = int(task.options.get("max_answer_length", MAX_ANSWER_LENGTH))
        n_best = int(task.options.get("n_best", N_BEST))
        for window, after in pairwise(self.first.tolist()):
            best, start, end, none = -np.inf, -1, -1, np.float32(np.inf)
            for row in range(window, after):
                scores, at = answers[row], self.offsets[row] + self.places[row, 0]
                spans = self.spans[at : at + scores.shape[1] - 1]
                none = min(none, scores[0, 0] + scores[1, 0])
                usable = spans[:, 0] < spans[:, 1]
                score, first, last = best_span(scores[0, 1:], scores[1, 1:], usable, longest, n_best)
                if score > best:
                    best, start, end = score, int(spans[first, 0]), int(spans[last, 1])
            yield Found(start, end, np.float32(none - best) if start >= 0 else np.float32(np.inf))


def best_span(
    start: Floats, end: Floats, usable: npt.NDArray[np.bool_], longest: int, n_best: int
) -> tuple[float, int, int]:
    """Return the highest sum of a start's and an end's score, and their positions; -inf where there is no position.

    Args:
        start: (sub-words,), scores of starts.
        end: (sub-words,), scores of ends.
        usable: (sub-words,), the positions that an answer may begin or end at.
        longest: the most sub-words of an answer.
        n_best: so many best starts and ends are paired; all of them, where none of these pairs is a span.
    """
    if not usable.any():
        return -np.inf, 0, 0
    starts, ends = np.where(usable, start, -np.inf), np.where(usable, end, -np.inf)
    for among in n_best, len(start):
        from_here = _best(starts, among)
        to_there = np.pad(_best(ends, among), (0, longest - 1), constant_values=-np.inf)
        both = from_here[:, None] + np.lib.stride_tricks.sliding_window_view(to_there, longest)  # (sub-words, longest)
        at = int(both.argmax())
        if both.flat[at] > -np.inf:
            break
    first, more = divmod(at, longest)
    return float(both.flat[at]), first, first + more


def _best(scores: Floats, n: int) -> Floats:
    """Return the scores with -inf in the place of all but the ``n`` best, of equals the first ones."""
    if n >= len(scores):
        return scores
    kept = np.full_like(scores, -np.inf)
    best = np.argsort(-scores, kind="stable")[:n]
    kept[best] = scores[best]
    return kept


class QuestionAnsweringNetwork(Network[Asked]):
    """A span of a context."""

    head = "QuestionAnswering"

    def configure(self, config: Any, labels: Sequence[str]) -> None:
        """Set two outputs a sub-word: that an answer begins there, and that it ends there."""
        config.num_labels = 2
        config.problem_type = None

    def fits(self, architecture: str, config: Any) -> bool:
        """Return whether it is the head that ``loader`` loads, which for FlauBERT is called simple."""
        return architecture.endswith((f"For{self.head}", f"For{self.head}Simple"))

    def unfit(self, config: Mapping[str, Any]) -> str | None:
        """Return a reason if the configuration says that the head does something else."""
        said = config.get("problem_type")
        return f"its config.json says problem_type {quoted(said)}, which marks no part of a text" if said else None

    def encode(self, examples: Sequence[Asked], task: Task, tokenizer: Any, max_length: int) -> EncodedWindows:
        """Tokenise questions with windows of their contexts.

        A question that takes more than half of the room is cut to that. Windows overlap by the task's ``stride``, or by
        half of a window if that is less. An example counts as truncated if its question is cut, or if no window holds
        its whole answer.
        """
        frame = _frame(tokenizer)
        room = max_length - len(frame.before) - len(frame.between) - len(frame.after)
        if room < 2:
            raise UsageError(f"max_length {max_length} leaves no room for a question and a context.")
        stride = int(task.options.get("stride", STRIDE))
        ids: list[npt.NDArray[np.int32]] = []
        spans: list[npt.NDArray[np.int32]] = []
        types: list[npt.NDArray[np.uint8]] = []
        labels: list[tuple[int, int]] = []
        places: list[tuple[int, int]] = []
        windows: list[int] = []
        truncated = 0
        for example, question, context in _cut(examples, tokenizer):
            asked = question[: room // 2]
            first = len(frame.before) + len(asked) + len(frame.between)
            answer = _sub_words(example, context.spans)
            whole = False
            count = 0
            for start, end in windows_of(len(context.ids), room - len(asked), stride):
                last = first + end - start
                ids.append(
                    np.concatenate([frame.before, asked, frame.between, context.ids[start:end], frame.after]).astype(
                        np.int32
                    )
                )
                block = np.zeros((len(ids[-1]), 2), np.int32)
                block[first:last] = context.spans[start:end]
                spans.append(block)
                types.append(frame.types_of(len(asked), end - start))
                holds = answer is not None and start <= answer[0] and answer[1] < end
                labels.append((first + answer[0] - start, first + answer[1] - start) if answer and holds else (0, 0))
                places.append((first, last))
                whole |= holds
                count += 1
            windows.append(count)
            truncated += len(asked) < len(question) or (bool(example.answers) and not whole)
        typed = "token_type_ids" in tokenizer.model_input_names
        return EncodedWindows(
            ids=np.concatenate(ids) if ids else np.empty(0, np.int32),
            offsets=offsets_of([len(row) for row in ids]),
            type_ids=(np.concatenate(types) if types else np.empty(0, np.uint8)) if typed else None,
            labels=np.array(labels, np.int64).reshape(-1, 2),
            pad_id=tokenizer.pad_token_id,
            truncated=truncated,
            asked=tuple(examples),
            first=offsets_of(windows),
            places=np.array(places, np.int64).reshape(-1, 2),
            spans=np.concatenate(spans) if spans else np.empty((0, 2), np.int32),
        )


QUESTION_ANSWERING = QuestionAnsweringNetwork()


def windows_of(length: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yield where windows of a text begin and end: at most ``room`` long, overlapping by ``stride``, or half of that.

    Args:
        length: sub-words of the text.
        room: sub-words of a window, at least 1.
        stride: sub-words that a window shares with the one before.
    """
    start = 0
    while start + room < length:
        yield start, start + room
        start += room - min(stride, room // 2)
    yield start, length


def composed(text: str) -> tuple[str, Ints, Ints]:
    """Return a text in Unicode's NFC, and where each of its characters begins and ends in the text as it was.

    Returns:
        The text in NFC; (characters,) begins; (characters,) ends.
    """
    if unicodedata.is_normalized("NFC", text):
        places = np.arange(len(text) + 1)
        return text, places[:-1], places[1:]
    parts: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    start = 0
    for end in range(1, len(text) + 1):
        part = text[start:end]
        if end < len(text):
            more = text[end]
            if unicodedata.combining(more) or nfc(part + more) != nfc(part) + nfc(more):
                continue
        parts.append(nfc(part))
        begins += [start] * len(parts[-1])
        ends += [end] * len(parts[-1])
        start = end
    return "".join(parts), np.array(begins, np.int64), np.array(ends, np.int64)


class _Cut(NamedTuple):
    ids: npt.NDArray[np.int32]
    spans: npt.NDArray[np.int32]
    """(sub-words, 2), as ``EncodedWindows.spans``."""


class _Frame(NamedTuple):
    """What a tokenizer puts around two texts, and their segments."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: list[int]
    """Segments of: before, the first text, between, the second, after, one position each."""

    def types_of(self, question: int, context: int) -> npt.NDArray[np.uint8]:
        """Return the segments of a question and a context of so many sub-words."""
        times = np.ones(len(self.types), np.int64)
        times[len(self.before)], times[len(self.before) + 1 + len(self.between)] = question, context
        return np.repeat(np.array(self.types, np.uint8), times)


def _frame(tokenizer: Any) -> _Frame:
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "b"))
    pair = tokenizer("a", "b")
    whole = pair["input_ids"]

    def found(piece: list[int], start: int) -> int:
        return next(i for i in range(start, len(whole)) if whole[i : i + len(piece)] == piece)

    first = found(one, 0)
    second = found(other, first + len(one))
    types = list(pair.get("token_type_ids") or [0] * len(whole))
    end = first + len(one)
    single = [*types[: first + 1], *types[end : second + 1], *types[second + len(other) :]]
    return _Frame(whole[:first], whole[end:second], whole[second + len(other) :], single)


def _cut(examples: Sequence[Asked], tokenizer: Any) -> Iterator[tuple[Asked, list[int], _Cut]]:
    """Yield each example with the sub-words of question and context, without special tokens."""
    for start in range(0, len(examples), PART):
        part = examples[start : start + PART]
        questions = tokenizer([each.question for each in part], add_special_tokens=False, verbose=False)["input_ids"]
        contexts = list(dict.fromkeys(each.context for each in part))
        cut = dict(zip(contexts, _pieces(contexts, tokenizer), strict=True))
        for example, question in zip(part, questions, strict=True):
            yield example, question, cut[example.context]


def _pieces(texts: Sequence[str], tokenizer: Any) -> Iterator[_Cut]:
    """Yield the sub-words of each text, which a tokenizer sees in NFC, with the characters that they stand for."""
    whole = [composed(text) for text in texts]
    if tokenizer.is_fast:
        cut = tokenizer(
            [text for text, _, _ in whole], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        pieces = zip(cut["input_ids"], cut["offset_mapping"], strict=True)
    else:
        pieces = zip(*_by_words([text for text, _, _ in whole], tokenizer), strict=True)
    for (ids, places), (text, begins, ends) in zip(pieces, whole, strict=True):
        spans = np.zeros((len(ids), 2), np.int32)
        for at, (start, end) in enumerate(places):
            inner = text[start:end].strip()
            if inner:
                start += len(text[start:end]) - len(text[start:end].lstrip())
                spans[at] = begins[start], ends[start + len(inner) - 1]
        yield _Cut(np.array(ids, np.int32), spans)


_WORD = re.compile("\\w+['\u2019]?|[^\\w\\s]")
"""A word with its apostrophe (« l' »), another word, or a mark: about what FlauBERT's tokenizer parts first."""


def _by_words(texts: Sequence[str], tokenizer: Any) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """Return sub-words and their characters for a tokenizer without offsets: each stands for its whole word."""
    cache: dict[str, list[int]] = {}
    ids: list[list[int]] = []
    places: list[list[tuple[int, int]]] = []
    for text in texts:
        ids.append([])
        places.append([])
        for word in _WORD.finditer(text):
            if word[0] not in cache:
                cache[word[0]] = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word[0]))
            ids[-1] += cache[word[0]]
            places[-1] += [word.span()] * len(cache[word[0]])
    return ids, places


def _sub_words(example: Asked, spans: npt.NDArray[np.int32]) -> tuple[int, int] | None:
    """Return the first and the last sub-word that share a character with the first right answer; None if none does."""
    if not example.answers:
        return None
    text, start = example.answers[0]
    shared = (spans[:, 0] < start + len(text)) & (spans[:, 1] > start) & (spans[:, 0] < spans[:, 1])
    found = np.flatnonzero(shared)
    return (int(found[0]), int(found[-1])) if len(found) else None
