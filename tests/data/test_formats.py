from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from flue_bench.data import formats
from flue_bench.errors import DataError

TEXTS = ["L'été fut « long ».", 'Il a dit "non", puis s\'est tu.', "Deux, trois, quatre"]


def read(path: Path, *wanted: formats.Column) -> list[tuple[Any, ...]]:
    return [tuple(values[: len(wanted)]) for _, values in formats.rows(path, wanted)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_is_quoted_as_in_rfc_4180(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'texte,note\r\n"Il a dit ""non"", puis\nplus rien.",1\r\nRien de plus,0\r\n')
    assert read(file, "texte", "note") == [('Il a dit "non", puis\nplus rien.', "1"), ("Rien de plus", "0")]
    assert [number for number, _ in formats.rows(file, ["note"])] == [3, 4]


def test_a_quote_in_a_tsv_is_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", 'note\ttexte\n1\t"Non, dit-il.\n0\tUn "oui" et\u2028un non\x85\n')
    assert read(file, "texte", "note") == [('"Non, dit-il.', "1"), ('Un "oui" et\u2028un non\x85', "0")]


def test_numbers_mean_a_file_without_header(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "\ufeffpremier\t1\nsecond\t0\n")
    assert read(file, 0, -1) == [("premier", "1"), ("second", "0")]


def test_json_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "".join(json.dumps({"t": t, "n": i}) + "\n\n" for i, t in enumerate(TEXTS)))
    assert read(file, "n", "t") == list(enumerate(TEXTS))


def test_parquet_reads_only_what_is_wanted_over_batches(tmp_path: Path) -> None:
    rows = 20_000
    table = pa.table({"t": [f"phrase {i}" for i in range(rows)], "n": list(range(rows)), "unused": [None] * rows})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3000)
    found = list(formats.rows(tmp_path / "a.parquet", ["n", "t"]))
    assert [(number - 1, f"phrase {number - 1}") for number, _ in found] == [values for _, values in found]
    assert len(found) == rows
    assert read(tmp_path / "a.parquet", 0)[-1] == (f"phrase {rows - 1}",)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)])
def test_packed_text(tmp_path: Path, suffix: str, pack: Any) -> None:
    content = "texte\tnote\n" + "".join(f"{text}\t1\n" for text in TEXTS)
    file = write(tmp_path / f"a.tsv.{suffix}", pack(content.encode()))
    assert read(file, "texte") == [(text,) for text in TEXTS]
    write(file, pack(content.encode())[:-12])
    with pytest.raises(DataError, match=rf"a\.tsv\.{suffix} cannot be read"):
        read(file, "texte")


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 2), max_size=5))
def test_csv_gives_back_what_python_wrote(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:

    file = tmp_path_factory.mktemp("csv") / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("b", "a"), *rows])
    assert read(file, "a", "b") == [(a, b) for b, a in rows]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "texte\tnote\nbon\t1\n\xe9t\xe9\t0\n".encode("latin1"), r"a\.tsv, line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", "texte,note\nbon,1\n".encode("utf-16"), r"a\.csv, line 1: byte 0xff .* encoding = \"utf-16\"\."),
        ("a.csv", "texte,note\nété,1\n".encode("cp1252"), r"a\.csv, line 2: byte 0xe9 .* encoding = \"cp1252\" \("),
        ("a.tsv", "texte\tnote\nbon\t1\n".encode("utf-16-le"), r"line 1 holds a NUL byte: .*encoding = \"utf-16-le\""),
        ("a.csv", "texte;note\nbon;1\n", r"It seems separated by ';': set `delimiter = \";\"` in the source"),
        ("a.csv", "texte\tnote\nbon\t1\n", r"It seems separated by '\\t': set `delimiter = \"\\t\"` in the source"),
        ("a.tsv", "texte,note\nbon,1\n", r"It seems separated by ',': set `delimiter = \",\"` in the source"),
        ("a.tsv", '"texte"|"note"\nbon|1\n', r"It seems separated by '\|': set `delimiter = \"\|\"` in the source"),
        ("a.csv", "texte,score\nbon,1\n", r"It has: texte, score\.\nName the columns to read under 'columns'"),
        ("a.csv", "texte, note\nbon, 1\n", r"' note' has spaces around it: remove them"),
        ("a.csv", "texte,note\rbon,1\rmal,0", r"line 1: its lines end in a carriage return alone, as on old Macs"),
        ("a.tsv", "texte\tnote\rbon\t1", r"as on old Macs|has no column 'note'"),
        ("a.tsv", "texte\tscore\nbon\t1\n", r"no column 'note'\. It has: texte, score"),
        ("a.tsv", "texte\tnote\nbon\t1\t2\n", r"a\.tsv, line 2 has 3 columns, the first line has 2"),
        ("a.csv", 'texte,note\n"bon,1\n', r"a\.csv, line 2: not CSV"),
        (
            "a.csv",
            'texte,note\n"bon" marché,1\n',
            r"a\.csv, line 2: not CSV .*If its quotes are text, set quoting = false",
        ),
        ("a.csv", "", r"a\.csv is empty"),
        ("a.jsonl", '{"texte": "bon", "note": 1}\n{"texte": "bon"}\n', r"line 2 has no column 'note'\. It has: texte"),
        ("a.jsonl", '{"texte": \n', r"line 1 is not JSON"),
        ("a.jsonl", '["bon", 1]\n', r"line 1 is not a JSON object"),
        ("a.json", '[{"texte": "bon", "note": 1}, 3]', r"a\.json, row 2 is not a JSON object"),
        (
            "a.json",
            '[{"texte": "bon", "note": 1}',
            r"row 2 is not JSON .*: give a list of objects, or one object per line",
        ),
        ("a.json", '[{"texte": "bon", "note": 1} {', r"row 2 is not JSON \(no comma before it\)"),
        ("a.json", '[{"texte": "bon", "note": 1},', r"row 2 is not JSON \(the file ends in the middle\)"),
        ("a.json", '[{"texte": "bon", "note": 1}] {', r"row 2 is not JSON \(the list has ended before\)"),
        ("a.json", '{"texte":\n"bon"}', r"a\.json, row 1 is not JSON"),
        ("a.parquet", b"PAR1 not at all", r"a\.parquet cannot be read as parquet"),
        ("a.xlsx", b"", r"suffix names its format, one of csv, tsv"),
        ("a", b"", r"suffix names its format"),
    ],
)
def test_errors_say_where(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content), "texte", "note")


MARKS = st.sampled_from(",;\t|")
WESTERN = st.text(st.characters(codec="cp1252", exclude_characters="\0"))
"""Texts that every encoding tried here can hold."""


@given(
    rows=st.lists(st.tuples(WESTERN, WESTERN), max_size=5),
    mark=MARKS,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    suffix=st.sampled_from(["csv", "tsv"]),
    always=st.booleans(),
)
def test_a_table_is_read_as_its_source_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    mark: str,
    encoding: str,
    suffix: str,
    always: bool,
) -> None:
    """Whatever Python writes with these settings, with fields of any content, comes back."""
    file = tmp_path_factory.mktemp("table") / f"a.{suffix}"
    how = csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL
    with file.open("w", encoding=encoding, newline="") as out:
        csv.writer(out, delimiter=mark, quoting=how).writerows([("b", "a"), *rows])
    layout = formats.Layout(mark, True, encoding.removesuffix("-sig"))
    found = [tuple(values[:2]) for _, values in formats.rows(file, ["a", "b"], layout)]
    assert found == [(a, b) for b, a in rows]


PLAIN_TEXT = st.text(st.characters(codec="cp1252", exclude_characters="\0\r\n,;\t|"), min_size=1)


@given(rows=st.lists(st.tuples(PLAIN_TEXT, PLAIN_TEXT), max_size=5), mark=MARKS, suffix=st.sampled_from(["csv", "tsv"]))
def test_without_quoting_a_quote_is_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], mark: str, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("table") / f"a.{suffix}"
    write(file, "".join(f"{a}{mark}{b}\n" for a, b in [("a", "b"), *rows]))
    found = [tuple(values[:2]) for _, values in formats.rows(file, ["a", "b"], formats.Layout(mark, False))]
    assert found == rows


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"'])
def test_excels_own_first_line_names_the_delimiter(tmp_path: Path, said: str) -> None:
    file = write(tmp_path / "a.csv", f"{said}\r\ntexte;note\r\nbon;1\r\nmal;0\r\n")
    assert read(file, "note") == [("1",), ("0",)]
    assert [number for number, _ in formats.rows(file, ["note"])] == [3, 4]


@pytest.mark.parametrize(
    ("rows", "hinted"),
    [
        (['"Il a dit ""non"", puis"', "plus rien"], 1),
        (['"""Non"" d\'abord"', '"puis ""oui"""'], 2),
        (['"Non", dit-il', 'puis "oui"'], 0),
        (['"Tout est dit."'], 0),  # a quotation, as far as anybody can tell
    ],
)
def test_quotes_that_look_like_those_of_csv_are_hinted_at(tmp_path: Path, rows: list[str], hinted: int) -> None:
    file = write(tmp_path / "a.tsv", "texte\tnote\n" + "".join(f"{row}\t1\n" for row in rows))
    hints: list[str] = []
    assert [values[0] for _, values in formats.rows(file, ["texte", "note"], hints=hints)] == rows
    assert len(hints) == bool(hinted)
    assert not hinted or hints[0].startswith(f"a.tsv: {hinted} rows have fields in double quotes")
    for quoting in (True, False):
        silent: list[str] = []
        if quoting and not hinted:
            continue
        list(formats.rows(file, ["texte", "note"], formats.Layout(quoting=quoting), silent))
        assert silent == []


@pytest.mark.parametrize(
    "content", ['[{"t": "a"}, {"t": "b"}]', '[\n {"t": "a"},\n {"t": "b"}\n]', '{"t": "a"}\n{"t": "b"}']
)
@pytest.mark.parametrize("suffix", ["json", "ndjson"])
def test_json_by_its_content(tmp_path: Path, content: str, suffix: str) -> None:
    if suffix == "ndjson" and content.startswith("["):
        return
    assert read(write(tmp_path / f"a.{suffix}", content), "t") == [("a",), ("b",)]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_is_read_object_by_object(tmp_path: Path, indent: int | None) -> None:
    rows = [{"texte": f"l'été {i} " + "x" * (i % 7 * 1000), "note": {"a": [i, "]"]}} for i in range(3000)]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
    found = [values[0] for _, values in formats.rows(tmp_path / "a.json", ["texte"])]
    assert found == [row["texte"] for row in rows]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 0, "text": "Marie", "label": [[0, 5, "PER"]]},
        {"text": "Marie", "entities": [{"start": 0, "end": 5, "label": "PER"}]},
        {"data": {"text": "Marie"}, "annotations": [{"result": []}]},
    ],
)
def test_spans_of_characters_get_a_plain_no(tmp_path: Path, row: dict[str, Any]) -> None:
    for name, content in (("a.jsonl", json.dumps(row)), ("a.json", json.dumps([row]))):
        with pytest.raises(DataError, match=r"spans of characters, as doccano and Label Studio .* export as CoNLL"):
            read(write(tmp_path / name, content), "words", "tags")
    with pytest.raises(DataError, match="brat's files of spans are not read"):
        formats.format_of(tmp_path / "doc.ann", tokens=True)


def test_parquet_that_git_lfs_has_not_pulled_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match=r"a\.parquet is a pointer of git-LFS, not the file\. Run `git lfs pull`"):
        list(formats.parquet_rows(tmp_path / "a.parquet", []))


def test_parquet_lists_its_columns_when_one_is_missing(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"texte": ["bon"], "score": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column 'note'\. It has: texte, score"):
        read(tmp_path / "a.parquet", "texte", "note")
    with pytest.raises(DataError, match=r"no column number 2"):
        read(tmp_path / "a.parquet", 0, 2)


def test_a_missing_column_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: needs column 5 \(from 0\), but the line has only 2"):
        read(write(tmp_path / "a.tsv", "bon\t1\n"), 0, 5)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.conll", "Marie B-PER\ndort O\n\n\nParis B-LOC\n", (0, -1)),
        ("a.conll", "Marie NP B-PER\r\ndort V O\r\n\r\nParis NP B-LOC", (0, -1)),
        ("a.tsv", "Marie\tB-PER\ndort\tO\n\nParis\tB-LOC\n", (0, 1)),
        ("a.txt", "0\tMarie\tB-PER\n1\tdort\tO\n\n0\tParis\tB-LOC\n\n", (1, 2)),
        ("a.bio", "\ufeffMarie B-PER\ndort O\n\nParis B-LOC\n", (0, -1)),
        ("a.iob", "-DOCSTART- -X- O\n\nMarie NP B-PER\ndort V O\n-DOCSTART- -X- O\nParis NP B-LOC\n", (0, -1)),
        ("a.iob2", "Marie\tB-PER\t\ndort\tO\t\n\nParis\tB-LOC\t\n", (0, 1)),
        ("a.conll", "# fr = 1\nMarie\tB-PER\n# page = 2\ndort\tO\n#\tun\tmot\n\nParis\tB-LOC\n", (0, -1)),
        ("a.tsv", "#\tfr.wiki [2010]\n1\tMarie\tB-PER\tO\n2\tdort\tO\tO\n\n#\tautre\n1\tParis\tB-LOC\tO\n", (1, 2)),
    ],
)
def test_conll(tmp_path: Path, name: str, content: str, columns: tuple[int, int]) -> None:
    file = write(tmp_path / name, content)
    assert formats.format_of(file, tokens=True) == "conll"
    found = list(formats.sentences(file, *columns))
    assert [values for _, values in found] == [(["Marie", "dort"], ["B-PER", "O"]), (["Paris"], ["B-LOC"])]
    assert "Marie" in content.split("\n")[found[0][0] - 1]


def test_conllu_has_comments_ranges_and_empty_nodes(tmp_path: Path) -> None:
    lines = [
        "# text = Il va au lit.",
        "#",
        "1\tIl\tO",
        "2\tva\tO",
        "3-4\tau\t_",
        "3\tà\tO",
        "4\tle\tO",
        "4.1\tgrand\t_",
    ]
    file = write(tmp_path / "a.conllu", "\n".join(lines))
    assert list(formats.sentences(file, 1, 2)) == [(3, (["Il", "va", "à", "le"], ["O"] * 4))]


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r\t "), min_size=1).filter(
    lambda word: not word.startswith(("#", "-DOCSTART-", "\ufeff"))
)
"""Any white space but blanks, tabs and line ends may stand in a word: U+00A0, U+202F, U+2028, U+0085."""


@given(
    found=st.lists(st.lists(st.tuples(WORD, st.sampled_from(["O", "B-PER", "I-PER"])), min_size=1), min_size=1),
    blanks=st.sampled_from([" ", "\t", "  "]),
    more=st.integers(0, 2),
    header=st.booleans(),
    data=st.data(),
)
def test_conll_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[list[tuple[str, str]]],
    blanks: str,
    more: int,
    header: bool,
    data: st.DataObject,
) -> None:
    """Columns between, comments and -DOCSTART- anywhere, a header by which columns are named."""

    def row(*cells: str) -> str:
        return blanks.join([cells[0], *["_"] * more, *cells[1:]])

    lines = [row("TOKEN", "NE")] if header else []
    docstarts = 0
    for sentence in found:
        if data.draw(st.booleans()):
            lines += [row("-DOCSTART-", "O"), ""]
            docstarts += 1
        for word, tag in sentence:
            lines += [*data.draw(st.sampled_from([[], [], ["# page = 12"]])), row(word, tag)]
        lines += [""] * data.draw(st.integers(1, 2))
    file = write(tmp_path_factory.mktemp("conll") / "a.conll", "\n".join(lines))
    left_out: Counter[str] = Counter()
    columns: tuple[Any, Any] = ("TOKEN", "NE") if header else (None, -1)
    read = [values for _, values in formats.sentences(file, *columns, left_out=left_out)]
    assert read == [([word for word, _ in sentence], [tag for _, tag in sentence]) for sentence in found]
    assert left_out == ({"-DOCSTART- lines": docstarts} if docstarts else {})


@pytest.mark.parametrize("word", ["10\u00a0000", "14\u202f%", "a\u2028b", "c\x85d", "\u3000"])
def test_no_other_white_space_parts_columns(tmp_path: Path, word: str) -> None:
    file = write(tmp_path / "a.conll", f"{word} O\nde O\n\nrien O\n")
    assert [values[0] for _, values in formats.sentences(file)] == [[word, "de"], ["rien"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Marie NP B-PER\ndort O\n", r"a\.conll, line 2 has 2 columns, the file's first row has 3: 'dort O'"),
        ("Marie B-PER\ndort\n", r"a\.conll, line 2 has 1 column, the file's first row has 2: 'dort'"),
        ("Marie\tB-PER\nNew York B-LOC\n", r"a\.conll, line 2 has 1 column, .* 'New York B-LOC'"),
        ("Marie B-PER\n\n\nNew York B-LOC\n", r"a\.conll, line 4 has 3 columns, the file's first row has 2"),
        ("Marie;B-PER\ndort;O\n", r"needs column 1 \(from 0\).*\nIt seems separated by ';': set `delimiter = \";\"`"),
        ("mot O\n" * 251, r"a\.conll is one sentence of 251 words: separate its sentences with blank lines"),
        ("mot O\n" * 251 + "\n\n", r"a\.conll is one sentence of 251 words"),
    ],
)
def test_conll_rows_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(formats.sentences(write(tmp_path / "a.conll", content)))


def test_what_is_long_but_parted_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.conll", "mot O\n" * 251 + "\nmot O\n")
    assert [len(values[0]) for _, values in formats.sentences(file)] == [251, 1]
    short = write(tmp_path / "b.conll", "mot O\n" * 250)
    assert [len(values[0]) for _, values in formats.sentences(short)] == [250]
    assert list(formats.sentences(write(tmp_path / "c.conll", "\n# a = 1\n"))) == []


def test_conllu_words_are_in_the_second_column(tmp_path: Path) -> None:
    file = write(tmp_path / "a.conllu", "# text = Il dort\n1\tIl\tPRON\n2\tdort\tVERB\n")
    assert [values for _, values in formats.sentences(file)] == [(["Il", "dort"], ["PRON", "VERB"])]
    bare = write(tmp_path / "b.conllu", "Il\tPRON\ndort\tVERB\n")
    assert [values[0] for _, values in formats.sentences(bare)] == [["Il", "dort"]]


def test_a_column_that_the_header_has_not(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "TOKEN\tNE\nMarie\tB-PER\n")
    with pytest.raises(DataError, match=r"no column 'NER'\. It has: TOKEN, NE"):
        list(formats.sentences(file, "TOKEN", "NER"))


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("Marie B-PER +\ndort O +\n", "Column 1 (from 0) holds labels: set `columns = { tags = 1 }`"),
        (
            "TOKEN POS NE\nMarie N B-PER\ndort V O\n",
            'Line 1 looks like a header: set `columns = { words = "TOKEN", tags =',
        ),
        ("# x = 1\n\nTOKEN NE\nMarie B-PER\n", "Line 3 looks like a header"),
        ("Marie PERS\ndort X\n", ""),
        ("Marie PERS\n", ""),
    ],
)
def test_which_column_holds_the_tags(tmp_path: Path, content: str, advice: str) -> None:
    said = formats.tags_column(write(tmp_path / "a.conll", content), {"O", "B-PER"})
    assert said.strip().startswith(advice) and bool(said) == bool(advice)


def test_a_sharp_sign_can_be_a_word(tmp_path: Path) -> None:
    file = write(tmp_path / "a.conll", "# O\n1 O\n\n# sent_id = 2\n#\tO\n")
    assert [values[0] for _, values in formats.sentences(file)] == [["#", "1"], ["#"]]


@pytest.mark.parametrize(("content", "columns"), [("Marie\n", (0, -1)), ("Marie B-PER\n", (0, 3))])
def test_too_few_conll_columns(tmp_path: Path, content: str, columns: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"a\.conll, line 3: needs column \d \(from 0\)"):
        list(formats.sentences(write(tmp_path / "a.conll", f"\n\n{content}"), *columns))


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not from CSV"):
        formats.format_of(tmp_path / "a.csv", tokens=True)
    with pytest.raises(DataError, match="this task needs texts"):
        formats.format_of(tmp_path / "a.conllu.xz", tokens=False)
    assert formats.format_of(tmp_path / "a.b.TSV.gz", tokens=False) == "tsv"


@pytest.mark.shared
def test_real_conll_files(shared: Path) -> None:
    def count(name: str, *columns: int) -> int:
        return sum(1 for _ in formats.sentences(shared / "data" / name, *columns))

    assert count("wikineural_fr/val.conllu", 1, 2) == 12_600
    assert count("panx_fr/dev-fr.tsv") == 10_000
    assert count("ud_sequoia/fr_sequoia-ud-dev.conllu", 1, 3) == 412


def test_a_column_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "twice.tsv"
    path.write_text("texte\ttexte\tton\na\tb\tc\n", encoding="utf-8")
    with pytest.raises(DataError, match="two columns 'texte'"):
        list(formats.rows(path, ["texte", "ton"]))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"t": "a"}\n\n{"t": "b", "t": "c"}\n', "line 3: the key 't' stands twice"),
        ("a.jsonl", '{"t": "a", "other": {"n": 1, "n": 1}}\n', "line 1: the key 'n' stands twice"),
        ("a.json", '[{"t": "a"},\n {"t": "b", "t": "c"}]', "row 2: the key 't' stands twice"),
        ("a.json", '{"t": "a", "\\u0074": "b"}\n', "row 1: the key 't' stands twice"),
    ],
)
def test_a_key_twice_in_an_object_is_an_error(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        read(write(tmp_path / name, content), "t")


def test_a_column_of_parquet_twice_is_an_error(tmp_path: Path) -> None:
    one = pa.array(["a"])
    for names in (["t", "t", "u"], ["\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "u"]):
        path = tmp_path / "twice.parquet"
        parquet.write_table(pa.Table.from_arrays([one, one, one], names=names), path)
        for wanted in (names[0], 1):
            with pytest.raises(DataError, match=r"has two columns '.+': rename one of them"):
                read(path, wanted)
        assert read(path, "u") == [("a",)]
