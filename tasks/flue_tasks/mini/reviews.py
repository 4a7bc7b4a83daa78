"""``mini-cls``: a positive or negative sentence on a book, a film, a record or a product.

A bag of words must not be enough: most reviews have one good and one bad word, or a negated one.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence, the, this, two


class Domain(NamedTuple):
    """What is reviewed, and the words for it."""

    works: tuple[Noun, ...]
    aspects: tuple[Noun, ...]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    """Bad and good adjectives."""
    praise: tuple[str, ...]
    """What a good one does; "verb|object"."""
    blame: tuple[str, ...]
    """What a bad one does."""
    regrets: tuple[str, ...]
    """What one regrets after a bad one."""


_ART_PRAISE = ("mérite|son succès", "mérite|sa réputation", "vaut|le détour", "vaut|que on se y attarde")
_ART_BLAME = ("déçoit|", "lasse|", "ennuie|", "manque|de caractère", "manque|de souffle", "manque|de profondeur")
_GOODS_PRAISE = ("mérite|ses bonnes notes", "mérite|sa réputation", "vaut|son prix", "tient|ses promesses")
_GOODS_BLAME = ("déçoit|", "manque|de soin", "manque|de qualités", "manque|de sérieux")
_ART_REGRETS = ("mon choix", "le temps passé")
_GOODS_REGRETS = ("mon choix", "mon argent", "mon achat")

_ART, _GOODS = (lx.ART_BAD, lx.ART_GOOD), (lx.GOODS_BAD, lx.GOODS_GOOD)
DOMAINS = (
    Domain(lx.BOOKS, lx.STORY, _ART, _ART_PRAISE, _ART_BLAME, _ART_REGRETS),
    Domain(lx.FILMS, lx.SCREEN, _ART, _ART_PRAISE, _ART_BLAME, (*_ART_REGRETS, "ma soirée")),
    Domain(lx.RECORDS, lx.MUSIC, _ART, _ART_PRAISE, _ART_BLAME, _ART_REGRETS),
    Domain(lx.GOODS, lx.PRODUCT, _GOODS, _GOODS_PRAISE, _GOODS_BLAME, _GOODS_REGRETS),
)


class _Review(NamedTuple):
    """The words that the sentence patterns draw from."""

    rng: Random
    good: bool
    domain: Domain
    work: Noun
    one: Noun
    """An aspect of the work."""
    other: Noun
    """Another one."""

    def adjective(self, noun: Noun, good: bool) -> str:
        return agree(pick(self.rng, self.domain.words[good]), noun)

    def clause(self, noun: Noun, good: bool) -> str:
        return f"{the(noun)} {_is(noun)} {self.adjective(noun, good)}"

    def either_order(self, less: str, more: str) -> str:
        return f"{less}, {more}" if self.rng.randrange(2) else f"{more}, {less}"


def _is(noun: Noun) -> str:
    return "sont" if noun.plural else "est"


def _plain(it: _Review) -> str:
    link = pick(it.rng, (" et", ", et surtout", ", et même"))
    return it.clause(it.one, it.good) + f"{link} " + it.clause(it.other, it.good)


def _after_but(it: _Review) -> str:
    """Write a review that the clause after "mais" decides."""
    but = pick(it.rng, (", mais", ", pourtant", ", et malgré cela"))
    return it.clause(it.one, not it.good) + f"{but} " + it.clause(it.other, it.good)


def _main_clause(it: _Review) -> str:
    """Write a review that the main clause decides, in either order of the clauses."""
    concession, verb = pick(it.rng, ("bien que", "quoique")), "soient" if it.one.plural else "soit"
    less = f"{concession} {the(it.one)} {verb} {it.adjective(it.one, not it.good)}"
    return it.either_order(less, it.clause(it.other, it.good))


def _despite(it: _Review) -> str:
    less = f"malgré {a(it.one)} {it.adjective(it.one, not it.good)}"
    return it.either_order(less, it.clause(it.other, it.good))


def _one_clause(it: _Review) -> str:
    """Write a review of one clause; every second time its polarity comes from a negation."""
    if it.rng.randrange(2):
        return it.clause(it.one, it.good)
    never = pick(it.rng, ("pas du tout", "en rien", "absolument pas", "vraiment pas"))
    return f"{the(it.one)} ne {_is(it.one)} {never} {it.adjective(it.one, not it.good)}"


def _neither_nor(it: _Review) -> str:
    first, second = (agree(word, it.one) for word in two(it.rng, it.domain.words[not it.good]))
    return f"{the(it.one)} ne {_is(it.one)} ni {first} ni {second}"


def _verdict(it: _Review) -> str:
    """Write praise or blame, negated or not."""
    praised = bool(it.rng.randrange(2))
    phrases = [(this(it.work), phrase) for phrase in (it.domain.praise if praised else it.domain.blame)]
    own = f"recommande|{this(it.work)}" if praised else f"regrette|{pick(it.rng, it.domain.regrets)}"
    subject, phrase = pick(it.rng, [*phrases, ("je", own)])
    verb, _, rest = phrase.partition("|")
    ne, pas = ("", "") if it.good == praised else ("ne ", pick(it.rng, (" pas", " vraiment pas")))
    end = pick(it.rng, ("", ", à mon avis", ", je le dis sans détour", ", et je pèse mes mots", ", selon moi"))
    return f"{subject} {ne}{verb}{pas} {rest}".rstrip() + end


def _granted(it: _Review) -> str:
    """Write a review that contrasts an aspect with the whole."""
    granted = pick(it.rng, ("certes,", "il est vrai que", "on dira que"))
    less = f"{granted} {it.clause(it.one, not it.good)}"
    return f"{less}, mais {this(it.work)} reste {it.adjective(it.work, it.good)}"


_WAYS = (
    *(_plain, _plain, _after_but, _after_but, _main_clause, _despite),
    *(_one_clause, _one_clause, _neither_nor, _verdict, _granted),
)


def review(rng: Random, label: int, split: str) -> tuple[tuple[str], str, None]:
    """Draw a review of the label (0 negative, 1 positive): its key and text, no second text."""
    domain = pick(rng, DOMAINS)
    one, other = two(rng, domain.aspects)
    text = sentence(pick(rng, _WAYS)(_Review(rng, bool(label), domain, pick(rng, domain.works), one, other)))
    return (text,), text, None
