"""The site: every page has its place, no link leads nowhere, nothing is fetched, nothing public is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import flue_bench
import flue_distill
from benchmarks.makers import site
from flue_bench.kinds.kind import installed, kind_named
from support import ROOT

NAV = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    site.lay_out(folder)
    return folder


def named(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from named(each)


def test_the_readme_is_a_front_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/get-started.md"])
def test_the_board_that_is_shown_is_that_of_committed_records(page: str, all_stand: None) -> None:
    built = str(flue_bench.build_board(ROOT / "results/embedded"))
    shown = re.findall(
        r"\d+\.\d\d ±\d+\.\d\d|\[[\d.]+, [\d.]+\]|n=3 min \S+|fp32, \S+ M\b", (ROOT / page).read_text(encoding="utf-8")
    )
    assert len(shown) >= 20 and not [figure for figure in shown if figure not in built]


def test_every_page_has_its_place(pages: Path) -> None:
    """Decisions and pages of results are reached through their indexes."""
    there = {page.relative_to(pages).as_posix() for page in (pages / "docs").rglob("*.md")}
    apart = {page for page in there if page.startswith("docs/decisions/0")}
    assert set(named(NAV)) == (there - apart) | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    decisions = site.links((pages / "docs/decisions/README.md").read_text(encoding="utf-8"))
    assert sorted(f"docs/decisions/{name}" for name in decisions) == sorted(apart)


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (root / name).write_text("# Essai\n")
    for name in ("command_line", "record_schema", "measured_results"):
        monkeypatch.setattr(site, name, lambda: "# Fait\n")
    monkeypatch.setattr(site, "ROOT", root)
    (root / "docs/a.toml").write_text("a = 1\n")
    (root / "docs/a.md").write_text("[x](../README.md#essai) [y](a.toml) `[z](code.md)` [w](https://example.org/a)\n")
    site.lay_out(tmp_path / "pages")
    assert (tmp_path / "pages/docs/a.toml").is_file()
    (root / "docs/b.md").write_text("[x](gone.toml)\n```sh\n[y](code.md)\n```\n")
    with pytest.raises(SystemExit, match=r"docs/b\.md: gone\.toml$"):
        site.lay_out(tmp_path / "pages")


def test_everything_public_is_on_the_page_of_the_api(pages: Path) -> None:
    page = (pages / "docs/api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: (\S+)$", page, re.M)
    for package in (flue_bench, flue_distill):
        for name in package.__all__:
            value = getattr(package, name)
            where = f"{value.__module__}.{value.__name__}"
            assert where in shown or value.__module__ in shown, name


def test_every_score_is_on_the_page_of_metrics() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    kinds = [kind_named(name) for name in installed() if kind_named(name).__module__.startswith("flue_bench.")]
    missing = {score for kind in kinds for score in kind.metrics() if f"`{score}`" not in page}
    assert len(kinds) == 8 and not missing


def test_every_field_of_a_recipe_is_on_its_page() -> None:
    """The page is committed, and made by this function: write what it returns where they differ."""
    assert (ROOT / "docs/recipe-fields.md").read_text(encoding="utf-8") == site.recipe_fields()


def test_what_is_generated_says_what_is_there(pages: Path) -> None:
    commands = (pages / "docs/command-line.md").read_text(encoding="utf-8")
    for command in ("run", "score", "distill", "corpus", "tasks check", "verify"):
        assert f"# {command}\n" in commands
    assert "--train-rows N,N,…,all" in commands and "[docs/your-model.md](your-model.md)" in commands
    schema = (pages / "docs/record-schema.md").read_text(encoding="utf-8")
    assert "| `cell_digest` | string | " in schema and "[Environment](#environment)" in schema
    assert "(../results/trainer/scores.md)" in (pages / "docs/measured-results.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("zensical") is None or find_spec("mkdocstrings") is None, reason="no extra 'docs'")
def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(pages: Path) -> None:
    folder = pages.parent
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    settings = settings.replace("build/pages", "pages").replace("build/site", "site")
    (folder / "zensical.toml").write_text(settings.replace('".", "distill"', f'"{ROOT}", "{ROOT / "distill"}"'))
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0 and "No issues found" in done.stdout + done.stderr, done.stdout + done.stderr
    for page in (folder / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text)
        assert not [tag for tag in loaded if 'rel="canonical"' not in tag], page
    assert "flue_bench.api.run" in (folder / "site/docs/api.html").read_text(encoding="utf-8")
    shutil.rmtree(folder / "site")
