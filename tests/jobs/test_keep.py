"""``--keep``: fine-tuned models on disk, whole or absent, that answer as their records say, to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

import flue_bench
from flue_bench.errors import IncompleteError, UnknownNameError
from flue_bench.jobs.rerun import _kept_beside
from flue_bench.record import RunRecord
from flue_bench.results.across import DISTINCT
from flue_bench.results.store import Store
from flue_bench.results.verify import checked, faults
from support.command_line import flue_bench as command
from support.command_line import in_a_process
from support.hub_standin import StandIn

MODEL = "embedded:untrained"
SMALL: dict[str, Any] = {
    "device": "cpu",
    "progress": False,
    "overrides": {"epochs": 2, "batch_size": 8, "max_length": 12},
}
ROWS = [
    {"text": f"Cela {'va' if i % 3 else 'ne va pas'}, dit {i}.", "label": "oui" if i % 2 else "non"} for i in range(40)
]
PAIRS = [row | {"text_pair": f"On dit que cela {'va' if i % 2 else 'ne va pas'}."} for i, row in enumerate(ROWS)]
WORDS = [{"words": ["Marie", "habite", "à", f"Lyon{i}"], "tags": ["B-PER", "O", "O", "B-LOC"]} for i in range(24)]


def task(kind: str = "sentence", rows: list[dict[str, Any]] = ROWS, **more: Any) -> flue_bench.Task:
    declared: dict[str, Any] = {"labels": ["non", "oui"], "metric": "f1_macro"}
    if kind == "tokens":
        declared = {"labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "scheme": "IOB2", "metric": "entity_f1_micro"}
    parts = {"train": rows, "validation": rows[:12], "test": rows[5:20]}
    return flue_bench.Task.from_examples("avis", kind, **declared | parts | more)


def answers(folder: Path | None, record: RunRecord, of: flue_bench.Task) -> Any:
    """The predictions of a kept model by ``score``: nothing trained, its own head."""
    assert folder is not None and record.cell.recipe.precision == "fp32"
    with tempfile.TemporaryDirectory() as results:
        (scored,) = flue_bench.score(folder, of, results=results, device="cpu", progress=False)
        assert (
            scored.cell.model.digest == record.kept and scored.cell.recipe.max_length == record.cell.recipe.max_length
        )
        assert scored.scores == record.scores and not scored.leaks
        assert scored.recipe_name == f"kept: {record.recipe_name}, seed {record.cell.seed}"
        return scored.predictions()


@pytest.mark.parametrize(("kind", "rows"), [("sentence", ROWS), ("sentence-pair", PAIRS), ("tokens", WORDS)])
def test_a_kept_model_gives_the_predictions_of_its_record(
    kind: str, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    of = task(kind, rows)
    made = flue_bench.run(MODEL, of, results=tmp_path, keep="all", **SMALL)
    (record,) = made
    folder = made.model_dir(record)
    assert (
        folder is not None
        and folder.parent == tmp_path / "models"
        and folder.name.startswith("embedded--untrained--avis")
    )
    assert answers(folder, record, of).equals(record.predictions())
    assert record.truncation.examples["test"] > 0 or rows is not PAIRS  # inputs are cut where they were in training
    assert not faults(next(tmp_path.glob("runs/*/*/*.json")))
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(i): label for i, label in enumerate(of.labels)}
    assert config["label2id"] == {label: i for i, label in enumerate(of.labels)}

    loader = AutoModelForSequenceClassification if kind != "tokens" else AutoModelForTokenClassification
    network, missing = loader.from_pretrained(folder, output_loading_info=True)
    assert not any(missing.values())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text: Any = rows[5]["text"] if kind != "tokens" else " ".join(rows[5]["words"])
    asked = {"text": text, "text_pair": rows[5]["text_pair"]} if rows is PAIRS else text
    name = "text-classification" if kind != "tokens" else "token-classification"
    said = pipeline(name, model=network, tokenizer=tokenizer)(asked)
    if kind != "tokens":
        (said,) = said if isinstance(said, list) else [said]
        first = record.predictions().to_pylist()[0]
        assert said["label"] == of.labels[first["predicted"]]
        assert said["score"] == pytest.approx(max(first["probabilities"]), abs=1e-4)
    else:
        assert {each["entity"] for each in said} <= {*of.labels}


RATED = [{"text": row["text"], "value": 1 + (i * 7 % 17) / 4} for i, row in enumerate(ROWS)]
SEVERAL = [
    {"text": row["text"], "labels": [name for name, by in (("joie", 2), ("peur", 3), ("ennui", 5)) if i % by == 0]}
    for i, row in enumerate(ROWS)
]
CHOICES = [
    {"text": row["text"], "choices": ["oui", "non", "peut-être", "jamais"][: 2 + i % 3], "label": "AB"[i % 2]}
    for i, row in enumerate(ROWS)
]
ASKED = [
    {
        "question": "Qui ?" if i % 4 else "Où ?",
        "context": f"Ça va, dit l'élève {i}. " * (1 + i % 3),
        "answers": {"text": [f"élève {i}"], "answer_start": [13]} if i % 4 else {"text": [], "answer_start": []},
    }
    for i in range(40)
]
OTHERS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "regression": (RATED, {"labels": [], "metric": "spearman", "options": {"range": [1, 5.3]}}),
    "multi-label": (SEVERAL, {"labels": ["peur", "joie", "ennui"], "metric": "f1_micro"}),
    "multi-label, a threshold from validation": (
        SEVERAL, {"labels": ["peur", "joie", "ennui"], "metric": "f1_micro", "options": {"threshold": "validation"}},
    ),
    "multiple-choice": (CHOICES, {"labels": ["A", "B", "C", "D"], "metric": "accuracy"}),
    "question-answering": (
        ASKED,
        {"labels": [], "metric": "f1", "options": {"threshold": "validation", "max_answer_length": 4, "stride": 5}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_so_does_one_without_a_label_a_row(case: str, tmp_path: Path) -> None:
    kind, (rows, declared) = case.partition(",")[0], OTHERS[case]
    of = task(kind, rows, **declared)
    small = SMALL | {"overrides": SMALL["overrides"] | ({"max_length": 24} if rows is ASKED else {})}
    made = flue_bench.run(MODEL, of, results=tmp_path, keep="all", **small)
    (record,), folder = made, made.model_dir(made.records[0])
    assert answers(folder, record, of).equals(record.predictions())
    assert folder is not None
    with tempfile.TemporaryDirectory() as results:
        (scored,) = flue_bench.score(folder, of, results=results, device="cpu", progress=False)
        assert (scored.measures, scored.chosen) == (record.measures, record.chosen)
        assert not faults(next(Path(results).glob("runs/*/*/*.json")))
    assert bool(record.chosen) == ("validation" in str(declared))

    config, first = json.loads((folder / "config.json").read_text()), record.predictions().to_pylist()[0]
    problems = {"regression": "regression", "multi-label": "multi_label_classification", "multiple-choice": None}
    if kind == "question-answering":
        as_pipeline_answers(folder, rows[5], first)
        return
    assert config.get("problem_type") == problems[kind]
    loader = AutoModelForMultipleChoice if kind == "multiple-choice" else AutoModelForSequenceClassification
    network, missing = loader.from_pretrained(folder, output_loading_info=True)
    assert not any(missing.values())
    tokenizer, row = AutoTokenizer.from_pretrained(folder), rows[5]
    if kind == "multiple-choice":
        texts = tokenizer([row["text"]] * len(row["choices"]), row["choices"], padding=True, truncation=True,
                          return_tensors="pt")  # fmt: skip
        with torch.no_grad():
            said = network(**{name: values[None] for name, values in texts.items()}).logits[0].softmax(-1)
        assert said.tolist() == pytest.approx(first["probabilities"], abs=1e-4)
        return
    asking = pipeline("text-classification", model=network, tokenizer=tokenizer, top_k=None)
    (said,) = asking([row["text"]], truncation=True)
    if kind == "regression":  # no sigmoid: the share of the range, as it is
        (said,) = said
        assert 1 + 4.3 * said["score"] == pytest.approx(first["predicted"], abs=1e-4)
    else:
        by_label = {each["label"]: each["score"] for each in said}
        assert [by_label[name] for name in of.labels] == pytest.approx(first["probabilities"], abs=1e-4)


def as_pipeline_answers(folder: Path, row: dict[str, Any], first: dict[str, Any]) -> None:
    """The scores of starts and ends that transformers alone computes give what the predictions say."""
    network, missing = AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert not any(missing.values())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    windows = tokenizer(row["question"], row["context"], truncation="only_second", max_length=24, stride=5,
                        return_overflowing_tokens=True, return_offsets_mapping=True, padding=True,
                        return_tensors="pt")  # fmt: skip
    assert len(windows["input_ids"]) > 1
    with torch.no_grad():
        said = network(input_ids=windows["input_ids"], attention_mask=windows["attention_mask"])
    best, none, span = -1e9, 1e9, (-1, -1)
    for at, offsets in enumerate(windows["offset_mapping"].tolist()):
        places = [i for i, which in enumerate(windows.sequence_ids(at)) if which == 1 and offsets[i][1]]
        starts, ends = said.start_logits[at], said.end_logits[at]
        none = min(none, float(starts[0] + ends[0]))
        for i in places:
            for j in places:
                real = all(row["context"][slice(*offsets[k])].strip() for k in (i, j))
                if real and i <= j < i + 4 and float(starts[i] + ends[j]) > best:
                    best = float(starts[i] + ends[j])
                    span = (offsets[i][0] + row["context"][offsets[i][0]].isspace(), offsets[j][1])
    assert first["no_answer"] == pytest.approx(none - best, abs=1e-4)
    assert first["start"] == -1 or (first["start"], first["end"]) == span


def test_a_kept_model_scored_beside_its_run_stands_beside_it(tmp_path: Path) -> None:
    """The same answers twice are no forgery here: a record without training answers as what made its model."""
    few: dict[str, Any] = {"device": "cpu", "progress": False, "limit": 100, "results": tmp_path}
    made = flue_bench.run("embedded:student", "mini-cls", keep="all", **few)
    (record,) = made
    distinct = {p for row in record.predictions().to_pylist() for p in row["probabilities"]}
    assert len(distinct) >= DISTINCT  # so many that of two seeds the rule would say that they are one run
    flue_bench.score(made.model_dir(record), "mini-cls", **few)
    files = list(tmp_path.glob("runs/*/*/*.json"))
    assert len(files) == 2
    done = command("leaderboard", "--results", str(tmp_path), "--format", "json")
    assert done.code == 0 and "Left out" not in done.err
    assert command("verify", *map(str, files)).code == 0
    (scored,) = (file for file in files if file.name.startswith("scored-"))
    assert "same bits" in command("verify", scored, "--rerun").out  # with the model that was kept beside it
    kept = made.model_dir(record)
    assert kept is not None
    moved = kept.rename(tmp_path / "elsewhere")
    (said,) = flue_bench.verify_records(scored, rerun=True, progress=False)
    assert "was a folder: give its path with --model" in said.faults[0]
    assert "same bits" in command("verify", scored, "--rerun", "--model", moved).out


def test_a_kept_model_is_found_by_its_digest_alone(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", seeds=2, **SMALL)
    first, second = (made.model_dir(record) for record in made)
    assert first and second
    scored = flue_bench.score(second, task(), results=tmp_path, progress=False, device="cpu").records[0]
    (path,) = tmp_path.glob("runs/*/*/scored-*.json")
    assert _kept_beside(scored.cell.model, path) == str(second)
    other = second.rename(first.with_name("another name"))
    assert _kept_beside(scored.cell.model, path) == str(other)
    outside = other.rename(tmp_path.parent / f"{tmp_path.name} outside")
    other.symlink_to(outside)  # a stranger's folder might lead anywhere
    assert _kept_beside(scored.cell.model, path) is None
    assert _kept_beside(made.records[0].cell.model, path) is None  # a model that no run kept
    assert _kept_beside(scored.cell.model, tmp_path / path.name) is None


def test_a_file_that_came_later_is_no_fault_of_the_record_and_is_named(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    folder = made.model_dir(made.records[0])
    assert folder is not None
    (path,) = tmp_path.glob("runs/*/*/*.json")
    assert checked(path).remarks == ()
    (folder / "notes.txt").write_text("not part of the model")
    assert checked(path).remarks == ()
    for name in ("vocab.txt", "added_tokens.json"):
        (folder / name).write_text("{}")
    (remark,) = checked(path).remarks
    assert checked(path).ok and remark == (
        f"kept: added_tokens.json, vocab.txt in models/{folder.name} came later; without, it is the model that was kept"
    )
    said = command("verify", path)
    assert said.code == 0 and "ok; kept: added_tokens.json, vocab.txt in" in said.out
    with pytest.raises(IncompleteError, match=r"added_tokens.json, vocab.txt came later: move that away"):
        flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    (folder / "config.json").write_text("{}")
    assert checked(path).remarks == () and not checked(path).ok
    (folder / "config.json").unlink()
    assert any("config.json: cannot be read" in fault for fault in faults(path))


def test_the_card_and_the_record_beside_the_model(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", train_rows=16, **SMALL)
    (record,), (folder,) = made, list((tmp_path / "models").iterdir())
    assert "--16-rows--seed0-" in folder.name
    text = (folder / "README.md").read_text()
    for words in (
        "pipeline_tag: text-classification", "library_name: transformers", f"`{record.cell_digest}`",
        record.kept, record.predictions.sha256, f"{record.scores['f1_macro']:.4f}", "--train-rows 16",
        "CamembertForSequenceClassification",
        "rows: 16 train, 12 validation, 15 test", "`non`, `oui`",
    ):  # fmt: skip
        assert words is not None and words in text, words
    assert str(tmp_path) not in text
    assert RunRecord.model_validate_json((folder / "flue-bench.json").read_text()) == record
    speed = flue_bench.measure_speed(folder, device="cpu", results=tmp_path / "speed", progress=False)
    assert [each.model.digest for each in speed.records] == [record.kept]


def best_of(records: list[RunRecord]) -> RunRecord:
    return max(records, key=lambda r: (r.history[r.selected_epoch - 1].scores[r.metric], -r.cell.seed))


def test_the_best_on_validation_is_kept_and_a_tie_goes_to_the_lowest_seed(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, task(), seeds=3, results=tmp_path, keep="best", **SMALL)
    kept = [record for record in made if record.kept]
    assert kept == [best_of(list(made))] and len(list((tmp_path / "models").iterdir())) == 1
    assert not list((tmp_path / ".kept").iterdir())
    stored = Store(tmp_path).find(kept[0].cell)
    assert stored is not None and stored.kept == kept[0].kept

    tied = flue_bench.run(  # nothing is learnt at such a rate, so that all seeds of one head would tie: one answer
        MODEL, task(), seeds=[7, 3], results=tmp_path / "tied", keep="best",
        **SMALL | {"overrides": SMALL["overrides"] | {"learning_rate": 1e-12, "epochs": 1}},
    )  # fmt: skip
    values = {record.cell.seed: record.history[0].scores["f1_macro"] for record in tied}
    (winner,) = [record for record in tied if record.kept]
    assert winner.cell.seed == (3 if values[3] >= values[7] else 7)


def test_keeping_changes_neither_cell_nor_predictions(tmp_path: Path) -> None:
    plain = flue_bench.run(MODEL, task(), results=tmp_path / "plain", **SMALL).records[0]
    kept = flue_bench.run(MODEL, task(), results=tmp_path / "kept", keep="all", **SMALL).records[0]
    assert (plain.cell_digest, plain.setting_digest) == (kept.cell_digest, kept.setting_digest)
    assert plain.predictions == kept.predictions and plain.scores == kept.scores
    assert "kept" not in plain.model_dump() and kept.model_dump()["kept"] == kept.kept


def test_asked_for_later_a_cell_is_trained_again_and_kept_as_it_was(tmp_path: Path) -> None:
    first = flue_bench.run(MODEL, task(), seeds=2, results=tmp_path / "later", **SMALL)
    later = flue_bench.run(MODEL, task(), seeds=2, results=tmp_path / "later", keep="best", **SMALL)
    at_once = flue_bench.run(MODEL, task(), seeds=2, results=tmp_path / "at_once", keep="best", **SMALL)
    assert later.reused == 2
    assert [record.kept for record in later] == [record.kept for record in at_once]
    assert [record.model_copy(update={"kept": None}) for record in later] == first.records  # all else is as it was
    names = [sorted(path.name for path in (tmp_path / each / "models").glob("*/*")) for each in ("later", "at_once")]
    assert names[0] == names[1] and not list((tmp_path / "later" / ".kept").iterdir())


def test_another_model_than_the_record_says_is_not_kept(tmp_path: Path) -> None:
    flue_bench.run(MODEL, task(), results=tmp_path, **SMALL)
    (path,) = tmp_path.glob("runs/*/*/*.json")
    store, record = Store(tmp_path), Store(tmp_path).records()[0]
    table = record.predictions()
    flipped = table.set_column(3, "predicted", [[1 - value for value in table["predicted"].to_pylist()]]).cast(
        table.schema
    )
    store.write(lambda predictions: record.model_copy(update={"predictions": predictions}), flipped, record.cell)
    before = path.read_bytes()
    with pytest.raises(
        IncompleteError, match=r"its model is not kept: trained again, .*predictions differ in 15 of 15 rows"
    ):
        flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    assert (
        path.read_bytes() == before and not list(tmp_path.glob("models/*")) and not list((tmp_path / ".kept").iterdir())
    )
    forced = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", force=True, **SMALL)
    assert forced.records[0].kept and answers(forced.model_dir(forced.records[0]), forced.records[0], task()).equals(
        table
    )


def test_a_model_that_was_changed_is_left_alone(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    folder = made.model_dir(made.records[0])
    assert folder is not None
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"oui"', '"OUI"'))
    (path,) = tmp_path.glob("runs/*/*/*.json")
    assert any(fault.startswith(f"kept: the model in {folder.name} has the digest") for fault in faults(path))
    with pytest.raises(IncompleteError, match="was changed since: move it away"):
        flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    assert '"OUI"' in config.read_text()
    shutil.move(folder, tmp_path / "elsewhere")
    assert not faults(path)  # a model need not lie beside its record
    again = flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    assert again.records == made.records and again.model_dir(again.records[0]) == folder


@pytest.mark.parametrize("keep", ["all", "best"])
@pytest.mark.parametrize("moment", ["before the model has its name", "before the record is there"])
def test_killed_and_called_again_all_is_as_if_nothing_had_been(
    keep: Any, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(module: Any, name: str, when: Callable[[Any], bool]) -> None:
        real = getattr(module, name)

        def instead(*given: Any, **named: Any) -> Any:
            if when(given):
                raise KeyboardInterrupt
            return real(*given, **named)

        monkeypatch.setattr(module, name, instead)

    if moment.startswith("before the model"):
        dies(os, "rename", lambda given: "models" in Path(given[1]).parts and not str(given[1]).endswith(".tmp"))
    else:
        dies(os, "replace", lambda given: Path(given[1]).suffix == ".json" and "runs" in Path(given[1]).parts)
    with pytest.raises(KeyboardInterrupt):
        flue_bench.run(MODEL, task(), results=tmp_path / "killed", keep=keep, **SMALL)
    there = list((tmp_path / "killed" / "models").glob("*"))
    assert not there or (keep == "all" and all((path / "flue-bench.json").is_file() for path in there))
    monkeypatch.undo()
    again = flue_bench.run(MODEL, task(), results=tmp_path / "killed", keep=keep, **SMALL)
    whole = flue_bench.run(MODEL, task(), results=tmp_path / "whole", keep=keep, **SMALL)
    assert [record.kept for record in again] == [record.kept for record in whole] != [None]
    files = [sorted(path.relative_to(tmp_path / each) for path in (tmp_path / each).glob("models/**/*")) for each in ("killed", "whole")]  # fmt: skip  # noqa: E501
    assert files[0] == files[1] and not list((tmp_path / "killed" / ".kept").glob("*"))


def test_a_disk_that_is_full_costs_the_model_and_not_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(
        IncompleteError, match=r"its model is not kept: .*No space left on device; free some space"
    ) as left:
        flue_bench.run(MODEL, task(), results=tmp_path, keep="all", **SMALL)
    assert len(left.value.results) == 1 and len(Store(tmp_path).records()) == 1 and not list(tmp_path.glob("models/*"))


def test_the_option_says_where_the_models_are(tmp_path: Path) -> None:
    words = ["-t", "mini-cls", "--limit", "24", "--set", "epochs=1", "--results", tmp_path]
    said = command("run", "-m", MODEL, "--keep", "best", *words)
    (folder,) = (tmp_path / "models").iterdir()
    assert said.code == 0 and f"Kept: {folder}" in said.err
    (record,) = Store(tmp_path).records()
    assert record.collapsed and f"COLLAPSED: {record.collapsed}" in " ".join(said.err.partition("Kept: ")[2].split())
    with pytest.raises(UnknownNameError, match="Did you mean best"):
        flue_bench.run(MODEL, task(), keep="bset", **SMALL)  # type: ignore[arg-type]


def test_a_kept_model_goes_to_the_hub_and_comes_back(tmp_path: Path) -> None:
    made = flue_bench.run(MODEL, "mini-cls", limit=24, results=tmp_path, keep="all", **SMALL)
    (record,), folder = made, made.model_dir(made.records[0])
    assert folder is not None
    with StandIn() as hub:
        env = hub.env(tmp_path) | {"HF_TOKEN": "hf_ours"}
        program = "from huggingface_hub.cli.hf import main; main()"
        words = [sys.executable, "-c", program, "upload", "moi/avis", str(folder), "."]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "POST /api/validate-yaml" in hub.requests  # the client has the hub check the card
        scored = in_a_process(
            "score", "-m", "moi/avis", "-t", "mini-cls", "--limit", "24", "--results", "from", cwd=tmp_path, env=env
        )
        assert scored.returncode == 0, scored.stderr
    (again,) = flue_bench.read_results(tmp_path / "from")
    assert again.cell.model.name == "moi/avis" and again.cell.model.digest == record.kept
    assert again.predictions().equals(record.predictions())
