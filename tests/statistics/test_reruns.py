"""A rerun elsewhere: what the rows say, what the seeds say, and what follows of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import reruns as simulation
from flue_bench.statistics.reruns import Apart, among_seeds, apart, errors_of_groups, sides


def seeds_of(*better: int, rows: int = 400, differing: int = 60) -> list[Any]:
    """Errors of seeds, each pair of which differs in many rows; one is right in so many more than half of its own."""
    made = []
    for number, more in enumerate(better):
        errors = np.zeros(rows)
        mine = np.arange(differing // 2) + number * differing // 2
        errors[mine[: differing // 4 - more]] = 1
        made.append(errors)
    return made


def found(record_only: int, rerun_only: int, others: Sequence[Any], *, alone: bool = False, rows: int = 400) -> Apart:
    """Record and rerun of so many rows, of which these are right in one of them only, beside other seeds."""
    record, rerun = np.zeros(rows), np.zeros(rows)
    rerun[:record_only] = 1
    record[record_only : record_only + rerun_only] = 1
    scores = [1 - float(each.mean()) for each in (record, rerun, *others)]
    return apart(record, rerun, others, (scores[0], scores[1]), scores[2:], alone=alone)


ALIKE = seeds_of(0, 1, -1, 0)
"""Seeds that win about half of the rows in which two of them differ."""
UNLIKE = seeds_of(-14, 14, -12, 14)
"""Seeds of which some win nearly all of them."""


@pytest.mark.parametrize(
    ("record_only", "rerun_only", "others", "alone", "verdict"),
    [
        (12, 9, [], False, "another machine"),
        (12, 9, ALIKE, False, "another machine"),
        (12, 9, ALIKE, True, "another machine"),
        (0, 0, [], True, "another machine"),
        (23, 0, ALIKE, False, "not borne out"),
        (0, 23, ALIKE, False, "not borne out"),  # a baseline that was lowered
        (23, 0, ALIKE[:2], False, "not borne out"),  # three seeds, as most boards have
        (23, 0, [], True, "not borne out"),
        (23, 0, UNLIKE, True, "not borne out"),  # equal bits were promised, say: the rows decide
        (23, 0, UNLIKE, False, "undecided"),
        (23, 0, ALIKE[:1], False, "undecided"),  # a single seed tells of no spread
        (23, 0, [], False, "undecided"),
        (4, 0, ALIKE, False, "another machine"),
    ],
)
def test_the_verdict(record_only: int, rerun_only: int, others: list[Any], alone: bool, verdict: str) -> None:
    one = found(record_only, rerun_only, others, alone=alone)
    assert (one.record_only, one.rerun_only, one.seeds) == (record_only, rerun_only, len(others))
    assert one.verdict == verdict, one
    if record_only + rerun_only:
        assert one.p_rows == pytest.approx(stats.binomtest(record_only, record_only + rerun_only).pvalue)


def test_the_distance_is_in_standard_deviations_of_the_other_seeds() -> None:
    one = found(23, 0, ALIKE)
    scores = [1 - each.mean() for each in ALIKE]
    assert one.distance == pytest.approx((-23 / 400) / np.std(scores, ddof=1))
    assert found(23, 0, ALIKE[:1]).distance is None and found(23, 0, ALIKE[:1]).p_seeds is None
    assert found(23, 0, [ALIKE[0], ALIKE[0]]).distance is None, "no spread to measure it by"


def test_no_seeds_make_a_difference_likelier_than_chance_does() -> None:
    """The least is the normal test of a binomial, twice for the two of which either may be the odd one."""
    least = 2 * 2 * stats.norm.sf(23 / np.sqrt(23))
    alike, unlike = found(23, 0, seeds_of(0, 0, 0)).p_seeds, found(23, 0, UNLIKE).p_seeds
    assert alike is not None and unlike is not None
    assert least <= alike < 1e-3 and unlike > 0.1


def test_it_does_not_matter_which_of_the_two_is_believed() -> None:
    rng = np.random.default_rng(3)
    record, rerun, *others = (rng.random((6, 300)) < 0.3).astype(float)
    assert among_seeds(record, rerun, others) == pytest.approx(among_seeds(rerun, record, others))


def test_where_all_seeds_were_raised_the_rerun_is_the_odd_one() -> None:
    rerun = np.zeros(400)
    rerun[:120] = 1
    raised = []
    for seed in range(3):
        errors = rerun.copy()
        errors[:30] = 0  # made right in each
        errors[[30 + seed, 40 + seed, 50 + seed]] = 0
        errors[[200 + seed, 210 + seed, 220 + seed]] = 1
        raised.append(errors)
    assert sides(raised[0], rerun) == (33, 3) and sides(raised[0], raised[1]) == (6, 6)
    assert among_seeds(raised[0], rerun, raised[1:]) < 0.001
    apart_from_others = among_seeds(raised[0], rerun, [rerun, rerun.copy()])
    assert apart_from_others < 0.001, "and where one was raised, it is the odd one"


def test_another_seed_is_seldom_called_anything_else() -> None:
    """Record and rerun as far apart as any two seeds, one of which is better: the worst an honest record can meet."""
    rows = {row["others"]: row for row in simulation.simulate(400, 0.015, 400, 1.0, 0.0)}
    error = 3 * np.sqrt(0.05 * 0.95 / 400)
    for others in simulation.OTHERS:
        assert rows[others]["not borne out"] < 0.05 + error, others
    assert rows[9]["rows_alone"] > 0.03, "by the rows alone it would be more than their level of 1 %"


def test_groups_count_once() -> None:
    """Hypotheses of one premise are not independent: a group is one trial."""
    groups = ["b", "a", "b", "c", "a"]
    assert errors_of_groups(np.array([1.0, 0, 2, 0, 4]), groups).tolist() == [4, 3, 0]
    one = errors_of_groups(np.ones(30), ["g"] * 30)
    assert apart(one, 0 * one, [], (0.0, 1.0), [], alone=True).rerun_only == 1


def test_the_simulation_runs_and_finds_what_it_makes() -> None:
    settings: dict[str, Any] = {"sd": 0.005, "examples": 400, "divergence": 0.1}
    honest, forged = (
        {row["others"]: row for row in simulation.simulate(60, forged=share, **settings)} for share in (0.0, 0.1)
    )
    for others in simulation.OTHERS:
        three = ("another machine", "undecided", "not borne out")
        assert sum(honest[others][name] for name in three) == pytest.approx(1)
        assert honest[others]["not borne out"] < 0.2 < 0.8 < forged[others]["not borne out"]
        assert forged[others]["another machine"] < 0.1 < honest[others]["another machine"]
    said = simulation.text([*honest.values(), *forged.values()])
    assert said.count("\n| ") == 1 + 1 + 2 * len(simulation.OTHERS) and "not borne out" in said
