"""Output of a command's text, to the screen or to a file."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import typer

from flue_bench import escape, files
from flue_bench.errors import RecordError


def say(text: str, err: bool = False) -> None:
    """Print lines, in which nothing that a file or a server says controls the terminal."""
    typer.echo(escape.lines(text), err=err)


_RECORD = re.compile(r"/(runs/[^/]+/[^/]+/(seed\d+|scored)-|speed/[^/]+/)[0-9a-f]{16}\.[^/]+$")
"""What ends the path of a file that ``results.store`` writes."""


def put(text: str, out: Path | None) -> None:
    """Write text to the file that ``--out`` names, atomically, and say so on stderr; or to the screen.

    Raises:
        RecordError: the file is a record, is a link that leads out of its folder, or cannot be written, for the
            operating system's reason. An existing one is unchanged.
    """
    if out is None:
        typer.echo(escape.lines(text) if sys.stdout.isatty() else text, nl=False)
        return
    with files.explained(out, "or give another --out"):
        if os.name == "posix" and out.is_symlink() and out.lstat().st_uid not in (0, os.geteuid()):
            raise RecordError(f"{out} is a link that another user made: not written through. Give another --out.")
        target = Path(os.path.realpath(out))
        if _RECORD.search(target.as_posix()):
            raise RecordError(f"{out} is where a results folder keeps a record: not overwritten. Give another --out.")
        if out.is_symlink() and not _may_be_followed(out, target):
            raise RecordError(
                f"{out} is a link that leads out of its folder, to {target}: not written through. Give the file's own "
                "name to --out, or remove the link."
            )
        if out.exists() and not stat.S_ISREG(out.stat().st_mode):  # a terminal or a pipe
            out.write_text(text, encoding="utf-8", newline="\n")
            return
        files.write(target, text.encode())
    say(f"Written: {out}", err=True)


def _may_be_followed(link: Path, target: Path) -> bool:
    """Return whether a link that ``--out`` names stays in its folder: one that does not may have come with a clone.

    The system's own links, such as ``/dev/stdout``, lead anywhere.
    """
    folder = Path(os.path.realpath(link.parent))
    return folder == Path("/dev") or folder.is_relative_to("/proc") or target.is_relative_to(folder)
