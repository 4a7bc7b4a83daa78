"""SIGTERM, as a cluster sends it before it takes the machine: exit 143, nothing lost, the same command goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flue_bench.results.store import Store
from flue_bench.training import checkpoint
from support.bad_files import SENTENCE, TEXTS, put, tsv
from support.command_line import Said, flue_bench, no_network, started

Place = Callable[[pytest.MonkeyPatch], Any]


def killing(function: Callable[..., Any], at: int = 1) -> Callable[..., Any]:
    """The function, which on its call of this number first has a signal sent to the process."""
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments, **named)

    return called


@contextmanager
def during(training: bool, at: int) -> Iterator[None]:
    """A signal before the forward pass of this number, in training or in evaluation."""
    seen = 0

    def hook(module: torch.nn.Module, _: Any) -> None:
        nonlocal seen
        if type(module).__name__.endswith("ForSequenceClassification") and module.training == training:
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGTERM)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def before(owner: Any, name: str, at: int = 1) -> Iterator[None]:
    """A signal before this function of a library is called for the ``at``-th time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, killing(getattr(owner, name), at))
        yield


PLACES: dict[str, tuple[Callable[[], Any], bool, bool]] = {
    "encoding": (lambda: before(np, "fromiter"), False, False),
    "loading the model": (lambda: before(torch, "isfinite"), False, False),
    "training": (lambda: during(training=True, at=3), True, False),
    "validation": (lambda: during(training=False, at=1), True, False),
    "writing the predictions": (lambda: before(os, "replace"), False, True),
    "writing the record": (lambda: before(os, "replace", 2), False, True),
}
"""Where the signal comes → how; whether a checkpoint is left; whether the cell is done all the same."""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(f"{text} ({i})", ("non", "oui")[i % 2]) for i in range(4) for text in TEXTS]
    return put(tmp_path_factory.mktemp("task"), SENTENCE.replace("epochs = 1", "epochs = 2"), "d.tsv", tsv(rows))


@pytest.fixture(scope="module")
def whole(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run to which no signal comes."""
    results = tmp_path_factory.mktemp("whole")
    assert run(task, results).code == 0
    return results


def run(task: Path, results: Path) -> Said:
    return flue_bench("run", "-t", task, "-m", "embedded:untrained", "--results", results, "--device", "cpu")


@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_comes(place: str, task: Path, whole: Path, tmp_path: Path) -> None:
    strike, leaves_checkpoint, is_done = PLACES[place]
    cut = tmp_path / "cut"
    with strike():
        said = run(task, cut)
    assert said.code == 143 and "interrupted; finished cells and checkpoints are kept, and the same command" in said.err
    assert [path.name for path in cut.rglob("*") if path.suffix == ".tmp"] == []
    assert bool(list(cut.rglob("checkpoint.pt"))) == leaves_checkpoint
    assert len(Store(cut).records()) == is_done
    said = run(task, cut)
    assert said.code == 0 and ("1 of 1 cells had a record already" in said.err) == is_done
    (one,), (other,) = Store(whole).records(), Store(cut).records()
    assert one.predictions.sha256 == other.predictions.sha256
    assert other.cost.resumed == leaves_checkpoint and not list(cut.rglob("checkpoint.pt"))


@pytest.mark.parametrize(("silence", "said"), [(0.01, True), (60.0, False)])
def test_only_a_step_that_goes_on_long_is_said_to_be_waited_for(
    silence: float, said: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "SILENCE", silence)
    with checkpoint.interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
    assert interruption.signal == signal.SIGTERM
    assert ("stopping when the step under way is finished" in capfd.readouterr().err) == said


RUN = ("run", "--model", "embedded:untrained", "--task", "mini-cls", "--set", "epochs=50")
DISTIL = ("distill", "--steps", "5000")


@pytest.mark.robustness
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [(RUN, "mini-cls: reading data"), (RUN, "[1/1]"), (DISTIL, "precision"), (DISTIL, "Step 1 of")],
    ids=["run, at its start", "run", "distill, at its start", "distill"],
)
def test_a_signal_from_outside(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    with started(*words, cwd=tmp_path, env=no_network(tmp_path)) as process:
        assert process.stderr is not None
        heard = []
        for said in process.stderr:
            heard.append(said)
            if said.startswith(line):
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
        assert process.wait(120) == 143, "".join(heard) + said
    kept = {RUN: "finished cells and checkpoints are kept", DISTIL: "its last checkpoint is kept"}[words]
    assert f"interrupted; {kept}" in said and "Traceback" not in said
    if line == "Step 1 of":
        assert list((tmp_path / "student").rglob("checkpoint.pt"))
