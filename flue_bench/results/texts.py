"""The user's own examples behind predictions, by id: for people to look at, and for no file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flue_bench.data import registry, sources
from flue_bench.data.registry import Registered
from flue_bench.errors import FlueBenchError
from flue_bench.record import RunRecord
from flue_bench.task import Example


def of_record(
    record: RunRecord, tasks: Iterable[Registered] = (), data_dir: Path | None = None
) -> tuple[dict[str, Example], str]:
    """Return the examples that a record was scored on, by id; or none, and why.

    Args:
        record: a record.
        tasks: tasks that are not installed.
        data_dir: the folder of data placed by hand; nothing is fetched.

    Raises:
        TaskFileError: an installed task package is broken.
        UsageError: ``data_dir`` does not exist.
    """
    cell = record.cell
    known = registry.registered() | {each.task.name: each for each in tasks}
    if (found := known.get(cell.task)) is None:
        return {}, f"no task {cell.task} is installed; --task takes its file"
    if found.task.version != cell.task_version:
        return {}, f"{cell.task} is here in version {found.task.version}, and was run in version {cell.task_version}"
    if data_dir is not None and not data_dir.is_dir():
        sources.load(found, data_dir=data_dir, offline=True)  # raises
    try:
        data = sources.load(found, data_dir=data_dir, offline=True, test="test" in cell.reads)
    except FlueBenchError as error:
        said = str(error).partition("\n")[0]
        return {}, f"its data are not here. {said}"
    if data.ref.digest != cell.data:
        there = f"the data here ({data.ref.source}) have the digest {data.ref.digest}"
        return {}, f"{there}, those of the records {cell.data}"
    return {example.id: example for example in data.splits[cell.split]}, ""
