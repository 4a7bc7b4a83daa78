"""Ranks and their simultaneous intervals: values worked out by hand, scipy, and made-up models."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import overall as simulation
from benchmarks.statistics import settings
from flue_bench.statistics.intervals import Means, estimate
from flue_bench.statistics.ranks import Improvement, improvement, over_tasks, rank_intervals, ranks, told_apart
from flue_bench.statistics.significance import t_test


def means(values: list[float], seeds: float = 1e-6, freedom: float = 4, shared: float = 0.0) -> Means:
    """Models with these means; all share ``shared`` of the test set's variance."""
    k = len(values)
    return Means(np.array(values), np.full(k, seeds), np.full(k, freedom), np.full((k, k), shared), 500)


def test_ranks_by_hand() -> None:
    assert ranks([0.8, 0.9, 0.7]).tolist() == [2, 1, 3]
    assert ranks([0.8, 0.9, 0.8, 0.9]).tolist() == [3.5, 1.5, 3.5, 1.5]  # 1 and 2, 3 and 4
    assert ranks([0.8, 0.8 + 1e-9]).tolist() == [1.5, 1.5]  # rounding
    assert ranks([0.5]).tolist() == [1]


@pytest.mark.parametrize("values", [[0.3, 0.1, 0.1, 0.2], [1.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0, 2.0]])
def test_ranks_are_scipys(values: list[float]) -> None:
    assert ranks(values).tolist() == stats.rankdata([-value for value in values]).tolist()


def test_over_tasks_by_hand() -> None:
    one = Means(np.array([0.8]), np.array([4e-4]), np.array([2.0]), np.array([[1e-4]]), 300)
    other = Means(np.array([0.6]), np.array([4e-4]), np.array([2.0]), np.array([[3e-4]]), 100)
    both = over_tasks([one, other])
    # Means of two: the variances are added and divided by 2² = 4; equal variances add their degrees of freedom.
    assert both.mean[0] == pytest.approx(0.7) and both.seeds[0] == pytest.approx(2e-4)
    assert both.examples[0, 0] == pytest.approx(1e-4)
    assert both.freedom[0] == pytest.approx(4) and both.clusters == 100
    still = over_tasks([one, replace(other, seeds=np.zeros(1))])
    assert still.freedom[0] == pytest.approx(2) and still.seeds[0] == pytest.approx(1e-4)


def test_intervals_of_ranks_by_hand() -> None:
    # The first is above the third and the fourth, the second above the fourth.
    above = np.zeros((4, 4), bool)
    above[0, 2] = above[0, 3] = above[1, 3] = True
    assert rank_intervals(above) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert rank_intervals(np.zeros((3, 3), bool)) == [(1, 3)] * 3
    assert rank_intervals(np.zeros((1, 1), bool)) == [(1, 1)]


def test_what_lies_far_apart_is_told_apart_and_what_does_not_is_not() -> None:
    above = told_apart(means([0.9, 0.899, 0.5, 0.501]))
    assert above.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [False] * 4,
        [False] * 4,
    ]
    assert not told_apart(means([0.7])).any()


@pytest.mark.parametrize("freedom", [2.0, 4.0, 30.0])
def test_of_two_models_it_is_the_t_test(freedom: float) -> None:
    """With equal variances Satterthwaite's degrees of freedom are exact, and so is the test they give."""
    critical = stats.t.ppf(0.975, 2 * freedom) * math.sqrt(2e-6)
    for apart, found in ((1.1 * critical, True), (0.9 * critical, False)):
        two = means([0.8, 0.8 - apart], freedom=freedom)
        assert told_apart(two, draws=40_000).tolist() == [[False, found], [False, False]]
        assert (t_test(estimate(two, [1, -1])) <= 0.05) == found


def test_of_many_models_with_known_variances_it_is_tukeys_range() -> None:
    k = 8
    many = means([0.0] * k, freedom=math.inf)
    critical = stats.studentized_range.ppf(0.95, k, np.inf) / math.sqrt(2) * math.sqrt(2e-6)
    for apart, found in ((1.05 * critical, True), (0.95 * critical, False)):
        values = np.zeros(k)
        values[0] = apart
        assert told_apart(replace(many, mean=values), draws=40_000)[0].any() == found


def test_a_test_set_that_all_share_moves_nothing() -> None:
    values = [0.9, 0.898, 0.895]
    assert (told_apart(means(values)) == told_apart(means(values, shared=4.0))).all()


def test_a_step_down_finds_what_one_critical_value_does_not() -> None:
    """A pair that is not found beside eleven equal models is found where all others lie far apart."""
    critical = stats.studentized_range.ppf(0.95, 11, np.inf) / math.sqrt(2) * math.sqrt(2e-6)
    near = 0.97 * critical
    spread = [float(i) for i in range(10)]
    assert told_apart(means([*spread, 9 + near], freedom=math.inf))[10, 9]
    assert not told_apart(means([*[0.0] * 10, near], freedom=math.inf))[10].any()


def test_models_that_do_not_vary() -> None:
    assert told_apart(means([0.8, 0.7, 0.8], seeds=0.0)).tolist() == [
        [False, True, False],
        [False, False, False],
        [False, True, False],
    ]


def test_the_order_of_models_does_not_matter() -> None:
    given = means([0.9, 0.894, 0.9005, 0.7])
    order = [2, 0, 3, 1]
    turned = replace(given, mean=given.mean[order])
    assert (told_apart(given)[np.ix_(order, order)] == told_apart(turned)).all()


# --- probability of improvement ---------------------------------------------------------------------------------------


def test_improvement_by_hand() -> None:
    # Task 1: of 3 · 2 pairs 5 are won and 1 is drawn: 5.5 / 6. Task 2: 0 of 2.
    found = improvement([[0.9, 0.8, 0.7], [0.1]], [[0.7, 0.6], [0.2, 0.3]])
    assert found.probability == pytest.approx((5.5 / 6 + 0) / 2)
    # 2 tasks of one run at least: Wilson with 2 trials.
    p, n, z = found.probability, 2, stats.norm.ppf(0.975)
    for end in (found.low, found.high):
        assert abs(end - p) == pytest.approx(z * math.sqrt(end * (1 - end) / n))


def test_three_runs_above_three_are_not_certain() -> None:
    assert improvement([[0.9, 0.8, 0.7]], [[0.3, 0.2, 0.1]]) == pytest.approx(Improvement(1, 3 / (3 + 1.959964**2), 1))
    assert improvement([[0.1]] * 4, [[0.2]] * 4).probability == 0


def test_improvement_turned_round() -> None:
    rng = np.random.default_rng(0)
    a, b = list(rng.random((3, 4))), list(rng.random((3, 5)))
    there, back = improvement(a, b), improvement(b, a)
    assert (1 - back.probability, 1 - back.high, 1 - back.low) == pytest.approx(there)
    share = np.mean([stats.mannwhitneyu(x, y).statistic / 20 for x, y in zip(a, b, strict=True)])
    assert there.probability == pytest.approx(share)


def test_distillations_weigh_alike_and_are_the_trials() -> None:
    # Two distillations of A, of three runs and of one, against two runs of B. The first wins 4 of 6 pairs, the second 1
    # of 2: (4/6 + 1/2) / 2, whereas of the runs 5 of 8. B has two runs, A two distillations: two trials.
    a, b = [0.9, 0.8, 0.1, 0.5], [0.2, 0.6]
    found = improvement([a], [b], units=([[[0, 1, 2], [3]]], [[[0], [1]]]))
    assert found.probability == pytest.approx((4 / 6 + 1 / 2) / 2)
    p, n, z = found.probability, 2, stats.norm.ppf(0.975)
    for end in (found.low, found.high):
        assert abs(end - p) == pytest.approx(z * math.sqrt(end * (1 - end) / n))
    alone = improvement([a], [b], units=([[[0], [1], [2], [3]]], [[[0], [1]]]))
    assert alone == improvement([a], [b]) and alone.probability == 5 / 8
    assert found.low < improvement([[0.9, 0.8, 0.1] * 3], [b * 4]).low


def test_runs_of_one_distillation_are_no_trials_of_their_own() -> None:
    """Where the distillation is all that varies, its runs are one draw: as nine they hold the truth too rarely."""
    rng = np.random.default_rng(0)
    units = [list(range(3 * i, 3 * i + 3)) for i in range(3)]
    held = np.zeros(2)
    for _ in range(1000):
        a, b = (np.repeat(rng.standard_normal(3), 3) + 0.01 * rng.standard_normal(9) for _ in range(2))
        for i, given in enumerate((None, ([units], [units]))):
            found = improvement([a], [b], units=given)
            held[i] += found.low <= 0.5 <= found.high
    assert held[0] < 850 and held[1] > 930


# --- made-up models ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_intervals_of_ranks_hold_the_truth() -> None:
    found = simulation.simulate(200, 1)  # ten equal models whose scores are correlated; three runs each
    assert found["covered"] > 0.9 and 0.9 < found["mean_covered"] < 0.99
    apart = simulation.simulate(60, 12)
    assert apart["covered"] == 1 and apart["found"] > 0.7 and apart["width"] < 4


def test_the_committed_simulation_is_of_these_settings() -> None:
    kept = json.loads((settings.RESULTS / "overall.json").read_text(encoding="utf-8"))
    text = (settings.RESULTS / "overall.md").read_text(encoding="utf-8")
    assert simulation.markdown(kept["ranks"], kept["improvement"]) == text
    for row, setting in zip(kept["ranks"], simulation.SETTINGS, strict=True):
        assert json.loads(json.dumps(setting._asdict())).items() <= row.items()
        assert row["rounds"] >= 1000 and row["covered"] >= 0.93
    assert all(row["rounds"] >= 1000 and row["covered"] >= 0.93 for row in kept["improvement"])


def test_the_simulation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SETTINGS", simulation.SETTINGS[8:9])
    monkeypatch.setattr(simulation, "SHARES", simulation.SHARES[:1])
    monkeypatch.setattr("sys.argv", ["overall", "--rounds", "3", "--out", str(tmp_path)])
    simulation.main()
    first = (tmp_path / "overall.json").read_bytes()
    monkeypatch.setattr("sys.argv", ["overall", "--rounds", "5", "--out", str(tmp_path)])
    simulation.main()
    assert (tmp_path / "overall.json").read_bytes() == first
