"""Code that runs in a process with a limit on its memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from support import ROOT


def run_limited(code: str, *arguments: str | Path, memory: int = 2**30, seconds: float = 60) -> str:
    """Return what the code prints, run with arguments in a Python whose address space is limited to ``memory`` bytes.

    An exception that escapes fails the test, with its traceback; so does code that takes longer.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        preexec_fn=limit,
        cwd=ROOT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout
