from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flue_bench as flue_bench_package
from flue_bench.data import registry
from flue_bench.results.store import Store
from flue_bench.task import CONVERTED
from support import ROOT
from support.command_line import done, flue_bench, in_a_process, refused
from support.hub_standin import StandIn, cls_merged_files

EXAMPLE = ROOT / "examples/third_party_task"
TASK_FILE = EXAMPLE / "registre_fr/registre-fr.toml"


def tasks(*words: str | Path) -> str:
    return done("tasks", *words)


def test_the_table_has_every_task() -> None:
    lines = tasks().splitlines()
    for name, each in registry.registered().items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert each.task.kind in line and each.task.metric in line
        assert not each.task.labels or each.task.labels[0] in line
        assert len(each.task.labels) > 9 or all(label in line for label in each.task.labels[-1:])
    assert "… (60)" in " ".join(tasks().split())  # the intents of MASSIVE
    assert any("392,702, 2,490, 5,010" in line for line in lines)


def listed(*words: str) -> set[str]:
    known = registry.registered()
    return {line.split()[0] for line in tasks(*words).splitlines() if line.split() and line.split()[0] in known}


def test_the_table_is_filtered() -> None:
    every = registry.registered()

    def those(**fields: str) -> set[str]:
        return {n for n, each in every.items() if all(getattr(each.task, f) == v for f, v in fields.items())}

    assert listed() == set(every)
    assert listed("--kind", "regression") == those(kind="regression") >= {"stsb-fr", "sick-fr", "mini-stars"}
    assert listed("--group", "similarity") == {"stsb-fr", "sick-fr"}
    assert listed("--licence", "cc-by") == listed("--licence", "CC BY 4.0") == those(licence="CC BY 4.0")
    assert listed("--licence", "cc by-nc") == {"xnli"}
    assert listed("--open") == {name for name, each in every.items() if each.open} < set(every)
    assert listed("--open", "--group", "flue") == {n for n in listed("--group", "flue") if not n.startswith("cls-")}
    assert listed("--kind", "tokens", "--group", "french", "--licence", "cc-by") >= {"massive-slots", "french-ner"}
    assert "No task has all of --kind, --group." in tasks("--kind", "regression", "--group", "flue")
    said = tasks("--group", "flue")
    assert "on request" in said and f"{len(listed('--group', 'flue'))} tasks; the data of " in said
    moving = tasks("--group", "cls-merged")
    assert "open, moves" in moving and "never canonical" in moving


def test_filters_from_python_are_those_of_the_command() -> None:
    for words, asked in (
        (("--kind", "tokens"), {"kind": "tokens"}),
        (("--licence", "mit"), {"licence": "mit"}),
        (("--open", "--group", "flue"), {"open_only": True, "group": "flue"}),
    ):
        assert {task.name for task in flue_bench_package.list_tasks(**asked)} == listed(*words)  # type: ignore[arg-type]


def test_filters_that_name_nothing() -> None:
    assert "Did you mean regression?" in refused("tasks", "--kind", "regresion")
    assert "Unknown licence 'GPL-9'. " in refused("tasks", "--licence", "GPL-9")
    assert "Did you mean flue" in refused("tasks", "--group", "fleu")
    said = refused("tasks", "--kind", "tokens", "show", "xnli")
    assert "--kind filters the list of tasks: leave it out of `tasks show`." in said
    tasks("show", "xnli")


def test_show_says_who_publishes_scores_and_how_the_data_are_had() -> None:
    said = tasks("show", "xnli")
    assert "data: open" in said
    (line,) = (line for line in said.splitlines() if line.startswith("published scores: "))
    assert "accuracy by CamemBERT 2.0 paper (https://arxiv.org/abs/2411.08868)" in line and "mcc by" in line
    assert "published scores" not in tasks("show", "mini-cls")
    assert "data: on request" in tasks("show", "cls-books")
    assert "f1_binary by files of the models' test results" in tasks("show", "allocine")


def test_show_tells_everything() -> None:
    said = tasks("show", "xnli")
    for part in (
        "xnli (version 1): XNLI-FR",
        "labels: entailment, neutral, contradiction",
        "headline metric: f1_macro; also accuracy",
        "canonical rows (train, validation, test): 392,702, 2,490, 5,010",
        "1. hub: facebook/xnli at b8dd5d7af51114dbda02c0e3f6133f332186418e",
        "under --data-dir: facebook/xnli/",
        "2. archive: https://dl.fbaipublicfiles.com/XNLI/XNLI-MT-1.0.zip",
        "under --data-dir: XNLI-MT-1.0.zip, XNLI-1.0.zip",
        "flue: epochs=10, batch_size=8, learning_rate=5e-06, schedule=linear, warmup_ratio=0.0",
        "licence: CC BY-NC 4.0",
        "@inproceedings{conneau-etal-2018-xnli,",
    ):
        assert part in said
    (archive,) = (line for line in tasks("show", "paws-x").splitlines() if "archive:" in line)
    assert "x-final.tar.gz (30,282,057 bytes, SHA-256 4146db499101" in archive
    merged = tasks("show", "cls-merged")
    assert "canonical rows (train, validation, test): 5,997, -, 5,999 or 6,000" in merged
    assert "access: Zenodo gives this archive only to people who log in and ask for it (https://zenodo.org/" in merged
    assert "Save what you receive as D/cls-acl10-unprocessed.tar.gz and give --data-dir D." in merged
    assert "hub: GETALP/flue at refs/convert/parquet (a branch, which can change: never canonical)" in merged
    assert "written with quoting = false" in tasks("show", "xnli")
    both = tasks("show", "cls-books", "wikiner")
    assert "reader: webis-cls" in both and "kind: tokens, tags in IO" in both


def test_check_prints_counts_balance_and_rows_as_the_model_sees_them() -> None:
    lines = tasks("check", TASK_FILE, "--rows", "2", "--offline").splitlines()
    assert lines[0] == f"registre-fr (version 1, sentence): {TASK_FILE}"
    assert "train: 32: familier 50.0%, soutenu 50.0%" in lines
    assert "validation: 8 (cut from train): familier 50.0%, soutenu 50.0%" in lines
    assert "canonical: yes" in lines
    shown = [line for line in lines if line.startswith("<s>")]
    assert len(shown) == 2
    assert all(line.endswith("</s>") for line in shown)
    assert "".join(shown[0].split()[1:-1]).replace("▁", " ").strip() == "J'ai trop la flemme d'y aller ce soir."


def test_check_names_deviations_and_tags(tmp_path: Path) -> None:
    content = TASK_FILE.read_text(encoding="utf-8").replace("train = 40", "train = 41")
    assert "train = 41" in content
    (tmp_path / "a.toml").write_text(content, encoding="utf-8")
    output = tasks("check", tmp_path / "a.toml", "--data-dir", TASK_FILE.parent, "--rows", "0")
    assert "canonical: no\ndeviation: train has 40 rows, canonical is 41" in output
    assert "<s>" not in output
    tokens = tasks("check", "mini-ner", "--rows", "1")
    assert "train-0: O O" in tokens
    assert "train: 1,020: O " in tokens


def test_data_dir_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text(TASK_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    assert "has no train.tsv" in refused("tasks", "check", tmp_path / "a.toml", code=1)
    monkeypatch.setenv("FLUE_BENCH_DATA", str(TASK_FILE.parent))
    tasks("check", tmp_path / "a.toml", "--rows", "0")


def test_errors(tmp_path: Path) -> None:
    assert "Did you mean xnli" in refused("tasks", "show", "xnlii")
    (tmp_path / "a.toml").write_text("nom = 'a'")
    assert "a.toml: nom: unknown key" in refused("tasks", "check", tmp_path / "a.toml")
    assert flue_bench("tasks", "check").code == 2


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from flue_bench.cli.tasks import app; app(['show', 'xnli'], standalone_mode=False); "
    code += "print({'torch', 'transformers', 'datasets', 'sklearn', 'pandas', 'pyarrow'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed by pip into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    ended = subprocess.run([*pip, "--target", str(target), str(EXAMPLE)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, where Python finds it and its entry points."""
    known = (registry.registered, registry.readers)
    monkeypatch.syspath_prepend(site)
    for each in known:
        each.cache_clear()
    yield
    for each in known:
        each.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_third_party_package_is_a_task() -> None:
    assert "registre-fr" in tasks()
    assert "(flue-bench-registre)" in tasks("show", "registre-fr")
    checked = tasks("check", "registre-fr", "--offline", "--rows", "1")
    assert "train: 32: familier 50.0%" in checked and "<s> " in checked


@pytest.mark.usefixtures("installed")
def test_a_third_party_package_is_run(tmp_path: Path) -> None:
    words = ["--model", "embedded:untrained", "--task", "registre-fr", "--set", "epochs=1"]
    assert "registre-fr" in done("run", *words, "--results", tmp_path)
    (record,) = Store(tmp_path).records()
    assert record.cell.task == "registre-fr" and record.data.canonical


@pytest.mark.usefixtures("installed")
def test_a_third_party_file_takes_no_name_of_the_package() -> None:
    assert "takes a name of" in refused("tasks", "check", TASK_FILE)


def test_a_package_that_is_not_installed_brings_no_task() -> None:
    assert "registre-fr" not in tasks()


def test_cls_merged_comes_from_the_hubs_own_copy_where_nobody_gave_the_archive(tmp_path: Path) -> None:
    """Zenodo is out of reach, behind a proxy that is none; then so is the hub, and its cache serves."""
    words = ("tasks", "check", "cls-merged", "--rows", "0")
    closed = "http://127.0.0.1:9"
    with StandIn() as hub:
        env = hub.env(tmp_path) | {"https_proxy": closed, "HTTPS_PROXY": closed}
        none = in_a_process(*words, cwd=tmp_path, env=env)
        assert none.returncode == 1 and "log in and ask for it" in none.stderr
        assert "out of reach" in none.stderr and "Data set GETALP/flue at refs/convert/parquet" in none.stderr
        hub.add_repo("GETALP/flue", "dataset", {"flue.py": b""}, revisions={CONVERTED: cls_merged_files()})
        commit = hub._repos["dataset", "GETALP/flue"].names[CONVERTED]
        for more in ((), ("--offline",)):
            ended = in_a_process(*words, *more, cwd=tmp_path, env=env)
            assert ended.returncode == 0, ended.stderr
            assert f"source: hub:GETALP/flue@{commit[:12]}, digest " in ended.stdout
            assert "train: 116" in ended.stdout and "canonical: no" in ended.stdout
            said = f"deviation: unpinned revision refs/convert/parquet of GETALP/flue (commit {commit[:12]})"
            assert said in ended.stdout


MOVING = """
name = "avis-mouvants"
kind = "sentence"
labels = ["non", "oui"]
metric = "f1_macro"
rows = { train = 24, validation = 12, test = 12 }
[[source]]
hub = "personne/avis"
revision = "main"
files = { train = "train.tsv", validation = "validation.tsv", test = "test.tsv" }
"""


def reviews(end: str) -> dict[str, bytes]:
    """A table a split, with as many rows as the task says."""
    made = {}
    for split, rows in (("train", 24), ("validation", 12), ("test", 12)):
        lines = [
            f"Le plat {n} est {'bon' if n % 2 else 'froid'}{end}\t{'oui' if n % 2 else 'non'}" for n in range(rows)
        ]
        made[f"{split}.tsv"] = "\n".join(["text\tlabel", *lines]).encode()
    return made


def test_the_main_branch_is_resolved_when_data_are_loaded_and_stands_on_the_board(tmp_path: Path) -> None:
    """Its commit is in the record; when the branch has moved, the other data are another column."""
    (tmp_path / "t.toml").write_text(MOVING, encoding="utf-8")
    run = ("run", "--task", "t.toml", "--model", "embedded:untrained", "--set", "epochs=1", "--results", "out")
    with StandIn() as hub:
        env = hub.env(tmp_path)
        commits = []
        for end in (".", " !"):
            commits.append(hub.add_repo("personne/avis", "dataset", reviews(end)))
            ended = in_a_process(*run, cwd=tmp_path, env=env)
            assert ended.returncode == 0, ended.stderr
    records = Store(tmp_path / "out").records()
    said = {f"unpinned revision main of personne/avis (commit {commit[:12]})" for commit in commits}
    assert {record.data.deviations[0] for record in records} == said and len(said) == 2
    assert {record.data.source for record in records} == {f"hub:personne/avis@{commit[:12]}" for commit in commits}
    assert not any(record.data.canonical for record in records)
    board = " ".join(done("leaderboard", "--results", tmp_path / "out", "--format", "markdown").split())
    assert all(words in board for words in said)
    assert "a branch, which can change: never canonical" in tasks("show", tmp_path / "t.toml")
    assert "data: open, moves" in tasks("show", tmp_path / "t.toml")
