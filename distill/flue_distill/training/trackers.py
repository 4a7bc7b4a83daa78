"""Trackers that a training reports to, as accelerate drives them, through everything that happens to a long training.

A run of a tracker is one training: resumed, it goes on in the same run, and steps that are done again are not told
twice. What the tracker has to know for this is in ``OUT/trackers.json``. A tracker that fails on the way costs its
own curve and never the training.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from accelerate import Accelerator, tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import broadcast_object_list
from pydantic import BaseModel, Field, ValidationError

from flue_bench import files
from flue_bench.errors import RecordError, UnknownNameError, UsageError, cause, faults, short
from flue_distill.training import log
from flue_distill.training.trainer import CHECKPOINTS

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Those that are known; flue-bench's extra for one has its name."""
STATE = "trackers.json"
ELSEWHERE = {"mlflow": ("MLFLOW_TRACKING_URI",), "trackio": ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")}
"""Tracker → variables by which it may report to another machine."""
LOCAL = ("sqlite:", "file:", "/", "./")
"""Beginnings of their values that name a file here."""
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""What keeps trackers from reporting their own use, which they do when they are first imported or begin."""


class Told(BaseModel):
    """What is kept of the runs of one training."""

    run: str = Field(default_factory=lambda: secrets.token_hex(8), pattern=r"^[0-9a-f]{16}$")
    """wandb's name for it."""
    mlflow: str | None = None
    """mlflow's name for it, which the server gave."""
    step: int = -1
    """The last step that trackers may have been told of; -1: none."""


class Guarded:
    """A tracker that has begun, and whose failures are told once and stop nothing."""

    def __init__(self, begun: GeneralTracker, after: int, tell: Callable[[str], None]) -> None:
        """Tell ``begun`` of the steps after ``after``."""
        self.begun, self.after, self.tell, self.works = begun, after, tell, True
        self.name: str = begun.name

    def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
        """Tell it of a step, unless it was told before the training was resumed."""
        if self.works and step is not None and step > self.after:
            self._try(lambda: self.begun.log(values, step=step, **more), "log.jsonl still has every step")

    def finish(self) -> None:
        """Close its run."""
        if self.works:
            self._try(self.begun.finish, "what it was told may not all be kept there; log.jsonl has every step")

    def _try(self, work: Callable[[], object], rest: str) -> None:
        try:
            work()
        except Exception as error:  # a server that is gone, a disk that is full: they raise almost anything
            self.works = False
            self.tell(f"--report-to {self.name} failed and is told no more ({short(cause(error), 300)}): {rest}.")


def check(names: Sequence[str], offline: bool = False) -> None:
    """Refuse a tracker that is not known, or whose package is not installed: accelerate would leave it out.

    Raises:
        UnknownNameError: it is not known.
        UsageError: it is not installed, or it would report to another machine without being allowed to.
    """
    there = {str(getattr(name, "value", name)) for name in tracking.get_available_trackers()}
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError("tracker", name, TRACKERS)
        if name not in there:
            raise UsageError(f"--report-to {name}: not installed. pip install 'flue-bench[{name}]' brings it.")
        for variable in ELSEWHERE.get(name, ()) if offline else ():
            if (value := os.environ.get(variable)) and not value.startswith(LOCAL):
                raise UsageError(
                    f"--offline: {variable} has --report-to {name} call another machine. Unset it, or leave --offline "
                    "out."
                )


def begin(
    accelerator: Accelerator,
    names: Sequence[str],
    out: Path,
    settings: Mapping[str, Any],
    offline: bool,
    tell: Callable[[str], None],
) -> None:
    """Open trackers, or go on with their runs; in the main process, which alone reports.

    Args:
        accelerator: of the training; its ``trackers`` are these afterwards.
        names: trackers that passed ``check``.
        out: the folder of the student, whose name a run has.
        settings: of the run, by name.
        offline: make no network call: wandb keeps its files for ``wandb sync``.
        tell: called with messages for the user.

    Raises:
        UsageError: one cannot begin; in all processes.
        RecordError: ``out`` cannot be written, or what is kept there cannot be read.
    """
    if not names:
        return
    said: list[str | None] = [None]
    if accelerator.is_main_process:
        with files.explained(out, "and run again"):
            files.make_folder(out, out)
        told = _told(out)
        simple = {key: value if isinstance(value, int | float) else str(value) for key, value in settings.items()}
        for name in dict.fromkeys(names):
            try:
                tracker = Guarded(_begun(name, out, told, simple, offline), told.step, tell)
            except Exception as error:  # not logged in, no server, another version: they raise almost anything
                said = [f"--report-to {name} cannot begin: {short(cause(error), 300)}. Mend that, or leave it out."]
                break
            accelerator.trackers.append(tracker)
        else:
            with files.explained(out, "and run again"):
                files.write(out / STATE, told.model_dump_json().encode())
        with files.explained(out, "and run again"):
            if any(out.iterdir()):  # by it a run is known that has begun: whatever ends it now, --resume goes on
                files.make_folder(out / CHECKPOINTS, out)
    broadcast_object_list(said)
    if said[0] is not None:
        raise UsageError(said[0])


def _begun(name: str, out: Path, told: Told, settings: dict[str, Any], offline: bool) -> GeneralTracker:
    """Open one tracker."""
    title = out.resolve().name
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {},
        "wandb": {"name": title, "dir": str(out), "id": told.run, "resume": "allow"}
        | ({"mode": "offline"} if offline else {}),
        "mlflow": {"run_name": title, "run_id": told.mlflow},
        "trackio": {"name": f"{title}-{told.run}", "resume": "allow"},
    }
    kind: Any = tracking.LOGGER_TYPE_TO_CLASS[name]
    where = [str(out)] if kind.requires_logging_directory else []
    tracker: GeneralTracker = kind("flue-bench", *where, **options[name])
    with _environment(SILENT if offline else {}):
        tracker.start()
        tracker.store_init_configuration(settings)
    if name == "mlflow":
        told.mlflow = tracker.tracker.info.run_id
    return tracker


def _told(out: Path) -> Told:
    """Return what is kept of earlier runs of the same training, with the last step that its log has."""
    told = Told()
    if (out / STATE).exists():
        try:
            told = Told.model_validate_json(files.read(out / STATE, root=out))
        except ValidationError as error:
            raise RecordError(
                f"{out / STATE} does not validate: {faults(error)[0]}. Delete it: trackers then begin new runs."
            ) from None
    with suppress(FileNotFoundError):
        told.step = max(told.step, log.last_step(out / log.LOG))
    return told


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the user did not set, for a while."""
    new = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for key in new:
            os.environ.pop(key, None)
