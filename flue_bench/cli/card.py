"""``flue-bench card`` writes a model's scores for its card on the hub."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flue_bench.cli.output import put, say
from flue_bench.cli.results import Results, read
from flue_bench.errors import RecordError, UsageError


class Format(StrEnum):
    """Values of ``--format``."""

    card = "card"
    eval_results = "eval-results"


def card(
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model's name on the board, or the start of its digest.")
    ],
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file instead of the screen; the rest of an existing model card is kept."),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="card: model-index metadata and a section of text. eval-results: headline scores for "
            ".eval_results/flue-bench.yaml in the model's repository.",
        ),
    ] = Format.card,
    validate: Annotated[
        bool, typer.Option("--validate", help="Have the hub check the metadata before writing.")
    ] = False,
) -> None:
    """Write a model's scores for its page on the hub: a model card, or the hub's evaluation results.

    Examples:
        flue-bench card -m ./my-student --out my-student/README.md
        flue-bench card -m camembert-base --format eval-results

    See also: leaderboard, which has the names; run --keep, which leaves models with a card.
    docs/publishing-records.md.
    """
    if validate and format_ is not Format.card:
        raise UsageError("--validate has the hub check a card: leave it or --format eval-results out.")
    from flue_bench.api import known_name, tested_records
    from flue_bench.boards import card as cards
    from flue_bench.results.rows import named_rows

    records = tested_records(read(results))
    name, of_model, left_out = cards.settings(records, known_name(named_rows(records), model))
    for words in left_out:
        say(f"Left out: {words}", err=True)
    if not of_model:
        raise RecordError(f"Nothing of {name} can be shown.")
    if format_ is Format.eval_results:
        text, without = cards.eval_results(of_model)
        for words in without:
            say(f"Left out: {words}", err=True)
        if not text:
            raise RecordError(
                f"Nothing of {name} has a place in .eval_results, which names data sets of the hub alone."
            )
        put(text, out)
        return
    made = cards.updated(out, name, of_model)
    if validate:
        from flue_bench.data import hub

        hub.validate(made, name)
        say(f"{hub.endpoint()} accepts the metadata.", err=True)
    put(str(made), out)
