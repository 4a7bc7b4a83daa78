"""The door: ``flue-bench``. A command imports what it needs when it runs, so that ``--help`` loads no torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import flue_bench
from flue_bench.cli import leaderboard, run, tasks
from flue_bench.errors import FlueBenchError

app = typer.Typer(
    name="flue-bench",
    help="Fine-tune, score and compare French language models; make smaller ones; reproduce every number.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(leaderboard.leaderboard)
app.add_typer(tasks.app, name="tasks")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flue-bench {flue_bench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors meant for the user are one or two lines on stderr and an exit code."""
    try:
        app()
    except FlueBenchError as error:
        typer.echo(f"flue-bench: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("flue-bench: interrupted. The same command goes on where this one stopped.", err=True)
        sys.exit(130)
