"""Trackers that a training reports to, as accelerate drives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator, tracking

from flue_bench.errors import UnknownNameError, UsageError
from flue_distill.training.recipe import DistilRecipe

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""Tracker → the package that it needs, which is also flue-bench's extra for it."""


def check(names: Sequence[str]) -> None:
    """Refuse a tracker that is not known, or whose package is not installed: accelerate would leave it out.

    Raises:
        UnknownNameError: it is not known.
        UsageError: it is not installed.
    """
    there = {str(getattr(name, "value", name)) for name in tracking.get_available_trackers()}
    for name in names:
        if name not in PACKAGES:
            raise UnknownNameError("tracker", name, PACKAGES)
        if name not in there:
            raise UsageError(f"--report-to {name}: not installed. pip install 'flue-bench[{name}]' brings it.")


def begin(accelerator: Accelerator, out: Path, recipe: DistilRecipe, offline: bool) -> None:
    """Open the trackers that the accelerator was made for, if any; a run has the name of its folder.

    Args:
        accelerator: of the training.
        out: the folder of the student.
        recipe: its fields are the run's settings.
        offline: make no network call: wandb keeps its files for ``wandb sync``.
    """
    if not accelerator.log_with:
        return
    wandb: dict[str, Any] = {"name": out.name, "dir": str(out), "resume": "allow"}
    settings = {key: str(value) for key, value in recipe.model_dump(mode="json").items()}
    accelerator.init_trackers("flue-bench", settings, {"wandb": wandb | ({"mode": "offline"} if offline else {})})
