"""Trackers are told of every step, and a tracker that cannot be had is told of before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker

import flue_distill
from flue_bench.errors import UnknownNameError, UsageError
from flue_distill.training import trackers, trainer
from flue_distill.training.log import LOG, read_log
from support.command_line import refused
from support.distilling import distil


class Recording(GeneralTracker):
    """Keeps what it is told."""

    name = "recording"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, dict[str, float]]] = []

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        pass

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        assert step is not None
        self.told.append((step, values))


def test_a_tracker_has_the_numbers_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording()
    real = trainer.processes

    def reporting(*arguments: Any) -> Any:
        accelerator = real(*arguments)
        accelerator.trackers = [recording]
        return accelerator

    monkeypatch.setattr("support.distilling.processes", reporting)
    distil(tmp_path, dict(steps=4, evaluate_steps=2))
    log = read_log(tmp_path / LOG)
    assert [step for step, _ in recording.told] == [line["step"] for line in log]
    for (_, values), line in zip(recording.told, log, strict=True):
        if "loss" in line:
            assert values == {key: value for key, value in line.items() if key != "step"}
        else:
            assert values == {f"held_out/{key}": value for key, value in line["held_out"].items()}


def test_what_is_not_known_or_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["wandb"])
    trackers.check([])
    trackers.check(["wandb"])
    with pytest.raises(UnknownNameError, match="tensorboard"):
        trackers.check(["tensorbord"])
    with pytest.raises(UsageError, match=r"not installed\. pip install 'flue-bench\[mlflow\]' brings it"):
        trackers.check(["wandb", "mlflow"])
    out = tmp_path / "student"
    told = refused("distill", "--out", out, "--report-to", "tensorboard")
    assert "--report-to tensorboard: not installed. pip install 'flue-bench[tensorboard]'" in told
    assert not out.exists()


@pytest.mark.parametrize("name", trackers.PACKAGES)
def test_every_tracker_is_one_that_accelerate_knows(name: str) -> None:
    assert name in {str(getattr(each, "value", each)) for each in tracking.LoggerType}


def test_a_real_one_keeps_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small = {"length": 32, "batch_sequences": 4, "micro_batch": 4, "evaluate_sequences": 4}
    out = tmp_path / "student"
    flue_distill.distill(out=out, steps=3, overrides=small, device="cpu", report_to="tensorboard", progress=False)
    (events,) = out.glob("flue-bench/events*")
    read = EventAccumulator(str(events.parent)).Reload()
    wanted = [line["loss"] for line in read_log(out / LOG) if "loss" in line]
    assert [each.value for each in read.Scalars("loss")] == pytest.approx(wanted)
    assert "report_to" not in json.loads((out / "distillation.json").read_text())["recipe"]
