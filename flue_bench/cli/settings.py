"""The option ``--set KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flue_bench.errors import UsageError, quoted


def settings(pairs: Iterable[str], options: Mapping[str, object]) -> dict[str, str]:
    """Return ``key=value`` options as a dictionary.

    Args:
        pairs: ``key=value``, each key once.
        options: options of the command that set a field of the recipe too: field → value, None where it is not given.

    Raises:
        UsageError: a pair without a key or an equals sign, or a key that is given twice.
    """
    named: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise UsageError(f"--set needs KEY=VALUE, not {quoted(pair)}.")
        if key in named:
            raise UsageError(f"--set {key} is given twice, as {quoted(named[key])} and {quoted(value)}: leave one out.")
        if options.get(key) is not None:
            raise UsageError(f"--{key} and --set {key} are both given: leave one out.")
        named[key] = value
    return named
