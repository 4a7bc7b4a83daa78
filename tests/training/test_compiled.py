"""``compiled`` in a recipe: the same training but for rounding, and a bounded number of compilations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch._dynamo.testing import CompileCounterWithBackend

from flue_bench.data import registry
from flue_bench.errors import DeviceError, UsageError
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.kinds.network.network import Encoded
from flue_bench.progress import Console, Display
from flue_bench.recipe import Recipe
from flue_bench.record import Cell
from flue_bench.results.store import Store
from flue_bench.training import train
from flue_bench.training.batches import training_batches
from flue_bench.training.device import check_compiler
from support.factories import make_cell
from support.networks import CPU
from support.tiny import tiny

STEPS = 8


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    """What other tests compiled counts neither here nor there."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def rows() -> Encoded:
    """Rows of many lengths; the last batch has fewer."""
    lengths = 5 + np.arange(4 * STEPS - 1) * 7 % 30
    ids = np.random.RandomState(0).randint(5, 25, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], lengths.cumsum()])
    return Encoded(ids, offsets, None, np.arange(len(lengths)) % 3, pad_id=1, truncated=0)


def weights(folder: Path, kind: str, compiled: bool) -> torch.Tensor:
    """Weights after an epoch."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny(kind, folder / kind), num_labels=3)
    recipe = Recipe(epochs=1, batch_size=4, precision="fp32", dropout=0.0, selection="last", compiled=compiled)
    for module in model.modules():  # on a CPU dropout is ours, which nothing compiles
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    train.fine_tune(model, rows(), recipe, 0, CPU, lambda _: {"accuracy": 0.0}, "accuracy", folder / f"{compiled}")
    assert not hasattr(model, "_orig_mod") and model._compiled_call_impl is None  # predictions are not compiled
    return torch.cat([value.flatten() for value in model.state_dict().values() if value.is_floating_point()])


@pytest.mark.parametrize("kind", ["camembert", "bert"])
def test_lengths_share_their_compilations(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(train, "BACKEND", counted)
    found, wanted = weights(tmp_path, kind, True), weights(tmp_path, kind, False)
    longest = {int(rows().lengths[batch].max()) for batch in training_batches(rows().lengths, 4, 0, 0)}
    assert len(longest) >= 6 and 1 <= counted.frame_count <= 3
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor on a CPU needs a compiler")
def test_the_compiler_itself_gives_the_same_but_for_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))  # none of another process, or processor
    found, wanted = weights(tmp_path, "camembert", True), weights(tmp_path, "camembert", False)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_it_is_a_setting_of_its_own_and_older_cells_stay() -> None:
    plain = make_cell()
    assert "compiled" not in plain.model_dump()["recipe"] and "compiled" not in plain.recipe.model_dump_json()
    content = plain.model_dump()
    other = Cell.model_validate(content | {"recipe": content["recipe"] | {"compiled": True}})
    assert other.recipe.model_dump()["compiled"] is True
    assert (plain.schema_version, other.schema_version) == (1, 2)  # 0.1 has no such cell
    assert other.digest != plain.digest and other.setting_digest != plain.setting_digest
    again = Cell.model_validate(content | {"recipe": content["recipe"] | {"compiled": False}})
    assert again.digest == plain.digest


def test_a_gpu_needs_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    told = "PATH holds no gcc or clang. Install gcc, name yours in the variable CC, or leave --compile out"
    with pytest.raises(DeviceError, match=f"--compile: torch.compile needs a C compiler, and {told}"):
        check_compiler("--compile", gpu)
    monkeypatch.setenv("CC", "mine")
    with pytest.raises(DeviceError, match="holds no mine"):
        check_compiler("--compile", gpu)
    put_program(tmp_path / "mine")
    check_compiler("--compile", gpu)
    monkeypatch.delenv("CC")
    put_program(tmp_path / "clang")
    check_compiler("--compile", gpu)
    with pytest.raises(UsageError, match="--compile: only on a GPU, and the device is cpu: leave --compile out"):
        check_compiler("--compile", torch.device("cpu"))


def put_program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_only_a_gpu_compiles(tmp_path: Path) -> None:
    grid = Grid(
        ["embedded:untrained"], registry.select(["mini-cls"]), [0], overrides={"compiled": "true"}, device="cpu"
    )
    with pytest.raises(
        UsageError, match="--set compiled: only on a GPU, and the device is cpu: leave --set compiled out"
    ):
        run_grid(grid, Store(tmp_path), Display(Console(quiet=True)))
    assert not list(tmp_path.iterdir())
