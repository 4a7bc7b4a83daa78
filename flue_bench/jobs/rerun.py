"""Training a record's cell again, to check that it gives the same predictions, or such as another machine gives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from flue_bench import files
from flue_bench.errors import FlueBenchError, RecordError, counted
from flue_bench.jobs.cell import OnTrained, run_cell
from flue_bench.jobs.loader import Loader
from flue_bench.kinds.kind import kind_of
from flue_bench.progress import Display
from flue_bench.record import Environment, ModelRef, RunRecord
from flue_bench.results.store import KEPT_RECORD, Store, read_predictions, read_record
from flue_bench.results.verify import Checked, faults
from flue_bench.statistics import reruns
from flue_bench.statistics.intervals import Floats
from flue_bench.statistics.reruns import Apart, Verdict
from flue_bench.training.device import pick_device, random_state_kept

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Compared:
    """The predictions of a record compared with those of a rerun of its cell."""

    verdict: Verdict
    rows: int
    differing: int
    """The number of rows with another label or another tag."""
    same_file: bool
    """Whether the two files are the same to the byte, probabilities included."""
    metric: str
    before: float
    after: float
    """Headline score, as a fraction of 1."""
    apart: Apart
    """How far the two lie apart, by rows and by seeds."""
    promised: bool
    """Whether equal bits were promised: machine, threads and versions have the names in the record."""
    changed: tuple[str, ...]
    """What else differs: machine, device, threads, versions."""

    def __str__(self) -> str:
        if self.same_file:
            return "same bits: identical to the byte"
        return "; ".join((f"{self.verdict}: {self._rows()}", *self._reasons(), self._elsewhere()))

    def _rows(self) -> str:
        if not self.differing:
            return "the same labels, other probabilities"
        score = f"{self.metric} {100 * self.before:.2f} → {100 * self.after:.2f}"
        return f"predictions differ in {self.differing:,} of {self.rows:,} rows ({score})"

    def _reasons(self) -> Iterator[str]:
        apart = self.apart
        if not self.differing:
            return
        yield (
            f"better in the record : in the rerun {apart.record_only:,} : {apart.rerun_only:,} "
            f"(exact McNemar over groups of rows, p {_p(apart.p_rows)})"
        )
        if apart.p_seeds is not None:
            far = "" if apart.distance is None else f"{abs(apart.distance):.1f} standard deviations of "
            yield f"{far}{apart.seeds} other seeds apart; p of two seeds that differ so {_p(apart.p_seeds)}"
        elif self.verdict == "undecided":
            yield f"{counted(apart.seeds, 'other seed')} of this setting here: two tell how far seeds lie apart"

    def _elsewhere(self) -> str:
        if self.promised:
            same = "machine, threads and versions have the names in the record"
            if self.verdict == "another machine":
                return f"{same}, but processors of one name can differ"
            return f"equal bits were promised: {same}"
        there = "; where these are the record's, rows alone decide" if self.verdict == "undecided" else ""
        return f"not promised, since {', '.join(self.changed)}{there}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


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
        model: hub id or folder; None takes the record's, with its revision.
        device: as for ``flue-bench run``.

    Raises:
        UsageError: the cell cannot be run again: another version of the task or of the protocol, another model, other
            data, or a folder that ``model`` has to name.
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
            record.cell,
            loader,
            store,
            where,
            display,
            recipe_name=record.recipe_name,
            on_trained=on_trained,
            search=record.search,
        )
        after = read_predictions(made, store.folder(made.cell))
    before = read_predictions(record, folder)
    for column in ("id", "gold"):
        if before[column].to_pylist() != after[column].to_pylist():
            raise RecordError(f"'{column}' in its predictions is not that of the data")
    return made, _compared(record, made, before, after, _other_seeds(record, folder))


def _compared(
    record: RunRecord,
    made: RunRecord,
    before: pyarrow.Table,
    after: pyarrow.Table,
    others: list[tuple[RunRecord, pyarrow.Table]],
) -> Compared:
    """Return the comparison of a record with its rerun, each with its predictions, beside those of other seeds."""
    kind, metric = kind_of(record), record.metric
    groups = after["group"].to_pylist()  # of the data as they are: those of the record may have been changed

    def errors(table: pyarrow.Table) -> Floats:
        return reruns.errors_of_groups(kind.errors(table, record), groups)

    # Only records of the very rows; one of other rows under the same digest is not what it says it is.
    others = [each for each in others if all(each[1][name].equals(before[name]) for name in ("id", "gold"))]
    there, here = record.environment, made.environment
    promised = here.deterministic and there.computing() == here.computing()
    found = reruns.apart(
        errors(before),
        errors(after),
        [errors(table) for _, table in others],
        (record.scores[metric], made.scores[metric]),
        [other.scores[metric] for other, _ in others],
        alone=promised or record.cell.seed is None,
    )
    pairs = zip(before["predicted"].to_pylist(), after["predicted"].to_pylist(), strict=True)
    same_file = made.predictions.sha256 == record.predictions.sha256
    return Compared(
        verdict="same bits" if same_file else found.verdict,
        rows=before.num_rows,
        differing=sum(one != other for one, other in pairs),
        same_file=same_file,
        metric=metric,
        before=record.scores[metric],
        after=made.scores[metric],
        apart=found,
        promised=promised,
        changed=tuple(_changes(there, here)),
    )


def _other_seeds(record: RunRecord, folder: Path) -> list[tuple[RunRecord, pyarrow.Table]]:
    """Return the records of the setting's other seeds, one a seed, that lie in this folder and are right."""
    others: dict[int | None, tuple[RunRecord, pyarrow.Table]] = {}
    for path in sorted(folder.glob("*.json")):
        with suppress(RecordError):
            other = read_record(path)
            fits = other.setting_digest == record.setting_digest and other.cell.seed != record.cell.seed
            if fits and record.metric in other.scores and not faults(path):
                others.setdefault(other.cell.seed, (other, read_predictions(other, folder)))
    return list(others.values())


def checked_again(
    checked: Checked,
    loader: Loader,
    display: Display,
    *,
    model: str | None = None,
    teacher: str | None = None,
    device: str = "auto",
) -> Checked:
    """Return a checked record with what training its cell again shows; arguments as for ``rerun``.

    ``teacher`` is where the cell's teacher is; None: where its record says, or beside it.
    """
    try:
        record = read_record(checked.file)
        model = model or _kept_beside(record.cell.model, checked.file)
        if taught := record.cell.teacher:
            loader.model(taught.model, teacher or _kept_beside(taught.model, checked.file), "--teacher")
        compared = rerun(record, checked.file.parent, loader, display, model=model, device=device)
    except FlueBenchError as error:
        return replace(checked, faults=(f"rerun: {error}",))
    said = f"rerun: {compared}"
    return replace(
        checked, rerun=said, verdict=compared.verdict, faults=(said,) if compared.verdict == "not borne out" else ()
    )


def _kept_beside(model: ModelRef, file: Path) -> str | None:
    """Return the folder of a model that a record names, if a run kept it in the record's own results folder.

    It is found by its digest, which ``Loader.model`` checks, and never by a name that the record holds.
    """
    if model.origin != "directory" or len(file.resolve().parents) < 4:
        return None
    root = file.resolve().parents[3]
    for beside in sorted(root.glob(f"models/*/{KEPT_RECORD}")):
        with suppress(RecordError, OSError):
            files.check_folder(beside.parent, root)
            if read_record(beside, root).kept == model.digest:
                return str(beside.parent)
    return None


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
