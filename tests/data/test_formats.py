from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
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
        ("a.csv", "texte,note\nbon,1\n".encode("utf-16"), r"a\.csv, line 1: byte 0xff is not UTF-8"),
        ("a.tsv", "texte\tscore\nbon\t1\n", r"no column 'note'\. It has: texte, score"),
        ("a.tsv", "texte\tnote\nbon\t1\t2\n", r"a\.tsv, line 2 has 3 columns, the first line has 2"),
        ("a.csv", 'texte,note\n"bon,1\n', r"a\.csv, line 2: not CSV"),
        ("a.csv", 'texte,note\n"bon" marché,1\n', r"a\.csv, line 2: not CSV"),
        ("a.csv", "", r"a\.csv is empty"),
        ("a.jsonl", '{"texte": "bon", "note": 1}\n{"texte": "bon"}\n', r"line 2 has no column 'note'\. It has: texte"),
        ("a.jsonl", '{"texte": \n', r"line 1 is not JSON"),
        ("a.jsonl", '["bon", 1]\n', r"line 1 is not a JSON object"),
        ("a.parquet", b"PAR1 not at all", r"a\.parquet cannot be read as parquet"),
        ("a.xlsx", b"", r"told by its suffix, one of csv, tsv"),
        ("a", b"", r"told by its suffix"),
    ],
)
def test_errors_say_where(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content), "texte", "note")


def test_parquet_lists_its_columns_when_one_is_missing(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"texte": ["bon"], "score": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column 'note'\. It has: texte, score"):
        read(tmp_path / "a.parquet", "texte", "note")
    with pytest.raises(DataError, match=r"no column number 2"):
        read(tmp_path / "a.parquet", 0, 2)


def test_a_missing_column_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: column 5 \(from 0\) is wanted, the line has 2"):
        read(write(tmp_path / "a.tsv", "bon\t1\n"), 0, 5)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.conll", "Marie B-PER\ndort O\n\n\nParis B-LOC\n", (0, -1)),
        ("a.conll", "Marie NP B-PER\r\ndort V O\r\n\r\nParis NP B-LOC", (0, -1)),
        ("a.tsv", "Marie\tB-PER\ndort\tO\n\nParis\tB-LOC\n", (0, 1)),
        ("a.txt", "0\tMarie\tB-PER\n1\tdort\tO\n\n0\tParis\tB-LOC\n\n", (1, 2)),
    ],
)
def test_conll(tmp_path: Path, name: str, content: str, columns: tuple[int, int]) -> None:
    file = write(tmp_path / name, content)
    assert formats.format_of(file, tokens=True) == "conll"
    found = list(formats.sentences(file, *columns))
    assert [values for _, values in found] == [(["Marie", "dort"], ["B-PER", "O"]), (["Paris"], ["B-LOC"])]
    assert found[0][0] == 1


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


def test_a_sharp_sign_can_be_a_word(tmp_path: Path) -> None:
    file = write(tmp_path / "a.conll", "# O\n1 O\n\n# sent_id = 2\n#\tO\n")
    assert [values[0] for _, values in formats.sentences(file)] == [["#", "1"], ["#"]]


@pytest.mark.parametrize(("content", "columns"), [("Marie\n", (0, -1)), ("Marie B-PER\n", (0, 3))])
def test_too_few_conll_columns(tmp_path: Path, content: str, columns: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"a\.conll, line 3: column \d \(from 0\) is wanted"):
        list(formats.sentences(write(tmp_path / "a.conll", f"\n\n{content}"), *columns))


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not as CSV"):
        formats.format_of(tmp_path / "a.csv", tokens=True)
    with pytest.raises(DataError, match="this task wants texts"):
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
