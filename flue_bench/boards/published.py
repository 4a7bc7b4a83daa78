"""Published scores of others, quoted beside ours where both mean the same.

``results/published.toml`` gives the source of each and our name of the metric; where a source does not say how it
averaged, the names that it may mean. Our scores are quoted beside them for the whole canonical data only.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from flue_bench import files
from flue_bench.boards.board import Board, Column, Entry, Quote, QuoteLine
from flue_bench.boards.rules import build
from flue_bench.boards.wording import COLLAPSED
from flue_bench.errors import RecordError, faults
from flue_bench.kinds.kind import installed, kind_named
from flue_bench.record import RunRecord
from flue_bench.results.rows import RunKey, by_run
from flue_bench.task import Schema

SHOWN = 5
"""Number of our scores, the best ones, that are shown beside a published score."""

Percent = Annotated[float, Field(ge=-100, le=100)]


@cache
def _known() -> set[str]:
    """Return our names of scores of every kind of task."""
    return {name for kind in installed() for name in kind_named(kind).metrics()}


class Origin(Schema):
    """The source of published scores."""

    title: str
    url: str
    note: str = ""


class Published(Schema):
    """One model's score on one column."""

    source: str
    model: str
    column: str
    metric: str | None = None
    """Our name of the metric."""
    said: str = ""
    """The source's wording, where it does not define the averaging."""
    candidates: tuple[str, ...] = ()
    """Our names of the metrics that it may mean."""
    percent: Percent | None = None
    parts: dict[str, Percent] = Field(default_factory=dict)
    """Task → its score, where the column averages several."""
    level: Literal["class", "entity", "word", "subword"] = "class"
    classes: dict[str, Annotated[tuple[Percent, ...], Field(min_length=1, max_length=3)]] = Field(default_factory=dict)
    """Class → precision, recall and F1 at ``level``, or F1 alone."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = (self.metric,) if self.metric else self.candidates
        if bool(self.metric) == bool(self.candidates) or bool(self.candidates) != bool(self.said):
            raise ValueError("give 'metric', or 'said' and 'candidates'")
        if unknown := [name for name in names if name not in _known()]:
            raise ValueError(f"no score is called {unknown[0]}")
        if self.percent is None and not self.classes:
            raise ValueError("give 'percent' or 'classes'")
        return self


class File(Schema):
    """The content of ``published.toml``."""

    source: dict[str, Origin]
    score: tuple[Published, ...]

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if unknown := {score.source for score in self.score} - set(self.source):
            raise ValueError(f"no [source.{min(unknown)}]")
        return self


def load(path: Path | None = None) -> File:
    """Read the published scores.

    Args:
        path: a file to read instead of the one that comes with flue-bench.

    Raises:
        RecordError: the file cannot be read or does not validate; the message names the key.
    """
    here = Path(__file__).parent
    # A wheel has the file beside this module, a checkout under results/.
    shipped = here / "published.toml", here.parent.parent / "results" / "published.toml"
    path = path or next((file for file in shipped if file.is_file()), shipped[0])
    try:
        return File.model_validate(tomllib.loads(files.read(path).decode()))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not TOML: {error}.") from None
    except ValidationError as error:
        raise RecordError(f"{path}: {faults(error)[0]}.") from None


def quote(board: Board, records: Sequence[RunRecord], published: File) -> Board:
    """Return the same board with published scores on its columns, and our scores by the same definition.

    Args:
        board: the board of these records.
        records: as given to ``rules.build``.
        published: see ``load``.
    """
    whole = {column.name for column in board.columns if _whole(column)}
    scores = [score for score in published.score if score.column in whole]
    known = {name for record in records for name in record.scores}
    names = {name for score in scores for name in (score.metric, *score.candidates) if name in known}
    boards = {name: build(records, metric=name) for name in sorted(names) if name}
    records_of = by_run(records)
    quotes = []
    groups = dict.fromkeys((score.column, score.metric, score.said, score.candidates) for score in scores)
    order = [column.name for column in board.columns]
    for column, metric, said, candidates in sorted(groups, key=lambda group: order.index(group[0])):
        same = [s for s in scores if (s.column, s.metric, s.said, s.candidates) == (column, metric, said, candidates)]
        ours: dict[str, dict[str, Entry]] = {}
        for name in (metric,) if metric else candidates:
            for label, entry in _entries(boards.get(name), column):
                ours.setdefault(label, {})[name] = entry
        theirs = [_theirs(score, published.source[score.source]) for score in same]
        best = sorted(ours.items(), key=lambda item: -next(iter(item[1].values())).mean)
        lines = [
            _ours(label, entries, metric, _details(same, entries.get(metric or ""), records_of))
            for label, entries in best[:SHOWN]
        ]
        if len(best) > SHOWN:
            lines.append(QuoteLine(f"{len(best) - SHOWN} more", None, None, "above", "", ours=True))
        quotes.append(
            Quote(
                column=column,
                metric=metric or f"{said}, averaging unstated",
                lines=(*sorted(theirs, key=_descending), *lines),
            )
        )
    sources = dict.fromkeys(score.source for score in scores)
    return replace(board, quotes=tuple(quotes), sources=tuple(_source(published.source[name]) for name in sources))


def _whole(column: Column) -> bool:
    own = column.train_rows is None and not column.train_from and column.split == "test"
    return column.canonical and column.limit is None and own


def _entries(board: Board | None, name: str) -> Iterator[tuple[str, Entry]]:
    """Yield the label of the model and the entry, for our entries on the whole canonical data."""
    if board is None:
        return
    labels = [row.label for row in board.rows]
    for row in board.rows:
        several = f" ({row.how}, {row.precision})" if labels.count(row.label) > 1 else ""
        for column, entry in zip(board.columns, row.entries, strict=True):
            if entry and column.name == name and _whole(column):
                yield f"{row.label}{several}{f' {COLLAPSED}' if entry.collapsed else ''}", entry


def _descending(line: QuoteLine) -> float:
    return math.inf if line.percent is None else -line.percent


def _theirs(score: Published, origin: Origin) -> QuoteLine:
    f1 = {name: values[-1] for name, values in score.classes.items()}
    return QuoteLine(
        model=score.model,
        percent=score.percent,
        sd=None,
        detail=_listed(score.parts) or _listed(f1, f"{score.level} F1: "),
        source=origin.title,
        ours=False,
    )


def _ours(label: str, entries: dict[str, Entry], metric: str | None, detail: str) -> QuoteLine:
    """Return our scores by the published definition, or by each possible one."""
    if metric is None:
        means = {name: 100 * (entry.mean if entry.stands else entry.median) for name, entry in entries.items()}
        return QuoteLine(label, percent=None, sd=None, detail=_listed(means), source="", ours=True)
    entry = entries[metric]
    if entry.n > 1 and not entry.stands:
        detail = "; ".join(filter(None, ("median, since a seed failed", detail)))
        return QuoteLine(label, percent=100 * entry.median, sd=None, detail=detail, source="", ours=True)
    sd = None if entry.sd is None else 100 * entry.sd
    return QuoteLine(label, percent=100 * entry.mean, sd=sd, detail=detail, source="", ours=True)


def _details(same: list[Published], entry: Entry | None, records_of: dict[RunKey, RunRecord]) -> str:
    """Return the details of our entry that the published scores beside it have: a column's tasks, or single classes."""
    runs = entry.runs if entry else ()
    if parts := next((score.parts for score in same if score.parts), {}):
        of_task = {task: [run.score for run in runs if run.task == task] for task in parts}
        return _listed({task: 100 * _mean(scores) for task, scores in of_task.items() if scores})
    detailed = next((score for score in same if score.classes), None)
    if detailed is None or not runs:
        return ""
    levels = [records_of[run.key].per_class.get(detailed.level, {}) for run in runs]
    known = [name for name in detailed.classes if all(name in classes for classes in levels)]
    f1 = {name: 100 * _mean([classes[name].f1 for classes in levels]) for name in known}
    return _listed(f1, f"{detailed.level} F1: ")


def _listed(values: dict[str, float], what: str = "") -> str:
    return what + ", ".join(f"{name} {value:.2f}" for name, value in values.items()) if values else ""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _source(origin: Origin) -> str:
    return f"{origin.title}: {origin.url}{f' ({origin.note})' if origin.note else ''}"
