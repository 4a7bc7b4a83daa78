"""One cell by itself: found by content wherever it lies, the same bits as in a grid, and nothing loaded twice."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import Timeout

from flue_bench.data import model_files, registry, sources
from flue_bench.data.embedded import embedded_of
from flue_bench.errors import FlueBenchError, UsageError
from flue_bench.jobs import loader as loading
from flue_bench.jobs.cell import CellFailedError, Finished, run_cell
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.jobs.loader import Loader
from flue_bench.jobs.rerun import rerun
from flue_bench.kinds.network.sentence import SentenceNetwork
from flue_bench.progress import Console, Display
from flue_bench.record import Cell, RunRecord
from flue_bench.results.store import Store
from flue_bench.training import models
from support.tasks import sentence_task
from support.tiny import SENTENCES, three_models

TASK = sentence_task("NAME", "NAME.csv", "NAME.csv", "NAME.csv", epochs=1, batch_size=8, max_length=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with one tokenizer, another with its own, and two tasks."""
    folder = tmp_path_factory.mktemp("cells")
    three_models(folder)
    for name, start in (("ton", 0), ("avis", 40)):
        (folder / f"{name}.toml").write_text(TASK.replace("NAME", name), encoding="utf-8")
        lines = [f'"{SENTENCES[start + i]}",{("oui", "non")[i % 2]}' for i in range(24)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[RunRecord]:
    """A grid of two tasks, three models and two seeds."""
    return run_grid(
        Grid(
            models=[str(folder / name) for name in ("one", "two", "three")],
            tasks=registry.select([str(folder / "ton.toml"), str(folder / "avis.toml")]),
            seeds=[0, 1],
            device="cpu",
        ),
        Store(folder / "grid"),
        display(),
    ).records


def display() -> Display:
    return Display(Console(file=io.StringIO(), width=200))


def loader_of(folder: Path) -> Loader:
    """Knows the tasks and the models of this folder."""
    loader = Loader(registry.load_file(file) for file in sorted(folder.glob("*.toml")))
    for file in sorted(folder.glob("*/config.json")):
        loader.resolve(str(file.parent))
    return loader


def run(cell: Cell, loader: Loader, store: Store, **more: Any) -> Finished:
    return run_cell(cell, loader, store, torch.device("cpu"), display(), recipe_name="standard", **more)


def test_a_cell_is_found_by_content_and_gives_the_same_bits_elsewhere(
    folder: Path, records: list[RunRecord], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "ailleurs"
    elsewhere.mkdir()
    for path in folder.iterdir():
        if path.suffix in (".toml", ".csv"):
            shutil.copy(path, elsewhere)
    for name in ("one", "three"):
        shutil.copytree(folder / name, elsewhere / f"copie-{name}")
    loader, store = loader_of(elsewhere), Store(tmp_path / "results")
    # In another order than the grid's, tasks in turns: what ran before must not matter.
    sent = [record.cell.model_dump_json() for record in records if record.cell.model.name != "two"][::3]
    assert len({Cell.model_validate_json(text).task for text in sent}) == 2
    known = {record.cell_digest: record for record in records}
    for text in sent:
        record, reused = run(Cell.model_validate_json(text), loader, store)
        there = known[record.cell_digest]
        assert not reused and record.predictions.sha256 == there.predictions.sha256
        same = ("cell", "setting_digest", "scores", "per_class", "history", "truncation", "column", "recipe_name")
        assert all(getattr(record, name) == getattr(there, name) for name in same)
        assert run(record.cell, loader, store) == (record, True)
    assert len(store.records()) == len(sent)


def test_a_cell_loads_nothing_that_the_last_one_left_warm(
    folder: Path, records: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    watched = (
        (models, "resolve"), (model_files, "sha256"), (sources, "load"), (loading, "limited"),
        (SentenceNetwork, "encode"), (models, "load_tokenizer"), (models, "load_model"),
    )  # fmt: skip
    for owner, name in watched:
        watch(owner, name)
    loader, store = loader_of(folder), Store(tmp_path)
    ton = [record for record in records if record.cell.task == "ton"]
    limited = [record.cell.model_copy(update={"limit": 16}) for record in ton]
    for cell in ([record.cell for record in ton if record.cell.seed == 0], limited[:1]):
        for each in cell:
            run(each, loader, store)
    assert calls["resolve"] == 3 and calls["load"] == 1 and calls["load_tokenizer"] == 2
    assert calls["encode"] == 3 * 3  # splits, of two tokenizers and of a limit

    embedded_of(ton[0].cell.model.digest)  # once a process, which another test may have done or not
    before, modules = calls.copy(), set(sys.modules)
    for each in ([record.cell for record in ton if record.cell.seed == 1], limited[1:2]):
        for cell in each:
            run(cell, loader, store)
    rerun(ton[0], Store(folder / "grid").folder(ton[0].cell), loader, display(), model=str(folder / "one"))
    assert calls - before == {"load_model": 5}
    assert set(sys.modules) == modules


def test_a_model_that_changed_on_disk_is_no_longer_the_cells(
    folder: Path, records: list[RunRecord], tmp_path: Path
) -> None:
    copy = shutil.copytree(folder / "one", tmp_path / "one")
    loader, cell = Loader([registry.load_file(folder / "ton.toml")]), records[0].cell
    loader.resolve(str(copy))
    assert loader.model(cell.model).folder == copy.resolve()
    (copy / "journal.txt").write_text("no part of a model", encoding="utf-8")
    assert loader.model(cell.model).folder == copy.resolve()
    shutil.copy(folder / "two" / "model.safetensors", copy / "model.safetensors")
    with pytest.raises(UsageError, match="is another model: digest"):
        run(cell, loader, Store(tmp_path / "results"))
    assert not list(tmp_path.rglob("*.json.failed")) and not (tmp_path / "results").exists()
    assert loader.resolve(str(copy)).ref.digest == models.resolve(str(folder / "two")).ref.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": 1}, "made under protocol 1"),
        (
            {"task": "absente"},
            r"no task 'absente' is installed; give its file with --task \(what was given holds .*ton",
        ),
        ({"task_version": 9}, "version 9 of ton"),
        ({"data": "0" * 16}, "the data of ton differ"),
        ({"recipe": {"precision": "auto"}}, "a cell names its precision"),
        ({"model": {"digest": "0" * 16}}, "one was a folder: give its path with --model"),
        ({"model": {"digest": "0" * 16, "name": "embedded:untrained", "origin": "embedded"}}, "is another model"),
    ],
)
def test_what_is_not_the_cells_is_told_and_no_failure_of_it(
    change: dict[str, Any], message: str, folder: Path, records: list[RunRecord], tmp_path: Path
) -> None:
    cell = records[0].cell.model_dump(mode="json")
    for key, value in change.items():
        cell[key] = cell[key] | value if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=message) as raised:
        run(Cell.model_validate(cell), loader_of(folder), Store(tmp_path))
    assert not isinstance(raised.value, CellFailedError) and not list(tmp_path.rglob("*.json"))


def test_a_failure_is_kept_and_raised(folder: Path, records: list[RunRecord], tmp_path: Path) -> None:
    cell = records[0].cell
    huge = cell.model_copy(update={"recipe": cell.recipe.override({"learning_rate": "1e30"})})
    with pytest.raises(CellFailedError, match="finite") as raised:
        run(huge, loader_of(folder), Store(tmp_path))
    assert Store(tmp_path).failures() == [raised.value.failure] and isinstance(raised.value, FlueBenchError)
    assert raised.value.failure.cell == huge


HOLDS = """
import sys
from pathlib import Path
from flue_bench.locks import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_cell_that_another_process_runs_can_be_left_to_it(
    folder: Path, records: list[RunRecord], tmp_path: Path
) -> None:
    store, cell = Store(tmp_path), records[0].cell
    path = tmp_path / ".locks" / f"{cell.digest}.lock"
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(Timeout):
            run(cell, loader_of(folder), store, wait=False)
        other.communicate()
    assert not run(cell, loader_of(folder), store, wait=False).reused
    assert not run(cell, loader_of(folder), store, force=True).reused
