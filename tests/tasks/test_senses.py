"""``flue-vsd``: generated sentences in the real layout of FrenchSemEval, and the rows of its own that are here."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from flue_bench.data import registry, sources
from flue_bench.errors import DataError
from flue_bench.kinds.senses import Occurrence
from flue_tasks.senses import french_semeval

FOLDER = "FSE-1.1-191210"
HEAD = '<?xml version="1.0" ?>\n<corpus lang="fr" source="{0}">\n\t\n                     \n\t<text id="d000">\n'
TAIL = "\t</text>\n</corpus>"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


def sentence(number: int, *words: str) -> str:
    """A sentence; a word is ``form|lemma|pos``, and one with a fourth part is an instance of this number."""
    lines = [f'\t\t<sentence id="d000.s{number:03}" idx="{number}">']
    for word in words:
        form, lemma, pos, *instance = word.split("|")
        tag = "instance" if instance else "wf"
        name = f' id="d000.s{number:03}.t{instance[0]}"' if instance else ""
        lines.append(f'\t\t\t<{tag} fine_pos="{pos}"{name} lemma="{lemma}" pos="{pos}">{form}</{tag}>')
    return "\n".join([*lines, "\t\t</sentence>\n"])


def train() -> tuple[str, str]:
    """Ten occurrences of each sense, as Wiktionary's, and a word that is no verb."""
    sentences, gold = [], []
    for number in range(40):
        verb, sense = ("agir", "voler")[number % 2], number // 2 % 2 + 1
        sentences.append(sentence(number, f"Il&amp;{number}|il|CL", f"{verb}a|{verb}|V|000", "bien|bien|ADV|001"))
        gold.append(f"d000.s{number:03}.t000 __ws_{sense}_{verb}__verb__1")
        gold.append(f"d000.s{number:03}.t001 __ws_1_bien__adv__1")
    return "".join(sentences), "\n".join(gold)


TEST = (
    sentence(404, "On|il|CL", "agit|agir|V|000", "vite|vite|ADV")
    + sentence(405, "L'|le|D", "avion|avion|N", "vole|voler|V|000", ",|,|PONCT", "il|il|CL", "a volé|voler|V|001")
    + sentence(406, "Rien|rien|PRO", "ici|ici|ADV"),
    "d000.s404.t000 __ws_2_agir__verb__1\n"
    "d000.s405.t000 __ws_1_voler__verb__1 __ws_2_voler__verb__1\n"
    "d000.s405.t001 __ws_2_voler__verb__1\n",
)


def corpus(folder: Path, test: tuple[str, str] = TEST, head: str = HEAD) -> Path:
    there = folder / FOLDER
    there.mkdir(parents=True, exist_ok=True)
    for name, (sentences, gold) in (("FSE-1.1", test), ("wiktionary-190418", train())):
        (there / f"{name}.data.xml").write_text(head.format(name) + sentences + TAIL, encoding="utf-8")
        (there / f"{name}.gold.key.txt").write_text(gold, encoding="utf-8")
    return there


def load(folder: Path) -> Any:
    (chosen,) = registry.select(["flue-vsd"])
    with tarfile.open(folder / "FSE-1.1-10_12_19.tar.gz", "w:gz") as out:
        out.add(folder / FOLDER, FOLDER)
    return sources.load(chosen, data_dir=folder, offline=True)


def test_an_example_is_a_verb(tmp_path: Path) -> None:
    corpus(tmp_path)
    data = load(tmp_path)
    found = [(each.id, each.words[each.target], each.lemma, each.senses) for each in data.splits["test"]]
    assert found == [
        ("d000.s404.t000", "agit", "agir", ("__ws_2_agir__verb__1",)),
        ("d000.s405.t000", "vole", "voler", ("__ws_1_voler__verb__1", "__ws_2_voler__verb__1")),
        ("d000.s405.t001", "volé", "voler", ("__ws_2_voler__verb__1",)),  # the last part of "a volé"
    ]
    assert data.splits["test"][2].words == ("L'", "avion", "vole", ",", "il", "a", "volé")
    assert data.splits["train"][0].words[0].startswith("Il&")
    both = [*data.splits["train"], *data.splits["validation"]]
    assert len(both) == 40 and {each.lemma for each in both} == {"agir", "voler"}  # "bien" is no verb
    assert data.ref.cut == ("validation",) and data.ref.source == "archive:FSE-1.1-10_12_19.tar.gz"
    assert {each.senses for each in data.splits["validation"]} <= {each.senses for each in data.splits["train"]}


@pytest.mark.parametrize(
    ("old", "new", "gold", "message"),
    [
        ('id="d000.s404.t000"', 'id="d000.s404.t009"', None, "the instance 'd000.s404.t009' has no line"),
        (' lemma="agir"', "", None, "line 8: an instance without 'id' or 'lemma'"),
        (">agit<", "> <", None, "line 8: a word without a form"),
        ("</sentence>", "", None, "is not well-formed XML"),
        ("", "", "d000.s404.t000", r"gold\.key\.txt, line 1: 'd000\.s404\.t000' has no sense"),
        ("", "", TEST[1] + TEST[1], "line 4: 'd000.s404.t000' is there twice"),
    ],
)
def test_what_is_wrong_is_told(old: str, new: str, gold: str | None, message: str, tmp_path: Path) -> None:
    corpus(tmp_path, (TEST[0].replace(old, new, 1) if old else TEST[0], gold or TEST[1]))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_missing_gold_file_and_a_document_type_are_refused(tmp_path: Path) -> None:
    there = corpus(tmp_path, head=HEAD.replace("\n<corpus", '\n<!DOCTYPE corpus [<!ENTITY a "b">]>\n<corpus'))
    with pytest.raises(DataError, match="a document type, which such a corpus does not have: refused"):
        load(tmp_path)
    (there / "wiktionary-190418.gold.key.txt").unlink()
    with pytest.raises(DataError, match=r"wiktionary-190418\.gold\.key\.txt is missing"):
        load(tmp_path)


@pytest.mark.shared
def test_the_real_rows_that_are_here_are_read(shared: Path, tmp_path: Path) -> None:
    """One verb of the test set, and one example of Wiktionary's, whose word is no verb."""
    with tarfile.open(shared / "data/upstream_samples/FSE-1.1-10_12_19.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    (chosen,) = registry.select(["flue-vsd"])
    (one,) = french_semeval(tmp_path, "test", chosen.task)
    assert (one.words[one.target], one.lemma, one.senses) == ("agit", "agir", ("__ws_2_agir__verb__1",))
    assert len(one.words) == 39 and one.id == "d000.s404.t000"
    assert list(french_semeval(tmp_path, "train", chosen.task)) == []
    assert Occurrence.__slots__ == type(one).__slots__  # the reader's examples hold what the kind reads
