"""Score the checkpoints of a distillation while it goes on, on a second GPU or another node.

    flue-bench distill --corpus corpus --teacher almanach/camembert-base --out student --save-every 10000
    CUDA_VISIBLE_DEVICES=1 python examples/score_checkpoints.py student -t allocine -t paws-x --seeds 3

Each ``student/checkpoint-N`` is fine-tuned and scored once, in order, as ``flue-bench run -m student/checkpoint-N``
does it, and then RESULTS/checkpoints.svg draws score against tokens read. It ends when the training has ended and all
its checkpoints are scored. After Ctrl-C or a kill the same command goes on: what has a record is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import time
from pathlib import Path

import flue_bench
from flue_bench.errors import FlueBenchError, IncompleteError, ModelNotFoundError, UsageError


def saved(training: Path) -> list[Path]:
    """Return the checkpoints that are there, in order; each appears when it is whole."""
    named = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in training.glob("checkpoint-*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match)]


def score(checkpoint: Path, options: argparse.Namespace) -> bool:
    """Fine-tune and score a checkpoint on all tasks; return whether all went well."""
    try:
        flue_bench.run(
            checkpoint,
            options.task,
            seeds=options.seeds,
            limit=options.limit,
            device=options.device,
            offline=options.offline,
            results=options.results,
        )
    except IncompleteError:  # the reasons were printed when they came up
        return False
    except FlueBenchError as error:
        if isinstance(error, UsageError) and not isinstance(error, ModelNotFoundError):
            raise  # a task or a device that there is not: no other checkpoint would do better
        print(f"{checkpoint}: {error}", file=sys.stderr)
        return False
    return True


def draw(results: Path) -> None:
    """Draw score against how far the training had come."""
    with contextlib.suppress(UsageError):  # no record yet; one checkpoint is no curve
        board = flue_bench.build_board(results)
        print(board)
        (results / "checkpoints.svg").write_text(board.svg(), encoding="utf-8")


def watch(options: argparse.Namespace) -> int:
    """Score what comes until the training has ended; return the exit code."""
    scored: set[Path] = set()
    failed: list[str] = []
    while True:
        ended = (options.training / "distillation.json").exists()  # before the look: nothing comes after it
        for checkpoint in saved(options.training):
            if checkpoint not in scored:
                scored.add(checkpoint)
                if not score(checkpoint, options):
                    failed.append(checkpoint.name)
                draw(options.results)
        if ended:
            break
        time.sleep(options.every)
    if failed:
        print(f"Not scored on every task: {', '.join(failed)}. The same command tries again.", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Read the options and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, metavar="OUT", help="the --out of flue-bench distill --save-every N")
    parser.add_argument("-t", "--task", action="append", required=True, help="task, group or file; repeatable")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1 of each")
    parser.add_argument("--limit", type=int, help="at most this many examples of each split")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records")
    parser.add_argument("--every", type=float, default=60, metavar="SECONDS", help="between two looks at OUT")
    parser.add_argument("--offline", action="store_true", help="make no network call")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # between runs; a run keeps its step first
    try:
        return watch(parser.parse_args())
    except UsageError as error:
        print(f"score_checkpoints: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
