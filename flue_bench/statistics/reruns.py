"""Whether a cell that was trained again elsewhere bears out its record.

Another machine, another number of threads or another version adds in another order, and fine-tuning makes of that at
most what another seed makes (Summers & Dinneen 2021). Two questions are asked, and a record is called not borne out
only if both say so; docs/decisions/0019-reruns-elsewhere.md has the reasons and the error rates.

- The rows: do those that the record alone has right outnumber those that the rerun alone has right (or the reverse)
  by more than chance? That is McNemar's exact test. Alone it accuses honest records: of two seeds one is better, too.
- The seeds: do the rows that differ lean to one side by more than they do between the setting's other seeds?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from flue_bench.statistics.intervals import Floats, freedom_of_sum, mean_sd
from flue_bench.statistics.significance import mcnemar

Verdict = Literal["same bits", "another machine", "undecided", "not borne out"]

ROWS = 0.01
"""Level of the test over rows."""
SEEDS = 0.05
"""Level of the test over seeds."""
FEWEST = 2
"""Other seeds without which nothing is known of how far two lie apart."""


@dataclass(frozen=True)
class Apart:
    """How far a rerun lies from its record."""

    record_only: int
    """Groups of examples on which the record has fewer errors than the rerun: where each is a group of its own, those
    that are right in the record only."""
    rerun_only: int
    """Likewise, fewer in the rerun."""
    p_rows: float
    """McNemar's exact two-sided p-value of these two counts."""
    seeds: int
    """Number of other seeds of the setting."""
    distance: float | None
    """Difference of the two scores in standard deviations of the other seeds' scores; None with fewer than two, or
    where these are equal."""
    p_seeds: float | None
    """See ``among_seeds``; None with fewer than two other seeds."""
    alone: bool
    """Whether the rows decide alone: equal bits were promised, or nothing was trained that could drift apart."""

    @property
    def verdict(self) -> Verdict:
        """What follows of a rerun whose predictions are not the same to the byte.

        Where equal bits were promised, an honest record has no row that differs; where nothing was trained, none but
        near ties. The rows alone decide there.
        """
        if self.p_rows > ROWS:
            return "another machine"
        if self.alone:
            return "not borne out"
        if self.p_seeds is None or self.p_seeds > SEEDS:
            return "undecided"
        return "not borne out"


def apart(
    record: Floats,
    rerun: Floats,
    others: Sequence[Floats],
    scores: tuple[float, float],
    other_scores: Sequence[float],
    *,
    alone: bool,
) -> Apart:
    """Return how far a rerun lies from its record.

    Args:
        record: errors in each group of examples by the record's predictions, (groups,).
        rerun: likewise, by the rerun's.
        others: likewise, by the predictions of each other seed of the record's setting.
        scores: the headline score of record and rerun.
        other_scores: those of the other seeds.
        alone: see ``Apart``.
    """
    record_only, rerun_only = sides(record, rerun)
    known = len(others) >= FEWEST
    sd = mean_sd(other_scores).sd if known else None
    return Apart(
        record_only=record_only,
        rerun_only=rerun_only,
        p_rows=mcnemar(record_only, rerun_only),
        seeds=len(others),
        distance=(scores[1] - scores[0]) / sd if sd else None,
        p_seeds=among_seeds(record, rerun, others) if known else None,
        alone=alone,
    )


def sides(one: Floats, other: Floats) -> tuple[int, int]:
    """Return the number of groups in which the one has fewer errors, and in which the other has; (groups,) each."""
    return int((one < other).sum()), int((one > other).sum())


def among_seeds(record: Floats, rerun: Floats, others: Sequence[Floats]) -> float:
    """Return the p-value of record and rerun differing as two seeds of the setting do.

    Of the D groups in which two seeds differ, the better seed wins more than half: their counts are a binomial whose
    share varies from pair to pair, with the variance D + D (D - 1) v of their difference; v is taken from pairs of the
    other seeds. It does not depend on how far a rerun drifts: with the drift, the rows that differ and the difference
    in quality grow alike. Either of the two may be the odd one out: the record beside the rerun and the other seeds,
    where its own answers were changed; the rerun beside the record and the others, where those of all seeds were. Each
    is tested by Student's t, and the smaller p-value counts twice (Bonferroni).

    Args:
        record: errors in each group of examples by the record's predictions, (groups,).
        rerun: likewise, by the rerun's.
        others: likewise, by those of at least two other seeds.
    """
    return min(1.0, 2 * min(_odd(record, rerun, [beside, *others]) for beside in (rerun, record)))


def _odd(record: Floats, rerun: Floats, seeds: Sequence[Floats]) -> float:
    """Return the two-sided p-value of record and rerun differing as the pairs of these seeds do."""
    from scipy import special  # slow to import

    first, second = sides(record, rerun)
    differing = first + second
    if not differing:
        return 1.0
    of_share = differing * (differing - 1) * _variance_of_share(seeds)
    variance = differing + of_share
    t = abs(first - second) / math.sqrt(variance)
    freedom = freedom_of_sum([of_share, differing], [len(seeds) - 1, math.inf]) if of_share else math.inf
    return 2 * float(special.stdtr(min(freedom, 1e9), -t))


def _variance_of_share(seeds: Sequence[Floats]) -> float:
    """Return v of ``among_seeds``, by moments over all pairs; an estimate below zero counts as 0."""
    excess = trials = 0
    for one, other in combinations(seeds, 2):
        first, second = sides(one, other)
        differing = first + second
        excess += (first - second) ** 2 - differing
        trials += differing * (differing - 1)
    return max(excess / trials, 0.0) if trials else 0.0


def errors_of_groups(errors: Floats, groups: Sequence[str]) -> Floats:
    """Return the errors in each group of examples, in the order of the groups' names.

    Args:
        errors: (examples,).
        groups: the group of each.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(group, errors).astype(np.float64)
