"""Lines of text files, packed or not, read one by one with bounds on memory and work."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from flue_bench import files
from flue_bench.errors import DataError

PACKED = (".gz", ".xz", ".bz2", ".zst")
LONGEST = 2**26
"""Bytes that a line may have."""
MAX_RATIO = 200
"""Unpacked over packed size, beyond ``RATIO_FREE`` bytes: French text packs about 4 : 1, a bomb 1000 : 1."""
RATIO_FREE = 2**24
"""Unpacked bytes that a packed file may have whatever its size."""
MEMORY = 2**28
"""Bytes of memory that unpacking may take; a file that needs more is refused. ``xz -9`` needs 65 MiB."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Byte-order marks of UTF-16."""

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What Python raises for a packed file that is cut off, damaged, or needs more memory than is allowed."""


def lines(path: Path, raw: BinaryIO | None = None, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield numbered lines, ends included, split at newlines only (``str.splitlines`` splits at U+2028 and others too).

    Args:
        path: a file; it is unpacked if its name ends as one of ``PACKED``. A byte-order mark is dropped.
        raw: the file, opened by ``files.opened``, for a caller who needs to know how much of it has been read.
        encoding: the value of ``encoding`` in a task file; None where there is no such key: UTF-8.

    Raises:
        DataError: the file cannot be read or is damaged, a byte is invalid in the encoding, a line is longer than
            ``LONGEST``, or the file unpacks to more than ``MAX_RATIO`` times its size.
    """
    number = size = 0
    try:
        with files.opened(path) if raw is None else raw as opened, unpacked(path, opened) as file, ExitStack() as stack:
            _check_start(path, opened)
            other = encoding is not None and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig")
            # Bytes are decoded line by line where possible, so that an error has a line number.
            cut: Any = stack.enter_context(io.TextIOWrapper(file, encoding, newline="\n")) if other else file
            packed = path.suffix.lower() in PACKED
            allowed = max(RATIO_FREE, MAX_RATIO * os.fstat(opened.fileno()).st_size)
            while line := cut.readline(LONGEST + 1):
                number += 1
                size += len(line)
                if len(line) > LONGEST:
                    raise DataError(f"{path}, line {number} is longer than {LONGEST:,} bytes: not lines of text.")
                if packed and size > allowed:
                    raise DataError(
                        f"{path}, line {number}: it unpacks to more than {allowed:,} bytes, {MAX_RATIO} times its size "
                        "or more: refused. Unpack it yourself where you trust it."
                    )
                if other:
                    yield number, line.removeprefix("\ufeff") if number == 1 else line
                else:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x}"
        if encoding is None:
            raise DataError(f"{path}, line {number}: {byte} is not UTF-8. Convert the file to UTF-8.") from None
        if other:
            raise DataError(
                f"{path}, after line {number}: {byte} is not {encoding}, the source's 'encoding'."
            ) from None
        guess = 'utf-16"' if error.object.startswith(UTF_16) else 'cp1252" (Windows)'
        raise DataError(
            f"{path}, line {number}: {byte} is not UTF-8. Convert the file, or state its encoding in the source: "
            f'encoding = "{guess}.'
        ) from None
    except UnicodeError as error:  # UTF-16 without its byte-order mark
        raise DataError(
            f"{path}, after line {number}: it is not {encoding}, the source's 'encoding': {error}. Without a "
            'byte-order mark it is read with encoding = "utf-16-le" (Windows) or "utf-16-be".'
        ) from None
    except BROKEN as error:
        raise DataError(f"{path} cannot be read after line {number}: {error}.") from error


def _check_start(path: Path, opened: BinaryIO) -> None:
    """Refuse what does not begin as text, nor as its name says.

    Raises:
        DataError: it is a pointer of git-LFS, or is packed by gzip and not named so.
    """
    start = cast(io.BufferedReader, opened).peek(len(files.POINTER))
    if start.startswith(files.POINTER):
        raise DataError(f"{path} is {files.NOT_PULLED}")
    if start.startswith(b"\x1f\x8b") and path.suffix.lower() not in PACKED:
        raise DataError(f"{path} is packed by gzip: unpack it, or rename it to {path.name}.gz.")


def unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    """Return a stream of a file's unpacked content, by the end of its name; the file itself if it is not packed.

    Raises:
        One of ``BROKEN``, here or when it is read.
    """
    match path.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        case ".bz2":
            return cast(BinaryIO, bz2.BZ2File(raw))
        case ".xz":
            return io.BufferedReader(_Xz(raw), 2**17)
        case ".zst":
            import pyarrow

            stream: Any = pyarrow.CompressedInputStream(raw, "zstd")  # its window is 128 MiB at most
            return io.BufferedReader(stream, 2**17)
    return raw


class _Xz(io.RawIOBase):
    """``lzma.LZMAFile`` with a limit on memory: without it a few bytes can request a dictionary of 4 GiB."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._decoder = raw, lzma.LZMADecompressor(memlimit=MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self._decoder.eof:  # another stream may follow, after padding
                data = self._decoder.unused_data
                while not (data := data.lstrip(b"\0")):
                    if not (data := self._raw.read(2**16)):
                        return 0
                self._decoder = lzma.LZMADecompressor(memlimit=MEMORY)
            elif self._decoder.needs_input and not (data := self._raw.read(2**16)):
                raise EOFError("the file ends in the middle")
            chunk = self._decoder.decompress(data, len(buffer))
            if chunk:
                buffer[: len(chunk)] = chunk
                return len(chunk)
