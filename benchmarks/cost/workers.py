"""What workers cost and gain: the driver's part of many jobs, two workers beside one process, a FLUE grid on GPUs.

    python -m benchmarks.cost.workers
    python -m benchmarks.cost.workers --jobs 20 --simulated 200 --rounds 0 --results /tmp/x

- *The driver.* Jobs that do nothing, given to two real workers of this machine: seconds and processor time of the
  driver, its memory, and the files that it and Parsl write. More of them with workers that answer at once, which are
  simulated: what is left is the driver alone.
- *Two workers beside one process*, in turns: the same long cells, one thread each worker, two threads the process.
  Only the ratio of the two counts.
- *A FLUE grid* of 5 models, 6 tasks and 5 seeds on 1, 8 and 64 GPUs, longest first and in the order of the grid: by
  simulation. A cell's length is what ``benchmarks.cost.gpu`` counts: epochs times rows times the mean length of real
  rows; of the models three are base, one is large (three times as long) and one distilled (half).

The table goes to ``--results``/performance/workers.md and workers.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import paired, report
from benchmarks.cost.gpu import BIN, LENGTHS, TASKS
from flue_bench.jobs import workers
from flue_bench.jobs.forecast import filled
from flue_bench.progress import Console, Display
from flue_bench.training.device import pick_device, prepare

NOTHING = """
def nothing(arguments, display):
    return {"state": "done"}
"""
GPUS = (1, 8, 64)
MODELS = (1.0, 1.0, 1.0, 3.0, 0.5)
"""How long a model's step takes, beside one of base size."""
SEEDS = 5
CELLS = 4
"""Given to two workers and to one process."""


class Immediate:
    """A kernel whose jobs are done as soon as they are submitted."""

    def __init__(self) -> None:
        """Have no executor."""
        self.executors: dict[str, Any] = {}

    def submit(self, work: Any, arguments: tuple[str], *rest: Any) -> Future[str]:
        """Return the answer of a job that does nothing."""
        future: Future[str] = Future()
        json.loads(arguments[0])
        future.set_result(json.dumps({"state": "done", "where": "here", "pool": "", "said": []}))
        return future


def jobs(number: int, logs: Path) -> list[workers.Job]:
    """Return jobs that do nothing, with arguments as long as a cell's."""
    return [workers.Job(i, "nothing", {"cell": "x" * 1500}, f"job {i}", logs / f"{i}.log") for i in range(number)]


def spent(driver: workers.Driver, number: int, logs: Path) -> dict[str, float]:
    """Return what a driver spends on so many jobs."""
    began, used = time.perf_counter(), time.process_time()
    answers = sum(answer["state"] == "done" for _, answer in driver.answers(jobs(number, logs)))
    if answers != number:
        raise SystemExit(f"{answers} of {number} jobs were done")
    return {
        "jobs": number,
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - used,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def real(number: int) -> dict[str, float]:
    """Give jobs to two real workers."""
    display = Display(Console(file=io.StringIO()))
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "plugin"
        info = plugin / "nothing-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[flue_bench.jobs]\nnothing = nothing:nothing\n")
        (plugin / "nothing.py").write_text(NOTHING)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH"))))
        results = Path(folder) / "results"
        results.mkdir()
        place = workers.Placed(2, 1, 0)
        with workers.started(workers.Workers(2), place, number, results, display) as driver:
            spent(driver, 2, results / ".logs")  # the workers are there, and have loaded what they need
            before = _files(results)
            measured = spent(driver, number, results / ".logs")
            return measured | {"files": _files(results) - before}


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def simulated(number: int) -> dict[str, float]:
    """Give jobs to workers that answer at once."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notes").mkdir()
        driver = workers.Driver(Immediate(), Path(folder), {}, Display(Console(file=io.StringIO())), 2)
        return spent(driver, number, Path(folder))


def beside(rounds: int) -> list[dict[str, Any]]:
    """Return, for each round, the seconds of two workers and of one process for the same four cells, and the load.

    The load is the mean number of processes that want to run, of the minute before each of the two, their own included.
    """
    measured = []
    words = [
        "run",
        "-m",
        "embedded:teacher",
        "-t",
        "mini-xnli",
        "--seeds",
        str(CELLS),
        "--set",
        "epochs=12",
        "--device",
        "cpu",
    ]
    ways = {"workers": ["--workers", "2", "--threads", "1"], "one": []}
    for turn in range(rounds):
        seconds: dict[str, Any] = {"load": {}}
        for way in sorted(ways, reverse=bool(turn % 2)):
            folder = tempfile.mkdtemp()
            command = [sys.executable, "-m", "flue_bench", *words, *ways[way], "--results", folder]
            seconds["load"][way] = os.getloadavg()[0]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
            seconds[way] = time.perf_counter() - began
            shutil.rmtree(folder)
        measured.append(seconds)
    return measured


def grid() -> list[float]:
    """Return the lengths of the cells of a FLUE grid, task by task, as shares of all of them."""
    counts = json.loads(LENGTHS.read_text(encoding="utf-8"))
    lengths = []
    tasks = [*TASKS, "cls", "cls"]  # three categories of it
    for name, of_model, _ in product(tasks, MODELS, range(SEEDS)):
        of, _, _, epochs, rows = TASKS[name]
        histogram = counts[of]
        mean = sum(BIN * (i + 1) * count for i, count in enumerate(histogram)) / sum(histogram)
        lengths.append(epochs * rows[0] * mean * of_model)
    return [length / sum(lengths) for length in lengths]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--simulated", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5, help="of two workers beside one process; 0 leaves them out")
    parser.add_argument("--results", type=Path, default=Path("results"))
    asked = parser.parse_args()

    here = report.versions(prepare(pick_device("cpu"), "fp32", 0))
    result: dict[str, Any] = {
        "environment": here,
        "real": [real(number) for number in asked.jobs],
        "simulated": [simulated(number) for number in asked.simulated],
        "beside": beside(asked.rounds),
        "grid": {},
    }
    lengths = grid()
    for gpus in GPUS:
        for order, cells in (("longest first", sorted(lengths, reverse=True)), ("order of the grid", lengths)):
            plan = filled(cells, gpus)
            result["grid"][f"{gpus}, {order}"] = {"time": plan.seconds, "idle": plan.idle}
    report.write(asked.results / "performance", "workers", result, table(result, lengths))


def table(result: dict[str, Any], lengths: list[float]) -> str:
    """Return the report as Markdown."""
    driver = [
        [
            f"{each['jobs']:,}, {kind}",
            f"{each['seconds']:.1f}",
            f"{1000 * each['processor'] / each['jobs']:.1f}",
            f"{each['memory'] / 1e6:,.0f}",
            f"{each['files']:,}" if "files" in each else "",
        ]
        for kind in ("real", "simulated")
        for each in result[kind]
    ]
    plans = [[name, f"{each['time']:.4f}", f"{100 * each['idle']:.1f} %"] for name, each in result["grid"].items()]
    parts = [
        "# What workers cost and gain\n",
        "Made by `python -m benchmarks.cost.workers`, which says what is measured.\n",
        report.machine_line(result["environment"]) + "\n",
        "## The driver\n",
        "Jobs that do nothing, on two workers; memory is the peak of the driver's process, PyTorch included.\n",
        report.markdown_table(["jobs", "seconds", "ms of processor a job", "MB", "files"], driver) + "\n",
    ]
    if rounds := result["beside"]:
        both = [[each[way] for each in rounds] for way in ("workers", "one")]
        ratio = paired.ratios(*both)
        gain = "they gain" if ratio.high < 1 else "they lose" if ratio.low > 1 else "no gain is shown"
        loads = [load for each in rounds for load in each["load"].values()]
        busy = f"A loaded machine: {min(loads):.1f} to {max(loads):.1f} processes wanted its cores. " * (max(loads) > 3)
        lines = [[f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}"] for two, one in zip(*both, strict=True)]
        parts += [
            "## Two workers beside one process\n",
            f"{CELLS} cells of embedded:teacher on mini-xnli, 12 epochs, on two cores. {busy}Seconds of two workers of "
            f"one thread over those of one process of two: {ratio}; {gain}.\n",
            report.markdown_table(["one process, s", "two workers, s", "ratio"], lines) + "\n",
        ]
    parts += [
        "## A FLUE grid on GPUs, by simulation\n",
        f"{len(lengths)} cells; the longest takes {max(lengths):.4f} of the whole. Time is a share of one GPU's.\n",
        report.markdown_table(["GPUs", "time", "idle"], plans) + "\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
