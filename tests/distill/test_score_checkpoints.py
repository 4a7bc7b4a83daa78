"""The example that scores a training's checkpoints while it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import flue_bench
import flue_distill
from support import ROOT

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"length": 32, "batch_sequences": 4, "micro_batch": 4, "evaluate_sequences": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that left three checkpoints."""
    out = tmp_path_factory.mktemp("training") / "student"
    return flue_distill.distill(
        out=out, steps=3, save_every=1, overrides=SMALL, device="cpu", offline=True, progress=False
    ).folder


def watcher(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "examples" / "score_checkpoints.py", "student", "--limit", "12", "--every", "0.1"]
    return subprocess.Popen(
        [*map(str, command), "--device", "cpu", "--offline", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background work has it ignored
    )


def records(folder: Path) -> dict[str, tuple[str, int]]:
    """Model → file of its record and when it was written."""
    there = flue_bench.read_results(folder / "results") if (folder / "results" / "runs").is_dir() else ()
    files = {path.stem: path for path in (folder / "results" / "runs").rglob("*.json")}
    found = {}
    for record in there:
        (file,) = [
            path for stem, path in files.items() if record.cell.digest in stem or record.cell.digest in str(path)
        ]
        found[record.cell.model.name] = (str(file), file.stat().st_mtime_ns)
    return found


@pytest.mark.timeout(400)
def test_each_checkpoint_once_through_ctrl_c_until_the_training_ends(finished: Path, tmp_path: Path) -> None:
    """Two checkpoints are there; it is stopped while it waits for more; the third comes with the end."""
    out = tmp_path / "student"
    shutil.copytree(
        finished,
        out,
        ignore=lambda folder, names: (
            {"checkpoint-3", "distillation.json"} & {*names} if Path(folder) == finished else set()
        ),
    )
    (out / "checkpoint-backup").mkdir()  # not of the training
    first = watcher(tmp_path, "-t", "mini-cls")
    deadline = time.monotonic() + 180
    while (
        not (tmp_path / "results" / "checkpoints.svg").exists() and time.monotonic() < deadline and first.poll() is None
    ):
        time.sleep(0.2)
    time.sleep(0.5)  # it waits
    first.send_signal(signal.SIGINT)
    try:
        said, told = first.communicate(timeout=60)
    finally:
        first.kill()  # it would watch for ever
    assert first.returncode == 130 and "Traceback" not in told, told
    assert "The same command goes on" in told
    before = records(tmp_path)
    assert {*before} == {"checkpoint-1", "checkpoint-2"}

    for name in ("checkpoint-3", "distillation.json"):
        source = finished / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, out / name)
    second = watcher(tmp_path, "-t", "mini-cls")
    said, told = second.communicate(timeout=180)
    assert second.returncode == 0, told
    after = records(tmp_path)
    assert {*after} == {"checkpoint-1", "checkpoint-2", "checkpoint-3"}
    assert {name: after[name] for name in before} == before  # not run again
    drawn = (tmp_path / "results" / "checkpoints.svg").read_text(encoding="utf-8")
    assert "tokens read" in drawn and "student" in drawn and "checkpoint-3" in said


@pytest.mark.timeout(300)
def test_what_cannot_be_scored_is_said(finished: Path, tmp_path: Path) -> None:
    """A misspelt task ends it at once; a damaged checkpoint costs its own score, and the exit code says so."""
    shutil.copytree(finished, tmp_path / "student")
    misspelt = watcher(tmp_path, "-t", "mini-clss")
    _, told = misspelt.communicate(timeout=120)
    assert misspelt.returncode == 2 and "Did you mean" in told and "Traceback" not in told, told
    shutil.rmtree(tmp_path / "student" / "checkpoint-3")
    (tmp_path / "student" / "checkpoint-1" / "model.safetensors").write_bytes(b"damaged")
    damaged = watcher(tmp_path, "-t", "mini-cls")
    _, told = damaged.communicate(timeout=180)
    assert damaged.returncode == 1 and "Traceback" not in told, told
    assert "Not scored on every task: checkpoint-1. The same command tries again." in told
    assert {*records(tmp_path)} == {"checkpoint-2"}
