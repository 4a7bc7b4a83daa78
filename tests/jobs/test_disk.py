"""Commands on a disk that is full or read-only: told, and nothing is lost.

What the one writer of files does there is tested in ``tests/test_files.py``, for every fault. Here is what commands do
besides: folders and locks that they make, libraries that write by themselves, and the run that follows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from benchmarks.robustness import kills
from support import ROOT
from support.command_line import done, flue_bench

pytestmark = pytest.mark.robustness


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By name, the words of a command but for the last, which is what it writes."""
    folder = tmp_path_factory.mktemp("inputs")
    words = {name: command.words for name, command in kills.commands(folder).items()}
    done(*words["corpus"], folder / "corpus")
    words["distill"][words["distill"].index("--steps") + 1] = "3"
    done(*words["run"], folder / "done", "--seeds", "1")
    board = ["leaderboard", "--results", str(ROOT / "results" / "embedded"), "--format", "csv", "--out"]
    return words | {"leaderboard": board, "done": [str(folder / "done")]}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; only root can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@contextmanager
def soon_full(disk: Path) -> Iterator[None]:
    """A few kilobytes are left: the first files have room, the larger ones do not."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - (4 << 10))
    yield
    filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FULL = "No space left on device|disk is full"
READ_ONLY = "Read-only file system"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strike", "reason"),
    [
        *((name, soon_full, FULL) for name in ("run", "distill", "corpus", "leaderboard")),
        *((name, read_only, READ_ONLY) for name in ("run", "distill")),
    ],
)
def test_what_cannot_be_written_is_told_and_nothing_is_lost(
    name: str,
    strike: Callable[[Path], AbstractContextManager[None]],
    reason: str,
    commands: dict[str, list[str]],
    disk: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = disk / "out"
    if name == "run":  # one of its two cells is done
        shutil.copytree(commands["done"][0], out)
    elif name == "leaderboard":
        out.write_text("an older board", encoding="utf-8")
    before = files(disk)
    capfd.readouterr()
    with strike(disk):
        ended = flue_bench(*commands[name], out)
    assert ended.code == 1
    said = ended.err + capfd.readouterr().err  # the second is what other processes said
    assert re.search(reason, said) and "Traceback" not in said
    assert len([line for line in said.splitlines() if re.search(reason, line)]) <= 2
    assert {path: content for path, content in files(disk).items() if path in before} == before
    done(*commands[name], out)
