"""``mini-choices``: which of two to five opinions is about what is asked."""

from __future__ import annotations

from random import Random

from flue_tasks.mini.grammar import Noun, agree, pick, sentence, the
from flue_tasks.mini.names import belongs
from flue_tasks.mini.reviews import DOMAINS, Domain

_ASKED = ("que dit-on de {} ?", "que penser de {} ?", "et {}, ce est comment ?")


def question(rng: Random, number: int, split: str) -> tuple[tuple[str, ...], str, tuple[str, ...], int]:
    """Draw a question: its keys (the choices, the right one first), its text, the choices, and the right position."""
    domain, size = pick(rng, DOMAINS), 2 + number % 4
    text = ""
    while not (text and belongs(text, split)):
        aspects = rng.sample(domain.aspects, size)
        text = sentence(pick(rng, _ASKED).format(the(aspects[0]))).removesuffix(".")
    right, *others = (_opinion(rng, domain, aspect, split) for aspect in aspects)
    answer = rng.randrange(size)
    return (right, *others), text, (*others[:answer], right, *others[answer:]), answer


def _opinion(rng: Random, domain: Domain, aspect: Noun, split: str) -> str:
    text = ""
    while not (text and belongs(text, split)):
        verb = "sont" if aspect.plural else "est"
        text = sentence(f"{the(aspect)} {verb} {agree(pick(rng, domain.words[rng.randrange(2)]), aspect)}")
    return text
