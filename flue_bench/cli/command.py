"""The classes of our commands: no option takes another for its value, help is whole and says where its pages are."""

from __future__ import annotations

import re
from inspect import cleandoc
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

import flue_bench
from flue_bench.cli.output import say
from flue_bench.errors import UsageError

PACKAGE = Path(flue_bench.__file__).parent
PLACES = PACKAGE / "docs", PACKAGE.parent / "docs"
"""Where the pages of the documentation are: in a wheel, and in a checkout."""


class Command(TyperCommand):
    """A command that refuses ``--results --force``, which would else write to a folder of that name."""

    def __init__(self, *arguments: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, help=None if help is None else _one_line_a_paragraph(help), **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line.

        Raises:
            UsageError: an option stands where the value of another should.
        """
        options = [each for each in self.get_params(ctx) if isinstance(each, TyperOption)]
        names = {name for each in options for name in (*each.opts, *each.secondary_opts)}
        wanting = {name: each for each in options if not each.is_flag for name in each.opts}
        for name, value in pairwise(takewhile(lambda word: word != "--", args)):
            if name in wanting and value in names:
                raise UsageError(f"{name} needs a value, and {value} is another option.")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # the words of a library
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, and below it where its pages are."""
        super().format_help(ctx, formatter)
        _say_where()


class Group(TyperGroup):
    """A group of commands, whose help ends as theirs does."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, and below it where its pages are."""
        super().format_help(ctx, formatter)
        _say_where()


def _say_where() -> None:
    if folder := next((place for place in PLACES if place.is_dir()), None):
        say(f" Pages named docs/… are in {folder}.")


def _one_line_a_paragraph(text: str) -> str:
    """Join the lines of each paragraph; those that are indented, such as examples, stay as they are."""
    return re.sub(r"(?m)(?<=\S)\n(?=[^\s])", " ", cleandoc(text))
