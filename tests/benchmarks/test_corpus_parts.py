"""The benchmark of corpora in parts: it counts who spends what, and its arithmetic is as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.common import report
from benchmarks.cost import corpus_parts
from flue_bench.training.device import Device
from support.corpora import WORDS, documents, tokenizer_of, write_txt

pytestmark = pytest.mark.benchmark

SECONDS = {"part: here": 20.0, "part: workers": 700.0, "merge: here": 1.0, "merge: workers": 79.0}
"""Processor seconds a GB: 800 in all."""


def test_documents_are_taken_from_all_texts_in_turns(tmp_path: Path) -> None:
    one, two = documents(30), [f"{each} encore" for each in documents(30)]
    for name, docs in (("a.txt", one), ("b.txt", two)):
        write_txt(tmp_path / name, docs)
    found = list(corpus_parts.documents([str(tmp_path)], 3000))
    assert found[0] == one[0] and found[1] == two[0] and found[2] == one[1]
    size = sum(len(text.encode()) for text in found)
    assert 3000 <= size < 3000 + max(map(len, found)) * 2
    assert len(list(corpus_parts.documents([str(tmp_path)], 1e9))) == 60


@pytest.mark.parametrize("suffix", corpus_parts.FORMATS)
def test_it_is_measured_and_written(suffix: str, tmp_path: Path) -> None:
    docs = documents(400)
    found = corpus_parts.measure(suffix, docs, tokenizer_of(WORDS), tmp_path)
    assert found["text_bytes"] == sum(len(doc.encode()) for doc in docs) and found["documents"] > 300
    assert {*found["seconds_a_gigabyte"]} == {*SECONDS} and found["reading_alone"] > 0
    result = {
        "vocabulary": 40,
        "formats": dict.fromkeys(corpus_parts.FORMATS, found | {"seconds_a_gigabyte": SECONDS}),
        "environment": report.versions(Device(torch.device("cpu"), "fp32", "")),
    }
    text = corpus_parts.write(result)
    assert "| share of a part that one process does | 2.50% | 2.50% |" in text and "Estimated, not measured" in text


def test_shares_and_hours_by_hand() -> None:
    assert corpus_parts.shares(SECONDS) == {"a part": 20 / 800, "the whole": 1 / 800}
    two = (140 * 720 / 2 + 140 * 1 + 140 * 79 / 2) / 3600
    assert corpus_parts.hours(SECONDS, 1, 2) == pytest.approx(two)
    bound = (140 * 20 + 140 * 1 + 140 * 79 / 128) / 3600  # 720 / 128 would be less than the one that reads
    assert corpus_parts.hours(SECONDS, 1, 128) == pytest.approx(bound)
    nodes = (140 / 8 * 720 / 32 + 140 * 1 + 140 * 79 / 32) / 3600
    assert corpus_parts.hours(SECONDS, 8, 32) == pytest.approx(nodes)
