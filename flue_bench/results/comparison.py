"""Intervals, differences and retention of models, from records and their predictions.

Three questions are kept apart:

- ``pretrained``: which *pretrained model* is better to fine-tune? Both models are fine-tuned anew with each seed, and
  the test set is one of many that could have been drawn. Seeds and test examples are both in the interval. A single
  seed says nothing of the spread over seeds, so there is no verdict then.
- ``trained``: which of *these two fine-tuned models* is better? The test set is the only source of chance.
- ``distilled``: which *distillation recipe* is better? Students are distilled anew with another seed, and each is
  fine-tuned anew, for another test set. Of a model that is no distillation, such as the teacher, only seeds are anew.

``flue_bench.statistics`` has the formulas; docs/decisions/0010-statistics.md the reasons.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from flue_bench.errors import FlueBenchError, RecordError, UnknownNameError, UsageError, cause, counted
from flue_bench.kinds.counts import Metric
from flue_bench.kinds.kind import kind_of
from flue_bench.record import RunRecord
from flue_bench.results import code
from flue_bench.results.kept import Kept
from flue_bench.results.rows import grouped
from flue_bench.results.store import read_predictions
from flue_bench.statistics import columns, intervals, outliers, replicates, significance
from flue_bench.statistics.intervals import Floats, Means
from flue_bench.statistics.power import Noise, Power, power

if TYPE_CHECKING:
    import pyarrow

Question = Literal["pretrained", "trained", "distilled"]

CELLS = 2**26
"""Numbers in memory at once for an interval: so many counts or resampled counts are half a gigabyte."""

LEVEL = 0.05
"""Level of the tests; the intervals have 95 %."""

Ints = NDArray[np.int64]
_Value = TypeVar("_Value")  # a dataclass


@dataclass(frozen=True)
class Interval:
    """A board entry's mean and its 95 % interval; fractions of 1."""

    mean: float
    low: float
    high: float
    seeds: int
    """0 for a model that was scored as it is."""
    sd: float | None
    """Sample standard deviation over the seeds; None for a single one."""
    se_seeds: float | None
    """Standard error of the mean from the seeds; None for a single one."""
    se_examples: float
    """Standard error of the mean from the sampling of the test set."""
    examples: int
    clusters: int
    """Groups of examples; as many as examples where none share a group."""
    distillations: int = 1
    """Of one recipe; with several, ``sd`` and ``se_seeds`` are those of their means: both levels are in them."""

    @property
    def covers(self) -> str:
        """The sources of chance that the interval covers, in words."""
        if self.distillations > 1:
            return "distillations, seeds and test examples"
        alone = "test examples (one seed)" if self.seeds else "test examples"
        return alone if self.se_seeds is None else "seeds and test examples"


@dataclass(frozen=True)
class Difference:
    """The difference of two models on one task, or on one column's mean; fractions of 1."""

    question: Question
    metric: str
    a: float
    b: float
    difference: float
    """``a`` minus ``b``."""
    low: float | None
    """Lower end of the 95 % interval; None where ``reason`` says why."""
    high: float | None
    p: float | None
    """Two-sided p-value, not adjusted."""
    test: str
    """The name of the test."""
    se_seeds: float | None
    se_examples: float | None
    freedom: float | None
    seeds_a: tuple[int, ...]
    seeds_b: tuple[int, ...]
    examples: int
    clusters: int
    reason: str | None = None
    """Why there is neither interval nor p-value, in words."""


@dataclass(frozen=True)
class Versus:
    """A board entry against the best of its column, as pretrained models; fractions of 1."""

    difference: float
    """Entry minus best."""
    low: float | None = None
    """Lower end of its 95 % interval, not adjusted; None where ``reason`` says why."""
    high: float | None = None
    p: float | None = None
    """Two-sided p-value, not adjusted."""
    p_adjusted: float | None = None
    """The p-value adjusted over all pairs of the column, never below ``p``."""
    reason: str | None = None
    """Why there is no verdict, in words."""


@dataclass(frozen=True)
class ColumnVerdicts:
    """What the entries of a column show of each other."""

    versus: tuple[Versus | None, ...]
    """One for each entry; None for the best."""
    power: Power | None
    """With the median number of seeds; None where less than two entries can have a verdict."""
    recipes: Power | None = None
    """The same of two distillation recipes, in distillations of each; None where no entry has several."""


@dataclass(frozen=True)
class Retention:
    """How much of the teacher's score the student keeps."""

    question: Question
    metric: str
    student: float
    teacher: float
    ratio: float | None
    """Student over teacher; None if the teacher's score is not above zero, or runs of either collapsed."""
    low: float | None
    """Lower end of the 95 % interval (Fieller); None where ``reason`` says why."""
    high: float | None
    margin: float
    p: float | None
    """One-sided p-value of the student keeping no more than ``margin`` of the teacher's score; not adjusted."""
    reason: str | None = None


class Margin(NamedTuple):
    """How much two models may differ and still count as equivalent; to be named before the scores are seen."""

    size: float
    """A share of B's score, or points of the score; as a fraction of 1."""
    relative: bool
    """Whether it is a share of B's score."""

    @classmethod
    def parse(cls, text: str) -> Margin:
        """Return the margin that is written ``3%`` (of B's score) or ``3points``.

        Raises:
            UsageError: it is neither, or not above 0 and below 100.
        """
        parts = re.fullmatch(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*(%|points?)?\s*", text, re.ASCII)
        size = float(parts[1]) if parts else math.nan
        if parts is None or not parts[2] or not 0 < size < 100:
            # A bare number below 1 is a fraction: whoever types 0.03 means 3 %.
            percent = 100 * size if not (parts and parts[2]) and size < 1 else size
            number = f"{percent:g}" if 0 < percent < 100 else "3"
            reason = ": it is above 0" if size <= 0 else ": it is below 100" if size >= 100 else ""
            raise UsageError(
                f"--margin {text}: give a share of B's score, {number}%, or points, {number}points{reason}."
            )
        return cls(size / 100, parts[2] == "%")

    def __str__(self) -> str:
        size = f"{100 * self.size:g}"
        return f"{size} %" if self.relative else f"{size} {'point' if size == '1' else 'points'}"


@dataclass(frozen=True)
class Equivalence:
    """Whether two models are equivalent: two one-sided tests."""

    question: Question
    metric: str
    margin: float
    """A fraction of 1."""
    relative: bool
    """Whether the margin is a share of B's score, and not points."""
    p: float | None
    """The larger of the p-values of A lying no higher than the margin's lower end, and no lower than its upper end; not
    adjusted. None where ``reason`` says why."""
    reason: str | None = None


@dataclass(frozen=True)
class Evidence:
    """The predictions stored beside records, and the intervals already computed from them.

    Intervals are kept in the reader's own cache folder by the hash of everything that determines them: the SHA-256 of
    the predictions, how they are scored, the metric, and the version of the code. No results folder can put one
    there that does not follow from its predictions.
    """

    folders: tuple[Path, ...]
    """Results folders."""
    _files: dict[str, list[tuple[Path, Path]]] = field(default_factory=dict, compare=False, repr=False)
    _names: set[str] = field(default_factory=set, compare=False, repr=False)
    _kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    def predictions(self, record: RunRecord, more: Sequence[str] = ()) -> pyarrow.Table:
        """Return what is scored of the record's test predictions, and ``more`` columns, from any of the folders.

        Raises:
            RecordError: the file does not exist, is not the one that the record was written with, or lacks a column;
                or no installed package provides the record's kind of task.
        """
        columns = ["id", "group", *kind_of(record).scored, *more]
        name, problem = record.predictions.file, RecordError("")
        for path, folder in self._files_of(record):
            try:
                table = read_predictions(record, path.parent, columns, folder)
            except RecordError as error:
                problem = error
                continue
            if lacking := sorted(set(columns) - set(table.column_names)):
                raise RecordError(f"{name}: has no column {', '.join(lacking)}.")
            return table
        raise problem

    def _files_of(self, record: RunRecord) -> list[tuple[Path, Path]]:
        """Return at least one file that may hold the record's predictions, each with its results folder."""
        if not self._files:
            for folder in self.folders:
                for path in folder.glob("runs/*/*/*.predictions.parquet"):
                    self._files.setdefault(path.name, []).append((path, folder))
            for same in self._files.values():
                same.sort()
        name = record.predictions.file
        if (found := self._files.get(name) or self._files.get(Path(name).name)) is None:
            where = ", ".join(f"{folder}/runs" for folder in self.folders)
            raise RecordError(f"{Path(name).name}: not found under {where}.")
        return found

    def _check_there(self, record: RunRecord) -> None:
        """Check that there is a file of the name of the record's predictions.

        Raises:
            RecordError: there is none.
        """
        if not self._names:  # quicker than ``_files_of``, which only computing needs
            for folder in self.folders:
                for inside in folder.glob("runs/*/*"):
                    with contextlib.suppress(OSError):
                        self._names.update(os.listdir(inside))
        if record.predictions.file not in self._names:
            self._files_of(record)

    def kept(self, key: Any, kind: type[_Value], compute: Callable[[], _Value], records: Iterable[RunRecord]) -> _Value:
        """Return the cached value of this key, or compute and cache it.

        Raises:
            RecordError: nothing can be computed from the predictions, for whatever reason; or those of a record are
                missing: what is shown of a results folder must not depend on what its reader has seen before.
        """
        versions = set()
        for record in records:
            self._check_there(record)
            versions.add(code.version(kind_of(record)))
        name = hashlib.sha256(json.dumps([sorted(versions), kind.__name__, key]).encode()).hexdigest()
        if (value := self._kept.get(name)) is not None:
            with contextlib.suppress(ValueError):
                kept: _Value = _adapter(kind).validate_json(value)
                return kept
        computed = attempted(compute)
        self._kept.put(name, json.dumps(asdict(cast(Any, computed))).encode())
        return computed


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Adapters are expensive to make, and one serves all values of a type."""


def attempted(compute: Callable[[], _Value]) -> _Value:
    """Return what is computed, and raise ``RecordError`` for what predictions of a stranger may cause."""
    try:
        return compute()
    except FlueBenchError:
        raise
    except Exception as error:
        raise RecordError(f"the predictions cannot be scored: {cause(error)}") from error


def interval(records: Sequence[RunRecord], metric: str, evidence: Evidence) -> Interval:
    """Return the 95 % interval of a board entry: the mean over seeds, of one task or of a column's tasks averaged.

    Args:
        records: records of one model, in one setting per task. Only seeds that have all of the tasks count.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError: predictions are missing, damaged, or not of one test set.
        UnknownNameError: a record has no such score.
    """
    entry = _entry(records, metric)

    def compute() -> Interval:
        measured = _measure([entry], metric, evidence)
        several = len(entry.seeds) > 1
        means = _means([entry], measured, drawn=several)
        estimate = intervals.estimate(means, [1])
        low, high = intervals.score_interval(means, measured.metric.low, measured.metric.high)
        return Interval(
            mean=estimate.value,
            low=low,
            high=high,
            seeds=len(entry.drawn),
            sd=intervals.mean_sd(_drawn([entry], measured)[0][0].tolist()).sd,
            se_seeds=estimate.se_seeds if several else None,
            se_examples=estimate.se_examples,
            examples=measured.examples,
            clusters=measured.clusters,
            distillations=len(entry.distillations),
        )

    return evidence.kept([metric, entry.key], Interval, compute, entry.used)


def compare(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    metric: str,
    evidence: Evidence,
    question: Question = "pretrained",
) -> Difference:
    """Return the difference of two board entries.

    Args:
        a: records as for ``interval``; for the question ``trained`` a single record.
        b: likewise, of another model or setting, on the same tasks.
        metric: full name of the score.
        evidence: the source of the predictions.
        question: see the module's docstring.

    Raises:
        UsageError: the records differ in tasks, task versions, data, limits or protocol of the engine; or several are
            given for the question ``trained``.
        RecordError, UnknownNameError: as for ``interval``.
    """
    first, second = _pair(a, b, metric, question)

    def compute() -> Difference:
        measured = _measure([first, second], metric, evidence)
        score_a, score_b = (float(scores.mean()) for scores in _drawn([first, second], measured)[0])
        estimate, p, test, low, high = None, None, "", None, None
        reason = _reason(first, second, question, [each.tolist() for each in measured.scores])
        if reason is None:
            means = _means_for(question, first, second, measured)
            estimate = intervals.estimate(means, [1, -1])
            low, high = intervals.t_interval(estimate)
            if question == "trained":
                p, test = _trained_test(first.used + second.used, measured, evidence)
            else:
                p, test = significance.t_test(estimate), "Student's t over seeds and test examples"
        return Difference(
            question=question,
            metric=metric,
            a=score_a,
            b=score_b,
            difference=score_a - score_b,
            low=low,
            high=high,
            p=p,
            test=test,
            se_seeds=estimate.se_seeds if estimate else None,
            se_examples=estimate.se_examples if estimate else None,
            freedom=estimate.freedom if estimate else None,
            seeds_a=first.drawn,
            seeds_b=second.drawn,
            examples=measured.examples,
            clusters=measured.clusters,
            reason=reason,
        )

    key = [metric, _asked(question, first, second), first.key, second.key]
    return evidence.kept(key, Difference, compute, first.used + second.used)


def column(entries: Sequence[Sequence[RunRecord]], best: int, metric: str, evidence: Evidence) -> ColumnVerdicts:
    """Return the verdicts of a column's entries against the one that came out best, as pretrained models.

    Each difference, with its interval and p-value, is that of ``compare``; what is adjusted over the column is
    explained in ``flue_bench.statistics.columns``.

    Args:
        entries: the records of each entry, as for ``interval``, all on the same tasks and data.
        best: index of the best entry.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError, UnknownNameError: as for ``interval``.
    """
    found = [_entry(records, metric) for records in entries]
    scores = [entry.scores(metric) for entry in found]
    reasons = [
        None
        if i == best
        else _incomparable(entry, found[best]) or _reason(entry, found[best], "pretrained", (scores[i], scores[best]))
        for i, entry in enumerate(found)
    ]
    judged = [i for i, reason in enumerate(reasons) if reason is None]
    reference = judged.index(best)

    def compute() -> ColumnVerdicts:
        versus = [
            None if i == best else Versus(found[i].mean(metric) - found[best].mean(metric), reason=reason)
            for i, reason in enumerate(reasons)
        ]
        if len(judged) < 2:
            return ColumnVerdicts(tuple(versus), None)
        of_judged = [found[i] for i in judged]
        measured = _measure(of_judged, metric, evidence)
        means = _means(of_judged, measured, drawn=True)
        adjusted = columns.p_values(means, reference) if len(judged) > 2 else np.zeros(2)
        for k, i in enumerate(judged):
            if i != best:
                estimate = intervals.estimate(means.of(k, reference), [1, -1])
                p = significance.t_test(estimate)
                versus[i] = Versus(estimate.value, *intervals.t_interval(estimate), p, max(p, float(adjusted[k])))
        several = [len(entry.distillations) > 1 for entry in of_judged]
        return ColumnVerdicts(tuple(versus), _power(means, [not of for of in several]), _power(means, several))

    key = [metric, best, [entry.key for entry in found], reasons]
    return evidence.kept(key, ColumnVerdicts, compute, [record for i in judged for record in found[i].used])


def _power(means: Means, some: Sequence[bool]) -> Power | None:
    """Return what the column shows of two models like some of it, with the median number of their draws."""
    if not any(some):
        return None
    chosen = np.flatnonzero(some)
    return power(_noise(means, chosen), statistics.median_low(np.rint(means.freedom[chosen] + 1).astype(int).tolist()))


def _noise(means: Means, some: Ints) -> Noise:
    """Return the noise of a difference: draws pooled over some of these models, test examples as in the median pair.

    Draws are seeds, and for several distillations of one recipe the distillations: the spread of their means holds that
    of the distillations and, divided by their number, that of the seeds within each.
    """
    freedom, own = means.freedom[some], np.diag(means.examples)
    apart = own[:, None] + own - 2 * means.examples
    pairs = np.triu_indices(len(own), 1)
    return Noise(
        sd=float(np.sqrt((freedom * (freedom + 1) * means.seeds[some]).sum() / freedom.sum())),
        se_examples=float(np.sqrt(max(np.median(apart[pairs]), 0))),
        clusters=means.clusters,
    )


def retention(
    student: Sequence[RunRecord],
    teacher: Sequence[RunRecord],
    metric: str,
    evidence: Evidence,
    question: Question = "pretrained",
    margin: float = 0.97,
) -> Retention:
    """Return the student's mean score over the teacher's, and test it against ``margin`` (non-inferiority, one-sided).

    Args:
        student: as ``a`` of ``compare``.
        teacher: as ``b`` of ``compare``.
        metric: full name of the score.
        evidence: the source of the predictions.
        question: see the module's docstring.
        margin: the share of the teacher's score that has to be kept, as a fraction of 1.

    Raises:
        UsageError, RecordError, UnknownNameError: as for ``compare``.
    """
    first, second = _pair(student, teacher, metric, question)

    def compute() -> Retention:
        measured = _measure([first, second], metric, evidence)
        score_student, score_teacher = (float(scores.mean()) for scores in _drawn([first, second], measured)[0])
        ratio, low, high, p = None, None, None, None
        reason = _reason(first, second, question, [each.tolist() for each in measured.scores])
        if not first.collapsed and not second.collapsed:
            if score_teacher <= 0:
                reason = "the teacher's score is not above zero"
            else:
                ratio = score_student / score_teacher
        if reason is None:
            means = _means_for(question, first, second, measured)
            low, high = intervals.fieller(means)
            p = significance.t_test_above(intervals.estimate(means, [1, -margin]))
        return Retention(question, metric, score_student, score_teacher, ratio, low, high, margin, p, reason)

    key = [metric, _asked(question, first, second), margin, first.key, second.key]
    return evidence.kept(key, Retention, compute, first.used + second.used)


def equivalence(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    metric: str,
    evidence: Evidence,
    margin: Margin,
    question: Question = "pretrained",
) -> Equivalence:
    """Test whether two entries are equivalent within a margin: two one-sided tests (Schuirmann 1987).

    Args:
        a: as for ``compare``.
        b: as for ``compare``.
        metric: full name of the score.
        evidence: the source of the predictions.
        margin: the largest difference that counts as none.
        question: see the module's docstring.

    Raises:
        UsageError, RecordError, UnknownNameError: as for ``compare``.
    """
    first, second = _pair(a, b, metric, question)

    def compute() -> Equivalence:
        measured = _measure([first, second], metric, evidence)
        reason, p = _reason(first, second, question, [each.tolist() for each in measured.scores]), None
        if reason is None and margin.relative and measured.scores[1].mean() <= 0:
            reason = "a share of B's score is no margin where that is not above zero"
        if reason is None:
            means = _means_for(question, first, second, measured)
            if margin.relative:
                above = intervals.estimate(means, [1, margin.size - 1])
                below = intervals.estimate(means, [-1, 1 + margin.size])
            else:
                apart = intervals.estimate(means, [1, -1])
                above = apart._replace(value=margin.size + apart.value)
                below = apart._replace(value=margin.size - apart.value)
            p = significance.equivalence_test(above, below)
        return Equivalence(question, metric, margin.size, margin.relative, p, reason)

    key = [metric, _asked(question, first, second), *margin, first.key, second.key]
    return evidence.kept(key, Equivalence, compute, first.used + second.used)


@dataclass(frozen=True)
class Spread:
    """Where the chance in an entry's mean comes from: standard deviations, as fractions of 1."""

    distillations: int
    """How many distillations of the recipe there are; 1 for a model that is none, or of which there is one."""
    sd_distillations: float | None
    """Over distillations, beyond what the seeds of fine-tuning explain; None with one, or with one seed of each."""
    runs: int
    sd_seeds: float | None
    """Over the seeds of fine-tuning, within a distillation; None with one seed of each."""
    se_examples: float
    """Of the mean, from the sampling of the test set."""


def spread(records: Sequence[RunRecord], metric: str, evidence: Evidence) -> Spread:
    """Return where the chance in an entry's mean comes from.

    Args:
        records: as for ``interval``; or those of several distillations of one recipe.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError, UnknownNameError: as for ``interval``.
    """
    entry = _entry(records, metric)

    def compute() -> Spread:
        measured = _measure([entry], metric, evidence)
        units = entry.distillations
        between, within = replicates.components([measured.scores[0][unit] for unit in units])
        scores, covariance = replicates.averaged(measured.scores, measured.covariance, [units])
        if len(units) == 1:
            scores, covariance = measured.scores, measured.covariance
        several = len(scores[0]) > 1
        means = (
            intervals.seeds_and_examples(scores, covariance, measured.fewest)
            if several
            else intervals.examples_only(scores[0], covariance, measured.fewest)
        )
        return Spread(len(units), between, len(entry.runs), within, intervals.estimate(means, [1]).se_examples)

    return evidence.kept([metric, entry.key], Spread, compute, entry.used)


class Together(NamedTuple):
    """Several board entries of one column, measured on one draw of its test sets."""

    scores: list[Floats]
    """The scores of each entry over its seeds, or the means of its distillations."""
    means: Means
    """Their means, in the same order, with both sources of chance."""
    lowest: float
    """The metric's lowest value."""
    highest: float


def together(entries: Sequence[Sequence[RunRecord]], metric: str, evidence: Evidence) -> Together:
    """Measure the entries of one column together; nothing is cached.

    Args:
        entries: records as for ``interval``, of one protocol, version and data, with two seeds at least each.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError, UnknownNameError: as for ``interval``.
    """
    found = [_entry(records, metric) for records in entries]
    measured = attempted(lambda: _measure(found, metric, evidence))
    scores, _ = _drawn(found, measured)
    return Together(scores, _means(found, measured, drawn=True), measured.metric.low, measured.metric.high)


def check_drawn(records: Sequence[RunRecord], metric: str) -> None:
    """Check that an entry says something of the model's spread over seeds.

    Raises:
        UsageError: it has a single seed, collapsed runs, or a seed far below the others.
        UnknownNameError: as for ``interval``.
    """
    entry = _entry(records, metric)
    if entry.collapsed:
        raise UsageError(f"{entry.model} {'; '.join(entry.collapsed)}")
    scores = entry.scores(metric)
    for unit in entry.distillations:
        if far := outlying([entry.seeds[i] for i in unit], [scores[i] for i in unit]):
            raise UsageError(f"{entry.model} {'; '.join(far)}")
    if len(entry.seeds) < 2:
        raise UsageError(f"one seed of {entry.model} says nothing about the spread over seeds; run more with --seeds")


def identity(records: Sequence[RunRecord], metric: str) -> list[Any]:
    """Return everything that determines an entry's scores and intervals, as a key for ``Evidence.kept``.

    Raises:
        UsageError, UnknownNameError: as for ``interval``.
    """
    return [metric, _entry(records, metric).key]


class _Entry(NamedTuple):
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

    def mean(self, metric: str) -> float:
        """Return the mean score over the seeds; of several distillations, that of their means."""
        scores = self.scores(metric)
        return statistics.fmean(statistics.fmean(scores[i] for i in unit) for unit in self.distillations)


_Run = tuple[str, int | None]
"""A model's digest and a seed."""


class _Measured(NamedTuple):
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


def _entry(records: Sequence[RunRecord], metric: str) -> _Entry:
    """Return the entry of the runs that have all tasks."""
    by_cell = {(record.cell.task, (record.cell.model.digest, record.cell.seed)): record for record in records}
    tasks = sorted({task for task, _ in by_cell})
    whole = {run for _, run in by_cell if all((task, run) in by_cell for task in tasks)}
    runs = sorted(whole, key=lambda run: (run[0], -1 if run[1] is None else run[1]))
    if not runs:
        raise UsageError(f"No seed has all of {', '.join(tasks) or 'the tasks'}: there is nothing to average.")
    for record in by_cell.values():
        if metric not in record.scores:
            raise UnknownNameError("metric", metric, record.scores, of=f"Task {record.cell.task}")
    return _Entry(records[0].cell.model.name, tuple(tasks), tuple(runs), by_cell)


def _pair(a: Sequence[RunRecord], b: Sequence[RunRecord], metric: str, question: Question) -> tuple[_Entry, _Entry]:
    """Return two entries after checking that they can be compared."""
    first, second = _entry(a, metric), _entry(b, metric)
    if first.tasks != second.tasks:
        raise UsageError(
            f"{first.model} was run on {', '.join(first.tasks)}, {second.model} on {', '.join(second.tasks)}: "
            "compare them on the same tasks."
        )
    for task in first.tasks:
        if said := differs(first.records[task, first.runs[0]], second.records[task, second.runs[0]]):
            raise UsageError(f"{task}: {first.model} and {second.model} cannot be compared: {said}.")
    if question != "trained" and (as_it_is := [entry.model for entry in (first, second) if not entry.drawn]):
        raise UsageError(f"{as_it_is[0]} was scored as it is and has no seeds: it needs --question trained.")
    if question == "trained" and not len(first.records) == len(second.records) == 1:
        raise UsageError("The question 'trained' is about two fine-tuned models: give one task and one seed of each.")
    return first, second


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
    tasks = {record.cell.task for record in records}
    seeds = {(record.cell.model.digest, record.cell.seed) for record in records}
    times = Counter((record.cell.task, record.collapsed) for record in records if record.collapsed)
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


def _incomparable(entry: _Entry, best: _Entry) -> str | None:
    """Return why an entry does not measure what the best of its column does, in words; None if it does."""
    if not entry.drawn:
        return "scored as it is, with no seed to average over"
    for task in entry.tasks:
        if said := differs(entry.records[task, entry.runs[0]], best.records[task, best.runs[0]]):
            return f"not comparable with the column's best: {said}"
    return None


def _reason(first: _Entry, second: _Entry, question: Question, scores: Sequence[Sequence[float]]) -> str | None:
    """Return why there is no verdict, in words; ``scores`` are those of both over their seeds."""
    if failed := [f"{entry.model} {words}" for entry in (first, second) for words in entry.collapsed]:
        return f"collapsed runs allow no verdict: {'; '.join(failed)}"
    if question == "trained":
        return None
    far = [
        f"{entry.model} {words}"
        for entry, of_entry in zip((first, second), scores, strict=True)
        for unit in entry.distillations
        for words in outlying([entry.seeds[i] for i in unit], [of_entry[i] for i in unit])
    ]
    if far:
        return f"a seed far below the others allows no verdict: {'; '.join(far)}"
    if question == "distilled":
        both = ((first, second), (second, first))
        lonely = [entry for entry, other in both if _drawn_anew(entry, other) and len(entry.distillations) < 2]
        if lonely:
            return (
                f"one distillation of {' and one of '.join(entry.model for entry in lonely)} says nothing about the "
                "spread over distillations; make more with flue-bench distill --set seed=1 and run them"
            )
    single = [
        entry.model
        for entry, other in ((first, second), (second, first))
        if len(entry.seeds) < 2 and not (question == "distilled" and _drawn_anew(entry, other))
    ]
    if not single:
        return None
    whose = "each" if len(single) == 2 else f"of {single[0]}"
    return f"one seed {whose} says nothing about the spread over seeds; run more with --seeds"


def _measure(entries: Sequence[_Entry], metric: str, evidence: Evidence) -> _Measured:
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
            counts, rows = _counts([*others, *records], formula, evidence)
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
    return _Measured(
        scores=np.split(np.mean(scores, axis=0), cut),
        covariance=np.sum(covariance, axis=0) / len(tasks) ** 2,
        metric=formula,
        examples=examples,
        clusters=sum(clusters),
        fewest=min(clusters),
    )


def _drawn(entries: Sequence[_Entry], measured: _Measured) -> tuple[list[Floats], Floats]:
    """Return what was drawn independently for each entry, seeds or the means of distillations, and the covariance."""
    if all(len(entry.distillations) == 1 for entry in entries):
        return measured.scores, measured.covariance
    units = [
        entry.distillations if len(entry.distillations) > 1 else [[i] for i in range(len(entry.runs))]
        for entry in entries
    ]
    return replicates.averaged(measured.scores, measured.covariance, units)


def _means(entries: Sequence[_Entry], measured: _Measured, drawn: bool) -> Means:
    """Return the means with the seeds, and distillations where there are several, as sources of chance, or fixed."""
    if drawn:
        return intervals.seeds_and_examples(*_drawn(entries, measured), measured.fewest)
    return intervals.examples_only(np.concatenate(measured.scores), measured.covariance, measured.fewest)


def _means_for(question: Question, first: _Entry, second: _Entry, measured: _Measured) -> Means:
    """Return the means with the sources of chance that the question is about."""
    if question != "distilled":
        return _means([first, second], measured, drawn=question == "pretrained")
    units = [
        entry.distillations if _drawn_anew(entry, other) else [[i] for i in range(len(entry.runs))]
        for entry, other in ((first, second), (second, first))
    ]
    scores, covariance = replicates.averaged(measured.scores, measured.covariance, units)
    return intervals.seeds_and_examples(scores, covariance, measured.fewest)


def _asked(question: Question, first: _Entry, second: _Entry) -> Any:
    """Return the question, and what it depends on beside the entries' own keys, as a part of a cache's key."""
    if question != "distilled":
        return question
    return [question, _drawn_anew(first, second), _drawn_anew(second, first)]


def _drawn_anew(entry: _Entry, other: _Entry) -> bool:
    """Return whether the model is one of those that its recipe gives; the teacher of the other model is given."""
    taught = {record.cell.model.teacher for record in other.used}
    return entry.distilled and not any(digest in taught for digest, _ in entry.runs)


def _metric(record: RunRecord, name: str) -> Metric:
    """Return the metric of this name, as the record's kind of task defines it."""
    metrics = kind_of(record).metrics(record)
    if name not in metrics:
        raise RecordError(f"{record.cell.task}: kind '{record.kind}' has no score {name}. See flue-bench verify.")
    return metrics[name]


def _trained_test(records: Sequence[RunRecord], measured: _Measured, evidence: Evidence) -> tuple[float, str]:
    """Return the p-value of two fine-tuned models, and the test's name."""
    metric = measured.metric
    counts, _ = _counts(records, metric, evidence)
    if metric.of_examples and measured.clusters == measured.examples:
        right = metric.score(counts)  # (2, examples): 0 or 1
        first, second = int((right[0] > right[1]).sum()), int((right[0] < right[1]).sum())
        return significance.mcnemar(first, second), "exact McNemar"
    return significance.permutation_test(counts, metric.score), "paired permutation"


def _counts(records: Sequence[RunRecord], metric: Metric, evidence: Evidence) -> tuple[Floats, int]:
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
