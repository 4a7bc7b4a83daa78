"""A careful forger: changes a record or its predictions, and whatever follows from the change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from flue_bench.kinds.kind import kind_of
from flue_bench.record import RunRecord
from flue_bench.results.store import read_predictions, read_record

Fields = dict[str, Any]
Columns = dict[str, list[Any]]


def forge(
    path: Path,
    fields: Callable[[Fields], object] = lambda fields: None,
    columns: Callable[[Columns], object] = lambda columns: None,
) -> Path:
    """Change a record's fields and the columns of its predictions, and make everything that follows from them fit.

    Scores, classes, rows, hashes, digests and names of files are those of the changed content; only the number of test
    rows in ``data`` is that of the predictions, where these had as many before.

    Returns:
        The file of the forged record, in place of the other.
    """
    record = read_record(path)
    table = read_predictions(record, path.parent)
    changed = table.to_pydict()
    columns(changed)
    table = pyarrow.table(changed, schema=table.schema)
    content = json.loads(path.read_bytes())
    if content["data"]["rows"]["test"] == content["predictions"]["rows"]:
        content["data"]["rows"]["test"] = table.num_rows
    content["predictions"]["rows"] = table.num_rows
    fields(content)
    forged = RunRecord.model_validate(content)
    kind = kind_of(forged)
    scored = kind.scores(table, forged)
    digest, setting = forged.cell.digests()
    file = path.with_name(f"seed{forged.cell.seed}-{digest}.json")
    predictions = file.with_name(f"{file.stem}.predictions.parquet")
    path.with_name(record.predictions.file).unlink()
    path.unlink()
    pyarrow.parquet.write_table(table, predictions)
    content |= {
        "cell_digest": digest,
        "setting_digest": setting,
        "scores": scored.scores,
        "measures": scored.measures,
        "per_class": {
            level: {name: scores.model_dump() for name, scores in classes.items()}
            for level, classes in scored.per_class.items()
        },
        "collapsed": kind.collapsed(table, forged),
        "predictions": {
            "file": predictions.name,
            "sha256": hashlib.sha256(predictions.read_bytes()).hexdigest(),
            "rows": table.num_rows,
        },
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def copied(path: Path, change: Callable[[Fields], object], folder: Path | None = None) -> Path:
    """Put a forged copy of a record, with its predictions, beside it or into another folder of the same tree."""
    folder = folder or path.parent / "copie"
    folder.mkdir(parents=True)
    for file in (path, path.with_name(f"{path.stem}.predictions.parquet")):
        (folder / file.name).write_bytes(file.read_bytes())
    forged = forge(folder / path.name, change)
    if folder == path.parent / "copie":
        for file in list(folder.iterdir()):
            file.rename(path.parent / file.name)
        folder.rmdir()
        return path.parent / forged.name
    return forged
