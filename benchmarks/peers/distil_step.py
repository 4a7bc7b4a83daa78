"""How fast is a distillation step beside the plain one, and how much memory does it take? One paired run.

    python -m benchmarks.peers.distil_step
    python -m benchmarks.peers.distil_step --device cuda --batch 32 --length 512 --memory-batch 32 --largest

Teacher and student have CamemBERT's shape (12 → 6 layers, hidden size 768, vocabulary 32,005) and random weights, the
tokens are random: neither changes what a step costs. A step is all of it: teacher, student, loss, backward pass,
clipping, AdamW. ``plain`` takes full logits from transformers' own forward pass, in float32 or under bf16 autocast;
``fast`` is what ``flue-bench distill`` does; ``autograd's loss`` is the same with logits that become their gradient by
autograd, a whole chunk at once. The loss alone is timed too, from logits to their gradient. Every way makes one step in
every round, on the same sequences, so that a ratio of two ways is taken within a round; the table gives the median and
its interval over rounds, of wall and of processor time. Peak memory is that of a process of its own (on CUDA:
allocated), two steps each. ``--largest`` doubles the batch until memory is full. The table goes to
``--results``/performance/distil_step.md and distil_step.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from transformers import CamembertConfig

from benchmarks.common import paired, processes, report
from flue_bench.memory import keep_freed_memory
from flue_bench.training.device import Device, peak_memory, pick_device, prepare
from flue_bench.training.optim import adamw
from flue_bench.training.peak import Products, product_seconds
from flue_bench.training.soft_labels import distil_loss
from flue_distill.training import objective
from flue_distill.training.data import Data, Stream, to_device
from flue_distill.training.masking import IGNORED
from flue_distill.training.objective import LossParts, plain
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.student import Batch, MaskedLM, Teacher, from_config, student_of
from flue_distill.training.trainer import Objective


class Way(NamedTuple):
    """One way to make a step."""

    name: str
    fast: bool
    kl_rows: str
    precision: str
    autograd: bool = False
    compiled: bool = False
    bf16_teacher: bool = False


WAYS = (
    Way("plain", False, "all", "fp32"),
    Way("plain, bf16", False, "all", "bf16"),
    Way("fast", True, "all", "auto"),
    Way("fast, autograd's loss", True, "all", "auto", autograd=True),
    Way("fast, masked rows", True, "masked", "auto"),
    Way("fast, fp32", True, "all", "fp32"),
    Way("fast, masked rows, fp32", True, "masked", "fp32"),
)
SPECIAL, PAD, MASK = {0, 1, 2, 3, 4}, 1, 4
OSCAR_TOKENS = 32.7e9


def descended(
    logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor | None, temperature: float,
    of_distil: torch.Tensor, of_mlm: torch.Tensor, d_bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Do what ``objective.descend`` does by autograd, from the losses as they are written down."""
    own = logits.to(d_bias.dtype).detach().requires_grad_()
    with torch.enable_grad():
        distil = distil_loss(own, target.to(own.dtype), temperature)
        mlm = own.new_zeros(()) if labels is None else objective.mlm_loss(own[: len(labels)], labels)
        (gradient,) = torch.autograd.grad(of_distil * distil + of_mlm * mlm, own)
    d_bias += gradient.sum(0)
    logits.copy_(gradient)
    return distil.detach(), mlm.detach()


@contextmanager
def by_autograd() -> Iterator[None]:
    """Have the loss of ``fast`` differentiated by autograd, without tiles but those of masked rows and others."""
    with mock.patch.multiple(objective, descend=descended, TILE_LOGITS=2**62):
        yield


def loss_alone(arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return way → wall and processor seconds of each round, from a chunk's logits to their gradient, in bf16."""
    device, vocabulary = pick_device(arguments.device), arguments.vocabulary
    rows = objective.CHUNK_ROWS[device.type]
    masked = round(0.15 * rows)
    given = 3 * torch.randn(2, rows, vocabulary, device=device, generator=torch.Generator(device).manual_seed(0))
    logits, target = (each.contiguous() for each in given.bfloat16())
    labels = torch.arange(masked, device=device) % vocabulary
    of_distil, of_mlm = (torch.full((), share, device=device) for share in (0.5 / rows, 0.2 / masked))

    def once() -> None:
        d_bias, work = torch.zeros(vocabulary, device=device), logits.clone()
        for tile in objective.tiles(0, rows, masked, vocabulary, device):
            known = labels[tile] if tile.start < masked else None
            objective.descend(work[tile], target[tile], known, 2.0, of_distil, of_mlm, d_bias)
        d_bias[0].item()  # waits for the device

    measured: dict[str, list[dict[str, float]]] = {"autograd": [], "by hand": []}
    for number in range(arguments.rounds + 1):
        for name, times in measured.items():
            with by_autograd() if name == "autograd" else nullcontext():
                wall, processor = time.perf_counter(), time.process_time()
                once()
                timed = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
            if number:
                times.append(timed)
    return measured


def step_of(way: Way, arguments: argparse.Namespace, batch: int) -> Callable[[int], float]:
    """Return a function that runs step number i and returns the loss."""
    config = CamembertConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=4 * arguments.hidden,
        num_attention_heads=arguments.hidden // 64,
        num_hidden_layers=arguments.layers,
        max_position_embeddings=514,
        pad_token_id=PAD,
    )
    here = prepare(pick_device(arguments.device), way.precision, config.hidden_size)
    recipe = DistilRecipe(
        teacher="random", kl_rows=way.kl_rows, length=arguments.length, batch_sequences=batch, micro_batch=batch
    )
    rows = np.random.RandomState(0).randint(5, config.vocab_size, (8 * batch, arguments.length))
    data = Data(list(rows), [], np.bincount(rows.ravel(), minlength=config.vocab_size), SPECIAL, PAD, MASK)
    stream = Stream(data, recipe, pin=here.where.type == "cuda")
    network = from_config(config, 0).to(here.where)
    student = MaskedLM(student_of(network)[0].to(here.where)).train()
    teacher = Teacher(network, torch.bfloat16 if here.precision == "bf16" else torch.float32, way.bf16_teacher)
    model = Objective(student, teacher, recipe)
    optimizer = adamw(student, recipe.learning_rate, 0.0, recipe.betas, recipe.eps)
    if compiled := way.fast and (way.compiled or arguments.compile):
        for each in (student.network, network):
            each.base_model.compile(backend=objective.BACKEND)

    def loss_of(some: Batch, counts: LossParts, number: int, first: int) -> torch.Tensor:
        if way.fast:
            with here.autocast():
                target = teacher(some, recipe.kl_rows)
            # On a CPU dropout would be ours, which nothing compiles.
            training = here.training(len(some.ids), some.ids.shape[1], 0, number, first, dropout=not compiled)
            with training, by_autograd() if way.autograd else nullcontext():
                loss: torch.Tensor = model(some, target, counts)[0]
            return loss
        labels = torch.full_like(some.ids, IGNORED)
        labels.view(-1)[some.real[: len(some.labels)]] = some.labels
        with here.autocast():
            with torch.no_grad():
                wanted = network(input_ids=some.ids, output_hidden_states=True)
            outputs = student.network(input_ids=some.ids, output_hidden_states=True)
        ours, theirs = ((out.hidden_states[-1].float(), out.logits.float()) for out in (outputs, wanted))
        real, weights = some.ids != PAD, recipe.weights
        return plain(ours, theirs, labels, real, counts, weights, recipe.temperature, recipe.kl_rows)[0]

    def step(number: int) -> float:
        batches, counts = stream.step(number)
        for first, some in batches:
            loss = loss_of(to_device(some, here.where), counts, number, first)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def measure_speed(arguments: argparse.Namespace) -> tuple[dict[str, list[dict[str, float]]], dict[str, float]]:
    """Return way → wall and processor seconds and loss of each round's step; way → seconds of its products alone."""
    steps = {way.name: step_of(way, arguments, arguments.batch) for way in WAYS}
    for step in steps.values():
        step(0)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for number in range(1, arguments.rounds + 1):
        for name, step in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            loss = step(number)  # reading the loss waits for the device
            timed = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor, "loss": loss}
            measured[name].append(timed)
            print(f"round {number} of {arguments.rounds} · {name}: {timed['wall']:.2f} s, loss {loss:.4f}", flush=True)
    alone = {}
    for way in WAYS:
        with Products() as products:
            steps[way.name](arguments.rounds)
        alone[way.name] = product_seconds(products, prepare(pick_device(arguments.device), way.precision, 768))
    return measured, alone


def in_own_process(way: Way, arguments: argparse.Namespace, batch: int) -> dict[str, float] | None:
    """Return peak bytes and tokens a second of two steps in a fresh process; None if memory is full."""
    words = ["--one", way.name, "--batch", str(batch), *(["--compile"] if arguments.compile else [])]
    for key in ("device", "length", "layers", "hidden", "vocabulary"):
        words += [f"--{key}", str(getattr(arguments, key))]
    try:
        cost: dict[str, float] = processes.answer("benchmarks.peers.distil_step", *words)
    except processes.Failed as failed:
        print(f"{way.name}, {batch} sequences: {str(failed).strip().splitlines()[-1:]}", flush=True)
        return None
    print(f"{way.name}, {batch} sequences: {cost['peak'] / 2**30:.2f} GiB", flush=True)
    return cost


def one(arguments: argparse.Namespace) -> None:
    """Run and print the measurement of ``in_own_process``."""
    way = next(way for way in WAYS if way.name == arguments.one)
    step = step_of(way, arguments, arguments.batch)
    step(0)
    began = time.perf_counter()
    step(1)
    speed = arguments.batch * arguments.length / (time.perf_counter() - began)
    print(json.dumps({"peak": peak_memory(pick_device(arguments.device)), "tokens_per_second": speed}))


def largest(way: Way, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the largest batch of 2ⁿ sequences that fits, and its speed."""
    batch, best = 1, {"batch": 0.0}
    while (peak := in_own_process(way, arguments, batch)) is not None:
        best = {"batch": batch, **peak}
        batch *= 2
    return best


def ratios(measured: dict[str, list[dict[str, float]]], name: str, key: str, beside: str = "plain") -> paired.Paired:
    """Return the speed relative to another way, over the rounds."""
    return paired.ratios([each[key] for each in measured[beside]], [each[key] for each in measured[name]])


def markdown(arguments: argparse.Namespace, result: dict[str, Any]) -> str:
    """Return the measurements in Markdown."""
    tokens = arguments.batch * arguments.length
    shape = (
        f"{arguments.layers} → {arguments.layers // 2} layers, {arguments.hidden}, vocabulary {arguments.vocabulary:,}"
    )
    memory = result["memory"]
    rows = []
    for way in WAYS:
        wall, processor = (ratios(result["speed"], way.name, key) for key in ("wall", "processor"))
        seconds = median(each["wall"] for each in result["speed"][way.name])
        peak = memory.get(way.name, {}).get("peak")
        rows.append(
            [
                way.name,
                f"{tokens / seconds:,.0f}",
                str(wall),
                f"{processor.median:.2f}",
                f"{100 * result['product_seconds'][way.name] / seconds:.0f} %",
                f"{peak / 2**30:.2f} GiB" if peak else "-",
                f"{100 * peak / memory['plain']['peak']:.0f} %" if peak and "plain" in memory else "-",
                f"{OSCAR_TOKENS / (tokens / seconds) / 3600:,.0f}",
            ]
        )
    header = [
        "way", "tokens/s", "as fast as plain: wall", "processor", "of the peak",
        f"peak at {arguments.memory_batch} of {arguments.length}", "of plain's",
        "hours for 32.7 billion tokens (a division)",
    ]  # fmt: skip
    text = (
        f"# A distillation step\n\n{shape}; {arguments.batch} of {arguments.length} tokens a step, "
        f"{arguments.rounds} rounds, paired: the median of the ratios with its 95 % interval. The peak is that of the "
        f"step's own matrix products, run alone. {result['precision']}.\n\n{report.machine_line(result['machine'])}\n\n"
        f"{report.markdown_table(header, rows)}\n"
    )
    beside, alone = "fast, autograd's loss", result["loss"]
    text += (
        f"\n`fast` is {ratios(result['speed'], 'fast', 'wall', beside)} times as fast as `{beside}`, in processor time "
        f"{ratios(result['speed'], 'fast', 'processor', beside)}. The loss alone, from a chunk's logits to their "
        f"gradient, is {ratios(alone, 'by hand', 'wall', 'autograd')} times as fast by hand as by autograd, in "
        f"processor time {ratios(alone, 'by hand', 'processor', 'autograd')}.\n"
    )
    if result["largest"]:
        batches = [
            [name, f"{each['batch']:.0f}", f"{each.get('tokens_per_second', 0):,.0f}"]
            for name, each in result["largest"].items()
        ]
        table = report.markdown_table(["way", f"largest batch of {arguments.length} tokens", "tokens/s"], batches)
        text += f"\n{table}\n"
    return text


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument("--batch", type=int, default=4, help="sequences in a step, where speed is measured")
    parser.add_argument(
        "--memory-batch", type=int, default=16, help="sequences in a step, where memory is measured (0: skip this)"
    )
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--layers", type=int, default=12, help="layers of the teacher")
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=32005)
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoders of the fast ways")
    parser.add_argument("--largest", action="store_true", help="also find the largest batch (on CUDA)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.one:
        one(arguments)
        return
    here: Device = prepare(pick_device(arguments.device), "auto", arguments.hidden)
    result: dict[str, Any] = {"settings": {k: v for k, v in vars(arguments).items() if k not in ("results", "one")}}
    result |= {"machine": report.versions(here), "precision": here.why}
    result["loss"] = loss_alone(arguments)
    result["speed"], result["product_seconds"] = measure_speed(arguments)
    result["memory"] = result["largest"] = {}
    if arguments.memory_batch:
        peaks = {way.name: in_own_process(way, arguments, arguments.memory_batch) for way in WAYS}
        result["memory"] = {name: peak for name, peak in peaks.items() if peak}
    if arguments.largest and here.where.type == "cuda":
        torch.cuda.empty_cache()
        result["largest"] = {way.name: largest(way, arguments) for way in WAYS}
    text = markdown(arguments, result)
    report.write(arguments.results / "performance", "distil_step", result, text)
    print(text)


if __name__ == "__main__":
    main()
