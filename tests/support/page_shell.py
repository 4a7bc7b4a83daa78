"""A process that carries out what the pages of the documentation say: a request is a line of JSON, and so is an answer.

It sees a hub on localhost whose models are tiny. Whatever trains, trains briefly, on few rows; it is no failure here
that a model then gives one answer throughout. Nothing else is changed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

ROWS, SEEDS, STEPS = 16, 2, 2
COMMITTED = "results/embedded"
BRIEF = {"batch_sequences": 4, "micro_batch": 2, "length": 32, "evaluate_sequences": 4}


def here(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in this process, or one more, whatever workers or cluster are named."""

    def alone(*arguments: Any, **options: Any) -> Any:
        given = dict.fromkeys({"workers", "threads", "cluster"} & options.keys())
        return function(*arguments, **options | given | ({"processes": 1} if "processes" in options else {}))

    return alone


def briefly(run: Callable[..., Any]) -> Callable[..., Any]:
    """A fine-tuning of few rows, one epoch and two seeds at most."""

    def brief(*arguments: Any, **options: Any) -> Any:
        overrides = dict(options.get("overrides") or {})
        overrides["epochs"] = min(int(overrides.get("epochs", 1)), 2)
        seeds, sizes = options.get("seeds", 1), options.get("train_rows", "all")
        if not isinstance(sizes, str | int) and len(sizes) > 1:
            sizes = [size if size == "all" else 4 * number for number, size in enumerate(sizes, 1)]
        options |= {"overrides": overrides, "train_rows": sizes, "limit": min(options.get("limit") or ROWS, ROWS)}
        options["seeds"] = min(seeds, SEEDS) if isinstance(seeds, int) else seeds
        return run(*arguments, **options)

    return brief


def few_rows(score: Callable[..., Any]) -> Callable[..., Any]:
    """A scoring of few rows."""
    return lambda *arguments, **options: score(*arguments, **options | {"limit": ROWS})


def few_steps(distill: Callable[..., Any]) -> Callable[..., Any]:
    """A distillation of two small steps."""

    def brief(*arguments: Any, **options: Any) -> Any:
        settings = BRIEF | dict(options.get("overrides") or {})
        return distill(*arguments, **options | {"steps": STEPS, "epochs": None, "overrides": settings})

    return brief


def _never(*_: Any) -> None:
    """A model that gives one answer throughout is as good as another here."""


def main() -> None:
    """Answer until the input ends."""
    import flue_bench
    import flue_distill
    from flue_bench.cli import main as program
    from flue_bench.kinds.kind import installed, kind_named

    judged = {type(kind_named(name)): type(kind_named(name)).collapsed for name in installed()}
    flue_bench.run = briefly(here(flue_bench.run))  # type: ignore[assignment]
    flue_bench.score = few_rows(here(flue_bench.score))  # type: ignore[assignment]
    for name in ("build_corpus", "build_corpus_part", "merge_corpus"):
        setattr(flue_distill, name, here(getattr(flue_distill, name)))
    flue_distill.distill = few_steps(flue_distill.distill)  # type: ignore[assignment]
    names: dict[str, dict[str, Any]] = {}
    answers = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        os.chdir(asked["cwd"])
        for kind, collapsed in judged.items():  # the committed records are of models that learn, and say which did not
            kind.collapsed = collapsed if COMMITTED in asked.get("words", ()) else _never  # type: ignore[method-assign]
        code, said = 0, io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                if "words" in asked:
                    sys.argv = ["flue-bench", *asked["words"]]
                    program()
                else:
                    space = names.setdefault(asked["cwd"], {"__name__": "__main__"})
                    exec(compile(asked["code"], asked["cwd"], "exec"), space)
            except SystemExit as stopped:
                code = int(stopped.code or 0)
            except BaseException:
                code = 99
                traceback.print_exc()
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        print(json.dumps([code, said.getvalue()]), file=answers, flush=True)


if __name__ == "__main__":
    main()
