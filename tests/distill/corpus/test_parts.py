"""A corpus made in parts is, to the byte, that of one machine, whatever their number and whatever happens to them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flue_bench.errors import DataError, RecordError, UsageError
from flue_bench.progress import Console, Display
from flue_distill.corpus import parts, shards, texts, tokens
from flue_distill.corpus.parts import PART, PARTS, make, merge
from flue_distill.corpus.shards import MANIFEST, build, open_corpus
from flue_distill.corpus.tokens import Pool
from support import hub_standin
from support.command_line import done, flue_bench, refused
from support.corpora import WORDS, contents, documents, tokenizer_of, write_txt

SETTINGS: dict[str, Any] = dict(shard_tokens=3000, held_out=0.1, processes=1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_of(WORDS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little text makes many batches, blocks and partitions."""
    monkeypatch.setattr(texts, "BATCH", 2000)
    monkeypatch.setattr(parts, "BLOCK", 700)
    monkeypatch.setattr(parts, "AT_ONCE", 100)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of each format, of very different sizes, one of them empty, with duplicates within and between them."""
    folder = tmp_path_factory.mktemp("sources")
    docs = documents(500)
    docs[5] = docs[6] = "trop court"
    docs[9] = "inconnu " * 20
    write_txt(folder / "a.txt", docs[:250] + docs[20:60])
    (folder / "b.txt").write_text("")
    rows = "".join(json.dumps({"text": doc}) + "\n" for doc in [*docs[200:320], "", *docs[:30]])
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    write_txt(folder / "d.txt", docs[318:321])
    (folder / "e.parquet").write_bytes(hub_standin.parquet({"text": docs[300:]}))
    (folder / "f.jsonl.zst").write_bytes(pa.compress(rows.encode(), codec="zstd", asbytes=True))
    return folder


@pytest.fixture(scope="module")
def whole(sources: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one machine makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "BATCH", 2000)
        manifest = build([sources], tokenizer, folder / "c", **SETTINGS)
    assert all(manifest.dropped.values()) and len(manifest.shards) > 8  # everything happens
    return contents(folder / "c")


@pytest.mark.parametrize("number", [1, 2, 3, 7, 40])
def test_whatever_their_number(
    number: int, sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path
) -> None:
    order = list(range(1, number + 1))
    random.Random(number).shuffle(order)  # machines come and go
    for part in order:
        make([sources], tokenizer, tmp_path / "c", part, number, **SETTINGS)
    merge(tmp_path / "c", processes=2)
    assert contents(tmp_path / "c") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_one_file_is_divided_among_all(tokenizer: Any, tmp_path: Path) -> None:
    source = write_txt(tmp_path / "a.txt", documents(400))
    build([source], tokenizer, tmp_path / "whole", **SETTINGS)
    sizes = []
    for part in range(1, 5):
        folder = make([source], tokenizer, tmp_path / "c", part, 4, **SETTINGS)
        sizes.append(sum(block["documents"] for block in json.loads((folder / PART).read_text())["blocks"]))
    merge(tmp_path / "c", processes=1)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")
    assert min(sizes) > 0.7 * max(sizes)


def test_processes_and_lines_change_nothing(tokenizer: Any, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("\n".join(line for doc in documents(120) for line in doc.splitlines()), encoding="utf-8")
    settings = SETTINGS | dict(lines=True, min_tokens=3)
    build([source], tokenizer, tmp_path / "whole", **settings)
    for part in (1, 2):
        make([source], tokenizer, tmp_path / "c", part, 2, **(settings | dict(processes=3)))
    merge(tmp_path / "c", processes=3)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


class Killed(BaseException):
    """As a kill: nothing of the program's own runs after it."""


@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_killed_part_loses_one_block_at_most(
    at: int, sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it writes block ``at``: those before are neither made nor written again."""
    real, written = parts._write_block, 0

    def dies(*arguments: Any) -> Any:
        nonlocal written
        if (written := written + 1) == at:
            raise Killed
        return real(*arguments)

    out = tmp_path / "c"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(parts, "_write_block", dies)
        make([sources], tokenizer, out, 2, 2, **SETTINGS)
    kept = contents(out / PARTS / "2-of-2")
    blocks = [name for name in kept if name.endswith(".npz")]
    assert len(blocks) == at - 1
    with pytest.raises(DataError, match=r"part 1/2, 2/2\."):
        merge(out)
    with monkeypatch.context() as patch:
        tokenised: list[int] = []
        patch.setattr(parts, "_write_block", lambda *given: (tokenised.append(given[1]), real(*given))[1])
        make([sources], tokenizer, out, 2, 2, **SETTINGS)
        assert tokenised[0] == at - 1  # and not from the start
    assert all((out / PARTS / "2-of-2" / name).read_bytes() == kept[name] for name in blocks)
    make([sources], tokenizer, out, 1, 2, **SETTINGS)
    merge(out, processes=1)
    assert contents(out) == whole


def test_a_part_that_is_made_is_not_made_again(
    sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make([sources], tokenizer, tmp_path / "c", 1, 2, **SETTINGS)
    monkeypatch.setattr(parts, "_write_blocks", lambda *_: pytest.fail("made again"))
    console = Console(record=True, file=io.StringIO())
    make([sources], tokenizer, tmp_path / "c", 1, 2, **SETTINGS, show=Display(console))
    assert "Part 1 of 2 is already made" in console.export_text()


def test_a_merge_that_was_killed_is_done_again(
    sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (1, 2):
        make([sources], tokenizer, tmp_path, part, 2, **SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(parts, "_finish", lambda *_: (_ for _ in ()).throw(Killed()))
        merge(tmp_path, processes=1)
    merge(tmp_path, processes=1)
    assert contents(tmp_path) == whole
    merge(tmp_path)  # nothing to do
    make([sources], tokenizer, tmp_path, 1, 2, **SETTINGS)
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("byte", [40, 2000, -30])
def test_every_byte_that_is_read_is_asserted(byte: int, sources: Path, tokenizer: Any, tmp_path: Path) -> None:
    for part in (1, 2):
        make([sources], tokenizer, tmp_path, part, 2, **SETTINGS)
    victim = sorted((tmp_path / PARTS / "2-of-2").glob("*.npz"))[1]
    content = bytearray(victim.read_bytes())
    content[byte] ^= 1
    victim.write_bytes(content)
    with pytest.raises(RecordError, match=r"2-of-2/000001-.* is damaged\. Delete the folder"):
        merge(tmp_path, processes=1)
    assert not (tmp_path / MANIFEST).exists()
    shutil.rmtree(victim.parent)  # as it says
    make([sources], tokenizer, tmp_path, 2, 2, **SETTINGS)
    assert merge(tmp_path, processes=1).documents


def packed(arrays: dict[str, Any], save: Callable[..., None] = np.savez) -> bytes:
    sink = io.BytesIO()
    save(sink, **arrays)
    return sink.getvalue()


def array(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], bytes]:
    return lambda arrays: packed(arrays | {name: change(arrays[name])})


def table(column: str, value: int) -> Callable[[dict[str, Any]], bytes]:
    def change(values: Any) -> Any:
        changed = values.copy()
        changed[0, parts.TABLE.index(column)] = value
        return changed

    return array("table", change)


def npy(values: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values)
    return sink.getvalue()


FOREIGN: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "empty": lambda _: b"",
    "no archive": lambda _: b"PK\x03\x04 and nothing",
    "one array": lambda arrays: npy(arrays["ids"]),
    "a pickle": lambda arrays: packed(arrays | {"ids": np.array([{}], dtype=object)}),
    "an array too few": lambda arrays: packed({name: each for name, each in arrays.items() if name != "hashes"}),
    "compressed": lambda arrays: packed(arrays | {"more": np.zeros(10**6)}, np.savez_compressed),
    "ids below zero": array("ids", lambda ids: -ids.astype(np.int64)),
    "ids too few": array("ids", lambda ids: ids[1:]),
    "floats": array("lengths", lambda lengths: lengths.astype(float)),
    "lengths below zero": array("lengths", lambda lengths: -lengths),
    "a number": array("lengths", lambda lengths: np.int64(1)),
    "hashes too few": array("hashes", lambda hashes: hashes[1:]),
    "a flat table": array("table", lambda table: table.ravel()),
    "a source below zero": table("source", -1),
    "more documents": table("documents", 10**9),
    "nowhere": array("after", lambda after: after[:2]),
}


@pytest.fixture(scope="module")
def made(sources: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of two parts, for tests that change a copy."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "BATCH", 2000)
        patch.setattr(parts, "BLOCK", 700)
        return both(sources, tokenizer, folder)


def forged(made: Path, out: Path, change: Callable[[dict[str, Any]], bytes]) -> Path:
    """A copy of both parts, the first block of the first under a name that holds its hash, whatever its bytes are."""
    shutil.copytree(made, out, dirs_exist_ok=True)
    folder = out / PARTS / "1-of-2"
    victim = min(folder.glob("*.npz"))
    with np.load(victim) as arrays:
        content = change(dict(arrays))
    victim.unlink()
    name = f"000000-{hashlib.sha256(content).hexdigest()}.npz"
    (folder / name).write_bytes(content)
    (folder / PART).write_text((folder / PART).read_text().replace(victim.name, name))
    return folder / name


@pytest.mark.parametrize("name", FOREIGN)
def test_a_block_that_somebody_else_wrote_is_refused_in_words(name: str, made: Path, tmp_path: Path) -> None:
    block = forged(made, tmp_path, FOREIGN[name])
    with pytest.raises(RecordError, match=r"npz is damaged\. Delete the folder .*/1-of-2 and make that part"):
        parts._block(block)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (FOREIGN["an array too few"], r"is damaged\. Delete the folder"),
        (array("ids", lambda ids: ids + np.uint16(60_000)), r"is damaged\. Delete the folder"),
        (table("source", 10**9), "The parts do not join in text 1000000001, which they do not have"),
    ],
    ids=["a block", "ids of another vocabulary", "a source of others"],
)
def test_what_somebody_else_wrote_is_not_joined(
    change: Callable[[dict[str, Any]], bytes], message: str, made: Path, tmp_path: Path
) -> None:
    forged(made, tmp_path, change)
    with pytest.raises((RecordError, DataError), match=message):
        merge(tmp_path, processes=1)
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"documents": 1}, "is damaged"), ({"file": f"000000-{'0' * 64}.npz"}, "cannot be read: No such file")],
)
def test_a_part_that_says_of_its_blocks_what_they_are_not(
    change: dict[str, Any], message: str, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    description = tmp_path / PARTS / "1-of-2" / PART
    said = json.loads(description.read_text())
    said["blocks"][0] |= change
    description.write_text(json.dumps(said))
    with pytest.raises(RecordError, match=message):
        merge(tmp_path, processes=1)


def test_what_does_not_belong_together_is_refused(sources: Path, tokenizer: Any, tmp_path: Path) -> None:
    out = tmp_path / "c"
    with pytest.raises(DataError, match="holds no parts"):
        merge(out)
    make([sources], tokenizer, out, 1, 3, **SETTINGS)
    with pytest.raises(DataError, match=r"not finished: part 2/3, 3/3\."):
        merge(out)
    with pytest.raises(DataError, match="Its parts are to be merged"):
        open_corpus(out)
    for changed in (dict(min_tokens=5), dict(shard_tokens=10), dict(held_out=0.2), dict(lines=True)):
        with pytest.raises(RecordError, match="parts of other texts or settings"):
            make([sources], tokenizer, out, 2, 3, **(SETTINGS | changed))
    with pytest.raises(RecordError, match="parts of other texts or settings"):
        make([sources / "a.txt"], tokenizer, out, 2, 3, **SETTINGS)
    with pytest.raises(RecordError, match="parts of a division by 3"):
        make([sources], tokenizer, out, 2, 2, **SETTINGS)
    for part in (0, 4):
        with pytest.raises(UsageError, match="numbered from 1/3 to 3/3"):
            make([sources], tokenizer, out, part, 3, **SETTINGS)
    with pytest.raises(UsageError, match="hub:org/name is streamed, by one process"):
        make(["hub:org/name"], tokenizer, out, 2, 3, **SETTINGS)


@pytest.mark.parametrize("change", ["leave out", "twice"])
def test_parts_that_did_not_read_the_same_are_found(
    change: str, sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another version of Python buffers another number of bytes."""
    real = parts._bounds

    def moved(*arguments: Any) -> Any:
        bounds = real(*arguments)
        return bounds._replace(low=bounds.low + (3000 if change == "leave out" else -3000))

    make([sources], tokenizer, tmp_path, 1, 2, **SETTINGS)
    monkeypatch.setattr(parts, "_bounds", moved)
    make([sources], tokenizer, tmp_path, 2, 2, **SETTINGS)
    with pytest.raises(DataError, match=r"do not join in .*: a batch is missing or there twice"):
        merge(tmp_path, processes=1)


def both(sources: Path, tokenizer: Any, out: Path) -> Path:
    """Both of two parts."""
    for part in (1, 2):
        make([sources], tokenizer, out, part, 2, **SETTINGS)
    return out


def test_a_second_merge_finds_what_the_first_has_made(
    sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the first one ended, and gets the lock after: it must not begin to write the shards again."""
    real = parts._locked

    @contextlib.contextmanager
    def late(*given: Any) -> Iterator[None]:
        monkeypatch.setattr(parts, "_locked", real)
        merge(tmp_path, processes=1)
        monkeypatch.setattr(parts, "_write_pair", lambda *_: pytest.fail("written again"))
        with real(*given):
            yield

    both(sources, tokenizer, tmp_path)
    monkeypatch.setattr(parts, "_locked", late)
    console = Console(record=True, file=io.StringIO())
    merge(tmp_path, processes=1, show=Display(console))
    assert "is already made" in console.export_text() and contents(tmp_path) == whole


def test_while_one_merges_another_is_refused_and_so_is_a_part(sources: Path, tokenizer: Any, tmp_path: Path) -> None:
    both(sources, tokenizer, tmp_path)
    (tmp_path / PARTS / "1-of-2" / PART).unlink()
    locks = tmp_path / PARTS / "lock", tmp_path / PARTS / "1-of-2" / "lock"
    with locks[0].open("w") as of_all, locks[1].open("w") as of_one:
        for file in (of_all, of_one):
            fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RecordError, match="1-of-2: another process is at work there"):
            make([sources], tokenizer, tmp_path, 1, 2, **SETTINGS)
        fcntl.flock(of_one, fcntl.LOCK_UN)
        make([sources], tokenizer, tmp_path, 1, 2, **SETTINGS)
        with pytest.raises(RecordError, match="parts: another process is at work there"):
            merge(tmp_path, processes=1)
    assert merge(tmp_path, processes=1).documents


def test_where_the_disk_has_no_locks_it_is_told(
    sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    console = Console(record=True, file=io.StringIO(), width=10_000)
    monkeypatch.setattr(fcntl, "flock", flock)
    make([sources], tokenizer, tmp_path, 1, 1, **SETTINGS, show=Display(console))
    assert console.export_text().count("no locks (Function not implemented)") == 1
    assert merge(tmp_path, processes=1, show=Display(console)).documents
    assert console.export_text().count("no locks (Function not implemented)") == 1


def test_what_is_written_is_what_is_read_back(
    sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = parts._finish

    def disturbed(plan: Any, counts: Any, out: Path, written: Any, done: Any) -> Any:
        def pairs() -> Iterator[Any]:
            for number, pair in enumerate(written):
                if number == 1:
                    name = out / "train-00001.bin"
                    name.write_bytes(name.read_bytes()[::-1])  # as another merge there, or a failing disk
                yield pair

        return real(plan, counts, out, pairs(), done)

    both(sources, tokenizer, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RecordError, match=r"train-00001\.bin is not what was written"):
        patch.setattr(parts, "_finish", disturbed)
        merge(tmp_path, processes=1)
    assert not (tmp_path / MANIFEST).exists()
    merge(tmp_path, processes=1)  # as it says
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_stops_a_merge_does_not_wait_for_the_rest(
    error: BaseException, sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ended: list[dict[str, Any]] = []

    class Told(Pool):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            ended.append({"wait": wait, "cancel_futures": cancel_futures})
            super().shutdown(wait, cancel_futures=cancel_futures)

    def stopped(*_: Any) -> None:
        raise error

    both(sources, tokenizer, tmp_path)
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, RecordError)) as told:
        patch.setattr(parts, "Pool", Told)
        patch.setattr(parts, "_finish", stopped)
        merge(tmp_path, processes=1)
    assert ended[0] == {"wait": False, "cancel_futures": True}
    assert isinstance(error, KeyboardInterrupt) or "No space left on device" in str(told.value)
    merge(tmp_path, processes=1)
    assert contents(tmp_path) == whole


def test_a_full_disk_is_told_before_anything_is_mapped(
    sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to a mapping of a file that has no room ends a process by a signal, which tells nothing."""
    both(sources, tokenizer, tmp_path)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(RecordError, match="No space left on device"):
        patch.setattr(parts.os, "posix_fallocate", full)
        merge(tmp_path, processes=1)
    assert merge(tmp_path, processes=1).documents


def test_one_machine_and_parts_do_not_write_the_same_shards(
    sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(sources, tokenizer, tmp_path / "parts")
    with pytest.raises(RecordError, match=r"holds parts of a corpus: join them with flue-bench corpus --merge"):
        build([sources], tokenizer, tmp_path / "parts", **SETTINGS)
    merge(tmp_path / "parts", processes=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shards, "_finish", lambda *_: (_ for _ in ()).throw(Killed()))
        build([sources], tokenizer, tmp_path / "one", **SETTINGS)
    for begin in (
        lambda: make([sources], tokenizer, tmp_path / "one", 1, 2, **SETTINGS),
        lambda: merge(tmp_path / "one"),
    ):
        with pytest.raises(RecordError, match="unfinished corpus of one machine: finish it without --part"):
            begin()
    build([sources], tokenizer, tmp_path / "one", **SETTINGS)
    assert contents(tmp_path / "one") == contents(tmp_path / "parts") == whole


@pytest.mark.parametrize("what", ["dangling", "out", "folder", "gone"])
def test_a_text_that_cannot_be_read_is_named(
    what: str, sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a part as by one machine, before anything is written where it can be known; it is not the corpus's fault."""
    folder = tmp_path / "texts"
    shutil.copytree(sources, folder)
    says = r"z\.txt cannot be read: "
    if what == "dangling":
        (folder / "z.txt").symlink_to(folder / "nowhere.txt")
    elif what == "out":
        write_txt(tmp_path / "elsewhere.txt", documents(5))
        (folder / "z.txt").symlink_to(tmp_path / "elsewhere.txt")
        says += r".*link leads out.* Give its target by name, or copy it there\."
    elif what == "folder":
        (folder / "z.txt").mkdir()
    else:
        real = texts.find

        def found(*given: Any, **more: Any) -> Any:
            write_txt(folder / "z.txt", documents(5))
            there = real(*given, **more)
            (folder / "z.txt").unlink()
            return there

        monkeypatch.setattr(texts, "find", found)
    for begin in (
        lambda: build([folder], tokenizer, tmp_path / "one", **SETTINGS),
        lambda: make([folder], tokenizer, tmp_path / "part", 1, 1, **SETTINGS),
    ):
        with pytest.raises(DataError, match=says):
            begin()
    assert what == "gone" or not {"one", "part"} & {path.name for path in tmp_path.iterdir()}


def test_parts_of_other_versions_are_refused(
    sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of tokenizers may cut a text in another way."""
    now, out = tokens.made_with(), tmp_path / "c"
    make([sources], tokenizer, out, 1, 3, **SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "made_with", lambda: now | {"tokenizers": "9.9"})
        with pytest.raises(RecordError, match=r"1-of-3 was made with tokenizers [\d.]+, not 9\.9: a corpus has one"):
            make([sources], tokenizer, out, 2, 3, **SETTINGS)
        make([sources], tokenizer, tmp_path / "other", 2, 3, **SETTINGS)
    make([sources], tokenizer, out, 3, 3, **SETTINGS)
    shutil.rmtree(out / PARTS / "2-of-3", ignore_errors=True)
    shutil.copytree(tmp_path / "other" / PARTS / "2-of-3", out / PARTS / "2-of-3")
    with pytest.raises(DataError, match=r"Part 2/3 was made with tokenizers 9\.9, not .*, as part 1/3 was"):
        merge(out, processes=1)
    shutil.rmtree(out / PARTS / "2-of-3")  # as it says
    make([sources], tokenizer, out, 2, 3, **SETTINGS)
    assert merge(out, processes=1).documents


def test_a_part_is_gone_on_with_by_the_version_that_began_it(
    sources: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(parts, "_write_block", lambda *_: (_ for _ in ()).throw(Killed()))
        make([sources], tokenizer, tmp_path / "c", 1, 1, **SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(RecordError, match=r"1-of-1 was made with Python .*, not 2\.7"):
        patch.setattr(parts, "made_with", lambda: tokens.made_with() | {"Python": "2.7"})
        make([sources], tokenizer, tmp_path / "c", 1, 1, **SETTINGS)
    make([sources], tokenizer, tmp_path / "c", 1, 1, **SETTINGS)


def test_one_machine_goes_on_with_the_version_that_began(
    sources: Path, whole: dict[str, bytes], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shards._write

    def dies(*given: Any) -> Any:
        real(*given)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shards, "_write", dies)
        build([sources], tokenizer, tmp_path / "c", **SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(RecordError, match=r"was begun with tokenizers .*, not 9\.9: a"):
        patch.setattr(shards, "made_with", lambda: tokens.made_with() | {"tokenizers": "9.9"})
        build([sources], tokenizer, tmp_path / "c", **SETTINGS)
    build([sources], tokenizer, tmp_path / "c", **SETTINGS)
    assert contents(tmp_path / "c") == whole


def test_texts_without_a_document_are_told(tokenizer: Any, tmp_path: Path) -> None:
    source = write_txt(tmp_path / "a.txt", ["trop court"])
    make([source], tokenizer, tmp_path / "c", 1, 1, **SETTINGS)
    with pytest.raises(DataError, match=r"No document to train on in a\.txt: 1 too short"):
        merge(tmp_path / "c", processes=1)


def test_duplicates_are_dropped_as_in_order(tmp_path: Path) -> None:
    """Against a loop, on hashes with many equal ones."""
    draw = np.random.default_rng(0)
    hashes = draw.integers(-(2**63), 2**63 - 1, 300)[draw.integers(0, 300, 5000)]
    seen: set[int] = set()
    wanted = [not (each in seen or seen.add(each)) for each in hashes.tolist()]  # type: ignore[func-returns-value]
    scratch = tmp_path / "hashes", tmp_path / "kept"
    hashes.astype("<i8").tofile(scratch[0])
    np.zeros(len(hashes), "u1").tofile(scratch[1])
    for partition in range(7):
        parts._keep_first(partition, 7, scratch)
    assert np.fromfile(scratch[1], "u1").astype(bool).tolist() == wanted


def test_the_command(tmp_path: Path) -> None:
    texts_ = write_txt(
        tmp_path / "a.txt", [f"Le document {n} parle de la rue {n * n} et de maisons." for n in range(90)]
    )
    words = ["corpus", str(texts_), "--tokenizer", "embedded:teacher", "--processes", "1"]
    done(*words, "--out", str(tmp_path / "whole"))
    out = ["--out", str(tmp_path / "c")]
    said = flue_bench(*words, *out, "--part", "2/2")
    assert said.code == 0 and "flue-bench corpus --merge --out" in said.err
    assert "not finished: part 1/2" in refused("corpus", "--merge", *out, code=1)
    done(*words, *out, "--part", "1/2")
    assert "digest" in done("corpus", "--merge", *out)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")
    for wrong, says in [("3", "write K/N"), ("1/x", "write K/N"), ("0/2", "numbered from 1/2"), ("3/2", "numbered")]:
        assert says in refused(*words, "--out", str(tmp_path / "d"), "--part", wrong)
    for wrong in ("1/0", "0/0", f"1/{'9' * 5000}", "1/-2", "/"):
        assert "write K/N" in refused(*words, "--out", str(tmp_path / "d"), "--part", wrong)
    assert "--merge takes --out alone" in refused(*words, *out, "--merge")
    for more in (("--field", "f"), ("--lines",), ("--held-out", "0"), ("--min-tokens", "3"), ("--shard-tokens", "9")):
        assert "--merge takes --out alone" in refused("corpus", "--merge", *out, *more)
    assert "corpus needs TEXTS and --tokenizer" in refused("corpus", *out)
