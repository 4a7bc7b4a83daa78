"""What a GPU gives, in under eight minutes: fine-tuning beside Trainer, distillation beside a plain step, limits.

    python -m benchmarks.cost.gpu
    python -m benchmarks.cost.gpu --device cpu --tiny
    python -m benchmarks.cost.gpu --lengths --tokenizer DIR --data-dir DIR     # writes lengths.json

Models have CamemBERT-base's shape and random weights, rows are random tokens as long as those of real rows
(``lengths.json``, counts of lengths and nothing else): neither changes what a step costs. In order, all in one
precision: the peak of matrix products; fine-tuning tokens a second at XNLI's, WikiNER's, PAWS-X's and CLS's lengths,
and on the first two beside ``transformers.Trainer`` (padded, dynamic, grouped), in turns; the share of that peak;
prediction; PAWS-X whole, all rows and epochs; the largest batches; a distillation step, plain, fast, compiled and with
a teacher wholly in bf16; fine-tuning steps through ``torch.compile`` beside plain ones, which say whether
``--set compiled=true`` pays; and from all this the time of a whole FLUE run. It stops where its time is up, and what is
done by then is written to ``--results``/performance/gpu.md and gpu.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
import types
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import (
    AutoTokenizer,
    CamembertConfig,
    CamembertForSequenceClassification,
    CamembertForTokenClassification,
)

from benchmarks.common import report, works
from benchmarks.peers import distil_step, measure
from flue_bench.data.model_names import EMBEDDED
from flue_bench.kinds.network.network import Encoded
from flue_bench.kinds.network.tokens import EncodedWords
from flue_bench.recipe import Precision, Recipe
from flue_bench.training import train
from flue_bench.training.device import Device, environment, pick_device, prepare
from flue_bench.training.optim import adamw
from flue_distill.training import objective

LENGTHS = Path(__file__).with_name("lengths.json")
BIN = 4
"""Width in tokens of a bin of lengths."""
BASE = {
    "vocab_size": 32005, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1,
}  # fmt: skip
TINY = {**BASE, "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SPECIAL = 5
"""Ids below this are not drawn."""
TASKS = {  # task → whose lengths, labels, max_length, epochs; rows of train, validation, test (the standard recipe)
    "xnli": ("xnli-small", 3, 128, 3, (392_702, 2_490, 5_010)),
    "wikiner": ("wikineural-small", 5, 256, 3, (114_648, 6_034, 13_410)),
    "paws-x": ("pawsx-small", 2, 128, 5, (49_401, 2_000, 2_000)),
    "cls": ("amazon-books", 2, 512, 6, (4_800, 1_200, 6_000)),
}
TAGGED = ("wikiner",)
"""Tasks with a label for each token."""
BESIDE_TRAINER = ("xnli", "wikiner")
WHOLE = "paws-x"
"""The task that is run at its full row count."""
BATCH = 32
EPOCH_ROWS = 20_000
"""Rows that batches are made of."""
COMPILING = 60
"""Seconds that have to be left for compiling a training step."""


def count_lengths(tokenizer: Path, data_dir: Path) -> dict[str, list[int]]:
    """Return task → counts of rows of up to 4, 8, 12 … tokens, all splits, by this tokenizer and truncated."""
    words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    counted = {}
    for name, _, max_length, _, _ in TASKS.values():
        work = works.load(name, "embedded:untrained", data_dir)
        work = works.Work(work.task, work.model, words, work.splits)
        lengths = np.concatenate([work.encode(split, max_length).lengths for split in work.splits])
        counted[name] = np.bincount(-(-lengths // BIN), minlength=1)[1:].tolist()
    return counted


class Bench:
    """The GPU, the model's shape, and the amount to measure."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.began = time.perf_counter()
        self.limit: float = 60 * arguments.minutes
        self.tiny, self.rounds = arguments.tiny, arguments.rounds
        self.steps = 2 if self.tiny else arguments.steps
        self.batch = 4 if self.tiny else BATCH
        self.sizes = TINY if self.tiny else BASE
        self.device: Device = prepare(pick_device(arguments.device), arguments.precision, self.sizes["hidden_size"])
        self.precision: Precision = self.device.precision
        self.counts: dict[str, list[int]] = json.loads(LENGTHS.read_text(encoding="utf-8"))
        self.tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "untrained")  # the collator pads with it

    def left(self) -> float:
        """Return the seconds left."""
        return self.limit - (time.perf_counter() - self.began)

    def sync(self) -> float:
        """Return the time in seconds, once the device has finished its queue."""
        if self.device.where.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def lengths(self, task: str, rows: int, seed: int) -> Any:
        """Return lengths drawn from the task's distribution, (rows,)."""
        weights = np.array(self.counts[TASKS[task][0]])
        drawn = BIN * (1 + np.random.RandomState(seed).choice(len(weights), rows, p=weights / weights.sum()))
        return np.minimum(drawn, 24) if self.tiny else drawn

    def rows(self, task: str, lengths: Any) -> Encoded:
        """Return random tokens, and a label for each row or each token."""
        labels, random = TASKS[task][1], np.random.RandomState(0)
        ids = random.randint(SPECIAL, self.sizes["vocab_size"], lengths.sum()).astype(np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if task in TAGGED:
            ones = tuple(np.ones(length, np.int32) for length in lengths)
            return EncodedWords(ids, offsets, None, random.randint(0, labels, lengths.sum()), 1, 0, ones)
        return Encoded(ids, offsets, None, random.randint(0, labels, len(lengths)), 1, 0)

    def network(self, task: str) -> nn.Module:
        """Return a network with random weights, the same for every way."""
        torch.manual_seed(0)
        family = CamembertForTokenClassification if task in TAGGED else CamembertForSequenceClassification
        with self.device.where:  # drawn there, which is quick
            made: nn.Module = family(CamembertConfig.from_dict({**self.sizes, "num_labels": TASKS[task][1]}))
        return made

    def flops(self, lengths: NDArray[np.int64]) -> float:
        """Return the operations of a training step's matrix products over rows of these lengths, without padding.

        Six operations per weight of the encoder and token, and ``12 · length · hidden`` per layer and token for
        attention: forward 2, backward twice that. The head is included.
        """
        hidden, layers, inner = (self.sizes[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size"))
        weights = layers * (4 * hidden**2 + 2 * hidden * inner)
        return float(6 * weights * lengths.sum() + 12 * layers * hidden * (lengths.astype(float) ** 2).sum())

    def recipe(self, epochs: int, max_length: int) -> Recipe:
        """Return the recipe of what is measured."""
        length = 24 if self.tiny else max_length
        return Recipe(batch_size=self.batch, epochs=epochs, precision=self.precision, max_length=length)

    def empty(self) -> None:
        """Free memory that is no longer used."""
        gc.collect()
        if self.device.where.type == "cuda":
            torch.cuda.empty_cache()


def peak(bench: Bench, result: dict[str, Any]) -> None:
    """Measure operations per second of a large product: the best of five times four."""
    n = 256 if bench.tiny else 8192
    dtype = torch.bfloat16 if bench.precision == "bf16" else torch.float32
    left, right = (torch.randn(n, n, device=bench.device.where, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(6):
        began = bench.sync()
        for _ in range(4):
            left @ right
        times.append((bench.sync() - began) / 4)
    result["peak"] = {"n": n, "flops_per_second": 2 * n**3 / min(times[1:])}


def fine_tuning(bench: Bench, result: dict[str, Any]) -> None:
    """Measure each task in its ways, round by round."""
    tasks: list[dict[str, Any]] = result.setdefault("fine_tuning", [])
    for number in range(0 if bench.tiny else -1, bench.rounds):  # the first round is a warm-up
        for task, (_, _, max_length, _, _) in TASKS.items():
            for way in measure.WAYS if task in BESIDE_TRAINER else (measure.OURS,):
                if bench.left() < 0.45 * bench.limit:  # the rest of the time is for what follows
                    result["left_out"]["fine-tuning"] = f"rounds from {number + 1}: no time"
                    return
                seed = max(number, 0)
                lengths = bench.lengths(task, 64 * bench.batch if bench.tiny else EPOCH_ROWS, seed)
                batches = measure.sample(measure.epoch(way, lengths, bench.batch, seed), lengths, bench.steps + 1, seed)
                chosen = lengths[np.concatenate(batches)]
                recipe = bench.recipe(1, max_length)
                kind = types.SimpleNamespace(kind="tokens" if task in TAGGED else "sentence", metric="accuracy")
                work = types.SimpleNamespace(task=kind, tokenizer=bench.tokenizer)
                clock = measure.train_once(
                    way, bench.network(task), work, bench.rows(task, chosen), recipe, seed, bench.device
                )
                timed = chosen[bench.batch :]
                if number >= 0:
                    tasks.append(
                        {
                            "round": number, "task": task, "way": way, "tokens": int(timed.sum()),
                            "seconds": clock.seconds[0], "positions": clock.positions, "flops": bench.flops(timed),
                        }
                    )  # fmt: skip
                bench.empty()


def prediction(bench: Bench, result: dict[str, Any]) -> None:
    """Measure real tokens per second of ``train.predict``, without loading."""
    speed = result.setdefault("prediction", {})
    for task in TASKS:
        data = bench.rows(task, bench.lengths(task, 8 if bench.tiny else 4_000, 0))
        network = bench.network(task)
        train.predict(network, data, bench.device)
        began = bench.sync()
        train.predict(network, data, bench.device)
        speed[task] = float(data.lengths.sum() / (bench.sync() - began))
        del network
        bench.empty()


def whole_task(bench: Bench, result: dict[str, Any]) -> None:
    """Run one task as a cell does, at its full row count: all epochs, each with its validation, then the test."""
    _, _, max_length, epochs, counts = TASKS[WHOLE]
    rows = (64, 16, 16) if bench.tiny else counts
    mean = float(bench.lengths(WHOLE, EPOCH_ROWS, 0).mean())
    needed = epochs * rows[0] * mean / median(speeds(result, WHOLE, measure.OURS))
    if needed > bench.left() - 0.2 * bench.limit:
        result["left_out"][f"{WHOLE} whole"] = f"about {needed:.0f} s, {bench.left():.0f} s were left"
        return
    data, validation, test = (bench.rows(WHOLE, bench.lengths(WHOLE, number, seed)) for seed, number in enumerate(rows))
    network = bench.network(WHOLE)

    def validate(network: nn.Module) -> dict[str, float]:
        answers = train.predict(network, validation, bench.device)
        return {"accuracy": float((np.argmax(answers, -1) == validation.labels).mean())}

    with TemporaryDirectory() as folder:
        began = bench.sync()
        fit = train.fine_tune(
            network, data, bench.recipe(epochs, max_length), 0, bench.device, validate, "accuracy", Path(folder)
        )
        train.predict(network, test, bench.device)
        seconds = bench.sync() - began
    flops = epochs * bench.flops(data.lengths)
    result["whole"] = {
        "task": WHOLE, "rows": list(map(len, (data, validation, test))), "epochs": epochs, "steps": fit.steps,
        "seconds": seconds, "training_seconds": fit.seconds, "flops": flops,
    }  # fmt: skip
    del network
    bench.empty()


def batches(bench: Bench, result: dict[str, Any]) -> None:
    """Double the rows of a training step until memory is full or the time is up."""
    sizes = result.setdefault("batches", [])
    rows = bench.batch
    network = bench.network("xnli")
    optimizer = adamw(network, 1e-5, 0.0)
    network.train()
    while bench.left() > 0.3 * bench.limit and rows <= (8 if bench.tiny else 2**20):
        lengths = np.full(rows, 24 if bench.tiny else 128)
        data = bench.rows("xnli", lengths)
        try:
            for _ in range(2):  # the second is timed
                began = bench.sync()
                train.add_gradient(network, data, range(rows), rows, bench.device, 0, 0)
                optimizer.step()
                optimizer.zero_grad()
            seconds = bench.sync() - began
        except torch.OutOfMemoryError:
            sizes.append({"rows": rows, "full": True})
            break
        sizes.append(
            {"rows": rows, "tokens_per_second": lengths.sum() / seconds, "flops": bench.flops(lengths) / seconds}
        )
        rows *= 2
    del network, optimizer
    bench.empty()


def distilling_flops(bench: Bench, batch: int, length: int) -> float:
    """Return the operations of a step's matrix products, DistilLoss at all positions: 12 layers teach 6, say.

    The teacher goes forward (2 operations a weight and token), the student forward and back (6), both through their
    head's dense layer and the vocabulary; attention has ``2 · 2 · length · hidden`` a layer and token forward.
    """
    hidden, layers, inner = (bench.sizes[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    layer, head = 4 * hidden**2 + 2 * hidden * inner, hidden**2 + hidden * bench.sizes["vocab_size"]
    forward = [2 * (n * layer + head) + 4 * n * length * hidden for n in (layers, layers // 2)]
    return float(batch * length * (forward[0] + 3 * forward[1]))


def distillation(bench: Bench, result: dict[str, Any]) -> None:
    """Measure a step in every way, round by round; then the largest batch of each."""
    ways = [way for way in distil_step.WAYS if way.name in ("plain", "fast", "fast, masked rows")]
    fast = ways[1]
    ways.append(fast._replace(name="fast, compiled", compiled=True))
    if bench.precision == "bf16":
        ways.append(fast._replace(name="fast, teacher in bf16", bf16_teacher=True))
        ways.append(fast._replace(name="fast, compiled, teacher in bf16", compiled=True, bf16_teacher=True))
    ways = [way._replace(precision=bench.precision) for way in ways]
    shape = argparse.Namespace(
        device=bench.device.where.type, vocabulary=bench.sizes["vocab_size"], hidden=bench.sizes["hidden_size"],
        layers=bench.sizes["num_hidden_layers"], length=16 if bench.tiny else 512, compile=False,
    )  # fmt: skip
    batch = 2 if bench.tiny else 16
    steps = {way.name: distil_step.step_of(way, shape, batch) for way in ways}
    distilled: dict[str, Any] = {
        "batch": batch, "length": shape.length, "flops": distilling_flops(bench, batch, shape.length),
        "seconds": {name: [] for name in steps}, "first": {},
    }  # fmt: skip
    result["distillation"] = distilled
    for number in range(bench.rounds + 1):
        for name, step in steps.items():
            began = bench.sync()
            step(number)
            seconds = bench.sync() - began
            if number:
                distilled["seconds"][name].append(seconds)
            else:
                distilled["first"][name] = seconds
    steps.clear()
    bench.empty()
    distilled["largest"] = {}
    for way in ways:
        batch = distilled["batch"]
        while bench.left() > 0.05 * bench.limit and batch <= (4 if bench.tiny else 2**14):
            try:
                seconds = second_step(bench, way, shape, batch)
            except torch.OutOfMemoryError:
                break
            finally:
                bench.empty()
            distilled["largest"][way.name] = {"batch": batch, "tokens_per_second": batch * shape.length / seconds}
            batch *= 2


def compiled(bench: Bench, result: dict[str, Any]) -> None:
    """Measure the same training steps through ``torch.compile`` and not, in turns; the pass that compiles by itself."""
    if not bench.tiny and bench.left() < COMPILING:
        result["left_out"]["compiled steps"] = f"{bench.left():.0f} s were left, and compiling may take {COMPILING}"
        return
    lengths = bench.lengths("xnli", EPOCH_ROWS, 0)
    batches = measure.sample(measure.epoch(measure.OURS, lengths, bench.batch, 0), lengths, bench.steps, 0)
    networks = {"plain": bench.network("xnli"), "compiled": bench.network("xnli")}
    optimizers = {name: adamw(network, 1e-5, 0.0) for name, network in networks.items()}
    backend = "aot_eager" if bench.tiny else train.BACKEND  # the test of the script does without a compiler of C++
    networks["compiled"] = cast(nn.Module, torch.compile(networks["compiled"], dynamic=True, backend=backend))
    data = bench.rows("xnli", lengths)

    def seconds(name: str) -> float:
        began = bench.sync()
        for number, rows in enumerate(batches):
            # On a CPU dropout would be ours, which nothing compiles.
            train.add_gradient(networks[name].train(), data, rows, len(rows), bench.device, 0, number, dropout=False)
            optimizers[name].step()
            optimizers[name].zero_grad()
        return bench.sync() - began

    first = {name: seconds(name) for name in networks}
    timed: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(bench.rounds):
        for name in networks:
            timed[name].append(seconds(name))
    result["compiled"] = {"steps": len(batches), "first": first, "seconds": timed}
    networks.clear()
    optimizers.clear()
    bench.empty()


def second_step(bench: Bench, way: distil_step.Way, shape: argparse.Namespace, batch: int) -> float:
    """Return the seconds of a second step; returning frees its memory."""
    step = distil_step.step_of(way, shape, batch)
    step(0)
    began = bench.sync()
    step(1)
    return bench.sync() - began


def speeds(result: dict[str, Any], task: str, way: str, of: str = "tokens") -> list[float]:
    """Return the speeds per second, round by round."""
    return [each[of] / each["seconds"] for each in result["fine_tuning"] if (each["task"], each["way"]) == (task, way)]


def whole_run(bench: Bench, result: dict[str, Any]) -> dict[str, float]:
    """Return task → hours of the standard recipe at its full row count, one seed: computed, not run."""
    hours = {}
    for task, (_, _, _, epochs, (train_rows, validation, test)) in TASKS.items():
        mean = float(bench.lengths(task, EPOCH_ROWS, 0).mean())
        fine_tuned = epochs * train_rows * mean / median(speeds(result, task, "flue-bench"))
        predicted = (epochs * validation + test) * mean / result["prediction"][task]
        hours[task] = (fine_tuned + predicted) / 3600
    return hours


def markdown(bench: Bench, result: dict[str, Any]) -> str:
    """Return the measurements so far as Markdown."""
    top, shape = (
        result["peak"]["flops_per_second"],
        "a tiny shape: a test of the script" if bench.tiny else "CamemBERT-base's",
    )
    text = f"# On a GPU\n\n{result['machine']['device']}; random weights of {shape}, {bench.precision}. "
    text += f"Peak of matrix products ({result['peak']['n']}³): {top / 1e12:,.2f} Tflop/s.\n"
    if result.get("fine_tuning"):
        rows = []
        for task in TASKS:
            ways = {way: speeds(result, task, way) for way in ("padded", "dynamic", "grouped", "flue-bench")}
            ours = ways["flue-bench"]
            if not ours:
                continue
            share = median(speeds(result, task, "flue-bench", "flops")) / top
            ratios = [
                f"{median(r):.2f} ({min(r):.2f} to {max(r):.2f})"
                if (r := [a / b for a, b in zip(ours, ways[way], strict=False)])
                else "-"
                for way in ("padded", "dynamic", "grouped")
            ]
            rows.append([task, f"{median(ours):,.0f}", *ratios, f"{100 * share:.1f} %"])
        header = ["lengths of", "real tokens/s", "÷ Trainer padded", "÷ dynamic", "÷ grouped", "of the peak"]
        text += f"\n## Fine-tuning, {bench.batch} rows a batch\n\n{report.markdown_table(header, rows)}\n"
    if whole := result.get("whole"):
        share = whole["flops"] / whole["training_seconds"] / top
        text += f"\n## {whole['task']} whole, one seed\n\n"
        text += f"{whole['rows'][0]:,} rows, {whole['epochs']} epochs, {whole['steps']:,} steps, each epoch validated, "
        text += f"then the test: {whole['seconds']:.0f} s, of them {whole['training_seconds']:.0f} of training at "
        text += f"{100 * share:.1f} % of the peak. Random rows of the task's lengths; no reading, no tokenising.\n"
    if result.get("batches"):
        rows = [
            [f"{each['rows']:,}", "memory is full", ""]
            if each.get("full")
            else [f"{each['rows']:,}", f"{each['tokens_per_second']:,.0f}", f"{100 * each['flops'] / top:.1f} %"]
            for each in result["batches"]
        ]
        table = report.markdown_table(["rows of 128", "tokens/s", "of the peak"], rows)
        text += (
            f"\n## Larger batches\n\nWhat the card gives; a recipe's batch size is part of its numbers.\n\n{table}\n"
        )
    if distilled := result.get("distillation"):
        plain = distilled["seconds"]["plain"]
        rows = []
        for name, seconds in distilled["seconds"].items():
            gains = [a / b for a, b in zip(plain, seconds, strict=True)]
            best = distilled.get("largest", {}).get(name, {})
            speed = distilled["batch"] * distilled["length"] / median(seconds)
            rows.append(
                [
                    name,
                    f"{speed:,.0f}",
                    f"{median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})",
                    f"{100 * distilled['flops'] / median(seconds) / top:.1f} %" if "masked" not in name else "-",
                    f"{distilled['first'][name]:.1f}",
                    f"{best.get('batch', 0):,}",
                    f"{best.get('tokens_per_second', 0):,.0f}",
                ]
            )
        header = [
            "way", "tokens/s", "as fast as plain", "of the peak", "first step, s", "largest batch of 2ⁿ",
            "tokens/s there",
        ]  # fmt: skip
        text += f"\n## A distillation step, {distilled['batch']} of {distilled['length']} tokens\n\n"
        text += report.markdown_table(header, rows) + "\n\n`compiled` is `distill --compile`, `teacher in bf16` is "
        text += "`--set bf16_teacher=true`: they pay where their lines are faster.\n"
    if steps := result.get("compiled"):
        gains = [a / b for a, b in zip(steps["seconds"]["plain"], steps["seconds"]["compiled"], strict=True)]
        text += "\n## Compiled steps\n\n`--set compiled=true`, lengths of xnli: as fast as without "
        text += f"{median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}) times; the first {steps['steps']} steps, "
        text += f"which compile, took {steps['first']['compiled']:.0f} s instead of {steps['first']['plain']:.1f}.\n"
    if hours := result.get("hours"):
        rows = [[task, f"{each:.2f}"] for task, each in hours.items()]
        rows.append(["all of FLUE", f"{math.fsum(hours.values()):.2f}"])
        text += "\n## A whole run, one seed\n\nRows · epochs · mean tokens over the speeds above: a division.\n\n"
        text += report.markdown_table(["task (recipe standard)", "hours"], rows) + "\n"
    for what, why in result["left_out"].items():
        text += f"\nLeft out: {what} ({why}).\n"
    packages = ", ".join(f"{name} {version}" for name, version in result["machine"]["packages"].items())
    return f"{text}\n{result['seconds']:.0f} s in all; {packages}; CUDA {torch.version.cuda}.\n"


def main() -> None:
    """Run the measurements in order, and write the report after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument(
        "--precision", choices=["bf16", "fp32"], default="bf16", help="precision of all measurements (default: bf16)"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the script")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default: 5)")
    parser.add_argument("--steps", type=int, default=30, help="timed optimiser steps in each round (default: 30)")
    parser.add_argument("--minutes", type=float, default=7.5, help="stop after this many minutes (default: 7.5)")
    parser.add_argument("--lengths", action="store_true", help="count lengths instead, and write lengths.json")
    parser.add_argument("--tokenizer", type=Path, help="with --lengths: folder of CamemBERT-base's tokenizer")
    parser.add_argument("--data-dir", type=Path, help="with --lengths: folder of the tasks' data")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()
    if arguments.lengths:
        counted = count_lengths(arguments.tokenizer, arguments.data_dir)
        lines = (f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in counted.items())
        LENGTHS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return
    bench = Bench(arguments)
    here = environment(bench.device)
    machine = {key: getattr(here, key) for key in ("device", "packages", "python", "threads", "commit", "dirty")}
    result: dict[str, Any] = {"machine": machine, "batch": bench.batch, "left_out": {}, "seconds": 0.0}
    # The test of the script does without a compiler.
    tested = mock.patch.object(objective, "BACKEND", "aot_eager") if bench.tiny else nullcontext()
    for part in (peak, fine_tuning, prediction, whole_task, batches, distillation, compiled):
        with tested:
            part(bench, result)
        if part is prediction and all(speeds(result, task, "flue-bench") for task in TASKS):
            result["hours"] = whole_run(bench, result)
        result["seconds"] = time.perf_counter() - bench.began
        report.write(arguments.results / "performance", "gpu", result, markdown(bench, result))
        print(f"{part.__name__}: done after {result['seconds']:.0f} s", flush=True)
    print(markdown(bench, result))


if __name__ == "__main__":
    main()
