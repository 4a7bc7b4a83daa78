"""One small task of each kind on which a teacher can teach, all on the same sentences."""

from __future__ import annotations

from typing import Any

import flue_bench

TEXTS = [f"Le film numéro {i} est {'bon' if i % 2 else 'mauvais'}, dit Jean Dupont." for i in range(36)]


def _parts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"train": rows[:16], "validation": rows[16:24], "test": rows[24:]}


def _answers(text: str, there: bool) -> dict[str, Any]:
    return {"text": [text.split()[-1]], "answer_start": [text.rindex(" ") + 1]} if there else {
        "text": [], "answer_start": []
    }  # fmt: skip


TASKS = [
    flue_bench.Task.from_examples(
        "avis", "sentence", metric="accuracy", labels=("non", "oui"),
        **_parts([{"text": text, "label": ("non", "oui")[i % 2]} for i, text in enumerate(TEXTS)]),
    ),
    flue_bench.Task.from_examples(
        "suite", "sentence-pair", metric="accuracy", labels=("non", "oui"),
        **_parts([{"text": text, "text_pair": TEXTS[-i], "label": ("non", "oui")[i % 2]}
                  for i, text in enumerate(TEXTS)]),
    ),
    flue_bench.Task.from_examples(
        "noms", "tokens", metric="entity_f1_micro", labels=("O", "B-PER", "I-PER"), scheme="IOB2",
        **_parts([{"words": text.split(), "tags": ["O"] * (len(text.split()) - 2) + ["B-PER", "I-PER"]}
                  for text in TEXTS]),
    ),
    flue_bench.Task.from_examples(
        "notes", "regression", metric="pearson", options={"range": [0, 5]},
        **_parts([{"text": text, "value": i % 11 / 2} for i, text in enumerate(TEXTS)]),
    ),
    flue_bench.Task.from_examples(
        "humeurs", "multi-label", metric="f1_micro", labels=("joie", "peur"),
        **_parts([{"text": text, "labels": ["joie"] * (i % 2) + ["peur"] * (i % 3 == 0)}
                  for i, text in enumerate(TEXTS)]),
    ),
    flue_bench.Task.from_examples(
        "choix", "multiple-choice", metric="accuracy", labels=("A", "B", "C"),
        **_parts([{"text": text, "choices": ["oui", "non", "non !"][: 2 + i % 2], "label": "AB"[i // 2 % 2]}
                  for i, text in enumerate(TEXTS)]),
    ),
    flue_bench.Task.from_examples(
        "questions", "question-answering", metric="f1", options={"threshold": "validation"},
        **_parts([{"question": "Qui ?", "context": text, "answers": _answers(text, i % 3 > 0)}
                  for i, text in enumerate(TEXTS)]),
    ),
]  # fmt: skip
BY_NAME = {task.name: task for task in TASKS}
