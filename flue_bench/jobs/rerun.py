"""Training a record's cell again, to check that it gives the same predictions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flue_bench.errors import FlueBenchError, RecordError
from flue_bench.jobs.cell import OnTrained, run_cell
from flue_bench.jobs.loader import Loader
from flue_bench.progress import Display
from flue_bench.record import Environment, RunRecord
from flue_bench.results.store import Store, read_predictions, read_record
from flue_bench.results.verify import Checked
from flue_bench.training.device import pick_device, random_state_kept


@dataclass(frozen=True)
class Compared:
    """The predictions of a record compared with those of a rerun of its cell."""

    rows: int
    differing: int
    """The number of rows with another label or another tag."""
    same_file: bool
    """Whether the two files are the same to the byte, probabilities included."""
    metric: str
    before: float
    after: float
    """Headline score, as a fraction of 1."""
    changed: tuple[str, ...]
    """What else differs: machine, device, threads, versions. With any difference, the same file is not promised."""

    def __str__(self) -> str:
        if self.same_file:
            return "identical to the byte"
        rows = f"predictions differ in {self.differing:,} of {self.rows:,} rows" if self.differing else ""
        score = f" ({self.metric} {100 * self.before:.2f} → {100 * self.after:.2f})" if self.differing else ""
        elsewhere = f"not promised, since {', '.join(self.changed)}" if self.changed else "on the same machine"
        return f"{rows or 'the same labels, other probabilities'}{score}; {elsewhere}"


def rerun(
    record: RunRecord, folder: Path, loader: Loader, display: Display, *, model: str | None = None, device: str = "auto"
) -> Compared:
    """Train a record's cell again, in a temporary folder, and compare the predictions.

    On the CPU it is trained with as many threads as the record says, if there are so many cores.

    Args:
        record: the record of the run.
        folder: the folder of its file and its predictions.
        loader: finds the model, the task and the data of the record.
        display: shows the run.
        model: hub id or directory; None takes the record's, with its revision.
        device: as for ``flue-bench run``.

    Raises:
        UsageError: the cell cannot be run again: another version of the task or of the protocol, another model, other
            data, or a directory that ``model`` has to name.
        RecordError: the gold labels in the predictions are not those of the data.
        FlueBenchError: model or data cannot be loaded, or the run failed.
    """
    loader.find(record.cell, display, model)
    where = pick_device(device)
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as scratch:
        return again(record, folder, loader, Store(Path(scratch)), where, display)[1]


def again(
    record: RunRecord,
    folder: Path,
    loader: Loader,
    store: Store,
    where: torch.device,
    display: Display,
    on_trained: OnTrained = lambda record, _: record,
) -> tuple[RunRecord, Compared]:
    """Train a record's cell again into ``store``, and compare the predictions; other arguments as for ``rerun``."""
    with _threads(record.environment.threads), random_state_kept(where):
        made, _ = run_cell(
            record.cell, loader, store, where, display, recipe_name=record.recipe_name, on_trained=on_trained
        )
        after = read_predictions(made, store.folder(made.cell))
    before = read_predictions(record, folder)
    for column in ("id", "gold"):
        if before[column].to_pylist() != after[column].to_pylist():
            raise RecordError(f"'{column}' in its predictions is not that of the data")
    pairs = zip(before["predicted"].to_pylist(), after["predicted"].to_pylist(), strict=True)
    return made, Compared(
        rows=before.num_rows,
        differing=sum(one != other for one, other in pairs),
        same_file=made.predictions.sha256 == record.predictions.sha256,
        metric=record.metric,
        before=record.scores[record.metric],
        after=made.scores[record.metric],
        changed=tuple(_changes(record.environment, made.environment)),
    )


def checked_again(
    checked: Checked, loader: Loader, display: Display, *, model: str | None = None, device: str = "auto"
) -> Checked:
    """Return a checked record with what training its cell again shows; arguments as for ``rerun``."""
    try:
        record = read_record(checked.file)
        compared = rerun(record, checked.file.parent, loader, display, model=model, device=device)
    except FlueBenchError as error:
        return replace(checked, faults=(f"rerun: {error}",))
    said = f"rerun: {compared}"
    return replace(checked, rerun=said, faults=() if compared.same_file else (said,))


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Use this number of threads, since another number adds sums in another order."""
    ours = torch.get_num_threads()
    torch.set_num_threads(min(wanted, os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(ours)


def _changes(before: Environment, after: Environment) -> Iterator[str]:
    """Yield the differences that may give other bits, such as ``threads 2 → 1``."""
    for name in ("device", "threads", "deterministic", "platform", "python", "flue_bench", "commit"):
        if (old := getattr(before, name)) != (new := getattr(after, name)):
            yield f"{name} {old} → {new}"
    # What only one of them lists is a change of what flue-bench lists, not of what was installed.
    for name in sorted(before.packages.keys() & after.packages.keys()):
        if (old := before.packages[name]) != (new := after.packages[name]):
            yield f"{name} {old} → {new}"
    if not after.deterministic:
        yield f"sums on {after.device} have no fixed order"
