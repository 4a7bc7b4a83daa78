# %% [markdown]
# # Is my student good enough?
#
# A student that was distilled from a teacher should keep most of its scores and cost much less. Here both are the small
# models that flue-bench brings along, so that everything runs in a minute on any machine; with your own, change the two
# names. Open this file as a notebook (Jupyter with jupytext, VS Code, PyCharm), or run it as a script.

# %%
from pathlib import Path

import flue_bench

TEACHER, STUDENT = "embedded:teacher", "embedded:student"
RESULTS = Path("results-student")

# %% [markdown]
# Fine-tune both on a task, with three seeds each: one seed says nothing about the spread over seeds. The limit and
# the two epochs are for this tour; leave them out for numbers that count. What has a record is not run again.

# %%
results = flue_bench.run(
    [TEACHER, STUDENT],
    "mini-ner",
    seeds=3,
    limit=128,
    overrides={"epochs": 2, "batch_size": 16, "learning_rate": 2e-3},
    results=RESULTS,
)
results

# %% [markdown]
# What does each cost to use? Models take turns, so that their ratio is fair on a busy machine.

# %%
speed = flue_bench.measure_speed([TEACHER, STUDENT], results=RESULTS)
[f"{record.model.name}: {record.parameters / 1e6:.2f} M parameters" for record in speed.records]

# %% [markdown]
# The board: mean and spread over the seeds, intervals, costs, and what the student keeps of its teacher.

# %%
board = flue_bench.build_board(flue_bench.read_results(RESULTS))
board

# %% [markdown]
# Does the student keep at least nine tenths of the teacher's score, or could the difference be chance?

# %%
answer = flue_bench.compare(STUDENT, TEACHER, RESULTS, retention=0.9)
answer

# %%
verdicts = {line.task: line.retention_verdict for line in answer.lines}
verdicts

# %% [markdown]
# Every figure is there for an analysis of your own, and every record can be checked against its predictions.

# %%
board.to_arrow().select(["model", "column", "mean", "low", "high", "kept_ratio"])

# %%
checked = flue_bench.verify_records(RESULTS)
assert all(each.ok for each in checked)
f"{len(checked)} records are what they say they are"
