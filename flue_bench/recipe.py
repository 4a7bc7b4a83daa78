"""How a model is fine-tuned: one frozen set of numbers that the record keeps whole."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from flue_bench.errors import UnknownNameError, UsageError, faults, quoted, wanted

Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["linear", "cosine", "constant"]

MOST_EPOCHS = 100_000
ADDED = ("compiled", "max_steps", "evaluate_steps", "patience", "alpha", "temperature")
"""Fields that 0.1 does not have: they stand in a record only where they are used."""
AUTO_STEPS = 600
AUTO_EPOCHS = range(3, 31)
"""``epochs = "auto"``: the fewest of these that give so many optimiser steps.

On 700 rows three epochs are 66 steps, in which a base model hardly learns: it predicts a single class.
"""


class Recipe(BaseModel):
    """One fine-tuning recipe.

    The defaults are those of the recipe ``standard``; a task file states only what differs. ``flue`` is the protocol
    published with FLUE (getalp/Flaubert, folder ``flue``), ``quick`` is for a first look.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] | Literal["auto"] = Field(
        default="auto",
        description=f"'auto': the fewest of {AUTO_EPOCHS[0]} to {AUTO_EPOCHS[-1]} that give {AUTO_STEPS} steps on the "
        "rows trained on. The record holds the number.",
    )
    batch_size: int = Field(default=32, ge=1, le=2**20, description="Examples an optimiser step.")
    learning_rate: float = Field(default=3e-5, gt=0, description="Peak learning rate of AdamW.")
    schedule: Schedule = Field(
        default="linear", description="After warm-up: linear decay to 0, half a cosine down to 0, or none."
    )
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="Share of all steps in linear warm-up.")
    weight_decay: float = Field(default=0.01, ge=0, description="Not applied to biases and norms.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Clipping of the global gradient norm.")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="None keeps the model's own.")
    max_length: int = Field(
        default=128, ge=4, le=2**20, description="Sub-words, special tokens included; longer inputs are cut."
    )
    selection: Literal["best", "last"] = Field(
        default="best",
        description="Which epoch is scored on test: the best on validation by the headline metric, or the last.",
    )
    precision: Literal["auto"] | Precision = Field(
        default="auto", description="The record holds what 'auto' resolved to."
    )
    compiled: bool = Field(
        default=False,
        description="Steps through torch.compile, on a GPU alone: minutes at the start, and other rounding.",
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="At most so many optimiser steps, over which the schedule runs; epochs 'auto' are then as many as "
        "they take.",
    )
    evaluate_steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Evaluate on validation every so many steps, and after the last; None: after each epoch.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Stop after so many evaluations in a row that are no better than the best before; None: never.",
    )
    alpha: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Only with a teacher: the weight of its soft labels in the loss; the labels have 1 - alpha.",
    )
    temperature: float = Field(
        default=2.0,
        gt=0,
        le=100,
        description="Only with a teacher: what its scores and the student's are divided by before they are compared.",
    )

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was added after 0.1 and has its default, so that older records stay the same."""
        said: dict[str, Any] = write(self)
        return {name: value for name, value in said.items() if name not in ADDED or value != _default(name)}

    @property
    def evaluation(self) -> str:
        """What an evaluation on validation is called: ``epoch`` where it follows each."""
        return "evaluation" if self.evaluate_steps else "epoch"

    @property
    def of_01(self) -> bool:
        """Whether 0.1 has all that this recipe asks for."""
        older = self.schedule != "cosine" and self.precision != "fp16"
        return older and all(getattr(self, name) == _default(name) for name in ADDED)

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """The fields that are set and say something of a teacher."""
        return tuple(name for name in ("alpha", "temperature") if getattr(self, name) != _default(name))

    def epochs_on(self, rows: int) -> int:
        """Return the number of epochs for this many rows of train: those that are begun, if no patience ends them."""
        steps = -(-rows // self.batch_size)
        if self.epochs != "auto":
            return self.epochs
        if self.max_steps is not None:
            return min(-(-self.max_steps // steps), MOST_EPOCHS) if steps else 1
        return next((epochs for epochs in AUTO_EPOCHS if epochs * steps >= AUTO_STEPS), AUTO_EPOCHS[-1])

    def steps_on(self, rows: int) -> int:
        """Return the number of optimiser steps for this many rows of train, if no patience ends them."""
        steps = self.epochs_on(rows) * -(-rows // self.batch_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def evaluations_on(self, rows: int) -> range:
        """Return the steps after which the model is evaluated on validation but for the last step, which always is."""
        return range(every := self.evaluate_steps or -(-rows // self.batch_size), self.steps_on(rows), every)

    def evaluated(self, step: int, rows: int) -> bool:
        """Return whether the model is evaluated on validation after so many steps on this many rows of train."""
        return step in self.evaluations_on(rows) or step == self.steps_on(rows)

    def stops(self, evaluations: int, best: int) -> bool:
        """Return whether training ends after so many evaluations, of which this one (from 1) is the best so far."""
        return self.patience is not None and evaluations - best >= self.patience

    def override(self, settings: dict[str, Any]) -> Recipe:
        """Return this recipe with some fields replaced.

        Args:
            settings: field name → value; strings (as from ``--set key=value``) are parsed to the field's type, ``none``
                where it may be None.

        Raises:
            UnknownNameError: a key is not a field of a recipe.
            UsageError: a value does not fit its field.
        """
        for key in settings:
            if key not in Recipe.model_fields:
                raise UnknownNameError("recipe field", key, Recipe.model_fields)
        parsed = {key: None if _is_none(key, value) else value for key, value in settings.items()}
        try:
            return Recipe.model_validate(self.model_dump() | parsed)
        except ValidationError as error:
            found = faults(error)
            raise UsageError(
                f"Recipe field '{found[0].place[0]}' cannot be {quoted(found[0].value)}: {wanted(found)}."
            ) from None


@cache
def _default(name: str) -> Any:
    return Recipe.model_fields[name].default


def _is_none(name: str, value: Any) -> bool:
    """Return whether a text means None for a field that may be None."""
    return isinstance(value, str) and value.strip().lower() == "none" and _default(name) is None
