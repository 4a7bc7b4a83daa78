"""The front door of distillation: what its commands do, from Python."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

import flue_distill
from flue_bench.errors import UnknownNameError, UsageError
from flue_distill.training import result, run
from support import process
from support.command_line import done

SMALL: dict[str, Any] = {
    "steps": 2,
    "overrides": {"length": 32, "batch_sequences": 4, "micro_batch": 4, "evaluate_sequences": 4},
    "device": "cpu",
    "progress": False,
}
HEAVY = ("torch", "transformers", "accelerate", "pydantic", "numpy", "rich", "typer")


def texts(folder: Path) -> Path:
    """A file of two hundred short documents."""
    file = folder / "textes.txt"
    lines = [f"Le document numéro {i} parle de la rue {i * i} et de ses {i % 7} maisons basses." for i in range(200)]
    file.write_text("\n\n".join(lines), encoding="utf-8")
    return file


def calls(folder: Path) -> dict[str, Callable[[], object]]:
    """A call of each public function; each of them may be made again."""
    return {
        "build_corpus": lambda: flue_distill.build_corpus(
            texts(folder), "embedded:teacher", folder / "corpus", processes=1, progress=False
        ),
        "build_corpus_part": lambda: flue_distill.build_corpus_part(
            texts(folder), "embedded:teacher", folder / "parts", 1, 1, processes=1, progress=False
        ),
        "merge_corpus": lambda: flue_distill.merge_corpus(folder / "parts", processes=1, progress=False),
        "distill": lambda: flue_distill.distill(
            flue_distill.DistilRecipe(teacher="embedded:teacher"),
            corpus=folder / "corpus",
            out=folder / "student",
            resume=True,
            **SMALL,
        ),
    }


def test_the_surface_is_sorted_and_light() -> None:
    assert flue_distill.__all__ == sorted(flue_distill.__all__) and set(flue_distill.__all__) <= set(dir(flue_distill))
    for name in flue_distill.__all__:
        assert getattr(flue_distill, name).__doc__, name
    functions = {name for name in flue_distill.__all__ if isinstance(getattr(flue_distill, name), types.FunctionType)}
    assert functions == set(calls(Path()))
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        flue_distill.distil  # type: ignore[attr-defined]  # noqa: B018
    program = f"import flue_distill, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == ""


@pytest.mark.slow
def test_each_can_be_called_twice_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in pkgutil.walk_packages(flue_distill.__path__, "flue_distill."):
        importlib.import_module(module.name)
    monkeypatch.setattr("flue_bench.memory.keep_freed_memory", lambda: pytest.fail("the allocator is the caller's"))
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="bf16")  # the caller's own training, with other settings than ours
    kept = dict(AcceleratorState._shared_state)
    for name, call in calls(tmp_path).items():
        torch.manual_seed(7)
        before = process.state()
        once, again = call(), call()
        assert type(once) is type(again), name
        assert not process.changes(before), name
    assert dict(AcceleratorState._shared_state) == kept
    assert isinstance(again, flue_distill.Distilled) and again.was_finished and not once.was_finished  # type: ignore[attr-defined]
    assert again.made["cost"]["steps"] == 2 and again.made == once.made  # type: ignore[attr-defined]
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.slow
def test_the_command_makes_the_same_student(tmp_path: Path) -> None:
    manifest = calls(tmp_path)["build_corpus"]()
    made = calls(tmp_path)["distill"]()
    done("corpus", texts(tmp_path), "-t", "embedded:teacher", "-o", tmp_path / "same", "--processes", "1")
    settings = [word for key, value in SMALL["overrides"].items() for word in ("--set", f"{key}={value}")]
    words = (
        "--teacher",
        "embedded:teacher",
        "--corpus",
        tmp_path / "same",
        "--out",
        tmp_path / "other",
        "--steps",
        "2",
    )
    done("distill", *words, *settings, "--device", "cpu")
    assert isinstance(made, flue_distill.Distilled)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (made.folder / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    assert (tmp_path / "corpus" / "manifest.json").read_text() == (tmp_path / "same" / "manifest.json").read_text()
    assert manifest.documents > 150  # type: ignore[attr-defined]


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --corpus"):
        flue_distill.distill("laptop", out=tmp_path / "out", progress=False)
    with pytest.raises(UsageError, match="one or the other"):
        flue_distill.distill(steps=1, epochs=1, out=tmp_path / "out", progress=False)
    with pytest.raises(UnknownNameError, match="Did you mean temperature"):
        flue_distill.distill(out=tmp_path / "out", overrides={"temperatur": 1}, progress=False)
    recipe = flue_distill.DistilRecipe(teacher="embedded:teacher")
    with pytest.raises(UnknownNameError, match="Did you mean length"):
        flue_distill.distill(recipe, corpus=tmp_path, out=tmp_path / "out", overrides={"lenght": 1}, progress=False)
    with pytest.raises(UsageError, match="'length' cannot be 3"):
        flue_distill.distill(recipe, corpus=tmp_path, out=tmp_path / "out", overrides={"length": 3}, progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"teacher": "t", "student": "s", "overrides": {"layers": "0,1"}}, "--student has its own: leave one out"),
        ({"student": "s", "overrides": {"weight_distil": 0.9}}, "weight_distil says how to learn from a teacher"),
        ({"student": "s", "overrides": {"weight_cosine": "0.1"}}, "weight_cosine says how to learn from a teacher"),
        ({"student": "s", "overrides": {"temperature": 3}}, "temperature says how to learn from a teacher"),
        ({"student": "s", "overrides": {"kl_rows": "masked"}}, "kl_rows says how to learn from a teacher"),
        ({"student": "s", "overrides": {"weight_mlm": 0}}, "without --teacher there is no other part"),
        ({"teacher": "", "student": "s"}, "Model '' is neither a folder"),  # as of a variable that is not set
        ({"teacher": "t", "steps": 1, "overrides": {"epochs": 2}}, "one or the other"),
        ({"teacher": "t", "epochs": 1, "overrides": {"steps": 2}}, "one or the other"),
        ({"teacher": "t", "overrides": {"steps": 2, "epochs": 2}}, "one or the other"),
    ],
)
def test_fields_that_would_change_nothing_are_refused(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    for resume in (False, True):  # of a folder that is not there: it begins
        with pytest.raises(UsageError, match=said):
            flue_distill.distill(corpus=tmp_path, out=tmp_path / "out", progress=False, resume=resume, **asked)


@pytest.mark.parametrize(
    ("recipe", "asked", "steps"),
    [
        ("demo", {}, 130),
        ("demo", {"epochs": 2}, None),
        ("demo", {"overrides": {"epochs": 2}}, None),
        ("demo", {"steps": 5}, 5),
        ("laptop", {"student": "s"}, None),
        ("laptop", {"student": "s", "overrides": {"weight_distil": 0, "weight_cosine": 0}}, None),
        ("distilcamembert", {"student": "s"}, None),
    ],
)
def test_epochs_are_instead_of_a_recipes_steps_however_they_are_named(
    recipe: str, asked: dict[str, Any], steps: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flue_bench.data import model_names
    from flue_distill.training import run

    class Enough(Exception):
        pass

    def seen(chosen: flue_distill.DistilRecipe, *_: Any, **__: Any) -> None:
        assert chosen.steps == steps and (chosen.epochs == 2) == ("epochs" in str(asked))
        raise Enough

    monkeypatch.setattr(model_names, "check", lambda names: None)
    monkeypatch.setattr(run, "distil", seen)
    with pytest.raises(Enough):
        flue_distill.distill(recipe, corpus=tmp_path, out=tmp_path / "out", progress=False, **asked)


def test_students_saved_on_the_way_are_models_that_say_how_far_they_had_come(tmp_path: Path) -> None:
    import flue_bench
    from flue_bench.training import models

    asked: dict[str, Any] = {"teacher": "embedded:teacher", **SMALL, "steps": 4}
    flue_distill.build_corpus(texts(tmp_path), "embedded:teacher", tmp_path / "corpus", processes=1, progress=False)
    plain = flue_distill.distill(corpus=tmp_path / "corpus", out=tmp_path / "plain", **asked)
    saved = flue_distill.distill(corpus=tmp_path / "corpus", out=tmp_path / "saved", save_every=2, **asked)
    weights = [models.resolve(str(each.folder)).ref.digest for each in (plain, saved)]
    assert weights[0] == weights[1]  # saving on the way changes nothing
    on_the_way = [models.resolve(str(saved.folder / f"checkpoint-{step}")).ref for step in (2, 4)]
    assert on_the_way[1].digest == weights[1] != on_the_way[0].digest
    last = models.resolve(str(saved.folder)).ref
    for ref, step in zip((*on_the_way, last), (2, 4, 4), strict=True):
        assert ref.training is not None and ref.training.name == "saved" and ref.training.step == step
        assert ref.training.digest == (last.training and last.training.digest) and ref.teacher == last.teacher
    assert last.training is not None and last.training.tokens == saved.made["cost"]["tokens"]
    assert {path.name for path in saved.folder.glob("checkpoint*")} == {"checkpoint-2", "checkpoint-4"}

    options: dict[str, Any] = {"limit": 12, "overrides": {"epochs": 1}, "device": "cpu", "progress": False}
    # It is a model for transformers, and one to go on from, with the same weights.
    second = saved.folder / "checkpoint-2"
    network = AutoModelForMaskedLM.from_pretrained(second)
    wanted = load_file(second / "model.safetensors")
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in wanted.items()) and wanted
    assert AutoTokenizer.from_pretrained(second)("Bonjour à tous.")["input_ids"]
    found = run.find(flue_distill.DistilRecipe(teacher="embedded:teacher", student=str(second)), offline=True)
    assert all(torch.equal(found.student.state_dict()[name], tensor) for name, tensor in wanted.items())
    on = flue_distill.distill(corpus=tmp_path / "corpus", out=tmp_path / "on", student=second, **asked)
    assert on.made["student"]["name"] == "checkpoint-2" and on.made["student"]["digest"] == on_the_way[0].digest
    assert on.made["recipe"]["student"] == "checkpoint-2" and on.made["layers"] == []  # a path is no identity
    before = on.made["losses"]["held_out_before"]["mlm"]
    assert before < saved.made["losses"]["held_out_before"]["mlm"]  # it had learnt something

    made = flue_bench.run(str(saved.folder / "checkpoint-*"), "mini-cls", results=tmp_path / "results", **options)
    assert [record.cell.model.name for record in made] == ["checkpoint-2", "checkpoint-4"]
    assert "tokens read" in flue_bench.build_board(made).svg()
    with pytest.raises(UsageError, match="save_every 0"):
        flue_distill.distill(corpus=tmp_path / "corpus", out=tmp_path / "none", save_every=0, **asked)


def test_a_student_saved_on_the_way_is_not_written_again(tmp_path: Path) -> None:
    """A resumed training comes by again; whoever has scored the student finds what was scored, also on a GPU."""
    asked: dict[str, Any] = SMALL | {"steps": 4, "save_every": 1}

    def stop(folder: Path, *_: object) -> None:
        if folder.name == "checkpoint-3":
            raise KeyboardInterrupt  # no checkpoint of the training holds this step

    with pytest.MonkeyPatch.context() as patch:
        save = result.save
        patch.setattr(result, "save", lambda *given: (save(*given), stop(*given)))
        with pytest.raises(KeyboardInterrupt):
            flue_distill.distill(out=tmp_path / "out", **asked)

    def written() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in (tmp_path / "out").glob("checkpoint-*")}

    before = written()
    assert {*before} == {"checkpoint-1", "checkpoint-2", "checkpoint-3"}
    (tmp_path / "out" / "checkpoint-2" / "distillation.json").write_text("{}")  # not what this training writes
    flue_distill.distill(out=tmp_path / "out", resume=True, **asked)
    after = written()
    assert {name for name, inode in before.items() if after[name] != inode} == {"checkpoint-2"}
    made = json.loads((tmp_path / "out" / "checkpoint-2" / "distillation.json").read_text())
    assert made["cost"]["steps"] == 2 and {*after} == {f"checkpoint-{step}" for step in (1, 2, 3, 4)}
