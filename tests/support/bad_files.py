"""Task files and their data, in every format, for tests of what is wrong with them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from support.tasks import sentence_task

TEXTS = tuple(f"Le {noun} est {how}." for noun in ("thé", "café", "pain", "vin", "lait") for how in ("bon", "froid"))


ROWS = tuple((text, ("non", "oui")[i % 2]) for i, text in enumerate(TEXTS))


SENTENCE = sentence_task("essai", "FILE", "FILE", "FILE", epochs=1, batch_size=4, max_length=32)


PAIR = SENTENCE.replace('"sentence"', '"sentence-pair"')


TOKENS = (
    SENTENCE.replace('"sentence"', '"tokens"\nscheme = "IO"')
    .replace('["non", "oui"]', '["O", "PER"]')
    .replace("accuracy", "entity_f1_micro")
)


def put(folder: Path, task: str, name: str, content: bytes) -> Path:
    """A task file and its one data file."""
    (folder / name).write_bytes(content)
    (folder / "essai.toml").write_text(task.replace("FILE", name), encoding="utf-8")
    return folder / "essai.toml"


def tsv(rows: Any = ROWS, header: str = "text\tlabel") -> bytes:
    return "\n".join([header, *("\t".join(row) for row in rows), ""]).encode()


def jsonl(*more: Any) -> bytes:
    rows = [*({"text": text, "label": label} for text, label in ROWS), *more]
    return "\n".join(json.dumps(row) for row in rows).encode()


def table(**columns: Sequence[Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def tarred(*members: tuple[str, bytes | str], kind: bytes = tarfile.REGTYPE) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                assert isinstance(content, bytes)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.linkname = str(content)
                archive.addfile(member)
    return sink.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return sink.getvalue()
