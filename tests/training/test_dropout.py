"""Dropout's random numbers: how they are distributed, what is done with them, and that only their keys move them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from flue_bench.training.device import Device
from flue_bench.training.dropout import CHUNK, LEVELS, KeyedDropout, draw
from support.tiny import KINDS, tiny

CPU = torch.device("cpu")
TENTH = round(0.1 * LEVELS)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def kept(
    n: int, *, p: float = 0.5, seed: int = 0, call: int = 0, step: int = 0, start: int = 0
) -> npt.NDArray[np.float64]:
    return draw(n, round(p * LEVELS), (seed, 0), (0, call, step, 0), start).numpy().astype(np.float64)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# The draws.


def test_the_draws_are_those_that_records_were_made_with() -> None:
    """If this hash changes, the same cell gives other numbers: raise ``record.PROTOCOL``."""
    values = draw(3 * CHUNK + 5, TENTH, (2**63 + 1, 0), (0, 7, 123_456, 0), 1000)
    assert hashlib.sha256(values.numpy().tobytes()).hexdigest() == (
        "d9ad749d20033bfda7bc4b94929ae7921d0fde02178d791f92553bcbb3c80787"
    )


def test_the_draws_are_philox() -> None:
    words = np.random.Philox(key=np.array([5, 0], np.uint64), counter=np.array([0, 3, 9, 0], np.uint64)).random_raw(
        1000
    )
    draws = [int(word) >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    assert draw(4000, TENTH, (5, 0), (0, 3, 9, 0), 0).tolist() == [int(value >= TENTH) for value in draws]


@given(start=st.integers(0, 3 * CHUNK), n=st.integers(0, 2 * CHUNK))
@settings(max_examples=25)
def test_any_stretch_of_a_stream_is_that_of_the_whole(start: int, n: int) -> None:
    whole = draw(5 * CHUNK, TENTH, (1, 0), (0, 2, 3, 0), 0)
    assert torch.equal(draw(n, TENTH, (1, 0), (0, 2, 3, 0), start), whole[start : start + n])


@pytest.mark.parametrize("n", [7, CHUNK + 1, 5 * CHUNK + 3])
def test_the_number_of_threads_does_not_matter(n: int) -> None:
    found = []
    for number in (1, 2, 3):
        with threads(number):
            found.append(draw(n, TENTH, (1, 0), (0, 2, 3, 0), 11))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_draws_too() -> None:
    script = """
import os, sys, torch
from flue_bench.training.dropout import CHUNK, draw
torch.set_num_threads(2)
def total(): return int(draw(4 * CHUNK, 6554, (1, 0), (0, 2, 3, 0), 0).numpy().sum())
before = total()
child = os.fork()
if not child:
    os._exit(0 if total() == before else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


N = 2**21


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_the_rate(p: float) -> None:
    """Within five standard errors of the rate, rounded to 2^-16."""
    rate = round(p * LEVELS) / LEVELS
    assert abs(rate - p) <= 2**-17
    assert abs(1 - kept(N, p=p).mean() - rate) < 5 * (rate * (1 - rate) / N) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_independent(p: float) -> None:
    """Correlations at lags of words, blocks, rows and chunks: within five standard errors of zero."""
    values = kept(N, p=p)
    values -= values.mean()
    for lag in (1, 2, 3, 4, 8, 15, 16, 17, 32, 48, 64, 256, 768, 3072, CHUNK):
        r = (values[:-lag] * values[lag:]).mean() / values.var()
        assert abs(r) < 5 / (N - lag) ** 0.5, lag


def test_streams_are_independent() -> None:
    """Streams whose keys are neighbours, or have a sum in common: pairwise correlations within five standard errors."""
    keys = [(s, t, c) for s in (0, 1, 2**32) for t in (0, 1, 2) for c in (0, 1)]
    streams = np.stack([kept(2**17, p=0.3, seed=s, step=t, call=c) for s, t, c in keys])
    r = np.corrcoef(streams)[np.triu_indices(len(keys), 1)]
    assert len(r) == 153 and np.abs(r).max() < 5 / 2**8.5
    assert (len(r) * 2**17) ** 0.5 * abs(r.mean()) < 5


def test_patterns_are_evenly_distributed() -> None:
    """Chi-square over all patterns of twelve values in a row, and of the same value over twelve steps, both ends."""
    for bits in (kept(12 * 2**17).reshape(-1, 12), np.stack([kept(2**17, step=step) for step in range(12)], 1)):
        counts = np.bincount((bits @ 2 ** np.arange(12)).astype(np.int64), minlength=4096)
        expected = len(bits) / 4096
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi_square - 4095) < 5 * (2 * 4095) ** 0.5


# What is done with them.


def plainly(x: torch.Tensor, p: float, call: int = 0, first: int = 0) -> torch.Tensor:
    """Dropout written out, with the draws of seed 3, step 5."""
    threshold = round(p * LEVELS)
    start = first * (x.numel() // len(x))
    mask = draw(x.numel(), threshold, (3, 0), (0, call, 5, 0), start).view(x.shape)
    return x * mask * (LEVELS / (LEVELS - threshold))


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_backward_are_the_formula(dtype: torch.dtype) -> None:
    x = torch.randn(6, 7, 33, dtype=torch.float64).to(dtype).requires_grad_()
    gradient = torch.randn(6, 7, 33, dtype=torch.float64).to(dtype)
    with KeyedDropout(3, 5, 0, 6):
        y = nn.Dropout(0.1)(x)
    assert y.dtype == dtype
    torch.testing.assert_close(
        y, plainly(x.double(), 0.1).to(dtype), rtol=2e-7 if dtype != torch.bfloat16 else 0, atol=0
    )
    y.backward(gradient)
    assert x.grad is not None
    wanted = plainly(gradient.double(), 0.1).to(dtype)
    torch.testing.assert_close(x.grad, wanted, rtol=2e-7 if dtype != torch.bfloat16 else 0, atol=0)
    assert 0 < (y == 0).sum() < 0.2 * y.numel()


def test_what_is_kept_makes_up_for_what_is_dropped() -> None:
    for p in (0.1, 0.123456, 0.9):
        with KeyedDropout(3, 5, 0, 1):
            y = F.dropout(torch.ones(1, N, dtype=torch.float64), p)
        rate = round(p * LEVELS) / LEVELS
        assert y.max() == pytest.approx(1 / (1 - rate), rel=1e-12)
        assert y.mean() == pytest.approx(1, abs=5 * (rate / (1 - rate) / N) ** 0.5)


def test_gradcheck() -> None:
    x = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    q, k, v = (torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.rand(3, 1, 5, 5) < 0.7

    def both(x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with KeyedDropout(3, 5, 0, 3):
            return F.dropout(x, 0.4), F.scaled_dot_product_attention(q, k, v, mask, dropout_p=0.3)

    assert torch.autograd.gradcheck(both, (x, q, k, v))


@pytest.mark.parametrize("masked", ["not", "keys", "window", "added"])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_is_the_formula(masked: str, scale: float | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 9, 4, 16, dtype=torch.float64).to(dtype).transpose(1, 2) for _ in range(3))
    places = torch.arange(9)
    allowed = {
        "not": None,
        "keys": (places < torch.tensor([[9], [6], [2]]))[:, None, None].expand(3, 1, 9, 9),
        "window": ((places[:, None] - places).abs() <= 2).expand(3, 1, 9, 9),
        "added": torch.randn(3, 1, 9, 9).to(dtype),
    }[masked]
    with KeyedDropout(3, 5, 0, 3):
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=0.2, scale=scale)
    scores = q.double() @ k.double().mT * (scale or 0.25)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf) if allowed.dtype == torch.bool else scores + allowed.double()
    wanted = plainly(scores.softmax(-1), 0.2) @ v.double()
    error = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=error, atol=error)


def test_a_row_that_may_look_nowhere_stays_finite() -> None:
    q = torch.randn(2, 2, 5, 8, requires_grad=True)
    nowhere = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    nowhere[1, :, 3] = False
    with KeyedDropout(3, 5, 0, 2):
        found = F.scaled_dot_product_attention(q, q, q, nowhere, dropout_p=0.1)
    found.sum().backward()
    assert q.grad is not None and found.isfinite().all() and q.grad.isfinite().all()


def test_without_dropout_nothing_changes() -> None:
    q = torch.randn(2, 2, 5, 8)
    wanted = F.scaled_dot_product_attention(q, q, q)
    with KeyedDropout(3, 5, 0, 2) as mode:
        assert torch.equal(F.scaled_dot_product_attention(q, q, q), wanted)
        assert torch.equal(nn.Dropout(0.3).eval()(q), q)
        assert torch.equal(F.dropout(q, 0.0), q) and not F.dropout(q, 1.0).any()
    assert mode.calls == 0


def test_one_byte_a_value_is_remembered() -> None:
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    x = torch.randn(4, 50, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), KeyedDropout(3, 5, 0, 4):
        F.dropout(x, 0.1)
    assert [(tensor.dtype, tensor.numel()) for tensor in saved] == [(torch.uint8, 200)]


def test_what_is_left_to_pytorch_is_seeded_too() -> None:
    q = torch.randn(2, 2, 5, 8)
    found = []
    for _ in range(2):
        torch.rand(3)
        with Device(CPU, "fp32", "").training(2, 5, 1, 2, 0):
            found.append(F.scaled_dot_product_attention(q, q, q, dropout_p=0.5, is_causal=True))
            found.append(F.dropout(q.clone(), 0.5, inplace=True))
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])


def test_other_devices_keep_pytorchs_fused_dropout() -> None:
    """Where there is none, its draws can still be told apart: they move PyTorch's generator."""
    for name, moves in (("cpu", False), ("mps", True)):
        with Device(torch.device(name), "fp32", "").training(2, 5, 1, 2, 0):
            before = torch.get_rng_state()
            F.dropout(torch.ones(2, 100), 0.5)
            assert torch.equal(before, torch.get_rng_state()) != moves


# Whole models.


def batch(rows: int = 6, length: int = 11) -> dict[str, torch.Tensor]:
    ids = torch.from_numpy(np.random.RandomState(0).randint(5, 90, (rows, length)))
    attention = (torch.arange(length) < length - torch.arange(rows)[:, None]).long()
    return {"input_ids": ids, "attention_mask": attention}


@pytest.mark.parametrize("task", ["SequenceClassification", "TokenClassification", "MaskedLM"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_family_draws_from_here_alone_and_may_be_cut(kind: str, task: str, tmp_path: Path) -> None:
    """PyTorch's generator does not move, so no dropout was missed; and a batch cut in three is the whole batch."""
    rates = dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "classifier_dropout",
         "seq_classif_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout"), 0.3
    )  # fmt: skip
    auto = getattr(transformers, f"AutoModelFor{task}")
    known = vars(transformers.AutoConfig.for_model(kind)).keys()
    tiny(kind, tmp_path, **{name: rate for name, rate in rates.items() if name in known})
    network = auto.from_pretrained(tmp_path).double().train()
    inputs, device = batch(), Device(CPU, "fp32", "")

    def gradient(parts: int) -> torch.Tensor:
        network.zero_grad()
        size = 6 // parts
        for first in range(0, 6, size):
            some = {name: tensor[first : first + size] for name, tensor in inputs.items()}
            with device.training(size, 11, 1, 2, first):
                before = torch.get_rng_state()
                network(**some).logits.square().sum().backward()
                assert torch.equal(torch.get_rng_state(), before), "some dropout drew from PyTorch's generator"
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    whole = gradient(1)
    assert torch.equal(gradient(1), whole)
    torch.testing.assert_close(gradient(3), whole, rtol=1e-9, atol=1e-11 * float(whole.abs().max()) + 1e-12)
    network.eval()
    assert (gradient(1) - whole).norm() > 0.05 * whole.norm(), "and there was dropout"


@pytest.mark.parametrize("kind", ["camembert", "modernbert", "deberta-v2"])
def test_in_bf16_a_pass_is_near_that_in_fp32(kind: str, tmp_path: Path) -> None:
    tiny(kind, tmp_path)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).train()
    found = {}
    for precision in ("fp32", "bf16"):
        with Device(CPU, precision, "").training(6, 11, 1, 2, 0):  # type: ignore[arg-type]
            found[precision] = network(**batch()).logits.float()
    torch.testing.assert_close(found["bf16"], found["fp32"], rtol=0.05, atol=0.02)
