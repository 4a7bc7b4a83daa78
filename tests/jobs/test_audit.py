"""What an audit counts, on data made for it and on real sets."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from flue_bench.data import registry, sources
from flue_bench.jobs import audit
from flue_bench.kinds.kind import kind_named
from flue_bench.progress import Console, Display
from flue_bench.task import SPLITS
from flue_bench.training import models
from support import ROOT
from support.command_line import flue_bench, refused
from support.networks import encode

BENCHMARKS = ROOT / "benchmarks/tasks"
QUIET = Console(file=io.StringIO())

PAIRS = """
name = "paires"
kind = "sentence-pair"
labels = ["non", "oui"]
metric = "accuracy"
[[source]]
files = { train = "train.tsv", validation = "validation.tsv", test = "test.tsv" }
columns = { id = "id", text = "a", text_pair = "b", label = "y" }
"""
LONG = "le vieux facteur du village porte chaque matin une lettre à la dame qui habite au bord de la rivière"
ROWS = {
    "train": [
        ("t1", "Le chat dort.", "Un animal dort.", "oui"),
        ("t2", "Le chat dort.", "Le chien aboie.", "non"),
        ("t3", "Il pleut.", "Le temps est humide.", "oui"),
        ("t4", "Il  pleut !", "Le temps est humide.", "non"),
        ("t5", LONG, "Quelqu'un porte du courrier.", "oui"),
    ],
    "validation": [("v1", "Rien de tel.", "Nulle part ailleurs.", "non")],
    "test": [
        ("e1", "Un animal dort.", "Le chat dort.", "oui"),
        ("e2", "il pleut", "LE TEMPS EST HUMIDE", "oui"),
        ("e3", LONG.replace("dame", "dames"), "Tout est neuf ici.", "non"),
        ("e4", "Le vent souffle.", "La mer est calme.", "oui"),
        ("e5", "Rien de tel.", "Personne ne le croit.", "oui"),
    ],
}


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    (tmp_path / "paires.toml").write_text(PAIRS, encoding="utf-8")
    for split, rows in ROWS.items():
        lines = ["\t".join(row) for row in (("id", "a", "b", "y"), *rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "paires.toml"


def audited(file: Path) -> audit.Audit:
    registered = registry.load_file(file)
    return audit.audit(registered.task, sources.load(registered), Display(QUIET))


def rows(by_place: dict[str, audit.Matched]) -> dict[str, int]:
    return {place: each.rows for place, each in by_place.items() if each.rows}


def test_each_degree_and_view(task_file: Path) -> None:
    made = audited(task_file)
    either = "test in train or validation"
    assert rows(made.exact["first text"]) == {"train": 1, "test in validation": 1, either: 1}
    assert rows(made.same_words["first text"]) == {
        "train": 2, "test in train": 1, "test in validation": 1, either: 2
    }  # fmt: skip
    assert rows(made.near["first text"]) == {"test in train": 1, either: 1}
    assert rows(made.exact["pair"]) == {"test in train": 1, either: 1}  # e1 is t1 the other way round
    assert rows(made.same_words["pair"]) == {"train": 1, "test in train": 2, either: 2}
    assert made.exact["either text"]["test in train"] == audit.Matched(1, (("e1", "t1"),))
    assert made.same_words["either text"][either].examples == (("e1", "t1"), ("e2", "t3"), ("e5", "v1"))
    assert made.near["either text"]["test in train"] == audit.Matched(1, (("e3", "t5"),))


def test_contradictions_labels_and_lengths(task_file: Path) -> None:
    made = audited(task_file)
    assert rows(made.contradictory) == {"train": 2, "test in train": 1}
    assert made.contradictory["train"].examples == (("t3", "t4"), ("t4", "t3"))
    assert made.contradictory["test in train"].examples == (("e2", "t4"),)
    assert made.labels["train"] == {"non": 2, "oui": 3}
    assert made.rows == {"train": 5, "validation": 1, "test": 5}
    assert (made.words["test"].median, made.words["validation"].longest) == (7, 6)


def test_words_with_tags(tmp_path: Path) -> None:
    (tmp_path / "noms.toml").write_text(
        'name = "noms"\nkind = "tokens"\nlabels = ["O", "PER"]\nscheme = "IO"\nmetric = "entity_f1_micro"\n'
        '[[source]]\nfiles = { train = "a.conll", validation = "b.conll", test = "c.conll" }\n',
        encoding="utf-8",
    )
    (tmp_path / "a.conll").write_text("Rose PER\nrit O\n\nrose O\nrit O\n", encoding="utf-8")
    (tmp_path / "b.conll").write_text("Rose O\nrit O\n\nAnne PER\nvit O\n", encoding="utf-8")
    (tmp_path / "c.conll").write_text("Luc PER\nest O\nlà O\n", encoding="utf-8")
    made = audited(tmp_path / "noms.toml")
    assert rows(made.same_words["text"]) == {"train": 1, "validation in train": 1}
    assert rows(made.contradictory) == {"validation in train": 1}  # a rose and Rose are no contradiction
    assert made.labels["test"] == {"O": 2, "PER": 1}
    assert made.words["test"].longest == 3


def test_sub_words(task_file: Path) -> None:
    registered = registry.load_file(task_file)
    data = sources.load(registered)
    tokenizer = models.load_tokenizer(models.resolve("embedded:untrained"))
    lengths = [len(tokenizer(one.text, one.text_pair)["input_ids"]) for one in data.splits["test"]]
    cut = audit.subwords(registered.task, data, "embedded:untrained", max_length=16)
    assert cut.lengths["test"].longest == max(lengths) > 16
    assert cut.truncated["test"] == sum(length > 16 for length in lengths)
    assert cut.lost_words == {}


def test_words_that_are_cut_off() -> None:
    registered = registry.registered()["mini-ner"]
    data = sources.load(registered)
    cut = audit.subwords(registered.task, data, "embedded:untrained", max_length=10)
    tokenizer = models.load_tokenizer(models.resolve("embedded:untrained"))
    whole = encode(data.splits["test"], registered.task, tokenizer, max_length=10)
    assert (cut.truncated["test"], cut.lost_words["test"]) == (whole.truncated, whole.lost_words)
    assert whole.lost_words > 0


def test_the_command_shows_counts_and_ids_and_never_a_text(task_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    said = flue_bench("tasks", "audit", task_file, "--out", out, "--tokenizer=embedded:untrained", "--max-length=16")
    assert said.code == 0, said
    assert "cut at 16" in said.out and "same input, other label" in said.out
    (line,) = (line for line in said.out.splitlines() if line.strip().startswith("first text"))
    assert "0 / 1 / 1" in line
    written = out.read_text(encoding="utf-8")
    assert json.loads(written)["near"]["first text"]["test in train"] == {"rows": 1, "examples": [["e3", "t5"]]}
    for _, one, other, _ in (row for split in ROWS.values() for row in split):
        assert one not in written + said.out + said.err and other not in written + said.out + said.err


def test_what_cannot_be_asked(task_file: Path) -> None:
    for words, said in (
        (("flue",), "flue is a group: audit one of cls-books"),
        ((task_file, "--max-length", "16"), "it needs --tokenizer"),
    ):
        assert said in refused("tasks", "audit", *words)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "view", "place", "counted"),
    [
        ("sick", "either text", "test in train", 4792),
        ("pawsx-small", "either text", "test in train or validation", 183),
        ("pawsx-small", "pair", "test in train or validation", 8),
    ],
)
def test_what_the_task_files_say_of_shared_sentences(
    shared: Path, name: str, view: str, place: str, counted: int
) -> None:
    registered = registry.load_file(BENCHMARKS / f"{name}.toml")
    splits = sources.load(registered, data_dir=shared / "data").splits
    kind = kind_named(registered.task.kind)
    texts = {split: [kind.texts(example) for example in splits[split]] for split in SPLITS}
    viewed = audit._viewed(texts, kind.views[view])
    assert len(audit._same(viewed, splits)[place]) == counted
    said = registered.task.notes.replace(",", "")
    assert str(counted) in said


@pytest.mark.shared
def test_what_the_task_file_says_of_repeated_reviews(shared: Path) -> None:
    registered = registry.load_file(BENCHMARKS / "amazon-books.toml")
    splits = sources.load(registered, data_dir=shared / "data").splits
    same = audit._same({split: [(example.text,) for example in splits[split]] for split in SPLITS}, splits)
    assert {place: len(found) for place, found in same.items() if " in " in place and found} == {}
    assert sum(len(same[split]) for split in SPLITS) == 216
    assert "216 of its rows repeat a text" in registered.task.notes
