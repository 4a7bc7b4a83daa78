"""One measurement of the speed benchmarks, and the process that makes it."""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.common import works
from benchmarks.peers import trainer
from flue_bench.kinds.network.network import Encoded
from flue_bench.memory import keep_freed_memory
from flue_bench.recipe import Recipe
from flue_bench.training import models, train
from flue_bench.training.batches import Ints, training_batches
from flue_bench.training.device import Device, pick_device, prepare
from flue_bench.training.peak import Products, product_seconds

OURS = "flue-bench"
WAYS = ("padded", "dynamic", "grouped", OURS)
"""Trainer's with each padding (see ``trainer.Padding``), and ours."""
FINE_TUNING, PREDICTION = "fine-tuning", "prediction"
WORKS = {FINE_TUNING: WAYS, PREDICTION: ("padded", "dynamic", OURS)}
"""Ways to do each; not grouped in prediction, where Trainer would return another order than the rows'."""


@dataclass(frozen=True)
class Order:
    """The parameters of one measurement."""

    task: str
    way: str
    precision: str
    round: int
    size: int
    """Optimiser steps, or rows to predict."""
    work: str = FINE_TUNING
    count: bool = False
    """Count the matrix products: slow, so never in a round that is timed, but before the first."""


class Clock(TrainerCallback):
    """Measures from the end of the first step to that of the last: time, positions, and the type of the products.

    The first step is a warm-up: it fills the optimiser's state.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        """Register hooks on ``network``."""
        self.device, self.began, self.seconds = device, (0.0, 0.0), (0.0, 0.0)
        self.positions = self.all_positions = 0
        self.types: set[torch.dtype] = set()
        network.get_input_embeddings().register_forward_hook(self._count)
        next(module for module in network.modules() if isinstance(module, nn.Linear)).register_forward_hook(self._note)

    def _count(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.positions += output.shape[0] * output.shape[1]
        self.all_positions += output.shape[0] * output.shape[1]

    def _note(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.types.add(output.dtype)

    def step(self, step: int, steps: int) -> None:
        """Record the end of a step, numbered from 1."""
        if self.device.type == "cuda" and step in (1, steps):
            torch.cuda.synchronize(self.device)
        if step == 1:
            self.start()
        if step == steps:
            self.stop()

    def start(self) -> None:
        """Start measuring."""
        self.began, self.positions = (time.perf_counter(), time.process_time()), 0

    def stop(self) -> None:
        """Stop measuring wall and processor time."""
        self.seconds = time.perf_counter() - self.began[0], time.process_time() - self.began[1]

    def result(self, order: Order, tokens: int) -> dict[str, Any]:
        """Return the measurement.

        Raises:
            RuntimeError: it was made in another precision than ordered.
        """
        wanted = torch.bfloat16 if order.precision == "bf16" else torch.float32
        if self.types != {wanted}:
            raise RuntimeError(f"{order}: matrices were multiplied in {self.types}")
        wall, processor = self.seconds
        timed = {"seconds": wall, "processor_seconds": processor, "tokens": tokens, "positions": self.positions}
        return timed | {"all_positions": self.all_positions}

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Record the end of a step; called by Trainer."""
        self.step(state.global_step, state.max_steps)


def epoch(way: str, lengths: Ints, batch_size: int, seed: int) -> list[Ints]:
    """Return the row numbers of one epoch's full batches, as this way makes them."""
    if way == OURS:
        batches = training_batches(lengths, batch_size, seed, 0)
    else:
        generator = torch.Generator().manual_seed(seed)
        if way == "grouped":
            order = np.array(list(LengthGroupedSampler(batch_size, lengths=lengths.tolist(), generator=generator)))
        else:
            order = torch.randperm(len(lengths), generator=generator).numpy()
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batch for batch in batches if len(batch) == batch_size]


def sample(batches: list[Ints], lengths: Ints, steps: int, seed: int) -> list[Ints]:
    """Return ``steps`` of an epoch's batches, short and long in proportion (systematic by tokens), shuffled."""
    random = np.random.RandomState(seed)
    ranked = sorted(batches, key=lambda rows: int(lengths[rows].sum()))
    chosen = ((np.arange(steps) + random.uniform()) * len(ranked) / steps).astype(int)
    return [ranked[place] for place in random.permutation(chosen)]


_counted: dict[tuple[str, str, str, str], tuple[Products, int]] = {}
"""Task, way, precision and work → the products that were counted in this process, and the positions they were for."""


def measure(order: Order, work: works.Work, lengths: Ints, device: Device, recipe: Recipe) -> dict[str, Any]:
    """Measure once as ordered: seconds, tokens without padding, positions computed for them.

    What a round that is timed multiplies is multiplied alone right after it: on a shared machine another minute has
    another peak.
    """
    gc.collect()  # Trainer's objects refer to one another, and keep the last round's model
    with Products() if order.count else nullcontext() as products:
        if order.work == PREDICTION:
            timed = _predict(order, work, device, recipe)
        else:
            timed = _fine_tune(order, work, lengths, device, recipe)
    positions = timed.pop("all_positions")
    which = order.task, order.way, order.precision, order.work
    if products is not None:
        _counted[which] = products, positions
    else:
        counted, of = _counted[which]
        timed["product_seconds"] = product_seconds(counted, device) / of * timed["positions"]
    return timed


def _fine_tune(order: Order, work: works.Work, lengths: Ints, device: Device, recipe: Recipe) -> dict[str, Any]:
    recipe = recipe.override({"epochs": 1, "precision": order.precision})
    own = epoch(order.way, lengths, recipe.batch_size, order.round)
    batches = sample(own, lengths, order.size + 1, order.round)
    data = work.encode("train", recipe.max_length, np.concatenate(batches).tolist())
    network = models.load_model(work.model, work.task, order.round, recipe.dropout).network
    clock = train_once(order.way, network.to(device.where), work, data, recipe, order.round, device)
    return clock.result(order, int(data.lengths[recipe.batch_size :].sum()))


def train_once(
    way: str, network: nn.Module, work: Any, data: Encoded, recipe: Recipe, seed: int, device: Device
) -> Clock:
    """Train one epoch over full batches in the order of ``data``, timed except for the first."""
    clock, metric = Clock(network, device.where), work.task.metric
    in_order = list(np.arange(len(data)).reshape(-1, recipe.batch_size))
    with TemporaryDirectory() as folder:
        if way == OURS:

            def show(at: train.Progress) -> None:
                clock.step(at.step, at.steps)

            with mock.patch.multiple(
                train,
                training_batches=lambda *_: in_order,  # drawn from a whole epoch
                CHECKPOINT_SECONDS=float("inf"),  # as Trainer, which saves nothing either
            ):
                train.fine_tune(
                    network, data, recipe, seed, device, lambda _: {metric: 0.0}, metric, Path(folder), show
                )
        else:
            padding: Any = way
            settings = {"train_sampling_strategy": "sequential", "save_strategy": "no", "logging_strategy": "no"}
            built = trainer.build(network, work, data, recipe, seed, device.where, padding, folder, settings)
            built.add_callback(clock)
            built.train()
    return clock


def _predict(order: Order, work: works.Work, device: Device, recipe: Recipe) -> dict[str, Any]:
    rows = np.random.RandomState(order.round).permutation(len(work.splits["test"]))[: order.size]
    data = work.encode("test", recipe.max_length, rows.tolist())
    recipe = recipe.override({"precision": order.precision})
    network = models.load_model(work.model, work.task, order.round, recipe.dropout).network
    network.to(device.where)
    clock = Clock(network, device.where)
    with TemporaryDirectory() as folder:
        way: Any = order.way
        if way != OURS:
            built = trainer.build(network, work, data, recipe, order.round, device.where, way, folder)
            dataset = trainer.rows(data, recipe, way)
        clock.start()
        if way == OURS:
            train.predict(network, data, device)
        else:
            built.predict(dataset)
        clock.stop()
    return clock.result(order, int(data.lengths.sum()))


def serve(pipe: Connection, ours: bool, model: str, data_dir: Path | None, asked: str, batch_size: int | None) -> None:
    """Measure each order received through the pipe, until None is received."""
    if ours:
        keep_freed_memory()
    loaded = ""
    while (order := pipe.recv()) is not None:
        if order.task != loaded:
            loaded, work = order.task, works.load(order.task, model, data_dir)
            recipe = work.task.named_recipe("standard").override({"batch_size": batch_size} if batch_size else {})
            lengths = work.encode("train", recipe.max_length).lengths
        device = prepare(pick_device(asked), order.precision, work.model.config.hidden_size)
        pipe.send(measure(order, work, lengths, device, recipe))
