"""A kind of task from another package: float answers, no labels, examples with fields that ``Example`` lacks."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flue_bench.data import registry, sources
from flue_bench.kinds.kind import installed, kind_named
from flue_bench.record import RunRecord
from support import ROOT
from support.command_line import PROGRAM, done, flue_bench, in_a_process, refused
from support.plugins import put_package
from support.tiny import WHAT, WHERE, WHO, tiny

pytestmark = pytest.mark.slow
PACKAGE = ROOT / "tests" / "support" / "flue_rating"
TASK = """
name = "notes"
title = "Notes"
kind = "rating"
metric = "pearson"
options = { within = 0.5 }

[recipe.standard]
epochs = 12
learning_rate = 4e-3
batch_size = 8
max_length = 48
dropout = 0.0

[[source]]
files = { train = "train.jsonl", validation = "validation.jsonl", test = "test.jsonl" }
columns = { id = "id", text = "texte", rating = "note", register = "registre" }
"""


def _forget() -> None:
    kind_named.cache_clear()
    registry.registered.cache_clear()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package as pip leaves it: its folder, and a dist-info with its entry point, on the path."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, site / "flue_rating", ignore=shutil.ignore_patterns("__pycache__"))
    put_package(site, "flue_rating", "[flue_bench.kinds]\nrating = flue_rating.rating:RATING\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        _forget()
        yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "flue_rating"]:
        del sys.modules[name]
    _forget()


@pytest.fixture(scope="module")
def task(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """125 sentences with a note that their words give; one test sentence is a train one with another note."""
    folder = tmp_path_factory.mktemp("notes")
    rows: dict[str, list[dict[str, object]]] = {"train": [], "validation": [], "test": []}
    for a, who in enumerate(WHO):
        for b, what in enumerate(WHAT):
            for c, where in enumerate(WHERE):
                row = {"texte": f"{who} {what} {where}", "note": a + b / 4, "registre": ("soutenu", "familier")[b % 2]}
                split = {0: "validation", 1: "test"}.get((a + b + c) % 5, "train")
                rows[split].append({"id": f"{a}{b}{c}", **row})
    rows["test"].append(rows["train"][0] | {"id": "again", "note": 4.5})
    for split, examples in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in examples]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "notes.toml"
    path.write_text(TASK, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def results(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, two seeds each, and one that could not learn."""
    folder = tmp_path_factory.mktemp("results")
    bert = tiny("bert", folder / "models" / "bert")
    camembert = tiny("camembert", folder / "models" / "camembert", seed=1)
    still = tiny("bert", folder / "models" / "still", seed=2)
    words = ("run", "--task", task, "--device", "cpu", "--precision", "fp32", "--results", folder / "results")
    done(*words, "--model", bert, "--model", camembert, "--seeds", "2")
    done(*words, "--model", still, "--seeds", "2", "--set", "learning_rate=1e-9", "--set", "epochs=1")
    return folder / "results"


def _records(results: Path) -> dict[tuple[str, int], Path]:
    paths = {}
    for path in results.glob("runs/*/*/seed*-*.json"):
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
        paths[Path(record.cell.model.name).name, record.cell.seed] = path
    return paths


def _record(path: Path) -> RunRecord:
    return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))


def test_the_kind_is_found_and_checks_its_tasks(task: Path, tmp_path: Path) -> None:
    assert "rating" in installed()
    wrong = tmp_path / "wrong.toml"
    for old, new, said in (
        ('metric = "pearson"', 'metric = "mae"', "'mae' is not one of pearson, close"),
        ('metric = "pearson"', 'metric = "pearson"\nlabels = ["a", "b"]', "labels: kind 'rating' has none"),
        ("{ within = 0.5 }", "{ whithin = 0.5 }", "Kind 'rating' has no option 'whithin'. Did you mean within?\n"),
        ('register = "registre"', 'regster = "registre"', "Did you mean 'register'?"),
    ):
        wrong.write_text(task.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        assert said in refused("tasks", "show", wrong)
    assert "kind: rating, close within 0.5" in done("tasks", "show", task)
    checked = done("tasks", "check", task, "--model", "embedded:untrained")
    assert "under 3" in checked and "0.0 (soutenu)" in checked


@pytest.mark.shared
def test_sts_b_as_published_is_read(site: Path, shared: Path, tmp_path: Path) -> None:
    """A CSV without header, quoted where a text holds a comma; a number for a text."""
    files = "train = 'stsb-fr-train.csv', validation = 'stsb-fr-dev.csv', test = 'stsb-fr-test.csv'"
    head = 'name = "sts"\nkind = "rating"\nmetric = "pearson"\noptions = { within = 0.5 }'
    source = f"[[source]]\nfiles = {{ {files} }}\ncolumns = {{ text = 0, rating = 2 }}\n"
    (tmp_path / "sts.toml").write_text(f"{head}\n{source}")
    data = sources.load(registry.load_file(tmp_path / "sts.toml"), data_dir=shared / "data/stsb_fr", offline=True)
    assert tuple(data.ref.rows.values()) == (5749, 1500, 1379) and data.hints == ()
    assert {0.0, 5.0} < {example.rating for example in data.splits["train"]}
    assert any("," in example.text for example in data.splits["train"])
    assert not any('""' in example.text for example in data.splits["train"])


def test_it_trains_and_what_it_predicts_is_scored(results: Path) -> None:
    records = _records(results)
    assert sorted(records) == [(name, seed) for name in ("bert", "camembert", "still") for seed in (0, 1)]
    for (name, _), path in records.items():
        record = _record(path)
        assert (record.kind, record.labels, record.scheme, record.options) == ("rating", (), None, {"within": 0.5})
        assert (record.scores.keys(), record.measures.keys()) == ({"pearson", "close"}, {"mae"})
        table = pq.read_table(path.parent / record.predictions.file)
        assert table.column_names == ["id", "group", "gold", "predicted"] and table.num_rows == 26
        gold, predicted = table["gold"].to_numpy(), table["predicted"].to_numpy()
        assert record.measures["mae"] == pytest.approx(abs(gold - predicted).mean(), abs=1e-9)
        if name != "still":
            assert record.collapsed is None and record.scores["pearson"] > 0.5
            losses = [epoch.train_loss for epoch in record.history]
            assert losses[-1] < losses[0] / 2
        else:
            assert record.collapsed and "throughout" in record.collapsed


def test_fields_of_their_own_are_part_of_the_data(task: Path, results: Path, tmp_path: Path) -> None:
    """Only the register differs, which ``Example`` does not know: other data, and another cell."""
    other = tmp_path / "notes"
    shutil.copytree(task.parent, other)
    lines = (other / "train.jsonl").read_text(encoding="utf-8").replace("familier", "courant", 1)
    (other / "train.jsonl").write_text(lines, encoding="utf-8")
    digests = {_record(path).data.digest for path in _records(results).values()}
    seen = registry.load_file(other / "notes.toml")
    assert len(digests) == 1 and sources.load(seen).ref.digest not in digests
    assert sources.load(registry.load_file(task)).ref.digest in digests


@pytest.mark.parametrize("metric", ["pearson", "close"])
def test_two_models_are_compared(results: Path, metric: str) -> None:
    words = ("compare", "bert", "camembert", "--results", results, "--metric", metric, "--format", "json")
    difference = json.loads(done(*words))["lines"][0]["comparison"]
    scores = [
        sum(_record(path).scores[metric] for (of, _), path in _records(results).items() if of == name) / 2
        for name in ("bert", "camembert")
    ]
    assert difference["difference"] == pytest.approx(scores[0] - scores[1], abs=1e-9)
    assert 0 < difference["p"] <= 1
    trained = json.loads(done(*words, "--question", "trained"))["lines"][0]["comparison"]
    assert 0 < trained["p"] <= 1 and trained["low"] <= trained["difference"] <= trained["high"]


def test_no_verdict_stands_on_a_collapsed_regression(results: Path) -> None:
    said = done("compare", "bert", "still", "--results", results)
    assert re.search(r"predicts about \d\.\d throughout", said)


def test_audit_finds_the_answer_that_contradicts_another(task: Path, tmp_path: Path) -> None:
    said = done("tasks", "audit", task, "--out", tmp_path / "audit.json")
    assert "under 3" in said
    audited = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert "again" in json.dumps(audited["contradictory"])


def test_verify_says_ok_and_finds_what_was_changed(results: Path, site: Path, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}
    light = PROGRAM.replace("main()", "import atexit; atexit.register(lambda: print('torch' in sys.modules)); main()")
    said = in_a_process("verify", results, cwd=tmp_path, env=env, program=f"import sys; {light}")
    assert said.returncode == 0, said
    assert said.stdout.splitlines()[-1] == "False"  # boards and verify need no torch, of this kind neither
    for field, name in (("scores", "pearson"), ("scores", "close"), ("measures", "mae")):
        copy = tmp_path / name
        shutil.copytree(results, copy)
        path = _records(copy)["bert", 1]
        content = json.loads(path.read_text(encoding="utf-8"))
        content[field][name] += 0.01
        path.write_text(json.dumps(content), encoding="utf-8")
        verified = flue_bench("verify", copy)
        assert verified.code == 1 and f"{field}: {name} is " in verified.out + verified.err, verified


def test_without_the_package_a_record_says_what_is_missing(results: Path, tmp_path: Path) -> None:
    said = in_a_process("verify", results, cwd=tmp_path)
    assert (
        said.returncode == 1 and "no installed package provides the kind of task 'rating'" in said.stdout + said.stderr
    )
    assert "Traceback" not in said.stderr


def test_card_and_boards(results: Path, tmp_path: Path) -> None:
    done("card", "--model", "bert", "--results", results, "--out", tmp_path / "README.md")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "type: text-regression" in card and "type: pearsonr" in card and "Pearson's correlation" in card
    done("card", "--model", "still", "--results", results, "--out", tmp_path / "still.md")
    assert "† " in (tmp_path / "still.md").read_text(encoding="utf-8")
    assert "class" not in (tmp_path / "still.md").read_text(encoding="utf-8")

    drawn = done("leaderboard", "--results", results)
    assert "notes" in drawn and "bert" in drawn and "camembert" in drawn
    assert "† Collapsed runs" in drawn and "throughout" in drawn
    done("leaderboard", "--results", results, "--format", "html", "--out", tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "camembert" in page and "pearson" in page and "mae" not in re.findall(r"<th[^>]*>([^<]*)", page)
