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


def _subjects(rng: Random, split: str, count: int) -> list[Noun]:
    """Different ones."""
    found: dict[str, Noun] = {}
    while len(found) < count:
        one = _subject(rng, split)
        found[one.word] = one
    return list(found.values())


def _objects(rng: Random, split: str) -> Draft:
    """Kinds of things: who bought a bicycle bought a vehicle."""
    who, somebody = (noun.word for noun in _subjects(rng, split, 2))
    kind = pick(rng, tuple(lx.KINDS))
    thing, other = two(rng, lx.KINDS[kind])
    did, colour, when = pick(rng, lx.OBTAINED), pick(rng, lx.COLOURS), pick(rng, lx.WHEN)
    during = f" {when}" if rng.randrange(2) else ""
    feminine = kind.gender == "f"
    no_kind = f"n'a {did} {'aucune' if feminine else 'aucun'} {kind.word}{during}"
    nothing = (
        no_kind,
        f"n'a pas {did} de {kind.word}{during}, {'ni grande ni petite' if feminine else 'ni grand ni petit'}",
        f"n'a rien {did} du tout{during}",
    )
    no_thing, no_other = (f"n'a pas {did} de {noun.word}{during}" for noun in (thing, other))
    only_thing, only_other = (f"n'a {did} que {a(noun)}{during}" for noun in (thing, other))
    some_thing, some_other, some_kind = (
        f"a {did} {a(noun)} {agree(colour, noun)}{during}" for noun in (thing, other, kind)
    )
    one_kind = f"n'a {did} que {'une seule' if feminine else 'un seul'} {kind.word}{during}"
    with_it = (some_thing, f"a {did} {a(thing)} et {a(other)}{during}", only_thing)
    with_any = (*with_it, one_kind, some_kind)
    without_it = (*nothing, only_other)
    unclear = (some_kind, no_other, one_kind, some_other)
    claim, premises = pick(
        rng,
        (
            (f"a {did} {a(kind)}{during}", (with_any, (no_thing, no_other), nothing)),
            (f"a {did} {a(thing)}{during}", (with_it, unclear, (*without_it, no_thing))),
            (no_kind, (nothing[1:], (no_thing, no_other), with_any)),
            (no_thing, (without_it, unclear, with_it)),
        ),
    )
    follows, is_open, excluded = ([f"{who} {premise}" for premise in found] for found in premises)
    is_open += [f"{somebody} {pick(rng, found)}" for found in (premises[0], premises[2])]
    return f"{who} {claim}", (tuple(follows), tuple(is_open), tuple(excluded))


def _everyone(group: Noun, deed: str) -> tuple[str, ...]:
    ones, one = group.word, group.word.removesuffix("s")
    every, each, a_ = ("toutes", "chacune", "une") if group.gender == "f" else ("tous", "chacun", "un")
    return (
        f"{every} les {ones} sans exception ont {deed}",
        f"{each} de les {ones} a {deed}",
        f"il n'y a pas {a_} {one} qui n'ait {deed}",
        f"les {ones} ont {every} {deed}, sans la moindre exception",
    )


def _nobody(group: Noun, deed: str) -> tuple[str, ...]:
    ones, one = group.word, group.word.removesuffix("s")
    every, no, a_ = ("toutes", "aucune", "une seule") if group.gender == "f" else ("tous", "aucun", "un seul")
    return (
        f"pas {a_} {one} n'a {deed}",
        f"{no} de les {ones} n'a {deed}",
        f"{every} les {ones} sans exception sont {agree('venu', group)}, mais {no} n'a {deed}",
    )


def _quantities(rng: Random, _split: str) -> Draft:
    """All, some, none, and the same of a part of the group."""
    gender = pick(rng, "mmf")
    group, other = two(rng, [noun for noun in lx.GROUPS if noun.gender == gender])
    deed, part = pick(rng, lx.DEEDS), pick(rng, lx.SUBGROUPS)
    ones, one = group.word, group.word.removesuffix("s")
    feminine = group.gender == "f"
    every, no, a_ = ("toutes", "aucune", "une") if feminine else ("tous", "aucun", "un")
    some = pick(rng, ("certaines" if feminine else "certains", "quelques"))
    everyone, nobody = _everyone(group, deed), _nobody(group, deed)
    several, few = f"plusieurs {ones} ont {deed}", f"deux ou trois {ones} ont {deed}"
    somebody = (several, few, f"{a_} {one} au moins a {deed}")
    not_several = f"plusieurs {ones} n'ont pas {deed}"
    not_all = (not_several, f"il y a au moins {a_} {one} qui n'a pas {deed}")
    some_part = f"plusieurs {ones} {part} ont {deed}"
    part_did = (f"{every} les {ones} {part} ont {deed}", some_part)
    part_not = (f"{no} {one} {part} n'a {deed}", f"les {ones} {part} n'ont pas {deed}")
    hypothesis, (follows, is_open, excluded) = pick(
        rng,
        (
            (f"{every} les {ones} ont {deed}", (everyone, part_did, nobody + not_all)),
            (f"{no} {one} n'a {deed}", (nobody, part_not, everyone + somebody + part_did)),
            (f"{some} {ones} ont {deed}", ((*everyone, *part_did, several, few), part_not, nobody)),
            (f"{some} {ones} n'ont pas {deed}", ((*nobody, *part_not, not_several), part_did, everyone)),
            (f"{every} les {ones} {part} ont {deed}", (everyone, (*somebody, *not_all, some_part), nobody + part_not)),
            (f"{no} {one} {part} n'a {deed}", ((*nobody, part_not[1]), somebody + not_all, everyone + part_did)),
        ),
    )
    others = (pick(rng, _everyone(other, deed)), pick(rng, _nobody(other, deed)))
    return hypothesis, (follows, is_open + others, excluded)


def _outcomes(rng: Random, split: str) -> Draft:
    """Verbs that say whether a thing was done: managed, forgot; and others that do not: promised."""
    who, other = _subjects(rng, split, 2)
    infinitive, participle, thing = pick(rng, lx.TASKS)
    x, when = who.word, pick(rng, lx.WHEN)
    to = f"{infinitive} {thing}"
    done = (
        f"{x} a réussi à {to}",
        f"{x} vient de {to}",
        f"{x} n'a pas oublié de {to}",
        f"{x} n'a pas manqué de {to}",
        f"{x} a fini par {to}",
        f"{x} a pris le temps de {to}",
        f"{x} est {agree('parvenu', who)} à {to} {when}",
    )
    undone = (
        f"{x} a oublié de {to}",
        f"{x} n'a pas réussi à {to}",
        f"{x} a négligé de {to}",
        f"{x} n'a pas pris la peine de {to}",
        f"{x} s'est {agree('abstenu', who)} de {to}",
        f"{x} a renoncé à {to} {when}",
        f"{x} n'a pas eu le temps de {to}",
    )
    promised = (
        f"{x} a promis {when} de {to}",
        f"{x} a promis à {other.word} de {to}",
        f"{x} n'a pas manqué de promettre de {to}",
    )
    unpromised = (
        f"{x} n'a jamais promis de {to}",
        f"{x} a refusé de promettre de {to}",
        f"{x} n'a promis à personne de {to}",
    )
    neutral = (*promised, *unpromised, f"on a demandé à {x} de {to}", f"{x} avait l'intention de {to}")
    return pick(
        rng,
        (
            (f"{x} a {participle} {thing}", (done, neutral, undone)),
            (f"{x} n'a pas {participle} {_negated(thing)}", (undone, neutral, done)),
            (f"{x} a promis de {to}", (promised, done + undone, unpromised)),
            (f"{x} n'a pas promis de {to}", (unpromised, done + undone, promised)),
        ),
    )


def _negated(thing: str) -> str:
    """The direct object under negation: "du pain" becomes "de pain", "une table" becomes "de table"."""
    article, _, rest = thing.partition(" ")
    return f"de {rest}" if article in ("du", "un", "une") else thing


def _whereabouts(rng: Random, split: str) -> Draft:
    """One place at a time."""
    who, other = (noun.word for noun in _subjects(rng, split, 2))
    doing, since = pick(rng, lx.ACTIVITIES), pick(rng, lx.LASTING)
    here, there = two(rng, pick(rng, (lx.ROOMS, lx.SPOTS)))
    no_doing = (
        f"{since}, {who} est {there}",
        f"{who} {doing} {there} {since}",
        f"{who} était {here} hier, mais se trouve à présent {there}",
    )
    here_doing = (
        f"{who} {doing} {here} {since}",
        f"{since}, {who} {doing} {here}",
        f"{here}, {who} {doing} avec plaisir",
    )
    open_ = (
        f"{who} {doing} {since}",
        f"{since}, {other} {doing} {here}",
        f"{other} {doing} {there} {since}",
        f"{other} était {here} hier, mais se trouve à présent {there}",
        f"{here}, {other} {doing} avec plaisir",
    )
    return pick(
        rng,
        (
            (f"{who} {doing} {here}", (here_doing, open_, no_doing)),
            (f"{who} est {here}", (here_doing, open_, no_doing)),
            (f"{who} n'est pas {here}", (no_doing, open_, here_doing)),
        ),
    )


def _comparisons(rng: Random, split: str) -> Draft:
    """More, less, as much; before and after."""
    first, second, third = _subjects(rng, split, 3)
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
            f"{x} est de loin plus {of_x} que {z}",
            f"{x} est bien moins {of_x} que {z}",
            f"{y} est moins {of_y} que {z}",
            f"{x} est plus {other_x} que {y} et que {z}",
            f"{y} n'est pas aussi {agree(other, second)} que {x}",
        )
        claims = (f"{x} est plus {of_x} que {y}", f"{x} est moins {of_x} que {y}")
    else:
        one = pick(rng, lx.MOVED)
        of_x, of_y = agree(one, first), agree(one, second)
        more = (
            f"{y} est {of_y} bien après {x}",
            f"{x} est {of_x} juste avant {y} et {z}",
            f"{x} est {of_x} avant {y}, qui a téléphoné à {z}",
        )
        less = (
            f"{x} est {of_x} bien après {y}",
            f"{y} est {of_y} juste avant {x} et {z}",
            f"{y} est {of_y} avant {x}, qui a téléphoné à {z}",
        )
        open_ = (
            f"{x} est {of_x} bien après {z}",
            f"{y} est {of_y} bien après {z}",
            f"{z} est {agree(one, third)} juste avant {x} et {y}",
            f"{x} est {of_x} avant {z}, qui a téléphoné à {y}",
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
    open_ = (
        f"{it} plus de {below} {thing}",
        f"{it} moins de {above} {thing}",
        f"{it} au moins {below} {thing}",
        f"{it} au plus {above} {thing}",
    )
    return pick(
        rng,
        ((f"{it} plus de {count} {thing}", (many, open_, few)), (f"{it} moins de {count} {thing}", (few, open_, many))),
    )


def _states(rng: Random, _split: str) -> Draft:
    """States that exclude each other."""
    pair, nouns = pick(rng, lx.STATES)
    noun, other = two(rng, nouns)
    if rng.randrange(2):
        pair = pair[::-1]
    it, is_, is_not = the(noun), agree(pair[0], noun), agree(pair[1], noun)
    since, when = (
        pick(rng, ("depuis midi", "en ce moment", "depuis une heure", "à présent", "depuis peu")),
        pick(rng, lx.WHEN),
    )
    pronoun = "elle" if noun.gender == "f" else "il"
    so = (
        f"{since}, {it} est {is_}",
        f"{since}, {it} n'est plus {is_not}",
        f"{when}, {it} était {is_not}, mais {pronoun} est {is_} {since}",
    )
    not_so = (
        f"{since}, {it} est {is_not}",
        f"{since}, {it} n'est plus {is_}",
        f"{when}, {it} était {is_}, mais {pronoun} est {is_not} {since}",
    )
    open_ = (
        f"{when}, {it} était {is_}",
        f"{when}, {it} était {is_not}",
        *(f"{since}, {the(other)} est {agree(state, other)}" for state in pair),
        *(f"{since}, {the(other)} n'est plus {agree(state, other)}" for state in pair),
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


def inference(rng: Random, label: int, split: str) -> tuple[tuple[str, str], str, str]:
    """A pair of the label (0 entailment, 1 neutral, 2 contradiction): its keys (both texts), premise, hypothesis."""
    hypothesis, premises = pick(rng, _FRAMES)(rng, split)
    texts = sentence(pick(rng, premises[label])), sentence(hypothesis)
    return texts, *texts
