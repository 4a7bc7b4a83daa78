"""What is committed under results/ can be had again from what lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_bench import scoring
from flue_bench.leaderboard import board, render
from flue_bench.record import RunRecord
from flue_bench.store import Store, read_predictions

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "results").rglob("leaderboard.md") if "local" not in path.parts)
RECORDS = [(Store(folder), record) for folder in FOLDERS for record in Store(folder).records()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_board_is_that_of_the_records(folder: Path) -> None:
    contents = Store(folder).read()
    assert contents.records and not contents.damaged
    built = board.build(contents.records, contents.failures)
    assert render.markdown(built) == (folder / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("store", "record"), RECORDS, ids=lambda each: getattr(each, "cell_digest", ""))
def test_the_scores_are_those_of_the_predictions(store: Store, record: RunRecord) -> None:
    table = read_predictions(record, store.folder(record.cell))
    gold, predicted = table["gold"].to_pylist(), table["predicted"].to_pylist()
    if record.kind == "tokens":
        assert record.scheme is not None
        counts = table["subwords"].to_pylist()
        again = scoring.token_scores(gold, predicted, record.labels, record.scheme, counts)
    else:
        again = scoring.sentence_scores(gold, predicted, record.labels)
    assert again.scores == pytest.approx(record.scores, abs=1e-12)
    assert again.per_class == record.per_class
