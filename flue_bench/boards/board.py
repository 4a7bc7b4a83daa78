"""What a board is made of: rows of models, columns of tasks, entries averaged over seeds, notes beside them."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flue_bench.progress import Console
from flue_bench.record import OwnHead
from flue_bench.results.comparison import LEVEL, Interval, Versus
from flue_bench.results.rows import (
    RowKey,
    RunKey,
)
from flue_bench.statistics.power import Power
from flue_bench.tabular import Tabular

if TYPE_CHECKING:
    import pyarrow
    from rich.console import RenderableType

    from flue_bench.boards.overall import Overall


@dataclass(frozen=True)
class Member:
    """One task of a column, with its version and data."""

    task: str
    version: int
    data: str
    """``DataRef.digest``."""


@dataclass(frozen=True)
class Column:
    """What one column measures."""

    title: str
    name: str
    metric: str
    limit: int | None
    train_rows: int | None
    """The rows of train that served; None: all."""
    canonical: bool
    members: tuple[Member, ...]
    """The tasks whose scores are averaged, seed by seed."""
    train_from: tuple[str, ...]
    """Other tasks whose train and validation rows the models were fine-tuned on; empty for rows of their own."""
    split: str
    """``test``, or ``validation`` of models that were scored as they are."""
    served: int = field(compare=False)
    """Rows of train that served, on average over the members."""
    deviations: tuple[str, ...] = field(compare=False)
    """How the data differs from the published data."""


@dataclass(frozen=True)
class Run:
    """One record's part in an entry."""

    task: str
    seed: int | None
    """None for a model that was scored as it is."""
    score: float
    """The score as a fraction of 1."""
    collapsed: str | None
    head: OwnHead | None
    cell_digest: str
    setting_digest: str
    predictions_sha256: str
    flue_bench: str
    device: str
    threads: int
    torch: str | None
    """The version of PyTorch."""
    dirty: bool | None
    """Whether flue-bench's checkout had uncommitted changes; None if it was none."""

    @property
    def key(self) -> RunKey:
        """The key of the run's record, see ``by_run``."""
        return RunKey(self.cell_digest, self.predictions_sha256)


Verdict = Literal["best", "not told apart", "below", "none"]
"""What a column says of an entry: it came out best, cannot be told apart from the best, is below it, or nothing."""


@dataclass(frozen=True)
class Tuned:
    """How the recipe of one model on one task was chosen, on validation alone."""

    task: str
    metric: str
    settings: dict[str, Any]
    """Of the best point."""
    scores: tuple[float | None, ...]
    """On validation, one a point, as a fraction of 1; None where a training diverged."""
    standing: tuple[bool, ...]
    """Whether a point could be chosen: it neither collapsed nor diverged."""
    lost: dict[str, int]
    """Why points lost, as ``collapsed``, → how many did."""
    seconds: float
    """Wall time of the whole search."""
    steps: int
    """Optimiser steps of the whole search."""
    model: str = ""
    """The name of one of several distillations, each of which has its own search; empty for a row of one model."""


@dataclass(frozen=True)
class Entry:
    """One model on one column; scores as fractions of 1."""

    mean: float
    sd: float | None
    """Sample standard deviation over seeds, or over the means of several distillations; None for a single one."""
    n: int
    """Number of seeds, over all distillations; 0 for a model that was scored as it is."""
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    """One score per seed, the column's members averaged; the only score of a model that was scored as it is."""
    lowest: float
    """The lowest of the scores."""
    median: float
    runs: tuple[Run, ...]
    collapsed: tuple[str, ...]
    """Which runs predict a single class, in words; with any, the entry gets no verdict and no interval."""
    outlying: tuple[str, ...]
    """Which seeds lie far below the others, in words, where none collapsed; with any, the same holds."""
    epochs: tuple[int, ...]
    """Epochs of the runs, each number once."""
    mixed: tuple[str, ...]
    """What differs between the runs that are averaged, in words: machines, threads, versions."""
    uncommitted: tuple[int | None, ...]
    """Seeds whose runs were made from a checkout with uncommitted changes; None for a model without seeds."""
    interval: Interval | None = None
    """From ``verdicts.weigh``."""
    versus: Versus | None = None
    """From ``verdicts.weigh``; None for the best of the column."""
    best: bool = False
    """From ``verdicts.weigh``: whether the others of the column are compared with this entry."""
    tuned: tuple[Tuned, ...] = ()
    """One a task of the column, and a distillation; empty for a recipe that was named beforehand."""
    distillations: int = 1
    """How many distillations of one recipe the runs are of; the mean is that of their means."""

    @property
    def stands(self) -> bool:
        """Whether the entry may be the best of its column and be compared, as a pretrained model."""
        return self.sound and self.n > 0

    @property
    def sound(self) -> bool:
        """Whether no run failed, as far as answers and scores tell: only then does the entry have an interval."""
        return not self.collapsed and not self.outlying

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the column; None before ``verdicts.weigh``, and for an entry that is alone in its column."""
        if self.versus is None:
            return "best" if self.best else None
        if self.versus.p_adjusted is None:
            return "none"
        return "not told apart" if self.versus.p_adjusted > LEVEL else "below"


@dataclass(frozen=True)
class Machine:
    """The machine and settings of speed measurements: speeds of one machine may be compared."""

    device: str
    threads: int
    precision: str
    batch_size: int
    text: str
    """Digest of the sample that was read."""


@dataclass(frozen=True)
class Speed:
    """What one model costs on one machine, before any head."""

    examples_per_second: float
    tokens_per_second: float
    latency_ms_median: float
    """One example at a time."""
    latency_ms_p95: float
    flops_per_example: float | None
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Checkpoint:
    """How far the training of a row's model had come when it was saved: ``flue_bench.record.Training``."""

    training: str
    """A hash that the checkpoints of one training share."""
    name: str
    """The training's name."""
    step: int
    tokens: int | None


@dataclass(frozen=True)
class Row:
    """One model as fine-tuned in one way."""

    label: str
    """The model's name, with part of its revision or digest where two models share the name."""
    model: str
    revision: str | None
    model_digest: str
    recipe: str
    precision: str
    protocol: int
    parameters: int
    """Parameters of the largest of its fine-tuned models, classifier included."""
    smallest: int
    """Those of the smallest: heads differ by kind of task and number of labels."""
    weights_bytes: int | None
    """Bytes of the weights; None where no record has them."""
    teacher: str | None
    """Digest of the model that this one was distilled from."""
    checkpoint: Checkpoint | None
    """None where the model's files do not say how it was trained."""
    cut: tuple[str, ...]
    """Tasks of which half of a split or more is longer than ``max_length``, in words."""
    fine_tuned: tuple[str, ...]
    """How the checkpoint's own classification head was treated; empty for a model that is only pretrained."""
    trained: bool
    """False for a model that was scored as it is."""
    leaks: tuple[str, ...]
    """Why the model may have been trained on what it is scored on, by task, in words."""
    entries: tuple[Entry | None, ...]
    """One entry per column."""
    speeds: tuple[Speed | None, ...]
    """One speed per machine."""
    search: str = ""
    """``RowKey.search``: empty for a recipe that was named beforehand."""
    searched: dict[str, Any] | None = None
    """What was searched: ``flue_bench.record.Searched`` as a dictionary."""
    how: str = ""
    """The recipe's name, the budget and the teacher, as the board prints it: ``standard, best of 6``."""
    taught: str = ""
    """``RowKey.teacher``: empty for a model that learnt from no teacher's soft labels."""
    taught_by: tuple[str, ...] = ()
    """Its teachers, by task, in words."""
    advantage: str = ""
    """What it has beside its model and a recipe: ``best of 6, taught by X``. Rows are compared with those that have the
    same, since what a search or a teacher gives is not the model's."""
    distillations: tuple[str, ...] = ()
    """Where the row is of several distillations of one recipe: their names and seeds, in words."""

    @property
    def key(self) -> RowKey:
        """The key that identifies the row."""
        return RowKey(
            self.model_digest, self.recipe, self.precision, self.protocol, self.trained, self.search, self.taught
        )


@dataclass(frozen=True)
class Kept:
    """How much of the teacher's mean score a student has on one column, as a fraction of 1."""

    ratio: float
    low: float | None = None
    """Lower end of its 95 % interval; None where there is no interval, or no bound."""
    high: float | None = None


@dataclass(frozen=True)
class Above:
    """What a student keeps of what its teacher has above a floor: (student - floor) / (teacher - floor)."""

    floor: int | None
    """Index of the floor's row on the board, from 0; None if there is none that was fine-tuned as the pair was."""
    kept: tuple[Kept | None, ...]
    """One per column."""
    mean: Kept | None
    """Over the columns that have a ratio."""
    reasons: tuple[Note, ...]
    """Columns on which the raw ratio has none above the floor, and why."""


@dataclass(frozen=True)
class Pair:
    """A student beside its teacher; ratios are student over teacher."""

    student: int
    """Index of the student's row on the board, from 0."""
    teacher: int
    kept: tuple[Kept | None, ...]
    """One per column; None if either has no entry or collapsed runs, or the teacher's score is not above 0."""
    mean: float | None
    """Mean of the columns' ratios."""
    collapsed: tuple[str, ...]
    """Titles of the columns on which runs of either collapsed."""
    outlying: tuple[str, ...]
    """Titles of the other columns on which a seed of either lies far below the others."""
    withheld: tuple[str, ...]
    """Titles of the columns on which the predictions do not bear out an entry of either: ``verdicts.weigh``."""
    parameters: float
    speeds: tuple[float | None, ...]
    """Ratio of the examples per second, one per machine."""
    mean_low: float | None = None
    """Lower end of the mean's 95 % interval; None where one of the columns has no interval."""
    mean_high: float | None = None
    above: Above | None = None
    """What is kept above a floor, from ``floors.above``; None where none was asked for."""


@dataclass(frozen=True)
class QuoteLine:
    """A published score, or ours by the same definition, in percent."""

    model: str
    percent: float | None
    sd: float | None
    detail: str
    """Scores of a column's tasks, of single classes, or by each possible definition."""
    source: str
    """Title of the source; empty for ours."""
    ours: bool


@dataclass(frozen=True)
class Quote:
    """Published scores on one column by one definition, and ours."""

    column: str
    metric: str
    """Our name of the score, or the source's words."""
    lines: tuple[QuoteLine, ...]


class Note(NamedTuple):
    """Something that is not in the table, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True)
class Board(Tabular):
    """A leaderboard, ready to be drawn. ``str``, a rich console and a notebook show it."""

    metric: str | None
    """The requested metric; None for each task's headline metric."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    machines: tuple[Machine, ...]
    pairs: tuple[Pair, ...]
    failed: tuple[Note, ...]
    left_out: tuple[Note, ...]
    power: tuple[Power | None, ...] = ()
    """From ``verdicts.weigh``, one per column; None where less than two entries have a verdict."""
    power_of_recipes: tuple[Power | None, ...] = ()
    """The same of two distillation recipes, in distillations of each; None where no entry has several."""
    quotes: tuple[Quote, ...] = ()
    """From ``published.quote``."""
    sources: tuple[str, ...] = ()
    """Title, address and remark of each quoted source."""
    overall: Overall | None = None
    """From ``overall.place``; None where none was asked for."""

    @property
    def split(self) -> str:
        """The split whose scores it shows; they are never beside those of another."""
        return self.columns[0].split if self.columns else "test"

    def __rich__(self) -> RenderableType:
        from flue_bench.boards import render

        return render.terminal(self)

    def __str__(self) -> str:
        drawn = io.StringIO()
        Console(file=drawn, width=100, color_system=None).print(self)
        return drawn.getvalue()

    def _repr_html_(self) -> str:
        from flue_bench.boards import notebook

        return notebook.html(self)

    def svg(self) -> str:
        """Return the board's curves as one SVG: score against labels, and against how far a training had come.

        Raises:
            UsageError: it has no curve.
        """
        from flue_bench.boards import curves

        return curves.to_svg(self)

    def to_arrow(self) -> pyarrow.Table:
        """Return a table with a row for each entry: one model, fine-tuned in one way, on one column of the board.

        Scores are fractions of 1. ``versus_…`` compares with the best of the column, ``kept_…`` with the teacher;
        ``overall_…`` is the row's place in the overall, where one was asked for; ``runs`` holds every run behind the
        entry, ``speeds`` what the model costs on each machine.
        """
        import pyarrow

        kept = {pair.student: pair.kept for pair in self.pairs}
        lines = [
            _line(self, row, column, entry, share) | of_overall(self, number) | above_floor(self, number, column)
            for number, row in enumerate(self.rows)
            for column, entry, share in zip(
                self.columns, row.entries, kept.get(number, (None,) * len(self.columns)), strict=True
            )
            if entry
        ]
        return (
            pyarrow.table({name: [line[name] for line in lines] for name in lines[0]}) if lines else pyarrow.table({})
        )


def _line(board: Board, row: Row, column: Column, entry: Entry, kept: Kept | None) -> dict[str, Any]:
    """Return every figure of an entry, by the name of its column in a table."""
    return {
        "label": row.label,
        **{each: getattr(row, each) for each in OF_ROW},
        "fine_tuned": list(row.fine_tuned),
        "leaks": list(row.leaks),
        "checkpoint": row.checkpoint and asdict(row.checkpoint),
        "column": column.title,
        "metric": column.metric,
        "split": column.split,
        "limit": column.limit,
        "train_rows": column.train_rows,
        "served": column.served,
        "canonical": column.canonical,
        "deviations": list(column.deviations),
        "tasks": [member.task for member in column.members],
        "mean": entry.mean,
        "sd": entry.sd,
        "epochs": list(entry.epochs),
        "n": entry.n,
        "distillations": entry.distillations,
        "seeds": list(entry.seeds),
        "scores": list(entry.scores),
        "lowest": entry.lowest,
        "median": entry.median,
        "mixed": list(entry.mixed),
        "uncommitted": list(entry.uncommitted),
        "collapsed": list(entry.collapsed),
        **{name: entry.interval and getattr(entry.interval, name) for name in _OF_INTERVAL},
        "outlying": list(entry.outlying),
        "verdict": entry.verdict,
        **{f"versus_{each.name}": entry.versus and getattr(entry.versus, each.name) for each in fields(Versus)},
        **{f"kept_{each.name}": kept and getattr(kept, each.name) for each in fields(Kept)},
        "runs": [asdict(run) for run in entry.runs],
        "speeds": [
            asdict(machine) | asdict(speed)
            for machine, speed in zip(board.machines, row.speeds, strict=True)
            if speed is not None
        ],
    }


def of_overall(board: Board, number: int) -> dict[str, Any]:
    """Return a row's place in the overall by the names of its columns in a table; nothing where none was asked for."""
    if board.overall is None:
        return {}
    place = board.overall.of_row(number)
    return {"overall": board.overall.name} | {f"overall_{n}": place and getattr(place, n) for n in _OF_PLACE}


def above_floor(board: Board, number: int, column: Column) -> dict[str, Any]:
    """Return what a row keeps above the floor by the names of its columns in a table; nothing without a floor."""
    above = {pair.student: pair.above for pair in board.pairs if pair.above}
    if not above:
        return {}
    own = above.get(number)
    kept = own and own.kept[board.columns.index(column)]
    return {f"above_floor_{each.name}": kept and getattr(kept, each.name) for each in fields(Kept)}


OF_ROW = (
    "model", "revision", "model_digest", "recipe", "how", "precision", "protocol", "parameters", "weights_bytes",
    "teacher",
)  # fmt: skip
"""Fields of a row that are columns of a table and of a CSV."""
_OF_PLACE = ("mean", "low", "high", "rank", "rank_low", "rank_high", "mean_rank")
"""Fields of a place in the overall that are columns of a table and of a CSV."""
_OF_INTERVAL = ("low", "high", "se_seeds", "se_examples", "examples", "clusters")
"""Fields of an interval that are columns of a table."""
