"""What several test files need."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real French data beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no folder ../shared with real data beside the checkout")
    return folder
