"""Pictures of a board's page: score against cost, ranks, what students keep, and the curves. SVG, drawn by hand.

Colours are those of the page's style sheet, by class, so that they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape as escaped
from typing import NamedTuple

from flue_bench.boards import curves, wording
from flue_bench.boards.board import Board, Pair, Row
from flue_bench.boards.overall import Ranking
from flue_bench.escape import plain

WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 448.0, 18.0, 258.0
"""The plotting area's edges."""
LETTER = 7.4
"""Width of a letter, roughly: letters are larger where the picture is small."""
LONGEST = 30
"""Letters of a name in a picture."""
GROUPS = 3
"""Sets of columns whose means are drawn against cost."""


class Picture(NamedTuple):
    """A picture, with what it shows in words."""

    title: str
    svg: str
    caption: str


class Scale(NamedTuple):
    """A scale from values to positions on an axis."""

    low: float
    high: float
    logarithmic: bool = False

    def __call__(self, value: float, start: float, end: float) -> float:
        """Return the position of a value between ``start`` and ``end``."""
        low, high, at = (math.log(v) for v in (self.low, self.high, value)) if self.logarithmic else (*self[:2], value)
        return round(start + (end - start) * (at - low) / ((high - low) or 1), 1)

    def ticks(self) -> list[float]:
        """Return a few round values."""
        if self.logarithmic:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for parts in (1,), (1, 3), (1, 2, 5):
                found = [
                    part * 10.0**ten for ten in tens for part in parts if self.low <= part * 10.0**ten <= self.high
                ]
                if len(found) >= 3:
                    return found[:: 1 + len(found) // 9]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if (self.high - self.low) / (step * part) <= 8)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def of(board: Board) -> list[Picture]:
    """Return the pictures of a board, the most telling first."""
    against = [list(_against(board, *group)) for group in _groups(board)]
    first, others = against[:1], against[1:]
    kept = [picture for pair in board.pairs if (picture := _kept(board, pair))]
    drawn = [Picture(_of_curve(table), picture, "") for picture, table in curves.pictures(board)]
    return [
        *(picture for group in first for picture in group),
        *drawn[:1],
        *(_ranks(board, ranking) for ranking in (board.overall.rankings if board.overall else ())),
        *kept,
        *drawn[1:],
        *(picture for group in others for picture in group),
    ]


def _of_curve(table: wording.Table) -> str:
    """Return what a curve shows; that of a search says so in its table's title."""
    against = table.headers[1]
    return table.title if against == "recipe" else f"Score against {against}, {table.title}"


# Score against cost --------------------------------------------------------------------------------------------------


class Spot(NamedTuple):
    """One row of the board in a picture."""

    row: int
    x: float
    y: float
    stands: bool


def _groups(board: Board) -> Iterator[tuple[list[int], list[int]]]:
    """Yield columns, and the rows that have all of them: first those by which most entries are shown together.

    A mean over columns is drawn of rows that have all of them alone. Columns of a part of train are the curves'.
    """
    whole = {i for i, column in enumerate(board.columns) if column.train_rows is None}
    for _ in range(GROUPS):
        sets = dict.fromkeys(frozenset(i for i in whole if row.entries[i]) for row in board.rows)
        found = [(each, [n for n, row in enumerate(board.rows) if all(row.entries[i] for i in each)]) for each in sets]
        found = [(each, rows) for each, rows in found if each and len(rows) > 1]
        if not found:
            return

        def told(one: tuple[frozenset[int], list[int]]) -> tuple[int, int, int]:
            models = len({board.rows[n].model_digest for n in one[1]})
            return len(one[0]) * (models - 1), len(one[1]), -min(one[0])

        columns, rows = max(found, key=told)
        whole -= columns
        yield sorted(columns), rows


def _against(board: Board, columns: list[int], rows: list[int]) -> Iterator[Picture]:
    """Yield the picture of a mean score against the speed on each machine, and against the parameters."""

    def spot(number: int, x: float) -> Spot:
        entries = [entry for i in columns if (entry := board.rows[number].entries[i])]
        mean = math.fsum(100 * entry.mean for entry in entries) / len(columns)
        return Spot(number, x, mean, all(entry.sound for entry in entries))

    titles = ", ".join(board.columns[i].title for i in columns)
    of = f"Mean of {len(columns)} columns: {titles}." if len(columns) > 1 else f"{titles}."
    for i, machine in enumerate(board.machines):
        spots = [spot(n, speed.examples_per_second) for n in rows if (speed := board.rows[n].speeds[i])]
        if len(spots) > 1:
            where = wording.machine_text(machine)
            title = f"Score against speed, {titles if len(columns) == 1 else f'{len(columns)} columns'}"
            yield Picture(title, _scatter(board, spots, "examples a second", True, title), f"{of} {where}.")
    spots = [spot(n, board.rows[n].parameters / 1e6) for n in rows]
    if len({each.x for each in spots}) > 1:
        title = f"Score against size, {titles if len(columns) == 1 else f'{len(columns)} columns'}"
        yield Picture(title, _scatter(board, spots, "million parameters", False, title), of)


def _scatter(board: Board, spots: Sequence[Spot], x_title: str, more: bool, title: str) -> str:
    """Return the picture of spots; ``more``: a greater x is better, otherwise a smaller one."""
    xs, ys = [each.x for each in spots], [each.y for each in spots]
    margin = max(0.15 * (max(ys) - min(ys)), 0.5)
    x_scale = (
        Scale(min(xs) / 1.4, max(xs) * 1.4, True)
        if max(xs) > 4 * min(xs)
        else Scale(max(0.0, min(xs) - 0.6 * (max(xs) - min(xs))), max(xs) + 0.6 * (max(xs) - min(xs)) or 1)
    )
    y_scale = Scale(min(ys) - margin, max(ys) + margin)
    at = {each.row: (x_scale(each.x, LEFT, RIGHT), y_scale(each.y, BOTTOM, TOP)) for each in spots}
    sign = 1 if more else -1
    best = [
        each
        for each in spots
        if each.stands
        and not any(
            o.stands and sign * o.x >= sign * each.x and o.y >= each.y and (o.x, o.y) != (each.x, each.y) for o in spots
        )
    ]
    drawn = [_axes(x_scale, y_scale, x_title, "score (%)")]
    drawn.append(f'<path class="front" d="{_stairs([at[each.row] for each in best], more)}"/>')
    taught = [(at[p.teacher], at[p.student]) for p in board.pairs if p.student in at and p.teacher in at]
    drawn += [_arrow(*both) for both in taught]
    joined = {number for pair in board.pairs for number in (pair.student, pair.teacher)}
    ordered = sorted(spots, key=lambda s: (s not in best, s.row not in joined, -s.y, s.row))
    largest = max(row.parameters for row in board.rows)
    radius = {s.row: max(3.0, 11 * math.sqrt(board.rows[s.row].parameters / largest)) if more else 5.0 for s in spots}
    letters = wording.letters(board)
    several = len({letters[each.row] for each in spots}) > 1
    marks, names = [], []
    placed = [_around(at[s.row], radius[s.row]) for s in spots]
    lines = [_around(point, 2) for both in taught for point in _between(*both)]
    for each in ordered:
        row, (x, y) = board.rows[each.row], at[each.row]
        setting = wording.setting_text(board, row)
        said = f"{row.label} ({setting}): {each.y:.2f} at {each.x:,.4g} {x_title}"
        kind = "on" if each in best else "off" if each.stands else "failed"
        marks.append(
            f'<circle class="{kind}" data-row="{each.row}" cx="{x}" cy="{y}" r="{radius[each.row]:.1f}">'
            f"<title>{_text(said)}</title></circle>"
        )
        letter = f" {letters[each.row].letter}" if several else ""
        name = f"{_cut(row.label)}{letter}{'' if each.stands else f' {wording.COLLAPSED}'}"
        place = x, y, radius[each.row] + 4, LETTER * len(name)
        if box := _room(*place, placed + lines) or _room(*place, placed):
            placed.append(box)
            names.append(f'<text data-row="{each.row}" {_beside(box, x)} y="{box[1] + 11:.0f}">{_text(name)}</text>')
    return _svg(title, HEIGHT, *drawn, *marks, *names)


_Box = tuple[float, float, float, float]


def _around(at: tuple[float, float], radius: float) -> _Box:
    return at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius


def _room(x: float, y: float, apart: float, width: float, placed: Sequence[_Box]) -> _Box | None:
    """Return a box of text beside, above or below a mark that covers nothing; None if there is none."""
    places = [
        (x + apart, y - 7), (x - apart - width, y - 7), (x - width / 2, y - apart - 13), (x - width / 2, y + apart),
        (x + apart, y - 18), (x - apart - width, y - 18), (x + apart, y + 4), (x - apart - width, y + 4),
    ]  # fmt: skip
    for left, top in places:
        box = left, top, left + width, top + 14
        inside = left >= LEFT and box[2] <= WIDTH and top >= TOP - 4 and box[3] <= BOTTOM
        if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in placed):
            return box
    return None


def _between(start: tuple[float, float], end: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Yield points of a line, close to each other."""
    steps = int(math.dist(start, end) // 6) + 1
    for i in range(1, steps):
        yield tuple(a + (b - a) * i / steps for a, b in zip(start, end, strict=True))  # type: ignore[misc]


def _beside(box: _Box, x: float) -> str:
    """Return where a text in a box is anchored: at its end nearer to the mark, however wide the letters are."""
    if box[0] >= x:
        return f'x="{box[0]:.0f}"'
    return f'x="{box[2]:.0f}" text-anchor="end"' if box[2] <= x else f'x="{x:.0f}" text-anchor="middle"'


def _stairs(points: list[tuple[float, float]], more: bool) -> str:
    """Return the path along a front: what is dominated lies below it, and on the side of the worse cost."""
    points = sorted(points, reverse=more)
    path = f"M{points[0][0]},{BOTTOM}" if points else ""
    for x, y in points:
        path += f"H{x}V{y}"
    return f"{path}H{LEFT if more else RIGHT}" if points else ""


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    away = math.hypot(end[0] - start[0], end[1] - start[1])
    if away < 1:
        return ""
    dx, dy = (end[0] - start[0]) / away, (end[1] - start[1]) / away
    tip = end[0] - 7 * dx, end[1] - 7 * dy
    barbs = [(tip[0] - 7 * dx + side * 3.5 * dy, tip[1] - 7 * dy - side * 3.5 * dx) for side in (1, -1)]
    head = " ".join(f"L{x:.1f},{y:.1f}" for x, y in (barbs[0], tip, barbs[1]))
    return f'<path class="from" d="M{start[0]},{start[1]}L{tip[0]:.1f},{tip[1]:.1f}M{head[1:]}"/>'


# Ranks and shares ----------------------------------------------------------------------------------------------------


def _ranks(board: Board, ranking: Ranking) -> Picture:
    """Return the picture of means and ranks with their intervals."""
    places, step = ranking.places, 22.0
    names = [_cut(board.rows[place.row].label, 27) for place in places]
    left = _left(names)
    middle = left + 0.55 * (RIGHT - left)
    ends = [100 * v for place in places for v in (place.mean, place.low, place.high) if v is not None]
    margin = 0.06 * (max(ends) - min(ends)) or 1
    means, ranks = Scale(min(ends) - margin, max(ends) + margin), Scale(0.5, len(places) + 0.5)
    bottom = TOP + step * len(places) + 6
    drawn = [
        _ticks(means, left, middle - 16, bottom, "mean (%)", 4),
        _ticks(ranks, middle, RIGHT, bottom, "rank", 6, 1),
    ]
    for i, (place, name) in enumerate(zip(places, names, strict=True)):
        row, y = board.rows[place.row], TOP + step * (i + 0.5) + 4
        drawn.append(f'<text x="{left - 10:.0f}" y="{y + 4}" text-anchor="end">{_text(name)}</text>')
        said = (
            f"{row.label} ({wording.setting_text(board, row)}): {100 * place.mean:.2f} {wording.interval_text(place)}"
        )
        at = means(100 * place.mean, left, middle - 16)
        if place.low is not None and place.high is not None:
            drawn.append(_bar(means, 100 * place.low, 100 * place.high, left, middle - 16, y))
        drawn.append(
            f'<circle class="on" data-row="{place.row}" cx="{at}" cy="{y}" r="4"><title>{_text(said)}</title></circle>'
        )
        if place.rank_low and place.rank_high:
            drawn.append(_bar(ranks, place.rank_low, place.rank_high, middle, RIGHT, y))
        possible = f", {place.rank_low} to {place.rank_high} possible" if place.rank_low else ""
        drawn.append(
            f'<circle class="on" data-row="{place.row}" cx="{ranks(place.rank, middle, RIGHT)}" cy="{y}" r="4">'
            f"<title>{_text(f'{row.label}: rank {place.rank:g}{possible}')}</title></circle>"
        )
    of = board.overall.name if board.overall else ""
    title = f"Ranks, {of}{f', {ranking.budget}' if ranking.budget else ''}"
    said = "Bars of ranks: those that are possible, at 95 % for all models at once."
    return Picture(title, _svg(title, bottom + 34, *drawn), said)


def _kept(board: Board, pair: Pair) -> Picture | None:
    """Return the picture of what a student keeps on each column, its teacher's score being 100 %."""
    shares = [(i, kept) for i, kept in enumerate(pair.kept) if kept]
    if not shares:
        return None
    student, teacher = board.rows[pair.student], board.rows[pair.teacher]
    floor = board.rows[pair.above.floor] if pair.above and pair.above.floor is not None else None
    floors = {i: at for i, _ in shares if floor and (at := _of_teacher(floor, teacher, i)) is not None}
    points = [100.0, *(100 * kept.ratio for _, kept in shares), *(100 * each for each in floors.values())]
    wide = [100 * end for _, kept in shares for end in (kept.low, kept.high) if end is not None]
    # A wild interval would leave no room for the others: it is cut.
    low, high = max(min(points + wide), min(points) - 40), min(max(points + wide), max(points) + 40)
    names = {i: _cut(board.columns[i].title, 36) for i, _ in shares}
    margin, left, right, step = max(2.0, 0.06 * (high - low)), _left(names.values()), RIGHT - 44, 24.0
    scale = Scale(low - margin, high + margin)
    bottom = TOP + step * len(shares) + 6
    drawn = [_ticks(scale, left, right, bottom, "% of the teacher's score", 5)]
    whole = scale(100, left, right)
    drawn.append(f'<path class="whole" d="M{whole},{TOP}V{bottom}"/>')
    for k, (i, kept) in enumerate(shares):
        y, column = TOP + step * (k + 0.5) + 4, board.columns[i]
        text = wording.kept_text(kept).replace("\n", " ")
        drawn.append(f'<text x="{left - 10:.0f}" y="{y + 4}" text-anchor="end">{_text(names[i])}</text>')
        if kept.low is not None and kept.high is not None:
            drawn.append(_bar(scale, 100 * kept.low, 100 * kept.high, left, right, y))
        if i in floors:
            at, said = scale(100 * floors[i], left, right), f"{floor.label if floor else ''}: {100 * floors[i]:.1f} %"
            drawn.append(f'<path class="floor" d="M{at},{y - 7}V{y + 7}"><title>{_text(said)}</title></path>')
        at = scale(100 * kept.ratio, left, right)
        drawn.append(f'<text x="{RIGHT}" y="{y + 4}" text-anchor="end">{100 * kept.ratio:.1f}</text>')
        drawn.append(
            f'<circle class="on" data-row="{pair.student}" cx="{at}" cy="{y}" r="4.5">'
            f"<title>{_text(f'{column.title}: {text}')}</title></circle>"
        )
    letters = wording.letters(board)
    letter = f", {letters[pair.student].letter}" if len(set(letters)) > 1 else ""
    title = f"What {student.label} keeps of {teacher.label}{letter}"
    said = f"{wording.pair_setting(board, pair)}. The line at 100: the teacher's score."
    if floors and floor:
        said += f" Orange: {floor.label}, the floor."
    return Picture(title, _svg(title, bottom + 34, *drawn), said)


def _of_teacher(floor: Row, teacher: Row, i: int) -> float | None:
    one, other = floor.entries[i], teacher.entries[i]
    return one.mean / other.mean if one and other and other.mean > 0 and one.sound else None


# What they share -----------------------------------------------------------------------------------------------------


def _svg(title: str, height: float, *drawn: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{_text(title)}">{"".join(drawn)}</svg>'


def _axes(x: Scale, y: Scale, x_title: str, y_title: str) -> str:
    drawn = [_ticks(x, LEFT, RIGHT, BOTTOM, x_title, 9)]
    for tick in y.ticks():
        at = y(tick, BOTTOM, TOP)
        drawn.append(f'<path class="grid" d="M{LEFT},{at}H{RIGHT}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{tick:g}</text>')
    drawn.append(f'<text class="tick" x="2" y="11">{y_title}</text>')
    return "".join(drawn)


def _ticks(scale: Scale, start: float, end: float, bottom: float, title: str, most: int, least: float = 0) -> str:
    """Return an x axis: at most so many ticks, no two closer than ``least``."""
    ticks = [tick for tick in scale.ticks() if not least or tick % least == 0]
    drawn = []
    for tick in ticks[:: -(-len(ticks) // most)]:
        at = scale(tick, start, end)
        drawn.append(f'<path class="grid" d="M{at},{TOP}V{bottom}"/>')
        drawn.append(f'<text class="tick" x="{at}" y="{bottom + 15}" text-anchor="middle">{tick:,g}</text>')
    drawn.append(f'<text class="tick" x="{end}" y="{bottom + 31}" text-anchor="end">{_text(title)}</text>')
    return "".join(drawn)


def _bar(scale: Scale, low: float, high: float, start: float, end: float, y: float) -> str:
    """Return an interval; an end that lies outside the picture has no cap."""
    ends = [scale(value, start, end) for value in (low, high)]
    inside = [min(max(at, start), end) for at in ends]
    caps = "".join(f"M{at},{y - 4}v8" for at in ends if at in inside)
    return f'<path class="bar" d="M{inside[0]},{y}H{inside[1]}{caps}"/>'


def _left(names: Iterable[str]) -> float:
    """Return where a plot begins that has these names on its left."""
    return 16 + LETTER * max(map(len, names))


def _cut(text: str, longest: int = LONGEST) -> str:
    """Return a name without its middle where it is too long: what tells two apart is mostly at an end."""
    text = plain(text)
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[1 - longest // 2 :]}"


def _text(text: str) -> str:
    return escaped(plain(text))
