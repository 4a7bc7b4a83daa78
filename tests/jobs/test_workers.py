"""Workers: real processes that Parsl starts, that fail, are killed, are interrupted and lose their driver."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import flue_bench
from flue_bench.errors import UsageError
from flue_bench.jobs import worker, workers
from flue_bench.jobs.workers import Placed, Workers, placed
from flue_bench.progress import Console, Display
from flue_bench.results.store import Store
from support.bad_files import SENTENCE, TEXTS, put, tsv
from support.command_line import in_a_process, no_network, refused, started

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
    plugin = tmp_path / "plugin"
    (plugin / "deadly-1.dist-info").mkdir(parents=True)
    (plugin / "deadly-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (plugin / "deadly-1.dist-info" / "entry_points.txt").write_text("[flue_bench.readers]\ndeadly = deadly:read\n")
    (plugin / "deadly.py").write_text(DEADLY)
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
