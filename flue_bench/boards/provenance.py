"""Where the runs of one board entry were made, and with which seeds: what an average would hide.

A row holds one model, recipe, precision and protocol; machines, threads, versions and checkouts may still differ from
one seed to the next, and each of them can change the numbers. They are averaged, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flue_bench.record import RunRecord
from flue_bench.results.rows import grouped


def mixed(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return what differs between the runs of one entry, in words: ``threads: 1 (seed 2), 2 (seeds 0, 1)``.

    Args:
        records: the records that the entry averages, of whole seeds.
    """
    return tuple(_differing(records))


def _differing(records: Sequence[RunRecord]) -> Iterator[str]:
    made = [record.environment.computing() for record in records]
    if all(each == made[0] for each in made):
        return
    for name in made[0]:
        by_value = grouped(zip(made, records, strict=True), lambda each, name=name: each[0][name])  # type: ignore[misc]
        if len(by_value) > 1:
            said = sorted((value, _runs([record for _, record in runs], records)) for value, runs in by_value.items())
            yield f"{name}: {', '.join(f'{value} ({runs})' for value, runs in said)}"


def uncommitted(records: Sequence[RunRecord]) -> tuple[int | None, ...]:
    """Return the seeds of which a run was made from a checkout of flue-bench with uncommitted changes."""
    return _sorted(record.cell.seed for record in records if record.environment.dirty)


def _sorted(numbers: Iterable[int | None]) -> tuple[int | None, ...]:
    return tuple(sorted({*numbers}, key=lambda seed: -1 if seed is None else seed))


def seeds(numbers: Sequence[int | None]) -> str:
    """Return seeds in words: ``seed 2``, ``seeds 0, 1``; ``as it is`` for the None of a model that has no seeds."""
    if None in numbers:
        return "as it is"
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _runs(some: Sequence[RunRecord], records: Sequence[RunRecord]) -> str:
    """Return which of the records these are: by seed, or by task where only some tasks of a seed are among them."""
    whole = grouped(records, lambda record: record.cell.seed)
    part = grouped(some, lambda record: record.cell.seed)
    if all(len(part[seed]) == len(whole[seed]) for seed in part):
        return seeds(_sorted(part))
    by_task = grouped(some, lambda record: record.cell.task)
    return "; ".join(f"{task} {seeds(_sorted(r.cell.seed for r in by_task[task]))}" for task in sorted(by_task))
