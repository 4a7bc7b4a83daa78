"""The results folder, which stores records.

::

    results/runs/<model>/<task>/seed<k>-<cell digest>.json                  the record
                                seed<k>-<cell digest>.predictions.parquet   the test predictions it names
                                seed<k>-<cell digest>.failed.json           or what went wrong
                                scored-<cell digest>.json, …                of a model that was scored as it is
    results/speed/<model>/<digest>.json                                     a model's speed on one device
    results/models/<model>--<task>--seed<k>-<cell digest>/                  a fine-tuned model that was kept
    results/.locks/<cell digest>.lock, results/.checkpoints/<cell digest>/
    results/.kept/                                                          models that may yet be kept

A cell is looked up by its digest under every model's name, since the same weights may have several: copying merges two
results folders. That opens one folder for each model, however many cells there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import ValidationError

from flue_bench import files
from flue_bench.errors import (
    FlueBenchError,
    RecordError,
    TaskFileError,
    UnknownNameError,
    UsageError,
    cause,
    faults,
    quoted,
)
from flue_bench.json_once import DECODER, KeyTwiceError
from flue_bench.kinds.kind import kind_of
from flue_bench.locks import Lock
from flue_bench.record import (
    SCHEMA_VERSION,
    Cell,
    Failure,
    ModelRef,
    Place,
    Predictions,
    RunRecord,
    SpeedRecord,
    digest_of,
)

if TYPE_CHECKING:
    import pyarrow

RECORDS = "runs/*/*/[!.]*.json"
"""Records and failures in a results folder. A hidden file is none: macOS puts ``._NAME`` beside each file that it
copies to another disk or into an archive."""
FAILED = ".failed.json"
KEPT_RECORD = "flue-bench.json"
"""The record in the folder of a model that was kept."""

_Kept = TypeVar("_Kept", RunRecord, Failure, SpeedRecord)


class _NewerRecordError(RecordError):
    """Raised for a record of a later flue-bench: it is not damaged, and must never be overwritten."""


class Damaged(NamedTuple):
    """A file among the records that is not a valid record."""

    path: Path
    """Path relative to the results folder."""
    reason: str


class Contents(NamedTuple):
    """The content of a results folder."""

    records: list[RunRecord]
    failures: list[Failure]
    damaged: list[Damaged]
    speeds: list[SpeedRecord]


RUNS = "runs"
"""The folder in a results folder that holds the records of runs."""


@dataclass(frozen=True)
class Store:
    """A results folder; it need not exist before the first ``write``."""

    root: Path

    def __post_init__(self) -> None:
        if str(self.root).startswith("hub:"):
            raise UsageError(f"{self.root} is a repository of records, which is read alone: name a folder.")

    def folder(self, cell: Cell) -> Path:
        """Return the folder where this store writes the cell's files."""
        return self.root / RUNS / _model_slug(cell.model) / _slug(cell.task, "task")

    def record_path(self, cell: Cell) -> Path:
        """Return the path where this store writes the cell's record."""
        return self.folder(cell) / f"{stem(cell)}.json"

    def checkpoint_dir(self, cell: Cell) -> Path:
        """Return the folder of the cell's checkpoint, which is not created.

        Raises:
            RecordError: the path has a link, and nothing is written through links.
        """
        folder = self.root / ".checkpoints" / cell.digest
        with _explained(folder):
            files.check_folder(folder, self.root)
        return folder

    def model_dir(self, cell: Cell) -> Path:
        """Return the folder where the cell's fine-tuned model is kept, or would be: its last part says what it is."""
        return self.root / "models" / model_name(cell)

    def waiting_dir(self, name: str) -> Path:
        """Return a folder for models that are not kept yet, under a digest."""
        return self.root / ".kept" / name

    def find(self, cell: Cell) -> RunRecord | None:
        """Return the cell's record, or None if it is not done.

        A damaged record, or one without its predictions, counts as not done: the next ``write`` replaces it.

        Raises:
            RecordError: a later version of flue-bench wrote the record.
        """
        for path in self._candidates(cell):
            try:
                record = read_record(path, self.root)
            except _NewerRecordError:
                raise
            except RecordError:
                continue
            if record.cell_digest == cell.digest and (path.parent / Path(record.predictions.file).name).is_file():
                return record
        return None

    def _candidates(self, cell: Cell) -> Iterator[Path]:
        """Yield the paths where the cell's record may be, first the usual one, so that most cells need no search."""
        usual = self.record_path(cell)
        yield usual
        yield from sorted(self.root.glob(f"runs/*/{usual.parent.name}/{usual.name}"))

    def _own(self, pattern: str) -> list[Path]:
        """Return the paths that match and that no link leads to: only these may be renamed or removed."""

        def reached(path: Path) -> bool:
            with suppress(OSError):
                files.check_folder(path.parent, self.root)
                return True
            return False

        return [path for path in self.root.glob(pattern) if reached(path)]

    def write(self, build: Callable[[Predictions], RunRecord], table: pyarrow.Table, cell: Cell) -> RunRecord:
        """Store one finished cell: the predictions first, then the record that names them, each in one step.

        Whatever interrupts this, a record on disk has its predictions beside it. An older record or failure of the cell
        is replaced, whatever model name it was stored under.

        Args:
            build: a function that makes the record from the reference to its predictions.
            table: one row per test example; equal tables give equal files, byte for byte.
            cell: the cell that was run.

        Raises:
            RecordError: the files cannot be written; the message has the operating system's reason.
        """
        folder, record_path = self.folder(cell), self.record_path(cell)
        predictions_path = folder / f"{stem(cell)}.predictions.parquet"
        content = _parquet(table)
        made = Predictions(file=predictions_path.name, sha256=_sha256(content), rows=table.num_rows)
        record = build(made)
        written = record_json(record)
        record.predictions.at(Place(record_path, self.root, _sha256(written)))
        with (
            _explained(record_path),
            files.staged(predictions_path, content, self.root) as place_predictions,
            files.staged(record_path, written, self.root) as place_record,
        ):
            older = self._own(f"runs/*/{record_path.parent.name}/{record_path.stem}.*")
            # Old records are removed before the predictions that they name are replaced: by a rename, so that they
            # stay where nothing can be renamed.
            for path in [path for path in older if path.suffix == ".json"]:
                retired = path.with_name(f"{path.name}.old")
                with suppress(FileNotFoundError):  # without locks another process may have done it
                    os.replace(path, retired)
                    older.append(retired)
            place_predictions()
            place_record()
            for path in older:
                if path not in (predictions_path, record_path):
                    path.unlink(missing_ok=True)
        return record

    def write_again(self, record: RunRecord) -> None:
        """Store a record again that has got ``own_scores`` or ``kept``; its predictions stay as they are.

        Raises:
            RecordError: the file cannot be written.
        """
        path = next(path for path in self._candidates(record.cell) if path.is_file())
        written = record_json(record)
        with _explained(path):
            files.write(path, written, self.root)
        record.predictions.at(Place(path, self.root, _sha256(written)))

    def write_failure(self, failure: Failure) -> None:
        """Store the failure of a cell, in place of an earlier one.

        Raises:
            RecordError: the file cannot be written.
        """
        path = self.folder(failure.cell) / f"{stem(failure.cell)}{FAILED}"
        with _explained(path):
            files.write(path, record_json(failure), self.root)

    def write_speed(self, speed: SpeedRecord) -> None:
        """Store a model's speed, in place of an earlier one of the same model, device and precision.

        Raises:
            RecordError: the file cannot be written.
        """
        key = digest_of([speed.environment.device, speed.precision, speed.model.digest])
        path = self.root / "speed" / _model_slug(speed.model) / f"{key}.json"
        with _explained(path):
            files.write(path, record_json(speed), self.root)
            for older in self._own(f"speed/*/{key}.json"):  # stored under another name of the model
                if older != path:
                    older.unlink()

    def read(self, passed: Callable[[RunRecord, str], bool] = lambda record, sha256: False) -> Contents:
        """Read all records, failures and speeds, in the order of their paths, and list files that are none of these.

        Args:
            passed: whether a record, whose file has this SHA-256, was found right before by the checks of today: its
                digests and the names of its scores are not checked again then.
        """
        contents = Contents([], [], [], [])
        speeds = set(self.root.glob("speed/*/[!.]*.json"))
        for path in sorted((*self.root.glob(RECORDS), *speeds), key=lambda path: path.parts):
            try:
                if path in speeds:
                    contents.speeds.append(_read(path, SpeedRecord, self.root))
                elif path.name.endswith(FAILED):
                    contents.failures.append(_read(path, Failure, self.root))
                else:
                    record, written, place = _placed(path, self.root)
                    if not passed(record, place.sha256):
                        _check_keys(written, path)
                        _check_digests(record, path)
                        _check_names(record)
                    contents.records.append(record)
            except TaskFileError:  # a broken plugin, whatever the records
                raise
            except Exception as error:  # one file of a stranger ends no board
                why = cause(error).removeprefix(f"{path}: ")
                contents.damaged.append(Damaged(path.relative_to(self.root), why))
        return contents

    def records(self) -> list[RunRecord]:
        """Return the records that can be read; ``read`` also returns which cannot, and why."""
        return self.read().records

    def failure(self, cell: Cell) -> Failure | None:
        """Return the failure of a cell, under whatever model name it was stored; None if none can be read."""
        usual = self.folder(cell) / f"{stem(cell)}{FAILED}"
        for path in (usual, *sorted(self.root.glob(f"runs/*/{usual.parent.name}/{usual.name}"))):
            if path.is_file():
                with suppress(RecordError):
                    return _read(path, Failure, self.root)
        return None

    def failures(self) -> list[Failure]:
        """Return the failures that can be read."""
        return self.read().failures

    def lock(self, cell: Cell) -> Lock:
        """Return the lock, not yet acquired, that keeps two processes from running one cell at the same time."""
        return Lock(self.root / ".locks" / f"{cell.digest}.lock", self.root)


def stem(cell: Cell, digest: str | None = None) -> str:
    """Return what the names of a cell's files begin with: ``seed0-`` or ``scored-``, and its digest, if it is known."""
    return f"{'scored' if cell.seed is None else f'seed{cell.seed}'}-{digest or cell.digest}"


def read_record(path: Path, root: Path | None = None) -> RunRecord:
    """Read the record in a file.

    Args:
        path: the file.
        root: the results folder, out of which no link is followed; None: the file's own folder.

    Raises:
        RecordError: the file cannot be read, does not validate (the message names the field), has a key twice, has
            digests that are not those of its cell, or was written by a later flue-bench.
    """
    record, written, _ = _placed(path, root or path.parent)
    _check_keys(written, path)
    _check_digests(record, path)
    return record


def kept_record(folder: Path, digest: str) -> RunRecord | None:
    """Return the record of the run that kept a model in a folder, None where no run did; ``digest`` is the model's."""
    with suppress(FlueBenchError):
        record = read_record(folder / KEPT_RECORD, folder)
        if record.kept == digest:
            return record
    return None


def _placed(path: Path, root: Path) -> tuple[RunRecord, bytes, Place]:
    """Return the record in a file, the bytes of the file, and its place, which the record knows."""
    record, written = _parsed(path, RunRecord, root)
    place = Place(path, root, _sha256(written))
    record.predictions.at(place)
    return record, written, place


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_keys(written: bytes, path: Path) -> None:
    """Refuse a key that stands twice in an object: of its values one reader of JSON takes the first, another the last.

    Raises:
        RecordError: there is one.
    """

    try:
        DECODER.decode(written.decode(json.detect_encoding(written), "surrogatepass"))
    except KeyTwiceError as error:
        raise RecordError(f"{path}: {error}.") from None


def _check_digests(record: RunRecord, path: Path) -> None:
    if (record.cell_digest, record.setting_digest) != record.cell.digests():
        raise RecordError(f"{path}: 'cell_digest' or 'setting_digest' is not that of 'cell'; was the file edited?")


def _check_names(record: RunRecord) -> None:
    """Refuse scores that the record's kind of task does not have, if that kind is installed.

    Raises:
        RecordError: there are such scores, or the kind cannot use the labels.
        TaskFileError: as for ``kind_of``.
    """
    try:
        kind = kind_of(record)
    except RecordError:
        return
    try:
        known = kind.metrics(record)
    except Exception as error:  # labels that a kind cannot use
        raise RecordError(f"not of kind '{record.kind}': {cause(error)}.") from error
    for name in (record.metric, *record.scores, *record.measures):
        if name not in known:
            unknown = UnknownNameError("score", name, known, of=f"Kind '{record.kind}'")
            raise RecordError(str(unknown))


def read_predictions(
    record: RunRecord, folder: Path, columns: Sequence[str] | None = None, root: Path | None = None
) -> pyarrow.Table:
    """Read the test predictions of a record.

    Args:
        record: the record, which names the file and the hash of the whole file.
        folder: the folder of the record's file.
        columns: read only those of these columns that exist.
        root: as for ``read_record``.

    Raises:
        RecordError: the file is missing, damaged, or not the one that the record was written with.
    """
    return record.predictions.read(folder, root or folder, columns)


def model_name(cell: Cell) -> str:
    """Return the name of a cell's fine-tuned model, which says what it is: that of its folder."""
    rows = "" if cell.train_rows is None else f"--{cell.train_rows}-rows"
    return f"{_model_slug(cell.model)}--{_slug(cell.task, 'task')}{rows}--seed{cell.seed}-{cell.digest}"


def _slug(name: str, otherwise: str) -> str:
    """Return a model's or task's folder name: ``cmarkea/distilcamembert-base`` → ``cmarkea--distilcamembert-base``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "--", name).strip(".-")[:100] or otherwise


def _model_slug(model: ModelRef) -> str:
    return _slug(model.name, model.digest)


def _read(path: Path, kind: type[_Kept], root: Path) -> _Kept:
    """Return what a file holds, each key once."""
    kept, written = _parsed(path, kind, root)
    _check_keys(written, path)
    return kept


def _parsed(path: Path, kind: type[_Kept], root: Path) -> tuple[_Kept, bytes]:
    """Return what a file holds, and its bytes."""
    try:
        written = files.read(path, root=root)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}.") from error
    with suppress(ValidationError):  # the quick way for files as they should be; of others, what is wrong is said below
        kept = kind.model_validate_json(written)
        if kept.schema_version <= SCHEMA_VERSION:
            return kept, written
    if written.startswith(files.POINTER):
        raise RecordError(f"{path}: {files.NOT_PULLED}")
    try:
        content = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON: {error}.") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise _NewerRecordError(
            f"{path}: schema version {quoted(version)}, but this flue-bench reads up to {SCHEMA_VERSION}: "
            "upgrade flue-bench."
        )
    try:
        return kind.model_validate(content), written
    except ValidationError as error:
        raise RecordError(f"{path}: {faults(error)[0]}.") from None


def record_json(kept: RunRecord | Failure | SpeedRecord) -> bytes:
    """Return a record as its file holds it."""
    # Not model_dump_json: it writes NaN (the loss of a diverged run) as null, which then does not validate.
    return (json.dumps(kept.model_dump(), ensure_ascii=False, indent=1) + "\n").encode()


def _parquet(table: pyarrow.Table) -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    # Chunks and metadata depend on how a table was made.
    plain = table.replace_schema_metadata(None).combine_chunks()
    pyarrow.parquet.write_table(plain, sink, compression="zstd", row_group_size=1 << 16)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _explained(path: Path) -> AbstractContextManager[None]:
    return files.explained(path, "or give another --results")
