"""Rows of the newer kinds as people's files and data frames have them: read as they are meant, or told what to do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tomllib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import torch

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError
from flue_bench.kinds.rows import plain
from flue_bench.task import SPLITS, Task

CONTEXT = "Mon élève vend l'œuf 👩‍🔬 à Port-Grenet ; ma sœur range l'arc à Lyon."
TWICE = "Un arc, puis un arc."


class Kind(NamedTuple):
    """Rows of a kind that are right, and what its task declares besides."""

    declared: dict[str, Any]
    rows: list[dict[str, Any]]
    lists: tuple[str, ...]
    """Columns that hold lists, or objects."""


def _answers(*texts: str, context: str = CONTEXT) -> dict[str, list[Any]]:
    return {"text": list(texts), "answer_start": [context.index(text) for text in texts]}


KINDS = {
    "multi-label": Kind(
        {"labels": ["joie", "peur", "colère"], "metric": "f1_micro"},
        [
            {"text": f"texte {i}", "labels": [["joie"], ["joie", "peur"], [], ["peur", "colère"]][i % 4]}
            for i in range(12)
        ],
        ("labels",),
    ),
    "multiple-choice": Kind(
        {"labels": ["A", "B", "C"], "metric": "accuracy"},
        [
            {"text": f"Où {i} ?", "choices": ["ici, [là]", "loin", "là-bas"][: 2 + i % 2], "label": "AB"[i % 2]}
            for i in range(12)
        ],
        ("choices",),
    ),
    "question-answering": Kind(
        {"metric": "f1", "options": {"threshold": "validation"}},
        [
            {"question": f"Quoi {i} ?", "context": CONTEXT, "answers": _answers(*(["l'œuf", "l'arc"][: 1 + i % 2]))}
            for i in range(8)
        ]
        + [{"question": "Qui ?", "context": TWICE, "answers": {"text": [], "answer_start": []}}],
        ("answers",),
    ),
    "senses": Kind(
        {"metric": "f1_micro"},
        [
            {"words": ["On", "vole", str(i)], "target": 1, "lemma": "voler", "senses": [["v1"], ["v2", "v3"]][i % 2]}
            for i in range(12)
        ],
        ("words", "senses"),
    ),
}


def declared(kind: str, source: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "essai", "kind": kind, "source": [source or {}], **KINDS[kind].declared, **more}


def load(folder: Path, task: dict[str, Any]) -> sources.TaskData:
    made = Task.model_validate(task)
    made._file = folder / "essai.toml"
    return sources.load(*registry.select([made]), offline=True)


def from_file(folder: Path, kind: str, file: str, source: dict[str, Any] | None = None, **more: Any) -> Any:
    return load(folder, declared(kind, {"files": dict.fromkeys(SPLITS, file), **(source or {})}, **more))


def in_memory(kind: str, rows: Any, **more: Any) -> sources.TaskData:
    made = Task.from_examples("essai", kind, train=rows, validation=rows, test=rows, **KINDS[kind].declared, **more)
    return sources.load(*registry.select([made]))


def table(rows: Sequence[dict[str, Any]], delimiter: str = ",", quoting: bool = True) -> str:
    made = io.StringIO()
    how = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    writer = csv.writer(made, delimiter=delimiter, quoting=how, quotechar='"' if quoting else None)
    writer.writerows([list(rows[0]), *(row.values() for row in rows)])
    return made.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_and_every_library_gives_the_same_data(kind: str, tmp_path: Path) -> None:
    """Lists are lists in JSON, parquet and memory, and JSON in a table's cell; arrays of numpy are lists too."""
    rows = KINDS[kind].rows
    lists = KINDS[kind].lists
    cells = [{c: json.dumps(v, ensure_ascii=False) if c in lists else v for c, v in row.items()} for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    (tmp_path / "a.csv").write_text(table(cells), encoding="utf-8")
    (tmp_path / "crlf.csv").write_bytes(
        b"\xef\xbb\xbf" + table(cells).replace("\r\n", "\n").replace("\n", "\r\n").encode()
    )
    (tmp_path / "a.tsv").write_text(table(cells, "\t", quoting=False), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    digests = {name: from_file(tmp_path, kind, name).ref.digest for name in
               ("a.jsonl", "a.json", "a.csv", "crlf.csv", "a.tsv", "a.parquet")}  # fmt: skip
    frame = pandas.read_parquet(tmp_path / "a.parquet")  # its lists are arrays
    assert isinstance(frame[lists[0]][0], np.ndarray | dict)
    digests["pandas"] = in_memory(kind, frame.to_dict("records")).ref.digest
    digests["rows of pandas"] = in_memory(kind, [dict(row) for _, row in frame.iterrows()]).ref.digest
    digests["memory"] = in_memory(kind, rows).ref.digest
    assert {*digests.values()} == {digests["a.jsonl"]}, digests


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("é"), "é"),
        (np.array(["a", None, "b"], object), ["a", None, "b"]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor([1, 0]), [1, 0]),
        (pandas.Series(["a", "b"]), ["a", "b"]),
        (float("nan"), None),
        (np.float64("nan"), None),
        (pandas.NA, None),
        (pandas.NaT, None),
        (["a", float("nan")], ["a", None]),
        ({"text": np.array(["a"], object), "answer_start": np.array([3])}, {"text": ["a"], "answer_start": [3]}),
        (("Lyon", np.int32(4)), ("Lyon", 4)),
        (0.0, 0.0),
        ("nan", "nan"),
        (True, True),
        (None, None),
    ],
)
def test_plain_values(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected and type(found) is type(expected)


def test_labels_and_numbers_of_numpy_are_read_as_those_of_python() -> None:
    rows = [{"text": f"texte {i}", "label": i % 2, "value": float(i)} for i in range(10)]
    of_numpy = [row | {"label": np.int8(row["label"]), "value": np.float32(row["value"])} for row in rows]
    for kind, more in (
        ("sentence", {"labels": ["non", "oui"], "metric": "accuracy"}),
        ("regression", {"options": {"range": [0, 9]}, "metric": "pearson"}),
    ):
        both = [
            sources.load(
                *registry.select([Task.from_examples("essai", kind, train=given, validation=given, test=given, **more)])
            ).ref.digest
            for given in (rows, of_numpy)
        ]
        assert both[0] == both[1]


def test_choices_that_a_data_frame_lacks_are_none() -> None:
    """The third column has NaN where a row has two choices."""
    frame = pandas.DataFrame(
        {"text": ["Où ?", "Qui ?"], "a": ["ici", "Léa"], "b": ["là", "Hugo"], "c": ["loin", np.nan]}
    )
    frame["label"] = ["C", "A"]
    columns: Any = {"choices": ("a", "b", "c")}
    data = in_memory("multiple-choice", frame.to_dict("records"), columns=columns)
    assert [example.choices for example in data.splits["train"]] == [("ici", "là", "loin"), ("Léa", "Hugo")]  # type: ignore[attr-defined]


# What is told, and that following it works.


def follow(folder: Path, task: dict[str, Any], lines: int = 1) -> sources.TaskData:
    """The data of a task in whose source the line stands that its message says to write."""
    for _ in range(lines):
        with pytest.raises(DataError) as caught:
            load(folder, task)
        said = re.search(r"`(\w+ = .*?)` in the source|set (reader = \"\w+\") in the source", str(caught.value))
        assert said, caught.value
        task["source"][0].update(tomllib.loads(said[1] or said[2]))
    return load(folder, task)


@pytest.mark.parametrize("mark", [";", "|", ",", "/", "\t", ", ", " ; "])
def test_the_mark_that_parts_labels_is_named(mark: str, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "labels": mark.join(row["labels"])} for row in KINDS["multi-label"].rows]
    (tmp_path / "a.csv").write_text(table(rows[1:] + rows[:1]), encoding="utf-8")  # the first has two labels
    files = {"files": dict.fromkeys(SPLITS, "a.csv")}
    found = follow(tmp_path, declared("multi-label", dict(files)))
    other = follow(tmp_path, declared("multi-label", files | {"separator": "#"}))
    expected = [
        tuple(sorted(map(["joie", "peur", "colère"].index, row["labels"]))) for row in KINDS["multi-label"].rows
    ]
    for data in found, other:
        assert [example.labels for example in data.splits["train"]] == expected[1:] + expected[:1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "theirs"),
    [
        (["joie", "peur", "colère"], ["Joie", "Peur", "Colère"]),
        (["joie", "peur", "colère"], ["JOIE", "PEUR", "COLÈRE"]),
        (["Joie", "PEUR", "colère"], ["joie", "peur", "colère"]),
        (["joie vive", "peur", "colère"], ["Joie Vive", "Peur", "Colère"]),
        (["joie", "peur", "colère"], ["joie ", "peur", "colère"]),
    ],
)
def test_labels_with_other_capitals_or_blanks_are_named(names: list[str], theirs: list[str], tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": theirs[i % 3]} for i in range(9)]
    (tmp_path / "a.csv").write_text(table(rows), encoding="utf-8")
    task = {"name": "essai", "kind": "sentence", "labels": names, "metric": "f1_macro"}
    data = follow(tmp_path, task | {"source": [{"files": dict.fromkeys(SPLITS, "a.csv")}]})
    assert [each.label for each in data.splits["train"]] == [0, 1, 2] * 3


def test_a_choice_that_is_a_number_is_a_position_all_the_same(tmp_path: Path) -> None:
    rows = [{"text": f"Combien {i} ?", "choices": ["1", "0"], "label": str(i % 2)} for i in range(4)]
    assert [each.label for each in in_memory("multiple-choice", rows).splits["train"]] == [0, 1, 0, 1]


def _tables(name: str, rows: Any, **how: Any) -> tuple[str, Callable[[Path], Any]]:
    return name, lambda folder: (folder / name).write_text(table(rows, **how), encoding="utf-8")


def _lines(*rows: Any, name: str = "a.jsonl") -> tuple[str, Callable[[Path], Any]]:
    return name, lambda folder: (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


PYTHON = "not as Python prints one"
ASKED = KINDS["question-answering"].rows


@pytest.mark.parametrize(
    ("kind", "made", "source", "said"),
    [
        ("multi-label", _lines({"text": "a", "labels": "['joie', 'peur']"}), {}, PYTHON),
        ("multi-label", _lines({"text": "a", "labels": "['joie' 'peur']"}), {}, PYTHON),
        ("multi-label", _lines({"text": "a", "labels": ["joie", "triste"]}), {}, "unknown label 'triste'"),
        ("multi-label", _lines({"text": "a", "labels": "joie"}), {}, 'such as `separator = "|"` in the source'),
        ("multi-label", _lines({"text": "a", "labels": [1, 0, 1]}), {}, "a zero or a one for each label"),
        ("multi-label", _lines({"text": "a", "labels": [0.0, 0.0, 1.0]}), {}, "a zero or a one for each label"),
        ("multi-label", _lines({"text": "a", "labels": [True, False, False]}), {}, "a zero or a one for each label"),
        ("multi-label", _lines({"text": "a", "labels": {"joie": 1}}), {}, "for each of joie, peur, colère"),
        ("multi-label", _lines({"text": "a", "labels": {"triste": 1, "joie": 0}}), {}, "for each of joie, peur"),
        ("multi-label", _lines({"text": "a", "labels": {}}), {}, "for each of joie, peur, colère"),
        ("multi-label", _lines({"text": "a", "labels": None}), {}, "holds None, which is no list of labels"),
        ("multi-label", _tables("a.csv", [{"text": "a", "labels": "joie;peur;"}]), {"separator": ";"},
         "line 2: the column for 'labels' holds 'joie;peur;': no label stands on one side of a ';'"),
        ("multi-label", _tables("a.csv", [{"text": "a", "labels": '["joie", "peur"]'}]), {"separator": ","},
         "a list in JSON, which needs no separator"),
        ("multiple-choice", _lines({"text": "a", "choices": ["ici", "là"], "label": "la\u0300"}), {},
         "the label is the text of a choice, 'la\u0300': give its position, 'B'"),
        ("multiple-choice", _lines({"text": "a", "choices": ["ici", "là"], "label": 2}), {},
         "the answer is 'C', and there are 2 choices (a number counts from 0"),
        ("multiple-choice", _lines({"text": "a", "choices": ["ici", "là"], "label": "C"}), {},
         "the answer is 'C', and there are 2 choices."),
        ("multiple-choice", _lines({"text": "a", "choices": "ici;là", "label": "A"}), {}, "a list is JSON, such as"),
        ("question-answering", _lines(ASKED[0] | {"answers": "l'œuf"}), {}, "In two columns they are `columns = {"),
        ("multi-label", _tables("a.csv", [{"text": "a", "labels": ";"}]), {"separator": ";"}, "no label stands on one"),
        ("multiple-choice", _lines({"text": "a", "choices": "['ici' 'là']", "label": "A"}), {}, PYTHON),
        ("multiple-choice", _lines({"text": "a", "choices": {"text": ["x"]}, "label": "A"}), {}, "which is no list"),
        ("multiple-choice", _lines({"text": "a", "choices": ["ici", None, "là"], "label": "A"}), {}, "holds None"),
        ("senses", _lines({"words": "On vole", "target": 1, "lemma": "voler", "senses": "v1"}), {},
         "which is no list: a text needs kind"),
        ("senses", _lines({"words": "('On', 'vole')", "target": 1, "lemma": "voler", "senses": "v1"}), {}, PYTHON),
        ("senses", _lines({"words": ["On"], "target": 0, "lemma": "on", "senses": "['v1', 'v2']"}), {}, PYTHON),
        ("senses", _lines({"words": ["On"], "target": 0, "lemma": "on", "senses": "[]"}), {}, "the sense is empty"),
        ("senses", _lines({"words": ["On"], "target": None, "lemma": "on", "senses": "v"}), {}, '`drop_if` with ""'),
        ("senses", _lines({"words": ["On", "vole"], "target": 2, "lemma": "voler", "senses": "v1"}), {},
         "'target' is 2, and the sentence has 2 words, from 0"),
        ("question-answering", _lines(ASKED[0] | {"answers": "{'text': array(['l'œuf'])}"}), {}, PYTHON),
        ("question-answering", _lines({key: ASKED[0][key] for key in ("question", "context")}), {},
         "has no column 'answers'. It has: question, context"),
        ("question-answering", _lines(*ASKED, {key: ASKED[0][key] for key in ("question", "context")}), {},
         "line 10 has no column 'answers'. It has: question, context.\nObjects before it have it"),
        ("question-answering", _lines(*ASKED, ASKED[0] | {"id": "x"}, name="b.json"), {"columns": {"id": "id"}},
         "row 1 has no column 'id'"),
        ("question-answering", _lines(*({"id": "x", **row} for row in ASKED)), {"columns": {"id": "id"}},
         "an id occurs twice in train, 'x': without `columns.id`, rows are numbered"),
    ],
)  # fmt: skip
def test_what_a_row_has_instead_is_told(
    kind: str, made: Any, source: dict[str, Any], said: str, tmp_path: Path
) -> None:
    name, write = made
    write(tmp_path)
    with pytest.raises(DataError) as caught:
        from_file(tmp_path, kind, name, source)
    assert said in str(caught.value), caught.value


def test_two_labels_of_zeros_and_ones_are_hinted_at(tmp_path: Path) -> None:
    """[0, 1] may be both labels by their positions; that every example has both is hardly meant."""
    made = [{"text": f"t {i}", "labels": [i % 2, 1 - i % 2]} for i in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    hints = from_file(tmp_path, "multi-label", "a.jsonl", labels=["joie", "peur"]).hints
    assert "train: every example has all labels: are its zeros and ones taken for positions?" in hints
    assert not [hint for hint in from_file(tmp_path, "multi-label", "a.jsonl").hints if "zeros and ones" in hint]
    one = [{"text": f"t {i}", "labels": [True, False]} for i in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, one)), encoding="utf-8")
    with pytest.raises(DataError, match="a zero or a one for each label"):
        from_file(tmp_path, "multi-label", "a.jsonl", labels=["joie", "peur"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_inside_an_object_are_told(kind: str, name: str, tmp_path: Path) -> None:
    """As pandas writes them with ``orient="table"``, and some sites."""
    rows = KINDS[kind].rows
    for whole in {"schema": {"fields": ["text"]}, "data": rows}, {"version": 1, "items": rows}, {"data": rows, "n": 3}:
        (tmp_path / name).write_text(json.dumps(whole), encoding="utf-8")
        with pytest.raises(DataError, match=r"the rows are a list under '(data|items)': give that list alone"):
            from_file(tmp_path, kind, name)
    (tmp_path / "b.json").write_text(json.dumps(rows), encoding="utf-8")
    assert len(from_file(tmp_path, kind, "b.json").splits["train"]) == len(rows)


# Answers that do not stand where their number says.


def _place(context: str, text: str, which: int = 0) -> int:
    return [found.start() for found in re.finditer(re.escape(text), context)][which]


LINES = "Un toit.\r\nUne cour.\r\nUn puits."
DECOMPOSED = unicodedata.normalize("NFD", "Un élève, un été à Lyon.")


@pytest.mark.parametrize(
    ("context", "text", "start", "said"),
    [
        (CONTEXT, "Lyon", len(CONTEXT[: _place(CONTEXT, "Lyon")].encode()), "may be a number of bytes in UTF-8"),
        (
            CONTEXT,
            "Lyon",
            len(CONTEXT[: _place(CONTEXT, "Lyon")].encode("utf-16-le")) // 2,
            "may be a number of UTF-16 units",
        ),
        ("Été à Lyon, été à Lyon.", "Lyon", len("Été à Lyon, été à ".encode()), "may be a number of bytes in UTF-8"),
        (LINES, "puits", _place(LINES.replace("\r\n", "\n"), "puits"), r"may take each line end \r\n for one"),
        (DECOMPOSED, "Lyon", unicodedata.normalize("NFC", DECOMPOSED).index("Lyon"), "in the text in Unicode's NFC"),
        ("Un toit.", "toit", 4, "may count from 1"),
        ("Un toit.", "toit", 0, "but at 3: 'answer_start' counts characters from 0."),
        (DECOMPOSED, "élève", 3, "nowhere in the context as it is, but in another of Unicode's forms"),
        ("Un élève.", unicodedata.normalize("NFD", "élève"), 3, "but in another of Unicode's forms"),
        ("Un toit\u00a0neuf.", "toit neuf", 3, "with other blanks or line ends"),
        ("Un\n toit.", "Un toit", 0, "with other blanks or line ends"),
        ("Un Toit.", "toit", 3, "with other capitals"),
        ("Un toit.", "tuile", 3, "nowhere in the context; at character 3, 'toit.' is there"),
    ],
)
def test_answers_elsewhere_say_how_they_were_counted(
    context: str, text: str, start: int, said: str, tmp_path: Path
) -> None:
    assert context[start : start + len(text)] != text
    row = {"question": "Quoi ?", "context": context, "answers": {"text": [text], "answer_start": [start]}}
    with pytest.raises(DataError) as caught:
        in_memory("question-answering", [row])
    assert said in f"{caught.value}", caught.value


def test_many_places_of_an_answer_take_no_time() -> None:
    row = {"question": "Quoi ?", "context": "a " * 200_000, "answers": {"text": ["a"], "answer_start": [1]}}
    with pytest.raises(DataError, match=r"is not at character 1 of the context .* but at 0"):
        in_memory("question-answering", [row])


# SQuAD's own files.


def squad(folder: Path, *questions: dict[str, Any], indent: int | None = None) -> dict[str, Any]:
    asked = [{"id": str(i), "question": f"Quoi {i} ?", "answers": [], **given} for i, given in enumerate(questions)]
    whole = {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
    (folder / "squad.json").write_text(json.dumps(whole, indent=indent), encoding="utf-8")
    return declared("question-answering", {"files": dict.fromkeys(SPLITS, "squad.json")})


RIGHT = [{"text": "Lyon", "answer_start": CONTEXT.index("Lyon")}]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_of_squad_without_its_reader_names_it(indent: int | None, tmp_path: Path) -> None:
    task = squad(tmp_path, {"answers": RIGHT}, {"is_impossible": True}, indent=indent)
    data = follow(tmp_path, task)
    assert [len(example.answers) for example in data.splits["test"]] == [1, 0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"answers": RIGHT, "is_impossible": True}, "qas[0] has answers and is_impossible"),
        ({"answers": [], "is_impossible": False}, "qas[0] has neither answers nor is_impossible"),
        ({"answers": RIGHT, "is_impossible": "true"}, "is_impossible is true or false, not 'true'"),
        (
            {"id": "q7", "answers": [{"text": "Lyon", "answer_start": 3}]},
            "example 0 of train ('q7'): the answer 'Lyon'",
        ),
    ],
)
def test_questions_that_contradict_themselves(question: dict[str, Any], said: str, tmp_path: Path) -> None:
    task = squad(tmp_path, question)
    task["source"][0]["reader"] = "squad"
    with pytest.raises(DataError) as caught:
        load(tmp_path, task)
    assert said in str(caught.value), caught.value


def test_a_packed_file_of_squad_is_to_be_unpacked(tmp_path: Path) -> None:
    task = squad(tmp_path, {"answers": RIGHT}, {"is_impossible": True})
    content = (tmp_path / "squad.json").read_bytes()
    (tmp_path / "squad.json.gz").write_bytes(gzip.compress(content))
    task["source"][0] |= {"reader": "squad", "files": dict.fromkeys(SPLITS, "squad.json.gz")}
    with pytest.raises(DataError, match=r"squad\.json\.gz is packed: unpack it"):
        load(tmp_path, task)
    (tmp_path / "squad.json").write_bytes(b"\xef\xbb\xbf" + content)  # a byte-order mark is none of the text
    task["source"][0] |= {"files": dict.fromkeys(SPLITS, "squad.json")}
    assert len(load(tmp_path, task).splits["train"]) == 2


def test_an_id_twice_in_a_file_of_squad_is_named(tmp_path: Path) -> None:
    task = squad(tmp_path, {"answers": RIGHT}, {"id": "0"})
    task["source"][0]["reader"] = "squad"
    with pytest.raises(DataError, match="an id occurs twice in train, '0': remove one of the rows"):
        load(tmp_path, task)


def test_a_sense_may_be_called_by_brackets() -> None:
    rows = [row | {"senses": "[1]" if i % 2 else "[2, b]"} for i, row in enumerate(KINDS["senses"].rows)]
    assert [each.senses for each in in_memory("senses", rows).splits["test"]][:2] == [("[2, b]",), ("[1]",)]  # type: ignore[attr-defined]


def test_what_a_reader_does_not_look_at_is_hinted_at(tmp_path: Path) -> None:
    task = squad(tmp_path, {"answers": RIGHT}, {"is_impossible": True})
    task["source"][0] |= {"reader": "squad"}
    assert load(tmp_path, task).hints == ()
    task["source"][0] |= {"columns": {"group": "title"}, "drop_if": {"id": "0"}}
    assert load(tmp_path, task).hints == (
        "columns, drop_if: for files with columns, while the reader 'squad' makes whole examples: they have no effect "
        "unless it looks for them",
    )


# A second text that some rows lack.


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_second_text_that_the_first_row_lacks_is_not_lost(name: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"t {i}", "value": i} for i in range(6)]
    kind: Any = {"options": {"range": [0, 5]}, "metric": "pearson", "kind": "regression", "name": "essai"}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = kind | {"source": [{"files": dict.fromkeys(SPLITS, name)}]}

    def put() -> None:
        text = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
        (tmp_path / name).write_text(text, encoding="utf-8")

    put()
    assert load(tmp_path, task).splits["train"][3].text_pair is None
    rows[3]["text_pair"] = "autre"
    put()
    lacking = r"train: 15 examples have no second text \('text_pair'; the first is train-0"
    with pytest.raises(DataError, match=lacking):
        load(tmp_path, task)
    del kind["kind"], kind["name"]
    made = Task.from_examples("essai", "regression", train=rows, validation=rows, test=rows, **kind)
    with pytest.raises(DataError, match=lacking):
        sources.load(*registry.select([made]))
    for row in rows:
        row.setdefault("text_pair", "autre")
    put()
    assert load(tmp_path, task).splits["train"][0].text_pair == "autre"


# Rows in memory.


def test_names_of_columns_are_compared_in_nfc() -> None:
    rows = [{"text": f"t {i}", "re\u0301ponse": "oui" if i % 2 else "non"} for i in range(6)]
    more: Any = {"metric": "accuracy", "labels": ["non", "oui"], "columns": {"label": "r\u00e9ponse"}}
    made = Task.from_examples("essai", "sentence", train=rows, validation=rows, test=rows, **more)
    assert [each.label for each in sources.load(*registry.select([made])).splits["train"]] == [0, 1] * 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pandas.DataFrame({"text": ["a"], "label": ["oui"]}), "not 'text'. Those of a data frame are frame.to_dict"),
        ({"text": ["a"], "label": ["oui"]}, "not {'text'"),
        ([("a", "oui")], "not ('a', 'oui')"),
        ("train.csv", "not 't'"),
        (Path("train.csv"), "not PosixPath('train.csv')"),
        (3, "not 3"),
    ],
)
def test_rows_that_are_none_are_told(rows: Any, said: str) -> None:
    with pytest.raises(TaskFileError) as caught:
        Task.from_examples("essai", "sentence", metric="accuracy", labels=["non", "oui"], train=rows)
    assert "task essai: train: expected rows" in str(caught.value) and said in str(caught.value)


def test_a_source_of_rows_is_read_as_one_of_files(tmp_path: Path) -> None:
    """``where``, ``drop_if`` and ``separator`` hold for both, in a task file and from Python."""
    rows = [
        {"text": f"t {i}", "labels": ["joie", "joie;peur", ""][i % 3], "lang": ["fr", "de"][i % 2], "ok": i}
        for i in range(24)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    how: dict[str, Any] = {"where": {"lang": "fr"}, "drop_if": {"ok": 4}, "separator": ";"}
    of_file = from_file(tmp_path, "multi-label", "a.jsonl", how)
    of_rows = load(tmp_path, declared("multi-label", {"rows": dict.fromkeys(SPLITS, rows), **how}))
    of_python = in_memory("multi-label", rows, **how)
    assert len(of_file.splits["train"]) == 11 and [each.id for each in of_file.splits["train"]][2] == "train-3"
    assert of_file.ref.digest == of_rows.ref.digest == of_python.ref.digest
    with pytest.raises(DataError, match="row 0 of train: has no langue"):
        in_memory("multi-label", rows, **how | {"where": {"langue": "fr"}})
    empty = [{"text": "a", "label": None}, {"text": "b", "label": "oui"}]
    more: dict[str, Any] = {"metric": "accuracy", "labels": ["non", "oui"], "split": {"test": 0.2}}
    made = Task.from_examples("essai", "sentence", train=empty, **more)
    with pytest.raises(DataError, match='`drop_if` with "" leaves such rows out'):
        sources.load(*registry.select([made]))
    made = Task.from_examples(
        "essai", "sentence", train=empty * 20, validation=empty, test=empty, drop_if={"label": ""}, **more
    )
    assert len(sources.load(*registry.select([made])).splits["train"]) == 20


def test_a_test_set_in_memory_trains_on_the_rows_of_another_task() -> None:
    (other,) = registry.select(["mini-xnli"])
    rows = [{"text": f"Il pleut {i}.", "text_pair": "Il fait beau.", "label": i % 3} for i in range(9)]
    more: Any = {"metric": "f1_macro", "labels": other.task.labels, "train_from": "mini-xnli"}
    (made,) = registry.select([Task.from_examples("essai", "sentence-pair", test=rows, **more)])
    data, trained_on = sources.load(made), sources.load(other)
    assert (
        data.splits["train"] == trained_on.splits["train"]
        and [each.label for each in data.splits["test"]] == [0, 1, 2] * 3
    )
    for wrong in {"train": rows}, {"test": []}, {"train": rows, "test": rows}:
        with pytest.raises(TaskFileError, match=r"needs at least 'test'|no rows: give train|only 'test'"):
            Task.from_examples("essai", "sentence-pair", **wrong, **more)
    del more["train_from"]
    with pytest.raises(TaskFileError, match="'rows' needs at least 'train'"):
        Task.from_examples("essai", "sentence-pair", test=rows, **more)


# Parts of speech in CoNLL-U.

SENTENCE = ["1-2\tAu\t_\t_", "1\tà\tà\tADP", "2\tle\tle\tDET", "3\tlit\tlit\tNOUN", "3.1\test\têtre\tAUX"]


def conll(folder: Path, name: str, *lines: str) -> dict[str, Any]:
    (folder / name).write_text("\n".join([*lines, "", *lines, ""]), encoding="utf-8")
    source = {"files": dict.fromkeys(SPLITS, name), "columns": {"words": 1, "tags": 3}}
    return {"name": "essai", "kind": "tokens", "labels": ["ADP", "AUX", "DET", "NOUN"], "metric": "word_accuracy",
            "source": [source]}  # fmt: skip


@pytest.mark.parametrize("name", ["a.conllu", "a.CONLLU", "a.v2.conllu"])
@pytest.mark.parametrize("columns", [{"words": 1, "tags": 3}, {"tags": 3}])
@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_sentence_may_begin_with_a_range_or_an_empty_node(
    name: str, columns: dict[str, int], first: int, tmp_path: Path
) -> None:
    lines = {0: SENTENCE, 1: SENTENCE[1:], 4: ["0.1\tet\tet\tCCONJ", *SENTENCE]}[first]
    task = conll(tmp_path, name, "# text = Au lit", *lines)
    task["source"][0]["columns"] = columns
    for example in load(tmp_path, task).splits["train"]:
        assert (example.words, example.tags) == (("à", "le", "lit"), (0, 2, 3))


@pytest.mark.parametrize("lines", [SENTENCE, SENTENCE[1:], SENTENCE[:4]])
@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv"])
def test_conllu_by_another_name_is_told(lines: list[str], name: str, tmp_path: Path) -> None:
    task = conll(tmp_path, name, *lines)
    with pytest.raises(DataError, match=r"line \d: '(1-2|3\.1)' numbers no word .* call the file \.conllu"):
        load(tmp_path, task)
    (tmp_path / name).rename(tmp_path / "a.conllu")
    task["source"][0]["files"] = dict.fromkeys(SPLITS, "a.conllu")
    assert load(tmp_path, task).splits["test"][0].words == ("à", "le", "lit")


@pytest.mark.parametrize("first", [["3-1", "3-1", "3-1"], ["1", "2", "2"], ["1-1", "1-2", "1-3"], ["2", "3-4", "5"]])
def test_other_numbers_in_the_first_column_are_left_alone(first: list[str], tmp_path: Path) -> None:
    lines = [f"{number}\t{word}\t_\tNOUN" for number, word in zip(first, ("un", "lit", "bas"), strict=True)]
    assert load(tmp_path, conll(tmp_path, "a.conll", *lines)).splits["train"][0].words == ("un", "lit", "bas")


# Senses.


def test_a_target_that_is_counted_from_1_is_hinted_at() -> None:
    rows = KINDS["senses"].rows
    assert not [hint for hint in in_memory("senses", rows).hints if "counted from 1" in hint]
    hints = in_memory("senses", [row | {"target": 2} for row in rows]).hints
    assert (
        "train: of 12 of 12 occurrences the word before 'target' looks like the lemma: is it counted from 1"
        in " ".join(hints)
    )
    few = [row | {"target": 2 if i < 3 else 1} for i, row in enumerate(rows)]
    assert not [hint for hint in in_memory("senses", few).hints if "counted from 1" in hint]


def test_a_lemma_that_train_lacks_is_counted_whatever_its_file(tmp_path: Path) -> None:
    rows = KINDS["senses"].rows
    unseen = [*rows, rows[0] | {"lemma": "filer", "senses": "f1"}]
    for split, given in zip(SPLITS, (rows, rows, unseen), strict=True):
        cells = [{c: json.dumps(v) if isinstance(v, list) else v for c, v in row.items()} for row in given]
        (tmp_path / f"{split}.csv").write_text(table(cells), encoding="utf-8")
    data = load(tmp_path, declared("senses", {"files": {split: f"{split}.csv" for split in SPLITS}}))
    assert "test: 1 occurrences of 1 lemmas that train lacks get no answer" in data.hints
    assert data.splits["test"][-1].senses == ("f1",)  # type: ignore[attr-defined]
