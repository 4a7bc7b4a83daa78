"""The benchmarks on a handful of rows: they run, they write what they say, and both sides do the same work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import ROOT

from flue_bench import models, registry, scoring, source
from flue_bench.device import Device
from flue_bench.optim import adamw
from flue_bench.recipe import Recipe
from flue_bench.record import DataRef
from flue_bench.runner import decide, gold
from flue_bench.train import fine_tune, predict

BENCHMARKS = ROOT / "benchmarks"
CPU = torch.device("cpu")
MODEL = "embedded:untrained"

SENTENCES = """
name = "essai-phrases"
kind = "sentence"
labels = ["non", "oui"]
metric = "accuracy"
[[source]]
files = { train = "phrases.csv", validation = "phrases.csv", test = "phrases.csv" }
[recipe.standard]
epochs = 2
batch_size = 4
learning_rate = 1e-3
max_length = 24
"""

TOKENS = """
name = "essai-mots"
kind = "tokens"
labels = ["O", "B-LOC", "I-LOC"]
scheme = "IOB2"
metric = "entity_f1_micro"
[[source]]
files = { train = "mots.jsonl", validation = "mots.jsonl", test = "mots.jsonl" }
[recipe.standard]
epochs = 2
batch_size = 4
learning_rate = 1e-3
max_length = 24
"""

PLACES = ["Brest", "Saint-Malo", "La Rochelle", "Vaison-la-Romaine", "Lyon", "Le Puy", "Arles", "Aix"]


@pytest.fixture
def tasks(tmp_path: Path) -> list[str]:
    """Two task files beside their data, each with rows of unequal length."""
    reviews = [("J'ai beaucoup aimé ce livre" + ", vraiment" * (i % 5), "oui") for i in range(5)]
    reviews += [("Quel ennui" + ", mais quel ennui" * (i % 4), "non") for i in range(5)]
    lines = ["text,label", *(f'"{text}",{label}' for text, label in reviews)]
    (tmp_path / "phrases.csv").write_text("\n".join(lines), encoding="utf-8")
    rows = []
    for number, place in enumerate(PLACES):
        name = place.split()
        words = ["Elle", "habite", *["toujours"] * (number % 3), "à", *name, "."]
        tags = ["O"] * (words.index("à") + 1) + ["B-LOC", *["I-LOC"] * (len(name) - 1)] + ["O"]
        rows.append(json.dumps({"words": words, "tags": tags}, ensure_ascii=False))
    (tmp_path / "mots.jsonl").write_text("\n".join(rows), encoding="utf-8")
    files = []
    for name, text in (("phrases", SENTENCES), ("mots", TOKENS)):
        files.append(tmp_path / f"{name}.toml")
        files[-1].write_text(text, encoding="utf-8")
    return [str(file) for file in files]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``benchmarks/trainer.py``; scripts import one another by name, from their own folder."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import trainer  # type: ignore[import-not-found]

    module: ModuleType = trainer
    return module


def script(name: str, *words: str) -> str:
    """Run a benchmark as a user does; what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("padding", ["padded", "dynamic", "grouped"])
@pytest.mark.parametrize("kind", [0, 1])
def test_the_same_batches_give_the_same_losses(
    trainer: ModuleType, tasks: list[str], tmp_path: Path, padding: str, kind: int
) -> None:
    work = trainer.common.load(tasks[kind], MODEL, None)
    recipe = Recipe(
        epochs=6, batch_size=16, learning_rate=3e-3, warmup_ratio=0.25, weight_decay=0.1, dropout=0.0, max_length=24,
        selection="last", precision="fp32",
    )  # fmt: skip
    data = work.encode("train", recipe.max_length)  # one batch: the order of its rows does not matter

    ours, _ = models.load_model(work.model, work.task, 3, recipe.dropout)
    fit = fine_tune(
        ours, data, recipe, 3, Device(CPU, "fp32", ""), lambda _: {"accuracy": 0.0}, "accuracy", tmp_path / "none"
    )
    theirs, _ = models.load_model(work.model, work.task, 3, recipe.dropout)
    more = {"logging_steps": 1, "save_strategy": "no"}
    built = trainer.build(theirs, work, data, recipe, 3, CPU, padding, str(tmp_path / "trainer"), more)
    built.train()

    losses = [line["loss"] for line in built.state.log_history if "loss" in line]
    assert losses == pytest.approx([epoch.train_loss for epoch in fit.history], abs=2e-4)
    assert losses[-1] < losses[0] - 2e-2
    for (name, mine), his in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, his, rtol=0, atol=1e-4, msg=lambda found, name=name: f"{name}: {found}")


def test_trainer_decays_the_weights_that_we_decay(trainer: ModuleType, tasks: list[str], tmp_path: Path) -> None:
    work = trainer.common.load(tasks[0], MODEL, None)
    recipe = Recipe(precision="fp32", max_length=24)
    network, _ = models.load_model(work.model, work.task, 0, None)
    built = trainer.build(network, work, work.encode("train", 24), recipe, 0, CPU, "dynamic", str(tmp_path))
    sides = [built.create_optimizer(), adamw(network, recipe.learning_rate, recipe.weight_decay)]
    decayed = [
        {id(p) for group in side.param_groups if group["weight_decay"] for p in group["params"]} for side in sides
    ]
    assert decayed[0] == decayed[1] != set()
    assert all(group["fused"] for side in sides for group in side.param_groups)


@pytest.mark.parametrize("kind", [0, 1])
def test_grouping_by_length_does_not_shuffle_predictions(
    trainer: ModuleType, tasks: list[str], tmp_path: Path, kind: int
) -> None:
    work = trainer.common.load(tasks[kind], MODEL, None)
    recipe = Recipe(precision="fp32", batch_size=2, max_length=24)
    data = work.encode("test", recipe.max_length)
    network, _ = models.load_model(work.model, work.task, 0, None)
    built = trainer.build(network, work, data, recipe, 0, CPU, "grouped", str(tmp_path))
    prediction = built.predict(trainer.rows(data, recipe, "grouped"))
    scores, _ = trainer.score(work, "test", {"test": data}, prediction)

    probabilities = predict(network, data, Device(CPU, "fp32", ""))
    truth, ours = [gold(example) for example in work.splits["test"]], decide(work.task, probabilities)
    if kind == 0:
        theirs = torch.from_numpy(prediction.predictions).softmax(-1)
        torch.testing.assert_close(theirs, torch.from_numpy(np.stack(probabilities)), rtol=0, atol=1e-5)
        assert scores == scoring.sentence_scores(truth, ours, work.task.labels).scores
    else:
        assert scores == scoring.token_scores(truth, ours, work.task.labels, "IOB2", data.subwords_per_word).scores
        assert scores["word_accuracy"] > 0


@pytest.mark.slow
def test_comparison_of_scores(tasks: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ["--model", MODEL, "--tasks", *tasks, "--seeds", "2", "--precision", "fp32", "--results", str(results)]
    printed = script("compare_scores", *words)
    found = json.loads((results / "trainer" / "scores.json").read_text(encoding="utf-8"))
    assert [task["task"] for task in found["tasks"]] == ["essai-phrases", "essai-mots"]
    for task in found["tasks"]:
        assert len(task["flue_bench"]["scores"]) == len(task["trainer"]["scores"]) == 2
        difference = task["difference"]
        assert difference["low"] <= difference["mean"] <= difference["high"]
        assert task["contains_zero"] == (difference["low"] <= 0 <= difference["high"])
    assert (results / "trainer" / "scores.md").read_text(encoding="utf-8").strip() == printed.strip()

    cells = sorted((results / "trainer" / "cells").glob("*.json"))
    before = [cell.stat().st_mtime_ns for cell in cells]
    assert len(cells) == 4
    assert script("compare_scores", *words) == printed
    assert [cell.stat().st_mtime_ns for cell in cells] == before, "a finished cell was run again"


@pytest.mark.parametrize("way", ["dynamic", "grouped", "flue-bench"])
def test_a_round_is_like_a_whole_epoch(trainer: ModuleType, way: str) -> None:
    import measure  # type: ignore[import-not-found]

    lengths = np.random.RandomState(0).geometric(0.03, 6400).clip(4, 128)
    epoch = measure.epoch(way, lengths, 32, seed=1)
    assert sorted(np.concatenate(epoch)) == list(range(6400))

    def waste(batches: list[npt.NDArray[np.int64]]) -> float:
        return sum(len(rows) * lengths[rows].max() for rows in batches) / lengths[np.concatenate(batches)].sum()

    sampled = measure.sample(epoch, lengths, 12, seed=1)
    assert waste(sampled) == pytest.approx(waste(epoch), rel=0.06)
    assert lengths[np.concatenate(sampled)].mean() == pytest.approx(lengths.mean(), rel=0.06)
    assert (waste(epoch) < 1.1) == (way != "dynamic")


@pytest.mark.slow
def test_speed(tasks: list[str], tmp_path: Path) -> None:
    sizes = ["--rounds", "2", "--steps", "2", "--warmup-steps", "1", "--batch-size", "3"]
    printed = script("speed", "--model", MODEL, "--tasks", tasks[1], *sizes, "--results", str(tmp_path))
    found = json.loads((tmp_path / "performance" / "speed.json").read_text(encoding="utf-8"))
    assert (tmp_path / "performance" / "speed.md").read_text(encoding="utf-8").strip() in printed
    for task in found["tasks"].values():
        assert len(task["measurements"]) == 2 * 2 * 4  # rounds, precisions, ways
        for number in range(2):
            for precision in ("fp32", "bf16"):
                of = {m["way"]: m for m in task["measurements"] if (m["round"], m["precision"]) == (number, precision)}
                assert of["padded"]["positions"] == 2 * 3 * task["max_length"]
                assert all(m["tokens"] <= m["positions"] for m in of.values())
                assert of["flue-bench"]["positions"] < of["padded"]["positions"]
        for each in task["same_precision"].values():
            assert all(r["low"] <= r["median"] <= r["high"] for r in each["ratio"].values())
        assert task["defaults"]["flue_bench_precision"] == "fp32"  # this model is too narrow to gain from bf16


def test_trainer_alone(tasks: list[str]) -> None:
    words = ["--tasks", tasks[0], "--limit", "6", "--padding", "grouped", "--precision", "bf16", "--set", "epochs=1"]
    found = json.loads(script("trainer", "--model", MODEL, *words))
    assert found["recipe"]["precision"] == "bf16" and found["recipe"]["epochs"] == found["selected_epoch"] == 1
    assert len(found["validation"]) == len(found["train_loss"]) == 1
    assert 0 <= found["scores"]["accuracy"] <= 1


FILES = sorted(file.stem for file in (BENCHMARKS / "tasks").glob("*.toml"))


@pytest.mark.parametrize("name", FILES)
def test_task_files_validate_and_take_no_registered_name(name: str) -> None:
    task = registry.select([str(BENCHMARKS / "tasks" / f"{name}.toml")])[0].task
    assert task.name == name not in registry.registered()
    assert task.licence and task.notes and task.title


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_task_files_load(name: str, shared: Path) -> None:
    registered = registry.select([str(BENCHMARKS / "tasks" / f"{name}.toml")])[0]
    found = source.load(registered, data_dir=shared / "data", offline=True)
    ref: DataRef = found.ref
    assert ref.canonical, ref.deviations
    labels = {example.label for split in found.splits.values() for example in split}
    assert labels == (set(range(len(registered.task.labels))) if registered.task.kind != "tokens" else {-1})
    train = {example.group for example in found.splits["train"]}
    for split in ref.cut:
        assert not train & {example.group for example in found.splits[split]}, f"{split} shares groups with train"


@pytest.mark.shared
def test_positive_reviews_are_positive(shared: Path) -> None:
    registered = registry.select([str(BENCHMARKS / "tasks" / "amazon-books.toml")])[0]
    splits = source.load(registered, data_dir=shared / "data", offline=True).splits
    praise = {"negative": 0, "positive": 0}
    for example in splits["train"]:
        text = example.text.lower()
        praise[registered.task.labels[example.label]] += "excellent" in text or "magnifique" in text
    assert praise["positive"] > 2 * praise["negative"]
