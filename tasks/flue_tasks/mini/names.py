"""Names of people, and which names a split may use: a part is kept for test, lest they be learnt by heart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, pick

T = TypeVar("T")


@cache
def _part(pool: Sequence[T], test: bool) -> Sequence[T]:
    return tuple(item for rank, item in enumerate(pool) if rank % 4 != (2 if test else 3))


def seen(pool: Sequence[T], split: str) -> Sequence[T]:
    """Three quarters of a pool; of those that test draws from, a third is never seen in train or validation."""
    return _part(pool, split == "test")


def person(rng: Random, split: str) -> Noun:
    """A first name, every second time with a surname."""
    gender = "fm"[rng.randrange(2)]
    name = pick(rng, seen(lx.WOMEN if gender == "f" else lx.MEN, split))
    if rng.randrange(2):
        name += f" {pick(rng, seen(lx.SURNAMES, split))}"
    return Noun(name, gender)
