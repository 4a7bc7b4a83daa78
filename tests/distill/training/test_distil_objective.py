"""The objective: values by hand, plain and fast agreeing to the last gradient, and memory that does not grow."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flue_bench.training.soft_labels import distil_loss
from flue_distill.training.masking import IGNORED
from flue_distill.training.objective import LossParts, Rows, cosine_loss, fast, mlm_loss, plain
from flue_distill.training.recipe import KlRows, LossWeights

CARD = LossWeights()


def test_the_card() -> None:
    assert LossParts(distil=1.0, mlm=10.0, cosine=100.0).loss(CARD) == pytest.approx(0.5 * 1 + 0.2 * 10 + 0.3 * 100)


def test_distil_loss_by_hand() -> None:
    # At T = 2 the teacher says (3/4, 1/4) and the student (1/2, 1/2).
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    by_hand = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert distil_loss(student, teacher, 2.0).item() == pytest.approx(by_hand, abs=1e-15)
    assert distil_loss(student.repeat(3, 1), teacher.repeat(3, 1), 2.0).item() == pytest.approx(3 * by_hand, abs=1e-14)
    assert distil_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-15)


def test_distil_gradient_by_hand() -> None:
    # d/dz of T² · KL is T · (softmax(z / T) - p): for T = 2, 2 · (1/2 - 3/4, 1/2 - 1/4).
    student = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    distil_loss(student, torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64), 2.0).backward()
    assert student.grad is not None
    assert student.grad.tolist() == [[pytest.approx(-0.5), pytest.approx(0.5)]]


def test_mlm_loss_by_hand() -> None:
    # Probabilities (1/4, 3/4) and (1/2, 1/2): -ln(3/4) - ln(1/2).
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]], dtype=torch.float64)
    assert mlm_loss(logits, torch.tensor([1, 0])).item() == pytest.approx(-math.log(0.75) - math.log(0.5))


def test_cosine_loss_by_hand() -> None:
    # Angles of 0, 45 and 180 degrees: 0 + (1 - 1/√2) + 2.
    student = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
    teacher = torch.tensor([[5.0, 0.0], [0.0, 7.0], [0.0, 1.0]], dtype=torch.float64)
    assert cosine_loss(student, teacher).item() == pytest.approx(3 - 1 / math.sqrt(2))


def test_whole_objective_by_hand() -> None:
    # One sequence of two positions, the second masked; the projection is the identity, so logits are features.
    h = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    t = torch.tensor([[[1.0, 0.0], [2 * math.log(3), 0.0]]], dtype=torch.float64)
    labels = torch.tensor([[IGNORED, 0]])
    q0, q1 = (math.exp(x) / (1 + math.exp(0.5)) for x in (0.0, 0.5))  # the student at the second position, T = 2
    distil = 4 * (0.75 * math.log(0.75 / q0) + 0.25 * math.log(0.25 / q1))  # the first position agrees
    mlm = math.log(1 + math.e)  # -ln softmax((0, 1))[0]
    cosine = 0 + 1.0
    for kl_rows, rows in (("all", 2), ("masked", 1)):
        loss, parts = plain((h, h), (t, t), labels, labels < 9, LossParts(rows, 1, 2), CARD, 2.0, kl_rows)  # type: ignore[arg-type]
        assert [part.item() for part in parts] == pytest.approx([distil / rows, mlm, cosine / 2])
        assert loss.item() == pytest.approx(0.5 * distil / rows + 0.2 * mlm + 0.3 * cosine / 2)


class Case:
    """A random batch with a head of its own; what is differentiated is collected in ``leaves``."""

    def __init__(self, seed: int, lengths: list[int], masked: list[list[bool]], hidden: int, vocab: int) -> None:
        g = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        size = (len(lengths), max(lengths))
        self.real = torch.arange(size[1]) < torch.tensor(lengths)[:, None]
        chosen = torch.tensor([row[: size[1]] for row in masked]) & self.real
        self.labels = torch.where(chosen, torch.randint(vocab, size, generator=g), IGNORED)
        self.leaves = [normal(*size, hidden), normal(hidden, hidden), normal(vocab, hidden), normal(vocab)]
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.teacher = [normal(*size, hidden), normal(hidden, hidden), normal(vocab, hidden), normal(vocab)]
        self.m = int(chosen.sum())
        self.order = torch.cat([chosen.flatten().nonzero()[:, 0], (self.real & ~chosen).flatten().nonzero()[:, 0]])

    def counts(self, kl_rows: KlRows) -> LossParts:
        real = int(self.real.sum())
        return LossParts(max(1, self.m if kl_rows == "masked" else real), max(1, self.m), real)

    def plain(self, kl_rows: KlRows, weights: LossWeights, taught: bool) -> tuple[Tensor, LossParts]:
        def outputs(h: Tensor, head: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            return h, (h @ head).tanh() @ weight.T + bias

        teacher = outputs(*self.teacher) if taught else None
        counts = self.counts(kl_rows)
        return plain(outputs(*self.leaves), teacher, self.labels, self.real, counts, weights, 2.0, kl_rows)

    def fast(self, kl_rows: KlRows, weights: LossWeights, taught: bool, chunk: int) -> tuple[Tensor, LossParts]:
        def rows(h: Tensor, head: Tensor, weight: Tensor, bias: Tensor) -> Rows:
            h = h.flatten(0, 1)[self.order]
            return Rows(h, ((h[: self.m] if kl_rows == "masked" else h) @ head).tanh(), weight, bias)

        labels = self.labels.flatten()[self.order[: self.m]]
        teacher = rows(*self.teacher) if taught else None
        return fast(rows(*self.leaves), teacher, labels, self.counts(kl_rows), weights, 2.0, chunk)

    def gradients(self, made: tuple[Tensor, LossParts]) -> tuple[list[Tensor], list[float]]:
        loss, parts = made
        for leaf in self.leaves:
            leaf.grad = None
        (3 * loss).backward()
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.leaves]
        return gradients, [loss.item(), *(float(part.detach()) for part in parts)]


def agree(case: Case, kl_rows: KlRows, weights: LossWeights, taught: bool, chunk: int) -> None:
    slow, values = case.gradients(case.plain(kl_rows, weights, taught))
    quick, others = case.gradients(case.fast(kl_rows, weights, taught, chunk))
    for name in ("distil", "mlm", "cosine"):  # a part with weight 0 may be left out
        if not getattr(weights, name):
            values[1 + LossParts._fields.index(name)] = others[1 + LossParts._fields.index(name)]
    assert others == pytest.approx(values, rel=1e-12, abs=1e-12)
    for wanted, found in zip(slow, quick, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


WEIGHTS = [CARD, *(LossWeights(**{**dict(distil=0, mlm=0, cosine=0), name: 1}) for name in ("distil", "mlm", "cosine"))]


@settings(max_examples=80)
@given(data=st.data())
def test_fast_equals_plain(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    fate = data.draw(st.sampled_from(["some", "none", "one", "all"]))
    cells = [(i, j) for i, n in enumerate(lengths) for j in range(n)]
    one = data.draw(st.sampled_from(cells))
    some = data.draw(st.sets(st.sampled_from(cells)))
    chosen: dict[str, set[tuple[int, int]]] = {"some": some, "none": set(), "one": {one}, "all": set(cells)}
    masked = [[(i, j) in chosen[fate] for j in range(9)] for i in range(len(lengths))]
    case = Case(
        data.draw(st.integers(0, 2**31)), lengths, masked, data.draw(st.integers(2, 6)), data.draw(st.integers(2, 11))
    )
    kl_rows: KlRows = data.draw(st.sampled_from(["all", "masked"]))
    agree(case, kl_rows, data.draw(st.sampled_from(WEIGHTS)), data.draw(st.booleans()), data.draw(st.integers(1, 40)))


def test_shares_of_micro_batches_add_up() -> None:
    case = Case(7, [6, 3, 5, 1], [[i % 3 == 0 for i in range(9)]] * 4, 4, 9)
    whole, values = case.gradients(case.fast("all", CARD, True, 4))
    total = [torch.zeros_like(each) for each in whole]
    loss = 0.0
    counts = case.counts("all")
    for row in range(4):
        part = Case(7, [6, 3, 5, 1], [[i % 3 == 0 and r == row for i in range(9)] for r in range(4)], 4, 9)
        part.labels = torch.where(torch.arange(4)[:, None] == row, case.labels, IGNORED)
        part.real = case.real & (torch.arange(4)[:, None] == row)
        chosen = part.labels != IGNORED
        part.m = int(chosen.sum())
        part.order = torch.cat([chosen.flatten().nonzero()[:, 0], (part.real & ~chosen).flatten().nonzero()[:, 0]])
        part.counts = lambda kl_rows: counts  # type: ignore[method-assign]
        gradients, found = part.gradients(part.fast("all", CARD, True, 3))
        loss += found[0]
        total = [a + b for a, b in zip(total, gradients, strict=True)]
    assert loss == pytest.approx(values[0], abs=1e-13)
    for found_gradient, wanted in zip(total, whole, strict=True):
        torch.testing.assert_close(found_gradient, wanted, rtol=1e-11, atol=1e-13)


def test_a_second_backward_pass_is_refused() -> None:
    loss, _ = Case(1, [4], [[True] * 9], 3, 5).fast("all", CARD, True, 2)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        loss.backward()


class Peak(TorchDispatchMode):
    """Bytes of tensors alive at once, at most, of those made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.seen:
                    self.seen.add(key)
                    self.alive += size
                    self.peak = max(self.peak, self.alive)
                    weakref.finalize(storage, self.free, key, size)
        return made

    def free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size


def peak(work: Callable[[], Any]) -> int:
    with Peak() as mode:
        work()
    return mode.peak


def test_extra_memory_does_not_grow_with_rows() -> None:
    hidden, vocab, chunk = 4, 8000, 16

    def model(rows: int) -> tuple[Rows, Rows, Tensor]:
        student, teacher = (
            Rows(torch.randn(rows, hidden), torch.randn(rows, hidden), torch.randn(vocab, hidden), torch.zeros(vocab))
            for _ in range(2)
        )
        for each in student[:4]:
            each.requires_grad_()
        return student, teacher, torch.arange(max(chunk, rows // 8))  # at least one chunk of masked rows

    def extra(rows: int) -> int:
        student, teacher, labels = model(rows)
        counts = LossParts(rows, len(labels), rows)
        return peak(lambda: fast(student, teacher, labels, counts, CARD, 2.0, chunk)[0].backward())

    def full(rows: int) -> int:
        student, teacher, labels = model(rows)
        wanted = torch.full((1, rows), IGNORED)
        wanted[0, : len(labels)] = labels
        counts = LossParts(rows, len(labels), rows)

        def work() -> None:
            logits = student.features @ student.weight.T
            target = teacher.features @ teacher.weight.T
            pair = (student.hidden[None], logits[None]), (teacher.hidden[None], target[None])
            plain(*pair, wanted, wanted < vocab, counts, CARD, 2.0, "all")[0].backward()

        return peak(work)

    small, large = extra(32), extra(512)
    gradients = (512 - 32) * hidden * 4 * 16  # what has the size of the hidden states themselves, and nothing else
    assert large - small <= gradients
    assert gradients < chunk * vocab * 4
    assert full(512) > 10 * full(32) > 10 * chunk * vocab * 4  # the measure does see logits


def test_bf16_autocast_is_near() -> None:
    torch.manual_seed(0)
    student, teacher = (
        Rows(torch.randn(40, 32), torch.randn(40, 32), torch.randn(100, 32) / 6, torch.randn(100)) for _ in range(2)
    )
    for each in student[:4]:
        each.requires_grad_()
    labels = torch.arange(9)
    counts = LossParts(40, 9, 40)
    found = []
    for low in (torch.float32, torch.bfloat16):
        for each in student[:4]:
            each.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low != torch.float32):
            target = teacher._replace(weight=teacher.weight.to(low))
            loss, _ = fast(student, target, labels, counts, CARD, 2.0, 16)
        loss.backward()
        assert student.weight.grad is not None and student.weight.grad.dtype == torch.float32
        found.append((loss.item(), student.weight.grad.clone()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-2)
    assert torch.cosine_similarity(found[0][1].flatten(), found[1][1].flatten(), dim=0) > 0.999
