"""Kind ``multiple-choice``: scores, transformers' loss where it has a head, unequal numbers of choices, files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
import transformers
from sklearn.metrics import accuracy_score

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError
from flue_bench.kinds.multiple_choice import METRICS, MULTIPLE_CHOICE, Question, multiple_choice_scores
from flue_bench.metrics import MultipleChoiceScores
from flue_bench.task import Source, Task
from flue_bench.training import models
from flue_bench.training.batches import prediction_batches
from flue_bench.training.train import add_gradient, predict
from support.command_line import done, flue_bench
from support.networks import CPU, encode
from support.tiny import KINDS, SENTENCES, WHO, tiny

NAMES = ("A", "B", "C", "D")
TASK = Task(
    name="questions", kind="multiple-choice", metric="accuracy", labels=NAMES, source=(Source(files={"train": "a"}),)
)


def questions(sizes: list[int]) -> list[Question]:
    """Questions with so many choices, of unequal lengths; each row has other choices."""
    return [
        Question(
            str(row),
            "g",
            SENTENCES[row][: 8 + row],
            label=row % size,
            choices=tuple(SENTENCES[(7 * row + 25 * n) % 125][: 6 + 5 * n] for n in range(size)),
        )
        for row, size in enumerate(sizes)
    ]


def loaded(kind: str, folder: Path, **config: Any) -> tuple[Any, Any]:
    """A tiny network for the task, and its tokenizer."""
    model = models.resolve(str(tiny(kind, folder / kind, **config)))
    network = models.load_model(model, TASK, seed=0, dropout=None).network
    for name, parameter in network.named_parameters():
        if (
            parameter.ndim == 2 and parameter.shape[0] == 1 and "embeddings" not in name
        ):  # scores that differ, from the start
            torch.nn.init.normal_(parameter, std=100.0, generator=torch.Generator().manual_seed(len(name)))
    return network, models.load_tokenizer(model)


def test_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    gold, predicted = rng.integers(0, 4, (2, 200))
    result = multiple_choice_scores(gold, predicted, NAMES)
    assert result.scores == {"accuracy": pytest.approx(accuracy_score(gold, predicted))}
    assert result.per_class["position"]["B"].support == int((gold == 1).sum())
    assert multiple_choice_scores([0, 1, 2, 3], [0, 1, 2, 0], NAMES).scores == {"accuracy": 0.75}
    with pytest.raises(ValueError, match="not an index of 4 labels"):
        multiple_choice_scores([0], [4], NAMES)
    with pytest.raises(ValueError, match="should both have the shape"):
        multiple_choice_scores([0, 1], [0], NAMES)


def test_the_metric_of_evaluate(tmp_path: Path) -> None:
    metric = MultipleChoiceScores(NAMES, cache_dir=str(tmp_path))
    assert metric.compute(predictions=["A", "B"], references=[0, "C"]) == {"accuracy": 0.5}


# The network


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_gradients_are_those_of_transformers_own_head(kind: str, tmp_path: Path) -> None:
    """As it takes rows of one number of choices: (rows, choices, length)."""
    network, tokenizer = loaded(kind, tmp_path)
    network.eval()
    own = type(network).__mro__[1]
    assert own.__name__.endswith("ForMultipleChoice")
    data = encode(questions([4] * 6), TASK, tokenizer, 64)
    batch = data.batch(range(6), torch.device("cpu"))
    outputs = network(**batch.inputs)
    ours = data.loss(outputs, batch) / data.terms(batch)
    inputs = {name: values.view(6, 4, -1) for name, values in batch.inputs.items()}
    theirs = own.forward(network, **inputs, labels=torch.tensor([row % 4 for row in range(6)]))
    assert ours.item() == pytest.approx(theirs.loss.item(), rel=1e-6)
    assert outputs.logits.std() > 1e-3  # so that another order of the choices would show
    assert int(data.terms(batch)) == 6
    parameters = [p for p in network.parameters() if p.requires_grad]
    for one, other in zip(
        torch.autograd.grad(ours, parameters, allow_unused=True, retain_graph=True),
        torch.autograd.grad(theirs.loss, parameters, allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        answers = np.stack(data.read(network(**batch.inputs), batch, range(6)))
    assert answers == pytest.approx(theirs.logits.softmax(-1).detach().numpy(), abs=1e-6)


def test_an_architecture_without_that_head_has_one_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.auto import modeling_auto

    monkeypatch.setattr(modeling_auto, "MODEL_FOR_MULTIPLE_CHOICE_MAPPING", {})
    network, tokenizer = loaded("roberta", tmp_path)
    assert type(network) is transformers.RobertaForSequenceClassification and network.config.num_labels == 1
    data = encode(questions([2, 4, 3]), TASK, tokenizer, 64)
    answers = predict(network, data, CPU)
    assert [len(row) for row in answers] == [2, 4, 3] and all(row.sum() == pytest.approx(1) for row in answers)


def test_rows_may_have_other_numbers_of_choices(tmp_path: Path) -> None:
    """Each row's probabilities and loss are those of the row alone, whatever stands beside it in a batch."""
    network, tokenizer = loaded("camembert", tmp_path)
    network.eval()
    examples = questions([2, 4, 3, 2, 4])
    data = encode(examples, TASK, tokenizer, 64)
    assert len(data) == 5 and data.choices.tolist() == [2, 4, 3, 2, 4] and data.truncated == 0
    for row, example in enumerate(examples):
        cut = [tokenizer(example.text, choice)["input_ids"] for choice in example.choices]
        assert data.row(row).tolist() == [piece for ids in cut for piece in ids]
        assert data.lengths[row] == max(map(len, cut)) and data.positions[row] == max(map(len, cut)) * len(cut)
    whole = data.batch(range(5), torch.device("cpu"))
    assert whole.inputs["input_ids"].shape == (15, data.lengths.max()) and whole.tokens == len(data.ids)
    together, apart = data.loss(network(**whole.inputs), whole), torch.zeros(())
    for row in range(5):
        single = data.batch([row], torch.device("cpu"))
        outputs = network(**single.inputs)
        loss = data.loss(outputs, single)
        expected = torch.nn.functional.cross_entropy(outputs.logits.T, torch.tensor([examples[row].label]))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        apart = apart + loss
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
    answers = predict(network, data, CPU)
    decided = data.decided(answers, TASK)["predicted"]
    assert decided == [int(row.argmax()) for row in answers]
    made = MULTIPLE_CHOICE.table(examples, data.decided(answers, TASK) | data.kept(answers))
    record: Any = SimpleNamespace(labels=NAMES)
    assert list(MULTIPLE_CHOICE.contradictions(made, record)) == []


def test_cutting_a_batch_changes_no_draw_of_dropout(tmp_path: Path) -> None:
    """Rows of 2, 4, 3 … choices, in one pass or in passes of two rows: the same gradient but for rounding."""
    network, tokenizer = loaded("camembert", tmp_path, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    network.train()
    data = encode(questions([2, 4, 3, 2, 4]), TASK, tokenizer, 64)
    gradients = []
    for at_once in 5, 2, 1:
        network.zero_grad()
        add_gradient(network, data, [4, 2, 0, 1, 3], at_once, CPU, seed=3, step=2)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 0
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, rtol=1e-3, atol=1e-4)


def test_a_row_that_loses_subwords_in_several_choices_counts_once(tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(models.resolve(str(tiny("bert", tmp_path / "m"))))
    long = Question("0", "g", SENTENCES[0], label=1, choices=SENTENCES[:4])
    short = Question("1", "g", "Mon", label=1, choices=("oncle", "vite"))
    data = encode([long, short, long], TASK, tokenizer, 16)
    assert data.truncated == 2 and data.lengths.max() == 16


def test_prediction_counts_the_positions_of_all_choices() -> None:
    batches = prediction_batches(np.array([400, 400, 100, 100]), 800)
    assert sorted(len(rows) for rows in batches) == [2, 2]


# The kind


def table(gold: Any, predicted: Any, probabilities: Any) -> pyarrow.Table:
    return pyarrow.table(
        {
            "gold": pyarrow.array(gold, pyarrow.int16()),
            "predicted": pyarrow.array(predicted, pyarrow.int16()),
            "probabilities": pyarrow.array(probabilities, pyarrow.list_(pyarrow.float32())),
        }
    )


@pytest.mark.parametrize(
    ("gold", "predicted", "probabilities", "said"),
    [
        ([0, 2], [1, 0], [[0.3, 0.7], [0.5, 0.2, 0.3]], []),
        ([0, 2], [0, 0], [[0.3, 0.7], [0.5, 0.2, 0.3]], ["in 1 of 2 decisions another choice is more probable"]),
        ([0, 2], [1, 0], [[0.3, 0.8], [0.5, 0.2, 0.3]], ["they do not sum to 1"]),
        ([0, 2], [1, 2], [[0.3, 0.7], [0.5, 0.5]], ["fewer than the position that is gold or predicted"]),
        ([0, 0], [1, 0], [[0.3, 0.7], [1.0]], ["not from 2 to 4 in each row"]),
    ],
)
def test_contradictions(gold: Any, predicted: Any, probabilities: Any, said: list[str]) -> None:
    record: Any = SimpleNamespace(labels=NAMES)
    found = list(MULTIPLE_CHOICE.contradictions(table(gold, predicted, probabilities), record))
    assert found == [f"probabilities: {each}" for each in said]


def test_counts_and_collapse() -> None:
    rng = np.random.default_rng(0)
    gold, predicted = rng.integers(0, 4, (2, 60))
    made = table(gold, predicted, [[0.25] * 4] * 60)
    each = MULTIPLE_CHOICE.counts(made, TASK, "position", np.arange(60))
    rows = rng.integers(0, 60, 60)
    assert METRICS["accuracy"].score(each[rows].sum(axis=0)) == accuracy_score(gold[rows], predicted[rows])
    assert MULTIPLE_CHOICE.collapsed(made, TASK) is None
    same = table(gold, np.ones(60, int), [[0.25] * 4] * 60)
    assert MULTIPLE_CHOICE.collapsed(same, TASK) == "predicts only 'B' (gold has 4 classes)"


# Files

HEAD = """
name = "questions"
kind = "multiple-choice"
labels = ["A", "B", "C", "D"]
metric = "accuracy"
"""


def _task(folder: Path, source: str, file: str, content: str, head: str = HEAD) -> Any:
    (folder / file).write_text(content, encoding="utf-8")
    text = f"{head}\n[[source]]\nfiles = {{ train = '{file}', validation = '{file}', test = '{file}' }}\n{source}\n"
    (folder / "questions.toml").write_text(text, encoding="utf-8")
    return registry.load_file(folder / "questions.toml")


LINES = [
    {"text": "Qui ?", "choices": ["Léa", "Hugo"], "label": "A"},
    {"text": "Quoi ?", "choices": ["un arc", "une île", "un œuf", "une clé"], "label": "D"},
    {"text": "Où ?", "choices": ["ici", "là", "loin"], "label": "B"},
]


@pytest.mark.parametrize(
    ("source", "file", "content"),
    [
        ("", "a.jsonl", "\n".join(json.dumps(line) for line in LINES)),
        (
            'columns = { text = "q", choices = ["a", "b", "c", "d"], label = "réponse" }',
            "a.csv",
            "q,a,b,c,d,réponse\nQui ?,Léa,Hugo,,,A\nQuoi ?,un arc,une île,un œuf,une clé,D\nOù ?,ici,là,loin,,B\n",
        ),
        (
            "columns = { text = 0, choices = [2, 3, 4, 5], label = 1 }",
            "a.tsv",
            "Qui ?\t0\tLéa\tHugo\t\t\nQuoi ?\t3\tun arc\tune île\tun œuf\tune clé\nOù ?\t1\tici\tlà\tloin\t\n",
        ),
        (
            'label_names = { "1" = "A", "2" = "B", "4" = "D" }',
            "a.jsonl",
            "\n".join(json.dumps(line | {"label": " ABCD".index(str(line["label"]))}) for line in LINES),
        ),
    ],
)
def test_every_format_gives_the_same_examples(source: str, file: str, content: str, tmp_path: Path) -> None:
    data = sources.load(_task(tmp_path, source, file, content))
    assert [(each.choices, each.label) for each in data.splits["train"]] == [
        (("Léa", "Hugo"), 0),
        (("un arc", "une île", "un œuf", "une clé"), 3),
        (("ici", "là", "loin"), 1),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"label": "C"}, "line 2: the answer is 'C', and there are 2 choices"),
        ({"label": "E"}, "line 2: unknown label 'E'"),
        ({"choices": ["seul"]}, "line 2: 1 choices, where there should be from 2 to 4, which 'labels' name"),
        ({"choices": ["a", "b", "c", "d", "e"]}, "line 2: 5 choices, where there should be from 2 to 4"),
        ({"choices": ["a", " ", "c"]}, "line 2: choice 2 of 3 is empty"),
        ({"choices": ["a", None, "c"]}, "line 2: the column for 'choices' holds None, which is no text"),
        ({"choices": "a|b"}, "line 2: the column for 'choices' holds 'a|b', which is no list"),
        ({"choices": ["a", 3]}, "line 2: the column for 'choices' holds 3, which is no text"),
        ({"label": None}, "line 2: the label is empty"),
        ({"label": "1_0"}, "line 2: unknown label '1_0'"),
        ({"label": "\u0660"}, "line 2: unknown label '\u0660'"),
        ({"choices": ["oui", "oui"], "label": "A"}, "line 2: the right choice, 'A', reads as 'B' does"),
        (
            {"choices": ["non", "L\u00e9a", "Le\u0301a"], "label": "C"},
            "line 2: the right choice, 'C', reads as 'B' does",
        ),
    ],
)
def test_a_row_that_is_wrong_is_refused_with_its_line(line: dict[str, Any], said: str, tmp_path: Path) -> None:
    lines = [LINES[1], LINES[0] | line]
    with pytest.raises(DataError) as caught:
        sources.load(_task(tmp_path, "", "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "source", "said"),
    [
        (HEAD, 'columns = { choices = { A = "a", B = "b", C = "c", D = "d" } }', "from one column, or from a list of"),
        (
            HEAD,
            'columns = { text = ["a", "b"] }',
            "columns.text: kind 'multiple-choice' reads it from one column",
        ),
        (HEAD, "columns = { choices = ['a', 'b', 'a'] }", "source[0].columns.choices: the column 'a' is named twice"),
        (HEAD, "columns = { choices = [] }", "source[0].columns.choices: names no column"),
        (HEAD.replace('"A", "B", "C", "D"', '"A"'), "", "needs the positions' names, such as"),
        (HEAD + "scheme = 'IO'", "", "is for kind 'tokens' only"),
        (HEAD + "options = { threshold = 0.5 }", "", "Kind 'multiple-choice' has no option 'threshold'"),
        (HEAD.replace('"accuracy"', '"f1_macro"'), "", "'f1_macro' is not one of accuracy"),
    ],
)
def test_a_task_file_that_is_wrong(head: str, source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TaskFileError) as caught:
        _task(tmp_path, source, "a.csv", "", head)
    assert said in str(caught.value)


def test_wrong_choices_that_read_alike_leave_no_doubt(tmp_path: Path) -> None:
    lines = [LINES[1], LINES[0] | {"choices": ["Léa", "Paul", "Paul"], "label": "A"}]
    assert sources.load(_task(tmp_path, "", "a.jsonl", "\n".join(map(json.dumps, lines)))).ref


@pytest.mark.slow
def test_from_the_task_file_to_the_board(tmp_path: Path) -> None:
    recipe = "[recipe.standard]\nepochs = 8\nlearning_rate = 4e-3\nbatch_size = 8\nmax_length = 32\ndropout = 0.0\n"
    rng = np.random.default_rng(0)
    lines = []
    for i in range(90):
        chosen = rng.permutation(5)[: 2 + i % 3].tolist()
        answer = int(rng.integers(len(chosen)))
        right = chosen.index(min(chosen))  # the first of the five people is always right
        chosen[answer], chosen[right] = chosen[right], chosen[answer]
        lines.append({"text": f"Qui ? {i}", "choices": [WHO[n] for n in chosen], "label": NAMES[answer]})
    _task(tmp_path, "", "a.jsonl", "\n".join(map(json.dumps, lines)), HEAD + recipe)
    task = tmp_path / "questions.toml"
    assert "kind: multiple-choice, up to 4 choices" in done("tasks", "show", task)
    checked = done("tasks", "check", task, "--rows", "1")
    said = lines[0]["choices"]["ABCD".index(str(lines[0]["label"]))]  # type: ignore[index]
    assert f"\ntrain-0: {lines[0]['label']} of 2, {said}\n" in checked
    one, other = (tiny(kind, tmp_path / "m" / kind) for kind in ("camembert", "bert"))
    results = tmp_path / "results"
    words = ("--task", task, "--device", "cpu", "--precision", "fp32", "--results", results)
    done("run", *words, "--model", one, "--model", other, "--seeds", "2")
    paths = sorted(results.glob("runs/*/*/seed*-*.json"))
    assert len(paths) == 4
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["scores"]["accuracy"] > 0.7 and record["collapsed"] is None
    assert flue_bench("verify", results).code == 0
    asked = ("--results", results, "--format", "json")
    line = json.loads(done("compare", one.name, other.name, *asked))["lines"][0]["comparison"]
    assert line["low"] <= line["difference"] <= line["high"]
    done("leaderboard", "--results", results, "--format", "html", "--out", tmp_path / "board.html")
    assert "Positions" in (tmp_path / "board.html").read_text(encoding="utf-8")
    done("card", "--model", one.name, "--results", results, "--out", tmp_path / "card.md")
    assert "multiple-choice" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "text and choices" in done("tasks", "audit", task, "--tokenizer", one)
