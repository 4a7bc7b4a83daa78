"""Servers that mean harm: each request ends in time and in bytes, and no secret reaches a stranger or the screen.

The limits are made small, so that the tests take seconds; ``DRIVER`` runs the real huggingface_hub client.
"""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flue_bench.data import hub, registry, transfer
from flue_bench.errors import HubError, TaskFileError, address, quoted
from support import ROOT
from support.command_line import in_a_process
from support.hub_standin import TOKEN, Malice, StandIn, parquet

pytestmark = pytest.mark.robustness

FILES = {"config.json": b"{}", "fr/a.parquet": b"un" * 5000, "fr/b.parquet": b"deux" * 5000}
LIMITS = {
    "PATIENCE": 1.0,
    "LISTING_SECONDS": 1.0,
    "LISTING_BYTES": 2**20,
    "FILES_BYTES": 2**21,
    "REST_BYTES": 2**18,
}

DRIVER = """
import json, re, sys, time
from pathlib import Path
from flue_bench.data import hub, transfer
from flue_bench.errors import FlueBenchError
calls, limits = json.loads(sys.argv[1])
for name, value in limits.items():
    assert hasattr(transfer, name)
    setattr(transfer, name, value)
for call, kwargs in calls:
    started = time.monotonic()
    try:
        answer = getattr(hub, call)(**kwargs)
        result = {"answer": str(answer)}
    except FlueBenchError as error:
        result = {"error": type(error).__name__, "message": str(error)}
    status = Path("/proc/self/status")  # resource.getrusage counts what the parent had
    used = int(re.findall("VmHWM:.*?([0-9]+)", status.read_text())[0]) if status.exists() else 0
    print(json.dumps(result | {"seconds": time.monotonic() - started, "kilobytes": used}))
"""


def drive(env: dict[str, str], *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Call hub.py with small limits in a process that has a token, which must stay out of whatever it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, json.dumps([calls, LIMITS])],
        env=env | {"HF_TOKEN": TOKEN},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert TOKEN not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    return [json.loads(line) | {"stderr": done.stderr} for line in done.stdout.splitlines()]


def fetched(repo_id: str = "org/data") -> tuple[str, dict[str, Any]]:
    return "fetch", {"repo_id": repo_id, "repo_type": "dataset", "revision": None, "patterns": ["fr/*"]}


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def stranger() -> Iterator[StandIn]:
    """Another server, which has the same files."""
    with StandIn() as server:
        server.add_repo("org/data", "dataset", FILES)
        yield server


PLACES = {"about": "/api/datasets/org/{}/revision/", "list": "/tree/", "head": "HEAD /", "file": "GET /"}
HOSTILE: dict[tuple[str, Malice], str] = {
    ("about", "drip"): "too slowly",
    ("about", "drip-line"): "too slowly",
    ("about", "hints"): "too slowly",
    ("about", "trickle"): "too slowly",
    ("about", "chunk-line"): "too slowly",
    ("about", "endless"): "more than 1,048,576 bytes",
    ("about", "endless-error"): "more than 1,048,576 bytes",
    ("about", "endless-redirect"): "more than 262,144 bytes",
    ("about", "bomb"): "compressed answer",
    ("about", "busy"): "a pause of 86,400 s",
    ("about", "busy-limit"): "a pause of 86,400 s",
    ("about", "around"): "",
    ("list", "drip"): "too slowly",
    ("list", "trickle"): "too slowly",
    ("list", "endless"): "more than 1,048,576 bytes",
    ("list", "bomb"): "compressed answer",
    ("list", "next-itself"): "too slowly",
    ("head", "drip"): "too slowly",
    ("head", "hints"): "too slowly",
    ("head", "busy"): "a pause of 86,400 s",
    ("file", "drip"): "too slowly",
    ("file", "trickle"): "too slowly",
    ("file", "chunk-line"): "too slowly",
    ("file", "endless"): "more than ",
    ("file", "endless-error"): "more than ",
    ("file", "endless-redirect"): "more than ",
    ("file", "bomb"): "compressed answer",
    ("file", "busy"): "a pause of 86,400 s",
    ("file", "around"): "",
}
"""Where, what → what the message says."""


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Malice], dict[str, Any]]:
    """What comes of each, in one process."""
    with StandIn() as standin:
        standin.elsewhere = standin.endpoint
        names = {case: f"{case[0]}-{case[1]}" for case in HOSTILE}
        for (place, malice), name in names.items():
            standin.add_repo(f"org/{name}", "dataset", FILES)
            api, files = f"/api/datasets/org/{name}", f"/datasets/org/{name}/resolve"
            part = {"about": f"{api}/revision", "list": f"{api}/tree", "head": f"HEAD {files}", "file": f"GET {files}"}
            standin.faults[part[place]] = malice
        env = standin.env(tmp_path_factory.mktemp("hostile")) | {"HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        results = drive(env, *(fetched(f"org/{name}") for name in names.values()))
    return dict(zip(HOSTILE, results, strict=True))


@pytest.mark.parametrize("case", HOSTILE, ids=" ".join)
def test_a_hostile_hub_is_given_up_in_time(met: Any, case: tuple[str, Malice]) -> None:
    result = met[case]
    assert result["error"] == "HubError", result
    assert HOSTILE[case] in result["message"]
    assert len(result["message"].splitlines()) <= 2
    assert result["seconds"] < 8, result
    assert result["kilobytes"] < 400_000


def test_a_proxy_is_used_and_is_given_up_in_time_too(standin: StandIn, tmp_path: Path) -> None:
    """The stand-in is the proxy: it is asked with whole addresses, for a hub that no name server knows."""
    commit = standin.add_repo("org/data", "dataset", FILES)
    proxy = standin.endpoint.replace("//", "//Nora:Secret-word@")
    none = {"NO_PROXY": "", "no_proxy": "", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    env = standin.env(tmp_path) | none | {"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": proxy, "http_proxy": proxy}
    (result,) = drive(env, fetched())
    assert commit in result["answer"]
    assert all(request.split()[1].startswith("http://hub.invalid/") for request in standin.requests)
    for number, (part, malice, says) in enumerate(
        [
            ("/revision/", "drip", "too slowly"),
            ("/tree/", "endless", "more than"),
            ("GET /datasets/", "drip", "too slowly"),
        ]
    ):
        standin.faults = {part: malice}  # type: ignore[dict-item]
        (result,) = drive(env | {"HF_HOME": str(tmp_path / str(number))}, fetched())
        assert says in result["message"] and result["seconds"] < 8
        assert "http://hub.invalid" in result["message"] and "Secret" not in result["message"] + result["stderr"]


# Downloads by address.


@pytest.fixture
def small(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in reached without proxies, with small limits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name, value in LIMITS.items():
        monkeypatch.setattr(transfer, name, value)
    standin.serve_file("archive.zip", b"archive" * 5000)
    standin.elsewhere = standin.endpoint
    return standin


@pytest.mark.parametrize(
    ("malice", "says"),
    [
        ("drip", "too slowly: it took more than 1 seconds at less than 10,000 bytes a second"),
        ("drip-line", "too slowly"),
        ("hints", "too slowly"),
        ("trickle", "too slowly"),
        ("chunk-line", "too slowly"),
        ("endless", "more than 1,000,000 bytes"),
        ("endless-redirect", "more than 262,144 bytes"),
        ("busy", "HTTP 429"),
        ("around", "broke off"),
    ],
)
def test_a_hostile_server_of_archives_is_given_up_in_time(
    small: StandIn, tmp_path: Path, malice: Malice, says: str
) -> None:
    small.faults["GET /archive"] = malice
    started = time.monotonic()
    with pytest.raises(HubError, match=says):
        hub.download(f"{small.endpoint}/archive.zip", tmp_path / "archive.zip", max_bytes=1_000_000)
    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("malice", ["drip", "drip-line", "hints", "around", "endless-redirect"])
def test_whether_a_hostile_server_offers_a_file_is_known_in_time(small: StandIn, malice: Malice) -> None:
    small.faults["HEAD /archive"] = malice
    started = time.monotonic()
    with pytest.raises(HubError, match=r"too slowly|broke off|more than|HTTP"):
        hub.check_file(f"{small.endpoint}/archive.zip")
    assert time.monotonic() - started < 5


def test_a_file_that_comes_steadily_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is of speed, not of time."""
    clock = itertools.count(0.0, 1.0)  # a second at each look, two looks for 30,000 bytes
    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    steady = transfer.Allowance("it", seconds=60, rate=10_000)
    slow = transfer.Allowance("it", seconds=60, rate=100_000)
    for _ in range(1000):
        steady.wait(10)
        steady.count(30_000)
    with pytest.raises(HubError, match="more than 60 seconds at less than 100,000 bytes a second"):
        for _ in range(1000):
            slow.wait(10)
            slow.count(30_000)


def test_pauses_between_tries_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 0.9, 100.0, 100.05, 100.2])
    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    allowance = transfer.Allowance("it", seconds=1.0)
    allowance.begin()
    allowance.count(10)
    allowance.begin()
    assert allowance.wait(None) == pytest.approx(0.05)
    with pytest.raises(HubError, match="too slowly"):
        allowance.wait(None)


def test_an_answer_is_charged_to_its_own_request(small: StandIn) -> None:
    """Whichever thread reads it, and whatever that thread asked for in between."""
    url = small.serve_file("a.bin", bytes(300_000))
    other = small.serve_file("b.bin", bytes(10))
    with transfer.Client(url, max_bytes=200_000) as client, client.stream("GET", url) as response:
        client.head(other)
        with ThreadPoolExecutor(1) as pool, pytest.raises(HubError, match=r"sends more than 200,000 bytes"):
            pool.submit(response.read).result()


# Secrets.


def test_no_other_server_is_sent_the_token(standin: StandIn, stranger: StandIn, tmp_path: Path) -> None:
    commit = standin.add_repo("org/data", "dataset", FILES)
    standin.elsewhere = stranger.endpoint
    cases: dict[str, Malice] = {
        "/revision/main": "away",
        "/tree/": "next-away",
        "GET /api/datasets/org/data/tree/": "away",
        "HEAD /datasets/": "away",
        "GET /datasets/": "away",
    }
    for number, (part, malice) in enumerate(cases.items()):
        standin.faults = {part: malice}
        stranger.requests.clear()
        standin.authorised.clear()
        (result,) = drive(standin.env(tmp_path / str(number)), fetched())
        assert commit in result["answer"], result
        assert stranger.requests and standin.authorised  # so the token was in play, and the stranger was asked
        assert stranger.authorised == [], part


def test_the_door_to_xet_storage_is_the_hubs_own(standin: StandIn, stranger: StandIn, tmp_path: Path) -> None:
    """hf_xet itself sends the token to the address that an answer names: a file that has another comes over HTTP."""
    commit = standin.add_repo("org/data", "dataset", FILES)
    standin.elsewhere = stranger.endpoint
    standin.faults["HEAD /datasets/"] = "xet-away"
    (result,) = drive(standin.env(tmp_path) | {"HF_HUB_DISABLE_XET": "0"}, fetched())
    assert commit in result["answer"], result
    assert stranger.requests == []


def test_the_user_and_password_of_an_archive_stay_with_its_server(
    small: StandIn, stranger: StandIn, tmp_path: Path
) -> None:
    stranger.serve_file("archive.zip", b"archive" * 5000)
    small.elsewhere = stranger.endpoint
    small.faults["/archive"] = "away"
    url = small.endpoint.replace("//", "//Nora:Secret-word@") + "/archive.zip"
    hub.check_file(url)
    hub.download(url, tmp_path / "archive.zip")
    assert len(small.authorised) == 3 and len(stranger.requests) == 2  # the first asks whether anybody is there
    assert stranger.authorised == []


@pytest.mark.parametrize("malice", ["warns", "echo"])
def test_what_a_server_says_is_quoted_without_secrets(standin: StandIn, tmp_path: Path, malice: Malice) -> None:
    standin.add_repo("org/data", "dataset", FILES)
    standin.elsewhere = "https://Nora:Secret-word@mirror.invalid/x?signature=Secret-sign"
    standin.faults["/datasets/org/data/resolve/"] = malice
    (result,) = drive(standin.env(tmp_path), fetched())
    said = result["stderr"] + result.get("message", "")
    assert "Secret" not in said and "\x1b" not in said
    assert malice == "echo" or "https://mirror.invalid/x" in said


def test_a_server_that_fails_brings_no_password_into_the_log(standin: StandIn, tmp_path: Path) -> None:
    """huggingface_hub logs the addresses that it tries again."""
    standin.add_repo("org/data", "dataset", FILES)
    standin.faults["/tree/"] = "500"
    env = standin.env(tmp_path)
    env["HF_ENDPOINT"] = env["HF_ENDPOINT"].replace("//", "//Nora:Secret-word@")
    (result,) = drive(env, fetched())
    assert result["error"] == "HubError"
    assert f"{standin.endpoint}/api/datasets/org/data/tree/" in result["stderr"]  # it is told where that was
    assert "Secret" not in result["stderr"] + result["message"]


STREAMED = """
import json, sys
from flue_bench.data import transfer
from flue_bench.errors import FlueBenchError
from flue_distill.corpus import texts
for name, value in json.loads(sys.argv[1]).items():
    setattr(transfer, name, value)
try:
    source = texts._hub_source("hub:org/textes")
    rows = [text for text, _ in texts._hub_texts(texts._streamed(source, None), source, "text")]
    print(len(rows), "rows")
except FlueBenchError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "malice", "says"),
    [
        ("/tree/", "next-away", "100 rows"),
        ("GET /datasets/", "away", "100 rows"),
        ("GET /datasets/", "drip", "too slowly"),
        ("GET /datasets/", "trickle", "too slowly"),
    ],
)
def test_streaming_is_bounded_and_keeps_the_token(
    standin: StandIn, stranger: StandIn, tmp_path: Path, part: str, malice: Malice, says: str
) -> None:
    """datasets makes its own requests through huggingface_hub."""
    files = {"train.parquet": parquet({"text": [f"Texte {number}" for number in range(100)]})}
    for server in (standin, stranger):
        server.add_repo("org/textes", "dataset", files)
    standin.elsewhere = stranger.endpoint
    standin.faults[part] = malice
    env = standin.env(tmp_path) | {"HF_TOKEN": TOKEN, "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    command = [sys.executable, "-c", STREAMED, json.dumps(LIMITS)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert says in done.stdout, done.stdout + done.stderr[-2000:]
    assert TOKEN not in done.stdout + done.stderr
    assert standin.authorised and stranger.authorised == []
    assert says != "100 rows" or stranger.requests


SPELLINGS = {
    "no port": "http://Nora:Secret-word@127.0.0.1:port",
    "a slash": "http://Nora:Secret/word@127.0.0.1:9",
    "a hash": "http://Nora:Secret#word@127.0.0.1:9",
    "a number and a slash": "http://Nora:1234/Secret@127.0.0.1:9",
    "no host": "http://Nora:Secret@",
    "a bracket": "http://Nora:Secret@[127.0.0.1",
    "another scheme": "ftp://Nora:Secret@127.0.0.1:9",
    "no scheme": "Nora:Secret@127.0.0.1:9",
    "a port beyond": "http://Nora:Secret@127.0.0.1:99999",
    "well formed": "http://Nora:Secret@127.0.0.1:9",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_an_address_is_shown_without_secrets(spelling: str) -> None:
    for shown in (
        address(spelling),
        address(f"{spelling}/x.zip?key=Secret"),
        quoted([spelling]) if "//" in spelling else "",
    ):
        assert "Secret" not in shown and "1234" not in shown
        assert "Nora" not in shown


@pytest.mark.parametrize("variable", ["HF_ENDPOINT", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_malformed_address_in_the_environment_is_told_and_not_shown(variable: str, tmp_path: Path) -> None:
    program = """
import os, sys
from flue_bench.cli import main
for words in (["fetch", "--model", "org/none", "--task", "xnli"], ["doctor"]):
    sys.argv = ["flue-bench", *words]
    try:
        main()
    except SystemExit as stopped:
        print("ended with", stopped.code)
"""
    for spelling in SPELLINGS.values():
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "https://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
        env |= {variable: spelling, variable.lower(): spelling, "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        done = in_a_process(cwd=tmp_path, env=env, program=program)
        said = done.stdout + done.stderr
        assert "Traceback" not in said and "Secret" not in said and "1234" not in said, said
        assert "Nora" not in said and "ended with" in done.stdout


TASK = """
name = "mine"
kind = "sentence"
labels = ["bas", "haut"]
metric = "accuracy"

[[source]]
archives = [{address}]
files = {{ train = "train.csv", test = "test.csv" }}
"""


def test_the_address_of_an_archive_is_shown_and_recorded_without_secrets(standin: StandIn, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for split in ("train", "test"):
            rows = [f"Le {split} {number} est {word},{word}" for number in range(20) for word in ("bas", "haut")]
            packed.writestr(f"{split}.csv", "text,label\n" + "\n".join(rows))
    server = standin.endpoint.replace("//", "//Nora:Secret-word@")
    standin.serve_file("d/mine.zip", buffer.getvalue())
    task = tmp_path / "mine.toml"
    task.write_text(TASK.format(address=json.dumps(f"{server}/d/mine.zip?key=Secret-key&download=1")))
    gone = tmp_path / "gone.toml"
    gone.write_text(TASK.format(address=json.dumps(f"{server}/d/gone.zip?key=Secret-key")))
    env = standin.env(tmp_path)
    run = ["run", "--model", "embedded:untrained", "--limit", "16", "--set", "epochs=1", "--task"]
    said = {}
    for name, words in {
        "show": ["tasks", "show", str(task)],
        "run": [*run, str(task)],
        "gone": [*run, str(gone)],
        "board": ["leaderboard"],
    }.items():
        done = in_a_process(*words, cwd=tmp_path, env=env)
        said[name] = done.stdout + done.stderr
        assert done.returncode == (name == "gone"), said[name]
        assert "Secret" not in said[name] and "Nora" not in said[name], said[name]
    assert f"archive: {standin.endpoint}/d/mine.zip" in said["show"]
    assert f"{standin.endpoint}/d/gone.zip answered HTTP 404" in said["gone"]
    (record,) = (tmp_path / "results").rglob("seed0-*[0-9a-f].json")
    assert json.loads(record.read_bytes())["data"]["source"] == "archive:mine.zip"
    for path in (*(tmp_path / "results").rglob("*"), *(tmp_path / "flue-bench").rglob("*")):
        assert "Secret" not in path.name
        assert path.is_dir() or b"Secret" not in path.read_bytes()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://Nora:Secret@example.org/x.zip",
        "http://Nora:Secret@example.org:port/x.zip",
        "http://Nora:Secret@example.org/",
        "http://Nora:Secret@example.org?key=Secret",
        "http://Nora:Secret@example.org/a/..?key=Secret",
        "Nora:Secret@example.org/x.zip",
    ],
)
def test_what_is_no_address_of_an_archive_is_not_repeated(url: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TASK.format(address=json.dumps(url)))
    with pytest.raises(TaskFileError, match=r"source\[0\]\.archives") as caught:
        registry.load_file(tmp_path / "mine.toml")
    assert "Secret" not in str(caught.value) and "Nora" not in str(caught.value)
