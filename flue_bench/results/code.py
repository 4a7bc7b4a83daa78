"""The version of the code by which records are checked and scored: what it computed is kept until it changes."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

from flue_bench.kinds.kind import Kind

_HERE = Path(__file__).parents[1]


@cache
def version(kind: Kind[Any]) -> str:
    """Return 16 hex digits of the source of what checks and scores records of this kind, the kind's own module too."""
    own = getattr(sys.modules.get(type(kind).__module__), "__file__", None)
    content = hashlib.blake2b(_engine().encode(), digest_size=8)
    content.update(Path(own).read_bytes() if own else b"")
    return content.hexdigest()


@cache
def _engine() -> str:
    content = hashlib.blake2b(digest_size=8)
    for folder in (".", "kinds", "statistics", "results"):
        for file in sorted((_HERE / folder).glob("*.py")):
            content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()
