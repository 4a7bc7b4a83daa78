"""Rows out of files: CSV, TSV, JSON lines, parquet, CoNLL columns; text files also packed (.gz, .xz, .bz2, .zst)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from flue_bench.errors import DataError
from flue_bench.lines import LONGEST, PACKED, lines

Column = str | int
"""A column's name, or its number from 0 (negative: from the end)."""

Row = tuple[int, Sequence[Any]]
"""Where the row stands (see ``place``) and its values, in the order in which the columns were asked for."""

FORMATS = ("csv", "tsv", "jsonl", "parquet", "conll", "conllu", "txt")
_BATCH = 8192

csv.field_size_limit(2**27)  # the default of 131,072 characters is less than some reviews and documents have


def format_of(path: Path, tokens: bool) -> str:
    """One of ``FORMATS``, by the file's name; a TSV of a token task is CoNLL columns.

    Raises:
        DataError: a format that flue-bench does not know, or that cannot hold what the task needs.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    found = suffixes[-1].removeprefix(".") if suffixes else ""
    if found in ("conllu", "txt") or (tokens and found == "tsv"):
        found = "conll"
    if found not in FORMATS:
        raise DataError(
            f"{path}: a file's format is told by its suffix, one of {', '.join(FORMATS)} ({', '.join(PACKED)})."
        )
    if tokens and found == "csv":
        raise DataError(f"{path}: words and tags come as CoNLL columns, JSON lines or parquet, not as CSV.")
    if found == "conll" and not tokens:
        raise DataError(f"{path}: CoNLL columns hold words and tags; this task wants texts.")
    return found


def place(path: Path, number: int) -> str:
    """How a message names a row: line of a text file, row of a parquet file, both from 1."""
    return f"{path}, {'row' if path.suffix.lower() == '.parquet' else 'line'} {number}"


def rows(path: Path, wanted: Sequence[Column]) -> Iterator[Row]:
    """Rows of a CSV, TSV, JSON-lines or parquet file.

    A CSV or TSV has a header unless every wanted column is a number. CSV is quoted as in RFC 4180; in a TSV a quote is
    text, as in the files of XNLI and PAWS-X.

    Raises:
        DataError: a column that is not there (the message lists those that are), a row of another shape, a byte that
            is not UTF-8, a damaged file.
    """
    kind = format_of(path, tokens=False)
    if kind == "parquet":
        return _parquet(path, wanted)
    if kind == "jsonl":
        return _json_lines(path, wanted)
    return _table(path, wanted, _csv(path) if kind == "csv" else _tsv(path))


def sentences(path: Path, words: int = 0, tags: int = -1) -> Iterator[Row]:
    """Sentences of a CoNLL file as (words, tags); the number is the line on which a sentence starts.

    Sentences are parted by blank lines, columns by tabs, or by blanks on a line without tab. Comments before a
    sentence are skipped, and so are the ranges (``3-4``) and empty nodes (``3.1``) of CoNLL-U.

    Args:
        path: the file.
        words: column of the words.
        tags: column of the tags.

    Raises:
        DataError: a line with too few columns, a byte that is not UTF-8, a damaged file.
    """
    conllu = ".conllu" in path.suffixes
    comment = re.compile(r"#" if conllu else r"# .*=")  # elsewhere "# O" is a word and its tag
    start = 0
    sentence: tuple[list[str], list[str]] = ([], [])
    for number, line in chain(lines(path), [(0, "")]):
        line = line.rstrip("\r\n")
        if not line.strip(" \t"):
            if sentence[0]:
                yield start, sentence
            sentence = ([], [])
            continue
        if not sentence[0]:
            if "\t" not in line and comment.match(line):
                continue
            start = number
        cells = line.split("\t") if "\t" in line else line.split()
        if conllu and words != 0 and re.fullmatch(r"\d+[-.]\d+", cells[0]):
            continue
        try:
            word, tag = cells[words], cells[tags]
        except IndexError:
            raise _too_few(path, number, len(cells), max(words, tags)) from None
        if len(cells) < 2:
            raise _too_few(path, number, 1, 1)
        sentence[0].append(word)
        sentence[1].append(tag)


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    size = 0  # of a row, which may go on over lines

    def counted() -> Iterator[str]:
        nonlocal size
        for number, line in lines(path):
            size += len(line)
            if size > LONGEST:
                raise DataError(f"{path}, line {number}: a row goes on over more than {LONGEST:,} characters.")
            yield line

    reader = csv.reader(counted(), strict=True)
    try:
        for cells in reader:
            size = 0
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV as RFC 4180 has it ({error}).") from None


def _tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path):
        if line := line.rstrip("\r\n"):
            yield number, line.split("\t")


def _table(path: Path, wanted: Sequence[Column], table: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    number, first = next(table, (0, []))
    if not first:
        raise DataError(f"{path} is empty.")
    width = len(first)
    if all(isinstance(column, int) for column in wanted):
        table = chain([(number, first)], table)
        names: list[str] = []
    else:
        names = first
    missing = [c for c in wanted if (c not in names if isinstance(c, str) else not -width <= c < width)]
    if missing and not names:
        raise _too_few(path, number, width, max(c for c in wanted if isinstance(c, int)))
    if missing:
        raise _missing(path, missing, names)
    if twice := [c for c in wanted if isinstance(c, str) and names.count(c) > 1]:
        raise DataError(f"{path} has two columns '{twice[0]}': rename one, or name columns by number.")
    cut = itemgetter(*(names.index(c) if isinstance(c, str) else c for c in wanted), 0)  # of one item it is no tuple
    for number, cells in table:
        if len(cells) != width:
            raise DataError(f"{place(path, number)} has {len(cells)} columns, the first line has {width}.")
        yield number, cut(cells)


def _json_lines(path: Path, wanted: Sequence[Column]) -> Iterator[Row]:
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place(path, number)} is not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DataError(f"{place(path, number)} is not a JSON object.")
        try:
            yield number, [row[column] for column in wanted]
        except KeyError:
            raise _missing(path, [c for c in wanted if c not in row], list(row), number) from None


def _parquet(path: Path, wanted: Sequence[Column]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            known = file.schema_arrow.names
            numbers = {c: c if isinstance(c, int) else known.index(c) if c in known else len(known) for c in wanted}
            if missing := [c for c, number in numbers.items() if not -len(known) <= number < len(known)]:
                raise _missing(path, missing, known)
            names = [known[numbers[column]] for column in wanted]
            done = 0
            for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys(names))):
                columns = [batch.column(name).to_pylist() for name in names]
                yield from enumerate(zip(*columns, strict=True), start=done + 1)
                done += batch.num_rows
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as parquet: {str(error).partition(chr(10))[0]}") from error


def _missing(path: Path, missing: Sequence[Column], known: Sequence[str], number: int = 0) -> DataError:
    where = place(path, number) if number else str(path)
    named = ", ".join(f"'{column}'" if isinstance(column, str) else f"number {column}" for column in missing)
    there = ", ".join(known)
    listed = there if len(there) <= 300 else f"{there[:300]}…"
    return DataError(
        f"{where} has no column {named}. It has: {listed}.\nThe task file says under 'columns' which to read."
    )


def _too_few(path: Path, number: int, width: int, column: int) -> DataError:
    return DataError(f"{place(path, number)}: column {column} (from 0) is wanted, the line has {width} in all.")
