"""A fine-tuned model as a transformers folder: configuration with the labels' names, weights, tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from flue_bench import files
from flue_bench.data.model_files import TOKENIZER_FILES, matching
from flue_bench.errors import ModelError
from flue_bench.progress import quiet
from flue_bench.training.folder import read_json
from flue_bench.training.models import Resolved, resolve, without_bars

SETTINGS = "tokenizer_config.json"


def save(folder: Path, network: Any, model: Resolved, max_length: int) -> str:
    """Write a fine-tuned network so that ``from_pretrained`` and ``flue-bench`` load exactly it.

    Args:
        folder: an empty folder.
        network: the network after its fine-tuning, on any device; its configuration names the labels.
        model: the model it started from, whose tokenizer it has.
        max_length: sub-words at which its inputs were cut; the tokenizer's settings say so.

    Returns:
        The digest of the model, as ``models.resolve`` gives it.

    Raises:
        ModelError: the network of this kind of task cannot be saved.
        RecordError: the folder cannot be written.
    """
    if not hasattr(network, "save_pretrained"):
        raise ModelError(f"a {type(network).__name__} cannot be kept: it has no save_pretrained")
    # The repository's own code was not run, and no reader of this folder should be asked to run it.
    code = vars(network.config).pop("auto_map", None)
    try:
        with quiet("transformers"), without_bars():
            network.save_pretrained(folder)
        for name in matching([path.name for path in model.folder.iterdir()], TOKENIZER_FILES):
            shutil.copyfile(model.folder / name, folder / name)
        if settings := read_json(folder / SETTINGS):
            text = json.dumps(settings | {"model_max_length": max_length}, ensure_ascii=False, indent=2)
            (folder / SETTINGS).write_text(f"{text}\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise files.unwritable(folder, error, "and run again with --keep") from error
    finally:
        if code is not None:
            network.config.auto_map = code
    return resolve(str(folder)).ref.digest
