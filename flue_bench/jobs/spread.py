"""Cells on workers: what ``run_planned`` does in this process, done by several.

Which cells there are, and which have a record, is found out here, by the same code; a worker is sent a cell as JSON and
the places of its model and data, and sends back its record. The store's locks and digests are what keeps two from doing
the same work, whoever started them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import Timeout
from pydantic import ValidationError

from flue_bench.data import registry
from flue_bench.data.registry import MADE, Registered
from flue_bench.errors import DataError, FlueBenchError, HubError, ModelError, UsageError
from flue_bench.jobs.cell import CellFailedError, now, result, run_cell, titled
from flue_bench.jobs.cluster import Slurm
from flue_bench.jobs.grid import Outcome, Planned, add, cannot_load, with_metrics
from flue_bench.jobs.keep import Keep, Keeper
from flue_bench.jobs.loader import Loader
from flue_bench.jobs.worker import Report
from flue_bench.jobs.worker import loader as workers_loader
from flue_bench.jobs.workers import Job, Workers, placed, started
from flue_bench.progress import Display
from flue_bench.record import SCHEMA_VERSION, Cell, Failure, ModelRef, Place, RunRecord, Search
from flue_bench.results.store import Store, model_name, record_json, stem
from flue_bench.task import Task
from flue_bench.training import checkpoint
from flue_bench.training.device import pick_device, prepare, random_state_kept

if TYPE_CHECKING:
    import pyarrow

CELL = "cell"
"""The entry point of ``cell``."""


def run_spread(
    cells: Iterable[Planned],
    loader: Loader,
    store: Store,
    device: torch.device,
    outcome: Outcome,
    display: Display,
    workers: Workers,
    *,
    force: bool = False,
    metrics: Mapping[str, Callable[[pyarrow.Table], float]] | None = None,
    keep: Keep | None = None,
) -> None:
    """Run each cell once, on workers, and add what comes of them to ``outcome``; arguments as for ``run_planned``.

    The longest begin first, so that none of them is left alone at the end.

    Raises:
        UsageError: a task or the device cannot be had by workers.
        FlueBenchError: no worker can be started.
    """
    place = placed(workers, device)
    keeper = Keeper(store, keep, trains=workers.cluster is None) if keep else None
    records: dict[int, tuple[RunRecord, bool]] = {}
    with display.running(), random_state_kept(device):
        planned = list(cells)
        todo: list[tuple[int, Planned]] = []
        for index, each in enumerate(planned):
            record = None if force else store.find(each.cell)
            if record is not None and not store.checkpoint_dir(each.cell).exists():
                records[index] = record, True
            else:
                todo.append((index, each))
        todo.sort(key=lambda item: -item[1].size)
        common = {
            "results": str(store.root.absolute()),
            "data_dir": str(loader.data_dir.absolute()) if loader.data_dir else None,
            "offline": loader.offline,
            "device": _device(workers, device),
            "force": force,
            "keep": keep,
        }
        jobs = [_job(index, each, loader, store, common) for index, each in todo]
        if jobs:
            place = place._replace(number=min(place.number, len(jobs)))
            display.line(f"{place}; their logs: {store.root / LOGS}")
            with started(workers, place, len(jobs), store.root, display) as driver:
                for job, answer in driver.answers(jobs):
                    _take(job, answer, planned[job.key], records, outcome, store, loader, keeper, display)
        for index, each in enumerate(planned):
            if index in records:
                record, reused = records[index]
                add(with_metrics(record, metrics or {}, store), reused, each, outcome, display)
        if keeper:
            named, outcome.unkept = keeper.settle(outcome.records, loader, device, display)
            outcome.records = [named.get(record.cell_digest, record) for record in outcome.records]


LOGS = ".logs"
"""The folder in a results folder that holds the logs of workers, by the names of their cells."""


def _device(workers: Workers, here: torch.device) -> str:
    """Return the device that a worker is to use; where GPUs were asked for, a node whose GPUs fail takes no CPU."""
    if workers.cluster is None:
        return here.type
    gpus = isinstance(workers.cluster, Slurm) and workers.cluster.gpus_per_node
    return "cuda" if gpus and workers.device == "auto" else workers.device


def _job(key: int, planned: Planned, loader: Loader, store: Store, common: Mapping[str, Any]) -> Job:
    cell = planned.cell
    arguments = {
        **common,
        "cell": cell.model_dump(mode="json"),
        "model": _place(cell.model, loader),
        "teacher": _place(cell.teacher.model, loader) if cell.teacher else None,
        "task": _task(loader.task(cell)),
        "recipe_name": planned.recipe_name,
        "notes": planned.notes,
        "leaks": planned.leaks,
        "search": planned.search and planned.search.model_dump(mode="json"),
        "number": planned.number,
    }
    name = model_name(cell) if cell.seed is not None else f"{model_name(cell).partition('--seed')[0]}--{stem(cell)}"
    return Job(
        key,
        CELL,
        arguments,
        titled(cell, loader.called(cell.model), f"{planned.number} "),
        (store.root / LOGS / f"{name}.log").absolute(),
        store.checkpoint_dir(cell).absolute() / checkpoint.FILE,
        busy=store.lock(cell).busy,
    )


def _place(ref: ModelRef, loader: Loader) -> str | None:
    """Return where a worker finds a model that neither the hub nor flue-bench itself has."""
    return str(loader.model(ref).folder.absolute()) if ref.origin == "directory" else None


def _task(registered: Registered) -> dict[str, str]:
    """Return how a worker finds a task: by its name, its file, or, if it was made in Python, as JSON.

    Raises:
        UsageError: it was made in Python, and JSON cannot hold it.
    """
    if registered.package:
        return {"name": registered.task.name}
    if registered.file != MADE:
        return {"file": str(registered.file.absolute())}
    try:
        text = registered.task.model_dump_json()
        same = Task.model_validate_json(text) == registered.task
    except (ValidationError, ValueError, TypeError):
        same = False
    if not same:
        raise UsageError(f"Task {registered.task.name} holds what JSON cannot: write its rows to files for workers.")
    return {"json": text}


def _take(
    job: Job,
    answer: Mapping[str, Any],
    planned: Planned,
    records: dict[int, tuple[RunRecord, bool]],
    outcome: Outcome,
    store: Store,
    loader: Loader,
    keeper: Keeper | None,
    display: Display,
) -> None:
    """Add what came of one job."""
    for line in answer.get("said", ()):
        display.once(line)
    state = answer["state"]
    if state == "done":
        record = _received(answer, store)
        if keeper and answer["unkept"]:
            keeper.failed[record.cell_digest] = answer["unkept"]
        records[job.key] = record, answer["reused"]
        if not answer["reused"]:
            display.line(f"{job.title}: {result(record)}  on {answer['where']}")
    elif state == "failed":
        outcome.failures.append(Failure.model_validate(answer["failure"]))
        display.line(f"{job.title}: failed: {outcome.failures[-1].error}")
    elif state == "lost":
        cell = planned.cell
        failure = Failure(
            schema_version=SCHEMA_VERSION,
            cell=cell,
            cell_digest=cell.digest,
            column=loader.task(cell).task.board_column,
            error=answer["reason"],
            created=now(),
        )
        store.write_failure(failure)
        outcome.failures.append(failure)
        display.line(f"{job.title}: failed: {failure.error}")
    else:  # files that were removed or changed meanwhile, a worker of another version, a fault of ours
        name = planned.cell.task if state == "unloaded" else job.title
        cannot_load(name, FlueBenchError(answer["reason"]), outcome, display)


def _received(answer: Mapping[str, Any], store: Store) -> RunRecord:
    """Return the record that a worker sent, as if it had been read: a shared folder may show new files late."""
    written = answer["record"].encode()
    record = RunRecord.model_validate(json.loads(written))
    file = store.root / answer["file"]
    record.predictions.at(Place(file, store.root, hashlib.sha256(written).hexdigest()))
    return record


def cell(arguments: dict[str, Any], display: Report) -> dict[str, Any]:
    """Run a cell: the job ``cell``.

    Args:
        arguments: what ``_job`` says.
        display: shows the run.

    Returns:
        ``state`` done, with the record as its file holds it; failed, with the failure, which is stored; unloaded, with
        the reason; or busy, where another process is running it.
    """
    asked = Cell.model_validate(arguments["cell"])
    loader = workers_loader(arguments["data_dir"], arguments["offline"])
    store = Store(Path(arguments["results"]))
    keeper = Keeper(store, arguments["keep"]) if arguments["keep"] else None
    try:
        device = pick_device(arguments["device"])
        prepare(device, asked.recipe.precision, 0)  # what a node does not have is no failure of the cell
        loader.know(_given(arguments["task"]))
        for place in filter(None, (arguments["model"], arguments["teacher"])):
            loader.resolve(place)
        done = run_cell(
            asked,
            loader,
            store,
            device,
            display,
            recipe_name=arguments["recipe_name"],
            notes=tuple(arguments["notes"]),
            number=f"{arguments['number']} ",
            force=arguments["force"],
            wait=False,
            leaks=tuple(arguments["leaks"]),
            on_trained=keeper.fresh if keeper else lambda record, _: record,
            search=Search.model_validate(arguments["search"]) if arguments["search"] else None,
        )
    except Timeout:
        return {"state": "busy"}
    except CellFailedError as error:
        return {"state": "failed", "failure": error.failure.model_dump(mode="json")}
    except (DataError, HubError, ModelError, UsageError) as error:
        return {"state": "unloaded", "reason": str(error)}
    assert done.record.predictions.place is not None
    return {
        "state": "done",
        "record": record_json(done.record).decode(),
        "file": str(done.record.predictions.place.file.relative_to(store.root)),
        "reused": done.reused,
        "unkept": keeper.failed.get(done.record.cell_digest, "") if keeper else "",
    }


def _given(task: Mapping[str, str]) -> list[Registered]:
    """Return the task that ``_task`` described, if it is not an installed one."""
    if "json" in task:
        return registry.select([Task.model_validate_json(task["json"])])
    return registry.select([Path(task["file"])]) if "file" in task else []
