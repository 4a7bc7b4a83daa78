"""One hostile value in every text of every input, looked for raw in every output of every command.

Inputs: records, failures and speeds, the names of their files, published scores, task files and their data, a model's
labels, its folder and its ``distillation.json``. A place that refuses the value says so as safely as others show it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import transformers
from markdown_it import MarkdownIt

from flue_bench.boards import card, published
from flue_bench.record import Cell
from flue_bench.results.store import Store
from support.boards import teacher_and_student
from support.command_line import Said, flue_bench
from support.factories import make_failure
from support.tiny import tiny

END = "<!<!----- flue-bench: end -->"
PLANT = (
    "=1+1;=2+2|a\x1b[31m\x1b]0;t\x07\x9b\u202e\u2066\u2028\n# PLANT\n- b\n[x](javascript:alert(1)) "
    "<script>alert(1)</script>"
    f"![i](http://evil.example/i) <img src=x>\"'*\\input{{x}}$\\\\*[2pt]{END}{{{{ 7*7 }}}}[red]` ```\nPLANT"
)


def safe(text: str) -> None:
    """No control character but the newline, no change of direction."""
    found = {c for c in text if (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029") and c != "\n"}
    assert not found, (sorted(map(repr, found)), [line for line in text.split("\n") if set(line) & found])


def in_lines(said: Said) -> None:
    safe(said.out)
    safe(said.err)
    assert "Traceback" not in said.err and said.code in (0, 1, 2), said.err


def in_markdown(text: str) -> None:
    safe(text)
    body = re.sub(r"\A\s*---\n.*?\n---\n", "", text, flags=re.DOTALL)
    assert body.count(card.END) == body.count(card.BEGIN) <= 1
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(body.replace(card.BEGIN, "").replace(card.END, ""))
    for before, token in pairwise(tokens):
        assert token.type != "html_block", token.content
        if token.type == "inline" and "PLANT" in token.content:
            kinds = {part.type for part in token.children or []}
            assert kinds <= {"text", "text_special", "strong_open", "strong_close", "code_inline", "hardbreak"}, (
                token.content
            )
            assert before.type != "heading_open" or before.tag == "h1", "a new card begins with the model's name"


def in_html(text: str) -> None:
    safe(text)
    assert "<script>alert" not in text and "<img" not in text and "<!--" not in text
    assert 'href="javascript' not in text and "{{ 7*7 }}" in text and "http://evil.example/i&quot;" not in text


def in_csv(text: str) -> None:
    safe(text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows and all(None not in row for row in rows)
    for row in rows:
        for cell in (part for value in [*row, *row.values()] for part in str(value).split(";")):
            if cell.lstrip()[:1] in tuple("=+-@"):
                float(cell)


def in_latex(text: str) -> None:
    safe(text)
    assert r"\input" not in text and "\\\\*" not in text and "\\\\[" not in text and "$a" not in text
    commands = set(re.findall(r"\\([A-Za-z]+)", text))
    ours = (
        "usepackage textbackslash textasciitilde textasciicircum textless textgreater textbar textquotedbl pm approx "
    )
    ours += "dagger ddagger begin end toprule midrule bottomrule textbf texttt paragraph item"
    assert commands <= set(ours.split())


def in_json(text: str) -> None:
    assert text.isascii()
    safe(text)
    json.loads(text)


CHECKS = {"markdown": in_markdown, "html": in_html, "csv": in_csv, "latex": in_latex, "json": in_json, "terminal": safe}


def planted(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every place of a text or a key, and the whole value with the plant in that place alone."""
    if isinstance(value, str):
        yield at, PLANT
    elif isinstance(value, dict):
        for key, each in value.items():
            yield (*at, f"{key} (key)"), {PLANT if k == key else k: v for k, v in value.items()}
            for place, made in planted(each, (*at, key)):
                yield place, {**value, key: made}
    elif isinstance(value, list):
        for index, each in enumerate(value):
            for place, made in planted(each, (*at, index)):
                yield place, [*value[:index], made, *value[index + 1 :]]


def write(path: Path, content: Any) -> None:
    if "cell" in content:
        try:
            cell = Cell.model_validate(content["cell"])
        except ValueError:
            pass
        else:
            content = content | {"cell_digest": cell.digest, "setting_digest": cell.setting_digest}
            if "error" in content:
                del content["setting_digest"]
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the plant in each text of a record, a failure and a speed, one at a time and at once."""
    root = tmp_path_factory.mktemp("planted") / "results"
    store = teacher_and_student(root, seeds=2)
    store.write_failure(make_failure(model="org/perdu"))
    file = min(root.glob("runs/org--eleve/xnli/*.json"))
    record = json.loads(file.read_text(encoding="utf-8")) | {
        "collapsed": "predicts only 'a'",
        "options": {"un": ["deux"]},
        "measures": {},
    }
    record["environment"] |= {"commit": "c", "notes": ["n"]}
    record["data"]["deviations"] = ["d"]
    record["cell"]["model"] |= {"revision": "r", "teacher": "t"}
    places = {}
    for number, (place, made) in enumerate(planted(record), start=100):
        planted_file = file.with_name(f"planted-{number}.json")
        places[planted_file.name] = place
        write(planted_file, made | ({"cell": made["cell"] | {"seed": number}} if "cell" in made else {}))
    refused = {damaged.path.name for damaged in store.read().damaged}
    everywhere = record
    for name in places.keys() - refused:
        everywhere = _both(everywhere, places[name])
    # Names that differ, so that the plant is a row, a column and a task of its own.
    everywhere["cell"] |= {"seed": 99}
    write(file.with_name("everywhere.json"), everywhere)
    write(file.with_name("mal\x1b[31m\u202e=.json"), {"schema_version": 99})
    speed = min(root.glob("speed/*/*.json"))
    failure = min(root.glob("runs/*/*/*.failed.json"))
    for i, (_, made) in enumerate(planted(json.loads(speed.read_text(encoding="utf-8")))):
        write(speed.with_name(f"{i}.json"), made)
    for i, (_, made) in enumerate(planted(json.loads(failure.read_text(encoding="utf-8")))):
        write(failure.with_name(f"{i}.failed.json"), made)
    return root


def _both(value: Any, place: tuple[Any, ...]) -> Any:
    """Plant one more place, if it is still there under its name."""
    if not place:
        return PLANT
    first, *rest = place
    if isinstance(value, dict) and first in value:
        return {**value, first: _both(value[first], tuple(rest))}
    if isinstance(value, list):
        return [*value[:first], _both(value[first], tuple(rest)), *value[first + 1 :]]
    return value


@pytest.fixture
def quoted_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published scores with the plant in every text that may be any."""
    monkeypatch.setattr(
        published,
        "load",
        lambda: published.File(
            source={"s": published.Origin(title=PLANT, url=f"https://x.example/{PLANT}", note=PLANT)},
            score=(
                published.Published(source="s", model=PLANT, column="xnli", metric="accuracy", percent=80.0),
                published.Published(
                    source="s",
                    model=PLANT,
                    column="xnli",
                    said=PLANT,
                    candidates=("f1_macro",),
                    classes={PLANT: (1.0,)},
                ),
            ),
        ),
    )


@pytest.mark.parametrize("form", CHECKS)
def test_boards(results: Path, form: str, quoted_scores: None, tmp_path: Path, all_stand: None) -> None:
    assert Store(results).read().damaged, "some places refuse the plant"
    said = flue_bench("leaderboard", "--results", results, "--format", form)
    in_lines(said)
    assert said.code == 0 and "PLANT" in said.out, said.err
    CHECKS[form](said.out)
    out = tmp_path / "board"
    in_lines(flue_bench("leaderboard", "--results", results, "--format", form, "--out", out))
    CHECKS[form](out.read_text(encoding="utf-8"))


def test_comparisons(results: Path, all_stand: None) -> None:
    rows = json.loads(flue_bench("leaderboard", "--results", results, "--format", "json").out)["rows"]
    compared = set()
    for name in sorted({f"{row['label']} ({row['recipe']}, {row['precision']})" for row in rows}):
        for form in ("terminal", "markdown", "json"):
            said = flue_bench("compare", "org/maitre", name, "--results", results, "--format", form)
            in_lines(said)
            if said.code == 0 and "PLANT" in said.out:
                CHECKS[form](said.out)
                compared.add(form)
        if said.code == 0 and "PLANT" in said.out:
            for form in ("terminal", "json"):
                said = flue_bench("compare", name, "org/maitre", "--rows", "--results", results, "--format", form)
                in_lines(said)
                assert said.code == 0 and "PLANT" in said.out, said
                CHECKS[form](said.out)
                compared.add(f"rows as {form}")
    assert compared == {"terminal", "markdown", "json", "rows as terminal", "rows as json"}
    in_lines(flue_bench("compare", "org/maitre", PLANT, "--results", results))


def test_cards(results: Path, tmp_path: Path, all_stand: None) -> None:
    digests = {record.cell.model.digest for record in Store(results).records()}
    for number, digest in enumerate(sorted(digests)):
        said = flue_bench("card", "--model", digest, "--results", results, "--out", tmp_path / f"{number}.md")
        in_lines(said)
        if said.code == 0:
            in_markdown((tmp_path / f"{number}.md").read_text(encoding="utf-8"))
            again = flue_bench("card", "--model", digest, "--results", results, "--out", tmp_path / f"{number}.md")
            assert again.code == 0, "its own card can be updated"
        in_lines(flue_bench("card", "--model", digest, "--results", results, "--format", "eval-results"))
    assert any("PLANT" in file.read_text(encoding="utf-8") for file in tmp_path.glob("*.md"))


@pytest.mark.parametrize("words", [("leaderboard",), ("leaderboard", "--format", "json"), ("card", "-m", "org/maitre")])
def test_what_is_left_out(results: Path, words: tuple[str, ...]) -> None:
    """Most of these records are not what they say; the reasons quote them."""
    said = flue_bench(*words, "--results", results)
    in_lines(said)
    assert said.code == 0 and "Left out: " in said.err and "more; see flue-bench verify" in said.err


def test_verify(results: Path) -> None:
    said = flue_bench("verify", results)
    in_lines(said)
    assert said.code == 1 and "PLANT" in said.out


TASK: dict[str, Any] = {
    "name": "plante",
    "title": "t",
    "kind": "sentence",
    "labels": ["a", "b"],
    "metric": "accuracy",
    "groups": ["g"],
    "column": "c",
    "licence": "l",
    "citation": "c",
    "homepage": "h",
    "notes": "n",
    "rows": {"train": 4},
    "recipe": {"quick": {"epochs": 1, "schedule": "linear"}},
    "source": [
        {
            "access": "a",
            "files": {"train": {"path": "train.csv"}, "validation": "train.csv", "test": "train.csv"},
            "columns": {"text": "text", "label": "label", "id": "id"},
            "where": {"keep": "yes"},
            "drop_if": {"keep": "no"},
            "label_names": {"A": "a"},
            "encoding": "utf-8",
            "delimiter": ",",
        },
        {"hub": "org/nom", "revision": "0" * 40, "files": {"train": "x"}},
        {"archives": [{"url": "https://x.example/a.zip", "sha256": "0" * 64}], "files": {"train": "x"}},
        {"reader": "webis-cls"},
    ],
}  # fmt: skip


def toml(value: Any) -> str:
    """Return a value in TOML, inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def task_file(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    rows = [["id", "text", "label", "keep"]]
    rows += [[f"{PLANT}{i}", f"{PLANT} {i}", "ab"[i % 2], "yes"] for i in range(4)]
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    path = folder / "plante.toml"
    path.write_text("".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in content.items()), encoding="utf-8")
    return path


def test_task_files(tmp_path: Path) -> None:
    shown = 0
    for number, (place, content) in enumerate(planted(TASK)):
        path = task_file(tmp_path / f"{number}\x1b[31m\u202e", content)
        said = flue_bench("tasks", "show", path)
        in_lines(said)
        shown += said.code == 0
        if said.code == 0 and (place[:1] != ("source",) or place[1] == 0):
            in_lines(flue_bench("tasks", "check", path, "--rows", "1", "--offline"))
    assert shown >= 10, "the plant is shown, not only refused"


def test_audit(tmp_path: Path) -> None:
    path = task_file(
        tmp_path / "tache",
        TASK | {"labels": [PLANT, "b"], "source": [{**TASK["source"][0], "label_names": {"a": PLANT}}]},
    )
    said = flue_bench("tasks", "audit", path, "--offline", "--out", tmp_path / "audit.json")
    in_lines(said)
    assert said.code == 0, said.err
    in_json((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert "PLANT" in said.out


@pytest.mark.slow
def test_a_run_and_its_board(tmp_path: Path) -> None:
    """A model with the plant as its labels, in its folder's name and in what it was distilled from."""
    model = tiny(
        "bert", tmp_path / "mal\x1b[31m\u202e=x|", auto=transformers.AutoModelForSequenceClassification, num_labels=2,
        id2label={0: PLANT, 1: f"{PLANT}1"},
    )  # fmt: skip
    (model / "distillation.json").write_text(
        json.dumps({"teacher": {"digest": PLANT, "name": PLANT}}), encoding="utf-8"
    )
    content = TASK | {"labels": [f"{PLANT}2", "b"], "title": PLANT, "notes": PLANT}
    content["source"] = [{**TASK["source"][0], "label_names": {"a": f"{PLANT}2"}}]
    path, results = task_file(tmp_path / "tache", content), tmp_path / "results"
    said = flue_bench(
        "run",
        "--task",
        path,
        "--model",
        model,
        "--results",
        results,
        "--set",
        "epochs=1",
        "--set",
        "max_length=64",
        "--offline",
    )
    in_lines(said)
    assert said.code == 0, said.err
    for form, check in CHECKS.items():
        said = flue_bench("leaderboard", "--results", results, "--format", form)
        in_lines(said)
        check(said.out)
    in_lines(flue_bench("verify", results))
