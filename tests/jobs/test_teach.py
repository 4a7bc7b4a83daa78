"""``run --teacher``: a fine-tuned teacher on every kind of task, what is recorded of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError

import flue_bench
from flue_bench.errors import FlueBenchError, IncompleteError, UsageError
from flue_bench.recipe import Recipe
from flue_bench.record import Cell, ModelRef, NoTraining, RunRecord
from support.taught import BY_NAME, TASKS
from support.tiny import tiny

QUICK: dict[str, Any] = {
    "overrides": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_length": 48},
    "progress": False,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each task's teacher, a tiny BERT that was kept; and of two students."""
    folder = tmp_path_factory.mktemp("taught")
    base = tiny("bert", folder / "base")
    done = flue_bench.run(base, TASKS, keep="all", results=folder / "teachers", **QUICK)
    teachers = {record.cell.task: done.model_dir(record) for record in done.records}
    assert len(teachers) == len(TASKS) and all(teachers.values())
    students = {
        "bert": tiny("bert", folder / "small", seed=7),
        "camembert": tiny("camembert", folder / "other", seed=8),
    }
    return {name: path for name, path in (*teachers.items(), *students.items()) if path}


def one(results: Any) -> RunRecord:
    (record,) = results.records
    assert isinstance(record, RunRecord)
    return record


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_every_kind_is_taught(task: Any, made: dict[str, Path], tmp_path: Path) -> None:
    """The record names the teacher's content, and the row of a board says who taught."""
    student = made["bert" if task.kind == "question-answering" else "camembert"]
    taught = one(flue_bench.run(student, task, teacher=made[task.name], results=tmp_path, **QUICK))
    alone = one(flue_bench.run(student, task, results=tmp_path, **QUICK))
    teacher = taught.cell.teacher
    assert teacher is not None and alone.cell.teacher is None
    assert teacher.model.digest == one(flue_bench.score(made[task.name], task, results=tmp_path, progress=False)
                                       ).cell.model.digest  # fmt: skip
    assert teacher.base is not None and teacher.base.name == "base"
    assert taught.cell_digest != alone.cell_digest and taught.setting_digest != alone.setting_digest
    assert taught.history[0].train_loss != alone.history[0].train_loss
    assert any(
        note.startswith(f"taught by {made[task.name].name}: 0.5 of the loss") for note in taught.environment.notes
    )
    (note,) = [note for note in taught.environment.notes if note.startswith("taught by")]
    assert ("temperature 2" in note) == (task.kind != "regression")
    assert all(checked.ok for checked in flue_bench.verify_records(tmp_path, progress=False))
    board = flue_bench.build_board(tmp_path)
    (row,) = [row for row in board.rows if row.taught]
    assert row.how.endswith(", taught by base") and made[task.name].name in " ".join(row.taught_by)
    assert "taught by base" in str(board) and "Taught on the tasks" in str(board)


def test_a_teacher_without_weight_changes_no_bit(made: dict[str, Path], tmp_path: Path) -> None:
    def predictions(**settings: Any) -> str:
        asked = {**QUICK, "overrides": QUICK["overrides"] | settings.pop("overrides", {})} | settings
        return one(flue_bench.run(made["bert"], BY_NAME["noms"], results=tmp_path, **asked)).predictions.sha256

    plain = predictions()
    assert predictions(teacher=made["noms"], overrides={"alpha": 0}) == plain
    assert predictions(teacher=made["noms"], overrides={"alpha": 0.9}) != plain


def test_a_run_that_was_stopped_ends_with_the_same_bits(made: dict[str, Path], tmp_path: Path) -> None:
    asked = {"teacher": made["avis"], **QUICK}
    whole = one(flue_bench.run(made["bert"], BY_NAME["avis"], results=tmp_path / "whole", **asked))

    def stop(cell: Any, epoch: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        flue_bench.run(made["bert"], BY_NAME["avis"], results=tmp_path / "cut", on_epoch=stop, **asked)
    again = one(flue_bench.run(made["bert"], BY_NAME["avis"], results=tmp_path / "cut", **asked))
    assert again.cost.resumed == 1
    assert again.predictions.sha256 == whole.predictions.sha256 and again.history == whole.history


def test_a_teacher_is_its_content(made: dict[str, Path], tmp_path: Path) -> None:
    """Under another name, and without what was kept beside it, it teaches the same cell; another seed's does not."""
    first = flue_bench.run(made["bert"], BY_NAME["avis"], teacher=made["avis"], results=tmp_path, **QUICK)
    copy = tmp_path / "copy"
    shutil.copytree(made["avis"], copy)
    (copy / "flue-bench.json").unlink()
    second = flue_bench.run(made["bert"], BY_NAME["avis"], teacher=copy, results=tmp_path, **QUICK)
    assert second.reused == 1 and one(second).cell_digest == one(first).cell_digest


def test_labels_in_another_order_teach_the_same(made: dict[str, Path], tmp_path: Path) -> None:
    """By name, never by position."""
    turned = tmp_path / "turned"
    network = transformers.AutoModelForSequenceClassification.from_pretrained(made["avis"])
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.copy_(parameter[[1, 0]].clone())
    network.config.id2label = {0: "oui", 1: "non"}
    network.config.label2id = {"oui": 0, "non": 1}
    shutil.copytree(made["avis"], turned)
    network.save_pretrained(turned)
    results = [
        one(flue_bench.run(made["bert"], BY_NAME["avis"], teacher=folder, results=tmp_path / folder.name, **QUICK))
        for folder in (made["avis"], turned)
    ]
    assert results[0].cell.teacher != results[1].cell.teacher
    assert results[1].cell.teacher is not None and results[1].cell.teacher.answers == {"oui": "oui", "non": "non"}
    losses = [[epoch.train_loss for epoch in record.history] for record in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_train_again_with_the_teacher_that_was_kept(made: dict[str, Path], tmp_path: Path) -> None:
    flue_bench.run(made["bert"], BY_NAME["avis"], teacher=made["avis"], results=tmp_path, **QUICK)

    def again(**given: Any) -> Any:
        (checked,) = flue_bench.verify_records(
            tmp_path, rerun=True, tasks=BY_NAME["avis"], model=made["bert"], progress=False, **given
        )
        return checked

    assert "was a folder: give its path with --teacher" in again().faults[0]
    assert again(teacher=made["avis"]).verdict == "same bits"
    assert "is another model" in again(teacher=made["noms"]).faults[0]
    shutil.copytree(made["avis"], tmp_path / "models" / made["avis"].name)
    assert again().verdict == "same bits"


def test_a_teacher_that_collapsed_is_told_of(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It teaches one answer: the run says so, and so does the record."""
    broken = tmp_path / "broken"
    shutil.copytree(made["avis"], broken)
    content = json.loads((broken / "flue-bench.json").read_text())
    words = "predicts only 'oui' (gold has 2 classes)"
    (broken / "flue-bench.json").write_text(json.dumps(content | {"collapsed": words}))
    asked = {**QUICK, "progress": True}
    record = one(flue_bench.run(made["bert"], BY_NAME["avis"], teacher=broken, results=tmp_path / "out", **asked))
    said = f"its teacher broken collapsed: {words}"
    assert said in record.environment.notes and said in " ".join(capsys.readouterr().err.split())
    sound = one(flue_bench.run(made["bert"], BY_NAME["noms"], teacher=made["noms"], results=tmp_path / "out", **QUICK))
    kept = json.loads((made["noms"] / "flue-bench.json").read_text())["collapsed"]
    assert any("collapsed" in note for note in sound.environment.notes) == bool(kept)


def test_searches_and_sizes_of_train_have_a_teacher_too(made: dict[str, Path], tmp_path: Path) -> None:
    longer = {**QUICK, "overrides": QUICK["overrides"] | {"epochs": 8, "learning_rate": 3e-3}}
    asked = {"teacher": made["noms"], "results": tmp_path, **longer}
    record = one(flue_bench.run(made["bert"], BY_NAME["noms"], search={"alpha": [0.1, 0.9]}, **asked))
    assert record.cell.teacher and record.cell.search and record.cell.trained.recipe.alpha in (0.1, 0.9)
    half = one(flue_bench.run(made["bert"], BY_NAME["noms"], train_rows=8, **asked))
    assert half.cell.train_rows == 8 and half.cell.teacher
    assert all(checked.ok for checked in flue_bench.verify_records(tmp_path, progress=False))


def test_a_dry_run_says_what_is_there_of_it(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"teacher": made["avis"], "results": tmp_path, **QUICK, "progress": True}
    flue_bench.run(made["bert"], BY_NAME["avis"], **asked)
    flue_bench.run(made["bert"], BY_NAME["avis"], seeds=2, dry_run=True, **asked)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 cells: 1 have a record, 1 to run." in said and "Time of 1 cell:" in said
    flue_bench.run(made["bert"], BY_NAME["avis"], dry_run=True, **asked | {"teacher": None})
    assert "1 cell: 0 have a record, 1 to run." in " ".join(capsys.readouterr().err.split())


def test_comparisons_cards_and_tables_say_who_taught(made: dict[str, Path], tmp_path: Path) -> None:
    for teacher in (made["avis"], None):
        flue_bench.run(made["bert"], BY_NAME["avis"], teacher=teacher, seeds=2, results=tmp_path, keep="best", **QUICK)
    rows = [row for row in flue_bench.read_results(tmp_path).records]
    titles = sorted({f"small (standard {' '.join(r.recipe_name.split()[1:])}, fp32)" for r in rows})
    taught = titles[0].replace(", fp32", ", taught by base, fp32")
    said = str(flue_bench.compare(taught, titles[0], results=tmp_path))
    assert "Taught differently: A learnt from soft labels besides, B learnt from labels alone" in " ".join(said.split())
    table = flue_bench.read_results(tmp_path).to_arrow()
    assert sorted({*table["taught_by"].to_pylist()}, key=str) == sorted({None, made["avis"].name}, key=str)
    kept = [path for path in (tmp_path / "models").iterdir() if "taught" not in path.name]
    cards = [(path / "README.md").read_text() for path in kept]
    assert any(made["avis"].name in card for card in cards) and not all(made["avis"].name in card for card in cards)


# Refusals


def head(folder: Path, labels: list[str], **config: Any) -> Path:
    """A tiny classifier that nobody kept."""
    auto = transformers.AutoModelForSequenceClassification
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    return tiny("bert", folder, auto=auto, **named, **config)


def refused(task: str, teacher: Path, made: dict[str, Path], folder: Path, **settings: Any) -> str:
    with pytest.raises(FlueBenchError) as error:
        flue_bench.run(made["bert"], BY_NAME[task], teacher=teacher, results=folder / "none", **QUICK | settings)
    assert not list(folder.glob("none/runs/*/*/*.json")) or isinstance(error.value, IncompleteError)
    return str(error.value)


def test_what_is_no_teacher_is_refused_in_a_sentence(made: dict[str, Path], tmp_path: Path) -> None:
    assert "needs a fine-tuned ForTokenClassification" in refused("noms", made["avis"], made, tmp_path)
    assert "is saved as BertForMaskedLM" in refused("avis", made["bert"], made, tmp_path)
    three = head(tmp_path / "three", ["non", "oui", "peut-être"])
    assert "labels of its head are 'non', 'oui', 'peut-être'" in refused("avis", three, made, tmp_path)
    nameless = head(tmp_path / "nameless", ["LABEL_0", "LABEL_1"])
    assert "What flue-bench run --keep makes on avis is a teacher of it" in refused("avis", nameless, made, tmp_path)
    number = head(tmp_path / "number", ["LABEL_0"])
    assert "nothing says which numbers its head gives" in refused("notes", number, made, tmp_path)
    one_of = head(tmp_path / "one-of", ["joie", "peur"])
    assert "problem_type" in refused("humeurs", one_of, made, tmp_path)
    short = head(tmp_path / "short", ["non", "oui"], max_position_embeddings=32)
    assert "takes at most 32 sub-words" in refused("avis", short, made, tmp_path)
    assert "is neither a folder here" in refused("avis", tmp_path / "nowhere", made, tmp_path)
    with pytest.raises(UsageError, match=r"alpha is how to learn from a teacher"):
        flue_bench.run(
            made["bert"], BY_NAME["avis"], overrides={"alpha": 0.7, "max_length": 48}, results=tmp_path, progress=False
        )


def test_windows_of_another_tokenizer_cannot_be_taught(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="its tokenizer cuts the contexts otherwise"):
        flue_bench.run(made["camembert"], BY_NAME["questions"], teacher=made["questions"], results=tmp_path, **QUICK)


def test_a_kind_with_a_loss_of_its_own_says_what_soft_labels_are(made: dict[str, Path], tmp_path: Path) -> None:
    """One that does not is refused, rather than taught by the cross-entropy of one number."""
    from flue_bench.kinds.network.network import Encoded
    from flue_bench.kinds.network.regression import EncodedNumbers

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(EncodedNumbers, "beside", Encoded.beside)
        with pytest.raises(IncompleteError, match="does not say what soft labels are"):
            flue_bench.run(made["bert"], BY_NAME["notes"], teacher=made["notes"], results=tmp_path, **QUICK)


def test_a_cell_has_a_teacher_or_nothing_of_one() -> None:
    model = ModelRef(name="m", origin="hub", digest="0" * 16)
    given: dict[str, Any] = {"model": model, "task": "t", "task_version": 1, "data": "d"}
    recipe = Recipe(epochs=1, precision="fp32")
    with pytest.raises(ValidationError, match=r"'recipe.temperature' is of a teacher"):
        Cell(**given, recipe=recipe.override({"temperature": 4}), seed=0)
    how = NoTraining(method="own head", max_length=8, precision="fp32")
    with pytest.raises(ValidationError, match="nothing is trained in the cell, so that it has no teacher"):
        Cell(**given, recipe=how, seed=None, teacher={"model": model})
    plain, taught = Cell(**given, recipe=recipe, seed=0), Cell(**given, recipe=recipe, seed=0, teacher={"model": model})
    assert "teacher" not in plain.model_dump() and "alpha" not in plain.model_dump()["recipe"]
    assert plain.digest != taught.digest and (plain.schema_version, taught.schema_version) == (1, 2)
    named = {"model": model, "answers": {'a","task":"b': "task"}}  # a label cannot be taken for a field
    other = Cell(**given, recipe=recipe, seed=1, teacher=named)
    assert other.setting_digest == Cell(**given, recipe=recipe, seed=2, teacher=named).setting_digest
    assert other.digest != Cell(**given, recipe=recipe, seed=2, teacher=named).digest
    assert json.loads(other.model_dump_json())["teacher"]["answers"] == named["answers"]


@pytest.mark.slow
def test_workers_are_sent_the_teacher(made: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")
    asked = {"teacher": made["avis"], **QUICK}
    here = one(flue_bench.run(made["bert"], BY_NAME["avis"], results=tmp_path / "here", **asked))
    there = one(
        flue_bench.run(made["bert"], BY_NAME["avis"], results=tmp_path / "there", workers=1, threads=1, **asked)
    )
    assert there.cell == here.cell and there.history == here.history
