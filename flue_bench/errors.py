"""Errors that flue-bench reports to its user.

FlueBenchError            exit 1  one or two lines: what was found, where, what to do next
├── UsageError            exit 2  the request is invalid
│   ├── UnknownNameError          no such task, group, recipe, metric, reader: names the nearest ones
│   ├── TaskFileError             a task file or a plugin that does not validate: names the file and the key
│   ├── DeviceError               a device or precision that this machine does not have
│   └── ModelNotFoundError        a repository, revision or directory that does not exist
├── DataError                     a source that cannot be read as the task declares it
├── HubError                      the hub refused, broke off, or sent an invalid answer
│   └── OfflineError              no network (or ``--offline``) and not in the cache
├── ModelError                    a model or tokenizer that exists but cannot be used as requested
├── RecordError                   a result file that cannot be read or written
└── IncompleteError               part of what was asked for failed; the rest is done and attached

The command line prints ``str(error)`` and exits with ``error.exit_code``; anything else that escapes is a bug of ours
and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pydantic import ValidationError


def quoted(value: object) -> str:
    """Return a value as a message quotes it: on one line, shortened where it is long, addresses as they are shown."""
    try:
        text = plain_addresses(repr(value))
    except (RecursionError, ValueError):  # nested too deeply; a number of more digits than Python turns into text
        return f"a {type(value).__name__} too large to show"
    return _short(text, 80)


def cause(error: Exception) -> str:
    """Return why something that a stranger made cannot be used, whatever the exception."""
    if isinstance(error, FlueBenchError):
        return str(error)
    said = _short(str(error).strip().partition("\n")[0].rstrip("."), 1000)
    return said if said and isinstance(error, ValueError) else f"{type(error).__name__}: {said}".removesuffix(": ")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def address(url: str) -> str:
    """Return an http(s) address as it may be shown and recorded: without user, password, query and fragment.

    An address that cannot be read is not shown, since nobody can tell which part of it is a password.
    """
    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        readable = False
    # A password with a slash or a hash ends the host early: http://name:12/34@host.
    if not readable or (":" in parts.netloc and "@" not in parts.netloc and re.search("[^/]@", url)):
        return "(an address that is not shown)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def plain_addresses(text: str) -> str:
    """Return text with each address in it as ``address`` shows it, where it holds more than that."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*[@?#][^\s'\"<>]*", lambda url: address(url[0]), text)


class Fault(NamedTuple):
    """One error that pydantic found; ``str`` gives its text for a message, without a full stop."""

    place: tuple[int | str, ...]
    """Keys and indexes that lead to the value; empty where the whole input is at fault."""
    kind: str
    """pydantic's name for the error, e.g. ``extra_forbidden``."""
    value: object
    """The value that was found there."""
    reason: str

    @property
    def key(self) -> str:
        """The dotted key of the value, e.g. ``cell.recipe.epochs``."""
        return _short(".".join(map(str, self.place)), 200)

    def __str__(self) -> str:
        return f"field '{self.key}': {self.reason}" if self.place else self.reason


def faults(error: ValidationError) -> list[Fault]:
    """Return everything that pydantic found wrong, at least one item."""
    return [
        Fault(each["loc"], each["type"], each["input"], each["msg"].removeprefix("Value error, ").rstrip("."))
        for each in error.errors(include_url=False)
    ]


class FlueBenchError(Exception):
    """Base class of every error that is meant for the user."""

    exit_code = 1


class UsageError(FlueBenchError):
    """Raised when the request is invalid."""

    exit_code = 2


class UnknownNameError(UsageError):
    """Raised for a name that is not registered; the message lists the nearest registered names."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        listed = f"Did you mean {' or '.join(nearest)}?" if nearest else f"Known: {', '.join(known) or 'none'}."
        super().__init__(
            f"Unknown {what} '{name if len(name) <= 80 else name[:80] + '…'}'. {listed}{' ' + hint if hint else ''}"
        )
        self.name = name
        self.nearest = nearest


class TaskFileError(UsageError):
    """Raised when a task file or a plugin does not validate."""


class DeviceError(UsageError):
    """Raised when this machine lacks the requested device or precision."""


class ModelNotFoundError(UsageError):
    """Raised when a repository, revision or directory does not exist."""


class DataError(FlueBenchError):
    """Raised when a source cannot be read as the task declares it."""


class HubError(FlueBenchError):
    """Raised when the hub refuses, breaks off, or sends an invalid answer."""


class OfflineError(HubError):
    """Raised when a file is not in the cache and there is no network (or ``--offline``)."""


class ModelError(FlueBenchError):
    """Raised when a model or tokenizer exists but cannot be used as requested."""


class RecordError(FlueBenchError):
    """Raised when a result file cannot be read or written."""


class IncompleteError(FlueBenchError):
    """Raised at the end when part of what was asked for failed; ``results`` holds what was done, which is also kept."""

    def __init__(self, what: str, done: int, reasons: Sequence[str], results: Any) -> None:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        first = reasons[0].partition("\n")[0]
        super().__init__(f"The {what} is incomplete: {done} done, {len(reasons)} not.\n{first}{others}")
        self.reasons = tuple(reasons)
        self.results = results
