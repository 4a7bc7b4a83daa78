"""Students from teachers: which layers, whose weights, and what is refused; the model taken apart is the model."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from flue_bench.errors import FlueBenchError, ModelError, UsageError
from flue_bench.training import models
from flue_distill.training import run
from flue_distill.training.masking import IGNORED
from flue_distill.training.objective import LossParts, fast, plain
from flue_distill.training.recipe import DistilRecipe, KlRows, LossWeights
from flue_distill.training.student import (
    Batch,
    MaskedLM,
    Teacher,
    check_fit,
    from_config,
    spread,
    student_of,
)  # fmt: skip
from support.tiny import tiny

RELATIVE = {
    "relative_attention": True, "position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
OF_A_FAMILY: dict[str, dict[str, object]] = {
    "camembert": {}, "roberta": {}, "xlm-roberta": {}, "bert": {}, "distilbert": {},
    "deberta-v2": {**RELATIVE},
    "deberta-v2 with its own head": {**RELATIVE, "legacy": False},
    "modernbert": {"global_attn_every_n_layers": 3, "local_attention": 4, "decoder_bias": True},
    "modernbert without a bias": {"global_attn_every_n_layers": 3, "local_attention": 4, "decoder_bias": False},
}  # fmt: skip
FAMILIES = list(OF_A_FAMILY)
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout": 0.0, "attention_dropout": 0.0
}  # fmt: skip


def config(family: str, layers: int = 4, vocabulary: int = 40, hidden: int = 8):
    shared = dict(vocab_size=vocabulary, pad_token_id=1, max_position_embeddings=30)
    if family == "distilbert":
        sizes = dict(dim=hidden, n_layers=layers, n_heads=2, hidden_dim=12)
    else:
        sizes = dict(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=12)
    return transformers.AutoConfig.for_model(
        family.split()[0], **{**shared, **sizes, **NO_DROPOUT, **OF_A_FAMILY[family]}
    )


def test_twelve_to_six_are_the_references_layers() -> None:
    assert spread(12, 6) == (0, 2, 4, 7, 9, 11)


@pytest.mark.parametrize(
    ("layers", "of", "kept"),
    [
        (3, 6, (0, 3, 5)),
        (2, 4, (0, 3)),
        (1, 2, (0,)),
        (4, 4, (0, 1, 2, 3)),
        (12, 24, (0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23)),
    ],
)
def test_spread(layers: int, of: int, kept: tuple[int, ...]) -> None:
    assert spread(of, layers) == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_student_holds_the_teachers_weights(family: str) -> None:
    teacher = from_config(config(family, layers=6), 0)
    student, kept = student_of(teacher)
    assert kept == (0, 3, 5)
    assert student.config.num_hidden_layers == 3
    assert type(student) is type(teacher)
    theirs, ours = teacher.state_dict(), student.state_dict()
    for name, weight in ours.items():
        for i, layer in enumerate(kept):
            if f".layer.{i}." in name or f".layers.{i}." in name:
                name = name.replace(f".layer.{i}.", f".layer.{layer}.").replace(f".layers.{i}.", f".layers.{layer}.")
                break
        assert torch.equal(weight, theirs[name]), name
    assert MaskedLM(student).weight is student.get_input_embeddings().weight
    assert teacher.config.num_hidden_layers == 6
    with torch.no_grad():
        next(iter(student.parameters())).add_(1)  # a copy, not the teacher's own
    assert not torch.equal(next(iter(student.parameters())), next(iter(teacher.parameters())))


def test_named_layers_and_those_that_are_not_there() -> None:
    teacher = from_config(config("camembert"), 0)
    assert student_of(teacher, (3, 1))[1] == (3, 1)
    for layers in ((0, 4), (1, 1), (-1,)):
        with pytest.raises(UsageError, match="layers 0 to 3"):
            student_of(teacher, layers)


def test_a_student_with_all_layers_is_the_teacher() -> None:
    teacher = from_config(config("bert"), 0).eval()
    student, _ = student_of(teacher, (0, 1, 2, 3))
    ids = torch.randint(5, 40, (2, 9))
    assert torch.equal(student.eval()(ids).logits, teacher(ids).logits)


def batch(ids: torch.Tensor, attention: torch.Tensor, labels: torch.Tensor) -> Batch:
    real, masked = attention.flatten().bool(), labels.flatten() != IGNORED
    order = torch.cat([(real & masked).nonzero()[:, 0], (real & ~masked).nonzero()[:, 0]])
    return Batch(ids, attention, order, labels.flatten()[order[: int(masked.sum())]])


@pytest.mark.parametrize("kl_rows", ["all", "masked"])
@pytest.mark.parametrize("family", FAMILIES)
def test_taken_apart_it_is_the_same_model(family: str, kl_rows: KlRows) -> None:
    """Loss and every parameter's gradient, through transformers' own forward pass and through ours."""
    teacher = from_config(config(family), 1).double().eval()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    student = student_of(teacher)[0].double()
    attention = torch.ones(3, 10, dtype=torch.long)
    attention[1, 6:] = 0
    ids = torch.where(attention.bool(), torch.randint(5, 40, (3, 10)), 1)
    labels = torch.where((torch.rand(3, 10) < 0.4) & attention.bool(), ids, IGNORED)
    labels[0, 3] = 7
    real, masked = int(attention.sum()), int((labels != IGNORED).sum())
    counts = LossParts(masked if kl_rows == "masked" else real, masked, real)
    weights = DistilRecipe(teacher="x").weights

    def outputs(model):
        found = model(input_ids=ids, attention_mask=attention, output_hidden_states=True)
        return found.hidden_states[-1], found.logits

    with torch.no_grad():
        target = outputs(teacher)
    loss, _ = plain(outputs(student), target, labels, attention.bool(), counts, weights, 2.0, kl_rows)
    loss.backward()
    wanted = {name: parameter.grad.clone() for name, parameter in student.named_parameters()}
    student.zero_grad()
    some = batch(ids, attention, labels)
    asked = Teacher(copy.deepcopy(teacher), torch.float64)(some, kl_rows)
    ours, _ = fast(MaskedLM(student)(some, kl_rows), asked, some.labels, counts, weights, 2.0, 7)
    ours.backward()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-12)
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("kl_rows", ["all", "masked"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_teacher_wholly_in_bf16_is_near(family: str, kl_rows: KlRows) -> None:
    """What it says is coarser, and the loss takes it as it is; the student keeps its own precision."""
    torch.manual_seed(0)
    teacher = from_config(config(family, hidden=32), 0).eval()
    student = MaskedLM(student_of(teacher)[0])
    ids = torch.randint(5, 40, (2, 9))
    attention = torch.ones_like(ids)
    attention[1, 6:] = 0
    some = batch(
        ids, attention, torch.where(torch.arange(9) % 3 == 0, ids, IGNORED) * attention + IGNORED * (1 - attention)
    )
    wanted = Teacher(copy.deepcopy(teacher), torch.float32)(some, kl_rows)
    whole = Teacher(teacher, torch.bfloat16, whole=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = whole(some, kl_rows)
        loss, parts = fast(
            student(some, kl_rows), found, some.labels, LossParts(9, 3, 15), DistilRecipe(teacher="x").weights, 2.0
        )
    loss.backward()
    assert {each.dtype for each in whole.model.parameters()} == {torch.bfloat16}
    assert found.hidden.dtype == found.features.dtype == found.weight.dtype == torch.bfloat16
    for name in ("hidden", "features"):
        near, exact = getattr(found, name).float(), getattr(wanted, name)
        assert 0 < float((near - exact).norm() / exact.norm()) < 0.02
    assert all(part.isfinite() for part in parts)
    assert {each.dtype for each in student.parameters()} == {torch.float32}


def test_only_in_bf16_is_a_teacher_whole() -> None:
    for low in (torch.float32, torch.float16):
        teacher = Teacher(from_config(config("camembert", hidden=32), 0), low, whole=True)
        assert teacher.model.network.get_input_embeddings().weight.dtype == torch.float32


def test_teacher_in_bf16_is_autocast_without_the_casts() -> None:
    teacher = from_config(config("camembert", hidden=32), 0).eval()
    ids = torch.randint(5, 40, (2, 9))
    some = batch(ids, torch.ones_like(ids), torch.full_like(ids, IGNORED))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = MaskedLM(copy.deepcopy(teacher))(some, "all").hidden
        found = Teacher(teacher, torch.bfloat16)(some, "all").hidden
    assert torch.equal(found, wanted)
    assert not found.requires_grad and not found.is_inference()


def test_an_unknown_family_is_refused() -> None:
    electra = transformers.ElectraForMaskedLM(
        transformers.ElectraConfig(
            vocab_size=40,
            embedding_size=8,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        )
    )
    with pytest.raises(ModelError, match="electra"):
        MaskedLM(electra)


@pytest.mark.parametrize(
    ("other", "reason"), [(dict(vocabulary=41), "vocabulary"), (dict(hidden=16), "hidden units"), ({}, "")]
)
def test_fit(other: dict[str, int], reason: str) -> None:
    teacher, student = from_config(config("camembert"), 0), from_config(config("camembert", layers=1, **other), 0)
    if not reason:
        check_fit(student, teacher, "s", LossWeights())
        return
    with pytest.raises(ModelError, match=reason):
        check_fit(student, teacher, "s", LossWeights())


def test_found_by_name(tmp_path: Path) -> None:
    tiny("camembert", tmp_path / "teacher", num_hidden_layers=4)
    tiny("camembert", tmp_path / "student", num_hidden_layers=1, seed=5)
    tiny("bert", tmp_path / "other", num_hidden_layers=1)
    teacher = str(tmp_path / "teacher")
    made = run.find(DistilRecipe(teacher=teacher), offline=True)
    assert made.layers == (0, 3) and made.refs["student"] is None
    assert made.refs["teacher"] == models.resolve(teacher).ref.model_dump()

    given = run.find(DistilRecipe(teacher=teacher, student=str(tmp_path / "student")), offline=True)
    own = models.load_masked_lm(models.resolve(str(tmp_path / "student")))
    assert given.layers == () and given.student.config.num_hidden_layers == 1
    assert all(torch.equal(a, b) for a, b in zip(given.student.parameters(), own.parameters(), strict=True))
    with pytest.raises(ModelError, match="vocabulary"):
        run.find(DistilRecipe(teacher=teacher, student=str(tmp_path / "other")), offline=True)
    with pytest.raises(UsageError, match="--teacher"):
        run.find(DistilRecipe(), offline=True)


def test_from_a_configuration_alone(tmp_path: Path) -> None:
    folder = tiny("camembert", tmp_path / "fresh", num_hidden_layers=3)
    (folder / "model.safetensors").unlink()
    one, two, other = (run.find(DistilRecipe(student=str(folder), seed=seed), offline=True) for seed in (1, 1, 2))
    assert one.teacher is None and one.student.config.num_hidden_layers == 3
    weights = [made.student.get_input_embeddings().weight.detach().numpy() for made in (one, two, other)]
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])
    (folder / "config.json").write_text("{}")
    with pytest.raises(FlueBenchError, match=r"config\.json"):
        run.find(DistilRecipe(student=str(folder)), offline=True)


def _other_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": config["intermediate_size"] + 8}))


def _not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _more_than_tensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"date": datetime.date(2026, 1, 1)}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_other_size, "not a complete masked LM: its checkpoint has no fitting weights for 6 tensors"),
        (_not_finite, "is not finite"),
        (_more_than_tensors, "holds more than tensors"),
    ],
)
def test_a_teacher_whose_weights_cannot_serve_is_refused(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    tiny("camembert", tmp_path)
    spoil(tmp_path)
    with pytest.raises(ModelError, match=said):
        run.find(DistilRecipe(teacher=str(tmp_path)), offline=True)


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    tiny("camembert", tmp_path, auto=transformers.AutoModel)
    with pytest.raises(ModelError, match="not a complete masked LM"):
        run.find(DistilRecipe(teacher=str(tmp_path)), offline=True)
