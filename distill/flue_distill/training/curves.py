"""The curves of a training as one SVG file, and as a page that reloads while it goes on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flue_bench.svg import Line, Panel, Point, draw

POINTS = 300
"""The most points per line; more steps are averaged."""
LOSSES = ("loss", "distil", "mlm", "cosine")
OF_LAYERS = ("hidden", "relations")
"""Parts of the loss that a log has only where they have a weight."""


class Curves:
    """The numbers of a log that are drawn, eight bytes each, so that a step more costs no look at those before."""

    def __init__(self) -> None:
        """Start without a step."""
        self.steps = array("q")
        self.trained = {key: array("d") for key in (*LOSSES, *OF_LAYERS, "learning_rate")}
        self.looks: list[dict[str, Any]] = []

    def add(self, line: dict[str, Any]) -> None:
        """Take a line of the log; steps that were left out have no loss."""
        if "loss" in line:
            self.steps.append(line["step"])
            for key, values in self.trained.items():
                if key in line:
                    values.append(line[key])
        if line.get("held_out"):
            self.looks.append(line)

    def draw(self) -> str:
        """Return an SVG of losses, learning rate and held-out scores over the steps."""

        def trained(key: str) -> Line:
            return _thinned(key, self.steps, self.trained[key])

        def held_out(key: str) -> Line:
            return _thinned(key, [line["step"] for line in self.looks], [line["held_out"][key] for line in self.looks])

        losses = [*LOSSES, *(key for key in OF_LAYERS if self.trained[key])]
        taught = bool(self.looks) and "top1" in self.looks[0]["held_out"]
        panels = [
            Panel("Loss and its parts", [trained(key) for key in losses]),
            Panel("Learning rate", [trained("learning_rate")]),
        ]
        if self.looks:
            panels.append(Panel("Held out: MLMLoss", [held_out("mlm")]))
        if taught:
            panels.append(Panel("Held out: agreement with the teacher", [held_out("top1"), held_out("kl")]))
        return draw(panels)


def curves(log: Iterable[dict[str, Any]]) -> str:
    """Return an SVG of a log's losses, learning rate and held-out scores over the steps."""
    drawn = Curves()
    for line in log:
        drawn.add(line)
    return drawn.draw()


def page(svg: str, seconds: float | None = None) -> str:
    """Return the curves as a page that reloads after so many seconds; None: never again."""
    again = "" if seconds is None else f'<meta http-equiv="refresh" content="{max(1, round(seconds))}">'
    return f'<!doctype html><meta charset="utf-8">{again}<title>Distillation</title>\n{svg}'


def _thinned(name: str, steps: Sequence[float], values: Sequence[float]) -> Line:
    if len(steps) > POINTS:
        parts = [np.array_split(np.asarray(each, float), POINTS) for each in (steps, values)]
        steps, values = ([float(part.mean()) for part in each] for each in parts)
    return Line(name, [Point(x, y) for x, y in zip(steps, values, strict=True)])
