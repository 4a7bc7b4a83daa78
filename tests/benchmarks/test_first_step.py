"""How long until the first step: what flue-bench adds to the imports that no cell can do without is told from them."""

from __future__ import annotations

import ast
import json

import pytest
import torch

from benchmarks.common import processes, report
from benchmarks.cost import first_step
from flue_bench.training.device import prepare


def test_what_is_ours_is_told_round_by_round() -> None:
    def waits(*walls: float) -> list[dict[str, float]]:
        return [{"wall": wall, "processor": wall / 2} for wall in walls]

    seconds = {
        "first cell": waits(4.0, 9.0, 5.0),
        "later cells": waits(0.1, 0.1),
        first_step.FLOOR: waits(3.0, 7.5, 3.8),  # a round that others disturbed disturbs both
    }
    machine = report.versions(prepare(torch.device("cpu"), "fp32", 0))
    text = first_step.markdown({"task": "t", "cells": 2, "rounds": 3, "machine": machine, "seconds": seconds})
    assert "| first cell | 5.00 (4.00 to 9.00) | 2.50 (2.00) | 3 |" in text
    assert "| imports alone | 3.80 (3.00 to 7.50) | 1.90 (1.50) |  |" in text
    assert "is 1.20 s of wall time, the median of the rounds" in " ".join(text.split())


def test_the_floor_imports_nothing_of_ours() -> None:
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(first_step.IMPORTS))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names == {"time", "gc", "json", "torch", "transformers", "transformers.models.camembert.modeling_camembert"}


@pytest.mark.benchmark
def test_the_floor_is_measured() -> None:
    said = json.loads(processes.python("-c", first_step.IMPORTS).stdout)
    assert said["wall"] > 0.1 and said["processor"] > 0.1


def test_what_is_measured_is_compiled_as_in_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert processes.python("-c", "import sys; print(sys.dont_write_bytecode)").stdout == "False\n"
