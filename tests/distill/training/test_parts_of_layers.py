"""What reads layers: HiddenLoss and RelationLoss by hand, against their plain forms, and in whole trainings."""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from flue_bench.errors import ModelError, UsageError
from flue_bench.progress import Console, Display
from flue_bench.training import checkpoint
from flue_bench.training.device import Device
from flue_distill.training import relations, run
from flue_distill.training.curves import curves
from flue_distill.training.data import Stream
from flue_distill.training.hidden import hidden_loss, layer_map
from flue_distill.training.log import LOG, read_log
from flue_distill.training.recipe import RECIPES, DistilRecipe, LossWeights
from flue_distill.training.result import DISTILLATION, card, course
from flue_distill.training.student import MaskedLM, Teacher, check_fit, from_config, student_of
from flue_distill.training.trainer import CHECKPOINTS, Objective
from support.distilling import RECIPE, VOCABULARY, data, distil, distil_among, teacher
from support.tiny import tiny

BOTH: dict[str, Any] = dict(weight_hidden=0.7, weight_relations=0.4, relation_heads=4)
EXACT: dict[str, Any] = dict(BOTH, batch_sequences=32, steps=4, learning_rate=1e-3)
SPAWN = multiprocessing.get_context("spawn")


# By hand.


def test_hidden_loss_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    other = torch.tensor([[1.0, 2.0, 3.0, 8.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    assert hidden_loss(student, other).item() == pytest.approx(4**2 / 4 + 1)


@pytest.mark.parametrize(
    ("teacher_layers", "student_layers", "mapped"),
    [(12, 6, (1, 3, 5, 7, 9, 11)), (12, 4, (2, 5, 8, 11)), (4, 2, (1, 3)), (5, 2, (2, 4)), (3, 3, (0, 1, 2))],
)
def test_each_layer_learns_from_the_last_it_stands_for(
    teacher_layers: int, student_layers: int, mapped: tuple[int, ...]
) -> None:
    assert layer_map(teacher_layers, student_layers) == mapped


ROOT = math.sqrt(math.log(3))


def by_hand() -> tuple[Tensor, Tensor, float]:
    """Two positions of one unit: the teacher's attend by (3/4, 1/4) and (1/2, 1/2), the student's by halves."""
    theirs = torch.tensor([[[ROOT], [0.0]]], dtype=torch.float64)
    return torch.zeros(1, 2, 1, dtype=torch.float64), theirs, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def test_relations_by_hand() -> None:
    ours, theirs, value = by_hand()
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    assert relations.plain(ours, theirs, 1, everywhere).item() == pytest.approx(value, abs=1e-15)
    assert relations.fast(ours, theirs, 1, None).item() == pytest.approx(value, abs=1e-15)
    # A second head in which both agree halves the mean over heads; a scale of √2 per unit undoes √d of two units.
    two = torch.cat([theirs, torch.zeros_like(theirs)], -1)
    assert relations.fast(torch.zeros_like(two), two, 2, None).item() == pytest.approx(value / 2, abs=1e-15)
    assert relations.fast(torch.zeros_like(two), two * 2**0.25, 1, None).item() == pytest.approx(value, abs=1e-15)


def test_gradient_of_relations_by_hand() -> None:
    # The teacher's are halves. The student's are x = (r, 0): q = (3/4, 1/4) and (1/2, 1/2), so that D = q - p has the
    # first row (1/4, -1/4), the second 0, and (D + Dᵀ) x = (2 · r / 4, -r / 4).
    theirs, ours, _ = by_hand()
    ours.requires_grad_()
    relations.fast(ours, theirs, 1, None).backward()
    assert ours.grad is not None
    assert ours.grad.flatten().tolist() == pytest.approx([ROOT / 2, -ROOT / 4])


# Against the plain form.


def agreement(real: Tensor, chunk: int | None, heads: int = 3) -> None:
    torch.manual_seed(0)
    batch, length = real.shape
    ours = torch.randn(batch, length, 12, dtype=torch.float64, requires_grad=True)
    theirs = torch.randn(batch, length, 6, dtype=torch.float64)
    slow = relations.plain(ours, theirs, heads, real)
    (wanted,) = torch.autograd.grad(3 * slow, ours)
    quick = relations.fast(ours, theirs, heads, None if real.all() else real, chunk)
    (found,) = torch.autograd.grad(3 * quick, ours)
    assert quick.item() == pytest.approx(slow.item(), rel=1e-12)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 7, None])
@pytest.mark.parametrize("ends", [(9, 9, 9, 9), (9, 5, 1, 8)])
def test_relations_fast_equals_plain(ends: tuple[int, ...], chunk: int | None) -> None:
    agreement(torch.arange(9) < torch.tensor(ends)[:, None], chunk)


def test_autograd_agrees_with_the_gradient_by_hand() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True), torch.randn(2, 5, 4, dtype=torch.float64)
    real = torch.tensor([[True] * 5, [True, False, True, True, False]])  # padding need not be at the end
    assert torch.autograd.gradcheck(lambda x: relations.fast(x, y, 2, real, 3), x)


def test_relations_take_memory_for_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = relations._log_relations

    def watched(x: Tensor, real: Tensor | None = None) -> Tensor:
        sizes.append(len(x) * x.shape[1] ** 2)
        return whole(x, real)

    monkeypatch.setattr(relations, "_log_relations", watched)
    monkeypatch.setitem(relations.CHUNK_VALUES, "cpu", 1000)
    relations.fast(torch.randn(8, 16, 12), torch.randn(8, 16, 12), 4, None)
    assert max(sizes) <= 1000 and sum(sizes) == 2 * 8 * 4 * 16**2


# In whole trainings.


def test_both_are_learned_and_told(tmp_path: Path) -> None:
    distil(tmp_path, dict(BOTH, steps=60, learning_rate=5e-3))
    steps = [line for line in read_log(tmp_path / LOG) if "loss" in line]
    for part in ("hidden", "relations"):
        assert np.mean([line[part] for line in steps[-10:]]) < 0.8 * np.mean([line[part] for line in steps[:10]])
    for line in steps:
        card = 0.5 * line["distil"] + 0.2 * line["mlm"] + 0.3 * line["cosine"]
        assert line["loss"] == pytest.approx(card + 0.7 * line["hidden"] + 0.4 * line["relations"])
    drawn = curves(read_log(tmp_path / LOG))
    assert ">hidden<" in drawn and ">relations<" in drawn
    told = "\n".join(course(read_log(tmp_path / LOG)))
    assert "HiddenLoss: " in told and "RelationLoss: " in told


def test_without_weight_nothing_knows_of_them(tmp_path: Path) -> None:
    distil(tmp_path, dict(steps=2))
    log = read_log(tmp_path / LOG)
    assert not any({"hidden", "relations"} & line.keys() for line in log)
    assert ">hidden<" not in curves(log)
    newest = checkpoint.steps(tmp_path / CHECKPOINTS)[-1]
    state = checkpoint.load(newest)
    assert state is not None and "of_layers" not in state


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    network = teacher(0.0)
    student = MaskedLM(student_of(network, (0, 1, 2, 3))[0])
    recipe = DistilRecipe(**RECIPE, **BOTH)
    taught = Teacher(network, torch.float32)
    objective = Objective(student, taught, recipe)
    ((_, batch), *_), counts = Stream(data(), recipe).step(0)
    _, parts = objective(batch, taught(batch, "all"), counts)
    assert objective.parts == ("distil", "mlm", "cosine", "hidden", "relations")
    assert parts[3:].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert student.seen == {} == taught.model.seen  # nothing is kept beyond its step


def test_cut_into_micro_batches_it_is_the_same_step(tmp_path: Path) -> None:
    settings = EXACT | dict(max_grad_norm=0.1)
    wanted, _ = distil(tmp_path / "1", settings | dict(micro_batch=32), dropout=0.0, dtype=torch.float64)
    found, _ = distil(tmp_path / "4", settings | dict(micro_batch=7), dropout=0.0, dtype=torch.float64)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-10)
    one, four = (read_log(tmp_path / which / LOG) for which in "14")
    for a, b in zip(one, four, strict=True):
        if "loss" in a:
            keys = ("loss", "hidden", "relations", "gradient_norm")
            assert [b[key] for key in keys] == pytest.approx([a[key] for key in keys], abs=1e-10)


def test_two_processes_are_one(tmp_path: Path) -> None:
    wanted, _ = distil(tmp_path / "1", EXACT | dict(micro_batch=16), dtype=torch.float64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "2"
    settings = EXACT | dict(micro_batch=8)
    several = [SPAWN.Process(target=distil_among, args=(rank, 2, port, folder, settings)) for rank in range(2)]
    for process in several:
        process.start()
    for process in several:
        process.join(300)
        assert process.exitcode == 0
    found = np.load(folder / "weights.npz")
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-10)


def test_resumed_to_the_bit_projection_and_all(tmp_path: Path) -> None:
    settings = dict(BOTH, steps=8)
    whole, _ = distil(tmp_path / "whole", settings)

    def stop(step: int, *_: object) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(tmp_path / "cut", settings, show=stop)
    state = checkpoint.load(checkpoint.steps(tmp_path / "cut" / CHECKPOINTS)[-1])
    assert state is not None
    projection = state["of_layers"]["hidden.projection"]
    assert projection.shape == (16, 16) and not torch.equal(projection, torch.eye(16))
    moments = [value for value in state["optimizer"]["state"].values() if value["exp_avg"].shape == (16, 16)]
    assert moments and all(value["exp_avg"].abs().max() > 0 for value in moments)
    found, _ = distil(tmp_path / "cut", settings)
    assert all(np.array_equal(found[name], whole[name]) for name in whole)
    with pytest.raises(UsageError, match="weight_hidden"):
        distil(tmp_path / "cut", dict(BOTH, steps=8, weight_hidden=0.6))


def test_bf16_is_near(tmp_path: Path) -> None:
    distil(tmp_path / "32", dict(BOTH, steps=3), dropout=0.0)
    here = Device(torch.device("cpu"), "bf16", "")
    distil(tmp_path / "16", dict(BOTH, steps=3, precision="bf16"), dropout=0.0, device=here)
    for a, b in zip(*(read_log(tmp_path / each / LOG) for each in ("32", "16")), strict=True):
        for key in {"hidden", "relations"} & a.keys():
            assert b[key] == pytest.approx(a[key], rel=0.05, abs=2e-4)


def test_a_loss_scale_multiplies_all_gradients() -> None:
    network = teacher(0.0)
    recipe = DistilRecipe(**RECIPE, **BOTH)
    taught = Teacher(network, torch.float32)
    objective = Objective(MaskedLM(student_of(network)[0]), taught, recipe)
    ((_, batch), *_), counts = Stream(data(), recipe).step(0)
    found = []
    for scale in (None, torch.tensor(1024.0)):
        loss, parts = objective(batch, taught(batch, "all"), counts, scale)
        loss.backward()
        found.append([each.grad.clone() for each in objective.parameters()])  # type: ignore[union-attr]
        objective.zero_grad()
        assert loss.item() == pytest.approx(
            (1024 if scale else 1) * objective.loss(dict(zip(objective.parts, parts.tolist(), strict=True))), rel=1e-6
        )
    for once, scaled in zip(*found, strict=True):
        assert torch.equal(once * 1024, scaled)  # a power of two: no bit but the exponent's


# What a recipe says.


def test_recipes_that_do_without_them_say_nothing_of_them() -> None:
    for path in RECIPES.glob("*.toml"):
        said = DistilRecipe.load(str(path), {}).model_dump(mode="json")
        assert not [name for name in said if "hidden" in name or "relation" in name], path
    assert DistilRecipe(teacher="t").weights.model_dump() == {"distil": 0.5, "mlm": 0.2, "cosine": 0.3}
    said = DistilRecipe(teacher="t", weight_relations=1, relation_layer=0).model_dump(mode="json")
    assert said["relation_layer"] == 0 and "relation_heads" not in said and "weight_hidden" not in said


def test_a_committed_students_recipe_reads_back_as_it_was_written() -> None:
    folder = Path(run.__file__).parents[3]
    made = [*folder.glob("results/distillation/*.json"), *folder.glob("flue_bench/embedded/*/distillation.json")]
    recipes = [json.loads(path.read_text())["recipe"] for path in made]
    assert len(recipes) >= 4
    for recipe in recipes:
        assert DistilRecipe.model_validate(recipe).model_dump(mode="json") == recipe


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (dict(weight_hidden=1), "there is no teacher"),
        (dict(weight_relations=1), "there is no teacher"),
        (dict(teacher="t", hidden_layers="1,3"), "weight_hidden is meant, which is 0"),
        (dict(teacher="t", relation_heads=2), "weight_relations is meant, which is 0"),
        (dict(teacher="t", relation_layer=0), "weight_relations is meant, which is 0"),
        (dict(teacher="t", weight_hidden=-1), "weight_hidden"),
        (dict(teacher="t", weight_relations=1, relation_heads=0), "relation_heads"),
        (dict(teacher="t", weight_distil=0, weight_mlm=0, weight_cosine=0), "all weights of the loss are 0"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        DistilRecipe.load(None, settings)
    with pytest.raises(UsageError) as error:  # what somebody sets on a recipe is no fault of the recipe's file
        DistilRecipe.load("demo", {"teacher": None, **settings})
    assert "demo.toml" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            dict(weight_hidden=1, hidden_layers=(0, 1, 2)),
            r"hidden_layers 0,1,2: .* for each of the student's 2",
        ),
        (dict(weight_hidden=1, hidden_layers=(0, 4)), "hidden_layers 0,4"),
        (dict(weight_relations=1, relation_layer=4), "relation_layer 4: the teacher has layers 0 to 3"),
        (dict(weight_relations=1, relation_heads=5), "relation_heads 5: the student's 16 hidden units"),
    ],
)
def test_what_does_not_fit_the_models_is_refused(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        distil(tmp_path, dict(settings, steps=1))
    assert not (tmp_path / CHECKPOINTS).exists()


def test_relations_or_hidden_states_alone_are_a_recipe(tmp_path: Path) -> None:
    alone = dict(weight_distil=0, weight_mlm=0, weight_cosine=0, steps=30, learning_rate=5e-3)
    for part in ("hidden", "relations"):
        distil(tmp_path / part, alone | {f"weight_{part}": 1.0})
        steps = [line for line in read_log(tmp_path / part / LOG) if "loss" in line]
        assert all(line["loss"] == pytest.approx(line[part]) for line in steps)
        assert np.mean([line[part] for line in steps[-5:]]) < np.mean([line[part] for line in steps[:5]])


# From the command's door: another width, another family.


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    tiny("camembert", folder / "teacher", num_hidden_layers=4)
    tiny("camembert", folder / "narrow", num_hidden_layers=2, hidden_size=16, seed=3)
    return folder


def made_by(work: Path, out: Path, **settings: Any) -> dict[str, Any]:
    recipe = DistilRecipe(
        teacher=str(work / "teacher"), length=16, batch_sequences=4, micro_batch=4, steps=3, **settings
    )
    assert run.distil(recipe, None, out, Display(Console(quiet=True)), device="cpu", offline=True)
    made: dict[str, Any] = json.loads((out / DISTILLATION).read_text())
    return made


def test_a_narrower_student_learns_through_projection_and_relations(work: Path, tmp_path: Path) -> None:
    student = str(work / "narrow")
    made = made_by(work, tmp_path / "s", student=student, weight_cosine=0, weight_hidden=0.5, weight_relations=0.25)
    assert made["weights"] == {"distil": 0.5, "mlm": 0.2, "cosine": 0.0, "hidden": 0.5, "relations": 0.25}
    assert made["losses"]["train"].keys() == {"loss", "distil", "mlm", "cosine", "hidden", "relations"}
    assert "+ 0.5 · HiddenLoss + 0.25 · RelationLoss" in card(made)
    saved = load_file(tmp_path / "s" / "model.safetensors")
    assert not [name for name in saved if "projection" in name]
    with pytest.raises(ModelError, match=r"16 hidden units, the teacher 32, .* --set weight_cosine=0"):
        made_by(work, tmp_path / "no", student=student, weight_hidden=0.5)
    recipe = DistilRecipe.model_validate(made["recipe"] | {"weight_hidden": 0})
    with pytest.raises(UsageError, match=r"finished run with weight_hidden 0\.5, not 0"):
        run.distil(recipe, None, tmp_path / "s", Display(Console(quiet=True)), resume=True)


def test_weights_of_a_wider_student_start_orthonormal() -> None:
    def of(width: int) -> Any:
        config = transformers.BertConfig(
            vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
        )
        return from_config(config, 0)

    recipe = DistilRecipe(teacher="t", weight_hidden=1, weight_cosine=0)
    for width in (8, 24):
        objective = Objective(MaskedLM(of(width)), Teacher(of(16), torch.float32), recipe)
        matrix = objective.of_layers["hidden"].projection
        assert matrix.shape == (16, width)
        small = matrix @ matrix.T if width > 16 else matrix.T @ matrix
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-6, rtol=0)


def test_as_many_outputs_are_needed_by_distil_loss_alone() -> None:
    small, large = (teacher(), teacher())
    large.resize_token_embeddings(48)
    with pytest.raises(ModelError, match="--set weight_distil=0"):
        check_fit(large, small, "s", LossWeights())
    check_fit(large, small, "s", LossWeights(distil=0, hidden=1))
