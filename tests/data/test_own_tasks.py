"""Tasks of one's own: test sets that train on another task's rows, folders of task files, data beside the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError, UnknownNameError
from flue_bench.results.store import Store
from support.command_line import done, refused

ROWS = "text\tlabel\n" + "".join(f"phrase {i} {{}}\t{'oui' if i % 2 else 'non'}\n" for i in range(20))


def task(folder: Path, name: str, more: str = "", **files: str) -> Path:
    """Write a task file, and its data as files of their names beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files.values():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.replace("*", "trai")).write_text(ROWS.replace("{}", f"{name} {file}"), encoding="utf-8")
    listed = ", ".join(f'{split} = "{file}"' for split, file in files.items())
    keys = f'name = "{name}"\nkind = "sentence"\nmetric = "accuracy"\n'
    keys += "" if "labels" in more else 'labels = ["non", "oui"]\n'
    path = folder / f"{name}.toml"
    path.write_text(f"{keys}{more}\n[[source]]\nfiles = {{ {listed} }}\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task with train and test, and one with a test split alone that trains on the first one's rows."""
    task(tmp_path / "tasks", "plein", train="plein.tsv", test="plein-test.tsv")
    task(tmp_path / "tasks", "epreuve", 'train_from = "plein"', test="epreuve.tsv")
    return tmp_path / "tasks"


def test_a_test_set_trains_on_the_rows_of_another_task(folder: Path) -> None:
    plein, epreuve = (sources.load(each) for each in registry.select([f"{folder}/plein", f"{folder}/epreuve"]))
    assert epreuve.splits["train"] == plein.splits["train"]
    assert epreuve.splits["validation"] == plein.splits["validation"] and epreuve.ref.cut == ("validation",)
    assert [row.text for row in epreuve.splits["test"]] == [f"phrase {i} epreuve epreuve.tsv" for i in range(20)]
    assert epreuve.ref.digest != plein.ref.digest
    assert set(epreuve.ref.files) == {"epreuve.tsv", "plein: plein.tsv", "plein: plein-test.tsv"}
    assert epreuve.ref.source == "files, trained on files" and epreuve.ref.canonical


def test_what_is_wrong_with_the_training_task_is_wrong_with_the_test_set(folder: Path) -> None:
    (path,) = folder.glob("plein.toml")
    path.write_text("rows = { train = 21 }\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    (epreuve,) = registry.select([str(folder / "epreuve.toml")])
    ref = sources.load(epreuve).ref
    assert not ref.canonical and ref.deviations == ("plein, trained on: train has 20 rows, canonical is 21",)
    (folder / "plein.tsv").unlink()
    assert "has no plein.tsv" in sources.lacking(epreuve)
    with pytest.raises(DataError, match=r"No data for task 'plein'"):
        sources.load(epreuve)


def test_data_placed_by_hand_serves_both(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, split in (("plein", "train"), ("plein", "test"), ("epreuve", "test")):
        (data / name).mkdir(parents=True, exist_ok=True)
        (data / name / f"{split}.tsv").write_text(ROWS.replace("{}", "à la main"), encoding="utf-8")
    (epreuve,) = registry.select([str(folder / "epreuve.toml")])
    loaded = sources.load(epreuve, data_dir=data)
    assert all("à la main" in row.text for rows in loaded.splits.values() for row in rows)


@pytest.mark.parametrize(
    ("more", "files", "said"),
    [
        ('train_from = "absent"', {"test": "t.tsv"}, "train_from: Unknown task 'absent'.* absent.toml beside"),
        ('train_from = "epreuve"', {"test": "t.tsv"}, "train_from: 'epreuve' has no training rows of its own either"),
        ('train_from = "xnli"', {"test": "t.tsv"}, "kind: 'sentence' should be as in .*xnli.toml"),
        ('train_from = "plein"\nlabels = ["oui", "non"]', {"test": "t.tsv"}, r"labels: \('oui', 'non'\) should be as"),
        ('train_from = "../plein"', {"test": "t.tsv"}, "train_from: String should match"),
        ('train_from = "plein"', {"train": "t.tsv"}, r"source\[0\]: 'files' needs at least 'test'"),
        ('train_from = "plein"', {"train": "t.tsv", "test": "t.tsv"}, r"source\[0\].files: only 'test'"),
        ('train_from = "plein"\nrows = { train = 3 }', {"test": "t.tsv"}, "rows: only 'test'"),
        ("", {"test": "t.tsv"}, r"source\[0\]: 'files' needs at least 'train'"),
    ],
)
def test_a_training_task_that_does_not_fit_is_told(folder: Path, more: str, files: dict[str, str], said: str) -> None:
    path = task(folder, "autre", more, **files)
    with pytest.raises(TaskFileError, match=rf"autre\.toml: {said}"):
        registry.select([str(path)])


def test_a_folder_of_task_files(folder: Path) -> None:
    task(folder, "tiers", 'groups = ["deux"]', train="plein.tsv", test="plein-test.tsv")
    task(folder, "quart", 'groups = ["deux"]', train="plein.tsv", test="plein-test.tsv")

    def names(*words: str) -> list[str]:
        return [each.task.name for each in registry.select(words)]

    assert names(str(folder)) == ["epreuve", "plein", "quart", "tiers"]
    assert names(f"{folder}/") == names(str(folder))
    assert names(f"{folder}/deux") == ["quart", "tiers"]
    assert names("xnli", f"{folder}/plein", f"{folder}/deux", str(folder)) == [
        "xnli",
        "plein",
        "quart",
        "tiers",
        "epreuve",
    ]
    with pytest.raises(UnknownNameError, match=r"tasks has no task 'plain'\. Did you mean plein\?"):
        names(f"{folder}/plain")
    with pytest.raises(TaskFileError, match="is a folder without task files"):
        names(str(folder.parent))
    task(folder, "deux", train="plein.tsv", test="plein-test.tsv")
    with pytest.raises(TaskFileError, match=r"'deux' is a group in .* and a task in"):
        names(str(folder))


def test_the_data_of_ones_own_task_may_lie_above_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "tasks"
    path = task(folder, "loin", train="../../data/train.tsv", test="../../data/*n.tsv")
    loaded = sources.load(*registry.select([str(path)]))
    assert set(loaded.ref.files) == {"../../data/train.tsv"} and loaded.ref.rows["test"] == 20
    (tmp_path / "data" / "train.tsv").unlink()
    (tmp_path.parent / f"{tmp_path.name}.tsv").write_text(ROWS.replace("{}", "secret"), encoding="utf-8")
    (tmp_path / "data" / "train.tsv").symlink_to(tmp_path.parent / f"{tmp_path.name}.tsv")
    with pytest.raises(DataError, match="is a link out of"):
        sources.load(*registry.select([str(path)]))


def test_the_audit_is_across_both(folder: Path) -> None:
    (folder / "epreuve.tsv").write_bytes((folder / "plein.tsv").read_bytes())
    done("tasks", "audit", folder / "epreuve.toml", "--out", folder / "audit.json", "--offline")
    found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))["exact"]["text"]
    assert found["test in train or validation"]["rows"] == 20
    assert "trained on: train and validation rows of plein" in done("tasks", "show", folder / "epreuve.toml")
    assert "epreuve (version 1" in done("tasks", "check", folder, "--rows", "0", "--offline")
    assert "is a group" in refused("tasks", "audit", str(folder))


@pytest.mark.slow
def test_the_board_says_what_a_model_was_trained_on(folder: Path, tmp_path: Path) -> None:
    words = ("--set", "epochs=1", "--set", "max_length=32", "--offline")
    results = tmp_path / "results"
    done("run", "--task", folder, "--model", "embedded:untrained", "--results", results, *words)
    records = {record.cell.task: record for record in Store(results).records()}
    assert records["epreuve"].train_from == "plein" and records["plein"].train_from is None
    assert "train_from" not in records["plein"].model_dump()
    board = done("leaderboard", "--results", results, "--format", "markdown")
    assert "epreuve (trained on plein) " in board and " plein `accuracy`" in board
    assert "- epreuve (trained on plein): plein" in board
    assert "trained on plein" in done("card", "--model", "embedded:untrained", "--results", results)
    assert "2 ok, 0 not" in done("verify", results)
