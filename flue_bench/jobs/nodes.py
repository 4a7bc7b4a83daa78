"""``doctor --cluster``: one small job a node says what a run needs there, and the nodes meet at one lock."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

from flue_bench.errors import RecordError, counted
from flue_bench.jobs.doctor import examine
from flue_bench.jobs.spread import LOGS
from flue_bench.jobs.worker import Report, where
from flue_bench.jobs.workers import Job, Workers, nodes_of, placed, started
from flue_bench.locks import Lock
from flue_bench.plugins import Finding
from flue_bench.progress import Display

MEETING_SECONDS = 60.0
"""Seconds for which a node waits for the others."""


def examine_cluster(asked: Workers, results: Path, display: Display) -> Iterator[Finding]:
    """Yield what one job on each node found, and then what concerns all of them.

    Args:
        asked: has a cluster.
        results: the folder for records, which the nodes must share.
        display: shows how far it is.

    Raises:
        FlueBenchError: no job can be started.
    """
    number = nodes_of(asked)
    meeting = (results / ".workers" / f"meeting-{secrets.token_hex(8)}").absolute()
    try:
        meeting.mkdir(parents=True)
        (meeting / "token").write_text(token := secrets.token_hex(8), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{meeting}: cannot be written: {error.strerror}; give another --results.") from error
    arguments = {"results": str(results.absolute()), "meeting": str(meeting), "nodes": number}
    log = results / LOGS
    jobs = [
        Job(i, "examine", arguments, f"node {i + 1}", (log / f"doctor-{i}.log").absolute(), elsewhere=False)
        for i in range(number)
    ]
    place = placed(asked, torch.device("cpu"))
    place = place._replace(number=min(place.number, 1), gpus=0)  # it sees all of a node's GPUs
    answers = []
    try:
        with display.running(), started(asked, place, number, results, display) as driver:
            for job, answer in driver.answers(jobs):
                answers.append(answer)
                if answer["state"] != "done":
                    advice = f"{answer['advice']}, then ask again." if "advice" in answer else ""
                    yield Finding("problem", answer.get("where", job.title), answer["reason"], advice)
                    continue
                yield from _of_node(answer, token)
        yield _locks([answer for answer in answers if answer["state"] == "done"], number)
    finally:
        shutil.rmtree(meeting, ignore_errors=True)


def _of_node(answer: Mapping[str, Any], token: str) -> Iterator[Finding]:
    node = answer["where"]
    if answer["token"] == token:
        yield Finding("ok", node, "sees the folder of results")
    else:
        fault = "does not see what this machine writes to the folder of results"
        yield Finding("problem", node, fault, "Give a folder that all nodes share: --results.")
    for found in answer["findings"]:
        state, what, said, advice = found
        yield Finding(state, f"{node} {what}", said, advice)


def _locks(answers: list[Mapping[str, Any]], number: int) -> Finding:
    """Say whether a lock that one node holds keeps the others out."""
    nodes = sorted({answer["where"] for answer in answers})
    if number < 2:
        return Finding("note", "locks", "not tried between nodes: there is one", "Ask again with nodes = 2 or more.")
    if len(answers) < number:
        said = f"not tried: {len(answers)} of {counted(number, 'node')} could be examined"
        return Finding("note", "locks", said, "Ask again when the others can be, too.")
    if any(answer["met"] < number for answer in answers) or len(nodes) < number:
        late = f"the nodes were not there together within {MEETING_SECONDS:.0f} s"
        return Finding("note", "locks", f"not tried: {late}", "Ask again when the queue is short.")
    holders = [answer["where"] for answer in answers if answer["held"]]
    if len(holders) == 1:
        return Finding("ok", "locks", f"{', '.join(nodes)} exclude each other")
    return Finding(
        "problem",
        "locks",
        f"{', '.join(holders)} held one lock at once: the file system keeps locks for each node",
        "Mount it with locks between nodes (Lustre: flock), or let each node have cells or --results of its own.",
    )


def job(arguments: dict[str, Any], display: Report) -> dict[str, Any]:
    """Examine this node, and meet the others at a lock: the job ``examine``."""
    results, meeting = Path(arguments["results"]), Path(arguments["meeting"])
    try:
        token = (meeting / "token").read_text(encoding="utf-8")
    except OSError:
        token = ""
    findings = [list(finding) for finding in examine(results)]
    held, met = False, 0
    if token:
        lock = Lock(meeting / "lock")
        try:
            lock.acquire(blocking=False)
            held = True
        except Timeout:
            pass
        mark = meeting / f"{os.getpid()}-{secrets.token_hex(4)}.met"
        mark.write_text(json.dumps({"where": where()}), encoding="utf-8")
        until = time.monotonic() + MEETING_SECONDS
        while (met := len(list(meeting.glob("*.met")))) < arguments["nodes"] and time.monotonic() < until:
            time.sleep(0.2)
        lock.release()
    return {"state": "done", "token": token, "findings": findings, "held": held, "met": met}
