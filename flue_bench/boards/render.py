"""A board for the terminal, as Markdown, JSON and CSV. The same board gives the same bytes, without time or host."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from flue_bench import escape
from flue_bench.boards.board import OF_ROW, Board, Column, Entry, above_floor, of_overall
from flue_bench.boards.breaks import Names
from flue_bench.boards.curves import to_svg
from flue_bench.boards.latex import latex
from flue_bench.boards.overall import json_of
from flue_bench.boards.wording import (
    NONE,
    NOTHING,
    POWER_LINE,
    best_of,
    caption,
    interval_text,
    kept_row,
    kept_text,
    machine_text,
    marks,
    millions,
    name,
    notes,
    pair_name,
    percent,
    power_line,
    retention,
    seeds,
    setting_text,
    share,
    tables,
)

CSV_FIELDS = (
    *OF_ROW,
    "column",
    "task",
    "task_version",
    "data",
    "canonical",
    "limit",
    "train_rows",
    "metric",
    "seed",
    "score",
    "collapsed",
    "head",
    "device",
    "threads",
    "torch",
    "dirty",
    "mean",
    "low",
    "high",
    "outlying",
    "verdict",
    "no_verdict_because",
    "p_adjusted",
    "smallest_difference",
    "kept",
    "cell_digest",
    "predictions_sha256",
)
"""Fields of the CSV; the row's place in the overall and what it keeps above the floor follow where they were asked for,
then one column per machine, named after it: examples per second.

The fields from ``mean`` to ``kept`` describe the run's entry: its 95 % interval, the verdict against the column's best,
the smallest difference that its column shows in four of five cases, and its mean over that of the teacher.
"""


def terminal(board: Board) -> RenderableType:
    """Return the board for a rich console: four tasks fit 80 columns; a wider board continues in a second table."""
    return _Terminal(board)


def markdown(board: Board) -> str:
    """Return the board as a GitHub table, with its notes below."""
    from tabulate import tabulate

    best = best_of(board)
    lines = [NOTHING]
    if board.rows:
        cells = [
            [
                escape.markdown(name(row)),
                escape.markdown(setting_text(board, row)),
                millions(row),
                *(_markdown_entry(entry, mark) for entry, mark in zip(row.entries, best[i], strict=True)),
            ]
            for i, row in enumerate(board.rows)
        ]
        cells += [
            [
                escape.markdown(f"{board.rows[pair.student].label} / {board.rows[pair.teacher].label}"),
                kept_row(board, pair),
                share(pair.parameters),
                *(kept_text(kept).replace("\n", " ") for kept in pair.kept),
            ]
            for pair in board.pairs
        ]
        if power := power_line(board):
            cells.append([POWER_LINE, "points", "", *power])
        headers = [
            "model",
            "recipe",
            "parameters (M)",
            *(f"{escape.markdown(column.title)} {escape.code(column.metric)}" for column in board.columns),
        ]
        align = ["left", "left"] + ["right"] * (len(headers) - 2)
        table = tabulate(cells, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
        lines = [table, "", caption(board, "(n)")]
    for line in retention(board):
        lines += ["", escape.markdown(line)]
    for each in tables(board):
        align = ["right" if i in each.numbers else "left" for i in range(len(each.headers))]
        cells = [[escape.markdown(cell) for cell in line] for line in each.lines]
        table = tabulate(cells, each.headers, tablefmt="pipe", colalign=align, disable_numparse=True)
        lines += [
            "",
            f"{escape.markdown(each.title)}:",
            "",
            table,
            *(["", escape.markdown(each.caption)] if each.caption else []),
        ]
    for heading, said in notes(board).items():
        lines += ["", f"{heading}:", "", *(f"- {escape.markdown(note)}" for note in said)]
    return "\n".join(lines) + "\n"


def to_json(board: Board) -> str:
    """Return the whole board as JSON, scores as fractions of 1: all seeds, tasks of averaged columns, digests."""
    rows = [
        asdict(row)
        | {"entries": [None if entry is None else asdict(entry) | {"verdict": entry.verdict} for entry in row.entries]}
        for row in board.rows
    ]
    content: dict[str, Any] = {
        "metric": board.metric,
        "columns": [asdict(column) for column in board.columns],
        "rows": rows,
        "machines": [asdict(machine) for machine in board.machines],
        "pairs": [asdict(pair) for pair in board.pairs],
        "power": [power and asdict(power) for power in board.power],
        "published": [asdict(quote) for quote in board.quotes],
        "sources": board.sources,
        "failed": [note._asdict() for note in board.failed],
        "left_out": [note._asdict() for note in board.left_out],
    }
    if any(board.power_of_recipes):
        content["power_of_recipes"] = [power and asdict(power) for power in board.power_of_recipes]
    if board.overall:
        content["overall"] = json_of(board.overall)
    return escape.json(content)


def to_csv(board: Board) -> str:
    """Return the board as CSV: one line per run in an entry (one task, one seed), scores as fractions of 1."""
    out = io.StringIO()
    machines = [
        escape.csv(f"examples_per_second ({machine_text(each)}, batches of {each.batch_size}, sample {each.text[:6]})")
        for each in board.machines
    ]
    asked = [*of_overall(board, 0), *(above_floor(board, 0, board.columns[0]) if board.columns else ())]
    writer = csv.DictWriter(out, [*CSV_FIELDS, *asked, *machines], lineterminator="\n")
    writer.writeheader()
    kept = {pair.student: pair.kept for pair in board.pairs}
    for number, row in enumerate(board.rows):
        speeds = [speed and speed.examples_per_second for speed in row.speeds]
        of_teacher = kept.get(number, (None,) * len(board.columns))
        powers = board.power or (None,) * len(board.columns)
        for column, entry, part, power in zip(board.columns, row.entries, of_teacher, powers, strict=True):
            members = {member.task: member for member in column.members}
            for run in entry.runs if entry else ():
                line = {
                    **{each: getattr(row, each) for each in OF_ROW},
                    "column": column.title,
                    "task": run.task,
                    "task_version": members[run.task].version,
                    "data": members[run.task].data,
                    "canonical": str(column.canonical).lower(),
                    "limit": column.limit,
                    "train_rows": column.train_rows,
                    "metric": column.metric,
                    "seed": run.seed,
                    "score": run.score,
                    "collapsed": run.collapsed,
                    "head": run.head,
                    **{each: getattr(run, each) for each in ("device", "threads", "torch", "dirty")},
                    "mean": entry and entry.mean,
                    "low": entry and entry.interval and entry.interval.low,
                    "high": entry and entry.interval and entry.interval.high,
                    "outlying": entry and "; ".join(entry.outlying),
                    "verdict": entry and entry.verdict,
                    "no_verdict_because": entry and entry.versus and entry.versus.reason,
                    "p_adjusted": entry and entry.versus and entry.versus.p_adjusted,
                    "smallest_difference": power and power.smallest,
                    "kept": part and part.ratio,
                    "cell_digest": run.cell_digest,
                    "predictions_sha256": run.predictions_sha256,
                    **of_overall(board, number),
                    **above_floor(board, number, column),
                    **dict(zip(machines, speeds, strict=True)),
                }
                writer.writerow({key: escape.csv(value) for key, value in line.items()})
    return out.getvalue()


FORMATS: dict[str, Callable[[Board], str]] = {
    "markdown": markdown,
    "latex": latex,
    "json": to_json,
    "csv": to_csv,
    "svg": to_svg,
}
"""Text formats by name."""


@dataclass(frozen=True)
class _Terminal:
    board: Board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        board, best = self.board, best_of(self.board)
        if not board.rows:
            yield Text(NOTHING)
        widths = [
            max(
                *(len(line) for row in board.rows for line in _cell(row.entries[i]).splitlines()),
                *(len(line) for pair in board.pairs for line in kept_text(pair.kept[i]).splitlines()),
                *(len(word) for word in escape.plain(column.title).split()),
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
            yield Text(caption(board, "n"), style="dim")
        for line in retention(board):
            yield Text(f"\n{escape.plain(line)}")
        for each in tables(board):
            table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
            for i, header in enumerate(each.headers):
                table.add_column(header, justify="right" if i in each.numbers else "left", overflow="fold")
            for cells in each.lines:
                table.add_row(*(Names(escape.plain(cell)) for cell in cells))
            yield Text(f"\n{escape.plain(each.title)}", style="bold")
            yield table
            if each.caption:
                yield Text(escape.plain(each.caption), style="dim")
        for heading, said in notes(board).items():
            yield Text(f"\n{heading}", style="bold")
            for note in said:
                yield Padding(Text(escape.plain(note)), (0, 0, 0, 2), expand=False)

    def _table(self, part: list[int], widths: list[int], best: list[list[bool]], width: int) -> Table:
        board = self.board
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
        table.add_column("model", overflow="fold")
        for i in part:
            table.add_column(_heading(board.columns[i]), justify="right", width=widths[i], overflow="fold")
        room = width - sum(widths[i] + 2 for i in part)
        fits = room > 0
        for number, row in enumerate(board.rows):
            label = escape.plain(name(row))
            # A long name breaks after the organisation, not in the middle of a word.
            broken = label.replace("/", "/\n", 1) if len(label) > room else label
            setting = f"{setting_text(board, row)}, {millions(row)} M"
            table.add_row(
                Text.assemble(broken, "\n", (escape.plain(setting), "dim")),
                *(_entry(_cell(row.entries[i]), "bold" if best[number][i] else "", widths[i], fits) for i in part),
                end_section=number == len(board.rows) - 1,
            )
        for pair in board.pairs:
            table.add_row(
                _styled(pair_name(board, pair), ""),
                *(_styled(kept_text(pair.kept[i]), "") for i in part),
            )
        if line := power_line(board):
            table.add_row(_styled(f"{POWER_LINE}\npoints", ""), *(line[i] for i in part))
        return table


def _heading(column: Column) -> Text:
    return _styled(f"{escape.plain(column.title)}\n{escape.plain(column.metric)}", "bold")


def _styled(lines: str, style: str) -> Text:
    """Return the first line in a style and the others dim."""
    first, break_, below = lines.partition("\n")
    return Text.assemble((first, style), break_, (below, "dim"))


def _entry(lines: str, style: str, width: int, fits: bool) -> RenderableType:
    return _Fitting(lines, style, width) if fits else _styled(lines, style)


@dataclass(frozen=True)
class _Fitting:
    """What ``_styled`` returns, for a column that is wide enough: looking for breaks in thousands takes long."""

    lines: str
    style: str
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style(self.style) if self.style else None
        for line in self.lines.split("\n"):
            yield Segment(" " * (options.max_width - len(line)))
            yield Segment(line, style)
            yield Segment.line()
            style = console.get_style("dim")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return NONE
    interval = interval_text(entry.interval) if entry.interval else ""
    return "\n".join(filter(None, (f"{percent(entry, ' ±')}{marks(entry)}", interval, seeds(entry, "n={}"))))


def _markdown_entry(entry: Entry | None, best: bool) -> str:
    if entry is None:
        return NONE
    score = f"{percent(entry, ' ± ')}{marks(entry)}"
    interval = f" {interval_text(entry.interval)}" if entry.interval else ""
    return f"{f'**{score}**' if best else score}{interval}{seeds(entry, ' ({})')}"
