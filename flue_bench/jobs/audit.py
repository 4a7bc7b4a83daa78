"""What to know about a data set before trusting its scores: what its splits share, its labels, its lengths.

Texts, in Unicode's NFC as they are read, are compared in three degrees:

- *exact*: the same characters;
- *same words*: the same words in lower case; punctuation and white space do not count;
- *near*: not the same words, but the sets of their character 5-grams, of words in lower case joined by blanks, have a
  Jaccard index of 0.8 or more: in a sentence of 100 characters about one short word may differ.

Near texts are found exactly (``near.py``). Validation and test are indexed, and train is streamed past them: time is
nearly linear, and only the texts of train are kept.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from flue_bench import escape
from flue_bench.data.sources import TaskData
from flue_bench.jobs.near import near
from flue_bench.kinds.kind import Kind, Texts, kind_named
from flue_bench.progress import Display
from flue_bench.task import SPLITS, Example, Split, Task

SHOWN = 5
"""Examples shown of each finding."""

ACROSS: tuple[tuple[Split, Split], ...] = (("validation", "train"), ("test", "train"), ("test", "validation"))
EITHER = "test in train or validation"

Rows = Mapping[Split, Sequence[Texts]]
Matches = dict[int, str]
"""Number of a row → id of the row that it matches."""


class Table(NamedTuple):
    """A table to draw on a terminal or in Markdown."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Matched:
    """The rows of one finding."""

    rows: int
    examples: tuple[tuple[str, str], ...]
    """Some of them: id, and id of the row that it matches."""


@dataclass(frozen=True)
class Spread:
    """The distribution of lengths over the rows of one split."""

    mean: float
    median: float
    p95: float
    longest: int


@dataclass(frozen=True)
class Subwords:
    """The inputs of one model, special tokens included."""

    tokenizer: str
    max_length: int
    lengths: dict[Split, Spread]
    """Lengths before truncation."""
    truncated: dict[Split, int]
    """Rows longer than ``max_length``."""
    lost_words: dict[Split, int]
    """For kind ``tokens`` only: words of these rows that lose their tag."""


@dataclass(frozen=True)
class Audit:
    """The audit of a data set: counts and ids, never a text.

    A place is a split (``train``: in an earlier row of train) or ``test in train`` (in any row of train).
    """

    task: str
    version: int
    source: str
    data: str
    """Digest of the examples."""
    rows: dict[Split, int]
    labels: dict[Split, dict[str, int]]
    """The distribution of the right answers: rows of each label; for tokens, words of each tag."""
    words: dict[Split, Spread]
    """Words per row, both texts of a pair together."""
    exact: dict[str, dict[str, Matched]]
    """View → place → rows that also occur there."""
    same_words: dict[str, dict[str, Matched]]
    """Likewise, exact ones included."""
    near: dict[str, dict[str, Matched]]
    """View → place, between splits only → rows with a near text there, and none in the same words."""
    contradictory: dict[str, Matched]
    """Place → rows whose whole input occurs there, in the same words and any row, with another label."""
    subwords: Subwords | None = None


def audit(task: Task, data: TaskData, display: Display) -> Audit:
    """Return everything that needs no tokenizer.

    Views of a pair are its first text, its second, the pair (in either order), and either text: a row of which any
    sentence occurs there, first or second.

    Args:
        task: names the labels.
        data: the loaded data, all rows.
        display: shows progress.
    """
    splits, kind = data.splits, kind_named(task.kind)
    raw = {split: [kind.texts(example) for example in splits[split]] for split in SPLITS}
    plain = {split: [tuple(map(_in_words, texts)) for texts in raw[split]] for split in SPLITS}
    exact: dict[str, dict[str, Matched]] = {}
    same_words: dict[str, dict[str, Matched]] = {}
    near: dict[str, dict[str, Matched]] = {}
    for view, view_of in kind.views.items():
        same = _same(_viewed(plain, view_of), splits)
        nearly = _nearly(_viewed(plain, view_of), same, splits, f"{task.name}: comparing each {view}", display)
        for by_view, matches in (
            (exact, _same(_viewed(raw, view_of), splits)),
            (same_words, same),
            (near, nearly),
        ):
            by_view[view] = {place: _matched(those, splits, place) for place, those in matches.items()}
    return Audit(
        task=task.name,
        version=task.version,
        source=data.ref.source,
        data=data.ref.digest,
        rows={split: len(splits[split]) for split in SPLITS},
        labels={split: kind.balance(splits[split], task) for split in SPLITS},
        words={split: _spread(list(map(kind.length, splits[split], plain[split]))) for split in SPLITS},
        exact=exact,
        same_words=same_words,
        near=near,
        contradictory=_contradictory(kind, splits, plain),
    )


def subwords(task: Task, data: TaskData, model: str, max_length: int, offline: bool = False) -> Subwords:
    """Return the lengths of the rows in a model's sub-words, and what ``max_length`` cuts off.

    Args:
        task: determines whether rows are texts, pairs or words.
        data: the loaded data, all rows.
        model: the model whose tokenizer is used: hub id, folder, or ``embedded:NAME``.
        max_length: sub-words, special tokens included.
        offline: use only what is on this machine.

    Raises:
        FlueBenchError: the model or its tokenizer cannot be loaded.
    """
    from flue_bench.kinds.network.network import network_of
    from flue_bench.training import models

    encode = network_of(task).encode
    tokenizer = models.load_tokenizer(models.resolve(model, offline))
    lengths: dict[Split, Spread] = {}
    truncated: dict[Split, int] = {}
    lost: dict[Split, int] = {}
    for split, examples in data.splits.items():
        whole = encode(examples, task, tokenizer, max_length=1 << 30).lengths  # (rows,)
        long = np.flatnonzero(whole > max_length)
        cut = encode([examples[i] for i in long], task, tokenizer, max_length)
        lengths[split], truncated[split] = _spread(whole), cut.truncated
        if cut.lost_words is not None:
            lost[split] = cut.lost_words
    return Subwords(model, max_length, lengths, truncated, lost)


def to_json(audit: Audit) -> str:
    """Return the whole audit as JSON, with the ids of some rows for each finding."""
    return escape.json(asdict(audit), indent=1)


def tables(audit: Audit) -> list[Table]:
    """Return the tables to show: each split by itself, then what occurs where."""
    of_splits = Table(
        "Splits",
        ["split", "rows", "labels", "words: median, 95 %, longest"],
        [
            [split, f"{rows:,}", _shares(audit.labels[split]), _shown(audit.words[split])]
            for split, rows in audit.rows.items()
        ],
    )
    if audit.subwords:
        cut = audit.subwords
        of_splits.columns.extend(["sub-words", f"cut at {cut.max_length}"])
        for line, split in zip(of_splits.rows, audit.rows, strict=True):
            lost = f" ({cut.lost_words[split]:,} words)" if cut.lost_words else ""
            line += [_shown(cut.lengths[split]), f"{cut.truncated[split]:,}{lost}"]
    places = list(next(iter(audit.exact.values())))
    shared = Table("Rows that also occur there: exact / in the same words / near", ["", *places], [])
    for view in audit.exact:
        degrees = (audit.exact[view], audit.same_words[view], audit.near[view])
        shared.rows.append(
            [view, *(" / ".join(f"{by[place].rows:,}" for by in degrees if place in by) for place in places)]
        )
    against = [f"{audit.contradictory[place].rows:,}" if place in audit.contradictory else "" for place in places]
    shared.rows.append(["same input, other label", *against])
    return [of_splits, shared]


def _in_words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower())) or text.strip()


def _viewed(rows: Rows, view_of: Callable[[Texts], Texts]) -> Rows:
    return {split: [view_of(texts) for texts in rows[split]] for split in SPLITS}


def _ids(rows: Sequence[Texts], examples: Sequence[Example]) -> dict[str, str]:
    """Return text → id of the first row that has it."""
    first: dict[str, str] = {}
    for texts, example in zip(rows, examples, strict=True):
        for text in texts:
            first.setdefault(text, example.id)
    return first


def _same(rows: Rows, splits: Mapping[Split, Sequence[Example]]) -> dict[str, Matches]:
    """Return place → rows of which a text occurs there."""
    matches: dict[str, Matches] = {}
    for split in SPLITS:
        earlier: dict[str, str] = {}
        matches[split] = {}
        for row, (texts, example) in enumerate(zip(rows[split], splits[split], strict=True)):
            if at := next((earlier[text] for text in texts if text in earlier), None):
                matches[split][row] = at
            for text in texts:
                earlier.setdefault(text, example.id)
    for one, other in ACROSS:
        there = _ids(rows[other], splits[other])
        matches[f"{one} in {other}"] = {
            row: at
            for row, texts in enumerate(rows[one])
            if (at := next((there[text] for text in texts if text in there), None))
        }
    matches[EITHER] = matches["test in validation"] | matches["test in train"]
    return matches


def _nearly(
    rows: Rows, same: Mapping[str, Matches], splits: Mapping[Split, Sequence[Example]], title: str, display: Display
) -> dict[str, Matches]:
    """Return place, between splits → rows of which no text occurs there, but a near one does."""
    matches: dict[str, Matches] = {}
    for other in dict.fromkeys(other for _, other in ACROSS):
        there = _ids(rows[other], splits[other])
        unlike = {
            one: [(row, texts) for row, texts in enumerate(rows[one]) if row not in same[f"{one} in {other}"]]
            for one, elsewhere in ACROSS
            if elsewhere == other
        }
        wanted = dict.fromkeys(text for left in unlike.values() for _, texts in left for text in texts)
        with display.bar(f"{title} with {other}, for near duplicates") as bar:
            partner = near(list(wanted), there, bar)
        for one, left in unlike.items():
            matches[f"{one} in {other}"] = {
                row: there[partner[text]] for row, texts in left for text in texts if text in partner
            }
    both = matches["test in validation"] | matches["test in train"]
    matches[EITHER] = {row: at for row, at in both.items() if row not in same[EITHER]}
    return matches


def _contradictory(kind: Kind[Any], splits: Mapping[Split, Sequence[Example]], rows: Rows) -> dict[str, Matched]:
    inputs = {split: list(map(kind.same_input, splits[split], rows[split])) for split in SPLITS}
    labels = {split: list(map(kind.gold, splits[split])) for split in SPLITS}
    seen: dict[Split, dict[Hashable, dict[object, str]]] = {split: defaultdict(dict) for split in SPLITS}
    for split in SPLITS:
        for given, label, example in zip(inputs[split], labels[split], splits[split], strict=True):
            seen[split][given].setdefault(label, example.id)
    within: tuple[tuple[Split, Split], ...] = tuple((split, split) for split in SPLITS)
    by_place = {}
    for one, other in (*within, *ACROSS):
        place = one if one == other else f"{one} in {other}"
        matches = {
            row: at
            for row, (given, ours) in enumerate(zip(inputs[one], labels[one], strict=True))
            for label, at in seen[other].get(given, {}).items()
            if label != ours
        }
        by_place[place] = _matched(matches, splits, place)
    return by_place


def _matched(matches: Matches, splits: Mapping[Split, Sequence[Example]], place: str) -> Matched:
    split = next(split for split in SPLITS if place.split()[0] == split)
    return Matched(len(matches), tuple((splits[split][row].id, matches[row]) for row in sorted(matches)[:SHOWN]))


def _spread(lengths: ArrayLike) -> Spread:
    sizes = np.asarray(lengths, np.int64)
    return Spread(
        mean=round(float(sizes.mean()), 2),
        median=float(np.median(sizes)),
        p95=round(float(np.percentile(sizes, 95)), 1),
        longest=int(sizes.max()),
    )


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values()) or 1
    return ", ".join(f"{name} {count / total:.1%}" for name, count in counts.items())


def _shown(spread: Spread) -> str:
    return f"{spread.median:g}, {spread.p95:g}, {spread.longest:,}"
