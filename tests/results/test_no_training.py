"""Records of models that were scored as they are: how they are kept, read, verified, shown and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from flue_bench.boards import card, render, rules
from flue_bench.boards.html import html
from flue_bench.boards.verdicts import weigh
from flue_bench.boards.wording import NONE
from flue_bench.errors import UsageError, faults
from flue_bench.kinds.sentence import SENTENCE
from flue_bench.kinds.tokens import TOKENS
from flue_bench.record import Cell, NoTraining, RunRecord
from flue_bench.results import comparison, verify
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store, read_record
from support.command_line import done, refused
from support.factories import make_cell, make_failure, make_record

LABELS = ("négatif", "positif")
HEAD = {"POS": "positif", "NEG": "négatif", "very bad": "négatif"}
HOW = NoTraining(method="own head", max_length=128, precision="fp32", answers=HEAD)
ROWS = 60
GOLD = [row % 2 for row in range(ROWS)]


def write(root: Path, answers: Sequence[int], model: str = "org/finetuned", **record: Any) -> RunRecord:
    """Keep a model's answers to 60 rows; with ``how`` they are labels of its head, else of the task."""
    how = record.setdefault("how", HOW)
    record.setdefault("task", "avis")
    width = len(how.answers) if how else len(LABELS)
    spread = np.full((ROWS, width), 0.25 / (width - 1))
    spread[np.arange(ROWS), list(answers)] = 0.75
    meant = [LABELS.index(name) for name in (how.answers.values() if how else LABELS)]
    table = pyarrow.table(
        {
            "id": [f"test-{row:02}" for row in range(ROWS)],
            "group": [f"g{row}" for row in range(ROWS)],
            "gold": pyarrow.array(GOLD, pyarrow.int16()),
            "predicted": pyarrow.array([meant[each] for each in answers], pyarrow.int16()),
            "probabilities": pyarrow.array(spread.tolist(), pyarrow.list_(pyarrow.float32())),
        }
    )
    words = ("task", "seed", "how", "limit", "data")
    cell = make_cell(model, **{name: record[name] for name in words if name in record})

    def build(predictions: Any) -> RunRecord:
        made = make_record(model, predictions=predictions, **record)
        again = SENTENCE.scores(table, made)
        rows = dict.fromkeys(("train", "validation", "test"), ROWS)
        epochs = 0 if made.cell.untrained else int(made.cell.trained.recipe.epochs)
        return made.model_copy(
            update={
                "scores": again.scores,
                "per_class": again.per_class,
                "history": tuple(made.history[0].model_copy(update={"epoch": epoch}) for epoch in range(1, epochs + 1)),
                "data": made.data.model_copy(update={"rows": rows}),
                "collapsed": SENTENCE.collapsed(table, made),
            }
        )

    return Store(root).write(build, table, cell)


def right(share: float, how: bool = True) -> list[int]:
    """Answers of which about this share is right, in the words of the head or of the task."""
    wrong = {row for row in range(ROWS) if (row * 37 % ROWS) >= share * ROWS}
    said = [gold if row not in wrong else 1 - gold for row, gold in enumerate(GOLD)]
    return [1 - each for each in said] if how else said


def path_of(root: Path, record: RunRecord) -> Path:
    return Store(root).record_path(record.cell)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = write(tmp_path, right(0.9))
    path = path_of(tmp_path, record)
    assert path.name == f"scored-{record.cell_digest}.json"
    assert read_record(path) == record
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema_version"] == 2 and content["cell"]["seed"] is None
    assert list(content["cell"]["recipe"]["answers"]) == list(HEAD)  # the order of the head's rows
    assert Store(tmp_path).find(record.cell) == record
    assert verify.faults(path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"split": "validation"},
        {"max_length": 64},
        {"precision": "bf16"},
        {"answers": {"POS": "négatif", "NEG": "positif", "very bad": "négatif"}},
        {"method": "nearest neighbour"},
        {"scheme": "IO"},
        {"options": {"layer": 9}},
    ],
)
def test_all_that_decides_the_answers_is_in_the_digest(change: dict[str, Any]) -> None:
    assert make_cell(how=HOW.model_copy(update=change)).digest != make_cell(how=HOW).digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 0}, "the cell has seed 0, but nothing to train: a recipe and a seed go together"),
        ({"recipe": {"epochs": 3}}, "the cell has no seed, but a recipe: a recipe and a seed go together"),
        ({"recipe": {"method": "own head"}}, "field 'recipe.max_length': missing"),
        ({"recipe": {"epochen": 3}}, "field 'recipe.epochen': not known here"),
    ],
)
def test_a_recipe_and_a_seed_go_together(change: dict[str, Any], said: str) -> None:
    written = json.loads(make_cell(how=HOW).model_dump_json()) | change
    with pytest.raises(ValidationError) as raised:
        Cell.model_validate_json(json.dumps(written))
    assert str(faults(raised.value)[0]) == said


def test_the_version_of_earlier_releases_cannot_be_claimed(tmp_path: Path) -> None:
    path = path_of(tmp_path, write(tmp_path, right(0.9)))
    edit(path, schema_version=1)
    (said,) = verify.faults(path)
    assert "a record of this cell is of schema version 2 or later" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"selected_epoch": 2}, "selected_epoch: 2, but nothing was trained"),
        ({"head": "kept"}, "head: kept, but nothing was trained"),
        (
            {"history": [{"epoch": 1, "step": 1, "train_loss": 0.5, "scores": {}}]},
            "history: 1, but nothing was trained",
        ),
        ({"recipe_name": "standard"}, "recipe_name: standard, but nothing was trained"),
        ({"kept": "0" * 16}, f"kept: {'0' * 16}, but nothing was trained"),
        (
            {"truncation": {"examples": {"train": 3, "test": 0}, "words": {}}},
            "truncation.examples: train, but nothing was trained",
        ),
    ],
)
def test_what_only_a_training_leaves_is_found(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = path_of(tmp_path, write(tmp_path, right(0.9)))
    edit(path, **change)
    assert said in verify.faults(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 9),
        ("train_seconds", 1.5),
        ("train_examples_per_second", 4.5),
        ("real_tokens", 7),
        ("padded_tokens", 8),
    ],
)
def test_costs_of_a_training_are_found(tmp_path: Path, field: str, value: float) -> None:
    record = write(tmp_path, right(0.9))
    path = path_of(tmp_path, record)
    edit(path, cost=record.cost.model_dump(mode="json") | {field: value})
    assert verify.faults(path) == [f"cost.{field}: {value}, but nothing was trained"]


def test_a_threshold_that_validation_decided_is_no_fault(tmp_path: Path) -> None:
    path = path_of(tmp_path, write(tmp_path, right(0.9)))
    edit(path, chosen={"threshold": 0.4})
    assert not [said for said in verify.faults(path) if "nothing was trained" in said]


def test_predictions_are_what_the_head_means(tmp_path: Path) -> None:
    record = write(tmp_path, [*right(0.9)[:-1], 2])  # the label of the head that shares its meaning with another
    path = path_of(tmp_path, record)
    assert verify.faults(path) == []
    file = path.with_name(record.predictions.file)
    columns = pq.read_table(file).to_pydict()
    columns["predicted"][0] = 1 - columns["predicted"][0]
    pq.write_table(pyarrow.table(columns), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    edit(path, predictions=record.predictions.model_dump() | {"sha256": digest})
    assert "predicted: in 1 of 60 decisions not what the most probable label means" in verify.faults(path)


def test_tags_of_a_head_are_verified_with_their_borders() -> None:
    """Sentences of IO tags, which the task writes in IOB2: a changed border is a contradiction."""
    task: Any = make_record("m", "wikiner", how=HOW)
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    how = HOW.model_copy(update={"answers": {"O": "O", "I-LOC": "LOC", "I-PER": "PER"}, "scheme": "IO"})
    task = task.model_copy(
        update={"labels": labels, "scheme": "IOB2", "cell": task.cell.model_copy(update={"recipe": how})}
    )
    answers = [np.array([2, 2, 1, 0]), np.array([2, 0, 2])]
    columns = TOKENS.translated({"predicted": answers, "subwords": [[1, 2, 1, 1], [1, 1, 1]]}, task, how)
    predicted = [list(map(int, each)) for each in columns["predicted"]]
    assert predicted == [[1, 2, 3, 0], [1, 0, 1]]
    made = {
        "predicted": predicted,
        "subwords": [[1, 2, 1, 1], [1, 1, 1]],
        "probabilities": [np.eye(3)[each].tolist() for each in answers],
    }
    assert list(TOKENS.contradictions(pyarrow.table(made), task)) == []
    made["predicted"] = [[1, 1, 3, 0], [1, 0, 1]]
    assert "1 of 7 words are not what the most probable tags mean" in "".join(
        TOKENS.contradictions(pyarrow.table(made), task)
    )


def test_a_board_sets_it_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, right(0.7 + seed / 60, how=False), "org/base", seed=seed, how=None)
    write(tmp_path, right(0.95), leaks=["its card names the data"])
    contents = Store(tmp_path).read()
    built = weigh(rules.build(contents.records), contents.records, Evidence((tmp_path,)))
    base, scored = built.rows
    assert (base.trained, scored.trained, scored.recipe) == (True, False, "fine-tuned elsewhere")
    (entry,) = scored.entries
    assert entry is not None and (entry.n, entry.seeds, entry.sd) == (0, (), None)
    assert entry.interval is not None and entry.interval.covers == "test examples"
    assert entry.versus is not None and entry.versus.p is None and "no seed" in str(entry.versus.reason)
    shown = render.markdown(built)
    line = next(line for line in shown.splitlines() if "org/finetuned" in line)
    assert "§" in line and "**" not in line and "(1)" not in line and "(0)" not in line
    assert "its card names the data" in shown and "compare \\-\\-question" in shown.replace("--", "\\-\\-")
    assert "Seeds that do not count" not in shown
    page = html(built, contents.records, Evidence((tmp_path,)), lambda run: None)
    assert "as it is: 95.00" in page and '"runs":[[null,"95.00",' in page
    for text in (str(built), built._repr_html_(), render.FORMATS["latex"](built), render.to_csv(built), page):
        assert "finetuned" in text and "None" not in text
    assert built.to_arrow()["leaks"].to_pylist() == [[], ["avis: its card names the data"]]


def test_validation_has_a_column_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, right(0.9))
    write(tmp_path, right(0.8), how=HOW.model_copy(update={"split": "validation"}))
    built = rules.build(Store(tmp_path).records())
    assert [column.title for column in built.columns] == ["avis", "avis (validation)"]
    assert len(built.rows) == 1 and all(built.rows[0].entries)


def test_only_fine_tuned_models_are_asked_which_is_better(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, right(0.6 + seed / 20, how=False), "org/base", seed=seed, how=None)
    write(tmp_path, right(0.95), leaks=["its card names the data"])
    write(tmp_path, right(0.9), "org/other")
    words = ("org/finetuned", "org/base", "--results", tmp_path)
    assert "ask --question trained" in refused("compare", *words)
    said = " ".join(done("compare", *words, "--question", "trained").split())
    assert "A may have been trained on what it is scored on: avis: its card names the data" in said
    assert "Seed 0 of B" in said and "A is better" in said and f"{NONE}, 1" in said
    again = done("compare", *words, "--question", "trained", "--seed", "1")
    assert "Seed 1 of B" in " ".join(again.split())
    both = done("compare", "org/finetuned", "org/other", "--results", tmp_path, "--question", "trained")
    assert "no difference" in both and "Seed" not in both
    assert "have no seeds" in refused(
        "compare", *words[:1], "org/other", *words[2:], "--question", "trained", "--seed", "0"
    )
    kept = Store(tmp_path).records()
    one, base = ([r for r in kept if r.cell.model.name == name][:1] for name in ("org/finetuned", "org/base"))
    with pytest.raises(UsageError, match="it needs --question trained"):
        comparison.compare(one, base, "f1_macro", Evidence((tmp_path,)))
    with pytest.raises(UsageError, match="name a model that was fine-tuned here"):
        rules.build(Store(tmp_path).records(), pair=("org/finetuned", "org/base"))


def test_a_kept_model_is_not_taken_for_its_run(tmp_path: Path) -> None:
    """Its predictions are those of the run, byte for byte; the interval that was computed for these has a seed."""
    same = NoTraining(method="own head", max_length=128, precision="fp32", answers={name: name for name in LABELS})
    run = write(tmp_path, right(0.8, how=False), "org/base", seed=0, how=None)
    kept = write(tmp_path, right(0.8, how=False), "kept", how=same)
    assert kept.predictions.sha256 == run.predictions.sha256
    records = Store(tmp_path).records()
    built = weigh(rules.build(records), records, Evidence((tmp_path,)))
    covers = [entry.interval.covers for row in built.rows for entry in row.entries if entry and entry.interval]
    assert covers == ["test examples (one seed)", "test examples"]


def test_a_card_says_how_it_was_scored(tmp_path: Path) -> None:
    write(tmp_path, right(0.95))
    _, settings, left_out = card.settings(Store(tmp_path).records(), "org/finetuned")
    assert left_out == []
    text = card.section(settings)
    assert "The model as it is, with its own head" in text and "± sample" not in text
    assert "flue-bench score --model org/finetuned --task avis.toml --split test --max-length 128" in text
    assert "--labels POS=positif --labels NEG=négatif" in text.replace("'", "")
    args = card.results(settings)[0].metric_args
    assert "seeds" not in args and args["recipe"] == "fine-tuned elsewhere, fp32"


def test_a_failure_is_kept_and_shown(tmp_path: Path) -> None:
    failure = make_failure("memory ran out", how=HOW)
    Store(tmp_path).write_failure(failure)
    (path,) = tmp_path.glob("runs/*/*/*.failed.json")
    assert path.name.startswith("scored-") and Store(tmp_path).failures() == [failure]
    assert "xnli, as it is" in rules.build([], [failure]).failed[0].what
