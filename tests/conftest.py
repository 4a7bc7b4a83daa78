"""What several test files need."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from flue_bench.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real French data beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no folder ../shared with real data beside the checkout")
    return folder


def flue_bench(*words: str) -> int:
    """The exit code of a command in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["flue-bench", *words])
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return 0
