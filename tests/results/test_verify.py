"""A record as it was written is believed; whatever was changed in it since is named."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_bench.data import registry
from flue_bench.errors import RecordError, UsageError
from flue_bench.jobs import rerun
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.jobs.loader import Loader
from flue_bench.progress import Console, Display
from flue_bench.record import PROTOCOL, SCHEMA_VERSION, ModelRef, RunRecord
from flue_bench.results.store import FAILED, Store, read_record
from flue_bench.results.verify import faults, schema
from support import ROOT
from support.command_line import Said, flue_bench, refused
from support.factories import make_record
from support.forging import forge
from support.hub_standin import tiny_camembert
from support.tasks import names_task

(FIRST,) = (ROOT / "tests/fixtures/v1").glob("*.json")
"""A record as the first release wrote it, its predictions beside it."""


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    folder = tmp_path / "runs/modele/amazon-books"
    shutil.copytree(FIRST.parent, folder)
    return folder / FIRST.name


def edit(record: Path, where: str, value: Any) -> None:
    """Set one field, by its dotted path; ``...`` takes it away."""
    content = json.loads(record.read_text(encoding="utf-8"))
    *parents, last = where.split(".")
    inner = content
    for name in parents:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    record.write_text(json.dumps(content), encoding="utf-8")


def edit_predictions(record: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the predictions, and their hash in the record with them: a careful forger."""
    path = record.with_name(f"{record.stem}.predictions.parquet")
    columns = pq.read_table(path).to_pydict()
    change(columns)
    pq.write_table(pa.table(columns), path)
    edit(record, "predictions.sha256", hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_committed_schema_is_that_of_the_record() -> None:
    path = ROOT / "results/schema" / f"run-record.v{SCHEMA_VERSION}.json"
    command = 'python -c "from flue_bench.results.verify import schema; print(schema(), end=str())"'
    assert path.read_text(encoding="utf-8") == schema(), f"{command} > {path.relative_to(ROOT)}"
    assert set(json.loads(schema())["properties"]) == set(RunRecord.model_fields)


def test_a_record_of_the_first_release_is_read_and_right() -> None:
    content = json.loads(FIRST.read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert not {"teacher", "weights_bytes"} & content["cell"]["model"].keys()  # both came later
    assert read_record(FIRST).cell.model.teacher is None
    assert faults(FIRST) == []


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("scores.f1_macro", 0.85, "scores: f1_macro is 0.850000, the predictions give 0.839286"),
        ("scores.mcc", ..., "scores: mcc missing or too many"),
        ("scores.f1", 0.9, "scores: f1 missing or too many"),
        ("scores.accuracy", 1.2, "field 'scores.accuracy'"),
        ("per_class.class.negative.recall", 0.9, "per_class: class negative is not as predicted"),
        ("per_class.class.negative.support", 84, "per_class: class negative is not"),
        ("per_class.class.autre", {"precision": 1, "recall": 1, "f1": 1, "support": 1}, "class autre is not"),
        ("labels", ["positive", "negative"], "per_class: class positive, negative are not"),
        ("labels", ["negative", "positive", "mixed"], "scores: f1_binary missing or too many"),
        ("collapsed", "predicts only 'positive' (gold has 2 classes)", "the predictions say none"),
        ("selected_epoch", 1, "selected_epoch: 1, by history and recipe it is 3"),
        ("history", [], "history: 0 evaluations, the recipe has 3"),
        ("metric", "f1", "metric: there is no score f1"),
        ("data.digest", "0" * 16, "data: the digest is not that of 'cell.data'"),
        ("predictions.rows", 149, "predictions: 149 rows, but the test split has 450, limit 150"),
        ("predictions.sha256", "0" * 64, "not the file that its record was written with"),
        ("predictions.file", "ailleurs.parquet", "ailleurs.parquet: cannot be read"),
        ("cell.seed", 7, "'cell_digest' or 'setting_digest' is not that of 'cell'"),
        ("cell.recipe.learning_rate", 2e-4, "is not that of 'cell'"),
        ("scheme", "IO", "scheme: is for kind 'tokens' only"),
        ("score", 1, "field 'score'"),
        ("schema_version", 99, "upgrade flue-bench"),
    ],
)
def test_what_was_changed_is_named(record: Path, where: str, value: Any, said: str) -> None:
    edit(record, where, value)
    assert said in "; ".join(faults(record))


def test_a_record_that_claims_more_evaluations_than_can_be_counted(record: Path) -> None:
    def claim(fields: dict[str, Any]) -> None:
        fields["schema_version"] = SCHEMA_VERSION
        fields["data"]["rows"]["train"] = 2**53
        fields["cell"] |= {"limit": None}
        fields["cell"]["recipe"] |= {"evaluate_steps": 1, "epochs": 100_000, "batch_size": 1}

    assert "history: 3 evaluations, the recipe has 900719925474099200000" in faults(forge(record, claim))


def test_half_of_a_surrogate_pair_in_what_makes_the_digest(record: Path) -> None:
    how = {"method": "voisins", "max_length": 128, "precision": "fp32", "options": {"a": {"b": ["\ud800"]}}}
    edit(record, "cell.recipe", how)
    edit(record, "cell.seed", None)
    (fault,) = faults(record)
    assert "cell.recipe" in fault and "surrogates not allowed" in fault


@given(name=st.sampled_from(["accuracy", "f1_macro", "f1_micro", "f1_weighted", "f1_binary", "mcc"]), by=st.data())
@settings(max_examples=25)
def test_no_score_can_be_moved(record: Path, name: str, by: st.DataObject) -> None:
    original = json.loads(FIRST.read_text(encoding="utf-8"))["scores"][name]
    moved = by.draw(st.floats(-1, 1).filter(lambda value: abs(value - original) > 1e-6))
    shutil.copy(FIRST, record)
    edit(record, f"scores.{name}", moved)
    (fault,) = faults(record)
    assert fault.startswith(f"scores: {name} is ")


def flip(columns: dict[str, Any]) -> None:
    columns["predicted"][3] = 1 - columns["predicted"][3]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip, "in 1 of 150 decisions another label is more probable"),
        (flip, "scores: accuracy is 0.840000, the predictions give 0.8"),
        (lambda columns: columns["gold"].__setitem__(0, 1 - columns["gold"][0]), "scores: accuracy"),
        (lambda columns: columns["gold"].__setitem__(0, 2), "cannot be scored: gold holds 2"),
        (lambda columns: columns["gold"].__setitem__(0, None), "cannot be scored"),
        (lambda columns: columns["id"].__setitem__(0, columns["id"][1]), "an id occurs twice"),
        (lambda columns: columns["probabilities"].__setitem__(0, [0.7, 0.7]), "do not sum to 1"),
        (lambda columns: columns["probabilities"].__setitem__(0, [1.0]), "cannot be scored"),
        (lambda columns: columns.pop("group"), "predictions: columns id, gold"),
        (lambda columns: [each.pop() for each in columns.values()], "149 rows in the file, 150 in the record"),
    ],
)
def test_a_careful_forger_is_found_too(record: Path, change: Callable[[Any], object], said: str) -> None:
    edit_predictions(record, change)
    assert said in "; ".join(faults(record))


def test_predictions_that_are_no_parquet(record: Path) -> None:
    path = record.with_name(f"{record.stem}.predictions.parquet")
    path.write_bytes(b"rien")
    edit(record, "predictions.sha256", hashlib.sha256(b"rien").hexdigest())
    assert "damaged" in "; ".join(faults(record))


def test_labels_are_those_of_the_installed_task_of_that_version(tmp_path: Path) -> None:
    def said(**cell: Any) -> str:
        made = make_record(task="xnli", **cell)
        path = tmp_path / "record.json"
        path.write_text(made.model_dump_json(), encoding="utf-8")
        return "; ".join(faults(path))

    reasons = said()
    assert (
        "labels: négatif, positif, the installed task xnli version 1 has entailment, neutral, contradiction" in reasons
    )
    assert "kind: sentence, the installed" in reasons
    assert "installed" not in said(task_version=99)


def call(*words: str | Path) -> Said:
    return flue_bench("verify", *words)


def test_the_command_names_the_tampered_record(record: Path, tmp_path: Path) -> None:
    (record.parent / f"seed1-0123{FAILED}").write_text("{}")  # no record
    failed = call(record.parent / f"seed1-0123{FAILED}")
    assert failed.code == 1 and "the record of a failed cell, without scores to verify" in failed.out
    good = call(tmp_path)
    assert good.code == 0
    assert "1 record: 1 ok, 0 not" in good.out
    other = record.with_name("seed1-copie.json")
    shutil.copy(record, other)
    edit(other, "scores.f1_macro", 0.99)
    bad = call(tmp_path, record)
    assert bad.code == 1
    (line,) = (line for line in bad.out.splitlines() if "f1_macro is 0.99" in line)
    assert other.name in line
    assert "2 records: 1 ok, 1 not" in bad.out


def test_without_a_path_it_is_the_usual_folder(record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "results is neither a file nor a folder" in refused("verify")
    (tmp_path / "results").mkdir()
    (tmp_path / "runs").rename(tmp_path / "results" / "runs")
    good = call()
    assert good.code == 0 and "1 record: 1 ok, 0 not" in good.out


def test_what_cannot_be_asked(record: Path, tmp_path: Path) -> None:
    for words, said in (
        ((tmp_path / "nulle-part",), "neither a file nor a folder"),
        ((record.parent,), "a folder without runs/"),
        ((record, "--model", "m"), "they need --rerun"),
    ):
        assert said in refused("verify", *words)


NER = names_task(epochs=1, batch_size=8, max_length=12, dropout=0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, RunRecord]:
    """A task file, a model, and the record of one on the other, all real and small."""
    folder = tmp_path_factory.mktemp("noms")
    names = ("Zoé", "Yanis", "Inès", "Hugo", "Jeanne", "Rémi")
    sentences = [f"{name} B-PER\nMartin I-PER\ndort O\n" for name in names]
    long = [f"Hier O\nsoir O\n{name} B-PER\na O\nrencontré O\nun O\nvieil O\nami O\nà O\nBrest O\n" for name in names]
    (folder / "ner.conll").write_text("\n".join(sentences + long), encoding="utf-8")
    (folder / "noms.toml").write_text(NER, encoding="utf-8")
    model = tiny_camembert(folder / "tiny")
    store = Store(folder / "results")
    grid = Grid(models=[str(model)], tasks=[registry.load_file(folder / "noms.toml")], seeds=[5], device="cpu")
    (record,) = run_grid(grid, store, Display(Console(file=io.StringIO()))).records
    return folder / "noms.toml", model, record


def path_of(run: tuple[Path, Path, RunRecord], tmp_path: Path) -> Path:
    """A copy of the run's record, its predictions beside it."""
    (original,) = (run[0].parent / "results").glob("runs/*/*/*.json")
    shutil.copytree(original.parent, tmp_path / "copie")
    return tmp_path / "copie" / original.name


def test_tokens_are_verified_too(run: tuple[Path, Path, RunRecord], tmp_path: Path) -> None:
    path = path_of(run, tmp_path)
    assert run[2].truncation.words["test"] > 0  # some words are cut off: the hard case
    assert faults(path) == []
    edit(path, "truncation.words.test", 0)
    assert "truncation: 0 test words lost" in "; ".join(faults(path))
    edit_predictions(path, lambda columns: columns["predicted"][6].__setitem__(-1, 1))  # a word that was never seen
    assert "a word without sub-words has some, or is not predicted O" in "; ".join(faults(path))


def test_the_same_cell_again_is_the_same_to_the_byte(run: tuple[Path, Path, RunRecord], tmp_path: Path) -> None:
    task, model, record = run
    result = call(path_of(run, tmp_path), "--rerun", "--task", task, "--model", model, "--device", "cpu")
    assert result.code == 0, result
    assert "rerun: same bits: identical to the byte" in result.out
    assert record.recipe_name == "standard"


def test_what_a_rerun_finds(run: tuple[Path, Path, RunRecord], tmp_path: Path) -> None:
    task, model, _ = run
    path = path_of(run, tmp_path)

    def again(task: Path = task, model: Path | None = model) -> rerun.Compared:
        name = None if model is None else str(model)
        with Console(file=io.StringIO()) as console:
            loader = Loader([registry.load_file(task)])
            return rerun.rerun(read_record(path), path.parent, loader, Display(console), model=name, device="cpu")

    def forge(columns: dict[str, Any]) -> None:
        for row in (0, 1):
            columns["predicted"][row] = [2 - tag for tag in columns["predicted"][row]]

    edit_predictions(path, forge)
    edit(path, "environment.packages.torch", "1.0")
    edit(path, "environment.packages.scikit-learn", "1.9.1")  # which flue-bench 0.1.0 listed
    differences = again()
    assert (differences.rows, differences.differing, differences.same_file) == (12, 2, False)
    assert "predictions differ in 2 of 12 rows (entity_f1_micro" in str(differences)
    assert "not promised, since torch 1.0 → " in str(differences) and "scikit-learn" not in str(differences)

    with pytest.raises(UsageError, match="was a folder: give its path with --model"):
        again(model=None)
    with pytest.raises(UsageError, match="is another model"):
        again(model=tiny_camembert(tmp_path / "autre", seed=1))
    shutil.copy(task, tmp_path / "noms.toml")
    rows = (task.parent / "ner.conll").read_text(encoding="utf-8")
    (tmp_path / "ner.conll").write_text(rows.replace("dort", "rit"), encoding="utf-8")
    with pytest.raises(UsageError, match="the data of noms differ"):
        again(task=tmp_path / "noms.toml")
    (tmp_path / "noms.toml").write_text(NER.replace("kind", "version = 2\nkind"), encoding="utf-8")
    with pytest.raises(UsageError, match="version 1 of noms"):
        again(task=tmp_path / "noms.toml")
    edit_predictions(path, lambda columns: columns["gold"][0].__setitem__(0, 0))
    with pytest.raises(RecordError, match="'gold' in its predictions is not that of the data"):
        again()


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("hub", "FOLDER"),
        ("hub", "../.."),
        ("hub", "a/../../b"),
        ("hub", "org/m@main"),
        ("hub", "embedded:teacher"),
        ("embedded", "FOLDER"),
        ("embedded", "embedded:../models"),
        ("embedded", "embedded:a/b"),
    ],
)
def test_a_record_names_no_place_of_this_disk(origin: Any, name: str, tmp_path: Path) -> None:
    folder = tiny_camembert(tmp_path / "private")
    ref = ModelRef(name=name.replace("FOLDER", str(folder)), origin=origin, digest="0" * 16)
    with pytest.raises(UsageError, match=f"is no {origin} model's name: give its path with --model"):
        Loader(offline=True).model(ref)


def test_a_rerun_wants_the_protocol_and_the_task(record: Path) -> None:
    result = call(record, "--rerun")
    assert result.code == 1
    assert f"it was made under protocol 1, this engine runs {PROTOCOL}" in " ".join(result.out.split())
    record = forge(record, lambda fields: fields["cell"].update(protocol=PROTOCOL))
    result = call(record, "--rerun")
    assert result.code == 1
    assert "no task 'amazon-books' is installed; give its file with --task" in " ".join(result.out.split())
