"""Boards, results and predictions as tables for analysis, and as a notebook shows them."""

from __future__ import annotations

import io
import pickle
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import flue_bench
from flue_bench.boards import render, rules
from flue_bench.errors import FlueBenchError, RecordError
from flue_bench.progress import Console, Display
from support.boards import LABELS, teacher_and_student
from support.factories import make_record

EVIL = "<script>alert(1)</script>\u202e\x1b[31m & \"'</td>"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with three models on three tasks."""
    folder = tmp_path_factory.mktemp("results")
    teacher_and_student(folder)
    return folder


class Page(HTMLParser):
    """The elements and attributes of a fragment, and whether each that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_figure_of_the_board_is_in_the_table(results: Path) -> None:
    built = flue_bench.build_board(results)
    table = built.to_arrow()
    entries = [
        (row, column, entry)
        for row in built.rows
        for column, entry in zip(built.columns, row.entries, strict=True)
        if entry
    ]
    assert table.num_rows == len(entries) == 9
    for line, (row, column, entry) in zip(table.to_pylist(), entries, strict=True):
        assert (line["model"], line["column"], line["mean"], line["n"]) == (
            row.model,
            column.title,
            entry.mean,
            entry.n,
        )
        assert (line["low"], line["high"]) == (
            entry.interval and entry.interval.low,
            entry.interval and entry.interval.high,
        )
        assert line["versus_p_adjusted"] == (entry.versus and entry.versus.p_adjusted)
        assert line["verdict"] == entry.verdict
        assert [run["score"] for run in line["runs"]] == [run.score for run in entry.runs]
        assert [speed["device"] for speed in line["speeds"]] == [
            m.device for m, s in zip(built.machines, row.speeds, strict=True) if s
        ]
        assert (line["kept_ratio"] is not None) == (row.model == "org/eleve")
    frame = built.to_pandas()
    assert frame.shape == (table.num_rows, table.num_columns)
    assert frame.groupby("model")["mean"].mean().idxmin() == "org/eleve"


def test_an_empty_board_is_an_empty_table() -> None:
    empty = rules.build([])
    assert empty.to_arrow().num_rows == 0 and empty.to_pandas().empty
    assert "No model has a whole entry yet." in str(empty) and "No model has a whole entry yet." in empty._repr_html_()


def test_a_run_is_a_row(results: Path) -> None:
    read = flue_bench.read_results(results)
    lines = read.to_arrow().to_pylist()
    assert len(lines) == len(read.records) > 20
    for line, record in zip(lines, read, strict=True):
        assert (line["task"], line["seed"], line["score"]) == (
            record.cell.task,
            record.cell.seed,
            record.scores[record.metric],
        )
        assert {n: line[f"scores.{n}"] for n in record.scores} == record.scores
        others = {name for name in line if name.startswith("scores.")} - {f"scores.{name}" for name in record.scores}
        assert others and all(line[name] is None for name in others)
        assert line["cost.steps"] == record.cost.steps
    assert set(read.to_pandas()["task"]) == set(LABELS)


def test_an_example_is_a_row(results: Path, tmp_path: Path) -> None:
    record = flue_bench.read_results(results).records[0]
    table = record.predictions()
    assert table.num_rows == record.predictions.rows and {"id", "gold", "predicted"} <= set(table.column_names)
    assert pickle.loads(pickle.dumps(record)).predictions().equals(table)
    assert record.model_copy().predictions().equals(table)
    assert record == type(record).model_validate_json(record.model_dump_json())
    assert hash(record.predictions) == hash(record.predictions.model_copy())
    assert "_place" not in record.model_dump_json() and str(tmp_path.parent) not in record.model_dump_json()
    with pytest.raises(RecordError, match="was not read from a results folder"):
        make_record().predictions()
    written = teacher_and_student(tmp_path, seeds=1).records()[0]
    (tmp_path / "runs" / "org--eleve" / "paws-x" / written.predictions.file).write_bytes(b"other")
    with pytest.raises(RecordError, match="SHA-256 differs"):
        written.predictions()


def test_without_pandas_the_message_says_what_to_install(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    read = flue_bench.read_results(results)
    for tabular in (read, flue_bench.build_board(read)):
        assert tabular.to_arrow().num_rows  # type: ignore[attr-defined]
        with pytest.raises(FlueBenchError, match="pip install pandas"):
            tabular.to_pandas()  # type: ignore[attr-defined]


def test_a_terminal_shows_the_board_as_the_command_does(results: Path) -> None:
    built = flue_bench.build_board(results)
    drawn = io.StringIO()
    Console(file=drawn, width=100, color_system=None).print(render.terminal(built))
    assert str(built) == drawn.getvalue() and "org/eleve" in str(built)


def test_a_notebook_shows_the_board(results: Path) -> None:
    built = flue_bench.build_board(results)
    page = Page(built._repr_html_())
    assert not page.open
    assert page.tags <= {
        "div",
        "p",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "details",
        "summary",
        "ul",
        "li",
    }
    assert page.attributes == {"style"}
    for row in built.rows:
        assert row.label in page.text
        for entry in row.entries:
            assert entry is None or f"{100 * entry.mean:.2f}" in page.text
    assert "Test scores in percent" in page.text and "keeps" in page.text and "examples/s" in page.text
    assert built._repr_html_() == flue_bench.build_board(results)._repr_html_()


def test_no_name_of_a_stranger_becomes_html(tmp_path: Path) -> None:
    records = [
        make_record(EVIL, EVIL, recipe_name=EVIL, metric=EVIL, collapsed=EVIL, deviations=[EVIL], canonical=False),
        make_record("org/plain", EVIL, metric=EVIL, column=EVIL),
    ]
    shown = rules.build(records, damaged=[(Path(EVIL), EVIL)])._repr_html_()
    page = Page(shown)
    assert not page.open and "script" not in page.tags and page.attributes == {"style"}
    assert "<script" not in shown and "\u202e" not in shown and "\x1b" not in shown
    assert "<script>alert(1)</script>" in page.text  # as text


@pytest.mark.parametrize(("widgets", "live"), [(True, True), (False, False)])
def test_a_notebook_shows_bars_where_it_can(widgets: bool, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich draws in a notebook with ipywidgets, and warns without: then lines are printed, as in a log."""
    shown: list[Any] = []
    import importlib.machinery
    import types

    def module(name: str, **names: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for each, value in names.items():
            setattr(made, each, value)
        return made

    class Output:
        def clear_output(self, wait: bool = False) -> None: ...
        def close(self) -> None: ...
        def __enter__(self) -> Output:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setitem(sys.modules, "IPython", module("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module("IPython.display", display=shown.append))
    monkeypatch.setitem(sys.modules, "ipywidgets", module("ipywidgets", Output=Output) if widgets else None)
    display = Display(Console(force_jupyter=True))
    with display.running(), display.bar("travail") as bar:
        assert (display.live is not None) is live
        bar.update(1, 1)
    assert shown and display.live is None


def test_no_progress_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    flue_bench.load_data("mini-cls", progress=False)
    assert capfd.readouterr() == ("", "")
    flue_bench.load_data("mini-cls")
    assert "mini-cls: reading data" in capfd.readouterr().err
