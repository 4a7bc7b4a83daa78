"""A board as LaTeX: booktabs tables to ``\\input``, with the same content as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from flue_bench.boards.board import Board, Entry
from flue_bench.boards.wording import (
    AS_GOOD,
    COLLAPSED,
    FINE_TUNED,
    NONE,
    NOTHING,
    best_of,
    caption,
    interval_text,
    kept_text,
    marks,
    name,
    notes,
    percent,
    plain,
    retention,
    setting_text,
    share,
    tables,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    AS_GOOD: r"$^{\approx}$",
    COLLAPSED: r"$^{\dagger}$",
    FINE_TUNED: r"$^{\ddagger}$",
    NONE: "--",
    "\N{REPLACEMENT CHARACTER}": "?",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    # Two of these in a row would be a ligature, and a bracket after a line's end would be an argument.
    "[": "{[}",
    "]": "{]}",
    "-": "{-}",
    "`": "{`}",
    "'": "{'}",
}


def latex(board: Board) -> str:
    r"""Return the board as ``tabular`` environments, captions as paragraphs below; needs ``\usepackage{booktabs}``.

    Names may hold any letter: compile with LuaLaTeX or XeLaTeX where they go beyond Latin script.
    """
    lines = [r"% \usepackage{booktabs}, \usepackage[T1]{fontenc}"]
    if not board.rows:
        lines += ["", escaped(NOTHING)]
    else:
        best = best_of(board)
        body = [
            [
                escaped(name(row)),
                escaped(setting_text(board, row)),
                f"{row.parameters / 1e6:,.1f}",
                *(_entry(entry, mark) for entry, mark in zip(row.entries, best[i], strict=True)),
            ]
            for i, row in enumerate(board.rows)
        ]
        kept = [
            [
                escaped(f"{board.rows[pair.student].label} / {board.rows[pair.teacher].label}"),
                "kept",
                escaped(share(pair.parameters)),
                *(escaped(kept_text(each).replace("\n", " ")) for each in pair.kept),
            ]
            for pair in board.pairs
        ]
        titles = ["model", "recipe", "parameters (M)", *(escaped(column.title) for column in board.columns)]
        metrics = ["", "", "", *(rf"\texttt{{{escaped(column.metric)}}}" for column in board.columns)]
        parts = [[titles, metrics], body, kept]
        lines += ["", *_tabular(parts, "ll" + "r" * (len(titles) - 2)), "", escaped(caption(board, "(n)"))]
    for line in retention(board):
        lines += ["", escaped(line)]
    for each in tables(board):
        align = "".join("r" if i in each.numbers else "l" for i in range(len(each.headers)))
        parts = [[[escaped(cell) for cell in line] for line in part] for part in ([each.headers], each.lines)]
        lines += ["", rf"\paragraph{{{escaped(each.title)}}}", "", *_tabular(parts, align)]
        lines += ["", escaped(each.caption)] if each.caption else []
    for heading, said in notes(board).items():
        items = [rf"  \item {escaped(note)}" for note in said]
        lines += ["", rf"\paragraph{{{escaped(heading)}}}", r"\begin{itemize}", *items, r"\end{itemize}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return the text escaped so that LaTeX prints it literally."""
    return re.sub(r".", lambda match: _SPECIAL.get(match[0], match[0]), plain(text))


def _entry(entry: Entry | None, best: bool) -> str:
    if entry is None:
        return escaped(NONE)
    score = escaped(f"{percent(entry, ' ± ')}{marks(entry)}")
    interval = f" {interval_text(entry.interval)}" if entry.interval else ""
    shown = rf"\textbf{{{score}}}" if best else score
    return f"{shown}{escaped(interval)} ({entry.n})"


def _tabular(parts: Iterable[Sequence[Sequence[str]]], align: str) -> list[str]:
    """Return the lines of a table of several parts, each of rows of cells, with a rule after each part."""
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
    for part in filter(None, parts):
        lines += [*(" & ".join(row) + r" \\" for row in part), r"\midrule"]
    return [*lines[:-1], r"\bottomrule", r"\end{tabular}"]
