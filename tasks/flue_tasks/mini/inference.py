"""``mini-xnli``: a premise and a hypothesis that follows from it, is open, or contradicts it.

Every frame draws the hypothesis first and the premise by the label: the hypothesis alone does not predict the label.
"""

from __future__ import annotations

from random import Random

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, a, agree, pick, sentence, the, two

Draft = tuple[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]
"""Templates: the hypothesis, and the premises that make it an entailment, neutral, and a contradiction."""


def _objects(rng: Random) -> Draft:
    """Draw from kinds of things: someone who bought a bicycle bought a vehicle."""
    who, kind = the(pick(rng, lx.PEOPLE)), pick(rng, tuple(lx.KINDS))
    thing, other = two(rng, lx.KINDS[kind])
    did, colour = pick(rng, lx.OBTAINED), pick(rng, lx.COLOURS)
    feminine = kind.gender == "f"
    no_kind = f"n'a {did} {'aucune' if feminine else 'aucun'} {kind.word}"
    nothing = (
        no_kind,
        f"n'a pas {did} de {kind.word}, {'ni grande ni petite' if feminine else 'ni grand ni petit'}",
        f"n'a rien {did} du tout",
    )
    no_thing, no_other = (f"n'a pas {did} de {noun.word}" for noun in (thing, other))
    only_thing, only_other = (f"n'a {did} que {a(noun)}" for noun in (thing, other))
    some_thing, some_other, some_kind = (f"a {did} {a(noun)} {agree(colour, noun)}" for noun in (thing, other, kind))
    one_kind = f"n'a {did} que {'une seule' if feminine else 'un seul'} {kind.word}"
    with_it = (some_thing, f"a {did} {a(thing)} et {a(other)}", only_thing)
    with_any = (*with_it, one_kind, some_kind)
    without_it = (*nothing, only_other)
    unclear = (some_kind, no_other, one_kind, some_other)
    claim, premises = pick(
        rng,
        (
            (f"a {did} {a(kind)}", (with_any, (no_thing, no_other), nothing)),
            (f"a {did} {a(thing)}", (with_it, unclear, (*without_it, no_thing))),
            (no_kind, (nothing[1:], (no_thing, no_other), with_any)),
            (no_thing, (without_it, unclear, with_it)),
        ),
    )
    follows, is_open, excluded = (tuple(f"{who} {premise}" for premise in of_reader) for of_reader in premises)
    return f"{who} {claim}", (follows, is_open, excluded)


def _everyone(group: Noun, deed: str) -> tuple[str, ...]:
    ones, one = group.word, group.word.removesuffix("s")
    every, each, a_ = ("toutes", "chacune", "une") if group.gender == "f" else ("tous", "chacun", "un")
    return (
        f"{every} les {ones} sans exception ont {deed}",
        f"{each} de les {ones} a {deed}",
        f"il n'y a pas {a_} {one} qui n'ait {deed}",
        f"les {ones} ont {every} {deed}",
    )


def _nobody(group: Noun, deed: str) -> tuple[str, ...]:
    ones, one = group.word, group.word.removesuffix("s")
    no, a_ = ("aucune", "une seule") if group.gender == "f" else ("aucun", "un seul")
    return (
        f"pas {a_} {one} n'a {deed}",
        f"{no} de les {ones} n'a {deed}",
        f"les {ones} sont {agree('venu', group)}, mais {no} n'a {deed}",
    )


def _quantities(rng: Random) -> Draft:
    """Draw from all, some and none, of a group and of a part of it."""
    gender = pick(rng, "mmf")
    group = pick(rng, [noun for noun in lx.GROUPS if noun.gender == gender])
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
    # For the whole group they leave everything open; "several" occurs twice, or a part of the group would reveal it.
    did, did_not = (*part_did, several, several), (*part_not, not_several, not_several)
    hypothesis, (follows, is_open, excluded) = pick(
        rng,
        (
            (f"{every} les {ones} ont {deed}", (everyone, did, nobody + not_all + part_not)),
            (f"{no} {one} n'a {deed}", (nobody, did_not, everyone + somebody + part_did + part_did)),
            (f"{some} {ones} ont {deed}", ((*everyone, *part_did, *part_did, several, few), did_not, nobody)),
            (f"{some} {ones} n'ont pas {deed}", ((*nobody, *part_not, *part_not, not_several), did, everyone)),
        ),
    )
    return hypothesis, (follows, is_open, excluded)


def inference(rng: Random, label: int, _split: str) -> tuple[tuple[str, str], str, str]:
    """Draw a pair of the label (0 entailment, 1 neutral, 2 contradiction): keys (both texts), premise, hypothesis."""
    hypothesis, premises = pick(rng, (_objects, _quantities))(rng)
    texts = sentence(pick(rng, premises[label])), sentence(hypothesis)
    return texts, *texts
