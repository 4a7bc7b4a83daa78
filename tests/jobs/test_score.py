"""Checkpoints scored as they are: against scikit-learn and seqeval, from the hub, refused, and taken up again."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from seqeval.metrics import f1_score as entity_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

import flue_bench
from flue_bench.boards.wording import notes
from flue_bench.errors import IncompleteError, ModelError, UsageError
from flue_bench.jobs.leaks import leaks
from flue_bench.kinds.network.network import IGNORED
from flue_bench.record import NoTraining, RunRecord
from flue_bench.results import verify
from flue_bench.results.store import Store
from flue_bench.task import Task
from flue_bench.training import models
from support.command_line import PROGRAM, SEAL, done, in_a_process, refused
from support.hub_standin import StandIn, folder_files
from support.tiny import tiny

SICK = {"NEUTRAL": "neutral", "Contradictoire": "contradiction", "implication": "entailment"}
"""Labels of a head in another order, case and language → those of the data."""
IOB2_TAGS = ["O", *(f"{prefix}-{type_}" for type_ in ("PER", "LOC", "ORG", "MISC") for prefix in "BI")]
IO_TAGS = ["I-ORG", "O", "I-MISC", "I-LOC", "I-PER"]
NLI = ("contradiction", "entailment", "neutral")
"""The labels of cmarkea/distilcamembert-base-nli as its card lists them, which is not the order of XNLI."""
NER = ("O", "LOC", "PER", "MISC", "ORG")
"""The labels of both NER checkpoints: their cards name the classes. Pipelines show I-PER and PER alike."""


def checkpoint(folder: Path, head: str, labels: Sequence[str], kind: str = "camembert", **config: Any) -> Path:
    """A tiny model that is saved with a fine-tuned head, as transformers saves it."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    return tiny(kind, folder, auto=getattr(transformers, f"AutoModelFor{head}"), **names, **config)


def learnt(folder: Path, batches: Any, steps: int = 60) -> None:
    """Fine-tune a checkpoint with transformers and PyTorch alone, and save it."""
    auto = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, auto).from_pretrained(folder).train()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for batch in itertools.islice(itertools.cycle(batches), steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def records(*given: Any, tmp_path: Path, **more: Any) -> list[RunRecord]:
    done = flue_bench.score(*given, results=tmp_path / "results", device="cpu", progress=False, **more)
    for path in (tmp_path / "results").glob("runs/*/*/*.json"):
        assert verify.faults(path) == []
    return done.records


@pytest.fixture(scope="module")
def sick(shared: Path) -> list[dict[str, str]]:
    with (shared / "data/sick_fr/sick_fr.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.shared
def test_labels_in_another_order_score_as_scikit_learn_says(sick: list[dict[str, str]], tmp_path: Path) -> None:
    """By position, or with one label guessed wrong, accuracy would be another."""
    folder, theirs = checkpoint(tmp_path / "nli", "SequenceClassification", list(SICK)), list(SICK)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    meant = {ours: i for i, ours in enumerate(SICK.values())}
    train, test = ([row for row in sick if row["split"] == split] for split in ("TRAIN", "TEST"))
    of_each = [[row for row in train if row["label"] == label][:100] for label in SICK.values()]
    train, test = [row for rows in zip(*of_each, strict=True) for row in rows], test[:150]

    def encoded(rows: list[dict[str, str]]) -> Any:
        firsts, seconds = ([row[name] for row in rows] for name in ("premise", "hypo"))
        return tokenizer(firsts, seconds, truncation=True, max_length=64, padding=True, return_tensors="pt")

    learnt(
        folder,
        [
            {**encoded(part), "labels": torch.tensor([meant[row["label"]] for row in part])}
            for part in (train[i : i + 32] for i in range(0, len(train), 32))
        ],
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        answers = [int(model(**encoded([row])).logits.argmax()) for row in test]
    predicted, gold = [SICK[theirs[answer]] for answer in answers], [row["label"] for row in test]
    assert len(set(predicted)) > 1  # it has learnt something

    labels = ("entailment", "neutral", "contradiction")
    columns = {"text": "premise", "text_pair": "hypo"}
    rows = {"train": train[:60], "validation": train[60:90], "test": test}
    task = Task.from_examples("sick", "sentence-pair", metric="f1_macro", labels=labels, columns=columns, **rows)
    (record,) = records(folder, task, tmp_path=tmp_path, max_length=64)
    assert record.scores["accuracy"] == pytest.approx(accuracy_score(gold, predicted), abs=1e-12)
    macro = f1_score(gold, predicted, labels=labels, average="macro", zero_division=0)
    assert record.scores["f1_macro"] == pytest.approx(macro, abs=1e-12)
    assert record.scores["mcc"] == pytest.approx(matthews_corrcoef(gold, predicted), abs=1e-12)
    table = record.predictions()
    by_id = dict(zip(table["id"].to_pylist(), table["predicted"].to_pylist(), strict=True))
    assert sorted(by_id.values()) == sorted(labels.index(name) for name in predicted)
    how = record.cell.untrained
    assert how is not None and how.answers == SICK and record.history == () and record.cell.seed is None
    assert "labels of its head → the task's: NEUTRAL → neutral" in " ".join(record.environment.notes)


def sentences(path: Path, count: int) -> list[tuple[list[str], list[str]]]:
    """Words and IOB2 tags of the first sentences of WikiNEuRal."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    found = [[line.split("\t") for line in block.splitlines() if line.strip()] for block in blocks]
    return [([line[1] for line in lines], [line[2] for line in lines]) for lines in found if lines][:count]


def as_io(tags: list[str]) -> list[str]:
    return [f"I-{tag[2:]}" if tag != "O" else tag for tag in tags]


def as_iob2(tags: list[str]) -> list[str]:
    return [
        tag if tag == "O" else f"{'I' if i and tags[i - 1] == tag else 'B'}-{tag[2:]}" for i, tag in enumerate(tags)
    ]


@pytest.mark.shared
@pytest.mark.parametrize(("theirs", "ours"), [("IO", "IOB2"), ("IOB2", "IO"), ("IOB2", "IOB2")])
def test_tags_score_as_seqeval_says(theirs: str, ours: str, shared: Path, tmp_path: Path) -> None:
    head = IO_TAGS if theirs == "IO" else IOB2_TAGS[::-1]
    folder = checkpoint(tmp_path / "ner", "TokenClassification", head)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    train = sentences(shared / "data/wikineural_fr/val.conllu", 240)
    test = sentences(shared / "data/wikineural_fr/test.conllu", 120)

    torch.manual_seed(0)

    def encoded(rows: list[tuple[list[str], list[str]]]) -> tuple[Any, torch.Tensor]:
        """Inputs, and the tag of each word at its first sub-word."""
        inputs = tokenizer(
            [words for words, _ in rows], is_split_into_words=True, truncation=True, max_length=64, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        labels = torch.full(inputs["input_ids"].shape, IGNORED)
        for i, (_, tags) in enumerate(rows):
            written, before = as_io(tags) if theirs == "IO" else tags, None
            for place, word in enumerate(inputs.word_ids(i)):
                if word is not None and word != before:
                    labels[i, place] = head.index(written[word])
                before = word
        return inputs, labels

    learnt(
        folder,
        [
            {**inputs, "labels": labels}
            for inputs, labels in (encoded(train[i : i + 24]) for i in range(0, len(train), 24))
            for labels in [torch.where((labels == head.index("O")) & (torch.rand(labels.shape) < 0.8), IGNORED, labels)]
        ],  # a tiny model that sees every O says nothing else
        steps=80,
    )
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    predicted = []
    for row in test:
        inputs, labels = encoded([row])
        with torch.no_grad():
            answers = model(**inputs).logits.argmax(-1)[0]
        said = [head[int(answer)] for answer, label in zip(answers, labels[0], strict=True) if label != IGNORED]
        predicted.append(said + ["O"] * (len(row[0]) - len(said)))
    gold = [tags for _, tags in test]
    if theirs == "IO" or ours == "IO":
        predicted = [as_iob2(as_io(tags)) for tags in predicted]
    if ours == "IO":
        gold = [as_iob2(as_io(tags)) for tags in gold]
    assert any(tag != "O" for tags in predicted for tag in tags)  # it has learnt something

    def rows(of: list[tuple[list[str], list[str]]]) -> list[dict[str, Any]]:
        return [
            {"words": words, "tags": [tag[2:] or tag for tag in tags] if ours == "IO" else tags} for words, tags in of
        ]

    labels = ("O", "PER", "LOC", "ORG", "MISC") if ours == "IO" else tuple(IOB2_TAGS)
    task = Task.from_examples(
        "wn", "tokens", metric="entity_f1_micro", labels=labels, scheme=ours,
        train=rows(train[:40]), validation=rows(train[40:60]), test=rows(test),
    )  # fmt: skip
    (record,) = records(folder, task, tmp_path=tmp_path, max_length=64)
    for average in ("micro", "macro"):
        expected = entity_f1(gold, predicted, average=average, mode="strict", scheme=IOB2, zero_division=0)
        assert record.scores[f"entity_f1_{average}"] == pytest.approx(expected, abs=1e-12), average
    said = " ".join(record.environment.notes)
    assert ("written as the task's" in said) == (theirs != ours)


TEXTS = [{"text": f"Le film numéro {i} est {'bon' if i % 2 else 'mauvais'}.", "label": i % 2} for i in range(36)]


def avis(**more: Any) -> Task:
    rows = [{**row, "label": ("négatif", "positif")[row["label"]]} for row in TEXTS]
    given = {"train": rows[:12], "validation": rows[12:20], "test": rows[20:]}
    return Task.from_examples("avis", "sentence", metric="accuracy", labels=("négatif", "positif"), **(given | more))


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        (("LABEL_0", "LABEL_1"), {}, r"are no names.*\nSay what is meant.*--labels 'LABEL_0=LABEL,LABEL_1=LABEL'"),
        (
            ("good", "bad"),
            {},
            r"no label that means 'good', 'bad'. The head's labels are good, bad; the task's négatif, positif",
        ),
        (("good", "bad"), {"goud": "positif"}, "'goud' is no label of the head"),
        (("good", "bad"), {"good": "bien!?"}, "'bien!\\?' is no label of the task.*; the task's négatif, positif"),
    ],
)
def test_labels_that_do_not_match_are_refused_before_anything(
    labels: Any, given: dict[str, str], said: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", labels)
    with pytest.raises(UsageError, match=f"(?s){said}"):
        records(folder, avis(), tmp_path=tmp_path, labels=given)
    assert not (tmp_path / "results").exists()


def test_labels_may_be_given(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("LABEL_0", "LABEL_1"))
    one, other = (
        records(folder, avis(), tmp_path=tmp_path, labels={"LABEL_0": a, "LABEL_1": b})[0]
        for a, b in (("négatif", "positif"), ("positif", "négatif"))
    )
    assert one.scores["accuracy"] == pytest.approx(1 - other.scores["accuracy"])
    assert one.cell_digest != other.cell_digest and len(Store(tmp_path / "results").records()) == 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"id2label": ["neg", "pos"]}, r"'id2label' in config.json is .*, and should be a table"),
        ({"label2id": ["neg", "pos"]}, r"'label2id' in config.json is .*, and should be a table"),
        ({"id2label": {"neg": "0", "pos": "1"}}, "'id2label' in config.json names 'neg', which is no row of a head"),
        (
            {"problem_type": "multi_label_classification"},
            "says problem_type 'multi_label_classification', and the answer",
        ),
        ({"problem_type": "regression"}, "says problem_type 'regression', and the answer here is one label"),
    ],
)
def test_a_configuration_that_says_something_else_is_refused(said: Any, message: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("négatif", "positif"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | said), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        records(folder, avis(), tmp_path=tmp_path)


def test_a_configuration_may_say_that_one_label_is_chosen(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("négatif", "positif"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said = config | {"problem_type": "single_label_classification"}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    assert models.own_labels(models.resolve(str(folder), offline=True), avis()) == ["négatif", "positif"]


def test_a_label_that_holds_a_sign_of_ours_is_named_on_the_command_line(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("a=b", "c,d"))
    words = ("score", "--model", folder, "--task", "mini-cls", "--limit", "8", "--device", "cpu", "--results", tmp_path)
    labels = flue_bench.get_task("mini-cls").labels
    said = refused(*words, "--labels", f"a=b={labels[0]}")
    assert "a name that holds = or , stands in double quotes" in " ".join(said.split())
    done(*words, "--labels", f'"a=b"={labels[0]},"c,d"={labels[1]}')
    (record,) = Store(tmp_path).records()
    assert record.cell.untrained and record.cell.untrained.answers == dict(zip(("a=b", "c,d"), labels, strict=True))


def test_given_labels_are_found_as_others_are(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("LABEL_0", "LABEL_1"))
    (record,) = records(folder, avis(), tmp_path=tmp_path, labels={"label 0": "NEGATIVE", "LABEL_1": "pos"})
    recipe = record.cell.recipe
    assert isinstance(recipe, NoTraining) and recipe.answers == {"LABEL_0": "négatif", "LABEL_1": "positif"}


def test_what_does_not_fit_is_left_out_and_the_rest_is_scored(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    colours = [{"text": f"{i}", "label": ("rouge", "vert")[i % 2]} for i in range(12)]
    of_each = dict.fromkeys(("train", "validation", "test"), colours)
    other = Task.from_examples("couleur", "sentence", metric="accuracy", labels=("rouge", "vert"), **of_each)
    with pytest.raises(IncompleteError) as raised:
        records(folder, [other, avis()], tmp_path=tmp_path)
    assert [record.cell.task for record in raised.value.results.records] == ["avis"]
    (reason,) = raised.value.reasons
    assert reason.startswith("m on couleur, left out: the task has no label that means 'neg', 'pos'.")
    assert "score this by itself: --labels 'neg=LABEL,pos=LABEL'" in reason
    numbers = checkpoint(tmp_path / "numbers", "SequenceClassification", ("LABEL_0", "LABEL_1"))
    with pytest.raises(UsageError, match=r"(?s)numbers on couleur: .*numbers on avis: ") as refusal:
        records(numbers, [other, avis()], tmp_path=tmp_path / "none")
    assert "left out" not in str(refusal.value) and not (tmp_path / "none").exists()


def test_advice_on_a_board_is_of_the_command_that_made_the_row(tmp_path: Path) -> None:
    """A scored model is not trained, and is cut by another option."""
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    weights = load_file(folder / "model.safetensors")
    weights["classifier.out_proj.bias"] = torch.tensor([9.0, 0.0])
    weights["classifier.out_proj.weight"].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    records(folder, avis(), tmp_path=tmp_path, max_length=4)
    said = "\n".join(notes(flue_bench.build_board(tmp_path / "results")))
    assert "Collapsed runs: neither interval nor verdict" in said and "more epochs" not in said
    assert "(flue-bench score --max-length sets where)" in said and "--set" not in said


def test_a_label_that_no_head_has_is_told(tmp_path: Path) -> None:
    folders = [checkpoint(tmp_path / name, "SequenceClassification", ("neg", "pos")) for name in ("one", "two")]
    with pytest.raises(UsageError, match="--labels: no model's head has the label 'goud'"):
        records(folders, avis(), tmp_path=tmp_path, labels={"goud": "positif"})


def test_a_model_without_a_head_is_not_scored(tmp_path: Path) -> None:
    pretrained = tiny("camembert", tmp_path / "pretrained")
    with pytest.raises(ModelError, match="is saved as CamembertForMaskedLM, but avis needs a fine-tuned For"):
        records(pretrained, avis(), tmp_path=tmp_path)
    headless = checkpoint(tmp_path / "headless", "SequenceClassification", ("neg", "pos"))
    weights = load_file(headless / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if not name.startswith("classifier")},
        headless / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(IncompleteError) as raised:
        records(headless, avis(), tmp_path=tmp_path)
    assert "no fitting weights for 4 tensors of its head (first: classifier.dense.bias)" in raised.value.reasons[0]
    (failure,) = raised.value.results.failures
    assert failure.cell.seed is None and failure.schema_version == 2


@pytest.mark.parametrize(
    ("id2label", "said"),
    [
        ({"0": "neg"}, "its head has a single row, so that it gives a number and no label"),
        ({"0": "neg", "1": "neg"}, "does not give each row of its head a name"),
        ({"0": "neg", "2": "pos"}, "does not give each row of its head a name"),
        ({"0": "neg", "1": "p" * 1001}, "2 labels, the longest of 1,001 characters"),
        ({str(i): f"l{i}" for i in range(10_001)}, "10,001 labels"),
        ({"0": "", "1": "pos"}, "the task has no label that means ''"),
        ({"0": "\x1b[31mneg", "1": "pos"}, "no label that means"),
    ],
)
def test_names_of_a_stranger_cost_a_message(id2label: dict[str, str], said: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": id2label, "label2id": {}}))
    with pytest.raises((ModelError, UsageError), match=said) as raised:
        records(folder, avis(), tmp_path=tmp_path)
    assert len(str(raised.value)) < 2000


def test_what_is_scored_is_kept_when_the_rest_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [checkpoint(tmp_path / name, "SequenceClassification", ("neg", "pos"), kind) for name, kind in
               (("one", "camembert"), ("two", "bert"))]  # fmt: skip
    load, calls = models.load_own_head, []

    def interrupted(model: Any, *rest: Any) -> Any:
        calls.append(model.ref.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return load(model, *rest)

    monkeypatch.setattr(models, "load_own_head", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records(folders, avis(), tmp_path=tmp_path)
    assert len(Store(tmp_path / "results").records()) == 1
    again = flue_bench.score(folders, avis(), results=tmp_path / "results", device="cpu", progress=False)
    assert (len(again), again.reused, calls) == (2, 1, ["one", "two", "two"])


def test_validation_is_another_split_and_another_record(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    (test,) = records(folder, avis(), tmp_path=tmp_path)
    (validation,) = records(folder, avis(), tmp_path=tmp_path, split="validation")
    assert (test.predictions.rows, validation.predictions.rows) == (16, 8)
    assert list(validation.truncation.examples) == ["validation"]
    board = flue_bench.build_board(tmp_path / "results")
    assert [column.title for column in board.columns] == ["avis"]
    board = flue_bench.build_board(tmp_path / "results", split="validation")
    assert [column.title for column in board.columns] == ["avis (validation)"]


def test_scoring_again_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    records(folder, avis(), tmp_path=tmp_path)
    (checked,) = flue_bench.verify_records(
        tmp_path / "results", rerun=True, tasks=avis(), model=folder, device="cpu", progress=False
    )
    assert checked.ok and "identical to the byte" in checked.rerun


def test_inputs_are_cut_where_the_model_ends_and_not_before(tmp_path: Path) -> None:
    """A tiny model has 66 positions, of which RoBERTa's kind leaves two unused."""
    folder = checkpoint(tmp_path / "m", "SequenceClassification", ("neg", "pos"))
    (record,) = records(folder, avis(), tmp_path=tmp_path)
    assert record.cell.recipe.max_length == 64
    (shorter,) = records(folder, avis(), tmp_path=tmp_path, max_length=8)
    assert shorter.truncation.examples == {"test": 16}
    board = flue_bench.build_board(tmp_path / "results")  # both are shown
    assert {row.recipe for row in board.rows} == {"fine-tuned elsewhere", "fine-tuned elsewhere max_length=8"}
    assert not board.left_out and all(row.entries[0] for row in board.rows)
    with pytest.raises(UsageError, match=r"takes at most 64 sub-words, but --max-length is 65\. Use --max-length 64"):
        records(folder, avis(), tmp_path=tmp_path, max_length=65)


CARD = "---\nlanguage: fr\ndatasets:\n- {}\n---\n# Un modèle\n"


@pytest.mark.parametrize(
    ("card", "named"),
    [
        (CARD.format("Jean-Baptiste/wikiner_fr"), "Jean-Baptiste/wikiner_fr"),
        (CARD.format("wikiner-fr"), "wikiner-fr"),
        (CARD.format("flue"), "flue"),
        ("---\ndatasets: GETALP/FLUE\n---\n", "GETALP/FLUE"),
        ("---\ntags:\n- ner\n- dataset:Jean-Baptiste/wikiner_fr\n---\n", "Jean-Baptiste/wikiner_fr"),
        (CARD.format("allocine"), ""),
        ("# datasets: wikiner_fr\n", ""),
        ("---\ndatasets: [wikiner_fr\n---\n", ""),  # no YAML
        ("---\ndatasets: {wikiner_fr: 1}\n---\n", ""),
        ("---\ndatasets:\n- wikiner_fr\n" + "a: b\n" * 30_000 + "---\n", ""),  # longer than any card
        ("", ""),
        (None, ""),
    ],
)
def test_a_card_that_names_the_data_is_told_of(card: str | None, named: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    found = leaks(tmp_path, flue_bench.get_task("wikiner"))
    assert [named in words for words in found] == ([True] if named else [])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three checkpoints that DistilCamemBERT's users know, tiny, with the labels and data that their cards name."""
    root = tmp_path_factory.mktemp("published")
    made = {
        "cmarkea/distilcamembert-base-nli": ("SequenceClassification", NLI, "flue"),
        "cmarkea/distilcamembert-base-ner": ("TokenClassification", NER, "Jean-Baptiste/wikiner_fr"),
        "Jean-Baptiste/camembert-ner": (
            "TokenClassification",
            [name if name == "O" else f"I-{name}" for name in NER],
            "Jean-Baptiste/wikiner_fr",
        ),
    }
    for name, (head, labels, data) in made.items():
        folder = checkpoint(root / name, head, labels)
        (folder / "README.md").write_text(CARD.format(data), encoding="utf-8")
    return {name: root / name for name in made}


@pytest.mark.slow
def test_the_known_checkpoints_are_scored_from_the_hub_and_then_offline(
    published: dict[str, Path], tmp_path: Path
) -> None:
    nli, *ner = published
    with StandIn() as hub:
        for name, folder in published.items():
            hub.add_repo(name, "model", folder_files(folder))
        env = hub.env(tmp_path)
        first = in_a_process(
            "score", "-m", nli, "-t", "mini-xnli", "--limit", "24", "--device", "cpu", cwd=tmp_path, env=env
        )
    assert first.returncode == 0, first.stderr
    assert "contradiction → contradiction, entailment → entailment, neutral → neutral" in first.stderr
    with StandIn() as hub:
        for name, folder in published.items():
            hub.add_repo(name, "model", folder_files(folder))
        env = hub.env(tmp_path)
        words = [word for name in ner for word in ("-m", name)]
        second = in_a_process(
            "score", *words, "-t", "mini-ner", "--limit", "24", "--device", "cpu", cwd=tmp_path, env=env
        )
    assert second.returncode == 0, second.stderr
    offline = in_a_process(
        "score", *words, "-t", "mini-ner", "--limit", "24", "--device", "cpu", "--offline", "--force",
        cwd=tmp_path, env=env, program=SEAL + PROGRAM,
    )  # fmt: skip
    assert offline.returncode == 0, offline.stderr
    bare, prefixed = (
        next(r for r in Store(tmp_path / "results").records() if r.cell.model.name == name) for name in ner
    )
    for name in ner:  # the card came along with the weights
        (snapshot,) = (tmp_path / "hf").rglob(f"models--{name.replace('/', '--')}/snapshots/*")
        assert leaks(snapshot, flue_bench.get_task("wikiner"))
    assert bare.scores == prefixed.scores  # the same weights: PER and I-PER are one class
    assert bare.cell.model.revision and bare.recipe_name == "fine-tuned elsewhere"


def test_the_command_shows_board_and_what_was_understood(published: dict[str, Path], tmp_path: Path) -> None:
    folder = published["Jean-Baptiste/camembert-ner"]
    copy = shutil.copytree(folder, tmp_path / "camembert-ner")
    (copy / "README.md").write_text(CARD.format("mini-ner"), encoding="utf-8")
    words = ("--limit", "24", "--device", "cpu", "--results", tmp_path / "results")
    shown = done("score", "--model", copy, "--task", "mini-ner", *words)
    assert "camembert-ner §" in shown and "fine-tuned elsewhere, fp32" in shown
    assert "names mini-ner" in " ".join(shown.split())
    for option, said in (("nonsense", "a pair is THEIRS=OURS"), ("a=LOC,a=PER", "is given twice, with two meanings")):
        assert said in refused("score", "-m", copy, "-t", "mini-ner", "--labels", option, *words)
