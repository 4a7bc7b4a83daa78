"""The ways in which tests call the command line: in this process, in one of its own, sealed off from every socket."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from flue_bench.cli import main

PROGRAM = "from flue_bench.cli import main; main()"
SEAL = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        print(event, *arguments, file=sys.stderr, flush=True)
        os._exit(99)
sys.addaudithook(watch)
"""
"""Ends a program that uses a socket: nothing in Python gets round an audit hook, and nothing catches ``os._exit``."""


class Said(NamedTuple):
    """What a command left: exit code, output, and what it said to people."""

    code: int
    out: str
    err: str


def flue_bench(*words: str | Path) -> Said:
    """A command in this process, as ``flue-bench`` runs it; an error that is not meant for people is raised."""
    handler, out, err, code = signal.getsignal(signal.SIGTERM), io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["flue-bench", *map(str, words)])
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Said(code, out.getvalue(), err.getvalue())


def done(*words: str | Path) -> str:
    """What a command in this process prints, which has to succeed."""
    said = flue_bench(*words)
    assert said.code == 0, said
    return said.out


def refused(*words: str | Path, code: int = 2) -> str:
    """What is said of a command in this process that cannot be carried out: two lines at most, and nothing else."""
    said = flue_bench(*words)
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith("flue-bench: ") and said.err.count("\n") <= 2 and "Traceback" not in said.err, said.err
    return said.err


def in_a_process(
    *words: str | Path, cwd: Path, env: dict[str, str] | None = None, program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; with ``program=SEAL + PROGRAM`` one that ends with 99 if it uses a socket."""
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


def started(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A command that has begun in a process of its own, for signals; it is read from its ``stderr``."""
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background ignores it
    )
    command = [sys.executable, "-c", f"{heard}; {PROGRAM}", *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True)


def no_network(tmp_path: Path) -> dict[str, str]:
    """A machine without network and without caches: every address is a closed port."""
    closed = "http://127.0.0.1:9"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "FLUE_BENCH"))}
    return kept | {
        "HF_ENDPOINT": closed,
        "HF_HOME": str(tmp_path / "hf"),
        "FLUE_BENCH_CACHE": str(tmp_path / "cache"),
        "http_proxy": closed,
        "https_proxy": closed,
        "NO_PROXY": "",
        "no_proxy": "",
    }
