"""Progress and remaining time of long work: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from rich import console as rich_console
from rich.console import ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

from flue_bench import escape

PLAIN_SECONDS = 30.0
"""Seconds between two lines of the same bar where there is no terminal."""


class Console(rich_console.Console):
    """A console that shows text as it is: nothing in it is markup, and nothing controls the terminal."""

    def __init__(self, **settings: Any) -> None:
        """Set what ``rich.console.Console`` takes."""
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a string as text, escaped before it is measured."""
        return super().render_str(escape.lines(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of anything, escaped; what rich itself tells the terminal passes."""
        for part in super().render(renderable, options):
            text = part.text if part.control else escape.lines(part.text)
            yield part if text is part.text else part._replace(text=text)


class Bar:
    """One piece of long work; ``update`` may be called at any rate and draws only as often as people can read."""

    def __init__(self, console: Console, live: Progress | None, title: str) -> None:
        """Start a bar; ``Display.bar`` calls this."""
        self.console, self.live, self.title = console, live, title
        self.task = live.add_task(title, total=None, detail="") if live else None
        self.began = time.monotonic()
        self.shown = self.began

    def due(self) -> bool:
        """Return whether an update would be drawn now; ask before computing an expensive detail."""
        return time.monotonic() - self.shown >= (0.25 if self.live else PLAIN_SECONDS)

    def update(self, done: int, total: int, detail: str = "") -> None:
        """Show ``done`` of ``total``, with a short detail."""
        if not self.due() and done < total:
            return
        self.shown = time.monotonic()
        if self.live and self.task is not None:
            self.live.update(self.task, completed=done, total=total, detail=detail)
        elif done < total:
            elapsed = time.monotonic() - self.began
            left = elapsed / max(done, 1) * (total - done)
            line = f"  {done}/{total}  {detail}  about {_clock(left)} left"
            self.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar; lines that were printed stay."""
        if self.live and self.task is not None:
            self.live.remove_task(self.task)


class Display:
    """Bars and lines on one console."""

    def __init__(self, console: Console) -> None:
        """Set the console to draw on."""
        self.console = console
        self.live: Progress | None = None
        self.said: set[str] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Show the live area during the block."""
        if not _draws(self.console):
            yield
            return
        columns: list[ProgressColumn] = [
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("left"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        ]
        # Columns that fit the width: the numbers that people wait for come first.
        if self.console.width >= 100:
            columns.insert(2, TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)))
        if self.console.width >= 130:
            columns.insert(1, BarColumn(bar_width=20))
        with Progress(*columns, console=self.console, transient=True, expand=True) as self.live:
            try:
                yield
            finally:
                self.live = None

    @contextlib.contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """Yield a bar for one piece of work; its title is printed where there is no terminal."""
        if self.live is None:
            self.line(title)
        bar = Bar(self.console, self.live, title)
        try:
            yield bar
        finally:
            bar.close()

    def line(self, text: str) -> None:
        """Print a line that stays on the screen or in the log."""
        self.console.print(text, soft_wrap=True)

    def once(self, text: str) -> None:
        """Print a line the first time only, for what holds for many cells."""
        if text not in self.said:
            self.said.add(text)
            self.line(text)


def _draws(console: Console) -> bool:
    """Return whether a console shows a live area: a terminal, or a notebook that has the package for it."""
    if console.quiet:
        return False
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Silence a library's log during a block: flue-bench checks and records what it warns about."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
