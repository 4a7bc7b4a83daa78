"""Parquet files that others may have made, read in bounded memory: a few of their bytes may stand for gigabytes.

A dictionary holds a value once, however many rows have it, and compression makes next to nothing of equal values. What
a file says of itself decides whether it is read, and how much at once, before anything is decoded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from flue_bench import files, lines
from flue_bench.errors import DataError

if TYPE_CHECKING:
    import pyarrow

ROWS = 1024
"""Rows that are in memory at once; a web page may have a megabyte."""
BYTES = 2**26
"""Bytes of one column's values that are in memory at once."""
LISTED = 2**32
"""Bytes that the values of lists may take in a row group: a single row may hold them all."""
FIXED = 2**28
"""Bytes that values of one length may take in a row group, which pyarrow makes room for at once."""
RATIO_FREE = 2**26
"""Unpacked bytes that a file may have whatever its size; beyond, ``lines.MAX_RATIO`` times its size."""

Again = Callable[[], AbstractContextManager[Any]]
"""Opens the bytes of a file once more."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file, which pyarrow reads column by column.

    Raises:
        DataError: the file is damaged, is not a parquet file, was not pulled by git-LFS, or unpacks to much more than
            its size; here or in the block.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with files.opened(path) as raw:
            if raw.peek(len(files.POINTER)).startswith(files.POINTER):
                raise DataError(f"{path} is {files.NOT_PULLED}")
            of_itself = described(raw)
            if fault := excess(of_itself, os.fstat(raw.fileno()).st_size):
                raise DataError(f"{path} has {fault}; refused.")
            with parquet.ParquetFile(raw, metadata=of_itself) as file:
                yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as parquet: {str(error).partition(chr(10))[0]}") from error


class _WithheldError(Exception):
    """Raised in place of a file's data."""


class _Description(io.RawIOBase):
    """A file that gives its description, and then no data."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.given = file, False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.given:
            raise _WithheldError
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def described(file: BinaryIO) -> Any:
    """Return what a file says of itself, as pyarrow's metadata, after every chunk of it was found to be describable.

    pyarrow describes a chunk by code that expects no error, so that a damaged description aborts the process (a
    histogram of another size than the column's, say). Where it begins to read the chunk it raises the same error. So
    every chunk is begun, of a file that gives no data.

    Raises:
        pyarrow.ArrowException, OSError: the file is damaged, or is not a parquet file.
    """
    from pyarrow import parquet

    source = _Description(file)
    # Without a buffer the data of the first column would be asked for before the second column is begun.
    reader = parquet.ParquetFile(source, buffer_size=1024)
    source.given = True
    for group in range(reader.num_row_groups):
        with suppress(_WithheldError):
            next(reader.iter_batches(1, [group], use_threads=False), None)
    return reader.metadata


def batches(path: Path, file: Any, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Yield some columns of a file, a few rows at a time.

    Args:
        path: the file.
        file: the same, as ``opened`` provides it.
        columns: names of columns that it has.

    Raises:
        DataError: the values of lists, or those of a type of one length, would take gigabytes.
    """
    for group in range(file.num_row_groups):
        rows = ROWS
        for long in _long_values(file, group, columns, lambda: files.opened(path), ROWS):
            if long.longest * long.values > (FIXED if long.fixed else LISTED) and (long.listed or long.fixed):
                where = " in its lists" if long.listed else ""
                raise DataError(f"{path}: column '{long.column}' has values of {long.longest:,} bytes{where}: refused.")
            rows = min(rows, max(1, BYTES // long.longest))
        yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))


def excess(described: Any, size: int, free: int = 0) -> str:
    """Return in words that a file, by its own description, repeats a few values without end; empty if it does not.

    A row of a data set has text or an id of its own, which takes more than a byte; a run of equal rows takes none.

    Args:
        described: the file's metadata, as pyarrow gives them.
        size: its bytes.
        free: values in lists that it may hold whatever its size.
    """
    groups = [described.row_group(number) for number in range(described.num_row_groups)]
    chunks = [[group.column(column) for group in groups] for column in range(described.num_columns)]
    values = max((sum(chunk.num_values for chunk in column) for column in chunks), default=0)
    unpacked = sum(chunk.total_uncompressed_size for column in chunks for chunk in column)
    again = f"in {size:,} bytes: the same ones again and again"
    if described.num_rows > size or values > max(8 * size, free):
        return f"{max(described.num_rows, values):,} values {again}"
    if unpacked > max(RATIO_FREE, lines.MAX_RATIO * size):
        return f"{unpacked:,} bytes of values {again}"
    return ""


def decoded(file: Any, again: Again, columns: Sequence[str] | None = None) -> int:
    """Return how many bytes of memory a file that is read whole takes at most, as far as its own description says.

    Args:
        file: the file, as pyarrow opens it.
        again: opens its bytes once more.
        columns: names of the columns that are read; None: all.
    """
    size, columns = 0, file.schema_arrow.names if columns is None else columns
    for group in range(file.num_row_groups):
        described = file.metadata.row_group(group)
        for number in range(described.num_columns):
            if _column(file.schema.column(number).path, columns) is not None:
                chunk = described.column(number)
                size += chunk.total_uncompressed_size + 8 * chunk.num_values
        size += sum(long.longest * long.values for long in _long_values(file, group, columns, again))
    return size


class _Long(NamedTuple):
    """A column of a row group, some bytes of which may stand for one long value many times."""

    column: str
    listed: bool
    """Whether the values are in lists."""
    fixed: bool
    """Whether all values have one length, by the column's type."""
    longest: int
    """Bytes of the longest value."""
    values: int


def _long_values(
    file: Any, group: int, columns: Sequence[str], again: Again, rows: int | None = None
) -> Iterator[_Long]:
    """Yield the columns of a row group that may hold long values many times.

    Args:
        file: the file.
        group: number of the row group.
        columns: names of the columns that are read.
        again: opens the file's bytes once more.
        rows: how many rows are read at once; None: all.
    """
    described = file.metadata.row_group(group)
    for number in range(described.num_columns):
        chunk, leaf = described.column(number), file.schema.column(number)
        if (name := _column(leaf.path, columns)) is None:
            continue
        listed, fixed, longest = leaf.path != name, leaf.physical_type == "FIXED_LEN_BYTE_ARRAY", 0
        at_once = chunk.num_values if listed or rows is None else min(rows, chunk.num_values)
        large = chunk.has_dictionary_page and chunk.total_uncompressed_size * at_once > BYTES
        if fixed:
            longest = leaf.length
        elif leaf.physical_type == "BYTE_ARRAY" and large:
            longest = _longest(again, leaf.path, name, group)
        if longest:
            yield _Long(name, listed, fixed, longest, chunk.num_values)


def _column(path: str, columns: Sequence[str]) -> str | None:
    """Return the column to which a leaf belongs, if it is read: the name of a column may hold dots too."""
    return next((name for name in columns if path == name or path.startswith(f"{name}.")), None)


def _longest(again: Again, path: str, name: str, group: int) -> int:
    """Return the bytes of the longest value in the dictionary of a column of a row group; 0 where there is none."""
    import pyarrow.compute
    from pyarrow import parquet

    with again() as source, parquet.ParquetFile(source, read_dictionary=[path]) as file:
        values: Any = next(file.iter_batches(1, row_groups=[group], columns=[name])).column(0)
    while hasattr(values, "values"):  # a list's
        values = values.values
    if not hasattr(values, "dictionary") or not len(values.dictionary):
        return 0
    return int(pyarrow.compute.max(pyarrow.compute.binary_length(values.dictionary)).as_py() or 0)
