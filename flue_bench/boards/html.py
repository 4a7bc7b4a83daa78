"""A board as one HTML file that makes no request: sortable, with the details of each number."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flue_bench import escape
from flue_bench.boards import curves, wording
from flue_bench.boards.board import Board, Entry, Row, Run
from flue_bench.boards.notebook import environment
from flue_bench.errors import RecordError
from flue_bench.kinds.kind import Kind, kind_of
from flue_bench.record import ClassScores, RunRecord
from flue_bench.results.comparison import Evidence
from flue_bench.results.rows import RunKey, by_run

HERE = Path(__file__).parent

CLASSES = 200
"""The largest number of labels whose confusion matrix is shown."""

Link = Callable[[Run], str | None]
"""A function that returns the path of a run's record, relative to the file that is written."""


def html(board: Board, records: Iterable[RunRecord], evidence: Evidence, link: Link) -> str:
    """Return the board as a page of its own; the same board gives the same bytes.

    Every name is escaped, and the page's policy lets no script run but its own.

    Args:
        board: the board of these records.
        records: as given to ``board.build``.
        evidence: the source of their predictions, for the confusion matrices.
        link: see ``Link``.
    """
    records_of = by_run(records)
    script = (HERE / "board.js").read_text(encoding="utf-8")
    scales = [_scale([row.entries[i] for row in board.rows]) for i in range(len(board.columns))]
    template = environment().from_string((HERE / "board.html").read_text(encoding="utf-8"))
    return template.render(
        board=board,
        say=wording,
        plain=escape.plain,  # before a filter that gives markup, which is not escaped again
        caption=wording.caption(board, "n"),
        best=wording.best_of(board),
        scales=scales,
        curves=curves.pictures(board),
        plots=[plot for i in range(len(board.machines)) if (plot := _plot(board, i))],
        details=lambda entry: _details(entry, records_of, evidence),
        link=link,
        style=(HERE / "board.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


class Scale(NamedTuple):
    """A scale from values to positions on a strip or an axis."""

    low: float
    high: float

    def __call__(self, value: float, start: float, end: float) -> float:
        """Return the position of a value between ``start`` and ``end``."""
        return round(start + (end - start) * (value - self.low) / ((self.high - self.low) or 1), 1)

    def ticks(self) -> list[float]:
        """Return four to eight round values."""
        step = 10 ** math.floor(math.log10(self.high - self.low))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if (self.high - self.low) / (step * part) <= 8)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def _scale(entries: Sequence[Entry | None]) -> Scale:
    """Return one scale for a column, so that its strips can be compared."""
    there = [entry for entry in entries if entry]
    ends = [end for entry in there if entry.interval for end in (entry.interval.low, entry.interval.high)] + [
        score for entry in there for score in entry.scores
    ]
    return Scale(min(ends, default=0.0), max(ends, default=1.0))


class Mark(NamedTuple):
    """One row of the board in the picture."""

    x: float
    y: float
    radius: float
    """Radius of a mark whose area represents the parameters."""
    label: str
    label_x: float
    label_y: float
    anchor: str
    title: str
    front: bool


class Plot(NamedTuple):
    """Plot of score against speed on one machine, in a box of 460 by 300."""

    machine: str
    said: str
    marks: list[Mark]
    front: str
    """Points of the line along the Pareto front."""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


LEFT, RIGHT, TOP, BOTTOM = 44.0, 448.0, 14.0, 262.0
"""The plotting area's edges in the picture."""


def _plot(board: Board, machine: int) -> Plot | None:
    """Plot the rows whose speed this machine measured, by their mean over the columns that all of them have."""
    fast = [(row, speed) for row in board.rows if (speed := row.speeds[machine])]
    shared = [i for i in range(len(board.columns)) if all(row.entries[i] for row, _ in fast)]
    if not fast or not shared:
        return None

    def stands(row: Row) -> bool:
        return all(entry.stands for i in shared if (entry := row.entries[i]))

    def score(row: Row) -> float:
        return math.fsum(100 * entry.mean for i in shared if (entry := row.entries[i])) / len(shared)

    points = [(row, speed.examples_per_second, score(row)) for row, speed in fast]
    standing = [(x, y) for row, x, y in points if stands(row)]
    scores = [y for _, _, y in points]
    margin = max(0.15 * (max(scores) - min(scores)), 0.5)
    x_scale = Scale(0, 1.15 * max(x for _, x, _ in points))
    y_scale = Scale(min(scores) - margin, max(scores) + margin)
    largest = max(row.parameters for row, _, _ in points)

    def dominated(x: float, y: float) -> bool:
        return any(a >= x and b >= y and (a, b) != (x, y) for a, b in standing)

    marks: list[Mark] = []
    for row, x, y in sorted(points, key=lambda point: (-point[2], -point[1], point[0].label)):
        at, radius = x_scale(x, LEFT, RIGHT), max(3.0, 14 * math.sqrt(row.parameters / largest))
        # A label is on the side that has room, below the previous one.
        left = at > (LEFT + RIGHT) / 2
        height = y_scale(y, BOTTOM, TOP)
        taken = [mark.label_y for mark in marks if (mark.anchor == "end") == left]
        marks.append(
            Mark(
                x=at,
                y=height,
                radius=round(radius, 1),
                label=(row.label if len(row.label) <= 34 else f"{row.label[:33]}…")
                + ("" if stands(row) else f" {wording.COLLAPSED}"),
                label_x=round(at - radius - 4 if left else at + radius + 4, 1),
                label_y=max([height + 4, *(other + 14 for other in taken)]),
                anchor="end" if left else "start",
                title=f"{row.label} ({wording.setting_text(board, row)}): {y:.2f}, {x:,.0f} examples/s, "
                f"{row.parameters / 1e6:,.1f} M parameters",
                front=stands(row) and not dominated(x, y),
            )
        )
    front = sorted((mark.x, mark.y) for mark in marks if mark.front)
    titles = ", ".join(board.columns[i].title for i in shared)
    return Plot(
        machine=wording.machine_text(board.machines[machine]),
        said=f"Score in percent{f', mean of {len(shared)} tasks' if len(shared) > 1 else ''}: {titles}",
        marks=marks,
        front=" ".join(f"{x},{y}" for x, y in front),
        x_ticks=[(x_scale(tick, LEFT, RIGHT), f"{tick:,g}") for tick in x_scale.ticks()],
        y_ticks=[(y_scale(tick, BOTTOM, TOP), f"{tick:g}") for tick in y_scale.ticks()],
    )


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: gold in rows, predicted in columns, summed over seeds."""

    labels: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    """Shares of each row's sum."""


class TaskDetails(NamedTuple):
    """Details of one entry, for one task."""

    task: str
    runs: list[Run]
    per_class: dict[str, dict[str, ClassScores]]
    """Heading of a level → class → means over seeds."""
    confusion: Confusion | None
    missing: str
    """Why something is not shown; empty where the kind of task has no such thing."""


def _details(entry: Entry, records_of: dict[RunKey, RunRecord], evidence: Evidence) -> list[TaskDetails]:
    details = []
    for task in dict.fromkeys(run.task for run in entry.runs):
        runs = [run for run in entry.runs if run.task == task]
        records = [records_of[run.key] for run in runs]
        per_class, confusion, missing = {}, None, ""
        try:
            kind = kind_of(records[0])
            per_class = _per_class(records, kind)
            confusion = _confusion(records, kind, evidence)
        except RecordError as error:
            missing = str(error)
        details.append(TaskDetails(task, runs, per_class, confusion, missing))
    return details


def _per_class(records: list[RunRecord], kind: Kind[Any]) -> dict[str, dict[str, ClassScores]]:
    def mean(level: str, name: str) -> ClassScores:
        each = [record.per_class[level][name] for record in records]
        return ClassScores(
            precision=math.fsum(one.precision for one in each) / len(each),
            recall=math.fsum(one.recall for one in each) / len(each),
            f1=math.fsum(one.f1 for one in each) / len(each),
            support=each[0].support,
        )

    def shared(level: str) -> list[str]:
        return [name for name in first[level] if all(name in record.per_class.get(level, {}) for record in records)]

    first = records[0].per_class
    return {
        heading: {name: mean(level, name) for name in shared(level)}
        for level, heading in kind.levels.items()
        if level in first
    }


def _confusion(records: list[RunRecord], kind: Kind[Any], evidence: Evidence) -> Confusion | None:
    """Return the confusion matrix summed over the seeds; None for a kind without classes."""
    if len(records[0].labels) > CLASSES:
        raise RecordError(f"{len(records[0].labels):,} labels; a matrix is shown for up to {CLASSES}")
    key = [kind.name, records[0].labels, [record.predictions.sha256 for record in records]]
    confusion = evidence.kept(key, Confusion, lambda: _counted(records, kind, evidence), records)
    return confusion if confusion.labels else None


def _counted(records: list[RunRecord], kind: Kind[Any], evidence: Evidence) -> Confusion:
    labels: Sequence[str] = []
    counts = np.zeros((1, 1), np.int64)
    for record in records:
        try:
            counted = kind.confusion(evidence.predictions(record), record)
        except (IndexError, TypeError, ValueError) as error:  # labels that the record does not have
            raise RecordError(
                f"{record.predictions.file}: cannot be counted: {error}. See flue-bench verify."
            ) from error
        if counted is None:
            return Confusion([], [], [])
        labels, counts = counted[0], counts + counted[1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return Confusion(list(labels), counts.tolist(), shares.round(3).tolist())
