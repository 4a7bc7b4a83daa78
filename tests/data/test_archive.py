from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import shutil
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flue_bench.data import archives
from flue_bench.errors import DataError

FILES = {"corpus/fr/train.tsv": "texte\tnote\n", "corpus/fr/test.tsv": "été\t1\n", "corpus/LISEZMOI": "Bonjour."}


def tar(path: Path, files: dict[str, str], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w:xz") as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            info.mode = 0o4777
            out.addfile(info, io.BytesIO(content.encode()))
        for info in more:
            out.addfile(info)
    return path


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("name", "make"), [("a.tar.gz", tar), ("a.tgz", tar), ("a.tar.xz", tar), ("a.zip", zipped)])
def test_unpacks(tmp_path: Path, name: str, make: Callable[[Path, dict[str, str]], Path]) -> None:
    file = make(tmp_path / name, FILES)
    archives.unpack([file], tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    assert not (tmp_path / "out/corpus/LISEZMOI").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
    archives.unpack([file], tmp_path / "some", ["corpus/*/te*.tsv"])
    assert list(contents(tmp_path / "some")) == ["corpus/fr/test.tsv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "out", "some"])


def test_several_side_by_side_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "mots.bz2").write_bytes(bz2.compress(b"un|D|O"))
    files = [zipped(tmp_path / "a.zip", {"a/x": "1"}), tmp_path / "mots.bz2"]
    archives.unpack(files, tmp_path / "deep/out")
    assert contents(tmp_path / "deep/out") == {"a/x": "1", "mots": "un|D|O"}
    files[0].unlink()
    archives.unpack(files, tmp_path / "deep/out")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_file_of_one_archive_replaces_none_of_another(name: str, tmp_path: Path) -> None:
    make = zipped if name == "a.zip" else tar
    both = [make(tmp_path / name, {"train.tsv": "1", "README": "1"}), zipped(tmp_path / "b.zip", {"train.tsv": "2"})]
    with pytest.raises(DataError, match=r"b\.zip: 'train\.tsv' was unpacked before"):
        archives.unpack(both, tmp_path / "out", ["*.tsv"])
    assert not (tmp_path / "out").exists()
    archives.unpack(both, tmp_path / "out", ["READ*"])
    assert contents(tmp_path / "out") == {"README": "1"}


def test_a_member_that_stands_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out, pytest.warns(UserWarning, match="Duplicate name"):
        out.writestr("train.tsv", "1")
        out.writestr("train.tsv", "2")
    with pytest.raises(DataError, match=r"'train\.tsv' was unpacked before"):
        archives.unpack([tmp_path / "a.zip"], tmp_path / "out")


def test_stems() -> None:
    names = ["x-final.tar.gz", "XNLI-1.0.zip", "aij-wikiner-fr-wp3.bz2", "a.tgz", "README"]
    assert [archives.stem(name) for name in names] == ["x-final", "XNLI-1.0", "aij-wikiner-fr-wp3", "a", "README"]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "c:evil"])
@pytest.mark.parametrize(("suffix", "make"), [("tar.gz", tar), ("zip", zipped)])
def test_paths_that_lead_out(
    tmp_path: Path, name: str, suffix: str, make: Callable[[Path, dict[str, str]], Path]
) -> None:
    file = make(tmp_path / f"a.{suffix}", {"good": "1", name: "evil"})
    with pytest.raises(DataError, match="leads out of its folder"):
        archives.unpack([file], tmp_path / "in/out")
    assert list((tmp_path / "in").iterdir()) == []
    assert not list(tmp_path.rglob("*evil*"))


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("lien")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(DataError, match="'lien' is a link or a device"):
            archives.unpack([tar(tmp_path / "a.tar.gz", {}, info)], tmp_path / "out")
    linked = zipfile.ZipInfo("lien")
    linked.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(linked, "/etc/passwd")
    with pytest.raises(DataError, match="'lien' is a link or a device"):
        archives.unpack([tmp_path / "a.zip"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"zeros": "0" * 2**20})
    monkeypatch.setattr(archives, "RATIO_FREE", 2**10)
    with pytest.raises(DataError, match=r"unpacks to more than [\d,]+ bytes"):
        archives.unpack([bomb], tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_RATIO", 10**6)
    archives.unpack([bomb], tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20 + 2**19)
    with pytest.raises(DataError, match="unpacks to more than 524,288 bytes"):  # what the first one left
        archives.unpack([bomb, zipped(tmp_path / "b.zip", {"more": "0" * 2**20})], tmp_path / "twice")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="more than 2 files"):
        archives.unpack([tar(tmp_path / "a.tgz", FILES)], tmp_path / "many")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip", "a.bz2", "a.xz", "a.gz"])
def test_damage_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    if name == "a.tar.gz":
        tar(whole, FILES)
    elif name == "a.zip":
        zipped(whole, FILES)
    else:
        whole.write_bytes(bz2.compress(b"un" * 999))  # for .xz and .gz: another format than the name says
    whole.write_bytes(whole.read_bytes()[:-40] if name != "a.bz2" else whole.read_bytes()[:-4])
    with pytest.raises(DataError, match=rf"{name} cannot be unpacked"):
        archives.unpack([whole], tmp_path / "in/out")
    assert list((tmp_path / "in").iterdir()) == []


def test_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="not an archive that flue-bench reads"):
        archives.unpack([tmp_path / "a.rar"], tmp_path / "out")


# --- small archives, large work ---------------------------------------------------------------------------------------


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def tar_of(path: Path, *parts: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(parts) + bytes(1024)))
    return path


def zip_of(path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        out.writestr("zeros", bytes(2**26))
    return path


def many(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for i in range(3000):
            out.writestr(f"unwanted/{'x' * 6000}{i}", "")
    return path


def pax(size: int) -> bytes:
    record = b"comment=" + b"x" * (size - 20) + b"\n"
    length = len(record) + len(str(size)) + 1
    content = b"%d " % length + record
    return content + bytes(-len(content) % 512)


BOMBS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bzip2 in a zip": (lambda d: zip_of(d / "a.zip", zipfile.ZIP_BZIP2), "with a method other than deflate"),
    "lzma in a zip": (lambda d: zip_of(d / "a.zip", zipfile.ZIP_LZMA), "with a method other than deflate"),
    "a table of contents": (lambda d: many(d / "a.zip"), "has a table of contents of"),
    "a long name": (
        lambda d: tar_of(d / "a.tgz", header(b"L", 2**26), bytes(2**26), header(b"0", 0)),
        "has a header of 67,108,864 bytes",
    ),
    "a pax header": (
        lambda d: tar_of(d / "a.tgz", header(b"x", 2**26), bytes(2**26), header(b"0", 0)),
        "has a header of 67,108,864 bytes",
    ),
    "pax headers without end": (
        lambda d: tar_of(d / "a.tgz", *[header(b"x", len(pax(60_000))) + pax(60_000)] * 5000),
        r"unpacks to more than|cannot be unpacked \(RecursionError",
    ),
    "what is not wanted": (
        lambda d: tar_of(d / "a.tgz", header(b"0", 2**28, "unwanted"), bytes(2**28)),
        "unpacks to more than",
    ),
    "members that are not wanted": (
        lambda d: tar_of(d / "a.tgz", header(b"0", 0, "unwanted") * 1001),
        "more than 1,000 files",
    ),
    "folders": (lambda d: tar_of(d / "a.tgz", header(b"5", 0, "wanted/") * 1001), "more than 1,000 files"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_archives_make_no_large_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is at most some hundred kilobytes and took gigabytes, or has no end."""
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1000)
    make, said = BOMBS[name]
    archive = make(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=said):
            archives.unpack([archive], tmp_path / "out", ["wanted/*"] if "wanted" in name or name == "folders" else [])
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "out").exists() and [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_unpacked_files_have_the_modes_of_the_umask(tmp_path: Path) -> None:
    archives.unpack([tar(tmp_path / "a.tgz", FILES)], tmp_path / "out")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~umask


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_headers_are_told(data: st.DataObject, tmp_path: Path) -> None:
    """Any bytes of an archive may be others: it is unpacked, or refused in a line."""
    name, make = data.draw(st.sampled_from([("a.tar.gz", tar), ("a.zip", zipped), ("a.tar.xz", tar)]))
    content = bytearray(make(tmp_path / name, FILES).read_bytes())
    packed = name == "a.tar.gz"
    if packed:
        content = bytearray(gzip.decompress(content))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if packed else content)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with contextlib.suppress(DataError):
        archives.unpack([tmp_path / name], tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"a.tar.gz", "a.zip", "a.tar.xz", "out"}
