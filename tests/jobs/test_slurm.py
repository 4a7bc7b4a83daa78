"""Cells on a real Slurm of two nodes: what is killed, cancelled, requeued, refused and lost, and equal in the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flue_bench.results.store import Store
from jobs.test_workers import (
    long_task,
    notes,
    one_thread,
    other_version,
    predictions,
    processes,
    training,
    until,
)
from support.bad_files import SENTENCE
from support.command_line import done, in_a_process, started
from support.corpora import contents, documents, write_txt
from support.plugins import put_package
from support.slurm import Cluster, missing, two_nodes

pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm: {missing()}"),
]

SETTINGS = """
scheduler = "slurm"
partition = "cpu"
nodes = 2
time = "01:00:00"
cores_per_node = 1
address = "127.0.0.1"
lost_after = 12
"""

WIDE = {"COLUMNS": "200"}

__all__ = ["long_task", "one_thread"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with two_nodes() as cluster:
        yield cluster


def words(task: Path, results: Path, file: Path, seeds: int) -> list[str]:
    asked = ["--seeds", str(seeds), "--precision", "fp32", "--cluster", str(file), "--results", str(results)]
    return ["run", "-m", "embedded:untrained", "-t", str(task), *asked]


def on(results: Path, where: str) -> list[int]:
    """Processes of the workers of a node that are in the middle of their training."""
    found = training(results)
    return [int(str(note["process"])) for note in notes(results) if note["where"] == where and note["process"] in found]


def test_whatever_ends_in_the_middle_all_is_as_if_nothing_had_been(
    slurm: Cluster, long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    (tmp_path / "two.toml").write_text(SETTINGS)
    results = tmp_path / "results"
    command = words(long_task, results, tmp_path / "two.toml", 2)
    env = {**slurm.env, "MARKED_BY": str(tmp_path)}
    with started(*command, cwd=tmp_path, env=env) as driver:
        until(lambda: on(results, "n1") and on(results, "n2"), 300)
        os.kill(on(results, "n1")[0], signal.SIGKILL)  # a worker
        slurm.daemons["n2"].kill()  # a slurmd, whose job goes on
        slurm.daemons["n2"].wait()
        slurm.start_node("n2")
        job = slurm.said("squeue", "-h", "-w", "n2", "-o", "%i").strip()
        assert "error" not in slurm.said("scancel", job)
        until(lambda: job not in slurm.jobs(), 300)
        until(lambda: training(results), 300)
        driver.kill()
        driver.wait()
        until(lambda: not processes(str(tmp_path)), 60)
    until(lambda: not slurm.jobs(), 60)
    assert not Store(results).failures()
    assert list(results.rglob("checkpoint.pt"))

    with started(*command, cwd=tmp_path, env=env) as driver:
        until(lambda: slurm.jobs() and training(results), 300)  # the notes of the other driver are gone by then
        assert "error" not in slurm.said("scontrol", "requeue", slurm.jobs()[0])
        assert driver.stderr is not None
        said = driver.stderr.read()
        assert driver.wait(300) == 0, said
    until(lambda: not slurm.said("squeue", "-h").strip(), 60)
    assert predictions(results) == one_thread
    assert any(each.cost.resumed for each in Store(results).records())
    assert not list(results.rglob("checkpoint.pt")) and not processes(str(tmp_path))


def test_ctrl_c_cancels_its_jobs_and_the_same_command_goes_on(
    slurm: Cluster, long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    (tmp_path / "two.toml").write_text(SETTINGS)
    results = tmp_path / "results"
    command = words(long_task, results, tmp_path / "two.toml", 2)
    with started(*command, cwd=tmp_path, env={**slurm.env, "MARKED_BY": str(tmp_path)}) as driver:
        until(lambda: len(training(results)) == 2, 300)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130
    until(lambda: not slurm.said("squeue", "-h").strip() and not processes(str(tmp_path)), 60)
    assert len(list(results.rglob("checkpoint.pt"))) == 2 and not Store(results).records()
    ran = in_a_process(*command, cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 0, ran.stderr
    assert [each.cost.resumed for each in Store(results).records()] == [1, 1]
    assert predictions(results) == one_thread
    assert not list(results.rglob("checkpoint.pt"))


def test_a_node_with_another_version_is_refused_and_one_that_cannot_write_is_told(
    slurm: Cluster, long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    results, file = tmp_path / "results", tmp_path / "two.toml"
    on_n2 = f"[ $SLURMD_NODENAME = n1 ] || export PYTHONPATH={other_version(tmp_path)}:$PYTHONPATH"
    file.write_text(f"{SETTINGS}worker_init = '''{on_n2}'''\n")
    ran = in_a_process(*words(long_task, results, file, 2), cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 0, ran.stderr
    assert "n2 is refused: tokenizers 9.9, not" in ran.stderr
    assert predictions(results) == one_thread
    ran = in_a_process("doctor", "--cluster", file, "--results", results, cwd=tmp_path, env=WIDE | slurm.env)
    said = " ".join(ran.stdout.split())
    assert ran.returncode == 1 and "problem n2 tokenizers 9.9, not" in said, ran.stdout + ran.stderr
    assert "→ Install the same versions there and here, then ask again." in said
    assert "n1 sees the folder of results" in said and "1 of 2 nodes could be examined" in said

    file.write_text(f"{SETTINGS}worker_init = '''[ $SLURMD_NODENAME = n1 ] || ulimit -f 200'''\n")
    limited = tmp_path / "limited"
    ran = in_a_process(*words(long_task, limited, file, 2), "--keep", "all", cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 1 and "File too large" in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    assert predictions(limited).items() <= one_thread.items()
    assert [each.kept is not None for each in Store(limited).records()].count(True) == 1, "that of the other node"
    file.write_text(SETTINGS)
    ran = in_a_process(*words(long_task, limited, file, 2), cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 0 and predictions(limited) == one_thread, ran.stderr


DATA = """
import os
from flue_bench.task import Example

def read(folder, split, task):
    other = " autre" * (os.environ.get("SLURMD_NODENAME") == "n2")
    return [Example(f"{split}{i}", f"{split}{i}", f"Le thé {i} est bon{other}.", label=i % 2) for i in range(8)]
"""
"""A reader that finds other data on one of the nodes."""


def test_a_node_with_other_data_is_refused_and_all_is_done_by_the_other(slurm: Cluster, tmp_path: Path) -> None:
    plugin = put_package(tmp_path / "plugin", "some_data", "[flue_bench.readers]\ndata = some_data:read\n", DATA)
    declared = SENTENCE.partition("[[source]]")
    recipe = declared[2].partition("[recipe.standard]")[2]
    (tmp_path / "t.toml").write_text(f'{declared[0]}[[source]]\nreader = "data"\n[recipe.standard]{recipe}')
    (tmp_path / "two.toml").write_text(SETTINGS)
    command = words(tmp_path / "t.toml", tmp_path / "results", tmp_path / "two.toml", 4)
    ran = in_a_process(*command, cwd=tmp_path, env={**slurm.env, "PYTHONPATH": str(plugin)})
    assert ran.returncode == 0, ran.stderr
    assert "n2 is refused: the data of essai differ: digest " in ran.stderr
    assert len(Store(tmp_path / "results").records()) == 4
    until(lambda: not slurm.said("squeue", "-h").strip(), 60)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lost", 'worker_init = "export PYTHONPATH=OTHER:$PYTHONPATH"\nlost'), "(and 1 other node): tokenizers 9.9"),
        (('"cpu"', '"none"'), "invalid partition"),
        (("nodes = 2", 'nodes = 3\nworker_init = "echo no such module >&2; exit 3"'), "started: no such module"),
    ],
    ids=["refused", "no such partition", "no environment"],
)
def test_nodes_that_are_no_good_end_it_and_leave_nothing_in_the_queue(
    change: tuple[str, str], said: str, slurm: Cluster, long_task: Path, tmp_path: Path
) -> None:
    text = SETTINGS.replace(*change).replace("OTHER", str(other_version(tmp_path)))
    (tmp_path / "two.toml").write_text(text)
    command = words(long_task, tmp_path / "results", tmp_path / "two.toml", 4)
    ran = in_a_process(*command, cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 1 and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    until(lambda: not slurm.said("squeue", "-h").strip(), 60)


def test_the_doctor_visits_every_node(slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(SETTINGS)
    command = ("doctor", "--cluster", tmp_path / "two.toml", "--results", tmp_path / "results")
    ran = in_a_process(*command, cwd=tmp_path, env=WIDE | slurm.env)
    said = " ".join(ran.stdout.split())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for node in ("n1", "n2"):
        assert f"{node} sees the folder of results" in said and f"{node} packages" in said and f"{node} device" in said
    assert "n1, n2 exclude each other" in said


def test_a_corpus_is_made_by_all_nodes(slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(SETTINGS)
    texts = write_txt(tmp_path / "a.txt", documents(300))
    command = ("corpus", texts, "--tokenizer", "embedded:teacher", "--out")
    spread = in_a_process(*command, tmp_path / "c", "--cluster", tmp_path / "two.toml", cwd=tmp_path, env=slurm.env)
    assert spread.returncode == 0 and "2 parts, 2 to make" in spread.stderr, spread.stderr
    done(*command, tmp_path / "whole", "--processes", "1")
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_what_would_be_submitted(slurm: Cluster, long_task: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(f'{SETTINGS}directives = ["--comment=mine"]\n')
    command = words(long_task, tmp_path / "results", tmp_path / "two.toml", 2)
    ran = in_a_process(*command, "--dry-run", cwd=tmp_path, env=slurm.env)
    assert ran.returncode == 0, ran.stderr
    script = tmp_path / "script"
    script.write_text("#!/bin/bash" + ran.stdout.partition("#!/bin/bash")[2])
    wanted = ("--partition=cpu", "--comment=mine", "--signal=TERM@120", "--time=60", "--cpus-per-task=1")
    assert all(f"#SBATCH {each}" in script.read_text() for each in wanted)
    checked = subprocess.run(["sbatch", "--test-only", str(script)], env=slurm.env, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
