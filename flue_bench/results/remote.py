"""Records that somebody published as a repository of a data set on the hub: ``hub:org/name@revision``.

Such a repository holds what a results folder holds: ``runs/MODEL/TASK/NAME.json`` with
``NAME.predictions.parquet`` beside it, and ``speed/MODEL/NAME.json``. Nothing else of it is used, and nothing is run.
The files are copied out of the hub's cache, where they are links, into flue-bench's own, in a folder of their commit.
From there on they are read, checked and held against other records as anybody's are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from flue_bench import files
from flue_bench.errors import HubError, OfflineError, UsageError, counted, quoted
from flue_bench.record import RunRecord
from flue_bench.task import REPOSITORY, REVISION

PREFIX = "hub:"
MOST_FILES = 40_000
"""Files of one repository that are read."""
MOST_BYTES = 2**32
"""Their size together."""
PATTERNS = ("runs/*/*/*.json", "runs/*/*/*.predictions.parquet", "speed/*/*.json")
"""What is fetched; ``*`` matches ``/`` too, so that ``_EXPECTED`` decides what is used."""
_EXPECTED = re.compile(r"runs/[^/]+/[^/]+/[^/]+(\.json|\.predictions\.parquet)|speed/[^/]+/[^/]+\.json")


class Name(NamedTuple):
    """What follows ``hub:``."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, given: str | Path) -> Name | None:
        """Return the repository and the revision that are named; None for the path of a folder.

        Raises:
            UsageError: ``hub:`` is followed by something else.
        """
        said = str(given)
        if not said.startswith(PREFIX):
            return None
        found = re.fullmatch(rf"({REPOSITORY})(?:@({REVISION}))?", said.removeprefix(PREFIX))
        if found is None or found[1].count("/") != 1:
            raise UsageError(f"{said}: a repository with records is named hub:org/name, or hub:org/name@revision.")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def local(given: str | Path, offline: bool = False) -> Path:
    """Return the results folder of this path, or with the records of this repository, which is fetched where needed.

    Args:
        given: a path, or ``hub:org/name@revision``.
        offline: make no request.

    Raises:
        UsageError: the name is none.
        HubError, OfflineError: the records cannot be had, are too many, or the repository holds none.
    """
    name = Name.parse(given)
    return files.at_home(given) if name is None else _fetched(name, offline)


def shown(path: Path) -> Path:
    """Return a path as it is shown: what was published under the name of its repository, at its commit."""
    try:
        org, repository, commit, *below = path.relative_to(_cache()).parts
    except ValueError:  # of no repository
        return path
    return Path(f"{PREFIX}{org}/{repository}@{commit[:12]}", *below)


def is_published(path: Path) -> bool:
    """Return whether a results folder, or a file in one, was published by somebody."""
    return shown(path) != path


def of_root(record: RunRecord) -> Path | None:
    """Return the results folder that a record was read from; None if it was made in memory."""
    return record.predictions.place.root if record.predictions.place else None


def _cache() -> Path:
    return files.cache_dir() / "records"


def _fetched(name: Name, offline: bool) -> Path:
    """Return the folder that holds the files of the commit that is named."""
    from flue_bench.data import hub  # huggingface_hub takes half a second, and a folder needs none

    place = _cache() / name.repository
    if hub.is_commit(name.revision) and (place / str(name.revision)).is_dir():
        return place / str(name.revision)
    sizes: dict[str, int] | None = None
    commit = None
    try:
        if hub.reachable() and not offline:
            commit, sizes = hub.sizes(name.repository, repo_type="dataset", revision=name.revision)
            if hub.is_commit(commit) and (place / commit).is_dir():
                return place / commit
            names = list(sizes)
        else:
            names = hub.files(name.repository, repo_type="dataset", revision=name.revision, offline=offline)
        wanted = _wanted(name, names)
        _check_amount(name, wanted, sizes)
        patterns = [pattern for pattern in PATTERNS if any(PurePosixPath(each).match(pattern) for each in wanted)]
        snapshot = hub.fetch(
            name.repository,
            repo_type="dataset",
            revision=name.revision,
            patterns=patterns,
            offline=offline,
            max_bytes=MOST_BYTES,
        )
    except OfflineError as error:
        raise OfflineError(
            f"{str(error).partition(chr(10))[0].rstrip('.')}.\nRead it once where there is a network, or give "
            "--results a folder that was downloaded."
        ) from error
    if snapshot.commit is None or commit not in (None, snapshot.commit):
        raise HubError(f"{name} moved while it was read. Try again, or name a commit: {name.repository}@COMMIT.")
    target = place / snapshot.commit
    if not target.is_dir():
        _copy(name, snapshot.folder, wanted, target)
    return target


def _wanted(name: Name, listed: Iterable[str]) -> list[str]:
    """Return the files to read; refuse a repository that names files outside itself, or has no record."""
    for each in listed:
        parts = each.split("/")
        if not each.isprintable() or "\\" in each or any(part in ("", ".", "..") for part in parts):
            raise HubError(f"{name} lists a file {quoted(each)}, which no repository holds: nothing of it is read.")
    wanted = [each for each in listed if _EXPECTED.fullmatch(each)]
    if not any(each.startswith("runs/") and each.endswith(".json") for each in wanted):
        raise HubError(
            f"{name} holds no records: there is no runs/MODEL/TASK/*.json among its files, as there is in a results "
            "folder."
        )
    return wanted


def _check_amount(name: Name, wanted: list[str], sizes: dict[str, int] | None) -> None:
    if len(wanted) > MOST_FILES:
        raise HubError(f"{name} holds {len(wanted):,} files of records; at most {MOST_FILES:,} are read.")
    if sizes and (size := sum(sizes[each] for each in wanted)) > MOST_BYTES:
        raise HubError(f"{name} holds records of {size:,} bytes; at most {MOST_BYTES:,} are read.")


def _copy(name: Name, folder: Path, wanted: list[str], target: Path) -> None:
    """Copy files out of the hub's cache, where they are links to blobs of their repository, in one step."""
    with files.explained(target, "or set FLUE_BENCH_CACHE to another folder"):
        files.make_folder(target.parent, files.cache_dir())
        with files.scratch(target) as made:
            left = MOST_BYTES
            for each in wanted:
                content = _content(name, folder, each)
                if (left := left - len(content)) < 0:
                    raise HubError(f"{name} holds records of over {MOST_BYTES:,} bytes, the most that is read.")
                (made / each).parent.mkdir(parents=True, exist_ok=True)
                with files.create(made / each) as file:
                    file.write(content)
            try:
                os.rename(made, target)
            except OSError:
                if not target.is_dir():  # by another process, meanwhile
                    raise


def _content(name: Name, folder: Path, file: str) -> bytes:
    try:
        limit = files.LARGE if file.endswith(".parquet") else files.SMALL
        return files.read(folder / file, limit, root=folder.parents[1])
    except OSError as error:
        raise HubError(f"{name}: {file} cannot be read: {error.strerror}.") from error


def said(folder: Path, records: int) -> str:
    """Return what a board says of the records of a repository: the whole commit, and how many there are."""
    org, repository, commit = folder.relative_to(_cache()).parts
    return f"{PREFIX}{org}/{repository}@{commit}: {counted(records, 'record')}, published there and verified here"
