"""The embedded mini tasks: the same everywhere, fair between splits, hard for a bag of words, and in correct French."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter, defaultdict
from dataclasses import astuple, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks.makers import artefacts
from flue_bench.errors import DataError
from flue_bench.task import Example, Split, Task
from flue_tasks.mini import grammar, lexicon, read, reviews
from flue_tasks.mini.grammar import Noun
from support import ROOT

SPLITS: tuple[Split, ...] = get_args(Split)
NAMES = ("mini-cls", "mini-pawsx", "mini-xnli", "mini-ner")
KINDS = ("mini-stars", "mini-topics", "mini-choices", "mini-senses", "mini-qa", "mini-pos")
GROUPS = dict.fromkeys(NAMES, ("mini",)) | dict.fromkeys(KINDS, ("mini-kinds",)) | {"mini-pawsx": ()}

# A change of these is a change of the data: raise the task's version with it.
DIGESTS = {
    "mini-cls train": "b287d7c3a85efd99",
    "mini-cls validation": "75f2d83af506ed91",
    "mini-cls test": "54352bca46b35989",
    "mini-pawsx train": "083af8ec0924124d",
    "mini-pawsx validation": "266b63efc8e74f7e",
    "mini-pawsx test": "b08597ff1a06e97a",
    "mini-xnli train": "93dff5e424dd05ec",
    "mini-xnli validation": "3725da6044f7ffe3",
    "mini-xnli test": "2f11a9073757a4e2",
    "mini-ner train": "0506e5472cd30743",
    "mini-ner validation": "86659c771bd1cc43",
    "mini-ner test": "176d99bc353d9680",
    "mini-stars train": "20be0c154db5f4d9",
    "mini-stars validation": "45bcd6cedda0b2fc",
    "mini-stars test": "14b2b27da3152554",
    "mini-topics train": "f671e23de958eaf3",
    "mini-topics validation": "df95e26dc06893d4",
    "mini-topics test": "fc60fc3307f66674",
    "mini-choices train": "2f94048e57db7990",
    "mini-choices validation": "74c25c99dbf05822",
    "mini-choices test": "1b2a67f105db4cd7",
    "mini-senses train": "545daa86ce0300c9",
    "mini-senses validation": "702749a9d65dfe61",
    "mini-senses test": "e345e66e682520be",
    "mini-pos train": "9372b81a53522ede",
    "mini-pos validation": "d8d099099992af4e",
    "mini-pos test": "11aa8386d1dac035",
    "mini-qa train": "a2c34f1dcdf768ee",
    "mini-qa validation": "e2c700df32057836",
    "mini-qa test": "a84ccfcbbb30defd",
}


@cache
def task(name: str) -> Task:
    return Task.model_validate(tomllib.loads((ROOT / "tasks/flue_tasks" / f"{name}.toml").read_text(encoding="utf-8")))


@cache
def rows(name: str, split: Split) -> tuple[Example, ...]:
    return tuple(read(Path(), split, task(name)))


def texts(example: Example) -> list[str]:
    joined = " ".join(example.words)
    for token, written in ((r"' ", "'"), (r" ([,.])", r"\1")):
        joined = re.sub(token, written, joined)
    several = (*getattr(example, "choices", ()), getattr(example, "question", ""), getattr(example, "context", ""))
    return [text for text in (example.text, example.text_pair, joined, *several) if text]


def lines(name: str) -> list[str]:
    return [text for split in SPLITS for example in rows(name, split) for text in texts(example)]


def normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("name", GROUPS)
class TestData:
    def test_is_the_same_on_every_machine(self, name: str) -> None:
        found = {}
        for split in SPLITS:
            content = "\n".join(repr(astuple(example)) for example in rows(name, split))
            found[f"{name} {split}"] = hashlib.sha256(content.encode()).hexdigest()[:16]
        assert found == {key: value for key, value in DIGESTS.items() if key.startswith(f"{name} ")}

    def test_has_the_declared_rows_and_nothing_else(self, name: str) -> None:
        declared = task(name)
        assert declared.groups == GROUPS[name]
        assert declared.licence == "MIT"
        for split in SPLITS:
            examples = rows(name, split)
            assert (len(examples),) == declared.rows[split]
            assert len({example.id for example in examples}) == len(examples)
            for example in examples:
                assert bool(example.words) == (declared.kind in ("tokens", "senses"))
                assert (example.text_pair is not None) == (declared.kind == "sentence-pair")
                assert len(example.words) == len(example.tags) or declared.kind == "senses"

    def test_splits_share_no_group_and_no_sentence(self, name: str) -> None:
        def sentences(example: Example) -> set[str]:
            return {normalised(part) for text in texts(example) for part in re.split(r"(?<=\w\w\.) ", text)}

        groups = [{example.group for example in rows(name, split)} for split in SPLITS]
        said = [set().union(*(sentences(example) for example in rows(name, split))) for split in SPLITS]
        for train, validation, test in (groups, said):
            assert not (train & validation or train & test or validation & test)

    def test_no_text_stands_twice_in_a_split(self, name: str) -> None:
        for split in SPLITS:
            found = Counter(normalised(" ".join(texts(example))) for example in rows(name, split))
            assert found.most_common(1)[0][1] == 1

    def test_a_pair_is_never_one_text_twice(self, name: str) -> None:
        assert all(
            example.text != example.text_pair for split in SPLITS for example in rows(name, split) if example.text
        )

    def test_sentences_are_short_and_varied(self, name: str) -> None:
        words = [re.findall(r"\w+", line) for line in lines(name)]
        least = 3 if name == "mini-choices" else 5  # its choices are sentences of a subject and an adjective
        assert least < np.mean([len(line) for line in words]) < 15
        assert len({word.lower() for line in words for word in line}) > 350

    def test_elision_and_contraction(self, name: str) -> None:
        short = r"(?:le|la|de|ne|que|je|se|me|te|jusque|lorsque|puisque)"
        wrong = re.compile(
            rf"\b(?:de|à) les?\b|\bde (?:des|du|aux?)\b|\b{short} [aeiouàâéèêëîïôûœæ]"
            rf"|\b{short} (?:habit|hélène|hébert|heure|hier|hist|hiver|hôp|hôt|horlog|hugo|hermès|héroïne|harmoni|yves)"
            r"|['](?:hach|haddad|hall|hamster|hangar|harpe|hautbois|héros|hêtre|hongr|honfleur|housse|yasmine|[bcdfgjklmnpqrstvwxz])"
            r"|\bsi ils?\b|\bce (?:est|était)\b|\bcet [^aeiouhàâéèêëîïôûœæ]|\bce [aeiouàâéèêëîïôûœæ]"
            r"|\b(?:ma|ta|sa) [aeiouàâéèêëîïôûœæ]|\bn (?:est|a)\b|  | [,.]|[.,]{2}| '|' |/|\bNone\b",
            re.IGNORECASE,
        )
        found = [line for line in lines(name) if wrong.search(line.replace("aujourd'hui", "demain"))]
        assert not found

    def test_articles_agree_with_nouns(self, name: str) -> None:
        pools = [pool for pool in vars(lexicon).values() if isinstance(pool, tuple)]
        nouns = {item for pool in pools for item in pool if isinstance(item, Noun)}
        nouns |= {kind for kind in lexicon.KINDS} | {thing for things in lexicon.KINDS.values() for thing in things}
        nouns |= {Noun(word, gender) for pair in lexicon.PROFESSIONS for word, gender in zip(pair, "mf", strict=True)}
        genders = defaultdict(set)
        for noun in nouns:
            genders[noun.word.split()[0].lower()].add((noun.gender, noun.plural))
        articles = {"un": "m", "ce": "m", "cet": "m", "le": "m", "aucun": "m", "du": "m", "au": "m"}
        articles |= {"une": "f", "cette": "f", "la": "f", "aucune": "f"}
        for line in lines(name):
            for article, word in re.findall(rf"\b({'|'.join(articles)}) ([\w-]+)", line.lower()):
                if len(genders[word]) == 1:  # "le juge", "la juge": only nouns of one gender tell
                    assert genders[word] == {(articles[article], False)}, line

    def test_adjectives_and_participles_agree_with_their_subject(self, name: str) -> None:
        pools = (lexicon.ART_GOOD, lexicon.ART_BAD, lexicon.GOODS_GOOD, lexicon.GOODS_BAD, lexicon.COMPARED)
        pools += (lexicon.TREATED, lexicon.PEOPLES, lexicon.COLOURS)
        words = {word for pool in pools for word in pool} | {"venu"}
        forms = defaultdict(set)
        for word in words:
            for subject in (Noun("", gender, plural) for gender in "mf" for plural in (False, True)):
                forms[grammar.agree(word, subject).rsplit(" ", 1)[-1]].add((subject.gender, subject.plural))
        said = (
            r"\b(le|un|ce|cet|la|une|cette|les|des) ([\w-]+) (?:n')?(est|sont|a été|ont été)(?: plus| moins)? (\w+)\b"
        )
        checked = 0
        for line in lines(name):
            for article, _, verb, word in re.findall(said, line.lower()):
                if word in forms:
                    plural = verb in ("sont", "ont été")
                    possible = {plural_ for _, plural_ in forms[word]}
                    assert plural in possible, line
                    if article not in ("les", "des"):
                        assert ("f" if article in ("la", "une", "cette") else "m", plural) in forms[word], line
                    checked += 1
        assert checked > 90 or name in ("mini-ner", "mini-senses", "mini-qa")  # the last has names for subjects


@pytest.mark.parametrize("name", NAMES)
class TestLabels:
    def test_no_word_gives_a_label_away(self, name: str) -> None:
        found: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for example in (example for split in SPLITS for example in rows(name, split)):
            for word in {word for text in texts(example) for word in re.findall(r"\w+", text.lower())}:
                found[word][example.label] += 1
        if name in ("mini-pawsx", "mini-xnli"):  # an adjective of a review does tell something
            assert not [
                word for word, seen in found.items() if seen.total() > 40 and max(seen.values()) > 0.8 * seen.total()
            ]
        assert not [word for word, seen in found.items() if seen.total() > 60 and len(seen) == 1 and name != "mini-ner"]

    def test_labels_are_balanced(self, name: str) -> None:
        if name == "mini-ner":
            tags = Counter(tag for example in rows(name, "test") for tag in set(example.tags) if tag)
            assert set(tags) == {1, 2, 3, 4}
            assert min(tags.values()) > 0.15 * tags.total()
            return
        for split in SPLITS:
            counts = Counter(example.label for example in rows(name, split))
            assert set(counts) == set(range(len(task(name).labels)))
            assert max(counts.values()) == min(counts.values())


@pytest.mark.parametrize(
    ("name", "bound"), [("mini-cls", 82.0), ("mini-pawsx", 57.0), ("mini-xnli", 62.0), ("mini-ner", 55.0)]
)
def test_it_cannot_be_solved_without_reading(name: str, bound: float) -> None:
    found = artefacts.baselines(task(name), {split: rows(name, split) for split in SPLITS})
    print(name, found)
    chance = {"mini-cls": 1 / 3, "mini-pawsx": 1 / 3, "mini-xnli": 1 / 6, "mini-ner": 0.0}[name]  # accuracy 1/2, 1/3
    assert found["majority vote"] == pytest.approx(100 * chance)
    assert max(found.values()) < bound
    assert found.get("second text alone: words and bigrams", 0) < {"mini-pawsx": 57, "mini-xnli": 40}.get(name, 1)


def test_stars_are_the_good_opinions_of_three_and_balanced() -> None:
    subjects = [Noun("", gender, plural) for plural in (False, True) for gender in "mf"]
    good, bad = (
        {grammar.agree(word, noun) for word in words for noun in subjects}
        for words in (lexicon.ART_GOOD + lexicon.GOODS_GOOD, lexicon.ART_BAD + lexicon.GOODS_BAD)
    )
    for split in SPLITS:
        counted = Counter(example.value for example in rows("mini-stars", split))  # type: ignore[attr-defined]
        assert set(counted) == {1, 2, 3, 4} and max(counted.values()) == min(counted.values())
        for example in rows("mini-stars", split):
            said = re.findall(r"(?:est|sont) ((?:bien |mal )?\w+)", example.text)
            assert len(said) == 3 and all((word in good) != (word in bad) for word in said), example
            assert 1 + sum(word in good for word in said) == example.value  # type: ignore[attr-defined]


def test_topics_are_each_set_of_them_equally_often() -> None:
    works = [{work.word for work in domain.works} for domain in reviews.DOMAINS]
    for split in SPLITS:
        counted = Counter(example.labels for example in rows("mini-topics", split))  # type: ignore[attr-defined]
        assert len(counted) == 16 and max(counted.values()) - min(counted.values()) <= 1
        for example in rows("mini-topics", split):
            named = re.findall(r"\b[Cc](?:e|et|ette) (.+?) est ", example.text)
            assert len(named) == len(example.labels)  # type: ignore[attr-defined]
            assert all(any(work in works[label] for work in named) for label in example.labels)  # type: ignore[attr-defined]


def test_the_right_choice_alone_is_about_what_is_asked() -> None:
    for split in SPLITS:
        sizes = Counter(len(example.choices) for example in rows("mini-choices", split))  # type: ignore[attr-defined]
        assert set(sizes) == {2, 3, 4, 5} and max(sizes.values()) - min(sizes.values()) <= 1
        for example in rows("mini-choices", split):
            asked = example.text.lower().split(", c'est")[0].rstrip(" ?").split()[-1]
            about = [asked.split("'")[-1] in choice.lower() for choice in example.choices]  # type: ignore[attr-defined]
            assert about[example.label], (asked, example)


def test_the_class_of_a_word_is_told_by_its_neighbours() -> None:
    """All classes are in each split; many forms have several, and the most frequent of train is often wrong."""
    names = task("mini-pos").labels
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for example in rows("mini-pos", "train"):
        for word, tag in zip(example.words, example.tags, strict=True):
            seen[word.lower()][tag] += 1
    several = {word for word, tags in seen.items() if len(tags) > 1}
    assert {"la", "le", "les", "en", "porte", "livre", "garde", "été"} <= several and len(several) > 40
    assert {names[tag] for tag in seen["la"]} == {"DET", "PRON"} and {names[tag] for tag in seen["porte"]} == {
        "NOUN",
        "VERB",
    }
    for split in SPLITS:
        pairs = [pair for each in rows("mini-pos", split) for pair in zip(each.words, each.tags, strict=True)]
        assert {names[tag] for _, tag in pairs} == set(names)
        right = sum(word.lower() in seen and seen[word.lower()].most_common(1)[0][0] == tag for word, tag in pairs)
        assert 0.7 < right / len(pairs) < 0.93
    for each in rows(
        "mini-pos", "test"
    ):  # an article before a noun or an adjective, a pronoun before a verb or another
        for (word, tag), (_, after) in pairwise(zip(each.words, each.tags, strict=True)):
            if word.lower() in ("la", "le", "les", "l'"):
                assert names[after] in {"DET": ("NOUN",), "PRON": ("VERB",)}[names[tag]], each


def test_three_of_four_questions_have_their_answer_in_the_context() -> None:
    both = {*lexicon.WOMEN} & {*lexicon.MEN}
    for split in SPLITS:
        by_whom = 0
        for number, row in enumerate(rows("mini-qa", split)):
            question, context, answers = (getattr(row, name) for name in ("question", "context", "answers"))
            assert bool(answers) == (number % 4 != 3)
            assert all(context[start : start + len(text)] == text for text, start in answers)
            people = [part.split()[0].rstrip(",") for part in re.split(r"(?<=\w\w\.) ", context)]
            assert len({*people}) == 2
            by_whom += question.startswith("Qui")
            if not question.startswith("Qui"):  # who is asked for is named in one of the sentences
                assert sum(re.search(rf"\b{name}\b", question) is not None for name in people) == 1, question
            for name, ending in re.findall(r"(?:^|\. )([\w-]+)[^.]*? est arrivé(e?) ", context):
                assert name in both or (name in lexicon.WOMEN) == bool(ending), context
        assert 0.3 < by_whom / (number + 1) < 0.45


def test_baselines_learn_what_is_there_to_learn() -> None:
    told = {
        split: [replace(row, text=f"{row.text} {'non' if row.label else 'oui'}") for row in rows("mini-cls", split)]
        for split in SPLITS
    }
    assert artefacts.regression(task("mini-cls"), told, artefacts.last_clause, artefacts.ngrams(1)) == 100
    known = dict.fromkeys(SPLITS, rows("mini-ner", "train")[:1])
    assert artefacts.memory(task("mini-ner"), known) == 100


def test_the_reader_refuses_a_task_it_does_not_know() -> None:
    other = task("mini-cls").model_copy(update={"name": "tweets"})
    with pytest.raises(DataError, match=r"mini-cls, mini-pawsx, mini-xnli, mini-ner.* and mini-qa, not 'tweets'"):
        next(iter(read(Path(), "train", other)))


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("le avocat de le maire parle à le héros", "L'avocat du maire parle au héros."),
        ("je ai vu que il ne est pas à les aguets", "J'ai vu qu'il n'est pas aux aguets."),
        ("la harpe de la héroïne est près de le hangar", "La harpe de l'héroïne est près du hangar."),
        ("ce est le ami de Yves et de Yasmine", "C'est l'ami d'Yves et de Yasmine."),
        ("« je viens », dit-il", "« Je viens », dit-il."),
    ],
)
def test_sentence(template: str, written: str) -> None:
    assert grammar.sentence(template) == written


@pytest.mark.parametrize(
    ("adjective", "forms"),
    [
        ("lent", "lent lente lents lentes"),
        ("ennuyeux", "ennuyeux ennuyeuse ennuyeux ennuyeuses"),
        ("banal", "banal banale banals banales"),
        ("original", "original originale originaux originales"),
        ("creux/creuse", "creux creuse creux creuses"),
        ("superbe", "superbe superbe superbes superbes"),
        ("inventif", "inventif inventive inventifs inventives"),
    ],
)
def test_agree(adjective: str, forms: str) -> None:
    nouns = [Noun("", gender, plural) for plural in (False, True) for gender in "mf"]
    assert " ".join(grammar.agree(adjective, noun) for noun in nouns) == forms
