"""What an average over seeds would hide is said: which seeds, the lowest, and runs that were not made alike."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from flue_bench.boards.board import Board
from flue_bench.boards.html import html
from flue_bench.boards.latex import latex
from flue_bench.boards.notebook import html as fragment
from flue_bench.boards.provenance import mixed
from flue_bench.boards.render import markdown, terminal, to_csv, to_json
from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.boards.wording import notes
from flue_bench.progress import Console
from flue_bench.record import NoTraining, RunRecord
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from support.boards import write_run
from support.factories import CLS, make_record

ALIKE = "Averaged over runs that were not made alike"
CHANGED = "Made from a checkout of flue-bench with uncommitted changes"


def made(record: RunRecord, **environment: Any) -> RunRecord:
    """The record as another machine or version would have made it."""
    packages = record.environment.packages | environment.pop("packages", {})
    elsewhere = record.environment.model_copy(update=environment | {"packages": packages})
    return record.model_copy(update={"environment": elsewhere})


def of_seeds(*seeds: int, task: str = "xnli", model: str = "org/m") -> list[RunRecord]:
    return [make_record(model, task, seed, 0.7 + seed / 100) for seed in seeds]


def texts(board: Board) -> dict[str, str]:
    """The board in the formats that are for reading, with blanks for the ends of lines."""
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(terminal(board))
    said = {
        "terminal": out.getvalue(),
        "markdown": markdown(board),
        "latex": latex(board),
        "notebook": fragment(board),
    }
    # LaTeX parts hyphens, for they would make a dash.
    return {form: " ".join(text.replace("{-}", "-").split()) for form, text in said.items()}


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"device": "GPU"}, "machine: CPU, Linux (seeds 0, 2), GPU, Linux (seed 1)"),
        ({"platform": "Darwin"}, "machine: CPU, Darwin (seed 1), CPU, Linux (seeds 0, 2)"),
        ({"threads": 64}, "threads: 2 (seeds 0, 2), 64 (seed 1)"),
        ({"packages": {"torch": "2.14.0"}}, "torch: 2.13.0 (seeds 0, 2), 2.14.0 (seed 1)"),
        ({"packages": {"transformers": "5.3.0"}}, "transformers: 5.3.0 (seed 1), unknown (seeds 0, 2)"),
        ({"flue_bench": "0.2.0"}, "flue-bench: 0.1.0 (seeds 0, 2), 0.2.0 (seed 1)"),
        ({"deterministic": False}, "sums: in a fixed order (seeds 0, 2), in no fixed order (seed 1)"),
    ],
)
def test_what_differs_within_an_entry_is_said_in_every_form(second: dict[str, Any], words: str) -> None:
    first, other, third = of_seeds(0, 1, 2)
    board = build([first, made(other, **second), third])
    (entry,) = board.rows[0].entries
    assert entry and entry.mixed == (words,)
    for form, said in texts(board).items():
        plain = said.replace(r"\_", "_")
        assert ALIKE in plain and words in plain, form
    assert json.loads(to_json(board))["rows"][0]["entries"][0]["mixed"] == [words]
    assert board.to_arrow()["mixed"].to_pylist() == [[words]]


def test_runs_that_were_made_alike_need_no_note() -> None:
    board = build(of_seeds(0, 1, 2))
    (entry,) = board.rows[0].entries
    assert entry and (entry.mixed, entry.uncommitted) == ((), ())
    assert not notes(board)
    # Entries on different machines are not averaged with each other.
    apart = build([*of_seeds(0, 1), *(made(r, device="GPU") for r in of_seeds(0, 1, task="paws-x"))])
    assert ALIKE not in notes(apart)


def test_each_run_names_its_machine_in_json_csv_and_arrow() -> None:
    first, other = of_seeds(0, 1)
    board = build([first, made(other, device="GPU", threads=8, dirty=True, packages={"torch": "2.14.0"})])
    expected = [("CPU", 2, "2.13.0", None), ("GPU", 8, "2.14.0", True)]
    for runs in (json.loads(to_json(board))["rows"][0]["entries"][0]["runs"], board.to_arrow()["runs"][0].as_py()):
        assert [(run["device"], run["threads"], run["torch"], run["dirty"]) for run in runs] == expected
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert [(line["device"], line["threads"], line["torch"], line["dirty"]) for line in lines] == [
        ("CPU", "2", "2.13.0", ""),
        ("GPU", "8", "2.14.0", "True"),
    ]


def test_a_changed_checkout_is_named_by_its_seeds_and_columns_share_a_line() -> None:
    records = [
        made(record, dirty=record.cell.seed > 0)
        for task in ("paws-x", "xnli", "wikiner")
        for record in of_seeds(*((0, 1, 2) if task != "wikiner" else (0,)), task=task)
    ]
    board = build(records)
    assert notes(board)[CHANGED] == ["org/m (standard, fp32), paws-x, xnli: seeds 1, 2"]
    assert ALIKE not in notes(board), "one kind of machine"
    for form, said in texts(board).items():
        assert CHANGED in said, form


@pytest.mark.parametrize(
    ("seeds", "words"), [((0, 2, 5), "seeds 0, 2, 5"), ((1, 2, 3), "seeds 1, 2, 3"), ((7,), "seed 7")]
)
def test_seeds_that_were_chosen_are_named(seeds: tuple[int, ...], words: str) -> None:
    board = build(of_seeds(*seeds))
    (heading,) = notes(board)
    assert heading.startswith("Seeds that do not count from 0") and notes(board)[heading] == [
        f"org/m (standard, fp32), xnli: {words}"
    ]
    for form, said in texts(board).items():
        assert words in said, form


@pytest.mark.parametrize("n", [1, 2, 10])
def test_the_first_n_seeds_are_what_a_run_makes(n: int) -> None:
    assert not notes(build(of_seeds(*range(n))))


def test_the_lowest_seed_is_shown_where_there_are_several() -> None:
    several, single = build(of_seeds(0, 1, 2)), build(of_seeds(0))
    (entry,) = several.rows[0].entries
    assert entry and (entry.lowest, entry.median) == (0.7, 0.71)
    for form, said in texts(several).items():
        assert "3 min 70.0" in said and "min is the lowest seed" in said, form
    for form, said in texts(single).items():
        assert "min 70.0" not in said and "lowest" not in said, form


def test_a_seed_whose_tasks_were_run_apart_names_them() -> None:
    records = [make_record("org/m", task, seed, 0.8) for task in CLS for seed in (0, 1)]
    records = [made(r, threads=8) if (r.cell.task, r.cell.seed) == ("cls-dvd", 1) else r for r in records]
    (words,) = mixed(records)
    assert words == "threads: 2 (cls-books seeds 0, 1; cls-dvd seed 0; cls-music seeds 0, 1), 8 (cls-dvd seed 1)"
    (entry,) = build(records).rows[0].entries
    assert entry and entry.mixed == (words,)


def test_the_page_shows_where_each_run_was_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = [write_run(store, "org/m", "xnli", 0, 0.8), made(write_run(store, "org/m", "xnli", 1, 0.8), dirty=True)]
    page = html(build(records), records, Evidence((tmp_path,)), lambda run: None)
    for changed in ("", '"uncommitted changes":"yes",'):  # behind the two seeds; what is not known takes no room
        assert f'"flue-bench":"0.1.0",{changed}"Python":"3.11","torch":"2.13.0"' in page
    assert CHANGED in page


@pytest.mark.parametrize("whose", ["org/maitre", "org/eleve"])
@pytest.mark.parametrize("how", ["forged", "without predictions"])
def test_what_a_student_keeps_of_a_withheld_entry_is_withheld(whose: str, how: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for task in ("xnli", "paws-x"):
        for seed in range(3):
            taught = write_run(store, "org/maitre", task, seed, 0.85)
            write_run(store, "org/eleve", task, seed, 0.8, teacher=taught.cell.model.digest)
    whole = {pair.kept[i] is None for pair in weighed(store, store.records()).pairs for i in range(2)}
    assert whole == {False}
    records = []
    for record in store.records():
        if (record.cell.model.name, record.cell.task, record.cell.seed) == (whose, "xnli", 1):
            if how == "forged":
                record = record.model_copy(update={"scores": {**record.scores, "f1_macro": 0.999}})
            else:
                (store.folder(record.cell) / record.predictions.file).unlink()
        records.append(record)
    board = weighed(store, records)
    (pair,) = board.pairs
    kept = dict(zip([column.title for column in board.columns], pair.kept, strict=True))
    assert kept["xnli"] is None and kept["paws-x"] is not None and kept["paws-x"].low is not None
    assert pair.withheld == ("xnli",) and pair.mean == kept["paws-x"].ratio
    for form, said in texts(board).items():
        assert "without xnli: not borne out by predictions" in said, form
    assert json.loads(to_json(board))["pairs"][0]["withheld"] == ["xnli"]
    kept_in_csv = {(line["column"], line["kept"]) for line in csv.DictReader(io.StringIO(to_csv(board)))}
    assert ("xnli", "") in kept_in_csv and {column for column, share in kept_in_csv if share} == {"paws-x"}


def test_without_any_entry_borne_out_nothing_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        taught = write_run(store, "org/maitre", "xnli", seed, 0.85)
        write_run(store, "org/eleve", "xnli", seed, 0.8, teacher=taught.cell.model.digest)
    records = [r.model_copy(update={"scores": {**r.scores, "f1_macro": 0.999}}) for r in store.records()]
    board = weighed(store, records)
    assert board.pairs[0].mean is None
    for form, said in texts(board).items():
        assert "score is not known: no predictions bear out the scores on xnli." in said.replace("&#39;", "'"), form
        assert "org/eleve keeps 1" not in said, form


def weighed(store: Store, records: list[RunRecord]) -> Board:
    return weigh(build(records), records, Evidence((store.root,)))


OWN = NoTraining(method="own head", max_length=128, precision="fp32")
TWINS = "The same predictions to the byte, run for run: the same weights under two names, most likely"


def copied(records: list[RunRecord], model: str) -> list[RunRecord]:
    """Records of another model with the predictions of these."""
    return [
        make_record(model, r.cell.task, r.cell.seed, r.scores[r.metric], predictions=r.predictions) for r in records
    ]


def test_rows_of_one_model_under_two_names_are_named() -> None:
    """A copy with another key in its configuration has another digest: two rows, and no fault of either."""
    mine = [*of_seeds(0, 1), *of_seeds(0, 1, task="paws-x")]
    others = of_seeds(0, 1, model="org/other")
    board = build([*mine, *others, *copied(mine[:3], "org/copy"), *copied(mine[:1], "org/less")])
    names = {row.label: f"{row.label} (standard, fp32)" for row in board.rows}
    first = min(("org/copy", "org/less", "org/m"), key=list(names).index)
    said = notes(board)[TWINS]
    runs = {"org/m": 4, "org/copy": 3, "org/less": 1}
    assert sorted(said) == sorted(
        f"{names[first]} and {names[other]}: {number} run{'s' if number > 1 else ''}"
        for other in runs
        if other != first and (number := min(runs[first], runs[other]))
    )
    for form, text in texts(board).items():
        assert "most likely" in text and "org/copy" in text, form


@pytest.mark.parametrize("difference", ["one run", "no seeds", "collapsed"])
def test_rows_that_merely_share_predictions_are_not_taken_for_copies(difference: str) -> None:
    mine = of_seeds(0, 1)
    theirs = copied(mine, "org/copy")
    if difference == "one run":
        theirs[1] = make_record("org/copy", "xnli", 1, 0.7)
    elif difference == "no seeds":  # a kept model answers as its run does
        theirs = [make_record("org/copy", "xnli", 0, 0.7, how=OWN, predictions=mine[0].predictions)]
    else:  # two models that give one answer throughout
        mine, theirs = ([r.model_copy(update={"collapsed": "predicts only 'a'"}) for r in of] for of in (mine, theirs))
    assert TWINS not in notes(build([*mine, *theirs]))
