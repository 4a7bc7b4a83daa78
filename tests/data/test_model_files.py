"""Which files of a model's folder came later than its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_bench.data import model_files

MODEL = ("config.json", "model.safetensors", "tokenizer.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in MODEL:
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_of_a_tokenizer_that_came_later_are_named(folder: Path) -> None:
    kept = model_files.digest(folder)
    assert model_files.added(folder, kept) == ()
    for name in ("vocab.txt", "merges.txt", "b.model"):
        (folder / name).write_text("{}")
    assert model_files.added(folder, kept) == ("b.model", "merges.txt", "vocab.txt")
    (folder / "vocab.json").write_text("{}")
    assert model_files.added(folder, kept) is None
    (folder / "vocab.json").unlink()
    (folder / "model.safetensors").write_text("others")
    assert model_files.added(folder, kept) is None


@pytest.mark.timeout(20)
def test_a_folder_of_very_many_files_costs_no_hours(folder: Path) -> None:
    """Of a thousand names there are 166 million sets of three."""
    for number in range(1000):
        (folder / f"{number}.model").write_text("")
    assert model_files.added(folder, "0" * 16) is None
    assert model_files.added(folder, model_files.digest(folder)) == ()
