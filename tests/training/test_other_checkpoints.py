"""Checkpoints that are not as transformers saves a model: each is told for what it is, and the advice helps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flue_bench.data import hub
from flue_bench.errors import ModelError
from flue_bench.jobs.loader import Loader
from flue_bench.training import models
from flue_bench.training.models import load_encoder, load_masked_lm, resolve
from support.tiny import tiny

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a masked-LM head, in safetensors."""
    return tiny("camembert", tmp_path_factory.mktemp("whole") / "modele")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "modele"))


def as_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def renamed(folder: Path, name: Callable[[str], str]) -> None:
    """Give other names to the tensors, in whatever file they are."""
    file = folder / "model.safetensors"
    if file.exists():
        save_file({name(key): value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    else:
        file = folder / "pytorch_model.bin"
        torch.save({name(key): value for key, value in torch.load(file, weights_only=True).items()}, file)


PREFIXES = {
    "_orig_mod.": r"'_orig_mod\.', which is torch\.compile's: save `model\._orig_mod`",
    "module.": r"'module\.', which is DataParallel's or DistributedDataParallel's: save `model\.module`",
    "base_model.model.": r"'base_model\.model\.', which is PEFT's: save `model\.merge_and_unload\(\)`",
    "module._orig_mod.": r"'module\._orig_mod\.', which is a wrapper's: save the transformers model inside it",
    "student.": r"'student\.', which is a wrapper's",
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("bare", [False, True], ids=["with a head", "the encoder alone"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_names_with_a_prefix(folder: Path, prefix: str, bare: bool, kind: str) -> None:
    if kind == "bin":
        as_bin(folder)
    if bare:
        renamed(folder, lambda key: key.removeprefix("roberta."))
    load_encoder(resolve(str(folder)))  # as it is, it loads
    renamed(folder, lambda key: f"{prefix}{key}")
    for load in (load_encoder, load_masked_lm):
        with pytest.raises(ModelError, match=PREFIXES[prefix]):
            load(resolve(str(folder)))
    renamed(folder, lambda key: key.removeprefix(prefix))  # as it is advised
    load_encoder(resolve(str(folder)))


def test_weights_that_are_missing_are_not_taken_for_renamed_ones(folder: Path) -> None:
    renamed(folder, lambda key: f"other.{key}" if key.endswith("layer.1.output.dense.bias") else key)
    with pytest.raises(ModelError, match="has no fitting weights for 1 of"):
        load_encoder(resolve(str(folder)))


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        (torch.int8, "I8|int8"),
        (torch.uint8, "U8|uint8"),
        (torch.int32, "I32|int32"),
        (torch.float8_e4m3fn, "F8|float8"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_quantised_weights(folder: Path, dtype: torch.dtype, says: str, kind: str) -> None:
    state = load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.1.output.dense.weight"
    state[name] = (state[name] * 100).to(dtype)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if kind == "bin":
        as_bin(folder)
    with pytest.raises(ModelError, match=rf"'{name}' in .* is of type ({says}).*: quantised weights cannot be"):
        resolve(str(folder))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_floating_point_weights_and_counters_are_read(folder: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    state["roberta.embeddings.position_ids"] = torch.arange(10)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    load_encoder(resolve(str(folder)))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "config.json", "tokenizer.json"])
def test_pointers_of_git_lfs(folder: Path, file: str) -> None:
    if file == "pytorch_model.bin":
        as_bin(folder)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 442\n")
    with pytest.raises(ModelError, match=rf"{file} is a pointer of git-LFS, not the file\. Run `git lfs pull` in"):
        resolve(str(folder))
    (folder / file).write_bytes(content)
    resolve(str(folder))


OTHER = {
    "adapter_model.safetensors": r"holds an adapter of PEFT \(LoRA, say: adapter_config\.json\).*'camembert-base'",
    "model.onnx": "ONNX, a format for inference",
    "onnx/model_quantized.onnx": "ONNX",
    "camembert.Q4_K_M.gguf": r"GGUF, the format of llama\.cpp",
    "tf_model.h5": "TensorFlow's, which transformers no longer reads",
    "flax_model.msgpack": "Flax's",
    "rust_model.ot": "rust-bert",
    "best.ckpt": "a trainer's checkpoint",
    "student.pt": "PyTorch's, without transformers' names",
}


@pytest.mark.parametrize("file", OTHER)
@pytest.mark.parametrize("config", [True, False])
def test_weights_of_another_kind(folder: Path, file: str, config: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.safetensors").unlink()
    if not config:
        (folder / "config.json").unlink()
    if file.startswith("adapter"):
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "camembert-base"}))
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"poids")
    with pytest.raises(ModelError, match=OTHER[file]) as caught:
        resolve(str(folder))
    assert "save_pretrained" in str(caught.value) and len(str(caught.value).splitlines()) == 2

    # On the hub, nothing of it is downloaded.
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    monkeypatch.setattr(hub, "files", lambda *_, **__: names)
    monkeypatch.setattr(hub, "fetch", lambda *_, **__: pytest.fail("was fetched"))
    with pytest.raises(ModelError, match=OTHER[file].partition(r".*'")[0]):
        resolve("org/modele")


def test_weights_of_another_kind_beside_a_model_do_not_matter(folder: Path) -> None:
    for file in OTHER:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(b"poids")
    load_encoder(resolve(str(folder)))


@pytest.mark.parametrize(
    ("inside", "suggested"),
    [
        (["checkpoint-500", "checkpoint-1000", "checkpoint-1500"], "checkpoint-1500"),
        (["checkpoint-999", "checkpoint-10000", "a"], "checkpoint-10000"),
        (["0_Transformer"], "0_Transformer"),
        (["run-10", "run-9"], "run-9"),
    ],
)
def test_a_folder_of_folders_suggests_one(whole: Path, tmp_path: Path, inside: list[str], suggested: str) -> None:
    for name in inside:
        shutil.copytree(whole, tmp_path / "out" / name)
        (tmp_path / "out" / name / "optimizer.pt").write_bytes(b"")
    (tmp_path / "out" / "training_args.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=rf"Did you mean out/{suggested}\?"):
        resolve(str(tmp_path / "out"))
    resolve(str(tmp_path / "out" / suggested))


def test_the_size_is_that_of_the_files_that_are_loaded(folder: Path) -> None:
    alone = resolve(str(folder)).ref.weights_bytes
    assert alone == (folder / "model.safetensors").stat().st_size
    state = load_file(folder / "model.safetensors")
    shards = {
        f"model-0000{number}-of-00002.safetensors": dict(list(state.items())[number - 1 :: 2]) for number in (1, 2)
    }
    for name, part in shards.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": alone},
        "weight_map": {tensor: name for name, part in shards.items() for tensor in part},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve(str(folder)).ref.weights_bytes == alone  # transformers takes the one file
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model-00003-of-00003.safetensors")  # left by another save
    size = sum((folder / name).stat().st_size for name in shards)
    assert resolve(str(folder)).ref.weights_bytes == size
    load_encoder(resolve(str(folder)))


def test_folders_of_one_name_are_told_apart(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in {"a/modele": 1, "b/modele": 2, "b/autre": 3}.items():
        tiny("camembert", tmp_path / name, seed=seed)
    loader = Loader()
    first = loader.resolve(str(tmp_path / "a/modele"))
    assert loader.called(first.ref) == "modele"
    second, other = (loader.resolve(str(tmp_path / name)) for name in ("b/modele", "b/autre"))
    assert [loader.called(each.ref) for each in (first, second, other)] == ["a/modele", "b/modele", "autre"]
    assert first.ref.name == second.ref.name == "modele"  # a record names no path
    revisions = {}
    for number in (1, 2):
        ref = first.ref.model_copy(update={"origin": "hub", "revision": f"{number}" * 40, "digest": f"{number}" * 16})
        revisions[f"org/modele@{number}"] = models.Resolved(ref, first.folder, None)
    monkeypatch.setattr(models, "resolve", lambda name, _: revisions[name])
    refs = [loader.resolve(name).ref for name in revisions]
    assert [loader.called(ref) for ref in refs] == ["modele@1111111", "modele@2222222"]
