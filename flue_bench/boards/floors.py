"""What students keep above a floor, such as a model with random weights: a raw share flatters where chance is high.

A student that scores 74 where its teacher scores 80 keeps 93 % of the score; where random weights score 53, it keeps
79 % of what the teacher has learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from flue_bench.boards.board import Above, Board, Entry, Kept, Note, Pair
from flue_bench.errors import FlueBenchError
from flue_bench.record import RunRecord
from flue_bench.results.evidence import Evidence
from flue_bench.results.retained import Retained, retained
from flue_bench.results.rows import NamedRow, RunKey, by_run, find, named_rows, newest


def above(board: Board, records: Sequence[RunRecord], evidence: Evidence, floor: str) -> Board:
    """Return the board with what each student keeps above a floor, on the columns on which it keeps anything.

    Args:
        board: the board of these records.
        records: as given to ``rules.build``.
        evidence: the source of their predictions.
        floor: a model's name, as ``rows.find`` accepts it. Of its rows the one counts that was fine-tuned as the
            teacher was.

    Raises:
        UnknownNameError: no row has that model.
        UsageError: several models have that name.
    """
    rows: list[NamedRow] = named_rows(newest(records)[0], together=True)
    number = {row.key: i for i, row in enumerate(board.rows)}
    floors = [number[each.key] for each in find(rows, floor) if each.key in number]
    records_of = by_run(records)
    return replace(
        board,
        pairs=tuple(replace(pair, above=_above(board, pair, floors, records_of, evidence)) for pair in board.pairs),
    )


def _above(
    board: Board, pair: Pair, floors: Iterable[int], records_of: Mapping[RunKey, RunRecord], evidence: Evidence
) -> Above:
    nothing = (None,) * len(board.columns)
    teacher = board.rows[pair.teacher]
    alike = [i for i in floors if board.rows[i].key[1:] == teacher.key[1:]]
    if not alike:
        return Above(None, nothing, None, (Note("All", "the floor was not fine-tuned as the teacher was"),))
    (floor,) = alike
    if floor in (pair.student, pair.teacher):
        return Above(floor, nothing, None, (Note("All", "the floor is one of the two"),))
    kept: list[Kept | None] = []
    reasons: list[Note] = []
    counted: list[list[list[RunRecord]]] = []
    metrics: list[str] = []
    for i, column in enumerate(board.columns):
        entries: list[Entry] = [e for n in (pair.student, pair.teacher, floor) if (e := board.rows[n].entries[i])]
        kept.append(None)
        if pair.kept[i] is None:
            continue
        if len(entries) < 3:
            reasons.append(Note(column.title, "the floor was not run on it"))
            continue
        runs = [[records_of[run.key] for run in entry.runs] for entry in entries]
        try:
            kept[i] = _kept(retained([runs], [column.metric], evidence))
        except FlueBenchError as error:
            reasons.append(Note(column.title, str(error)))
        else:
            counted.append(runs)
            metrics.append(column.metric)
    mean = _kept(retained(counted, metrics, evidence)) if counted else None
    return Above(floor, tuple(kept), mean, tuple(reasons))


def _kept(share: Retained) -> Kept:
    return Kept(share.ratio, share.low, share.high)
