"""A teacher's soft labels in the loss of a task: by hand, against plain PyTorch for each kind, and in the loop."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

import flue_bench
from flue_bench.kinds.network.network import Encoded, network_of
from flue_bench.recipe import Recipe
from flue_bench.task import Task
from flue_bench.training import models
from flue_bench.training.soft_labels import SoftLabels
from flue_bench.training.train import Progress, add_gradient, fine_tune, predict
from support.networks import CPU, accuracy, network, sentences, weights
from support.taught import TASKS
from support.tiny import tiny

T, ALPHA = 3.0, 0.3


def test_soft_beside_hard_labels_by_hand() -> None:
    """At T = 2 the teacher says (3/4, 1/4), the student (1/2, 1/2), whose label has the probability 1/2."""
    data = replace(sentences(1), labels=np.zeros(1, np.int64))
    batch = data.batch([0], torch.device("cpu"))
    soft = SoftLabels([np.array([2 * math.log(3), 0], np.float32)], temperature=2.0, alpha=0.25)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = soft.loss(SequenceClassifierOutput(logits=torch.zeros(1, 2)), data, batch, [0])
    assert loss.item() == pytest.approx(0.75 * math.log(2) + 0.25 * 4 * divergence, rel=1e-6)


def divergence(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """The cross-entropy with the teacher's probabilities, less their entropy: over the last axis, plainly."""
    p = (teacher.double() / T).softmax(-1)
    log_q = (student.double() / T).log_softmax(-1)
    return float(T**2 * (p * (p.log() - log_q)).sum())


def of_row(kind: str, row: int, ours: Any, theirs: Any, student: Encoded, teacher: Encoded) -> float:
    """The soft loss of one row, from the outputs of both networks on this row alone."""
    if kind == "regression":
        return float((ours.logits[0, 0] - theirs.logits[0, 0]).double().square())
    if kind == "multi-label":
        z, p = ours.logits[0].double() / T, (theirs.logits[0].double() / T).sigmoid()
        entropy = F.binary_cross_entropy(p, p, reduction="sum")
        return float(T**2 * (F.binary_cross_entropy_with_logits(z, p, reduction="sum") - entropy))
    if kind == "multiple-choice":
        return divergence(ours.logits[:, 0], theirs.logits[:, 0])
    if kind == "question-answering":
        both = (ours.start_logits, theirs.start_logits), (ours.end_logits, theirs.end_logits)
        return sum(divergence(one[0], other[0]) for one, other in both)
    if kind == "tokens":
        places = []
        for data in student, teacher:
            counts = np.asarray(data.subwords_per_word[row])  # type: ignore[attr-defined]
            begins = np.cumsum(counts) - counts
            special = (data.lengths[row] - counts.sum()) // 2  # as many before the words as after them
            places.append(begins + special)
        return sum(
            divergence(ours.logits[0, i], theirs.logits[0, j])
            for i, j in zip(*map(np.ndarray.tolist, places), strict=True)
        )
    return divergence(ours.logits[0], theirs.logits[0])


def loaded(task: Task, kind: str, folder: Path, seed: int) -> tuple[Any, Encoded]:
    """A tiny network with a head far from 0, and train as it reads it."""
    model = models.resolve(str(tiny(kind, folder / f"{kind}{seed}", seed=seed)))
    made = models.load_model(model, task, seed=seed, dropout=None).network
    for parameter in [p for name, p in made.named_parameters() if not name.startswith(made.base_model_prefix)]:
        std = 1000.0 if task.kind == "multiple-choice" else 0.7  # the choices of one text read nearly alike
        torch.nn.init.normal_(parameter, std=std, generator=torch.Generator().manual_seed(seed))
    examples = flue_bench.load_data(task, progress=False).splits["train"]
    return made.eval(), network_of(task).encode(examples, task, models.load_tokenizer(model), 48)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_each_kind_against_plain_torch(task: Task, tmp_path: Path) -> None:
    """The loss of a padded batch is that of its rows, each alone; the teacher reads with a tokenizer of its own."""
    other = "camembert" if task.kind == "question-answering" else "bert"
    student, data = loaded(task, "camembert", tmp_path, seed=0)
    teacher, theirs = loaded(task, other, tmp_path, seed=1)
    soft = SoftLabels(data.taught(theirs, predict(teacher, theirs, CPU, read=theirs.scores)), T, ALPHA)
    rows = [3, 0, 7, 12]
    with torch.no_grad():
        batch = data.batch(rows, torch.device("cpu"))
        outputs = student(**batch.inputs)
        hard, together = data.loss(outputs, batch), soft.loss(outputs, data, batch, rows)
        plainly = 0.0
        for row in rows:
            ours, said = (
                model(**of.batch([row], torch.device("cpu")).inputs)
                for model, of in ((student, data), (teacher, theirs))
            )
            plainly += of_row(task.kind, row, ours, said, data, theirs)
    assert plainly > 0.005  # the two differ, by how much depends on the processor: so do random weights
    assert together.item() == pytest.approx((1 - ALPHA) * hard.item() + ALPHA * plainly, rel=1e-4)
    assert soft.lacking == 0
    with torch.no_grad():  # of the student's own, nothing is lost
        itself = SoftLabels(data.taught(data, predict(student, data, CPU, read=data.scores)), T, 1.0)
        assert itself.loss(outputs, data, batch, rows).item() == pytest.approx(0, abs=1e-4)


def test_the_gradient_for_sets_of_labels_is_that_of_soft_binary_targets() -> None:
    """T² · BCE(sigmoid(z / T), sigmoid(t / T)): the teacher's entropy, which is left out of the value, has none."""
    from flue_bench.kinds.network.multi_label import EncodedLabels
    from flue_bench.training.soft_labels import distil_loss

    data = EncodedLabels(**vars(replace(sentences(2), labels=np.zeros((2, 3), bool))))
    scores = [np.array([2.0, -1, 0], np.float32), np.array([-3.0, 0.5, 1], np.float32)]
    z = torch.tensor([[0.1, -0.2, 0.3], [1.0, 2.0, -1.0]], requires_grad=True)
    batch = data.batch([0, 1], torch.device("cpu"))
    ours = distil_loss(*data.beside(SequenceClassifierOutput(logits=z), batch, [0, 1], scores), T)
    targets = (torch.tensor(np.stack(scores)) / T).sigmoid()
    plain = T**2 * F.binary_cross_entropy_with_logits(z / T, targets, reduction="sum")
    assert torch.allclose(*(torch.autograd.grad(loss, z)[0] for loss in (ours, plain)), atol=1e-6)


def test_a_word_that_the_teacher_does_not_see_has_its_label_alone(tmp_path: Path) -> None:
    task = next(task for task in TASKS if task.kind == "tokens")
    student, data = loaded(task, "camembert", tmp_path, seed=0)
    teacher, _ = loaded(task, "bert", tmp_path, seed=1)
    examples = flue_bench.load_data(task, progress=False).splits["train"]
    tokenizer = models.load_tokenizer(models.resolve(str(tmp_path / "bert1")))
    cut = network_of(task).encode(examples, task, tokenizer, 12)  # the last words are lost to it
    assert cut.lost_words
    scores = data.taught(cut, predict(teacher, cut, CPU, read=cut.scores))
    assert SoftLabels(scores, T, ALPHA).lacking == cut.lost_words
    batch = data.batch([0, 1], torch.device("cpu"))
    with torch.no_grad():
        outputs = student(**batch.inputs)
        ours, theirs = data.beside(outputs, batch, [0, 1], [scores[0], scores[1]])
        loss = SoftLabels(scores, T, ALPHA).loss(outputs, data, batch, [0, 1])
    seen = sum(int((cut.subwords_per_word[row] > 0).sum()) for row in (0, 1))  # type: ignore[attr-defined]
    assert len(ours) == len(theirs) == seen < int(data.terms(batch))
    assert torch.isfinite(loss)


def lesson(data: Encoded, alpha: float = 0.5) -> SoftLabels:
    return SoftLabels(predict(network(seed=5), data, CPU, read=data.scores), 2.0, alpha)


def test_cutting_a_batch_changes_only_rounding() -> None:
    """Each part of a batch meets the soft labels of its own rows."""
    data = sentences(8)
    soft, rows = lesson(data), [5, 2, 7, 0, 1, 6, 3, 4]
    gradients = []
    for at_once in (8, 3):
        model = network().eval()  # on a CPU, parts of a batch draw dropout otherwise
        add_gradient(model, data, rows, at_once, CPU, seed=0, step=0, dropout=False, soft=soft)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_an_interrupted_run_with_a_teacher_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Its soft labels are computed again, and are the same bits."""
    data, recipe = sentences(44), Recipe(epochs=3, batch_size=8, learning_rate=1e-3)

    def trained(folder: Path, seed: int, show: Any = lambda _: None) -> torch.Tensor:
        model = network(seed)
        fine_tune(model, data, recipe, 1, CPU, accuracy(data), "accuracy", folder, show, soft=lesson(data))
        return weights(model)

    def interrupt(at: Progress) -> None:
        if at.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained(tmp_path / "whole", 0)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", 0, interrupt)
    assert torch.equal(trained(tmp_path / "cut", 9), whole)
    plain = network()
    fine_tune(plain, data, recipe, 1, CPU, accuracy(data), "accuracy", tmp_path / "plain")
    assert not torch.equal(weights(plain), whole)


def test_a_student_moves_towards_its_teacher(tmp_path: Path) -> None:
    """The labels of train say nothing, its teacher knows the rule: by soft labels the student says what it says."""
    rule, unseen = sentences(160), sentences(200, seed=1)
    teacher = network(seed=3)
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=3e-3, selection="last")
    fine_tune(teacher, rule, recipe, 0, CPU, accuracy(rule), "accuracy", tmp_path / "teacher")
    noise = replace(rule, labels=np.random.RandomState(0).randint(0, 3, 160).astype(np.int64))
    said = [row.argmax() for row in predict(teacher, unseen, CPU)]

    def agreement(alpha: float) -> float:
        soft = SoftLabels(predict(teacher, noise, CPU, read=noise.scores), 2.0, alpha) if alpha else None
        student = network(seed=4)
        folder = tmp_path / f"student{alpha}"
        fine_tune(student, noise, recipe, 0, CPU, accuracy(noise), "accuracy", folder, soft=soft)
        return float(np.mean([row.argmax() for row in predict(student, unseen, CPU)] == np.array(said)))

    assert agreement(1.0) > 0.9
    assert agreement(0.0) < 0.6
