"""The driver's side of workers: starts them by Parsl, gives them jobs, and sees to it that none is lost.

Parsl's HighThroughputExecutor moves the jobs, starts workers and restarts those that die. Which job is tried again is
decided here: one that raised something in Python is not, one whose worker died is, up to a number of attempts that
brought no newer checkpoint. This is the one module that imports Parsl, and only in functions.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flue_bench import files
from flue_bench.errors import FlueBenchError, UsageError, counted, short
from flue_bench.jobs.cluster import Cluster, Slurm, configuration
from flue_bench.jobs.pool import DRIVER, alive
from flue_bench.progress import Bar, Display

if TYPE_CHECKING:
    import torch

THREADS = 4
"""Threads of a worker on a CPU where neither their number nor that of the workers is given."""
RETRIES = 2
"""How often a job is tried again whose worker died without a newer checkpoint."""
BUSY_SECONDS = 10.0
"""Seconds until a cell that another process is running is tried again."""
LOOK_SECONDS = 0.5
"""Seconds between two looks at where the workers are."""
PLAIN_SECONDS = 60.0
"""Seconds between two lines on where all of them are, where there is no terminal."""
LAST_LINES = 5
"""Lines of its log that the failure of a cell that killed its workers holds."""


@dataclass(frozen=True)
class Workers:
    """The request for workers: ``--workers``, ``--threads``, ``--cluster``."""

    number: int | Literal["auto"] = "auto"
    """On this machine."""
    threads: int | None = None
    """Of each worker; None: the cores divided among them, or what ``placed`` says for ``auto``."""
    cluster: Cluster | None = None
    """None: this machine."""
    device: str = "auto"
    """What ``--device`` says: of a cluster's nodes, nobody else can know."""


class Placed(NamedTuple):
    """The workers of a machine, or of each node of a cluster."""

    number: int
    """0: the user's own configuration says it."""
    threads: int
    """Of each; 0: the cores that a node has, divided among its workers."""
    gpus: int
    """That they share; 0 on a CPU, or where the user's own configuration assigns them."""

    def __str__(self) -> str:
        if not self.number:
            return f"Workers as the configuration says{f', {_threads(self.threads)} each' if self.threads else ''}"
        return f"{counted(self.number, 'worker')}, {_threads(self.threads)} each"


def _threads(number: int) -> str:
    return counted(number, "thread")


def check(asked: Workers) -> None:
    """Refuse what workers cannot do; cheap, so that it comes before everything else.

    Raises:
        UsageError: a number makes no sense, one GPU is asked for, or Parsl is not installed.
    """
    if asked.number != "auto" and asked.number < 1:
        raise UsageError(f"--workers {asked.number}: at least 1, or auto.")
    if asked.threads is not None and asked.threads < 1:
        raise UsageError(f"--threads {asked.threads}: at least 1.")
    if isinstance(own := asked.cluster, Slurm) and own.workers * (asked.threads or 1) > own.cores_per_node:
        raise UsageError(
            f"--threads {asked.threads}: {counted(own.workers, 'worker')} of as many on a node of "
            f"{counted(own.cores_per_node, 'core')} (cores_per_node)."
        )
    if asked.device.startswith("cuda:"):
        raise UsageError(
            f"--device {asked.device}: workers share all visible GPUs. Use --device cuda, and CUDA_VISIBLE_DEVICES to "
            "choose."
        )
    if find_spec("parsl") is None:
        what = "--workers" if asked.cluster is None else "--cluster"
        raise UsageError(f"{what}: needs Parsl, which is not installed: pip install 'flue-bench[cluster]'.")


def placed(asked: Workers, device: torch.device) -> Placed:
    """Return the workers of a machine: ``auto`` is one a GPU, or on a CPU one for each ``threads`` cores.

    Args:
        asked: the request.
        device: what they are to compute on, on this machine.
    """
    if isinstance(asked.cluster, Slurm):
        own = asked.cluster
        return Placed(
            own.workers, asked.threads or own.threads or max(1, own.cores_per_node // own.workers), own.gpus_per_node
        )
    if asked.cluster is not None:
        return Placed(0, asked.threads or 0, 0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device.type == "cuda":
        import torch

        gpus = torch.cuda.device_count()
        number = gpus if asked.number == "auto" else asked.number
        return Placed(number, asked.threads or max(1, cores // number), gpus)
    if asked.number == "auto":
        set_ = os.environ.get("OMP_NUM_THREADS", "")
        threads = asked.threads or (int(set_) if set_.isdecimal() and int(set_) else min(THREADS, cores))
        return Placed(max(1, cores // threads), threads, 0)
    return Placed(asked.number, asked.threads or max(1, cores // asked.number), 0)


@dataclass
class Job:
    """A job for a worker, and what became of it so far."""

    key: int
    """Whatever the caller knows it by."""
    name: str
    """Its entry point in the group ``flue_bench.jobs``."""
    arguments: Mapping[str, Any]
    """As JSON holds them."""
    title: str
    log: Path
    """The log of its workers; several attempts follow each other."""
    checkpoint: Path | None = None
    """A file whose renewal shows that an attempt got further, though its worker died."""
    elsewhere: bool = True
    """Whether it is given to another node if one is refused."""
    busy: Callable[[], bool] | None = None
    """Whether another process is at it; without this only a worker can tell, which has to be kept for it."""
    lost: int = field(default=0, init=False)
    """Workers that died in it without a newer checkpoint."""
    refused: int = field(default=0, init=False)
    reached: float = field(default=0.0, init=False)
    """When ``checkpoint`` was written, at the last death."""
    number: int = field(default=0, init=False)


class Driver:
    """Workers that run: see ``started``."""

    def __init__(
        self,
        kernel: Any,
        folder: Path,
        terms: dict[str, Any],
        display: Display,
        retries: int,
    ) -> None:
        """Set what ``started`` made: Parsl's kernel, the folder of this run, and what each job is told."""
        self.kernel, self.folder, self.terms, self.display, self.retries = kernel, folder, terms, display, retries
        self.executors = [each for label, each in kernel.executors.items() if label != "_parsl_internal"]
        self._ended: SimpleQueue[tuple[Job, Future[str]]] = SimpleQueue()
        self._later: list[tuple[float, Job]] = []
        self._table = _Table(display)
        self._numbers = 0
        self._refused: dict[str, Mapping[str, Any]] = {}
        """The pool of a node that is given no more jobs → its answer."""
        self._gone: set[tuple[str, str]] = set()
        """Executor and block of the nodes among them that were given back."""
        self._unlike: dict[str, str] = {}
        """What could not be loaded on a node → the first pool that said so."""
        self._alone = False

    def answers(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Give the jobs to the workers, in this order, and yield each with what came of it, as they end.

        What came of it has a ``state``: one of the job's own, ``refused`` or ``error`` as ``worker.work`` has them, or
        ``lost``; the last three with a ``reason``.

        Raises:
            FlueBenchError: no worker can be started, all of them are refused, or Parsl's interchange was killed.
            RecordError: the folder of the logs cannot be made.
        """
        self._table.begin(len(jobs))
        try:
            for job in jobs:
                with files.explained(job.log.parent):
                    job.log.parent.mkdir(parents=True, exist_ok=True)
                job.reached = _written(job.checkpoint)
                self._give(job)
            left = len(jobs)
            while left:
                self._look()
                try:
                    job, future = self._ended.get(timeout=LOOK_SECONDS)
                except Empty:
                    self._see_who_is_left()
                    continue
                answer = self._judged(job, future)
                if answer is not None:
                    left -= 1
                    self._table.ended(job, answer)
                    yield job, answer
        finally:
            self._table.close()

    def _give(self, job: Job) -> None:
        from flue_bench.jobs.worker import work

        self._numbers += 1
        job.number = self._numbers
        asked = {
            "job": job.name,
            "arguments": job.arguments,
            "log": str(job.log),
            "note": str(self._note(job)),
            **self.terms,
        }
        future = self.kernel.submit(work, (json.dumps(asked),), "all", False, None, {})
        future.add_done_callback(lambda done: self._ended.put((job, done)))

    def _note(self, job: Job) -> Path:
        return self.folder / "notes" / f"{job.number}.json"

    def _judged(self, job: Job, future: Future[str]) -> dict[str, Any] | None:
        """Return what came of a job; None if it is tried again."""
        from parsl.executors.errors import BadStateException
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        note = _read(self._note(job))
        self._note(job).unlink(missing_ok=True)
        try:
            answer: dict[str, Any] = json.loads(future.result())
        except BadStateException as error:
            raise FlueBenchError(f"No worker can be started: {_reason(error)}\nLogs: {self.folder}") from error
        except (WorkerLost, ManagerLost):
            return self._lost(job, str(note.get("where") or "a node"))
        except Exception as error:
            return {"state": "error", "reason": f"{type(error).__name__}: {error}"}
        if answer["state"] == "busy":
            self.display.once(f"{job.title}: another process is running it; later")
            self._later.append((time.monotonic() + BUSY_SECONDS, job))
            return None
        if answer["state"] == "refused" or (answer["state"] == "unloaded" and self._only_there(answer)):
            return self._refuse(job, answer)
        return answer

    def _lost(self, job: Job, where: str) -> dict[str, Any] | None:
        reached = _written(job.checkpoint)
        if reached > job.reached:
            job.reached = reached
            self.display.line(f"{job.title}: its worker on {where} ended; goes on from its checkpoint")
        else:
            job.lost += 1
            if job.lost > self.retries:
                said = " / ".join(last_lines(job.log)) or "nothing"
                died = f"its worker died {job.lost} times without a newer checkpoint, last on {where}"
                return {"state": "lost", "reason": f"{died}. Last lines: {said}. Log: {job.log}"}
            self.display.line(f"{job.title}: its worker on {where} died; tried again ({job.lost} of {self.retries})")
        self._give(job)
        return None

    def _refuse(self, job: Job, answer: dict[str, Any]) -> dict[str, Any] | None:
        """Give no more jobs to a node, if the executor can do that; None if this one is given to another."""
        self.display.once(f"{answer['where']} is refused: {answer['reason'].rstrip('.')}.")
        job.refused += 1
        known = answer["pool"] in self._refused  # it was given this job before it could be told to take no more
        for executor in self._htex():
            executor._hold_manager(answer["pool"])
            self._refused[answer["pool"]] = answer
        if not (job.elsewhere or known) or not (self._refused or job.refused <= self.retries):
            return answer
        self._give(job)
        return None

    def _only_there(self, answer: Mapping[str, Any]) -> bool:
        """Return whether only this node cannot load what this machine has loaded, and there is another.

        What two nodes say is true of the job, and no reason to refuse them.
        """
        pool = answer["pool"]
        return self._unlike.setdefault(answer["reason"], pool) == pool and self._is_anybody_left(pool)

    def _see_who_is_left(self) -> None:
        """Give back refused nodes, and end where there is no other; looked at twice: an answer may be on its way.

        Raises:
            FlueBenchError: nobody is left who could do what is still to be done.
        """
        if not self._refused:
            return
        self._give_back()
        before, self._alone = self._alone, not self._is_anybody_left()
        if before and self._alone:
            first, *others = self._refused.values()
            more = f" (and {counted(len(others), 'other node')})" if others else ""
            raise FlueBenchError(
                f"No worker is left: {first['where']} is refused{more}: {first['reason'].rstrip('.')}.\n"
                f"{first.get('advice') or 'Correct that'}; then the same command goes on, and what is done is kept."
            )

    def _htex(self) -> list[Any]:
        """Return the executors whose nodes can be told apart."""
        return [each for each in self.executors if hasattr(each, "_hold_manager")]

    def _give_back(self) -> None:
        """Give back the refused nodes on which nothing runs any more."""
        for executor in self._htex():
            for block, managers in _by_block(executor).items():
                done = all(each["manager"] in self._refused and not each["tasks"] for each in managers)
                here = executor.label, block
                if done and len(managers) >= executor.provider.nodes_per_block and here not in self._gone:
                    self._gone.add(here)
                    executor.provider.max_blocks -= 1  # nothing is started in its place, which may be the same node
                    with suppress(Exception):  # of Parsl: then it idles until the end
                        executor.provider.cancel([executor.blocks_to_job_id[block]])

    def _is_anybody_left(self, but: str = "") -> bool:
        """Return whether there is, or will be, somebody for other jobs than those that run; ``but`` leaves one out."""
        for executor in self._htex():
            of_block, provider = _by_block(executor), executor.provider
            managers = [each for of_one in of_block.values() for each in of_one if each["manager"] != but]
            living = {block for block, status in list(executor.status_facade.items()) if not status.terminal}
            living -= {block for label, block in self._gone if label == executor.label}
            starts = self.kernel.config.strategy not in (None, "none") and len(living) < provider.max_blocks
            comes = any(len(of_block[block]) < provider.nodes_per_block for block in living)
            if starts or comes or any(each["active"] or each["tasks"] for each in managers):
                return True
        return len(self._htex()) < len(self.executors)

    def _look(self) -> None:
        """Show where the workers are; give again what was put off; see whether there is still somebody to answer."""
        for executor in self.executors:
            process = _interchange(executor)
            if process is not None and process.poll() is not None:
                raise FlueBenchError(
                    f"Parsl's interchange ended with exit code {process.returncode}. Finished cells and checkpoints "
                    f"are kept, and the same command continues. Logs: {self.folder}"
                )
        due = [job for at, job in self._later if at <= time.monotonic()]
        self._later = [(at, job) for at, job in self._later if at > time.monotonic()]
        for job in due:
            if job.busy is not None and job.busy():
                self._later.append((time.monotonic() + BUSY_SECONDS, job))
            else:
                self._give(job)
        if self._table.due():
            self._table.show({int(path.stem): _read(path) for path in (self.folder / "notes").glob("*.json")})


def _by_block(executor: Any) -> dict[str, list[Mapping[str, Any]]]:
    """Return block → what Parsl knows of its nodes; none where none is connected."""
    found = defaultdict[str, list[Mapping[str, Any]]](list)
    for manager in executor.connected_managers():
        found[manager["block_id"]].append(manager)
    return found


def _said(note: Mapping[str, Any]) -> str:
    far = f" {note['done']}/{note['total']} {note.get('detail', '')}" if "done" in note else ""
    return f"{note.get('title', 'starting')} on {note.get('where', 'a node')}{far}".rstrip()


class _Table:
    """Where the jobs are: a bar for all and one for each that is running, or a line now and then in a log."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.all: Bar | None = None
        self.bars: dict[int, Bar] = {}
        self.jobs = self.done = self.failed = 0
        self.shown = self.began = 0.0

    def begin(self, jobs: int) -> None:
        """Begin with so many jobs."""
        self.jobs, self.began = jobs, time.monotonic()
        self.shown = self.began
        self.all = Bar(self.display.console, self.display.live, counted(jobs, "job"))

    def due(self) -> bool:
        """Return whether there is something to show now."""
        return time.monotonic() - self.shown >= (LOOK_SECONDS if self.display.live else PLAIN_SECONDS)

    def show(self, notes: Mapping[int, Mapping[str, Any]]) -> None:
        """Show the notes of the jobs that are running, by their numbers."""
        self.shown = time.monotonic()
        for number in self.bars.keys() - notes.keys():
            self.bars.pop(number).close()
        waiting = self.jobs - self.done - len(notes)
        state = f"{len(notes)} running, {waiting} waiting, {self.done - self.failed} done, {self.failed} failed"
        if self.display.live is None:
            each = [_said(note) for _, note in sorted(notes.items())[:4]]
            self.display.line("  ".join([f"  {state}", *each, *(["…"] if len(notes) > 4 else [])]))
            return
        if self.all is not None:
            self.all.update(self.done, self.jobs, state)
        for number, note in sorted(notes.items()):
            title = f"{note.get('where')}: {note.get('title', 'starting')}"
            if number in self.bars and self.bars[number].title != title:
                self.bars.pop(number).close()
            if number not in self.bars:
                self.bars[number] = Bar(self.display.console, self.display.live, title)
            self.bars[number].update(note.get("done", 0), note.get("total", 1), str(note.get("detail", "")))

    def ended(self, job: Job, answer: Mapping[str, Any]) -> None:
        """Count a job that ended."""
        self.done += 1
        self.failed += answer["state"] != "done"
        if (bar := self.bars.pop(job.number, None)) is not None:
            bar.close()

    def close(self) -> None:
        """Remove what was drawn."""
        for bar in (*self.bars.values(), *([self.all] if self.all else [])):
            bar.close()
        self.bars, self.all = {}, None


@contextmanager
def started(asked: Workers, place: Placed, jobs: int, results: Path, display: Display) -> Iterator[Driver]:
    """Start workers, and end them in the end, however it comes.

    A worker that is running a cell then writes its checkpoint first.

    Args:
        asked: where they are to run.
        place: from ``placed``.
        jobs: there is no use for more workers than these.
        results: the results folder; the folder of this run is in it until the run ends well.
        display: shows where they are.

    Raises:
        UsageError: the user's own configuration cannot be read, or this is no machine of the cluster.
        FlueBenchError: Parsl cannot be started.
        RecordError: the folder cannot be made.
    """
    from flue_bench.training.checkpoint import interruption
    from flue_bench.training.device import versions

    if isinstance(asked.cluster, Slurm) and shutil.which("sbatch") is None:
        raise UsageError("--cluster: there is no sbatch here: start it on the cluster, such as on its login node.")
    folder = _folder(results)
    terms = {"threads": place.threads, "gpus": place.gpus, "folder": str(Path.cwd()), "versions": versions()}
    from parsl.dataflow.dflow import DataFlowKernel

    with _run_dir(folder, asked) as run_dir:
        try:
            config = _configuration(asked, place, jobs, run_dir)
        except FlueBenchError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            with interruption() as interrupted:  # half a kernel could not be ended
                kernel = DataFlowKernel(config)
        except Exception as error:  # of Parsl, whatever the reason
            _end_interchanges(config.executors)
            why = f"{type(error).__name__}: {error}"
            raise FlueBenchError(f"Parsl cannot be started: {why}. Logs: {folder}") from error
        for log in _logs(kernel):
            log.setLevel(logging.INFO)  # below that it tells of every look at the queue: a gigabyte a week
            log.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk, of which others tell
        whole = False
        try:
            interrupted.raise_if_set()
            retries = asked.cluster.retries if isinstance(asked.cluster, Slurm) else RETRIES
            yield Driver(kernel, folder, terms, display, retries)
            whole = True
        finally:
            _stop(kernel, display)
            if whole:
                shutil.rmtree(folder, ignore_errors=True)


def _folder(results: Path) -> Path:
    """Make the folder of a run, which only its user can read: it holds the keys of its connections."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node()) or "host"
    folder = (results / ".workers" / f"{host}-{os.getpid()}-{time.time_ns():x}").absolute()
    for other in folder.parent.glob(f"{host}-*"):  # of drivers of this machine that were killed
        its = re.fullmatch(rf"{re.escape(host)}-(\d+)-[0-9a-f]+", other.name)
        if its and not alive(int(its[1])):
            shutil.rmtree(other, ignore_errors=True)
    with files.explained(folder, "or give another --results"):
        files.make_folder(folder, results.absolute())
        folder.chmod(0o700)
        (folder / "notes").mkdir(exist_ok=True)
    return folder


@contextmanager
def _run_dir(folder: Path, asked: Workers) -> Iterator[str]:
    """Provide the folder that Parsl is to write to, by a name that it may write into shell scripts, as it does.

    Raises:
        UsageError: a cluster would have to read it by another.
    """
    if re.fullmatch(r"[\w./+@:,=-]+", str(folder)):
        yield str(folder / "parsl")
        return
    if asked.cluster is not None:
        where = short(str(folder.parents[1]), 200)
        shutil.rmtree(folder, ignore_errors=True)
        raise UsageError(
            f"--results {where}: jobs of a cluster cannot be given a path with blanks, quotes or other signs of the "
            "shell: give another."
        )
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as plain:
        (Path(plain) / "folder").symlink_to(folder)
        yield str(Path(plain) / "folder" / "parsl")


INTERCHANGE = [sys.executable, "-m", "flue_bench.jobs.pool", "interchange"]


def _configuration(asked: Workers, place: Placed, jobs: int, run_dir: str) -> Any:
    """Return Parsl's configuration: of this machine, of Slurm, or the user's own.

    Raises:
        UsageError: the user's own cannot be read.
    """
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    if isinstance(asked.cluster, Path):
        config = configuration(asked.cluster)
        config.retries = 0  # what is tried again is decided here
        for executor in config.executors:
            if getattr(executor, "interchange_launch_cmd", None) == ["interchange.py"]:
                executor.interchange_launch_cmd = INTERCHANGE
        if config.run_dir == "runinfo":
            config.run_dir = run_dir
        return config
    if asked.cluster is None:
        driver = f"export {DRIVER}={os.getpid()}"
        provider: Any = LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1, worker_init=driver)
        address: str | None = "127.0.0.1"
        lost_after, period = 60, 0.5
    else:
        provider = slurm(asked.cluster, -(-jobs // place.number))
        address, lost_after, period = asked.cluster.address, asked.cluster.lost_after, 5
    executor = HighThroughputExecutor(
        label="workers",
        provider=provider,
        launch_cmd=launch_command(),
        interchange_launch_cmd=INTERCHANGE,
        address=address or "127.0.0.1",
        cores_per_worker=1e-6,  # their number is given, whatever Parsl thinks of the cores
        max_workers_per_node=place.number,
        heartbeat_period=2 if asked.cluster is None else max(1, lost_after // 6),
        heartbeat_threshold=lost_after,
        block_error_handler=_hopeless,
    )
    if address is None:  # asked for all of them, Parsl would also ask a server on the internet
        executor.address, executor.all_addresses = None, addresses()
    return Config(
        executors=[executor],
        run_dir=run_dir,
        strategy="simple" if asked.cluster is None else "htex_auto_scale",
        strategy_period=period,
        max_idletime=60.0,
        retries=0,
        usage_tracking=0,
    )


def addresses() -> set[str]:
    """Return this machine's own IPv4 addresses.

    Raises:
        UsageError: it has none by which other machines could reach it.
    """
    import psutil

    every = (each for of_one in psutil.net_if_addrs().values() for each in of_one)
    found = {each.address for each in every if each.family == socket.AF_INET}
    if not (others := {each for each in found if not each.startswith("127.")}):
        raise UsageError(
            "--cluster: this machine has no address by which nodes reach it: say it as address in the file."
        )
    return others


def slurm(cluster: Slurm, blocks: int) -> Any:
    """Return Parsl's provider for a Slurm cluster.

    Args:
        cluster: its settings.
        blocks: jobs that there is a use for.
    """
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider

    blocks = min(cluster.nodes, blocks)
    provider = partial(
        SlurmProvider,
        partition=cluster.partition,
        account=cluster.account,
        cores_per_node=cluster.cores_per_node,
        gpus_per_node=None if cluster.asks_for_gpus else cluster.gpus_per_node or None,
        init_blocks=blocks,
        min_blocks=0,
        max_blocks=blocks,
        walltime=cluster.walltime,
        scheduler_options=cluster.options,
        worker_init=cluster.worker_init,
        exclusive=cluster.exclusive,
        cmd_timeout=60,
        # Steps get SIGTERM, the batch shell does not; and since Slurm 22.05 they no longer inherit the job's cores.
        launcher=SrunLauncher(overrides=f"--cpus-per-task={cluster.cores_per_node}"),
    )
    try:
        return provider()
    except subprocess.TimeoutExpired as error:
        raise FlueBenchError(f"Slurm does not answer: {error.cmd} took over {error.timeout:.0f} s. Is it up?") from None


def nodes_of(asked: Workers) -> int:
    """Return how many nodes a cluster has at most, as its file says.

    Raises:
        UsageError: the user's own configuration cannot be read.
    """
    if isinstance(asked.cluster, Slurm):
        return asked.cluster.nodes
    if asked.cluster is None:
        return 1
    providers = [getattr(each, "provider", None) for each in configuration(asked.cluster).executors]
    return sum(getattr(each, "max_blocks", 1) * getattr(each, "nodes_per_block", 1) for each in providers)


def job_script(cluster: Slurm, place: Placed, jobs: int) -> str:
    """Return the script of one Slurm job, as it would be submitted, but for names and ports."""
    provider = slurm(cluster, -(-jobs // place.number))
    with tempfile.TemporaryDirectory() as folder:
        provider.script_dir = folder
        provider.execute_wait = lambda command, *_: (0, "Submitted batch job 0", "")
        command = " ".join((launch_command().partition(" {")[0], f"--max_workers_per_node={place.number}", "…"))
        provider.submit(command, 1, "flue-bench")
        (script,) = Path(folder).iterdir()
        text: str = script.read_text(encoding="utf-8")
        return text.replace(folder, "…")


def launch_command() -> str:
    """Return the command that starts a node's workers, in the form that Parsl fills in."""
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    # exec: the shell that a launcher starts would die of SIGTERM, and with it all that it started
    ours = f"exec {shlex.quote(sys.executable)} -m flue_bench.jobs.pool workers"
    command: str = DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", ours, 1)
    return command


def _hopeless(executor: Any, status: Mapping[str, Any]) -> None:
    """Give up where none runs and the last three blocks of workers ended before they said a word.

    What ends later ends for other reasons, such as its time limit.
    """
    from parsl.jobs.errors import TooManyJobFailuresError
    from parsl.jobs.states import JobState

    last = [status[block] for block in sorted(status, key=int) if status[block].terminal][-3:]
    mute = [each for each in last if each.state in (JobState.FAILED, JobState.MISSING)]
    if len(mute) < 3 or any(each.state is JobState.RUNNING for each in status.values()):
        return
    connected = set(executor.connected_blocks())
    if not any(status[block] is each for block in connected & status.keys() for each in mute):
        end = mute[-1]
        said = (end.stderr_summary or end.stdout_summary or end.message or "it says nothing").strip()
        executor.set_bad_state_and_fail_all(TooManyJobFailuresError(short(" / ".join(said.splitlines()[-3:]), 400)))


def _reason(error: Any) -> str:
    said = str(getattr(error, "reason", None) or getattr(error, "exception", None) or error)
    return short(" / ".join(filter(None, map(str.strip, said.splitlines()))), 600)


def _stop(kernel: Any, display: Display) -> None:
    """End all workers: first ask, so that cells write their checkpoints; a second Ctrl-C kills."""
    from parsl.providers import LocalProvider

    logs, groups = _logs(kernel), set[int]()
    kernel.job_status_poller._kill_event.set()  # nothing is started in place of what ends now
    for executor in kernel.executors.values():
        provider = getattr(executor, "provider", None)
        if isinstance(provider, LocalProvider):
            for job in provider.resources.values():
                with suppress(OSError):
                    groups.add(os.getpgid(job["remote_pid"]))
    groups.discard(os.getpgid(0))
    try:
        _signal(groups, signal.SIGTERM)
        until = time.monotonic() + 2.0
        while _living(groups):
            if time.monotonic() > until:
                display.line("Workers finish the step that they are in; Ctrl-C stops them at once.")
                until = float("inf")
            time.sleep(0.05)
    except BaseException:
        _signal(groups, signal.SIGKILL)
        raise
    finally:
        _clean_up(kernel, display)
        for each in logs:  # Parsl leaves it open
            each.close()


def _clean_up(kernel: Any, display: Display) -> None:
    """End Parsl, and cancel what it has submitted, whatever state it is in."""
    from parsl.providers import LocalProvider

    executors = list(kernel.executors.values())
    interchanges = [each for each in map(_interchange, executors) if each is not None]
    try:
        if any(each.poll() is not None for each in interchanges):
            atexit.unregister(kernel.atexit_cleanup)  # Parsl would wait for an interchange's answer for ever
        else:
            kernel.cleanup()
    except Exception as error:  # of Parsl or a scheduler: what follows does without
        display.line(f"Parsl could not be ended: {type(error).__name__}: {error}")
    _end_interchanges(executors)
    for executor in executors:
        provider: Any = getattr(executor, "provider", None)
        jobs: dict[str, Any] = {} if isinstance(provider, LocalProvider) else getattr(provider, "resources", {})
        left = [name for name, job in jobs.items() if not job["status"].terminal]
        if left:  # Parsl cancels nothing for an executor that it has given up
            with suppress(Exception):
                provider.cancel(left)
            with suppress(Exception):  # perhaps they had ended
                provider.status(left)
        if left := [name for name in left if not jobs[name]["status"].terminal]:
            display.line(f"Not cancelled: jobs {' '.join(left)} are perhaps still in the queue. Cancel them by hand.")


def _interchange(executor: Any) -> Any:
    return getattr(executor, "interchange_proc", None)


def _end_interchanges(executors: Sequence[Any]) -> None:
    for process in filter(None, map(_interchange, executors)):
        if process.poll() is None:
            process.terminate()


def _logs(kernel: Any) -> list[logging.FileHandler]:
    """Return what writes Parsl's log of this run."""
    files_ = [each for each in logging.getLogger("parsl").handlers if isinstance(each, logging.FileHandler)]
    return [each for each in files_ if Path(each.baseFilename).is_relative_to(Path(kernel.run_dir).absolute())]


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def _living(groups: set[int]) -> bool:
    """Return whether a process of these groups runs."""
    import psutil

    if not groups:
        return False
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getpgid(process.pid) in groups and alive(process.pid):
                return True
    return False


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _written(path: Path | None) -> float:
    try:
        return path.stat().st_mtime if path else 0.0
    except OSError:
        return 0.0


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that say something, each shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [short(line.strip(), 200) for line in lines if line.strip()][-LAST_LINES:]
