"""A grid of cells (task, model, seed), each run once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from filelock import Timeout

from flue_bench.data import sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError, FlueBenchError, HubError, ModelError, UsageError
from flue_bench.jobs.cell import CallerError, CellFailedError, OnEpoch, run_cell, theirs, titled
from flue_bench.jobs.keep import Keep, Keeper
from flue_bench.jobs.leaks import leaks
from flue_bench.jobs.loader import Loader, TaskInputs
from flue_bench.jobs.teach import teacher_for
from flue_bench.progress import Display
from flue_bench.recipe import Recipe
from flue_bench.record import Cell, Failure, RunRecord, Search, Searched, Teacher
from flue_bench.results.store import Store, kept_record
from flue_bench.task import Example, Task
from flue_bench.training import models
from flue_bench.training.device import Device, check_compiler, known, pick_device, prepare, random_state_kept
from flue_bench.training.models import Resolved

if TYPE_CHECKING:
    import pyarrow

    from flue_bench.jobs.workers import Workers


class Where(NamedTuple):
    """What a recipe is chosen for."""

    task: str
    model: str
    """Its digest."""
    train_rows: int | None


class Variant(NamedTuple):
    """One way in which a model is fine-tuned on a task."""

    recipe: Recipe
    name: str
    searched: Searched | None = None
    search: Search | None = None


@dataclass(frozen=True)
class Grid:
    """The request of ``flue-bench run``."""

    models: Sequence[str]
    tasks: Sequence[Registered]
    seeds: Sequence[int]
    recipe: str = "standard"
    overrides: dict[str, Any] = field(default_factory=dict)
    precision: str | None = None
    """Replaces the recipe's precision."""
    device: str = "auto"
    limit: int | None = None
    train_rows: Sequence[int | None] = (None,)
    """Rows of train, ascending, each a cell of its own; None: all of them."""
    data_dir: Path | None = None
    offline: bool = False
    force: bool = False
    keep: Keep | None = None
    """Which fine-tuned models to keep."""
    metrics: Mapping[str, Callable[[pyarrow.Table], float]] = field(default_factory=dict)
    """Scores of the caller's own, by name, each a function of the test predictions."""
    on_epoch: OnEpoch | None = None
    split: Literal["test", "validation"] = "test"
    """The split that is scored; for validation the test split is not read."""
    teacher: str | None = None
    """A fine-tuned model whose soft labels the models learn from besides."""
    points: Sequence[Mapping[str, Any]] = ({},)
    """Changes of the recipe beside ``overrides``, each of which is tried."""
    searched: Searched | None = None
    """With ``found``: what was searched."""
    found: Mapping[Where, Search] | None = None
    """Searches that are done, whose best point is the recipe; where there is none, no cell is run."""
    workers: Workers | None = None
    """None: the cells run in this process."""
    dry_run: bool = False
    """Say what would be run, and run nothing."""

    @property
    def tunes(self) -> bool:
        """Whether it tries the points of a search, of which another grid runs the best."""
        return self.points != ({},)

    @property
    def recipe_name(self) -> str:
        """The recipe and its changed fields, however their values are written: ``standard learning_rate=0.0001``."""
        return self._named({})

    def _named(self, point: Mapping[str, Any]) -> str:
        settings = {**self.overrides, **point}
        changed = Recipe().override(settings)
        return " ".join([self.recipe, *(f"{key}={getattr(changed, key)}" for key in sorted(settings))])

    def variants(self, task: Task, model: str, train_rows: int | None) -> list[Variant]:
        """Return the recipes of a model, by its digest, on a task: one a point, or the one that was found."""
        recipe = task.named_recipe(self.recipe).override(self.overrides)
        if self.found is None:
            return [Variant(recipe.override(dict(point)), self._named(point)) for point in self.points]
        search = self.found.get(Where(task.name, model, train_rows))
        if search is None or search.best is None:
            return []
        return [Variant(recipe.override(dict(search.best.settings)), self.recipe_name, self.searched, search)]

    def recipes(self, task: Task) -> list[Recipe]:
        """Return all recipes of a task."""
        recipe = task.named_recipe(self.recipe).override(self.overrides)
        points = self.points
        if self.found is not None:
            points = [each.best.settings for where, each in self.found.items() if where.task == task.name and each.best]
        return [recipe.override(dict(point)) for point in points]


@dataclass
class Outcome:
    """The outcome of a grid."""

    records: list[RunRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    """Tasks whose data and models whose files could not be loaded, with the reason."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Task whose data were missing before anything ran → what to do, which was printed then."""
    reused: int = 0
    """Cells that were already in the store."""
    unkept: list[str] = field(default_factory=list)
    """Models that could not be kept, with the reason."""
    planned: dict[Where, dict[int, list[Cell]]] = field(default_factory=dict)
    """The cells of each point (by its number) of the grid."""


class Planned(NamedTuple):
    """A cell of a grid."""

    number: str
    """``[3/12]``"""
    cell: Cell
    recipe_name: str
    notes: tuple[str, ...]
    """What was chosen on the user's behalf, and why."""
    leaks: tuple[str, ...] = ()
    search: Search | None = None
    size: float = 0.0
    """Examples that are read, times the bytes of the model's weights: how cells compare in length."""
    tested: int = 0
    """Examples that are scored."""
    rows: int = 0
    """Examples that are learned from."""


def run_grid(grid: Grid, store: Store, display: Display) -> Outcome:
    """Run every cell that ``store`` does not hold yet. A cell that fails is recorded as such, and the others go on.

    Raises:
        UsageError: something in ``grid`` is invalid; found before the first cell runs.
        HubError: a model cannot be fetched.
    """
    if grid.data_dir is not None and not grid.data_dir.is_dir():
        raise UsageError(f"--data-dir {grid.data_dir}: no such folder.")
    remote = grid.workers is not None and grid.workers.cluster is not None
    device = torch.device("cpu") if remote else pick_device(grid.device)
    recipes = {each.task.name: grid.recipes(each.task) for each in grid.tasks}
    outcome = Outcome()
    loader = Loader(grid.tasks, data_dir=grid.data_dir, offline=grid.offline)
    resolved = resolve_all(grid.models, loader, outcome, display)
    for model in resolved:
        for name in recipes:
            _check_lengths(grid, recipes, model, name)
    every = [recipe for of_task in recipes.values() for recipe in of_task]
    if remote and "auto" in {grid.precision or recipe.precision for recipe in every}:
        raise UsageError(UNKNOWN_PRECISION)
    if not remote and any(recipe.compiled for recipe in every):
        searched = any("compiled" in point for point in grid.points)
        check_compiler("--search compiled" if searched else "--set compiled", device)
    teacher = _teacher(grid, loader, recipes)
    outcome.lacking = lacking(grid.tasks, grid.data_dir, grid.offline, display)
    grid = replace(grid, tasks=sorted(grid.tasks, key=lambda each: each.task.name in outcome.lacking))
    cells = _cells(grid, resolved, teacher, device, loader, store, outcome, display)
    if grid.dry_run:
        from flue_bench.jobs.forecast import foretell

        foretell(cells, grid, store, device, outcome, display)
        return outcome
    run_planned(
        cells,
        loader,
        store,
        device,
        outcome,
        display,
        force=grid.force,
        on_epoch=grid.on_epoch,
        metrics=grid.metrics,
        keep=grid.keep,
        workers=grid.workers,
    )
    return outcome


def run_planned(
    cells: Iterable[Planned],
    loader: Loader,
    store: Store,
    device: torch.device,
    outcome: Outcome,
    display: Display,
    *,
    force: bool = False,
    on_epoch: OnEpoch | None = None,
    metrics: Mapping[str, Callable[[pyarrow.Table], float]] | None = None,
    keep: Keep | None = None,
    workers: Workers | None = None,
) -> None:
    """Run each cell once, those that another process is running last, and add what comes of them to ``outcome``."""
    if workers:
        from flue_bench.jobs.spread import run_spread  # it needs this module

        try:
            run_spread(cells, loader, store, device, outcome, display, workers, force=force, metrics=metrics, keep=keep)
        except CallerError as raised:
            raise raised.error from None
        return
    keeper = Keeper(store, keep) if keep else None

    def runs(planned: Planned, wait: bool) -> bool:
        """Run a cell; return False if another process is running it."""
        cell = planned.cell
        try:
            record, reused = run_cell(
                cell,
                loader,
                store,
                device,
                display,
                recipe_name=planned.recipe_name,
                notes=planned.notes,
                number=f"{planned.number} ",
                force=force,
                wait=wait,
                on_epoch=on_epoch,
                leaks=planned.leaks,
                on_trained=keeper.fresh if keeper else lambda record, _: record,
                search=planned.search,
            )
            record = with_metrics(record, metrics or {}, store)
        except Timeout:
            return False
        except CellFailedError as error:
            outcome.failures.append(error.failure)
            return True
        except (DataError, HubError, ModelError, UsageError) as error:  # files that were removed or changed meanwhile
            cannot_load(cell.task, error, outcome, display)
            return True
        add(record, reused, planned, outcome, display)
        return True

    try:
        with display.running(), random_state_kept(device):
            # Cells that another process runs are postponed, so that several share a grid, and waited for at the end.
            put_off = [planned for planned in cells if not runs(planned, wait=False)]
            for planned in put_off:
                runs(planned, wait=True)
            if keeper:
                named, outcome.unkept = keeper.settle(outcome.records, loader, device, display)
                outcome.records = [named.get(record.cell_digest, record) for record in outcome.records]
    except CallerError as raised:
        raise raised.error from None


def add(record: RunRecord, reused: bool, planned: Planned, outcome: Outcome, display: Display) -> None:
    """Add the record of a planned cell to the outcome."""
    outcome.records.append(record)
    outcome.reused += reused
    known, asked = record.cell.model.name, planned.cell.model.name
    if known != asked:
        display.once(f"{asked} has the content of {known}, and is shown under that name")


def with_metrics(record: RunRecord, metrics: Mapping[str, Callable[[pyarrow.Table], float]], store: Store) -> RunRecord:
    """Return the record with the caller's own scores, and store it so; scores that it has already are kept."""
    lacking = {name: metric for name, metric in metrics.items() if name not in record.own_scores}
    if not lacking:
        return record
    table, own = record.predictions(), dict(record.own_scores)
    for name, metric in lacking.items():
        with theirs():
            own[name] = float(metric(table))
            if not math.isfinite(own[name]):
                raise UsageError(f"metric '{name}' gives {own[name]}: a score is a finite number.")
    record = record.model_copy(update={"own_scores": own})
    store.write_again(record)
    return record


class _Taught(NamedTuple):
    """A teacher of one task."""

    teacher: Teacher
    leaks: tuple[str, ...]
    """Why it may have been trained on what its students are scored on."""
    collapsed: str
    """In words, that it gives one answer throughout, as the record beside it says; empty if not."""


def _teacher(grid: Grid, loader: Loader, recipes: Mapping[str, Sequence[Recipe]]) -> dict[str, _Taught]:
    """Return the teacher of each task, none without one.

    Raises:
        UsageError: it is no teacher of one of the tasks; or there is none, and a recipe says how to learn from it.
        FlueBenchError: it cannot be loaded.
    """
    if grid.teacher is None:
        if of_teacher := {name for of_task in recipes.values() for recipe in of_task for name in recipe.of_teacher}:
            raise UsageError(f"{min(of_teacher)} is how to learn from a teacher: give --teacher, or leave it out.")
        return {}
    model = loader.resolve(grid.teacher)
    record = kept_record(model.folder, model.ref.digest)
    failed = f"its teacher {model.ref.name} collapsed: {record.collapsed}" if record and record.collapsed else ""
    of_task: dict[str, _Taught] = {}
    misfits: list[str] = []
    for each in grid.tasks:
        task = each.task
        try:
            of_task[task.name] = _Taught(
                teacher_for(model, task),
                tuple(f"its teacher: {words}" for words in leaks(model.folder, task)),
                failed,
            )
            _check_lengths(grid, recipes, model, task.name)
        except UsageError as error:
            misfits.append(str(error))
    if misfits:
        raise UsageError("\n".join(misfits))
    return of_task


def _cells(
    grid: Grid,
    resolved: list[Resolved],
    teachers: Mapping[str, _Taught],
    device: torch.device,
    loader: Loader,
    store: Store,
    outcome: Outcome,
    display: Display,
) -> Iterator[Planned]:
    """Yield the grid's cells, task by task. They name data by content, so a task is read when its turn comes."""
    points = range(len(grid.points) if grid.found is None else 1)
    numbered = list(enumerate(product(grid.tasks, grid.train_rows, resolved, points, grid.seeds), 1))
    for each, group in groupby(numbered, key=lambda cell: cell[1][0]):
        name = each.task.name
        try:
            inputs = loader.inputs(each, display, test=grid.split == "test")
        except FlueBenchError as error:
            cannot_load(name, error, outcome, display)
            continue
        limit = inputs.limit(grid.limit)
        poor, taught = inputs.alone(limit), teachers.get(name)
        done: set[tuple[Where, int, int]] = set()
        for number, (_, asked, model, point, seed) in group:
            train_rows = inputs.train_rows(asked, limit)
            if asked is not None and train_rows is None:
                whole = len(inputs.splits(limit)["train"])
                display.once(f"{name}: train has {whole:,} rows: --train-rows {asked} is all of them")
            where = Where(name, model.ref.digest, train_rows)
            if (where, point, seed) in done or not (variants := grid.variants(each.task, model.ref.digest, train_rows)):
                continue
            done.add((where, point, seed))
            recipe, recipe_name, searched, search = variants[point]
            train = inputs.splits(limit, train_rows, seed)["train"]
            rows = len(train)
            epochs = recipe.epochs_on(rows)
            steps = recipe.steps_on(rows)
            auto = f"epochs auto chose {epochs}: {steps:,} steps on {rows:,} rows" if recipe.epochs == "auto" else ""
            lacks = "" if train_rows is None else _lacks(inputs, train)
            settled = settle(grid.precision or recipe.precision, grid.workers, model, device)
            cell = Cell(
                model=model.ref,
                task=name,
                task_version=each.task.version,
                data=inputs.data.ref.digest,
                limit=limit,
                recipe=recipe.override({"precision": settled.precision, "epochs": epochs}),
                seed=seed,
                train_rows=train_rows,
                scored=grid.split,
                search=searched,
                teacher=taught and taught.teacher,
            )
            outcome.planned.setdefault(where, {}).setdefault(point, []).append(cell)
            at = f"[{number}/{len(numbered)}]"
            if grid.tunes and not grid.force and (failure := store.failure(cell)) and failure.diverged:
                outcome.failures.append(failure)  # an answer of the search like any other
                title = titled(cell, loader.called(model.ref), f"{at} ")
                display.line(f"{title}: has diverged before, and loses; --force runs it again")
                continue
            notes = (*filter(None, (settled.why, auto, lacks, taught and taught.collapsed)), *poor)
            size = float(rows * epochs) * (model.ref.weights_bytes or 1)
            tested = len(inputs.splits(limit)[grid.split])
            suspected = taught.leaks if taught else ()
            yield Planned(at, cell, recipe_name, notes, suspected, search, size, tested, rows)


UNKNOWN_PRECISION = (
    "--cluster: which precision is best depends on the nodes, which this machine cannot see: give --precision bf16, "
    "fp16 or fp32."
)


def settle(precision: str, workers: Workers | None, model: Resolved, device: torch.device) -> Device:
    """Return the device with the precision that ``auto`` means there; of a cluster's nodes it was given."""
    if workers and workers.cluster and precision != "auto":
        return Device(device, known(precision), "")
    return prepare(device, precision, models.width(model.config))


def _lacks(inputs: TaskInputs, drawn: list[Example]) -> str:
    """Return in words which labels train has and the rows drawn from it do not."""
    ours = inputs.balance(drawn)
    missing = [label for label in inputs.registered.task.labels if inputs.whole.get(label) and not ours.get(label)]
    return f"the {len(drawn):,} rows drawn from train have no {', '.join(missing)}" if missing else ""


def cannot_load(name: str, error: FlueBenchError, outcome: Outcome, display: Display) -> None:
    """Add a task or model that cannot be loaded to the outcome, and say why."""
    outcome.unloaded.append(f"{name}: {error}")
    told = name in outcome.lacking and outcome.lacking[name] in str(error)
    display.line(f"{name}: {'still no data, see above' if told else error}")


def lacking(tasks: Sequence[Registered], data_dir: Path | None, offline: bool, display: Display) -> dict[str, str]:
    """Return task whose data are missing → what to do; printed before anything runs, so that there is time to do it."""
    found: dict[str, str] = {}
    same: dict[str, list[str]] = {}
    elsewhere = any(source.hub or source.archives for each in tasks for source in each.task.source)
    with display.running(), display.bar("looking for data") if elsewhere else nullcontext():
        for each in tasks:
            if why := sources.lacking(each, data_dir=data_dir, offline=offline):
                found[each.task.name] = why.partition("\n")[0]
                same.setdefault(why, []).append(each.task.name)
    for why, names in same.items():
        display.line(f"{', '.join(names)}: no data. {why}")
    if found and (others := len(tasks) - len(found)):
        display.line(f"Meanwhile {others} other task{'s run' if others > 1 else ' runs'}.")
    return found


def _check_lengths(grid: Grid, recipes: Mapping[str, Sequence[Recipe]], model: Resolved, task: str) -> None:
    """Raise ``UsageError`` if a model has no positions for the lengths of a task's recipes."""
    for length in sorted({recipe.max_length for recipe in recipes[task]}):
        if any("max_length" in point for point in grid.points):
            check_length(model, length, f"--search max_length has {length}", use="Leave it out of the search")
        else:
            check_length(model, length, f"the recipe of {task} has max_length {length}")


SHORTER = "Use --set max_length={}: the record and the board will say so"


def check_length(model: Resolved, max_length: int, said: str, *, use: str = SHORTER) -> None:
    """Raise ``UsageError`` if a model has no positions for ``max_length`` sub-words.

    Args:
        model: the model.
        max_length: what is asked for.
        said: who asks for it, in words.
        use: what to do, with {} for the length that the model takes.
    """
    positions = models.max_positions(model.config)
    if positions is not None and max_length > positions:
        raise UsageError(f"{model.ref.name} takes at most {positions} sub-words, but {said}. {use.format(positions)}.")


def resolve_all(names: Sequence[str], loader: Loader, outcome: Outcome, display: Display) -> list[Resolved]:
    """Return the models that load; an invalid name ends the run, other failures are printed and left out."""
    resolved: list[Resolved] = []
    for name in names:
        try:
            resolved.append(loader.resolve(name))
        except UsageError:
            raise
        except FlueBenchError as error:
            if len(names) == 1:
                raise
            cannot_load(name, error, outcome, display)
    return resolved
