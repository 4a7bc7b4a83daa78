"""How often intervals of what a student keeps hold the truth, and how often a test calls equivalent what is not.

Makes up a teacher, a student that keeps 97 % of its accuracy, a model as good as the teacher and a floor, each run with
a few seeds on test sets that all share, as ``benchmarks.statistics.overall`` does. Writes
results/statistics/retention.json and retention.md as it goes; interrupted, it goes on with the settings that are
missing there.

    python -m benchmarks.statistics.retention
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import report
from benchmarks.statistics import settings
from benchmarks.statistics.overall import on_a_task
from flue_bench.statistics.intervals import KEPT_ABOVE, Means, estimate, fieller, seeds_and_examples
from flue_bench.statistics.ratios import mean_ratio_interval
from flue_bench.statistics.significance import equivalence_test

TEACHER = (0.80, 0.85, 0.90, 0.75)
"""Accuracy of the teacher on the tasks."""
KEPT = 0.97
FLOOR = 0.7
"""The floor's accuracy over the teacher's."""
MARGIN = 1 - KEPT
LEVEL = 0.05
SHARED = 0.7
"""Share of the variance of an example's difficulty that all models share."""


class Setting(NamedTuple):
    """One setting."""

    seeds: int
    sd: float
    """Standard deviation over seeds."""
    examples: int
    tasks: int


SETTINGS = tuple(
    Setting(seeds, sd, examples, tasks)
    for tasks in (1, 3)
    for examples in (400, 2000)
    for sd in (0.005, 0.015)
    for seeds in (2, 3, 5)
)


def ask(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """Return what is found about one made-up set of models."""
    tasks = []
    for teacher in TEACHER[: setting.tasks]:
        means = teacher * np.array([KEPT, 1, FLOOR, 1])  # student, teacher, floor, twin
        scores, covariance = on_a_task(rng, means, [setting.seeds] * 4, [setting.sd] * 4, SHARED, setting.examples)
        tasks.append(seeds_and_examples(scores, covariance, setting.examples))
    pairs = [chosen(means, 0, 1) for means in tasks]
    low, high = mean_ratio_interval(pairs)
    above = [chosen(means, 0, 1, 2) for means in tasks]
    floor_low, floor_high = mean_ratio_interval(above, KEPT_ABOVE)
    truth = (KEPT - FLOOR) / (1 - FLOOR)
    twin = chosen(tasks[0], 3, 1)
    alone = fieller(pairs[0])
    return {
        "kept_covered": low <= KEPT <= high,
        "kept_width": high - low,
        "above_covered": floor_low <= truth <= floor_high,
        "above_width": floor_high - floor_low,
        "one_task_width": alone[1] - alone[0],
        "false_equivalent": equivalent(pairs[0]),
        "found_equivalent": equivalent(twin),
    }


def chosen(means: Means, *models: int) -> Means:
    """Return the means of some of the models."""
    some = list(models)
    return Means(
        means.mean[some], means.seeds[some], means.freedom[some], means.examples[np.ix_(some, some)], means.clusters
    )


def equivalent(means: Means) -> bool:
    """Return whether the first model is found equivalent to the second within the margin."""
    ends = estimate(means, [1, MARGIN - 1]), estimate(means, [-1, 1 + MARGIN])
    return equivalence_test(*ends) <= LEVEL


def simulate(rounds: int, number: int) -> dict[str, Any]:
    """Simulate one setting; return its shares and median widths."""
    rng = np.random.default_rng([1954, number])
    found = [ask(rng, SETTINGS[number]) for _ in range(rounds)]
    pick = {name: np.median if name.endswith("width") else np.mean for name in found[0]}
    said = {name: float(pick[name]([each[name] for each in found])) for name in found[0]}
    finite = {name: None if math.isinf(value) else value for name, value in said.items()}
    return SETTINGS[number]._asdict() | {"rounds": rounds} | finite


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""

    def width(value: float | None) -> str:
        return "unbounded" if value is None else f"{100 * value:.1f}"

    table = report.markdown_table(
        [
            *("seeds", "sd of seeds", "examples", "tasks", "sets", "kept", "width"),
            *("above the floor", "width", "called equivalent at the margin", "equal and found equivalent"),
        ],
        [
            [
                str(row["seeds"]),
                f"{100 * row['sd']:g}",
                f"{row['examples']:,}",
                str(row["tasks"]),
                f"{row['rounds']:,}",
                f"{100 * row['kept_covered']:.1f}",
                width(row["kept_width"]),
                f"{100 * row['above_covered']:.1f}",
                width(row["above_width"]),
                f"{100 * row['false_equivalent']:.1f}",
                f"{100 * row['found_equivalent']:.0f}",
            ]
            for row in rows
        ],
    )

    def span(name: str) -> str:
        values = [100 * row[name] for row in rows] or [0.0]
        return f"{min(values):.1f} to {max(values):.1f}"

    rounds = min((row["rounds"] for row in rows), default=1)
    return f"""# What a student keeps, on made-up models whose truth is known

In percent; widths are medians. A student keeps {100 * KEPT:g} % of its teacher's accuracy, and
{100 * (KEPT - FLOOR) / (1 - FLOOR):.0f} % of what the teacher has above a floor. How they are made: the head of
`benchmarks/statistics/retention.py`, which makes this file. Monte-Carlo error (95 %) around 5 and 95:
±{196 * math.sqrt(0.05 * 0.95 / rounds):.1f} for {rounds:,} sets of models.

- Coverage of the 95 % intervals (should be 95): **kept**, the mean over the tasks (of one task Fieller's interval, of
  several the delta method's), {span("kept_covered")}; **above the floor** {span("above_covered")}.
- **called equivalent at the margin** (should be 5 or less): the student, which lies exactly {100 * MARGIN:.0f} % below
  its teacher, is called equivalent within {100 * MARGIN:.0f} %: {span("false_equivalent")}. On one task.
- **equal and found equivalent**: a model as good as the teacher is.

{table}
"""


def main() -> None:
    """Simulate every setting in turn."""
    settings.in_turn(settings.arguments(__doc__, 4000, "made-up sets"), "retention", SETTINGS, simulate, markdown)


if __name__ == "__main__":
    main()
