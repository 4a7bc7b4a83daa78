"""What do I gain over what I use today? flue-bench beside ``transformers.Trainer``, ``evaluate`` and seqeval, paired.

    python -m benchmarks.peers.peers [--quick]
    python -m benchmarks.peers.peers --data-dir DIR --model camembert-base embedded:teacher DIR --tokenizer DIR

- **Fine-tuning and prediction**, as ``benchmarks/peers/speed.py`` measures them: Trainer as ``run_glue.py`` and
  ``run_ner.py`` set it up (padded to ``max_length``; to the longest row of a batch; grouped by length), in fp32 and
  bf16; same data, model, and number of optimiser steps. Each round draws its rows anew, and the ways take turns in it.
  ``camembert-base`` stands for its shape with random weights: ``--tokenizer`` is the folder of its tokenizer. Without
  ``--data-dir`` the tasks are the embedded ones.
- **Scoring**: the same tags through seqeval, through ``evaluate`` (whose own scripts are on the hub, so that a metric
  here calls what they call), and through ours: the same number, and the ratio of times.
- **Scores**: of whole runs with both, from ``benchmarks/peers/compare_scores.py``.

Ratios are of one round; the table has their median and its 95 % interval. It is written to
``--results``/performance/peers.md and peers.json; a model and task measured again replaces what was measured before,
the rest stays.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.common import paired, report, works
from benchmarks.peers import speed
from benchmarks.peers.measure import FINE_TUNING, OURS, PREDICTION, WORKS
from flue_bench.data import registry, sources
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.sentence import sentence_scores
from flue_bench.kinds.tokens import entity_scores
from flue_bench.training import models, train
from flue_bench.training.batches import prediction_batches
from flue_bench.training.device import pick_device, prepare

SHAPE = "camembert-base"
REAL = ["xnli-small", "wikineural-small", "amazon-books"]
EMBEDDED = ["mini-xnli", "mini-ner", "mini-cls"]
QUICK = {"rounds": 2, "steps": 2, "rows": 16, "warmup_steps": 1, "scoring_rows": 500}
WRONG = 0.05
"""Share of words with a random tag, for scoring."""


def camembert_base(tokenizer: Path, folder: Path) -> str:
    """Write a folder with CamemBERT-base's tokenizer and random weights of its shape; return its path."""
    import torch
    from transformers import AutoTokenizer, CamembertConfig, CamembertForMaskedLM

    words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    words.save_pretrained(folder)
    shape = CamembertConfig(max_position_embeddings=514, type_vocab_size=1, vocab_size=len(words), pad_token_id=1)
    torch.manual_seed(0)
    network = CamembertForMaskedLM(shape)
    network.half()  # type: ignore[no-untyped-call]
    network.save_pretrained(folder)
    return str(folder)


def speeds(model: str, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each task with its measurements and their description."""
    asked = argparse.Namespace(**{**vars(arguments), "model": model})
    for task, rounds in speed.run(asked, (FINE_TUNING, PREDICTION)):
        work = works.load(task, model, arguments.data_dir)
        recipe = work.task.named_recipe("standard")
        yield (
            task,
            {
                "batch_size": arguments.batch_size or recipe.batch_size,
                "max_length": recipe.max_length,
                "mean_tokens": float(work.encode("train", recipe.max_length).lengths.mean()),
                "test_padding": test_padding(work, recipe.max_length),
                "settings": {key: getattr(arguments, key) for key in QUICK},
                "measurements": rounds,
            },
        )


def test_padding(work: works.Work, max_length: int) -> float:
    """Return the positions that we compute per token of the whole test set."""
    lengths = work.encode("test", max_length).lengths
    batches = prediction_batches(lengths, train.POSITIONS)
    return float(sum(int(lengths[rows].max()) * len(rows) for rows in batches) / lengths.sum())


def scoring(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Score the same predictions in each way: strict entity-level F1 of a tagging, macro-F1 of a classification.

    Gold are WikiNEuRal's and XNLI's test labels, or generated ones; the predictions are the same with some replaced.

    Raises:
        AssertionError: the ways do not agree.
    """
    import evaluate
    import seqeval.metrics as seqeval
    from datasets import Features, List, Value
    from seqeval.scheme import IOB2
    from sklearn.metrics import f1_score

    from flue_bench.metrics import EntityScores, SentenceScores

    class Seqeval(evaluate.Metric):  # type: ignore[misc]
        """The metric of the hub's script ``seqeval``, in strict mode."""

        def _info(self) -> Any:
            features = Features({"predictions": List(Value("string")), "references": List(Value("string"))})
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions: Any, references: Any) -> Any:
            report = seqeval.classification_report(
                references, predictions, output_dict=True, mode="strict", scheme=IOB2, zero_division=0
            )
            return {"f1": report["micro avg"]["f1-score"], "accuracy": seqeval.accuracy_score(references, predictions)}

    class F1(evaluate.Metric):  # type: ignore[misc]
        """The metric of the hub's script ``f1``."""

        def _info(self) -> Any:
            features = Features({"predictions": Value("int32"), "references": Value("int32")})
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions: Any, references: Any) -> Any:
            return {"f1": float(f1_score(references, predictions, average="macro"))}

    labels, tags, guessed_tags = _predictions("wikineural-small", 20, arguments)
    names, guesses = ([[labels[tag] for tag in sentence] for sentence in side] for side in (tags, guessed_tags))
    classes, *pairs = _predictions("xnli-small", 1, arguments)
    gold, guessed = ([row[0] for row in side] for side in pairs)
    seqeval_metric, entities, f1, sentences = Seqeval(), EntityScores(labels, "IOB2"), F1(), SentenceScores(classes)
    return [
        {
            "of": f"strict entity-level F1 of {len(tags):,} sentences",
            **_timed(
                arguments.rounds,
                {
                    "seqeval, f1_score": lambda: seqeval.f1_score(names, guesses, mode="strict", scheme=IOB2),
                    "seqeval in evaluate": lambda: seqeval_metric.compute(predictions=guesses, references=names)["f1"],
                    "flue-bench in evaluate": lambda: entities.compute(predictions=guessed_tags, references=tags)[
                        "entity_f1_micro"
                    ],
                    OURS: lambda: entity_scores(tags, guessed_tags, labels, "IOB2").scores["entity_f1_micro"],
                },
            ),
        },
        {
            "of": f"macro-F1 of {len(gold):,} pairs",
            **_timed(
                arguments.rounds,
                {
                    "scikit-learn, f1_score": lambda: f1_score(gold, guessed, average="macro"),
                    "scikit-learn in evaluate": lambda: f1.compute(predictions=guessed, references=gold)["f1"],
                    "flue-bench in evaluate": lambda: sentences.compute(predictions=guessed, references=gold)[
                        "f1_macro"
                    ],
                    OURS: lambda: sentence_scores(gold, guessed, classes).scores["f1_macro"],
                },
            ),
        },
    ]


def _predictions(
    name: str, length: int, arguments: argparse.Namespace
) -> tuple[Sequence[str], list[list[int]], list[list[int]]]:
    """Return a task's labels, its test set's gold (or drawn, of this length), and a copy with ``WRONG`` redrawn."""
    task = registry.select([works.task_file(name)])[0]
    labels, random, kind = task.task.labels, np.random.RandomState(0), kind_named(task.task.kind)
    if arguments.data_dir:
        test = sources.load(task, data_dir=arguments.data_dir, offline=True).splits["test"][: arguments.scoring_rows]
        gold = [np.atleast_1d(kind.gold(example)).tolist() for example in test]
    else:
        gold = random.randint(len(labels), size=(arguments.scoring_rows or 10_000, length)).tolist()
    guessed = [
        np.where(random.uniform(size=len(row)) < WRONG, random.randint(len(labels), size=len(row)), row).tolist()
        for row in gold
    ]
    return labels, gold, guessed


def _timed(rounds: int, ways: dict[str, Callable[[], float]]) -> dict[str, Any]:
    """Return the score, on which all ways agree to 1e-12, and each one's seconds."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores = {}
    for _ in range(rounds + 1):
        for way, score in ways.items():
            began = time.perf_counter()
            scores[way] = float(score())
            seconds[way].append(time.perf_counter() - began)
    assert max(scores.values()) - min(scores.values()) < 1e-12, scores
    return {"score": scores[OURS], "seconds": {way: each[1:] for way, each in seconds.items()}}  # the first warms up


def of_work(task: dict[str, Any], work: str) -> list[dict[str, Any]]:
    """Return the measurements of fine-tuning or of prediction."""
    return [each for each in task["measurements"] if each["work"] == work]


def ratios(task: dict[str, Any], work: str, precision: str, way: str, theirs: str) -> str:
    """Return our speed over that of one of Trainer's ways by round: median, interval, median by processor time."""
    rounds = of_work(task, work)
    wall, processor = (
        paired.ratios(speed.speeds(rounds, OURS, precision, clock), speed.speeds(rounds, way, theirs, clock))
        for clock in ("seconds", "processor_seconds")
    )
    return f"{wall}; {processor.median:.2f}"


def markdown(result: dict[str, Any], results: Path) -> str:
    """Return all measurements as Markdown."""
    text = f"""# What flue-bench gains over what people use

How many times as fast, by wall time: median over rounds [its 95 % interval]; after the semicolon the median by
processor time, which says more where others use the same cores. A ratio is taken within a round, in which the ways take
turns on the same rows. "of the peak" is the share of flue-bench's time that its matrix products take alone, in the same
shapes and the same minutes. The last columns are each tool's defaults: flue-bench's precision is auto, Trainer's fp32.

Prediction is in batches of at most {train.POSITIONS:,} positions. The few rows that are predicted here make one or two
of them, with padding that a whole test set does not have: the column "padding" has the positions that flue-bench
computed for each token, and in brackets those that it would have computed on the whole test set.
"""
    for work, ways in WORKS.items():
        others = [way for way in ways if way != OURS]
        rows = []
        for name, model in result["models"].items():
            for task, each in model["tasks"].items():
                padding = f"{each['max_length'] / each['mean_tokens']:.2f}"
                if work == PREDICTION:
                    ours = [one for one in each["measurements"] if (one["work"], one["way"]) == (work, OURS)]
                    here = sum(one["positions"] for one in ours) / sum(one["tokens"] for one in ours)
                    padding = f"{here:.2f} ({each['test_padding']:.2f})"
                measured = {one["precision"] for one in each["measurements"]}
                for precision in sorted(measured, reverse=True):
                    defaults = precision == model["automatic"] and "fp32" in measured
                    rows.append(
                        [
                            f"{name}, {task}",
                            padding,
                            precision,
                            _percent(speed.share_of_peak(of_work(each, work), OURS, precision)),
                            *(ratios(each, work, precision, way, precision) for way in others),
                            *(
                                ratios(each, work, precision, way, "fp32") if defaults else ""
                                for way in others
                                if way != "padded"
                            ),
                        ]
                    )
        about = "padding" if work == PREDICTION else "max_length / mean tokens"
        header = ["model, task", about, "precision", "of the peak", *(f"÷ Trainer {way}" for way in others)]
        header += [f"auto ÷ {way}, fp32" for way in others if way != "padded"]
        text += f"\n## {work.capitalize()}\n\n{report.markdown_table(header, rows)}\n"
    if result.get("scoring"):
        text += (
            "\n## Scoring\n\nMilliseconds, and how many times as fast flue-bench is. 5 % of the test set's labels are "
        )
        text += "replaced; all ways of a line give the same number, to 1e-12.\n"
    for scored in result.get("scoring", []):
        ours = scored["seconds"][OURS]
        table = [
            [
                way,
                f"{1000 * median(each):.1f}",
                str(paired.ratios(each, ours)),
            ]
            for way, each in scored["seconds"].items()
        ]
        header = [f"{scored['of']}: {100 * scored['score']:.4f}", "ms", "flue-bench as fast"]
        text += f"\n{report.markdown_table(header, table)}\n"
    if (file := results / "trainer" / "scores.json").is_file():
        trainer = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            [
                f"{each['task']} ({each['metric']})",
                f"{np.mean(each['flue_bench']['scores']):.2f}",
                f"{np.mean(each['trainer']['scores']):.2f}",
                "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**each["difference"]),
            ]
            for each in trainer["tasks"]
        ]
        text += "\n## Scores\n\nWhether speed is bought with quality: the same cells with both, see "
        text += (
            f"[`trainer/scores.md`](../trainer/scores.md). Model {trainer['model']['name']}, mean over three seeds.\n\n"
        )
        text += report.markdown_table(["task", "flue-bench", "Trainer", "difference [95 %]"], rows) + "\n"
    for name, model in result["models"].items():
        sizes = "; ".join(
            "{}: batches of {}, {rounds} rounds of {steps} steps, {rows} rows predicted".format(
                task, each["batch_size"], **each["settings"]
            )
            for task, each in model["tasks"].items()
        )
        text += f"\n**{name}**. {sizes}. {report.machine_line(model['machine'])}\n"
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == share else "-"


def main() -> None:
    """Measure what is requested, then write and print everything measured so far."""
    parser = works.parser(__doc__, [], ["embedded:teacher", "embedded:student"])
    parser.add_argument("--tokenizer", type=Path, help=f"of {SHAPE}, a folder")
    parser.add_argument("--quick", action="store_true", help=f"a first look: {QUICK}")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to measure (default: 9)")
    parser.add_argument("--steps", type=int, default=4, help="timed optimiser steps in each round (default: 4)")
    parser.add_argument("--rows", type=int, default=128, help="rows to predict in each round (default: 128)")
    parser.add_argument(
        "--warmup-steps", type=int, default=1, help="untimed steps of each way before the first round (default: 1)"
    )
    parser.add_argument("--scoring-rows", type=int, help="sentences to score (default: all; 0: none)")
    parser.add_argument("--batch-size", type=int, help="rows in a batch (default: that of the task's recipe)")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to (default: results)")
    arguments = parser.parse_args()
    arguments.tasks = arguments.tasks or (REAL if arguments.data_dir else EMBEDDED)
    if SHAPE in arguments.model and not arguments.tokenizer:
        parser.error(f"--model {SHAPE} needs --tokenizer")
    if arguments.quick:
        vars(arguments).update(QUICK)

    folder = arguments.results / "performance"
    kept = folder / "peers.json"
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"models": {}}
    if arguments.scoring_rows != 0:
        result["scoring"] = scoring(arguments)
    for asked in arguments.model:
        with TemporaryDirectory() as temporary:
            place = camembert_base(arguments.tokenizer, Path(temporary)) if asked == SHAPE else asked
            resolved = models.resolve(place, offline=True)
            settled = prepare(pick_device(arguments.device), "auto", models.width(resolved.config))
            name = "camembert-base's shape" if asked == SHAPE else resolved.ref.name
            of = result["models"].setdefault(name, {"tasks": {}})
            of |= {"automatic": settled.precision, "machine": report.versions(settled)}
            for task, summary in speeds(place, arguments):
                of["tasks"][task] = summary
                report.write(folder, "peers", result, markdown(result, arguments.results))  # what there is
    print(markdown(result, arguments.results))


if __name__ == "__main__":
    main()
