"""Means over seeds and test examples: against scipy, values worked out by hand, and made-up models."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.statistics import settings, simulate
from flue_bench.kinds.counts import accuracy, macro_f1, mcc
from flue_bench.statistics.intervals import (
    Means,
    Score,
    Summary,
    covariance,
    estimate,
    fieller,
    freedom_of_sum,
    mean_sd,
    resample,
    satterthwaite,
    score_interval,
    seeds_and_examples,
    t_interval,
)
from flue_bench.statistics.significance import holm, mcnemar, permutation_test, t_test, t_test_above

samples = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def test_mean_sd_by_hand() -> None:
    # Deviations -2, 0, 2: (4 + 0 + 4) / (3 - 1) = 4.
    assert mean_sd([3, 5, 7]) == Summary(5.0, 2.0, 3)


def test_one_value_has_no_sd_and_none_has_no_mean() -> None:
    assert mean_sd([0.8]) == Summary(0.8, None, 1)
    with pytest.raises(ValueError, match="at least one value"):
        mean_sd([])


def test_equal_values_do_not_vary() -> None:
    summary = mean_sd([0.1] * 10)
    assert summary.sd == pytest.approx(0, abs=1e-15)


def test_scipy_is_not_imported_for_a_mean() -> None:
    code = (
        "import sys; from flue_bench.statistics.intervals import mean_sd; mean_sd([1, 2]); "
        "assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- counts to scores, and resampling ---------------------------------------------------------------------------------


def random_counts(rng: np.random.Generator, models: int = 2, clusters: int = 60, classes: int = 3) -> NDArray[np.int64]:
    """Counts of a classification with one to four examples a cluster, (models, clusters, classes, 3)."""
    cluster = np.repeat(np.arange(clusters), rng.integers(1, 5, clusters))
    gold = rng.integers(0, classes, len(cluster))
    hits = np.eye(classes, dtype=np.int64)
    counts = np.zeros((models, clusters, classes, 3), np.int64)
    for of_model in counts:
        predicted = np.where(rng.random(len(gold)) < 0.3, rng.integers(0, classes, len(gold)), gold)
        np.add.at(of_model, cluster, np.stack([hits[gold] * hits[predicted], hits[predicted], hits[gold]], axis=-1))
    return counts


def test_the_bootstrap_of_a_mean_is_scipys() -> None:
    right = np.random.default_rng(3).random((2, 150)) < np.array([[0.8], [0.7]])
    counts = np.stack([right, np.ones_like(right), np.ones_like(right)], axis=-1)[:, :, None, :]
    variance = covariance(resample(counts, 4000), accuracy, 150)
    assert variance == pytest.approx(np.cov(right) / 150, abs=0.1 * right.var() / 150)
    theirs = stats.bootstrap((right[0],), np.mean, n_resamples=4000, method="basic", rng=np.random.default_rng(1))
    assert math.sqrt(variance[0, 0] * 149 / 150) == pytest.approx(theirs.standard_error, rel=0.05)


@pytest.mark.parametrize("formula", [accuracy, macro_f1, mcc])
def test_examples_of_a_cluster_are_drawn_together(formula: Score) -> None:
    # Each example twice in its cluster is no more knowledge; as a cluster of its own it would halve the variance.
    counts = random_counts(np.random.default_rng(0))
    once = covariance(resample(counts, 300), formula, 60)
    assert covariance(resample(2 * counts, 300), formula, 60) == pytest.approx(once)
    alone = covariance(resample(np.tile(counts, (1, 2, 1, 1)), 3000), formula, 120)
    assert alone[0, 0] == pytest.approx(once[0, 0] / 2, rel=0.25)


def test_models_are_resampled_together() -> None:
    counts = random_counts(np.random.default_rng(1), models=1)
    drawn = resample(np.concatenate([counts, counts]), 50)
    assert drawn.shape == (50, 2, 3, 3)
    assert (drawn[:, 0] == drawn[:, 1]).all() and drawn.std(0).any()
    assert (resample(counts, 250)[:100] == resample(counts, 100)).all()


# --- both sources of chance -------------------------------------------------------------------------------------------


def means_of(*scores: list[float], examples: float = 0.0, clusters: int = 1000) -> Means:
    """Models whose test set brings the same variance to each, and none to their difference."""
    total = sum(map(len, scores))
    return seeds_and_examples([np.array(each) for each in scores], np.full((total, total), examples), clusters)


def test_the_components_by_hand() -> None:
    # Two seeds a model. Between different seeds of A: 3; of B: 5; between A and B: (1 + 2 + 2 + 3) / 4 = 2. The
    # diagonal does not matter. Variance over seeds: 2 and 8, halved by n.
    shared = np.array([[9, 3, 1, 2], [3, 9, 2, 3], [1, 2, 9, 5], [2, 3, 5, 9]], float)
    means = seeds_and_examples([np.array([4.0, 6.0]), np.array([1.0, 5.0])], shared, 101)
    assert means.mean.tolist() == [5, 3] and means.seeds.tolist() == [1, 4] and means.freedom.tolist() == [1, 1]
    assert means.examples.tolist() == [[3, 2], [2, 5]]
    difference = estimate(means, [1, -1])
    assert (difference.value, difference.se_seeds, difference.se_examples) == pytest.approx((2, math.sqrt(5), 2))
    assert difference.se == pytest.approx(3)
    # Satterthwaite: (1 + 4 + 4)² / (1²/1 + 4²/1 + 4²/100) = 4.72. B's seeds, 4/9 of the variance with one degree of
    # freedom, ask for 1.960 + 4/9 · (12.706 - 1.960) = 6.736 standard errors.
    assert stats.t.ppf(0.975, difference.freedom) == pytest.approx(6.7360, abs=1e-4)


def test_a_single_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two seeds a model"):
        means_of([0.8], [0.7, 0.6])


def test_satterthwaite_by_hand() -> None:
    assert satterthwaite([2, 2], [3, 3]) == pytest.approx(6)
    assert satterthwaite([5, 0], [4, 1]) == pytest.approx(4)
    assert satterthwaite([0, 0], [1, 1]) == math.inf
    assert satterthwaite([2e-300, 2e-300], [3, 3]) == pytest.approx(6)


def test_the_degrees_of_freedom_of_a_sum_by_hand() -> None:
    assert freedom_of_sum([4, 0], [2, 999]) == pytest.approx(2)
    assert freedom_of_sum([0, 4], [2, 999]) == pytest.approx(999)
    assert freedom_of_sum([0, 0], [1, 1]) == math.inf
    # 0.8 ** 1.5 = 0.71554 with 2 degrees of freedom, more than Satterthwaite's 1 / (0.8² / 2 + 0.2² / 999) = 3.12
    z, t2 = stats.norm.ppf(0.975), stats.t.ppf(0.975, 2)
    assert stats.t.ppf(0.975, freedom_of_sum([4, 1], [2, 999])) == pytest.approx(z + 0.71554 * (t2 - z), abs=1e-4)
    assert freedom_of_sum([2, 2], [9, 9]) == satterthwaite([2, 2], [9, 9]) == pytest.approx(18)


def covered(shares: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the coverage around a normal mean, with a variance in three parts, by quadrature, without chance.

    Args:
        shares: true parts of the variance, of which the first two are estimated and the third is known.
        freedoms: degrees of freedom of the first two.
    """
    first, second = (
        share * stats.chi2.ppf((np.arange(40) + 0.5) / 40, each) / each
        for share, each in zip(shares[:2], freedoms, strict=True)
    )
    inside = []
    for a, b in product(first, second):
        half = stats.t.ppf(0.975, freedom_of_sum([a, b, shares[2]], [*freedoms, 1e9]))
        inside.append(1 - 2 * special.ndtr(-half * math.sqrt(a + b + shares[2])))
    return float(np.mean(inside))


@pytest.mark.parametrize("seeds", [(2, 2), (2, 3), (2, 10), (3, 3), (3, 10), (5, 10)])
@pytest.mark.parametrize("shares", [(0.9, 0.0, 0.1), (0.5, 0.5, 0.0), (0.6, 0.2, 0.2), (0.83, 0.17, 0.0)])
def test_unequal_spreads_and_seeds_are_covered(seeds: tuple[int, int], shares: tuple[float, float, float]) -> None:
    """Satterthwaite's rule: 0.88 of two seeds with nine tenths of the variance, 0.90 of 2 against 10 with equal sd."""
    assert covered(shares, [seeds[0] - 1, seeds[1] - 1]) > 0.94


@given(samples, samples)
def test_without_chance_from_examples_it_is_welch_or_more_careful(a: list[float], b: list[float]) -> None:
    if min(mean_sd(a).sd or 0, mean_sd(b).sd or 0) < 1e-6:
        return
    estimated, expected = estimate(means_of(a, b), [1, -1]), stats.ttest_ind(a, b, equal_var=False)
    assert estimated.value / estimated.se == pytest.approx(expected.statistic)
    assert estimated.freedom <= expected.df * (1 + 1e-9)
    p = float(2 * stats.t.sf(abs(expected.statistic), estimated.freedom))
    assert t_test(estimated) == pytest.approx(p, abs=1e-9)
    low, high = t_interval(estimated)
    assert (t_test(estimated) <= 0.05) == (low * high >= 0) or abs(p - 0.05) < 1e-6
    above = t_test_above(estimated)
    assert above == pytest.approx(float(stats.t.sf(expected.statistic, estimated.freedom)), abs=1e-9)


def test_without_chance_at_all() -> None:
    same, better = means_of([0.5, 0.5], [0.5, 0.5]), means_of([0.75, 0.75], [0.5, 0.5])
    assert t_test(estimate(same, [1, -1])) == 1
    assert t_test(estimate(better, [1, -1])) == 0 and t_interval(estimate(better, [1, -1])) == (0.25, 0.25)


def one(value: float, se_seeds: float, se_examples: float, freedom: float = 1e9) -> Means:
    """One model, of whose standard errors the first is known with these degrees of freedom."""
    examples = np.array([[se_examples**2]])
    return Means(np.array([value]), np.array([se_seeds**2]), np.array([freedom]), examples, clusters=10**9)


@given(st.floats(0.01, 0.99), st.floats(0.0, 0.2), st.sampled_from([0.0, -1.0]))
def test_the_interval_of_a_score_stays_in_its_range(value: float, se: float, lowest: float) -> None:
    low, high = score_interval(one(value, se, 0, freedom=2), lowest)
    assert lowest <= low <= value + 1e-12 and value - 1e-12 <= high <= 1


def test_the_interval_of_a_score_by_hand() -> None:
    # logit(0.9) = 2.1972; t(0.975; inf) · 0.01 / 0.09 = 0.21777: ends at expit(1.97946) and expit(2.41500).
    ends = score_interval(one(0.9, 0.006, 0.008))
    assert ends == pytest.approx((0.878618, 0.917954), abs=1e-5)
    # Of MCC 0.5: atanh 0.549306, ± 1.959964 · 0.1 / 0.75.
    ends = score_interval(one(0.5, 0.1, 0), -1)
    assert ends == pytest.approx((math.tanh(0.549306 - 0.261329), math.tanh(0.549306 + 0.261329)), abs=1e-5)


def test_the_interval_of_a_perfect_score() -> None:
    """As for a proportion of as many trials as there are clusters."""
    for hits, value in ((50, 1.0), (0, 0.0)):
        theirs = stats.binomtest(hits, 50).proportion_ci(0.95, "exact")
        ends = score_interval(replace(one(value, 0, 0), clusters=50))
        assert ends == pytest.approx((theirs.low, theirs.high))
    assert score_interval(one(-1.0, 0, 0), -1)[0] == -1


def test_fieller_holds_the_ratios_that_are_not_rejected() -> None:
    means = means_of([0.81, 0.83, 0.80], [0.84, 0.86, 0.85], examples=1e-4)
    low, high = fieller(means)
    ratio = means.mean[0] / means.mean[1]
    assert low < ratio < high
    t = stats.t.ppf(0.975, estimate(means, [1, -ratio]).freedom)
    for end in (low, high):
        at_end = estimate(means, [1, -end])
        assert abs(at_end.value) == pytest.approx(t * at_end.se)


def test_fieller_where_the_variance_from_the_examples_is_negative() -> None:
    """Estimated without bias it may be: the seeds' is then all there is, for the ratio as for the difference."""
    seeds, freedom = np.full(2, 0.0005**2), np.full(2, 2.0)
    negative = Means(np.array([0.80, 0.82]), seeds, freedom, np.array([[1e-4, 1.05e-4], [1.05e-4, 1e-4]]), 1000)
    nothing = Means(np.array([0.80, 0.82]), seeds, freedom, np.zeros((2, 2)), 1000)
    assert fieller(negative) == pytest.approx(fieller(nothing))
    low, high = fieller(negative)
    assert low < 0.80 / 0.82 < high


def test_fieller_without_a_denominator() -> None:
    assert fieller(means_of([0.5, 0.6], [-0.3, 0.4])) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="not above zero"):
        fieller(means_of([0.5, 0.6], [0.0, 0.0]))


# --- trained models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_permutation_test_is_scipys(seed: int) -> None:
    right = np.random.default_rng(seed).random((2, 12)) < np.array([[0.9], [0.4]])
    counts = np.stack([right, np.ones_like(right), np.ones_like(right)], axis=-1)[:, :, None, :]
    exact = stats.permutation_test(
        (right[0].astype(float), right[1].astype(float)),
        lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=math.inf,
    )
    assert permutation_test(counts, accuracy) == pytest.approx(exact.pvalue, abs=0.02)


def test_the_permutation_test_does_not_mind_which_is_first() -> None:
    counts = random_counts(np.random.default_rng(5))
    assert permutation_test(counts, macro_f1) == permutation_test(counts[::-1], macro_f1)
    assert permutation_test(np.stack([counts[0], counts[0]]), macro_f1) == 1


def test_the_permutation_test_swaps_clusters_whole() -> None:
    # Three clusters can be swapped in 8 ways, and the two in which one model gets all are as far apart as observed.
    right = np.array([[[5], [5], [5]], [[0], [0], [0]]])
    counts = np.stack([right, np.full_like(right, 5), np.full_like(right, 5)], axis=-1)
    assert permutation_test(counts, accuracy) == pytest.approx(0.25, abs=0.02)


def test_mcnemar_by_hand() -> None:
    # 2 · (1 + 12 + 66) / 2^12
    assert mcnemar(10, 2) == pytest.approx(158 / 4096)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_binomial_test(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1, 1] and holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8), st.randoms())
def test_holm_does_not_mind_the_order(p_values: list[float], random: Random) -> None:
    adjusted = dict(zip(p_values, holm(p_values), strict=True))
    shuffled = random.sample(p_values, len(p_values))
    assert holm(shuffled) == [adjusted[p] for p in shuffled]
    assert all(p <= adjusted[p] <= min(1, len(p_values) * p) for p in p_values)


# --- truth that is known ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_and_examples_both_count() -> None:
    rounds = 300
    accuracy = simulate.simulate(rounds, sd=0.015, seeds=3, test="400")[0]
    error = 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert accuracy["false_positive"] <= 0.05 + error and accuracy["false_non_inferior"] <= 0.05 + error
    assert min(accuracy[f"{what}_covered"] for what in ("entry", "difference", "retention")) >= 0.95 - error
    assert accuracy["false_positive_examples_alone"] > 0.05 + error


def test_the_committed_simulation_says_so() -> None:
    folder = settings.RESULTS
    rows = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    assert simulate.markdown(rows) == (folder / "simulation.md").read_text(encoding="utf-8")
    assert rows and min(row["rounds"] for row in rows) >= 1000
    assert np.mean([row["false_positive"] for row in rows]) < 0.055
    for row in rows:
        error = 4 * math.sqrt(0.05 * 0.95 / row["rounds"])
        assert row["false_positive"] <= 0.05 + error
        assert row["false_non_inferior"] <= 0.08  # skewed differences on twenty groups of examples
        assert min(row[f"{what}_covered"] for what in ("entry", "difference", "retention")) >= 0.95 - error
        assert 0 < row["entry_width"] < 1 and 0 < row["difference_width"] < 2
    every = len(simulate.TEST_SETS) * len(simulate.SDS) * len(simulate.SEEDS)
    assert len(rows) == every * len(simulate.METRICS)
    assert max(row["false_positive_examples_alone"] for row in rows) > 0.2
