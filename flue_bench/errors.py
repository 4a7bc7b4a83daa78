"""Errors that flue-bench reports to its user.

FlueBenchError            exit 1  one or two lines: what was found, where, what to do next
├── UsageError            exit 2  the request is invalid
│   ├── UnknownNameError          no such task, group, recipe, metric, reader: names the nearest ones
│   ├── TaskFileError             a task file or a plugin that does not validate: names the file and the key
│   ├── DeviceError               a device or precision that this machine does not have
│   └── ModelNotFoundError        a repository, revision or folder that does not exist
├── DataError                     a source that cannot be read as the task declares it
├── HubError                      the hub refused, broke off, or sent an invalid answer
│   └── OfflineError              no network (or ``--offline``) and not in the cache
├── ModelError                    a model or tokenizer that exists but cannot be used as requested
│   └── DivergedError             a training whose losses or outputs are no longer finite
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
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; a number of more digits than Python turns into text
        return f"a {type(value).__name__} too large to show"
    return short(plain_addresses(text[:_ENOUGH], cut=len(text) > _ENOUGH), 80)


_ENOUGH = 4000
"""Characters of a value that are looked at to quote it: an address before its end is one that a message could hold."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 record``, ``1,200 records``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cause(error: Exception) -> str:
    """Return why something that a stranger made cannot be used, whatever the exception."""
    if isinstance(error, FlueBenchError):
        return str(error)
    said = short(str(error).strip().partition("\n")[0].rstrip("."), 1000)
    return said if said and isinstance(error, ValueError) else f"{type(error).__name__}: {said}".removesuffix(": ")


def short(text: str, length: int = 200) -> str:
    """Return a text for a message, cut where it is longer than this many characters."""
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
        return _NOT_SHOWN
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_NOT_SHOWN = "(an address that is not shown)"


def plain_addresses(text: str, cut: bool = False) -> str:
    """Return text with each address in it as ``address`` shows it, where it holds more than that.

    Args:
        text: any text; the time taken grows with its length.
        cut: whether more followed: an address that reaches the end is not shown, since its password may have been cut.
    """

    def plain(found: re.Match[str]) -> str:
        before, url = found.groups()
        if cut and found.end() == len(text):
            return before + _NOT_SHOWN
        return before + address(url) if re.search("[@?#]", url) else found[0]

    return _ADDRESS.sub(plain, text)


_ADDRESS = re.compile(r"(?<![A-Za-z0-9+.-])([0-9+.-]*+)([A-Za-z0-9+.-]*+://[^\s'\"<>]*)")
"""What may be an address, and what stands before its scheme. Each character is tried once: a stranger's text of many
megabytes without an address, or with the beginnings of thousands, takes no longer than another."""


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
        return short(".".join(map(str, self.place)))

    def __str__(self) -> str:
        return f"field '{self.key}': {self.reason}" if self.place else self.reason


def faults(error: ValidationError) -> list[Fault]:
    """Return everything that pydantic found wrong, at least one item."""
    return [
        Fault(each["loc"], each["type"], each["input"], _in_plain_words(each["type"], each["msg"]))
        for each in error.errors(include_url=False)
    ]


def wanted(found: Sequence[Fault]) -> str:
    """Return what the first field at fault has to be, with each of its alternatives: ``a whole number or 'auto'``."""
    first, *others = dict.fromkeys(each.reason for each in found if each.place[:1] == found[0].place[:1])
    return " or ".join([first, *(each.removeprefix("it has to be ") for each in others)])


_PLAIN = dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number")
_PLAIN |= dict.fromkeys(("float_type", "float_parsing"), "a number")
_PLAIN |= dict.fromkeys(("bool_type", "bool_parsing"), "true or false")
_PLAIN |= {"string_type": "a text", "list_type": "a list", "tuple_type": "a list", "dict_type": "a table"}
_PLAIN |= dict.fromkeys(("model_type", "model_attributes_type"), "a table")

_WHOLE = {"missing": "missing", "extra_forbidden": "not known here"}


def _in_plain_words(kind: str, said: str) -> str:
    """Return what pydantic says of a value, without the names of its own types and its full stop."""
    if kind in _WHOLE:
        return _WHOLE[kind]
    if kind in _PLAIN:
        return f"it has to be {_PLAIN[kind]}"
    said = re.sub(r"^(Value error|Assertion failed), ", "", said).rstrip(".")
    return re.sub("^Input should be ", "it has to be ", said)


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that somebody who wrote ``name`` may have meant: the nearest, and others about as near."""
    cased, name = {each.lower(): each for each in sorted(known)}, name.lower()
    found = difflib.get_close_matches(name, cased, n=3, cutoff=0.5)
    ratios = [difflib.SequenceMatcher(None, each, name).ratio() for each in found]
    return [cased[each] for each, ratio in zip(found, ratios, strict=True) if ratio >= ratios[0] - 0.1]


class FlueBenchError(Exception):
    """Base class of every error that is meant for the user."""

    exit_code = 1


class UsageError(FlueBenchError):
    """Raised when the request is invalid."""

    exit_code = 2


class UnknownNameError(UsageError):
    """Raised for a name that is not registered; the message lists the nearest registered names.

    Args:
        what: what the name is of, such as ``recipe``.
        name: the name that was given.
        known: the names that there are.
        hint: what else to do, as a sentence.
        of: what should have something of that name, such as ``Task xnli``.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "", of: str = "") -> None:
        known = sorted(known)
        nearest = near_names(name, known)
        listed = f"Did you mean {' or '.join(nearest)}?" if nearest else f"Known: {', '.join(known) or 'none'}."
        said = f"{what} '{short(name, 80)}'"
        unknown = f"{of} has no {said}" if of else f"Unknown {said}"
        super().__init__(f"{unknown}. {listed}{' ' + hint if hint else ''}")
        self.name = name
        self.nearest = nearest


class TaskFileError(UsageError):
    """Raised when a task file or a plugin does not validate."""


class DeviceError(UsageError):
    """Raised when this machine lacks the requested device or precision."""


class ModelNotFoundError(UsageError):
    """Raised when a repository, revision or folder does not exist."""


class DataError(FlueBenchError):
    """Raised when a source cannot be read as the task declares it."""


class HubError(FlueBenchError):
    """Raised when the hub refuses, breaks off, or sends an invalid answer."""


class OfflineError(HubError):
    """Raised when a file is not in the cache and there is no network (or ``--offline``)."""


class ModelError(FlueBenchError):
    """Raised when a model or tokenizer exists but cannot be used as requested."""


class DivergedError(ModelError):
    """Raised when a training's losses or a model's outputs are no longer finite."""


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
