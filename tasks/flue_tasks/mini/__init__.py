"""Four small generated French tasks of our own: shaped like FLUE's, never comparable with them.

Hashes of a row's sentences, or of their parts, determine its split, so that no two splits can share a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from flue_bench.errors import DataError
from flue_bench.task import Example, Split, Task
from flue_tasks.mini.entities import tagged
from flue_tasks.mini.inference import inference
from flue_tasks.mini.names import belongs, group_of
from flue_tasks.mini.paraphrases import pair
from flue_tasks.mini.reviews import review

_TEXTS: dict[str, tuple[int, Callable[[Random, int, str], tuple[tuple[str, ...], str, str | None]]]] = {
    "mini-cls": (2, review),
    "mini-pawsx": (2, pair),
    "mini-xnli": (3, inference),
}


def read(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Generate a split with as many rows as the task declares: the reader ``mini``.

    The rows are the same on every machine; nothing is read from ``folder``.

    Raises:
        DataError: the task is not one of the four that this reader writes.
    """
    if task.name != "mini-ner" and task.name not in _TEXTS:
        raise DataError(f"The reader 'mini' writes {', '.join(_TEXTS)} and mini-ner, not '{task.name}'.")
    rng, groups = Random(f"{task.name} {split}"), set[str]()
    keys: tuple[str, ...]
    while (row := len(groups)) < task.rows[split][0]:
        if task.name == "mini-ner":
            words, tags = tagged(rng, row, split)
            keys, example = (" ".join(words),), Example("", "", words=words, tags=tags)
        else:
            labels, write = _TEXTS[task.name]
            keys, text, text_pair = write(rng, row % labels, split)
            example = Example("", "", text=text, text_pair=text_pair, label=row % labels)
        group = group_of(keys[0])
        if group not in groups and all(belongs(key, split) for key in keys):
            groups.add(group)
            yield replace(example, id=f"{split}-{row}", group=group)
