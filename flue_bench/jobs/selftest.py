"""``flue-bench doctor --self-test``: checks on this machine what is promised for every one, in about two minutes.

Run it first on untested hardware: it checks the invariants on which every score relies, and compares the speed of a
step with what the hardware could do. Installed packages add checks by the entry-point group ``flue_bench.checks``.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM, raise_signal
from statistics import median

import numpy as np
import torch
from torch import nn

from flue_bench import plugins
from flue_bench.data import registry
from flue_bench.errors import DeviceError, FlueBenchError
from flue_bench.jobs.loader import Loader, TaskInputs
from flue_bench.kinds.network.network import Encoded
from flue_bench.plugins import Finding
from flue_bench.progress import Console, Display
from flue_bench.recipe import Recipe
from flue_bench.training import models, train
from flue_bench.training.checks import REPORT, near, same_bits
from flue_bench.training.device import Device, prepare, random_state_kept
from flue_bench.training.optim import adamw
from flue_bench.training.peak import Products, share_of_peak

Check = Callable[[torch.device], Iterator[Finding]]
"""A function, named by its entry point, that yields what it found on a device, each finding as soon as it is known."""

MODEL, TASK, ROWS, STEPS, BATCH = "embedded:student", "mini-cls", 192, 12, 16
"""Small enough for any machine: a student of two layers, and some rows of an embedded task."""

TOLERANCE = 1e-4
"""The most relative distance of float32 gradients whose sums were added in another order."""
BF16_TOLERANCE = 0.05
"""The most relative distance of gradients in bf16, which has 8 bits of precision, from those in float32."""

SHAPE = {
    "vocab_size": 32005, "hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1,
}  # fmt: skip
"""DistilCamemBERT's shape; with random weights, since the speed depends on nothing else."""
SPEED_ROWS, SPEED_LENGTH, SPEED_STEPS = 32, 48, 5


def self_test(device: torch.device) -> Iterator[Finding]:
    """Run every check on this device, built-in ones first; one that raises is a finding, and the others go on.

    Args:
        device: from ``pick_device``.
    """
    checks: dict[str, Check] = {"fine-tuning": fine_tuning, "speed": speed} | plugins.load_all(plugins.CHECKS)
    for name, check in checks.items():
        try:
            with random_state_kept(device):
                yield from check(device)
        except Exception as error:
            what = error if isinstance(error, FlueBenchError) else f"{type(error).__name__}: {error}"
            yield Finding("problem", name, f"failed: {str(what).partition(chr(10))[0]}", REPORT)


def fine_tuning(device: torch.device) -> Iterator[Finding]:
    """Check the invariants of fine-tuning and prediction, in every precision that the device has."""
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as folder:
        trial = _Trial(Path(folder))
        for precision in precisions(device):
            settled = prepare(device, precision, models.width(trial.model.config))
            first, again = trial.fine_tuned(settled, "one"), trial.fine_tuned(settled, "two")
            yield same_bits("two runs", precision, first, again, device)
            resumed = trial.fine_tuned(settled, "resumed", stop=STEPS // 2)
            yield same_bits("resumed = uninterrupted", precision, first, resumed, device)
            del first, again, resumed
        single = prepare(device, "fp32", models.width(trial.model.config))
        whole = trial.gradient(single, BATCH)
        yield near("cut batch = whole batch", "fp32", trial.gradient(single, BATCH // 4), whole, TOLERANCE)
        if "bf16" in precisions(device):
            half = prepare(device, "bf16", models.width(trial.model.config))
            yield near("bf16 near fp32", "bf16", trial.gradient(half, BATCH), whole, BF16_TOLERANCE)


def speed(device: torch.device) -> Iterator[Finding]:
    """Measure training steps of DistilCamemBERT's shape: tokens a second, and the share of the products' peak."""
    for precision in precisions(device):
        settled = prepare(device, precision, SHAPE["hidden_size"])
        seconds, products = _steps(settled)
        share = share_of_peak(products, seconds, settled)
        yield Finding(
            "ok",
            f"training step, {precision}",
            f"{SPEED_ROWS * SPEED_LENGTH / seconds:,.0f} tokens/s ({SPEED_ROWS} rows of {SPEED_LENGTH}, 6 layers of "
            f"768), {100 * share:.0f} % of the peak of its matrix products, {products.flops / seconds / 1e12:,.2f} "
            "Tflop/s",
        )


def _steps(device: Device) -> tuple[float, Products]:
    """Return the seconds of a training step, the median of ``SPEED_STEPS``, and its matrix products."""
    from transformers import CamembertConfig, CamembertForSequenceClassification

    torch.manual_seed(0)
    config = CamembertConfig(**SHAPE, num_labels=3)  # type: ignore[call-arg, arg-type]
    network: nn.Module = CamembertForSequenceClassification(config)
    network.to(device.where)
    optimizer, data = adamw(network, 3e-5, 0.01), _random_rows()
    network.train()

    def step() -> float:
        device.synchronize()
        began = time.perf_counter()
        train.add_gradient(network, data, np.arange(SPEED_ROWS), SPEED_ROWS, device, 0, 0)
        optimizer.step()
        optimizer.zero_grad()
        device.synchronize()
        return time.perf_counter() - began

    step()  # fills the optimiser's state
    seconds = [step() for _ in range(SPEED_STEPS)]
    with Products() as products:
        step()
    return median(seconds), products


def precisions(device: torch.device) -> list[str]:
    """Return the precisions that a run may choose on this device."""
    names = ["fp32"]
    for low in ("bf16", "fp16") if device.type == "cuda" else ("bf16",):  # a CPU has fp16 for tests alone
        with contextlib.suppress(DeviceError):
            prepare(device, low, SHAPE["hidden_size"])
            names.append(low)
    return names


class _Trial:
    """A small model and the rows it is trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder, loader, quiet = folder, Loader(offline=True), Display(Console(quiet=True))
        self.model = loader.resolve(MODEL)
        (registered,) = registry.select([TASK])
        inputs: TaskInputs = loader.inputs(registered, quiet)
        self.task = registered.task
        self.data = loader.encoded(inputs, self.model, ROWS, 64, quiet)["train"]

    def fine_tuned(self, device: Device, name: str, stop: int | None = None) -> dict[str, torch.Tensor]:
        """Return the weights after ``STEPS`` steps, with dropout.

        Args:
            device: device and precision.
            name: name of the folder for the checkpoint.
            stop: a step after which SIGTERM is sent, as by Slurm; the training then resumes from its checkpoint.
        """
        recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=1e-3, selection="last", precision=device.precision)
        folder = self.folder / f"{name}-{device.precision}"

        def once(show: Callable[[train.Progress], None]) -> nn.Module:
            network = models.load_model(self.model, self.task, 0, 0.1).network
            network.to(device.where)
            nothing = {self.task.metric: 0.0}
            train.fine_tune(network, self.data, recipe, 0, device, lambda _: nothing, self.task.metric, folder, show)
            return network

        def interrupt(at: train.Progress) -> None:
            if at.step == stop:
                raise_signal(SIGTERM)

        if stop is not None:
            try:
                once(interrupt)
            except SystemExit:
                pass
            else:
                raise RuntimeError("a run that got SIGTERM did not stop")
        return {key: value.detach().cpu() for key, value in once(lambda _: None).state_dict().items()}

    def gradient(self, device: Device, at_once: int) -> torch.Tensor:
        """Return the gradient of one batch, (parameters,), computed ``at_once`` rows at a time.

        Dropout is on only on a CPU, where its draws do not depend on how a batch is cut.
        """
        dropout = 0.1 if device.where.type == "cpu" else 0.0
        network = models.load_model(self.model, self.task, 0, dropout).network
        network.to(device.where).train()
        train.add_gradient(network, self.data, np.arange(BATCH), at_once, device, 0, 0)
        return torch.cat([p.grad.detach().flatten().cpu() for p in network.parameters() if p.grad is not None])


def _random_rows() -> Encoded:
    random = np.random.RandomState(0)
    return Encoded(
        ids=random.randint(5, SHAPE["vocab_size"], SPEED_ROWS * SPEED_LENGTH).astype(np.int32),
        offsets=np.arange(SPEED_ROWS + 1, dtype=np.int64) * SPEED_LENGTH,
        type_ids=None,
        labels=random.randint(0, 3, SPEED_ROWS),
        pad_id=1,
        truncated=0,
    )
