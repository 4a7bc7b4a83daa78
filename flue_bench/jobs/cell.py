"""One cell: load, encode, fine-tune, score, record."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from filelock import Timeout
from torch import nn

from flue_bench.data import registry
from flue_bench.errors import DivergedError, FlueBenchError, UsageError, counted
from flue_bench.jobs.figures import attempted, rate
from flue_bench.jobs.loader import Loader, TaskInputs
from flue_bench.jobs.teach import soft_labels, told
from flue_bench.kinds.counts import TRY
from flue_bench.kinds.kind import VALIDATION, kind_named
from flue_bench.kinds.network.network import Encoded, Floats, Frozen, network_of
from flue_bench.progress import Display
from flue_bench.recipe import Recipe
from flue_bench.record import (
    MOST_EVALUATIONS,
    OWN_HEAD,
    SCHEMA_VERSION,
    Cell,
    Cost,
    Environment,
    Epoch,
    Failure,
    NoTraining,
    OwnHead,
    Predictions,
    RunRecord,
    Search,
    Truncation,
)
from flue_bench.results.store import Store
from flue_bench.task import SPLITS, Split, Task
from flue_bench.training import checkpoint, models
from flue_bench.training.device import Device, environment, peak_memory, prepare, reset_peak_memory
from flue_bench.training.keep import save
from flue_bench.training.models import Resolved
from flue_bench.training.train import Fit, Progress, fine_tune, flops_per_example, predict

UNTRAINED = Fit(
    history=[], selected_epoch=0, steps=0, seconds=0.0, examples=0, real_tokens=0, padded_tokens=0, resumed=0,
    rows_at_once=0,
)  # fmt: skip


class Finished(NamedTuple):
    """A cell that has its record."""

    record: RunRecord
    reused: bool
    """Whether it was already in the store."""


class CallerError(BaseException):
    """Carries what a function of the caller raised through everything that handles errors of ours."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


OnEpoch = Callable[[Cell, Epoch], None]
"""A function of the caller for the end of each epoch."""

Saver = Callable[[Path], str]
"""A function that writes a fine-tuned model to an empty folder, and returns its digest."""

OnTrained = Callable[[RunRecord, Saver], RunRecord]
"""A function that may save the model of a finished cell, and returns the record that is then stored."""


class CellFailedError(FlueBenchError):
    """Raised for a cell that was run and ended in an error, which the store keeps."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def run_cell(
    cell: Cell,
    loader: Loader,
    store: Store,
    device: torch.device,
    display: Display,
    *,
    recipe_name: str,
    notes: tuple[str, ...] = (),
    number: str = "",
    force: bool = False,
    wait: bool = True,
    on_epoch: OnEpoch | None = None,
    leaks: tuple[str, ...] = (),
    on_trained: OnTrained = lambda record, _: record,
    search: Search | None = None,
) -> Finished:
    """Run one cell, unless its record is in the store, and store its record or its failure.

    The same cell gives the same predictions, whatever ran before it in this process, and wherever model and data are.

    Args:
        cell: model, task, data, recipe and seed, perhaps a teacher. ``loader`` finds what it names.
        loader: caches what the next cell may need; use one for many cells.
        store: for record, failure and checkpoint.
        device: from ``pick_device``; the precision is the recipe's.
        display: shows the run.
        recipe_name: what the record calls the recipe.
        notes: for the record, on how the cell was chosen.
        number: a prefix for the lines of this cell.
        force: run it even if its record exists.
        wait: wait for another process that is running this cell.
        on_epoch: called after each epoch.
        leaks: for the record, why the model may have been trained on what it is scored on.
        on_trained: called before the record of a fine-tuned model is stored.
        search: for the record, how the cell's recipe was chosen.

    Raises:
        CallerError: ``on_epoch`` raised something; the cell has a checkpoint.
        CellFailedError: it was run and failed.
        UsageError: it cannot be run here: another protocol, no such task, another version of it, another model or
            other data than the cell's.
        FlueBenchError: the model or the data cannot be loaded, or the store cannot be read or written.
        filelock.Timeout: another process is running it, and ``wait`` is false.
    """
    title = titled(cell, loader.called(cell.model), number)
    checkpoint_dir = store.checkpoint_dir(cell)
    earlier = None if force else store.find(cell)  # without a lock: if all is done, nothing has to be written
    if earlier is not None and not checkpoint_dir.exists():
        return Finished(earlier, reused=True)
    model, inputs = loader.find(cell, display)
    with _locked(store, cell, title, display, wait):
        earlier = None if force else store.find(cell)
        if earlier is not None:
            checkpoint.drop(checkpoint_dir)  # left by a process that was killed right after it wrote the record
            return Finished(earlier, reused=True)
        try:
            settled = prepare(device, cell.recipe.precision, models.width(model.config))
            record = _run_and_keep(
                cell,
                model,
                loader,
                inputs,
                settled,
                store,
                display,
                title,
                recipe_name,
                notes,
                on_epoch,
                leaks,
                on_trained,
                search,
            )
        except Exception as error:
            reason = str(error) if isinstance(error, FlueBenchError) else _unexpected(error, cell, display)
            column = inputs.registered.task.board_column
            failure = Failure(
                schema_version=SCHEMA_VERSION,
                cell=cell,
                cell_digest=cell.digest,
                column=column,
                error=reason,
                diverged=isinstance(error, DivergedError),
                created=now(),
            )
            store.write_failure(failure)
            display.line(f"{title}: failed: {reason}")
            raise CellFailedError(failure) from error
    display.line(f"{title}: {result(record)}")
    return Finished(record, reused=False)


@contextlib.contextmanager
def theirs() -> Iterator[None]:
    """Run a function of the caller, whose errors are no failure of a cell."""
    try:
        yield
    except Exception as error:
        raise CallerError(error) from error


@contextlib.contextmanager
def _locked(store: Store, cell: Cell, title: str, display: Display, wait: bool) -> Iterator[None]:
    """Lock this cell; wait for another process that runs it, whose record is then found."""
    lock = store.lock(cell)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        display.line(f"{title}: another process is running it; {'waiting' if wait else 'later'}")
        if not wait:
            raise
        lock.acquire()
    if lock.warning:
        display.once(lock.warning)
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Tested:
    """A model after its fine-tuning, or as it is, and its predictions."""

    network: nn.Module
    head: OwnHead | None
    fit: Fit
    encoded: dict[Split, Encoded]
    table: pa.Table
    """The predictions, as they are kept."""
    predict_seconds: float
    parameters: int
    environment: Environment
    chosen: Mapping[str, float] = field(default_factory=dict)
    """Options that validation decided."""


def _run_and_keep(
    cell: Cell,
    model: Resolved,
    loader: Loader,
    inputs: TaskInputs,
    device: Device,
    store: Store,
    display: Display,
    title: str,
    recipe_name: str,
    notes: tuple[str, ...],
    on_epoch: OnEpoch | None,
    leaks: tuple[str, ...],
    on_trained: OnTrained,
    search: Search | None,
) -> RunRecord:
    began = time.perf_counter()
    folder = store.checkpoint_dir(cell)
    reset_peak_memory(device.where)
    if how := cell.untrained:
        answer = _answer_as_it_is if how.method == OWN_HEAD else _answer_frozen
        tested = answer(cell, how, model, loader, inputs, device, display, title, notes)
    else:
        tested = _fine_tune_and_test(cell, model, loader, inputs, device, folder, display, title, notes, on_epoch)

    def build(predictions: Predictions) -> RunRecord:
        seconds = time.perf_counter() - began
        record = _record(cell, recipe_name, inputs, tested, device, predictions, seconds, leaks, search)
        return (
            record
            if cell.untrained
            else on_trained(record, lambda folder: save(folder, tested.network, model, cell.trained.recipe.max_length))
        )

    with checkpoint.interruption() as interruption:  # a signal from here on does not lose what is finished
        record = store.write(build, tested.table, cell)
        checkpoint.drop(folder)
    interruption.raise_if_set()
    return record


def _fine_tune_and_test(
    cell: Cell,
    model: Resolved,
    loader: Loader,
    inputs: TaskInputs,
    device: Device,
    folder: Path,
    display: Display,
    title: str,
    notes: tuple[str, ...],
    on_epoch: OnEpoch | None,
) -> _Tested:
    task, (recipe, seed) = inputs.registered.task, cell.trained
    splits = inputs.splits(cell.limit, cell.train_rows, seed)
    kind, called = kind_named(task.kind), loader.called(cell.model)
    with display.bar(title) as bar:
        encoded = loader.encoded(
            inputs, model, cell.limit, recipe.max_length, display, cell.reads, train_rows=cell.train_rows, seed=seed
        )
        _check_evaluations(recipe, len(encoded["train"]))
        soft = soft_labels(cell, encoded["train"], loader, inputs, device, display)
        network, load_notes, head = models.load_model(model, task, seed, recipe.dropout)
        network.to(device.where)
        # Before the work, so that a failure to describe it does not cost the work.
        parameters, here = sum(parameter.numel() for parameter in network.parameters()), environment(device)
        if device.untested:
            display.once(f"--device {device.untested}")
        notes = (*notes, *model.notes, *load_notes, *told(cell, soft))
        for note in notes:
            display.once(f"{called}: {note}")

        def show(at: Progress) -> None:
            if bar.due() or at.step == at.steps:
                speed = rate(at.examples, at.seconds)
                bar.update(at.step, at.steps, f"epoch {at.epoch}  loss {at.loss():.3f}  {speed:,.0f} examples/s")

        def validate(network: nn.Module) -> dict[str, float]:
            answers = predict(network, encoded["validation"], device)
            settled = _settled(task, encoded["validation"].chosen(answers, task))
            decided = encoded["validation"].decided(answers, settled)
            return kind.scores(kind.table(splits["validation"], decided), task).scores

        def ended(epoch: Epoch) -> None:
            if on_epoch:
                with theirs():
                    on_epoch(cell, epoch)

        if (folder / checkpoint.FILE).exists():
            display.line(f"{title}: continues from its checkpoint")
        fit = fine_tune(
            network, encoded["train"], recipe, seed, device, validate, task.metric, folder, show, ended, soft
        )
        if fit.rows_at_once < recipe.batch_size:
            part = "1 row" if fit.rows_at_once == 1 else f"{fit.rows_at_once} rows"
            notes += (
                f"memory ran out with {recipe.batch_size} rows at once: each step added up gradients of {part} "
                "at a time, over the same rows",
            )
            display.once(f"{called}: {notes[-1]}")
        chosen: dict[str, float] = {}
        if VALIDATION in task.options.values():  # of the epoch that was selected, whose weights these are
            chosen = encoded["validation"].chosen(predict(network, encoded["validation"], device), task)
        scored = encoded[cell.split]
        answers, seconds, cut = _answers(network, scored, device, display, called)
    here = here.model_copy(update={"notes": (*here.notes, *notes, *cut)})
    table = kind.table(splits[cell.split], scored.decided(answers, _settled(task, chosen)) | scored.kept(answers))
    return _Tested(network, head, fit, encoded, table, seconds, parameters, here, chosen)


def _check_evaluations(recipe: Recipe, rows: int) -> None:
    """Raise ``UsageError`` if there would be more evaluations than a record holds."""
    if recipe.evaluate_steps and (number := len(recipe.evaluations_on(rows)) + 1) > MOST_EVALUATIONS:
        least = -(-recipe.steps_on(rows) // MOST_EVALUATIONS)
        raise UsageError(
            f"{number:,} evaluations on validation, and a record holds {MOST_EVALUATIONS:,}: use --set "
            f"evaluate_steps={least} or more."
        )


def _settled(task: Task, chosen: Mapping[str, Any]) -> Task:
    """Return the task with options that validation or the caller decided in the place of its own."""
    return task.model_copy(update={"options": {**task.options, **chosen}}) if chosen else task


def _answers(
    network: nn.Module, data: Encoded, device: Device, display: Display, called: str
) -> tuple[list[Floats], float, tuple[str, ...]]:
    """Return a model's answers to a split, the seconds they took, and what there is to note."""
    before = time.perf_counter()
    cuts: list[int] = []
    answers = predict(network, data, device, cuts.append)
    notes: tuple[str, ...] = ()
    if cuts:
        notes = (f"memory ran out in prediction: {cuts[-1]} rows at once, which changes rounding alone",)
        display.once(f"{called}: {notes[-1]}")
    return answers, time.perf_counter() - before, notes


def _answer_as_it_is(
    cell: Cell,
    how: NoTraining,
    model: Resolved,
    loader: Loader,
    inputs: TaskInputs,
    device: Device,
    display: Display,
    title: str,
    notes: tuple[str, ...],
) -> _Tested:
    """Return a checkpoint and the answers of its own head, in the labels of the task."""
    task, called = inputs.registered.task, loader.called(cell.model)
    kind = kind_named(task.kind)
    theirs = list(how.answers)
    with display.bar(title):
        asked: list[Split] = [how.split]
        if VALIDATION in task.options.values() and how.split != "validation":
            asked.append("validation")
        encoded = loader.encoded(inputs, model, cell.limit, how.max_length, display, asked)
        data = encoded[how.split]
        network = models.load_own_head(model, task, theirs)
        network.to(device.where)
        parameters, here = sum(parameter.numel() for parameter in network.parameters()), environment(device)
        if device.untested:
            display.once(f"--device {device.untested}")
        said, seconds, cut = _answers(network, data, device, display, called)
        answers, chosen = data.in_task(said, task, how), {}
        if VALIDATION in task.options.values():
            deciding = encoded["validation"]
            said = said if deciding is data else predict(network, deciding, device)
            chosen = deciding.chosen(deciding.in_task(said, task, how), task)
    here = here.model_copy(update={"notes": (*here.notes, *notes, *model.notes, *cut)})
    task = _settled(task, chosen)
    of_head = task.model_copy(update={"labels": tuple(theirs), "scheme": how.scheme}) if theirs else task
    columns = kind.translated(data.decided(answers, of_head), task, how)
    table = kind.table(inputs.splits(cell.limit)[how.split], {**columns, **data.kept(answers)})
    return _Tested(network, None, UNTRAINED, {how.split: data}, table, seconds, parameters, here, chosen)


def _answer_frozen(
    cell: Cell,
    how: NoTraining,
    model: Resolved,
    loader: Loader,
    inputs: TaskInputs,
    device: Device,
    display: Display,
    title: str,
    notes: tuple[str, ...],
) -> _Tested:
    """Return a frozen encoder, and the answers that follow from its vectors by the method of the task's kind.

    Where validation was cut from train, its rows serve for the answers on test too: nothing is chosen by them.
    """
    task, called = _settled(inputs.registered.task, how.options), loader.called(cell.model)
    kind, half = kind_named(task.kind), network_of(task)
    if not isinstance(half, Frozen) or how.method != kind.frozen:
        raise UsageError(f"a model cannot be scored by '{how.method}' on {task.name}")
    splits = inputs.splits(cell.limit)
    asked, train = splits[how.split], splits["train"]
    if how.split == "test" and "validation" in inputs.data.ref.cut:
        train = [*train, *splits["validation"]]
    known, tokenizer = half.known(train, asked), loader.tokenizer(model)
    with display.bar(title):
        examples: dict[Split, list[Any]] = {"train": known, how.split: asked}
        encoded = {split: half.encode(of, task, tokenizer, how.max_length) for split, of in examples.items()}
        network = half.frozen(models.load_encoder(model), how.options).to(device.where)
        parameters, here = sum(parameter.numel() for parameter in network.parameters()), environment(device)
        if device.untested:
            display.once(f"--device {device.untested}")
        of_known, _, cut = _answers(network, encoded["train"], device, display, called) if known else ([], 0, ())
        of_asked, seconds, too = _answers(network, encoded[how.split], device, display, called)
    here = here.model_copy(update={"notes": tuple(dict.fromkeys((*here.notes, *notes, *model.notes, *cut, *too)))})
    table = kind.table(asked, half.answered(known, of_known, asked, of_asked))
    return _Tested(network, None, UNTRAINED, encoded, table, seconds, parameters, here)


def _record(
    cell: Cell,
    recipe_name: str,
    inputs: TaskInputs,
    tested: _Tested,
    device: Device,
    predictions: Predictions,
    seconds: float,
    leaks: tuple[str, ...],
    search: Search | None,
) -> RunRecord:
    """Return the record of a finished cell."""
    task, fit, encoded, network = inputs.registered.task, tested.fit, tested.encoded, tested.network
    kind = kind_named(task.kind)
    scores = kind.scores(tested.table, task)
    lost_words = {split: encoded[split].lost_words for split in SPLITS if split in encoded}
    unknown: list[str] = []
    peak = attempted("peak memory", lambda: peak_memory(device.where), unknown)
    flops = attempted("operations an example", lambda: flops_per_example(network, encoded[cell.split], device), unknown)
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        cell=cell,
        cell_digest=cell.digest,
        setting_digest=cell.setting_digest,
        recipe_name=recipe_name,
        task_title=task.title or task.name,
        kind=task.kind,
        labels=task.labels,
        scheme=task.scheme,
        options=task.options,
        metric=task.metric,
        column=task.board_column,
        column_members=tuple(registry.members(task.board_column)) or (task.name,),
        data=inputs.data.ref,
        scores=scores.scores,
        measures=scores.measures,
        chosen=dict(tested.chosen),
        per_class=scores.per_class,
        collapsed=kind.collapsed(tested.table, task),
        selected_epoch=fit.selected_epoch,
        history=tuple(fit.history),
        truncation=Truncation(
            examples={split: encoded[split].truncated for split in SPLITS if split in encoded},
            words={split: lost for split, lost in lost_words.items() if lost is not None},
            windows={split: len(data) for split, data in encoded.items() if data.windows is not None},
        ),
        head=tested.head,
        leaks=leaks,
        train_from=task.train_from,
        search=search,
        predictions=predictions,
        cost=Cost(
            seconds=seconds,
            train_seconds=fit.seconds,
            predict_seconds=tested.predict_seconds,
            steps=fit.steps,
            train_examples_per_second=rate(fit.examples, fit.seconds),
            predict_examples_per_second=rate(len(tested.table), tested.predict_seconds),
            real_tokens=fit.real_tokens,
            padded_tokens=fit.padded_tokens,
            peak_memory_bytes=peak,
            parameters=tested.parameters,
            flops_per_example=flops,
            resumed=fit.resumed,
        ),
        environment=tested.environment.model_copy(update={"notes": (*tested.environment.notes, *unknown)}),
        created=now(),
    )


def titled(cell: Cell, called: str, number: str = "") -> str:
    """Return a cell in words, for a line on the screen.

    Args:
        cell: the cell.
        called: its model's name here.
        number: a prefix.
    """
    on = "" if cell.train_rows is None else f" · {counted(cell.train_rows, 'train row')}"
    return f"{number}{called} · {cell.task}{on} · {cell.run}"


def result(record: RunRecord) -> str:
    """Return a finished cell's score and how it came about, for a line on the screen."""
    score = f"{record.metric} {100 * record.scores[record.metric]:.2f}"
    untrained = record.cell.untrained
    marks = f"  COLLAPSED: {record.collapsed}{'' if untrained else f'; {TRY}'}" if record.collapsed else ""
    how = untrained.split if untrained else _selected(record)
    return f"{score}  ({record.cost.seconds:.0f} s, {how}){marks}"


def _selected(record: RunRecord) -> str:
    recipe, ran = record.cell.trained.recipe, len(record.history)
    return f"{recipe.evaluation} {record.selected_epoch} of {ran if recipe.evaluate_steps else recipe.epochs}"


def _unexpected(error: Exception, cell: Cell, display: Display) -> str:
    """Return the message of a failure that is not a user's mistake, and print the traceback for a report."""
    if not isinstance(error, torch.OutOfMemoryError):
        display.once(traceback.format_exc())
        return f"unexpected {type(error).__name__}: {models.first_line(error)}. Please report it with the traceback."
    if cell.untrained:
        return f"out of memory on the device with one row at {cell.recipe.max_length} sub-words: lower --max-length"
    return (
        f"out of memory on the device with batch_size {cell.trained.recipe.batch_size} at max_length "
        f"{cell.recipe.max_length}: "
        "lower --set max_length or --set batch_size (the record and the board will say so)"
    )


def now() -> str:
    """Return the time as records write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
