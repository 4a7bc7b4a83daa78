"""``--cluster FILE``: what a TOML file says of a Slurm cluster, or a Python file that makes a Parsl configuration."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from flue_bench.errors import UsageError, counted, faults, near_names, quoted, short
from flue_bench.files import read
from flue_bench.task import Count, Positive, Schema, Short

GRACE = "--signal=TERM@120"
"""The directive by which Slurm sends SIGTERM two minutes before the time is up: a step and a checkpoint take less."""


SHORTEST = 300
"""Seconds of the shortest job: workers start, SIGTERM comes two minutes before the end."""


def _shaped(pattern: str, says: str) -> AfterValidator:
    """Refuse a text of another shape, in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"it has to be {says}")
        return text

    return AfterValidator(check)


def _quoted_time(value: Any) -> Any:
    """Refuse what TOML reads for a time without quotes, in words."""
    if isinstance(value, str):
        return value
    raise ValueError(f"it has to be {TIME}, in quotes")


TIME = "HH:MM:SS or D-HH:MM:SS"
Word = Annotated[Short, _shaped(r"\S+", "one word")]
SAID = {
    "time": "time", "partition": "partition", "account": "account", "exclusive": "exclusive", "nodes": "nodes",
    "cpus-per-task": "cores_per_node", "gpus-per-node": "gpus_per_node",
}  # fmt: skip
"""Options of ``sbatch`` → the field here that says them."""
OURS = ("array", "error", "job-name", "ntasks", "ntasks-per-node", "output", "wait", "wrap")
"""Options of ``sbatch`` by which a job would no longer be one of one task, whose output is read."""
OF_GPUS = ("--gres=gpu", "--gpus")


def _directive(text: str) -> str:
    name = re.split("[= ]", text.removeprefix("--"), maxsplit=1)[0]
    if name in SAID:
        raise ValueError(f"--{name} is said by {SAID[name]}")
    if name in OURS:
        raise ValueError(f"--{name} cannot be yours: a job is one task on one node, whose output is read")
    if name == "signal" and not re.fullmatch(r"[= ]TERM@[0-9]+", text.removeprefix("--signal")):
        raise ValueError("it has to be --signal=TERM@SECONDS: at SIGTERM cells write their checkpoints")
    return text


class Slurm(Schema):
    """A Slurm cluster. Every job takes one node, so that each starts as soon as one is free."""

    scheduler: Literal["slurm"]
    nodes: Positive = 1
    """Jobs at once."""
    time: Annotated[
        Short, BeforeValidator(_quoted_time), _shaped(r"([0-9]{1,4}-)?[0-9]{1,5}:[0-5][0-9]:[0-5][0-9]", TIME)
    ]
    """Time limit of a job, ``HH:MM:SS`` or ``D-HH:MM:SS``. A cell that is not done then goes on in another job."""
    partition: Word | None = None
    account: Word | None = None
    gpus_per_node: Count = 0
    """0: the cells run on CPUs."""
    cores_per_node: Positive
    workers_per_node: Positive | None = None
    """None: one a GPU, or one a node."""
    threads: Positive | None = None
    """Of each worker; None: the cores divided among them."""
    directives: Annotated[
        tuple[Annotated[Short, Field(pattern=r"^--[^\n]+$"), AfterValidator(_directive)], ...], Field(max_length=100)
    ] = ()
    """More of what follows ``#SBATCH``, such as ``--hint=nomultithread``."""
    exclusive: bool = False
    """Whether a job shares its node with no other."""
    worker_init: str = ""
    """Shell commands before a node's workers start, such as ``module load …``."""
    address: Word | None = None
    """This machine's address as the nodes reach it; None: all its addresses are tried."""
    lost_after: Annotated[int, Field(ge=5, le=3600, strict=True)] = 120
    """Seconds after which a node that is silent counts as lost."""
    retries: Annotated[int, Field(ge=0, le=100, strict=True)] = 2
    """How often a cell is tried again whose worker died without a newer checkpoint."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.seconds < SHORTEST:
            least = f"at least {SHORTEST // 60} minutes, the last two for checkpoints"
            raise ValueError(f"time is {quoted(self.time)}: {least}")
        if (asked := self.workers * (self.threads or 1)) > self.cores_per_node:
            which = counted(self.workers, "worker") + (f" of {self.threads} threads" if self.threads else "")
            raise ValueError(f"{which} need {asked} cores, and cores_per_node is {self.cores_per_node}")
        if self.asks_for_gpus and not self.gpus_per_node:
            raise ValueError("directives ask for GPUs: say gpus_per_node too, so that each worker gets its own")
        return self

    @property
    def asks_for_gpus(self) -> bool:
        """Whether directives ask for the GPUs, as where ``--gpus-per-node`` is not known."""
        return any(each.startswith(OF_GPUS) for each in self.directives)

    @property
    def workers(self) -> int:
        """Workers on a node."""
        return self.workers_per_node or self.gpus_per_node or 1

    @property
    def seconds(self) -> int:
        """The time limit."""
        days, _, rest = self.time.rpartition("-")
        hours, minutes, seconds = map(int, rest.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def walltime(self) -> str:
        """The time limit as Parsl reads it, which knows no days."""
        return f"{self.seconds // 3600:02}:{self.seconds // 60 % 60:02}:{self.seconds % 60:02}"

    @property
    def options(self) -> str:
        """The lines ``#SBATCH`` that Parsl does not write itself."""
        own = () if any(each.startswith("--signal") for each in self.directives) else (GRACE,)
        return "\n".join(f"#SBATCH {each}" for each in (*self.directives, *own))


Cluster = Slurm | Path
"""What ``--cluster`` names: our settings, or the file of the user's own configuration."""


def load(path: Path) -> Cluster:
    """Read what ``--cluster`` names; a Python file is not run yet.

    Raises:
        UsageError: there is no such file, or it is not what it has to be; the message names the key.
    """
    if path.suffix not in (".toml", ".py"):
        raise UsageError(f"--cluster {path}: a .toml file of settings, or a .py file with a Parsl configuration.")
    try:
        content = read(path)
    except OSError as error:
        raise UsageError(f"--cluster {path}: cannot be read: {error.strerror}.") from None
    if path.suffix == ".py":
        return path.absolute()
    try:
        data = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--cluster {path} is not TOML: {error}.") from None
    try:
        return Slurm.model_validate(data)
    except ValidationError as error:
        fault = faults(error)[0]
        place = str(fault.place[0]) if fault.place else ""
        near = near_names(place, Slurm.model_fields) if fault.kind == "extra_forbidden" else []
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        if fault.kind == "extra_forbidden" and len(fault.place) == 1:
            meant += f' Other options of sbatch go to directives = ["--{short(place, 40)}=…"].'
        raise UsageError(f"--cluster {path}: {fault}.{meant}") from None


def configuration(path: Path) -> Any:
    """Run the user's file, and return the Parsl configuration that it leaves under the name ``config``.

    Raises:
        UsageError: it raises something, leaves none, or one whose executors run nothing in processes of their own.
    """
    try:
        left: Any = runpy.run_path(str(path)).get("config")
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UsageError(f"--cluster {path}: {type(error).__name__}: {error}.") from error
    if type(left).__module__.partition(".")[0] != "parsl" or not hasattr(left, "executors"):
        raise UsageError(f"--cluster {path}: its name 'config' is {quoted(left)}, not a parsl.Config.")
    for executor in left.executors:
        if type(executor).__name__ == "ThreadPoolExecutor":
            raise UsageError(
                f"--cluster {path}: its executor '{executor.label}' is of threads, and a cell needs a process: "
                "use a HighThroughputExecutor."
            )
    return left
