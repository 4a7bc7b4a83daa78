"""Locks between processes, and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from flue_bench.errors import RecordError
from flue_bench.jobs import doctor
from flue_bench.locks import Lock


def without(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A file system that answers every flock with this error."""

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("left", [False, True], ids=["new", "touched before"])
def test_where_there_are_no_locks_nobody_waits_and_it_is_told(
    code: int, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file of that name is no sign of another process."""
    path = tmp_path / ".locks" / "cell.lock"
    if left:
        path.parent.mkdir()
        path.touch()
    without(monkeypatch, code)
    for _ in range(2):
        with Lock(path) as lock, Lock(path) as again:
            assert lock.missing == again.missing == os.strerror(code)
            assert f"no locks ({os.strerror(code)})" in lock.warning and str(path.parent) in lock.warning


def test_a_lock_that_is_there_has_nothing_to_tell(tmp_path: Path) -> None:
    with Lock(tmp_path / "a" / "lock") as lock:
        assert lock.missing is None and not lock.warning
        with Lock(tmp_path / "a" / "lock"):  # the same process
            pass


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_disk_that_is_ill_is_no_missing_lock(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, code)
    with pytest.raises(RecordError, match=r"cannot be written: .*--results"):
        Lock(tmp_path / "lock").acquire()


def test_the_doctor_tries_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {finding.what: finding for finding in doctor._sharing(tmp_path)}
    assert said["renames"].state == "ok"
    assert said["locks"].state in ("ok", "note") and "exclude each other" in said["locks"].found
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(doctor, "_file_system", lambda folder: "lustre")
    found = doctor._locks(tmp_path)
    assert found.state == "note" and "two machines do on lustre" in found.found and "--results" in found.advice


def test_the_doctor_tells_locks_that_are_missing_or_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        without(patch, errno.ENOLCK)
        found = doctor._locks(tmp_path)
        assert found.state == "note" and found.found.startswith("none on this file system (") and found.advice
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # granted to whoever asks
    found = doctor._locks(tmp_path)
    assert found.state == "problem" and found.found == "two processes held one lock" and found.advice


def test_the_doctor_tells_renames_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", replace)
    found = doctor._renames(tmp_path)
    assert found.state == "problem" and "cannot be renamed" in found.found and "--results" in found.advice


def test_the_type_of_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    (folder := tmp_path / "à côté" / "b").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    lines = [
        "/dev/sda1 / ext4 rw 0 0",
        f"srv:/x {tmp_path.resolve()}/à\\040côté nfs4 rw 0 0",
        "tmpfs /run tmpfs rw 0 0",
    ]
    mounts.write_text("\n".join(lines), encoding="utf-8")
    assert doctor._file_system(folder, mounts) == "nfs4"
    assert doctor._file_system(tmp_path, mounts) == "ext4"
    assert doctor._file_system(tmp_path, tmp_path / "none") == ""


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("planted", ["file", "dangling", "folder link", "device", "locks", "folder", "pipe"])
def test_what_is_planted_as_a_lock_is_named_and_neither_followed_nor_waited_for(planted: str, tmp_path: Path) -> None:
    theirs, results = tmp_path / "theirs", tmp_path / "results"
    theirs.write_text("precious")
    path = results / ".locks" / "0123456789abcdef.lock"
    (results if planted == "locks" else path.parent).mkdir(parents=True)
    match planted:
        case "file":
            path.symlink_to(theirs)
        case "dangling":
            path.symlink_to(tmp_path / "new")
        case "folder link":
            path.symlink_to(tmp_path)
        case "device":
            path.symlink_to("/dev/zero")
        case "locks":
            path.parent.symlink_to(tmp_path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    lock = Lock(path, results)
    if planted == "pipe":  # it can be locked as any file, and nothing is read from it
        lock.acquire()
        lock.release()
    else:
        with pytest.raises(RecordError, match=r"cannot be written: .*(link|directory).*--results") as error:
            lock.acquire()
        assert len(str(error.value).splitlines()) == 1 and str(path) in str(error.value)
    assert theirs.read_text() == "precious" and {path.name for path in tmp_path.iterdir()} == {"theirs", "results"}


@pytest.mark.skipif(os.name != "posix", reason="modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_lock_file_has_the_mode_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with Lock(tmp_path / ".locks" / "a.lock", tmp_path):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".locks" / "a.lock").stat().st_mode) == mode
