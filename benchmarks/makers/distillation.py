"""What distillation gives: the embedded student beside the same student trained with MLMLoss alone, and untrained.

    flue-bench distill benchmarks/recipes/student.toml --corpus WORK/corpus --out WORK/mlm-alone \\
        --set weight_distil=0 --set weight_mlm=1 --set weight_cosine=0
    python -m benchmarks.makers.embedded controls --out WORK
    flue-bench run --results results/embedded --model WORK/mlm-alone --model WORK/layers-alone --seeds 3 …
    python -m benchmarks.makers.distillation --work WORK

``WORK`` is that of ``benchmarks/makers/embedded.py``. The scores come from the records in ``results/embedded``; the
table goes to ``results/distillation/``, with the settings, the held-out scores and the curves of each training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

from flue_bench.results.store import Store
from flue_bench.statistics.intervals import mean_sd
from flue_distill.training.log import LOG, read_log

MODELS = {
    "embedded:teacher": "the teacher",
    "embedded:student": "half its layers, the card's loss",
    "mlm-alone": "half its layers, MLMLoss alone for the same steps",
    "layers-alone": "half its layers, no training",
    "random-weights": "the student's shape, random weights",
}
"""Name of a model in the records → description."""
TRAININGS = {"embedded:teacher": "teacher-2", "embedded:student": "student", "mlm-alone": "mlm-alone"}
"""Name of a model → folder of its training in WORK."""

HEAD = """# What the student learns from the teacher

All students begin with the first and the last of the teacher's four layers, its embeddings and its head, and read the
same sequences with the same masks in the same order. What differs is the loss and, by the last lines, precision and
protocol of `distill`, on which the draws of dropout depend. Held-out text: {sequences} sequences of
{length} tokens, the same masks for all. Test scores in percent, mean ± sample standard deviation over seeds (n).

"""
TAIL = """
Each student's training: {steps:,} steps of {batch:,} tokens, {threads} threads, {precision}; protocol of
`distill`: {protocols}. By another protocol the same commands give other weights. Made by:

```sh
{commands}
```

Curves: {curves}. The records are in [`../embedded/`](../embedded/leaderboard.md).
"""


def held_out(work: Path) -> dict[str, dict[str, float]]:
    """Return model → its scores on held-out text."""
    losses = {name: _made(work / folder)["losses"]["held_out"] for name, folder in TRAININGS.items()}
    # A training scores the held-out text before its first step, with the teacher's layers as they are.
    return losses | {"layers-alone": _made(work / "student")["losses"]["held_out_before"]}


def scores(results: Path) -> dict[str, dict[str, list[float]]]:
    """Return task → model → scores, one per seed."""
    by_title: dict[str, dict[str, list[float]]] = {}
    for record in Store(results).records():
        title = f"{record.cell.task} ({record.metric})"
        by_title.setdefault(title, {}).setdefault(record.cell.model.name, []).append(record.scores[record.metric])
    return by_title


def table(looks: dict[str, dict[str, float]], tasks: dict[str, dict[str, list[float]]]) -> str:
    """Return a Markdown table, one row per model."""
    lines = [["model", "held-out MLMLoss", "top-1 as the teacher", "KL from it", *tasks]]
    for name, about in MODELS.items():
        look = looks.get(name, {})
        line = [f"`{name}`: {about}", _number(look, "mlm", "{:.3f}"), _number(look, "top1", "{:.1%}")]
        line.append(_number(look, "kl", "{:.3f}"))
        lines.append(line + [_spread(by_model.get(name, [])) for by_model in tasks.values()])
    lines.insert(1, ["---"] + ["---:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def precisions(made: dict[str, dict[str, Any]]) -> str:
    """Return the precision of all trainings, or that of each where they differ."""
    by_training = {name: one["recipe"]["precision"] for name, one in made.items()}
    alike = len(set(by_training.values())) == 1
    return next(iter(by_training.values())) if alike else ", ".join(f"{n} in {p}" for n, p in by_training.items())


def protocols(made: dict[str, dict[str, Any]]) -> str:
    """Return each training's protocol of ``distill``; 0.1 wrote none, which was 1."""
    return ", ".join(f"{name} {one.get('protocol', 1)}" for name, one in made.items())


def _made(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "distillation.json").read_text(encoding="utf-8"))
    return made


def _number(look: dict[str, float], key: str, form: str) -> str:
    return form.format(look[key]) if key in look else "-"


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    mean, sd, n = mean_sd([100 * value for value in values])
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}") + f" ({n})"


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="WORK")
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    out = arguments.results / "distillation"
    out.mkdir(parents=True, exist_ok=True)

    looks = held_out(arguments.work)
    for folder in ("teacher-1", *TRAININGS.values()):
        trained = arguments.work / folder
        shutil.copy(trained / "curves.svg", out / f"{folder}.svg")
        log = [line for line in read_log(trained / LOG) if "held_out" in line]
        made = _made(trained) | {"log": log}
        (out / f"{folder}.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    students = {folder: _made(arguments.work / folder) for folder in TRAININGS.values() if folder != "teacher-2"}
    made = students["student"]
    text = HEAD.format(sequences=made["recipe"]["evaluate_sequences"], length=made["recipe"]["length"])
    text += table(looks, scores(arguments.results / "embedded"))
    text += TAIL.format(
        steps=made["cost"]["steps"],
        batch=made["batch_tokens"],
        precision=precisions(students),
        protocols=protocols(students),
        threads=made["environment"]["threads"],
        commands=textwrap.dedent((__doc__ or "").split("\n\n")[1]),
        curves=", ".join(f"[{folder}]({folder}.svg)" for folder in ("teacher-1", *TRAININGS.values())),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
