"""Four small French tasks of our own, generated on the fly: shaped like FLUE's, never comparable with them.

Which split a row belongs to is decided by a hash of what its text is made of, so that no two splits can share one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from flue_bench.errors import DataError
from flue_bench.record import digest_of
from flue_bench.task import Example, Split, Task
from flue_tasks.mini.entities import tagged
from flue_tasks.mini.inference import inference
from flue_tasks.mini.paraphrases import pair
from flue_tasks.mini.reviews import review

ROWS: dict[Split, int] = {"train": 1020, "validation": 204, "test": 408}

_TEXTS: dict[str, tuple[int, Callable[[Random, int, str], tuple[str, str, str | None]]]] = {
    "mini-cls": (2, review),
    "mini-pawsx": (2, pair),
    "mini-xnli": (3, inference),
}
_SIXTEENTHS: dict[Split, str] = {"train": "0123456789", "validation": "ab", "test": "cdef"}


def read(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Generates a split: the reader ``mini``. The same rows on every machine; nothing is read from ``folder``.

    Raises:
        DataError: the task is not one of the four that this reader writes.
    """
    if task.name != "mini-ner" and task.name not in _TEXTS:
        raise DataError(f"The reader 'mini' writes {', '.join(_TEXTS)} and mini-ner, not '{task.name}'.")
    rng, groups = Random(f"{task.name} {split}"), set[str]()
    while (row := len(groups)) < ROWS[split]:
        if task.name == "mini-ner":
            words, tags = tagged(rng, row, split)
            key, example = " ".join(words), Example("", "", words=words, tags=tags)
        else:
            labels, write = _TEXTS[task.name]
            key, text, text_pair = write(rng, row % labels, split)
            example = Example("", "", text=text, text_pair=text_pair, label=row % labels)
        group = digest_of(re.sub(r"\W+", " ", key.lower()))
        if group[0] in _SIXTEENTHS[split] and group not in groups:
            groups.add(group)
            yield example._replace(id=f"{split}-{row}", group=group)
