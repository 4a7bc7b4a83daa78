"""What may differ between the run that wrote a checkpoint and the one that resumes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flue_bench.errors import UsageError
from flue_distill.training.recipe import DistilRecipe

NO_WEIGHTS = ("checkpoint_seconds", "evaluate_steps", "evaluate_sequences")
"""Fields of a recipe that move no weight."""
ROUNDING = ("micro_batch",)
"""Fields that cut the same step in another way: sums round differently, and on a GPU dropout draws other numbers."""
ON_THE_WAY = ("learning_rate", "max_grad_norm", "precision")
"""Fields that can be changed on the way, by somebody who names them: what is left of the training is another."""


def changes(
    path: Path, state: dict[str, Any], identity: dict[str, Any], recipe: DistilRecipe, asked: Collection[str]
) -> list[dict[str, Any]]:
    """Compare a checkpoint's run with this one.

    Args:
        path: of the checkpoint, for the message.
        state: its content.
        identity: what has to be equal beside the recipe: protocol, corpus, models.
        recipe: this run's.
        asked: fields that the user names.

    Returns:
        ``field``, ``before`` and ``after`` of each field that differs and is not one of ``NO_WEIGHTS``.

    Raises:
        UsageError: something else differs; the message says what.
    """
    begun, now = state.get("recipe"), recipe.model_dump(mode="json")
    if not isinstance(begun, dict):
        raise UsageError(f"{path} belongs to another run, of another version of flue-bench: give another --out.")
    other = [key for key in (*identity, *state["identity"]) if state["identity"].get(key) != identity.get(key)]
    other += unknown(begun)
    found, by_name = [], list[str]()
    for field, info in DistilRecipe.model_fields.items():
        before, value = (each.get(field, info.default) for each in (begun, now))
        if before == value or field in (*NO_WEIGHTS, "teacher", "student"):  # a path is never an identity
            continue
        if field in ROUNDING or (field in ON_THE_WAY and field in asked):
            if value != "auto":  # what was found at the start holds
                found.append({"field": field, "before": before, "after": value})
        elif field in ON_THE_WAY:
            shown = [f"{each:g}" if isinstance(each, float) else str(each) for each in (before, value)]
            other.append(f"{field} {shown[0]}")
            by_name.append(f"{field}={shown[1]}")
        else:
            other.append(f"{field} {before}, not {value}")
    if other:
        named = " ".join(word for each in by_name for word in ("--set", each)) if len(by_name) == len(other) else ""
        or_named = f" or change them on the way by {named}," if named else ""
        raise UsageError(
            f"{path} belongs to another run ({'; '.join(dict.fromkeys(other))}). "
            f"Resume with the settings it was started with,{or_named} or give another --out."
        )
    return found


def unknown(begun: Mapping[str, Any]) -> list[str]:
    """Return in words what a recipe says that this version does not know: it would be left out without a word."""
    fields = sorted(begun.keys() - DistilRecipe.model_fields.keys())
    return [f"{field} {begun[field]}, which this version does not know" for field in fields]
