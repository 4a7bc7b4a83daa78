"""Measurements in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Failed(SystemExit):
    """Raised if a process ends with an error; its code is the process's standard error."""


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` to its end; as in an installation, modules are compiled once.

    Args:
        words: the command line.
        environment: variables besides those of this process.

    Raises:
        Failed: its exit code is not 0.
    """
    command = [sys.executable, *words]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=inherited | environment)
    if done.returncode:
        raise Failed(done.stderr)
    return done


def answer(module: str, *words: str, **environment: str) -> Any:
    """Return the JSON in the last line that ``python -m MODULE WORDS`` prints.

    Raises:
        Failed: as for ``python``.
    """
    return json.loads(python("-m", module, *words, **environment).stdout.splitlines()[-1])
