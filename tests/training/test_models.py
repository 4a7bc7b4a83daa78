"""Every architecture from its folder to a prediction, and every way a model folder can be wrong."""

from __future__ import annotations

import json
import lzma
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from flue_bench.data import model_names
from flue_bench.errors import ModelError, ModelNotFoundError, UnknownNameError
from flue_bench.kinds.network.network import Encoded
from flue_bench.recipe import Recipe
from flue_bench.task import Example, Source, Task
from flue_bench.training import models
from flue_bench.training.device import Device
from flue_bench.training.train import Fit, fine_tune, flops_per_example, predict
from support.hub_standin import StandIn, folder_files
from support.networks import encode
from support.tiny import KINDS, SENTENCES, tiny

SOURCE = (Source(files={"train": "train.tsv"}),)
TASKS = {
    "sentence": Task(name="phrases", kind="sentence", labels=("négatif", "positif"), metric="accuracy", source=SOURCE),
    "sentence-pair": Task(
        name="paires", kind="sentence-pair", labels=("oui", "peut-être", "non"), metric="accuracy", source=SOURCE
    ),
    "tokens": Task(
        name="noms", kind="tokens", scheme="IO", labels=("O", "PER", "LOC"), metric="entity_f1_micro", source=SOURCE
    ),
}
SENTENCE, TOKENS = TASKS["sentence"], TASKS["tokens"]
STRANGE = ("Ça", "", "vend", "\u00a0", "漢", "à")
"""Words, two of which have no sub-word in any vocabulary, and one that most do not know."""


def examples(kind: str, rows: int = 8) -> list[Example]:
    if kind == "sentence":
        return [Example(str(i), "g", text=SENTENCES[i], label=i % 2) for i in range(rows)]
    if kind == "sentence-pair":
        return [Example(str(i), "g", text=SENTENCES[i], text_pair=SENTENCES[-i], label=i % 3) for i in range(rows)]
    words = [tuple(sentence.split()) for sentence in SENTENCES[: rows - 1]] + [STRANGE]
    return [Example(str(i), "g", words=row, tags=tuple(n % 3 for n in range(len(row)))) for i, row in enumerate(words)]


def train(network: torch.nn.Module, data: Encoded, folder: Path, precision: Any = "fp32", epochs: int = 1) -> Fit:
    recipe = Recipe(epochs=epochs, batch_size=4, learning_rate=1e-3, max_length=32, precision=precision)
    device = Device(torch.device("cpu"), precision, "")
    return fine_tune(network, data, recipe, 0, device, lambda _: {"m": 0.0}, "m", folder / "checkpoint")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One folder a kind, made once; not to be written to."""
    made: dict[str, Path] = {}

    def find(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny(kind, tmp_path_factory.mktemp("models") / kind)
        return made[kind]

    return find


@pytest.fixture
def copy_of(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of this kind to spoil."""
    return lambda kind: shutil.copytree(folder_of(kind), tmp_path / "modèle")


def rewrite(folder: Path, **settings: Any) -> Path:
    """Change ``config.json``."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def as_bin(folder: Path) -> Path:
    """Replace the safetensors by a ``pytorch_model.bin``."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def load(folder: Path, task: Task = SENTENCE, seed: int = 0, dropout: float | None = None) -> Any:
    return models.load_model(models.resolve(str(folder)), task, seed, dropout)


def refusal(call: Callable[[], object], kind: type[Exception] = ModelError) -> str:
    """The message of the error that ``call`` ends in: one or two lines."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2 and len(message) < 500, message
    return message


# Every architecture


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_goes_from_its_directory_to_predictions(
    kind: str, task: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = models.resolve(str(folder_of(kind)))
    data = encode(examples(task), TASKS[task], models.load_tokenizer(model), 32)
    network = models.load_model(model, TASKS[task], 0, None).network
    before = {name: value.clone() for name, value in network.named_parameters()}

    for precision in ("fp32", "bf16"):
        fit = train(network, data, tmp_path / precision, precision)
        assert fit.steps == 2 and np.isfinite(fit.history[0].train_loss)
    for name, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all(), name
    moved = [name for name, value in network.named_parameters() if not torch.equal(value, before[name])]
    assert any("embed" in name for name in moved), "the gradient does not reach the bottom of the encoder"

    found = predict(network, data, Device(torch.device("cpu"), "fp32", ""))
    labels = len(TASKS[task].labels)
    if task != "tokens":
        assert [row.shape for row in found] == [(labels,)] * 8
        assert np.allclose([row.sum() for row in found], 1, atol=1e-5)
        return
    for example, counts, row in zip(examples(task), data.subwords_per_word, found, strict=True):
        assert row.shape == (len(example.words), labels)
        assert np.allclose(row.sum(-1), counts > 0, atol=1e-5)
    assert [bool(row.any()) for row in found[-1]][:5] == [True, False, True, False, True]


def test_a_word_is_predicted_at_its_first_subword(folder_of: Callable[[str], Path]) -> None:
    model = models.resolve(str(folder_of("roberta")))
    tokenizer = models.load_tokenizer(model)
    data = encode(examples("tokens"), TOKENS, tokenizer, 32)
    network = models.load_model(model, TOKENS, 0, None).network
    found = predict(network, data, Device(torch.device("cpu"), "fp32", ""))
    network.eval()
    for index, example in enumerate(examples("tokens")):
        spans = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in example.words if word.strip()]
        ids = [tokenizer.bos_token_id, *(one for span in spans for one in span), tokenizer.eos_token_id]
        if len(ids) > 32:
            continue
        with torch.inference_mode():
            alone = network(input_ids=torch.tensor([ids])).logits[0].softmax(-1).numpy()
        places = np.cumsum([1, *(len(span) for span in spans[:-1])])
        assert np.allclose(found[index][[bool(word.strip()) for word in example.words]], alone[places], atol=1e-5)


def test_modernbert_neither_compiles_nor_wants_flash_attention(
    copy_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = rewrite(copy_of("modernbert"), reference_compile=True)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("torch.compile was called")

    monkeypatch.setattr(torch, "compile", refuse)
    network = load(folder).network
    data = encode(examples("sentence"), SENTENCE, models.load_tokenizer(models.resolve(str(folder))), 32)
    assert network.config._attn_implementation == "sdpa"
    assert train(network, data, tmp_path).steps == 2


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_is_given_that_the_architecture_does_not_take(kind: str, folder_of: Callable[[str], Path]) -> None:
    tokenizer = models.load_tokenizer(models.resolve(str(folder_of(kind))))
    assert ("token_type_ids" in tokenizer.model_input_names) == (kind in ("bert", "electra"))


def test_encoded_data_is_not_shared_where_the_model_reads_the_same_files_otherwise(
    folder_of: Callable[[str], Path],
) -> None:
    bert, distilbert, other = (models.resolve(str(folder_of(kind))) for kind in ("bert", "distilbert", "roberta"))
    files = [{p.name: p.read_bytes() for p in model.folder.glob("tokenizer*.json")} for model in (bert, distilbert)]
    assert files[0] == files[1]
    assert len({bert.tokenizer_digest, distilbert.tokenizer_digest, other.tokenizer_digest}) == 3


# Positions

BOUNDED = ("camembert", "roberta", "xlm-roberta", "bert", "distilbert", "electra", "flaubert")


@pytest.mark.parametrize("kind", KINDS)
def test_max_positions_is_what_the_model_holds(kind: str, folder_of: Callable[[str], Path]) -> None:
    folder = folder_of(kind)
    network = load(folder).network
    longest = models.max_positions(network.config)
    assert longest == 64
    network.eval()
    with torch.inference_mode():
        assert torch.isfinite(network(input_ids=torch.full((1, longest), 7)).logits).all()
        if kind in BOUNDED:
            with pytest.raises((IndexError, RuntimeError)):
                network(input_ids=torch.full((1, longest + 1), 7))


def test_model_types_with_offset_positions_are_those_of_transformers() -> None:
    """Read in its sources: who counts positions from the padding's, among all types with a classification head."""
    from transformers.models.auto import configuration_auto, modeling_auto

    types = {*modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES}
    types |= {*modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES}
    counts = re.compile(r"create_position_ids_from_input_ids|padding_idx \+ 1|incremental_indices")
    folder = Path(transformers.__file__).parent / "models"
    offset = {
        name
        for name in types
        for file in (folder / configuration_auto.model_type_to_module_name(name)).glob("modeling_*.py")
        if counts.search(file.read_text(encoding="utf-8"))
    }
    assert offset == models.OFFSET_POSITIONS


OTHERS: dict[str, dict[str, Any]] = {
    "data2vec-text": {},
    "esm": {"position_embedding_type": "absolute", "token_dropout": False, "mask_token_id": 4},
    "ibert": {},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "max_2d_position_embeddings": 64, "visual_embed": False},
    "lilt": {"hidden_size": 48, "max_2d_position_embeddings": 64},
    "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "markuplm": {},
    "mpnet": {},
    "roberta-prelayernorm": {},
    "xlm-roberta-xl": {},
    "xmod": {"languages": ["fr_FR"], "default_language": "fr_FR"},
}
"""Those of them that no other test makes, and what their configurations need to be tiny."""


@pytest.mark.parametrize("kind", OTHERS)
def test_other_model_types_hold_what_is_said(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, sizes = KINDS["roberta"]
    monkeypatch.setitem(KINDS, kind, (tokenizer, sizes | OTHERS[kind]))
    auto = transformers.AutoModelForSequenceClassification
    folder = tiny(kind, tmp_path / kind, auto=auto, **({} if kind != "longformer" else {"max_position_embeddings": 66}))
    model = models.resolve(str(folder))
    longest = models.max_positions(model.config)
    assert longest == 64
    network = models.load_model(model, SENTENCE, 0, None).network.eval()
    with torch.inference_mode():
        assert torch.isfinite(network(input_ids=torch.full((1, longest), 7)).logits).all()
        if kind != "longformer":  # which pads to its window, and so shows nothing
            with pytest.raises((IndexError, RuntimeError)):
                network(input_ids=torch.full((1, longest + 1), 7))


@pytest.mark.parametrize("kind", ["camembert", "xlm-roberta"])
def test_positions_counted_from_a_padding_that_is_none_are_refused(kind: str, copy_of: Callable[[str], Path]) -> None:
    message = refusal(lambda: models.resolve(str(rewrite(copy_of(kind), pad_token_id=None))))
    assert "config.json has no pad_token_id" in message and "1" in message


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_counted(kind: str, folder_of: Callable[[str], Path]) -> None:
    model = models.resolve(str(folder_of(kind)))
    data = encode(examples("sentence"), SENTENCE, models.load_tokenizer(model), 32)
    network = models.load_model(model, SENTENCE, 0, None).network.eval()
    counted = flops_per_example(network, data, Device(torch.device("cpu"), "fp32", ""))
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    least = min(data.lengths) * sum(layer.weight.numel() for layer in layers[:4])
    assert counted > least and all(parameter.grad is None for parameter in network.parameters())


def test_camembert_holds_512_of_its_514_positions(tmp_path: Path) -> None:
    folder = tiny("camembert", tmp_path / "514", max_position_embeddings=514)
    model = models.resolve(str(folder))
    assert models.max_positions(model.config) == 512
    long = [Example("0", "g", text=" ".join(SENTENCES), label=1)]
    network = models.load_model(model, SENTENCE, 0, None).network
    tokenizer = models.load_tokenizer(model)
    device = Device(torch.device("cpu"), "fp32", "")
    held = encode(long, SENTENCE, tokenizer, 512)
    assert held.lengths.tolist() == [512] and held.truncated == 1
    assert np.isfinite(predict(network, held, device)[0]).all()
    with pytest.raises((IndexError, RuntimeError)):
        predict(network, encode(long, SENTENCE, tokenizer, 513), device)


def test_positions_may_be_unbounded() -> None:
    config = transformers.BertConfig(max_position_embeddings=-1)
    assert models.max_positions(config) is None
    assert models.max_positions(transformers.T5Config()) is None
    assert models.max_positions(transformers.ModernBertConfig()) == 8192
    assert models.max_positions(transformers.XLMRobertaConfig(max_position_embeddings=514)) == 512


# Weights


@pytest.mark.parametrize("kind", ["camembert", "bert"])
def test_a_float16_checkpoint_is_fine_tuned_in_float32(kind: str, tmp_path: Path) -> None:
    folder = tiny(kind, tmp_path / "half", dtype=torch.float16)
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float16}
    model = models.resolve(str(folder))
    network = models.load_model(model, SENTENCE, 0, None).network
    data = encode(examples("sentence"), SENTENCE, models.load_tokenizer(model), 32)
    fit = train(network, data, tmp_path, epochs=3)
    assert fit.steps == 6 and all(np.isfinite(epoch.train_loss) for epoch in fit.history)
    for name, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all(), name


def test_a_bin_alone_is_read_without_unpickling_and_announced(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("camembert")
    whole = load(folder).network
    model = models.resolve(str(as_bin(folder)))
    assert model.ref.weights == "bin"
    assert model.notes == ("no safetensors: pytorch_model.bin was read with weights_only=True",)
    network = models.load_model(model, SENTENCE, 0, None).network
    for name, value in whole.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(copy_of: Callable[[str], Path], writer: str, tmp_path: Path) -> None:
    folder, target = copy_of("camembert"), tmp_path / "créé"
    (folder / "model.safetensors").unlink()
    state = {"roberta.embeddings.word_embeddings.weight": _Malicious(target)}
    if writer == "torch":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(state))
    # A bare pickle makes torch warn first, and warnings are errors here.
    assert re.search("holds more than tensors|cannot be loaded", refusal(lambda: load(folder)))
    assert not target.exists()
    pickle.loads(pickle.dumps(state))
    assert target.exists(), "the object does what it is feared for"


def test_safetensors_are_preferred_and_alone_identify(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("camembert")
    before = models.resolve(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"no weights at all")
    after = models.resolve(str(folder))
    assert after == before and after.ref.weights == "safetensors" and after.notes == ()
    load(folder)


def test_weights_in_several_files(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("bert")
    whole = load(folder).network
    (folder / "model.safetensors").unlink()
    whole.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    network, _, head = load(folder)
    assert head == "kept"
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in network.state_dict().items())
    digest = models.resolve(str(folder)).ref.digest
    shard = min(folder.glob("model-*.safetensors"))
    save_file({name: value + 1 for name, value in load_file(shard).items()}, shard, metadata={"format": "pt"})
    assert models.resolve(str(folder)).ref.digest != digest
    shard.unlink()
    refusal(lambda: load(folder))


def test_code_in_the_repository_is_never_run(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder, target = copy_of("bert"), tmp_path / "créé"
    (folder / "custom.py").write_text(f"import os\nos.mkdir({str(target)!r})\n")
    auto_map = {"AutoConfig": "custom.Config", "AutoModelForSequenceClassification": "custom.Model"}

    rewrite(folder, auto_map=auto_map, model_type="of-their-own")
    assert "code of its own" in refusal(lambda: models.resolve(str(folder)))

    rewrite(folder, model_type="bert")  # transformers has this one itself
    assert any("own code was not run" in note for note in models.resolve(str(folder)).notes)
    assert type(load(folder)[0]) is transformers.BertForSequenceClassification

    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["custom.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    try:
        models.load_tokenizer(models.resolve(str(folder)))
    except ModelError as error:
        assert len(str(error).splitlines()) <= 2
    assert not target.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(copy_of: Callable[[str], Path], value: float) -> None:
    folder = copy_of("camembert")
    state = load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.1.output.dense.weight"
    state[name][3, 4] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert name in refusal(lambda: load(folder))


def test_a_checkpoint_without_all_layers_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = rewrite(copy_of("camembert"), num_hidden_layers=3)
    message = refusal(lambda: load(folder))
    assert "16 of 53 tensors" in message and "encoder.layer.2." in message


def test_a_checkpoint_of_another_width_or_vocabulary_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = rewrite(copy_of("bert"), intermediate_size=48)
    assert "no fitting weights" in refusal(lambda: load(folder))
    rewrite(folder, intermediate_size=64, vocab_size=300)
    assert "word_embeddings" in refusal(lambda: load(folder))


def test_files_that_are_no_weights(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("bert")
    (folder / "model.safetensors").write_bytes(b"poids")
    assert "cannot be loaded" in refusal(lambda: load(folder))


def test_an_architecture_without_a_classification_head(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    config = transformers.DPRConfig(
        vocab_size=186, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    transformers.DPRQuestionEncoder(config).save_pretrained(tmp_path)
    for file in folder_of("bert").glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    assert "AutoModelForSequenceClassification" in refusal(lambda: load(tmp_path))


def test_a_checkpoint_without_pooler_is_noted(folder_of: Callable[[str], Path]) -> None:
    assert any("no pooler" in note for note in load(folder_of("bert"))[1])
    assert load(folder_of("bert"), TOKENS)[1] == ()
    assert load(folder_of("camembert"))[1] == ()


# Tokenizers


def tokenizer_of(folder: Path) -> Any:
    return models.load_tokenizer(models.resolve(str(folder)))


@pytest.mark.parametrize("theirs", ["roberta", "camembert"])
def test_a_tokenizer_of_another_model_is_refused(
    theirs: str, folder_of: Callable[[str], Path], copy_of: Callable[[str], Path]
) -> None:
    folder = copy_of("bert")
    for path in folder_of(theirs).glob("tokenizer*.json"):
        shutil.copy(path, folder)
    size = json.loads((folder_of(theirs) / "config.json").read_text())["vocab_size"]
    message = refusal(lambda: tokenizer_of(folder))
    assert f"has {size} entries" in message and "vocabulary 186" in message


def test_a_missing_tokenizer_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("camembert")
    (folder / "tokenizer.json").unlink()  # without it transformers makes up a vocabulary of a few tokens
    assert "no tokenizer files" in refusal(lambda: tokenizer_of(folder))


def test_a_broken_tokenizer_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("camembert")
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be loaded" in refusal(lambda: tokenizer_of(folder))


def test_a_tokenizer_blind_to_french_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("bert")
    vocabulary = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), *(chr(0x4E00 + i) for i in range(181))]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    assert "French text to '[UNK]'" in refusal(lambda: tokenizer_of(folder))


def wordpieces(folder: Path, said: str) -> Path:
    """A RoBERTa with a WordPiece tokenizer.json of 2,000 entries, as CamemBERT 2's, which says this of its class."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
    from tokenizers import models as kinds

    texts = (Path(models.__file__).parents[1] / "jobs/sample.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer(kinds.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    tokenizer.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(vocab_size=2000, special_tokens=[*special.values(), "[MASK]"], show_progress=False),
    )
    size = tokenizer.get_vocab_size()
    tiny("roberta", folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = special | {"mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]", "tokenizer_class": said}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return rewrite(folder, vocab_size=size)


def test_a_tokenizer_that_falls_apart_is_refused_and_the_advice_works(tmp_path: Path) -> None:
    """transformers takes its vocabulary for one of byte-level BPE without merges, and drops letters with accents."""
    folder = wordpieces(tmp_path / "v2", "RobertaTokenizerFast")
    message = refusal(lambda: tokenizer_of(folder))
    assert "cuts French into characters: 0.9" in message and "the usual being 0.25 to 0.45" in message
    key, said = re.findall(r'"(\w+)": "(\w+)"', message)[0]
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {key: said}))
    words = tokenizer_of(folder).tokenize("Aucune retraitée n'a appris la nouvelle.")
    assert "".join(words).replace("##", "") == "Aucuneretraitéen'aapprislanouvelle."


@pytest.mark.parametrize(
    ("merges", "vocabulary", "refused"),
    [("none", 30_000, True), ("none", 300, False), ("all", 30_000, False)],
)
def test_a_vocabulary_of_characters_is_no_broken_one(merges: str, vocabulary: int, refused: bool) -> None:
    """Of ten thousands of entries a tokenizer that uses none but characters is broken; one of a few hundred is not."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers import models as kinds

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = Tokenizer(kinds.BPE({character: number for number, character in enumerate(sorted(alphabet))}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if merges == "all":
        trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
        bpe.train_from_iterator([models.SAMPLE] * 3, trainer)
    bpe.add_tokens([f"<{number}>" for number in range(vocabulary - bpe.get_vocab_size())])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe)
    if refused:
        assert "1.2" in refusal(lambda: models.check_french(tokenizer, "m"))
    else:
        models.check_french(tokenizer, "m")


def test_the_embedded_tokenizers_are_far_from_falling_apart() -> None:
    letters = len("".join(models.SAMPLE.split()))
    for name in ("teacher", "student", "untrained"):
        tokenizer = tokenizer_of(model_names.EMBEDDED / name)
        assert len(tokenizer.tokenize(models.SAMPLE)) / letters < models.APART / 2


def test_text_that_is_unknown_is_seen_whatever_number_that_token_says_it_has(copy_of: Callable[[str], Path]) -> None:
    """camembert-base's tokenizer.json names '<unk>' twice: the number transformers knows is not the one it gives."""
    folder = copy_of("camembert")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    pieces = content["model"]["vocab"]
    unknown = content["model"]["unk_id"]
    kept = [piece if number <= 4 else [chr(0x4E00 + number), -9.0] for number, piece in enumerate(pieces)]
    kept[-1] = [pieces[unknown][0], -100.0]
    content["model"]["vocab"] = kept
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != pieces[unknown][0]]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "French text to '<unk>'" in refusal(lambda: tokenizer_of(folder))


def test_a_tokenizer_without_padding_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("modernbert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "no padding token" in refusal(lambda: tokenizer_of(folder))


def test_flaubert_says_what_to_install(folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("flaubert")  # whose making needs it
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    message = refusal(lambda: tokenizer_of(folder))
    assert "sacremoses" in message and "pip install 'flue-bench[flaubert]'" in message


@pytest.mark.slow
@pytest.mark.shared
def test_a_repository_laid_out_as_distilcamemberts_gives_camemberts_ids(shared: Path, tmp_path: Path) -> None:
    """A sentencepiece model and a tokenizer_config.json, no tokenizer.json: the same ids over 4 MB of French."""
    folder = tiny("camembert", tmp_path / "distilcamembert-base", vocab_size=32005, max_position_embeddings=514)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    shutil.copy(shared / "tokenizers/camembert-base/sentencepiece.bpe.model", folder)
    special = {
        "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
        "pad_token": "<pad>", "mask_token": "<mask>", "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED"],
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(special | {"model_max_length": 512}))
    built = tokenizer_of(folder)
    assert (len(built), built.model_max_length) == (32005, 512)
    fast = transformers.AutoTokenizer.from_pretrained(shared / "tokenizers/camembert-base")
    pairs = built("Où ?", "Là."), fast("Où ?", "Là.")
    assert pairs[0]["input_ids"] == pairs[1]["input_ids"] and pairs[0]["input_ids"][0] == built.cls_token_id
    assert built.mask_token_id == fast.mask_token_id == 32004
    for file in sorted((shared / "corpus").glob("*.txt.xz")):
        with lzma.open(file) as corpus:
            lines = corpus.read(2**20).decode("utf-8", "ignore").split("\n")
        ids, expected = (tokenizer(lines)["input_ids"] for tokenizer in (built, fast))
        assert ids == expected, file.name


@pytest.mark.shared
@pytest.mark.parametrize("files", [("tokenizer.json", "tokenizer_config.json"), ("sentencepiece.bpe.model",)])
def test_the_real_tokenizer_of_camembert(shared: Path, tmp_path: Path, files: tuple[str, ...]) -> None:
    folder = tiny("camembert", tmp_path / "camembert-base", vocab_size=32005)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for name in files:
        shutil.copy(shared / "tokenizers/camembert-base" / name, folder)
    tokenizer = tokenizer_of(folder)
    assert tokenizer.tokenize("L'élève répare un vélo.") == ["▁L", "'", "élève", "▁répare", "▁un", "▁vélo", "."]


# Identity


def test_the_digest_names_the_content_not_the_place(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    there = models.resolve(str(folder_of("camembert")))
    copy = shutil.copytree(folder_of("camembert"), tmp_path / "autre nom")
    (copy / "README.md").write_text("Une note.")
    here = models.resolve(str(copy))
    assert here.ref.digest == there.ref.digest and here.tokenizer_digest == there.tokenizer_digest
    assert (here.ref.name, here.ref.origin, here.ref.revision) == ("autre nom", "directory", None)

    state = load_file(copy / "model.safetensors")
    state["roberta.embeddings.word_embeddings.weight"][7, 7] += 1
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    changed = models.resolve(str(copy))
    assert changed.ref.digest != there.ref.digest and changed.tokenizer_digest == there.tokenizer_digest
    assert models.resolve(str(rewrite(copy, hidden_act="relu"))).ref.digest != changed.ref.digest


def test_a_hub_snapshot_and_its_copy_have_one_digest(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("camembert"), tmp_path / "copie")
    with StandIn() as hub:
        made = {"teacher": {"digest": "0123456789abcdef"}}
        (folder / "distillation.json").write_text(json.dumps(made))
        files = folder_files(folder) | {"pytorch_model.bin": b"never fetched", "README.md": b"# Tiny"}
        commit = hub.add_repo("org/tiny", "model", files)
        program = "from flue_bench.training.models import resolve; print(resolve('org/tiny').ref.model_dump_json())"
        done = subprocess.run(
            [sys.executable, "-c", program], env=hub.env(tmp_path), capture_output=True, text=True, timeout=120
        )
        requests = "\n".join(hub.requests)
    assert done.returncode == 0, done.stderr
    ref = json.loads(done.stdout)
    assert (ref["name"], ref["origin"], ref["revision"]) == ("org/tiny", "hub", commit)
    assert ref["digest"] == models.resolve(str(folder)).ref.digest
    assert ref["teacher"] == "0123456789abcdef"
    assert ref["weights_bytes"] == (folder / "model.safetensors").stat().st_size
    assert "GET /org/tiny" in requests
    assert not any(line.startswith("GET") and "pytorch_model.bin" in line for line in requests.splitlines())


@pytest.mark.parametrize(
    ("content", "teacher"),
    [
        ('{"teacher": {"name": "t", "digest": "00ff00ff00ff00ff"}}', "00ff00ff00ff00ff"),
        ('{"teacher": null}', None),
        ('{"teacher": {"digest": "<b>"}}', None),
        ('{"teacher": {"digest": 7}}', None),
        ('["teacher"]', None),
        ("{", None),
    ],
)
def test_a_student_names_its_teacher_and_stays_the_same_model(
    content: str, teacher: str | None, copy_of: Callable[[str], Path]
) -> None:
    folder = copy_of("bert")
    before = models.resolve(str(folder)).ref
    (folder / "distillation.json").write_text(content)
    after = models.resolve(str(folder)).ref
    assert before.teacher is None and after.teacher == teacher
    assert after.digest == before.digest


def test_names_that_are_no_model(tmp_path: Path, folder_of: Callable[[str], Path]) -> None:
    refusal(lambda: models.resolve("embedded:inconnu"), UnknownNameError)
    for name in ("./nulle/part", "/nulle/part", "a/b/c", "deux mots"):
        refusal(lambda name=name: models.resolve(name), ModelNotFoundError)
    assert "no config.json" in refusal(lambda: models.resolve(str(tmp_path)))
    shutil.copytree(folder_of("bert"), tmp_path / "dedans")
    assert f"{tmp_path.name}/dedans" in refusal(lambda: models.resolve(str(tmp_path)))
    (tmp_path / "dedans" / "model.safetensors").unlink()
    assert "no weights" in refusal(lambda: models.resolve(str(tmp_path / "dedans")))
    (tmp_path / "dedans" / "config.json").write_text("{")
    (tmp_path / "dedans" / "model.safetensors").touch()
    assert "config.json cannot be used" in refusal(lambda: models.resolve(str(tmp_path / "dedans")))


# Seeds and dropout


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_head_and_nothing_else(kind: str, folder_of: Callable[[str], Path]) -> None:
    one, again, other = (load(folder_of(kind), TOKENS, seed)[0] for seed in (1, 1, 2))
    body = one.base_model_prefix + "."
    heads = 0
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        if name.startswith(body):
            assert torch.equal(value, other.state_dict()[name]), name
        else:
            heads += not torch.equal(value, other.state_dict()[name])
    assert heads >= 1


@pytest.mark.parametrize("task", [SENTENCE, TOKENS], ids=["sentence", "tokens"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dropout_of_the_recipe_reaches_every_layer(kind: str, task: Task, folder_of: Callable[[str], Path]) -> None:
    def dropouts(dropout: float | None) -> dict[str, float]:
        network = load(folder_of(kind), task, dropout=dropout).network
        modules = {name: part.p for name, part in network.named_modules() if isinstance(part, torch.nn.Dropout)}
        plain = {  # FlauBERT and ModernBERT keep some as a number
            f"{name}.{key}": value
            for name, part in network.named_modules()
            for key, value in vars(part).items()
            if "dropout" in key and isinstance(value, float)
        }
        return modules | plain

    asked = dropouts(0.3)
    assert asked and set(asked.values()) == {0.3}, {name: p for name, p in asked.items() if p != 0.3}
    assert 0.3 not in dropouts(None).values()
    assert set(dropouts(0.0).values()) <= {0.0}


def test_loading_says_nothing_on_the_terminal(
    folder_of: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    load(folder_of("bert"))
    tokenizer_of(folder_of("bert"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("longer", [1, 9, 17, 25])
def test_where_a_file_holds_a_tensor_decides_no_bit(longer: int, tmp_path: Path) -> None:
    """Products round otherwise where a matrix is not aligned, on some processors."""
    folder = tiny("camembert", tmp_path)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    save_file(load_file(folder / "model.safetensors"), moved / "model.safetensors", {"format": "pt", "x": "x" * longer})
    at, by = (models.load_model(models.resolve(str(each)), SENTENCE, 0, None).network for each in (folder, moved))
    assert not any(
        t.data_ptr() % models.ALIGNED for network in (at, by) for t in (*network.parameters(), *network.buffers())
    )
    assert all(map(torch.equal, at.state_dict().values(), by.state_dict().values()))
