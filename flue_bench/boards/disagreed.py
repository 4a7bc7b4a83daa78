"""Where two models disagree, example by example, on the tasks they share: as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flue_bench import escape
from flue_bench.boards.breaks import Names
from flue_bench.boards.compared import sides
from flue_bench.boards.wording import NONE
from flue_bench.errors import RecordError, counted, short
from flue_bench.kinds.kind import kind_of
from flue_bench.progress import Console
from flue_bench.results.comparison import Question
from flue_bench.results.disagreements import Disagreement, OnTask, Parts, Run, on_task
from flue_bench.results.evidence import Evidence
from flue_bench.results.rows import NamedRow
from flue_bench.tabular import Tabular
from flue_bench.task import Example

if TYPE_CHECKING:
    import pyarrow

Examples = Mapping[str, Example]
"""Examples of a task by id."""

ENOUGH = 400
"""Characters of a text that a terminal shows."""
PART = 60
"""Characters of a part of an answer that a table shows."""
SURE = (
    "The surest first: by the share of the pairs of runs, one of A and one of B, whose answers differ, then by how far "
    "the answers are apart, how much more wrong one model is, and the probabilities of the answers. Nearer is who is "
    "less wrong on average. Of answers that have parts, those that differ are shown."
)
WHOSE = {"A": "A is nearer to gold", "B": "B is nearer to gold", "neither": "as near, and different"}


@dataclass(frozen=True)
class Disagreements(Tabular):
    """Where two models disagree. ``str`` and a rich console show it as text, without a text of the data."""

    question: Question
    a: str
    """The title of the first model's row on the board."""
    b: str
    tasks: tuple[OnTask, ...]
    notes: tuple[str, ...]
    """What is left out, and what to keep in mind."""

    def __rich__(self) -> RenderableType:
        return self.with_texts({}, {})

    def __str__(self) -> str:
        drawn = io.StringIO()
        Console(file=drawn, width=120, color_system=None).print(self)
        return drawn.getvalue()

    def with_texts(self, texts: Mapping[str, Examples], reasons: Mapping[str, str]) -> RenderableType:
        """Return what a terminal shows: ids, answers and, where they are at hand, the user's own texts.

        Args:
            texts: task → the examples.
            reasons: task → why there are none, in words.
        """
        return Group(*_drawn(self, texts, reasons))

    def to_arrow(self) -> pyarrow.Table:
        """Return a table with a row for each example that is listed; answers are lists of runs, each a list of parts.

        No text of the data is in it.
        """
        import pyarrow

        lines = [_line(on, found) for on in self.tasks for found in on.listed]
        return pyarrow.Table.from_pylist(lines)

    def to_csv(self) -> str:
        """Return a line for each example that is listed, without any text of the data."""
        out = io.StringIO()
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        for on in self.tasks:
            for found in on.listed:
                line = _line(on, found) | {
                    "gold": _parts(found.gold),
                    "a": _by_run(found.a, on.runs_a),
                    "b": _by_run(found.b, on.runs_b),
                }
                writer.writerow({name: escape.csv(line[name]) for name in FIELDS})
        return out.getvalue()

    def to_json(self) -> str:
        """Return everything as JSON: counts, runs, notes, and the examples that are listed, without their texts."""
        tasks = [
            {
                "task": on.task,
                "examples": on.examples,
                "disagreed": on.disagreed,
                "always": on.always,
                "sometimes": on.sometimes,
                "runs_a": [asdict(run) for run in on.runs_a],
                "runs_b": [asdict(run) for run in on.runs_b],
                "listed": [asdict(found) for found in on.listed],
            }
            for on in self.tasks
        ]
        return escape.json({"question": self.question, "a": self.a, "b": self.b, "tasks": tasks, "notes": self.notes})

    def to_jsonl(self) -> str:
        """Return a line of JSON for each example that is listed, without its text."""
        return "".join(f"{json.dumps(_line(on, found))}\n" for on in self.tasks for found in on.listed)


FIELDS = ("task", "id", "nearer", "share", "apart", "error_a", "error_b", "gold", "a", "b")
"""Fields of the CSV."""


def disagreements(
    row_a: NamedRow,
    row_b: NamedRow,
    evidence: Evidence,
    *,
    tasks: Sequence[str] = (),
    question: Question = "pretrained",
    seed: int | None = None,
    rows: Sequence[NamedRow] = (),
    limit: int | None = None,
    notes: Iterable[str] = (),
) -> Disagreements:
    """Return the examples on which two rows of a board disagree.

    Args:
        row_a, row_b, evidence, tasks, question, seed, rows: as for ``compared.compare``.
        limit: list at most so many of a task that are nearer to A, to B and to neither; None: all.
        notes: what else is to be said.

    Raises:
        UnknownNameError, UsageError, RecordError: as for ``compared.compare``.
    """
    said = list(notes)
    a, b, pairs = sides(row_a, row_b, said, tasks=tasks, question=question, seed=seed, rows=rows)
    found = []
    for pair in pairs:
        try:
            found.append(on_task(pair.title, pair.a, pair.b, evidence, limit))
        except RecordError as error:
            said.append(f"{pair.title}: {error}")
    if not found:
        raise RecordError("\n".join([f"No predictions by which to compare {row_a.title} and {row_b.title}.", said[-1]]))
    return Disagreements(question, a, b, tuple(found), tuple(said))


def _line(on: OnTask, found: Disagreement) -> dict[str, Any]:
    return {"task": on.task} | asdict(found)


def _drawn(
    answer: Disagreements, texts: Mapping[str, Examples], reasons: Mapping[str, str]
) -> Iterable[RenderableType]:
    """Yield what a console shows, one below the other."""
    yield Text(escape.plain(f"A: {answer.a}"))
    yield Text(escape.plain(f"B: {answer.b}"))
    for on in answer.tasks:
        yield Text(f"\n{escape.plain(heading(on))}", style="bold")
        yield _counts(on)
        if reason := reasons.get(on.task):
            yield Text(escape.plain(f"Without texts: {reason}."))
        for name in WHOSE:
            of_group = [found for found in on.listed if (found.nearer or "neither") == name]
            if of_group:
                yield Text(f"\n{_shown(on, name, len(of_group))}")
                yield _table(on, of_group, texts.get(on.task, {}))
    yield Text(f"\n{SURE}", style="dim")
    for note in answer.notes:
        yield Text(f"- {escape.plain(note)}")


def heading(on: OnTask) -> str:
    """Return on how many examples of a task the models disagree, and which runs they are."""
    runs = ", ".join(f"{name} {_seeds(of)}" for name, of in (("A", on.runs_a), ("B", on.runs_b)))
    return (
        f"{on.task}: they disagree on {on.disagreed:,} of {counted(on.examples, 'example')}, in every pair of runs on "
        f"{sum(on.always.values()):,} ({runs})"
    )


def _seeds(runs: Sequence[Run]) -> str:
    seeds = [str(run.seed) for run in runs if run.seed is not None]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if seeds else "as it is"


def _counts(on: OnTask) -> Table:
    table = _plain_table(("", "left"), ("in every pair of runs", "right"), ("in some", "right"))
    for name, words in WHOSE.items():
        table.add_row(words, f"{on.always[name]:,}", f"{on.sometimes[name]:,}")
    return table


def _shown(on: OnTask, name: str, number: int) -> str:
    of = on.always[name] + on.sometimes[name]
    return f"{WHOSE[name]}: {f'all {of:,}' if number == of else f'{number:,} of {of:,}, the surest first'}"


def _table(on: OnTask, listed: Sequence[Disagreement], examples: Examples) -> Table:
    table = _plain_table(("example", "left"), ("gold", "left"), ("A", "left"), ("B", "left"))
    for found in listed:
        cell: RenderableType = Names(escape.plain(found.id))
        if example := examples.get(found.id):
            found = on.quoted(found, example)
            texts = [short(" ".join(text.split()), ENOUGH) for text in kind_of(on.record).texts(example)]
            cell = Group(cell, *(Text(escape.lines(text), style="dim", overflow="fold") for text in texts))
        answers = (_parts(found.gold), _by_run(found.a, on.runs_a), _by_run(found.b, on.runs_b))
        table.add_row(cell, *(Text(escape.lines(" ".join(text.split())), overflow="fold") for text in answers))
    return table


def _plain_table(*columns: tuple[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for header, justify in columns:
        table.add_column(header, justify=justify, overflow="fold")
    return table


def _parts(parts: Parts) -> str:
    """Return an answer in one line."""
    return "; ".join(short(part, PART) for part in parts) or NONE


def _by_run(answers: Sequence[Parts], runs: Sequence[Run]) -> str:
    """Return the answers of a side in one line: one alone where all runs gave it, or each with the seeds that did."""
    several = len({run.model for run in runs}) > 1  # distillations of one recipe, whose runs have the same seeds
    seeds: dict[str, list[str]] = {}
    for answer, run in zip(answers, runs, strict=True):
        seed = NONE if run.seed is None else str(run.seed)
        seeds.setdefault(_parts(answer), []).append(f"{run.model} {seed}" if several else seed)
    if len(seeds) == 1:
        return next(iter(seeds))
    return " | ".join(f"{said} ({', '.join(of)})" for said, of in seeds.items())
