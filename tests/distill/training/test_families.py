"""Teachers of newer families: what is read of them is what transformers has there; students of them load anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from flue_bench.errors import UsageError
from flue_bench.progress import Console, Display
from flue_bench.training import models
from flue_distill.training import run
from flue_distill.training.families import FAMILIES, attention_names, layer_names, queries_keys_values
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.result import DISTILLATION
from flue_distill.training.student import MaskedLM, from_config, student_of
from flue_distill.training.trainer import Objective
from support.distilling import distil, teacher
from support.tiny import tiny

from .test_student import OF_A_FAMILY, batch, config

# As published, but for the sizes; of CamemBERTaV2 and ModernCamemBERT what a masked LM needs.
PUBLISHED: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "architectures": ["DebertaV2ForMaskedLM"], "attention_probs_dropout_prob": 0.1, "conv_act": "gelu",
        "conv_kernel_size": 0, "embedding_size": 32, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-07,
        "max_position_embeddings": 64, "max_relative_positions": -1, "model_type": "deberta-v2",
        "norm_rel_ebd": "layer_norm", "num_attention_heads": 2, "num_hidden_layers": 4, "pooler_dropout": 0,
        "pooler_hidden_act": "gelu", "pooler_hidden_size": 32, "pos_att_type": "p2c|c2p",
        "position_biased_input": False, "position_buckets": 16, "relative_attention": True, "share_att_key": True,
        "torch_dtype": "float32", "transformers_version": "4.41.2", "type_vocab_size": 0,
    },
    "modernbert": {
        "architectures": ["ModernBertForMaskedLM"], "attention_bias": False, "attention_dropout": 0.0,
        "classifier_activation": "gelu", "classifier_bias": False, "classifier_dropout": 0.0,
        "classifier_pooling": "mean", "decoder_bias": True, "deterministic_flash_attn": False,
        "embedding_dropout": 0.0, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "gradient_checkpointing": False, "hidden_activation": "gelu", "hidden_size": 32,
        "initializer_cutoff_factor": 2.0, "initializer_range": 0.02, "intermediate_size": 48,
        "layer_norm_eps": 1e-05, "local_attention": 8, "local_rope_theta": 10000.0, "max_position_embeddings": 64,
        "mlp_bias": False, "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-05,
        "num_attention_heads": 2, "num_hidden_layers": 8, "position_embedding_type": "absolute",
        "reference_compile": True, "sparse_pred_ignore_index": -100, "sparse_prediction": False,
        "tie_word_embeddings": True, "torch_dtype": "float32", "transformers_version": "4.48.0",
    },
}  # fmt: skip


def as_published(kind: str, folder: Path) -> Path:
    """Save a random teacher whose folder looks as one of the hub: its own config.json, the weights beside it."""
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    form = PUBLISHED[kind]
    more = {"local_attention": 8, "global_attn_every_n_layers": 3} if kind == "modernbert" else {}
    tiny(kind, folder, **{name: form[name] for name in sizes}, **more)
    saved = json.loads((folder / "config.json").read_text())
    tokens = {key: saved[key] for key in saved if key == "vocab_size" or key.endswith("_token_id")}
    (folder / "config.json").write_text(json.dumps(form | tokens, indent=2))
    return folder


def made_of(folder: Path, out: Path, **settings: Any) -> dict[str, Any]:
    small = dict(length=16, batch_sequences=4, micro_batch=2, steps=3, evaluate_sequences=4, learning_rate=1e-3)
    recipe = DistilRecipe(teacher=str(folder), **{**small, **settings})
    assert run.distil(recipe, None, out, Display(Console(quiet=True)), device="cpu", offline=True)
    made: dict[str, Any] = json.loads((out / DISTILLATION).read_text())
    return made


ALL: dict[str, Any] = dict(weight_hidden=0.5, weight_relations=0.5)


@pytest.mark.parametrize(("kind", "kept"), [("deberta-v2", [0, 3]), ("modernbert", [0, 2, 5, 7])])
def test_a_teacher_as_published_makes_a_student(kind: str, kept: list[int], tmp_path: Path) -> None:
    folder = as_published(kind, tmp_path / "teacher")
    made = made_of(folder, tmp_path / "student", **ALL)
    assert made["layers"] == kept
    assert all(value > 0 for value in made["losses"]["train"].values())
    student = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "student")
    assert student.config.num_hidden_layers == len(kept)
    resolved = models.resolve(str(tmp_path / "student"))
    own = models.load_masked_lm(resolved)
    ids = torch.tensor([[2, 9, 10, 4, 11, 3]])
    assert torch.equal(own.eval()(ids).logits, student.eval()(ids).logits)
    assert models.load_tokenizer(resolved).mask_token == "[MASK]"


def test_layers_of_modernbert_keep_local_or_global_attention_wherever_they_stand(tmp_path: Path) -> None:
    folder = as_published("modernbert", tmp_path / "teacher")
    network = models.load_masked_lm(models.resolve(str(folder)))
    assert network.config.layer_types == ["full_attention" if i % 3 == 0 else "sliding_attention" for i in range(8)]
    student, kept = student_of(network)
    wanted = [network.config.layer_types[layer] for layer in kept]
    assert wanted == ["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"]
    student.save_pretrained(tmp_path / "saved")
    said = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert said["layer_types"] == wanted and "global_attn_every_n_layers" not in said
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "saved")
    for copy in (student, again):
        assert [layer.attention_type for layer in copy.model.layers] == wanted
        assert [layer.attn.sliding_window for layer in copy.model.layers] == [
            network.model.layers[layer].attn.sliding_window for layer in kept
        ]
        assert copy.config.rope_parameters == network.config.rope_parameters


def test_the_first_layer_of_modernbert_stays_the_first() -> None:
    network = from_config(config("modernbert", layers=6), 0)
    for layers in ((1, 3), (3, 0), (2,)):  # a norm that the first lacks, or that another would have to be without
        with pytest.raises(UsageError, match="Keep layer 0, as the first one"):
            student_of(network, layers)
    assert student_of(network, (0, 5))[1] == (0, 5)


@pytest.mark.parametrize("family", OF_A_FAMILY)
def test_what_is_read_is_what_transformers_computes(family: str) -> None:
    """Outputs of layers are transformers' hidden states; queries, keys and values are those of the attention."""
    network = from_config(config(family, layers=4, hidden=16), 1).eval()
    model = MaskedLM(network)
    layers, attention = layer_names(network), attention_names(network, 2)
    model.watch([*layers, *attention])
    ids = torch.randint(5, 40, (2, 7))
    with torch.no_grad():
        inside = model(batch(ids, torch.ones_like(ids), torch.full_like(ids, -100)), "all").inside
        states = network(ids, output_hidden_states=True).hidden_states
    assert len(states) == 5
    last = 3 if network.config.model_type != "modernbert" else 2  # its last hidden state is behind one more norm
    for number in range(last + 1):
        torch.testing.assert_close(inside[layers[number]], states[number + 1])
    queries, keys, values = queries_keys_values([inside[name] for name in attention])
    for each, place in ((queries, 0), (keys, 1), (values, 2)):
        assert each.shape == (2, 7, 16)
        into = states[2]
        modules = [network.base_model.get_submodule(name) for name in attention]
        if len(modules) == 1:
            into = network.base_model.layers[2].attn_norm(into)
            torch.testing.assert_close(each, into @ modules[0].weight[16 * place : 16 * place + 16].T)
        else:
            torch.testing.assert_close(each, modules[place](into))


def test_every_family_is_tried_here() -> None:
    assert {name.split()[0] for name in OF_A_FAMILY} == FAMILIES.keys()


def test_a_student_of_another_family_and_width(tmp_path: Path) -> None:
    """A BERT beside a DeBERTa-v2 of its tokenizer: no layer, no width, no head in common."""
    taught = as_published("deberta-v2", tmp_path / "teacher")
    words = transformers.AutoTokenizer.from_pretrained(taught)
    shape = transformers.BertConfig(
        vocab_size=len(words), pad_token_id=words.pad_token_id, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=24, max_position_embeddings=64,
    )  # fmt: skip
    from_config(shape, 3).save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    alone = dict(weight_distil=0, weight_mlm=0, weight_cosine=0)
    settings = dict(student=str(tmp_path / "bert"), weight_relations=1, relation_heads=4, steps=30)
    made = made_of(taught, tmp_path / "student", **alone, **settings)
    log = [json.loads(line) for line in (tmp_path / "student" / "log.jsonl").read_text().splitlines()]
    course = [line["relations"] for line in log if "loss" in line]
    assert sum(course[-5:]) < sum(course[:5]) and made["layers"] == []
    assert transformers.AutoConfig.from_pretrained(tmp_path / "student").model_type == "bert"


@pytest.mark.parametrize("family", ["deberta-v2", "modernbert", "distilbert"])
def test_positions_that_are_relative_cannot_be_frozen(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import support.distilling

    monkeypatch.setattr(support.distilling, "teacher", lambda *_: from_config(config(family, hidden=16), 0))
    if family == "distilbert":
        distil(tmp_path, dict(steps=1, freeze_positions=True))
        return
    with pytest.raises(UsageError, match=f"this {family} has no embeddings of positions"):
        distil(tmp_path, dict(steps=1, freeze_positions=True))


def test_what_is_read_of_layers_survives_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through TorchDynamo, which reads hooks in its own way; the back end computes as ever, and the loss too."""
    monkeypatch.setattr(MaskedLM, "compiled", False)
    from flue_distill.training.data import Stream
    from flue_distill.training.student import Teacher
    from support.distilling import RECIPE, data

    network = teacher(0.0)
    taught = Teacher(network, torch.float32)
    student = MaskedLM(student_of(network)[0])
    recipe = DistilRecipe(**{**RECIPE, **ALL})
    objective = Objective(student, taught, recipe)
    ((_, some), *_), counts = Stream(data(), recipe).step(0)
    plainly = objective(some, taught(some, "all"), counts)
    for each in (network, student.network):
        each.base_model.compile(backend="eager")
    for _ in range(2):
        loss, parts = objective(some, taught(some, "all"), counts)
        assert torch.equal(parts, plainly[1]) and loss.item() == pytest.approx(plainly[0].item())
