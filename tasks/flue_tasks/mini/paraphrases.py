"""``mini-pawsx``: two sentences of nearly the same words that do or do not mean the same.

Every frame draws its rewording first, then swaps two fillers if the label requires it: the words do not predict it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, agree, pick, sentence, the, two
from flue_tasks.mini.names import person, seen

Pair = tuple[tuple[str, ...], str, str]
"""The fillers, and the two sentences as templates."""


Form = Callable[[Any, Any], str]
"""A wording, as a function of the two fillers that may be swapped."""


def _year(rng: Random) -> str:
    return str(1850 + rng.randrange(170))


def _somebody(rng: Random, split: str) -> Noun:
    return person(rng, split) if rng.randrange(2) else _the(pick(rng, lx.ROLES))


def _the(noun: Noun) -> Noun:
    return noun._replace(word=the(noun))


def _people(rng: Random, split: str) -> tuple[Noun, Noun]:
    first = second = _somebody(rng, split)
    while second.word == first.word:
        second = _somebody(rng, split)
    return first, second


def _treated(rng: Random, same: bool, split: str) -> Pair:
    who, whom = _people(rng, split)
    done, when = pick(rng, lx.TREATED), pick(rng, lx.OCCASIONS)
    x, y = (who, whom) if same else (whom, who)
    he = agree(done, y)
    first = f"{who.word} a {done} {whom.word} {when}"
    second = pick(
        rng,
        (
            f"{y.word} a été {he} par {x.word} {when}",
            f"{when}, {y.word} a été {he} par {x.word}",
            f"{when}, {x.word} a {done} {y.word}",
            f"c'est {x.word} qui a {done} {y.word} {when}",
            f"c'est {y.word} que {x.word} a {he} {when}",
            f"c'est par {x.word} que {y.word} a été {he} {when}",
        ),
    )
    return (who.word, whom.word, done, when), first, second


def _journey(rng: Random, same: bool, split: str) -> Pair:
    who, year = person(rng, split), _year(rng)
    one, other = two(rng, seen(lx.TOWNS, split))
    a, b = (one, other) if same else (other, one)
    left = agree("parti", who)
    forms: tuple[Form, ...] = (
        lambda p, q: f"en {year}, {who.word} a quitté {p} pour {q}",
        lambda p, q: f"{who.word} a déménagé de {p} à {q} en {year}",
        lambda p, q: f"{who.word} est {left} de {p} en {year} pour aller vivre à {q}",
        lambda p, q: f"{who.word} a quitté {p} en {year} et s'est {agree('installé', who)} à {q}",
        lambda p, q: f"après avoir quitté {p}, {who.word} s'est {agree('installé', who)} à {q} en {year}",
    )
    first, second = two(rng, forms)
    return (who.word, one, other, year), first(one, other), second(a, b)


def _life(rng: Random, same: bool, split: str) -> Pair:
    who, born = person(rng, split), 1800 + rng.randrange(120)
    died = born + 25 + rng.randrange(70)
    one, other = two(rng, seen(lx.TOWNS, split))
    a, b = (one, other) if same else (other, one)
    ne, mort = agree("né", who), agree("mort", who)
    forms: tuple[Form, ...] = (
        lambda p, q: f"{who.word} est {ne} à {p} en {born} et {mort} à {q} en {died}",
        lambda p, q: f"{ne} en {born} à {p}, {who.word} est {mort} en {died} à {q}",
        lambda p, q: f"{who.word}, {mort} à {q} en {died}, était {ne} à {p} en {born}",
        lambda p, q: f"c'est à {q} que {who.word}, {ne} à {p} en {born}, est {mort} en {died}",
    )
    first, second = two(rng, forms)
    return (who.word, one, other, str(born), str(died)), first(one, other), second(a, b)


def _compared(rng: Random, same: bool, split: str) -> Pair:
    who, whom = _people(rng, split)
    adjective = pick(rng, lx.COMPARED)
    when = pick(rng, ("à vrai dire", "sans aucun doute", "assurément", "de fait", "en réalité"))
    x, y = (who, whom) if same else (whom, who)
    more, less = agree(adjective, x), agree(adjective, y)
    first = f"{who.word} est plus {agree(adjective, who)} que {whom.word}"
    second = pick(
        rng,
        (
            f"{y.word} est moins {less} que {x.word}",
            f"{when}, {x.word} est plus {more} que {y.word}",
            f"{y.word} n'est pas aussi {less} que {x.word}",
            f"{agree('comparé', x)} à {y.word}, {x.word} est plus {more}",
        ),
    )
    return (who.word, whom.word, adjective), first, second


def _origin(rng: Random, same: bool, split: str) -> Pair:
    who, year = person(rng, split), 1850 + rng.randrange(130)
    job = pick(rng, lx.PROFESSIONS)[who.gender == "f"]
    noun = Noun(job, who.gender)
    one, other = two(rng, lx.PEOPLES)
    a, b = (one, other) if same else (other, one)
    un = "un" if who.gender == "m" else "une"
    female = Noun("origine", "f")
    forms: tuple[Form, ...] = (
        lambda p, q: (
            f"{who.word} est {un} {job} {agree(p, noun)} de origine {agree(q, female)}, {agree('né', who)} en {year}"
        ),
        lambda p, q: (
            f"{agree('né', who)} en {year}, {who.word} est {un} {job} {agree(p, noun)} de origine {agree(q, female)}"
        ),
        lambda p, q: (
            f"de origine {agree(q, female)}, {who.word}, {agree('né', who)} en {year}, est {un} {job} {agree(p, noun)}"
        ),
    )
    first, second = two(rng, forms)
    return (who.word, job, one, other), first(one, other), second(a, b)


def _crossed(rng: Random, same: bool, split: str) -> Pair:
    who, whom = _people(rng, split)
    what, where = (
        rng.randrange(3),
        pick(rng, ("à Amiens", "ici", "cette année", "le soir", "depuis mars", "au lycée", "en ville")),
    )
    if what == 0:
        verb, (one, other) = "enseigne", two(rng, lx.SUBJECTS)
    elif what == 1:
        verb, (one, other) = "habite à", two(rng, seen(lx.TOWNS, split))
        where = pick(rng, ("depuis mars", "depuis un an", "cette année", "depuis l'été", "depuis 2015"))
    else:
        verb, (one, other) = "étudie", two(rng, lx.SUBJECTS)
    x, y = (one, other) if same else (other, one)
    first = f"{where}, {who.word} {verb} {one} et {whom.word} {verb} {other}"
    second = pick(
        rng,
        (
            f"{where}, {whom.word} {verb} {y} et {who.word} {verb} {x}",
            f"{who.word} {verb} {x} {where}, tandis que {whom.word} {verb} {y}",
            f"{where}, {whom.word} {verb} {y}, alors que {who.word} {verb} {x}",
        ),
    )
    return (who.word, whom.word, one, other), first, second


def _located(rng: Random, same: bool, split: str) -> Pair:
    one, other = two(rng, seen(lx.VILLAGES, split))
    toward, back = pick(rng, lx.DIRECTIONS)
    if rng.randrange(2):
        toward, back = back, toward
    far = 2 + rng.randrange(60)
    x, y = (one, other) if same else (other, one)
    forms: tuple[Form, ...] = (
        lambda p, q: f"{p} se trouve à {far} km à le {toward} de {q}",
        lambda p, q: f"à {far} km à le {toward} de {q} se trouve {p}",
        lambda p, q: f"{q} est à {far} km à le {back} de {p}",
        lambda p, q: f"{p} est à le {toward} de {q}, à {far} km",
    )
    first, second = two(rng, forms)
    return (one, other, str(far)), first(one, other), second(x, y)


def _older(rng: Random, same: bool, split: str) -> Pair:
    one, other = two(rng, lx.BUILDINGS)
    town, gap = pick(rng, seen(lx.TOWNS, split)), 3 + rng.randrange(90)
    built = pick(rng, ("construit", "restauré", "fermé", "détruit", "inauguré", "agrandi", "classé"))
    x, y = (one, other) if same else (other, one)
    forms: tuple[Form, ...] = (
        lambda p, q: f"à {town}, {the(p)} a été {agree(built, p)} {gap} ans avant {the(q)}",
        lambda p, q: f"{the(q)} de {town} a été {agree(built, q)} {gap} ans après {the(p)}",
        lambda p, q: f"à {town}, c'est {gap} ans après {the(p)} que {the(q)} a été {agree(built, q)}",
        lambda p, q: f"{gap} ans avant {the(q)}, {the(p)} de {town} a été {agree(built, p)}",
    )
    first, second = two(rng, forms)
    return (one.word, other.word, town, built, str(gap)), first(one, other), second(x, y)


def _sold(rng: Random, same: bool, split: str) -> Pair:
    who = whom = person(rng, split)
    while whom == who:
        whom = person(rng, split)
    thing, year = pick(rng, lx.SOLD), _year(rng)
    x, y = (who, whom) if same else (whom, who)
    forms: tuple[Form, ...] = (
        lambda p, q: f"{p} a vendu {the(thing)} à {q} en {year}",
        lambda p, q: f"en {year}, {q} a acheté {the(thing)} à {p}",
        lambda p, q: f"en {year}, {p} a vendu {the(thing)} à {q}",
        lambda p, q: f"{the(thing)} a été {agree('vendu', thing)} en {year} à {q} par {p}",
        lambda p, q: f"c'est à {q} que {p} a vendu {the(thing)} en {year}",
    )
    first, second = two(rng, forms)
    return (who.word, whom.word, thing.word), first(who.word, whom.word), second(x.word, y.word)


def _made(rng: Random, same: bool, split: str) -> Pair:
    who, whom = _people(rng, split)
    piece, (one, other), year = pick(rng, lx.PIECES), pick(rng, lx.MADE), _year(rng)
    x, y = (who, whom) if same else (whom, who)
    le = "la" if piece.gender == "f" else "le"
    forms: tuple[Form, ...] = (
        lambda p, q: (
            f"{the(piece)} de {year} a été {agree(one, piece)} par {p.word} et {agree(other, piece)} par {q.word}"
        ),
        lambda p, q: f"{p.word} a {one} {the(piece)} de {year}, et {q.word} {le} a {agree(other, piece)}",
        lambda p, q: (
            f"{agree(one, piece)} par {p.word}, {the(piece)} de {year} a été {agree(other, piece)} par {q.word}"
        ),
        lambda p, q: f"{q.word} a {other} {the(piece)} de {year} que {p.word} avait {agree(one, piece)}",
    )
    first, second = two(rng, forms)
    return (who.word, whom.word, piece.word, one), first(who, whom), second(x, y)


def _counted(rng: Random, same: bool, split: str) -> Pair:
    place, things = pick(rng, lx.COUNTED)
    one, other = two(rng, things)
    n, m = two(rng, range(12, 120))
    town = pick(rng, seen(lx.TOWNS, split))
    x, y = (n, m) if same else (m, n)
    forms: tuple[Form, ...] = (
        lambda p, q: f"{place} de {town} compte {p} {one} et {q} {other}",
        lambda p, q: f"{place} de {town} compte {q} {other} et {p} {one}",
        lambda p, q: f"à {town}, {place} compte {p} {one} pour {q} {other}",
        lambda p, q: f"avec {q} {other}, {place} de {town} compte {p} {one}",
    )
    first, second = two(rng, forms)
    return (place, one, other, town, str(n), str(m)), first(n, m), second(x, y)


def _dated(rng: Random, same: bool, split: str) -> Pair:
    one, other = two(rng, seen(lx.TOWNS, split))
    first_month, second_month = two(rng, lx.MONTHS)
    who, year = person(rng, split), _year(rng)
    verb = pick(rng, ("a joué à", "a exposé à", "a parlé à", "a travaillé à", "a chanté à", "a séjourné à"))
    x, y = (first_month, second_month) if same else (second_month, first_month)
    forms: tuple[Form, ...] = (
        lambda p, q: f"{who.word} {verb} {one} en {p} {year} et à {other} en {q} de la même année",
        lambda p, q: f"en {p} {year}, {who.word} {verb} {one}, et en {q} à {other}",
        lambda p, q: f"en {year}, {who.word} {verb} {other} en {q} et à {one} en {p}",
    )
    first, second = two(rng, forms)
    return (who.word, one, other, year), first(first_month, second_month), second(x, y)


_FRAMES = (
    _treated,
    _treated,
    _journey,
    _life,
    _compared,
    _origin,
    _crossed,
    _located,
    _older,
    _sold,
    _made,
    _counted,
    _dated,
)


def pair(rng: Random, label: int, split: str) -> tuple[tuple[str], str, str]:
    """Draw a pair of the label (0 different, 1 paraphrase): its key (the fillers in any order), its two sentences."""
    fillers, first, second = pick(rng, _FRAMES)(rng, bool(label), split)
    if rng.randrange(2):
        first, second = second, first
    return (" ".join(sorted(fillers)),), sentence(first), sentence(second)
