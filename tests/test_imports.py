"""Imports go one way: the table in CONTRIBUTING.md says which folder may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

TABLE = re.findall(r"^\| `([\w./]+)` \|.*\| (yes|no) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
ORDER = [folder for folder, _ in TABLE]
"""Folders of ``flue_bench``, each importing from itself and from those before it; "." is the words."""

HEAVY = {"torch", "transformers", "evaluate", "accelerate"}
MAY_IMPORT_HEAVY = {folder for folder, heavy in TABLE if heavy == "yes"} | {"metrics", "flue_distill.training"}
MAY_IMPORT = {
    **{folder: {*ORDER[: level + 1]} for level, folder in enumerate(ORDER)},
    "kinds/network": {".", "kinds", "kinds/network"},
    "results": {".", "kinds", "data", "statistics", "results"},
    "boards": {".", "kinds", "data", "statistics", "results", "boards"},
    "metrics": {".", "kinds"},
    "api": {*ORDER} - {"cli"} | {"."},
    "flue_tasks": {".", "flue_tasks"},
    "flue_distill": {"flue_distill"},
    "flue_distill.corpus": {".", "data", "flue_distill.corpus"},
    "flue_distill.training": {".", "data", "training", "flue_distill.corpus", "flue_distill.training"},
    "flue_distill.spread": {".", "jobs", "training", "flue_distill.corpus", "flue_distill.spread"},
    "flue_distill.cli": {".", "flue_distill.cli"},
    "flue_distill.api": {".", "flue_distill.api"},
}
"""Who → the folders it may import. Nobody but itself imports a plugin: entry points are the only door."""
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


def folder_of(module: str) -> str:
    """Folder of a module of the distribution, or the name of the plugin it belongs to."""
    package, *rest = module.split(".")
    if package == "flue_distill" and rest:
        return f"{package}.{rest[0]}"
    if package != "flue_bench":
        return package
    if rest in (["metrics"], ["api"]):
        return rest[0]
    if rest == ["__main__"]:
        return "cli"
    # All folders on the way: one that the table does not name is an error.
    path = [name for depth, name in enumerate(rest) if (ROOT / "flue_bench" / Path(*rest[: depth + 1])).is_dir()]
    path = path or rest[:-1]
    folder = "/".join(path) or "."
    if folder not in ORDER:
        raise LookupError(f"{module} is in no folder of the table in CONTRIBUTING.md")
    return folder


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
    """Imports of ``module`` that its folder does not allow."""
    folder = folder_of(module)
    found = []
    for name, line, lazy in imports(module, source, is_package):
        package = name.partition(".")[0]
        if folder == "cli" and lazy and package not in ("flue_tasks", "flue_distill"):
            continue  # a command imports what it needs when it runs
        if lazy and (folder == "api" or module == "flue_bench") and package == "flue_bench":
            continue  # the front door loads what is asked for
        if lazy and module == "flue_distill" and package == module:
            continue
        if (
            folder in ("flue_distill.api", "flue_distill.cli")
            and lazy
            and package in ("flue_bench", "flue_distill", *HEAVY)
        ):
            continue
        if package in HEAVY and folder not in MAY_IMPORT_HEAVY:
            found.append(f"{module}:{line} ({folder}) imports {name}")
        if package in ("flue_bench", "flue_tasks", "flue_distill"):
            target = folder_of(name)
            if target not in MAY_IMPORT[folder] or (folder == "cli" and target in ("jobs", "training")):
                found.append(f"{module}:{line} ({folder}) imports {name} ({target})")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    file = MODULES[module]
    assert not faults(module, file.read_text(encoding="utf-8"), file.name == "__init__.py")


def test_every_folder_is_in_the_table() -> None:
    package = ROOT / "flue_bench"
    folders = {file.parent.relative_to(package).as_posix() for file in package.glob("*/**/__init__.py")}
    assert folders == {*ORDER} - {"."}
    assert len(ORDER) <= 10


@pytest.mark.parametrize(
    ("module", "source", "allowed"),
    [
        ("flue_bench.data.sources", "from flue_bench.task import Task", True),
        ("flue_bench.data.sources", "from flue_bench.jobs.cell import run", False),
        ("flue_bench.data.sources", "from ..jobs.cell import run", False),
        ("flue_bench.data.sources", "def f():\n    import flue_bench.jobs.cell", False),
        ("flue_bench.kinds.tokens", "import torch.nn", False),
        ("flue_bench.kinds.tokens", "def f():\n    from flue_bench.kinds.network import tokens", False),
        ("flue_bench.kinds.network.tokens", "import torch.nn", True),
        ("flue_bench.kinds.network.tokens", "from flue_bench.kinds.kind import Kind", True),
        ("flue_bench.kinds.network.tokens", "from flue_bench.data import sources", False),
        ("flue_bench.results.verify", "from flue_bench.kinds.network.tokens import TOKENS", False),
        ("flue_bench.training.train", "from flue_bench.kinds.network.network import Encoded", True),
        ("flue_bench.training.train", "import torch.nn", True),
        ("flue_bench.boards.board", "import flue_bench.jobs.cell", False),
        ("flue_bench.jobs.cell", "import flue_tasks", False),
        ("flue_bench.cli.run", "from flue_bench.jobs import cell", False),
        ("flue_bench.cli.run", "def f():\n    from flue_bench.jobs import cell", True),
        ("flue_bench.cli.run", "if TYPE_CHECKING:\n    from flue_bench.jobs import cell", True),
        ("flue_bench.results.store", "if TYPE_CHECKING:\n    from flue_bench.jobs import cell", False),
        ("flue_bench.cli.run", "def f():\n    import flue_distill", False),
        ("flue_tasks.readers", "from flue_bench.errors import DataError", True),
        ("flue_tasks.readers", "from flue_bench.data.formats import rows", False),
        ("flue_distill.training.loss", "from flue_bench.training.optim import schedule", True),
        ("flue_distill.training.loss", "from flue_distill.corpus import shards", True),
        ("flue_distill.training.loss", "from flue_bench.cli import main", False),
        ("flue_distill.corpus.words", "from flue_distill.training import recipe", False),
        ("flue_distill.corpus.words", "def f():\n    import torch", False),
        ("flue_distill.cli.distill", "from flue_distill.training import run", False),
        ("flue_distill.cli.distill", "def f():\n    from flue_distill.training import run", True),
    ],
)
def test_the_rules_themselves(module: str, source: str, allowed: bool) -> None:
    assert (not faults(module, source)) is allowed


def test_a_folder_without_a_line_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"flue_bench\.attic\.chest is in no folder"):
        folder_of("flue_bench.attic.chest")


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
