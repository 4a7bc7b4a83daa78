"""Recipes for students: every choice that the model card leaves open is a named field, stored with the student."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from flue_bench import files
from flue_bench.errors import UnknownNameError, UsageError, faults, quoted, wanted
from flue_bench.recipe import Precision
from flue_bench.record import later
from flue_bench.task import Schema

RECIPES = Path(__file__).parent / "recipes"

KlRows = Literal["all", "masked"]
LATER = (
    "freeze_positions", "weight_hidden", "hidden_layers", "weight_relations", "relation_layer", "relation_heads",
    "bf16_teacher",
)  # fmt: skip
"""Fields that were added after 0.1: left out where they have their defaults, so that older recipes stay the same."""


PARTS_OF_LAYERS = {"hidden": ("hidden_layers",), "relations": ("relation_layer", "relation_heads")}
"""Parts of the loss that read layers of teacher and student → the fields that say how."""


class LossWeights(Schema):
    """The card's three numbers, ``Loss = 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss``, further parts'."""

    distil: float = Field(default=0.5, ge=0)
    mlm: float = Field(default=0.2, ge=0)
    cosine: float = Field(default=0.3, ge=0)
    hidden: float = later(0.0, ge=0)
    relations: float = later(0.0, ge=0)


def _from_text(value: Any) -> Any:
    """Return ``0,2,4`` of the command line as a list."""
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Many = BeforeValidator(_from_text)


class DistilRecipe(Schema):
    """One distillation. The defaults are DistilCamemBERT's where its card says, else those of the reference.

    The reference is the research project ``distillation`` of Hugging Face transformers.
    """

    teacher: str | None = Field(default=None, description="Hub id or folder of a masked LM; none: MLMLoss alone.")
    student: str | None = Field(
        default=None,
        description="Hub id or folder to start from, weights or a configuration alone; none: from the teacher.",
    )
    layers: Annotated[tuple[int, ...], Many] = Field(
        default=(), description="Teacher layers that the student keeps, from 0; empty: half of them, evenly spread."
    )

    weight_distil: float = Field(default=0.5, ge=0, description="Weight of DistilLoss in the sum.")
    weight_mlm: float = Field(default=0.2, ge=0, description="Weight of MLMLoss.")
    weight_cosine: float = Field(default=0.3, ge=0, description="Weight of CosineLoss.")
    weight_hidden: float = Field(
        default=0.0,
        ge=0,
        description="Weight of HiddenLoss (TinyBERT): MSE of each student layer, projected by a learned matrix.",
    )
    hidden_layers: Annotated[tuple[int, ...], Many] = Field(
        default=(),
        description="Teacher layer, from 0, that each student layer learns; empty: evenly, the last for the last.",
    )
    weight_relations: float = Field(
        default=0.0,
        ge=0,
        description="Weight of RelationLoss (MiniLMv2): Q-Q, K-K and V-V of the student's last layer.",
    )
    relation_layer: int | None = Field(
        default=None, ge=0, description="Teacher layer, from 0, whose relations are learned; none: the last."
    )
    relation_heads: int | None = Field(
        default=None, ge=1, description="Heads that relations are cut into; none: the teacher's attention heads."
    )
    temperature: float = Field(
        default=2.0, gt=0, description="T of the softmax in DistilLoss, which is multiplied by T²."
    )
    kl_rows: KlRows = Field(
        default="all",
        description="Positions in DistilLoss: all that are no padding (the reference), or the masked ones.",
    )

    mask_fraction: float = Field(
        default=0.15, gt=0, le=1, description="Targets: ceil(fraction · tokens) of each sequence."
    )
    mask_smoothing: float = Field(
        default=0.7, ge=0, description="A token is drawn with probability ∝ count^-smoothing."
    )
    replace_mask: float = Field(default=0.8, ge=0, le=1, description="Share of the targets replaced by the mask token.")
    replace_random: float = Field(default=0.1, ge=0, le=1, description="Share replaced by any token; the rest is kept.")

    freeze_positions: bool = Field(
        default=False, description="Leave the student's position embeddings as they are, as the reference can."
    )

    learning_rate: float = Field(default=5e-4, gt=0, description="Peak learning rate of AdamW.")
    betas: Annotated[tuple[float, float], Many] = Field(default=(0.9, 0.98), description="Of AdamW.")
    eps: float = Field(default=1e-6, gt=0, description="Of AdamW.")
    weight_decay: float = Field(default=0.0, ge=0, description="Not applied to biases and norms.")
    warmup_ratio: float = Field(
        default=0.05, ge=0, lt=1, description="Share of all steps in linear warm-up; then linear decay."
    )
    max_grad_norm: float = Field(default=5.0, gt=0, description="Clipping of the global gradient norm.")

    length: int = Field(default=512, ge=8, description="Tokens a sequence, special ones included.")
    batch_sequences: int = Field(default=250, ge=1, description="Sequences an optimiser step, over all processes.")
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=5,
        description="Sequences a forward pass on one device; changes rounding (on GPUs also dropout). 'auto': the most "
        "that memory holds; distillation.json holds the number.",
    )
    epochs: int = Field(default=3, ge=1, description="Passes over the corpus, unless steps says otherwise.")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps instead of epochs.")
    precision: Literal["auto"] | Precision = Field(
        default="auto", description="bf16 or fp16 where the hardware gains from it."
    )
    bf16_teacher: bool = Field(
        default=False,
        description="In bf16, the teacher wholly in it, its sums and norms too: fewer bytes on a GPU, coarser targets.",
    )
    seed: int = Field(default=0, ge=0, description="The seed of order, masks, dropout and whatever starts random.")

    evaluate_steps: int = Field(default=1000, ge=1, description="Steps between two looks at the held-out split.")
    evaluate_sequences: int = Field(default=256, ge=1, description="Held-out sequences looked at, at most.")
    checkpoint_seconds: float = Field(
        default=600.0, ge=0, description="Seconds between two checkpoints; 0: after every step."
    )

    @model_validator(mode="after")
    def _consistent(self) -> DistilRecipe:
        if self.replace_mask + self.replace_random > 1 + 1e-9:
            raise ValueError("replace_mask and replace_random are shares of the same targets: at most 1 together")
        if self.teacher is None and self.layers:
            raise ValueError("layers are the teacher's, and there is no teacher")
        for part, settings in PARTS_OF_LAYERS.items():
            weight = getattr(self, f"weight_{part}")
            if weight and self.teacher is None:
                raise ValueError(f"weight_{part} is of the teacher's layers, and there is no teacher")
            for name in settings:
                if not weight and getattr(self, name) not in (None, ()):
                    raise ValueError(f"{name} says how weight_{part} is meant, which is 0")
        if self.weights == LossWeights(distil=0, mlm=0, cosine=0):
            raise ValueError("all weights of the loss are 0")
        return self

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was added after 0.1 and has its default, so that older students' recipes stay the same."""
        said: dict[str, Any] = write(self)
        for name in LATER:
            if getattr(self, name) == type(self).model_fields[name].default:
                said.pop(name, None)
        return said

    @property
    def weights(self) -> LossWeights:
        """The weights of the parts of the loss; without a teacher there is only one."""
        if self.teacher is None:
            return LossWeights(distil=0, mlm=1, cosine=0)
        return LossWeights(
            distil=self.weight_distil,
            mlm=self.weight_mlm,
            cosine=self.weight_cosine,
            hidden=self.weight_hidden,
            relations=self.weight_relations,
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens per optimiser step."""
        return self.batch_sequences * self.length

    @property
    def at_once(self) -> int:
        """Sequences a forward pass, of a recipe whose ``micro_batch`` is found."""
        if self.micro_batch == "auto":
            raise ValueError("micro_batch is still to be found")
        return self.micro_batch

    @classmethod
    def load(cls, name: str | None, settings: dict[str, Any]) -> DistilRecipe:
        """Load a recipe file, a shipped recipe by its name, or the defaults, with some fields replaced.

        Args:
            name: path of a TOML file, or ``distilcamembert``, ``laptop``, ``demo``.
            settings: field → value; strings (as from ``--set key=value``) are parsed to the field's type.

        Raises:
            UsageError: no such file, invalid TOML, or an invalid value; names the file and the key.
            UnknownNameError: a key is not a field of a recipe, or the name is not a shipped recipe.
        """
        path = None if name is None else _find(name)
        try:
            data = {} if path is None else tomllib.loads(files.read(path).decode())
        except OSError as error:
            raise UsageError(f"Recipe {path} cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError) as error:  # of TOML or of UTF-8; nested too deep
            raise UsageError(f"Recipe {path} is not TOML: {error}.") from None
        for key in (*data, *settings):
            if key not in cls.model_fields:
                hint = f"({path})" if key not in settings else ""
                raise UnknownNameError("recipe field", key, cls.model_fields, hint)
        return _checked(data, settings, path)

    def override(self, settings: dict[str, Any]) -> DistilRecipe:
        """Return this recipe with some fields replaced.

        Args:
            settings: as for ``load``.

        Raises:
            UsageError: a value does not fit its field.
            UnknownNameError: a key is not a field of a recipe.
        """
        for key in settings:
            if key not in DistilRecipe.model_fields:
                raise UnknownNameError("recipe field", key, DistilRecipe.model_fields)
        return _checked(self.model_dump(), settings, None)


def _checked(data: dict[str, Any], settings: dict[str, Any], path: Path | None) -> DistilRecipe:
    """Return the recipe with these fields; ``path`` is the file of ``data``, for messages."""
    try:
        return DistilRecipe.model_validate(data | settings)
    except ValidationError as error:
        found = faults(error)
        first = found[0]
        key = str(first.place[0]) if first.place else ""
        of_file = key not in settings if key else _contradicts(data)
        where = f"{path}: " if path is not None and of_file else ""
        about = f"recipe field '{key}' cannot be {quoted(first.value)}" if key else "the recipe contradicts itself"
        raise UsageError(f"{where}{about}: {wanted(found)}.") from None


def _contradicts(data: dict[str, Any]) -> bool:
    """Return whether fields are no recipe by themselves."""
    try:
        DistilRecipe.model_validate(data)
    except ValidationError:
        return True
    return False


def _find(name: str) -> Path:
    shipped = {path.stem: path for path in RECIPES.glob("*.toml")}
    if name.endswith(".toml") or "/" in name:
        return files.at_home(name)
    if name not in shipped:
        raise UnknownNameError("recipe", name, shipped, "A file of your own ends in .toml.")
    return shipped[name]
