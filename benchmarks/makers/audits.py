"""Audit the data of the tasks that have records here: counts and ids, never a text.

    python -m benchmarks.makers.audits --data-dir ../shared/data --model ../shared/models/multilingual-e5-small-fr

writes ``results/audits/TASK.json`` and ``results/audits/README.md``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from benchmarks.common import ROOT
from flue_bench.data import registry, sources
from flue_bench.jobs import audit
from flue_bench.progress import Console, Display

REAL = ("sick", "rte3", "xnli-small", "pawsx-small", "wikineural-small", "panx", "amazon-books", "sick-to-xnli")

HEAD = """# What the data sets share, and how they are made up

By `flue-bench tasks audit`, for the tasks of `benchmarks/tasks` and the embedded ones; all of it again with

```sh
python -m benchmarks.makers.audits --data-dir ../shared/data --model ../shared/models/multilingual-e5-small-fr
```

The JSON file of each task also holds the ids of up to five rows for each finding; no text of a data set is kept here.
"Exact" is the same characters (Unicode's NFC); "in the same words" leaves out case, punctuation and white space, and
counts the exact ones too; "near" is a Jaccard index of 0.8 or more between the sets of character 5-grams of these
words, comes on top, and is counted between splits only. In the column of a split stand the rows that repeat an earlier
one of it. Of a pair, "either text" says that one of its two sentences stands there, as first or as second; "pair" takes
the two in either order. Lengths are in words, both texts together; sub-words are those of {model}, cut
at the `max_length` of each task's recipe `standard`.
"""


def markdown(made: audit.Audit) -> str:
    """Return one task's tables."""
    parts = [f"## {made.task}, version {made.version}", f"Data: `{made.data}`, source {made.source}."]
    for table in audit.tables(made):
        parts.append(f"{table.title}:")
        parts.append(tabulate(table.rows, headers=table.columns, tablefmt="github", disable_numparse=True))
    return "\n\n".join(parts)


def main() -> None:
    """Audit all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", required=True, help="model whose tokenizer counts sub-words")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "audits")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    display = Display(Console(stderr=True))
    parts = [HEAD.format(model=Path(options.model).name).rstrip()]
    for each in registry.select(
        [*(str(ROOT / f"benchmarks/tasks/{name}.toml") for name in REAL), "mini", "mini-pawsx"]
    ):
        task = each.task
        data = sources.load(each, data_dir=options.data_dir, offline=True)
        length = task.named_recipe("standard").max_length
        cut = audit.subwords(task, data, options.model, length, offline=True)
        cut = replace(cut, tokenizer=Path(options.model).name)
        made = replace(audit.audit(task, data, display), subwords=cut)
        (options.out / f"{task.name}.json").write_text(audit.to_json(made), encoding="utf-8", newline="\n")
        parts.append(markdown(made))
    (options.out / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
