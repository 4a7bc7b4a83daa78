"""A corpus whose parts are made by workers is that of one machine, to the byte, whatever dies meanwhile."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import flue_distill
from flue_distill import spread
from flue_distill.corpus import texts
from flue_distill.corpus.shards import STATE
from support.command_line import done, in_a_process, refused
from support.corpora import contents, documents, write_txt
from support.plugins import put_package

pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")

DEADLY = """
import os, signal
from pathlib import Path
from flue_distill import spread
from flue_distill.corpus import parts, texts

texts.BATCH, parts.BLOCK = 2000, 700
write = parts._write_block

def writes(folder, number, *more):
    notes = folder.parents[2]
    if number == 1 and folder.name == "1-of-2" and not (notes / "killed").exists():
        (notes / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with (notes / folder.name).open("a") as file:
        print(number, file=file)
    return write(folder, number, *more)

parts._write_block = writes

def part(arguments, display):
    return spread.part(arguments, display)
"""
"""The job ``corpus-part`` with small blocks, which kills its process once while it writes the second of part 1."""


@pytest.mark.robustness
@pytest.mark.timeout(600)
def test_a_killed_worker_loses_one_block_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BATCH", 2000)
    plugin = put_package(tmp_path / "plugin", "deadly", "[flue_bench.jobs]\ndeadly-part = deadly:part\n", DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(plugin))
    monkeypatch.setattr(spread, "PART", "deadly-part")
    source, out = write_txt(tmp_path / "a.txt", documents(400)), tmp_path / "out" / "c"
    given: dict[str, Any] = dict(processes=1, progress=False, shard_tokens=3000, held_out=0.1)
    flue_distill.build_corpus(source, "embedded:teacher", tmp_path / "whole", **given)
    made = flue_distill.build_corpus(source, "embedded:teacher", out, workers=2, **given)
    assert (tmp_path / "out" / "killed").exists(), "it was killed"
    assert contents(out) == contents(tmp_path / "whole") and made.documents > 300
    for name in ("1-of-2", "2-of-2"):
        written = (tmp_path / "out" / name).read_text().split()
        assert [int(each) for each in written] == list(range(len(written))) and len(written) > 3, "none is made twice"
    assert flue_distill.build_corpus(source, "embedded:teacher", out, workers=2, **given) == made


def test_the_command_goes_on_with_the_division_that_was_begun(tmp_path: Path) -> None:
    lines = [f"Le document {n} parle de la rue {n * n} et de maisons." for n in range(90)]
    words = ["corpus", str(write_txt(tmp_path / "a.txt", lines)), "--tokenizer", "embedded:teacher"]
    done(*words, "--processes", "1", "--out", tmp_path / "whole")
    done(*words, "--processes", "1", "--out", tmp_path / "c", "--part", "2/3")
    assert "holds parts: go on with --workers" in refused(*words, "--out", tmp_path / "c", code=1)
    said = in_a_process(*words, "--out", tmp_path / "c", "--workers", "1", cwd=tmp_path)
    assert said.returncode == 0 and "3 parts, 2 to make. 1 worker" in said.stderr, said.stderr
    assert "digest" in said.stdout and "Train on it:" in said.stderr
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_what_is_refused_before_a_worker_starts(tmp_path: Path) -> None:
    words = ["corpus", write_txt(tmp_path / "a.txt", documents(20)), "--tokenizer", "embedded:teacher"]
    out = ["--out", tmp_path / "c", "--workers", "2"]
    assert "leave --part and --merge out" in refused(*words, *out, "--part", "1/2")
    assert "leave --part and --merge out" in refused("corpus", *out, "--merge")
    assert "at least 1" in refused(*words, "--out", tmp_path / "c", "--workers", "0")
    assert "Give one of them" in refused(*words, *out, "--cluster", tmp_path / "x.toml")
    streamed = refused("corpus", "hub:org/name", "--tokenizer", "embedded:teacher", *out)
    assert "is streamed, by one process" in streamed and "Get its files" in streamed
    assert not (tmp_path / "c").exists()
    (tmp_path / "c").mkdir()
    sqlite3.connect(tmp_path / "c" / STATE).close()
    (tmp_path / "c" / STATE).touch()
    assert "begun there without workers: go on without" in refused(*words, *out, code=1)
