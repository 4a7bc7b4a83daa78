"""What a library must leave in its caller's process as it was."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch


def state() -> dict[str, Any]:
    """Everything that a library could change for the rest of the process; that of the allocator cannot be asked for."""
    # What these set in the process when something first imports them is theirs, and not the library's doing.
    for name in ("torch._dynamo", "scipy.optimize", "sympy"):
        importlib.import_module(name)
    import transformers

    log: Any = transformers.utils.logging
    return {
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "type": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "garbage": (gc.isenabled(), gc.get_freeze_count() > 0),
        "folder": Path.cwd(),
        "warnings": list(warnings.filters),
        "logs": {name: logging.getLogger(name).level for name in ("", "transformers", "huggingface_hub")},
        "bars": log.is_progress_bar_enabled(),
    }


def changes(before: dict[str, Any]) -> set[str]:
    """Names of what differs from ``before``."""
    after = state()
    return {name for name in before if before[name] != after[name]}
