"""Whole columns, outlying seeds, and what seeds and test sets can show: by hand, by definition, and by simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import few_seeds, settings
from flue_bench.statistics import columns, outliers
from flue_bench.statistics.intervals import Floats, Means
from flue_bench.statistics.outliers import outlying
from flue_bench.statistics.power import Noise, power, seeds_needed, smallest_difference


def column(mean: Floats, seeds: Floats, freedom: float, examples: float) -> Means:
    """Models with independent test-set effects."""
    n = len(mean)
    return Means(mean, seeds, np.full(n, freedom), np.eye(n) * examples, clusters=10**6)


def test_where_spreads_are_known_it_is_the_range_of_normal_values() -> None:
    mean = np.array([0.0, 1.0, 3.5, -0.5])
    p = columns.p_values(column(mean, np.full(4, 0.5), 1e9, 0.5), best=2, draws=100_000)
    expected = [stats.studentized_range.sf(abs(m - 3.5), 4, np.inf) for m in mean]
    assert p == pytest.approx(expected, abs=0.005) and p[2] == 1


def test_equal_models_are_equal_and_without_chance_nothing_is() -> None:
    same = column(np.full(3, 0.8), np.zeros(3), 2, 0.0)
    assert columns.p_values(same, 0).tolist() == [1, 1, 1]
    apart = column(np.array([0.8, 0.8, 0.7]), np.zeros(3), 2, 0.0)
    assert columns.p_values(apart, 0).tolist() == [1, 1, 1 / 5001]


def test_examples_that_models_share_do_not_tell_them_apart() -> None:
    """A test set that is hard for all has no effect on differences."""
    mean, seeds, freedom = np.array([0.9, 0.88, 0.87]), np.full(3, 1e-4), np.full(3, 4.0)
    alone = columns.p_values(Means(mean, seeds, freedom, np.zeros((3, 3)), 500), 0)
    shared = columns.p_values(Means(mean, seeds, freedom, np.full((3, 3), 0.01), 500), 0)
    assert shared == pytest.approx(alone, abs=0.02)


def test_ten_equal_models_rarely_lose_one() -> None:
    """Three seeds of each, whose spread is as large as the test set's: 20 % with unadjusted tests against the best."""
    rng, lost, naive = np.random.default_rng(5), 0, 0
    rounds = 300
    for _ in range(rounds):
        mean = rng.standard_normal(10) * math.sqrt(2)
        seeds = rng.chisquare(2, 10) / 2
        best = int(mean.argmax())
        lost += bool((columns.p_values(column(mean, seeds, 2, 1.0), best, draws=1000) <= 0.05).any())
        t = (mean[best] - mean) / np.sqrt(seeds + seeds[best] + 2)
        naive += bool((stats.t.sf(t, 8) * 2 <= 0.05).any())
    assert lost / rounds < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / rounds) < naive / rounds


def test_a_column_of_very_many_models_has_fewer_draws() -> None:
    rng = np.random.default_rng(0)
    p = columns.p_values(column(rng.standard_normal(320), np.full(320, 0.5), 2, 0.5), 7)
    assert np.unique(p * 1001 % 1).round(6).tolist() in ([0.0], [0.0, 1.0])


@pytest.mark.parametrize(
    ("scores", "far"),
    [
        ([0.717, 0.719, 0.613], (2,)),  # ten points below a pair two tenths apart
        ([0.85, 0.80, 0.90], ()),
        ([0.901, 0.900, 0.899, 0.870], ()),  # far, but not five points
        ([0.90, 0.89, 0.91, 0.90, 0.40, 0.42], (4, 5)),  # two failures do not hide each other
        ([0.60, 0.61, 0.90], ()),  # the highest: nothing is known to have failed
        ([0.9, 0.4], ()),  # two seeds: either may be the rule
        ([0.9], ()),
        ([0.5, 0.5, 0.5], ()),
        ([0.8, 0.8, 0.7], (2,)),
    ],
)
def test_outlying_seeds(scores: list[float], far: tuple[int, ...]) -> None:
    assert outlying(scores) == far


@pytest.mark.parametrize("n", [3, 4, 5, 10])
def test_the_rule_errs_as_often_as_it_says(n: int) -> None:
    """With spreads so wide that five points are nothing."""
    scores = 0.5 * np.random.default_rng(1).standard_normal((4000, n))
    found = sum(bool(outlying(list(each))) for each in scores) / 4000
    assert found == pytest.approx(outliers.LEVEL, abs=0.012)


def test_with_three_seeds_the_threshold_is_dixons() -> None:
    """(Median - lowest) / range is below 0.941 in 95 % of the cases (Dixon 1951, Table I: r10, one-sided)."""
    ratio = outliers.threshold(3)
    assert ratio / (1 + ratio) == pytest.approx(0.941, abs=0.002)


NOISE = Noise(sd=0.02, se_examples=0.005, clusters=1000)


def test_the_smallest_difference_by_hand() -> None:
    # Without test examples: t(0.975; 18) + t(0.8; 18) = 2.1009 + 0.8620, times 0.02 · √(2 / 10).
    alone = Noise(0.02, 0.0, 1000)
    assert smallest_difference(alone, 10) == pytest.approx((2.1009 + 0.8620) * 0.02 * math.sqrt(0.2), abs=1e-5)
    # With very many seeds the test set alone: 1.960 + 0.842.
    assert smallest_difference(NOISE, 10**6) == pytest.approx(2.8016 * 0.005, rel=0.003)
    with pytest.raises(ValueError, match="two seeds"):
        smallest_difference(NOISE, 1)


def test_seeds_needed_are_the_fewest() -> None:
    for difference in (0.016, 0.02, 0.05, 0.5):
        needed = seeds_needed(NOISE, difference)
        assert needed and smallest_difference(NOISE, needed) <= difference
        assert needed == 2 or smallest_difference(NOISE, needed - 1) > difference
    assert seeds_needed(NOISE, 0.013) is None
    assert dict(power(NOISE, 3).needed) == {each: seeds_needed(NOISE, each) for each in (0.01, 0.02, 0.03)}


def test_a_difference_of_that_size_is_shown_in_four_of_five_cases() -> None:
    from flue_bench.statistics.intervals import estimate
    from flue_bench.statistics.significance import t_test

    rng, shown, rounds, n = np.random.default_rng(2), 0, 2000, 5
    true = smallest_difference(NOISE, n)
    for _ in range(rounds):
        seeds = NOISE.sd**2 / n * rng.chisquare(n - 1, 2) / (n - 1)
        mean = rng.normal([true, 0.0], NOISE.sd / math.sqrt(n)) + rng.normal(0, NOISE.se_examples) * np.array([1, 0])
        means = Means(mean, seeds, np.full(2, n - 1.0), np.diag([NOISE.se_examples**2, 0.0]), NOISE.clusters)
        shown += t_test(estimate(means, [1, -1])) <= 0.05
    assert shown / rounds == pytest.approx(0.8, abs=0.04)


def test_the_committed_simulation_of_few_seeds_says_so() -> None:
    folder = settings.RESULTS
    measured = json.loads((folder / "few-seeds.json").read_text(encoding="utf-8"))
    assert few_seeds.markdown(measured) == (folder / "few-seeds.md").read_text(encoding="utf-8")
    assert (
        max(row["ours"] for row in measured["two_models"])
        <= 0.061
        < 0.11
        < max(row["Satterthwaite"] for row in measured["two_models"])
    )
    for row in measured["columns"]:
        assert row["wrong"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / row["rounds"])
        assert row["wrong"] < row["wrong, unadjusted"] and row["found"] > 0.1
    for row in measured["failing"]:
        if row["fall"] == 0:
            assert row["flagged"] <= outliers.LEVEL + 0.005 and row["healthy"] >= 0.94


def test_few_seeds_are_simulated_as_committed() -> None:
    """The part without chance, to the digits that are committed."""
    measured = json.loads((settings.RESULTS / "few-seeds.json").read_text(encoding="utf-8"))
    (row,) = [r for r in measured["two_models"] if (r["seeds"], r["spread"], r["examples"]) == ([2, 10], 1.0, 0.0)]
    assert few_seeds.two_models((2, 10), 1.0, 0.0) == pytest.approx({n: row[n] for n in ("ours", "Satterthwaite")})
    found = few_seeds.column(20, (3,), "equal", 0.5)
    assert found["wrong"] <= found["wrong, unadjusted"] and 0.1 < found["found"] < 0.8
    assert few_seeds.failing(200, 3, 0.015, 0.35)["found"] > 0.5
