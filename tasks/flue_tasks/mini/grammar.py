"""The French grammar that the mini tasks need: articles, agreement, elision, contraction.

Templates are written without elision or contraction ("de le avocat", "que il", "à le marché"); ``sentence`` corrects
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_ASPIRATED = frozenset(
    re.findall(
        r"\w+",
        "hache hachoir haddad haie hall halle hamac hameau hamster hangar hanneton hareng haricot harpe "
        "hasard hausse haut hautbois haute hauteur hibou hockey homard honfleur hongrie hongrois honte horde "
        "hors housse houx hublot huit huitième hutte hérisson héron héros hêtre onze onzième oui yaourt ",
    )
)
_ELIDES = re.compile(r"\b(le|la|de|que|ne|je|se|me|te|jusque|lorsque|puisque) (?=(\w+))")
_PLURAL_IN_S = {"bal", "banal", "bancal", "bleu", "carnaval", "fatal", "festival", "final", "pneu", "récital"}
_FEMININES = (("eux", "euse"), ("if", "ive"), ("er", "ère"), ("el", "elle"), ("on", "onne"), ("ien", "ienne"))
_CONTRACTIONS = ((r"\bde le ", "du "), (r"\bde les ", "des "), (r"\bà le ", "au "), (r"\bà les ", "aux "))


class Noun(NamedTuple):
    """A noun, or a noun and its complement, in the form in which it is used."""

    word: str
    gender: str
    """``m`` or ``f``."""
    plural: bool = False


def pick(rng: Random, pool: Sequence[T]) -> T:
    """Draw one item of the pool."""
    return pool[rng.randrange(len(pool))]


def two(rng: Random, pool: Sequence[T]) -> tuple[T, T]:
    """Draw two different items of the pool."""
    first, second = rng.randrange(len(pool)), rng.randrange(len(pool) - 1)
    return pool[first], pool[second + (second >= first)]


def starts_with_vowel(word: str) -> bool:
    """Return whether le, la, de, que… are elided before this word."""
    low = word.lower()
    if low.rstrip("sx") in _ASPIRATED or low in _ASPIRATED:
        return False
    return low[0] in "aàâeéèêëhiîïoôuûùœæ" or re.match(r"y([bcdfghjklmnpqrstvwxz]|$)", low) is not None


def pluralise(word: str) -> str:
    """Return the regular plural of a noun or of a masculine or feminine adjective."""
    if word[-1] in "sxz":
        return word
    if word in _PLURAL_IN_S:
        return word + "s"
    if word.endswith(("eau", "eu")):
        return word + "x"
    return word[:-2] + "aux" if word.endswith("al") else word + "s"


def plural(noun: Noun) -> Noun:
    """Return the noun in the plural; only its first word changes ("tasse de thé" → "tasses de thé")."""
    head, *rest = noun.word.split(" ")
    return Noun(" ".join([pluralise(head), *rest]), noun.gender, True)


def feminine(adjective: str) -> str:
    """Return the feminine of an adjective or participle; an irregular one is written "masculine/feminine"."""
    masculine, _, given = adjective.partition("/")
    if given:
        return given
    for ending, replaced in _FEMININES:
        if masculine.endswith(ending):
            return masculine[: -len(ending)] + replaced
    return masculine if masculine.endswith("e") else masculine + "e"


def agree(adjective: str, noun: Noun) -> str:
    """Return the adjective or participle in the noun's gender and number; only its last word changes ("mal conçus")."""
    form = feminine(adjective) if noun.gender == "f" else adjective.partition("/")[0]
    return pluralise(form) if noun.plural else form


def the(noun: Noun) -> str:
    """Return the noun with the definite article."""
    return f"{'les' if noun.plural else 'le' if noun.gender == 'm' else 'la'} {noun.word}"


def a(noun: Noun) -> str:
    """Return the noun with the indefinite article."""
    return f"{'des' if noun.plural else 'un' if noun.gender == 'm' else 'une'} {noun.word}"


def this(noun: Noun) -> str:
    """Return the noun with the demonstrative."""
    if noun.plural:
        return f"ces {noun.word}"
    return f"{'cette' if noun.gender == 'f' else 'cet' if starts_with_vowel(noun.word) else 'ce'} {noun.word}"


def elide(text: str) -> str:
    """Apply elision and contraction: "de le avocat" → "de l'avocat", "de le maire" → "du maire"."""

    def cut(match: re.Match[str]) -> str:
        return match[1][:-1] + "'" if starts_with_vowel(match[2]) else match[0]

    text = _ELIDES.sub(cut, text)
    text = re.sub(r"\bsi (?=ils?\b)", "s'", text)
    text = re.sub(r"\bce (?=(est|était|étaient)\b)", "c'", text)
    for written, said in _CONTRACTIONS:
        text = re.sub(written, said, text)
    return text


def sentence(text: str) -> str:
    """Return a template as a French sentence."""
    return re.sub(r"\w", lambda first: first[0].upper(), elide(text), count=1) + "."
