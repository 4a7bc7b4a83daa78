"""A comparison as people read it: tables in a terminal and in Markdown, and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flue_bench import escape
from flue_bench.boards.breaks import Names
from flue_bench.boards.wording import COLLAPSED, NONE, OUTLYING
from flue_bench.errors import counted
from flue_bench.results.comparison import Difference, Equivalence, Retention, Spread
from flue_bench.results.retained import Retained

if TYPE_CHECKING:
    from flue_bench.boards.compared import Comparison

QUESTIONS = {
    "pretrained": "Which pretrained model is better to fine-tune? Intervals cover seeds and test examples.",
    "trained": "Which of these two fine-tuned models is better? Intervals cover test examples only.",
    "distilled": "Which distillation recipe is better? Intervals cover distillations, seeds and test examples.",
}
LEGEND = "Scores and differences in percent; intervals of 95 %; verdicts at 5 % after Holm's adjustment over the tasks."

FAILED = {COLLAPSED: "A run collapsed", OUTLYING: "A seed lies far below the others"}


def terminal(answer: Comparison) -> RenderableType:
    """Return what a console shows, one below the other."""
    parts: list[RenderableType] = [Text(escape.plain(text)) for text in _said(answer)]
    for headers, cells in _tables(answer):
        parts += [Text(), _Fitted(headers, cells)]
    parts.append(Text(f"\n{_methods(answer)}", style="dim"))
    return Group(*parts, *(Text(f"- {escape.plain(note)}") for note in answer.notes))


def markdown(answer: Comparison) -> str:
    """Return a comparison as Markdown."""
    from tabulate import tabulate

    parts = ["\n".join(f"{escape.markdown(text)}  " for text in _said(answer)).rstrip()]
    for headers, cells in _tables(answer):
        lines = [[escape.markdown(cell) for cell in line] for line in cells]
        plain_headers = [header.replace("\n", " ") for header in headers]
        align = ["left" if header in ("task", "verdict") else "right" for header in headers]
        parts.append(tabulate(lines, plain_headers, tablefmt="pipe", colalign=align, disable_numparse=True))
    parts.append(_methods(answer))
    if answer.notes:
        parts.append("\n".join(f"- {escape.markdown(note)}" for note in answer.notes))
    return "\n\n".join(parts) + "\n"


def json(answer: Comparison) -> str:
    """Return a comparison as JSON, scores as fractions of 1."""

    def finite(result: Difference | Retention | Retained | Equivalence | Spread) -> dict[str, Any]:
        """Return the fields; an infinite end of an interval becomes null, since JSON has no infinity."""
        return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in asdict(result).items()}

    lines = [
        line._asdict()
        | {
            "comparison": finite(line.comparison),
            "retention": line.retention and finite(line.retention),
            "above_floor": line.above_floor and finite(line.above_floor),
            "equivalence": line.equivalence and finite(line.equivalence),
            "spread_a": line.spread_a and finite(line.spread_a),
            "spread_b": line.spread_b and finite(line.spread_b),
        }
        for line in answer.lines
    ]
    content = {
        "question": answer.question,
        "a": answer.a,
        "b": answer.b,
        "floor": answer.floor,
        "lines": lines,
        "mean_retention": answer.mean_retention and finite(answer.mean_retention),
        "mean_above_floor": answer.mean_above_floor and finite(answer.mean_above_floor),
        "notes": answer.notes,
    }
    return escape.json(content)


HEADERS = ("task", "A", "B", "A \N{MINUS SIGN} B\n[95 %]", "p\n(Holm)", "seeds\nA, B", "examples\n(groups)", "verdict")
RETENTION_HEADERS = ("task", "A / B\n[95 %]", "p\n(Holm)", "verdict")
ABOVE_HEADERS = ("task", "A / B\n[95 %]", "above the floor\n[95 %]", "p\n(Holm)", "verdict")
SPREAD_HEADERS = ("task", "sd over\ndistillations", "sd over\nseeds", "error of\nthe test set", "distillations,\nruns")
EQUIVALENCE_HEADERS = ("task", "equivalence p\n(Holm)", "verdict")


def _cells(answer: Comparison) -> list[list[str]]:
    """Return the rows of the table of differences, under ``HEADERS``."""
    return [
        [
            f"{line.task}\n{(difference := line.comparison).metric}",
            f"{100 * difference.a:.2f}{line.mark_a}",
            f"{100 * difference.b:.2f}{line.mark_b}",
            f"{100 * difference.difference:+.2f}{_span(difference.low, difference.high, '+.2f', MOST)}",
            _p(difference.p, line.p_holm),
            ", ".join(str(len(seeds) or NONE) for seeds in (difference.seeds_a, difference.seeds_b)),
            f"{difference.examples:,}\n({difference.clusters:,})",
            line.verdict,
        ]
        for line in answer.lines
    ]


def _retention_cells(answer: Comparison) -> list[list[str]]:
    """Return the rows of the table of retention, under ``RETENTION_HEADERS``; none if it was not asked for.

    With a floor they have a cell more, under ``ABOVE_HEADERS``. The last row is the mean over the tasks.
    """
    rows = [
        [line.task, _share(kept), _share(line.above_floor), _p(kept.p, line.retention_p_holm), line.retention_verdict]
        for line in answer.lines
        if (kept := line.retention)
    ]
    if len(rows) > 1 and (answer.mean_retention or answer.mean_above_floor):
        rows.append([_mean_of(answer), _share(answer.mean_retention), _share(answer.mean_above_floor), "", ""])
    return rows if answer.floor else [row[:2] + row[3:] for row in rows]


def _mean_of(answer: Comparison) -> str:
    """Return of how many tasks the last row is the mean."""
    kept = sum(line.retention is not None and line.retention.ratio is not None for line in answer.lines)
    above = sum(line.above_floor is not None for line in answer.lines)
    said = f"mean of {counted(kept, 'task')}"
    return said if not answer.mean_above_floor or above == kept else f"{said},\nabove the floor of {above}"


def _share(kept: Retention | Retained | None) -> str:
    if kept is None or kept.ratio is None:
        return NONE
    return f"{100 * kept.ratio:.1f} %{_span(kept.low, kept.high, '.1f')}"


def _equivalence_cells(answer: Comparison) -> list[list[str]]:
    """Return the rows of the table of equivalence, under ``EQUIVALENCE_HEADERS``; none if it was not asked for."""
    return [
        [line.task, _p(line.equivalence.p, line.equivalence_p_holm), line.equivalence_verdict]
        for line in answer.lines
        if line.equivalence
    ]


def _spread_cells(answer: Comparison) -> list[list[str]]:
    """Return the rows of the table of the sources of chance, under ``SPREAD_HEADERS``; none for other questions."""

    def percent(value: float | None) -> str:
        return "\N{EN DASH}" if value is None else f"{100 * value:.2f}"

    return [
        [
            f"{line.task}, {name}",
            percent(spread.sd_distillations),
            percent(spread.sd_seeds),
            percent(spread.se_examples),
            f"{spread.distillations}, {spread.runs}",
        ]
        for line in answer.lines
        for name, spread in (("A", line.spread_a), ("B", line.spread_b))
        if spread
    ]


def _tables(answer: Comparison) -> list[tuple[tuple[str, ...], list[list[str]]]]:
    """Return the headers and the rows of each table that has any."""
    kept = ABOVE_HEADERS if answer.floor else RETENTION_HEADERS
    tables = [
        (HEADERS, _cells(answer)),
        (kept, _retention_cells(answer)),
        (EQUIVALENCE_HEADERS, _equivalence_cells(answer)),
        (SPREAD_HEADERS, _spread_cells(answer)),
    ]
    return [(headers, cells) for headers, cells in tables if cells]


MOST = 1.0
"""Ends of a difference's interval are shown up to here, as a fraction of 1: no score from 0 to 1 differs by more."""

NO_FIGURE = "no figure"
"""Stands for an interval both of whose ends lie beyond that, or are infinite: it says nothing."""


def _span(low: float | None, high: float | None, form: str, most: float = math.inf) -> str:
    """Return an interval in percent, on a line of its own; see ``NO_FIGURE``."""
    if low is None or high is None:
        return ""
    if low <= -most and high >= most:
        return f"\n[{NO_FIGURE}]"
    shown_low = f"{100 * low:{form}}" if low >= -most else f"<{-100 * most:{form}}"
    shown_high = f"{100 * high:{form}}" if high <= most else f">{100 * most:{form}}"
    return f"\n[{shown_low}, {shown_high}]"


def _p(p: float | None, holm: float | None) -> str:
    if p is None or holm is None:
        return NONE
    shown, adjusted = ("<0.001" if value < 0.001 else f"{value:.3f}" for value in (p, holm))
    return f"{shown}\n({adjusted})"


def _said(answer: Comparison) -> list[str]:
    """Return the lines above the table."""
    sides: list[set[int]] = [
        {seed for line in answer.lines for seed in getattr(line.comparison, side)} for side in ("seeds_a", "seeds_b")
    ]
    whose = {(True, True): "each", (True, False): "A", (False, True): "B"}.get((bool(sides[0]), bool(sides[1])))
    seeds = ", ".join(map(str, sorted(sides[0] | sides[1])))
    taken = f" Seed {seeds} of {whose}." if answer.question == "trained" and whose else ""
    floor = [f"Floor: {answer.floor}"] if answer.floor else []
    return [f"{QUESTIONS[answer.question]}{taken}", f"A: {answer.a}", f"B: {answer.b}", *floor]


def _methods(answer: Comparison) -> str:
    tests = sorted({line.comparison.test for line in answer.lines if line.comparison.test})
    said = f"{LEGEND} Test: {', '.join(tests)}." if tests else LEGEND
    marks = {mark for line in answer.lines for mark in (line.mark_a, line.mark_b)}
    if meant := [f"{mark} {words}" for mark, words in FAILED.items() if mark in marks]:
        said += f" {'; '.join(meant)}: the mean over all seeds, where a board of several seeds shows the median."
    if any(f"[{NO_FIGURE}]" in cell for _, cells in _tables(answer) for line in cells for cell in line):
        said += (
            f" {NO_FIGURE.capitalize()}: the seeds are too few and differ too much; the interval reaches beyond 100 "
            "points on both sides or has no ends."
        )
    if answer.floor:
        said += " Above the floor: (A - floor) / (B - floor)."
    if any(line.equivalence for line in answer.lines):
        said += " Equivalence: two one-sided tests; the margin has to be named before the scores are seen."
    return said


@dataclass(frozen=True)
class _Fitted:
    """A table whose columns stand closer where the console is narrow, so that fewer words are cut."""

    headers: Sequence[str]
    cells: list[list[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _table(self.headers, self.cells, apart=1)
        fits = Measurement.get(console, options.update_width(1000), table).maximum <= options.max_width
        yield table if fits else _table(self.headers, self.cells, apart=0)


def _table(headers: Sequence[str], cells: list[list[str]], apart: int) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, apart, 0, 0))
    for header in headers:
        words = header in ("task", "verdict")
        table.add_column(header, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for line in cells:
        table.add_row(*(Names("\n".join(map(escape.plain, cell.split("\n")))) for cell in line))
    return table
