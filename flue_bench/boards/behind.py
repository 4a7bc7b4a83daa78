"""What lies behind the numbers of a board's page, as data that its script reads.

For each entry: its runs, scores by class, confusion matrices. For any two: their settings, data, machines and versions,
and how wrong each run is on each example, by id. Texts of the data are in no record, and so in none of this.

What many entries share is written once (``Pool``); what would make the page too large is left out, and said.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flue_bench import escape
from flue_bench.boards import wording
from flue_bench.boards.board import Board, Column, Entry, Row, Run
from flue_bench.data import registry
from flue_bench.errors import FlueBenchError, RecordError, short
from flue_bench.kinds.kind import Kind, kind_of
from flue_bench.record import NoTraining, RunRecord
from flue_bench.results import counted
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import RunKey, grouped, told_apart

LONGEST_FACT = 1000
"""Letters of a fact that are shown."""
TOO_LARGE = "all classes and matrices would make this page too large; show fewer records"
LONGEST_ID = 80
"""Characters of an example's id; longer ones are no ids."""

Link = Callable[[Run], str | None]
"""A function that returns the path of a run's record, relative to the file that is written."""
Facts = dict[str, str]
"""Name → value, both in words."""


class Pool:
    """Values that are written once and referred to by their number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, value: Any) -> int:
        """Return the number of a value, which is kept if it is new."""
        number = self._numbers.setdefault(json.dumps(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number

    def cost(self, value: Any) -> int:
        """Return the bytes by which a value would lengthen the page: none if it is kept already."""
        return 0 if json.dumps(value) in self._numbers else len(_json(value).encode()) + 1


def data(board: Board, records: dict[RunKey, RunRecord], evidence: Evidence, link: Link, room: int) -> str:
    """Return the data as JSON that can stand in an element of a page.

    Args:
        board: the board of these records.
        records: the records by the keys of the board's runs.
        evidence: the source of their predictions.
        link: see ``Link``.
        room: bytes that the answer may have. Scores by class, confusion matrices, and then what examples each run gets
            wrong, are added while there is room; the rest is always there.
    """
    return _Data(board, records, evidence, link).written(room)


def titles(board: Board) -> list[str]:
    """Return the rows' names, each once: label and setting, and part of a digest where rows still share them."""
    named = [escape.plain(f"{row.label} ({wording.setting_text(board, row)})") for row in board.rows]
    digests = [f" {row.model_digest[:6]}" for row in board.rows]
    searches = [f" {row.search[-6:]}{row.taught[-6:]}" for row in board.rows]
    return told_apart(named, digests, searches, [f" #{i}" for i in range(len(named))])


def licences(column: Column) -> list[str]:
    """Return the licences of a column's data, as the installed tasks of the same versions state them."""
    known = _tasks()
    members = (known.get((member.task, member.version), "") for member in column.members)
    return sorted({licence for licence in members if licence})


def _tasks() -> dict[tuple[str, int], str]:
    """Return the licence by name and version of the installed tasks; of none, where a package of tasks is broken."""
    with contextlib.suppress(FlueBenchError):
        return {(name, each.task.version): each.task.licence for name, each in registry.registered().items()}
    return {}


class _Data:
    def __init__(self, board: Board, records: dict[RunKey, RunRecord], evidence: Evidence, link: Link) -> None:
        self.board, self.records, self.evidence, self.link = board, records, evidence, link
        self.facts, self.labels, self.folders, self.ids = Pool(), Pool(), Pool(), Pool()
        self.licences, self.used = _tasks(), 0

    def written(self, room: int) -> str:
        titles_of = titles(self.board)
        shown = {
            "columns": [{"name": each.name, "title": each.title, "metric": each.metric} for each in self.board.columns],
            "rows": [self._row(i, row, titles_of[i]) for i, row in enumerate(self.board.rows)],
            "facts": self.facts.values,
            "labels": self.labels.values,
            "folders": self.folders.values,
            "ids": self.ids.values,
        }
        self.used = len(_json(shown).encode())
        self._add_classes(shown, room)
        self._add_matrices(shown, room)
        self._add_errors(shown, room)
        return _json(shown)

    def _row(self, number: int, row: Row, title: str) -> dict[str, Any]:
        records = [self.records[run.key] for entry in row.entries if entry for run in entry.runs]
        return {
            "title": title,
            "label": row.label,
            "model": self.facts(_cut(self._model(row, records))),
            "protocol": row.protocol,
            "entries": [entry and self._entry(entry, i) for i, entry in enumerate(row.entries)],
        }

    def _model(self, row: Row, records: Sequence[RunRecord]) -> Facts:
        model = records[0].cell.model
        by_digest = {each.model_digest: each.label for each in self.board.rows}
        facts = {
            "name": row.model,
            "revision": row.revision or "",
            "content": row.model_digest,
            "from": model.origin,
            "parameters": f"{row.parameters:,}",
            "weights": "" if row.weights_bytes is None else f"{row.weights_bytes / 1e6:,.1f} MB, {model.weights}",
            "distilled from": by_digest.get(row.teacher, row.teacher) if row.teacher else "",
            "distillation": f"{model.distilled.recipe}, seed {model.distilled.seed}" if model.distilled else "",
            **({"distillation": "; ".join(row.distillations)} if row.distillations else {}),
            "head of its own": "; ".join(row.fine_tuned),
        }
        if row.checkpoint:
            tokens = "" if row.checkpoint.tokens is None else f", {row.checkpoint.tokens:,} tokens"
            facts["checkpoint"] = f"{row.checkpoint.name}, step {row.checkpoint.step:,}{tokens}"
        return facts

    def _entry(self, entry: Entry, i: int) -> dict[str, Any]:
        made: dict[str, Any] = {
            "tasks": [self._task(task, runs) for task, runs in grouped(entry.runs, lambda run: run.task).items()],
            "said": [wording.verdict(entry.versus)] if entry.versus else [],
            "warned": [f"{wording.COLLAPSED} {words}" for words in entry.collapsed]
            + [f"{wording.OUTLYING} {words}" for words in entry.outlying],
        }
        return {name: value for name, value in made.items() if value}

    def _task(self, task: str, runs: list[Run]) -> dict[str, Any]:
        records = [self.records[run.key] for run in runs]
        return {
            "task": task,
            "recipe": self.facts(_cut(_recipe(records[0]))),
            "data": self.facts(_cut(self._of_data(records[0]))),
            "runs": [self._run(run, record) for run, record in zip(runs, records, strict=True)],
        }

    def _run(self, run: Run, record: RunRecord) -> list[Any]:
        """Return seed, score, numbers of machine and versions, the predictions' hash, and where the record lies."""
        address = self.link(run)
        folder, _, file = (address or "").rpartition("/")
        machine, versions = self.facts(_cut(_machine(record))), self.facts(_cut(_versions(record)))
        made = [run.seed, f"{100 * run.score:.2f}", machine, versions]
        return [*made, run.predictions_sha256[:12], *([self.folders(folder), file] if address else [])]

    def _of_data(self, record: RunRecord) -> Facts:
        cell, of = record.cell, record.data
        served = cell.served(of.rows)
        rows = {split: f"{served[split]:,} of {of.rows[split]:,}" for split in served}
        return {
            "task": cell.task,
            "version": str(cell.task_version),
            "content": of.digest,
            "source": of.source,
            "licence": self.licences.get((cell.task, cell.task_version), ""),
            "as published": "yes" if of.canonical else "no",
            "differs by": "; ".join(of.deviations),
            "trained on the rows of": record.train_from or "",
            "scored on": cell.split,
            **{f"rows of {split}": words for split, words in rows.items()},
        }

    def _add_classes(self, shown: dict[str, Any], room: int) -> None:
        for _, tasks in self._entries(shown):
            for records, made in tasks:
                try:
                    levels = list(_per_class(records, kind_of(records[0])).items())
                except RecordError as error:
                    made["lacking"] = str(error)
                    continue
                scores = [list(classes.values()) for _, classes in levels]
                names = sum(self.labels.cost(list(classes)) for _, classes in levels)
                if self._fits(len(_json(scores)) + names + 30 * len(levels), room):
                    made["levels"] = [
                        [heading, self.labels(list(classes)), of]
                        for (heading, classes), of in zip(levels, scores, strict=True)
                    ]
                else:
                    made["lacking"] = TOO_LARGE

    def _add_matrices(self, shown: dict[str, Any], room: int) -> None:
        for _, tasks in self._entries(shown):
            for records, made in tasks:
                try:
                    matrix = counted.confusion(records, self.evidence)
                except RecordError as error:
                    made["lacking"] = str(error)
                    continue
                if matrix is None:
                    continue
                counts = ";".join(",".join(str(n) if n else "" for n in row) for row in matrix.counts)
                if self._fits(len(counts) + self.labels.cost(matrix.labels) + 30, room):
                    made["confusion"] = [self.labels(matrix.labels), counts]
                else:
                    made["lacking"] = TOO_LARGE

    def _add_errors(self, shown: dict[str, Any], room: int) -> None:
        """Add how wrong each run is on each example, for columns of which two rows have predictions."""
        by_column: dict[int, list[tuple[list[RunRecord], dict[str, Any]]]] = {}
        for (_, i), tasks in self._entries(shown):
            by_column.setdefault(i, []).extend(tasks)
        for of_column in by_column.values():
            for tasks in grouped(of_column, lambda each: each[0][0].cell.task).values():
                if len(tasks) < 2:
                    continue
                runs = sum(len(records) for records, _ in tasks)
                rows = tasks[0][0][0].predictions.rows
                if self.used + runs * rows / 6 > room:  # not even read: bits alone would not fit
                    continue
                self._add_errors_of(tasks, room)

    def _add_errors_of(self, tasks: list[tuple[list[RunRecord], dict[str, Any]]], room: int) -> None:
        made: list[tuple[dict[str, Any], list[str]]] = []
        first: RunRecord | None = None
        names = ""
        for records, of in tasks:
            try:
                found = [counted.errors(record, self.evidence) for record in records]
            except RecordError:
                continue
            if first is None:
                first, names = records[0], found[0].ids
            if all(each.ids == names for each in found):
                made.append((of, [each.wrong for each in found]))
        if first is None or len(made) < 2:
            return
        ids = counted.ids(first, names, self.evidence)
        if any(len(each) > LONGEST_ID for each in ids):
            return
        size = len(_json(ids).encode()) + sum(len(_json(wrong)) + 20 for _, wrong in made)
        if self._fits(size, room):
            number = self.ids(ids)
            for of, wrong in made:
                of["wrong"] = [number, wrong]

    def _fits(self, size: int, room: int) -> bool:
        if self.used + size > room:
            return False
        self.used += size
        return True

    def _entries(self, shown: dict[str, Any]) -> Iterator[tuple[tuple[int, int], list[tuple[list[RunRecord], Any]]]]:
        """Yield row and column of each entry, and its records and what is shown of them by task."""
        for number, row in enumerate(self.board.rows):
            for i, entry in enumerate(row.entries):
                if entry:
                    by_task = grouped((self.records[run.key] for run in entry.runs), lambda record: record.cell.task)
                    tasks = shown["rows"][number]["entries"][i]["tasks"]
                    yield (number, i), list(zip(by_task.values(), tasks, strict=True))


def _json(value: Any) -> str:
    """Return compact JSON that ends no element of a page, with names as the page shows them."""
    text = json.dumps(escape.data(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _cut(facts: Facts) -> Facts:
    """Return what is known of the facts, none so long that it fills the page."""
    return {name: short(value, LONGEST_FACT) for name, value in facts.items() if value}


def _recipe(record: RunRecord) -> Facts:
    """Return a run's settings, without its seed."""
    cell = record.cell
    said = {name: _said(value) for name, value in cell.recipe.model_dump(mode="json").items()}
    chosen = {f"decided on validation: {name}": f"{value:g}" for name, value in record.chosen.items()}
    named = {"called": record.recipe_name, "protocol": str(cell.protocol)}
    if isinstance(cell.recipe, NoTraining):
        return named | said
    taught = f"{cell.teacher.model.name} ({cell.teacher.model.digest})" if cell.teacher else ""
    searched = cell.search.budget if cell.search else "no"
    return named | {"chosen by a search": searched, "taught by": taught} | said | chosen


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_said(each)}" for name, each in value.items())
    return "" if value is None else str(value)


def _machine(record: RunRecord) -> Facts:
    made = record.environment
    return {
        "device": made.device,
        "platform": made.platform,
        "threads": str(made.threads),
        "sums": "in a fixed order" if made.deterministic else "in no fixed order",
    }


def _versions(record: RunRecord) -> Facts:
    made = record.environment
    changed = {True: "yes", False: "no", None: ""}[made.dirty]
    return {
        "flue-bench": made.flue_bench,
        "commit": (made.commit or "")[:12],
        "uncommitted changes": changed,
        "Python": made.python,
        **made.packages,
    }


def _per_class(records: list[RunRecord], kind: Kind[Any]) -> dict[str, dict[str, list[float]]]:
    """Return heading of a level → class → precision, recall, F1 in percent, means over seeds, and gold items."""

    def mean(level: str, name: str, score: str) -> float:
        each = [getattr(record.per_class[level][name], score) for record in records]
        return round(100 * (math.fsum(each) / len(each)), 2)

    def shared(level: str) -> list[str]:
        return [name for name in first[level] if all(name in record.per_class.get(level, {}) for record in records)]

    first = records[0].per_class
    return {
        heading: {
            name: [*(mean(level, name, score) for score in ("precision", "recall", "f1")), first[level][name].support]
            for name in shared(level)
        }
        for level, heading in kind.levels.items()
        if level in first
    }
