"""Everything flue-bench says to a user who cannot go on.

FlueBenchError            exit 1  one or two lines: what was found, where, what to do next
├── UsageError            exit 2  what was asked cannot be asked
│   ├── UnknownNameError          no such task, group, recipe, metric, reader: names the nearest ones
│   ├── TaskFileError             a task file or a plugin that does not validate: names the file and the key
│   ├── DeviceError               a device or precision that this machine does not have
│   └── ModelNotFoundError        no such repository, revision or directory
├── DataError                     a source that cannot be read as the task declares it
├── HubError                      the hub refused, broke off, or answered nonsense
│   └── OfflineError              no network (or ``--offline``) and not in the cache
├── ModelError                    a model or tokenizer that is there but cannot be used as asked
└── RecordError                   a result file that cannot be read or written

The command line prints ``str(error)`` and exits with ``error.exit_code``; anything else that escapes is a bug of ours
and keeps its traceback.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


def quoted(value: object) -> str:
    """A value as a message quotes it: on one line, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def printable(text: str) -> str:
    """Text fit for a terminal: what would steer it (escapes, bells, changes of direction) is spelt out."""
    unfit = {c for c in text if (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029") and c != "\n"}
    return "".join(c.encode("unicode_escape").decode() if c in unfit else c for c in text) if unfit else text


class Fault(NamedTuple):
    """One thing that pydantic found wrong; as a string, what a message says of it, without a final stop."""

    place: tuple[int | str, ...]
    """Keys and numbers on the way to it; empty where the whole is at fault."""
    kind: str
    """As pydantic calls it, e.g. ``extra_forbidden``."""
    value: object
    """What was found there."""
    reason: str

    @property
    def key(self) -> str:
        """``cell.recipe.epochs``"""
        return ".".join(map(str, self.place))

    def __str__(self) -> str:
        return f"field '{self.key}': {self.reason}" if self.place else self.reason


def faults(error: ValidationError) -> list[Fault]:
    """All that pydantic found wrong, at least one."""
    return [
        Fault(each["loc"], each["type"], each["input"], each["msg"].removeprefix("Value error, ").rstrip("."))
        for each in error.errors(include_url=False)
    ]


class FlueBenchError(Exception):
    """Base of every error that is meant for the user."""

    exit_code = 1


class UsageError(FlueBenchError):
    """What was asked cannot be asked."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not registered; the message lists the nearest ones that are."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        listed = f"Did you mean {' or '.join(nearest)}?" if nearest else f"Known: {', '.join(known) or 'none'}."
        super().__init__(f"Unknown {what} '{name}'. {listed}{' ' + hint if hint else ''}")
        self.name = name
        self.nearest = nearest


class TaskFileError(UsageError):
    """A task file or a plugin that does not validate."""


class DeviceError(UsageError):
    """A device or precision that this machine does not have."""


class ModelNotFoundError(UsageError):
    """No such repository, revision or directory."""


class DataError(FlueBenchError):
    """A source that cannot be read as the task declares it."""


class HubError(FlueBenchError):
    """The hub refused, broke off, or answered nonsense."""


class OfflineError(HubError):
    """No network (or ``--offline``) and not in the cache."""


class ModelError(FlueBenchError):
    """A model or tokenizer that is there but cannot be used as asked."""


class RecordError(FlueBenchError):
    """A result file that cannot be read or written."""
