"""Every fenced block of the documentation: commands and Python are carried out on tiny models, task files are read."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flue_bench
from support import ROOT
from support.hub_standin import StandIn
from support.pages import LANGUAGES, PAGES, Block, World, actual, blocks, commands, options_of, parsed

RESULTS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "results").rglob("*.md"))
    if "```sh" in path.read_text(encoding="utf-8")
]
"""Pages of results with commands: they take hours, and are read alone."""
BLOCKS = [block for page in PAGES for block in blocks(page)]
READ = [*BLOCKS, *(block for page in ("examples/third_party_task/README.md", *RESULTS) for block in blocks(page))]
WITH_CODE = sorted({block.page for block in BLOCKS if block.language in ("sh", "python")})
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
OTHERS = {
    "make": lambda words: all(word in TARGETS or "=" in word for word in words),
    "pip": lambda words: _pip(words),
    "hf": lambda words: _known((str(Path(sys.executable).parent / "hf"), words[0]), words),
    "python": lambda words: _script(*words),
    ".": lambda words: words == [".venv/bin/activate"],
    ".venv/bin/pre-commit": lambda words: "pre-commit" in str(EXTRAS["dev"]) and words == ["install"],
    "export": lambda words: all("=" in word for word in words),
    "for": lambda words: words[1] == "in",
    "if": lambda words: words[0] == "[" and words[-1] == "]",
    "scontrol": lambda words: words[0] == "requeue",
    "sbatch": lambda words: (ROOT / words[0]).is_file() and parsed(["distill", "--out", *words[1:]]),
    "exit": lambda words: len(words) == 1,
}
"""What a page may call beside flue-bench → whether it does so rightly. None of it is carried out."""
LAUNCHERS = ("torchrun", "accelerate")


def _known(command: tuple[str, ...], words: list[str]) -> bool:
    said = options_of(*command)
    return all(re.search(rf"{re.escape(word.partition('=')[0])}\b", said) for word in words if word.startswith("-"))


def _pip(words: list[str]) -> bool:
    action, *rest = words
    extras = [extra for word in rest for extra in re.findall(r"^flue-bench\[([\w,]+)\]$", word)]
    assert all(extra in EXTRAS for listed in extras for extra in listed.split(","))
    assert all((ROOT / word).is_dir() for word in rest if word.startswith("./"))
    files = [word for word in rest if word.endswith((".txt", ".whl"))]
    wheel = rf"dist/flue_bench-{re.escape(flue_bench.__version__)}-py3-none-any\.whl"
    assert all(re.fullmatch(wheel, file) or (ROOT / file).is_file() for file in files)
    return _known((sys.executable, "-m", "pip", action), rest)


def _script(file: str, *words: str) -> bool:
    """Whether there is this script or module, with these options: its own, or those of `flue-bench run`."""
    if file == "-m":
        file, words = f"{words[0].replace('.', '/')}.py", words[1:]
    text = (ROOT / file).read_text(encoding="utf-8")
    theirs = {option for parameter in _command(["run"]).params for option in parameter.opts}
    return all(f'"{word}"' in text or word in theirs for word in words if word.startswith("-"))


def ours(command: list[str]) -> list[str] | None:
    """The words after flue-bench, also behind a launcher; None for a program of others."""
    return command[command.index("flue-bench") + 1 :] if "flue-bench" in command[:8] else None


def why_not(name: str, options: dict[str, Any]) -> str:
    """Why a command is read and not carried out here; nothing if it is."""
    if options.get("self_test"):
        return "two minutes, in tests/jobs/test_selftest.py"
    if options.get("report_to"):
        return "a tracker, in tests/distill/training"
    return ""


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", READ, ids=where)
def test_every_block_is_of_a_kind_that_is_checked(block: Block, tmp_path: Path) -> None:
    assert block.language in LANGUAGES, f"{where(block)}: ```{block.language} is nothing that this test checks"
    if block.language == "python":
        compile(block.text, where(block), "exec")
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "sh":
        checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0 and not checked.stderr, checked.stderr
        found = list(commands(block.text))
        assert found
        for command in found:
            words = ours(command)
            if words is not None:
                parsed(words)
            else:
                assert command[0] in OTHERS, f"{where(block)}: {command[0]} is nothing that this test knows"
                assert OTHERS[command[0]](command[1:]), f"{where(block)}: {' '.join(command)}"


INLINE = sorted(
    {
        (page, " ".join(code.split()))
        for page in PAGES
        for code in re.findall(
            r"(?<!`)`([^`]+)`", re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.S)
        )
    }
)


@pytest.mark.parametrize(("page", "code"), [each for each in INLINE if each[1].startswith("flue-bench ")])
def test_commands_in_the_text_have_options_that_exist(page: str, code: str) -> None:
    """Of commands that are only spoken of, every word that begins with a dash."""
    (words,) = commands(code.replace("…", " "))
    name = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
    for size in range(len(name), 0, -1):
        try:
            said = [parameter for parameter in _command(name[:size]).params]
            break
        except KeyError:
            continue
    else:
        assert words[1:] in ([], ["COMMAND", "--help"]), code
        return
    known = {option for parameter in said for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)} <= known, code


OF_PYTHON = {"board": "boards.board.Board", "results": "results.runs.Results"}
"""What a variable of the text holds."""


def meant(name: str) -> Any:
    """What a dotted name of the text stands for.

    Raises:
        AttributeError: nothing.
        ImportError: nothing.
    """
    first, _, rest = name.partition(".")
    if first in OF_PYTHON:
        name = f"flue_bench.{OF_PYTHON[first]}.{rest}"
    return pkgutil.resolve_name(name if name.startswith("flue_") else f"flue_bench.{name}")


@pytest.mark.parametrize(
    ("page", "code"),
    [
        each
        for each in INLINE
        if re.match(rf"(\w+ = )?(flue_bench|flue_distill|{'|'.join(OF_PYTHON)})\.\w[\w.]*(\(.*\))?$", each[1])
        or (each[1].partition("(")[0] in flue_bench.__all__ and each[1].endswith(")"))
    ],
)
def test_python_in_the_text_names_what_is_there(page: str, code: str) -> None:
    """Functions, methods and their arguments; the names of groups of entry points are taken from pyproject.toml."""
    if code in PROJECT["entry-points"]:
        return
    called = [node for node in ast.walk(ast.parse(code.replace("…", "*_"))) if isinstance(node, ast.Call)]
    for call in called:
        known = inspect.signature(meant(ast.unparse(call.func))).parameters
        assert {word.arg for word in call.keywords} <= set(known), code
    assert called or meant(code) is not None


COMMANDS = ["run", "score", "fetch", "leaderboard", "compare", "verify", "card", "speed", "doctor", "corpus", "distill"]
COMMANDS += ["tasks", "tasks show", "tasks check", "tasks audit"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_names_what_is_there(name: str) -> None:
    said = _command(name.split()).help
    examples = re.findall(r"(?m)^    (flue-bench .*)$", said.partition("Examples:\n")[2])
    assert 2 <= len(examples) <= 3 and any(example.startswith(f"flue-bench {name}") for example in examples)
    for example in examples:
        parsed(next(commands(example))[1:])
    (also,) = re.findall(r"See also: (.*)", said)
    pages = re.findall(r"docs/[\w/-]+\.md", also)
    assert pages and all(page in PAGES for page in pages)
    assert any(re.search(rf"\b{other}\b", also) for other in COMMANDS if other != name)


def test_every_command_is_read() -> None:
    from support.pages import program

    top = program().commands
    assert sorted([*top, *(f"tasks {name}" for name in top["tasks"].commands)]) == sorted(COMMANDS)


def _command(names: list[str]) -> Any:
    from support.pages import program

    command = program()
    for name in names:
        command = getattr(command, "commands", {})[name]
    return command


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with StandIn() as hub:
        made = World(tmp_path_factory.mktemp("world"), hub)
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_CODE)
def test_what_a_page_says_works(page: str, world: World) -> None:
    """Its commands and its Python, one after the other, in one folder."""
    folder = world.page(page)
    env = {**world.env, "SLURM_ARRAY_TASK_ID": "0", "WORK": str(folder / "work"), "DSDIR": str(folder / "mirror")}
    said = ""
    for block in blocks(page):
        if block.language == "text" and said:
            assert block.text.split() == said.split(), f"{where(block)} is not what is printed:\n{said}"
        said = ""
        if block.language == "python":
            code = re.sub(r'(?<=")[^"\s]*/[^"\s]*(?=")', lambda word: actual(word[0], folder, env), block.text)
            done, printed = world.ask(folder, code=code)
            assert done == 0, f"{where(block)}\n{printed}"
        for command in commands(block.text) if block.language == "sh" else ():
            words = ours(command)
            if words is None or command[0] in LAUNCHERS or why_not(*parsed(words)):
                continue
            given = [actual(word, folder, env) for word in words if word != "…"]
            parts = re.findall(r"--part \d+/(\d+)", " ".join(given))
            for part in range(1, int(parts[0]) + 1) if parts else (1,):
                filled = [re.sub(r"^\d+(?=/\d+$)", str(part), word) if parts else word for word in given]
                done, printed = world.ask(folder, words=filled)
                assert done == 0, f"{where(block)}: flue-bench {' '.join(filled)}\n{printed}"
                said = printed if "results/embedded" in filled else ""
