"""``micro_batch = "auto"``: the most that fits, found once, spread evenly, and kept when a run is resumed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flue_bench.errors import DeviceError, UsageError
from flue_distill.training import memory
from flue_distill.training.log import LOG, read_log
from flue_distill.training.memory import ON_A_CPU, largest, spread
from flue_distill.training.recipe import DistilRecipe
from support.distilling import RECIPE, distil


@given(st.integers(1, 500), st.integers(0, 600))
def test_the_largest_that_fits_is_found_in_few_tries(most: int, fitting: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        assert 1 <= size <= most
        tried.append(size)
        return size <= fitting

    assert largest(most, fits) == min(most, fitting)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1


@given(st.integers(1, 2000), st.integers(1, 400))
def test_passes_are_as_few_as_can_be_and_about_equal(sequences: int, most: int) -> None:
    size = spread(sequences, most)
    passes = -(-sequences // size)
    assert size <= most and passes == -(-sequences // most)
    last = sequences - (passes - 1) * size
    assert 0 < last <= size and size - last < passes


@pytest.mark.parametrize(("batch", "found"), [(8, 8), (40, 14), (64, 16)])
def test_on_a_cpu_it_is_a_number_that_is_recorded(batch: int, found: int, tmp_path: Path) -> None:
    told: list[str] = []
    settings: dict[str, Any] = dict(steps=2, batch_sequences=batch)
    weights, trained = distil(tmp_path / "auto", settings | dict(micro_batch="auto"), tell=told.append)
    assert trained.micro_batch == found <= ON_A_CPU and told == [f"micro_batch auto: {found} sequences a forward pass"]
    named, _ = distil(tmp_path / "named", settings | dict(micro_batch=found))
    assert all((weights[name] == named[name]).all() for name in named)


def test_a_resumed_run_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = dict(steps=6, micro_batch="auto")
    whole, _ = distil(tmp_path / "whole", settings)

    def stop(step: int, *_: object) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(tmp_path / "cut", settings, show=stop)
    monkeypatch.setattr(memory, "found", lambda *_: pytest.fail("looked for again"))
    found, trained = distil(tmp_path / "cut", settings)
    assert all((found[name] == whole[name]).all() for name in whole)
    assert trained.micro_batch == 8 and trained.changes == ()


def test_what_does_not_fit_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ON_A_CPU", 0)
    with pytest.raises(DeviceError, match="not one sequence of 16 tokens fits"):
        distil(tmp_path, dict(steps=2, micro_batch="auto"))


def test_each_size_is_tried_by_a_whole_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The pass itself, on the CPU: it leaves gradients, and nothing else."""
    from flue_distill.training.student import MaskedLM, Teacher, student_of
    from flue_distill.training.trainer import Objective
    from support.distilling import CPU, data, teacher

    network = teacher()
    student = MaskedLM(student_of(network)[0])
    before = {name: each.detach().clone() for name, each in student.named_parameters()}
    taught = Teacher(network, torch.float32)
    for settings in ({"kl_rows": "all"}, {"kl_rows": "masked", "weight_hidden": 1.0, "weight_relations": 1.0}):
        recipe = DistilRecipe(**{**RECIPE, **settings})
        memory._pass(7, Objective(student, taught, recipe), taught, data(), recipe, CPU)
    assert all(each.grad is not None and each.grad.isfinite().all() for each in student.parameters())
    assert all(torch.equal(each, before[name]) for name, each in student.named_parameters())


@pytest.mark.parametrize("value", ["0", "-1", "most", "1.5"])
def test_other_values_are_refused(value: str) -> None:
    with pytest.raises(UsageError, match="recipe field 'micro_batch' cannot be"):
        DistilRecipe.load(None, {"teacher": "t", "micro_batch": value})


def test_the_log_is_of_the_run_alone(tmp_path: Path) -> None:
    distil(tmp_path, dict(steps=2, micro_batch="auto"))
    assert [line["step"] for line in read_log(tmp_path / LOG) if "loss" in line] == [1, 2]
