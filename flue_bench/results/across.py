"""Records held against each other: what several of them say of one thing has to be the same.

One record that is consistent in itself may still contradict the others, and then at least one of them is not what it
says. Where most agree, those that do not are at fault; otherwise all are, since nothing here tells which is right.
Records vote by model: somebody's many seeds are one voice.

What no comparison shows: a model whose records are all invented, with data that nobody else has used.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flue_bench.errors import counted, short
from flue_bench.record import Distilled, RunRecord, Training
from flue_bench.results.prints import Prints

DISTINCT = 30
"""Distinct real numbers (probabilities of four decimals, 0 and 1 left out) from which two runs with the same ones are
one run. A model that is always sure, or gives one answer, has fewer, and may give them with two seeds. So may decisions
without probabilities, however many are wrong: a test set may hold few texts, each many times, with noisy labels."""
NO_STEP = 1e-9
"""A learning rate below which AdamW moves no weight: such runs differ in nothing that their rate decides."""


@dataclass(frozen=True)
class Seen:
    """A record that is consistent in itself, and the fingerprint of its predictions."""

    file: Path
    record: RunRecord
    prints: Prints

    @property
    def _said(self) -> str:
        cell = self.record.cell
        return f"{cell.model.name}, {cell.task}, {cell.run} ({self.file.name})"


def clashes(seen: Sequence[Seen]) -> dict[Path, str]:
    """Return the records that others contradict, with the reason in words; those of one file are one record.

    A record that one rule sets apart has no voice in the next.
    """
    apart: dict[Path, str] = {}
    for rule in _RULES:
        standing = [each for each in seen if each.file not in apart] if apart else seen
        for each, reason in rule(standing):
            apart.setdefault(each.file, reason)
    return apart


_Clashes = Iterator[tuple[Seen, str]]


def _test_set(part: str, what: str) -> Callable[[Sequence[Seen]], _Clashes]:
    """Return the rule that records of the same data have this part of the test set in common."""

    def rule(seen: Sequence[Seen]) -> _Clashes:
        return _one_version(
            seen,
            of=lambda each: (each.record.kind, each.record.cell.data, each.record.cell.split, each.record.cell.limit),
            version=lambda each: getattr(each.prints.gold, part),
            what=lambda each: f"{what} of its {each.prints.gold.rows:,} {each.record.cell.split} rows",
            where=lambda each: f"data {each.record.cell.data[:8]}",
        )

    return rule


def _scoring(seen: Sequence[Seen]) -> _Clashes:
    """Hold against each other how records of one task read its gold labels: a score depends on it."""
    return _one_version(
        seen,
        of=lambda each: (each.record.cell.task, each.record.cell.task_version, each.record.cell.data),
        version=lambda each: (
            each.record.kind,
            each.record.labels,
            each.record.scheme,
            json.dumps(each.record.options, sort_keys=True) if each.record.options else "",
        ),
        what=lambda each: f"kind, labels, scheme or options ({each.record.kind}: {_few(each.record.labels)})",
        where=lambda each: f"task {each.record.cell.task} on data {each.record.cell.data[:8]}",
    )


def _few(labels: Sequence[str]) -> str:
    return short(", ".join(labels[:9]) or "no labels", 80)


def _rows(seen: Sequence[Seen]) -> _Clashes:
    return _one_version(
        seen,
        of=lambda each: each.record.cell.data,
        version=lambda each: (frozenset(each.record.data.rows.items()), each.record.data.cut),
        what=lambda each: f"data.rows: {', '.join(f'{split} {n:,}' for split, n in each.record.data.rows.items())}",
        where=lambda each: f"data {each.record.cell.data[:8]}",
    )


def _weights(seen: Sequence[Seen]) -> _Clashes:
    return _one_version(
        [each for each in seen if each.record.cell.model.weights_bytes is not None],
        of=lambda each: each.record.cell.model.digest,
        version=lambda each: each.record.cell.model.weights_bytes,
        what=lambda each: f"cell.model.weights_bytes: {each.record.cell.model.weights_bytes:,}",
        where=lambda each: f"model {each.record.cell.model.digest[:8]}",
        voice=lambda each: each.file,
    )


def _teachers(seen: Sequence[Seen]) -> _Clashes:
    """Hold against each other what records of one model say of its teacher.

    A copy of a student without its ``distillation.json`` names none, and neither does a record from before 0.2, so that
    naming none is no fault. Naming one is, unless more records do than do not, or one that does says more of how the
    model was made: it read the file that the others lack.
    """
    of_model: dict[str, list[Seen]] = defaultdict(list)
    for each in seen:
        of_model[each.record.cell.model.digest].append(each)
    for same in of_model.values():
        naming = [each for each in same if each.record.cell.model.teacher]
        if not naming:
            continue
        denying = [each for each in same if not each.record.cell.model.teacher and not _older(each)]
        silent, theirs = len(denying), {_made(each) for each in denying}
        known = any(any(_made(each)) and _made(each) not in theirs for each in naming)
        if denying and not known and silent >= sum(not _older(each) for each in naming):
            for each in naming:
                yield (
                    each,
                    f"cell.model.teacher: {each.record.cell.model.teacher}, which {counted(silent, 'other record')} of "
                    f"model {each.record.cell.model.digest[:8]} {'does' if silent == 1 else 'do'} not name",
                )
            continue
        yield from _one_version(
            naming,
            of=lambda each: each.record.cell.model.digest,
            version=lambda each: each.record.cell.model.teacher,
            what=lambda each: f"cell.model.teacher: {each.record.cell.model.teacher}",
            where=lambda each: f"model {each.record.cell.model.digest[:8]}",
            voice=lambda each: each.file,
        )


def _made(seen: Seen) -> tuple[Distilled | None, Training | None]:
    model = seen.record.cell.model
    return model.distilled, model.training


def _older(seen: Seen) -> bool:
    """Return whether a record is from before 0.2, and says nothing of teachers."""
    return seen.record.cell.model.weights_bytes is None


def _distillations(seen: Sequence[Seen]) -> _Clashes:
    """Hold against each other what records of one model say of its distillation: it says whose replicate it is."""
    yield from _one_version(
        [each for each in seen if each.record.cell.model.distilled],
        of=lambda each: each.record.cell.model.digest,
        version=lambda each: each.record.cell.model.distilled,
        what=lambda each: f"cell.model.distilled: {_said(each.record.cell.model.distilled)}",
        where=lambda each: f"model {each.record.cell.model.digest[:8]}",
        voice=lambda each: each.file,
    )


def _said(distilled: Distilled | None) -> str:
    return f"recipe {distilled.recipe[:8]}, seed {distilled.seed}" if distilled else "none"


def _one_run(seen: Sequence[Seen]) -> _Clashes:
    """Find one run that stands as several: the same answers under two seeds, or after two ways of training.

    The same seed under the names of two models is no fault: a copy with another configuration has another digest.
    """
    for alike in _alike(seen):
        for each in alike:
            if other := next((other for other in alike if _copied(each, other)), None):
                yield each, f"predictions: the same answers as {other._said}, which no other run gives"


def _alike(seen: Sequence[Seen]) -> Iterator[list[Seen]]:
    """Yield the trained records that give the same answers to the same examples, in enough distinct numbers.

    Records without training are left out: what a run kept answers as the run did, and a checkpoint as its copies do.
    """
    same: dict[Hashable, list[Seen]] = defaultdict(list)
    for each in seen:
        if each.record.cell.seed is not None and each.prints.distinct >= DISTINCT:
            same[each.record.kind, each.prints.gold.ids, each.prints.answers].append(each)
    yield from (alike for alike in same.values() if len(alike) > 1)


def _copied(one: Seen, other: Seen) -> bool:
    """Return whether two records of the same answers cannot both be of a training.

    Where training moves no weight, as with a vanishing learning rate and the checkpoint's own head, seeds answer alike,
    on validation too; their losses differ even then, since dropout and the order of the rows do.
    """
    ours, theirs = one.record, other.record
    if ours.cell.seed != theirs.cell.seed:
        return _losses(ours) == _losses(theirs) or _selected(ours) != _selected(theirs)
    return (
        ours.cell.model.digest == theirs.cell.model.digest
        and _losses(ours) == _losses(theirs)
        and _decisive(ours) != _decisive(theirs)
    )


def _losses(record: RunRecord) -> str:
    return repr([epoch.train_loss for epoch in record.history])  # as text: NaN is not equal to itself


def _selected(record: RunRecord) -> dict[str, float]:
    """Return the validation scores of the weights that the test set was predicted with."""
    return next((epoch.scores for epoch in record.history if epoch.epoch == record.selected_epoch), {})


def _decisive(record: RunRecord) -> tuple[object, ...]:
    """Return what of the recipe changes the numbers of every training: the rest may, as a length no text reaches.

    Epochs that ``max_steps`` or ``patience`` cut off do not, nor does room in a batch for more rows than there are.
    """
    recipe, rows = record.cell.trained.recipe, record.rows_an_epoch
    ends = recipe.schedule != "constant" or recipe.warmup_ratio > 0  # the rate depends on when it would end
    steps = recipe.steps_on(rows) if ends else record.cost.steps
    return steps, min(recipe.batch_size, rows), max(recipe.learning_rate, NO_STEP), recipe.precision


_RULES: tuple[Callable[[Sequence[Seen]], _Clashes], ...] = (
    _scoring,
    _rows,
    _test_set("ids", "ids"),
    _test_set("labels", "gold labels"),
    _test_set("groups", "groups"),
    _weights,
    _teachers,
    _distillations,
    _one_run,
)


def _one_version(
    seen: Iterable[Seen],
    of: Callable[[Seen], Hashable],
    version: Callable[[Seen], Any],
    what: Callable[[Seen], str],
    where: Callable[[Seen], str],
    voice: Callable[[Seen], Hashable] = lambda each: each.record.cell.model.digest,
) -> _Clashes:
    """Yield the records that differ from most of those that speak of the same thing; all, where there is no majority.

    Args:
        seen: the records.
        of: the thing that a record speaks of.
        version: what it says of it.
        what: that in words.
        where: the thing in words.
        voice: what has one vote. Where only one has spoken, each of its records has one.
    """
    spoken = [(of(each), version(each), each) for each in seen]
    first_said: dict[Hashable, Any] = {}
    disputed = {thing for thing, said, _ in spoken if first_said.setdefault(thing, said) != said}
    things: dict[Hashable, dict[Hashable, list[Seen]]] = defaultdict(lambda: defaultdict(list))
    for thing, said, each in spoken:
        if thing in disputed:
            things[thing][said].append(each)
    for versions in things.values():
        voices = {said: {voice(each) for each in saying} for said, saying in versions.items()}
        if len(set().union(*voices.values())) == 1:
            voices = {said: {each.file for each in saying} for said, saying in versions.items()}
        votes = Counter({said: len(of_version) for said, of_version in voices.items()})
        (first, most), (_, second), *_ = votes.most_common()
        majority = most > second and 2 * most > len(set().union(*voices.values()))
        for said, saying in versions.items():
            if majority and said != first:
                for each in saying:
                    number = f"{counted(len(versions[first]), 'record')} of the same {where(each)}"
                    yield each, f"{what(each)} differ from {number}, such as {versions[first][0]._said}"
            elif not majority:
                others = [each for version, of_other in versions.items() if version != said for each in of_other]
                for each in saying:
                    other = f"{others[0]._said}, of the same {where(each)}"
                    yield each, f"{what(each)} differ from {other}, and no majority says which is right"
