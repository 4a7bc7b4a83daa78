"""The option ``--set KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable

from flue_bench.errors import UsageError


def settings(pairs: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` options as a dictionary.

    Raises:
        UsageError: one of them has no equals sign.
    """
    named = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set needs KEY=VALUE, not '{pair}'.")
        named[key.strip()] = value.strip()
    return named
