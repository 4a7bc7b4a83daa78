"""From a task's declaration to its examples: find the data, read it, normalise it, cut the splits it lacks.

``--data-dir D`` has the files that would be downloaded, under the same names: ``D/ORG/NAME/…`` for a hub repository,
``D/FILE.tar.gz`` (or already unpacked, ``D/FILE/…``) for an archive, ``D/TASK/…`` or ``D/…`` for plain files. Any task
also accepts ``D/TASK/{train,validation,test}.{parquet,jsonl,csv,tsv,conll}``, with our own names of columns: ``text``,
``text_pair`` and ``label``, or ``words`` and ``tags``. Files found there take precedence over the network.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from glob import has_magic
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from flue_bench.data import archives, formats, hub
from flue_bench.data.registry import Registered, readers
from flue_bench.errors import DataError, HubError, OfflineError, UsageError, quoted
from flue_bench.files import as_text, cache_dir, sha256
from flue_bench.kinds.kind import Kind, kind_named
from flue_bench.kinds.rows import Labels, Row, Skipped, digest, plain, plain_number
from flue_bench.record import DataRef
from flue_bench.task import SPLITS, Archive, Columns, Example, Source, Split, SplitFiles, Task, nfc

_OWN_FORMATS = ("parquet", "jsonl", "csv", "tsv", "conll")
_OF_COLUMNS = ("columns", "where", "drop_if", "label_names", "separator")
MEMORY = 2**32
"""Bytes of memory that the examples of a task may take, by the estimate of ``_Memory``."""


@dataclass(frozen=True)
class TaskData:
    """The three splits of a task, and their description."""

    ref: DataRef
    splits: dict[Split, list[Example]]
    files: tuple[Path, ...]
    """The local files that were read: the archives, or the files themselves; none where a reader makes the examples."""
    hints: tuple[str, ...] = ()
    """What the task file seems to say wrongly of its files, and what to write; labels that do not occur."""


@dataclass(frozen=True)
class _Place:
    """A source whose files are on this machine."""

    source: Source
    label: str
    folder: Path
    packed: dict[Archive, Path] = field(default_factory=dict)
    """Archives that have yet to be unpacked."""
    archives: dict[Path, str] = field(default_factory=dict)
    """Archive that the folder was unpacked from → SHA-256."""
    deviations: tuple[str, ...] = ()
    """Deviations from the canonical data that do not depend on the rows, in words."""
    root: Path | None = None
    """The folder out of which no link leads; None below ``--data-dir``, where the user's own links may."""


def load(registered: Registered, *, data_dir: Path | None = None, offline: bool = False, test: bool = True) -> TaskData:
    """Return the examples of a task, from the first of its sources that is available.

    Texts are in Unicode's NFC. A source that is present but cannot be read as declared is an error; the next one is
    not tried silently. A task with ``train_from`` has the train and validation rows of that task, and its own test
    rows.

    Args:
        registered: the task and its file.
        data_dir: the folder of data placed by hand, see the module's docstring.
        offline: use only files on this machine.
        test: False leaves the test split out: its files are not read, and what would be cut from train for it is cut
            and dropped.

    Raises:
        DataError: wrong columns, an unknown label, a row of another shape, an empty split; or no source is available.
        OfflineError: no source is available without a network.
        UsageError: ``data_dir`` does not exist.
    """
    task = registered.task
    other = registered.trained_on
    training = load(other, data_dir=data_dir, offline=offline, test=test) if other else None
    if located := _by_hand(task, data_dir):
        return _read(task, located, training, test)
    reasons: list[HubError] = []
    for source in task.source:
        try:
            return _read(task, _fetch(source, registered.file.parent, data_dir, offline), training, test)
        except HubError as error:
            reasons.append(error)
    kind = OfflineError if all(isinstance(reason, OfflineError) for reason in reasons) else DataError
    raise kind(f"No data for task '{task.name}'. {_remedy(registered, reasons)}")


def lacking(registered: Registered, *, data_dir: Path | None = None, offline: bool = False) -> str:
    """Return why the data of a task is unavailable and what to do; empty where it is here, or a server offers it.

    This reads and fetches no data, so that many tasks can be checked before any is started.

    Args:
        registered: as for ``load``.
        data_dir: as for ``load``.
        offline: ask no server: the result is empty only where everything is on this machine.

    Raises:
        UsageError: ``data_dir`` does not exist.
    """
    if registered.trained_on and (why := lacking(registered.trained_on, data_dir=data_dir, offline=offline)):
        return why
    try:
        if _by_hand(registered.task, data_dir):
            return ""
    except DataError:  # the data is present and wrong: ``load`` reports it
        return ""
    reasons: list[HubError] = []
    for source in registered.task.source:
        try:
            _offered(source, registered.file.parent, data_dir, offline)
            return ""
        except HubError as error:
            reasons.append(error)
    return _remedy(registered, reasons)


def _remedy(registered: Registered, reasons: Sequence[HubError]) -> str:
    """Return what to do about data that no source provides, and then why each source failed."""
    task = registered.task
    name = task.name if registered.package else str(registered.file)
    tried = "; ".join(str(reason).partition("\n")[0].rstrip(".?") for reason in reasons)
    if asked := [source for source in task.source if source.access]:
        advice = " ".join(f"{' '.join(source.access.split())} {source.by_hand}" for source in asked)
    elif any(source.hub or source.archives for source in task.source):
        advice = (
            f"Fetch them where there is a network (`{shlex.join(['flue-bench', 'fetch', '--task', name])}`), or put "
            f"them under --data-dir (`{shlex.join(['flue-bench', 'tasks', 'show', name])}` lists them)."
        )
    else:
        advice = f"Correct `files` in {registered.file}, put the files beside it, or name their folder with --data-dir."
    return f"{advice}\n{tried}."


def limited(examples: list[Example], limit: int | None) -> list[Example]:
    """Return at most ``limit`` examples, chosen by a hash of their ids (files may be sorted by label), in order."""
    if limit is None or len(examples) <= limit:
        return examples
    rank = sorted(range(len(examples)), key=lambda i: hashlib.blake2b(examples[i].id.encode()).digest())
    return [examples[i] for i in sorted(rank[:limit])]


def drawn(examples: list[Example], rows: int, seed: int) -> list[Example]:
    """Return this many examples, in order, drawn by a hash of seed and id: more rows of one seed hold the fewer."""
    key = seed.to_bytes(8, "big")
    rank = sorted(range(len(examples)), key=lambda i: hashlib.blake2b(examples[i].id.encode(), key=key).digest())
    return [examples[i] for i in sorted(rank[:rows])]


def check_scorable(task: Task, splits: Mapping[Split, Sequence[Example]]) -> None:
    """Raise ``ValueError`` if every model would have the same scores on test or on validation, where they were read."""
    kind = kind_named(task.kind)
    scored: tuple[Split, ...] = ("test", "validation")
    for split in (split for split in scored if split in splits):
        if why := kind.unscorable(split, splits, task):
            raise ValueError(f"{split}: {why}")


def _there(folder: Path, source: Source) -> bool:
    return bool(source.files) and bool(_matching(folder, _first(source).path))


def _first(source: Source) -> SplitFiles:
    """Return the files of train, or of test where a task has no other split."""
    return next(source.files[split] for split in SPLITS if split in source.files)


def _by_hand(task: Task, data_dir: Path | None) -> _Place | None:
    """Return the source that was placed in the data folder for this task, if any."""
    if data_dir is None or any(source.rows for source in task.source):
        return None
    if not data_dir.is_dir():
        raise UsageError(f"--data-dir {data_dir}: no such folder.")
    placed = [located for source in task.source if (located := _in(data_dir, source, task))]
    # Two sources may be one repository at two revisions, whose files have other names: the one whose files are there.
    whole = (each for each in placed if each.packed or _there(each.folder, each.source))
    return next(whole, None) or (placed[0] if placed else _own_format(task, data_dir))


def _in(data_dir: Path, source: Source, task: Task) -> _Place | None:
    """Return a source in the data folder, if it is there."""
    if source.hub:
        folder = data_dir / source.hub
        return _Place(source, f"data-dir:{source.hub}", folder, deviations=_moving(source)) if folder.is_dir() else None
    if source.archives:
        names = [archive.name for archive in source.archives]
        if all((data_dir / name).is_file() for name in names):
            files = {archive: data_dir / archive.name for archive in source.archives}
            return _Place(source, source.label, data_dir, packed=files)
        unpacked = [archives.stem(name) for name in names]
        if all((data_dir / name).exists() for name in unpacked):
            return _Place(source, f"data-dir:{','.join(unpacked)}", data_dir)
        return None
    upwards = any(".." in PurePosixPath(files.path).parts for files in source.files.values())
    for folder in () if upwards else (data_dir / task.name, data_dir):
        if _there(folder, source):
            return _Place(source, source.label, folder)
    return None


def _own_format(task: Task, data_dir: Path) -> _Place | None:
    folder = data_dir / task.name
    files: dict[Split, SplitFiles] = {}
    for split in SPLITS:
        there = [f"{split}.{suffix}" for suffix in _OWN_FORMATS if (folder / f"{split}.{suffix}").is_file()]
        if len(there) > 1:
            raise DataError(f"{folder} holds {' and '.join(there)}: which of them is the {split} split?")
        if there:
            files[split] = SplitFiles(path=there[0])
    return (
        _Place(Source(files=files), f"data-dir:{task.name}", folder)
        if ("train" if task.train_from is None else "test") in files
        else None
    )


def _fetch(source: Source, task_folder: Path, data_dir: Path | None, offline: bool) -> _Place:
    """Fetch a source from where it is published. Raises HubError where that fails."""
    if source.hub:
        snapshot = hub.fetch(
            source.hub, repo_type="dataset", revision=source.revision, patterns=_patterns(source), offline=offline
        )
        commit = (snapshot.commit or source.revision or "")[:12]
        label = f"hub:{source.hub}@{commit}"
        # A snapshot's files are links to the blobs of its repository.
        root = snapshot.folder.parents[1]
        return _Place(source, label, snapshot.folder, deviations=_moving(source, commit), root=root)
    if source.archives:
        files = {}
        for archive in source.archives:
            file = files[archive] = _file_of(archive, data_dir)
            ours = data_dir is None or file.parent != data_dir
            if ours and file.is_file() and _differs(archive, file):  # cached before its hash was known
                file.unlink()
            if not file.is_file():
                hub.download(archive.url, file, size=archive.size, sha256=archive.sha256, offline=offline)
        return _Place(source, source.label, cache_dir(), packed=files)
    if source.files and not _there(task_folder, source):
        missing = _first(source).path
        near = difflib.get_close_matches(missing, sorted(each.name for each in task_folder.iterdir()), 1)
        raise HubError(f"{task_folder.absolute()} has no {missing}" + (f", but {near[0]}" if near else ""))
    return _Place(source, source.label, task_folder, root=task_folder)


def _offered(source: Source, task_folder: Path, data_dir: Path | None, offline: bool) -> None:
    """Check a source without fetching it. Raises HubError where ``_fetch`` would certainly fail."""
    if source.hub:
        hub.check_repository(
            source.hub, repo_type="dataset", revision=source.revision, patterns=_patterns(source), offline=offline
        )
    elif source.archives:
        for archive in source.archives:
            file = _file_of(archive, data_dir)
            if not file.is_file() or (file.parent != data_dir and archive.size not in (None, file.stat().st_size)):
                hub.check_file(archive.url, size=archive.size, offline=offline)
    else:
        _fetch(source, task_folder, data_dir, offline)


def _patterns(source: Source) -> list[str]:
    return [files.path for files in source.files.values()] or ["*"]


def _file_of(archive: Archive, data_dir: Path | None) -> Path:
    """Return the path of an archive: under the data folder if it was placed there, else in the cache."""
    if data_dir is not None and (data_dir / archive.name).is_file():
        return data_dir / archive.name
    key = hashlib.sha256(archive.url.encode()).hexdigest()[:8]
    return cache_dir() / "archives" / key / archive.name


def _differs(archive: Archive, file: Path) -> bool:
    return archive.sha256 not in (None, sha256(file))


def _moving(source: Source, commit: str = "") -> tuple[str, ...]:
    """Return the deviation that a branch of the hub causes."""
    at = f" (commit {commit})" if commit else ""
    return () if source.pinned else (f"unpinned revision {source.revision} of {source.hub}{at}",)


def _unpacked(located: _Place) -> _Place:
    """Return the same source with its archives unpacked and compared with what is published."""
    if not located.packed:
        return located
    hashes = {file: sha256(file) for file in located.packed.values()}
    wanted = [each.path for each in located.source.files.values()]
    key = json.dumps([[(file.name, digest) for file, digest in hashes.items()], wanted])
    content = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = cache_dir() / "unpacked" / f"{archives.stem(located.source.archives[0].name)}-{content}"
    archives.unpack(list(hashes), folder, wanted)
    others = tuple(
        f"{archive.name} is not the published archive (its SHA-256 is {hashes[file][:12]}…, not {archive.sha256[:12]}…)"
        for archive, file in located.packed.items()
        if archive.sha256 and archive.sha256 != hashes[file]
    )
    return replace(located, folder=folder, packed={}, archives=hashes, deviations=(*located.deviations, *others))


def _matching(folder: Path, pattern: str) -> list[Path]:
    paths = folder.glob(pattern) if has_magic(pattern) else [folder / pattern]
    return sorted(path for path in paths if path.is_file())


def _check_within(paths: Iterable[Path], root: Path) -> None:
    """Refuse links that lead out of a folder that strangers made: what they lead to would be read, and quoted.

    Raises:
        DataError: one does.
    """
    real = root.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(real):
            raise DataError(
                f"{path} is a link out of {root}, and none is followed there. Put the file itself in its place, or "
                "give the folder of the data by --data-dir."
            )


class _Memory:
    """The memory that the examples of a task may still take."""

    def __init__(self, task: Task) -> None:
        self._task, self._left = task, MEMORY

    def take(self, values: Iterable[Any]) -> None:
        """Count an example by the values of its row. Raises DataError if it is one too many."""
        self._left -= 256
        for value in values:
            if isinstance(value, str):
                self._left -= len(value)
            elif isinstance(value, dict):
                self._left -= 64 * len(value)
            elif isinstance(value, list | tuple):
                self._left -= 64 * len(value) + sum(len(each) for each in value if isinstance(each, str))
        if self._left < 0:
            raise DataError(
                f"Task '{self._task.name}': its examples take more than {MEMORY >> 30} GiB of memory, and all are kept "
                "there. Take fewer rows, or shorter ones."
            )


def _read(task: Task, located: _Place, training: TaskData | None, test: bool) -> TaskData:
    try:
        return _read_all(task, located, training, test)
    except MemoryError:
        raise DataError(f"Task '{task.name}': its data do not fit into the memory that there is.") from None


def _read_all(task: Task, located: _Place, training: TaskData | None, test: bool) -> TaskData:
    located = _unpacked(located)
    splits: dict[Split, list[Example]] = {}
    read = list(located.archives)
    hashes = {file.name: digest for file, digest in located.archives.items()}
    off = list(located.deviations)
    skipped: list[str] = []
    hints: list[str] = []
    if training:
        splits |= {split: rows for split, rows in training.splits.items() if split != "test"}
        read += training.files
        hashes |= {f"{task.train_from}: {file}": digest for file, digest in training.ref.files.items()}
        inherited = [f"{task.train_from}, trained on: {words}" for words in training.ref.deviations]
        (skipped if training.ref.canonical else off).extend(inherited)
        hints += training.hints
    source = located.source
    labels = Labels(task.labels, source.label_names, source.scheme, source.separator)
    memory = _Memory(task)
    idle = set(located.source.drop_if)
    wanted: tuple[Split, ...] = SPLITS if test else ("train", "validation")
    unread: tuple[Split, ...] = () if test or not _has_test(task, located) else ("test",)
    own: tuple[Split, ...] = ("test",) if training else SPLITS
    for split in own:
        if split in unread:
            continue
        files = located.source.files.get(split)
        paths = _matching(located.folder, files.path) if files else []
        if located.root is not None and files:
            above = [part for part in PurePosixPath(files.path).parts if part == ".."]  # at the start alone
            _check_within(paths, located.root.joinpath(*above))
        if files and not paths:
            raise DataError(f"{located.folder} has no {files.path}, the {split} split of task '{task.name}'.")
        if not located.archives:
            read += paths
            hashes |= {as_text(path.relative_to(located.folder).as_posix()): sha256(path) for path in paths}
        left_out: Counter[str] = Counter()
        if located.source.reader:
            examples, rows = _by_reader(task, located, split, left_out, memory)
        elif in_memory := located.source.rows.get(split):
            examples, rows = _by_rows(task, located.source, labels, split, in_memory, left_out, idle)
        elif files:
            examples, rows = _by_columns(
                task, located.source, labels, files, split, paths, hints, left_out, memory, idle
            )
        else:
            examples, rows = [], 0
        if (files or split in located.source.rows) and not examples:
            where = ", ".join(map(str, paths)) or "its rows"
            raise DataError(f"Task '{task.name}' has no example for its {split} split from {where}.")
        if len({example.id for example in examples}) < len(examples):
            twice = next(id_ for id_, times in Counter(example.id for example in examples).items() if times > 1)
            advice = "remove one of the rows" if source.reader else "without `columns.id`, rows are numbered"
            raise DataError(f"Task '{task.name}': an id occurs twice in {split}, {quoted(twice)}: {advice}.")
        skipped += [f"{split}: {what} left out: {number:,}" for what, number in left_out.items()]
        if rows not in (canonical := task.rows.get(split, (rows,))):
            there = f"{split} has {rows:,} rows" if rows else f"there is no {split} split"
            off.append(f"{there}, canonical is {' or '.join(f'{count:,}' for count in canonical)}")
        if examples:
            splits[split] = examples
    if "train" not in splits:
        raise DataError(f"{located.label} has no training example for task '{task.name}'.")
    cut = tuple(split for split in _cut(task, splits, unread) if split in wanted)
    if source.reader and (keys := [key for key in _OF_COLUMNS if getattr(source, key)]):
        hints.append(
            f"{', '.join(keys)}: for files with columns, while the reader '{source.reader}' makes whole examples: they "
            "have no effect unless it looks for them"
        )
    try:
        labels.check()
        for key in sorted(idle) if located.source.files and not located.source.reader else ():
            hints.append(f"drop_if: no row has {json.dumps(located.source.drop_if[key])} as '{key}'")
        known = {split: splits[split] for split in wanted}
        hints += kind_named(task.kind).remarks(known, task)
        check_scorable(task, known)
    except ValueError as error:
        raise DataError(f"Task '{task.name}', {error}.") from None
    ref = DataRef(
        source=f"{located.label}, trained on {training.ref.source}" if training else located.label,
        files=hashes,
        digest=_digest({split: splits[split] for split in wanted}),
        rows={split: len(splits[split]) for split in wanted},
        canonical=not off,
        deviations=(*off, *skipped),
        cut=tuple(split for split in training.ref.cut if split != "test") if training else cut,
    )
    return TaskData(
        ref, {split: splits[split] for split in wanted}, tuple(dict.fromkeys(read)), tuple(dict.fromkeys(hints))
    )


def _has_test(task: Task, located: _Place) -> bool:
    """Return whether a source brings a test split, without reading it where the task says so."""
    source = located.source
    if task.train_from or "test" in source.files or source.rows.get("test"):
        return True
    if not source.reader or not task.split.test:
        return bool(source.reader)
    return next(iter(readers()[source.reader](located.folder, "test", task)), None) is not None


def _by_reader(
    task: Task, located: _Place, split: Split, left_out: Counter[str], memory: _Memory
) -> tuple[list[Example], int]:
    """Return the examples of one split and the reader's row count; ``left_out`` counts skipped rows by reason."""
    reader = readers()[located.source.reader or ""]
    kind, labels = kind_named(task.kind), Labels(task.labels, {}, located.source.scheme)
    examples: list[Example] = []
    rows = 0
    for row, given in enumerate(reader(located.folder, split, task)):
        rows += 1
        values = {field.name: getattr(given, field.name) for field in fields(given)}
        memory.take(values.values())
        try:
            examples += _example(task, labels, values, f"{split}-{row}", left_out)
        except KeyError as error:
            raise DataError(
                f"Reader {located.source.reader}, example {row} of {split}: {type(given).__name__} has no {error}, "
                f"which kind '{kind.name}' needs."
            ) from None
        except ValueError as error:
            called = f" ({quoted(given.id)})" if given.id else ""
            where = f"Reader {located.source.reader}, example {row} of {split}{called}"
            raise DataError(f"{where}: {error}.") from None
    return examples, rows


def _by_columns(
    task: Task,
    source: Source,
    labels: Labels,
    files: SplitFiles,
    split: Split,
    paths: Sequence[Path],
    hints: list[str],
    left_out: Counter[str],
    memory: _Memory,
    idle: set[str],
) -> tuple[list[Example], int]:
    """Return the examples of one split, and the number of rows before placeholders and ``left_out`` were dropped.

    ``hints`` and ``left_out`` are as for ``formats.rows`` and ``formats.sentences``; ``idle`` loses the keys of
    ``drop_if`` that drop a row.
    """
    kind = kind_named(task.kind)
    labels.next_column()
    columns = source.columns if files.columns is None else files.columns
    layout = formats.Layout(source.delimiter, source.quoting, source.encoding)
    where = source.where if files.where is None else files.where
    examples: list[Example] = []
    row = 0
    for path in paths:
        conll = kind.conll if formats.format_of(path, kind.conll is not None) == "conll" else None
        if conll:
            words, tags = conll
            of_words, of_tags = (_columns(columns[name])[0] if name in columns else None for name in conll)
            of_tags = -1 if of_tags is None else of_tags
            if where or source.drop_if or columns.keys() - {words, tags}:
                raise DataError(
                    f"{path}: CoNLL files give {words} and {tags}: they have no 'id', 'group', 'where' or 'drop_if'."
                )
            formats.check_first_row(path, of_tags, set(task.labels), source.label_names.keys(), layout)
            rows = formats.sentences(path, of_words, of_tags, layout, left_out)
            at = {words: 0, tags: 1}
            several, keep, drop = {}, [], []
        else:
            more = [name for name in kind.may_have if name not in columns and _has(path, name, columns, layout)]
            names = {name: columns.get(name, name) for name in dict.fromkeys([*kind.needs, *more, *columns])}
            single = {name: column for name, column in names.items() if not isinstance(column, dict | tuple)}
            several = {name: column for name, column in names.items() if isinstance(column, dict | tuple)}
            each = [*single.values(), *(one for column in several.values() for one in _columns(column))]
            numbered = all(isinstance(name, int) for name in each)
            wanted = list(dict.fromkeys([*each, *(_key(k, numbered) for k in (*where, *source.drop_if))]))
            for name in kind.needs:
                if name in single and (class_names := formats.class_names(path, single[name])):
                    try:
                        hint = labels.called(class_names, path.name)
                    except ValueError as error:
                        raise DataError(f"{path}, column {single[name]}: {error}.") from None
                    hints += [hint] if hint else []
            rows = formats.rows(path, wanted, layout, hints, more)
            at = {name: wanted.index(column) for name, column in single.items()}
            keep, drop = (
                [(wanted.index(_key(k, numbered)), value) for k, value in conditions.items()]
                for conditions in (where, source.drop_if)
            )
        for number, values in rows:
            if not all(_holds(values[i], value) for i, value in keep):
                continue
            dropping = [key for key, (i, value) in zip(source.drop_if, drop, strict=True) if _holds(values[i], value)]
            idle.difference_update(dropping)
            if not dropping:
                given = {name: values[position] for name, position in at.items()}
                if several:
                    cells = dict(zip(wanted, values, strict=False))
                    given |= {name: _gathered(column, cells) for name, column in several.items()}
                memory.take(given.values())
                try:
                    examples += _example(task, labels, given, f"{split}-{row}", left_out)
                except ValueError as error:
                    advice = formats.tags_column(path, set(task.labels), layout) if conll else ""
                    if row == 0 and not conll and numbered:
                        advice = formats.header_named(number, given)
                    raise DataError(f"{formats.place(path, number)}: {error}.{advice}") from None
            row += 1
    return examples, row


def _by_rows(
    task: Task,
    source: Source,
    labels: Labels,
    split: Split,
    rows: Sequence[Mapping[str, Any]],
    left_out: Counter[str],
    idle: set[str],
) -> tuple[list[Example], int]:
    """Return the examples of one split that is in memory, and its number of rows; as ``_by_columns`` reads a file."""
    kind = kind_named(task.kind)
    labels.next_column()
    more = [name for name in kind.may_have if name not in source.columns and any(name in each for each in rows)]
    wanted = dict.fromkeys([*kind.needs, *source.columns])
    names = {name: _as_texts(source.columns.get(name, name)) for name in wanted}
    columns = dict.fromkeys(
        [*(str(one) for column in names.values() for one in _columns(column)), *source.where, *source.drop_if]
    )
    examples: list[Example] = []
    row = 0
    for number, values in enumerate(rows):
        where = f"Task '{task.name}', row {number} of {split}"
        if any(column not in values for column in columns):
            values = {nfc(name): value for name, value in values.items()}
        if missing := [column for column in columns if column not in values]:
            raise DataError(f"{where}: has no {', '.join(missing)}; it has {', '.join(map(str, values)) or 'nothing'}.")
        cells = {column: plain(values[column]) for column in columns}
        if not all(_holds(cells[key], value) for key, value in source.where.items()):
            continue
        dropping = [key for key, value in source.drop_if.items() if _holds(cells[key], value)]
        idle.difference_update(dropping)
        if not dropping:
            given = {name: _gathered(column, cells) for name, column in names.items()}
            given |= {name: plain(values.get(name)) for name in more}
            try:
                examples += _example(task, labels, given, f"{split}-{row}", left_out)
            except ValueError as error:
                raise DataError(f"{where}: {error}.") from None
        row += 1
    return examples, row


def _example(
    task: Task, labels: Labels, values: Mapping[str, Any], numbered: str, left_out: Counter[str]
) -> list[Example]:
    """Return the example of a row, called ``numbered`` if the row has no id; none, and counted, where it holds none."""
    try:
        return [kind_named(task.kind).example(Row(_string(values.get("id")) or numbered, values, labels, task.options))]
    except Skipped as reason:
        left_out[str(reason)] += 1
        return []


def _columns(column: Any) -> Sequence[formats.Column]:
    """Return the columns that a field is read from."""
    several = column.values() if isinstance(column, dict) else column if isinstance(column, tuple) else (column,)
    return tuple(several)


def _as_texts(column: Any) -> Any:
    """Return columns by name: the keys of rows in memory are texts."""
    if isinstance(column, dict):
        return {label: str(one) for label, one in column.items()}
    return tuple(map(str, column)) if isinstance(column, tuple) else str(column)


def _gathered(column: Any, cells: Mapping[Any, Any]) -> Any:
    """Return the value of a field: that of its column, or those of its columns, as a list or by label."""
    if isinstance(column, dict):
        return {label: cells[one] for label, one in column.items()}
    return [cells[one] for one in column] if isinstance(column, tuple) else cells[column]


def _has(path: Path, name: str, columns: Columns, layout: formats.Layout) -> bool:
    """Return whether a file whose columns have names has one of this name."""
    numbered = any(isinstance(one, int) for column in columns.values() for one in _columns(column))
    return not numbered and formats.has_column(path, name, layout)


def _key(name: str, numbered: bool) -> formats.Column:
    """Return the column of a key of ``where`` or ``drop_if``: TOML keys are strings, a headerless file has numbers."""
    return int(name) if numbered and re.fullmatch("[0-9]+", name) else name


def _holds(value: Any, wanted: bool | int | float | str) -> bool:
    """Return whether a cell has a value that ``where`` or ``drop_if`` names.

    Types are told apart where the file has them. In a text file all cells are texts, and a number is found by its
    value. An empty text is what a table has in place of null.
    """
    if isinstance(value, str):
        if isinstance(wanted, str):
            return value == wanted or nfc(value) == wanted
        if isinstance(wanted, bool):
            return value.lower() == str(wanted).lower()
        return plain_number(value) == wanted
    if value is None or value != value:  # null, or pandas' NaN
        return wanted in ("", "None", "null", "nan")
    if isinstance(value, bool) or isinstance(wanted, bool):
        return str(value).lower() == str(wanted).lower()
    if isinstance(value, int | float):
        return bool(value == wanted) or str(value) == wanted or f"{value:g}" == wanted
    return str(value) == str(wanted)


def _string(value: Any) -> str:
    return "" if value is None else str(value)


def _cut(task: Task, splits: dict[Split, list[Example]], unread: Sequence[Split]) -> tuple[Split, ...]:
    """Cut the missing splits from train, test first, and return their names; what is not read is not missing."""
    cut: list[Split] = []
    shares: tuple[tuple[Split, float], ...] = (("test", task.split.test), ("validation", task.split.validation))
    for split, share in shares:
        if split not in splits and split not in unread:
            if not share:
                raise DataError(
                    f"Task '{task.name}' has no {split} split. Name its file, or set "
                    f"`split.{split}` to the share of train to cut for it."
                )
            kind = kind_named(task.kind)
            splits["train"], splits[split] = _parted(kind, splits["train"], share, task.split.seed)
            cut.append(split)
    return tuple(cut)


def _parted(kind: Kind[Any], examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Return (rest, cut), both in order: whole groups are cut by rank of a hash, while no stratum exceeds its share.

    A hash replaces a library's random numbers: the same rows are cut whatever is installed.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        groups[example.group].append(index)
    strata = [kind.stratum(example) for example in examples]
    # At least one example of each stratum, but never all of them.
    room = {stratum: min(max(round(share * count), 1), count - 1) for stratum, count in Counter(strata).items()}
    chosen: set[int] = set()
    for group in sorted(groups, key=lambda group: digest(f"{seed} {group}")):
        counts = Counter(strata[index] for index in groups[group])
        if all(room[stratum] >= count for stratum, count in counts.items()):
            chosen.update(groups[group])
            for stratum, count in counts.items():
                room[stratum] -= count
    if not chosen:
        raise DataError(f"{len(examples)} training examples are too few, or too alike, to cut a split from them.")
    return (
        [example for index, example in enumerate(examples) if index not in chosen],
        [example for index, example in enumerate(examples) if index in chosen],
    )


def _digest(splits: Mapping[Split, Sequence[Example]]) -> str:
    """Return the digest of every field of every example, by split and in order: that of ``SPLITS``."""
    content = hashlib.blake2b(digest_size=8)
    encode = json.JSONEncoder(ensure_ascii=False).encode
    for split in splits:
        values = attrgetter(*(field.name for field in fields(splits[split][0])))
        for example in splits[split]:
            content.update(f"{split} {encode(values(example))}\n".encode())
    return content.hexdigest()
