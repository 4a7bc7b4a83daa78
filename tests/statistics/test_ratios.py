"""The mean of a ratio over tasks, ratios above a floor, and equivalence: values worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import retention as simulation
from benchmarks.statistics import settings
from flue_bench.statistics.intervals import KEPT_ABOVE, Estimate, Means, fieller, freedom_of_sum, satterthwaite
from flue_bench.statistics.ratios import mean_ratio_interval, ratio
from flue_bench.statistics.significance import equivalence_test


def means(values: list[float], seeds: list[float], clusters: int = 10**6) -> Means:
    """Models with these means and squared standard errors over three seeds, on a test set without chance."""
    k = len(values)
    return Means(np.array(values), np.array(seeds), np.full(k, 2.0), np.zeros((k, k)), clusters)


ONE, OTHER = means([0.6, 0.8], [1e-4, 4e-4]), means([0.45, 0.5], [1e-4, 4e-4])


def test_the_mean_over_tasks_by_hand() -> None:
    assert (ratio(ONE), ratio(OTHER)) == pytest.approx((0.75, 0.9))
    # Slopes (1, -ratio) / teacher / 2 tasks: (0.625, -0.46875) and (1, -0.9); their squares times the variances.
    parts = [0.390625e-4, 0.21972656e-0 * 4e-4, 1e-4, 0.81 * 4e-4]
    low, high = mean_ratio_interval([ONE, OTHER])
    assert (low + high) / 2 == pytest.approx(0.825)
    # Satterthwaite: (5.5095e-4)² / (Σ part² / 2) = 4.887.
    freedom = satterthwaite(parts, [2] * 4)
    assert freedom == pytest.approx(4.887, abs=1e-3)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(5.50953125e-4), rel=1e-6)


def test_of_one_task_it_is_fieller() -> None:
    assert mean_ratio_interval([ONE]) == fieller(ONE)


def test_a_test_set_that_both_share_cancels_out() -> None:
    """Where student and teacher are equally good, what the test set does to both does nothing to their ratio."""
    equal = means([0.8, 0.8], [1e-4, 1e-4])
    shared = replace(equal, examples=np.full((2, 2), 9e-4), clusters=500)
    assert mean_ratio_interval([shared, shared]) == pytest.approx(mean_ratio_interval([equal, equal]))
    own = replace(equal, examples=np.diag([9e-4, 9e-4]), clusters=500)
    assert np.ptp(mean_ratio_interval([own, own])) > 1.5 * np.ptp(mean_ratio_interval([equal, equal]))


def test_more_tasks_say_more() -> None:
    one, two = (np.ptp(mean_ratio_interval([OTHER] * tasks)) for tasks in (2, 8))
    assert two < one / 1.9


def test_above_a_floor_by_hand() -> None:
    # (74 - 53) / (80 - 53) = 21 / 27.
    three = means([0.74, 0.80, 0.53], [1e-6, 1e-6, 1e-6])
    assert ratio(three, KEPT_ABOVE) == pytest.approx(21 / 27) and ratio(three, ((1, 0, 0), (0, 1, 0))) == 0.74 / 0.8
    low, high = fieller(three, KEPT_ABOVE)
    assert low < 21 / 27 < high
    # At both ends numerator - end · denominator is as far from 0 as the quantile allows: 0.21 - 0.27 r over its error,
    # the variance of S - r T - (1 - r) F being (1 + r² + (1 - r)²) 1e-6.
    r = 21 / 27
    t = stats.t.ppf(0.975, freedom_of_sum([1e-6, r * r * 1e-6, (1 - r) ** 2 * 1e-6], [2, 2, 2]))
    for end in (low, high):
        error = math.sqrt((1 + end**2 + (1 - end) ** 2) * 1e-6)
        assert abs(0.21 - 0.27 * end) / error == pytest.approx(t, rel=1e-6)


def test_a_floor_of_zero_is_no_floor() -> None:
    with_floor = means([0.6, 0.8, 0.0], [1e-4, 4e-4, 0.0])
    assert fieller(with_floor, KEPT_ABOVE) == pytest.approx(fieller(ONE))
    assert mean_ratio_interval([with_floor] * 2, KEPT_ABOVE) == pytest.approx(mean_ratio_interval([ONE] * 2))


def test_a_teacher_near_the_floor_bounds_nothing() -> None:
    near = means([0.52, 0.53, 0.52], [1e-4, 1e-4, 1e-4])
    assert fieller(near, KEPT_ABOVE) == (-math.inf, math.inf)
    far = means([0.74, 0.80, 0.53], [1e-6] * 3)
    assert mean_ratio_interval([near, far], KEPT_ABOVE) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="not above zero"):
        mean_ratio_interval([far, means([0.5, 0.5, 0.6], [1e-4] * 3)], KEPT_ABOVE)


def test_equivalence_by_hand() -> None:
    def at(value: float) -> Estimate:
        return Estimate(value, 0.005, 0.0, math.inf)

    # A difference of 0.01 ± 0.005 within 0.02: 0.03 above the lower end, 0.01 below the upper end, which is 2 errors.
    assert equivalence_test(at(0.03), at(0.01)) == pytest.approx(stats.norm.sf(2))
    assert equivalence_test(at(0.01), at(0.03)) == pytest.approx(stats.norm.sf(2))
    assert equivalence_test(at(0.02), at(0.02)) == pytest.approx(stats.norm.sf(4))
    assert equivalence_test(at(-0.01), at(0.05)) > 0.5  # outside


# --- made-up models ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_intervals_hold_the_truth() -> None:
    found = simulation.simulate(150, simulation.SETTINGS.index(simulation.Setting(3, 0.015, 400, 3)))
    assert found["kept_covered"] > 0.9 and found["above_covered"] > 0.9 and found["false_equivalent"] < 0.1
    apart = simulation.simulate(60, simulation.SETTINGS.index(simulation.Setting(5, 0.005, 2000, 1)))
    assert apart["found_equivalent"] > 0.75


def test_the_committed_simulation_is_of_these_settings() -> None:
    rows = json.loads((settings.RESULTS / "retention.json").read_text(encoding="utf-8"))
    assert simulation.markdown(rows) == (settings.RESULTS / "retention.md").read_text(encoding="utf-8")
    for row, setting in zip(rows, simulation.SETTINGS, strict=True):
        assert setting._asdict().items() <= row.items() and row["rounds"] >= 1000
        assert row["kept_covered"] > 0.925 and row["above_covered"] > 0.925 and row["false_equivalent"] < 0.075


def test_the_simulation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SETTINGS", simulation.SETTINGS[:1])
    for rounds in ("3", "5"):
        monkeypatch.setattr("sys.argv", ["retention", "--rounds", rounds, "--out", str(tmp_path)])
        simulation.main()
    assert json.loads((tmp_path / "retention.json").read_text())[0]["rounds"] == 3
