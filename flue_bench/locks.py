"""Locks between processes: the operating system holds them, so each ends with its process, however that ends.

Where a file system has no locks, none is held, and the user is warned: a marker file instead would outlive a process
that was killed, and others would wait for it forever.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flue_bench import files

if TYPE_CHECKING:
    from filelock import BaseFileLock

_NO_LOCKS = {getattr(errno, name, errno.ENOSYS) for name in ("ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP")}
"""Error numbers of a file system without locks, or whose server has none."""


class Lock:
    """A lock that one process holds at a time; ``with`` waits for it. The same process may acquire it again."""

    missing: str | None = None
    """Once acquired: why the file system has no lock, so that no process is kept out; None if it has one."""

    def __init__(self, path: Path, root: Path | None = None) -> None:
        """Name the lock file; folders between it and ``root``, which the user named, are made and must not be links."""
        self.path, self.root = path, root or path.parent
        self._lock: BaseFileLock | None = None

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> None:
        """Acquire the lock, or find that the file system has none.

        Args:
            blocking: wait while another process holds it.
            timeout: seconds to wait at most; negative for no limit.

        Raises:
            filelock.Timeout: another process still holds it.
            RecordError: the lock file cannot be made.
        """
        from filelock import FileLock

        try:
            files.make_folder(self.path.parent, self.root)
            if self.path.is_symlink():  # filelock follows none either, and says so in the system's words
                raise OSError(errno.ELOOP, "it is a link, and nothing is written through one")
            lock = FileLock(self.path, is_singleton=True, fallback_to_soft=False)
            lock.acquire(timeout, blocking=blocking)
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise files.unwritable(self.path, error, "or give another --results") from error
            self.missing = error.strerror or str(error)
        else:
            self._lock, self.missing = lock, None

    def busy(self) -> bool:
        """Return whether another process holds it just now.

        Raises:
            RecordError: the lock file cannot be made.
        """
        try:
            self.acquire(blocking=False)
        except TimeoutError:  # of filelock, among others
            return True
        self.release()
        return False

    @property
    def warning(self) -> str:
        """Once acquired: the warning to print where there is no lock; otherwise empty."""
        if self.missing is None:
            return ""
        return (
            f"{self.path.parent}: this file system has no locks ({self.missing}): nothing keeps a second flue-bench "
            "from doing the same work there; start one only"
        )

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
