"""The optimiser's groups and the schedule, against transformers."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from flue_bench.training.optim import adamw, learning_rate_factor, set_learning_rate


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (7, 0), (10, 1), (50, 5), (50, 49), (12, 12)])
def test_the_schedule_is_that_of_transformers_at_every_step(schedule: str, total: int, warmup: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = {
        "linear": lambda: transformers.get_linear_schedule_with_warmup(optimizer, warmup, total),
        "cosine": lambda: transformers.get_cosine_schedule_with_warmup(optimizer, warmup, total),
        "constant": lambda: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
    }[schedule]()
    for step in range(total + 1):
        assert learning_rate_factor(step, total, warmup, schedule) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_the_schedule_by_hand() -> None:
    assert [learning_rate_factor(step, 6, 2, "linear") for step in range(7)] == [0, 0.5, 1, 0.75, 0.5, 0.25, 0]
    assert [learning_rate_factor(step, 6, 2, "constant") for step in range(4)] == [0, 0.5, 1, 1]
    half = 0.5**0.5  # cos 45°
    by_hand = [0, 0.5, 1, (1 + half) / 2, 0.5, (1 - half) / 2, 0]
    assert [learning_rate_factor(step, 6, 2, "cosine") for step in range(7)] == pytest.approx(by_hand, abs=1e-15)


def test_biases_and_norms_do_not_decay() -> None:
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = transformers.BertForSequenceClassification(config)
    model.bert.embeddings.position_embeddings.weight.requires_grad_(False)
    decay, plain = adamw(model, 1e-3, 0.05).param_groups
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = ({names[id(parameter)] for parameter in group["params"]} for group in (decay, plain))
    assert all(name.endswith(".bias") or "LayerNorm" in name for name in others)
    assert not any(name.endswith(".bias") or "LayerNorm" in name for name in decayed)
    assert decayed | others == set(names.values()) - {"bert.embeddings.position_embeddings.weight"}

    trainer_decays = transformers.Trainer.get_decay_parameter_names(None, model)
    assert decayed == set(trainer_decays) - {"bert.embeddings.position_embeddings.weight"}


def test_one_step_by_hand() -> None:
    """First step of AdamW (Loshchilov and Hutter 2019): w (1 - lr · decay) - lr · g / (|g| + eps)."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(2.0)
    optimizer = adamw(model, 1.0, 0.1)
    set_learning_rate(optimizer, 0.5)
    model.weight.grad, model.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), -3.0)
    optimizer.step()
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.5 * 0.1) - 0.5)
    assert model.bias.item() == pytest.approx(2.0 + 0.5)
