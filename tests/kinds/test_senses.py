"""Senses of words by a frozen encoder: scores, vectors and answers against plain code, and what commands say."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from scipy.spatial import distance

import flue_bench
from flue_bench.data import sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError, TaskFileError, UsageError
from flue_bench.kinds.network.senses import SENSES_NETWORK
from flue_bench.kinds.senses import METRICS, SENSES, Occurrence, counted, nearest, sense_scores
from flue_bench.metrics import SenseScores
from flue_bench.record import Cell
from flue_bench.results import verify
from flue_bench.training.models import load_tokenizer, resolve
from support.command_line import done, refused
from support.command_line import flue_bench as command
from support.tiny import tiny

VERBS = {"ranger": ("range", "vite", "très"), "vendre": ("vend", "ici", "là"), "peindre": ("peint", "dehors", "seul")}
SUBJECTS = ("l'élève", "la forêt", "mon oncle", "ma sœur", "une géomètre", "le garde")
WHERE = ("au marché", "sous le préau", "dans la cour", "près du canal")


def rows(lemmas: tuple[str, ...] = tuple(VERBS)) -> list[dict[str, Any]]:
    """Sentences in which the word after the verb tells its sense, beside other words."""
    made = []
    for lemma in lemmas:
        form, *tells = VERBS[lemma]
        for subject, where, (sense, tell) in product(SUBJECTS, WHERE, enumerate(tells)):
            words = [*subject.split(), form, tell, *where.split()]
            made.append({"words": words, "target": words.index(form), "lemma": lemma, "senses": f"{lemma}-{sense}"})
    return made


def task(
    train: list[dict[str, Any]], test: list[dict[str, Any]], name: str = "sens", **options: Any
) -> flue_bench.Task:
    return flue_bench.Task.from_examples(
        name, "senses", metric="f1_micro", train=train, test=test, validation=test[::2], options=options
    )


def parted() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train without one lemma, and a test set of which it has every third row."""
    every = rows()
    test = every[::3]
    return [row for at, row in enumerate(every) if at % 3 and row["lemma"] != "peindre"], test


def occurrence(lemma: str, *senses: str) -> Occurrence:
    return Occurrence("", "", words=("mot",), lemma=lemma, senses=senses)


# Scores.


def test_scores_are_those_of_flue_s_script() -> None:
    """Three right of four answers of five occurrences: precision 3/4, recall 3/5, and their harmonic mean."""
    gold = [["a"], ["a", "b"], ["b"], ["c"], ["c"]]
    predicted = ["a", "b", "c", "c", None]
    precision, recall = 3 / 4, 3 / 5
    expected = {
        "precision_micro": precision, "accuracy": recall,
        "f1_micro": pytest.approx(2 * precision * recall / (precision + recall)),
    }  # fmt: skip
    assert sense_scores(gold, predicted).scores == expected
    assert set(expected) == set(METRICS) == set(SENSES.metrics())
    with pytest.raises(ValueError, match="5 occurrences in gold, 1 in predicted"):
        sense_scores(gold, ["a"])
    with pytest.raises(ValueError, match="an occurrence without a sense"):
        sense_scores([[]], ["a"])
    with pytest.raises(ValueError, match="are a list of names, not 'a-1'"):  # of which 'a' would be a part
        sense_scores(["a-1"], ["a"])


def test_the_metric_gives_them_in_batches_too(tmp_path: Path) -> None:
    metric = SenseScores(cache_dir=str(tmp_path))
    metric.add_batch(predictions=["a", None], references=[["a"], ["b"]])
    metric.add(prediction="c", reference=["b", "c"])
    assert metric.compute() == sense_scores([["a"], ["b"], ["b", "c"]], ["a", None, "c"]).scores


def test_counts_are_those_of_clusters() -> None:
    gold, predicted = [["a"], ["b"], ["c"], ["c"]], ["a", None, "c", "a"]
    examples = [replace(occurrence("x", *of), id=str(at)) for at, of in enumerate(gold)]
    table = SENSES.table(examples, {"predicted": predicted, "similarity": [0.5] * 4, "choices": [2, 0, 2, 2]})
    counts = SENSES.counts(table, task(*parted()), "sense", np.array([0, 1, 1, 0]))
    assert counts.tolist() == [[[1, 2, 2]], [[1, 1, 2]]]
    assert counted(gold, predicted).sum(axis=0).tolist() == counts.sum(axis=0)[0].tolist()
    assert SENSES.errors(table, task(*parted())).tolist() == [0, 1, 0, 1]


def test_a_cluster_is_a_lemma_and_a_group_a_sentence() -> None:
    one, other = replace(occurrence("x", "a"), group="s1"), replace(occurrence("x", "b"), group="s2")
    table = SENSES.table([one, other], {})
    assert len(set(table["group"].to_pylist())) == 1
    assert len({*SENSES.table([one, replace(other, lemma="y")], {})["group"].to_pylist()}) == 2


# Answers.


def test_the_nearest_sense_is_scipy_s() -> None:
    rng = np.random.default_rng(0)
    known = [occurrence(lemma, f"{lemma}{sense}") for lemma in "xyz" for sense in range(4) for _ in range(3)]
    asked = [occurrence(lemma, f"{lemma}0") for lemma in "xyzw" for _ in range(25)]
    of_known, of_asked = (list(rng.normal(size=(len(of), 7)).astype(np.float32)) for of in (known, asked))
    found = nearest(known, of_known, asked, of_asked)
    for example, vector, sense, similarity, choices in zip(asked, of_asked, *found, strict=True):
        means = {
            name: np.average([v for k, v in zip(known, of_known, strict=True) if k.senses[0] == name], axis=0)
            for name in dict.fromkeys(k.senses[0] for k in known if k.lemma == example.lemma)
        }
        cosines = {name: 1 - distance.cosine(vector, mean) for name, mean in means.items()}
        best = max(cosines, key=cosines.__getitem__, default=None)
        assert (sense, choices) == (best, len(cosines))
        assert similarity == pytest.approx(cosines[best] if best else 0, abs=1e-4)


def test_what_has_no_vector_and_what_is_equally_near() -> None:
    one, none = np.ones(3, np.float32), np.empty(0, np.float32)
    known = [occurrence("x", "b"), occurrence("x", "a"), occurrence("y", "c")]
    asked = [occurrence("x", "a"), occurrence("y", "c"), occurrence("x", "a"), occurrence("x", "a")]
    found = nearest(known, [one, 2 * one, none], asked, [one, one, none, 0 * one])
    assert found.senses == ["b", None, None, "b"]  # of equals the first in train; zeros are as far from all
    assert found.choices == [2, 0, 0, 2] and found.similarity == [1.0, 0.0, 0.0, 0.0]


def test_only_the_first_sense_of_an_occurrence_in_train_counts_and_any_in_test() -> None:
    e = np.eye(2, dtype=np.float32)
    found = nearest(
        [occurrence("x", "a", "b"), occurrence("x", "c")], [e[0], e[1]], [occurrence("x", "b", "a")], [e[0]]
    )
    assert found.senses == ["a"] and found.choices == [2]
    assert sense_scores([("b", "a")], found.senses).scores["f1_micro"] == 1.0


# Inputs.


@pytest.mark.parametrize("kind", ["camembert", "bert", "roberta"])
@pytest.mark.parametrize("at", [0, 20, 39])
def test_of_a_long_sentence_the_part_around_the_word_is_kept(kind: str, at: int, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve(str(tiny(kind, tmp_path))))
    words = ["forêt"] * 40
    words[at] = "géomètre"
    example = Occurrence("", "", words=tuple(words), target=at, lemma="x", senses=("a",))
    of = task(*parted())
    whole, cut = (SENSES_NETWORK.encode([example], of, tokenizer, length) for length in (1 << 20, 16))
    assert (whole.truncated, cut.truncated) == (0, 1) and len(cut.row(0)) == 16
    pieces = []
    for encoded in (whole, cut):
        (begin, end) = encoded.labels[0].tolist()
        pieces.append(encoded.row(0)[begin:end].tolist())
    assert pieces[0] == pieces[1] and pieces[0]
    assert cut.row(0)[[0, -1]].tolist() == whole.row(0)[[0, -1]].tolist()
    shared = next(i for i in range(len(whole.row(0))) if whole.row(0)[i : i + 14].tolist() == cut.row(0)[1:15].tolist())
    assert 0 < shared < len(whole.row(0)) - 14


def plain(folder: Path, of: flue_bench.Task, layer: int, pooling: str) -> list[str | None]:
    """The answers by transformers and NumPy alone: one sentence at a time, word by word, no batches, no padding."""
    encoder = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    before, after = tokenizer.cls_token_id, tokenizer.sep_token_id

    def vector(row: Any) -> Any:
        ids, spans = [before], []
        for word in row["words"]:
            pieces = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            spans.append((len(ids), len(ids) + len(pieces)))
            ids += pieces
        with torch.no_grad():
            said = encoder(torch.tensor([[*ids, after]]), output_hidden_states=True)
        begin, end = spans[row["target"]]
        states = said.hidden_states[layer][0, begin:end].numpy().astype(np.float64)
        return {"mean": states.mean(0), "first": states[0], "last": states[-1]}[pooling]

    source = of.source[0].rows
    by_sense: dict[str, dict[str, list[Any]]] = {}
    for row in source["train"]:
        by_sense.setdefault(row["lemma"], {}).setdefault(row["senses"], []).append(vector(row))
    answers: list[str | None] = []
    for row in source["test"]:
        means = {sense: np.mean(vectors, axis=0) for sense, vectors in by_sense.get(row["lemma"], {}).items()}
        mine = vector(row)
        cosines = {
            sense: float(mine @ mean / np.linalg.norm(mine) / np.linalg.norm(mean)) for sense, mean in means.items()
        }
        answers.append(max(cosines, key=cosines.__getitem__) if cosines else None)
    return answers


@pytest.mark.parametrize(
    ("kind", "layer", "pooling"),
    [("camembert", -1, "mean"), ("bert", 1, "mean"), ("roberta", 2, "last"), ("camembert", 0, "first")],
)
def test_answers_are_those_of_plain_code(kind: str, layer: int, pooling: str, tmp_path: Path) -> None:
    model = tiny(kind, tmp_path / kind)
    of = task(*parted(), layer=layer, pooling=pooling)
    results = tmp_path / "results"
    (record,) = flue_bench.score(model, of, results=results, device="cpu", progress=False).records
    table = record.predictions()
    assert table["predicted"].to_pylist() == plain(model, of, layer, pooling)
    assert table["gold"].to_pylist() == [[row["senses"]] for row in of.source[0].rows["test"]]
    assert record.scores["f1_micro"] > record.scores["accuracy"] > 0.2  # one lemma has no answers
    how = record.cell.untrained
    assert how is not None and how.method == "nearest sense" and how.options == {"layer": layer, "pooling": pooling}
    assert record.cell.seed is None and record.schema_version == 2
    (path,) = results.glob("runs/*/*/scored-*.json")
    assert verify.faults(path) == []


def test_answers_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, of = tiny("camembert", tmp_path / "modele"), task(*parted())
    (one,) = flue_bench.score(model, of, results=tmp_path / "a", device="cpu", progress=False).records
    monkeypatch.setattr("flue_bench.training.train.POSITIONS", 8)
    (other,) = flue_bench.score(model, of, results=tmp_path / "b", device="cpu", progress=False).records
    assert one.predictions()["predicted"].to_pylist() == other.predictions()["predicted"].to_pylist()


# Data.


def registered(of: flue_bench.Task) -> Registered:
    return Registered(of, Path(), "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 99}, "'target' is 99, and the sentence has 5 words"),
        ({"target": -1}, "'target' is -1"),
        ({"target": 1.5}, r"'target' is 1\.5"),
        ({"target": "deux"}, "no finite number"),
        ({"lemma": " "}, "the lemma is empty"),
        ({"senses": []}, "the sense is empty"),
        ({"senses": ""}, "the sense is empty"),
        ({"senses": ["a", "a"]}, "holds 'a' twice"),
        ({"senses": [1]}, "holds 1, which is no text"),
        ({"words": "une phrase"}, "which is no list"),
        ({"words": ["a", " "], "target": 1}, r"the word 1 \(from 0\) is empty"),
    ],
)
def test_a_wrong_row_is_refused(change: dict[str, Any], message: str) -> None:
    train, test = parted()
    with pytest.raises(DataError, match=message):
        sources.load(registered(task([train[0] | change, *train], test)))


def test_what_train_lacks_is_said_and_what_no_model_can_answer_refused() -> None:
    train, test = parted()
    hints = sources.load(registered(task(train, test))).hints
    assert "test: 16 occurrences of 1 lemmas that train lacks get no answer" in hints
    other = [row | {"senses": "autre"} if at < 4 else row for at, row in enumerate(test)]
    hints = sources.load(registered(task(train, other))).hints
    assert "test: 4 of 48 occurrences have senses that train lacks: always wrong" in hints
    one = [row for row in train if row["senses"].endswith("-0")]
    with pytest.raises(DataError, match="for none of 48 occurrences has train the right sense and another one"):
        sources.load(registered(task(one, test)))
    data = sources.load(registered(task(train, test)))
    assert SENSES.balance(data.splits["test"], task(train, test)) == {
        "1 sense": 0, "2 or 3 senses": 48, "4 to 7 senses": 0, "more": 0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ("a", "b")}, "kind 'senses' has none"),
        ({"options": {"layer": "last"}}, "'layer' is a whole number"),
        ({"options": {"layer": True}}, "'layer' is a whole number"),
        ({"options": {"pooling": "max"}}, "'pooling' is one of mean, first, last, not 'max'"),
        ({"options": {"couche": 1}}, "option 'couche'"),
        ({"metric": "f1_macro"}, "'f1_macro' is not one of f1_micro, precision_micro, accuracy"),
    ],
)
def test_a_wrong_task_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    train, test = parted()
    given: dict[str, Any] = {"metric": "f1_micro", "train": train, "test": test} | settings
    with pytest.raises((TaskFileError, UsageError), match=message):
        flue_bench.score(
            "embedded:untrained", flue_bench.Task.from_examples("sens", "senses", **given), results=tmp_path
        )


# Commands.


def test_settings_of_a_run_are_rows_of_their_own_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    model, results = tiny("camembert", tmp_path / "modele"), tmp_path / "results"
    of = task(*parted())
    flue_bench.score(model, of, results=results, device="cpu", progress=False)
    more = {"results": results, "device": "cpu", "progress": False}
    flue_bench.score(model, of, settings={"layer": "1", "pooling": "first"}, **more)
    board = flue_bench.build_board(flue_bench.read_results(results))
    assert sorted(row.recipe for row in board.rows) == [
        "nearest sense, last layer, mean",
        "nearest sense, layer 1, first",
    ]
    for settings, message in (
        ({"layer": 3}, "it has 2 layers: 'layer' is from 0 .* to 2, or from -1 to -3"),
        ({"layer": -4}, "it has 2 layers"),
        ({"pooling": "max"}, "'pooling' is one of"),
        ({"couche": 1}, "'couche' is no setting of kind 'senses', which has layer and pooling"),
    ):
        with pytest.raises(UsageError, match=message):
            flue_bench.score(model, of, settings=settings, **more)
    with pytest.raises(UsageError, match="--set layer: only for tasks on which nothing is trained"):
        flue_bench.score(model, "mini-cls", settings={"layer": 1}, **more)


def test_rows_of_validation_serve_test_where_they_were_cut_from_train(tmp_path: Path) -> None:
    """And not where the data bring a validation split, or where validation is scored."""
    model, (train, test) = tiny("camembert", tmp_path / "modele"), parted()
    cut = flue_bench.Task.from_examples("coupe", "senses", metric="f1_micro", train=train, test=test)
    whole = task(train, test, name="entier")
    made = []
    for of in (cut, whole):
        (record,) = flue_bench.score(model, of, results=tmp_path / "r", device="cpu", progress=False).records
        made.append(record.predictions()["predicted"].to_pylist())
    assert made[0] == made[1]  # the means are over the same rows, in another order
    (record,) = flue_bench.score(
        model, cut, split="validation", results=tmp_path / "r", device="cpu", progress=False
    ).records
    assert record.cell.split == "validation" and record.predictions.rows == record.data.rows["validation"]


def test_from_the_command_line_to_the_card(tmp_path: Path) -> None:
    results, models = (
        tmp_path / "results",
        [tiny("camembert", tmp_path / name, seed=at) for at, name in enumerate("ab")],
    )
    train, test = parted()
    for split, some in (("train", train), ("validation", test[::2]), ("test", test)):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, some)), encoding="utf-8")
    text = """
name = "sens"
kind = "senses"
metric = "f1_micro"
[[source]]
files = { train = "train.jsonl", validation = "validation.jsonl", test = "test.jsonl" }
"""
    file = tmp_path / "sens.toml"
    file.write_text(text, encoding="utf-8")
    shown = done("tasks", "show", file)
    assert "kind: senses, nearest sense, last layer, mean" in shown and "recipes: none, nothing is trained" in shown
    checked = done("tasks", "check", file, "--rows", "1")
    assert "range (word 1, from 0; ranger): ranger-1" in checked and "hint: test: 16 occurrences of 1 lemmas" in checked
    assert "2 or 3 senses 100.0%" in checked
    words = ["score", "-t", file, "--device", "cpu", "--results", results]
    board = done(*words, "-m", models[0], "-m", models[1])
    assert "nearest sense, last layer, mean" in board and "sens" in board
    done(*words, "-m", models[0], "--set", "layer=1")
    assert command("verify", results).code == 0
    for path in results.glob("runs/a/*/*.json"):
        assert "same bits" in command("verify", "--rerun", "--task", file, "--model", models[0], path).out
    said = refused("compare", "a", "b", "--results", results)
    assert "--question trained" in said or "Several rows" in said
    row = "{} (nearest sense, last layer, mean, fp32)"
    compared = done("compare", row.format("a"), row.format("b"), "--question", "trained", "--results", results)
    assert "sens" in compared
    done("leaderboard", "--results", results, "--format", "html", "--out", tmp_path / "board.html")
    done("card", "--results", results, "--model", row.format("a"), "--out", tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "by the method named, without training" in card and "--set layer=-1 --set pooling=mean" in card
    audited = done("tasks", "audit", file, "--tokenizer", models[0])
    assert "2 or 3 senses" in audited
    assert not list((tmp_path).glob("checkpoints/*"))


def test_run_says_what_to_do_and_leaves_such_tasks_out(tmp_path: Path) -> None:
    said = refused("run", "-t", "mini-senses", "-m", "embedded:student", "--results", tmp_path / "r")
    assert "mini-senses: nothing is trained there." in said
    assert "flue-bench score -m embedded:student -t mini-senses" in said


@pytest.mark.slow
def test_run_of_a_group_trains_the_others(tmp_path: Path) -> None:
    words = ("run", "-t", "mini-senses", "-t", "mini-cls", "-m", "embedded:student", "--recipe", "quick")
    said = command(*words, "--limit", "40", "--results", tmp_path / "r")
    assert said.code == 0 and "Left out: mini-senses: nothing is trained there." in said.err
    assert {path.parent.name for path in (tmp_path / "r").glob("runs/*/*/*.json")} == {"mini-cls"}


def test_forged_records_are_found(tmp_path: Path) -> None:
    model, results = tiny("camembert", tmp_path / "modele"), tmp_path / "r"
    flue_bench.score(model, task(*parted()), results=results, device="cpu", progress=False)
    (path,) = results.glob("runs/*/*/*.json")
    whole = json.loads(path.read_text(encoding="utf-8"))

    def faults(**change: Any) -> str:
        path.write_text(json.dumps(whole | change), encoding="utf-8")
        return " ".join(verify.faults(path))

    assert faults() == ""
    assert "by its settings it is nearest sense, last layer, mean" in faults(recipe_name="nearest sense, layer 7, mean")
    assert "f1_micro is" in faults(scores=whole["scores"] | {"f1_micro": 0.99})
    cell = whole["cell"]

    def of_recipe(**change: Any) -> str:
        changed = Cell.model_validate(cell | {"recipe": cell["recipe"] | change})
        said = changed.model_dump(mode="json")
        return faults(cell=said, cell_digest=changed.digest, setting_digest=changed.setting_digest)

    assert "'plus proche' is none of kind 'senses'" in of_recipe(method="plus proche")
    assert "'layer' is a whole number" in of_recipe(options={"layer": [1]})
    assert "with what they leave out" in of_recipe(options={})
    table = pq.read_table(path.parent / whole["predictions"]["file"])
    assert "choices: 1 occurrences" in " ".join(
        SENSES.contradictions(
            table.set_column(5, "choices", [[0, *table["choices"].to_pylist()[1:]]]), flue_bench_record(path, whole)
        )
    )


def flue_bench_record(path: Path, whole: dict[str, Any]) -> Any:
    """The record as it was written."""
    path.write_text(json.dumps(whole), encoding="utf-8")
    (record,) = flue_bench.read_results(path.parents[3]).records
    return record
