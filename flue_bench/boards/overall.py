"""The overall of a board: models ranked by their mean over a named set of its columns, never over different sets.

A row has an overall if it was fine-tuned here and has a whole entry in every column of the set, none of them with
collapsed runs; every other row is listed with the reason. Rows of several protocols of the engine are ranked apart, and
so are rows of several searches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from flue_bench.boards.board import Board, Entry, Note
from flue_bench.data import registry
from flue_bench.errors import FlueBenchError, UnknownNameError, UsageError
from flue_bench.kinds.kind import kind_named
from flue_bench.record import RunRecord
from flue_bench.results import overall as measuring
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import RunKey, by_run, grouped
from flue_bench.statistics.ranks import improvement, ranks
from flue_bench.statistics.replicates import Units
from flue_bench.tabular import Tabular

if TYPE_CHECKING:
    import pyarrow

SAME = 1e-6
"""Means of scores that differ by less differ only by rounding."""
ONE_SEED = "no interval: one seed says nothing about the spread over seeds; run more with --seeds"


@dataclass(frozen=True)
class Improvement:
    """The probability that a run of one row scores above a run of another on a task of the set drawn at random."""

    over: int
    """Index of the other row on the board, from 0."""
    probability: float
    low: float
    """Lower end of its 95 % interval over the choice of seeds, on these test sets."""
    high: float


@dataclass(frozen=True)
class Place:
    """One row's place in an overall; scores as fractions of 1."""

    row: int
    """Index of the row on the board, from 0."""
    mean: float
    """Mean of the columns' means."""
    low: float | None
    """Lower end of its 95 % interval over seeds and test examples; None where there is no interval."""
    high: float | None
    rank: float
    """Rank of the mean among all places, 1 the best; equal means share the mean of their ranks."""
    rank_low: int | None
    """The best rank that is possible; a 95 % interval that holds for all places at once. None where there is none."""
    rank_high: int | None
    mean_rank: float
    """Mean over the columns of the rank in each, among the same rows."""
    improvements: tuple[Improvement, ...]
    """Over each other place."""


@dataclass(frozen=True)
class Ranking:
    """The rows of one protocol of the engine and one search, best mean first."""

    protocol: int
    budget: str
    """``best of 6``; empty for rows whose recipes were named beforehand."""
    places: tuple[Place, ...]
    reasons: tuple[Note, ...]
    """Which places have no interval, and why."""


@dataclass(frozen=True)
class Overall(Tabular):
    """Rows ranked by their mean over one set of columns; never over different sets."""

    name: str
    """The set, as it was asked for."""
    columns: tuple[str, ...]
    """Titles of the columns; with ``missing`` they are the set."""
    missing: tuple[str, ...]
    """Columns of the set that the board lacks: no row has an overall then."""
    labels: tuple[str, ...]
    """Every row of the board, in words."""
    rankings: tuple[Ranking, ...]
    without: tuple[Note, ...]
    """Which rows have no overall, and why."""

    def of_row(self, number: int) -> Place | None:
        """Return the place of a row of the board."""
        return next((each for ranking in self.rankings for each in ranking.places if each.row == number), None)

    def to_arrow(self) -> pyarrow.Table:
        """Return a table with a row for each place; ``improvements`` holds the probabilities over the other places."""
        import pyarrow

        lines = [
            {"overall": self.name, "label": self.labels[place.row], "protocol": ranking.protocol}
            | {"columns": list(self.columns)}
            | asdict(place)
            | {"improvements": [asdict(each) | {"over": self.labels[each.over]} for each in place.improvements]}
            for ranking in self.rankings
            for place in ranking.places
        ]
        return (
            pyarrow.table({name: [line[name] for line in lines] for name in lines[0]}) if lines else pyarrow.table({})
        )


def json_of(overall: Overall) -> dict[str, Any]:
    """Return an overall as JSON, scores as fractions of 1, rows by their index on the board."""
    return asdict(overall) | {
        "rankings": [
            asdict(each) | {"reasons": [note._asdict() for note in each.reasons]} for each in overall.rankings
        ],
        "without": [note._asdict() for note in overall.without],
    }


def place(board: Board, records: Iterable[RunRecord], evidence: Evidence, names: Sequence[str]) -> Board:
    """Return the board with an overall over the columns of these names.

    Args:
        board: the board of these records.
        records: as given to ``rules.build``.
        evidence: the source of their predictions.
        names: columns or tasks of the board, or groups of installed tasks.

    Raises:
        UnknownNameError: a name is none of these.
        UsageError: a name fits several columns, or a part of one.
    """
    chosen, missing = _set(board, names)
    complete, without = [], []
    for number, row in enumerate(board.rows):
        entries = {board.columns[i].title: row.entries[i] for i in chosen}
        lacking = [title for title, entry in entries.items() if entry is None] + missing
        failed = [title for title, entry in entries.items() if entry and entry.collapsed]
        reasons = [] if row.trained else ["was scored as it is, not fine-tuned here"]
        reasons += [f"lacks {', '.join(lacking)}"] if lacking else []
        reasons += [f"collapsed runs on {', '.join(failed)}"] if failed else []
        far = [title for title, entry in entries.items() if entry and entry.outlying]
        reasons += [f"a seed far below the others on {', '.join(far)}"] if far else []
        if reasons:
            without.append(Note(_title(board, number), "; ".join(reasons)))
        else:
            complete.append(number)
    records_of = by_run(records)
    overall = Overall(
        name=", ".join(dict.fromkeys(names)),
        columns=tuple(board.columns[i].title for i in chosen),
        missing=tuple(missing),
        labels=tuple(_title(board, number) for number in range(len(board.rows))),
        rankings=tuple(
            _ranking(board, chosen, numbers, records_of, evidence)
            for _, numbers in sorted(
                grouped(complete, lambda number: (board.rows[number].protocol, board.rows[number].advantage)).items()
            )
        ),
        without=tuple(without),
    )
    return replace(board, overall=overall)


def _set(board: Board, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the indexes of the columns of these names, and the names of those that the board lacks."""
    chosen: dict[int, None] = {}
    missing: dict[str, None] = {}
    for name in names:
        found = _column(board, name)
        if found is not None:
            chosen[found] = None
            continue
        wanted = _group(name)
        if not wanted:
            known = {each for column in board.columns for each in (column.title, column.name)}
            groups = {group for each in registry.registered().values() for group in each.task.groups}
            raise UnknownNameError("column or group", name, known | groups)
        for column in wanted:
            found = _column(board, column)
            if found is None:
                missing[column] = None
            else:
                chosen[found] = None
    return sorted(chosen), list(missing)


def _column(board: Board, name: str) -> int | None:
    """Return the index of the column of this title, or of the only one with this name or this task; None for none."""
    titles = [column.title for column in board.columns]
    if name in titles:
        return titles.index(name)
    found = [
        i
        for i, column in enumerate(board.columns)
        if name == column.name or name in (member.task for member in column.members)
    ]
    if len(found) > 1:
        raise UsageError(f"--overall {name} fits several columns: give one of {'; '.join(titles[i] for i in found)}.")
    if found and name != board.columns[found[0]].name and len(board.columns[found[0]].members) > 1:
        title = titles[found[0]]
        raise UsageError(f"--overall {name}: the board has this task only as a part of the column {title}: name that.")
    return found[0] if found else None


def _group(name: str) -> list[str]:
    """Return the names of the columns of the installed tasks of this group, or of this task.

    Of a group without those on which nothing is trained: the rows that are ranked are of models that were fine-tuned.
    """
    known = [(each.task, kind_named(each.task.kind)) for each in registry.registered().values()]
    tasks = [task for task, kind in known if name == task.name or (name in task.groups and kind.frozen is None)]
    return list(dict.fromkeys(task.board_column for task in tasks))


def _title(board: Board, number: int) -> str:
    row = board.rows[number]
    protocol = f", protocol {row.protocol}" if len({each.protocol for each in board.rows}) > 1 else ""
    return f"{row.label} ({row.how}, {row.precision}{protocol})"


def _ranking(
    board: Board,
    chosen: Sequence[int],
    numbers: Sequence[int],
    records_of: Mapping[RunKey, RunRecord],
    evidence: Evidence,
) -> Ranking:
    """Rank these rows, each of which has all of the columns."""
    entries: list[list[Entry]] = [[entry for i in chosen if (entry := board.rows[n].entries[i])] for n in numbers]
    means = [math.fsum(entry.mean for entry in each) / len(chosen) for each in entries]
    places = ranks(means, SAME)
    per_column = [ranks([each[i].mean for each in entries], SAME) for i in range(len(chosen))]
    units = [[_units(entry, records_of) for entry in each] for each in entries]
    standing, reasons = _standing(board, chosen, numbers, entries, means, records_of, evidence)

    def better(i: int, j: int) -> Improvement:
        ours, theirs = ([entry.scores for entry in entries[k]] for k in (i, j))
        return Improvement(numbers[j], *improvement(ours, theirs, units=(units[i], units[j])))

    made = [
        Place(
            row=numbers[i],
            mean=means[i],
            low=each.low if (each := standing.get(i)) else None,
            high=each.high if each else None,
            rank=float(places[i]),
            rank_low=each.rank_low if each else None,
            rank_high=each.rank_high if each else None,
            mean_rank=math.fsum(float(column[i]) for column in per_column) / len(chosen),
            improvements=tuple(better(i, j) for j in range(len(numbers)) if j != i),
        )
        for i in range(len(numbers))
    ]
    made.sort(key=lambda each: (each.rank, each.mean_rank, each.row))
    first = board.rows[numbers[0]]
    return Ranking(first.protocol, first.advantage, tuple(made), tuple(reasons))


def _units(entry: Entry, records_of: Mapping[RunKey, RunRecord]) -> Units:
    """Return the runs of each distillation of an entry, by the order of their scores; of one model, each by itself."""
    members = len(entry.runs) // len(entry.scores)
    models = [records_of[run.key].cell.model.digest for run in entry.runs[::members]]
    of_models = list(grouped(range(len(models)), models.__getitem__).values())
    return of_models if len(of_models) > 1 else [[i] for i in range(len(models))]


def _standing(
    board: Board,
    chosen: Sequence[int],
    numbers: Sequence[int],
    entries: Sequence[Sequence[Entry]],
    means: Sequence[float],
    records_of: Mapping[RunKey, RunRecord],
    evidence: Evidence,
) -> tuple[dict[int, measuring.Standing], list[Note]]:
    """Return the intervals of those rows that have them, and why the others have none."""
    several = [i for i, each in enumerate(entries) if min(entry.n for entry in each) > 1]
    reasons = [Note(_title(board, numbers[i]), ONE_SEED) for i in range(len(numbers)) if i not in several]
    if not several:
        return {}, reasons
    runs = [[[records_of[run.key] for run in entries[i][c].runs] for i in several] for c in range(len(chosen))]
    metrics = [board.columns[i].metric for i in chosen]
    try:
        found = measuring.standings(runs, metrics, evidence, others=len(numbers) - len(several)).models
    except FlueBenchError as error:
        return {}, [*reasons, Note("All", str(error))]
    for i, each in zip(several, found, strict=True):
        if abs(each.mean - means[i]) > SAME:  # the others were ranked beside it
            said = f"its predictions give {100 * each.mean:.2f}, its records {100 * means[i]:.2f}"
            return {}, [*reasons, Note("All", f"{_title(board, numbers[i])}: {said}; see flue-bench verify")]
    return dict(zip(several, found, strict=True)), reasons
