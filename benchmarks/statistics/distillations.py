"""How often an interval holds the truth where a student's recipe is distilled several times, and where it is not.

Makes up distillations of one recipe whose true means differ, fine-tunes each with a few seeds on a test set that all
share with the teacher, and asks for the difference: once with distillations as the units that were drawn, once with
all runs as if they were seeds of one student, once with the seeds of a single student. Writes
results/statistics/distillations.json and distillations.md as it goes; interrupted, it goes on with the settings that
are missing there.

    python -m benchmarks.statistics.distillations
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import report
from benchmarks.statistics import settings
from benchmarks.statistics.overall import on_a_task
from flue_bench.statistics.intervals import Floats, estimate, seeds_and_examples, t_interval
from flue_bench.statistics.replicates import averaged

TEACHER, STUDENT = 0.85, 0.82
"""Mean accuracy; the student's over all distillations of its recipe."""
SEEDS = 3
SD_SEEDS = 0.01
SHARED = 0.7
"""Share of the variance of an example's difficulty that all models share."""


class Setting(NamedTuple):
    """One setting."""

    distillations: int
    sd: float
    """Standard deviation over distillations."""
    examples: int


SETTINGS = tuple(
    Setting(distillations, sd, examples)
    for sd, examples, distillations in product((0.0, 0.01, 0.02), (500, 2000), (2, 3, 5))
)


def ask(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """Return what is found about one made-up set of models."""
    k = setting.distillations
    students = STUDENT + setting.sd * rng.standard_normal(k)
    runs, covariance = on_a_task(
        rng, np.append(students, TEACHER), [SEEDS] * (k + 1), [SD_SEEDS] * (k + 1), SHARED, setting.examples
    )
    scores = [np.concatenate(runs[:k]), runs[k]]
    units = [np.arange(SEEDS * k).reshape(k, SEEDS).tolist(), [[i] for i in range(SEEDS)]]
    found: dict[str, float] = {}

    def judge(name: str, of_models: list[Floats], of_covariance: Floats) -> None:
        low, high = t_interval(estimate(seeds_and_examples(of_models, of_covariance, setting.examples), [1, -1]))
        found[f"{name}_covered"] = low <= STUDENT - TEACHER <= high
        found[f"{name}_width"] = high - low

    judge("distillations", *averaged(scores, covariance, units))
    judge("pooled", scores, covariance)
    one = [*range(SEEDS), *range(SEEDS * k, SEEDS * (k + 1))]
    judge("one", [runs[0], runs[k]], covariance[np.ix_(one, one)])
    return found


def simulate(rounds: int, number: int) -> dict[str, Any]:
    """Simulate one setting; return shares of coverage and median widths."""
    rng = np.random.default_rng([2007, number])
    found = [ask(rng, SETTINGS[number]) for _ in range(rounds)]
    pick = {name: np.median if name.endswith("width") else np.mean for name in found[0]}
    said = {name: float(pick[name]([each[name] for each in found])) for name in found[0]}
    return SETTINGS[number]._asdict() | {"rounds": rounds} | said


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    names = ("distillations", "pooled", "one")
    table = report.markdown_table(
        [
            *("sd of distillations", "examples", "distillations", "sets"),
            *("by distillations", "width", "as seeds of one", "width", "one student", "width"),
        ],
        [
            [f"{100 * row['sd']:g}", f"{row['examples']:,}", str(row["distillations"]), f"{row['rounds']:,}"]
            + [f"{100 * row[f'{name}_{what}']:.1f}" for name in names for what in ("covered", "width")]
            for row in rows
        ],
    )

    def span(name: str) -> str:
        values = [100 * row[f"{name}_covered"] for row in rows] or [0.0]
        return f"{min(values):.1f} to {max(values):.1f}"

    rounds = min((row["rounds"] for row in rows), default=1)
    error = 196 * math.sqrt(0.05 * 0.95 / rounds)
    return f"""# Distillations as a source of chance, on made-up models whose truth is known

In percent; widths are medians. A recipe's students have a mean accuracy of {100 * STUDENT:g}, their teacher has
{100 * TEACHER:g}; {SEEDS} seeds of each, of sd {100 * SD_SEEDS:g}. How they are made: the head of
`benchmarks/statistics/distillations.py`, which makes this file. Monte-Carlo error (95 %) around 95: ±{error:.1f} for
{rounds:,} sets.

Coverage of the 95 % interval of the difference of recipe and teacher (should be 95): **by distillations**, as
`compare --question distilled` has it, {span("distillations")}; **as seeds of one**, all runs as if one student had
them, {span("pooled")}; **one student** alone, which answers another question, {span("one")}.

{table}
"""


def main() -> None:
    """Simulate every setting in turn."""
    settings.in_turn(settings.arguments(__doc__, 4000, "made-up sets"), "distillations", SETTINGS, simulate, markdown)


if __name__ == "__main__":
    main()
