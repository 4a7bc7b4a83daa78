"""The board as a page: its content from the file, its behaviour in a real browser where there is one."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer

import flue_bench
from flue_bench.boards import behind, pictures, render, rules, wording
from flue_bench.boards import html as pages
from flue_bench.boards.pictures import Scale
from flue_bench.cli.leaderboard import leaderboard
from flue_bench.record import ClassScores
from flue_bench.results import counted
from flue_bench.results.comparison import Interval
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from support.boards import LABELS, teacher_and_student, write_run
from support.browser import CHROMIUM, Page, chromium
from support.command_line import done
from support.factories import make_record

HOSTILE = "<img src=x onerror=alert(1)>\"'></script><script>alert(2)</script>{{ 7*7 }}\u202e"

app = typer.Typer()
app.command()(leaderboard)


def page_of(root: Path, out: Path) -> str:
    done("leaderboard", "--results", root, "--format", "html", "--out", out)
    return out.read_text(encoding="utf-8")


def test_a_second_page_reads_no_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does another board: however many records there are, what was computed of them is kept."""
    root = tmp_path / "results"
    teacher_and_student(root, seeds=2)
    first = page_of(root, tmp_path / "board.html")
    monkeypatch.setattr("flue_bench.results.evidence.read_predictions", lambda *_: pytest.fail("predictions were read"))
    assert page_of(root, tmp_path / "board.html") == first


def data_of(page: str) -> Any:
    """What the page's script reads."""
    return json.loads(page.rpartition('<script type="application/json" id="data">')[2].partition("</script>")[0])


class Elements(html.parser.HTMLParser):
    """Every element and its attributes, and the text that is seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with its page, and a hostile model in it."""
    root = tmp_path_factory.mktemp("board") / "results"
    store = teacher_and_student(root)
    for seed in (0, 1):
        write_run(store, HOSTILE, "xnli", seed, 0.6)
    page_of(root, root / "board.html")
    return root / "board.html"


def test_one_file_that_asks_nothing_of_the_network(board: Path) -> None:
    page = Elements(board.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "link", "iframe", "object", "base"})
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; form-action 'none'; base-uri 'none';")
    assert not [a for tag, a in page.tags if tag == "form" and "action" in a]
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]  # the first is never run
    addresses = [a[key] or "" for _, a in page.tags for key in ("href", "src") if key in a]
    outside = [address for address in addresses if ":" in address]
    assert outside and all(address.startswith("https://") for address in outside)  # the published scores' sources
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]


def test_names_are_text(board: Path) -> None:
    source = board.read_text(encoding="utf-8")
    assert "<img" not in source and "{{" not in source.replace("{{ 7*7 }}", "") and "\u202e" not in source
    assert "&lt;img src=x onerror=alert(1)&gt;" in source
    assert source.count("<script>") == 1 and source.count("</script>") == 2
    assert any(row["label"] == HOSTILE.replace("\u202e", "\ufffd") for row in data_of(source)["rows"])


def addresses(page: str) -> list[str]:
    """The addresses of the records behind the numbers."""
    data = data_of(page)
    tasks = [task for row in data["rows"] for entry in row["entries"] if entry for task in entry["tasks"]]
    runs = [run for task in tasks for run in task["runs"]]
    return [f"{data['folders'][run[5]]}/{run[6]}" for run in runs if len(run) > 5]


def test_numbers_lead_to_their_records(board: Path) -> None:
    source = board.read_text(encoding="utf-8")
    page = Elements(source)
    inside = {a["id"] for _, a in page.tags if "id" in a}
    links = [a.get("href") or "" for tag, a in page.tags if tag == "a"]
    data = data_of(source)
    for link in links:
        if link.startswith("#behind="):
            row, column = map(int, link.removeprefix("#behind=").split("."))
            assert data["rows"][row]["entries"][column]
        else:
            assert link.startswith("https://") or link[1:] in inside, link
    assert sum(link.startswith("#behind=") for link in links) == 10
    found = addresses(source)
    assert all((board.parent / address).is_file() for address in found)
    assert len(set(found)) == len(found) == len(list((board.parent / "runs").rglob("*.json")))


def test_the_numbers_are_those_of_the_markdown_board(board: Path) -> None:
    """Score, interval and seeds of every entry, and what students keep."""
    built = flue_bench.build_board(board.parent)
    lines = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in render.markdown(built).splitlines()
        if line.startswith("| ")
    ]
    rows = lines[1 : 1 + len(built.rows)]
    drawn = re.findall(r"<tr data-row=.*?</tr>", board.read_text(encoding="utf-8"), re.S)
    assert len(drawn) == len(rows) == 4
    for markdown, row in zip(rows, drawn, strict=True):
        cells = [re.sub(r"<svg.*?</svg>", "", cell) for cell in re.findall(r"<td .*?</td>", row, re.S)]
        texts = [Elements(cell.replace("<small>", " ")).text.strip() for cell in cells]
        assert texts[0] == markdown[2]
        scores = [re.sub(r" n=(.*)$", r" (\1)", text) for text in texts[3:]]
        assert scores == [cell.replace("**", "") for cell in markdown[3:]]
        assert [("best" in cell) for cell in cells[3:]] == [("**" in cell) for cell in markdown[3:]]
    kept = [cell for line in lines[1 + len(rows) : 1 + len(rows) + len(built.pairs)] for cell in line[3:]]
    assert len(kept) == 3
    source = board.read_text(encoding="utf-8")
    page = Elements(source).text
    for cell in kept:
        share, _, interval = cell.partition(" [")
        assert share in page and f"[{interval}" in page
    (power,) = (line for line in lines if line[0] == wording.POWER_LINE)
    (below,) = re.findall(r"<tfoot>.*?</tfoot>", source, re.S)
    assert wording.POWER_LINE in below
    assert [Elements(cell).text for cell in re.findall(r"<td>.*?</td>", below)] == ["", "", "", *power[3:]]


def test_parameters_are_a_range_and_unknown_sizes_no_column(tmp_path: Path) -> None:
    """As on the boards of text: heads differ by task, and a column of dashes says nothing."""
    store = Store(tmp_path)
    for task, parameters in (("xnli", 3_200_000), ("paws-x", 3_100_000)):
        write_run(store, "m", task, 0, 0.9, parameters=parameters)
    page = page_of(tmp_path, tmp_path / "b.html")
    assert f'<td data-v="3200000">3.1{wording.NONE}3.2</td>' in page and "size (MB)" not in page
    write_run(store, "n", "xnli", 0, 0.9, weights_bytes=4_000_000)
    page = page_of(tmp_path, tmp_path / "b.html")
    assert page.count("size (MB)") > 0 and '<td data-v="4000000">4.0</td>' in page


def test_rows_whose_names_look_alike_are_told_apart(tmp_path: Path) -> None:
    """By what is shown of them: the page finds a row by its title."""
    store = Store(tmp_path)
    for name in ("m\u202e", "m\u202d", "m\ufffd"):
        write_run(store, name, "xnli", 0, 0.9)
    titles = [row["title"] for row in data_of(page_of(tmp_path, tmp_path / "b.html"))["rows"]]
    assert len(set(titles)) == 3 and all(title.startswith("m\ufffd (") for title in titles)


def test_far_from_the_results_there_are_no_links(board: Path, tmp_path: Path) -> None:
    far = tmp_path / "a" / "b" / "c" / "d" / "board.html"
    far.parent.mkdir(parents=True)
    page = page_of(board.parent, far)
    assert "runs/" not in page and not addresses(page)
    near = addresses(page_of(board.parent, board.parent.parent / "board.html"))
    assert near and all(address.startswith("results/runs/") for address in near)


def test_the_same_board_is_the_same_page(board: Path) -> None:
    assert page_of(board.parent, board.parent / "again.html") == board.read_text(encoding="utf-8")


def test_drill_down_by_class_entity_and_confusion(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [write_run(store, "m", "wikiner", seed, 0.9) for seed in (0, 1)]
    data = data_of(page_of(tmp_path, tmp_path / "b.html"))
    (task,) = data["rows"][0]["entries"][0]["tasks"]
    labels, counts = task["confusion"]
    matrix = [[int(count or 0) for count in line.split(",")] for line in counts.split(";")]
    assert data["labels"][labels] == list(LABELS["wikiner"])
    for i, name in enumerate(LABELS["wikiner"]):  # words, summed over both seeds
        word = [run.per_class["word"][name] for run in runs]
        assert sum(matrix[i]) == sum(scores.support for scores in word)
        assert matrix[i][i] == round(sum(scores.recall * scores.support for scores in word))
    heading, names, scores = task["levels"][0]
    per = [run.per_class["entity"]["PER"].f1 for run in runs]
    assert heading == "Entities"
    assert scores[data["labels"][names].index("PER")][2] == pytest.approx(100 * sum(per) / 2, abs=0.005)


def test_without_predictions_the_page_says_so(tmp_path: Path, all_stand: None) -> None:
    store = Store(tmp_path)
    record = write_run(store, "m", "xnli", 0, 0.9)
    next(tmp_path.rglob("*.parquet")).unlink()
    page = page_of(tmp_path, tmp_path / "b.html")
    text = Elements(page).text
    (task,) = data_of(page)["rows"][0]["entries"][0]["tasks"]
    assert "confusion" not in task and "not found" in task["lacking"] and "no interval:" in text
    assert f"{100 * record.scores['f1_macro']:.2f}" in text


def test_a_collapsed_run_and_an_empty_board(tmp_path: Path, all_stand: None) -> None:
    store = Store(tmp_path)
    write_run(store, "m", "xnli", 0, 0.9, only=1)
    assert (
        "predicts only 'neutral' (gold has 3 classes) in 1 of 1 seed"
        in Elements(page_of(tmp_path, tmp_path / "b.html")).text
    )
    shutil.rmtree(tmp_path / "runs")
    lonely = make_record(task="cls-books")  # its column lacks two members
    folder = store.folder(lonely.cell)
    folder.mkdir(parents=True)
    (folder / f"seed0-{lonely.cell_digest}.json").write_text(lonely.model_dump_json())
    assert "No model has a whole entry yet" in page_of(tmp_path, tmp_path / "b.html")


@pytest.mark.parametrize(("low", "high"), [(0, 90.8), (79.3, 93.1), (0.5, 0.6), (0, 1e5), (-3.0, 4.0)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    ticks = Scale(low, high).ticks()
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high + 1e-9 for tick in ticks)
    assert all(len(f"{tick:g}") <= 5 or tick >= 1e4 for tick in ticks)


# In the browser ------------------------------------------------------------------------------------------------------

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board with a model under two recipes, the second of which only one column has."""
    root = tmp_path_factory.mktemp("folded") / "results"
    store = teacher_and_student(root)
    for seed in (0, 1, 2):
        write_run(store, "org/maitre", "xnli", seed, 0.9, recipe_name="long", recipe={"epochs": 9})
    page_of(root, root / "board.html")
    return root / "board.html"


def column(page: Page, index: int) -> list[str]:
    values: list[str] = page.js(
        f"[...document.querySelectorAll('table.board tbody tr')].map(row => row.cells[{index}].dataset.v)"
    )
    return values


def names(page: Page) -> list[str]:
    found: list[str] = page.js("[...document.querySelectorAll('.board .name')].map(name => name.innerText)")
    return found


def headers(page: Page) -> list[str]:
    """The headers that are shown."""
    found: list[str] = page.js(
        "[...document.querySelectorAll('table.board thead th')].filter(th => th.offsetWidth).map(th => th.dataset.name)"
    )
    return found


def press(page: Page, key: str, code: int) -> None:
    for kind in "keyDown", "keyUp":
        text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)


def settled(page: Page) -> None:
    """Wait until what an event of the browser starts is done."""
    page.js("new Promise(done => setTimeout(done, 50))")


@browser
def test_sorting(page: Page, board: Path) -> None:
    page.open(board)
    found = page.js("[...document.querySelectorAll('table.board thead button')].map(button => button.innerText)")
    assert found[:4] == ["model", "parameters (M)", "size (MB)", "examples/s"]
    click = "document.querySelectorAll('table.board thead button')[{}].click()"
    for index in (3, found.index("xnli"), 1):
        for way in ("descending", "ascending"):
            page.js(click.format(index))
            there = [float(value) for value in column(page, index) if value]
            assert there == sorted(there, reverse=way == "descending")
            missing = column(page, index).count("")
            assert column(page, index)[len(there) :] == [""] * missing  # always last
            marked = page.js("[...document.querySelectorAll('[aria-sort]')].map(th => th.ariaSort + th.cellIndex)")
            assert marked == [f"{way}{index}"]
    page.js(click.format(0))
    assert len(names(page)) == 4 and sorted(names(page), key=str.lower)[-2:] == names(page)[-2:]
    assert not page.errors


@browser
def test_search_and_filters_and_a_view_that_can_be_sent(page: Page, board: Path) -> None:
    page.open(board)
    say = "{{const e = document.querySelector('#filters').elements[{!r}]; e.value = {!r};"
    say += "e.dispatchEvent(new Event('input', {{bubbles: true}}))}}"
    assert {"autre", "org/maitre", "org/eleve"} < set(names(page)) and len(names(page)) == 4
    page.js(say.format("q", "ORG ele"))
    assert names(page) == ["org/eleve"]
    page.js(say.format("q", ""))
    page.js(say.format("to", "70"))
    assert "org/maitre" not in names(page) and "org/eleve" in names(page)
    page.js(say.format("to", ""))
    page.js(say.format("task", "paws-x"))
    assert len(names(page)) == 3 and not {"xnli", "wikiner"} & set(headers(page)) and "paws-x" in headers(page)
    page.js(say.format("teacher", "org/maitre"))
    assert names(page) == ["org/eleve"]
    assert page.js("document.querySelector('#status').textContent").startswith("1 of 4 models, 1 of 4 rows")
    dimmed = page.js("[...document.querySelectorAll('figure circle')].map(c => c.classList.contains('aside'))")
    assert any(dimmed) and not all(dimmed)
    sent = page.js("location.hash")
    page.open(board, sent)
    assert names(page) == ["org/eleve"] and "paws-x" in headers(page)
    assert page.js("document.querySelector('#filters').elements.teacher.value") == "org/maitre"
    page.js("document.querySelector('#filters [type=reset]').click()")
    settled(page)
    assert len(names(page)) == 4 and page.js("location.hash") in ("", "#")
    page.open(board, "#task=none&recipe=none&sort=none&columns=none&open=none&a=none&behind=99.99")
    assert not names(page) and not page.errors  # of another board: nothing is found, nothing breaks


@browser
def test_data_of_one_licence(page: Page, board: Path, tmp_path: Path, all_stand: None) -> None:
    """The licence is that of the installed task of the same version."""
    known = behind._tasks()
    store = Store(tmp_path / "results")
    for task in ("xnli", "paws-x"):
        version = next(version for name, version in known if name == task)
        record = make_record("m", task, 0, task_version=version)
        folder = store.folder(record.cell)
        folder.mkdir(parents=True)
        (folder / f"seed0-{record.cell_digest}.json").write_text(record.model_dump_json())
    licences = {task: next(value for (name, _), value in known.items() if name == task) for task in ("xnli", "paws-x")}
    assert licences["xnli"] != licences["paws-x"] and all(licences.values())
    page_of(tmp_path / "results", tmp_path / "b.html")
    page.open(tmp_path / "b.html")
    options = page.js("[...document.querySelector('#filters').elements.licence.options].map(o => o.value)")
    assert sorted(options) == sorted(["", *licences.values()])
    page.open(tmp_path / "b.html", f"#licence={licences['xnli']}")
    assert "xnli" in headers(page) and "paws-x" not in headers(page)
    page.open(board)  # of a version that is not installed
    assert page.js("document.querySelector('#filters').elements.licence.parentElement.hidden")


@browser
def test_columns_fit_or_are_chosen(page: Page, board: Path) -> None:
    wide = "document.querySelector('#board').scrollWidth - document.querySelector('#board').clientWidth"
    shown = {}
    for width in (390, 700, 1366):
        page.open(board, width=width)
        shown[width] = headers(page)
        assert page.js(wide) <= 0 and page.js("document.documentElement.scrollWidth") <= width
    assert shown[390][0] == "model" and "paws-x" in shown[390]
    assert len(shown[390]) < len(shown[700]) <= len(shown[1366]) == 7
    page.open(board, width=390)
    page.js("document.querySelector('#choose [type=button]').click()")
    assert headers(page) == shown[1366] and page.js(wide) > 0  # all of them: the table scrolls within its box
    assert page.js("document.documentElement.scrollWidth") <= 390
    left = "document.querySelector('.board tbody th').getBoundingClientRect().left"
    before = page.js(left)
    page.js("document.querySelector('#board').scrollLeft = 200")
    assert page.js(left) == before  # the model stays
    page.open(board, "#columns=xnli&columns=size", width=390)
    assert headers(page) == ["model", "size", "xnli"]


@browser
def test_recipes_of_a_model_are_folded(page: Page, folded: Path) -> None:
    page.open(folded)
    assert sorted(names(page)) == ["autre", "org/eleve", "org/maitre"]
    letters = page.js("[...document.querySelectorAll('tr.fold .letter')].map(l => l.innerText + ' ' + l.title)")
    assert letters == ["a standard, fp32"] * 3  # not the better one of xnli
    toggle = "document.querySelector('.toggle')"
    assert page.js(f"{toggle}.ariaExpanded") == "false"
    page.js(f"{toggle}.click()")
    assert page.js(f"{toggle}.ariaExpanded") == "true" and len(names(page)) == 5
    assert page.js("document.activeElement.className") != "toggle"  # a click by script gives no focus
    page.js(f"{toggle}.focus()")
    for opened in "false", "true":
        press(page, "Enter", 13)
        settled(page)
        assert page.js("document.activeElement.ariaExpanded") == opened  # the focus stays
    assert "open=org%2Fmaitre" in page.js("location.hash")
    under = page.js("[...document.querySelectorAll('tr.under small:first-of-type')].map(s => s.innerText)")
    assert sum("long, fp32" in each for each in under) == 1
    page.open(folded, "#apart=yes")
    assert len(names(page)) == 4 and page.js("document.querySelectorAll('tr.fold').length") == 0
    page.open(folded, "#recipe=long, fp32")
    assert names(page) == ["org/maitre"] and page.js("document.querySelectorAll('tr.fold').length") == 0
    assert not page.errors


@browser
def test_why_and_where_two_rows_differ(page: Page, folded: Path) -> None:
    page.open(folded)
    pick = "{{const s = document.querySelector('#two').elements[{!r}]; s.value = {!r};"
    pick += "s.dispatchEvent(new Event('change', {{bubbles: true}}))}}"
    titles = page.js("[...document.querySelector('#two').elements.a.options].map(o => o.value)")
    assert len(titles) == 5
    page.js(pick.format("a", "org/maitre (standard, fp32)"))
    page.js(pick.format("b", "org/maitre (long, fp32)"))
    said = page.js("document.querySelector('#differences').innerText")
    assert "= the same model content" in said and "= the same data" in said and "≠ other settings" in said
    assert "= the same seeds (3 in common)" in said
    differs = page.js(
        "[...document.querySelector('#differences tbody').rows].map(r => [...r.cells].map(c => c.innerText))"
    )
    assert ["epochs\nrecipe", "3", "9"] in differs and ["called\nrecipe", "standard", "long"] in differs
    assert not [line for line in differs if line[1] == line[2]]
    page.js(pick.format("b", "org/eleve (standard, fp32)"))
    said = page.js("document.querySelector('#differences').innerText")
    assert "≠ another model" in said and "= the same settings" in said and "distilled from" in said
    page.js(pick.format("on", "xnli"))
    # By hand, from the predictions: what more than half of the seeds get wrong.
    evidence = Evidence((folded.parent,))
    wrong: dict[str, list[float]] = {}
    ids: list[str] = []
    for record in Store(folded.parent).records():
        if record.cell.task == "xnli" and record.recipe_name == "standard":
            table = evidence.predictions(record)
            ids = table["id"].to_pylist()
            each = [g != p for g, p in zip(table["gold"].to_pylist(), table["predicted"].to_pylist(), strict=True)]
            before = wrong.get(record.cell.model.name, [0.0] * len(ids))
            wrong[record.cell.model.name] = [x + y / 3 for x, y in zip(before, each, strict=True)]
    gaps = {i: y - x for i, x, y in zip(ids, wrong["org/maitre"], wrong["org/eleve"], strict=True)}
    page.js("document.querySelectorAll('#differences details').forEach(d => d.open = true)")
    listed = page.js("[...document.querySelectorAll('#differences .ids')].map(p => p.innerText.split(', '))")
    expected = [{i for i in ids if gaps[i] > 0.5}, {i for i in ids if gaps[i] < -0.5}]
    assert [set(each) for each in listed] == [each for each in expected if each] and expected[0]
    sent = page.js("location.hash")
    page.open(folded, sent)
    assert page.js("document.querySelector('#differences').innerText").startswith("A ")
    for top in 1, 3, 15, 16, 200:  # however many bits an example takes
        wrong_by = np.arange(7) % (top + 1) * 1.0
        wrong_by[5] = top
        table = pa.table({"id": list("abcdefg")})
        kind = SimpleNamespace(name=f"k{top}", errors=lambda table, record, found=wrong_by: found)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(counted, "kind_of", lambda record, kind=kind: kind)
            patch.setattr(Evidence, "predictions", lambda self, record, table=table: table)
            patch.setattr(Evidence, "kept", lambda self, key, kind, compute, records: compute())
            packed = counted.errors(Store(folded.parent).records()[0], evidence).wrong
        assert page.js(f"data.ids.push([...'abcdefg']), [...wrong([data.ids.length - 1, [{packed!r}]])]") == list(
            wrong_by
        )
    page.open(folded)
    boxes = "[...document.querySelectorAll('.pick')].filter(box => box.offsetWidth)"
    page.js(f"{boxes}.forEach(box => box.click())")
    chosen = page.js(f"{boxes}.filter(box => box.checked).map(box => box.value)")
    assert len(chosen) == 2 and not page.errors


@browser
def test_where_they_differ_on_a_page_without_room(
    page: Page, folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would make the page too large is left out, and a command says how to have it."""
    monkeypatch.setattr(pages, "LARGEST", 0)
    source = page_of(folded.parent, tmp_path / "small.html")
    data = data_of(source)
    tasks = [task for row in data["rows"] for entry in row["entries"] if entry for task in entry["tasks"]]
    assert (
        not data["ids"]
        and not data["labels"]
        and not any({"wrong", "confusion", "levels"} & set(task) for task in tasks)
    )
    assert all("too large" in task["lacking"] for task in tasks)
    page.open(tmp_path / "small.html", "#a=org/maitre (standard, fp32)&b=org/eleve (standard, fp32)")
    said = page.js("document.querySelector('#differences').innerText")
    assert "flue-bench compare --rows 'org/maitre (standard, fp32)' 'org/eleve (standard, fp32)'" in said


@browser
def test_a_name_that_would_be_an_option(page: Page, tmp_path: Path) -> None:
    """The command that the page gives is one to paste: a name must not become an option of it."""
    store = Store(tmp_path)
    for name in ("--out=x", "m"):
        write_run(store, name, "xnli", 0, 0.9)
    page_of(tmp_path, tmp_path / "b.html")
    page.open(tmp_path / "b.html", "#a=--out=x (standard, fp32)&b=m (standard, fp32)")
    (command,) = page.js("[...document.querySelectorAll('#differences pre')].map(pre => pre.innerText)")
    assert command == "flue-bench compare --rows -- '--out=x (standard, fp32)' 'm (standard, fp32)'"
    assert "m (standard, fp32)" in done(*shlex.split(command)[1:3], "--results", tmp_path, *shlex.split(command)[3:])
    assert not (Path.cwd() / "x (standard, fp32)").exists()


@browser
def test_tasks_that_are_called_like_columns_of_the_page(page: Page, tmp_path: Path) -> None:
    """Every column sorts by itself and is chosen by itself."""
    store = Store(tmp_path)
    for n, name in enumerate(("a", "b", "c")):
        more = {"weights_bytes": 4_000_000 - n, "parameters": 1_000_000 + n}
        for task, column in (("xnli", "size"), ("paws-x", "model")):
            write_run(store, name, task, 0, 0.6 + 0.1 * n, column=column, column_members=[task], **more)
    page_of(tmp_path, tmp_path / "b.html")
    page.open(tmp_path / "b.html")
    assert sorted(headers(page)) == ["model", "model", "parameters", "size", "size"]
    for i in range(2, 5):
        page.js(f"document.querySelectorAll('table.board thead button')[{i}].click()")
        assert page.js("[...document.querySelectorAll('[aria-sort]')].map(th => th.cellIndex)") == [i]
        assert names(page) == (["a", "b", "c"] if i == 2 else ["c", "b", "a"])
    page.open(tmp_path / "b.html", "#columns=size")
    shown = (
        "[...document.querySelectorAll('table.board thead th')].filter(th => th.offsetWidth).map(th => th.cellIndex)"
    )
    assert page.js(shown) == [0, 4] and not page.errors


def test_no_record_fills_the_page(tmp_path: Path, all_stand: None) -> None:
    """A stranger's may have thousands of long labels, and say pages of its data."""
    name = "x" * 900
    classes = {f"{n} {name}": ClassScores(precision=0.5, recall=0.5, f1=0.5, support=1) for n in range(5000)}
    record = make_record("m", "xnli", canonical=False, deviations=["y" * 90_000])
    record = record.model_copy(update={"per_class": {"class": classes}})
    page = pages.html(rules.build([record]), [record], Evidence((tmp_path,)), lambda run: None)
    data = data_of(page)
    assert name not in page and len(page.encode()) < pages.LARGEST
    assert max(len(value) for facts in data["facts"] for value in facts.values()) == behind.LONGEST_FACT + 1
    assert "levels" not in data["rows"][0]["entries"][0]["tasks"][0]


def test_a_long_id_is_no_id(tmp_path: Path) -> None:
    """It might be a text of the data."""
    store = teacher_and_student(tmp_path / "results", seeds=2)
    assert data_of(page_of(tmp_path / "results", tmp_path / "b.html"))["ids"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behind, "LONGEST_ID", 3)
        data = data_of(page_of(tmp_path / "results", tmp_path / "b.html"))
    assert data["ids"] == [] and store


@browser
def test_every_control_has_a_name(page: Page, folded: Path) -> None:
    page.open(folded, "#behind=0.0&a=org/maitre (standard, fp32)&b=org/eleve (standard, fp32)")
    page.call("Accessibility.enable")
    for closed in (False, True):
        page.js("document.querySelectorAll('details').forEach(details => details.open = true)")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        named: dict[str, list[str]] = {}
        for node in nodes:
            if not node.get("ignored"):
                named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
        wanted = (
            ["button", "dialog"] if not closed else ["button", "link", "checkbox", "combobox", "searchbox", "image"]
        )
        for role in wanted:
            assert named[role] and all(name.strip() for name in named[role]), role
        boxes = named.get("checkbox", [])
        assert len(set(boxes)) == len(boxes)  # each says what it is of
        page.js("document.querySelector('dialog form button').click()")
        settled(page)
    assert not page.js("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length")
    ids = page.js("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@browser
def test_with_the_keyboard_alone(page: Page, board: Path) -> None:
    page.open(board)
    page.js("document.querySelector('[data-name=xnli] button').focus()")
    press(page, "Enter", 13)
    settled(page)
    assert page.js("document.querySelector('[data-name=xnli]').ariaSort") == "descending"
    assert page.js("document.activeElement.innerText") == "xnli"
    page.js("document.querySelector('.score').focus()")
    press(page, "Enter", 13)
    settled(page)
    assert page.js("document.querySelector('#behind').open")
    assert page.js("document.activeElement.closest('dialog') !== null")
    press(page, "Escape", 27)
    settled(page)
    assert not page.js("document.querySelector('#behind').open")
    assert page.js("document.activeElement.className").startswith("score")
    assert not page.errors


@browser
def test_without_javascript(page: Page, board: Path) -> None:
    """Tables and pictures are there, and nothing that would not work."""
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(board)
        root = page.call("DOM.getDocument", depth=-1)["root"]["nodeId"]

        def boxes(selector: str) -> list[int]:
            found = page.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
            made = []
            for node in found:
                try:
                    made.append(page.call("DOM.getBoxModel", nodeId=node)["model"]["width"])
                except AssertionError:  # not shown
                    continue
            return made

        assert len(boxes(".board .score")) == 10 and all(boxes(".board .score"))
        assert len(boxes("figure svg")) >= 3 and boxes("noscript p")
        assert not boxes("#filters") and not boxes("#why") and not boxes("#theme")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


@browser
def test_a_page_of_one_row_and_an_empty_one(page: Page, tmp_path: Path, all_stand: None) -> None:
    store = Store(tmp_path / "one")
    write_run(store, "m", "xnli", 0, 0.9)
    lonely = make_record(task="cls-books")  # its column lacks two members
    folder = Store(tmp_path / "none").folder(lonely.cell)
    folder.mkdir(parents=True)
    (folder / f"seed0-{lonely.cell_digest}.json").write_text(lonely.model_dump_json())
    for name, rows in ("one", 1), ("none", 0):
        page_of(tmp_path / name, tmp_path / f"{name}.html")
        page.open(tmp_path / f"{name}.html", "#sort=xnli&a=m")
        assert page.js("document.querySelectorAll('.board tbody tr').length") == rows
        assert not page.js("document.querySelector('#why')") and not page.errors


@browser
def test_theme(page: Page, board: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.open(board)
    light = page.js(ground)
    page.open(board, dark=True)
    dark = page.js(ground)
    assert light != dark
    page.js("document.querySelector('#theme').click()")
    assert page.js(ground) == light
    page.open(board, dark=True)
    assert page.js(ground) == light  # remembered
    page.js("document.querySelector('#theme').click(); localStorage.clear()")
    assert page.js(ground) == dark
    assert not page.errors


@browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, board: Path, dark: bool) -> None:
    """Contrast of 4.5 and more (WCAG 2.2, AA) of every text on what is painted behind it, pictures and dialog too."""
    page.open(board, "#a=org/maitre (standard, fp32)&b=org/eleve (standard, fp32)", dark=dark)
    poor = """(root) => {
      const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const painted = (colors) => { context.clearRect(0, 0, 1, 1);
        for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3); };
      const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
      const grounds = (e) => e ? [...grounds(e.parentElement), getComputedStyle(e).backgroundColor] : [];
      const found = [];
      for (const e of document.querySelectorAll(root)) {
        const words = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!words || !e.getClientRects().length || e.closest("option, title")) continue;
        const below = grounds(e);
        const style = getComputedStyle(e);
        const own = e instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [painted([...below, own]), painted(below)].map(luminance);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) found.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 30)} ${contrast}`);
      }
      return found;
    }"""
    page.js("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.js("document.querySelectorAll('figure text').length") > 20
    assert page.js(f"({poor})('body *')") == []
    page.js("document.querySelector('.score').click()")
    assert (
        page.js("document.querySelectorAll('dialog .confusion td').length") and page.js(f"({poor})('dialog *')") == []
    )


@browser
def test_a_phone(page: Page, board: Path) -> None:
    page.open(board, width=390)
    assert page.js("document.documentElement.scrollWidth") <= 390
    # Every score of the columns that are shown is on the screen, not behind a scroll.
    right = page.js("[...document.querySelectorAll('.board .score')].map(a => a.getBoundingClientRect().right)")
    assert max(right) <= 390 and sum(each > 0 for each in right) >= 3
    page.js("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.js("document.documentElement.scrollWidth") <= 390
    assert not page.errors


@browser
@pytest.mark.parametrize("width", [390, 1366])
def test_names_stay_within_their_picture(page: Page, board: Path, tmp_path: Path, width: int) -> None:
    words = ("--results", board.parent, "--overall", "paws-x", "--format", "html", "--out", tmp_path / "b.html")
    done("leaderboard", *words)
    page.open(tmp_path / "b.html", width=width)
    page.js("document.querySelectorAll('details').forEach(details => details.open = true)")
    outside = """[...document.querySelectorAll("figure text")].filter((text) => {
      const [own, around] = [text, text.closest("figure")].map((each) => each.getBoundingClientRect());
      return own.left < around.left || own.right > around.right;
    }).map((text) => text.textContent)"""
    assert "Ranks, paws-x" in page.js("[...document.querySelectorAll('figure h3')].map(h => h.innerText)")
    assert page.js(outside) == []


@browser
def test_a_number_leads_to_what_lies_behind_it(page: Page, board: Path) -> None:
    page.open(board)
    assert not page.js("document.querySelector('dialog').open")
    score = page.js("document.querySelector('.score').innerText")
    page.js("document.querySelector('.score').click()")
    assert page.js("document.querySelector('dialog').open") and score in page.js(
        "document.querySelector('dialog').innerText"
    )
    links = page.js("[...document.querySelectorAll('dialog a')].map(a => [a.innerText, a.getAttribute('href')])")
    assert len(links) in (2, 3)
    for text, address in links:
        record = json.loads((board.parent / address).read_text(encoding="utf-8"))
        assert text == f"{100 * record['scores'][record['metric']]:.2f}"
    sent = page.js("location.hash")
    page.js("document.querySelector('dialog button').click()")
    settled(page)
    assert "behind" not in page.js("location.hash")
    for fragment in sent, "#behind=0.0":
        page.open(board, fragment)
        assert score in page.js("document.querySelector('dialog[open]').innerText")


@browser
def test_no_script_of_a_name_runs_and_nothing_is_fetched(page: Page, board: Path) -> None:
    page.requests.clear()
    page.open(board)
    assert page.js("document.images.length") == 0
    assert page.js("document.scripts.length") == 2
    page.js("document.querySelectorAll('.score').forEach(score => score.click())")
    page.js("document.querySelectorAll('.pick').forEach(box => box.click())")
    assert page.js("document.scripts.length") == 2 and page.js("document.images.length") == 0
    assert {url.partition("#")[0] for url in page.requests} <= {board.as_uri(), "about:blank"}
    assert not page.errors


@browser
def test_on_paper(page: Page, board: Path) -> None:
    page.open(board, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.js("getComputedStyle(document.querySelector('#theme')).display") == "none"
    assert page.js("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    page.call("Emulation.setEmulatedMedia", media="")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 1,008 records: links, classes and intervals are those of a board with predictions."""
    folder = tmp_path_factory.mktemp("thousand")
    classes = {name: ClassScores(precision=0.81, recall=0.79, f1=0.8, support=1670) for name in LABELS["xnli"]}
    interval = Interval(0.8, 0.779, 0.821, 3, 0.01, 0.006, 0.005, 5010, 5010)
    records = [
        make_record(
            f"organisation-{n % 7}/un-modele-de-langue-{n}", task, seed, 0.6 + n / 400 + seed / 100,
            parameters=10_000_000 + 3_000_000 * n, weights_bytes=40_000_000 + n,
        ).model_copy(update={"per_class": {"class": classes}})
        for n in range(84) for task in ("paws-x", "xnli", "sick", "rte3") for seed in range(3)
    ]  # fmt: skip
    built = rules.build(records)
    rows = tuple(
        replace(row, entries=tuple(entry and replace(entry, interval=interval) for entry in row.entries))
        for row in built.rows
    )
    assert len(records) > 1000 and len(rows) == 84
    address = "results/runs/organisation--un-modele-de-langue/paws-x/seed0-0123456789abcdef.json"
    page = pages.html(replace(built, rows=rows), records, Evidence((folder,)), lambda run: address)
    (folder / "board.html").write_text(page, encoding="utf-8")
    return folder / "board.html"


def test_a_thousand_records(thousand: Path) -> None:
    """Less than a megabyte, and few elements."""
    page = thousand.read_text(encoding="utf-8")
    assert len(page.encode()) < 700_000  # the rest of a megabyte is for what is added while there is room
    assert len(Elements(page).tags) < 12_000


@browser
def test_a_thousand_records_are_loaded_and_sorted(page: Page, thousand: Path) -> None:
    """Some tenths of a second of a processor each; the bound is for what grows with the square of the rows."""
    page.call("Performance.enable", timeDomain="threadTicks")

    def spent() -> float:
        found = {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}
        return float(found["TaskDuration"])

    before = spent()
    page.open(thousand)
    loaded = spent()
    assert len(names(page)) == 84 and 0 < loaded - (before if loaded > before else 0) < 4  # or from 0, in a new process
    page.js("document.querySelector('[data-name=xnli] button').click(); document.body.offsetWidth")
    assert spent() - loaded < 2
    index = page.js("document.querySelector('[data-name=xnli]').cellIndex")
    there = [float(value) for value in column(page, index)]
    assert there == sorted(there, reverse=True) and len(there) == 84 and not page.errors


def test_hundreds_of_students_have_no_picture_each(tmp_path: Path) -> None:
    teacher = make_record("maitre", score=0.9)
    digest = teacher.cell.model.digest
    records = [teacher, *(make_record(f"eleve-{n}", score=0.8, teacher=digest) for n in range(200))]
    page = pages.html(rules.build(records), records, Evidence((tmp_path,)), lambda run: None)
    drawn = re.findall(r"<figure>.*?</figure>", page, re.S)
    assert len(drawn) > 10 and sum(map(len, drawn)) < 2 * pages.DRAWN and len(page.encode()) < pages.LARGEST
    (undrawn,) = re.findall(r"(\d+) pictures more would make this page too large", page)
    assert len(drawn) + int(undrawn) >= 200


@pytest.mark.parametrize("more", [True, False])
def test_the_front_of_a_picture(more: bool) -> None:
    """Stairs: along them, no model is better on both."""
    best = [(10.0, 30.0), (20.0, 20.0)] if not more else [(20.0, 30.0), (10.0, 20.0)]
    path = pictures._stairs(best, more)
    assert path == ("M20.0,258.0H20.0V30.0H10.0V20.0H44.0" if more else "M10.0,258.0H10.0V30.0H20.0V20.0H448.0")


def test_pictures_show_what_the_board_holds(board: Path) -> None:
    built = flue_bench.build_board(board.parent, floor="autre", overall=["xnli"])
    found = {picture.title: picture for picture in pictures.of(built)}
    speed = next(picture for title, picture in found.items() if title.startswith("Score against speed"))
    assert speed.svg.count('class="from"') == 1 and speed.svg.count("<circle") == 2
    size = next(picture for title, picture in found.items() if title.startswith("Score against size"))
    assert size.svg.count("<circle") == 3 and "<img" not in "".join(picture.svg for picture in found.values())
    kept = found["What org/eleve keeps of org/maitre"]
    (pair,) = built.pairs
    for share in pair.kept:
        assert share and f">{100 * share.ratio:.1f}</text>" in kept.svg
    assert kept.svg.count('class="floor"') == 3 and kept.svg.count('class="bar"') == 3
    assert "autre, the floor" in kept.caption
    ranks = next(picture for title, picture in found.items() if title.startswith("Ranks"))
    assert "to" in ranks.svg and ranks.svg.count("<circle") == 2 * len(built.overall.rankings[0].places)  # type: ignore[union-attr]
