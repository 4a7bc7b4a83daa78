"""Turns documents into token ids, in order, with as many processes as there are cores.

This module imports neither torch nor transformers: each worker imports it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from itertools import chain
from multiprocessing import get_context, parent_process
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from flue_bench.errors import DataError, ModelError
from flue_bench.record import digest_of
from flue_bench.signals import Handled
from flue_bench.task import Schema
from flue_distill.corpus.texts import Batch

Tokens = npt.NDArray[np.uint16 | np.uint32]
Ints = npt.NDArray[np.int64]

WORDS = 2048
"""Words per tokenizer call."""


class ProcessDiedError(DataError):
    """A process that had a share of the work died, for example killed by the system: what is done is kept."""


class TokenizerIdentity(Schema):
    """The identity of a tokenizer by its effect on a text, and the ids that training needs."""

    digest: str
    """16 hex digits over vocabulary, merges, normalisation and pre-tokenisation."""
    vocab_size: int
    cls: int
    sep: int
    pad: int
    mask: int
    unk: int | None


class Encoded(NamedTuple):
    """The documents of a batch that are long enough and have few enough unknown tokens."""

    ids: Tokens
    lengths: Ints
    hashes: list[int]
    counts: Counter[str]


class Work(NamedTuple):
    """The settings of a worker."""

    tokenizer: Any
    kept: npt.NDArray[np.bool_]
    identity: TokenizerIdentity
    min_tokens: int


def identify(tokenizer: Any) -> TokenizerIdentity:
    """Return the identity of a (fast) transformers tokenizer by content: equal from the hub, a folder, or saved again.

    Raises:
        ModelError: the tokenizer is in Python, or lacks the tokens of a masked language model.
    """
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"{type(tokenizer).__name__} is not a fast tokenizer: a corpus needs one with tokenizer.json.")
    ids = {
        "cls": tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id,
        "sep": tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id,
        "pad": tokenizer.pad_token_id,
        "mask": tokenizer.mask_token_id,
    }
    if missing := [name for name, number in ids.items() if number is None]:
        raise ModelError(f"The tokenizer has no {' or '.join(missing)} token: not one of a masked language model.")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    parts = {part: content[part] for part in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    size = max(tokenizer.get_vocab().values()) + 1
    unk = content["model"].get("unk_id")  # camembert-base's tokenizer.json names '<unk>' twice, and gives the first
    return TokenizerIdentity(
        digest=digest_of(parts), vocab_size=size, unk=tokenizer.unk_token_id if unk is None else unk, **ids
    )


def made_with() -> dict[str, str]:
    """Return the versions that decide which tokens a text becomes, and where it is cut into batches."""
    return {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "tokenizers": version("tokenizers")}


def other_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words which of the versions that both know differ; empty if none does."""
    differ = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    return ", ".join(f"{name} {before[name]}, not {now[name]}" for name in differ)


def dtype_of(identity: TokenizerIdentity) -> Literal["uint16", "uint32"]:
    """Return the narrowest type that holds every id."""
    return "uint16" if identity.vocab_size <= 2**16 else "uint32"


T = TypeVar("T")
_work: Work


def _kept_ids(tokenizer: Any, identity: TokenizerIdentity) -> npt.NDArray[np.bool_]:
    """Return which ids to keep: texts of the web hold ``</s>`` and ``<mask>``, which a tokenizer takes for its own."""
    kept = np.ones(identity.vocab_size, dtype=np.bool_)
    special = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
    kept[[number for number in {*special, *tokenizer.all_special_ids} if number != identity.unk]] = False
    return kept


def _start(work: Work) -> None:
    """Make this process a worker, which ends when its parent ends, for whatever reason."""
    global _work
    _work = work
    work.tokenizer.no_truncation()  # a saved tokenizer may have either
    work.tokenizer.no_padding()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent()


def watch_parent() -> None:
    """End this process when its parent ends, for whatever reason."""

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tokenise(texts: list[str]) -> Encoded:
    """Return the ids of a batch's documents, SEP after each, without special tokens and short or unknown documents."""
    tokenizer, kept, identity, min_tokens = _work
    counts: Counter[str] = Counter()
    rows: list[Tokens] = [np.empty(0, dtype_of(identity))]
    hashes = []
    for text in texts:
        content = text.encode("utf-8", "replace")  # JSON can hold half a surrogate pair
        counts["text_bytes"] += len(content)
        words = content.decode().split()
        # In pieces, since an encoding takes hundreds of bytes a token; a blank marks that no text starts there.
        pieces = [(" " if i else "") + " ".join(words[i : i + WORDS]) for i in range(0, len(words), WORDS)]
        encodings = tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), dtype=dtype_of(identity))
        ids = ids[kept[ids]]
        size = len(ids) + 2
        if not len(ids):
            counts["empty"] += 1
        elif size < min_tokens:
            counts["too_short"] += 1
        elif identity.unk is not None and 2 * np.count_nonzero(ids == identity.unk) >= size:
            counts["mostly_unknown"] += 1
        else:
            rows.append(np.append(ids, np.asarray(identity.sep, dtype=ids.dtype)))
            digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
            hashes.append(int.from_bytes(digest, "little", signed=True))
    return Encoded(np.concatenate(rows), np.array([len(row) for row in rows[1:]], dtype=np.int64), hashes, counts)


class Pool(ProcessPoolExecutor):
    """Processes with an interpreter of their own, which are started when there is work for them."""

    def __init__(self, processes: int, begin: Callable[..., None], *arguments: object) -> None:
        """Let each process call ``begin`` first; it makes the process ignore Ctrl-C, which is the parent's business."""
        super().__init__(processes, get_context("spawn"), begin, arguments)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit work, for which a process may be started: meanwhile Ctrl-C and SIGTERM wait.

        A process whose instructions break off in the middle, or that gets a Ctrl-C before it ignores it, ends in a
        traceback. What its parent blocks, it blocks from its first moment.
        """
        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            return super().submit(fn, *args, **kwargs)
        came: list[int] = []
        try:
            with Handled(lambda number, _: came.append(number)):
                masks = hasattr(signal, "pthread_sigmask")
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
                try:
                    return super().submit(fn, *args, **kwargs)
                finally:
                    if masks:
                        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        finally:
            if came:
                signal.raise_signal(came[0])


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tokenised(
    batches: Iterable[Batch], tokenizer: Any, min_tokens: int, processes: int
) -> Generator[tuple[Batch, Encoded], None, None]:
    """Yield batches and their tokens, in order, with a bounded number of them in flight.

    Args:
        batches: batches of documents.
        tokenizer: a fast tokenizer of transformers.
        min_tokens: shorter documents are dropped, CLS and SEP counted.
        processes: the number of worker processes.

    Raises:
        ProcessDiedError: a process died.
    """
    identity = identify(tokenizer)
    work = Work(tokenizer.backend_tokenizer, _kept_ids(tokenizer, identity), identity, min_tokens)
    waiting: deque[tuple[Batch, Any]] = deque()
    try:
        with Pool(processes, _start, work) as pool:
            for batch in batches:
                waiting.append((batch, pool.submit(_tokenise, batch.texts)))
                if len(waiting) > 3 * processes:
                    batch, future = waiting.popleft()
                    yield batch, future.result()
            for batch, future in waiting:
                yield batch, future.result()
    except BrokenProcessPool:
        raise ProcessDiedError(
            "A process that tokenised died: was it killed, or out of memory? Run again: it continues; "
            "fewer --processes need less memory."
        ) from None
