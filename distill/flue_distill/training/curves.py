"""The curves of a training as one SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flue_bench.svg import Line, Panel, Point, draw

POINTS = 300
"""The most points per line; more steps are averaged."""


def curves(log: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of a log's losses, learning rate and held-out scores over the steps."""
    steps = [line for line in log if "loss" in line]
    looks = [line for line in log if line.get("held_out")]

    def trained(key: str) -> Line:
        return _thinned(key, [line["step"] for line in steps], [line[key] for line in steps])

    def held_out(key: str) -> Line:
        return _thinned(key, [line["step"] for line in looks], [line["held_out"][key] for line in looks])

    taught = bool(looks) and "top1" in looks[0]["held_out"]
    panels = [
        Panel("Loss and its parts", [trained(key) for key in ("loss", "distil", "mlm", "cosine")]),
        Panel("Learning rate", [trained("learning_rate")]),
    ]
    if looks:
        panels.append(Panel("Held out: MLMLoss", [held_out("mlm")]))
    if taught:
        panels.append(Panel("Held out: agreement with the teacher", [held_out("top1"), held_out("kl")]))
    return draw(panels)


def _thinned(name: str, steps: Sequence[float], values: Sequence[float]) -> Line:
    if len(steps) > POINTS:
        parts = [np.array_split(np.asarray(each, float), POINTS) for each in (steps, values)]
        steps, values = ([float(part.mean()) for part in each] for each in parts)
    return Line(name, [Point(x, y) for x, y in zip(steps, values, strict=True)])
