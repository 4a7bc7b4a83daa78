"""Names of models: what kind of name it is, and whether there can be such a model. PyTorch is not needed for that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from flue_bench import files
from flue_bench.errors import ModelNotFoundError, UnknownNameError, quoted
from flue_bench.task import REPOSITORY, REVISION

EMBEDDED = Path(__file__).parents[1] / "embedded"


class Named(NamedTuple):
    """What a name of a model says."""

    origin: Literal["hub", "directory", "embedded"]
    shown: str
    """The name that is shown and recorded: never a path."""
    folder: Path | None
    """None for a model of the hub."""
    revision: str | None
    """The one that was asked for, of a model of the hub."""


def read(name: str) -> Named:
    """Tell ``embedded:NAME``, a folder, and a hub id with an optional ``@revision`` apart; no network is used.

    Raises:
        ModelNotFoundError: it is none of these.
        UnknownNameError: no such embedded model.
    """
    if name.lower().startswith("embedded:"):
        folder = EMBEDDED / name[len("embedded:") :]
        if not re.fullmatch(r"embedded:[\w-]+", name) or not (folder / "config.json").is_file():
            known = (f"embedded:{path.parent.name}" for path in EMBEDDED.glob("*/config.json"))
            raise UnknownNameError("embedded model", name, known)
        return Named("embedded", name, folder, None)
    if name and files.at_home(name).is_dir():
        folder = files.at_home(name).resolve()
        return Named("directory", files.as_text(folder.name), folder, None)
    if re.fullmatch(rf"{REPOSITORY}(@{REVISION})?", name):
        shown, _, revision = name.partition("@")
        return Named("hub", shown, None, revision or None)
    page = re.match(rf"(?:hub:|(?:https?://)?(?:huggingface|hf)\.co/)({REPOSITORY})", name)
    advice = f" Give the id alone: {page[1]}." if page else ""
    raise ModelNotFoundError(
        f"Model {quoted(name)} is neither a folder here nor a hub id (org/name[@revision]).{advice}"
    )


def check(names: Iterable[str]) -> None:
    """Refuse a name before PyTorch is loaded, which takes seconds: what is misspelt is told at once.

    Raises:
        ModelNotFoundError, UnknownNameError: as for ``read``.
    """
    for name in names:
        read(name)
