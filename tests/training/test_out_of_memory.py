"""Out of memory on the device, raised by a hook: smaller parts, the same gradient, and the record says so."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForTokenClassification

from flue_bench.data import registry
from flue_bench.jobs.grid import Grid, Outcome, run_grid
from flue_bench.kinds.network.network import IGNORED
from flue_bench.kinds.network.tokens import EncodedWords
from flue_bench.progress import Console, Display
from flue_bench.recipe import Recipe
from flue_bench.results.store import Store
from flue_bench.training import checkpoint
from flue_bench.training.train import Progress, add_gradient, fine_tune, predict
from support.bad_files import SENTENCE, put, tsv
from support.networks import CONFIG, CPU, accuracy, network, sentences, weights


@contextmanager
def room_for(rows: int, since: int = 0, training: bool = True) -> Iterator[None]:
    """A device that holds so many rows of a training step, or of a prediction, from the forward pass of this number."""
    seen = 0

    def hook(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal seen
        if isinstance(module, torch.nn.Embedding) and module.training == training and module.padding_idx is not None:
            seen += 1
            if seen > since and len(inputs[0]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def tagged() -> EncodedWords:
    """Sentences whose rows have very different numbers of labels: a mean of means would be another gradient."""
    data = sentences(11)
    labels = np.full(len(data.ids), IGNORED, dtype=np.int64)
    for row in range(len(data)):
        start, end = data.offsets[row], data.offsets[row + 1]
        labels[start : end : 1 + row % 4] = row % 3
    counts = tuple(np.ones(length, dtype=np.int32) for length in data.lengths)
    return EncodedWords(data.ids, data.offsets, None, labels, data.pad_id, 0, counts)


@pytest.mark.parametrize("at_once", [1, 3, 8])
@pytest.mark.parametrize("kind", ["sentence", "tokens"])
def test_the_gradient_does_not_depend_on_the_parts(kind: str, at_once: int) -> None:
    """With dropout, in float64; the loss itself is taken in float32 always, which bounds how near they can come."""
    data = sentences(11) if kind == "sentence" else tagged()
    torch.manual_seed(0)
    model = (network() if kind == "sentence" else BertForTokenClassification(CONFIG)).double().train()

    def gradient(parts: int) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        loss, real, padded = add_gradient(model, data, np.arange(11), parts, CPU, 1, 2)
        assert real == len(data.ids) <= padded
        return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (loss, whole), (loss_of_parts, in_parts) = gradient(11), gradient(at_once)
    assert whole.dtype == torch.float64 and whole.norm() > 0.1
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)
    assert (in_parts - whole).norm() / whole.norm() < 1e-6


def test_a_run_short_of_memory_ends_with_the_same_weights(tmp_path: Path) -> None:
    data, recipe = sentences(40), Recipe(epochs=2, batch_size=8, learning_rate=1e-3)
    roomy, narrow = network(), network()
    fit = fine_tune(roomy, data, recipe, 3, CPU, accuracy(data), "accuracy", tmp_path / "a")
    assert fit.rows_at_once == 8
    with room_for(3, since=2):  # the first two steps still fit
        fit = fine_tune(narrow, data, recipe, 3, CPU, accuracy(data), "accuracy", tmp_path / "b")
    assert fit.rows_at_once == 2 and fit.steps == 10
    torch.testing.assert_close(weights(narrow), weights(roomy), rtol=1e-4, atol=1e-6)


def test_a_resumed_run_keeps_to_the_parts(tmp_path: Path) -> None:
    data, recipe = sentences(40), Recipe(epochs=1, batch_size=8)

    def interrupt(at: Progress) -> None:
        if at.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with room_for(4), pytest.raises(KeyboardInterrupt):
        fine_tune(network(), data, recipe, 3, CPU, accuracy(data), "accuracy", tmp_path, interrupt)
    assert (checkpoint.load(tmp_path) or {})["rows_at_once"] == 4
    fit = fine_tune(network(), data, recipe, 3, CPU, accuracy(data), "accuracy", tmp_path)
    assert fit.resumed == 1 and fit.rows_at_once == 4


@pytest.mark.parametrize("kind", ["sentence", "tokens"])
def test_predictions_short_of_memory_are_the_same(kind: str) -> None:
    data = sentences(40) if kind == "sentence" else replace(tagged(), labels=np.zeros(len(tagged().ids), np.int64))
    torch.manual_seed(0)
    model = network() if kind == "sentence" else BertForTokenClassification(CONFIG)
    roomy = predict(model, data, CPU)
    cuts: list[int] = []
    with room_for(1, training=False):
        narrow = predict(model, data, CPU, cuts.append)
    assert len(narrow) == len(data) and cuts and cuts[-1] == 1
    for one, other in zip(roomy, narrow, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with room_for(0, training=False), pytest.raises(torch.OutOfMemoryError):
        predict(model, data, CPU)


def test_not_even_one_row(tmp_path: Path) -> None:
    data = sentences(16)
    with room_for(0), pytest.raises(torch.OutOfMemoryError):
        fine_tune(network(), data, Recipe(), 0, CPU, accuracy(data), "accuracy", tmp_path)


def test_the_record_says_so(tmp_path: Path) -> None:
    task = str(put(tmp_path, SENTENCE, "d.tsv", tsv()))
    shown = io.StringIO()

    def run(name: str) -> Outcome:
        grid = Grid(["embedded:untrained"], registry.select([task]), [0], device="cpu", precision="fp32")
        return run_grid(grid, Store(tmp_path / name), Display(Console(file=shown, width=200)))

    whole = run("whole").records[0]
    with room_for(3):
        (record,) = run("parts").records
    says = "memory ran out with 4 rows at once: each step added up gradients of 2 rows at a time, over the same rows"
    assert says in record.environment.notes and says in shown.getvalue()
    assert not any("memory" in note for note in whole.environment.notes)
    assert record.cell_digest == whole.cell_digest  # the same experiment
    with room_for(3, training=False):
        (predicted,) = run("predicted").records
    assert predicted.predictions.sha256 == whole.predictions.sha256  # probabilities to four decimals
    assert "memory ran out in prediction: 2 rows at once, which changes rounding alone" in predicted.environment.notes
    with room_for(0):
        outcome = run("none")
    assert "out of memory on the device with batch_size 4 at max_length 32" in outcome.failures[0].error
    assert "--set max_length" in outcome.failures[0].error
