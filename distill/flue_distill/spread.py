"""A corpus made by workers: each part is a job, and so is joining them; see ``flue_bench.jobs.workers``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flue_bench import files
from flue_bench.errors import DataError, RecordError, counted
from flue_bench.jobs.worker import Report
from flue_bench.jobs.workers import Driver, Job, Workers, nodes_of, placed, started
from flue_bench.progress import Console, Display
from flue_bench.training import models
from flue_bench.training.device import pick_device
from flue_distill.corpus import parts
from flue_distill.corpus.parts import BusyError, division, folder_of
from flue_distill.corpus.shards import STATE, Manifest, Settings
from flue_distill.corpus.tokens import ProcessDiedError

PART, JOIN = "corpus-part", "corpus-join"
"""The entry points of ``part`` and ``join``."""


def build(
    inputs: Sequence[str | Path],
    tokenizer: Any,
    folder: Path,
    out: Path,
    asked: Workers,
    display: Display,
    **settings: Any,
) -> Manifest:
    """Make a corpus on workers, one part for each; go on where parts were begun.

    Args:
        inputs: as for ``parts.make``.
        tokenizer: likewise.
        folder: its files, which all workers see under the same path.
        out: the folder of the corpus, likewise.
        asked: the workers; their ``threads`` are the processes that tokenise a part.
        display: shows where they are.
        settings: the fields of ``Settings``.

    Raises:
        UsageError, DataError, RecordError, ModelError: as for ``parts.make`` and ``parts.merge``.
        FlueBenchError: no worker can be started.
    """
    _, plan = parts.planned(inputs, tokenizer, Settings(**settings))
    with files.explained(out, "and run again: finished blocks are kept"):
        if (made := parts.finished(out, plan, display)) is not None:
            return made
        if (out / STATE).exists():
            raise RecordError(f"{out}: a corpus was begun there without workers: go on without, or delete it.")
        out.mkdir(parents=True, exist_ok=True)
        begun = division(out)
    place = placed(asked, pick_device("cpu"))
    number = begun or max(1, place.number) * nodes_of(asked)
    given = {**settings, "inputs": [str(each) for each in inputs], "tokenizer": str(folder.absolute())}
    logs = out / ".logs"

    def job(key: int, name: str, title: str, **more: Any) -> Job:
        arguments = {"out": str(out.absolute()), **more}
        return Job(key, name, arguments, title, (logs / f"{title}.log").absolute())

    jobs = []
    for part in range(1, number + 1):
        if not (folder_of(out, part, number) / parts.PART).exists():
            more = {**given, "part": part, "parts": number, "processes": place.threads or None}
            jobs.append(job(part, PART, f"part {part} of {number}", **more))
            jobs[-1].checkpoint = folder_of(out, part, number).absolute()  # changed by every block
    joining = job(0, JOIN, "joining the parts", processes=place.threads * place.number or None)  # it is alone
    place = place._replace(number=min(place.number, max(1, len(jobs))))
    display.line(f"{counted(number, 'part')}, {len(jobs)} to make. {place}; their logs: {logs}")
    with display.running(), started(asked, place, max(1, len(jobs)), out, display) as driver:
        _answers(driver, jobs, display)
        (joined,) = _answers(driver, [joining], display)
    shutil.rmtree(logs, ignore_errors=True)
    with suppress(OSError):  # another driver works there
        (out / ".workers").rmdir()
    return Manifest.model_validate_json(joined["manifest"])


def _answers(driver: Driver, jobs: Sequence[Job], display: Display) -> list[dict[str, Any]]:
    """Return what came of jobs.

    Raises:
        DataError: one failed; all others are done.
    """
    answers, failed = [], []
    for job, answer in driver.answers(jobs):
        for line in answer.get("said", ()):
            display.once(line)
        if answer["state"] == "done":
            answers.append(answer)
        else:
            failed.append(f"{job.title}: {answer['reason']}")
    if failed:
        more = f" ({counted(len(failed) - 1, 'other')} failed too)" if len(failed) > 1 else ""
        raise DataError(f"{failed[0]}{more}\nWhat is made is kept, and the same command goes on.")
    return answers


def part(arguments: dict[str, Any], display: Report) -> dict[str, Any]:
    """Make a part of a corpus, or go on with it: the job ``corpus-part``."""
    given = dict(arguments)
    folder, out = Path(given.pop("tokenizer")), Path(given.pop("out"))
    tokenizer = models.read_tokenizer(folder, folder.name)

    def make() -> dict[str, Any]:
        parts.make(given.pop("inputs"), tokenizer, out, given.pop("part"), given.pop("parts"), **given, show=display)
        return {"state": "done"}

    return _tried(make)


def join(arguments: dict[str, Any], display: Report) -> dict[str, Any]:
    """Join the parts of a corpus: the job ``corpus-join``."""

    def merge() -> dict[str, Any]:
        made = parts.merge(Path(arguments["out"]), processes=arguments["processes"], show=display)
        return {"state": "done", "manifest": made.model_dump_json()}

    return _tried(merge)


def _tried(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return act()
    except BusyError:
        return {"state": "busy"}
    except ProcessDiedError as error:
        Console(file=sys.stderr).print(str(error))
        sys.exit(1)  # as if this process had died: the driver tries again
