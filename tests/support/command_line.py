"""The ways in which tests call the command line."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from flue_bench.cli import main


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


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["flue-bench", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    code = stopped.value.code
    assert isinstance(code, int)
    return code
