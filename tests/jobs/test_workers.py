"""Workers: real processes that Parsl starts, that fail, are killed, are interrupted and lose their driver."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flue_bench
from flue_bench.errors import DeviceError, FlueBenchError, RecordError, UsageError
from flue_bench.jobs import spread, worker, workers
from flue_bench.jobs.cluster import Slurm, load
from flue_bench.jobs.workers import Placed, Workers, placed
from flue_bench.locks import Lock
from flue_bench.progress import Console, Display
from flue_bench.results.store import Store
from support.bad_files import SENTENCE, TEXTS, put, tsv
from support.command_line import in_a_process, no_network, refused, started
from support.factories import make_record
from support.plugins import put_package

parsl = pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")

DEADLY = '''
"""A reader that kills the process that reads, if it is a worker."""
import os, signal, sys
from flue_bench.task import Example

def read(folder, split, task):
    if "PARSL_WORKER_RANK" in os.environ:
        print("about to fall over", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return [Example(f"{split}{i}", f"{split}{i}", f"Le thé {i} est bon.", label=i % 2) for i in range(8)]
'''


def rows(count: int) -> bytes:
    return tsv([(f"{text} ({i})", ("non", "oui")[i % 2]) for i in range(count) for text in TEXTS])


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that takes a second."""
    return put(tmp_path_factory.mktemp("task"), SENTENCE.replace("epochs = 1", "epochs = 2"), "d.tsv", rows(4))


@pytest.fixture(scope="module")
def long_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that takes a while, for what happens meanwhile."""
    return put(tmp_path_factory.mktemp("long"), SENTENCE.replace("epochs = 1", "epochs = 15"), "d.tsv", rows(12))


@pytest.fixture(scope="module")
def one_thread(long_task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, str]:
    """What one process with one thread gives for two seeds of the long task."""
    results = tmp_path_factory.mktemp("alone")
    program = (
        "import sys, torch, flue_bench; torch.set_num_threads(1); "
        "flue_bench.run('embedded:untrained', sys.argv[1], seeds=2, results=sys.argv[2], device='cpu', progress=False)"
    )
    subprocess.run([sys.executable, "-c", program, str(long_task), str(results)], check=True, timeout=600)
    return predictions(results)


def alone(task: Path, results: Path, seeds: int) -> dict[int | None, str]:
    """What one process gives with this number of threads: seed → digest of the predictions file."""
    flue_bench.run("embedded:untrained", task, seeds=seeds, results=results, device="cpu", progress=False)
    return predictions(results)


def predictions(results: Path) -> dict[int | None, str]:
    return {each.cell.seed: each.predictions.sha256 for each in Store(results).records()}


def processes(word: str) -> list[int]:
    """The processes, but for this one and those that have ended, whose command line or environment holds a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if word.encode() in said and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def until(happens: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def notes(results: Path) -> Iterator[dict[str, object]]:
    for path in results.glob(".workers/*/notes/*.json"):
        try:
            yield json.loads(path.read_text())
        except (OSError, ValueError):
            continue


def training(results: Path) -> list[int]:
    """The processes of workers that are in the middle of their training."""
    return [int(str(note["process"])) for note in notes(results) if int(str(note.get("done", 0))) > 3]


def test_cells_fail_and_kill_and_stop_no_other(task: Path, tmp_path: Path) -> None:
    """Good cells, one that fails in Python and one that kills its worker each time, on two workers."""
    plugin = put_package(tmp_path / "plugin", "deadly", "[flue_bench.readers]\ndeadly = deadly:read\n", DEADLY)
    deadly, diverging = tmp_path / "deadly.toml", tmp_path / "diverging.toml"
    declared = SENTENCE.replace('"essai"', '"mortel"').partition("[[source]]")
    recipe = declared[2].partition("[recipe.standard]")
    deadly.write_text(f'{declared[0]}[[source]]\nreader = "deadly"\n[recipe.standard]{recipe[2]}')
    said = SENTENCE.replace('"essai"', '"divergent"').replace("epochs = 1", "epochs = 1\nlearning_rate = 1e30")
    (tmp_path / "d.tsv").write_bytes(rows(4))
    diverging.write_text(said.replace("FILE", "d.tsv"))
    results, threads = tmp_path / "l'été $HOME", torch.get_num_threads()
    env = {**no_network(tmp_path), "PYTHONPATH": str(plugin)}
    tasks = ("-t", task, "-t", deadly, "-t", diverging)
    asked = ("--device", "cpu", "--workers", "2", "--threads", str(threads), "--results", results)
    done = in_a_process("run", "-m", "embedded:untrained", *tasks, "--seeds", "2", *asked, cwd=tmp_path, env=env)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    whole = alone(task, tmp_path / "alone", 2)
    assert predictions(results) == whole and len(whole) == 2
    records = Store(results).records()
    assert {each.environment.threads for each in records} == {threads} and not any(
        each.cost.resumed for each in records
    )
    failures = {(each.cell.task, each.cell.seed): each.error for each in Store(results).failures()}
    assert set(failures) == {(name, seed) for name in ("mortel", "divergent") for seed in (0, 1)}
    assert "died 3 times without a newer checkpoint" in failures["mortel", 0]
    assert "about to fall over" in failures["mortel", 1]
    assert "finite" in failures["divergent", 0]
    assert done.stderr.count("tried again (1 of 2)") == 2, "what failed in Python is not tried again"
    assert len(list((results / ".logs").glob("*--essai--seed?-*.log"))) == 2
    assert not list((results / ".workers").iterdir()) and not processes(str(results))


@pytest.mark.robustness
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_in_its_training(
    number: int, long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = ("run", "-m", "embedded:untrained", "-t", str(long_task), "--seeds", "2", "--device", "cpu")
    with started(*words, "--workers", "2", "--threads", "1", "--results", results, cwd=tmp_path) as driver:
        until(lambda: training(results))
        os.kill(training(results)[0], number)
        assert driver.stderr is not None
        said = driver.stderr.read()
        assert driver.wait(120) == 0, said
    again = "goes on from its checkpoint" if number == signal.SIGTERM else "died; tried again (1 of 2)"
    assert again in said
    resumed = [each.cost.resumed for each in Store(results).records()]
    assert sorted(resumed) == ([0, 1] if number == signal.SIGTERM else [0, 0])
    assert predictions(results) == one_thread
    assert not list(results.rglob("checkpoint.pt"))


@pytest.mark.robustness
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_ends_takes_all_with_it_and_everything_goes_on(
    number: int, long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = ("run", "-m", "embedded:untrained", "-t", str(long_task), "--seeds", "2", "--device", "cpu")
    asked = ("--workers", "2", "--threads", "1", "--results", str(results))
    marked = {**os.environ, "MARKED_BY": str(tmp_path)}
    with started(*words, *asked, cwd=tmp_path, env=marked) as driver:
        until(lambda: len(training(results)) == 2)
        driver.send_signal(number)
        assert driver.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    until(lambda: not processes(str(tmp_path)), 15 if number == signal.SIGKILL else 2)
    assert len(list(results.rglob("checkpoint.pt"))) == 2, "each finished its step and wrote a checkpoint"
    done = in_a_process(*words, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [each.cost.resumed for each in Store(results).records()] == [1, 1]
    assert predictions(results) == one_thread


def test_how_many_workers_of_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert placed(Workers("auto"), cpu) == Placed(4, 4, 0)
    assert placed(Workers("auto", 2), cpu) == Placed(8, 2, 0)
    assert placed(Workers(3), cpu) == Placed(3, 5, 0)
    assert placed(Workers(32), cpu) == Placed(32, 1, 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert placed(Workers("auto"), cpu) == Placed(2, 8, 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert placed(Workers("auto"), gpu) == Placed(8, 2, 8)
    assert placed(Workers(16), gpu) == Placed(16, 1, 8)


def test_threads_are_no_more_than_a_node_has_cores(tmp_path: Path) -> None:
    says = 'scheduler = "slurm"\ntime = "1:00:00"\ncores_per_node = 8\nworkers_per_node = 2\n'
    (tmp_path / "c.toml").write_text(says)
    words = ("run", "-m", "embedded:untrained", "-t", "mini-cls", "--cluster", tmp_path / "c.toml", "--threads")
    said = refused(*words, "5", "--precision", "fp32", "--dry-run", "--results", tmp_path / "r")
    assert "--threads 5: 2 workers of as many on a node of 8 cores (cores_per_node)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "many"), "a number of at least 1, or auto"),
        (("--workers", "0"), "at least 1"),
        (("--threads", "2"), "give --workers too"),
        (("--workers", "2", "--device", "cuda:1"), "workers share all visible GPUs"),
        (("--workers", "2", "--cluster", "x.toml"), "Give one of them"),
    ],
)
def test_what_is_refused_before_anything_runs(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused("run", "-m", "embedded:untrained", "--results", tmp_path, *words)
    assert not list(tmp_path.iterdir())


def test_without_parsl_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    assert "pip install 'flue-bench[cluster]'" in refused(
        "run", "-m", "embedded:untrained", "--workers", "2", "--results", tmp_path
    )


def test_what_cannot_travel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on_epoch is a function of this process"):
        flue_bench.run(workers=2, on_epoch=lambda cell, epoch: None, results=tmp_path)


def test_without_workers_parsl_is_not_imported(task: Path, tmp_path: Path) -> None:
    program = (
        "import sys, flue_bench\n"
        "flue_bench.run('embedded:untrained', sys.argv[1], results=sys.argv[2], device='cpu', progress=False)\n"
        "print(*(name for name in ('parsl', 'zmq') if name in sys.modules))\n"
    )
    command = [sys.executable, "-c", program, str(task), str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_doctor_examines_one_or_the_other(tmp_path: Path) -> None:
    assert "give one of them" in refused("doctor", "--self-test", "--cluster", tmp_path / "x.toml")


POOL = """
import multiprocessing, os, signal, sys, time
from multiprocessing.process import BaseProcess
from pathlib import Path
from flue_bench.jobs import pool

def work(name):
    def end(*_):
        time.sleep(3)  # the rest of a step, and a checkpoint
        Path(name).write_text("whole")
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)
    Path(f"{name}.there").touch()
    time.sleep(60)

def run_module(*_, **__):  # what Parsl does when it no longer hears of its driver
    processes = [multiprocessing.get_context("spawn").Process(target=work, args=(f"{i}",)) for i in range(2)]
    for each in processes:
        each.start()
    while len(list(Path().glob("*.there"))) < 2:
        time.sleep(0.05)
    for each in processes:
        each.terminate()
    for each in processes:
        each.join(1)
        each.kill()

if __name__ == "__main__":
    pool.runpy.run_module = run_module
    sys.argv = ["pool", "workers"]
    pool.main()
"""


def test_workers_whose_driver_is_gone_have_time_for_their_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(POOL)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert [(tmp_path / name).read_text() for name in "01"] == ["whole", "whole"], done.stderr
    assert done.returncode == 143


ASSIGNED = """
import os, sys
from flue_bench.jobs import worker
for visible, gpus, of in (("", 8, 8), ("", 8, 16), ("", 2, 3), ("MIG-a,MIG-b", 2, 2), ("5,7", 2, 1), ("", 0, 4)):
    names = []
    for rank in range(of):
        os.environ |= {"PARSL_WORKER_RANK": str(rank), "PARSL_WORKER_COUNT": str(of)}
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if visible:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        worker._settle.__wrapped__(3, gpus, os.getcwd())
        names.append(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    print(*names, os.environ["OMP_NUM_THREADS"])
"""


def test_each_worker_has_its_gpu_and_its_threads() -> None:
    done = subprocess.run([sys.executable, "-c", ASSIGNED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0 1 2 3 4 5 6 7 3",
        "0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7 3",
        "0 0 1 3",
        "MIG-a MIG-b 3",
        "5 3",
        "all all all all 3",
    ]


def test_a_worker_keeps_its_loader_from_cell_to_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_WARM", worker._Warm())
    first = worker.loader(None, True)
    assert worker.loader(None, True) is first
    other = worker.loader(str(tmp_path), True)
    assert other is not first and other.data_dir == tmp_path and worker.loader(str(tmp_path), True) is other


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert workers.last_lines(log) == []
    log.write_bytes(b"\n".join([b"x" * 9000, *(f"line {i}".encode() for i in range(9)), b"\xff\x00", b"  ", b""]))
    assert workers.last_lines(log)[:4] == ["line 5", "line 6", "line 7", "line 8"]


OWN = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

config = Config(executors=[HighThroughputExecutor(
    label="own", address="127.0.0.1", cores_per_worker=1e-6, max_workers_per_node=2,
    provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init="export PATH=BIN:$PATH"),
)])
"""
"""A configuration as a user writes one."""


@pytest.mark.robustness
@pytest.mark.timeout(900)
def test_a_configuration_of_the_users_own_runs_keeps_and_scores(task: Path, tmp_path: Path) -> None:
    """What is kept by workers of a user's own configuration, and scored by workers, is what one process gives."""
    own, threads = tmp_path / "own.py", torch.get_num_threads()
    own.write_text(OWN.replace("BIN", str(Path(sys.executable).parent)))
    spread: dict[str, Any] = {"threads": threads, "cluster": own, "precision": "fp32", "progress": False}
    here, there = tmp_path / "here", tmp_path / "there"
    mine = flue_bench.run("embedded:untrained", task, results=here, device="cpu", precision="fp32", keep="all",
                          progress=False)  # fmt: skip
    done = flue_bench.run("embedded:untrained", task, results=there, keep="all", **spread)
    assert predictions(there) == predictions(here)
    folders = [every.model_dir(every.records[0]) for every in (mine, done)]
    assert all(folders) and done.records[0].kept == mine.records[0].kept

    scored = flue_bench.score(folders[1] or "", task, results=there, **spread)
    alone = flue_bench.score(folders[0] or "", task, results=here, device="cpu", precision="fp32", progress=False)
    assert scored.records[0].predictions.sha256 == alone.records[0].predictions.sha256
    again = flue_bench.score(folders[1] or "", task, results=there, workers=2, progress=False)
    assert again.reused == 1 and not list((there / ".workers").iterdir()) and not processes(str(tmp_path))


def shown(live: bool) -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    return Display(Console(file=file, force_terminal=live, width=140)), file


def two_notes(folder: Path) -> dict[int, dict[str, Any]]:
    """What a worker in the middle of its training says, as the driver reads it, and one that has just begun."""
    training, beginning = worker.Report(folder / "1.json"), worker.Report(folder / "2.json")
    with training.bar("[1/9] camembert · xnli · seed 0") as bar:
        bar.update(30, 120, "epoch 1  loss 0.693  210 examples/s")
    beginning.tell()
    return {number: json.loads((folder / f"{number}.json").read_text()) for number in (1, 2)}


def test_the_table_of_what_runs_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display, file = shown(live=True)
    jobs = [workers.Job(number, "cell", {}, f"job {number}", tmp_path / "log") for number in range(9)]
    table = workers._Table(display)
    with display.running():
        table.begin(9)
        table.show({})
        jobs[3].number = 7
        table.ended(jobs[3], {"state": "done"})
        table.ended(jobs[4], {"state": "failed"})
        notes = two_notes(tmp_path)
        table.show(notes)
        began = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: began + workers.LOOK_SECONDS)
        assert table.due()
        table.show(notes)
        assert display.live is not None
        display.live.refresh()
        lines = {each.description: each for each in display.live.tasks}
        every, one = lines["9 jobs"], lines[f"{worker.where()}: [1/9] camembert · xnli · seed 0"]
        assert every.fields["detail"] == "2 running, 5 waiting, 1 done, 1 failed"
        assert (every.completed, every.total) == (2, 9)
        assert (one.completed, one.total) == (30, 120) and "loss 0.693" in one.fields["detail"]
        assert f"{worker.where()}: starting" in lines
        table.show({2: notes[2]})
        assert one.description not in {each.description for each in display.live.tasks}, "what ended leaves the table"
        table.close()
        assert not display.live.tasks
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "2 running, 5 waiting, 1 done, 1 failed" in drawn and "30/120" in drawn and "left" in drawn


def test_a_log_has_plain_lines(tmp_path: Path) -> None:
    display, file = shown(live=False)
    table = workers._Table(display)
    with display.running():
        table.begin(9)
        assert not table.due(), "a line a minute"
        table.show(two_notes(tmp_path) | {number: {"where": "n3"} for number in range(3, 8)})
        table.close()
    (line,) = file.getvalue().splitlines()
    where = worker.where()
    assert line.startswith(
        f"  7 running, 2 waiting, 0 done, 0 failed  [1/9] camembert · xnli · seed 0 on {where} 30/120 "
    )
    assert f"loss 0.693  210 examples/s  starting on {where}" in line and line.endswith("…") and "\x1b" not in line


def test_a_path_that_a_script_cannot_hold(tmp_path: Path) -> None:
    """Parsl writes paths into shell scripts: of this machine's it gets another name, of a cluster's it is told."""
    for name, plain in (("r\u00e9sultats", True), ("deux mots", False), ("l'un", False), ("$HOME", False)):
        folder = tmp_path / name / ".workers" / "one"
        folder.mkdir(parents=True)
        with workers._run_dir(folder, Workers(2)) as run_dir:
            assert (run_dir == str(folder / "parsl")) is plain and re.fullmatch(r"[\w/.-]+", run_dir)
            Path(run_dir).mkdir()
            assert (folder / "parsl").is_dir()
        assert plain or not Path(run_dir).parent.is_symlink()
    asked = Workers(cluster=tmp_path / "own.py")
    with pytest.raises(UsageError, match="a path with blanks"), workers._run_dir(folder, asked):
        pass
    assert not folder.exists()


def test_a_worker_that_does_not_see_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LATE_SECONDS", 0.0)
    asked = {"folder": str(tmp_path), "log": str(tmp_path / "elsewhere" / "log")}
    answer = json.loads(worker.work(json.dumps(asked)))
    assert answer["state"] == "refused" and f"{tmp_path / 'elsewhere'}, which has to be shared" in answer["reason"]


# Nodes that are refused, and a driver whose Parsl ends before it.


class Nodes:
    """An executor whose nodes answer at once, each a block of its own, and its kernel, as far as a driver knows them.

    Those that are ``late`` come when another is given back.
    """

    label, interchange_proc = "workers", None

    def __init__(self, late: Sequence[str] = (), **answers: dict[str, Any]) -> None:
        self.nodes, self.executors, self.config = answers, {"workers": self}, SimpleNamespace(strategy="simple")
        self.late, self.held, self.cancelled = list(late), list[str](), list[str]()
        self.waiting: list[Future[str]] = []
        self.submitted = 0
        self.provider = SimpleNamespace(max_blocks=len(answers), nodes_per_block=1, cancel=self._cancel)
        self.blocks_to_job_id = {name: name for name in answers}

    @property
    def status_facade(self) -> dict[str, Any]:
        return {name: SimpleNamespace(terminal=name in self.cancelled) for name in self.nodes}

    def connected_managers(self) -> list[dict[str, Any]]:
        there = [name for name in self.nodes if name not in (*self.cancelled, *self.late)]
        return [{"manager": name, "block_id": name, "active": name not in self.held, "tasks": 0} for name in there]

    def _hold_manager(self, name: str) -> None:
        self.held.append(name)

    def _cancel(self, names: list[str]) -> None:
        self.cancelled += names
        self.late.clear()
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            self._answer(future)

    def submit(self, *_: Any) -> Future[str]:
        self.submitted += 1
        return self._answer(Future())

    def _answer(self, future: Future[str]) -> Future[str]:
        if free := [each["manager"] for each in self.connected_managers() if each["active"]]:
            name = free[self.submitted % len(free)]
            future.set_result(json.dumps({"reason": "", **self.nodes[name], "where": name, "pool": name}))
        else:
            self.waiting.append(future)
        return future


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Give some jobs to such nodes."""
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.01)

    def asked(nodes: Nodes, jobs: int = 6, **more: Any) -> list[dict[str, Any]]:
        driver = workers.Driver(nodes, tmp_path, {}, shown(live=False)[0], retries=2)
        given = [
            workers.Job(number, "cell", {}, f"job {number}", tmp_path / "log" / "x", **more) for number in range(jobs)
        ]
        return [answer for _, answer in driver.answers(given)]

    return asked


DONE = {"state": "done"}
REFUSED = {"state": "refused", "reason": "it does not see /here", "advice": "All have to see it"}
UNLOADED = {"state": "unloaded", "reason": "the data of essai differ: digest a, not b"}


def test_a_refused_node_gets_no_more_jobs(ask: Callable[..., list[dict[str, Any]]]) -> None:
    nodes = Nodes(n1=REFUSED, n2=DONE, n3=DONE)
    assert [each["state"] for each in ask(nodes, 9)] == ["done"] * 9
    assert set(nodes.held) == {"n1"}


def test_where_all_nodes_are_refused_it_ends_and_says_why(ask: Callable[..., list[dict[str, Any]]]) -> None:
    nodes = Nodes(n1=REFUSED, n2=REFUSED)
    with pytest.raises(FlueBenchError) as told:
        ask(nodes)
    assert re.fullmatch(
        r"No worker is left: n\d is refused \(and 1 other node\): it does not see /here\.\n"
        r"All have to see it; then the same command goes on, and what is done is kept\.",
        str(told.value),
    )
    assert sorted(nodes.cancelled) == ["n1", "n2"] and nodes.provider.max_blocks == 0


def test_a_node_that_is_still_in_the_queue_is_waited_for(ask: Callable[..., list[dict[str, Any]]]) -> None:
    nodes = Nodes(n1=REFUSED, n2=DONE, late=["n2"])
    assert [each["state"] for each in ask(nodes)] == ["done"] * 6
    assert nodes.cancelled == ["n1"] and nodes.provider.max_blocks == 1, "it is given back, and not started again"


def test_what_one_node_alone_cannot_load_is_done_by_others(ask: Callable[..., list[dict[str, Any]]]) -> None:
    nodes = Nodes(n1=UNLOADED, n2=DONE)
    assert [each["state"] for each in ask(nodes)] == ["done"] * 6
    assert set(nodes.held) == {"n1"}


def test_what_no_node_can_load_is_no_reason_to_refuse_them(ask: Callable[..., list[dict[str, Any]]]) -> None:
    nodes = Nodes(n1=UNLOADED, n2=UNLOADED, n3=UNLOADED)
    assert [each["state"] for each in ask(nodes)] == ["unloaded"] * 6
    assert len(set(nodes.held)) == 1, "the first to say so"
    alone = Nodes(n1=UNLOADED)
    assert [each["state"] for each in ask(alone)] == ["unloaded"] * 6 and not alone.held


def test_what_another_process_does_is_waited_for_without_a_worker(
    ask: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that would only ask again and again whether a cell is free would be paid for all the while."""
    monkeypatch.setattr(workers, "BUSY_SECONDS", 0.0)
    nodes, asked = Nodes(n1={"state": "busy"}), list[int]()

    def busy() -> bool:
        asked.append(nodes.submitted)
        if len(asked) == 5:
            nodes.nodes["n1"] = DONE
        return len(asked) < 5

    assert [each["state"] for each in ask(nodes, 1, busy=busy)] == ["done"]
    assert asked == [1] * 5 and nodes.submitted == 2


def test_a_lock_says_whether_another_process_holds_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert not lock.busy()
    held = "import sys; from pathlib import Path; from flue_bench.locks import Lock\n"
    held += "with Lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert lock.busy()
        other.communicate()
    assert not lock.busy()


def test_what_a_node_does_not_have_is_no_failure_of_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose GPUs fail, or are of an older kind, would otherwise fail all cells, one after the other."""
    record = make_record()
    asked: dict[str, Any] = {"cell": record.cell.model_dump(mode="json"), "results": str(tmp_path), "keep": None}
    asked |= {"data_dir": None, "offline": True}
    display = worker.Report(tmp_path / "note")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = spread.cell(asked | {"device": "cuda"}, display)
    assert answer["state"] == "unloaded" and "finds no CUDA device" in answer["reason"]

    def lacks(*_: Any) -> None:
        raise DeviceError("this GPU has no native bf16")

    monkeypatch.setattr(spread, "prepare", lacks)
    assert spread.cell(asked | {"device": "cpu"}, display)["reason"] == "this GPU has no native bf16"
    assert not Store(tmp_path).failures()


def test_where_gpus_were_asked_for_no_worker_falls_back_to_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('scheduler = "slurm"\ntime = "1:00:00"\ncores_per_node = 8\ngpus_per_node = 2\n')
    gpus, cpu = load(tmp_path / "c.toml"), torch.device("cpu")
    assert isinstance(gpus, Slurm)
    assert spread._device(Workers(cluster=gpus), cpu) == "cuda"
    assert spread._device(Workers(cluster=gpus, device="cpu"), cpu) == "cpu"
    assert spread._device(Workers(cluster=gpus.model_copy(update={"gpus_per_node": 0})), cpu) == "auto"
    assert spread._device(Workers(cluster=tmp_path / "own.py"), cpu) == "auto"
    assert spread._device(Workers(2), cpu) == "cpu"


def test_a_job_of_one_node_is_not_given_to_another(ask: Callable[..., list[dict[str, Any]]]) -> None:
    answers = ask(Nodes(n1=REFUSED, n2=DONE), 2, elsewhere=False)
    assert sorted(each["state"] for each in answers) == ["done", "refused"]
    answers = ask(Nodes(n1=REFUSED, n2=REFUSED), 2, elsewhere=False)
    assert [each["state"] for each in answers] == ["refused"] * 2
    answers = ask(Nodes(n1=REFUSED, n2=DONE, late=["n2"]), 2, elsewhere=False)  # both were n1's, which came first
    assert [(each["where"], each["state"]) for each in answers] == [("n1", "refused"), ("n2", "done")]


def test_logs_that_cannot_be_written_are_told(ask: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(RecordError, match="log: cannot be written: File exists"):
        ask(Nodes(n1=DONE))


def test_what_a_doctor_says_of_a_node_that_is_refused() -> None:
    from flue_bench.jobs import nodes

    met = {"state": "done", "where": "n1", "met": 2, "held": True}
    other = {**met, "where": "n2", "held": False}
    assert nodes._locks([met, other], 2).state == "ok"
    assert nodes._locks([met, {**other, "held": True}], 2).state == "problem"
    for answers, number, said in (
        ([met], 1, "there is one. Ask again with nodes = 2"),
        ([met], 2, "1 of 2 nodes could be examined. Ask again when the others"),
        ([met, {**met, "met": 1}], 2, "not there together within 60 s. Ask again when the queue is short"),
    ):
        found = nodes._locks(answers, number)
        assert found.state == "note" and said in f"{found.found}. {found.advice}"


@pytest.mark.parametrize("given", [None, "10.0.0.7"])
def test_a_driver_asks_nobody_for_its_address(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsl asks a server on the internet; and ``--offline`` means that nobody is called."""
    import psutil

    monkeypatch.setattr("requests.get", lambda *_, **__: pytest.fail("it calls somebody"))
    monkeypatch.setattr("parsl.addresses.address_by_route", lambda: pytest.fail("it looks for the internet"))
    there = [SimpleNamespace(family=socket.AF_INET, address=each) for each in ("127.0.0.1", "192.168.3.4", "10.1.2.3")]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": there[:1], "eth0": there[1:]})
    (tmp_path / "c.toml").write_text('scheduler = "slurm"\ntime = "1:00:00"\ncores_per_node = 8\n')
    own = load(tmp_path / "c.toml")
    assert isinstance(own, Slurm)
    asked = Workers(cluster=own.model_copy(update={"address": given}))
    (executor,) = workers._configuration(asked, Placed(1, 8, 0), 1, str(tmp_path)).executors
    assert executor.address == given
    assert executor.all_addresses == ({given} if given else {"192.168.3.4", "10.1.2.3"})
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": there[:1]})
    if given is None:
        with pytest.raises(UsageError, match="no address by which nodes reach it: say it as address"):
            workers._configuration(asked, Placed(1, 8, 0), 1, str(tmp_path))


def test_without_sbatch_it_is_said_where_to_start_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text('scheduler = "slurm"\ntime = "1:00:00"\ncores_per_node = 8\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    asked: dict[str, Any] = {"cluster": tmp_path / "c.toml", "precision": "fp32", "results": tmp_path / "r", "limit": 8}
    display, file = shown(live=False)
    flue_bench.run("embedded:untrained", "mini-cls", dry_run=True, progress=display, **asked)
    assert "#SBATCH --cpus-per-task=8" in file.getvalue(), "which needs no Slurm"
    with pytest.raises(UsageError, match="there is no sbatch here: start it on the cluster"):
        flue_bench.run("embedded:untrained", "mini-cls", progress=False, **asked)
    assert not (tmp_path / "r" / ".workers").exists()


@pytest.mark.parametrize("host", ["node-1", "node"])
def test_folders_of_other_machines_are_let_alone(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two hosts, one whose name begins with the other's, each removes what its own dead drivers have left."""
    monkeypatch.setattr("platform.node", lambda: host)
    monkeypatch.setattr(workers, "alive", lambda process: process == os.getpid())
    there = [f"{name}-123456-18ab" for name in ("node", "node-1", "node-1-2", "node-1-ib")]
    for name in there:
        (tmp_path / ".workers" / name).mkdir(parents=True)
    mine = workers._folder(tmp_path)
    assert {path.name for path in mine.parent.iterdir()} == {mine.name, *there} - {f"{host}-123456-18ab"}


def test_ctrl_c_while_parsl_starts_ends_what_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    class Kernel:
        def __init__(self, config: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            self.executors: dict[str, Any] = {}
            self.job_status_poller = SimpleNamespace(_kill_event=threading.Event())
            self.run_dir = str(tmp_path)

        def cleanup(self) -> None:
            ended.append(True)

    monkeypatch.setattr("parsl.dataflow.dflow.DataFlowKernel", Kernel)
    with pytest.raises(KeyboardInterrupt), workers.started(Workers(1), Placed(1, 1, 0), 1, tmp_path, shown(False)[0]):
        pytest.fail("it goes on")
    assert ended == [True]


@pytest.mark.parametrize("cancels", [True, False])
def test_what_parsl_leaves_in_the_queue_is_cancelled_or_told(cancels: bool) -> None:
    """As it does for an executor that it has given up, or where a scheduler does not answer."""
    status = {name: SimpleNamespace(terminal=name == "10") for name in ("10", "11", "12")}
    asked: list[list[str]] = []

    def cancel(jobs: list[str]) -> None:
        asked.append(jobs)
        if not cancels:
            raise subprocess.TimeoutExpired("scancel", 60)
        for each in jobs:
            status[each].terminal = True

    def cleanup() -> None:
        raise RuntimeError("squeue failed")

    provider = SimpleNamespace(
        resources={name: {"status": each} for name, each in status.items()}, cancel=cancel, status=lambda jobs: None
    )
    kernel = SimpleNamespace(executors={"workers": SimpleNamespace(provider=provider)}, cleanup=cleanup)
    display, file = shown(live=False)
    workers._clean_up(kernel, display)
    assert asked == [["11", "12"]]
    assert "Parsl could not be ended: RuntimeError: squeue failed" in file.getvalue()
    assert ("jobs 11 12 are perhaps still in the queue" in file.getvalue()) is not cancels


@pytest.mark.robustness
@pytest.mark.timeout(900)
def test_an_interchange_that_is_killed_ends_the_run_and_everything_goes_on(
    long_task: Path, one_thread: dict[int | None, str], tmp_path: Path
) -> None:
    import psutil

    results = tmp_path / "results"
    words = ("run", "-m", "embedded:untrained", "-t", str(long_task), "--seeds", "2", "--device", "cpu")
    asked = ("--workers", "2", "--threads", "1", "--results", str(results))
    with started(*words, *asked, cwd=tmp_path, env={**os.environ, "MARKED_BY": str(tmp_path)}) as driver:
        until(lambda: len(training(results)) == 2)
        children = psutil.Process(driver.pid).children()
        (interchange,) = [each for each in children if "interchange" in str(each.cmdline())]
        interchange.kill()
        assert driver.stderr is not None
        said = driver.stderr.read()
        assert driver.wait(60) == 1, said
    assert "Parsl's interchange ended with exit code -9" in said and "Traceback" not in said
    until(lambda: not processes(str(tmp_path)), 15)
    (log,) = results.glob(".workers/*/parsl/*/parsl.log")
    assert log.read_text().partition("Launch command")[2].count("general strategy") < 5, "a line for every look"
    done = in_a_process(*words, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [each.cost.resumed for each in Store(results).records()] == [1, 1]
    assert predictions(results) == one_thread


def other_version(folder: Path) -> Path:
    """A folder for PYTHONPATH in which a package that records name is of another version."""
    (folder / "other" / "tokenizers-9.9.dist-info").mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: tokenizers\nVersion: 9.9\n"
    (folder / "other" / "tokenizers-9.9.dist-info" / "METADATA").write_text(text)
    return folder / "other"


@pytest.mark.robustness
@pytest.mark.timeout(600)
def test_workers_that_are_all_refused_are_not_waited_for(task: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    init = f"export PYTHONPATH={other_version(tmp_path)}:$PYTHONPATH; export PATH={Path(sys.executable).parent}:$PATH"
    own.write_text(OWN.replace("export PATH=BIN:$PATH", init))
    asked = ("--seeds", "4", "--precision", "fp32", "--cluster", own, "--threads", "1", "--results", tmp_path / "r")
    done = in_a_process("run", "-m", "embedded:untrained", "-t", task, *asked, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "No worker is left" in done.stderr and "is refused: tokenizers 9.9, not" in done.stderr
    assert "Install the same versions there and here; then the same command goes on" in done.stderr
    assert not processes(str(tmp_path / "r"))
