"""What a board says of a row of several distillations of one recipe, on normal scores whose truth is known.

Draws, for each recipe, distillations with an effect of their own, seeds of fine-tuning within each, and what one test
set does to all of them; beside them models of one training, with seeds alone. Asks what a board asks: the interval of
an entry, two entries that are equal, a whole column of equal ones, and whether a difference is shown as often as the
power line says. Writes results/statistics/recipes.json and recipes.md as it goes.

    python -m benchmarks.statistics.recipes
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import report
from benchmarks.statistics import settings
from flue_bench.statistics import columns
from flue_bench.statistics.intervals import Floats, Means, estimate, seeds_and_examples, t_interval
from flue_bench.statistics.power import Noise, smallest_difference
from flue_bench.statistics.replicates import averaged
from flue_bench.statistics.significance import t_test

TRUE = 0.8
"""The mean score of every recipe and model, over all distillations and seeds."""
RECIPES, MODELS = 3, 3
SEEDS_OF_MODELS = 3
SD_SEEDS = 0.01
EXAMPLES = 0.008
"""Standard deviation of what a test set does to one recipe or model, beside what it does to all."""
OF_ALL, OF_RUNS = 0.01, 0.003
"""Of what it does to all of them, and to a single run."""
CLUSTERS = 1000
LEVEL = 0.05


class Setting(NamedTuple):
    """One setting."""

    sd: float
    """Standard deviation over distillations."""
    distillations: int
    seeds: int
    """Of fine-tuning, of each distillation."""


SETTINGS = tuple(Setting(sd, k, seeds) for sd, seeds, k in product((0.0, 0.01, 0.02), (1, 3), (2, 3, 5)))


def drawn(rng: np.random.Generator, setting: Setting) -> tuple[list[Floats], Floats, list[list[list[int]]]]:
    """Return the scores of the runs of each recipe and model, their covariance by the test set, and their units."""
    shape = [(setting.distillations, setting.seeds)] * RECIPES + [(1, SEEDS_OF_MODELS)] * MODELS
    test_set = OF_ALL * rng.standard_normal()
    scores, units, owner = [], [], []
    for number, (k, seeds) in enumerate(shape):
        several = number < RECIPES
        of = TRUE + test_set + EXAMPLES * rng.standard_normal()
        distilled = setting.sd * rng.standard_normal((k, 1)) if several else 0.0
        chance = math.hypot(SD_SEEDS, OF_RUNS) * rng.standard_normal((k, seeds))
        scores.append((of + distilled + chance).ravel())
        runs = np.arange(k * seeds).reshape(k, seeds)
        units.append(runs.tolist() if several else runs.T.tolist())
        owner += [number] * (k * seeds)
    same = np.equal.outer(owner, owner)
    covariance = OF_ALL**2 + EXAMPLES**2 * same + OF_RUNS**2 * np.eye(len(owner))
    return scores, covariance, units


def told_apart(means: Means, one: int, other: int) -> bool:
    """Return whether two of them are told apart at 5 %."""
    return t_test(estimate(means.of(one, other), [1, -1])) < LEVEL


def ask(rng: np.random.Generator, setting: Setting) -> dict[str, float]:
    """Return what is found about one made-up column."""
    scores, covariance, units = drawn(rng, setting)
    means = seeds_and_examples(*averaged(scores, covariance, units), CLUSTERS)
    low, high = t_interval(estimate(means.of(0), [1]))
    pooled = seeds_and_examples(scores, covariance, CLUSTERS)
    flat = t_interval(estimate(pooled.of(0), [1]))
    best = int(means.mean.argmax())
    adjusted = columns.p_values(means, best, draws=1000)
    below = [
        max(t_test(estimate(means.of(i, best), [1, -1])), float(adjusted[i])) < LEVEL
        for i in range(RECIPES + MODELS)
        if i != best
    ]
    noise = Noise(math.hypot(setting.sd, math.hypot(SD_SEEDS, OF_RUNS) / math.sqrt(setting.seeds)),
                  EXAMPLES * math.sqrt(2), CLUSTERS)  # fmt: skip
    better = means.mean.copy()
    better[0] += smallest_difference(noise, setting.distillations)
    shifted = Means(better, means.seeds, means.freedom, means.examples, means.clusters)
    return {
        "entry": low <= TRUE <= high,
        "as seeds of one": flat[0] <= TRUE <= flat[1],
        "two recipes": told_apart(means, 0, 1),
        "recipe and model": told_apart(means, 0, RECIPES),
        "column": any(below),
        "shown": told_apart(shifted, 0, 1),
    }


def simulate(rounds: int, number: int) -> dict[str, Any]:
    """Simulate one setting; return the shares of columns."""
    rng = np.random.default_rng([1971, number])
    found = [ask(rng, SETTINGS[number]) for _ in range(rounds)]
    said = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    return SETTINGS[number]._asdict() | {"rounds": rounds} | said


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    names = ("entry", "as seeds of one", "two recipes", "recipe and model", "column", "shown")
    table = report.markdown_table(
        ["sd of distillations", "distillations", "seeds of each", *names],
        [
            [f"{100 * row['sd']:g}", str(row["distillations"]), str(row["seeds"])]
            + [f"{100 * row[name]:.1f}" for name in names]
            for row in rows
        ],
    )

    def span(name: str) -> str:
        values = [100 * row[name] for row in rows]
        return f"{min(values):.1f} to {max(values):.1f}"

    rounds = min(row["rounds"] for row in rows)
    error = 196 * math.sqrt(0.05 * 0.95 / rounds)
    return f"""# Several distillations of one recipe as one row of a board, on normal scores whose truth is known

In percent. A column has {RECIPES} recipes and {MODELS} models of one training with {SEEDS_OF_MODELS} seeds each, all
equally good; seeds of fine-tuning have a sd of {100 * SD_SEEDS:g}. How they are made: the head of
`benchmarks/statistics/recipes.py`, which makes this file. Monte-Carlo error (95 %) around 5 or 95: ±{error:.1f} for
{rounds:,} columns a setting.

- **entry**: the 95 % interval of a recipe's row holds its true mean over distillations, {span("entry")} (should be 95).
  **As seeds of one**, all runs as if one student had them: {span("as seeds of one")}.
- **two recipes**, **recipe and model**: two equal rows are told apart, {span("two recipes")} and
  {span("recipe and model")}; **column**: any of the equal rows is called below the best, {span("column")} (should be 5
  or less).
- **shown**: a difference of two recipes as large as the power line says for these distillations and seeds is told
  apart, {span("shown")} (should be 80).

{table}
"""


def main() -> None:
    """Simulate every setting in turn."""
    settings.in_turn(settings.arguments(__doc__, 2000, "columns"), "recipes", SETTINGS, simulate, markdown)


if __name__ == "__main__":
    main()
