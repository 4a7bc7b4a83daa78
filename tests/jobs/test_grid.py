"""The grid: each cell once, failures kept, the same cell the same bits."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flue_bench.boards import render
from flue_bench.boards.rules import build
from flue_bench.data import registry, sources
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.jobs import cell
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.jobs.loader import TaskInputs
from flue_bench.progress import Console, Display
from flue_bench.record import SCHEMA_VERSION
from flue_bench.results.store import Store, read_predictions
from flue_bench.results.verify import faults
from flue_bench.task import Task
from flue_bench.training.device import Device
from support.hub_standin import sentences, tiny_camembert
from support.tasks import names_task

TASK = """
name = "ton"
kind = "sentence"
labels = ["négatif", "positif"]
metric = "f1_macro"
[[source]]
files = { train = "train.tsv", validation = "val.tsv", test = "test.tsv" }
columns = { text = "texte", label = "ton" }
[recipe.standard]
epochs = 2
batch_size = 8
max_length = 32
learning_rate = 1e-3
"""

NER = names_task(epochs=1, batch_size=8, max_length=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_camembert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_camembert(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "ton.toml").write_text(TASK, encoding="utf-8")
    (folder / "noms.toml").write_text(NER, encoding="utf-8")
    lines = iter(sentences(7))
    for split, rows in (("train", 40), ("val", 12), ("test", 20)):
        text = [f"{next(lines)}\t{('positif', 'négatif')[i % 2]}" for i in range(rows)]
        (folder / f"{split}.tsv").write_text("\n".join(["texte\tton", *text]) + "\n", encoding="utf-8")
    names = ["Anne", "Luc", "Zoé", "Paul"]
    blocks = [
        f"Hier\tO\n{names[i % 4]}\tB-PER\nMartin\tI-PER\na\tO\nvu\tO\nla\tO\nville\tO\nnuméro\tO\n{i}\tO"
        for i in range(24)
    ]
    (folder / "ner.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return folder


def display() -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(Console(file=out, width=200)), out


def grid(folder: Path, *models: Path, tasks: tuple[str, ...] = ("ton",), **settings: object) -> Grid:
    names = [str(folder / f"{task}.toml") for task in tasks]
    return Grid(
        **{"models": [str(model) for model in models], "tasks": registry.select(names), "seeds": [0], "device": "cpu"}
        | settings
    )


@pytest.mark.parametrize(("native", "because"), [(True, "too narrow (32)"), (False, "no avx512_bf16")])
def test_a_cell_leaves_a_record_that_explains_itself(
    folder: Path, model: Path, tmp_path: Path, cpu: Any, native: bool, because: str
) -> None:
    cpu(avx512_bf16=native)
    shown, out = display()
    store = Store(tmp_path)
    outcome = run_grid(grid(folder, model), store, shown)
    (record,) = outcome.records
    assert record == store.find(record.cell) and not outcome.failures
    assert set(record.scores) == {"accuracy", "f1_macro", "f1_micro", "f1_weighted", "f1_binary", "mcc"}
    assert record.cell.recipe.precision == "fp32" and because in " ".join(record.environment.notes)
    assert record.environment.deterministic and record.environment.threads >= 1
    assert record.data.rows == {"train": 40, "validation": 12, "test": 20}
    assert [epoch.epoch for epoch in record.history] == [1, 2] and record.cost.steps == 10
    assert record.cost.flops_per_example > 0 and record.cost.parameters > 10_000
    assert "[1/1] tiny · ton · seed 0: f1_macro" in out.getvalue()

    table = read_predictions(record, store.folder(record.cell))
    assert table.column_names == ["id", "group", "gold", "predicted", "probabilities"] and table.num_rows == 20
    accuracy = np.mean(np.array(table["gold"]) == np.array(table["predicted"]))
    assert accuracy == pytest.approx(record.scores["accuracy"])
    text = (folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or text.encode() not in path.read_bytes()  # no text of the data set
    assert str(tmp_path) not in record.model_dump_json() and str(folder) not in record.model_dump_json()


def test_an_untested_device_is_said_to_be_so_once(
    folder: Path, model: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Device, "untested", "tpu: not tested by us")
    shown, out = display()
    outcome = run_grid(grid(folder, model, other), Store(tmp_path), shown)
    assert out.getvalue().count("--device tpu: not tested by us") == 1
    assert all("(tpu: not tested by us)" in record.environment.device for record in outcome.records)


def test_a_finished_cell_is_not_run_again_unless_forced_and_is_the_same_to_the_bit(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    first = run_grid(grid(folder, model), store, display()[0])
    again = run_grid(grid(folder, model), store, display()[0])
    assert (first.reused, again.reused) == (0, 1) and again.records == first.records
    forced = run_grid(grid(folder, model, force=True), store, display()[0])
    assert forced.reused == 0
    assert forced.records[0].predictions.sha256 == first.records[0].predictions.sha256
    assert forced.records[0].scores == first.records[0].scores
    left_over = store.checkpoint_dir(first.records[0].cell)  # by a kill right after the record was written
    left_over.mkdir(parents=True)
    assert run_grid(grid(folder, model), store, display()[0]).reused == 1 and not left_over.exists()
    other_seed = run_grid(grid(folder, model, seeds=[1]), store, display()[0])
    assert other_seed.records[0].setting_digest == first.records[0].setting_digest
    assert other_seed.records[0].cell_digest != first.records[0].cell_digest


def test_tokens_are_scored_by_word_entity_and_subword(folder: Path, model: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (record,) = run_grid(grid(folder, model, tasks=("noms",)), store, display()[0]).records
    assert record.data.cut == ("validation",) and record.data.rows["validation"] > 0
    assert {"entity_f1_micro", "word_accuracy", "subword_f1_weighted_with_o"} <= set(record.scores)
    table = read_predictions(record, store.folder(record.cell))
    assert table["subwords"].to_pylist()[0][0] >= 1
    lengths = {len(row) for row in table["gold"].to_pylist()}
    assert lengths == {9} == {len(row) for row in table["predicted"].to_pylist()}


def test_a_failed_cell_is_kept_and_the_others_run(folder: Path, model: Path, other: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "tokenizer.json").write_text("[]")
    store = Store(tmp_path / "results")
    shown, out = display()
    outcome = run_grid(grid(folder, broken, other), store, shown)
    assert len(outcome.records) == 1 and outcome.records[0].cell.model.name == "other"
    (failure,) = outcome.failures
    assert "tokenizer" in failure.error and "failed: " in out.getvalue()
    assert store.failures() == [failure]
    for file in broken.glob("tokenizer*"):
        file.unlink()
    shown, out = display()
    outcome = run_grid(grid(folder, broken, other), store, shown)  # files that are not there are seen before any cell
    assert len(outcome.records) == len(outcome.unloaded) == 1 and not outcome.failures
    assert out.getvalue().count("has no tokenizer files") == 1


def test_data_that_cannot_be_read_does_not_stop_other_tasks(folder: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "absent.toml").write_text(TASK.replace('"ton"\nkind', '"absent"\nkind'), encoding="utf-8")
    tasks = registry.select([str(tmp_path / "absent.toml"), str(folder / "ton.toml")])
    shown, _ = display()
    outcome = run_grid(replace(grid(folder, model), tasks=tasks), Store(tmp_path / "results"), shown)
    assert len(outcome.records) == 1 and len(outcome.unloaded) == 1
    assert "train.tsv" in outcome.unloaded[0]


def test_what_cannot_be_is_told_before_anything_runs(folder: Path, model: Path, tmp_path: Path) -> None:
    shown, _ = display()
    with pytest.raises(UsageError, match=r"takes at most 512 sub-words.*--set max_length=512"):
        run_grid(grid(folder, model, overrides={"max_length": "513"}), Store(tmp_path), shown)
    with pytest.raises(UnknownNameError, match="Did you mean learning_rate"):
        run_grid(grid(folder, model, overrides={"learningrate": "1"}), Store(tmp_path), shown)
    with pytest.raises(UnknownNameError, match="standard"):
        run_grid(grid(folder, model, recipe="standart"), Store(tmp_path), shown)
    assert not list(tmp_path.rglob("*.json"))


def test_limit_is_part_of_the_cell_and_picks_the_same_rows(folder: Path, model: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (full,) = run_grid(grid(folder, model), store, display()[0]).records
    (cut,) = run_grid(grid(folder, model, limit=8), store, display()[0]).records
    assert cut.cell.limit == 8 and cut.cell_digest != full.cell_digest and cut.data == full.data
    ids = {
        name: read_predictions(each, store.folder(each.cell))["id"].to_pylist()
        for name, each in {"cut": cut, "full": full}.items()
    }
    assert len(ids["cut"]) == 8 and ids["cut"] == [i for i in ids["full"] if i in set(ids["cut"])]


def test_a_limit_that_leaves_one_answer_is_said_before_the_run_and_in_the_record(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    """A test set of one label gives 100 % to whoever says it always; two labels or all the rows say nothing."""
    shown, printed = display()
    (cut,) = run_grid(grid(folder, model, limit=1), Store(tmp_path), shown).records
    for split in ("validation", "test"):
        (said,) = (note for note in cut.environment.notes if f"limit 1 leaves {split} of ton 1 row" in note)
        assert "the only answer is '" in said and "its scores say nothing" in said and said in printed.getvalue()
    more = next(size for size in range(2, 20) if not TaskInputs(*loaded(folder)).alone(size))
    assert all(len({e.label for e in TaskInputs(*loaded(folder)).splits(more)[s]}) == 2 for s in ("validation", "test"))
    assert TaskInputs(*loaded(folder)).alone(None) == ()


def loaded(folder: Path) -> tuple[registry.Registered, sources.TaskData]:
    (task,) = registry.select([folder / "ton.toml"])
    return task, sources.load(task, offline=True)


@pytest.mark.parametrize(
    ("kind", "same", "other", "metric", "more"),
    [
        ("tokens", {"words": ["a", "b"], "tags": ["O", "O"]}, {"tags": ["O", "LOC"]}, "entity_f1_micro", "IO"),
        ("regression", {"text": "a", "value": 2}, {"value": 3}, "pearson", None),
        ("multi-label", {"text": "a", "labels": ["x"]}, {"labels": ["x", "y"]}, "f1_macro", None),
        ("multiple-choice", {"text": "a", "choices": ["b", "c"], "label": "A"}, {"label": "B"}, "accuracy", None),
    ],
)
def test_one_answer_of_other_kinds(
    kind: str, same: dict[str, Any], other: dict[str, Any], metric: str, more: str | None
) -> None:
    """Tokens of which none is in an entity, numbers that are equal, one set, one choice; and not where they differ."""
    labels = {"tokens": ["O", "LOC"], "multi-label": ["x", "y"], "multiple-choice": ["A", "B"]}.get(kind, [])
    options = {} if labels else {"options": {"range": [0, 5]}}
    for test in ([same] * 4, [same, same | other] * 2):
        rows = [*test, *[same | other] * 30]
        task = Task.from_examples(
            "essai", kind, labels=labels, metric=metric, scheme=more, train=rows, validation=rows, test=rows, **options
        )
        registered = registry.select([task])[0]
        inputs = TaskInputs(registered, sources.load(registered, offline=True))
        inputs._splits[4] = {split: each[:4] for split, each in inputs.data.splits.items()}
        said = [note for note in inputs.alone(4) if "limit 4 leaves test of essai 4 rows" in note]
        assert len(said) == (test[1] is same)


def test_a_model_that_predicts_one_class_is_marked(folder: Path, model: Path, tmp_path: Path) -> None:
    shown, out = display()
    settings = {"overrides": {"learning_rate": "1e-9", "epochs": "1"}}
    (record,) = run_grid(grid(folder, model, tasks=("noms",), **settings), Store(tmp_path), shown).records
    predicted = set(
        np.concatenate(read_predictions(record, Store(tmp_path).folder(record.cell))["predicted"].to_pylist())
    )
    assert (record.collapsed is not None) == (len(predicted) == 1)
    (record,) = run_grid(
        grid(folder, model, overrides={"learning_rate": "1e-9", "epochs": "1"}), Store(tmp_path), shown
    ).records
    assert record.collapsed is not None and "COLLAPSED" in out.getvalue()


def test_ctrl_c_leaves_a_checkpoint_and_the_rest_of_the_grid_is_as_if_it_had_not_come(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_grid(grid(folder, model, seeds=[0, 1]), Store(tmp_path / "whole"), display()[0])

    fine_tune, calls = cell.fine_tune, []

    def interrupted(*arguments: object):
        calls.append(1)
        if len(calls) == 2:  # the second cell, at its third step
            show = lambda at: os.kill(os.getpid(), signal.SIGINT) if at.step == 3 else None  # noqa: E731
            return fine_tune(*arguments[:-3], show, *arguments[-2:])
        return fine_tune(*arguments)

    store = Store(tmp_path / "cut")
    monkeypatch.setattr(cell, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid(folder, model, seeds=[0, 1]), store, display()[0])
    monkeypatch.undo()
    assert len(store.records()) == 1
    assert len(list((tmp_path / "cut" / ".checkpoints").rglob("checkpoint.pt"))) == 1
    outcome = run_grid(grid(folder, model, seeds=[0, 1]), store, display()[0])
    assert outcome.reused == 1 and outcome.records[1].cost.resumed == 1
    assert [r.predictions.sha256 for r in outcome.records] == [r.predictions.sha256 for r in whole.records]
    assert not list((tmp_path / "cut" / ".checkpoints").rglob("checkpoint.pt"))


def test_the_record_is_plain_json(folder: Path, model: Path, tmp_path: Path) -> None:
    run_grid(grid(folder, model), Store(tmp_path), display()[0])
    (path,) = tmp_path.glob("runs/tiny/ton/seed0-*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["schema_version"] == SCHEMA_VERSION and record["cell"]["task"] == "ton"


def test_an_unexpected_error_fails_its_cell_alone(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_tune, calls = cell.fine_tune, []

    def broken(*arguments: object):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("what nobody thought of")
        return fine_tune(*arguments)

    monkeypatch.setattr(cell, "fine_tune", broken)
    shown, out = display()
    outcome = run_grid(grid(folder, model, seeds=[0, 1]), Store(tmp_path), shown)
    assert len(outcome.records) == 1 and "unexpected ZeroDivisionError" in outcome.failures[0].error
    assert "Traceback" in out.getvalue()  # once, for whoever reports it


def test_a_model_that_is_broken_does_not_stop_the_others(folder: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown, _ = display()
    outcome = run_grid(grid(folder, tmp_path / "empty", model), Store(tmp_path / "results"), shown)
    assert len(outcome.records) == 1 and "no config.json" in outcome.unloaded[0]
    with pytest.raises(UsageError, match="neither a folder here nor a hub id"):
        run_grid(grid(folder, tmp_path / "absent", model), Store(tmp_path / "results"), shown)


def test_a_limit_above_the_rows_is_the_whole_run(folder: Path, model: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (full,) = run_grid(grid(folder, model), store, display()[0]).records
    again = run_grid(grid(folder, model, limit=1000), store, display()[0])
    assert again.reused == 1 and again.records == [full]


def test_a_record_without_its_predictions_is_run_again(folder: Path, model: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (record,) = run_grid(grid(folder, model), store, display()[0]).records
    path = store.folder(record.cell) / record.predictions.file
    content = path.read_bytes()
    path.unlink()
    assert run_grid(grid(folder, model), store, display()[0]).reused == 0
    assert path.read_bytes() == content


def test_the_same_weights_under_another_name_are_said_to_be_so(folder: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    store = Store(tmp_path / "results")
    run_grid(grid(folder, model), store, display()[0])
    shown, out = display()
    assert run_grid(grid(folder, copy), store, shown).reused == 1
    assert "copy has the content of tiny" in out.getvalue()


def test_a_broken_model_does_not_end_the_grid(folder: Path, model: Path, tmp_path: Path) -> None:
    """One is known before anything runs, the other when it reads."""
    no_padding = tiny_camembert(tmp_path / "sans-remplissage")
    strange = tiny_camembert(tmp_path / "étrange")
    for path, change in ((no_padding, {"pad_token_id": None}), (strange, {"chunk_size_feed_forward": 7})):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        (path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    shown, out = display()
    outcome = run_grid(grid(folder, no_padding, strange, model), Store(tmp_path / "results"), shown)
    assert [record.cell.model.name for record in outcome.records] == [model.name]
    assert [failure.cell.model.name for failure in outcome.failures] == ["étrange"]
    assert "unexpected ValueError" in outcome.failures[0].error
    (unloaded,) = outcome.unloaded
    assert "sans-remplissage: config.json has no pad_token_id, from which camembert counts positions" in unloaded
    assert unloaded in " ".join(out.getvalue().split())


@pytest.mark.parametrize("figure", ["flops_per_example", "peak_memory"])
def test_no_score_is_lost_for_want_of_a_figure(
    figure: str, folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> float:
        raise AttributeError("'NoneType' object has no attribute 'next_functions'")

    monkeypatch.setattr(cell, figure, broken)
    store = Store(tmp_path)
    outcome = run_grid(grid(folder, model), store, display()[0])
    assert not outcome.failures
    (record,) = store.records()
    lost = {"flops_per_example": "operations an example", "peak_memory": "peak memory"}
    costs = {"flops_per_example": record.cost.flops_per_example, "peak_memory": record.cost.peak_memory_bytes}
    assert {name for name, value in costs.items() if value is None} == {figure}
    said = f"{lost[figure]}: not known here (AttributeError: 'NoneType' object has no attribute 'next_functions')"
    assert said in record.environment.notes
    assert faults(store.folder(record.cell) / f"seed0-{record.cell_digest}.json") == []
    assert f"| {model.name} " in render.markdown(build([record]))


def test_a_clock_that_stands_still_loses_nothing(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell.time, "perf_counter", lambda: 0.0)
    (record,) = run_grid(grid(folder, model), Store(tmp_path), display()[0]).records
    assert record.cost.predict_examples_per_second == 0


def test_a_checkout_that_git_cannot_read_is_no_commit(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(subprocess, "run", git)
    (record,) = run_grid(grid(folder, model), Store(tmp_path), display()[0]).records
    assert record.environment.commit is None
