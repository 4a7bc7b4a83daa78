"""``doctor --self-test``: it passes here, and each of its checks fails where its promise is broken."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from flue_bench import plugins
from flue_bench.cli.doctor import doctor
from flue_bench.jobs import selftest
from flue_bench.plugins import Finding
from flue_bench.training import train
from flue_bench.training.checks import near, same_bits
from flue_bench.training.device import Device
from flue_distill.training import checks as distill_checks

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same checks on fewer rows, and a speed of a small shape."""
    monkeypatch.setattr(selftest, "ROWS", 64)
    monkeypatch.setattr(selftest, "STEPS", 4)
    monkeypatch.setattr(selftest, "SHAPE", {**selftest.SHAPE, "vocab_size": 400, "num_hidden_layers": 1})
    monkeypatch.setattr(selftest, "SPEED_LENGTH", 8)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, _: (_ for _ in ()).throw(SystemExit(128 + number)))
    yield
    signal.signal(signal.SIGTERM, before)


def test_it_passes_here() -> None:
    findings = list(selftest.self_test(CPU))
    assert {finding.state for finding in findings} == {"ok"}, findings
    assert [finding.what for finding in findings] == [
        "two runs, fp32",
        "resumed = uninterrupted, fp32",
        "two runs, bf16",
        "resumed = uninterrupted, bf16",
        "cut batch = whole batch, fp32",
        "bf16 near fp32, bf16",
        "training step, fp32",
        "training step, bf16",
        "plain loss = fast loss, fp32",
        "resumed distillation = uninterrupted, fp32",
    ]


def states(check: Any) -> dict[str, str]:
    return {finding.what: finding.state for finding in check(CPU)}


def test_draws_of_chance_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right, chance = Device.training, iter(range(1000))

    def unseeded(self: Device, rows: int, length: int, seed: int, step: int, *more: Any) -> Any:
        return right(self, rows, length, seed + next(chance), step, *more)

    monkeypatch.setattr(Device, "training", unseeded)
    monkeypatch.setattr(selftest, "precisions", lambda _: ["fp32"])
    by_check = states(selftest.fine_tuning)
    assert by_check["two runs, fp32"] == by_check["resumed = uninterrupted, fp32"] == "problem"


def test_a_batch_that_is_cut_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train.add_gradient

    def each_by_itself(model: Any, data: Any, rows: Any, at_once: int, *more: Any) -> Any:
        """Each part divided by its own labels, as an accumulating loop easily does."""
        return [whole(model, data, rows[i : i + at_once], at_once, *more) for i in range(0, len(rows), at_once)][-1]

    monkeypatch.setattr(train, "add_gradient", each_by_itself)
    monkeypatch.setattr(selftest, "precisions", lambda _: ["fp32"])
    assert states(selftest.fine_tuning)["cut batch = whole batch, fp32"] == "problem"


def test_a_fast_loss_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = distill_checks.fast

    def wrong(*arguments: Any) -> Any:
        loss, parts = right(*arguments)
        return 1.001 * loss, parts

    monkeypatch.setattr(distill_checks, "fast", wrong)
    assert states(distill_checks.distillation)["plain loss = fast loss, fp32"] == "problem"


def test_a_check_that_breaks_off_is_a_problem_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: torch.device) -> Iterator[Finding]:
        raise RuntimeError("no such kernel\nmore of it")
        yield

    monkeypatch.setattr(selftest, "fine_tuning", broken)
    monkeypatch.setattr(plugins, "load_all", lambda _: {"theirs": lambda _: iter([Finding("ok", "theirs", "fine")])})
    first, *_, last = selftest.self_test(CPU)
    assert (first.state, first.found) == ("problem", "failed: RuntimeError: no such kernel")
    assert last == Finding("ok", "theirs", "fine")


def test_near_and_same_bits() -> None:
    one = {"w": torch.tensor([1.0, 2.0])}
    assert same_bits("x", "fp32", one, {"w": one["w"].clone()}, CPU).state == "ok"
    other = {"w": torch.tensor([1.0, 2.0 + 1e-6])}
    assert same_bits("x", "fp32", one, other, CPU).state == "problem"
    assert same_bits("x", "fp32", one, other, torch.device("cuda")).state == "note"
    assert near("x", "fp32", one["w"], other["w"], 1e-4).state == "ok"
    assert near("x", "fp32", one["w"], 2 * one["w"], 1e-4).state == "problem"


def test_the_command_prints_all_and_fails_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setattr(selftest, "self_test", lambda _: iter([Finding("problem", "bits", "differ", "Report it.")]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseException, match="1"):
        doctor(results=tmp_path, self_test=True, device="cpu")
    shown = capsys.readouterr().out
    assert "Self-test on cpu" in shown and "bits" in shown and "Report it." in shown
