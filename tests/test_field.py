"""Recipes and searches of the field: their fields as published."""

from __future__ import annotations

from itertools import product

import pytest
from transformers import TrainingArguments

from flue_bench import field
from flue_bench.data import registry
from flue_bench.errors import UnknownNameError
from flue_bench.recipe import Recipe
from flue_bench.search import searched


@pytest.mark.parametrize(("name", "length"), [("run_glue", 128), ("run_ner", 512)])
def test_the_examples_of_transformers_train_by_its_defaults(name: str, length: int) -> None:
    theirs = TrainingArguments(output_dir="unused")
    recipe = registry.select(["mini-cls"])[0].task.named_recipe(name)
    assert recipe == Recipe(
        epochs=int(theirs.num_train_epochs),
        batch_size=theirs.per_device_train_batch_size,
        learning_rate=theirs.learning_rate,
        schedule=theirs.lr_scheduler_type.value,
        warmup_ratio=theirs.warmup_steps,
        weight_decay=theirs.weight_decay,
        max_grad_norm=theirs.max_grad_norm,
        max_length=length,
        selection="best" if theirs.load_best_model_at_end else "last",
    )


def test_euroeval_trains_as_its_source_says() -> None:
    recipe = Recipe().override(dict(field.RECIPES["euroeval"].fields))
    assert (recipe.learning_rate, recipe.batch_size, recipe.warmup_ratio) == (2e-5, 32, 0.01)
    assert (recipe.max_steps, recipe.evaluate_steps, recipe.patience) == (10_000, 30, 2)
    assert (recipe.schedule, recipe.weight_decay, recipe.max_grad_norm) == ("linear", 0.0, 1.0)
    assert recipe.steps_on(1024) == 10_000 and round(recipe.warmup_ratio * recipe.steps_on(1024)) == 100
    assert recipe.selection == "best"


def test_camembert_2_searches_its_grid() -> None:
    grid = field.SEARCHES["camembert2"]
    assert dict(grid.fields) == {
        "learning_rate": (3e-5, 5e-5, 7e-5),
        "schedule": ("cosine", "linear"),
        "batch_size": (16, 32, 64),
        "warmup_ratio": (0.0, 0.1),
    }
    points = list(product(*grid.fields.values()))
    assert len(points) == 36
    for point in points:
        Recipe().override(dict(zip(grid.fields, point, strict=True)))


def test_each_has_a_source_and_is_there_for_every_task() -> None:
    for name, published in field.RECIPES.items():
        assert published.source
        for each in registry.registered().values():
            assert each.task.named_recipe(name) == Recipe().override(dict(published.fields))
    assert all(grid.source for grid in field.SEARCHES.values())


def test_a_task_may_have_its_own_of_that_name_and_unknown_ones_are_named() -> None:
    task = registry.select(["mini-cls"])[0].task
    own = task.model_copy(update={"recipe": {"run_glue": {"epochs": 9}}})
    assert own.named_recipe("run_glue") == Recipe(epochs=9)
    with pytest.raises(UnknownNameError, match="Did you mean run_glue"):
        task.named_recipe("run_gleu")
    with pytest.raises(UnknownNameError, match="It is a search: --search camembert2"):
        task.named_recipe("camembert2")
    with pytest.raises(UnknownNameError, match="It is a recipe: --recipe euroeval"):
        searched("euroeval")
