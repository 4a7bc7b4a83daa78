"""A distillation of two processes on a real Slurm of two nodes: stopped, requeued, and equal in the end."""

from __future__ import annotations

import json
import os
import signal
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
STEPS = 48


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


def ranks(out: Path) -> dict[int, int]:
    """The processes that train into a folder, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, said = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [each for each in said if each.startswith(b"RANK=")]
        if rank and str(out).encode() in command.split(b"\0") and b"python" in command.split(b"\0")[0]:
            found[int(rank[0][5:])] = int(folder.name)
    return found


def finished(slurm: Cluster, out: Path) -> bool:
    log = out.with_suffix(".out")
    assert "Traceback" not in (text := log.read_text() if log.exists() else ""), text
    return (out / "distillation.json").exists() and not slurm.said("squeue", "-h").strip()


@pytest.fixture(scope="module")
def whole(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    os.chmod(folder, 0o755)
    out = submitted(slurm, folder, "whole")
    slurm.until("the whole run", lambda: finished(slurm, out), 600)
    return out


def test_stopped_and_requeued_it_ends_as_if_nothing_had_been(slurm: Cluster, whole: Path, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    cut = submitted(slurm, tmp_path, "cut")
    slurm.until("a few steps", lambda: newest(cut) >= 5, 300)
    (job,) = slurm.jobs()
    slurm.said("scancel", "--signal=TERM", job)  # as --signal=TERM@120 does when time runs out
    slurm.until("requeued and done", lambda: finished(slurm, cut), 900)
    made = [json.loads((out / "distillation.json").read_text()) for out in (whole, cut)]
    assert [each["cost"]["processes"] for each in made] == [2, 2]
    assert [each["cost"]["resumed"] for each in made] == [0, 1]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_killed_it_ends_in_a_sentence_and_submitted_again_and_requeued_it_is_as_if_nothing_had_been(
    slurm: Cluster, whole: Path, tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    cut = submitted(slurm, tmp_path, "cut")
    slurm.until("a few steps", lambda: newest(cut) >= 5, 300)
    os.kill(ranks(cut)[1], signal.SIGKILL)  # as where memory runs out
    slurm.until("its end", lambda: not slurm.said("squeue", "-h").strip(), 120)
    said = cut.with_suffix(".out").read_text()
    assert "Another of the 2 processes ended" in said and "Traceback" not in said, said
    assert not (cut / "distillation.json").exists()
    before = newest(cut)
    submitted(slurm, tmp_path, "cut")
    slurm.until("a few more", lambda: newest(cut) >= before + 4, 300)
    (job,) = slurm.jobs()
    assert "error" not in slurm.said("scontrol", "requeue", job)
    slurm.until("requeued and done", lambda: finished(slurm, cut), 900)
    made = json.loads((cut / "distillation.json").read_text())
    assert made["cost"]["resumed"] == 2
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
