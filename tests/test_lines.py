"""Text files in lines: the same whatever they are packed in, and in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from flue_bench import files, lines
from flue_bench.errors import DataError
from flue_bench.lines import lines as lines_of

TEXT = "\ufeffpremière\r\ndeux\u2028encore\n\ntrois\rquatre\nsans fin".encode()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".GZ": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pyarrow.Codec("zstd").compress(content).to_pybytes(),
}


@pytest.mark.parametrize("suffix", PACK)
def test_lines_end_at_newlines_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](TEXT))
    assert list(lines_of(path)) == [
        (1, "première\r\n"),
        (2, "deux\u2028encore\n"),
        (3, "\n"),
        (4, "trois\rquatre\n"),
        (5, "sans fin"),
    ]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_packed_files_one_after_the_other_are_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACK[suffix](b"a\nb") + PACK[suffix](b"c\n" * 100_000) + b"\0" * (8 if suffix == ".xz" else 0))
    found = [line for _, line in lines_of(path)]
    assert len(found) == 100_001 and found[:2] == ["a\n", "bc\n"]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_what_is_cut_off_or_none_is_told(tmp_path: Path, suffix: str) -> None:
    whole = PACK[suffix](b"".join(b"%d\n" % i for i in range(50_000)))
    for content in (whole[: len(whole) // 2], b"not packed\n" * 10):
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.\w+ cannot be read after line \d+: "):
            list(lines_of(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", PACK)
def test_an_endless_line_takes_no_memory(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 2**16)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACK[suffix](b"a\n" + b"x" * 2**25))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="line 2 is longer than 65,536 bytes"):
            list(lines_of(path))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_dictionary_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """Some 60 bytes that ask for 4 GiB."""
    packed = bytearray(lzma.compress(b"a\n"))
    size = 4 * (packed[12] + 1)  # of the block's header, which ends with its CRC
    packed[16] = 40  # its dictionary
    packed[12 + size - 4 : 12 + size] = zlib.crc32(packed[12 : 12 + size - 4]).to_bytes(4, "little")
    (tmp_path / "a.xz").write_bytes(packed)
    with pytest.raises(DataError, match="Memory usage limit exceeded"):
        list(lines_of(tmp_path / "a.xz"))


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\nb\xe9\n")
    with pytest.raises(DataError, match=r"a\.txt, line 2: byte 0xe9 is not UTF-8. Convert the file to UTF-8"):
        list(lines_of(tmp_path / "a.txt"))


def test_utf_16_without_its_mark_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("été\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a\.txt, after line 0: it is not utf-16, .* encoding = \"utf-16-le\"") as told:
        list(lines_of(path, encoding="utf-16"))
    assert "BOM" in str(told.value)
    assert list(lines_of(path, encoding="utf-16-le")) == [(1, "été\n")]


def test_how_far_a_file_has_been_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % i for i in range(100_000))))
    with files.opened(path) as raw:
        read = [raw.tell() for _ in lines_of(path, raw)]
    assert read == sorted(read) and read[-1] == path.stat().st_size


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("encoding", [None, "cp1252", "utf-16"])
def test_a_pointer_of_git_lfs_is_no_text(tmp_path: Path, suffix: str, encoding: str | None) -> None:
    """Read as text it would be a document of its own, and an unpacker says nothing that helps."""
    (tmp_path / f"a.txt{suffix}").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"a\.txt.* is a pointer of git-LFS, not the file\. Run `git lfs pull`"):
        list(lines_of(tmp_path / f"a.txt{suffix}", encoding=encoding))


def test_a_text_about_git_lfs_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"# " + POINTER)
    assert len(list(lines_of(tmp_path / "a.txt"))) == 3


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a"])
@pytest.mark.parametrize("encoding", [None, "cp1252"])
def test_a_packed_file_by_a_plain_name_is_told(tmp_path: Path, name: str, encoding: str | None) -> None:
    (tmp_path / name).write_bytes(gzip.compress(TEXT))
    with pytest.raises(DataError, match=rf"is packed by gzip: unpack it, or rename it to {name}\.gz\."):
        list(lines_of(tmp_path / name, encoding=encoding))
    renamed = (tmp_path / name).rename(tmp_path / f"{name}.gz")  # the advice
    assert len(list(lines_of(renamed))) == 5
