"""Where a command's text goes."""

from __future__ import annotations

from pathlib import Path

import typer

from flue_bench.errors import RecordError


def put(text: str, out: Path | None) -> None:
    """To the file that ``--out`` names, or to the screen.

    Raises:
        RecordError: the file cannot be written; with the operating system's reason.
    """
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RecordError(f"{out}: cannot be written: {error.strerror or error}.") from error
