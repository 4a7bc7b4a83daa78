"""Checkpoints of a training as models: found by a pattern, in natural order, with what their files say of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments

import flue_bench
from flue_bench.data import model_names
from flue_bench.data.model_files import named
from flue_bench.errors import UsageError
from flue_bench.record import Training
from flue_bench.training import models
from support.command_line import in_a_process, refused
from support.hub_standin import StandIn, folder_files, tiny_camembert

EMBEDDED = model_names.EMBEDDED / "untrained"


def checkpoint(folder: Path, name: str, **said: Any) -> Path:
    shutil.copytree(EMBEDDED, folder / name)
    for file, content in said.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name / f"{file}.json").write_text(text, encoding="utf-8")
    return folder / name


def test_a_pattern_is_spelt_out_in_natural_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1000, 900, 20):
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-notes.txt").write_text("")
    (tmp_path / "odd[1]").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    inside = [f"out/checkpoint-{step}" for step in (20, 900, 1000)]
    assert named(["org/name@v1", "out/checkpoint-*", "out/checkpoint-20", "embedded:student"]) == [
        "org/name@v1", *inside, "embedded:student",
    ]  # fmt: skip
    assert named(["out/checkpoint-[29]*"]) == inside[:2] and named(["odd[1]"]) == ["odd[1]"]
    assert named(["~/out/checkpoint-?0"]) == [str(tmp_path / "out/checkpoint-20")]
    with pytest.raises(UsageError, match=r"'out/step-\*': no folder here fits"):
        named(["out/step-*"])
    assert "no folder here fits" in refused("run", "-m", "out/step-*", "-t", "mini-cls")
    assert "no folder here fits" in refused("speed", "-m", "out/step-*")


def test_a_name_with_brackets_is_a_pattern_only_where_they_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("odd[1]", "odd1", "odd[1]/step-1", "odd[1]/step-2", "odd1/step-3", "a*b", "axb", "what?", "open[x"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "file-1").write_text("")
    # A folder of exactly this name, whatever else it would fit as a pattern.
    assert named(["odd[1]", "a*b", "what?", "open[x"]) == ["odd[1]", "a*b", "what?", "open[x"]
    assert named(["a?b"]) == ["a*b", "axb"] and named(["odd[12]"]) == ["odd1"] and named(["odd[!2]"]) == ["odd1"]
    # So do folders on the way: it is not odd1 that is looked into.
    assert named(["odd[1]/step-*"]) == ["odd[1]/step-1", "odd[1]/step-2"]
    assert named([f"{tmp_path}/odd[1]/step-[2]"]) == [f"{tmp_path}/odd[1]/step-2"]
    assert named(["odd[0-9]/step-*"]) == ["odd1/step-3"]
    # No pattern: a name, which is looked for as such.
    plain = ["a[b", "a]b", "a[]", "a[/b]", "]a[", "a\x1b[31m/b"]
    assert named(plain) == plain
    for pattern in ("file-*", "file-[1]", "odd[3]", "org/name[x]", "x?", "a\x1b[31m]\n*"):
        with pytest.raises(UsageError) as error:
            named([pattern])
        assert str(error.value).startswith(
            f"{pattern!r}: no folder here fits this pattern, and none has it for a name."
        )


MADE = {"recipe": {"seed": 0}, "cost": {"steps": 40, "tokens": 5120}}
STATE = {"global_step": 500, "max_steps": 1000, "num_train_epochs": 3, "train_batch_size": 8, "save_steps": 500}


@pytest.mark.parametrize(
    ("said", "step", "tokens"),
    [
        ({"trainer_state": STATE | {"num_input_tokens_seen": 12_345}}, 500, 12_345),
        ({"trainer_state": STATE | {"num_input_tokens_seen": 0}}, 500, None),  # what Trainer writes if it did not count
        ({"distillation": MADE}, 40, 5120),
        ({"distillation": MADE, "trainer_state": STATE}, 40, 5120),
    ],
)  # fmt: skip
def test_its_files_say_how_far_it_had_come(said: Any, step: int, tokens: int | None, tmp_path: Path) -> None:
    training = models.resolve(str(checkpoint(tmp_path / "essai", "checkpoint-500", **said))).ref.training
    assert training is not None and (training.name, training.step, training.tokens) == ("essai", step, tokens)
    elsewhere = models.resolve(str(checkpoint(tmp_path / "b" / "essai", "checkpoint-7", **said))).ref.training
    assert elsewhere == training  # where it lies is no part of it
    assert models.resolve(str(EMBEDDED)).ref.digest == models.resolve(str(tmp_path / "essai/checkpoint-500")).ref.digest


@pytest.mark.parametrize(
    "said",
    [
        {}, {"trainer_state": "{"}, {"trainer_state": "[1]"}, {"trainer_state": {}},
        {"trainer_state": {"global_step": -1}}, {"trainer_state": {"global_step": "many"}},
        {"trainer_state": {"global_step": 10**40}}, {"distillation": {"cost": 3}}, {"distillation": {"cost": {}}},
        {"trainer_state": '{"global_step": 1, "max_steps": ' + "[" * 5000 + "]" * 5000 + "}"},
    ],
)  # fmt: skip
def test_what_they_do_not_say_is_unknown(said: Any, tmp_path: Path) -> None:
    assert models.resolve(str(checkpoint(tmp_path, "checkpoint-500", **said))).ref.training is None


def test_trainings_with_other_settings_are_others(tmp_path: Path) -> None:
    states = [STATE, STATE | {"global_step": 1000}, STATE | {"train_batch_size": 16}]
    folders = [checkpoint(tmp_path / "out", f"checkpoint-{i}", trainer_state=state) for i, state in enumerate(states)]
    digests = [training.digest for folder in folders if (training := models.resolve(str(folder)).ref.training)]
    assert digests[0] == digests[1] != digests[2]


def test_checkpoints_of_transformers_trainer_are_rows_and_a_curve(tmp_path: Path) -> None:
    start = tiny_camembert(tmp_path / "tiny")
    tokenizer, model = AutoTokenizer.from_pretrained(start), AutoModelForMaskedLM.from_pretrained(start)
    row = tokenizer("Le chat dort sur le tapis.", return_tensors="pt")
    example = {"input_ids": row["input_ids"][0], "labels": row["input_ids"][0]}
    asked = TrainingArguments(
        str(tmp_path / "essai"), max_steps=4, save_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        include_num_input_tokens_seen="all", disable_tqdm=True, logging_steps=1, log_level="error",
    )  # fmt: skip
    trainer = Trainer(model, asked, train_dataset=[example] * 8, processing_class=tokenizer)
    assert isinstance(trainer.model, nn.Module)
    trainer.train()
    made = flue_bench.run(
        str(tmp_path / "essai" / "checkpoint-*"), "mini-cls", limit=12, overrides={"epochs": 1}, device="cpu",
        results=tmp_path / "results", progress=False,
    )  # fmt: skip
    trainings = [record.cell.model.training for record in made]
    seen = 2 * 2 * len(example["input_ids"])
    assert all(isinstance(training, Training) and training.name == "essai" for training in trainings)
    assert [(t.step, t.tokens) for t in trainings if t] == [(2, seen), (4, 2 * seen)]
    assert "tokens read" in flue_bench.build_board(tmp_path / "results").svg()


def test_revisions_of_a_repository_are_rows_and_a_curve(tmp_path: Path) -> None:
    weights = {"step-2": EMBEDDED, "step-4": model_names.EMBEDDED / "student"}
    steps = {
        name: folder_files(folder) | {"trainer_state.json": json.dumps(STATE | {"global_step": int(name[-1])}).encode()}
        for name, folder in weights.items()
    }
    for files in steps.values():
        files.pop("distillation.json", None)  # that of embedded:student is of another training
    with StandIn() as hub:
        hub.add_repo("org/essai", "model", steps["step-4"], revisions=steps)
        words = ["run", "-m", "org/essai@step-2", "-m", "org/essai@step-4", "-t", "mini-cls", "--limit", "12"]
        words += ["--set", "epochs=1", "--precision", "fp32", "--device", "cpu", "--results", "results"]
        said = in_a_process(*words, cwd=tmp_path, env=hub.env(tmp_path))
    assert said.returncode == 0, said.stderr
    found = list(flue_bench.read_results(tmp_path / "results"))
    assert len({record.cell.model.revision for record in found}) == 2
    assert sorted(training.step for record in found if (training := record.cell.model.training)) == [2, 4]
    drawn = flue_bench.build_board(tmp_path / "results").svg()
    assert "optimiser steps" in drawn and "org/essai (" in drawn
