"""How records become a board: which of them share a row, a column and an entry.

These rules keep numbers apart that look alike:

- a column holds one metric on one split of one version of one data set, cut to one limit, after training on one number
  of rows;
- a row holds one model fine-tuned by one recipe in one precision under one protocol of the engine, or one model that
  was scored as it is: such rows stand below the others, and are never the best of a column;
- a recipe that was chosen by a search has a row of its own, which is compared with rows of the same search alone;
- an entry averages over seeds of one setting, and over all tasks of its column or none; where these were run on several
  machines, with several versions, or from a changed checkout, a note says so (``provenance``);
- speeds are shown together only where one machine measured them in one way.

Whatever these leave out is listed with its reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flue_bench.boards import provenance
from flue_bench.boards.board import (
    Board,
    Checkpoint,
    Column,
    Entry,
    Kept,
    Machine,
    Member,
    Note,
    Pair,
    Row,
    Run,
    Speed,
    Tuned,
)
from flue_bench.errors import UsageError, counted
from flue_bench.recipe import Recipe
from flue_bench.record import Failure, RunRecord, Search, SpeedRecord
from flue_bench.results import remote
from flue_bench.results.entries import collapsed, outlying
from flue_bench.results.rows import (
    NamedRow,
    RowKey,
    by_setting,
    check_metric,
    find,
    grouped,
    named_rows,
    newest,
    told_apart,
)
from flue_bench.statistics.intervals import mean_sd

if TYPE_CHECKING:
    pass

FLUE = ("cls", "paws-x", "xnli", "wikiner")
"""These columns come first, in this order."""
VARIANTS = 64
"""The largest number of columns that several versions and data of one column's tasks may make."""


class _Family(NamedTuple):
    """Records whose tasks may be averaged if all are present."""

    column: str
    members: tuple[str, ...]
    metric: str
    limit: int | None
    train_rows: int | None
    canonical: bool
    split: str


def build(
    records: Iterable[RunRecord],
    failures: Iterable[Failure] = (),
    damaged: Iterable[tuple[Path, str]] = (),
    metric: str | None = None,
    speeds: Iterable[SpeedRecord] = (),
    pair: tuple[str, str] | None = None,
    together: bool = True,
) -> Board:
    """Build the board of these records; their order does not matter.

    Args:
        records: records from any number of results folders; repeats of a cell count once.
        failures: listed where their cell has no record.
        damaged: (file, reason), listed as left out.
        metric: full name of the score to show; None shows each task's headline metric.
        speeds: speed records; the newest of one model on one machine counts.
        pair: teacher and student, by names that ``rows.find`` accepts; None pairs each model with the one that it was
            distilled from.
        together: whether several distillations of one recipe are one row.

    Raises:
        UnknownNameError: no record has a score of that name, or no row has that model.
    """
    left_out = {Note(str(path), reason) for path, reason in damaged}
    records, speeds = _once(records, left_out), list(speeds)
    check_metric(records, metric)

    scored = {record.cell.task for record in records if metric in record.scores}
    named = named_rows(records, together=together)
    entries: dict[tuple[RowKey, Column], Entry | None] = {}
    for each in named:
        label = f"{each.label} ({each.how}, {each.key.precision})"
        usable = _usable(each.records, metric, scored, label, left_out)
        for family, of_family in grouped(usable, lambda record: _family(record, metric)).items():
            by_task = {
                task: [
                    _one_setting(variant, label, left_out)
                    for variant in grouped(of_task, lambda r: (r.cell.task_version, r.cell.data)).values()
                ]
                for task, of_task in grouped(of_family, lambda record: record.cell.task).items()
            }
            if missing := [task for task in family.members if task not in by_task]:
                there = "; ".join(_said(setting, family.metric) for task in by_task for setting in by_task[task])
                reason = f"{_family_title(family)}: {', '.join(missing)} missing ({there})"
                left_out.add(Note(label, reason))
                continue
            if (ways := math.prod(len(by_task[task]) for task in family.members)) > VARIANTS:
                reason = f"{_family_title(family)}: versions and data of its tasks combine in {ways:,} ways"
                left_out.add(Note(label, reason))
                continue
            for settings in product(*(by_task[task] for task in family.members)):
                entries[each.key, _column(family, settings)] = _entry(family, settings, label, left_out)

    columns = sorted({column for (_, column), entry in entries.items() if entry}, key=_column_order)
    left_out |= {
        Note(column.title, f"no model has a whole entry by {column.metric}")
        for _, column in entries
        if column not in columns
    }
    measured, models = _measured(speeds), {model for each in named for model in each.models}
    left_out |= {
        Note(name, "its speed was measured, but it has no score")
        for name in sorted({speed.model.name for speed in speeds if speed.model.digest not in models})
    }
    machines = sorted({machine for machine, model in measured if model in models}, key=astuple)
    named = [each for each in named if any((each.key, column) in entries for column in columns)]
    rows = [
        Row(
            label=each.label,
            model=each.model,
            revision=each.revision,
            model_digest=each.key.model,
            recipe=each.key.recipe,
            precision=each.key.precision,
            protocol=each.key.protocol,
            parameters=max(record.cost.parameters for record in each.records),
            smallest=min(record.cost.parameters for record in each.records),
            weights_bytes=next((size for r in each.records if (size := r.cell.model.weights_bytes) is not None), None),
            teacher=next((teacher for r in each.records if (teacher := r.cell.model.teacher)), None),
            checkpoint=_checkpoint(each.records) if len(each.models) == 1 else None,
            fine_tuned=own_head(each.records),
            trained=each.key.trained,
            leaks=leaks(each.records),
            cut=cut(each.records),
            entries=tuple(entries.get((each.key, column)) for column in columns),
            speeds=tuple(
                next((speed for model in each.models if (speed := measured.get((machine, model)))), None)
                for machine in machines
            ),
            search=each.key.search,
            searched=searched.model_dump() if (searched := each.records[0].cell.search) else None,
            how=each.how,
            taught=each.key.teacher,
            taught_by=taught_by(each.records),
            advantage=each.advantage,
            distillations=tuple(
                f"{model.name} ({model.digest[:7]}), seed {model.distilled.seed}"
                for model in each.models.values()
                if model.distilled and len(each.models) > 1
            ),
        )
        for each in named
    ]
    rows.sort(key=_row_order)
    records_of = {each.key: each.records for each in named}
    titled = _titled(columns)
    done = {record.cell_digest for record in records}
    failed = {
        Note(f"{failure.cell.model.name}: {failure.cell.task}, {failure.cell.run}", failure.error)
        for failure in failures
        if failure.cell_digest not in done
    }
    pairs = list(_asked(rows, named, *pair) if pair else _distilled(rows, left_out))
    return Board(
        metric=metric,
        columns=titled,
        rows=tuple(rows),
        machines=tuple(machines),
        pairs=tuple(
            _pair(titled, rows, *both, _share_of_parameters(*(records_of[rows[i].key] for i in both))) for both in pairs
        ),
        failed=tuple(sorted(failed)),
        left_out=tuple(sorted(left_out)),
    )


HEADS = {
    "kept": "started from",
    "permuted": "started from, its rows in the task's order,",
    "replaced": "replaced by a new one",
    "by position": "taken by position, whatever its labels were,",
}
"""Texts on a checkpoint's own classification head."""
BY_POSITION = "the checkpoint brought its own classification head of this size: fine-tuning starts from it"
"""A note in records of 0.1, which used such a head unchanged."""


def own_head(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return how a checkpoint's own classification head was treated, and on which tasks; empty if it has none."""
    tasks: dict[str, set[str]] = {}
    for record in records:
        became = "by position" if BY_POSITION in record.environment.notes else record.head
        if became in HEADS:
            tasks.setdefault(became, set()).add(record.cell.task)
    return tuple(f"{HEADS[became]} on {', '.join(sorted(tasks[became]))}" for became in HEADS if became in tasks)


def taught_by(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return whose soft labels a model learnt from, by task."""
    said = set()
    for record in records:
        if teacher := record.cell.teacher:
            recipe = record.cell.trained.recipe
            made = f", {teacher.base.name} after {teacher.recipe_name}" if teacher.base else ""
            how = f"alpha {recipe.alpha:g}, temperature {recipe.temperature:g}"
            said.add(f"{record.cell.task}: {teacher.model.name} ({teacher.model.digest[:7]}{made}), {how}")
    return tuple(sorted(said))


def leaks(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return why a model may have been trained on what it is scored on, by task."""
    return tuple(sorted({f"{record.cell.task}: {words}" for record in records for words in record.leaks}))


def cut(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return how much of which tasks ``max_length`` cut, where that is at least half of a split."""
    said: dict[str, str] = {}
    for record in records:
        rows = record.cell.served(record.data.rows)
        parts = [
            f"{number:,} of {rows[split]:,} rows of {split}"
            for split, number in record.truncation.examples.items()
            if number and 2 * number >= rows.get(split, 2 * number + 1)
        ]
        if parts:
            task, length = record.cell.task, record.cell.recipe.max_length
            said[task] = f"{task}: {', '.join(parts)} at {length} sub-words"
    return tuple(said[task] for task in sorted(said))


def _epochs(runs: Iterable[RunRecord]) -> tuple[int, ...]:
    recipes = (record.cell.recipe for record in runs)
    return tuple(
        sorted({recipe.epochs for recipe in recipes if isinstance(recipe, Recipe) and recipe.epochs != "auto"})
    )


def _checkpoint(records: Iterable[RunRecord]) -> Checkpoint | None:
    said = next((training for record in records if (training := record.cell.model.training)), None)
    return Checkpoint(said.digest, said.name, said.step, said.tokens) if said else None


def _once(records: Iterable[RunRecord], left_out: set[Note]) -> list[RunRecord]:
    """Return the newest record of each cell."""
    records = list(records)
    once, others = newest(records)
    for record in once:
        if more := others.get(record.cell_digest):
            what = f"{record.cell.model.name}: {record.cell.task}, {record.cell.run}"
            roots = {
                root for each in records if each.cell_digest == record.cell_digest and (root := remote.of_root(each))
            }
            where = remote.of_root(record)
            of = f", from {remote.shown(where)}" if where and any(map(remote.is_published, roots)) else ""
            left_out.add(Note(what, f"{more} more of the same cell with other predictions; the newest is shown{of}"))
    return once


def _usable(
    of_row: Sequence[RunRecord], metric: str | None, scored: set[str], label: str, left_out: set[Note]
) -> list[RunRecord]:
    """Return the records with a score of the metric, and those whose task has no such score at all.

    Args:
        of_row: the records of a row.
        metric: as for ``build``.
        scored: the tasks of which any record has a score of the metric.
        label: the row's, for ``left_out``.
        left_out: takes what has no score of its task's metric.
    """
    usable = []
    for record in of_row:
        score = record.scores.get(metric or record.metric)
        if score is None and metric is not None and record.cell.task not in scored:
            usable.append(record)
        elif score is None:
            reason = f"{metric or record.metric} is missing"
            left_out.add(Note(label, f"{record.cell.task}, {record.cell.run}: {reason}"))
        else:
            usable.append(record)
    return usable


def _one_setting(variant: list[RunRecord], label: str, left_out: set[Note]) -> list[RunRecord]:
    """Return the records of one setting; the others are listed in ``left_out``."""
    kept, *others = by_setting(variant)
    for other in others:
        ours, theirs = (dict(setting[0].cell.recipe) for setting in (kept, other))
        names = [teacher.model.name for of in (kept, other) if (teacher := of[0].cell.teacher)]
        if len(names) == 2:  # one row's teachers were made alike, perhaps from several seeds
            ours["teacher"], theirs["teacher"] = names
        differing = ", ".join(f"{k} {theirs[k]} (shown: {ours[k]})" for k in ours if ours[k] != theirs[k])
        seeds = ", ".join(str(record.cell.seed) for record in other)
        runs = other[0].cell.run if other[0].cell.untrained else f"seed {seeds}"
        reason = f"{other[0].cell.task}, {runs}: another setting under the same recipe name: {differing}"
        left_out.add(Note(label, reason))
    return kept


def _entry(family: _Family, settings: Sequence[list[RunRecord]], label: str, left_out: set[Note]) -> Entry | None:
    by_seed = grouped((record for setting in settings for record in setting), _run)
    several = len({digest for _, digest, _ in by_seed}) > 1
    for (_, _, seed), of_seed in by_seed.items():
        if missing := sorted(set(family.members) - {record.cell.task for record in of_seed}):
            runs_of = "" if seed is None else f" for seed {seed}"
            runs_of += f" of {of_seed[0].cell.model.name}" if several else ""
            reason = f"{_family_title(family)}: {', '.join(missing)} missing{runs_of}"
            left_out.add(Note(label, reason))
    whole = {seed: of_seed for seed, of_seed in sorted(by_seed.items()) if len(of_seed) == len(family.members)}
    runs = [record for of_seed in whole.values() for record in of_seed]
    if not runs or any(family.metric not in record.scores for record in runs):
        return None
    scores = tuple(
        math.fsum(record.scores[family.metric] for record in of_seed) / len(of_seed) for of_seed in whole.values()
    )
    keys = list(whole)
    units = list(grouped(range(len(keys)), lambda i: keys[i][1]).values())  # the runs of each model
    summary = mean_sd([mean_sd([scores[i] for i in unit]).mean for unit in units] if len(units) > 1 else scores)
    seeds = tuple(seed for _, _, seed in keys if seed is not None)
    far = [
        f"{f'{whole[keys[unit[0]]][0].cell.model.name} ' if len(units) > 1 else ''}{words}"
        for unit in units
        for words in outlying([keys[i][2] for i in unit], [scores[i] for i in unit])
    ]
    return Entry(
        mean=summary.mean,
        sd=summary.sd if len(scores) > 1 else None,
        distillations=len(units),
        n=len(seeds),
        seeds=seeds,
        scores=scores,
        lowest=min(scores),
        median=statistics.median(scores),
        runs=tuple(
            Run(
                task=record.cell.task,
                seed=record.cell.seed,
                score=record.scores[family.metric],
                collapsed=record.collapsed,
                head=record.head,
                cell_digest=record.cell_digest,
                setting_digest=record.setting_digest,
                predictions_sha256=record.predictions.sha256,
                flue_bench=record.environment.flue_bench,
                device=record.environment.device,
                threads=record.environment.threads,
                torch=record.environment.packages.get("torch"),
                dirty=record.environment.dirty,
            )
            for record in runs
        ),
        collapsed=(failed := collapsed(runs)),
        outlying=() if failed else tuple(far),
        epochs=_epochs(runs),
        mixed=provenance.mixed(runs),
        uncommitted=provenance.uncommitted(runs),
        tuned=tuple(
            _tuned(of_model[0], search, of_model[0].cell.model.name if len(units) > 1 else "")
            for of_model in grouped(runs, lambda record: (record.cell.task, record.cell.model.digest)).values()
            if (search := of_model[0].search)
        ),
    )


def _run(record: RunRecord) -> tuple[int, str, int | None]:
    """Return which run of a row a record is of: by distillation, and by seed."""
    model = record.cell.model
    return model.distilled.seed if model.distilled else 0, model.digest, record.cell.seed


def _tuned(record: RunRecord, search: Search, model: str) -> Tuned:
    return Tuned(
        task=record.cell.task,
        metric=record.metric,
        settings=dict(search.best.settings) if search.best else {},
        scores=tuple(point.score for point in search.points),
        standing=tuple(point.lost is None for point in search.points),
        lost=search.lost,
        seconds=search.seconds,
        steps=sum(run.steps for point in search.points for run in point.runs),
        model=model,
    )


def _measured(speeds: Iterable[SpeedRecord]) -> dict[tuple[Machine, str], Speed]:
    """Return the newest speed by machine and the model's digest."""
    return {
        (
            Machine(
                device=record.environment.device,
                threads=record.environment.threads,
                precision=record.precision,
                batch_size=record.batch_size,
                text=record.text,
            ),
            record.model.digest,
        ): Speed(
            examples_per_second=record.examples_per_second,
            tokens_per_second=record.tokens_per_second,
            latency_ms_median=record.latency_ms_median,
            latency_ms_p95=record.latency_ms_p95,
            flops_per_example=record.flops_per_example,
            peak_memory_bytes=record.peak_memory_bytes,
        )
        for record in sorted(speeds, key=lambda record: (record.created, record.examples_per_second))
    }


def _distilled(rows: list[Row], left_out: set[Note]) -> Iterator[tuple[int, int]]:
    """Yield the indexes of each student's row and its teacher's: of several teachers, the one fine-tuned most alike.

    A row of the teacher without a score in any column of the student's has nothing to be compared with. Where one of
    them was tuned and the other was not, what is kept would be that of the tuning too: it is shown to who asks for it.
    """
    for student, row in enumerate(rows):
        teachers = [
            i
            for i, other in enumerate(rows)
            if other.model_digest == row.teacher and other.trained and _meet(row, other)
        ]
        if not row.trained or not teachers:
            continue
        if alike := [i for i in teachers if rows[i].search == row.search]:
            yield student, min(alike, key=lambda i: _unlike(row, rows[i]))
        else:
            label = rows[teachers[0]].label
            reason = f"what it keeps of {label}'s score: no row of that was tuned alike (--teacher, --student show it)"
            left_out.add(Note(f"{row.label} ({row.how}, {row.precision})", reason))


def _meet(one: Row, other: Row) -> bool:
    return any(a and b for a, b in zip(one.entries, other.entries, strict=True))


def _asked(rows: list[Row], named: list[NamedRow], teacher: str, student: str) -> Iterator[tuple[int, int]]:
    """Yield the same for the models of these names."""
    number = {row.key: i for i, row in enumerate(rows)}
    teachers, students = ([number[each.key] for each in find(named, name)] for name in (teacher, student))
    for option, found in (("--teacher", teachers), ("--student", students)):
        if not any(rows[i].trained for i in found):
            label = rows[found[0]].label
            raise UsageError(f"{option} {label} was scored as it is: name a model that was fine-tuned here.")
    teachers, students = ([i for i in found if rows[i].trained] for found in (teachers, students))
    if rows[teachers[0]].model_digest == rows[students[0]].model_digest:
        raise UsageError(f"--teacher and --student are both {rows[teachers[0]].label}: name two models.")
    for pupil in students:
        yield pupil, min(teachers, key=lambda i: _unlike(rows[pupil], rows[i]))


def _unlike(one: Row, other: Row) -> tuple[bool, ...]:
    how = one.protocol != other.protocol, one.recipe != other.recipe, one.precision != other.precision
    return one.taught != other.taught, one.search != other.search, *how


def _share_of_parameters(student: Sequence[RunRecord], teacher: Sequence[RunRecord]) -> float:
    """Return the student's parameters over the teacher's, with the head of a task that both have."""
    ours, theirs = ({r.cell.task: r.cost.parameters for r in records} for records in (student, teacher))
    if both := ours.keys() & theirs.keys():
        return ours[min(both)] / theirs[min(both)]
    return max(ours.values()) / max(theirs.values())


def _pair(columns: Sequence[Column], rows: list[Row], student: int, teacher: int, parameters: float) -> Pair:
    ours, theirs = rows[student], rows[teacher]
    both = list(zip(ours.entries, theirs.entries, strict=True))
    kept = tuple(Kept(a.mean / b.mean) if a and b and a.stands and b.stands and b.mean > 0 else None for a, b in both)
    return Pair(
        student=student,
        teacher=teacher,
        kept=kept,
        mean=mean_kept(kept),
        collapsed=tuple(
            column.title
            for column, (a, b) in zip(columns, both, strict=True)
            if a and b and (a.collapsed or b.collapsed)
        ),
        outlying=tuple(
            column.title
            for column, (a, b) in zip(columns, both, strict=True)
            if a and b and (a.outlying or b.outlying) and not (a.collapsed or b.collapsed)
        ),
        withheld=(),
        parameters=parameters,
        speeds=tuple(
            a.examples_per_second / b.examples_per_second if a and b else None
            for a, b in zip(ours.speeds, theirs.speeds, strict=True)
        ),
    )


def mean_kept(kept: Iterable[Kept | None]) -> float | None:
    """Return the mean of the ratios; None without any."""
    ratios = [column.ratio for column in kept if column]
    return math.fsum(ratios) / len(ratios) if ratios else None


def _said(setting: list[RunRecord], metric: str) -> str:
    """Return the text on the score of a task that is left out of its column."""
    scores = [record.scores[metric] for record in setting if metric in record.scores]
    mean = f" {metric} {100 * mean_sd(scores).mean:.2f}, n={len(scores)}" if scores else ""
    return f"{setting[0].cell.task}:{mean or ' there'}"


def _family(record: RunRecord, metric: str | None) -> _Family:
    members = tuple(sorted({*record.column_members, record.cell.task}))
    cell = record.cell
    return _Family(
        column=record.column,
        members=members,
        metric=metric or record.metric,
        limit=cell.limit,
        train_rows=cell.train_rows,
        canonical=record.data.canonical,
        split=cell.split,
    )


def _family_title(family: _Family) -> str:
    limit = "" if family.limit is None else f" limit {family.limit:,}"
    split = "" if family.split == "test" else f" ({family.split})"
    return f"{family.column}{split}{limit}{_on(family)}{'' if family.canonical else ' (data not canonical)'}"


def _on(family: _Family) -> str:
    return "" if family.train_rows is None else f" on {counted(family.train_rows, 'train row')}"


def _column(family: _Family, settings: Sequence[list[RunRecord]]) -> Column:
    first = [setting[0] for setting in settings]
    rows = sum(record.data.rows.get("train", 0) for record in first)
    of = counted(rows, "train row")
    limit = "" if family.limit is None else f" limit {family.limit}"
    trained = tuple(sorted({record.train_from for record in first if record.train_from}))
    other = f" (trained on {', '.join(trained)})" if trained else ""
    split = "" if family.split == "test" else f" ({family.split})"
    return Column(
        title=(f"{family.column}{split}{other}{'' if family.canonical else f' ({of})'}{limit}{_on(family)}"),
        name=family.column,
        metric=family.metric,
        limit=family.limit,
        train_rows=family.train_rows,
        canonical=family.canonical,
        members=tuple(Member(record.cell.task, record.cell.task_version, record.cell.data) for record in first),
        train_from=trained,
        split=family.split,
        served=sum(record.cell.served(record.data.rows).get("train", 0) for record in first) // len(first),
        deviations=tuple(
            words if len(first) == 1 else f"{record.cell.task}: {words}"
            for record in first
            for words in record.data.deviations
        ),
    )


def _column_order(column: Column) -> tuple[int, str, bool, float, float, str, str, tuple[tuple[str, int, str], ...]]:
    """Return the sort key of a column: FLUE first, then by name; whole and canonical data sets before others."""
    place = FLUE.index(column.name) if column.name in FLUE else len(FLUE)
    limit = -math.inf if column.limit is None else -column.limit
    members = tuple((member.task, member.version, member.data) for member in column.members)
    served = -math.inf if column.train_rows is None else -column.train_rows
    return place, column.name, not column.canonical, limit, served, column.title, column.metric, members


def _row_order(row: Row) -> tuple[bool, str, tuple[float, ...], str, str, str, int, str, str]:
    """Return the sort key of a row: best on the first column first, rows without an entry there last.

    Tuned rows come below those whose recipe was named beforehand, and models that were scored as they are below all.
    """
    means = tuple(math.inf if entry is None else -entry.mean for entry in row.entries)
    how = row.recipe, row.precision, row.protocol, row.model_digest, row.taught
    return not row.trained, row.search, means, row.label, *how


def _titled(columns: list[Column]) -> tuple[Column, ...]:
    titles = told_apart(
        [column.title for column in columns],
        [" v" + "/".join(str(v) for v in sorted({member.version for member in c.members})) for c in columns],
        [f" {column.metric}" for column in columns],
        [" data " + "/".join(member.data[:6] for member in column.members) for column in columns],
        [f" #{number}" for number in range(len(columns))],
    )
    return tuple(replace(column, title=title) for column, title in zip(columns, titles, strict=True))
