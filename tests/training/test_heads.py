"""A fine-tuned classifier's head is taken by the names of its labels: in the task's order, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from flue_bench.kinds import names as names_of_labels
from flue_bench.task import Source, Task
from flue_bench.training import heads, models
from support.tiny import KINDS, tiny

SOURCE = (Source(files={"train": "train.tsv"}),)
SENTENCE = Task(name="avis", kind="sentence", labels=("negative", "positive"), metric="accuracy", source=SOURCE)
PAIR = Task(
    name="paires",
    kind="sentence-pair",
    labels=("entailment", "neutral", "contradiction"),
    metric="accuracy",
    source=SOURCE,
)
TOKENS = Task(
    name="noms", kind="tokens", scheme="IO", labels=("O", "PER", "LOC"), metric="entity_f1_micro", source=SOURCE
)
AUTO = {
    "sentence": transformers.AutoModelForSequenceClassification,
    "sentence-pair": transformers.AutoModelForSequenceClassification,
    "tokens": transformers.AutoModelForTokenClassification,
}


def classifier(folder: Path, kind: str, task: Task, names: tuple[str, ...], **config: Any) -> Path:
    """A model of this kind that was fine-tuned on labels of these names."""
    tiny(kind, folder, auto=AUTO[task.kind], num_labels=len(names), **config)
    return named(folder, names)


def named(folder: Path, names: tuple[str, ...]) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {}}
    path.write_text(json.dumps(config))
    return folder


def without_head(folder: Path, copy: Path) -> Path:
    """The same encoder as pre-training leaves it: what a masked language model has too, and a pooler, stays."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    network = transformers.AutoModelForMaskedLM.from_config(transformers.AutoConfig.from_pretrained(copy))
    state = network.state_dict()
    body = f"{network.base_model_prefix}."
    saved = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in saved.items() if name.startswith(body) or name in state}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    config["architectures"] = [type(network).__name__]
    for key in ("id2label", "label2id"):
        config.pop(key, None)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def load(folder: Path, task: Task, seed: int = 3) -> models.Loaded:
    return models.load_model(models.resolve(str(folder)), task, seed, None)


def rows(loaded: models.Loaded, task: Task) -> tuple[torch.Tensor, torch.Tensor | None]:
    layer = loaded.network.get_submodule(heads.last_layer(loaded.network, len(task.labels)) or "")
    return layer.weight, layer.bias


# What a model gives for its labels, in the order of its rows; and where in it the task's labels are.
NAMES: list[tuple[Task, tuple[str, ...], tuple[int, ...]]] = [
    (SENTENCE, ("negative", "positive"), (0, 1)),
    (SENTENCE, ("POSITIVE", "NEGATIVE"), (1, 0)),
    (SENTENCE, ("Positif", "Ne\u0301gatif"), (1, 0)),
    (SENTENCE, ("neg", "pos"), (0, 1)),
    (PAIR, ("contradiction", "entailment", "neutral"), (1, 2, 0)),
    (PAIR, ("neutre", "Contradictoire", "Implication"), (2, 0, 1)),
    (PAIR, ("CONTRADICTORY", "NEUTRAL", "ENTAILMENT"), (2, 1, 0)),
    (TOKENS, ("I-LOC", "O", "I-PER"), (1, 2, 0)),
    (TOKENS, ("PERS", "LOCATION", "O"), (2, 0, 1)),
    (TOKENS, ("lieu", "personne", "O"), (2, 1, 0)),
]
OTHERS: list[tuple[Task, tuple[str, ...]]] = [
    (SENTENCE, ("LABEL_0", "LABEL_1")),
    (SENTENCE, ("toxic", "non-toxic")),
    (SENTENCE, ("positive", "neutral")),
    (SENTENCE, ("positive", "positif")),  # two rows of one meaning
    (SENTENCE, ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")),
    (PAIR, ("entailment", "not_entailment", "contradiction")),
    (PAIR, ("negative", "neutral", "positive")),
    (TOKENS, ("O", "B-PER", "I-PER")),
    (TOKENS, ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
    (TOKENS, ("LABEL_0", "LABEL_1", "LABEL_2")),
]
CASES = [(kind, case) for kind in KINDS for case in range(10) if kind == "camembert" or case in (1, 4, 7)]
"""Every architecture on each kind of task, and every naming on one of them."""


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_rows_follow_their_labels(kind: str, case: int, tmp_path: Path) -> None:
    task, names, order = NAMES[case]
    folder = classifier(tmp_path / "m", kind, task, names)
    found = load(folder, task)
    assert found.head == ("kept" if order == tuple(range(len(order))) else "permuted")
    original = AUTO[task.kind].from_pretrained(folder)
    layer = original.get_submodule(heads.last_layer(original, len(names)) or "")
    weight, bias = rows(found, task)
    assert torch.equal(weight, layer.weight[list(order)])
    assert bias is None or torch.equal(bias, layer.bias[list(order)])
    for name, value in original.state_dict().items():
        if value.shape[:1] != weight.shape[:1] or name.startswith(f"{original.base_model_prefix}."):
            assert torch.equal(value, found.network.state_dict()[name]), name
    (note,) = [note for note in found.notes if "own head" in note]
    assert "fine-tuning starts from it" in note and (order[0] == 0 or names[0] in note)


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_a_head_of_other_labels_starts_as_that_of_a_pretrained_model(kind: str, case: int, tmp_path: Path) -> None:
    task, names = OTHERS[case]
    folder = classifier(tmp_path / "m", kind, task, names)
    found, plain = load(folder, task), load(without_head(folder, tmp_path / "plain"), task)
    assert (found.head, plain.head) == ("replaced", "absent")
    assert found.network.state_dict().keys() == plain.network.state_dict().keys()
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, found.network.state_dict()[name]), name
    assert not torch.equal(rows(found, task)[0], rows(load(folder, task, seed=4), task)[0])
    (note,) = [note for note in found.notes if "new head" in note]
    assert "from the seed" in note and (names[0] in note) == (not names[0].startswith("LABEL"))
    assert not any("head" in note for note in plain.notes)


def test_a_model_of_another_head_is_told_from_a_pretrained_one(tmp_path: Path) -> None:
    """Its head has other tensors, so that none is in the way; it was fine-tuned all the same."""
    for name, auto in (
        ("tags", transformers.AutoModelForTokenClassification),
        ("questions", transformers.AutoModelForQuestionAnswering),
        ("choices", transformers.AutoModelForMultipleChoice),
    ):
        found = load(tiny("camembert", tmp_path / name, auto=auto), SENTENCE)
        assert found.head == "replaced" and "was fine-tuned as Camembert" in found.notes[-1], name
    assert load(tiny("camembert", tmp_path / "plain"), SENTENCE).head == "absent"


def test_a_configuration_that_names_too_few_labels_or_none(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "m", "bert", SENTENCE, ("negative", "positive"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for broken in (None, {}, {"0": "negative"}, {"0": "negative", "2": "positive"}, ["negative", "positive"]):
        names = {} if broken is None else {"id2label": broken}
        path.write_text(json.dumps({k: v for k, v in config.items() if k != "id2label"} | names))
        try:
            found = load(folder, SENTENCE)
        except models.ModelError:  # transformers itself reads no such configuration
            continue
        assert found.head == "replaced", broken


def test_a_pickled_head_and_one_in_half_precision(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "m", "camembert", SENTENCE, ("positif", "négatif"), dtype=torch.float16)
    weight = load(folder, SENTENCE).network.state_dict()["classifier.out_proj.weight"]
    assert weight.dtype == torch.float32
    saved = load_file(folder / "model.safetensors")
    torch.save(saved, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    again = load(folder, SENTENCE)
    assert again.head == "permuted"
    assert torch.equal(again.network.state_dict()["classifier.out_proj.weight"], weight)
    named(folder, ("laid", "beau"))
    assert load(folder, SENTENCE).head == "replaced"


@pytest.mark.parametrize(
    ("theirs", "ours", "order"),
    [
        (("B-ORG", "O", "I-ORG"), ("O", "B-ORG", "I-ORG"), (1, 0, 2)),
        (("B-ORGANISATION", "I_ORGANIZATION", "O"), ("O", "B-ORG", "I-ORG"), (2, 0, 1)),
        (("0", "1"), ("0", "1"), (0, 1)),
        (("1", "0"), ("0", "1"), (1, 0)),
        (("not_duplicate", "duplicate"), ("different", "paraphrase"), (0, 1)),
        (("Équivalent", "not equivalent"), ("different", "paraphrase"), (1, 0)),
        (("oui", "non"), ("no", "yes"), (1, 0)),
        (("us", "US"), ("US", "us"), (1, 0)),  # nothing but case tells them apart
        (("+", "-"), ("-", "+"), (1, 0)),
        (("us", "US"), ("Us", "uS"), None),
        (("O", "B-PER", "I-PER"), ("O", "PER", "LOC"), None),
        (("entailment", "not_entailment"), ("entailment", "contradiction"), None),
        (("a", "b"), ("a", "b", "c"), None),
        (("LABEL_0", "LABEL_1"), ("LABEL_0", "LABEL_1"), None),
        ((), (), None),
    ],
)
def test_names_match_one_to_one_or_not_at_all(
    theirs: tuple[str, ...], ours: tuple[str, ...], order: tuple[int, ...] | None
) -> None:
    assert names_of_labels.matched(theirs, ours) == order


def test_no_name_stands_for_two_labels() -> None:
    names = [name for group in names_of_labels.SYNONYMS for name in group]
    assert len(names) == len(set(names))
    assert all(names_of_labels.folded(name) == name for name in names)


def test_an_inverted_sentiment_model_predicts_what_it_learnt(tmp_path: Path) -> None:
    """By position it would call every positive text negative."""
    folder = classifier(tmp_path / "m", "camembert", SENTENCE, ("POSITIVE", "NEGATIVE"))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ours = load(folder, SENTENCE).network.eval()
    ids = torch.tensor([[0, 7, 8, 9, 2]])
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, theirs(input_ids=ids).logits.flip(-1), atol=1e-6, rtol=0)
