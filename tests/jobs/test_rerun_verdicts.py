"""What ``verify --rerun`` concludes: from the command by its exit code, from Python by the verdict.

Real runs of a small model; records are changed as a careful forger would, predictions, scores and hashes together.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flue_bench
from flue_bench.cli.verify import exit_code
from flue_bench.kinds.kind import kind_of
from flue_bench.results.store import read_record
from flue_bench.results.verify import Checked, faults
from support.command_line import Said, done
from support.command_line import flue_bench as command
from support.hub_standin import tiny_camembert
from support.tasks import sentence_task

ROWS = 120
SEEDS = (0, 1, 2)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task file, a model, and records of three seeds under ``results``."""
    folder = tmp_path_factory.mktemp("refait")
    lines = [f"{i},phrase {i} est {'bonne' if i % 2 else 'froide'},{'oui' if i % 2 else 'non'}" for i in range(ROWS)]
    (folder / "phrases.csv").write_text("\n".join(["id,text,label", *lines]) + "\n", encoding="utf-8")
    names = {"train": "phrases.csv", "validation": "phrases.csv", "test": "phrases.csv"}
    text = sentence_task("avis", **names, epochs=1, batch_size=32, learning_rate=1e-5, max_length=16)
    (folder / "avis.toml").write_text(text, encoding="utf-8")
    model = tiny_camembert(folder / "tiny")
    words = ("--model", model, "--task", folder / "avis.toml", "--device", "cpu", "--results", folder / "results")
    done("run", *words, "--seeds", str(len(SEEDS)))
    return folder


class Made:
    """A copy of the results, to be changed."""

    def __init__(self, made: Path, root: Path) -> None:
        self.made = made
        shutil.copytree(made / "results", root)
        self.files = {read_record(path).cell.seed: path for path in sorted(root.glob("runs/*/*/*.json"))}
        self.root = root

    def right(self, seed: int) -> int:
        return int((self._columns(seed)[0] == self._columns(seed)[1]).sum())

    def _columns(self, seed: int) -> tuple[Any, Any]:
        table = read_record(self.files[seed]).predictions.read(self.files[seed].parent, self.root)
        return np.array(table["gold"].to_pylist()), np.array(table["predicted"].to_pylist())

    def forge(self, seed: int, gained: int = 0, lost: int = 0) -> None:
        """Turn so many wrong answers of a record into right ones, and right ones into wrong, consistently."""
        gold, predicted = self._columns(seed)
        wrong, right = np.flatnonzero(gold != predicted), np.flatnonzero(gold == predicted)
        assert len(wrong) >= gained and len(right) >= lost
        predicted[wrong[:gained]] = gold[wrong[:gained]]
        predicted[right[:lost]] = 1 - gold[right[:lost]]
        self.write(seed, predicted)

    def make_right(self, seed: int, number: int) -> None:
        """Make a record that has so many rows right."""
        more = number - self.right(seed)
        self.forge(seed, gained=max(more, 0), lost=max(-more, 0))

    def write(self, seed: int, predicted: Sequence[int]) -> None:
        file = self.files[seed]
        record = read_record(file)
        table = record.predictions.read(file.parent, self.root)
        columns = table.to_pydict() | {
            "predicted": list(map(int, predicted)),
            "probabilities": [[0.9, 0.1] if label == 0 else [0.1, 0.9] for label in predicted],
        }
        pq.write_table(pa.table(columns, table.schema), file.parent / record.predictions.file)
        sha = hashlib.sha256((file.parent / record.predictions.file).read_bytes()).hexdigest()
        again = pq.read_table(file.parent / record.predictions.file)
        scored, kind = kind_of(record).scores(again, record), kind_of(record)

        def change(content: dict[str, Any]) -> None:
            content["predictions"]["sha256"] = sha
            content["scores"] = scored.scores
            content["per_class"] = {
                level: {name: each.model_dump() for name, each in of.items()} for level, of in scored.per_class.items()
            }
            content["collapsed"] = kind.collapsed(again, record)

        self.edit(seed, change)
        assert faults(file) == [], "nothing in the files shows it"

    def edit(self, seed: int, change: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads(self.files[seed].read_text(encoding="utf-8"))
        change(content)
        self.files[seed].write_text(json.dumps(content), encoding="utf-8")

    def elsewhere(self, seed: int) -> None:
        """Say that another machine made it."""
        self.edit(seed, lambda content: content["environment"].update(device="Some other CPU"))

    def words(self, *seeds: int) -> tuple[str | Path, ...]:
        files = [self.files[seed].relative_to(self.root) for seed in seeds]  # a path that fits the table's line
        return *files, "--rerun", "--task", self.made / "avis.toml", "--model", self.made / "tiny", "--device", "cpu"

    def verify(self, *seeds: int) -> Said:
        return command("verify", *self.words(*seeds))


@pytest.fixture
def results(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    copied = Made(made, tmp_path / "results")
    monkeypatch.chdir(copied.root)
    return copied


def plain(said: Said) -> str:
    return " ".join(said.out.split())


def test_the_same_machine_gives_the_same_bits(results: Made) -> None:
    said = results.verify(0)
    assert said.code == 0 and "rerun: same bits: identical to the byte" in plain(said)
    assert "1 record: 1 ok, 0 not; rerun: 1 same bits" in plain(said)


def test_differences_on_both_sides_are_another_machines(results: Made) -> None:
    results.elsewhere(0)
    results.forge(0, gained=12, lost=9)
    said = results.verify(0)
    assert said.code == 3, said
    assert "rerun: another machine: predictions differ in 21 of 120 rows" in plain(said)
    assert "better in the record : in the rerun 12 : 9 (exact McNemar over groups of rows, p 0.66)" in plain(said)
    assert "not promised, since device Some other CPU → " in plain(said)
    assert "1 record: 1 ok, 0 not; rerun: 1 another machine" in plain(said)


@pytest.mark.parametrize(
    ("others", "verdict", "code"),
    [((0, 1), "not borne out", 5), ((-15, 20), "undecided", 4), ((), "undecided", 4)],
    ids=["seeds that are alike", "seeds that are not", "no seeds"],
)
def test_rows_that_lean_to_one_side_elsewhere(others: tuple[int, ...], verdict: str, code: int, results: Made) -> None:
    honest = results.right(0)
    results.elsewhere(0)
    results.forge(0, gained=23)
    for seed, more in zip((1, 2), others or (None, None), strict=True):
        if more is None:
            results.files[seed].unlink()
        else:
            results.make_right(seed, honest + more)
    said = results.verify(0)
    assert said.code == code, said
    assert f"rerun: {verdict}: predictions differ in 23 of 120 rows" in plain(said)
    assert "23 : 0 (exact McNemar over groups of rows, p < 0.0001)" in plain(said)
    if others:
        assert "2 other seeds apart; p of two seeds that differ so " in plain(said)
    else:
        assert "0 other seeds of this setting here: two tell how far seeds lie apart" in plain(said)
    (checked,) = flue_bench.verify_records(
        results.files[0],
        rerun=True,
        tasks=str(results.made / "avis.toml"),
        model=results.made / "tiny",
        device="cpu",
        progress=False,
    )
    assert checked.verdict == verdict and not checked.ok
    assert bool(checked.faults) == (verdict == "not borne out"), "what is open is no fault, and not all right either"


@pytest.mark.parametrize("change", [{"gained": 23}, {"lost": 23}], ids=["raised", "a baseline lowered"])
def test_where_equal_bits_were_promised_the_rows_decide(change: dict[str, int], results: Made) -> None:
    """One record, no other seed: machine, threads and versions are those that it names."""
    for seed in (1, 2):
        results.files[seed].unlink()
    results.forge(0, **change)
    said = results.verify(0)
    assert said.code == 5, said
    assert "rerun: not borne out" in plain(said) and "equal bits were promised" in plain(said)


def test_groups_that_a_forger_names_do_not_count(results: Made) -> None:
    """One group of all rows would be a single trial, and never significant: groups are taken from the data."""
    results.forge(0, gained=23)
    file = results.files[0]
    path = file.parent / read_record(file).predictions.file
    table = pq.read_table(path)
    columns = table.to_pydict() | {"group": ["g"] * ROWS}
    pq.write_table(pa.table(columns, table.schema), path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    results.edit(0, lambda content: content["predictions"].update(sha256=sha))
    said = results.verify(0)
    assert "23 : 0" in plain(said) and said.code == 5


def test_several_records_give_the_worst_code(results: Made) -> None:
    results.elsewhere(0)
    results.forge(0, gained=5, lost=5)
    said = results.verify(0, 1, 2)
    assert said.code == 3 and "3 records: 3 ok, 0 not; rerun: 1 another machine, 2 same bits" in plain(said)
    results.forge(1, gained=23)
    assert results.verify(0, 1).code == 5
    results.edit(2, lambda content: content["scores"].update(f1_macro=0.999))
    said = results.verify(0, 1, 2)
    assert said.code == 1, "a record that contradicts itself comes first"
    assert "1 ok, 2 not; rerun: 1 another machine, 1 not borne out" in plain(said)


def test_exit_codes_in_order() -> None:
    def checked(verdict: Any = None, fault: str = "") -> Checked:
        return Checked(Path("r.json"), (fault,) if fault else (), verdict=verdict)

    same, there, open_, no = map(checked, ("same bits", "another machine", "undecided", "not borne out"))
    assert exit_code([]) == exit_code([same, checked()]) == 0
    assert exit_code([same, there]) == 3 and exit_code([open_, there]) == 4 and exit_code([no, open_]) == 5
    assert exit_code([no, checked(fault="its data are not there")]) == 1


def test_the_help_and_the_page_of_records_name_the_codes() -> None:
    from support import ROOT

    said = " ".join(done("verify", "--help").split())
    page = (ROOT / "docs/records.md").read_text(encoding="utf-8")
    for code, words in ((3, "another machine"), (4, "undecided"), (5, "not borne out")):
        assert f"{code}, {words}" in said.replace("│ │ ", ""), words
        assert f"| {code} | {words}" in page, words
