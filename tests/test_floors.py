"""Imports go down only: which module stands on which floor, and what each floor may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "words": ("", "errors", "task", "recipe", "record"),
    "facts": (
        "scoring",
        "statistics",
        "source",
        "formats",
        "archive",
        "hub",
        "plugins",
        "registry",
        "store",
        "comparison",
        "verify",
    ),
    "pictures": ("leaderboard", "card"),
    "work": (
        "device",
        "optim",
        "progress",
        "checkpoint",
        "models",
        "encode",
        "batches",
        "train",
        "runner",
        "speed",
        "doctor",
        "rerun",
        "audit",
        "metrics",
    ),
    "door": ("cli", "__main__"),
}
"""Floor → the modules and sub-packages of flue_bench on it, from the ground up; "" is ``flue_bench/__init__.py``."""

MAY_IMPORT = {floor: {*list(FLOORS)[: level + 1]} for level, floor in enumerate(FLOORS)} | {
    "flue_tasks": {"words", "flue_tasks"},
    "flue_distill": {"words", "facts", "work", "flue_distill"},
}
"""Who → the floors it may import. Nobody but itself imports a plugin: entry points are the only door."""

HEAVY = {"torch", "transformers", "evaluate", "accelerate"}
MAY_IMPORT_HEAVY = {"work", "flue_distill"}
NOT_FOR_HELP = ("torch", "transformers", "evaluate", "datasets", "sklearn", "scipy", "pandas", "pyarrow")


def modules() -> dict[str, Path]:
    """Dotted name → file, for all of the distribution."""
    found = {}
    for folder in (ROOT / "flue_bench", ROOT / "tasks" / "flue_tasks", ROOT / "distill" / "flue_distill"):
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def floor_of(module: str) -> str:
    """Floor of a module of the distribution, or the name of the plugin it belongs to."""
    package, _, rest = module.partition(".")
    if package != "flue_bench":
        return package
    for floor, names in FLOORS.items():
        if rest.partition(".")[0] in names:
            return floor
    raise LookupError(f"{module} stands on no floor: add it to FLOORS in {Path(__file__).name}")


def imports(module: str, source: str, is_package: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Every module that ``source`` imports: dotted name, line, and whether importing ``module`` leaves it alone.

    It does so inside a function and under ``if TYPE_CHECKING``.
    """
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(outer, ast.If) and ast.unparse(outer.test) == "TYPE_CHECKING")
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [full if (full := f"{base}.{alias.name}") in MODULES else base for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node.lineno, id(node) in lazy


def faults(module: str, source: str, is_package: bool = False) -> list[str]:
    """Imports of ``module`` that its floor does not allow."""
    floor = floor_of(module)
    found = []
    for name, line, lazy in imports(module, source, is_package):
        package = name.partition(".")[0]
        if floor == "door" and lazy and package not in ("flue_tasks", "flue_distill"):
            continue  # a command imports what it needs when it runs
        if package in HEAVY and floor not in MAY_IMPORT_HEAVY:
            found.append(f"{module}:{line} ({floor}) imports {name}")
        if package in ("flue_bench", "flue_tasks", "flue_distill"):
            target = floor_of(name)
            if target not in MAY_IMPORT[floor] or (floor == "door" and target == "work"):
                found.append(f"{module}:{line} ({floor}) imports {name} ({target})")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    file = MODULES[module]
    assert not faults(module, file.read_text(encoding="utf-8"), file.name == "__init__.py")


def test_every_name_of_the_table_is_a_module() -> None:
    named = {f"flue_bench.{name}".rstrip(".") for names in FLOORS.values() for name in names}
    assert not named - set(MODULES)


@pytest.mark.parametrize(
    ("module", "source", "allowed"),
    [
        ("flue_bench.source", "from flue_bench.task import Task", True),
        ("flue_bench.source", "from flue_bench.runner import run", False),
        ("flue_bench.source", "from .runner import run", False),
        ("flue_bench.source", "def f():\n    import flue_bench.runner", False),
        ("flue_bench.scoring", "import torch.nn", False),
        ("flue_bench.train", "import torch.nn", True),
        ("flue_bench.leaderboard.board", "import flue_bench.runner", False),
        ("flue_bench.runner", "import flue_tasks", False),
        ("flue_bench.cli.run", "from flue_bench import runner", False),
        ("flue_bench.cli.run", "def f():\n    from flue_bench import runner", True),
        ("flue_bench.cli.run", "if TYPE_CHECKING:\n    from flue_bench import runner", True),
        ("flue_bench.store", "if TYPE_CHECKING:\n    from flue_bench import runner", False),
        ("flue_bench.cli.run", "def f():\n    import flue_distill", False),
        ("flue_tasks.readers", "from flue_bench.errors import DataError", True),
        ("flue_tasks.readers", "from flue_bench.formats import rows", False),
        ("flue_distill.loss", "from flue_bench.optim import schedule", True),
        ("flue_distill.loss", "from flue_bench.cli import main", False),
    ],
)
def test_the_rules_themselves(module: str, source: str, allowed: bool) -> None:
    assert (not faults(module, source)) is allowed


def test_a_module_without_a_floor_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"flue_bench\.attic stands on no floor"):
        floor_of("flue_bench.attic")


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from flue_bench.cli import main\n"
        "sys.argv = ['flue-bench', '--help']\n"
        "try:\n    code = main()\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('loaded:', *(name for name in {NOT_FOR_HELP!r} if name in sys.modules))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
