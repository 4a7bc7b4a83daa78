"""Installing: wheels alone for users, in any folder, without a cache; and modules that import without POSIX."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support import ROOT
from test_imports import MODULES, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
}
POSIX_ONLY = ("resource", "fcntl", "termios", "pwd", "grp", "pty", "tty", "syslog")
POSIX_ATTRIBUTES = {
    "os": "fork getuid geteuid getpgid killpg setsid uname sched_getaffinity statvfs mkfifo O_NOFOLLOW O_DIRECTORY",
    "signal": "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGCONT alarm setitimer",
}


def pip(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A package registry within reach, asked for one small wheel."""
    folder = tmp_path_factory.mktemp("probe")
    words = ("--no-deps", "--no-cache-dir", "--retries=0", "--timeout=15", f"filelock=={PINS['filelock']}")
    done = pip("download", *words, cwd=folder)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr.strip().splitlines()[-1]}")


def pulled_in(lines: Iterable[str]) -> set[str]:
    """Names of all that these requirements bring with them, as the installed packages tell."""
    found: set[str] = set()
    todo = [(Requirement(line), "") for line in lines]
    while todo:
        asked, extra = todo.pop()
        name = canonicalize_name(asked.name)
        if (asked.marker and not asked.marker.evaluate({"extra": extra})) or name == "torch":
            continue
        known = name in found
        found.add(name)
        todo += [
            (Requirement(line), extra)
            for extra in ("", *asked.extras)
            if extra or not known
            for line in requires(name) or ()
        ]
    return found


def test_what_is_published_as_source_only_is_a_tool_of_the_tests() -> None:
    (exceptions,) = set(re.findall(r"--no-binary=(\S+)", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert exceptions == "seqeval" and "--only-binary=:all:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    users = pulled_in([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["flaubert"]])
    assert {"transformers", "aiohttp", "sacremoses"} <= users <= PINS.keys()
    assert not users & {"seqeval", "scikit-learn", "pytest"}


@pytest.mark.network
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_users_install_comes_as_wheels(python: str, registry: None, tmp_path: Path) -> None:
    """Of every package at its pinned version, for several Pythons. Torch is only looked up: it takes gigabytes."""
    extras = PROJECT["optional-dependencies"]
    users = pulled_in([*PROJECT["dependencies"], *extras["flaubert"], *extras["cluster"]])
    words = ("--dry-run", "--no-deps", "--ignore-installed", "--only-binary=:all:", "--python-version", python)
    done = pip(
        "install", *words, "--target", "there", *(f"{name}=={PINS[name]}" for name in sorted(users)), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (would,) = re.findall(r"^Would install (.*)$", done.stdout, re.M)
    assert len(would.split()) == len(users) > 50
    listed = pip("index", "versions", "torch", "--only-binary=:all:", "--python-version", python, cwd=tmp_path).stdout
    assert PINS["torch"] in re.split(r"[\s,+]+", listed)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("extra", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_each_tracker_can_be_had_beside_our_pins(extra: str, registry: None, tmp_path: Path) -> None:
    """With all that it wants, on top of what is installed: a release may want older packages than ours, or none."""
    wanted = PROJECT["optional-dependencies"][extra]
    pins = tmp_path / "pins.txt"
    shutil.copy(ROOT / "constraints.txt", pins)
    done = pip("install", "--dry-run", "--only-binary=:all:", "-c", pins, *wanted, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.network
@pytest.mark.slow
def test_make_installs_in_a_folder_with_a_blank_and_without_a_cache(registry: None, tmp_path: Path) -> None:
    """The Makefile's own recipe on a small project whose tools want what has to be built; the second time, nothing."""
    folder = tmp_path / "un dossier, à part"
    folder.mkdir()
    for name in ("Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    build = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project]")[0]
    (folder / "small.py").write_text("")
    (folder / "pyproject.toml").write_text(
        f'{build}[project]\nname = "small"\nversion = "1"\n[project.optional-dependencies]\ndev = ["seqeval"]\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["small.py"]\n'
    )
    (tmp_path / "home").mkdir()
    kept = {
        name: value for name, value in os.environ.items() if name != "PIP_CACHE_DIR" and not name.startswith("MAKE")
    }
    env = kept | {"PIP_NO_CACHE_DIR": "1", "HOME": str(tmp_path / "home")}

    def make() -> str:
        command = ["make", f"PYTHON={sys.executable}", "install"]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Successfully built seqeval small" in make()
    shown = subprocess.check_output(
        [folder / ".venv/bin/python", "-c", "import seqeval, small; print(seqeval.__file__)"]
    )
    assert Path(shown.decode().strip()).is_relative_to(folder)
    assert "Nothing to be done" in make()


def test_make_does_not_keep_silently_to_another_python(tmp_path: Path) -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv/.installed").touch()
    ours = ".".join(map(str, sys.version_info[:2]))
    env = {name: value for name, value in os.environ.items() if name != "PYTHON" and not name.startswith("MAKE")}

    def make(version: str, *words: str) -> subprocess.CompletedProcess[str]:
        python.write_text(f"#!/bin/sh\necho {version}\n")
        python.chmod(0o755)
        return subprocess.run(["make", *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    asked = f"PYTHON={sys.executable}"
    other = make("3.9", asked, "install")
    assert other.returncode and f".venv has Python 3.9, but {sys.executable} is Python {ours}. Run 'make clean'" in (
        other.stderr
    )
    for same in (make(ours, asked, "install"), make("3.9", "install")):
        assert same.returncode == 0 and "Nothing to be done" in same.stdout
    assert make("3.9", asked, "clean").returncode == 0 and not python.exists()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_imports_what_only_posix_has(module: str) -> None:
    file = MODULES[module]
    found = imports(module, file.read_text(encoding="utf-8"), file.name == "__init__.py")
    assert not [(name, line) for name, line, lazy in found if name in POSIX_ONLY and not lazy]


def test_every_module_imports_without_what_only_posix_has() -> None:
    """Libraries are loaded as they are; then every module of ours once more, in a world like that of Windows."""
    program = f"""
import importlib, os, signal, sys
names = {sorted(MODULES.keys() - {"flue_bench.__main__"})!r}
for name in names:
    importlib.import_module(name)
for name in names:
    del sys.modules[name]
for name in {POSIX_ONLY!r}:
    sys.modules[name] = None
for module, gone in {POSIX_ATTRIBUTES!r}.items():
    for name in gone.split():
        delattr(sys.modules[module], name)
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
