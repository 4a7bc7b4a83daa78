"""Lines over a number as one SVG file, written by hand: nothing to install, sharp at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from flue_bench.escape import plain

COLOURS = ("#1b1f24", "#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989")
LEFT, RIGHT, TOP, LINE, BOTTOM = 52, 14, 20, 14, 28
"""Margins of a panel, and the height of a line of its legend."""


class Point(NamedTuple):
    """One point of a line."""

    x: float
    y: float
    low: float | None = None
    """Lower end of an interval around ``y``; None draws none."""
    high: float | None = None
    said: str = ""
    """What a pointer over the point shows; a point without is not marked."""


@dataclass(frozen=True)
class Line:
    """One line, from its first point to its last."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """Some lines over one axis."""

    title: str
    lines: Sequence[Line]
    x_title: str = ""
    logarithmic: bool = False
    """The x axis: factors instead of differences."""
    from_zero: bool = True
    """The y axis begins at 0, or below; otherwise where the lines do."""
    stacked: bool = False
    """The legend has a line for each name, since names are long."""


def draw(panels: Sequence[Panel], width: int = 360, height: int = 240, columns: int = 2) -> str:
    """Return an SVG of the panels, row by row.

    Args:
        panels: at least one; a panel whose legend needs more room makes all of them higher.
        width: of a panel.
        height: of a panel, with a legend of one line.
        columns: panels side by side.
    """
    height += LINE * max((len(panel.lines) - 1 if panel.stacked else 0) + bool(panel.x_title) for panel in panels)
    drawn = "".join(
        f'<g transform="translate({i % columns * width},{i // columns * height})">{_panel(panel, width, height)}</g>'
        for i, panel in enumerate(panels)
    )
    wide, high = columns * width, -(-len(panels) // columns) * height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n'
    )


def _panel(panel: Panel, width: int, height: int) -> str:
    lines, top = panel.lines, TOP + LINE * (len(panel.lines) if panel.stacked else 1)
    xs = [point.x for line in lines for point in line.points] or [0.0]
    ys = [y for line in lines for point in line.points for y in (point.y, point.low, point.high) if y is not None] or [
        0.0
    ]
    if panel.logarithmic:
        x0, x1 = math.log(min(xs)), math.log(max(xs))
        x1 = x1 if x1 > x0 else x0 + 1
    else:
        x0, x1 = min(xs), max(max(xs), min(xs) + 1)
    y0, y1 = (min(0.0, *ys), max(ys) or 1.0) if panel.from_zero else (min(ys), max(max(ys), min(ys) + 1e-9))
    right, bottom = width - RIGHT, height - BOTTOM - (LINE if panel.x_title else 0)

    def across(x: float) -> float:
        return LEFT + ((math.log(x) if panel.logarithmic else x) - x0) / (x1 - x0) * (right - LEFT)

    def up(y: float) -> float:
        return bottom - (y - y0) / (y1 - y0) * (bottom - top)

    drawn = [f'<text x="{LEFT}" y="16" font-weight="bold">{_text(panel.title)}</text>']
    for share in (0, 0.5, 1):
        y = y0 + share * (y1 - y0)
        high = bottom - share * (bottom - top)
        drawn.append(f'<path d="M{LEFT},{high}H{right}" stroke="#d0d7de"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{high + 4}" text-anchor="end">{y:.3g}</text>')
    if not panel.logarithmic:
        half = float(round((x0 + x1) / 2))  # drawn where it is: of 1 to 6 that is 4, right of the middle
        ticks = {x0: "start", x1: "end"} | ({half: "middle"} if x0 < half < x1 else {})
        for x, anchor in ticks.items():
            drawn.append(f'<text x="{across(x):.1f}" y="{bottom + 16}" text-anchor="{anchor}">{x:,.0f}</text>')
    last = -math.inf
    for x in sorted(set(xs)) if panel.logarithmic else ():
        text = f"{x:,.0f}"
        if across(x) - last > 7 * len(text):  # otherwise the numbers would run into each other
            last = across(x)
            drawn.append(f'<path d="M{last:.1f},{bottom}v4" stroke="#57606a"/>')
            middle = min(last, width - 4 * len(text))  # the last number does not leave the picture
            drawn.append(f'<text x="{middle:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    if panel.x_title:
        drawn.append(
            f'<text x="{right}" y="{height - 2}" text-anchor="end" fill="#57606a">{_text(panel.x_title)}</text>'
        )
    for i, line in enumerate(lines):
        colour, dashes = COLOURS[i % len(COLOURS)], ' stroke-dasharray="5 3"' if i >= len(COLOURS) else ""
        points = " ".join(f"{across(point.x):.1f},{up(point.y):.1f}" for point in line.points)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        for point in line.points:
            x, y = across(point.x), up(point.y)
            if point.low is not None and point.high is not None:
                aside = x + 2 * i - (len(lines) - 1)  # bars of several lines over one x beside each other
                ends = f"M{aside:.1f},{up(point.low):.1f}V{up(point.high):.1f}"
                drawn.append(f'<path d="{ends}" stroke="{colour}" stroke-opacity="0.5"/>')
            if point.said:
                said = f"<title>{_text(point.said)}</title>"
                drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">{said}</circle>')
        if panel.stacked:
            drawn.append(f'<text x="{LEFT}" y="{29 + LINE * i}" fill="{colour}">{_text(line.name)}</text>')
        elif len(lines) > 1:
            drawn.append(f'<text x="{LEFT + 70 * i}" y="29" fill="{colour}">{_text(line.name)}</text>')
    return "".join(drawn)


def _text(text: str) -> str:
    return escape(plain(text))
