"""What commands that make records say around them: progress before, the board and where everything is after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flue_bench.errors import IncompleteError

if TYPE_CHECKING:
    from flue_bench.progress import Display
    from flue_bench.results.runs import Results


def made(
    make: Callable[[Display], Results],
    results: Path,
    again: str,
    opening: str | None = None,
    more: Callable[[Results], Iterable[str]] = lambda done: (),
    tuned: bool = False,
) -> None:
    """Make records, draw their board, and exit with 1 if some could not be made.

    Args:
        make: makes them, and shows its progress on what it is given.
        results: the folder that they are written to.
        again: what is said of those that were there before, after their number.
        opening: a line that comes first.
        more: lines about what was made.
        tuned: whether there was a search: without a record of its own, it leaves those on validation.
    """
    from flue_bench.memory import keep_freed_memory, set_modules_aside
    from flue_bench.progress import Console, Display

    keep_freed_memory()
    set_modules_aside()
    display = Display(Console(stderr=True))
    if opening:
        display.line(opening)
    incomplete = False
    try:
        done = make(display)
    except IncompleteError as error:  # each reason was printed when it came up
        done, incomplete = error.results, True
    if done.records or done.failures:
        from flue_bench.boards import rules  # not before: the first step need not wait for it

        Console().print(rules.build(done.records, done.failures))
    if done.reused:
        display.line(f"{done.reused} of {len(done)} {again}")
    for line in more(done):
        display.line(line)
    splits = {record.cell.split for record in done.records}
    shown = " --split validation" if splits == {"validation"} or (tuned and not splits) else ""
    display.line(f"Records: {results / 'runs'}   The whole board: flue-bench leaderboard --results {results}{shown}")
    if incomplete:
        raise typer.Exit(1)
