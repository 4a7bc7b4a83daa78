"""One row of a source as a kind of task reads it: texts in Unicode's NFC, labels as numbers, everything checked."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

from flue_bench.errors import quoted
from flue_bench.json_once import DECODER, KeyTwiceError
from flue_bench.task import AS_IOB2, nfc


class Skipped(Exception):
    """Raised for a row that holds no example; the message ("sentences without words") is shown with the count."""


class Labels:
    """Maps what the files of a source call a label to its index.

    A label is known by its name, in Unicode's NFC, or else by its position, from 0. Files have the one or the other:
    a ``0`` among names is a slip of the pen for O, and numbers without a 0 are counted from 1.
    """

    def __init__(
        self,
        names: Sequence[str],
        theirs: Mapping[str, str],
        scheme: str | None = None,
        separator: str | None = None,
    ) -> None:
        """Take the labels of a task.

        Args:
            names: the labels.
            theirs: what the files call a label → one of ``names``.
            scheme: BILOU or IOBES, if the files' tags are in that and ``names`` are in IOB2.
            separator: what parts several labels in one text, if the files have them so.
        """
        self.names, self.scheme, self.separator = tuple(names), scheme, separator
        self._index = {nfc(name): index for index, name in enumerate(names)}
        for tag, index in list(self._index.items()):
            self._index |= {
                prefix + tag[2:]: index for prefix, its in AS_IOB2.get(scheme or "", {}).items() if tag[:2] == its
            }
        self._index |= {nfc(name): self.names.index(ours) for name, ours in theirs.items()}
        # Where a name is a number, numbers are names and no positions.
        named = scheme or any(re.fullmatch(r"[-+]?\d+", name) for name in self._index)
        self._positions = {} if named else {index: index for index in range(len(names))}
        self._counted = False
        """Whether the files themselves say that their numbers are positions."""
        self._read: dict[str | int, int] = {}
        """Values that this column held before."""
        self._name: str = ""
        """The first of them that was a name."""
        self._number: str = ""
        """The first of them that was a position."""
        self._taken: set[int] = set()
        """The positions in all columns."""

    def __call__(self, value: Any) -> int:
        """Return the index of a label; raise ``ValueError`` for one that the task does not have."""
        if value.__class__ is str or value.__class__ is int:  # True equals 1, and so does 1.0
            index = self._read.get(value)
            if index is None:
                index = self._read[value] = self._first(value)
            return index
        return self._first(value)

    def next_column(self) -> None:
        """Forget whether labels were names or numbers: a split may have other files than the one before."""
        self._read, self._name, self._number = {}, "", ""

    def called(self, names: Sequence[str], file: str) -> str:
        """Hold the names that a file gives its numbers against the task's labels.

        Args:
            names: of the numbers from 0.
            file: the name of the file, for the message.

        Returns:
            A hint if the names are not those of the task, so that only the order can be taken for granted.

        Raises:
            ValueError: a number is another label there than its position says.
        """
        index = {name.casefold(): at for name, at in self._index.items()} | self._index
        ours = {i: index.get(nfc(name), index.get(nfc(name).casefold())) for i, name in enumerate(names)}
        if self.scheme and None not in ours.values():
            self._positions = {number: at for number, at in ours.items() if at is not None}
        if not self._positions or all(name == str(number) for number, name in enumerate(names)):
            return ""
        self._counted = True
        if all(self._positions.get(number) == at for number, at in ours.items()):
            return ""
        if any(at not in (None, self._positions.get(number)) for number, at in ours.items()):
            wanted = {str(number): at for number, at in ours.items() if at is not None}
            raise ValueError(
                f"its numbers stand for {', '.join(names)}, the task's labels are {', '.join(self.names)}: say "
                f"{self._naming(wanted)}"
            )
        return f"{file} calls its labels {', '.join(names)}; by position they are read as {', '.join(self.names)}"

    def knows(self, name: str) -> bool:
        """Return whether a text is the name of a label."""
        return nfc(name) in self._index

    def mark(self, text: str) -> str | None:
        """Return the mark that parts a text into labels of the task; None if it does not hold several of them."""
        for mark in SEPARATORS:
            parts = text.split(mark)
            if len(parts) > 1 and all(self.knows(part.strip()) for part in parts):
                return mark
        return None

    def check(self) -> None:
        """Raise ``ValueError`` if what was read are positions that are probably not counted from 0."""
        if self._taken and 0 not in self._taken and not self._counted:
            taken = sorted(self._taken)
            wanted = dict(zip(map(str, taken), range(len(self.names)), strict=False))
            raise ValueError(
                f"the labels are the numbers {', '.join(map(str, taken[:9]))}, never 0, which is '{self.names[0]}': "
                f"say what they stand for, such as {self._naming(wanted)}"
            )

    def _first(self, value: Any) -> int:
        """Read a value that was not met before."""
        name = nfc(value) if isinstance(value, str) else str(value)
        if isinstance(value, bool):
            name = name.lower() if name.lower() in self._index else name
        elif isinstance(value, float) and value.is_integer():
            name = str(int(value))
        if (index := self._index.get(name)) is not None and isinstance(value, str | int | float):
            if self._number:
                raise ValueError(self._mixed(value, f"'{self._number}' before it is a number", self._number))
            self._name = self._name or name
            return index
        number = isinstance(value, str | int | float) and not isinstance(value, bool) and _NUMBER.fullmatch(name)
        if number and (index := self._positions.get(int(name))) is not None:
            if self._name:
                raise ValueError(self._mixed(value, f"'{self._name}' before it is a name", name))
            self._number = name
            self._taken.add(int(name))
            return index
        raise ValueError(self._unknown(value, name))

    def _mixed(self, value: Any, other: str, number: str) -> str:
        index = self.names.index("O") if number == "0" and "O" in self.names else int(number)
        advice = self._naming({number: index})
        return f"label {quoted(value)}, but {other}: say what the number stands for, such as {advice}"

    def _unknown(self, value: Any, name: str) -> str:
        known = ", ".join(self.names)
        if value is None or value == "" or value != value:
            return f'the label is empty: {quoted(value)} (`drop_if` with "" leaves such rows out)'
        if name == "-1":
            return "the label is -1, which stands for 'not published' (`drop_if` with -1 leaves such rows out)"
        advice = "see 'label_names'"
        measured = re.compile(r"[-+]?\d+[.,]\d*[1-9]").fullmatch
        if isinstance(value, list | tuple):
            advice = "a label for each word needs kind 'tokens'"
        elif measured(name) and not any(map(measured, self._index)):
            advice = "a number that is measured needs a kind for numbers"
        elif isinstance(value, bool):
            advice = f"say which they are, such as {self._naming({'false': 0, 'true': 1})}"
        elif re.fullmatch(r"-?\d+\.0+", name):
            advice = f"say what it stands for, such as {self._naming({f'{i}.0': i for i in range(len(self.names))})}"
        elif _NUMBER.fullmatch(name) and self._positions:
            wanted = {str(number + 1): number for number in range(len(self.names))}
            advice = f"numbers are positions from 0; if they are not, {self._naming(wanted)}"
        elif wanted := self._otherwise(name):
            advice = f"say {self._naming(wanted)}"
        elif self.separator is not None and (mark := self.mark(name)):
            advice = f"it holds several: `separator = {json.dumps(mark)}` in the source parts them"
        for scheme, prefixes in AS_IOB2.items():
            if name[:2] in prefixes and prefixes[name[:2]] + name[2:] in self._index:
                advice = f'in {scheme} it would be one: `scheme = "{scheme}"`'
        return f"unknown label {quoted(value)}; the task's are {known} ({advice})"

    def _otherwise(self, name: str) -> dict[str, int]:
        """Return how files call the labels, if they have other capitals here than the task, or blanks around them."""
        for written in str.upper, str.capitalize, str.lower, str.title:
            if name in map(written, self.names):
                return {written(label): index for index, label in enumerate(self.names) if written(label) != label}
        return {name: self._index[name.strip()]} if name.strip() in self._index else {}

    def _naming(self, wanted: Mapping[str, int]) -> str:
        """Return the line of a source that names values."""
        pairs = [
            f"{json.dumps(name)} = {json.dumps(self.names[index], ensure_ascii=False)}"
            for name, index in wanted.items()
        ]
        return f"`label_names = {{ {', '.join(pairs)} }}` in the source"


SEPARATORS = (";", "|", ",", "/", "\t", " ")
"""Marks that files put between several labels in one cell."""
MOST_ITEMS = 2**22
"""Values of a list that is written as JSON in one cell: each takes many times its bytes in memory."""
_YES_NO = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_NUMBER = re.compile("-?[1-9][0-9]{0,17}|0")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Row:
    """The values of one row by column name. Methods raise ``ValueError``, to which the caller adds the place."""

    id: str
    values: Mapping[str, Any]
    labels: Labels
    options: Mapping[str, Any] = field(default_factory=dict)
    """``Task.options``."""

    def group(self, shared: str) -> str:
        """Return a hash that names the row's group: of its own group if it has one, otherwise of ``shared``."""
        given = self.values.get("group")
        return digest(("" if given is None else str(given)) or shared)

    def text(self, column: str) -> str:
        """Return a text, in Unicode's NFC."""
        return text(self.values[column], column)

    def untouched(self, column: str) -> str:
        """Return a text as it is, whose characters are counted elsewhere."""
        text(self.values[column], column)
        value: str = self.values[column]
        return value

    def text_or_none(self, column: str) -> str | None:
        """Return a text, in Unicode's NFC, or None where the row has none."""
        return None if self.values.get(column) is None else self.text(column)

    def items(self, column: str) -> Sequence[Any]:
        """Return a list, given as such or as JSON in a cell of text."""
        value = from_json(self.values[column])
        if isinstance(value, list | tuple):
            return value
        other = ""
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", "("):
            other = NO_JSON
        elif isinstance(value, str) and column in ("words", "tags"):
            other = (
                ": a text needs kind 'sentence', or 'sentence-pair' with another; words in a cell are a list in JSON"
            )
        elif isinstance(value, str):
            other = ' (in a cell of text a list is JSON, such as ["a", "b"])'
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no list{other}")

    def texts(self, column: str) -> tuple[str, ...]:
        """Return a list of texts, in Unicode's NFC."""
        return tuple(text(each, column) for each in self.items(column))

    def number(self, column: str) -> float:
        """Return a finite number, given as such or as a text with a decimal point."""
        value = self.values[column]
        if (number := plain_number(value)) is not None and math.isfinite(number):
            return number
        comma = isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d+,\d+\s*", value)
        advice = f": decimals are written with a point here, {value.strip().replace(',', '.')}" if comma else ""
        if value is None or value == "":
            advice = ' (`drop_if` with "" leaves such rows out)'
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no finite number{advice}")

    def several(self, column: str) -> list[int]:
        """Return the indexes of the labels that a column holds: a list, a text with a separator, or yes and no."""
        value, labels = self.values[column], self.labels
        if isinstance(value, Mapping):
            if value.keys() != {*labels.names}:
                raise ValueError(
                    f"the column for '{column}' holds {quoted(value)}: a zero or a one has to be there for each of "
                    f"{', '.join(labels.names)}"
                )
            return [labels.names.index(name) for name, cell in value.items() if self._yes(name, cell)]
        if labels.separator is None:
            value = from_json(value)
        if isinstance(value, str):
            if labels.separator is None:
                if value.lstrip()[:1] in ("[", "{", "("):
                    raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no list{NO_JSON}")
                mark = json.dumps(labels.mark(value) or "|")
                raise ValueError(
                    f"the column for '{column}' holds the text {quoted(value)}: say what parts its labels, such as "
                    f"`separator = {mark}` in the source"
                )
            if isinstance(from_json(value), list) and not labels.knows(value):
                raise ValueError(
                    f"the column for '{column}' holds {quoted(value)}, a list in JSON, which needs no separator: leave "
                    "`separator` out of the source"
                )
            parts = [part.strip() for part in value.split(labels.separator)] if value.strip() else []
            if "" in parts:
                raise ValueError(
                    f"the column for '{column}' holds {quoted(value)}: no label stands on one side of a "
                    f"'{labels.separator}'. Remove it there"
                )
            value = parts
        if not isinstance(value, list | tuple):
            raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no list of labels")
        if len(value) == len(labels.names) and all(each in (0, 1) for each in value):
            logical = any(isinstance(each, bool) for each in value) and not labels.knows("true")
            if logical or len({*value}) < len(value):
                raise ValueError(
                    f"the column for '{column}' holds {quoted(value)}, a zero or a one for each label: a list has the "
                    "labels themselves, by their names or by their positions from 0"
                )
        return [labels(each) for each in value]

    def _yes(self, name: str, cell: Any) -> bool:
        said = str(cell).strip().lower()
        if said not in _YES_NO:
            raise ValueError(f"the column for '{name}' holds {quoted(cell)}, which is neither 0 nor 1")
        return _YES_NO[said]

    def label(self, column: str) -> int:
        """Return the index of the label that a column holds."""
        return self.labels(self.values[column])


NO_JSON = (
    ': in a cell of text a list is JSON, such as ["a", "b"], and not as Python prints one. JSON lines and parquet hold '
    "lists as they are"
)
"""What is wrong with a text that looks like a list."""


def from_json(value: Any) -> Any:
    """Return the list or the object that a text spells in JSON, as tables hold them; any other value as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    if len(value) > MOST_ITEMS and sum(map(value.count, ",[{")) > MOST_ITEMS:
        raise ValueError(f"a cell holds more than {MOST_ITEMS:,} values: refused")
    try:
        return DECODER.decode(value)
    except KeyTwiceError:
        raise
    except (ValueError, RecursionError):
        return value


def plain(value: Any) -> Any:
    """Return a value in memory as a file would hold it.

    Numbers, texts and arrays of numpy, pandas and torch become Python's; what they have in place of null (NaN, NA)
    becomes None, in lists too.
    """
    if value.__class__ in (str, int, bool):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if value.__class__ in (list, tuple) else [plain(each) for each in value]
    if value.__class__.__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value


def plain_number(value: Any) -> float | None:
    """Return a number that is given as such, or as a text in decimal notation with ASCII digits; None for others.

    ``float`` alone also reads ``1_0`` as 10, digits of any script, and words such as ``inf``.
    """
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value.strip()) else None
    if isinstance(value, Number) and not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):  # complex numbers, and integers beyond all floats
            return float(value)  # type: ignore[arg-type]
    return None


def text(value: Any, column: str) -> str:
    """Return a text in Unicode's NFC; raise ``ValueError`` for any other value."""
    if not isinstance(value, str):
        other = ": a list of words needs kind 'tokens'" if isinstance(value, list | tuple) else ""
        raise ValueError(f"the column for '{column}' holds {quoted(value)}, which is no text{other}")
    if value.isascii():
        return value
    value.encode()  # raises for half a surrogate pair, which JSON can hold and no tokenizer takes
    return nfc(value)


def digest(shared: str) -> str:
    """Return 16 hex digits that name a group of examples by what they share."""
    return hashlib.blake2b(shared.encode(), digest_size=8).hexdigest()
