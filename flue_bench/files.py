"""Atomic writing of files, and safe reading of files that others may have made.

Writing creates a file with a random name in the target's folder, never through a link, syncs it and renames it.
Whatever interrupts this, the target is the whole old file or the whole new one.

Reading accepts regular files only, so that it never waits for a pipe or a device, up to a size limit, and, where a
folder is given, follows no link out of it.
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

from flue_bench.errors import RecordError, UsageError

SMALL = 2**24
"""Size limit in bytes of a file that is parsed as a whole: a record, a task, a recipe, a card."""
LARGE = 2**30
"""Size limit in bytes of a file of rows that is read whole: predictions, a log."""

POINTER = b"version https://git-lfs.github.com/"
"""What stands in place of a file where git fetched a repository without git-LFS."""
NOT_PULLED = "a pointer of git-LFS, not the file. Run `git lfs pull` in its repository, or download the file."

Content = bytes | Callable[[BinaryIO], object]
"""The content of a file, or a function that writes it."""

_SAFE = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))
"""Flags of every file that is opened here, where the system has them: follow no link, do not block, do not pass the
descriptor on to child processes, do not become the controlling terminal, do not translate line ends."""
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What the operating system says of a full disk and of a quota that is used up."""


def cache_dir() -> Path:
    """Return the folder of flue-bench's cache: ``$FLUE_BENCH_CACHE``, or a folder in the user's cache.

    Raises:
        UsageError: that is in a home folder, and none is known.
    """
    own = os.environ.get("FLUE_BENCH_CACHE")
    folder = at_home(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "flue-bench")
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise UsageError(
            f"The cache {folder} is in no home folder that this machine knows: set FLUE_BENCH_CACHE or HOME."
        )
    return folder


def at_home(path: Path | str) -> Path:
    """Return a path whose leading ``~`` or ``~USER`` is that home folder; unchanged where no such home is known.

    ``Path.expanduser`` raises there, and a shell hands on what it does not know, and ``--results=~/x`` always.
    """
    return Path(os.path.expanduser(path))


def as_text(path: Path | str) -> str:
    """Return a path as a text that can be recorded: bytes of a name that are not UTF-8 are spelt out, as ``\\xe9``."""
    return os.fsencode(path).decode(errors="backslashreplace")


@contextmanager
def staged(target: Path, content: Content, root: Path | None = None) -> Iterator[Callable[[], None]]:
    """Write the content to disk beside its target, and yield a function that moves it to the target's name.

    Args:
        target: the file to write; a link of that name is replaced and not followed.
        content: bytes, or a function that writes them.
        root: the folder that the user named. Folders below it are made, and none of them may be a link. Without it
            the target's folder has to exist, and counts as the one that the user named.

    Raises:
        OSError: it cannot be written; an existing target is unchanged.
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
        with suppress(OSError):  # it was renamed already, or the file system has become read-only
            path.unlink()


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside the target, for files to be renamed; remove it and its content afterwards.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = _temporary(target)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(target: Path, content: Content, root: Path | None = None) -> None:
    """Write a file in one step; arguments and errors are those of ``staged``."""
    with staged(target, content, root) as place:
        place()


def create(path: Path) -> BufferedWriter:
    """Open a new file for writing under its final name, and replace any file of that name.

    This is for files that are too large to be written twice, and whose completeness is checked by other means.

    Raises:
        OSError: the file cannot be made.
    """
    path.unlink(missing_ok=True)
    return _new(path)


def append(path: Path, content: bytes) -> None:
    """Append to a file, and create it if it does not exist.

    Raises:
        OSError: the file cannot be written, is not a regular file, or is a link.
    """
    with os.fdopen(_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as file:
        file.write(content)


def truncate(path: Path, size: int) -> None:
    """Cut a file off after ``size`` bytes.

    Raises:
        OSError: the file cannot be written, is not a regular file, or is a link.
    """
    with os.fdopen(_descriptor(path, os.O_WRONLY), "wb") as file:
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder and those between it and ``root``, the folder that the user named.

    Raises:
        OSError: it cannot be made, or one of them is a link or a file.
    """
    root.mkdir(parents=True, exist_ok=True)
    for step in _between(folder, root):
        with suppress(FileExistsError):
            step.mkdir()
        check_folder(step, root)


def check_folder(folder: Path, root: Path) -> None:
    """Refuse a folder whose path below ``root`` has a link; the folder need not exist.

    Raises:
        OSError: the folder, or one between it and ``root``, is a link or a file.
    """
    for step in _between(folder, root):
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(step.lstat().st_mode):
                fault = "a link, and nothing is written through one" if step.is_symlink() else "not a folder"
                raise OSError(errno.ENOTDIR, f"'{step.relative_to(root)}' is {fault}", str(step))


def place(new: Path, target: Path) -> None:
    """Move a complete folder to its final name in one step, after what it holds is on the disk.

    A folder that has the name is replaced: for a moment there is none of that name.

    Raises:
        OSError: it cannot be moved; a folder that had the name keeps it.
    """
    for path in new.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync(new)
    old = _temporary(target)
    with suppress(FileNotFoundError):
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        with suppress(OSError):
            os.rename(old, target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where folders can be synced (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def opened(path: Path, root: Path | None = None) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: the file.
        root: the folder that must contain the file once links are followed. Without it the user named the file, and
            its links may lead anywhere.

    Raises:
        OSError: the file does not exist, is not a regular file, or a link leads out of ``root``.
    """
    return os.fdopen(_readable(path, root), "rb")


def _readable(path: Path, root: Path | None) -> int:
    """Return the descriptor of a regular file; arguments and errors are those of ``opened``."""
    real = os.fspath(path)
    try:
        if root is None or not _goes_down(real, os.fspath(root)):
            real = os.path.realpath(path)
            if root is not None and not Path(real).is_relative_to(os.path.realpath(root)):
                raise OSError(errno.ELOOP, f"a link leads out of {root}", str(path))
        return _descriptor(real, os.O_RDONLY)
    except ValueError as error:  # a NUL, or half of a surrogate pair, in a name that a file gave
        raise OSError(errno.EINVAL, f"not a file's name: {error}", str(path)) from None


def _goes_down(path: str, root: str) -> bool:
    """Return whether a path leads down from ``root`` without any link: then it needs no resolving, which costs more."""
    below = path[len(root) + 1 :].split("/")
    if os.name != "posix" or not path.startswith(f"{root}/") or ".." in below:
        return False
    for name in below:
        root = f"{root}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(root).st_mode):
                return False
        except OSError:
            return False
    return True


def read(path: Path, limit: int = SMALL, root: Path | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: size in bytes above which the file is refused.
        root: as for ``opened``.

    Raises:
        OSError: as for ``opened``; or the file is larger than ``limit``, or grows while it is read.
    """
    descriptor = _readable(path, root)
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes, and {limit:,} is the limit", str(path))
        content = os.read(descriptor, size + 1)
        # One byte more was asked for, so that as many as it had are all: at its end a regular file gives fewer.
        while len(content) < size and (more := os.read(descriptor, size + 1 - len(content))):
            content += more
    finally:
        os.close(descriptor)
    if len(content) > size:
        raise OSError(errno.EBUSY, "it grows while it is read", str(path))
    return content


def sha256(path: Path, root: Path | None = None) -> str:
    """Return the SHA-256 of a regular file as 64 hex digits; arguments and errors are those of ``opened``."""
    with opened(path, root) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unwritable(path: Path, error: BaseException, advice: str = "and run again") -> RecordError:
    """Return the error for a user whose file cannot be written.

    Args:
        path: the file or its folder.
        error: the cause; the system's own text of an ``OSError`` is repeated.
        advice: what else to do, after "free some space" or "check the folder".
    """
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
    full = "full" in reason if not isinstance(error, OSError) else error.errno in FULL
    return RecordError(
        f"{path}: cannot be written: {reason}; {'free some space' if full else 'check the folder'} {advice}."
    )


@contextmanager
def explained(path: Path, advice: str = "and run again") -> Iterator[None]:
    """Turn the system's error on a file that cannot be written into ours; arguments are those of ``unwritable``.

    Raises:
        RecordError: in place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, advice) from error


def _descriptor(path: Path | str, flags: int) -> int:
    """Open a regular file without following a link or blocking, and return its descriptor."""
    descriptor = os.open(path, flags | _SAFE, 0o666)  # less the user's umask
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _new(path: Path) -> BufferedWriter:
    return os.fdopen(_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def _between(folder: Path, root: Path) -> list[Path]:
    """Return the folders below ``root`` on the way to a folder, which comes last."""
    return list(accumulate(folder.relative_to(root).parts, Path.joinpath, initial=root))[1:]


def _temporary(target: Path) -> Path:
    """Return a unique name beside the target, with this machine, this process and a random part."""
    _sweep(target)
    return target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}.tmp")


def _prefix(target: Path) -> str:
    """Return the prefix of the temporary files of this target and this machine."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:40] or "host"
    return f"{target.name[:40]}.{host}-"


def _sweep(target: Path) -> None:
    """Remove what killed processes of this machine left half written beside the target, so that it does not pile up."""
    if os.name != "posix":
        return  # elsewhere os.kill cannot ask whether a process is alive
    left = re.compile(re.escape(_prefix(target)) + r"(\d{1,9})-[0-9a-f]{16}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if (match := left.fullmatch(entry.name)) and not _alive(int(match[1])):
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
