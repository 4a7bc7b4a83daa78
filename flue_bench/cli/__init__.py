"""The command line ``flue-bench``. A command imports what it needs when it runs, so that ``--help`` loads no torch."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from typing import Annotated

import typer

import flue_bench
from flue_bench import files, plugins
from flue_bench.cli import card, compare, doctor, fetch, leaderboard, run, score, speed, tasks, verify
from flue_bench.cli.command import Command, Group
from flue_bench.cli.output import say
from flue_bench.errors import FlueBenchError, TaskFileError, UsageError, address
from flue_bench.memory import wait_passively

app = typer.Typer(
    name="flue-bench",
    cls=Group,
    help="Fine-tune, score and compare French language models; make smaller ones; reproduce every number.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=Command)(run.run)
app.command(cls=Command)(score.score)
app.command(cls=Command)(fetch.fetch)
app.command(cls=Command)(leaderboard.leaderboard)
app.command(cls=Command)(compare.compare)
app.command(cls=Command)(verify.verify)
app.command(cls=Command)(card.card)
app.command(cls=Command)(speed.speed)
app.command(cls=Command)(doctor.doctor)
app.add_typer(tasks.app, name="tasks")
OURS = tuple(app.registered_commands)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"flue-bench {flue_bench.__version__}")
        raise typer.Exit


def _check_endpoint() -> None:
    """Check ``HF_ENDPOINT``, which huggingface_hub accepts unseen: it fails much later, or with a traceback.

    Raises:
        UsageError: it is not an http or https address.
    """
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint is None:
        return
    shown = address(endpoint)
    if shown.startswith("("):
        raise UsageError(
            "HF_ENDPOINT is no http(s) address; it is not shown, because it may hold a password.\n"
            "Set it to one like https://huggingface.co, or unset it."
        )
    if "?" in endpoint or "#" in endpoint:
        raise UsageError(f"HF_ENDPOINT is {shown} and more: leave out what follows a '?' or a '#'.")


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    _check_endpoint()


def add_plugins() -> None:
    """Add the commands of installed packages, our own distillation included: entry-point group ``flue_bench.commands``.

    Raises:
        TaskFileError: a plugin cannot be loaded, or brings a command of a name that is taken.
    """
    app.registered_commands[:] = OURS  # main may be called more than once in a process
    taken = {command.name or getattr(command.callback, "__name__", "") for command in OURS}
    taken |= {group.name for group in app.registered_groups if group.name}
    for name, command in plugins.commands().items():
        if name in taken:
            raise TaskFileError(
                f"A plugin adds a command '{name}', which flue-bench already has: uninstall the plugin."
            )
        app.command(name, cls=Command)(command)


_KEPT = {
    "run": "; finished cells and checkpoints are kept, and the same command continues from there",
    "corpus": "; finished shards are kept, and the same command continues from there",
    "distill": "; its last checkpoint is kept, and the same command with --resume continues from there",
    "score": "; what was scored is kept, and the same command scores the rest",
    "fetch": "; what was fetched whole is kept, and the same command fetches the rest",
}
"""Command → what remains of it when it is interrupted; nothing of all others."""


def at_home(word: str) -> str:
    """Return a word of a command with the home folder for a ``~`` that the shell left, quoted or behind ``--option=``.

    A folder that is itself named ``~`` is ``./~``.
    """
    return re.sub(r"(?s)^(--[\w-]+=)?(~(?:/.*)?)$", lambda found: (found[1] or "") + os.path.expanduser(found[2]), word)


def main() -> None:
    """Run the command line. Errors meant for the user become one or two lines on stderr and an exit code."""
    wait_passively()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: what a Latin-1 terminal lacks ends no command
    # A cluster takes its machine back by SIGTERM: end as an exception does, so that nothing half written stays behind.
    # While a step or a record is under way, `checkpoint.interruption` lets it end first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        add_plugins()
        app(args=[at_home(word) for word in sys.argv[1:]])
    except FlueBenchError as error:
        say(f"flue-bench: {error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        say(
            "flue-bench: this machine's memory is full. Close other programs, or give it less to read at once.",
            err=True,
        )
        sys.exit(1)
    except OSError as error:  # of what is redirected to a file; all else that is written says so itself
        if error.errno not in files.FULL:
            raise
        say(
            f"flue-bench: {error.filename or 'the output'} cannot be written whole: {error.strerror}. Free some space "
            "and run it again.",
            err=True,
        )
        sys.exit(1)
    except SystemExit as stop:
        if stop.code in (130, 143):  # Ctrl-C, which typer turns into 130, and SIGTERM
            say(f"flue-bench: interrupted{_KEPT.get(next(iter(sys.argv[1:]), ''), '')}.", err=True)
        raise
