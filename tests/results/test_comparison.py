"""From records and their predictions to what may be said: real files; recorded scores and seqeval are the oracles."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from flue_bench.errors import RecordError, UnknownNameError, UsageError
from flue_bench.kinds.sentence import METRICS
from flue_bench.kinds.tokens import ENTITY_METRICS, word_metrics
from flue_bench.results import code, kept
from flue_bench.results.comparison import compare, interval, retention
from flue_bench.results.evidence import Evidence
from flue_bench.statistics import significance
from support.judged import TAGS, keep, seeds, sentences, tagged


def evidence(root: Path) -> Evidence:
    return Evidence((root,))


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"f1_binary"}))
def test_the_mean_is_that_of_the_records(metric: str, tmp_path: Path) -> None:
    records = seeds(tmp_path, "org/a", [0.7, 0.8, 0.75], each=2)
    score = interval(records, metric, evidence(tmp_path))
    assert score.mean == pytest.approx(np.mean([record.scores[metric] for record in records]))
    assert score.low < score.mean < score.high
    assert (score.seeds, score.examples, score.clusters) == (3, 120, 60)
    assert score.sd == pytest.approx(np.std([record.scores[metric] for record in records], ddof=1))
    assert score.sd and score.se_seeds == pytest.approx(score.sd / 3**0.5) and score.se_examples > 0.01


def test_two_classes_have_an_f1_of_the_last(tmp_path: Path) -> None:
    gold, predicted = [0, 1, 1, 0, 1, 1], [0, 1, 0, 1, 1, 1]
    table = {"id": list("abcdef"), "group": list("abcdef"), "gold": gold, "predicted": predicted}
    record = keep(tmp_path, table, kind="sentence", labels=("non", "oui"))
    assert interval([record], "f1_binary", evidence(tmp_path)).mean == pytest.approx(0.75)


@pytest.mark.parametrize("metric", (*ENTITY_METRICS, *word_metrics("O")))
def test_every_score_of_tags_follows_from_counts(metric: str, tmp_path: Path) -> None:
    records = [tagged(tmp_path, seed)[0] for seed in range(2)]
    score = interval(records, metric, evidence(tmp_path))
    assert score.mean == pytest.approx(np.mean([record.scores[metric] for record in records]))
    assert score.clusters == 80


def test_entity_f1_from_counts_is_seqevals(tmp_path: Path) -> None:
    record, gold, predicted = tagged(tmp_path, 3)
    theirs = [[[TAGS[tag] for tag in sentence] for sentence in tags] for tags in (gold, predicted)]
    expected = f1_score(*theirs, mode="strict", scheme=IOB2)
    assert interval([record], "entity_f1_micro", evidence(tmp_path)).mean == pytest.approx(expected)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), prefix=st.text("xyz", min_size=1, max_size=3))
def test_neither_order_nor_names_of_groups_matter(seed: int, prefix: str, tmp_path_factory: Any) -> None:
    plain, other = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("other")
    shuffled = np.random.default_rng(seed).permutation(120)
    ours = seeds(plain, "org/a", [0.7, 0.8], each=3)
    theirs = seeds(other, "org/a", [0.7, 0.8], each=3, order=shuffled, prefix=prefix)
    assert interval(ours, "f1_macro", evidence(plain)) == interval(theirs, "f1_macro", evidence(other))


# --- both sources of chance -------------------------------------------------------------------------------------------


def test_one_seed_gives_an_interval_of_examples_only(tmp_path: Path) -> None:
    one, three = seeds(tmp_path, "org/a", [0.7]), seeds(tmp_path, "org/b", [0.7, 0.8, 0.9])
    single = interval(one, "accuracy", evidence(tmp_path))
    assert single.covers == "test examples (one seed)" and single.sd is single.se_seeds is None
    p = single.mean
    assert single.se_examples == pytest.approx((p * (1 - p) / 119) ** 0.5, rel=0.06)
    assert interval(three, "accuracy", evidence(tmp_path)).covers == "seeds and test examples"


def test_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    one, three = seeds(tmp_path, "org/a", [0.7]), seeds(tmp_path, "org/b", [0.7, 0.8, 0.9])
    difference = compare(one, three, "accuracy", evidence(tmp_path))
    assert difference.p is difference.low is difference.high is None
    assert difference.reason and "one seed of org/a" in difference.reason
    assert difference.difference == pytest.approx(
        one[0].scores["accuracy"] - np.mean([r.scores["accuracy"] for r in three])
    )
    kept = retention(one, three, "accuracy", evidence(tmp_path))
    assert (
        kept.p is kept.low is None
        and kept.reason == difference.reason
        and kept.ratio == pytest.approx(difference.a / difference.b)
    )
    both = compare(one, three[:1], "accuracy", evidence(tmp_path))
    assert both.reason and "one seed each" in both.reason


def test_the_better_model_is_found_and_turns_round(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, "org/a", [0.9, 0.91, 0.92]), seeds(tmp_path, "org/b", [0.6, 0.62, 0.61, 0.6])
    there, back = (compare(*pair, "f1_macro", evidence(tmp_path)) for pair in ((a, b), (b, a)))
    assert there.p is not None and there.p < 0.001 and there.low is not None and there.low > 0
    assert (there.seeds_a, there.seeds_b) == ((0, 1, 2), (0, 1, 2, 3))
    assert (back.difference, back.p) == pytest.approx((-there.difference, there.p))
    assert (back.low, back.high) == pytest.approx((-(there.high or 0), -there.low))


def test_retention_is_a_ratio_with_a_margin(tmp_path: Path) -> None:
    teacher = seeds(tmp_path, "org/t", [0.85, 0.86, 0.87], examples=600)
    student = seeds(tmp_path, "org/s", [0.84, 0.85, 0.86], examples=600)
    share = retention(student, teacher, "accuracy", evidence(tmp_path), margin=0.5)
    assert share.ratio == pytest.approx(share.student / share.teacher)
    assert share.low is not None and share.high is not None and share.low < share.ratio < share.high
    assert share.p is not None and share.p < 0.001
    hard = retention(student, teacher, "accuracy", evidence(tmp_path), margin=1.0)
    difference = compare(student, teacher, "accuracy", evidence(tmp_path))
    assert hard.p is not None and difference.p is not None
    assert difference.p == pytest.approx(2 * min(hard.p, 1 - hard.p))


def test_a_teacher_at_zero_has_nothing_to_keep(tmp_path: Path) -> None:
    teacher, student = seeds(tmp_path, "org/t", [0, 0]), seeds(tmp_path, "org/s", [0.5, 0.6])
    nothing = retention(student, teacher, "accuracy", evidence(tmp_path))
    assert (
        nothing.ratio is nothing.low is nothing.p is None and nothing.reason == "the teacher's score is not above zero"
    )


def test_a_column_averages_its_tasks_seed_by_seed(tmp_path: Path) -> None:
    books = seeds(tmp_path, "org/a", [0.7, 0.8, 0.9], task="cls-books")
    music = seeds(tmp_path, "org/a", [0.9, 0.7], task="cls-music", examples=60)  # seed 2 is missing
    mean = interval([*books, *music], "accuracy", evidence(tmp_path))
    expected = [(b.scores["accuracy"] + m.scores["accuracy"]) / 2 for b, m in zip(books, music, strict=False)]
    assert mean.mean == pytest.approx(np.mean(expected)) and mean.seeds == 2
    assert (mean.examples, mean.clusters) == (180, 180)
    # The test sets are independent: variances add.
    alone = [interval(records[:1], "accuracy", evidence(tmp_path)).se_examples for records in (books, music)]
    both = interval([books[0], music[0]], "accuracy", evidence(tmp_path)).se_examples
    assert both == pytest.approx((alone[0] ** 2 + alone[1] ** 2) ** 0.5 / 2)


# --- trained models ---------------------------------------------------------------------------------------------------


def test_trained_models_are_paired_over_examples(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, "org/a", [0.8]), seeds(tmp_path, "org/b", [0.6])
    accuracy = compare(a, b, "accuracy", evidence(tmp_path), "trained")
    right = [
        (np.array(table["gold"]) == np.array(table["predicted"]))
        for table in (evidence(tmp_path).predictions(record) for record in (*a, *b))
    ]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert accuracy.test == "exact McNemar" and accuracy.p == significance.mcnemar(*only)
    assert accuracy.se_seeds == 0 and accuracy.reason is None
    assert accuracy.se_examples == pytest.approx(np.std(right[0] * 1.0 - right[1], ddof=1) / 120**0.5, rel=0.06)
    f1 = compare(a, b, "f1_macro", evidence(tmp_path), "trained")
    assert f1.test == "paired permutation" and f1.p is not None and accuracy.p is not None
    assert f1.p == pytest.approx(accuracy.p, abs=0.05)


def test_examples_of_a_group_are_not_independent(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, "org/a", [0.8], each=3), seeds(tmp_path, "org/b", [0.6], each=3)
    assert compare(a, b, "accuracy", evidence(tmp_path), "trained").test == "paired permutation"


def test_trained_models_are_two(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, "org/a", [0.8, 0.7]), seeds(tmp_path, "org/b", [0.6])
    with pytest.raises(UsageError, match="one task and one seed of each"):
        compare(a, b, "accuracy", evidence(tmp_path), "trained")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"task_version": 2}, "task version 99 and 2"),
        ({"data": "f" * 16}, "data .* and ffffffff"),
        ({"limit": 100}, "limit none and 100"),
        ({"task": "paws-x"}, "run on xnli, org/b on paws-x"),
    ],
)
def test_what_differs_is_not_compared(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    a, b = seeds(tmp_path, "org/a", [0.8, 0.7]), seeds(tmp_path, "org/b", [0.6, 0.7], **other)
    with pytest.raises(UsageError, match=said):
        compare(a, b, "accuracy", evidence(tmp_path))


def test_a_score_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Task xnli has no metric 'f1_micr'\. Did you mean f1_micro"):
        interval(seeds(tmp_path, "org/a", [0.8]), "f1_micr", evidence(tmp_path))


def test_predictions_that_are_not_there(tmp_path: Path) -> None:
    records = seeds(tmp_path, "org/a", [0.8])
    next(tmp_path.rglob("*.parquet")).unlink()
    with pytest.raises(RecordError, match="not found under"):
        interval(records, "accuracy", evidence(tmp_path))


def test_one_name_for_two_test_sets(tmp_path: Path) -> None:
    a = seeds(tmp_path, "org/a", [0.8, 0.7], data="d" * 16)
    b = seeds(tmp_path, "org/b", [0.8, 0.7], data="d" * 16, examples=90)
    with pytest.raises(RecordError, match="not the test set of"):
        compare(a, b, "accuracy", evidence(tmp_path))


def test_a_single_group_has_no_interval(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="single group"):
        interval(seeds(tmp_path, "org/a", [0.8], each=200), "accuracy", evidence(tmp_path))


def test_predictions_are_found_by_content(tmp_path: Path) -> None:
    # The same cell, run in two places with other predictions: each record has its own.
    here, there = tmp_path / "a", tmp_path / "b"
    first, second = sentences(here, "org/a", 0, 0.9), sentences(there, "org/a", 0, 0.5)
    assert first.predictions.file == second.predictions.file
    both = Evidence((here, there))
    for record in (first, second):
        assert interval([record], "accuracy", both).mean == pytest.approx(record.scores["accuracy"])


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own cache"
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(folder))
    return folder


def lines(cache: Path) -> list[bytes]:
    """What is kept: a line for each value, of its name, a check and the value."""
    return [line for path in cache.glob("intervals/*") for line in path.read_bytes().split(b"\n") if line]


def test_intervals_are_kept_by_what_they_follow_from(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = seeds(tmp_path, "org/a", [0.8, 0.7]), seeds(tmp_path, "org/b", [0.6, 0.7])
    asked = evidence(tmp_path)

    def answers() -> list[Any]:
        return [
            interval(a, "accuracy", asked),
            compare(a, b, "accuracy", asked),
            retention(a, b, "accuracy", asked),
        ]

    first = answers()
    assert len(lines(cache)) == 3 and not (tmp_path / ".cache").exists()
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    assert answers() == first
    with pytest.raises(RecordError):  # another metric, another key
        interval(a, "f1_macro", evidence(tmp_path))
    monkeypatch.setattr(code, "version", lambda kind: "of another release")
    with pytest.raises(RecordError):
        interval(a, "accuracy", evidence(tmp_path))


def test_infinite_ends_are_kept_too(tmp_path: Path) -> None:
    teacher, student = seeds(tmp_path, "org/t", [0.02, 0.9]), seeds(tmp_path, "org/s", [0.5, 0.6])
    first = retention(student, teacher, "accuracy", evidence(tmp_path))
    assert (first.low, first.high) == (-np.inf, np.inf)
    assert retention(student, teacher, "accuracy", evidence(tmp_path)) == first


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "tokens"},
        {"labels": ("neg", "neutre", "pos")},
        {"scheme": "IO"},
        {"name": "another's name in a reason"},
    ],
)
def test_another_reading_of_the_same_predictions_is_kept_apart(
    tmp_path: Path, cache: Path, change: dict[str, Any]
) -> None:
    """Else a stranger's record that names the predictions of ours would say what is shown for ours."""
    a, b = seeds(tmp_path, "org/a", [0.8]), seeds(tmp_path, "org/b", [0.6])
    theirs = a[0].model_copy(update=change)
    if name := change.get("name"):
        cell = theirs.cell.model_copy(update={"model": theirs.cell.model.model_copy(update={"name": name})})
        theirs = a[0].model_copy(update={"cell": cell})
    with contextlib.suppress(RecordError):
        compare([theirs], b, "accuracy", evidence(tmp_path))
    before = len(lines(cache))
    said = compare(a, b, "accuracy", evidence(tmp_path)).reason
    assert said and "another's" not in said
    assert len(lines(cache)) == before + 1


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_results_directory_drives_no_cache(tmp_path: Path, cache: Path) -> None:
    """A stranger's folder held links at the places of a cache, which were written through."""
    records, theirs = seeds(tmp_path, "org/a", [0.8, 0.7]), tmp_path / "outside"
    theirs.mkdir()
    (tmp_path / ".cache").symlink_to(theirs)
    interval(records, "accuracy", evidence(tmp_path))
    assert not list(theirs.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"mean": "x"}', b"\xff", b"[" * 10**5])
def test_a_damaged_cache_is_computed_anew(content: bytes, tmp_path: Path, cache: Path) -> None:
    records = seeds(tmp_path, "org/a", [0.8, 0.7])
    first = interval(records, "accuracy", evidence(tmp_path))
    (path,), (line,) = cache.glob("intervals/*"), lines(cache)
    name = line.split(b" ")[0]
    for damaged in (content, b" ".join((name, kept._check(name, content), content))):
        path.write_bytes(damaged)
        assert interval(records, "accuracy", evidence(tmp_path)) == first
        assert path.read_bytes() == damaged + b"\n" + line  # nothing that others may need is thrown away


@pytest.mark.parametrize("at", [1, 40, 70, 100, -1])
def test_a_line_torn_by_a_crash_is_not_taken_nor_does_it_spoil_the_next(at: int, tmp_path: Path, cache: Path) -> None:
    records = seeds(tmp_path, "org/a", [0.8, 0.7])
    first = interval(records, "accuracy", evidence(tmp_path))
    (path,), (line,) = cache.glob("intervals/*"), lines(cache)
    path.write_bytes(line[:at])
    assert interval(records, "accuracy", evidence(tmp_path)) == first
    assert lines(cache) == [line[:at], line]


def test_a_line_spliced_of_two_is_not_taken(tmp_path: Path, cache: Path) -> None:
    """Two machines may add to one file of a shared folder at once, and each page be that of another."""
    first = interval(records := seeds(tmp_path, "org/a", [0.8, 0.7]), "accuracy", evidence(tmp_path))
    (path,), (line,) = cache.glob("intervals/*"), lines(cache)
    other = line.replace(f'"mean": {first.mean}'.encode(), f'"mean": {first.mean + 0.1}'.encode())
    assert other != line
    path.write_bytes(b"\n" + other)
    assert interval(records, "accuracy", evidence(tmp_path)) == first


def test_several_that_compute_at_once_lose_nothing(cache: Path) -> None:
    one, other = kept.Kept(), kept.Kept()
    a, b = "ab" + "0" * 62, "ab" + "1" * 62
    assert one.get(a) is one.get(b) is other.get(a) is other.get(b) is None  # both have read the file
    one.put(a, b"1")
    other.put(b, b"2")
    assert (one.get(a), one.get(b), other.get(a), other.get(b)) == (b"1", None, None, b"2")
    later = kept.Kept()
    assert (later.get(a), later.get(b)) == (b"1", b"2") and len(list(cache.glob("intervals/*"))) == 1


def test_what_is_kept_does_not_grow_without_end(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = seeds(tmp_path, "org/a", [0.8, 0.7])
    first = interval(records, "accuracy", evidence(tmp_path))
    (path,), (line,) = cache.glob("intervals/*"), lines(cache)
    path.write_bytes(b"of another release\n" * 1000)
    monkeypatch.setattr(kept, "LARGEST", 10_000)
    assert interval(records, "accuracy", evidence(tmp_path)) == first
    assert lines(cache) == [line]


def test_what_is_kept_is_bound_to_what_it_was_computed_from(tmp_path: Path, cache: Path) -> None:
    """The interval of one entry, put where that of another is looked for, is not taken for it."""
    a, b = seeds(tmp_path, "org/a", [0.8, 0.7]), seeds(tmp_path, "org/b", [0.6, 0.7])
    first = interval(a, "accuracy", evidence(tmp_path))
    (path,), (of_a,) = cache.glob("intervals/*"), lines(cache)
    other = interval(b, "accuracy", evidence(tmp_path))
    (of_b,) = set(lines(cache)) - {of_a}
    path.write_bytes(of_a.split(b" ")[0] + b" " + of_b.split(b" ", 1)[1])
    assert interval(a, "accuracy", evidence(tmp_path)) == first != other


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_nothing_is_written_through_a_link_in_the_cache(tmp_path: Path, cache: Path) -> None:
    first = interval(records := seeds(tmp_path, "org/a", [0.8, 0.7]), "accuracy", evidence(tmp_path))
    (path,) = cache.glob("intervals/*")
    (outside := tmp_path / "outside").write_bytes(b"")
    path.unlink()
    path.symlink_to(outside)
    assert interval(records, "accuracy", evidence(tmp_path)) == first
    assert not outside.read_bytes()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, cache: Path) -> None:
    records = seeds(tmp_path, "org/a", [0.8, 0.7])
    cache.write_text("a file where the folder should be")
    assert interval(records, "accuracy", evidence(tmp_path)).seeds == 2
