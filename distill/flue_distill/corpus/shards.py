"""Text in, token shards out: what a masked language model trains on, in bounded memory, resumable after a kill.

::

    corpus/manifest.json          its contents and sources; written last
           train-00000.bin …      token ids, little-endian, documents one after the other, each ended by SEP
           held-out-00000.bin …   documents that are never trained on
           token_counts.npy       how often each id occurs in the training shards
           build.sqlite           during the build: hashes of documents, and where to resume

One process reads and writes, the others tokenise batches of documents, which come back in order: the result does not
depend on their number. Whenever a pair of shards is full, it is synced, and one transaction of ``build.sqlite`` records
it together with the hashes and the position in the sources. A build that was killed resumes from there.

Duplicates are found by 8-byte BLAKE2b hashes of the documents (runs of blanks made one), kept in a B-tree on disk,
about 16 bytes a document, of which SQLite holds 64 MiB in memory. In n documents some pair of different ones has equal
hashes with probability n² / 2⁶⁵: 7e-5 for fifty million. The same hash decides what is held out, so that a document is
never on both sides, and one that a corpus holds out is held out in every corpus of the same share or a larger one. The
share of a large corpus is cut to about ``HELD_OUT_BYTES`` of its files: far more than any evaluation looks at.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from flue_bench import files
from flue_bench.errors import DataError, FlueBenchError, RecordError, UsageError, faults
from flue_bench.record import digest_of
from flue_bench.task import Count, Positive, Schema, Short
from flue_distill.corpus import texts
from flue_distill.corpus.texts import Batch, Located, Source
from flue_distill.corpus.tokens import (
    Encoded,
    Ints,
    TokenizerIdentity,
    Tokens,
    cores,
    dtype_of,
    identify,
    made_with,
    other_versions,
    tokenised,
)

if TYPE_CHECKING:
    from flue_bench.progress import Display

STATE = "build.sqlite"
MANIFEST = "manifest.json"
COUNTS = "token_counts.npy"
HELD_OUT_BYTES = 2**24
"""Bytes of files, as they lie on the disk, whose documents may be held out: some 4 million tokens of plain text."""
TABLES = ("CREATE TABLE seen (hash INTEGER PRIMARY KEY)", "CREATE TABLE state (json TEXT)")
"""The schema of the build's database."""
_SUPER = bytes.fromhex("d9d505f920a163d7")
"""End of a journal that names a super-journal (https://sqlite.org/fileformat.html, "The Rollback Journal")."""

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")
ShardName = Annotated[str, Field(pattern=r"^(train|held-out)-[0-9]{5,}\.bin$", max_length=255)]


class Plan(Schema):
    """The parameters of a build; two builds of one plan are bit-identical."""

    tokenizer: TokenizerIdentity
    sources: tuple[Source, ...]
    field: str
    min_tokens: int
    """Shorter documents are dropped, CLS and SEP counted."""
    held_out: float
    """Share of the documents held out, by their hash."""
    shard_tokens: int
    lines: bool = False
    """Whether each line of a .txt file was a document; otherwise blank lines separate them."""


class Shard(Schema):
    """One file of token ids."""

    file: ShardName
    split: Split
    tokens: Positive
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Schema):
    """The description of a corpus, without path or time, so that equal corpora have equal manifests."""

    schema_version: int = 1
    digest: str = Field(pattern=r"^[0-9a-f]{16}$")
    """16 hex digits over the tokens and the tokenizer, however the tokens are cut into shards."""
    plan: Plan
    dtype: Literal["uint16", "uint32"]
    text_bytes: Count
    """Bytes of text read, as UTF-8."""
    documents: Count
    """Documents kept for training; each ends with SEP."""
    tokens: Count
    held_out_documents: Count
    held_out_tokens: Count
    dropped: dict[Short, Count]
    """Documents without text (``empty``), under ``min_tokens`` tokens (``too_short``), half or more of them unknown
    (``mostly_unknown``), or seen before (``duplicate``), in that order."""
    shards: tuple[Shard, ...]


class Blocks(Sequence[Ints]):
    """Rows ``CLS, length - 2 tokens of running text, SEP``; text continues across documents, separated by SEP.

    The last row is left out if it is not full. Rows are read from mapped files on demand, and pickling copies only
    names.
    """

    def __init__(
        self, files: Sequence[Path], sizes: Sequence[int], dtype: str, length: int, cls: int, sep: int
    ) -> None:
        """Store the files; use ``Corpus.blocks`` and ``Corpus.held_out`` to make one."""
        if length < 3:
            raise UsageError(f"A block holds CLS, text and SEP: {length} tokens are too few.")
        self.files, self.dtype, self.length, self.cls, self.sep = tuple(map(str, files)), dtype, length, cls, sep
        self.ends: Ints = np.cumsum(sizes, dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) // (self.length - 2) if len(self.ends) else 0

    def __getitem__(self, index: Any) -> Any:
        """Return block ``index``, int64 (length,)."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        block = np.full(self.length, self.cls, dtype=np.int64)
        block[-1] = self.sep
        start, filled = (index % len(self)) * (self.length - 2), 1
        shard = int(np.searchsorted(self.ends, start, side="right"))
        while filled < self.length - 1:
            tokens = mapped(self.files[shard], self.dtype)
            offset = start + filled - 1 - (int(self.ends[shard]) - len(tokens))
            part = tokens[offset : offset + self.length - 1 - filled]
            block[filled : filled + len(part)] = part
            filled += len(part)
            shard += 1
        return block


class Corpus:
    """A folder of token shards, opened by ``open_corpus`` and read on demand."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Store folder and manifest."""
        self.folder, self.manifest = folder, manifest

    def blocks(self, length: int) -> Blocks:
        """Return the text to train on, in rows of ``length`` tokens."""
        return self._blocks("train", length)

    def held_out(self, length: int) -> Blocks:
        """Return the documents held out when the corpus was built, in rows of ``length`` tokens."""
        return self._blocks("held-out", length)

    def token_counts(self) -> Ints:
        """Return how often each id occurs in the text to train on, (vocabulary,), for frequency-smoothed masking.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / COUNTS
        try:
            with files.opened(path, self.folder) as file:
                counts: Ints = np.lib.format.read_array(file, allow_pickle=False)  # np.load would open archives too
        except Exception as error:  # numpy raises almost anything
            raise DataError(f"{path} cannot be read ({error}). Build the corpus again.") from None
        if counts.shape != (self.manifest.plan.tokenizer.vocab_size,) or counts.dtype != np.int64:
            raise DataError(f"{path} has not one count an entry of the vocabulary. Build the corpus again.")
        return counts

    def _blocks(self, split: Split, length: int) -> Blocks:
        shards = [shard for shard in self.manifest.shards if shard.split == split]
        special = self.manifest.plan.tokenizer
        files, sizes = [self.folder / shard.file for shard in shards], [shard.tokens for shard in shards]
        return Blocks(files, sizes, self.manifest.dtype, length, special.cls, special.sep)


def open_corpus(folder: Path, tokenizer_digest: str | None = None) -> Corpus:
    """Open the corpus in a folder, and check that every shard has its full length.

    Args:
        folder: the folder written by ``build``.
        tokenizer_digest: digest of the model's tokenizer (``identify``); None accepts any.

    Raises:
        DataError: the folder holds no corpus, an unfinished or damaged one, or one of another tokenizer.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(files.read(path, 4 * files.SMALL, folder))
        lengths = {}
        for shard in manifest.shards:
            with files.opened(folder / shard.file, folder) as file:
                lengths[shard.file] = os.fstat(file.fileno()).st_size
    except ValidationError as error:
        raise DataError(f"{path} does not validate: {faults(error)[0]}. Build the corpus again.") from None
    except OSError as error:
        unfinished = " The build is not finished: run it again to continue." if (folder / STATE).exists() else ""
        if (folder / "parts").is_dir():
            unfinished = f" Its parts are to be merged: flue-bench corpus --merge --out {folder}"
        raise DataError(f"{folder} holds no complete corpus: {error.strerror}: {error.filename}.{unfinished}") from None
    for shard in manifest.shards:
        if lengths[shard.file] != shard.tokens * np.dtype(manifest.dtype).itemsize:
            raise DataError(
                f"{folder / shard.file} has {lengths[shard.file]:,} bytes: damaged. Build the corpus again."
            )
    if tokenizer_digest not in (None, manifest.plan.tokenizer.digest):
        raise DataError(
            f"{folder} was made with tokenizer {manifest.plan.tokenizer.digest}, the model's is {tokenizer_digest}: "
            "build the corpus with the model's own tokenizer."
        )
    return Corpus(folder, manifest)


def build(
    inputs: Sequence[str | Path],
    tokenizer: Any,
    out: Path,
    *,
    field: str = "text",
    processes: int | None = None,
    shard_tokens: int = 2**26,
    min_tokens: int = 12,
    held_out: float = 0.01,
    lines: bool = False,
    show: Display | None = None,
) -> Manifest:
    """Tokenise texts into shards; resume where an earlier build of the same plan stopped.

    A sequence, in the sense of the reference's limits, is a document here: a row of a JSON-lines or parquet file, or
    the paragraphs between two blank lines of a .txt file, or each of its lines.

    Args:
        inputs: files (.txt, .jsonl, each plain or .gz, .xz, .bz2, .zst; .parquet), folders, globs, or
            ``hub:org/name[@revision][:config]`` (split ``train``, streamed).
        tokenizer: a fast tokenizer of transformers.
        out: the folder to write.
        field: the field of a row that holds its text.
        processes: the number of processes that tokenise; by default one per core.
        shard_tokens: a shard ends with the batch of documents that brings it to this many.
        min_tokens: shorter documents are dropped, CLS and SEP counted.
        held_out: share of the documents to keep from training; less where it is of more than ``HELD_OUT_BYTES``. How
            large a data set of the hub is is not known beforehand: its share stays as it is.
        lines: treat each line of a .txt file as a document.
        show: where to draw progress.

    Raises:
        DataError: no text, an unreadable or unknown file, a missing field, or a worker died.
        HubError: a data set cannot be streamed; OfflineError without network.
        ModelError: the tokenizer cannot be used.
        RecordError: ``out`` cannot be written, or is in use, or holds another corpus or other files of such names.
    """
    sources = texts.find(inputs)
    plan = plan_of(sources, tokenizer, Settings(field, min_tokens, held_out, shard_tokens, lines))
    uncut = plan.model_copy(update={"held_out": held_out})  # of a build that was begun before the share was cut
    hints: list[str] = []
    with _explained(out):
        if (out / MANIFEST).exists():
            manifest = open_corpus(out).manifest
            if manifest.plan not in (plan, uncut):
                raise RecordError(f"{out} holds a corpus of other texts or settings: give another folder or delete it.")
            if show is not None:
                show.line(f"{out} is already made, of these texts with these settings: nothing to do.")
        else:
            if (out / "parts").is_dir() and not (out / STATE).exists():
                raise RecordError(
                    f"{out} holds parts of a corpus: join them with flue-bench corpus --merge --out {out}, or give "
                    "another folder."
                )
            check_free(out, out / STATE)
            new = not out.exists()
            out.mkdir(parents=True, exist_ok=True)
            try:
                with closing(_database(out)) as database:
                    plan, state = _restore(database, (plan, uncut), out)
                    batches = texts.batches(sources, field, state.source, state.position, lines, hints)
                    with closing(tokenised(batches, tokenizer, plan.min_tokens, processes or cores())) as encoded:
                        if state.source < len(sources):
                            with _shown(show, plan) as report:
                                _write(plan, state, database, out, encoded, report)
                    manifest = _finish(plan, state, out)
            except FlueBenchError:
                if new:
                    _remove_if_nothing_is_kept(out)
                raise
        (out / STATE).unlink(missing_ok=True)
    if show is not None:
        for hint in hints:
            show.line(hint)
    return manifest


class Settings(NamedTuple):
    """The settings of a corpus, which ``build`` explains."""

    field: str
    min_tokens: int
    held_out: float
    shard_tokens: int
    lines: bool


def plan_of(sources: Sequence[Located], tokenizer: Any, settings: Settings) -> Plan:
    """Return the plan of a build.

    Raises:
        UsageError: a share or a size that cannot be.
        ModelError: the tokenizer cannot be used.
    """
    if not (0 <= settings.held_out < 1 and settings.shard_tokens > 0):
        raise UsageError("A corpus holds out a share of at least 0 and under 1, in shards of at least one token.")
    known = tuple(source for source, _ in sources)
    cut = settings._replace(held_out=_share(settings.held_out, known))
    return Plan(tokenizer=identify(tokenizer), sources=known, **cut._asdict())


def check_free(out: Path, begun: Path) -> None:
    """Refuse a folder whose files a corpus would replace, unless a build has begun there, whose own they are.

    Args:
        out: the folder to write.
        begun: what there is of a build that has begun.

    Raises:
        RecordError: there is such a file.
    """
    theirs = sorted(path for name in (COUNTS, *(f"{split}-*.bin" for split in SPLITS)) for path in out.glob(name))
    if theirs and not begun.exists():
        raise RecordError(
            f"{theirs[0]} is there already, of no corpus that was begun in {out}: give another folder, or delete it."
        )


def _remove_if_nothing_is_kept(out: Path) -> None:
    """Remove the folder of a build that failed before a shard was finished, so that the next can be another."""
    if (out / STATE).exists():
        with closing(_database(out)) as database:
            begun = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone()
            if begun and database.execute("SELECT 1 FROM state").fetchone():
                return
    for file in (out / STATE, *(path for split in SPLITS for path in out.glob(f"{split}-*.bin"))):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # somebody put a file there meanwhile
        out.rmdir()


class _State(BaseModel):
    """The state stored by a transaction of the build's database: everything before it is in finished shards."""

    plan: str
    source: Count = 0
    position: Count | dict[str, Any] | None = None
    """Both as in ``texts.Batch``: documents of a file, the state of a stream."""
    part: Count = 0
    """Number of the next pair of shards."""
    counts: Counter[str] = Field(default_factory=Counter)
    shards: list[tuple[Split, ShardName, Positive]] = Field(default_factory=list)
    """Split, file, tokens."""
    made_with: dict[str, str] = Field(default_factory=made_with)
    """Versions that decide the tokens."""


def _database(out: Path) -> sqlite3.Connection:
    """Open the build's database, after a look at what SQLite itself would do with files that others may have made.

    When SQLite finds a journal that names a super-journal, it deletes the file of that name, wherever it is. A build
    changes one database at a time, whose journal names none, and never uses a write-ahead log.

    Raises:
        RecordError: a file is a link, or not one that a build makes.
    """
    path = out / STATE
    journal, *others = (Path(f"{path}{suffix}") for suffix in ("-journal", "-wal", "-shm"))
    for file in (path, journal, *others):
        if file.is_symlink() or (file.exists() and (file in others or not file.is_file())):
            raise RecordError(f"{file} is a link, or not a file of a build: nothing is written through it. Delete it.")
    if journal.exists():
        with files.opened(journal, out) as file_:
            file_.seek(max(0, os.fstat(file_.fileno()).st_size - len(_SUPER)))
            if file_.read() == _SUPER:
                raise RecordError(f"{journal} names another file, to be deleted: not of a build. Delete {out}.")
    return sqlite3.connect(path, timeout=1, isolation_level=None)


def _restore(database: sqlite3.Connection, plans: Sequence[Plan], out: Path) -> tuple[Plan, _State]:
    """Return the plan that an earlier build began and where it stopped, or the first and the start.

    Opens the first transaction.
    """
    database.executescript("PRAGMA trusted_schema = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -65536;")
    database.execute("BEGIN EXCLUSIVE")
    there = sorted(str(sql) for (sql,) in database.execute("SELECT sql FROM sqlite_master"))
    if there not in ([], sorted(TABLES)):  # a trigger or a view would run what its author wrote
        raise RecordError(f"{out / STATE} holds other tables than those of a build. Delete {out} to start anew.")
    for table in TABLES if not there else ():
        database.execute(table)
    row = database.execute("SELECT json FROM state").fetchone()
    asked = {digest_of(plan.model_dump(exclude=None if plan.lines else {"lines"})): plan for plan in reversed(plans)}
    try:  # a plan without ``lines`` has the digest that it had before there was such a field
        state = _State.model_validate_json(row[0]) if row else _State(plan=list(asked)[-1])
        plan = plans[0]
        reading = plan.sources[state.source].name if state.source < len(plan.sources) else ""
        if state.position is not None and isinstance(state.position, dict) != reading.startswith("hub:"):
            raise ValueError("a position of another kind of source")
    except ValueError:  # pydantic's too
        raise RecordError(f"{out / STATE} is damaged. Delete {out} to start anew.") from None
    if state.plan not in asked:
        raise RecordError(
            f"{out} holds an unfinished corpus of other texts or settings: give another folder, or delete it."
        )
    if other := other_versions(state.made_with, made_with()):
        raise RecordError(f"{out} was begun with {other}: a corpus has one version. Install that, or delete {out}.")
    return asked[state.plan], state


def _share(asked: float, sources: Sequence[Source]) -> float:
    """Return the share of the documents to hold out of these sources."""
    known = all(not source.name.startswith("hub:") for source in sources)
    return min(asked, HELD_OUT_BYTES / max(1, sum(source.bytes for source in sources))) if known else asked


def _write(
    plan: Plan,
    state: _State,
    database: sqlite3.Connection,
    out: Path,
    encoded: Iterator[tuple[Batch, Encoded]],
    report: Callable[[Batch, int], None],
) -> None:
    """Drop duplicates, split off held-out documents, and write shards; store ``state`` whenever a pair is full."""
    done = False
    while not done:
        names = [f"{split}-{state.part:05}.bin" for split in SPLITS]
        sizes = [0, 0]
        with files.create(out / names[0]) as train, files.create(out / names[1]) as held_out:
            for batch, tokens in encoded:
                fresh = np.array([_is_new(database, each) for each in tokens.hashes], dtype=np.bool_)
                held = is_held_out(np.array(tokens.hashes, dtype=np.int64), plan.held_out)
                for number, (file, chosen) in enumerate(((train, fresh & ~held), (held_out, fresh & held))):
                    ids = tokens.ids[np.repeat(chosen, tokens.lengths)]
                    file.write(ids.astype(stored(plan), copy=False).tobytes())
                    sizes[number] += len(ids)
                    state.counts[SPLITS[number]] += int(chosen.sum())
                state.counts["duplicate"] += int((~fresh).sum())
                state.counts.update(tokens.counts)
                state.source, state.position = batch.source, batch.position
                report(batch, state.counts["text_bytes"])
                if sizes[0] >= plan.shard_tokens:
                    break
            else:
                done = True
            for file in (train, held_out):
                file.flush()
                os.fsync(file.fileno())
        for split, name, size in zip(SPLITS, names, sizes, strict=True):
            if size:
                state.shards.append((split, name, size))
            else:
                (out / name).unlink()
        state.part += 1
        database.execute("DELETE FROM state")
        database.execute("INSERT INTO state VALUES (?)", (state.model_dump_json(),))
        database.execute("COMMIT")
        database.execute("BEGIN EXCLUSIVE")


def is_held_out(hashes: Ints, share: float) -> npt.NDArray[np.bool_]:
    """Return which documents are held out, by their hashes (documents,): a share of all."""
    return np.asarray(hashes / 2**64 + 0.5 < share)


def _is_new(database: sqlite3.Connection, number: int) -> bool:
    return database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,)).rowcount == 1


def _finish(plan: Plan, state: _State, out: Path) -> Manifest:
    """Hash the shards, count their tokens, and write the manifest.

    Raises:
        DataError: there is no document to train on.
    """
    counts = np.zeros(plan.tokenizer.vocab_size, dtype=np.int64)
    content = {split: hashlib.sha256() for split in SPLITS}
    shards = []
    for split, name, size in state.shards:
        own = hashlib.sha256()
        damaged = RecordError(f"{out / name} is damaged. Delete {out} to start anew.")
        with files.opened(out / name, out) as file:
            if os.fstat(file.fileno()).st_size != size * stored(plan).itemsize:
                raise damaged
            while chunk := file.read(2**22):
                own.update(chunk)
                content[split].update(chunk)
                there = np.bincount(np.frombuffer(chunk, stored(plan)), minlength=len(counts))
                if len(there) > len(counts):
                    raise damaged
                if split == "train":
                    counts += there
        shards.append(Shard(file=name, split=split, tokens=size, sha256=own.hexdigest()))
    digests = {split: content[split].hexdigest() for split in SPLITS}
    try:
        return seal(plan, state.counts, shards, digests, counts, out)
    except DataError:
        for name in (*(name for _, name, _ in state.shards), STATE):
            (out / name).unlink()
        raise


def seal(
    plan: Plan, counts: Counter[str], shards: Sequence[Shard], content: dict[Split, str], occurrences: Ints, out: Path
) -> Manifest:
    """Write what describes a corpus whose shards are written: last of all its manifest.

    Args:
        plan: its parameters.
        counts: documents of each fate, and bytes of text.
        shards: its shards.
        content: SHA-256 of each split's tokens, one shard after the other.
        occurrences: (vocabulary,), how often each id is in the shards to train on.
        out: its folder.

    Raises:
        DataError: there is no document to train on.
    """
    dropped = {reason: counts[reason] for reason in ("empty", "too_short", "mostly_unknown", "duplicate")}
    if not counts["train"]:
        where = {"held out": counts["held-out"], **dropped}
        why = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in where.items() if number)
        if dropped["too_short"]:
            why += f"; --min-tokens {plan.min_tokens} says what is too short"
        raise DataError(f"No document to train on in {', '.join(s.name for s in plan.sources[:5])}: {why or 'empty'}.")
    files.write(out / COUNTS, lambda file: np.save(file, occurrences))
    tokens = {split: sum(shard.tokens for shard in shards if shard.split == split) for split in SPLITS}
    manifest = Manifest(
        digest=digest_of([plan.tokenizer.digest, *(content[split] for split in SPLITS)]),
        plan=plan,
        dtype=dtype_of(plan.tokenizer),
        text_bytes=counts["text_bytes"],
        documents=counts["train"],
        tokens=tokens["train"],
        held_out_documents=counts["held-out"],
        held_out_tokens=tokens["held-out"],
        dropped=dropped,
        shards=tuple(shards),
    )
    files.write(out / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


@contextmanager
def _shown(show: Display | None, plan: Plan) -> Iterator[Callable[[Batch, int], None]]:
    """Provide a function to call after each batch with the bytes of text so far; it draws if there is a display."""
    if show is None:
        yield lambda batch, text_bytes: None
        return
    sizes = [source.bytes for source in plan.sources]
    began: tuple[float, int] | None = None

    def report(batch: Batch, text_bytes: int) -> None:
        nonlocal began
        began = began or (time.monotonic(), text_bytes)  # after the workers' start, and what an earlier build read
        speed = (text_bytes - began[1]) / 1e6 / max(time.monotonic() - began[0], 1e-3)
        done, total = sum(sizes[: batch.source]) + batch.read, sum(sizes)
        if not total and show.live is None and bar.due():  # the hub does not say how much there is
            show.line(f"  {text_bytes / 1e6:,.0f} MB of text, {speed:.1f} MB/s")
        bar.update(done >> 10, total >> 10, f"KiB; {text_bytes / 1e6:,.0f} MB of text, {speed:.1f} MB/s")

    with show.running(), show.bar("Tokenising") as bar:
        yield report


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn errors of the disk into our messages."""
    advice = "and run again: finished shards are kept"
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise RecordError(f"{out}: another build is running there. Wait for it, or give another folder.") from None
        raise files.unwritable(out, error, advice) from error
    except sqlite3.DatabaseError as error:
        raise RecordError(f"{out / STATE} is damaged ({error}). Delete the folder to start anew.") from error
    except OSError as error:
        raise files.unwritable(out, error, advice) from error


def stored(plan: Plan) -> np.dtype[Any]:
    """Return the type of the ids in a shard."""
    return np.dtype(dtype_of(plan.tokenizer)).newbyteorder("<")


def _most_mapped() -> int | None:
    """Return how many shards may be mapped at once: half of the files that the process may have open; None: any."""
    if sys.version_info >= (3, 13):
        return None  # a mapping keeps no file open
    try:
        import resource  # POSIX only
    except ImportError:
        return 256
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if most == resource.RLIM_INFINITY else max(64, most // 2)


@lru_cache(maxsize=_most_mapped())
def mapped(path: str, dtype: str) -> Tokens:
    """Map a shard, once and for all: rows come from anywhere in the corpus, so that each has its turn again soon."""
    untracked: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, **untracked)
    if hasattr(mmap, "MADV_RANDOM"):  # otherwise the system reads megabytes ahead of each row
        content.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<"))
