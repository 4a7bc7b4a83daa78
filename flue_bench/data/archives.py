"""Upstream archives, unpacked without trusting them: nothing lands outside the folder, nothing fills the disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from flue_bench.errors import DataError

MAX_BYTES = 16 * 2**30
"""Unpacked, all archives of one source together."""
MAX_RATIO = 200
"""Unpacked over packed, beyond ``RATIO_FREE`` bytes: French text packs about 4 : 1, a zip bomb a thousand to one."""
RATIO_FREE = 64 * 2**20
MAX_MEMBERS = 100_000

BROKEN = (EOFError, OSError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What Python raises for an archive that is cut off, damaged, encrypted or something else altogether."""

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_SINGLE: dict[str, Any] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}


def stem(name: str) -> str:
    """What an archive of this file name unpacks to, by custom: ``x-final.tar.gz`` → ``x-final``."""
    for suffix in sorted((*_TAR, ".zip", *_SINGLE), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def unpack(archives: Sequence[Path], target: Path, wanted: Sequence[str] = ()) -> None:
    """Unpack archives (tar.*, zip, or one packed file) side by side into ``target``, which appears only when whole.

    Only the bytes of regular files are ever written, under names that were checked: no link, device, owner or
    permission of an archive reaches the disk.

    Args:
        archives: files; a ``.bz2``, ``.gz`` or ``.xz`` that is no tar becomes one file without that suffix.
        target: the folder to make; there already, nothing is done.
        wanted: globs of the members to unpack; none: all.

    Raises:
        DataError: an archive that is damaged, of an unknown kind, or unsafe (a link, a path that leaves the folder,
            more than the bounds of this module).
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        budget = MAX_BYTES
        for archive in archives:
            try:
                budget = _unpack(archive, folder, wanted, budget)
            except BROKEN as error:
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(": ")
                raise DataError(
                    f"{archive} cannot be unpacked ({reason}). If it is damaged, delete it and get it again."
                ) from error
        try:
            os.rename(folder, target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path, wanted: Sequence[str], budget: int) -> int:
    """Unpack one archive; returns what is left of the budget, in bytes."""
    allowed = min(budget, max(RATIO_FREE, MAX_RATIO * archive.stat().st_size))
    left = allowed
    for count, (name, stream) in enumerate(_members(archive, wanted)):
        if count >= MAX_MEMBERS:
            raise DataError(f"{archive} holds more than {MAX_MEMBERS:,} files: refused.")
        file = folder / _safe(archive, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            while chunk := stream.read(2**20):
                left -= len(chunk)
                if left < 0:
                    raise DataError(f"{archive} unpacks to more than {allowed:,} bytes: refused.")
                out.write(chunk)
    return budget - (allowed - left)


def _members(archive: Path, wanted: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each wanted regular file."""

    def skipped(name: str) -> bool:
        return bool(wanted) and not any(fnmatchcase(str(PurePosixPath(name)), pattern) for pattern in wanted)

    name = archive.name.lower()
    if name.endswith(_TAR):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isdir() or skipped(member.name):
                    continue
                if not member.isreg():
                    raise DataError(f"{archive}: '{member.name}' is a link or a device: refused.")
                content = tar.extractfile(member)
                assert content is not None  # a regular file has content
                with content:
                    yield member.name, content
    elif name.endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if info.is_dir() or skipped(info.filename):
                    continue
                kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
                if kind not in (0, stat.S_IFREG):
                    raise DataError(f"{archive}: '{info.filename}' is a link or a device: refused.")
                with zipped.open(info) as content:
                    yield info.filename, content
    elif archive.suffix.lower() in _SINGLE:
        with _SINGLE[archive.suffix.lower()](archive, "rb") as content:
            yield stem(archive.name), content
    else:
        raise DataError(f"{archive} is no archive that flue-bench knows: {', '.join((*_TAR, '.zip', *_SINGLE))}.")


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(char in name for char in "\\:\0"):
        raise DataError(f"{archive}: the member name '{name}' leads out of its folder: refused.")
    return path
