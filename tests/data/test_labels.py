"""Labels as files call them: what is read is what the file says, or it is an error that says what to write."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, FlueBenchError, TaskFileError
from flue_bench.kinds.rows import Labels
from flue_bench.kinds.tokens import entity_counts
from flue_bench.task import SPLITS, Task

NAMES = ("négatif", "positif", "neutre")


def load(folder: Path, file: str, *, source: str = "", **task: Any) -> sources.TaskData:
    """The data of a task whose three splits are one file."""
    files = ", ".join(f'{split} = "{file}"' for split in SPLITS)
    fields = {"name": "essai", "kind": "sentence", "labels": list(NAMES), "metric": "f1_macro"} | task
    top = "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    declared = folder / "essai.toml"
    declared.write_text(f"{top}\n[[source]]\nfiles = {{ {files} }}\n{source}\n", encoding="utf-8")
    return sources.load(registry.load_file(declared), offline=True)


def read(data: sources.TaskData) -> list[int]:
    return [example.label for example in data.splits["train"]]


# Names and numbers.


@given(st.lists(st.sampled_from([*NAMES, 0, 1, 2, "0", "1", "2", 0.0, 2.0, "00", "01", True, None, -1]), min_size=1))
def test_a_column_holds_names_or_numbers_and_never_both(values: list[Any]) -> None:
    labels, read = Labels(NAMES, {}), []
    try:
        read = [labels(value) for value in values]
        labels.check()
    except ValueError:
        names = {value for value in values if value in NAMES}
        numbers = {str(value) for value in values if str(value) in ("0", "1", "2", "0.0", "2.0")}
        others = [value for value in values if value is None or value is True or str(value) in ("00", "01", "-1")]
        assert (names and numbers) or others or not numbers & {"0", "0.0"}
        return
    expected = [NAMES.index(value) if value in NAMES else int(float(value)) for value in values]
    assert read == expected and True not in [value is True for value in values]
    assert all(value in NAMES for value in values) or 0 in read


@given(
    names=st.lists(st.from_regex(r"[-+]?[0-9]{1,3}|[a-z]", fullmatch=True), min_size=2, max_size=6, unique=True),
    data=st.data(),
)
def test_labels_that_are_numbers_are_read_by_their_names_alone(names: list[str], data: st.DataObject) -> None:
    """``1``, ``01`` and ``+1`` are three labels; where one label is a number, no number is a position."""
    assume(any(name.lstrip("+-").isdecimal() for name in names))
    labels = Labels(names, {})
    assert [labels(name) for name in names] == list(range(len(names)))
    other = data.draw(st.integers(-20, 20))
    if str(other) in names:
        assert labels(other) == labels(str(other)) == labels(float(other)) == names.index(str(other))
    else:
        with pytest.raises(ValueError):
            labels(other)


@given(count=st.integers(2, 6), first=st.integers(1, 3), data=st.data())
def test_numbers_that_are_not_counted_from_0_are_never_shifted(count: int, first: int, data: st.DataObject) -> None:
    names = [f"classe {chr(97 + i)}" for i in range(count)]
    values = data.draw(st.lists(st.integers(first, first + count - 1), min_size=1))
    labels = Labels(names, {})
    with pytest.raises(ValueError, match="label_names") as told:
        for value in values:
            labels(data.draw(st.sampled_from([value, str(value), float(value)])))
        labels.check()
    said = re.search("`(label_names = .*)` in the source", str(told.value))
    if said is not None:  # the line that the message says is one that can be written
        named = Labels(names, tomllib.loads(said[1])["label_names"])
        known = [value for value in values if str(value) in tomllib.loads(said[1])["label_names"]]
        assert [named(value) for value in known] == [named(str(value)) for value in known]


def test_advice_on_numbers_works_when_followed(tmp_path: Path) -> None:
    for values, expected in (([1, 2, 1], [0, 1, 0]), ([1, 2, 3], [0, 1, 2]), (["3.0", "1.0"], None)):
        rows = [f"phrase {i},{value}" for i, value in enumerate(values)]
        (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
        with pytest.raises(DataError) as told:
            load(tmp_path, "a.csv")
        said = re.findall("`(label_names = .*)` in the source", str(told.value))
        assert said, told.value
        if expected:
            assert read(load(tmp_path, "a.csv", source=said[0])) == expected


def test_two_splits_may_differ_but_not_one_of_several_files(tmp_path: Path) -> None:
    for name, value in (("a-1.csv", "0"), ("a-2.csv", "positif"), ("b.csv", "positif")):
        (tmp_path / name).write_text(f"text,label\nphrase,{value}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a-2\.csv, line 2: label 'positif', but '0' before it is a number"):
        load(tmp_path, "a-*.csv")
    files = 'files = { train = "a-1.csv", validation = "b.csv", test = "b.csv" }'
    (tmp_path / "t.toml").write_text(
        f'name = "e"\nkind = "sentence"\nlabels = ["négatif", "positif"]\nmetric = "mcc"\n[[source]]\n{files}\n'
    )
    data = sources.load(registry.load_file(tmp_path / "t.toml"))
    assert read(data) == [0] and data.hints == (
        "train does not have the label positif, so that no model learns it (1 in validation, 1 in test)",
    )


# Unicode.


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.conll"])
def test_names_and_columns_are_compared_in_nfc(tmp_path: Path, form: Any, file: str) -> None:
    def other(text: str) -> str:
        return unicodedata.normalize(form, text)

    def ours(text: str) -> str:
        return unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[form], text)

    columns, path = [other("mot clé"), other("catégorie"), other("gardé")], tmp_path / file
    rows = [["Élan", other("négatif"), other("été")], ["bon", "positif", "non"], ["vu", "positif", other("été")]]
    match path.suffix:
        case ".parquet":
            parquet.write_table(pa.table(dict(zip(columns, zip(*rows, strict=True), strict=True))), path)
        case ".jsonl":
            lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
            path.write_text("\n".join(lines), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]), encoding="utf-8")
        case _:
            mark = "," if file == "a.csv" else "\t"
            path.write_text("\n".join(mark.join(row) for row in [columns, *rows]), encoding="utf-8")
    if file == "a.conll":
        source = f'columns = {{ words = "{ours("mot clé")}", tags = "{ours("catégorie")}" }}'
        labels = [ours("négatif"), "positif"]
        data = load(tmp_path, file, source=source, kind="tokens", labels=labels, metric="word_accuracy")
        assert [example.tags for example in data.splits["test"]] == [(0, 1, 1)]
        return
    source = (
        f'columns = {{ text = "{ours("mot clé")}", label = "{ours("catégorie")}" }}\n'
        f'where = {{ "{ours("gardé")}" = "{ours("été")}" }}'
    )
    data = load(tmp_path, file, source=source, labels=[ours("négatif"), "positif"])
    assert [(example.text, example.label) for example in data.splits["test"]] == [("Élan", 0), ("vu", 1)]


# where and drop_if.


@pytest.mark.parametrize("file", ["a.parquet", "a.jsonl", "a.csv"])
@pytest.mark.parametrize(
    ("values", "wanted", "held"),
    [
        ([0, 1, 10, -1], "0", [0]),
        ([0, 1, 10, -1], '"0"', [0]),
        ([0, 1, 10, -1], "-1", [3]),
        ([0.0, 0.5, 3.0], "0.5", [1]),
        ([0.0, 0.5, 3.0], "3", [2]),
        ([True, False, True], "true", [0, 2]),
        ([True, False, True], '"False"', [1]),
        (["a", None, "", "b"], '""', [1, 2]),
        ([1, None, 2], '""', [1]),
        (["NS", "ns", "n"], '"NS"', [0]),
        (["1", "01", "un"], '"1"', [0]),
    ],
)
def test_where_keeps_what_drop_if_leaves_out(
    tmp_path: Path, file: str, values: list[Any], wanted: str, held: list[int]
) -> None:
    path = tmp_path / file
    if file == "a.parquet":
        texts = [f"n° {i}" for i in range(len(values))]
        parquet.write_table(pa.table({"text": texts, "label": [i % 3 for i in range(len(values))], "x": values}), path)
    elif file == "a.jsonl":
        lines = [json.dumps({"text": f"n° {i}", "label": i % 3, "x": value}) for i, value in enumerate(values)]
        path.write_text("\n".join(lines), encoding="utf-8")
    else:  # as pandas writes it
        cells = ["" if value is None else value for value in values]
        path.write_text("text,label,x\n" + "".join(f"n° {i},{i % 3},{x}\n" for i, x in enumerate(cells)), "utf-8")
    for key, expected in (("where", held), ("drop_if", [i for i in range(len(values)) if i not in held])):
        labels = {f"{i % 3}": NAMES[i % 3] for i in range(3)}
        named = "label_names = { " + ", ".join(f'"{a}" = "{b}"' for a, b in labels.items()) + " }"
        data = load(tmp_path, file, source=f"{key} = {{ x = {wanted} }}\n{named}")
        assert not any("drop_if" in hint for hint in data.hints)
        assert [example.text for example in data.splits["train"]] == [f"n° {i}" for i in expected], key


def test_what_drop_if_never_finds_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,votes\na,négatif,3\nb,positif,0\n", encoding="utf-8")
    hints = load(tmp_path, "a.csv", source='drop_if = { votes = 0, text = "N/A" }', labels=NAMES[:2]).hints
    assert hints == (
        "drop_if: no row has \"N/A\" as 'text'",
        "no split has the label positif (a mean over all labels counts it as 0)",
    )


# The names in a parquet's metadata.


def class_label(folder: Path, names: Sequence[str], values: Sequence[Any], column: str = "label") -> None:
    """A parquet file as ``datasets`` writes it."""
    kind = datasets.ClassLabel(names=list(names))
    texts: dict[str, Any] = {"text": [f"n° {i}" for i in range(len(values))]}
    if column == "tags":
        texts = {"words": [[f"mot{i}" for i in range(len(each))] for each in values]}
    given = {"text": datasets.Value("string"), "words": datasets.Sequence(datasets.Value("string"))}
    types = {name: given[name] for name in texts} | {column: datasets.Sequence(kind) if column == "tags" else kind}
    made = datasets.Dataset.from_dict({**texts, column: list(values)}, features=datasets.Features(types))
    made.to_parquet(folder / "a.parquet")


@given(order=st.permutations(NAMES), values=st.lists(st.integers(0, 2), min_size=3, max_size=6))
def test_a_parquets_own_names_are_held_against_the_tasks(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], values: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    class_label(folder, [name.upper() for name in order], values)
    if tuple(order) == NAMES:
        assert read(load(folder, "a.parquet")) == values
        return
    with pytest.raises(DataError, match=r"a\.parquet, column label: its numbers stand for .*label_names") as told:
        load(folder, "a.parquet")
    said = re.findall("`(label_names = .*)` in the source", str(told.value))
    assert read(load(folder, "a.parquet", source=said[0])) == [NAMES.index(order[value]) for value in values]


def test_names_that_say_nothing_or_something_else(tmp_path: Path) -> None:
    class_label(tmp_path, ["0", "1", "2"], [2, 0, 1])
    data = load(tmp_path, "a.parquet")
    assert read(data) == [2, 0, 1] and data.hints == ()
    class_label(tmp_path, ["neg", "pos", "neu"], [2, 1, 1])
    data = load(tmp_path, "a.parquet")
    assert read(data) == [2, 1, 1] and "a.parquet calls its labels neg, pos, neu; by position they are" in data.hints[0]
    said = load(tmp_path, "a.parquet", source='label_names = { "0" = "neutre", "1" = "négatif", "2" = "positif" }')
    assert read(said) == [1, 0, 0] and not any("by position" in hint for hint in said.hints)
    class_label(tmp_path, ["négatif", "neutre", "autre"], [0, 1, 2])
    with pytest.raises(DataError, match=r'\{ "0" = "négatif", "1" = "neutre" \}'):
        load(tmp_path, "a.parquet")


@pytest.mark.parametrize("said", ["[" * 100_000, '{"info": {"features": {"label": ' + "[" * 100_000, "{}", "\udc00"])
def test_a_parquets_names_that_nobody_can_read_are_none(said: str, tmp_path: Path) -> None:
    class_label(tmp_path, NAMES, [2, 0, 1])
    table = parquet.read_table(tmp_path / "a.parquet")
    described = {"huggingface": said.encode("utf-8", "surrogatepass")}
    parquet.write_table(table.replace_schema_metadata(described), tmp_path / "a.parquet")
    assert read(load(tmp_path, "a.parquet")) == [2, 0, 1]


def test_tags_in_a_parquet_have_names_too(tmp_path: Path) -> None:
    names, tags = ["O", "B-PER", "I-PER"], [[0, 1, 2], [1, 0]]
    class_label(tmp_path, names, tags, "tags")
    ner = {"kind": "tokens", "scheme": "IOB2", "metric": "entity_f1_micro"}
    assert [e.tags for e in load(tmp_path, "a.parquet", labels=names, **ner).splits["train"]] == [(0, 1, 2), (1, 0)]
    with pytest.raises(DataError, match="its numbers stand for O, B-PER, I-PER"):
        load(tmp_path, "a.parquet", labels=["B-PER", "I-PER", "O"], **ner)
    bilou = ["O", "B-PER", "I-PER", "L-PER", "U-PER"]
    class_label(tmp_path, bilou, [[0, 1, 2, 3], [4, 0]], "tags")
    data = load(tmp_path, "a.parquet", labels=bilou, **(ner | {"scheme": "BILOU"}))
    assert [e.tags for e in data.splits["train"]] == [(0, 1, 2, 2), (1, 0)]
    table = parquet.read_table(tmp_path / "a.parquet").replace_schema_metadata(None)
    parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(DataError, match="unknown label 0"):  # by position they would be tags of IOB2
        load(tmp_path, "b.parquet", labels=bilou, **(ner | {"scheme": "BILOU"}))


# Schemes.

TYPES = ("PER", "LOC")
SPANS = st.lists(st.tuples(st.sampled_from([None, *TYPES]), st.integers(1, 3)), min_size=1, max_size=6)
"""A sentence: entities of some words one after another, and words outside any."""
PREFIXES = {"IO": "I", "IOB1": "BI", "IOB2": "BI", "BILOU": "BILU", "IOBES": "BIES"}


def tags(spans: Sequence[tuple[str | None, int]], scheme: str) -> list[str]:
    """A sentence as a scheme writes it."""
    found: list[str] = []
    before = None
    for kind, length in spans:
        if kind is None:
            found += ["O"] * length
        elif scheme in ("BILOU", "IOBES"):
            last, alone = ("L", "U") if scheme == "BILOU" else ("E", "S")
            found += (
                [f"{alone}-{kind}"] if length == 1 else [f"B-{kind}", *[f"I-{kind}"] * (length - 2), f"{last}-{kind}"]
            )
        else:
            opens = {"IO": "I", "IOB2": "B", "IOB1": "B" if before == kind else "I"}[scheme]
            found += [f"{opens}-{kind}", *[f"I-{kind}"] * (length - 1)]
        before = kind
    return found


def labels_of(scheme: str) -> list[str]:
    return ["O", *(f"{prefix}-{kind}" for kind, prefix in product(TYPES, PREFIXES[scheme]))]


@given(
    sentences=st.lists(SPANS, min_size=1, max_size=4),
    written=st.sampled_from(list(PREFIXES)),
    declared=st.sampled_from(list(PREFIXES)),
)
def test_entities_are_those_of_the_file_or_its_scheme_is_an_error(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[tuple[str | None, int]]],
    written: str,
    declared: str,
) -> None:
    """A file in any scheme, declared as any: all entities are read, or it is an error; nothing else ever happens."""
    folder = tmp_path_factory.mktemp("scheme")
    lines = [[f"mot{i} {tag}" for i, tag in enumerate(tags(spans, written))] for spans in sentences]
    (folder / "a.conll").write_text("\n\n".join("\n".join(each) for each in lines) + "\n", encoding="utf-8")
    entities = sum(kind is not None for spans in sentences for kind, _ in spans)
    assume(entities)  # rows without any are refused
    ner = {"kind": "tokens", "metric": "entity_f1_micro", "scheme": declared, "labels": labels_of(declared)}
    adjacent = any(a and a == b for spans in sentences for (a, _), (b, _) in pairwise(spans))
    try:
        data = load(folder, "a.conll", **ner)
    except FlueBenchError as error:
        assert written != declared
        if {written, declared} == {"IOB1", "IOB2"}:
            assert f'Say `scheme = "{written}"`' in str(error)
        return
    read = registry.load_file(folder / "essai.toml").task
    gold = [example.tags for example in data.splits["train"]]
    assert read.scheme == ("IOB2" if declared in ("BILOU", "IOBES") else declared)
    counted = int(entity_counts(gold, gold, read.labels, read.scheme)[:, :, 2].sum())
    if written == "IO" and declared in ("IO", "IOB1"):  # IO itself cannot tell neighbours apart
        assert counted == entities or adjacent
    else:
        assert counted == entities


@pytest.mark.parametrize("scheme", ["BILOU", "IOBES"])
@given(sentences=st.lists(SPANS, min_size=1, max_size=4))
def test_bilou_and_iobes_are_read_as_iob2(
    tmp_path_factory: pytest.TempPathFactory, scheme: str, sentences: list[list[tuple[str | None, int]]]
) -> None:
    folder, digests = tmp_path_factory.mktemp("read"), []
    assume(any(kind for spans in sentences for kind, _ in spans))
    ner = {"kind": "tokens", "metric": "entity_f1_micro"}
    for written in ("IOB2", scheme):
        lines = [[f"mot{i} {tag}" for i, tag in enumerate(tags(spans, written))] for spans in sentences]
        (folder / "a.conll").write_text("\n\n".join("\n".join(each) for each in lines) + "\n", encoding="utf-8")
        for labels in (labels_of(written), labels_of("IOB2")):
            digests.append(load(folder, "a.conll", labels=labels, scheme=written, **ner).ref.digest)
    assert len(set(digests)) == 1


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("B-PER O", r"line 1: 'O' follows 'B-PER', which scheme BILOU excludes: B- opens an entity, I- and then L-"),
        ("O L-PER", "'L-PER' follows 'O'"),
        ("B-PER L-LOC", "'L-LOC' follows 'B-PER'"),
        ("U-PER I-PER", "'I-PER' follows 'U-PER'"),
        ("B-PER U-PER", "'U-PER' follows 'B-PER'"),
        ("B-PER I-PER", "'O' follows 'I-PER'"),
        ("U-PER S-PER", "unknown label 'S-PER'"),
    ],
)
def test_bilou_that_does_not_close(tmp_path: Path, sentence: str, message: str) -> None:
    (tmp_path / "a.conll").write_text("\n".join(f"mot {tag}" for tag in sentence.split()) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(tmp_path, "a.conll", kind="tokens", scheme="BILOU", labels=labels_of("BILOU"), metric="entity_f1_micro")


def test_a_few_slips_are_told_and_an_unknown_prefix_says_its_scheme(tmp_path: Path) -> None:
    ner = {"kind": "tokens", "scheme": "IOB2", "labels": labels_of("IOB2"), "metric": "entity_f1_micro"}
    (tmp_path / "a.conll").write_text("a B-PER\nb O\nc B-LOC\nd O\ne I-PER\n", encoding="utf-8")
    hints = load(tmp_path, "a.conll", **ner).hints
    assert hints[0] == "no split has the label I-LOC"
    assert hints[1] == "train: scheme IOB2, but 1 of 3 entities begin with I-: they count as none"
    (tmp_path / "a.conll").write_text("a I-PER\nb O\nc I-LOC\nd O\ne B-PER\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"2 of 3 entities begin with I-; IOB1 fits all but 1\. Say `scheme = \"IOB1\"`"
    ):
        load(tmp_path, "a.conll", **ner)
    (tmp_path / "a.conll").write_text("a U-PER\nb O\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"unknown label 'U-PER'.*in BILOU it would be one: `scheme = \"BILOU\"`"):
        load(tmp_path, "a.conll", **ner)
    assert load(tmp_path, "a.conll", **(ner | {"scheme": "BILOU"})).splits["train"][0].tags == (1, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheme": "BIO"}, r"scheme: 'BIO' is called IOB2 here; IO, IOB1, IOB2, BILOU and IOBES are known"),
        ({"scheme": "BILUO"}, r"scheme: 'BILUO' is called BILOU here"),
        ({"scheme": "iob2"}, r"scheme: 'iob2' is called IOB2 here"),
        ({"scheme": "IOE1"}, r"scheme: no scheme 'IOE1'; IO, IOB1, IOB2, BILOU and IOBES are known"),
        ({"scheme": 3}, r"scheme: no scheme '3'"),
        ({"scheme": "IO", "labels": ["O", "B", "I"]}, r"labels: 'B' has no type: call it 'B-X'"),
        ({}, r"scheme: 'entity_f1_micro' counts entities: say how 'labels' encode them, IO, IOB1, IOB2 \("),
        ({"metric": "word_accuracy"}, r"scheme: 'B-PER' is part of an entity: say how"),
        ({"scheme": "IO"}, r"labels: scheme IO has no tags such as B-PER, B-LOC: they would be IOB2 or IOB1"),
        ({"scheme": "IOB2", "labels": labels_of("IOBES")}, r"no tags such as E-PER, S-PER, .*: they would be IOBES"),
        ({"scheme": "IOBES", "labels": labels_of("BILOU")}, r"no tags such as L-PER, U-PER.*they would be BILOU"),
        ({"scheme": "IOB2", "labels": ["B-PER", "I-PER"]}, r"labels: entities need the label 'O'; a tagging without"),
    ],
)
def test_labels_and_scheme_of_a_task_file(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    declared = {"kind": "tokens", "labels": labels_of("IOB2"), "metric": "entity_f1_micro"} | fields
    with pytest.raises(TaskFileError, match=message):
        load(tmp_path, "a.conll", **declared)


def test_a_task_in_python_has_its_labels_in_iob2() -> None:
    source = {"files": {"train": "a.conll"}}
    declared = {"name": "e", "kind": "tokens", "metric": "entity_f1_micro", "source": [source]}
    made = Task.model_validate(declared | {"scheme": "IOBES", "labels": labels_of("IOBES")})
    assert (list(made.labels), made.scheme, made.source[0].scheme) == (labels_of("IOB2"), "IOB2", "IOBES")


# A header that is taken for a row.


@pytest.mark.parametrize(
    ("header", "found"), [("TOKEN NE MISC", True), ("Marie NE MISC", False), ("TOKEN NE _", False)]
)
def test_a_header_that_label_names_excuses(tmp_path: Path, header: str, found: bool) -> None:
    (tmp_path / "a.conll").write_text(f"{header}\nMarie B-PER _\ndort O _\n", encoding="utf-8")
    ner = {"kind": "tokens", "scheme": "IOB2", "labels": labels_of("IOB2"), "metric": "entity_f1_micro"}
    source = 'label_names = { NE = "O" }\ncolumns = { tags = 1 }'
    if not found:  # a name, or a tag, that is met again is none of a header
        assert len(load(tmp_path, "a.conll", source=source, **ner).splits["train"][0].words) == 3
        return
    with pytest.raises(DataError, match=r"`label_names` has the name of a column, 'NE'\. Line 1 looks like") as told:
        load(tmp_path, "a.conll", source=source, **ner)
    said = re.findall("`(columns = .*)`", str(told.value))[0]
    assert load(tmp_path, "a.conll", source=said, **ner).splits["train"][0].words == ("Marie", "dort")
