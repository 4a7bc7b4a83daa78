"""How wrong each prediction is: what a rerun is compared by."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from flue_bench.kinds.kind import kind_named
from support.factories import make_record


@pytest.mark.parametrize(
    ("kind", "task", "gold", "predicted", "errors"),
    [
        ("sentence", "xnli", [0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]),
        ("sentence-pair", "xnli", [0], [0], [0]),
        ("tokens", "wikiner", [[0, 1], [1, 1, 0], []], [[0, 0], [0, 0, 1], []], [1, 3, 0]),
    ],
)
def test_errors_are_of_rows(kind: str, task: str, gold: list[Any], predicted: list[Any], errors: list[float]) -> None:
    table = pa.table({"gold": gold, "predicted": predicted})
    if kind == "tokens":
        table = pa.table({name: pa.array(table[name].to_pylist(), pa.list_(pa.int16())) for name in table.column_names})
    found = kind_named(kind).errors(table, make_record(task=task))
    assert found.tolist() == errors and found.shape == (len(gold),)


def test_numbers_are_wrong_by_hundredths_of_their_range() -> None:
    """A rerun elsewhere moves every number a little: only what is worth saying makes one better than the other."""
    table = pa.table({"gold": [1.0, 1.0, 5.0], "predicted": [1.0001, 1.5, 3.0]})
    task = make_record().model_copy(update={"options": {"range": [1.0, 5.0]}})
    assert kind_named("regression").errors(table, task).tolist() == [0, 12, 50]
