"""A first distillation with nothing to prepare: on a text of our own, tokenised on the fly."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flue_distill.corpus.shards import build

TEXT = Path(__file__).parent / "demo.txt"
"""French paragraphs; ``benchmarks/makers/texts.py`` wrote them."""
HELD_OUT = 0.05
"""Of the paragraphs."""


@contextmanager
def corpus(tokenizer: Any) -> Iterator[Path]:
    """The text as token shards, as long as the block lasts.

    Made anew every time, in seconds: equal texts give a corpus of equal digest, so that a checkpoint accepts it.
    """
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as folder:
        build([TEXT], tokenizer, Path(folder), processes=1, held_out=HELD_OUT)
        yield Path(folder)
