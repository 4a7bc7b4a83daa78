"""Memory of a process that trains. Commands set it and benchmarks; from Python the process is the caller's."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_aside = False


def set_modules_aside() -> None:
    """Let ``loading`` set aside for good what modules have made, so that no later look for cycles goes through it."""
    global _aside
    _aside = True


@contextmanager
def loading() -> Iterator[None]:
    """Load modules without looks for cycles among what they make, which stays: they take a sixth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _aside:
            gc.freeze()
        if collects:
            gc.enable()


def wait_passively() -> None:
    """Let OpenMP's threads wait as a busy machine needs it, unless the user has set it; call it before torch is loaded.

    Threads that spin for long make a busy machine many times slower, and threads that sleep at once leave a small model
    to one core (docs/decisions/0009-threads-and-memory.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory instead of returning it and faulting it in again at every step.

    Measured in ``results/performance``; does nothing except on Linux with glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # <malloc.h>
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 256 * 2**20)
