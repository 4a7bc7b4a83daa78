from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flue_bench.cli.tasks import app
from flue_bench.data import registry
from flue_bench.errors import DataError, TaskFileError, UnknownNameError
from flue_bench.results.store import Store
from support import ROOT

EXAMPLE = ROOT / "examples/third_party_task"
TASK_FILE = EXAMPLE / "registre_fr/registre-fr.toml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def test_the_table_has_every_task() -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.output.splitlines()
    for name, each in registry.registered().items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert each.task.kind in line and each.task.metric in line and each.task.labels[-1] in line
    assert any("392,702, 2,490, 5,010" in line for line in lines)


def test_show_tells_everything() -> None:
    result = run("show", "xnli")
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
        assert part in result.output
    (archive,) = (line for line in run("show", "paws-x").output.splitlines() if "archive:" in line)
    assert "x-final.tar.gz (30,282,057 bytes, SHA-256 4146db499101" in archive
    merged = run("show", "cls-merged").output
    assert "canonical rows (train, validation, test): 5,997, -, 5,999 or 6,000" in merged
    assert "access: Zenodo gives this archive only to people who log in and ask for it (https://zenodo.org/" in merged
    assert "Put what you get at D/cls-acl10-unprocessed.tar.gz and give --data-dir D." in merged
    assert "hub: GETALP/flue at refs/convert/parquet (a branch, which can move: never canonical)" in merged
    both = run("show", "cls-books", "wikiner").output
    assert "reader: webis-cls" in both and "kind: tokens, tags in IO" in both


def test_check_prints_counts_balance_and_rows_as_the_model_sees_them() -> None:
    result = run("check", TASK_FILE, "--rows", "2", "--offline")
    lines = result.output.splitlines()
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
    output = run("check", tmp_path / "a.toml", "--data-dir", TASK_FILE.parent, "--rows", "0").output
    assert "canonical: no\ndeviation: train has 40 rows, canonical is 41" in output
    assert "<s>" not in output
    tokens = run("check", "mini-ner", "--rows", "1").output
    assert "train-0: O O" in tokens
    assert "train: 1,020: O " in tokens


def test_data_dir_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text(TASK_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataError, match=r"has no train\.tsv"):
        run("check", tmp_path / "a.toml")
    monkeypatch.setenv("FLUE_BENCH_DATA", str(TASK_FILE.parent))
    assert run("check", tmp_path / "a.toml", "--rows", "0").exit_code == 0


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean xnli"):
        run("show", "xnlii")
    (tmp_path / "a.toml").write_text("nom = 'a'")
    with pytest.raises(TaskFileError, match=r"a\.toml: nom: unknown key"):
        run("check", tmp_path / "a.toml")
    assert run("check").exit_code == 2


def flue_bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from flue_bench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=ROOT)


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from flue_bench.cli.tasks import app; app(['show', 'xnli'], standalone_mode=False); "
    code += "print({'torch', 'transformers', 'datasets', 'sklearn', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example package, installed by pip into a folder of its own, as an environment for subprocesses."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(target), str(EXAMPLE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_a_third_party_package_is_a_task(installed: dict[str, str]) -> None:
    listed = flue_bench("tasks", **installed)
    assert "registre-fr" in listed.stdout, listed.stderr
    assert "registre-fr" not in flue_bench("tasks").stdout
    shown = flue_bench("tasks", "show", "registre-fr", **installed)
    assert "(flue-bench-registre)" in shown.stdout
    checked = flue_bench("tasks", "check", "registre-fr", "--offline", "--rows", "1", **installed)
    assert checked.returncode == 0, checked.stderr
    assert "train: 32: familier 50.0%" in checked.stdout
    assert "<s> " in checked.stdout


def test_a_third_party_package_is_run(installed: dict[str, str], tmp_path: Path) -> None:
    words = ["--model", "embedded:untrained", "--task", "registre-fr", "--set", "epochs=1"]
    done = flue_bench("run", *words, "--results", str(tmp_path), **installed)
    assert done.returncode == 0, done.stderr
    assert "registre-fr" in done.stdout
    (record,) = Store(tmp_path).records()
    assert record.cell.task == "registre-fr" and record.data.canonical


def test_a_third_party_file_takes_no_name_of_the_package(installed: dict[str, str]) -> None:
    refused = flue_bench("tasks", "check", str(TASK_FILE), **installed)
    assert refused.returncode == 2
    assert "takes a name of" in refused.stderr
    assert "Traceback" not in refused.stderr
