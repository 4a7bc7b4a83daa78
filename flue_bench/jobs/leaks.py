"""Whether a model may have been trained on what it is scored on: what its card says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from flue_bench import files
from flue_bench.errors import short
from flue_bench.progress import quiet
from flue_bench.task import Task
from flue_bench.training.folder import root_of
from flue_bench.training.models import CARD

_METADATA = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---", re.DOTALL)
TAG = "dataset:"
"""How the hub writes a data set among a model's tags."""
LONGEST = 100_000
"""Characters of a card's metadata that are read: they are a stranger's, and YAML takes long over much."""


def leaks(folder: Path, task: Task) -> tuple[str, ...]:
    """Return why a model may have been trained on what a task scores, in words; none if its card names no such data.

    A card says which data sets a model was trained on (``datasets``, or a tag of that name), not which splits: it is
    for its reader to find out whether the test rows were left out.

    Args:
        folder: the model's files.
        task: gives the data sets that its sources come from.
    """
    ours = {_plain(name): name for name in _names(task)}
    named = [name for name in _datasets(folder) if _plain(name) in ours]
    return tuple(
        f"the model's card names {short(name, 100)} as training data, which holds the rows that are scored; "
        "whether these were left out it does not say there"
        for name in dict.fromkeys(named)
    )


def _names(task: Task) -> Iterator[str]:
    """Yield the names under which a card may give the data of a task."""
    yield task.name
    yield from (source.hub for source in task.source if source.hub)
    yield from (group for group in task.groups if group == "flue")  # a data set on the hub, of all its tasks


def _plain(name: str) -> str:
    """``facebook/XNLI`` → ``xnli``: a data set has been under several owners, and is written in several ways."""
    return re.sub(r"[-_. ]+", "", name.rpartition("/")[2].casefold())


def _datasets(folder: Path) -> list[str]:
    """Return the data sets that the card in a folder names; none where there is no card that can be read."""
    from huggingface_hub import ModelCard

    about: dict[str, Any] = {}
    with suppress(Exception), quiet("huggingface_hub"):  # whatever the files of a stranger cause
        found = _METADATA.match(files.read(folder / CARD, root=root_of(folder)).decode("utf-8-sig"))
        if found and len(found[1]) <= LONGEST:
            card: Any = ModelCard(f"---\n{found[1]}\n---\n", ignore_metadata_errors=True)
            about = card.data.to_dict()
    tagged = [tag.removeprefix(TAG) for tag in _texts(about.get("tags")) if tag.startswith(TAG)]
    return [*_texts(about.get("datasets")), *tagged]


def _texts(given: Any) -> list[str]:
    """Return the texts of a field that holds one or a list."""
    several = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [text for text in several[:1000] if isinstance(text, str)]
