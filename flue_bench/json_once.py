"""JSON in which each object holds a key once: of two values one reader of JSON takes the first, another the last."""

from __future__ import annotations

import json
from typing import Any

from flue_bench.errors import quoted


class KeyTwiceError(ValueError):
    """A key stands twice in an object; the message names it."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise KeyTwiceError(f"the key {quoted(twice)} stands twice in one object")
    return made


DECODER = json.JSONDecoder(object_pairs_hook=_once)
"""Reads text as ``json.loads`` does, and raises ``KeyTwiceError``."""
