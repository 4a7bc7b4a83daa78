"""The distillation checks of ``flue-bench doctor --self-test``: the fast loss against the plain one, and resuming."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM, raise_signal
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from flue_bench.plugins import Finding
from flue_bench.training.checks import near, same_bits
from flue_bench.training.device import prepare
from flue_distill.training.data import Data
from flue_distill.training.masking import IGNORED
from flue_distill.training.objective import LossParts, Rows, fast, plain
from flue_distill.training.recipe import DistilRecipe, LossWeights
from flue_distill.training.student import MaskedLM, Teacher, from_config, student_of
from flue_distill.training.trainer import Together, processes, train

SEQUENCES, LENGTH, HIDDEN, VOCABULARY, TEMPERATURE = 4, 64, 128, 2000, 2.0
STEPS = 6
TOLERANCE = 1e-4
"""The most relative distance of float32 gradients whose sums were added in another order."""


def distillation(device: torch.device) -> Iterator[Finding]:
    """Yield whether both forms of the loss have one gradient, and whether a resumed training ends as a whole one.

    Args:
        device: as ``flue_bench.training.device.pick_device`` gives it.
    """
    yield near("plain loss = fast loss", "fp32", *_gradients(device), TOLERANCE)
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as folder:
        whole = _distilled(device, Path(folder) / "whole")
        resumed = _distilled(device, Path(folder) / "resumed", stop=STEPS // 2)
    yield same_bits("resumed distillation = uninterrupted", "fp32", whole, resumed, device)


def _gradients(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a random batch's gradients by ``fast`` and ``plain``: (values of hidden states, projection and bias,)."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(device)

    masked = (torch.rand(SEQUENCES, LENGTH, generator=random) < 0.15).to(device)
    tokens = torch.randint(VOCABULARY, (SEQUENCES, LENGTH), generator=random).to(device)
    labels, real = torch.where(masked, tokens, IGNORED), torch.ones_like(masked)
    order = torch.cat([masked.flatten().nonzero()[:, 0], (~masked).flatten().nonzero()[:, 0]])
    counts = LossParts(SEQUENCES * LENGTH, int(masked.sum()), SEQUENCES * LENGTH)
    sizes = (SEQUENCES, LENGTH, HIDDEN), (VOCABULARY, HIDDEN), (VOCABULARY,)
    leaves, teacher = ([normal(*size) / HIDDEN**0.25 for size in sizes] for _ in range(2))
    for leaf in leaves:
        leaf.requires_grad_()

    def outputs(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, hidden @ weight.T + bias

    def rows(hidden: Tensor, weight: Tensor, bias: Tensor) -> Rows:
        flat = hidden.flatten(0, 1)[order]
        return Rows(flat, flat, weight, bias)

    quick, _ = fast(
        rows(*leaves), rows(*teacher), tokens.flatten()[order[: counts.mlm]], counts, LossWeights(), TEMPERATURE
    )
    slow, _ = plain(outputs(*leaves), outputs(*teacher), labels, real, counts, LossWeights(), TEMPERATURE, "all")
    quickly, wanted = (
        torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, leaves)]) for loss in (quick, slow)
    )
    return quickly, wanted


def _distilled(device: torch.device, folder: Path, stop: int | None = None) -> dict[str, Tensor]:
    """Return the weights of a tiny student after ``STEPS`` steps; SIGTERM is sent after step ``stop``."""
    settings: dict[str, Any] = {"teacher": "t", "length": 16, "batch_sequences": 8, "micro_batch": 4}
    recipe = DistilRecipe(**settings, precision="fp32", steps=STEPS, evaluate_sequences=8)
    config = transformers.CamembertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    ids = np.random.RandomState(0).randint(5, 40, (60, 16)).astype(np.int64)
    data = Data(list(ids[8:]), list(ids[:8]), np.bincount(ids.ravel(), minlength=40), {0, 1, 2, 3, 4}, 1, 4)

    def once(stop: int | None) -> nn.Module:
        teacher = from_config(config, 0)
        student = MaskedLM(student_of(teacher)[0].to(device))

        def interrupt(step: int, steps: int, line: dict[str, float]) -> None:
            if step == stop:
                raise_signal(SIGTERM)

        taught = Teacher(teacher.to(device), torch.float32)
        settled = prepare(device, "fp32", config.hidden_size)
        with Together(processes(str(device))) as together:
            train(student, taught, data, recipe, together, settled, folder, {}, interrupt)
        return student

    if stop is not None:
        try:
            once(stop)
        except SystemExit:
            pass
        else:
            raise RuntimeError("a distillation that got SIGTERM did not stop")
    return {name: value.detach().cpu() for name, value in once(None).state_dict().items()}
