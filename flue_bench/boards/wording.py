"""Plain text that all formats of a board share: figures, captions, sentences, and the tables beside the main one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from flue_bench import escape
from flue_bench.boards import budgets, provenance
from flue_bench.boards.board import Board, Entry, Kept, Machine, Pair, Row
from flue_bench.boards.overall import Overall, Place, Ranking
from flue_bench.errors import counted
from flue_bench.kinds.counts import TRY
from flue_bench.results.comparison import LEVEL, Interval, Versus
from flue_bench.results.rows import grouped

COLLAPSED = "†"
FINE_TUNED = "‡"
LEAKS = "§"
OUTLYING = "¶"
BELOW = "↓"
AS_GOOD = "≈"
UNKNOWN = "?"
NONE = "\N{EN DASH}"
NOTHING = "No model has a whole entry yet."


def marks(entry: Entry) -> str:
    """Return the marks of an entry, which a caption or note explains."""
    if not entry.sound:
        return (COLLAPSED if entry.collapsed else "") + (OUTLYING if entry.outlying else "")
    return {"not told apart": AS_GOOD, "below": BELOW, "none": UNKNOWN}.get(entry.verdict or "", "")


def name(row: Row) -> str:
    """Return the name of a row's model, marked where it is not only pretrained, or may know what it is scored on."""
    return f"{row.label}{f' {FINE_TUNED}' if row.fine_tuned else ''}{f' {LEAKS}' if row.leaks else ''}"


def seeds(entry: Entry, form: str) -> str:
    """Return ``count`` in a form such as ``n={}``; empty for a model that was scored as it is."""
    return form.format(count(entry)) if entry.n else ""


def interval_text(ends: Interval | Kept | Place) -> str:
    """Return an interval as ``[79.9, 82.1]``; empty where there is none."""
    return "" if ends.low is None or ends.high is None else f"[{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def caption(board: Board, n: str) -> str:
    """Return the caption that explains the figures."""
    entries = [entry for row in board.rows for entry in row.entries if entry]
    covers = {entry.interval.covers for entry in entries if entry.interval}
    over = ", ".join(covers)
    if len(covers) > 1:
        alone = "test examples; where there is one seed or none, over test examples alone"
        over = f"seeds and {alone}" if any(entry.n > 1 for entry in entries) else "test examples"
    said = f"{board.split.capitalize()} scores in percent"
    if any(entry.n for entry in entries) or not entries:
        said += f": mean ± sample standard deviation over {n} seeds"
        if any(entry.distillations > 1 for entry in entries):
            said += ", or over the means of several distillations"
    if covers:
        said += f" [95 % interval over {over}]"
    if any(entry.n > 1 for entry in entries):
        said += "; min is the lowest seed's"
    said += "."
    if any(entry.n > 1 and not entry.stands for entry in entries):
        said += " Where a seed failed, the median stands for the mean, and there is no interval."
    meant = {
        BELOW: "below the column's best as a pretrained model",
        AS_GOOD: "not told apart from the column's best",
        UNKNOWN: "no verdict, for the reason below",
    }
    there = {marks(entry) for entry in entries}
    if explained := [f"{mark} {words}" for mark, words in meant.items() if mark in there]:
        level = " (5 % over all pairs of a column)" if there & {BELOW, AS_GOOD} else ""
        said += f" {'; '.join(explained)}{level}."
    return of_split(board, said)


def of_split(board: Board, said: str) -> str:
    """Return a text about test examples in the words of the split whose scores a board shows."""
    return re.sub(r"\btest (example|set)", rf"{board.split} \1", said)


def count(entry: Entry) -> str:
    """Return the number of seeds, and the lowest of their scores where there are several: ``3 min 90.1``."""
    of = f" in {entry.distillations} distillations" if entry.distillations > 1 else ""
    return f"{entry.n}{of}" + (f" min {100 * entry.lowest:.1f}" if entry.n > 1 else "")


def percent(entry: Entry, spread: str) -> str:
    """Return the mean in percent, and the standard deviation where there is one; the median where a seed failed.

    A mean over seeds of which one failed is that of neither, and its interval would claim 95 % and hold the truth less
    often: the median and the lowest, see ``count``, say what such an entry has.
    """
    if entry.n > 1 and not entry.stands:
        return f"median {100 * entry.median:.2f}"
    return f"{100 * entry.mean:.2f}" + ("" if entry.sd is None else f"{spread}{100 * entry.sd:.2f}")


def verdict(versus: Versus) -> str:
    """Return the verdict against the column's best as a sentence."""
    said = f"Against the column's best, as pretrained models: {100 * versus.difference:+.2f} points"
    if versus.p is None or versus.p_adjusted is None or versus.low is None or versus.high is None:
        return f"{said}; no verdict: {versus.reason}."
    told = "not told apart" if versus.p_adjusted > LEVEL else "below it"
    ends = f"[{100 * versus.low:+.2f}, {100 * versus.high:+.2f}]"
    return f"{said} {ends}, p = {versus.p:.3f}, {versus.p_adjusted:.3f} adjusted over all pairs of the column: {told}."


def kept_text(kept: Kept | None) -> str:
    """Return a share as ``93.1 %``, with its interval on a line of its own."""
    return NONE if kept is None else f"{100 * kept.ratio:.1f} %\n{interval_text(kept)}".strip()


def kept_row(board: Board, pair: Pair) -> str:
    """Return what stands in the place of the recipe in a row of shares: ``kept``, and how a student was helped."""
    student, teacher = board.rows[pair.student], board.rows[pair.teacher]
    if student.search != teacher.search:
        return f"kept, student {student.advantage or 'not tuned'}, teacher {teacher.advantage or 'not tuned'}"
    return f"kept, {student.advantage}" if student.advantage else "kept"


def pair_name(board: Board, pair: Pair) -> str:
    """Return a student, its teacher and how the student was helped, a line each, as it can be printed."""
    models = "\nof ".join(escape.plain(board.rows[i].label) for i in (pair.student, pair.teacher))
    return models if (how := kept_row(board, pair)) == "kept" else f"{models}\n{escape.plain(how)}"


def pair_setting(board: Board, pair: Pair) -> str:
    """Return how a student was fine-tuned, and its teacher where one of them was tuned and the other not."""
    student, teacher = (board.rows[i] for i in (pair.student, pair.teacher))
    apart = f"; its teacher {setting_text(board, teacher)}" if student.search != teacher.search else ""
    return f"{setting_text(board, student)}{apart}"


def share(ratio: float) -> str:
    """Return a rough ratio in percent."""
    return f"{100 * ratio:.0f} %"


def retention(board: Board) -> list[str]:
    """Return a sentence per pair: what the student keeps, at what cost."""
    said = []
    for pair in board.pairs:
        student, teacher = board.rows[pair.student], board.rows[pair.teacher]
        if pair.mean is None:
            if reasons := _not_counted(pair):
                said.append(f"What {student.label} keeps of {teacher.label}'s score is not known: {reasons}.")
            continue
        tasks = sum(kept is not None for kept in pair.kept)
        aside = [f"mean of {tasks} tasks"] if tasks > 1 else []
        aside += [f"without {', '.join(pair.collapsed)}: collapsed runs"] if pair.collapsed else []
        aside += [f"without {', '.join(pair.outlying)}: a seed far below the others"] if pair.outlying else []
        aside += [f"without {', '.join(pair.withheld)}: not borne out by predictions"] if pair.withheld else []
        if pair.above and pair.above.floor is not None and (mean := pair.above.mean):
            floor, on = board.rows[pair.above.floor].label, sum(kept is not None for kept in pair.above.kept)
            of = f", mean of {on}" if on != tasks else ""
            aside.append(f"above {floor}: {_share(mean.ratio, mean.low, mean.high)}{of}")
        settings = f"{setting_text(board, student)}", f"{setting_text(board, teacher)}"
        said.append(
            f"{student.label} keeps {_share(pair.mean, pair.mean_low, pair.mean_high)} of {teacher.label}'s score"
            + (f" ({'; '.join(aside)})" if aside else "")
            + f" with {share(pair.parameters)} of its parameters"
            + "".join(
                f", at {ratio:.1f} times its speed" + (f" ({machine_text(machine)})" if len(board.machines) > 1 else "")
                for machine, ratio in zip(board.machines, pair.speeds, strict=True)
                if ratio is not None
            )
            + (f"; student {settings[0]}, teacher {settings[1]}" if settings[0] != settings[1] else "")
            + (f"; both {student.key.budget}" if student.search and student.search == teacher.search else "")
            + "."
        )
    return said


def _share(ratio: float, low: float | None, high: float | None) -> str:
    """Return a share of a score with its interval, as in a sentence: ``93.1 % [90.2, 96.0]``."""
    return f"{100 * ratio:.1f} % {interval_text(Kept(ratio, low, high))}".strip()


def _not_counted(pair: Pair) -> str:
    """Return on which columns there is no ratio, and why."""
    reasons = [f"collapsed on {', '.join(pair.collapsed)}"] if pair.collapsed else []
    reasons += [f"a seed lies far below the others on {', '.join(pair.outlying)}"] if pair.outlying else []
    reasons += [f"no predictions bear out the scores on {', '.join(pair.withheld)}"] if pair.withheld else []
    return "; ".join(reasons)


class Table(NamedTuple):
    """A table beside the main one."""

    title: str
    headers: list[str]
    lines: list[list[str]]
    caption: str
    numbers: tuple[int, ...]
    """Indexes of the columns that hold numbers."""


def tables(board: Board) -> list[Table]:
    """Return the tables of the overall, of what is kept above a floor, of searches, costs, and published scores."""
    every = _overall(board) + _above_floor(board) + budgets_tables(board) + _costs(board) + _quotes(board)
    shown = map(_without_empty_columns, every)
    return [table._replace(caption=of_split(board, table.caption)) for table in shown]


def _without_empty_columns(table: Table) -> Table:
    """Return a table without the columns of numbers that hold none, and a caption that names them."""
    empty = {i for i in table.numbers if all(line[i] == NONE for line in table.lines)}
    if not empty:
        return table
    kept = [i for i in range(len(table.headers)) if i not in empty]
    names = ", ".join(table.headers[i] for i in sorted(empty))
    return Table(
        title=table.title,
        headers=[table.headers[i] for i in kept],
        lines=[[line[i] for i in kept] for line in table.lines],
        caption=f"{table.caption} Nothing is known of: {names}.".lstrip(),
        numbers=tuple(kept.index(i) for i in table.numbers if i in kept),
    )


def millions(*rows: Row) -> str:
    """Return the parameters of a model in millions: of the smallest to the largest of its heads, where that shows."""
    ends = dict.fromkeys(
        f"{size / 1e6:,.1f}" for size in (min(r.smallest for r in rows), max(r.parameters for r in rows))
    )
    return NONE.join(ends)


def power_line(board: Board) -> list[str]:
    """Return the last line of the main table: the smallest difference that each column shows, in points; or nothing."""
    smallest = [NONE if each is None or each.smallest >= 1 else f"{100 * each.smallest:.1f}" for each in board.power]
    return smallest if set(smallest) - {NONE} else []


POWER_LINE = "smallest difference shown"
"""What the line is called."""


def budgets_tables(board: Board) -> list[Table]:
    """Return a table a task on which recipes were searched: what the best of so many points is expected to score."""
    made = []
    for budget in budgets.of(board):
        most = max(len(line.expected) for line in budget.lines)
        points = [n for n in range(1, most + 1) if n == most or n & (n - 1) == 0]  # 1, 2, 4, …, all
        lines = []
        for line in budget.lines:
            row = board.rows[line.row]
            scores = [
                f"{100 * line.expected[n - 1].mean:.2f} ± {100 * line.expected[n - 1].sd:.2f}"
                if n <= len(line.expected)
                else NONE
                for n in points
            ]
            lines.append([line.model or row.label, setting_text(board, row), *scores])
        headers = ["model", "recipe", *(f"{n} point{'s' if n > 1 else ''}" for n in points)]
        title = f"Best score on validation to be expected, {budget.task} {budget.metric}"
        made.append(Table(title, headers, lines, _said_of(board, budget), tuple(range(2, len(headers)))))
    return made


def _said_of(board: Board, budget: budgets.Budget) -> str:
    """Return whether the order of the rows depends on the number of points."""
    said = "Mean ± standard deviation over which points are drawn, with replacement (Dodge et al. 2019)."
    for one, other in budgets.pairs(budget):
        first, second = (
            f"{each.model or board.rows[each.row].label} ({board.rows[each.row].how})" for each in (one, other)
        )
        most = min(len(one.expected), len(other.expected))
        if turns := budgets.changes(one, other):
            said += f" The order of {first} and {second} changes at {', '.join(map(str, turns))} points."
        else:
            said += f" {first} and {second} keep their order from 1 to {most} points."
    return said


def _overall(board: Board) -> list[Table]:
    """Return a table per protocol: the rows that have the whole set, by their mean over it."""
    overall = board.overall
    if overall is None:
        return []
    several = len({ranking.protocol for ranking in overall.rankings}) > 1
    made = []
    for ranking in overall.rankings:
        first = ranking.places[0]
        lines = []
        for place in ranking.places:
            row = board.rows[place.row]
            beaten = next((each for each in first.improvements if each.over == place.row), None)
            ranks = f" [{place.rank_low}, {place.rank_high}]" if place.rank_low else ""
            lines.append(
                [
                    f"{place.rank:g}{ranks}",
                    name(row),
                    setting_text(board, row),
                    f"{100 * place.mean:.2f} {interval_text(place)}".strip(),
                    f"{place.mean_rank:.2f}",
                    f"{100 * beaten.probability:.0f} % [{100 * beaten.low:.0f}, {100 * beaten.high:.0f}]"
                    if beaten
                    else NONE,
                ]
            )
        headers = ["rank", "model", "recipe", "mean", "mean rank", "first is above"]
        protocol = f", protocol {ranking.protocol}" if several else ""
        title = f"Overall, {overall.name}{protocol}{f', {ranking.budget}' if ranking.budget else ''}"
        made.append(Table(title, headers, lines, _said_of_ranks(overall, ranking), (0, 3, 4, 5)))
    return made


def _above_floor(board: Board) -> list[Table]:
    """Return a table with a line for each student and column: what is kept, and what above the floor."""
    lines = []
    for pair in board.pairs:
        above = pair.above
        if above is None or above.floor is None:
            continue
        floor = board.rows[above.floor]
        who = f"{board.rows[pair.student].label} / {board.rows[pair.teacher].label}, above {floor.label}"
        first = True
        for i, (column, raw, kept) in enumerate(zip(board.columns, pair.kept, above.kept, strict=True)):
            if raw and (entry := floor.entries[i]):
                shown = [kept_text(share).replace("\n", " ") for share in (raw, kept)]
                lines.append([who if first else "", column.title, f"{100 * entry.mean:.2f}", *shown])
                first = False
    headers = ["student / teacher", "column", "floor", "kept", "above the floor"]
    caption = (
        "Above the floor: (student - floor) / (teacher - floor), with the 95 % interval over seeds and test examples "
        "where it has bounds."
    )
    return [Table("What students keep above a floor", headers, lines, caption, (2, 3, 4))] if lines else []


def _said_of_ranks(overall: Overall, ranking: Ranking) -> str:
    """Return the caption of a table of the overall."""
    said = f"Mean in percent over {', '.join(overall.columns)}, each with the same weight"
    shown = any(place.rank_low for place in ranking.places)
    said += ", with its 95 % interval over seeds and test examples." if shown else "."
    if len(ranking.places) > 1:
        if shown:
            said += " Behind a rank: the ranks that are possible, at 95 % for all models at once (Mogstad et al. 2024)."
        said += (
            " Mean rank: over the columns, among these rows. First is above: the probability that a run of the first "
            "scores above one of this model, a column drawn at random (Agarwal et al. 2021), with its 95 % interval "
            "over seeds on these test sets."
        )
    return said


def _quotes(board: Board) -> list[Table]:
    """Return tables with our scores below the published ones of the same task and metric."""
    lines = [
        [
            f"{quote.column} {quote.metric}" if first else "",
            f"{'ours: ' if line.ours else ''}{line.model}",
            NONE if line.percent is None else f"{line.percent:.2f}{'' if line.sd is None else f' ± {line.sd:.2f}'}",
            "; ".join(filter(None, (line.source, line.detail))),
        ]
        for quote in board.quotes
        for first, line in zip([True] + [False] * len(quote.lines), quote.lines, strict=False)
    ]
    if not lines:
        return []
    headers = ["task and score", "model", "percent", "source, details"]
    return [Table("Published scores, quoted", headers, lines, "Protocols differ from source to source.", (2,))]


def _costs(board: Board) -> list[Table]:
    """Return tables with a block per machine; without any, the sizes alone; nothing where no size is known either."""
    of_models = list(grouped(board.rows, lambda row: row.model_digest).values())
    models = [rows[-1] for rows in of_models]
    size = ["model", "parameters (M)", "size (MB)"]
    sizes = [
        [
            row.label,
            millions(*rows),
            NONE if row.weights_bytes is None else f"{row.weights_bytes / 1e6:,.1f}",
        ]
        for row, rows in zip(models, of_models, strict=True)
    ]
    blocks = [
        Table(
            f"Cost on {machine_text(machine)}",
            [*size, "examples/s", "latency (ms)", "p95 (ms)"],
            [
                [
                    *line,
                    f"{speed.examples_per_second:,.0f}",
                    f"{speed.latency_ms_median:.1f}",
                    f"{speed.latency_ms_p95:.1f}",
                ]
                if (speed := row.speeds[i])
                else [*line, NONE, NONE, NONE]
                for row, line in zip(models, sizes, strict=True)
            ],
            f"Inference on sample {machine.text[:6]} in batches of {machine.batch_size}; latency of one example alone, "
            "median and 95th percentile.",
            (1, 2, 3, 4, 5),
        )
        for i, machine in enumerate(board.machines)
    ]
    if not blocks and any(row.weights_bytes is not None for row in models):
        blocks = [Table("Size", size, sizes, "", (1, 2))]
    return blocks


def machine_text(machine: Machine) -> str:
    """Return where and how speeds were measured."""
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    return f"{machine.device}, {threads}, {machine.precision}"


def setting_text(board: Board, row: Row) -> str:
    """Return how a row's model was fine-tuned."""
    protocol = f", protocol {row.protocol}" if len({row.protocol for row in board.rows}) > 1 else ""
    return f"{row.how}, {row.precision}{protocol}"


class Letter(NamedTuple):
    """What stands for a setting where there is little room."""

    letter: str
    setting: str


def letters(board: Board) -> list[Letter]:
    """Return a letter for each row's setting; of the settings of a board, those with most entries come first."""
    settings = [setting_text(board, row) for row in board.rows]
    entries = dict.fromkeys(settings, 0)
    for row, setting in zip(board.rows, settings, strict=True):
        entries[setting] += sum(entry is not None for entry in row.entries)
    ordered = sorted(entries, key=lambda setting: (-entries[setting], setting))
    return [Letter(_numbered(ordered.index(setting)), setting) for setting in settings]


def _numbered(number: int) -> str:
    """Return a, b, …, z, aa, ab, …."""
    before = _numbered(number // 26 - 1) if number >= 26 else ""
    return before + chr(ord("a") + number % 26)


def best_of(board: Board) -> list[list[bool]]:
    """Return by row and column whether the entry is the best, as printed, of at least two; it has no collapsed runs.

    Rows that were tuned, or taught, are compared with rows of the same search, or teacher, alone.
    """
    best = [[False] * len(board.columns) for _ in board.rows]
    for i in range(len(board.columns)):
        there = [(number, entry) for number, row in enumerate(board.rows) if (entry := row.entries[i])]
        for entries in grouped(there, lambda each: board.rows[each[0]].advantage).values():
            means = {number: round(100 * entry.mean, 2) for number, entry in entries if entry.stands}
            for number, mean in means.items():
                best[number][i] = len(entries) > 1 and mean == max(means.values())
    return best


def _notes_of_floors(board: Board) -> dict[str, list[str]]:
    return {
        "Nothing above the floor": [
            f"{board.rows[pair.student].label} ({setting_text(board, board.rows[pair.student])}), {what}: {reason}"
            for pair in board.pairs
            if pair.above
            for what, reason in pair.above.reasons
        ]
    }


def _notes_of_overall(board: Board) -> dict[str, list[str]]:
    if board.overall is None:
        return {}
    reasons = [note for ranking in board.overall.rankings for note in ranking.reasons]
    return {
        f"No overall ({board.overall.name})": [f"{what}: {reason}" for what, reason in board.overall.without],
        f"Overall without intervals ({board.overall.name})": [f"{what}: {reason}" for what, reason in reasons],
    }


def notes(board: Board) -> dict[str, list[str]]:
    """Return the notes as heading → lines; headings without lines are left out."""
    collapsed = [
        f"{row.label} ({setting_text(board, row)}), {column.title}: {words}"
        for row in board.rows
        for column, entry in zip(board.columns, row.entries, strict=True)
        for words in (entry.collapsed if entry else ())
    ]
    outlying = [f"{where}: {words}" for where, words in _by_entry(board, lambda entry: entry.outlying)]
    what = "the classification head that the checkpoint brought was"
    fine_tuned = [
        f"{row.label} ({setting_text(board, row)}): {'; '.join(row.fine_tuned)}" for row in board.rows if row.fine_tuned
    ]
    as_it_is = [f"{row.label}: {setting_text(board, row)}" for row in board.rows if not row.trained]
    leaks = [f"{row.label} ({setting_text(board, row)}): {'; '.join(row.leaks)}" for row in board.rows if row.leaks]
    cut = [f"{row.label} ({setting_text(board, row)}): {'; '.join(row.cut)}" for row in board.rows if row.cut]
    apart = [f"{where}: {words}" for where, words in _by_entry(board, lambda entry: entry.mixed)]
    changed = [
        f"{where}: {words}"
        for where, words in _by_entry(board, lambda e: (provenance.seeds(e.uncommitted),) if e.uncommitted else ())
    ]
    chosen = [f"{where}: {words}" for where, words in _by_entry(board, _unusual)]
    data = [f"{column.title}: {words}" for column in board.columns for words in column.deviations]
    trained_collapsed = any(row.trained and entry and entry.collapsed for row in board.rows for entry in row.entries)
    options = [
        option
        for option, trained in (("--set max_length", True), ("flue-bench score --max-length", False))
        if any(row.cut and row.trained is trained for row in board.rows)
    ]
    tuned = _tuned(board)
    by_heading = {
        f"{COLLAPSED} Collapsed runs: neither interval nor verdict{f'; {TRY}' if trained_collapsed else ''}": collapsed,
        f"{OUTLYING} Seeds far below the others: neither interval nor verdict": outlying,
        f"{UNKNOWN} No verdict": _no_verdict(board),
        POWER: _power(board),
        "Several distillations of one recipe that are one row: their spread is in its intervals": [
            f"{row.label} ({setting_text(board, row)}): {'; '.join(row.distillations)}"
            for row in board.rows
            if row.distillations
        ],
        f"{FINE_TUNED} Fine-tuned before, not only pretrained: {what}": fine_tuned,
        "Tuned on validation, with seeds that no run here has; compared with rows of the same search alone": tuned,
        "Taught on the tasks by soft labels beside their own; compared with rows of the same teacher alone": [
            f"{row.label} ({setting_text(board, row)}), {words}" for row in board.rows for words in row.taught_by
        ],
        "Seeds that do not count from 0: whether others were run as well is not known": chosen,
        "The same predictions to the byte, run for run: the same weights under two names, most likely": _twins(board),
        "Averaged over runs that were not made alike": apart,
        "Made from a checkout of flue-bench with uncommitted changes": changed,
        "Scored as they are, with no seed to average over: not compared with the column's best "
        "(flue-bench compare --question trained does)": as_it_is,
        f"{LEAKS} May have been trained on what they are scored on": leaks,
        f"Inputs that were cut, half of a split or more ({', '.join(options)} sets where)": cut,
        "Data that is not as published": data,
        **_notes_of_overall(board),
        **_notes_of_floors(board),
        "Trained on the train and validation rows of another task, tested on rows of its own": [
            f"{column.title}: {', '.join(column.train_from)}" for column in board.columns if column.train_from
        ],
        "Sources": list(board.sources),
        "Failed": [f"{what}: {reason}" for what, reason in board.failed],
        "Left out": [f"{what}: {reason}" for what, reason in board.left_out],
    }
    return {of_split(board, heading): lines for heading, lines in by_heading.items() if lines}


def _tuned(board: Board) -> list[str]:
    """Return what was searched, once, and then what was chosen for each row and task, at what cost."""
    said = []
    for rows in grouped((row for row in board.rows if row.searched), lambda row: row.search).values():
        searched = rows[0].searched or {}
        values = "; ".join(f"{name} {', '.join(map(str, of))}" for name, of in searched["fields"].items())
        seeds = provenance.seeds(searched["seeds"])
        budget = rows[0].advantage.partition(", ")[0]  # a teacher is another row's own
        said.append(f"{budget}: {values}; {seeds}")
        for row in rows:
            for entry in row.entries:
                for each in entry.tuned if entry else ():
                    chosen = ", ".join(f"{name} {value}" for name, value in each.settings.items())
                    lost = "".join(f", {number} {why}" for why, number in each.lost.items())
                    cost = f"{len(each.scores)} points{lost}, {each.seconds:,.0f} s, {each.steps:,} steps"
                    of = f"{each.task}, {each.model}" if each.model else each.task
                    said.append(f"{row.label} ({setting_text(board, row)}), {of}: {chosen} ({cost})")
    return said


POWER = (
    "The smallest true difference of two models, named beforehand, that is shown in four of five cases; "
    f"{NONE}: by no number of seeds, on this test set"
)


def _power(board: Board) -> list[str]:
    """Return for each column what it can show, and what more seeds would."""
    said = []
    of_seeds = zip(board.columns, board.power, strict=False)
    of_recipes = zip(board.columns, board.power_of_recipes, strict=False)
    for draws, powers in (("seeds", of_seeds), ("distillations", of_recipes)):
        for column, power in powers:
            if not power:
                continue
            # No score from 0 to 1 differs by more than 100 points: these seeds would show nothing.
            smallest = f"{100 * power.smallest:.1f} points" if power.smallest < 1 else "none that can be shown"
            points = ", ".join(f"{100 * each:g}" for each, _ in power.needed)
            seeds = ", ".join(NONE if number is None else f"{number}" for _, number in power.needed)
            said.append(
                f"{column.title}: {smallest} with {power.seeds} {draws} of each; {points} points with {seeds} {draws}"
            )
    return said


def _twins(board: Board) -> list[str]:
    """Return which rows of two models have the same predictions in all runs that both have, those that collapsed aside.

    A model's name and settings are part of its digest, its answers are not: a copy has a row of its own.
    """
    runs = [
        {
            (column.title, run.task, run.seed): run.predictions_sha256
            for column, entry in zip(board.columns, row.entries, strict=True)
            for run in (entry.runs if entry and row.trained else ())
            if not run.collapsed
        }
        for row in board.rows
    ]
    first: dict[tuple[tuple[str, str, int | None], str], int] = {}
    alike = Counter(
        (one, number)
        for number, of_row in enumerate(runs)
        for run in of_row.items()
        if (one := first.setdefault(run, number)) != number
    )
    said = []
    for (one, other), times in sorted(alike.items()):
        rows = board.rows[one], board.rows[other]
        if times == len(runs[one].keys() & runs[other].keys()) and rows[0].model_digest != rows[1].model_digest:
            names = " and ".join(f"{row.label} ({setting_text(board, row)})" for row in rows)
            said.append(f"{names}: {counted(times, 'run')}")
    return said


def _no_verdict(board: Board) -> list[str]:
    """Return why entries have no verdict that could have one, the entries that share a reason together."""
    entries: dict[str, list[str]] = {}
    reasons = _by_entry(board, lambda e: (e.versus.reason or "",) if e.versus and marks(e) == UNKNOWN else ())
    for where, reason in reasons:
        entries.setdefault(reason, []).append(where)
    return [f"{'; '.join(of_reason)}: {reason}" for reason, of_reason in entries.items()]


def _by_entry(board: Board, words_of: Callable[[Entry], Iterable[str]]) -> list[tuple[str, str]]:
    """Return what is to be said of entries, with where: the columns of a row that share it are named together."""
    titles: dict[tuple[str, str], list[str]] = {}
    for row in board.rows:
        for column, entry in zip(board.columns, row.entries, strict=True):
            for words in words_of(entry) if entry else ():
                titles.setdefault((f"{row.label} ({setting_text(board, row)})", words), []).append(column.title)
    return [(f"{label}, {', '.join(columns)}", words) for (label, words), columns in titles.items()]


def _unusual(entry: Entry) -> tuple[str, ...]:
    """Return the seeds in words unless they are those that ``--seeds n`` runs."""
    seeds = sorted({*entry.seeds})
    return () if seeds == list(range(len(seeds))) else (provenance.seeds(tuple(seeds)),)
