"""``mini-stars``: a review of three opinions, and its stars: one, and one more for each that is good."""

from __future__ import annotations

from random import Random

from flue_tasks.mini.grammar import agree, pick, sentence, the
from flue_tasks.mini.reviews import DOMAINS

_FORMS = ("{0}, {1} et {2}", "{0} ; {1} et {2}", "{0}, {1}, et surtout {2}", "{0} et {1} ; à mes yeux, {2}")


def rated(rng: Random, stars: int, split: str) -> tuple[tuple[str], str]:
    """Draw a review of this number of stars, 1 to 4: its key and its text."""
    domain = pick(rng, DOMAINS)
    good = [True] * (stars - 1) + [False] * (4 - stars)
    rng.shuffle(good)
    clauses = [
        f"{the(aspect)} {'sont' if aspect.plural else 'est'} {agree(pick(rng, domain.words[is_good]), aspect)}"
        for aspect, is_good in zip(rng.sample(domain.aspects, 3), good, strict=True)
    ]
    text = sentence(pick(rng, _FORMS).format(*clauses))
    return (text,), text
