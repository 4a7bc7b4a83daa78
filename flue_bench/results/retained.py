"""What a student keeps of its teacher's score over several columns, from zero or above a floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flue_bench.errors import UsageError
from flue_bench.record import RunRecord
from flue_bench.results.entries import check_drawn, identity, together
from flue_bench.results.evidence import Evidence
from flue_bench.statistics.intervals import KEPT, KEPT_ABOVE
from flue_bench.statistics.ratios import mean_ratio_interval, ratio


@dataclass(frozen=True)
class Retained:
    """A mean over columns of student over teacher, as a fraction of 1."""

    ratio: float
    low: float | None
    """Lower end of its 95 % interval over seeds and test examples; None where it has no bound."""
    high: float | None


def retained(columns: Sequence[Sequence[Sequence[RunRecord]]], metrics: Sequence[str], evidence: Evidence) -> Retained:
    """Return the mean over columns of what the student keeps, with its interval.

    Args:
        columns: for each column the records of the student, of its teacher and, where what lies above a floor is asked
            for, of the floor: (student - floor) / (teacher - floor). Each as for ``entry_of``.
        metrics: the score of each column.
        evidence: the source of the predictions.

    Raises:
        UsageError: the teacher's score is not above zero, or not above the floor; a model has a single seed, or
            collapsed runs.
        RecordError: predictions are missing, damaged, or not of one test set.
    """
    for entries, metric in zip(columns, metrics, strict=True):
        for records in entries:
            check_drawn(records, metric)

    def compute() -> Retained:
        tasks = [together(entries, metric, evidence).means for entries, metric in zip(columns, metrics, strict=True)]
        weights = KEPT if len(columns[0]) == 2 else KEPT_ABOVE
        if any(sum(w * mean for w, mean in zip(weights[1], each.mean, strict=True)) <= 0 for each in tasks):
            above = "zero" if weights is KEPT else "the floor's"
            raise UsageError(f"the teacher's score is not above {above}")
        low, high = mean_ratio_interval(tasks, weights)
        mean = math.fsum(ratio(each, weights) for each in tasks) / len(tasks)
        bounded = math.isfinite(high - low)
        return Retained(mean, low if bounded else None, high if bounded else None)

    used = [record for entries in columns for records in entries for record in records]
    key = [[identity(records, metric) for records in of] for of, metric in zip(columns, metrics, strict=True)]
    return evidence.kept(key, Retained, compute, used)
