"""What the embedded models share: CamemBERT's special tokens and configuration, and how a folder is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors
from transformers import CamembertConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MAX_LENGTH = 512


def wrapped(tokenizer: Tokenizer, mask_token: str | AddedToken) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose first tokens are ``SPECIAL`` as transformers uses it: ``<s> A </s></s> B </s>``."""
    start, end = (("<s>", 0), ("</s>", 2))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[start, end]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token=mask_token,
        model_input_names=["input_ids", "attention_mask"],  # CamemBERT has a single token type
    )


def configuration(tokenizer: PreTrainedTokenizerFast, **sizes: Any) -> CamembertConfig:
    """Return a configuration for this tokenizer; ``sizes`` are fields of ``CamembertConfig``."""
    return CamembertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH + 2,  # positions start after the padding index, at 2
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        layer_norm_eps=1e-5,
        **sizes,
    )


def write(folder: Path, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: Callable[[], str]) -> None:
    """Write weights in float16, tokenizer and card, and print the size of each file.

    Args:
        folder: the folder to write.
        network: the model; its weights are converted in place.
        tokenizer: its tokenizer.
        card: returns the text of the card, once the other files are there.
    """
    network.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card(), encoding="utf-8")
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:>10,} bytes  {file.name}")
