"""``mini-senses``: a verb of two or three senses, which its object or its complement tells."""

from __future__ import annotations

import re
from random import Random

from flue_tasks.mini.grammar import Noun, pick, sentence, the
from flue_tasks.mini.lexicon import (
    BUILDINGS,
    CLUBS,
    GOODS,
    GROUPS,
    INSTITUTIONS,
    KINDS,
    OCCASIONS,
    PEOPLE,
    PIECES,
    ROLES,
)


def _kind(word: str) -> tuple[Noun, ...]:
    return next(nouns for kind, nouns in KINDS.items() if kind.word == word)


def _nouns(masculine: str, feminine: str) -> tuple[Noun, ...]:
    return (*(Noun(word, "m") for word in masculine.split(", ")), *(Noun(word, "f") for word in feminine.split(", ")))


_MONEY = _nouns("héritage, loyer, salaire, pourboire", "prime, pension, allocation, bourse")
_HEIGHTS = _nouns("escalier, sentier, perron, talus", "colline, côte, dune, rampe")
_ATTENDED = _nouns("procès, débat, match, cours de danse, cours de chant", "formation, conférence, leçon, réunion")

SENSES: tuple[tuple[str, str, str, str, tuple[Noun, ...]], ...] = (
    ("louer", "loue", "prendre à bail", "{0} loue {1}", BUILDINGS),
    ("louer", "loue", "vanter", "{0} loue {1}", PEOPLE),
    ("porter", "porte", "être vêtu de", "{0} porte {1}", _kind("vêtement")),
    ("porter", "porte", "tenir", "{0} porte {1}", _kind("outil")),
    ("monter", "monte", "assembler", "{0} monte {1}", _kind("meuble")),
    ("monter", "monte", "gravir", "{0} monte {1}", _HEIGHTS),
    ("jouer", "joue", "faire de la musique", "{0} joue de {1}", _kind("instrument")),
    ("jouer", "joue", "disputer un match", "{0} joue contre {1}", CLUBS),
    ("toucher", "touche", "mettre la main sur", "{0} touche {1}", GOODS),
    ("toucher", "touche", "émouvoir", "{0} touche {1}", GROUPS),
    ("toucher", "touche", "recevoir", "{0} touche {1}", _MONEY),
    ("défendre", "défend", "soutenir", "{0} défend {1}", PEOPLE),
    ("défendre", "défend", "interdire", "{0} défend {1} à les élèves", PIECES),
    ("suivre", "suit", "marcher derrière", "{0} suit {1}", PEOPLE),
    ("suivre", "suit", "assister à", "{0} suit {1}", _ATTENDED),
    ("quitter", "quitte", "sortir de", "{0} quitte {1}", BUILDINGS),
    ("quitter", "quitte", "cesser de travailler pour", "{0} quitte {1}", INSTITUTIONS),
)
"""Lemma, form, sense, a template of subject and object, and the objects."""
_WORDS = re.compile(r"\w+'|[\w-]+|[^\w\s]")


def used(rng: Random, number: int) -> tuple[tuple[str, ...], int, str, str]:
    """Draw a sentence: its words, the position of the verb, its lemma, and its sense."""
    lemma, form, sense, template, objects = SENSES[number % len(SENSES)]
    clause = template.format(the(pick(rng, ROLES)), the(pick(rng, objects)))
    ending = f" {pick(rng, OCCASIONS)}" if rng.randrange(2) else ""
    words = tuple(_WORDS.findall(sentence(clause + ending)))
    return words, words.index(form), lemma, sense
