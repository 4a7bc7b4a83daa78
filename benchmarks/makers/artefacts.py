"""How far the mini tasks can be solved without reading: simple baselines, beside the models of a results folder.

    python -m benchmarks.makers.artefacts --results results

Every number is the task's own metric on the whole test set, in percent. Logistic regressions are fitted on train, with
the C that scores best on validation. Written to ``--out`` (results/mini) as artefacts.md and artefacts.json.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from benchmarks.common import report
from flue_bench.data import registry, sources
from flue_bench.kinds.kind import kind_named
from flue_bench.record import RunRecord
from flue_bench.results.store import Store
from flue_bench.statistics.intervals import mean_sd
from flue_bench.task import Example, Split, Task

CS = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of the regularisation that validation chooses from."""

Splits = Mapping[Split, Sequence[Example]]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; "l'ami" is two."""
    return re.findall(r"\w+", text.lower())


def whole(example: Example) -> str:
    """Return both texts, with the second one's words marked."""
    return " ".join([*words(example.text), *(f"pair_{word}" for word in words(example.text_pair or ""))])


def first_text(example: Example) -> str:
    """Return the first text without the second."""
    return example.text


def second_text(example: Example) -> str:
    """Return the second text without the first."""
    return example.text_pair or ""


def last_clause(example: Example) -> str:
    """Return what follows the last comma, colon or full stop."""
    return re.split(r"[,:.] ", example.text)[-1]


def overlap(example: Example) -> dict[str, int]:
    """Return counts of words that the two texts share and do not share, and their lengths, without any word."""
    first, second = set(words(example.text)), set(words(example.text_pair or ""))
    return {
        "shared": len(first & second),
        "first only": len(first - second),
        "second only": len(second - first),
        "first": len(words(example.text)),
        "second": len(words(example.text_pair or "")),
    }


def score(task: Task, test: Sequence[Example], predicted: Sequence[Any]) -> float:
    """Return the task's metric in percent; ``predicted`` holds a label per example, or its tags."""
    kind = kind_named(task.kind)
    once = [[1] * len(example.words) for example in test]  # every word counts as one sub-word
    return 100 * kind.scores(kind.table(test, {"predicted": predicted, "subwords": once}), task).scores[task.metric]


def regression(task: Task, splits: Splits, see: Callable[[Example], Any], vectors: Any) -> float:
    """Return the test score of a logistic regression over what ``see`` keeps of an example."""
    inputs = {split: [see(example) for example in examples] for split, examples in splits.items()}
    labels = [example.label for example in splits["train"]]

    def fitted(c: float) -> Any:
        return make_pipeline(vectors, MaxAbsScaler(), LogisticRegression(C=c, max_iter=5000)).fit(
            inputs["train"], labels
        )

    best = max(CS, key=lambda c: score(task, splits["validation"], fitted(c).predict(inputs["validation"])))
    return score(task, splits["test"], fitted(best).predict(inputs["test"]))


def ngrams(longest: int) -> CountVectorizer:
    """Return a vectorizer of the presence of words, or of words and bigrams."""
    return CountVectorizer(ngram_range=(1, longest), token_pattern=r"\w+", binary=True)


def majority(task: Task, splits: Splits) -> float:
    """Return the test score of train's most frequent label or tag."""
    gold = kind_named(task.kind).gold
    often = Counter(np.concatenate([np.atleast_1d(gold(each)) for each in splits["train"]]).tolist()).most_common(1)
    return score(task, splits["test"], [np.full_like(gold(each), often[0][0]) for each in splits["test"]])


def memory(task: Task, splits: Splits) -> float:
    """Return the test score of each word's most frequent tag in train; a word not in train is O."""
    seen: defaultdict[str, Counter[int]] = defaultdict(lambda: Counter({task.labels.index("O"): 0}))
    for example in splits["train"]:
        for word, tag in zip(example.words, example.tags, strict=True):
            seen[word][tag] += 1
    guesses = [[seen[word].most_common(1)[0][0] for word in example.words] for example in splits["test"]]
    return score(task, splits["test"], guesses)


def of_texts(task: Task, splits: Splits, views: Mapping[str, Callable[[Example], Any]]) -> dict[str, float]:
    """Return scores of regressions over what each view keeps of a text."""
    return {
        f"{name}{what}": regression(task, splits, see, ngrams(longest))
        for name, see in views.items()
        for longest, what in ((1, "words"), (2, "words and bigrams"))
    }


def of_sentences(task: Task, splits: Splits) -> dict[str, float]:
    """Return the baselines of tasks with one text."""
    return of_texts(task, splits, {"": whole, "last clause alone: ": last_clause})


def of_pairs(task: Task, splits: Splits) -> dict[str, float]:
    """Return the baselines of tasks with two texts."""
    views = {"": whole, "first text alone: ": first_text, "second text alone: ": second_text}
    overlapping = regression(task, splits, overlap, DictVectorizer())
    return of_texts(task, splits, views) | {"word overlap, as counts": overlapping}


def of_words(task: Task, splits: Splits) -> dict[str, float]:
    """Return the baselines of tasks with tagged words."""
    return {"most frequent tag of each word": memory(task, splits)}


BASELINES = {"sentence": of_sentences, "sentence-pair": of_pairs, "tokens": of_words}
"""Kind of task → its baselines."""


def baselines(task: Task, splits: Splits) -> dict[str, float]:
    """Return all baselines that apply to the task."""
    return {"majority vote": majority(task, splits)} | BASELINES[task.kind](task, splits)


def fine_tuned(records: Iterable[RunRecord], digests: Mapping[str, str]) -> dict[str, dict[str, list[float]]]:
    """Return model and recipe → task → test scores by seed, in percent, of whole runs on data with these digests."""
    scores: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda record: (record.cell.model.name, record.cell.seed)):
        cell = record.cell
        if record.data.digest == digests.get(cell.task) and cell.limit is None:
            model = f"{cell.model.name} ({cell.model.digest[:8]}), {record.recipe_name}, {cell.recipe.precision}"
            scores[model][cell.task].append(100 * record.scores[record.metric])
    return {model: dict(tasks) for model, tasks in scores.items()}


def spread(scores: Sequence[float] | None) -> str:
    """Return mean ± sd (n)."""
    if not scores:
        return ""
    mean, sd, n = mean_sd(scores)
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f} ({n})"


def main() -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder whose records are shown beside the baselines"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results/mini"), help="folder to write to (default: results/mini)"
    )
    arguments = parser.parse_args()

    tasks, simple, digests = [], {}, {}
    for registered in registry.select(["mini", "mini-pawsx"]):
        task, data = registered.task, sources.load(registered, offline=True)
        tasks.append(task)
        simple[task.name] = baselines(task, data.splits)
        digests[task.name] = data.ref.digest
    models = fine_tuned(Store(arguments.results).records(), digests)

    names = list(dict.fromkeys(name for of_task in simple.values() for name in of_task))
    rows = [[name, *(f"{simple[t.name][name]:.2f}" if name in simple[t.name] else "" for t in tasks)] for name in names]
    rows += [[f"**{model}**", *(spread(scores.get(task.name)) for task in tasks)] for model, scores in models.items()]
    header = ["", *(f"{task.name} v{task.version} ({task.metric})" for task in tasks)]
    shown = "" if models else "\nNo record of a whole run on this data was found.\n"
    text = f"""# What the mini tasks give away without reading

Test scores in percent. Logistic regressions over the words present (or words and bigrams), their C chosen on
validation from {", ".join(f"{c:g}" for c in CS)}; "word overlap" sees only how many words the two texts share, do not
share, and have. The labels are balanced: a majority vote has an accuracy of 50 or 33.3, and so a macro-F1 of 33.3 or
16.7; a coin has a macro-F1 of 50 or 33.3. Under the baselines, in bold: fine-tuned models, mean ± standard deviation
(seeds), of all rows and this version of the data.

{report.markdown_table(header, rows)}
{shown}
Made by `python -m benchmarks.makers.artefacts --results {arguments.results.as_posix()}`.
"""
    report.write(arguments.out, "artefacts", {"data": digests, "baselines": simple, "models": models}, text)
    print(text)


if __name__ == "__main__":
    main()
