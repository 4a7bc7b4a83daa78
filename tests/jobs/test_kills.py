"""Processes killed with -9, and processes that meet on one results folder: nothing lost, nothing done twice."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmarks.robustness import kills
from flue_bench.data import registry
from flue_bench.results.store import Store

pytestmark = pytest.mark.robustness


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_killed_and_resumed_all_is_as_if_nothing_had_been(tmp_path: Path) -> None:
    table = kills.torment(1, seed=3, folder=tmp_path, most=1)
    assert table.keys() == {"run", "run --keep", "distill", "corpus"}
    assert sum(tally["kills"] for tally in table.values()) >= 1


def share(task: str, results: Path, pipe: Connection) -> None:
    """One of several runs of one grid; says which cells it ran itself, and which it found."""
    import io

    from flue_bench.jobs.grid import Grid, run_grid
    from flue_bench.progress import Console, Display

    grid = Grid(["embedded:untrained"], registry.select([task]), range(4), device="cpu")
    shown = io.StringIO()
    pipe.send("ready")
    pipe.recv()
    outcome = run_grid(grid, Store(results), Display(Console(file=shown, width=200)))
    pipe.send((len(outcome.records), outcome.reused, shown.getvalue()))


@pytest.mark.slow
def test_runs_at_once_share_the_cells(tmp_path: Path) -> None:
    kills.commands(tmp_path)  # writes a task
    kills.FORKED.set_forkserver_preload(kills.PRELOADED)
    pipes, processes = [], []
    for _ in range(2):
        ours, theirs = multiprocessing.Pipe()
        process = kills.FORKED.Process(target=share, args=(str(tmp_path / "essai.toml"), tmp_path / "results", theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    assert [pipe.recv() for pipe in pipes] == ["ready", "ready"]
    for pipe in pipes:
        pipe.send("go")
    said = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    ran = [records - reused for records, reused, _ in said]
    assert [records for records, _, _ in said] == [4, 4] and sum(ran) == 4, "every cell once"
    assert min(ran) >= 1, "neither only waited"
    assert any("another process is running it; later" in shown for _, _, shown in said)
    found = kills.records(tmp_path / "results")  # each with its predictions
    assert len(found) == 4 and not list((tmp_path / "results").rglob("*.tmp"))
