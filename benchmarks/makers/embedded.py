"""Makes ``flue_bench/embedded/teacher`` and ``student`` from French text, with flue-bench's own commands.

    python -m benchmarks.makers.embedded start --corpus TEXTS --out WORK/start     # tokenizer and configuration
    flue-bench corpus TEXTS/orangesum_news.txt.xz TEXTS/eltec_fra_novels.txt.xz --tokenizer WORK/start --out WORK/corpus
    flue-bench distill benchmarks/recipes/teacher-1.toml --student WORK/start --corpus WORK/corpus --out WORK/teacher-1
    flue-bench distill benchmarks/recipes/teacher-2.toml --student WORK/teacher-1 \\
        --corpus WORK/corpus --out WORK/teacher-2
    python -m benchmarks.makers.embedded ship teacher WORK/teacher-1 WORK/teacher-2
    flue-bench distill benchmarks/recipes/student.toml --corpus WORK/corpus --out WORK/student
    python -m benchmarks.makers.embedded ship student WORK/student

and what they are compared with, in ``benchmarks/makers/distillation.py``:

    python -m benchmarks.makers.embedded controls --out WORK               # WORK/random-weights, WORK/layers-alone

``TEXTS`` holds French plain text as ``*.txt.xz``, one paragraph a line. ``ship`` rounds the weights to
float16 and writes the card.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast, pipeline

from benchmarks.common import ROOT
from benchmarks.makers import camembert
from flue_distill.training.student import from_config, student_of

TEXTS = ("orangesum_news", "eltec_fra_novels")
VOCABULARY = 6_400
CHARACTERS = 10_000_000
"""Characters of each text for training the tokenizer."""
EMBEDDED = ROOT / "flue_bench" / "embedded"

PROMPTS = (
    "Paris est la <mask> de la France.",
    "Le président de la <mask> a pris la parole.",
    "Elle ouvrit la <mask> et entra dans la chambre.",
    "Je ne sais <mask> quoi dire.",
    "Le ministre de l'<mask> a annoncé une réforme.",
    "L'équipe a gagné le <mask> deux buts à un.",
    "Il y a deux <mask>, un homme est mort dans un accident.",
    "Elle est <mask> à Lyon en 1950.",
    "Il a été condamné à dix ans de <mask>.",
    "Les élèves sont <mask> à l'école.",
)

TEACHER = (
    "A very small CamemBERT, trained from random weights with MLMLoss alone. It is the teacher of `embedded:student`."
)
STUDENT = (
    "Half of the layers of `embedded:teacher` (the first and the last), distilled from it with the loss of "
    "DistilCamemBERT's card: 0.5 · DistilLoss + 0.2 · MLMLoss + 0.3 · CosineLoss."
)
CARD = """---
language: fr
license: mit
library_name: transformers
pipeline_tag: fill-mask
tags: [camembert, flue-bench]
---

# embedded:{name}

{about}

{parameters:,} parameters: {layers} layers, hidden size {hidden}, {heads} heads, a unigram vocabulary of {vocabulary:,}
pieces of its own; weights in float16.

It exists so that `flue-bench run` and `flue-bench distill` have something real to show without a network. **Not for
anything else**: it has read a few years of news and some old novels once, knows little, and repeats whatever prejudice
they hold.

## Training

On {device}, {precision}:

| sequence | steps | time | MLMLoss on held-out text{more} |
|---:|---:|---:|---:{rule}|
{parts}

The commands, corpus and tokenizer included, stand at the top of `benchmarks/makers/embedded.py` of flue-bench; all
settings of the last of them in `distillation.json`.

Text: OrangeSum (news of orange.fr, 2011 to 2020, CC BY-SA 4.0) and the French novels of ELTeC (public domain); one
document in a hundred is held out. Weights: MIT licence.

## What it guesses

| prompt | first three guesses |
|---|---|
{rows}
"""


def lines(files: list[Path]) -> Iterator[str]:
    """Yield the lines at the beginning of each file, normalised as by the tokenizer."""
    for file in files:
        left = CHARACTERS
        with lzma.open(file, "rt", encoding="utf-8") as text:
            for line in text:
                left -= len(line)
                if left <= 0:
                    break
                yield " ".join(
                    unicodedata.normalize("NFKC", line).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()
                )


def make_tokenizer(files: list[Path]) -> PreTrainedTokenizerFast:
    """Train a CamemBERT-like fast tokenizer: a sentencepiece unigram model, in tokenizers' format."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(files),
        model_writer=model,
        model_type="unigram",
        vocab_size=VOCABULARY - len(camembert.SPECIAL) + 1,  # <unk> is counted there too
        normalization_rule_name="identity",
        max_sentencepiece_length=16,
        max_sentence_length=100_000,
        bos_id=-1,
        eos_id=-1,
        num_threads=2,
        minloglevel=1,
    )
    made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(made.IdToPiece(i), made.GetScore(i)) for i in range(len(made)) if not made.IsUnknown(i)]
    vocabulary = [(token, 0.0) for token in camembert.SPECIAL] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=camembert.SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
            normalizers.Replace(Regex(r"\s+"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    mask = AddedToken("<mask>", lstrip=True, special=True)  # takes its space
    tokenizer.add_special_tokens([*camembert.SPECIAL[:-1], mask])
    return camembert.wrapped(tokenizer, mask)


def start(arguments: argparse.Namespace) -> None:
    """Write tokenizer and configuration without weights: ``flue-bench distill --student`` starts with random ones."""
    tokenizer = make_tokenizer([arguments.corpus / f"{name}.txt.xz" for name in TEXTS])
    config = camembert.configuration(
        tokenizer,
        architectures=["CamembertForMaskedLM"],
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=768,
        hidden_dropout_prob=0.0,  # less than one pass over the text: nothing is seen twice
        attention_probs_dropout_prob=0.0,
    )
    tokenizer.save_pretrained(arguments.out)
    config.save_pretrained(arguments.out)


def ship(arguments: argparse.Namespace) -> None:
    """Write a finished training in float16, with dropout for fine-tuning and a card that shows examples."""
    trained = arguments.trained[-1]
    network = AutoModelForMaskedLM.from_pretrained(trained, dtype=torch.float32)
    network.config.hidden_dropout_prob = network.config.attention_probs_dropout_prob = 0.1
    folder = EMBEDDED / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained / "distillation.json", folder)
    parts = [json.loads((part / "distillation.json").read_text(encoding="utf-8")) for part in arguments.trained]
    tokenizer = AutoTokenizer.from_pretrained(trained)
    camembert.write(folder, network, tokenizer, lambda: card(arguments.name, folder, parts))


def controls(arguments: argparse.Namespace) -> None:
    """Write untrained students for comparison: one with random weights, one with the teacher's layers as they are."""
    teacher = AutoModelForMaskedLM.from_pretrained(EMBEDDED / "teacher", dtype=torch.float32)
    layers_alone, _ = student_of(teacher)
    for name, network in (("random-weights", from_config(layers_alone.config, 0)), ("layers-alone", layers_alone)):
        network.save_pretrained(arguments.out / name)
        AutoTokenizer.from_pretrained(EMBEDDED / "teacher").save_pretrained(arguments.out / name)


def card(name: str, folder: Path, parts: list[dict[str, Any]]) -> str:
    """Return the model card; its guesses are computed here with the files in ``folder``."""
    network = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    guess = pipeline("fill-mask", model=network, tokenizer=AutoTokenizer.from_pretrained(folder), top_k=3)
    config, student = network.config, bool(parts[-1]["teacher"])
    lines = []
    for part in parts:
        recipe, cost, before, after = part["recipe"], part["cost"], *_looks(part)
        agreement = f" | {before['top1']:.1%} → {after['top1']:.1%}" if student else ""
        lines.append(
            f"| {recipe['length']} | {cost['steps']:,} of {part['batch_tokens']:,} tokens | {cost['seconds'] / 60:.0f} "
            f"minutes | {before['mlm']:.3f} → {after['mlm']:.3f}{agreement} |"
        )
    return CARD.format(
        name=name,
        about=STUDENT if student else TEACHER,
        parameters=network.num_parameters(),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        device=f"{parts[-1]['environment']['threads']} cores ({parts[-1]['environment']['device']})",
        precision=parts[-1]["recipe"]["precision"],
        more=" | top-1 agreement with the teacher" if student else "",
        rule="|---:" if student else "",
        parts="\n".join(lines),
        rows="\n".join(f"| {prompt} | {', '.join(map(_guessed, guess(prompt)))} |" for prompt in PROMPTS),
    )


def _looks(part: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    return part["losses"]["held_out_before"], part["losses"]["held_out"]


def _guessed(guess: dict[str, Any]) -> str:
    return f"{guess['token_str'].strip()} ({guess['score']:.0%})"


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("start")
    one.add_argument("--corpus", type=Path, required=True, metavar="TEXTS")
    one.add_argument("--out", type=Path, required=True, metavar="START")
    one.set_defaults(command=start)
    two = commands.add_parser("ship")
    two.add_argument("name", choices=("teacher", "student"))
    two.add_argument("trained", type=Path, nargs="+", help="parts of one training, in order")
    two.set_defaults(command=ship)
    three = commands.add_parser("controls")
    three.add_argument("--out", type=Path, required=True, metavar="WORK")
    three.set_defaults(command=controls)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
