"""Where two models disagree, example by example, in every kind of task: worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from flue_bench.boards.disagreed import _by_run
from flue_bench.errors import RecordError
from flue_bench.kinds.kind import Kind, kind_named
from flue_bench.kinds.multiple_choice import Question
from flue_bench.kinds.question_answering import Asked
from flue_bench.record import RunRecord
from flue_bench.results.disagreements import Disagreement, OnTask, Run, on_task
from flue_bench.task import Example
from support.factories import make_record

Columns = dict[str, list[Any]]


def disagreed(
    kind: str, gold: list[Any], a: list[Columns], b: list[Columns], limit: int | None = None, **declared: Any
) -> OnTask:
    """Of runs whose predictions are these; examples are called x0, x1, …, and lie in the files in reverse."""
    base = make_record().model_copy(update={"kind": kind, "scheme": None, **declared})
    types = {"id": pa.string(), "group": pa.string(), **kind_named(kind).schema()}
    tables: dict[str, pa.Table] = {}
    records: list[RunRecord] = []
    for number, columns in enumerate([*a, *b]):
        file = f"{number}.parquet"
        whole = {"id": [f"x{i}" for i in range(len(gold))], "group": [""] * len(gold), "gold": gold, **columns}
        order = range(len(gold)) if number else range(len(gold) - 1, -1, -1)
        tables[file] = pa.table({n: pa.array([whole[n][i] for i in order], types[n]) for n in types if n in whole})
        predictions = base.predictions.model_copy(update={"file": file})
        records.append(base.model_copy(update={"predictions": predictions}))
    evidence: Any = SimpleNamespace(predictions=lambda record, more: tables[record.predictions.file])
    return on_task("tâche", records[: len(a)], records[len(a) :], evidence, limit)


def ids(found: OnTask) -> list[tuple[str, str | None]]:
    return [(each.id, each.nearer) for each in found.listed]


def only(found: OnTask) -> Disagreement:
    (one,) = found.listed
    return one


LABELS = ("non", "oui", "peut-être")


def sentence(predicted: list[int], top: list[float] | None = None) -> Columns:
    sure = top or [0.9] * len(predicted)
    return {
        "predicted": predicted,
        "probabilities": [
            [t if k == p else (1 - t) / 2 for k in range(3)] for p, t in zip(predicted, sure, strict=True)
        ],
    }


def test_counts_are_whole_and_the_surest_come_first() -> None:
    """x0: alike. x1: A right in all runs, B never. x2: A right in one of two. x3: both wrong, otherwise. x4: as x1."""
    a = [sentence([0, 1, 2, 0, 1], [0.9, 0.6, 0.9, 0.9, 0.9]), sentence([0, 1, 0, 0, 1], [0.9, 0.6, 0.9, 0.9, 0.9])]
    b = [sentence([0, 0, 0, 2, 2]), sentence([0, 2, 0, 2, 2])]
    found = disagreed("sentence", [0, 1, 2, 1, 1], a, b, labels=LABELS)
    assert found.examples == 5 and found.disagreed == 4
    assert found.always == {"A": 2, "B": 0, "neither": 1} and found.sometimes == {"A": 1, "B": 0, "neither": 0}
    # x4 before x1: as sure over the runs, but A holds its answer of x1 for less probable.
    assert ids(found) == [("x4", "A"), ("x1", "A"), ("x2", "A"), ("x3", None)]
    first, second, third, fourth = found.listed
    assert (second.share, second.apart, second.error_a, second.error_b) == (1, 1, 0, 1)
    assert second.gold == ("oui",) and second.a == (("oui",), ("oui",)) and second.b == (("non",), ("peut-être",))
    assert (third.share, third.error_a, third.error_b) == (0.5, 0.5, 1)
    assert (fourth.error_a, fourth.error_b) == (1, 1) and first.b == (("peut-être",), ("peut-être",))


def test_a_limit_bounds_what_is_listed_and_not_what_is_counted() -> None:
    a, b = sentence([1, 1, 1, 0, 0, 2]), sentence([0, 0, 0, 1, 1, 0])
    whole = disagreed("sentence", [1] * 6, [a], [b], labels=LABELS)
    part = disagreed("sentence", [1] * 6, [a], [b], limit=1, labels=LABELS)
    assert ids(whole) == [("x0", "A"), ("x1", "A"), ("x2", "A"), ("x3", "B"), ("x4", "B"), ("x5", None)]
    assert ids(part) == [("x0", "A"), ("x3", "B"), ("x5", None)]
    assert (part.always, part.sometimes, part.examples) == (whole.always, whole.sometimes, whole.examples)


def test_models_that_agree_have_nothing_to_list() -> None:
    same = sentence([0, 1, 2])
    found = disagreed("sentence", [1, 1, 1], [same], [same, same], labels=LABELS)
    assert found.listed == () and found.disagreed == 0 and found.examples == 3


TAGS = ("O", "B-PER", "I-PER", "B-LOC")


def tagging(*sentences: list[int]) -> Columns:
    return {"predicted": list(sentences), "subwords": [[1] * len(each) for each in sentences]}


def test_entities_that_differ_are_listed_with_their_words() -> None:
    """The place at the end is common to all, and not shown; who tags fewer words wrongly is nearer."""
    gold = [[1, 2, 0, 3], [0, 0]]
    a, b = tagging([1, 2, 0, 3], [0, 0]), tagging([1, 0, 1, 3], [0, 0])
    found = disagreed("tokens", gold, [a], [b], labels=TAGS, scheme="IOB2")
    one = only(found)
    assert (one.id, one.nearer, one.share, one.apart, one.error_a, one.error_b) == ("x0", "A", 1, 2, 0, 2)
    assert one.gold == ("0-1 PER",) and one.a == (("0-1 PER",),) and one.b == (("0 PER", "2 PER"),)
    quoted = found.quoted(one, Example("x0", "", words=("Ada", "Roux", "à", "Brest")))
    assert quoted.gold == ("0-1 «Ada Roux» PER",) and quoted.b == (("0 «Ada» PER", "2 «à» PER"),)


def test_words_that_differ_are_listed_with_their_class() -> None:
    a, b = tagging([0, 1, 2]), tagging([0, 2, -1])  # -1: a word that the model never saw
    one = only(disagreed("tokens", [[0, 1, 1]], [a], [b], labels=("NOUN", "VERB", "ADJ")))
    assert one.gold == ("1 VERB", "2 VERB") and one.a == (("1 VERB", "2 ADJ"),)
    assert one.b == (("1 ADJ", "2 no class"),) and one.nearer == "A"


def test_numbers_are_sorted_by_how_far_they_are_apart() -> None:
    """A hundredth of the range is no difference; x2 is further apart than x1."""
    a, b = {"predicted": [1.0, 2.0, 5.0]}, {"predicted": [1.005, 3.0, 1.0]}
    found = disagreed("regression", [1.0, 2.0, 3.0], [a], [b], labels=(), options={"range": [1.0, 5.0]})
    assert ids(found) == [("x1", "A"), ("x2", None)]
    assert [each.apart for each in found.listed] == [25, 100] and found.listed[1].a == (("5",),)
    further = disagreed(
        "regression",
        [1.0, 1.0],
        [{"predicted": [2.0, 4.0]}],
        [{"predicted": [1.0, 1.0]}],
        labels=(),
        options={"range": [1.0, 5.0]},
    )
    assert ids(further) == [("x1", "B"), ("x0", "B")]


def test_labels_that_not_all_answers_have_are_listed() -> None:
    def several(*marks: list[int]) -> Columns:
        return {"predicted": list(marks), "probabilities": [[0.5, 0.5, 0.5] for _ in marks]}

    found = disagreed("multi-label", [[0, 1], []], [several([0, 1], [])], [several([0, 2], [2])], labels=LABELS)
    assert ids(found) == [("x0", "A"), ("x1", "A")]
    one, other = found.listed
    assert one.gold == ("oui",) and one.b == (("peut-être",),) and one.apart == 2
    assert other.gold == () and other.a == ((),) and other.b == (("peut-être",),)


def test_positions_are_listed_and_choices_quoted() -> None:
    found = disagreed("multiple-choice", [2], [sentence([2])], [sentence([0])], labels=("A", "B", "C"))
    one = only(found)
    assert one.gold == ("C",) and one.b == (("A",),)
    example = Question("x0", "", "De quoi parle-t-on ?", label=2, choices=("pluie", "vent", "neige"))
    assert found.quoted(one, example).b == (("A: pluie",),)


def test_spans_are_listed_by_numbers_and_quoted_from_the_context() -> None:
    def span(words: list[int], start: int, end: int) -> Columns:
        return {"predicted": [words], "start": [start], "end": [end], "no_answer": [0.0]}

    found = disagreed("question-answering", [[[2, 3]]], [span([2, 3], 9, 20)], [span([], -1, -1)], labels=())
    one = only(found)
    assert one.gold == ("words 2 3",) and one.a == (("words 2 3 (characters 9 to 20)",),) and one.b == ((),)
    assert (one.error_a, one.error_b, one.apart) == (0, 100, 100)
    context = "Elle vit à Brest, au port."
    example = Asked("x0", "", question="Où ?", context=context, answers=(("à Brest", 9),))
    quoted = found.quoted(one, example)
    assert quoted.gold == ("à Brest",) and quoted.a == ((context[9:20],),)
    near = disagreed("question-answering", [[[2, 3]]], [span([2, 3], 9, 20)], [span([2], 9, 11)], labels=())
    assert only(near).apart == 33  # F1 of 2 and 1 words, one of them shared: 2/3


def test_senses_are_names_and_no_answer_is_one() -> None:
    def sense(name: str | None) -> Columns:
        return {"predicted": [name], "similarity": [0.5], "choices": [2]}

    one = only(disagreed("senses", [["mener", "guider"]], [sense("guider")], [sense(None)], labels=()))
    assert one.gold == ("mener", "guider") and one.a == (("guider",),) and one.b == ((),) and one.nearer == "A"


def test_a_kind_that_says_nothing_more_is_listed_by_its_columns() -> None:
    """What an installed kind inherits: labels or numbers, and every other answer as far as any."""

    class Bare(Kind[Any]):
        """A kind of somebody else."""

        schema = example = gold = shown = counts = metrics = lambda *_: None  # type: ignore[assignment]

    bare = Bare()  # type: ignore[abstract]
    one, other = (pa.table({"gold": [1.0, 2.5], "predicted": values}) for values in ([1.0, 2.0], [1.0, 2.25]))
    assert bare.apart(one, other, make_record()).tolist() == [0, 1] and bare.confidence(one) is None
    assert bare.answers({"gold": 2.5, "predicted": None}, make_record()) == (("2.5",), ())


def test_predictions_on_other_rows_are_refused() -> None:
    with pytest.raises(RecordError, match=r"1\.parquet: not the test set of 0\.parquet"):
        disagreed("sentence", [0, 1], [sentence([0, 1])], [sentence([0, 1]) | {"gold": [1, 1]}], labels=LABELS)


def test_runs_of_several_distillations_are_told_apart() -> None:
    runs = (Run("org/one", 0), Run("org/two", 0))
    assert _by_run((("oui",), ("non",)), runs) == "oui (org/one 0) | non (org/two 0)"
    assert _by_run((("oui",), ()), (Run("org/one", 0), Run("org/one", 1))) == "oui (0) | \N{EN DASH} (1)"
    assert _by_run((("oui", "non"), ("oui", "non")), runs) == "oui; non"
