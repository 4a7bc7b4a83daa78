"""What several test files need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import ROOT

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: there is a worker for every core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more of the machine than of the code; and what examples share of a fixture is meant.
SHARED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("flue-bench", deadline=None, suppress_health_check=SHARED)
settings.load_profile("flue-bench")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, so that neither they nor the user's commands find what the other left."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("flue-bench")
        patch.setenv("FLUE_BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real French data beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no folder ../shared with real data beside the checkout")
    return folder


@pytest.fixture
def all_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are taken at their word, for tests of how they are shown: most there are made up."""
    from flue_bench.results.verify import Checked

    monkeypatch.setattr("flue_bench.results.runs.judged", lambda records, known: [Checked(Path(), ()) for _ in records])


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend what the CPU can do: ``cpu(avx512_bf16=True)``."""
    import torch

    return lambda **can: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)


@pytest.fixture(scope="session", autouse=True)
def native_bf16() -> Iterator[None]:
    """``FLUE_BENCH_TEST_BF16=1`` (or 0): the CPU has native bf16 (or none), for tests and the processes they start."""
    asked = os.environ.get("FLUE_BENCH_TEST_BF16", "")
    if asked not in ("", "0", "1"):
        pytest.exit(f"FLUE_BENCH_TEST_BF16 is 0 or 1, not {asked!r}", returncode=2)
    with pytest.MonkeyPatch.context() as patch:
        if asked:
            import torch

            from support.pretended_cpu.sitecustomize import pretend

            folders = [str(ROOT / "tests/support/pretended_cpu"), os.environ.get("PYTHONPATH", "")]
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
            patch.setenv("PRETENDED_BF16", asked)
            patch.setattr(torch.cpu, "get_capabilities", torch.cpu.get_capabilities)  # what is put back in the end
            pretend(torch.cpu)
        yield
