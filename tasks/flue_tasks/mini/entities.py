"""``mini-ner``: sentences where only the context makes a name a place, person, work or organisation.

Templates carry tags as suffixes: ``⟨name⟩/LOC``. Many names belong to one pool that serves all four types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from flue_tasks.mini import lexicon as lx
from flue_tasks.mini.grammar import Noun, pick, sentence, the
from flue_tasks.mini.names import seen

T = TypeVar("T")

_TOKEN = re.compile(r"M\.|\w[\w-]*'|[\w-]+(?:/(?:LOC|PER|MISC|ORG))?|[^\w\s]")


def _tag(name: str, tag: str) -> str:
    return " ".join(f"{word}/{tag}" for word in name.split())


def _noun(noun: Noun, tag: str) -> str:
    """Return the tagged noun with its article, which stays outside the entity."""
    return the(Noun(_tag(noun.word, tag), noun.gender, noun.plural))


TAGS = ("O", "LOC", "PER", "MISC", "ORG")


class _Names:
    """Draws names of each type, none twice in a sentence; every second one from the pools that serve several types."""

    def __init__(self, rng: Random, split: str) -> None:
        self.rng, self.split = rng, split
        self.female = bool(rng.randrange(2))
        self.drawn = set[object]()

    def _pick(self, pool: Sequence[T]) -> T:
        while (name := pick(self.rng, pool)) in self.drawn:
            pass
        self.drawn.add(name)
        return name

    def _either(self, pool: Sequence[str], *shared: Sequence[str]) -> str:
        """Draw from the pool, or as often from one of those shared with other types."""
        return self._pick(seen(tuple(pick(self.rng, shared) if self.rng.randrange(2) else pool), self.split))

    @property
    def per(self) -> str:
        surname = self._either(lx.SURNAMES, lx.PLACE_NAMES)
        if self.rng.randrange(4) == 0:
            return f"{'Mme' if self.female else 'M.'} {_tag(surname, 'PER')}"
        first = self._either(lx.WOMEN, lx.FIRST_NAMES) if self.female else self._pick(seen(lx.MEN, self.split))
        return _tag(f"{first} {surname}", "PER")

    @property
    def surname(self) -> str:
        return _tag(self._either(lx.SURNAMES, lx.PLACE_NAMES), "PER")

    @property
    def loc(self) -> str:
        return _tag(self._either(lx.VILLAGES if self.rng.randrange(3) == 0 else lx.TOWNS, lx.PLACE_NAMES), "LOC")

    @property
    def land(self) -> str:
        return _noun(self._pick(lx.LANDS), "LOC")

    @property
    def throughout(self) -> str:
        land = self._pick(lx.LANDS)
        return f"dans {'toute' if land.gender == 'f' else 'tout'} {_noun(land, 'LOC')}"

    @property
    def river(self) -> str:
        return _noun(self._pick(lx.RIVERS), "LOC")

    @property
    def org(self) -> str:
        """A bare name, for contexts in which it cannot be a town or a person."""
        return _tag(self._either(lx.FIRMS, lx.PLACE_NAMES, lx.FIRST_NAMES), "ORG")

    @property
    def concern(self) -> str:
        """A name with its type of firm: "le groupe Paris"."""
        return f"{the(self._pick(lx.CONCERNS))} {self.org}"

    @property
    def institution(self) -> str:
        return _noun(self._pick(lx.INSTITUTIONS), "ORG")

    @property
    def club(self) -> str:
        return _noun(self._pick(lx.CLUBS), "ORG")

    @property
    def work(self) -> str:
        return _tag(self._either(lx.WORKS, lx.PLACE_NAMES, lx.FIRST_NAMES), "MISC")

    @property
    def festival(self) -> str:
        return _noun(self._pick(lx.FESTIVALS), "MISC")

    @property
    def contest(self) -> str:
        return _noun(self._pick(lx.CONTESTS), "MISC")

    @property
    def history(self) -> str:
        return _noun(self._pick(lx.HISTORY), "MISC")

    def e(self, participle: str) -> str:
        """Return the participle in the gender of the person."""
        return participle + "e" * self.female

    @property
    def year(self) -> int:
        return 1900 + self.rng.randrange(124)

    @property
    def number(self) -> int:
        return 3 + self.rng.randrange(900)

    def one(self, *words: str) -> str:
        """Draw one of some words."""
        return pick(self.rng, words)


_TEMPLATES: tuple[Callable[[_Names], str], ...] = (
    # a name in a place's context
    lambda n: (
        f"{n.loc} compte {n.number} habitants et {n.one('une gare', 'deux écoles', 'un petit port', 'trois moulins')}"
    ),
    lambda n: (
        f"la route de {n.loc} à {n.loc} est "
        f"{n.one('fermée', 'glissante', 'en travaux', 'très étroite')} depuis {n.year}"
    ),
    lambda n: f"le maire de {n.loc} a {n.one('reçu', 'décoré', 'félicité', 'prévenu')} {n.per}",
    lambda n: f"{n.per} est {n.e('né')} à {n.loc} en {n.year}",
    lambda n: f"le train pour {n.loc} part à {n.one('midi', 'six heures', 'minuit')}, quai {n.number % 20 + 1}",
    lambda n: f"{n.loc} se trouve au {n.one('nord', 'sud', 'bord')} de {n.river}",
    lambda n: f"il pleut souvent sur {n.loc}, rarement sur {n.loc}",
    lambda n: f"{n.one('les rues', 'les toits', 'les remparts', 'les quais')} de {n.loc} datent de {n.year}",
    lambda n: f"née à {n.loc}, elle a grandi en banlieue de {n.loc}",
    lambda n: f"{n.river} traverse {n.loc} avant de rejoindre {n.river}",
    lambda n: f"{n.one('le vin', 'le fromage', 'le miel', 'la laine')} de {n.loc} se vend {n.throughout}",
    lambda n: f"entre {n.loc} et {n.loc}, le car traverse {n.land}",
    lambda n: f"{n.one('orange', 'grise', 'verte', 'blanche')}, la brume cachait {n.land} et {n.river}",
    lambda n: (
        f"arrivés à {n.loc}, les {n.one('marcheurs', 'soldats', 'pèlerins', 'cyclistes')} ont dormi près de {n.river}"
    ),
    # a name in a person's context
    lambda n: f"{n.per} a épousé {'le' if n.female else 'la'} {n.one('pianiste', 'juge', 'dentiste')} en {n.year}",
    lambda n: f"le docteur {n.surname} a soigné {n.per} pendant {n.number % 9 + 2} ans",
    lambda n: f"la famille {n.surname} vit à {n.loc} depuis {n.year}",
    lambda n: f"{n.one('violette', 'rose', 'blanche', 'marine')}, la veste de {n.per} se voyait de loin",
    lambda n: (
        f"« {n.one('je reviendrai', 'tout est fini', 'il fait froid', 'merci à tous')} "
        f"», a dit {n.per} en {n.one('souriant', 'partant')}"
    ),
    lambda n: f"fils de {n.per}, il a appris {n.one('le latin', 'la danse', 'le dessin')} chez les {n.surname}",
    lambda n: (
        f"{n.per} a {n.one('perdu', 'oublié', 'vendu', 'caché')} ses {n.one('clés', 'lunettes', 'lettres')} à {n.loc}"
    ),
    lambda n: f"les sœurs {n.surname} {n.one('chantent', 'dansent', 'peignent', 'nagent')} depuis l'enfance",
    lambda n: f"{n.per} {n.one('sourit', 'hésite', 'se tait', 'pleure')}, puis {n.per} prend la parole",
    lambda n: (
        f"mon voisin {n.surname} {n.one('déteste', 'adore', 'collectionne')} "
        f"les {n.one('oranges', 'timbres', 'pierres', 'roses')}"
    ),
    lambda n: (
        f"{(w := n.one('pierre', 'étage', 'saison', 'marche'))} après {w}, "
        f"{n.per} {n.one('avançait', 'approchait du but')}"
    ),
    lambda n: f"le capitaine {n.surname}, blessé près de {n.loc}, a été soigné par {n.per}",
    lambda n: f"âg{n.e('é')} de {n.number % 60 + 18} ans, {n.per} vit seul{n.e('')} près de {n.loc}",
    lambda n: f"selon l'avocat {n.surname}, {n.per} dormait cette nuit-là",
    # a name in an organisation's context
    lambda n: (
        f"{n.concern} emploie {n.number} {n.one('salariés', 'ingénieurs', 'ouvriers', 'chauffeurs')} {n.throughout}"
    ),
    lambda n: f"l'action {n.org} a {n.one('perdu', 'gagné', 'repris')} {n.number % 30 + 2} % à la Bourse de {n.loc}",
    lambda n: f"{n.concern} a racheté {n.one('son rival', 'la filiale')} {n.org}",
    lambda n: f"{n.per} dirige {n.concern} depuis {n.year}",
    lambda n: (
        f"les {n.one('salariés', 'clients', 'actionnaires', 'syndicats')} "
        f"de {n.concern} {n.one('protestent', 'attendent', 'votent')} à {n.loc}"
    ),
    lambda n: f"{n.institution} a {n.one('élu', 'nommé', 'recruté', 'exclu')} {n.per}",
    lambda n: f"{n.concern} a ouvert une {n.one('usine', 'boutique', 'agence')} à {n.loc} en {n.year}",
    lambda n: f"chez {n.concern}, le service de nuit est confié à {n.per}",
    lambda n: f"fondée par {n.per}, la société {n.org} fabrique des {n.one('pneus', 'montres', 'jouets', 'lampes')}",
    lambda n: f"{n.institution} et {n.institution} ont signé un accord",
    lambda n: f"le porte-parole de {n.concern} a démenti la vente de {n.one('son concurrent', 'sa filiale')} {n.org}",
    lambda n: f"à {n.loc}, {n.club} a battu {n.one('hier', 'dimanche', 'en finale')} {n.club}",
    lambda n: f"{n.concern} vend ses {n.one('machines', 'logiciels', 'meubles', 'tissus')} à {n.institution}",
    lambda n: f"{n.one('orange', 'grise', 'marine', 'blanche')} et noire, l'affiche vante la banque {n.org}",
    lambda n: f"{n.per} a quitté {n.institution} pour {n.one(n.concern, n.club)}",
    # a name in a work's or an event's context
    lambda n: f"le film {n.work} est sorti à {n.loc} en {n.year}",
    lambda n: f"{n.per} joue le rôle principal dans {n.work}",
    lambda n: f"le roman {n.work}, de {n.per}, raconte la vie d'un {n.one('marin', 'meunier', 'horloger', 'peintre')}",
    lambda n: f"l'opéra {n.work} a été repris à {n.loc} en {n.year}",
    lambda n: f"{n.per} a {n.one('lu', 'traduit', 'relu', 'illustré')} le livre {n.work} en {n.number % 9 + 2} jours",
    lambda n: f"{n.festival} attire {n.number} {n.one('curieux', 'visiteurs', 'musiciens')} chaque année",
    lambda n: f"{n.per} a gagné {n.contest} en {n.year}",
    lambda n: f"après {n.history}, {n.one('la ville', 'la région', 'la foule')} a retrouvé son calme",
    lambda n: f"la chanson {n.work} passe en boucle à la radio",
    lambda n: f"{n.concern} finance {n.one(n.festival, n.contest)} depuis {n.year}",
    lambda n: f"le magazine {n.work} consacre dix pages à {n.per}",
    lambda n: f"la série {n.work} est tournée entre {n.loc} et {n.loc}",
    lambda n: f"la pièce {n.work} sera jouée pendant {n.festival}",
    lambda n: f"{n.one('au cinéma', 'au théâtre', 'à la télévision')}, on donne {n.work}, puis {n.work}",
    lambda n: f"l'album {n.work} s'est vendu à {n.number} exemplaires {n.throughout}",
    lambda n: (
        f"dans le tableau {n.work}, {n.one('la lumière', 'la mer', 'le ciel')} vient de {n.one('gauche', 'droite')}"
    ),
    # no name at all, but capitals
    lambda n: (
        f"{n.one('rose', 'violette', 'marguerite')} ou {n.one('tulipe', 'pivoine', 'jonquille')}, "
        f"{n.one('le prix ne change pas', 'il faut choisir')}, dit la fleuriste"
    ),
    lambda n: (
        f"{n.one('orange', 'marron', 'blanche')} ou {n.one('verte', 'grise')}, la "
        f"{n.one('veste', 'porte', 'nappe')} {n.one('coûte', 'vaut')} {n.number} {n.one('euros', 'francs')}"
    ),
    lambda n: (
        f"{n.one('olivier', 'laurier', 'romarin')} et {n.one('thym', 'lavande', 'cyprès')} "
        f"{n.one('parfument le jardin', 'poussent ici depuis toujours')}"
    ),
)


def tagged(rng: Random, _row: int, split: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Draw a sentence: its words and their tags, as indexes into O LOC PER MISC ORG."""
    text = sentence(pick(rng, _TEMPLATES)(_Names(rng, split)))
    pairs = [token.partition("/")[::2] for token in _TOKEN.findall(text)]
    return tuple(word for word, _ in pairs), tuple(TAGS.index(tag or "O") for _, tag in pairs)
