"""How often the intervals hold the truth, and how often the tests see a difference that is not there.

Makes up test sets and fine-tuned models whose true scores are known, and asks ``flue_bench.statistics`` and three
simpler methods about them. Writes results/statistics/simulation.json and simulation.md as it goes; interrupted, it goes
on with the settings that are missing there.

    python -m benchmarks.statistics.simulate

A model's true accuracy with seed s is p_s ~ N(mu, sd). It has an example right if a normal variable of variance 1 lies
above the threshold that makes the expected accuracy p_s. The variable is made of the example's ease (shared by its
cluster and by all models), of how the model sees it, and of how the seed sees it. So models are paired over examples,
seeds of one model agree more than those of two, and all true scores follow from mu and sd.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.common import report
from benchmarks.statistics import settings
from flue_bench.kinds import counts as counting
from flue_bench.statistics import intervals, significance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ACCURACY = 0.85
KEPT = 0.97
"""The student's mean accuracy over the teacher's."""
SDS = (0.005, 0.015)
SEEDS = (2, 3, 5, 10)
CLUSTER_SIZES = (1, 2, 3, 4)
LARGE = 20
"""Examples in each cluster of the clustered test set."""
TEST_SETS: dict[str, tuple[int, tuple[int, ...]]] = {
    "100": (100, CLUSTER_SIZES),
    "400": (400, CLUSTER_SIZES),
    f"400 in groups of {LARGE}": (400, (LARGE,)),
    "2,000": (2000, CLUSTER_SIZES),
}
"""Number of examples, and sizes of clusters that are drawn."""
CLASSES = np.array([0.5, 0.3, 0.2])
"""Shares of the classes in gold; an example that is not right is predicted as either other class."""
SPURIOUS = 0.7
"""Share of the missed entities that are replaced by a wrong prediction."""
DIFFICULTY = {"cluster": 0.2, "example": 0.4, "model": 0.2, "seed": 0.2}
"""Shares of the variance of an example's difficulty."""
FORMULAS = {"accuracy": counting.accuracy, "f1_macro": counting.macro_f1, "entity_f1_micro": counting.micro_f1}
METRICS = tuple(FORMULAS)
REPLICATES = intervals.REPLICATES // 4
"""Replicates of the bootstrap, fewer than usual to save time."""
LEVEL = 0.05


def true_score(metric: str, mean: float, sd: float) -> float:
    """Return the expected score on an infinite test set, over seeds whose accuracy is N(mean, sd)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    p = mean + sd * nodes
    if metric == "accuracy":
        scores = p
    elif metric == "f1_macro":
        hit = np.outer(p, CLASSES)  # (nodes, classes)
        wrong = np.outer(1 - p, 1 - CLASSES) / (len(CLASSES) - 1)
        scores = (2 * hit / (hit + wrong + CLASSES)).mean(1)
    else:
        scores = 2 * p / (p + SPURIOUS * (1 - p) + 1)
    return float(weights @ scores / weights.sum())


def test_set(
    rng: np.random.Generator,
    examples: int,
    mean: Floats,
    sd: float,
    seeds: int,
    cluster_sizes: tuple[int, ...] = CLUSTER_SIZES,
) -> tuple[Ints, Ints]:
    """Draw the counts of models with these mean accuracies, ``seeds`` seeds each.

    Returns:
        (models · seeds, clusters, classes, 3) as a classification, (models · seeds, clusters, 1, 3) as entities.
    """
    sizes = rng.choice(cluster_sizes, examples)
    sizes = sizes[: np.searchsorted(sizes.cumsum(), examples) + 1]
    cluster = np.repeat(np.arange(len(sizes)), sizes)[:examples]
    gold = rng.choice(len(CLASSES), examples, p=CLASSES)
    other = (gold + rng.integers(1, len(CLASSES), examples)) % len(CLASSES)
    spurious = rng.random(examples) < SPURIOUS

    share = {name: math.sqrt(variance) for name, variance in DIFFICULTY.items()}
    shared = share["cluster"] * rng.standard_normal(len(sizes))[cluster]
    shared += share["example"] * rng.standard_normal(examples)
    of_model = np.repeat(share["model"] * rng.standard_normal((len(mean), examples)), seeds, axis=0)
    of_seed = share["seed"] * rng.standard_normal((len(mean) * seeds, examples))
    accuracy = np.repeat(mean, seeds) + sd * rng.standard_normal(len(mean) * seeds)
    right = special.ndtri(accuracy)[:, None] + shared + of_model + of_seed > 0  # (models · seeds, examples)

    predicted = np.where(right, gold, other)
    classes = np.stack(
        [
            _count(cluster, predicted, right, len(CLASSES)),
            _count(cluster, predicted, np.ones_like(right), len(CLASSES)),
            _count(cluster, np.broadcast_to(gold, right.shape), np.ones_like(right), len(CLASSES)),
        ],
        axis=-1,
    )
    nothing = np.zeros_like(predicted)
    entities = np.stack(
        [_count(cluster, nothing, counted, 1) for counted in (right, right | spurious, np.ones_like(right))], axis=-1
    )
    return classes, entities


def _count(cluster: Ints, label: Ints, counted: NDArray[np.bool_], labels: int) -> Ints:
    """Count the examples of each label: (models, clusters, labels), from (models, examples)."""
    clusters = int(cluster[-1]) + 1
    cell = (np.arange(len(label))[:, None] * clusters + cluster) * labels + label
    return np.bincount(cell[counted], minlength=len(label) * clusters * labels).reshape(len(label), clusters, labels)


class Answers(NamedTuple):
    """What was found on one test set."""

    verdicts: dict[str, bool]
    widths: dict[str, float]
    """Width of an interval."""


def ask(counts: Ints, resampled: Floats, metric: str, sd: float) -> Answers:
    """Return each method's verdicts on one test set with teacher, a model as good, and the student, in this order."""
    models, clusters = np.split(FORMULAS[metric](counts.sum(1)), 3), counts.shape[1]
    covariance = intervals.covariance(resampled, FORMULAS[metric], clusters)
    n = len(models[0])

    def ours(*chosen: int) -> intervals.Means:
        rows = np.concatenate([np.arange(n) + n * i for i in chosen])
        return intervals.seeds_and_examples([models[i] for i in chosen], covariance[np.ix_(rows, rows)], clusters)

    def examples_alone(taken: int) -> float:
        """Return a p-value that pairs the examples of this many seeds' mean scores, ignoring the spread over seeds."""
        weights = np.zeros((3, n))
        weights[:2, :taken] = [[1 / taken], [-1 / taken]]
        w = weights.ravel()
        se = math.sqrt(w @ covariance @ w)
        return significance.t_test(intervals.Estimate(float(w @ np.concatenate(models)), 0, se, clusters - 1))

    truth, lesser = true_score(metric, ACCURACY, sd), true_score(metric, KEPT * ACCURACY, sd)
    entry = intervals.score_interval(ours(0))
    equal = intervals.estimate(ours(0, 1), [1, -1])
    welch = intervals.estimate(replace(ours(0, 1), examples=np.zeros((2, 2))), [1, -1])
    pair = ours(2, 0)
    unequal = intervals.estimate(pair, [1, -1])
    low, high = intervals.t_interval(unequal)
    kept_low, kept_high = intervals.fieller(pair)
    verdicts = {
        "entry_covered": entry[0] <= truth <= entry[1],
        "false_positive": significance.t_test(equal) <= LEVEL,
        "difference_covered": low <= lesser - truth <= high,
        "found": significance.t_test(unequal) <= LEVEL,
        "retention_covered": kept_low <= lesser / truth <= kept_high,
        "false_non_inferior": significance.t_test_above(intervals.estimate(pair, [1, -lesser / truth])) <= LEVEL,
        "false_positive_examples_alone": examples_alone(n) <= LEVEL,
        "false_positive_one_seed": examples_alone(1) <= LEVEL,
        "false_positive_seeds_alone": significance.t_test(welch) <= LEVEL,
    }
    return Answers(verdicts, {"entry_width": entry[1] - entry[0], "difference_width": high - low})


def simulate(rounds: int, sd: float, seeds: int, test: str) -> list[dict[str, Any]]:
    """Simulate one setting; return a row of shares and of median widths for each metric."""
    examples, sizes = TEST_SETS[test]
    rng = np.random.default_rng([round(1e4 * sd), seeds, examples, *sizes])
    said = {metric: Counter[str]() for metric in METRICS}
    widths: dict[str, list[dict[str, float]]] = {metric: [] for metric in METRICS}
    for _ in range(rounds):
        classes, entities = test_set(rng, examples, ACCURACY * np.array([1, 1, KEPT]), sd, seeds, sizes)
        drawn = intervals.resample(np.concatenate([classes, entities], axis=2), REPLICATES)
        for metric in METRICS:
            kinds = slice(0, len(CLASSES)) if metric != "entity_f1_micro" else slice(len(CLASSES), None)
            counts = classes if metric != "entity_f1_micro" else entities
            answers = ask(counts, drawn[:, :, kinds], metric, sd)
            said[metric].update({name: int(yes) for name, yes in answers.verdicts.items()})
            widths[metric].append(answers.widths)
    return [
        {"metric": metric, "sd": sd, "seeds": seeds, "test": test, "rounds": rounds, "replicates": REPLICATES}
        | {name: count / rounds for name, count in said[metric].items()}
        | {name: float(np.median([each[name] for each in widths[metric]])) for name in widths[metric][0]}
        for metric in METRICS
    ]


def coverage(share: float, seeds: int, rule: Callable[[Floats, int], Floats]) -> float:
    """Return the coverage of a 95 % interval of a normal mean, of whose variance seeds estimate this share.

    Args:
        share: the true share of the variance; the rest is known.
        seeds: the estimate's degrees of freedom plus one.
        rule: half the interval in standard errors, from the share that is estimated and its degrees of freedom.
    """
    chi_squared = stats.chi2.ppf((np.arange(400) + 0.5) / 400, seeds - 1)
    estimated = share * chi_squared / (seeds - 1)
    total = estimated + 1 - share
    half = rule(np.minimum(estimated / total, 1), seeds - 1)
    return float(np.mean(1 - 2 * special.ndtr(-half * np.sqrt(total))))


def _cochran_cox(share: Floats, freedom: int) -> Floats:
    return np.asarray(share * special.stdtrit(freedom, 0.975) + (1 - share) * special.ndtri(0.975))


def _flue_bench(share: Floats, freedom: int) -> Floats:
    degrees = [intervals.freedom_of_sum([each, 1 - each], [freedom, math.inf]) for each in share]
    return np.asarray(special.stdtrit(np.minimum(degrees, 1e9), 0.975))


RULES: dict[str, Callable[[Floats, int], Floats]] = {
    "Satterthwaite": lambda share, freedom: np.asarray(special.stdtrit(np.minimum(freedom / share**2, 1e9), 0.975)),
    "flue-bench": _flue_bench,
    "Cochran & Cox": _cochran_cox,
}
SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)

COLUMNS = {
    "entry_covered": "entry",
    "difference_covered": "difference",
    "retention_covered": "retention",
    "false_positive": "ours",
    "false_non_inferior": "non-inferiority",
    "false_positive_examples_alone": "examples alone",
    "false_positive_one_seed": "examples alone, one seed",
    "false_positive_seeds_alone": "seeds alone",
    "found": "ours finds 3 %",
    "entry_width": "entry's width",
    "difference_width": "difference's width",
}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    table = report.markdown_table(
        ["metric", "sd of seeds", "seeds", "examples", "test sets", *COLUMNS.values()],
        [
            [
                f"`{row['metric']}`",
                f"{100 * row['sd']:.1f}",
                str(row["seeds"]),
                row["test"],
                f"{row['rounds']:,}",
                *(f"{100 * row[name]:.1f}" for name in COLUMNS),
            ]
            for row in rows
        ],
    )
    rules = report.markdown_table(
        ["seeds, rule", *(f"{100 * share:.0f} %" for share in SHARES)],
        [
            [f"{seeds}, {name}", *(f"{100 * coverage(share, seeds, rule):.1f}" for share in SHARES)]
            for seeds in SEEDS
            for name, rule in RULES.items()
        ],
    )
    fewest, most = (pick(row["rounds"] for row in rows) for pick in (min, max))
    errors = sorted({f"±{196 * math.sqrt(0.05 * 0.95 / rounds):.1f} for {rounds:,}" for rounds in (most, fewest)})
    replicates = " or ".join(f"{count:,}" for count in sorted({row["replicates"] for row in rows}))

    def span(name: str) -> str:
        values = [100 * row[name] for row in rows]
        return f"{min(values):.1f} to {max(values):.1f}, mean {sum(values) / len(values):.1f}"

    return f"""# Intervals and tests on made-up models whose truth is known

In percent. Monte-Carlo error (95 %) around 5 and 95: {", ".join(errors)} test sets; the three metrics of a setting
share theirs. How they are made: the head of `benchmarks/statistics/simulate.py`, which makes this file. Bootstrap
replicates: {replicates} (flue-bench takes {intervals.REPLICATES:,}).

- Coverage of the 95 % intervals (should be 95): **entry** {span("entry_covered")}; **difference**
  {span("difference_covered")}; **retention** {span("retention_covered")}.
- Rejected although two models are equally good (should be 5 or less): **ours** {span("false_positive")};
  **examples alone** (all seeds averaged, examples paired) {span("false_positive_examples_alone")}; the same with
  **one seed** each {span("false_positive_one_seed")}; **seeds alone** (Welch's t over the seeds)
  {span("false_positive_seeds_alone")}.
- Called non-inferior although exactly at the margin (should be 5 or less): **non-inferiority**
  {span("false_non_inferior")}.
- **ours finds 3 %**: how often a student that keeps 97 % of the teacher's accuracy is told apart from it.
- **width**: the median of the 95 % intervals, from end to end, in points.

{table}

## The interval of a single entry

Coverage around a mean that is exactly normal, by the share of its variance that comes from the seeds (columns); the
rest is known. By quadrature, without chance. `statistics.intervals.freedom_of_sum` says what the rules are.

{rules}
"""


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of all settings so far, in the order of the settings."""
    tests = list(TEST_SETS)
    rows.sort(key=lambda row: (tests.index(row["test"]), row["sd"], row["seeds"], METRICS.index(row["metric"])))
    report.write(folder, "simulation", rows, markdown(rows))


def main() -> None:
    """Simulate every setting in turn."""
    asked = settings.arguments(__doc__, 2000, "simulated test sets")
    kept = asked.out / "simulation.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    done = {(row["test"], row["sd"], row["seeds"]) for row in rows}
    for test, sd, seeds in product(TEST_SETS, SDS, SEEDS):
        if (test, sd, seeds) not in done:
            began = time.perf_counter()
            rows += simulate(asked.rounds, sd, seeds, test)
            print(f"{test} examples, sd {sd}, {seeds} seeds: {time.perf_counter() - began:.0f} s", flush=True)
            write(asked.out, rows)


if __name__ == "__main__":
    main()
