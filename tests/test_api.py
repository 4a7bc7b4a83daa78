"""The front door for Python: a small surface, loaded when it is used, that does what the commands do."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import flue_bench
from flue_bench.errors import IncompleteError, UnknownNameError, UsageError
from flue_bench.record import RunRecord
from support import process
from support.boards import teacher_and_student
from support.command_line import done
from support.command_line import flue_bench as command
from support.factories import make_failure
from support.tiny import tiny

MODEL = "embedded:untrained"
SMALL: dict[str, Any] = {"limit": 16, "overrides": {"epochs": 1}, "device": "cpu", "progress": False}
HEAVY = ("torch", "transformers", "evaluate", "datasets", "pydantic", "pyarrow", "pandas", "numpy", "rich", "typer")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two models on three tasks."""
    folder = tmp_path_factory.mktemp("results")
    teacher_and_student(folder)
    return folder


def fine_tuned(made: Path) -> Path:
    """A checkpoint with a head of its own."""
    folder = made / "fine-tuned"
    if not folder.is_dir():
        names = {"id2label": {0: "POS", 1: "NEG"}, "label2id": {"POS": 0, "NEG": 1}}
        tiny("camembert", folder, auto=transformers.AutoModelForSequenceClassification, **names)
    return folder


def calls(folder: Path, made: Path) -> dict[str, Callable[[], object]]:
    """A call of each public function: of ``folder``, which holds a board, and of ``made``, where runs write."""
    return {
        "build_board": lambda: flue_bench.build_board(folder),
        "compare": lambda: flue_bench.compare("org/eleve", "org/maitre", folder),
        "compare_rows": lambda: flue_bench.compare_rows("org/eleve", "org/maitre", folder),
        "get_task": lambda: flue_bench.get_task("mini-cls"),
        "list_tasks": lambda: flue_bench.list_tasks("mini"),
        "load_data": lambda: flue_bench.load_data("mini-cls", progress=False),
        "measure_speed": lambda: flue_bench.measure_speed(MODEL, device="cpu", results=made, progress=False),
        "read_results": lambda: flue_bench.read_results(folder),
        "run": lambda: flue_bench.run(MODEL, "mini-cls", results=made, **SMALL),
        "score": lambda: flue_bench.score(
            fine_tuned(made), "mini-cls", limit=16, device="cpu", results=made / "scored", progress=False
        ),
        "verify_records": lambda: flue_bench.verify_records(made, progress=False),
    }


def test_the_surface_is_sorted_and_all_there() -> None:
    assert flue_bench.__all__ == sorted(flue_bench.__all__)
    assert set(flue_bench.__all__) <= set(dir(flue_bench))
    for name in flue_bench.__all__:
        assert getattr(flue_bench, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'evaluate'"):
        flue_bench.evaluate  # type: ignore[attr-defined]  # noqa: B018


def test_functions_and_their_calls_are_the_same_set() -> None:
    functions = {name for name in flue_bench.__all__ if isinstance(getattr(flue_bench, name), types.FunctionType)}
    assert functions == set(calls(Path(), Path()))


def test_importing_loads_nothing_heavy() -> None:
    program = f"import flue_bench, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == ""


def test_tasks_and_boards_load_no_torch(results: Path) -> None:
    program = (
        "import flue_bench, sys\n"
        "flue_bench.list_tasks(), flue_bench.get_task('xnli')\n"
        f"flue_bench.build_board({str(results)!r}), flue_bench.compare('org/eleve', 'org/maitre', {str(results)!r})\n"
        "print('torch' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.slow
def test_no_function_is_hidden_by_a_module_and_each_can_be_called_twice(results: Path, tmp_path: Path) -> None:
    for package in (flue_bench,):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in calls(results, tmp_path):
        assert isinstance(getattr(flue_bench, name), types.FunctionType), name
    order = ["run", *(name for name in calls(results, tmp_path) if name != "run")]
    for name in order:
        once, again = calls(results, tmp_path)[name](), calls(results, tmp_path)[name]()
        assert type(once) is type(again), name


@pytest.mark.slow
def test_the_process_is_left_as_it_was(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mallopt`` has no getter, so that what counts is who asks for it: the command does."""
    asked: list[str] = []
    monkeypatch.setattr("flue_bench.memory.keep_freed_memory", lambda: asked.append("memory"))
    every = calls(results, tmp_path)
    fine_tuned(tmp_path)  # which draws random weights
    every["rerun"] = lambda: flue_bench.verify_records(tmp_path, rerun=True, device="cpu", progress=False)
    for name in sorted(every, key=lambda name: name != "run"):
        torch.manual_seed(7)
        before = process.state()
        every[name]()
        assert not process.changes(before), name
    assert not asked
    assert done("verify", tmp_path, "--rerun", "--device", "cpu") and asked


@pytest.mark.slow
def test_the_command_and_the_function_make_the_same_record(tmp_path: Path) -> None:
    words = ("--limit", "16", "--set", "epochs=1", "--set", "learning_rate=1e-4", "--device", "cpu", "--seeds", "2")
    done("run", "-m", MODEL, "-t", "mini-cls", *words, "--results", tmp_path / "command")
    made = flue_bench.run(
        MODEL,
        flue_bench.get_task("mini-cls"),
        seeds=2,
        results=tmp_path / "function",
        **SMALL | {"overrides": {"epochs": 1, "learning_rate": 1e-4}},
    )
    by_command = flue_bench.read_results(tmp_path / "command")
    assert len(made) == len(by_command) == 2
    for ours, theirs in zip(made, by_command, strict=True):
        assert _without_time(ours) == _without_time(theirs)
        assert ours.recipe_name == "standard epochs=1 learning_rate=0.0001"
    assert made.records == flue_bench.read_results(tmp_path / "function").records


def _without_time(record: RunRecord) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record.model_dump_json())
    del content["created"]
    timed = ("seconds", "per_second", "peak_memory_bytes")
    content["cost"] = {name: value for name, value in content["cost"].items() if not name.endswith(timed)}
    return content


@pytest.mark.slow
def test_a_failed_cell_is_an_error_that_holds_the_rest(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    absent.write_text(
        'name = "absent"\nkind = "sentence"\nlabels = ["a", "b"]\nmetric = "f1_macro"\n'
        '[[source]]\nfiles = { train = "train.csv", validation = "train.csv", test = "train.csv" }\n',
        encoding="utf-8",
    )
    with pytest.raises(IncompleteError, match=r"The run is incomplete: 1 done, 1 not\.\nabsent: ") as caught:
        flue_bench.run(MODEL, ["mini-cls", absent], results=tmp_path, **SMALL)
    assert len(caught.value.results) == 1 and len(caught.value.results.unloaded) == 1
    again = flue_bench.run(MODEL, "mini-cls", results=tmp_path, **SMALL)
    assert again.reused == 1


def test_what_is_asked_for_is_checked_before_torch_is_needed(tmp_path: Path) -> None:
    for asked, message in (
        ({"tasks": "mini-clss"}, "Did you mean mini-cls"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [-1]}, "from 0 to"),
        ({"seeds": 0}, "at least one"),
        ({"limit": 0}, "at least 1 example"),
    ):
        with pytest.raises(UsageError, match=message):
            flue_bench.run(**{"models": MODEL, "tasks": "mini-cls", "results": tmp_path, "progress": False} | asked)
    with pytest.raises(UnknownNameError, match="Known: distilled, pretrained, trained"):
        flue_bench.compare("a", "b", tmp_path, question="both")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="mini is a group: name one of mini-cls"):
        flue_bench.get_task("mini")
    with pytest.raises(UsageError, match=r"No records in .*absent: there is no such folder"):
        flue_bench.read_results(tmp_path / "absent")


def test_a_task_file_is_found_from_anywhere(tmp_path: Path) -> None:
    """A task that was loaded from a file knows where its data lie."""
    (tmp_path / "avis.toml").write_text(
        'name = "avis"\nkind = "sentence"\nlabels = ["non", "oui"]\nmetric = "f1_macro"\n'
        '[[source]]\nfiles = { train = "a.csv", validation = "a.csv", test = "a.csv" }\n',
        encoding="utf-8",
    )
    (tmp_path / "a.csv").write_text("text,label\nça va,oui\nça ne va pas,non\n", encoding="utf-8")
    task = flue_bench.get_task(tmp_path / "avis.toml")
    assert flue_bench.load_data(task, progress=False).ref.rows["train"] == 2
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(tmp_path / "avis.toml", moved)
    assert flue_bench.load_data(task, progress=False).ref.rows["test"] == 2


def test_environment_names_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_DATA", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="absent: no such folder"):
        flue_bench.load_data("mini-cls", progress=False)


def test_board_and_comparison_are_those_of_the_commands(results: Path) -> None:
    from flue_bench.boards import render

    assert render.FORMATS["json"](flue_bench.build_board(results)) == done(
        "leaderboard", "--results", results, "-f", "json"
    )
    for question in ("pretrained", "trained"):
        words = ("compare", "org/eleve", "org/maitre", "--results", results, "--question", question)
        answer = flue_bench.compare("org/eleve", "org/maitre", results, question=question)  # type: ignore[arg-type]
        assert answer.to_json() == done(*words, "-f", "json")
        assert answer.to_markdown() == answer._repr_markdown_() == done(*words, "-f", "markdown")
        assert ("A: org/eleve" in str(answer) and "keeps at least 97 %" in str(answer)) or "97 %" in str(answer)


def test_damaged_files_and_failures_are_read_too(tmp_path: Path) -> None:
    store = teacher_and_student(tmp_path, seeds=1)
    store.write_failure(make_failure(model="org/maitre", task="xnli", seed=9))
    (tmp_path / "runs" / "org--maitre" / "xnli" / "broken.json").write_text("{", encoding="utf-8")
    read = flue_bench.read_results([tmp_path])
    assert len(read) == len(list(read)) == 6 and len(read.failures) == len(read.damaged) == 1
    assert repr(read).startswith("<Results: 6 records, 1 failure, 1 damaged, 2 speeds in ")
    assert command("verify", tmp_path).code == 1
