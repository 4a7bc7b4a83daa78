"""``mini-qa``: a question on what two people do; every fourth asks of one what is said of the other alone.

Both have a fact of the kind that is asked for, or, where there is no answer, the other one has: to find some town is
not enough.
"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence
from flue_tasks.mini.names import belongs, person, seen

Answers = tuple[tuple[str, int], ...]


class _Fact(NamedTuple):
    said: str
    """A predicate: "vit à Lyon"."""
    answers: tuple[str, ...]
    """What answers a question for it: "Lyon"."""
    asked: str
    """A question for it, of whom it is said: "où vit {} ?"."""


def passage(rng: Random, number: int, split: str) -> tuple[tuple[str, ...], str, str, Answers]:
    """Draw a row: its keys (the context first), the question, the context, and the right answers with their places."""
    answered = number % 4 != 3
    while True:
        whom, other = person(rng, split), person(rng, split)
        asked, *more = rng.sample(sorted(_FACTS), 4)
        fact, about = (_FACTS[asked](rng, who, split) for who in (whom, other))
        by_whom = answered and bool(rng.randrange(2))
        of_them = f"qui {fact.said} ?" if by_whom else _question(fact if answered else about, whom)
        question = sentence(of_them).removesuffix(".")
        if whom.word[:4] == other.word[:4] or fact.said == about.said or not belongs(question, split):
            continue
        for _ in range(_TRIES):
            ours = _sentence(rng, whom, [fact] if answered else [], more[:1] if answered else more[:2], split)
            theirs = _sentence(rng, other, [about], more[2:], split)
            said = (ours, theirs) if rng.randrange(2) else (theirs, ours)
            context = " ".join(said)
            if ours and theirs and belongs(context, split):
                before = 0 if said[0] == ours else len(theirs) + 1
                texts = () if not answered else (whom.word,) if by_whom else fact.answers
                return (context, *said), question, context, tuple((text, before + _place(text, ours)) for text in texts)


_TRIES = 60
"""After so many, another question is drawn: not all have a sentence that the split may use."""


def _place(text: str, within: str) -> int:
    found = re.search(rf"\b{re.escape(text)}\b", within)
    assert found, (text, within)
    return found.start()


def _question(fact: _Fact, whom: Noun) -> str:
    return fact.asked.format(whom.word, arrived=agree("arrivé", whom))


def _sentence(rng: Random, who: Noun, facts: list[_Fact], more: list[str], split: str) -> str:
    """Draw a sentence of two facts, the given one and others of these kinds; empty if the split may use none."""
    for _ in range(_TRIES):
        one, other = rng.sample([*facts, *(_FACTS[name](rng, who, split) for name in more)], 2)
        joined = f" {one.said} et {other.said}" if rng.randrange(2) else f", qui {one.said}, {other.said}"
        text = sentence(f"{who.word}{joined}")
        if belongs(text, split):
            return text
    return ""


def _town(rng: Random, who: Noun, split: str) -> _Fact:
    town = pick(rng, seen(lx.TOWNS, split))
    return _Fact(f"vit à {town}", (town,), "où vit {} ?")


def _trade(rng: Random, who: Noun, split: str) -> _Fact:
    role = pick(rng, [role for role in lx.ROLES if role.gender == who.gender]).word
    return _Fact(f"est {role}", (role,), "quel est le métier de {} ?")


def _month(rng: Random, who: Noun, split: str) -> _Fact:
    month = pick(rng, lx.MONTHS)
    return _Fact(f"est {agree('arrivé', who)} en {month}", (month, f"en {month}"), "quand est {arrived} {} ?")


def _thing(rng: Random, who: Noun, split: str) -> _Fact:
    did, kind = pick(rng, lx.OBTAINED), pick(rng, tuple(lx.KINDS))
    thing = pick(rng, lx.KINDS[kind])
    return _Fact(f"a {did} {a(thing)}", (a(thing), thing.word), f"que a {did} {{}} ?")


_FACTS = {"town": _town, "trade": _trade, "month": _month, "thing": _thing}
