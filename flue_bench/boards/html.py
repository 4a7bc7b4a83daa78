"""A board as one HTML file that makes no request: pictures and tables, and a script that sorts, filters and compares.

Tables and pictures are drawn here, and are all there without JavaScript. What lies behind the numbers stands in the
page as data (``behind``), which the script shows when it is asked for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from flue_bench import escape
from flue_bench.boards import behind, curves, pictures, wording
from flue_bench.boards.behind import Link
from flue_bench.boards.board import Board, Entry
from flue_bench.boards.notebook import environment
from flue_bench.boards.pictures import Scale
from flue_bench.record import RunRecord
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import by_run

HERE = Path(__file__).parent

LARGEST = 980_000
"""Bytes of a page up to which confusion matrices and errors by example are added to it."""
SHOWN = 6
"""Pictures that are not folded away."""
DRAWN = 150_000
"""Bytes that the pictures have together: a board may have one for each of hundreds of students."""


def html(board: Board, records: Iterable[RunRecord], evidence: Evidence, link: Link) -> str:
    """Return the board as a page of its own; the same board gives the same bytes.

    Every name is escaped, and the page's policy lets no script run but its own.

    Args:
        board: the board of these records.
        records: as given to ``rules.build``.
        evidence: the source of their predictions.
        link: see ``Link``.
    """
    script = (HERE / "board.js").read_text(encoding="utf-8")
    template = environment().from_string((HERE / "board.html").read_text(encoding="utf-8"))
    every = pictures.of(board)
    sizes = accumulate(len(each.svg) for each in every)
    drawn = [each for each, size in zip(every, sizes, strict=True) if size < DRAWN or each is every[0]]
    page = template.render(
        board=board,
        say=wording,
        said=_said,
        shown=_shown,
        plain=escape.plain,  # before a filter that gives markup, which is not escaped again
        caption=wording.caption(board, "n"),
        best=wording.best_of(board),
        strips=[_Strip([row.entries[i] for row in board.rows]) for i in range(len(board.columns))],
        titles=behind.titles(board),
        letters=wording.letters(board),
        settings=sorted(set(wording.letters(board)), key=lambda each: (len(each.letter), each.letter)),
        licences=[behind.licences(column) for column in board.columns],
        teachers=_teachers(board),
        sized=any(row.weights_bytes is not None for row in board.rows),
        power=wording.power_line(board),
        first=drawn[:SHOWN],
        more=drawn[SHOWN:],
        undrawn=len(every) - len(drawn),
        kept=_kept(board),
        curves=[table for _, table in curves.pictures(board)],
        style=(HERE / "board.css").read_text(encoding="utf-8"),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    end = f"</script>\n<script>{script}</script>\n</body>\n</html>\n"
    room = LARGEST - len(page.encode()) - len(end.encode())
    return f"{page}{behind.data(board, by_run(records), evidence, link, room)}{end}"


class _Strip:
    """The seeds of a column's entries, and their intervals, on one scale, so that they can be compared."""

    def __init__(self, entries: Sequence[Entry | None]) -> None:
        there = [entry for entry in entries if entry]
        ends = [end for entry in there if entry.interval for end in (entry.interval.low, entry.interval.high)] + [
            score for entry in there for score in entry.scores
        ]
        self._scale = Scale(min(ends, default=0.0), max(ends, default=1.0))

    def bar(self, entry: Entry) -> str:
        """Return the path of an entry's interval."""
        assert entry.interval
        return f"M{self._scale(entry.interval.low, 4, 108):g} 6H{self._scale(entry.interval.high, 4, 108):g}"

    def dots(self, entry: Entry) -> str:
        """Return the path of an entry's seeds: lines of no length, whose round ends are seen."""
        return "".join(f"M{self._scale(score, 4, 108):g} 6h0" for score in entry.scores)


def _shown(entry: Entry) -> float:
    """Return the score that an entry is sorted by: the one that is printed."""
    return round(entry.median if entry.n > 1 and not entry.stands else entry.mean, 6)


def _said(entry: Entry) -> str:
    """Return the scores of an entry's seeds in words."""
    seeds: Sequence[int | None] = entry.seeds or (None,)
    each = zip(seeds, entry.scores, strict=True)
    return ", ".join(f"{'as it is' if seed is None else f'seed {seed}'}: {100 * score:.2f}" for seed, score in each)


def _teachers(board: Board) -> list[str]:
    """Return the label of the model that each row's was distilled from; empty where there is none."""
    by_digest = {row.model_digest: row.label for row in board.rows}
    taught = {pair.student: board.rows[pair.teacher].label for pair in board.pairs}
    return [
        by_digest.get(row.teacher, f"{row.teacher[:6]} (not here)") if row.teacher else taught.get(i, "")
        for i, row in enumerate(board.rows)
    ]


def _kept(board: Board) -> wording.Table:
    """Return a line for each student and column: what is kept."""
    lines = []
    for pair in board.pairs:
        student, teacher = board.rows[pair.student], board.rows[pair.teacher]
        who = [
            f"{student.label} / {teacher.label}",
            wording.pair_setting(board, pair),
            wording.share(pair.parameters),
        ]
        for column, kept in zip(board.columns, pair.kept, strict=True):
            if kept:
                lines.append([*who, column.title, f"{100 * kept.ratio:.1f} %", wording.interval_text(kept)])
                who = ["", "", ""]
    headers = ["student / teacher", "recipe", "parameters", "column", "kept", "95 % interval"]
    said = "The student's mean score over its teacher's, with the 95 % interval where there are enough seeds for one."
    return wording.Table("What students keep, column by column", headers, lines, said, (2, 4, 5))
