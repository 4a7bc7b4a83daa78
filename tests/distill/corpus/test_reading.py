"""Reading a corpus that is larger than memory: no read-ahead, and each shard is opened once."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flue_distill.corpus import shards
from flue_distill.corpus.shards import Blocks
from flue_distill.training.keyed import permuted


@pytest.fixture(autouse=True)
def nothing_mapped() -> Iterator[None]:
    shards.mapped.cache_clear()
    yield
    shards.mapped.cache_clear()


def many(folder: Path, number: int, tokens: int, length: int = 32) -> Blocks:
    """A corpus of shards that hold 0, 1, 2, …"""
    paths = [folder / f"train-{each:05}.bin" for each in range(number)]
    for each, path in enumerate(paths):
        (np.arange(each * tokens, (each + 1) * tokens) % 2**16).astype("<u2").tofile(path)
    return Blocks(paths, [tokens] * number, "uint16", length, 5, 6)


def test_no_shard_of_a_corpus_of_oscars_size_is_opened_twice(tmp_path: Path) -> None:
    blocks = many(tmp_path, 487, 100)
    for row in permuted(np.arange(len(blocks)), len(blocks), 0, 0):
        start = int(row) * 30
        wanted = [5, *(np.arange(start, start + 30) % 2**16), 6]
        assert blocks[int(row)].tolist() == wanted
    assert shards.mapped.cache_info().misses == 487


@pytest.mark.skipif(not hasattr(mmap, "MADV_RANDOM"), reason="the system takes no such advice")
def test_nothing_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advised: list[int] = []

    class Watched(mmap.mmap):
        def madvise(self, option: int, *range: Any) -> None:
            advised.append(option)
            super().madvise(option, *range)

    monkeypatch.setattr(mmap, "mmap", Watched)
    assert many(tmp_path, 1, 100)[0][0] == 5
    assert advised == [mmap.MADV_RANDOM]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux tells the advice of a mapping")
def test_the_system_knows_it(tmp_path: Path) -> None:
    blocks = many(tmp_path, 1, 10_000)
    blocks[0]
    told = Path("/proc/self/smaps").read_text()
    if "VmFlags" not in told:
        pytest.skip("this kernel does not tell the flags")
    mine = told[told.index(str(tmp_path)) :]
    assert " rr" in mine[mine.index("VmFlags") :].splitlines()[0]  # random reads advised


def test_the_share_of_a_large_corpus_that_is_held_out_is_cut() -> None:
    def source(size: int, name: str = "a.txt") -> shards.Source:
        return shards.Source(name=name, bytes=size, digest="0" * 64)

    assert shards._share(0.01, [source(10**6)]) == 0.01
    large = shards._share(0.01, [source(10**11), source(4 * 10**10)])
    assert large * 14 * 10**10 == pytest.approx(shards.HELD_OUT_BYTES)
    assert shards._share(large / 2, [source(10**11)]) == large / 2  # less was asked for
    assert shards._share(0.0, [source(10**11)]) == 0
    assert shards._share(0.01, [source(10**11), source(0, "hub:org/name")]) == 0.01  # of unknown size
