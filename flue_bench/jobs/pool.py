"""Starts Parsl's two programs so that they end with what they work for: ``python -m flue_bench.jobs.pool PROGRAM …``.

The *interchange* passes jobs from the driver to the nodes. Parsl leaves it behind when the driver is killed; here it
ends with it. *workers* starts a node's workers and restarts those that die. Parsl's dies of SIGTERM at once, and where
a scheduler takes a dead process for the end of its job, the workers die with it in the middle of a checkpoint; here it
waits for them. So it does where it ends by itself, because it no longer hears of the driver: Parsl would kill them one
second after it asked them to end.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

DRIVER = "FLUE_BENCH_DRIVER"
"""The environment variable that names the driver's process, for workers of the driver's own machine."""

PATIENCE = 120
"""Seconds after SIGTERM in which workers that have not got the signal themselves may go on."""
WAIT = f"""
import os, signal, sys, time
children, until = set(map(int, sys.argv[1:])), time.monotonic() + {PATIENCE}
while children:
    for child in list(children):
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)
        except ChildProcessError:
            children.discard(child)
    if time.monotonic() > until:
        for child in children:
            os.kill(child, signal.SIGTERM)
        until = float("inf")
    time.sleep(0.05)
sys.exit(128 + signal.SIGTERM)
"""
"""The program that waits for workers."""


def main() -> None:
    """Run one of Parsl's programs in this process."""
    program = sys.argv.pop(1)
    if program == "interchange":
        parent = os.getppid()
        os.setsid()  # Ctrl-C in the driver's terminal is the driver's business
        _when(lambda: os.getppid() != parent, lambda: os._exit(1))
    else:
        signal.signal(signal.SIGTERM, _wait_for_workers)
        BaseProcess.terminate = _end_workers  # type: ignore[method-assign, assignment]
        if driver := os.environ.get(DRIVER):
            _when(lambda: not alive(int(driver)), lambda: os.killpg(0, signal.SIGTERM))
    module = {"interchange": "interchange", "workers": "process_worker_pool"}[program]
    runpy.run_module(f"parsl.executors.high_throughput.{module}", run_name="__main__", alter_sys=True)


def alive(process: int) -> bool:
    """Return whether a process of this machine runs: one that ended and that nobody has asked about does not."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a system without /proc
        return True


def _when(happened: Callable[[], bool], act: Callable[[], object]) -> None:
    """Look once a second whether something happened, and act on it."""

    def watch() -> None:
        while not happened():
            time.sleep(1)
        act()

    threading.Thread(target=watch, daemon=True).start()


def _wait_for_workers(number: int, frame: object) -> None:
    """Become a program that only waits for the workers, which got the signal too: nothing restarts them now."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-c", WAIT, *map(str, _children())])


def _end_workers(process: object) -> None:
    """End all workers as a scheduler does, in place of ``BaseProcess.terminate`` for one of them."""
    for child in _children():
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    _wait_for_workers(signal.SIGTERM, None)


def _children() -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process().children() if "resource_tracker" not in _command(child)]


def _command(process: object) -> str:
    import psutil

    try:
        return " ".join(process.cmdline())  # type: ignore[attr-defined]
    except psutil.Error:
        return ""


if __name__ == "__main__":
    main()
