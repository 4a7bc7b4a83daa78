"""What 0.1 left behind stays readable: a corpus and a distilled student that its own commands wrote.

``tests/results/test_verify.py`` has a record of it.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import transformers

from flue_bench.data.model_names import EMBEDDED
from flue_bench.progress import Console, Display
from flue_bench.training import models
from flue_distill.corpus.shards import open_corpus
from flue_distill.corpus.tokens import identify
from flue_distill.training.recipe import DistilRecipe
from flue_distill.training.run import distil
from flue_distill.training.trainer import PROTOCOL
from support import ROOT
from support.tiny import tiny

FIRST = ROOT / "tests/fixtures/v1"


def test_a_corpus_of_the_first_release_is_read_and_trained_on(tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED / "student")
    corpus = open_corpus(FIRST / "corpus", identify(tokenizer).digest)
    assert (corpus.manifest.digest, corpus.manifest.tokens, corpus.manifest.documents) == ("c5aa42cbbd00d585", 1257, 22)
    blocks, held_out = corpus.blocks(32), corpus.held_out(32)
    assert len(blocks) == 1257 // 30 and len(held_out) >= 5
    ids = np.asarray(blocks[0])
    assert "Une élève" in tokenizer.decode(np.concatenate([np.asarray(block) for block in blocks]))
    assert ids.max() < len(tokenizer) and corpus.token_counts().sum() == 1257

    recipe = DistilRecipe(
        teacher=str(EMBEDDED / "student"), layers=[0], length=32, batch_sequences=4, micro_batch=4, steps=2,
        precision="fp32",
    )  # fmt: skip
    display = Display(Console(file=io.StringIO()))
    assert distil(recipe, FIRST / "corpus", tmp_path / "out", display)
    made = json.loads((tmp_path / "out/distillation.json").read_text(encoding="utf-8"))
    assert made["corpus"]["digest"] == corpus.manifest.digest and made["protocol"] == PROTOCOL


def test_a_student_of_the_first_release_names_its_teacher_and_is_finished(tmp_path: Path) -> None:
    folder = tiny("camembert", tmp_path / "student")
    shutil.copy(FIRST / "distilled/distillation.json", folder)
    made = json.loads((folder / "distillation.json").read_text(encoding="utf-8"))
    assert "protocol" not in made
    assert models.resolve(str(folder)).ref.teacher == made["teacher"]["digest"]
    recipe = DistilRecipe(**made["recipe"])
    display = Display(Console(file=io.StringIO()))
    assert not distil(recipe, None, folder, display, resume=True)  # there is nothing left to do
