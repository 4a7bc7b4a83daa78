"""What a grid will take and show, before it runs: ``--dry-run``."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from flue_bench.boards import rules, verdicts
from flue_bench.errors import counted
from flue_bench.jobs.cluster import Slurm
from flue_bench.jobs.grid import Grid, Outcome, Planned, add
from flue_bench.jobs.workers import Placed, job_script, placed
from flue_bench.progress import Display
from flue_bench.record import Cell, RunRecord, digest_of
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import grouped
from flue_bench.results.store import Store
from flue_bench.statistics.power import Noise, smallest_difference
from flue_bench.training.device import random_state_kept

ASSUMED_SD = 0.01
"""Spread of one model's scores over its seeds that is assumed where no records show one."""
ASSUMED_DISAGREEMENT = 0.1
"""Share of the test examples on which two models differ in being right, where no records show it."""


@dataclass(frozen=True)
class Filled:
    """How cells fill workers."""

    seconds: float
    """Until the last ends."""
    idle: float
    """Share of the workers' time in which they have nothing to do."""


def filled(seconds: Iterable[float], workers: int) -> Filled:
    """Return how long workers need for cells that are given to them in this order, each to the first that is free.

    Longest first, that is at most 4/3 of the shortest time that any plan takes (Graham 1969).

    Args:
        seconds: of each cell.
        workers: how many.
    """
    free, busy = [0.0] * workers, 0.0
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
        busy += each
    end = max(free)
    return Filled(end, 1 - busy / (workers * end) if end else 0.0)


AS_LONG = ("learning_rate", "schedule", "warmup_ratio", "weight_decay", "max_grad_norm", "selection")
"""Fields of a recipe that change numbers, and not the time that it takes."""


def shape(cell: Cell, rows: int) -> str:
    """Return a digest of what decides how long a cell takes on one device.

    That is all but the seed, the values of weights and data, ``AS_LONG``, and whether validation or test is scored.

    Args:
        cell: the cell.
        rows: examples that are learned from.
    """
    said = cell.model_dump(mode="json")
    if cell.teacher:
        said["teacher"] = cell.teacher.model.weights_bytes
    recipe = {name: value for name, value in said["recipe"].items() if name not in AS_LONG}
    irrelevant = dict.fromkeys(("seed", "scored", "search"))
    return digest_of({**said, **irrelevant, "recipe": recipe, "model": cell.model.weights_bytes, "data": rows})


def known_seconds(records: Iterable[RunRecord]) -> dict[str, tuple[float, str]]:
    """Return shape of a cell → the median of its seconds and the device, of the records that were made in one go.

    Where there are several devices, that of the latest record counts.
    """
    of: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        if not record.cost.resumed and record.cell.model.weights_bytes:
            of[shape(record.cell, record.cell.served(record.data.rows).get("train", 0))].append(record)
    known = {}
    for key, alike in of.items():
        device = max(alike, key=lambda record: record.created).environment.device
        known[key] = median(each.cost.seconds for each in alike if each.environment.device == device), device
    return known


def assumed_noise(examples: int) -> Noise:
    """Return the noise of two models whose like has not been run: see ``ASSUMED_SD`` and ``ASSUMED_DISAGREEMENT``."""
    return Noise(ASSUMED_SD, math.sqrt(ASSUMED_DISAGREEMENT / examples), examples)


def smallest(noise: Noise, seeds: int) -> str:
    """Return in words the smallest difference of two models that so many seeds of each could show."""
    if seeds < 2:
        return "one seed a model shows no difference, however large: plan two at least"
    return f"{100 * smallest_difference(noise, seeds):.1f} points"


def hours(seconds: float) -> str:
    """Return a duration in words."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def foretell(
    cells: Iterable[Planned], grid: Grid, store: Store, device: torch.device, outcome: Outcome, display: Display
) -> None:
    """Say what a grid would run, how long that takes and what it can show; what has a record goes to ``outcome``."""
    with display.running(), random_state_kept(device):
        planned = list(cells)
    records = store.records() if store.root.is_dir() else []
    todo: list[Planned] = []
    for each in planned:
        record = None if grid.force else store.find(each.cell)
        if record is None:
            todo.append(each)
        else:
            add(record, True, each, outcome, display)
    display.line(f"{counted(len(planned), 'cell')}: {len(planned) - len(todo)} have a record, {len(todo)} to run.")
    ids = {id(each) for each in todo}
    for name, of_task in grouped(planned, lambda each: each.cell.task).items():
        left = sum(id(each) in ids for each in of_task)
        display.line(f"  {name}: {len(of_task)}, {left} to run")
    place = placed(grid.workers, device) if grid.workers else None
    _tell_time(todo, records, grid, place, store, display)
    if grid.tunes:
        return
    _tell_power(planned, records, grid, store, display)
    if grid.workers and isinstance(grid.workers.cluster, Slurm) and place and todo:
        display.line(f"\nThe script of each job:\n\n{job_script(grid.workers.cluster, place, len(todo))}")


def _tell_time(
    todo: Sequence[Planned],
    records: Sequence[RunRecord],
    grid: Grid,
    place: Placed | None,
    store: Store,
    display: Display,
) -> None:
    known = known_seconds(records)
    found = [known[key] for each in todo if (key := shape(each.cell, each.rows)) in known]
    if found:
        seconds = sorted((each for each, _ in found), reverse=True)
        devices = ", ".join(sorted({device for _, device in found}))
        by = f"by records of the same shape ({devices})"
        display.line(f"Time of {counted(len(found), 'cell')}: {hours(sum(seconds))}, {by}.")
        nodes = grid.workers.cluster.nodes if grid.workers and isinstance(grid.workers.cluster, Slurm) else 1
        if place and place.number:
            workers = min(place.number * nodes, len(seconds))
            plan = filled(seconds, workers)
            idle = f"{100 * plan.idle:.0f} % of it idle"
            display.line(f"On {counted(workers, 'worker')}, if each is as fast: {hours(plan.seconds)}, {idle}.")
    if unknown := len(todo) - len(found):
        lacks = "has no record of the same task, length of training and size of model"
        display.line(f"Of {counted(unknown, 'cell')} the time is unknown: {store.root} {lacks}.")


def _tell_power(
    planned: Sequence[Planned], records: Sequence[RunRecord], grid: Grid, store: Store, display: Display
) -> None:
    columns = {each.task.name: each.task.board_column for each in grid.tasks}
    groups = grouped(planned, lambda each: (columns[each.cell.task], each.cell.limit, each.cell.train_rows))
    shown = noises(records, {column for column, _, _ in groups}, grid.split, store)
    seeds = counted(len(grid.seeds), "seed")
    display.line(f"The smallest true difference of two models that {seeds} of each would show, four times in five:")
    for (column, limit, rows), of in groups.items():
        examples = sum({each.cell.task: each.tested for each in of}.values())
        noise = shown.get((column, limit, rows))
        if noise:
            how = f"seeds spread by {100 * noise.sd:.1f} points in the records here"
        else:
            noise = assumed_noise(examples)
            differ = (
                f"two models differ on {100 * ASSUMED_DISAGREEMENT:.0f} % of the {examples:,} {grid.split} examples"
            )
            how = f"assumed: seeds spread by {100 * ASSUMED_SD:.0f} point, and {differ}"
        name = column if rows is None else f"{column}, {rows} train rows"
        display.line(f"  {name}: {smallest(noise, len(grid.seeds))}  ({how})")


def noises(
    records: Sequence[RunRecord], columns: set[str], split: str, store: Store
) -> dict[tuple[str, int | None, int | None], Noise]:
    """Return column, limit and rows of train → the noise that these records show, where they show one."""
    chosen = [record for record in records if record.column in columns and record.cell.scored == split]
    if not chosen:
        return {}
    built = verdicts.weigh(rules.build(chosen, []), chosen, Evidence((store.root,)))
    return {
        (column.name, column.limit, column.train_rows): power.noise
        for column, power in zip(built.columns, built.power, strict=True)
        if power
    }
