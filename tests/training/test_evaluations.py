"""When a training is evaluated on validation, and when it ends: by steps, by patience, and the same after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

import flue_bench
from flue_bench.errors import IncompleteError, UsageError
from flue_bench.recipe import Recipe
from flue_bench.training.train import Fit, Progress, fine_tune
from support.networks import CPU, accuracy, network, sentences, weights
from support.taught import BY_NAME

ROWS, BATCH = 44, 8  # 6 steps an epoch


def trained(
    recipe: Recipe, scores: list[float], folder: Path, kill: int | None = None, model: nn.Module | None = None
) -> Fit:
    """Train with the scores that validation gives in turn; a signal comes while the one of this number is computed."""

    def validate(model: nn.Module) -> dict[str, float]:
        number = next(at for at, each in enumerate(seen) if each is None)
        seen[number] = scores[number]
        if number == kill:
            os.kill(os.getpid(), signal.SIGINT)
        return {"accuracy": scores[number]}

    from flue_bench.training import checkpoint

    before = checkpoint.load(folder)
    done = len(before["history"]) if before else 0
    seen: list[float | None] = [*scores[:done], *([None] * (len(scores) - done))]
    return fine_tune(model or network(), sentences(ROWS), recipe, 1, CPU, validate, "accuracy", folder)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"epochs": 2}, [6, 12]),
        ({"epochs": 2, "evaluate_steps": 5}, [5, 10, 12]),
        ({"epochs": 2, "evaluate_steps": 6}, [6, 12]),
        ({"epochs": 2, "evaluate_steps": 100}, [12]),
        ({"epochs": 2, "max_steps": 8}, [6, 8]),
        ({"epochs": 2, "max_steps": 50}, [6, 12]),
        ({"max_steps": 8, "evaluate_steps": 3}, [3, 6, 8]),
        ({"epochs": 1, "max_steps": 1}, [1]),
    ],
)
def test_the_steps_after_which_it_is_evaluated(fields: dict[str, Any], steps: list[int], tmp_path: Path) -> None:
    recipe = Recipe(batch_size=BATCH, **fields)
    fit = trained(recipe, [0.5] * len(steps), tmp_path)
    assert [epoch.step for epoch in fit.history] == steps and fit.steps == steps[-1] == recipe.steps_on(ROWS)
    assert [epoch.epoch for epoch in fit.history] == list(range(1, len(steps) + 1))
    assert [step for step in range(20) if recipe.evaluated(step, ROWS)] == steps


def test_auto_epochs_are_as_many_as_max_steps_take() -> None:
    assert Recipe(batch_size=8, max_steps=10_000).epochs_on(1024) == 79  # 128 steps an epoch: 78.125
    assert Recipe(batch_size=8, max_steps=128).epochs_on(1024) == 1
    assert Recipe(batch_size=8, max_steps=10_000_000).epochs_on(8) == 100_000
    assert Recipe(batch_size=8, epochs=2, max_steps=10_000).steps_on(1024) == 256
    assert Recipe(batch_size=8, max_steps=10_000).steps_on(1024) == 10_000


def test_the_mean_loss_is_that_of_the_steps_since_the_evaluation_before(tmp_path: Path) -> None:
    """No step moves a weight, and without dropout a step's loss is that of its rows: means of means by hand."""
    fields = {"batch_size": 11, "epochs": 1, "learning_rate": 1e-12, "dropout": 0.0}
    each = trained(Recipe(**fields, evaluate_steps=1), [0.5] * 4, tmp_path / "each")
    two = trained(Recipe(**fields, evaluate_steps=3), [0.5] * 2, tmp_path / "two")
    losses = [epoch.train_loss for epoch in each.history]
    assert [epoch.train_loss for epoch in two.history] == pytest.approx([np.mean(losses[:3]), losses[3]], rel=1e-6)
    assert len(set(losses)) == 4


class Told(Trainer):
    """Transformers' own loop, with scores that are given."""

    scores: list[float]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_accuracy": self.scores.pop(0)}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def of_transformers(scores: list[float], patience: int, folder: Path) -> tuple[int, int]:
    """Steps done and the step of the best weights by ``EarlyStoppingCallback`` in ``Trainer``."""
    data = sentences(ROWS)
    rows = [
        {"input_ids": data.ids[a:b].tolist() + [0] * (12 - (b - a)), "labels": int(label)}
        for a, b, label in zip(data.offsets[:-1], data.offsets[1:], data.labels, strict=True)
    ]
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=2 * len(scores),
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    callbacks = [EarlyStoppingCallback(early_stopping_patience=patience)]
    trainer = Told(network(), args, train_dataset=rows, eval_dataset=rows[:1], callbacks=callbacks)
    trainer.scores = list(scores)
    trainer.train()
    return trainer.state.global_step, int(str(trainer.state.best_model_checkpoint).rpartition("-")[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scores", "patience"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.9, 0.9], 2),  # equal is no better
        ([0.5, 0.4, 0.6, 0.5, 0.7, 0.1], 2),  # every better one starts anew
        ([0.3, 0.2, 0.1, 0.4, 0.4, 0.4], 3),
        ([0.9, 0.8, 0.8, 0.8, 0.8, 0.8], 1),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1),  # never
    ],
)
def test_patience_is_that_of_transformers(scores: list[float], patience: int, tmp_path: Path) -> None:
    recipe = Recipe(batch_size=BATCH, max_steps=2 * len(scores), evaluate_steps=2, patience=patience)
    fit = trained(recipe, scores, tmp_path / "ours")
    best = fit.history[fit.selected_epoch - 1]
    assert (fit.steps, best.step) == of_transformers(scores, patience, tmp_path / "theirs")


def test_patience_in_epochs_and_what_is_scored(tmp_path: Path) -> None:
    scores = [0.2, 0.7, 0.6, 0.5, 0.9]
    recipe = Recipe(batch_size=BATCH, epochs=5, patience=2)
    fit = trained(recipe, scores, tmp_path / "best")
    assert (fit.steps, fit.selected_epoch, len(fit.history)) == (24, 2, 4)
    last = trained(recipe.override({"selection": "last"}), scores, tmp_path / "last")
    assert (last.steps, last.selected_epoch) == (24, 4)


@pytest.mark.parametrize("kill", range(6))
def test_a_kill_at_every_evaluation_gives_the_same_stop(tmp_path: Path, kill: int) -> None:
    scores = [0.1, 0.5, 0.4, 0.6, 0.6, 0.5, 0.9, 0.9]
    recipe = Recipe(batch_size=BATCH, learning_rate=1e-3, schedule="cosine", max_steps=40, evaluate_steps=5, patience=2)
    whole = network()
    expected = trained(recipe, scores, tmp_path / "whole", model=whole)
    assert (expected.steps, expected.selected_epoch, len(expected.history)) == (30, 4, 6)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, scores, tmp_path / "cut", kill=kill)
    resumed = network(seed=9)
    fit = trained(recipe, scores, tmp_path / "cut", model=resumed)
    assert torch.equal(weights(resumed), weights(whole))
    assert fit.history == expected.history
    assert (fit.steps, fit.selected_epoch, fit.resumed) == (expected.steps, expected.selected_epoch, 1)


@pytest.mark.parametrize("stop_at", [4, 5, 6, 10, 12, 13])
def test_a_kill_between_a_step_and_its_evaluation(tmp_path: Path, stop_at: int) -> None:
    data = sentences(ROWS)
    recipe = Recipe(batch_size=BATCH, learning_rate=1e-3, max_steps=13, evaluate_steps=5)
    whole, resumed = network(), network(seed=9)
    expected = fine_tune(whole, data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "whole")

    def interrupt(at: Progress) -> None:
        if at.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fine_tune(network(), data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "cut", interrupt)
    fit = fine_tune(resumed, data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "cut")
    assert fit.history == expected.history and torch.equal(weights(resumed), weights(whole))


def test_more_evaluations_than_a_record_holds_are_refused_before_the_training(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": "auto", "max_steps": 200_001, "evaluate_steps": 1}
    with pytest.raises(IncompleteError) as error:
        flue_bench.run("embedded:untrained", "mini-cls", overrides=settings, results=tmp_path, progress=False)
    assert "200,001 evaluations on validation, and a record holds 100,000: use --set evaluate_steps=3" in str(
        error.value
    )
    assert len(Recipe(**settings | {"evaluate_steps": 3}).evaluations_on(100)) + 1 <= 100_000


def test_windows_of_long_contexts_are_the_rows_of_an_epoch(tmp_path: Path) -> None:
    """There are more of them than examples, and verify counts steps and evaluations as the training did."""
    recipe = {"max_length": 16, "batch_size": 4, "max_steps": 20, "evaluate_steps": 9, "learning_rate": 1e-3}
    asked: dict[str, Any] = {"overrides": recipe, "device": "cpu", "results": tmp_path, "progress": False}
    (record,) = flue_bench.run("embedded:untrained", BY_NAME["questions"], **asked)
    assert record.truncation.windows["train"] == record.rows_an_epoch > record.data.rows["train"] == 16
    assert [epoch.step for epoch in record.history] == [9, 18, 20]
    plain = {"max_length": 16, "batch_size": 4, "epochs": 2, "evaluate_steps": 7}
    flue_bench.run("embedded:untrained", BY_NAME["questions"], **asked | {"overrides": plain})
    assert [each.faults for each in flue_bench.verify_records(tmp_path, progress=False)] == [(), ()]


def test_at_their_defaults_the_fields_are_in_no_record() -> None:
    assert not {"max_steps", "evaluate_steps", "patience"} & Recipe().model_dump().keys()
    used = Recipe(max_steps=5, evaluate_steps=2, patience=1)
    assert Recipe.model_validate(used.model_dump()) == used and not used.of_01
    assert Recipe().of_01 and Recipe(schedule="constant").of_01 and not Recipe(schedule="cosine").of_01
    assert Recipe().override({"patience": "3"}).patience == 3
    assert Recipe(patience=3, dropout=0.1).override({"patience": "none", "dropout": "None"}) == Recipe()
    for field, wrong in (
        ("patience", "0"),
        ("max_steps", "-1"),
        ("evaluate_steps", "x"),
        ("schedule", "cosinus"),
        ("epochs", "none"),
    ):
        with pytest.raises(UsageError, match=f"'{field}' cannot be"):
            Recipe().override({field: wrong})
