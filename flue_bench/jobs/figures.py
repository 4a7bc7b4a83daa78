"""Figures beside the scores: one that cannot be computed is absent from the record and mentioned in its notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flue_bench.training.models import first_line

_Figure = TypeVar("_Figure")


def attempted(what: str, compute: Callable[[], _Figure], notes: list[str]) -> _Figure | None:
    """Return a figure, or None and add a note, so that a failure here loses no score.

    Args:
        what: the figure's name, for the note.
        compute: returns it, or raises anything.
        notes: the list that receives the note.
    """
    try:
        return compute()
    except Exception as error:  # an architecture that torch's counter does not follow, memory that runs out
        notes.append(f"{what}: not known here ({type(error).__name__}: {first_line(error)})")
        return None


def rate(count: float, seconds: float) -> float:
    """Return ``count`` per second; 0 if the clock measured no time."""
    return count / seconds if seconds > 0 else 0.0
