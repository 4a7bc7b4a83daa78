"""What was computed from predictions, in the reader's own cache: a board of thousands of entries opens few files.

A value is a line of one of 256 files, by the hash of all that determines it. Lines are only ever added, so that nothing
computed is lost when a command is stopped, and none is taken whose own check does not fit: a line may be torn by a
crash, or by two machines that add to one file at once.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from flue_bench import files

LARGEST = 2**20
"""Bytes of a file above which it is begun again: what is no longer asked for does not pile up."""


class Kept:
    """Values by 64 hex digits. A cache that cannot be read or written costs time, and is not an error."""

    def __init__(self) -> None:
        self._cache = files.cache_dir()
        self._read: dict[Path, dict[bytes, bytes]] = {}

    def get(self, name: str) -> bytes | None:
        """Return the value of this name; None if there is none."""
        return self._of(self._path(name)).get(name.encode())

    def put(self, name: str, value: bytes) -> None:
        """Keep a value, which has no line breaks."""
        path, key = self._path(name), name.encode()
        self._of(path)[key] = value
        line = b"\n%s %s %s" % (key, _check(key, value), value)  # in front, a break parts it from a torn line
        with suppress(OSError):
            files.make_folder(path.parent, self._cache)
            if path.is_file() and path.stat().st_size + len(line) > LARGEST:
                files.write(path, line, self._cache)
            else:
                files.append(path, line)

    def _path(self, name: str) -> Path:
        return self._cache / "intervals" / f"{name[:2]}.lines"

    def _of(self, path: Path) -> dict[bytes, bytes]:
        """Return the values in a file."""
        if path not in self._read:
            content = b""
            with suppress(OSError):
                content = files.read(path, root=self._cache)
            parts = (line.split(b" ", 2) for line in content.split(b"\n"))
            whole = (part for part in parts if len(part) == 3)
            self._read[path] = {key: value for key, check, value in whole if check == _check(key, value)}
        return self._read[path]


def _check(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=8).hexdigest().encode()
