"""Trackers are told of every step, and a tracker that cannot be had is told of before anything is loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker

import flue_distill
from flue_bench.errors import RecordError, UnknownNameError, UsageError
from flue_bench.progress import Console, Display
from flue_distill.training import trackers, trainer
from flue_distill.training.log import LOG, last_step, read_log
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


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_every_tracker_is_one_that_accelerate_knows(name: str) -> None:
    assert name in {str(getattr(each, "value", each)) for each in tracking.LoggerType}


SMALL: dict[str, Any] = {"length": 32, "batch_sequences": 4, "micro_batch": 4, "evaluate_sequences": 4}


class Standin(Recording):
    """A tracker that is told of what is told to it, over all runs of a test, and can fail anywhere."""

    name = "trackio"
    begun: ClassVar[list[dict[str, Any]]] = []
    all: ClassVar[list[tuple[int, dict[str, float]]]] = []
    finished: ClassVar[int] = 0
    fails: ClassVar[dict[str, BaseException]] = {}

    def __init__(self, project: str, **options: Any) -> None:
        super().__init__()
        self.options = options | {"project": project}

    def _may_fail(self, where: str) -> None:
        if where in self.fails:
            raise self.fails[where]

    def start(self) -> None:
        self._may_fail("start")
        self.begun.append(self.options | {key: os.environ.get(key) for key in trackers.SILENT})

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.begun[-1]["settings"] = values

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        super().log(values, step)
        self.all.append(self.told[-1])
        self._may_fail(f"step {step}")

    def finish(self) -> None:
        self._may_fail("finish")
        type(self).finished += 1


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> type[Standin]:
    """Take trackio's place."""
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["trackio", "tensorboard"])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", Standin)
    for key, value in {"begun": [], "all": [], "finished": 0, "fails": {}}.items():
        monkeypatch.setattr(Standin, key, value)
    for key in trackers.SILENT:
        monkeypatch.delenv(key, raising=False)
    return Standin


def trained(out: Path, **more: Any) -> str:
    """Distil in a few steps, reporting to the stand-in; what was said."""
    console = Console(record=True, file=io.StringIO(), width=10_000)
    overrides = SMALL | more.pop("overrides", {})
    asked = {"steps": 4, "report_to": "trackio", "device": "cpu"} | more
    flue_distill.distill(out=out, overrides=overrides, progress=Display(console), **asked)
    return console.export_text()


def test_a_run_has_the_name_of_its_folder_and_settings_that_are_numbers(tmp_path: Path, standin: type[Standin]) -> None:
    trained(tmp_path / "essai", offline=True, report_to=["trackio", "trackio"])
    (begun,) = standin.begun
    assert begun["project"] == "flue-bench" and begun["name"].startswith("essai-") and begun["resume"] == "allow"
    assert begun["settings"]["learning_rate"] == pytest.approx(1e-3) and begun["settings"]["kl_rows"] == "all"
    assert begun["settings"]["teacher"] == "embedded:teacher"  # a name, and no path
    assert {key: begun[key] for key in trackers.SILENT} == trackers.SILENT and not {*trackers.SILENT} & {*os.environ}
    assert [step for step, _ in standin.all] == [0, 1, 2, 3, 4, 4] and standin.finished == 1


def test_resumed_it_is_one_run_that_is_told_of_each_step_once(tmp_path: Path, standin: type[Standin]) -> None:
    out = tmp_path / "student"
    for step in (2, 3):  # told of, and killed before there is a checkpoint of it: the step is done again
        standin.fails = {f"step {step}": KeyboardInterrupt()}
        with pytest.raises(KeyboardInterrupt):
            trained(out, resume=step == 3, overrides={"checkpoint_seconds": 0})
    standin.fails = {}
    for folder in (out / "checkpoints").glob("step-*"):
        if folder.name > "step-000000001":
            shutil.rmtree(folder)  # as if only the first one had been written
    trained(out, resume=True)
    assert {each["name"] for each in standin.begun} == {standin.begun[0]["name"]} and len(standin.begun) == 3
    steps = [step for step, values in standin.all if "loss" in values]
    assert steps == [1, 2, 3, 4]
    assert [line["step"] for line in read_log(out / LOG) if "loss" in line] == [1, 2, 3, 4]


@pytest.mark.parametrize("where", ["step 0", "step 2", "finish"])
def test_one_that_fails_stops_nothing_and_is_told_of_once(where: str, tmp_path: Path, standin: type[Standin]) -> None:
    standin.fails = {where: ConnectionError("no route to the server\nand much more")}
    said = trained(tmp_path / "student")
    told = [line for line in said.splitlines() if "--report-to" in line]
    assert len(told) == 1 and "trackio failed and is told no more (ConnectionError: no route to the server)" in told[0]
    assert (tmp_path / "student" / "distillation.json").exists() and len(read_log(tmp_path / "student" / LOG)) == 6


def test_one_that_cannot_begin_is_refused(tmp_path: Path, standin: type[Standin]) -> None:
    class Other(Standin):
        name = "tensorboard"
        requires_logging_directory = True

        def __init__(self, project: str, folder: str) -> None:
            super().__init__(project, folder=folder)

        def start(self) -> None:
            self.begun.append(self.options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Other)
        standin.fails = {"start": RuntimeError("api_key not configured")}
        with pytest.raises(UsageError) as refused_:
            trained(tmp_path / "student", report_to=["tensorboard", "trackio"])
    assert str(refused_.value) == (
        "--report-to trackio cannot begin: RuntimeError: api_key not configured. Mend that, or leave it out."
    )
    assert standin.begun[0]["folder"] == str(tmp_path / "student")
    assert Other.finished == 1  # what had begun is closed
    standin.fails = {}
    trained(tmp_path / "student")  # nothing is there yet


def test_what_a_tracker_has_begun_is_a_run_to_be_resumed(
    tmp_path: Path, standin: type[Standin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stops it before its first step, such as a setting that does not fit, leaves no folder that nothing takes."""
    from flue_distill.training import run

    def unfit(*_: Any) -> None:
        raise UsageError("it does not fit")

    out = tmp_path / "student"
    with monkeypatch.context() as patch, pytest.raises(UsageError, match="it does not fit"):
        patch.setattr(run, "train", unfit)
        trained(out)
    with pytest.raises(UsageError, match="--resume continues a run started there"):
        trained(out)
    trained(out, resume=True)


def test_what_is_kept_of_them_is_checked(tmp_path: Path, standin: type[Standin]) -> None:
    (tmp_path / "student" / "checkpoints").mkdir(parents=True)
    (tmp_path / "student" / trackers.STATE).write_text('{"run": "../../x"}')
    with pytest.raises(
        RecordError, match=r"trackers\.json does not validate: .*Delete it: trackers then begin new runs"
    ):
        trained(tmp_path / "student", resume=True)


@pytest.mark.parametrize(
    ("name", "variable", "value", "elsewhere"),
    [
        ("mlflow", "MLFLOW_TRACKING_URI", "https://mlflow.example.org", True),
        ("mlflow", "MLFLOW_TRACKING_URI", "databricks", True),
        ("mlflow", "MLFLOW_TRACKING_URI", "sqlite:////tmp/mlflow.db", False),
        ("mlflow", "MLFLOW_TRACKING_URI", "", False),
        ("trackio", "TRACKIO_SPACE_ID", "org/space", True),
        ("trackio", "TRACKIO_SERVER_URL", "http://127.0.0.1:7860", True),
        ("wandb", "MLFLOW_TRACKING_URI", "https://mlflow.example.org", False),
    ],
)
def test_offline_nothing_is_sent_elsewhere(
    name: str, variable: str, value: str, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: list(trackers.TRACKERS))
    monkeypatch.setenv(variable, value)
    trackers.check([name], offline=False)
    with pytest.raises(UsageError, match=f"--offline: {variable} has") if elsewhere else contextlib.nullcontext():
        trackers.check([name], offline=True)


@pytest.mark.parametrize("lines", [0, 1, 3000])
def test_the_last_step_of_a_log(lines: int, tmp_path: Path) -> None:
    text = "".join(json.dumps({"step": step, "loss": 1.0, "note": "x" * 50}) + "\n" for step in range(lines))
    (tmp_path / LOG).write_text(text + '{"step": 99999, "lo')  # a kill cut it short
    assert last_step(tmp_path / LOG) == lines - 1


REPORTING = """
import sys
def watch(event, arguments):
    address = arguments[1] if event == "socket.connect" else arguments[0] if event == "socket.getaddrinfo" else "local"
    if event == "socket.getaddrinfo" or isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
        print("NETWORK", event, *arguments, file=sys.stderr, flush=True)
sys.addaudithook(watch)
import flue_distill
flue_distill.distill(
    out="student", steps=3, overrides=dict(length=32, batch_sequences=4, micro_batch=4, evaluate_sequences=4),
    device="cpu", report_to=sys.argv[1], progress=False, offline=True,
)
"""
"""Distils a little, offline, and tells of every attempt to reach another machine."""


def reported(name: str, folder: Path) -> list[float]:
    """The losses that a tracker keeps of a run in ``folder``, as its own files have them."""
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (events,) = folder.glob("student/flue-bench/events*")
        return [each.value for each in EventAccumulator(str(events.parent)).Reload().Scalars("loss")]
    if name == "wandb":
        run = json.loads((folder / "student" / trackers.STATE).read_text())["run"]
        (kept,) = folder.glob(f"student/wandb/offline-run-*-{run}/run-{run}.wandb")
        found = re.findall(rb"loss[^0-9]{1,8}([0-9]\.[0-9]{8,})", kept.read_bytes())
        return [float(value) for value in dict.fromkeys(found)]  # in the history, and in the summary
    query = {
        "mlflow": ("mlflow.db", "SELECT value FROM metrics WHERE key = 'loss' ORDER BY step"),
        "trackio": ("trackio/flue-bench.db", "SELECT metrics FROM metrics ORDER BY step, id"),
    }[name]
    with contextlib.closing(sqlite3.connect(folder / query[0])) as database:
        rows = [row for (row,) in database.execute(query[1])]
    return [json.loads(row)["loss"] for row in rows if b'"loss' in row] if name == "trackio" else rows


@pytest.mark.slow
@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_real_one_keeps_the_curve_and_calls_nobody(name: str, tmp_path: Path) -> None:
    if name not in {str(getattr(each, "value", each)) for each in tracking.get_available_trackers()}:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", REPORTING, name],
        cwd=tmp_path,
        env=os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stderr
    out = tmp_path / "student"
    wanted = [line["loss"] for line in read_log(out / LOG) if "loss" in line]
    assert len(wanted) == 3 and reported(name, tmp_path) == pytest.approx(wanted)
    assert "report_to" not in json.loads((out / "distillation.json").read_text())["recipe"]
