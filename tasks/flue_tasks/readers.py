"""Readers of two upstream formats that are neither tables nor CoNLL columns: entry points of ``flue_bench.readers``."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from flue_bench.errors import DataError
from flue_bench.lines import LONGEST, lines
from flue_bench.task import Example, Split, Task

_RATING = re.compile(r"<rating>\s*([\d.]+)\s*</rating>")
_TEXT = re.compile(r"<text>(.*?)(?:</text>|<title>|<summary>)", re.DOTALL)


def webis_cls(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Yield the reviews of the Webis-CLS-10 corpus, as in ``cls-acl10-unprocessed``: XML, one ``<item>`` per review.

    The files are not always well-formed, so items are cut out one by one and no XML parser is used; a text whose end
    tag is missing ends where the title begins. More than three stars are positive (three stars were left out upstream).
    All white space becomes one blank (FLUE's own script deletes line breaks and tabs, and words run together).

    Raises:
        DataError: an item has no rating or text, or a file breaks off or is not UTF-8.
    """
    for path in _files(folder, split, task, "webis-cls"):
        for number, item in enumerate(_items(path), start=1):
            rating, text = _RATING.search(item), _TEXT.search(item)
            if rating is None or text is None:
                raise DataError(f"{path}: item {number} has no {'text' if rating else 'rating'}.")
            words = html.unescape(text[1]).split()
            yield Example("", "", " ".join(words), label=int(float(rating[1]) > 3))


def wikiner_upstream(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Yield the sentences of WikiNER as published: one per line, tokens ``word|POS|TAG`` separated by blanks.

    Tags are IOB1 there; here they become bare IO, as in the copy on the hub.

    Raises:
        DataError: a token lacks one of its three parts, a tag is unknown, or a file is not UTF-8.
    """
    for path in _files(folder, split, task, "wikiner-upstream"):
        for number, line in lines(path):
            words, tags = [], []
            for token in line.split():
                try:
                    word, _, tag = token.rsplit("|", 2)
                    tags.append(task.labels.index(re.sub("^[BI]-", "", tag)))
                except ValueError:
                    raise DataError(f"{path}, line {number}: '{token}' is not word|POS|TAG with a known tag.") from None
                words.append(word)
            if words:
                yield Example("", "", words=tuple(words), tags=tuple(tags))


def _files(folder: Path, split: Split, task: Task, reader: str) -> Iterator[Path]:
    """Yield the files that the task names for this split, if any, sorted by name."""
    source = next(source for source in task.source if source.reader == reader)
    if split in source.files:
        yield from sorted(folder.glob(source.files[split].path))


def _items(path: Path) -> Iterator[str]:
    rest: list[str] = []
    size = 0
    for number, line in lines(path):
        *ended, after = line.split("</item>")
        for part in ended:
            yield "".join((*rest, part))
            rest, size = [], 0
        rest.append(after)
        size += len(after)
        if size > LONGEST:
            raise DataError(f"{path}, line {number}: an item of more than {LONGEST:,} characters.")
    if any("<item>" in part for part in rest):
        raise DataError(f"{path} breaks off in the middle of an item.")
