from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from flue_bench.errors import RecordError
from flue_bench.record import SCHEMA_VERSION, Predictions, RunRecord
from flue_bench.results import store as store_module
from flue_bench.results.store import Store, read_predictions, read_record
from flue_bench.results.verify import records_in
from support import ROOT
from support.factories import make_cell, make_failure, make_predictions, make_record, make_speed


def put(store: Store, table: pyarrow.Table | None = None, **record: Any) -> RunRecord:
    def build(predictions: Predictions) -> RunRecord:
        return make_record(predictions=predictions, **record)

    return store.write(build, make_predictions() if table is None else table, make_record(**record).cell)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def only_record(root: Path) -> Path:
    (path,) = root.glob("runs/*/*/*.json")
    return path


def test_a_written_record_is_found_and_equal(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(make_cell()) is None
    written = put(store, model="cmarkea/distilcamembert-base", task="xnli", seed=3)
    read = store.find(written.cell)
    assert read == written
    stem = f"runs/cmarkea--distilcamembert-base/xnli/seed3-{written.cell_digest}"
    assert files(tmp_path) == [f"{stem}.json", f"{stem}.predictions.parquet"]
    folder = store.folder(written.cell)
    assert read_predictions(written, folder).equals(make_predictions())
    assert written.predictions.rows == 4
    assert store.find(make_cell("cmarkea/distilcamembert-base", "xnli", 4)) is None


def test_a_cell_is_found_under_any_model_name(tmp_path: Path) -> None:
    written = put(Store(tmp_path / "a"), model="org/modele", model_digest="d" * 16)
    put(Store(tmp_path / "b"), model="autre", seed=1)
    shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    merged = Store(tmp_path / "b")
    assert merged.find(make_cell("/ailleurs/copie", model_digest="d" * 16)) == written
    assert len(merged.records()) == 2


def test_a_record_in_its_place_is_found_without_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = put(Store(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("folders were listed"))
    assert Store(tmp_path).find(written.cell) == written


def test_a_cell_is_looked_for_in_one_folder_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that are not done are the common case of a new grid: their cost must not grow with what others hold."""
    store, opened, real = Store(tmp_path), [], os.scandir
    for model, task in itertools.product(("a", "b", "c"), ("cls", "paws-x", "xnli", "wikiner")):
        put(store, model=model, model_digest=model * 16, task=task)

    def scandir(path: str) -> Any:
        opened.append(Path(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert store.find(make_cell("d", "xnli", model_digest="d" * 16)) is None
    assert {path.name for path in opened} <= {"runs", "xnli", tmp_path.name}
    opened.clear()
    put(store, model="d", model_digest="d" * 16, task="xnli")
    assert {path.name for path in opened if path.parent.parent.name == "runs"} == {"xnli"}


def test_run_again_under_another_name_leaves_one_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, model="org/modele", model_digest="d" * 16, score=0.5)
    again = put(store, model="copie", model_digest="d" * 16, score=0.6)
    assert store.records() == [again]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("name", ["../../dehors", "..", "/", "a" * 300, "modèle été", "x\x1b[31m|y", "."])
def test_no_model_name_leaves_the_directory(tmp_path: Path, name: str) -> None:
    root = tmp_path / "results"
    written = put(Store(root), model=name)
    assert Store(root).find(written.cell) == written
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert len(only_record(root).relative_to(root).parts) == 4


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    table = make_predictions(6)
    chunked = pyarrow.concat_tables([table.slice(0, 2), table.slice(2)]).replace_schema_metadata({"made": "today"})
    first = put(Store(tmp_path / "a"), table)
    second = put(Store(tmp_path / "b"), chunked)
    assert first.predictions.sha256 == second.predictions.sha256
    assert put(Store(tmp_path / "c"), make_predictions(7)).predictions.sha256 != first.predictions.sha256


def test_a_diverged_run_can_be_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, train_loss=float("nan"))
    (record,) = store.records()
    assert record.history[0].train_loss != record.history[0].train_loss


@pytest.mark.parametrize("survives", [0, 1])
def test_an_interruption_between_predictions_and_record_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    store, replaced = Store(tmp_path), []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if len(replaced) == survives:
            raise KeyboardInterrupt
        replaced.append(Path(target))
        real(source, target)

    monkeypatch.setattr(store_module.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        put(store)
    assert [path.suffix for path in replaced] == [".parquet"][:survives]
    assert [Path(name).suffix for name in files(tmp_path)] == [".parquet"][:survives]
    assert store.read() == ([], [], [], [])
    monkeypatch.undo()
    put(store)
    assert len(store.records()) == 1


@pytest.mark.parametrize("survives", [0, 1, 2])
def test_an_interrupted_rerun_never_pairs_an_old_record_with_new_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    store = Store(tmp_path)
    before, replaced, real = put(store), 0, os.replace

    def replace(source: Path, target: Path) -> None:
        nonlocal replaced
        if replaced == survives:
            raise KeyboardInterrupt
        replaced += 1
        real(source, target)

    monkeypatch.setattr(store_module.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        put(store, make_predictions(8))
    assert store.records() == ([] if survives else [before])
    for record in store.records():
        read_predictions(record, store.folder(record.cell))
    monkeypatch.undo()
    put(store, make_predictions(8))
    assert len(files(tmp_path)) == 2 and len(store.records()) == 1


def test_where_nothing_can_be_renamed_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    before = put(store)

    def replace(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(store_module.os, "replace", replace)
    with pytest.raises(RecordError, match=r"cannot be written: Invalid cross-device link; check the folder"):
        put(store, make_predictions(8))
    assert store.find(before.cell) == before and len(files(tmp_path)) == 2


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    before = put(store)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module.os, "fsync", fsync)
    with pytest.raises(RecordError, match=r"seed0-.*json: cannot be written: No space left on device; free some space"):
        put(store, make_predictions(8))
    with pytest.raises(RecordError, match="No space left on device"):
        store.write_failure(make_failure(seed=1))
    monkeypatch.undo()
    assert store.records() == [before]
    assert read_predictions(before, store.folder(before.cell)).num_rows == 4
    assert len(files(tmp_path)) == 2


def test_a_results_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    store = Store(tmp_path / "results")
    for attempt in (lambda: put(store), store.lock(make_cell()).acquire, lambda: store.write_failure(make_failure())):
        with pytest.raises(RecordError, match=r"results.*cannot be written: .*--results"):
            attempt()
    assert store.read() == ([], [], [], [])


def test_a_failure_is_kept_until_its_cell_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_failure(make_failure("plus de mémoire"))
    store.write_failure(make_failure("encore", seed=1))
    store.write_failure(make_failure("encore une fois", seed=1))
    assert sorted(failure.error for failure in store.failures()) == ["encore une fois", "plus de mémoire"]
    assert store.records() == []
    assert store.find(make_cell()) is None
    put(store)
    assert [failure.cell.seed for failure in store.failures()] == [1]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "", "not JSON"),
        (lambda text: "\x00" * 50, "not JSON"),
        (lambda text: "[" * 100_000, "not JSON"),
        (lambda text: "[1, 2]", "it has to be a table"),
        (lambda text: '{"name": "package.json"}', "field 'cell': missing"),
        (
            lambda text: text.replace('"seed": 0', '"seed": "zéro"'),
            "field 'cell.seed': it has to be a whole number",
        ),
        (
            lambda text: text.replace('"seed": 0', '"seed": 7'),
            "'cell_digest' or 'setting_digest' is not that of 'cell'",
        ),
        (lambda text: text.replace('"created"', '"créé"'), "field 'created': missing"),
    ],
)
def test_a_damaged_record_is_listed_and_run_again(tmp_path: Path, damage: Any, reason: str) -> None:
    store = Store(tmp_path)
    written = put(store)
    put(store, seed=1)
    path = store.folder(written.cell) / f"seed0-{written.cell_digest}.json"
    damaged = damage(path.read_text(encoding="utf-8"))
    path.write_text(damaged, encoding="utf-8")
    contents = store.read()
    assert [record.cell.seed for record in contents.records] == [1]
    assert contents.failures == []
    ((where, why),) = contents.damaged
    assert where == path.relative_to(tmp_path)
    assert reason in why and str(tmp_path) not in why
    with pytest.raises(RecordError, match=path.name):
        read_record(path)
    assert store.find(written.cell) is None
    put(store)
    assert len(store.records()) == 2


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace('"train_loss": 0.5', '"train_loss": NaN').encode(),
        lambda text: text.replace('"train_loss": 0.5', '"train_loss": 1e400').encode(),
        lambda text: text.replace('"train_loss": 0.5', '"train_loss": 0.1000000000000000055511151231257827').encode(),
        lambda text: text.replace('"steps": 10,', '"steps": "10",').encode(),
        lambda text: text.replace('"steps": 10,', '"steps": true,').encode(),
        lambda text: text.replace('"steps": 10,', f'"steps": {10**30},').encode(),
        lambda text: text.replace('"created": "', '"created": "\\ud800').encode(),
        lambda text: text.replace('"scores"', '"measures": {"x": -0.0}, "scores"').encode(),
        lambda text: text.replace('"scheme": null', '"scheme": null, "options": {"a": [1, 2.50, "é", null]}').encode(),
        lambda text: text.replace('"schema_version": 2', '"schema_version": "1"').encode(),
        lambda text: text.replace('"schema_version": 2', '"schema_version": 0').encode(),
    ],
)
def test_a_record_reads_as_python_reads_its_json(tmp_path: Path, rewritten: Any) -> None:
    """Records are validated from their bytes, which is quicker; what may be written in JSON means the same."""
    put(Store(tmp_path))
    path = only_record(tmp_path)
    path.write_bytes(rewritten(before := path.read_text(encoding="utf-8")))
    assert path.read_bytes() != before.encode()
    try:
        expected = repr(RunRecord.model_validate(json.loads(path.read_bytes())))
    except ValueError:
        with pytest.raises(RecordError):
            read_record(path)
    else:
        assert repr(read_record(path)) == expected


def test_foreign_files_do_no_harm(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = put(store)
    folder = store.folder(written.cell)
    (folder / "dossier.json").mkdir()
    (folder / "latin.json").write_bytes("é".encode("latin-1"))
    (folder / "casse.failed.json").write_text("{}")
    (folder / "notes.txt").write_text("à moi")
    contents = store.read()
    assert contents.records == [written]
    assert sorted(path.name for path, _ in contents.damaged) == ["casse.failed.json", "dossier.json", "latin.json"]


def test_a_record_of_a_later_version_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = put(store)
    path = only_record(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION + 1, "new": 1}))
    for attempt in (lambda: read_record(path), lambda: store.find(written.cell)):
        with pytest.raises(RecordError, match=r"schema version \d, .* reads up to \d: upgrade flue-bench"):
            attempt()
    assert "upgrade" in store.read().damaged[0].reason


def test_predictions_are_checked_against_their_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = put(store)
    folder = store.folder(written.cell)
    put(Store(tmp_path / "other"), make_predictions(5))
    shutil.copy(next((tmp_path / "other").rglob("*.parquet")), folder / written.predictions.file)
    with pytest.raises(RecordError, match="SHA-256 differs"):
        read_predictions(written, folder)
    (folder / written.predictions.file).unlink()
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        read_predictions(written, folder)


def test_predictions_of_rows_without_end_are_not_decoded(tmp_path: Path) -> None:
    """Some kilobytes, of which a reader would make gigabytes."""
    store = Store(tmp_path)
    written = put(store)
    path = store.folder(written.cell) / written.predictions.file
    runs = pyarrow.DictionaryArray.from_arrays(np.zeros(3_000_000, dtype=np.int32), ["a"])
    parquet.write_table(pyarrow.table({"id": runs}), path)
    content = path.read_bytes()
    assert len(content) < 100_000
    listed = written.predictions.model_copy(update={"sha256": hashlib.sha256(content).hexdigest(), "rows": 3_000_000})
    with pytest.raises(RecordError, match="the same ones again and again"):
        read_predictions(written.model_copy(update={"predictions": listed}), path.parent)


@pytest.mark.parametrize("column", ["group", "a.b"])
def test_predictions_of_a_long_value_in_every_row_are_not_decoded(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary holds it once; whoever reads the column has it as often as there are rows."""
    monkeypatch.setattr("flue_bench.record.MOST_BYTES", 2**20)
    store = Store(tmp_path)
    written = put(store)
    path = store.folder(written.cell) / written.predictions.file
    runs = pyarrow.DictionaryArray.from_arrays(np.zeros(100, dtype=np.int32), ["a" * 2**20])
    parquet.write_table(pyarrow.table({"id": [str(i) for i in range(100)], column: runs}), path)
    content = path.read_bytes()
    listed = written.predictions.model_copy(update={"sha256": hashlib.sha256(content).hexdigest(), "rows": 100})
    bomb = written.model_copy(update={"predictions": listed})
    with pytest.raises(RecordError, match=r"values of 1\d\d,\d{3},\d{3} bytes, and 1,048,576 is the limit"):
        read_predictions(bomb, path.parent)
    assert read_predictions(bomb, path.parent, ["id"]).num_rows == 100


@pytest.mark.parametrize("name", ["a\0b", "..", "", ".", "a" * 300, "/dev/zero", "\ud800.parquet"], ids=ascii)
def test_predictions_under_names_that_are_none(name: str, tmp_path: Path) -> None:
    written = put(Store(tmp_path))
    listed = written.predictions.model_copy(update={"file": name})
    with pytest.raises(RecordError, match="cannot be read"):
        read_predictions(written.model_copy(update={"predictions": listed}), Store(tmp_path).folder(written.cell))


HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support.factories import make_cell
from flue_bench.results.store import Store
with Store(Path(sys.argv[1])).lock(make_cell()):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_hold_one_cell_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    tests = str(ROOT / "tests")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), tests], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            store = Store(tmp_path)
            lock = store.lock(make_cell())
            with pytest.raises(TimeoutError):
                lock.acquire(timeout=0.2)
            with store.lock(make_cell(seed=1)):
                pass
            timer = threading.Timer(0.3, holder.kill)
            timer.start()
            began = time.monotonic()
            with store.lock(make_cell()):
                assert time.monotonic() - began > 0.2
            timer.join()
        finally:
            holder.kill()


def test_two_that_finish_one_cell_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As may be where a file system has no locks: the other one has taken the old record away."""
    store = Store(tmp_path)
    put(store)
    replace = os.replace

    def late(source: Path, target: Path) -> None:
        if str(target).endswith(".old"):
            Path(source).unlink()
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    written = put(store)
    assert store.records() == [written] and store.find(written.cell) == written


def test_a_checkpoint_belongs_to_its_cell(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.checkpoint_dir(make_cell()).parent == tmp_path / ".checkpoints"
    assert store.checkpoint_dir(make_cell()) != store.checkpoint_dir(make_cell(seed=1))


def test_speeds_are_kept_one_a_model_device_and_precision(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, model="org/modele")
    kinds = [make_speed(), make_speed(precision="bf16"), make_speed(device="GPU"), make_speed("autre")]
    for speed in kinds:
        store.write_speed(speed)
    again = make_speed(examples_per_second=50.0, threads=1)
    store.write_speed(again)
    speeds = store.read().speeds
    assert len(speeds) == 4 and again in speeds and kinds[0] not in speeds
    assert len(store.read().records) == 1 and store.read().damaged == []
    assert {path.parent.name for path in tmp_path.glob("speed/*/*.json")} == {"org--modele", "autre"}


def test_a_speed_under_another_name_replaces_the_older(tmp_path: Path) -> None:
    store, speed = Store(tmp_path), make_speed()
    store.write_speed(speed)
    copy = speed.model_copy(update={"model": speed.model.model_copy(update={"name": "copie"})})
    store.write_speed(copy)
    assert store.read().speeds == [copy]


def test_a_damaged_speed_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_speed(make_speed())
    (path,) = tmp_path.glob("speed/*/*.json")
    (path.parent / "casse.json").write_text(path.read_text().replace('"parameters"', '"paramètres"'))
    contents = store.read()
    assert len(contents.speeds) == 1
    assert contents.damaged == [(Path("speed/org--modele/casse.json"), "field 'parameters': missing.")]
    (tmp_path / "occupé").write_text("")
    with pytest.raises(RecordError, match=r"occupé.*cannot be written"):
        Store(tmp_path / "occupé").write_speed(make_speed())


def test_teacher_and_size_are_no_part_of_an_identity() -> None:
    plain, told = make_cell(), make_cell(teacher="a" * 16, weights_bytes=7)
    assert (told.model.teacher, told.model.weights_bytes) == ("a" * 16, 7)
    assert (plain.digest, plain.setting_digest) == (told.digest, told.setting_digest)


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize(
    "linked", ["runs", "runs/org--modele", "runs/org--modele/xnli", "speed", ".locks", ".checkpoints"]
)
def test_nothing_is_written_through_a_link_in_a_results_directory(tmp_path: Path, linked: str) -> None:
    """A stranger's folder may hold them."""
    root, outside = tmp_path / "results", tmp_path / "outside"
    outside.mkdir()
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(outside)
    store = Store(root)
    attempts = {
        "runs": [lambda: put(store), lambda: store.write_failure(make_failure())],
        "speed": [lambda: store.write_speed(make_speed())],
        ".locks": [lambda: store.lock(make_cell()).acquire()],
        ".checkpoints": [lambda: store.checkpoint_dir(make_cell())],
    }
    for attempt in attempts[linked.partition("/")[0]]:
        with pytest.raises(RecordError, match=f"'{linked}' is a link, and nothing is written through one"):
            attempt()
    assert list(outside.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("linked", ["runs/autre", "runs/org--modele/autre", "speed/autre"])
def test_what_is_reached_through_a_link_is_neither_renamed_nor_removed(
    tmp_path: Path, linked: str, inside: bool
) -> None:
    """The record of the same cell in another folder, or a copy set aside in this one, is not an older one here."""
    root, speed = tmp_path / "results", make_speed()
    elsewhere = Store(root / "aside" if inside else tmp_path / "theirs")
    put(elsewhere)
    elsewhere.write_failure(make_failure())
    elsewhere.write_speed(speed)
    target = {
        "runs/autre": elsewhere.root / "runs" / "org--modele",
        "runs/org--modele/autre": elsewhere.folder(make_cell()),
        "speed/autre": next(elsewhere.root.glob("speed/*")),
    }[linked]
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(target)
    before = {path: (elsewhere.root / path).read_bytes() for path in files(elsewhere.root)}
    assert len(before) == 4
    store = Store(root)
    for _ in range(2):
        put(store)
        store.write_speed(speed)
    assert {path: (elsewhere.root / path).read_bytes() for path in files(elsewhere.root)} == before
    assert (root / linked).is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_record_that_is_itself_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    written = put(Store(tmp_path / "theirs"))
    kept = only_record(tmp_path / "theirs")
    store = Store(tmp_path / "mine")
    folder = store.root / "runs" / "autre" / "xnli"
    folder.mkdir(parents=True)
    (folder / kept.name).symlink_to(kept)
    content = kept.read_bytes()
    put(store)
    assert kept.read_bytes() == content and (kept.parent / written.predictions.file).is_file()
    assert only_record(store.root).parent == store.folder(written.cell) and not only_record(store.root).is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
@pytest.mark.parametrize("place", ["record", "predictions", "failure", "speed", "lock"])
@pytest.mark.parametrize("kind", ["pipe", "device", "outside", "folder"])
def test_what_is_no_file_of_the_directory_is_named_and_neither_read_nor_written(
    tmp_path: Path, place: str, kind: str
) -> None:
    store = Store(tmp_path / "results")
    written, cell = put(store), make_cell(seed=1)
    store.write_speed(make_speed())
    store.write_failure(make_failure(seed=1))
    folder = store.folder(written.cell)
    path = {
        "record": folder / f"seed0-{written.cell_digest}.json",
        "predictions": folder / written.predictions.file,
        "failure": folder / f"seed1-{cell.digest}.failed.json",
        "speed": next(store.root.glob("speed/*/*.json")),
        "lock": store.root / ".locks" / f"{cell.digest}.lock",
    }[place]
    content = path.read_bytes() if path.exists() else b"mine"
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "outside":
            (tmp_path / "outside").write_bytes(content)
            path.symlink_to(tmp_path / "outside")
        case "folder":
            path.mkdir()
    if place == "predictions":
        with pytest.raises(RecordError, match=r"cannot be read: (not a regular file|a link leads out|Is a directory)"):
            read_predictions(written, folder)
    elif place == "lock":
        with pytest.raises(RecordError) if kind != "pipe" else contextlib.nullcontext():
            store.lock(cell).acquire(timeout=1)
    else:
        assert [damaged.path for damaged in store.read().damaged] == [path.relative_to(store.root)]
    if kind == "outside":
        assert (tmp_path / "outside").read_bytes() == content


def test_a_record_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store)
    with only_record(tmp_path).open("ab") as file:
        file.truncate(180 * 10**6)
    assert [damaged.reason for damaged in store.read().damaged] == [
        "cannot be read: 180,000,000 bytes, and 16,777,216 is the limit."
    ]


@pytest.mark.parametrize("kind", ["run", "failure", "speed"])
def test_what_macos_leaves_beside_a_file_is_no_record(tmp_path: Path, kind: str) -> None:
    """``._NAME`` holds what other disks cannot: a disk or an archive that was written there is full of them."""
    store = Store(tmp_path)
    made = put(store)
    store.write_failure(make_failure(seed=5))
    store.write_speed(make_speed())
    where = {"run": "runs/*/*/seed0*.json", "failure": "runs/*/*/*.failed.json", "speed": "speed/*/*.json"}
    (path,) = tmp_path.glob(where[kind])
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    contents = store.read()
    assert contents.damaged == [] and contents.records == [made]
    assert len(contents.failures) == len(contents.speeds) == 1
    assert [each.name for each in records_in([tmp_path])] == [f"seed0-{made.cell_digest}.json"]


@pytest.mark.parametrize("of", ["json", "predictions.parquet"])
def test_what_git_lfs_has_not_pulled_is_told(tmp_path: Path, of: str) -> None:
    store = Store(tmp_path)
    written = put(store)
    path = only_record(tmp_path)
    pointer = path.with_name(f"{path.stem}.{of}")
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(RecordError, match=rf"{of}: a pointer of git-LFS, not the file\. Run `git lfs pull`"):
        _ = read_record(path) if of == "json" else read_predictions(written, path.parent)
