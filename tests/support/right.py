"""Records that are what they say they are: everything that ``verify`` looks at follows from their predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow

from flue_bench.kinds.kind import kind_of
from flue_bench.record import Predictions, RunRecord
from flue_bench.results.store import Store

NOT_INSTALLED = 99
"""A version that no installed task has: its data, labels and recipes are not asked for."""


def right_record(
    store: Store, made: RunRecord, columns: dict[str, Any], draw: np.random.Generator, rows: int | None = None
) -> RunRecord:
    """Write predictions, and a record to which they lead.

    Args:
        store: where.
        made: gives everything but what follows from the predictions.
        columns: ids, groups, gold and predictions, with sub-words where the kind has them; probabilities are drawn.
        draw: for these.
        rows: of the whole test set; None: as many as there are.
    """
    kind, labels = kind_of(made), len(made.labels)
    if "probabilities" not in columns:
        columns["probabilities"] = [
            [_likely(each, labels, draw) for each in row] if isinstance(row, list) else _likely(row, labels, draw)
            for row in columns["predicted"]
        ]
    types = {"id": pyarrow.string(), "group": pyarrow.string(), **kind.schema()}
    table = pyarrow.table({name: pyarrow.array(columns[name]).cast(type_) for name, type_ in types.items()})
    scored = kind.scores(table, made)
    epochs = range(1, int(made.cell.recipe.epochs) + 1)
    update = {
        "data": made.data.model_copy(update={"rows": made.data.rows | {"test": rows or len(table)}}),
        "history": tuple(made.history[0].model_copy(update={"epoch": epoch}) for epoch in epochs),
        "scores": scored.scores,
        "measures": scored.measures,
        "per_class": scored.per_class,
        "collapsed": kind.collapsed(table, made),
    }

    def build(predictions: Predictions) -> RunRecord:
        return made.model_copy(update=update | {"predictions": predictions})

    return store.write(build, table, made.cell)


def _likely(label: int, labels: int, draw: np.random.Generator) -> list[float]:
    """Probabilities of which that of ``label`` is the largest, of four decimals each."""
    top = round(draw.uniform(0.55, 0.95), 3)
    return [top if each == label else round((1 - top) / (labels - 1), 4) for each in range(labels)]
