"""Tasks beside FLUE: each loads generated rows in the real layout of its files, as ``--data-dir`` has them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest

from flue_bench.data import registry, sources
from flue_bench.errors import DataError
from flue_bench.task import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TEXTS = ["Une élève répare le vélo.", "Il pleut, dit-elle.", "L'été fut « très » long."]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


def load(name: str, folder: Path) -> Any:
    (chosen,) = registry.select([name])
    return sources.load(chosen, data_dir=folder, offline=True)


def parquet(path: Path, rows: list[dict[str, Any]], names: dict[str, list[str]] | None = None) -> None:
    """Write a file as ``datasets`` does: numbers of labels, and their names in the metadata."""
    table = pyarrow.Table.from_pylist(rows)
    features = {column: {"names": of, "_type": "ClassLabel"} for column, of in (names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_groups() -> None:
    def names(group: str) -> set[str]:
        return {each.task.name for each in registry.select([group])}

    assert names("similarity") == {"stsb-fr", "sick-fr"}
    assert names("flue-open") == {"allocine", "paws-x", "wikiner", "xnli"}
    assert names("french") == names("similarity") | names("flue-open") | {"massive-intent", "rte3-fr"}


@pytest.mark.parametrize("name", ["allocine", "massive-intent", "rte3-fr", "sick-fr", "stsb-fr"])
def test_every_task_is_pinned_and_cited(name: str) -> None:
    (chosen,) = registry.select([name])
    assert chosen.task.citation and chosen.task.homepage.startswith("https://")
    assert all(source.hub and source.pinned for source in chosen.task.source)


def test_allocine(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"review": f"{text} {split}", "label": row % 2} for row, text in enumerate(TEXTS)]
        file = tmp_path / f"tblard/allocine/allocine/{split}-00000-of-00001.parquet"
        parquet(file, rows, {"label": ["neg", "pos"]})
    data = load("allocine", tmp_path)
    assert [(each.text, each.label) for each in data.splits["test"]] == [
        (f"{text} test", row % 2) for row, text in enumerate(TEXTS)
    ]
    assert data.hints == () and not data.ref.canonical
    parquet(file, rows, {"label": ["pos", "neg"]})  # were it the other way round, it would be said
    with pytest.raises(DataError, match="its numbers stand for pos, neg"):
        load("allocine", tmp_path)


def test_massive_intent(tmp_path: Path) -> None:
    intents = ["alarm_set", "datetime_query", "lists_query"]
    for split in SPLITS:
        rows = [
            {"id": str(row), "label": intent, "label_text": intent, "text": f"{text} {split}", "lang": "fr"}
            for row, (intent, text) in enumerate(zip(intents, TEXTS, strict=True))
        ]
        file = tmp_path / f"mteb/amazon_massive_intent/{split}/fr.json.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    data = load("massive-intent", tmp_path)
    (chosen,) = registry.select(["massive-intent"])
    assert len(chosen.task.labels) == 60
    found = [(each.id, each.text, chosen.task.labels[each.label]) for each in data.splits["train"]]
    assert found == [(str(row), f"{text} train", intents[row]) for row, text in enumerate(TEXTS)]


def test_stsb_fr(tmp_path: Path) -> None:
    """Its scores are 32-bit floats."""
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True):
        rows = {
            "sentence1": TEXTS,
            "sentence2": TEXTS[::-1],
            "similarity_score": pyarrow.array([0.0, 3.8, 5.0], pyarrow.float32()),
        }
        file = tmp_path / f"PhilipMay/stsb_multi_mt/fr/{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pyarrow.table(rows), file)
        assert split
    data = load("stsb-fr", tmp_path)
    assert [(each.text, each.text_pair) for each in data.splits["validation"]] == list(
        zip(TEXTS, TEXTS[::-1], strict=True)
    )
    assert [each.value for each in data.splits["test"]] == pytest.approx([0.0, 3.8, 5.0])


def test_sick_fr(tmp_path: Path) -> None:
    """A CSV with the numbers of its rows in a first column without a name."""
    folder = tmp_path / "Lajavaness/SICK-fr"
    folder.mkdir(parents=True)
    for split in SPLITS:
        lines = [",sentence_A,sentence_B,relatedness_score"]
        for row, (text, score) in enumerate(zip(TEXTS, (1.0, 3.7, 5), strict=True)):
            lines.append(f'{row},"{text}","{TEXTS[-row]}",{score}')
        (folder / f"sick_{split}_fr.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = load("sick-fr", tmp_path)
    assert [(each.text, each.text_pair, each.value) for each in data.splits["train"]] == [
        (TEXTS[0], TEXTS[0], 1.0),
        (TEXTS[1], TEXTS[2], 3.7),
        (TEXTS[2], TEXTS[1], 5.0),
    ]
    (folder / "sick_test_fr.csv").write_text(lines[0] + "\n0,a,b,0.5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds 0\.5, and the task's numbers are from 1 to 5"):
        load("sick-fr", tmp_path)


def test_rte3_fr(tmp_path: Path) -> None:
    """Trained on XNLI; its own labels are numbers, with their names beside them."""
    names = ["entailment", "neutral", "contradiction"]
    for split in SPLITS:
        rows = [
            {"premise": f"{text} {split}", "hypothesis": TEXTS[-row], "label": row} for row, text in enumerate(TEXTS)
        ]
        parquet(tmp_path / f"facebook/xnli/fr/{split}-00000-of-00001.parquet", rows, {"label": names})
    folder = tmp_path / "maximoss/rte3-french"
    folder.mkdir(parents=True)
    lines = ["id\tlanguage\tpremise\thypothesis\tlabel\tlabel_text\ttask\tlength"]
    for row, text in enumerate(TEXTS):
        label = f"{2 - row}\t{names[2 - row]}"
        lines.append(f"{row + 1}\tfr\t{text}\t{TEXTS[-row]}\t{label}\tIE\tshort")
    (folder / "RTE3-FR-test-gold-3class.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = load("rte3-fr", tmp_path)
    assert [(each.text, each.label) for each in data.splits["test"]] == [
        (text, 2 - row) for row, text in enumerate(TEXTS)
    ]
    assert data.splits["train"][0].text == f"{TEXTS[0]} train" and "trained on" in data.ref.source


@pytest.mark.shared
def test_rte3_fr_as_published(shared: Path, tmp_path: Path) -> None:
    """The labels that its numbers stand for are those of the column beside them; all 800 rows are read."""
    (chosen,) = registry.select(["rte3-fr"])
    file = shared / "data/rte3_fr/RTE3-FR-test-gold-3class.tsv"
    text = f"""
name = "rte3-alone"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[[source]]
files = {{ train = "{file.name}", validation = "{file.name}", test = "{file.name}" }}
columns = {{ text = "premise", text_pair = "hypothesis", label = "%s" }}
"""
    read = []
    for column in "label", "label_text":
        (tmp_path / "t.toml").write_text(text % column, encoding="utf-8")
        data = sources.load(registry.load_file(tmp_path / "t.toml"), data_dir=file.parent, offline=True)
        read.append([each.label for each in data.splits["test"]])
    assert read[0] == read[1] and chosen.task.rows["test"] == (len(read[0]),) == (800,)
