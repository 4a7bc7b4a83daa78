"""What transformers sees of a model's directory: the files that were hashed, and nothing else.

A model's identity is the hash of its configuration, weights and tokenizer. transformers would load more than that where
a directory says so: other weights, adapters, configurations for other versions, kernels from the hub. So it is shown a
folder that holds the hashed files alone, and what would still lead elsewhere is refused.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from flue_bench import files
from flue_bench.errors import ModelError, quoted

LARGEST = 2**24
"""No number of a configuration is larger: not a vocabulary, not a length."""
LAYERS = 1000
MODULES = 4_000
"""Layers, blocks, groups and experts of a model, multiplied."""
REPEATED = re.compile(r"(layer|group|expert|block|stage)(s|_num)?$|depths?$")
"""Keys whose numbers say how often a part of a network is built."""
TOKENIZER_BYTES = 2**26
"""Of each file of a tokenizer; the largest of multilingual encoders have 34 MB."""

REFUSED = {
    "transformers_weights": "other weights than model.safetensors are loaded by it",
    "configuration_files": "another configuration than config.json is loaded by it",
    "quantization_config": "quantised weights cannot be fine-tuned",
}
"""Keys of config.json, at any depth, and why they are not accepted."""


def root_of(folder: Path) -> Path:
    """What the links of a model's directory may lead to: itself, or the repository in the hub's cache it belongs to."""
    return folder.parents[1] if folder.parent.name == "snapshots" else folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's directory; empty where there is none."""
    try:
        value = json.loads(files.read(path, root=root_of(path.parent)))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def check_config(folder: Path, name: str) -> None:
    """Refuse a config.json that leads elsewhere, or asks for more than any model needs, before transformers reads it.

    Raises:
        ModelError: names the key.
    """
    repeated: dict[str, int] = {}
    try:
        content = json.loads(files.read(folder / "config.json", root=root_of(folder)))
        for key, value in _values(content):
            if key in REFUSED and value not in (None, {}, []):
                raise ModelError(f"{name}: config.json has '{key}', which is refused: {REFUSED[key]}.")
            if not isinstance(value, int):
                continue
            found = REPEATED.search(key)
            if abs(value) > (LAYERS if found else LARGEST):
                raise ModelError(f"{name}: config.json has '{key}': {quoted(value)}: no model is that large.")
            if found:
                repeated[found[0]] = max(value, repeated.get(found[0], 1))
        if (modules := math.prod(repeated.values())) > MODULES:
            raise ModelError(f"{name}: config.json asks for {modules:,} layers: no model has so many.")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error) or "nested too deep"
        raise ModelError(f"{name}: config.json cannot be used: {reason}.") from None


def check_index(folder: Path, name: str, hashed: Iterable[str]) -> None:
    """Refuse an index of weights that names other files than those which are hashed.

    Raises:
        ModelError: names the file.
    """
    known = set(hashed)
    for index in sorted(file for file in known if file.endswith(".index.json")):
        named = read_json(folder / index).get("weight_map")
        if not isinstance(named, dict):
            raise ModelError(f"{name}: {index} has no 'weight_map'.")
        for file in named.values():
            if file not in known:
                raise ModelError(f"{name}: {index} names {quoted(file)}, which is not one of its weight files.")


def check_size(config: Any, width: int, weights_bytes: int, name: str) -> None:
    """Refuse a configuration whose embeddings alone would be many times the weights that are there.

    Raises:
        ModelError: says so.
    """
    for key in ("vocab_size", "max_position_embeddings", "type_vocab_size", "intermediate_size", "hidden_size"):
        rows = getattr(config, key, None)
        if isinstance(rows, int) and rows * width > 4 * weights_bytes + 2**24:
            raise ModelError(
                f"{name}: '{key}' of config.json is {rows:,}: more than its weights of {weights_bytes:,} bytes can "
                "hold. Is config.json that of these weights?"
            )


def check_parameters(loader: Any, config: Any, weights_bytes: int, name: str) -> None:
    """Refuse a network of many times the numbers that its weights hold, before memory is taken for them.

    Raises:
        ModelError: says so.
    """
    try:
        with torch.device("meta"):  # shapes alone
            network = loader.from_config(copy.deepcopy(config))
    except Exception:  # from_pretrained will say what is wrong, or build what cannot be built so
        return
    numbers = sum(each.numel() for each in (*network.parameters(), *network.buffers()))
    if numbers > 4 * weights_bytes + 2**24:
        raise ModelError(
            f"{name}: config.json describes a network of {numbers:,} numbers, more than its weights of "
            f"{weights_bytes:,} bytes can hold. Is config.json that of these weights?"
        )


def own_switches(config: Any) -> None:
    """Set how a model is computed to transformers' defaults, whatever its configuration says."""
    config._attn_implementation = None
    config._experts_implementation = None
    config.output_attentions = False
    config.output_hidden_states = False


@contextmanager
def alone(folder: Path, names: Iterable[str], name: str) -> Iterator[Path]:
    """A folder in which there are these files of a model's directory, and no others.

    Args:
        folder: the model's directory.
        names: of the files; those that are not there are left out.
        name: what messages call the model.

    Raises:
        ModelError: one of them is no regular file, is too large, or a link leads out of the directory.
    """
    with TemporaryDirectory(prefix="flue-bench-model-") as view:
        for file in names:
            if not (folder / file).is_file():
                continue
            try:
                with files.opened(folder / file, root_of(folder)) as opened:
                    size = os.fstat(opened.fileno()).st_size
            except OSError as error:
                raise ModelError(
                    f"{name}: {file} cannot be read: {error.strerror}. Put the file itself there."
                ) from None
            if size > TOKENIZER_BYTES and not file.endswith((".safetensors", ".bin")):
                raise ModelError(f"{name}: {file} has {size:,} bytes, and {TOKENIZER_BYTES:,} is the limit.")
            _show(Path(os.path.realpath(folder / file)), Path(view) / file)
        yield Path(view)


def _show(real: Path, shown: Path) -> None:
    if shown.name == "tokenizer_config.json":
        content = read_json(real)
        # Places of files, which transformers has opened as they stood; and tokenizers for other versions of it.
        elsewhere = {key for key in content if key.endswith("_file")} | {"fast_tokenizer_files"}
        if content.keys() & elsewhere:
            kept = {key: value for key, value in content.items() if key not in elsewhere}
            shown.write_text(json.dumps(kept), encoding="utf-8")
            return
    try:
        shown.symlink_to(real)
    except OSError:  # Windows, without the right to make links
        shutil.copyfile(real, shown)


def _values(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a JSON value with what it holds, at any depth."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield name, value
            yield from _values(value, name)
    elif isinstance(content, list):
        for value in content:
            yield key, value
            yield from _values(value, key)
