"""A script as a user writes it: every public function, annotated, for the type checker. It is never run."""

from __future__ import annotations

from pathlib import Path

import flue_bench
import flue_distill


def main(folder: Path) -> dict[str, float]:
    """Use the whole surface."""
    tasks: list[flue_bench.Task] = flue_bench.list_tasks("mini")
    task: flue_bench.Task = flue_bench.get_task("mini-cls")
    rows = [{"text": "ça va", "label": "oui"}, {"text": "ça ne va pas", "label": "non"}]
    own = flue_bench.Task.from_examples(
        "avis", "sentence", labels=["non", "oui"], metric="f1_macro", train=rows, test=rows
    )
    recipe: flue_bench.Recipe = task.named_recipe("standard")
    digest: str = flue_bench.load_data(own).ref.digest
    losses: list[float] = []
    results: flue_bench.Results = flue_bench.run(
        ["embedded:student", folder],
        [*tasks, task, "mini-ner", folder / "mine.toml"],
        seeds=range(3),
        overrides={"epochs": 1},
        results=folder,
        metrics={"rows": lambda table: float(table.num_rows)},
        on_epoch=lambda cell, epoch: losses.append(epoch.train_loss),
        progress=False,
    )
    record: flue_bench.RunRecord = results.records[0]
    board: flue_bench.Board = flue_bench.build_board(results, metric="accuracy")
    answer: flue_bench.Comparison = flue_bench.compare("a", "b", results, question="trained", seed=0)
    first: flue_bench.Comparison = flue_bench.compare("a", "b", [folder, "other"])
    faulty: list[Path] = [each.file for each in flue_bench.verify_records(folder) if not each.ok]
    speed: float = flue_bench.measure_speed("embedded:student").records[0].examples_per_second
    table, frame = board.to_arrow(), flue_bench.read_results(folder).to_pandas()
    print(table, frame, answer, first, faulty, recipe.epochs, digest, record.predictions())
    try:
        corpus = flue_distill.build_corpus([folder / "textes.txt"], "embedded:teacher", folder / "corpus")
        made: flue_distill.Distilled = flue_distill.distill(
            flue_distill.DistilRecipe(teacher="embedded:teacher"), corpus=folder / "corpus", out=folder / "student"
        )
        print(corpus.tokens, made.folder, made.made["losses"])
    except flue_bench.FlueBenchError as error:
        print(error.exit_code)
    return {**record.scores, "speed": speed}
