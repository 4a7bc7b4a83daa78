"""Texts that are nearly the same: those whose sets of character 5-grams reach a Jaccard index, found exactly.

Two sets of n and m members have a Jaccard index of t or more if and only if they share at least t/(1 + t)·(n + m)
members, or in other words differ in at most (1 - t)/(1 + t)·(n + m). Three filters lose no such pair, and what passes
them is judged by the definition itself:

- *prefix* (Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007): they share at least t·n, so that a shared member
  is among the first n - ⌈t·n⌉ + 1 of one in any order, and likewise of the other; rarest first gives few candidates;
- *position* (PPJoin: Xiao, Wang, Lin, Yu 2008): if the first shared member stands at places i and j, counted from 0,
  they share at most min(n - i, m - j);
- *bitmap* (Sandes, Teodoro, Melo 2020): every member sets one of some bits, so that each bit in which two sets differ
  is a member that they do not share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute

from flue_bench.progress import Bar

SHINGLE = 5
"""Characters per n-gram."""
NEAR = 80
"""The least Jaccard index in percent: a whole number, so that bounds derived from it are exact."""

BLOCK, LEAST, CANDIDATES = 1 << 20, 64, 1 << 17
"""Characters looked up at once, where a text counts as ``LEAST`` or more, and candidates compared at once. They bound
memory and change no result."""
BITS = 512
"""Bits of a bitmap: unrelated sentences differ in far more of them than near ones may."""

LOW = (1 << 32) - 1

Ints = npt.NDArray[np.int64]
Bitmaps = npt.NDArray[np.uint64]


def near(wanted: Sequence[str], passing: Collection[str], bar: Bar) -> dict[str, str]:
    """Return text of ``wanted`` → the first text of ``passing`` whose 5-grams reach the index ``NEAR`` with its own.

    A text of fewer than five characters is its own only 5-gram. ``wanted`` is indexed and ``passing`` streamed past it
    in blocks: time is nearly linear in their characters, and memory in those of ``wanted``.

    Args:
        wanted: distinct texts.
        passing: other texts, in the order of preference.
        bar: shows how many have passed.
    """
    partners: dict[str, str] = {}
    if not wanted:
        return partners
    members = lru_cache(maxsize=4096)(shingles)
    index, done = _Index(wanted), 0
    for block in _blocks(passing):
        bar.update(done, len(passing))
        done += len(block)
        for row, number in index.candidates(block):
            if index.alone[number] and _near(members(block[row]), members(wanted[number])):
                partners[wanted[number]] = block[row]
                index.alone[number] = False
    return partners


def shingles(text: str) -> frozenset[str]:
    """Return the set of a text's character 5-grams."""
    return frozenset(text[start : start + SHINGLE] for start in range(max(len(text) - SHINGLE + 1, 1)))


def _near(one: frozenset[str], other: frozenset[str]) -> bool:
    common = len(one & other)
    return 100 * common >= NEAR * (len(one) + len(other) - common)


def _least(size: Ints) -> Ints:
    """Return the least number of members that sets of these sizes share with a near one."""
    return -(-NEAR * size // 100)


def _blocks(texts: Collection[str]) -> Iterator[list[str]]:
    block: list[str] = []
    characters = 0
    for text in texts:
        block.append(text)
        characters += max(len(text), LEAST)
        if characters >= BLOCK:
            yield block
            block, characters = [], 0
    if block:
        yield block


class _Sets(NamedTuple):
    """Sets of ranks, one after the other, each in ascending order."""

    owner: Ints
    """Number of the set that a member belongs to, ascending: (members,)."""
    rank: Ints
    """Rank of each member: (members,)."""
    sizes: Ints
    """Members of each set: (sets,)."""

    @classmethod
    def of(cls, owner: Ints, rank: Ints, sets: int) -> _Sets:
        """Return the sets of these members, which may repeat and come in any order."""
        both = owner << 32 | rank
        both.sort()
        both = both[np.diff(both, prepend=-1) != 0]
        owner = both >> 32
        return cls(owner, both & LOW, np.bincount(owner, minlength=sets))

    def prefix(self, whole: Ints) -> tuple[Ints, Ints]:
        """Return the members of which a near set shares one at least, and their places in their sets, from 0.

        Args:
            whole: at most the size of each set with the members that precede all others and are left out: (sets,).
        """
        places = np.arange(len(self.owner)) - (np.cumsum(self.sizes) - self.sizes)[self.owner]
        members = np.flatnonzero(places < (self.sizes - _least(whole) + 1)[self.owner])
        return members, places[members]

    def bitmaps(self) -> Bitmaps:
        """Return the bitmap of each set: (sets, BITS / 64)."""
        bits = np.zeros((len(self.sizes), BITS), np.bool_)
        bits[self.owner, self.rank % BITS] = True
        return np.packbits(bits, axis=1).view(np.uint64)


class _Index:
    """The wanted texts as sets of ranks, the rarest 5-gram first.

    A 5-gram of a passing text that no wanted text has precedes all ranks in the order, and is only counted.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.alone = np.ones(len(wanted), np.bool_)
        """Whether a wanted text has no partner yet: (wanted,)."""
        alphabet = np.unique(_points(_padded(wanted)))
        self._bits = len(alphabet).bit_length()
        self._code = np.zeros(0x110000, np.uint64)  # of a character: 0 if no wanted text has it
        self._code[alphabet] = np.arange(1, len(alphabet) + 1)

        owner, keys = self._shingles(wanted)
        encoded = keys.dictionary_encode()
        sets = _Sets.of(owner, encoded.indices.to_numpy().astype(np.int64), len(wanted))
        rarest = np.argsort(np.bincount(sets.rank), kind="stable")
        self._ranked = encoded.dictionary.take(pyarrow.array(rarest))
        rank = np.empty_like(rarest)
        rank[rarest] = np.arange(len(rarest))
        sets = _Sets.of(sets.owner, rank[sets.rank], len(wanted))
        self._sizes, self._bitmaps = sets.sizes, sets.bitmaps()

        # Who has a rank in the prefix, and where, from first[rank] to first[rank + 1].
        member, place = sets.prefix(sets.sizes)
        by_rank = np.argsort(sets.rank[member], kind="stable")
        self._having, self._place = sets.owner[member[by_rank]], place[by_rank]
        self._first = np.searchsorted(sets.rank[member[by_rank]], np.arange(len(rarest) + 1))

    def candidates(self, block: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield row of the block and number of the wanted text for each pair that may be near, by row."""
        owner, keys = self._shingles(block)
        ranks = pyarrow.compute.index_in(keys, self._ranked).fill_null(-1).to_numpy()
        known = np.flatnonzero(ranks >= 0)
        sets = _Sets.of(owner[known], ranks[known].astype(np.int64), len(block))
        unknown = np.bincount(owner, minlength=len(block)) - np.bincount(owner[known], minlength=len(block))
        # How many of the unknown are distinct stays open: a whole set has from ``least`` to ``most`` members.
        least, most = sets.sizes + (unknown > 0), sets.sizes + unknown
        bitmaps = sets.bitmaps()

        member, place = sets.prefix(least)
        row, rank = sets.owner[member], sets.rank[member]
        having = self._first[rank + 1] - self._first[rank]
        upto = np.cumsum(having)
        begin = 0
        while begin < len(member):
            before = upto[begin] - having[begin]
            end = max(begin + 1, int(np.searchsorted(upto, before + CANDIDATES)))
            part = np.repeat(np.arange(begin, end), having[begin:end])
            at = self._first[rank[part]] + np.arange(len(part)) - (upto - having)[part] + before
            one, other = row[part], self._having[at]
            shared = -(-NEAR * (least[one] + self._sizes[other]) // (100 + NEAR))
            left = np.minimum(sets.sizes[one] - place[part], self._sizes[other] - self._place[at])
            keep = self.alone[other] & (left >= shared)
            pairs = np.unique(one[keep] << 32 | other[keep])
            one, other = pairs >> 32, pairs & LOW
            differ = np.bitwise_count(bitmaps[one] ^ self._bitmaps[other]).sum(axis=1, dtype=np.int64)
            differ += (unknown > 0)[one]
            keep = (100 + NEAR) * differ <= (100 - NEAR) * (most[one] + self._sizes[other])
            yield from zip(one[keep].tolist(), other[keep].tolist(), strict=True)
            begin = end

    def _shingles(self, texts: Sequence[str]) -> tuple[Ints, Any]:
        """Return the 5-grams of texts with their repetitions: number of the text, and a key, both (5-grams,)."""
        padded = _padded(texts)
        points = _points(padded)
        counts = np.fromiter(map(len, padded), np.int64, len(padded)) - SHINGLE + 1
        owner = np.repeat(np.arange(len(padded)), counts)
        starts = np.arange(len(owner)) + (SHINGLE - 1) * owner
        if SHINGLE * self._bits <= 64:
            code = self._code[points]
            packed = np.zeros(len(code) - SHINGLE + 1, np.uint64)
            for at in range(SHINGLE):
                packed <<= np.uint64(self._bits)
                packed |= code[at : at + len(packed)]
            return owner, pyarrow.array(packed[starts])
        # More than 4,095 characters do not pack: the five code points themselves are the key.
        windows = np.lib.stride_tricks.sliding_window_view(points, SHINGLE)[starts]
        content = pyarrow.py_buffer(np.ascontiguousarray(windows))
        key = pyarrow.binary(SHINGLE * points.itemsize)
        return owner, pyarrow.FixedSizeBinaryArray.from_buffers(key, len(owner), [None, content])


def _padded(texts: Sequence[str]) -> list[str]:
    # A short text may so come to equal one that ends in NUL: a candidate too many, which the definition refuses.
    return [text.ljust(SHINGLE, "\0") for text in texts]


def _points(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
