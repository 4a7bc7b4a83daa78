"""How often ``verify --rerun`` calls an honest record not borne out, and how often a forged one.

Makes up fine-tuned models and reruns of them elsewhere, and asks ``flue_bench.statistics.reruns`` about them. Writes
results/statistics/reruns.json and reruns.md.

    python -m benchmarks.statistics.reruns

A model has an example right if the example's ease (shared by all models) + the model's ability + the model's own view
of the example is above a threshold. Another seed draws ability and views anew. A rerun elsewhere keeps a part of them:
with a divergence of 1 it is as far from the record as another seed, with 0.01 close to it. A forger turns wrong answers
of the record into right ones, and leaves the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.common import report
from benchmarks.statistics import settings
from flue_bench.statistics.reruns import FEWEST, ROWS, SEEDS, apart

Floats = NDArray[np.float64]

ACCURACY = 0.8
SDS = (0.005, 0.015, 0.05)
EXAMPLES = (400, 2000)
DIVERGENCES = (0.01, 0.1, 1.0)
OTHERS = (2, 4, 9)
FORGED = (0.0, 0.02, 0.05)
OWN = 0.2
"""Share of the model's own views in the variance of what an example asks."""


def simulate(rounds: int, sd: float, examples: int, divergence: float, forged: float) -> list[dict[str, Any]]:
    """Return the shares of the verdicts, a row for each number of other seeds."""
    rng = np.random.default_rng([int(1e4 * value) for value in (sd, examples, divergence)])  # the same for any forgery
    threshold = stats.norm.ppf(ACCURACY)
    spread = sd / stats.norm.pdf(threshold)
    kept, new = math.sqrt(1 - divergence), math.sqrt(divergence)
    verdicts = {others: Counter[str]() for others in OTHERS}
    alone, differing = 0, 0
    for _ in range(rounds):
        ease = math.sqrt(1 - OWN) * rng.standard_normal(examples) + threshold
        drawn = rng.standard_normal((max(OTHERS) + 2, examples + 1))  # record, what is new in the rerun, other seeds
        drawn[1] = kept * drawn[0] + new * drawn[1]
        wrong = ease + spread * drawn[:, :1] + math.sqrt(OWN) * drawn[:, 1:] <= 0
        missed = np.flatnonzero(wrong[0])
        wrong[0, rng.permutation(missed)[: round(forged * examples)]] = False
        scores: list[float] = (1 - wrong.mean(axis=1)).tolist()
        record, rerun, *seeds = wrong.astype(np.float64)
        for others in OTHERS:
            both = scores[0], scores[1]
            found = apart(record, rerun, seeds[:others], both, scores[2 : 2 + others], alone=False)
            verdicts[others][found.verdict] += 1
        alone += found.p_rows <= ROWS
        differing += found.record_only + found.rerun_only
    return [
        {
            "sd": sd,
            "examples": examples,
            "divergence": divergence,
            "forged": forged,
            "others": others,
            "rounds": rounds,
            "differing": differing / rounds,
            "rows_alone": alone / rounds,
            **{name: verdicts[others][name] / rounds for name in ("another machine", "undecided", "not borne out")},
        }
        for others in OTHERS
    ]


def text(rows: list[dict[str, Any]]) -> str:
    """Return the report in Markdown."""
    honest = [row for row in rows if not row["forged"]]
    worst, alone = (max(honest, key=lambda row: row[name]) for name in ("not borne out", "rows_alone"))
    error = 1.96 * math.sqrt(0.05 * 0.95 / rows[0]["rounds"])
    lines = [
        [
            f"{100 * row['forged']:g}",
            f"{100 * row['sd']:g}",
            f"{row['examples']:,}",
            f"{row['divergence']:g}",
            str(row["others"]),
            f"{row['differing']:.0f}",
            f"{100 * row['rows_alone']:.1f}",
            *(f"{100 * row[name]:.1f}" for name in ("another machine", "undecided", "not borne out")),
        ]
        for row in rows
    ]
    header = [
        "points forged", "sd of seeds", "examples", "divergence", "other seeds", "rows that differ", "rows alone",
        "another machine", "undecided", "not borne out",
    ]  # fmt: skip
    return "\n".join(
        [
            "# Verdicts of `verify --rerun` elsewhere, on made-up models",
            "",
            "In percent of the reruns; points forged and sd of seeds in points of accuracy, which is",
            f"{100 * ACCURACY:g} % on average. How they are made: the head of `benchmarks/statistics/reruns.py`, which",
            f"makes this file. {rows[0]['rounds']:,} records of each setting: Monte-Carlo error (95 %) around 5:"
            f" ±{100 * error:.1f}.",
            "",
            f"- **not borne out**: McNemar's p is at most {ROWS:g} and that over the seeds at most {SEEDS:g} (at least"
            f" {FEWEST}",
            "  other seeds); **undecided**: the first alone.",
            f"- Honest records called not borne out: at most {100 * worst['not borne out']:.1f} % (sd"
            f" {100 * worst['sd']:g}, {worst['examples']:,} examples, divergence",
            f"  {worst['divergence']:g}). By McNemar's test **alone**, at the same level, up to"
            f" {100 * alone['rows_alone']:.1f} %.",
            "",
            report.markdown_table(header, lines),
            "",
        ]
    )


def main() -> None:
    """Simulate every setting in turn."""
    asked = settings.arguments(__doc__, 500, "records")
    rows: list[dict[str, Any]] = []
    for forged, sd, examples, divergence in product(FORGED, SDS, EXAMPLES, DIVERGENCES):
        rows += simulate(asked.rounds, sd, examples, divergence, forged)
    report.write(asked.out, "reruns", rows, text(rows))


if __name__ == "__main__":
    main()
