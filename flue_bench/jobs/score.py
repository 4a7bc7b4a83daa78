"""Scoring models as they are, nothing trained: each with the head that it was fine-tuned with, or frozen, by the method
of the task's kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from flue_bench.data.registry import Registered
from flue_bench.errors import FlueBenchError, ModelError, UsageError, short
from flue_bench.jobs.grid import (
    UNKNOWN_PRECISION,
    Outcome,
    Planned,
    cannot_load,
    check_length,
    lacking,
    resolve_all,
    run_planned,
    settle,
)
from flue_bench.jobs.leaks import leaks
from flue_bench.jobs.loader import Loader
from flue_bench.kinds.kind import Kind, kind_named
from flue_bench.kinds.names import UnmatchedError, as_pair
from flue_bench.kinds.network.network import Frozen, network_of
from flue_bench.kinds.own_head import Reading
from flue_bench.progress import Display
from flue_bench.record import CUT_AT, ELSEWHERE, KEPT_OF, OWN_HEAD, Cell, NoTraining
from flue_bench.results.store import Store, kept_record
from flue_bench.task import Task
from flue_bench.training import models
from flue_bench.training.device import pick_device, random_state_kept
from flue_bench.training.models import Resolved

if TYPE_CHECKING:
    from flue_bench.jobs.workers import Workers

LONGEST = 512
"""Sub-words at which inputs are cut for a model that states no limit of its own."""


@dataclass(frozen=True)
class Scoring:
    """The request of ``flue-bench score``."""

    models: Sequence[str]
    tasks: Sequence[Registered]
    split: Literal["validation", "test"] = "test"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label of a head → label of a task, where names do not say it."""
    max_length: int | None = None
    """None: the most that the model and its tokenizer take."""
    precision: str = "fp32"
    device: str = "auto"
    limit: int | None = None
    data_dir: Path | None = None
    offline: bool = False
    force: bool = False
    workers: Workers | None = None
    """None: in this process."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the methods of kinds whose models are not trained, instead of the tasks'."""


def score_all(asked: Scoring, store: Store, display: Display) -> Outcome:
    """Score every model on every task, unless ``store`` holds the record.

    Raises:
        UsageError: something in ``asked`` is invalid, or no model's labels match; found before anything is scored.
        FlueBenchError: the only model cannot be loaded, or has no head of this kind.
    """
    if asked.data_dir is not None and not asked.data_dir.is_dir():
        raise UsageError(f"--data-dir {asked.data_dir}: no such folder.")
    remote = asked.workers is not None and asked.workers.cluster is not None
    if remote and asked.precision == "auto":
        raise UsageError(UNKNOWN_PRECISION)
    device, outcome = torch.device("cpu") if remote else pick_device(asked.device), Outcome()
    loader = Loader(asked.tasks, data_dir=asked.data_dir, offline=asked.offline)
    resolved = resolve_all(asked.models, loader, outcome, display)
    if (length := asked.max_length) is not None:
        for model in resolved:
            check_length(model, length, f"--max-length is {length}", use="Use --max-length {}")
    ways = _ways(asked, resolved, outcome, display)
    outcome.lacking = lacking(asked.tasks, asked.data_dir, asked.offline, display)
    tasks = sorted(asked.tasks, key=lambda each: each.task.name in outcome.lacking)

    def planned() -> Iterator[Planned]:
        pairs = [(each, model) for each, model in product(tasks, resolved) if (model.folder, each.task.name) in ways]
        broken: set[str] = set()
        for number, (each, model) in enumerate(pairs, 1):
            task = each.task
            if task.name in broken:
                continue
            try:
                inputs = loader.inputs(each, display)
            except FlueBenchError as error:
                broken.add(task.name)
                cannot_load(task.name, error, outcome, display)
                continue
            try:
                longest = asked.max_length or _longest(model, loader)
            except ModelError as error:
                cannot_load(f"{model.ref.name} on {task.name}", error, outcome, display)
                continue
            way = ways[model.folder, task.name]
            settled = settle(asked.precision, asked.workers, model, device)
            suspected = leaks(model.folder, task)
            limit = inputs.limit(asked.limit)
            said = (*_said(way.reading), *inputs.alone(limit))
            for line in (*said, *suspected):
                display.once(f"{loader.called(model.ref)} on {task.name}: {line}")
            cell = Cell(
                model=model.ref,
                task=task.name,
                task_version=task.version,
                data=inputs.data.ref.digest,
                limit=limit,
                recipe=NoTraining(
                    method=way.method,
                    split=asked.split,
                    max_length=longest,
                    precision=settled.precision,
                    answers=way.reading.answers,
                    scheme=way.reading.scheme,
                    options=way.settings,
                ),
                seed=None,
            )
            notes = (*filter(None, (settled.why,)), *said)
            row = (way.called or origin(model)) + (CUT_AT.format(asked.max_length) if asked.max_length else "")
            tested = len(inputs.splits(cell.limit)[asked.split])
            size = float(tested) * (model.ref.weights_bytes or 1)
            yield Planned(f"[{number}/{len(pairs)}]", cell, row, notes, suspected, None, size, tested)

    with display.running(), random_state_kept(device):
        run_planned(planned(), loader, store, device, outcome, display, force=asked.force, workers=asked.workers)
    return outcome


class Way(NamedTuple):
    """How a model is scored on a task."""

    method: str
    """``NoTraining.method``."""
    reading: Reading
    """What its head means; nothing without one."""
    settings: dict[str, Any]
    """Of the method."""
    called: str
    """What its row is called by; empty: by where the model comes from."""


def origin(model: Resolved) -> str:
    """Return where a checkpoint comes from, as its row is called: from which run of ours, if it was kept by one."""
    record = kept_record(model.folder, model.ref.digest)
    if record is None:
        return ELSEWHERE
    return KEPT_OF + ", ".join(filter(None, (record.recipe_name, record.cell.advantage, record.cell.run)))


def _ways(
    asked: Scoring, resolved: Sequence[Resolved], outcome: Outcome, display: Display
) -> dict[tuple[Path, str], Way]:
    """Return how each model is scored on each task, by its folder and the task; what does not fit is left out.

    Raises:
        UsageError: nothing fits: no head's labels are those of a task, by name or as given; a given label is no head's,
            or a setting no method's.
        ModelError: the only model has no such head.
    """
    several = len(asked.models) * len(asked.tasks) > 1
    misfits: dict[str, FlueBenchError] = {}
    ways: dict[tuple[Path, str], Way] = {}
    unused = set(asked.labels)
    kinds = {each.task.name: kind_named(each.task.kind) for each in asked.tasks}
    if asked.settings and all(kind.frozen is None for kind in kinds.values()):
        raise UsageError(f"--set {min(asked.settings)}: only for tasks on which nothing is trained, as mini-senses.")
    for model, each in product(resolved, asked.tasks):
        task, kind = each.task, kinds[each.task.name]
        try:
            if kind.frozen is not None:
                ways[model.folder, task.name] = _frozen(task, kind, model, asked.settings)
                continue
            theirs = models.own_labels(model, task)
            # A task without labels has a head without: what is given are numbers then, and of every model.
            any_label = len(asked.models) == 1 or not task.labels
            given = {label: meant for label, meant in asked.labels.items() if any_label or label in theirs}
            unused -= given.keys()
            if not given and (run := kept_record(model.folder, model.ref.digest)):
                given = dict(kind.stated(run, task))
            ways[model.folder, task.name] = Way(OWN_HEAD, _reading(task, theirs, given, several), {}, "")
        except (ModelError, UsageError) as error:
            misfits[f"{model.ref.name} on {task.name}"] = error
    if misfits and not ways:
        if not several and isinstance(only := next(iter(misfits.values())), ModelError):
            raise only
        raise UsageError("\n".join(f"{what}: {why}" for what, why in misfits.items()))
    if unused and ways:
        raise UsageError(f"--labels: no model's head has the label '{short(min(unused), 80)}'.")
    for what, why in misfits.items():
        cannot_load(f"{what}, left out", why, outcome, display)
    return ways


def _frozen(task: Task, kind: Kind[Any], model: Resolved, given: Mapping[str, Any]) -> Way:
    half = network_of(task)
    if not isinstance(half, Frozen) or kind.frozen is None:
        raise UsageError(f"kind '{kind.name}' names a method, and its network has none.")
    try:
        settings = kind.settings(task, given)
    except ValueError as error:
        raise UsageError(f"--set: {error}.") from None
    if why := half.misfit(model.config, settings):
        raise UsageError(f"{why}.")
    return Way(kind.frozen, Reading({}), settings, kind.called(settings))


def _reading(task: Task, theirs: Sequence[str], given: Mapping[str, str], several: bool) -> Reading:
    try:
        return kind_named(task.kind).read_head(theirs, task, given)
    except ValueError as error:
        said = f"{error}."
        if task.labels:
            said += f" The head's labels are {_listed(theirs)}; the task's {_listed(task.labels)}."
        if isinstance(error, UnmatchedError):
            pairs = [as_pair(short(label, 40), meant or "LABEL") for label, meant in list(error.advice.items())[:20]]
            alone = ", and score this by itself" if several else ""
            said += f"\nSay what is meant, by a LABEL of the task's{alone}: --labels '{','.join(pairs)}'."
        raise UsageError(said) from None


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(short(label, 40) for label in labels[:20])
    return (shown + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")) or "none"


def _said(reading: Reading) -> tuple[str, ...]:
    """Return what was understood of a head, in words."""
    pairs = [f"{theirs} → {ours}" for theirs, ours in reading.answers.items()]
    more = f" and {len(pairs) - 20} more" if len(pairs) > 20 else ""
    said = (f"labels of its head → the task's: {', '.join(pairs[:20])}{more}",) if pairs else ()
    return (*said, reading.converted) if reading.converted else said


def _longest(model: Resolved, loader: Loader) -> int:
    """Return the most sub-words of an input that a model and its tokenizer take."""
    tokenizer = loader.tokenizer(model)
    stated = [models.max_positions(model.config), int(min(tokenizer.model_max_length, 2**20))]
    known = [length for length in stated if length is not None and 4 <= length < 2**20]
    return min(known, default=LONGEST)
