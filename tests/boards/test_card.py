"""A model's card: what the hub's own classes read in it, and what is left alone."""

from __future__ import annotations

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, eval_result_entries_to_yaml, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from flue_bench.boards import card
from flue_bench.cli.settings import values
from flue_bench.data import registry
from flue_bench.kinds.kind import installed, kind_named
from flue_bench.kinds.sentence import METRICS
from flue_bench.record import ModelRef, RunRecord, Teacher
from flue_bench.results.store import Store
from flue_bench.search import searched
from support.boards import teacher_and_student, write_run
from support.command_line import Said, done, flue_bench, in_a_process, refused
from support.factories import make_record, make_speed
from support.hub_standin import StandIn

MODEL = "org/modele"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def xnli(seed: int, score: float, canonical: bool = True, **cell: Any) -> RunRecord:
    """A record whose data came from the hub."""
    record = make_record(MODEL, "xnli", seed, score, canonical=canonical, revision=REVISION, **cell)
    files = {f"fr/{split}-0.parquet": "0" * 64 for split in ("train", "test")}
    data = record.data.model_copy(update={"source": "hub:facebook/xnli@b8dd5d7af511", "files": files})
    return record.model_copy(update={"data": data, "task_title": "XNLI-FR"})


def by_name(records: list[RunRecord]) -> dict[tuple[str, str], Any]:
    """(data set, metric) → result."""
    _, of_model, _ = card.settings(records, MODEL)
    return {(each.dataset_name, each.metric_name): each for each in card.results(of_model)}


def test_every_score_has_a_name_on_the_hub_and_a_definition() -> None:
    known = {"accuracy", "exact_match", "f1", "mae", "matthews_correlation", "pearsonr", "precision", "r_squared"}
    known |= {"recall", "spearmanr", "rmse"}  # the last one is on cards alone: evaluate's mse takes the root if asked
    for kind in map(kind_named, installed()):
        assert all(metric.hub in known and metric.what for metric in kind.metrics().values()), kind.name


def test_canonical_data_of_flue_is_called_so_and_pinned() -> None:
    found = by_name([xnli(0, 0.8), xnli(1, 0.9)])
    result = found["FLUE: XNLI-FR", "f1_macro"]
    assert (result.dataset_type, result.dataset_config, result.dataset_split) == ("facebook/xnli", "fr", "test")
    assert result.dataset_revision == registry.registered()["xnli"].task.source[0].revision
    assert (result.task_type, result.metric_type, result.metric_value) == ("text-classification", "f1", 0.85)
    args = result.metric_args
    assert (args["recipe"], args["seeds"], args["sd"]) == ("standard, fp32", [0, 1], 0.0707)
    assert {name for _, name in found} == set(METRICS)


@pytest.mark.parametrize(
    ("cell", "title"),
    [
        ({"limit": 2000}, "XNLI-FR, at most 2,000 rows a split"),
        ({"canonical": False, "data": "f" * 16}, "XNLI-FR, data not canonical"),
        ({"task_version": 99}, "XNLI-FR"),
    ],
)
def test_other_data_keep_their_own_name(cell: Any, title: str) -> None:
    found = by_name([xnli(0, 0.8, **cell), xnli(0, 0.7)])
    result = found[title, "f1_macro"]
    assert result.dataset_type == "xnli" and result.dataset_revision is None
    assert "data " in result.dataset_config
    assert "sd" not in result.metric_args  # a single seed
    assert found["FLUE: XNLI-FR", "f1_macro"].metric_value == 0.7


def test_two_recipes_are_two_settings() -> None:
    _, of_model, _ = card.settings(
        [xnli(0, 0.8), xnli(0, 0.7, recipe={"epochs": 1}, recipe_name="quick epochs=1")], MODEL
    )
    assert sorted(each.metric_value for each in card.results(of_model) if each.metric_name == "f1_macro") == [0.7, 0.8]
    text = card.section(of_model)
    assert f"flue-bench run --model {MODEL}@{REVISION} --task xnli --recipe standard --precision fp32 --seed 0" in text
    assert "--recipe quick --set epochs=1" in text


def test_the_section_has_mean_spread_seeds_and_definitions() -> None:
    _, of_model, _ = card.settings(
        [
            xnli(0, 0.8),
            xnli(1, 0.9, collapsed="predicts only 'positif'"),
            make_record(MODEL, "wikiner", revision=REVISION),
        ],
        MODEL,
    )
    text = card.section(of_model)
    assert "| FLUE: XNLI-FR" in text and "85.00 ± 7.07 (2) †" in text and "80.00 (1)" in text
    assert "† Some of these runs collapsed, giving one answer throughout: they allow no verdict." in text
    assert "- `entity_f1_micro`: F1 of all entities" in text


PUBLISHED: dict[str, Any] = {
    "dataset": {"id": True, "task_id": True, "revision": False},
    "value": True,
    "verifyToken": False,
    "date": False,
    "source": {"url": True, "name": False, "user": False, "org": False},
    "evaluation_framework": False,
    "notes": False,
}
"""The schema of ``.eval_results/*.yaml``, key → whether it has to be there: https://huggingface.co/docs/hub/eval-results
(huggingface/hub-docs at 064c75486afa079642c3a60c3f077835eed03a06), and ``org`` of huggingface_hub 2.4."""


def check(found: dict[str, Any], schema: dict[str, Any]) -> None:
    assert found.keys() <= schema.keys()
    for key, needed in schema.items():
        if isinstance(needed, dict) and key in found:
            check(found[key], needed)
        assert key in found or needed is not True, key


def test_evaluation_results_are_what_the_hub_s_parser_reads() -> None:
    quick = xnli(0, 0.7, recipe={"epochs": 1}, recipe_name="quick epochs=1", collapsed="predicts only 'positif'")
    mini = make_record(MODEL, "mini-cls", revision=REVISION)
    _, of_model, _ = card.settings([xnli(0, 0.8), xnli(1, 0.9), quick, xnli(0, 0.6, limit=2000), mini], MODEL)
    text, without = card.eval_results(of_model)
    listed = yaml.safe_load(text)
    for each in listed:
        check(each, PUBLISHED)
    whole, other = sorted(parse_eval_result_entries(listed), key=lambda entry: -entry.value)
    assert eval_result_entries_to_yaml([whole, other]) == sorted(listed, key=lambda each: -each["value"])
    assert (whole.dataset_id, whole.task_id, whole.value) == ("facebook/xnli", "fr", 0.85)
    assert whole.dataset_revision == registry.registered()["xnli"].task.source[0].revision
    assert whole.date == "2025-01-02T03:04:05Z"
    assert whole.notes is not None and whole.notes.startswith(
        "f1_macro, a fraction of 1; standard, fp32; mean over seeds 0, 1 (sd 0.0707); flue-bench 0.1.0, setting "
    )
    assert other.value == 0.7 and "seed 0; in 1 of 1 seeds" not in str(other.notes) and "positif" in str(other.notes)
    assert sorted(said.partition(":")[0] for said in without) == ["XNLI-FR, at most 2,000 rows a split", "mini-cls"]


def helped(**more: Any) -> RunRecord:
    """A record whose recipe was searched, and that a teacher taught."""
    search = searched({"learning_rate": [1e-5, 3e-5], "dropout": [0.1, None], "batch_size": [16, 32]}, 4, 2)
    teacher = Teacher(model=ModelRef(name="maitre-xnli", origin="directory", digest="1" * 16))
    recipe = search.settings()[1]
    return xnli(0, 0.8, search=search, tried=[0.5, 0.9, 0.7, 0.6], recipe=recipe, taught=teacher, **more)


def test_who_was_tuned_or_taught_is_said_everywhere() -> None:
    """Beside a record of the same recipe that was neither, on each kind of page."""
    _, of_model, _ = card.settings([helped(), xnli(0, 0.8)], MODEL)
    text = card.section(of_model)
    assert "standard, best of 4, taught by maitre-xnli, fp32" in text and "| standard, fp32" in text
    yaml_text, _ = card.eval_results(of_model)
    notes = [entry["notes"] for entry in yaml.safe_load(yaml_text)]
    assert sorted("best of 4, on validation" in each for each in notes) == [False, True]
    assert sorted("taught on xnli: maitre-xnli (1111111), alpha 0.5" in each for each in notes) == [False, True]
    record = helped(canonical=False).model_copy(update={"kept": "0" * 16})
    shown = " ".join(str(card.of_kept(record, "eleve", "CamembertForSequenceClassification")).split())
    assert "the best on validation of 4 points; 40 s" in shown and "maitre-xnli (1111111)" in shown


def test_a_command_searches_and_is_taught_as_the_record_was() -> None:
    """Else it would train another model, or end in an error."""
    _, of_model, _ = card.settings([helped()], MODEL)
    words = shlex.split(card._command(of_model[0]))
    pairs = list(pairwise(words))
    searches = [value for option, value in pairs if option == "--search"]
    search = of_model[0].records[0].cell.search
    assert search == searched(values(searches), 4, 2)
    assert {("--search-trials", "4"), ("--search-seeds", "2"), ("--teacher", "./maitre-xnli")} <= set(pairs)
    _, plain, _ = card.settings([xnli(0, 0.8)], MODEL)
    assert not {"--search", "--teacher"} & set(shlex.split(card._command(plain[0])))


def test_evaluation_results_on_the_command_line(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "flue-bench.yaml"
    done("card", "-m", MODEL, "--results", results, "-f", "eval-results", "--out", out)
    (entry,) = parse_eval_result_entries(yaml.safe_load(out.read_text(encoding="utf-8")))
    assert (entry.dataset_id, entry.value) == ("facebook/xnli", 0.85)
    said = refused("card", "-m", MODEL, "--results", results, "-f", "eval-results", "--validate")
    assert "--validate has the hub check a card: leave it or --format eval-results out." in said


def test_what_is_on_no_data_set_of_the_hub_has_no_place_in_evaluation_results(tmp_path: Path) -> None:
    write_run(Store(tmp_path), MODEL, "xnli", 0, 0.8)
    said = flue_bench("card", "-m", MODEL, "--results", tmp_path, "-f", "eval-results")
    assert said.code == 1 and said.out == "" and "Nothing of org/modele has a place in .eval_results" in said.err
    assert "Left out: xnli" in said.err


def call(*words: str | Path) -> Said:
    return flue_bench("card", *words)


@pytest.fixture
def results(tmp_path: Path, all_stand: None) -> Path:
    folder = tmp_path / "results"
    for seed, score in enumerate((0.8, 0.9)):
        record = xnli(seed, score)
        path = folder / "runs/org--modele/xnli" / f"seed{seed}-{record.cell_digest}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(), encoding="utf-8")
    return folder


def test_a_new_card_is_what_the_hub_reads(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "modele/README.md"
    out.parent.mkdir()
    assert call("--model", MODEL, "--results", results, "--out", out).code == 0
    read = ModelCard.load(out)
    name, parsed = model_index_to_eval_results(read.data.to_dict()["model-index"])
    assert name == MODEL
    assert parsed == read.data.eval_results and len(parsed) == len(METRICS)
    assert [each.metric_value for each in parsed if each.metric_name == "f1_macro"] == [0.85]
    assert read.text.startswith(f"\n# {MODEL}\n")
    assert call("--model", MODEL, "--results", results).out == out.read_text(encoding="utf-8")


THEIRS = """---
license: mit
language: fr
tags:
- camembert
model-index:
- name: mon-modele
  results:
  - task:
      type: text-classification
    dataset:
      name: Ailleurs
      type: ailleurs
    metrics:
    - type: accuracy
      value: 0.5
---
# Mon modèle

Un mot avant.
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_is_not_ours_is_kept(results: Path, tmp_path: Path, line_end: str) -> None:
    out = tmp_path / "README.md"
    out.write_bytes(THEIRS.replace("\n", line_end).encode())
    call("--model", MODEL, "--results", results, "--out", out)
    once = out.read_bytes()
    assert once.count(b"\n") == once.count(line_end.encode())
    read = ModelCard.load(out)
    assert (read.data.license, read.data.language, read.data.tags) == ("mit", "fr", ["camembert"])
    assert read.data.model_name == "mon-modele"
    assert [each.metric_value for each in read.data.eval_results or [] if each.dataset_type == "ailleurs"] == [0.5]
    assert "# Mon modèle" in read.text and "Un mot avant." in read.text and card.BEGIN in read.text

    out.write_bytes(once + f"Un mot après.{line_end}".encode())
    call("--model", MODEL, "--results", results, "--out", out)
    assert out.read_bytes() == once + f"Un mot après.{line_end}".encode()


def test_a_text_without_metadata_gets_them(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    out.write_text("# Mon modèle\n", encoding="utf-8")
    assert call("--model", MODEL, "--results", results, "--out", out).code == 0
    assert ModelCard.load(out).data.model_name == MODEL
    assert "---\n# Mon modèle\n" in out.read_text(encoding="utf-8")


def validated(hub: StandIn, results: Path, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """``flue-bench card --validate`` against this hub."""
    store = Store(results.with_name("right"))  # a process of its own takes no record at its word
    for seed in (0, 1):
        write_run(store, MODEL, "xnli", seed, 0.8, revision=REVISION)
    words = ("card", "-m", MODEL, "--validate", "--results", store.root, "--out", tmp_path / "README.md")
    return in_a_process(*words, cwd=tmp_path, env=hub.env(tmp_path) | env)


def test_the_hub_takes_our_metadata(results: Path, tmp_path: Path) -> None:
    with StandIn() as hub:
        done = validated(hub, results, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"{hub.endpoint} accepts the metadata.\nWritten: {tmp_path / 'README.md'}\n"
        assert "POST /api/validate-yaml" in hub.requests and (tmp_path / "README.md").is_file()


def test_what_the_hub_refuses_is_told_and_not_written(results: Path, tmp_path: Path) -> None:
    theirs = THEIRS.replace("value: 0.5", "value: good")
    (tmp_path / "README.md").write_text(theirs, encoding="utf-8")
    with StandIn() as hub:
        done = validated(hub, results, tmp_path, HF_TOKEN="hf_secret")
    assert done.returncode == 1 and "needs a type and a number" in done.stderr
    assert "Traceback" not in done.stderr and "hf_secret" not in done.stderr
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == theirs


@pytest.mark.parametrize(
    ("env", "said"),
    [({"HF_HUB_OFFLINE": "1"}, "switched off"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "out of reach")],
)
def test_without_a_hub_nothing_is_said_of_the_metadata(
    results: Path, tmp_path: Path, env: dict[str, str], said: str
) -> None:
    with StandIn() as hub:
        done = validated(hub, results, tmp_path, **env)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "README.md").exists() and "takes" not in done.stderr


def test_what_cannot_be_asked(results: Path, tmp_path: Path) -> None:
    broken, several = tmp_path / "broken.md", tmp_path / "several.md"
    broken.write_text("---\na: [\n---\n", encoding="utf-8")
    index = "".join(f"- name: m{i}\n  results: []\n" for i in range(2))
    several.write_text(f"---\nmodel-index:\n{index}---\n", encoding="utf-8")
    for words, code, said in (
        (("-m", "org/autre"), 2, "org/modele"),
        (("-m", MODEL, "--out", broken), 1, "cannot be read as a model card"),
        (("-m", MODEL, "--out", several), 2, "holds several models"),
    ):
        assert said in refused("card", *words, "--results", results, code=code)
    (tmp_path / "rien").mkdir()
    assert "No records in" in refused("card", "-m", MODEL, "--results", tmp_path / "rien")


def test_a_name_drives_neither_the_terminal_nor_the_page(tmp_path: Path) -> None:
    name = f"a|b\n## h \x1b[31m <script> {card.END}"
    record = xnli(0, 0.8)
    record = record.model_copy(
        update={"cell": record.cell.model_copy(update={"model": record.cell.model.model_copy(update={"name": name})})}
    )
    _, of_model, _ = card.settings([record], name)
    out = tmp_path / "README.md"
    made = str(card.updated(out, name, of_model))
    text = made.rpartition("---\n")[2]
    assert "\x1b" not in text and "\n## h" not in text and text.count(card.END) == 1
    out.write_text(made, encoding="utf-8")
    assert str(card.updated(out, name, of_model)) == made


def test_a_mark_without_its_other_end_is_told(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    out.write_text(f"# Moi\n\n{card.BEGIN}\n\nMon texte.\n", encoding="utf-8")
    assert "should occur once" in refused("card", "-m", MODEL, "--results", results, "--out", out, code=1)
    assert "Mon texte." in out.read_text(encoding="utf-8")


def test_a_score_that_one_seed_lacks_is_left_out(results: Path) -> None:
    records = [xnli(0, 0.8), xnli(1, 0.9)]
    records[1] = records[1].model_copy(update={"scores": {k: v for k, v in records[1].scores.items() if k != "mcc"}})
    names = {each.metric_name for each in card.results(card.settings(records, MODEL)[1])}
    assert "f1_macro" in names and "mcc" not in names


def test_a_damaged_record_is_told(results: Path) -> None:
    path = next(results.rglob("seed0*.json"))
    path.write_text("{", encoding="utf-8")
    done = call("-m", MODEL, "--results", results)
    assert done.code == 0 and f"Left out: {path}" in done.err


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("command", ["card", "leaderboard"])
def test_out_is_not_written_through_a_link_that_leads_out_of_its_folder(
    tmp_path: Path, command: str, exists: bool
) -> None:
    """A clone of a model's repository may hold one, and git makes it the user's own."""
    results, clone, private = tmp_path / "results", tmp_path / "clone", tmp_path / "home" / ".profile"
    record = teacher_and_student(results, seeds=1).records()[0]
    clone.mkdir()
    private.parent.mkdir()
    if exists:
        private.write_text("export NAME=Secret\n", encoding="utf-8")
    (clone / "README.md").symlink_to("../home/.profile")
    words = [
        command,
        *(["--model", record.cell.model.name] if command == "card" else []),
        "--results",
        results,
        "--out",
    ]
    assert "a link leads out of" in (said := refused(*words, clone / "README.md", code=1)) or "is a link that" in said
    assert "Secret" not in said
    assert private.read_text(encoding="utf-8") == "export NAME=Secret\n" if exists else not private.exists()
    (clone / "README.md").unlink()
    (clone / "README.md").symlink_to("docs.md")
    done(*words, clone / "README.md")
    assert (clone / "README.md").is_symlink() and record.cell.model.name in (clone / "docs.md").read_text("utf-8")
    piped = in_a_process("leaderboard", "--results", results, "--out", "/dev/stdout", cwd=tmp_path)
    assert record.cell.model.name in piped.stdout


@pytest.mark.parametrize("command", ["card", "leaderboard", "compare"])
@pytest.mark.parametrize("file", ["runs/*/*/seed0-*[0-9a-f].json", "runs/*/*/*.predictions.parquet", "speed/*/*.json"])
def test_out_overwrites_no_record(tmp_path: Path, command: str, file: str) -> None:
    """One wrong completion of a name in the shell would cost a run."""
    one, other = sorted({record.cell.model.name for record in teacher_and_student(tmp_path, seeds=1).records()})
    Store(tmp_path).write_speed(make_speed())
    words = {"card": ["-m", one], "leaderboard": [], "compare": [one, other]}[command]
    path = next(tmp_path.glob(file))
    (tmp_path / "lien").symlink_to(path)
    before = path.read_bytes()
    for out in (path, path.parent / ".." / path.parent.name / path.name, tmp_path / "lien"):
        said = refused(command, *words, "--results", tmp_path, "--out", out, code=1)
        assert "keeps a record: not overwritten" in said or "cannot be read as a model card" in said
    assert path.read_bytes() == before
    done(command, *words, "--results", tmp_path, "--out", path.parent / "board.json")  # the user's own name


def test_a_setting_that_cannot_be_shown_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command = card._command

    def broken(setting: card.Setting) -> str:
        if setting.records[0].cell.task == "xnli":
            raise IndexError("list index out of range")
        return command(setting)

    records = [xnli(0, 0.8), make_record(MODEL, "paws-x", revision=REVISION)]
    monkeypatch.setattr(card, "_command", broken)
    _, of_model, left_out = card.settings(records, MODEL)
    assert [setting.records for setting in of_model] == [(records[1],)]
    assert left_out == ["xnli: IndexError: list index out of range"]
