"""A cluster: ``fetch`` where there is a network, then ``run --offline`` where a socket ends the process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from flue_bench.data import registry
from support.command_line import PROGRAM, SEAL, in_a_process
from support.hub_standin import TOKEN, StandIn, cls_archive, folder_files, tiny_camembert, xnli_files

MODEL = "cmarkea/distilcamembert-base"


def flue_bench(*words: str | Path, cwd: Path, env: dict[str, str], seal: str = "") -> subprocess.CompletedProcess[str]:
    done = in_a_process(*words, cwd=cwd, env=env, program=seal + PROGRAM)
    assert TOKEN not in done.stdout + done.stderr
    return done


def put_up(hub: StandIn, folder: Path) -> None:
    """The model with more in its repository than anybody needs, and XNLI."""
    extra = {"README.md": b"# A model", "tf_model.h5": b"0" * 1000, "runs/events.bin": b"0" * 1000}
    hub.add_repo(MODEL, "model", folder_files(tiny_camembert(folder)) | extra)
    pinned = registry.registered()["xnli"].task.source[0].revision
    assert pinned is not None
    others = {"de/train-00000-of-00001.parquet": b"0" * 1000}
    hub.add_repo("facebook/xnli", "dataset", {}, revisions={pinned: xnli_files() | others})


def test_the_watch_sees_a_socket(tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    assert in_a_process(cwd=tmp_path, program=SEAL + code).returncode == 99


@pytest.mark.slow
def test_fetch_is_all_that_an_offline_run_needs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "cls-acl10-unprocessed.tar.gz").write_bytes(cls_archive())
    what = ("--model", MODEL, "--task", "xnli", "--task", "cls-books", "--data-dir", data)
    with StandIn() as hub:
        put_up(hub, tmp_path / "model")
        env = hub.env(tmp_path) | {"HF_TOKEN": TOKEN}
        done = flue_bench("fetch", *what, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        model, xnli, books, ready = done.stdout.splitlines()
        assert model.startswith(f"{MODEL}: fetched, ") and str(tmp_path / "hf") in model
        assert xnli.startswith("xnli: fetched, ") and str(tmp_path / "hf") in xnli
        assert books.startswith("cls-books: already here, ") and books.endswith(str(data))
        assert "run --offline" in ready and str(tmp_path / "flue-bench") in ready
        assert hub.authorised  # so the planted token was in play
        got = " ".join(request for request in hub.requests if "/resolve/" in request)
        assert "model.safetensors" in got and "README.md" in got and "fr/train" in got  # and nothing more:
        assert not any(name in got for name in ("tf_model", "events", "/de/"))

        asked = len(hub.requests)
        again = flue_bench("fetch", *what, cwd=tmp_path, env=env)
        assert [line.split(", ")[0] for line in again.stdout.splitlines()[:3]] == [
            f"{MODEL}: already here", "xnli: already here", "cls-books: already here",
        ]  # fmt: skip
        assert not any("GET" in request and "/resolve/" in request for request in hub.requests[asked:])

    small = ("--limit", "16", "--set", "epochs=1")
    run = flue_bench("run", *what, *small, "--offline", cwd=tmp_path, env=env, seal=SEAL)
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "results" / "runs").rglob("*.predictions.parquet"))) == 2

    # Folders, as a site's mirror has them, are the same model and the same data: the cells are already here.
    mirror = tmp_path / "DSDIR"
    shutil.copytree(Path(model.rpartition(", ")[2]), mirror / "HuggingFace_Models" / MODEL)  # links become files
    snapshot = Path(xnli.rpartition(", ")[2]).parent
    shutil.copytree(snapshot, mirror / "HuggingFace" / "facebook" / "xnli")
    words = ("--model", mirror / "HuggingFace_Models" / MODEL, "--data-dir", mirror / "HuggingFace", "--task", "xnli")
    bare = env | {"HF_HOME": str(tmp_path / "empty"), "FLUE_BENCH_CACHE": str(tmp_path / "none")}
    there = flue_bench("run", *words, *small, "--offline", cwd=tmp_path, env=bare, seal=SEAL)
    assert there.returncode == 0, there.stderr
    assert "1 of 1 cells had a record already" in there.stderr
    (record,) = (json.loads(path.read_bytes()) for path in (tmp_path / "results").rglob("xnli/seed0-*[0-9a-f].json"))
    assert record["data"]["source"].startswith("hub:facebook/xnli@")
    for path in (tmp_path / "results").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


TWO = f"""
{SEAL}
from flue_bench.cli import main
for words in (["--model", "{MODEL}", "--task", "mini-cls"], ["--model", "embedded:untrained", "--task", "wikiner"]):
    sys.argv = ["flue-bench", "run", *words, "--offline"]
    try:
        main()
    except SystemExit as stopped:
        print("ended with", stopped.code)
"""


def test_offline_and_nothing_cached(tmp_path: Path) -> None:
    """Not even the probe whether the hub is there is made."""
    with StandIn() as hub:
        done = in_a_process(cwd=tmp_path, env=hub.env(tmp_path), program=TWO)
        assert done.returncode == 0 and done.stdout.splitlines() == ["ended with 1"] * 2, done.stderr
        assert done.stderr.count("network use is switched off") >= 2
        assert hub.requests == []


def test_what_cannot_be_had_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    with StandIn() as hub:
        put_up(hub, tmp_path / "model")
        env = hub.env(tmp_path) | {"HF_TOKEN": TOKEN}
        what = ("--model", "nobody/nothing", "--model", MODEL, "--task", "wikiner", "--task", "xnli")
        done = flue_bench("fetch", *what, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert [line.partition(", ")[0] for line in done.stdout.splitlines()] == [f"{MODEL}: fetched", "xnli: fetched"]
    assert "nobody/nothing: Model nobody/nothing is not at" in done.stderr
    assert "wikiner: No data for task 'wikiner'" in done.stderr and "2 of 4 could not be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_asked_for_is_told(tmp_path: Path) -> None:
    done = flue_bench("fetch", cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 2 and "fetch needs --model, --task, or both" in done.stderr
