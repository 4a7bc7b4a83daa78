"""Pickles that would take for ever or any memory are refused before they are unpickled; those of torch.save are not."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from flue_bench.training import checkpoint, pickles
from support.tiny import tiny


def nested(depth: int = 60, wrap: Callable[[Any], Any] = lambda value: (value, value)) -> bytes:
    """A pickle in which each of ``depth`` containers holds the one before twice."""
    value: Any = wrap(1)
    for _ in range(depth):
        value = wrap(value)
    return pickle.dumps(value, 2)[2:-1]


TORCH = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
MANY = b"\x8a\x06\x00\x00\x00\x00\x00\x01"
HUGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + MANY + b"tQ"
HOSTILE = {
    "nested tuples as a key": b"\x80\x02}" + nested() + b"K\x01s.",
    "nested tuples": b"\x80\x02}X\x01\x00\x00\x00a" + nested() + b"s.",
    "nested lists": b"\x80\x02}X\x01\x00\x00\x00a" + nested(wrap=lambda value: [value, value]) + b"s.",
    "nested tuples as shape": TORCH + HUGE.replace(MANY, b"K\x00") + b"K\x00" + nested() + b")\x89)tR.",
    "a tuple as a key": pickle.dumps({(1, 2): 3}, 2),
    "an OrderedDict of pairs": b"\x80\x02ccollections\nOrderedDict\n]]K\x01aK\x01aa\x85R.",
    "a key of an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n]]" + nested() + b"aK\x01aa\x85R.",
    "a bytearray": b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x70\x85R.",
    "a storage": b"\x80\x02ctorch\nFloatStorage\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
    "numbers that are not there": TORCH + HUGE + b"K\x00))\x89)tR.",
    "a set": pickle.dumps({1, 2}, 2),
    "a Counter": pickle.dumps(Counter("ab"), 2),
    "a later protocol": pickle.dumps({"a": frozenset((1, 2))}, 4),
}


def hostile(case: str, archive: bool, path: Path) -> None:
    if archive:
        torch.save({}, path)
        with zipfile.ZipFile(path) as made:
            entries = {name: made.read(name) for name in made.namelist()}
        with zipfile.ZipFile(path, "w") as made:
            for name, content in entries.items():
                made.writestr(name, HOSTILE[case] if name.endswith("/data.pkl") else content)
    else:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        start = path.read_bytes()
        empty = pickle.dumps({}, 2)
        assert start.count(empty) == 1
        path.write_bytes(start.replace(empty, HOSTILE[case]))


LIMITED = """
import resource, sys
from flue_bench.errors import FlueBenchError
from flue_bench.training import checkpoint, device, models
resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
for read in (lambda: models.resolve(sys.argv[1]), lambda: checkpoint.load(models.Path(sys.argv[2]))):
    try:
        read()
    except FlueBenchError as error:
        print(error)
print(device.peak_memory(device.torch.device("cpu")) < 2**31)  # this process's own, not what it inherits from pytest's
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process")
@pytest.mark.parametrize("case", ["nested tuples as a key", "a bytearray"])
def test_a_pickle_that_takes_for_ever_or_any_memory_is_refused(case: str, tmp_path: Path) -> None:
    """As weights and as a checkpoint."""
    model = tiny("camembert", tmp_path / "modele")
    (model / "model.safetensors").unlink()
    hostile(case, True, model / "pytorch_model.bin")
    hostile(case, True, tmp_path / checkpoint.FILE)
    done = subprocess.run([sys.executable, "-c", LIMITED, model, tmp_path], capture_output=True, text=True, timeout=200)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and len(said) == 3 and said[2] == "True", (done.stdout, done.stderr)
    assert "pytorch_model.bin holds more than tensors" in said[0] and "checkpoint.pt cannot be read (" in said[1]


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_state_dictionary_needs_is_refused(case: str, archive: bool, tmp_path: Path) -> None:
    hostile(case, archive, tmp_path / "file.bin")
    with pytest.raises(pickles.UnfitPickle):
        pickles.check(tmp_path / "file.bin")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.bin", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 2**20 + b"N.")
    with pytest.raises(pickles.UnfitPickle, match="compressed"):
        pickles.check(tmp_path / "file.bin")


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_what_torch_saves_passes(archive: bool, tmp_path: Path) -> None:
    """Shared weights, views, parameters, an optimizer's state, and plain values of every kind."""
    network = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9), nn.LayerNorm(9))
    network[1].weight = network[0].weight
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.arange(9)).sum().backward()
    optimizer.step()
    kinds = [
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.bool,
    ]
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "of types": [torch.ones(3).to(kind) for kind in kinds],
        "views": [torch.ones(4, 4)[1:], torch.ones(4, 4).T, torch.ones(1).expand(5), torch.ones(0)],
        "parameter": nn.Parameter(torch.ones(2)),
        "random": torch.get_rng_state(),
        "plain": [None, True, 1, -1, 2**40, 0.5, "é", (), (1,), (1, 2, 3, 4), {"a": [1]}, OrderedDict(a=1)],
        "long": list(range(3000)),
    }  # fmt: skip
    torch.save(state, tmp_path / "file.bin", _use_new_zipfile_serialization=archive)
    pickles.check(tmp_path / "file.bin")
