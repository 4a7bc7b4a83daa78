"""The files that make up a model, and its identity: the hash of their content, on the hub or in any folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from glob import escape, glob
from itertools import combinations
from pathlib import Path

from flue_bench.errors import UsageError, quoted
from flue_bench.files import sha256
from flue_bench.record import digest_of

CONFIG = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
MOST_TOKENIZER_FILES = 20
"""Files that a tokenizer may have, for ``added`` to look which of them came later: it tries up to 1,351 sets."""
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
BIN = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that match one of the glob patterns, sorted."""
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def by_number(name: str) -> list[tuple[int, str]]:
    """Return the sort key of natural order: ``checkpoint-900`` before ``checkpoint-1000``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def named(models: Iterable[str]) -> list[str]:
    """Return models' names, each once, with those that are patterns of folders (``OUT/checkpoint-*``) spelt out.

    A folder that has exactly this name is meant by it. Any other name that holds ``*``, ``?`` or ``[…]`` is a
    pattern, in which the folders that exist under their exact names stand for themselves.

    Raises:
        UsageError: no folder fits a pattern.
    """
    names: dict[str, None] = {}
    for name in models:
        path = os.path.expanduser(name)
        if not _PATTERN.search(name) or os.path.isdir(path):
            names[name] = None
            continue
        ends = [match.start() for match in re.finditer("/", path)]
        there = max((end for end in ends if os.path.isdir(path[:end])), default=0)
        found = sorted(filter(os.path.isdir, glob(escape(path[:there]) + path[there:])), key=by_number)
        if not found:
            raise UsageError(
                f"{quoted(name)}: no folder here fits this pattern, and none has it for a name. "
                "Give the path of one from here, or from /."
            )
        names |= dict.fromkeys(found)
    return list(names)


_PATTERN = re.compile(r"[*?]|\[!?[^/][^/]*\]")
"""What makes a name a pattern; a bracket that is never closed is a character as any other."""


def hashes(folder: Path, weights: Sequence[str], tokenizer: Sequence[str], root: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file of a model, by name.

    Args:
        folder: the model's folder.
        weights: names of the files of weights, by which all of one form are hashed.
        tokenizer: names of the tokenizer's files.
        root: as for ``files.opened``.

    Raises:
        OSError: as for ``files.opened``.
    """
    return {name: sha256(folder / name, root) for name in (CONFIG, *weights, *tokenizer)}


def digest(folder: Path) -> str:
    """Return the digest of the model in a folder that flue-bench wrote, which is what ``ModelRef.digest`` is.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    return digest_of(_hashes_in(folder))


def added(folder: Path, kept: str) -> tuple[str, ...] | None:
    """Return the files without which the model in a folder has this digest; None if it has not, whatever is left out.

    At most three of a tokenizer's are left out: a tool that saves one again adds a few. Where there are more of them
    than any tokenizer has, none is.

    Raises:
        OSError: as for ``digest``.
    """
    there = _hashes_in(folder)
    of_tokenizer = matching(list(there), TOKENIZER_FILES)
    for number in range(4 if len(of_tokenizer) <= MOST_TOKENIZER_FILES else 1):
        for names in combinations(of_tokenizer, number):
            if digest_of({name: value for name, value in there.items() if name not in names}) == kept:
                return names
    return None


def _hashes_in(folder: Path) -> dict[str, str]:
    present = [path.name for path in folder.iterdir() if path.is_file()]
    weights = matching(present, SAFETENSORS) or matching(present, BIN)
    return hashes(folder, weights, matching(present, TOKENIZER_FILES), folder)
