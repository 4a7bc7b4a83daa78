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

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flue_bench.errors import UsageError
from flue_bench.record import RunRecord
from flue_bench.results.entries import (
    Entry,
    Measured,
    counts_of,
    differs,
    draws,
    entry_of,
    means_of,
    measure,
)
from flue_bench.results.evidence import Evidence
from flue_bench.statistics import columns, intervals, replicates, significance
from flue_bench.statistics.intervals import Means
from flue_bench.statistics.power import Noise, Power, power

Question = Literal["pretrained", "trained", "distilled"]

LEVEL = 0.05
"""Level of the tests; the intervals have 95 %."""

Ints = NDArray[np.int64]


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


def interval(records: Sequence[RunRecord], metric: str, evidence: Evidence) -> Interval:
    """Return the 95 % interval of a board entry: the mean over seeds, of one task or of a column's tasks averaged.

    Args:
        records: as for ``entry_of``.
        metric: full name of the score.
        evidence: the source of the predictions.

    Raises:
        RecordError: predictions are missing, damaged, or not of one test set.
        UsageError, UnknownNameError: as for ``entry_of``.
    """
    entry = entry_of(records, metric)

    def compute() -> Interval:
        measured = measure([entry], metric, evidence)
        several = len(entry.seeds) > 1
        means = means_of([entry], measured, drawn=several)
        estimate = intervals.estimate(means, [1])
        low, high = intervals.score_interval(means, measured.metric.low, measured.metric.high)
        return Interval(
            mean=estimate.value,
            low=low,
            high=high,
            seeds=len(entry.drawn),
            sd=intervals.mean_sd(draws([entry], measured)[0][0].tolist()).sd,
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
        measured = measure([first, second], metric, evidence)
        score_a, score_b = (float(scores.mean()) for scores in draws([first, second], measured)[0])
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
    found = [entry_of(records, metric) for records in entries]
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
        measured = measure(of_judged, metric, evidence)
        means = means_of(of_judged, measured, drawn=True)
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
        measured = measure([first, second], metric, evidence)
        score_student, score_teacher = (float(scores.mean()) for scores in draws([first, second], measured)[0])
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
        measured = measure([first, second], metric, evidence)
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
    entry = entry_of(records, metric)

    def compute() -> Spread:
        measured = measure([entry], metric, evidence)
        units = entry.distillations
        between, within = replicates.components([measured.scores[0][unit] for unit in units])
        means = means_of([entry], measured, drawn=len(entry.seeds) > 1)
        return Spread(len(units), between, len(entry.runs), within, intervals.estimate(means, [1]).se_examples)

    return evidence.kept([metric, entry.key], Spread, compute, entry.used)


def _pair(a: Sequence[RunRecord], b: Sequence[RunRecord], metric: str, question: Question) -> tuple[Entry, Entry]:
    """Return two entries after checking that they can be compared."""
    first, second = entry_of(a, metric), entry_of(b, metric)
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


def _incomparable(entry: Entry, best: Entry) -> str | None:
    """Return why an entry does not measure what the best of its column does, in words; None if it does."""
    if not entry.drawn:
        return "scored as it is, with no seed to average over"
    for task in entry.tasks:
        if said := differs(entry.records[task, entry.runs[0]], best.records[task, best.runs[0]]):
            return f"not comparable with the column's best: {said}"
    return None


def _reason(first: Entry, second: Entry, question: Question, scores: Sequence[Sequence[float]]) -> str | None:
    """Return why there is no verdict, in words; ``scores`` are those of both over their seeds."""
    if failed := [f"{entry.model} {words}" for entry in (first, second) for words in entry.collapsed]:
        return f"collapsed runs allow no verdict: {'; '.join(failed)}"
    if question == "trained":
        return None
    far = [
        f"{entry.model} {words}"
        for entry, of_entry in zip((first, second), scores, strict=True)
        for words in entry.outlying(of_entry)
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


def _means_for(question: Question, first: Entry, second: Entry, measured: Measured) -> Means:
    """Return the means with the sources of chance that the question is about."""
    if question != "distilled":
        return means_of([first, second], measured, drawn=question == "pretrained")
    units = [
        entry.distillations if _drawn_anew(entry, other) else [[i] for i in range(len(entry.runs))]
        for entry, other in ((first, second), (second, first))
    ]
    scores, covariance = replicates.averaged(measured.scores, measured.covariance, units)
    return intervals.seeds_and_examples(scores, covariance, measured.fewest)


def _asked(question: Question, first: Entry, second: Entry) -> Any:
    """Return the question, and what it depends on beside the entries' own keys, as a part of a cache's key."""
    if question != "distilled":
        return question
    return [question, _drawn_anew(first, second), _drawn_anew(second, first)]


def _drawn_anew(entry: Entry, other: Entry) -> bool:
    """Return whether the model is one of those that its recipe gives; the teacher of the other model is given."""
    taught = {record.cell.model.teacher for record in other.used}
    return entry.distilled and not any(digest in taught for digest, _ in entry.runs)


def _trained_test(records: Sequence[RunRecord], measured: Measured, evidence: Evidence) -> tuple[float, str]:
    """Return the p-value of two fine-tuned models, and the test's name."""
    metric = measured.metric
    counts, _ = counts_of(records, metric, evidence)
    if metric.of_examples and measured.clusters == measured.examples:
        right = metric.score(counts)  # (2, examples): 0 or 1
        first, second = int((right[0] > right[1]).sum()), int((right[0] < right[1]).sum())
        return significance.mcnemar(first, second), "exact McNemar"
    return significance.permutation_test(counts, metric.score), "paired permutation"
