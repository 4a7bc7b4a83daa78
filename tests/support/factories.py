"""Small records for tests: what matters is an argument, the rest is plausible."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow

from flue_bench.kinds.sentence import SENTENCE
from flue_bench.kinds.tokens import TOKENS
from flue_bench.recipe import Recipe
from flue_bench.record import (
    PROTOCOL,
    SCHEMA_VERSION,
    Cell,
    ClassScores,
    Cost,
    DataRef,
    Distilled,
    Environment,
    Epoch,
    Failure,
    ModelRef,
    NoTraining,
    Point,
    Predictions,
    RunRecord,
    Search,
    Searched,
    SpeedRecord,
    Teacher,
    Training,
    Tried,
    Truncation,
    digest_of,
)
from flue_bench.results.store import stem

CLS = ("cls-books", "cls-dvd", "cls-music")
TRAIN_ROWS = {"cls-books": 2000, "cls-dvd": 2000, "cls-music": 2000, "paws-x": 49401, "xnli": 392702, "wikiner": 120682}


def make_cell(
    model: str = "org/modele",
    task: str = "xnli",
    seed: int = 0,
    *,
    model_digest: str | None = None,
    revision: str | None = None,
    origin: Any = "hub",
    teacher: str | None = None,
    weights_bytes: int | None = None,
    distilled: tuple[str, int] | None = None,
    task_version: int = 1,
    data: str | None = None,
    limit: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    protocol: int = PROTOCOL,
    how: NoTraining | None = None,
    served: int | None = None,
    training: Training | None = None,
    search: Searched | None = None,
    taught: Teacher | None = None,
) -> Cell:
    """A cell; the model's digest follows from its name and revision, the data's from the task, unless given.

    With ``how`` nothing is trained, and there is no seed.
    ``distilled`` names the recipe and the seed of a distillation, ``teacher`` the digest of what it was distilled from;
    ``taught`` is a teacher of the task.
    """
    return Cell(
        model=ModelRef(
            name=model,
            origin=origin,
            revision=revision,
            digest=model_digest or digest_of([model, revision]),
            teacher=teacher,
            weights_bytes=weights_bytes,
            training=training,
            distilled=distilled and Distilled(recipe=digest_of(distilled[0]), seed=distilled[1]),
        ),
        task=task,
        task_version=task_version,
        data=data or digest_of(task),
        limit=limit,
        recipe=how or Recipe(**{"precision": "fp32", "epochs": 3, **(recipe or {})}),
        seed=None if how else seed,
        protocol=protocol,
        train_rows=served,
        search=search,
        teacher=taught,
    )


def make_record(
    model: str = "org/modele",
    task: str = "xnli",
    seed: int = 0,
    score: float = 0.8,
    *,
    recipe_name: str = "standard",
    scores: Mapping[str, float] | None = None,
    metric: str | None = None,
    column: str | None = None,
    column_members: Sequence[str] | None = None,
    canonical: bool = True,
    train_rows: int | None = None,
    deviations: Sequence[str] = (),
    collapsed: str | None = None,
    head: Any = "absent",
    parameters: int = 68_100_000,
    created: str = "2025-01-02T03:04:05Z",
    predictions: Predictions | None = None,
    train_loss: float = 0.5,
    leaks: Sequence[str] = (),
    tried: Sequence[float | None] = (),
    **cell: Any,
) -> RunRecord:
    """A record whose headline score is ``score``; CLS tasks know their column. ``cell`` goes to ``make_cell``.

    With its ``search`` the points have the scores ``tried``; None is a training that diverged.
    """
    made = make_cell(model, task, seed, **cell)
    tokens = task.startswith("wikiner")
    metric = metric or ("entity_f1_micro" if tokens else "f1_macro")
    labels, scheme = (("O", "PER"), "IO") if tokens else (("négatif", "positif"), None)
    declared: Any = SimpleNamespace(labels=labels, scheme=scheme)
    names = (TOKENS if tokens else SENTENCE).metrics(declared)
    column = column or ("cls" if task in CLS else task)
    trained = made.untrained is None
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        cell=made,
        cell_digest=made.digest,
        setting_digest=made.setting_digest,
        recipe_name=recipe_name if trained else "fine-tuned elsewhere",
        task_title=task,
        kind="tokens" if tokens else "sentence",
        labels=labels,
        scheme=scheme,
        metric=metric,
        column=column,
        column_members=tuple(column_members or (CLS if column == "cls" else (task,))),
        data=DataRef(
            source="files",
            files={"train.tsv": "0" * 64},
            digest=made.data,
            rows={"train": train_rows or TRAIN_ROWS.get(task, 100), "validation": 10, "test": 20},
            canonical=canonical,
            deviations=tuple(deviations),
        ),
        scores=dict(scores) if scores is not None else {**dict.fromkeys(names, score / 2), metric: score},
        per_class={"class": {"positif": ClassScores(precision=0.5, recall=0.5, f1=0.5, support=10)}},
        collapsed=collapsed,
        selected_epoch=int(trained),
        history=(Epoch(epoch=1, step=10, train_loss=train_loss, scores={metric: score}),) if trained else (),
        truncation=Truncation(examples={"train": 0, "validation": 0, "test": 0}),
        head=head if trained else None,
        leaks=tuple(leaks),
        search=made.search and _searched(made.search, tried),
        predictions=predictions
        or Predictions(
            file=f"{stem(made)}.predictions.parquet",
            sha256=hashlib.sha256(made.digest.encode()).hexdigest(),
            rows=20,
        ),
        cost=Cost(
            seconds=10.0,
            train_seconds=8.0 if trained else 0.0,
            predict_seconds=1.0,
            steps=10 if trained else 0,
            train_examples_per_second=40.0 if trained else 0.0,
            predict_examples_per_second=200.0,
            real_tokens=1000 if trained else 0,
            padded_tokens=1100 if trained else 0,
            peak_memory_bytes=1 << 30,
            parameters=parameters,
            flops_per_example=1e9,
        ),
        environment=make_environment(),
        created=created,
    )


def _searched(search: Searched, tried: Sequence[float | None]) -> Search:
    points = zip(search.settings(), tried, strict=True)
    return Search(
        points=tuple(
            Point(
                settings=settings,
                runs=(Tried(seed=search.seeds[0], score=score, seconds=10.0, steps=20, cell_digest="0" * 16),),
            )
            for settings, score in points
        )
    )


def make_environment(device: str = "CPU", threads: int = 2) -> Environment:
    """A machine with a name."""
    return Environment(
        flue_bench="0.1.0",
        commit=None,
        dirty=None,
        packages={"torch": "2.13.0"},
        python="3.11",
        platform="Linux",
        device=device,
        threads=threads,
        deterministic=True,
    )


def make_speed(
    model: str = "org/modele",
    examples_per_second: float = 100.0,
    *,
    precision: Any = "fp32",
    device: str = "CPU",
    threads: int = 2,
    created: str = "2025-01-02T03:04:05Z",
) -> SpeedRecord:
    """The speed of the model that ``make_cell`` gives for this name."""
    return SpeedRecord(
        schema_version=SCHEMA_VERSION,
        model=make_cell(model).model,
        precision=precision,
        batch_size=32,
        text="0" * 16,
        examples=200,
        parameters=60_000_000,
        flops_per_example=1e9,
        latency_ms_median=1000 / examples_per_second,
        latency_ms_p95=1500 / examples_per_second,
        examples_per_second=examples_per_second,
        tokens_per_second=20 * examples_per_second,
        peak_memory_bytes=1 << 30,
        environment=make_environment(device, threads),
        created=created,
    )


def make_failure(error: str = "the loss is not finite", *, column: str | None = None, **cell: Any) -> Failure:
    """A failure of the cell that ``make_cell`` gives for ``cell``."""
    made = make_cell(**cell)
    return Failure(
        schema_version=SCHEMA_VERSION,
        cell=made,
        cell_digest=made.digest,
        column=column or made.task,
        error=error,
        created="2025-01-02T03:04:05Z",
    )


def make_predictions(rows: int = 4) -> pyarrow.Table:
    """Test predictions of a sentence task."""
    return pyarrow.table(
        {
            "id": [f"test-{i}" for i in range(rows)],
            "group": [f"g{i // 2}" for i in range(rows)],
            "gold": [i % 2 for i in range(rows)],
            "predicted": [1] * rows,
            "probabilities": [[0.25, 0.75]] * rows,
        }
    )
