"""Rows of a board: which records belong to a row, what it is called, and which row a user means by a name.

A row is one model as fine-tuned by one recipe in one precision under one protocol of the engine, or one model as it is.
A recipe that was chosen by a search is another than the same one named beforehand: ``best of 6``. So is one with a
teacher's soft labels: each task has a teacher of its own, and those that were made alike are one row's.
Several distillations of one recipe are one row of a board, and each a row of ``compare`` and ``card``.
The board, ``compare`` and ``card`` all take their rows from here: each accepts the names that the others print.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from flue_bench import escape
from flue_bench.errors import UnknownNameError, UsageError
from flue_bench.recipe import Recipe
from flue_bench.record import Cell, Distilled, ModelRef, RunRecord, digest_of

DIGITS = 6
"""Leading digits of a digest that are enough to name a model."""

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


def check_metric(records: Iterable[RunRecord], metric: str | None) -> None:
    """Raise an error unless a record has this score; None, each task's headline metric, is always there.

    Raises:
        UnknownNameError: no record has it.
        UsageError: it is a measure, such as a mean error, which boards and comparisons do not show.
    """
    records = list(records)
    known = {name for record in records for name in record.scores}
    if metric is None or metric in known:
        return
    if any(metric in record.measures or metric in record.own_scores for record in records):
        raise UsageError(
            f"'{metric}' stands in the records alone (their JSON): it has no interval, and is on no board and in no "
            f"comparison. Scores that are: {', '.join(sorted(known))}."
        )
    raise UnknownNameError("metric", metric, known)


class RowKey(NamedTuple):
    """The key that all records of a row share."""

    model: str
    """The model's digest; of several distillations of one recipe, ``Distilled.recipe``."""
    recipe: str
    precision: str
    protocol: int
    trained: bool = True
    """False for a model that was scored as it is, whatever its record calls that."""
    search: str = ""
    """``best of 6``, a comma, and the digest of what was searched; empty for a recipe that was named beforehand."""
    teacher: str = ""
    """``Teacher.made`` of those whose soft labels the model learnt from; empty where it had none."""

    @property
    def budget(self) -> str:
        """``best of 6``; empty for a recipe that was named beforehand."""
        return self.search.partition(",")[0]


class RunKey(NamedTuple):
    """The key of a record: its cell may have been run twice, with different predictions."""

    cell_digest: str
    predictions_sha256: str


@dataclass(frozen=True)
class NamedRow:
    """A row's records and its names."""

    key: RowKey
    model: str
    """The model's name; of several names, the one on the hub."""
    revision: str | None
    label: str
    """The model's name, with part of its revision or digest where two models share the name."""
    title: str
    """The label and how the model was fine-tuned, as the board prints it; unique among the rows."""
    records: tuple[RunRecord, ...]
    how: str = ""
    """The recipe's name, the budget of the search that it comes from, and its teacher: ``standard, best of 6``."""
    advantage: str = ""
    """The same without the recipe's name; empty where it was named beforehand and nobody taught."""

    @property
    def models(self) -> dict[str, ModelRef]:
        """The row's models by digest: one, or several distillations of one recipe, in the order of their seeds."""
        models = {record.cell.model.digest: record.cell.model for record in self.records}
        return dict(sorted(models.items(), key=lambda each: each[1].distilled.seed if each[1].distilled else 0))

    @property
    def distilled(self) -> Distilled | None:
        """By which recipe and with which seed the model was distilled, if a record says so."""
        return next((said for record in self.records if (said := record.cell.model.distilled)), None)

    def titled(self, wanted: str) -> bool:
        """Return whether this is the title of the row."""
        return _is(wanted, self._titles())

    def _titles(self) -> list[str]:
        """Return the title with and without the protocol: a board prints it where its rows have several."""
        setting = f"{self.label} ({self.how}, {self.key.precision}"
        return [self.title, f"{setting})", f"{setting}, protocol {self.key.protocol})"]

    def _labels(self) -> list[str]:
        return [self.label]

    def _names(self) -> list[str]:
        """Return all names of the model: the same weights may have several."""
        models = {(record.cell.model.name, record.cell.model.revision) for record in self.records}
        return [name for name, _ in models] + [f"{name}@{revision}" for name, revision in models if revision]

    def _begins(self, wanted: str) -> bool:
        """Return whether ``wanted`` is the start of the model's digest, or of a revision after the name."""
        name, _, revision = wanted.rpartition("@")
        models = (record.cell.model for record in self.records)
        if name and revision and any(_is(name, [m.name]) and (m.revision or "").startswith(revision) for m in models):
            return True
        return len(wanted) >= DIGITS and any(each.startswith(wanted) for each in (self.key.model, *self.models))


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    """Return the items grouped by their key, in order."""
    groups: defaultdict[_K, list[_T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def told_apart(titles: list[str], *suffixes: list[str]) -> list[str]:
    """Return the titles with as few suffixes as make equal ones differ."""
    for suffix in suffixes:
        pairs = list(zip(titles, suffix, strict=True))
        differ: dict[str, set[str]] = {}
        for title, end in pairs:
            differ.setdefault(title, set()).add(end)
        titles = [title + end if len(differ[title]) > 1 else title for title, end in pairs]
    return titles


def by_run(records: Iterable[RunRecord]) -> dict[RunKey, RunRecord]:
    """Return the records by the keys that the runs of a board have."""
    return {RunKey(record.cell_digest, record.predictions.sha256): record for record in records}


def newest(records: Iterable[RunRecord]) -> tuple[list[RunRecord], dict[str, int]]:
    """Return the newest record of each cell, and by cell digest the number of others with different predictions."""
    once, others = [], {}
    for cell_digest, same in grouped(records, lambda record: record.cell_digest).items():
        latest = max(same, key=lambda record: (record.created, record.predictions.sha256))
        once.append(latest)
        if differing := {record.predictions.sha256 for record in same} - {latest.predictions.sha256}:
            others[cell_digest] = len(differing)
    return sorted(once, key=lambda record: (record.cell.task, record.cell.seed or 0, record.cell_digest)), others


def by_setting(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Group records of one row and one test set by setting: most seeds first, on a tie the newest.

    A setting of several distillations is the same for all of them but for the model, and for what a search chose for
    each.
    """
    records = list(records)

    def rank(setting: list[RunRecord]) -> tuple[int, str, str]:
        return len(setting), max(record.created for record in setting), setting[0].setting_digest

    def ranked(settings: Iterable[list[RunRecord]]) -> list[list[RunRecord]]:
        return sorted(settings, key=rank, reverse=True)

    first = records[0].cell.model
    of_models = grouped(records, lambda record: record.cell.model.digest)
    if len(of_models) == 1:
        return ranked(grouped(records, lambda record: record.setting_digest).values())
    alike: dict[tuple[str, int], list[RunRecord]] = {}
    for of_model in of_models.values():
        before: Counter[str] = Counter()  # a model has one setting of each
        for setting in ranked(grouped(of_model, lambda record: record.setting_digest).values()):
            digest = _before_search(setting[0].cell.model_copy(update={"model": first})).setting_digest
            alike.setdefault((digest, before[digest]), []).extend(setting)
            before[digest] += 1
    return ranked(alike.values())


def _before_search(cell: Cell) -> Cell:
    """Return a cell without what a search chose, which follows from the model.

    That is the fields that were searched, and the epochs: the size of a batch decides how many ``auto`` stands for.
    """
    if cell.search is None or not isinstance(cell.recipe, Recipe):
        return cell
    chosen = {name: values[0] for name, values in cell.search.fields.items()} | {"epochs": 1}
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update=chosen)})


def named_rows(records: Iterable[RunRecord], *, together: bool = False) -> list[NamedRow]:
    """Return the rows of these records, which hold each cell once (see ``newest``).

    Args:
        records: the records.
        together: whether several distillations of one recipe are one row, as on a board.
    """
    of_row = grouped(records, _row_key)
    if together:
        of_row = _together(of_row)
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
    searches = grouped({(key.budget, key.search) for key in of_row}, lambda each: each[0])

    taught = {
        key.teacher: teacher for key, of_key in of_row.items() for record in of_key if (teacher := record.cell.teacher)
    }
    names = told_apart(
        [teacher.called for teacher in taught.values()],
        [f" ({teacher.recipe_name})" if teacher.recipe_name else "" for teacher in taught.values()],
        [f" ({(teacher.base or teacher.model).digest[:7]})" for teacher in taught.values()],
    )
    teachers = dict(zip(taught, names, strict=True))

    def advantage(key: RowKey) -> str:
        which = key.search.rpartition(", ")[2][:DIGITS]
        told = f" (search {which})" if len(searches[key.budget]) > 1 else ""
        tuned = [f"{key.budget}{told}"] if key.search else []
        return ", ".join([*tuned, *([f"taught by {teachers[key.teacher]}"] if key.teacher else [])])

    def how(key: RowKey) -> str:
        models = len({record.cell.model.digest for record in of_row[key]})
        distillations = f"{models} distillations" if models > 1 else ""
        return ", ".join(filter(None, (key.recipe, advantage(key), distillations)))

    def title(key: RowKey) -> str:
        protocol = f", protocol {key.protocol}" if several else ""
        return f"{labels[key.model]} ({how(key)}, {key.precision}{protocol})"

    return [
        NamedRow(
            key=key,
            model=_model_name(of_key),
            revision=_revision(of_key),
            label=labels[key.model],
            title=title(key),
            records=tuple(of_key),
            how=how(key),
            advantage=advantage(key),
        )
        for key, of_key in of_row.items()
    ]


def _together(of_row: Mapping[RowKey, list[RunRecord]]) -> dict[RowKey, list[RunRecord]]:
    """Return the rows with those distillations of one recipe in one that were fine-tuned in the same way.

    There is one of each seed: the others are no further draws (see ``replicates``). A model that is the teacher of
    another stays by itself, since there it is given, however it was made.
    """
    teachers = {record.cell.model.teacher for of_key in of_row.values() for record in of_key}
    recipes: dict[tuple[str, RowKey], dict[int, RowKey]] = {}
    for key in sorted(of_row):
        said = next((each for record in of_row[key] if (each := record.cell.model.distilled)), None)
        if said and key.trained and key.model not in teachers:
            recipes.setdefault((said.recipe, key._replace(model="")), {}).setdefault(said.seed, key)
    joined = {
        key: like._replace(model=recipe)
        for (recipe, like), of_seed in recipes.items()
        if len(of_seed) > 1
        for key in of_seed.values()
    }
    made: dict[RowKey, list[RunRecord]] = {}
    for key, of_key in of_row.items():
        made.setdefault(joined.get(key, key), []).extend(of_key)
    return made


def replicates(rows: Iterable[NamedRow], row: NamedRow) -> tuple[list[NamedRow], list[NamedRow]]:
    """Return the rows of all distillations of a row's recipe, fine-tuned in the same way, by their seeds; and the rest.

    The rest are of the recipe too, but have the seed of another: the same distillation on another machine says nothing
    of how much distillations differ. A model that is no distillation, or of which nothing is known, is alone.
    """
    if (distilled := row.distilled) is None:
        return [row], []
    of_seed: dict[int, list[NamedRow]] = {}
    for other in [row, *sorted((other for other in rows if other is not row), key=lambda other: other.key)]:
        said = other.distilled
        if said and said.recipe == distilled.recipe and other.key[1:] == row.key[1:]:
            of_seed.setdefault(said.seed, []).append(other)
    same = [of_seed[seed] for seed in sorted(of_seed)]
    return [first for first, *_ in same], [other for _, *others in same for other in others]


def find(rows: Sequence[NamedRow], wanted: str) -> list[NamedRow]:
    """Return the rows of one model, or the one row that is named with its recipe and precision.

    Args:
        rows: the rows to choose from.
        wanted: a name as a board prints it: the title of a row, the label of a model; else any name of a model, a name
            and the start of a revision (``org/name@1a2b3c``), or the start of a digest.

    Raises:
        UnknownNameError: no row has this name.
        UsageError: several models have this name.
    """
    ways: list[Callable[[NamedRow], bool]] = [
        lambda row: row.titled(wanted),
        lambda row: _is(wanted, row._labels()),
        lambda row: _is(wanted, row._names()),
        lambda row: row._begins(wanted),
    ]
    named = next((named for way in ways if (named := [row for row in rows if way(row)])), [])
    if not named:
        raise UnknownNameError("model", wanted, {row.label for row in rows}, "See: flue-bench leaderboard.")
    if len({row.key.model for row in named}) > 1:
        labels = ", ".join(sorted({row.label for row in named}))
        raise UsageError(f"Several models go by '{wanted}': give one of {labels}, or the start of a digest.")
    return named


def find_one(rows: Sequence[NamedRow], wanted: str, tasks: Sequence[str] = ()) -> NamedRow:
    """Return the single row that ``wanted`` names.

    Args:
        rows: the rows to choose from.
        wanted: as for ``find``.
        tasks: tasks or columns: of several rows of a model, those that have a record of one of them.

    Raises:
        UnknownNameError, UsageError: as for ``find``; or the model has several rows.
    """
    named = find(rows, wanted)
    if len(named) > 1:
        concerned = [row for row in named if any({each.cell.task, each.column} & set(tasks) for each in row.records)]
        named = concerned or named
    if len(named) > 1:
        titles = "; ".join(sorted(row.title for row in named))
        raise UsageError(f"Several rows go by '{wanted}'. Give one of: {titles}.")
    return named[0]


def _is(wanted: str, names: Iterable[str]) -> bool:
    return any(_bare(wanted) in (_bare(name), _bare(escape.lines(name))) for name in names)


def _bare(name: str) -> str:
    """Return a name without blanks, unprintable characters, and characters that a board replaces or adds as marks."""
    return "".join(c for c in name if c.isprintable() and c not in " \N{REPLACEMENT CHARACTER}†‡§")


def _row_key(record: RunRecord) -> RowKey:
    cell = record.cell
    trained = cell.untrained is None
    search = f"{cell.search.budget}, {digest_of(cell.search.model_dump())}" if cell.search else ""
    teacher = cell.teacher.made if cell.teacher else ""
    return RowKey(cell.model.digest, record.recipe_name, cell.recipe.precision, cell.protocol, trained, search, teacher)


def tested(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the records without those of a tuning, whose fine-tuned models were scored on validation alone."""
    return [record for record in records if record.cell.scored == "test"]


def _model_name(records: Iterable[RunRecord]) -> str:
    """Return the name to show: the same weights may have several, and the one on the hub is preferred."""
    return min({(model.origin != "hub", model.name) for model in (record.cell.model for record in records)})[1]


def _revision(records: Sequence[RunRecord]) -> str | None:
    if len({record.cell.model.digest for record in records}) > 1:
        return None  # each of several distillations has its own
    return min((revision for record in records if (revision := record.cell.model.revision)), default=None)
