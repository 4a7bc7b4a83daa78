"""A first distillation with nothing to prepare: on an embedded text, tokenised on the fly."""

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
"""The share of the paragraphs that is held out."""


@contextmanager
def corpus(tokenizer: Any) -> Iterator[Path]:
    """Provide the text as token shards while the block lasts.

    They are rebuilt every time, in seconds: equal texts give a corpus of equal digest, so that a checkpoint accepts it.
    """
    with tempfile.TemporaryDirectory(prefix="flue-bench-") as folder:
        build([TEXT], tokenizer, Path(folder), processes=1, held_out=HELD_OUT)
        yield Path(folder)
