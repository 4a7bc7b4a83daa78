"""Curves of a board: score against the labels that a model learnt from, and against how far its training had come.

Both follow from the board alone. A learning curve is what columns have in common that differ in ``--train-rows`` only;
a training's curve, the rows of its checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flue_bench import svg
from flue_bench.boards import budgets, wording
from flue_bench.boards.board import Board, Column, Entry, Row
from flue_bench.errors import UsageError
from flue_bench.results.rows import grouped


@dataclass(frozen=True)
class Point:
    """One entry of the board on a curve."""

    x: int
    """Rows of train, steps or tokens."""
    entry: Entry
    of_all: float | None
    """Its score over that of the last point; None where that is not above 0, or runs of either collapsed."""


@dataclass(frozen=True)
class Line:
    """One model's curve, or one training's."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curve:
    """One picture."""

    title: str
    metric: str
    x: str
    """The meaning of the x axis."""
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def of(board: Board) -> list[Curve]:
    """Return the curves of a board: first of labels, then of trainings."""
    return [*_of_labels(board), *_of_trainings(board)]


def _of_labels(board: Board) -> Iterator[Curve]:
    columns = grouped(range(len(board.columns)), lambda i: _apart_from_rows(board.columns[i]))
    for same in columns.values():
        sizes = sorted(same, key=lambda i: board.columns[i].served)
        if len({board.columns[i].served for i in sizes}) < 2:
            continue
        whole = board.columns[sizes[-1]]
        lines = [
            _line(
                _title(board, row), [(board.columns[i].served, row.entries[i] if row.trained else None) for i in sizes]
            )
            for row in board.rows
        ]
        if any(len(line.points) > 1 for line in lines):
            yield Curve(
                title=f"{whole.name}{'' if whole.limit is None else f' limit {whole.limit:,}'}",
                metric=whole.metric,
                x="rows of train",
                lines=tuple(line for line in lines if line.points),
                notes=(
                    *(said for pair in board.pairs if (said := _needed(lines[pair.student], lines[pair.teacher]))),
                    "Rows are drawn anew for each seed: an interval over seeds covers another choice of labels.",
                ),
            )


def _needed(student: Line, teacher: Line) -> str:
    """Return with how many rows a student's mean is that of its teacher, for each number of rows of the teacher."""
    if not student.points or not teacher.points:
        return ""
    said = []
    for theirs in teacher.points:
        enough = [ours.x for ours in student.points if ours.entry.stands and ours.entry.mean >= theirs.entry.mean]
        needed = f"{min(enough):,}" if enough else f"more than {student.points[-1].x:,}"
        said += [f"{needed} rows for its {theirs.x:,}"] if theirs.entry.stands else []
    return f"To have the mean of {teacher.label}, {student.label} needs {', '.join(said)}." if said else ""


def _apart_from_rows(column: Column) -> Column:
    return replace(column, title="", train_rows=None, served=0, deviations=())


def _of_trainings(board: Board) -> Iterator[Curve]:
    unknown = sorted(row.label for row in board.rows if row.checkpoint is None and _CHECKPOINT.search(row.label))
    saved = [(row, checkpoint) for row in board.rows if (checkpoint := row.checkpoint) is not None]
    trainings = grouped(saved, lambda each: (each[1].training, *each[0].key[1:]))
    for i, column in enumerate(board.columns):
        lines: list[Line] = []
        notes: list[str] = []
        counted = all(checkpoint.tokens is not None for row, checkpoint in saved if row.entries[i])
        for of_training in trainings.values():
            there = [
                ((checkpoint.tokens or 0) if counted else checkpoint.step, row)
                for row, checkpoint in of_training
                if row.entries[i]
            ]
            if len(there) < 2:
                continue
            row, checkpoint = of_training[0]
            name = _title(board, _called(row, checkpoint.name))
            if len({x for x, _ in there}) < len(there):
                notes.append(f"{name}: not drawn, since several checkpoints say the same step.")
                continue
            lines.append(_line(name, [(x, row.entries[i]) for x, row in sorted(there, key=lambda each: each[0])]))
        if lines:
            notes += [f"{label}: its folder does not say how far its training had come." for label in unknown]
            x = "tokens read" if counted else "optimiser steps"
            yield Curve(f"{column.title}: checkpoints", column.metric, x, tuple(lines), tuple(notes))


_CHECKPOINT = re.compile(r"^checkpoint-\d+")


def _line(label: str, entries: list[tuple[int, Entry | None]]) -> Line:
    there = [(x, entry) for x, entry in entries if entry]
    last = there[-1][1] if there else None
    return Line(label, tuple(Point(x, entry, _share(entry, last)) for x, entry in there))


def _title(board: Board, row: Row) -> str:
    return f"{row.label} ({wording.setting_text(board, row)})"


def _called(row: Row, name: str) -> Row:
    """Return a row under another name, if there is one."""
    return replace(row, label=name) if name else row


def _share(entry: Entry, last: Entry | None) -> float | None:
    return entry.mean / last.mean if last and last.mean > 0 and entry.stands and last.stands else None


def table(curve: Curve) -> wording.Table:
    """Return the figures of a picture, with epochs at each point and how much of the last point's score it has."""
    lines = [
        [
            line.label if point is line.points[0] else "",
            f"{point.x:,}",
            f"{wording.percent(point.entry, ' ± ')}{wording.marks(point.entry)}",
            wording.interval_text(point.entry.interval) if point.entry.interval else "",
            str(point.entry.n),
            ", ".join(map(str, point.entry.epochs)),
            "" if point.of_all is None else wording.share(point.of_all),
        ]
        for line in curve.lines
        for point in line.points
    ]
    headers = ["model", curve.x, curve.metric, "95 % interval", "seeds", "epochs", "of its last point"]
    return wording.Table(curve.title, headers, lines, " ".join(curve.notes), (1, 2, 3, 4, 5, 6))


def to_svg(board: Board) -> str:
    """Return all curves of a board as one SVG.

    Raises:
        UsageError: it has none.
    """
    if not (panels := _panels(of(board)) + _of_budgets(board)):
        raise UsageError(
            "No curve: it takes records of several --train-rows, of several checkpoints of one training, or of a "
            "--search. See docs/checkpoints-and-curves.md and docs/tuning.md."
        )
    return _drawn_below(panels)


def draw(curves: list[Curve]) -> str:
    """Return an SVG of the curves, one below the other; there is at least one."""
    return _drawn_below(_panels(curves))


def pictures(board: Board) -> list[tuple[str, wording.Table]]:
    """Return each curve of a board as a small SVG whose title is that of its figures, with these."""
    found = of(board)
    panels = [*_panels(found), *_of_budgets(board)]
    tables = [*(table(curve) for curve in found), *wording.budgets_tables(board)]
    letters = set(wording.letters(board))

    def short(name: str) -> str:
        """Return a name with its setting's letter for the setting, which has no room."""
        for letter, setting in letters:
            if name.endswith(f" ({setting})"):
                return name.removesuffix(f"({setting})") + (letter if len(letters) > 1 else "")
        return name

    small = [
        replace(
            panel,
            title=panel.title.rpartition(": ")[2],
            lines=[replace(line, name=short(line.name)) for line in _several(panel.lines)],
        )
        for panel in panels
    ]
    return [(svg.draw([panel], 460, 270, 1), figures) for panel, figures in zip(small, tables, strict=True)]


def _several(lines: Sequence[svg.Line]) -> Sequence[svg.Line]:
    """Return the lines of more than one point: one alone says little in a small picture, and stands in the figures."""
    return [line for line in lines if len(line.points) > 1] or lines


def _drawn_below(panels: list[svg.Panel]) -> str:
    return svg.draw(panels, width=640, height=320, columns=1)


def _of_budgets(board: Board) -> list[svg.Panel]:
    """Return the expected best of a search against its points, a panel a task."""
    return [
        svg.Panel(
            title=f"{budget.task}: {budget.metric} on validation, best of so many points (%)",
            lines=[
                svg.Line(
                    (name := _title(board, _called(board.rows[line.row], line.model))),
                    [
                        svg.Point(x=n, y=100 * each.mean, said=f"{name}, best of {n}: {100 * each.mean:.2f}")
                        for n, each in enumerate(line.expected, 1)
                    ],
                )
                for line in budget.lines
            ],
            x_title="points tried",
            from_zero=False,
            stacked=True,
        )
        for budget in budgets.of(board)
    ]


def _panels(curves: list[Curve]) -> list[svg.Panel]:
    return [
        svg.Panel(
            title=f"{curve.title}: {curve.metric} (%)",
            lines=[svg.Line(line.label, [_drawn(line, point) for point in line.points]) for line in curve.lines],
            x_title=curve.x,
            logarithmic=curve.x == "rows of train",
            from_zero=False,
            stacked=True,
        )
        for curve in curves
    ]


def _drawn(line: Line, point: Point) -> svg.Point:
    entry = point.entry
    interval = entry.interval
    said = f"{line.label}, {point.x:,}: {wording.percent(entry, ' ± ')}{wording.marks(entry)}"
    return svg.Point(
        x=point.x,
        y=100 * entry.mean,
        low=100 * interval.low if interval else None,
        high=100 * interval.high if interval else None,
        said=f"{said} {wording.interval_text(interval)}" if interval else said,
    )
