"""Where does the wall time of ``flue-bench run`` go? One real run of one cell, split into its parts.

    python -m benchmarks.cost.profile_run --model DIR --data-dir DIR --limit 1000

The clock starts before torch is imported. What a part calls counts for that part, unless it is a part of its own. With
``--limit`` what is paid once (imports, loading) weighs more than in a whole run. A second run of the same cell counts
its matrix products, whose time alone is the peak. The table is written to ``--results``/performance/profile.md and
profile.json.
"""

# ruff: noqa: E402 - the clock comes before the imports

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.common import report, works
from flue_bench.data import registry, sources
from flue_bench.jobs import cell
from flue_bench.jobs.grid import Grid, run_grid
from flue_bench.kinds.kind import Kind
from flue_bench.kinds.network.network import Encoded
from flue_bench.kinds.network.sentence import SentenceNetwork
from flue_bench.kinds.network.tokens import EncodedWords, TokensNetwork
from flue_bench.kinds.sentence import Sentence
from flue_bench.kinds.tokens import Tokens
from flue_bench.memory import keep_freed_memory
from flue_bench.progress import Console, Display
from flue_bench.results.store import Store
from flue_bench.training import models
from flue_bench.training.device import pick_device, prepare
from flue_bench.training.peak import Products, product_seconds

STEP = ("forward", "backward", "optimiser", "predict: forward")
"""The parts that a run is for; the first three are the training step."""
PARTS: tuple[tuple[Any, str, str], ...] = (
    (sources, "load", "load data"),
    (models, "resolve", "identify model"),
    (models, "load_model", "load model"),
    (models, "load_tokenizer", "tokenise"),
    (SentenceNetwork, "encode", "tokenise"),
    (TokensNetwork, "encode", "tokenise"),
    (Encoded, "batch", "make batches"),
    (nn.functional, "cross_entropy", "forward"),
    (torch.Tensor, "backward", "backward"),
    (nn.utils, "clip_grad_norm_", "optimiser"),
    (torch.optim.AdamW, "step", "optimiser"),
    (torch.optim.Optimizer, "zero_grad", "optimiser"),
    (cell, "predict", "predict: the rest"),
    (Encoded, "decided", "score"),
    (EncodedWords, "decided", "score"),
    (Kind, "scores", "score"),
    (Sentence, "collapsed", "score"),
    (Tokens, "collapsed", "score"),
    (Encoded, "kept", "write"),
    (Kind, "table", "write"),
    (Store, "write", "write"),
    (cell, "environment", "write"),
    (cell, "flops_per_example", "count FLOPs"),
)
"""(owner of a public function, its name, its part); keeping the best weights is in the rest."""


class Ledger:
    """Wall time by part; the time of a part called by another is subtracted from its caller's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = defaultdict(float, {"start-up": time.perf_counter() - BEGAN})
        self.calls: Counter[str] = Counter({"start-up": 1})
        self._open, self._since = ["the rest"], time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Book the time of the block to ``name``."""
        self.turn()
        self.calls[name] += 1
        self._open.append(name)
        try:
            yield
        finally:
            self.turn()
            self._open.pop()

    def turn(self) -> None:
        """Book what has passed since the last turn."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its time booked to ``name``."""

        def booked(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                made = function(*args, **kwargs)
            if name == "load model":
                self._watch(made[0])
            return made

        return booked

    def _watch(self, network: nn.Module) -> None:
        forward = network.forward

        def booked(*args: Any, **kwargs: Any) -> Any:
            with self.part("forward" if network.training else "predict: forward"):
                return forward(*args, **kwargs)

        network.forward = booked


def profile(grid: Grid, device: torch.device) -> Ledger:
    """Run the grid and book the time of every part.

    Raises:
        SystemExit: a cell failed.
    """
    with ExitStack() as stack:
        ledger = Ledger(device)
        for owner, name, part in PARTS:
            stack.enter_context(mock.patch.object(owner, name, ledger.wrap(part, getattr(owner, name))))
        run(grid)
        ledger.turn()
    return ledger


def run(grid: Grid) -> None:
    """Run the grid, and keep nothing.

    Raises:
        SystemExit: a cell failed.
    """
    with TemporaryDirectory() as folder:
        keep_freed_memory()  # as the command does
        outcome = run_grid(grid, Store(Path(folder)), Display(Console(stderr=True)))
    if outcome.failures or outcome.unloaded:
        raise SystemExit("The run failed, see above.")


def share(ledger: dict[str, float], parts: tuple[str, ...]) -> float:
    """Return these parts' share of all wall time."""
    return sum(ledger.get(part, 0.0) for part in parts) / sum(ledger.values())


def markdown(result: dict[str, Any]) -> str:
    """Return the table with its description."""
    seconds, calls = result["seconds"], result["calls"]
    total, of_steps = sum(seconds.values()), sum(seconds.get(part, 0.0) for part in STEP)
    rows = [
        [part, f"{spent:.2f}", f"{100 * spent / total:.1f} %", f"{calls.get(part, 0):,}"]
        for part, spent in sorted(seconds.items(), key=lambda each: -each[1])
    ]
    limit = f", {result['limit']:,} rows a split" if result["limit"] else ""
    return f"""# Where the time of a run goes

One cell of `{result["task"]}` with {result["model"]["name"]}{limit}; recipe `standard`{result["set"]}, {result["precision"]}.
**{100 * share(seconds, STEP):.1f} % of {total:.0f} s is forward, backward and optimiser**; the training step alone is
{100 * share(seconds, STEP[:3]):.1f} %, the forward pass of prediction (validation and test) the rest of it.
The matrix products of both alone take {result["products"]:.0f} s: {100 * result["products"] / of_steps:.0f} % of the time of those parts.

{report.markdown_table(["part", "seconds", "share", "calls"], rows)}

{report.machine_line(result["machine"])}
"""  # noqa: E501 - a sentence a line


def main() -> None:
    """Measure, then write and print the table."""
    parser = works.parser(__doc__, ["wikineural-small"])
    parser.add_argument("--limit", type=int, help="at most this many examples of each split")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change fields of the recipe")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()
    if len(arguments.tasks) != 1:
        sys.exit("One task, please.")
    grid = Grid(
        models=[arguments.model],
        tasks=registry.select([works.task_file(arguments.tasks[0])]),
        seeds=[0],
        overrides=dict(pair.split("=", 1) for pair in arguments.set),
        precision=arguments.precision,
        device=arguments.device,
        limit=arguments.limit,
        data_dir=arguments.data_dir,
        offline=True,
    )
    device = pick_device(arguments.device)
    ledger = profile(grid, device)
    model = models.resolve(arguments.model, offline=True)
    settled = prepare(device, arguments.precision, models.width(model.config))
    with Products() as products:
        run(grid)
    result = {
        "task": grid.tasks[0].task.name,
        "model": model.ref.model_dump(),
        "limit": arguments.limit,
        "set": "".join(f", {pair}" for pair in arguments.set),
        "precision": settled.precision,
        "machine": report.versions(settled),
        "seconds": dict(ledger.seconds),
        "calls": dict(ledger.calls),
        "share_of_steps": share(dict(ledger.seconds), STEP),
        "products": product_seconds(products, settled),
    }
    text = markdown(result)
    report.write(arguments.results / "performance", "profile", result, text)
    print(text)


if __name__ == "__main__":
    main()
