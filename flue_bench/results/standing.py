"""Which records stand: those that are what they say they are, and that no other contradicts.

What is published of records (boards, comparisons, cards) is made of these; ``verify`` says the same of each record.
Recomputing every score is the larger part, so what passed is kept in the reader's own cache, by the hash of the record,
by size, times and inode of its predictions, and by the version of the checks. ``verify`` does without.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flue_bench import files
from flue_bench.kinds.kind import kind_of
from flue_bench.record import Place, RunRecord
from flue_bench.results import across, code
from flue_bench.results.prints import prints_in
from flue_bench.results.verify import Checked, OfFiles, examined, of_files


def compared(checked: Iterable[Checked]) -> list[Checked]:
    """Return checked records in order, those that others contradict with the reason among their faults."""
    checked = list(checked)
    apart = across.clashes(
        [
            across.Seen(each.file, each.record, each.prints)
            for each in checked
            if each.ok and each.record and each.prints
        ]
    )
    return [replace(each, faults=(apart[each.file],)) if each.file in apart else each for each in checked]


def judged(records: Sequence[RunRecord], known: Iterable[Known] = ()) -> list[Checked]:
    """Return each record with what is wrong with it; one that was made in memory alone is taken as it is.

    Args:
        records: the records.
        known: what is known of the records in their results folders, where that was read before.

    Raises:
        TaskFileError: an installed task package is broken.
    """
    of_root = {each.root: each for each in known}
    checked = []
    for record in records:
        place = record.predictions.place
        if place is None:
            checked.append(Checked(Path(record.predictions.file), (), record=record))
            continue
        if place.root not in of_root:
            of_root[place.root] = Known(place.root)
        checked.append(examined(record, place.file, of_root[place.root].of_files(record, place)))
    for each in of_root.values():
        each.write()
    return compared(checked)


class Known:
    """What is known of the records in one results folder: those that passed, and their fingerprints."""

    def __init__(self, root: Path) -> None:
        """Read it from the cache."""
        self.root, self._cache = root, files.cache_dir()
        self._below = f"{root}{os.sep}"
        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
        self._path = self._cache / "checks" / f"{name}.json"
        self._before: dict[str, Any] = {}
        with suppress(OSError, ValueError, RecursionError):  # a damaged file is written again
            before = json.loads(files.read(self._path, files.LARGE, self._cache))
            self._before = before if isinstance(before, dict) else {}
        self._now: dict[str, Any] = {}
        self._news = False
        self._passed: dict[str, str] = {}
        for each in self._before.values():
            with suppress(KeyError, TypeError, ValueError):
                version, sha256, *_ = each["of"]
                self._passed[sha256] = version

    def passed(self, record: RunRecord, sha256: str) -> bool:
        """Return whether a record, whose file has this SHA-256, was found right by the checks of today."""
        version = self._passed.get(sha256)
        return version is not None and version == code.version(kind_of(record))

    def of_files(self, record: RunRecord, place: Place) -> OfFiles:
        """Return what follows from a record's files, from what is known or anew."""
        file = os.fspath(place.file)
        name = file.removeprefix(self._below)
        try:
            stat = os.stat(f"{os.path.dirname(file)}{os.sep}{record.predictions.file}")  # the name has no folder
            bound = [
                code.version(kind_of(record)), place.sha256,
                stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev,
            ]  # fmt: skip
        except Exception:  # no predictions, or no such kind: nothing to keep
            return of_files(record, place.file.parent, self.root)
        known = self._before.get(name)
        with suppress(KeyError, TypeError):
            if known is not None and known["of"] == bound:
                prints = prints_in(known["prints"])
                self._now[name] = known
                return OfFiles((), prints)
        fresh = of_files(record, place.file.parent, self.root)
        if fresh.prints is not None and not fresh.faults:
            self._now[name], self._news = {"of": bound, "prints": asdict(fresh.prints)}, True
        return fresh

    def write(self) -> None:
        """Keep what was learnt; what is known of other records of the folder stays, unless most of them are gone."""
        if self._news:
            others = self._before if len(self._before) < 2 * len(self._now) + 100 else {}
            with suppress(OSError):
                files.write(self._path, json.dumps(others | self._now).encode(), self._cache)
