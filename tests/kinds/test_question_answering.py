"""Kind ``question-answering``: official scores, transformers' loss and windows, spans of the context, files."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from flue_bench.data import registry, sources
from flue_bench.errors import DataError, TaskFileError, UsageError
from flue_bench.kinds.kind import VALIDATION
from flue_bench.kinds.network.network import IGNORED
from flue_bench.kinds.network.question_answering import best_span, composed, windows_of
from flue_bench.kinds.question_answering import (
    METRICS,
    OF_EITHER,
    QUESTION_ANSWERING,
    Asked,
    match,
    question_answering_scores,
    words_of,
)
from flue_bench.metrics import QuestionAnsweringScores
from flue_bench.task import Source, Task
from flue_bench.training import models
from flue_bench.training.train import add_gradient, predict
from support.command_line import done, flue_bench
from support.networks import CPU, encode
from support.tiny import KINDS, SENTENCES, WHERE, WHO, tiny

FAST = [kind for kind in KINDS if kind != "flaubert"]


def task(**options: Any) -> Task:
    source = (Source(files={"train": "a.jsonl"}),)
    return Task(name="t", kind="question-answering", metric="f1", options=options, source=source)


def asked(context: str, *answers: str, question: str = "Où ?", number: int = 0) -> Asked:
    """A question whose answers are the first places of these texts."""
    assert all(answer in context for answer in answers)
    places = tuple((answer, context.index(answer)) for answer in answers)
    return Asked(str(number), "g", question=question, context=context, answers=places)


def loaded(kind: str, folder: Path, **config: Any) -> tuple[Any, Any]:
    model = models.resolve(str(tiny(kind, folder / kind, **config)))
    network = models.load_model(model, task(), seed=0, dropout=None).network
    head = network.classifier if kind == "modernbert" else network.qa_outputs
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    return network, models.load_tokenizer(model)


def tokenizer_of(kind: str, folder: Path) -> Any:
    return models.load_tokenizer(models.resolve(str(tiny(kind, folder / kind))))


# Scores


def official(gold: list[list[str]], predicted: list[str]) -> dict[str, float]:
    """The evaluation of SQuAD 2, written plainly, with the normalisation of FQuAD's script."""

    def normalised(text: str) -> str:
        text = re.sub(r"\b(le|la|les|l'|au|aux|du|des|un|une)\b", " ", text.lower())
        return " ".join("".join(c for c in text if c not in set(string.punctuation)).split())

    def f1(one: str, other: str) -> float:
        a, b = normalised(one).split(), normalised(other).split()
        same = sum((Counter(a) & Counter(b)).values())
        if not a or not b:
            return float(a == b)
        if same == 0:
            return 0.0
        precision, recall = same / len(b), same / len(a)
        return 2 * precision * recall / (precision + recall)

    exact, shared, has = [], [], []
    for answers, said in zip(gold, predicted, strict=True):
        right = [text for text in answers if normalised(text)] or [""]
        exact.append(max(normalised(text) == normalised(said) for text in right))
        shared.append(max(f1(text, said) for text in right))
        has.append(bool(answers))
    scores = {"exact_match": np.mean(exact), "f1": np.mean(shared)}
    if not all(has):
        answered = np.array(has)
        scores["exact_match_answerable"] = np.array(exact)[answered].mean()
        scores["f1_answerable"] = np.array(shared)[answered].mean()
        scores["exact_match_unanswerable"] = np.array(exact)[~answered].mean()
    return scores


@pytest.mark.parametrize("all_have", [True, False])
def test_scores_are_those_of_the_official_script(all_have: bool) -> None:
    rng = np.random.default_rng(0)
    words = ["la", "l'eau", "L'Eau", "de", "là", "Rhône", "« oui »", "un", "1804,", "(le)", "du", "", "aux"]

    def text() -> str:
        return " ".join(rng.choice(words, rng.integers(1, 5)))

    gold = [[text() or "un" for _ in range(rng.integers(all_have, 4))] for _ in range(400)]
    predicted = [text() if rng.random() < 0.8 else "" for _ in range(400)]
    result = question_answering_scores(gold, predicted)
    assert result.scores == pytest.approx(official(gold, predicted))
    assert set(result.scores) == set(METRICS if all_have else METRICS | OF_EITHER)
    assert 0.05 < result.scores["exact_match"] < result.scores["f1"] < 0.95


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("l'eau", ["eau"]),
        ("L'Eau !", ["eau"]),
        ("de l'eau", ["de", "eau"]),
        ("la ville de Lyon", ["ville", "de", "lyon"]),
        ("là-bas", ["làbas"]),
        ("aujourd'hui", ["aujourdhui"]),  # an apostrophe inside a word parts none
        ("Les Misérables", ["misérables"]),
        ("aux États-Unis", ["étatsunis"]),
        ("« Le Monde »", ["«", "monde", "»"]),  # neither is ASCII
        ("l\u2019eau", ["l\u2019eau"]),  # nor is this apostrophe
        ("un, une.", []),
        ("la\u0300", ["là"]),  # decomposed: no article
        ("d'une", ["d"]),
        ("laurier", ["laurier"]),
    ],
)
def test_normalisation_by_hand(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("right", "said", "exact", "f1"),
    [
        (["la ville de Lyon"], "Lyon", False, 0.5),  # 1 of 3 and of 1 words: 2 · 1 / (3 + 1)
        (["la ville de Lyon", "Lyon"], "à Lyon", False, 2 / 3),  # against the second
        (["l'eau"], "eau", True, 1.0),
        (["le chat, le chien"], "le chien, le chat", False, 1.0),  # the words are the same, in another order
        (["non non oui"], "non", False, 0.5),
        ([], "", True, 1.0),
        ([], "Lyon", False, 0.0),
        (["Lyon"], "", False, 0.0),
        (["la"], "", True, 1.0),  # an answer of articles is none, as in the script of SQuAD 2
        (["la", "Lyon"], "", False, 0.0),
        (["1976"], "1976", True, 1.0),
        (["Beyoncé and Bruno Mars"], "Beyonce", False, 0.0),  # the example of evaluate's squad
    ],
)
def test_one_question_by_hand(right: list[str], said: str, exact: bool, f1: float) -> None:
    assert match([words_of(text) for text in right], words_of(said)) == (exact, pytest.approx(f1))


def test_the_metric_of_evaluate(tmp_path: Path) -> None:
    metric = QuestionAnsweringScores(cache_dir=str(tmp_path))
    published = metric.compute(
        predictions=["1976", "Beyonce", "climate change"],
        references=[["1976"], ["Beyoncé and Bruno Mars"], ["climate change"]],
    )
    assert published == pytest.approx({"f1": 2 / 3, "exact_match": 2 / 3})  # the card of evaluate's squad says 66.67
    metric.add_batch(predictions=["Lyon", ""], references=[["à Lyon", "Lyon"], []])
    assert metric.compute() == dict.fromkeys(METRICS | OF_EITHER, 1.0)
    with pytest.raises(ValueError, match="2 questions in gold, 1 answers in predicted"):
        question_answering_scores([[], []], [""])
    with pytest.raises(ValueError, match="are a list of texts, not 'Lyon'"):
        question_answering_scores(["Lyon"], ["Lyon"])
    assert question_answering_scores([[], ["Lyon"]], [None, None]).scores["exact_match"] == 0.5


# The network


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_gradients_are_those_of_transformers_own_head(kind: str, tmp_path: Path) -> None:
    network, tokenizer = loaded(kind, tmp_path)
    network.eval()
    rows = [asked(SENTENCES[7 * i], SENTENCES[7 * i].split()[i % 3]) for i in range(6)]
    data = encode(rows, task(), tokenizer, 64)
    assert len(data) == 6 and (data.labels > 0).all()
    batch = data.batch(range(6), torch.device("cpu"))
    assert len({*batch.inputs["attention_mask"].sum(-1).tolist()}) > 1  # some are padded
    outside = batch.labels.clone()
    outside[0], outside[1, 1] = IGNORED, IGNORED
    parameters = [p for p in network.parameters() if p.requires_grad]
    for labels in batch.labels, outside:
        outputs = network(**batch.inputs)
        ours = data.loss(outputs, type(batch)(batch.inputs, labels, batch.tokens))
        terms = data.terms(type(batch)(batch.inputs, labels, batch.tokens))
        starts, ends = torch.where(labels == IGNORED, 10_000, labels).T  # beyond the input, which it ignores
        theirs = network(**batch.inputs, start_positions=starts, end_positions=ends).loss
        if labels is batch.labels:
            ours = ours / terms
            assert int(terms) == 12
        else:  # it takes the mean of either by itself
            starts_, ends_ = outputs.start_logits, outputs.end_logits
            cross = torch.nn.functional.cross_entropy
            apart = cross(starts_[1:], labels[1:, 0]) * 5 + cross(ends_[2:], labels[2:, 1]) * 4
            assert int(terms) == 9 and ours.item() == pytest.approx(apart.item(), rel=1e-6)
            ours = (cross(starts_[1:], labels[1:, 0]) + cross(ends_[2:], labels[2:, 1])) / 2
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
        assert ours.item() > 0.5
        for one, other in zip(
            torch.autograd.grad(ours, parameters, allow_unused=True, retain_graph=True),
            torch.autograd.grad(theirs, parameters, allow_unused=True),
            strict=True,
        ):
            assert (one is None) == (other is None)
            assert one is None or torch.allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_context_that_fits_is_encoded_as_the_tokenizer_encodes_a_pair(kind: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(kind, tmp_path)
    rows = [asked(SENTENCES[9 * i], question=WHO[i % 5]) for i in range(10)]
    data = encode(rows, task(threshold=0), tokenizer, 100)
    assert len(data) == 10 and data.windows.tolist() == [1] * 10 and data.truncated == 0
    for row, example in enumerate(rows):
        pair = tokenizer(example.question, example.context)
        if kind == "flaubert":  # words are parted otherwise than by Moses
            known = tokenizer(example.question)["input_ids"]
            assert data.row(row)[: len(known)].tolist() == known
        else:
            assert data.row(row).tolist() == pair["input_ids"]
            start, end = data.offsets[row : row + 2]
            assert data.type_ids is None or data.type_ids[start:end].tolist() == pair["token_type_ids"]
        first, last = data.places[row]
        spans = data.spans[data.offsets[row] + first : data.offsets[row] + last]
        real = [example.context[a:b] for a, b in spans.tolist() if a < b]
        assert real and all(text == text.strip() for text in real)
        assert not data.spans[data.offsets[row] : data.offsets[row] + first].any()
    assert data.labels.tolist() == [[0, 0]] * 10


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("stride", [0, 3, 8])
def test_windows_and_labels_are_those_of_the_tokenizers_own_overflow(kind: str, stride: int, tmp_path: Path) -> None:
    """What ``run_qa.py`` makes of a question: windows of ``max_length`` with a stride, labelled there as here."""
    tokenizer = tokenizer_of(kind, tmp_path)
    context = " ".join(SENTENCES[i] for i in (3, 40, 77, 101, 8, 60))
    rows = [asked(context, answer) for answer in ("répare", "forêt", "du canal", context[:12], context[-9:])]
    data = encode(rows, task(stride=stride), tokenizer, 40)
    theirs = tokenizer(
        rows[0].question, context, truncation="only_second", max_length=40, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    assert len(theirs["input_ids"]) > 1 and data.windows.tolist() == [len(theirs["input_ids"])] * 5
    assert [data.row(i).tolist() for i in range(len(theirs["input_ids"]))] == theirs["input_ids"]
    for number, example in enumerate(rows):
        (text, begin), labels = example.answers[0], []
        for at, offsets in enumerate(theirs["offset_mapping"]):
            inside = [
                place
                for place, (which, (a, b)) in enumerate(zip(theirs.sequence_ids(at), offsets, strict=True))
                if which == 1 and context[a:b].strip() and b > begin and a + (context[a] == " ") < begin + len(text)
            ]
            covered = inside and _covers(theirs, at, context, begin, begin + len(text))
            labels.append([inside[0], inside[-1]] if covered else [0, 0])
        first = data.first[number]
        assert data.labels[first : first + len(labels)].tolist() == labels
        assert data.truncated == sum(not data.labels[data.first[i] : data.first[i + 1]].any() for i in range(5))


def _covers(windows: Any, at: int, context: str, begin: int, end: int) -> bool:
    places = [
        each for each, which in zip(windows["offset_mapping"][at], windows.sequence_ids(at), strict=True) if which
    ]
    return places[0][0] <= begin and places[-1][1] >= end


def test_every_part_of_a_context_is_in_a_window() -> None:
    for length in range(40):
        for room in range(1, 12):
            for stride in range(14):
                windows = list(windows_of(length, room, stride))
                overlap = min(stride, room // 2)
                assert windows[0][0] == 0 and windows[-1][1] == length
                assert (
                    all(end - start == room for start, end in windows[:-1]) and windows[-1][1] - windows[-1][0] <= room
                )
                assert all(one[1] - other[0] == overlap for one, other in pairwise(windows))


CONTEXTS = [
    ("L'eau de l'élève, dit-on, vient du canal ; l'eau du pré vient du puits.", "l'élève"),
    ("L'eau de l'élève, dit-on, vient du canal ; l'eau du pré vient du puits.", "élève"),
    ("Une forêt, la forêt et sa forêt : il n'y a qu'une forêt.", "sa forêt"),
    ("Où l'élève\u00a0répare\u202f« vite »  le\tmaïs\nde ma sœur ?", "maïs\nde ma sœur"),
    ("Ça, c'est à Port-Grenet.", "Ça"),
    ("Ça, c'est à Port-Grenet.", "Port-Grenet."),
    ("Une très vieille géomètre 👩‍🔬 à Port-Grenet vend l'œuf.", "l'œuf"),
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_found_again_as_characters_of_the_untouched_context(kind: str, form: Any, tmp_path: Path) -> None:
    """Scores that are highest at the labels give the answer, or with it the rest of a sub-word that it is in."""
    tokenizer = tokenizer_of(kind, tmp_path)
    rows = [
        asked(unicodedata.normalize(form, context), unicodedata.normalize(form, answer)) for context, answer in CONTEXTS
    ]
    assert form == "NFC" or any(not unicodedata.is_normalized("NFC", row.context) for row in rows)
    for max_length in 128, 24:
        data = encode(rows, task(), tokenizer, max_length)
        answers = perfect(data)
        columns = data.decided(answers, task(max_answer_length=100))
        exact = 0
        for row, example in enumerate(rows):
            text, begin = example.answers[0]
            if not data.labels[data.first[row] : data.first[row + 1]].any():
                continue  # no window holds it whole
            start, end = columns["start"][row], columns["end"][row]
            assert start <= begin and end >= begin + len(text)
            more = example.context[start:begin] + example.context[begin + len(text) : end]
            assert not re.search(r"\s", more) and len(more) < 12
            exact += not more
            assert columns["predicted"][row] == numbers(example, example.context[start:end])
        assert exact >= (5 if max_length == 128 else 1)
    by_hand = composed("le\u0301te\u0301 x")
    assert by_hand[0] == "l\u00e9t\u00e9 x"
    assert by_hand[1].tolist() == [0, 1, 3, 4, 6, 7] and by_hand[2].tolist() == [1, 3, 4, 6, 7, 8]


def numbers(example: Asked, said: str) -> tuple[int, ...]:
    known: list[str] = []
    for word in [
        *words_of(example.context),
        *(w for text, _ in example.answers for w in words_of(text)),
        *words_of(said),
    ]:
        known += [] if word in known else [word]
    return tuple(known.index(word) for word in words_of(said))


def perfect(data: Any) -> list[Any]:
    """Scores by which each window's label is the best span of its question, and no answer far below it."""
    answers = []
    for row, (first, last) in enumerate(data.places.tolist()):
        scores = np.zeros((2, 1 + last - first), np.float32)
        for side, label in enumerate(data.labels[row]):
            scores[side, label - first + 1 if label else 0] = 9 if label else -9
        answers.append(scores)
    return answers


@pytest.mark.parametrize(
    "text", ["", "e\u0301", "\u0301e", "\u1100\u1161\u11a8", "a\u0323\u0302b", "\u0915\u093c", "x\ufb01\u0301"]
)
def test_composed_text_and_its_places(text: str) -> None:
    whole, begins, ends = composed(f"{text} {text}z")
    assert whole == unicodedata.normalize("NFC", f"{text} {text}z")
    assert len(whole) == len(begins) == len(ends)
    assert all(
        unicodedata.normalize("NFC", f"{text} {text}z"[a:b]).count(char)
        for char, a, b in zip(whole, begins, ends, strict=True)
    )


def test_the_right_one_of_equal_answers_is_labelled(tmp_path: Path) -> None:
    """« Lyon » stands twice, and the second is meant."""
    tokenizer = tokenizer_of("camembert", tmp_path)
    context = "Mon oncle vend à Valmorin ; ma sœur range à Valmorin."
    second = Asked("0", "g", question="Où ?", context=context, answers=(("Valmorin", context.rindex("Valmorin")),))
    data = encode([second], task(), tokenizer, 100)
    columns = data.decided(perfect(data), task())
    assert (columns["start"], columns["end"]) == ([context.rindex("Valmorin")], [len(context) - 1])
    assert columns["predicted"][0] == QUESTION_ANSWERING.gold(second)[0]  # by words it is the first one as well


def test_an_answer_at_and_over_the_border_of_a_window(tmp_path: Path) -> None:
    """An answer of one sub-word more than windows share is whole in one of them; a longer one may count as cut."""
    tokenizer = tokenizer_of("bert", tmp_path)
    context = " ".join(SENTENCES[:3])
    pieces = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    question = tokenizer("Où ?", add_special_tokens=False)["input_ids"]
    room = 32 - 3 - len(question)
    for length, stride, cut in (1, 0, False), (2, 0, True), (5, 4, False), (6, 4, True), (room, 4, True):
        rows = []
        for first in range(len(pieces) - length + 1):
            a, b = pieces[first][0], pieces[first + length - 1][1]
            rows.append(Asked(str(first), "g", question="Où ?", context=context, answers=((context[a:b], a),)))
        data = encode(rows, task(stride=stride), tokenizer, 32)
        held = [data.labels[data.first[i] : data.first[i + 1]].any() for i in range(len(rows))]
        assert data.truncated == len(rows) - sum(held) and (data.truncated > 0) == cut
        columns = data.decided(perfect(data), task(max_answer_length=100))
        right = [
            (start, end) == _span(row) for start, end, row in zip(columns["start"], columns["end"], rows, strict=True)
        ]
        assert [one for one, h in zip(right, held, strict=True) if h] == [True] * sum(held)


def _span(row: Asked) -> tuple[int, int]:
    text, start = row.answers[0]
    return start, start + len(text)


def test_a_question_is_cut_only_where_it_takes_more_than_half_and_counts(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("bert", tmp_path)
    long = asked("Mon oncle vend vite.", "oncle", question=" ".join(SENTENCES[:2]))
    short = asked("Mon oncle vend vite.", "oncle", question="Qui ?")
    data = encode([long, short, long], task(), tokenizer, 64)
    assert data.truncated == 0
    data = encode([long, short, long], task(), tokenizer, 23)
    assert data.truncated == 2 and data.lengths.max() <= 23
    question = tokenizer(long.question, add_special_tokens=False)["input_ids"]
    assert data.row(0)[1:11].tolist() == question[:10] and data.row(0)[11] == tokenizer.sep_token_id
    with pytest.raises(UsageError, match="max_length 4 leaves no room for a question and a context"):
        encode([short], task(), tokenizer, 4)


def test_prediction_does_not_depend_on_what_stands_beside_a_window(tmp_path: Path) -> None:
    network, tokenizer = loaded("camembert", tmp_path)
    rows = [asked(" ".join(SENTENCES[i : i + 1 + i % 4]), question=WHO[i % 5]) for i in range(0, 40, 5)]
    data = encode(rows, task(threshold=0.0, stride=8), tokenizer, 40)
    assert len(data) > len(rows)
    together = predict(network, data, CPU)
    network.eval()
    with torch.no_grad():
        for row in range(len(data)):
            batch = data.batch([row], torch.device("cpu"))
            outputs = network(**batch.inputs)
            (alone,) = data.read(outputs, batch, [row])
            assert together[row] == pytest.approx(alone, abs=1e-5)
            first, last = data.places[row]
            assert alone[0, 1:] == pytest.approx(outputs.start_logits[0, first:last].numpy())
            assert alone[1, 0] == outputs.end_logits[0, 0]
    decided = data.decided(together, task(threshold=0.0, stride=8))
    for row, example in enumerate(rows):
        best, none = -np.inf, np.inf
        for window in range(data.first[row], data.first[row + 1]):
            start, end = together[window]
            none = min(none, start[0] + end[0])
            n = len(start) - 1
            for i in range(n):
                for j in range(i, min(n, i + 30)):
                    spans = data.spans[data.offsets[window] + data.places[window, 0] :]
                    if spans[i, 0] < spans[i, 1] and spans[j, 0] < spans[j, 1] and start[i + 1] + end[j + 1] > best:
                        best, span = start[i + 1] + end[j + 1], (int(spans[i, 0]), int(spans[j, 1]))
        assert decided["no_answer"][row] == pytest.approx(none - best, abs=1e-5)
        expected = (-1, -1) if none - best > 0 else span
        assert (decided["start"][row], decided["end"][row]) == expected
        said = example.context[span[0] : span[1]] if expected == span else ""
        assert decided["predicted"][row] == numbers(example, said)


def test_cutting_a_batch_changes_no_draw_of_dropout(tmp_path: Path) -> None:
    network, tokenizer = loaded("camembert", tmp_path, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    network.train()
    rows = [asked(SENTENCES[7 * i], SENTENCES[7 * i].split()[i % 3]) for i in range(5)]
    data = encode(rows, task(), tokenizer, 64)
    gradients = []
    for at_once in 5, 2, 1:
        network.zero_grad()
        add_gradient(network, data, [4, 2, 0, 1, 3], at_once, CPU, seed=3, step=2)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 0
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n_best", [1, 3, 20])
def test_the_best_span_is_found_among_the_best_starts_and_ends(n_best: int) -> None:
    rng = np.random.default_rng(0)
    fallen = 0
    for n in rng.integers(1, 40, 200):
        start, end = rng.normal(size=(2, n)).astype(np.float32)
        usable, longest = rng.random(n) < 0.8, int(rng.integers(1, 9))
        where = np.flatnonzero(usable)
        starts = sorted(where, key=lambda i: -start[i])[:n_best]
        ends = sorted(where, key=lambda j: -end[j])[:n_best]
        pairs = [(i, j) for i in starts for j in ends if i <= j < i + longest]
        fallen += not pairs and usable.any()
        pairs = pairs or [(i, j) for i in where for j in where if i <= j < i + longest]
        found = best_span(start, end, usable, longest, n_best)
        if not pairs:
            assert found[0] == -np.inf
            continue
        assert found[0] == max(start[i] + end[j] for i, j in pairs)
        assert found[1:] in pairs and found[0] == start[found[1]] + end[found[2]]
    assert (fallen > 0) == (n_best < 20)


def test_a_context_of_which_the_tokenizer_leaves_nothing(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("bert", tmp_path)
    data = encode([asked("\u200b\u0007")], task(), tokenizer, 32)  # characters that BERT's normaliser drops
    assert (data.places[0, 1] - data.places[0, 0]) == 0
    columns = data.decided([np.zeros((2, 1), np.float32)], task())
    assert columns == {"predicted": [()], "start": [-1], "end": [-1], "no_answer": [np.inf]}


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_threshold_makes_the_metric_highest_on_validation(metric: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of("camembert", tmp_path)
    rng = np.random.default_rng(1)
    rows = []
    for i in range(60):
        context = SENTENCES[i]
        answer = " ".join(context.split()[1 : 2 + i % 3])
        rows.append(asked(context, *([answer] if i % 3 else []), number=i))
    of = task(threshold=VALIDATION).model_copy(update={"metric": metric})
    data = encode(rows, of, tokenizer, 64)
    answers = [scores + rng.normal(0, 3, scores.shape).astype(np.float32) for scores in perfect(data)]
    for number, example in enumerate(rows):
        for window in range(data.first[number], data.first[number + 1]):
            answers[window][:, 0] += 0 if example.answers else 18
    chosen = data.chosen(answers, of)

    def reached(threshold: float) -> float:
        settled = of.model_copy(update={"options": {"threshold": threshold}})
        table = QUESTION_ANSWERING.table(rows, data.decided(answers, settled))
        assert list(QUESTION_ANSWERING.contradictions(table, record(threshold=threshold))) == []
        return QUESTION_ANSWERING.scores(table, settled).scores[metric]

    differences = np.array(data.decided(answers, task(threshold=0))["no_answer"], np.float64)
    best = max(reached(at) for at in [differences.min() - 1, *differences])
    assert reached(chosen["threshold"]) == best > max(reached(-1e9), reached(1e9))
    assert data.chosen(answers, task(threshold=2.5)) == {} == data.chosen(answers, task())


# The kind


def record(chosen: Any = None, **options: Any) -> Any:
    return SimpleNamespace(options=options, chosen=chosen or {})


def table(gold: Any, predicted: Any, start: Any, end: Any, no_answer: Any) -> pyarrow.Table:
    types = QUESTION_ANSWERING.schema()
    values = {"gold": gold, "predicted": predicted, "start": start, "end": end, "no_answer": no_answer}
    return pyarrow.table({name: pyarrow.array(values[name], types[name]) for name in types})


GOLD = [[[3, 4], [4]], [], [[0]]]


@pytest.mark.parametrize(
    ("predicted", "start", "end", "no_answer", "options", "said"),
    [
        ([[4], [], [1]], [10, -1, 0], [15, -1, 3], [-2.0, 0.5, -1.0], {"threshold": 0}, []),
        ([[4], [2], [1]], [10, 4, 0], [15, 6, 3], [-2.0, 0.5, -1.0], {}, []),
        ([[4], [2], []], [10, 4, -1], [15, 6, -1], [-2.0, 0.5, np.inf], {}, []),
        ([[4], [], [1]], [10, -1, 0], [15, -1, 3], [-2.0, 0.5, -1.0], {"threshold": VALIDATION},
         ["chosen: there is no threshold, which the task has from validation"]),
        ([[4], [], [1]], [10, -1, 0], [15, -1, 3], [-2.0, 0.5, -1.0], {"threshold": 0.7},
         ["no_answer: 1 of 3 decisions are not those of the threshold 0.7"]),
        ([[4], [], []], [10, -1, -1], [15, -1, -1], [-2.0, 0.5, -1.0], {"threshold": 0},
         ["no_answer: 1 of 3 decisions are not those of the threshold 0"]),
        ([[4], [2], [1]], [10, -1, 0], [15, -1, 3], [-2.0, 0.5, -1.0], {"threshold": 0},
         ["predicted: 1 answers have words and no span"]),
        ([[4], [], [1]], [10, -1, 3], [15, -1, 3], [-2.0, 0.5, -1.0], {"threshold": 0}, ["start, end: 1 are no span"]),
        ([[4], [], [1]], [10, -1, 0], [15, 3, 3], [-2.0, 0.5, -1.0], {"threshold": 0}, ["start, end: 1 are no span"]),
        ([[4], [], [1]], [10, -1, 0], [15, -1, 3], [-2.0, 0.5, np.nan], {"threshold": 0},
         ["no_answer: some are no numbers"]),
    ],
)  # fmt: skip
def test_contradictions(predicted: Any, start: Any, end: Any, no_answer: Any, options: Any, said: list[str]) -> None:
    made = table(GOLD, predicted, start, end, no_answer)
    assert list(QUESTION_ANSWERING.contradictions(made, record(**options))) == said


def test_counts_add_up_and_errors_are_hundredths_of_f1() -> None:
    rng = np.random.default_rng(0)
    gold = [[rng.integers(0, 4, rng.integers(1, 4)).tolist()] if i % 4 else [] for i in range(60)]
    predicted = [rng.integers(0, 4, rng.integers(0, 4)).tolist() for _ in range(60)]
    made = table(
        gold, predicted, [-1 if not p else 0 for p in predicted], [-1 if not p else 3 for p in predicted], [0.0] * 60
    )
    each = QUESTION_ANSWERING.counts(made, task(threshold=0), "answer", np.arange(60))
    rows = rng.integers(0, 60, 60)
    as_texts = [[" ".join(f"w{n}" for n in words) for words in gold[i]] for i in rows]
    expected = official(as_texts, [" ".join(f"w{n}" for n in predicted[i]) for i in rows])
    for name, metric in (METRICS | OF_EITHER).items():
        assert metric.score(each[rows].sum(axis=0)) == pytest.approx(expected[name])
    of_threes = QUESTION_ANSWERING.counts(made, task(threshold=0), "answer", np.arange(60) // 3)
    assert of_threes == pytest.approx(each.reshape(20, 3, 8).sum(axis=1))
    assert QUESTION_ANSWERING.errors(made, task()) == pytest.approx(np.round(100 - 100 * each[:, 2]))
    assert len({*QUESTION_ANSWERING.errors(made, task())}) > 3


def test_collapses() -> None:
    words = [[[1]], [[2]], []]
    none = table(words, [[], [], []], [-1] * 3, [-1] * 3, [1.0] * 3)
    assert QUESTION_ANSWERING.collapsed(none, task()) == "predicts that no question has an answer (2 of 3 have one)"
    first = table(words, [[0], [0], [0]], [0] * 3, [2] * 3, [1.0] * 3)
    assert QUESTION_ANSWERING.collapsed(first, task()) == "predicts answers that begin at character 0 throughout"
    other = table(words, [[0], [0], [0]], [0, 1, 0], [2] * 3, [1.0] * 3)
    assert QUESTION_ANSWERING.collapsed(other, task()) is None
    right = table([[[0]], [[0]]], [[0], [0]], [0, 0], [2, 2], [1.0] * 2)
    assert QUESTION_ANSWERING.collapsed(right, task()) is None


def test_predictions_hold_no_text() -> None:
    example = asked("Le chat dort sur la chaise.", "la chaise", "chaise", question="Où ?")
    made = QUESTION_ANSWERING.table([example], {"predicted": [(1,)], "start": [3], "end": [7], "no_answer": [0.5]})
    assert made.column_names == ["id", "group", "gold", "predicted", "start", "end", "no_answer"]
    assert made["gold"].to_pylist() == [[[3], [3]]]  # chat dort sur chaise, without le and la


# Files

HEAD = """
name = "questions"
kind = "question-answering"
metric = "f1"
"""
CONTEXT = "L'e\u0301le\u0300ve vend l'arc ; l'élève range l'arc."
LINES = [
    {
        "id": "a",
        "context": CONTEXT,
        "question": "Quoi ?",
        "answers": {"text": ["l'arc", "arc"], "answer_start": [15, 39]},
    },
    {"id": "b", "context": CONTEXT, "question": "Qui ?", "answers": {"text": ["l'élève"], "answer_start": [23]}},
]
assert [CONTEXT.index("l'arc"), CONTEXT.rindex("arc"), CONTEXT.index("l'élève")] == [15, 39, 23]


def _task(folder: Path, file: str, head: str = HEAD, source: str = "") -> Any:
    text = f"{head}\n[[source]]\nfiles = {{ train = '{file}', validation = '{file}', test = '{file}' }}\n{source}\n"
    (folder / "questions.toml").write_text(text, encoding="utf-8")
    return registry.load_file(folder / "questions.toml")


def _written(folder: Path, file: str, lines: list[dict[str, Any]]) -> str:
    if file.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), folder / file)
    elif file.endswith("jsonl"):
        (folder / file).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    elif file == "list.json":
        (folder / file).write_text(json.dumps(lines), encoding="utf-8")
    else:
        pairs = [
            [{"text": t, "answer_start": s} for t, s in zip(*line["answers"].values(), strict=True)] for line in lines
        ]
        asked = [
            {"id": line["id"], "question": line["question"], "answers": answers}
            for line, answers in zip(lines, pairs, strict=True)
        ]
        whole = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
        (folder / file).write_text(json.dumps(whole), encoding="utf-8")
    return file


@pytest.mark.parametrize("file", ["a.jsonl", "a.parquet", "list.json", "squad.json"])
def test_every_format_gives_the_same_examples(file: str, tmp_path: Path) -> None:
    source = "reader = 'squad'" if file == "squad.json" else "columns = { id = 'id' }"
    data = sources.load(_task(tmp_path, _written(tmp_path, file, LINES), source=source))
    one, other = data.splits["train"]
    assert isinstance(one, Asked) and isinstance(other, Asked)
    assert (one.id, one.question, one.answers) == ("a", "Quoi ?", (("l'arc", 15), ("arc", 39)))
    assert one.context == CONTEXT and not unicodedata.is_normalized("NFC", one.context)
    assert (other.id, other.answers) == ("b", (("l'élève", 23),))
    assert one.group == other.group


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": {"text": ["l'arc"], "answer_start": [14]}},
         "line 2: the answer \"l'arc\" is not at character 14 of the context (\" l'ar\" is there) but at 15"),
        ({"answers": {"text": ["l'arc"], "answer_start": [38]}}, "but at 37"),
        ({"answers": {"text": ["l'arc"], "answer_start": [-7]}}, "character -7 of the context (there is nothing)"),
        ({"answers": {"text": ["arc."], "answer_start": [900]}}, "character 900 of the context (there is nothing)"),
        ({"answers": {"text": ["L'élève"], "answer_start": [0]}}, "the answer \"L'élève\" is nowhere in the context"),
        ({"answers": {"text": ["l'arc"], "answer_start": []}}, "'text' and 'answer_start' are not lists of one length"),
        ({"answers": {"text": "l'arc", "answer_start": [15]}}, "'text' and 'answer_start' are not lists of one length"),
        ({"answers": {"text": "l'arc", "answer_start": 14}}, "is not at character 14 of the context"),
        ({"answers": {"text": "l'arc", "answer_start": "x"}}, "a text and a whole number, not \"l'arc\" and 'x'"),
        ({"answers": {"text": "l'arc", "answer_start": 15.5}}, "an answer is a text and a whole number, not"),
        ({"answers": {"text": "l'arc", "answer_start": None}}, "an answer is a text and a whole number, not"),
        ({"answers": {"text": 0, "answer_start": 15}}, "an answer is a text and a whole number, not 0 and 15"),
        ({"answers": {"text": None, "answer_start": None}}, "line 2: the question has no answer: `options = {"),
        ({"answers": {"text": ["l'arc"], "answer_start": ["15"]}}, "an answer is a text and a whole number, not"),
        ({"answers": {"text": ["l'arc"], "answer_start": [True]}}, "an answer is a text and a whole number, not"),
        ({"answers": {"text": ["l'arc"], "answer_start": [15.0]}}, "an answer is a text and a whole number, not"),
        ({"answers": {"text": [None], "answer_start": [15]}}, "an answer is a text and a whole number, not None"),
        ({"answers": "l'arc"}, "the column for 'answers' holds \"l'arc\": answers are {"),
        ({"answers": ["l'arc"]}, "the column for 'answers' holds \"l'arc\": answers are {"),
        ({"answers": None}, "the column for 'answers' holds None: answers are {"),
        ({"answers": {"text": [], "answer_start": []}}, "line 2: the question has no answer: `options = { threshold ="),
        ({"answers": {"text": [""], "answer_start": [0]}}, "line 2: the question has no answer: `options = {"),
        ({"question": " "}, "line 2: the question is empty"),
        ({"question": None}, "the column for 'question' holds None, which is no text"),
        ({"context": "\t"}, "line 2: the context is empty"),
        ({"context": "\ud800"}, "surrogates not allowed"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_refused_with_its_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    _written(tmp_path, "a.jsonl", [LINES[1], LINES[0] | change])
    with pytest.raises(DataError) as caught:
        sources.load(_task(tmp_path, "a.jsonl"))
    assert said in str(caught.value)


ONE = ("l'arc", 15), ("arc", 39), ("l'élève", 23)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("a.csv", 'columns = { answers = { text = "réponse", answer_start = "début" } }'),
        ("a.jsonl", 'columns = { answers = { text = "réponse", answer_start = "début" } }'),
        ("b.csv", "columns = { question = 0, context = 1, answers = { answer_start = 3, text = 2 } }"),
    ],
)
def test_an_answer_may_be_two_columns(file: str, source: str, tmp_path: Path) -> None:
    """As tables of questions with one answer have it; the last has none, and its place is a number or nothing."""
    rows: list[Any] = [("Quoi ?", CONTEXT, text, start) for text, start in ONE] + [("Qui ?", CONTEXT, "", -1)]
    names = ("question", "context", "réponse", "début")
    if file.endswith("jsonl"):
        rows[-1] = ("Qui ?", CONTEXT, None, None)
        _written(tmp_path, file, [dict(zip(names, row, strict=True)) for row in rows])
    else:
        lines = ['"{}","{}","{}",{}'.format(*row) for row in rows]
        (tmp_path / file).write_text(
            "\n".join([*([",".join(names)] if file == "a.csv" else []), *lines]) + "\n", encoding="utf-8"
        )
    data = sources.load(_task(tmp_path, file, HEAD + "options = { threshold = 0 }", source))
    assert [example.answers for example in data.splits["train"]] == [*((pair,) for pair in ONE), ()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", ['["a", "b"]', '{ text = "a" }', '{ text = "a", answer_start = "b", end = "c" }'])
def test_other_columns_of_an_answer_are_refused(columns: str, tmp_path: Path) -> None:
    with pytest.raises(TaskFileError) as caught:
        _task(tmp_path, "a.csv", source=f"columns = {{ answers = {columns} }}")
    said = """from one column, or from a table of columns, { text = "…", answer_start = "…" }"""
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HEAD + "labels = ['a', 'b']", "kind 'question-answering' has none: its answers are parts of the context"),
        (HEAD + "scheme = 'IO'", "is for kind 'tokens' only"),
        (HEAD + "options = { threshold = 'test' }", "'threshold' is a number, such as 0, or \"validation\""),
        (HEAD + "options = { threshold = true }", "'threshold' is a number, such as 0, or \"validation\""),
        (HEAD + "options = { threshold = nan }", "'threshold' is a number, such as 0, or \"validation\""),
        (HEAD + "options = { n_best = 0 }", "'n_best' is a whole number from 1 to 10,000"),
        (HEAD + "options = { max_answer_length = 1.5 }", "'max_answer_length' is a whole number from 1 to 10,000"),
        (HEAD + "options = { stride = -1 }", "'stride' is a whole number from 0 to 10,000"),
        (HEAD + "options = { doc_stride = 1 }", "Kind 'question-answering' has no option 'doc_stride'"),
        (HEAD.replace('"f1"', '"accuracy"'), "'accuracy' is not one of f1, exact_match"),
        (HEAD.replace('"f1"', '"f1_answerable"') + "options = { threshold = 0 }", "is of a part of the questions"),
    ],
)
def test_a_task_file_that_is_wrong(head: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TaskFileError) as caught:
        _task(tmp_path, "a.jsonl", head)
    assert said in str(caught.value)


def test_no_threshold_can_be_chosen_among_questions_that_all_have_an_answer(tmp_path: Path) -> None:
    _written(tmp_path, "a.jsonl", LINES)
    head = HEAD + "options = { threshold = 'validation' }"
    with pytest.raises(DataError, match="validation: all questions have an answer, so that no threshold can be chosen"):
        sources.load(_task(tmp_path, "a.jsonl", head))
    none = {"answers": {"text": [], "answer_start": []}, "id": "c", "question": "Quand ?"}
    _written(tmp_path, "a.jsonl", [*LINES, LINES[0] | none])
    data = sources.load(_task(tmp_path, "a.jsonl", head))
    assert QUESTION_ANSWERING.shown(data.splits["test"][2], data) == "no answer"  # type: ignore[arg-type]
    _written(tmp_path, "a.jsonl", [LINES[0] | none])
    with pytest.raises(DataError, match="train: no question has an answer"):
        sources.load(_task(tmp_path, "a.jsonl", head))


@pytest.mark.slow
def test_from_the_task_file_to_the_board(tmp_path: Path) -> None:
    """Where does a sentence's person do what it says: the answer is its end, and a fifth ask for what is not said."""
    recipe = "[recipe.standard]\nepochs = 12\nlearning_rate = 4e-3\nbatch_size = 8\nmax_length = 48\ndropout = 0.0\n"
    rng = np.random.default_rng(0)
    lines = []
    for i in range(120):
        context = " ".join(SENTENCES[n] for n in rng.choice(125, 1 + i % 2, replace=False))
        where = next(each for each in WHERE if context.endswith(each))
        found = (
            {"text": [where], "answer_start": [context.rindex(where)]} if i % 5 else {"text": [], "answer_start": []}
        )
        question = "Où ?" if i % 5 else "Combien ?"
        lines.append({"id": str(i), "context": context, "question": question, "answers": found})
    _written(tmp_path, "a.jsonl", lines)
    _task(
        tmp_path,
        "a.jsonl",
        HEAD + "options = { threshold = 'validation', stride = 4 }\n" + recipe,
        "columns = { id = 'id' }",
    )
    path = tmp_path / "questions.toml"
    assert "some without an answer, threshold chosen on validation" in done("tasks", "show", path)
    checked = done("tasks", "check", path, "--rows", "2")
    assert "\n0: no answer\n" in checked and f"\n1: '{lines[1]['answers']['text'][0]}' at " in checked  # type: ignore[index]
    one, other = (tiny(kind, tmp_path / "m" / kind) for kind in ("camembert", "bert"))
    results = tmp_path / "results"
    words = ("--task", path, "--device", "cpu", "--precision", "fp32", "--results", results)
    done("run", *words, "--model", one, "--model", other, "--seeds", "2")
    paths = sorted(results.glob("runs/*/*/seed*-*.json"))
    assert len(paths) == 4
    for file in paths:
        said = json.loads(file.read_text(encoding="utf-8"))
        assert said["scores"]["f1"] > 0.5 and said["collapsed"] is None
        assert said["scores"]["exact_match_unanswerable"] > 0.5 and "threshold" in said["chosen"]
        assert said["truncation"]["windows"]["test"] >= 120
    assert flue_bench("verify", results).code == 0
    asked_for = ("--results", results, "--format", "json")
    line = json.loads(done("compare", one.name, other.name, *asked_for))["lines"][0]["comparison"]
    assert line["low"] <= line["difference"] <= line["high"]
    done("leaderboard", "--results", results, "--format", "html", "--out", tmp_path / "board.html")
    done("card", "--model", one.name, "--results", results, "--out", tmp_path / "card.md")
    assert "question-answering" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "question and context" in done("tasks", "audit", path, "--tokenizer", one)
