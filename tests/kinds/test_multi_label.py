"""Kind ``multi-label``: scores against scikit-learn and hand-worked values, transformers' loss, thresholds, files."""

from __future__ import annotations

import json
import warnings
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
from sklearn.metrics import accuracy_score, f1_score

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError
from flue_bench.kinds.multi_label import METRICS, MULTI_LABEL, Several, multi_label_scores
from flue_bench.metrics import MultiLabelScores
from flue_bench.statistics import intervals
from flue_bench.task import SPLITS, Source, Task
from flue_bench.training import models
from support.command_line import done, flue_bench
from support.networks import encode
from support.tiny import SENTENCES, tiny

LABELS = ("joie", "peur", "colère")
TASK = Task(
    name="emotions", kind="multi-label", metric="f1_micro", labels=LABELS, source=(Source(files={"train": "a.csv"}),)
)


def drawn(n: int, labels: int, seed: int = 0) -> tuple[Any, Any]:
    """Which labels gold and predictions have, (n, labels) each; some rows have none, and the last label is rare."""
    rng = np.random.default_rng(seed)
    gold = rng.random((n, labels)) < np.linspace(0.5, 0.05, labels)
    return gold, gold ^ (rng.random((n, labels)) < 0.2)


def indexes(marks: Any) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in marks]


def table(gold: Any, predicted: Any, probabilities: Any = None) -> pyarrow.Table:
    labels = pyarrow.list_(pyarrow.int16())
    columns = {"gold": pyarrow.array(indexes(gold), labels), "predicted": pyarrow.array(indexes(predicted), labels)}
    if probabilities is not None:
        columns["probabilities"] = pyarrow.array([list(row) for row in probabilities], pyarrow.list_(pyarrow.float32()))
    return pyarrow.table(columns)


def test_hand_worked() -> None:
    """Of three labels: gold a, ab, none, c; predicted a, b, none, a."""
    result = multi_label_scores([[0], [0, 1], [], [2]], [[0], [1], [], [0]], ("a", "b", "c"))
    assert result.scores == {
        "f1_micro": pytest.approx(2 * 2 / (3 + 4)),  # right: a, b; predicted: 3; gold: 4
        "f1_macro": pytest.approx((2 * 1 / (2 + 2) + 1 + 0) / 3),
        "f1_weighted": pytest.approx((2 * 0.5 + 1 * 1 + 1 * 0) / 4),
        "f1_samples": pytest.approx((1 + 2 / 3 + 1 + 0) / 4),
        "exact_match": 0.5,
    }
    of_a = result.per_class["class"]["a"]
    assert (of_a.precision, of_a.recall, of_a.f1, of_a.support) == (0.5, 0.5, 0.5, 2)


@given(st.integers(1, 40), st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_scikit_learn(n: int, labels: int, seed: int) -> None:
    gold, predicted = drawn(n, labels, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            f"f1_{average}": pytest.approx(f1_score(gold, predicted, average=average, zero_division=0.0))
            for average in ("micro", "macro", "weighted")
        }
        expected["f1_samples"] = pytest.approx(f1_score(gold, predicted, average="samples", zero_division=1.0))
    expected["exact_match"] = pytest.approx(accuracy_score(gold, predicted))
    assert multi_label_scores(indexes(gold), indexes(predicted), [str(i) for i in range(labels)]).scores == expected
    task = TASK.model_copy(update={"labels": tuple(str(i) for i in range(labels))})
    assert MULTI_LABEL.scores(table(gold, predicted), task).scores == expected


@pytest.mark.parametrize("bad", [[[3]], [[-1]], [[0, 0]], [[0], [1]]])
def test_what_names_no_label_or_names_it_twice_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"not an index of 3 labels|a label twice|2 examples in gold"):
        multi_label_scores(bad, [[0]], LABELS)


def test_the_metric_of_evaluate(tmp_path: Path) -> None:
    gold, predicted = drawn(30, 3)
    expected = multi_label_scores(indexes(gold), indexes(predicted), LABELS)
    metric = MultiLabelScores(LABELS, cache_dir=str(tmp_path))
    names = [[LABELS[i] for i in row] for row in indexes(gold)]
    assert metric.compute(predictions=indexes(predicted), references=names) == expected.scores
    found = metric.compute(predictions=indexes(predicted), references=names, per_class=True)
    assert found["class"]["joie"]["support"] == int(gold[:, 0].sum())


@pytest.mark.parametrize("name", list(METRICS))
def test_resampled_counts_are_the_scores_of_resampled_examples(name: str) -> None:
    gold, predicted = drawn(60, 3)
    metric = METRICS[name]
    each = MULTI_LABEL.counts(table(gold, predicted), TASK, metric.level, np.arange(60))
    by_three = MULTI_LABEL.counts(table(gold, predicted), TASK, metric.level, np.arange(60) // 3)
    assert by_three.sum(axis=0) == pytest.approx(each.sum(axis=0)) and len(by_three) == 20
    rng = np.random.default_rng(1)
    for _ in range(10):
        rows = rng.integers(0, 60, 60)
        again = multi_label_scores(indexes(gold[rows]), indexes(predicted[rows]), LABELS).scores[name]
        assert float(metric.score(each[rows].sum(axis=0))) == pytest.approx(again)
    resampled = intervals.resample(each[None].astype(float), 50)
    assert metric.score(resampled).shape == (50, 1)


@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_counts_are_the_same_however_many_are_made_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many examples and labels those of all together take gigabytes."""
    gold, predicted = drawn(50, 3)
    cluster = np.arange(50) // 4
    monkeypatch.setattr("flue_bench.kinds.multi_label.AT_ONCE", at_once)
    found = MULTI_LABEL.counts(table(gold, predicted), TASK, "class", cluster)
    for i in range(13):
        ours, theirs = gold[cluster == i], predicted[cluster == i]
        assert (found[i] == np.stack([(ours & theirs).sum(0), theirs.sum(0), ours.sum(0)], axis=-1)).all()
    monkeypatch.setattr("flue_bench.kinds.multi_label.MOST_MARKS", 149)
    with pytest.raises(ValueError, match="50 examples and 3 labels are too many"):
        MULTI_LABEL.counts(table(gold, predicted), TASK, "class", cluster)


def test_one_set_of_labels_throughout_is_a_collapse() -> None:
    gold, _ = drawn(30, 3)
    for row, said in (
        ([1, 0, 1], "predicts only 'joie', 'colère' (gold has "),
        ([0, 0, 0], "predicts no label at all (gold has "),
    ):
        same = np.tile(np.array(row, bool), (30, 1))
        assert (MULTI_LABEL.collapsed(table(gold, same), TASK) or "").startswith(said)
        assert MULTI_LABEL.collapsed(table(same, same), TASK) is None
    assert MULTI_LABEL.collapsed(table(gold, gold), TASK) is None


def test_errors_are_wrong_labels() -> None:
    gold, predicted = (np.array(rows, bool) for rows in ([[1, 0, 1], [0, 0, 0]], [[0, 1, 1], [0, 0, 0]]))
    assert MULTI_LABEL.errors(table(gold, predicted), TASK).tolist() == [2, 0]


def test_contradictions() -> None:
    probabilities = np.array([[0.9, 0.2, 0.7], [0.1, 0.3, 0.49995], [0.6, 0.5, 0.0]], np.float32)
    fine = table(probabilities > 0.4, probabilities >= 0.5, probabilities)
    record: Any = SimpleNamespace(options={}, chosen={}, labels=LABELS)
    assert list(MULTI_LABEL.contradictions(fine, record)) == []
    record.options = {"threshold": "validation"}
    assert list(MULTI_LABEL.contradictions(fine, record)) == [
        "chosen: there is no threshold, which the task has from validation"
    ]
    record.chosen = {"threshold": 0.25}
    assert list(MULTI_LABEL.contradictions(fine, record)) == [
        "predicted: in 1 of 3 examples not the labels from 0.25 on"
    ]
    wide = table(fine["gold"].to_pylist() and probabilities > 0.4, probabilities >= 0.5, probabilities[:, :2])
    assert list(MULTI_LABEL.contradictions(wide, record)) == ["probabilities: they are not 3 in each row"]
    over = table(probabilities > 0.4, probabilities >= 0.25, probabilities + 0.2)
    assert "probabilities: they are not between 0 and 1" in list(MULTI_LABEL.contradictions(over, record))


# The network


@pytest.mark.parametrize("second", [True, False])
def test_the_loss_is_that_of_transformers(second: bool, tmp_path: Path) -> None:
    model = models.resolve(str(tiny("camembert", tmp_path / "m")))
    network = models.load_model(model, TASK, seed=0, dropout=0.0).network.eval()
    assert (network.config.problem_type, network.config.num_labels) == ("multi_label_classification", 3)
    held = [(), (0,), (1, 2), (0, 1, 2), (2,)]
    examples = [
        Several(str(i), "g", SENTENCES[i], SENTENCES[-i] if second else None, labels=labels)
        for i, labels in enumerate(held)
    ]
    data = encode(examples, TASK, models.load_tokenizer(model), 64)
    batch = data.batch(range(5), torch.device("cpu"))
    labels = torch.tensor([[float(i in each) for i in range(3)] for each in held])
    assert torch.equal(batch.labels, labels)
    with torch.no_grad():
        outputs = network(**batch.inputs, labels=labels)
        assert data.loss(outputs, batch) / data.terms(batch) == pytest.approx(outputs.loss.item(), rel=1e-6)
    answers = data.read(outputs, batch, range(5))
    assert np.stack(answers) == pytest.approx(outputs.logits.sigmoid().numpy(), abs=1e-6)
    made = MULTI_LABEL.table(examples, data.decided(answers, TASK) | data.kept(answers))
    assert made.column_names == ["id", "group", "gold", "predicted", "probabilities"]
    assert made["gold"].to_pylist() == [list(each) for each in held]
    assert made["predicted"].to_pylist() == [np.flatnonzero(row >= 0.5).tolist() for row in answers]


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_threshold_that_validation_chooses_is_the_best(metric: str, tmp_path: Path) -> None:
    """No threshold of the grid does better, and of equals it is the nearest to a half."""
    gold, _ = drawn(40, 3, seed=2)
    rng = np.random.default_rng(0)
    probabilities = np.clip(0.15 + 0.3 * gold + rng.normal(0, 0.08, gold.shape), 0, 1).astype(np.float32)
    examples = [Several(str(i), "g", "texte", labels=tuple(row)) for i, row in enumerate(indexes(gold))]
    task = TASK.model_copy(update={"metric": metric, "options": {"threshold": "validation"}})
    tokenizer = models.load_tokenizer(models.resolve(str(tiny("bert", tmp_path / "m"))))
    data = encode(examples, task, tokenizer, 16)
    threshold = data.chosen(list(probabilities), task)["threshold"]

    def reached(at: float) -> float:
        return multi_label_scores(indexes(gold), indexes(probabilities >= at), LABELS).scores[metric]

    of_grid = {at / 100: reached(at / 100) for at in range(1, 100)}
    assert of_grid[threshold] == max(of_grid.values()) > reached(0.5)
    best = [at for at, score in of_grid.items() if score == max(of_grid.values())]
    assert abs(threshold - 0.5) == min(abs(at - 0.5) for at in best)
    assert data.chosen(list(probabilities), TASK) == {}
    decided = data.decided(list(probabilities), task.model_copy(update={"options": {"threshold": threshold}}))
    assert decided["predicted"] == indexes(probabilities >= threshold)


# Files

HEAD = """
name = "emotions"
kind = "multi-label"
labels = ["joie", "peur", "colère"]
metric = "f1_micro"
"""


def _task(folder: Path, source: str, file: str, content: str, head: str = HEAD) -> Any:
    (folder / file).write_text(content, encoding="utf-8")
    text = f"{head}\n[[source]]\nfiles = {{ train = '{file}', validation = '{file}', test = '{file}' }}\n{source}\n"
    (folder / "emotions.toml").write_text(text, encoding="utf-8")
    return registry.load_file(folder / "emotions.toml")


@pytest.mark.parametrize(
    ("source", "file", "content"),
    [
        ('separator = "|"', "a.csv", "text,labels\nun,joie\ndeux,\ntrois,joie | colère\nquatre,peur|joie\n"),
        ('separator = ", "', "a.tsv", "text\tlabels\nun\tjoie\ndeux\t\ntrois\tjoie, colère\nquatre\tpeur, joie\n"),
        (
            'columns = { labels = { joie = "J", peur = "P", "colère" = "C" } }',
            "a.csv",
            "text,C,J,P\nun,0,1,0\ndeux,0.0,False,false\ntrois,1,True,0\nquatre,0,1.0,true\n",
        ),
        (
            "columns = { text = 0, labels = { joie = 2, peur = 3, 'colère' = 1 } }",
            "a.csv",
            "un,0,1,0\ndeux,0,0,0\ntrois,1,1,0\nquatre,0,1,1\n",
        ),
        (
            "",
            "a.jsonl",
            "\n".join(
                json.dumps({"text": text, "labels": labels})
                for text, labels in (("un", [0]), ("deux", []), ("trois", [2, 0]), ("quatre", [1, 0]))
            ),
        ),
        (
            'label_names = { J = "joie", P = "peur", C = "colère" }',
            "a.jsonl",
            "\n".join(
                json.dumps({"text": text, "labels": labels})
                for text, labels in (("un", ["J"]), ("deux", []), ("trois", ["C", "J"]), ("quatre", ["J", "P"]))
            ),
        ),
    ],
)
def test_every_format_gives_the_same_examples(source: str, file: str, content: str, tmp_path: Path) -> None:
    data = sources.load(_task(tmp_path, source, file, content))
    assert [example.labels for example in data.splits["train"]] == [(0,), (), (0, 2), (0, 1)]
    assert data.hints == ()


def test_rows_in_memory_and_a_parquet_file(tmp_path: Path) -> None:
    rows = [{"text": f"texte {i}", "labels": [LABELS[i % 3]] * (i % 4 > 0)} for i in range(40)]
    rows[1]["labels"] = ["joie", "peur"]
    made = Task.from_examples(
        "essai", "multi-label", metric="f1_macro", labels=LABELS, train=rows, validation=rows, test=rows
    )
    memory = sources.load(registry.select([made])[0])
    pq.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    text = f"{HEAD}\n[[source]]\nfiles = {{ train = 'a.parquet', validation = 'a.parquet', test = 'a.parquet' }}\n"
    (tmp_path / "emotions.toml").write_text(text, encoding="utf-8")
    files = sources.load(registry.load_file(tmp_path / "emotions.toml"))
    assert memory.ref.digest == files.ref.digest
    flags = [{"t": row["text"], **{name: int(name in row["labels"]) for name in LABELS}} for row in rows]
    columns: Any = {"text": "t", "labels": {name: name for name in LABELS}}
    wide = Task.from_examples(
        "essai",
        "multi-label",
        metric="f1_macro",
        labels=LABELS,
        train=flags,
        validation=flags,
        test=flags,
        columns=columns,
    )
    assert sources.load(registry.select([wide])[0]).ref.digest == memory.ref.digest


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        (
            "",
            "text,labels\nun,joie\n",
            "line 2: the column for 'labels' holds the text 'joie': say what",
        ),
        (
            'separator = "|"',
            "text,labels\nun,joie\ndeux,joie|tristesse\n",
            "line 3: unknown label 'tristesse'; the",
        ),
        ('separator = "|"', "text,labels\nun,joie|peur|joie\n", "line 2: the column for 'labels' holds 'joie' twice"),
        ('separator = "|"', "text,labels\nun,joie||peur\n", "'joie||peur': no label stands on one side of a '|'"),
        (
            'columns = { labels = { joie = "J", peur = "P", "colère" = "C" } }',
            "text,J,P,C\nun,0,1,2\n",
            "line 2: the column for 'colère' holds '2', which is neither 0 nor 1",
        ),
        (
            'columns = { labels = { joie = "J", peur = "P", "colère" = "C" } }',
            "text,J,P,C\nun,0,1,\n",
            "the column for 'colère' holds '', which is neither 0 nor 1",
        ),
        (
            'columns = { labels = { joie = "J", peur = "P", "colère" = "D" } }',
            "text,J,P,C\nun,0,1,0\n",
            "has no column 'D'",
        ),
    ],
)
def test_labels_that_are_none_are_refused_with_their_line(source: str, content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        sources.load(_task(tmp_path, source, "a.csv", content))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "source", "said"),
    [
        (HEAD, "columns = { labels = { joie = 'J', peur = 'P' } }", "labels: no column is named for the label colère"),
        (HEAD, "columns = { labels = { joy = 'J' } }", "labels.joy: 'joy' is not one of 'labels': joie, peur, colère"),
        (
            HEAD,
            "columns = { labels = ['J', 'P', 'C'] }",
            "labels: kind 'multi-label' reads it from one column, or from a",
        ),
        (
            HEAD,
            "columns = { text = ['a', 'b'] }",
            "columns.text: kind 'multi-label' reads it from one column",
        ),
        (HEAD, "columns = { labels = { joie = 'A', peur = 'B', 'colère' = 'A' } }", "the column 'A' is named twice"),
        (
            HEAD,
            "columns = { labels = { joie = 'é', peur = 'B', 'colère' = 'e\u0301' } }",
            "the column 'é' is named twice",
        ),
        (HEAD, "columns = { labels = { joie = 1, peur = 2, 'colère' = 2 } }", "the column 2 is named twice"),
        (HEAD + "options = { threshold = 1 }", "", "'threshold' is a number between 0 and 1, or \"validation\""),
        (HEAD + "options = { threshold = 'test' }", "", "'threshold' is a number between 0 and 1, or \"validation\""),
        (HEAD + "options = { treshold = 0.5 }", "", "Did you mean threshold?"),
        (HEAD.replace("f1_micro", "accuracy"), "", "'accuracy' is not one of f1_micro, f1_macro, f1_weighted"),
        (HEAD.replace(', "peur", "colère"', ""), "", "kind 'multi-label' needs at least two"),
        (HEAD + "scheme = 'IO'", "", "is for kind 'tokens' only"),
    ],
)
def test_a_task_file_that_is_wrong(head: str, source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TaskFileError) as caught:
        _task(tmp_path, source, "a.csv", "", head)
    assert said in str(caught.value)


def test_a_table_of_columns_is_refused_by_other_kinds(tmp_path: Path) -> None:
    head = HEAD.replace("multi-label", "sentence").replace("f1_micro", "f1_macro")
    with pytest.raises(TaskFileError, match="kind 'sentence' reads it from one column"):
        _task(tmp_path, "columns = { label = { joie = 'J', peur = 'P', 'colère' = 'C' } }", "a.csv", "", head)


def test_hints_on_single_labels_and_on_none(tmp_path: Path) -> None:
    one = "text,labels\n" + "".join(f"texte {i},{LABELS[i % 3]}\n" for i in range(9))
    assert "train: no example has two labels; for one label each there is kind 'sentence'" in (
        sources.load(_task(tmp_path, 'separator = "|"', "a.csv", one)).hints
    )
    none = "text,labels\n" + "".join(f"texte {i},{'joie|peur|colère' * (i < 3)}\n" for i in range(9))
    assert "train: 6 of 9 examples have no label" in (
        sources.load(_task(tmp_path, 'separator = "|"', "a.csv", none)).hints
    )


def _unlabelled(folder: Path, without: str) -> Path:
    """A task whose examples have no label in one split."""
    for split in SPLITS:
        cell = "" if split == without else "joie"
        (folder / f"{split}.csv").write_text(f"text,labels\nun {split},{cell}\ndeux {split},{cell}\n", encoding="utf-8")
    files = "".join(f'{split} = "{split}.csv"\n' for split in SPLITS)
    task = folder / "emotions.toml"
    task.write_text(f'{HEAD}[[source]]\nseparator = "|"\n[source.files]\n{files}', encoding="utf-8")
    return task


def test_training_rows_without_any_label_can_be_looked_at(tmp_path: Path) -> None:
    task = _unlabelled(tmp_path, "train")
    assert "joie 0.0%" in done("tasks", "check", task, "--rows", "0")
    assert "joie 0.0%" in done("tasks", "audit", task)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_no_score_is_given_where_gold_has_no_label(split: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{split}: no example has a label, and no F1 exists without one"):
        sources.load(registry.load_file(_unlabelled(tmp_path, split)))


@pytest.mark.slow
def test_from_the_task_file_to_the_board(tmp_path: Path) -> None:
    recipe = "[recipe.standard]\nepochs = 8\nlearning_rate = 4e-3\nbatch_size = 8\nmax_length = 48\ndropout = 0.0\n"
    lines = ["text,labels"]
    for i, sentence in enumerate(SENTENCES):
        held = [LABELS[0]] * (i // 25 < 2) + [LABELS[1]] * (i // 5 % 5 < 2) + [LABELS[2]] * (i // 25 == 4)
        lines.append(f'"{sentence}",{"|".join(held)}')
    head = f"{HEAD}options = {{ threshold = 'validation' }}\n{recipe}"
    _task(tmp_path, 'separator = "|"', "a.csv", "\n".join(lines) + "\n", head)
    task = tmp_path / "emotions.toml"
    assert "kind: multi-label, threshold chosen on validation" in done("tasks", "show", task)
    checked = done("tasks", "check", task, "--rows", "2")
    assert "joie " in checked and "\ntrain-0: joie, peur\n" in checked
    one, other = (tiny(kind, tmp_path / "m" / kind) for kind in ("camembert", "bert"))
    results = tmp_path / "results"
    words = ("--task", task, "--device", "cpu", "--precision", "fp32", "--results", results)
    done("run", *words, "--model", one, "--model", other, "--seeds", "2")
    paths = sorted(results.glob("runs/*/*/seed*-*.json"))
    assert len(paths) == 4
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["scores"]["f1_micro"] > 0.6 and 0 < record["chosen"]["threshold"] < 1
        assert record["options"] == {"threshold": "validation"}
        # Validation is test here: the threshold is that of the selected epoch, and so is the score.
        best = record["history"][record["selected_epoch"] - 1]["scores"]
        assert best == pytest.approx(record["scores"])
    assert flue_bench("verify", results).code == 0
    whole = paths[0].read_text(encoding="utf-8")
    changed = json.loads(whole)
    changed["chosen"]["threshold"] = 0.01
    paths[0].write_text(json.dumps(changed), encoding="utf-8")
    verified = flue_bench("verify", results)
    assert verified.code == 1 and "not the labels from 0.01 on" in verified.out + verified.err
    paths[0].write_text(whole, encoding="utf-8")  # one that is contradicted has no interval
    asked = ("--results", results, "--metric", "f1_samples", "--format", "json")
    line = json.loads(done("compare", one.name, other.name, *asked))["lines"][0]["comparison"]
    assert line["low"] <= line["difference"] <= line["high"]
    done("leaderboard", "--results", results, "--format", "html", "--out", tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "colère" in page and "Labels" in page
    done("card", "--model", one.name, "--results", results, "--out", tmp_path / "card.md")
    assert "exact_match" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "joie" in done("tasks", "audit", task, "--tokenizer", one)
