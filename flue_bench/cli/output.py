"""Where a command's text goes."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from flue_bench.errors import RecordError


def put(text: str, out: Path | None) -> None:
    """To the file that ``--out`` names, or to the screen.

    Raises:
        RecordError: the file cannot be written; with the operating system's reason. One that was there is as it was.
    """
    if out is None:
        typer.echo(text, nl=False)
        return
    from flue_bench.results.store import staged

    target = out.resolve()
    try:
        target.parent.stat()  # no folder is made for it: its name may be misspelt
        if target.exists() and not target.is_file():  # a terminal or a pipe
            target.write_text(text, encoding="utf-8", newline="\n")
        else:
            with staged(target, text.encode()) as written:
                os.replace(written, target)
    except OSError as error:
        raise RecordError(f"{out}: cannot be written: {error.strerror or error}.") from error
