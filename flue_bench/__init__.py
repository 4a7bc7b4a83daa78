"""flue-bench: how good is a French language model, and how much of its teacher does a student keep?

    >>> import flue_bench
    >>> results = flue_bench.run("embedded:student", "mini-cls", limit=64, overrides={"epochs": 1})  # doctest: +SKIP
    >>> flue_bench.build_board(results)  # doctest: +SKIP

The names in ``__all__`` are the whole public surface. They are loaded when they are first used: importing flue_bench
loads neither PyTorch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flue_bench.api import (
        build_board,
        compare,
        compare_rows,
        get_task,
        list_tasks,
        load_data,
        measure_speed,
        read_results,
        run,
        score,
        verify_records,
    )
    from flue_bench.boards.board import Board
    from flue_bench.boards.compared import Comparison
    from flue_bench.boards.disagreed import Disagreements
    from flue_bench.errors import FlueBenchError
    from flue_bench.recipe import Recipe
    from flue_bench.record import RunRecord
    from flue_bench.results.runs import Results
    from flue_bench.task import Task

__version__ = "0.1.0"

__all__ = [
    "Board",
    "Comparison",
    "Disagreements",
    "FlueBenchError",
    "Recipe",
    "Results",
    "RunRecord",
    "Task",
    "build_board",
    "compare",
    "compare_rows",
    "get_task",
    "list_tasks",
    "load_data",
    "measure_speed",
    "read_results",
    "run",
    "score",
    "verify_records",
]

_TYPES = {
    "Board": "flue_bench.boards.board",
    "Comparison": "flue_bench.boards.compared",
    "Disagreements": "flue_bench.boards.disagreed",
    "FlueBenchError": "flue_bench.errors",
    "Recipe": "flue_bench.recipe",
    "Results": "flue_bench.results.runs",
    "RunRecord": "flue_bench.record",
    "Task": "flue_bench.task",
}
"""Type → the module that defines it; the functions are in ``flue_bench.api``."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'flue_bench' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_TYPES.get(name, "flue_bench.api")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
