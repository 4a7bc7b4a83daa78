"""How fast is flue-bench's training step beside that of ``transformers.Trainer``? Real tokens a second, paired.

    python -m benchmarks.peers.speed --model DIR --data-dir DIR

A round fine-tunes a fresh copy of the model for some optimiser steps, once in every way: Trainer padding to
``max_length`` (padded), to the longest row of a batch (dynamic), that of batches grouped by length (grouped), and
flue-bench, each in every precision. The batches are a sample of those that each tool makes of a whole epoch, short and
long ones in proportion (the rows of a few batches could not be grouped as well as an epoch's). A ratio of two speeds is
taken within a round; the table gives the rounds' median with its 95 % interval. Time is counted from the end of the
first step to that of the last: no loading, no evaluation, no saving. The share of the peak is that of the seconds which
the same matrix products take alone, counted before the first round and run in the same process right after each.

flue-bench runs in one process and Trainer in another, for flue-bench asks its process to keep freed memory; each with
torch's default number of threads, and one waits while the other works. The table is written to
``--results``/performance/speed.md and speed.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import paired, report, works
from benchmarks.peers.measure import FINE_TUNING, OURS, PREDICTION, WAYS, WORKS, Order, serve
from flue_bench.training.device import pick_device, prepare


def run(
    arguments: argparse.Namespace, works: Sequence[str] = (FINE_TUNING,)
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each task with its measurements, in the order in which they were made."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for ours in (True, False):
        pipes[ours], theirs = context.Pipe()
        settings = (theirs, ours, arguments.model, arguments.data_dir, arguments.device, arguments.batch_size)
        workers.append(context.Process(target=serve, args=settings, daemon=True))
        workers[-1].start()
        theirs.close()  # so that a worker's end is seen here

    def ask(order: Order) -> dict[str, Any]:
        try:
            pipes[order.way == OURS].send(order)
            answer: dict[str, Any] = pipes[order.way == OURS].recv()
        except (EOFError, ConnectionError):
            raise SystemExit(f"The process that measured {order} broke down, see above.") from None
        return answer

    for task in arguments.tasks:
        measured = []
        for work in works:
            size = arguments.rows if work == PREDICTION else arguments.steps
            ways = [(way, precision) for precision in arguments.precisions for way in WORKS[work]]
            for way, precision in ways:
                warmup = min(size, 8) if work == PREDICTION else arguments.warmup_steps
                ask(Order(task, way, precision, arguments.rounds, warmup, work, count=True))
            for number in range(arguments.rounds):
                for way, precision in ways:
                    timed = ask(Order(task, way, precision, number, size, work))
                    measured.append({"work": work, "round": number, "way": way, "precision": precision, **timed})
                    speed = f"{timed['tokens'] / timed['seconds']:,.0f} tokens/s"
                    where = f"{task}, {work}, round {number + 1} of {arguments.rounds}"
                    print(f"{where}, {precision} {way}: {speed}", flush=True)
        yield task, measured
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()


def speeds(rounds: list[dict[str, Any]], way: str, precision: str, clock: str = "seconds") -> list[float]:
    """Return real tokens a second (of processor time: ``processor_seconds``), round by round."""
    return [r["tokens"] / r[clock] for r in rounds if (r["way"], r["precision"]) == (way, precision)]


def share_of_peak(rounds: list[dict[str, Any]], way: str, precision: str) -> float:
    """Return the share of the time that the matrix products take alone: median over rounds; NaN if not measured."""
    own = [r for r in rounds if (r["way"], r["precision"]) == (way, precision) and "product_seconds" in r]
    return median(r["product_seconds"] / r["seconds"] for r in own) if own else float("nan")


def summary(
    work: works.Work, rounds: list[dict[str, Any]], arguments: argparse.Namespace, automatic: str
) -> dict[str, Any]:
    """Return one task's data description, speeds, and ratios at the same precision and between defaults."""
    recipe = work.task.named_recipe("standard")
    mean = float(work.encode("train", recipe.max_length).lengths.mean())
    same = {}
    for precision in arguments.precisions:
        of = {way: speeds(rounds, way, precision) for way in WAYS}
        same[precision] = {
            "tokens_per_second": {way: median(values) for way, values in of.items()},
            "ratio": {way: paired.ratios(of[OURS], of[way])._asdict() for way in WAYS if way != OURS},
            "share_of_peak": {way: share_of_peak(rounds, way, precision) for way in WAYS},
            "positions_per_token": {
                way: sum(r["positions"] for r in rounds if r["way"] == way)
                / sum(r["tokens"] for r in rounds if r["way"] == way)
                for way in WAYS
            },
        }
    defaults = {}
    if {"fp32", automatic} <= set(arguments.precisions):
        chosen = speeds(rounds, OURS, automatic)
        fp32 = {way: speeds(rounds, way, "fp32") for way in ("dynamic", "grouped")}
        defaults = {way: paired.ratios(chosen, theirs)._asdict() for way, theirs in fp32.items()}
    return {
        "rows": len(work.splits["train"]),
        "batch_size": arguments.batch_size or recipe.batch_size,
        "max_length": recipe.max_length,
        "mean_tokens": mean,
        "padding_ratio": recipe.max_length / mean,
        "same_precision": same,
        "defaults": {"flue_bench_precision": automatic, "trainer_precision": "fp32", "ratio": defaults},
        "measurements": rounds,
    }


def markdown(tasks: dict[str, Any], model: str, arguments: argparse.Namespace, machine: dict[str, Any]) -> str:
    """Return both tables with their description."""
    same, defaults = [], []
    for name, task in tasks.items():
        for precision, each in task["same_precision"].items():
            same.append(
                [
                    name,
                    f"{task['max_length']} / {task['mean_tokens']:.1f} = {task['padding_ratio']:.2f}",
                    precision,
                    *(
                        f"{each['tokens_per_second'][way]:,.0f} ({each['positions_per_token'][way]:.2f}; "
                        f"{100 * each['share_of_peak'][way]:.0f} %)"
                        for way in WAYS
                    ),
                    *(_ratio(each["ratio"][way]) for way in WAYS if way != OURS),
                    f"{0.8 * task['padding_ratio']:.2f}",
                ]
            )
        if ratios := task["defaults"]["ratio"]:
            defaults.append([name, *(_ratio(ratios[way]) for way in ("dynamic", "grouped"))])
    automatic = next(iter(tasks.values()))["defaults"]["flue_bench_precision"]
    header = [
        "task", "max_length / mean tokens", "precision", "padded", "dynamic", "grouped", "flue-bench",
        "÷ padded", "÷ dynamic", "÷ grouped", "0.8 of padding ratio",
    ]  # fmt: skip
    defaults_header = [
        "task",
        f"flue-bench auto ({automatic}) ÷ Trainer dynamic (fp32)",
        f"flue-bench auto ({automatic}) ÷ Trainer grouped (fp32)",
    ]
    batch = ", ".join(str(size) for size in sorted({task["batch_size"] for task in tasks.values()}))
    return f"""# Speed of fine-tuning: flue-bench and transformers.Trainer

Real (non-padding) tokens a second; in brackets the positions computed for each of them and the share of the peak, which
is that of the same matrix products alone. Model
{model}. Columns padded, dynamic and grouped are Trainer's: padded to `max_length`, to the longest row of a batch, and
that with `train_sampling_strategy="group_by_length"`. A ratio is flue-bench's speed over Trainer's in the same round,
where the ways take turns: median of {arguments.rounds} rounds [its 95 % interval]. In a round each way takes
{arguments.steps} optimiser steps of {batch} rows; its batches are a sample of those that it makes of a whole epoch.
Speeds are medians.

## The same precision

{report.markdown_table(header, same)}

## Each tool's defaults

What a user gains who sets no precision: flue-bench then takes {automatic} here, Trainer fp32. Trainer's default batches
are random ones padded to the longest row (dynamic); grouping has to be asked for.

{report.markdown_table(defaults_header, defaults)}

{report.machine_line(machine)}
"""


def _ratio(ratio: dict[str, float]) -> str:
    return str(paired.Paired(**ratio))


def main() -> None:
    """Measure, then write and print the tables."""
    parser = works.parser(__doc__, ["wikineural-small", "pawsx-small", "sick"])
    parser.add_argument("--rounds", type=int, default=9, help="rounds to measure (default: 9)")
    parser.add_argument("--steps", type=int, default=12, help="timed optimiser steps in each round (default: 12)")
    parser.add_argument(
        "--warmup-steps", type=int, default=2, help="untimed steps of each way before the first round (default: 2)"
    )
    parser.add_argument("--batch-size", type=int, help="rows in a batch (default: that of the task's recipe)")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()

    settings = {"rounds": arguments.rounds, "steps": arguments.steps, "warmup_steps": arguments.warmup_steps}
    tasks: dict[str, Any] = {}
    for name, rounds in run(arguments):
        work = works.load(name, arguments.model, arguments.data_dir)
        settled = prepare(pick_device(arguments.device), "auto", work.model.config.hidden_size)
        tasks[work.task.name] = summary(work, rounds, arguments, settled.precision)
        machine = report.versions(settled)
        result = {"model": work.model.ref.model_dump(), "settings": settings, "machine": machine, "tasks": tasks}
        text = markdown(tasks, work.model.ref.name, arguments, machine)
        report.write(arguments.results / "performance", "speed", result, text)  # what there is, after each task
    print(text)


if __name__ == "__main__":
    main()
