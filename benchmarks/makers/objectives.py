"""By which objective a student learns most, at one budget: ``results/distillation/objectives.md``.

    D="flue-bench distill benchmarks/recipes/student.toml --corpus WORK/corpus --set steps=400 --set evaluate_steps=100"
    for seed in 0 1 2; do
        $D --set precision=fp32 --set seed=$seed --out WORK/objectives/card-seed$seed
        $D --set precision=fp32 --set seed=$seed --out WORK/objectives/mlm-seed$seed \\
            --set weight_distil=0 --set weight_cosine=0 --set weight_mlm=1
    done
    $D --set precision=fp32 --out WORK/objectives/hidden-seed0 --set weight_hidden=0.3
    $D --set precision=fp32 --out WORK/objectives/relations-seed0 \\
        --set weight_distil=0 --set weight_cosine=0 --set weight_mlm=0 --set weight_relations=1
    R="flue-bench run --results results/objectives --data-dir DATA --seeds 3 --set learning_rate=3e-4 --set epochs=4"
    for model in WORK/layers-alone WORK/objectives/*; do
        $R -m $model -t benchmarks/tasks/wikineural-small.toml --limit 600
        $R -m $model -t benchmarks/tasks/sick.toml --limit 400
    done
    $R -m embedded:teacher --keep all -t …                  # then, with the kept teacher of each task:
    $R -m WORK/objectives/card-seed0 -t … --teacher results/objectives/models/embedded--teacher--TASK--seedN-…
    python -m benchmarks.makers.objectives --work WORK

``WORK`` is that of ``benchmarks/makers/embedded.py``. The records are in ``results/objectives``; settings, held-out
scores and costs of each training go to ``results/distillation/objectives/``, the curves beside the table.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flue_bench
from flue_bench.boards import render
from flue_bench.record import RunRecord
from flue_bench.results.rows import named_rows, newest, tested
from flue_bench.results.store import Store
from flue_bench.statistics.intervals import mean_sd
from flue_bench.svg import Line, Panel, Point, draw
from flue_distill.training.log import LOG, read_log

OBJECTIVES = {
    "card": "the card's loss",
    "hidden": "the card's loss, and 0.3 · HiddenLoss (TinyBERT)",
    "relations": "RelationLoss alone (MiniLMv2)",
    "mlm": "MLMLoss alone, no teacher",
    "layers-alone": "nothing: the teacher's first and last layer as they are",
    "embedded:teacher": "the teacher, four layers",
}
"""Names of models without the seed of their distillation → what they learned by."""
FIRST = "first-teacher"
"""The folder of the runs that the first seed's teacher taught: a row of a board holds one teacher a task."""
BEFORE = "layers-alone"
"""What every student was before its first step."""
TAUGHT = {
    "": "",
    "best": "; then taught on the task, by the best of three teachers on validation",
    "first": "; then taught on the task, by the teacher of the first seed",
}
"""By which fine-tuned teacher's soft labels a student was taught."""

HEAD = """# By which objective a student learns most

Every student begins with the first and the last of the embedded teacher's four layers, its embeddings and its head, and
reads the same {sequences:,} sequences of {length} tokens ({steps} steps of {batch}); with another seed other ones. The
card's loss is 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss. Held-out text: {held_out} sequences, the same masks
for all. Test scores in percent: a distillation's mean over seeds of fine-tuning, and of these the mean ± sample
standard deviation where there are several (number of distillations; of runs in all). Nothing was tuned: weights were
chosen beforehand, learning rates are the recipes'.

"""
DIFFERENCES = """
## Beside the card's loss

Points of difference, with 95 % intervals. Where the row says *distillations*, both objectives were distilled with
several seeds, and distillations, fine-tuning and test examples are all in the interval. Elsewhere one distillation
stands beside the card's with seed 0: the interval covers seeds of fine-tuning and test examples, and nothing of what
another distillation would have given.

"""
TAIL = """
## What to choose

{choice}

## How it was made

{trainings} trainings by protocol {protocol} of `distill` (by another, the same commands give other weights)
took {hours:.1f} hours and {runs} fine-tunings {tuned:.1f} hours, each on one thread of a busy
machine ({device}): these times say little about speed.

```sh
{commands}
```

Held-out scores over the steps: [curves](objectives.svg), seed 0. Settings and logs of each training:
`objectives/`. Records: [`../objectives/`](../objectives/leaderboard.md).
"""


def objective_of(model: str) -> tuple[str, int]:
    """Return what a model learned by, and the seed of its distillation."""
    name, _, seed = model.partition("-seed")
    return name, int(seed or 0)


def trainings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return model → how it was made, with the held-out lines of its log."""
    found = {}
    for path in sorted(folder.glob("*/distillation.json")):
        log = [line for line in read_log(path.parent / LOG) if "held_out" in line]
        found[path.parent.name] = json.loads(path.read_text(encoding="utf-8")) | {"log": log}
    return found


def found_in(folder: Path) -> list[RunRecord]:
    """Return a folder's records of these objectives."""
    once, _ = newest(tested(Store(folder).records()))
    return [record for record in once if row_of(record)[0] in OBJECTIVES]


def table(made: dict[str, dict[str, Any]], records: Sequence[RunRecord]) -> str:
    """Return the Markdown table of all objectives: held-out scores, and test scores of each task."""
    tasks = sorted({(record.cell.task, record.metric) for record in records})
    head = ["learned by", "held-out MLMLoss", "top-1 as the teacher", "KL from it"]
    lines = [head + [f"{task} ({metric})" for task, metric in tasks]]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    for name, taught in rows(records):
        mine = {model: one for model, one in made.items() if objective_of(model)[0] == name and not taught}
        looks = [one["losses"]["held_out"] for one in mine.values()]
        if name == BEFORE and made:  # a training looks at the held-out text before its first step
            looks = [next(iter(made.values()))["losses"]["held_out_before"]]
        line = [OBJECTIVES[name] + TAUGHT[taught]]
        forms = {"mlm": "{:.3f}", "top1": "{:.1%}", "kl": "{:.3f}"}
        line += [_spread([look[key] for look in looks if key in look], form) for key, form in forms.items()]
        for task, _ in tasks:
            by_model: dict[str, list[float]] = {}
            for record in records:
                if record.cell.task == task and row_of(record) == (name, taught):
                    by_model.setdefault(record.cell.model.name, []).append(100 * record.scores[record.metric])
            runs = sum(len(values) for values in by_model.values())
            means = [sum(values) / len(values) for values in by_model.values()]
            shown = _spread(means, "{:.2f}")
            line.append(f"{shown} ({len(means)}; {runs})" if runs else "-")
        lines.append(line)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def row_of(record: RunRecord) -> tuple[str, str]:
    """Return a record's objective, and the teacher that taught it the task, a key of ``TAUGHT``."""
    teacher = record.cell.teacher
    taught = "" if teacher is None else "first" if "--seed0-" in teacher.model.name else "best"
    return objective_of(record.cell.model.name)[0], taught


def rows(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return the objectives that there are records of, in the order of ``OBJECTIVES``."""
    there = {row_of(record) for record in records}
    return [(name, taught) for name in OBJECTIVES for taught in TAUGHT if (name, taught) in there]


def differences(results: Path, records: Sequence[RunRecord]) -> str:
    """Return a Markdown table of every objective beside the card's loss, task by task."""
    titles = {(row.records[0].cell.model.name, row_of(row.records[0])[1]): row.title for row in named_rows(records)}
    lines = [["learned by", "task", "difference", "95 % interval", "p (Holm)", "covers"], ["---"] * 6]
    for name, taught in rows(records):
        if (name, taught) in (("card", ""), ("embedded:teacher", "")):
            continue
        pair = titles[name if name == BEFORE else f"{name}-seed0", taught], titles["card-seed0", ""]
        drawn = {} if name == BEFORE else {
            line.task: line for line in flue_bench.compare(*pair, results, question="distilled").lines
            if line.comparison.low is not None
        }  # fmt: skip
        for one in flue_bench.compare(*pair, results).lines:
            line = drawn.get(one.task, one)
            found, ends = line.comparison, "-"
            if found.low is not None and found.high is not None:
                ends = f"{100 * found.low:+.1f}, {100 * found.high:+.1f}"
            p = "-" if line.p_holm is None else f"{line.p_holm:.3f}"
            what = OBJECTIVES[name] + TAUGHT[taught]
            covers = "distillations" if one.task in drawn else "one distillation"
            lines.append([what, line.task, f"{100 * found.difference:+.2f}", ends, p, covers])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def curves(made: dict[str, dict[str, Any]]) -> str:
    """Return an SVG of held-out scores over the steps, one line an objective, of the distillations with seed 0."""
    first = {objective_of(model)[0]: one["log"] for model, one in made.items() if objective_of(model)[1] == 0}
    titles = {
        "mlm": "Held out: MLMLoss",
        "top1": "Held out: top-1 as the teacher",
        "kl": "Held out: KL from the teacher",
    }
    panels = []
    for key, title in titles.items():
        lines = [
            Line(name, [Point(look["step"], look["held_out"][key]) for look in first[name]])
            for name in OBJECTIVES
            if name in first
        ]
        panels.append(Panel(f"Held out: {title}", lines, x_title="steps", from_zero=False))
    return draw(panels)


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "-"
    mean, sd, _ = mean_sd(values)
    return form.format(mean) + ("" if sd is None else f" ± {form.format(sd)}")


def _chosen(path: Path) -> str:
    """Return what the page that is there advises."""
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"## What to choose\n\n(.*?)\n\n##", there, re.DOTALL)
    return found[1] if found else "-"


def main() -> None:
    """Write the table, the curves, and what is kept of each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="WORK")
    parser.add_argument("--records", type=Path, default=Path("results/objectives"))
    parser.add_argument("--out", type=Path, default=Path("results/distillation"))
    parser.add_argument("--choice", type=Path, help="a file with what a reader should choose, in Markdown")
    arguments = parser.parse_args()

    made = trainings(arguments.work / "objectives")
    records = found_in(arguments.records)
    others = found_in(arguments.records / FIRST)
    kept = arguments.out / "objectives"
    kept.mkdir(parents=True, exist_ok=True)
    for model, one in made.items():
        (kept / f"{model}.json").write_text(json.dumps(one, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "objectives.svg").write_text(curves(made), encoding="utf-8")
    for folder in (arguments.records, arguments.records / FIRST):
        board = render.markdown(flue_bench.build_board(folder))
        (folder / "leaderboard.md").write_text(board, encoding="utf-8")

    one = next(iter(made.values()))
    recipe = one["recipe"]
    path = arguments.out / "objectives.md"
    said = re.search(
        r"## What to choose\n\n(.*?)\n\n##", path.read_text(encoding="utf-8") if path.exists() else "", re.S
    )
    choice = arguments.choice.read_text(encoding="utf-8").strip() if arguments.choice else said[1] if said else "-"
    text = HEAD.format(
        sequences=one["cost"]["steps"] * recipe["batch_sequences"],
        length=recipe["length"],
        steps=one["cost"]["steps"],
        batch=recipe["batch_sequences"],
        held_out=recipe["evaluate_sequences"],
    )
    text += table(made, [*records, *others]) + DIFFERENCES + differences(arguments.records, records)
    text += TAIL.format(
        choice=choice,
        trainings=len(made),
        protocol=", ".join(sorted({str(each["protocol"]) for each in made.values()})),
        hours=sum(one["cost"]["seconds"] for one in made.values()) / 3600,
        runs=len(records) + len(others),
        tuned=sum(record.cost.seconds for record in [*records, *others]) / 3600,
        device=one["environment"]["device"],
        commands=textwrap.dedent((__doc__ or "").split("\n\n")[1]),
    )
    path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
