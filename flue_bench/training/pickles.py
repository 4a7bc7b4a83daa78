"""Files of ``torch.save`` whose pickles are read through before they are unpickled.

``torch.load(weights_only=True)`` runs no code of others, but a few hundred bytes can still make it work for ever or
take any memory: tuples that hold each other twice, thirty deep, as the key of a dictionary; a ``bytearray`` of a size
that the file names. What a state dictionary consists of needs neither.
"""

from __future__ import annotations

import io
import os
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from flue_bench import files

REBUILT = {f"torch._utils _rebuild_{name}" for name in ("tensor_v2", "tensor_v3", "parameter")}
"""Functions that a pickle may call, with any arguments; what they return is a tensor."""
EMPTY = "collections OrderedDict"
"""A class that it may call, without arguments."""
STORAGES = {
    f"torch {name}Storage": size
    for name, size in {
        "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1,
        "Bool": 1, "Untyped": 1,
    }.items()
} | {"torch.storage UntypedStorage": 1}  # fmt: skip
"""Types of storage and the bytes of an element."""
DTYPES = {str(each).replace(".", " ") for each in vars(torch).values() if isinstance(each, torch.dtype)}
KNOWN = REBUILT | {EMPTY} | STORAGES.keys() | DTYPES
"""All that a pickle may name."""
ATOMS = {
    "BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "LONG1", "NEWFALSE", "NEWTRUE", "NONE", "SHORT_BINSTRING",
}  # fmt: skip
SHORT = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MOST = 2**22
"""Values that a container may hold, those of the containers in it included each time they occur."""
ALL = None
"""Key of the sum of the storages' bytes."""


class UnfitPickle(Exception):
    """A pickle asks for something that no state dictionary needs."""


class _Value:
    """What is known of a value: how many values it holds, and whether it is a tuple, a global name or a number."""

    __slots__ = ("content", "held", "kind", "placed")

    def __init__(self, kind: str, content: Any = None, held: int = 1) -> None:
        self.kind = kind
        self.content = content
        self.held = held
        self.placed = False


def check(path: Path, root: Path | None = None) -> None:
    """Read the pickles of a file of ``torch.save`` through without building any object.

    Args:
        path: of the file.
        root: as for ``files.opened``.

    Raises:
        UnfitPickle: one asks for other than tensors and plain values, for more memory than the file has bytes, or
            holds values that would take for ever to hash or to show.
        Exception: whatever the readers raise for a damaged file.
    """
    with files.opened(path, root) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            storages: dict[str | None, int] = {}
            for _ in range(5):  # a magic number, the protocol, the system, the object, the keys of storages
                _scan(file, size, storages)
            return
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > size:
                raise UnfitPickle("its archive is compressed, or has parts that overlap")
            if any(e.filename.lower().endswith("data.pkl") and e.file_size > files.SMALL for e in entries):
                raise UnfitPickle(f"its data.pkl has more than {files.SMALL:,} bytes")
        file.seek(0)
        # torch's own reader, so that what is read through here is what it unpickles.
        _scan(io.BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl")), size, {})


def _scan(file: BinaryIO, size: int, storages: dict[str | None, int]) -> None:
    """Follow one pickle on a stack of ``_Value``; ``storages``: bytes of each by its key, and of all."""
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[int, _Value] = {}
    start = file.tell()

    def popped(count: int) -> list[_Value]:
        if count > len(stack) - (marks[-1] if marks else 0):
            raise UnfitPickle("its stack runs empty")
        taken = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return taken

    def since_mark() -> list[_Value]:
        if not marks:
            raise UnfitPickle("a mark is missing")
        taken = stack[marks[-1] :]
        del stack[marks.pop() :]
        return taken

    def top() -> _Value:
        if not stack or (marks and marks[-1] == len(stack)):
            raise UnfitPickle("its stack runs empty")
        return stack[-1]

    def put(into: _Value, taken: list[_Value]) -> None:
        for value in taken:
            value.placed = True
        into.held += sum(value.held for value in taken)
        if into.held > MOST:
            raise UnfitPickle(f"its containers, each counted where it occurs, hold more than {MOST:,} values")

    argument: Any
    for number, (code, argument, position) in enumerate(pickletools.genops(file)):
        name = code.name
        if number % 1024 == 0 and (position or 0) - start > files.SMALL:
            raise UnfitPickle(f"a pickle in it has more than {files.SMALL:,} bytes")
        if name in ATOMS:
            stack.append(_Value("atom", argument))
        elif name in ("PROTO", "STOP"):
            pass
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "GLOBAL":
            if argument not in KNOWN:
                raise UnfitPickle(f"it holds {str(argument).replace(' ', '.')[:100]}")
            stack.append(_Value("global", argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = top()
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in memo:
                raise UnfitPickle("it refers to a value that is not there")
            stack.append(memo[argument])
        elif name == "TUPLE" or name in SHORT:
            taken = since_mark() if name == "TUPLE" else popped(SHORT[name])
            made = _Value("tuple", taken)
            put(made, taken)
            stack.append(made)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(_Value("list" if name == "EMPTY_LIST" else "dict"))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS"):
            pairs = name.startswith("SET")
            taken = since_mark() if name.endswith("S") else popped(2 if pairs else 1)
            if top().placed or top().kind != ("dict" if pairs else "list"):
                raise UnfitPickle("something is added to what is no list or dictionary, or is complete")
            if pairs and (len(taken) % 2 or any(key.kind != "atom" for key in taken[::2])):
                raise UnfitPickle("the key of a dictionary is neither text nor a number")
            put(top(), taken)
        elif name == "REDUCE":
            function, arguments = popped(2)
            if arguments.kind != "tuple" or function.kind != "global":
                raise UnfitPickle("it calls what is no function")
            if function.content in REBUILT:
                stack.append(_Value("tensor"))
            elif function.content == EMPTY and not arguments.content:
                stack.append(_Value("dict"))
            else:
                raise UnfitPickle(f"it calls {function.content.replace(' ', '.')}")
        elif name == "BUILD":
            (state,) = popped(1)
            if top().kind != "dict" or top().placed or state.kind != "dict":
                raise UnfitPickle("it sets the state of what is no dictionary")
            put(top(), [state])
        elif name == "BINPERSID":
            (saved,) = popped(1)
            stack.append(_storage(saved, size, storages))
        else:
            raise UnfitPickle(f"it has the instruction {name}, which torch.save does not write")


def _storage(saved: _Value, size: int, storages: dict[str | None, int]) -> _Value:
    """Count the bytes of a storage that a pickle refers to: all of them lie in the file."""
    parts = saved.content if saved.kind == "tuple" else []
    if len(parts) not in (5, 6) or parts[1].kind != "global" or parts[1].content not in STORAGES:
        raise UnfitPickle("it refers to what is no storage")
    key, numbers = parts[2].content, parts[4].content
    if not isinstance(key, str) or not isinstance(numbers, int):
        raise UnfitPickle("it refers to what is no storage")
    taken = max(0, numbers * STORAGES[parts[1].content] - storages.get(key, 0))
    storages[key] = storages.get(key, 0) + taken
    storages[ALL] = storages.get(ALL, 0) + taken
    if numbers < 0 or storages[ALL] > size:
        raise UnfitPickle("it asks for more memory than the file has bytes")
    return _Value("storage")
