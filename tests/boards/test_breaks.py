"""Where long names break in narrow columns."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

import flue_bench
from flue_bench.boards.breaks import Names, broken
from flue_bench.progress import Console
from support import ROOT


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("embedded:student", 13, ["embedded:", "student"]),
        ("mini-ressemblances", 14, ["mini-", "ressemblances"]),
        ("almanach/camembert-base_v2", 12, ["almanach/", "camembert-", "base_v2"]),
        ("a-b-c-d-e", 4, ["a-b-", "c-d-", "e"]),
        ("embedded:student", 16, ["embedded:student"]),
        ("no difference shown", 10, ["no difference shown"]),
        ("anticonstitutionnellement", 10, ["anticonstitutionnellement"]),
        ("xnli\nf1_macro", 5, ["xnli", "f1_", "macro"]),
        ("a:b", 0, ["a:", "b"]),
        ("", 5, [""]),
    ],
)
def test_a_long_word_breaks_after_its_marks(text: str, width: int, lines: list[str]) -> None:
    assert broken(text, width).split("\n") == lines


@pytest.mark.parametrize("width", range(24, 60, 3))
def test_a_table_shows_every_piece_whole(width: int) -> None:
    table = Table("model", "of", box=None)
    table.add_row(Names("embedded:student (standard, fp32)"), Names("mini-ressemblances"))
    drawn = io.StringIO()
    Console(file=drawn, width=width, color_system=None).print(table)
    said = drawn.getvalue()
    assert max(map(len, said.splitlines())) <= width
    words = said.split()
    for piece in ("embedded:", "student") if "embedded:student" not in words else ():
        assert piece in words, said


def test_a_comparison_fits_a_terminal_without_cutting_a_word(all_stand: None) -> None:
    """Columns stand closer where there is little room."""
    answer = flue_bench.compare(
        "embedded:student",
        "embedded:teacher",
        ROOT / "results/embedded",
        tasks=["mini-cls", "mini-ner", "mini-xnli"],
        floor="random-weights",
    )
    for width in (72, 76, 80, 120):
        drawn = io.StringIO()
        Console(file=drawn, width=width, color_system=None).print(answer)
        said = drawn.getvalue()
        assert max(map(len, said.splitlines())) <= width
        assert said.split().count("difference") >= 3 and {"mini-cls", "shown"} <= set(said.split()), said
