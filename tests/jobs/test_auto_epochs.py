"""``epochs = "auto"``: enough steps on few rows, decided before the cell has its name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from flue_bench.data import registry
from flue_bench.errors import UsageError
from flue_bench.jobs import grid
from flue_bench.jobs.cell import CellFailedError
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.jobs.loader import Loader
from flue_bench.kinds.kind import kind_named
from flue_bench.progress import Console, Display
from flue_bench.recipe import Recipe
from flue_bench.record import Cell
from flue_bench.results.store import Store
from support import ROOT
from support.command_line import done
from support.factories import make_failure
from support.hub_standin import sentences

TASK = """
name = "ton"
kind = "sentence"
labels = ["négatif", "positif"]
metric = "f1_macro"
rows = { train = 700, validation = 12, test = 20 }
[[source]]
files = { train = "train.tsv", validation = "val.tsv", test = "test.tsv" }
columns = { text = "texte", label = "ton" }
"""


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"),
    [
        (700, 32, 28),  # 22 steps an epoch
        (700, 8, 7),
        (6400, 32, 3),  # 200 steps
        (6368, 32, 4),  # 199 steps: three epochs are 597
        (393_000, 32, 3),
        (640, 32, 30),  # 20 steps: 600 exactly
        (608, 32, 30),  # never 600
        (1, 32, 30),
    ],
)
def test_the_fewest_epochs_that_give_the_steps(rows: int, batch_size: int, epochs: int) -> None:
    assert Recipe(batch_size=batch_size).epochs_on(rows) == epochs
    assert Recipe(epochs=2).epochs_on(rows) == 2


def test_it_is_the_default_and_can_be_asked_for_or_not() -> None:
    assert Recipe().epochs == "auto"
    assert Recipe(epochs=2).override({"epochs": "auto"}).epochs == "auto"
    assert Recipe().override({"epochs": "5"}).epochs == 5
    for wrong in ("0", "-1", "2.5", "Auto", "many"):
        with pytest.raises(UsageError, match="Recipe field 'epochs' cannot be"):
            Recipe().override({"epochs": wrong})


@pytest.mark.parametrize("file", sorted((ROOT / "tasks/flue_tasks").glob("*.toml")), ids=lambda file: file.stem)
def test_installed_tasks_state_theirs(file: Path) -> None:
    """So that their cells keep their names, whatever the default is."""
    task = registry.load_file(file).task
    if kind_named(task.kind).frozen:
        pytest.skip("nothing is trained")
    assert task.recipe and all("epochs" in fields for fields in task.recipe.values())


@pytest.fixture
def task(tmp_path: Path) -> Path:
    lines = iter(sentences(7))
    for split, rows in (("train", 700), ("val", 12), ("test", 20)):
        text = [f"{next(lines)} ({i})\t{('positif', 'négatif')[i % 2]}" for i in range(rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["texte\tton", *text]) + "\n", encoding="utf-8")
    (tmp_path / "ton.toml").write_text(TASK, encoding="utf-8")
    return tmp_path / "ton.toml"


def cells_of(task: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[tuple[Cell, tuple[str, ...]]]:
    """The cells that a grid would run, and their notes."""
    seen: list[tuple[Cell, tuple[str, ...]]] = []

    def instead(cell: Cell, *_: Any, notes: tuple[str, ...], **more: Any) -> None:
        seen.append((cell, notes))
        raise CellFailedError(make_failure())

    monkeypatch.setattr(grid, "run_cell", instead)
    asked = Grid(models=["embedded:student"], tasks=registry.select([str(task)]), seeds=[0], device="cpu", **settings)
    run_grid(asked, Store(task.parent / "results"), Display(Console(file=io.StringIO())))
    return seen


def test_a_cell_names_the_number(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((whole, notes),) = cells_of(task, monkeypatch)
    assert whole.recipe.epochs == 28 and "epochs auto chose 28: 616 steps on 700 rows" in notes
    ((limited, notes),) = cells_of(task, monkeypatch, limit=320)
    assert limited.recipe.epochs == 30 and "epochs auto chose 30: 300 steps on 320 rows" in notes
    ((smaller, _),) = cells_of(task, monkeypatch, overrides={"batch_size": "8"})
    assert smaller.recipe.epochs == 7
    ((stated, notes),) = cells_of(task, monkeypatch, overrides={"epochs": "28"})
    assert stated.digest == whole.digest  # how the number came about is no part of the cell
    assert not any("epochs" in note for note in notes)


def test_a_cell_without_a_number_is_not_run(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((cell, _),) = cells_of(task, monkeypatch)
    open_ended = cell.model_copy(update={"recipe": cell.recipe.override({"epochs": "auto"})})
    with pytest.raises(UsageError, match="a cell names its epochs"):
        Loader(registry.select([str(task)])).find(open_ended, Display(Console(file=io.StringIO())))


def test_show_and_check_say_it(task: Path) -> None:
    assert "standard: epochs=auto (28 on 700 rows), batch_size=32" in done("tasks", "show", task)
    task.write_text(TASK.replace("rows =", "# rows ="), encoding="utf-8")
    assert "standard: epochs=auto, batch_size=32" in done("tasks", "show", task)
    assert "recipe standard: epochs auto, 28 on 700 rows" in done("tasks", "check", task, "--rows", "0")
