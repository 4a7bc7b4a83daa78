"""How often the intervals of an overall hold the truth: ranks, and probabilities of improvement.

Makes up models whose true means over several tasks are known, runs them with a few seeds on made-up test sets that all
models share, and asks ``flue_bench.statistics.ranks``. Writes results/statistics/overall.json and overall.md as it
goes; interrupted, it goes on with the settings that are missing there.

    python -m benchmarks.statistics.overall

A run's true accuracy on a task is N(mean of the model there, sd). It has an example right if a normal variable of
variance 1 lies above the threshold that makes the expected accuracy so; a part of that variable is the example's ease,
which all models share, the rest is half the model's view of it and half the run's. So scores of models are correlated.
For the probability of improvement the runs' scores on the test sets there are, N(mean, sd), are made up alone: it asks
about these test sets.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.common import report
from benchmarks.statistics import settings
from flue_bench.statistics import intervals
from flue_bench.statistics.ranks import improvement, over_tasks, rank_intervals, told_apart

Floats = NDArray[np.float64]

DRAWS = 1000
"""Draws for the critical value, fewer than usual to save time."""
TASKS = (0.78, 0.82, 0.86, 0.90)
"""Mean accuracy on the tasks."""
INTERACTION = 0.02
"""Standard deviation of what a model is better on one task than on the others, drawn with each made-up set."""


class Setting(NamedTuple):
    """One setting of the simulation of ranks."""

    truth: str
    """``equal``: all models are as good; ``halves``: the second half is 3 points below; ``steps``: 1 point each."""
    models: int
    seeds: tuple[int, ...]
    """Seeds of the models, in turn."""
    sds: tuple[float, ...]
    """Standard deviations over the seeds of the models, in turn."""
    shared: float
    """Share of the variance of an example's difficulty that all models share."""
    examples: int
    tasks: int = len(TASKS)
    of_tasks: tuple[float, ...] = (1.0,)
    """Factors of the standard deviations on the tasks, in turn."""


SETTINGS = (
    Setting("equal", 10, (3,), (0.015,), 0.6, 1000),
    Setting("equal", 10, (3,), (0.015,), 0.95, 1000),
    Setting("equal", 10, (3,), (0.005,), 0.6, 400),
    Setting("equal", 10, (2,), (0.015,), 0.6, 1000),
    Setting("equal", 10, (2, 3, 10), (0.005, 0.015, 0.03), 0.6, 1000),
    Setting("equal", 10, (10, 3, 2), (0.005, 0.015, 0.03), 0.6, 1000),
    Setting("equal", 10, (5,), (0.015,), 0.6, 1000),
    Setting("equal", 10, (3,), (0.015,), 0.6, 1000, 1),
    Setting("equal", 2, (3,), (0.015,), 0.6, 1000),
    Setting("equal", 2, (2, 10), (0.03, 0.005), 0.6, 1000),
    Setting("halves", 10, (3,), (0.015,), 0.6, 1000),
    Setting("steps", 10, (3,), (0.015,), 0.6, 1000),
    Setting("steps", 10, (5,), (0.015,), 0.95, 1000),
    Setting("steps", 5, (3,), (0.005,), 0.95, 2000),
    Setting("equal", 5, (2,), (0.01,), 0.6, 1000, of_tasks=(0.4, 0.4, 0.4, 4)),
    Setting("equal", 5, (3,), (0.01,), 0.6, 1000, of_tasks=(0.4, 0.4, 0.4, 4)),
)
SHARES = ((0.5, 0.5), (0.7, 0.7), (0.9, 0.9), (0.98, 0.98), (0.99, 0.3))
"""True probabilities of improvement on the tasks, in turn."""


def true_means(rng: np.random.Generator, setting: Setting) -> Floats:
    """Return the models' true accuracy on each task, (tasks, models); their means over tasks are the setting's."""
    place = np.arange(setting.models)
    apart = {"equal": 0.0 * place, "halves": np.where(2 * place < len(place), 0, -0.03), "steps": -0.01 * place}
    own = INTERACTION * rng.standard_normal((setting.tasks, setting.models))
    means: Floats = np.array(TASKS[: setting.tasks])[:, None] + apart[setting.truth] + own - own.mean(axis=0)
    return means


def on_a_task(
    rng: np.random.Generator, means: Floats, seeds: Sequence[int], sds: Sequence[float], shared: float, examples: int
) -> tuple[list[Floats], Floats]:
    """Return the accuracies of every model's runs on one test set, and their covariance under its sampling."""
    model = np.repeat(np.arange(len(means)), seeds)
    accuracy = np.repeat(means, seeds) + np.repeat(sds, seeds) * rng.standard_normal(len(model))
    view = math.sqrt(shared) * rng.standard_normal(examples)
    of_model = math.sqrt((1 - shared) / 2) * rng.standard_normal((len(means), examples))
    of_run = math.sqrt((1 - shared) / 2) * rng.standard_normal((len(model), examples))
    right = special.ndtri(np.clip(accuracy, 1e-6, 1 - 1e-6))[:, None] + view + of_model[model] + of_run > 0
    # The bootstrap's covariance of means of independent examples, without its chance.
    covariance = np.cov(right.astype(np.float32)).astype(np.float64) / examples
    return np.split(right.mean(axis=1), np.cumsum(seeds)[:-1]), np.atleast_2d(covariance)


def ask(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """Return what is found about one made-up set of models."""
    truth = true_means(rng, setting)
    seeds = [setting.seeds[i % len(setting.seeds)] for i in range(setting.models)]
    sds = [setting.sds[i % len(setting.sds)] for i in range(setting.models)]
    tasks = []
    for means, factor in zip(truth, np.resize(setting.of_tasks, len(truth)), strict=True):
        spreads = [factor * sd for sd in sds]
        scores, covariance = on_a_task(rng, means, seeds, spreads, setting.shared, setting.examples)
        tasks.append(intervals.seeds_and_examples(scores, covariance, setting.examples))
    measured = over_tasks(tasks)
    overall = truth.mean(axis=0)
    better = overall[:, None] > overall + 1e-9  # (models, models): truly above
    above = told_apart(measured, draws=DRAWS)
    means_covered = []
    for i in range(setting.models):
        low, high = intervals.score_interval(measured.of(i))
        means_covered.append(low <= overall[i] <= high)
    return {
        "covered": not (above & ~better).any(),
        "width": float(np.mean([ends.high - ends.low + 1 for ends in rank_intervals(above)])),
        "found": float((above & better).sum() / max(better.sum(), 1)),
        "mean_covered": float(np.mean(means_covered)),
    }


def simulate(rounds: int, number: int) -> dict[str, Any]:
    """Simulate one setting of ranks; return its shares and means."""
    rng = np.random.default_rng([2024, number])
    found = [ask(rng, SETTINGS[number]) for _ in range(rounds)]
    means = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    return SETTINGS[number]._asdict() | {"rounds": rounds} | means


def improved(rounds: int, seeds: int, tasks: int, shares: tuple[float, float]) -> dict[str, Any]:
    """Simulate the probability of improvement for two models; return how often its interval holds the truth."""
    rng = np.random.default_rng([2021, seeds, tasks, round(1000 * shares[0]), round(1000 * shares[1])])
    truth = np.resize(np.array(shares), tasks)
    ahead = math.sqrt(2) * special.ndtri(truth)  # how far the first model's scores lie ahead, in standard deviations
    covered, width = 0, 0.0
    for _ in range(rounds):
        ours, theirs = rng.standard_normal((2, tasks, seeds))
        found = improvement(list(ours + ahead[:, None]), list(theirs))
        covered += found.low <= truth.mean() <= found.high
        width += found.high - found.low
    return {
        "seeds": seeds,
        "tasks": tasks,
        "probability": float(truth.mean()),
        "shares": shares,
        "rounds": rounds,
        "covered": covered / rounds,
        "width": width / rounds,
    }


def markdown(ranked: list[dict[str, Any]], better: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""

    def listed(values: Sequence[float], scale: float = 1) -> str:
        return ", ".join(f"{scale * value:g}" for value in values)

    ranks = report.markdown_table(
        [
            "truth",
            "models",
            "tasks",
            "seeds",
            "sd of seeds",
            "shared",
            "examples",
            "sets",
            "ranks",
            "mean",
            "ranks a model",
            "found",
        ],
        [
            [
                row["truth"],
                str(row["models"]),
                str(row["tasks"]),
                listed(row["seeds"]),
                listed(row["sds"], 100) + (f" times {listed(row['of_tasks'])}" if len(row["of_tasks"]) > 1 else ""),
                f"{100 * row['shared']:.0f} %",
                f"{row['examples']:,}",
                f"{row['rounds']:,}",
                f"{100 * row['covered']:.1f}",
                f"{100 * row['mean_covered']:.1f}",
                f"{row['width']:.1f}",
                "" if row["truth"] == "equal" else f"{100 * row['found']:.0f}",
            ]
            for row in ranked
        ],
    )
    improvements = report.markdown_table(
        ["seeds", "tasks", "true probability", "sets", "coverage", "width"],
        [
            [
                str(row["seeds"]),
                str(row["tasks"]),
                f"{100 * row['probability']:.1f}",
                f"{row['rounds']:,}",
                f"{100 * row['covered']:.1f}",
                f"{100 * row['width']:.0f}",
            ]
            for row in better
        ],
    )
    covered, holding = ([100 * row["covered"] for row in rows] for rows in (ranked, better))
    rounds = min((row["rounds"] for row in ranked), default=1)
    worst = min(covered, default=0.0)
    return f"""# The intervals of an overall, on made-up models whose truth is known

In percent. How the models are made: the head of `benchmarks/statistics/overall.py`, which makes this file.

## Ranks

Simultaneous 95 % intervals of the ranks of all models by their mean over the tasks. Monte-Carlo error (95 %) around 95:
±{196 * math.sqrt(0.05 * 0.95 / rounds):.1f} for {rounds:,} sets of models. Lowest coverage: {worst:.1f}.

- **truth**: all models equally good; the second half 3 points below; each 1 point below the next. Every model is better
  on some tasks than on others (sd {100 * INTERACTION:g} points), which cancels out in its mean.
- **seeds**, **sd of seeds**: of the models, in turn, the latter times a factor of each task where they differ.
  **shared**: how much of an example's difficulty all models share.
- **ranks**: how often the intervals hold all true ranks at once (should be 95 or more). **mean**: how often the
  interval of a single mean holds it. **ranks a model**: how many ranks an interval holds on average. **found**: share
  of the pairs that are truly apart and are told apart.

{ranks}

## Probability of improvement

How often the 95 % interval of one pair holds the true probability that a run of the first model scores above one of
the second, a task drawn at random. Lowest coverage: {min(holding, default=0.0):.1f}. The interval keeps to a bound that
holds for any distribution of scores, and is wide where runs are few.

{improvements}
"""


def main() -> None:
    """Simulate every setting in turn."""
    asked = settings.arguments(__doc__, 4000, "made-up sets")
    kept = asked.out / "overall.json"
    made: dict[str, list[dict[str, Any]]] = {"ranks": [], "improvement": []}
    if kept.is_file():
        made = json.loads(kept.read_text(encoding="utf-8"))

    def write() -> None:
        report.write(asked.out, "overall", made, markdown(made["ranks"], made["improvement"]))

    for seeds, tasks, shares in product((3, 5, 10), (1, 4), SHARES):
        if not any((r["seeds"], r["tasks"], tuple(r["shares"])) == (seeds, tasks, shares) for r in made["improvement"]):
            made["improvement"].append(improved(asked.rounds, seeds, tasks, shares))
    write()
    for number in range(len(made["ranks"]), len(SETTINGS)):
        began = time.perf_counter()
        made["ranks"].append(simulate(asked.rounds, number))
        print(f"{SETTINGS[number]}: {time.perf_counter() - began:.0f} s", flush=True)
        write()


if __name__ == "__main__":
    main()
