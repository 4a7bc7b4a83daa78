"""Which records make a row of a board, what the row is called, and which row a user means by a name.

A row is one model as fine-tuned by one recipe in one precision under one protocol of the engine. The board, ``compare``
and ``card`` all take their rows from here: a name that one of them prints is a name that the others know.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from flue_bench.errors import UnknownNameError, UsageError, printable
from flue_bench.record import RunRecord

DIGITS = 6
"""Of a digest, which are enough to name a model."""

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


class RowKey(NamedTuple):
    """What a row holds together."""

    model: str
    """Digest."""
    recipe: str
    precision: str
    protocol: int


class RunKey(NamedTuple):
    """What names a record: its cell may have been run twice, with other predictions."""

    cell_digest: str
    predictions_sha256: str


@dataclass(frozen=True)
class NamedRow:
    """A row's records and its names."""

    key: RowKey
    model: str
    """The model's name; of several, that on the hub."""
    revision: str | None
    label: str
    """The model's name, with part of its revision or digest where two models share the name."""
    title: str
    """The label and how the model was fine-tuned, as the board says it: no other row has it."""
    records: tuple[RunRecord, ...]

    def _titles(self) -> list[str]:
        """With the protocol and without: a board names it where its rows have several."""
        setting = f"{self.label} ({self.key.recipe}, {self.key.precision}"
        return [self.title, f"{setting})", f"{setting}, protocol {self.key.protocol})"]

    def _labels(self) -> list[str]:
        return [self.label]

    def _names(self) -> list[str]:
        """All that the model goes by: the same weights may have several names."""
        models = {(record.cell.model.name, record.cell.model.revision) for record in self.records}
        return [name for name, _ in models] + [f"{name}@{revision}" for name, revision in models if revision]

    def _begins(self, wanted: str) -> bool:
        """Is it the start of the model's digest, or of a revision after the name?"""
        name, _, revision = wanted.rpartition("@")
        models = (record.cell.model for record in self.records)
        if name and revision and any(_is(name, [m.name]) and (m.revision or "").startswith(revision) for m in models):
            return True
        return len(wanted) >= DIGITS and self.key.model.startswith(wanted)


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    """Items by their key, in order."""
    groups: dict[_K, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def told_apart(titles: list[str], *suffixes: list[str]) -> list[str]:
    """Titles made unique, by as few suffixes as it takes."""
    for suffix in suffixes:
        differ = {title: {s for t, s in zip(titles, suffix, strict=True) if t == title} for title in titles}
        titles = [t + s if len(differ[t]) > 1 else t for t, s in zip(titles, suffix, strict=True)]
    return titles


def by_run(records: Iterable[RunRecord]) -> dict[RunKey, RunRecord]:
    """Records by what the runs of a board name."""
    return {RunKey(record.cell_digest, record.predictions.sha256): record for record in records}


def newest(records: Iterable[RunRecord]) -> tuple[list[RunRecord], dict[str, int]]:
    """Each cell once, by its newest record; and by cell digest, how many more there are with other predictions."""
    once, others = [], {}
    for cell_digest, same in grouped(records, lambda record: record.cell_digest).items():
        latest = max(same, key=lambda record: (record.created, record.predictions.sha256))
        once.append(latest)
        if differing := {record.predictions.sha256 for record in same} - {latest.predictions.sha256}:
            others[cell_digest] = len(differing)
    return sorted(once, key=lambda record: (record.cell.task, record.cell.seed, record.cell_digest)), others


def by_setting(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Records of one row and one test set by their setting: first that with most seeds, the newest on a tie."""

    def rank(setting: list[RunRecord]) -> tuple[int, str, str]:
        return len(setting), max(record.created for record in setting), setting[0].setting_digest

    return sorted(grouped(records, lambda record: record.setting_digest).values(), key=rank, reverse=True)


def named_rows(records: Iterable[RunRecord]) -> list[NamedRow]:
    """The rows that these records make, each cell given once (see ``newest``)."""
    of_row = grouped(records, _row_key)
    of_model: dict[str, list[RunRecord]] = {}
    for key, of_key in of_row.items():
        of_model.setdefault(key.model, []).extend(of_key)
    revisions = [_revision(of_digest) for of_digest in of_model.values()]
    told = told_apart(
        [_model_name(of_digest) for of_digest in of_model.values()],
        [f"@{revision[:7]}" if revision else "" for revision in revisions],
        [f" ({digest[:7]})" for digest in of_model],
    )
    labels = dict(zip(of_model, told, strict=True))
    several = len({key.protocol for key in of_row}) > 1

    def title(key: RowKey) -> str:
        protocol = f", protocol {key.protocol}" if several else ""
        return f"{labels[key.model]} ({key.recipe}, {key.precision}{protocol})"

    return [
        NamedRow(
            key=key,
            model=_model_name(of_key),
            revision=_revision(of_key),
            label=labels[key.model],
            title=title(key),
            records=tuple(of_key),
        )
        for key, of_key in of_row.items()
    ]


def find(rows: Sequence[NamedRow], wanted: str) -> list[NamedRow]:
    """The rows of one model, or the one row that is named with its recipe and precision.

    Args:
        rows: to choose from.
        wanted: as a board prints it: the title of a row, the label of a model; else any name of a model, a name and the
            start of a revision (``org/name@1a2b3c``), or the start of a digest.

    Raises:
        UnknownNameError: no row goes by this name.
        UsageError: several models do.
    """
    ways: list[Callable[[NamedRow], bool]] = [
        lambda row: _is(wanted, row._titles()),
        lambda row: _is(wanted, row._labels()),
        lambda row: _is(wanted, row._names()),
        lambda row: row._begins(wanted),
    ]
    found = next((found for way in ways if (found := [row for row in rows if way(row)])), [])
    if not found:
        raise UnknownNameError("model", wanted, {row.label for row in rows}, "See: flue-bench leaderboard.")
    if len({row.key.model for row in found}) > 1:
        labels = ", ".join(sorted({row.label for row in found}))
        raise UsageError(f"Several models go by '{wanted}': give one of {labels}, or the start of a digest.")
    return found


def find_one(rows: Sequence[NamedRow], wanted: str) -> NamedRow:
    """As ``find``, where a single row is wanted.

    Raises:
        UnknownNameError, UsageError: as ``find``; or the model has several rows.
    """
    found = find(rows, wanted)
    if len(found) > 1:
        titles = "; ".join(sorted(row.title for row in found))
        raise UsageError(f"Several rows go by '{wanted}'. Give one of: {titles}.")
    return found[0]


def _is(wanted: str, names: Iterable[str]) -> bool:
    return any(_bare(wanted) in (_bare(name), _bare(printable(name))) for name in names)


def _bare(name: str) -> str:
    """A name without what no terminal shows, a board shows otherwise, or marks."""
    return "".join(c for c in name if c.isprintable() and c not in " \N{REPLACEMENT CHARACTER}†‡")


def _row_key(record: RunRecord) -> RowKey:
    cell = record.cell
    return RowKey(cell.model.digest, record.recipe_name, cell.recipe.precision, cell.protocol)


def _model_name(records: Iterable[RunRecord]) -> str:
    """The same weights may go by several names: the one on the hub is the one to show."""
    return min((record.cell.model.origin != "hub", record.cell.model.name) for record in records)[1]


def _revision(records: Iterable[RunRecord]) -> str | None:
    return min((r.cell.model.revision for r in records if r.cell.model.revision), default=None)
