"""Fine-tunes with ``transformers.Trainer`` what ``flue-bench run`` fine-tunes, and scores it in the same way.

    python -m benchmarks.peers.trainer --model DIR --data-dir DIR --tasks sick --seed 0 --limit 500

Same weights and random head, same sub-word ids, same recipe (AdamW, warm-up and decay, clipping, weight decay on
matrices), same selection by validation, same scores. What differs is Trainer's own: its order of batches, its dropout's
random numbers, its loop.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from benchmarks.common import works
from benchmarks.common.works import Work
from flue_bench.kinds.kind import kind_named
from flue_bench.kinds.network.network import IGNORED, Batch, Encoded, network_of
from flue_bench.recipe import Recipe
from flue_bench.task import Split
from flue_bench.training import models
from flue_bench.training.device import pick_device, prepare

Padding = Literal["padded", "dynamic", "grouped"]
"""To ``max_length``; to the longest of a random batch; likewise, of batches grouped by length."""


COLLATORS: dict[str, Any] = {
    "SequenceClassification": DataCollatorWithPadding,
    "TokenClassification": DataCollatorForTokenClassification,
}
"""Head → the collator that transformers' documentation uses for it."""


class InOrder(Trainer):
    """A Trainer whose ``predict`` keeps the order of rows, which grouping by length would shuffle."""

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        return SequentialSampler(eval_dataset)


@dataclass(frozen=True)
class Fitted:
    """The outcome of one fine-tuning; scores are fractions of 1."""

    scores: dict[str, float]
    collapsed: str | None
    selected_epoch: int
    validation: list[float]
    """Headline metric after each epoch."""
    train_loss: list[float]
    seconds: float


def build(
    network: nn.Module,
    work: Work,
    data: Encoded,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    padding: Padding,
    folder: str,
    arguments: dict[str, Any] | None = None,
    **more: Any,
) -> Trainer:
    """Return a Trainer with this recipe, ready to fine-tune ``network`` on ``data``.

    Args:
        network: float32, fresh: accelerate wraps its forward pass for bf16, and never unwraps it.
        work: the task and the tokenizer.
        data: the training split.
        recipe: the recipe, with its precision resolved.
        seed: decides order and dropout.
        device: the device to train on.
        padding: the treatment of unequal lengths.
        folder: for Trainer's files.
        arguments: arguments of ``TrainingArguments`` that extend or replace these.
        more: arguments of ``Trainer``.
    """
    epochs = recipe.epochs_on(len(data))
    total = -(-len(data) // recipe.batch_size) * epochs
    settings: dict[str, Any] = {
        "output_dir": folder,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "linear" if recipe.schedule == "linear" else "constant_with_warmup",
        "warmup_steps": round(recipe.warmup_ratio * total),
        "optim": "adamw_torch_fused",
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.precision == "bf16",
        "train_sampling_strategy": "group_by_length" if padding == "grouped" else "random",
        "seed": seed,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type != "cpu",
        "disable_tqdm": True,
        "report_to": "none",
    }
    trainer = InOrder(
        model=network,
        args=TrainingArguments(**settings | (arguments or {})),
        train_dataset=rows(data, recipe, padding),
        data_collator=collator(work, padding),
        **more,
    )
    trainer.remove_callback(PrinterCallback)  # it writes to the standard output
    return trainer


def rows(data: Encoded, recipe: Recipe, padding: Padding) -> Any:
    """Return a list with one dictionary of lists per row, as a tokenizer gives it."""
    made: list[dict[str, Any]] = []
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        rest = recipe.max_length - int(end - start) if padding == "padded" else 0
        row: dict[str, Any] = {
            "input_ids": data.ids[start:end].tolist() + [data.pad_id] * rest,
            "attention_mask": [1] * int(end - start) + [0] * rest,
        }
        if data.type_ids is not None:
            row["token_type_ids"] = data.type_ids[start:end].tolist() + [0] * rest
        target = data.targets([len(made)], np.ones((1, end - start), bool), np.arange(start, end))[0].tolist()
        row["labels"] = target + [IGNORED] * rest if isinstance(target, list) else target
        made.append(row)
    return made


def collator(work: Work, padding: Padding) -> Any:
    """Return the collator that transformers' documentation uses for the head."""
    if padding == "padded":
        return default_data_collator
    return COLLATORS[network_of(work.task).head](work.tokenizer)


def fine_tune(work: Work, recipe: Recipe, seed: int, device: torch.device, padding: Padding = "dynamic") -> Fitted:
    """Fine-tune, select the epoch as the recipe says, score the test set.

    Args:
        work: the task, the model and the examples.
        recipe: the recipe, with its precision resolved.
        seed: decides weights that the checkpoint lacks, order and dropout.
        device: the device to train on.
        padding: the treatment of unequal lengths.
    """
    encoded: dict[Split, Encoded] = {split: work.encode(split, recipe.max_length) for split in work.splits}
    metric = work.task.metric
    best = recipe.selection == "best"
    network = models.load_model(work.model, work.task, seed, recipe.dropout).network
    with TemporaryDirectory() as folder:
        trainer = build(
            network,
            work,
            encoded["train"],
            recipe,
            seed,
            device,
            padding,
            folder,
            {
                "eval_strategy": "epoch",
                "logging_strategy": "epoch",
                "save_strategy": "epoch" if best else "no",
                "save_only_model": True,
                "save_total_limit": 1,
                "load_best_model_at_end": best,
                "metric_for_best_model": metric,
                "greater_is_better": True,
            },
            eval_dataset=rows(encoded["validation"], recipe, padding),
            compute_metrics=lambda prediction: score(work, "validation", encoded, prediction)[0],
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        trainer.compute_metrics = None
        prediction = trainer.predict(rows(encoded["test"], recipe, padding))
    log = trainer.state.log_history
    validation = [float(line[f"eval_{metric}"]) for line in log if f"eval_{metric}" in line]
    scores, collapsed = score(work, "test", encoded, prediction)
    return Fitted(
        scores=scores,
        collapsed=collapsed,
        selected_epoch=int(np.argmax(validation)) + 1 if best else recipe.epochs_on(len(encoded["train"])),
        validation=validation,
        train_loss=[float(line["loss"]) for line in log if "loss" in line],
        seconds=seconds,
    )


def score(
    work: Work, split: Split, encoded: dict[Split, Encoded], prediction: Any
) -> tuple[dict[str, float], str | None]:
    """Return all scores of Trainer's predictions (padded logits and labels) by our metrics, and how it collapsed."""
    data, task, kind = encoded[split], work.task, kind_named(work.task.kind)
    outputs = SimpleNamespace(logits=torch.from_numpy(prediction.predictions))
    batch = Batch({}, torch.from_numpy(prediction.label_ids), 0)
    table = kind.table(work.splits[split], data.decided(data.read(outputs, batch, range(len(data))), task))
    return kind.scores(table, task).scores, kind.collapsed(table, task)


def main() -> None:
    """Print one line of JSON per task."""
    parser = works.parser(__doc__, ["sick"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most this many examples of each split")
    parser.add_argument("--padding", choices=get_args(Padding), default="dynamic")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change fields of the recipe")
    arguments = parser.parse_args()

    device = pick_device(arguments.device)
    for name in arguments.tasks:
        work = works.load(name, arguments.model, arguments.data_dir, arguments.limit)
        settled = prepare(device, arguments.precision, work.model.config.hidden_size)
        settings = dict(pair.split("=", 1) for pair in arguments.set) | {"precision": settled.precision}
        recipe = work.task.named_recipe("standard").override(settings)
        fitted = fine_tune(work, recipe, arguments.seed, device, arguments.padding)
        print(json.dumps({"task": name, "recipe": recipe.model_dump(), **asdict(fitted)}))


if __name__ == "__main__":
    main()
