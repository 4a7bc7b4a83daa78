"""Near texts are those of an exhaustive search by the definition, whatever the characters, lengths and block sizes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_bench.data import registry, sources
from flue_bench.jobs import near
from flue_bench.progress import Bar, Console
from support import ROOT

ALPHABETS = {
    "few": st.sampled_from("ab "),
    "nul": st.sampled_from("a\0"),
    "astral": st.sampled_from("é𝔸😀\U0010ffff"),
    "surrogates": st.sampled_from("a\ud800\udfff"),
    "any": st.characters(),
}
WIDE = "".join(map(chr, range(0x4E00, 0x4E00 + 4096)))
"""So many characters that five of them do not pack into 64 bits."""


def found(wanted: list[str], passing: list[str]) -> dict[str, str]:
    return near.near(wanted, passing, Bar(Console(file=io.StringIO()), None, ""))


def grams(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)} if len(text) >= 5 else {text}


def defined(wanted: list[str], passing: list[str]) -> dict[str, str]:
    """The first of all that reach the index, by every pair."""
    partners: dict[str, str] = {}
    sets = {text: grams(text) for text in (*wanted, *passing)}
    for text in wanted:
        for other in passing:
            if 10 * len(sets[text] & sets[other]) >= 8 * len(sets[text] | sets[other]):
                partners[text] = other
                break
    return partners


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Random texts, and some that differ from one of them in few characters."""
    characters = ALPHABETS[draw(st.sampled_from(sorted(ALPHABETS)))]
    text = st.text(characters, max_size=40) | st.text(characters, max_size=6)
    wanted = draw(st.lists(text, unique=True, max_size=8))
    passing = draw(st.lists(text, max_size=8))
    for base in draw(st.lists(st.sampled_from(wanted), max_size=6)) if wanted else []:
        at = draw(st.integers(0, len(base)))
        edited = base[:at] + draw(st.text(characters, max_size=2)) + base[at + draw(st.integers(0, 2)) :]
        passing.insert(draw(st.integers(0, len(passing))), edited)
    return wanted, list(dict.fromkeys(passing))


@pytest.fixture(params=[None, 40], ids=["whole", "in blocks"], scope="module")
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """As it is, and with blocks so small that the texts of one example fall into several."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(near, "BLOCK", request.param)
            patch.setattr(near, "LEAST", 1)
            patch.setattr(near, "CANDIDATES", 2)
        yield


@pytest.mark.usefixtures("blocks")
@given(texts(), st.booleans())
@settings(max_examples=300)
def test_near_texts_are_those_of_an_exhaustive_search(case: tuple[list[str], list[str]], wide: bool) -> None:
    wanted, passing = case
    wanted = [*wanted, WIDE] if wide else wanted
    assert found(wanted, passing) == defined(wanted, passing)


@pytest.mark.parametrize(
    ("longer", "shorter", "near_enough"),
    [(20, 16, False), (19, 16, True), (14, 12, True), (13, 11, False), (4, 3, False), (5, 4, False), (1, 0, False)],
)
def test_the_index_is_reached_exactly(longer: int, shorter: int, near_enough: bool) -> None:
    """A beginning of a text has a part of its 5-grams: 12 of 15 are near, 12 of 16 are not."""
    one, other = ("abcdefghijklmnopqrstuvwxyz"[:size] for size in (longer, shorter))
    assert found([one], [other]) == ({one: other} if near_enough else {})
    assert found([other], [one]) == ({other: one} if near_enough else {})


def test_which_characters_pack() -> None:
    for characters, packs in ((WIDE[:4095], True), (WIDE, False)):
        _, keys = near._Index([characters])._shingles([characters])
        assert (str(keys.type) == "uint64") == packs


def test_a_short_text_is_not_one_that_ends_in_nul() -> None:
    assert found(["ab"], ["ab\0\0\0"]) == {} == found(["ab\0\0\0"], ["ab"])
    assert found(["ab"], ["ab"]) == {"ab": "ab"}


@pytest.mark.parametrize("wide", [False, True])
def test_little_is_compared(monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    """What the filters pass on texts of one vocabulary is little more than what is near."""
    words = ["facteur", "village", "porte", "chaque", "matin", "lettre", "dame", "habite", "bord", "rivière", "vieux"]
    sentences = [
        " ".join(words[(i * step + i // 7 * place) % len(words)] for place in range(12)) + f" {i * step}"
        for i in range(150)
        for step in (1, 3, 5)
    ]
    sentences = list(dict.fromkeys(sentences))
    wanted, passing = sentences[::3], [text for i, text in enumerate(sentences) if i % 3]
    compared = 0

    def counted(one: frozenset[str], other: frozenset[str]) -> bool:
        nonlocal compared
        compared += 1
        return len(one & other) / len(one | other) >= 0.8

    monkeypatch.setattr(near, "_near", counted)
    assert found([*wanted, WIDE] if wide else wanted, passing) == defined(wanted, passing)
    assert compared < len(wanted) * len(passing) / 100


@pytest.mark.shared
def test_real_texts(shared: Path) -> None:
    registered = registry.load_file(ROOT / "benchmarks/tasks/pawsx-small.toml")
    splits = sources.load(registered, data_dir=shared / "data").splits
    wanted, passing = ([example.text for example in splits[split]] for split in ("test", "train"))
    wanted, passing = list(dict.fromkeys(wanted))[:100], list(dict.fromkeys(passing))[:200]
    # Some of its sentences differ in the order of two words.
    wanted = [" ".join([*(words := text.split())[:-2], *words[-1:], *words[-2:-1]]) for text in passing[::4]] + wanted
    expected = defined(list(dict.fromkeys(wanted)), passing)
    assert len(expected) > 20
    assert found(list(dict.fromkeys(wanted)), passing) == expected
