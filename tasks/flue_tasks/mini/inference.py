"""``mini-xnli``: a premise and a hypothesis that follows from it, is open, or contradicts it.

Every frame draws the hypothesis first and the premise by the label: the hypothesis alone tells nothing.
"""

from __future__ import annotations

from random import Random

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence, the, two
from flue_tasks.mini.names import person, seen

Draft = tuple[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]
"""The hypothesis, and the premises that make it an entailment, neutral, a contradiction; as templates."""


def _subject(rng: Random, split: str) -> Noun:
    if rng.randrange(3):
        return person(rng, split)
    role = pick(rng, lx.ROLES)
    return role._replace(word=the(role))


def _no(noun: Noun) -> str:
    return f"{'aucune' if noun.gender == 'f' else 'aucun'} {noun.word}"


def _objects(rng: Random, split: str) -> Draft:
    """Kinds of things: who bought a bicycle bought a vehicle."""
    who, kind = _subject(rng, split).word, pick(rng, tuple(lx.KINDS))
    thing, other = two(rng, lx.KINDS[kind])
    did, colour, when = pick(rng, lx.OBTAINED), agree(pick(rng, lx.COLOURS), thing), pick(rng, lx.WHEN)
    during = f" {when}" if rng.randrange(2) else ""
    has = f"{who} a {did} {a(thing)} {colour}"
    small = "ni grande ni petite" if kind.gender == "f" else "ni grand ni petit"
    no_kind = (f"{who} n'a {did} {_no(kind)}{during}", f"{who} n'a pas {did} de {kind.word}{during}, {small}")
    no_other = f"{who} n'a pas {did} de {other.word}{during}"
    no_thing = f"{who} n'a pas {did} de {thing.word}{during}"
    with_it = (f"{has}{during}", f"{who} a {did} {a(thing)} et {a(other)}{during}", f"{has}{during}, comme prévu")
    some_kind = (f"{who} a {did} {a(kind)}{during}", no_other, f"{who} n'a {did} que une seule chose{during}")
    return pick(
        rng,
        (
            (f"{who} a {did} {a(kind)}{during}", (with_it, (no_thing, no_other, some_kind[2]), no_kind)),
            (f"{who} a {did} {a(thing)}{during}", (with_it, some_kind, (*no_kind, f"{no_thing}, c'est certain"))),
            (
                f"{who} n'a {did} {_no(kind)}{during}",
                (
                    (f"{who} n'a absolument rien {did}{during}", f"{who} n'a rien {did} du tout{during}"),
                    (no_thing, no_other),
                    with_it,
                ),
            ),
            (no_thing, (no_kind, some_kind, with_it)),
        ),
    )


def _quantities(rng: Random, _split: str) -> Draft:
    """All, some, none, and the same of a part of the group."""
    group, deed, part = pick(rng, lx.GROUPS), pick(rng, lx.DEEDS), pick(rng, lx.SUBGROUPS)
    one = _singular(group)
    no, un = ("aucune", "une") if group.gender == "f" else ("aucun", "un")
    some, every, each = (
        (("certaines", "quelques"), "toutes", "chacune")
        if group.gender == "f"
        else (("certains", "quelques"), "tous", "chacun")
    )
    ones = group.word
    everyone = (
        f"{every} les {ones} sans exception ont {deed}",
        f"{each} de les {ones} a {deed}",
        f"il n'y a pas {un} {one} qui n'ait {deed}",
        f"les {ones} ont {every} {deed}, sans la moindre exception",
    )
    nobody = (
        f"pas {un} seul{'e' * (group.gender == 'f')} {one} n'a {deed}",
        f"{no} de les {ones} n'a {deed}",
        f"{every} les {ones} sans exception sont {agree('venu', group)}, mais {no} n'a {deed}",
    )
    somebody = (f"plusieurs {ones} ont {deed}", f"{un} {one} au moins a {deed}", f"deux ou trois {ones} ont {deed}")
    not_all = (f"il y a au moins {un} {one} qui n'a pas {deed}", f"plusieurs {ones} n'ont pas {deed}")
    part_did = (f"{every} les {ones} {part} ont {deed}", f"plusieurs {ones} {part} ont {deed}")
    part_not = (f"{no} {one} {part} n'a {deed}", f"les {ones} {part} n'ont pas {deed}")
    return pick(
        rng,
        (
            (f"{every} les {ones} ont {deed}", (everyone, part_did, nobody + not_all)),
            (f"{no} {one} n'a {deed}", (nobody, part_not, everyone + somebody + part_did)),
            (f"{pick(rng, some)} {ones} ont {deed}", (everyone + part_did, part_not, nobody)),
            (f"{pick(rng, some)} {ones} n'ont pas {deed}", (nobody + part_not, part_did, everyone)),
        ),
    )


def _singular(group: Noun) -> str:
    return group.word.removesuffix("s")


def _outcomes(rng: Random, split: str) -> Draft:
    """Verbs that say whether a thing was done: managed, forgot, promised."""
    who = _subject(rng, split)
    infinitive, participle, thing = pick(rng, lx.TASKS)
    x, when = who.word, pick(rng, lx.WHEN)
    to = f"{infinitive} {thing}"
    done = (
        f"{x} a réussi à {to}",
        f"{x} a pensé à {to} {when}",
        f"{x} n'a pas oublié de {to}",
        f"{x} n'a pas manqué de {to}",
        f"{x} a fini par {to}",
        f"{x} a pris le temps de {to}",
        f"{x} est {agree('parvenu', who)} à {to} {when}",
    )
    undone = (
        f"{x} a oublié de {to}",
        f"{x} n'a pas réussi à {to}",
        f"{x} a refusé de {to}",
        f"{x} n'a pas pris la peine de {to}",
        f"{x} s'est {agree('abstenu', who)} de {to}",
        f"{x} n'a jamais pensé à {to}",
        f"{x} n'a pas eu le temps de {to}",
    )
    neutral = (
        f"{x} a promis de {to}",
        f"{x} n'a pas refusé de {to}",
        f"{x} avait l'intention de {to}",
        f"on a demandé à {x} de {to}",
        f"{x} n'a pas promis de {to}",
        f"{x} a parlé de {to} {when}",
        f"{x} n'a jamais dit vouloir {to}",
    )
    return pick(
        rng,
        (
            (f"{x} a {participle} {thing}", (done, neutral, undone)),
            (f"{x} n'a pas {participle} {_negated(thing)}", (undone, neutral, done)),
        ),
    )


def _negated(thing: str) -> str:
    """The direct object under negation: "du pain" becomes "de pain", "une table" becomes "de table"."""
    article, _, rest = thing.partition(" ")
    return f"de {rest}" if article in ("du", "un", "une") else thing


def _whereabouts(rng: Random, split: str) -> Draft:
    """One place at a time."""
    who, doing, since = _subject(rng, split).word, pick(rng, lx.ACTIVITIES), pick(rng, lx.LASTING)
    here, there = two(rng, lx.ROOMS)
    no_doing = (
        f"{since}, {who} est {there}",
        f"{who} {doing} {there} {since}",
        f"{who} a quitté les lieux et attend {there}",
    )
    here_doing = (
        f"{who} {doing} {here} {since}",
        f"{since}, {who} {doing} {here}",
        f"{here}, {who} {doing}, comme d'habitude",
    )
    open_ = (
        f"{who} {doing} {since}",
        f"{since}, {who} {doing} avec plaisir",
        f"hier, {who} était {here}, mais aujourd'hui ?",
    )
    return pick(
        rng,
        (
            (f"{who} {doing} {here}", (here_doing, open_[:2], no_doing)),
            (f"{who} est {here}", (here_doing, open_, no_doing)),
            (f"{who} n'est pas {here}", (no_doing, open_, here_doing)),
        ),
    )


def _comparisons(rng: Random, split: str) -> Draft:
    """More, less, as much; before and after."""
    first = second = third = _subject(rng, split)
    while second.word == first.word:
        second = _subject(rng, split)
    while third.word in (first.word, second.word):
        third = _subject(rng, split)
    x, y, z = first.word, second.word, third.word
    if rng.randrange(2):
        one, other = two(rng, lx.COMPARED)
        of_x, of_y, other_x = agree(one, first), agree(one, second), agree(other, first)
        more: tuple[str, ...] = (
            f"{y} est moins {of_y} que {x}",
            f"{x} est de loin plus {of_x} que {y}",
            f"{x} est plus {of_x} que {y} et que {z}",
            f"{y} n'est pas aussi {of_y} que {x}",
        )
        less: tuple[str, ...] = (
            f"{y} est plus {of_y} que {x}",
            f"{x} est bien moins {of_x} que {y}",
            f"{x} est moins {of_x} que {y} et que {z}",
            f"{x} n'est pas aussi {of_x} que {y}",
        )
        open_: tuple[str, ...] = (
            f"{x} est plus {of_x} que {z}",
            f"{x} est plus {other_x} que {y}",
            f"{y} est moins {of_y} que {z}",
            f"{x} est moins {of_x} que {z}",
            f"{y} n'est pas aussi {agree(other, second)} que {x}",
        )
        claims = (f"{x} est plus {of_x} que {y}", f"{x} est moins {of_x} que {y}")
    else:
        one, other = two(rng, lx.MOVED)
        of_x, of_y, when = agree(one, first), agree(one, second), pick(rng, lx.WHEN)
        more = (f"{y} est {of_y} après {x}", f"{x} est {of_x} bien avant {y}", f"{x} est {of_x} avant {y} et avant {z}")
        less = (f"{x} est {of_x} après {y}", f"{y} est {of_y} avant {x}", f"{y} est {of_y} juste avant {x} et {z}")
        open_ = (
            f"{x} est {of_x} {when}, comme {y}",
            f"{x} est {of_x} avant {z}",
            f"{y} est {of_y} après {z}",
            f"{x} a téléphoné avant {y}",
            f"{x} a téléphoné après {y}",
        )
        claims = (f"{x} est {of_x} avant {y}", f"{x} est {of_x} après {y}")
    return pick(rng, ((claims[0], (more, open_, less)), (claims[1], (less, open_, more))))


def _numbers(rng: Random, split: str) -> Draft:
    """More than, fewer than, exactly."""
    place, things = pick(rng, lx.COUNTED)
    thing, town = pick(rng, things), pick(rng, seen(lx.TOWNS, split))
    count = 20 + 5 * rng.randrange(60)
    above, below = count + 5 * (1 + rng.randrange(40)), count - 5 * (1 + rng.randrange(count // 5 - 2))
    it = f"{place} de {town} compte"
    many = (f"{it} {above} {thing}", f"{it} plus de {above} {thing}", f"{it} au moins {above} {thing}")
    few = (f"{it} {below} {thing}", f"{it} moins de {below} {thing}", f"{it} au plus {below} {thing}")
    open_ = (f"{it} plus de {below} {thing}", f"{it} moins de {above} {thing}", f"{it} beaucoup de {thing}")
    return pick(
        rng,
        ((f"{it} plus de {count} {thing}", (many, open_, few)), (f"{it} moins de {count} {thing}", (few, open_, many))),
    )


def _states(rng: Random, _split: str) -> Draft:
    """States that exclude each other."""
    pair, nouns = pick(rng, lx.STATES)
    noun = pick(rng, nouns)
    if rng.randrange(2):
        pair = pair[::-1]
    it, is_, is_not = the(noun), agree(pair[0], noun), agree(pair[1], noun)
    since, when = (
        pick(rng, ("depuis midi", "en ce moment", "depuis une heure", "à présent", "depuis peu")),
        pick(rng, lx.WHEN),
    )
    so = (f"{since}, {it} est {is_}", f"{since}, {it} n'est plus {is_not}", f"{it} est {is_}, tout le monde le voit")
    not_so = (
        f"{since}, {it} est {is_not}",
        f"{since}, {it} n'est plus {is_}",
        f"{it} est {is_not}, tout le monde le voit",
    )
    open_ = (
        f"{when}, {it} était {is_}",
        f"{when}, {it} n'était pas {is_not}",
        f"{when}, {it} était {is_not}",
        f"on me demande si {it} est {is_} ou {is_not}",
    )
    return pick(
        rng,
        ((f"{it} est {is_}", (so, open_, not_so)), (f"{it} n'est pas {is_}", (not_so, open_, so))),
    )


_FRAMES = (
    _objects,
    _objects,
    _quantities,
    _quantities,
    _outcomes,
    _outcomes,
    _whereabouts,
    _comparisons,
    _numbers,
    _states,
)


def inference(rng: Random, label: int, split: str) -> tuple[str, str, str]:
    """A pair of the label (0 entailment, 1 neutral, 2 contradiction): its key (the premise), premise, hypothesis."""
    hypothesis, premises = pick(rng, _FRAMES)(rng, split)
    premise = pick(rng, premises[label])
    end = "" if premise.endswith("?") else "."
    premise = sentence(premise, end)
    return premise, premise, sentence(hypothesis)
