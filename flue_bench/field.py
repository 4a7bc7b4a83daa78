"""Recipes and searches of the field, for any task, each with its source and where ours differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flue_bench.errors import UnknownNameError


class Published(NamedTuple):
    """A recipe that others train by."""

    fields: Mapping[str, Any]
    """What differs from the defaults of ``Recipe``."""
    source: str
    differs: str = ""
    """What a recipe cannot say of it, in words."""


_TRAINER: Mapping[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 5e-5,
    "schedule": "linear",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "selection": "last",
}
"""The defaults of transformers' ``TrainingArguments``; without ``load_best_model_at_end`` the last weights stay."""

RECIPES: Mapping[str, Published] = {
    "run_glue": Published(
        {**_TRAINER, "max_length": 128},
        "Hugging Face transformers, examples/pytorch/text-classification/run_glue.py: defaults of its arguments",
    ),
    "run_ner": Published(
        {**_TRAINER, "max_length": 512},
        "Hugging Face transformers, examples/pytorch/token-classification/run_ner.py: defaults of its arguments",
        "it cuts at the tokenizer's own length, which is 512 for BERT and its kin",
    ),
    "euroeval": Published(
        {
            "epochs": "auto",
            "max_steps": 10_000,
            "evaluate_steps": 30,
            "patience": 2,
            "batch_size": 32,
            "learning_rate": 2e-5,
            "schedule": "linear",
            "warmup_ratio": 0.01,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "selection": "best",
            "max_length": 512,
        },
        "EuroEval, src/euroeval/finetuning.py at 0bc1a39: get_training_args and EarlyStoppingCallback",
        "it selects and stops by the loss on validation, not by the metric, cuts at the model's own length, and draws "
        "1,024 rows of train anew for each of ten runs (--train-rows 1024 --seeds 10)",
    ),
}


class Grid(NamedTuple):
    """A search that others report."""

    fields: Mapping[str, Sequence[Any]]
    source: str


SEARCHES: Mapping[str, Grid] = {
    "camembert2": Grid(
        {
            "learning_rate": (3e-5, 5e-5, 7e-5),
            "schedule": ("cosine", "linear"),
            "batch_size": (16, 32, 64),
            "warmup_ratio": (0.0, 0.1),
        },
        "Antoun et al. 2024, CamemBERT 2.0: A Smarter French Language Model Aged to Perfection (arXiv 2411.08868)",
    ),
}


def unknown_search(name: str) -> UnknownNameError:
    """Return the error for a name that no search has; if a recipe has it, that is said."""
    hint = (
        f"It is a recipe: --recipe {name}." if name in RECIPES else "Or give values: --search learning_rate=1e-5,3e-5."
    )
    return UnknownNameError("search", name, SEARCHES, hint)
