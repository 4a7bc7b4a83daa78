"""Distillation from end to end: it learns, the batch may be cut at will, and a kill costs nothing but time."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from filelock import FileLock

from flue_bench.errors import (
    DataError,
    DeviceError,
    FlueBenchError,
    RecordError,
    UnknownNameError,
    UsageError,
)
from flue_bench.progress import Console, Display
from flue_bench.training import checkpoint, models
from flue_distill.corpus import demo
from flue_distill.training import run
from flue_distill.training.curves import curves
from flue_distill.training.data import Stream
from flue_distill.training.log import LOG, read_log
from flue_distill.training.recipe import RECIPES, DistilRecipe, LossWeights
from flue_distill.training.result import DISTILLATION, card, course
from flue_distill.training.student import MaskedLM, Teacher
from flue_distill.training.trainer import CHECKPOINTS, evaluate, processes
from support.command_line import done, flue_bench, refused, started
from support.distilling import CPU, RECIPE, SPECIAL, data, distil, distil_among, distil_and_save, teacher
from support.tiny import SENTENCES, tiny

SPAWN = multiprocessing.get_context("spawn")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# What it computes.


def test_loss_falls_and_the_student_comes_nearer(tmp_path: Path) -> None:
    _, trained = distil(tmp_path, dict(steps=60, learning_rate=5e-3, evaluate_steps=30))
    log = read_log(tmp_path / LOG)
    steps = [line for line in log if "loss" in line]
    looks = [line["held_out"] for line in log if "held_out" in line]
    assert [line["step"] for line in steps] == list(range(1, 61))
    assert len(looks) == 3
    for part in ("loss", "mlm", "cosine"):
        assert np.mean([line[part] for line in steps[-10:]]) < np.mean([line[part] for line in steps[:10]])
    assert looks[-1]["mlm"] < looks[0]["mlm"]
    for line in steps:
        assert line["loss"] == pytest.approx(0.5 * line["distil"] + 0.2 * line["mlm"] + 0.3 * line["cosine"])
    assert trained.tokens == 60 * 8 * 16 and trained.steps == 60
    assert "<svg" in curves(log) and "nan" not in curves(log)


def test_without_a_teacher_it_is_mlm_alone(tmp_path: Path) -> None:
    distil(tmp_path, dict(teacher=None, steps=40, learning_rate=1e-2))
    steps = [line for line in read_log(tmp_path / LOG) if "loss" in line]
    assert all(line["loss"] == line["mlm"] and line["distil"] == line["cosine"] == 0 for line in steps)
    assert read_log(tmp_path / LOG)[-1]["held_out"].keys() == {"mlm"}
    assert np.mean([line["mlm"] for line in steps[-5:]]) < np.mean([line["mlm"] for line in steps[:5]]) - 0.3


def test_held_out_scores_by_hand() -> None:
    network = teacher(0.0)
    model = MaskedLM(network)
    recipe = DistilRecipe(**RECIPE)
    scores = evaluate(model, Teacher(network, torch.float32), Stream(data(), recipe), processes("cpu"), CPU)
    assert scores["top1"] == 1 and scores["kl"] == pytest.approx(0, abs=1e-6)
    total, n = 0.0, 0
    for batch in Stream(data(), recipe).held_out():
        logits = network(batch.ids).logits.flatten(0, 1)[batch.real[: len(batch.labels)]]
        total += torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").item()
        n += len(batch.labels)
    assert n == 10 * 3  # ceil(0.15 · 16) of each of ten sequences
    assert scores["mlm"] == pytest.approx(total / n, rel=1e-5)


def test_float64_sums_cannot_be_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DeviceError, match="use cpu or cuda"):
        processes("mps")


def test_every_sequence_once_an_epoch() -> None:
    stream = Stream(data(), DistilRecipe(**RECIPE, replace_mask=0, replace_random=0))
    rows = [tuple(row.tolist()) for step in range(10) for _, batch in stream.step(step)[0] for row in batch.ids]
    assert sorted(rows) == sorted(tuple(row.tolist()) for row in data().train)
    again = [tuple(row.tolist()) for step in range(10, 20) for _, batch in stream.step(step)[0] for row in batch.ids]
    assert sorted(again) == sorted(rows) and again != rows


def test_processes_share_a_step_without_overlap() -> None:
    recipe = DistilRecipe(**{**RECIPE, "batch_sequences": 7})
    whole, counts = Stream(data(), recipe).step(5)
    parts = [Stream(data(), recipe, rank, 3).step(5) for rank in range(3)]
    assert torch.equal(
        torch.cat([batch.ids for _, batch in whole]), torch.cat([batch.ids for part, _ in parts for _, batch in part])
    )
    assert tuple(counts) == tuple(map(sum, zip(*(mine for _, mine in parts), strict=True)))
    assert all(not set(batch.labels.tolist()) & SPECIAL for _, batch in whole)


# However the batch is cut.


@pytest.mark.parametrize("kl_rows", ["all", "masked"])
def test_one_large_batch_equals_sixteen_by_four(tmp_path: Path, kl_rows: str) -> None:
    wanted, _ = distil(tmp_path / "1", exact(64, kl_rows), dtype=torch.float64)
    found, _ = distil(tmp_path / "4", exact(16, kl_rows), dtype=torch.float64)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-10)
    one, four = (read_log(tmp_path / which / LOG) for which in "14")
    for a, b in zip(one, four, strict=True):
        if "loss" in a:
            assert [b[k] for k in ("loss", "distil", "mlm", "cosine", "gradient_norm")] == pytest.approx(
                [a[k] for k in ("loss", "distil", "mlm", "cosine", "gradient_norm")], abs=1e-10
            )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    wanted, _ = distil(tmp_path / "1", exact(64, "all"), dtype=torch.float64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        SPAWN.Process(target=distil_among, args=(rank, 2, port, tmp_path / "2", exact(16, "all"))) for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0, 0]
    with np.load(tmp_path / "2" / "weights.npz") as found:
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-10)
    logs = [[line for line in read_log(tmp_path / which / LOG) if "loss" in line] for which in "12"]
    assert len(logs[1]) == 3  # written by one process
    for a, b in zip(*logs, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-10)


def exact(micro_batch: int, kl_rows: str) -> dict[str, object]:
    return dict(steps=3, batch_sequences=64, micro_batch=micro_batch, kl_rows=kl_rows, warmup_ratio=0.0)


# Whatever happens to the process.


def killed(folder: Path, settings: dict[str, object], die_at: int | None = None, at_step: int = 0) -> None:
    """Run, and be killed: while writing a checkpoint, or once some step is checkpointed."""
    process = SPAWN.Process(target=distil_and_save, args=(folder, settings, die_at))
    process.start()
    deadline = time.monotonic() + 120
    while at_step and process.is_alive() and time.monotonic() < deadline:
        if checkpoint.steps(folder / CHECKPOINTS)[-1:] >= [folder / CHECKPOINTS / f"step-{at_step:09}"]:
            process.kill()
        time.sleep(0.005)
    process.join(120)
    assert process.exitcode == -9


@pytest.mark.robustness
def test_killed_and_resumed_to_the_bit(tmp_path: Path) -> None:
    settings: dict[str, object] = dict(steps=30, checkpoint_seconds=0)
    wanted, whole = distil(tmp_path / "whole", settings)
    folder = tmp_path / "killed"
    killed(folder, settings, die_at=6)
    assert [path.name for path in checkpoint.steps(folder / CHECKPOINTS)] == ["step-000000004", "step-000000005"]
    killed(folder, settings, at_step=12)
    found, resumed = distil(folder, settings)
    assert resumed.resumed == 2 and resumed.tokens == whole.tokens
    assert same(found, wanted)

    def curve(where: Path) -> list[tuple[int, float]]:
        return [(line["step"], line["loss"]) for line in read_log(where / LOG) if "loss" in line]

    assert curve(folder) == curve(tmp_path / "whole")
    left = sorted(path.name for path in (folder / CHECKPOINTS).iterdir())
    assert left == ["lock", "step-000000029", "step-000000030"]  # rotated, and nothing half written


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    wanted, _ = distil(tmp_path, dict(steps=3))
    log = read_log(tmp_path / LOG)
    found, trained = distil(tmp_path, dict(steps=3))
    assert same(found, wanted) and trained.steps == 3
    assert read_log(tmp_path / LOG) == log


def test_ctrl_c_ends_the_step_and_keeps_it(tmp_path: Path) -> None:
    settings: dict[str, object] = dict(steps=12)
    wanted, _ = distil(tmp_path / "whole", settings)

    def interrupt(step: int, *_: object) -> None:
        if step == 5:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        distil(tmp_path / "cut", settings, show=interrupt)
    assert [path.name for path in checkpoint.steps(tmp_path / "cut" / CHECKPOINTS)] == ["step-000000005"]
    found, trained = distil(tmp_path / "cut", settings)
    assert trained.resumed == 1 and same(found, wanted)


def test_two_do_not_train_into_one_folder(tmp_path: Path) -> None:
    """As when a job is begun again while the one before still runs."""
    settings = {"steps": 2}
    (tmp_path / CHECKPOINTS).mkdir()
    with FileLock(tmp_path / CHECKPOINTS / "lock"), pytest.raises(UsageError, match="Another process is training into"):
        distil(tmp_path, settings)
    assert distil(tmp_path, settings)[1].steps == 2


def test_where_the_disk_has_no_locks_it_trains_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / CHECKPOINTS).mkdir()
    (tmp_path / CHECKPOINTS / "lock").touch()
    told: list[str] = []
    assert distil(tmp_path, {"steps": 2}, tell=told.append)[1].steps == 2
    assert len(told) == 1 and "no locks (Function not implemented)" in told[0]


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    distil(tmp_path, dict(steps=3))
    with pytest.raises(UsageError, match="belongs to another run"):
        distil(tmp_path, dict(steps=3, temperature=1.0))


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = torch.save, 0

    def full(state: object, file: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise OSError(28, "No space left on device")
        save(state, file)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "save", full)
    settings: dict[str, object] = dict(steps=6, checkpoint_seconds=0)
    with pytest.raises(RecordError, match="No space left"):
        distil(tmp_path / "full", settings)
    assert [path.name for path in checkpoint.steps(tmp_path / "full" / CHECKPOINTS)][-1] == "step-000000003"
    found, _ = distil(tmp_path / "full", settings)
    assert same(found, distil(tmp_path / "whole", settings)[0])


def test_rotation_keeps_the_newest_and_clears_what_is_half_written(tmp_path: Path) -> None:
    assert checkpoint.steps(tmp_path) == []
    for step in (5, 10, 200):
        checkpoint.save_step(tmp_path, step, {"step": step})
        (tmp_path / f"step-{step + 1:09}").mkdir()
        (tmp_path / f"step-{step + 1:09}" / "checkpoint.pt.1.tmp").write_bytes(b"half")
        assert checkpoint.load(checkpoint.steps(tmp_path)[-1]) == {"step": step}
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-000000010", "step-000000200"]
    checkpoint.save_step(tmp_path, 300, {"step": 300}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000300"]


# From names to a folder.


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and a corpus."""
    from flue_distill.corpus.shards import build

    folder = tmp_path_factory.mktemp("distil")
    tiny("camembert", folder / "teacher", num_hidden_layers=4)
    (folder / "texts.txt").write_text("\n\n".join(" ".join(SENTENCES[i : i + 4]) for i in range(120)))
    tokenizer = models.load_tokenizer(models.resolve(str(folder / "teacher")))
    build([folder / "texts.txt"], tokenizer, folder / "corpus", processes=1, held_out=0.1)
    return folder


def carry_out(
    work: Path, out: Path, *, device: str = "cpu", resume: bool = False, compiled: bool = False, **settings: object
) -> bool:
    small = dict(teacher=str(work / "teacher"), length=24, batch_sequences=8, micro_batch=4, steps=6, precision="fp32")
    recipe = DistilRecipe.load("laptop", small | settings)
    return run.distil(
        recipe, work / "corpus", out, Display(Console(quiet=True)), device="cpu", resume=resume, offline=True
    )


def test_the_result_loads_everywhere(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    assert carry_out(work, out)
    model = transformers.AutoModelForMaskedLM.from_pretrained(out)
    assert model.config.num_hidden_layers == 2
    guesses = transformers.pipeline("fill-mask", model=str(out))("Ça, c'est une <mask> que le garde vend.")
    assert len(guesses) == 5
    resolved = models.resolve(str(out))
    assert models.load_tokenizer(resolved).mask_token == "<mask>"
    assert resolved.tokenizer_digest == models.resolve(str(out)).tokenizer_digest

    made = json.loads((out / DISTILLATION).read_text())
    teacher_ref = models.resolve(str(work / "teacher")).ref
    assert made["teacher"] == teacher_ref.model_dump()
    assert DistilRecipe.model_validate(made["recipe"]).kl_rows == "masked"
    assert made["layers"] == [0, 3] and made["weights"] == LossWeights().model_dump()
    assert made["corpus"]["digest"] == json.loads((work / "corpus" / "manifest.json").read_text())["digest"]
    assert made["losses"]["held_out"].keys() == {"mlm", "top1", "kl"}
    assert made["cost"]["steps"] == 6 and made["cost"]["tokens"] == 6 * 8 * 24
    assert made["recipe"]["teacher"] == "teacher"  # a path of this machine is nobody's business
    for path in (path for path in out.iterdir() if path.suffix != ".safetensors"):
        assert str(work) not in path.read_text() and str(tmp_path) not in path.read_text(), path

    from huggingface_hub import ModelCard

    shown = ModelCard.load(out / "README.md")
    assert shown.data.pipeline_tag == "fill-mask" and shown.data.language == "fr"
    assert "0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss" in shown.text
    assert (out / "curves.svg").read_text().startswith("<svg")
    assert not (out / CHECKPOINTS).exists()

    assert not carry_out(work, out, resume=True)  # finished: nothing to do
    with pytest.raises(UsageError, match=r"holds a finished run with steps 6, not 7: give another folder"):
        carry_out(work, out, resume=True, steps=7)
    with pytest.raises(UsageError, match="not empty"):
        carry_out(work, out)


def test_another_corpus_or_teacher_is_not_what_was_finished(work: Path, tmp_path: Path) -> None:
    """By content: the same files under another name are the same; what is gone is needed no more."""
    out = tmp_path / "student"
    carry_out(work, out)
    shutil.copytree(work / "teacher", tmp_path / "same")
    assert not carry_out(work, out, resume=True, teacher=str(tmp_path / "same"))
    other = tiny("camembert", tmp_path / "other", num_hidden_layers=4, seed=7)
    with pytest.raises(UsageError, match=r"finished run with weights of the teacher [0-9a-f]+, not [0-9a-f]+: give"):
        carry_out(work, out, resume=True, teacher=str(other))
    assert not carry_out(work, out, resume=True, teacher=str(tmp_path / "gone"))
    manifest = work / "corpus" / "manifest.json"
    text = manifest.read_text()
    try:
        manifest.write_text(text.replace(json.loads(text)["digest"], "0123456789abcdef"))
        with pytest.raises(UsageError, match=r"finished run with corpus [0-9a-f]{16}, not 0123456789abcdef"):
            carry_out(work, out, resume=True)
    finally:
        manifest.write_text(text)
    assert not carry_out(work, out, resume=True)
    made = json.loads((out / DISTILLATION).read_text())
    made["recipe"]["weight_new"] = 0.5  # by a later version
    (out / DISTILLATION).write_text(json.dumps(made))
    with pytest.raises(UsageError, match=r"finished run with weight_new 0\.5, which this version does not know: give"):
        carry_out(work, out, resume=True)
    made = json.loads((out / DISTILLATION).read_text())
    for damaged in (made | {"corpus": []}, made | {"recipe": 5}, [made]):
        (out / DISTILLATION).write_text(json.dumps(damaged))
        with pytest.raises(RecordError, match=r"distillation\.json: cannot be read .* give another --out"):
            carry_out(work, out, resume=True)


def test_a_resumed_run_without_a_checkpoint_says_that_it_begins_again(tmp_path: Path) -> None:
    told: list[str] = []
    distil(tmp_path, dict(steps=3))
    for path in checkpoint.steps(tmp_path / CHECKPOINTS):
        checkpoint.drop(path)
    _, trained = distil(tmp_path, dict(steps=3), tell=told.append)
    assert trained.steps == 3 and trained.resumed == 0
    assert told == [f"{tmp_path / CHECKPOINTS} holds no checkpoint: from the start, although step 3 was done."]


def test_begun_and_resumed_by_name(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(work, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            run.result, "write", lambda *_: (_ for _ in ()).throw(RecordError("killed before the student is written"))
        )
        with pytest.raises(RecordError):
            carry_out(work, tmp_path / "cut")
    with pytest.raises(UsageError, match="--resume"):
        carry_out(work, tmp_path / "cut")
    assert carry_out(work, tmp_path / "cut", resume=True)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_a_teacher_made_from_a_configuration(work: Path, tmp_path: Path) -> None:
    fresh = tiny("camembert", tmp_path / "fresh", num_hidden_layers=1)
    (fresh / "model.safetensors").unlink()
    out = tmp_path / "small"
    assert carry_out(work, out, teacher=None, student=str(fresh))
    made = json.loads((out / DISTILLATION).read_text())
    assert made["teacher"] is None and made["weights"] == {"distil": 0, "mlm": 1, "cosine": 0}
    assert "MLMLoss alone" in (out / "README.md").read_text()
    assert models.resolve(str(out)).config.num_hidden_layers == 1


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "compiled"), [("fp32", False), ("bf16", False), ("bf16", True)])
def test_on_a_gpu(work: Path, tmp_path: Path, precision: str, compiled: bool) -> None:
    carry_out(work, tmp_path / "cpu", kl_rows="all")
    AcceleratorState._reset_state(reset_partial_state=True)  # one process is one device, but for this test
    try:
        carry_out(work, tmp_path / "gpu", device="cuda", compiled=compiled, kl_rows="all", precision=precision)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    cpu, gpu = (read_log(tmp_path / which / LOG) for which in ("cpu", "gpu"))
    assert gpu[0]["held_out"]["mlm"] == pytest.approx(cpu[0]["held_out"]["mlm"], rel=2e-2)  # no dropout there
    assert gpu[1]["loss"] == pytest.approx(cpu[1]["loss"], rel=0.1)  # dropout draws other numbers
    assert models.resolve(str(tmp_path / "gpu")).config.num_hidden_layers == 2


def test_what_cannot_be_done_is_said(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most"):
        carry_out(work, tmp_path / "a", length=5000)
    tiny("bert", tmp_path / "bert")
    with pytest.raises(FlueBenchError, match="tokenizer"):
        carry_out(work, tmp_path / "a", teacher=str(tmp_path / "bert"))
    with pytest.raises(UsageError, match="no unfinished run"):
        carry_out(work, work / "teacher", resume=True)
    assert not (tmp_path / "a").exists()


def test_a_card_shows_texts_literally(work: Path, tmp_path: Path) -> None:
    carry_out(work, tmp_path / "out")
    made = json.loads((tmp_path / "out" / DISTILLATION).read_text())
    hostile = "x`)\n\n# [Note](https://evil.example) <script>\n"
    made["corpus"]["digest"] = made["environment"]["device"] = made["teacher"]["name"] = hostile
    text = card(made)
    assert not any(line.startswith("# [") for line in text.splitlines())
    assert r"x\`)  \# \[Note\](https://evil.example) \<script\> , fp32" in text  # the device
    assert text.count("`` x`)  # [Note](https://evil.example) <script>  ``") == 2


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_a_token_beyond_the_vocabulary_is_told(split: str, work: Path, tmp_path: Path) -> None:
    copied = tmp_path / "work"
    shutil.copytree(work, copied)
    shard = copied / "corpus" / f"{split}-00000.bin"
    shard.write_bytes(b"\xff\xff" * (shard.stat().st_size // 2))
    with pytest.raises(DataError, match=r"holds token 65535, and its tokenizer has \d+: damaged"):
        carry_out(copied, tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "value"), [("cls", 10**6), ("cls", -1), ("sep", -1), ("sep", 10**30), ("vocab_size", 7), ("vocab_size", -7)]
)
def test_a_corpus_of_other_special_tokens_is_refused(key: str, value: int, work: Path, tmp_path: Path) -> None:
    copied = tmp_path / "work"
    shutil.copytree(work, copied)
    manifest = copied / "corpus" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["plan"]["tokenizer"][key] = value
    manifest.write_text(json.dumps(content))
    with pytest.raises(DataError, match="other tokens at the ends of a text"):
        carry_out(copied, tmp_path / "out")


# Recipes and the command.


def test_shipped_recipes() -> None:
    assert {path.stem for path in RECIPES.glob("*.toml")} == {"demo", "distilcamembert", "laptop"}
    reference = DistilRecipe.load("distilcamembert", {})
    defaults = DistilRecipe(teacher="almanach/camembert-base", layers=(0, 2, 4, 7, 9, 11))
    assert reference == defaults  # the file spells the defaults out
    assert reference.weights == LossWeights(distil=0.5, mlm=0.2, cosine=0.3)
    assert DistilRecipe.load("laptop", {}).kl_rows == "masked"


def test_settings_are_parsed_and_checked(tmp_path: Path) -> None:
    recipe = DistilRecipe.load(None, {"teacher": "t", "layers": "0,3", "betas": "0.8,0.9", "steps": "7", "eps": "1e-8"})
    assert recipe.layers == (0, 3) and recipe.betas == (0.8, 0.9) and recipe.steps == 7 and recipe.eps == 1e-8
    assert recipe.batch_tokens == 250 * 512
    assert DistilRecipe().weights == LossWeights(distil=0, mlm=1, cosine=0)
    file = tmp_path / "mine.toml"
    for content, settings, error, message in [
        ("temprature = 1", {}, UnknownNameError, r"temperature.*mine\.toml"),
        ("temperature = -1", {}, UsageError, r"mine\.toml: recipe field 'temperature' cannot be -1"),
        ("", {"kl_rows": "some"}, UsageError, "'kl_rows' cannot be 'some'"),
        ("", {"layers": "0,1"}, UsageError, "no teacher"),
        ("", {"replace_mask": "0.95"}, UsageError, "at most 1 together"),
        ("x =", {}, UsageError, "not TOML"),
        ("layers = " + "[" * 100_000, {}, UsageError, "not TOML"),
    ]:
        file.write_text(content)
        with pytest.raises(error, match=message):
            DistilRecipe.load(str(file), settings)
    with pytest.raises(UsageError, match="cannot be read"):
        DistilRecipe.load(str(tmp_path / "absent.toml"), {})
    with pytest.raises(UnknownNameError, match="distilcamembert"):
        DistilRecipe.load("distilcamember", {})


def test_the_command(work: Path, tmp_path: Path) -> None:
    small = [f"--set={pair}" for pair in ("length=24", "batch_sequences=4", "micro_batch=4", "precision=fp32")]
    out = tmp_path / "student"
    words = ["laptop", f"--teacher={work / 'teacher'}", f"--corpus={work / 'corpus'}", f"--out={out}", "--device=cpu"]
    words += ["--offline", *small]
    begun = flue_bench("distill", *words, "--steps=2", "--resume")  # nothing is there, and it says so
    assert begun.code == 0 and "yet: it begins at the first step" in " ".join((begun.out + begun.err).split())
    assert (out / DISTILLATION).exists()
    done("distill", *words, "--steps=2", "--resume")
    for wrong, message in [(["--epochs=1", "--steps=1"], "one or the other"), (["--set=x"], "KEY=VALUE")]:
        assert message in refused("distill", *words, *wrong)
    for wrong in (["laptop"], ["laptop", f"--out={out}"], [f"--corpus={work / 'corpus'}"]):
        assert "--corpus FOLDER" in refused("distill", *wrong)


# The demonstration.

DEMO = [
    "--teacher=embedded:untrained", "--offline", "--device=cpu", "--set=precision=fp32", "--set=batch_sequences=8",
    "--set=evaluate_sequences=8",
]  # fmt: skip


def demonstrate(*words: str) -> str:
    """What the command says, in this process."""
    said = flue_bench("distill", *DEMO, *words)
    assert said.code == 0, said
    return said.out + said.err


@pytest.mark.slow
def test_without_arguments_a_student_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = demonstrate("--steps=6")
    for part in ("DistilLoss", "MLMLoss", "CosineLoss", "Held out, top-1 agreement with the teacher"):
        assert re.search(rf"^{part}: \d+\.\d+ → \d+\.\d+", said, re.MULTILINE), said
    assert re.search(
        r"^Step 1 of 6: loss \d.* = 0\.5 · .* \(distil\) \+ 0\.2 · .* \+ 0\.3 · .* \(cosine\)$", said, re.M
    )
    assert "flue-bench run --model embedded:untrained --model student --task mini" in said
    student = models.resolve("student")
    assert student.ref.teacher == models.resolve("embedded:untrained").ref.digest
    assert student.config.num_hidden_layers == 1
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    assert "not empty: --resume continues" in refused("distill", *DEMO, "--steps=6")
    assert "already finished" in demonstrate("--steps=6", "--resume")


@pytest.mark.robustness
@pytest.mark.slow
def test_an_interrupted_demonstration_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "ici"
    words = ["--steps=60", f"--out={out}"]
    with started("distill", *DEMO, *words, cwd=tmp_path) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if line.startswith("Step 1 of 60"):
                break
        begun.send_signal(signal.SIGINT)
        said = begun.stderr.read()
        assert begun.wait(60) == 130
    assert "the same command with --resume continues" in said and "Traceback" not in said
    at = int(checkpoint.steps(out / CHECKPOINTS)[-1].name.removeprefix("step-"))
    assert 0 < at < 60
    said = demonstrate(*words, "--resume", "--set=learning_rate=1e-4")
    assert f"Step {at + 1} of 60: loss" in said and f"From step {at} on: learning_rate 0.0001, not 0.001" in said
    made = json.loads((out / DISTILLATION).read_text())
    assert made["cost"]["resumed"] == 1 and made["recipe"]["learning_rate"] == 1e-4
    assert made["changes"] == [{"step": at, "field": "learning_rate", "before": 1e-3, "after": 1e-4}]


def test_the_text_of_the_demonstration() -> None:
    text = demo.TEXT.read_text(encoding="utf-8")
    paragraphs = text.split("\n\n")
    assert len(text.encode()) < 400_000 and len(set(paragraphs)) == len(paragraphs) > 500
    sentences = re.findall(r"\w[^.?]+[.?]", text)
    assert len(set(sentences)) > 0.95 * len(sentences)
    assert DistilRecipe.load("demo", {}).teacher == "embedded:teacher"


def test_the_course_of_a_training_is_told() -> None:
    log = [{"step": 0, "held_out": {"mlm": 8.0}}]
    log += [{"step": n, "loss": 1.0, "distil": 10.0 - n, "mlm": 1.0, "cosine": 0.0} for n in range(1, 5)]
    log += [{"step": 4, "held_out": {"mlm": 6.0}}]
    assert list(course(log)) == [
        "DistilLoss: 8.500 → 6.500 (mean of the first and of the last 2 steps)",
        "MLMLoss: 1.000 → 1.000 (mean of the first and of the last 2 steps)",
        "Held out, MLMLoss: 8.000 → 6.000",
    ]
