"""What a worker runs: a job, named by its entry point, with JSON arguments. Only strings come and go.

A worker is a process that runs one job at a time in its main thread, so that SIGTERM makes a cell write its checkpoint
as it does in ``flue-bench run``. Between jobs it keeps what is imported and the ``Loader``: hashes of models, and the
examples and encodings of one task. What it prints, and what kills it, is in the log of its job.

This module is imported before the number of threads is set: it imports torch only inside functions.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from flue_bench import plugins
from flue_bench.errors import FlueBenchError
from flue_bench.progress import PLAIN_SECONDS, Bar, Console, Display

if TYPE_CHECKING:
    from flue_bench.jobs.loader import Loader

LATE_SECONDS = 30.0
"""Seconds in which a worker should see a folder that the driver has just made."""
SHARE = "All nodes have to see the folder of results, and the one that you start in, under the same paths"
SAME = "Install the same versions there and here"
TOLD_SECONDS = 2.0
"""Seconds between two notes of a worker on where it is."""


class Job(Protocol):
    """A function that an entry point of the group ``flue_bench.jobs`` names."""

    def __call__(self, arguments: dict[str, Any], display: Report) -> dict[str, Any]:
        """Do the job and return what came of it, as JSON holds it; what is raised is returned as ``error``."""


class Report(Display):
    """A display whose lines go to the job's log and whose bars are notes in a file, which the driver reads."""

    def __init__(self, note: Path) -> None:
        """Set the file of the notes."""
        super().__init__(Console(file=sys.stderr, width=200, force_terminal=False))
        self.note = note
        self.for_driver: list[str] = []
        """What holds for many cells: the driver says it once for all workers."""

    def once(self, text: str) -> None:
        """Print a line, and have the driver print it if it has not yet."""
        super().once(text)
        self.for_driver.append(text)

    @contextlib.contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """Yield a bar for one piece of work."""
        self.line(title)
        self.tell(title=title)
        yield _Noted(self, title)

    def tell(self, **said: Any) -> None:
        """Say where the job is; what cannot be written is not missed."""
        with contextlib.suppress(OSError):
            new = self.note.with_suffix(".new")
            new.write_text(json.dumps({"where": where(), "process": os.getpid(), **said}), encoding="utf-8")
            os.replace(new, self.note)


class _Noted(Bar):
    """A bar that is a line in the log now and then, and a note more often."""

    def __init__(self, report: Report, title: str) -> None:
        super().__init__(report.console, None, title)
        self.report, self.told = report, 0.0

    def due(self) -> bool:
        return time.monotonic() - self.told >= TOLD_SECONDS

    def update(self, done: int, total: int, detail: str = "") -> None:
        if self.due() or done >= total:
            if time.monotonic() - self.shown >= PLAIN_SECONDS:
                super().update(done, total, detail)
            self.told = time.monotonic()
            self.report.tell(title=self.title, done=done, total=total, detail=detail)


def work(asked: str) -> str:
    """Run a job, and return what came of it.

    Args:
        asked: JSON: ``job``, ``arguments``, and the driver's terms: ``threads``, ``gpus``, ``folder``, ``versions``,
            ``log``, ``note``.

    Returns:
        JSON: ``state`` and what belongs to it, ``where`` and ``pool``. The state is ``refused`` where something that
        decides numbers is not what it is in the driver, ``error`` where the job raised something, or the job's own.
    """
    given = json.loads(asked)
    log = Path(given["log"])
    for folder in (Path(given["folder"]), log.parent):
        if not _seen(folder):
            reason = f"it does not see {folder}, which has to be shared"
            return json.dumps({"state": "refused", "reason": reason, "advice": SHARE, "said": [], **_here()})
    _settle(given["threads"], given["gpus"], given["folder"])
    report = Report(Path(given["note"]))
    with _logged(log), _ended_by_signals():
        report.tell()
        try:
            differs = differences(given["versions"])
            one = "records of one run have one version"
            answer = (
                {"state": "refused", "reason": f"{differs}; {one}", "advice": SAME}
                if differs
                else _job(given["job"])(given["arguments"], report)
            )
        except Exception as error:
            traceback.print_exc()
            reason = str(error) if isinstance(error, FlueBenchError) else f"{type(error).__name__}: {error}"
            answer = {"state": "error", "reason": reason}
    return json.dumps({**answer, "said": report.for_driver, **_here()})


def _here() -> dict[str, str]:
    return {"where": where(), "pool": os.environ.get("PARSL_WORKER_POOL_ID", "")}


def _seen(folder: Path) -> bool:
    """Return whether a folder of the driver is here: a shared file system may show a new one late."""
    until = time.monotonic() + LATE_SECONDS
    while not folder.is_dir():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


@cache
def where() -> str:
    """Return this worker's machine, and its GPU if it has one of its own."""
    node = os.environ.get("SLURMD_NODENAME") or platform.node()
    return f"{node}{f' GPU {_WARM.gpu}' if _WARM.gpu else ''}"


@cache
def _job(name: str) -> Job:
    for entry in plugins.entries(plugins.JOBS):
        if entry.name == name:
            job: Job = plugins.load(entry)
            return job
    raise LookupError(f"no job '{name}' is installed here")


@cache
def _settle(threads: int, gpus: int, folder: str) -> None:
    """Fix for this process what a command or its user fixes in ``flue-bench run``: once, and before torch is loaded."""
    os.chdir(folder)
    of = int(os.environ.get("PARSL_WORKER_COUNT", "1"))
    threads = threads or max(1, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1) // of)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(number) for number in range(gpus)]
        rank = int(os.environ.get("PARSL_WORKER_RANK", "0"))
        os.environ["CUDA_VISIBLE_DEVICES"] = _WARM.gpu = names[rank * len(names) // of]
    from flue_bench.memory import keep_freed_memory, set_modules_aside, wait_passively

    wait_passively()
    keep_freed_memory()
    set_modules_aside()
    import torch

    torch.set_num_threads(threads)
    parent = os.getppid()

    def watch() -> None:
        """End with the process that started this worker: a cell writes its checkpoint, and nothing is left behind."""
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Send all that this process and its libraries print to the end of a log, the last words of a crash included."""
    before = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable(file=2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
            os.close(kept)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End by SIGTERM as an exception does, which is what ``flue-bench`` does with it."""

    def end(number: int, frame: object) -> NoReturn:
        sys.stderr.write(f"signal {number}: this worker ends\n")
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@cache
def _versions() -> dict[str, str]:
    from flue_bench.training.device import versions

    return versions()


def differences(theirs: dict[str, str]) -> str:
    """Return in words how the versions that decide numbers differ here from the driver's; empty if they do not."""
    ours, lacks = _versions(), {"commit": "not known there (is git installed?)"}
    return ", ".join(
        f"{name} {ours.get(name, lacks.get(name, 'missing'))}, not {theirs.get(name, 'missing')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


@dataclass
class _Warm:
    """What a worker keeps from one job to the next."""

    gpu: str = ""
    """The GPU that is this worker's, by the name that CUDA_VISIBLE_DEVICES has for it."""
    loader: Loader | None = None
    key: tuple[str | None, bool] = (None, False)


_WARM = _Warm()


def loader(data_dir: str | None, offline: bool) -> Loader:
    """Return this process's loader, a new one if it is to look elsewhere than before."""
    from flue_bench.jobs.loader import Loader

    if _WARM.loader is None or _WARM.key != (data_dir, offline):
        _WARM.loader = Loader(data_dir=Path(data_dir) if data_dir else None, offline=offline)
        _WARM.key = (data_dir, offline)
    return _WARM.loader
