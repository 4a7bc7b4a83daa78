"""What dropout costs a fine-tuning step on a CPU: without it, with PyTorch's, with flue-bench's, in turns.

    python -m benchmarks.cost.dropout [--rounds 15] [--lengths 16 48 128 512]

A step is forward and backward pass, clipping and AdamW, of a model of CamemBERT-base's width with six layers and random
weights, over rows of nearly one length; with dropout at 0.1 as the model has it. One process does the same step in each
way, in an order that changes from round to round; a ratio is taken within a round. All rounds are kept. Written to
``results/performance`` as dropout.md and dropout.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from benchmarks.common import report
from benchmarks.common.paired import ratios
from flue_bench.kinds.network.network import Encoded
from flue_bench.memory import keep_freed_memory
from flue_bench.recipe import Precision
from flue_bench.training.device import Device, pick_device, prepare
from flue_bench.training.dropout import LEVELS, draw
from flue_bench.training.optim import adamw
from flue_bench.training.train import add_gradient

WITHOUT, PYTORCH, OURS = "without", "PyTorch's", "flue-bench's"
WAYS = {WITHOUT: (0.0, False), PYTORCH: (0.1, False), OURS: (0.1, True)}
"""Rate, and whether the draws are ours."""
POSITIONS = 1536
"""Positions a step, unless a single row has more."""


def network(rate: float, layers: int, width: int) -> nn.Module:
    """Return the model, with the same weights for every rate."""
    torch.manual_seed(0)
    config = transformers.CamembertConfig(
        vocab_size=32_005, hidden_size=width, num_hidden_layers=layers, num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width, max_position_embeddings=514, hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
    )  # fmt: skip
    config.num_labels = 3
    made: nn.Module = transformers.CamembertForSequenceClassification(config)
    return made.train()


def rows_of(length: int) -> Encoded:
    """Return rows of up to ``length`` sub-words; a few are up to three shorter."""
    rows = max(1, POSITIONS // length)
    lengths = length - np.arange(rows)[::-1] % 4
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.RandomState(0).randint(5, 32_005, offsets[-1]).astype(np.int32)
    return Encoded(ids, offsets, None, np.arange(rows) % 3, 1, 0)


def steps_of(networks: dict[float, nn.Module], data: Encoded, device: Device) -> dict[str, Callable[[int], float]]:
    """Return way → a function that runs a step by its number and returns its seconds."""
    optimizers = {rate: adamw(each, 1e-6, 0.01) for rate, each in networks.items()}

    def step(way: str, number: int) -> float:
        rate, keyed = WAYS[way]
        began = time.perf_counter()
        add_gradient(networks[rate], data, np.arange(len(data)), len(data), device, 0, number, keyed)
        nn.utils.clip_grad_norm_(networks[rate].parameters(), 1.0)
        optimizers[rate].step()
        optimizers[rate].zero_grad()
        return time.perf_counter() - began

    return {way: lambda number, way=way: step(way, number) for way in WAYS}  # type: ignore[misc]


def draws_a_second(repeats: int = 7) -> dict[str, float]:
    """Return the median draws per second of PyTorch's generator and ours, for dropout of 32 x 48 x 768 values."""
    n, draws = 32 * 48 * 768, {}
    ways: dict[str, Callable[[], Any]] = {
        PYTORCH: lambda: torch.empty(n).bernoulli_(0.9),
        OURS: lambda: draw(n, LEVELS // 10, (0, 0), (0, 0, 0, 0), 0),
    }
    for way, do in ways.items():
        seconds = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            do()
            seconds.append(time.perf_counter() - began)
        draws[way] = n / median(seconds[1:])
    return draws


def main() -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 48, 128, 512])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--out", type=Path, default=Path("results/performance"))
    arguments = parser.parse_args()

    keep_freed_memory()
    networks = {rate: network(rate, arguments.layers, arguments.width) for rate in (0.0, 0.1)}
    machine = report.versions(prepare(pick_device("cpu"), "fp32", arguments.width))
    measured, table = [], []
    for precision in arguments.precisions:
        kind: Precision = precision
        device = Device(pick_device("cpu"), kind, "")
        for length in arguments.lengths:
            data = rows_of(length)
            steps = steps_of(networks, data, device)
            for step in steps.values():
                step(0)
            rounds: dict[str, list[float]] = {way: [] for way in WAYS}
            for number in range(1, arguments.rounds + 1):
                for place in range(len(WAYS)):
                    way = list(WAYS)[(place + number) % len(WAYS)]
                    rounds[way].append(steps[way](number))
                shown = ", ".join(f"{way} {rounds[way][-1]:.3f} s" for way in WAYS)
                print(f"{precision}, length {length}, round {number} of {arguments.rounds}: {shown}", flush=True)
            speed, gain = ratios(rounds[WITHOUT], rounds[OURS]), ratios(rounds[PYTORCH], rounds[OURS])
            before = ratios(rounds[WITHOUT], rounds[PYTORCH])
            measured.append({"precision": precision, "rows": len(data), "length": length, "seconds": rounds})
            table.append([f"{len(data)} x {length}", precision, str(before), str(speed), str(gain)])
    draws = draws_a_second()
    header = ["rows x length", "precision", "with PyTorch's dropout", "with flue-bench's", "flue-bench's ÷ PyTorch's"]
    text = f"""# Dropout on the CPU

`python -m benchmarks.cost.dropout`: the speed of a fine-tuning step of {arguments.layers} layers of width
{arguments.width}, with dropout at 0.1, as a share of its speed without; and the two beside each other. Median of
{arguments.rounds} rounds in turns, with the 95 % interval of the median; all rounds are in `dropout.json`.

{report.markdown_table(header, table)}

Draws a second: PyTorch {draws[PYTORCH] / 1e6:,.0f} million, flue-bench {draws[OURS] / 1e6:,.0f} million.

{report.machine_line(machine)}
"""
    report.write(arguments.out, "dropout", {"machine": machine, "draws_a_second": draws, "steps": measured}, text)
    print(text)


if __name__ == "__main__":
    main()
