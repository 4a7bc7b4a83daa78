"""What a command prints to where it cannot go, or in an encoding that lacks its signs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.boards import teacher_and_student
from support.command_line import PROGRAM

COMMANDS = {
    "leaderboard": ["leaderboard"],
    "leaderboard as JSON": ["leaderboard", "--format", "json"],
    "verify": ["verify"],
    "tasks": ["tasks"],
    "version": ["--version"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sorties")
    teacher_and_student(folder / "results", seeds=2)
    return folder


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_behind_the_output_is_told(command: list[str], folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *command], stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder
        )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the output cannot be written whole: No space left on device. Free some space" in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
@pytest.mark.parametrize("command", ["leaderboard", "tasks"])
def test_an_encoding_that_lacks_a_sign_ends_no_command(command: str, encoding: str, folder: Path) -> None:
    """As a terminal of an older system has, and a pipe on Windows."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, command],
        capture_output=True,
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert encoding == "cp1252" or re.search(rb"\\u2[0-9a-f]{3}", done.stdout)  # spelt out, as Python does on stderr
