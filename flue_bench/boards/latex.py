"""A board as LaTeX: booktabs tables to ``\\input``, with the same content as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flue_bench import escape
from flue_bench.boards.board import Board, Entry
from flue_bench.boards.wording import (
    NONE,
    NOTHING,
    POWER_LINE,
    best_of,
    caption,
    interval_text,
    kept_row,
    kept_text,
    marks,
    millions,
    name,
    notes,
    percent,
    power_line,
    retention,
    seeds,
    setting_text,
    share,
    tables,
)


def latex(board: Board) -> str:
    r"""Return the board as ``tabular`` environments, captions as paragraphs below; needs ``\usepackage{booktabs}``.

    Names may hold any letter: compile with LuaLaTeX or XeLaTeX where they go beyond Latin script.
    """
    lines = [r"% \usepackage{booktabs}, \usepackage[T1]{fontenc}"]
    if not board.rows:
        lines += ["", escape.latex(NOTHING)]
    else:
        best = best_of(board)
        body = [
            [
                escape.latex(name(row)),
                escape.latex(setting_text(board, row)),
                escape.latex(millions(row)),
                *(_entry(entry, mark) for entry, mark in zip(row.entries, best[i], strict=True)),
            ]
            for i, row in enumerate(board.rows)
        ]
        kept = [
            [
                escape.latex(f"{board.rows[pair.student].label} / {board.rows[pair.teacher].label}"),
                kept_row(board, pair),
                escape.latex(share(pair.parameters)),
                *(escape.latex(kept_text(each).replace("\n", " ")) for each in pair.kept),
            ]
            for pair in board.pairs
        ]
        titles = ["model", "recipe", "parameters (M)", *(escape.latex(column.title) for column in board.columns)]
        metrics = ["", "", "", *(rf"\texttt{{{escape.latex(column.metric)}}}" for column in board.columns)]
        power = [[POWER_LINE, "points", "", *map(escape.latex, line)] for line in [power_line(board)] if line]
        parts = [[titles, metrics], body, kept, power]
        lines += ["", *_tabular(parts, "ll" + "r" * (len(titles) - 2)), "", escape.latex(caption(board, "(n)"))]
    for line in retention(board):
        lines += ["", escape.latex(line)]
    for each in tables(board):
        align = "".join("r" if i in each.numbers else "l" for i in range(len(each.headers)))
        parts = [[[escape.latex(cell) for cell in line] for line in part] for part in ([each.headers], each.lines)]
        lines += ["", rf"\paragraph{{{escape.latex(each.title)}}}", "", *_tabular(parts, align)]
        lines += ["", escape.latex(each.caption)] if each.caption else []
    for heading, said in notes(board).items():
        items = [rf"  \item {escape.latex(note)}" for note in said]
        lines += ["", rf"\paragraph{{{escape.latex(heading)}}}", r"\begin{itemize}", *items, r"\end{itemize}"]
    return "\n".join(lines) + "\n"


def _entry(entry: Entry | None, best: bool) -> str:
    if entry is None:
        return escape.latex(NONE)
    score = escape.latex(f"{percent(entry, ' ± ')}{marks(entry)}")
    interval = f" {interval_text(entry.interval)}" if entry.interval else ""
    shown = rf"\textbf{{{score}}}" if best else score
    return f"{shown}{escape.latex(interval)}{seeds(entry, ' ({})')}"


def _tabular(parts: Iterable[Sequence[Sequence[str]]], align: str) -> list[str]:
    """Return the lines of a table of several parts, each of rows of cells, with a rule after each part."""
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
    for part in filter(None, parts):
        lines += [*(" & ".join(row) + r" \\" for row in part), r"\midrule"]
    return [*lines[:-1], r"\bottomrule", r"\end{tabular}"]
