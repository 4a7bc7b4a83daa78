"""The embedded models: complete, small, consistent, and honest about what they are."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    pipeline,
)

from flue_bench.training import models
from support import ROOT

EMBEDDED = ROOT / "flue_bench" / "embedded"
FOLDER = EMBEDDED / "untrained"
TRAINED = ("teacher", "student")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


def test_the_folder_is_complete_and_small() -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert set(sizes) == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert max(sizes.values()) < 2_000_000


def test_the_card_says_that_it_is_untrained() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "This model knows nothing" in card
    assert "random" in card
    assert "python -m benchmarks.makers.untrained --corpus DIR" in card


def test_the_weights_are_half_precision_and_random() -> None:
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - not a mapping
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    drawn = tensors["roberta.encoder.layer.0.intermediate.dense.weight"].float()
    assert drawn.mean().abs() < 1e-3
    assert drawn.std() == pytest.approx(0.02, rel=0.02)  # the initialiser's


@pytest.mark.parametrize(
    "auto", [AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification]
)
def test_every_auto_class_loads_it_and_takes_512_tokens(auto: type, tokenizer: PreTrainedTokenizerBase) -> None:
    model = auto.from_pretrained(FOLDER, local_files_only=True, dtype=torch.float32).eval()
    assert model.config.model_type == "camembert"
    assert model.config.vocab_size == len(tokenizer)
    text = "la mer " * 600
    with torch.inference_mode():
        logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    if auto is not AutoModelForSequenceClassification:
        assert logits.shape[1] == tokenizer.model_max_length == 512


def test_special_tokens_are_those_of_the_configuration(tokenizer: PreTrainedTokenizerBase) -> None:
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    for name in ("bos", "eos", "pad"):
        assert getattr(tokenizer, f"{name}_token_id") == config[f"{name}_token_id"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("oui", "non")["input_ids"]) == (
        ["<s>", *tokenizer.tokenize("oui"), "</s>", "</s>", *tokenizer.tokenize("non"), "</s>"]
    )
    assert tokenizer("oui", "non").keys() == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    "text",
    [
        "L'élève a reçu une pièce où l'on naît, c'est sûr : ça l'émeut !",
        "Où est le garçon naïf ? Là-bas, près du maïs, avec sa sœur et l'aïeul.",
        "« Ça coûte 12,50 € », dit Mme Lefèvre à Saint-Étienne, en 1998.",
    ],
)
def test_french_survives_the_round_trip(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_decomposed_accents_are_composed(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("e\u0301te\u0301")["input_ids"] == tokenizer("été")["input_ids"]


def test_words_can_be_told_from_their_pieces(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.is_fast
    words = ["L'", "anticonstitutionnalité", "de", "Besançon"]
    found = tokenizer(words, is_split_into_words=True).word_ids()
    assert found[0] is found[-1] is None
    assert sorted(set(found[1:-1])) == [0, 1, 2, 3]
    assert len(found) > len(words) + 2


def test_teacher_and_student_are_whole_and_take_16_mb_together() -> None:
    files = {"README.md", "config.json", "distillation.json", "model.safetensors", "tokenizer.json"}
    for name in TRAINED:
        assert {file.name for file in (EMBEDDED / name).iterdir()} == files | {"tokenizer_config.json"}
    assert sum((EMBEDDED / name / "model.safetensors").stat().st_size for name in TRAINED) <= 16_000_000


def test_the_student_is_half_of_this_very_teacher() -> None:
    teacher, student = (models.resolve(f"embedded:{name}") for name in TRAINED)
    assert student.ref.teacher == teacher.ref.digest
    assert student.config.num_hidden_layers * 2 == teacher.config.num_hidden_layers
    made = json.loads((EMBEDDED / "student" / "distillation.json").read_text(encoding="utf-8"))
    assert made["weights"] == {"distil": 0.5, "mlm": 0.2, "cosine": 0.3}  # the card's
    assert made["losses"]["held_out"]["mlm"] < made["losses"]["held_out_before"]["mlm"]


@pytest.mark.parametrize("name", TRAINED)
def test_the_trained_models_know_some_french(name: str) -> None:
    guess = pipeline("fill-mask", model=str(EMBEDDED / name), top_k=3)
    for prompt, word in (("Le président de la <mask> a pris la parole.", "République"), ("Je ne sais <mask>.", "pas")):
        assert word in {found["token_str"].strip() for found in guess(prompt)}, prompt


@pytest.mark.parametrize("name", TRAINED)
def test_their_cards_say_where_they_come_from(name: str) -> None:
    card = (EMBEDDED / name / "README.md").read_text(encoding="utf-8")
    for said in ("CC BY-SA 4.0", "held-out text", "Not for", "benchmarks/makers/embedded.py", "| Le président de la"):
        assert said in card
