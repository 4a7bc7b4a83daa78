"""Commands and paths of the benchmarks, wherever something tracked names them, exist and are as their help says."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

from support import ROOT

pytestmark = pytest.mark.benchmark

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if "def main()" in path.read_text(encoding="utf-8")
)


def texts() -> dict[Path, str]:
    """What people read: every Markdown file, and the source that writes or heads them."""
    files = [*ROOT.glob("*.md"), ROOT / "Makefile"]
    for folder in ("benchmarks", "distill", "docs", "examples", "flue_bench", "results", "tasks", "tests"):
        files += [path for end in ("md", "py", "toml") for path in (ROOT / folder).rglob(f"*.{end}")]
    return {path: path.read_text(encoding="utf-8") for path in files if path != Path(__file__)}


def commands() -> dict[str, dict[str, str]]:
    """Module of the benchmarks → options that some text gives it, and where."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path, text in texts().items():
        for module, words in re.findall(r"python -m (benchmarks[\w.]*)((?:[^`\n\\]|\\+\n)*)", text):
            options = found[module]
            options |= dict.fromkeys(re.findall(r" (--[a-z][\w-]*)", words.split(" #")[0]), str(path.relative_to(ROOT)))
    return found


def test_every_command_that_is_named_is_one() -> None:
    named = commands()
    assert len(named) > 15 and named.keys() <= set(MODULES)


def test_no_command_goes_by_its_file() -> None:
    """A script is not found by what it imports from another folder."""
    assert not [path for path, text in texts().items() if re.search(r"python benchmarks/", text)]


@pytest.mark.parametrize("module", MODULES)
def test_help_tells_of_every_option_in_use(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        import_module(module).main()
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for option, where in commands()[module].items():
        assert re.search(rf"{option}\b", told), f"{where} gives {module} {option}"


def test_every_path_that_is_named_is_there() -> None:
    for path, text in texts().items():
        for named in re.findall(r"(?<![\w/.])benchmarks/[\w./-]*\w", text):
            assert (ROOT / named).exists(), f"{path.relative_to(ROOT)} names {named}"
