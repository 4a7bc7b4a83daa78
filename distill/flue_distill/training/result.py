"""The result of a distillation: a transformers folder, how it was made, a card and the curves."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from flue_bench import escape, files
from flue_bench.training.models import without_bars
from flue_distill.training import log
from flue_distill.training.curves import curves, page
from flue_distill.training.trainer import PAGE

DISTILLATION = "distillation.json"
"""Written last: a folder that contains it is complete."""
TOLD = ("cost", "environment", "loss_scale")
"""What ``distillation.json`` tells of how a training went; all else is what it is."""
LAST_STEPS = 100
"""The last steps, whose mean is reported as the final loss."""
PARTS = {
    "distil": "DistilLoss",
    "mlm": "MLMLoss",
    "cosine": "CosineLoss",
    "hidden": "HiddenLoss",
    "relations": "RelationLoss",
}
"""Parts of the loss: name in the log → description."""
HELD_OUT = {"mlm": "MLMLoss", "top1": "top-1 agreement with the teacher", "kl": "KL from the teacher"}
"""Scores on the held-out split: name in the log → description."""


def write(folder: Path, network: Any, tokenizer: Any, made: dict[str, Any]) -> None:
    """Save the student so that transformers and ``flue-bench run --model`` load it as it is.

    Args:
        folder: the folder that already holds the log of the training.
        network: the student, on any device.
        tokenizer: the tokenizer of teacher and student.
        made: the contents of ``distillation.json`` besides the losses.

    Raises:
        RecordError: the folder cannot be written; the checkpoints are still there.
    """
    try:
        made = made | {"losses": losses(log.lines(folder / log.LOG))}
        with files.scratch(folder / ".student") as new, without_bars():  # transformers writes where no link can be
            network.save_pretrained(new)
            tokenizer.save_pretrained(new)
            for file in sorted(new.iterdir()):
                os.replace(file, folder / file.name)
        drawn = curves(log.lines(folder / log.LOG))
        files.write(folder / "curves.svg", drawn.encode())
        files.write(folder / PAGE, page(drawn).encode())  # for who has it open
        files.write(folder / "README.md", card(made).encode())
        files.write(folder / DISTILLATION, (json.dumps(made, ensure_ascii=False, indent=1) + "\n").encode())
    except (OSError, SafetensorError) as error:
        raise files.unwritable(folder, error, "and continue from the last checkpoint with --resume") from error


def save(folder: Path, network: Any, tokenizer: Any, made: dict[str, Any], root: Path) -> None:
    """Save an unfinished student to a folder of its own, which appears when it is whole.

    Args:
        folder: the folder to write; one of an earlier attempt is replaced.
        network: as for ``write``.
        tokenizer: likewise.
        made: likewise.
        root: the folder that the user named.

    Raises:
        RecordError: the folder cannot be written; the checkpoints are still there.
    """
    try:
        files.make_folder(folder.parent, root)
        with files.scratch(folder) as new, without_bars():
            network.save_pretrained(new)
            tokenizer.save_pretrained(new)
            (new / DISTILLATION).write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            files.place(new, folder)
    except (OSError, SafetensorError) as error:
        raise files.unwritable(folder, error, "and continue from the last checkpoint with --resume") from error


def is_saved(folder: Path, made: dict[str, Any]) -> bool:
    """Return whether a folder holds the unfinished student of this step, saved before the training was resumed.

    It is left as it is, since somebody may have scored it: on a GPU, the same step done again rounds in another way.

    Args:
        folder: as for ``save``.
        made: likewise; what tells of the machine and the time may differ.
    """
    try:
        there = json.loads(files.read(folder / DISTILLATION, root=folder))
        same = [{key: value for key, value in each.items() if key not in TOLD} for each in (there, made)]
        return bool(same[0] == json.loads(json.dumps(same[1])) and there["cost"]["steps"] == made["cost"]["steps"])
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return False


def losses(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the loss and its parts, mean of the last steps, and the held-out scores before and after."""
    steps: deque[dict[str, Any]] = deque(maxlen=LAST_STEPS)
    looks: list[dict[str, Any]] = []
    for line in lines:
        if "loss" in line:
            steps.append(line)
        elif line.get("held_out"):
            looks = [*looks[:1], line["held_out"]]
    keys = [key for key in ("loss", *PARTS) if any(key in line for line in steps)]
    return {
        "train": {key: sum(line[key] for line in steps) / len(steps) for key in keys},
        "held_out_before": looks[0] if looks else {},
        "held_out": looks[-1] if looks else {},
    }


def course(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield one line for each part of the loss and each held-out score, from first to last value."""
    first: list[dict[str, Any]] = []
    last: deque[dict[str, Any]] = deque(maxlen=10)
    looks: list[dict[str, Any]] = []
    number = 0
    for line in lines:
        if "loss" in line:
            number += 1
            first = first if len(first) == 10 else [*first, line]
            last.append(line)
        elif line.get("held_out"):
            looks = [*looks[:1], line["held_out"]]
    few = max(1, min(10, number // 2))
    for key, name in PARTS.items():
        if any(line.get(key) for line in (*first, *last)):  # a part without weight, or a teacher, is not computed
            began, ended = (sum(line[key] for line in some) / few for some in (first[:few], list(last)[-few:]))
            yield f"{name}: {began:.3f} → {ended:.3f} (mean of the first and of the last {few} steps)"
    for key, score in (looks[-1] if looks else {}).items():
        yield f"Held out, {HELD_OUT[key]}: {looks[0][key]:.3f} → {score:.3f}"


def card(made: dict[str, Any]) -> str:
    """Return the model card: metadata for the hub, then what was done and how it went."""
    from huggingface_hub import ModelCardData

    recipe, teacher, cost = made["recipe"], made["teacher"], made["cost"]
    metadata = ModelCardData(
        language="fr",
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["flue-bench", "distillation"] if teacher else ["flue-bench"],
        base_model=escape.data(teacher["name"]) if teacher and teacher["origin"] == "hub" else None,
    )
    if teacher:
        terms = [f"{made['weights'][key]:g} · {name}" for key, name in PARTS.items() if key in made["weights"]]
        about = (
            f"A student of {escape.code(teacher['name'])} with {len(made['layers']) or 'its own'} layers, trained by "
            "distillation:"
            f"\n\n```\nLoss = {' + '.join(terms)}\n```\n\n"
            f"Temperature {recipe['temperature']:g}, DistilLoss on {recipe['kl_rows']} positions."
        )
        if made["layers"]:
            about += f" It started from the teacher's layers {', '.join(map(str, made['layers']))} (from 0)."
    else:
        about = "A masked language model trained with MLMLoss alone."
    phrase = json.dumps(f"Le fromage est {made['mask_token']}.")  # a literal of Python too, whatever the token is
    rows = "".join(
        f"| {name} | {_number(made['losses']['held_out_before'], key)} | {_number(made['losses']['held_out'], key)} |\n"
        for key, name in HELD_OUT.items()
    )
    return (
        f"---\n{metadata.to_yaml()}\n---\n\n# Masked language model\n\n{about}\n\n"
        "```python\nfrom transformers import pipeline\n\n"
        f'pipeline("fill-mask", model="…")({phrase})\n```\n\n'
        f"## Training\n\n{cost['steps']:,} steps of {made['batch_tokens']:,} tokens "
        f"({cost['tokens']:,} tokens in all) on a corpus of {made['corpus']['tokens']:,} tokens "
        f"({escape.code(made['corpus']['digest'])}), {cost['seconds'] / 3600:.2g} hours on "
        f"{escape.markdown(made['environment']['device'])}, "
        f"{recipe['precision']}. All settings: `{DISTILLATION}`.\n\n"
        f"| held out | before | after |\n|---|---:|---:|\n{rows}\n![curves](curves.svg)\n"
    )


def _number(scores: dict[str, float], key: str) -> str:
    return f"{scores[key]:.4f}" if key in scores else "-"
