"""A board as a notebook shows it: plain tables without script, style sheet or anything fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from flue_bench import escape
from flue_bench.boards import wording
from flue_bench.boards.board import Board, Entry

HERE = Path(__file__).parent


def environment() -> Environment:
    """Return the engine of our HTML templates: every name in it is escaped, and none changes the text's direction."""
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escape.plain(value) if type(value) is str else value,
    )


@dataclass(frozen=True)
class _Table:
    title: str
    headers: list[str]
    lines: list[list[str]]
    numbers: frozenset[int]
    """Indexes of the columns that hold numbers."""
    below: list[str]
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    """Line and column of the cells whose first line is bold."""

    def side(self, column: int) -> str:
        return "right" if column in self.numbers else "left"

    def bold(self, line: int, column: int) -> bool:
        return (line, column) in self.best


def html(board: Board) -> str:
    """Return the board as a fragment of HTML, self-contained; the same board gives the same bytes."""
    tables = [_main(board)] if board.rows else [_Table(wording.NOTHING, [], [], frozenset(), [])]
    for each in wording.tables(board):
        below = [each.caption] if each.caption else []
        tables.append(_Table(each.title, each.headers, each.lines, frozenset(each.numbers), below))
    template = environment().from_string((HERE / "notebook.html").read_text(encoding="utf-8"))
    return template.render(tables=tables, notes=wording.notes(board))


def _main(board: Board) -> _Table:
    best = wording.best_of(board)
    lines = [
        [
            f"{wording.name(row)}\n{wording.setting_text(board, row)}",
            wording.millions(row),
            *map(_cell, row.entries),
        ]
        for row in board.rows
    ]
    lines += [
        [
            wording.pair_name(board, pair),
            wording.share(pair.parameters),
            *(wording.kept_text(kept) for kept in pair.kept),
        ]
        for pair in board.pairs
    ]
    if line := wording.power_line(board):
        lines.append([f"{wording.POWER_LINE}\npoints", "", *line])
    headers = ["model", "parameters (M)", *(f"{column.title}\n{column.metric}" for column in board.columns)]
    below = [wording.caption(board, "n"), *wording.retention(board)]
    bold = frozenset((row, 2 + i) for row, marks in enumerate(best) for i, mark in enumerate(marks) if mark)
    return _Table("", headers, lines, frozenset(range(1, len(headers))), below, bold)


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return wording.NONE
    interval = wording.interval_text(entry.interval) if entry.interval else ""
    lines = (f"{wording.percent(entry, ' ± ')}{wording.marks(entry)}", interval, wording.seeds(entry, "n={}"))
    return "\n".join(filter(None, lines))
