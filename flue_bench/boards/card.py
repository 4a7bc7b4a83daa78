"""A model's results for its card on the hub: the ``model-index``, and a section of text.

The card shows what the board shows: the same records, with each setting separate.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from flue_bench import escape, files
from flue_bench.boards import rules
from flue_bench.data import registry
from flue_bench.errors import RecordError, TaskFileError, UsageError, cause, counted
from flue_bench.kinds.counts import Metric
from flue_bench.kinds.kind import kind_of
from flue_bench.kinds.names import as_pair
from flue_bench.record import OWN_HEAD, ModelRef, NoTraining, RunRecord, Search
from flue_bench.results.entries import collapsed
from flue_bench.results.rows import by_run, find, grouped, named_rows, newest
from flue_bench.results.store import KEPT_RECORD
from flue_bench.statistics.intervals import mean_sd

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

BEGIN, END = "<!-- flue-bench: begin -->", "<!-- flue-bench: end -->"
"""flue-bench owns the part of the card between these lines, and replaces it."""


class Setting(NamedTuple):
    """One task of a board's entry: the records of one setting, one per seed."""

    title: str
    """The task's title; FLUE's names are used only for the whole canonical data."""
    dataset: str
    config: str | None
    revision: str | None
    records: tuple[RunRecord, ...]


def settings(records: Sequence[RunRecord], model: str) -> tuple[str, list[Setting], list[str]]:
    """Return the model's name, everything that the board shows of it, and what cannot be shown, in words.

    Args:
        records: records from any number of results folders.
        model: a name that ``rows.find`` accepts.

    Raises:
        UnknownNameError, UsageError: as for ``rows.find`` on the board's rows.
    """
    rows = {row.key: row for row in rules.build(records, together=False).rows}
    once, _ = newest(records)
    named = [each for each in named_rows(once) if each.key in rows]
    keys = {each.key for each in find(named, model)}
    shown = [row for key, row in rows.items() if key in keys]
    records_of = by_run(records)
    runs = [run for row in shown for entry in row.entries if entry for run in entry.runs]
    kept = grouped(runs, lambda run: run.setting_digest)
    of_model, left_out = [], []
    for same in kept.values():
        of_setting = tuple(records_of[run.key] for run in same)
        try:
            kind_of(of_setting[0])
        except RecordError as error:
            left_out.append(str(error))
            continue
        try:
            setting = _setting(of_setting)
            section([setting])
        except TaskFileError:  # a broken plugin, whatever the records
            raise
        except Exception as error:  # one setting of a stranger ends no card
            left_out.append(f"{of_setting[0].cell.task}: {cause(error)}")
        else:
            of_model.append(setting)
    return shown[0].model, of_model, left_out


def results(of_model: Iterable[Setting]) -> list[EvalResult]:
    """Return each metric of each setting: its mean over seeds, a fraction of 1; ``metric_args`` name the setting."""
    from huggingface_hub import EvalResult

    homepage = _homepage()
    return [
        EvalResult(
            task_type=kind.hub_task,
            dataset_type=escape.data(setting.dataset),
            dataset_name=escape.data(setting.title),
            dataset_config=escape.data(setting.config),
            dataset_revision=escape.data(setting.revision),
            dataset_split=first.cell.split,
            metric_type=metric.hub,
            metric_name=name,
            metric_value=round(mean, 4),
            metric_args=escape.data(
                {
                    "flue_bench": first.environment.flue_bench,
                    "setting": first.setting_digest,
                    "recipe": f"{first.recipe_name}, {first.cell.recipe.precision}",
                }
                | ({"tuned": f"{first.cell.search.budget}, on validation"} if first.cell.search else {})
                | ({"taught": list(words)} if (words := rules.taught_by(setting.records)) else {})
                | ({} if first.cell.untrained else {"seeds": [record.cell.seed for record in setting.records]})
                | ({} if sd is None else {"sd": round(sd, 4)})
                | ({"collapsed": list(words)} if (words := collapsed(setting.records)) else {})
                | ({"own_head": list(words)} if (words := rules.own_head(setting.records)) else {})
                | ({"leaks": list(words)} if (words := rules.leaks(setting.records)) else {})
            ),
            source_name="flue-bench" if homepage else None,
            source_url=homepage,
        )
        for setting in of_model
        for first in setting.records[:1]
        for kind in [kind_of(first)]
        for name, metric in _metrics(setting).items()
        for mean, sd in [_over_seeds(setting, name)]
    ]


def eval_results(of_model: Iterable[Setting]) -> tuple[str, list[str]]:
    """Return the headline score of each setting as the hub's ``.eval_results/*.yaml``, and what has no place there.

    The format is that of https://huggingface.co/docs/hub/eval-results (huggingface/hub-docs at 064c754): a data set of
    the hub, the id of a task in it, which is the name of its configuration, and one value, here a fraction of 1.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    homepage = _homepage()
    entries, without = [], []
    for setting in of_model:
        first = setting.records[0]
        if setting.revision is None:
            without.append(f"{setting.title}: not the whole of a data set of the hub, as it is published there")
            continue
        mean, sd = _over_seeds(setting, first.metric)
        seeds = ", ".join(str(record.cell.seed) for record in setting.records)
        notes = [f"{first.metric}, a fraction of 1", f"{first.recipe_name}, {first.cell.recipe.precision}"]
        if not first.cell.untrained:
            notes.append(f"mean over seeds {seeds} (sd {sd:.4f})" if sd is not None else f"seed {seeds}")
        if first.cell.search:
            notes.append(f"{first.cell.search.budget}, on validation")
        notes += [f"taught on {words}" for words in rules.taught_by(setting.records)]
        notes += [*collapsed(setting.records), *rules.own_head(setting.records), *rules.leaks(setting.records)]
        notes.append(f"flue-bench {first.environment.flue_bench}, setting {first.setting_digest}")
        entries.append(
            EvalResultEntry(
                dataset_id=escape.plain(setting.dataset),
                task_id=escape.plain(setting.config or "default"),
                value=round(mean, 4),
                dataset_revision=setting.revision,
                date=max(record.created for record in setting.records),
                source_url=homepage,
                source_name="flue-bench" if homepage else None,
                notes=escape.plain("; ".join(notes)),
            )
        )
    return yaml_dump(eval_result_entries_to_yaml(entries)) if entries else "", without


def section(of_model: Sequence[Setting]) -> str:
    """Return the evaluation in Markdown, from ``BEGIN`` to ``END``."""
    from tabulate import tabulate

    lines = []
    for setting in of_model:
        first = setting.records[0]
        mean, sd = _over_seeds(setting, first.metric)
        seeds = "" if first.cell.untrained else f" ({len(setting.records)})"
        score = f"{100 * mean:.2f}" + ("" if sd is None else f" ± {100 * sd:.2f}") + seeds
        marks = (" †" if collapsed(setting.records) else "") + (" §" if rules.leaks(setting.records) else "")
        recipe = ", ".join(filter(None, (first.recipe_name, first.cell.advantage, first.cell.recipe.precision)))
        lines.append([*map(escape.markdown, (setting.title, recipe, first.metric)), score + marks])
    headings = ("test set", "recipe", "metric", "mean ± sd (seeds)")
    metrics = {
        each: metric
        for setting in of_model
        for each, metric in _metrics(setting).items()
        if each == setting.records[0].metric
    }
    said = "† Some of these runs collapsed, giving one answer throughout: they allow no verdict."
    dagger = f"\n{said}\n" if any("†" in line[-1] for line in lines) else ""
    if leaks := rules.leaks([record for setting in of_model for record in setting.records]):
        dagger += f"\n§ {escape.markdown('; '.join(leaks))}.\n"
    untrained = {setting.records[0].cell.untrained is not None for setting in of_model}
    over = "mean ± sample standard deviation over the seeds"
    how = f"The encoder, fine-tuned on each task and scored on its test set by {{}}: {over}, in percent."
    if untrained == {True}:
        methods = {way.method for setting in of_model if (way := setting.records[0].cell.untrained)}
        by = "with its own head" if methods == {OWN_HEAD} else "by the method named, without training"
        how = f"The model as it is, {by}, scored by {{}}, in percent."
    elif True in untrained:
        how = f"Scored by {{}}, in percent: the encoder, fine-tuned on each task ({over}), and the model as it is."
    commands = "\n".join(_command(setting) for setting in of_model)
    name = f"[flue-bench]({home})" if (home := _homepage()) else "flue-bench"
    return (
        f"{BEGIN}\n## Evaluation on French tasks\n\n"
        f"{how.format(name)} This card's metadata holds every score by its full name, as a fraction of 1.\n\n"
        f"{tabulate(lines, headers=headings, tablefmt='github', disable_numparse=True)}\n{dagger}\n"
        + "".join(f"- {escape.code(each)}: {metric.what}.\n" for each, metric in metrics.items())
        + f"\nTo reproduce these figures:\n\n```sh\n{commands}\n```\n{END}\n"
    )


def updated(path: Path | None, name: str, of_model: Sequence[Setting]) -> ModelCard:
    """Return the card in this file with our results and section added or replaced; or a new card.

    Args:
        path: a README.md, which need not exist.
        name: the model's name, for a card that has none.
        of_model: from ``settings``.

    Raises:
        RecordError: the file cannot be read as a model card.
        UsageError: its metadata has results of several models.
    """
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.repocard import metadata_load

    card = ModelCard("---\n\n---\n")
    if path is not None and path.exists():
        try:
            content = files.read(path, root=path.parent).decode("utf-8-sig")
            several = len((metadata_load(path) or {}).get("model-index") or []) > 1
            card = ModelCard(content if content.lstrip().startswith("---") else f"---\n\n---\n{content}")
        except Exception as error:  # whatever YAML and huggingface_hub raise
            said = error.strerror if isinstance(error, OSError) else None
            reason = said or str(error).partition("\n")[0]
            raise RecordError(f"{path}: cannot be read as a model card: {reason}.") from error
        if several:
            raise UsageError(f"{path}: its model-index holds several models; write to another file and merge by hand.")
    about = card.data
    assert isinstance(about, ModelCardData)  # as in every ModelCard
    others = [each for each in about.eval_results or [] if "flue_bench" not in (each.metric_args or {})]
    about.model_name = about.model_name or escape.plain(name)
    about.eval_results = [*others, *results(of_model)]
    line_end = "\r\n" if "\r\n" in card.text else "\n"
    ours = section(of_model).replace("\n", line_end)
    marked = re.findall(f"{BEGIN}|{END}", card.text)
    if marked not in ([], [BEGIN, END]):
        raise RecordError(
            f"{path}: '{BEGIN}' and '{END}' should occur once, in this order: repair the section that "
            "belongs to flue-bench."
        )
    if marked:
        above, _, rest = card.text.partition(BEGIN)
        below = re.sub(r"\A\r?\n", "", rest.partition(END)[2])
        card.text = f"{above}{ours}{below}"
    else:
        above = card.text.rstrip() or f"\n# {escape.markdown(name)}"
        card.text = f"{above}{2 * line_end}{ours}"
    return card


def of_kept(record: RunRecord, name: str, architecture: str) -> ModelCard:
    """Return the card of one fine-tuned model: what it is, how to load it, its scores, and what it was made from.

    Args:
        record: the record of its cell.
        name: the model's name.
        architecture: the transformers class that loads it.
    """
    from huggingface_hub import ModelCard, ModelCardData
    from tabulate import tabulate

    cell, data, here = record.cell, record.data, record.environment
    setting, kind = _setting((record,)), kind_of(record)
    base = f"{cell.model.name}@{cell.model.revision}" if cell.model.revision else cell.model.name
    validation = record.history[record.selected_epoch - 1].scores if record.history else {}
    metrics = _metrics(setting)
    scores = [
        [escape.code(each), f"{_values(record)[each]:.4f}", f"{validation[each]:.4f}" if each in validation else ""]
        for each in metrics
    ]
    served = ", ".join(f"{count:,} {split}" for split, count in cell.served(data.rows).items())
    packages = ", ".join(f"{package} {version}" for package, version in sorted(here.packages.items()))
    made_from = {
        "base model": f"{escape.code(base)}, digest {escape.code(cell.model.digest)}",
        "task": f"{escape.code(cell.task)}, version {cell.task_version}: {escape.markdown(setting.title)}",
        "data": f"{escape.code(data.source)}, digest {escape.code(data.digest)}; rows: {served}",
        "labels": ", ".join(map(escape.code, record.labels)) or "none",
        "recipe": escape.markdown(
            f"{record.recipe_name}: "
            + ", ".join(f"{key} {value}" for key, value in cell.recipe.model_dump(exclude_none=True).items())
        ),
        **({"tuned": escape.markdown(_tuned(record.search))} if record.search else {}),
        **({"teacher": escape.markdown(", ".join(rules.taught_by([record])))} if cell.teacher else {}),
        "seed": str(cell.seed),
        cell.trained.recipe.evaluation: (
            f"{record.selected_epoch} of {len(record.history)}, by {escape.code(record.metric)} on validation"
        ),
        "cell": f"{escape.code(record.cell_digest)}, protocol {cell.protocol}",
        "test predictions": f"SHA-256 {escape.code(record.predictions.sha256)}",
        "this model": f"digest {escape.code(record.kept or '')}",
        "machine": escape.markdown(
            f"{here.device}, {counted(here.threads, 'thread')}, {here.platform}, Python {here.python}"
        ),
        "software": escape.markdown(
            f"flue-bench {here.flue_bench}" + (f" at {here.commit[:12]}" if here.commit else "") + f", {packages}"
        ),
    }
    about = ModelCardData(
        language="fr",
        library_name="transformers",
        pipeline_tag=kind.hub_task,
        base_model=cell.model.name if cell.model.origin == "hub" else None,
        tags=["flue-bench"],
        model_name=escape.plain(name),
        eval_results=results([setting]),
    )
    flue = f"[flue-bench]({home})" if (home := _homepage()) else "flue-bench"
    collapse = (
        f"\n**Collapsed: {escape.markdown(record.collapsed)}.** Its scores mean little.\n" if record.collapsed else ""
    )
    text = (
        f"# {escape.markdown(name)}\n\n{escape.code(cell.model.name)}, fine-tuned on {escape.markdown(setting.title)} "
        f"by {flue} with seed {cell.seed}.\n{collapse}\n"
        f"```python\nfrom transformers import AutoTokenizer, {architecture}\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained(".")\nmodel = {architecture}.from_pretrained(".")\n```\n\n'
        f"It was trained on inputs of at most {cell.recipe.max_length} sub-words: cut longer ones there "
        f"(`truncation=True, max_length={cell.recipe.max_length}`).\n\n"
        "## Scores\n\nFractions of 1; the model was chosen on validation, so that its scores there flatter it.\n\n"
        f"{tabulate(scores, headers=['score', 'test', 'validation'], tablefmt='github', disable_numparse=True)}\n\n"
        + "".join(f"- {escape.code(each)}: {metric.what}.\n" for each, metric in metrics.items())
        + "\n## Provenance\n\n"
        + f"{tabulate(made_from.items(), headers=['', ''], tablefmt='github', disable_numparse=True)}\n\n"
        + f"`{KEPT_RECORD}` is the whole record. The same model again:\n\n"
        + f"```sh\n{_command(setting)} --keep all\n```\n\n"
        + "No licence is stated here: those of the base model and of the data apply.\n"
    )
    return ModelCard(f"---\n{about.to_yaml()}\n---\n\n{text}")


def _setting(records: tuple[RunRecord, ...]) -> Setting:
    first = records[0]
    cell, data = first.cell, first.data
    installed = registry.registered().get(cell.task)
    known = installed is not None and installed.task.version == cell.task_version
    title = f"{first.task_title}, trained on {first.train_from}" if first.train_from else first.task_title
    if data.canonical and cell.limit is cell.train_rows is None and installed is not None and known:
        flue = "FLUE: " if "flue" in installed.task.groups else ""
        hub = re.fullmatch(r"hub:([^@]+)@(\w+)", data.source)
        if hub is None:
            return Setting(f"{flue}{title}", cell.task, None, None, records)
        folders = {PurePosixPath(file).parts[0] for file in data.files if "/" in file}
        pinned = (each.revision or "" for each in installed.task.source if each.hub == hub[1])
        return Setting(
            title=f"{flue}{title}",
            dataset=hub[1],
            config=folders.pop() if len(folders) == 1 else None,
            revision=next((each for each in pinned if each.startswith(hub[2])), hub[2]),
            records=records,
        )
    # Its own name, and what distinguishes it from the whole data set of that name.
    if cell.split != "test":
        title += f", {cell.split}"
    limit = f", at most {cell.limit:,} rows a split" if cell.limit is not None else ""
    limit += f", trained on {cell.train_rows:,} rows" if cell.train_rows is not None else ""
    other = "" if data.canonical else ", data not canonical"
    config = f"data {cell.data}" + (f" limit {cell.limit}" if cell.limit is not None else "")
    config += f" train_rows {cell.train_rows}" if cell.train_rows is not None else ""
    return Setting(f"{title}{limit}{other}", cell.task, config, None, records)


def _metrics(setting: Setting) -> dict[str, Metric]:
    """Return the scores that every seed has, the headline metric first."""
    first, *others = setting.records
    known = kind_of(first).metrics(first)
    shared = [name for name in _values(first) if name in known and all(name in _values(other) for other in others)]
    return {name: known[name] for name in sorted(shared, key=lambda name: name != first.metric)}


def _values(record: RunRecord) -> dict[str, float]:
    return record.scores | record.measures


def _over_seeds(setting: Setting, metric: str) -> tuple[float, float | None]:
    summary = mean_sd([_values(record)[metric] for record in setting.records])
    return summary.mean, summary.sd if len(setting.records) > 1 else None


def _command(setting: Setting) -> str:
    """Return the command that runs the setting again, with folders and task files in the current folder."""
    first = setting.records[0]
    how, recipe = first.cell.untrained, first.recipe_name.split()
    words = ["flue-bench", "score" if how else "run", "--model", _named(first.cell.model)]
    words += ["--task", first.cell.task if first.cell.task in registry.registered() else f"{first.cell.task}.toml"]
    if how:
        words += ["--split", how.split, "--max-length", str(how.max_length)]
        words += [word for pair in _given(first, how).items() for word in ("--labels", as_pair(*pair))]
        words += [word for key, value in how.options.items() for word in ("--set", f"{key}={value}")]
    else:
        words += ["--recipe", recipe[0], *(word for change in recipe[1:] for word in ("--set", change))]
    if searched := first.cell.search:
        for field, values in searched.fields.items():
            words += ["--search", f"{field}={','.join(map(str, values))}"]
        words += ["--search-trials", str(searched.points)] if searched.points < searched.of else []
        words += ["--search-seeds", str(len(searched.seeds))] if len(searched.seeds) > 1 else []
    if first.cell.teacher:
        words += ["--teacher", _named(first.cell.teacher.model)]
    words += ["--precision", first.cell.recipe.precision]
    words += [word for record in setting.records if not how for word in ("--seed", str(record.cell.seed))]
    if first.cell.limit is not None:
        words += ["--limit", str(first.cell.limit)]
    if first.cell.train_rows is not None:
        words += ["--train-rows", str(first.cell.train_rows)]
    # No name ends our section; quotes that are closed and opened again change nothing for the shell.
    return escape.plain(shlex.join(words)).replace("<!", "<''!")


def _named(model: ModelRef) -> str:
    """Return how a command names a model."""
    name = f"{model.name}@{model.revision}" if model.revision else model.name
    return f"./{name}" if model.origin == "directory" else name


def _tuned(search: Search) -> str:
    """Return what a search chose, from how much, and at what cost."""
    chosen = ", ".join(f"{name} {value}" for name, value in search.best.settings.items()) if search.best else "nothing"
    lost = "".join(f", {number} {why}" for why, number in search.lost.items())
    return f"{chosen}, the best on validation of {counted(len(search.points), 'point')}{lost}; {search.seconds:,.0f} s"


def _given(record: RunRecord, how: NoTraining) -> dict[str, str]:
    """Return what labels of the head mean, unless their names say it."""
    with suppress(ValueError):
        if kind_of(record).read_head(list(how.answers), record, {}).answers == how.answers:
            return {}
    return how.answers


def _homepage() -> str | None:
    """Return flue-bench's homepage, if the installed distribution has one."""
    try:
        urls = metadata("flue-bench").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = {name.strip().lower(): url.strip() for name, _, url in (each.partition(",") for each in urls)}
    return next((named[name] for name in ("homepage", "repository", "source") if name in named), None)
