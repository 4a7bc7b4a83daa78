"""A distillation of two processes on a real Slurm of two nodes: stopped, requeued, and equal in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT
from support.slurm import Cluster, missing, two_nodes

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm: {missing()}"),
]

SMALL = ("length=16", "batch_sequences=4", "micro_batch=2", "evaluate_sequences=4", "checkpoint_seconds=0")
STEPS = 24


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with two_nodes() as cluster:
        yield cluster


def submitted(slurm: Cluster, folder: Path, name: str) -> Path:
    """Submit the example, made for two processes on the CPUs of two nodes; its output is in ``NAME.out``."""
    script = (ROOT / "examples/clusters/distill.sbatch").read_text(encoding="utf-8")
    changed = script.replace("--ntasks-per-node=4 --gres=gpu:4 --cpus-per-task=8", "--ntasks-per-node=1")
    assert changed != script
    (folder / f"{name}.sbatch").write_text(changed)
    words = [str(folder / name), "--steps", str(STEPS), "--device", "cpu", "--set", "precision=fp32"]
    words += [word for setting in SMALL for word in ("--set", setting)]
    slurm.env |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    slurm.env |= {"PATH": f"{ROOT / '.venv/bin'}:{slurm.env['PATH']}"}
    said = slurm.said("sbatch", "-o", str(folder / f"{name}.out"), str(folder / f"{name}.sbatch"), *words)
    assert "Submitted batch job" in said, said
    return folder / name


def newest(out: Path) -> int:
    return max((int(path.name[5:]) for path in (out / "checkpoints").glob("step-*")), default=0)


def finished(slurm: Cluster, out: Path) -> bool:
    log = out.with_suffix(".out")
    assert "Traceback" not in (text := log.read_text() if log.exists() else ""), text
    return (out / "distillation.json").exists() and not slurm.said("squeue", "-h").strip()


def test_stopped_and_requeued_it_ends_as_if_nothing_had_been(slurm: Cluster, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    whole = submitted(slurm, tmp_path, "whole")
    slurm.until("the whole run", lambda: finished(slurm, whole), 600)
    cut = submitted(slurm, tmp_path, "cut")
    slurm.until("a few steps", lambda: newest(cut) >= 5, 300)
    (job,) = slurm.jobs()
    slurm.said("scancel", "--signal=TERM", job)  # as --signal=TERM@120 does when time runs out
    slurm.until("requeued and done", lambda: finished(slurm, cut), 900)
    made = [json.loads((out / "distillation.json").read_text()) for out in (whole, cut)]
    assert [each["cost"]["processes"] for each in made] == [2, 2]
    assert [each["cost"]["resumed"] for each in made] == [0, 1]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
