"""Means over seeds and the difference of two means."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flue_bench.statistics import Difference, Summary, mean_sd, welch_interval

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


@settings(deadline=None)
@given(samples, samples, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_welch_equals_scipy(a: list[float], b: list[float], confidence: float) -> None:
    interval = welch_interval(a, b, confidence)
    if min(mean_sd(a).sd or 0, mean_sd(b).sd or 0) < 1e-6:  # scipy warns of lost precision there
        assert interval.low <= interval.mean <= interval.high
        return
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(confidence)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_welch_by_hand() -> None:
    # Both have variance 1 and n = 2, so se = 1 and the degrees of freedom are 2: t(0.975; 2) = 4.302653.
    root = math.sqrt(0.5)
    interval = welch_interval([5 - root, 5 + root], [3 - root, 3 + root])
    assert interval == pytest.approx((2.0, 2 - 4.302653, 2 + 4.302653), abs=1e-6)


def test_welch_turns_round() -> None:
    a, b = [0.81, 0.83, 0.80], [0.78, 0.82, 0.79]
    there, back = welch_interval(a, b), welch_interval(b, a)
    assert back == pytest.approx((-there.mean, -there.high, -there.low))


def test_samples_that_do_not_vary_give_a_point() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert welch_interval([0.75, 0.75], [0.5, 0.5]) == Difference(0.25, 0.25, 0.25)


def test_an_interval_needs_two_values() -> None:
    with pytest.raises(ValueError, match="two values a sample, not 2 and 1"):
        welch_interval([0.8, 0.9], [0.7])


def test_scipy_is_not_imported_for_a_mean() -> None:
    code = "import sys; from flue_bench.statistics import mean_sd; mean_sd([1, 2]); assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
