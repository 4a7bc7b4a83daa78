"""Names of people, and the material of each split: a sentence belongs to one split, and test has names of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar

from flue_bench.record import digest_of
from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, pick

T = TypeVar("T")

_SIXTEENTHS = {"train": "0123456789", "validation": "ab", "test": "cdef"}


def group_of(text: str) -> str:
    """Return a hash of the text's words that ignores case and punctuation."""
    return digest_of(" ".join(re.findall(r"\w+", text.lower())))


def belongs(text: str, split: str) -> bool:
    """Return whether the split may use this text; every text belongs to exactly one split."""
    return group_of(text)[0] in _SIXTEENTHS[split]


@cache
def _part(pool: Sequence[T], test: bool) -> Sequence[T]:
    return tuple(item for rank, item in enumerate(pool) if rank % 4 != (2 if test else 3))


def seen(pool: Sequence[T], split: str) -> Sequence[T]:
    """Return three quarters of a pool; a third of what test draws from never occurs in train or validation."""
    return _part(pool, split == "test")


def person(rng: Random, split: str) -> Noun:
    """Draw a first name, every second time with a surname."""
    gender = "fm"[rng.randrange(2)]
    name = pick(rng, seen(lx.WOMEN if gender == "f" else lx.MEN, split))
    if rng.randrange(2):
        name += f" {pick(rng, seen(lx.SURNAMES, split))}"
    return Noun(name, gender)
