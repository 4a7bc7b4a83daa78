"""Text files in lines, packed or not: read as they come, in bounded memory."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from flue_bench import files
from flue_bench.errors import DataError

PACKED = (".gz", ".xz", ".bz2", ".zst")
LONGEST = 2**26
"""Bytes of a line."""
MEMORY = 2**28
"""Bytes that unpacking may take; what asks for more is refused. ``xz -9`` wants 65 MiB."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Marks that such a file begins with."""

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What Python raises for a packed file that is cut off, damaged, or wants more memory than it may have."""


def lines(path: Path, raw: BinaryIO | None = None, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Numbered lines, ends included, cut at newlines only (``str.splitlines`` also cuts at U+2028 and its kin).

    Args:
        path: a file; it is unpacked if its name ends as one of ``PACKED``. A byte-order mark is left out.
        raw: the file, opened by ``files.opened``, for a caller who asks it how far it has been read.
        encoding: what a task file's key of that name says; None where there is no such key: UTF-8.

    Raises:
        DataError: it cannot be read or is damaged, a byte is not of the encoding, a line is longer than ``LONGEST``.
    """
    number = 0
    try:
        with files.opened(path) if raw is None else raw as opened, unpacked(path, opened) as file, ExitStack() as stack:
            other = encoding is not None and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig")
            # Bytes are decoded line by line where that can be: an error then has its line.
            cut: Any = stack.enter_context(io.TextIOWrapper(file, encoding, newline="\n")) if other else file
            while line := cut.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise DataError(f"{path}, line {number} is longer than {LONGEST:,} bytes: not text in lines.")
                if other:
                    yield number, line.removeprefix("\ufeff") if number == 1 else line
                else:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x}"
        if encoding is None:
            raise DataError(f"{path}, line {number}: {byte} is not UTF-8. Convert the file to UTF-8.") from None
        if other:
            raise DataError(f"{path}, after line {number}: {byte} is not {encoding} ('encoding' says so).") from None
        guess = 'utf-16"' if error.object.startswith(UTF_16) else 'cp1252" (Windows)'
        raise DataError(
            f"{path}, line {number}: {byte} is not UTF-8. Convert the file, or say what it is in the source: "
            f'encoding = "{guess}.'
        ) from None
    except BROKEN as error:
        raise DataError(f"{path} cannot be read after line {number}: {error}.") from error


def unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    """What a file holds, by the end of its name; the file itself if it is not packed.

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

            stream: Any = pyarrow.CompressedInputStream(raw, "zstd")  # whose window is 128 MiB at most
            return io.BufferedReader(stream, 2**17)
    return raw


class _Xz(io.RawIOBase):
    """As ``lzma.LZMAFile``, which bounds no memory: a few bytes may ask for a dictionary of 4 GiB."""

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
