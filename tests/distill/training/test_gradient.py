"""The gradient of the logits, written by hand: autograd is its oracle; neither padding nor a compiler changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from flue_bench.training.soft_labels import distil_loss
from flue_distill.training import objective
from flue_distill.training.objective import LossParts, Rows, descend, fast, low_copy, mlm_loss, project
from flue_distill.training.recipe import LossWeights

BF16_BOUND = 2.0**-8
"""The most relative distance of one value rounded to bf16 from the value: half a unit of its 8 bits."""


def by_hand(
    logits: Tensor, target: Tensor | None, labels: Tensor | None, temperature: float, slopes: tuple[float, float]
) -> tuple[Tensor, ...]:
    """Gradient, bias gradient and both sums of ``descend``; its input stays as it is."""
    work = logits.clone()
    wide = torch.float32 if logits.dtype in (torch.bfloat16, torch.float16) else logits.dtype
    d_bias = torch.zeros(logits.shape[1], dtype=wide)
    of_distil, of_mlm = (torch.tensor(slope, dtype=wide) for slope in slopes)
    return work, d_bias, *descend(work, target, labels, temperature, of_distil, of_mlm, d_bias)


def by_autograd(
    logits: Tensor, target: Tensor | None, labels: Tensor | None, temperature: float, slopes: tuple[float, float]
) -> tuple[Tensor, ...]:
    """The same in float64, from the losses as they are written down."""
    leaf = logits.double().detach().requires_grad_()
    zero = leaf.sum() * 0
    distil = zero if target is None else distil_loss(leaf, target.double(), temperature)
    mlm = zero if labels is None else mlm_loss(leaf, labels)
    (gradient,) = torch.autograd.grad(slopes[0] * distil + slopes[1] * mlm, leaf)
    return gradient, gradient.sum(0), distil.detach(), mlm.detach()


def near(found: Tensor, wanted: Tensor, relative: float, absolute: float = 0.0) -> None:
    found, wanted = found.detach().double(), wanted.detach().double()
    distance, size = float((found - wanted).norm()), float(wanted.norm())
    assert distance <= relative * size + absolute, f"{distance:.2g} of {size:.2g}"


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 7),
    vocab=st.integers(2, 40),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    size=st.sampled_from([0.1, 3.0, 40.0]),
    parts=st.sampled_from(["both", "distil", "mlm"]),
)
def test_it_is_autograds(seed: int, rows: int, vocab: int, temperature: float, size: float, parts: str) -> None:
    random = torch.Generator().manual_seed(seed)
    ours, theirs = (size * torch.randn(rows, vocab, generator=random, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(vocab, (rows,), generator=random) if parts != "distil" else None
    # Of a probability p = exp(z - log Σ exp z), float32 knows z to 2^-24 of it, so p to |z| times that.
    for dtype, rounding, bound in (
        (torch.float64, 0.0, 1e-11),
        (torch.float32, 0.0, 3e-5),
        (torch.bfloat16, BF16_BOUND, 3e-5),  # the logits are bf16 and so is what comes back; between them is float32
    ):
        logits, target = ours.to(dtype), theirs.to(dtype) if parts != "mlm" else None
        found = by_hand(logits, target, labels, temperature, (0.5, 0.2))
        wanted = by_autograd(logits, target, labels, temperature, (0.5, 0.2))
        near(found[0], wanted[0], rounding, bound)
        for each, other in zip(found[1:], wanted[1:], strict=True):
            near(each, other, bound, bound)


def test_a_student_that_is_its_teacher_has_no_gradient() -> None:
    logits = 30 * torch.randn(5, 301, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        gradient, d_bias, distil, _ = by_hand(logits.to(dtype), logits.to(dtype), None, 2.0, (0.5, 0.2))
        assert not gradient.any() and not d_bias.any() and distil == 0


@pytest.mark.parametrize("high", [1e4, 6e4])
def test_extremes_are_finite(high: float) -> None:
    """Probabilities of 0 and 1 on either side: what is log p there is multiplied with 0 or is far from 0, never NaN."""
    logits = torch.tensor([[high, -high, 0.0, 0.0], [0.0, high, high, -high]])
    target = torch.tensor([[-high, high, 0.0, 0.0], [high, high, 0.0, -high]])
    found = by_hand(logits, target, torch.tensor([1, 0]), 2.0, (0.5, 0.2))
    wanted = by_autograd(logits, target, torch.tensor([1, 0]), 2.0, (0.5, 0.2))
    for each, other in zip(found, wanted, strict=True):
        assert each.isfinite().all()
        torch.testing.assert_close(each.double(), other, rtol=1e-6, atol=1e-7)


def models(rows: int, hidden: int, vocab: int) -> tuple[Rows, Rows]:
    random = torch.Generator().manual_seed(0)
    made = []
    for _ in range(2):
        flat = torch.randn(rows, hidden, generator=random)
        weight, bias = torch.randn(vocab, hidden, generator=random) / 4, torch.randn(vocab, generator=random)
        made.append(Rows(flat, flat, weight, bias))
    for each in (made[0].hidden, made[0].weight, made[0].bias):
        each.requires_grad_()
    return made[0], made[1]


def step(low: torch.dtype, masked: int, compiled: bool = False, rows: int = 60, vocab: int = 333) -> list[Tensor]:
    """Loss, parts and gradients of a step in this precision."""
    student, teacher = models(rows, 32, vocab)
    teacher = teacher._replace(weight=low_copy(teacher.weight, low))
    labels = torch.arange(masked)
    with torch.autocast("cpu", dtype=low, enabled=low != torch.float32):
        loss, parts = fast(
            student, teacher, labels, LossParts(rows, max(1, masked), rows), LossWeights(), 2.0, 25, compiled=compiled
        )
    return [loss.detach(), *parts, *torch.autograd.grad(loss, (student.hidden, student.weight, student.bias))]


def test_a_copy_has_rows_of_zeros_and_a_projection_does_not_show_them() -> None:
    _, teacher = models(3, 32, 333)
    assert low_copy(teacher.weight, torch.float32) is teacher.weight
    copy = low_copy(teacher.weight, torch.bfloat16)
    assert copy.shape == (384, 32) and not copy[333:].any() and torch.equal(copy[:333], teacher.weight.bfloat16())
    assert low_copy(teacher.weight[:320], torch.bfloat16).shape == (320, 32)
    logits = project(teacher.features, copy, teacher.bias)
    assert logits.shape == (3, 333)
    torch.testing.assert_close(logits, project(teacher.features, copy[:333], teacher.bias), rtol=0, atol=0)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_padding_changes_no_bit(low: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of zeros add zeros to the products' sums."""
    padded = step(low, 17)
    monkeypatch.setattr(objective, "ALIGNED", 1)
    for found, wanted in zip(padded, step(low, 17), strict=True):
        assert found.isfinite().all() and torch.equal(found, wanted)


@pytest.fixture
def _compiling_anew() -> None:
    torch._dynamo.reset()


@pytest.mark.usefixtures("_compiling_anew")
def test_any_number_of_masked_rows_shares_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(objective, "BACKEND", counted)
    for masked in (0, 9, 17, 30, 60, 41, 23, 1, 24):
        for found, wanted in zip(step(torch.bfloat16, masked, True), step(torch.bfloat16, masked), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert counted.frame_count == 4  # rows with a label, rows without; and a single row is a shape of its own


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor on a CPU needs a compiler")
@pytest.mark.usefixtures("_compiling_anew")
def test_the_compiler_itself_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # none of another process, or processor
    for low in (torch.float32, torch.bfloat16):
        for found, wanted in zip(step(low, 17, True), step(low, 17), strict=True):
            near(found, wanted, 2e-6 if low == torch.float32 else 1e-4)
