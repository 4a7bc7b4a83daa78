"""Several models on one set of board columns: means over the columns, and simultaneous intervals of their ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flue_bench.record import RunRecord
from flue_bench.results.entries import identity, together
from flue_bench.results.evidence import Evidence
from flue_bench.statistics import intervals, ranks


@dataclass(frozen=True)
class Standing:
    """One model's mean over a set of columns, and the ranks that are possible for it."""

    mean: float
    """Mean of the columns' means, a fraction of 1."""
    low: float
    """Lower end of its 95 % interval over seeds and test examples."""
    high: float
    rank_low: int
    """The best rank that is possible for it; up to ``rank_high``, at 95 % for all models at once."""
    rank_high: int


@dataclass(frozen=True)
class Standings:
    """The models of one ranking, in the order they were given."""

    models: tuple[Standing, ...]


def standings(
    columns: Sequence[Sequence[Sequence[RunRecord]]], metrics: Sequence[str], evidence: Evidence, others: int = 0
) -> Standings:
    """Return means over columns, with intervals, and simultaneous 95 % intervals of ranks.

    Args:
        columns: for each column, for each model: its records, of two seeds at least, as for ``entry_of``.
        metrics: the score of each column.
        evidence: the source of the predictions.
        others: how many more models are ranked beside these, of which nothing can be shown: any of them may be above or
            below each of these.

    Raises:
        RecordError: predictions are missing, damaged, or not of one test set.
    """

    def compute() -> Standings:
        measured = [together(entries, metric, evidence) for entries, metric in zip(columns, metrics, strict=True)]
        means = ranks.over_tasks([each.means for each in measured])
        lowest, highest = (float(np.mean([getattr(each, end) for each in measured])) for end in ("lowest", "highest"))
        possible = ranks.rank_intervals(ranks.told_apart(means))
        return Standings(
            tuple(
                Standing(
                    float(means.mean[i]),
                    *intervals.score_interval(means.of(i), lowest, highest),
                    rank_low=each.low,
                    rank_high=each.high + others,
                )
                for i, each in enumerate(possible)
            )
        )

    used = [record for entries in columns for records in entries for record in records]
    key = [
        others,
        [[identity(records, metric) for records in of] for of, metric in zip(columns, metrics, strict=True)],
    ]
    return evidence.kept(key, Standings, compute, used)
