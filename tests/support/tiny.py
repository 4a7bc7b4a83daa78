"""Tiny random encoders of every kind, each with a small tokenizer of its kind in a folder: ``tiny("bert", path)``.

Hidden size 32, 2 layers, tokenizers trained on French sentences of our own. What a real checkpoint has, these have: the
layout of the files, special tokens, positions, segments.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WHO = (
    "Où l'élève",
    "Ça, c'est une forêt que le garde",
    "Une très vieille géomètre",
    "Le maïs que ma sœur",
    "Mon oncle",
)
WHAT = ("répare", "vend à Valmorin", "range « vite »", "achète !", "peint, dit-on,")
WHERE = ("au marché.", "près du canal ?", "dans la cour : 12 fois.", "sous le préau ; hélas.", "à Port-Grenet.")
SENTENCES = tuple(" ".join(parts) for parts in product(WHO, WHAT, WHERE))
"""125 sentences that every tokenizer here is trained on."""

ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny(
    kind: str,
    folder: Path,
    *,
    seed: int = 0,
    auto: Any = transformers.AutoModelForMaskedLM,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """Save a random model of this kind with its tokenizer.

    Args:
        kind: a key of ``KINDS``: the ``model_type`` of its configuration.
        folder: to save in.
        seed: of the weights.
        auto: the Auto class whose head is saved; masked LM, as a pre-trained checkpoint has.
        dtype: of the saved weights.
        config: instead of the tiny sizes; ``num_labels=5`` for a classification head.
    """
    tokenizer, settings = KINDS[kind]
    words = tokenizer()
    words.save_pretrained(folder)
    tokens = {"vocab_size": len(words), "pad_token_id": words.pad_token_id}
    torch.manual_seed(seed)
    model = auto.from_config(transformers.AutoConfig.for_model(kind, **{**settings, **tokens, **config}))
    model.to(dtype).save_pretrained(folder)
    return folder


def three_models(folder: Path) -> None:
    """Make the models one and two, which have one tokenizer, and three, which has another."""
    for name, kind, seed in (("one", "camembert", 0), ("two", "camembert", 1), ("three", "bert", 0)):
        tiny(kind, folder / name, seed=seed)


def _trained(tokenizer: Tokenizer, trainer: Any) -> dict[str, Any]:
    """The JSON of the trained tokenizer's model."""
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


@cache
def _unigram(special: tuple[str, ...], unknown: str) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, as SentencePiece has them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    return [(piece, score) for piece, score in _trained(tokenizer, trainer)["vocab"]]


@cache
def _bytes(special: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level vocabulary and merges, as GPT-2 and RoBERTa have them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model = _trained(tokenizer, trainer)
    return model["vocab"], [(left, right) for left, right in model["merges"]]


@cache
def _wordpieces() -> dict[str, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=250, special_tokens=list(BERT), show_progress=False)
    vocabulary: dict[str, int] = _trained(tokenizer, trainer)["vocab"]
    return vocabulary


def _camembert() -> Any:
    return transformers.CamembertTokenizer(vocab=_unigram(ROBERTA, "<unk>"), additional_special_tokens=[])


def _xlm_roberta() -> Any:
    return transformers.XLMRobertaTokenizer(vocab=_unigram(ROBERTA, "<unk>"))


def _deberta() -> Any:
    return transformers.DebertaV2Tokenizer(vocab=_unigram(BERT, "[UNK]"))


def _bert() -> Any:
    return transformers.BertTokenizer(vocab=_wordpieces(), do_lower_case=False)


def _roberta() -> Any:
    vocabulary, merges = _bytes(ROBERTA)
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


def _modernbert() -> Any:
    vocabulary, merges = _bytes(BERT)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def _flaubert() -> Any:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))]
    trainer = trainers.BpeTrainer(
        vocab_size=250, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    model = _trained(tokenizer, trainer)
    with TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges.write_text("".join(f"{left} {right} 1\n" for left, right in model["merges"]), encoding="utf-8")
        return transformers.FlaubertTokenizer(vocabulary, merges)


_BERT_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_ROBERTA_SIZES = {
    **_BERT_SIZES,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}

KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "camembert": (_camembert, _ROBERTA_SIZES),
    "roberta": (_roberta, _ROBERTA_SIZES),
    "xlm-roberta": (_xlm_roberta, _ROBERTA_SIZES),
    "bert": (_bert, _BERT_SIZES),
    "distilbert": (_bert, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}),
    "electra": (_bert, {**_BERT_SIZES, "embedding_size": 16}),
    "deberta-v2": (
        _deberta,
        {
            **_BERT_SIZES,  # and what DeBERTa-v3 adds to it
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "pooler_hidden_size": 32,
        },
    ),
    "flaubert": (_flaubert, {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}),
    "modernbert": (
        _modernbert,
        {
            **_BERT_SIZES,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
    ),
}
"""``model_type`` → how to make its tokenizer, and the sizes of its configuration."""
