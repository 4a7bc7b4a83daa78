"""Makes ``flue_bench/embedded/untrained``: our own small French tokenizer, and a CamemBERT of random weights.

    python -m benchmarks.makers.untrained --corpus DIR

``DIR`` holds French plain text, one paragraph a line, as ``*.txt`` or ``*.txt.xz``. The first ``--megabytes`` of each
file train the tokenizer; the weights see nothing of it. They are the same at every run; the trainer of the tokenizer is
not deterministic, so that a few of its pieces may differ.
"""

from __future__ import annotations

import argparse
import lzma
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CamembertForMaskedLM, PreTrainedTokenizerFast

from benchmarks.common import ROOT
from benchmarks.makers import camembert

TARGET = ROOT / "flue_bench" / "embedded" / "untrained"
VOCABULARY = 3_600

CARD = """---
language: fr
license: mit
library_name: transformers
tags: [camembert, untrained, random-weights]
---

# untrained

**This model knows nothing.** It has the shape of a very small CamemBERT ({parameters:,} parameters: {layers} layers,
hidden size {hidden}, {heads} heads) and weights drawn at random with seed 0, stored in float16. It has never been
trained on anything.

It exists so that a task can be tried in seconds and without network (`--model embedded:untrained`): a
fine-tuning that starts from here learns only what the training rows of the task teach it. Its scores say that the
machinery works, and nothing about French language models. Do not use it for anything else.

Only the tokenizer has seen French: a unigram vocabulary of {vocabulary:,} pieces (NFKC, metaspace,
`<s> A </s></s> B </s>`), trained on the first {megabytes} MB of each of: {files}.

Made by `python -m benchmarks.makers.untrained --corpus DIR`, part of flue-bench, MIT licence.
"""


def lines_of(path: Path, megabytes: float) -> Iterator[str]:
    """Yield the first megabytes of a text file, line by line, without blank lines."""
    left = int(megabytes * 1e6)
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            if left <= 0:
                return
            left -= len(line.encode())
            if line.strip():
                yield line.strip()


def make_tokenizer(files: list[Path], megabytes: float) -> PreTrainedTokenizerFast:
    """Train a CamemBERT-like fast tokenizer, unigram over metaspace, on the beginning of each file."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(camembert.SPECIAL),
        unk_token="<unk>",
        max_piece_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for file in files for line in lines_of(file, megabytes)), trainer)
    return camembert.wrapped(tokenizer, "<mask>")


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    parser.add_argument("--files", nargs="+", default=["eltec_fra_novels", "orangesum_news", "textbox_roman19"])
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--output", type=Path, default=TARGET)
    arguments = parser.parse_args()

    files = sorted(f for f in arguments.corpus.iterdir() if f.name.split(".")[0] in arguments.files)
    if not files:
        parser.error(f"{arguments.corpus} holds none of {', '.join(arguments.files)} as .txt or .txt.xz")
    tokenizer = make_tokenizer(files, arguments.megabytes)
    config = camembert.configuration(
        tokenizer, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512
    )
    torch.manual_seed(0)
    model = CamembertForMaskedLM(config)
    card = CARD.format(
        parameters=model.num_parameters(),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=len(tokenizer),
        megabytes=f"{arguments.megabytes:g}",
        files=", ".join(f"`{f.name.split('.')[0]}`" for f in files),
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    camembert.write(arguments.output, model, tokenizer, lambda: card)


if __name__ == "__main__":
    main()
