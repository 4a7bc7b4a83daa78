"""Other people's scores: the file itself, and what stands beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_bench.boards.board import Board, Quote
from flue_bench.boards.published import load, quote
from flue_bench.boards.render import markdown
from flue_bench.boards.rules import build
from flue_bench.data import registry
from flue_bench.errors import RecordError
from flue_bench.kinds.kind import kind_named
from flue_bench.record import ClassScores, RunRecord
from support.factories import CLS, make_record


def quoted(records: list[RunRecord], board: Board | None = None) -> dict[str, Quote]:
    made = quote(board or build(records), records, load())
    return {f"{each.column} {each.metric}": each for each in made.quotes}


def test_what_is_shipped_is_valid_and_each_score_has_its_source() -> None:
    file = load()
    assert {score.source for score in file.score} == set(file.source)
    assert {score.column for score in file.score} >= {"cls", "cls-merged", "paws-x", "xnli", "wikiner", "allocine"}
    for score in file.score:  # a column that no board can have would never be shown
        assert score.column in {each.task.board_column for each in registry.registered().values()}
        if score.metric:
            tasks = [each.task for each in registry.registered().values() if each.task.board_column == score.column]
            assert all(score.metric in kind_named(task.kind).metrics(task) for task in tasks)
    new = {(score.model, score.column): score.percent for score in file.score if score.source == "camembert-2"}
    assert new["almanach/camembertav2-base", "xnli"] == 84.82 and new["camembert-base", "cls-merged"] == 94.62
    assert "cls" not in {column for _, column in new}  # all categories in one, as the note derives
    assert "second-hand" in file.source["camembert-2"].note and "5,711 of 5,999" in file.source["camembert-2"].note
    by_card = {(score.column, score.percent) for score in file.score if score.source.startswith("card")}
    assert ("cls-merged", 83) in by_card and "cls" not in {column for column, _ in by_card}
    pos = {score.column for score in file.score if score.source == "camembert-pos"}
    assert pos == {each.task.name for each in registry.select(["pos"])}
    assert "second-hand" in file.source["camembert-pos"].note and "2.16" in file.source["camembert-pos"].note
    assert "over-fitted" in file.source["ner-card-earlier"].note  # as its own later revision has it
    assert file.source["flue"].url == "https://arxiv.org/abs/1912.05372" and "second-hand" in file.source["flue"].note
    for score in file.score:
        if score.parts and score.percent is not None:  # FLUE's cls is the mean of its parts
            assert sum(score.parts.values()) / len(score.parts) == pytest.approx(score.percent, abs=0.011)


def test_f1_follows_from_precision_and_recall() -> None:
    for score in load().score:
        for values in score.classes.values():
            if len(values) == 3:
                precision, recall, f1 = values
                assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=0.02)


def test_ours_stand_beside_what_means_the_same() -> None:
    records = [
        make_record("m", task, seed, scores={"f1_macro": 0.7, "accuracy": 0.8 + 0.01 * seed})
        for task in (*CLS, "xnli")
        for seed in (0, 1)
    ]
    quotes = quoted(records)
    xnli = quotes["xnli accuracy"].lines
    theirs = [line.percent for line in xnli if not line.ours]
    assert theirs == [84.82, 83.4, 82.0, 81.95, 81.75, 81.72, 81.2, 80.6, 77.45, 76.9]
    (ours,) = [line for line in xnli if line.ours]
    assert (ours.model, ours.percent, ours.sd) == ("m", pytest.approx(80.5), pytest.approx(0.7071, abs=1e-4))
    (cls,) = [line for line in quotes["cls accuracy"].lines if line.ours]
    assert cls.detail == "cls-books 80.50, cls-dvd 80.50, cls-music 80.50"
    assert "xnli mcc" in quotes and not [line for line in quotes["xnli mcc"].lines if line.ours]  # we have none
    assert "wikiner subword_f1_weighted_with_o" not in quotes  # nor this column


def test_where_the_averaging_is_unstated_each_candidate_is_shown() -> None:
    scores = {"f1_macro": 0.7, "f1_micro": 0.72, "f1_weighted": 0.71, "accuracy": 0.72}
    found = quoted([make_record("m", "xnli", scores=scores)])["xnli f1-score, averaging unstated"]
    assert [line.percent for line in found.lines] == [77, 68, None]
    assert found.lines[-1].detail == "f1_macro 70.00, f1_micro 72.00, f1_weighted 71.00"


def test_single_classes_stand_beside_single_classes() -> None:
    scores = {
        name: ClassScores(precision=0.9, recall=0.9, f1=f1, support=9) for name, f1 in (("PER", 0.9), ("O", 0.99))
    }
    record = make_record("m", "wikiner", scores={"entity_f1_micro": 0.9, "subword_f1_weighted_with_o": 0.98})
    record = record.model_copy(update={"per_class": {"subword": scores}})
    lines = quoted([record])["wikiner subword_f1_weighted_with_o"].lines
    assert [line.detail for line in lines if line.ours] == ["subword F1: PER 90.00, O 99.00"]
    assert "PER 96.82, LOC 93.82, ORG 85.98, MISC 86.69, O 99.37" in lines[0].detail


@pytest.mark.parametrize("more", [{"limit": 500}, {"canonical": False}])
def test_what_is_not_the_whole_canonical_data_stands_beside_nothing(more: dict[str, object]) -> None:
    assert quoted([make_record("m", "xnli", **more)]) == {}  # type: ignore[arg-type]
    assert "Published" not in markdown(build([make_record("m", "xnli", **more)]))  # type: ignore[arg-type]


def test_rows_that_share_a_label_are_told_apart() -> None:
    records = [make_record("m"), make_record("m", recipe_name="flue", recipe={"batch_size": 8})]
    ours = [line.model for line in quoted(records)["xnli accuracy"].lines if line.ours]
    assert sorted(ours) == ["m (flue, fp32)", "m (standard, fp32)"]


def test_of_many_models_the_best_five_are_quoted() -> None:
    records = [make_record(f"m{i}", scores={"f1_macro": 0.5, "accuracy": 0.5 + i / 100}) for i in range(8)]
    ours = [line.model for line in quoted(records)["xnli accuracy"].lines if line.ours]
    assert ours == ["m7", "m6", "m5", "m4", "m3", "3 more"]


SOURCE = '[source.a]\ntitle = "A"\nurl = "https://example.org"\n[[score]]\nmodel = "m"\ncolumn = "xnli"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOURCE + 'source = "a"\nmetric = "f7"\npercent = 8', r"field 'score\.0': .*no score is called f7"),
        (SOURCE + 'source = "a"\npercent = 8', r"field 'score\.0': .*give 'metric', or 'said' and 'candidates'"),
        (SOURCE + 'source = "a"\nmetric = "accuracy"', r"field 'score\.0': .*give 'percent' or 'classes'"),
        (SOURCE + 'source = "a"\nmetric = "accuracy"\npercent = 800', r"field 'score\.0\.percent': "),
        (SOURCE + 'source = "b"\nmetric = "accuracy"\npercent = 8', r"\.toml: no \[source\.b\]"),
        (SOURCE + "source = ", r"not TOML"),
    ],
)
def test_a_file_that_does_not_validate_is_told_by_its_key(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "published.toml"
    file.write_text(text)
    with pytest.raises(RecordError, match=said):
        load(file)


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        load(tmp_path / "published.toml")
