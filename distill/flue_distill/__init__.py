"""Distillation for flue-bench: makes a smaller model from a teacher, as a plugin of the engine.

    >>> import flue_distill
    >>> student = flue_distill.distill(out="student", steps=20)  # the demonstration  # doctest: +SKIP

The names in ``__all__`` are the whole public surface, loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flue_distill.api import Distilled, build_corpus, build_corpus_part, distill, merge_corpus
    from flue_distill.training.recipe import DistilRecipe

__all__ = ["DistilRecipe", "Distilled", "build_corpus", "build_corpus_part", "distill", "merge_corpus"]

_MODULES = {"DistilRecipe": "flue_distill.training.recipe"}
"""Name → the module that defines it, where that is not ``flue_distill.api``."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'flue_distill' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_MODULES.get(name, "flue_distill.api")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
