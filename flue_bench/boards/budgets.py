"""Validation score against the number of points tried: would the order of tuned rows change with more tuning?

It follows from the board alone. The scores are those on validation, by which points are chosen; how the final runs
score on test stands in the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from flue_bench.boards.board import Board, Tuned
from flue_bench.results.rows import grouped
from flue_bench.statistics.budget import Expected, expected_best


@dataclass(frozen=True)
class Line:
    """One row of the board on one task."""

    row: int
    """Its index on the board, from 0."""
    expected: tuple[Expected, ...]
    """The score on validation of the best of 1, 2, … points."""
    model: str = ""
    """The name of one of several distillations that are the row; each has its own search."""


@dataclass(frozen=True)
class Budget:
    """Tuned rows on one task."""

    task: str
    metric: str
    lines: tuple[Line, ...]


def of(board: Board) -> list[Budget]:
    """Return the tasks of a board on which a recipe was searched, in the order of its columns."""
    tuned = [
        (each, number)
        for i in range(len(board.columns))
        for number, row in enumerate(board.rows)
        if (entry := row.entries[i])
        for each in entry.tuned
    ]
    return [
        Budget(
            task,
            metric,
            tuple(Line(number, tuple(expected_best(in_order(each))), each.model) for each, number in of_task),
        )
        for (task, metric), of_task in grouped(tuned, lambda one: (one[0].task, one[0].metric)).items()
    ]


def in_order(tuned: Tuned) -> list[float]:
    """Return the scores of all points, that of the point that would be chosen last; a diverged one has 0."""
    points = zip(tuned.standing, (score or 0.0 for score in tuned.scores), strict=True)
    return [score for _, score in sorted(points)]


def changes(one: Line, other: Line) -> list[int]:
    """Return the budgets at which the order of two lines is another than with one point fewer; equals have none."""
    signs = [(a.mean > b.mean) - (a.mean < b.mean) for a, b in zip(one.expected, other.expected, strict=False)]
    found, before = [], 0
    for points, sign in enumerate(signs, 1):
        if sign and before and sign != before:
            found.append(points)
        before = sign or before
    return found


def pairs(budget: Budget) -> list[tuple[Line, Line]]:
    """Return the lines of different rows two by two."""
    return [(one, other) for one, other in combinations(budget.lines, 2) if one.row != other.row]
