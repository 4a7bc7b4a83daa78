"""Task files that several tests use alike."""

from __future__ import annotations


def _recipe(fields: dict[str, object]) -> str:
    return "\n".join(["[recipe.standard]", *(f"{key} = {value}" for key, value in fields.items())]) + "\n"


def sentence_task(name: str, train: str, validation: str, test: str, **recipe: object) -> str:
    """A task file of sentences with the labels non and oui; its standard recipe has these fields."""
    return f"""
name = "{name}"
kind = "sentence"
labels = ["non", "oui"]
metric = "accuracy"
[[source]]
files = {{ train = "{train}", validation = "{validation}", test = "{test}" }}
{_recipe(recipe)}"""


def names_task(**recipe: object) -> str:
    """A task file of persons' names in ``ner.conll``, a quarter of which becomes the validation split."""
    return f"""
name = "noms"
kind = "tokens"
labels = ["O", "B-PER", "I-PER"]
scheme = "IOB2"
metric = "entity_f1_micro"
[[source]]
files = {{ train = "ner.conll", test = "ner.conll" }}
columns = {{ words = 0, tags = 1 }}
[split]
validation = 0.25
{_recipe(recipe)}"""
