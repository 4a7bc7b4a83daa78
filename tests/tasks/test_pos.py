"""The treebanks of Universal Dependencies: each loads generated sentences in the real layout of its files."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import pytest

from flue_bench.data import registry, sources
from flue_bench.errors import DataError
from flue_bench.kinds.kind import kind_named
from flue_bench.task import SPLITS

POS = ("ud-gsd", "ud-partut", "ud-rhapsodie", "ud-sequoia")
TREEBANKS = {"ud-gsd": "GSD", "ud-partut": "ParTUT", "ud-rhapsodie": "Rhapsodie", "ud-sequoia": "Sequoia"}
SENTENCES = """\
# global.columns = ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC
# sent_id = essai-1
# text = Elle va au marché.
1\tElle\telle\tPRON\t_\tNumber=Sing\t2\tnsubj\t_\t_
2\tva\taller\tVERB\t_\tMood=Ind\t0\troot\t_\t_
3-4\tau\t_\t_\t_\t_\t_\t_\t_\t_
3\tà\tà\tADP\t_\t_\t5\tcase\t_\t_
4\tle\tle\tDET\t_\tDefinite=Def\t5\tdet\t_\t_
5\tmarché\tmarché\tNOUN\t_\tGender=Masc\t2\tobl:arg\t_\tSpaceAfter=No
5.1\tva\taller\tVERB\t_\t_\t_\t_\t2:conj\t_
6\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\t_

# sent_id = essai-2
# text = # Tu dors ?
1\t#\t#\tX\t_\t_\t3\tdep\t_\t_
2\tTu\ttu\tPRON\t_\t_\t3\tnsubj\t_\t_
3\tdors\tdormir\tVERB\t_\t_\t0\troot\t_\t_
4\t?\t?\tPUNCT\t_\t_\t3\tpunct\t_\t_

"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


def treebank(name: str, folder: Path, text: str = SENTENCES) -> Path:
    """Write the three files of a treebank as its release has them."""
    there = folder / f"UD_French-{TREEBANKS[name]}-r2.16"
    there.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (there / f"fr_{name[3:]}-ud-{part}.conllu").write_text(text, encoding="utf-8")
    return there


@pytest.mark.parametrize("name", POS)
def test_a_folder_and_an_archive_are_read_as_one(name: str, tmp_path: Path) -> None:
    (chosen,) = registry.select([name])
    there = treebank(name, tmp_path / "D")
    data = sources.load(chosen, data_dir=tmp_path / "D", offline=True)
    labels = chosen.task.labels
    for split in SPLITS:
        first, second = data.splits[split]
        assert first.words == ("Elle", "va", "à", "le", "marché", ".")
        assert [labels[tag] for tag in first.tags] == ["PRON", "VERB", "ADP", "DET", "NOUN", "PUNCT"]
        assert second.words == ("#", "Tu", "dors", "?")
        assert [labels[tag] for tag in second.tags] == ["X", "PRON", "VERB", "PUNCT"]
    assert not data.ref.canonical and not data.ref.cut
    (tmp_path / "P").mkdir()
    with tarfile.open(tmp_path / "P" / f"{there.name}.tar.gz", "w:gz") as out:
        out.add(there, there.name)
        out.add(there, f"{there.name}/not-to-release")  # as in the repositories
    packed = sources.load(chosen, data_dir=tmp_path / "P", offline=True)
    assert packed.ref.digest == data.ref.digest and packed.ref.source == f"archive:{there.name}.tar.gz"


@pytest.mark.parametrize("name", POS)
def test_what_is_no_part_of_speech_is_refused(name: str, tmp_path: Path) -> None:
    (chosen,) = registry.select([name])
    treebank(name, tmp_path, SENTENCES.replace("\tADP\t", "\tPREP\t"))
    with pytest.raises(DataError, match="unknown label 'PREP'"):
        sources.load(chosen, data_dir=tmp_path, offline=True)


@pytest.mark.parametrize("name", POS)
def test_every_task_is_fixed_and_cited(name: str) -> None:
    (chosen,) = registry.select([name])
    task = chosen.task
    assert task.citation and task.homepage.endswith(f"/UD_French-{TREEBANKS[name]}")
    ((archive,),) = (source.archives for source in task.source)
    assert archive.url == f"{task.homepage}/archive/r2.16/UD_French-{TREEBANKS[name]}-r2.16.tar.gz"
    assert task.scheme is None and not any("entity" in metric for metric in kind_named(task.kind).metrics(task))
    assert set(task.groups) == {"pos", "french"}


def test_the_group() -> None:
    assert tuple(each.task.name for each in registry.select(["pos"])) == POS


@pytest.mark.shared
def test_sequoia_as_published(shared: Path, tmp_path: Path) -> None:
    """The words of each part of speech are as many as in the treebank's own statistics."""
    (tmp_path / "UD_French-Sequoia-r2.16").symlink_to(shared / "data/ud_sequoia")
    (chosen,) = registry.select(["ud-sequoia"])
    data = sources.load(chosen, data_dir=tmp_path, offline=True)
    assert data.ref.canonical and data.ref.rows == {"train": 2231, "validation": 412, "test": 456}
    examples = [example for split in SPLITS for example in data.splits[split]]
    assert [sum(len(each.words) for each in data.splits[split]) for split in SPLITS] == [50_502, 9_999, 10_044]
    counted = Counter(chosen.task.labels[tag] for example in examples for tag in example.tags)
    assert counted == {
        "ADJ": 4399, "ADP": 11315, "ADV": 2646, "AUX": 2319, "CCONJ": 1638, "DET": 10400, "INTJ": 3, "NOUN": 15219,
        "NUM": 1777, "PRON": 2808, "PROPN": 3261, "PUNCT": 7864, "SCONJ": 760, "SYM": 40, "VERB": 5875, "X": 221,
    }  # fmt: skip
