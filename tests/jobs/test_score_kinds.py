"""Checkpoints of the kinds without one label a row, scored as they are: numbers, sets of labels, choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import flue_bench
from flue_bench.errors import FlueBenchError
from flue_bench.record import RunRecord
from flue_bench.results import verify
from support.tiny import tiny

TEXTS = [f"Le film numéro {i} est {'bon' if i % 2 else 'mauvais'}." for i in range(36)]


def parts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"train": rows[:12], "validation": rows[12:20], "test": rows[20:]}


NOTES = flue_bench.Task.from_examples(
    "notes", "regression", metric="pearson", options={"range": [0, 5]},
    **parts([{"text": text, "value": i % 11 / 2} for i, text in enumerate(TEXTS)]),
)  # fmt: skip
MOODS: dict[str, Any] = {
    "metric": "f1_micro", "labels": ("joie", "peur"),
    **parts([{"text": text, "labels": ["joie"] * (i % 2) + ["peur"] * (i % 3 == 0)} for i, text in enumerate(TEXTS)]),
}  # fmt: skip
HUMEURS = flue_bench.Task.from_examples("humeurs", "multi-label", **MOODS)
QUESTIONS = flue_bench.Task.from_examples(
    "questions", "multiple-choice", metric="accuracy", labels=("A", "B", "C"),
    **parts([{"text": text, "choices": ["oui", "non", "non !"][: 2 + i % 2], "label": "AB"[i % 2]}
             for i, text in enumerate(TEXTS)]),
)  # fmt: skip


ANSWERS: dict[str, Any] = {
    "metric": "f1",
    **parts([
        {
            "question": "Comment ?", "context": text,
            "answers": {"text": [text.split()[-1]], "answer_start": [text.rindex(" ") + 1]} if i % 3
            else {"text": [], "answer_start": []},
        }
        for i, text in enumerate(TEXTS)
    ]),
}  # fmt: skip


def checkpoint(
    folder: Path, labels: list[str] | None = None, head: str = "SequenceClassification", **config: Any
) -> Path:
    """A tiny model with a head, as transformers saves it, far from 0 so that its answers differ."""
    named = (
        {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}} if labels else {}
    )
    made = tiny("camembert", folder, auto=getattr(transformers, f"AutoModelFor{head}"), **named)
    network = getattr(transformers, f"AutoModelFor{head}").from_pretrained(made)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.startswith(("classifier", "qa_outputs")):
                values.normal_(0, 4 if "out_proj" in name else 0.7)
    network.save_pretrained(made)
    said = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(said | config))
    return made


def logits(folder: Path, texts: list[str]) -> Any:
    """What transformers alone says, (texts, rows of the head)."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return np.concatenate([network(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])


def scored(folder: Path | list[Path], of: flue_bench.Task, results: Path, **more: Any) -> RunRecord:
    done = flue_bench.score(folder, of, results=results, device="cpu", progress=False, **more)
    for path in results.glob("runs/*/*/*.json"):
        assert verify.faults(path) == []
    return done.records[-1]


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        ({"0": "0", "1": "5"}, lambda x: 5 * x),
        ({"0": "0", "5": "5"}, lambda x: x),
        ({"1": "0", "-1": "5"}, lambda x: 2.5 * (1 - x)),
        ({"-0.5": "1e0", "2.5": "4"}, lambda x: x + 1.5),
    ],
)
def test_numbers_are_on_the_line_that_is_given(labels: dict[str, str], meant: Any, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", ["LABEL_0"])
    record = scored(folder, NOTES, tmp_path / "r", labels=labels)
    wanted, table = meant(logits(folder, TEXTS[20:])[:, 0].astype(float)), record.predictions()
    assert np.ptp(wanted) > 0.01
    assert table["predicted"].to_numpy() == pytest.approx(wanted, abs=1e-4)
    gold = np.array([i % 11 / 2 for i in range(20, 36)])
    assert record.scores["pearson"] == pytest.approx(np.corrcoef(wanted, gold)[0, 1], abs=1e-4)
    assert record.measures["mae"] == pytest.approx(np.abs(wanted - gold).mean(), abs=1e-4)
    assert record.cell.untrained is not None and record.cell.untrained.answers == labels


def test_numbers_of_several_models_are_given_together(tmp_path: Path) -> None:
    folders = [checkpoint(tmp_path / name, ["LABEL_0"]) for name in "ab"]
    (folders[1] / "config.json").write_text((folders[1] / "config.json").read_text().replace("{", '{"name": "b",', 1))
    assert scored(folders, NOTES, tmp_path / "r", labels={"0": "0", "1": "5"}).cell.model.name == "b"


@pytest.mark.parametrize(
    ("of", "labels", "config", "given", "said"),
    [
        (NOTES, ["LABEL_0"], {}, {}, r"nothing says which numbers its head gives: --labels '0=0,1=5' if .*'0=0,5=5'"),
        (NOTES, ["neg", "pos"], {}, {}, "its head has 2 rows, and one that gives a number has a single row"),
        (NOTES, ["LABEL_0"], {}, {"0": "0"}, "needs two of them, such as --labels '0=0,1=5'"),
        (NOTES, ["LABEL_0"], {}, {"0": "0", "0.0": "5"}, "needs two of them"),
        (NOTES, ["LABEL_0"], {}, {"0": "0", "inf": "5"}, "needs two of them|given the same number"),
        (NOTES, ["LABEL_0"], {}, {"zéro": "0", "1": "5"}, "needs two of them"),
        (NOTES, ["LABEL_0"], {}, {"0": "5", "1": "5"}, "are given the same number"),
        (NOTES, ["a"], {"problem_type": "multi_label_classification"}, {}, "which is no regression"),
        (NOTES, ["a"], {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, {},
         "its numbers go through 'torch.nn.modules.activation.Sigmoid'"),
        (HUMEURS, ["joie", "peur"], {"problem_type": None}, {}, "has no problem_type, and a head .*any number"),
        (HUMEURS, ["joie", "peur"], {"problem_type": "single_label_classification"}, {}, "'single_label_class"),
        (HUMEURS, ["joie", "rage"], {"problem_type": "multi_label_classification"}, {}, "no label that means 'rage'"),
    ],
)  # fmt: skip
def test_a_head_that_may_mean_something_else_is_refused(
    of: flue_bench.Task, labels: list[str], config: dict[str, Any], given: dict[str, str], said: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "m", labels, **config)
    with pytest.raises(FlueBenchError, match=said):
        scored(folder, of, tmp_path / "r", labels=given)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("threshold", [0.5, "validation"])
def test_labels_in_another_order_and_two_that_mean_one(threshold: Any, tmp_path: Path) -> None:
    """By position, or by the sum of both, the sets would be others."""
    folder = checkpoint(tmp_path / "m", ["effroi", "Joie", "PEUR"], problem_type="multi_label_classification")
    of = flue_bench.Task.from_examples("humeurs", "multi-label", options={"threshold": threshold}, **MOODS)
    record = scored(folder, of, tmp_path / "r", labels={"effroi": "peur"})
    each = 1 / (1 + np.exp(-logits(folder, TEXTS[20:])))
    wanted = np.stack([each[:, 1], np.maximum(each[:, 0], each[:, 2])], axis=1)
    table, at = record.predictions(), record.chosen.get("threshold", 0.5)
    assert bool(record.chosen) == (threshold == "validation")
    assert np.array(table["probabilities"].to_pylist()) == pytest.approx(wanted, abs=1e-4)
    assert table["predicted"].to_pylist() == [np.flatnonzero(row >= at).tolist() for row in wanted]


def test_choices_are_scored_as_transformers_does(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", head="MultipleChoice")
    record = scored(folder, QUESTIONS, tmp_path / "r")
    network = transformers.AutoModelForMultipleChoice.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for i, row in enumerate(record.predictions().to_pylist()):
        choices = ["oui", "non", "non !"][: 2 + i % 2]
        inputs = tokenizer([TEXTS[20 + i]] * len(choices), choices, padding=True, return_tensors="pt")
        with torch.no_grad():
            said = network(**{name: values[None] for name, values in inputs.items()}).logits[0].softmax(-1)
        assert row["probabilities"] == pytest.approx(said.tolist(), abs=1e-4)
    with pytest.raises(FlueBenchError, match="has no labels: leave --labels out"):
        scored(folder, QUESTIONS, tmp_path / "r", labels={"0": "A"})
    with pytest.raises(FlueBenchError, match="needs a fine-tuned ForMultipleChoice"):
        scored(checkpoint(tmp_path / "other", ["a"]), QUESTIONS, tmp_path / "r")


@pytest.mark.parametrize("threshold", [0, "validation"])
def test_answers_are_scored_as_transformers_does(threshold: Any, tmp_path: Path) -> None:
    of = flue_bench.Task.from_examples("reponses", "question-answering", options={"threshold": threshold}, **ANSWERS)
    folder = checkpoint(tmp_path / "m", head="QuestionAnswering")
    record = scored(folder, of, tmp_path / "r")
    at = record.chosen.get("threshold", threshold)
    assert bool(record.chosen) == (threshold == "validation")
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, given in zip(record.predictions().to_pylist(), ANSWERS["test"], strict=True):
        inputs = tokenizer(given["question"], given["context"], return_offsets_mapping=True, return_tensors="pt")
        offsets = inputs.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            said = network(**inputs)
        start, end = said.start_logits[0], said.end_logits[0]
        places = [
            i
            for i, which in enumerate(inputs.sequence_ids(0))
            if which == 1 and given["context"][slice(*offsets[i])].strip()
        ]
        best, i, j = max((float(start[i] + end[j]), i, j) for i in places for j in places if i <= j < i + 30)
        difference = float(start[0] + end[0]) - best
        assert row["no_answer"] == pytest.approx(difference, abs=1e-4)
        first = offsets[i][0] + given["context"][offsets[i][0]].isspace()
        assert (row["start"], row["end"]) == ((-1, -1) if difference > at else (first, offsets[j][1]))
    # In the middle of the widest gap: a threshold that no rounding, which differs between processors, can cross.
    differences = record.predictions()["no_answer"].to_numpy()
    ordered = np.sort(differences)
    gap = np.diff(ordered).argmax()
    middle = float(ordered[gap : gap + 2].mean())
    part = flue_bench.Task.from_examples("reponses", "question-answering", options={"threshold": middle}, **ANSWERS)
    starts = scored(folder, part, tmp_path / "part").predictions()["start"].to_numpy()
    assert ((starts == -1) == (differences > middle)).all() and len(set(starts == -1)) == 2
    with pytest.raises(FlueBenchError, match="has no labels: leave --labels out"):
        scored(folder, of, tmp_path / "r", labels={"0": "A"})
    with pytest.raises(FlueBenchError, match="needs a fine-tuned ForQuestionAnswering"):
        scored(checkpoint(tmp_path / "other", ["a"]), of, tmp_path / "r")
