"""The one way in which files are written, and the one in which files that others may have made are read.

Written: beside its place under a random name, made anew and never through a link, synced, then renamed. Whatever
interrupts this, a file is the old one or the new one, and whole.

Read: regular files alone, so that neither a pipe nor a device is waited for, no more than a limit, and, where a folder
is given, nothing that a link in it fetches from elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from flue_bench.errors import RecordError

SMALL = 2**24
"""Bytes of a file that is read whole and understood as a whole: a record, a task, a recipe, a card."""
LARGE = 2**30
"""Bytes of a file that is read whole and holds rows: predictions, a log."""

Content = bytes | Callable[[BinaryIO], object]
"""What a file is to hold, or what writes it."""

_SAFE = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))
"""Of every file that is opened here, as far as the system knows them: no link, no wait, no heir, no line ends."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def cache_dir() -> Path:
    """Where flue-bench keeps what belongs to its user: ``$FLUE_BENCH_CACHE``, or a folder of the user's cache."""
    if own := os.environ.get("FLUE_BENCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flue-bench"


@contextmanager
def staged(target: Path, content: Content, root: Path | None = None) -> Iterator[Callable[[], None]]:
    """The content, safely on the disk beside its target; what is yielded puts it there, in place of what there is.

    Args:
        target: the file to write; a link of that name is replaced and not followed.
        content: bytes, or a function that writes them.
        root: the folder that the user named. Folders below it are made, and none of them may be a link. Without it
            the target's folder has to be there, and is taken for what the user named.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    if root is not None:
        make_folder(target.parent, root)
    path = _temporary(target)
    file = _new(path)

    def place() -> None:
        os.replace(path, target)
        sync(target.parent)

    try:
        with file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        yield place
    finally:
        with suppress(OSError):  # it is in its place, or the file system has become read-only
            path.unlink()


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A new folder beside its target, for files that are to be renamed; gone afterwards with what is still in it.

    Raises:
        OSError: it cannot be made.
    """
    folder = _temporary(target)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(target: Path, content: Content, root: Path | None = None) -> None:
    """Write a file in one step; arguments and errors as for ``staged``."""
    with staged(target, content, root) as place:
        place()


def create(path: Path) -> BufferedWriter:
    """A new file to be written under its own name, in place of whatever had that name.

    For what is too large to be written twice, and is known to be whole by other means.

    Raises:
        OSError: it cannot be made.
    """
    path.unlink(missing_ok=True)
    return _new(path)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made where there is none.

    Raises:
        OSError: it cannot be written, is no regular file, or is a link.
    """
    with os.fdopen(_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as file:
        file.write(content)


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder and those between it and ``root``, which is what the user named.

    Raises:
        OSError: it cannot be made, or one of them is a link or a file.
    """
    root.mkdir(parents=True, exist_ok=True)
    for step in _between(folder, root):
        with suppress(FileExistsError):
            step.mkdir()
        check_folder(step, root)


def check_folder(folder: Path, root: Path) -> None:
    """Refuse a folder that a link below ``root`` leads to; it need not be there.

    Raises:
        OSError: the folder, or one between it and ``root``, is a link or a file.
    """
    for step in _between(folder, root):
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(step.lstat().st_mode):
                found = "a link, and nothing is written through one" if step.is_symlink() else "not a folder"
                raise OSError(errno.ENOTDIR, f"'{step.relative_to(root)}' is {found}", str(step))


def sync(folder: Path) -> None:
    """Make renames within a folder outlast a power cut, where folders can be synced (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def opened(path: Path, root: Path | None = None) -> BufferedReader:
    """A regular file, to be read.

    Args:
        path: where it is.
        root: the folder that it has to be in once links are followed. Without it the user named the file, and where
            its links lead is the user's business.

    Raises:
        OSError: there is none, it is no regular file, or a link leads out of ``root``.
    """
    real = os.path.realpath(path)
    if root is not None and not Path(real).is_relative_to(os.path.realpath(root)):
        raise OSError(errno.ELOOP, f"a link leads out of {root}", str(path))
    return os.fdopen(_descriptor(Path(real), os.O_RDONLY), "rb")


def read(path: Path, limit: int = SMALL, root: Path | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: where it is.
        limit: bytes; a larger file is not read.
        root: as for ``opened``.

    Raises:
        OSError: as ``opened``; or it is larger, or grows while it is read.
    """
    with opened(path, root) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes, and {limit:,} is the limit", str(path))
        content = file.read(size + 1) or b""
    if len(content) > size:
        raise OSError(errno.EBUSY, "it grows while it is read", str(path))
    return content


def sha256(path: Path, root: Path | None = None) -> str:
    """SHA-256 of a regular file, 64 hex digits; arguments and errors as for ``opened``."""
    with opened(path, root) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unwritable(path: Path, error: BaseException, advice: str = "and run again") -> RecordError:
    """What to tell a user whose file cannot be written.

    Args:
        path: the file or its folder.
        error: what went wrong; of an ``OSError`` the system's own words are repeated.
        advice: what else to do, after "free some space" or "check the folder".
    """
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
    full = "full" in reason if not isinstance(error, OSError) else error.errno in _FULL
    return RecordError(
        f"{path}: cannot be written: {reason}; {'free some space' if full else 'check the folder'} {advice}."
    )


@contextmanager
def explained(path: Path, advice: str = "and run again") -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into our words; arguments as for ``unwritable``.

    Raises:
        RecordError: in place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, advice) from error


def _descriptor(path: Path, flags: int) -> int:
    """Of a regular file, opened so that no link is followed and nothing waited for."""
    descriptor = os.open(path, flags | _SAFE, 0o666)  # less the user's umask
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _new(path: Path) -> BufferedWriter:
    return os.fdopen(_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def _between(folder: Path, root: Path) -> list[Path]:
    """The folders below ``root`` on the way to a folder, itself the last."""
    return list(accumulate(folder.relative_to(root).parts, Path.joinpath, initial=root))[1:]


def _temporary(target: Path) -> Path:
    """A name of its own beside the target: of this machine, this process and this once."""
    _sweep(target)
    return target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}.tmp")


def _prefix(target: Path) -> str:
    """What the names of temporary files of this target and this machine begin with."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:40] or "host"
    return f"{target.name[:40]}.{host}-"


def _sweep(target: Path) -> None:
    """Remove what killed processes of this machine left half written beside the target, so that it does not pile up."""
    if os.name != "posix":
        return  # elsewhere a process cannot be asked whether it is there
    left = re.compile(re.escape(_prefix(target)) + r"(\d{1,9})-[0-9a-f]{16}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if (found := left.fullmatch(entry.name)) and not _alive(int(found[1])):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
