"""The one writer and the one reader: nothing half written, nothing through a link, nothing that hangs."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from flue_bench import files
from flue_bench.errors import RecordError

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")


def below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"new", lambda file: file.write(b"new")])
def test_a_file_is_written_and_replaced_with_nothing_beside_it(tmp_path: Path, content: files.Content) -> None:
    for before in (None, b"old"):
        if before is not None:
            (tmp_path / "a").write_bytes(before)
        files.write(tmp_path / "a", content)
        assert below(tmp_path) == {"a": b"new"}


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_of_the_user_holds(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write(tmp_path / "in" / "written", b"x", tmp_path)
        files.create(tmp_path / "created").close()
        files.append(tmp_path / "appended", b"x")
    finally:
        os.umask(before)
    for name in ("in/written", "created", "appended"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_what_is_staged_is_seen_once_it_is_placed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with files.staged(tmp_path / "a", b"new") as place:
        assert (tmp_path / "a").read_bytes() == b"old" and sorted(below(tmp_path).values()) == [b"new", b"old"]
        place()
        assert below(tmp_path) == {"a": b"new"}
    with files.staged(tmp_path / "a", b"never placed"):
        pass
    assert below(tmp_path) == {"a": b"new"}


def broken(file: BinaryIO) -> None:
    file.write(b"half")
    raise KeyboardInterrupt


def test_an_interrupted_writer_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a", broken)
    assert below(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("name", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (errno.ENOSPC, "No space left on device; free some space and run again"),
        (errno.EDQUOT, "uota exceeded; free some space and run again"),
        (errno.EROFS, "Read-only file system; check the folder and run again"),
        (errno.EPERM, "Operation not permitted; check the folder and run again"),
        (errno.EXDEV, "ross-device link; check the folder and run again"),
    ],
)
def test_what_the_disk_refuses_is_said_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: int, said: str
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def refused(*_: Any) -> None:
        raise OSError(fault, os.strerror(fault))

    content: files.Content = b"new"
    if name == "write":
        content = refused
    else:
        monkeypatch.setattr(os, name, refused)
    with pytest.raises(RecordError, match=f"a: cannot be written: .*{said}"), files.explained(tmp_path / "a"):
        files.write(tmp_path / "a", content)
    assert below(tmp_path) == {"a": b"old"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own; only root can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_and_one_that_became_read_only(disk: Path) -> None:
    files.write(disk / "runs" / "a", b"old", disk)
    for content in (bytes(2**21), lambda file: [file.write(bytes(2**16)) for _ in range(32)]):
        with pytest.raises(RecordError, match="No space left on device; free some space"), files.explained(disk):
            files.write(disk / "runs" / "a", content, disk)
        assert below(disk) == {"a": b"old"} and shutil.disk_usage(disk).used < 2**16
    with pytest.raises(RecordError, match="No space left on device"), files.explained(disk):
        files.append(disk / "log", bytes(2**21))
    (disk / "log").unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for attempt in (
        lambda: files.write(disk / "runs" / "a", b"new", disk),
        lambda: files.write(disk / "b" / "a", b"new", disk),
        lambda: files.append(disk / "log", b"line"),
        lambda: files.create(disk / "shard"),
    ):
        with pytest.raises(RecordError, match="Read-only file system; check the folder"), files.explained(disk):
            attempt()
    assert below(disk) == {"a": b"old"}


def many(folder: Path, letter: str) -> None:
    for _ in range(50):
        files.write(folder / "in" / "a", letter.encode() * 10_000, folder)


def test_two_writers_of_one_file_leave_one_of_the_two(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=many, args=(tmp_path, letter)) for letter in "xy"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "in" / "a").exists():
            content = (tmp_path / "in" / "a").read_bytes()
            assert content in (b"x" * 10_000, b"y" * 10_000)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a"]


@posix
@pytest.mark.parametrize("write", [files.write, lambda path, content: files.create(path).close()])
def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path, write: Callable[..., None]) -> None:
    (tmp_path / "private").write_bytes(b"mine")
    for leads_to in ("private", "not there"):
        (tmp_path / "a").unlink(missing_ok=True)
        (tmp_path / "a").symlink_to(tmp_path / leads_to)
        write(tmp_path / "a", b"")
        assert not (tmp_path / "a").is_symlink() and below(tmp_path) == {"private": b"mine", "a": b""}


@posix
def test_nothing_is_appended_through_a_link_or_to_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "private")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "pipe"):
        with pytest.raises(OSError):
            files.append(tmp_path / name, b"line")
    assert below(tmp_path) == {"private": b"mine"}
    files.append(tmp_path / "private", b" and yours")
    assert below(tmp_path) == {"private": b"mine and yours"}


@posix
@pytest.mark.parametrize("step", ["runs", "runs/model", "runs/model/task"])
@pytest.mark.parametrize("leads_to", ["outside", "nowhere", "file"])
def test_a_folder_that_is_a_link_is_not_written_through(tmp_path: Path, step: str, leads_to: str) -> None:
    root, outside = tmp_path / "results", tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    (root / step).parent.mkdir(parents=True)
    (root / step).symlink_to(tmp_path / leads_to)
    said = f"'{step}' is a link, and nothing is written through one"
    with pytest.raises(RecordError, match=said), files.explained(root):
        files.write(root / "runs" / "model" / "task" / "a", b"x", root)
    assert not list(outside.iterdir()) and not (tmp_path / "nowhere").exists() and below(tmp_path) == {"file": b"mine"}


@posix
def test_the_folder_that_the_user_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "scratch")
    files.write(tmp_path / "results" / "runs" / "a", b"x", tmp_path / "results")
    assert (tmp_path / "scratch" / "runs" / "a").read_bytes() == b"x"


@posix
def test_links_planted_under_names_that_could_be_guessed_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").write_bytes(b"mine")
    for name in ("a.tmp", f"a.{os.getpid()}.tmp", f".a.{os.getpid()}.part"):
        (tmp_path / name).symlink_to(tmp_path / "private")
    files.write(tmp_path / "a", b"x")
    assert below(tmp_path) == {"private": b"mine", "a": b"x"}
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 16)
    with files.staged(tmp_path / "b", b"x"):
        (guessed,) = tmp_path.glob("b.*")
    guessed.symlink_to(tmp_path / "private")
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "b", b"x")
    assert below(tmp_path)["private"] == b"mine"


def test_a_writer_makes_no_folder_that_nobody_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "misspelt" / "a", b"x")
    assert not list(tmp_path.iterdir())


@posix
def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with files.staged(tmp_path / "a", b"x"):
        (ours,) = tmp_path.glob("a.*")
        dead = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{process.pid}-"))
        other = ours.with_name(f"b{dead.name[1:]}")
        elsewhere = ours.with_name(f"a.another-host-{process.pid}-{'0' * 16}.tmp")
        for path in (dead, other, elsewhere):
            path.write_bytes(b"half")
        files.write(tmp_path / "a", b"new")
        assert ours.exists() and other.exists() and elsewhere.exists() and not dead.exists()


@pytest.mark.parametrize("name", ["é" * 120, "x" * 250, "nom avec espaces.json"])
def test_long_names_can_be_written(tmp_path: Path, name: str) -> None:
    files.write(tmp_path / name, b"x")
    assert below(tmp_path) == {name: b"x"}


# --- reading ----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "link to pipe", "device", "link to device", "folder", "loop"])
def test_special_files_are_neither_waited_for_nor_read(tmp_path: Path, kind: str, root: bool) -> None:
    path = tmp_path / "a"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to pipe":
            os.mkfifo(tmp_path / "p")
            path.symlink_to(tmp_path / "p")
        case "device":
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        case "link to device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
    done = threading.Event()

    def attempt() -> None:
        with pytest.raises(OSError):
            files.read(path, root=tmp_path if root else None)
        done.set()

    threading.Thread(target=attempt, daemon=True).start()
    assert done.wait(10)


@posix
def test_links_are_followed_within_the_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "blobs", inside / "snapshot", outside):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(folder.name.encode())
    (inside / "snapshot" / "link").symlink_to("../blobs/file")
    (inside / "snapshot" / "leads out").symlink_to(outside / "file")
    (inside / "linked folder").symlink_to(outside)
    (tmp_path / "in2").mkdir()
    (tmp_path / "in2" / "file").write_bytes(b"a sibling whose name begins alike")
    (inside / "sibling").symlink_to(tmp_path / "in2" / "file")
    assert files.read(inside / "snapshot" / "link", root=inside) == b"blobs"
    for name in ("snapshot/leads out", "linked folder/file", "../out/file", "sibling"):
        with pytest.raises(OSError, match="a link leads out of"):
            files.read(inside / name, root=inside)
        files.read(inside / name)  # named by the user
    (tmp_path / "named").symlink_to(inside)
    assert files.read(tmp_path / "named" / "snapshot" / "link", root=tmp_path / "named") == b"blobs"


@posix
def test_a_path_without_links_is_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolving looks at each folder from the top of the disk, for each of ten thousand records."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"plain")
    looked = []
    lstat = os.lstat

    def counted(path: Any) -> os.stat_result:
        looked.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", counted)
    assert files.read(tmp_path / "a" / "b" / "file", root=tmp_path) == b"plain"
    assert looked == [str(tmp_path / name) for name in ("a", "a/b", "a/b/file")]
    for name in ("a/none", "none/file"):
        with pytest.raises(FileNotFoundError):
            files.read(tmp_path / name, root=tmp_path)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    assert files.read(tmp_path / "a", 1000) == bytes(1000)
    with pytest.raises(OSError, match="1,000 bytes, and 999 is the limit"):
        files.read(tmp_path / "a", 999)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="is the limit"):
        files.read(tmp_path / "sparse")
    (tmp_path / "empty").touch()
    assert files.read(tmp_path / "empty", 0) == b""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_file_without_a_size_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(OSError, match="grows while it is read"):
        files.read(Path("/proc/self/status"))


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_cache_is_the_readers_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FLUE_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert files.cache_dir() == tmp_path / ".cache" / "flue-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert files.cache_dir() == tmp_path / "xdg" / "flue-bench"
    monkeypatch.setenv("FLUE_BENCH_CACHE", "~/own")
    assert files.cache_dir() == tmp_path / "own"


def test_a_scratch_folder_is_its_processes_own_and_gone_afterwards(tmp_path: Path) -> None:
    target = tmp_path / "student"
    with files.scratch(target) as one, files.scratch(target) as other:
        assert one != other and one.parent == other.parent == tmp_path
        for folder in (one, other):
            assert folder.name.startswith(f"{files._prefix(target)}{os.getpid()}-")
            (folder / "inside").mkdir()
            (folder / "inside" / "a").write_text("a")
        os.replace(one / "inside" / "a", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@posix
def test_what_a_killed_process_left_in_a_scratch_folder_goes(tmp_path: Path) -> None:
    with files.scratch(tmp_path / "student") as folder:
        dead = subprocess.Popen(["true"])
        dead.wait()
        left = folder.with_name(folder.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        (left / "half").mkdir(parents=True)
        elsewhere = folder.with_name(left.name.replace("student.", "student.another-host-"))
        elsewhere.mkdir()
        with files.scratch(tmp_path / "student"):
            assert not left.exists() and folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == [elsewhere.name]  # whether that process lives, who knows
