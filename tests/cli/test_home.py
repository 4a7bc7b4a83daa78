"""``~`` in a path is the home folder wherever a path may stand; ``~NAME`` that nobody is called ends no command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flue_bench
import flue_distill
from flue_bench import cli, files
from support import command_line
from support.boards import teacher_and_student
from support.command_line import refused

NOBODY = "~nobody-is-called-this"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with results in it, and a working folder elsewhere, in which nothing of it may turn up."""
    home, elsewhere = tmp_path / "chez moi", tmp_path / "ailleurs"
    for folder in (home, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(home))
    teacher_and_student(home / "résultats", seeds=1)
    return home


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("~", "{}"),
        ("~/a b", "{}/a b"),
        ("--out=~/a", "--out={}/a"),
        ("--data-dir=~", "--data-dir={}"),
        ("./~/a", "./~/a"),
        ("a~/b", "a~/b"),
        ("~a", "~a"),
        ("--set=x=~/a", "--set=x=~/a"),
        ("--out=~b/a", "--out=~b/a"),
        ("un\n~/a", "un\n~/a"),
    ],
)
def test_a_word_is_read_as_an_unquoted_one_would_be(word: str, read: str, home: Path) -> None:
    assert cli.at_home(word) == read.format(home)


@pytest.mark.parametrize(
    "where", [["--results=~/résultats", "--out=~/board.csv"], ["--results", "~/résultats", "--out", "~/board.csv"]]
)
def test_a_command_reads_and_writes_at_home(where: list[str], home: Path) -> None:
    done = command_line.flue_bench("leaderboard", "--format", "csv", *where)
    assert done.code == 0, done.err
    assert len((home / "board.csv").read_text(encoding="utf-8").splitlines()) > 2
    assert not os.listdir()


def test_python_reads_and_writes_at_home(home: Path) -> None:
    assert flue_bench.read_results("~/résultats").records
    assert all(each.ok for each in flue_bench.verify_records("~/résultats", progress=False))
    (home / "textes.txt").write_text(
        "\n\n".join(f"Il pleut sur Brest depuis {i} jours, et la mer monte encore." for i in range(50))
    )
    flue_distill.build_corpus(
        "~/textes.txt", tokenizer="embedded:teacher", out="~/corpus", min_tokens=4, progress=False
    )
    assert (home / "corpus" / "manifest.json").is_file()
    assert not os.listdir()


def test_data_that_the_environment_names_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_DATA", "~/données")
    assert f"{home}/données: no such folder" in refused("run", "-m", "embedded:student", "-t", "mini-cls")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run", "-m", f"{NOBODY}/m", "-t", "mini-cls"], "is neither a folder here nor a hub id"),
        (["score", "-m", f"{NOBODY}/m", "-t", "mini-cls"], "is neither a folder here nor a hub id"),
        (["speed", "-m", NOBODY], "is neither a folder here nor a hub id"),
        (["card", "-m", f"{NOBODY}/m", "--results", "~/résultats"], "Unknown model"),
        (["compare", "modele", NOBODY, "--results", "~/résultats"], "Unknown model"),
        (["leaderboard", "--results", NOBODY], "there is no such folder"),
        (["run", "-m", "embedded:student", "-t", "mini-cls", "--data-dir", NOBODY], f"{NOBODY}: no such folder"),
        (["distill", "--corpus", NOBODY, "--out", "s"], "no such folder"),
        (["distill", f"{NOBODY}/r.toml", "--corpus", ".", "--out", "s"], "cannot be read: No such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_nobodys_home_is_a_name_like_any_other(command: list[str], said: str, home: Path) -> None:
    heard = command_line.flue_bench(*command)
    assert heard.code in (1, 2) and said in heard.err and len(heard.err.strip().splitlines()) <= 2, heard


def test_a_corpus_of_nobodys(home: Path) -> None:
    assert "no such file" in refused(
        "corpus", f"{NOBODY}/a.txt", "--tokenizer", "embedded:teacher", "--out", "c", code=1
    )
    assert refused("corpus", str(home), "--tokenizer", f"{NOBODY}/t", "--out", "c", code=1)


def test_a_cache_in_nobodys_home_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", f"{NOBODY}/cache")
    assert "set FLUE_BENCH_CACHE or HOME" in refused("leaderboard", "--results", "~/résultats")
    monkeypatch.setenv("FLUE_BENCH_CACHE", "~/cache")
    assert files.cache_dir() == home / "cache"
