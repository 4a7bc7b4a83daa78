"""A tagging without entities: no scheme, no O, one class a word, from the task file to the board."""

from __future__ import annotations

import json
from itertools import chain, product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, f1_score

from flue_bench.kinds.tokens import TOKENS, UNSEEN, word_scores
from support.command_line import done, flue_bench
from support.tiny import tiny

LABELS = ("DET", "NOUN", "VERB", "ADV")
TASK = """
name = "classes"
kind = "tokens"
labels = ["DET", "NOUN", "VERB", "ADV"]
metric = "word_accuracy"

[[source]]
files = { train = "a.conllu", validation = "a.conllu", test = "a.conllu" }
columns = { words = 1, tags = 3 }

[recipe.standard]
epochs = 8
learning_rate = 4e-3
batch_size = 8
max_length = 12
dropout = 0.0
"""


def test_scores_of_words_are_scikit_learns_and_an_unseen_word_is_wrong() -> None:
    rng = np.random.default_rng(0)
    gold = [rng.integers(0, 4, 20).tolist() for _ in range(30)]
    predicted = [[tag if rng.random() < 0.7 else int(rng.integers(0, 4)) for tag in row] for row in gold]
    predicted[3][-5:] = [UNSEEN] * 5
    result = word_scores(gold, predicted, LABELS, [[2] * 20] * 30)
    true, guessed = list(chain(*gold)), list(chain(*predicted))
    names = list(range(4))
    assert result.scores == {
        "word_accuracy": pytest.approx(accuracy_score(true, guessed)),
        "word_f1_macro": pytest.approx(f1_score(true, guessed, labels=names, average="macro")),
        "word_f1_weighted": pytest.approx(f1_score(true, guessed, labels=names, average="weighted")),
        "subword_f1_macro": pytest.approx(f1_score(true, guessed, labels=names, average="macro")),
        "subword_f1_weighted": pytest.approx(f1_score(true, guessed, labels=names, average="weighted")),
    }
    assert set(result.scores) <= set(TOKENS.metrics())
    none_of_last = [[min(tag, 2) for tag in row] for row in gold]
    macro = word_scores(none_of_last, none_of_last, LABELS, [[2] * 20] * 30).scores["word_f1_macro"]
    assert macro == f1_score(list(chain(*none_of_last)), list(chain(*none_of_last)), average="macro") == 1.0
    with pytest.raises(ValueError, match="predicted holds -1"):  # where there is O, an unseen word is O
        word_scores([[0]], [[UNSEEN]], ("O", "PER"), [[1]])


@pytest.mark.slow
def test_parts_of_speech_are_learned_scored_verified_and_drawn(tmp_path: Path) -> None:
    """The last words of some sentences are beyond ``max_length``: they count as wrong, whatever they are."""
    parts = product(("le", "une"), ("élève", "forêt", "garde"), ("dort", "chante"), ("bien", "souvent", "ici"))
    sentences = [list(zip(words, LABELS, strict=True)) for words in parts]
    sentences += [pairs * 4 for pairs in sentences[:6]]
    lines = ["\n".join(f"{i}\t{word}\t_\t{tag}" for i, (word, tag) in enumerate(pairs, start=1)) for pairs in sentences]
    (tmp_path / "a.conllu").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "t.toml").write_text(TASK, encoding="utf-8")
    described = done("tasks", "show", tmp_path / "t.toml")
    assert "kind: tokens, one class a word" in described and "entit" not in described
    checked = done("tasks", "check", tmp_path / "t.toml", "--rows", "1")
    assert "NOUN 25.0%" in checked and "hint" not in checked

    model, results = tiny("camembert", tmp_path / "modele"), tmp_path / "results"
    words = ("run", "--task", tmp_path / "t.toml", "--model", model, "--device", "cpu", "--precision", "fp32")
    done(*words, "--results", results)
    path = next(results.glob("runs/*/*/seed0-*.json"))
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["scheme"] is None and set(record["per_class"]) == {"word", "subword"}
    assert not [name for name in (*record["scores"], *record["history"][0]["scores"]) if "entity" in name]
    table = pq.read_table(path.parent / record["predictions"]["file"])
    unseen = sum(tag == UNSEEN for row in table["predicted"].to_pylist() for tag in row)
    gold, predicted = (list(chain(*table[name].to_pylist())) for name in ("gold", "predicted"))
    assert unseen == record["truncation"]["words"]["test"] > 0
    assert record["scores"]["word_accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert record["scores"]["word_accuracy"] > 0.4
    assert flue_bench("verify", results).code == 0
    board, card, audit = tmp_path / "board.html", tmp_path / "card.md", tmp_path / "audit.json"
    done("leaderboard", "--results", results, "--format", "html", "--out", board)
    done("card", "--results", results, "--model", str(model), "--out", card)
    done("tasks", "audit", tmp_path / "t.toml", "--tokenizer", model, "--out", audit)
    done(*words, "--results", results, "--seed", "1", "--set", "epochs=1")
    rows = "modele (standard, fp32)", "modele (standard epochs=1, fp32)"
    compared = done("compare", *rows, "--results", results, "--format", "json")
    said = [path.read_text(encoding="utf-8") for path in (board, card, audit)]
    assert '"confusion":[' in said[0] and all(name in said[1] for name in ("word_accuracy", "word_f1_macro"))
    for each in (*said, compared, done("leaderboard", "--results", results)):
        assert "entit" not in each.lower().replace("identit", "")
