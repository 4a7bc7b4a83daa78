"""Records that were published on the hub: fetched by the real client from a stand-in, checked, shown beside others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flue_bench.errors import HubError, UsageError
from flue_bench.results import remote
from flue_bench.results.remote import Name
from flue_bench.results.store import Store
from support.command_line import PROGRAM
from support.factories import make_failure
from support.forging import forge
from support.hub_standin import StandIn
from support.judged import seeds

REPO = "org/records"


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with StandIn() as hub:
        yield hub


class Said(NamedTuple):
    code: int
    out: str
    err: str


class User:
    """Somebody with a folder and caches of their own, and the stand-in for a hub."""

    def __init__(self, hub: StandIn, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        folder.mkdir()

    def __call__(self, *words: str | Path, program: str = PROGRAM, **env: str) -> Said:
        line = [sys.executable, "-c", program, *map(str, words)]
        env = self.hub.env(self.folder) | {"COLUMNS": "160"} | env
        done = subprocess.run(line, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def user(hub: StandIn, tmp_path: Path) -> User:
    return User(hub, tmp_path / "user")


def made(folder: Path, **models: list[float]) -> dict[str, bytes]:
    """A results folder with models of these accuracies, and its files as a repository has them."""
    for model, accuracies in models.items():
        seeds(folder, f"org/{model}", accuracies, task="xnli", examples=60)
    return files_of(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The same files, where the first record was changed without any care."""
    files = files_of(folder)
    name = next(name for name in files if name.endswith(".json"))
    record = json.loads(files[name])
    change(record)
    return files | {name: json.dumps(record).encode()}


OTHERS = {
    "README.md": b"---\nlicense: cc0-1.0\n---\n",
    "evil.py": b"raise SystemExit('run')",
    "runs/evil.py": b"raise SystemExit('run')",
    "runs/a/b/c/deeper.json": b"{}",
    "models/kept/model.safetensors": b"weights",
}
"""What else may lie in such a repository."""


def test_published_records_stand_beside_local_ones(hub: StandIn, user: User, tmp_path: Path) -> None:
    """The whole way: shown with its commit, cached, offline, pinned; nothing else fetched, nothing written outside."""
    files = made(tmp_path / "theirs", maitre=[0.9, 0.91, 0.92])
    commit = hub.add_repo(REPO, "dataset", OTHERS | files)
    made(user.folder / "results", eleve=[0.8, 0.81, 0.82])
    board = user("leaderboard", "--results", "results", "--results", f"hub:{REPO}", "-f", "json")
    assert board.code == 0, board.err
    assert f"hub:{REPO}@{commit}: 3 records, published there and verified here" in board.err
    shown = json.loads(board.out)
    assert [row["label"] for row in shown["rows"]] == ["org/maitre", "org/eleve"]
    assert shown["sources"][-1] == f"hub:{REPO}@{commit}: 3 records, published there and verified here"
    assert not [line for line in hub.requests if ".py" in line or "safetensors" in line or "README" in line]
    cache = user.folder / "flue-bench" / "records" / REPO / commit
    assert files_of(cache) == files
    assert {path.name for path in user.folder.iterdir()} == {"results", "flue-bench", "hf"}
    assert not [path for path in cache.rglob("*") if path.is_symlink()]
    both = ("--results", "results", "--results", f"hub:{REPO}@{commit}")
    assert user("leaderboard", *both, "-f", "html", "--out", "board.html").code == 0
    page = (user.folder / "board.html").read_text()
    (user.folder / "board.html").unlink()
    assert "org/maitre" in page and f"hub:{REPO}@{commit}" in page
    assert (
        "results/runs/org--eleve/xnli" in page and "org--maitre" not in page
    )  # no link to where this reader keeps them
    assert str(user.folder) not in page and "flue-bench/records" not in page

    hub.requests.clear()
    compared = user("compare", "org/maitre", "org/eleve", "--results", "results", "--results", f"hub:{REPO}@{commit}")
    assert compared.code == 0 and "A is better" in compared.out and f"hub:{REPO}@{commit}" in compared.out
    assert hub.requests == []  # a commit that was read never moves
    verified = user("verify", f"hub:{REPO}", "results", HF_HUB_OFFLINE="1")
    assert verified.code == 0 and "6 records: 6 ok" in verified.out and hub.requests == []
    assert f"hub:{REPO}@{commit[:12]}/runs/" in verified.out and "flue-bench/records" not in verified.out
    rows = user("compare", "org/maitre", "org/eleve", "--rows", "--results", "results", "--results", f"hub:{REPO}@main")
    assert rows.code == 0 and "A is nearer to gold" in rows.out
    assert not [line for line in hub.requests if "/resolve/" in line]  # main is that commit still: its files are here


def test_what_does_not_stand_is_left_out_and_said(hub: StandIn, user: User, tmp_path: Path) -> None:
    """One repository for each thing that may be wrong, each beside three local records that stay."""
    made(user.folder / "results", eleve=[0.8, 0.81, 0.82])
    good = made(tmp_path / "good", maitre=[0.9, 0.91])
    parquet = next(name for name in good if name.endswith(".parquet"))
    other = next(good[name] for name in reversed(good) if name.endswith(".parquet"))
    record = parquet.replace(".predictions.parquet", ".json")
    wrong = {
        "predictions": (good | {parquet: other}, "not the file that its record was written with"),
        "cut": (good | {parquet: good[parquet][:-9]}, "not the file that its record was written with"),
        "scores": (changed(tmp_path / "good", lambda r: r["scores"].update(accuracy=0.999)), "accuracy is 0.999000"),
        "cell": (changed(tmp_path / "good", lambda r: r["cell"].update(task="cls")), "was the file edited?"),
        "newer": (changed(tmp_path / "good", lambda r: r.update(schema_version=99)), "upgrade flue-bench"),
        "link": (good | {record: b"../../../../../etc/passwd"}, "not JSON"),
        "alone": ({name: content for name, content in good.items() if name != parquet}, "cannot be read"),
    }
    for name, (files, _) in wrong.items():
        hub.add_repo(f"org/{name}", "dataset", files)
    program = f"""
import json, flue_bench
for name in {list(wrong)!r}:
    read = flue_bench.read_results(["results", f"hub:org/{{name}}"])
    board = flue_bench.build_board(read)
    rows = [(row.label, row.entries[0].n) for row in board.rows if row.entries[0]]
    left = [str(path) + ": " + why for path, why in read.damaged]
    print(json.dumps([name, len(read), left, sorted(rows), repr(read)]))
"""
    said = user(program=program)
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line[0] for line in lines] == list(wrong), said.err
    for name, records, left, rows, shown in lines:
        assert records == 4, (name, left)
        assert rows == [["org/eleve", 3], ["org/maitre", 1]], (name, rows)
        assert any(wrong[name][1] in each and each.startswith(f"hub:org/{name}@") for each in left), (name, left)
        assert f"hub:org/{name}@" in shown and str(user.folder) not in "".join(left)


def test_a_careful_forger_and_another_protocol(hub: StandIn, user: User, tmp_path: Path) -> None:
    made(user.folder / "results", eleve=[0.8, 0.81])
    for name, protocol in (("older", 1), ("later", 99)):
        made(tmp_path / name, maitre=[0.9])
        forge(next((tmp_path / name).rglob("*.json")), lambda r, p=protocol: r["cell"].update(protocol=p))
        hub.add_repo(f"org/{name}", "dataset", files_of(tmp_path / name))
    older = user("leaderboard", "--results", "results", "--results", "hub:org/older")
    assert older.code == 0 and "protocol 1" in older.out and "protocol 2" in older.out  # rows of their own
    apart = user("compare", "org/maitre", "org/eleve", "--results", "results", "--results", "hub:org/older")
    assert apart.code == 2 and "protocol" in apart.err
    later = user("verify", "hub:org/later")
    assert later.code == 1 and "by a later version of flue-bench" in later.out


def test_one_cell_in_two_places_with_other_bits_is_said(hub: StandIn, user: User, tmp_path: Path) -> None:
    made(user.folder / "results", eleve=[0.8, 0.81])
    made(tmp_path / "theirs", eleve=[0.7])
    record = next((tmp_path / "theirs").rglob("seed0*.json"))
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"created": "2031-01-01T00:00:00Z"}))
    commit = hub.add_repo(REPO, "dataset", files_of(tmp_path / "theirs"))
    board = user("leaderboard", "--results", "results", "--results", f"hub:{REPO}")
    said = " ".join(board.out.split())
    where = f"hub:{REPO}@{commit[:12]}"
    assert f"1 more of the same cell with other predictions; the newest is shown, from {where}" in said


def test_what_cannot_be_had_is_said_in_two_lines(hub: StandIn, user: User, tmp_path: Path) -> None:
    files = made(tmp_path / "theirs", maitre=[0.9])
    hub.add_repo(REPO, "dataset", files)
    hub.add_repo("org/empty", "dataset", {"README.md": b"", "results/runs/a/b/c.json": b"{}"})
    hub.add_repo("org/climbs", "dataset", files | {"runs/../../evil.json": b"{}"})
    hub.add_repo("org/gated", "dataset", files, gated=True)
    for repo, env, message in (
        ("org/nobody", {}, "Data set org/nobody is not at"),
        (f"{REPO}@v9", {}, "there is no such revision"),
        ("org/empty", {}, "hub:org/empty holds no records: there is no runs/MODEL/TASK/*.json among its files"),
        ("org/climbs", {}, "lists a file 'runs/../../evil.json', which no repository holds: nothing of it is read."),
        ("org/gated", {}, "is gated"),
        (REPO, {"HF_HUB_OFFLINE": "1"}, "Read it once where there is a network"),
        ("records", {}, "hub:records: a repository with records is named hub:org/name"),
    ):
        said = user("leaderboard", "--results", f"hub:{repo}", **env)
        assert said.code in (1, 2) and message in said.err and len(said.err.splitlines()) <= 2, said
    assert not list(user.folder.rglob("evil.json")) and not list(tmp_path.glob("*.json"))


def test_amounts_are_bounded(hub: StandIn, user: User, tmp_path: Path) -> None:
    """Before anything is fetched, by what the repository lists; and by what arrives, whatever it lists."""
    files = made(tmp_path / "theirs", maitre=[0.9, 0.91])
    hub.add_repo(REPO, "dataset", files)
    program = f"""
import flue_bench
from flue_bench.errors import HubError
from flue_bench.results import remote
for name, value in (("MOST_FILES", 3), ("MOST_BYTES", 1000)):
    usual = getattr(remote, name)
    setattr(remote, name, value)
    try:
        flue_bench.read_results("hub:{REPO}")
    except HubError as error:
        print(error)
    setattr(remote, name, usual)
remote._check_amount = lambda *_: None
remote.MOST_BYTES = 1000
try:
    flue_bench.read_results("hub:{REPO}")
except HubError as error:
    print(error)
"""
    said = user(program=program)
    first, second, third = said.out.splitlines()
    assert first == f"hub:{REPO} holds 4 files of records; at most 3 are read."
    assert second.startswith(f"hub:{REPO} holds records of ") and second.endswith("bytes; at most 1,000 are read.")
    assert "1,000" in third and not list((user.folder / "flue-bench").rglob("*.json"))


def test_what_hf_upload_puts_up_is_read(hub: StandIn, user: User, tmp_path: Path) -> None:
    """The command of the documentation, by the real client."""
    made(user.folder / "results", maitre=[0.9, 0.91])
    Store(user.folder / "results").write_failure(make_failure(model="org/maitre", task="paws-x"))
    (user.folder / "results" / "models" / "m").mkdir(parents=True)
    (user.folder / "results" / "models" / "m" / "model.safetensors").write_bytes(b"weights")
    words = (
        "upload org/records results . --repo-type dataset --include runs/** --include speed/** --exclude *.failed.json"
    )
    program = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"
    put = user(*words.split(), program=program, HF_TOKEN="hf_token")
    assert put.code == 0, put
    board = user("leaderboard", "--results", "hub:org/records", "-f", "csv")
    assert board.code == 0 and board.out.count("org/maitre") == 2, board
    assert not [path for path in (user.folder / "flue-bench" / "records").rglob("*") if "failed" in path.name]


@pytest.mark.slow
def test_a_published_record_is_trained_again(hub: StandIn, user: User) -> None:
    """What a check of files cannot find, anybody can ask of a published record too."""
    asked = ("-m", "embedded:untrained", "-t", "mini-cls", "--limit", "16", "--set", "epochs=1", "--results", "theirs")
    assert user("run", *asked).code == 0
    files = {name: content for name, content in files_of(user.folder / "theirs").items() if name.startswith("runs/")}
    hub.add_repo(REPO, "dataset", files)
    said = user("verify", f"hub:{REPO}", "--rerun")
    assert said.code == 0 and "1 record: 1 ok, 0 not; rerun: 1 same bits" in said.out, said


@pytest.mark.parametrize("wrong", ["", "a", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "a/b@a b", "/a/b", "a/b\n"])
def test_names_that_are_none(wrong: str) -> None:
    with pytest.raises(UsageError, match="a repository with records is named hub:org/name"):
        Name.parse(f"hub:{wrong}")


def test_names() -> None:
    assert Name.parse("results") is None and Name.parse(Path("hub:a/b")) == ("a/b", None)
    assert Name.parse("hub:a/b.c@refs/pr/1") == ("a/b.c", "refs/pr/1") and str(Name("a/b", "v1")) == "hub:a/b@v1"


@pytest.mark.parametrize(
    "name",
    ["../x", "runs/../x", "/etc/passwd", "runs//x", "runs\\..\\x", "runs/a/b/\x1b.json", "./x", "runs/a/./b.json"],
)
def test_files_that_no_repository_holds_are_refused(name: str) -> None:
    with pytest.raises(HubError, match="which no repository holds: nothing of it is read"):
        remote._wanted(Name("a/b", None), ["runs/a/b/c.json", name])


def test_nothing_is_written_to_a_repository() -> None:
    with pytest.raises(UsageError, match="hub:a/b is a repository of records, which is read alone: name a folder"):
        Store(Path("hub:a/b"))
