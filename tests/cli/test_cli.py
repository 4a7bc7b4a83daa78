"""The door: its plugins, its help, its way to say what went wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text

from flue_bench import cli, plugins
from support.command_line import done, refused


def plug(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name, value, plugins.COMMANDS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == plugins.COMMANDS else [])


def test_a_plugin_brings_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "ici", "os:getcwd")
    assert "ici" in done("--help")


def test_a_plugin_cannot_take_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "run", "os:getcwd")
    assert "adds a command 'run'" in refused("--help")


def test_a_broken_plugin_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "casse", "no_such_module:run")
    said = refused("tasks")
    assert "casse = no_such_module:run" in said and "ModuleNotFoundError" in said


COMMANDS = (
    "run",
    "score",
    "fetch",
    "leaderboard",
    "compare",
    "verify",
    "card",
    "speed",
    "doctor",
    "corpus",
    "distill",
    "tasks",
)


@pytest.mark.parametrize("command", ["", *COMMANDS, "tasks show", "tasks check", "tasks audit"])
def test_every_command_has_help(command: str) -> None:
    shown = done(*command.split(), "--help")
    assert f"flue-bench {command}".strip() in shown and "Usage" in shown
    (pages,) = re.findall(r"Pages named docs/… are in (.+)\.", shown)
    assert (Path(pages) / "get-started.md").is_file()


def test_no_help_text_loses_words_in_brackets() -> None:
    """Square brackets in a help text are markup to Rich, and what they hold is not shown."""
    cli.add_plugins()
    seen = 0
    waiting: list[Any] = [typer.main.get_command(cli.app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for text in (command.help, *(getattr(each, "help", None) for each in command.params)):
            assert Text.from_markup(text or "").plain == (text or ""), text
            seen += bool(text)
    assert seen > 80


def test_python_m_is_a_door_too() -> None:
    said = subprocess.run([sys.executable, "-m", "flue_bench", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("flue-bench ")


@pytest.mark.parametrize("endpoint", ["", "http://[::", "huggingface.co"])
def test_an_endpoint_that_is_no_address_is_told(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "HF_ENDPOINT is" in refused("tasks")
