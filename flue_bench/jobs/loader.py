"""What a process caches from one cell to the next: hashes of model files, examples, encodings, tokenizers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from flue_bench.data import model_files, registry, sources
from flue_bench.data.registry import Registered
from flue_bench.data.sources import TaskData, drawn, limited
from flue_bench.errors import UsageError, counted, quoted
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.network.network import Encoded, Floats, network_of
from flue_bench.progress import Display
from flue_bench.recipe import Recipe
from flue_bench.record import PROTOCOL, Cell, ModelRef
from flue_bench.task import REPOSITORY, SPLITS, Example, Split
from flue_bench.training import models
from flue_bench.training.models import Resolved

TOKENIZERS = 8
"""Tokenizers that are kept; of more models than so many, each is loaded again at times."""
ENCODINGS = 3 * TOKENIZERS
"""Encodings of one task that are kept, and draws of its train."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def _recent(kept: dict[Key, Value], key: Key, most: int, make: Callable[[], Value]) -> Value:
    """Return what is kept under a key, or make it; so many that were used last are kept."""
    value = kept.pop(key) if key in kept else make()
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
    return value


class TaskInputs:
    """One task's examples, and their encoding by each tokenizer."""

    def __init__(self, registered: Registered, data: TaskData) -> None:
        self.registered, self.data = registered, data
        self._splits: dict[int | None, dict[Split, list[Example]]] = {None: data.splits}
        self._train: dict[tuple[int | None, int, int], list[Example]] = {}
        self.encoded: dict[tuple[Split, tuple[int, ...], int | None, str, int], Encoded] = {}
        """Split, draw of train (rows, seed), limit, tokenizer, ``max_length`` → encoding, by ``Loader.encoded``."""
        self.soft: tuple[tuple[object, ...], Sequence[Floats]] | None = None
        """What the latest teacher says of train, behind what decides it, by ``teach.soft_labels``."""

    def limit(self, asked: int | None) -> int | None:
        """Return the limit that a cell names: None for one above the number of rows, since that is the whole run."""
        whole = max(map(len, self.data.splits.values()))
        return asked if asked is not None and asked < whole else None

    def balance(self, examples: list[Example]) -> dict[str, int]:
        """Return the distribution of the right answers, as the task's kind counts them."""
        task = self.registered.task
        return kind_named(task.kind).balance(examples, task)

    @cached_property
    def whole(self) -> dict[str, int]:
        """The balance of all rows of train."""
        return self.balance(self.data.splits["train"])

    def alone(self, limit: int | None) -> tuple[str, ...]:
        """Return in words which of validation and test a limit leaves with a single label or right answer.

        No model can be told from another there, or selected: one that always says it gets everything right.
        """
        task, notes = self.registered.task, []
        kind, splits = kind_named(task.kind), self.splits(limit)
        for split in [split for split in splits if split != "train"] if limit is not None else ():
            labels = [name for name, count in self.balance(splits[split]).items() if count and name in task.labels]
            answers = {kind.gold(example) for example in splits[split]}
            if len(labels) == 1 or len(answers) == 1:
                only = labels[0] if labels else kind.shown(splits[split][0], task)
                rows = counted(len(splits[split]), "row")
                left = f"limit {limit} leaves {split} of {task.name} {rows}"
                notes.append(
                    f"{left}, the only answer is {quoted(only)}: its scores say nothing, a higher limit is wanted"
                )
            elif why := kind.unscorable(split, splits, task):
                notes.append(f"limit {limit} leaves {split} of {task.name} rows whose scores say nothing: {why}")
        return tuple(notes)

    def train_rows(self, asked: int | None, limit: int | None) -> int | None:
        """Return the rows of train that a cell names: None for as many as there are, since that is the whole run."""
        return asked if asked is not None and asked < len(self.splits(limit)["train"]) else None

    def splits(self, limit: int | None, train_rows: int | None = None, seed: int = 0) -> dict[Split, list[Example]]:
        """Return the examples of every split that was read.

        Args:
            limit: at most this many of each.
            train_rows: draw so many rows of train; None: all.
            seed: decides the draw.
        """
        if limit not in self._splits:
            self._splits[limit] = {split: limited(examples, limit) for split, examples in self.data.splits.items()}
        splits = self._splits[limit]
        if train_rows is None:
            return splits
        draw = partial(drawn, splits["train"], train_rows, seed)
        return splits | {"train": _recent(self._train, (limit, train_rows, seed), ENCODINGS, draw)}


class Loader:
    """Finds the model, the task and the data that a cell names, and keeps them for the following cells.

    Models are hashed once, unless their files change. Examples and encodings are kept of one task at a time, and of
    tokenizers, encodings and draws those that were used last, which bounds the memory: run the cells of a task one
    after the other.

    Args:
        tasks: tasks besides the installed ones, whose names they may override.
        data_dir: the folder of manually placed data, as for ``sources.load``.
        offline: make no network call.
    """

    def __init__(
        self, tasks: Iterable[Registered] = (), *, data_dir: Path | None = None, offline: bool = False
    ) -> None:
        self.data_dir, self.offline = data_dir, offline
        self._tasks = {each.task.name: each for each in tasks}
        self._names: dict[str, Resolved] = {}
        self._digests: dict[str, Resolved] = {}
        self._stamps: dict[Path, object] = {}
        self._tokenizers: dict[str, Any] = {}
        self._inputs: TaskInputs | None = None

    def know(self, tasks: Iterable[Registered]) -> None:
        """Add tasks besides the installed ones, in place of those of the same names."""
        self._tasks |= {each.task.name: each for each in tasks}

    def find(self, cell: Cell, display: Display, model: str | None = None) -> tuple[Resolved, TaskInputs]:
        """Return the model and the task inputs that a cell names, checked to be exactly those.

        Args:
            cell: the cell to run.
            display: shows that data are being read.
            model: hub id or folder of the model; None takes the cell's own name.

        Raises:
            UsageError: it cannot be run here: another protocol, no such task, another version of it, another model or
                other data than the cell's.
            FlueBenchError: the model or the data cannot be loaded.
        """
        if cell.protocol != PROTOCOL:
            raise UsageError(f"it was made under protocol {cell.protocol}, this engine runs {PROTOCOL}")
        if cell.recipe.precision == "auto":
            raise UsageError("a cell names its precision, fp32, bf16 or fp16: 'auto' would not be the same everywhere")
        if isinstance(cell.recipe, Recipe) and cell.recipe.epochs == "auto":
            raise UsageError("a cell names its epochs: 'auto' depends on the rows")
        task, resolved = self.task(cell), self.model(cell.model, model)
        if cell.teacher:
            self.model(cell.teacher.model, option="--teacher")
        inputs = self.inputs(task, display, test="test" in cell.reads)
        if (digest := inputs.data.ref.digest) != cell.data:
            raise UsageError(f"the data of {cell.task} differ: digest {digest}, not {cell.data}")
        return resolved, inputs

    def resolve(self, name: str) -> Resolved:
        """Return a model by name, as ``models.resolve`` finds it; its files are rehashed only if they have changed."""
        resolved = self._names.get(name)
        if resolved is None or self._stamps[resolved.folder] != _stamp(resolved.folder):
            resolved = models.resolve(name, self.offline)
            self._stamps[resolved.folder] = _stamp(resolved.folder)
            self._names[name] = self._digests[resolved.ref.digest] = resolved
        return resolved

    def model(self, ref: ModelRef, name: str | None = None, option: str = "--model") -> Resolved:
        """Return the model with the content that ``ref`` names.

        Args:
            ref: the model reference of a cell.
            name: its location; None takes the hub id with its revision, the embedded name, or what was resolved before.
            option: by which a user says so.

        Raises:
            UsageError: it was a folder and ``name`` is None, or there is another model under that name.
            FlueBenchError: it cannot be loaded.
        """
        known = self._digests.get(ref.digest)
        if name is None and known is not None and self._stamps[known.folder] == _stamp(known.folder):
            return known
        if name is None:
            if ref.origin == "directory" and known is None:
                raise UsageError(f"{ref.name} was a folder: give its path with {option}")
            pattern = REPOSITORY if ref.origin == "hub" else r"embedded:[\w-]+"
            if ref.origin != "directory" and re.fullmatch(pattern, ref.name) is None:  # a record may name any place
                raise UsageError(f"{quoted(ref.name)} is no {ref.origin} model's name: give its path with {option}")
            name = f"{ref.name}@{ref.revision}" if ref.revision else ref.name
            name = str(known.folder) if known is not None and ref.origin == "directory" else name
        resolved = self.resolve(name)
        if resolved.ref.digest != ref.digest:
            raise UsageError(f"{name} is another model: digest {resolved.ref.digest}, not {ref.digest}")
        return resolved

    def called(self, ref: ModelRef) -> str:
        """Return a model's name for a line on the screen, with so much of its path as tells it from others here."""
        mine = self._digests.get(ref.digest)
        others = [each for each in self._digests.values() if each.ref.name == ref.name and each is not mine]
        if mine is None or not others:
            return ref.name
        if ref.revision:
            return f"{ref.name}@{ref.revision[:7]}"
        parts, places = mine.folder.parts, {each.folder.parts for each in others}
        lengths = (n for n in range(1, len(parts)) if all(place[-n:] != parts[-n:] for place in places))
        length = next(lengths, 0)
        return "/".join(parts[-length:]) if length else str(mine.folder)

    def task(self, cell: Cell) -> Registered:
        """Return the task that a cell names.

        Raises:
            UsageError: no such task, or another version of it.
        """
        known = registry.registered() | self._tasks
        if cell.task not in known:
            given = f" (what was given holds {', '.join(sorted(self._tasks))})" if self._tasks else ""
            raise UsageError(f"no task '{cell.task}' is installed; give its file with --task{given}")
        registered = known[cell.task]
        if registered.task.version != cell.task_version:
            raise UsageError(
                f"it is of version {cell.task_version} of {cell.task}, {registered.file} is {registered.task.version}"
            )
        return registered

    def inputs(self, registered: Registered, display: Display, *, test: bool = True) -> TaskInputs:
        """Return the examples of a task; only those of the latest task are kept.

        Args:
            registered: the task.
            display: shows that data are being read.
            test: False: the test split is not even read.

        Raises:
            FlueBenchError: as for ``sources.load``.
        """
        if self._inputs is None or (self._inputs.registered, "test" in self._inputs.data.splits) != (registered, test):
            self._inputs = None
            with display.bar(f"{registered.task.name}: reading data"):
                data = sources.load(registered, data_dir=self.data_dir, offline=self.offline, test=test)
            for deviation in data.ref.deviations:
                display.once(f"{registered.task.name}: not the canonical data: {deviation}")
            for hint in data.hints:
                display.once(f"{registered.task.name}: {hint}")
            self._inputs = TaskInputs(registered, data)
        return self._inputs

    def tokenizer(self, model: Resolved) -> Any:
        """Return the tokenizer of a model, one object for all models with the same tokenizer.

        Raises:
            ModelError: as for ``models.load_tokenizer``.
        """
        load = partial(models.load_tokenizer, model)
        return _recent(self._tokenizers, model.tokenizer_digest, TOKENIZERS, load)

    def encoded(
        self,
        inputs: TaskInputs,
        model: Resolved,
        limit: int | None,
        max_length: int,
        display: Display,
        splits: Sequence[Split] = SPLITS,
        train_rows: int | None = None,
        seed: int = 0,
    ) -> dict[Split, Encoded]:
        """Return splits as sub-word ids, at least those asked for; encoded once for models that share a tokenizer.

        Raises:
            ModelError: as for ``models.load_tokenizer``.
        """
        task, made, examples = inputs.registered.task, {}, inputs.splits(limit, train_rows, seed)

        def encode(split: Split, drawn: bool) -> Encoded:
            encoded = network_of(task).encode(examples[split], task, self.tokenizer(model), max_length)
            if encoded.truncated and not drawn:  # a line for each draw would be many; the records have them
                words = f", and {encoded.lost_words:,} words lost" if encoded.lost_words else ""
                display.line(
                    f"{task.name}: {encoded.truncated:,} of {len(examples[split]):,} {split} examples are cut at "
                    f"{max_length} sub-words{words}"
                )
            return encoded

        for split in splits:
            draw = (train_rows, seed) if train_rows is not None and split == "train" else ()
            key = (split, draw, limit, model.tokenizer_digest, max_length)
            made[split] = _recent(inputs.encoded, key, ENCODINGS, partial(encode, split, bool(draw)))
        return made


def _stamp(folder: Path) -> object:
    """Return a value that changes when one of the files that make a model's identity is written."""
    patterns = (model_files.CONFIG, *model_files.SAFETENSORS, *model_files.BIN, *model_files.TOKENIZER_FILES)
    try:
        names = model_files.matching([path.name for path in folder.iterdir()], patterns)
        stats = [(name, (folder / name).stat()) for name in names]
    except OSError:
        return None
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
