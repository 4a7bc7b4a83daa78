"""Ratios of rounds, and what is measured of dropout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.paired import ratios
from benchmarks.cost import dropout


def test_the_interval_is_of_order_statistics() -> None:
    """By the table of the sign test: of 6 values the range, of 15 the 4th from either end, of 21 the 6th."""
    for n, k in ((6, 1), (8, 1), (9, 2), (15, 4), (21, 6)):
        found = ratios([float(value) for value in range(1, n + 1)][::-1], [1.0] * n)
        assert (found.low, found.high) == (k, n + 1 - k)
        assert (found.least, found.most, found.median) == (1, n, (n + 1) / 2)
    assert str(ratios([2.0, 2.0], [1.0, 1.0])) == "2.00 [too few rounds]"
    assert str(ratios([2.0] * 6, [1.0] * 6)) == "2.00 [2.00, 2.00]"


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    random = np.random.RandomState(0)
    held = [
        found.low <= 1 <= found.high
        for found in (ratios(random.lognormal(0, 0.3, 15).tolist(), [1.0] * 15) for _ in range(2000))
    ]
    assert 0.95 <= np.mean(held) <= 0.98  # 0.965 by the binomial


def test_what_dropout_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dropout, "POSITIONS", 32)
    small = ["--rounds", "2", "--lengths", "8", "48", "--layers", "1", "--width", "16", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["dropout", *small])
    monkeypatch.setattr(dropout, "keep_freed_memory", lambda: None)
    dropout.main()
    found = json.loads((tmp_path / "dropout.json").read_text(encoding="utf-8"))
    assert [(each["precision"], each["rows"], each["length"]) for each in found["steps"]] == [
        ("fp32", 4, 8), ("fp32", 1, 48), ("bf16", 4, 8), ("bf16", 1, 48),
    ]  # fmt: skip
    assert all(
        len(seconds) == 2 and min(seconds) > 0 for each in found["steps"] for seconds in each["seconds"].values()
    )
    assert (tmp_path / "dropout.md").read_text(encoding="utf-8").strip() in capsys.readouterr().out
