"""Checkpoints that are whole or absent, and a Ctrl-C that waits for the end of the step."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from flue_bench import files
from flue_bench.errors import FlueBenchError, RecordError
from flue_bench.signals import Handled
from flue_bench.training import pickles

FILE = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any], root: Path | None = None) -> None:
    """Write ``state`` (tensors and plain values) to ``folder``; the one before is replaced once this is on the disk.

    Args:
        folder: created if it does not exist.
        state: what to keep.
        root: a parent folder below which no link is followed; None: ``folder`` is what the user named.

    Raises:
        RecordError: the disk is full or the folder cannot be written; an earlier checkpoint is still whole.
    """
    try:
        files.write(folder / FILE, lambda file: torch.save(state, file), root or folder)
    except (OSError, RuntimeError) as error:
        # torch's archive, closed after a failed write, raises a RuntimeError that does not name the cause.
        reason = error if isinstance(error, OSError) else error.__context__ or error
        if not isinstance(reason, Exception):  # a second signal, in the middle of writing: no fault of the folder
            raise reason from None
        raise files.unwritable(folder / FILE, reason) from error


def load(folder: Path) -> dict[str, Any] | None:
    """Return the checkpoint in ``folder``, on the CPU, or None; only tensors and plain values are unpickled.

    Raises:
        RecordError: there is one and it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        pickles.check(path, folder)
        with files.opened(path, folder) as file:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecordError(
            f"Checkpoint {path} cannot be read ({reason}). Delete the folder to start the cell anew."
        ) from error
    return state


@contextlib.contextmanager
def applied(folder: Path) -> Iterator[None]:
    """Turn the errors of code that applies a checkpoint's content into ours: it may hold anything.

    Raises:
        RecordError: the content is not what a run saves.
    """
    try:
        yield
    except FlueBenchError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise RecordError(
            f"Checkpoint {folder / FILE} is not one of this run ({type(error).__name__}: {reason}). Delete the folder "
            "to start anew."
        ) from error


def steps(folder: Path) -> list[Path]:
    """Return the folders below ``folder`` in which ``save_step`` left a whole checkpoint, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{FILE}"))


def save_step(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> None:
    """Write ``state`` to a folder of its own below ``folder``, then remove all but the newest ``keep``.

    Raises:
        RecordError: as for ``save``; earlier checkpoints are still whole.
    """
    save(folder / f"step-{step:09}", state, folder)
    kept = steps(folder)[-keep:]
    for path in folder.glob("step-*"):  # also removes what a killed process left half written
        if path not in kept:
            drop(path)


def drop(folder: Path) -> None:
    """Remove a checkpoint that is no longer needed."""
    shutil.rmtree(folder, ignore_errors=True)


class Interruption:
    """A flag that the first SIGINT or SIGTERM sets; the training loop checks it between steps."""

    def __init__(self) -> None:
        """Start uninterrupted."""
        self.signal: int | None = None

    def raise_if_set(self) -> None:
        """End the run: 130 after Ctrl-C, 143 after SIGTERM, as shells and Slurm expect.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: with 128 + the signal's number, after any other.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


SILENCE = 2.0
"""Seconds that a step may go on after a signal before it is said that it is being waited for."""


def _say_that_it_stops() -> None:
    with contextlib.suppress(OSError):  # unbuffered: the main thread may be printing
        os.write(2, b"\nflue-bench: stopping when the step under way is finished; a second signal stops at once\n")


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Turn the first signal into a flag, so that a step ends and a checkpoint is written; the second acts at once."""
    flag = Interruption()
    waiting = threading.Timer(SILENCE, _say_that_it_stops)
    waiting.daemon = True

    def note(number: int, frame: FrameType | None) -> None:
        flag.signal = number
        handled.restore()
        waiting.start()

    handled = Handled(note)
    with handled:
        try:
            yield flag
        finally:
            waiting.cancel()
