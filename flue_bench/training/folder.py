"""What transformers sees of a model's folder: the files that were hashed, and nothing else.

A model's identity is the hash of its configuration, weights and tokenizer. transformers would load more than that where
a folder says so: other weights, adapters, configurations for other versions, kernels from the hub. So it is shown a
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
from safetensors import safe_open

from flue_bench import files
from flue_bench.errors import ModelError, quoted
from flue_bench.training import pickles

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
    """What the links of a model's folder may lead to: itself, or the repository in the hub's cache it belongs to."""
    return folder.parents[1] if folder.parent.name == "snapshots" else folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder; empty where there is none."""
    try:
        value = _loaded(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _loaded(path: Path) -> Any:
    """Return the JSON in a file of a model's folder; raise ``ValueError`` for half of a surrogate pair in it too."""
    value = json.loads(files.read(path, root=root_of(path.parent)))
    json.dumps(value, ensure_ascii=False).encode()
    return value


def check_config(folder: Path, name: str) -> None:
    """Refuse a config.json that leads elsewhere, or asks for more than any model needs, before transformers reads it.

    Raises:
        ModelError: names the key.
    """
    repeated: dict[str, int] = {}
    try:
        content = _loaded(folder / "config.json")
        for key, value in _values(content):
            if key in REFUSED and value not in (None, {}, []):
                raise ModelError(f"{name}: config.json has '{key}', which is refused: {REFUSED[key]}.")
            if not isinstance(value, int):
                continue
            match = REPEATED.search(key)
            if abs(value) > (LAYERS if match else LARGEST):
                raise ModelError(f"{name}: config.json has '{key}': {quoted(value)}: no model is that large.")
            if match:
                repeated[match[0]] = max(value, repeated.get(match[0], 1))
        if (modules := math.prod(repeated.values())) > MODULES:
            raise ModelError(f"{name}: config.json asks for {modules:,} layers: no model has so many.")
        for key in ("id2label", "label2id") if isinstance(content, dict) else ():
            if not isinstance(table := content.get(key) or {}, dict):
                raise ModelError(f"{name}: '{key}' in config.json is {quoted(table)}, and should be a table, {{…}}.")
            if key == "id2label" and (other := [row for row in table if not re.fullmatch("[0-9]+", row)]):
                raise ModelError(
                    f"{name}: 'id2label' in config.json names {quoted(other[0])}, which is no row of a head."
                )
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


OTHERS = {
    ".gguf": "GGUF, the format of llama.cpp",
    ".onnx": "ONNX, a format for inference",
    ".h5": "TensorFlow's, which transformers no longer reads",
    ".msgpack": "Flax's, which transformers no longer reads",
    ".ot": "those of rust-bert",
    ".mlpackage": "Core ML's",
    ".tflite": "TensorFlow Lite's",
    ".pt": "PyTorch's, without transformers' names",
    ".pth": "PyTorch's, without transformers' names",
    ".ckpt": "a trainer's checkpoint",
}
"""Suffix of other files of weights → what they are."""
ANYWHERE = (".gguf", ".onnx")
"""Of those, the ones that often lie in a subdirectory."""
OF_A_TRAINER = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
"""What transformers' Trainer keeps beside a model."""


def other_weights(names: Iterable[str], where: Path | str) -> str:
    """Say what a folder without transformers' weights holds instead, and what to do; empty if nothing is known.

    Args:
        names: of its files, below it too.
        where: the folder, or the repository on the hub.
    """
    present = sorted(names)
    adapters = [name for name in present if name.rpartition("/")[2].startswith(("adapter_config.", "adapter_model."))]
    if adapters:
        config = read_json(where / "adapter_config.json") if isinstance(where, Path) else {}
        base = config.get("base_model_name_or_path")
        return (
            f"holds an adapter of PEFT (LoRA, say: {adapters[0]}), not a model. Merge it into its base"
            f"{f' {quoted(base)}' if base else ''} by `merge_and_unload()`,\n"
            "and save what that returns, and the tokenizer, in one folder with `save_pretrained`."
        )
    for suffix, what in OTHERS.items():
        for name in present:
            if name.endswith(suffix) and ("/" not in name or suffix in ANYWHERE) and name not in OF_A_TRAINER:
                return (
                    f"holds no weights that can be fine-tuned: {name} is of another kind ({what}).\n"
                    "Give the model that it was made from, or save that as model.safetensors with `save_pretrained`."
                )
    return ""


def loaded_weights(folder: Path, weights: Iterable[str]) -> list[str]:
    """Return those of the files of weights that transformers loads: the one file if it is there, else the index's."""
    present = list(weights)
    whole = [name for name in present if name in ("model.safetensors", "pytorch_model.bin")]
    if whole:
        return whole
    named = {file for name in present if name.endswith(".index.json") for file in _weight_map(folder / name).values()}
    return [name for name in present if name in named]


def _weight_map(index: Path) -> dict[str, Any]:
    value = read_json(index).get("weight_map")
    return value if isinstance(value, dict) else {}


def check_pointers(folder: Path, name: str, names: Iterable[str]) -> None:
    """Refuse pointers of git-LFS where the files themselves should be.

    Raises:
        ModelError: names the file.
    """
    for file in names:
        try:
            with files.opened(folder / file, root_of(folder)) as opened:
                start = opened.read(len(files.POINTER))
        except OSError:  # told where it is hashed
            continue
        if start == files.POINTER:
            raise ModelError(
                f"{name}: {file} is a pointer of git-LFS, not the file. Run `git lfs pull` in {folder}, or download "
                "the file."
            )


def check_numbers(folder: Path, name: str, weights: Iterable[str]) -> None:
    """Refuse weights that are integers, or floating-point numbers of 8 bits: transformers would read them as they are.

    Safetensors that cannot be read are left to transformers, whose error is told; a pickle is read through before it
    is unpickled.

    Raises:
        ModelError: names the tensor, or the pickle that holds more than tensors or is damaged.
    """
    for file in weights:
        if not file.endswith(".safetensors"):
            _check_pickle(folder, file, name)
        for tensor, kind in _kinds(folder / file):
            if kind not in FLOATS and tensor.rpartition(".")[2].endswith("weight"):
                raise ModelError(
                    f"{name}: '{tensor}' in {file} is of type {kind}: quantised weights cannot be fine-tuned. "
                    "Give the model before it was quantised."
                )


def _check_pickle(folder: Path, file: str, name: str) -> None:
    try:
        pickles.check(folder / file, root_of(folder))
    except pickles.UnfitPickle as error:
        raise ModelError(
            f"{name}: {file} holds more than tensors, and flue-bench unpickles nothing else: {error}. If you trust it, "
            "convert it to safetensors."
        ) from None
    except Exception as error:  # whatever the readers raise for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{name}: {file} cannot be loaded: {reason}. Is it whole?") from error


FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}
"""Types of weights, as safetensors and torch call them."""


def _kinds(path: Path) -> Iterator[tuple[str, str]]:
    """Name and type of each tensor in a file of weights."""
    try:
        if path.name.endswith(".safetensors"):
            with safe_open(path, framework="pt") as opened:
                yield from [(key, opened.get_slice(key).get_dtype()) for key in opened.keys()]  # noqa: SIM118
            return
        state = torch.load(path, map_location="meta", weights_only=True)
        if isinstance(state, dict):
            yield from [
                (str(key), str(value.dtype).removeprefix("torch."))
                for key, value in state.items()
                if isinstance(value, torch.Tensor)
            ]
    except Exception:  # whatever the readers raise for a damaged file
        return


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
    """A folder in which there are these files of a model's folder, and no others.

    The settings of a tokenizer are shown without those that lead to other files.

    Args:
        folder: the model's folder.
        names: of the files; those that are not there are left out.
        name: what messages call the model.

    Raises:
        ModelError: one of them is no regular file, is too large, or a link leads out of the folder; or settings of
            the tokenizer cannot be read.
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
            if file in SETTINGS:
                (Path(view) / file).write_text(_settings(folder / file, name), encoding="utf-8")
            else:
                _show(Path(os.path.realpath(folder / file)), Path(view) / file)
        yield Path(view)


def _show(real: Path, shown: Path) -> None:
    try:
        shown.symlink_to(real)
    except OSError:  # Windows, without the right to make links
        shutil.copyfile(real, shown)


SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""Files whose keys become arguments of the tokenizer's class, many of which it opens as a file."""
TOKENS = re.compile(r"\w+_token|entity_token_[12]|(additional|extra|model_specific)_special_tokens")
"""Keys of special tokens."""
LEADING = re.compile(r"vocab|merges|(^|_)(files?|path|spm)$|^init_inputs$|^tokenizer_object$")
"""Keys of a tokenizer's files, or of what would stand for their content."""
WORDED = {
    "added_tokens_decoder", "auto_map", "backend", "chat_template", "errors", "id2lang", "language_codes",
    "model_input_names", "model_type", "never_split", "padding", "padding_side", "prefix", "prepend_scheme",
    "processor_class", "src_lang", "suffix", "task", "tgt_lang", "tokenizer_class", "truncation", "truncation_side",
    "truncation_strategy", "vocab_type", "wordpieces_prefix",
}  # fmt: skip
"""Settings that may hold text, none of which is taken for the name of a file."""


def _settings(file: Path, name: str) -> str:
    """Return a file of ``SETTINGS`` without what leads to other files: text is kept only where it is known to be safe.

    Raises:
        ModelError: it is too large, or no JSON object.
    """
    try:
        content = _loaded(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error) or "nested too deep"
        raise ModelError(f"{name}: {file.name} cannot be used: {reason}.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{name}: {file.name} cannot be used: it is not a JSON object.")
    if file.name == "special_tokens_map.json":
        return json.dumps({key: value for key, value in content.items() if TOKENS.fullmatch(key)})
    return json.dumps({key: value for key, value in content.items() if _stays(key, value)})


def _stays(key: str, value: Any) -> bool:
    if key in WORDED or TOKENS.fullmatch(key):
        return True
    held = ((key, value), *_values(value, key))
    return not any(LEADING.search(name) or isinstance(each, str) for name, each in held)


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
