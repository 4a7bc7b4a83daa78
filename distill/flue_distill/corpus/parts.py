"""A corpus made on many machines: each tokenises a part of the texts, one joins what they made.

::

    corpus/parts/3-of-8/000000-1f2e….npz …   blocks of whole batches: tokens, lengths and hashes of their documents
                        part.json            what they were made of and how many there are; written last

A batch (``texts.batches``) belongs to the part in whose share of the bytes it begins, so that a file of any size is
divided, and every part finds the same batches by reading up to its own. A block is named by its own hash and appears
when it is whole: the blocks that are there are where a killed part goes on, at most one of them is lost, and whoever
reads one asserts its bytes.

Joining gives, to the byte, the corpus that one machine makes of the same texts (``shards.build``): documents are in the
order of the sources, of duplicates the first is kept, shards end where they would. Duplicates are found by partitions
of the hashes and shards are written by as many processes as there are; only where shards end, and the digest of the
whole, takes a process by itself.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from filelock import Timeout
from pydantic import Field, ValidationError

from flue_bench import files
from flue_bench.errors import DataError, RecordError, UsageError, faults
from flue_bench.locks import Lock
from flue_bench.task import Count, Positive, Schema
from flue_distill.corpus import texts
from flue_distill.corpus.shards import (
    MANIFEST,
    SPLITS,
    STATE,
    Manifest,
    Plan,
    Settings,
    Shard,
    Split,
    check_free,
    is_held_out,
    open_corpus,
    plan_of,
    seal,
    stored,
)
from flue_distill.corpus.texts import Batch, Located, Source
from flue_distill.corpus.tokens import (
    Encoded,
    Ints,
    Pool,
    ProcessDiedError,
    Tokens,
    cores,
    made_with,
    other_versions,
    tokenised,
    watch_parent,
)

if TYPE_CHECKING:
    from flue_bench.progress import Bar, Display

PARTS, PART = "parts", "part.json"
BLOCK = 2**22
"""Tokens after which a block ends, at the end of a batch: what a killed part loses."""
AT_ONCE = 2**24
"""Hashes that one process looks at together."""
TABLE = ("source", "number", "last", "documents", "text_bytes", "empty", "too_short", "mostly_unknown")
"""What a block knows of each of its batches; ``number`` is that in its source, ``documents`` those with tokens."""
ARRAYS = ("ids", "lengths", "hashes", "table", "after")
"""What a block holds: token ids of its documents, one after the other, and of each document its length and its hash;
the table of its batches; the place after the last."""
_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.npz")


class BusyError(RecordError):
    """Another process makes this part, or joins the parts."""


class Block(Schema):
    """One file of a part."""

    file: str = Field(pattern=f"^{_NAME.pattern}$")
    documents: Count


class Part(Schema):
    """The description of a finished part."""

    schema_version: int = 1
    part: Positive
    parts: Positive
    plan: Plan
    """Its sources have no digests."""
    batch: Positive
    """Characters of a batch."""
    digests: dict[int, str]
    """Number → SHA-256 of the sources that begin in this part."""
    blocks: tuple[Block, ...]
    made_with: dict[str, str] = Field(default_factory=dict)
    """Versions that decide the tokens and where batches end."""


class _Owned(NamedTuple):
    """A batch of this part, and the place after it."""

    batch: Batch
    source: int
    number: int
    after: tuple[int, int, int, int]
    """Source, number of the next batch in it, documents and bytes of it that were read."""


def make(
    inputs: Sequence[str | Path],
    tokenizer: Any,
    out: Path,
    part: int,
    parts: int,
    *,
    field: str = "text",
    processes: int | None = None,
    shard_tokens: int = 2**26,
    min_tokens: int = 12,
    held_out: float = 0.01,
    lines: bool = False,
    show: Display | None = None,
) -> Path:
    """Tokenise one part of the texts; go on where a killed process of the same part stopped.

    Args:
        inputs: as for ``shards.build``, but no data sets of the hub.
        tokenizer: likewise.
        out: the folder of the corpus, which all machines share.
        part: number of the part, from 1.
        parts: their number.
        field: as for ``shards.build``, as are all that follow.
        processes: likewise.
        shard_tokens: likewise.
        min_tokens: likewise.
        held_out: likewise.
        lines: likewise.
        show: likewise.

    Returns:
        The folder of the part.

    Raises:
        UsageError: there is no such part, or an input is a data set of the hub.
        RecordError: ``out`` cannot be written, or holds parts of other texts or settings, or files of a corpus's names.
        BusyError: another process makes the same part.
        DataError: as for ``shards.build``.
    """
    if parts < 1:
        raise UsageError(f"--part {part}/{parts}: write K/N, such as 1/8 for the first of eight.")
    if not 1 <= part <= parts:
        raise UsageError(f"--part {part}/{parts}: parts are numbered from 1/{parts} to {parts}/{parts}.")
    sources, plan = planned(inputs, tokenizer, Settings(field, min_tokens, held_out, shard_tokens, lines))
    folder = folder_of(out, part, parts)
    with _explained(out):
        if finished(out, plan, show) is not None:
            return folder
        _check_alone(out)
        check_free(out, out / PARTS)
        files.make_folder(folder, out)
        with _locked(folder, show):
            begun = Part(
                part=part, parts=parts, plan=plan, batch=texts.BATCH, digests={}, blocks=(), made_with=made_with()
            )
            _check_neighbours(out, begun)
            if (folder / PART).exists():
                if show is not None:
                    show.line(f"Part {part} of {parts} is already made: nothing to do.")
                return folder
            begun_file = folder / "begun.json"
            if begun_file.exists() and _read(begun_file).model_copy(update={"made_with": begun.made_with}) != begun:
                raise _other(out)
            if not begun_file.exists():  # once begun, nothing but a new block changes the folder
                files.write(begun_file, begun.model_dump_json().encode())
            bounds = _bounds([source for source, _ in sources], part, parts)
            with ThreadPoolExecutor(1) as hashing:
                mine = [number for number in range(len(sources)) if bounds.begins_here(number)]
                digests = {number: hashing.submit(_digest, _path(sources[number])) for number in mine}
                title = f"Tokenising part {part} of {parts}"
                blocks = _write_blocks(sources, tokenizer, plan, bounds, folder, processes or cores(), show, title)
                known = {number: digest.result() for number, digest in digests.items()}
            done = begun.model_copy(update={"digests": known, "blocks": tuple(blocks)})
            files.write(folder / PART, (done.model_dump_json(indent=1) + "\n").encode())
            begun_file.unlink()
    return folder


def planned(inputs: Sequence[str | Path], tokenizer: Any, settings: Settings) -> tuple[list[Located], Plan]:
    """Return the texts and the plan of a corpus that is made in parts: its sources have no digests yet.

    Raises:
        UsageError: an input is a data set of the hub, or a setting cannot be.
        DataError: as for ``shards.build``.
    """
    if streamed := [str(given) for given in inputs if str(given).startswith("hub:")]:
        raise UsageError(
            f"{streamed[0]} is streamed, by one process: there are no parts of it. Get its files (hf download) and "
            "give their folder."
        )
    sources = texts.find(inputs, hashed=False)
    return sources, plan_of(sources, tokenizer, settings)


def finished(out: Path, plan: Plan, show: Display | None) -> Manifest | None:
    """Return the corpus that a folder holds already, if it does.

    Raises:
        RecordError: it is another one.
    """
    if not (out / MANIFEST).exists():
        return None
    manifest = open_corpus(out).manifest
    if _without_digests(manifest.plan) != plan:
        raise RecordError(f"{out} holds a corpus of other texts or settings: give another folder or delete it.")
    if show is not None:
        show.line(f"{out} is already made, of these texts with these settings: nothing to do.")
    return manifest


def folder_of(out: Path, part: int, parts: int) -> Path:
    """Return the folder of a part."""
    return out / PARTS / f"{part}-of-{parts}"


def division(out: Path) -> int | None:
    """Return into how many parts a corpus is divided that was begun in a folder; None if none was.

    Raises:
        DataError: there are parts of several divisions.
    """
    numbers = sorted({parts for parts, _ in _folders(out)})
    if len(numbers) > 1:
        named = ", ".join(f"{each}" for each in numbers)
        raise DataError(f"{out / PARTS} holds parts of several divisions (by {named}): delete those of the wrong one.")
    return numbers[0] if numbers else None


def _folders(out: Path) -> dict[tuple[int, int], Path]:
    """Return the folders of parts, by how many there are to be and their own number."""
    folders = {}
    for path in (out / PARTS).iterdir() if (out / PARTS).is_dir() else ():
        if match := re.fullmatch(r"(\d+)-of-(\d+)", path.name):
            folders[int(match[2]), int(match[1])] = path
    return folders


class _Bounds(NamedTuple):
    """The bytes, of all sources one after the other, in which the batches of a part begin."""

    starts: list[int]
    """Where each source begins, and where the last one ends."""
    low: int
    high: float

    def begins_here(self, source: int, read: int = 0) -> bool:
        return self.low <= self.starts[source] + read < self.high

    def touches(self, source: int) -> bool:
        """Return whether a batch of a source may begin here; one may begin at its very end, read ahead."""
        return self.starts[source] < self.high and self.starts[source + 1] >= self.low


def _bounds(sources: Sequence[Source], part: int, parts: int) -> _Bounds:
    starts = [0, *accumulate(source.bytes for source in sources)]
    high = float("inf") if part == parts else starts[-1] * part // parts
    return _Bounds(starts, starts[-1] * (part - 1) // parts, high)


def _owned(
    sources: Sequence[Located], plan: Plan, bounds: _Bounds, first: tuple[int, int, int, int], hints: list[str]
) -> Iterator[_Owned]:
    """Yield the batches of a part, from a place on."""
    at, number, documents, read = first
    for source in range(at, len(sources)):
        if source != at:
            number = documents = read = 0
        if not bounds.touches(source):
            continue
        for batch in texts.batches(sources[: source + 1], plan.field, source, documents, plan.lines, hints):
            began, last = read, batch.source > source
            documents, read = (0, 0) if last else (batch.position, batch.read)
            after = (source + 1, 0, 0, 0) if last else (source, number + 1, documents, read)
            if bounds.begins_here(source, began):
                yield _Owned(batch, source, number, after)
            elif bounds.starts[source] + began >= bounds.high:
                return
            number += 1


def _write_blocks(
    sources: Sequence[Located],
    tokenizer: Any,
    plan: Plan,
    bounds: _Bounds,
    folder: Path,
    processes: int,
    show: Display | None,
    title: str,
) -> list[Block]:
    """Write the blocks of a part that are not there yet, and describe all."""
    blocks, first = [], (0, 0, 0, 0)
    for number, path in enumerate(_there(folder)):
        arrays = _block(path)
        if int(path.name[:6]) != number:
            raise _damaged(path)
        blocks.append(Block(file=path.name, documents=len(arrays["lengths"])))
        source, batch, documents, read = map(int, arrays["after"])
        first = source, batch, documents, read
    waiting: list[_Owned] = []
    hints: list[str] = []

    def batches() -> Iterator[Batch]:
        for owned in _owned(sources, plan, bounds, first, hints):
            waiting.append(owned)
            yield owned.batch

    share = (min(bounds.high, bounds.starts[-1]) - bounds.low) or 1
    gathered: list[tuple[_Owned, Encoded]] = []
    tokens = 0
    with (
        show.running() if show else nullcontext(),
        show.bar(title) if show else nullcontext() as bar,
        closing(tokenised(batches(), tokenizer, plan.min_tokens, processes)) as encoded,
    ):
        for _, found in encoded:
            owned = waiting.pop(0)
            gathered.append((owned, found))
            tokens += len(found.ids)
            if tokens >= BLOCK:
                blocks.append(_write_block(folder, len(blocks), gathered, stored(plan)))
                gathered, tokens = [], 0
            if bar is not None:
                source, _, _, read = owned.after
                done = max(0, min(share, bounds.starts[source] + read - bounds.low))
                bar.update(int(done) >> 10, int(share) >> 10, "KiB of this part")
    if gathered:
        blocks.append(_write_block(folder, len(blocks), gathered, stored(plan)))
    for hint in hints if show is not None else ():
        show.once(hint)  # type: ignore[union-attr]
    return blocks


def _write_block(folder: Path, number: int, gathered: Sequence[tuple[_Owned, Encoded]], dtype: np.dtype[Any]) -> Block:
    """Write a block under a name that holds its hash, which is made of the bytes as they are written."""
    table = [
        (
            owned.source, owned.number, owned.after[0] > owned.source, len(found.lengths),
            *(found.counts[key] for key in TABLE[4:]),
        )
        for owned, found in gathered
    ]  # fmt: skip
    content = io.BytesIO()
    np.savez(
        content,
        ids=np.concatenate([found.ids for _, found in gathered]).astype(dtype, copy=False),
        lengths=np.concatenate([found.lengths for _, found in gathered]),
        hashes=np.array([each for _, found in gathered for each in found.hashes], dtype="<i8"),
        table=np.array(table, dtype="<i8"),
        after=np.array(gathered[-1][0].after, dtype="<i8"),
    )
    name = f"{number:06}-{hashlib.sha256(content.getbuffer()).hexdigest()}.npz"
    files.write(folder / name, content.getvalue())
    return Block(file=name, documents=sum(len(found.lengths) for _, found in gathered))


def _there(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _block(path: Path) -> dict[str, Any]:
    """Return a block's arrays, after its bytes were asserted.

    Raises:
        RecordError: they are not those that were written, or no block was.
    """
    try:
        with files.opened(path, path.parent) as file:
            content = file.read()
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read: {error.strerror}. If it is gone, delete the folder {path.parent} and make that "
            "part again."
        ) from None
    if hashlib.sha256(content).hexdigest() != path.name[7:71]:
        raise _damaged(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            there = sum(member.file_size for member in packed.zip.infolist()) <= len(content)  # it is not compressed
            arrays = {name: packed[name] for name in ARRAYS if there}
    except Exception:  # numpy raises almost anything
        raise _damaged(path) from None
    if not _fit(arrays):
        raise _damaged(path)
    return arrays


def _fit(arrays: dict[str, Any]) -> bool:
    """Return whether arrays are those of a block, which fit each other."""
    if [each.ndim for each in arrays.values()] != [1, 1, 1, 2, 1]:
        return False
    ids, lengths, hashes, table, after = arrays.values()
    if ids.dtype.kind != "u" or any(each.dtype.kind not in "iu" for each in (lengths, hashes, table, after)):
        return False
    if table.shape[1] != len(TABLE) or len(after) != 4 or min(table.min(initial=0), lengths.min(initial=0)) < 0:
        return False
    documents = table[:, TABLE.index("documents")].sum()
    return bool(len(hashes) == len(lengths) == documents and lengths.sum() == len(ids))


# Joining.


class _Piece(NamedTuple):
    """Batches of a block that go into one shard."""

    path: Path
    start: int
    """Number of the block's first document among all."""
    first: int
    """Its first batch that goes there, and the first that does not."""
    end: int


class _Written(NamedTuple):
    """A pair of shards."""

    sizes: list[int]
    hashes: list[str]
    counts: Ints
    """(vocabulary,), of the training shard."""


def merge(out: Path, *, processes: int | None = None, show: Display | None = None) -> Manifest:
    """Join the parts below ``out``, which are removed when the corpus is whole.

    Args:
        out: the folder that was given to ``make``.
        processes: the number of processes; by default one per core.
        show: where to draw progress.

    Raises:
        DataError: a part is missing, or parts do not belong together.
        RecordError: ``out`` cannot be written, or a block is damaged.
        BusyError: another process merges.
    """
    parts = out / PARTS
    with _explained(out):
        if not (out / MANIFEST).exists():
            _check_alone(out)
            _parts(out)
        elif not parts.is_dir():
            return _made(out, show)
        with _locked(parts, show):
            if (out / MANIFEST).exists():  # another process may have made it since
                shutil.rmtree(parts, ignore_errors=True)
                return _made(out, show)
            made = _parts(out)
            plan = _joined_plan(made)
            paths = [parts / f"{each.part}-of-{each.parts}" / block.file for each in made for block in each.blocks]
            numbers = [block.documents for each in made for block in each.blocks]
            starts = [0, *accumulate(numbers)]
            scratch = (parts / "hashes", parts / "kept")
            for path, size in zip(scratch, (8, 1), strict=True):
                _reserve(path, starts[-1] * size)
            with (
                show.running() if show else nullcontext(),
                show.bar("Merging") if show else nullcontext() as bar,
                _pool(processes or cores()) as pool,
            ):
                tables = list(pool.map(_spread_hashes, paths, starts, numbers, [scratch[0]] * len(paths)))
                _check_join(plan, tables)
                partitions = -(-starts[-1] // AT_ONCE) or 1
                arguments = range(partitions), [partitions] * partitions, [scratch] * partitions
                list(pool.map(_keep_first, *arguments))
                shared = [scratch] * len(paths), [plan.held_out] * len(paths)
                sizes = list(pool.map(_sizes, paths, starts, *shared))
                counts = _counts(tables, sizes)
                pairs = list(_pairs(plan, paths, starts, sizes))
                writing = pool.map(
                    _write_pair,
                    range(len(pairs)),
                    pairs,
                    [out] * len(pairs),
                    [scratch] * len(pairs),
                    [plan] * len(pairs),
                )

                def done(number: int, bar: Bar | None = bar, total: int = len(pairs)) -> None:
                    if bar is not None:
                        bar.update(number, total, "shards")

                manifest = _finish(plan, counts, out, writing, done)
            shutil.rmtree(parts, ignore_errors=True)  # the lock with it, while nobody else can hold it
    return manifest


def _made(out: Path, show: Display | None) -> Manifest:
    """Return the description of a corpus that is whole."""
    if show is not None:
        show.line(f"{out} is already made: nothing to do.")
    return open_corpus(out).manifest


def _reserve(path: Path, size: int) -> None:
    """Make a file of zeros to be mapped, whose bytes are there: a disk that is full kills who writes to a mapping."""
    with files.create(path) as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _check_alone(out: Path) -> None:
    """Refuse a folder in which one machine has begun the same corpus: both would write the same shards."""
    if (out / STATE).exists():
        raise RecordError(
            f"{out} holds an unfinished corpus of one machine: finish it without --part, or give another folder."
        )


def _parts(out: Path) -> list[Part]:
    """Return the descriptions of all parts, in order."""
    folders, parts = _folders(out), division(out)
    if parts is None:
        raise DataError(
            f"{out} holds no parts: flue-bench corpus TEXTS --tokenizer T --out {out} --part 1/N makes one."
        )
    missing = [part for part in range(1, parts + 1) if not (folder_of(out, part, parts) / PART).exists()]
    if missing:
        named = ", ".join(f"{part}/{parts}" for part in missing[:5]) + (" and more" if missing[5:] else "")
        raise DataError(f"{out}: not finished: part {named}. Run the command of each again: it goes on where it was.")
    return [_read(folders[parts, part] / PART) for part in range(1, parts + 1)]


def _joined_plan(made: Sequence[Part]) -> Plan:
    """Return the plan of all parts, which have to be equal, with the digests that each of them found."""
    first = made[0]
    for each in made:
        if (each.plan, each.batch) != (first.plan, first.batch):
            raise DataError(
                f"Part {each.part}/{each.parts} was made of other texts, with other settings or by another version "
                f"than part 1/{each.parts}: delete its folder and make it again."
            )
        if differ := other_versions(each.made_with, first.made_with):
            raise DataError(
                f"Part {each.part}/{each.parts} was made with {differ}, as part 1/{each.parts} was: delete the folder "
                "of one, and make it again with the version of the others."
            )
    digests = {number: digest for each in made for number, digest in each.digests.items()}
    known = tuple(
        source.model_copy(update={"digest": digests.get(number, "")})
        for number, source in enumerate(first.plan.sources)
    )
    return first.plan.model_copy(update={"sources": known})


def _spread_hashes(path: Path, start: int, documents: int, hashes: Path) -> Ints:
    """Write a block's hashes to the file of all, and return its table."""
    arrays = _block(path)
    if len(found := arrays["hashes"]) != documents:
        raise _damaged(path)
    if documents:
        np.memmap(hashes, "<i8", "r+", offset=8 * start, shape=documents)[:] = found
    table: Ints = arrays["table"].astype(np.int64)
    return table


def _check_join(plan: Plan, tables: Sequence[Ints]) -> None:
    """Refuse parts that leave out a batch or have one twice: then they did not read the same."""
    columns = TABLE.index("source"), TABLE.index("number"), TABLE.index("last")
    places = np.concatenate([np.empty((0, 3), np.int64), *(table[:, columns] for table in tables)])
    source, number, last = places.T
    expected = np.concatenate([[0], np.where(last[:-1], 0, number[:-1] + 1)]) if len(places) else number
    following = np.concatenate([[0], source[:-1] + last[:-1]]) if len(places) else source
    whole = len(places) and source[-1] == len(plan.sources) - 1 and last[-1]
    if not (whole and (number == expected).all() and (source == following).all()):
        wrong = np.flatnonzero((number != expected) | (source != following))
        at = int(source[wrong[0]]) if len(wrong) else -1
        name = plan.sources[at].name if at < len(plan.sources) else f"text {at + 1}, which they do not have"
        raise DataError(
            f"The parts do not join in {name}: a batch is missing or there twice. Was a file changed, or were they "
            "made by different versions of Python? Make all parts again, with one installation."
        )


def _keep_first(partition: int, partitions: int, scratch: tuple[Path, Path]) -> None:
    """Mark the first of equal hashes as kept, among those of one partition."""
    hashes = _mapped(scratch[0], "<i8", "r")
    positions, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(hashes), AT_ONCE):
        some = np.asarray(hashes[start : start + AT_ONCE])
        mine = np.flatnonzero(some.view(np.uint64) % np.uint64(partitions) == partition)
        positions.append(mine + start)
        values.append(some[mine])
    _, first = np.unique(np.concatenate(values), return_index=True)  # of equal ones the first
    if len(hashes):
        _mapped(scratch[1], "u1", "r+")[np.concatenate(positions)[first]] = 1


def _mapped(path: Path, dtype: str, mode: Any) -> Any:
    return np.memmap(path, dtype, mode) if path.stat().st_size else np.empty(0, dtype)


def _chosen(arrays: Any, start: int, scratch: tuple[Path, Path], share: float) -> list[Any]:
    """Return which documents of a block are trained on, and which are held out, (documents,) each."""
    fresh = np.asarray(_mapped(scratch[1], "u1", "r")[start : start + len(arrays["lengths"])]).astype(np.bool_)
    held = is_held_out(arrays["hashes"], share)
    return [fresh & ~held, fresh & held]


def _sizes(path: Path, start: int, scratch: tuple[Path, Path], share: float) -> Ints:
    """Return the documents and tokens of each split that each batch of a block leaves, (batches, 4)."""
    arrays = _block(path)
    ends = np.cumsum(arrays["table"][:, TABLE.index("documents")])
    columns = []
    for chosen in _chosen(arrays, start, scratch, share):
        for each in (chosen, chosen * arrays["lengths"]):
            sums = np.concatenate([[0], np.cumsum(each, dtype=np.int64)])[ends]
            columns.append(np.diff(sums, prepend=0))
    return np.stack(columns, 1)


def _counts(tables: Sequence[Ints], sizes: Sequence[Ints]) -> Counter[str]:
    """Return the documents of each fate, and the bytes of text."""
    counts: Counter[str] = Counter()
    for table, size in zip(tables, sizes, strict=True):
        for column, name in enumerate(TABLE[3:], 3):
            counts[name] += int(table[:, column].sum())
        counts["train"] += int(size[:, 0].sum())
        counts["held-out"] += int(size[:, 2].sum())
    counts["duplicate"] = counts.pop("documents") - counts["train"] - counts["held-out"]
    return counts


def _pairs(plan: Plan, paths: Sequence[Path], starts: Sequence[int], sizes: Sequence[Ints]) -> Iterator[list[_Piece]]:
    """Yield the pieces of each pair of shards: one ends with the batch that brings it to ``shard_tokens``."""
    pieces: list[_Piece] = []
    tokens = 0
    for path, start, size in zip(paths, starts, sizes, strict=False):
        first = 0
        for number, more in enumerate(size[:, 1].tolist(), 1):
            tokens += more
            if tokens >= plan.shard_tokens:
                yield [*pieces, _Piece(path, start, first, number)]
                pieces, tokens, first = [], 0, number
        if first < len(size):
            pieces.append(_Piece(path, start, first, len(size)))
    if pieces:
        yield pieces


def _write_pair(number: int, pieces: Sequence[_Piece], out: Path, scratch: tuple[Path, Path], plan: Plan) -> _Written:
    """Write one pair of shards; hashes and counts are of the bytes as they are written."""
    sizes, hashes = [0, 0], [hashlib.sha256(), hashlib.sha256()]
    counts = np.zeros(plan.tokenizer.vocab_size, dtype=np.int64)
    names = [out / f"{split}-{number:05}.bin" for split in SPLITS]
    with files.create(names[0]) as train, files.create(names[1]) as held_out:
        for piece in pieces:
            arrays = _block(piece.path)
            stream, lengths = arrays["ids"], arrays["lengths"]
            if stream.max(initial=0) >= len(counts):
                raise _damaged(piece.path)
            ends = np.concatenate([[0], np.cumsum(arrays["table"][:, TABLE.index("documents")])])
            inside = np.zeros(len(lengths), dtype=np.bool_)
            inside[ends[piece.first] : ends[piece.end]] = True
            for split, chosen in enumerate(_chosen(arrays, piece.start, scratch, plan.held_out)):
                ids: Tokens = stream[np.repeat(chosen & inside, lengths)]
                content = ids.astype(stored(plan), copy=False).tobytes()
                (train, held_out)[split].write(content)
                hashes[split].update(content)
                sizes[split] += len(ids)
                if split == 0 and len(ids):
                    counts += np.bincount(ids, minlength=len(counts))
        for file in (train, held_out):
            file.flush()
            os.fsync(file.fileno())
    for name, size in zip(names, sizes, strict=True):
        if not size:
            name.unlink()
    return _Written(sizes, [each.hexdigest() for each in hashes], counts)


def _finish(
    plan: Plan, counts: Counter[str], out: Path, written: Iterable[_Written], done: Callable[[int], object]
) -> Manifest:
    """Hash the shards in order, as they come, and write the manifest."""
    content = {split: hashlib.sha256() for split in SPLITS}
    shards: list[Shard] = []
    occurrences = np.zeros(plan.tokenizer.vocab_size, dtype=np.int64)
    for number, pair in enumerate(written):
        occurrences += pair.counts
        for split, size, own in zip(SPLITS, pair.sizes, pair.hashes, strict=True):
            if size:
                name, read = f"{split}-{number:05}.bin", hashlib.sha256()
                with files.opened(out / name, out) as file:
                    while chunk := file.read(2**22):
                        content[split].update(chunk)
                        read.update(chunk)
                if read.hexdigest() != own:
                    raise RecordError(
                        f"{out / name} is not what was written: does another process merge there, or is the disk "
                        "failing? Merge again."
                    )
                shards.append(Shard(file=name, split=split, tokens=size, sha256=own))
        done(number + 1)
    digests: dict[Split, str] = {split: content[split].hexdigest() for split in SPLITS}
    return seal(plan, counts, shards, digests, occurrences, out)


@contextmanager
def _pool(processes: int) -> Iterator[Pool]:
    try:
        with Pool(processes, _start) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # otherwise all that waits is done first
                raise
    except BrokenProcessPool:
        raise ProcessDiedError(
            "A process that merged died: was it killed, or out of memory? Run again; fewer --processes need less "
            "memory."
        ) from None


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent()


@contextmanager
def _locked(folder: Path, show: Display | None) -> Iterator[None]:
    lock = Lock(folder / "lock", folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BusyError(f"{folder}: another process is at work there. Wait for it, or stop it.") from None
    if lock.warning and show is not None:
        show.line(lock.warning)
    try:
        yield
    finally:
        lock.release()


def _check_neighbours(out: Path, begun: Part) -> None:
    """Refuse a part beside others of another plan or division, before it is made in vain."""
    for path in (out / PARTS).iterdir():
        match = re.fullmatch(r"(\d+)-of-(\d+)", path.name)
        if match and int(match[2]) != begun.parts:
            raise RecordError(f"{out} holds parts of a division by {match[2]}: go on with it, or delete {out / PARTS}.")
        for file in (path / PART, path / "begun.json") if match else ():
            try:
                other = _read(file)
            except FileNotFoundError:  # one of the two; and somebody may be finishing that part right now
                continue
            if (other.plan, other.batch) != (begun.plan, begun.batch):
                raise _other(out)
            if differ := other_versions(other.made_with, begun.made_with):
                raise RecordError(
                    f"{path} was made with {differ}: a corpus has one version. Install that, or delete {out / PARTS}."
                )


def _read(path: Path) -> Part:
    try:
        return Part.model_validate_json(files.read(path, 4 * files.SMALL, path.parent))
    except ValidationError as error:
        raise RecordError(
            f"{path} does not validate: {faults(error)[0]}. Delete its folder and make it again."
        ) from None


def _without_digests(plan: Plan) -> Plan:
    return plan.model_copy(
        update={"sources": tuple(source.model_copy(update={"digest": ""}) for source in plan.sources)}
    )


def _digest(path: Path) -> str:
    with texts.readable(path):
        return files.sha256(path)


def _path(located: Located) -> Path:
    _, path = located
    assert path is not None  # no source of a part is streamed
    return path


def _other(out: Path) -> RecordError:
    return RecordError(f"{out} holds parts of other texts or settings: give another folder, or delete {out / PARTS}.")


def _damaged(path: Path) -> RecordError:
    return RecordError(f"{path} is damaged. Delete the folder {path.parent} and make that part again.")


def _explained(out: Path) -> Any:
    return files.explained(out, "and run again: finished blocks are kept")
