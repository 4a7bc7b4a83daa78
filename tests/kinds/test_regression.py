"""Kind ``regression``: scores against SciPy, scikit-learn and hand-worked values; transformers' loss; bad numbers."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.regression import METRICS, REGRESSION, Measured, range_of, ranks_of, regression_scores, sums_of
from flue_bench.kinds.rows import plain_number
from flue_bench.metrics import RegressionScores
from flue_bench.statistics import intervals
from flue_bench.task import Source, Task
from flue_bench.training import models
from support import ROOT
from support.command_line import done, flue_bench
from support.networks import encode
from support.tiny import SENTENCES, tiny

TASK = Task(
    name="notes", kind="regression", metric="pearson", options={"range": [0, 5]}, source=(Source(files={"train": "a"}),)
)


def pairs(n: int, correlation: float, seed: int = 0, *, ties: bool = False) -> tuple[Any, Any]:
    """Gold and predicted of this correlation; with ties, gold is in halves and the predictions in fifths."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, n))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    return (np.round(2 * x) / 2, np.round(5 * y) / 5) if ties else (x, np.exp(y))


def test_hand_worked() -> None:
    """Errors -1, 0, 1, 2: x = 1 2 3 4 around 2.5, y = 0 2 4 6 around 3."""
    result = regression_scores([1, 2, 3, 4], [0, 2, 4, 6])
    assert result.scores == {"pearson": pytest.approx(1), "spearman": pytest.approx(1)}
    assert result.measures == {
        "mae": 1.0,
        "rmse": pytest.approx((6 / 4) ** 0.5),
        "r2": pytest.approx(1 - 6 / 5),
    }
    # d = 0 1 -1 0 of ranks: 1 - 6 · 2 / (4 · 15)
    assert regression_scores([1, 2, 3, 4], [5, 9, 7, 10]).scores["spearman"] == pytest.approx(0.8)
    assert regression_scores([0, 1], [1, 0]).scores == {"pearson": -1, "spearman": -1}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.4, 0.85])
def test_scores_are_those_of_scipy_and_scikit_learn(correlation: float, ties: bool) -> None:
    x, y = pairs(500, correlation, ties=ties)
    result = regression_scores(x, y)
    assert result.scores == {
        "pearson": pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12),
        "spearman": pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12),
    }
    assert result.measures == {
        "mae": pytest.approx(mean_absolute_error(x, y)),
        "rmse": pytest.approx(root_mean_squared_error(x, y)),
        "r2": pytest.approx(r2_score(x, y)),
    }
    assert result.per_class == {}
    assert set(result.scores) == {name for name, metric in METRICS.items() if metric.headline}


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_numbers_have_scores_within_their_bounds(values: list[tuple[float, float]]) -> None:
    x, y = np.array(values).T
    result = regression_scores(x, y)
    for name, value in (result.scores | result.measures).items():
        assert np.isfinite(value) and METRICS[name].low <= value <= METRICS[name].high


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6, -1e9])
def test_numbers_far_from_zero_keep_their_correlation_and_constants_have_none(offset: float) -> None:
    x, y = np.arange(6.0), np.array([0, 2, 1, 3, 5, 4.0])
    assert regression_scores(x + offset, y + offset).scores["pearson"] == pytest.approx(
        stats.pearsonr(x, y).statistic, abs=1e-6
    )
    constant = np.full(6, offset + 0.1)
    for gold, predicted in (x, constant), (constant, x), (constant, constant):
        result = regression_scores(gold, predicted)
        assert result.scores == {"pearson": 0.0, "spearman": 0.0}
    assert regression_scores(constant, x).measures["r2"] == 0.0


def test_numbers_that_are_none_or_of_other_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="should both have the shape"):
        regression_scores([1, 2], [1])
    for bad in np.nan, np.inf:
        with pytest.raises(ValueError, match="not finite"):
            regression_scores([1, 2], [1, bad])


def test_the_metric_of_evaluate(tmp_path: Path) -> None:
    x, y = pairs(40, 0.5)
    expected = regression_scores(x, y)
    metric = RegressionScores(cache_dir=str(tmp_path))
    assert metric.compute(predictions=y, references=x) == expected.scores | expected.measures
    for start in 0, 20:
        metric.add_batch(predictions=y[start : start + 20], references=x[start : start + 20])
    assert metric.compute() == expected.scores | expected.measures


# Resampling


@pytest.mark.parametrize("name", list(METRICS))
def test_resampled_sums_are_the_scores_of_resampled_examples(name: str) -> None:
    """Exactly for all but Spearman's, whose pseudo-values are near it."""
    x, y = pairs(400, 0.6, ties=True)
    metric = METRICS[name]
    each = (sums_of if metric.level == "sums" else ranks_of)(x, y)
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = rng.integers(0, 400, 400)
        again = regression_scores(x[drawn], y[drawn])
        value = float(metric.score(each[drawn].sum(axis=0)))
        tolerance = 0.01 if name == "spearman" else 1e-9
        assert value == pytest.approx((again.scores | again.measures)[name], abs=tolerance)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_spearman_has_the_spread_of_a_bootstrap_that_ranks_anew(correlation: float, ties: bool) -> None:
    """Ranks of the full sample, resampled as if they were numbers, do not: at 0.9 they are a tenth short."""
    x, y = pairs(300, correlation, seed=3, ties=ties)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 300, (1500, 300))
    anew = np.std([stats.spearmanr(x[rows], y[rows]).statistic for rows in drawn])
    ours = np.sqrt(intervals.covariance(intervals.resample(ranks_of(x, y)[None]), METRICS["spearman"].score, 300)[0, 0])
    assert ours == pytest.approx(anew, rel=0.05)
    frozen = sums_of(stats.rankdata(x), stats.rankdata(y))
    of_frozen = np.sqrt(intervals.covariance(intervals.resample(frozen[None]), METRICS["pearson"].score, 300)[0, 0])
    if correlation == 0.9:
        assert 0.85 < of_frozen / anew < 0.96


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_intervals_hold_the_correlation_of_the_population(name: str) -> None:
    """95 % intervals over 400 test sets of 200 normal pairs: within what chance allows of 95 %."""
    rho = 0.8
    true = rho if name == "pearson" else 6 / np.pi * np.arcsin(rho / 2)
    metric, held = METRICS[name], 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, noise = rng.standard_normal((2, 200))
        each = (sums_of if name == "pearson" else ranks_of)(x, rho * x + np.sqrt(1 - rho**2) * noise)[None]
        spread = intervals.covariance(intervals.resample(each, 300), metric.score, 200)
        low, high = intervals.score_interval(
            intervals.examples_only(metric.score(each.sum(axis=1)), spread, 200), metric.low, metric.high
        )
        held += low <= true <= high
    assert 0.915 < held / 400 < 0.98


# The kind


def table(gold: Any, predicted: Any) -> pyarrow.Table:
    return pyarrow.table({"gold": np.asarray(gold, float), "predicted": np.asarray(predicted, float)})


def test_counts_of_clusters_add_up_and_constant_answers_are_a_collapse() -> None:
    x, y = pairs(90, 0.7)
    whole, cluster = table(x, y), np.arange(90) // 3
    for level in "sums", "ranks":
        by_cluster = REGRESSION.counts(whole, TASK, level, cluster)
        assert len(by_cluster) == 30
        assert by_cluster.sum(axis=0) == pytest.approx(REGRESSION.counts(whole, TASK, level, cluster * 0)[0])
    assert REGRESSION.scores(whole, TASK).scores == pytest.approx(regression_scores(x, y).scores)
    assert REGRESSION.collapsed(whole, TASK) is None
    said = REGRESSION.collapsed(table([0, 2, 5], [2.5, 2.5001, 2.4999]), TASK)
    assert said == "predicts about 2.5 throughout (gold is 0 to 5)"
    assert REGRESSION.collapsed(table([2, 2, 2], [2, 2, 2]), TASK) is None  # gold is one number too


def test_contradictions() -> None:
    record: Any = SimpleNamespace(options={"range": [0, 5]})
    assert list(REGRESSION.contradictions(table([0, 5], [-1, 9]), record)) == []
    said = list(REGRESSION.contradictions(table([0, 5.1], [np.nan, 9]), record))
    assert said == ["predicted: 1 numbers are not finite", "gold: 1 numbers are beyond the range 0 to 5"]


@pytest.mark.parametrize("range_", [(0.0, 5.0), (-3.0, 3.0), (1900.0, 2000.0)])
@pytest.mark.parametrize("second", [True, False])
def test_the_loss_is_that_of_transformers_on_numbers_scaled_by_the_range(
    second: bool, range_: tuple[float, float], tmp_path: Path
) -> None:
    low, high = range_
    task = TASK.model_copy(update={"options": {"range": [low, high]}})
    model = models.resolve(str(tiny("camembert", tmp_path / "m")))
    network = models.load_model(model, task, seed=0, dropout=0.0).network.eval()
    assert (network.config.problem_type, network.config.num_labels) == ("regression", 1)
    values = np.linspace(low, high, 8)
    examples = [
        Measured(str(i), "g", SENTENCES[i], SENTENCES[-i] if second else None, value=value)
        for i, value in enumerate(values)
    ]
    data = encode(examples, task, models.load_tokenizer(model), 64)
    batch = data.batch(range(8), torch.device("cpu"))
    labels = torch.tensor((values - low) / (high - low), dtype=torch.float32)
    with torch.no_grad():
        outputs = network(**batch.inputs, labels=labels)
        assert data.terms(batch) == 8
        assert data.loss(outputs, batch) / 8 == pytest.approx(outputs.loss.item(), rel=1e-6)
    answers = data.read(outputs, batch, range(8))
    decided = data.decided(answers, task)["predicted"]
    assert decided == pytest.approx(low + (high - low) * outputs.logits[:, 0].double().numpy())
    made = REGRESSION.table(examples, {"predicted": decided} | data.kept(answers))
    assert made["gold"].to_pylist() == values.tolist() and made.column_names == ["id", "group", "gold", "predicted"]


# Files

FILES = """
name = "notes"
kind = "regression"
metric = "pearson"
options = { range = [0, 5] }
[recipe.standard]
epochs = 10
learning_rate = 4e-3
batch_size = 8
max_length = 48
dropout = 0.0
[[source]]
files = { train = "train.csv", validation = "validation.csv", test = "test.csv" }
columns = { text = "a", text_pair = "b", value = "note" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs of sentences and a number that words of the first give: 25 rows of validation and of test, 75 of train."""
    (tmp_path / "notes.toml").write_text(FILES, encoding="utf-8")
    lines: dict[str, list[str]] = {split: ["a,b,note"] for split in ("train", "validation", "test")}
    for i, sentence in enumerate(SENTENCES):
        split = {0: "validation", 1: "test"}.get((i // 25 + i // 5 + i) % 5, "train")
        lines[split].append(f'"{sentence}","{SENTENCES[-i][:12]}",{i // 25 + i // 5 % 5 / 5}')
    for split, rows in lines.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "5.2",
            "line 3: the column for 'value' holds 5.2, and the task's numbers are from 0 to 5 (`range` of 'options')",
        ),
        ("-1", "line 3: the column for 'value' holds -1, and the task's"),
        ("nan", "line 3: the column for 'value' holds 'nan', which is no finite number"),
        ("inf", "line 3: the column for 'value' holds 'inf', which is no finite number"),
        ("", "line 3: the column for 'value' holds '', which is no finite number"),
        ('"2,5"', "holds '2,5', which is no finite number: decimals are written with a point here"),
        ("bien", "holds 'bien', which is no finite number"),
        ("1_0", "holds '1_0', which is no finite number"),
        ("\u0663", "holds '\u0663', which is no finite number"),
        ("\uff13", "holds '\uff13', which is no finite number"),
        ("1e1_0", "holds '1e1_0', which is no finite number"),
        ("0x2", "holds '0x2', which is no finite number"),
        (".", "holds '.', which is no finite number"),
        ("1e999", "holds '1e999', which is no finite number"),
    ],
)
def test_a_number_that_is_none_is_refused_with_its_line(cell: str, said: str, folder: Path) -> None:
    lines = (folder / "test.csv").read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].rpartition(",")[0] + f",{cell}"
    (folder / "test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        sources.load(registry.load_file(folder / "notes.toml"))
    assert said in str(caught.value)


def test_a_header_above_numbered_columns_is_named(folder: Path) -> None:
    file = folder / "notes.toml"
    text = file.read_text(encoding="utf-8")
    columns = re.search(r"columns = \{(.*)\}", text)
    assert columns
    header = (folder / "test.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    numbered = columns[0]
    for number, name in enumerate(header):
        numbered = numbered.replace(f'"{name}"', f"{number}")
    file.write_text(text.replace(columns[0], numbered), encoding="utf-8")
    with pytest.raises(DataError, match="If line 1 is a header: set `") as caught:
        sources.load(registry.load_file(file))
    advised = str(caught.value).split("`")[1]
    file.write_text(text.replace(columns[0], advised), encoding="utf-8")
    assert sources.load(registry.load_file(file))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("3", 3.0),
        (" -2.50 ", -2.5),
        ("+.5", 0.5),
        ("4.", 4.0),
        ("1E-2", 0.01),
        (3, 3.0),
        (Decimal("2.5"), 2.5),
        (np.float32(0.5), 0.5),
        (True, None),
        (np.True_, None),
        (b"3", None),
        (3 + 0j, None),
        (10**400, None),
        ("1_0", None),
        ("\u0663", None),
        ("1e", None),
        ("", None),
        ("3 4", None),
    ],
)
def test_a_plain_number_is_decimal_notation(value: Any, number: float | None) -> None:
    assert plain_number(value) == number


@pytest.mark.parametrize("wide", [[0, 1e50], [0, 1e-50], [1e6, 1e6 + 0.01]])
def test_the_widest_and_the_narrowest_range_have_scores(wide: list[float]) -> None:
    low, high = range_of(SimpleNamespace(options={"range": wide}))
    x = low + (high - low) * np.array([0, 0.2, 0.5, 0.7, 1])
    y = low + (high - low) * np.array([0.1, 0.2, 0.4, 0.9, 0.8])
    result = regression_scores(x, y)
    expected = stats.pearsonr([0, 0.2, 0.5, 0.7, 1], [0.1, 0.2, 0.4, 0.9, 0.8]).statistic
    assert result.scores["pearson"] == pytest.approx(expected, abs=1e-6)
    assert result.measures["rmse"] == pytest.approx((high - low) * (0.1 / 5) ** 0.5, rel=1e-6)
    assert 0 < result.measures["r2"] < 1


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("number", ["2.5", "0.1"])
def test_no_score_is_given_where_gold_is_one_number(split: str, number: str, folder: Path) -> None:
    lines = (folder / f"{split}.csv").read_text(encoding="utf-8").splitlines()
    lines[1:] = [f"{line.rpartition(',')[0]},{number}" for line in lines[1:]]
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"{split}: all .* numbers are {number}, and no correlation with them exists"):
        sources.load(registry.load_file(folder / "notes.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("options = { range = [0, 5] }", "", "needs the lowest and the highest number, such as `options = { range"),
        ("[0, 5]", "[5, 0]", "the range is 5 to 0: the second number has to be the higher one"),
        ("[0, 5]", "[0, 5, 6]", "needs the lowest and the highest number"),
        ("[0, 5]", '["0", "5"]', "needs the lowest and the highest number"),
        ("[0, 5]", "[false, true]", "needs the lowest and the highest number"),
        ("[0, 5]", "[0, inf]", "the second number has to be the higher one"),
        ("[0, 5]", "[-1e308, 1e308]", "options: the range is -1e+308 to 1e+308: numbers that far apart"),
        ("[0, 5]", "[0, 1e200]", "options: the range is 0 to 1e+200: numbers that far apart"),
        ("[0, 5]", "[0, 1e-320]", "options: the range is 0 to 9.99989e-321: numbers that far apart, or that close"),
        ("[0, 5]", "[1e16, 10000000000000002]", "or that close together"),
        ("[0, 5]", "[0, 1" + "0" * 400 + "]", "the second number has to be the higher one, both finite"),
        ("range =", "rang =", "Did you mean range?"),
        ('"pearson"', '"rmse"', "'rmse' is not one of pearson, spearman"),
        ('"pearson"', '"pearson"\nlabels = ["a", "b"]', "has none: its answers are numbers"),
        ('"pearson"', '"pearson"\nscheme = "IO"', "is for kind 'tokens' only"),
        ('value = "note"', 'valeur = "note"', "source[0].columns.valeur: unknown key. Did you mean 'value'?"),
    ],
)
def test_a_task_file_that_is_wrong(old: str, new: str, said: str, folder: Path) -> None:
    assert old in FILES
    (folder / "notes.toml").write_text(FILES.replace(old, new), encoding="utf-8")
    with pytest.raises(TaskFileError) as caught:
        registry.load_file(folder / "notes.toml")
    assert said in str(caught.value)


def test_a_second_text_is_read_where_the_file_has_it_and_all_rows_have_it_or_none(folder: Path) -> None:
    text = FILES.replace('text_pair = "b", ', "")
    (folder / "notes.toml").write_text(text, encoding="utf-8")
    data = sources.load(registry.load_file(folder / "notes.toml"))
    assert data.splits["train"][0].text_pair is None
    for split in "train", "validation":
        path = folder / f"{split}.csv"
        path.write_text(path.read_text(encoding="utf-8").replace("a,b,note", "a,text_pair,note"), encoding="utf-8")
    with pytest.raises(DataError, match=r"test: 25 examples have no second text \('text_pair'; the first is test-0"):
        sources.load(registry.load_file(folder / "notes.toml"))
    path = folder / "test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("a,b,note", "a,text_pair,note"), encoding="utf-8")
    data = sources.load(registry.load_file(folder / "notes.toml"))
    assert all(example.text_pair for examples in data.splits.values() for example in examples)
    rows = [{"text": f"a {i}", "text_pair": f"b {i}", "value": i % 5} for i in range(40)]
    made = Task.from_examples(
        "essai", "regression", metric="pearson", train=rows, split={"test": 0.2}, options={"range": [0, 5]}
    )
    (chosen,) = registry.select([made])
    assert all(example.text_pair for example in sources.load(chosen).splits["train"])


def test_a_range_that_is_another_one_is_hinted_at(folder: Path) -> None:
    (folder / "notes.toml").write_text(FILES.replace("[0, 5]", "[0, 100]"), encoding="utf-8")
    (hint,) = sources.load(registry.load_file(folder / "notes.toml")).hints
    assert hint == "all numbers are from 0 to 4.8, the task's range is 0 to 100: is it theirs?"


def test_fields_are_part_of_the_digest() -> None:
    assert [field.name for field in fields(Measured)][-1] == "value"


@pytest.mark.slow
def test_from_the_task_file_to_the_board(folder: Path) -> None:
    assert "kind: regression, from 0 to 5" in done("tasks", "show", folder / "notes.toml")
    checked = done("tasks", "check", folder / "notes.toml", "--rows", "1")
    assert "0 to 1 " in checked and "\ntrain-0: " in checked and "hint" not in checked
    one, other = (tiny(kind, folder / "m" / kind) for kind in ("camembert", "bert"))
    words = ("--task", folder / "notes.toml", "--device", "cpu", "--precision", "fp32", "--results", folder / "results")
    done("run", *words, "--model", one, "--model", other, "--seeds", "2")
    done("run", *words, "--model", one, "--set", "learning_rate=1e-12", "--set", "epochs=1", "--results", folder / "r")
    paths = sorted((folder / "results").glob("runs/*/*/seed*-*.json"))
    tests = [
        (each.text, each.text_pair) for each in sources.load(registry.load_file(folder / "notes.toml")).splits["test"]
    ]
    assert len(paths) == 4
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = pq.read_table(path.parent / record["predictions"]["file"])
        gold, predicted = kept["gold"].to_numpy(), kept["predicted"].to_numpy()
        assert record["scores"]["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
        assert record["measures"]["rmse"] == pytest.approx(root_mean_squared_error(gold, predicted))
        assert record["scores"]["pearson"] > 0.3 and record["collapsed"] is None
        assert record["options"] == {"range": [0, 5]}
        tokenizer = models.load_tokenizer(models.resolve(str(folder / "m" / record["cell"]["model"]["name"])))
        cut = sum(len(tokenizer(*texts)["input_ids"]) > 48 for texts in tests)
        assert record["truncation"]["examples"]["test"] == cut
    assert flue_bench("verify", folder / "results").code == 0
    for metric in "pearson", "spearman":
        words = (
            "compare",
            one.name,
            other.name,
            "--results",
            folder / "results",
            "--metric",
            metric,
            "--format",
            "json",
        )
        line = json.loads(done(*words))["lines"][0]["comparison"]
        assert line["low"] < line["difference"] < line["high"] and 0 < line["p"] <= 1
    done("leaderboard", "--results", folder / "results", "--format", "html", "--out", folder / "board.html")
    page = (folder / "board.html").read_text(encoding="utf-8")
    assert "pearson" in page and "camembert" in page
    done("card", "--model", one.name, "--results", folder / "results", "--out", folder / "card.md")
    assert "type: pearsonr" in (folder / "card.md").read_text(encoding="utf-8")
    said = done("tasks", "audit", folder / "notes.toml", "--tokenizer", one)
    assert "0 to 1" in said
    assert kind_named("regression") is REGRESSION and (ROOT / "flue_bench/kinds/regression.py").is_file()


@pytest.mark.shared
def test_sts_b_in_french_as_published(shared: Path, tmp_path: Path) -> None:
    files = "train = 'stsb-fr-train.csv', validation = 'stsb-fr-dev.csv', test = 'stsb-fr-test.csv'"
    head = 'name = "sts"\nkind = "regression"\nmetric = "pearson"\noptions = { range = [0, 5] }'
    source = f"[[source]]\nfiles = {{ {files} }}\ncolumns = {{ text = 0, text_pair = 1, value = 2 }}\n"
    (tmp_path / "sts.toml").write_text(f"{head}\n{source}")
    data = sources.load(registry.load_file(tmp_path / "sts.toml"), data_dir=shared / "data/stsb_fr", offline=True)
    assert tuple(data.ref.rows.values()) == (5749, 1500, 1379) and data.hints == ()
    assert all(example.text_pair for examples in data.splits.values() for example in examples)
