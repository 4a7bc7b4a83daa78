"""Published French files, each read by a task file that follows from docs/task-files.md alone: all rows, none wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flue_bench.data import registry, sources

pytestmark = pytest.mark.shared

XNLI = """
name = "essai-xnli"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[[source]]
files = { train = "xnli.dev.fr.tsv", validation = "xnli.dev.fr.tsv", test = "xnli.test.fr.tsv" }
columns = { text = "premise", text_pair = "hypo" }
"""
PAWSX = """
name = "essai-paws"
kind = "sentence-pair"
labels = ["autre", "paraphrase"]
metric = "f1_macro"
[[source]]
files = { train = "dev_2k.fr.tsv", validation = "dev_2k.fr.tsv", test = "test_2k.fr.tsv" }
columns = { text = "sentence1", text_pair = "sentence2" }
quoting = false  # what `tasks check` asks to be said of 207 rows
"""
SICK = """
name = "essai-sick"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[[source]]
columns = { text = "premise", text_pair = "hypo" }
[source.files]
train = { path = "sick_fr.tsv", where = { split = "TRAIN" } }
validation = { path = "sick_fr.tsv", where = { split = "TRIAL" } }
test = { path = "sick_fr.tsv", where = { split = "TEST" } }
"""
RTE3 = """
name = "essai-rte"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[split]
validation = 0.2
[[source]]
files = { train = "RTE3-FR-dev-set-3class.tsv", test = "RTE3-FR-test-gold-3class.tsv" }
columns = { text = "premise", text_pair = "hypothesis", label = "label_text" }
quoting = true
"""
WIKINEURAL = """
name = "essai-wikineural"
kind = "tokens"
labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC"]
scheme = "IOB2"
metric = "entity_f1_micro"
[[source]]
files = { train = "val.conllu", validation = "val.conllu", test = "test.conllu" }
columns = { words = 1, tags = 2 }
"""
PANX = """
name = "essai-panx"
kind = "tokens"
labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
scheme = "IOB2"
metric = "entity_f1_micro"
[[source]]
files = { train = "train-fr.tsv", validation = "dev-fr.tsv", test = "dev-fr.tsv" }
"""
BOOKS = """
name = "essai-livres"
kind = "sentence"
labels = ["négatif", "positif"]
metric = "f1_macro"
[split]
test = 0.2
[[source]]
files = { train = "polarity-fr-amazon.csv" }
columns = { text = 0, label = 1 }
label_names = { "-1" = "négatif", "1" = "positif" }
"""
SEQUOIA = """
name = "essai-pos"
kind = "tokens"
labels = ["NOUN", "ADP", "DET", "PUNCT", "VERB", "ADJ", "PROPN", "PRON", "ADV", "AUX", "NUM", "CCONJ", "SCONJ", "X",
    "SYM", "INTJ"]
metric = "word_accuracy"
[[source]]
columns = { words = 1, tags = 3 }
[source.files]
train = "fr_sequoia-ud-train.conllu"
validation = "fr_sequoia-ud-dev.conllu"
test = "fr_sequoia-ud-test.conllu"
"""


@pytest.mark.parametrize(
    ("folder", "declared", "rows"),
    [
        ("xnli_fr", XNLI, (2490, 2490, 5010)),
        ("pawsx_fr", PAWSX, (1992, 1992, 1982)),
        ("sick_fr", SICK, (4439, 495, 4906)),
        ("rte3_fr", RTE3, (640, 160, 800)),
        ("wikineural_fr", WIKINEURAL, (12600, 12600, 12678)),
        ("panx_fr", PANX, (20000, 10000, 10000)),
        ("amazon_books_fr", BOOKS, (1080, 120, 300)),
        ("ud_sequoia", SEQUOIA, (2231, 412, 456)),
    ],
)
def test_real_files(shared: Path, tmp_path: Path, folder: str, declared: str, rows: tuple[int, ...]) -> None:
    file = tmp_path / "essai.toml"
    file.write_text(declared, encoding="utf-8")
    data = sources.load(registry.load_file(file), data_dir=shared / "data" / folder, offline=True)
    assert tuple(data.ref.rows.values()) == rows
    assert data.ref.canonical and data.ref.deviations == ()
    told = [hint for hint in data.hints if "they count as none" not in hint]
    assert told == []
    examples = [example for split in data.splits.values() for example in split]
    assert all(example.text or example.words for example in examples)


def test_multi_word_tokens_are_read_as_their_words(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "essai.toml").write_text(SEQUOIA, encoding="utf-8")
    found = registry.load_file(tmp_path / "essai.toml")
    data = sources.load(found, data_dir=shared / "data/ud_sequoia", offline=True)
    tags = Counter(found.task.labels[tag] for split in data.splits.values() for e in split for tag in e.tags)
    # As `cut -f4` counts them in the three files: without comments, ranges (whose tag is _), and with nothing lost.
    assert tags["NOUN"] == 15_219 and tags["ADP"] == 11_315 and tags["INTJ"] == 3
    assert not any(word == "_" for split in data.splits.values() for e in split for word in e.words)
