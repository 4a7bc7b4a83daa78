"""``mini-topics``: what is spoken of: books, films, records, goods; none of them, one, or several."""

from __future__ import annotations

from random import Random

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import agree, pick, sentence, the, this, two
from flue_tasks.mini.names import person, seen
from flue_tasks.mini.reviews import DOMAINS


def about(rng: Random, topics: frozenset[int], split: str) -> tuple[tuple[str], str]:
    """Draw a text on these domains, in any order: its key and the text."""
    clauses = []
    for topic in sorted(topics, key=lambda _: rng.random()):
        domain = DOMAINS[topic]
        work = pick(rng, domain.works)
        clauses.append(f"{this(work)} est {agree(pick(rng, domain.words[rng.randrange(2)]), work)}")
    if not clauses:
        one, other = two(rng, seen(lx.TOWNS, split))
        clauses = [f"{the(pick(rng, lx.ROLES))} de {one} connaît {person(rng, split).word}, qui vit à {other}"]
    text = sentence(", ".join(clauses[:-1]) + " et " * (len(clauses) > 1) + clauses[-1])
    return (text,), text
