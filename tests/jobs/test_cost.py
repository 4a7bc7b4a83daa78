"""What a run costs, counted and not timed: a change that makes the same numbers dearer fails here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from flue_bench.boards.rules import build
from flue_bench.boards.verdicts import weigh
from flue_bench.data import registry, sources
from flue_bench.jobs import cell, loader, worker
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.kinds.network.network import network_of
from flue_bench.progress import Console, Display
from flue_bench.results.evidence import Evidence
from flue_bench.results.store import Store
from flue_bench.task import Example, Source, Task
from flue_bench.training import models, train
from flue_bench.training.device import Device
from flue_bench.training.soft_labels import distil_loss
from flue_distill.training import objective
from flue_distill.training.data import Stream
from flue_distill.training.objective import LossParts, Rows
from flue_distill.training.recipe import DistilRecipe, LossWeights
from support.boards import write_run
from support.distilling import RECIPE, data, distil
from support.networks import encode
from support.tasks import sentence_task
from support.tiny import SENTENCES, three_models

TASK = sentence_task("ton", "train.csv", "validation.csv", "test.csv", epochs=2, batch_size=8, max_length=60)
ROWS = {"train": 60, "validation": 10, "test": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with one tokenizer, one with another, and a task whose rows are of very unequal length."""
    folder = tmp_path_factory.mktemp("cost")
    three_models(folder)
    (folder / "ton.toml").write_text(TASK, encoding="utf-8")
    random = np.random.RandomState(0)
    for split, rows in ROWS.items():
        texts = [" ".join(random.choice(SENTENCES, 1 + i % 5)) for i in range(rows)]
        lines = [f'"{text} {i}",{("oui", "non")[i % 2]}' for i, text in enumerate(texts)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return folder


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], Callable[[Any, str], None]]:
    """How often functions are called, and how to say which."""
    calls: Counter[str] = Counter()

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    return calls, watch


def test_a_grid_reads_and_tokenises_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Any
) -> None:
    calls, watch = count
    kind = type(network_of(registry.load_file(folder / "ton.toml").task))
    for owner, name in ((sources, "load"), (kind, "encode"), (models, "load_tokenizer"), (torch.optim.AdamW, "step")):
        watch(owner, name)
    opened: Counter[str] = Counter()
    open_ = os.open

    def opening(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened[Path(file).name] += 1
        return open_(file, *args, **kwargs)

    monkeypatch.setattr(os, "open", opening)  # by which flue_bench.files opens all that it reads
    tested: set[int] = set()
    predict = cell.predict

    def predicting(network: torch.nn.Module, split: Any, *how: Any) -> Any:
        if len(split) == ROWS["test"]:
            tested.add(id(split))
        return predict(network, split, *how)

    monkeypatch.setattr(cell, "predict", predicting)
    positions = 0

    def embedded(module: torch.nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        nonlocal positions
        if isinstance(module, torch.nn.Embedding) and module.training and "word" in names.get(id(module), ""):
            positions += inputs[0].numel()

    names: dict[int, str] = {}
    load_model = models.load_model

    def loading(*args: Any) -> Any:
        loaded = load_model(*args)
        names.update((id(part), name) for name, part in loaded.network.named_modules())
        return loaded

    monkeypatch.setattr(models, "load_model", loading)
    handle = torch.nn.modules.module.register_module_forward_hook(embedded)
    try:
        outcome = run_grid(
            Grid(
                models=[str(folder / name) for name in ("one", "two", "three")],
                tasks=registry.select([str(folder / "ton.toml")]),
                seeds=[0, 1],
                device="cpu",
            ),
            Store(tmp_path),
            Display(Console(file=io.StringIO())),
        )
    finally:
        handle.remove()
    assert not outcome.failures and len(outcome.records) == 6
    assert calls == {
        "load": 1,  # the data, whatever the number of models and seeds
        "load_tokenizer": 2,  # tokenizers, not models
        "encode": 2 * len(ROWS),
        "step": 6 * 2 * -(-ROWS["train"] // 8),  # cells, epochs, batches
    }
    assert len(tested) == 2, "the encoded test set is one a tokenizer, the same for every seed"
    assert {name: opened[f"{name}.csv"] for name in ROWS} == dict.fromkeys(ROWS, 2), "to hash it, and to read it"
    costs = [record.cost for record in outcome.records]
    assert positions == sum(cost.padded_tokens for cost in costs)
    assert all(cost.padded_tokens < 1.2 * cost.real_tokens for cost in costs)
    assert {cost.steps for cost in costs} == {2 * -(-ROWS["train"] // 8)}


def test_what_a_process_keeps_is_bounded(folder: Path, tmp_path: Path) -> None:
    """However many draws, tokenizers and tasks a worker meets, it keeps a number of each."""
    kept, display = worker.loader(None, False), Display(Console(file=io.StringIO()))
    assert worker.loader(None, False) is kept, "one for all jobs of a worker"
    assert worker.loader(str(tmp_path), False) is not kept, "what looks elsewhere is another"
    task, other = registry.load_file(folder / "ton.toml"), folder / "autre.toml"
    inputs, two = kept.inputs(task, display), [kept.resolve(str(folder / name)) for name in ("one", "three")]
    for model, seed in product(two, range(2 * loader.ENCODINGS)):
        kept.encoded(inputs, model, None, 60, display, ("train",), 9, seed)
    assert len(inputs.encoded) == len(inputs._train) == loader.ENCODINGS
    last = kept.encoded(inputs, two[1], None, 60, display, ("train",), 9, seed)["train"]
    assert kept.encoded(inputs, two[1], None, 60, display, ("train",), 9, seed)["train"] is last
    for number in range(2 * loader.TOKENIZERS):
        kept.tokenizer(replace(two[0], tokenizer_digest=f"{number:016}"))
    assert len(kept._tokenizers) == loader.TOKENIZERS
    other.write_text(TASK.replace('"ton"', '"autre"'), encoding="utf-8")
    assert kept.inputs(registry.load_file(other), display) is not inputs
    assert kept.inputs(task, display) is not inputs, "the examples of one task alone are kept"


class Casts(TorchDispatchMode):
    """Counts what autocast turns into bf16."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16:
            self.weights += isinstance(args[0], torch.nn.Parameter)
        return func(*args, **(kwargs or {}))


def test_prediction_casts_weights_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(name="t", kind="sentence", labels=("a", "b"), metric="accuracy", source=(Source(reader="none"),))
    resolved = models.resolve(str(folder / "one"))
    network = models.load_model(resolved, task, 0, None).network
    examples = [Example(str(i), "", text=text) for i, text in enumerate(SENTENCES[:24])]
    encoded = encode(examples, task, models.load_tokenizer(resolved), 60)
    found = []
    for positions in (8192, 64):  # one batch, many batches
        monkeypatch.setattr(train, "POSITIONS", positions)
        with Casts() as casts:
            train.predict(network, encoded, Device(torch.device("cpu"), "bf16", ""))
        found.append(casts.weights)
    assert found[0] == found[1] > 0


BOARD = """
import sys
read = {"json": 0, "predictions": 0}

def note(event, args):
    if event == "open" and str(args[0]).startswith(sys.argv[1]) and args[1] in ("r", "rb", None):
        read["predictions" if str(args[0]).endswith(".parquet") else "json"] += __import__("os").path.getsize(args[0])

import typer
from flue_bench.cli.leaderboard import leaderboard
app = typer.Typer()
app.command()(leaderboard)
sys.addaudithook(note)
app(["--results", sys.argv[1], "--format", "csv", "--out", sys.argv[2]], standalone_mode=False)
assert not {"torch", "scipy", "pyarrow", "sklearn"} & sys.modules.keys()
print(__import__("json").dumps(read))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three models on two tasks, and a board made of them once: intervals are then cached."""
    root = tmp_path_factory.mktemp("results")
    for model in ("a", "b", "c"):
        for seed in (0, 1):
            for task in ("xnli", "paws-x"):
                write_run(Store(root), model, task, seed, 0.8)
    records = Store(root).records()
    weigh(build(records), records, Evidence((root,)))
    return root


def test_a_board_reads_each_record_once_and_no_predictions(results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOARD, str(results), str(tmp_path / "board.csv")]
    subprocess.run(command, capture_output=True, check=False)  # the first look checks the predictions, and keeps that
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    there = sum(file.stat().st_size for file in results.rglob("*.json"))
    assert read["predictions"] == 0
    assert 0 < read["json"] <= there


@pytest.fixture
def projected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Rows that the objective multiplies with the vocabulary, and optimiser steps."""
    counted: Counter[str] = Counter()
    project, step = objective.project, torch.optim.AdamW.step

    def projecting(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        counted["rows"] += len(features)
        return project(features, weight, bias)

    def stepping(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        counted["steps"] += 1
        return step(self, *args, **kwargs)

    monkeypatch.setattr(objective, "project", projecting)
    monkeypatch.setattr(torch.optim.AdamW, "step", stepping)
    threads = torch.get_num_threads()
    yield counted
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "settings", [{"kl_rows": "all"}, {"kl_rows": "masked"}, {"teacher": None}], ids=["all", "masked", "no teacher"]
)
def test_distillation_projects_no_row_in_vain(
    settings: dict[str, Any], tmp_path: Path, projected: Counter[str]
) -> None:
    steps = 3
    distil(tmp_path, settings | {"steps": steps})
    recipe = DistilRecipe(**{**RECIPE, **settings, "steps": steps})
    counts = [Stream(data(), recipe).step(step)[1] for step in range(steps)]
    wanted = (
        sum(parts.mlm for parts in counts)  # MLMLoss alone: the masked positions, the student's alone
        if settings.get("teacher", "t") is None
        else 2 * sum(parts.distil for parts in counts)  # student's and teacher's
    )
    assert projected == {"rows": wanted, "steps": steps}


PRODUCTS = {"mm", "addmm", "addmm_", "bmm"}


class Traffic(TorchDispatchMode):
    """Bytes of the inputs and the outputs of every operation that is neither a matrix product nor a view.

    What an operation writes in place is an output of it too. A compiled region is one operation: what its graph is
    given, what it returns and what it writes in place. Whether a value is found in a cache is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in PRODUCTS:
            self.add(args, made)
        return made

    def add(self, *values: Any) -> None:
        leaves = tree_leaves(values)
        self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, torch.Tensor))

    def region(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
        """Compile a region into what runs and counts it."""
        given = [node for node in graph.graph.nodes if node.op == "placeholder"]
        written = [node.args[0] for node in graph.graph.nodes if node.target == torch.ops.aten.copy_.default]
        assert set(written) <= set(given)  # functional but for its inputs

        def run(*arguments: Any) -> Any:
            made = graph(*arguments)
            self.add(arguments, made, [arguments[given.index(node)] for node in written])
            return made

        return make_boxed_func(run)


@pytest.mark.parametrize(("way", "most"), [("autograd", 160), ("by hand", 135), ("compiled", 24)])
def test_bytes_a_logit_of_the_distillation_loss(way: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, all positions in DistilLoss and 15 % of them masked: all of the loss, both passes, but the products."""
    rows, vocabulary, hidden = 400, 4000, 4
    random = torch.Generator().manual_seed(0)
    student, teacher = (
        Rows(
            flat := torch.randn(rows, hidden, generator=random),
            flat,
            torch.randn(vocabulary, hidden, generator=random),
            torch.zeros(vocabulary),
        )
        for _ in range(2)
    )
    for leaf in student[:4]:
        leaf.requires_grad_()
    labels, counts = torch.arange(round(0.15 * rows)), LossParts(rows, round(0.15 * rows), rows)
    traffic = Traffic()
    if way == "compiled":
        torch._dynamo.reset()
        backend = aot_autograd(fw_compiler=traffic.region, keep_inference_input_mutations=True)
        region = objective._compiled(backend)

        def alone(*arguments: Any) -> Any:  # nothing is compiled amid a mode
            with _disable_current_modes():
                return region(*arguments)

        monkeypatch.setattr(objective, "_compiled", lambda _: alone)
    if way == "autograd":
        monkeypatch.setattr(objective, "descend", autograds)
    with torch.autocast("cpu", torch.bfloat16):
        target = teacher._replace(weight=objective.low_copy(teacher.weight, torch.bfloat16))
        with traffic:
            objective.fast(student, target, labels, counts, LossWeights(), 2.0, compiled=way == "compiled")[
                0
            ].backward()
    found = traffic.bytes / (rows * vocabulary)
    print(f"{way}: {found:.1f} bytes a logit")
    assert 6 < found <= most
    if way == "autograd":
        assert found > 140  # the measure sees them


def autograds(
    logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor | None, temperature: float,
    of_distil: torch.Tensor, of_mlm: torch.Tensor, d_bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """``descend`` through autograd, from the losses as they are written down."""
    own = logits.to(d_bias.dtype).requires_grad_()
    with torch.enable_grad():
        distil = distil_loss(own, target.to(own.dtype), temperature)
        mlm = own.new_zeros(()) if labels is None else objective.mlm_loss(own, labels)
        (gradient,) = torch.autograd.grad(of_distil * distil + of_mlm * mlm, own)
    d_bias += gradient.sum(0)
    logits.copy_(gradient)
    return distil.detach(), mlm.detach()
