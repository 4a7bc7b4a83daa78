"""One row of a source as a kind of task reads it: texts in Unicode's NFC, labels as numbers, everything checked."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flue_bench.errors import quoted


class Skipped(Exception):
    """Raised for a row that holds no example; the message ("sentences without words") is shown with the count."""


class Labels:
    """Maps what a file calls a label to its index."""

    def __init__(self, names: Sequence[str], theirs: Mapping[str, str]) -> None:
        """``names`` are the task's labels, ``theirs`` maps what the file calls a label to one of them."""
        self.names = tuple(names)
        self.index: dict[Any, int] = {label: index for index, label in enumerate(names)}
        self.index |= {name: self.names.index(ours) for name, ours in theirs.items()}
        numbers = {int(name): index for name, index in self.index.items() if re.fullmatch(r"-?\d+", name)}
        if not numbers:  # where labels are numbers, a number is a label's name; otherwise its position
            numbers = {index: index for index in range(len(names))}
        self.index |= numbers | {str(number): index for number, index in numbers.items()}

    def __call__(self, value: Any) -> int:
        """Return the index of a label; raise ``ValueError`` for one that the task does not have."""
        with suppress(KeyError, TypeError):
            if not isinstance(value, bool):  # True equals 1 and would be taken for the second label
                return self.index[value]
        if value in (-1, "-1"):
            raise ValueError("the label is -1, which stands for 'not published'")
        known = ", ".join(self.names)
        raise ValueError(f"unknown label {quoted(value)}; the task's are {known} (see 'label_names')")


@dataclass(slots=True)
class Row:
    """The values of one row by column name. Methods raise ``ValueError``, to which the caller adds the place."""

    id: str
    values: Mapping[str, Any]
    labels: Labels

    def group(self, shared: str) -> str:
        """Return a hash that names the row's group: of its own group if it has one, otherwise of ``shared``."""
        given = self.values.get("group")
        return digest(("" if given is None else str(given)) or shared)

    def text(self, column: str) -> str:
        """Return a text, in Unicode's NFC."""
        return text(self.values[column], column)

    def items(self, column: str) -> Sequence[Any]:
        """Return a list."""
        value = self.values[column]
        if not isinstance(value, list | tuple):
            raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no list")
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """Return a list of texts, in Unicode's NFC."""
        return tuple(text(each, column) for each in self.items(column))

    def number(self, column: str) -> float:
        """Return a finite number, given as such or as a text with a decimal point."""
        value = self.values[column]
        with suppress(TypeError, ValueError):
            if not isinstance(value, bool) and math.isfinite(number := float(value)):
                return number
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no number")

    def label(self, column: str) -> int:
        """Return the index of the label that a column holds."""
        return self.labels(self.values[column])


def text(value: Any, column: str) -> str:
    """Return a text in Unicode's NFC; raise ``ValueError`` for any other value."""
    if not isinstance(value, str):
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no text")
    if value.isascii():
        return value
    value.encode()  # raises for half a surrogate pair, which JSON can hold and no tokenizer takes
    return unicodedata.normalize("NFC", value)


def digest(shared: str) -> str:
    """Return 16 hex digits that name a group of examples by what they share."""
    return hashlib.blake2b(shared.encode(), digest_size=8).hexdigest()
