"""Where a long name breaks in a narrow column: after a mark within it, not in the middle of a word."""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_PIECES = re.compile(r"[^:/_.-]*[:/_.-]+|[^:/_.-]+")


def broken(text: str, width: int) -> str:
    """Return text with a line break in each word that is longer than ``width``, after one of ``: / _ . -``."""

    def word_broken(found: re.Match[str]) -> str:
        lines = [""]
        for piece in _PIECES.findall(found[0]):
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            lines[-1] += piece
        return "\n".join(lines)

    return re.sub(rf"\S{{{max(width, 0) + 1},}}", word_broken, text)


class Names:
    """Text of a table's cell whose long names break as ``broken`` says."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(broken(self.text, options.max_width), justify=options.justify, overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self.text))
