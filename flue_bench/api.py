"""What flue-bench does, as functions: each command parses its options, calls one of these and prints what it returns.

The functions take and return Python values, raise the exceptions of ``flue_bench.errors``, and leave the process as
they found it: random states, threads, signal handlers and environment. Ctrl-C ends a run after its current step with a
checkpoint, and the same call continues from there. Where a message names an option of the command line, the argument
here has the same name; ``--set KEY=VALUE`` is ``overrides={"KEY": VALUE}``.

A process that fine-tunes on Linux runs faster if it keeps freed memory. The command line asks for it; from Python the
allocator is the caller's, who may start the process with ``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647
MALLOC_TOP_PAD_=268435456``. The numbers are the same.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flue_bench import files
from flue_bench.errors import IncompleteError, UnknownNameError, UsageError, counted
from flue_bench.memory import loading

if TYPE_CHECKING:
    import pyarrow

    from flue_bench.boards.board import Board
    from flue_bench.boards.compared import Comparison
    from flue_bench.boards.disagreed import Disagreements
    from flue_bench.data.registry import Registered
    from flue_bench.data.sources import TaskData
    from flue_bench.jobs.grid import Outcome
    from flue_bench.jobs.speed import Measured
    from flue_bench.jobs.workers import Workers
    from flue_bench.progress import Display
    from flue_bench.record import Cell, Epoch, RunRecord
    from flue_bench.results.rows import NamedRow
    from flue_bench.results.runs import Results
    from flue_bench.results.verify import Checked
    from flue_bench.task import Task

EMBEDDED = ("embedded:teacher", "embedded:student")
"""The models that run where none is named."""


def list_tasks(
    group: str | None = None, *, kind: str | None = None, licence: str | None = None, open_only: bool = False
) -> list[Task]:
    """Return the installed tasks, sorted by name; with several filters, those that pass all of them.

    Args:
        group: only those of this group, such as ``flue`` or ``mini``.
        kind: only those of this kind, such as ``regression``.
        licence: only those with this licence, as the tasks spell it: ``CC BY`` is CC BY of any version, and not CC
            BY-NC. Case, blanks and hyphens do not matter.
        open_only: only those whose data can be fetched without asking anybody.

    Raises:
        UnknownNameError: no task or group, kind or licence has that name.
        TaskFileError: a plugin or one of its tasks is broken.
    """
    from flue_bench.data import registry

    return [each.task for each in registry.filtered(group=group, kind=kind, licence=licence, open_only=open_only)]


def get_task(name: str | Path) -> Task:
    """Return a task by its name or by the path of its TOML file.

    Raises:
        UnknownNameError: no task has that name.
        TaskFileError: the file is not a task.
        UsageError: the name is that of a group.
    """
    return _one(name).task


def load_data(
    task: Task | str | Path,
    *,
    data_dir: str | Path | None = None,
    offline: bool = False,
    progress: bool | Display = True,
) -> TaskData:
    """Return the examples of a task, as every model is trained and scored on them, and where they come from.

    Args:
        task: a task, its name, or the path of its TOML file.
        data_dir: the folder of data to use instead of downloads; None: the environment variable ``FLUE_BENCH_DATA``.
        offline: make no network call.
        progress: show what is being done.

    Raises:
        DataError, HubError: the data cannot be found or read.
        UsageError: there is no such task or folder.
    """
    from flue_bench.data import sources

    registered, display = _one(task), display_for(progress)
    with display.running(), display.bar(f"{registered.task.name}: reading data"):
        return sources.load(registered, data_dir=_data_dir(data_dir), offline=offline)


def run(
    models: str | Path | Sequence[str | Path] | None = None,
    tasks: Task | str | Path | Sequence[Task | str | Path] | None = None,
    *,
    teacher: str | Path | None = None,
    seeds: int | Iterable[int] = 1,
    recipe: str = "standard",
    overrides: Mapping[str, Any] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    device: str = "auto",
    limit: int | None = None,
    train_rows: int | Literal["all"] | Iterable[int | Literal["all"]] = "all",
    data_dir: str | Path | None = None,
    offline: bool = False,
    results: str | Path = "results",
    force: bool = False,
    keep: Literal["best", "all"] | None = None,
    split: Literal["test", "validation"] = "test",
    search: Mapping[str, Iterable[Any]] | str | None = None,
    search_trials: int | None = None,
    search_seeds: int = 1,
    metrics: Mapping[str, Callable[[pyarrow.Table], float]] | None = None,
    on_epoch: Callable[[Cell, Epoch], None] | None = None,
    workers: int | Literal["auto"] | None = None,
    threads: int | None = None,
    cluster: str | Path | None = None,
    dry_run: bool = False,
    progress: bool | Display = True,
) -> Results:
    """Fine-tune and score models on tasks. Every cell (model, task, seed) is run once and recorded.

    Args:
        models: hub ids (``org/name`` or ``org/name@revision``), folders, patterns of folders
            (``OUT/checkpoint-*``), or ``embedded:NAME``; None: the embedded teacher and student.
        tasks: tasks, their names, groups, or paths of TOML files; None: the group ``flue``, or without ``models`` the
            group ``mini``.
        teacher: a fine-tuned model with the labels of the tasks: hub id or folder, such as one that ``keep`` left
            behind. The models learn from its soft labels too (Hinton et al. 2015), which it gives once for the rows of
            train: ``alpha`` of the loss, 0.5 if ``overrides`` do not say otherwise, at ``temperature``, 2.
        seeds: the seeds; a number N stands for the seeds 0 to N-1.
        recipe: named recipe of the tasks (standard, flue, quick), or of the field (run_glue, run_ner, euroeval).
        overrides: fields of the recipe to change.
        precision: instead of the recipe's; auto chooses bf16 or fp16 where the hardware gains from it.
        device: auto, cpu, cuda, cuda:N or mps.
        limit: at most this many examples of each split.
        train_rows: numbers of rows of train to learn from, each a cell of its own; validation and test stay whole. The
            rows are drawn anew for each seed, and a larger number of one seed holds the smaller.
        data_dir: the folder of data to use instead of downloads; None: the environment variable ``FLUE_BENCH_DATA``.
        offline: make no network call.
        results: the folder to write records to.
        force: run cells again that have a record.
        keep: keep the fine-tuned models in ``results/models``: all, or of each model and task the one that is best on
            validation, among these seeds. ``results.model_dir(record)`` says where. A cell that has a record is trained
            again for it, and its model kept if the predictions are the same.
        split: the split to score; ``validation`` reads no test split, for tuning by hand.
        search: fields of the recipe with several values each, such as ``{"learning_rate": [1e-5, 3e-5]}``, or a named
            search (camembert2). Every point is fine-tuned and scored on validation alone, with tuning seeds; then the
            best of each model and task is run with ``seeds``. ``record.search`` has the whole search.
        search_trials: try so many of the points, drawn by a hash; None: all.
        search_seeds: tuning seeds of each point; a point's score is the mean over them.
        metrics: scores of your own: name → a function of the test predictions, which are those of
            ``record.predictions()``. They are recorded by their names in ``record.own_scores``; what they mean is the
            caller's responsibility: nothing recomputes them, no epoch is selected by them, and no board shows them.
        on_epoch: called after each epoch with the cell and its losses and validation scores. What it raises ends the
            run with a checkpoint, from which the same call continues.
        workers: run several cells at once, each in a process of its own: so many, or ``auto``, which is one a visible
            GPU, or on a CPU one for each ``threads`` cores. It needs the extra ``cluster``.
        threads: of each worker; None: the machine's cores divided among them, or where ``workers`` is ``auto`` on a
            CPU, OMP_NUM_THREADS, or 4. Records name it, since other numbers of threads add up in another order.
        cluster: run the cells on a cluster: a TOML file with the settings of a Slurm cluster, or a Python file that
            leaves a Parsl configuration in ``config``, and is run as your own code.
        dry_run: say which cells would be run, how long they take and what they can show; nothing is run, and what is
            returned are the records that are there.
        progress: show bars in a terminal or a notebook; False: nothing.

    Returns:
        The records of these cells, whether they were run now or before; of a search, those of the final runs.

    Raises:
        UsageError: something that was asked for is invalid; found before the first cell runs.
        IncompleteError: some cells failed or could not be loaded, after all others were run; its ``results`` has these.
        FlueBenchError: the only model cannot be loaded, or the folder of results cannot be written.
        KeyboardInterrupt: after Ctrl-C; the same call continues from the last finished step.
    """
    from flue_bench.data import model_files, model_names, registry
    from flue_bench.kinds.kind import kind_named
    from flue_bench.search import searched

    named = model_files.named(map(str, _several(models) or EMBEDDED))
    # Names and recipes before PyTorch is loaded, which takes seconds: what is misspelt is told at once.
    chosen = registry.select(_several(tasks) or (["flue"] if models else ["mini"]))
    kinds = [kind_named(each.task.kind) for each in chosen]
    frozen = [each.task.name for each, kind in zip(chosen, kinds, strict=True) if kind.frozen]
    scored = ", ".join(frozen) + ": nothing is trained there. " + _scored_by(frozen, named)
    if frozen and len(frozen) == len(chosen):
        raise UsageError(scored)
    chosen = [each for each in chosen if each.task.name not in frozen]
    for each in chosen:
        each.task.named_recipe(recipe).override(dict(overrides or {}))
    wanted = list(range(seeds)) if isinstance(seeds, int) else sorted(set(seeds))
    if not wanted or not all(0 <= seed < 2**32 for seed in wanted):
        raise UsageError(f"seeds {seeds}: give at least one, each from 0 to 4294967295.")
    if keep not in (None, "best", "all"):
        raise UnknownNameError("value of keep", str(keep), ("best", "all"))
    if split not in ("test", "validation"):
        raise UnknownNameError("split", split, ("test", "validation"))
    if split == "validation" and keep:
        raise UsageError("--keep keeps models that are scored on test: leave --split validation out.")
    if split == "validation" and search is not None:
        raise UsageError("--search scores its points on validation as it is: leave --split validation out.")
    if search is None and (search_trials is not None or search_seeds != 1):
        raise UsageError("--search-trials and --search-seeds say how to search: they need --search.")
    asked = None if search is None else searched(search, search_trials, search_seeds, overrides or ())
    if asked and (both := sorted(set(wanted) & set(asked.seeds))):
        raise UsageError(f"--seed {both[0]} is a tuning seed, which no final run uses: give another.")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: at least 1 example of each split.")
    sizes = [train_rows] if isinstance(train_rows, int | str) else list(train_rows)
    if not sizes or not all(size == "all" or (isinstance(size, int) and size >= 1) for size in sizes):
        raise UsageError(f"train_rows {train_rows!r}: numbers of at least 1 row, or 'all', such as 100,300,all.")
    model_names.check([*named, *([] if teacher is None else [str(teacher)])])
    spread = workers_for(workers, threads, cluster, device)
    if spread and on_epoch:
        raise UsageError("on_epoch is a function of this process, which workers cannot call: leave one of them out.")
    display = display_for(progress)
    if frozen:
        display.line(f"Left out: {scored}")
    with display.console.status("Loading PyTorch and transformers"), loading():
        from flue_bench.jobs.grid import Grid, run_grid
        from flue_bench.jobs.search import run_search
        from flue_bench.results.store import Store

    grid = Grid(
        models=named,
        tasks=chosen,
        seeds=wanted,
        recipe=recipe,
        overrides=dict(overrides or {}),
        precision=precision,
        device=device,
        limit=limit,
        train_rows=[*sorted({size for size in sizes if isinstance(size, int)}), *([None] if "all" in sizes else [])],
        data_dir=_data_dir(data_dir),
        offline=offline,
        force=force,
        keep=keep,
        metrics=dict(metrics or {}),
        on_epoch=on_epoch,
        split=split,
        teacher=None if teacher is None else str(teacher),
        workers=spread,
        dry_run=dry_run,
    )
    store = Store(files.at_home(results))
    done = run_search(grid, asked, store, display) if asked else run_grid(grid, store, display)
    return _whole("run", done, results)


def _scored_by(tasks: Sequence[str], models: Sequence[str]) -> str:
    """Return the command that scores models on tasks without training."""
    words = [word for option, names in (("-m", models), ("-t", tasks)) for name in names for word in (option, name)]
    return f"Score the frozen encoders: {shlex.join(['flue-bench', 'score', *words])}"


def score(
    models: str | Path | Sequence[str | Path],
    tasks: Task | str | Path | Sequence[Task | str | Path],
    *,
    split: Literal["test", "validation"] = "test",
    labels: Mapping[str, str] | None = None,
    max_length: int | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
    device: str = "auto",
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    offline: bool = False,
    results: str | Path = "results",
    force: bool = False,
    workers: int | Literal["auto"] | None = None,
    threads: int | None = None,
    cluster: str | Path | None = None,
    progress: bool | Display = True,
) -> Results:
    """Score models as they are: nothing is trained, and there is no seed.

    A fine-tuned model is scored with its own head; for a kind of task without training, ``senses``, the encoder of any
    model is frozen, and the kind's method gives the answers.

    Labels of a head are matched to those of the task by name, never by position, and tags of entities are written in
    the task's scheme; what was understood is printed, and is part of the record.

    Args:
        models: hub ids (``org/name`` or ``org/name@revision``) or folders.
        tasks: tasks, their names, groups, or paths of TOML files.
        split: the split to score.
        labels: label of a head → label of the task, where names do not say what it means; of a head that
            gives numbers, two of them → the task's, such as ``{"0": "0", "1": "5"}``.
        max_length: sub-words at which inputs are cut; None: the most that the model and its tokenizer take.
        precision: auto chooses bf16 or fp16 where the hardware gains from it.
        device: auto, cpu, cuda, cuda:N or mps.
        limit: at most this many examples of each split.
        settings: of a kind without training, instead of the task's: for ``senses``, ``layer`` and ``pooling``.
        data_dir: the folder of data to use instead of downloads; None: the environment variable ``FLUE_BENCH_DATA``.
        offline: make no network call.
        results: the folder to write records to.
        force: score again what has a record.
        workers: as for ``run``.
        threads: as for ``run``.
        cluster: as for ``run``.
        progress: show bars in a terminal or a notebook; False: nothing.

    Returns:
        The records, whether they were made now or before.

    Raises:
        UsageError: something that was asked for is invalid, or labels do not match: found before anything is scored.
        IncompleteError: some could not be scored, after all others were; its ``results`` has these.
        FlueBenchError: the only model cannot be loaded, or the folder of results cannot be written.
        KeyboardInterrupt: after Ctrl-C; the same call scores what is left.
    """
    from flue_bench.data import model_files, model_names, registry

    chosen, named = registry.select(_several(tasks)), model_files.named(map(str, _several(models)))
    if not chosen or not named:
        raise UsageError("Name at least one model and one task to score.")
    if split not in ("test", "validation"):
        raise UnknownNameError("split", split, ("test", "validation"))
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: at least 1 example of each split.")
    if max_length is not None and max_length < 4:
        raise UsageError(f"max_length {max_length}: at least 4 sub-words.")
    model_names.check(named)
    spread = workers_for(workers, threads, cluster, device)
    display = display_for(progress)
    with display.console.status("Loading PyTorch and transformers"), loading():
        from flue_bench.jobs.score import Scoring, score_all
        from flue_bench.results.store import Store

    asked = Scoring(
        models=named,
        tasks=chosen,
        split=split,
        labels=dict(labels or {}),
        max_length=max_length,
        precision=precision,
        device=device,
        limit=limit,
        data_dir=_data_dir(data_dir),
        offline=offline,
        force=force,
        workers=spread,
        settings=dict(settings or {}),
    )
    return _whole("scoring", score_all(asked, Store(files.at_home(results)), display), results)


def workers_for(
    number: int | Literal["auto"] | None, threads: int | None, cluster: str | Path | None, device: str
) -> Workers | None:
    """Return the request for workers; None without them.

    Raises:
        UsageError: it is invalid, or Parsl is not installed.
    """
    if number is None and cluster is None:
        if threads is not None:
            raise UsageError("--threads is of workers: give --workers too, or set OMP_NUM_THREADS for this process.")
        return None
    from flue_bench.jobs.cluster import load
    from flue_bench.jobs.workers import Workers, check

    if number is not None and cluster is not None:
        raise UsageError(
            "--workers is of this machine; the file of --cluster says how many a node has. Give one of them."
        )
    if number not in ("auto", None) and not isinstance(number, int):
        raise UsageError(f"--workers {number}: a number, or auto.")
    asked = Workers(
        "auto" if number is None else number, threads, None if cluster is None else load(Path(cluster)), device
    )
    check(asked)
    return asked


def _whole(what: str, outcome: Outcome, results: str | Path) -> Results:
    """Return the records of an outcome.

    Raises:
        IncompleteError: it has failures, or something could not be loaded.
    """
    from flue_bench.results.runs import Results

    folders = (files.at_home(results),)
    made = Results(
        folders,
        outcome.records,
        outcome.failures,
        unloaded=outcome.unloaded,
        reused=outcome.reused,
        unkept=outcome.unkept,
    )
    if outcome.failures or outcome.unloaded or outcome.unkept:
        reasons = [f"{each.cell.model.name} on {each.cell.task}: {each.error}" for each in outcome.failures]
        raise IncompleteError(what, len(outcome.records), [*reasons, *outcome.unloaded, *outcome.unkept], made)
    return made


def read_results(folders: str | Path | Sequence[str | Path] = "results") -> Results:
    """Read the records of one or more results folders, those that stand: see ``verify_records``.

    The others are in ``damaged``, each with its reason.

    Args:
        folders: results folders, and repositories of records on the hub: ``hub:org/name`` or
            ``hub:org/name@revision``, which are fetched into the cache.

    Raises:
        HubError, OfflineError: such a repository cannot be had.
        UsageError: a folder does not exist, or none holds anything.
    """
    from flue_bench.results import runs

    return runs.read([Path(folder) for folder in _several(folders)])


def build_board(
    results: Results | str | Path | Sequence[str | Path] = "results",
    *,
    metric: str | None = None,
    teacher: str | None = None,
    student: str | None = None,
    overall: str | Sequence[str] = (),
    floor: str | None = None,
    split: Literal["test", "validation"] = "test",
) -> Board:
    """Return the board of these results: mean and spread over seeds, 95 % intervals, tests, published scores.

    Args:
        results: what ``run`` or ``read_results`` returned, or results folders.
        metric: the score to show, such as ``accuracy``; None: each task's headline metric.
        teacher: with ``student``: show how much of this model's scores the student keeps.
        student: None: every student is paired with the model that it was distilled from.
        overall: a set of columns, by their names or tasks or by a group of installed tasks such as ``flue``: rows that
            have all of it are ranked by their mean over it, in ``Board.overall``.
        floor: a model, such as one with random weights: what students keep is also shown above its scores.
        split: the split whose scores are shown; those of the other are never beside them.

    Raises:
        UnknownNameError: no record has that metric, no model that name, or no column or group.
        UsageError: only one of ``teacher`` and ``student`` is given, a name of ``overall`` fits several columns, or a
            folder holds nothing.
    """
    from flue_bench.boards import board, published, rules, verdicts
    from flue_bench.boards.floors import above
    from flue_bench.boards.overall import place
    from flue_bench.results.evidence import Evidence
    from flue_bench.results.rows import named_rows

    if bool(teacher) != bool(student):
        raise UsageError("--teacher and --student go together: give both, with their names on the board.")
    if split not in ("test", "validation"):
        raise UnknownNameError("split", split, ("test", "validation"))
    results, others = _of_split(_standing(results), split)
    pair = None
    if teacher and student:
        rows = named_rows(results.records, together=True)
        pair = known_name(rows, teacher), known_name(rows, student)
    built = rules.build(
        results.records,
        results.failures,
        results.damaged,
        metric,
        results.speeds,
        pair,
    )
    evidence = Evidence(results.folders)
    built = verdicts.weigh(built, results.records, evidence)
    if others:
        built = replace(built, left_out=(*built.left_out, board.Note(*others)))
    if overall:
        built = place(built, results.records, evidence, _several(overall))
    if floor is not None:
        built = above(built, results.records, evidence, known_name(named_rows(results.records, together=True), floor))
    built = published.quote(built, results.records, published.load())
    return replace(built, sources=(*built.sources, *results.published))


def compare(
    a: str,
    b: str,
    results: Results | str | Path | Sequence[str | Path] = "results",
    *,
    tasks: str | Sequence[str] = (),
    question: Literal["pretrained", "trained", "distilled"] = "pretrained",
    metric: str | None = None,
    retention: float | None = None,
    seed: int | None = None,
    margin: str | None = None,
    floor: str | None = None,
) -> Comparison:
    """Test whether one model is better than another, on the tasks they share, or the difference is chance.

    Args:
        a: a model's name on the board, the start of its digest, or its folder; ``NAME (RECIPE, PRECISION)`` names
            one of several rows.
        b: the other model.
        results: what ``run`` or ``read_results`` returned, or results folders.
        tasks: tasks or columns of the board; none: all that both models were run on.
        question: ``pretrained``: which pretrained model is better to fine-tune, over all seeds; ``trained``: which of
            two fine-tuned models of one seed is better, as they are; ``distilled``: which distillation recipe is
            better, over all distillations of A's and of B's recipe that differ in the seed alone.
        metric: the score to compare by; None: each task's headline metric.
        retention: the share of B's score that A is tested to keep; None: 0.97 if B is the teacher of A.
        seed: with ``trained``: the seed of both; None: the lowest that both have.
        margin: test whether A and B are equivalent within ``3%`` of B's score, or within ``3points``; to be named
            before the scores are seen.
        floor: a model, such as one with random weights, above whose scores what A keeps of B's is shown too.

    Raises:
        UnknownNameError: a model, task or metric has no record.
        UsageError: there is nothing to compare.
        RecordError: there are no predictions to compare.
    """
    from flue_bench.boards import compared
    from flue_bench.results.comparison import Margin
    from flue_bench.results.evidence import Evidence
    from flue_bench.results.rows import check_metric, named_rows, newest

    _check_question(question, seed)
    if retention is not None and not 0 <= retention <= 1:
        raise UsageError(f"retention {retention}: a share, from 0 to 1.")
    if floor is not None and question != "pretrained":
        raise UsageError("--floor needs --question pretrained: it is a mean over seeds.")
    within = None if margin is None else Margin.parse(margin)
    results = _standing(results)
    once, _ = newest(tested_records(results))
    rows = named_rows(once)
    row_a, row_b = (_row(name, rows, once, tasks) for name in (a, b))
    check_metric(results.records, metric)
    answer = compared.compare(
        row_a,
        row_b,
        Evidence(results.folders),
        tasks=_several(tasks),
        question=question,
        metric=metric,
        retention=retention,
        seed=seed,
        damaged=results.damaged,
        margin=within,
        floor=None if floor is None else _row(floor, rows, once, tasks),
        rows=rows,
    )
    return replace(answer, notes=[*answer.notes, *results.published])


def compare_rows(
    a: str,
    b: str,
    results: Results | str | Path | Sequence[str | Path] = "results",
    *,
    tasks: str | Sequence[str] = (),
    question: Literal["pretrained", "trained", "distilled"] = "pretrained",
    seed: int | None = None,
    limit: int | None = None,
) -> Disagreements:
    """Return the examples on which two models disagree, by id, the surest disagreements first, and who is nearer.

    What is returned holds no text of the data; ``load_data(task).splits["test"]`` has the examples by their ids.

    Args:
        a: a model, as for ``compare``.
        b: the other model.
        results: what ``run`` or ``read_results`` returned, or results folders.
        tasks: tasks or columns of the board; none: all that both models were run on.
        question: whose runs: as for ``compare``.
        seed: with ``trained``: the seed of both; None: the lowest that both have.
        limit: list at most so many of a task that are nearer to A, to B and to neither; None: all. Counts are whole.

    Raises:
        UnknownNameError: a model or task has no record.
        UsageError: there is nothing to compare.
        RecordError: there are no predictions to compare.
    """
    from flue_bench.boards import disagreed
    from flue_bench.results.evidence import Evidence
    from flue_bench.results.rows import named_rows, newest

    _check_question(question, seed)
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: at least 1 example, or None for all.")
    results = _standing(results)
    once, _ = newest(tested_records(results))
    rows = named_rows(once)
    row_a, row_b = (_row(name, rows, once, tasks) for name in (a, b))
    return disagreed.disagreements(
        row_a,
        row_b,
        Evidence(results.folders),
        tasks=_several(tasks),
        question=question,
        seed=seed,
        rows=rows,
        limit=limit,
        notes=[*(f"{path}: {reason}" for path, reason in results.damaged), *results.published],
    )


def _row(name: str, rows: Sequence[NamedRow], records: Sequence[RunRecord], tasks: str | Sequence[str]) -> NamedRow:
    """Return the row of a model, or that of several distillations, which a board names by its title alone."""
    from flue_bench.results.rows import find_one, named_rows

    several = (row for row in named_rows(records, together=True) if len(row.models) > 1)
    titled = next((row for row in several if row.titled(name)), None)
    return titled or find_one(rows, known_name(rows, name), _several(tasks))


def _check_question(question: str, seed: int | None) -> None:
    if question not in ("pretrained", "trained", "distilled"):
        raise UnknownNameError("question", question, ("pretrained", "trained", "distilled"))
    if seed is not None and question != "trained":
        raise UsageError("--seed needs --question trained: the comparison of pretrained models uses all seeds.")


def verify_records(
    paths: str | Path | Sequence[str | Path],
    *,
    rerun: bool = False,
    tasks: Task | str | Path | Sequence[Task | str | Path] = (),
    model: str | Path | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    offline: bool = False,
    progress: bool | Display = True,
) -> list[Checked]:
    """Recompute every score of records from their predictions, and check hashes, digests and schema.

    They are also held against what is installed, and against each other. What is found here, ``build_board`` and
    ``compare`` leave out.

    Args:
        paths: records (``.json``), or for all in them results folders and ``hub:org/name`` as for ``read_results``.
        rerun: also train each cell again, compare the predictions, and give a verdict (``Checked.verdict``).
        tasks: with ``rerun``: tasks that are not installed.
        model: with ``rerun``: the model's hub id or folder; None: the record's, at its revision, or the one that was
            kept in its results folder.
        teacher: with ``rerun``: likewise where a record has a teacher.
        device: with ``rerun``: auto, cpu, cuda, cuda:N or mps.
        data_dir: with ``rerun``: the folder of data to use instead of downloads; None: ``FLUE_BENCH_DATA``.
        offline: make no network call.
        progress: show bars in a terminal or a notebook; False: nothing.

    Returns:
        For each record, once and in the order given, what is wrong with it: a fault is returned, not raised.

    Raises:
        UsageError: a path is neither a record nor a folder with records.
    """
    from flue_bench.data import registry
    from flue_bench.results import remote, standing, verify

    if not rerun and (tasks or model or teacher):
        raise UsageError("--task, --model and --teacher say what to train again: they need --rerun.")
    found = verify.records_in([remote.local(path, offline) for path in _several(paths)])
    display, checked = display_for(progress), []
    with display.running(), display.bar(f"verifying {counted(len(found), 'record')}") as bar:
        for done, file in enumerate(found):
            bar.update(done, len(found))
            checked.append(verify.checked(file))
    checked = standing.compared(checked)
    if not rerun:
        return [replace(each, file=remote.shown(each.file)) for each in checked]
    chosen = registry.select(_several(tasks))
    with display.console.status("Loading PyTorch and transformers"), loading():
        from flue_bench.jobs.loader import Loader
        from flue_bench.jobs.rerun import checked_again
    loader = Loader(chosen, data_dir=_data_dir(data_dir), offline=offline)  # one for all: a model is hashed once
    named, taught = (None if given is None else str(given) for given in (model, teacher))
    again = [
        checked_again(each, loader, display, model=named, teacher=taught, device=device) if each.ok else each
        for each in checked
    ]
    return [replace(each, file=remote.shown(each.file)) for each in again]


def measure_speed(
    models: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    offline: bool = False,
    results: str | Path = "results",
    progress: bool | Display = True,
) -> Measured:
    """Measure models in turns: parameters, arithmetic, latency, throughput and memory of the encoder on French texts.

    Compare models only by ratios from one call on one machine.

    Args:
        models: hub ids, folders, patterns of folders, or ``embedded:NAME``.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto chooses bf16 or fp16 where the hardware gains from it.
        offline: make no network call.
        results: the folder to write records to.
        progress: show bars in a terminal or a notebook; False: nothing.

    Raises:
        UsageError: a name, the device or the precision is invalid.
        IncompleteError: some models could not be measured; its ``results`` has the others.
        FlueBenchError: the only model cannot be loaded.
    """
    from flue_bench.data import model_files, model_names

    names = model_files.named(map(str, _several(models)))
    model_names.check(names)
    display = display_for(progress)
    with display.console.status("Loading PyTorch and transformers"), loading():
        from flue_bench.jobs import speed
        from flue_bench.results.store import Store

    with display.running(), display.bar(f"Measuring {', '.join(names)}") as bar:
        measured = speed.measure(names, device, precision, offline, bar.update)
    store = Store(files.at_home(results))
    for record in measured.records:
        store.write_speed(record)
    if measured.failed:
        reasons = [f"{name}: {reason}" for name, reason in measured.failed.items()]
        raise IncompleteError("measurement", len(measured.records), reasons, measured)
    return measured


def known_name(rows: Sequence[NamedRow], wanted: str) -> str:
    """Return a name that ``rows.find`` knows: ``wanted``, or for the path of a folder its model's digest.

    Raises:
        UnknownNameError: no row has this name, nor is it a folder whose model has been run.
        UsageError: several models have it.
    """
    from flue_bench.results.rows import find

    try:
        find(rows, wanted)
    except UnknownNameError:
        if not files.at_home(wanted).is_dir():
            raise
        from flue_bench.training import models  # reads the weights; all other names cost nothing

        given = models.resolve(wanted, offline=True).ref
        if not any(given.digest in row.models for row in rows):
            raise UnknownNameError(
                "model",
                wanted,
                {row.label for row in rows},
                f"No record has the weights in that folder ({given.digest[:7]}).",
            ) from None
        return given.digest
    return wanted


def _several(given: Any) -> list[Any]:
    """Return one value, several, or None as a list."""
    if given is None or isinstance(given, str | Path):
        return [] if given is None else [given]
    return list(given) if isinstance(given, Sequence) else [given]


def _one(task: Task | str | Path) -> Registered:
    from flue_bench.data import registry

    chosen = registry.select([task])
    if len(chosen) > 1:
        raise UsageError(f"{task} is a group: name one of {', '.join(each.task.name for each in chosen)}.")
    return chosen[0]


def _standing(given: Results | str | Path | Sequence[str | Path]) -> Results:
    from flue_bench.results.runs import Results, standing

    return standing(given) if isinstance(given, Results) else read_results(given)


def _of_split(results: Results, split: str) -> tuple[Results, tuple[str, str] | None]:
    """Return the results that were scored on a split, and what is to be said of the others.

    Raises:
        UsageError: there are others alone.
    """
    records = [record for record in results.records if record.cell.split == split]
    failures = [failure for failure in results.failures if failure.cell.split == split]
    if not (number := len(results.records) - len(records)):
        return replace(results, failures=failures), None
    other = "validation" if split == "test" else "test"
    if not records and not failures:
        raise _none_on(split, other, number, results)
    scored = f"{counted(number, 'record')} scored on {other}"
    where = f"flue-bench leaderboard --split {other}"
    return replace(results, records=records, failures=failures), (scored, f"{where} shows them")


def _none_on(split: str, other: str, number: int, results: Results) -> UsageError:
    """Return the error for results that hold records of the other split alone: it names the command that shows them."""
    from flue_bench.results import remote

    folders = [str(remote.shown(folder)) for folder in results.folders]
    words = [word for folder in folders if folders != ["results"] for word in ("--results", folder)]
    where = shlex.join(["flue-bench", "leaderboard", *words, "--split", other])
    return UsageError(
        f"No record is scored on {split}, but {counted(number, 'record')} scored on {other}: {where} shows them."
    )


def tested_records(results: Results) -> list[RunRecord]:
    """Return the records without those of a tuning, whose fine-tuned models were scored on validation alone.

    Raises:
        UsageError: there are such records alone.
    """
    from flue_bench.results.rows import tested

    if not (found := tested(results.records)) and results.records:
        raise _none_on("test", "validation", len(results.records), results)
    return found


def _data_dir(given: str | Path | None) -> Path | None:
    given = given or os.environ.get("FLUE_BENCH_DATA") or None
    return None if given is None else files.at_home(given)


def display_for(progress: bool | Display) -> Display:
    """Return where to draw: in a terminal or a notebook, nowhere, or on a display that is there already."""
    from flue_bench.progress import Console, Display

    return Display(Console(stderr=True, quiet=not progress)) if isinstance(progress, bool) else progress
