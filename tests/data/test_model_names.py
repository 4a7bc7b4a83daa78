"""Names of models: told apart, and refused, before PyTorch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flue_bench.data import model_names
from flue_bench.errors import ModelNotFoundError, UnknownNameError

CALLS = {
    "run": "flue_bench.run(NAME, 'mini-cls')",
    "run, the second of two": "flue_bench.run(['embedded:student', NAME], 'mini-cls')",
    "score": "flue_bench.score(NAME, 'mini-cls')",
    "speed": "flue_bench.measure_speed(NAME)",
    "distill": "__import__('flue_distill').distill(teacher=NAME, out='never')",
    "fetch": "__import__('flue_bench.cli.fetch').cli.fetch.fetch(model=[NAME])",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("embedded:studnet", "Unknown embedded model 'embedded:studnet'. Did you mean embedded:student?"),
        ("./nulle-part", "Model './nulle-part' is neither a folder here nor a hub id (org/name[@revision])."),
    ],
)
def test_what_is_misspelt_is_told_before_pytorch_is_loaded(call: str, name: str, said: str, tmp_path: Path) -> None:
    code = (
        "import sys, flue_bench\n"
        f"try: {call.replace('NAME', repr(name))}\n"
        "except flue_bench.FlueBenchError as error: print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == [said, "False"]
    assert not list(tmp_path.iterdir())


def test_a_directory_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """As an older system wrote it: a record holds text."""
    folder = tmp_path / os.fsdecode(b"mod\xe8le")
    folder.mkdir()
    assert model_names.read(str(folder))[:3] == ("directory", "mod\\xe8le", folder)


def test_kinds_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/model").mkdir(parents=True)
    assert model_names.read("embedded:student")[:2] == ("embedded", "embedded:student")
    assert model_names.read("org/model") == ("directory", "model", tmp_path / "org/model", None)  # before the hub's
    assert model_names.read("org/other") == ("hub", "org/other", None, None)
    assert model_names.read("org/other@v1") == ("hub", "org/other", None, "v1")
    for given in (
        "hub:org/m",
        "https://huggingface.co/org/m",
        "huggingface.co/org/m/tree/main",
        "https://hf.co/org/m?a=b",
    ):
        with pytest.raises(ModelNotFoundError, match=r"\. Give the id alone: org/m\.$"):
            model_names.read(given)
    with pytest.raises(UnknownNameError, match="Did you mean embedded:student"):
        model_names.read("Embedded:Student")
    for name in ("", "a/b/c", "../x", "org/other@"):
        with pytest.raises(ModelNotFoundError):
            model_names.read(name)
    for name in ("embedded:", "embedded:../student", "embedded:student/"):
        with pytest.raises(UnknownNameError):
            model_names.read(name)
