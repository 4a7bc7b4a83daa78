"""``flue-bench speed``: what it counts is right, what it times is told apart, and what it writes can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flue_bench.jobs import speed
from flue_bench.record import SCHEMA_VERSION, SpeedRecord, digest_of
from flue_bench.results.store import Store
from flue_bench.task import Source, Task
from flue_bench.training import models
from flue_bench.training.device import Device
from support.command_line import done, flue_bench
from support.tiny import tiny

TASK = Task(name="t", kind="sentence", labels=("a", "b"), metric="accuracy", source=(Source(reader="none"),))
CPU = Device(torch.device("cpu"), "fp32", "")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A model, and one of four times its depth."""
    folder = tmp_path_factory.mktemp("models")
    return [str(tiny("bert", folder / f"bert-{n}", num_hidden_layers=n)) for n in (1, 4)]


@pytest.fixture(autouse=True)
def few_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a round takes a moment."""
    sample = tmp_path / "sample.txt"
    sample.write_text("".join(f"{text}\n" for text in speed.texts()[:40]), encoding="utf-8")
    monkeypatch.setattr(speed, "SAMPLE", sample)
    monkeypatch.setattr(speed, "ROUNDS", 3)


def test_what_is_counted(two: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    records, ratios, _ = speed.measure(two, precision="fp32", show=lambda *at: seen.append(at))
    for name, record in zip(two, records, strict=True):
        network = models.load_model(models.resolve(name), TASK, 0, None).network
        body = [value for key, value in network.named_parameters() if key.startswith("bert.")]
        assert record.parameters == sum(value.numel() for value in body)
        assert record.model == models.resolve(name).ref
        assert (record.examples, record.batch_size, record.precision) == (40, speed.BATCH_SIZE, "fp32")
        assert record.text == digest_of(speed.texts()) and record.schema_version == SCHEMA_VERSION
        assert 0 < record.latency_ms_median <= record.latency_ms_p95
        assert record.tokens_per_second > record.examples_per_second
        assert record.share_of_peak is not None and 0 < record.share_of_peak < 1
        assert record.environment.threads == torch.get_num_threads() and record.environment.device
    shallow, deep = records
    assert 3 < deep.flops_per_example / shallow.flops_per_example < 4.5  # four times the layers and one pooler
    assert deep.peak_memory_bytes - shallow.peak_memory_bytes >= 4 * (deep.parameters - shallow.parameters)
    assert deep.latency_ms_median > shallow.latency_ms_median
    assert ratios[0] == [1.0] * 3 and len(ratios[1]) == 3 and np.median(ratios[1]) < 1
    assert seen[-1][0] == seen[-1][1] and seen == sorted(seen)


def test_the_sample_is_as_described() -> None:
    texts = (Path(speed.__file__).parent / "sample.txt").read_text(encoding="utf-8").splitlines()
    sentences = [len(re.findall(r"[.?](?: |$)", text)) for text in texts]
    assert len(texts) == len(set(texts)) == 200
    assert min(sentences) == 1 and max(sentences) >= 5
    assert np.std([len(text) for text in texts]) > 50


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=8))
def test_memory_held_together(plan: list[tuple[int, bool]]) -> None:
    """Each step makes a tensor of so many floats, and frees it or keeps it."""
    given_, kept, now, peak = torch.zeros(60), [], 0, 0
    with speed._Held() as held:
        for size, keeps in plan:
            made = given_[:size] + 1
            made.view(1, -1).add_(1)  # neither a view nor a change in place is memory
            peak = max(peak, now + 4 * size)
            if keeps:
                kept.append(made)
                now += 4 * size
            del made
            assert held.now == now
    assert held.peak == peak


def test_memory_of_a_layer() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 64, bias=False), nn.Linear(64, 8, bias=False)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.down(self.up(input_ids))
            return out

    batch = {"input_ids": torch.zeros(10, 8)}
    subject = speed.Subject(None, CPU, Encoder(), (), [{"input_ids": torch.zeros(2, 8)}, batch], [], 0, None, None)  # type: ignore[arg-type]
    assert speed.peak_memory(subject) == 4 * (2 * 8 * 64 + 10 * 64 + 10 * 8)


def test_weights_are_cast_to_bf16_once_and_held(two: list[str]) -> None:
    subject = speed._subject(models.resolve(two[1]), torch.device("cpu"), "bf16")
    weights = sum(parameter.nbytes for parameter in subject.encoder.parameters())
    cast = sum(part.weight.numel() * 2 for part in subject.encoder.modules() if isinstance(part, nn.Linear))
    assert speed.peak_memory(subject) > weights + cast


def test_the_command_shows_and_keeps_them(two: list[str], tmp_path: Path) -> None:
    words = [f"--model={name}" for name in (*two, two[0])]
    shown = done("speed", *words, "--precision=bf16", f"--results={tmp_path / 'r'}")
    assert re.search(r"bert-1\s+bert-4", shown) and re.search(r"precision\s+bf16\s+bf16", shown)
    assert re.search(r"throughput ÷ first\s+1\s+0\.\d\d \(0\.\d\d to \d\.\d\d\)", shown)
    kept = Store(tmp_path / "r").read()
    assert [type(each) for each in kept.speeds] == [SpeedRecord] * 2 and not kept.damaged
    done("speed", *words, f"--results={tmp_path / 'r'}")
    assert len(Store(tmp_path / "r").read().speeds) == 4  # fp32 beside bf16


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Missing option '--model'"),
        (["-m", "./nowhere"], 2, "neither a folder here"),
        (["-m", "embedded:untrained", "--device", "gpu"], 2, "Unknown device 'gpu'"),
    ],
)
def test_what_cannot_be_measured(words: list[str], code: int, message: str) -> None:
    ended = flue_bench("speed", *words)
    said = ended.err
    assert ended.code == code and message in said and "Traceback" not in said


def test_a_model_that_fails_is_told_and_the_others_are_measured(two: list[str], tmp_path: Path) -> None:
    no_padding = tiny("roberta", tmp_path / "no-padding")
    config = json.loads((no_padding / "config.json").read_text())
    (no_padding / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    # What its configuration says it reads breaks it: known when it reads, and not before.
    short = tiny("bert", tmp_path / "short", max_position_embeddings=8)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"chunk_size_feed_forward": 7}))
    words = [word for name in (two[0], str(no_padding), str(short), two[1]) for word in ("-m", name)]
    said = flue_bench("speed", *words, "--results", tmp_path / "results", "--precision", "fp32")
    assert said.code == 1 and "Traceback" not in said.err
    assert f"{no_padding}: not measured: no-padding: config.json has no pad_token_id" in said.err.replace("\n", " ")
    assert f"{short}: not measured: unexpected ValueError" in said.err.replace("\n", " ")
    assert sorted(record.model.name for record in Store(tmp_path / "results").read().speeds) == ["bert-1", "bert-4"]


def test_a_model_that_fails_in_the_midst_costs_the_others_nothing(
    two: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = speed._round

    def failing(subject: speed.Subject) -> None:
        if subject.model.ref.name == "bert-1" and len(subject.seconds) == 2:
            raise torch.OutOfMemoryError("no room")
        rounds(subject)

    monkeypatch.setattr(speed, "_round", failing)
    measured = speed.measure(two, precision="fp32")
    assert [record.model.name for record in measured.records] == ["bert-4"] and measured.ratios == [[1.0] * 3]
    assert list(measured.failed) == [two[0]] and "OutOfMemoryError: no room" in measured.failed[two[0]]


@pytest.mark.parametrize(
    ("figure", "field", "row"),
    [
        ("flops_per_example", "flops_per_example", "arithmetic a text"),
        ("peak_memory", "peak_memory_bytes", "memory of such a batch"),
        ("share_of_peak", "share_of_peak", "share of matrix products' peak"),
    ],
)
def test_a_figure_that_cannot_be_had_is_absent(
    figure: str, field: str, row: str, two: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> float:
        raise AttributeError("'NoneType' object has no attribute 'next_functions'")

    monkeypatch.setattr(speed, figure, broken)
    out = done("speed", "-m", two[0], "--results", tmp_path, "--precision", "fp32")
    (record,) = Store(tmp_path).read().speeds
    assert getattr(record, field) is None
    assert any("not known here (AttributeError" in note for note in record.environment.notes)
    assert re.search(rf"^{row} +\S *$", out, re.MULTILINE)
