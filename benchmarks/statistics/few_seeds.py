"""What few, unequal and failing seeds do to intervals and verdicts, on normal scores whose truth is known.

``simulate`` makes up test sets; here the part of the variance that the test set brings is given, so that many more
cases can be looked at. Writes few-seeds.json and few-seeds.md to results/statistics.

    python -m benchmarks.statistics.few_seeds
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.common import report
from benchmarks.statistics import settings
from flue_bench.statistics import columns, outliers
from flue_bench.statistics.intervals import Means, estimate, freedom_of_sum, satterthwaite
from flue_bench.statistics.significance import holm, t_test

Floats = NDArray[np.float64]
LEVEL = 0.05

# --- two models -------------------------------------------------------------------------------------------------------

PAIRS = ((2, 2), (2, 3), (2, 10), (3, 3), (3, 10), (5, 5), (5, 10))
SPREADS = (1 / 3, 1.0, 3.0)
"""The first model's standard deviation over that of the second."""
SHARES = (0.0, 0.2, 0.5, 0.8)
"""Shares of the variance of the difference that the test set brings."""
CLUSTERS = 1000
NODES = 60


def two_models(seeds: tuple[int, int], spread: float, examples: float) -> dict[str, float]:
    """Return how often two equal models are told apart, by quadrature over both estimates of the seeds' variance."""
    variance = np.array([spread**2 / seeds[0], 1 / seeds[1]])
    variance *= (1 - examples) / variance.sum()
    freedom = [seeds[0] - 1, seeds[1] - 1, CLUSTERS - 1]
    first, second = (
        share * stats.chi2.ppf((np.arange(NODES) + 0.5) / NODES, each) / each
        for share, each in zip(variance, freedom[:2], strict=True)
    )
    wrong = {"ours": 0.0, "Satterthwaite": 0.0}
    for a, b in product(first, second):
        for name, rule in (("ours", freedom_of_sum), ("Satterthwaite", satterthwaite)):
            half = special.stdtrit(min(rule([a, b, examples], freedom), 1e9), 0.975) * math.sqrt(a + b + examples)
            wrong[name] += 2 * special.ndtr(-half) / NODES**2
    return wrong


# --- a column of ten --------------------------------------------------------------------------------------------------

MODELS = 10
COLUMNS = {
    "equal": np.ones(MODELS),
    "one three times as wide": np.array([3.0, *[1.0] * (MODELS - 1)]),
    "from 0.5 to 2": np.linspace(0.5, 2, MODELS),
}
"""Standard deviations over seeds, relative to each other."""
BETTER = 4.5
"""How much better one model is, in standard errors of a model's mean, where power is asked for."""


def column(rounds: int, seeds: tuple[int, ...], spread: str, examples: float) -> dict[str, float]:
    """Return how often any of ten models is called below the best: all equal, and one better than the others.

    Args:
        rounds: number of columns to draw.
        seeds: seeds of the models, repeated as needed.
        spread: one of ``COLUMNS``.
        examples: share of the variance of a model's mean that the test set brings, apart from what all share.
    """
    rng = np.random.default_rng([len(spread), round(100 * examples), *seeds])
    n = np.resize(seeds, MODELS)
    own = COLUMNS[spread] ** 2
    own = (1 - examples) * own / own.mean()
    found = dict.fromkeys(
        ("wrong", "wrong, Holm", "wrong, unadjusted", "found", "found, Holm", "found, unadjusted"), 0.0
    )
    for _ in range(rounds):
        drawn = rng.standard_normal(MODELS) * np.sqrt(own + examples)
        variances = own * rng.chisquare(n - 1) / (n - 1)
        for what, better in (("wrong", 0.0), ("found", BETTER)):
            mean = drawn + better * (np.arange(MODELS) == MODELS - 1)
            means = Means(mean, variances, n - 1.0, np.eye(MODELS) * examples, CLUSTERS)
            best = int(mean.argmax())
            others = [i for i in range(MODELS) if i != best]
            p = np.array([t_test(estimate(means.of(i, best), [1, -1])) for i in others])
            ours = np.maximum(p, columns.p_values(means, best, draws=500)[others])
            for name, adjusted in (("", ours), (", Holm", np.array(holm(list(p)))), (", unadjusted", p)):
                below = adjusted <= LEVEL
                found[what + name] += (below.any() if what == "wrong" else below.mean()) / rounds
    return found


# --- seeds that fail --------------------------------------------------------------------------------------------------

SDS = (0.005, 0.015, 0.05, 0.1)
FAILURES = (0.05, 0.1, 0.2, 0.35)
"""How far below its place a failing run falls; fractions of 1."""
FAILING = 1 / 7
HEALTHY = 0.85


def failing(rounds: int, seeds: int, sd: float, fall: float) -> dict[str, float]:
    """Return what the rule on outlying seeds finds, and what intervals over the seeds cover, where runs fail.

    Args:
        rounds: number of entries to draw.
        seeds: number of seeds of each.
        sd: standard deviation of the scores of runs that do not fail.
        fall: how far below these a failing run falls; 0 where none fails.
    """
    rng = np.random.default_rng([seeds, round(1e4 * sd), round(100 * fall)])
    failed = (rng.random((rounds, seeds)) < FAILING) & (fall > 0)
    scores = HEALTHY + sd * rng.standard_normal((rounds, seeds)) - fall * failed
    found = np.array([bool(outliers.outlying(list(each))) for each in scores])
    half = special.stdtrit(seeds - 1, 0.975) * scores.std(axis=1, ddof=1) / math.sqrt(seeds)
    healthy = np.abs(scores.mean(axis=1) - HEALTHY) <= half
    expected = np.abs(scores.mean(axis=1) - HEALTHY + FAILING * fall) <= half
    some = failed.any(axis=1) & ~failed.all(axis=1)
    return {
        "flagged": float(found.mean()),
        "found": float(found[some].mean()) if some.any() else math.nan,
        "healthy": float(healthy.mean()),
        "healthy, where not flagged": float(healthy[~found].mean()),
        "expected": float(expected.mean()),
        "no failure among the seeds": float((~failed.any(axis=1)).mean()),
    }


# --- report -----------------------------------------------------------------------------------------------------------


def measure(rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all three tables."""
    return {
        "two_models": [
            {"seeds": list(seeds), "spread": spread, "examples": examples} | two_models(seeds, spread, examples)
            for seeds, spread, examples in product(PAIRS, SPREADS, SHARES)
        ],
        "columns": [
            {"seeds": list(seeds), "spread": spread, "examples": examples, "rounds": rounds}
            | column(rounds, seeds, spread, examples)
            for seeds, spread, examples in product(((2,), (3,), (5,), (2, 3, 5, 10)), COLUMNS, (0.2, 0.5, 0.8))
        ],
        "failing": [
            {"seeds": seeds, "sd": sd, "fall": fall, "rounds": 10 * rounds} | failing(10 * rounds, seeds, sd, fall)
            for seeds, sd, fall in product((3, 5, 10), SDS, (0.0, *FAILURES))
        ],
    }


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.1f}"


def markdown(measured: dict[str, list[dict[str, Any]]]) -> str:
    """Return the results as Markdown."""
    pairs, ten, failures = (measured[name] for name in ("two_models", "columns", "failing"))
    rules = ("ours", "Satterthwaite")
    two = report.markdown_table(
        ["seeds", "sd, first : second", *(f"{rule}, {100 * s:.0f} %" for rule in rules for s in SHARES)],
        [
            [
                f"{seeds[0]}, {seeds[1]}",
                f"{spread:.2g}",
                *(
                    _percent(row[rule])
                    for rule in rules
                    for row in pairs
                    if row["seeds"] == list(seeds) and row["spread"] == spread
                ),
            ]
            for seeds, spread in product(PAIRS, SPREADS)
        ],
    )
    whole = report.markdown_table(
        ["seeds", "spreads", "test set", *(name for name in ten[0] if name.startswith(("wrong", "found")))],
        [
            [
                ", ".join(map(str, row["seeds"])),
                row["spread"],
                f"{100 * row['examples']:.0f} %",
                *(_percent(value) for name, value in row.items() if name.startswith(("wrong", "found"))),
            ]
            for row in ten
        ],
    )
    names = [name for name in failures[0] if name not in ("seeds", "sd", "fall", "rounds")]
    failed = report.markdown_table(
        ["seeds", "sd", "fall", *names],
        [
            [
                str(row["seeds"]),
                f"{100 * row['sd']:.1f}",
                f"{100 * row['fall']:.0f}",
                *(_percent(row[n]) for n in names),
            ]
            for row in failures
        ],
    )
    worst = {rule: max(row[rule] for row in pairs) for rule in rules}
    equal = [row for row in ten if row["spread"] == "equal"]

    def span(rows: list[dict[str, Any]], name: str) -> str:
        values = [100 * row[name] for row in rows]
        return f"{min(values):.1f} to {max(values):.1f}, mean {sum(values) / len(values):.1f}"

    healthy = [row["flagged"] for row in failures if row["fall"] == 0 and row["sd"] <= 0.015]
    wide = [row["flagged"] for row in failures if row["fall"] == 0 and row["sd"] > 0.015]
    return f"""# Few, unequal and failing seeds

In percent. Made by `benchmarks/statistics/few_seeds.py`, from normal scores.

## Two equal models told apart (should be 5 or less)

By quadrature, without chance, by the share of the difference's variance that the test set brings (columns). Worst:
ours {_percent(worst["ours"])}, Satterthwaite's degrees of freedom {_percent(worst["Satterthwaite"])}.

{two}

## A column of ten models

**wrong**: any of ten equal models is called below the best (should be 5 or less; Monte-Carlo error
±{196 * math.sqrt(0.05 * 0.95 / ten[0]["rounds"]):.1f}). **found**: how many of nine are called below a tenth that is
{BETTER} standard errors of a mean better. `Holm` adjusts over the nine comparisons with the one that came out best, as
boards did. Seeds are those of each model, or of the models in turn.

- Equal spreads: wrong {span(equal, "wrong")} (Holm {span(equal, "wrong, Holm")}; unadjusted
  {span(equal, "wrong, unadjusted")}); found {span(equal, "found")} (Holm {span(equal, "found, Holm")}).
- All: wrong {span(ten, "wrong")} (Holm {span(ten, "wrong, Holm")}); found {span(ten, "found")}
  (Holm {span(ten, "found, Holm")}).

{whole}

## Seeds that fail

One run in seven falls below its place (not at all where **fall** is 0). **flagged**: entries in which the rule finds a
seed far below the others; **found**: of those in which some but not all runs failed; **healthy**: coverage of Student's
95 % interval over the seeds around the mean of runs that do not fail; **expected**: around the mean of all runs.

- Flagged although no run fails: {100 * min(healthy):.1f} to {100 * max(healthy):.1f} where seeds have a sd of 0.5 or
  1.5 points, {100 * min(wide):.1f} to {100 * max(wide):.1f} where they have 5 or 10.
- No interval of few seeds covers the mean of all runs: in {_percent((1 - FAILING) ** 3)} % of the entries of three
  seeds none of them failed, and nothing in the entry tells that others will.

{failed}
"""


def main() -> None:
    """Measure all three and write them."""
    asked = settings.arguments(__doc__, 1000, "columns")
    measured = measure(asked.rounds)
    report.write(asked.out, "few-seeds", measured, markdown(measured))


if __name__ == "__main__":
    main()
