"""``flue-bench doctor``: what a run would find on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    results: Annotated[Path, typer.Option(help="Where records are to go.")] = Path("results"),
) -> None:
    """Look at versions, device, folders and the hub, and say what to do where something is amiss.

    Exit code 0 if nothing is broken, 1 otherwise. Being offline breaks nothing.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    with console.status("Looking around"):
        from flue_bench.jobs.doctor import examine

        findings = list(examine(results))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.state, COLOURS[finding.state]), finding.what, Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"→ {finding.advice}", COLOURS[finding.state]))
    console.print(table)
    problems = sum(finding.state == "problem" for finding in findings)
    if problems:
        console.print(f"{problems} problem{'s' * (problems > 1)}.", highlight=False)
        raise typer.Exit(1)
    console.print("Nothing is broken.")
