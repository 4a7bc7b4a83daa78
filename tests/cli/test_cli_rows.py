"""``flue-bench compare --rows``: what is shown of the examples on which two models disagree, and where."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import flue_bench
from flue_bench.data import registry, sources
from flue_bench.kinds.sentence import SENTENCE
from support import command_line
from support.bad_files import SENTENCE as TASK
from support.bad_files import put
from support.command_line import done
from support.judged import keep, seeds

TEXT = "La \x1b[31mmaison\x1b[0m est belle"
"""A text of a data set that would colour the terminal."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for model, accuracies in {"org/a": [0.9, 0.92], "org/b": [0.6, 0.62]}.items():
        for task in ("xnli", "paws-x"):
            seeds(root, model, accuracies, task=task, examples=100)
    return root


def test_what_it_lists(results: Path) -> None:
    said = done("compare", "org/a", "org/b", "--rows", "--limit", "2", "--results", results)
    found = flue_bench.compare_rows("org/a", "org/b", results)
    for on in found.tasks:
        assert f"{on.task}: they disagree on {on.disagreed} of 100 examples" in " ".join(said.split())
        assert f"A is nearer to gold: 2 of {on.always['A'] + on.sometimes['A']}, the surest first" in said
        assert on.listed[0].id in said and len(on.listed) == on.disagreed > 20
    assert said.count("test-") <= 2 * 3 * 2


def test_files_hold_all_of_them(results: Path, tmp_path: Path) -> None:
    found = flue_bench.compare_rows("org/a", "org/b", results, tasks="xnli")
    (on,) = found.tasks
    out = tmp_path / "rows"
    for form in ("csv", "json", "jsonl"):
        words = (
            "compare",
            "org/a",
            "org/b",
            "--rows",
            "--task",
            "xnli",
            "-f",
            form,
            "--out",
            out,
            "--results",
            results,
        )
        done(*words)
        text = out.read_text(encoding="utf-8")
        if form == "csv":
            lines = list(csv.DictReader(io.StringIO(text)))
        elif form == "jsonl":
            lines = [json.loads(line) for line in text.splitlines()]
        else:
            (task,) = json.loads(text)["tasks"]
            lines = task["listed"]
            assert task["examples"] == 100 and task["disagreed"] == on.disagreed and task["always"] == on.always
            assert [run["seed"] for run in task["runs_a"]] == [0, 1]
        assert [line["id"] for line in lines] == [each.id for each in on.listed]
    assert found.to_arrow()["id"].to_pylist() == [each.id for each in on.listed]


@pytest.mark.parametrize(
    ("words", "message", "instead"),
    [
        ("--limit 3", "--limit says how many examples are listed: it needs --rows.", "--limit 3 --rows"),
        ("-f csv", "--format csv lists examples: it needs --rows.", "-f csv --rows"),
        ("-f markdown --rows", "does not list examples: take terminal, json, csv or jsonl.", "-f jsonl --rows"),
        ("--margin 3% --rows", "--margin is of the test of a difference: leave it or --rows out.", "--margin 3%"),
        ("--margin 3% --rows", "--margin is of the test of a difference: leave it or --rows out.", "--rows"),
        ("--seed 0 --rows", "--seed needs --question trained", "--seed 0 --rows --question trained"),
        ("--task sst --rows", "Unknown task 'sst'. Known: paws-x, xnli.", "--task xnli --rows"),
    ],
)
def test_what_does_not_go_together_is_told(words: str, message: str, instead: str, results: Path) -> None:
    assert message in command_line.refused("compare", "org/a", "org/b", *words.split(), "--results", results)
    assert done("compare", "org/a", "org/b", *instead.split(), "--results", results)


def test_two_fine_tuned_models_are_those_of_one_seed(results: Path) -> None:
    found = flue_bench.compare_rows("org/a", "org/b", results, question="trained", seed=1)
    assert all([run.seed for run in on.runs_a] == [run.seed for run in on.runs_b] == [1] for on in found.tasks)


def test_without_predictions_there_is_nothing_to_list(tmp_path: Path) -> None:
    root = tmp_path / "results"
    for model in ("org/a", "org/b"):
        seeds(root, model, [0.9], task="xnli", examples=100)
    for file in root.rglob("*.parquet"):
        file.unlink()
    said = command_line.flue_bench("compare", "org/a", "org/b", "--rows", "--results", root)
    assert said.code == 2 and "Traceback" not in said.err


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A task of the user's own, whose texts would control the terminal, and two models' records on it."""
    task = put(tmp_path, TASK, "d.tsv", b"")
    lines = ["text\tlabel"] + [f"{TEXT}, {i}\t{('non', 'oui')[i % 2]}" for i in range(60)]
    (tmp_path / "d.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (registered,) = registry.select([task])
    data = sources.load(registered)
    examples = data.splits["test"]
    gold = [example.label for example in examples]
    for model, wrong in (("org/a", 5), ("org/b", 3)):
        columns = {
            "id": [example.id for example in examples],
            "group": [SENTENCE.cluster(example) for example in examples],
            "gold": gold,
            "predicted": [label if i % wrong else 1 - label for i, label in enumerate(gold)],
        }
        of_task = registered.task
        keep(
            tmp_path / "results", columns, model=model, task=of_task.name, task_version=of_task.version,
            data=data.ref.digest, kind="sentence", labels=of_task.labels, metric=of_task.metric,
        )  # fmt: skip
    return task, tmp_path / "results"


def in_terminal(*words: str | Path) -> str:
    """What a command shows in a terminal of its own."""
    shown = bytearray()
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", command_line.PROGRAM, *map(str, words)]
    process = subprocess.Popen(program, stdout=theirs, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "160"})
    os.close(theirs)
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode()


@pytest.mark.slow
def test_texts_are_shown_in_a_terminal_alone(own: tuple[Path, Path], tmp_path: Path) -> None:
    task, root = own
    words: list[str | Path] = ["compare", "org/a", "org/b", "--rows", "--task", task, "--results", root]
    shown = in_terminal(*words, "--question", "trained")
    assert r"La \x1b[31mmaison\x1b[0m est belle" in shown and TEXT not in shown
    for form in ("terminal", "json", "csv", "jsonl"):
        for out in ([], ["--out", tmp_path / f"rows.{form}"]):
            said = done(*words, "--question", "trained", "-f", form, *out)
            assert "maison" not in said
    assert all("maison" not in file.read_text() for file in tmp_path.glob("rows.*"))
    said_of_it = command_line.flue_bench(*words, "--question", "trained").err
    assert "Texts of your data are shown in a terminal alone." in said_of_it
    assert "maison" not in str(flue_bench.compare_rows("org/a", "org/b", root, question="trained"))


@pytest.mark.slow
def test_without_the_same_data_it_says_why(own: tuple[Path, Path]) -> None:
    task, root = own
    words: list[str | Path] = ["compare", "org/a", "org/b", "--rows", "--question", "trained", "--results", root]
    assert "Without texts: no task" in in_terminal(*words)
    file = task.parent / "d.tsv"
    file.write_text(file.read_text(encoding="utf-8").replace("belle", "haute", 1), encoding="utf-8")
    shown = in_terminal(*words, "--task", task)
    assert "Without texts: the data here" in shown and "maison" not in shown and "test-" in shown
    file.unlink()
    assert "Without texts: its data are not here." in in_terminal(*words, "--task", task)
