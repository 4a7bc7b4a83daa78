"""The example notebooks run from start to end, on the embedded models and without a network."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

NOTEBOOKS = sorted(
    file for file in (ROOT / "examples").glob("*.py") if file.read_text(encoding="utf-8").startswith("# %%")
)

RUNNER = """
import ast, re, sys
source = open(sys.argv[1], encoding="utf-8").read()
cells = [cell for cell in re.split(r"(?m)^# %%", source) if not cell.startswith(" [markdown]")]
names = {"__name__": "__main__"}
for cell in cells:
    tree = ast.parse("#" + cell)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, sys.argv[1], "exec"), names)
    if last is None:
        continue
    value = eval(compile(ast.Expression(last.value), sys.argv[1], "eval"), names)
    for show in ("_repr_html_", "_repr_markdown_"):  # as a notebook chooses
        if hasattr(value, show):
            print(getattr(value, show)())
            break
    else:
        print(repr(value))
"""
"""What a notebook does with its cells, by the standard library alone: each is run, and its last value is shown."""


def test_there_are_two() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["own_task", "student"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_cells_are_whole_and_begin_with_a_title(file: Path) -> None:
    """Each cell parses alone, and what is not code is text: the file is a notebook in the percent format."""
    first, *cells = re.split(r"(?m)^# %%", file.read_text(encoding="utf-8"))
    assert first == "" and cells[0].startswith(" [markdown]\n# # ")
    for cell in cells:
        kind, _, body = cell.partition("\n")
        assert kind in ("", " [markdown]")
        if kind:
            assert all(line.startswith("#") for line in body.strip().splitlines())
        else:
            ast.parse(body)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (
            "student",
            ["<Results: 6 records", "M parameters", "<table>", "% of ", "keep at least 90 %", "6 records are"],
        ),
        ("own_task", ["'train': ", "('validation',)", "'missed': ", "livraisons<br>f1_macro"]),
    ],
)
def test_every_cell_runs(name: str, shown: list[str], tmp_path: Path) -> None:
    closed = {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    command = [
        sys.executable,
        "-W",
        "error::DeprecationWarning:__main__",
        "-c",
        RUNNER,
        ROOT / "examples" / f"{name}.py",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | closed, capture_output=True, text=True, encoding="utf-8", timeout=590
    )
    assert done.returncode == 0, done.stderr
    for words in shown:
        assert words in done.stdout, (words, done.stdout)


@pytest.mark.slow
def test_the_page_from_python_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.S)
    check = "print(board, table.num_rows, runs.num_rows, predictions.num_rows, len(digest))"
    done = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "mini-ner" in done.stdout and "COLLAPSED" not in done.stderr and done.stdout.rstrip().endswith(" 1 1 128 16")
    assert (tmp_path / "results" / "runs").is_dir()
