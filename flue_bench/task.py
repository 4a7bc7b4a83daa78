"""The definition of a task, its sources, and its examples. A task file is the TOML form of ``Task``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from flue_bench import field
from flue_bench.errors import TaskFileError, UnknownNameError, address, faults, quoted
from flue_bench.recipe import Recipe

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Scheme = Literal["IO", "IOB1", "IOB2"]
"""How labels encode entities; ``kinds.tokens.entity_counts`` says what each means."""
ReadScheme = Literal["BILOU", "IOBES"]
"""Schemes that are read and turned into IOB2."""
AS_IOB2: dict[str, dict[str, str]] = {"BILOU": {"L-": "I-", "U-": "B-"}, "IOBES": {"E-": "I-", "S-": "B-"}}
"""The prefixes that such a scheme has beside B- and I-, and what they are in IOB2."""

CONVERTED = "refs/convert/parquet"
"""The branch where the hub keeps its own parquet copy of a data set."""
REPOSITORY = r"\w[\w.-]*(?:/\w[\w.-]*)?"
"""Pattern of a repository's name on the hub; no part of it means another folder where it becomes part of a path."""
REVISION = r"\w[\w.-]*(?:/\w[\w.-]*)*"
"""Pattern of a commit, branch or tag: likewise."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a split. ``label`` and ``tags`` index ``Task.labels``.

    A kind of task whose examples hold more subclasses this. The digest of the data covers the fields of the type, in
    their order: a new field belongs in a subclass, so that the digests of other kinds stay the same.
    """

    id: str
    group: str
    """A hash of what examples share: the premise, the source sentence, the text. Splits never divide a group."""
    text: str = ""
    text_pair: str | None = None
    words: tuple[str, ...] = ()
    label: int = -1
    tags: tuple[int, ...] = ()


Reader = Callable[[Path, Split, "Task"], Iterable[Example]]
"""A Python reader, named by its entry point (group ``flue_bench.readers``): ``(folder, split, task) → examples``.

``folder`` holds what the source's ``hub`` or ``archives`` fetched, or else the task file. A split that the source lacks
is an empty iterable. A reader raises ``DataError`` for what cannot be read.
"""


def nfc(text: str) -> str:
    """Return a text in Unicode's NFC, in which texts and names are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class Schema(BaseModel):
    """Base of everything that is declared or recorded: values are frozen, and an unknown key is an error.

    Numbers are finite and texts at most 100,000 characters long, unless a field says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=100_000)


LABELS = 10_000
"""The largest number of labels of a task."""
Short = Annotated[str, Field(max_length=1000)]
Shorts = Annotated[tuple[Short, ...], Field(max_length=LABELS)]
Name = Annotated[Short, AfterValidator(nfc)]
"""A name of a label or a column."""
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""A whole number that every reader of JSON reads exactly."""
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]


def _plain(value: Any, depth: int = 8) -> Any:
    """Refuse with ``ValueError`` what is nested deeply, and half of a surrogate pair, which no file can hold."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list | tuple):
        if not depth:
            raise ValueError("tables and lists are nested too deeply")
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            _plain(item, depth - 1)
    return value


Options = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Settings that one kind of task alone has."""


Column = Name | Count
"""A column's name, or its number (from 0) in a file without a header."""
Columns = dict[Name, Column | dict[Name, Column] | tuple[Column, ...]]
"""The column of each field of a row; or several columns, for a field that its kind may gather (``Kind.gathered``).

A field that the task's kind needs and that is missing here is read from the column of the same name.
"""


Conditions = dict[Name, Annotated[bool, Field(strict=True)] | Whole | float | Name]
"""A column → its value: a text, a number (of a text file too), true or false; an empty text stands for null too."""


class SplitFiles(Schema):
    """The files of one split, and the settings that apply to them alone."""

    path: str
    """Relative path or glob, ``/``-separated."""
    columns: Columns | None = None
    """Instead of the source's."""
    where: Conditions | None = None
    """Keep only the rows whose columns have these values; instead of the source's."""


def _of_file(url: str) -> str:
    """Accept the http(s) address of a file. The address itself is quoted only as far as it holds no secret."""
    shown = address(url)
    if not re.fullmatch(r"https?://[^/]+/.*[^/]/*", shown):
        there = address(url) if re.search("[@?#]", url) else quoted(url)
        raise ValueError(f"should be the http(s) address of a file, not {there}")
    return url


class Archive(Schema):
    """An upstream archive, and how it is recognised if a server sends a log-in page instead."""

    url: Annotated[str, AfterValidator(_of_file)]
    size: Positive | None = None
    """Bytes."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @property
    def name(self) -> str:
        """The name of the archive's file."""
        return urlsplit(self.url).path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def shown(self) -> str:
        """The address without user, password and query: they may be secrets."""
        return address(self.url)

    @model_validator(mode="after")
    def _names_a_file(self) -> Archive:
        if not self.name.strip(".") or len(self.name) > 200 or re.search(r"[\x00-\x1f\x7f\\:]", self.name):
            raise ValueError(f"the address ends in {quoted(self.name)}, which is no name of a file")
        return self


def _alone(key: str) -> BeforeValidator:
    """Let a string replace a table that has only this key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


def _mark(text: str) -> str:
    if len(text) != 1 or text in '"\r\n':
        raise ValueError(f"{quoted(text)} should be one character, and neither a quote nor the end of a line")
    return text


def _codec(name: str) -> str:
    try:
        "".encode(name)  # a codec of text, not of bytes
    except LookupError:
        raise ValueError(
            f"'{name}' is not an encoding that Python knows; common ones are utf-8, cp1252, utf-16"
        ) from None
    return name


class Source(Schema):
    """Where a task's examples come from: ``hub``, ``archives``, or neither (files on disk, or a reader)."""

    hub: str | None = Field(default=None, pattern=f"^{REPOSITORY}$", max_length=200)
    """A dataset repository, ``org/name``. Its scripts are never run: ``files`` are fetched and read."""
    revision: str | None = Field(default=None, pattern=rf"^(\w[\w.-]*|{CONVERTED})$", max_length=200)
    """The commit, required with ``hub``. A branch such as ``main`` is resolved when the data are loaded, and the record
    names the commit; it can move, so that its data are never canonical."""
    archives: tuple[Annotated[Archive, _alone("url")], ...] = ()
    """Upstream archives (tar.*, zip, bz2), unpacked side by side into one folder."""
    access: str = ""
    """What has to be requested to get this source, and where; shown whenever the source is missing."""
    files: dict[Split, Annotated[SplitFiles, _alone("path")]] = Field(default_factory=dict)
    """Relative to the repository, the archive, ``--data-dir``/NAME, or the task file's folder."""
    rows: dict[Split, tuple[dict[str, Any], ...]] = Field(default_factory=dict, repr=False)
    """The rows themselves, each as column → value, instead of files: ``Task.from_examples`` makes such a source."""
    reader: str | None = None
    """Entry-point name (group ``flue_bench.readers``) of a Python reader, for formats the engine does not know."""
    delimiter: Annotated[str, AfterValidator(_mark)] | None = None
    """Column separator of a text file; by default a comma in a CSV, else a tab, or blanks in CoNLL columns."""
    quoting: bool | None = None
    """Whether fields of a CSV or TSV may be enclosed in double quotes; by default those of a CSV may."""
    encoding: Annotated[str, AfterValidator(_codec)] = "utf-8"
    """Encoding of the text files: any that Python knows."""
    separator: str | None = Field(default=None, min_length=1, max_length=10)
    """What parts several labels in one cell of text; blanks around it do not matter."""
    scheme: ReadScheme | None = None
    """How the tags of this source encode entities, where they are to be turned into the task's IOB2."""
    columns: Columns = Field(default_factory=dict)
    where: Conditions = Field(default_factory=dict)
    label_names: Annotated[dict[Name, Name], Field(max_length=LABELS)] = Field(default_factory=dict)
    """A label's name in the file, or its number → its name in the task. Booleans are called true and false."""
    drop_if: Conditions = Field(default_factory=dict)
    """Drop rows in which one of these columns has this value (PAWS-X's placeholder "NS")."""

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.hub and self.archives:
            raise ValueError("a source has 'hub' or 'archives', not both")
        if self.hub and not self.revision:
            raise ValueError(f"'hub = \"{self.hub}\"' needs a pinned 'revision'")
        if self.rows and (self.hub or self.archives or self.files or self.reader):
            raise ValueError("a source with 'rows' has its examples there: leave out hub, archives, files and reader")
        if not self.files and not self.reader and not self.rows:
            raise ValueError("a source needs 'files' or a 'reader'")
        return self

    @property
    def by_hand(self) -> str:
        """An instruction that says which files to put where under ``--data-dir``."""
        names = [f"{self.hub}/"] if self.hub else [archive.name for archive in self.archives]
        names = names or [files.path for files in self.files.values()]
        return f"Save what you receive as {' and '.join(f'D/{name}' for name in names)} and give --data-dir D."

    @property
    def by_user(self) -> bool:
        """Whether it is files alone, which whoever runs the task has put beside its task file or under --data-dir."""
        return bool(self.files) and not self.hub and not self.archives

    @property
    def pinned(self) -> bool:
        """Whether the source's content is fixed: false for a branch of the hub."""
        return not self.hub or re.fullmatch(r"[0-9a-f]{40}", self.revision or "") is not None

    @property
    def label(self) -> str:
        """The name of this source in records and messages."""
        if self.hub:
            return f"hub:{self.hub}@{(self.revision or '')[:12]}"
        if self.archives:
            return "archive:" + ",".join(archive.name for archive in self.archives)
        if self.rows:
            return "memory"
        return f"reader:{self.reader}" if not self.files else "files"


class Cut(Schema):
    """How a missing split is cut from train: whole groups, stratified by label, by a seeded hash (no library's RNG)."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of train."""
    test: float = Field(default=0.0, ge=0, lt=1)
    """Share of train, cut before validation; 0 where the source has a test split."""
    seed: Count = 0


Counts = Annotated[
    tuple[Count, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
]
"""Row counts, each of which is canonical; in a task file one number or a list."""


_OTHER_NAMES = {"BIO": "IOB2", "BIO2": "IOB2", "IOB": "IOB1", "BILUO": "BILOU", "BIOUL": "BILOU", "BIOES": "IOBES"}


def _known_name(name: Any) -> Any:
    """Return a scheme's name; raise ``ValueError`` for another one, with the name that is used here."""
    if name is None or name in (*get_args(Scheme), *AS_IOB2):
        return name
    ours = _OTHER_NAMES.get(str(name).upper(), str(name).upper())
    known = "IO, IOB1, IOB2, BILOU and IOBES are known"
    raise ValueError(f"'{name}' is called {ours} here; {known}" if ours in known else f"no scheme '{name}'; {known}")


class Task(Schema):
    """A task, as its TOML file declares it. A change of data, labels or metric is a new ``version``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=200)
    version: Positive = 1
    title: Short = ""
    kind: str
    """The name of a ``flue_bench.kinds.kind.Kind``, which checks this task when the registry reads it."""
    labels: Annotated[tuple[Name, ...], Field(max_length=LABELS)] = ()
    """Names of the classes or tags; none for a kind without labels."""
    metric: str
    """The headline metric: selects the best epoch, heads the board."""
    scheme: Annotated[Scheme | None, BeforeValidator(_known_name)] = None
    """Tokens only: how entities are written in ``labels``. BILOU and IOBES are of the files, and become IOB2."""
    options: Options = Field(default_factory=dict)
    """Settings that only this kind has."""
    groups: Shorts = ()
    """Names of groups of tasks that this task belongs to; they are accepted wherever a task is."""
    column: Short = ""
    """Tasks that share a column are averaged there, as FLUE does with CLS's three categories. Default: the name."""
    source: tuple[Source, ...] = Field(min_length=1)
    """Tried in order; the record says which one served."""
    split: Cut = Cut()
    train_from: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=200)
    """The task whose train and validation rows are used, where this one has only a test split."""
    rows: dict[Split, Counts] = Field(default_factory=dict)
    """Canonical row counts, as published, before anything is cut; several where it is unclear which one is right."""
    recipe: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Name → what differs from ``Recipe``'s defaults. ``standard`` and those of ``flue_bench.field`` always exist."""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    notes: str = ""
    _file: Path | None = PrivateAttr(None)
    """The task file, beside which a source without ``hub`` and ``archives`` has its files; None for a task made in
    Python, whose files are relative to the current folder."""

    @model_validator(mode="before")
    @classmethod
    def _in_iob2(cls, declared: Any) -> Any:
        """Turn labels of BILOU or IOBES into IOB2, and note in each source what its tags are."""
        given = str(declared.get("scheme")) if isinstance(declared, dict) else ""
        labels, sources = (declared.get(key) for key in ("labels", "source")) if given in AS_IOB2 else (None, None)
        if not isinstance(labels, list | tuple) or not isinstance(sources, list | tuple):
            return declared
        read = {"scheme": given}
        return declared | {
            "scheme": "IOB2",
            "labels": tuple(dict.fromkeys(in_iob2(label, given) for label in labels)),
            "source": [read | source if isinstance(source, dict) else source for source in sources],
        }

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("'labels' holds a label twice")
        wanted: Split = "train" if self.train_from is None else "test"
        for number, source in enumerate(self.source):
            brought: dict[str, Mapping[Split, Any]] = {"files": source.files, "rows": source.rows}
            for key, splits in brought.items():
                if splits and not splits.get(wanted):
                    raise ValueError(f"source[{number}]: '{key}' needs at least '{wanted}'")
            if self.train_from is not None and (source.files.keys() | source.rows.keys()) - {"test"}:
                raise ValueError(f"source[{number}].files: only 'test', since 'train_from' says what to train on")
        if self.train_from is not None and self.rows.keys() - {"test"}:
            raise ValueError("rows: only 'test', since 'train_from' says what to train on")
        for name in self.recipe:
            self.named_recipe(name)
        return self

    @classmethod
    def from_examples(
        cls,
        name: str,
        kind: str,
        *,
        metric: str,
        train: Iterable[Mapping[str, Any]] = (),
        validation: Iterable[Mapping[str, Any]] = (),
        test: Iterable[Mapping[str, Any]] = (),
        labels: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        label_names: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Self:
        """Return a task whose examples are in memory.

        They are checked, cut and digested as rows of a file are: equal rows have the same digest, wherever they are.

        Args:
            name: the task's name, of lower-case letters, digits, dots and hyphens.
            kind: sentence, sentence-pair, tokens, regression, multi-label, multiple-choice, question-answering, senses,
                or an installed one.
            metric: the headline metric.
            train: rows, each a mapping from column to value: ``text``, ``text_pair`` and ``label``, or ``words`` and
                ``tags``, ``text`` and ``value`` or ``labels``, …; a data frame's are ``frame.to_dict("records")``. None
                for a test set alone, whose ``train_from`` names the task to train on.
            validation: none: cut from train.
            test: none: cut from train, if ``split={"test": 0.2}`` says how much.
            labels: names of the classes or tags.
            columns: the kind's name of a column → its name in the rows, where it differs.
            label_names: a label's name in the rows → its name in ``labels``, where it differs.
            settings: other fields of a task: ``scheme``, ``split``, ``recipe``, ``version``, …; and of its source
                ``where``, ``drop_if`` and ``separator``.

        Raises:
            TaskFileError: the task is not valid, or a row is no mapping.
        """
        rows = {"train": train, "validation": validation, "test": test}
        given = {split: _in_memory(f"task {name}: {split}", rows_of) for split, rows_of in rows.items()}
        source = {
            "rows": {split: rows_of for split, rows_of in given.items() if rows_of},
            "columns": dict(columns or {}),
            "label_names": dict(label_names or {}),
        }
        if not source["rows"]:
            raise TaskFileError(f"task {name}: there are no rows: give train, or test alone with train_from.")
        source |= {key: settings.pop(key) for key in ("where", "drop_if", "separator") if key in settings}
        declared = {"name": name, "kind": kind, "metric": metric, "labels": tuple(labels), "source": (source,)}
        try:
            return cls.model_validate(settings | declared)
        except ValidationError as error:
            raise TaskFileError("\n".join(f"task {name}: {fault}." for fault in faults(error)[:2])) from None

    @property
    def board_column(self) -> str:
        """The board's column that this task belongs to."""
        return self.column or self.name

    def named_recipe(self, name: str) -> Recipe:
        """Return the complete recipe of this name.

        Raises:
            UnknownNameError: this task has no recipe of that name, or the recipe has an unknown field.
        """
        if name not in self.recipe and name in field.RECIPES:
            return Recipe().override(dict(field.RECIPES[name].fields))
        if name not in self.recipe and name != "standard":
            hint = f"It is a search: --search {name}." if name in field.SEARCHES else ""
            known = {"standard", *self.recipe, *field.RECIPES}
            raise UnknownNameError("recipe", name, known, hint, of=f"Task {self.name}")
        return Recipe().override(self.recipe.get(name, {}))


def _in_memory(where: str, rows: Any) -> tuple[dict[str, Any], ...]:
    """Return rows as they are kept; raise ``TaskFileError`` for what are none, such as a data frame itself."""
    if rows is None:
        return ()
    given = tuple(rows) if isinstance(rows, Iterable) and not isinstance(rows, Mapping) else (rows,)
    for row in given:
        if not isinstance(row, Mapping) or row is rows:
            raise TaskFileError(
                f"{where}: expected rows, each a mapping from column to value, not {quoted(row)}. Those of a data "
                'frame are frame.to_dict("records").'
            )
    return tuple(map(dict, given))


def in_iob2(tag: Any, written: str) -> Any:
    """Return a tag that is written in BILOU or IOBES as IOB2 has it; anything else as it is."""
    prefixes = AS_IOB2[written]
    return prefixes[tag[:2]] + tag[2:] if isinstance(tag, str) and tag[:2] in prefixes else tag
