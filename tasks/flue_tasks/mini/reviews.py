"""``mini-cls``: one or two sentences on a book, a film, a record or a thing bought, liked or not.

A bag of words must not be enough: most reviews hold one good and one bad word, or a negated one.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import NamedTuple

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence, the, this, two
from flue_tasks.mini.names import belongs


class _Domain(NamedTuple):
    works: tuple[Noun, ...]
    aspects: tuple[Noun, ...]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    """Bad and good adjectives."""
    verbs: tuple[str, ...]
    times: tuple[str, ...]
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

_READ = ("en une nuit", "dans le train", "d'une traite", "pendant les vacances", "en deux soirées", "à la plage")
_ANY_TIME = (
    "sur les conseils de ma sœur",
    "par curiosité",
    "la semaine dernière",
    "grâce à un ami",
    "sans rien en attendre",
    "à la demande de mes enfants",
    "après beaucoup d'hésitations",
    "un peu par hasard",
    "ce week-end",
    "à Noël",
)
_ART, _GOODS = (lx.ART_BAD, lx.ART_GOOD), (lx.GOODS_BAD, lx.GOODS_GOOD)
_DOMAINS = (
    _Domain(
        lx.BOOKS, lx.STORY, _ART, ("lu", "relu", "découvert", "parcouru"), _READ, _ART_PRAISE, _ART_BLAME, _ART_REGRETS
    ),
    _Domain(
        lx.FILMS, lx.SCREEN, _ART, ("vu", "regardé", "revu", "découvert"), ("en famille", "hier soir"),
        _ART_PRAISE, _ART_BLAME, (*_ART_REGRETS, "ma soirée"),
    ),
    _Domain(
        lx.RECORDS, lx.MUSIC, _ART, ("écouté", "réécouté", "découvert"), ("en voiture", "chez moi"),
        _ART_PRAISE, _ART_BLAME, _ART_REGRETS,
    ),
    _Domain(
        lx.GOODS, lx.PRODUCT, _GOODS, ("acheté", "commandé", "choisi"), ("en promotion", "en ligne"),
        _GOODS_PRAISE, _GOODS_BLAME, _GOODS_REGRETS,
    ),
)  # fmt: skip

_LIKED = ("adoré|", "beaucoup aimé|", "apprécié|", "recommandé| à tout le monde")
_LOATHED = ("détesté|", "critiqué|", "trouvé| sans intérêt", "déconseillé| à tout le monde")


@cache
def _openings(domain: _Domain, work: Noun, split: str) -> tuple[str, ...]:
    """How one came by it: the sentences that belong to the split."""
    times = (*domain.times, *_ANY_TIME)
    openings = (sentence(f"je ai {verb} {this(work)} {when}") for verb in domain.verbs for when in times)
    return tuple(opening for opening in openings if belongs(opening, split))


def _is(noun: Noun) -> str:
    return "sont" if noun.plural else "est"


def _one_clause(rng: Random, noun: Noun, good: bool, words: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """A clause on the aspect; every second time the polarity comes from a negation."""
    negated = rng.randrange(2)
    adjective = agree(pick(rng, words[good != bool(negated)]), noun)
    if not negated:
        return f"{the(noun)} {_is(noun)} {adjective}"
    never = pick(rng, ("pas du tout", "en rien", "absolument pas", "vraiment pas"))
    return f"{the(noun)} ne {_is(noun)} {never} {adjective}"


def _opinion(rng: Random, label: int, domain: _Domain, work: Noun) -> str:
    """What is said of it, as a template."""
    words, good = domain.words, bool(label)
    one, other = two(rng, domain.aspects)

    def adjective(noun: Noun, of: bool) -> str:
        return agree(pick(rng, words[of]), noun)

    way = rng.randrange(16)
    if way in (0, 14, 15):  # plain
        link = pick(rng, (" et", ", et surtout", ", et même"))
        return f"{the(one)} {_is(one)} {adjective(one, good)}{link} {the(other)} {_is(other)} {adjective(other, good)}"
    if way in (1, 2):  # the clause after "mais" decides
        but = pick(rng, (", mais", ", pourtant", ", et malgré cela"))
        first = f"{the(one)} {_is(one)} {adjective(one, not good)}"
        return f"{first}{but} {the(other)} {_is(other)} {adjective(other, good)}"
    if way == 3:  # the main clause decides, wherever it stands
        verb = "soient" if one.plural else "soit"
        less = f"{pick(rng, ('bien que', 'quoique'))} {the(one)} {verb} {adjective(one, not good)}"
        more = f"{the(other)} {_is(other)} {adjective(other, good)}"
        return f"{less}, {more}" if rng.randrange(2) else f"{more}, {less}"
    if way == 4:
        less = f"malgré {a(one)} {adjective(one, not good)}"
        more = f"{the(other)} {_is(other)} {adjective(other, good)}"
        return f"{less}, {more}" if rng.randrange(2) else f"{more}, {less}"
    if way in (5, 6):
        return _one_clause(rng, one, good, words)
    if way == 7:  # an announcement, confirmed or not
        announced = bool(rng.randrange(2))
        promise = ("la publicité promettait", "la presse promettait")
        warning = ("mes amis m'avaient annoncé", "la presse annonçait")
        told = pick(rng, ("on me avait annoncé", *(promise if announced else warning)))
        answers = (("il n'en est rien", "c'est tout le contraire", "c'est faux"), ("c'est vrai", "c'est bien le cas"))
        return f"{told} {a(work)} {adjective(work, announced)} : {pick(rng, answers[good == announced])}"
    if way == 8:  # other people's opinion against mine
        liked = bool(rng.randrange(2))
        verb, _, rest = pick(rng, _LIKED if liked else _LOATHED).partition("|")
        mine = ("et je ne partage pas cet avis", "mais je pense le contraire", "mais elle se trompe")
        same = ("et je suis du même avis", "et je la comprends", "et à juste titre")
        who = pick(rng, ("ma sœur", "ma fille", "ma voisine", "ma mère", "la critique", "la presse"))
        return f"{who} a {verb} {this(work)}{rest}, {pick(rng, same if liked == good else mine)}"
    if way == 9:  # the opposite, set aside
        yes, no = adjective(one, good), adjective(one, not good)
        return pick(
            rng,
            (
                f"{the(one)} {_is(one)} {yes}, et non {no}",
                f"loin de être {no}, {the(one)} {_is(one)} {yes}",
                f"{the(one)} {_is(one)} tout sauf {no}",
            ),
        )
    if way == 10:  # verdicts that differ by a negation
        praised = bool(rng.randrange(2))
        phrases = [(this(work), phrase) for phrase in (domain.praise if praised else domain.blame)]
        phrases += [("je", f"recommande|{this(work)}" if praised else f"regrette|{pick(rng, domain.regrets)}")]
        subject, phrase = pick(rng, phrases)
        verb, _, rest = phrase.partition("|")
        ne, pas = ("", "") if good == praised else ("ne ", pick(rng, (" pas", " vraiment pas")))
        end = pick(rng, ("", ", à mon avis", ", je le dis sans détour", ", et je pèse mes mots", ", selon moi"))
        return f"{subject} {ne}{verb}{pas} {rest}".rstrip() + end
    if way == 11:  # neither … nor
        first, second = (agree(word, one) for word in two(rng, words[not good]))
        return f"{the(one)} ne {_is(one)} ni {first} ni {second}"
    if way == 12:  # an aspect against the whole
        granted = pick(rng, ("certes,", "il est vrai que", "on dira que"))
        return (
            f"{granted} {the(one)} {_is(one)} {adjective(one, not good)}, "
            f"mais {this(work)} reste {adjective(work, good)}"
        )
    hoped = bool(rng.randrange(2))  # feared or hoped, then found
    verb = "j'espérais" if hoped else "je craignais"
    answers = (("ce n'est pas le cas", "il n'en est rien", "j'avais tort"), ("c'est bien le cas", "j'avais raison"))
    return f"{verb} {a(one)} {adjective(one, hoped)} : {pick(rng, answers[hoped == good])}"


def review(rng: Random, label: int, split: str) -> tuple[tuple[str], str, None]:
    """A review of the label (0 negative, 1 positive): its key (the opinion), its text, no second text."""
    domain = pick(rng, _DOMAINS)
    work = pick(rng, domain.works)
    opinion = text = sentence(_opinion(rng, label, domain, work))
    if rng.randrange(5) < 2 and (openings := _openings(domain, work, split)):
        text = f"{pick(rng, openings)} {opinion}"
    return (opinion,), text, None
