"""What a kind of task is stands in ``flue_bench/kinds``: no other file branches on a kind, or on what stands for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from flue_bench.kinds.kind import installed
from support import ROOT

KINDS = ROOT / "flue_bench" / "kinds"
FILES = sorted(
    path
    for folder in ("flue_bench", "distill", "tasks", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if KINDS not in path.parents
)
STAND_INS = {"scheme", "subwords_per_word"}
"""Only tasks of one kind have these, so that asking for them asks for the kind."""
OF_A_TASK = {"task", "record", "first", "declared"}
"""How a task or a record is called: other things have a ``kind`` or a ``scheme`` too, such as faults and addresses."""


def _owner(node: ast.expr) -> str:
    """The last name of what an attribute is asked of: ``task`` of ``each.task.kind`` and of ``tasks[0].kind``."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _asks(node: ast.AST) -> str | None:
    """What is asked of a kind by an expression that decides something, in words."""
    names = {"kind", *STAND_INS}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr in names:
            owner = _owner(inner.value).lower()
            if any(owner.rstrip("s").endswith(name) for name in OF_A_TASK):
                return ast.unparse(inner)
        if isinstance(inner, ast.Name) and inner.id in STAND_INS:
            return inner.id
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in ("getattr", "hasattr"):
            asked = inner.args[1] if len(inner.args) > 1 else None
            if isinstance(asked, ast.Constant) and asked.value in names:
                return ast.unparse(inner)
    return None


def _named(node: ast.expr) -> set[str]:
    """The kinds whose names a comparison holds, alone or in a tuple, list or set."""
    values = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def _deciding(tree: ast.AST) -> Iterator[ast.AST]:
    """Every expression whose value decides what is done: conditions, what is matched, truth taken by and, or, not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.Match):
            yield node.subject
        elif isinstance(node, ast.BoolOp):
            yield from node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node.operand
        elif isinstance(node, ast.Compare):
            yield node


def branches(source: str, kinds: set[str]) -> list[str]:
    """Line and expression of every branch on a kind, once each."""
    found = {}
    for node in _deciding(ast.parse(source)):
        asked = _asks(node)
        if isinstance(node, ast.Compare) and not asked:
            asked = next(iter(sorted(kinds & set().union(*map(_named, [node.left, *node.comparators])))), None)
        if asked:
            found.setdefault(getattr(node, "lineno", 0), asked)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.MatchValue) and kinds & _named(node.value):
            found.setdefault(node.lineno, ast.unparse(node.value))
        if (
            isinstance(node, ast.Call)
            and _owner(node.func) == "isinstance"
            and {"Sentence", "Tokens"} & {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
        ):
            found.setdefault(node.lineno, ast.unparse(node))
    return [f"{line}: {asked}" for line, asked in sorted(found.items())]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_branches_on_a_kind(path: Path) -> None:
    assert branches(path.read_text(encoding="utf-8"), set(installed())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "if task.kind == 'tokens': pass",
        "x = 1 if self.task.kind != other else 2",
        "if work.registered.task.kind in KINDS: pass",
        "x = [each for each in tasks if tasks[0].kind == wanted]",
        "x = name == 'sentence-pair'",
        "x = name in ('sentence', 'sentence-pair')",
        "if record.scheme: pass",
        "x = record.scheme and 1",
        "x = task.scheme is None",
        "x = not task.scheme",
        "if subwords_per_word: pass",
        "x = subwords_per_word is not None",
        "x = getattr(task, 'scheme', None) or 1",
        "match task.kind:\n    case _: pass",
        "match name:\n    case 'tokens': pass",
        "assert first.kind.startswith('s')",
        "while len(task.scheme or ''): pass",
        "x = isinstance(kind, Tokens)",
    ],
)
def test_a_branch_is_found(planted: str) -> None:
    assert branches(planted, {"sentence", "sentence-pair", "tokens"})


@pytest.mark.parametrize(
    "fine",
    [
        "kind = kind_named(task.kind)",
        "RunRecord(kind=task.kind, scheme=task.scheme)",
        "x = BASELINES[task.kind](task)",
        "f(references, subwords_per_word)",
        "x = fault.kind == 'missing'",
        "x = parts.scheme in ('http', 'https')",
        "if task.metric == 'accuracy': pass",
    ],
)
def test_what_is_only_passed_on_is_not(fine: str) -> None:
    assert branches(fine, {"sentence", "sentence-pair", "tokens"}) == []
