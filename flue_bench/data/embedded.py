"""The models that come with flue-bench, by name: what a record says of them, without loading torch."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import NamedTuple

from flue_bench.data import model_files, model_names
from flue_bench.files import read

DISTILLATION = "distillation.json"
"""How a student was made: ``flue-bench distill`` writes it beside the weights; it is not part of the identity."""


class Embedded(NamedTuple):
    """What ``ModelRef`` holds of an embedded model."""

    digest: str
    teacher: str | None
    weights_bytes: int


@cache
def embedded(name: str) -> Embedded | None:
    """Return the identity of the embedded model of this name, ``embedded:NAME``; None if this version has none."""
    folder = model_names.EMBEDDED / name.removeprefix("embedded:")
    if not re.fullmatch(r"embedded:[\w-]+", name) or not (folder / model_files.CONFIG).is_file():
        return None
    student = folder / DISTILLATION
    return Embedded(
        digest=model_files.digest(folder),
        teacher=teacher_in(json.loads(read(student))) if student.is_file() else None,
        weights_bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    )


def embedded_of(digest: str) -> tuple[str, Embedded | None]:
    """Return the name and the identity of the embedded model of a digest; an empty name and None if there is none."""
    return _by_digest().get(digest, ("", None))


@cache
def _by_digest() -> dict[str, tuple[str, Embedded]]:
    names = (f"embedded:{folder.name}" for folder in sorted(model_names.EMBEDDED.iterdir()) if folder.is_dir())
    return {ours.digest: (name, ours) for name in names if (ours := embedded(name))}


def teacher_in(distillation: object) -> str | None:
    """Return the digest of the teacher that the content of a ``distillation.json`` names, if it does."""
    teacher = distillation.get("teacher") if isinstance(distillation, dict) else None
    digest = teacher.get("digest") if isinstance(teacher, dict) else None
    return digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{16}", digest) else None
