"""The order of rows: complete, a pure function of seed and epoch, with little padding."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_bench.training.batches import BATCH_COST, MOST_PADDING, POOL, prediction_batches, training_batches
from support import ROOT

Ints = npt.NDArray[np.int64]
LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=300).map(lambda rows: np.array(rows, np.int64))


def lengths_like(mean: float, spread: float, longest: int, rows: int = 2000) -> Ints:
    """Log-normal, as sub-words of sentences are, cut at ``longest``."""
    drawn = np.random.RandomState(1).lognormal(np.log(mean), spread, rows)
    return np.clip(drawn.round(), 5, longest).astype(np.int64)


def padding(lengths: Ints, batches: list[Ints]) -> float:
    """Positions computed for each real one."""
    return float(sum(len(rows) * lengths[rows].max() for rows in batches) / lengths.sum())


@given(lengths=LENGTHS, batch_size=st.integers(1, 40), seed=st.integers(0, 2**40), epoch=st.integers(0, 50))
def test_an_epoch_holds_every_row_once(lengths: Ints, batch_size: int, seed: int, epoch: int) -> None:
    batches = training_batches(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = sorted((len(rows) for rows in batches), reverse=True)
    assert len(batches) == -(-len(lengths) // batch_size), "train.fine_tune counts its steps so"
    assert sizes[:-1] == [batch_size] * (len(batches) - 1)
    assert sizes[-1] == (len(lengths) % batch_size or batch_size)


@given(lengths=LENGTHS, seed=st.integers(0, 2**40), epoch=st.integers(0, 50))
def test_the_order_is_a_pure_function_of_seed_and_epoch(lengths: Ints, seed: int, epoch: int) -> None:
    one = training_batches(lengths, 8, seed, epoch)
    np.random.seed(7)  # the global state must not matter
    np.random.rand(3)
    other = training_batches(lengths, 8, seed, epoch)
    assert [rows.tolist() for rows in one] == [rows.tolist() for rows in other]


def test_the_order_differs_by_epoch_and_by_seed() -> None:
    lengths = lengths_like(30, 0.5, 128, rows=500)
    orders = {
        tuple(np.concatenate(training_batches(lengths, 16, seed, epoch)).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    together = [{frozenset(rows.tolist()) for rows in training_batches(lengths, 16, 0, epoch)} for epoch in range(2)]
    assert len(together[0] & together[1]) <= 1, "rows meet others in the next epoch"


def test_the_order_is_the_one_that_records_were_made_with() -> None:
    """If this hash changes, the same cell gives other numbers: raise ``record.PROTOCOL``."""
    batches = training_batches(np.arange(1, 1001, dtype=np.int64) * 7919 % 97 + 4, 32, 42, 3)
    order = np.concatenate(batches).astype("<i8")
    assert [len(rows) for rows in batches].index(8) == 22
    assert hashlib.sha256(order.tobytes()).hexdigest() == (
        "e79e3d34e12354510339055acb190e9cff0252a2e0fd2f15e494c81ee695de1b"
    )


@pytest.mark.parametrize(
    ("lengths", "most"),
    [
        pytest.param(lengths_like(52, 0.25, 128), 1.15, id="paraphrases"),
        pytest.param(lengths_like(33, 0.5, 128), 1.15, id="inference"),
        pytest.param(lengths_like(150, 0.8, 512), 1.15, id="reviews"),
        pytest.param(lengths_like(27, 0.6, 256), 1.25, id="names"),
    ],
)
def test_little_is_padded(lengths: Ints, most: float) -> None:
    ratios = [padding(lengths, training_batches(lengths, 32, 0, epoch)) for epoch in range(5)]
    random = np.random.RandomState(0).permutation(len(lengths))
    unsorted = padding(lengths, [random[i : i + 32] for i in range(0, len(random), 32)])
    print(f"padded positions a real one: {np.mean(ratios):.3f}, unsorted {unsorted:.3f}")
    assert np.mean(ratios) < most
    assert np.mean(ratios) < unsorted


def test_a_large_set_is_sorted_within_pools_only() -> None:
    lengths = lengths_like(33, 0.5, 128, rows=POOL * 8 * 6)
    batches = training_batches(lengths, 8, 0, 0)
    assert padding(lengths, batches) < 1.1
    longest = [int(lengths[rows].max()) for rows in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.3, "lengths come in no order"


@given(lengths=LENGTHS, positions=st.integers(1, 5000))
def test_prediction_batches_are_bounded_and_complete(lengths: Ints, positions: int) -> None:
    batches = prediction_batches(lengths, positions)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * int(lengths[rows].max()) <= positions
    in_order = np.concatenate([lengths[rows] for rows in batches])
    assert (np.diff(in_order) <= 0).all(), "longest first: what does not fit in memory shows at once"


REAL = json.loads((ROOT / "benchmarks/cost/lengths.json").read_text(encoding="utf-8"))
"""Task → how many of its training rows have 0, 1, 2 ... sub-words."""


def rows_of(task: str, rows: int) -> Ints:
    """Lengths drawn as the task has them."""
    counts = np.array(REAL[task], np.float64)
    return np.random.RandomState(0).choice(len(counts), rows, p=counts / counts.sum()).astype(np.int64)


@pytest.mark.parametrize("task", REAL)
@pytest.mark.parametrize("rows", [16, 256, 2000, 20_000])
def test_prediction_pads_little_in_few_batches(task: str, rows: int) -> None:
    lengths = rows_of(task, rows)
    batches = prediction_batches(lengths, 8192)
    assert padding(lengths, batches) <= 1.05
    assert len(batches) <= 16 + 1.4 * lengths.sum() / 8192, "and not by cutting everywhere"
    if rows >= 2000:
        full = batches_cut_when_full(lengths, 8192)
        assert cost(lengths, batches) < cost(lengths, full), "a large set is predicted no slower"


def batches_cut_when_full(lengths: Ints, positions: int) -> list[Ints]:
    order, batches, start = np.argsort(-lengths, kind="stable"), [], 0
    while start < len(order):
        end = start + positions // int(lengths[order[start]])
        batches.append(order[start:end])
        start = end
    return batches


def cost(lengths: Ints, batches: list[Ints]) -> float:
    """In padded positions."""
    return sum(len(rows) * int(lengths[rows].max()) + BATCH_COST for rows in batches)


@given(lengths=LENGTHS, positions=st.integers(1, 9000))
def test_prediction_never_pads_more_than_it_says(lengths: Ints, positions: int) -> None:
    assert padding(lengths, prediction_batches(lengths, positions)) <= MOST_PADDING


@pytest.mark.parametrize(
    "lengths",
    [
        np.full(256, 40),
        np.arange(1, 257),
        np.geomspace(1, 512, 256).astype(np.int64),
        np.where(np.arange(256) < 3, 512, 8),
        np.where(np.arange(256) % 2, 9, 8),
        np.array([512]),
    ],
    ids=["one length", "all lengths", "geometric", "three long ones", "nearly equal", "one row"],
)
def test_prediction_pads_little_whatever_the_lengths(lengths: Ints) -> None:
    batches = prediction_batches(lengths, 8192)
    assert padding(lengths, batches) <= 1.05
    assert len(batches) <= 30


def test_no_rows_no_batches() -> None:
    assert prediction_batches(np.array([], np.int64), 100) == []
