"""``flue-bench run`` as people call it: in a process of its own, against a hub on localhost or no network at all."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from flue_bench.data import registry
from support.command_line import PROGRAM, flue_bench, in_a_process, no_network, started
from support.hub_standin import (
    StandIn,
    cls_archive,
    folder_files,
    pawsx_files,
    tiny_camembert,
    wikiner_files,
    xnli_files,
)

MODEL = "cmarkea/distilcamembert-base"


@pytest.fixture(scope="module")
def camembert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_camembert(tmp_path_factory.mktemp("models") / "distilcamembert-base")


def revision(task: str) -> str:
    """The commit that the task pins on the hub."""
    pinned = registry.registered()[task].task.source[0].revision
    assert pinned is not None
    return pinned


@pytest.mark.slow
def test_a_model_and_no_task_is_all_of_flue_from_the_hub(tmp_path: Path, camembert: Path) -> None:
    data, once = tmp_path / "data", ("--set", "epochs=1")
    data.mkdir()
    (data / "cls-acl10-unprocessed.tar.gz").write_bytes(cls_archive())
    with StandIn() as hub:
        commit = hub.add_repo(MODEL, "model", folder_files(camembert))
        hub.add_repo("facebook/xnli", "dataset", {}, revisions={revision("xnli"): xnli_files()})
        hub.add_repo("google-research-datasets/paws-x", "dataset", {}, revisions={revision("paws-x"): pawsx_files()})
        hub.add_repo("Jean-Baptiste/wikiner_fr", "dataset", {}, revisions={revision("wikiner"): wikiner_files()})
        env = hub.env(tmp_path) | {"FLUE_BENCH_DATA": str(data), "COLUMNS": "150"}
        done = in_a_process("run", "--model", MODEL, *once, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "results" / "runs").rglob("seed0-*[0-9a-f].json")]
    assert sorted(record["cell"]["task"] for record in records) == [
        "cls-books", "cls-dvd", "cls-music", "paws-x", "wikiner", "xnli",
    ]  # fmt: skip
    assert {record["cell"]["model"]["name"] for record in records} == {MODEL}
    assert {record["cell"]["model"]["revision"] for record in records} == {commit}
    assert not any(record["data"]["canonical"] for record in records)  # so few rows are not FLUE, and it says so
    for column in ("cls", "paws-x", "xnli", "wikiner"):
        assert column in done.stdout
    assert "rows" in done.stdout + done.stderr

    board = json.loads(flue_bench("leaderboard", "--format", "json", "--results", tmp_path / "results").out)
    assert [column["name"] for column in board["columns"]] == ["cls", "paws-x", "xnli", "wikiner"]


def test_without_network_it_says_what_to_do_within_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    done = in_a_process("run", "--model", MODEL, cwd=tmp_path, env=no_network(tmp_path))
    assert time.monotonic() - began < 30  # most of it is importing torch on a busy machine
    assert done.returncode == 1
    assert MODEL in done.stderr and f"`flue-bench fetch --model {MODEL}`" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.slow
def test_what_cannot_be_had_is_told_before_anything_trains_and_used_if_it_comes(tmp_path: Path) -> None:
    """Two tasks want an archive to be asked for, one is out of reach: the fourth runs, and first."""
    data = tmp_path / "data"
    data.mkdir()
    words = ("--task", "cls-books", "--task", "xnli", "--task", "cls-dvd", "--task", "mini-cls")
    small = ("--model", "embedded:untrained", "--limit", "24", "--set", "epochs=1")
    env, heard = no_network(tmp_path) | {"FLUE_BENCH_DATA": str(data)}, ""
    with started("run", *words, *small, cwd=tmp_path, env=env) as run:
        assert run.stderr is not None
        for line in run.stderr:
            heard += line
            if line.startswith("Meanwhile 1 other task runs"):  # somebody gives the archive of two
                (data / "cls-acl10-unprocessed.tar.gz").write_bytes(cls_archive())
        assert run.wait(60) == 1
    ran = [path.parent.name for path in (tmp_path / "results" / "runs").rglob("seed0-*[0-9a-f].json")]
    assert sorted(ran) == ["cls-books", "cls-dvd", "mini-cls"]
    before, trained, after = heard.partition("[1/4] embedded:untrained · mini-cls · seed 0")
    assert trained
    assert before.count("log in and ask for it (https://zenodo.org/records/3251672") == 1
    assert "cls-books, cls-dvd: no data. Zenodo gives" in before
    assert "Save what you receive as D/cls-acl10-unprocessed.tar.gz and give --data-dir D." in before
    assert (
        "xnli: no data. Fetch them where there is a network (`flue-bench fetch --task xnli`)" in before
        and "Meanwhile 1 other task runs." in before
    )
    assert "xnli: still no data, see above" in after and after.count("still no data") == 1


@pytest.mark.slow
def test_nothing_named_runs_the_mini_tasks_without_network(tmp_path: Path) -> None:
    done = in_a_process("run", "--limit", "16", "--set", "epochs=1", cwd=tmp_path, env=no_network(tmp_path))
    assert done.returncode == 0, done.stderr
    for model in ("teacher", "student"):
        assert len(list((tmp_path / "results" / "runs" / f"embedded--{model}").iterdir())) == 3
    assert "embedded:student keeps" in done.stdout
    for task in ("mini-cls", "mini-ner", "mini-xnli"):
        assert task in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "xnly"], r"Unknown task 'xnly'. Did you mean xnli"),
        (["--model", "./nowhere"], r"'\./nowhere' is neither a folder here nor a hub id"),
        (["--model", "embedded:teachr"], r"Unknown embedded model"),
        (["--task", "mini", "--recipe", "quik"], r"Task mini-cls has no recipe 'quik'. Did you mean quick"),
        (["--task", "mini", "--set", "lr=1"], r"Unknown recipe field 'lr'"),
        (["--task", "mini", "--set", "epochs"], r"--set needs KEY=VALUE"),
        (["--task", "mini", "--set", "epochs=many"], r"Recipe field 'epochs' cannot be 'many'"),
        (["--task", "mini", "--device", "cuda"], r"finds no CUDA device.*--device cpu"),
        (["--task", "mini", "--device", "gpu"], r"Unknown device 'gpu'"),
        (["--seeds", "2", "--seed", "7"], r"give one or the other"),
        (["--task", "nowhere.toml"], r"nowhere\.toml"),
    ],
)
def test_what_cannot_be_asked_is_told_in_two_lines_with_exit_code_2(
    tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(tmp_path)
    said = flue_bench("run", *words)
    told = said.err[said.err.index("flue-bench: ") :]  # what comes before is not the error
    assert said.code == 2
    assert re.search(message, told), told
    assert len(told.strip().splitlines()) <= 2
    assert not (tmp_path / "results").exists()


@pytest.mark.robustness
@pytest.mark.slow
def test_ctrl_c_says_that_nothing_is_lost(tmp_path: Path) -> None:
    import signal

    words = ["run", "--model", "embedded:untrained", "--task", "mini-cls", "--set", "epochs=50"]
    with started(*words, cwd=tmp_path, env=no_network(tmp_path)) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("[1/1]"):
                break
        time.sleep(1)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
        assert run.wait(60) == 130
    assert "interrupted; finished cells and checkpoints are kept" in said and "Traceback" not in said


NO_LOCKS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""


@pytest.mark.skipif(os.name != "posix", reason="flock")
def test_where_the_file_system_has_no_locks_it_runs_and_says_so(tmp_path: Path) -> None:
    """It took an empty file for another process, and waited for ever."""
    words = ("run", "-m", "embedded:untrained", "-t", "mini-cls", "--limit", "16", "--set", "epochs=1")
    env = no_network(tmp_path)
    result = in_a_process(*words, cwd=tmp_path, env=env, program=NO_LOCKS + PROGRAM)
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stderr.split())
    assert said.count("this file system has no locks (Function not implemented)") == 1 and "start one only" in said
    assert len(list(tmp_path.glob("results/runs/*/*/*.json"))) == 1
