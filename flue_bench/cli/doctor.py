"""``flue-bench doctor`` checks what a run needs of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flue_bench.errors import UsageError

if TYPE_CHECKING:
    from flue_bench.plugins import Finding
    from flue_bench.progress import Console

COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    results: Annotated[Path, typer.Option(help="The results folder of later runs.")] = Path("results"),
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Also test on this hardware, in about two minutes: equal bits, exact batches, precision, speed.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the self-test: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Examine the nodes of a cluster instead, by one small job each: versions, devices, shared "
            "folders, locks between nodes, caches, network. See docs/clusters.md.",
        ),
    ] = None,
) -> None:
    """Check versions, device, folders and the hub, and say how to fix what is wrong.

    The exit code is 0 if nothing is broken, else 1. Being offline is not a fault.

    Examples:
        flue-bench doctor
        flue-bench doctor --self-test --device cpu
        flue-bench doctor --cluster slurm.toml

    See also: fetch, for what is missing; tasks, for the data. docs/get-started.md.
    """
    from flue_bench.progress import Console

    console = Console()
    if cluster is not None:
        if self_test:
            raise UsageError("--self-test tests this machine, --cluster its nodes: give one of them.")
        findings = _of_cluster(console, cluster, results)
    else:
        with console.status("Checking this machine"):
            from flue_bench.jobs.doctor import examine

            findings = list(examine(results))
        _print(console, findings)
    if self_test:
        with console.status("Loading PyTorch and transformers"):
            from flue_bench.jobs.selftest import self_test as check
            from flue_bench.memory import keep_freed_memory
            from flue_bench.training.device import pick_device
        keep_freed_memory()
        where = pick_device(device)
        console.print(f"\nSelf-test on {where}, about two minutes. Paste all of this into a bug report.")
        checks = check(where)
        while True:
            with console.status("Testing"):
                finding = next(checks, None)
            if finding is None:
                break
            findings.append(finding)
            _print(console, [finding])
    problems = sum(finding.state == "problem" for finding in findings)
    if problems:
        console.print(f"{problems} problem{'s' * (problems > 1)}.")
        raise typer.Exit(1)
    console.print("Nothing is broken.")


def _of_cluster(console: Console, cluster: Path, results: Path) -> list[Finding]:
    """Print what each node says, as it comes."""
    from flue_bench.jobs.cluster import load
    from flue_bench.jobs.workers import Workers, check

    asked = Workers(cluster=load(cluster))
    check(asked)
    with console.status("Loading PyTorch"):
        from flue_bench.jobs.nodes import examine_cluster
        from flue_bench.progress import Display

    console.print("One job is sent to each node; it may wait in the queue. Ctrl-C cancels.")
    findings = []
    for finding in examine_cluster(asked, results, Display(console)):
        findings.append(finding)
        _print(console, [finding])
    return findings


def _print(console: Console, findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, min_width=16)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.state, COLOURS[finding.state]), finding.what, Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"→ {finding.advice}", COLOURS[finding.state]))
    console.print(table)
