"""What holds for the repository as a whole: clean files, one version, every dependency pinned and declared."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flue_bench
from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|root|home/[\w-]+|Users/[\w-]+|tmp/[\w-]+)/")
LARGEST = 2_000_000  # bytes
OPTIONAL = ("pandas", "parsl", "psutil")
"""Used where it is installed; what needs it says so."""


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """What is committed or would be: tracked files, and new ones that git does not ignore."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_holds_a_path_of_one_machine(files: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "is_path"),
    [
        ("data in " + os.sep.join(["", "home", "someone", "data"]), True),
        ('"' + "/".join(["", "tmp", "scratch", "x.json"]) + '"', True),
        ("https://example.org/work/item", False),
        ("../work/item and tests/root/x", False),
    ],
)
def test_what_counts_as_a_path_of_one_machine(line: str, is_path: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is is_path


def test_no_file_is_large_but_embedded_weights(files: list[Path]) -> None:
    embedded = ROOT / "flue_bench" / "embedded"
    large = [
        str(path.relative_to(ROOT))
        for path in files
        if path.stat().st_size > LARGEST and not (embedded in path.parents and path.suffix == ".safetensors")
    ]
    assert not large


def test_changelog_is_headed_by_this_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert released[0] == flue_bench.__version__


def requirements() -> list[Requirement]:
    """Everything pyproject.toml asks for, extras and build back-end included, itself left out."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    listed = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra), *build]
    return [asked for line in listed if (asked := Requirement(line)).name != PROJECT["name"]]


@pytest.mark.parametrize("asked", requirements(), ids=str)
def test_constraints_pin_what_pyproject_asks_for(asked: Requirement) -> None:
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    assert asked.specifier, f"{asked.name} has no range in pyproject.toml"
    assert asked.specifier.contains(pins[canonicalize_name(asked.name)])


def test_pins_are_plain() -> None:
    """One exact public version each: a local version (+cpu) exists on one index only."""
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in PINS)
    assert all(re.fullmatch(r"[0-9]+(\.(post)?[0-9]+)*", version) for version in PINS.values())
    assert list(PINS) == sorted(PINS, key=str.lower)


def test_what_is_imported_is_declared() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    provided_by = packages_distributions()
    undeclared = set()
    for folder in (ROOT / "flue_bench", ROOT / "tasks", ROOT / "distill"):
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                else:
                    continue
                for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                    if top not in ("flue_bench", "flue_tasks", "flue_distill", *OPTIONAL) and not declared.intersection(
                        map(canonicalize_name, provided_by.get(top, []))
                    ):
                        undeclared.add(f"{file.relative_to(ROOT)}: {top}")
    assert not undeclared


def test_what_huggingface_hub_keeps_private_is_touched_in_one_file() -> None:
    private = re.compile(r"huggingface_hub(?:\.\w+)*\._|from huggingface_hub[\w.]* import .*\b_\w|\bconstants\._")
    folders = ("flue_bench", "tasks", "distill", "benchmarks", "examples", "tests")
    code = [file for folder in folders for file in (ROOT / folder).rglob("*.py") if file != Path(__file__)]
    assert len(code) > 100
    assert [file.name for file in code if private.search(file.read_text(encoding="utf-8"))] == ["hub.py"]


def test_every_promise_of_the_threat_model_has_its_test() -> None:
    lines = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    tests = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py")}
    assert rows
    for row in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row[-1])
        assert len(row) == 4 and named, row
        assert not [name for file, name in named if f"\ndef {name}(" not in tests[file]]


def test_a_folder_is_called_nothing_else() -> None:
    """In pages, help, messages and docstrings; records keep the word that they were written with."""
    word = re.compile(r"\b[Dd]irector(?:y|ies)\b")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found = [page.name for page in pages if word.search(page.read_text(encoding="utf-8"))]
    for package in ("flue_bench", "tasks/flue_tasks", "distill/flue_distill"):
        for file in (ROOT / package).rglob("*.py"):
            texts = (
                node.value
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            found += [f"{file.name}: {text}" for text in texts if word.search(text) and text != "directory"]
    assert len(pages) > 50 and not found
