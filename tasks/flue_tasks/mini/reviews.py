"""``mini-cls``: one or two sentences on a book, a film, a record or a thing bought, liked or not.

A bag of words must not be enough: most reviews hold one good and one bad word, or a negated one.
"""

from __future__ import annotations

from random import Random

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence, the, this, two

_STORY_TIME = ("en une nuit", "dans le train", "d'une traite", "pendant les vacances", "en deux soirées", "à la plage")
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
_DOMAINS = (
    (lx.BOOKS, lx.STORY, lx.ART_GOOD, lx.ART_BAD, ("lu", "dévoré", "découvert", "emprunté", "terminé"), _STORY_TIME),
    (lx.FILMS, lx.SCREEN, lx.ART_GOOD, lx.ART_BAD, ("vu", "regardé", "revu", "découvert"), ("en famille", "hier soir")),
    (
        lx.RECORDS,
        lx.MUSIC,
        lx.ART_GOOD,
        lx.ART_BAD,
        ("écouté", "réécouté", "entendu", "découvert"),
        ("en voiture", "chez moi"),
    ),
    (
        lx.GOODS,
        lx.PRODUCT,
        lx.GOODS_GOOD,
        lx.GOODS_BAD,
        ("acheté", "commandé", "reçu", "essayé"),
        ("en promotion", "en ligne"),
    ),
)
_LIKED = ("adoré", "beaucoup aimé", "apprécié", "recommandé à tout le monde")
_LOATHED = ("détesté", "critiqué", "trouvé sans intérêt", "déconseillé à tout le monde")


def _is(noun: Noun) -> str:
    return "sont" if noun.plural else "est"


def _one_clause(rng: Random, noun: Noun, good: bool, words: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """A clause on the aspect; every second time the polarity comes from a negation."""
    negated = rng.randrange(2)
    adjective = agree(pick(rng, words[good != bool(negated)]), noun)
    if not negated:
        return f"{the(noun)} {_is(noun)} {adjective}"
    never = pick(rng, ("jamais", "pas du tout", "en rien", "guère", "absolument pas"))
    return f"{the(noun)} ne {_is(noun)} {never} {adjective}"


def review(rng: Random, label: int, _split: str) -> tuple[str, str, None]:
    """A review of the label (0 negative, 1 positive): its key, its text, no second text."""
    works, aspects, good_words, bad_words, verbs, times = pick(rng, _DOMAINS)
    words = (bad_words, good_words)
    work, (one, other) = pick(rng, works), two(rng, aspects)
    good = bool(label)

    def adjective(noun: Noun, of: bool) -> str:
        return agree(pick(rng, words[of]), noun)

    way = rng.randrange(17)
    if way in (0, 14, 15, 16):  # plain
        link = pick(rng, ("et", "et surtout", "et même"))
        end = f"{the(one)} {_is(one)} {adjective(one, good)} {link} {the(other)} {_is(other)} {adjective(other, good)}"
    elif way in (1, 2):  # the clause after "mais" decides
        but = pick(rng, (", mais", ", pourtant", ", et malgré cela", " ; heureusement," if good else " ; hélas,"))
        first = f"{the(one)} {_is(one)} {adjective(one, not good)}"
        end = f"{first}{but} {the(other)} {_is(other)} {adjective(other, good)}"
    elif way == 3:  # the main clause decides, wherever it stands
        verb = "soient" if one.plural else "soit"
        less = f"{pick(rng, ('bien que', 'quoique'))} {the(one)} {verb} {adjective(one, not good)}"
        more = f"{the(other)} {_is(other)} {adjective(other, good)}"
        end = f"{less}, {more}" if rng.randrange(2) else f"{more}, {less}"
    elif way == 4:
        less = f"malgré {a(one)} {adjective(one, not good)}"
        more = f"{the(other)} {_is(other)} {adjective(other, good)}"
        end = f"{less}, {more}" if rng.randrange(2) else f"{more}, {less}"
    elif way in (5, 6):
        end = _one_clause(rng, one, good, words)
    elif way == 7:  # an announcement, confirmed or not
        announced = bool(rng.randrange(2))
        told = pick(
            rng, ("on me avait annoncé", "la publicité promettait", "la presse promettait", "je me attendais à")
        )
        thing = f"{a(work)} {adjective(work, announced)}"
        answers = (("il n'en est rien", "c'est tout le contraire", "c'est faux"), ("c'est vrai", "c'est bien le cas"))
        end = f"{told} {thing} : {pick(rng, answers[good == announced])}"
    elif way == 8:  # other people's opinion against mine
        liked = bool(rng.randrange(2))
        theirs = pick(rng, _LIKED if liked else _LOATHED)
        mine = ("et je ne partage pas cet avis", "mais je pense le contraire", "mais elle se trompe")
        same = ("et je suis du même avis", "et je la comprends", "et à juste titre")
        who = pick(rng, ("ma sœur", "ma fille", "ma voisine", "ma mère", "la critique", "la presse"))
        end = f"{who} a {theirs} {this(work)}, {pick(rng, same if liked == good else mine)}"
        return end, sentence(end), None
    elif way == 9:  # "rather than"
        said = f"{the(one)} {_is(one)} {adjective(one, good)} plutôt que {adjective(one, not good)}"
        end = (
            said
            if rng.randrange(2)
            else (f"loin de être {adjective(one, not good)}, {the(one)} {_is(one)} {adjective(one, good)}")
        )
    elif way == 10:  # verdicts that differ by a negation
        not_, pas = ("", "") if good else ("ne ", " pas")
        yes = (
            f"je {not_}recommande{pas} {this(work)}",
            f"{this(work)} {not_}mérite{pas} {pick(rng, ('son succès', 'sa réputation', 'ses bonnes notes'))}",
            f"{this(work)} {not_}vaut{pas} {pick(rng, ('son prix', 'le détour', 'que on se y attarde'))}",
            f"{this(work)} {not_}tient{pas} ses promesses",
        )
        not_, pas = ("ne ", pick(rng, (" pas", " jamais"))) if good else ("", "")
        no = (
            f"je {not_}regrette{pas} {pick(rng, ('mon choix', 'mon argent', 'le temps passé', 'ma soirée'))}",
            f"{this(work)} {not_}déçoit{pas}",
            f"{this(work)} {not_}manque{pas} de {pick(rng, ('soin', 'caractère', 'intérêt', 'qualités', 'sérieux'))}",
            f"{this(work)} {not_}lasse{pas}",
        )
        end = pick(rng, yes if rng.randrange(2) else no)
        end += pick(rng, ("", " à mon avis", ", je le dis sans détour", ", et je pèse mes mots", " selon moi"))
        return end, sentence(end), None
    elif way == 11:  # neither … nor
        end = f"{the(one)} ne {_is(one)} ni {adjective(one, not good)} ni {adjective(one, not good)}"
    elif way == 12:  # two aspects against one work
        end = (
            f"{pick(rng, ('certes', 'il est vrai que', 'on dira que'))} {the(one)} {_is(one)} "
            f"{adjective(one, not good)}, "
            f"mais {this(work)} reste {adjective(work, good)}"
        )
    else:  # feared or hoped, then found
        hoped = bool(rng.randrange(2))
        verb = "j'espérais" if hoped else "je craignais"
        found = (("je n'ai pas été exaucé", "j'ai vite déchanté"), ("mon vœu est exaucé", "je suis comblé"))
        feared = (
            ("mes craintes étaient fondées", "je ne me trompais pas"),
            ("j'avais tort", "mes craintes étaient vaines"),
        )
        end = f"{verb} {a(one)} {adjective(one, hoped)} : {pick(rng, (found if hoped else feared)[good])}"
    text = sentence(end)
    if rng.randrange(5) < 2:
        when = pick(rng, times if rng.randrange(2) else _ANY_TIME)
        text = f"{sentence(f'je ai {pick(rng, verbs)} {this(work)} {when}')} {text}"
    return text, text, None
