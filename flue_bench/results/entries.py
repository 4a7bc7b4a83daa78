"""The records of one board entry, and the scores of entries over their seeds, measured on one draw of the test set.

An entry is of one model in one setting, on one task or on all of a column; or of several distillations of one recipe.
``comparison`` asks what entries show of each other.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flue_bench.errors import RecordError, UnknownNameError, UsageError, counted
from flue_bench.kinds.counts import Metric
from flue_bench.kinds.kind import kind_of
from flue_bench.record import RunRecord
from flue_bench.results.evidence import Evidence, attempted
from flue_bench.results.rows import grouped
from flue_bench.statistics import intervals, outliers, replicates
from flue_bench.statistics.intervals import Floats, Means

CELLS = 2**26
"""Numbers in memory at once for an interval: so many counts or resampled counts are half a gigabyte."""

_Run = tuple[str, int | None]
"""A model's digest and a seed."""


class Entry(NamedTuple):
    """The records of a board entry, in order; or those of several distillations of one recipe."""

    model: str
    tasks: tuple[str, ...]
    runs: tuple[_Run, ...]
    records: dict[tuple[str, _Run], RunRecord]
    """By task and run."""

    @property
    def drawn(self) -> tuple[int, ...]:
        """The seeds; none for a model that was scored as it is."""
        return tuple(seed for _, seed in self.runs if seed is not None)

    @property
    def key(self) -> list[Any]:
        """Everything that determines the entry's scores and intervals, and the name that their reasons mention."""
        of_runs = [
            [r.cell.task, r.predictions.sha256, r.kind, r.labels, r.scheme, r.options, r.collapsed] for r in self.used
        ]
        sizes = [len(unit) for unit in self.distillations]
        # A kept model that is scored as it is has the predictions of its run, but no seed.
        return [self.model, of_runs, *([sizes] if len(sizes) > 1 else []), *([] if self.drawn else ["as it is"])]

    @property
    def used(self) -> list[RunRecord]:
        """The records of the tasks and runs that count."""
        return [self.records[task, run] for task in self.tasks for run in self.runs]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each run; None alone for a model that was scored as it is."""
        return tuple(seed for _, seed in self.runs)

    @property
    def distillations(self) -> list[list[int]]:
        """The numbers of the runs of each model: of one, unless the entry is of a recipe that was distilled anew."""
        return list(grouped(range(len(self.runs)), lambda i: self.runs[i][0]).values())

    @property
    def distilled(self) -> bool:
        """Whether the model is known to be one of those that a recipe gives with another seed."""
        return any(record.cell.model.distilled for record in self.used)

    @property
    def collapsed(self) -> tuple[str, ...]:
        """See ``collapsed``."""
        return collapsed([self.records[task, run] for run in self.runs for task in self.tasks])

    def scores(self, metric: str) -> list[float]:
        """Return the scores by run, the tasks averaged."""
        return [
            math.fsum(self.records[task, run].scores[metric] for task in self.tasks) / len(self.tasks)
            for run in self.runs
        ]

    def outlying(self, scores: Sequence[float]) -> tuple[str, ...]:
        """Return which runs lie far below the others of their model, in words; ``scores`` are those by run."""
        seeds = self.seeds
        units = [([seeds[i] for i in unit], [scores[i] for i in unit]) for unit in self.distillations]
        return tuple(words for of_unit in units for words in outlying(*of_unit))

    def mean(self, metric: str) -> float:
        """Return the mean score over the seeds; of several distillations, that of their means."""
        scores = self.scores(metric)
        return statistics.fmean(statistics.fmean(scores[i] for i in unit) for unit in self.distillations)


class Measured(NamedTuple):
    """Scores of entries over their seeds, and their covariance under the sampling of the test sets."""

    scores: list[Floats]
    """One array of shape (seeds,) per entry."""
    covariance: Floats
    """Covariance of all of these, (seeds of all entries, seeds of all entries)."""
    metric: Metric
    examples: int
    clusters: int
    fewest: int
    """Clusters of the task with the fewest."""


def entry_of(records: Sequence[RunRecord], metric: str) -> Entry:
    """Return the entry of some records.

    Args:
        records: of one model, or of several distillations of one recipe, in one setting per task. Only seeds that have
            all of the tasks count.
        metric: full name of the score.

    Raises:
        UsageError: no seed has all of the tasks.
        UnknownNameError: a record has no such score.
    """
    by_cell = {(record.cell.task, (record.cell.model.digest, record.cell.seed)): record for record in records}
    tasks = sorted({task for task, _ in by_cell})
    whole = {run for _, run in by_cell if all((task, run) in by_cell for task in tasks)}
    runs = sorted(whole, key=lambda run: (run[0], -1 if run[1] is None else run[1]))
    if not runs:
        raise UsageError(f"No seed has all of {', '.join(tasks) or 'the tasks'}: there is nothing to average.")
    for record in by_cell.values():
        if metric not in record.scores:
            raise UnknownNameError("metric", metric, record.scores, of=f"Task {record.cell.task}")
    return Entry(records[0].cell.model.name, tuple(tasks), tuple(runs), by_cell)


def differs(a: RunRecord, b: RunRecord) -> str | None:
    """Return why two records of one task do not measure the same thing, in words; None if they do."""
    compared = {
        "task version": (a.cell.task_version, b.cell.task_version),
        "data": (a.cell.data[:8], b.cell.data[:8]),
        "limit": (a.cell.limit or "none", b.cell.limit or "none"),
        "split": (a.cell.split, b.cell.split),
        "train rows": (a.cell.train_rows or "all", b.cell.train_rows or "all"),
        "protocol of the engine": (a.cell.protocol, b.cell.protocol),
    }
    different = [f"{what} {one} and {other}" for what, (one, other) in compared.items() if one != other]
    return ", ".join(different) or None


def collapsed(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return which of an entry's runs predict a single class, in words; an entry with such runs gets no verdict.

    Such a run shows that a fine-tuning failed and says nothing about the pretrained model: two models that both fail
    are not alike, and a student whose teacher fails keeps nothing of it.

    Args:
        records: records of one model, whole seeds of one task or of a column's tasks.
    """
    times = Counter((record.cell.task, record.collapsed) for record in records if record.collapsed)
    if not times:
        return ()
    tasks = {record.cell.task for record in records}
    seeds = {(record.cell.model.digest, record.cell.seed) for record in records}
    return tuple(
        f"{f'{task} ' if len(tasks) > 1 else ''}{words}"
        + ("" if any(seed is None for _, seed in seeds) else f" in {count} of {counted(len(seeds), 'seed')}")
        for (task, words), count in sorted(times.items())
    )


def outlying(seeds: Sequence[int | None], scores: Sequence[float]) -> tuple[str, ...]:
    """Return which seeds of an entry lie far below the others, in words; an entry with such seeds gets no verdict.

    Its spread is no normal one: an interval over the seeds would claim 95 % and hold the truth less often.
    ``flue_bench.statistics.outliers`` has the rule.

    Args:
        seeds: the entry's seeds.
        scores: their scores, fractions of 1, the column's tasks averaged.
    """
    far = outliers.outlying(scores)
    others = [100 * score for i, score in enumerate(scores) if i not in far]
    return tuple(
        f"seed {seeds[i]} at {100 * scores[i]:.2f}, the others at {min(others):.2f} to {max(others):.2f}" for i in far
    )


class Together(NamedTuple):
    """Several board entries of one column, measured on one draw of its test sets."""

    means: Means
    """Their means, in order, with both sources of chance."""
    lowest: float
    """The metric's lowest value."""
    highest: float


def together(entries: Sequence[Sequence[RunRecord]], metric: str, evidence: Evidence) -> Together:
    """Measure the entries of one column together; nothing is cached.

    Args:
        entries: records as for ``entry_of``, of one protocol, version and data, with two seeds at least each.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError: predictions are missing, damaged, or not of one test set.
        UsageError, UnknownNameError: as for ``entry_of``.
    """
    found = [entry_of(records, metric) for records in entries]
    measured = attempted(lambda: measure(found, metric, evidence))
    return Together(means_of(found, measured, drawn=True), measured.metric.low, measured.metric.high)


def check_drawn(records: Sequence[RunRecord], metric: str) -> None:
    """Check that an entry says something of the model's spread over seeds.

    Raises:
        UsageError: it has a single seed, collapsed runs, or a seed far below the others; or as for ``entry_of``.
        UnknownNameError: as for ``entry_of``.
    """
    entry = entry_of(records, metric)
    if entry.collapsed:
        raise UsageError(f"{entry.model} {'; '.join(entry.collapsed)}")
    if far := entry.outlying(entry.scores(metric)):
        raise UsageError(f"{entry.model} {'; '.join(far)}")
    if len(entry.seeds) < 2:
        raise UsageError(f"one seed of {entry.model} says nothing about the spread over seeds; run more with --seeds")


def identity(records: Sequence[RunRecord], metric: str) -> list[Any]:
    """Return everything that determines an entry's scores and intervals, as a key for ``Evidence.kept``.

    Raises:
        UsageError, UnknownNameError: as for ``entry_of``.
    """
    return [metric, entry_of(records, metric).key]


def measure(entries: Sequence[Entry], metric: str, evidence: Evidence) -> Measured:
    """Return scores and their covariance; a column's tasks have independent test sets and are averaged seed by seed."""
    tasks = entries[0].tasks
    scores, covariance, examples, clusters = [], [], 0, []
    for task in tasks:
        first = entries[0].records[task, entries[0].runs[0]]
        formula = _metric(first, metric)
        of_task, drawn, rows, groups = [], [], 0, 0
        for entry in entries:  # one by one: counts of a whole column would be too many to hold
            records = [entry.records[task, run] for run in entry.runs]
            others = [] if entry is entries[0] else [first]
            counts, rows = counts_of([*others, *records], formula, evidence)
            counts, groups = counts[len(others) :], counts.shape[1]
            if groups < 2:
                raise RecordError(f"{task}: a test set of a single group of examples has no interval.")
            of_task.append(formula.score(counts.sum(axis=1)))
            drawn.append(formula.score(intervals.resample(counts)))
        scores.append(np.concatenate(of_task))
        covariance.append(intervals.covariance_of(np.concatenate(drawn, axis=1), groups))
        examples += rows
        clusters.append(groups)
    cut = np.cumsum([len(entry.runs) for entry in entries])[:-1]
    return Measured(
        scores=np.split(np.mean(scores, axis=0), cut),
        covariance=np.sum(covariance, axis=0) / len(tasks) ** 2,
        metric=formula,
        examples=examples,
        clusters=sum(clusters),
        fewest=min(clusters),
    )


def draws(entries: Sequence[Entry], measured: Measured) -> tuple[list[Floats], Floats]:
    """Return what was drawn independently for each entry, seeds or the means of distillations, and the covariance."""
    if all(len(entry.distillations) == 1 for entry in entries):
        return measured.scores, measured.covariance
    units = [
        entry.distillations if len(entry.distillations) > 1 else [[i] for i in range(len(entry.runs))]
        for entry in entries
    ]
    return replicates.averaged(measured.scores, measured.covariance, units)


def means_of(entries: Sequence[Entry], measured: Measured, drawn: bool) -> Means:
    """Return the means with the seeds, and distillations where there are several, as sources of chance, or fixed."""
    if drawn:
        return intervals.seeds_and_examples(*draws(entries, measured), measured.fewest)
    return intervals.examples_only(np.concatenate(measured.scores), measured.covariance, measured.fewest)


def _metric(record: RunRecord, name: str) -> Metric:
    """Return the metric of this name, as the record's kind of task defines it."""
    metrics = kind_of(record).metrics(record)
    if name not in metrics:
        raise RecordError(f"{record.cell.task}: kind '{record.kind}' has no score {name}. See flue-bench verify.")
    return metrics[name]


def counts_of(records: Sequence[RunRecord], metric: Metric, evidence: Evidence) -> tuple[Floats, int]:
    """Return the counts by cluster, (records, clusters, …), of records of one task, and the number of examples.

    Rows are sorted by id and clusters by their first row: neither the order of the file nor the names of groups matter.
    """
    gold: list[Any] | None = None
    ids: list[str] = []
    cluster = first = np.empty(0, np.int64)
    counted = []
    for record in records:
        table = evidence.predictions(record).sort_by("id")
        if gold is None:
            gold, ids = table["gold"].to_pylist(), table["id"].to_pylist()
            _, first, names = np.unique(table["group"].to_numpy(), return_index=True, return_inverse=True)
            cluster = np.argsort(np.argsort(first))[names]
        elif table["id"].to_pylist() != ids or table["gold"].to_pylist() != gold:
            raise RecordError(
                f"{record.predictions.file}: not the test set of {records[0].predictions.file}, "
                "though both name the same data; run one of them again."
            )
        width = 3 * max(len(record.labels), 1)
        if len(records) * width * max(len(first), intervals.REPLICATES) > CELLS:
            raise RecordError(
                f"{record.cell.task}: {len(record.labels):,} labels, {len(first):,} groups of examples and "
                f"{len(records):,} runs are too many for an interval."
            )
        try:
            counted.append(kind_of(record).counts(table, record, metric.level, cluster).astype(np.float64))
        except (IndexError, TypeError, ValueError) as error:  # labels that the record does not have
            raise RecordError(
                f"{record.predictions.file}: cannot be scored: {error}. See flue-bench verify."
            ) from error
    return np.stack(counted), len(ids)
