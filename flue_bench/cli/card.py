"""``flue-bench card`` writes a model's scores for its card on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flue_bench.cli.output import put, say
from flue_bench.cli.results import Results, read
from flue_bench.errors import RecordError


def card(
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model's name on the board, or the start of its digest.")
    ],
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The model card (README.md) to write or update; the rest of an existing card is kept."),
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Have the hub check the metadata before writing.")
    ] = False,
) -> None:
    """Write a model's scores as a hub model card: model-index metadata and an evaluation section."""
    from flue_bench.api import known_name
    from flue_bench.boards import card as cards
    from flue_bench.results.rows import named_rows, tested

    records = tested(read(results).records)
    name, of_model, left_out = cards.settings(records, known_name(named_rows(records), model))
    for words in left_out:
        say(f"Left out: {words}", err=True)
    if not of_model:
        raise RecordError(f"Nothing of {name} can be shown.")
    made = cards.updated(out, name, of_model)
    if validate:
        from flue_bench.data import hub

        hub.validate(made, name)
        say(f"{hub.endpoint()} accepts the metadata.", err=True)
    put(str(made), out)
