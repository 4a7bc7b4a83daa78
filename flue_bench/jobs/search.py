"""A search for the recipe of each model on each task: a grid of points scored on validation, then one of the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flue_bench.errors import counted
from flue_bench.jobs.grid import Grid, Outcome, Where, run_grid
from flue_bench.progress import Display
from flue_bench.record import Cell, Point, RunRecord, Search, Searched, Setting, Tried
from flue_bench.results.store import Store


def run_search(grid: Grid, searched: Searched, store: Store, display: Display) -> Outcome:
    """Try every point on validation, and run the best of each model and task with the seeds of ``grid``.

    No test split is read before all points are done, but by a dry run, which counts its rows. A point whose training
    collapses or diverges loses; where a point failed otherwise, or all have lost, nothing is chosen, and ``unloaded``
    says so.

    Args:
        grid: the final runs, but for what is searched.
        searched: the points and the tuning seeds.
        store: for the records of both.
        display: shows the runs.

    Raises:
        UsageError, HubError: as for ``run_grid``.
    """
    points = searched.settings()
    display.line(f"Search: {searched.budget}{_drawn(searched)}, on validation alone.")
    tuning = replace(grid, seeds=searched.seeds, split="validation", points=points, keep=None, metrics={})
    tried = run_grid(tuning, store, display)
    found: dict[Where, Search] = {}
    undecided: list[str] = []
    assumed = False
    for where, cells in tried.planned.items():
        on = "" if where.train_rows is None else f" · {counted(where.train_rows, 'train row')}"
        called = f"{cells[0][0].model.name} · {where.task}{on}"
        search, lacking = _search(points, cells, tried)
        if search is None and grid.dry_run:
            found[where], assumed = _longest(points, cells), True
        elif search is None:
            undecided.append(f"{called}: {lacking}: the same command goes on with them, and then chooses.")
        elif search.best is None:
            reasons = ", ".join(f"{number} {why}" for why, number in search.lost.items())
            other = "lower rates" if set(search.lost) == {"diverged"} else "more epochs or other rates"
            undecided.append(f"{called}: no point stands ({reasons}): search other values, such as {other}.")
        else:
            found[where] = search
            display.line(f"{called}: {_said(search, tried)}")
    for reason in undecided:
        display.line(reason)
    chosen = {where.task for where in found}
    final = replace(
        grid, tasks=[each for each in grid.tasks if each.task.name in chosen], searched=searched, found=found
    )
    if found and grid.dry_run:
        as_long = ", counted as long as the longest point where the best is not known yet" if assumed else ""
        display.line(f"Then the best of each model and task{as_long}:")
    outcome = run_grid(final, store, display) if found else Outcome()
    outcome.failures = [*(failure for failure in tried.failures if not failure.diverged), *outcome.failures]
    outcome.unloaded = list(dict.fromkeys([*tried.unloaded, *undecided, *outcome.unloaded]))
    outcome.lacking = tried.lacking | outcome.lacking
    return outcome


def _search(
    points: list[dict[str, Setting]], cells: Mapping[int, list[Cell]], tried: Outcome
) -> tuple[Search | None, str]:
    """Return the search of one model on one task, or None and how many of its runs are not done."""
    records = {record.cell_digest: record for record in tried.records}
    failures = {failure.cell_digest: failure for failure in tried.failures}
    done: list[Point] = []
    lacking = 0
    for number, settings in enumerate(points):
        runs: list[Tried] = []
        for cell in cells[number]:
            digest, (_, seed) = cell.digest, cell.trained
            if (record := records.get(digest)) is not None:
                runs.append(_tried(record, seed))
            elif (failure := failures.get(digest)) is not None and failure.diverged:
                runs.append(Tried(seed=seed, score=None, seconds=0.0, steps=0, cell_digest=digest))
            else:
                lacking += 1
        if len(runs) == len(cells[number]):
            done.append(Point(settings=settings, runs=tuple(runs)))
    if lacking:
        return None, f"{counted(lacking, 'run')} of the search failed"
    return Search(points=tuple(done)), ""


def _longest(points: list[dict[str, Setting]], cells: Mapping[int, list[Cell]]) -> Search:
    """Return a search that chose the point that takes longest: what a dry run takes for one that is not done."""

    def length(number: int) -> tuple[float, ...]:
        recipe, _ = cells[number][0].trained
        return float(recipe.epochs), recipe.max_length, -recipe.batch_size

    number = max(cells, key=length)
    run = Tried(seed=0, score=0.0, seconds=0.0, steps=0, cell_digest=cells[number][0].digest)
    return Search(points=(Point(settings=points[number], runs=(run,)),))


def _tried(record: RunRecord, seed: int) -> Tried:
    return Tried(
        seed=seed,
        score=record.scores[record.metric],
        collapsed=record.collapsed,
        seconds=record.cost.seconds,
        steps=record.cost.steps,
        cell_digest=record.cell_digest,
    )


def _drawn(searched: Searched) -> str:
    of = f" of {searched.of} points" if searched.of > searched.points else " points"
    seeds = counted(len(searched.seeds), "tuning seed")
    return f"{of} ({', '.join(searched.fields)}), {seeds}"


def _said(search: Search, tried: Outcome) -> str:
    """Return in words what was chosen."""
    best = search.best
    assert best is not None and best.score is not None
    metric = next(record.metric for record in tried.records if record.cell_digest == best.runs[0].cell_digest)
    settings = ", ".join(f"{name} {value}" for name, value in best.settings.items())
    lost = "".join(f", {number} {why}" for why, number in search.lost.items())
    return f"best on validation: {settings} ({metric} {100 * best.score:.2f}; {len(search.points)} points{lost})"
