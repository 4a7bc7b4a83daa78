"""What a search is asked for: values of the recipe's fields, as the command line or Python gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from flue_bench import field
from flue_bench.errors import UsageError, counted, quoted
from flue_bench.recipe import Recipe
from flue_bench.record import MOST_POINTS, TUNING, Searched, Setting

MOST_SEEDS = 1000


def searched(
    asked: Mapping[str, Iterable[Any]] | str, trials: int | None = None, seeds: int = 1, changed: Iterable[str] = ()
) -> Searched:
    """Return a search as it was asked for.

    Args:
        asked: field of the recipe → its values, as texts or not; or the name of a search of ``flue_bench.field``.
        trials: how many of the points to try; None: all.
        seeds: the number of tuning seeds.
        changed: fields that the request sets to one value.

    Raises:
        UnknownNameError: there is no such field, or no search of that name.
        UsageError: a value does not fit its field, or there is nothing to choose from.
    """
    if isinstance(asked, str):
        if asked not in field.SEARCHES:
            raise field.unknown_search(asked)
        asked = field.SEARCHES[asked].fields
    if not isinstance(asked, Mapping):
        raise UsageError(
            f"search {quoted(asked)}: a name, or values by field, such as {{'learning_rate': [1e-5, 3e-5]}}."
        )
    fields: dict[str, tuple[Setting, ...]] = {}
    for name in sorted(asked, key=str):
        if name == "precision":
            raise UsageError("--search precision: a row of the board has one; leave it out, or give --precision.")
        if name in changed:
            raise UsageError(f"--search {name} and --set {name} are both given: leave one out.")
        if isinstance(asked[name], str) or not isinstance(asked[name], Iterable):
            raise UsageError(f"--search {name}: a list of values, not {quoted(asked[name])}.")
        parsed = [getattr(Recipe().override({name: value}), name) for value in asked[name]]
        if len(set(parsed)) < len(parsed) or not parsed:
            given = ", ".join(map(str, parsed)) or "none"
            raise UsageError(f"--search {name} has the values {given}: give each once, such as {name}=A,B.")
        fields[name] = tuple(sorted(parsed, key=_order))
    of = math.prod(map(len, fields.values()))
    if not fields or not 2 <= of <= MOST_POINTS:
        there = counted(of, "point") if fields else "no field"
        raise UsageError(f"--search has {there}: give from 2 to {MOST_POINTS:,} points, as learning_rate=1e-5,3e-5.")
    if trials is not None and not 2 <= trials <= of:
        raise UsageError(f"--search-trials {trials}: from 2 to the {of:,} points that there are.")
    if not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"--search-seeds {seeds}: from 1 to {MOST_SEEDS:,} tuning seeds.")
    return Searched(fields=fields, points=trials or of, seeds=tuple(range(TUNING, TUNING + seeds)))


def _order(value: Setting) -> tuple[bool, bool, Any]:
    """Return a sort key for values of one field, which may hold numbers, names and None."""
    return value is None, isinstance(value, str), 0 if value is None else value
