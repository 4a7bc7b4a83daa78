"""Rows of CSV, TSV, JSON and parquet files and CoNLL columns; text files may be packed (.gz, .xz, .bz2, .zst)."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from flue_bench import lines as text_files
from flue_bench import parquet_files
from flue_bench.errors import DataError, quoted
from flue_bench.json_once import DECODER, KeyTwiceError
from flue_bench.lines import LONGEST, PACKED
from flue_bench.task import nfc

Column = str | int
"""A column's name, or its number from 0 (negative: from the end)."""

Row = tuple[int, Sequence[Any]]
"""The row's number (see ``place``) and its values, in the order of the requested columns."""

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "conll")
_SUFFIXES = {"ndjson": "jsonl"} | dict.fromkeys(("bio", "conllu", "iob", "iob2", "txt"), "conll")
_ADVICE = "Name the columns to read under 'columns' in the task file."
LONGEST_SENTENCE = 250
"""Words; a CoNLL file with more of them and no blank line has lost its sentence boundaries."""
MOST_VALUES = 2**22
"""Values of one row: columns of a table, parts of a JSON object. Each takes many times its bytes in memory."""

csv.field_size_limit(2**27)  # some reviews and documents exceed the default of 131,072 characters


class Layout(NamedTuple):
    """The layout of a text file, as far as its suffix does not determine it."""

    delimiter: str | None = None
    """Column separator: by default a comma in a CSV, a tab in a TSV, tabs or else blanks in CoNLL columns."""
    quoting: bool | None = None
    """Whether fields may be enclosed in double quotes, as in RFC 4180: by default in a CSV, not in a TSV."""
    encoding: str = "utf-8"
    """Any of Python's codecs; a byte order mark is dropped."""


PLAIN = Layout()


def format_of(path: Path, tokens: bool) -> str:
    """Return the format of a file, one of ``FORMATS``, by its name; a TSV of a token task is CoNLL columns.

    Raises:
        DataError: flue-bench does not know the format, or it cannot hold what the task needs.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    name = suffixes[-1].removeprefix(".") if suffixes else ""
    if name == "ann":
        raise DataError(f"{path}: brat's files of spans are not read: export or convert them to CoNLL columns.")
    name = "conll" if tokens and name == "tsv" else _SUFFIXES.get(name, name)
    if name not in FORMATS:
        known = ", ".join((*FORMATS, *_SUFFIXES))
        raise DataError(f"{path}: a file's suffix names its format, one of {known} ({', '.join(PACKED)}).")
    if tokens and name == "csv":
        raise DataError(f"{path}: words and tags are read from CoNLL columns, JSON lines or parquet, not from CSV.")
    if name == "conll" and not tokens:
        raise DataError(f"{path}: CoNLL columns hold words and tags; this task needs texts.")
    return name


def place(path: Path, number: int) -> str:
    """Return how a message names a row: line of a text file, row of a parquet or JSON file, both from 1."""
    return f"{path}, {'row' if path.suffix.lower() in ('.parquet', '.json') else 'line'} {number}"


def rows(
    path: Path,
    wanted: Sequence[Column],
    layout: Layout = PLAIN,
    hints: list[str] | None = None,
    optional: Sequence[Column] = (),
) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV, JSON or parquet file.

    A CSV or TSV has a header unless every wanted column is a number. CSV is quoted as in RFC 4180; in a TSV a quote is
    text, as in the files of XNLI and PAWS-X; ``layout`` may say otherwise. A ``.json`` holds a list of objects, or an
    object a line.

    Args:
        path: the file.
        wanted: its columns, in the order of the values.
        layout: the layout of a text file.
        hints: receives a line, after the last row, where the file seems to need another layout.
        optional: of the columns, those that a JSON object may lack: it then has null.

    Raises:
        DataError: a column is missing (the message lists those that exist), a row has another shape, a byte is invalid
            in the encoding, or the file is damaged.
    """
    kind = format_of(path, tokens=False)
    if kind == "parquet":
        return parquet_rows(path, wanted)
    if kind in ("json", "jsonl"):
        lines = _json_lines(path, _lines(path, layout.encoding)) if kind == "jsonl" else _json(path, layout)
        return _objects(path, wanted, lines, optional=optional)
    unsaid, usual = layout.quoting is None, "," if kind == "csv" else "\t"
    if layout.quoting or (unsaid and kind == "csv"):
        quoted = _quoted(path, layout, usual)
        return _table(
            path, wanted, quoted if hints is None else _swallowed(path, quoted, layout.delimiter or usual, hints)
        )
    table = _table(path, wanted, _bare(path, layout, usual))
    return table if hints is None or not unsaid else _watched(path, table, len(wanted), hints)


def has_column(path: Path, name: str, layout: Layout = PLAIN) -> bool:
    """Return whether a table with names of columns has one of this name, or any object of a JSON file such a key.

    A damaged file has none: reading it says so.
    """
    try:
        if format_of(path, tokens=False) not in ("json", "jsonl"):
            return next(rows(path, [name], layout), None) is not None
        key = json.dumps(name)
        return any(key in line for _, line in _lines(path, layout.encoding))
    except DataError:
        return False


def sentences(
    path: Path,
    words: Column | None = None,
    tags: Column = -1,
    layout: Layout = PLAIN,
    left_out: Counter[str] | None = None,
) -> Iterator[Row]:
    """Yield the sentences of a CoNLL file as (words, tags); the number is the line on which a sentence starts.

    Blank lines separate sentences; tabs, or blanks where the first line has no tab, separate columns: no other white
    space separates anything, because words may contain it. Empty columns at the end of a line are ignored. Comments
    (``# name = value``, or a line that begins with # and lacks the file's columns) may occur anywhere; ``-DOCSTART-``
    ends a sentence and is not one. In CoNLL-U every # is a comment; ranges (``3-4``) and empty nodes (``3.1``) are
    skipped.

    Args:
        path: the file.
        words: column of the words: its number, or its name in the first line. None: the first, or the second of a
            CoNLL-U file that numbers its words.
        tags: column of the tags.
        layout: the file's layout.
        left_out: receives the number of lines of each kind that were left out on purpose.

    Raises:
        DataError: a line has more or fewer columns than the first, a column is missing, a long file has no blank line,
            a byte is invalid in the encoding, or the file is damaged.
    """
    return _more_than_one(path, _sentences(path, words, tags, layout, left_out))


def _sentences(
    path: Path, words: Column | None, tags: Column, layout: Layout, left_out: Counter[str] | None
) -> Iterator[Row]:
    conllu = ".conllu" in map(str.lower, path.suffixes)
    lines = _columns(path, layout)
    head, first = _head(lines)
    if not first:
        return
    part = _parted(layout.delimiter, first)
    known, below = part(first), chain(head, lines)
    width = len(known)
    called = list(map(nfc, known))
    if named := [column for column in (words, tags) if isinstance(column, str)]:
        if missing := [column for column in named if column not in called]:
            raise _missing(path, missing, known)
        below = chain(_without(below, first))  # that line is the header
    elif words is None:
        # A sentence may begin with a word of several (1-2 Au, 1 à, 2 le), or with an empty node.
        numbered = known[0] == "1" or (width > 2 and re.fullmatch(r"1-\d+|0\.1", known[0]))
        words = 1 if conllu and numbered else 0
    at, tag_at = (called.index(column) if isinstance(column, str) else column or 0 for column in (words, tags))
    if width <= (most := max(at, tag_at, 1)):
        raise _too_few(path, next(number for number, line in head if line == first), width, most, first)

    start = 0
    sentence: tuple[list[str], list[str]] = ([], [])
    first_cells: list[tuple[int, str]] = []
    for number, line in chain(below, [(0, "")]):
        docstart = line.startswith("-DOCSTART-")
        if docstart and left_out is not None:
            left_out["-DOCSTART- lines"] += 1
        if docstart or not line:
            _check_beside(path, first_cells)
            if sentence[0]:
                yield start, sentence
            sentence, first_cells = ([], []), []
            continue
        cells = part(line)
        if line.startswith("#") and (conllu or len(cells) != width or _NAMED.match(line)):
            continue
        if len(cells) != width:
            there = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            raise DataError(f"{place(path, number)} has {there}, the file's first row has {width}: {quoted(line)}.")
        if conllu and at != 0 and _BESIDE.fullmatch(cells[0]):
            continue
        if not conllu and at != 0:
            first_cells.append((number, cells[0]))
        start = start if sentence[0] else number
        sentence[0].append(cells[at])
        sentence[1].append(cells[tag_at])


def _check_beside(path: Path, first_cells: Sequence[tuple[int, str]]) -> None:
    """Refuse a sentence of CoNLL-U in a file of another name: its words of several, and its empty nodes, are no words.

    Args:
        path: the file.
        first_cells: the number of each line of the sentence, and what stands in its first column.
    """
    beside = [(number, cell) for number, cell in first_cells if _BESIDE.fullmatch(cell)]
    others = [cell for _, cell in first_cells if not _BESIDE.fullmatch(cell)]
    if beside and others and others == [str(number) for number in range(1, len(others) + 1)]:
        number, cell = beside[0]
        raise DataError(
            f"{place(path, number)}: '{cell}' numbers no word but a range of words or an empty node, as in CoNLL-U: "
            "call the file .conllu, which leaves such lines out."
        )


def _more_than_one(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the same sentences; raise an error if a long file is a single sentence."""
    two = list(islice(rows, 2))
    if len(two) == 1 and (words := len(two[0][1][0])) > LONGEST_SENTENCE:
        raise DataError(f"{path} is one sentence of {words:,} words: separate its sentences with blank lines.")
    yield from chain(two, rows)


def tags_column(path: Path, labels: Set[str], layout: Layout = PLAIN) -> str:
    """Return advice on which column of a CoNLL file holds the tags, from its first rows; empty where none does."""
    lines = _columns(path, layout)
    part = _parted(layout.delimiter, (head := _head(lines))[1])
    listed = ((number, part(line)) for number, line in chain(head[0], lines) if line and line[0] not in "#-")
    rows = [(number, cells) for number, cells in islice(listed, 100) if len(cells) == len(part(head[1]))]
    counts = {
        column: len({cells[column] for _, cells in rows[1:]})
        for column in range(len(part(head[1])))
        if len(rows) > 1 and all(cells[column] in labels for _, cells in rows[1:])
    }
    if not counts:
        return ""
    best = max(counts, key=lambda column: counts[column])
    number, first = rows[0]
    if first[best] in labels:
        return f" Column {best} (from 0) holds labels: set `columns = {{ tags = {best} }}` in the source."
    named = f'columns = {{ words = "{first[0]}", tags = "{first[best]}" }}'
    return f" Line {number} looks like a header: set `{named}` in the source."


def header_named(number: int, cells: Mapping[str, Any]) -> str:
    """Return advice for the first row of a file whose columns are numbered: it may be a header; empty if it cannot.

    Args:
        number: the row's line.
        cells: what the row has, by the name that the kind gives the column.
    """
    names = list(cells.values())
    if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names) or len({*names}) < len(names):
        return ""
    named = ", ".join(f"{column} = {json.dumps(name, ensure_ascii=False)}" for column, name in cells.items())
    return f" If line {number} is a header: set `columns = {{ {named} }}` in the source."


LONGEST_NAME = 40
"""Characters of a column's name at most, as far as advice goes."""


def check_first_row(path: Path, tags: Column, labels: Set[str], theirs: Set[str], layout: Layout = PLAIN) -> None:
    """Raise an error if ``label_names`` makes a tag of a header's name: no cell of the first row is met again below.

    Args:
        path: a CoNLL file.
        tags: the column of the tags.
        labels: the task's labels.
        theirs: other names that ``label_names`` gives them.
        layout: the file's layout.

    Raises:
        DataError: the first row is a header; the message says how to name columns by it.
    """
    if isinstance(tags, str) or not theirs:
        return
    lines = ((number, line.rstrip(" \t\r\n")) for number, line in _lines(path, layout.encoding))
    _, first = _head(lines)
    cells = (part := _parted(layout.delimiter, first))(first)
    if not -len(cells) <= tags < len(cells) or cells[tags] not in theirs or cells[tags] in labels:
        return
    below = [row for row in (part(line) for _, line in lines if line and line[0] not in "#-") if len(row) == len(cells)]
    if len(below) > 1 and not any(cell in cells for row in below for cell in row):
        advice = tags_column(path, {*labels, *theirs} - {cells[tags]}, layout)
        if "header" in advice:
            raise DataError(f"{path}: `label_names` has the name of a column, '{cells[tags]}'.{advice}")


_NAMED = re.compile(r"# *[^\W\d][\w.:-]* *=")
_BESIDE = re.compile(r"\d+[-.]\d+")


def _columns(path: Path, layout: Layout) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file of CoNLL columns, without blanks at their ends."""
    for number, line in _lines(path, layout.encoding):
        _check_values(path, number, line, layout.delimiter or "\t ")
        yield number, line.rstrip(" \t\r\n")


def _head(lines: Iterator[tuple[int, str]]) -> tuple[list[tuple[int, str]], str]:
    """Return the lines up to the first that must be a row, and that row: its width decides which lines are comments."""
    head: list[tuple[int, str]] = []
    for number, line in lines:
        head.append((number, line))
        if line and not line.startswith(("#", "-DOCSTART-")):
            return head, line
    return head, next((line for _, line in head if line.startswith("#") and not _NAMED.match(line)), "")


def _parted(delimiter: str | None, first: str) -> Callable[[str], list[str]]:
    """Return the function that splits lines like the first into columns."""
    if delimiter or "\t" in first:
        return lambda line: line.split(delimiter or "\t")
    return lambda line: re.split("[ \t]+", line.lstrip(" \t"))


def _without(lines: Iterator[tuple[int, str]], header: str) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if line == header:
            break
        yield number, line
    yield from lines


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    for number, line in text_files.lines(path, encoding=encoding):
        if "\0" in line:
            raise DataError(
                f"{path}, line {number} holds a NUL byte: it is not text, or UTF-16 without its byte-order mark "
                '(encoding = "utf-16-le" in the source).'
            )
        yield number, line


def _quoted(path: Path, layout: Layout, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    size = 0  # characters of a row, which may span lines

    def counted() -> Iterator[str]:
        nonlocal size
        for number, line in _lines(path, layout.encoding):
            size += len(line)
            if size > LONGEST:
                raise DataError(f"{path}, line {number}: a row is longer than {LONGEST:,} characters.")
            _check_values(path, number, line, delimiter)
            yield line

    lines = counted()
    first = next(lines, "")
    said = re.fullmatch(r'"?sep=([^"])"?\r?\n?', first)  # Excel's own way to name the delimiter
    offset = 1 if said else 0
    delimiter = layout.delimiter or (said[1] if said else delimiter)
    reader = csv.reader(lines if said else chain([first], lines), strict=True, delimiter=delimiter)
    try:
        for cells in reader:
            size = 0
            if cells:
                yield reader.line_num + offset, cells
    except csv.Error as error:
        number = reader.line_num + offset
        if "new-line" in str(error):
            raise DataError(
                f"{path}, line {number}: its lines end in a carriage return alone, as on old Macs. Convert them."
            ) from None
        raise DataError(
            f"{path}, line {number}: not CSV as RFC 4180 defines it ({error}). "
            "If its quotes are text, set quoting = false."
        ) from None


def _bare(path: Path, layout: Layout, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path, layout.encoding):
        if line := line.rstrip("\r\n"):
            _check_values(path, number, line, layout.delimiter or delimiter)
            yield number, line.split(layout.delimiter or delimiter)


def _watched(path: Path, table: Iterator[Row], width: int, hints: list[str]) -> Iterator[Row]:
    """Yield the same rows; add a hint if fields look quoted, with quotes doubled inside, but are read literally."""
    quoted = 0
    for row in table:
        quoted += any(_QUOTED.fullmatch(cell) is not None for cell in row[1][:width])
        yield row
    if quoted:
        hints.append(
            f"{path.name}: {quoted:,} rows have fields in double quotes, others doubled inside, and stand as they "
            "are. In the source `quoting = true` takes them off, `quoting = false` says that they are text"
        )


def _swallowed(
    path: Path, table: Iterator[tuple[int, list[str]]], delimiter: str, hints: list[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the same rows; add a hint if quoted fields seem to hold whole rows, from a stray quote to the next one.

    The lines of such a field part where rows part, and what then stands in another column stands there in other rows
    too, as labels do.
    """
    common: list[set[str]] = []
    suspects: list[tuple[int, list[str], int]] = []
    for number, cells in table:
        common = common or [set() for _ in cells]
        for column, cell in enumerate(cells[: len(common)]):
            if len(common[column]) <= 100:
                common[column].add(cell)
            if "\n" in cell:
                first, *inner, last = (line.rstrip("\r").split(delimiter) for line in cell.split("\n"))
                widths = [column + len(first), *map(len, inner), len(common) - column - 1 + len(last)]
                if all(width == len(common) for width in widths):
                    suspects.append((number, first, column))
        yield number, cells
    rows = [
        number
        for number, first, column in suspects
        if any(cell and cell in common[at] for at, cell in enumerate(first[1:], column + 1) if len(common[at]) <= 100)
    ]
    if rows:
        hints.append(
            f"{path.name}: {len(rows):,} quoted fields hold whole rows (the first ends on line {rows[0]}): is a quote "
            "left open? In the source `quoting = false` says that quotes are text"
        )


_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"', re.DOTALL)


def _table(path: Path, wanted: Sequence[Column], table: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    number, first = next(table, (0, []))
    if not first:
        raise DataError(f"{path} is empty.")
    width = len(first)
    if all(isinstance(column, int) for column in wanted):
        table = chain([(number, first)], table)
        names: list[str] = []
    else:
        names = list(map(nfc, first))
    missing = [c for c in wanted if (c not in names if isinstance(c, str) else not -width <= c < width)]
    if missing and not names:
        raise _too_few(path, number, width, max(c for c in wanted if isinstance(c, int)), first[0])
    if missing:
        raise _missing(path, missing, names)
    if twice := [c for c in wanted if isinstance(c, str) and names.count(c) > 1]:
        raise DataError(f"{path} has two columns '{twice[0]}': rename one, or give columns by number.")
    cut = itemgetter(*(names.index(c) if isinstance(c, str) else c for c in wanted), 0)  # of one item it is no tuple
    for number, cells in table:
        if len(cells) != width:
            broken = any(cell.count('"') % 2 for cell in cells)
            advice = " Where quotes enclose line breaks: quoting = true in the source." if broken else ""
            raise DataError(f"{place(path, number)} has {len(cells)} columns, the first line has {width}.{advice}")
        yield number, cut(cells)


def json_rows(
    path: Path, wanted: Sequence[Column], numbered: Iterable[tuple[int, str]], advice: str = _ADVICE
) -> Iterator[Row]:
    """Yield the rows of a file of JSON objects, one a line; blank lines are skipped.

    Args:
        path: the file, as messages name it.
        wanted: keys of each object.
        numbered: the file's lines, as ``flue_bench.lines`` yields them.
        advice: the end of the message on a missing key.

    Raises:
        DataError: a line is not a JSON object or lacks a key.
    """
    return _objects(path, wanted, _json_lines(path, numbered), advice)


def _json_lines(path: Path, numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    for number, line in numbered:
        if line.strip():
            _check_values(path, number, line, ",[{")
            try:
                yield number, DECODER.decode(line)
            except KeyTwiceError as error:
                raise DataError(f"{place(path, number)}: {error}: leave the one that is meant.") from None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{place(path, number)} is not JSON ({error}).") from None


def _json(path: Path, layout: Layout) -> Iterator[tuple[int, Any]]:
    """Yield the objects of a list, or one a line."""
    lines = _lines(path, layout.encoding)
    first = next((line for _, line in lines if line.strip()), "")
    if first.strip() == "{":
        raise DataError(
            f"{path} is one JSON object over several lines: give a list of objects, or one object per line. {_SQUAD}"
        )
    if not first.lstrip().startswith("["):
        yield from _json_lines(path, _lines(path, layout.encoding))
        return
    yield from _Listed(path, chain([first], (line for _, line in lines)))


_SQUAD = 'Where it is in the form of SQuAD (data, paragraphs, qas), set reader = "squad" in the source.'


class _Listed:
    """The objects of a JSON list, read one by one: a list as a whole takes many times its bytes in memory."""

    def __init__(self, path: Path, lines: Iterator[str]) -> None:
        self._path = path
        # A list may be one line: pieces of it, so that what is read ahead of an object stays small.
        self._pieces = (line[at : at + 2**16] for line in lines for at in range(0, len(line), 2**16))
        self._text, self._at, self._number = "", 0, 1

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._mark()
        self._at += 1  # its "["
        mark = self._mark()
        while mark != "]":
            if mark != "{":
                if mark:
                    raise DataError(f"{place(self._path, self._number)} is not a JSON object.")
                raise self._fault("the file ends in the middle")
            yield self._number, self._object()
            self._number += 1
            mark = self._mark()
            if mark not in (",", "]"):
                raise self._fault("no comma before it")
            if mark == ",":
                self._at += 1
                mark = self._mark()
        self._at += 1
        if self._mark():
            raise self._fault("the list has ended before")

    def _object(self) -> Any:
        while True:
            try:
                value, self._at = DECODER.raw_decode(self._text, self._at)
            except KeyTwiceError as error:
                raise DataError(f"{place(self._path, self._number)}: {error}: leave the one that is meant.") from None
            except (ValueError, RecursionError) as error:  # what was read may end in the middle of it
                if isinstance(error, RecursionError) or not self._more():
                    raise self._fault(str(error)) from None
            else:
                return value

    def _mark(self) -> str:
        """Skip blanks, and return the next character; empty at the end of the file."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing too
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read more of the file, as much again as is not used yet; return whether there was any."""
        self._text, self._at = self._text[self._at :], 0
        wanted, parts = max(len(self._text), 2**16), [""]
        for piece in self._pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        if len(self._text) > LONGEST:
            raise DataError(f"{place(self._path, self._number)} is longer than {LONGEST:,} characters.")
        self._text += "".join(parts)
        _check_values(self._path, self._number, self._text, ",[{")
        return len(parts) > 1

    def _fault(self, reason: str) -> DataError:
        return DataError(
            f"{place(self._path, self._number)} is not JSON ({reason}): give a list of objects, or one object per line."
        )


_BLANKS = re.compile(r"[ \t\r\n]*")


def _check_values(path: Path, number: int, text: str, marks: str) -> None:
    """Refuse a row of more than ``MOST_VALUES`` values, before each takes many times its bytes in memory.

    Args:
        path: the file.
        number: the row's number.
        text: the row.
        marks: characters, one of which begins or ends each value.
    """
    if len(text) > MOST_VALUES and sum(map(text.count, marks)) > MOST_VALUES:
        raise DataError(f"{place(path, number)} holds more than {MOST_VALUES:,} values: refused.")


def _objects(
    path: Path,
    wanted: Sequence[Column],
    rows: Iterator[tuple[int, Any]],
    advice: str = _ADVICE,
    optional: Sequence[Column] = (),
) -> Iterator[Row]:
    read = False
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{place(path, number)} is not a JSON object.")
        try:
            yield number, [row[column] for column in wanted]
            read = True
        except KeyError:
            names = _named(row)
            if all(column in names or column in optional for column in wanted):
                yield number, [row.get(names.get(str(column))) for column in wanted]
                read = True
                continue
            inner = {key: value[0] for key, value in row.items() if isinstance(value, list) and value}
            if isinstance(article := inner.get("data"), dict) and "paragraphs" in article:
                raise DataError(f"{place(path, number)}: no columns but a whole data set. {_SQUAD}") from None
            if below := [
                key for key, one in inner.items() if isinstance(one, dict) and _named(one).keys() >= {*wanted}
            ]:
                raise DataError(
                    f"{place(path, number)}: the rows are a list under '{below[0]}': give that list alone, or one "
                    "object per line."
                ) from None
            lists = any(isinstance(value, list) for value in row.values())
            if "words" in wanted and lists and ("text" in row or {"data", "annotations"} <= row.keys()):
                raise DataError(
                    f"{place(path, number)} holds a text and spans of characters, as doccano and Label Studio export "
                    "them. Words and tags are read: export as CoNLL."
                ) from None
            missing = [c for c in wanted if c not in names and c not in optional]
            if read and advice == _ADVICE:
                advice = "Objects before it have it: each has to, and null stands for nothing."
            raise _missing(path, missing, list(row), number, advice) from None


def parquet_rows(path: Path, wanted: Sequence[Column], advice: str = _ADVICE) -> Iterator[Row]:
    """Yield the rows of a parquet file, read in batches; arguments and errors are those of ``json_rows``."""
    with parquet_files.opened(path) as file:
        known = file.schema_arrow.names
        at = {name: number for number, name in enumerate(map(nfc, known))}
        numbers = {c: c if isinstance(c, int) else at.get(c, len(known)) for c in wanted}
        if missing := [c for c, number in numbers.items() if not -len(known) <= number < len(known)]:
            raise _missing(path, missing, known, advice=advice)
        names = [known[numbers[column]] for column in wanted]
        equal = Counter(map(nfc, known))
        if twice := [name for name in names if equal[nfc(name)] > 1]:
            raise DataError(f"{path} has two columns {quoted(twice[0])}: rename one of them.")
        done = 0
        for batch in parquet_files.batches(path, file, list(dict.fromkeys(names))):
            columns = [batch.column(name).to_pylist() for name in names]
            yield from enumerate(zip(*columns, strict=True), start=done + 1)
            done += batch.num_rows


def class_names(path: Path, column: Column) -> tuple[str, ...]:
    """Return the names that ``datasets`` gave the numbers in a column of a parquet file (ClassLabel), or none."""
    if path.suffix.lower() != ".parquet":
        return ()
    with parquet_files.opened(path) as file:
        schema = file.schema_arrow
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[schema.names[column] if isinstance(column, int) else _named(schema.names)[column]]
        while "names" not in feature:  # of a list, which older versions wrote as a list too
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):  # of other tools, or no such column
        return ()


def parquet_size(path: Path) -> int:
    """Return the number of rows of a parquet file.

    Raises:
        DataError: the file is damaged, or is not a parquet file.
    """
    with parquet_files.opened(path) as file:
        return int(file.metadata.num_rows)


def _missing(
    path: Path, missing: Sequence[Column], known: Sequence[str], number: int = 0, advice: str = _ADVICE
) -> DataError:
    where = place(path, number) if number else str(path)
    named = ", ".join(f"'{column}'" if isinstance(column, str) else f"number {column}" for column in missing)
    there = ", ".join(known)
    listed = there if len(there) <= 300 else f"{there[:300]}…"
    if blanks := [name for name in known if name != name.strip() and name.strip() in missing]:
        advice = f"'{blanks[0]}' has spaces around it: remove them from the file, or name it with them."
    elif len(known) == 1:
        advice = _other_delimiter(known[0], {str(column) for column in missing}) or advice
    return DataError(f"{where} has no column {named}. It has: {listed}.\n{advice}")


def _other_delimiter(line: str, wanted: Set[str] = frozenset()) -> str:
    """Return advice for a line that does not split as it should but does at another delimiter; otherwise empty."""
    if "\r" in line:
        return "Its lines end in a carriage return alone, as on old Macs. Convert them."
    for mark in (";", "\t", ",", "|"):
        if mark in line and wanted <= {name.strip('"') for name in line.split(mark)}:
            return f"It seems separated by {mark!r}: set `delimiter = {json.dumps(mark)}` in the source."
    return ""


def _named(columns: Iterable[str]) -> dict[str, str]:
    """Return columns by their names in Unicode's NFC, in which they are compared."""
    return {nfc(column): column for column in columns}


def _too_few(path: Path, number: int, width: int, column: int, line: str = "") -> DataError:
    advice = _other_delimiter(line) if width == 1 else ""
    return DataError(
        f"{place(path, number)}: needs column {column} (from 0), but the line has only {width}."
        + (f"\n{advice}" if advice else "")
    )
