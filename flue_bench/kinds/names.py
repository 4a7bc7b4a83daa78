"""Names of labels: which of two lists mean the same.

A fine-tuned head is in the order of its own ``id2label``, under names of its own. Its rows are never taken by position:
they are matched to the labels of a task by name, and a head whose names are not those of the task is left behind.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from flue_bench.errors import short

SYNONYMS = (
    ("positive", "positif", "positives", "positifs", "pos"),
    ("negative", "negatif", "negatives", "negatifs", "neg"),
    ("neutral", "neutre", "neu"),
    ("entailment", "entailed", "entails", "entail", "implication", "implique"),
    ("contradiction", "contradictory", "contradicts", "contradict", "contradictoire", "contredit"),
    ("paraphrase", "paraphrases", "duplicate", "duplicates", "duplique", "equivalent", "is duplicate"),
    (
        "different", "not paraphrase", "no paraphrase", "non paraphrase", "not duplicate", "non duplicate",
        "not equivalent", "non equivalent",
    ),
    ("yes", "oui", "true", "vrai"),
    ("no", "non", "false", "faux"),
    ("per", "pers", "person", "persons", "personne", "personnes"),
    ("loc", "location", "locations", "lieu", "lieux"),
    ("org", "organization", "organizations", "organisation", "organisations"),
    ("misc", "miscellaneous", "divers"),
    ("o", "outside"),
)  # fmt: skip
"""Names with the same meaning, as ``folded`` writes them."""

_FIRST = {name: names[0] for names in SYNONYMS for name in names}
_GENERIC = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
_PREFIX = re.compile(r"([BIESLU])[-_](.+)", re.DOTALL)


class UnmatchedError(ValueError):
    """Raised where labels of a head and of a task do not mean the same."""

    def __init__(self, reason: str, advice: Mapping[str, str]) -> None:
        """``advice`` is what to give: label of the head → label of the task, empty where only the caller knows it."""
        super().__init__(reason)
        self.advice = dict(advice)


def generic(names: Iterable[str]) -> bool:
    """Return whether these are transformers' default names for labels (``LABEL_0`` …)."""
    return all(_GENERIC.fullmatch(name) for name in names)


def matched(theirs: Sequence[str], ours: Sequence[str]) -> tuple[int, ...] | None:
    """Return, for each of our labels, the index of theirs; None unless they match one to one.

    Names are compared as they are, then without case, accents and punctuation, then by meaning (``SYNONYMS``); tags
    last without the prefixes of their schemes, if each class has one tag on either side.

    Args:
        theirs: labels of a checkpoint's head, in the order of its rows.
        ours: labels of the task.
    """
    if len(theirs) != len(ours) or generic(theirs):
        return None
    for name in (_composed, folded, _meant, _class):
        known = {name(label): row for row, label in enumerate(theirs)}
        wanted = [name(label) for label in ours]
        if len(known) == len(theirs) and len({*wanted}) == len(wanted) and known.keys() == {*wanted}:
            return tuple(known[label] for label in wanted)
    return None


def counterparts(theirs: Sequence[str], ours: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return which of our labels each of theirs means.

    Names are compared one by one as ``matched`` compares them, apart from prefixes. Ratings in stars mean the labels of
    a task where the number of stars leaves no doubt: a scale without a middle is half negative and half positive.

    Args:
        theirs: labels of a checkpoint's head.
        ours: labels of the task.
        given: what the caller says that some of theirs mean.

    Raises:
        UnmatchedError: one of theirs means none of ours, or two mean the same, or, unless something is given, one of
            ours is meant by none.
        ValueError: something is given of a label that does not exist.
    """
    said = {_known(one, theirs, "head"): _known(other, ours, "task") for one, other in given.items()}
    left = [label for label in theirs if label not in said]
    if left and generic(left):
        raise UnmatchedError(f"{_quoted(left)} are no names: they may stand for anything", dict.fromkeys(left, ""))
    rated = _rated(theirs, ours)
    found = said | {label: rated[label] for label in left if label in rated}
    meant = {} if rated else _meanings(left, ours)
    for label, ours_ in meant.items():
        if (same := next((other for other in found if found[other] == ours_ and other in meant), None)) is not None:
            raise UnmatchedError(f"'{same}' and '{label}' both mean '{ours_}'", {same: "", label: ""})
        found[label] = ours_
    if unknown := [label for label in theirs if label not in found]:
        raise UnmatchedError(f"the task has no label that means {_quoted(unknown)}", dict.fromkeys(unknown, ""))
    if not given and (missed := [label for label in ours if label not in found.values()]):
        raise UnmatchedError(f"the head has no label that means {_quoted(missed)}, which it never predicts", found)
    return {label: found[label] for label in theirs}


def as_pair(theirs: str, ours: str) -> str:
    """Return ``theirs=ours`` as ``pairs`` reads it, names in double quotes where they would be misread."""
    return f"{_as_written(theirs)}={_as_written(ours)}"


def pairs(option: str) -> list[tuple[str, str]]:
    """Read ``a=b,c=d``: what labels of a head mean.

    A name in double quotes may hold ``=``, ``,`` and, doubled, ``"``. A pair by itself may hold commas without quotes.

    Raises:
        ValueError: something else is written there.
    """
    names: list[str] = []

    def aside(match: re.Match[str]) -> str:
        names.append(match[1].replace('""', '"'))
        return f"\0{len(names) - 1}\0"

    bare = _QUOTED.sub(aside, option)
    parts_ = bare.split(",")
    if not names and not all("=" in part for part in parts_):
        parts_ = [bare]
    found = []
    for part in parts_:
        theirs, ours = (side.strip() for side in (part.split("=") if part.count("=") == 1 else ("", "")))
        if not theirs or not ours or '"' in (theirs[0], ours[0]):
            raise ValueError("a pair is THEIRS=OURS, and a name that holds = or , stands in double quotes")
        found.append((_aside(theirs, names), _aside(ours, names)))
    return found


_QUOTED = re.compile(r'(?:^|(?<=[,=]))\s*"((?:[^"]|"")*)"\s*(?=[,=]|$)')


def _aside(name: str, names: Sequence[str]) -> str:
    return names[int(name[1:-1])] if name[0] == "\0" else name


def _as_written(name: str) -> str:
    doubtful = re.search("[=,]", name) or name != name.strip() or name[:1] in ("", '"')
    return '"{}"'.format(name.replace('"', '""')) if doubtful else name


def _known(name: str, labels: Sequence[str], whose: str) -> str:
    if name in labels:
        return name
    for written in (_composed, folded, _meant):
        if len(same := [label for label in labels if written(name) and written(label) == written(name)]) == 1:
            return same[0]
    raise ValueError(f"'{name}' is no label of the {whose}")


def _meanings(theirs: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """Return which of ours each of theirs means, where exactly one does."""
    found: dict[str, str] = {}
    for name in (_composed, folded, _meant):
        for label in theirs:
            same = [other for other in ours if name(label) and name(other) == name(label)]
            if label not in found and len(same) == 1:
                found[label] = same[0]
    return found


_RATING = re.compile("([1-9][0-9]?) (?:star|stars|etoile|etoiles)")


def _rated(theirs: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """Return what ratings in stars, from 1 up without a gap, mean without doubt; empty for other labels."""

    def stars(labels: Sequence[str], pattern: re.Pattern[str]) -> dict[int, str]:
        found = [pattern.fullmatch(folded(label)) for label in labels]
        numbers = {int(match[1]): label for match, label in zip(found, labels, strict=True) if match}
        return numbers if sorted(numbers) == [*range(1, len(labels) + 1)] and labels else {}

    rating = stars(theirs, _RATING)
    if not rating:
        return {}
    ratings = stars(ours, _RATING) or stars(ours, re.compile("([1-9][0-9]?)"))
    if ratings.keys() == rating.keys():
        return {label: ratings[number] for number, label in rating.items()}
    means = {_meant(label): label for label in ours}
    if means.keys() not in ({"negative", "positive"}, {"negative", "neutral", "positive"}):
        return {}
    middle = (len(rating) + 1) / 2
    sides = {label: (number > middle) - (number < middle) for number, label in rating.items()}
    sense = {-1: "negative", 0: "neutral", 1: "positive"}
    return {label: means[sense[side]] for label, side in sides.items() if sense[side] in means}


def _quoted(labels: Sequence[str]) -> str:
    shown = ", ".join(f"'{short(label, 40)}'" for label in labels[:6])
    return shown + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")


def _composed(label: str) -> str:
    return unicodedata.normalize("NFC", label)


def folded(label: str) -> str:
    """``Négatif`` → ``negatif``, ``not_duplicate`` → ``not duplicate``; a tag keeps its prefix."""
    prefix, name = parts(label)
    letters = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return prefix + " ".join(re.findall(r"[^\W_]+", letters))


def _meant(label: str) -> str:
    prefix, name = parts(label)
    plain = folded(name)
    return f"{prefix}{_FIRST.get(plain, plain)}"


def _class(label: str) -> str:
    return _meant(parts(label)[1])


def parts(label: str) -> tuple[str, str]:
    """Split a tag into prefix and class: ``B-PER`` → ``B-``, ``PER``."""
    match = _PREFIX.fullmatch(label)
    return (f"{match[1]}-", match[2]) if match else ("", label)
