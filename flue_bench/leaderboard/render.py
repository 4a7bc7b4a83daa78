"""A board drawn for the terminal, as Markdown, JSON and CSV. The same board gives the same bytes: no time, no host."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flue_bench.leaderboard.board import Board, Column, Entry, Row

COLLAPSED = "†"
NONE = "\N{EN DASH}"
CAPTION = "Test scores in percent: mean ± sample standard deviation over n seeds."
NOTHING = "No model has a whole entry yet."

CSV_FIELDS = (
    "model",
    "revision",
    "model_digest",
    "recipe",
    "precision",
    "protocol",
    "parameters",
    "column",
    "task",
    "task_version",
    "data",
    "canonical",
    "limit",
    "metric",
    "seed",
    "score",
    "collapsed",
    "cell_digest",
    "predictions_sha256",
)


def terminal(board: Board) -> RenderableType:
    """The board for a rich console: four tasks fit 80 columns; what is wider goes on in a second table."""
    return _Terminal(board)


def markdown(board: Board) -> str:
    """The board as a GitHub table, with its notes below."""
    from tabulate import tabulate

    best = _best(board)
    lines = [NOTHING]
    if board.rows:
        cells = [
            [
                _escaped(row.label),
                _escaped(_setting(board, row)),
                f"{row.parameters / 1e6:,.1f}",
                *(_markdown_entry(entry, mark) for entry, mark in zip(row.entries, best[i], strict=True)),
            ]
            for i, row in enumerate(board.rows)
        ]
        headers = [
            "model",
            "recipe",
            "parameters (M)",
            *(f"{_escaped(column.title)} `{_plain(column.metric)}`" for column in board.columns),
        ]
        align = ["left", "left"] + ["right"] * (len(headers) - 2)
        table = tabulate(cells, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
        lines = [table, "", CAPTION.replace("over n seeds", "over (n) seeds")]
    for heading, notes in _notes(board).items():
        lines += ["", f"{heading}:", "", *(f"- {_escaped(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def to_json(board: Board) -> str:
    """The whole board, scores as fractions of 1: every seed, every task of an averaged column, every digest."""
    rows = [
        asdict(row) | {"entries": [None if entry is None else asdict(entry) for entry in row.entries]}
        for row in board.rows
    ]
    content = {
        "metric": board.metric,
        "columns": [asdict(column) for column in board.columns],
        "rows": rows,
        "failed": [note._asdict() for note in board.failed],
        "left_out": [note._asdict() for note in board.left_out],
    }
    # ASCII, so that no name can drive a terminal.
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"


def to_csv(board: Board) -> str:
    """Long form: one line for each run that counts in an entry (one task, one seed), scores as fractions of 1."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in board.rows:
        for column, entry in zip(board.columns, row.entries, strict=True):
            members = {member.task: member for member in column.members}
            for run in entry.runs if entry else ():
                line = {
                    "model": row.model,
                    "revision": row.revision,
                    "model_digest": row.model_digest,
                    "recipe": row.recipe,
                    "precision": row.precision,
                    "protocol": row.protocol,
                    "parameters": row.parameters,
                    "column": column.title,
                    "task": run.task,
                    "task_version": members[run.task].version,
                    "data": members[run.task].data,
                    "canonical": str(column.canonical).lower(),
                    "limit": column.limit,
                    "metric": column.metric,
                    "seed": run.seed,
                    "score": run.score,
                    "collapsed": run.collapsed,
                    "cell_digest": run.cell_digest,
                    "predictions_sha256": run.predictions_sha256,
                }
                writer.writerow({key: _plain(v) if isinstance(v, str) else v for key, v in line.items()})
    return out.getvalue()


FORMATS: dict[str, Callable[[Board], str]] = {"markdown": markdown, "json": to_json, "csv": to_csv}
"""Those that are text, by name."""


@dataclass(frozen=True)
class _Terminal:
    board: Board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        board, best = self.board, _best(self.board)
        if not board.rows:
            yield Text(NOTHING)
        widths = [
            max(
                *(len(line) for row in board.rows for line in _cell(row.entries[i]).splitlines()),
                *(len(word) for word in _plain(column.title).split()),
                min(len(column.metric), 15),
            )
            for i, column in enumerate(board.columns)
        ]
        shown = list(range(len(board.columns))) if board.rows else []
        while shown:
            # The model's name keeps at least 21 positions, and a table at least one column.
            count, room = 0, options.max_width - 21
            while count < len(shown) and (not count or room >= widths[shown[count]] + 2):
                room -= widths[shown[count]] + 2
                count += 1
            part, shown = shown[:count], shown[count:]
            yield self._table(part, widths, best, options.max_width)
            yield Text()
        if board.rows:
            yield Text(CAPTION, style="dim")
        for heading, notes in _notes(board).items():
            yield Text(f"\n{heading}", style="bold")
            for note in notes:
                yield Padding(Text(_plain(note)), (0, 0, 0, 2), expand=False)

    def _table(self, part: list[int], widths: list[int], best: list[list[bool]], width: int) -> Table:
        board = self.board
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
        table.add_column("model", overflow="fold")
        for i in part:
            table.add_column(_heading(board.columns[i]), justify="right", width=widths[i], overflow="fold")
        room = width - sum(widths[i] + 2 for i in part)
        for number, row in enumerate(board.rows):
            label = _plain(row.label)
            # A long name breaks after the organisation, not in the middle of a word.
            name = label.replace("/", "/\n", 1) if len(label) > room else label
            setting = f"{_setting(board, row)}, {row.parameters / 1e6:,.1f} M"
            table.add_row(
                Text.assemble(name, "\n", (_plain(setting), "dim")),
                *(_styled(_cell(row.entries[i]), "bold" if best[number][i] else "") for i in part),
            )
        return table


def _heading(column: Column) -> Text:
    return _styled(f"{_plain(column.title)}\n{_plain(column.metric)}", "bold")


def _styled(lines: str, style: str) -> Text:
    """The first line in a style, what is below it dim."""
    first, break_, below = lines.partition("\n")
    return Text.assemble((first, style), break_, (below, "dim"))


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return NONE
    return f"{_percent(entry, ' ±')}{COLLAPSED if entry.collapsed else ''}\nn={entry.n}"


def _markdown_entry(entry: Entry | None, best: bool) -> str:
    if entry is None:
        return NONE
    score = f"{_percent(entry, ' ± ')}{COLLAPSED if entry.collapsed else ''}"
    return f"{f'**{score}**' if best else score} ({entry.n})"


def _percent(entry: Entry, spread: str) -> str:
    return f"{100 * entry.mean:.2f}" + ("" if entry.sd is None else f"{spread}{100 * entry.sd:.2f}")


def _setting(board: Board, row: Row) -> str:
    protocol = f", protocol {row.protocol}" if len({row.protocol for row in board.rows}) > 1 else ""
    return f"{row.recipe}, {row.precision}{protocol}"


def _best(board: Board) -> list[list[bool]]:
    """By row and column: is this the best entry, as printed, of at least two?"""
    best = [[False] * len(board.columns) for _ in board.rows]
    for i in range(len(board.columns)):
        means = {
            number: round(100 * entry.mean, 2)
            for number, row in enumerate(board.rows)
            if (entry := row.entries[i]) is not None
        }
        for number, mean in means.items():
            best[number][i] = len(means) > 1 and mean == max(means.values())
    return best


def _notes(board: Board) -> dict[str, list[str]]:
    """Heading → lines; only what there is."""
    collapsed = [
        f"{row.label} ({_setting(board, row)}), {column.title}: {words}"
        for row in board.rows
        for column, entry in zip(board.columns, row.entries, strict=True)
        for words in (entry.collapsed if entry else ())
    ]
    data = [f"{column.title}: {words}" for column in board.columns for words in column.deviations]
    notes = {
        f"{COLLAPSED} Collapsed runs, averaged all the same": collapsed,
        "Data that is not as published": data,
        "Failed": [f"{what}: {reason}" for what, reason in board.failed],
        "Left out": [f"{what}: {reason}" for what, reason in board.left_out],
    }
    return {heading: lines for heading, lines in notes.items() if lines}


def _plain(text: str) -> str:
    """Without control and direction characters: a name from a foreign record must not drive the terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _escaped(text: str) -> str:
    """Plain text for Markdown; an underscore within a word needs no escape."""
    return re.sub(r"[\\`*\[\]<>|~&$#!]|(?<!\w)_|_(?!\w)", r"\\\g<0>", _plain(text))
