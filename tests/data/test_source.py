from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import threading
import time
import tomllib
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from flue_bench.data import hub, registry, sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError, FlueBenchError, OfflineError, UsageError
from flue_bench.kinds.sentence import SENTENCE as SENTENCE_KIND
from flue_bench.task import CONVERTED, SPLITS, Example, Split, Task

NOBODY = {"hub": "personne/absent", "revision": "0" * 40, "files": {"train": "train-*.parquet"}}
FILES = {split: f"{split}.tsv" for split in SPLITS}
TEXTS = [f"Le {noun} est {adjective}." for noun, adjective in product(("thé", "café", "vin", "pain"), ("bon", "froid"))]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


def task(folder: Path, *sources: dict[str, Any], **fields: Any) -> Registered:
    """A task whose file would lie in ``folder``."""
    declared = {"name": "essai", "kind": "sentence", "labels": ["non", "oui"], "metric": "accuracy", "source": sources}
    if fields.get("kind") == "tokens":
        declared |= {"labels": ["O", "LOC", "PER"], "metric": "entity_f1_micro", "scheme": "IO"}
    return Registered(Task.model_validate(declared | fields), folder / "essai.toml", "")


def tsv(folder: Path, split: Split, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(row) for row in (header, *rows)]
    (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def all_splits(folder: Path, texts: list[str] = TEXTS) -> Path:
    for split in SPLITS:
        tsv(folder, split, [(f"{text} ({split})", ("non", "oui")[i % 2]) for i, text in enumerate(texts)])
    return folder


def texts(data: sources.TaskData, split: Split = "train") -> list[str]:
    return [example.text for example in data.splits[split]]


def test_plain_files(tmp_path: Path) -> None:
    data = sources.load(task(all_splits(tmp_path), {"files": FILES}))
    first = data.splits["test"][0]
    assert first == Example("test-0", first.group, f"{TEXTS[0]} (test)", label=0)
    assert len(first.group) == 16 and int(first.group, 16) >= 0
    assert list(data.splits) == list(SPLITS)
    assert data.ref.rows == dict.fromkeys(SPLITS, len(TEXTS))
    assert (data.ref.source, data.ref.canonical, data.ref.deviations, data.ref.cut) == ("files", True, (), ())
    assert sorted(data.ref.files) == sorted(FILES.values())
    assert all(len(digest) == 64 for digest in data.ref.files.values())


def test_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """As an older system wrote it: a record holds text."""
    all_splits(tmp_path)
    (tmp_path / FILES["train"]).rename(tmp_path / os.fsdecode(b"for\xeat.tsv"))
    data = sources.load(task(tmp_path, {"files": FILES | {"train": "for*.tsv"}}))
    assert "for\\xeat.tsv" in data.ref.files and len(data.splits["train"]) == len(TEXTS)


def test_text_is_nfc(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Où est l'été ? À Noël, garçon.")
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": decomposed, "label": "oui"}) + "\n", encoding="utf-8")
    tsv(tmp_path, "test", [("bon", "oui")])
    data = sources.load(
        task(tmp_path, {"files": {"train": "train.jsonl", "validation": "test.tsv", "test": "test.tsv"}})
    )
    assert texts(data) == ["Où est l'été ? À Noël, garçon."]
    assert decomposed != texts(data)[0]


@pytest.mark.parametrize(
    ("labels", "label_names", "values", "expected"),
    [
        (["non", "oui"], {}, [0, 1, "0", "1", 1.0], [0, 1, 0, 1, 1]),
        (["non", "oui"], {}, ["non", "oui", "oui"], [0, 1, 1]),
        (["non", "oui", "?"], {"0": "?"}, ["non", "oui", "0", 0], [0, 1, 2, 2]),
        (["oui", "non"], {"yes": "oui", "no": "non"}, ["yes", "no", "oui"], [0, 1, 0]),
        (["non", "oui"], {"-1": "non", "1": "oui"}, [-1, 1, "-1", "1"], [0, 1, 0, 1]),
        (["1", "2", "3"], {}, [1, "2", 3], [0, 1, 2]),
        (["1", "01"], {}, ["1", "01", 1], [0, 1, 0]),
        (["a", "b", "c"], {"1": "a", "2": "b", "3": "c"}, [1, "2", 3], [0, 1, 2]),
        (["faux", "vrai"], {"true": "vrai", "false": "faux"}, [True, False], [1, 0]),
        (["faux", "vrai"], {"True": "vrai", "False": "faux"}, [True, False, "True"], [1, 0, 1]),
        (["false", "true"], {}, [True, False], [1, 0]),
        (["ne\u0301gatif", "positif"], {}, ["négatif", "ne\u0301gatif", "positif"], [0, 0, 1]),
        (["négatif", "positif"], {"de\u0301testé": "ne\u0301gatif"}, ["détesté", "positif"], [0, 1]),
    ],
)
def test_what_a_label_may_be(
    tmp_path: Path, labels: list[str], label_names: dict[str, str], values: list[Any], expected: list[int]
) -> None:
    rows = [json.dumps({"text": f"n° {i}", "label": value}) for i, value in enumerate(values)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    declared = {"files": dict.fromkeys(SPLITS, "a.jsonl"), "label_names": label_names}
    data = sources.load(task(tmp_path, declared, labels=labels))
    assert [example.label for example in data.splits["train"]] == expected


@pytest.mark.parametrize(
    ("row", "label_names", "message"),
    [
        ({"text": "bon", "label": "peut-être"}, {}, r"line 2: unknown label 'peut-être'; the task's are non, oui"),
        (
            {"text": "bon", "label": 2},
            {},
            r"line 2: unknown label 2.* positions from 0; .*\{ \"1\" = \"non\", \"2\" = \"oui\" \}",
        ),
        (
            {"text": "bon", "label": "2.0"},
            {},
            r"line 2: unknown label '2\.0'.*\{ \"0\.0\" = \"non\", \"1\.0\" = \"oui\" \}",
        ),
        ({"text": "bon", "label": 1}, {}, r"line 2: label 1, but 'oui' before it is a name: .*\{ \"1\" = \"oui\" \}"),
        (
            {"text": "bon", "label": "0"},
            {},
            r"line 2: label '0', but 'oui' before it is a name: .*\{ \"0\" = \"non\" \}",
        ),
        ({"text": "bon", "label": "00"}, {}, r"line 2: unknown label '00'"),
        (
            {"text": "bon", "label": True},
            {},
            r"line 2: unknown label True.*\{ \"false\" = \"non\", \"true\" = \"oui\" \}",
        ),
        ({"text": "bon", "label": "U-oui"}, {}, r"line 2: unknown label 'U-oui'"),
        ({"text": "bon", "label": 0}, {"1": "oui", "-1": "non"}, r"line 2: unknown label 0"),
        ({"text": "bon", "label": -1}, {}, r"line 2: the label is -1, which stands for 'not published'"),
        (
            {"text": "bon", "label": [1]},
            {},
            r"line 2: unknown label \[1\].* \(a label for each word needs kind 'tokens'\)",
        ),
        (
            {"text": "bon", "label": 3.8},
            {},
            r"line 2: unknown label 3\.8.* \(a number that is measured needs a kind for",
        ),
        ({"text": "bon", "label": "3,75"}, {}, r"line 2: unknown label '3,75'.* \(a number that is measured needs a"),
        ({"text": ["bon", "vin"], "label": 1}, {}, r"line 2: .* is no text: a list of words needs kind 'tokens'"),
        ({"text": "bon", "label": None}, {}, r"line 2: the label is empty: None \(`drop_if` with \"\" leaves"),
        ({"text": "bon", "label": float("nan")}, {}, r"line 2: the label is empty: nan"),
        ({"text": None, "label": 1}, {}, r"line 2: the column for 'text' holds None, which is no text"),
        ({"text": float("nan"), "label": 1}, {}, r"line 2: the column for 'text' holds nan"),
        ({"text": 3, "label": 1}, {}, r"line 2: the column for 'text' holds 3"),
        ({"text": "\ud83d", "label": 1}, {}, r"line 2: .* surrogates not allowed"),
        ({"texte": "bon", "label": 1}, {}, r"line 2 has no column 'text'\. It has: texte, label"),
    ],
)
def test_a_row_that_does_not_fit(
    tmp_path: Path, row: dict[str, Any], label_names: dict[str, str], message: str
) -> None:
    good = {"text": "bon", "label": "oui"}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.jsonl, {message}"):
        sources.load(task(tmp_path, {"files": {"train": "a.jsonl"}, "label_names": label_names}))


def test_a_broken_source_is_not_passed_over(tmp_path: Path) -> None:
    tsv(tmp_path, "train", [("bon", "oui")], ("phrase", "label"))
    second = {"files": {"train": "good.tsv"}}
    all_splits(tmp_path / "sub")
    (tmp_path / "good.tsv").write_bytes((tmp_path / "sub/train.tsv").read_bytes())
    with pytest.raises(DataError, match="no column 'text'"):
        sources.load(task(tmp_path, {"files": {"train": "train.tsv"}}, second))


def test_pairs_where_drop_if_and_columns_of_one_split(tmp_path: Path) -> None:
    header = ("langue", "s1", "s2", "note")
    rows = [("fr", "Un", "deux", "1"), ("en", "One", "two", "1"), ("fr", "NS", "x", "0"), ("fr", "Il", "va", "0")]
    tsv(tmp_path, "train", [("Trois", "quatre", "oui"), ("Six", "sept", "non")], ("a", "b", "label"))
    for split in ("validation", "test"):
        tsv(tmp_path, split, rows, header)
    declared = {
        "files": FILES
        | {"train": {"path": "train.tsv", "columns": {"text": "a", "text_pair": "b", "label": "label"}, "where": {}}},
        "columns": {"text": "s1", "text_pair": "s2", "label": "note"},
        "where": {"langue": "fr"},
    }
    pairs = task(tmp_path, declared, kind="sentence-pair", rows={"train": 2, "validation": 3, "test": 3})
    assert [e.text_pair for e in sources.load(pairs).splits["test"]] == ["deux", "x", "va"]

    dropped = declared | {"drop_if": {"s1": "NS", "s2": "NS"}}
    dropped["files"] = {**FILES, "train": "validation.tsv"}
    data = sources.load(task(tmp_path, dropped, kind="sentence-pair", rows={"train": 3, "validation": 3, "test": 3}))
    assert [(e.id, e.text, e.text_pair, e.label) for e in data.splits["test"]] == [
        ("test-0", "Un", "deux", 1),
        ("test-2", "Il", "va", 0),
    ]
    assert data.ref.canonical, "published counts are those of the files, placeholders included"
    assert data.ref.rows["test"] == 2


def test_where_in_a_file_without_header(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("TRAIN\tbon\toui\nTEST\tmauvais\tnon\nTRAIN\tlong\tnon\n")
    files = {split: {"path": "a.tsv", "where": {"0": split.upper()}} for split in ("train", "test")}
    declared = {"files": files | {"validation": {"path": "a.tsv"}}, "columns": {"text": 1, "label": 2}}
    data = sources.load(task(tmp_path, declared))
    assert (texts(data), texts(data, "test"), len(data.splits["validation"])) == (["bon", "long"], ["mauvais"], 3)


def test_own_ids_and_groups(tmp_path: Path) -> None:
    header = ("id", "premisse", "text", "label")
    for split in SPLITS:
        tsv(tmp_path, split, [("0", "p", "un", "oui"), ("a", "p", "deux", "non"), ("", "q", "un", "oui")], header)
    data = sources.load(task(tmp_path, {"files": FILES, "columns": {"id": "id", "group": "premisse"}}))
    first, second, third = data.splits["train"]
    assert [first.id, second.id, third.id] == ["0", "a", "train-2"]
    assert first.group == second.group != third.group
    tsv(tmp_path, "test", [("0", "p", "un", "oui"), ("0", "p", "deux", "non")], header)
    with pytest.raises(DataError, match="an id occurs twice in test"):
        sources.load(task(tmp_path, {"files": FILES, "columns": {"id": "id"}}))


def test_tokens_from_conll_and_from_parquet_are_the_same(tmp_path: Path) -> None:
    sentences = [(["Marie", "dort"], [2, 0]), (["À", "Paris", "!"], [0, 1, 0])]
    names = ["O", "LOC", "PER"]
    for split in SPLITS:
        blocks = ["\n".join(f"{w} {names[t]}" for w, t in zip(*each, strict=True)) for each in sentences]
        (tmp_path / f"{split}.conll").write_text("\n\n".join(blocks), encoding="utf-8")
        table = pa.table({"tokens": [w for w, _ in sentences], "ner_tags": [t for _, t in sentences]})
        parquet.write_table(table, tmp_path / f"{split}-0.parquet")
    conll = sources.load(task(tmp_path, {"files": {s: f"{s}.conll" for s in SPLITS}}, kind="tokens"))
    columns = {"words": "tokens", "tags": "ner_tags"}
    hub = {"files": {s: f"{s}-*.parquet" for s in SPLITS}, "columns": columns}
    columnar = sources.load(task(tmp_path, hub, kind="tokens"))
    assert conll.splits == columnar.splits
    assert conll.ref.digest == columnar.ref.digest
    example = conll.splits["train"][1]
    assert (example.words, example.tags, example.label) == (("À", "Paris", "!"), (0, 1, 0), -1)


def test_tokens_that_do_not_fit(tmp_path: Path) -> None:
    def load(*rows: dict[str, Any]) -> sources.TaskData:
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return sources.load(task(tmp_path, {"files": dict.fromkeys(SPLITS, "a.jsonl")}, kind="tokens"))

    good = {"words": ["Marie", ""], "tags": ["PER", "O"]}
    data = load(good, {"words": [], "tags": []})
    assert [example.words for example in data.splits["test"]] == [("Marie", "")]
    assert data.ref.deviations == tuple(f"{split}: sentences without words left out: 1" for split in SPLITS)
    for bad, message in (
        ({"words": ["Marie"], "tags": []}, "1 words but 0 tags"),
        ({"words": "Marie", "tags": ["PER"]}, "'words' holds 'Marie', which is no list: a text needs kind 'sentence'"),
        ({"words": ["Marie"], "tags": ["ORG"]}, "unknown label 'ORG'"),
        ({"words": [None], "tags": ["O"]}, "'words' holds None"),
    ):
        with pytest.raises(DataError, match=rf"a\.jsonl, line 2: .*{message}"):
            load(good, bad)


def test_conll_columns_by_name_and_no_conditions(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("TOKEN\tNE\nMarie\tPER\n\nParis\tLOC\n")
    files = dict.fromkeys(SPLITS, "a.tsv")
    by_number = task(tmp_path, {"files": files}, kind="tokens")
    with pytest.raises(
        DataError, match=r"line 1: unknown label 'NE'.* Line 1 looks like a header: set `(.*)` in"
    ) as told:
        sources.load(by_number)
    advice = tomllib.loads(re.findall("`(.*)`", str(told.value))[0])
    data = sources.load(task(tmp_path, {"files": files} | advice, kind="tokens"))
    assert [example.words for example in data.splits["test"]] == [("Marie",), ("Paris",)]
    with pytest.raises(DataError, match=r"no column 'mot'\. It has: TOKEN, NE"):
        sources.load(task(tmp_path, {"files": files, "columns": {"words": "mot"}}, kind="tokens"))
    with pytest.raises(DataError, match="no 'id', 'group', 'where' or 'drop_if'"):
        sources.load(task(tmp_path, {"files": files, "where": {"0": "x"}}, kind="tokens"))


def test_what_is_left_out_of_conll_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("-DOCSTART- O\n\nMarie PER\n\n-DOCSTART- O\n\nParis LOC\n")
    data = sources.load(task(tmp_path, {"files": dict.fromkeys(SPLITS, "a.conll")}, kind="tokens"))
    assert len(data.splits["test"]) == 2
    assert data.ref.deviations == tuple(f"{split}: -DOCSTART- lines left out: 2" for split in SPLITS)
    assert data.ref.canonical


def test_how_a_text_file_is_written_and_a_hint_where_that_is_not_said(tmp_path: Path) -> None:
    for split in SPLITS:
        content = 'text;label\r\n"Il a dit ""non""; puis ""oui""";oui\r\n"C\'était l\'été";non\r\n'
        (tmp_path / f"{split}.csv").write_bytes(content.encode("cp1252"))
        (tmp_path / f"{split}.tsv").write_text('text\tlabel\n"Il a dit ""non"" puis"\toui\nBref.\tnon\n', "utf-8")
    table: dict[str, Any] = {"files": {split: f"{split}.csv" for split in SPLITS}}
    told = {"delimiter": ";", "encoding": "cp1252"}
    for advice in (*told.items(), None):
        try:
            data = sources.load(task(tmp_path, table))
            assert advice is None
        except DataError as error:
            assert advice is not None
            key, value = advice
            assert f'{key} = "{value}"' in str(error)
            table[key] = value
    assert texts(data) == ['Il a dit "non"; puis "oui"', "C'était l'été"]
    assert data.hints == ()
    bare = sources.load(task(tmp_path, {"files": FILES}))
    assert len(bare.hints) == 3 and "train.tsv: 1 rows have fields in double quotes" in bare.hints[0]
    assert bare.ref.canonical and not bare.ref.deviations  # a hint is none
    for quoting in (True, False):
        said = sources.load(task(tmp_path, {"files": FILES, "quoting": quoting}))
        assert said.hints == () and (said.ref.digest == bare.ref.digest) == (not quoting)
    assert texts(sources.load(task(tmp_path, {"files": FILES, "quoting": True}))) == ['Il a dit "non" puis', "Bref."]


CASES = {
    "01-docstart/t": "24",
    "02-nbsp-in-word/t": "24",
    "03-zero-for-O/t": """label '0', but 'B-PER' before it is a name: .* `label_names = { "0" = "O" }`""",
    "05-iob1-said-iob2/t": """scheme IOB2, but 48 of 48 entities begin with I-; IOB1 fits all. Say `scheme = "IOB1"`""",
    "05-iob1-said-iob2/t2": "scheme IO has no tags such as B-PER, B-LOC: they would be IOB2 or IOB1",
    "05-iob1-said-iob2/t3": "scheme IO has no tags such as B-PER, B-LOC: they would be IOB2 or IOB1",
    "05-iob1-said-iob2/t4": "24 examples",
    "07-nfd-label/t": "30 examples$",
    "07-nfd-label/t2": "30 examples$",
    "08-bool-label/t": """label_names = { "false" = "négatif", "true" = "positif" }""",
    "08-bool-label/t2": "30 examples$",
    "08-bool-label/t3": "30 examples$",
    "09-drop-if-number/t": "30 examples$",
    "09-drop-if-number/t2": "20 examples$",
    "09-drop-if-number/t3": "30 examples$",
    "09-drop-if-number/t4": """row 31: the label is empty: None (`drop_if` with "" """,
    "09-drop-if-number/t5": "30 examples$",
    "09-drop-if-number/t6": """line 32: the label is empty: '' (`drop_if` with "" """,
    "10-excel-csv/t": 'delimiter = ";"',
    "10-excel-csv/t2": 'encoding = "cp1252"',
    "10-excel-csv/t3": "30 examples$",
    "10-excel-csv/t4": """label_names = { "0.0" = "négatif", "1.0" = "positif" }""",
    "10-excel-csv/t5": """label_names = { "1" = "négatif", "2" = "positif" }""",
    "10-excel-csv/t6": "numbers 1, 2, never 0, which is 'négatif': .*label_names",
    "10-excel-csv/t7": "30 examples$",
    "10-excel-csv/t8": "has spaces around it",
    "10-excel-csv/t9": "30 examples$",
    "10-excel-csv/t10": "30 examples, hint: quoted.tsv: 30 rows",
    "10-excel-csv/t11": 'encoding = "utf-16"',
    "10-excel-csv/t12": "as on old Macs",
    "10-excel-csv/t13": "line 2 holds a NUL byte",
    "10-excel-csv/t14": "30 examples$",
    "12-annotation-tools/t": "as doccano and Label Studio",
    "12-annotation-tools/t2": "24 examples",
    "12-annotation-tools/t3": "as doccano and Label Studio",
    "12-annotation-tools/t4": "brat's files of spans",
    "12-annotation-tools/t5": "columns = { tags = 1 }",
    "12-annotation-tools/t6": "24 examples",
    "12-annotation-tools/t7": 'delimiter = ";"',
    "12-annotation-tools/t8": "24 examples",
    "12-annotation-tools/t9": "24 examples",
    "14-unseen-label/t": "30 examples, hint: train does not have the label neutre, .* (1 in test)",
    "14-unseen-label/t2": "30 examples, hint: no split has the label neutre (a mean over all labels counts it as 0)$",
    "16-no-blank-lines/t": "is one sentence of 1,200 words",
    "16-no-blank-lines/t2": "has no d2.conll",
    "17-json-suffix/t": "30 examples$",
    "17-json-suffix/t2": "30 examples$",
    "19-hipe-header/t": 'columns = { words = "TOKEN", tags = "NE-COARSE-LIT" }',
    "19-hipe-header/t2": "6 examples",
    "19-hipe-header/t3": "6 examples",
    "19-hipe-header/t4": "6 examples",
    "19-hipe-header/t5": """has the name of a column, 'NE-COARSE-LIT'. Line 1 looks like a header: set `columns = {""",
}
"""Inputs made after public reports: how many rows are read with which hint, or what the message says (.* for more)."""


@pytest.mark.shared
def test_every_input_that_others_have_met_has_an_outcome(shared: Path) -> None:
    folder = shared / "cases"
    assert CASES.keys() == {path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.toml")}


@pytest.mark.shared
@pytest.mark.parametrize(("case", "outcome"), CASES.items())
def test_inputs_that_others_have_met(shared: Path, case: str, outcome: str) -> None:
    try:
        data = sources.load(registry.load_file(shared / "cases" / f"{case}.toml"), offline=True)
        said = ", hint: ".join([f"{len(data.splits['train'])} examples", *data.hints])
    except FlueBenchError as error:
        said = str(error)
    assert re.search(re.escape(outcome).replace(r"\.\*", ".*").replace(r"\$", "$"), said), said


def followed(declared: dict[str, Any], folder: Path) -> sources.TaskData:
    """The data of a task file in which every line stands that messages say to write, and those of quotes."""
    declared = declared | {"source": [dict(each) for each in declared["source"]]}
    for _ in range(4):
        try:
            data = sources.load(Registered(Task.model_validate(declared), folder / "t.toml", ""), offline=True)
            told = [hint for hint in data.hints if "`" in hint]
        except DataError as error:
            told = [str(error)]
        if not told:
            return data
        said = re.search(r"`(\w+ = .*?)`|(\w+ = \"[^\"]*\")", told[0])
        assert said, told
        line = tomllib.loads(said[1] or said[2])
        (declared if "scheme" in line else declared["source"][0]).update(line)
    raise AssertionError(f"no end of advice: {told}")


@pytest.mark.shared
@pytest.mark.parametrize(
    "case", [case for case, outcome in CASES.items() if " = " in outcome or "quoted.tsv" in outcome]
)
def test_the_advice_given_to_others_works(shared: Path, case: str) -> None:
    """What the message says to write, until it reads: all rows, and no stray quote."""
    data = followed(tomllib.loads((shared / "cases" / f"{case}.toml").read_text()), (shared / "cases" / case).parent)
    assert len(data.splits["train"]) in (6, 24, 30)
    assert not any(example.text.startswith('"') for example in data.splits["train"])


@pytest.mark.shared
def test_rte_3_as_published_has_quotes_of_csv(shared: Path, tmp_path: Path) -> None:
    split = dict(zip(SPLITS, ("dev-set", "dev-set", "test-gold"), strict=True))
    declared = {
        "files": {name: f"RTE3-FR-{file}-3class.tsv" for name, file in split.items()},
        "columns": {"text": "premise", "text_pair": "hypothesis", "label": "label_text"},
    }
    labels = ["entailment", "neutral", "contradiction"]

    def load(**more: Any) -> sources.TaskData:
        made = task(tmp_path, declared | more, kind="sentence-pair", labels=labels)
        return sources.load(made, data_dir=shared / "data/rte3_fr")

    bare, read = load(), load(quoting=True)
    assert [data.ref.rows["test"] for data in (bare, read)] == [800, 800]
    stray = [
        sum(
            example.text.startswith('"') or (example.text_pair or "").startswith('"')
            for example in data.splits["train"]
        )
        for data in (bare, read)
    ]
    assert stray[0] == 114 and stray[1] < 114
    assert bare.hints[0].startswith("RTE3-FR-dev-set-3class.tsv: 114 rows have fields in double quotes")
    assert read.hints == ()


def test_row_counts_make_data_canonical(tmp_path: Path) -> None:
    all_splits(tmp_path)
    rows = dict.fromkeys(SPLITS, len(TEXTS))
    assert sources.load(task(tmp_path, {"files": FILES}, rows=rows)).ref.canonical
    ref = sources.load(task(tmp_path, {"files": FILES}, rows=rows | {"test": 5010})).ref
    assert not ref.canonical
    assert ref.deviations == (f"test has {len(TEXTS)} rows, canonical is 5,010",)
    without = {split: FILES[split] for split in ("train", "validation")}
    ref = sources.load(task(tmp_path, {"files": without}, rows=rows, split={"test": 0.25})).ref
    assert (ref.canonical, ref.cut) == (False, ("test",))
    assert ref.deviations == (f"there is no test split, canonical is {len(TEXTS)}",)


def test_a_missing_file_an_empty_split_and_no_share(tmp_path: Path) -> None:
    all_splits(tmp_path)
    with pytest.raises(DataError, match=r"has no absent\.tsv, the test split of task 'essai'"):
        sources.load(task(tmp_path, {"files": FILES | {"test": "absent.tsv"}}))
    with pytest.raises(DataError, match="has no test split"):
        sources.load(task(tmp_path, {"files": {"train": "train.tsv"}}))
    with pytest.raises(DataError, match="has no validation split"):
        sources.load(task(tmp_path, {"files": {"train": "train.tsv", "test": "test.tsv"}}, split={"validation": 0}))
    with pytest.raises(DataError, match="has no example for its train split"):
        sources.load(task(tmp_path, {"files": FILES, "where": {"label": "jamais"}}))


# Cutting splits


def cut(examples: list[Example], share: float, seed: int = 0) -> tuple[list[Example], list[Example]]:
    return sources._parted(SENTENCE_KIND, examples, share, seed)


def numbered(count: int, labels: int, per_group: int = 1) -> list[Example]:
    return [Example(str(i), f"g{i // per_group}", "x", label=i % labels) for i in range(count)]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=12, max_size=80),
    st.sampled_from([0.05, 0.1, 0.2, 0.5]),
    st.integers(0, 3),
)
def test_a_cut_keeps_groups_whole_and_order(pairs: list[tuple[int, int]], share: float, seed: int) -> None:
    examples = [Example(str(i), f"g{group}", label=label) for i, (group, label) in enumerate(pairs)]
    try:
        rest, part = cut(examples, share, seed)
    except DataError:
        return
    assert part and rest
    assert not {e.group for e in rest} & {e.group for e in part}
    assert sorted((*rest, *part), key=lambda e: int(e.id)) == examples
    assert [int(e.id) for e in rest] == sorted(int(e.id) for e in rest)
    assert [int(e.id) for e in part] == sorted(int(e.id) for e in part)
    total, taken = Counter(e.label for e in examples), Counter(e.label for e in part)
    assert all(taken[label] <= max(1, round(share * total[label])) for label in total)
    assert {e.label for e in rest} == set(total), "no label leaves train"


def test_a_cut_is_stratified() -> None:
    rest, part = cut([e for e in numbered(2000, 2) if e.label or int(e.id) < 500], 0.2)
    assert Counter(e.label for e in part) == {0: 50, 1: 200}
    assert Counter(e.label for e in rest) == {0: 200, 1: 800}
    _, part = cut(numbered(3000, 3, per_group=3), 0.1)  # every premise with its three hypotheses
    assert Counter(e.label for e in part) == {0: 100, 1: 100, 2: 100}


def test_a_cut_depends_on_the_seed_and_the_groups_alone() -> None:
    examples = numbered(400, 2)
    chosen = {e.id for e in cut(examples, 0.1)[1]}
    assert {e.id for e in cut(examples[::-1], 0.1)[1]} == chosen
    assert {e.id for e in cut(examples, 0.1, seed=1)[1]} != chosen
    by_hash = sorted(examples, key=lambda e: hashlib.blake2b(f"0 {e.group}".encode(), digest_size=8).hexdigest())
    assert chosen == {e.id for label in (0, 1) for e in [e for e in by_hash if e.label == label][:20]}


def test_test_is_cut_before_validation(tmp_path: Path) -> None:
    texts_ = [f"Phrase n° {i}." for i in range(200)]
    all_splits(tmp_path, texts_)
    declared = {"files": {"train": "train.tsv"}}
    both = sources.load(task(tmp_path, declared, split={"test": 0.25, "validation": 0.1}))
    assert both.ref.rows == {"train": 134, "validation": 16, "test": 50}  # 8 of the 75 that each label has left
    assert both.ref.cut == ("test", "validation")
    assert both.splits["test"][0].id.startswith("train-")
    given_test = sources.load(task(tmp_path, {"files": {"train": "train.tsv", "test": "test.tsv"}}))
    assert given_test.ref.rows == {"train": 180, "validation": 20, "test": 200}
    other = sources.load(task(tmp_path, declared, split={"test": 0.25, "validation": 0.1, "seed": 1}))
    assert other.ref.digest != both.ref.digest


def test_too_little_to_cut(tmp_path: Path) -> None:
    tsv(tmp_path, "train", [("bon", "oui"), ("bon", "non")])
    with pytest.raises(DataError, match="too few, or too alike"):
        sources.load(task(tmp_path, {"files": {"train": "train.tsv", "test": "train.tsv"}}))


# Identity


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    first = sources.load(task(all_splits(tmp_path / "a"), {"files": FILES})).ref
    again = sources.load(task(all_splits(tmp_path / "b"), {"files": FILES})).ref
    assert (first.digest, first.files) == (again.digest, again.files)
    for file in (tmp_path / "b").iterdir():  # another form of the same rows
        rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()[1:]]
        records = [{"label": ["non", "oui"].index(label), "text": text} for text, label in rows]
        file.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    other_form = sources.load(task(tmp_path / "b", {"files": {s: f"{s}.jsonl" for s in SPLITS}})).ref
    assert other_form.digest == first.digest
    assert other_form.files != first.files
    changed = (tmp_path / "a/test.tsv").read_text("utf-8").replace("oui", "non", 1)
    (tmp_path / "a/test.tsv").write_text(changed, encoding="utf-8")
    assert sources.load(task(tmp_path / "a", {"files": FILES})).ref.digest != first.digest


def test_large_data_takes_seconds(tmp_path: Path) -> None:
    """40,000 pairs, a tenth of XNLI: a bound ten times what an idle core needs."""
    rows = 40_000
    table = pa.table(
        {"text": [f"Une prémisse, la n° {i}." for i in range(rows)], "label": [i % 2 for i in range(rows)]}
    )
    table = table.append_column("text_pair", table["text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    started = time.perf_counter()
    data = sources.load(task(tmp_path, {"files": dict.fromkeys(SPLITS, "a.parquet")}, kind="sentence-pair"))
    assert time.perf_counter() - started < 12
    assert data.ref.rows["train"] == rows


# Where data is looked for


def test_nothing_to_be_had(tmp_path: Path) -> None:
    archives = {"archives": ["https://example.invalid/x-final.tar.gz"], "files": {"train": "x.tsv"}}
    with pytest.raises(OfflineError) as caught:
        sources.load(task(tmp_path, NOBODY, archives), offline=True)
    first, second = str(caught.value).splitlines()
    assert "No data for task 'essai'" in first and "--data-dir" in first and "network" in first
    assert "personne/absent" in second and "x-final.tar.gz" in second
    with pytest.raises(DataError, match=r"Correct `files` in .*--data-dir.*\n.*has no absent\.tsv"):
        sources.load(task(tmp_path, {"files": {"train": "absent.tsv"}}))
    with pytest.raises(UsageError, match="no such folder"):
        sources.load(task(tmp_path, NOBODY), data_dir=tmp_path / "absent")


def test_the_next_source_serves_when_one_is_not_to_be_had(tmp_path: Path) -> None:
    data = sources.load(task(all_splits(tmp_path), NOBODY, {"files": FILES}), offline=True)
    assert data.ref.source == "files"


def test_hub_files_in_the_data_directory(tmp_path: Path) -> None:
    folder = tmp_path / "D/personne/absent/fr"
    folder.mkdir(parents=True)
    for shard in (1, 0):
        table = pa.table({"text": [f"n° {shard}{i}" for i in range(3)], "label": [0, 1, 0]})
        parquet.write_table(table, folder / f"train-{shard}.parquet")
    files = {split: "fr/train-*.parquet" for split in SPLITS}
    data = sources.load(task(tmp_path, NOBODY | {"files": files}), data_dir=tmp_path / "D", offline=True)
    assert texts(data) == ["n° 00", "n° 01", "n° 02", "n° 10", "n° 11", "n° 12"]
    assert [example.id for example in data.splits["train"]][3] == "train-3"
    assert data.ref.source == "data-dir:personne/absent"
    assert sorted(data.ref.files) == ["fr/train-0.parquet", "fr/train-1.parquet"]
    (folder / "train-0.parquet").unlink()
    (folder / "train-1.parquet").unlink()
    with pytest.raises(DataError, match=r"absent has no fr/train-\*\.parquet"):
        sources.load(task(tmp_path, NOBODY | {"files": files}), data_dir=tmp_path / "D", offline=True)


@pytest.mark.parametrize("place", ["D/essai", "D", "."])
def test_plain_files_in_the_data_directory(tmp_path: Path, place: str) -> None:
    all_splits(tmp_path, ["de la tâche", "encore"])
    all_splits(tmp_path / place, ["du dossier", "encore"])
    (tmp_path / "D").mkdir(exist_ok=True)
    data = sources.load(task(tmp_path, {"files": FILES}), data_dir=tmp_path / "D")
    assert texts(data)[0] == "du dossier (train)"


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "parquet"])
def test_our_own_columns_serve_any_task(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "D/essai"
    folder.mkdir(parents=True)
    for split in SPLITS:
        rows = [{"text": f"{text} ({split})", "label": "oui"} for text in TEXTS]
        file = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), file)
        elif suffix == "jsonl":
            file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        else:
            mark = "\t" if suffix == "tsv" else ","
            file.write_text("\n".join(mark.join(row) for row in (rows[0], *(r.values() for r in rows))), "utf-8")
    odd = NOBODY | {"columns": {"text": "premise"}, "where": {"langue": "fr"}}
    data = sources.load(task(tmp_path, odd), data_dir=tmp_path / "D", offline=True)
    assert texts(data, "test") == [f"{text} (test)" for text in TEXTS]
    assert data.ref.source == "data-dir:essai"
    (folder / "test.arff").touch()
    (folder / ("test.csv" if suffix != "csv" else "test.tsv")).touch()
    with pytest.raises(DataError, match="which of them is the test split"):
        sources.load(task(tmp_path, odd), data_dir=tmp_path / "D", offline=True)


def test_our_own_conll(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / "essai").mkdir(exist_ok=True)
        (tmp_path / f"essai/{split}.conll").write_text("Marie\tPER\n\nParis\tLOC\n")
    data = sources.load(task(tmp_path, NOBODY, kind="tokens"), data_dir=tmp_path, offline=True)
    assert [example.words for example in data.splits["test"]] == [("Marie",), ("Paris",)]


# Archives


def packed(folder: Path, name: str = "x-final.zip") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    all_splits(folder / "unpacked/x-final/fr")
    with zipfile.ZipFile(folder / name, "w") as out:
        for file in sorted((folder / "unpacked").rglob("*.tsv")):
            out.write(file, file.relative_to(folder / "unpacked").as_posix())
        out.writestr("x-final/de/train.tsv", "not wanted")
    return folder / name


def archived(url: str) -> dict[str, Any]:
    return {"archives": [url], "files": {split: f"x-final/fr/{split}.tsv" for split in SPLITS}}


def test_archives_in_the_data_directory(tmp_path: Path) -> None:
    file = packed(tmp_path / "D")
    declared = archived("https://example.invalid/x-final.zip")
    data = sources.load(task(tmp_path, declared), data_dir=tmp_path / "D", offline=True)
    assert len(data.splits["train"]) == len(TEXTS)
    assert data.ref.source == "archive:x-final.zip"
    assert list(data.ref.files) == ["x-final.zip"]
    assert not list((tmp_path / "cache").rglob("de"))
    beside = sources.load(task(tmp_path, declared), data_dir=tmp_path / "D/unpacked", offline=True)
    assert beside.ref.digest == data.ref.digest
    assert beside.ref.source == "data-dir:x-final"
    assert sorted(beside.ref.files) == [f"x-final/fr/{split}.tsv" for split in sorted(SPLITS)]
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"x-final\.zip cannot be unpacked"):
        sources.load(task(tmp_path, declared), data_dir=tmp_path / "D", offline=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that serves ``tmp_path / "www"``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "www").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_archives_are_downloaded_once(tmp_path: Path, served: str) -> None:
    file = packed(tmp_path / "www")
    declared = archived(f"{served}/x-final.zip")
    with pytest.raises(OfflineError):
        sources.load(task(tmp_path, declared), offline=True)
    data = sources.load(task(tmp_path, declared))
    assert data.ref.source == "archive:x-final.zip"
    file.unlink()
    assert sources.load(task(tmp_path, declared), offline=True) == data
    assert sources.lacking(task(tmp_path, declared), offline=True) == ""
    elsewhere = task(tmp_path, archived(f"{served}/other.zip"))
    with pytest.raises(DataError, match=r"No data for task 'essai'.*\n.*HTTP 404") as caught:
        sources.load(elsewhere)
    assert sources.lacking(elsewhere) in str(caught.value)


def known(url: str, file: Path, **other: Any) -> dict[str, Any]:
    """The archive with the size and hash of this file."""
    content = file.read_bytes()
    archive = {"url": url, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | other
    return archived(url) | {"archives": [archive]}


def test_an_archive_of_known_hash_is_the_same_data(tmp_path: Path, served: str) -> None:
    url = f"{served}/x-final.zip"
    declared = known(url, packed(tmp_path / "www"))
    pinned = sources.load(task(tmp_path, declared))
    assert pinned == sources.load(task(tmp_path, archived(url)), offline=True)  # of the very same cache
    assert pinned.ref.canonical and not pinned.ref.deviations


def test_a_download_that_differs_is_not_kept(tmp_path: Path, served: str) -> None:
    declared = task(tmp_path, known(f"{served}/x-final.zip", packed(tmp_path / "www")))
    whole = (tmp_path / "www/x-final.zip").read_bytes()
    for content, message in (
        (b"<!DOCTYPE html><title>Log in</title>", r"x-final\.zip sends an HTML page \(a log-in, perhaps\)"),
        (whole[:-1], rf"sends {len(whole) - 1:,} bytes, the published file has {len(whole):,}"),
        (whole[:-1] + b"x", r"sent another file than the published one"),
    ):
        (tmp_path / "www/x-final.zip").write_bytes(content)
        with pytest.raises(DataError, match=message):
            sources.load(declared)
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    (tmp_path / "www/x-final.zip").write_bytes(whole)
    assert sources.load(declared).ref.canonical


def test_what_an_older_version_cached_is_compared_too(tmp_path: Path, served: str) -> None:
    url = f"{served}/x-final.zip"
    right = packed(tmp_path / "www")
    declared = known(url, right)
    content = right.read_bytes()
    right.write_bytes(packed(tmp_path / "other").read_bytes() + b"\n")
    sources.load(task(tmp_path, archived(url)))
    right.write_bytes(content)
    data = sources.load(task(tmp_path, declared))
    assert data.ref.files == {"x-final.zip": hashlib.sha256(content).hexdigest()}


def test_an_archive_of_ones_own_that_differs_is_read_and_marked(tmp_path: Path) -> None:
    file = packed(tmp_path / "D")
    declared = known("https://example.invalid/x-final.zip", file)
    data = sources.load(task(tmp_path, declared), data_dir=tmp_path / "D", offline=True)
    assert data.ref.canonical
    other = task(tmp_path, known("https://example.invalid/x-final.zip", file, sha256="0" * 64))
    marked = sources.load(other, data_dir=tmp_path / "D", offline=True)
    assert marked.splits == data.splits and marked.ref.digest == data.ref.digest
    assert not marked.ref.canonical
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert marked.ref.deviations == (
        f"x-final.zip is not the published archive (its SHA-256 is {digest[:12]}…, not 000000000000…)",
    )


ACCESS = "Ask the\nlibrary of Xanten for it."


def test_what_has_to_be_asked_for_is_said(tmp_path: Path, served: str) -> None:
    file = packed(tmp_path / "D")
    url = f"{served}/x-final.zip"
    declared = task(tmp_path, known(url, file) | {"access": ACCESS})
    for offline in (True, False):
        advice = sources.lacking(declared, offline=offline)
        assert advice.startswith(
            "Ask the library of Xanten for it. Save what you receive as D/x-final.zip and give --data-dir D.\n"
        )
        with pytest.raises((DataError, OfflineError)) as caught:
            sources.load(declared, offline=offline)
        assert str(caught.value) == f"No data for task 'essai'. {advice}"
    assert sources.lacking(declared, data_dir=tmp_path / "D", offline=True) == ""
    file.rename(tmp_path / "www/x-final.zip")  # free at last
    assert sources.lacking(declared) == ""
    assert sources.load(declared).ref.canonical


def test_asking_whether_data_can_be_had_fetches_and_unpacks_nothing(tmp_path: Path, served: str) -> None:
    packed(tmp_path / "www")
    assert sources.lacking(task(tmp_path, archived(f"{served}/x-final.zip"))) == ""
    (tmp_path / "D").mkdir()
    (tmp_path / "D/x-final.zip").write_bytes(b"damaged")
    assert sources.lacking(task(tmp_path, archived(f"{served}/x-final.zip")), data_dir=tmp_path / "D") == ""
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UsageError, match="no such folder"):
        sources.lacking(task(tmp_path, NOBODY), data_dir=tmp_path / "none")
    assert "has no train.tsv" in sources.lacking(task(tmp_path, {"files": FILES}))
    all_splits(tmp_path)
    assert sources.lacking(task(tmp_path, {"files": FILES}), offline=True) == ""


def test_several_row_counts_may_be_canonical(tmp_path: Path) -> None:
    count = len(TEXTS)
    all_splits(tmp_path)
    for counts, canonical in (([count - 1, count], True), ([count], True), ([count + 1, count + 2], False)):
        ref = sources.load(task(tmp_path, {"files": FILES}, rows={"test": counts})).ref
        assert ref.canonical == canonical
    assert ref.deviations == (f"test has {count} rows, canonical is {count + 1} or {count + 2}",)


@pytest.mark.parametrize(("revision", "pinned"), [("0" * 40, True), ("main", False), (CONVERTED, False)])
def test_a_branch_of_the_hub_is_never_canonical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str, pinned: bool
) -> None:
    declared = task(tmp_path, NOBODY | {"revision": revision, "files": FILES})
    snapshot = hub.Snapshot(all_splits(tmp_path / "snapshot"), "c0ffee" * 6 + "0000")
    monkeypatch.setattr(hub, "fetch", lambda *_, **__: snapshot)
    ref = sources.load(declared).ref
    assert ref.source == "hub:personne/absent@c0ffeec0ffee" and ref.canonical == pinned
    said = (f"unpinned revision {revision} of personne/absent (commit c0ffeec0ffee)",)
    assert ref.deviations == (() if pinned else said)
    all_splits(tmp_path / "D/personne/absent")
    mirror = sources.load(declared, data_dir=tmp_path / "D", offline=True).ref
    assert (mirror.digest, mirror.canonical) == (ref.digest, pinned)


# Readers


def read(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """A reader as a plugin would bring it: no test split, ids of its own for train only."""
    if split != "test":
        for i in range(4 if split == "train" else 2):
            name = unicodedata.normalize("NFD", f"été {i} de {folder.name}, {task.name}")
            yield Example(f"r{i}" if split == "train" else "", "premisse" if i < 2 else "", name, label=i % 2)


def test_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "readers", lambda: {"mien": read, "faux": lambda *_: [Example("", "", "a", label=2)]})
    (tmp_path / "sous").mkdir()
    data = sources.load(task(tmp_path / "sous", {"reader": "mien"}, split={"test": 0.3}, rows={"train": 4}))
    train = [*data.splits["train"], *data.splits["test"]]
    assert {example.id for example in train} == {"r0", "r1", "r2", "r3"}
    by_id = {example.id: example for example in train}
    assert by_id["r2"].text == "été 2 de sous, essai"
    assert by_id["r0"].group == by_id["r1"].group != by_id["r2"].group != by_id["r3"].group
    assert [example.id for example in data.splits["validation"]] == ["validation-0", "validation-1"]
    assert (data.ref.source, data.ref.cut, data.ref.canonical, data.ref.files) == ("reader:mien", ("test",), True, {})
    with pytest.raises(DataError, match="Reader faux, example 0 of train: unknown label 2"):
        sources.load(task(tmp_path, {"reader": "faux"}))
    monkeypatch.setattr(sources, "readers", lambda: {"vide": lambda *_: []})
    with pytest.raises(DataError, match="reader:vide has no training example"):
        sources.load(task(tmp_path, {"reader": "vide"}))


@pytest.mark.shared
def test_real_files(shared: Path, tmp_path: Path) -> None:
    pairs = {"columns": {"text": "premise", "text_pair": "hypo", "label": "label"}}
    labels = ["entailment", "neutral", "contradiction"]

    def load(name: str, declared: dict[str, Any], **fields: Any) -> sources.TaskData:
        return sources.load(task(tmp_path, declared, **fields), data_dir=shared / "data" / name)

    splits = {"train": "TRAIN", "validation": "TRIAL", "test": "TEST"}
    sick = {s: {"path": "sick_fr.tsv", "where": {"split": name}} for s, name in splits.items()}
    data = load("sick_fr", pairs | {"files": sick}, kind="sentence-pair", labels=labels)
    assert data.ref.rows == {"train": 4439, "validation": 495, "test": 4906}

    xnli = {"train": "xnli.dev.fr.tsv", "test": "xnli.test.fr.tsv"}
    data = load("xnli_fr", pairs | {"files": xnli}, kind="sentence-pair", labels=labels)
    assert data.ref.rows == {"train": 2241, "validation": 249, "test": 5010}
    assert Counter(e.label for e in data.splits["test"]) == {0: 1670, 1: 1670, 2: 1670}
    assert Counter(e.label for e in data.splits["validation"]) == {0: 83, 1: 83, 2: 83}

    books = {"files": {"train": "polarity-fr-amazon.csv"}, "columns": {"text": 0, "label": 1}}
    books["label_names"] = {"-1": "non", "1": "oui"}
    data = load("amazon_books_fr", books, split={"test": 0.2})
    assert data.ref.rows["train"] + data.ref.rows["validation"] + data.ref.rows["test"] == 1500
    assert not {e.text for e in data.splits["train"]} & {e.text for e in data.splits["test"]}


def test_the_registry_reads_what_source_reads(tmp_path: Path) -> None:
    """From a TOML file to examples, with nothing between."""
    all_splits(tmp_path)
    (tmp_path / "mien.toml").write_text(
        'name = "mien"\nkind = "sentence"\nlabels = ["non", "oui"]\nmetric = "accuracy"\n'
        '[[source]]\nfiles = { train = "train.tsv", validation = "validation.tsv", test = "test.tsv" }\n'
    )
    (only,) = registry.select([str(tmp_path / "mien.toml")])
    assert sources.load(only).splits == sources.load(task(tmp_path, {"files": FILES})).splits


SECRET = "root:x:0:0 secret"


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("how", ["file", "folder", "glob", "chain", "device", "packed", "conll", "reader", "loop"])
def test_a_link_out_of_a_tasks_folder_is_not_read(how: str, tmp_path: Path) -> None:
    """The file it leads to would be quoted in the error on its rows."""
    folder, elsewhere = all_splits(tmp_path / "theirs"), tmp_path / "private"
    elsewhere.mkdir()
    for name in ("train.tsv", "a.conll", "train.tsv.gz"):
        (elsewhere / name).write_text(f"{SECRET}\n{SECRET}\n")
    files, declared = dict(FILES), {}
    match how:
        case "file" | "reader":
            (folder / "train.tsv").unlink()
            (folder / "train.tsv").symlink_to(elsewhere / "train.tsv")
        case "folder" | "glob":
            (folder / "data").symlink_to(elsewhere)
            files["train"] = "data/train.tsv" if how == "folder" else "*/train.tsv"
        case "chain":
            (folder / "link").symlink_to("../private")
            (folder / "train.tsv").unlink()
            (folder / "train.tsv").symlink_to("link/train.tsv")
        case "device":
            (folder / "train.tsv").unlink()
            (folder / "train.tsv").symlink_to("/dev/zero")
        case "loop":
            (folder / "train.tsv").unlink()
            (folder / "train.tsv").symlink_to("train.tsv")
        case "packed":
            files["train"] = "train.tsv.gz"
            (folder / "train.tsv.gz").symlink_to(elsewhere / "train.tsv.gz")
        case "conll":
            files = dict.fromkeys(SPLITS, "a.conll")
            (folder / "a.conll").symlink_to("../private/a.conll")
            declared = {"kind": "tokens"}
    reader = {"reader": "webis-cls"} if how == "reader" else {}
    with pytest.raises(DataError) as error:
        sources.load(task(folder, {"files": files, **reader}, **declared))
    assert "secret" not in str(error.value)
    assert "is a link out of" in str(error.value) or how in ("device", "loop")


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_links_within_a_tasks_folder_and_those_of_a_data_directory_are_read(tmp_path: Path) -> None:
    folder = all_splits(tmp_path / "real")
    (folder / "train.tsv").rename(folder / "kept.tsv")
    (folder / "train.tsv").symlink_to("kept.tsv")
    (tmp_path / "linked").symlink_to(folder)
    data = sources.load(task(tmp_path / "linked", {"files": FILES}))
    (tmp_path / "placed" / "essai").mkdir(parents=True)
    for name in FILES.values():
        (tmp_path / "placed" / "essai" / name).symlink_to(folder / name)
    by_hand = sources.load(task(tmp_path / "nowhere", {"files": FILES}), data_dir=tmp_path / "placed")
    assert data.ref.digest == by_hand.ref.digest


@pytest.mark.parametrize("kind", ["sentence", "tokens", "reader"])
def test_examples_that_take_too_much_memory_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MEMORY", 2**20)
    if kind == "tokens":
        (tmp_path / "a.jsonl").write_text(f"{json.dumps({'words': ['a'] * 9000, 'tags': ['O'] * 9000})}\n" * 3)
        declared = task(tmp_path, {"files": dict.fromkeys(SPLITS, "a.jsonl")}, kind="tokens")
    elif kind == "sentence":
        tsv(tmp_path, "train", [("", "oui")] * 5000)
        declared = task(tmp_path, {"files": dict.fromkeys(SPLITS, "train.tsv")})
    else:
        (tmp_path / "a.xml").write_text("<item><rating>1</rating><text>a</text></item>" * 5000)
        declared = task(tmp_path, {"files": dict.fromkeys(SPLITS, "a.xml"), "reader": "webis-cls"})
    with pytest.raises(DataError, match="Task 'essai': its examples take more than"):
        sources.load(declared)


def test_memory_that_runs_out_while_data_are_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(sources.formats, "rows", full)
    with pytest.raises(DataError, match="its data do not fit into the memory"):
        sources.load(task(all_splits(tmp_path), {"files": FILES}))
