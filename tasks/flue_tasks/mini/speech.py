"""``mini-pos``: parts of speech, where the neighbours of a word tell its class: "la porte" may hold a noun or a verb.

Forms that are nouns and verbs stand in all places of a sentence, and articles are pronouns before a verb. Classes are
those of Universal Dependencies; of "du", "des" and "au" the preposition's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, plural, starts_with_vowel, the, this, two
from flue_tasks.mini.names import seen

TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "NOUN", "NUM", "PRON", "PROPN", "PUNCT", "SCONJ", "VERB",
)  # fmt: skip

Tagged = list[tuple[str, str]]
"""Words with their classes."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_BOTH = tuple(
    Noun(word, gender)
    for gender, words in (
        (
            "f",
            "porte garde montre pêche chasse visite offre demande réserve récolte cuisine commande trace plante colle",
        ),
        ("f", "coupe cache charge fouille taille lime brosse griffe règle note tente poste scie vitre"),
        ("m", "livre juge guide groupe compte contrôle signe cadre filtre masque timbre"),
    )
    for word in _words(words)
)
"""Nouns that are verbs as well, in the third person of the present tense."""
_ROLES = tuple(noun for noun in lx.ROLES if " " not in noun.word)
_GOODS = tuple(noun for noun in (*lx.GOODS, *lx.PIECES, *lx.SOLD) if noun.word.isalpha())
_LANDS = tuple(land for land in lx.LANDS if land.gender == "f")
_BUILDINGS = tuple(noun for noun in lx.BUILDINGS if " " not in noun.word)
_NUMBERS = _words("deux trois quatre cinq six sept huit neuf dix douze quinze vingt trente cent")
_OFTEN = _words("souvent rarement parfois toujours encore vite bien mal lentement aussitôt")

_ELIDED = {"le": "l'", "la": "l'", "de": "d'", "que": "qu'", "ne": "n'"}
_CONTRACTED = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}


class _Draw:
    """Draws the parts of a sentence."""

    def __init__(self, rng: Random, split: str) -> None:
        self.rng, self.split = rng, split

    def one(self, *words: str) -> str:
        return pick(self.rng, words)

    @property
    def noun(self) -> Noun:
        """A noun that is a verb too, or every third time a thing."""
        return pick(self.rng, seen(_GOODS, self.split) if self.rng.randrange(3) == 0 else _BOTH)

    @property
    def verb(self) -> str:
        return pick(self.rng, _BOTH).word

    @property
    def role(self) -> Noun:
        return pick(self.rng, seen(_ROLES, self.split))

    def phrase(self, noun: Noun) -> Tagged:
        """An article and a noun; every third time with an adjective after it."""
        article, word = pick(self.rng, (the, a, this))(noun).split(" ")
        more = pick(self.rng, lx.COMPARED if noun in lx.ROLES else lx.COLOURS) if self.rng.randrange(3) == 0 else ""
        return [(article, "DET"), (word, "NOUN"), *([(agree(more, noun), "ADJ")] if more else [])]

    @property
    def name(self) -> Tagged:
        first = pick(self.rng, seen(lx.WOMEN + lx.MEN, self.split))
        last = [(pick(self.rng, seen(lx.SURNAMES, self.split)), "PROPN")] if self.rng.randrange(2) else []
        return [(first, "PROPN"), *last]

    @property
    def subject(self) -> Tagged:
        """Somebody by name, by trade, or by a noun that is a verb too."""
        kinds: tuple[Callable[[], Tagged], ...]
        kinds = (lambda: self.name, lambda: self.phrase(self.role), lambda: self.phrase(self.noun))
        return pick(self.rng, kinds)()

    @property
    def it(self) -> Tagged:
        """A pronoun that reads as an article, and a verb that reads as a noun of its gender."""
        verb = pick(self.rng, _BOTH)
        pronoun = "les" if self.rng.randrange(3) == 0 else "la" if verb.gender == "f" else "le"
        return [(pronoun, "PRON"), (verb.word, "VERB")]

    @property
    def where(self) -> Tagged:
        town = (pick(self.rng, seen(lx.TOWNS, self.split)), "PROPN")
        places: tuple[Callable[[], Tagged], ...] = (
            lambda: [("à", "ADP"), town],
            lambda: [("près", "ADV"), ("de", "ADP"), town],
            lambda: [("en", "ADP"), (pick(self.rng, _LANDS).word, "PROPN")],
            lambda: [("dans", "ADP"), *self.phrase(pick(self.rng, _BUILDINGS))],
            lambda: [("à", "ADP"), ("le", "DET"), (self.one("nord", "sud", "est"), "NOUN"), ("de", "ADP"), town],
            lambda: [("en", "ADP"), (self.one("été", "hiver", "mars", "juin"), "NOUN")],
        )
        return pick(self.rng, places)()

    @property
    def often(self) -> tuple[str, str]:
        return pick(self.rng, _OFTEN), "ADV"

    @property
    def they(self) -> tuple[str, str]:
        return self.one("il", "elle", "on"), "PRON"


def _made(draw: _Draw) -> Tagged:
    """A thing that was treated in some way, and where: its participle agrees with it."""
    noun = plural(draw.role) if draw.rng.randrange(3) == 0 else draw.role
    article, word = the(noun).split(" ")
    forms = [("ont" if noun.plural else "a", "AUX"), ("été", "AUX"), (agree(pick(draw.rng, lx.TREATED), noun), "VERB")]
    return [(article, "DET"), (word, "NOUN"), *forms, *draw.where]


def _coloured(draw: _Draw) -> Tagged:
    noun = pick(draw.rng, seen(_GOODS, draw.split))
    article, word = the(noun).split(" ")
    first, second = two(draw.rng, lx.COLOURS)
    both = [(agree(first, noun), "ADJ"), ("et", "CCONJ"), (agree(second, noun), "ADJ")]
    return [*draw.where, (",", "PUNCT"), (article, "DET"), (word, "NOUN"), ("est", "AUX"), *both]


_TEMPLATES: tuple[Callable[[_Draw], Tagged], ...] = (
    lambda d: [*d.subject, (d.verb, "VERB"), *d.phrase(d.noun), *d.where],
    lambda d: [*d.subject, (d.verb, "VERB"), d.often, *d.phrase(d.noun), ("de", "ADP"), *d.phrase(d.role)],
    lambda d: [*d.where, (",", "PUNCT"), *d.subject, *d.it, d.often],
    lambda d: [*d.subject, *d.it, *d.where, (",", "PUNCT"), ("puis", "ADV"), d.they, *d.it],
    lambda d: [*d.subject, (d.verb, "VERB"), *d.phrase(d.noun), ("et", "CCONJ"), *d.name, *d.it],
    lambda d: [d.they, ("ne", "ADV"), *d.it, ("pas", "ADV"), *d.where],
    lambda d: [*d.name, (d.one("dit", "croit", "sait"), "VERB"), ("que", "SCONJ"), *d.phrase(d.role), *d.it, *d.where],
    lambda d: [(pick(d.rng, _NUMBERS), "NUM"), (pick(d.rng, lx.GROUPS).word, "NOUN"), (f"{d.verb}nt", "VERB"),
               *d.phrase(d.noun), *d.where],
    lambda d: [*d.phrase(d.role), ("en", "PRON"), (d.verb, "VERB"), (pick(d.rng, _NUMBERS), "NUM"), *d.where],
    lambda d: [*d.name, ("a", "AUX"), (pick(d.rng, lx.OBTAINED), "VERB"), *d.phrase(d.noun), *d.where],
    _made,
    _coloured,
)  # fmt: skip


def classed(rng: Random, _row: int, split: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Draw a sentence: its words and their classes, as indexes of ``TAGS``."""
    pairs = list(_contracted(_elided([*pick(rng, _TEMPLATES)(_Draw(rng, split)), (".", "PUNCT")])))
    words = tuple(word for word, _ in pairs)
    return (words[0][:1].upper() + words[0][1:], *words[1:]), tuple(TAGS.index(tag) for _, tag in pairs)


def _elided(pairs: Tagged) -> Iterator[tuple[str, str]]:
    for (word, tag), (after, _) in zip(pairs, [*pairs[1:], (".", "")], strict=True):
        yield (_ELIDED[word] if word in _ELIDED and after[0].isalpha() and starts_with_vowel(after) else word, tag)


def _contracted(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    before: tuple[str, str] | None = None
    for word, tag in pairs:
        if before and tag == "DET" and (joined := _CONTRACTED.get((before[0], word))):
            before = (joined, before[1])
            continue
        if before:
            yield before
        before = (word, tag)
    if before:
        yield before
