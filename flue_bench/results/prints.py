"""Fingerprints of predictions: what records are held against each other by, without reading their files again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Gold:
    """The test set that predictions were made on, its columns in the order of the ids."""

    rows: int
    ids: str
    labels: str
    """Of the column ``gold``."""
    groups: str
    """Of which rows share a group; what a group is called does not matter."""


@dataclass(frozen=True)
class Prints:
    """A file of predictions."""

    gold: Gold
    answers: str
    """Of all columns that are neither of the test set nor sub-word counts: probabilities too."""
    distinct: int
    """Distinct real numbers in the answers, 0 and 1 left out: how much they can tell two runs apart."""


def gold_in(kept: Any) -> Gold:
    """Return the fingerprint that a cache holds as JSON.

    Raises:
        TypeError: it holds something else.
    """
    return Gold(**typed(kept, {"rows": int, "ids": str, "labels": str, "groups": str}))


def prints_in(kept: Any) -> Prints:
    """Return the fingerprint that a cache holds as JSON; errors are those of ``gold_in``."""
    typed(kept, {"gold": dict, "answers": str, "distinct": int})
    return Prints(**kept | {"gold": gold_in(kept["gold"])})


def typed(kept: Any, types: dict[str, type]) -> dict[str, Any]:
    """Return what a cache holds, if it is an object of these fields and types.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(kept, dict) or {name: type(value) for name, value in kept.items()} != types:
        raise TypeError(f"not an object of {', '.join(types)}")
    return kept


def of_gold(table: pyarrow.Table) -> Gold:
    """Return the fingerprint of the columns ``id``, ``gold`` and ``group``."""
    return _of_sorted(table.select(["id", "gold", "group"]).sort_by("id"))


def of_predictions(table: pyarrow.Table) -> Prints:
    """Return the fingerprint of predictions, in whatever order their rows are."""
    table = table.sort_by("id")
    answers = [name for name in table.column_names if name not in ("id", "gold", "group", "subwords")]
    reals = [values for name in answers for values in _reals(table[name].combine_chunks())]
    inner = np.concatenate(reals) if reals else np.empty(0)
    return Prints(
        gold=_of_sorted(table),
        answers=_hash(*(table[name].combine_chunks() for name in answers)),
        distinct=int(np.unique(inner[(inner != 0) & (inner != 1)]).size),
    )


def _of_sorted(table: pyarrow.Table) -> Gold:
    _, first, names = np.unique(
        np.asarray(table["group"].to_pylist(), dtype=object).astype(str), return_index=True, return_inverse=True
    )
    # Groups are numbered by their first row, so that other names of the same groups make no difference.
    groups = np.argsort(np.argsort(first))[names]
    return Gold(
        rows=table.num_rows,
        ids=_hash(table["id"].combine_chunks()),
        labels=_hash(table["gold"].combine_chunks()),
        groups=hashlib.blake2b(groups.astype("<i8").tobytes(), digest_size=8).hexdigest(),
    )


def _hash(*columns: pyarrow.Array) -> str:
    """Return 16 hex digits of the values of columns, however their bytes lie in memory."""
    content = hashlib.blake2b(digest_size=8)
    for column in columns:
        _feed(content, column)
    return content.hexdigest()


def _feed(content: Any, column: pyarrow.Array) -> None:
    import pyarrow
    from pyarrow import types

    if column.null_count:
        content.update(np.packbits(column.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if types.is_list(column.type) or types.is_large_list(column.type):
        content.update(column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _feed(content, column.flatten())
    elif types.is_integer(column.type):
        content.update(column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    elif types.is_floating(column.type):
        content.update(column.to_numpy(zero_copy_only=False).astype("<f8").tobytes())
    else:
        content.update("\0".join(map(repr, column.to_pylist())).encode())


def _reals(column: pyarrow.Array) -> list[np.ndarray[Any, Any]]:
    """Return the floating-point numbers of a column, of lists or not."""
    from pyarrow import types

    while types.is_list(column.type) or types.is_large_list(column.type):
        column = column.flatten()
    return [column.to_numpy(zero_copy_only=False)] if types.is_floating(column.type) else []
