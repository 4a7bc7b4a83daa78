"""Distillations above seeds: the analysis of variance worked out by hand, and made-up recipes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.statistics import distillations as simulation
from benchmarks.statistics import settings
from flue_bench.statistics.replicates import averaged, components


def test_components_by_hand() -> None:
    # Means 2 and 6, each ±1: within (1 + 1 + 1 + 1) / 2 = 2; between 2 (4 + 4) / 1 = 16; (16 - 2) / 2 = 7.
    assert components([np.array([1.0, 3.0]), np.array([5.0, 7.0])]) == pytest.approx((math.sqrt(7), math.sqrt(2)))
    # Sizes 1 and 3, means 0 and 4: within (1 + 0 + 1) / 2 = 1; grand mean 3, between 9 + 3 = 12; n0 = 4 - 10/4 = 1.5.
    between, within = components([np.array([0.0]), np.array([3.0, 4.0, 5.0])])
    assert (between, within) == pytest.approx((math.sqrt((12 - 1) / 1.5), 1.0))


def test_what_cannot_be_told_apart_is_not() -> None:
    assert components([np.array([0.1]), np.array([0.5])]) == (None, None)  # one seed of each
    assert components([np.array([1.0, 3.0])]) == (None, pytest.approx(math.sqrt(2)))  # one distillation
    assert components([np.array([1.0, 3.0]), np.array([3.0, 1.0])])[0] == 0.0  # seeds explain more than there is


def test_averages_of_runs_by_hand() -> None:
    scores = [np.array([1.0, 3.0, 8.0]), np.array([4.0])]
    covariance = np.diag([1.0, 1.0, 4.0, 9.0])
    covariance[0, 1] = covariance[1, 0] = 0.5
    means, cov = averaged(scores, covariance, [[[0, 1], [2]], [[0]]])
    assert [each.tolist() for each in means] == [[2.0, 8.0], [4.0]]
    # Var((a + b) / 2) = (1 + 1 + 2 · 0.5) / 4.
    assert cov.tolist() == [[0.75, 0, 0], [0, 4, 0], [0, 0, 9]]


def test_of_units_of_one_run_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    scores, noise = [rng.random(3), rng.random(4)], rng.random((7, 7))
    means, cov = averaged(scores, noise, [[[i] for i in range(len(each))] for each in scores])
    assert all((a == b).all() for a, b in zip(means, scores, strict=True)) and cov == pytest.approx(noise)


@pytest.mark.slow
def test_intervals_hold_the_truth_where_distillations_differ() -> None:
    """Seeds alone would be too sure of themselves, whether of one student or of all."""
    found = simulation.simulate(300, simulation.SETTINGS.index(simulation.Setting(3, 0.02, 2000)))
    assert found["distillations_covered"] > 0.92
    assert found["pooled_covered"] < found["distillations_covered"] and found["one_covered"] < 0.9


def test_the_committed_simulation_is_of_these_settings() -> None:
    rows = json.loads((settings.RESULTS / "distillations.json").read_text(encoding="utf-8"))
    assert simulation.markdown(rows) == (settings.RESULTS / "distillations.md").read_text(encoding="utf-8")
    for row, setting in zip(rows, simulation.SETTINGS, strict=True):
        assert setting._asdict().items() <= row.items() and row["rounds"] >= 1000
        assert row["distillations_covered"] > 0.92


def test_the_simulation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SETTINGS", simulation.SETTINGS[:1])
    for rounds in ("3", "5"):
        monkeypatch.setattr("sys.argv", ["distillations", "--rounds", rounds, "--out", str(tmp_path)])
        simulation.main()
    assert json.loads((tmp_path / "distillations.json").read_text())[0]["rounds"] == 3
