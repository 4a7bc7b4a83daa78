"""Forged records: none stands on a board, in a comparison or on a card, and each is named with the reason.

Most of them are consistent in themselves: scores, hashes, digests and names of files are those of what was changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flue_bench
from flue_bench.data.embedded import embedded
from flue_bench.record import PROTOCOL
from flue_bench.results import across
from flue_bench.results.store import read_predictions, read_record
from support import ROOT
from support.command_line import flue_bench as call
from support.factories import make_record
from support.forging import Columns, Fields, copied, forge

KEPT = ROOT / "results/embedded/runs"
BOOKS, MINI = "amazon-books", "mini-cls"
MODELS = ("embedded--teacher", "embedded--student", "random-weights")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Real records to forge: three models, three seeds, on a task that is not installed and on one that is."""
    for model in MODELS:
        for task in (BOOKS, MINI):
            shutil.copytree(KEPT / model / task, tmp_path / "r/runs" / model / task)
    return tmp_path / "r"


def records(root: Path, model: str = "*", task: str = BOOKS, seed: str = "*") -> list[Path]:
    return sorted(root.glob(f"runs/{model}/{task}/seed{seed}-*.json"))


def one(root: Path, model: str = "embedded--student", task: str = BOOKS, seed: int = 2) -> Path:
    (path,) = records(root, model, task, str(seed))
    return path


def of(path: Path) -> Path:
    """The predictions of a record."""
    return path.with_name(f"{path.stem}.predictions.parquet")


class Said(NamedTuple):
    """What the forger gets past, for all commands: nothing."""

    apart: list[Path]
    reason: str


def cell(**changes: Any) -> Callable[[Fields], object]:
    return lambda fields: fields["cell"].update(changes)


def model(**changes: Any) -> Callable[[Fields], object]:
    return lambda fields: fields["cell"]["model"].update(changes)


def top(**changes: Any) -> Callable[[Fields], object]:
    return lambda fields: fields.update(changes)


def set_all(path: Path, **changes: Any) -> Path:
    """Change fields and nothing else, as somebody does with an editor."""
    content = json.loads(path.read_bytes())
    for where, value in changes.items():
        *parents, last = where.split("__")
        inner = content
        for name in parents:
            inner = inner[name]
        inner[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def relabel(columns: Columns) -> None:
    """Gold as the model predicts it, in thirty rows."""
    wrong = [i for i, gold in enumerate(columns["gold"]) if gold != columns["predicted"][i]]
    for i in wrong[:30]:
        columns["gold"][i] = columns["predicted"][i]


def drop(columns: Columns) -> None:
    """Without sixty rows that the model gets wrong, or as many as there are."""
    wrong = [i for i, gold in enumerate(columns["gold"]) if gold != columns["predicted"][i]]
    for name, values in columns.items():
        columns[name] = [value for i, value in enumerate(values) if i not in set(wrong[:60])]


def ungroup(columns: Columns) -> None:
    columns["group"] = [f"g{i}" for i in range(len(columns["group"]))]


def shuffle(columns: Columns) -> None:
    """Answers as they were, under the ids of other rows."""
    columns["id"] = [*columns["id"][7:], *columns["id"][:7]]


def rename(columns: Columns) -> None:
    columns["id"] = [f"x{i}" for i in columns["id"]]


def score(root: Path) -> Said:
    return Said([set_all(one(root), scores__f1_macro=0.999)], "f1_macro is 0.999000, the predictions give")


def score_of_the_predictions_of_another(root: Path) -> Said:
    """The better model's files under the worse one's name, hash and all; its scores are left as they are."""
    path, other = one(root), one(root, "embedded--teacher")
    shutil.copy(
        other.with_name(f"{other.stem}.predictions.parquet"), path.with_name(f"{path.stem}.predictions.parquet")
    )
    return Said([path], "not the file that its record was written with")


def swapped_predictions(root: Path) -> Said:
    """Likewise, with the record naming the other's file and having its scores."""
    path, other = one(root), one(root, "embedded--teacher")
    theirs = json.loads(other.read_bytes())
    taken = {key: theirs[key] for key in ("predictions", "scores", "per_class", "collapsed")}
    shutil.copy(other.with_name(theirs["predictions"]["file"]), path.parent)
    return Said(
        [set_all(path, **taken)], f"seed2-{theirs['cell_digest']}.predictions.parquet: the record is that of seed2-"
    )


def without_predictions(root: Path) -> Said:
    path = set_all(one(root), scores__f1_macro=0.999)
    of(path).unlink()
    return Said([path], "cannot be read: No such file")


def gold(root: Path) -> Said:
    return Said(
        [forge(one(root), columns=relabel)], "gold labels of its 450 test rows differ from 8 records of the same"
    )


def gold_of_all_seeds(root: Path) -> Said:
    """Many forged seeds are one voice."""
    paths = [forge(path, columns=relabel) for path in records(root, "embedded--student")]
    for number in range(3, 9):
        paths.append(copied(paths[0], cell(seed=number)))
    return Said(paths, "gold labels of its 450 test rows differ from 6 records of the same")


def dropped_rows(root: Path) -> Said:
    return Said(
        [forge(one(root), columns=drop)], "data.rows: train 892, validation 158, test 390 differ from 8 records"
    )


def dropped_rows_and_their_number(root: Path) -> Said:
    """The number of test rows left as it was is a contradiction in the record itself."""
    path = forge(one(root), columns=drop)
    return Said([set_all(path, data__rows__test=450)], "predictions: 390 rows, but the test split has 450")


def dropped_groups(root: Path) -> Said:
    return Said([forge(one(root), columns=ungroup)], "groups of its 450 test rows differ from 8 records")


def shuffled_ids(root: Path) -> Said:
    return Said([forge(one(root), columns=shuffle)], "gold labels of its 450 test rows differ")


def other_ids(root: Path) -> Said:
    return Said([forge(one(root), columns=rename)], "ids of its 450 test rows differ from 8 records")


def no_majority(root: Path) -> Said:
    """One model against another: nothing says which of them is right."""
    shutil.rmtree(root / "runs/random-weights")
    paths = [forge(path, columns=relabel) for path in records(root, "embedded--student")]
    return Said([*paths, *records(root, "embedded--teacher")], "and no majority says which is right")


def second_seed(root: Path) -> Said:
    path = one(root)
    return Said([path, copied(path, cell(seed=3))], "predictions: the same answers as")


def second_seed_with_a_history_of_its_own(root: Path) -> Said:
    """The answers of one seed beside what another left behind: its validation scores are not those of these answers."""
    path, other = one(root), one(root, seed=1)
    answers = read_predictions(read_record(other), other.parent).to_pydict()
    return Said([forge(path, columns=lambda columns: columns.update(answers)), other], "predictions: the same answers")


def second_model_and_seed(root: Path) -> Said:
    path = one(root)

    def other(fields: Fields) -> None:
        cell(seed=3)(fields)
        model(name="org/nouveau", origin="hub", digest="0123456789abcdef", teacher=None, weights_bytes=7)(fields)

    return Said([path, copied(path, other, root / "runs/org--nouveau" / BOOKS)], "predictions: the same answers as")


def second_recipe(root: Path) -> Said:
    """One run that stands in two rows."""
    path = one(root)
    faster = copied(path, lambda fields: fields["cell"]["recipe"].update(learning_rate=0.01))
    return Said([path, faster], "predictions: the same answers as")


def second_length(root: Path) -> Said:
    """A run that patience ended early would have had other rates: its losses cannot be these."""
    path = one(root)  # the third of its four epochs is the best

    def longer(fields: Fields) -> None:
        fields["schema_version"] = 2
        fields["cell"]["recipe"].update(epochs=8, patience=1)

    return Said([path, copied(path, longer)], "predictions: the same answers as")


def later_protocol(root: Path) -> Said:
    path = forge(one(root), cell(protocol=PROTOCOL + 1))
    return Said([path], f"cell.protocol: {PROTOCOL + 1}, by a later version of flue-bench than this one")


def embedded_model_elsewhere(root: Path) -> Said:
    """The embedded student in a folder, with a teacher of the forger's own."""
    paths = [
        forge(path, model(origin="directory", name="mine", teacher="f" * 16))
        for path in records(root, "embedded--student")
    ]
    return Said(paths, "cell.model.teacher: ffffffffffffffff, the installed embedded:student has")


def seed_in_the_name(root: Path) -> Said:
    path = one(root)
    return Said([path.rename(path.with_name(path.name.replace("seed2", "seed7")))], "the record is that of seed2-")


def teacher(root: Path) -> Said:
    """A student that only one of its records names."""
    path = one(root, "random-weights")
    digest = read_record(one(root, "embedded--teacher")).cell.model.digest
    forged = forge(path, model(teacher=digest))
    return Said([forged], f"cell.model.teacher: {digest}, which 5 other records of model")


def weights(root: Path) -> Said:
    path = forge(one(root, "random-weights"), model(weights_bytes=1))
    return Said([path], "cell.model.weights_bytes: 1 differ from 5 records")


def embedded_model(root: Path) -> Said:
    paths = [forge(path, model(digest="0123456789abcdef")) for path in records(root, "embedded--student")]
    ours = embedded("embedded:student")
    assert ours
    return Said(paths, f"cell.model.digest: 0123456789abcdef, the installed embedded:student has {ours.digest}")


def embedded_teacher(root: Path) -> Said:
    path = forge(one(root, "embedded--teacher"), model(teacher="0123456789abcdef"))
    return Said([path], "cell.model.teacher: 0123456789abcdef, the installed embedded:teacher has")


def embedded_data(root: Path) -> Said:
    """All records agree, and what is installed says otherwise."""
    paths = [forge(path, columns=relabel) for path in records(root, task=MINI)]
    return Said(paths, "gold labels of the 400 test rows are not those of the installed task mini-cls (400)")


def embedded_digest(root: Path) -> Said:
    def other(fields: Fields) -> None:
        fields["cell"]["data"] = fields["data"]["digest"] = "0123456789abcdef"

    paths = [forge(path, other) for path in records(root, task=MINI)]
    return Said(paths, "data.digest: 0123456789abcdef, that of the installed task mini-cls version")


def embedded_rows(root: Path) -> Said:
    paths = [forge(path, columns=drop) for path in records(root, task=MINI)]
    return Said(paths, "which count as canonical, the installed task mini-cls version")


def recipe(root: Path) -> Said:
    """Trained in another way than the name of its recipe says."""
    path = one(root, task=MINI)
    return Said(
        [forge(path, lambda fields: fields["cell"]["recipe"].update(learning_rate=0.01))],
        "cell.recipe.learning_rate: 0.01, the installed task mini-cls version",
    )


def recipe_name(root: Path) -> Said:
    path = forge(one(root, task=MINI), top(recipe_name="magique"))
    return Said([path], "recipe_name: magique, the installed task mini-cls version")


def labels(root: Path) -> Said:
    path = forge(one(root, task=MINI), top(labels=["mauvais", "bon"]))
    return Said([path], "labels: mauvais, bon, the installed task mini-cls version")


def labels_of_others(root: Path) -> Said:
    """Of a task that is not installed: the others know what its labels are called."""
    ours = read_record(one(root)).labels
    path = forge(one(root), top(labels=list(reversed(ours))))
    return Said(
        [path], f"kind, labels, scheme or options (sentence: {', '.join(reversed(ours))}) differ from 8 records"
    )


def members(root: Path) -> Said:
    path = forge(one(root, task=MINI), top(column_members=["mini-cls", "mini-autre"]))
    return Said([path], "column_members: mini-cls, mini-autre, the installed task mini-cls version")


FORGERIES = (
    score, score_of_the_predictions_of_another, swapped_predictions, without_predictions, gold, gold_of_all_seeds,
    dropped_rows, dropped_rows_and_their_number, dropped_groups, shuffled_ids, other_ids, no_majority, second_seed,
    second_seed_with_a_history_of_its_own, second_model_and_seed, second_recipe, second_length, later_protocol,
    seed_in_the_name, teacher, weights, embedded_model, embedded_model_elsewhere,
    embedded_teacher, embedded_data, embedded_digest, embedded_rows, recipe, recipe_name, labels,
    labels_of_others, members,
)  # fmt: skip


def test_two_recipes_that_are_one_training_both_stand(root: Path) -> None:
    """Epochs that ``max_steps`` cuts off, and room in a batch for more rows than there are, change no number."""
    path = one(root)

    def as_long(fields: Fields) -> None:
        fields["schema_version"] = 2
        fields["cell"]["recipe"].update(epochs=9, max_steps=fields["cost"]["steps"])

    other = copied(path, as_long)
    checked = flue_bench.verify_records([path, other], progress=False)
    assert [each.faults for each in checked] == [(), ()]

    def decisive(rows: int, **recipe: Any) -> Any:
        return across._decisive(make_record(train_rows=rows, recipe=recipe))

    assert decisive(50, batch_size=64) == decisive(50, batch_size=128) != decisive(50, batch_size=16)
    assert decisive(100, batch_size=64) != decisive(100, batch_size=128)
    constant = {"schedule": "constant", "warmup_ratio": 0.0}
    assert decisive(50, epochs=3, **constant) == decisive(50, epochs=4, **constant)
    assert decisive(50, epochs=3) != decisive(50, epochs=4)


def test_what_is_forged_here_was_right_before(root: Path) -> None:
    checked = flue_bench.verify_records(root, progress=False)
    assert len(checked) == 18 and all(each.ok for each in checked)
    board = flue_bench.build_board(root)
    assert not board.left_out and sum(entry.n for row in board.rows for entry in row.entries if entry) == 18


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_no_forged_record_stands(root: Path, forgery: Callable[[Path], Said]) -> None:
    apart, reason = forgery(root)
    there = len(records(root, task="*"))

    # verify names exactly these, each with the reason.
    checked = flue_bench.verify_records(root, progress=False)
    assert len(checked) == there
    assert {each.file for each in checked if not each.ok} == set(apart)
    assert all(reason in "; ".join(each.faults) for each in checked if not each.ok)
    said = call("verify", root)
    assert said.code == 1 and f"{there - len(apart):,} ok, {len(apart):,} not" in said.out

    # The board holds all others, and says what it leaves out and why, in its notes and on stderr.
    said = call("leaderboard", "--results", root, "--format", "json")
    assert said.code == 0 and f"Left out: {min(map(str, apart))}" in said.err and reason in said.err
    board = json.loads(said.out)
    shown = {run["predictions_sha256"] for row in board["rows"] for e in row["entries"] if e for run in e["runs"]}
    standing = [json.loads(each.file.read_bytes()) for each in checked if each.ok]
    assert shown == {record["predictions"]["sha256"] for record in standing}
    left_out = {note["what"]: note["reason"] for note in board["left_out"]}
    assert all(reason in left_out[str(path)] for path in apart)
    built = flue_bench.build_board(root)
    assert sum(entry.n for row in built.rows for entry in row.entries if entry) == there - len(apart)

    # The card of each model is made of what stands.
    for folder in {path.parts[len(root.parts) + 1] for path in apart}:
        name = folder.replace("embedded--", "embedded:").replace("--", "/")
        ours = [record for record in standing if record["cell"]["model"]["name"] == name]
        said = call("card", "--model", name, "--results", root)
        assert reason in said.err
        if not ours:
            assert said.code == 2 and f"Unknown model '{name}'" in said.err
            continue
        assert said.code == 0
        seeds = {(record["setting_digest"], record["cell"]["seed"]) for record in ours}
        index = flue_card(said.out)
        assert {(each.metric_args["setting"], seed) for each in index for seed in each.metric_args["seeds"]} == seeds
        scores = {round(value, 4) for r in ours for value in r["scores"].values()}
        assert all(each.metric_value in scores for each in index if len(each.metric_args["seeds"]) == 1)

    # A comparison takes the seeds that stand.
    rows = {f"{row['label']} ({row['recipe']}, {row['precision']})" for row in board["rows"]}
    for ours in (row for row in rows if row.startswith("embedded:student")):
        for name in ("embedded:teacher", "random-weights"):
            if (theirs := ours.replace("embedded:student", name)) not in rows:
                continue
            said = call("compare", ours, theirs, "--results", root, "--format", "json")
            assert said.code == 0 and reason in said.err and reason in said.out
            for line in json.loads(said.out)["lines"]:
                for side, model in (("seeds_a", "embedded:student"), ("seeds_b", name)):
                    assert line["comparison"][side] == sorted(
                        record["cell"]["seed"]
                        for record in standing
                        if (record["cell"]["model"]["name"], record["cell"]["task"]) == (model, line["task"])
                    )


def flue_card(text: str) -> list[Any]:
    from huggingface_hub import ModelCard

    return list(ModelCard(text).data.eval_results or ())
