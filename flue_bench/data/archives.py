"""Safe unpacking of upstream archives, which are not trusted.

No file is written outside the folder, and neither disk nor memory fills up, whatever sizes an archive declares.
"""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from flue_bench import files, lines
from flue_bench.errors import DataError

MAX_BYTES = 16 * 2**30
"""Unpacked bytes of all archives of one source together; for a tar this includes everything that has to be read."""
MAX_RATIO = lines.MAX_RATIO
"""Unpacked over packed size, beyond ``RATIO_FREE`` bytes."""
RATIO_FREE = 2**26
MAX_MEMBERS = 100_000
"""Members of an archive, including folders and files that are not wanted."""
CHUNK = 2**16
"""Bytes read at a time; no header of a tar may be longer, because it is read whole."""
MAX_DIRECTORY = 2**24
"""Bytes of a zip's table of contents, which is read whole."""

BROKEN = (
    *lines.BROKEN, RuntimeError, ValueError, ArithmeticError, LookupError, struct.error, tarfile.TarError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What Python raises for an archive that is cut off, damaged or encrypted, or for a file that is not an archive."""

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_SINGLE = (".bz2", ".gz", ".xz")
_SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}


def stem(name: str) -> str:
    """Return the name that an archive usually unpacks to: ``x-final.tar.gz`` → ``x-final``."""
    for suffix in sorted((*_TAR, ".zip", *_SINGLE), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def unpack(archives: Sequence[Path], target: Path, wanted: Sequence[str] = ()) -> None:
    """Unpack archives (tar.*, zip, or one packed file) side by side into ``target``, which appears only when whole.

    Only the bytes of regular files are ever written, under names that were checked: no link, device, owner or
    permission of an archive reaches the disk.

    Args:
        archives: files; a ``.bz2``, ``.gz`` or ``.xz`` that is not a tar becomes one file without that suffix.
        target: the folder to make; if it exists, nothing is done.
        wanted: globs of the members to unpack; if empty, all.

    Raises:
        DataError: an archive is damaged, of an unknown kind, or unsafe (a link, a path that leaves the folder, more
            than the limits of this module), or a file of that name was unpacked before.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.scratch(target.with_name(f".{target.name}")) as folder:
        budget = MAX_BYTES
        for archive in archives:
            try:
                budget = _unpack(archive, folder, wanted, budget)
            except BROKEN as error:
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(": ")
                raise DataError(
                    f"{archive} cannot be unpacked ({reason}). If it is damaged, delete it and download it again."
                ) from error
        try:
            os.rename(folder, target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same content
                raise


def _unpack(archive: Path, folder: Path, wanted: Sequence[str], budget: int) -> int:
    """Unpack one archive, and return what is left of the budget in bytes."""
    with files.opened(archive) as raw:
        allowed = min(budget, max(RATIO_FREE, MAX_RATIO * os.fstat(raw.fileno()).st_size))
        bounds = _Bounds(archive, allowed)
        for name, content in _members(archive, raw, bounds, wanted):
            file = folder / _safe(archive, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file():  # also where a file system takes capitals for small letters
                raise DataError(f"{archive}: '{name}' was unpacked before, from here or another archive: refused.")
            with file.open("xb") as out:
                while chunk := content.read(CHUNK):
                    out.write(chunk)
    return budget - (allowed - bounds.left)


class _Bounds:
    """The limits that remain for one archive."""

    def __init__(self, archive: Path, allowed: int) -> None:
        self.archive, self.allowed, self.left, self.members = archive, allowed, allowed, 0

    def member(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise DataError(f"{self.archive} holds more than {MAX_MEMBERS:,} files: refused.")

    def unpacked(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DataError(f"{self.archive} unpacks to more than {self.allowed:,} bytes: refused.")


class _Stream:
    """An unpacked stream, read once from its start in pieces of at most ``CHUNK`` bytes, all of which are counted."""

    def __init__(self, stream: Any, bounds: _Bounds) -> None:
        self._stream, self._bounds, self._at = stream, bounds, 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise DataError(f"{self._bounds.archive} has a header of {size:,} bytes: refused.")
        content: bytes = self._stream.read(size)
        self._at += len(content)
        self._bounds.unpacked(len(content))
        return content

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise tarfile.ReadError("a member begins before the one before it ends")
        while self._at < position and self.read(min(CHUNK, position - self._at)):
            pass
        return self._at


class _Directory:
    """A zip's file, with a limit on the bytes read at once."""

    def __init__(self, raw: BinaryIO, archive: Path) -> None:
        self._raw, self._archive = raw, archive
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise DataError(f"{self._archive} has a table of contents of {size:,} bytes: refused.")
        return self._raw.read(size if size >= 0 else MAX_DIRECTORY)


def _members(archive: Path, raw: BinaryIO, bounds: _Bounds, wanted: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the name and content of each wanted regular file."""
    name = archive.name.lower()
    if name.endswith(_TAR):
        yield from _of_tar(archive, raw, bounds, wanted)
    elif name.endswith(".zip"):
        yield from _of_zip(archive, raw, bounds, wanted)
    elif archive.suffix.lower() in _SINGLE:
        bounds.member()
        yield stem(archive.name), _Stream(lines.unpacked(archive, raw), bounds)
    else:
        raise DataError(f"{archive} is not an archive that flue-bench reads: {', '.join((*_TAR, '.zip', *_SINGLE))}.")


def _of_tar(archive: Path, raw: BinaryIO, bounds: _Bounds, wanted: Sequence[str]) -> Iterator[tuple[str, Any]]:
    suffix = archive.suffix.lower()
    stream: Any = _Stream(lines.unpacked(archive.with_suffix(_SHORT.get(suffix, suffix)), raw), bounds)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        kept: list[Any] = tar.members  # type: ignore[attr-defined]
        while (member := tar.next()) is not None:
            kept.clear()  # otherwise every member and its header stay in memory to the end
            bounds.member()
            if member.isdir() or _skipped(member.name, wanted):
                continue
            if not member.isreg() or member.issparse():
                raise DataError(f"{archive}: '{member.name}' is a link or a device: refused.")
            content = tar.extractfile(member)
            assert content is not None  # a regular file has content
            with content:
                yield member.name, content


def _of_zip(archive: Path, raw: BinaryIO, bounds: _Bounds, wanted: Sequence[str]) -> Iterator[tuple[str, Any]]:
    file: Any = _Directory(raw, archive)
    with zipfile.ZipFile(file) as zipped:
        for info in zipped.infolist():
            bounds.member()
            if info.is_dir() or _skipped(info.filename, wanted):
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
            if kind not in (0, stat.S_IFREG):
                raise DataError(f"{archive}: '{info.filename}' is a link or a device: refused.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Python unpacks others whole
                raise DataError(
                    f"{archive}: '{info.filename}' is compressed with a method other than deflate: refused."
                )
            with zipped.open(info) as content:
                yield info.filename, _Stream(content, bounds)


def _skipped(name: str, wanted: Sequence[str]) -> bool:
    return bool(wanted) and not any(fnmatchcase(str(PurePosixPath(name)), pattern) for pattern in wanted)


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(char in name for char in "\\:\0"):
        raise DataError(f"{archive}: the member name '{name}' leads out of its folder: refused.")
    return path
