"""The hub's cache and its failures, with the real huggingface_hub client in a process of its own.

huggingface_hub reads ``HF_*`` when it is imported, so each case that depends on them runs ``DRIVER`` in a subprocess.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from flue_bench.data import hub
from flue_bench.errors import HubError, OfflineError
from support import ROOT
from support.hub_standin import (
    TOKEN,
    Fault,
    StandIn,
    cls_archive,
    folder_files,
    pawsx_files,
    sentences,
    tiny_camembert,
    wikiner_files,
    xnli_files,
)

PINNED = "b8dd5d7af51114dbda02c0e3f6133f332186418e"
FILES = {
    "config.json": b'{"model_type": "camembert"}',
    "model.safetensors": bytes(range(256)) * 400,
    "fr/train-00000-of-00002.parquet": b"un" * 5000,
    "fr/train-00001-of-00002.parquet": b"deux" * 5000,
}

DRIVER = """
import json, sys, time
from pathlib import Path
from flue_bench.data import hub
from flue_bench.errors import FlueBenchError
for call, kwargs in json.loads(sys.argv[1]):
    started = time.monotonic()
    try:
        answer = getattr(hub, call)(**kwargs)
        if call == "fetch":
            names = sorted(p.relative_to(answer.folder).as_posix() for p in answer.folder.rglob("*") if p.is_file())
            answer = {"folder": str(answer.folder), "commit": answer.commit, "names": names}
        result = {"answer": answer}
    except FlueBenchError as error:
        result = {"error": type(error).__name__, "message": str(error), "exit": error.exit_code}
    print(json.dumps(result | {"seconds": time.monotonic() - started}))
"""


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def closed_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def drive_all(env: dict[str, str], *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Call hub.py in a fresh process that has a token; the token must stay out of whatever it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, json.dumps(calls)],
        env=env | {"HF_TOKEN": TOKEN},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert TOKEN not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    return [json.loads(line) | {"stderr": done.stderr} for line in done.stdout.splitlines()]


def drive(call: str, env: dict[str, str], **kwargs: Any) -> dict[str, Any]:
    return drive_all(env, (call, kwargs))[0]


def fetch(env: dict[str, str], repo_id: str = "org/data", **kwargs: Any) -> dict[str, Any]:
    wanted = {"repo_type": "dataset", "revision": None, "patterns": ["fr/train-*.parquet"]} | kwargs
    return drive("fetch", env, repo_id=repo_id, **wanted)


def test_a_branch_resolves_to_its_commit_and_a_pinned_commit_stays(standin: StandIn, tmp_path: Path) -> None:
    env = standin.env(tmp_path)
    first = standin.add_repo("org/data", "dataset", FILES)
    moved = FILES | {"fr/train-00000-of-00002.parquet": b"autre"}
    second = standin.add_repo("org/data", "dataset", moved, revisions={PINNED: FILES, "v1": FILES})
    assert len({first, second, PINNED}) == 3

    branch = fetch(env)
    assert branch["answer"]["commit"] == second
    assert branch["answer"]["names"] == ["fr/train-00000-of-00002.parquet", "fr/train-00001-of-00002.parquet"]
    assert branch["stderr"] == ""  # no bars, no chatter where there is no terminal
    assert (Path(branch["answer"]["folder"]) / "fr/train-00000-of-00002.parquet").read_bytes() == b"autre"
    assert any(line.startswith("GET") for line in standin.authorised)  # so the planted token was in play

    for revision, commit in ((PINNED, PINNED), ("v1", first), (first, first)):
        answer = fetch(env, revision=revision)["answer"]
        assert answer["commit"] == commit
        assert (Path(answer["folder"]) / "fr/train-00000-of-00002.parquet").read_bytes() == b"un" * 5000


def test_the_cache_serves_without_a_request(standin: StandIn, tmp_path: Path) -> None:
    env = standin.env(tmp_path)
    commit = standin.add_repo("org/model", "model", FILES)
    wanted: dict[str, Any] = {
        "repo_id": "org/model",
        "repo_type": "model",
        "patterns": ["config.json", "*.safetensors"],
    }
    assert drive("fetch", env, revision=None, **wanted)["answer"]["commit"] == commit
    standin.requests.clear()

    pinned = drive("fetch", env, revision=commit, **wanted)
    offline = drive("fetch", env, revision=None, offline=True, **wanted)
    by_variable = drive("fetch", env | {"HF_HUB_OFFLINE": "1"}, revision="main", **wanted)
    for result in (pinned, offline, by_variable):
        assert result["answer"]["commit"] == commit
        assert result["answer"]["names"] == ["config.json", "model.safetensors"]
        assert result["stderr"] == ""
    assert drive("files", env, repo_id="org/model", repo_type="model", revision=commit)["answer"] == sorted(FILES)
    cached = drive("files", env, repo_id="org/model", repo_type="model", revision=None, offline=True)["answer"]
    assert cached == ["config.json", "model.safetensors"]
    assert standin.requests == []

    more = drive("fetch", env, repo_id="org/model", repo_type="model", revision=commit, patterns=["fr/*"])
    assert more["answer"]["names"] == sorted(FILES)


def test_files_lists_the_repository(standin: StandIn, tmp_path: Path) -> None:
    standin.add_repo("org/model", "model", FILES)
    result = drive("files", standin.env(tmp_path), repo_id="org/model", repo_type="model", revision=None)
    assert result["answer"] == sorted(FILES)


def test_offline_and_not_cached(standin: StandIn, tmp_path: Path) -> None:
    standin.add_repo("org/data", "dataset", FILES)
    env = standin.env(tmp_path)
    for result in (
        fetch(env, offline=True),
        fetch(env | {"HF_HUB_OFFLINE": "1"}, revision=PINNED),
        drive("files", env, repo_id="org/data", repo_type="dataset", revision=None, offline=True),
    ):
        assert result["error"] == "OfflineError"
        assert result["seconds"] < 2
        assert "org/data" in result["message"]
        for advice in ("switched off", "Leave out --offline", "under --data-dir"):
            assert advice in result["message"]
    assert standin.requests == []


def test_a_partly_filled_cache_is_not_passed_off_as_whole(standin: StandIn, tmp_path: Path) -> None:
    env = standin.env(tmp_path)
    commit = standin.add_repo("org/data", "dataset", FILES)
    fetch(env, patterns=["fr/train-00000-of-00002.parquet"])
    result = fetch(env, offline=True)
    assert result["error"] == "OfflineError"
    assert "missing: fr/train-00001-of-00002.parquet" in result["message"]
    assert fetch(env, revision=commit)["answer"]["names"] == [name for name in sorted(FILES) if name.startswith("fr/")]


def test_the_hub_out_of_reach(standin: StandIn, closed_port: str, tmp_path: Path) -> None:
    env = standin.env(tmp_path)
    commit = standin.add_repo("org/data", "dataset", FILES)
    away = env | {"HF_ENDPOINT": closed_port}
    for revision in (None, PINNED):
        result = fetch(away, revision=revision)
        assert result["error"] == "OfflineError"
        assert result["seconds"] < 10
        assert "out of reach" in result["message"]
        assert "under --data-dir" in result["message"]

    fetch(env)
    result = fetch(away)
    assert result["answer"]["commit"] == commit
    assert result["seconds"] < 10
    assert f"the cached commit {commit[:12]} of org/data serves" in result["stderr"]
    assert fetch(away, revision=commit)["stderr"] == ""  # a pinned commit is what was asked for: nothing to announce


def test_a_server_that_accepts_and_says_nothing_is_out_of_reach(tmp_path: Path, standin: StandIn) -> None:
    standin.faults["/"] = "hang"
    result = fetch(standin.env(tmp_path))
    assert result["error"] == "OfflineError"
    assert result["seconds"] < 5


def test_credentials_in_the_endpoint_are_not_repeated(closed_port: str, standin: StandIn, tmp_path: Path) -> None:
    away = standin.env(tmp_path) | {"HF_ENDPOINT": closed_port.replace("http://", "http://user:pass-word@")}
    result = fetch(away)
    assert closed_port in result["message"]
    assert "pass-word" not in result["message"] + result["stderr"]


@pytest.mark.parametrize(
    ("repo_type", "error", "exit_code"), [("model", "ModelNotFoundError", 2), ("dataset", "HubError", 1)]
)
def test_what_does_not_exist(standin: StandIn, tmp_path: Path, repo_type: Any, error: str, exit_code: int) -> None:
    env = standin.env(tmp_path)
    standin.add_repo("org/there", repo_type, FILES)
    asked = [("org/absent", None), ("org/there", "no-such-branch"), ("org/there", PINNED)]
    for call, more in (("fetch", {"patterns": ["*"]}), ("files", {})):
        calls = [(call, {"repo_id": name, "repo_type": repo_type, "revision": at} | more) for name, at in asked]
        for (repo_id, revision), result in zip(asked, drive_all(env, *calls), strict=True):
            assert (result["error"], result["exit"]) == (error, exit_code)
            assert repo_id in result["message"]
            assert (revision or "") in result["message"]
            assert f"{standin.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}" in result["message"]


def test_a_malformed_name(standin: StandIn, tmp_path: Path) -> None:
    result = fetch(standin.env(tmp_path), repo_id="not/a/repository")
    assert result["error"] == "HubError"
    assert "org/name" in result["message"]


@pytest.mark.parametrize("revision", ["../../../../../secret", "main/../..", "/dev/zero", "a//b", ".", "a\0b", "-x"])
def test_what_is_no_revision_names_no_file(standin: StandIn, tmp_path: Path, revision: str) -> None:
    """A revision becomes part of paths: ``refs/REVISION`` is read as a commit, and written."""
    standin.add_repo("org/data", "dataset", FILES)
    (tmp_path / "secret").write_text("a" * 40)
    for offline in (False, True):
        result = fetch(standin.env(tmp_path), revision=revision, offline=offline)
        assert result["error"] == "HubError" and "is no revision" in result["message"]
    assert (tmp_path / "secret").read_text() == "a" * 40


@pytest.mark.parametrize("revision", [None, PINNED])
@pytest.mark.parametrize("name", ["../../../../stolen", "/stolen", "..", "a/b", "..\\..\\stolen"])
@pytest.mark.parametrize("key", ["sha", "ETag", "X-Linked-Etag", "X-Repo-Commit"])
def test_what_a_server_calls_a_commit_or_a_hash_names_no_file_elsewhere(
    standin: StandIn, tmp_path: Path, key: str, name: str, revision: str | None
) -> None:
    standin.add_repo("org/data", "dataset", FILES, revisions={PINNED: FILES})
    standin.names[key] = name if key == "sha" else f'"{name}"'
    result = fetch(standin.env(tmp_path), revision=revision)
    if key == "sha" and revision:  # it is not asked for
        assert "error" not in result
    else:
        assert result["error"] == "HubError" and len(result["message"].splitlines()) == 1
        assert "as a commit or a hash" in result["message"]
    assert not [path for path in tmp_path.rglob("*") if "stolen" in path.name]


def test_gated(standin: StandIn, tmp_path: Path) -> None:
    standin.add_repo("org/data", "dataset", FILES, gated=True)
    result = fetch(standin.env(tmp_path))
    assert result["error"] == "HubError"
    assert f"conditions at {standin.endpoint}/datasets/org/data" in result["message"]
    assert "`hf auth login`" in result["message"]
    checked = check(standin.env(tmp_path))
    assert (checked["error"], checked["message"]) == ("HubError", result["message"])
    assert not any("/resolve/" in request for request in standin.requests[-2:])


def check(env: dict[str, str], repo_id: str = "org/data", **kwargs: Any) -> dict[str, Any]:
    wanted = {"repo_type": "dataset", "revision": None, "patterns": ["fr/train-*.parquet"]} | kwargs
    return drive("check_repository", env, repo_id=repo_id, **wanted)


def both(env: dict[str, str], **kwargs: Any) -> list[dict[str, Any]]:
    """What check_repository says, then fetch."""
    wanted = {"repo_id": "org/data", "repo_type": "dataset", "revision": None, "patterns": ["fr/train-*.parquet"]}
    return drive_all(env, ("check_repository", wanted | kwargs), ("fetch", wanted | kwargs))


def test_what_fetch_would_give_is_known_before(standin: StandIn, closed_port: str, tmp_path: Path) -> None:
    commit = standin.add_repo("org/data", "dataset", FILES, revisions={PINNED: FILES})
    env = standin.env(tmp_path)
    assert check(env)["answer"] is None
    assert len(standin.requests) == 2  # the probe, and one question
    described = drive("about", env, repo_id="org/data", repo_type="dataset")["answer"]
    assert described == [commit, sorted(FILES), False]
    for nothing in both(env, patterns=["de/*"]):  # of this repository, nothing is cached yet
        assert "has nothing that matches de/*. Its files: config.json, fr/" in nothing["message"]
    for place, asked in (
        (env, {"repo_id": "org/none"}),
        (env, {"revision": "absent"}),
        (env | {"HF_ENDPOINT": closed_port}, {}),
        (env | {"HF_HUB_OFFLINE": "1"}, {}),
    ):
        checked, fetched = both(place, **asked)
        assert checked["message"] == fetched["message"]
    assert fetch(env, revision=PINNED)["answer"]["commit"] == PINNED
    asked_before = len(standin.requests)
    assert check(env, revision=PINNED)["answer"] is None  # here: nobody is asked
    assert len(standin.requests) == asked_before


def test_the_hubs_own_parquet_copy(standin: StandIn, tmp_path: Path) -> None:
    """A branch with slashes in its name, which is resolved to a commit and can move."""
    branch = "refs/convert/parquet"
    kept = {"config.json": b"", "fr/train-0.parquet": b"deux"}
    standin.add_repo("org/data", "dataset", {"data.py": b"import datasets"}, revisions={branch: kept})
    env = standin.env(tmp_path)
    checked, fetched = (done["answer"] for done in both(env, revision=branch))
    assert fetched["names"] == ["fr/train-0.parquet"] and re.fullmatch("[0-9a-f]{40}", fetched["commit"])
    assert checked is None
    assert fetch(env, revision=branch, offline=True)["answer"] == fetched
    standin.add_repo("org/data", "dataset", {}, revisions={branch: kept | {"fr/train-0.parquet": b"trois"}})
    assert fetch(env, revision=branch)["answer"]["commit"] != fetched["commit"]


BROKEN: dict[tuple[str, Fault], str] = {
    ("/api/", "500"): "HTTP 500",
    ("/tree/", "500"): "3 tries of at most 1 s of silence each (HTTP 500)",
    ("/resolve/", "500"): "HTTP 500",
    ("/api/", "hang"): "broke off",
    ("/tree/", "hang"): "1 s of silence",
    ("/resolve/", "hang"): "1 s of silence",
    ("/resolve/", "stall"): "1 s of silence",
    ("/resolve/", "truncate"): "did not arrive in 3 tries",
    ("/resolve/", "corrupt"): "damaged",
    ("/resolve/", "short"): "another size",
    ("/api/", "nonsense"): "not a hub's",
    ("/api/", "truncate"): "broke off",
}
"""Where, what → what the message says."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Fault], tuple[dict[str, Any], dict[str, Any]]]:
    """What comes of each fault, and of a second fetch once it is mended. All at once: they mostly wait."""

    def meet(case: tuple[str, Fault]) -> tuple[dict[str, Any], dict[str, Any]]:
        with StandIn() as standin:
            env = standin.env(tmp_path_factory.mktemp("broken"))
            standin.add_repo("org/data", "dataset", FILES)
            standin.faults[case[0]] = case[1]
            result = fetch(env, patterns=["fr/train-00000-of-00002.parquet"])
            standin.faults.clear()
            return result, fetch(env, patterns=["fr/train-00000-of-00002.parquet"])

    with ThreadPoolExecutor(len(BROKEN)) as pool:
        return dict(zip(BROKEN, pool.map(meet, BROKEN), strict=True))


@pytest.mark.parametrize("case", BROKEN, ids=" ".join)
def test_a_broken_server(broken: Any, case: tuple[str, Fault]) -> None:
    """Bounded in time (here one second of silence a try), no damaged file in the cache, and mended when it mends."""
    result, mended = broken[case]
    assert result["error"] == "HubError"
    assert BROKEN[case] in result["message"]
    assert result["seconds"] < 25
    assert len(result["message"].splitlines()) <= 2
    folder = Path(mended["answer"]["folder"])
    assert (folder / "fr/train-00000-of-00002.parquet").read_bytes() == b"un" * 5000


def test_a_broken_server_and_a_cached_branch(standin: StandIn, tmp_path: Path) -> None:
    env = standin.env(tmp_path)
    commit = standin.add_repo("org/data", "dataset", FILES)
    fetch(env)
    standin.faults["/api/"] = "500"
    result = fetch(env)
    assert result["answer"]["commit"] == commit
    assert f"the cached commit {commit[:12]} of org/data serves" in result["stderr"]
    listed = drive("files", env, repo_id="org/data", repo_type="dataset", revision=None)["answer"]
    assert listed == [name for name in sorted(FILES) if name.startswith("fr/")]


def test_a_download_that_breaks_off_but_moves_on_is_taken_up_again(standin: StandIn, tmp_path: Path) -> None:
    """The first answer stalls, the retry asks for the rest by range and gets it."""
    env = standin.env(tmp_path)
    standin.add_repo("org/data", "dataset", FILES)
    standin.faults["train-00000"] = "stall"

    def mend() -> None:
        while not any("GET" in line and "/resolve/" in line for line in standin.requests):
            time.sleep(0.02)
        standin.faults.clear()

    threading.Thread(target=mend, daemon=True).start()
    answer = fetch(env)["answer"]
    assert (Path(answer["folder"]) / "fr/train-00000-of-00002.parquet").read_bytes() == b"un" * 5000


def test_a_pattern_that_matches_nothing(standin: StandIn, tmp_path: Path) -> None:
    commit = standin.add_repo("org/data", "dataset", FILES)
    env = standin.env(tmp_path)
    for revision in (None, commit):
        result = fetch(env, revision=revision, patterns=["fr/train-*.parquet", "de/test-*.parquet"])
        assert result["error"] == "HubError"
        assert "nothing that matches de/test-*.parquet." in result["message"]
        assert "fr/train-00000-of-00002.parquet" in result["message"]


def test_reachable_asks_once_a_process(standin: StandIn, tmp_path: Path) -> None:
    script = "from flue_bench.data import hub; print([hub.reachable(), hub.reachable(1.0), hub.reachable()])"
    for offline, expected in (("0", "[True, True, True]"), ("1", "[False, False, False]")):
        env = standin.env(tmp_path) | {"HF_HUB_OFFLINE": offline}
        done = subprocess.run([sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.strip() == expected
    assert standin.requests == ["HEAD /"]


def test_hub_imports_nothing_heavy() -> None:
    script = "import sys; from flue_bench.data import hub; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets", "pandas", "sklearn", "evaluate"} & set(done.stdout.split())


# download: in this process; nothing it depends on is read at import.


@pytest.fixture
def plain(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in reached without proxies, with one second of patience."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return standin


def test_download(plain: StandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = b"archive" * 50_000
    url = plain.serve_file("records/archive.tar.gz", content)
    target = tmp_path / "new" / "folder" / "archive.tar.gz"
    hub.download(url, target)
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o444 == 0o444 & ~_umask()
    assert plain.authorised == []
    hub.download(plain.serve_file("records/archive.tar.gz", b"second edition"), target)
    assert target.read_bytes() == b"second edition"
    assert capfd.readouterr() == ("", "")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("404", "HTTP 404"),
        ("500", "HTTP 500"),
        ("truncate", "broke off"),
        ("stall", "ReadTimeout"),
        ("hang", "ReadTimeout"),
    ],
)
def test_download_from_a_broken_server(plain: StandIn, tmp_path: Path, fault: Fault, says: str) -> None:
    url = plain.serve_file("records/archive.zip", b"archive" * 50_000)
    plain.faults["archive.zip"] = fault
    target = tmp_path / "archive.zip"
    target.write_bytes(b"what was there")
    started = time.monotonic()
    with pytest.raises(HubError, match=says) as caught:
        hub.download(url + "?signature=private", target)
    assert time.monotonic() - started < 5
    assert url in str(caught.value) and "private" not in str(caught.value)
    assert "or put the file's contents under --data-dir" in str(caught.value)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there"]


def test_download_refuses_what_is_too_large(plain: StandIn, tmp_path: Path) -> None:
    url = plain.serve_file("archive.zip", b"x" * 1001)
    with pytest.raises(HubError, match="more than 1,000 bytes"):
        hub.download(url, tmp_path / "archive.zip", max_bytes=1000)
    assert list(tmp_path.iterdir()) == []
    hub.download(url, tmp_path / "archive.zip", max_bytes=1001)


def test_download_stops_at_the_limit_when_no_length_is_announced(plain: StandIn, tmp_path: Path) -> None:
    class Endless(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65_536)
            except OSError:  # the reader went away, as it should
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(HubError, match="more than 200,000 bytes"):
            hub.download(f"http://127.0.0.1:{server.server_port}/x", tmp_path / "x", max_bytes=200_000)
    finally:
        server.shutdown()
        server.server_close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("terminal", "pause", "shown"), [(True, 1, True), (True, 0, False), (False, 1, False)])
def test_download_shows_a_bar_on_a_terminal_once_it_takes_long(
    plain: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, pause: int, shown: bool
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(hub, "time", SimpleNamespace(monotonic=itertools.count(0, pause).__next__))
    hub.download(plain.serve_file("archive.zip", b"x" * 1_000_000), tmp_path / "archive.zip")
    assert ("archive.zip" in screen.getvalue()) == shown


def test_download_offline(plain: StandIn, closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = plain.serve_file("archive.zip", b"archive")
    with pytest.raises(OfflineError, match="switched off"):
        hub.download(url, tmp_path / "archive.zip", offline=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError, match="switched off"):
        hub.download(url, tmp_path / "archive.zip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert plain.requests == []
    started = time.monotonic()
    with pytest.raises(OfflineError, match=r"out of reach.*\n.*--data-dir"):
        hub.download(f"{closed_port}/archive.zip", tmp_path / "archive.zip")
    assert time.monotonic() - started < 10
    with pytest.raises(HubError, match="not an http"):
        hub.download("file:///etc/hostname", tmp_path / "archive.zip")
    assert list(tmp_path.iterdir()) == []


PAGES = {
    "doctype": b"<!DOCTYPE html>\n<title>Log in</title>",
    "lower case": b"<!doctype HTML><p>",
    "blanks": b"\n\n  <html lang='fr'>",
    "a mark": b"\xef\xbb\xbf<HTML><body>",
    "head": b"<head><meta charset='utf-8'>",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("known", [True, False])
def test_a_page_is_no_archive(plain: StandIn, tmp_path: Path, page: bytes, known: bool) -> None:
    url = plain.serve_file("archive.zip", page)
    what = {"size": 1000, "sha256": "0" * 64} if known else {}
    with pytest.raises(HubError, match=r"archive\.zip sends an HTML page \(a log-in, perhaps\) instead of the file"):
        hub.download(url, tmp_path / "archive.zip", **what)
    assert list(tmp_path.iterdir()) == []


def test_what_only_looks_like_a_page_is_kept(plain: StandIn, tmp_path: Path) -> None:
    for content in (b"", b"<items>", b"<htmlx>", b"PK\x03\x04<html>"):
        hub.download(plain.serve_file("archive.zip", content), tmp_path / "archive.zip")
        assert (tmp_path / "archive.zip").read_bytes() == content


def test_another_file_than_the_published_one_is_not_kept(plain: StandIn, tmp_path: Path) -> None:
    content = b"archive" * 50_000
    url, target = plain.serve_file("archive.zip", content), tmp_path / "archive.zip"
    right = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for wrong, says in (
        ({"size": 1000}, "sends 350,000 bytes, the published file has 1,000"),
        ({"sha256": "0" * 64}, rf"SHA-256 {right['sha256']!s:.12}…, not 000000000000…\): not kept"),
    ):
        with pytest.raises(HubError, match=says):
            hub.download(url, target, **{**right, **wrong})  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
    hub.download(url, target, **right)  # type: ignore[arg-type]
    assert target.read_bytes() == content
    hub.check_file(url, size=len(content))
    with pytest.raises(HubError, match="sends 350,000 bytes, the published file has 1,000"):
        hub.check_file(url, size=1000)


class Doorkeeper(BaseHTTPRequestHandler):
    """A server with files for those who are known, as Zenodo has them; says which requests came."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.command)
        status = int(self.path[1:4] or 200)  # the root is asked for whether anybody is there
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200.html")
        self.send_header("Content-Type", "text/html; charset=utf-8" if "html" in self.path else "application/zip")
        self.send_header("Content-Length", "7")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"archive")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("200.zip", ""),
        ("405.zip", ""),
        ("501.zip", ""),
        ("401.zip", "HTTP 401: it requires permission"),
        ("403.zip", "HTTP 403: it requires permission"),
        ("404.zip", "HTTP 404"),
        ("500.zip", "HTTP 500"),
        ("200.html", "sends an HTML page"),
        ("302.zip", "sends an HTML page"),
    ],
)
def test_whether_a_server_offers_a_file(path: str, says: str, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Doorkeeper)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Doorkeeper.asked.clear()
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    try:
        if says:
            with pytest.raises(HubError, match=says):
                hub.check_file(url)
            if path.startswith("4"):
                with pytest.raises(HubError, match=says):
                    hub.download(url, tmp_path / "x")
        else:
            hub.check_file(url)
    finally:
        server.shutdown()
        server.server_close()
    assert list(tmp_path.iterdir()) == []
    assert says.startswith("HTTP 4") or "GET" not in Doorkeeper.asked


def test_whether_a_file_is_offered_without_network(closed_port: str) -> None:
    with pytest.raises(OfflineError, match="switched off"):
        hub.check_file("https://example.invalid/x.zip", offline=True)
    with pytest.raises(OfflineError, match="out of reach"):
        hub.check_file(f"{closed_port}/x.zip")


def test_download_onto_a_folder(plain: StandIn, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(HubError, match="cannot be written"):
        hub.download(plain.serve_file("archive.zip", b"archive"), tmp_path / "taken")


# The stand-in itself: what others build on.


def test_the_stand_ins_hashes_are_those_of_git_and_of_the_content(standin: StandIn) -> None:
    import httpx2

    commit = standin.add_repo("org/data", "dataset", {"a.txt": b"hello\n", "b.parquet": b"lignes"})
    assert re.fullmatch("[0-9a-f]{40}", commit)
    tree = httpx2.get(f"{standin.endpoint}/api/datasets/org/data/tree/main", trust_env=False).json()
    assert tree[0]["oid"] == "ce013625030ba8dba906f756967f9e9ca394464a"  # echo hello | git hash-object --stdin
    assert tree[1]["lfs"]["oid"] == hashlib.sha256(b"lignes").hexdigest()
    url = f"{standin.endpoint}/datasets/org/data/resolve/{commit}/b.parquet"
    part = httpx2.get(url, headers={"Range": "bytes=2-"}, trust_env=False)
    assert (part.status_code, part.content, part.headers["X-Repo-Commit"]) == (206, b"gnes", commit)
    assert httpx2.head(url, trust_env=False).headers["X-Linked-Size"] == "6"


def test_the_tiny_camembert_loads_and_tells_words_apart(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = tiny_camembert(tmp_path / "tiny")
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(folder_files(folder))
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 4]
    text = next(sentences())
    ids = tokenizer(text, text)["input_ids"]
    assert ids[0] == 0 and ids.count(2) == 3 and 3 not in ids
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert model(**tokenizer([text], return_tensors="pt")).logits.shape[-1] == len(tokenizer)


def test_generated_rows_have_the_data_sets_layouts() -> None:
    for files, columns in (
        (xnli_files(12, 6, 6), ["premise", "hypothesis", "label"]),
        (pawsx_files(12, 6, 6), ["id", "sentence1", "sentence2", "label"]),
    ):
        assert list(files) == [f"fr/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")]
        tables = [pq.read_table(io.BytesIO(content)) for content in files.values()]
        assert [table.num_rows for table in tables] == [12, 6, 6]
        assert all(table.column_names == columns for table in tables)
    ner = wikiner_files(10, 5)
    assert list(ner) == ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]
    rows = pq.read_table(io.BytesIO(ner["data/train-00000-of-00001.parquet"])).to_pylist()
    assert len(rows) == 10
    assert all(len(row["tokens"]) == len(row["ner_tags"]) for row in rows)
    assert {tag for row in rows for tag in row["ner_tags"]} == {0, 1, 2, 3, 4}


def _layout(archive: bytes) -> dict[str, list[tuple[set[str], float]]]:
    """File → its reviews' XML elements and rating."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            member.name: [
                ({child.tag for child in item}, float(item.findtext("rating") or "nan"))
                for item in ElementTree.parse(_opened(tar, member)).getroot()
            ]
            for member in tar
            if member.isfile()
        }


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = tar.extractfile(member)
    assert file is not None
    return file


def test_the_generated_reviews() -> None:
    layout = _layout(cls_archive(8, 4))
    assert {name: len(items) for name, items in layout.items()} == {
        f"cls-acl10-unprocessed/fr/{shelf}/{split}.review": count
        for shelf in ("books", "dvd", "music")
        for split, count in (("train", 8), ("test", 4))
    }
    for items in layout.values():
        assert sum(rating > 3 for _, rating in items) * 2 == len(items)


@pytest.mark.shared
def test_the_generated_reviews_are_laid_out_as_the_real_ones(shared: Path) -> None:
    real = _layout((shared / "data/upstream_samples/cls-acl10-unprocessed.tar.gz").read_bytes())
    ours = _layout(cls_archive(8, 4))
    assert set(real) == set(ours)
    elements = {frozenset(tags) for items in real.values() for tags, _ in items}
    assert {frozenset(tags) for items in ours.values() for tags, _ in items} <= elements
