"""Every message that names a command, an option or a setting: it is provoked, its advice is followed, and that works.

``ADVICE`` has a line for each message: how to get it, what it says, and what is done then. Advice that needs another
machine, an account or a package is in ``ELSEWHERE`` with the test that shows the message, or in ``BEYOND``. A message
that stands in none of them fails ``test_every_message_with_advice_is_here``.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import ROOT, command_line
from support.bad_files import SENTENCE, TEXTS, put, tsv
from support.command_line import Said
from support.tiny import tiny

Words = list[str]
Follow = Callable[["Case", Said, Path], Words]
"""What is done with the message: the words of the next command, after what else has to be done."""

MODEL = ["--model", "embedded:student"]
QUICK = ["--task", "mini-cls", "--limit", "16", "--set", "epochs=1"]
RUN = ["run", *MODEL, *QUICK]
TWO = ["run", "--model", "embedded:student", "--model", "embedded:teacher", *QUICK]
THREE = ["run", "--model", "embedded:untrained", *TWO[1:]]

LEARNT = [*TWO[:-4], "--limit", "120", "--set", "epochs=3", "--set", "learning_rate=1e-3"]
"""So long that the predictions are more than a single class."""


SEARCH = ["run", "--model", "embedded:student", *LEARNT[5:], "--search", "batch_size=8,16"]


class Case(NamedTuple):
    """A message and its advice."""

    words: Words
    """The command that gets the message."""
    says: str
    """A pattern of it."""
    follow: Follow
    before: tuple[Words, ...] = ()
    """Commands before, which succeed."""
    prepare: Callable[[Path, dict[str, Path]], Any] = lambda folder, models: None
    """Makes the files that the command meets."""
    code: int = 2
    """Exit code of the command."""


def instead(*changes: tuple[str, str | None]) -> Follow:
    """The same command with words replaced, or left out where there are no others."""

    def words(case: Case, said: Said, folder: Path) -> Words:
        line = shlex.join(case.words)
        for old, new in changes:
            assert old in line, line
            line = line.replace(old, new or "", 1)
        return shlex.split(line)

    return words


def also(*more: str) -> Follow:
    return lambda case, said, folder: [*case.words, *more]


def command(pattern: str) -> Follow:
    """The command that the message names, as it stands there."""

    def words(case: Case, said: Said, folder: Path) -> Words:
        named = re.search(pattern, said.out + said.err)
        assert named, said
        return shlex.split(named[1])

    return words


def after(act: Callable[[Path], Any]) -> Follow:
    """The same command, after something was done by hand."""

    def words(case: Case, said: Said, folder: Path) -> Words:
        act(folder)
        return case.words

    return words


def corpus(folder: Path, models: dict[str, Path]) -> None:
    """Documents enough for some sequences."""
    documents = [" ".join(TEXTS[(i + j) % len(TEXTS)] for j in range(8)) + f" Page {i}." for i in range(60)]
    (folder / "textes.txt").write_text("\n\n".join(documents), encoding="utf-8")
    shutil.copytree(models["small"], folder / "petit modele")


def corpus_made(folder: Path, models: dict[str, Path]) -> None:
    """The same, and the corpus of it."""
    corpus(folder, models)
    shutil.copytree(models["corpus"], folder / "corpus")


def task_of(folder: Path, models: dict[str, Path]) -> None:
    put(folder, SENTENCE, "d.tsv", tsv())
    shutil.copytree(models["small"], folder / "modele")


CORPUS = [
    "corpus",
    "textes.txt",
    "--tokenizer",
    "petit modele",
    "--out",
    "corpus",
    "--held-out",
    "0",
    "--processes",
    "1",
]
DISTIL = [
    "distill",
    "--corpus",
    "corpus",
    "--teacher",
    "petit modele",
    "--out",
    "eleve",
    "--set",
    "length=16",
    "--steps",
    "2",
]
LOOSE = ["run", "--model", "modele", "--task", "essai.toml"]

SENSES = ["score", "--model", "embedded:student", "--task", "mini-senses"]
ADVICE: dict[str, Case] = {
    # senses
    "Score the frozen encoders: {}": Case(
        ["run", *SENSES[1:]],
        "nothing is trained there. Score the frozen encoders: flue-bench score ",
        lambda case, said, folder: shlex.split(said.err.strip().rstrip(".").rpartition(" flue-bench ")[2]),
    ),
    "--set {}: only for tasks on which nothing is trained": Case(
        [*SENSES[:-1], "mini-cls", "--set", "layer=1"],
        "--set layer: only for tasks on which nothing is trained, as mini-senses",
        instead(("mini-cls", "mini-senses")),
    ),
    "--set: {}.": Case(
        [*SENSES, "--set", "pooling=max"],
        "'pooling' is one of mean, first, last",
        instead(("pooling=max", "pooling=first")),
    ),
    # curves
    "No curve: it takes records of several --train-rows": Case(
        ["leaderboard", "--format", "svg"],
        "No curve: it takes records of several --train-rows",
        after(lambda folder: command_line.done(*RUN, "--train-rows", "8,all")),
        before=(RUN,),
    ),
    "--train-rows {}: numbers of at least 1 row, or all": Case(
        [*RUN, "--train-rows", "0"], "--train-rows '0': numbers", instead(("--train-rows 0", "--train-rows 8,all"))
    ),
    # searches
    "--search has {}: give from 2 to": Case(
        [*SEARCH[:-1], "batch_size=8"], "--search has 1 point", instead(("batch_size=8", "batch_size=8,16"))
    ),
    "Or give values: --search": Case(
        [*SEARCH[:-1], "nothing"], "Or give values: --search", instead(("--search nothing", "--search batch_size=8,16"))
    ),
    "is a tuning seed, which no final run uses": Case(
        [*SEARCH, "--seed", "4000000000"], "--seed 4000000000 is a tuning seed", instead(("4000000000", "1"))
    ),
    "say how to search: they need --search": Case(
        [*RUN, "--search-trials", "2"], "they need --search", instead((" --search-trials 2", None))
    ),
    "--keep keeps models that are scored on test": Case(
        [*RUN, "--split", "validation", "--keep", "all"], "leave --split", instead((" --split validation", None))
    ),
    "--search scores its points on validation": Case(
        [*SEARCH, "--split", "validation"], "leave --split", instead((" --split validation", None))
    ),
    "flue-bench leaderboard --split {}": Case(
        ["leaderboard"],
        "No record is scored on test, but 1 record scored on validation",
        command(r"scored on validation: flue-bench (.*) shows them"),
        before=([*RUN, "--split", "validation"],),
    ),
    # run
    "--seeds N runs seeds 0 to N-1, --seed K": Case(
        [*RUN, "--seeds", "2", "--seed", "1"], "give one or the other", instead(("--seeds 2", None))
    ),
    "--set needs KEY=VALUE": Case([*RUN, "--set", "batch_size"], "KEY=VALUE", instead(("batch_size", "batch_size=8"))),
    "is given twice, as": Case(
        [*RUN, "--set", "epochs=2"],
        r"--set epochs is given twice, as '1' and '2': leave one out",
        instead((" --set epochs=2", None)),
    ),
    "and --set {} are both given": Case(
        [*RUN, "--precision", "fp32", "--set", "precision=fp32"],
        "--precision and --set precision are both given: leave one out",
        instead((" --precision fp32", None)),
    ),
    "--data-dir {}: no such folder": Case(
        [*RUN, "--data-dir", "donnees"], "no such folder", after(lambda folder: (folder / "donnees").mkdir())
    ),
    "Use --set max_length={}": Case(
        [*RUN, "--set", "max_length=900"],
        r"Use --set max_length=\d+: the record",
        lambda case, said, folder: [
            *RUN,
            "--set",
            re.search(r"Use --set (max_length=\d+)", said.err)[1],  # type: ignore[index]
        ],
    ),
    "{}: only on a GPU, and the device is {}: leave": Case(
        [*RUN, "--device", "cpu", "--set", "compiled=true"],
        "only on a GPU, and the device is cpu",
        instead(("--set compiled=true", None)),
    ),
    "No --model given": Case(
        ["run", "--limit", "16", "--set", "epochs=1"], "No --model given", also(*MODEL, "--task", "mini-cls"), code=0
    ),
    "The whole board: flue-bench leaderboard": Case(
        RUN, "The whole board", command(r"The whole board: flue-bench (.+)"), code=0
    ),
    "had a record already; --force": Case(RUN, "--force runs them again", also("--force"), before=(RUN,), code=0),
    "finds no CUDA device": Case([*RUN, "--device", "cuda"], "Use --device cpu", instead(("cuda", "cpu"))),
    "finds no MPS device": Case([*RUN, "--device", "mps"], "Use --device cpu", instead(("mps", "cpu"))),
    "The training loss is no longer finite": Case(
        [*RUN, "--set", "learning_rate=1e30"], "lower --set learning_rate", instead(("1e30", "3e-5")), code=1
    ),
    "or give another --results": Case(
        [*RUN, "--results", "fichier"],
        "or give another --results",
        instead(("fichier", "autre")),
        prepare=lambda folder, models: (folder / "fichier").write_text(""),
        code=1,
    ),
    "`flue-bench tasks` lists all": Case(
        ["run", "--task", "inconnue"], "lists all", command(r"`flue-bench (tasks)` lists all")
    ),
    "or name their folder with --data-dir": Case(
        LOOSE,
        r"Correct `files` in .*, put the files beside it, or name their folder with --data-dir",
        lambda case, said, folder: (shutil.copytree(folder / "loin", folder / "D"), [*LOOSE, "--data-dir", "D"])[1],
        prepare=lambda folder, models: (
            task_of(folder, models),
            (folder / "loin").mkdir(),
            shutil.move(folder / "d.tsv", folder / "loin"),
        ),
        code=1,
    ),
    # boards
    "Inputs that were cut, half of a split or more": Case(
        [*RUN, "--set", "max_length=8"],
        r"Inputs that were cut, half of a split or more.* mini-cls: .* of 16 rows of test at 8 sub-words",
        instead(("max_length=8", "max_length=60")),
        code=0,
    ),
    "Make some with flue-bench run, or name another": Case(
        ["leaderboard"],
        "Make some with flue-bench run",
        also("--results", "autre"),
        before=([*RUN, "--results", "autre"],),
    ),
    "is the one that holds": Case(
        ["leaderboard", "--results", "results/runs"],
        "give --results results",
        instead(("results/runs", "results")),
        before=(RUN,),
    ),
    "No records in {}: {}": Case(
        ["leaderboard", "--results", "autre"],
        "there is no such folder",
        instead((" --results autre", None)),
        before=(RUN,),
    ),
    "--teacher and --student go together": Case(
        ["leaderboard", "--teacher", "embedded:teacher"],
        "give both",
        also("--student", "embedded:student"),
        before=(TWO,),
    ),
    "--teacher and --student are both": Case(
        ["leaderboard", "--teacher", "embedded:teacher", "--student", "embedded:teacher"],
        "name two models",
        instead(("--student embedded:teacher", "--student embedded:student")),
        before=(TWO,),
    ),
    "or give another --out": Case(
        ["leaderboard", "--format", "csv", "--out", "dossier"],
        "or give another --out",
        instead(("dossier", "autre.csv")),
        before=(RUN,),
        prepare=lambda folder, models: (folder / "dossier").mkdir(),
        code=1,
    ),
    "--seed needs --question trained": Case(
        ["compare", "embedded:teacher", "embedded:student", "--seed", "0"],
        "--seed needs --question trained",
        also("--question", "trained"),
        before=(TWO,),
    ),
    "--floor needs --question pretrained": Case(
        ["compare", "embedded:teacher", "embedded:student", "--question", "trained", "--floor", "embedded:untrained"],
        "--floor needs --question pretrained",
        instead(("--question trained", "--question pretrained")),
        before=(THREE,),
    ),
    "name a third row of the board": Case(
        ["compare", "embedded:teacher", "embedded:student", "--floor", "embedded:student"],
        "name a third row",
        instead(("--floor embedded:student", "--floor embedded:untrained")),
        before=(THREE,),
    ),
    "--margin {}: give a share of B's score": Case(
        ["compare", "embedded:teacher", "embedded:student", "--margin", "3"],
        "give a share of B's score, 3%, or points, 3points",
        instead(("--margin 3", "--margin 3%")),
        before=(TWO,),
    ),
    "fits several columns": Case(
        ["leaderboard", "--overall", "mini-cls"],
        "give one of mini-cls limit 17; mini-cls limit 16",
        instead(("--overall mini-cls", "--overall 'mini-cls limit 16'")),
        before=(RUN, [*RUN, "--limit", "17"]),
    ),
    "run more with --seeds": Case(
        ["compare", "embedded:teacher", "embedded:student"],
        "run more with --seeds",
        lambda case, said, folder: (command_line.done(*LEARNT, "--seeds", "2"), case.words)[1],
        before=(LEARNT,),
        code=0,
    ),
    "See: flue-bench leaderboard.": Case(
        ["compare", "personne", "embedded:student"],
        "See: flue-bench",
        command(r"See: flue-bench (leaderboard)\."),
        before=(RUN,),
    ),
    # fetch, audit, verify, speed
    "fetch needs --model, --task": Case(["fetch"], "--model, --task, or both", also(*MODEL, "--task", "mini-cls")),
    "Ready for `flue-bench run --offline`": Case(
        ["fetch", *MODEL, "--task", "mini-cls"], "Ready for", lambda *_: [*RUN, "--offline"], code=0
    ),
    "--max-length says where inputs are cut": Case(
        ["tasks", "audit", "mini-cls", "--max-length", "16"],
        "needs --tokenizer",
        also("--tokenizer", "embedded:student"),
    ),
    "they need --rerun": Case(
        ["verify", "results", "--task", "mini-cls"], "they need --rerun", also("--rerun"), before=(RUN,)
    ),
    "give its file with --task": Case(
        ["verify", "results", "--rerun", "--model", "modele"],
        "give its file with --task",
        also("--task", "essai.toml"),
        before=(LOOSE,),
        prepare=task_of,
        code=1,
    ),
    "was a folder: give its path with {}": Case(
        ["verify", "results", "--rerun", "--task", "essai.toml"],
        "give its path with --model",
        also("--model", "modele"),
        before=(LOOSE,),
        prepare=task_of,
        code=1,
    ),
    "The board: flue-bench leaderboard": Case(
        ["speed", *MODEL], "The board:", command(r"The board: flue-bench (.+)"), before=(RUN,), code=0
    ),
    # doctor
    "Make the folder, or unset FLUE_BENCH_DATA": Case(
        ["doctor"], "Make the folder", after(lambda folder: (folder / "donnees").mkdir()), code=1
    ),
    "Give another folder: {}": Case(
        ["doctor", "--results", "fichier"],
        "Give another folder: --results",
        instead(("fichier", "results")),
        prepare=lambda folder, models: (folder / "fichier").write_text(""),
        code=1,
    ),
    # corpus and distill
    "Name the one that holds the text (--field)": Case(
        [*CORPUS[:1], "textes.jsonl", *CORPUS[2:]],
        r"\(--field\)",
        also("--field", "contenu"),
        prepare=lambda folder, models: (
            corpus(folder, models),
            (folder / "textes.jsonl").write_text(
                "\n".join(json.dumps({"contenu": " ".join(TEXTS), "id": i}) for i in range(30)), encoding="utf-8"
            ),
        ),
        code=1,
    ),
    "make the corpus again with --lines": Case(
        CORPUS,
        "make the corpus again with --lines and another --out",
        lambda case, said, folder: [*instead(("--out corpus", "--out autre"))(case, said, folder), "--lines"],
        prepare=lambda folder, models: (
            corpus(folder, models),
            (folder / "textes.txt").write_text("\n".join(f"{text} {i}" for i in range(20) for text in TEXTS)),
        ),
        code=0,
    ),
    "or a larger --held-out with another --out": Case(
        [*CORPUS[:6], "--held-out", "1e-9"],
        "No document fell into the held-out share of 1e-09",
        instead(("1e-9", "0.5"), ("--out corpus", "--out autre")),
        prepare=corpus,
        code=0,
    ),
    "says what is too short": Case(
        [*CORPUS, "--min-tokens", "5000"],
        r"60 too short; --min-tokens 5000 says what is too short",
        instead(("5000", "12")),
        prepare=corpus,
        code=1,
    ),
    "Corpus: {}   {}": Case(
        CORPUS,
        "Train on it",
        lambda case, said, folder: [
            *command(r"Train on it: flue-bench (.+)")(case, said, folder),
            "--steps",
            "1",
            "--set",
            "batch_sequences=2",
        ],
        prepare=corpus,
        code=0,
    ),
    "Train on it with a model of this tokenizer": Case(
        CORPUS,
        r"of this tokenizer: .* --teacher MODEL",
        lambda case, said, folder: [
            *[word.replace("MODEL", "modele") for word in command(r"tokenizer: flue-bench (.+)")(case, said, folder)],
            *("--steps", "1", "--set", "batch_sequences=2", "--set", "length=16"),
        ],
        prepare=lambda folder, models: (
            corpus(folder, models),
            shutil.copytree(folder / "petit modele", folder / "modele"),
            (folder / "petit modele" / "model.safetensors").unlink(),
        ),
        code=0,
    ),
    "distill needs --corpus FOLDER": Case(DISTIL[:5], "and --out FOLDER", also(*DISTIL[5:]), prepare=corpus_made),
    "--steps or --epochs": Case(
        [*DISTIL, "--epochs", "1"],
        "give one or the other",
        instead(("--epochs 1", None)),
        prepare=corpus_made,
    ),
    "Nothing to train: give --teacher": Case(
        [*DISTIL[:3], *DISTIL[5:]],
        "give --teacher, or --student",
        also("--teacher", "petit modele"),
        prepare=corpus_made,
    ),
    "`flue-bench corpus` makes one": Case(
        DISTIL,
        "--corpus corpus: no such folder",
        lambda case, said, folder: (command_line.done(*CORPUS), case.words)[1],
        prepare=corpus,
    ),
    "tokens at most. Use --set length": Case(
        [*DISTIL[:7], "--set", "length=500", "--steps", "1", "--set", "batch_sequences=2"],
        r"Use --set length=\d+",
        lambda case, said, folder: instead(
            ("length=500", re.search(r"Use --set (length=\d+)", said.err)[1])  # type: ignore[index]
        )(case, said, folder),
        prepare=corpus_made,
    ),
    "or a smaller --set length": Case(
        [*DISTIL[:7], "--set", "length=60", "--steps", "1"],
        "or a smaller --set length",
        instead(("length=60", "length=8")),
        before=(CORPUS,),
        prepare=lambda folder, models: (
            corpus(folder, models),
            (folder / "textes.txt").write_text(" ".join(TEXTS[:2])),
        ),
        code=1,
    ),
    "is not empty: --resume": Case(
        DISTIL, "or give another folder", instead(("eleve", "autre")), before=(DISTIL,), prepare=corpus_made
    ),
    "or leave --resume out": Case(
        [*DISTIL, "--resume"],
        "leave --resume out",
        lambda case, said, folder: (shutil.rmtree(folder / "eleve"), DISTIL)[1],
        prepare=lambda folder, models: (
            corpus_made(folder, models),
            (folder / "eleve").mkdir(),
            (folder / "eleve" / "note.txt").write_text(""),
        ),
    ),
    "--out {} holds a finished run with": Case(
        [*DISTIL[:-1], "3", "--resume"],
        "give another folder",
        lambda *_: [*DISTIL[:6], "autre", *DISTIL[7:-1], "3"],
        before=(DISTIL,),
        prepare=corpus_made,
    ),
    "--out {} is a file": Case(
        DISTIL,
        "is a file",
        instead(("eleve", "autre")),
        prepare=lambda folder, models: (corpus_made(folder, models), (folder / "eleve").write_text("")),
    ),
    "with --resume and a lower --set learning_rate": Case(
        [*DISTIL, "--set", "learning_rate=1e30"],
        "begin again with --resume and a lower --set learning_rate",
        lambda case, said, folder: [*instead(("1e30", "1e-4"))(case, said, folder), "--resume"],
        prepare=corpus_made,
        code=1,
    ),
    "Try it: flue-bench run --model": Case(
        DISTIL,
        "Try it",
        lambda case, said, folder: [
            *command(r"Try it: flue-bench (.+)")(case, said, folder),
            *QUICK,
            "--set",
            "max_length=32",
        ],
        prepare=corpus_made,
        code=0,
    ),
    "or leave --student out": Case(
        [*DISTIL, "--student", "autre vocabulaire"],
        "leave --student out",
        instead((" --student 'autre vocabulaire'", None)),
        code=1,
        prepare=lambda folder, models: (corpus_made(folder, models), tiny("bert", folder / "autre vocabulaire")),
    ),
}
"""A part of the message as it stands in the code, with {} for what varies → how it is met and followed."""

ELSEWHERE = {
    "Start them with torchrun or accelerate launch": "test_processes_that_cannot_meet_are_told",
    "not a number of processes: unset it": "test_processes_that_cannot_meet_are_told",
    "--validate has the hub check a card: leave it": "test_evaluation_results_on_the_command_line",
    "Read it once where there is a network, or give": "test_what_cannot_be_had_is_said_in_two_lines",
    "--limit says how many examples are listed: it needs": "test_what_does_not_go_together_is_told",
    "lists examples: it needs --rows": "test_what_does_not_go_together_is_told",
    "is of the test of a difference: leave it or": "test_what_does_not_go_together_is_told",
    "does not list examples: take terminal": "test_what_does_not_go_together_is_told",
    "is installed; --task takes its file": "test_without_the_same_data_it_says_why",
    "is how to learn from a teacher: give --teacher": "test_what_is_no_teacher_is_refused_in_a_sentence",
    "What flue-bench run --keep makes on {} is a teacher": "test_what_is_no_teacher_is_refused_in_a_sentence",
    "--teacher: {}": "test_what_is_no_teacher_is_refused_in_a_sentence",
    "--teacher {} on {}: {}": "test_windows_of_another_tokenizer_cannot_be_taught",
    "--teacher {} on {}: the labels of its head": "test_what_is_no_teacher_is_refused_in_a_sentence",
    "--workers {}: at least 1, or auto": "test_what_is_refused_before_anything_runs",
    "--workers {}: a number": "test_what_is_refused_before_anything_runs",
    "--threads {}: at least 1": "test_what_is_refused_before_anything_runs",
    "--precision {}: auto, fp32": "test_what_no_precision_is",
    "this machine has no address by which nodes reach it": "test_a_driver_asks_nobody_for_its_address",
    "there is no sbatch here": "test_without_sbatch_it_is_said_where_to_start_and_nothing_is_left",
    "it has to be --signal=TERM@SECONDS": "test_files_that_are_refused",
    "--threads {}: {} of as many on a node": "test_threads_are_no_more_than_a_node_has_cores",
    "--threads is of workers": "test_what_is_refused_before_anything_runs",
    "workers share all visible GPUs": "test_what_is_refused_before_anything_runs",
    "--workers is of this machine": "test_what_is_refused_before_anything_runs",
    "--self-test tests this machine": "test_the_doctor_examines_one_or_the_other",
    "which precision is best depends on the nodes": "test_a_cluster_wants_a_precision",
    "--cluster {}: a .toml file of settings": "test_files_that_are_refused",
    "--cluster {}: cannot be read": "test_files_that_are_refused",
    "--cluster {} is not TOML": "test_files_that_are_refused",
    "--cluster {}: {}.{}": "test_files_that_are_refused",
    "--cluster {}: {}: {}.": "test_a_configuration_of_the_users_own",
    "--cluster {}: its name 'config'": "test_a_configuration_of_the_users_own",
    "--cluster {}: its executor '{}' is of threads": "test_a_configuration_of_the_users_own",
    "jobs of a cluster cannot be given a path": "test_a_path_that_a_script_cannot_hold",
    "{} holds parts: go on with": "test_the_command_goes_on_with_the_division_that_was_begun",
    "make all parts and join them": "test_what_is_refused_before_a_worker_starts",
    "processes ended or cannot be reached": "test_a_process_whose_neighbour_is_killed_says_so_and_how_to_go_on",
    "--resume: there is no {} yet": "test_distil_train",
    "is not one folder for all": "test_processes_with_folders_of_their_own_are_told",
    ", or --set precision=fp32": "test_from_fp16_to_float32_on_the_way",
    "hidden units cannot be cut into so many": "test_what_does_not_fit_the_models_is_refused",
    "compare models of any sizes": "test_a_narrower_student_learns_through_projection_and_relations",
    "has no embeddings of positions": "test_positions_that_are_relative_cannot_be_frozen",
    "tokens fits the device's memory. Use a smaller": "test_what_does_not_fit_at_all_is_told",
    "--report-to {}: not installed": "test_what_is_not_known_or_not_installed_is_told",
    "--report-to {} cannot begin": "test_one_that_cannot_begin_is_refused",
    "--report-to {} failed and is told no more": "test_one_that_fails_stops_nothing_and_is_told_of_once",
    "--offline: {} has --report-to": "test_offline_nothing_is_sent_elsewhere",
    "Its parts are to be merged": "test_what_does_not_belong_together_is_refused",
    "holds no parts: ": "test_what_does_not_belong_together_is_refused",
    "is streamed, by one process": "test_what_does_not_belong_together_is_refused",
    "parts are numbered from 1/{}": "test_what_does_not_belong_together_is_refused",
    "write K/N, such as 1/8": "test_parts",
    "--merge takes --out alone": "test_parts",
    "holds parts of a corpus: join them": "test_one_machine_and_parts_do_not_write_the_same_shards",
    "finish it without --part": "test_one_machine_and_parts_do_not_write_the_same_shards",
    "only --merge does without": "test_parts",
    "nothing says which numbers its head gives": "test_numbers_are_on_the_line_that_is_given",
    "a head that gives numbers needs two of them": "test_numbers_are_on_the_line_that_is_given",
    "has no labels: leave --labels out": "test_choices_are_scored_as_transformers_does",
    "Use --max-length {}": "test_inputs_are_cut_where_the_model_ends_and_not_before",
    "make more with flue-bench distill --set seed=1": "test_cli_distilled",
    "--question distilled needs records of a model": "test_cli_distilled",
    "--question distilled takes all {} of its recipe": "test_cli_distilled",
    "the board has this task only as a part of the column": "test_names_that_do_not_say_which_column",
    "--floor {} was scored as it is": "test_a_model_that_was_scored_as_it_is_has_no_overall_and_is_no_floor",
    "--force makes record and model anew": "test_another_model_than_the_record_says_is_not_kept",
    "and run again with --keep": "test_a_disk_that_is_full_costs_the_model_and_not_the_record",
    "{} --keep all": "test_the_card_and_the_record_beside_the_model",
    "HF_ENDPOINT is no http(s) address": "test_an_endpoint_that_is_no_address_is_told",
    "HF_ENDPOINT is {} and more": "test_an_endpoint_that_is_no_address_is_told",
    "and the same command with --resume continues from there": "test_distil_train",
    "is a link that another user made": "test_cli",
    "Give the file's own name to --out": "test_out_is_not_written_through_a_link_that_leads_out_of_its_folder",
    "or put the file's contents under --data-dir": "test_download_offline",
    "or put the files under --data-dir": "test_offline_and_not_cached",
    "lists them": "test_what_cannot_be_had_is_told_before_anything_trains_and_used_if_it_comes",
    "Leave out --offline and HF_HUB_OFFLINE": "test_offline_and_not_cached",
    "`flue-bench fetch --model {}`": "test_fetch_is_all_that_an_offline_run_needs",
    "Fetch them where there is a network": "test_fetch_is_all_that_an_offline_run_needs",
    "and give --data-dir D.": "test_fetch_is_all_that_an_offline_run_needs",
    "`hf auth login`": "test_gated",
    "check HF_ENDPOINT": "test_a_broken_server",
    "Check HF_ENDPOINT": "test_a_broken_server",
    "HF_HUB_DOWNLOAD_TIMEOUT sets the seconds": "test_a_broken_server",
    "out of memory on the device": "test_out_of_memory",
    "so no seeds tell how well its pretrained model": "test_only_fine_tuned_models_are_asked_which_is_better",
    "both models were scored as they are and have no": "test_only_fine_tuned_models_are_asked_which_is_better",
    "it needs --question trained": "test_only_fine_tuned_models_are_asked_which_is_better",
    "--labels {}: {}: --labels 'LABEL_0": "test_a_label_that_holds_a_sign_of_ours_is_named_on_the_command_line",
    "--search-trials {}: from 2 to the": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "--search-seeds {}: from 1 to": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "--search {} has the values {}": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "--search {}: a list of values": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "It is a search: --search {}": "test_a_task_may_have_its_own_of_that_name_and_unknown_ones_are_named",
    "It is a recipe: --recipe {}": "test_a_task_may_have_its_own_of_that_name_and_unknown_ones_are_named",
    "--search max_length has {}": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "has diverged before, and loses; --force": "test_what_diverged_is_an_answer_and_is_not_run_again",
    "use --set evaluate_steps={} or more": "test_more_evaluations_than_a_record_holds_are_refused_before_the_training",
    "no row of that was tuned alike": "test_a_student_is_paired_with_a_teacher_of_its_budget_alone_unless_asked",
    "and --student has its own: leave one out": "test_fields_that_would_change_nothing_are_refused",
    "says how to learn from a teacher: give --teacher": "test_fields_that_would_change_nothing_are_refused",
    "without --teacher there is no other part of": "test_fields_that_would_change_nothing_are_refused",
    "--search precision: a row of the board has one": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "--search {} and --set {} are both given": "test_what_cannot_be_searched_is_said_before_anything_runs",
    "--search needs KEY=VALUE,VALUE": "test_on_the_command_line",
    "--search {} is given twice": "test_on_the_command_line",
    "is given twice, with two meanings": "test_the_command_shows_board_and_what_was_understood",
    "no model's head has the label": "test_a_label_that_no_head_has_is_told",
    "Say what is meant, by a LABEL": "test_labels_that_do_not_match_are_refused_before_anything",
    "flue-bench run fine-tunes it": "test_a_model_without_a_head_is_not_scored",
    "is a link out of {}": "test_a_link_out_of_a_tasks_folder_is_not_read",
    "Run `git lfs pull` in": "test_pointers_of_git_lfs",
    "a pointer of git-LFS, not the file": "test_a_pointer_of_git_lfs_is_no_text",
    "is packed by gzip: unpack it, or rename it": "test_a_packed_file_by_a_plain_name_is_told",
    "not overwritten. Give another --out": "test_out_overwrites_no_record",
    "set FLUE_BENCH_CACHE or HOME": "test_a_cache_in_nobodys_home_is_told",
    "cannot be written whole: {}. Free some space": "test_a_full_disk_behind_the_output_is_told",
    "Give the id alone: {}": "test_kinds_of_names",
    "needs code of its own (trust_remote_code)": "test_code_in_the_repository_is_never_run",
    "See flue-bench verify": "test_cli_compare",
    "see flue-bench verify": "test_board_evidence",
    "is not an archive that flue-bench reads": "test_archive",
    "flue-bench unpickles nothing else": "test_a_malicious_pickle_is_refused_and_not_run",
    "upgrade flue-bench": "test_store",
    "hf download {}": "test_the_layouts_and_locks_of_french_corpora_on_the_hub",
    "--device mps: distill": "test_device",
    "Score it: flue-bench run": "test_distil_train",
    "switched off by HF_HUB_OFFLINE": "test_what_is_broken_is_a_problem",
}
"""A part of the message → the test, or the file of tests, that shows it."""

BEYOND = {
    "needs Parsl, which is not installed": "installs a package",
    "Give a folder that all nodes share": "needs two machines",
    "Mount it with locks between nodes": "needs such a file system",
    "{}: cannot be written: {}; give another --results": "needs a folder that cannot be written",
    "by a later version of flue-bench than this one": "installs a later version",
    "--train-rows {} is all of them": "says that two numbers are one; no error",
    "--device {}: this machine has {} CUDA": "needs a GPU",
    "--precision {}: {}; use --precision fp32": "needs a GPU without bf16, or a Mac",
    "The model's outputs are no longer finite": "needs a model that overflows in bf16 alone",
    "FlauBERT's comes with: pip install": "installs a package",
    "A data frame needs pandas": "installs a package",
    "uninstall the plugin": "removes a package",
    "this file system has no locks": "needs such a file system",
    "and continue from the last checkpoint with --resume": "needs a full disk",
    "fewer --processes need less memory": "needs memory to run out",
    "belongs to another run": "names the folder again",
    "cannot be read ({}); give another --out": "needs a damaged file",
    "Start one flue-bench at a time": "needs a file system without locks",
    "Check the network, https_proxy, HF_ENDPOINT": "needs a network that fails",
    "Set OMP_NUM_THREADS={}": "needs more threads than cores",
    "Where machines share the folder": "needs two machines",
    "Install flue-bench again": "needs a broken installation",
    "Look at HF_HOME, HF_TOKEN_PATH": "needs an unreadable token",
    "What is not cached cannot be fetched; unset it": "switches the network on",
    "Give another folder: --results": "needs a file system that cannot rename",
    "under --data-dir: {}": "says where files may lie; no error",
    "Made from a checkout of flue-bench": "says where runs were made; no error",
    "not compared with the column's best": "says what a board does not compare, and what does; no error",
    "flue-bench run record, schema version": "says what a record is; no advice",
    "draws 1,024 rows of train anew for each": "says how others draw; no advice",
}
"""A part of the message → why its advice is not followed here."""


PIECES = {
    "--device {}",
    "--model {}",
    "--model {} --model {}",
    "--max-length is {}",
    " --split validation",
    "--search compiled",
    "--set compiled",
    "--set max_length",
    "flue-bench score --max-length",
}
"""Texts that are put into a message."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A masked LM of 62 sub-words and a corpus for it, made once."""
    folder = tmp_path_factory.mktemp("made")
    made = {"small": tiny("camembert", folder / "small", max_position_embeddings=64), "corpus": folder / "corpus"}
    corpus(folder, made)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command_line.done(*CORPUS)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("message", ADVICE)
def test_the_advice_of_a_message_works(
    message: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = ADVICE[message]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "500")
    if "FLUE_BENCH_DATA" in message:
        monkeypatch.setenv("FLUE_BENCH_DATA", str(tmp_path / "donnees"))
    case.prepare(tmp_path, models)
    for words in case.before:
        command_line.done(*words)
    said = command_line.flue_bench(*case.words)
    text = re.sub(r"\s+", " ", said.out + said.err)
    assert said.code == case.code, said
    assert re.search(case.says, text), text
    assert "Traceback" not in text
    followed = command_line.flue_bench(*case.follow(case, said, tmp_path))
    assert followed.code == 0, followed
    if case.code:
        assert not re.search(case.says, re.sub(r"\s+", " ", followed.out + followed.err)), followed


NAMES = re.compile(r"(?<![\w-])--[a-z]|flue-bench [a-z]|`(?:make|hf|git) |pip install|\bunset |HF_[A-Z_]+|OMP_NUM")


def texts() -> Iterator[tuple[str, str]]:
    """Place and text of what the code may say."""
    for root in ("flue_bench", "distill/flue_distill", "tasks/flue_tasks"):
        for path in sorted((ROOT / root).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
            for node in ast.walk(tree):
                text = _text(node)
                if text and not _is_no_message(node, above):
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def _is_no_message(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    """Docstrings, help, parts of a text that is looked at as a whole, and single words such as an option's name."""
    parent = above.get(node)
    if isinstance(parent, ast.Expr | ast.JoinedStr | ast.FormattedValue):
        return True
    while parent is not None:
        if isinstance(parent, ast.Call) and getattr(parent.func, "attr", "") in ("Option", "Argument", "Typer"):
            return True
        parent = above.get(parent)
    return " " not in _text(node)


def test_every_message_with_advice_is_here() -> None:
    known, said = [*ADVICE, *ELSEWHERE, *BEYOND], list(texts())
    named = [(place, text) for place, text in said if NAMES.search(text) and text not in PIECES]
    missing = [f"{place}: {text}" for place, text in named if not any(part in text for part in known)]
    assert not missing, "\n".join(missing)
    assert [part for part in known if not any(part in text for _, text in said)] == []  # all of them are still said


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_test_that_is_named_is_there(test: str) -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    assert any(path.stem == test or f"def {test}(" in path.read_text(encoding="utf-8") for path in files)
