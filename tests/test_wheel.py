"""The wheel and the sdist hold what they should, and the wheel works in an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from support import ROOT

pytestmark = [pytest.mark.robustness, pytest.mark.slow, pytest.mark.timeout(400)]


def call(*command: str | Path, cwd: Path, **env: str) -> str:
    """Standard output of a command that must succeed; nothing of this process's import path leaks into it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from the sdist (which is what ``python -m build`` does)."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def names_in_wheel(folder: Path) -> set[str]:
    """Members of the one wheel in a folder."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_code_tasks_and_embedded_models_only(dist: Path) -> None:
    names = names_in_wheel(dist)
    tops = {PurePosixPath(name).parts[0] for name in names if ".dist-info/" not in name}
    assert tops == {"flue_bench", "flue_tasks", "flue_distill"}
    assert {file.relative_to(ROOT / "tasks").as_posix() for file in (ROOT / "tasks").rglob("*.toml")} <= names
    assert {"flue_bench/py.typed", "flue_distill/py.typed", "flue_bench/boards/notebook.html"} <= names
    assert {"flue_bench/py.typed", "flue_tasks/xnli.toml", "flue_distill/corpus/demo.txt"} <= names
    assert {f"flue_distill/training/recipes/{name}.toml" for name in ("distilcamembert", "laptop")} <= names
    assert {"flue_bench/boards/published.toml", "flue_bench/boards/board.html"} <= names
    assert {f"flue_bench/{page.relative_to(ROOT).as_posix()}" for page in (ROOT / "docs").rglob("*.md")} <= names
    embedded = {
        file.relative_to(ROOT).as_posix() for file in (ROOT / "flue_bench" / "embedded").rglob("*") if file.is_file()
    }
    assert any(name.endswith(".safetensors") for name in embedded)
    assert {name for name in embedded if "__pycache__" not in name} <= names


def test_sdist_makes_the_same_wheel_and_holds_the_tests(dist: Path, tmp_path: Path) -> None:
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    assert names_in_wheel(tmp_path) == names_in_wheel(dist)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "constraints.txt", "LICENSE", "CHANGELOG.md", "tests/test_wheel.py"} <= names
    assert not any(".venv" in name or name.startswith("results/local") for name in names)


def test_every_test_of_the_sdist_finds_what_it_imports(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    program = (  # without the checkout, which an editable install puts on the path
        "import sys, pytest; "
        f"sys.path = [path for path in sys.path if not path.startswith({str(ROOT)!r}) or 'site-packages' in path]; "
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider']))"
    )
    listed = call(sys.executable, "-c", program, cwd=folder, PYTHONPATH=f"{folder}/tasks:{folder}/distill")
    assert "tests/benchmarks/test_benchmarks.py::" in listed


def test_wheel_runs_in_a_fresh_environment(dist: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment through a .pth file, flue-bench itself from the wheel."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    (own,) = home.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    (wheel,) = dist.glob("*.whl")
    call(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path
    )
    where = call(
        python, "-c", "import flue_bench, flue_tasks; print(flue_bench.__file__, flue_tasks.__file__)", cwd=tmp_path
    )
    assert all(Path(file).is_relative_to(own) for file in where.split())

    script = tmp_path / "script.py"
    script.write_text((ROOT / "tests" / "support" / "typed.py").read_text(encoding="utf-8"), encoding="utf-8")
    strict = ("--strict", "--cache-dir", tmp_path / "mypy", "--python-executable", python, script)
    assert "no issues found" in call(sys.executable, "-m", "mypy", *strict, cwd=tmp_path)
    wrong = script.read_text(encoding="utf-8").replace('question="trained"', 'question="both"')
    script.write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match='incompatible type "Literal'):  # types are seen, not taken for Any
        call(sys.executable, "-m", "mypy", *strict, cwd=tmp_path)

    command = home / "bin" / "flue-bench"
    listed = call(command, "tasks", cwd=tmp_path, COLUMNS="200")
    assert "paws-x" in listed and "mini-cls" in listed
    said = call(command, "run", "--help", cwd=tmp_path, COLUMNS="200")
    (pages,) = re.findall(r"Pages named docs/… are in (.+)\.", said)
    named = set(re.findall(r"docs/[\w/-]+\.md", said))
    assert "docs/your-model.md" in named and all((Path(pages).parent / page).is_file() for page in named)
    assert Path(pages).is_relative_to(own)

    asked = ("--model", "embedded:untrained", "--task", "mini-cls", "--limit", "16", "--set", "epochs=1")
    call(
        command, "run", *asked, "--results", tmp_path / "results", cwd=tmp_path, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"
    )
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "results").rglob("*.json")]
    (record,) = [content for content in contents if "cell" in content and "scores" in content]
    assert record["cell"]["task"] == "mini-cls" and record["cell"]["limit"] == 16
    assert record["scores"]["accuracy"] >= 0
