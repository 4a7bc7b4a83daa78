"""How a model is fine-tuned: one frozen set of numbers that the record keeps whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from flue_bench.errors import UnknownNameError, UsageError, faults, quoted, wanted

Precision = Literal["fp32", "bf16"]

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

    epochs: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = Field(
        default="auto",
        description=f"'auto': the fewest of {AUTO_EPOCHS[0]} to {AUTO_EPOCHS[-1]} that give {AUTO_STEPS} steps on the "
        "rows trained on. The record holds the number.",
    )
    batch_size: int = Field(default=32, ge=1, le=2**20, description="Examples an optimiser step.")
    learning_rate: float = Field(default=3e-5, gt=0, description="Peak learning rate of AdamW.")
    schedule: Literal["linear", "constant"] = Field(default="linear", description="After warm-up: decay to 0, or none.")
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
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="The record holds what 'auto' resolved to."
    )
    compiled: bool = Field(
        default=False,
        description="Steps through torch.compile, on a GPU alone: minutes at the start, and other rounding.",
    )

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was added after 0.1 and has its default, so that older records stay the same."""
        said: dict[str, Any] = write(self)
        if not self.compiled:
            said.pop("compiled", None)
        return said

    def epochs_on(self, rows: int) -> int:
        """Return the number of epochs for this many rows of train."""
        if self.epochs != "auto":
            return self.epochs
        steps = -(-rows // self.batch_size)
        return next((epochs for epochs in AUTO_EPOCHS if epochs * steps >= AUTO_STEPS), AUTO_EPOCHS[-1])

    def override(self, settings: dict[str, Any]) -> Recipe:
        """Return this recipe with some fields replaced.

        Args:
            settings: field name → value; strings (as from ``--set key=value``) are parsed to the field's type.

        Raises:
            UnknownNameError: a key is not a field of a recipe.
            UsageError: a value does not fit its field.
        """
        for key in settings:
            if key not in Recipe.model_fields:
                raise UnknownNameError("recipe field", key, Recipe.model_fields)
        try:
            return Recipe.model_validate(self.model_dump() | settings)
        except ValidationError as error:
            found = faults(error)
            raise UsageError(
                f"Recipe field '{found[0].place[0]}' cannot be {quoted(found[0].value)}: {wanted(found)}."
            ) from None
