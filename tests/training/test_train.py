"""The training loop: what it computes, that it can be taken up again, and that it notices trouble."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertForTokenClassification

from flue_bench.errors import ModelError
from flue_bench.kinds.network.network import IGNORED
from flue_bench.kinds.network.tokens import EncodedWords
from flue_bench.recipe import Recipe
from flue_bench.training import checkpoint
from flue_bench.training.batches import training_batches
from flue_bench.training.train import Progress, fine_tune, predict
from support.networks import CONFIG, CPU, accuracy, network, sentences, weights


def test_the_loop_is_the_plain_recipe(tmp_path: Path) -> None:
    """The same weights as AdamW, a linear schedule and clipping from the libraries, written out."""
    from transformers import get_linear_schedule_with_warmup

    data, recipe = sentences(40), Recipe(epochs=2, batch_size=8, learning_rate=1e-3, selection="last")
    ours = network()
    fine_tune(ours, data, recipe, 3, CPU, lambda _: {"accuracy": 0.0}, "accuracy", tmp_path)

    plain = network()
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    vectors = [p for p in plain.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    scheduler = get_linear_schedule_with_warmup(optimizer, 1, 10)
    step = 0
    for epoch in range(2):
        for rows in training_batches(data.lengths, 8, 3, epoch):
            plain.train()
            batch = data.batch(rows, CPU.where)
            with CPU.training(len(rows), batch.inputs["input_ids"].shape[1], seed=3, step=step, first=0):
                F.cross_entropy(plain(**batch.inputs).logits, batch.labels).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
    assert step == 10
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-5, atol=1e-6)


def test_it_learns_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    data = sentences(120)
    model = network()
    scores = iter([0.2, 0.9, 0.9, 0.1])
    seen: list[torch.Tensor] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(weights(model))
        return {"accuracy": next(scores)}

    recipe = Recipe(epochs=4, batch_size=16, learning_rate=3e-3)
    fit = fine_tune(model, data, recipe, 0, CPU, validate, "accuracy", tmp_path)
    assert fit.selected_epoch == 2  # the earlier of two equals
    assert torch.equal(weights(model), seen[1])
    assert not torch.equal(seen[1], seen[3])
    assert [epoch.scores["accuracy"] for epoch in fit.history] == [0.2, 0.9, 0.9, 0.1]
    assert fit.history[-1].train_loss < fit.history[0].train_loss
    assert fit.steps == 32 and fit.examples == 480
    assert fit.real_tokens == 4 * len(data.ids) <= fit.padded_tokens

    last = network()
    fit = fine_tune(last, data, recipe.override({"selection": "last"}), 0, CPU, accuracy(data), "accuracy", tmp_path)
    assert fit.selected_epoch == 4 and torch.equal(weights(last), seen[3])
    assert fit.history[-1].scores["accuracy"] > 0.95


@pytest.mark.parametrize("stop_at", [1, 6, 7, 10])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    """Ctrl-C within an epoch, at its last step, at the first of the next: the same bits as if it had not come."""
    data, recipe = sentences(44), Recipe(epochs=3, batch_size=8, learning_rate=1e-3)
    whole = network()
    expected = fine_tune(whole, data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "whole")

    def interrupt(at: Progress) -> None:
        if at.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fine_tune(network(), data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "cut", interrupt)
    resumed = network(seed=9)  # other weights: all must come from the checkpoint
    seen: list[int] = []
    fit = fine_tune(
        resumed, data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "cut", lambda at: seen.append(at.step)
    )
    assert seen == list(range(stop_at + 1, 19))
    assert torch.equal(weights(resumed), weights(whole))
    assert fit.history == expected.history and fit.selected_epoch == expected.selected_epoch
    assert (fit.resumed, fit.real_tokens, fit.padded_tokens) == (1, expected.real_tokens, expected.padded_tokens)


def test_sigterm_ends_with_143_and_a_checkpoint(tmp_path: Path) -> None:
    def terminate(at: Progress) -> None:
        if at.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    data, before = sentences(40), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        fine_tune(network(), data, Recipe(), 0, CPU, accuracy(data), "accuracy", tmp_path, terminate)
    assert stopped.value.code == 143
    state = checkpoint.load(tmp_path)
    assert state is not None and state["step"] == 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path) -> None:
    data, recipe = sentences(40), Recipe(epochs=1, batch_size=8, learning_rate=1e-3)
    found = []
    for seed in (0, 0, 1):
        model = network()
        fine_tune(model, data, recipe, seed, CPU, accuracy(data), "accuracy", tmp_path)
        found.append(weights(model))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_loss_that_is_not_finite_says_what_to_do(tmp_path: Path) -> None:
    data, model = sentences(40), network()
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"no longer finite in epoch 1.*--set learning_rate"):
        fine_tune(model, data, Recipe(), 0, CPU, accuracy(data), "accuracy", tmp_path)


def test_predict_keeps_the_order_and_does_not_depend_on_batches() -> None:
    data, model = sentences(30), network()
    model.eval()
    together = predict(model, data, CPU)
    for row in (0, 7, 29):
        with torch.inference_mode():
            alone = model(**data.batch([row], CPU.where).inputs).logits.softmax(-1)[0]
        np.testing.assert_allclose(together[row], alone.numpy(), atol=1e-6)


def test_predict_reads_words_at_their_first_subword() -> None:
    torch.manual_seed(0)
    model = BertForTokenClassification(CONFIG).eval()
    # [CLS] w0a w0b w1 [SEP], where the third word was cut off
    data = EncodedWords(
        ids=np.array([1, 10, 11, 12, 2], np.int32),
        offsets=np.array([0, 5]),
        type_ids=None,
        labels=np.array([IGNORED, 0, IGNORED, 2, IGNORED]),
        subwords_per_word=(np.array([2, 1, 0], np.int32),),
        pad_id=0,
        truncated=1,
    )
    (words,) = predict(model, data, CPU)
    with torch.inference_mode():
        positions = model(torch.tensor([[1, 10, 11, 12, 2]])).logits.softmax(-1)[0].numpy()
    np.testing.assert_allclose(words[:2], positions[[1, 3]], atol=1e-6)
    assert not words[2].any()


def test_a_failed_write_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flue_bench.errors import RecordError

    checkpoint.save(tmp_path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RecordError, match="No space left"):
        checkpoint.save(tmp_path, {"step": 2})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt()], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_in_the_middle_of_a_write_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    """It is no fault of the folder, after which the next cell would begin; torch's archive closes with an error."""
    checkpoint.save(tmp_path, {"step": 1})
    write = torch.save

    class Stopping:
        """A file in whose second write the signal comes: the archive is closed after it, and finds too few bytes."""

        writes = 0

        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, content: bytes) -> object:
            Stopping.writes += 1
            if Stopping.writes == 2:
                raise stop
            return self.file.write(content)  # type: ignore[attr-defined]

    monkeypatch.setattr(torch, "save", lambda state, file: write(state, Stopping(file)))
    with pytest.raises(type(stop)):
        checkpoint.save(tmp_path, {"step": torch.zeros(10_000)})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    from flue_bench.errors import RecordError

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / checkpoint.FILE).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RecordError, match="Delete the folder"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "touched").exists()


def test_a_signal_during_validation_is_not_lost(tmp_path: Path) -> None:
    """Even during the last epoch's: the checkpoint is written, and the resumed run has nothing left to train."""
    data = sentences(40)

    def interrupted(model: nn.Module) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"accuracy": 0.5}

    recipe = Recipe(epochs=1, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(network(), data, recipe, 0, CPU, interrupted, "accuracy", tmp_path)
    seen: list[int] = []
    again = fine_tune(
        network(), data, recipe, 0, CPU, interrupted, "accuracy", tmp_path, lambda at: seen.append(at.step)
    )
    assert not seen and again.steps == 5 and again.history[0].scores == {"accuracy": 0.5}


def test_outputs_that_are_not_finite_are_no_score() -> None:
    data, model = sentences(8), network()
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(ModelError, match="outputs are no longer finite"):
        predict(model, data, CPU)
