"""The uncertainty of a board's numbers: intervals, and which entries cannot be distinguished from the best.

``board`` needs only records. What is added here follows from the test predictions beside them; where these are
missing, it is left out and a note says so.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from flue_bench.boards.board import Board, Column, Entry, Kept, Note, Pair
from flue_bench.boards.rules import mean_kept
from flue_bench.errors import FlueBenchError
from flue_bench.record import RunRecord
from flue_bench.results import comparison
from flue_bench.results.comparison import ColumnVerdicts, Versus
from flue_bench.results.evidence import Evidence
from flue_bench.results.retained import retained
from flue_bench.results.rows import by_run, grouped
from flue_bench.statistics.power import Power

SAME = 1e-6
"""Means of scores that differ by less differ only by rounding."""


def weigh(board: Board, records: Iterable[RunRecord], evidence: Evidence) -> Board:
    """Return the board with intervals, verdicts against each column's best entry, and intervals of what students keep.

    The verdicts answer which *pretrained model* is better to fine-tune, so they need two seeds of each; all of a column
    are right together in 95 % of the cases (``flue_bench.statistics.columns``). An entry with collapsed or outlying
    seeds gets neither verdict nor interval. What a student keeps is withheld where the entry of either has no interval:
    nothing bears out that score.

    Args:
        board: the board of these records.
        records: as given to ``rules.build``.
        evidence: the source of their predictions.
    """
    records_of = by_run(records)
    left_out = set(board.left_out)

    def runs(entry: Entry) -> list[RunRecord]:
        return [records_of[run.key] for run in entry.runs]

    def interval(label: str, column: Column, entry: Entry) -> Entry:
        try:
            measured = comparison.interval(runs(entry), column.metric, evidence)
        except FlueBenchError as error:
            left_out.add(Note(label, f"{column.title}: no interval: {error}"))
            return entry
        if abs(measured.mean - entry.mean) > SAME:
            means = f"the predictions give {100 * measured.mean:.2f}, the records {100 * entry.mean:.2f}"
            left_out.add(Note(label, f"{column.title}: no interval: {means}; see flue-bench verify"))
            return entry
        return replace(entry, interval=measured) if entry.sound else entry

    def versus(column: Column, entries: list[Entry | None]) -> tuple[list[Entry | None], tuple[Power | None, ...]]:
        there = [i for i, entry in enumerate(entries) if entry]
        best = max((e for e in entries if e and e.stands), key=lambda entry: entry.mean, default=None)
        if best is None or len(there) < 2:
            return entries, (None, None)
        said: dict[int, Versus] = {}
        compared = []
        for i in there:
            entry = entries[i]
            assert entry
            if not best.interval or (entry.sound and not entry.interval):
                whose = "its" if best.interval else "the best one's"
                said[i] = Versus(
                    entry.mean - best.mean, reason=f"nothing bears out {whose} score, see what is left out"
                )
            else:
                compared.append(i)
        powers: tuple[Power | None, ...] = (None, None)
        if best.interval:
            of_entries = [runs(entry) for i in compared if (entry := entries[i])]
            number = next(k for k, i in enumerate(compared) if entries[i] is best)
            answer = _column(of_entries, number, column.metric, evidence)
            said |= {i: each for i, each in zip(compared, answer.versus, strict=True) if each}
            powers = answer.power, answer.recipes
        return [
            entry and (replace(entry, best=True) if entry is best else replace(entry, versus=said.get(i)))
            for i, entry in enumerate(entries)
        ], powers

    def apart(column: Column, entries: list[Entry | None]) -> tuple[list[Entry | None], tuple[Power | None, ...]]:
        """Compare rows of one search, and of one teacher, with each other: what these give is not the model's."""
        said, powers = list(entries), []
        for numbers in grouped(range(len(entries)), lambda i: board.rows[i].advantage).values():
            of_budget, power = versus(column, [entry if i in numbers else None for i, entry in enumerate(entries)])
            powers.append(power)
            for i in numbers:
                said[i] = of_budget[i]
        return said, tuple(next(filter(None, of), None) for of in zip(*powers, strict=True))

    def kept(pair: Pair, i: int) -> Kept | None:
        share, column = pair.kept[i], board.columns[i]
        student, teacher = (with_intervals[number][i] for number in (pair.student, pair.teacher))
        if not (share and student and teacher and student.interval and teacher.interval):
            return None
        try:
            retention = comparison.retention(runs(student), runs(teacher), column.metric, evidence)
        except FlueBenchError:
            return share
        if retention.low is None or retention.high is None or not math.isfinite(retention.high - retention.low):
            return share
        return Kept(share.ratio, retention.low, retention.high)

    def with_what_is_kept(pair: Pair) -> Pair:
        weighed = tuple(kept(pair, i) for i in range(len(board.columns)))
        withheld = tuple(
            column.title
            for column, before, after in zip(board.columns, pair.kept, weighed, strict=True)
            if before and not after
        )
        low, high = mean_interval(pair, weighed)
        return replace(pair, kept=weighed, mean=mean_kept(weighed), mean_low=low, mean_high=high, withheld=withheld)

    def mean_interval(pair: Pair, weighed: Sequence[Kept | None]) -> tuple[float | None, float | None]:
        counted = [i for i, share in enumerate(weighed) if share]
        both = [[board.rows[number].entries[i] for number in (pair.student, pair.teacher)] for i in counted]
        if counted:
            with contextlib.suppress(FlueBenchError):  # a single seed
                mean = retained(
                    [[runs(entry) for entry in entries if entry] for entries in both],
                    [board.columns[i].metric for i in counted],
                    evidence,
                )
                return mean.low, mean.high
        return None, None

    with_intervals = [
        [entry and interval(row.label, column, entry) for column, entry in zip(board.columns, row.entries, strict=True)]
        for row in board.rows
    ]
    weighed = [
        apart(column, list(entries))
        for column, entries in zip(board.columns, zip(*with_intervals, strict=True), strict=False)
    ]
    columns = [entries for entries, _ in weighed]
    return replace(
        board,
        rows=tuple(
            replace(row, entries=entries) for row, entries in zip(board.rows, zip(*columns, strict=True), strict=False)
        ),
        pairs=tuple(map(with_what_is_kept, board.pairs)),
        left_out=tuple(sorted(left_out)),
        power=tuple(power for _, (power, _) in weighed),
        power_of_recipes=tuple(power for _, (_, power) in weighed),
    )


def _column(entries: list[list[RunRecord]], best: int, metric: str, evidence: Evidence) -> ColumnVerdicts:
    """Return the verdicts of a column; an entry whose predictions are of another test set gets none, and says so."""
    try:
        return comparison.column(entries, best, metric, evidence)
    except FlueBenchError as error:
        reasons: dict[int, str] = {}
        for i, entry in enumerate(entries):
            try:
                if i != best:
                    comparison.compare(entry, entries[best], metric, evidence)
            except FlueBenchError as own:
                reasons[i] = str(own)
        reasons = reasons or {i: str(error) for i in range(len(entries)) if i != best}
    others = [i for i in range(len(entries)) if i not in reasons]
    rest = _column([entries[i] for i in others], others.index(best), metric, evidence)
    versus: dict[int, Versus | None] = dict(zip(others, rest.versus, strict=True))
    top = _mean(entries[best], metric)
    versus |= {i: Versus(_mean(entries[i], metric) - top, reason=said) for i, said in reasons.items()}
    return ColumnVerdicts(tuple(versus[i] for i in range(len(entries))), rest.power, rest.recipes)


def _mean(records: list[RunRecord], metric: str) -> float:
    return math.fsum(record.scores[metric] for record in records) / len(records)
