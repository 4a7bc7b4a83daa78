"""Writes the French text that flue-bench carries along, from the grammar of the mini tasks.

    python -m benchmarks.makers.texts

``flue_bench/sample.txt``: what ``flue-bench speed`` reads, a text a line, of one to five sentences.
``distill/flue_distill/corpus/demo.txt``: what ``flue-bench distill`` without arguments trains on, in paragraphs.

Both are the same at every run, and under the licence of flue-bench (MIT). Nothing is taken that belongs to the
validation or test split of a mini task.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from random import Random

from benchmarks.common import ROOT
from flue_tasks.mini.inference import inference
from flue_tasks.mini.names import belongs
from flue_tasks.mini.paraphrases import pair
from flue_tasks.mini.reviews import review

SAMPLE = ROOT / "flue_bench" / "sample.txt"
DEMO = ROOT / "distill" / "flue_distill" / "corpus" / "demo.txt"

SAMPLE_TEXTS = 200
DEMO_BYTES = 380_000


def sentences(seed: str) -> Iterator[str]:
    """Yield sentences without end or repetition: opinions, facts on people and places, and consequences."""
    rng, said = Random(seed), set[str]()
    while True:
        write, labels = rng.choice(((review, 2), (pair, 2), (inference, 3)))
        keys, text, _ = write(rng, rng.randrange(labels), "train")
        if text not in said and all(belongs(key, "train") for key in keys):
            said.add(text)
            yield text


def paragraphs(seed: str, shortest: int, longest: int) -> Iterator[str]:
    """Yield paragraphs of some sentences each."""
    rng, source = Random(f"{seed} lengths"), sentences(seed)
    while True:
        yield " ".join(next(source) for _ in range(rng.randint(shortest, longest)))


def main() -> None:
    """Write the two files."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = paragraphs("sample", 1, 5)
    SAMPLE.write_text("".join(f"{next(lines)}\n" for _ in range(SAMPLE_TEXTS)), encoding="utf-8")
    blocks, size = [], 0
    for text in paragraphs("demo", 4, 9):
        size += len(text.encode()) + 2
        if size > DEMO_BYTES:
            break
        blocks.append(f"{text}\n")  # a blank line separates documents
    DEMO.write_text("\n".join(blocks), encoding="utf-8")
    for path in (SAMPLE, DEMO):
        print(f"{path.stat().st_size:>8,} bytes  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
