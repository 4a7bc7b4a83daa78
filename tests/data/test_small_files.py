"""Small files that ask for large work: each is refused in a line, in a process that may take a gigabyte of memory."""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

if sys.platform != "linux":
    pytest.skip("limits on memory as Linux has them", allow_module_level=True)

from support.limited import run_limited

pytestmark = pytest.mark.robustness

READ = """
import sys
from pathlib import Path
from flue_bench import lines
from flue_bench.data import formats
from flue_bench import parquet_files
lines.RATIO_FREE = parquet_files.RATIO_FREE = 2**20  # less work for the test
from flue_bench.errors import DataError
path, most = Path(sys.argv[1]), int(sys.argv[2])
rows = formats.sentences(path) if "conll" in path.name else formats.rows(path, sys.argv[3].split())
try:
    read = sum(1 for _ in zip(range(most), rows))
    print(read, "rows")
except DataError as error:
    print(error)
"""
EVERYTHING = 10**9
NOISE = os.urandom(2**20 // 2).hex()


def packed(line: bytes, times: int, first: bytes = b"") -> bytes:
    """A gzip of a line that is repeated, made without the memory that it takes unpacked."""
    block = line * (2**20 // len(line) + 1)
    member = gzip.compress(block)
    return gzip.compress(first) + member * (times * len(line) // len(block) + 1)


def repeated(value: Any, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([value]))


def table(path: Path, **columns: Any) -> None:
    parquet.write_table(pa.table(columns), path, dictionary_pagesize_limit=2**30)


def lists(value: str, words: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, words], pa.int32()), repeated(value, words))


def plain(path: Path) -> None:
    """Equal values without a dictionary, of which compression leaves nothing."""
    made = pa.table({"text": ["a" * 2**20] * 64, "label": ["b"] * 64})
    parquet.write_table(made, path, compression="zstd", use_dictionary=False)


def as_bytes(path: Path) -> None:
    """Of a type all of whose values have one length: zeros, which take no memory here either."""
    zeros = pa.py_buffer(bytes(1000 * 2**20))
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(2**20), 1000, [None, zeros])
    table(path, text=values, label=repeated("b", 1000))


AGAIN, UNPACKS, VALUES = "the same ones again and again", "it unpacks to more than", "more than 4,194,304 values"
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "rows.parquet": (lambda p: table(p, text=repeated("a", 3_000_000), label=repeated("b", 3_000_000)), AGAIN),
    "words.parquet": (lambda p: table(p, text=lists("a", 3_000_000), label=["b"]), AGAIN),
    "bytes.parquet": (as_bytes, "column 'text' has values of 1,048,576 bytes: refused"),
    "plain.parquet": (plain, "bytes of values in .* bytes: the same ones"),
    "some-words.parquet": (lambda p: table(p, text=lists(NOISE[:60_000], 100_000), label=["b"]), "values of 60,000 "),
    "long-words.parquet": (lambda p: table(p, text=lists(NOISE, 100_000), label=["b"]), "values of 1,048,576 bytes in"),
    "line.jsonl.gz": (lambda p: p.write_bytes(packed(b"x", 3 * 2**28)), "line 1 is longer than"),
    "lines.jsonl.gz": (lambda p: p.write_bytes(packed(b'{"text":"","label":0}\n', 10**6)), UNPACKS),
    "lines.csv.gz": (lambda p: p.write_bytes(packed(b",\n", 10**7, b"text,label\n")), UNPACKS),
    "lines.conll.gz": (lambda p: p.write_bytes(packed(b"a b\n\n", 4 * 10**6)), UNPACKS),
    "quotes.csv.gz": (lambda p: p.write_bytes(packed(b'""\n', 8 * 10**6, b'"text",label\n"')), UNPACKS),
    "deep.json": (lambda p: p.write_bytes(b'[{"text":' + b"[" * 900_000), "not JSON"),
    "objects.jsonl": (lambda p: p.write_bytes(b'{"text":[' + b"{}," * 20_000_000), VALUES),
    "lists.jsonl": (lambda p: p.write_bytes(b'{"text":[' + b"[]," * 20_000_000), VALUES),
    "list.json": (lambda p: p.write_bytes(b'[{"text":[' + b"[]," * 20_000_000), VALUES),
    "keys.json": (lambda p: p.write_bytes(b'[{"text":{' + b'"":0,' * 10_000_000), VALUES),
    "columns.csv": (lambda p: p.write_bytes(b"," * 60_000_000), VALUES),
    "columns.tsv": (lambda p: p.write_bytes(b"\t" * 60_000_000), VALUES),
    "columns.conll": (lambda p: p.write_bytes(b"a " * 30_000_000), VALUES),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FILES)
def test_a_small_file_makes_no_large_work(name: str, tmp_path: Path) -> None:
    make, message = FILES[name]
    make(tmp_path / name)
    printed = run_limited(READ, tmp_path / name, EVERYTHING, "text label")
    assert re.search(message, printed) and len(printed) < 1000 and name in printed


@pytest.mark.timeout(60)
@pytest.mark.parametrize("column", ["text", "le.texte"])
def test_a_long_value_in_every_row_is_decoded_a_few_rows_at_a_time(column: str, tmp_path: Path) -> None:
    """Of a megabyte, in a hundred thousand rows: whoever reads some of them has no more in memory."""
    table(tmp_path / "a.parquet", **{column: repeated(NOISE, 100_000), "label": repeated("b", 100_000)})
    assert (tmp_path / "a.parquet").stat().st_size < 4_000_000
    assert run_limited(READ, tmp_path / "a.parquet", 300, f"{column} label") == "300 rows\n"


def test_what_is_long_but_honest_is_read(tmp_path: Path) -> None:
    texts = [f"{i} " + "à demain, dit-elle, " * (5000 if i == 3 else 1) for i in range(3000)]
    table(tmp_path / "a.parquet", text=texts, label=["b"] * 3000)
    assert run_limited(READ, tmp_path / "a.parquet", EVERYTHING, "text label") == "3000 rows\n"
