"""A grid of cells (task, model, seed), each run once: load, encode, fine-tune, score, record."""

from __future__ import annotations

import contextlib
import hashlib
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from filelock import Timeout
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flue_bench.data import registry, sources
from flue_bench.data.registry import Registered
from flue_bench.data.sources import TaskData
from flue_bench.errors import FlueBenchError, UsageError
from flue_bench.kinds import scoring
from flue_bench.progress import Display
from flue_bench.recipe import Recipe
from flue_bench.record import Cell, Cost, Failure, Predictions, RunRecord, Truncation
from flue_bench.results.store import Store
from flue_bench.task import SPLITS, Example, Split, Task
from flue_bench.training import checkpoint, models
from flue_bench.training.device import (
    Device,
    environment,
    keep_freed_memory,
    peak_memory,
    pick_device,
    prepare,
    reset_peak_memory,
)
from flue_bench.training.encode import Encoded, encode
from flue_bench.training.models import Resolved
from flue_bench.training.train import Floats, Progress, fine_tune, predict


@dataclass(frozen=True)
class Grid:
    """What ``flue-bench run`` was asked for."""

    models: Sequence[str]
    tasks: Sequence[Registered]
    seeds: Sequence[int]
    recipe: str = "standard"
    overrides: dict[str, str] = field(default_factory=dict)
    precision: str | None = None
    """Instead of the recipe's."""
    device: str = "auto"
    limit: int | None = None
    data_dir: Path | None = None
    offline: bool = False
    force: bool = False


@dataclass
class Outcome:
    """What came of a grid."""

    records: list[RunRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    """Tasks whose data, and models whose files could not be had, with the reason."""
    reused: int = 0
    """Cells that were there already."""


def run(grid: Grid, store: Store, display: Display) -> Outcome:
    """Run every cell that ``store`` does not hold yet. A cell that fails is recorded as such, and the others go on.

    Raises:
        UsageError: something in ``grid`` cannot be: found out before the first cell runs.
        HubError: a model cannot be fetched.
    """
    keep_freed_memory()
    if grid.data_dir is not None and not grid.data_dir.is_dir():
        raise UsageError(f"--data-dir {grid.data_dir}: no such folder.")
    device = pick_device(grid.device)
    recipes = {each.task.name: each.task.named_recipe(grid.recipe).override(grid.overrides) for each in grid.tasks}
    outcome = Outcome()
    resolved = _resolved(grid, outcome, display)
    for model in resolved:
        for each in grid.tasks:
            _check_length(model, recipes[each.task.name], each.task)

    put_off = list(enumerate(product(grid.tasks, resolved, grid.seeds), 1))
    total = len(put_off)
    with display.running():
        # What another process is running is put off, so that several share a grid, and waited for in the end.
        for wait in (False, True):
            todo, put_off = put_off, []
            for each, cells in groupby(todo, key=lambda numbered: numbered[1][0]):
                try:
                    with display.bar(f"{each.task.name}: reading data"):
                        data = sources.load(each, data_dir=grid.data_dir, offline=grid.offline)
                except FlueBenchError as error:
                    outcome.unloaded.append(f"{each.task.name}: {error}")
                    display.line(f"{each.task.name}: {error}")
                    continue
                for deviation in data.ref.deviations:
                    display.once(f"{each.task.name}: not the canonical data: {deviation}")
                bench = _Bench(each.task, data, grid, store, display)
                for number, (_, model, seed) in cells:
                    settled = prepare(
                        device, grid.precision or recipes[each.task.name].precision, models.width(model.config)
                    )
                    cell = Cell(
                        model=model.ref,
                        task=each.task.name,
                        task_version=each.task.version,
                        data=data.ref.digest,
                        limit=bench.limit,
                        recipe=recipes[each.task.name].override({"precision": settled.precision}),
                        seed=seed,
                    )
                    try:
                        bench.run_cell(cell, model, settled, f"[{number}/{total}]", outcome, wait)
                    except Timeout:
                        put_off.append((number, (each, model, seed)))
    return outcome


class _Bench:
    """One task's data, encoded once for all models that share a tokenizer, and the way one cell runs on it."""

    def __init__(self, task: Task, data: TaskData, grid: Grid, store: Store, display: Display) -> None:
        self.task, self.data, self.grid, self.store, self.display = task, data, grid, store, display
        # A limit above the number of rows is none: such a run is the whole run, and the same cell.
        whole = max(map(len, data.splits.values()))
        self.limit = grid.limit if grid.limit is not None and grid.limit < whole else None
        self.splits = {split: limited(data.splits[split], self.limit) for split in SPLITS}
        self.encodings: dict[tuple[str, int], dict[Split, Encoded]] = {}

    def run_cell(self, cell: Cell, model: Resolved, device: Device, number: str, outcome: Outcome, wait: bool) -> None:
        """Run it unless it is there; keep what it gives, be it a record or a failure.

        Raises:
            Timeout: another process is running it, and it is not to be waited for.
        """
        title = f"{number} {model.ref.name} · {self.task.name} · seed {cell.seed}"
        checkpoint_dir = self.store.checkpoint_dir(cell)
        record = self._find(cell)  # without a lock: where all is done, nothing has to be written
        if record is None or checkpoint_dir.exists():
            with self._locked(cell, title, wait):
                record = self._find(cell)
                if record is None:
                    self._run_and_keep(cell, model, device, title, outcome)
                    return
                checkpoint.drop(checkpoint_dir)  # of a process that was killed right after it wrote the record
        outcome.reused += 1
        outcome.records.append(record)
        if record.cell.model.name != model.ref.name:
            known = record.cell.model.name
            self.display.once(f"{model.ref.name} has the content of {known}, and is shown under that name")

    def _find(self, cell: Cell) -> RunRecord | None:
        return None if self.grid.force else self.store.find(cell)

    def _run_and_keep(self, cell: Cell, model: Resolved, device: Device, title: str, outcome: Outcome) -> None:
        try:
            record = self._run(cell, model, device, title)
        except Exception as error:
            reason = str(error) if isinstance(error, FlueBenchError) else _unexpected(error, cell, self.display)
            failure = Failure(
                cell=cell,
                cell_digest=cell.digest,
                column=self.task.board_column,
                error=reason,
                created=_now(),
            )
            self.store.write_failure(failure)
            outcome.failures.append(failure)
            self.display.line(f"{title}: failed: {reason}")
            return
        outcome.records.append(record)
        self.display.line(f"{title}: {_result(record)}")

    @contextlib.contextmanager
    def _locked(self, cell: Cell, title: str, wait: bool) -> Iterator[None]:
        """Alone with this cell: another process that runs it is waited for, and its record is then found."""
        lock = self.store.lock(cell)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self.display.line(f"{title}: another process is running it; {'waiting' if wait else 'later'}")
            if not wait:
                raise
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _run(self, cell: Cell, model: Resolved, device: Device, title: str) -> RunRecord:
        began = time.perf_counter()
        recipe, folder = cell.recipe, self.store.checkpoint_dir(cell)
        reset_peak_memory(device.torch)
        with self.display.bar(title) as bar:
            encoded = self._encoded(model, recipe.max_length)
            network, notes = models.load_model(model, self.task, cell.seed, recipe.dropout)
            network.to(device.torch)
            if device.untested:
                self.display.once(f"--device {device.untested}")
            for note in (device.why, *model.notes, *notes):
                if note:
                    self.display.once(f"{model.ref.name}: {note}")

            def show(at: Progress) -> None:
                if bar.due() or at.step == at.steps:
                    speed = at.examples / at.seconds
                    bar.update(at.step, at.steps, f"epoch {at.epoch}  loss {at.loss():.3f}  {speed:,.0f} examples/s")

            def validate(network: nn.Module) -> dict[str, float]:
                probabilities = predict(network, encoded["validation"], device)
                return self._score("validation", encoded, decide(self.task, probabilities)).scores

            if (folder / checkpoint.FILE).exists():
                self.display.line(f"{title}: goes on from its checkpoint")
            fit = fine_tune(
                network, encoded["train"], recipe, cell.seed, device, validate, self.task.metric, folder, show
            )
            if fit.rows_at_once < recipe.batch_size:
                part = "1 row" if fit.rows_at_once == 1 else f"{fit.rows_at_once} rows"
                notes += (
                    f"memory ran out with {recipe.batch_size} rows at once: each step added up gradients of {part} "
                    "at a time, over the same rows",
                )
                self.display.once(f"{model.ref.name}: {notes[-1]}")
            before = time.perf_counter()
            cuts: list[int] = []
            probabilities = predict(network, encoded["test"], device, cuts.append)
            if cuts:
                notes += (f"memory ran out in prediction: {cuts[-1]} rows at once, which changes rounding alone",)
                self.display.once(f"{model.ref.name}: {notes[-1]}")
            predict_seconds = time.perf_counter() - before
        predicted = decide(self.task, probabilities)
        scores = self._score("test", encoded, predicted)
        test = self.splits["test"]

        def build(predictions: Predictions) -> RunRecord:
            return RunRecord(
                cell=cell,
                cell_digest=cell.digest,
                setting_digest=cell.setting_digest,
                recipe_name=" ".join([self.grid.recipe, *(f"{k}={v}" for k, v in sorted(self.grid.overrides.items()))]),
                task_title=self.task.title or self.task.name,
                kind=self.task.kind,
                labels=self.task.labels,
                scheme=self.task.scheme,
                metric=self.task.metric,
                column=self.task.board_column,
                column_members=tuple(registry.members(self.task.board_column)) or (self.task.name,),
                data=self.data.ref,
                scores=scores.scores,
                per_class=scores.per_class,
                collapsed=scoring.collapsed(
                    np.concatenate([np.atleast_1d(row) for row in predicted]),
                    np.concatenate([np.atleast_1d(gold(row)) for row in test]),
                    self.task.labels,
                ),
                selected_epoch=fit.selected_epoch,
                history=tuple(fit.history),
                truncation=Truncation(
                    examples={split: encoded[split].truncated for split in SPLITS},
                    words={split: encoded[split].lost_words for split in SPLITS} if self.task.kind == "tokens" else {},
                ),
                predictions=predictions,
                cost=Cost(
                    seconds=time.perf_counter() - began,
                    train_seconds=fit.seconds,
                    predict_seconds=predict_seconds,
                    steps=fit.steps,
                    train_examples_per_second=fit.examples / fit.seconds if fit.examples else 0.0,
                    predict_examples_per_second=len(test) / predict_seconds,
                    real_tokens=fit.real_tokens,
                    padded_tokens=fit.padded_tokens,
                    peak_memory_bytes=peak_memory(device.torch),
                    parameters=sum(parameter.numel() for parameter in network.parameters()),
                    flops_per_example=flops_per_example(network, encoded["test"], device),
                    resumed=fit.resumed,
                ),
                environment=environment(device, (*model.notes, *notes)),
                created=_now(),
            )

        table = predictions_table(self.task, test, encoded["test"], predicted, probabilities)
        with checkpoint.interruption() as interruption:  # what is finished is kept, whatever signal comes now
            record = self.store.write(build, table, cell)
            checkpoint.drop(folder)
        interruption.raise_if_set()
        return record

    def _encoded(self, model: Resolved, max_length: int) -> dict[Split, Encoded]:
        key = (model.tokenizer_digest, max_length)
        if key not in self.encodings:
            tokenizer = models.load_tokenizer(model)
            self.encodings[key] = {
                split: encode(examples, self.task, tokenizer, max_length) for split, examples in self.splits.items()
            }
            for split, encoded in self.encodings[key].items():
                if encoded.truncated:
                    words = f", and {encoded.lost_words:,} words lost" if encoded.lost_words else ""
                    self.display.line(
                        f"{self.task.name}: {encoded.truncated:,} of {len(encoded):,} {split} examples are cut at "
                        f"{max_length} sub-words{words}"
                    )
        return self.encodings[key]

    def _score(self, split: Split, encoded: dict[Split, Encoded], predicted: list[Any]) -> scoring.Scores:
        truth = [gold(example) for example in self.splits[split]]
        if self.task.kind == "tokens":
            scheme, counts = self.task.scheme, encoded[split].subwords_per_word
            assert scheme is not None  # the task's own check
            return scoring.token_scores(truth, predicted, self.task.labels, scheme, counts)
        return scoring.sentence_scores(np.array(truth), np.array(predicted), self.task.labels)


def gold(example: Example) -> Any:
    """Label of a sentence, tags of words."""
    return list(example.tags) if example.tags else example.label


def decide(task: Task, probabilities: list[Floats]) -> list[Any]:
    """The most probable label of each row, or of each word; a word that the model never saw is O."""
    if task.kind != "tokens":
        return [int(row.argmax()) for row in probabilities]
    outside = task.labels.index("O")
    return [np.where(row.any(-1), row.argmax(-1), outside) for row in probabilities]


def limited(examples: list[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, chosen by a hash of their ids (files may be sorted by label), in the file's order."""
    if limit is None or len(examples) <= limit:
        return examples
    rank = sorted(range(len(examples)), key=lambda i: hashlib.blake2b(examples[i].id.encode()).digest())
    return [examples[i] for i in sorted(rank[:limit])]


def predictions_table(
    task: Task, examples: list[Example], encoded: Encoded, predicted: list[Any], probabilities: list[Floats]
) -> pa.Table:
    """One row a test example: enough to recompute every score, and no text of the data set.

    Labels are numbers into ``RunRecord.labels``; probabilities are rounded to four decimals. For tokens all are lists
    over the words, and ``subwords`` counts the sub-words of each word (not their ids, which would spell the text).
    """
    label = pa.list_(pa.int16()) if task.kind == "tokens" else pa.int16()
    each = pa.list_(pa.list_(pa.float32())) if task.kind == "tokens" else pa.list_(pa.float32())
    columns = {
        "id": pa.array([example.id for example in examples], pa.string()),
        "group": pa.array([example.group for example in examples], pa.string()),
        "gold": pa.array([gold(example) for example in examples], label),
        "predicted": pa.array(predicted, label),
        "probabilities": pa.array([row.round(4).tolist() for row in probabilities], each),
    }
    if task.kind == "tokens":
        columns["subwords"] = pa.array(list(encoded.subwords_per_word), pa.list_(pa.int32()))
    return pa.table(columns)


def flops_per_example(network: nn.Module, test: Encoded, device: Device) -> float:
    """Forward floating-point operations for a test example of mean length, by torch's counter on one such row."""
    lengths = test.lengths
    row = int(np.abs(lengths - lengths.mean()).argmin())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(**test.batch([row], device.torch).inputs)
    return float(counter.get_total_flops())


def _check_length(model: Resolved, recipe: Recipe, task: Task) -> None:
    positions = models.max_positions(model.config)
    if positions is not None and recipe.max_length > positions:
        raise UsageError(
            f"{model.ref.name} holds {positions} sub-words, but the recipe of {task.name} has max_length "
            f"{recipe.max_length}. Use --set max_length={positions}: the record and the board will say so."
        )


def _result(record: RunRecord) -> str:
    score = f"{record.metric} {100 * record.scores[record.metric]:.2f}"
    marks = f"  COLLAPSED: {record.collapsed}" if record.collapsed else ""
    return (
        f"{score}  ({record.cost.seconds:.0f} s, epoch {record.selected_epoch} of {record.cell.recipe.epochs}){marks}"
    )


def _resolved(grid: Grid, outcome: Outcome, display: Display) -> list[Resolved]:
    """The models that are to be had; a name that cannot be ends the run, the rest is told and left out."""
    found: list[Resolved] = []
    for name in grid.models:
        try:
            found.append(models.resolve(name, grid.offline))
        except UsageError:
            raise
        except FlueBenchError as error:
            if len(grid.models) == 1:
                raise
            outcome.unloaded.append(f"{name}: {error}")
            display.line(f"{name}: {error}")
    return found


def _unexpected(error: Exception, cell: Cell, display: Display) -> str:
    """Words for the record of a failure that is no user's mistake; the traceback is for whoever reports it."""
    if not isinstance(error, torch.OutOfMemoryError):
        display.once(traceback.format_exc())
        return f"unexpected {type(error).__name__}: {models.first_line(error)}. Please report it with the traceback."
    return (
        f"out of memory on the device with batch_size {cell.recipe.batch_size} at max_length {cell.recipe.max_length}: "
        "lower --set max_length or --set batch_size (the record and the board will say so)"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
