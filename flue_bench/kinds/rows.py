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
    """A row that holds no example. Its message, such as "sentences without words", is told with how many there were."""


class Labels:
    """From what a file calls a label to its index."""

    def __init__(self, names: Sequence[str], theirs: Mapping[str, str]) -> None:
        """``names`` are the task's labels, ``theirs`` maps what the file calls a label to one of them."""
        self.names = tuple(names)
        self.index: dict[Any, int] = {label: index for index, label in enumerate(names)}
        self.index |= {name: self.names.index(ours) for name, ours in theirs.items()}
        numbers = {int(name): index for name, index in self.index.items() if re.fullmatch(r"-?\d+", name)}
        if not numbers:  # labels that are numbers themselves say what a number means; else it is a label's place
            numbers = {index: index for index in range(len(names))}
        self.index |= numbers | {str(number): index for number, index in numbers.items()}

    def __call__(self, value: Any) -> int:
        """The index of a label. Raises ``ValueError`` for one that the task does not have."""
        with suppress(KeyError, TypeError):
            if not isinstance(value, bool):  # True equals 1, and would be whichever label stands second
                return self.index[value]
        if value in (-1, "-1"):
            raise ValueError("the label is -1, which stands for 'not published'")
        known = ", ".join(self.names)
        raise ValueError(f"unknown label {quoted(value)}; the task's are {known} (see 'label_names')")


@dataclass(slots=True)
class Row:
    """The values of one row, by the names of columns. Methods raise ``ValueError``, to which the place is added."""

    id: str
    values: Mapping[str, Any]
    labels: Labels

    def group(self, shared: str) -> str:
        """A hash of what examples share: of the row's own group where it has one, otherwise of ``shared``."""
        given = self.values.get("group")
        return digest(("" if given is None else str(given)) or shared)

    def text(self, column: str) -> str:
        """A text, in Unicode's NFC."""
        return text(self.values[column], column)

    def items(self, column: str) -> Sequence[Any]:
        """A list."""
        value = self.values[column]
        if not isinstance(value, list | tuple):
            raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no list")
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts, in Unicode's NFC."""
        return tuple(text(each, column) for each in self.items(column))

    def number(self, column: str) -> float:
        """A finite number, or a text that spells one with a decimal point."""
        value = self.values[column]
        with suppress(TypeError, ValueError):
            if not isinstance(value, bool) and math.isfinite(number := float(value)):
                return number
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no number")

    def label(self, column: str) -> int:
        """The index of the label that a column holds."""
        return self.labels(self.values[column])


def text(value: Any, column: str) -> str:
    """A value that is a text, in Unicode's NFC; ``ValueError`` for any other."""
    if not isinstance(value, str):
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no text")
    if value.isascii():
        return value
    value.encode()  # raises for half a surrogate pair, which JSON can hold and no tokenizer takes
    return unicodedata.normalize("NFC", value)


def digest(shared: str) -> str:
    """16 hex digits that name a group of examples by what they share."""
    return hashlib.blake2b(shared.encode(), digest_size=8).hexdigest()
