"""Parts of a run that a caller makes in Python: a task from rows in memory, own scores, a look at each epoch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import flue_bench
from flue_bench.errors import DataError, TaskFileError, UsageError

MODEL = "embedded:untrained"
SMALL: dict[str, Any] = {"overrides": {"epochs": 2}, "device": "cpu", "progress": False}
ROWS = [
    {
        "text": f"La phrase {i} dit que cela {'convient' if i % 2 else 'ne convient pas'}.",
        "label": "oui" if i % 2 else "non",
    }
    for i in range(24)
]
SENTENCES = [{"words": ["Marie", "habite", "à", f"Lyon{i}"], "tags": ["B-PER", "O", "O", "B-LOC"]} for i in range(12)]


def own(**more: Any) -> flue_bench.Task:
    """A task from rows in memory."""
    declared: dict[str, Any] = {"labels": ["non", "oui"], "metric": "f1_macro", "train": ROWS, "test": ROWS[:10]}
    return flue_bench.Task.from_examples("avis", "sentence", **declared | more)


def write(folder: Path, rows: list[dict[str, Any]], name: str, suffix: str) -> None:
    """The rows in a file."""
    file = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif suffix == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("columns", [{}, {"text": "phrase", "label": "note"}])
def test_rows_in_memory_have_the_digest_of_the_same_rows_in_a_file(
    suffix: str, columns: dict[str, str], tmp_path: Path
) -> None:
    rows = [{columns.get(name, name): value for name, value in row.items()} for row in ROWS]
    write(tmp_path, rows, "train", suffix)
    write(tmp_path, rows[:10], "test", suffix)
    named = ", ".join(f'{ours} = "{theirs}"' for ours, theirs in columns.items())
    (tmp_path / "avis.toml").write_text(
        'name = "avis"\nkind = "sentence"\nlabels = ["non", "oui"]\nmetric = "f1_macro"\n[[source]]\n'
        f'files = {{ train = "train.{suffix}", test = "test.{suffix}" }}\ncolumns = {{ {named} }}\n',
        encoding="utf-8",
    )
    in_file = flue_bench.load_data(tmp_path / "avis.toml", progress=False)
    in_memory = flue_bench.load_data(own(train=rows, test=rows[:10], columns=columns), progress=False)
    assert in_memory.splits == in_file.splits and in_memory.ref.digest == in_file.ref.digest
    assert in_memory.ref.cut == in_file.ref.cut == ("validation",)
    assert (in_memory.ref.source, in_memory.ref.files, in_memory.files) == ("memory", {}, ())


def test_tokens_too_have_the_digest_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, SENTENCES, "train", "jsonl")
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    (tmp_path / "noms.toml").write_text(
        f'name = "noms"\nkind = "tokens"\nlabels = {json.dumps(labels)}\nmetric = "entity_f1_micro"\nscheme = "IOB2"\n'
        '[[source]]\nfiles = { train = "train.jsonl", test = "train.jsonl" }\n',
        encoding="utf-8",
    )
    task = flue_bench.Task.from_examples(
        "noms", "tokens", labels=labels, metric="entity_f1_micro", scheme="IOB2", train=SENTENCES, test=SENTENCES
    )
    in_file = flue_bench.load_data(tmp_path / "noms.toml", progress=False)
    assert flue_bench.load_data(task, progress=False).ref.digest == in_file.ref.digest


def test_other_rows_have_another_digest() -> None:
    digest = flue_bench.load_data(own(), progress=False).ref.digest
    changed = [*ROWS[:-1], ROWS[-1] | {"label": "non"}]
    assert flue_bench.load_data(own(train=changed), progress=False).ref.digest != digest
    assert flue_bench.load_data(own(train=(row for row in ROWS)), progress=False).ref.digest == digest


def test_data_that_lie_elsewhere_do_not_replace_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "avis").mkdir()
    write(tmp_path / "avis", ROWS[:4], "train", "csv")
    monkeypatch.setenv("FLUE_BENCH_DATA", str(tmp_path))
    assert flue_bench.load_data(own(), progress=False).ref.source == "memory"


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"train": []}, TaskFileError, "task avis: .*'rows' needs at least 'train'"),
        ({"kind_of": 1}, TaskFileError, "task avis: field 'kind_of'"),
        ({"labels": ["non", "non"]}, TaskFileError, "holds a label twice|'labels'"),
        ({"metric": "f1_makro"}, TaskFileError, "task avis: metric: .*f1_macro"),
        ({"labels": ["a", "b"]}, DataError, "Task 'avis', row 0 of train: .*unknown label 'non'|row 0 of train"),
        ({"train": [{"texte": "ça", "label": "oui"}]}, DataError, "row 0 of train: has no text; it has texte, label"),
        (
            {"train": [{"text": 3, "label": "oui"}]},
            DataError,
            "row 0 of train: .*holds 3, which is not? ?a? ?text|no text",
        ),
        ({"test": []}, DataError, "no test split"),
        ({"train_from": "mini-cls"}, TaskFileError, "only 'test', since 'train_from' says"),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        flue_bench.load_data(own(**more), progress=False)


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match="takes a name of"):
        taken = flue_bench.Task.from_examples(
            "xnli", "sentence", labels=["non", "oui"], metric="f1_macro", train=ROWS, test=ROWS
        )
        flue_bench.load_data(taken, progress=False)
    with pytest.raises(TaskFileError, match="'avis' is taken twice"):
        flue_bench.run(MODEL, [own(), own(test=ROWS)], results=tmp_path, **SMALL)


@pytest.mark.slow
def test_a_task_in_memory_is_run_and_verified(tmp_path: Path) -> None:
    record = flue_bench.run(MODEL, own(), results=tmp_path, **SMALL).records[0]
    assert record.predictions().num_rows == 10 and record.data.source == "memory"
    (checked,) = flue_bench.verify_records(tmp_path, rerun=True, tasks=own(), device="cpu", progress=False)
    assert checked.ok and checked.rerun == "rerun: same bits: identical to the byte"
    (other,) = flue_bench.verify_records(tmp_path, rerun=True, tasks=own(test=ROWS[:9]), device="cpu", progress=False)
    assert (not other.ok and "the data of avis are others" in other.faults[0]) or "digest" in other.faults[0]


@pytest.mark.slow
def test_own_scores_are_recorded_by_name(tmp_path: Path) -> None:
    plain = flue_bench.run(MODEL, own(), results=tmp_path, **SMALL).records[0]
    assert plain.own_scores == {} and "own_scores" not in plain.model_dump_json()

    def wrong(table: pyarrow.Table) -> int:
        pairs = zip(table["gold"].to_pylist(), table["predicted"].to_pylist(), strict=True)
        return sum(gold != predicted for gold, predicted in pairs)

    results = flue_bench.run(MODEL, own(), results=tmp_path, metrics={"wrong": wrong}, **SMALL)
    assert results.reused == 1  # nothing is trained again for it
    record = results.records[0]
    assert record.own_scores == {"wrong": round((1 - record.scores["accuracy"]) * 10)}
    assert record.model_copy(update={"own_scores": {}}) == plain  # and nothing else changes
    assert flue_bench.read_results(tmp_path).records == [record]
    assert flue_bench.read_results(tmp_path).to_arrow()["own_scores.wrong"].to_pylist() == [record.own_scores["wrong"]]
    assert flue_bench.verify_records(tmp_path, progress=False)[0].ok
    again = flue_bench.run(MODEL, own(), results=tmp_path, metrics={"wrong": lambda _: 1 / 0}, **SMALL)
    assert again.records == [record]  # it has that score
    for metrics, error in (
        ({"infinite": lambda _: float("inf")}, UsageError),
        ({"broken": lambda _: 1 / 0}, ZeroDivisionError),
    ):
        with pytest.raises(error):
            flue_bench.run(MODEL, own(), results=tmp_path, metrics=metrics, **SMALL)
    assert flue_bench.read_results(tmp_path).records == [record]


@pytest.mark.slow
def test_each_epoch_is_told_and_may_end_the_run(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    whole = flue_bench.run(
        MODEL, own(), seeds=2, results=tmp_path / "whole", **SMALL,
        on_epoch=lambda cell, epoch: seen.append((cell.seed, epoch.epoch)),
    )  # fmt: skip
    assert seen == [(0, 1), (0, 2), (1, 1), (1, 2)]

    class Enough(Exception):
        pass

    for error in (Enough(), KeyboardInterrupt()):
        folder = tmp_path / type(error).__name__

        def stop(cell: Any, epoch: Any, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            flue_bench.run(MODEL, own(), results=folder, on_epoch=stop, **SMALL)
        assert not list(folder.glob("runs/*/*/*.json"))  # neither a record nor a failure
        after: list[int] = []
        resumed = flue_bench.run(
            MODEL, own(), results=folder, on_epoch=lambda _, epoch, after=after: after.append(epoch.epoch), **SMALL
        )
        assert after == [2] and resumed.records[0].cost.resumed == 1
        assert resumed.records[0].predictions.sha256 == whole.records[0].predictions.sha256
