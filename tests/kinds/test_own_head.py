"""What the labels of a head mean in a task: by name alone, and tags with the borders that the head gives them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from flue_bench.kinds.kind import Kind
from flue_bench.kinds.names import UnmatchedError, as_pair, counterparts, pairs
from flue_bench.kinds.own_head import read_tags
from flue_bench.kinds.tokens import TOKENS
from flue_bench.record import NoTraining

NLI = ("entailment", "neutral", "contradiction")
SENTIMENT = ("négatif", "positif")
THREE = ("negative", "neutral", "positive")
STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


@pytest.mark.parametrize(
    ("theirs", "ours", "given", "meant"),
    [
        (("contradiction", "entailment", "neutral"), NLI, {}, ("contradiction", "entailment", "neutral")),
        (("CONTRADICTION", "Neutre", "implication"), NLI, {}, ("contradiction", "neutral", "entailment")),
        (("POSITIVE", "NEGATIVE"), SENTIMENT, {}, ("positif", "négatif")),
        (("pos", "neg"), SENTIMENT, {}, ("positif", "négatif")),
        (("Ne\u0301gatif", "POSITIF"), SENTIMENT, {}, ("négatif", "positif")),  # decomposed
        (("LABEL_1", "LABEL_0"), SENTIMENT, {"LABEL_0": "negatif", "label_1": "Positif"}, ("positif", "négatif")),
        (("neg", "pos", "mixed"), SENTIMENT, {"mixed": "négatif"}, ("négatif", "positif", "négatif")),
        (("b", "a"), ("a", "b"), {"a": "b", "b": "a"}, ("a", "b")),  # what is given comes before names
        (STARS, ("1", "2", "3", "4", "5"), {}, ("1", "2", "3", "4", "5")),
        (STARS[::-1], THREE, {}, ("positive", "positive", "neutral", "negative", "negative")),
        (("1 étoile", "2 étoiles", "3 étoiles", "4 étoiles"), SENTIMENT, {}, ("négatif",) * 2 + ("positif",) * 2),
        (STARS, SENTIMENT, {"3 stars": "négatif"}, ("négatif",) * 3 + ("positif",) * 2),
        (
            ("entailment", "neutral"),
            NLI,
            {"neutral": "neutral"},
            ("entailment", "neutral"),
        ),  # said, so one may be missing
    ],
)
def test_names_say_what_is_meant(theirs: Any, ours: Any, given: dict[str, str], meant: Any) -> None:
    assert counterparts(theirs, ours, given) == dict(zip(theirs, meant, strict=True))


@pytest.mark.parametrize(
    ("theirs", "ours", "given", "said"),
    [
        (("LABEL_0", "LABEL_1"), SENTIMENT, {}, "'LABEL_0', 'LABEL_1' are no names"),
        (("LABEL_0", "LABEL_1"), ("LABEL_0", "LABEL_1"), {}, "are no names"),
        (("LABEL_0", "LABEL_1"), SENTIMENT, {"LABEL_0": "négatif"}, "'LABEL_1' are no names"),
        (("entailment", "not_entailment"), NLI, {}, "the task has no label that means 'not_entailment'"),
        (("entailment", "contradiction"), NLI, {}, "the head has no label that means 'neutral'"),
        (("pos", "positive", "neg"), SENTIMENT, {}, "'pos' and 'positive' both mean 'positif'"),
        (STARS, SENTIMENT, {}, "the task has no label that means '3 stars'"),
        (("1 star", "3 stars"), SENTIMENT, {}, "no label that means '1 star', '3 stars'"),
        (("+", "-"), SENTIMENT, {}, "no label that means"),
        (("+",), ("-",), {}, "no label that means"),
        (("a", "b"), ("a", "b"), {"c": "a"}, "'c' is no label of the head"),
        (("a", "b"), ("a", "b"), {"a": "c"}, "'c' is no label of the task"),
        (("us", "US"), ("Us", "uS"), {}, "no label that means"),
    ],
)
def test_nothing_is_guessed(theirs: Any, ours: Any, given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        counterparts(theirs, ours, given)


def test_what_is_advised_is_accepted() -> None:
    theirs = ("entailment", "contradiction")
    with pytest.raises(UnmatchedError) as raised:
        counterparts(theirs, NLI, {})
    assert counterparts(theirs, NLI, raised.value.advice) == {name: name for name in theirs}


CLASSES = ("O", "LOC", "PER", "MISC", "ORG")


@pytest.mark.parametrize(
    ("theirs", "scheme", "is_scheme", "meant"),
    [
        (("O", "I-LOC", "I-PER", "I-MISC", "I-ORG"), "IO", "IO", ("O", "LOC", "PER", "MISC", "ORG")),
        (("O", "LOC", "PER", "MISC", "ORG"), "IOB2", "IO", ("O", "LOC", "PER", "MISC", "ORG")),
        (
            ("B-PERSON", "I-PERSON", "B-LIEU", "I-LIEU", "B-ORG", "I-ORG", "B-MISC", "I-MISC", "O"),
            "IO",
            "IOB2",
            ("PER", "PER", "LOC", "LOC", "ORG", "ORG", "MISC", "MISC", "O"),
        ),
        (
            ("O", *(f"{p}-{c}" for c in CLASSES[1:] for p in "BILU")),
            "IOB2",
            "BILOU",
            ("O", *(c for c in CLASSES[1:] for _ in "BILU")),
        ),
        (
            ("O", *(f"{p}-{c}" for c in CLASSES[1:] for p in "BIES")),
            "IOB1",
            "IOBES",
            ("O", *(c for c in CLASSES[1:] for _ in "BIES")),
        ),
    ],
)
def test_tags_mean_classes(theirs: Any, scheme: str, is_scheme: str, meant: Any) -> None:
    reading = read_tags(theirs, CLASSES, scheme, {})
    assert (reading.scheme, tuple(reading.answers.values())) == (is_scheme, meant)
    assert ("written as the task's" in reading.converted) == (scheme != is_scheme)


def test_a_class_may_be_given_as_outside_by_class_or_by_tag() -> None:
    theirs = ("O", "I-LOC", "I-PER", "I-MISC", "I-ORG", "I-DATE")
    with pytest.raises(UnmatchedError, match="no label that means 'DATE'"):
        read_tags(theirs, CLASSES, "IO", {})
    for key in ("DATE", "I-DATE"):
        assert read_tags(theirs, CLASSES, "IO", {key: "O"}).answers["I-DATE"] == "O"
    with pytest.raises(ValueError, match="'PER' is given as 'PER' and as 'LOC'"):
        read_tags(("O", "B-PER", "I-PER"), CLASSES, "IO", {"B-PER": "PER", "I-PER": "LOC"})
    with pytest.raises(ValueError, match="in none of the schemes"):
        read_tags(("O", "B-PER", "L-PER", "E-PER"), CLASSES, "IO", {})


TYPES = ("PER", "LOC")
WRITTEN = {
    "IO": ["O", "PER", "LOC"],
    "IOB1": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "IOB2": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
}
HEADS = {
    "IO": ["I-LOC", "O", "I-PER"],
    "IOB2": ["I-PER", "B-LOC", "O", "I-LOC", "B-PER"],
    "BILOU": ["O", *(f"{prefix}-{type_}" for type_ in TYPES for prefix in "ULIB")],
}


def spans(tags: list[str], scheme: str) -> list[tuple[str, int, int]]:
    """Entities of well-formed tags, read without our code: for IO as runs, else by seqeval's reader of IOB2."""
    if scheme == "IO":
        bare = [tag.removeprefix("I-") for tag in tags]
        tags = [
            "O" if tag == "O" else f"{'I' if i and bare[i - 1] == tag else 'B'}-{tag}" for i, tag in enumerate(bare)
        ]
    if scheme == "BILOU":
        tags = [tag.replace("U-", "B-").replace("L-", "I-") for tag in tags]
    if scheme == "IOB1":
        tags = [
            tag if tag == "O" or (i and tags[i - 1][2:] == tag[2:] and tag[0] == "I") else f"B-{tag[2:]}"
            for i, tag in enumerate(tags)
        ]
    return [tuple(each) for each in get_entities(tags)]


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["O", *TYPES]), st.integers(1, 3)), min_size=1, max_size=5), max_size=4
    ),
    st.sampled_from(sorted(HEADS)),
    st.sampled_from(["IOB1", "IOB2"]),
)
def test_entities_stay_what_they_are(sentences: list[list[tuple[str, int]]], theirs: str, ours: str) -> None:
    """Whatever scheme well-formed tags are in, and whatever the task's, the entities are the head's."""
    said: list[list[str]] = []
    for sentence in sentences:
        tags: list[str] = []
        for type_, length in sentence:
            if type_ == "O":
                tags += ["O"] * length
            elif theirs == "IO":
                tags += [f"I-{type_}"] * length
            elif theirs == "IOB2":
                tags += [f"B-{type_}", *[f"I-{type_}"] * (length - 1)]
            else:
                tags += [f"U-{type_}"] if length == 1 else [f"B-{type_}", *[f"I-{type_}"] * (length - 2), f"L-{type_}"]
        said.append(tags)
    task: Any = SimpleNamespace(labels=tuple(WRITTEN[ours]), scheme=ours, metric="entity_f1_micro", options={})
    reading = TOKENS.read_head(HEADS[theirs], task, {})
    how = NoTraining(
        method="own head",
        max_length=9,
        precision="fp32",
        answers=reading.answers,
        scheme=reading.scheme,  # type: ignore[arg-type]
    )
    indexes = [np.array([HEADS[theirs].index(tag) for tag in tags], np.int64) for tags in said]
    columns = {"predicted": indexes, "subwords": [[1] * len(tags) for tags in said]}
    if not said:
        return
    predicted = TOKENS.translated(columns, task, how)["predicted"]
    for tags, mine in zip(said, predicted, strict=True):
        assert spans([WRITTEN[ours][tag] for tag in mine], ours) == spans(tags, theirs)


def test_an_unseen_word_is_outside_and_parts_what_stands_around_it() -> None:
    task: Any = SimpleNamespace(labels=tuple(WRITTEN["IOB2"]), scheme="IOB2", metric="entity_f1_micro", options={})
    how = NoTraining(method="own head", max_length=9, precision="fp32", answers={"I-PER": "PER", "O": "O"}, scheme="IO")
    columns = {"predicted": [[0, 1, 0], [0]], "subwords": [[1, 0, 2], [0]]}
    assert [list(each) for each in TOKENS.translated(columns, task, how)["predicted"]] == [[1, 0, 1], [0]]


def test_a_kind_that_says_nothing_of_heads_is_refused() -> None:
    task: Any = SimpleNamespace(labels=(), scheme=None, metric="", options={})
    with pytest.raises(ValueError, match="kind 'tokens' does not say what the head of a checkpoint means"):
        Kind.read_head(TOKENS, [], task, {})


@pytest.mark.parametrize(
    ("option", "read"),
    [
        ("LABEL_0=négatif,LABEL_1=positif", [("LABEL_0", "négatif"), ("LABEL_1", "positif")]),
        (" a = b , c = d ", [("a", "b"), ("c", "d")]),
        ("oui, tout à fait=oui", [("oui, tout à fait", "oui")]),
        ('"a=b"=oui,"c,d"=non', [("a=b", "oui"), ("c,d", "non")]),
        ('oui="=,", "x"="y"', [("oui", "=,"), ("x", "y")]),
        ('""=oui', [("", "oui")]),
        ('"dit ""oui"""=oui', [('dit "oui"', "oui")]),
        ('l"été=oui', [('l"été', "oui")]),
    ],
)
def test_pairs_on_the_command_line(option: str, read: list[tuple[str, str]]) -> None:
    assert pairs(option) == read


@pytest.mark.parametrize("option", ["", "a", "a=", "=b", "a=b=c", "a=b,c=d=e", '"a=b', '"a"b=c', '"a",b=c'])
def test_pairs_that_may_mean_several_things_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match="a name that holds = or , stands in double quotes"):
        pairs(option)


@given(st.lists(st.tuples(*2 * [st.text(st.sampled_from("ab=,\"' é"), max_size=5)]), min_size=1, max_size=4))
def test_any_names_are_read_as_they_were_written(names: list[tuple[str, str]]) -> None:
    assert pairs(",".join(as_pair(*pair) for pair in names)) == names


def test_a_label_without_letters_can_be_named() -> None:
    assert counterparts(("", "+"), ("non", "oui"), {"": "non", "+": "oui"}) == {"": "non", "+": "oui"}
