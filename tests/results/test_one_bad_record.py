"""One bad record ends no board: it, or what cannot be computed from it, is left out and named; the rest is shown."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import flue_bench
from flue_bench.boards.rules import build
from flue_bench.files import sha256
from flue_bench.record import Cell
from flue_bench.results.store import Store
from support.boards import teacher_and_student
from support.command_line import Said
from support.command_line import flue_bench as command
from support.factories import make_record
from support.forging import Columns, Fields, forge

FORMATS = ("terminal", "markdown", "html", "latex", "json", "csv")
COMMANDS = (
    *(("leaderboard", "--format", each) for each in FORMATS),
    ("compare", "org/maitre", "org/eleve"),
    ("compare", "org/maitre", "org/eleve", "--format", "json"),
    ("card", "--model", "org/maitre"),
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two good models, to be shown whatever stands beside them."""
    teacher_and_student(tmp_path / "results", seeds=2)
    return tmp_path / "results"


def record_of(results: Path, folder: str = "runs/org--eleve/xnli") -> Path:
    return min(file for file in results.glob(f"{folder}/*.json"))


def edit(file: Path, **changes: Any) -> None:
    """Change fields of a record by their dotted keys, ``__`` for a dot; the digests follow."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *above, last = key.split("__")
        inner = content
        for each in above:
            inner = inner[each]
        inner[last] = value
    if "cell" in content:
        try:
            cell = Cell.model_validate(content["cell"])
        except ValueError:
            pass
        else:
            content |= {"cell_digest": cell.digest, "setting_digest": cell.setting_digest}
    file.write_text(json.dumps(content), encoding="utf-8")


def said_of(*words: str | Path) -> Said:
    said = command(*words)
    assert "Traceback" not in said.err and said.code in (0, 1, 2), said
    return said


def shown(results: Path) -> str:
    """The board as JSON, after every command has been tried, and each has shown the teacher."""
    for words in COMMANDS:
        said = said_of(*words, "--results", results)
        assert said.code == 0 and "maitre" in said.out, (words, said.err)
    said_of("verify", results)
    return said_of("leaderboard", "--format", "json", "--results", results).out


HUGE = 10**400
BAD_FIELDS: dict[str, Any] = {
    "cost__parameters": [HUGE, 0, -1, 1.5],
    "cost__seconds": [float("inf"), float("nan"), -1, 1e308],
    "cost__flops_per_example": [float("inf"), 1e300],
    "cell__limit": [0, -1, HUGE],
    "cell__seed": [HUGE, -1],
    "cell__protocol": [HUGE, 0],
    "cell__task_version": [HUGE],
    "cell__model__weights_bytes": [HUGE, -1],
    "cell__model__name": ["a" * 100_001],
    "cell__recipe__epochs": [10**12, "auto"],
    "cell__recipe__precision": ["auto"],
    "cell__recipe__learning_rate": [float("inf")],
    "data__rows": [{"train": HUGE, "validation": 1, "test": 1}],
    "scores": [{"f1_macro": 2}, {"f1_macro": float("nan")}, {"invented": 0.5}, {"f1_macro": 0.5, "invented": 0.9}],
    "metric": ["invented"],
    "recipe_name": ["", " ", "\n\t", "\x1c", "\u2003\u3000", None],
    "measures": [{"mse": 1e200}, {"invented": 1.0}],
    "labels": [[str(i) for i in range(40_000)], ["9" * 5000, "b"]],
    "options": [
        {"a": "\ud800"},
        {"a": {"\ud800": 1}},
        json.loads("[" * 500 + "]" * 500),
        {"a": json.loads("[" * 500 + "]" * 500)},
    ],
    "history": [[{"epoch": 1, "step": HUGE, "train_loss": 0.1, "scores": {}}]],
    "per_class": [{"class": {"a": {"precision": 1e308, "recall": 0, "f1": 0, "support": 1}}}],
    "created": ["9999-99-99T00:00:00Z", "10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "demain", "2025-01-01", ""],
    "environment__threads": [0, HUGE],
    "predictions__file": ["../x.parquet", "a\x00b", ""],
    "predictions__rows": [HUGE, -1],
    "column_members": [[f"t{i}" for i in range(2000)]],
}


@pytest.mark.parametrize(
    ("field", "number"), [(field, i) for field, values in BAD_FIELDS.items() for i in range(len(values))]
)
def test_a_record_with_a_bad_field_is_left_out_and_named(results: Path, field: str, number: int) -> None:
    file = record_of(results)
    edit(file, **{field: BAD_FIELDS[field][number]})
    (left_out,) = Store(results).read().damaged
    assert left_out.path == file.relative_to(results)
    assert len(left_out.reason) < 1000
    board = said_of("leaderboard", "--format", "json", "--results", results)
    assert board.code == 0 and "maitre" in board.out
    assert file.name in [Path(note["what"]).name for note in json.loads(board.out)["left_out"]]
    read = flue_bench.read_results(results)
    assert read.to_arrow().num_rows == len(read) > 0


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), 1e-320, 1e308, HUGE])
@pytest.mark.parametrize("field", ["examples_per_second", "tokens_per_second", "latency_ms_median", "parameters"])
def test_a_speed_that_cannot_be_is_left_out(results: Path, field: str, value: Any) -> None:
    file = next(results.glob("speed/*/*.json"))
    edit(file, **{field: value})
    board = said_of("leaderboard", "--format", "html", "--results", results)
    assert board.code == 0 and file.name in board.out and "nan" not in board.out


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        "1" * 5000,
        '{"schema_version": ' + "9" * 5000 + "}",
        '{"schema_version": ' + "9" * 4000 + "}",
        "NaN",
        "null",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        '{"\\ud800": 1}',
        "",
        "\x00" * 100,
        json.dumps({"é" * 50_000: 1}),
    ],
    ids=str.__len__,
)
def test_a_file_that_is_no_record_is_left_out(results: Path, text: str) -> None:
    record_of(results).write_text(text, encoding="utf-8")
    assert record_of(results).name in shown(results)
    assert all(len(damaged.reason) < 1000 for damaged in Store(results).read().damaged)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [("runs/org--eleve/xnli/*.json", '"f1_macro":'), ("speed/org--eleve/*.json", '"tokens_per_second":')],
)
def test_a_key_that_stands_twice(pattern: str, key: str, results: Path) -> None:
    """One reader takes the first value and another the last: neither is what everybody reads there."""
    file = min(results.glob(pattern))
    text = file.read_text(encoding="utf-8")
    assert key in text
    file.write_text(text.replace(key, f"{key} 0.99, {key}", 1), encoding="utf-8")
    (left_out,) = Store(results).read().damaged
    assert left_out.reason == f"the key '{key[1:-2]}' stands twice in one object."
    assert file.name in shown(results)
    if "runs" in pattern:
        said = said_of("verify", file)
        assert said.code == 1 and "stands twice" in said.out


def rewritten(change: Callable[[pyarrow.Table], pyarrow.Table | bytes], results: Path) -> None:
    """Replace a record's predictions by others that it names as its own."""
    file = record_of(results)
    content = json.loads(file.read_text(encoding="utf-8"))
    path = file.with_name(content["predictions"]["file"])
    made = change(pyarrow.parquet.read_table(path))
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        pyarrow.parquet.write_table(made, path)
    edit(file, predictions__sha256=sha256(path))


def column(name: str, values: Callable[[int], Any]) -> Callable[[pyarrow.Table], pyarrow.Table]:
    def change(table: pyarrow.Table) -> pyarrow.Table:
        made = pyarrow.array([values(i) for i in range(len(table))])
        return table.set_column(table.column_names.index(name), name, made)

    return change


@pytest.mark.parametrize(
    "change",
    [
        column("gold", lambda i: 40_000),
        column("gold", lambda i: -1),
        column("gold", lambda i: None),
        column("gold", lambda i: "un"),
        column("gold", lambda i: [i]),
        column("gold", lambda i: 2**62),
        column("predicted", lambda i: 0.5),
        column("group", lambda i: None),
        column("group", lambda i: {"a": i}),
        column("group", lambda i: "g"),
        column("id", lambda i: None),
        column("id", lambda i: [i]),
        column("id", lambda i: "a"),
        lambda table: table.slice(0, 0),
        lambda table: table.slice(0, 1),
        lambda table: table.drop_columns(["gold"]),
        lambda table: b"PAR1",
        lambda table: b"",
    ],
)
def test_predictions_that_cannot_be_scored_cost_no_more_than_their_record(
    results: Path, change: Callable[[pyarrow.Table], Any]
) -> None:
    rewritten(change, results)
    for words in (COMMANDS[2], *COMMANDS[-2:]):
        said = said_of(*words, "--results", results)
        assert said.code == 0 and "maitre" in said.out, (words, said.err)
        assert f"Left out: {record_of(results)}: " in said.err
    verified = said_of("verify", results)
    assert verified.code == 1 and "1 not" in verified.out


def test_a_failure_of_any_kind_costs_one_note(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise failure

    for failure in (MemoryError(), ZeroDivisionError("x"), RecursionError(), pyarrow.ArrowInvalid("y"), KeyError("z")):
        monkeypatch.setattr("flue_bench.kinds.sentence.Sentence.counts", fails)
        board = said_of("leaderboard", "--format", "json", "--results", results)
        assert (board.code == 0 and type(failure).__name__ in board.out) or "y" in board.out


def test_a_kind_that_is_not_installed_costs_its_part_of_the_card(results: Path) -> None:
    edit(record_of(results, "runs/org--maitre/xnli"), kind="inconnu", metric="f1_macro")
    for file in results.glob("runs/org--maitre/xnli/*.json"):
        edit(file, kind="inconnu")
    said = said_of("card", "--model", "org/maitre", "--results", results)
    assert said.code == 0 and "paws-x" in said.out and "xnli" not in said.out and "inconnu" in said.err


def test_variants_of_many_tasks_make_no_flood_of_columns(tmp_path: Path) -> None:
    tasks = [f"t{i}" for i in range(12)]
    many = [
        make_record("org/beaucoup", task, data=data, column="toutes", column_members=tasks)
        for task in tasks
        for data in ("a", "b")
    ]
    good = teacher_and_student(tmp_path / "results", seeds=1).records()
    board = build([*many, *good])
    assert len(board.columns) == 3 and any("4,096 ways" in note.reason for note in board.left_out)


MEMORY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from flue_bench.cli import main
sys.argv = ["flue-bench", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on memory")
def test_ten_thousand_labels_take_no_gigabytes(tmp_path: Path) -> None:
    """The matrix of 40,000 labels took 11.9 GiB; the most that a record may have are 10,000."""
    results = tmp_path / "results"
    teacher_and_student(results, seeds=2)

    def as_many(columns: Columns) -> None:
        for row in columns["probabilities"]:
            row.extend([0.0] * (10_000 - len(row)))

    def own_data(fields: Fields) -> None:
        fields["labels"] = [f"classe {i}" for i in range(10_000)]
        fields["data"]["digest"] = fields["cell"]["data"] = "f" * 16  # of which nobody else says what the labels are

    for file in list(results.glob("runs/org--eleve/xnli/*.json")):
        forge(file, own_data, as_many)
    command = ["leaderboard", "--format", "html", "--results", str(results), "--out", str(tmp_path / "board.html")]
    made = subprocess.run(
        [sys.executable, "-c", MEMORY, *command], capture_output=True, text=True, timeout=120,
        env={"PATH": "", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system",
             "FLUE_BENCH_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "a matrix is shown for up to 200" in text and "too many for an interval" in text


VALUES = (
    None, True, 0, -1, 1, 0.5, 1e308, float("inf"), float("nan"), HUGE, 2**53, 2**63, "", "x", "9" * 5000, "\x1b[31m",
    "\ud800", [], {}, [1], {"a": 1}, ["a", "b"], ["a"] * 9999, "9999-12-31T23:59:59Z", "f1_macro", "tokens", "IO",
    "../x",
)  # fmt: skip


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*at, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*at, index))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_field_holds_there_is_a_board(results: Path, seed: int) -> None:
    """Fields at random, of records and speeds; ``results`` of ten such records for each board."""
    draw = random.Random(seed)
    for _ in range(6):
        before = {}
        for file in draw.sample(sorted(results.glob("*/**/*.json")), 4):
            before[file] = file.read_text(encoding="utf-8")
            content = json.loads(before[file])
            *above, last = draw.choice(list(leaves(content)))
            inner = content
            for key in above:
                inner = inner[key]
            inner[last] = draw.choice(VALUES)
            file.write_text(json.dumps(content), encoding="utf-8")
            edit(file)
        for words in COMMANDS:
            said = said_of(*words, "--results", results)
            assert said.code == 0 or words[0] != "leaderboard", (words, said.err)
        said_of("verify", results)
        for file, text in before.items():
            file.write_text(text, encoding="utf-8")
