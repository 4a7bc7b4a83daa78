"""Benchmarks measure the product as it is: they reach for nothing private in it, and fake no module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from support import ROOT

FILES = sorted((ROOT / "benchmarks").rglob("*.py"))
OF_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_TUPLES


def reached(tree: ast.AST) -> list[str]:
    """Private names of others that a file reads, imports or patches; and modules that it puts in place of others."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if private(alias.name)]
        elif isinstance(node, ast.Call | ast.Tuple):  # patch.object(owner, "_name"), or a table of them
            parts = node.args if isinstance(node, ast.Call) else node.elts
            found += [ast.unparse(part) for part in parts if isinstance(part, ast.Constant) and _named(part.value)]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "sys.modules":
            found.append(ast.unparse(node))
    return found


def _named(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier() and private(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_private_is_reached_for(file: Path) -> None:
    assert not reached(ast.parse(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "train._State",
        "from flue_bench.training.train import _State",
        "mock.patch.object(train, '_State', None)",
        "PARTS = (train, '_State', 'the rest')",
        "sys.modules['pydantic'] = made",
    ],
)
def test_what_reaches_is_seen(line: str) -> None:
    assert len(reached(ast.parse(line))) == 1


def test_one_may_have_privacy_of_its_own() -> None:
    assert not reached(ast.parse("self._open; way._replace(name='x'); module.__file__"))
