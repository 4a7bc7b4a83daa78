"""What passed its checks is not checked again, unless what it depends on is another; and what is no fault stands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

import flue_bench
from flue_bench.data.embedded import embedded
from flue_bench.record import Cell, Training
from flue_bench.results import across, code, installed, standing, verify
from flue_bench.results.prints import Gold, Prints, of_predictions
from flue_bench.results.runs import Results
from flue_bench.results.store import Store, read_record
from support.boards import write_run
from support.factories import make_record
from support.forging import forge
from support.right import NOT_INSTALLED, right_record


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))
    for model in ("org/a", "org/b"):
        for seed in (0, 1):
            write_run(Store(tmp_path / "results"), model, "xnli", seed, 0.8)
    return tmp_path / "results"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records whose files were checked, one after another."""
    done, of_files = [], verify.of_files

    def counted(record: Any, folder: Path, root: Path) -> verify.OfFiles:
        done.append(record.cell.run)
        return of_files(record, folder, root)

    monkeypatch.setattr(standing, "of_files", counted)
    monkeypatch.setattr(verify, "of_files", counted)
    return done


def a_record(root: Path) -> Path:
    return min(root.glob("runs/org--b/xnli/*.json"))


def predictions(root: Path) -> Path:
    return a_record(root).with_suffix(".predictions.parquet")


def test_what_passed_is_checked_once(root: Path, checks: list[str]) -> None:
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 4
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 4
    assert all(each.ok for each in flue_bench.verify_records(root, progress=False)) and len(checks) == 8
    write_run(Store(root), "org/c", "xnli", 0, 0.7)
    assert len(flue_bench.read_results(root)) == 5 and len(checks) == 9
    assert len(flue_bench.read_results(root)) == 5 and len(checks) == 9


def test_a_folder_whose_name_is_not_utf_8(root: Path, tmp_path: Path) -> None:
    """As an older system wrote it."""
    folder = tmp_path / os.fsdecode(b"r\xe9sultats")
    shutil.copytree(root, folder)
    assert len(flue_bench.read_results(folder)) == 4
    assert [each.ok for each in flue_bench.verify_records(folder, progress=False)] == [True] * 4


def same_size_and_time(root: Path) -> None:
    """Other bytes in the same file, as many, and the old date."""
    path, stat = predictions(root), predictions(root).stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def another_inode(root: Path) -> None:
    path, stat = predictions(root), predictions(root).stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def no_predictions(root: Path) -> None:
    predictions(root).unlink()


def another_score(root: Path) -> None:
    path, stat = a_record(root), a_record(root).stat()
    content = json.loads(path.read_bytes())
    content["scores"]["f1_macro"] = 0.999
    path.write_text(json.dumps(content), encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [same_size_and_time, another_inode, no_predictions, another_score])
def test_what_changed_is_checked_again(root: Path, checks: list[str], change: Callable[[Path], None]) -> None:
    flue_bench.read_results(root)
    checks.clear()
    change(root)
    for times in (1, 2):  # what does not pass is checked each time: the fault may have been the disk's
        read = flue_bench.read_results(root)
        assert len(read) == 3 and len(checks) == times
        assert [each.path for each in read.damaged] == [a_record(root)]


def test_other_checks_check_again(root: Path, checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    flue_bench.read_results(root)
    monkeypatch.setattr(code, "version", lambda kind: "of another release")
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 8


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells whose digests were computed, one after another."""
    done, of_cell = [], Cell.digests

    def counted(cell: Cell) -> tuple[str, str]:
        done.append(cell.run)
        return of_cell(cell)

    monkeypatch.setattr(Cell, "digests", counted)
    return done


def test_digests_are_checked_again_where_record_or_checks_are_others(
    root: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests.clear()
    assert len(flue_bench.read_results(root)) == 4 and len(digests) == 4
    assert len(flue_bench.read_results(root)) == 4 and len(digests) == 4
    assert len(Store(root).records()) == 4 and len(digests) == 8  # whoever asks no cache
    for key in ("cell_digest", "setting_digest"):
        path, before = a_record(root), a_record(root).read_bytes()
        path.write_text(json.dumps(json.loads(before) | {key: "0" * 16}), encoding="utf-8")
        read = flue_bench.read_results(root)
        assert len(read) == 3 and "is not that of 'cell'" in read.damaged[0].reason
        path.write_bytes(before)
    digests.clear()
    monkeypatch.setattr(code, "version", lambda kind: "of another release")
    assert len(flue_bench.read_results(root)) == 4 and len(digests) == 4


def test_a_record_that_did_not_pass_has_its_digests_checked_each_time(root: Path, digests: list[str]) -> None:
    another_score(root)
    for _ in range(2):
        digests.clear()
        assert len(flue_bench.read_results(root)) == 3 and "seed 0" in digests


def test_the_version_is_that_of_all_code_that_checks_and_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flue_bench.kinds.sentence import SENTENCE

    for folder in (".", "kinds", "statistics", "results"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.py").write_text("a = 1")
    monkeypatch.setattr(code, "_HERE", tmp_path)

    def version() -> str:
        code.version.cache_clear()
        code._engine.cache_clear()
        return code.version(SENTENCE)

    versions = [version()]
    for folder in (".", "kinds", "statistics", "results"):
        (tmp_path / folder / "a.py").write_text("a = 2")
        versions.append(version())
    assert len(set(versions)) == len(versions)
    monkeypatch.undo()
    assert version() == version()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runs": 1}', b"\xff", b"[" * 10**5, b'{"a": {"of": []}}'])
def test_a_damaged_cache_is_made_anew(root: Path, checks: list[str], content: bytes) -> None:
    flue_bench.read_results(root)
    (kept,) = (root.parent / "cache/checks").glob("*.json")
    kept.write_bytes(content)
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 8
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 8


@pytest.mark.parametrize("part", ["distinct", "answers", "gold"])
@pytest.mark.parametrize("value", [None, "x", [], 1.5])
def test_a_cache_of_other_types_is_made_anew(root: Path, checks: list[str], part: str, value: object) -> None:
    if part == "answers" and value == "x":
        value = 7
    flue_bench.read_results(root)
    (kept,) = (root.parent / "cache/checks").glob("*.json")
    known = json.loads(kept.read_bytes())
    known[next(iter(known))]["prints"][part] = value
    kept.write_text(json.dumps(known), encoding="utf-8")
    assert len(flue_bench.read_results(root)) == 4 and len(checks) == 5


@pytest.mark.parametrize("content", ['"x"', "[]", "null", '{"of": 1}', '{"rows": null}'])
def test_a_damaged_cache_of_data_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path))
    installed._data.cache_clear()
    before = installed._data("mini-cls", "test", None)
    (kept,) = (tmp_path / "checks/data").glob("*.json")
    good = json.loads(kept.read_bytes())
    made = json.loads(content)
    kept.write_text(json.dumps(good | made if isinstance(made, dict) else made), encoding="utf-8")
    installed._data.cache_clear()
    assert before is not None and installed._data("mini-cls", "test", None) == before
    assert json.loads(kept.read_bytes()) == good
    installed._data.cache_clear()


def test_verify_believes_no_cache(root: Path) -> None:
    """Not even one in which somebody wrote that a forged record passed."""
    flue_bench.read_results(root)
    another_score(root)
    (kept,) = (root.parent / "cache/checks").glob("*.json")
    known = json.loads(kept.read_bytes())
    place = read_record(a_record(root)).predictions.place
    assert place
    known[str(a_record(root).relative_to(root))]["of"][1] = place.sha256
    kept.write_text(json.dumps(known), encoding="utf-8")
    assert len(flue_bench.read_results(root)) == 4  # the reader's own cache is believed
    (wrong,) = (each for each in flue_bench.verify_records(root, progress=False) if not each.ok)
    assert wrong.file == a_record(root) and "f1_macro is 0.999" in wrong.faults[0]


def test_a_cache_that_cannot_be_written_is_no_error(root: Path, checks: list[str]) -> None:
    (root.parent / "cache").write_text("a file where the folder should be")
    assert len(flue_bench.read_results(root)) == len(flue_bench.read_results(root)) == 4 and len(checks) == 8


def test_results_that_were_read_otherwise_are_checked_too(root: Path) -> None:
    """As those that ``run`` returns, of which some were there before it."""
    another_score(root)
    results = Results((root,), records=Store(root).records())
    assert len(results) == 4
    board = flue_bench.build_board(results)
    assert [note.what for note in board.left_out] == [str(a_record(root))]
    assert sum(entry.n for row in board.rows for entry in row.entries if entry) == 3
    assert len(flue_bench.compare("org/a", "org/b", results).lines[0].comparison.seeds_b) == 1


def test_embedded_models_have_the_identity_that_a_run_gives_them() -> None:
    from flue_bench.training import models

    for name in ("teacher", "student", "untrained"):
        ref, ours = models.resolve(f"embedded:{name}").ref, embedded(f"embedded:{name}")
        assert ours == (ref.digest, ref.teacher, ref.weights_bytes)
    for name in ("embedded:absent", "embedded:../training", "org/a"):
        assert embedded(name) is None


# Prints.


def table(order: Any = range(6), prefix: str = "g", small: bool = False, **changed: Any) -> pyarrow.Table:
    columns: dict[str, list[Any]] = {
        "id": list("abcdef"),
        "group": [f"{prefix}{i // 2}" for i in range(6)],
        "gold": [0, 1, 0, 1, 0, 1],
        "predicted": [0, 1, 1, 1, 0, 0],
        "probabilities": [[0.1 * i, 1 - 0.1 * i] for i in range(6)],
    }
    columns |= changed
    types = {"gold": pyarrow.int16() if small else pyarrow.int64(), "predicted": pyarrow.int64()}
    return pyarrow.table(
        {name: pyarrow.array([values[i] for i in order], types.get(name)) for name, values in columns.items()}
    )


def test_order_names_of_groups_and_widths_make_no_difference() -> None:
    first = of_predictions(table())
    assert first.distinct >= 9 and first.gold.rows == 6
    assert of_predictions(table(order=(3, 1, 5, 0, 4, 2))) == first
    assert of_predictions(table(prefix="autre")) == first
    assert of_predictions(table(small=True)) == first
    assert of_predictions(pyarrow.concat_tables([table().slice(0, 2), table().slice(2)])) == first


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"id": list("abcdeg")}, {"gold.ids"}),
        ({"gold": [1, 1, 0, 1, 0, 1]}, {"gold.labels"}),
        ({"group": list("aabbcd")}, {"gold.groups"}),
        ({"predicted": [0, 1, 1, 1, 0, 1]}, {"answers"}),
        ({"probabilities": [[0.1 * i, 0.99 - 0.1 * i] for i in range(6)]}, {"answers", "distinct"}),
    ],
)
def test_every_column_makes_a_difference(changed: dict[str, Any], differs: set[str]) -> None:
    def flat(prints: Prints) -> dict[str, Any]:
        return {f"gold.{name}": value for name, value in vars(prints.gold).items()} | {
            name: value for name, value in vars(prints).items() if name != "gold"
        }

    before, after = flat(of_predictions(table())), flat(of_predictions(table(**changed)))
    assert {name for name in before if before[name] != after[name]} == differs


# What is no fault.


def seen(number: int, **changes: Any) -> across.Seen:
    prints = {"answers": f"a{number}", "distinct": 200} | {
        name: changes.pop(name) for name in ("answers", "distinct") if name in changes
    }
    record = make_record(**{"seed": number, "task_version": NOT_INSTALLED, "weights_bytes": 7} | changes)
    return across.Seen(Path(f"{number}.json"), record, Prints(Gold(450, "i", "l", "g"), **prints))


@pytest.mark.parametrize(
    "alike",
    [
        {"answers": "a", "distinct": 2, "collapsed": "predicts only 'a'"},  # of one answer throughout
        {"answers": "a", "distinct": 0},  # sure of everything, and right
    ],
)
def test_what_two_trainings_may_give_stands(alike: dict[str, Any]) -> None:
    assert across.clashes([seen(0, **alike), seen(1, **alike)]) == {}


def test_seeds_after_which_no_weight_moved_stand() -> None:
    """A vanishing learning rate leaves a checkpoint with its own head as it was; the losses are those of the seeds."""
    runs = [seen(seed, answers="a", train_loss=0.5 + seed / 100, recipe={"learning_rate": 1e-12}) for seed in range(3)]
    assert across.clashes(runs) == {}
    assert set(across.clashes([*runs, seen(3, answers="a", train_loss=0.5)])) == {Path("0.json"), Path("3.json")}
    other = seen(4, answers="a", train_loss=0.9, score=0.9)  # what it got on validation is not what these get
    assert set(across.clashes([*runs, other])) == {Path(f"{n}.json") for n in (0, 1, 2, 4)}


def test_the_same_weights_under_two_digests_stand() -> None:
    """A copy with one more key in its configuration is another model by content, and gives the same answers."""
    assert across.clashes([seen(0, answers="a"), seen(1, answers="a", seed=0, model="org/copie")]) == {}


@pytest.mark.parametrize(
    ("recipe", "stands"),
    [
        ({"max_length": 256}, True),  # no text is as long
        ({"selection": "last"}, True),
        ({"max_grad_norm": 5.0}, True),
        ({"learning_rate": 1e-4}, False),
        ({"batch_size": 16}, False),
        ({"precision": "bf16"}, False),
    ],
)
def test_one_run_after_two_ways_of_training(recipe: dict[str, Any], stands: bool) -> None:
    clashes = across.clashes([seen(0, answers="a"), seen(1, answers="a", seed=0, recipe=recipe)])
    assert set(clashes) == (set() if stands else {Path("0.json"), Path("1.json")})
    other = seen(1, answers="a", seed=0, recipe=recipe, train_loss=0.7)
    assert across.clashes([seen(0, answers="a"), other]) == {}


@pytest.mark.parametrize("alike", [{"answers": "a"}, {"answers": "a", "distinct": across.DISTINCT}])
def test_what_they_never_give_does_not(alike: dict[str, Any]) -> None:
    assert set(across.clashes([seen(0, **alike), seen(1, **alike), seen(2)])) == {Path("0.json"), Path("1.json")}
    assert across.clashes([seen(0, **alike), seen(0, **alike)]) == {}  # the same run, found in two folders
    again = seen(1, **alike, seed=0, recipe={"max_length": 256})  # of a setting that changes nothing here
    assert across.clashes([seen(0, **alike), again]) == {}


@pytest.mark.parametrize(
    ("teachers", "apart"),
    [
        ("TTT", ""),
        ("TT-", ""),  # a copy without its distillation.json
        ("-T-", "1"),
        ("T-", "0"),
        ("TTU", "2"),
        ("TU", "01"),
        ("---", ""),
    ],
)
def test_teachers(teachers: str, apart: str) -> None:
    clashes = across.clashes([seen(i, teacher=None if t == "-" else t * 16) for i, t in enumerate(teachers)])
    assert set(clashes) == {Path(f"{i}.json") for i in apart}


def test_one_that_read_how_a_model_was_made_is_not_outvoted() -> None:
    """Copies without their distillation.json are silent, whatever their number."""
    named = seen(0, teacher="T" * 16, distilled=("r", 0))
    assert across.clashes([named, *(seen(i) for i in (1, 2, 3))]) == {}
    how = Training(name="run", digest="0" * 16, step=3)
    assert set(across.clashes([seen(0, teacher="T" * 16, training=how), *(seen(i, training=how) for i in (1, 2))])) == {
        Path("0.json")
    }


def test_records_from_before_teachers_were_recorded_deny_none() -> None:
    old = [seen(i, weights_bytes=None) for i in range(3)]
    assert across.clashes([*old, seen(3, teacher="T" * 16)]) == {}


def test_tokens_and_small_test_sets_stand(tmp_path: Path) -> None:
    """Ten rows, on which two seeds decide alike, and a tagger."""
    store = Store(tmp_path)
    for seed in (0, 1):
        made = make_record("org/a", "petite", seed, task_version=NOT_INSTALLED)
        columns = {"id": list("abcdefghij"), "group": list("abcdefghij"), "gold": [0, 1] * 5, "predicted": [0, 1] * 5}
        right_record(store, made, columns, np.random.default_rng(seed))
        write_run(store, "org/a", "wikiner", seed, 0.9)
    read = flue_bench.read_results(tmp_path)
    assert len(read) == 4 and not read.damaged


def test_a_forger_changes_what_stands(root: Path) -> None:
    """The tests' own forger: without a change it leaves a record that stands."""
    forge(a_record(root))
    assert len(flue_bench.read_results(root)) == 4
