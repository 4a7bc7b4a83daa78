"""The record of one finished run: enough to trust its score, recompute it, and run it again."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from flue_bench import files, parquet_files
from flue_bench.errors import RecordError, UsageError, cause
from flue_bench.recipe import Precision, Recipe
from flue_bench.task import (
    LABELS,
    SPLITS,
    Count,
    Options,
    Positive,
    ReadScheme,
    Schema,
    Scheme,
    Short,
    Shorts,
    Split,
    Whole,
)

if TYPE_CHECKING:
    import pyarrow

MOST_VALUES = 2**24
"""Values in lists, such as tags, that a small file of predictions may hold."""
MOST_EVALUATIONS = 100_000
"""Evaluations on validation in the history of a training."""
MOST_BYTES = 2**30
"""Bytes of memory that predictions may take."""
MOST_POINTS = 10_000
"""Combinations of a search."""
SCHEMA_VERSION = 2
"""Version of the JSON of records, failures and speeds, raised when one gets a field that a release does not know and so
refuses, or when a field changes its meaning. What is written names this one; what is read may name an earlier one."""

PROTOCOL = 2
"""Version of the engine, raised when the same cell would give other numbers (order of batches, scoring, truncation)."""

OWN_HEAD = "own head"
"""The method by which a checkpoint is scored with the head that it was fine-tuned with."""
ELSEWHERE = "fine-tuned elsewhere"
KEPT_OF = "kept: "
CUT_AT = " max_length={}"
"""What follows either of them where another length than the model's own was asked for: a row of its own."""
"""The name of the row of a checkpoint that no run of ours has made, and how that of one that we kept begins."""

OwnHead = Literal["absent", "replaced", "kept", "permuted"]
"""How a checkpoint's own classification head, as one that was fine-tuned before has, was treated.

``kept`` and ``permuted``: its labels are the task's, by name and in the same or another order; ``replaced``: they are
not, and a new head started from the seed. ``absent``: the model is only pretrained and has no head.
"""

Score = Annotated[float, Field(ge=-1, le=1)]
"""A fraction of 1; MCC from -1 to 1."""
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e18)]
"""Seconds, operations, or something per second."""
Speed = Annotated[float, Field(ge=1e-9, le=1e18)]
"""A quotient of two of these is finite, and so is its picture."""


def _real(date: str) -> str:
    datetime.fromisoformat(date)
    return date


Time = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|\+00:00)$"),
    AfterValidator(_real),
]
"""UTC, ISO 8601."""


later: Any = functools.partial(Field, exclude_if=lambda value: not value)
"""A field that was added after 0.1: left out where it is empty, so that older records stay the same."""


def digest_of(value: Any) -> str:
    """Return 16 hex digits that identify a JSON value by its content."""
    return _hashed(_canonical(value))


def _hashed(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


class Training(Schema):
    """How far a training had come when it left a model behind, as the model's own files say."""

    name: Short
    """The folder that holds the checkpoints, or the repository."""
    digest: str
    """A hash of what the checkpoints of one training have in common, as far as their files say it."""
    step: Count
    """Optimiser steps done."""
    tokens: Count | None = None
    """Tokens read; None where that was not counted."""


class Distilled(Schema):
    """How a model was distilled, as its ``distillation.json`` says: several of one recipe differ in the seed alone."""

    recipe: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of everything that decides the weights but the seed: recipe, teacher, first student, corpus, protocol."""
    seed: Count


class ModelRef(Schema):
    """A model by content: the same weights have the same digest on the hub, in a folder, and under another path."""

    name: Short
    """Hub id, ``embedded:NAME``, or a folder's last component."""
    origin: Literal["hub", "directory", "embedded"]
    revision: str | None = None
    """The commit a hub id resolved to."""
    digest: str
    """Hash of configuration, weights and tokenizer files."""
    weights: Literal["safetensors", "bin"] = "safetensors"
    teacher: str | None = None
    """Digest of the model it was distilled from, as its ``distillation.json`` says."""
    weights_bytes: Count | None = None
    """Size of the files that hold the weights; None in records made before 0.2."""
    training: Training | None = later(None)
    """None where the model's files do not say how it was trained."""
    distilled: Distilled | None = later(None)
    """None for a model that ``flue-bench distill`` did not make, and in records made before 0.2."""


class DataRef(Schema):
    """The data that served, by content."""

    source: str
    """Label of the source, e.g. ``hub:facebook/xnli@b8dd5d7af511``."""
    files: dict[str, str]
    """File, relative to its source → SHA-256."""
    digest: str
    """Hash of the normalised examples of all splits, after missing splits are cut and before any ``--limit``."""
    rows: dict[Split, Count]
    """Examples per split, before any ``--limit``."""
    canonical: bool
    """Whether the row counts are as published. Other data never shares a board column with canonical data."""
    deviations: tuple[str, ...] = ()
    """How the data differs from the canonical data, in words."""
    cut: tuple[Split, ...] = ()
    """Splits that the source lacks and that were cut from train."""


class NoTraining(Schema):
    """What stands in the place of a recipe where nothing is trained: how a model answers as it is.

    Such a cell has no seed either: the same model, rows and precision give the same answers.
    """

    method: Short
    """``own head``: the checkpoint has one, fine-tuned before. Kinds of task may have other ways, such as the nearest
    neighbour among the vectors of a frozen encoder, whose settings are ``options``."""
    split: Literal["validation", "test"] = "test"
    """The split that is scored. A board never shows scores of validation beside those of test."""
    max_length: Positive
    """Sub-words, special tokens included; longer inputs are cut."""
    precision: Precision
    answers: Annotated[dict[Short, Short], Field(max_length=LABELS)] = Field(default_factory=dict)
    """``own head``: each label of the head, in the order of its rows → the label or class of the task it stands for."""
    scheme: Scheme | ReadScheme | None = None
    """``own head``, entities only: how the labels of the head encode them, whatever the task's scheme is."""
    options: Options = Field(default_factory=dict)
    """Settings that only this method has."""


def _told_apart(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Read a recipe, or what stands in its place and alone has a ``method``: faults are named in one of them only."""
    if isinstance(value, Mapping):
        return (NoTraining if "method" in value else Recipe).model_validate(value)
    return validate(value) if isinstance(value, Recipe | NoTraining) else Recipe.model_validate(value)


Setting = bool | Whole | Annotated[float, Field(allow_inf_nan=False)] | Short | None
"""A value of a recipe's field."""
TUNING = 4_000_000_000
"""The first seed of a search. They count up from here, where nobody's own seeds are."""


class Searched(Schema):
    """What a recipe was chosen from, on validation alone."""

    fields: Annotated[dict[Short, Annotated[tuple[Setting, ...], Field(min_length=1)]], Field(min_length=1)]
    """Field of the recipe → the values that were combined, both in order."""
    points: Positive
    """The number of combinations that were tried: all, or some drawn by a hash."""
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Tuning seeds: each point was trained with each of them, and no final run is."""

    def settings(self) -> list[dict[str, Setting]]:
        """Return the points: all combinations in order, or those of them that come first by a hash of their content.

        More points of the same values hold the fewer.
        """
        every = [dict(zip(self.fields, values, strict=True)) for values in product(*self.fields.values())]
        drawn = sorted(range(len(every)), key=lambda i: hashlib.sha256(_canonical(every[i]).encode()).digest())
        return [every[i] for i in sorted(drawn[: self.points])]

    @property
    def of(self) -> int:
        """The number of combinations that there are."""
        return math.prod(map(len, self.fields.values()))

    @property
    def budget(self) -> str:
        """What a row is called by it: ``best of 6``."""
        return f"best of {self.points}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.points <= self.of <= MOST_POINTS:
            raise ValueError(f"{self.points:,} points of {self.of:,}: not more than there are, at most {MOST_POINTS:,}")
        if any(len(set(map(_canonical, values))) < len(values) for values in self.fields.values()):
            raise ValueError("a field has a value twice")
        return self


class Teacher(Schema):
    """A model that was fine-tuned before, and whose soft labels a student learns from beside a task's own labels."""

    model: ModelRef
    answers: Annotated[dict[Short, Short], Field(max_length=LABELS)] = Field(default_factory=dict)
    """What its head says, as ``NoTraining.answers``: each of its labels, in the order of its rows → the task's, or two
    of its numbers → the task's. Empty for a head without either."""
    base: ModelRef | None = None
    """The model that it was fine-tuned from, as the record beside it says; None where no run of ours kept it."""
    recipe_name: Short | None = None
    """How, likewise."""

    @property
    def called(self) -> str:
        """What a row is called by it: teachers of several tasks that were made alike share it."""
        return (self.base or self.model).name

    @property
    def made(self) -> str:
        """What a row's teachers have in common: base model and recipe; where these are unknown, the model itself."""
        return f"{self.base.digest}, {self.recipe_name}" if self.base else self.model.digest

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.base is None) != (self.recipe_name is None):
            raise ValueError("'base' and 'recipe_name' go together")
        return self


class Trained(NamedTuple):
    """How a cell is trained."""

    recipe: Recipe
    seed: int


class Cell(Schema):
    """One (model, task, data, recipe, seed): what has to be run once. Neither time, host nor path belongs to it.

    A cell without training has a ``NoTraining`` for a recipe, and no seed.
    """

    model: ModelRef
    task: Short
    task_version: Positive
    data: str
    """``DataRef.digest``."""
    limit: Positive | None = None
    """Maximum number of examples of each split."""
    recipe: Annotated[Recipe | NoTraining, WrapValidator(_told_apart)]
    """As resolved, precision included."""
    seed: Count | None
    """None where nothing is trained."""
    protocol: Positive = PROTOCOL
    train_rows: Positive | None = None
    """The number of rows of train that served, drawn by seed; None: all. Validation and test are whole."""
    scored: Literal["test", "validation"] = "test"
    """The split that a fine-tuned model is scored on. For validation the test split is not read, and ``data`` is the
    digest of the other two. (A ``NoTraining`` has a split of its own.)"""
    search: Searched | None = None
    """What the recipe was chosen from; None for one that was named beforehand. It changes no prediction, but what a
    mean over seeds means."""
    teacher: Teacher | None = None
    """Whose soft labels the model learns from besides; None: from the task's labels alone."""

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out later fields that have their defaults, so that older cells stay the same."""
        said: dict[str, Any] = write(self)
        _leave_out_later(said, self, FIRST_OF_CELL)
        return said

    def served(self, rows: Mapping[Split, int]) -> dict[Split, int]:
        """Return the examples of each split that serve, of those that there are."""
        served = {split: count if self.limit is None else min(count, self.limit) for split, count in rows.items()}
        if self.train_rows is not None and "train" in served:
            served["train"] = min(served["train"], self.train_rows)
        return served

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if isinstance(self.recipe, NoTraining) != (self.seed is None):
            has = "no seed, but a recipe" if self.seed is None else f"seed {self.seed}, but nothing to train"
            raise ValueError(f"the cell has {has}: a recipe and a seed go together")
        if isinstance(self.recipe, NoTraining) and (self.scored != "test" or self.search):
            raise ValueError("nothing is trained in the cell: its 'recipe' has the split, and there was no search")
        if self.search and (self.scored != "test" or self.seed in self.search.seeds):
            raise ValueError("what a search chose is scored on test, with other seeds than the search's")
        if isinstance(self.recipe, NoTraining) and self.teacher:
            raise ValueError("nothing is trained in the cell, so that it has no teacher")
        if isinstance(self.recipe, Recipe) and not self.teacher and (of_teacher := self.recipe.of_teacher):
            raise ValueError(f"'recipe.{of_teacher[0]}' is of a teacher, and the cell has none")
        return self

    @property
    def trained(self) -> Trained:
        """The recipe and the seed.

        Raises:
            UsageError: nothing is trained in this cell.
        """
        if isinstance(self.recipe, NoTraining) or self.seed is None:
            raise UsageError(f"{self.model.name} on {self.task} was scored as it is: there is no recipe and no seed")
        return Trained(self.recipe, self.seed)

    @property
    def untrained(self) -> NoTraining | None:
        """How the model answers as it is; None for a cell that is trained."""
        return self.recipe if isinstance(self.recipe, NoTraining) else None

    @property
    def split(self) -> Literal["validation", "test"]:
        """The split whose predictions the record has."""
        return self.recipe.split if isinstance(self.recipe, NoTraining) else self.scored

    @property
    def advantage(self) -> str:
        """What the cell has beside its model and a recipe that was named beforehand: ``best of 6, taught by X``."""
        tuned = [self.search.budget] if self.search else []
        return ", ".join([*tuned, *([f"taught by {self.teacher.called}"] if self.teacher else [])])

    @property
    def reads(self) -> tuple[Split, ...]:
        """The splits that are read; ``data`` is their digest."""
        return SPLITS if self.scored == "test" else ("train", "validation")

    @property
    def schema_version(self) -> int:
        """The lowest schema version that a record of this cell may name: 0.1 has no such cell where it is 2."""
        later = self.train_rows is not None or self.scored != "test" or bool(self.search or self.teacher)
        return 1 if isinstance(self.recipe, Recipe) and self.recipe.of_01 and not later else 2

    @property
    def run(self) -> str:
        """What tells this cell from others of its model and task, in words: ``seed 0``, or ``as it is``."""
        return "as it is" if self.seed is None else f"seed {self.seed}"

    def _identity(self) -> dict[str, Any]:
        said = self.model_dump(mode="json")
        first = FIRST_OF_RECIPE if isinstance(self.recipe, Recipe) else FIRST_OF_NO_TRAINING
        _leave_out_later(said["recipe"], self.recipe, first)
        _leave_out_later(said, self, FIRST_OF_CELL)
        if self.teacher:  # by content: neither its name nor what is known of its making changes the result
            said["teacher"] = digest_of([self.teacher.model.digest, self.teacher.answers])
        return said | {"model": self.model.digest}

    @property
    def digest(self) -> str:
        """The cell's digest, 16 hex digits: that of all that belongs to it, see ``digest_of``."""
        return self.digests()[0]

    @property
    def setting_digest(self) -> str:
        """The digest of everything but the seed: a board averages only within one setting."""
        return self.digests()[1]

    def digests(self) -> tuple[str, str]:
        """Return ``digest`` and ``setting_digest``."""
        identity = self._identity()
        seed = identity.pop("seed")
        setting = _canonical(identity)
        # Encoding costs most of it, so it is done once: keys are sorted, and 'seed' stands before 'task'.
        before, key, after = setting.rpartition(',"task":')
        return _hashed(f'{before},"seed":{_canonical(seed)}{key}{after}'), _hashed(setting)


FIRST_OF_CELL = frozenset(("model", "task", "task_version", "data", "limit", "recipe", "seed", "protocol"))
FIRST_OF_RECIPE = frozenset(
    (
        "epochs", "batch_size", "learning_rate", "schedule", "warmup_ratio", "weight_decay", "max_grad_norm", "dropout",
        "max_length", "selection", "precision",
    )
)  # fmt: skip
FIRST_OF_NO_TRAINING = frozenset(("method", "split", "max_length", "precision", "answers", "scheme", "options"))
"""Fields that digests have always covered. A later field is left out while it has its default, so that the digests of
older records stay the same: such a default may never change."""


def _leave_out_later(said: dict[str, Any], words: BaseModel, first: frozenset[str]) -> None:
    """Take later fields that have their defaults out of ``said``, which is a model as JSON."""
    fields = type(words).model_fields
    for name in said.keys() - first:
        if getattr(words, name) == fields[name].get_default(call_default_factory=True):
            del said[name]


class ClassScores(Schema):
    """Scores of one class, one entity type, or one tag, as fractions of 1."""

    precision: Share
    recall: Share
    f1: Share
    support: Count
    """Gold items of this class."""


class Epoch(Schema):
    """One evaluation on validation: that of an epoch, unless the recipe has ``evaluate_steps``."""

    epoch: Positive
    """The number of the evaluation, from 1; with ``evaluate_steps`` it is not that of the epoch."""
    step: Count
    train_loss: Annotated[float, Field(allow_inf_nan=True)]
    """Mean over the steps since the evaluation before; NaN or infinite where the run diverged."""
    scores: dict[str, Score]
    """Every metric of the task on validation."""


class Truncation(Schema):
    """What ``max_length`` cut off."""

    examples: dict[Split, Count]
    """Examples that lost sub-words."""
    words: dict[Split, Count] = Field(default_factory=dict)
    """Tokens only: words whose tag was lost; on validation and test they count as predicted O."""
    windows: dict[Split, Count] = later(default_factory=dict)
    """Question answering only: the rows into which long contexts were cut, at least one an example."""


class Cost(Schema):
    """What the run cost on the machine named in ``Environment``."""

    seconds: Amount
    """Wall time of the cell, encoding included where this cell did it."""
    train_seconds: Amount
    """Time of forward and backward passes and optimiser steps."""
    predict_seconds: Amount
    """Time of predicting the test set."""
    steps: Count
    train_examples_per_second: Amount
    predict_examples_per_second: Amount
    real_tokens: Count
    """Non-padding sub-words trained on."""
    padded_tokens: Count
    """Positions computed for them, padding included."""
    peak_memory_bytes: Count | None
    """Peak memory of the device on CUDA, of the process (resident set) on the CPU; None where a note says why."""
    parameters: Positive
    flops_per_example: Amount | None
    """Forward pass over a mean test example, by torch's flop counter; None where a note says why."""
    resumed: Count = 0
    """Number of times the cell was resumed from a checkpoint; the times above then cover the last part only."""


class Environment(Schema):
    """Where the run took place; never part of a digest."""

    flue_bench: str
    commit: str | None
    """Commit of flue-bench's own checkout, if it is one."""
    dirty: bool | None
    packages: dict[str, str]
    python: str
    platform: str
    device: str
    """The hardware's name."""
    threads: Positive
    deterministic: bool
    """Same cell, same machine, same threads: the same predictions to the bit."""
    notes: tuple[str, ...] = ()
    """What was chosen on the user's behalf, and why."""

    def computing(self) -> dict[str, str]:
        """Return what of the machine and its software can change a run's numbers, in words."""
        return {
            "machine": f"{self.device}, {self.platform}",
            "threads": str(self.threads),
            "sums": "in a fixed order" if self.deterministic else "in no fixed order",
            **{name: self.packages.get(name, "unknown") for name in ("torch", "transformers", "tokenizers")},
            "flue-bench": self.flue_bench,
        }


class Place(NamedTuple):
    """Where a record lies."""

    file: Path
    root: Path
    """The results folder, out of which no link is followed."""
    sha256: str
    """Of the record's own file, as it was read or written."""


class Predictions(Schema):
    """The file beside the record: one row an example of the scored split, test. Never a text of the data set.

    ``record.predictions()`` returns it as an Arrow table.
    """

    file: str = Field(pattern=r"^[^/\\\x00]+$", max_length=255)
    """The name of the file beside the record."""
    sha256: str
    rows: Count
    _place: Place | None = PrivateAttr(None)
    """Where the record was read or written."""

    @property
    def place(self) -> Place | None:
        """Where the record was read or written; None if it was made in memory."""
        return self._place

    def at(self, place: Place) -> Self:
        """Note where the record is, for calls without a folder, and return these."""
        self._place = place
        return self

    def __call__(self) -> pyarrow.Table:
        """Return the predictions on the scored split, which is test unless the cell says otherwise: a row an example.

        Raises:
            RecordError: the file is missing, damaged, or not the one that the record was written with; or the record
                was made in memory.
        """
        if self._place is None:
            raise RecordError(f"{self.file}: this record was not read from a results folder: see read_results.")
        return self.read(self._place.file.parent, self._place.root)

    def read(self, folder: Path, root: Path, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Read the file.

        Args:
            folder: the folder of the record's file.
            root: the results folder, out of which no link is followed.
            columns: read only those of these columns that exist.

        Raises:
            RecordError: the file is missing, damaged, or not the one that the record was written with.
        """
        import pyarrow.parquet

        path = folder / Path(self.file).name
        try:
            content = files.read(path, files.LARGE, root)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            if content.startswith(files.POINTER):
                raise RecordError(f"{path}: {files.NOT_PULLED}")
            raise RecordError(f"{path}: not the file that its record was written with (SHA-256 differs).")
        try:
            described = parquet_files.described(io.BytesIO(content))
            if fault := parquet_files.excess(described, len(content), free=MOST_VALUES):
                raise RecordError(f"{path} has {fault}; refused.")
            file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content), metadata=described)
            size = parquet_files.decoded(file, lambda: pyarrow.BufferReader(content), columns)
            if size > MOST_BYTES:
                raise RecordError(f"{path} has values of {size:,} bytes, and {MOST_BYTES:,} is the limit; refused.")
            return file.read(columns=columns)
        except (OSError, pyarrow.ArrowException, UnicodeError) as error:
            raise RecordError(f"{path}: damaged: {cause(error)}.") from error

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same file, wherever it lies."""
        return isinstance(other, Predictions) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, int]:
        return self.file, self.sha256, self.rows


class Tried(Schema):
    """One run of a point of a search."""

    seed: Count
    """A tuning seed."""
    score: Score | None
    """The headline metric on validation; None where the training diverged."""
    collapsed: Short | None = None
    """As in the run's own record."""
    seconds: Amount
    """Wall time of the cell; 0 where the training diverged."""
    steps: Count
    """Optimiser steps; 0 where the training diverged."""
    cell_digest: str = Field(pattern="^[0-9a-f]{16}$")
    """The run's own record, in the same results folder unless it was moved."""


class Point(Schema):
    """One point of a search."""

    settings: dict[Short, Setting]
    runs: Annotated[tuple[Tried, ...], Field(min_length=1, max_length=1000)]
    """One a tuning seed."""

    @property
    def lost(self) -> str | None:
        """Why the point lost, whatever its score is; None if it did not."""
        if any(run.score is None for run in self.runs):
            return "diverged"
        return "collapsed" if any(run.collapsed for run in self.runs) else None

    @property
    def score(self) -> float | None:
        """The mean over the tuning seeds; None where one diverged."""
        scores = [run.score for run in self.runs if run.score is not None]
        return math.fsum(scores) / len(scores) if len(scores) == len(self.runs) else None


class Search(Schema):
    """A whole search of one model on one task: every point that was tried."""

    points: Annotated[tuple[Point, ...], Field(min_length=1, max_length=MOST_POINTS)]

    @property
    def best(self) -> Point | None:
        """The point with the highest score that did not lose, the first of equals; None if all lost."""
        standing = [(point.score, point) for point in self.points if point.lost is None and point.score is not None]
        return max(standing, key=lambda each: each[0])[1] if standing else None

    @property
    def seconds(self) -> float:
        """Wall time of all runs."""
        return math.fsum(run.seconds for point in self.points for run in point.runs)

    @property
    def lost(self) -> dict[str, int]:
        """Why points lost → how many did."""
        return dict(Counter(why for point in self.points if (why := point.lost)))


class RunRecord(Schema):
    """One cell, done."""

    schema_version: Positive = 1
    cell: Cell
    cell_digest: str
    setting_digest: str
    recipe_name: str = Field(pattern=r"[^\s\x1c-\x1f]")
    """The recipe's name, so not blank. With overrides: ``standard learning_rate=0.0001``. Of a model that was scored as
    it is, where it comes from: ``fine-tuned elsewhere``, or ``kept: standard, seed 0``."""
    task_title: str
    kind: str
    """The task's kind: the name of a ``flue_bench.kinds.kind.Kind``."""
    labels: Shorts
    """Shorts of the classes or tags; none for a kind without labels."""
    scheme: Scheme | None
    """Tokens only: how entities are written in ``labels``."""
    options: Options = later(default_factory=dict)
    """Settings of the task that only this kind has."""
    metric: str
    """The task's headline metric."""
    column: Short
    """The task's board column; members of one column are averaged."""
    column_members: Annotated[tuple[Short, ...], Field(max_length=1000)]
    """All tasks that make up the column."""
    data: DataRef
    scores: dict[str, Score]
    """Scores of the predictions by full name, as fractions of 1 (MCC from -1 to 1): those of test, unless the cell
    says validation."""
    measures: dict[str, Annotated[float, Field(ge=-1e100, le=1e100)]] = later(default_factory=dict)
    """Other results on the test set, such as a mean error: not fractions of 1, and never on a board."""
    own_scores: dict[Short, Annotated[float, Field(ge=-1e100, le=1e100)]] = later(default_factory=dict)
    """Scores by functions of whoever ran it, under the names they gave them: not recomputed by ``verify``, and never on
    a board."""
    per_class: dict[str, Annotated[dict[str, ClassScores], Field(max_length=LABELS)]]
    """Level (``class``, ``entity``, ``word``, ``subword``) → class → scores."""
    chosen: dict[Short, Annotated[float, Field(ge=-1e100, le=1e100)]] = later(default_factory=dict)
    """Options of the task that validation decided, such as a threshold."""
    collapsed: str | None
    """In words, if the model gives one answer throughout; None otherwise. Never averaged silently."""
    selected_epoch: Count
    """The number of the evaluation in ``history`` whose weights were scored; 0 where nothing was trained."""
    history: Annotated[tuple[Epoch, ...], Field(max_length=MOST_EVALUATIONS)]
    truncation: Truncation
    head: OwnHead | None = None
    """None in records made before 0.2, and where nothing was trained."""
    leaks: Annotated[Shorts, Field(max_length=100)] = later(())
    """Why the model may have been trained on what it is scored on, in words: what its card or its own files say."""
    train_from: Short | None = later(None)
    """The task whose train and validation rows served; None: the task's own."""
    kept: str | None = later(None, pattern="^[0-9a-f]{16}$")
    """The digest of the fine-tuned model, if it was kept: what ``ModelRef.digest`` says of its folder."""
    search: Search | None = later(None)
    """How the recipe was chosen, where ``cell.search`` says that it was: ``cost`` has the final run's alone."""
    predictions: Predictions
    cost: Cost
    environment: Environment
    created: Time

    @property
    def rows_an_epoch(self) -> int:
        """The rows of train that an epoch has: its examples, or the windows into which these were cut."""
        return self.truncation.windows.get("train") or self.cell.served(self.data.rows).get("train", 0)

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        recipe = self.cell.recipe
        if isinstance(recipe, Recipe) and "auto" in (recipe.epochs, recipe.precision):
            raise ValueError("the cell's recipe has to hold the epochs and the precision that 'auto' chose")
        if self.schema_version < self.cell.schema_version:
            raise ValueError(f"a record of this cell is of schema version {self.cell.schema_version} or later")
        if (self.search is None) != (self.cell.search is None):
            raise ValueError("'search' and 'cell.search' go together")
        return self


class Failure(Schema):
    """A cell that ended in an error: visible on the board, tried again by the next run."""

    schema_version: Positive = 1
    cell: Cell
    cell_digest: str
    column: Short
    error: str
    diverged: bool = later(False)
    """Whether the training's losses or outputs were no longer finite."""
    created: Time


class SpeedRecord(Schema):
    """What one model costs on one machine, measured by ``flue-bench speed``; never compared across devices."""

    schema_version: Positive = 1
    model: ModelRef
    precision: Precision
    batch_size: Positive
    text: str
    """Digest of the French sample that was read."""
    examples: Positive
    """In the sample."""
    parameters: Positive
    """Parameters of the encoder, without any head."""
    flops_per_example: Amount | None
    """Forward pass over a mean example of the sample, by torch's flop counter; None where a note says why."""
    latency_ms_median: Speed
    """One example at a time."""
    latency_ms_p95: Speed
    examples_per_second: Speed
    """In batches of ``batch_size`` of similar length."""
    tokens_per_second: Speed
    """Non-padding sub-words."""
    share_of_peak: Amount | None = None
    """Seconds that the matrix products of all batches take alone, over those of the batches: 1 is the hardware's limit.
    None where a note says why, and in records of 0.1."""
    peak_memory_bytes: Count | None
    """None where a note says why."""
    environment: Environment
    created: Time
