"""What of a model's folder is loaded: the files that make its identity, all of them plain, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flue_bench.errors import ModelError
from flue_bench.training import models
from support.tiny import KINDS, tiny


@pytest.fixture(scope="module")
def camembert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("camembert", tmp_path_factory.mktemp("models") / "modele")


@pytest.fixture
def model(camembert: Path, tmp_path: Path) -> Path:
    return shutil.copytree(camembert, tmp_path / "modele")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def sharded(model: Path, safe: bool) -> None:
    """The weights in two files and an index."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    stem, suffix = ("model", "safetensors") if safe else ("pytorch_model", "bin")
    parts = {f"{stem}-{i + 1:05}-of-00002.{suffix}": names[i::2] for i in range(2)}
    for file, part in parts.items():
        content = {name: weights[name].contiguous() for name in part}
        save_file(content, model / file, {"format": "pt"}) if safe else torch.save(content, model / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (model / f"{stem}{'.safetensors' if safe else '.bin'}.index.json").write_text(json.dumps(index))


def pickled(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


STORED: dict[str, Callable[[Path], None]] = {
    "safetensors": lambda model: None,
    "safetensors in parts": lambda model: sharded(model, safe=True),
    "a pickle": pickled,
    "a pickle in parts": lambda model: sharded(model, safe=False),
}

WATCH = """
import json, os, sys
model, outside = map(os.path.realpath, sys.argv[1:3])
hashed, opened = set(), set()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith((model + os.sep, outside)):
            opened.add(path)

from flue_bench import files
from flue_bench.data import model_files
from flue_bench.training import models
resolve, sha256 = models.resolve, model_files.sha256

def hashing(path, root=None):
    hashed.add(os.path.realpath(path))
    return sha256(path, root)

model_files.sha256 = hashing
found = models.resolve(model)
sys.addaudithook(watch)
models.load_tokenizer(found)
network = models.load_masked_lm(found)
read = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if len(line.split()) > 5}
opened |= {path for path in read if path.startswith((model + os.sep, outside))}
print(json.dumps([sorted(opened - hashed), sorted(hashed)]))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
@pytest.mark.parametrize("stored", STORED)
def test_what_is_opened_is_what_was_hashed(stored: str, model: Path, tmp_path: Path) -> None:
    """Decoys of every name that transformers knows lie beside, and outside."""
    STORED[stored](model)
    outside = tmp_path / "outside"
    shutil.copytree(model, outside)
    for name in ("adapter_config.json", "generation_config.json", "chat_template.jinja", "config.4.0.json",
                 "tokenizer.4.0.json", "adapter_model.safetensors", "processor_config.json"):  # fmt: skip
        (model / name).write_text("{}")
    elsewhere = {key: str(outside / "tokenizer.json") for key in ("tokenizer_file", "vocab_file", "merges_file")}
    edit(model / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.json"], **elsewhere)
    done = subprocess.run([sys.executable, "-c", WATCH, model, outside], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    beyond, hashed = json.loads(done.stdout.splitlines()[-1])
    assert beyond == []
    assert {Path(path).name for path in hashed} >= {"config.json", "tokenizer.json"} and len(hashed) >= 4


def misled(file: str, key: str, folder: Path, secret: Path) -> None:
    """A tokenizer whose settings name a file of the reader."""
    words = tiny("bert", folder) / "tokenizer.json"
    (folder / "vocab.txt").write_text("\n".join(json.loads(words.read_text())["model"]["vocab"]))
    words.unlink()  # it would come before a vocabulary
    settings = folder / file
    content = json.loads(settings.read_text()) if settings.exists() else {}
    value: Any = str(secret)
    if key == "init_inputs":
        value = [value]
    elif key == "sp_model_kwargs":
        value = {"model_file": value}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({k: v for k, v in content.items() if k != "added_tokens_decoder"})
    )
    settings.write_text(json.dumps({**content, key: value}))


MISLED = """
import os, sys
folder, secret = sys.argv[1:]
from flue_bench.errors import ModelError
from flue_bench.training import models
opened, vocabulary = [], {}
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
try:
    vocabulary = models.read_tokenizer(models.Path(folder), "modele").get_vocab()
except ModelError as error:
    print(error, file=sys.stderr)
print([path for path in opened if os.path.basename(path) == os.path.basename(secret)], "topsecret" in vocabulary)
"""
"""The file may also be opened without Python, which its content in the vocabulary tells."""


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("key", ["vocab", "vocab_file", "init_inputs", "sp_model_kwargs"])
def test_settings_of_a_tokenizer_lead_to_no_other_file(key: str, file: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ntopsecret\n")
    misled(file, key, tmp_path / "modele", secret)
    done = subprocess.run(
        [sys.executable, "-c", MISLED, tmp_path / "modele", secret], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines()[-1] == "[] False", done.stderr


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["[]", "{", "{" + " " * 2**24 + "}", '{"a":' * 50_000], ids=str.__len__)
def test_settings_of_a_tokenizer_that_are_not_parsed_are_refused(file: str, content: str, model: Path) -> None:
    (model / file).write_text(content)
    with pytest.raises(ModelError, match=f"{file} cannot be used: "):
        models.load_tokenizer(models.resolve(str(model)))


def linked(file: str) -> Callable[[Path, Path], None]:
    def damage(model: Path, outside: Path) -> None:
        shutil.move(model / file, outside / file)
        (model / file).symlink_to(outside / file)

    return damage


REFUSED: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "other weights": (
        lambda m, out: [
            shutil.copy(m / "model.safetensors", m / "other.safetensors"),
            edit(m / "config.json", transformers_weights="other.safetensors"),
        ],
        "config.json has 'transformers_weights', which is refused",
    ),
    "other weights, deeper": (
        lambda m, out: edit(m / "config.json", text_config={"transformers_weights": "x.safetensors"}),
        "config.json has 'transformers_weights'",
    ),
    "another configuration": (
        lambda m, out: edit(m / "config.json", configuration_files=["config.4.0.json"]),
        "config.json has 'configuration_files'",
    ),
    "quantised": (lambda m, out: edit(m / "config.json", quantization_config={"quant_method": "awq"}), "quantization"),
    "groups": (lambda m, out: edit(m / "config.json", num_hidden_groups=10**4), "'num_hidden_groups': 10000: no model"),
    "nested groups": (
        lambda m, out: edit(m / "config.json", num_hidden_groups=500, inner_group_num=500),
        "asks for [0-9,]+ layers: no model has so many",
    ),
    "layers of experts": (
        lambda m, out: edit(m / "config.json", encoder_layers=900, num_local_experts=900),
        "asks for 810,000 layers: no model has so many",
    ),
    "layers": (lambda m, out: edit(m / "config.json", num_hidden_layers=10**9), "'num_hidden_layers': 1000000000: no"),
    "labels": (lambda m, out: edit(m / "config.json", num_labels=10**9), "'num_labels': 1000000000: no model"),
    "vocabulary": (
        lambda m, out: edit(m / "config.json", vocab_size=10**7),
        "'vocab_size' of config.json is 10,000,000",
    ),
    "a large number": (lambda m, out: edit(m / "config.json", hidden_size=10**400), "no model is that large"),
    "deep": (lambda m, out: (m / "config.json").write_text('{"a":' * 50_000 + "1" + "}" * 50_000), "cannot be used"),
    "index of another file": (
        lambda m, out: [
            sharded(m, safe=True),
            (m / "model-00001-of-00002.safetensors").rename(m / "first.safetensors"),
            edit(
                m / "model.safetensors.index.json",
                weight_map=dict.fromkeys(load_file(m / "first.safetensors"), "first.safetensors"),
            ),
        ],
        "index.json names 'first.safetensors', which is not one of its weight files",
    ),
    "index that leads out": (
        lambda m, out: [
            sharded(m, safe=False),
            edit(m / "pytorch_model.bin.index.json", weight_map={"a": "../outside/pytorch_model.bin"}),
        ],
        "names '../outside/pytorch_model.bin'",
    ),
    **{
        f"{file} elsewhere": (linked(file), rf"{file} cannot be (read|used): a link leads out of")
        for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    },
}


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_lead_elsewhere_or_is_too_large_is_refused(case: str, model: Path, tmp_path: Path) -> None:
    damage, said = REFUSED[case]
    (tmp_path / "outside").mkdir()
    damage(model, tmp_path / "outside")
    with pytest.raises(ModelError, match=said):
        models.resolve(str(model))


@pytest.mark.parametrize("value", ["kernels-community/flash-attn", "flash_attention_2", "eager", {"": "sdpa"}])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_how_a_model_is_computed_is_not_said_by_its_directory(model: Path, key: str, value: Any) -> None:
    edit(model / "config.json", **{key: value}, output_attentions=key == "attn_implementation" and value == "eager")
    found = models.resolve(str(model))
    network = models.load_masked_lm(found)
    assert (network.config._attn_implementation, network.config.output_attentions) == ("sdpa", False)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors", "chat_template.jinja"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_special_files_are_not_waited_for(name: str, kind: str, model: Path) -> None:
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name) if kind == "pipe" else (model / name).symlink_to("/dev/zero")
    program = (
        "import sys\nfrom flue_bench.errors import ModelError\nfrom flue_bench.training import models\n"
        "try:\n    models.load_tokenizer(models.resolve(sys.argv[1]))\nexcept ModelError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, model], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) == (name != "chat_template.jinja")


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_snapshot_of_the_hub_may_be_made_of_links(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--modele"
    snapshot, blobs = repository / "snapshots" / ("1" * 40), repository / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in model.iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    found, plain = models.resolve(str(snapshot)), models.resolve(str(model))
    assert found.ref.digest == plain.ref.digest
    models.load_tokenizer(found)
    models.load_masked_lm(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_shown_alone_is_the_tokenizer_of_its_directory(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tiny(kind, tmp_path / kind)
    ours, theirs = models.read_tokenizer(folder, kind), AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = "Où l'élève range « vite » la cour : 12 fois, ¿ œuf 你好 ?"
    assert ours(text)["input_ids"] == theirs(text)["input_ids"] and ours.get_vocab() == theirs.get_vocab()
    for tokenizer, name in ((ours, "a"), (theirs, "b")):
        tokenizer.save_pretrained(tmp_path / name)
    saved = {name: {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "ab"}
    assert saved["a"] == saved["b"]


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("camembert", {"num_hidden_layers": 900, "intermediate_size": 2**17}),
        ("camembert", {"hidden_size": 4096, "num_hidden_layers": 40}),
        ("albert", {"num_hidden_groups": 20, "inner_group_num": 20, "intermediate_size": 2**16}),
        ("distilbert", {"n_layers": 900, "hidden_dim": 2**16}),
    ],
)
def test_a_network_far_larger_than_its_weights_is_not_built(kind: str, sizes: dict[str, int], model: Path) -> None:
    """Shapes alone are: no memory is taken for its numbers."""
    content = json.loads((model / "config.json").read_text())
    width = {"hidden_size": 16, "num_attention_heads": 2, "n_embd": 16, "n_head": 2, "dim": 16, "n_heads": 2}
    small = {key: content[key] for key in ("vocab_size", "pad_token_id")} | width
    (model / "config.json").write_text(json.dumps({"model_type": kind, "embedding_size": 16, **small, **sizes}))
    with pytest.raises(ModelError, match=r"than its weights of [\d,]+ bytes can hold"):
        models.load_encoder(models.resolve(str(model)))


@pytest.mark.parametrize("value", [[], {}, "long", None, -1, 10**30], ids=repr)
@pytest.mark.parametrize("key", ["model_max_length", "padding_side", "model_input_names", "pad_token"])
def test_a_setting_of_a_tokenizer_may_be_anything(key: str, value: Any, model: Path) -> None:
    """It is taken, or refused in a line."""
    edit(model / "tokenizer_config.json", **{key: value})
    with contextlib.suppress(ModelError):
        models.load_tokenizer(models.resolve(str(model)))
