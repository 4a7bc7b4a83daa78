"""The curves of a training as one SVG file, written by hand: nothing to install, sharp at any size."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 240, 52, 34, 28
POINTS = 300
"""The most points per line; more steps are averaged."""
COLOURS = ("#1b1f24", "#0969da", "#bc4c00", "#1a7f37")

Line = tuple[str, Sequence[float], Sequence[float]]
"""Name, steps, values."""


def curves(log: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of a log's losses, learning rate and held-out scores over the steps."""
    steps = [line for line in log if "loss" in line]
    looks = [line for line in log if line.get("held_out")]

    def trained(key: str) -> Line:
        return key, [line["step"] for line in steps], [line[key] for line in steps]

    def held_out(key: str) -> Line:
        return key, [line["step"] for line in looks], [line["held_out"][key] for line in looks]

    taught = bool(looks) and "top1" in looks[0]["held_out"]
    panels: list[tuple[str, list[Line]]] = [
        ("Loss and its parts", [trained(key) for key in ("loss", "distil", "mlm", "cosine")]),
        ("Learning rate", [trained("learning_rate")]),
    ]
    if looks:
        panels.append(("Held out: MLMLoss", [held_out("mlm")]))
    if taught:
        panels.append(("Held out: agreement with the teacher", [held_out("top1"), held_out("kl")]))
    drawn = "".join(
        f'<g transform="translate({i % 2 * WIDTH},{i // 2 * HEIGHT})">{_panel(*panel)}</g>'
        for i, panel in enumerate(panels)
    )
    width, height = 2 * WIDTH, -(-len(panels) // 2) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n'
    )


def _panel(title: str, lines: Sequence[Line]) -> str:
    lines = [_thinned(line) for line in lines]
    xs = [x for _, steps, _ in lines for x in steps] or [0.0]
    ys = [y for _, _, values in lines for y in values] or [0.0]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1)
    y0, y1 = min(0.0, *ys), max(ys) or 1.0
    right, bottom = WIDTH - 14, HEIGHT - BOTTOM

    def at(x: float, y: float) -> str:
        return (
            f"{LEFT + (x - x0) / (x1 - x0) * (right - LEFT):.1f},{bottom - (y - y0) / (y1 - y0) * (bottom - TOP):.1f}"
        )

    drawn = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>']
    for share in (0, 0.5, 1):
        y = y0 + share * (y1 - y0)
        height = bottom - share * (bottom - TOP)
        drawn.append(f'<path d="M{LEFT},{height}H{right}" stroke="#d0d7de"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{height + 4}" text-anchor="end">{y:.3g}</text>')
        x, anchor = x0 + share * (x1 - x0), ("start", "middle", "end")[int(share * 2)]
        across = LEFT + share * (right - LEFT)
        drawn.append(f'<text x="{across}" y="{bottom + 16}" text-anchor="{anchor}">{x:,.0f}</text>')
    for i, (name, steps, values) in enumerate(lines):
        points = " ".join(at(x, y) for x, y in zip(steps, values, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[i]}" stroke-width="1.5"/>')
        if len(lines) > 1:
            drawn.append(f'<text x="{LEFT + 70 * i}" y="29" fill="{COLOURS[i]}">{escape(name)}</text>')
    return "".join(drawn)


def _thinned(line: Line) -> Line:
    name, steps, values = line
    if len(steps) <= POINTS:
        return line
    parts = [np.array_split(np.asarray(each, float), POINTS) for each in (steps, values)]
    x, y = ([float(part.mean()) for part in each] for each in parts)
    return name, x, y
