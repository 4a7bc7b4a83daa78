"""Corpora: every format gives the same shards, nothing depends on processes or kills, what is dropped is counted."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import pickle
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flue_bench import files, lines
from flue_bench.errors import DataError, FlueBenchError, ModelError, RecordError, UsageError
from flue_bench.progress import Console, Display
from flue_bench.record import digest_of
from flue_bench.training import models as models_of_training
from flue_distill.corpus import texts
from flue_distill.corpus.parts import make as make_part
from flue_distill.corpus.shards import COUNTS, MANIFEST, STATE, TABLES, Blocks, Corpus, Manifest, build, open_corpus
from flue_distill.corpus.tokens import identify
from support import hub_standin
from support.command_line import done, flue_bench, refused, started
from support.corpora import SPECIAL, WORDS, contents, documents, sentence, tokenizer_of, write_txt


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_of(WORDS)


def ids_of(corpus: Corpus, split: str = "train") -> np.ndarray[Any, Any]:
    """The whole stream of a split, read without the corpus's own code."""
    shards = [shard for shard in corpus.manifest.shards if shard.split == split]
    empty = np.empty(0, corpus.manifest.dtype)
    return np.concatenate([empty, *(np.fromfile(corpus.folder / each.file, corpus.manifest.dtype) for each in shards)])


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that little text makes many batches, and with small shards many shards."""
    monkeypatch.setattr(texts, "BATCH", 2000)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> tuple[list[str], Corpus]:
    """A corpus of several shards, and its documents."""
    folder = tmp_path_factory.mktemp("built")
    docs = documents(300)
    docs[7] = "\n".join(sentence(random.Random(9)) + f" {number}" for number in range(1900))  # several pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "BATCH", 2000)
        build(
            [write_txt(folder / "a.txt", docs)], tokenizer, folder / "c", processes=2, shard_tokens=3000, held_out=0.1
        )
    return docs, open_corpus(folder / "c", identify(tokenizer).digest)


def test_the_stream_is_each_document_tokenised_whole_and_ended_by_sep(
    built: tuple[list[str], Corpus], tokenizer: Any
) -> None:
    docs, corpus = built
    rows = [(*tokenizer(doc, add_special_tokens=False, truncation=False)["input_ids"], 2) for doc in docs]
    got = {}
    for split in ("train", "held-out"):
        stream = ids_of(corpus, split).tolist()
        ends = [index + 1 for index, number in enumerate(stream) if number == 2]
        got[split] = [tuple(stream[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        assert sum(map(len, got[split])) == len(stream)
    held = set(got["held-out"])
    assert got["train"] == [row for row in rows if row not in held]
    assert got["held-out"] == [row for row in rows if row in held]
    assert 10 <= len(held) <= 60  # a tenth of 300, by hash
    manifest = corpus.manifest
    assert (manifest.documents, manifest.held_out_documents) == (len(got["train"]), len(held))
    assert (manifest.tokens, manifest.held_out_tokens) == tuple(sum(map(len, got[key])) for key in got)
    assert len([shard for shard in manifest.shards if shard.split == "train"]) > 4
    assert manifest.dtype == "uint16"


@settings(max_examples=60)
@given(length=st.integers(3, 20_000), index=st.integers(-10_000, 10_000))
def test_a_block_is_a_slice_of_the_stream_wherever_shards_end(
    built: tuple[list[str], Corpus], length: int, index: int
) -> None:
    _, corpus = built
    stream, blocks = ids_of(corpus), corpus.blocks(length)
    assert len(blocks) == len(stream) // (length - 2)
    if not -len(blocks) <= index < len(blocks):
        with pytest.raises(IndexError):
            blocks[index]
        return
    start = (index % len(blocks)) * (length - 2)
    block = blocks[index]
    assert block.dtype == np.int64
    assert block.tolist() == [0, *stream[start : start + length - 2].tolist(), 2]


def test_all_blocks_follow_one_another(built: tuple[list[str], Corpus]) -> None:
    _, corpus = built
    for split, blocks in (("train", corpus.blocks(130)), ("held-out", corpus.held_out(130))):
        stream = ids_of(corpus, split)
        joined = np.concatenate([block[1:-1] for block in blocks])
        assert len(joined) == len(blocks) * 128 > len(stream) - 128
        assert (joined == stream[: len(joined)]).all()


def test_blocks_travel_to_other_processes_as_names(built: tuple[list[str], Corpus]) -> None:
    _, corpus = built
    blocks = corpus.blocks(64)
    assert blocks[3] is not None  # mapped by now
    pickled = pickle.dumps(blocks)
    assert len(pickled) < 4000
    again: Blocks = pickle.loads(pickled)
    assert (again[5] == blocks[5]).all()
    with pytest.raises(UsageError, match="2 tokens are too few"):
        corpus.blocks(2)


def test_token_counts_are_those_of_the_training_text(built: tuple[list[str], Corpus]) -> None:
    _, corpus = built
    counts = corpus.token_counts()
    assert counts.dtype == np.int64
    assert counts.tolist() == np.bincount(ids_of(corpus), minlength=len(SPECIAL) + len(WORDS)).tolist()
    assert counts[2] == corpus.manifest.documents


def _jsonl(docs: Sequence[str]) -> bytes:
    return "".join(json.dumps({"id": 1, "text": doc}) + "\n" for doc in docs).encode()


def _txt(docs: Sequence[str]) -> bytes:
    return ("\ufeff" + "\r\n\r\n\r\n".join(doc.replace("\n", "\r\n") for doc in docs)).encode()


def _zst(content: bytes) -> bytes:
    half = len(content) // 2  # two frames, as pzstd writes
    return b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in (content[:half], content[half:]))


FORMATS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "a.txt.gz": lambda docs: gzip.compress(_txt(docs)),
    "a.txt.xz": lambda docs: lzma.compress(_txt(docs)),
    "a.txt.bz2": lambda docs: bz2.compress(_txt(docs)),
    "a.txt.zst": lambda docs: _zst(_txt(docs)),
    "a.jsonl": _jsonl,
    "a.jsonl.zst": lambda docs: _zst(_jsonl(docs)),
    "a.parquet": lambda docs: hub_standin.parquet({"id": list(range(len(docs))), "text": list(docs)}),
}


def test_every_format_gives_the_same_corpus(tmp_path: Path, tokenizer: Any) -> None:
    docs = documents(40)
    plain = build([write_txt(tmp_path / "a.txt", docs)], tokenizer, tmp_path / "plain", processes=1)
    for name, packed in FORMATS.items():
        (tmp_path / name).write_bytes(packed(docs))
        manifest = build([tmp_path / name], tokenizer, tmp_path / f"{name}-corpus", processes=1)
        assert manifest.digest == plain.digest, name
        assert manifest.plan.sources[0].name == name
    assert plain.documents + plain.held_out_documents == 40


def test_folders_and_globs_are_read_in_the_order_of_names(tmp_path: Path, tokenizer: Any) -> None:
    docs = documents(30)
    for name, part in (("b.txt", docs[10:20]), ("a.txt", docs[:10]), ("sub/c.txt", docs[20:])):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_txt(tmp_path / "in" / name, part)
    (tmp_path / "in" / "notes.md").write_text("rien")
    one = build([write_txt(tmp_path / "all.txt", docs)], tokenizer, tmp_path / "one", processes=1)
    folder = build([tmp_path / "in"], tokenizer, tmp_path / "two", processes=1)
    pattern = build([f"{tmp_path}/in/**/*.txt"], tokenizer, tmp_path / "three", processes=1)
    assert one.digest == folder.digest == pattern.digest
    assert [source.name for source in folder.plan.sources] == ["a.txt", "b.txt", "sub/c.txt"]
    assert str(tmp_path) not in (tmp_path / "two" / MANIFEST).read_text()


@pytest.mark.usefixtures("small_batches")
def test_nothing_depends_on_the_number_of_processes(tmp_path: Path, tokenizer: Any) -> None:
    source = write_txt(tmp_path / "a.txt", documents(200) + documents(50))
    made = []
    for processes in (1, 3):
        out = tmp_path / str(processes)
        build([source], tokenizer, out, processes=processes, shard_tokens=3000)
        made.append(contents(out))
    assert made[0] == made[1]
    assert STATE not in made[0]
    assert len(made[0]) > 6


def test_the_digest_does_not_depend_on_how_tokens_are_cut(tmp_path: Path, tokenizer: Any, small_batches: None) -> None:
    source = write_txt(tmp_path / "a.txt", documents(60))
    many = build([source], tokenizer, tmp_path / "many", processes=1, shard_tokens=500)
    one = build([source], tokenizer, tmp_path / "one", processes=1)
    assert len(many.shards) > len(one.shards)
    assert many.digest == one.digest


def test_what_is_dropped_is_counted(tmp_path: Path, tokenizer: Any) -> None:
    whole = "le vieux marin longe un petit canal 1 2 3"
    rows: list[dict[str, Any]] = [
        {"content": whole},  # 10 tokens, 12 with CLS and SEP
        {"content": whole.removesuffix(" 3")},
        {"content": "   \n\t"},
        {"content": None},
        {"content": f"  {whole.replace(' ', chr(10))}\u00a0"},  # the same but for blanks
        {"content": whole.replace("le", "inconnu").replace("vieux", "nul") + " x y z a"},  # 6 of 16 unknown
        {"content": "le vieux marin longe a b c d e f"},  # 6 of 12 unknown
        {"content": "le </s> vieux <mask> marin longe<pad> un petit canal 4 5 6 <s>"},  # special tokens go
        {"content": "le vieux marin longe \ud83d un petit canal 1 2"},  # half a surrogate pair
    ]
    (tmp_path / "a.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    (tmp_path / "b.jsonl").write_text(json.dumps({"content": whole}) + "\n")
    manifest = build(
        [tmp_path / "a.jsonl", tmp_path / "b.jsonl"],
        tokenizer,
        tmp_path / "out",
        field="content",
        processes=1,
        held_out=0,
    )
    assert manifest.dropped == {"empty": 2, "too_short": 1, "mostly_unknown": 1, "duplicate": 2}
    assert (manifest.documents, manifest.held_out_documents) == (4, 0)
    assert manifest.text_bytes == sum(
        len(row["content"].encode("utf-8", "replace")) for row in [*rows, {"content": whole}] if row["content"]
    )
    stream = ids_of(open_corpus(tmp_path / "out")).tolist()
    assert len(stream) == manifest.tokens
    assert not {0, 1, 4} & set(stream)
    assert stream.count(2) == 4


def test_a_file_whose_name_is_not_utf_8(tmp_path: Path, tokenizer: Any) -> None:
    """As an older system wrote it: a manifest holds text."""
    (tmp_path / "texts").mkdir()
    write_txt(tmp_path / "texts" / os.fsdecode(b"for\xeat.txt"), documents(40))
    manifest = build([tmp_path / "texts"], tokenizer, tmp_path / "out", processes=1, held_out=0)
    assert [source.name for source in manifest.plan.sources] == ["for\\xeat.txt"]
    assert open_corpus(tmp_path / "out").manifest == manifest


def test_long_documents_of_text_files_are_cut_between_paragraphs(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "LONGEST_TEXT", 100)
    draw = random.Random(0)
    write_txt(tmp_path / "a.txt", ["\n".join(sentence(draw) for _ in range(30))])
    manifest = build([tmp_path / "a.txt"], tokenizer, tmp_path / "out", processes=1, held_out=0)
    assert 1 < manifest.documents < 30
    assert manifest.tokens == 30 * 9 + manifest.documents


def test_many_words_take_four_bytes_a_token(tmp_path: Path) -> None:
    words = tokenizer_of([*WORDS, *(f"mot{number}" for number in range(70_000))])
    text = " ".join(f"mot{number}" for number in range(0, 70_000, 7))
    manifest = build([write_txt(tmp_path / "a.txt", [text])], words, tmp_path / "out", processes=1, held_out=0)
    assert manifest.dtype == "uint32"
    block = open_corpus(tmp_path / "out").blocks(10_003)[0]
    assert block.tolist() == [0, *words(text, truncation=False, add_special_tokens=False)["input_ids"], 2, 2]


def test_a_document_is_held_out_in_every_corpus(tmp_path: Path, tokenizer: Any) -> None:
    docs = documents(200)
    held = []
    for name, part in (("half", docs[:100]), ("all", docs[::-1])):
        build([write_txt(tmp_path / f"{name}.txt", part)], tokenizer, tmp_path / name, processes=1, held_out=0.2)
        stream = ids_of(open_corpus(tmp_path / name), "held-out").tolist()
        held.append({tuple(group) for sep, group in itertools.groupby(stream, lambda number: number == 2) if not sep})
    assert 8 <= len(held[0]) <= 35
    assert held[0] < held[1]


PROGRAM = """
def main():  # imports nothing outside, since each worker runs this file
    import json, multiprocessing, pathlib, sys, threading
    from flue_distill.corpus import texts
    from flue_distill.corpus.shards import build
    from transformers import AutoTokenizer

    options = json.loads(sys.argv[1])
    texts.BATCH = options.pop("batch")
    tokenizer = AutoTokenizer.from_pretrained(options.pop("tokenizer"))
    peaks, done = [0], threading.Event()

    def watch():  # ru_maxrss would count the parent's memory at the fork
        while not done.wait(0.1):
            for child in multiprocessing.active_children():
                try:
                    lines = pathlib.Path(f"/proc/{child.pid}/status").read_text().splitlines()
                except OSError:
                    continue
                peaks.extend(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        manifest = build(options.pop("inputs"), tokenizer, pathlib.Path(options.pop("out")), **options)
    finally:
        done.set()
        watching.join()
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"own": own / 1024, "worker": max(peaks) / 1024, "text": manifest.text_bytes / 1e6}))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[..., list[str]]:
    """A command that builds a corpus in a process of its own."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.py").write_text(PROGRAM)
    tokenizer.save_pretrained(folder / "tokenizer")

    def command(source: Path, out: Path, **options: Any) -> list[str]:
        given = {"inputs": [str(source)], "out": str(out), "tokenizer": str(folder / "tokenizer"), **options}
        return [sys.executable, str(folder / "program.py"), json.dumps(given)]

    return command


@pytest.mark.robustness
@pytest.mark.slow
def test_a_build_killed_again_and_again_ends_bit_identical(
    tmp_path: Path, program: Callable[..., list[str]], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = documents(6000, longest=40)
    sources = tmp_path / "in"
    sources.mkdir()
    write_txt(sources / "a.txt", docs[:2500] + docs[:700])
    (sources / "b.jsonl.zst").write_bytes(_zst(_jsonl(docs[2000:4500])))
    (sources / "c.parquet").write_bytes(hub_standin.parquet({"text": docs[4400:]}))
    options = {"batch": 10_000, "shard_tokens": 40_000, "processes": 2}
    monkeypatch.setattr(texts, "BATCH", 10_000)
    build([sources], tokenizer, tmp_path / "whole", processes=1, shard_tokens=40_000)
    whole = contents(tmp_path / "whole")

    out = tmp_path / "killed"
    draw = random.Random(1)
    seen: list[int] = []
    for wanted in (1, 9):
        running = subprocess.Popen(program(sources, out, **options), stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while len(list(out.glob("train-*.bin"))) <= wanted and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        workers = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        assert running.wait() == -signal.SIGKILL
        assert running.stderr is not None
        running.stderr.close()
        assert len(workers) >= 2
        assert not psutil.wait_procs(workers, timeout=10)[1], "workers outlive a killed build"
        with sqlite3.connect(out / STATE) as database:
            stored = database.execute("SELECT json FROM state").fetchone()
        seen.append(json.loads(stored[0])["part"] if stored else 0)
        with pytest.raises(DataError, match="run it again to continue"):
            open_corpus(out)
    assert seen[0] < seen[1], "it went on"
    done = subprocess.run(program(sources, out, **options), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert contents(out) == whole


@pytest.mark.robustness
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["a worker", "Ctrl-C"])
def test_a_build_that_ends_early_says_so_and_leaves_nobody_behind(
    tmp_path: Path, program: Callable[..., list[str]], victim: str
) -> None:
    source, out = write_txt(tmp_path / "a.txt", documents(12_000, longest=40)), tmp_path / "out"
    command = program(source, out, batch=10_000, shard_tokens=40_000, processes=2)
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background work starts with it ignored
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard)
    while len(list(out.glob("train-*.bin"))) < 3:
        assert running.poll() is None
        time.sleep(0.01)
    children = psutil.Process(running.pid).children()
    if victim == "a worker":
        next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    else:
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, said = running.communicate(timeout=60)
    assert ("A process that tokenised died" if victim == "a worker" else "KeyboardInterrupt") in said
    assert said.count("Traceback") <= 4, "workers are silent"
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_processes_start_is_no_traceback(tmp_path: Path, number: signal.Signals) -> None:
    text = write_txt(tmp_path / "a.txt", documents(12_000, longest=40))
    words = ("corpus", text, "--tokenizer", "embedded:student", "--out", "out", "--processes", 3, "--offline")
    running = started(*map(str, words), cwd=tmp_path)
    starting: list[psutil.Process] = []
    while not starting:
        assert running.poll() is None
        children = psutil.Process(running.pid).children()
        starting = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    time.sleep(0.1)  # it imports
    for process in (running, *starting) if number == signal.SIGINT else (running,):  # as a terminal does
        process.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number and "Traceback" not in said, said
    assert "interrupted; finished shards are kept" in said
    assert not psutil.wait_procs(starting, timeout=10)[1]


@pytest.mark.robustness
@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path, program: Callable[..., list[str]]) -> None:
    """Peak resident memory of the process that writes and of the largest worker at 20 and at 200 MB of text."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the workers' peak from /proc")
    draw = random.Random(0)
    lines = [sentence(draw) for _ in range(5000)]
    peaks = []
    for megabytes in (20, 200):
        source = tmp_path / f"{megabytes}.txt.gz"
        size = number = 0
        with gzip.open(source, "wt", encoding="utf-8", compresslevel=1) as file:
            while size < megabytes * 1e6:
                number += 1
                size += file.write(f"{number} {number % 1999}\n" + "\n".join(draw.choices(lines, k=40)) + "\n\n")
        command = program(source, tmp_path / str(megabytes), batch=2**18, shard_tokens=2**21, processes=2)
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        peaks.append(json.loads(done.stdout))
        print(megabytes, "MB:", peaks[-1])
    for who in ("own", "worker"):
        assert 20 < peaks[1][who] < peaks[0][who] * 1.1 + 10


def test_a_finished_corpus_is_not_built_again(tmp_path: Path, tokenizer: Any) -> None:
    source = write_txt(tmp_path / "a.txt", documents(20))
    first = build([source], tokenizer, tmp_path / "out", processes=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert build([source], tokenizer, tmp_path / "out", processes=1) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(RecordError, match="other texts or settings"):
        build([source], tokenizer, tmp_path / "out", min_tokens=5)


def test_a_full_disk_loses_nothing_that_is_written(tmp_path: Path, tokenizer: Any, small_batches: None) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    source, out = write_txt(tmp_path / "a.txt", documents(200)), tmp_path / "out"
    build([source], tokenizer, tmp_path / "whole", processes=1, shard_tokens=3000)
    make = files.create

    def create(path: Path) -> Any:
        return Path("/dev/full").open("wb") if "-00002" in path.name else make(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "create", create)
        with pytest.raises(RecordError, match=r"No space left on device; free some space and run again: finished"):
            build([source], tokenizer, out, processes=1, shard_tokens=3000)
    kept = (out / "train-00001.bin").stat().st_mtime_ns
    build([source], tokenizer, out, processes=1, shard_tokens=3000)
    assert contents(out) == contents(tmp_path / "whole")
    assert (out / "train-00001.bin").stat().st_mtime_ns == kept


def test_two_builds_of_one_folder_do_not_meet(tmp_path: Path, tokenizer: Any) -> None:
    source, out = write_txt(tmp_path / "a.txt", documents(5)), tmp_path / "out"
    out.mkdir()
    other = sqlite3.connect(out / STATE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RecordError, match="another build is running"):
        build([source], tokenizer, out, processes=1)
    other.close()
    (out / STATE).write_bytes(b"no database" * 100)
    with pytest.raises(RecordError, match="Delete the folder"):
        build([source], tokenizer, out, processes=1)


NOISE = random.Random(0).randbytes(9000).hex().encode()

BROKEN: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("a.txt", b"", r"No document to train on in a.txt: empty."),
    "blank": ("a.txt", b"\n\n  \n", r"No document to train on in a.txt: empty."),
    "short": ("a.txt", b"le marin\n\nle canal", r"No document to train on in a.txt: 2 too short; --min-tokens 12 says"),
    "suffix": ("a.doc", b"le marin", r"a.doc: not a .txt or .jsonl"),
    "field": ("a.jsonl", b'{"text": "le"}\n{"b": 1}', r"a.jsonl, line 2 has no column 'text'. It has: b.\nName.*field"),
    "no text": ("a.jsonl", b'{"text": ["le"]}', r"a.jsonl, line 1: field 'text' is a list, not a text."),
    "no object": ("a.jsonl", b'["le"]', r"a.jsonl, line 1 is not a JSON object"),
    "not JSON": ("a.jsonl", b'{"text": "le"}\n{"te', r"a.jsonl, line 2 is not JSON"),
    "column": ("a.parquet", hub_standin.parquet({"b": ["le"]}), r"a.parquet has no column 'text'. .* b.\nName.*field"),
    "no parquet": ("a.parquet", b"PAR1 le marin", r"a.parquet cannot be read as parquet"),
    "Latin-1": ("a.txt", "le marin\nle préau".encode("latin-1"), r"a.txt, line 2: byte 0xe9 is not UTF-8"),
    "cut gz": ("a.txt.gz", gzip.compress(NOISE)[:-4000], r"a.txt.gz cannot be read after line 0"),
    "cut xz": ("a.txt.xz", lzma.compress(NOISE)[:-4000], r"a.txt.xz cannot be read after line 0"),
    "cut zst": ("a.txt.zst", _zst(NOISE)[:-4000], r"a.txt.zst cannot be read after line 0: Truncated"),
    "no xz": ("a.txt.xz", b"le marin" * 50, r"a.txt.xz cannot be read after line 0"),
}  # fmt: skip


def empty_state(out: Path) -> Path:
    """Make the database of a build that has not begun."""
    out.mkdir()
    with closing(sqlite3.connect(out / STATE)) as database:
        for table in TABLES:
            database.execute(table)
    return out / STATE


def journal_that_deletes(state: Path, victim: Path) -> bytes:
    """Return a hot journal that ends with the name of a super-journal, which SQLite deletes once it is played back."""
    magic, size = bytes.fromhex("d9d505f920a163d7"), 4096
    head = magic + struct.pack(">IIIII", 0, 1, state.stat().st_size // size, 512, size)
    name = os.fsencode(victim)
    return (
        head.ljust(512, b"\0")
        + struct.pack(">I", 2**30 // size + 1)
        + name
        + struct.pack(">II", len(name), sum(name))
        + magic
    )


def test_a_planted_journal_deletes_nothing(tmp_path: Path, tokenizer: Any) -> None:
    source = write_txt(tmp_path / "a.txt", documents(20))
    victim = tmp_path / "thesis.tex"
    victim.write_bytes(b"years of work")
    state = empty_state(tmp_path / "c")
    journal = Path(f"{state}-journal")
    journal.write_bytes(journal_that_deletes(state, victim))
    with pytest.raises(RecordError, match="names another file"):
        build([source], tokenizer, state.parent, processes=1)
    assert victim.exists()
    with closing(sqlite3.connect(state)) as database:  # what SQLite does by itself, so that this test means something
        database.execute("SELECT * FROM state").fetchall()
    assert not victim.exists()
    assert build([source], tokenizer, state.parent, processes=1).documents  # an unbegun build's database is resumed


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
def test_no_link_or_folder_is_taken_for_a_file_of_the_build(suffix: str, tmp_path: Path, tokenizer: Any) -> None:
    source = write_txt(tmp_path / "a.txt", documents(20))
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    state = empty_state(tmp_path / "c")
    planted = Path(f"{state}{suffix}")
    for plant in (lambda: planted.symlink_to(victim), planted.mkdir, lambda: os.mkfifo(planted)):
        planted.unlink(missing_ok=True)
        plant()
        with pytest.raises(RecordError, match="Delete it"):
            build([source], tokenizer, state.parent, processes=1)
        assert victim.read_bytes() == b"kept"
        if planted.is_dir() and not planted.is_symlink():
            planted.rmdir()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_write_ahead_log_is_not_of_a_build(suffix: str, tmp_path: Path, tokenizer: Any) -> None:
    state = empty_state(tmp_path / "c")
    Path(f"{state}{suffix}").write_bytes(b"")
    with pytest.raises(RecordError, match=f"sqlite{suffix} is a link, or not a file of a build"):
        build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, state.parent, processes=1)


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM seen; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON state (upper(json))",
        "CREATE TABLE other (a)",
        "DROP TABLE seen",
        "ALTER TABLE state ADD COLUMN b AS (upper(json))",
    ],
)
def test_tables_that_no_build_makes_are_refused(planted: str, tmp_path: Path, tokenizer: Any) -> None:
    state = empty_state(tmp_path / "c")
    with closing(sqlite3.connect(state)) as database:
        database.execute(planted)
    with pytest.raises(RecordError, match="other tables than those of a build"):
        build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, state.parent, processes=1)


@pytest.mark.parametrize("planted", [{"plan": 3}, *({"plan": "x", "position": at} for at in ("a", -1, [2], {"a": 1}))])
def test_a_position_that_no_build_stored_is_refused(planted: dict[str, Any], tmp_path: Path, tokenizer: Any) -> None:
    state = empty_state(tmp_path / "c")
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("INSERT INTO state VALUES (?)", (json.dumps(planted),))
    with pytest.raises(RecordError, match="is damaged"):
        build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, state.parent, processes=1)


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_is_named(case: str, tmp_path: Path, tokenizer: Any) -> None:
    name, content, message = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        build([tmp_path / name], tokenizer, tmp_path / "out", processes=1)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_a_build_that_fails_later_keeps_what_is_finished(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "BATCH", 200)
    rows = [json.dumps({"text": text}) for text in documents(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"b": 1}', encoding="utf-8")
    named, out = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out"
    with pytest.raises(DataError, match="has no column 'text'"):
        build(named, tokenizer, out, processes=1, shard_tokens=1)
    assert list(out.glob("train-*.bin"))
    (tmp_path / "empty").mkdir()  # a folder that was there before stays
    with pytest.raises(DataError, match="has no column 'text'"):
        build(named[1:], tokenizer, tmp_path / "empty", processes=1)
    assert (tmp_path / "empty").is_dir()


def test_inputs_that_are_not_there(tmp_path: Path, tokenizer: Any) -> None:
    for asked, message in (
        (tmp_path / "b.txt", "b.txt: no such file"),
        (tmp_path, "without .txt, .jsonl and .parquet"),
        (f"{tmp_path}/*.txt", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            build([asked], tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_endless_line_is_refused(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1000)
    (tmp_path / "a.txt").write_text("le marin\n" + "le " * 1000)
    with pytest.raises(DataError, match=r"a.txt, line 2 is longer than 1,000 bytes"):
        build([tmp_path / "a.txt"], tokenizer, tmp_path / "out", processes=1)


def test_a_corpus_of_another_tokenizer_is_refused(built: tuple[list[str], Corpus], tmp_path: Path) -> None:
    _, corpus = built
    other = identify(tokenizer_of(WORDS[::-1])).digest
    with pytest.raises(DataError, match=f"made with tokenizer {corpus.manifest.plan.tokenizer.digest}, .* is {other}"):
        open_corpus(corpus.folder, other)


def test_a_damaged_corpus_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    out = tmp_path / "out"
    build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, out, processes=1)
    shard = out / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train-00000.bin has [\d,]+ bytes: damaged"):
        open_corpus(out)
    shard.unlink()
    with pytest.raises(DataError, match=r"No such file.*train-00000.bin"):
        open_corpus(out)
    (out / COUNTS).unlink()
    with pytest.raises(DataError, match=r"token_counts.npy cannot be read"):
        Corpus(out, Manifest.model_validate_json((out / MANIFEST).read_bytes())).token_counts()
    (out / MANIFEST).write_text('{"schema_version": 1}')
    with pytest.raises(DataError, match=r"manifest.json does not validate: field 'digest'"):
        open_corpus(out)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["digest"], "x`\n\n# Note"),
        (["digest"], "0123456789abcdef\n"),
        (["shards", 0, "sha256"], "<script>"),
        (["shards", 0, "file"], "../train-00000.bin"),
        (["shards", 0, "file"], "/etc/passwd"),
        (["shards", 0, "tokens"], 0),
        (["tokens"], -1),
        (["documents"], 10**30),
        (["held_out_tokens"], 2**60),
        (["dropped"], {"empty": -1}),
    ],
)
def test_a_manifest_is_validated(keys: list[Any], value: Any, tmp_path: Path, tokenizer: Any) -> None:
    out = tmp_path / "out"
    build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, out, processes=1)
    content = within = json.loads((out / MANIFEST).read_text())
    for key in keys[:-1]:
        within = within[key]
    within[keys[-1]] = value
    (out / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"manifest.json does not validate: .*Build the corpus again"):
        open_corpus(out)


def test_counts_that_are_no_array_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    out = tmp_path / "out"
    build([write_txt(tmp_path / "a.txt", documents(20))], tokenizer, out, processes=1)
    archive, objects, header = io.BytesIO(), io.BytesIO(), b"\x93NUMPY\x01\x00\x06\x00{('a(\n"
    np.savez(archive, np.zeros(3))
    np.save(objects, np.array([{}]), allow_pickle=True)
    for content in (archive.getvalue(), b"PK\x03\x04", objects.getvalue(), header, b""):
        (out / COUNTS).write_bytes(content)
        with pytest.raises(DataError, match=r"token_counts.npy cannot be read"):
            open_corpus(out).token_counts()


def test_no_link_out_of_a_folder_of_texts_is_followed(tmp_path: Path, tokenizer: Any) -> None:
    folder = tmp_path / "in"
    write_txt(tmp_path / "private.txt", documents(20))
    folder.mkdir()
    write_txt(folder / "a.txt", documents(20))
    (folder / "b.txt").symlink_to("a.txt")
    assert build([folder], tokenizer, tmp_path / "one", processes=1).dropped["duplicate"] == 20
    for target in (tmp_path / "private.txt", Path("../private.txt")):
        (folder / "c.txt").unlink(missing_ok=True)
        (folder / "c.txt").symlink_to(target)
        with pytest.raises(DataError, match=r"c.txt cannot be read: a link leads out of .*Give its target by name"):
            build([folder], tokenizer, tmp_path / "two", processes=1)
    assert build([folder / "c.txt"], tokenizer, tmp_path / "three", processes=1).documents  # named by the user


@pytest.mark.parametrize("damage", ["ids", "length", "name"])
def test_shards_of_an_unfinished_build_that_are_damaged_are_told(damage: str, tmp_path: Path, tokenizer: Any) -> None:
    source, out = write_txt(tmp_path / "a.txt", documents(20)), tmp_path / "c"
    made = build([source], tokenizer, tmp_path / "whole", processes=1, held_out=0)
    tokens = made.tokens
    state = empty_state(out)
    name = "../train-00000.bin" if damage == "name" else "train-00000.bin"
    stored = {
        "plan": digest_of(made.plan.model_dump(exclude={"lines"})),
        "source": 1,
        "part": 1,
        "counts": {"train": 20},
        "shards": [["train", name, tokens]],
    }
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("INSERT INTO state VALUES (?)", (json.dumps(stored),))
    (out / "train-00000.bin").write_bytes(b"\xff\xff" * (tokens - (damage == "length")))
    with pytest.raises(RecordError, match="is damaged"):
        build([source], tokenizer, out, processes=1, held_out=0)
    if damage != "name":
        (out / "train-00000.bin").write_bytes((tmp_path / "whole" / "train-00000.bin").read_bytes())
        assert build([source], tokenizer, out, processes=1, held_out=0).digest == made.digest


def test_a_tokenizer_is_known_by_what_it_does(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved")
    saved.backend_tokenizer.no_truncation()
    saved.save_pretrained(tmp_path / "again")
    assert identify(PreTrainedTokenizerFast.from_pretrained(tmp_path / "again")) == identify(tokenizer)
    assert identify(tokenizer).model_dump(exclude={"digest"}) == {
        "vocab_size": len(SPECIAL) + len(WORDS), "cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": 4,
    }  # fmt: skip
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"le": 0}, unk_token="le")))
    with pytest.raises(ModelError, match="no cls or sep or pad or mask token"):
        identify(bare)
    with pytest.raises(ModelError, match="object is not a fast tokenizer"):
        identify(object())


@pytest.mark.parametrize("end", ["\n", "", "\n\n\n"])
def test_each_line_may_be_a_document_and_a_file_that_became_one_is_told(
    tmp_path: Path, tokenizer: Any, end: str
) -> None:
    drawn = [sentence(random.Random(number)) + " le vieux marin longe un petit canal" for number in range(60)]
    (tmp_path / "a.txt").write_text("\n".join(drawn) + end, encoding="utf-8")
    said = Display(Console(file=io.StringIO(), width=300))
    one = build([tmp_path / "a.txt"], tokenizer, tmp_path / "one", processes=1, held_out=0, show=said)
    printed = cast(io.StringIO, said.console.file).getvalue()
    assert one.documents == 1 and "a.txt is one document of 60 lines" in printed and "--lines" in printed
    many = build([tmp_path / "a.txt"], tokenizer, tmp_path / "many", processes=1, held_out=0, lines=True)
    assert (many.documents, many.plan.lines) == (60, True)
    write_txt(tmp_path / "b.txt", drawn)
    parted = build([tmp_path / "b.txt"], tokenizer, tmp_path / "parted", processes=1, held_out=0, show=said)
    assert parted.digest == many.digest
    assert "b.txt" not in cast(io.StringIO, said.console.file).getvalue().rpartition("--lines")[2]
    with pytest.raises(RecordError, match="other texts or settings"):
        build([tmp_path / "a.txt"], tokenizer, tmp_path / "one", processes=1, held_out=0, lines=True)


# Streaming from the hub.


@pytest.fixture
def streaming_hub() -> Iterator[hub_standin.StandIn]:
    with hub_standin.StandIn() as hub:
        yield hub


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_and_resumed(
    tmp_path: Path, streaming_hub: hub_standin.StandIn, program: Callable[..., list[str]], tokenizer: Any
) -> None:
    docs = documents(120)
    files = {
        f"train-{part:05}-of-00002.parquet": hub_standin.parquet({"contenu": docs[60 * part : 60 * part + 60]})
        for part in (0, 1)
    }
    commit = streaming_hub.add_repo("org/textes", "dataset", files)
    options = {"batch": 2000, "shard_tokens": 1500, "processes": 1, "field": "contenu"}
    environment = streaming_hub.env(tmp_path)

    def run(name: str, out: Path) -> subprocess.CompletedProcess[str]:
        command = program(Path(name), out, **options)
        return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)

    out = tmp_path / "out"
    out.mkdir()
    (out / "train-00002.bin").mkdir()  # stops it in the middle
    stopped = run("hub:org/textes", out)
    assert "RecordError" in stopped.stderr, stopped.stderr
    (out / "train-00002.bin").rmdir()
    done = run("hub:org/textes@main", out)
    assert done.returncode == 0, done.stderr
    manifest = open_corpus(out).manifest
    assert manifest.plan.sources == (texts.Source(name="hub:org/textes", bytes=0, digest=commit),)
    same = build([write_txt(tmp_path / "a.txt", docs)], tokenizer, tmp_path / "same", processes=1)
    assert manifest.digest == same.digest


def parts(*patterns: str) -> bytes:
    """The head of a data set's card that says which files make which part: ``name split pattern`` each."""
    said: dict[str, list[str]] = {}
    for name, split, pattern in map(str.split, patterns):
        said.setdefault(name, []).append(f"  - split: {split}\n    path: {pattern}\n")
    listed = "".join(f"- config_name: {name}\n  data_files:\n{''.join(files)}" for name, files in said.items())
    return f"---\nconfigs:\n{listed}---\n# Textes\n".encode()


STREAM = """
import json, sys
from flue_bench.errors import FlueBenchError
from flue_distill.corpus import texts
for name in sys.argv[1:]:
    try:
        found = texts.find([name])
        read = [text for batch in texts.batches(found, "text", 0, None) for text in batch.texts]
        print(json.dumps([found[0][0].digest, read]))
    except FlueBenchError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.slow
def test_the_layouts_and_locks_of_french_corpora_on_the_hub(tmp_path: Path, streaming_hub: hub_standin.StandIn) -> None:
    """FineWeb 2 and Wikipedia, a part each of many; OSCAR, gated and a script; CulturaX, gated."""
    docs = documents(24)

    def rows(*texts: str) -> bytes:
        return hub_standin.parquet({"id": list(map(str, range(len(texts)))), "text": list(texts)})

    fineweb = {
        "README.md": parts(
            "fra_Latn train data/fra_Latn/train/*",
            "fra_Latn test data/fra_Latn/test/*",
            "fra_Latn_removed train data/fra_Latn_removed/train/*",
        ),
        "data/fra_Latn/train/000_00000.parquet": rows(*docs[:8]),
        "data/fra_Latn/train/000_00001.parquet": rows(*docs[8:16]),
        "data/fra_Latn/test/000_00000.parquet": rows("test"),
        "data/fra_Latn_removed/train/000_00000.parquet": rows("removed"),
    }
    wikipedia = {
        "README.md": parts("20231101.en train 20231101.en/train-*", "20231101.fr train 20231101.fr/train-*"),
        "20231101.en/train-00000-of-00001.parquet": rows("English"),
        "20231101.fr/train-00000-of-00001.parquet": rows(*docs[16:]),
    }
    culturax = {"README.md": parts("fr train fr/*.parquet"), "fr/fr_part_00000.parquet": rows(*docs)}
    oscar = {"OSCAR-2301.py": b"import datasets\n", "fr_meta/fr_meta_part_1.jsonl.zst": b""}
    commits = {
        name: streaming_hub.add_repo(name, "dataset", files, gated=gated)
        for name, files, gated in (
            ("HuggingFaceFW/fineweb-2", fineweb, False),
            ("wikimedia/wikipedia", wikipedia, False),
            ("uonlp/CulturaX", culturax, True),
            ("oscar-corpus/OSCAR-2301", oscar, True),
        )
    }
    asked = (
        "hub:HuggingFaceFW/fineweb-2:fra_Latn", "hub:wikimedia/wikipedia:20231101.fr", "hub:HuggingFaceFW/fineweb-2",
        "hub:HuggingFaceFW/fineweb-2:fra", "hub:uonlp/CulturaX:fr", "hub:oscar-corpus/OSCAR-2301:fr",
    )  # fmt: skip
    for token in ("", hub_standin.TOKEN):  # one who is unknown, and one who has not accepted the conditions
        environment = streaming_hub.env(tmp_path) | ({"HF_TOKEN": token} if token else {})
        command = [sys.executable, "-c", STREAM, *asked]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
        assert done.returncode == 0, done.stderr
        assert not token or token not in done.stdout + done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert answers[0] == [commits["HuggingFaceFW/fineweb-2"], docs[:16]]
        assert answers[1] == [commits["wikimedia/wikipedia"], docs[16:]]
        kinds, messages = zip(*answers[2:], strict=True)
        assert kinds == ("HubError", "HubError", "HubError", "UsageError")
        assert "it has several parts: give one, hub:HuggingFaceFW/fineweb-2:PART" in messages[0]
        assert "'fra_Latn', 'fra_Latn_removed'" in messages[0] and "'fra_Latn', 'fra_Latn_removed'" in messages[1]
        page = f"{streaming_hub.endpoint}/datasets/uonlp/CulturaX"
        assert f"is gated. Accept the conditions at {page} if there are any, and log in with `hf auth" in messages[2]
        assert "a script of its own (OSCAR-2301.py), which is never run" in messages[3]
        assert "hf download oscar-corpus/OSCAR-2301 --repo-type dataset --include 'PART/*'" in messages[3]


def test_names_on_the_hub(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"write hub:org/name\[@revision\]\[:config\]"):
        build(["hub:textes"], tokenizer, tmp_path)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(FlueBenchError, match="streamed from the hub, which is out of reach"):
        build(["hub:org/textes:fr"], tokenizer, tmp_path)


# The command.


def test_the_command(tmp_path: Path, tokenizer: Any) -> None:
    write_txt(tmp_path / "a.txt", list(_french(60)))
    arguments = ["corpus", tmp_path / "a.txt", "--tokenizer", "embedded:untrained", "--out", tmp_path / "out"]
    said = done(*arguments, "--processes", "1", "--held-out", "0.2")
    manifest = open_corpus(tmp_path / "out").manifest
    assert f"{manifest.tokens:,} tokens to train on" in said
    assert f"digest {manifest.digest}" in said
    assert manifest.held_out_documents > 0 and "No document fell into" not in said and "already made" not in said
    again = flue_bench(*arguments, "--processes", "1", "--held-out", "0.2")
    assert f"{tmp_path / 'out'} is already made" in again.err and f"digest {manifest.digest}" in again.out
    tokenizer_of(["dog"]).save_pretrained(tmp_path / "blind")
    assert "maps French text to '<unk>'" in refused(*arguments[:3], tmp_path / "blind", *arguments[4:], code=1)
    characters = sorted({*models_of_training.SAMPLE.replace(" ", "")})
    fallen = tokenizer_of([*characters, *map(str, range(1000, 3000))])
    fallen.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fallen.save_pretrained(tmp_path / "fallen")
    said = refused(*arguments[:3], tmp_path / "fallen", *arguments[4:], code=1)
    assert f"{tmp_path / 'fallen'} cuts French into characters: 1." in said
    (tmp_path / "void").mkdir()
    refused(*arguments[:3], tmp_path / "void", *arguments[4:], code=1)


@pytest.mark.shared
def test_the_unknown_token_is_the_one_that_a_tokenizer_gives(shared: Path) -> None:
    camembert = AutoTokenizer.from_pretrained(shared / "tokenizers/camembert-base")
    given = camembert("漢", add_special_tokens=False)["input_ids"][-1]
    assert identify(camembert).unk == given != camembert.unk_token_id


def _french(count: int) -> Iterator[str]:
    """Documents of three sentences."""
    source = hub_standin.sentences()
    for _ in range(count):
        yield "\n".join(itertools.islice(source, 3))


@pytest.mark.shared
def test_real_text_is_tokenised_as_camembert_does(shared: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "camembert-base")
    with lzma.open(shared / "corpus" / "eltec_fra_novels.txt.xz", "rt", encoding="utf-8") as file:
        docs = [file.read(400_000).split("\n\n")[0], "Une toute petite nouvelle, écrite ici, avec un </s> dedans."]
    manifest = build([write_txt(tmp_path / "a.txt", docs)], tokenizer, tmp_path / "out", processes=1, held_out=0)
    assert (manifest.documents, manifest.dtype) == (2, "uint16")
    docs[1] = docs[1].replace("</s>", "")
    want = [row for ids in tokenizer(docs, add_special_tokens=False, verbose=False)["input_ids"] for row in (*ids, 6)]
    assert ids_of(open_corpus(tmp_path / "out")).tolist() == want


@pytest.mark.parametrize("name", ["train-00000.bin", "held-out-00007.bin", COUNTS])
@pytest.mark.parametrize("part", [False, True])
def test_files_that_no_build_left_there_are_not_replaced(name: str, part: bool, tmp_path: Path, tokenizer: Any) -> None:
    source, out = write_txt(tmp_path / "a.txt", documents(20)), tmp_path / "c"
    write = partial(make_part, part=1, parts=1) if part else build
    out.mkdir()
    (out / name).write_bytes(b"another tool's")
    with pytest.raises(RecordError, match=f"{name} is there already, of no corpus that was begun in .*another folder"):
        write([source], tokenizer, out, processes=1)
    assert contents(out) == {name: b"another tool's"}
    (out / name).unlink()
    write([source], tokenizer, out, processes=1)


def test_a_corpus_without_anything_to_train_on_leaves_a_folder_as_it_was(tmp_path: Path, tokenizer: Any) -> None:
    source, out = write_txt(tmp_path / "a.txt", documents(20)), tmp_path / "c"
    out.mkdir()
    (out / "notes").write_text("mine")
    with pytest.raises(DataError, match="No document to train on"):
        build([source], tokenizer, out, processes=1, held_out=0.999999)
    assert contents(out) == {"notes": b"mine"}
    build([source], tokenizer, out, processes=1)
