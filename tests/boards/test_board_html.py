"""The board as a page: its content from the file, its behaviour in a real browser where there is one."""

from __future__ import annotations

import html.parser
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flue_bench.boards.html import Scale
from flue_bench.cli.leaderboard import leaderboard
from flue_bench.results import comparison
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
    monkeypatch.setattr(comparison, "read_predictions", lambda *_: pytest.fail("predictions were read"))
    assert page_of(root, tmp_path / "board.html") == first


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
    """A results directory with its page, and a hostile model in it."""
    root = tmp_path_factory.mktemp("board") / "results"
    store = teacher_and_student(root)
    for seed in (0, 1):
        write_run(store, HOSTILE, "xnli", seed, 0.6)
    page_of(root, root / "board.html")
    return root / "board.html"


def test_one_file_that_asks_nothing_of_the_network(board: Path) -> None:
    page = Elements(board.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "link", "iframe", "object", "base", "form"})
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    addresses = [a[key] or "" for _, a in page.tags for key in ("href", "src") if key in a]
    outside = [address for address in addresses if ":" in address]
    assert outside and all(address.startswith("https://") for address in outside)  # the published scores' sources
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]


def test_names_are_text(board: Path) -> None:
    source = board.read_text(encoding="utf-8")
    assert "<img" not in source and "{{" not in source.replace("{{ 7*7 }}", "") and "\u202e" not in source
    assert "&lt;img src=x onerror=alert(1)&gt;" in source
    assert source.count("<script>") == 1 and source.count("</script>") == 1


def test_numbers_lead_to_their_records(board: Path) -> None:
    page = Elements(board.read_text(encoding="utf-8"))
    inside = {a["id"] for _, a in page.tags if "id" in a}
    records = set()
    for tag, attributes in page.tags:
        address = attributes.get("href") or ""
        if tag == "a" and address.startswith("#"):
            assert address[1:] in inside
        elif tag == "a" and not address.startswith("https://"):
            assert (board.parent / address).is_file(), address
            records.add(address)
    assert len(records) == len(list((board.parent / "runs").rglob("*.json")))


def test_far_from_the_results_there_are_no_links(board: Path, tmp_path: Path) -> None:
    far = tmp_path / "a" / "b" / "c" / "d" / "board.html"
    far.parent.mkdir(parents=True)
    assert "runs/" not in page_of(board.parent, far)
    assert 'href="results/runs/' in page_of(board.parent, board.parent.parent / "board.html")


def test_the_same_board_is_the_same_page(board: Path) -> None:
    assert page_of(board.parent, board.parent / "again.html") == board.read_text(encoding="utf-8")


def test_drill_down_by_class_entity_and_confusion(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [write_run(store, "m", "wikiner", seed, 0.9) for seed in (0, 1)]
    page = page_of(tmp_path, tmp_path / "b.html")
    counts = [int(n.replace(",", "")) for n in re.findall(r'<td style="--share:[\d.]+"[^>]*>([\d,]+)<', page)]
    matrix = [counts[i : i + 5] for i in range(0, 25, 5)]
    assert len(counts) == 25
    for i, name in enumerate(LABELS["wikiner"]):  # words, summed over both seeds
        word = [run.per_class["word"][name] for run in runs]
        assert sum(matrix[i]) == sum(scores.support for scores in word)
        assert matrix[i][i] == round(sum(scores.recall * scores.support for scores in word))
    per = [run.per_class["entity"]["PER"].f1 for run in runs]
    assert f'<td class="number">{100 * sum(per) / 2:.2f}</td>' in page


def test_without_predictions_the_page_says_so(tmp_path: Path, all_stand: None) -> None:
    store = Store(tmp_path)
    record = write_run(store, "m", "xnli", 0, 0.9)
    next(tmp_path.rglob("*.parquet")).unlink()
    text = Elements(page_of(tmp_path, tmp_path / "b.html")).text
    assert "No confusion matrix:" in text and "no interval:" in text
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


def column(page: Page, index: int) -> list[str]:
    values: list[str] = page.js(
        f"[...document.querySelectorAll('table.board tbody tr')].map(row => row.cells[{index}].dataset.value)"
    )
    return values


@browser
def test_sorting(page: Page, board: Path) -> None:
    page.open(board)
    headers = page.js("[...document.querySelectorAll('table.board thead button')].map(button => button.innerText)")
    assert headers[:4] == ["model", "parameters (M)", "size (MB)", "examples/s"]
    click = "document.querySelectorAll('table.board thead button')[{}].click()"
    for index in (3, headers.index("xnli"), 1):
        for way in ("descending", "ascending"):
            page.js(click.format(index))
            there = [float(value) for value in column(page, index) if value]
            assert there == sorted(there, reverse=way == "descending")
            missing = column(page, index).count("")
            assert column(page, index)[len(there) :] == [""] * missing  # always last
            marked = page.js("[...document.querySelectorAll('[aria-sort]')].map(th => th.ariaSort + th.cellIndex)")
            assert marked == [f"{way}{index}"]
    page.js(click.format(0))
    names = page.js("[...document.querySelectorAll('table.board .name')].map(name => name.innerText)")
    assert len(names) == 4 and sorted(names, key=str.lower)[-2:] == names[-2:]
    assert not page.errors


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
    """Contrast of 4.5 and more (WCAG 2.2, AA), of body text, soft text and links."""
    page.open(board, dark=dark)
    contrast = """(selector) => {
      const rgb = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const luminance = (color) => { const [r, g, b] = rgb(color).map(channel);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const [a, b] = [getComputedStyle(document.querySelector(selector)).color,
                      getComputedStyle(document.body).backgroundColor].map(luminance);
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }"""
    for selector in ("body", ".soft", "details a"):
        assert page.js(f"({contrast})({selector!r})") >= 4.5, selector


@browser
def test_a_phone(page: Page, board: Path) -> None:
    page.open(board, width=390)
    assert page.js("document.documentElement.scrollWidth") <= 390
    # Every score is on the screen, not behind a scroll.
    assert page.js("[...document.querySelectorAll('.board .score')].every(a => a.getBoundingClientRect().right <= 390)")
    page.js("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.js("document.documentElement.scrollWidth") <= 390
    page.js("{const s = document.querySelector('#sort'); s.value = 3; s.dispatchEvent(new Event('change'))}")
    assert [value for value in column(page, 3) if value] == ["79.0", "41.0"]
    assert not page.errors


@browser
def test_a_number_unfolds_what_lies_behind_it(page: Page, board: Path) -> None:
    page.open(board)
    assert page.js("document.querySelectorAll('details[open]').length") == 0
    page.js("document.querySelector('.score').click()")
    assert page.js("new Promise(done => setTimeout(() => done(document.querySelectorAll('details[open]').length), 50))")
    page.open(board, "#behind-1-1")
    assert page.js("document.querySelector('#behind-1-1').open")


@browser
def test_no_script_of_a_name_runs_and_nothing_is_fetched(page: Page, board: Path) -> None:
    page.requests.clear()
    page.open(board)
    assert page.js("document.images.length") == 0
    assert page.js("document.scripts.length") == 1
    assert {url.partition("#")[0] for url in page.requests} <= {board.as_uri(), "about:blank"}
    assert not page.errors


@browser
def test_on_paper(page: Page, board: Path) -> None:
    page.open(board, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.js("getComputedStyle(document.querySelector('#theme')).display") == "none"
    assert page.js("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    page.call("Emulation.setEmulatedMedia", media="")
