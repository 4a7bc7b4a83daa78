"""The benchmarks on a handful of rows: they run, they write what they say, and both sides do the same work."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import t

from benchmarks.common import report, works
from benchmarks.cost import growth, profile_run, startup
from benchmarks.peers import compare_scores, measure, peers, trainer
from flue_bench.data import registry, sources
from flue_bench.jobs.grid import Grid
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.sentence import sentence_scores
from flue_bench.kinds.tokens import token_scores
from flue_bench.recipe import Recipe
from flue_bench.record import DataRef
from flue_bench.results.store import Store
from flue_bench.statistics.intervals import estimate, seeds_and_examples, t_interval
from flue_bench.training import models
from flue_bench.training.batches import prediction_batches
from flue_bench.training.device import Device
from flue_bench.training.optim import adamw
from flue_bench.training.train import POSITIONS, fine_tune, predict
from support import ROOT
from support.tasks import sentence_task

pytestmark = pytest.mark.benchmark

BENCHMARKS = ROOT / "benchmarks"
CPU = torch.device("cpu")
MODEL = "embedded:untrained"

SENTENCES = sentence_task(
    "essai-phrases",
    train="phrases.csv",
    validation="phrases.csv",
    test="phrases.csv",
    epochs=2,
    batch_size=4,
    learning_rate=1e-3,
    max_length=24,
)

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


OTHERS = {
    "nombres": ("regression", 'metric = "pearson"\noptions = { range = [0, 5] }'),
    "ensembles": (
        "multi-label",
        'metric = "f1_macro"\nlabels = ["a", "b", "c"]\noptions = { threshold = "validation" }',
    ),
    "choix": ("multiple-choice", 'metric = "accuracy"\nlabels = ["A", "B", "C", "D"]'),
}
"""File of a task of another kind → the kind, and what its task file says besides."""


@pytest.fixture
def tasks(tmp_path: Path) -> list[str]:
    """A task file of each kind beside its data, with rows of unequal length and, of choices, of unequal number."""
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
    texts = [(name, TOKENS.replace("essai-mots", f"essai-{name}")) for name in OTHERS]
    for number, (name, text) in enumerate(texts):
        kind, says = OTHERS[name]
        head = f'name = "essai-{name}"\nkind = "{kind}"\n{says}\n'
        texts[number] = (name, head + text[text.index("[[source]]") :].replace("mots.jsonl", f"{name}.jsonl"))
        many = [
            {"text": "Il y en a" + " encore" * (row % 4), "value": row % 6, "labels": ["abc"[row % 3]] * (row % 4 > 0)}
            | {"choices": [f"{n} fois" + ", oui" * n for n in range(2 + row % 3)], "label": "ABCD"[row % 2]}
            for row in range(10)
        ]
        fields = {"regression": ("value",), "multi-label": ("labels",), "multiple-choice": ("choices", "label")}[kind]
        lines = [json.dumps({key: row[key] for key in ("text", *fields)}, ensure_ascii=False) for row in many]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for name, text in (("phrases", SENTENCES), ("mots", TOKENS), *texts):
        files.append(tmp_path / f"{name}.toml")
        files[-1].write_text(text, encoding="utf-8")
    return [str(file) for file in files]


def script(name: str, *words: str) -> str:
    """Run a benchmark as a user does; what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("padding", ["padded", "dynamic", "grouped"])
@pytest.mark.parametrize("kind", range(5))
def test_the_same_batches_give_the_same_losses(tasks: list[str], tmp_path: Path, padding: str, kind: int) -> None:
    work = works.load(tasks[kind], MODEL, None)
    recipe = Recipe(
        epochs=6, batch_size=16, learning_rate=2e-3, warmup_ratio=0.25, weight_decay=0.1, dropout=0.0, max_length=24,
        selection="last", precision="fp32",
    )  # fmt: skip
    data = work.encode("train", recipe.max_length)  # one batch: the order of its rows does not matter

    ours = models.load_model(work.model, work.task, 3, recipe.dropout).network
    fit = fine_tune(
        ours, data, recipe, 3, Device(CPU, "fp32", ""), lambda _: {"accuracy": 0.0}, "accuracy", tmp_path / "none"
    )
    theirs = models.load_model(work.model, work.task, 3, recipe.dropout).network
    more = {"logging_steps": 1, "save_strategy": "no"}
    built = trainer.build(theirs, work, data, recipe, 3, CPU, padding, str(tmp_path / "trainer"), more)
    built.train()

    losses = [line["loss"] for line in built.state.log_history if "loss" in line]
    assert losses == pytest.approx([epoch.train_loss for epoch in fit.history], abs=1e-5)  # without decay: 4e-5
    assert losses[-1] < losses[0] - 2e-2
    for (name, mine), his in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if kind == 4 and name == "classifier.bias":  # all choices share it: its gradient is rounding alone
            continue
        torch.testing.assert_close(mine, his, rtol=0, atol=1e-4, msg=lambda found, name=name: f"{name}: {found}")


def test_trainer_decays_the_weights_that_we_decay(tasks: list[str], tmp_path: Path) -> None:
    work = works.load(tasks[0], MODEL, None)
    recipe = Recipe(precision="fp32", max_length=24)
    network = models.load_model(work.model, work.task, 0, None).network
    built = trainer.build(network, work, work.encode("train", 24), recipe, 0, CPU, "dynamic", str(tmp_path))
    sides = [built.create_optimizer(), adamw(network, recipe.learning_rate, recipe.weight_decay)]
    decayed = [
        {id(p) for group in side.param_groups if group["weight_decay"] for p in group["params"]} for side in sides
    ]
    assert decayed[0] == decayed[1] != set()
    assert all(group["fused"] for side in sides for group in side.param_groups)


@pytest.mark.parametrize("kind", [0, 1])
def test_grouping_by_length_does_not_shuffle_predictions(tasks: list[str], tmp_path: Path, kind: int) -> None:
    work = works.load(tasks[kind], MODEL, None)
    recipe = Recipe(precision="fp32", batch_size=2, max_length=24)
    data = work.encode("test", recipe.max_length)
    network = models.load_model(work.model, work.task, 0, None).network
    built = trainer.build(network, work, data, recipe, 0, CPU, "grouped", str(tmp_path))
    prediction = built.predict(trainer.rows(data, recipe, "grouped"))

    probabilities = predict(network, data, Device(CPU, "fp32", ""))
    scores, _ = trainer.score(work, "test", {"test": data, "validation": data}, probabilities, probabilities)
    truth = [kind_named(work.task.kind).gold(example) for example in work.splits["test"]]
    ours = data.decided(probabilities, work.task)["predicted"]
    theirs = torch.from_numpy(prediction.predictions).softmax(-1)
    if kind == 0:
        torch.testing.assert_close(theirs, torch.from_numpy(np.stack(probabilities)), rtol=0, atol=1e-5)
        assert scores == sentence_scores(truth, ours, work.task.labels).scores
    else:
        first = torch.from_numpy(prediction.label_ids) != -100
        for row, our in enumerate(probabilities):
            torch.testing.assert_close(theirs[row][first[row]], torch.from_numpy(our), rtol=0, atol=1e-5)
        assert scores == token_scores(truth, ours, work.task.labels, "IOB2", data.subwords_per_word).scores
        assert scores["word_accuracy"] > 0


@pytest.mark.slow
def test_comparison_of_scores(tasks: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ["--model", MODEL, "--tasks", *tasks, "--seeds", "2", "--precision", "fp32", "--results", str(results)]
    words += ["--name", "kinds", "--records", str(tmp_path / "own")]
    printed = script("peers.compare_scores", *words)
    assert len(Store(tmp_path / "own").records()) == 2 * len(tasks) and not (results / "runs").exists()
    found = json.loads((results / "trainer" / "kinds.json").read_text(encoding="utf-8"))
    names = ["essai-phrases", "essai-mots", *(f"essai-{name}" for name in OTHERS)]
    assert [task["task"] for task in found["tasks"]] == names
    for task in found["tasks"]:
        assert len(task["flue_bench"]["scores"]) == len(task["trainer"]["scores"]) == 2
        difference = task["difference"]
        assert difference["low"] <= difference["mean"] <= difference["high"]
        assert task["contains_zero"] == (difference["low"] <= 0 <= difference["high"])
    assert (results / "trainer" / "kinds.md").read_text(encoding="utf-8").strip() == printed.strip()

    cells = sorted((results / "trainer" / "cells").glob("*.json"))
    before = [cell.stat().st_mtime_ns for cell in cells]
    assert len(cells) == 2 * len(tasks)
    assert script("peers.compare_scores", *words) == printed
    assert [cell.stat().st_mtime_ns for cell in cells] == before, "a finished cell was run again"


@pytest.mark.parametrize("way", ["dynamic", "grouped", "flue-bench"])
def test_a_round_is_like_a_whole_epoch(way: str) -> None:
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
    printed = script("peers.speed", "--model", MODEL, "--tasks", tasks[1], *sizes, "--results", str(tmp_path))
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
            assert all(r["least"] <= r["median"] <= r["most"] for r in each["ratio"].values())
            assert all(0 < share < 2 for share in each["share_of_peak"].values())
        assert task["defaults"]["flue_bench_precision"] == "fp32"  # this model is too narrow to gain from bf16


@pytest.mark.parametrize("way", ["padded", "dynamic", "flue-bench"])
def test_a_prediction_is_measured(tasks: list[str], way: str) -> None:
    work = works.load(tasks[1], MODEL, None)
    order = measure.Order(tasks[1], way, "fp32", 1, 6, measure.PREDICTION)
    recipe = work.task.named_recipe("standard")
    given = work, work.encode("train", 24).lengths, Device(CPU, "fp32", ""), recipe
    assert "product_seconds" not in measure.measure(replace(order, count=True), *given)
    found = measure.measure(order, *given)
    assert found["seconds"] > 0 and found["processor_seconds"] > 0 and found["product_seconds"] > 0
    assert 6 * 4 < found["tokens"] <= found["positions"] <= 6 * recipe.max_length
    assert (found["positions"] == 6 * recipe.max_length) == (way == "padded")


def test_trainer_alone(tasks: list[str]) -> None:
    words = ["--tasks", tasks[0], "--limit", "6", "--padding", "grouped", "--precision", "bf16", "--set", "epochs=1"]
    found = json.loads(script("peers.trainer", "--model", MODEL, *words))
    assert found["recipe"]["precision"] == "bf16" and found["recipe"]["epochs"] == found["selected_epoch"] == 1
    assert len(found["validation"]) == len(found["train_loss"]) == 1
    assert 0 <= found["scores"]["accuracy"] <= 1


@pytest.mark.shared
def test_scoring_agrees_with_seqeval(shared: Path) -> None:
    for found in peers.scoring(argparse.Namespace(data_dir=shared / "data", scoring_rows=60, rounds=1)):
        assert " of 60 " in found["of"] and 0.5 < found["score"] < 1
        assert {len(seconds) for seconds in found["seconds"].values()} == {1} and len(found["seconds"]) == 4


def test_peers_are_put_in_tables(tmp_path: Path) -> None:
    rounds = [
        {"work": work, "round": n, "way": way, "precision": precision, "tokens": 10, "positions": 10}
        | {"seconds": 1.0 if way == measure.OURS else 2.0 + n, "processor_seconds": 1.0 if way == measure.OURS else 4.0}
        | {"product_seconds": 0.7}
        for work, ways in measure.WORKS.items()
        for n in range(7)
        for way in ways
        for precision in ("fp32", "bf16")
    ]
    settings = {"rounds": 7, "steps": 4, "rows": 8, "warmup_steps": 1, "scoring_rows": None}
    task = {
        "max_length": 100,
        "mean_tokens": 50.0,
        "test_padding": 1.02,
        "batch_size": 8,
        "settings": settings,
        "measurements": rounds,
    }
    machine = report.versions(Device(CPU, "fp32", ""))
    result = {
        "models": {"m": {"automatic": "bf16", "machine": machine, "tasks": {"t": task}}},
        "scoring": [{"of": "F1 of 2 rows", "score": 0.5, "seconds": {measure.OURS: [1.0], "seqeval": [3.0]}}],
    }
    text = peers.markdown(result, tmp_path)
    assert "| m, t | 2.00 | fp32 | 70 % |" + 3 * " 5.00 [2.00, 8.00]; 4.00 |" + "  |  |" in text
    assert "| m, t | 2.00 | bf16 | 70 % |" + 5 * " 5.00 [2.00, 8.00]; 4.00 |" in text
    assert "| seqeval | 3000.0 | 3.00 [too few rounds] |" in text and "7 rounds of 4 steps, 8 rows predicted" in text


def test_a_run_is_split_into_its_parts(tasks: list[str]) -> None:
    grid = Grid(models=[MODEL], tasks=registry.select(tasks[1:2]), seeds=[0], device="cpu")
    began = time.perf_counter()
    ledger = profile_run.profile(grid, CPU)
    wall = time.perf_counter() - began
    booked = sum(spent for part, spent in ledger.seconds.items() if part != "start-up")
    assert booked == pytest.approx(wall, rel=0.05)
    assert {part for _, _, part in profile_run.PARTS} | {"predict: forward"} <= set(ledger.seconds)
    assert ledger.calls["backward"] == 2 * 2  # epochs, batches
    assert ledger.calls["optimiser"] == 3 * ledger.calls["backward"]
    batches = len(prediction_batches(works.load(tasks[1], MODEL, None).encode("test", 24).lengths, POSITIONS))
    assert ledger.calls["predict: forward"] == (2 + 1) * batches + 1  # validations, test, the count of FLOPs
    text = profile_run.markdown(
        {"task": "t", "model": {"name": "m"}, "limit": None, "set": "", "precision": "fp32", "calls": ledger.calls}
        | {"machine": report.versions(Device(CPU, "fp32", "")), "seconds": {"forward": 3.0, "score": 1.0}}
        | {"products": 1.5}
    )
    assert "**75.0 % of 4 s is forward, backward and optimiser**" in text and ": 50 % of the time" in text


def test_what_start_up_imports(tmp_path: Path) -> None:
    startup.fill(ROOT / "results" / "embedded", tmp_path, 70)
    contents = Store(tmp_path).read()
    assert len(contents.records) == 70 and not contents.damaged
    assert len({record.cell_digest for record in contents.records}) == 70
    found = startup.imports("-c", "import json")
    assert {"json", "json.decoder"} <= {each["name"] for each in found}
    assert all(each["self"] <= each["cumulative"] for each in found)
    assert {"wall", "processor"} == set(startup.timed("-c", ""))


@pytest.mark.parametrize("axis", ["types of entity", "models"])
def test_growth_is_measured(axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("POSITIONS", 64), ("ROWS", 12), ("TAGGED", 10)):
        monkeypatch.setattr(growth, name, size)
    found = growth.one(axis, 2)
    assert found["seconds"] > 0 and found["peak"] >= 0
    sizes = {"2": {"seconds": 1.0, "peak": 2**20}, "4": {"seconds": 4.0, "peak": 2**21}}
    text = growth.markdown({axis: sizes}, 1, report.versions(Device(CPU, "fp32", "")))
    assert f"| {axis}: 4 | 4.00 | 2.00 | 2 |" in text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_is_measured_on_a_gpu(precision: str, tmp_path: Path) -> None:
    tiny = ("--device", "cpu", "--tiny", "--rounds", "1", "--precision", precision)
    printed = script("cost.gpu", *tiny, "--results", str(tmp_path))
    found = json.loads((tmp_path / "performance" / "gpu.json").read_text(encoding="utf-8"))
    assert found["peak"]["flops_per_second"] > 0 and not found["left_out"]
    ways = {(each["task"], each["way"]) for each in found["fine_tuning"]}
    assert ways == {
        *((task, way) for task in ("xnli", "wikiner") for way in ("padded", "dynamic", "grouped", "flue-bench")),
        ("paws-x", "flue-bench"),
        ("cls", "flue-bench"),
    }
    assert set(found["hours"]) == set(found["prediction"]) == {"xnli", "wikiner", "paws-x", "cls"}
    assert [each["rows"] for each in found["batches"]] == [4, 8]
    ways = {"plain", "fast", "fast, masked rows", "fast, compiled"}
    ways |= {"fast, teacher in bf16", "fast, compiled, teacher in bf16"} if precision == "bf16" else set()
    assert set(found["distillation"]["largest"]) == set(found["distillation"]["seconds"]) == ways
    assert {len(seconds) for seconds in found["compiled"]["seconds"].values()} == {1} and "## Compiled steps" in printed
    assert found["whole"]["rows"] == [64, 16, 16] and found["whole"]["steps"] == 5 * 64 // 4
    assert f"random weights of a tiny shape: a test of the script, {precision}." in printed
    assert (tmp_path / "performance" / "gpu.md").read_text(encoding="utf-8").strip() in printed


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
    found = sources.load(registered, data_dir=shared / "data", offline=True)
    ref: DataRef = found.ref
    assert ref.canonical, ref.deviations
    labels = {example.label for split in found.splits.values() for example in split}
    labelled = registered.task.kind not in ("tokens", "regression")
    assert labels == (set(range(len(registered.task.labels))) if labelled else {-1})
    train = {example.group for example in found.splits["train"]}
    for split in ref.cut:
        assert not train & {example.group for example in found.splits[split]}, f"{split} shares groups with train"


@pytest.mark.shared
def test_positive_reviews_are_positive(shared: Path) -> None:
    registered = registry.select([str(BENCHMARKS / "tasks" / "amazon-books.toml")])[0]
    splits = sources.load(registered, data_dir=shared / "data", offline=True).splits
    praise = {"negative": 0, "positive": 0}
    for example in splits["train"]:
        text = example.text.lower()
        praise[registered.task.labels[example.label]] += "excellent" in text or "magnifique" in text
    assert praise["positive"] > 2 * praise["negative"]


def test_the_difference_of_two_means() -> None:
    # Both have variance 1 and n = 2, so se = 1 and the degrees of freedom are 2: t(0.975; 2) = 4.302653.
    root = 0.5**0.5
    found = compare_scores.difference([5 - root, 5 + root], [3 - root, 3 + root])
    assert found == pytest.approx({"mean": 2.0, "low": 2 - 4.302653, "high": 2 + 4.302653}, abs=1e-6)
    ours, theirs = [81.0, 83.0, 80.0, 82.5], [78.0, 82.0]  # unequal variances: the engine's own interval is no narrower
    means = seeds_and_examples([np.array(ours), np.array(theirs)], np.zeros((6, 6)), clusters=1000)
    low, high = t_interval(estimate(means, [1, -1]))
    welch = compare_scores.difference(ours, theirs)
    parts = np.array([np.var(ours, ddof=1) / 4, np.var(theirs, ddof=1) / 2])
    freedom = parts.sum() ** 2 / (parts**2 / [3, 1]).sum()  # Welch and Satterthwaite
    half = float(t.ppf(0.975, freedom) * parts.sum() ** 0.5)
    assert welch == pytest.approx({"mean": 1.625, "low": 1.625 - half, "high": 1.625 + half})
    assert low <= welch["low"] and welch["high"] <= high
    assert compare_scores.difference([75.0, 75.0], [50.0, 50.0]) == {"mean": 25.0, "low": 25.0, "high": 25.0}
