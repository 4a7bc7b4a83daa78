"""The log of a training: one JSON line a step, written as it goes on, read in one pass, cut without being read."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flue_bench import files

LOG = "log.jsonl"
_BLOCK = 2**16


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log, without a last one that a kill cut short.

    Raises:
        OSError: the file cannot be read.
    """
    with files.opened(path, path.parent) as file:
        for text in file:
            if (line := _parsed(text)) is not None:
                yield line


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log at once."""
    return list(lines(path))


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line."""
    files.append(path, (json.dumps(line) + "\n").encode())


def cut(path: Path, step: int) -> None:
    """Remove what a killed run logged after its last checkpoint (``step``, 0: none), since it is done again.

    Steps only rise, so that the end of the file is all that is read, however long a log is.
    """
    if not path.exists():
        files.write(path, b"")
        return
    files.truncate(path, _last(path, step)[0] if step else 0)


def last_step(path: Path) -> int:
    """Return the last step that a log has, -1 for none; only its end is read.

    Raises:
        OSError: the file cannot be read.
    """
    end, step = _last(path, math.inf)
    return step if end else -1


def _last(path: Path, most: float) -> tuple[int, int]:
    """Return where the last whole line of a step up to ``most`` ends, and its step; (0, 0) where there is none."""
    with files.opened(path, path.parent) as file:
        size = file.seek(0, os.SEEK_END)
        found, looked = (0, 0), 0
        while not found[0] and looked < size:
            looked = min(size, max(2 * looked, _BLOCK))
            file.seek(size - looked)
            at = size - looked
            for number, text in enumerate(file):
                at += len(text)
                whole = text.endswith(b"\n") and (number > 0 or looked == size)  # a block begins within a line
                if whole and (line := _parsed(text)) is not None and line["step"] <= most:
                    found = at, line["step"]
    return found


def _parsed(text: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        line = json.loads(text.decode(errors="replace"))
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            return line
    return None
