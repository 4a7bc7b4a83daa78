# %% [markdown]
# # My own task
#
# A task needs no file: rows in memory are checked, cut and digested as those of a file are. Open this file as a
# notebook (Jupyter with jupytext, VS Code, PyCharm), or run it as a script.

# %%
from pathlib import Path
from typing import Any

import flue_bench

RESULTS = Path("results-own-task")

# %% [markdown]
# The rows may come from anywhere: a data frame gives them with `frame.to_dict("records")`. These are made up: is a
# delivery praised or not?

# %%
THINGS = ["le colis", "la commande", "le paquet", "la lettre", "le carton", "la caisse", "le sac", "la boîte"]
GOOD = ["est arrivé à l'heure", "est parfait", "nous a ravis", "vaut son prix", "est bien emballé"]
BAD = ["est arrivé en retard", "est abîmé", "nous a déçus", "coûte trop cher", "est mal emballé"]


def rows(days: range) -> list[dict[str, Any]]:
    """Return a review of each thing for each day, half of them good."""
    return [
        {"text": f"Le {day} mai, {thing} {(GOOD if good else BAD)[day % 5]}.", "label": "oui" if good else "non"}
        for day in days
        for thing in THINGS
        for good in (True, False)
    ]


task = flue_bench.Task.from_examples(
    "livraisons",
    "sentence",
    labels=["non", "oui"],
    metric="f1_macro",
    train=rows(range(1, 13)),
    test=rows(range(13, 19)),
    recipe={"standard": {"epochs": 2, "learning_rate": 1e-3, "max_length": 32}},
)

# %% [markdown]
# What a model is trained and scored on: a tenth of the training rows became the validation split, whole groups at a
# time. The digest is the data's identity; it is the same for the same rows in a file.

# %%
data = flue_bench.load_data(task)
(data.ref.rows, data.ref.cut, data.ref.digest)

# %% [markdown]
# Run a model, follow its epochs, and record a score of your own: a function of the test predictions.


# %%
def missed(predictions: Any) -> float:
    """Return how many good reviews were taken for bad ones."""
    pairs = zip(predictions["gold"].to_pylist(), predictions["predicted"].to_pylist(), strict=True)
    return sum(gold == 1 and predicted == 0 for gold, predicted in pairs)


epochs: list[float] = []
results = flue_bench.run(
    "embedded:student",
    task,
    results=RESULTS,
    metrics={"missed": missed},
    on_epoch=lambda cell, epoch: epochs.append(epoch.scores["f1_macro"]),
)
record = results.records[0]
(record.scores["f1_macro"], record.own_scores, epochs)

# %% [markdown]
# One row an example: what was wrong?

# %%
predictions = record.predictions()
wrong = [
    (row["id"], task.labels[row["gold"]], task.labels[row["predicted"]])
    for row in predictions.to_pylist()
    if row["gold"] != row["predicted"]
]
assert len(wrong) == round((1 - record.scores["accuracy"]) * len(predictions))
wrong[:5]

# %%
flue_bench.build_board(results)
