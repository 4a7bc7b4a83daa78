"""Readers and records under random bytes: a row, or an error meant for people; nothing else, and no hang.

pytest tests/data/test_fuzz.py                                  a few examples each
pytest tests/data/test_fuzz.py -m slow                          many
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_bench.data import archives, formats, registry, sources
from flue_bench.errors import DataError, RecordError, TaskFileError
from flue_bench.results.store import Store, read_record
from support.bad_files import SENTENCE, TOKENS, jsonl, table, tarred, tsv, zipped
from support.factories import make_record

FEW, MANY = 40, 200
READERS = ("d.csv", "d.tsv", "d.jsonl", "d.parquet", "d.conll", "d.conllu", "d.tsv.gz", "d.jsonl.xz", "d.csv.bz2")
GOOD = {
    "d.csv": b'text,label\n"Le ""th\xc3\xa9"", froid",oui\nLe vin,non\n',
    "d.tsv": tsv(),
    "d.jsonl": jsonl(),
    "d.parquet": table(text=["Le thé", "Le vin"] * 20, label=[0, 1] * 20),
    "d.conll": b"Le\tO\nchat\tO\n\nPaul PER\n",
    "d.conllu": b"# text = Le chat\n1\tLe\t_\tO\n2\tchat\t_\tO\n",
    "d.tsv.gz": gzip.compress(tsv()),
    "d.jsonl.xz": lzma.compress(jsonl()),
    "d.csv.bz2": bz2.compress(b"text,label\nLe,oui\n"),
}
ARCHIVES = {"a.tar.gz": tarred(("d.tsv", tsv())), "a.zip": zipped(("d.tsv", tsv()))}


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes of a good file, some of them changed, some cut off, some more put in; or none of it."""
    content = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        where = draw(st.integers(0, len(content)))
        cut = draw(st.integers(0, 8))
        content[where : where + cut] = draw(
            st.binary(max_size=8) | st.sampled_from([b"\n", b"\t", b'"', b"\x00", b"{"])
        )
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which one thing, somewhere, is another."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: draw(changed(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(changed(value[place])), *value[place + 1 :]]
    return draw(JSON)


def fuzz(examples: int) -> Any:
    return settings(max_examples=examples, deadline=2000)


def read(name: str, content: bytes, folder: Path) -> None:
    """As a task reads it: the rows, then the examples."""
    (folder / name).write_bytes(content)
    tokens = "conll" in name
    try:
        rows = list(formats.sentences(folder / name) if tokens else formats.rows(folder / name, ["text", "label"]))
    except DataError as error:
        assert str(folder / name) in str(error) and len(str(error)) < 2000
        return
    assert all(len(values) >= 2 for _, values in rows)
    task = registry.Registered(_task(TOKENS if tokens else SENTENCE, name), folder / "essai.toml", "")
    try:
        data = sources.load(task)
    except DataError as error:
        assert len(str(error).splitlines()) <= 2 and len(str(error)) < 2000
        return
    assert {example.label for example in data.splits["train"]} <= {-1, 0, 1}


def _task(text: str, name: str) -> Any:
    from flue_bench.task import Task

    return Task.model_validate(tomllib.loads(text.replace("FILE", name)))


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_readers(name: str, examples: int, tmp_path: Path) -> None:
    read(name, GOOD[name], tmp_path)

    @fuzz(examples)
    @given(damaged(GOOD[name]) | st.binary(max_size=64))
    def check(content: bytes) -> None:
        read(name, content, tmp_path)

    check()


EVERY_BYTE = """
import sys
from pathlib import Path
from flue_bench.data.formats import rows
from flue_bench.errors import DataError

path, told = Path(sys.argv[1]), 0
good = path.read_bytes()
for place in range(len(good) - 8 - int.from_bytes(good[-8:-4], "little"), len(good) - 8):
    for change in (1, 2, 64, 255):
        path.write_bytes(good[:place] + bytes([good[place] ^ change]) + good[place + 1 :])
        try:
            list(rows(path, ["text", "label"]))
        except DataError:
            told += 1
print(told)
"""


def test_no_byte_of_a_parquet_files_description_ends_the_process(tmp_path: Path) -> None:
    """pyarrow aborts the process where a chunk's description does not fit its column."""
    (tmp_path / "d.parquet").write_bytes(GOOD["d.parquet"])
    command = [sys.executable, "-c", EVERY_BYTE, str(tmp_path / "d.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, examples: int, tmp_path: Path) -> None:
    count = 0

    @fuzz(examples)
    @given(damaged(ARCHIVES[name]))
    def check(content: bytes) -> None:
        nonlocal count
        count += 1
        (tmp_path / name).write_bytes(content)
        target = tmp_path / "out" / str(count)
        try:
            archives.unpack([tmp_path / name], target)
        except DataError as error:
            assert len(str(error).splitlines()) == 1
        assert target.is_dir() or not list((tmp_path / "out").glob(f".{count}-*"))
        assert sorted(path.name for path in tmp_path.iterdir()) in ([name], [name, "out"], ["out", name])

    check()


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_task_files(examples: int, tmp_path: Path) -> None:
    @fuzz(examples)
    @given(damaged(SENTENCE.encode()) | damaged(TOKENS.encode()))
    def check(content: bytes) -> None:
        (tmp_path / "a.toml").write_bytes(content)
        try:
            registry.load_file(tmp_path / "a.toml")
        except TaskFileError as error:
            assert "a.toml" in str(error) and len(str(error).splitlines()) <= 2

    check()


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_records(examples: int, tmp_path: Path) -> None:
    """A changed record is refused, or validates and still describes the cell that it names."""
    good = json.loads(json.dumps(make_record().model_dump()))
    folder = tmp_path / "runs" / "m" / "t"
    folder.mkdir(parents=True)
    path = folder / "seed0-0123456789abcdef.json"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = read_record(path)
        except RecordError as error:
            assert path.name in str(error) and len(str(error).splitlines()) == 1
            (listed,) = Store(tmp_path).read().damaged
            assert listed.path == path.relative_to(tmp_path)
        else:
            assert found.cell_digest == found.cell.digest
            assert all(-1 <= score <= 1 for score in found.scores.values())

    @fuzz(examples)
    @given(changed(good))
    def values(content: Any) -> None:
        check(json.dumps(content).encode())

    @fuzz(examples)
    @given(damaged(json.dumps(good).encode()))
    def raw(content: bytes) -> None:
        check(content)

    check(json.dumps(good).encode())
    values()
    raw()
