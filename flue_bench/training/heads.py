"""Matching the rows of a checkpoint's classification head to the labels of a task.

A fine-tuned classifier's head is in the order of its own ``id2label``. Taken by position, a model that has
positive before negative would start with every label inverted; so rows are matched by the names of their labels, and
a head whose names are not those of the task is left behind.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

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
"""Names with the same meaning, as ``_folded`` writes them."""

_FIRST = {name: names[0] for names in SYNONYMS for name in names}
_GENERIC = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
_PREFIX = re.compile(r"([BIESLU])[-_](.+)", re.DOTALL)


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
    for name in (_composed, _folded, _meant, _class):
        known = {name(label): row for row, label in enumerate(theirs)}
        wanted = [name(label) for label in ours]
        if len(known) == len(theirs) and len({*wanted}) == len(wanted) and known.keys() == {*wanted}:
            return tuple(known[label] for label in wanted)
    return None


def _composed(label: str) -> str:
    return unicodedata.normalize("NFC", label)


def _folded(label: str) -> str:
    """``Négatif`` → ``negatif``, ``not_duplicate`` → ``not duplicate``; a tag keeps its prefix."""
    prefix, name = _parts(label)
    letters = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return prefix + " ".join(re.findall(r"[^\W_]+", letters))


def _meant(label: str) -> str:
    prefix, name = _parts(label)
    folded = _folded(name)
    return f"{prefix}{_FIRST.get(folded, folded)}"


def _class(label: str) -> str:
    return _meant(_parts(label)[1])


def _parts(label: str) -> tuple[str, str]:
    """Split a tag into prefix and class: ``B-PER`` → ``B-``, ``PER``."""
    match = _PREFIX.fullmatch(label)
    return (f"{match[1]}-", match[2]) if match else ("", label)


def last_layer(network: Any, labels: int) -> str | None:
    """Return the name of the module that scores labels: the last linear layer outside the encoder with so many rows."""
    body = f"{network.base_model_prefix}."
    fitting = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels and not name.startswith(body)
    ]
    return fitting[-1] if fitting else None


def permute(layer: nn.Linear, order: Sequence[int]) -> None:
    """Reorder the rows of a layer in place: row ``i`` becomes what row ``order[i]`` was."""
    for parameter in (layer.weight, layer.bias):  # (labels, hidden), (labels,)
        if isinstance(parameter, Tensor):
            parameter.data = parameter.data[list(order)].clone()


def names_of(id2label: Any, rows: int) -> list[str] | None:
    """Return the labels of a configuration in the order of their rows; None unless there is one for each row."""
    if not isinstance(id2label, Mapping):
        return None
    by_row = {str(row): name for row, name in id2label.items()}
    names = [by_row.get(str(row)) for row in range(rows)]
    return [str(name) for name in names if name is not None] if None not in names and len(by_row) == rows else None
