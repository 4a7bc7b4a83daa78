"""The expected best of n points: by hand, by its closed form for ranks, and by drawing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from flue_bench.statistics.budget import expected_best


def test_by_hand() -> None:
    """Scores 1, 2, 4. The best of two draws, of 9 alike, is 1 once, 2 in three and 4 in five: (1 + 6 + 20) / 9 = 3."""
    one, two, three = expected_best([1.0, 2.0, 4.0])
    assert one.mean == pytest.approx(7 / 3) and two.mean == pytest.approx(3)
    assert three.mean == pytest.approx((1 + 7 * 2 + 19 * 4) / 27)
    assert two.sd**2 == pytest.approx((1 * 4 + 3 * 1 + 5 * 1) / 9)


def test_of_ranks_it_has_a_closed_form() -> None:
    """Scores 1 to N: the mean of the largest of n draws is N minus the sum of (k/N)^n for k from 1 to N - 1."""
    for total in (1, 5, 36):
        found = expected_best([float(score) for score in range(1, total + 1)])
        closed = [total - sum((k / total) ** n for k in range(1, total)) for n in range(1, total + 1)]
        assert [each.mean for each in found] == pytest.approx(closed)


def test_it_is_the_mean_over_all_draws() -> None:
    scores = [0.31, 0.6, 0.6, 0.72]
    for n, found in enumerate(expected_best(scores), 1):
        best = [max(draw) for draw in product(scores, repeat=n)]
        assert (found.mean, found.sd) == pytest.approx((np.mean(best), np.std(best)))


def test_a_point_that_loses_whatever_its_score_is_comes_first() -> None:
    """A collapsed point of 0.9 is chosen only where nothing else was drawn."""
    assert expected_best([0.9, 0.2, 0.4])[1].mean == pytest.approx((0.9 + 3 * 0.2 + 5 * 0.4) / 9)


def test_one_point_and_none() -> None:
    assert expected_best([0.5]) == [(0.5, 0.0)] and not expected_best([])
