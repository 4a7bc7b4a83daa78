"""Sub-words, segments, labels and truncation, against the tokenizers themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_bench.kinds.network.network import IGNORED, Encoded
from flue_bench.progress import quiet
from flue_bench.task import Example, Source, Task
from flue_bench.training import models
from support.networks import encode
from support.tiny import KINDS, SENTENCES, tiny

SOURCE = (Source(files={"train": "train.tsv"}),)
SENTENCE = Task(name="phrases", kind="sentence", labels=("a", "b"), metric="accuracy", source=SOURCE)
PAIR = Task(name="paires", kind="sentence-pair", labels=("a", "b", "c"), metric="accuracy", source=SOURCE)
TOKENS = Task(
    name="noms", kind="tokens", scheme="IO", labels=("O", "PER", "LOC"), metric="entity_f1_micro", source=SOURCE
)
CPU = torch.device("cpu")
PAIRED = [
    Example(str(i), "g", text=" ".join(SENTENCES[i : i + i % 4]), text_pair=SENTENCES[-i] * (i % 3 > 0), label=i % 3)
    for i in range(40)
]
KNOWN = ("Ça", "l'élève", "vend", "marché.", "«", "vite", "maïs", "à", "Port-Grenet.", "12")
UNSEEN = ("", " ", "\u00a0", "\t")
"""Words without a sub-word, whatever the tokenizer."""


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def find(kind: str) -> Any:
        if kind not in made:
            made[kind] = models.load_tokenizer(models.resolve(str(tiny(kind, tmp_path_factory.mktemp("m") / kind))))
        return made[kind]

    return find


def words_example(words: Sequence[str], number: int = 0) -> Example:
    return Example(str(number), "g", words=tuple(words), tags=tuple(n % 3 for n in range(len(words))))


def labels_of(data: Encoded, row: int) -> list[int]:
    return data.labels[data.offsets[row] : data.offsets[row + 1]].tolist()


# Texts


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_encoded_as_by_the_tokenizer(kind: str, tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of(kind)
    single = [replace(example, text_pair=None, label=example.label % 2) for example in PAIRED]
    data = encode(single, SENTENCE, tokenizer, 512)
    for row, example in enumerate(single):
        assert data.row(row).tolist() == tokenizer(example.text)["input_ids"]
    assert data.labels.tolist() == [example.label for example in single]
    assert data.truncated == 0 and len(data) == 40 and data.lost_words is None
    assert data.offsets[-1] == len(data.ids) == data.lengths.sum()
    assert data.pad_id == tokenizer.pad_token_id


@pytest.mark.parametrize("max_length", [8, 24, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_cut_as_by_the_tokenizer_and_counted(
    kind: str, max_length: int, tokenizer_of: Callable[[str], Any]
) -> None:
    tokenizer = tokenizer_of(kind)
    data = encode(PAIRED, PAIR, tokenizer, max_length)
    # In lists: given alone, an empty second text counts as none.
    whole = [tokenizer([row.text], [row.text_pair], verbose=False)["input_ids"][0] for row in PAIRED]
    assert data.truncated == sum(len(row) > max_length for row in whole)
    assert data.lengths.tolist() == [min(len(row), max_length) for row in whole]
    for row, example in enumerate(PAIRED):
        with quiet("transformers"):
            cut = tokenizer([example.text], [example.text_pair], truncation=True, max_length=max_length)
        assert data.row(row).tolist() == cut["input_ids"][0]
        if data.type_ids is not None:
            types = data.type_ids[data.offsets[row] : data.offsets[row + 1]].tolist()
            assert types == cut["token_type_ids"][0]
    if max_length == 24:
        assert 0 < data.truncated < len(PAIRED)


def test_a_pair_has_two_segments_for_bert(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("bert")
    batch = encode(PAIRED, PAIR, tokenizer, 32).batch([7, 4], CPU)
    assert set(batch.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    ids, types, mask = (batch.inputs[key] for key in ("input_ids", "token_type_ids", "attention_mask"))
    assert mask.sum(1).tolist() == [32, 15], "one of the two is padded"
    for row in range(2):
        first_end = ids[row].tolist().index(tokenizer.sep_token_id)
        length = int(mask[row].sum())
        assert types[row].tolist() == [0] * (first_end + 1) + [1] * (length - first_end - 1) + [0] * (
            len(types[row]) - length
        )
    assert set(encode(PAIRED, PAIR, tokenizer_of("camembert"), 32).batch([7], CPU).inputs) == {
        "input_ids",
        "attention_mask",
    }


def test_cutting_says_nothing(
    tokenizer_of: Callable[[str], Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("flaubert", "bert"):
        assert encode(PAIRED, PAIR, tokenizer_of(kind), 8).truncated > 0
    assert capfd.readouterr() == ("", "") and not caplog.records


# Words


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_encoded_as_running_text(kind: str, tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of(kind)
    data = encode([words_example(sentence.split()) for sentence in SENTENCES[:20]], TOKENS, tokenizer, 512)
    for row, sentence in enumerate(SENTENCES[:20]):
        assert data.row(row).tolist() == tokenizer(f" {sentence}")["input_ids"]


@pytest.mark.parametrize("kind", ["roberta", "modernbert"])
def test_byte_level_words_keep_their_blank(kind: str, tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of(kind)
    data = encode([words_example(("Le", "garde", "répare", "le", "maïs"))], TOKENS, tokenizer, 64)
    tokens = tokenizer.convert_ids_to_tokens(data.row(0).tolist())
    firsts = [token for token, label in zip(tokens, labels_of(data, 0), strict=True) if label != IGNORED]
    assert len(firsts) == 5 and all(token.startswith("Ġ") for token in firsts)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(
    rows=st.lists(
        st.lists(
            st.sampled_from(KNOWN + UNSEEN) | st.text("aéç漢😀'-.\u200b\u0301 ", max_size=6), min_size=1, max_size=9
        ),
        min_size=1,
        max_size=4,
    ),
    max_length=st.integers(4, 40),
)
def test_each_word_has_its_tag_at_its_first_subword(
    kind: str, tokenizer_of: Callable[[str], Any], rows: list[list[str]], max_length: int
) -> None:
    tokenizer = tokenizer_of(kind)
    data = encode([words_example(words, n) for n, words in enumerate(rows)], TOKENS, tokenizer, max_length)
    prefix, suffix = data.row(0)[0], data.row(0)[-1]
    truncated = 0
    for row, words in enumerate(rows):
        # What each word is on its own, after a blank, as in running text.
        spans = [tokenizer(f" {word}" if word.strip() else "", add_special_tokens=False)["input_ids"] for word in words]
        room = max_length - 2
        body = [one for span in spans for one in span]
        labels = [label for n, span in enumerate(spans) for label in [n % 3, *[IGNORED] * (len(span) - 1)][: len(span)]]
        owners = [n for n, span in enumerate(spans) for _ in span][:room]
        truncated += len(body) > room
        assert data.row(row).tolist() == [prefix, *body[:room], suffix]
        assert labels_of(data, row) == [IGNORED, *labels[:room], IGNORED]
        assert data.subwords_per_word[row].tolist() == [owners.count(n) for n in range(len(words))]
    assert data.truncated == truncated
    assert data.lost_words == sum(int((counts == 0).sum()) for counts in data.subwords_per_word)


def test_words_lost_to_truncation_are_counted(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("bert")  # each of these words is one sub-word
    rows = [words_example(["vite"] * 3), words_example(["vite"] * 6), words_example(["vite"] * 10 + [""])]
    data = encode(rows, TOKENS, tokenizer, 8)  # room for six
    assert data.truncated == 1 and data.lost_words == 5
    assert [counts.tolist() for counts in data.subwords_per_word] == [[1] * 3, [1] * 6, [1] * 6 + [0] * 5]
    assert data.lengths.tolist() == [5, 8, 8]


# Batches


@pytest.mark.parametrize("task", [PAIR, TOKENS], ids=["pair", "tokens"])
@pytest.mark.parametrize("kind", ["bert", "camembert"])
@settings(max_examples=15)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=9))
def test_a_batch_is_its_rows_padded_to_the_longest(
    kind: str, task: Task, tokenizer_of: Callable[[str], Any], rows: list[int]
) -> None:
    tokenizer = tokenizer_of(kind)
    examples = PAIRED if task is PAIR else [words_example(SENTENCES[i].split(), i) for i in range(40)]
    data = encode(examples, task, tokenizer, 32)
    batch = data.batch(rows, CPU)
    longest = max(int(data.lengths[row]) for row in rows)
    assert {tuple(value.shape) for value in batch.inputs.values()} == {(len(rows), longest)}
    assert batch.tokens == int(batch.inputs["attention_mask"].sum()) == sum(int(data.lengths[row]) for row in rows)
    for place, row in enumerate(rows):
        length = int(data.lengths[row])
        ids, mask = batch.inputs["input_ids"][place], batch.inputs["attention_mask"][place]
        assert ids[:length].tolist() == data.row(row).tolist()
        assert set(ids[length:].tolist()) <= {tokenizer.pad_token_id}
        assert mask.tolist() == [1] * length + [0] * (longest - length)
        if task is PAIR:
            assert batch.labels[place] == examples[row].label
        else:
            assert batch.labels[place].tolist() == labels_of(data, row) + [IGNORED] * (longest - length)
    assert {value.dtype for value in (*batch.inputs.values(), batch.labels)} == {torch.int64}


@pytest.mark.parametrize("task", [PAIR, TOKENS], ids=["pair", "tokens"])
@given(order=st.permutations(range(12)))
@settings(max_examples=10)
def test_the_order_of_the_split_changes_nothing_but_the_order(
    task: Task, tokenizer_of: Callable[[str], Any], order: list[int]
) -> None:
    examples = PAIRED[:12] if task is PAIR else [words_example(SENTENCES[i].split(), i) for i in range(12)]
    straight = encode(examples, task, tokenizer_of("bert"), 24)
    shuffled = encode([examples[i] for i in order], task, tokenizer_of("bert"), 24)
    one, other = straight.batch(order, CPU), shuffled.batch(range(12), CPU)
    assert torch.equal(one.labels, other.labels) and one.tokens == other.tokens
    assert all(torch.equal(value, other.inputs[key]) for key, value in one.inputs.items())
    assert straight.truncated == shuffled.truncated


def test_long_splits_are_encoded_in_parts_alike(tokenizer_of: Callable[[str], Any]) -> None:
    many = PAIRED * 110  # more than one part of 4,096
    data, once = (encode(examples, PAIR, tokenizer_of("bert"), 24) for examples in (many, PAIRED))
    assert len(data) == 4400 and data.truncated == 110 * once.truncated
    assert np.array_equal(data.ids, np.tile(once.ids, 110))
    assert data.type_ids is not None and once.type_ids is not None
    assert np.array_equal(data.type_ids, np.tile(once.type_ids, 110))


def test_encoding_costs_little_more_than_the_tokenizer(tokenizer_of: Callable[[str], Any]) -> None:
    """Prints the ratio (``pytest -s``); what it asserts does not depend on the clock."""
    tokenizer = tokenizer_of("camembert")
    pairs = [replace(PAIRED[1 + i % 39], id=str(i)) for i in range(20_000)]
    texts, others = [pair.text for pair in pairs], [pair.text_pair for pair in pairs]
    began = time.perf_counter()
    bare = tokenizer(texts, others, truncation=True, max_length=128, verbose=False)["input_ids"]
    middle = time.perf_counter()
    data = encode(pairs, PAIR, tokenizer, 128)
    ended = time.perf_counter()
    print(
        f"20,000 pairs: tokenizer {middle - began:.2f} s, encode {(ended - middle) / (middle - began):.2f} times that"
    )
    assert data.lengths.tolist() == [len(row) for row in bare]
