"""Figures beside the scores: what cannot be had is absent from the record and told in its notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flue_bench.training.models import first_line

_Figure = TypeVar("_Figure")


def attempted(what: str, compute: Callable[[], _Figure], notes: list[str]) -> _Figure | None:
    """A figure, or None and a note: no score is lost for want of it.

    Args:
        what: the figure's name, for the note.
        compute: gives it, or raises whatever it raises.
        notes: to be added to.
    """
    try:
        return compute()
    except Exception as error:  # an architecture that torch's counter does not follow, memory that runs out
        notes.append(f"{what}: not known here ({type(error).__name__}: {first_line(error)})")
        return None


def rate(count: float, seconds: float) -> float:
    """So many a second; 0 where the clock saw no time pass."""
    return count / seconds if seconds > 0 else 0.0
