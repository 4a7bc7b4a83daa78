"""Two models compared on the tasks they share: differences, what one keeps of the other, tests, and verdicts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import RenderableType

from flue_bench.boards import compared_text
from flue_bench.boards.rules import leaks, own_head
from flue_bench.boards.wording import COLLAPSED, NONE, OUTLYING
from flue_bench.data import registry
from flue_bench.errors import FlueBenchError, RecordError, UnknownNameError, UsageError, counted
from flue_bench.kinds.counts import TRY
from flue_bench.progress import Console
from flue_bench.record import RunRecord
from flue_bench.results import comparison
from flue_bench.results.comparison import (
    LEVEL,
    Difference,
    Equivalence,
    Margin,
    Question,
    Retention,
    Spread,
)
from flue_bench.results.entries import differs, outlying
from flue_bench.results.evidence import Evidence
from flue_bench.results.retained import Retained, retained
from flue_bench.results.rows import DIGITS, NamedRow, by_setting, grouped, replicates
from flue_bench.statistics.significance import holm

KEPT = 0.97
"""The share of its teacher's score that a student should keep, where nothing else is asked."""


class Line(NamedTuple):
    """One task of a comparison."""

    task: str
    comparison: Difference
    p_holm: float | None
    """The p-value adjusted over the tasks."""
    verdict: str
    retention: Retention | None
    retention_p_holm: float | None
    retention_verdict: str
    above_floor: Retained | None = None
    """What A keeps of what B has above the floor; None without a floor, or where a note says why."""
    equivalence: Equivalence | None = None
    equivalence_p_holm: float | None = None
    equivalence_verdict: str = ""
    spread_a: Spread | None = None
    """Where the chance in A's mean comes from; for the question ``distilled``."""
    spread_b: Spread | None = None
    mark_a: str = ""
    """The board's mark of an entry with a seed that failed, where the board shows the median and this A's mean."""
    mark_b: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models compared on the tasks they share. ``str``, a rich console and a notebook show it as text."""

    question: Question
    a: str
    """The title of the first model's row on the board."""
    b: str
    lines: list[Line]
    notes: list[str]
    """What the table leaves out, and what to keep in mind when reading it."""
    floor: str | None = None
    """The title of the floor's row on the board."""
    mean_retention: Retained | None = None
    """Mean over the tasks of what A keeps of B's score; None where it was not asked for or has no interval."""
    mean_above_floor: Retained | None = None
    """The same above the floor, over the tasks that have it."""

    def __rich__(self) -> RenderableType:
        return compared_text.terminal(self)

    def __str__(self) -> str:
        drawn = io.StringIO()
        Console(file=drawn, width=120, color_system=None).print(self)
        return drawn.getvalue()

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def to_markdown(self) -> str:
        """Return the comparison as Markdown."""
        return compared_text.markdown(self)

    def to_json(self) -> str:
        """Return everything as JSON, scores as fractions of 1."""
        return compared_text.json(self)


def compare(
    row_a: NamedRow,
    row_b: NamedRow,
    evidence: Evidence,
    *,
    tasks: Sequence[str] = (),
    question: Question = "pretrained",
    metric: str | None = None,
    retention: float | None = None,
    seed: int | None = None,
    damaged: Iterable[tuple[Path, str]] = (),
    margin: Margin | None = None,
    floor: NamedRow | None = None,
    rows: Sequence[NamedRow] = (),
) -> Comparison:
    """Compare two rows of a board.

    Args:
        row_a: the first model's records.
        row_b: the other's.
        evidence: the source of their predictions.
        tasks: tasks or columns of the board; none: all that both models were run on.
        question: see ``flue_bench.results.comparison``.
        metric: full name of the score; None takes each task's headline metric.
        retention: the share of B's score that A is tested to keep; None tests 0.97 if B is the teacher of A.
        seed: with the question ``trained``, the seed of both; None takes the lowest that both have. A model that was
            scored as it is has none.
        damaged: files that cannot be read, and why, for the notes.
        margin: test whether A and B are equivalent within it.
        floor: the records of a model above whose scores what A keeps is shown too; only with the question
            ``pretrained``.
        rows: all rows, among which the other distillations of A's and of B's recipe are.

    Raises:
        UnknownNameError: neither model was run on one of ``tasks``.
        UsageError: the models have no task in common; or one has no seeds, and the question is about pretrained ones.
        RecordError: there are no predictions to compare.
    """
    notes = [f"{path}: {reason}" for path, reason in damaged]
    if floor and not floor.key.trained:
        raise UsageError(f"--floor {floor.title} was scored as it is: name a model that was fine-tuned here.")
    if floor in (row_a, row_b):
        raise UsageError(f"--floor {row_a.title if floor is row_a else row_b.title}: name a third row of the board.")
    if retention is None and (floor or row_a.records[0].cell.model.teacher == row_b.key.model):
        retention = KEPT
    a, b, pairs = sides(row_a, row_b, notes, tasks=tasks, question=question, metric=metric, seed=seed, rows=rows)
    lines = _lines(pairs, metric, question, retention, margin, evidence, notes)
    if not lines:
        raise RecordError(
            "\n".join([f"No predictions by which to compare {row_a.title} and {row_b.title}.", *notes[-1:]])
        )
    if question == "distilled":
        lines = _with_spread(lines, pairs, metric, evidence)
    of_task = {pair.title: pair for pair in pairs}
    lines = [
        line._replace(mark_a=_mark(pair.a, line.comparison.metric), mark_b=_mark(pair.b, line.comparison.metric))
        for line in lines
        for pair in [of_task[line.task]]
    ]
    notes = _reasons(lines) + notes
    means: list[Retained | None] = [None, None]
    if retention is not None and question == "pretrained":
        there = {line.task: line for line in lines}
        kept = [pair for pair in pairs if pair.title in there and (of := there[pair.title].retention) and of.ratio]
        means[0] = _mean([[pair.a, pair.b] for pair in kept], metric, evidence)
        if floor:
            above = _above(kept, floor, metric, evidence, notes)
            lines = [line._replace(above_floor=share) for line in lines for share in [above.get(line.task, (None,))[0]]]
            means[1] = _mean([runs for _, runs in above.values()], metric, evidence)
    return Comparison(
        question,
        a,
        b,
        lines,
        notes + _collapsed(pairs) + _fine_tuned(pairs) + _leaks(pairs),
        floor=floor.title if floor else None,
        mean_retention=means[0],
        mean_above_floor=means[1],
    )


def sides(
    row_a: NamedRow,
    row_b: NamedRow,
    notes: list[str],
    *,
    tasks: Sequence[str] = (),
    question: Question = "pretrained",
    metric: str | None = None,
    seed: int | None = None,
    rows: Sequence[NamedRow] = (),
) -> tuple[str, str, list[Pair]]:
    """Return what A and B are called, and the records of both on each task on which they can be compared.

    Args:
        row_a, row_b, tasks, question, metric, seed, rows: as for ``compare``.
        notes: takes what is left out, and what to keep in mind.

    Raises:
        UnknownNameError, UsageError: as for ``compare``.
    """
    if row_a.key == row_b.key:
        raise UsageError(f"A and B are both {row_a.title}: name two different rows of the board.")
    for one, other in ((row_a, row_b), (row_b, row_a)):
        if len(one.models) > len(other.models) and other.models.keys() & one.models.keys():
            raise UsageError(f"{other.label} is one of the distillations of {one.title}: name another model.")
        if len(one.models) > 1 and question == "trained":
            names = ", ".join(model.name for model in one.models.values())
            raise UsageError(f"{one.title}: several fine-tuned models of each seed: name one of {names}.")
    if question == "distilled":
        row_a, row_b = (_one_of(row, rows) for row in (row_a, row_b))
    notes += _budgets(row_a, row_b)
    as_it_is = [row for row in (row_a, row_b) if not row.key.trained]
    if as_it_is and question != "trained":
        raise UsageError(
            f"{as_it_is[0].title} was scored as it is, so no seeds tell how well its pretrained model fine-tunes: "
            "ask --question trained."
        )
    if seed is not None and len(as_it_is) == 2:
        raise UsageError("--seed: both models were scored as they are and have no seeds.")
    (group_a, rest_a), (group_b, rest_b) = _recipe(rows, row_a, row_b), _recipe(rows, row_b, row_a)
    a, b = row_a.title, row_b.title
    if question == "distilled":
        if not any(row.distilled and not _teaches(row, other) for row, other in ((row_a, row_b), (row_b, row_a))):
            raise UsageError(
                f"Neither {a} nor {b} is known to be a distillation: --question distilled needs records of a model "
                "that flue-bench distill made, run again since it is recorded."
            )
        if row_b in group_a:
            raise UsageError(f"{a} and {b} are distillations of one recipe: name another model.")
        pairs = _distilled_pairs(group_a, group_b, tasks, metric, notes)
        a, b = _group_title(group_a, row_b), _group_title(group_b, row_a)
        notes += [
            f"{row.label} is not in {name}: a distillation with the same seed is"
            for name, rest in (("A", rest_a), ("B", rest_b))
            for row in rest
        ]
    else:
        pairs = _pairs(row_a.records, row_b.records, tasks, metric, notes)
        notes += _other_distillations("A", group_a, row_b) + _other_distillations("B", group_b, row_a)
    if question == "trained":
        before, pairs = len(notes), _one_seed(pairs, seed, notes)
        if not pairs:
            notes[:] = notes[before:] + notes[:before]  # the last reason is why there is none
    if not pairs:
        raise UsageError("\n".join([f"No task on which to compare {row_a.title} and {row_b.title}.", *notes[:1]]))
    return a, b, pairs


def _one_of(row: NamedRow, rows: Sequence[NamedRow]) -> NamedRow:
    """Return the row of the first of several distillations; a row of one model as it is."""
    if len(row.models) == 1:
        return row
    return next(each for each in rows if each.key == row.key._replace(model=next(iter(row.models))))


def _budgets(row_a: NamedRow, row_b: NamedRow) -> list[str]:
    """Return that two rows were not tuned, or not taught, alike, where they were not."""
    said, both = [], (("A", row_a), ("B", row_b))
    if row_a.key.search != row_b.key.search:
        of = [f"{name} is {row.key.budget or 'not tuned'}" for name, row in both]
        what = f"Different budgets: {', '.join(of)}"
        if row_a.key.budget == row_b.key.budget:
            what = f"Different searches: both are {row_a.key.budget}, of other values or by other tuning seeds"
        said.append(f"{what}; the difference is that of model and tuning together")
    if row_a.key.teacher != row_b.key.teacher:
        of = [
            f"{name} learnt from {'soft labels besides' if row.key.teacher else 'labels alone'}" for name, row in both
        ]
        taught = "two teachers" if row_a.key.teacher and row_b.key.teacher else ", ".join(of)
        said.append(f"Taught differently: {taught}; the difference is that of model and teacher together")
    return said


def _mark(records: Sequence[RunRecord], metric: str) -> str:
    """Return how a board marks these runs: one collapsed, or lies far below the others of its model; else nothing."""
    if any(record.collapsed for record in records):
        return COLLAPSED
    of_models = grouped(records, lambda record: record.cell.model.digest).values()
    far = (outlying([r.cell.seed for r in each], [r.scores[metric] for r in each]) for each in of_models)
    return OUTLYING if any(far) else ""


def _teaches(row: NamedRow, other: NamedRow) -> bool:
    """Return whether a row's model is the teacher of the other's: it is given, however it was made itself."""
    return any(record.cell.model.teacher == row.key.model for record in other.records)


def _recipe(rows: Sequence[NamedRow], row: NamedRow, other: NamedRow) -> tuple[list[NamedRow], list[NamedRow]]:
    """Return what ``replicates`` returns, of a teacher its own row."""
    return ([row], []) if _teaches(row, other) or len(row.models) > 1 else replicates(rows, row)


def _group_title(group: Sequence[NamedRow], other: NamedRow) -> str:
    """Return how a group of distillations of one recipe is called."""
    distilled = group[0].distilled
    if distilled is None or _teaches(group[0], other):
        return group[0].title
    seeds = ", ".join(str(each.seed) for row in group if (each := row.distilled))
    of = f"distillation {distilled.recipe[:DIGITS]}, seed{'s' if len(group) > 1 else ''} {seeds}"
    return f"{', '.join(row.label for row in group)}: {of} ({group[0].how}, {group[0].key.precision})"


def _other_distillations(name: str, group: Sequence[NamedRow], other: NamedRow) -> list[str]:
    """Return the note that a distillation is one of many that could have been, and where they are."""
    row = group[0]
    if len(row.models) > 1:
        return []
    student = any(record.cell.model.teacher for record in row.records)
    if not (student or row.distilled) or _teaches(row, other):
        return []
    made = "distillation" if student else "training of its recipe"
    said = f"{name} is one {made}: how much another one would differ is not in the intervals"
    if len(group) > 1:
        said += f"; --question distilled takes all {len(group)} of its recipe"
    return [said]


def _distilled_pairs(
    group_a: Sequence[NamedRow],
    group_b: Sequence[NamedRow],
    tasks: Sequence[str],
    metric: str | None,
    notes: list[str],
) -> list[Pair]:
    """Return the tasks on which both groups were run, with the records of all distillations that were run on each."""

    def together(group: Sequence[NamedRow]) -> list[RunRecord]:
        """The records of a group as if they were of one row, of one setting on each task."""
        return [record for row in group for record in row.records]

    pairs = _pairs(together(group_a), together(group_b), tasks, metric, notes)
    for pair in pairs:
        for name, group, records in (("A", group_a, pair.a), ("B", group_b, pair.b)):
            there = {record.cell.model.digest for record in records}
            if lacking := [row.label for row in group if row.key.model not in there]:
                notes.append(f"{pair.title}: without {', '.join(lacking)} of {name}, not run on it alike")
    return pairs


def _with_spread(lines: list[Line], pairs: list[Pair], metric: str | None, evidence: Evidence) -> list[Line]:
    of_task = {pair.title: pair for pair in pairs}

    def spread(records: list[RunRecord]) -> Spread:
        return comparison.spread(records, metric or records[0].metric, evidence)

    return [
        line._replace(spread_a=spread(of_task[line.task].a), spread_b=spread(of_task[line.task].b)) for line in lines
    ]


_Runs = list[list[RunRecord]]
"""The records of student, teacher and perhaps a floor on one task."""


def _mean(columns: list[_Runs], metric: str | None, evidence: Evidence) -> Retained | None:
    """Return the mean over tasks of what is kept; None where one of them has no interval."""
    try:
        return retained(columns, [metric or runs[0][0].metric for runs in columns], evidence) if columns else None
    except FlueBenchError:
        return None


def _above(
    pairs: Sequence[Pair], floor: NamedRow, metric: str | None, evidence: Evidence, notes: list[str]
) -> dict[str, tuple[Retained, _Runs]]:
    """Return what is kept above the floor and the records it follows from, by task; note why other tasks have none."""
    found: dict[str, tuple[Retained, _Runs]] = {}
    variants = _variants(floor.records)
    for pair in pairs:
        alike = [of for of in variants.get(pair.a[0].cell.task, {}).values() if differs(of[0], pair.a[0]) is None]
        runs = [pair.a, pair.b, *alike]
        try:
            if not alike:
                raise UsageError("it was not run on it")
            found[pair.title] = retained([runs], [metric or pair.a[0].metric], evidence), runs
        except FlueBenchError as error:
            notes.append(f"{pair.title}: nothing above the floor {floor.label}: {error}")
    return found


class Pair(NamedTuple):
    """The records of both models on one task."""

    title: str
    a: list[RunRecord]
    b: list[RunRecord]


def _pairs(
    a: Sequence[RunRecord], b: Sequence[RunRecord], tasks: Sequence[str], metric: str | None, notes: list[str]
) -> list[Pair]:
    """Return the tasks that both models were run on with the same version, data and limit; note why others are not.

    Raises:
        UnknownNameError: neither was run on one of ``tasks``.
    """
    known = {name for record in (*a, *b) for name in (record.cell.task, record.column)}
    for name in tasks:
        if name not in known:
            if any(name in (each.task.name, each.task.board_column) for each in registry.registered().values()):
                raise UsageError(f"No record of task {name} in these results: they hold {', '.join(sorted(known))}.")
            raise UnknownNameError("task", name, known)

    def asked(record: RunRecord) -> bool:
        return not tasks or record.cell.task in tasks or record.column in tasks

    variants_a, variants_b = (_variants(filter(asked, records)) for records in (a, b))
    pairs = []
    for task in sorted(variants_a.keys() | variants_b.keys()):
        of_a, of_b = variants_a.get(task, {}), variants_b.get(task, {})
        if not of_a or not of_b:
            notes.append(f"{task}: only {'A' if of_a else 'B'} has been run on it")
            continue
        shared = [key for key in of_a if key in of_b]
        if not shared:
            one, other = (next(iter(of_model.values()))[0] for of_model in (of_a, of_b))
            notes.append(f"{task}: not comparable: {differs(one, other)}")
        for key in shared:
            ours, theirs = of_a[key], of_b[key]
            name = metric or ours[0].metric
            if any(name not in record.scores for record in ours + theirs):
                notes.append(f"{task}: has no score {name}")
                continue
            limit, served = ours[0].cell.limit, ours[0].cell.train_rows
            parts = [f" limit {limit:,}" if limit else "", f" on {counted(served, 'train row')}" if served else ""]
            variant = "".join(parts) or ("" if len(shared) == 1 else " whole")
            pairs.append(Pair(f"{task}{variant}", ours, theirs))
    return pairs


def _variants(records: Iterable[RunRecord]) -> dict[str, dict[tuple[Any, ...], list[RunRecord]]]:
    """Return, by task and by what it was run on, the records of the setting with most seeds; on a tie, the newest."""

    def run_on(record: RunRecord) -> tuple[Any, ...]:
        cell = record.cell
        return cell.task_version, cell.data, cell.limit, cell.train_rows, cell.protocol, cell.split

    def one_setting(variant: list[RunRecord]) -> list[RunRecord]:
        of_models = grouped(variant, lambda record: record.cell.model.digest).values()
        return [record for of_model in of_models for record in by_setting(of_model)[0]]

    return {
        task: {key: one_setting(variant) for key, variant in grouped(of_task, run_on).items()}
        for task, of_task in grouped(records, lambda record: record.cell.task).items()
    }


def _one_seed(pairs: list[Pair], seed: int | None, notes: list[str]) -> list[Pair]:
    """Return one fine-tuned model of each: that of ``seed``, or of the lowest seed that both have.

    A model that was scored as it is stands beside any seed of the other.
    """
    chosen = []
    for pair in pairs:
        by_seed = [{record.cell.seed: record for record in records} for records in (pair.a, pair.b)]
        drawn = [{seed for seed in of_model if seed is not None} for of_model in by_seed]
        if None in by_seed[0] and None in by_seed[1]:
            chosen.append(pair)
            continue
        seeds = sorted(set.intersection(*(each for each in drawn if each)) if any(drawn) else set())
        if not seeds or (seed is not None and seed not in seeds):
            said = [", ".join(map(str, sorted(of_model))) for of_model in drawn]
            wanted = "no seed in common"
            if seed is not None:
                lacking = [
                    name for name, of_model in zip("AB", drawn, strict=True) if of_model and seed not in of_model
                ]
                wanted = f"there is no seed {seed} of {' or '.join(lacking)}"
            notes.append(f"{pair.title}: {wanted} (A: {said[0] or NONE}; B: {said[1] or NONE})")
            continue
        taken = seeds[0] if seed is None else seed
        chosen.append(Pair(pair.title, *([of_model.get(None) or of_model[taken]] for of_model in by_seed)))
    return chosen


def _lines(
    pairs: list[Pair],
    metric: str | None,
    question: Question,
    share_kept: float | None,
    margin: Margin | None,
    evidence: Evidence,
    notes: list[str],
) -> list[Line]:
    """Return every pair's comparison, with p-values adjusted over the tasks; note pairs whose predictions are gone."""
    whole, compared, kept, alike = [], [], [], []
    for pair in pairs:
        name = metric or pair.a[0].metric
        try:
            difference = comparison.compare(pair.a, pair.b, name, evidence, question)
            share = (
                None
                if share_kept is None
                else comparison.retention(pair.a, pair.b, name, evidence, question, share_kept)
            )
            same = margin and comparison.equivalence(pair.a, pair.b, name, evidence, margin, question)
        except RecordError as error:
            notes.append(f"{pair.title}: {error}")
            continue
        whole.append(pair)
        compared.append(difference)
        kept.append(share)
        alike.append(same)
    adjusted = _adjusted([each.p for each in compared])
    adjusted_kept = _adjusted([each.p if each else None for each in kept])
    adjusted_alike = _adjusted([each.p if each else None for each in alike])
    lines = [
        Line(pair.title, difference, p, _verdict(difference, p), share, p_kept, _retention_verdict(share, p_kept))
        for pair, difference, p, share, p_kept in zip(whole, compared, adjusted, kept, adjusted_kept, strict=True)
    ]
    return [
        line._replace(equivalence=same, equivalence_p_holm=p, equivalence_verdict=_equivalence_verdict(same, p))
        for line, same, p in zip(lines, alike, adjusted_alike, strict=True)
    ]


def _adjusted(p_values: list[float | None]) -> list[float | None]:
    """Return the p-values, those that exist adjusted by Holm's method over each other."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def _verdict(difference: Difference, p_holm: float | None) -> str:
    if p_holm is None:
        return "no verdict"
    if p_holm > LEVEL:
        return "no difference shown"
    return "A is better" if difference.difference > 0 else "B is better"


def _retention_verdict(retention: Retention | None, p_holm: float | None) -> str:
    if retention is None:
        return ""
    if p_holm is None:
        return "no verdict"
    return f"{'keeps' if p_holm <= LEVEL else 'not shown to keep'} at least {100 * retention.margin:g} %"


def _equivalence_verdict(equivalence: Equivalence | None, p_holm: float | None) -> str:
    if equivalence is None:
        return ""
    if p_holm is None:
        return "no verdict"
    within = Margin(equivalence.margin, equivalence.relative)
    return f"{'equivalent' if p_holm <= LEVEL else 'not shown equivalent'} within {within}"


def _reasons(lines: list[Line]) -> list[str]:
    """Return why there is no verdict, each reason once."""
    tasks: dict[str, list[str]] = {}
    for line in lines:
        for result in (line.comparison, line.retention, line.equivalence):
            if result and result.reason and line.task not in tasks.setdefault(result.reason, []):
                tasks[result.reason].append(line.task)
    return [f"no verdict on {', '.join(of_reason)}: {reason}" for reason, of_reason in tasks.items()]


def _collapsed(pairs: list[Pair]) -> list[str]:
    return [
        f"{pair.title}: {name}, {record.cell.run}: {record.collapsed}{'' if record.cell.untrained else f'; {TRY}'}"
        for pair in pairs
        for name, records in (("A", pair.a), ("B", pair.b))
        for record in records
        if record.collapsed
    ]


def _fine_tuned(pairs: list[Pair]) -> list[str]:
    return [
        f"{name} is not only pretrained: its checkpoint has a classification head, which was {'; '.join(words)}"
        for name, records in _sides(pairs)
        if (words := own_head(records))
    ]


def _leaks(pairs: list[Pair]) -> list[str]:
    return [
        f"{name} may have been trained on what it is scored on: {'; '.join(words)}"
        for name, records in _sides(pairs)
        if (words := leaks(records))
    ]


def _sides(pairs: list[Pair]) -> list[tuple[str, list[RunRecord]]]:
    return [("A", [r for pair in pairs for r in pair.a]), ("B", [r for pair in pairs for r in pair.b])]
