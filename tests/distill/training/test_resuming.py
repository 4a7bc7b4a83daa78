"""What days of training meet: other settings, steps that are not finite, long logs, machines that disagree."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flue_bench.errors import ModelError, UsageError
from flue_bench.training import checkpoint
from flue_distill.training import log, objective, trainer
from flue_distill.training.curves import POINTS, Curves
from flue_distill.training.log import LOG, read_log
from flue_distill.training.student import MaskedLM
from flue_distill.training.trainer import CHECKPOINTS, PAGE, Trained
from support.command_line import started
from support.distilling import distil, left_alone, refused_among

SPAWN = multiprocessing.get_context("spawn")
Weights = dict[str, np.ndarray[Any, Any]]


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def cut_at(folder: Path, at: int, settings: dict[str, Any], **more: Any) -> None:
    """Begin a training, and send it SIGTERM after a step."""

    def stop(step: int, *_: object) -> None:
        if step == at:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        distil(folder, settings, show=stop, **more)


# Other settings on the way.

STEPS: dict[str, Any] = dict(steps=8, learning_rate=1e-2)


@pytest.mark.parametrize(
    "free", [dict(checkpoint_seconds=0.0), dict(evaluate_steps=3), dict(evaluate_sequences=4), dict(evaluate_steps=1)]
)
def test_what_moves_no_weight_may_differ_and_moves_no_bit(free: dict[str, Any], tmp_path: Path) -> None:
    whole, _ = distil(tmp_path / "whole", STEPS)
    cut_at(tmp_path / "cut", 4, STEPS)
    found, trained = distil(tmp_path / "cut", STEPS | free)
    assert same(found, whole) and trained.resumed == 1 and trained.changes == ()


def test_compiling_from_here_on_is_told_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_at(tmp_path, 4, STEPS)
    monkeypatch.setattr(MaskedLM, "compiled", property(lambda _: True))
    monkeypatch.setattr(objective, "_compiled", lambda _: objective.descend)  # a CPU compiles nothing
    told: list[str] = []
    _, trained = distil(tmp_path, STEPS, tell=told.append)
    assert trained.changes == ({"step": 4, "field": "compile", "before": False, "after": True},)
    assert told == ["From step 4 on: compile True, not False. distillation.json says so."]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8])
def test_micro_batch_may_differ_and_only_rounding_does(micro_batch: int, tmp_path: Path) -> None:
    """With dropout: its draws are keyed by the row, so that in float64 nothing else can be seen."""
    whole, _ = distil(tmp_path / "whole", STEPS, dtype=torch.float64)
    cut_at(tmp_path / "cut", 4, STEPS, dtype=torch.float64)
    told: list[str] = []
    other = STEPS | dict(micro_batch=micro_batch)
    found, trained = distil(tmp_path / "cut", other, dtype=torch.float64, tell=told.append)
    for name in whole:
        np.testing.assert_allclose(found[name], whole[name], rtol=0, atol=1e-10)
    assert trained.changes == ({"step": 4, "field": "micro_batch", "before": 4, "after": micro_batch},)
    assert told == [f"From step 4 on: micro_batch {micro_batch}, not 4. distillation.json says so."]


def test_another_learning_rate_has_to_be_asked_for(tmp_path: Path) -> None:
    cut_at(tmp_path, 4, STEPS)
    slower = STEPS | dict(learning_rate=1e-3)
    named = r"\(learning_rate 0.01\)\. Resume .* with, or change them on the way by --set learning_rate=0\.001, or give"
    with pytest.raises(UsageError, match=f"belongs to another run {named}"):
        distil(tmp_path, slower)
    with pytest.raises(UsageError, match=r"started with, or give"):  # where that is not all
        distil(tmp_path, slower | dict(temperature=3.0))
    with pytest.raises(UsageError, match=r"temperature 2\.0, not 3\.0"):  # and not everything can be
        distil(tmp_path, slower | dict(temperature=3.0), asked={"learning_rate", "temperature"})
    cut_at(tmp_path, 6, slower, asked={"learning_rate"})
    with pytest.raises(UsageError, match=r"belongs to another run \(learning_rate 0.001\)"):  # now that is the run's
        distil(tmp_path, STEPS)
    _, trained = distil(tmp_path, slower)
    assert trained.changes == ({"step": 4, "field": "learning_rate", "before": 0.01, "after": 0.001},)
    rates = [line["learning_rate"] for line in read_log(tmp_path / LOG) if "loss" in line]
    assert len(rates) == 8 and rates[4] == pytest.approx(1e-3 * 4 / 8) and rates[3] == pytest.approx(1e-2 * 5 / 8)


def test_what_a_later_version_has_added_is_not_left_out_without_a_word(tmp_path: Path) -> None:
    cut_at(tmp_path, 4, STEPS)
    path = checkpoint.steps(tmp_path / CHECKPOINTS)[-1]
    state = checkpoint.load(path)
    assert state is not None
    state["recipe"]["weight_new"] = 0.5
    checkpoint.save(path, state)
    with pytest.raises(UsageError, match=r"another run \(weight_new 0\.5, which this version does not know\)"):
        distil(tmp_path, STEPS)


def test_a_checkpoint_that_says_nothing_of_its_recipe_is_refused(tmp_path: Path) -> None:
    cut_at(tmp_path, 4, STEPS)
    path = checkpoint.steps(tmp_path / CHECKPOINTS)[-1]
    state = checkpoint.load(path)
    assert state is not None
    del state["recipe"]
    checkpoint.save(path, state)
    with pytest.raises(UsageError, match="of another version"):
        distil(tmp_path, STEPS)


# Steps that are not finite.


def breaking(monkeypatch: pytest.MonkeyPatch, *steps: int, only_gradient: bool = False) -> None:
    """Make these steps not finite, of two micro-batches each."""
    real, calls = trainer.Objective.forward, 0

    def forward(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        loss, parts = real(self, *arguments)
        if (calls + 1) // 2 in steps:
            return loss * float("nan"), parts if only_gradient else parts * float("nan")
        return loss, parts

    monkeypatch.setattr(trainer.Objective, "forward", forward)


@pytest.mark.parametrize("only_gradient", [False, True])
def test_a_step_that_is_not_finite_leaves_no_trace(
    only_gradient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Weights] = []
    student: list[Any] = []
    real = trainer.Objective.__init__

    def noted(self: Any, network: Any, *others: Any) -> None:
        student.append(network)
        real(self, network, *others)

    def keep(_: Trained) -> None:
        held.append({name: each.detach().numpy().copy() for name, each in student[0].named_parameters()})

    monkeypatch.setattr(trainer.Objective, "__init__", noted)
    breaking(monkeypatch, 3, only_gradient=only_gradient)
    told: list[str] = []
    _, trained = distil(tmp_path, STEPS, tell=told.append, keep=keep, save_every=1)
    assert same(held[2], held[1]) and not same(held[3], held[2])
    assert trained.skipped == 1 and trained.steps == 8
    assert all(value.all() for value in ({k: np.isfinite(v) for k, v in held[-1].items()}).values())
    assert [line["step"] for line in read_log(tmp_path / LOG) if "loss" in line] == [1, 2, 4, 5, 6, 7, 8]
    (left,) = [line for line in read_log(tmp_path / LOG) if "not_finite" in line]
    assert left["step"] == 3 and left["gradient_norm"] == "nan"
    assert len(told) == 1 and re.match(r"Step 3 of 8 is not finite \(distil .*gradient norm nan\): left out", told[0])
    json.loads((tmp_path / LOG).read_text().splitlines()[3], parse_constant=lambda what: pytest.fail(what))


def test_the_optimiser_counts_no_step_that_it_did_not_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, 2, 5)
    distil(tmp_path, STEPS | dict(checkpoint_seconds=0))
    state = checkpoint.load(checkpoint.steps(tmp_path / CHECKPOINTS)[-1])
    assert state is not None and state["skipped"] == 2
    assert {float(each["step"]) for each in state["optimizer"]["state"].values()} == {6.0}


def test_a_run_with_such_steps_is_resumed_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        breaking(patch, 3)
        whole, _ = distil(tmp_path / "whole", STEPS)
    with monkeypatch.context() as patch:
        breaking(patch, 3)
        cut_at(tmp_path / "cut", 4, STEPS)
    found, trained = distil(tmp_path / "cut", STEPS)
    assert same(found, whole) and (trained.skipped, trained.resumed) == (1, 1)


def test_many_in_a_row_stop_it_and_the_advice_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = STEPS | dict(steps=40, checkpoint_seconds=0)
    with monkeypatch.context() as patch:
        breaking(patch, *range(7, 41))
        with pytest.raises(ModelError) as stopped:
            distil(tmp_path, settings)
    assert re.fullmatch(
        r"20 steps in a row not finite, the last at step 26 of 40 \(.*mlm nan.*\): left out of the weights\.\n"
        r"The last good checkpoint is .*step-000000006: go on with --resume and a lower --set learning_rate "
        r"\(now 0\.01\)\.",
        str(stopped.value),
    )
    state = checkpoint.load(checkpoint.steps(tmp_path / CHECKPOINTS)[-1])
    assert state is not None and state["step"] == 6
    assert all(value.isfinite().all() for value in state["network"].values())
    _, trained = distil(tmp_path, settings | dict(learning_rate=5e-3), asked={"learning_rate"})
    assert trained.steps == 40 and [each["step"] for each in trained.changes] == [6]
    assert [line["step"] for line in read_log(tmp_path / LOG) if "loss" in line] == list(range(1, 41))


def test_a_last_step_that_is_not_finite_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, 8)
    with pytest.raises(ModelError, match="1 step in a row not finite, the last at step 8 of 8"):
        distil(tmp_path, STEPS)


# A log of many steps.


def long_log(path: Path, steps: int) -> None:
    numbers = '"loss": 1.5, "distil": 1.0, "mlm": 2.0, "cosine": 0.5, "learning_rate": 0.0005, "gradient_norm": 0.1'
    with path.open("w") as file:
        for step in range(1, steps + 1):
            file.write(f'{{"step": {step}, {numbers}}}\n')
            if step % 1000 == 0:
                file.write(f'{{"step": {step}, "held_out": {{"mlm": 2.0}}}}\n')


@pytest.mark.parametrize("step", [0, 1, 123_456, 199_990, 199_999, 200_000, 10**9])
def test_a_log_is_cut_at_a_step(step: int, tmp_path: Path) -> None:
    path = tmp_path / LOG
    long_log(path, 200_000)
    wanted = [text for text in path.read_bytes().splitlines(True) if json.loads(text)["step"] <= step]
    with path.open("ab") as file:
        file.write(b'{"step": 200001, "loss": 1.')  # cut short by a kill
    log.cut(path, step)
    assert path.read_bytes() == b"".join(wanted if step else [])


def test_only_the_end_of_a_log_is_read_to_cut_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, parsed = tmp_path / LOG, 0
    long_log(path, 766_000)
    real = log._parsed

    def counting(text: bytes) -> Any:
        nonlocal parsed
        parsed += 1
        return real(text)

    monkeypatch.setattr(log, "_parsed", counting)
    log.cut(path, 765_900)
    assert parsed < 1000
    assert path.read_bytes().splitlines()[-1].startswith(b'{"step": 765900, ')


def test_a_log_that_is_a_link_is_not_cut(tmp_path: Path) -> None:
    long_log(tmp_path / "other", 5)
    (tmp_path / LOG).symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        log.cut(tmp_path / LOG, 1)
    assert len(read_log(tmp_path / "other")) == 5


def test_curves_of_many_steps_have_few_points() -> None:
    drawn = Curves()
    for step in range(1, 100_001):
        drawn.add({"step": step, **dict.fromkeys(("loss", "distil", "mlm", "cosine", "learning_rate"), 1.0)})
    assert len(drawn.draw()) < 100 * 5 * POINTS


def test_the_curves_are_a_page_that_reloads_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "PAGE_SECONDS", 0.0)
    pages: list[str] = []
    distil(tmp_path, STEPS, show=lambda *_: pages.append((tmp_path / PAGE).read_text()))
    assert len(set(pages)) == 8 and all("<svg" in page and 'http-equiv="refresh"' in page for page in pages)


# Processes that do not belong together.


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def together(folders: list[Path], settings: list[dict[str, Any]]) -> list[str]:
    port = free_port()
    for folder in folders:
        folder.mkdir(exist_ok=True)
    processes = [
        SPAWN.Process(target=refused_among, args=(rank, len(folders), port, folders, settings))
        for rank in range(len(folders))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [(folder / f"told-{rank}").read_text() for rank, folder in enumerate(folders)]


@pytest.mark.slow
def test_processes_with_folders_of_their_own_are_told(tmp_path: Path) -> None:
    """Each has a checkpoint, of another step: they would wait for each other in different places."""
    cut_at(tmp_path / "a", 4, STEPS)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / CHECKPOINTS / "step-000000004").rename(tmp_path / "b" / CHECKPOINTS / "step-000000003")
    told = together([tmp_path / "a", tmp_path / "b"], [STEPS, STEPS])
    for each in told:
        assert re.match(r"UsageError: --out .* is not one folder for all: 1 of 2 processes do not see what", each), told


@pytest.mark.slow
def test_processes_with_other_settings_are_told(tmp_path: Path) -> None:
    told = together([tmp_path / "a", tmp_path / "a"], [STEPS, STEPS | dict(temperature=3.0)])
    assert told[0] == told[1] and "1 of 2 processes were given other settings" in told[0]


@pytest.mark.slow
def test_what_stops_the_first_process_stops_all(tmp_path: Path) -> None:
    cut_at(tmp_path / "a", 4, STEPS)
    other = STEPS | dict(temperature=3.0)
    told = together([tmp_path / "a", tmp_path / "a"], [other, other])
    assert told[0] == told[1] and "belongs to another run (temperature 2.0, not 3.0)" in told[0]


@pytest.mark.slow
def test_a_process_whose_neighbour_is_killed_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    port, settings = free_port(), STEPS | dict(checkpoint_seconds=0)
    processes = [SPAWN.Process(target=left_alone, args=(rank, 2, port, tmp_path, settings)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    told = (tmp_path / "told-0").read_text()
    assert re.match(r"Another of the 2 processes ended or cannot be reached \(.+\): what it said last says why\.", told)
    assert 2 <= int(checkpoint.steps(tmp_path / CHECKPOINTS)[-1].name[5:]) <= 4, "where --resume goes on"


def test_an_error_of_its_own_is_not_taken_for_anothers() -> None:
    for processes, said in ((1, "gloo: connection closed"), (2, "mat1 and mat2 shapes cannot be multiplied")):
        with pytest.raises(RuntimeError, match=said), trainer.with_others(processes):
            raise RuntimeError(said)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("there", "more", "code", "said"),
    [
        ("notes.txt", (), 2, "is not empty: --resume continues a run started there"),
        ("notes.txt", ("--resume",), 2, "holds no unfinished run"),
        ("distillation.json", ("--resume",), 1, "distillation.json: cannot be read"),
    ],
)
def test_what_the_first_process_finds_wrong_at_once_stops_all(
    there: str, more: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    """The others would wait for the first one, for as long as PyTorch waits for a process that may still come."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / there).write_text("mine")
    port, words = free_port(), ("distill", "--device", "cpu", "--steps", "1", "--out", "out", "--offline", *more)
    of_all = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    of_all |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    env = [{**os.environ, **of_all, "RANK": f"{rank}", "LOCAL_RANK": f"{rank}"} for rank in range(2)]
    begun = [started(*words, cwd=tmp_path, env=each) for each in env]
    try:
        ended = [(process.communicate(timeout=120)[1], process.returncode) for process in begun]
    finally:
        for process in begun:
            process.kill()
    for told, ended_with in ended:
        assert ended_with == code and said in told and "Traceback" not in told, told


ONE_OF_TWO = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
ALONE = ("distill", "--device", "cpu", "--steps", "1", "--out", "out", "--offline")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"WORLD_SIZE": "2"}, 2, "do not meet (Tried to launch on distributed with multinode, but `MASTER_ADDR`"),
        (ONE_OF_TWO | {"MASTER_PORT": "x"}, 2, "do not meet (invalid literal for int() with base 10: 'x')"),
        (ONE_OF_TWO | {"MASTER_PORT": "taken"}, 1, "do not meet (The server socket has failed to listen"),
        ({"WORLD_SIZE": "all"}, 2, "WORLD_SIZE is 'all', not a number of processes: unset it."),
    ],
)
def test_processes_that_cannot_meet_are_told(given: dict[str, str], code: int, said: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = {"MASTER_PORT": f"{taken.getsockname()[1]}"} if given.get("MASTER_PORT") == "taken" else {}
        process = started(*ALONE, cwd=tmp_path, env={**os.environ, **given, **port})
        told = process.communicate(timeout=120)[1]
    assert process.returncode == code and said in told and "Traceback" not in told, told
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_waits_for_the_others_is_ended_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    port = {"MASTER_PORT": f"{free_port()}"}
    process = started(*ALONE, cwd=tmp_path, env={**os.environ, **ONE_OF_TWO, **port})
    assert process.stderr
    for line in process.stderr:
        if line.startswith(f"Waiting for all 2 processes at 127.0.0.1:{port['MASTER_PORT']}"):
            break
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)  # it waits, in PyTorch's own code
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode in (-number, 128 + number)  # the latter if it was so slow that it did not wait yet
