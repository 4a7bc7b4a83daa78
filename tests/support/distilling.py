"""A tiny distillation that several processes can be asked to carry out: nothing here is more than seconds."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from flue_bench.errors import FlueBenchError
from flue_bench.training import checkpoint
from flue_bench.training.device import Device
from flue_distill.training import trainer
from flue_distill.training.data import Data
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import MaskedLM, Teacher, from_config, student_of
from flue_distill.training.trainer import Together, Trained, processes, train, with_others

CPU = Device(torch.device("cpu"), "fp32", "")
SPECIAL = {0, 1, 2, 3, 4}
VOCABULARY = 40
RECIPE = dict(teacher="t", length=16, batch_sequences=8, micro_batch=4, precision="fp32", evaluate_steps=1000)


def data(rows: int = 90, held_out: int = 10) -> Data:
    """Sequences with something to learn: a dozen tokens, each two or three on from the last."""
    random = np.random.RandomState(0)
    steps = random.randint(2, 4, (rows, 14)).cumsum(1)
    text = 5 + (random.randint(0, 12, (rows, 1)) + steps) % 12
    ids = np.concatenate([np.zeros((rows, 1)), text, np.full((rows, 1), 2)], 1).astype(np.int64)
    counts = np.bincount(ids[held_out:].ravel(), minlength=VOCABULARY)
    return Data(list(ids[held_out:]), list(ids[:held_out]), counts, SPECIAL, pad_id=1, mask_id=4)


def teacher(dropout: float = 0.1, layers: int = 4) -> Any:
    config = transformers.CamembertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, pad_token_id=1, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    return from_config(config, 0)


def distil(
    folder: Path,
    settings: dict[str, Any],
    *,
    dropout: float = 0.1,
    dtype: torch.dtype = torch.float32,
    device: Device = CPU,
    **more: Any,
) -> tuple[dict[str, np.ndarray], Trained]:
    """Train a tiny student; its weights by name."""
    torch.set_num_threads(1)
    recipe = DistilRecipe(**{**RECIPE, **settings})
    network = teacher(dropout)
    student = MaskedLM(student_of(network)[0].to(dtype))
    taught = Teacher(network.to(dtype), dtype if device is CPU else device.dtype) if recipe.teacher else None
    with Together(processes("cpu")) as together:
        trained = train(student, taught, data(), recipe, together, device, folder, {"corpus": "c"}, **more)
    return {name: value.detach().numpy() for name, value in student.network.named_parameters()}, trained


def distil_and_save(folder: Path, settings: dict[str, Any], die_at: int | None = None) -> None:
    """``distil`` in a process of its own, which kills itself in the middle of writing checkpoint ``die_at``."""
    sync, saved = os.fsync, 0

    def fatal(file: int) -> None:
        nonlocal saved
        saved += f"/{checkpoint.FILE}." in os.readlink(f"/proc/self/fd/{file}")  # its name until it is whole
        if saved == die_at:
            os.truncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(file)

    os.fsync = fatal  # type: ignore[assignment]
    weights, _ = distil(folder, settings)
    np.savez(folder / "weights.npz", **weights)


def _be_one_of(rank: int, processes: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


def _check_gloo_is_gone() -> None:
    """A thread of gloo that still runs when Python ends may abort the process, now and then."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert names and not [name for name in names if "gloo" in name], names


def refused_among(rank: int, processes: int, port: int, folders: list[Path], settings: list[dict[str, Any]]) -> None:
    """One of several processes that do not belong together; writes what it was told to its own folder."""
    _be_one_of(rank, processes, port)
    trainer.SHARED_SECONDS = 0.5
    try:
        distil(folders[rank], settings[rank])
    except FlueBenchError as error:
        (folders[rank] / f"told-{rank}").write_text(f"{type(error).__name__}: {error}")
    _check_gloo_is_gone()


def left_alone(rank: int, processes: int, port: int, folder: Path, settings: dict[str, Any]) -> None:
    """One of several processes, of which the last is killed after its third step; the others write what they say."""
    _be_one_of(rank, processes, port)

    def die(step: int, *_: object) -> None:
        if step == 3 and rank == processes - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with with_others(processes):
            distil(folder, settings, show=die)
    except FlueBenchError as error:
        (folder / f"told-{rank}").write_text(str(error))
    _check_gloo_is_gone()


def distil_among(rank: int, processes: int, port: int, folder: Path, settings: dict[str, Any]) -> None:
    """One of several processes, as ``torchrun`` starts them, in float64."""
    _be_one_of(rank, processes, port)
    weights, _ = distil(folder, settings, dtype=torch.float64)
    if rank == 0:
        np.savez(folder / "weights.npz", **weights)
    _check_gloo_is_gone()
