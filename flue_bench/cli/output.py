"""Where a command's text goes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import typer

from flue_bench import files
from flue_bench.errors import RecordError


def put(text: str, out: Path | None) -> None:
    """To the file that ``--out`` names, or to the screen.

    Raises:
        RecordError: the file cannot be written; with the operating system's reason. One that was there is as it was.
    """
    if out is None:
        typer.echo(text, nl=False)
        return
    with files.explained(out, "or give another --out"):
        if os.name == "posix" and out.is_symlink() and out.lstat().st_uid not in (0, os.geteuid()):
            raise RecordError(f"{out} is a link that another user made: nothing is written through it.")
        if out.exists() and not stat.S_ISREG(out.stat().st_mode):  # a terminal or a pipe
            out.write_text(text, encoding="utf-8", newline="\n")
        else:
            files.write(out.resolve(), text.encode())
