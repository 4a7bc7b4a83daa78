"""Text of strangers, escaped for the medium that shows it: one function per medium.

What a record, a task file, a model's configuration or a server says may be written to control a terminal, to change the
direction of a line, to add a heading, a link or a row, or to run as a formula or a macro. All that flue-bench prints
for people goes through here: ``progress.Console`` and ``cli.output`` apply ``lines`` to whatever they print, and each
format of a board or a card escapes what it puts in a document. HTML is escaped by Jinja, after ``plain``.

Letters, accents and signs stay as they are. A bare web address stays one, since it shows where it leads.
"""

from __future__ import annotations

import json as json_
import re
import unicodedata
from typing import Any


def lines(text: str) -> str:
    """Return text of several lines for a terminal, with what it cannot show spelt out: ``\\x1b``, ``\\u202e``."""
    if text.isprintable() or _ORDINARY(text):  # the quick way for almost all texts
        return text
    return "".join(c if _fit(c) else _spelt(c) for c in text)


def plain(text: str) -> str:
    """Return text on one line without control and direction characters, as all formats of a board show a name."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(text: str) -> str:
    """Return text that Markdown shows literally, wherever it stands in a line."""
    text = _MARKDOWN.sub(r"\\\g<0>", plain(text).lstrip())  # four blanks would begin a block of code
    return _BEGIN.sub(r"\g<1>\\\g<2>", text)


def code(text: str) -> str:
    """Return text as code in a line of Markdown or in a cell of a table, where a bar would end the cell."""
    text = plain(text).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if "`" in text or not text.strip() else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def csv(value: Any) -> Any:
    """Return a value for a cell that spreadsheets show literally: an apostrophe before what they take for a formula.

    Numbers stay numbers. Where a spreadsheet cuts cells at semicolons, the text after one begins a cell too.
    """
    return _FORMULA.sub(r"\g<0>'", plain(value)) if isinstance(value, str) else value


def latex(text: str) -> str:
    """Return text that LaTeX prints literally, in running text and in tables."""
    return "".join(_LATEX.get(c, c) for c in plain(text))


def data(value: Any) -> Any:
    """Return strings, keys of dictionaries and what lists hold as ``plain`` gives them, for YAML, which quotes them."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {data(key): data(item) for key, item in value.items()}
    return [data(item) for item in value] if isinstance(value, list | tuple) else value


def json(value: Any, indent: int = 2) -> str:
    """Return JSON in ASCII, so that no name can control a terminal.

    Raises:
        ValueError: a number is infinite or NaN, which JSON cannot hold.
    """
    return json_.dumps(value, indent=indent, allow_nan=False) + "\n"


_ORDINARY = re.compile(r"[\n -~]*").fullmatch

_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&$#!]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that mean something to Markdown; an underscore within a word does not."""
_BEGIN = re.compile(r"^(\d{0,9})([-+.)=])(?=[\s=-]|$)")
"""Marks that begin a list, or underline the line above as a heading."""
_FORMULA = re.compile(r'(?:^|;)[\s"]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])')
"""Places where a spreadsheet takes what follows for a formula; some also know the wide forms of the signs.
A quote after a semicolon is no text to them: it opens the cell, or closes it."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "≈": r"$^{\approx}$",
    "↓": r"$^{\downarrow}$",
    "¶": r"\textsuperscript{\P}",
    "§": r"$^{\S}$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "\N{EN DASH}": "--",
    "\N{REPLACEMENT CHARACTER}": "?",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    # Two of these in a row would be a ligature; a bracket or a star after a line's end would be its argument.
    **{c: f"{{{c}}}" for c in "[]*-`'"},
}


def _fit(char: str) -> bool:
    return char.isprintable() or char == "\n" or unicodedata.category(char) == "Zs"


def _spelt(char: str) -> str:
    return char.encode("unicode_escape").decode()
