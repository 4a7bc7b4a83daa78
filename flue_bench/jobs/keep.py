"""Keeping fine-tuned models: every one, or of each setting the best on validation.

A model is written to a temporary folder, and gets its name in one step when it is whole. Its folder holds the record of
its cell besides, and a card. While a grid runs for the best, the best so far waits under ``.kept``; nothing that was
kept is ever removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from flue_bench import files
from flue_bench.boards import card
from flue_bench.data import model_files
from flue_bench.errors import FlueBenchError, RecordError
from flue_bench.jobs.cell import Saver
from flue_bench.jobs.loader import Loader
from flue_bench.jobs.rerun import again
from flue_bench.locks import Lock
from flue_bench.progress import Display
from flue_bench.record import RunRecord
from flue_bench.results.rows import grouped
from flue_bench.results.store import KEPT_RECORD, Store, model_name, read_record, record_json
from flue_bench.training.folder import read_json

Keep = Literal["best", "all"]


@dataclass(frozen=True)
class Keeper:
    """Keeps the models of one run in its store."""

    store: Store
    what: Keep
    trains: bool = True
    """Whether a model that is gone is trained again here: not where this machine only waits for a cluster."""

    failed: dict[str, str] = field(default_factory=dict)
    """Cell digest → why its model could not be written."""

    def fresh(self, record: RunRecord, save: Saver) -> RunRecord:
        """Keep the model of a cell that has just been trained, if it may be wanted; return the record, which names it.

        A model that cannot be written is no failure of the cell: ``settle`` says so.
        """
        target = self.store.model_dir(record.cell)
        try:
            if self.what == "all":
                return _written(target, record, save, self.store.root)
            folder = self.store.waiting_dir(record.setting_digest)
            with self._lock(record):
                others = [(path, other) for path, other in _waiting(folder) if path.name != target.name]
                if all(_rank(record) > _rank(other) for _, other in others):
                    _written(folder / target.name, record, save, self.store.root)
                    for path, _ in others:
                        shutil.rmtree(path, ignore_errors=True)
        except FlueBenchError as error:
            self.failed[record.cell_digest] = str(error)
        return record

    def settle(
        self, records: Iterable[RunRecord], loader: Loader, device: torch.device, display: Display
    ) -> tuple[dict[str, RunRecord], list[str]]:
        """Keep what was asked for of all cells of a run; a cell whose model is gone is trained again.

        Returns:
            The records that name their model, by cell digest; and what is not kept, with the reason.
        """
        chosen = list(records)
        if self.what == "best":
            chosen = [max(of, key=_rank) for of in grouped(chosen, lambda record: record.setting_digest).values()]
        named: dict[str, RunRecord] = {}
        unkept: list[str] = []
        for record in chosen:
            title = f"{loader.called(record.cell.model)} · {record.cell.task} · {record.cell.run}"
            try:
                if record.cell_digest in self.failed:
                    raise RecordError(self.failed[record.cell_digest])
                named[record.cell_digest] = self._settled(record, loader, device, display, title)
            except FlueBenchError as error:
                unkept.append(f"{title}: its model is not kept: {error}")
                display.line(unkept[-1])
        return named, unkept

    def _settled(
        self, record: RunRecord, loader: Loader, device: torch.device, display: Display, title: str
    ) -> RunRecord:
        store, target = self.store, self.store.model_dir(record.cell)
        waiting = store.waiting_dir(record.setting_digest)
        with self._lock(record):
            record = store.find(record.cell) or record
            there = _kept_in(target)
            if there is not None and there.predictions == record.predictions:
                made = there
            else:
                of_cell = dict(_waiting(waiting)).get(waiting / target.name)
                if of_cell is not None and of_cell.predictions == record.predictions:
                    made = of_cell
                    _moved(waiting / target.name, target, store.root)
                else:
                    made = self._again(record, target, loader, device, display, title)
            if record.kept != made.kept:
                record = record.model_copy(update={"kept": made.kept})
                store.write_again(record)
            shutil.rmtree(waiting, ignore_errors=True)
        return record

    def _again(
        self, record: RunRecord, target: Path, loader: Loader, device: torch.device, display: Display, title: str
    ) -> RunRecord:
        """Train a cell again, in a folder that outlives a kill, and keep the model if its predictions are the same."""
        if not self.trains:
            raise RecordError("its record was there before. --force makes record and model anew")
        display.line(f"{title}: its model was not kept: training it again")
        scratch = Store(self.store.waiting_dir(f"again-{record.cell_digest}"))
        keeper = Keeper(scratch, "all")
        made, compared = again(record, self.store.folder(record.cell), loader, scratch, device, display, keeper.fresh)
        if keeper.failed or made.kept is None:
            raise RecordError("; ".join(keeper.failed.values()) or "it could not be written")
        same = compared.same_file or made.predictions().equals(record.predictions())
        if same:
            made = record.model_copy(update={"kept": made.kept})
            _describe(scratch.model_dir(record.cell), made)
            _moved(scratch.model_dir(record.cell), target, self.store.root)
        shutil.rmtree(scratch.root, ignore_errors=True)
        if not same:
            raise RecordError(f"trained again, {compared}. --force makes record and model anew")
        return made

    @contextmanager
    def _lock(self, record: RunRecord) -> Iterator[None]:
        with Lock(self.store.root / ".locks" / f"kept-{record.setting_digest}.lock", self.store.root):
            yield


def _rank(record: RunRecord) -> tuple[float, int]:
    """Return what the best of a setting has most of: its score on validation, and on a tie the lowest seed."""
    return record.history[record.selected_epoch - 1].scores[record.metric], -record.cell.trained.seed


def _written(target: Path, record: RunRecord, save: Saver, root: Path) -> RunRecord:
    """Write a model under its name, in one step, and return the record, which names it.

    The same model of a run that was killed before its record was there stays as it is.
    """
    there = _kept_in(target)
    with _explained(target):
        files.make_folder(target.parent, root)
        with files.scratch(target) as new:
            record = record.model_copy(update={"kept": save(new)})
            if there is None or (there.kept, there.predictions) != (record.kept, record.predictions):
                _describe(new, record)
                files.place(new, target)
    return record


def _moved(folder: Path, target: Path, root: Path) -> None:
    with _explained(target):
        files.make_folder(target.parent, root)
        files.place(folder, target)


def _describe(folder: Path, record: RunRecord) -> None:
    """Write the record and the card beside a model."""
    with _explained(folder):
        files.write(folder / KEPT_RECORD, record_json(record), folder)
        made = read_json(folder / model_files.CONFIG).get("architectures") or ["AutoModel"]
        text = str(card.of_kept(record, model_name(record.cell), str(made[0])))
        files.write(folder / "README.md", text.encode(), folder)


def _waiting(folder: Path) -> list[tuple[Path, RunRecord]]:
    """Return the models that may yet be kept, with their records."""
    found = ((path, _record_in(path)) for path in sorted(folder.glob("*--seed*")) if path.suffix != ".tmp")
    return [(path, record) for path, record in found if record is not None]


def _record_in(folder: Path) -> RunRecord | None:
    try:
        return read_record(folder / KEPT_RECORD, folder)
    except RecordError:
        return None


def _kept_in(folder: Path) -> RunRecord | None:
    """Return the record of the model in a folder of kept models; None if there is no folder.

    Raises:
        RecordError: there is one, with another model in it than the one that was kept.
    """
    if not folder.exists():
        return None
    record, what = _record_in(folder), f"{folder} was changed since: move it away, and the model is made again"
    with suppress(OSError):
        later = None if record is None or record.kept is None else model_files.added(folder, record.kept)
        if later == ():
            return record
        if later:
            what = f"{folder}: {', '.join(later)} came later: move that away, and it is the model that was kept"
    raise RecordError(what)


def _explained(path: Path) -> AbstractContextManager[None]:
    return files.explained(path, "or give another --results")
