"""The sources of a corpus: documents from text, JSON-lines and parquet files, or streamed from the hub."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from flue_bench import files
from flue_bench.data import formats
from flue_bench.errors import DataError, HubError, OfflineError, UsageError
from flue_bench.lines import lines
from flue_bench.task import REVISION, Schema

SUFFIXES = re.compile(r"\.(txt|jsonl)(\.(gz|xz|bz2|zst))?$|\.parquet$")
BATCH = 2**18
"""Characters that a worker takes at a time; a shard ends where a batch ends."""
LONGEST_TEXT = 2**22
"""Characters after which a document of a .txt file is split, at the end of a paragraph."""
ADVICE = "Name the one that holds the text (--field)."
MANY_LINES = 50
"""Lines from which a hint is given that a .txt file became one document."""


class Source(Schema):
    """A file, or a data set on the hub."""

    name: str
    """A file's name relative to the given folder; ``hub:org/name:config``."""
    bytes: int
    """Size on the disk; 0 for the hub."""
    digest: str
    """SHA-256 of the file, or the data set's commit."""


Located = tuple[Source, Path | None]


class Batch(NamedTuple):
    """Documents, and the position where reading continues after them."""

    texts: list[str]
    source: int
    """Number of a source; at the end, the number of sources."""
    position: Any
    """In that source: documents read, what ``datasets`` needs, or None for the start."""
    read: int
    """Bytes of the source so far; 0 for the hub."""


def find(inputs: Sequence[str | Path], hashed: bool = True) -> list[Located]:
    """Return files and data sets with their hashes, in the order given, those of a folder or glob sorted by name.

    Args:
        inputs: files, folders, globs, data sets of the hub.
        hashed: False leaves the digests of files empty.

    Raises:
        DataError: nothing is there, the format is unknown, a file cannot be read, or a link leads out of a folder.
        UsageError: a data set's name is invalid.
        HubError: no such data set; OfflineError without network.
    """
    sources: list[Located] = []
    for given in map(str, inputs):
        if given.startswith("hub:"):
            sources.append((_hub_source(given), None))
            continue
        path = files.at_home(given)
        if path.is_dir():
            there = sorted(file for file in path.rglob("*") if SUFFIXES.search(file.name))
        else:
            there = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not there:
            raise DataError(f"{given}: no such file, or a folder without .txt, .jsonl and .parquet files.")
        for file in there:
            if not SUFFIXES.search(file.name):
                raise DataError(f"{file}: not a .txt or .jsonl (plain, .gz, .xz, .bz2, .zst) or .parquet file.")
            root = path if path.is_dir() else None
            with readable(file):
                with files.opened(file, root) as opened:  # so that what cannot be read is known before anything is
                    size = os.fstat(opened.fileno()).st_size
                digest = files.sha256(file, root) if hashed else ""
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            sources.append((Source(name=files.as_text(name), bytes=size, digest=digest), file))
    return sources


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn the system's error on a text that cannot be read into ours.

    Raises:
        DataError: in place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        advice = " Give its target by name, or copy it there." if error.errno == errno.ELOOP else ""
        raise DataError(f"{file} cannot be read: {error.strerror}.{advice}") from None


def batches(
    sources: Sequence[Located],
    field: str,
    first: int,
    start: Any,
    each_line: bool = False,
    hints: list[str] | None = None,
) -> Iterator[Batch]:
    """Yield documents in groups of about ``BATCH`` characters, from position ``start`` of source ``first`` on.

    A group starts where the one before ended, so that resuming from a group's position gives the same groups.

    Args:
        sources: the result of ``find``.
        field: the field of a row that holds its text.
        first: number of the source to begin with.
        start: position to begin at in it, None for its start.
        each_line: treat each line of a .txt file as a document.
        hints: receives a line for each .txt file of many lines that became one document.

    Raises:
        DataError: a file cannot be read in its format, or a row lacks the field.
        HubError: a data set cannot be streamed.
    """
    for index, (source, path) in enumerate(sources[first:], start=first):
        position = start if index == first else None
        rows = None
        if path is None:
            rows = _streamed(source, position)
            documents = _hub_texts(rows, source, field)
        elif path.suffix == ".parquet":
            documents = _parquet(path, field)
        else:
            documents = _jsonl(path, field) if ".jsonl" in path.suffixes else _paragraphs(path, each_line, hints)
        done = position if rows is None and position else 0
        texts: list[str] = []
        size = 0
        for text, read in islice(documents, done, None):
            texts.append(text)
            size += len(text)
            if size >= BATCH:
                done += len(texts)
                yield Batch(texts, index, rows.state_dict() if rows else done, read)
                texts, size = [], 0
        yield Batch(texts, index + 1, None, 0)


def _lines(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield line number, text without line end, and bytes of the file read so far."""
    with readable(path), files.opened(path) as raw:
        for number, line in lines(path, raw):
            yield number, line.rstrip("\r\n"), raw.tell()


def _paragraphs(path: Path, each_line: bool, hints: list[str] | None) -> Iterator[tuple[str, int]]:
    """Yield the documents of a text file: one paragraph per line, blank lines between documents; or one per line."""
    lines: list[str] = []
    size = read = count = ends = 0
    for _, line, read in _lines(path):
        if line.strip():
            lines.append(line)
            size += len(line)
            count += 1
        elif lines:
            ends += 1
        if lines and (each_line or not line.strip() or size >= LONGEST_TEXT):
            yield "\n".join(lines), read
            lines, size = [], 0
    if lines:
        yield "\n".join(lines), read
    if hints is not None and not each_line and count >= MANY_LINES and ends <= (not lines):
        hints.append(
            f"{path.name} is one document of {count:,} lines, because no blank line separates it. If each of "
            "its lines is a document, make the corpus again with --lines and another --out."
        )


def _jsonl(path: Path, field: str) -> Iterator[tuple[str, int]]:
    with readable(path), files.opened(path) as raw:
        for number, (text,) in formats.json_rows(path, [field], lines(path, raw), ADVICE):
            yield _text(text, field, formats.place(path, number)), raw.tell()


def _parquet(path: Path, field: str) -> Iterator[tuple[str, int]]:
    with readable(path):
        size, total = path.stat().st_size, formats.parquet_size(path)
    for number, (text,) in formats.parquet_rows(path, [field], ADVICE):
        yield _text(text, field, formats.place(path, number)), size * number // total


def _text(value: Any, field: str, where: str) -> str:
    """Return a row's text, empty if it is null."""
    if not isinstance(value, str | None):
        raise DataError(f"{where}: field '{field}' is a {type(value).__name__}, not a text.")
    return value or ""


def _hub_source(given: str) -> Source:
    """Return the source ``hub:org/name[@revision][:config]``, its revision resolved to a commit."""
    from flue_bench.data import hub

    asked = re.fullmatch(rf"hub:(\w[\w.-]*/\w[\w.-]*)(?:@({REVISION}))?(?::([\w.-]+))?", given)
    if asked is None:
        raise UsageError(f"'{given}' is not a data set of the hub: write hub:org/name[@revision][:config].")
    repo_id, revision, config = asked.groups()
    if not hub.reachable():
        raise OfflineError(
            f"{given} is streamed from the hub, which is out of reach. Give files, or check the network."
        )
    there = hub.about(repo_id, repo_type="dataset", revision=revision)  # raises if anything is wrong
    script = f"{repo_id.rpartition('/')[2]}.py"
    if script in there.files:
        raise UsageError(
            f"{given} is read by a script of its own ({script}), which is never run. Accept the conditions on its "
            "page, if there are any, get its files and give their folder:\n"
            f"hf download {repo_id} --repo-type dataset --include 'PART/*' --local-dir FOLDER"
        )
    if there.gated:
        hub.check_access(repo_id, repo_type="dataset")
    return Source(name=f"hub:{repo_id}{f':{config}' if config else ''}", bytes=0, digest=there.commit)


def _streamed(source: Source, position: Any) -> Any:
    """Return the rows of a data set, streamed from the position in ``state_dict``."""
    import datasets

    from flue_bench.data import hub

    hub.guard()
    _, repo_id, *config = source.name.split(":")
    try:
        rows = datasets.load_dataset(repo_id, *config, split="train", streaming=True, revision=source.digest)
        if position:
            rows.load_state_dict(position)
        return rows
    except HubError:
        raise
    except Exception as error:  # datasets raises almost anything
        lines = hub.cleaned(str(error)).splitlines() or [type(error).__name__]
        if lines[0] == "Config name is missing.":  # the second line lists them
            lines[0] = f"it has several parts: give one, {source.name}:PART. {' '.join(lines[1:2])[:300]}"
        raise HubError(f"{source.name} cannot be streamed: {lines[0][:400]}") from error


def _hub_texts(rows: Any, source: Source, field: str) -> Iterator[tuple[str, int]]:
    from flue_bench.data import hub

    number = 0
    try:
        for row in rows:
            number += 1
            if field not in row:
                raise DataError(f"{source.name} has no column '{field}'. It has: {', '.join(row)}.\n{ADVICE}")
            yield _text(row[field], field, source.name), 0
    except DataError:
        raise
    except Exception as error:
        what = hub.cleaned(f"{type(error).__name__}: {error}").partition("\n")[0][:400]
        raise HubError(f"{source.name} broke off after {number:,} rows ({what}). Run again: it continues.") from error
