"""French-like documents, a tokenizer that knows their words, and what a folder holds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NOUNS = ["marin", "facteur", "préau", "canal", "verger", "moulin", "sentier", "hameau", "clocher", "ruisseau"]
VERBS = ["longe", "regarde", "quitte", "traverse", "contourne", "retrouve"]
WORDS = ["le", "un", "vieux", "petit", *NOUNS, *VERBS, *map(str, range(2000))]


def tokenizer_of(words: Sequence[str]) -> Any:
    """A tokenizer that knows these words."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.enable_truncation(16)  # as some saved tokenizers do
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def sentence(draw: random.Random) -> str:
    noun, other = draw.sample(NOUNS, 2)
    return f"le vieux {noun} {draw.choice(VERBS)} un petit {other} {draw.randrange(2000)} {draw.randrange(2000)}"


def documents(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Documents of two sentences and more, all different."""
    draw = random.Random(seed)
    return ["\n".join(sentence(draw) for _ in range(draw.randint(2, longest))) for _ in range(count)]


def write_txt(path: Path, docs: Sequence[str]) -> Path:
    path.write_text("\n\n".join(docs) + "\n", encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
