"""Masks and order: how many targets, which, what becomes of them; pure functions of their keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_distill.training.keyed import keys, permuted, uniforms
from flue_distill.training.masking import IGNORED, Masking
from flue_distill.training.recipe import DistilRecipe

SPECIAL = {0, 1, 2, 3, 4}
MASK, VOCAB = 4, 100
ONES = np.ones(VOCAB, np.int64)


def masking(counts: np.ndarray = ONES, **settings: float) -> Masking:
    return Masking.of(DistilRecipe(**settings), counts, SPECIAL, MASK)


def sequences(lengths: list[int], seed: int = 0, low: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Padded ids with CLS and SEP, and where they are real."""
    random = np.random.RandomState(seed)
    ids = np.ones((len(lengths), max(lengths)), np.int64)
    for row, n in zip(ids, lengths, strict=True):
        row[:n] = [0, *random.randint(low, VOCAB, n - 2), 2]
    return ids, ids != 1


def rows(n: int) -> np.ndarray:
    return np.arange(n)


@given(st.lists(st.integers(2, 70), min_size=1, max_size=5), st.integers(0, 5))
@settings(max_examples=50)
def test_number_and_place_of_targets(lengths: list[int], seed: int) -> None:
    ids, real = sequences(lengths, seed)
    n = len(lengths)
    inputs, labels = masking(seed=seed)(ids, real, np.zeros(n, np.int64), rows(n))
    target = labels != IGNORED
    assert target.sum(1).tolist() == [min(math.ceil(0.15 * length), length - 2) for length in lengths]
    assert not np.isin(ids[target], list(SPECIAL)).any()
    assert (labels[target] == ids[target]).all()
    assert (inputs[~target] == ids[~target]).all()


def test_a_sequence_of_special_tokens_has_no_target() -> None:
    ids = np.array([[0, 3, 3, 3, 3, 3, 2]])
    inputs, labels = masking()(ids, ids != 1, rows(1), rows(1))
    assert (labels == IGNORED).all()
    assert (inputs == ids).all()


def test_masks_do_not_depend_on_how_a_batch_is_cut_or_padded() -> None:
    ids, real = sequences([30, 50, 12, 41])
    epochs = np.array([0, 0, 1, 3])
    whole = masking()(ids, real, epochs, rows(4))
    for i, n in enumerate([30, 50, 12, 41]):
        alone = masking()(ids[i : i + 1, :n], real[i : i + 1, :n], epochs[i : i + 1], rows(4)[i : i + 1])
        for part, one in zip(whole, alone, strict=True):
            assert (part[i, :n] == one[0]).all()


@pytest.mark.parametrize("changed", ["seed", "epoch", "row"])
def test_every_key_counts(changed: str) -> None:
    ids, real = sequences([60] * 4)
    one = masking(seed=3)(ids, real, np.full(4, 2), rows(4))[1]
    other = masking(seed=3 + (changed == "seed"))(
        ids, real, np.full(4, 2 + (changed == "epoch")), rows(4) + 4 * (changed == "row")
    )[1]
    assert ((one != IGNORED) != (other != IGNORED)).any(1).all()


def test_eighty_ten_ten() -> None:
    ids, real = sequences([102] * 400, low=5)
    inputs, labels = masking()(ids, real, np.zeros(400, np.int64), rows(400))
    target = labels != IGNORED
    n = target.sum()
    assert n == 400 * 16
    masked = (inputs[target] == MASK).mean()
    kept = (inputs[target] == labels[target]).mean()
    assert masked == pytest.approx(0.8 + 0.1 / VOCAB, abs=4 * math.sqrt(0.16 / n))
    assert kept == pytest.approx(0.1 + 0.1 / VOCAB, abs=4 * math.sqrt(0.09 / n))
    random = inputs[target & (inputs != MASK) & (inputs != labels)]
    assert len(np.unique(random)) > 0.95 * VOCAB  # any token may stand there
    assert random.min() >= 0 and random.max() < VOCAB


def test_shares_of_the_recipe() -> None:
    ids, real = sequences([50] * 20)
    zeros = np.zeros(20, np.int64)
    inputs, labels = masking(replace_mask=1.0, replace_random=0.0, mask_fraction=0.5)(ids, real, zeros, rows(20))
    assert ((labels != IGNORED).sum(1) == 25).all()
    assert (inputs[labels != IGNORED] == MASK).all()
    inputs, _ = masking(replace_mask=0.0, replace_random=0.0)(ids, real, zeros, rows(20))
    assert (inputs == ids).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.7])
def test_rare_tokens_are_drawn_more_often(smoothing: float) -> None:
    # One target a sequence of one rare and nine frequent tokens: drawn with probability w / (w + 9), w = 10^(3 · 0.7).
    counts = np.full(VOCAB, 10_000)
    counts[7] = 10
    ids = np.tile([0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2], (2000, 1))
    _, labels = masking(counts, mask_smoothing=smoothing, mask_fraction=0.08)(
        ids, ids != 1, np.zeros(2000, np.int64), rows(2000)
    )
    assert ((labels != IGNORED).sum(1) == 1).all()
    weight = 1000**smoothing
    wanted = weight / (weight + 9)
    assert (labels == 7).mean() * 12 == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / 2000))


def test_a_token_that_the_corpus_lacks_can_be_drawn() -> None:
    drawn = masking(np.zeros(VOCAB, np.int64)).rate
    assert (drawn[5:] == 1).all() and (drawn[:5] == 0).all()


def test_uniforms_are_uniform_and_frozen() -> None:
    u = uniforms(keys(1, rows(200), 0), 500)
    assert ((u > 0) & (u < 1)).all()
    assert np.histogram(u, 10, (0, 1))[0] == pytest.approx(10_000, abs=5 * math.sqrt(9000))
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.01
    # splitmix64 from state 1234567: the published reference output.
    stream = uniforms(np.array([1234567], np.uint64), 3)[0]
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert stream.tolist() == [((x >> 11) + 0.5) * 2.0**-53 for x in published]


@given(st.integers(1, 700), st.integers(0, 2**32), st.integers(0, 9))
@settings(max_examples=60)
def test_order_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    order = permuted(np.arange(n), n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert permuted(np.arange(n)[::2], n, seed, epoch).tolist() == order[::2].tolist()


def test_order_changes_with_the_epoch_and_looks_random() -> None:
    n = 5000
    orders = [permuted(np.arange(n), n, 0, np.full(n, epoch)) for epoch in range(3)]
    for a, b in ((orders[0], orders[1]), (orders[1], orders[2]), (np.arange(n), orders[0])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(n)
        assert (a == b).sum() < 8


def test_order_of_a_huge_corpus_costs_nothing() -> None:
    assert (permuted(np.arange(10), 2**40, 0, 0) < 2**40).all()
