"""Readers of upstream formats that are neither tables nor CoNLL columns: entry points of ``flue_bench.readers``."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flue_bench import files, parquet_files
from flue_bench.errors import DataError, quoted
from flue_bench.lines import LONGEST, PACKED, lines
from flue_bench.task import Example, Split, Task

LARGEST = 2**28
"""Bytes of a file that is read as a whole."""
_RATING = re.compile(r"<rating>\s*([\d.]+)\s*</rating>")
_TEXT = re.compile(r"<text>(.*?)(?:</text>|<title>|<summary>)", re.DOTALL)
_SLOT = re.compile(r"\[\s*(\w+)\s*:\s*([^\[\]]*)\]")
_PARTITIONS = {"train": "train", "validation": "dev", "test": "test"}


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


def massive_slots(folder: Path, split: Split, task: Task) -> Iterator[Example]:
    """Yield the requests of one language of MASSIVE: words, and the slot of each or O.

    ``annot_utt`` marks slots as ``[time : cinq heures] demain``. Words are what white space parts once the marks are
    gone, and a word is in a slot if it begins there. The lines of the archive hold all splits, told apart by
    ``partition``; the hub's parquet copy has the same columns.

    Raises:
        DataError: a row lacks a column, a bracket is no mark of a slot, or a slot is not among the task's labels.
    """
    for path in _files(folder, split, task, "massive-slots"):
        for place, row in _rows(path, ("id", "partition", "annot_utt")):
            if row["partition"] != _PARTITIONS[split]:
                continue
            text, slots = _slots(str(row["annot_utt"]))
            if "[" in text or "]" in text:
                raise DataError(f"{path}, {place}: a bracket of its annot_utt is no mark of a slot, [name : words].")
            if unknown := sorted({name for _, _, name in slots} - {*task.labels}):
                raise DataError(f"{path}, {place}: '{unknown[0]}' is not a slot of task '{task.name}'.")
            words = list(re.finditer(r"\S+", text))
            names = [next((n for begin, end, n in slots if begin <= word.start() < end), "O") for word in words]
            tags = tuple(task.labels.index(name) for name in names)
            yield Example(str(row["id"]), "", words=tuple(word[0] for word in words), tags=tags)


def _slots(marked: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a text without the marks of its slots, and where each slot begins and ends in it, with its name."""
    parts: list[str] = []
    slots: list[tuple[int, int, str]] = []
    length = end = 0
    for mark in _SLOT.finditer(marked):
        before = marked[end : mark.start()]
        length += len(before)
        slots.append((length, length + len(mark[2]), mark[1]))
        length += len(mark[2])
        parts += [before, mark[2]]
        end = mark.end()
    return "".join((*parts, marked[end:])), slots


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and columns of each row of a file of JSON lines or of a parquet file."""
    if path.suffix != ".parquet":
        for number, line in lines(path):
            try:
                row = json.loads(line)
                yield f"line {number}", {column: row[column] for column in columns}
            except (ValueError, RecursionError, TypeError, KeyError):
                raise DataError(f"{path}, line {number}: no JSON object with {', '.join(columns)}.") from None
        return
    with parquet_files.opened(path) as file:
        if lacking := [column for column in columns if column not in file.schema_arrow.names]:
            raise DataError(f"{path} has no column {', '.join(lacking)}.")
        batches = parquet_files.batches(path, file, columns)
        for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
            yield f"row {number}", row


@dataclass(frozen=True, slots=True)
class Passage(Example):
    """A question on a context, and each right answer with the character at which it begins."""

    question: str = ""
    context: str = ""
    answers: tuple[tuple[str, int], ...] = ()


def squad(folder: Path, split: Split, task: Task) -> Iterator[Passage]:
    """Yield the questions of a file as SQuAD has them: JSON, articles of paragraphs of questions.

    A question with ``is_impossible`` has no answer (SQuAD 2).

    Raises:
        DataError: a file is not JSON, or lacks one of the keys; the message names the place in it.
    """
    for path in _files(folder, split, task, "squad"):
        if path.suffix.lower() in PACKED:
            raise DataError(f"{path} is packed: unpack it, since files of SQuAD are read whole.")
        try:
            whole = json.loads(files.read(path, LARGEST))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not JSON: {error}.") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None
        for where, article in _listed(path, "", whole, "data"):
            for place, paragraph in _listed(path, where, article, "paragraphs"):
                context = _under(path, place, paragraph, "context")
                for at, question in _listed(path, place, paragraph, "qas"):
                    given = [
                        (_under(path, there, answer, "text"), _under(path, there, answer, "answer_start"))
                        for there, answer in _listed(path, at, question, "answers")
                    ]
                    impossible = question.get("is_impossible")
                    if impossible not in (None, True, False):
                        raise DataError(f"{path}, {at}: is_impossible is true or false, not {quoted(impossible)}.")
                    if impossible is not None and impossible == bool(given):
                        both = "answers and" if given else "neither answers nor"
                        raise DataError(f"{path}, {at} has {both} is_impossible.")
                    asked = _under(path, at, question, "question")
                    yield Passage(
                        str(question.get("id") or ""), "", question=asked, context=context, answers=tuple(given)
                    )


def _listed(path: Path, where: str, above: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the items of a list in a JSON object, each with its place."""
    items = _under(path, where, above, key)
    if not isinstance(items, list):
        raise DataError(f"{path}, {where or 'the whole'}: '{key}' is no list.")
    prefix = f"{where}." if where else ""
    yield from ((f"{prefix}{key}[{number}]", item) for number, item in enumerate(items))


def _under(path: Path, where: str, above: Any, key: str) -> Any:
    if not isinstance(above, dict) or key not in above:
        raise DataError(f"{path}, {where or 'the whole'} has no '{key}': it is not in the form of SQuAD.")
    return above[key]


def _files(folder: Path, split: Split, task: Task, reader: str) -> Iterator[Path]:
    """Yield the files of this split, if any, sorted by name: of the first source with this reader that is there."""
    patterns = [each.files[split].path for each in task.source if each.reader == reader and split in each.files]
    yield from next(filter(None, (sorted(folder.glob(pattern)) for pattern in patterns)), [])


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
