"""Fine-tunes with ``transformers.Trainer`` what ``flue-bench run`` fine-tunes, and scores it in the same way.

    python -m benchmarks.peers.trainer --model DIR --data-dir DIR --tasks sick --seed 0 --limit 500

Same weights and random head, same sub-word ids, same recipe (AdamW, warm-up and decay, clipping, weight decay on
matrices), same selection by validation, same scores. What differs is Trainer's own: its order of batches, its dropout's
random numbers, its loop; and, where a row is one sequence with ``labels``, its collators and the head's own loss.
transformers has neither for rows of several sequences whose number differs: there, and where a head takes something
else than labels, the kind of task makes the batches and the loss.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from tempfile import TemporaryDirectory
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
from flue_bench.kinds.network.network import Batch, Encoded, network_of
from flue_bench.recipe import Recipe
from flue_bench.task import Split
from flue_bench.training import models
from flue_bench.training.device import pick_device, prepare
from flue_bench.training.train import predict

Padding = Literal["padded", "dynamic", "grouped"]
"""To ``max_length``; to the longest of a random batch; likewise, of batches grouped by length."""


COLLATORS: dict[str, Any] = {
    "SequenceClassification": DataCollatorWithPadding,
    "TokenClassification": DataCollatorForTokenClassification,
}
"""Head → the collator that transformers' documentation uses for it."""


class InOrder(Trainer):
    """A Trainer whose ``predict`` keeps the order of rows, which grouping by length would shuffle."""

    validate: Callable[[nn.Module], dict[str, float]] | None = None
    """Returns the scores of a network on validation, instead of ``compute_metrics``: as flue-bench has them."""

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        return SequentialSampler(eval_dataset)

    def evaluate(self, *arguments: Any, **more: Any) -> dict[str, float]:
        """Validate, and tell the log and the callbacks, one of which keeps the best weights."""
        if self.validate is None:
            found: dict[str, float] = super().evaluate(*arguments, **more)
            return found
        network: Any = self.model
        metrics = {f"eval_{name}": score for name, score in self.validate(network).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class ByKind(InOrder):
    """A Trainer whose batches and loss are those of the kind of task."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss over the terms of a batch."""
        split: Any = self.train_dataset
        data: Encoded = split.of
        batch = Batch(inputs, inputs.pop("labels"), 0)
        outputs = model(**inputs)
        loss = data.loss(outputs, batch) / data.terms(batch)
        return (loss, outputs) if return_outputs else loss


@dataclass(frozen=True)
class Rows:
    """A split as Trainer takes it, of rows that only ``of`` can put in batches."""

    of: Encoded

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.of)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return the number of a row, and its sub-words, whose number is what grouping by length goes by."""
        return {"row": row, "input_ids": self.of.row(row).tolist()}

    def collate(self, rows: Sequence[dict[str, Any]], longest: int) -> dict[str, torch.Tensor]:
        """Return the batch of some rows, padded to the longest or to ``longest``."""
        batch = self.of.batch([row["row"] for row in rows], torch.device("cpu"), longest)
        return batch.inputs | {"labels": batch.labels}


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
) -> InOrder:
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
    made: type[InOrder]
    split: Any
    if len(data) == len(data.offsets) - 1 and "labels" in signature(network.forward).parameters:
        made, split, collate = InOrder, rows(data, recipe, padding), collator(work, padding)
    else:
        made, split = ByKind, Rows(data)
        collate = partial(split.collate, longest=recipe.max_length if padding == "padded" else 0)
        settings["remove_unused_columns"] = False
    trainer = made(
        model=network,
        args=TrainingArguments(**settings | (arguments or {})),
        train_dataset=split,
        data_collator=collate,
        **more,
    )
    trainer.remove_callback(PrinterCallback)  # it writes to the standard output
    return trainer


def rows(data: Encoded, recipe: Recipe, padding: Padding) -> Any:
    """Return a list with one dictionary of lists per row, as a tokenizer gives it."""
    made: list[dict[str, Any]] = []
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        rest = recipe.max_length - int(end - start) if padding == "padded" else 0
        real = np.array([1] * int(end - start) + [0] * rest)
        row: dict[str, Any] = {
            "input_ids": data.ids[start:end].tolist() + [data.pad_id] * rest,
            "attention_mask": real.tolist(),
        }
        if data.type_ids is not None:
            row["token_type_ids"] = data.type_ids[start:end].tolist() + [0] * rest
        row["labels"] = data.targets([len(made)], real[None].astype(bool), np.arange(start, end))[0].tolist()
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
    metric, test = work.task.metric, encoded["test"]
    settled = prepare(device, recipe.precision, work.model.config.hidden_size)
    best = recipe.selection == "best"
    network = models.load_model(work.model, work.task, seed, recipe.dropout).network

    def validate(network: nn.Module) -> dict[str, float]:
        answers = predict(network, encoded["validation"], settled)
        return score(work, "validation", encoded, answers, answers)[0]

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
            eval_dataset=[{}],  # that of ``validate``: Trainer asks for one
        )
        trainer.validate = validate
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        deciding = predict(network, encoded["validation"], settled)
        scores, collapsed = score(work, "test", encoded, predict(network, test, settled), deciding)
    log = trainer.state.log_history
    validation = [float(line[f"eval_{metric}"]) for line in log if f"eval_{metric}" in line]
    return Fitted(
        scores=scores,
        collapsed=collapsed,
        selected_epoch=int(np.argmax(validation)) + 1 if best else recipe.epochs_on(len(encoded["train"])),
        validation=validation,
        train_loss=[float(line["loss"]) for line in log if "loss" in line],
        seconds=seconds,
    )


def score(
    work: Work, split: Split, encoded: dict[Split, Encoded], answers: Sequence[Any], deciding: Sequence[Any]
) -> tuple[dict[str, float], str | None]:
    """Return all scores of a split, and how it collapsed.

    Args:
        work: the task and the examples.
        split: the split that is scored.
        encoded: the splits.
        answers: the answers to its rows, as ``predict`` gives them.
        deciding: those to the rows of validation, which decide options such as a threshold.
    """
    task, kind = work.task, kind_named(work.task.kind)
    options = {**task.options, **encoded["validation"].chosen(deciding, task)}
    decided = encoded[split].decided(answers, task.model_copy(update={"options": options}))
    table = kind.table(work.splits[split], decided)
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
