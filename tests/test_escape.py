"""Text of strangers in each medium: what the medium's own reader makes of it is the text, and nothing else."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table
from rich.text import Text

from flue_bench import escape
from flue_bench.cli import output
from flue_bench.progress import Console, Display
from support import ROOT

NASTY = st.text(
    st.one_of(
        st.sampled_from("\x1b\x07\x9b\u202e\u2066\u2028\n\r\t `*_[]()<>|~&$#!\\=+-@.;:'\"{}^%1\ufffd\uff1d"),
        st.characters(codec="utf-8"),
    ),
    max_size=40,
)


def controls(text: str, but: str = "\n") -> set[str]:
    """Characters that drive a terminal or change the direction of text."""
    return {c for c in text if (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029") and c not in but}


@given(NASTY)
def test_nothing_controls_a_terminal(text: str) -> None:
    assert not controls(escape.lines(text))
    assert not controls(escape.plain(text), but="")
    assert escape.lines(escape.lines(text)) == escape.lines(text)


def test_what_is_no_control_stays() -> None:
    french = "« Où est-ce ? »\N{NO-BREAK SPACE}: 12\N{NARROW NO-BREAK SPACE}000 € à l'œuvre\nĳ 漢字 🙂"
    assert escape.lines(french) == french
    assert escape.lines("a\x1b[31m\tb\u202e") == r"a\x1b[31m\tb\u202e"


@given(NASTY)
@pytest.mark.parametrize("place", ["{}", "a\n\n{}", "- {}", "- a\n\n  {}", "{} à la fin"])
def test_markdown_shows_the_text_and_nothing_more(place: str, text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(place.format(escape.markdown(text)))
    blocks = ("paragraph", "bullet_list", "list_item") if "-" in place else ("paragraph",)
    allowed = {"inline", *(f"{block}_{end}" for block in blocks for end in ("open", "close"))}
    assert {token.type for token in tokens} <= allowed
    inside = [part for token in tokens for part in token.children or []]
    assert {part.type for part in inside} <= {"text", "text_special"}
    shown = "".join(part.content for part in inside)
    assert "".join(escape.plain(text).split()) in "".join(shown.split())


@given(NASTY, NASTY)
def test_a_cell_of_markdown_is_one_cell(text: str, name: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(f"| {escape.code(name)} | b |\n|---|---|\n| {escape.markdown(text)} | c |\n\n")
    assert [token.type for token in tokens if token.type.startswith("t") and token.type.endswith("_open")] == [
        "table_open", "thead_open", "tr_open", "th_open", "th_open", "tbody_open", "tr_open", "td_open", "td_open",
    ]  # fmt: skip
    (head, *_) = (token for token in tokens if token.type == "inline")
    assert [part.type for part in head.children or [] if part.content.strip()] == ["code_inline"] * bool(name.strip())


@given(NASTY)
@example('x;"=1+cmd|x;y')
@example('x; " "@SUM(1);y')
@example(';"\uff1d1')
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([escape.csv(text), escape.csv(-0.5), escape.csv(f"a{text}")])
    cells = next(csv.reader(io.StringIO(out.getvalue())))
    for cell in [*cells[0].split(";"), *cells[2].split(";")]:
        assert cell.strip()[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20"), cells
    assert cells[1] == "-0.5", "numbers stay numbers"
    for cell in next(csv.reader(io.StringIO(out.getvalue()), delimiter=";")):
        assert cell.strip()[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20"), out.getvalue()


@given(NASTY)
def test_latex_has_no_command_but_ours(text: str) -> None:
    made = escape.latex(text)
    for known in sorted(escape._LATEX.values(), key=len, reverse=True):
        made = made.replace(known, "")
    assert not set(made) & set("\\{}$&#^_~%[]*`'\"<>|"), made


@given(st.recursive(NASTY, lambda inner: st.lists(inner) | st.dictionaries(NASTY, inner), max_leaves=5))
def test_json_and_yaml_hold_no_control(value: object) -> None:
    text = escape.json(value)
    assert text.isascii() and not controls(text) and json.loads(text) == value

    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for pair in value.items() for part in pair for text in strings(part)]
        return [value] if isinstance(value, str) else [text for each in value for text in strings(each)]  # type: ignore[attr-defined]

    assert not any(controls(each, but="") for each in strings(escape.data(value)))


@given(NASTY)
@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_the_console_shows_text_as_it_is(on_a_terminal: bool, text: str) -> None:
    def drawn(text: str) -> str:
        file = io.StringIO()
        console = Console(file=file, width=4000, force_terminal=on_a_terminal, color_system=None)
        table = Table(f"[red]{text}", title=text)
        table.add_row(f"[bold]{text}[/bold]")
        table.add_row(Text(text))
        console.print(table)
        console.print(text)
        display = Display(console)
        with display.running(), display.bar(text) as bar:
            bar.update(1, 2, text)
            display.line(text)
        return re.sub(r"\x1b\[\??[0-9]*[hlKA]|\r", "", file.getvalue()) if on_a_terminal else file.getvalue()

    made = drawn(text)
    assert not controls(made), repr(made)
    assert "[bold]" in made and "[red]" in made, "nothing is markup"


def test_a_document_on_a_screen_controls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    for screen, shown in (Screen(), r"a\u202eb"), (io.StringIO(), "a\u202eb"):
        monkeypatch.setattr("sys.stdout", screen)
        output.put("a\u202eb", None)
        assert screen.getvalue() == shown


def test_there_is_one_door_to_the_screen() -> None:
    """Nobody prints but through ``cli.output`` and ``progress.Console``."""
    found = []
    for file in [*(ROOT / "flue_bench").rglob("*.py"), *(ROOT / "distill" / "flue_distill").rglob("*.py")]:
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "click.echo"):
                found.append(name)
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                found += [name for alias in node.names if alias.name == "Console"]
    # Nothing is said there: they tell rich how they are drawn.
    drawn_on = {f"flue_bench/boards/{name}.py" for name in ("breaks", "compared_text", "render")}
    assert set(found) <= {"flue_bench/cli/output.py", *drawn_on}
