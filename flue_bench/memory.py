"""The allocator of a process that trains. Commands set it and benchmarks; from Python the process is the caller's."""

from __future__ import annotations

import platform
import sys


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
