"""Is anything lost when a process is killed? `run`, `distill` and `corpus`, killed with -9 again and again.

    python -m benchmarks.robustness.kills --rounds 50 --seed 0

In a round each command works in a fresh folder, is killed up to four times, and is then left to end. Half of the kills
come after a random time; the others at a random touch of the folder (a file opened, synced, renamed or removed there),
where files that are being written are cut at a random place first. All the while the folder is read as others would
read it. What has to hold:

- no record, corpus, student or kept model is there that is not whole; predictions and models are those that their
  record names;
- a finished cell stays as it is, and is not run again;
- in the end all is equal to what an undisturbed process leaves: scores, histories and predictions of `run`, the weights
  and the losses of `distill`, every file of `corpus`.

The models are embedded ones, the data some generated sentences. The table goes to ``--results``/robustness/kills.md and
kills.json.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flue_bench.results.store import Store, read_predictions

FORKED = multiprocessing.get_context("forkserver")
"""Its server imports what takes seconds, once; every process that is to be killed is forked from it."""
PRELOADED = [
    "flue_bench.cli",
    "flue_bench.boards.render",
    "flue_bench.jobs.grid",
    "flue_distill.training.run",
    "pandas",
    "pyarrow.parquet",
    "transformers.models.camembert.modeling_camembert",
    "transformers.models.camembert.tokenization_camembert",
]
TOUCHES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}

TASK = """
name = "essai"
kind = "sentence"
labels = ["non", "oui"]
metric = "accuracy"
[[source]]
files = { train = "d.tsv", validation = "d.tsv", test = "d.tsv" }
[recipe.standard]
epochs = 2
batch_size = 8
learning_rate = 1e-3
max_length = 32
"""


class Lost(Exception):
    """Raised if something was lost, which must not happen."""


class Command(NamedTuple):
    """A command to kill, and how to read what it left."""

    words: list[str]
    """The command line, without the folder."""
    finished: Callable[[Path], dict[str, Any]]
    """What is finished in a folder: it may only grow, and has to be as in the undisturbed folder in the end.

    Raises ``Lost`` where something is not whole.
    """


class Kill(NamedTuple):
    """The moment at which a process is killed."""

    seconds: float | None = None
    """Seconds after its start; None: at a touch of the disk, if any."""
    touch: int | None = None
    """The number of the touch of its folder, from 1."""
    left: float = 1.0
    """Share of a file that is on the disk by then."""


class Ended(NamedTuple):
    """The end of a process."""

    killed: bool
    seconds: float


def works(words: list[str], out: Path, kill: Kill, checkpoints: bool) -> None:
    """Run the command in this process, which kills itself at a touch of its folder; its output goes to a file."""
    from flue_bench.cli import main
    from flue_bench.training import train
    from flue_distill.corpus import texts

    with out.with_name("said").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    train.CHECKPOINT_SECONDS = 0.0 if checkpoints else 300.0
    texts.BATCH = 2000  # shards end with a batch
    touches, sync = 0, os.fsync

    def touched(file: int | None = None) -> None:
        nonlocal touches
        touches += 1
        if touches == kill.touch:
            if file is not None and os.path.isfile(f"/proc/self/fd/{file}"):
                os.truncate(file, int(os.fstat(file).st_size * kill.left))
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, details: tuple[Any, ...]) -> None:
        if event in TOUCHES and str(details[0]).startswith(str(out)):
            touched()

    def fsync(file: int) -> None:
        touched(file)
        sync(file)

    if kill.touch is not None:
        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(audit)
    sys.argv = ["flue-bench", *words, str(out)]
    try:
        main()
    finally:
        out.with_name("touches").write_text(str(touches))


def attempt(command: Command, out: Path, kill: Kill, checkpoints: bool, before: dict[str, Any]) -> Ended:
    """Run one process to its end; ``before`` is what was finished, and grows."""
    began = time.perf_counter()
    process = FORKED.Process(target=works, args=(command.words, out, kill, checkpoints))
    process.start()
    while process.is_alive():
        process.join(0.02)
        look(command, out, before)
        if kill.seconds is not None and time.perf_counter() - began >= kill.seconds:
            process.kill()
    process.join()
    look(command, out, before)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise Lost(f"{' '.join(command.words)} ended with {process.exitcode}: {out.with_name('said').read_text()}")
    return Ended(process.exitcode != 0, time.perf_counter() - began)


def look(command: Command, out: Path, before: dict[str, Any]) -> None:
    """Read the folder as others do, and check that what was finished is still there and unchanged."""
    whole = command.finished(out)
    if gone := [name for name, value in before.items() if whole.get(name) != value]:
        raise Lost(f"{out}: {gone} was finished, and is gone or another")
    before |= whole


def records(out: Path) -> dict[str, Any]:
    """Return, by cell, what does not depend on the clock."""
    contents = Store(out).read()
    if contents.damaged or contents.failures:
        raise Lost(f"damaged: {contents.damaged}, failed: {contents.failures}")
    for record in contents.records:
        read_predictions(record, Store(out).folder(record.cell))
    return {
        record.cell_digest: record.model_dump(
            include={"scores", "per_class", "history", "selected_epoch", "predictions"}
        )
        for record in contents.records
    }


def kept(out: Path) -> dict[str, Any]:
    """Return the same, and the models that are kept, each of them whole."""
    from flue_bench.data import model_files
    from flue_bench.results.store import KEPT_RECORD, read_record

    whole = records(out)
    for folder in (out / "models").glob("*"):
        if folder.suffix != ".tmp":
            named = read_record(folder / KEPT_RECORD).kept
            if named is None or model_files.digest(folder) != named:
                raise Lost(f"{folder} has another digest than its record says")
            whole[folder.name] = named
    for record in Store(out).records():
        if record.kept is not None:
            if whole.get(Store(out).model_dir(record.cell).name) != record.kept:
                raise Lost(f"{record.cell_digest} names a model that is not there")
            whole[f"kept {record.cell_digest}"] = record.kept
    return whole


def student(out: Path) -> dict[str, Any]:
    """Return the weights of a finished distillation, and the course of its losses."""
    from flue_distill.training.log import LOG, read_log
    from flue_distill.training.result import DISTILLATION

    if not (out / DISTILLATION).exists():
        return {}
    course = [(line["step"], line.get("loss"), line.get("held_out")) for line in read_log(out / LOG)]
    return {"weights": sha256(out / "model.safetensors"), "course": course}


def shards(out: Path) -> dict[str, Any]:
    """Return every file of a finished corpus."""
    from flue_distill.corpus.shards import COUNTS, MANIFEST, open_corpus

    if not (out / MANIFEST).exists():
        return {}
    manifest = open_corpus(out).manifest
    hashes = {shard.file: sha256(out / shard.file) for shard in manifest.shards}
    if any(hashes[shard.file] != shard.sha256 for shard in manifest.shards):
        raise Lost(f"{out}: a shard is not the one that the manifest names")
    return hashes | {name: sha256(out / name) for name in (MANIFEST, COUNTS)}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commands(folder: Path) -> dict[str, Command]:
    """Return the commands, with their inputs in this folder."""
    draw = random.Random(0)
    nouns, ends = ("livre", "film", "disque", "roman", "concert"), ("très beau", "trop long", "bien écrit", "sans âme")
    texts = [f"Le {draw.choice(nouns)} {number} est {draw.choice(ends)}, dit-on à Brest." for number in range(600)]
    lines = [f"{text}\t{('non', 'oui')['b' in text.split()[3]]}" for text in texts[:32]]
    (folder / "essai.toml").write_text(TASK, encoding="utf-8")
    (folder / "d.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    (folder / "texts.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    model = "embedded:untrained"
    settings = ("length=16", "batch_sequences=8", "micro_batch=4", "checkpoint_seconds=0", "evaluate_steps=3")
    tokenise = ["corpus", str(folder / "texts.txt"), "-t", model, "--processes", "1", "--held-out", "0.1"]
    run = ["run", "-m", model, "-t", str(folder / "essai.toml"), "--seeds", "2", "--device", "cpu"]
    return {
        "corpus": Command([*tokenise, "--shard-tokens", "1000", "--out"], shards),
        "run": Command([*run, "--results"], records),
        "run --keep": Command([*run, "--keep", "best", "--results"], kept),
        "distill": Command(
            ["distill", "--teacher", model, "--corpus", str(folder / "corpus"), "--steps", "6", "--device", "cpu"]
            + [word for setting in settings for word in ("--set", setting)]
            + ["--resume", "--out"],
            student,
        ),
    }


def torment(rounds: int, seed: int, folder: Path, most: int = 4) -> dict[str, Counter[str]]:
    """Kill and resume; return, by command, what the kills hit.

    Args:
        rounds: rounds of each command.
        seed: decides when what is killed; what a process does at that moment still depends on the machine.
        folder: an empty folder to work in.
        most: the most kills per round.

    Raises:
        Lost: something was lost.
    """
    FORKED.set_forkserver_preload(PRELOADED)
    first = FORKED.Process(target=int)
    first.start()
    first.join()
    draw, table = random.Random(seed), {}
    for name, command in commands(folder).items():
        whole: dict[str, Any] = {}
        undisturbed = attempt(command, folder / name, Kill(touch=10**9), True, whole)
        touches = int((folder / "touches").read_text())
        tally = table[name] = Counter(rounds=rounds)
        for number in range(rounds):
            out, checkpoints = folder / f"{name}-{number}" / "out", draw.random() < 0.7
            before: dict[str, Any] = {}
            out.parent.mkdir()
            for _ in range(draw.randint(1, most)):
                share = draw.random() * draw.choice((0.3, 0.9))  # what is resumed ends sooner
                kill = Kill(touch=1 + int(touches * share), left=draw.random())
                if draw.random() < 0.5:
                    kill = Kill(seconds=undisturbed.seconds * share)
                if not attempt(command, out, kill, checkpoints, before).killed:
                    break
                tally["kills"] += 1
                tally["of them at a touch"] += kill.touch is not None
                tally["of them with something finished"] += bool(before)
            attempt(command, out, Kill(), checkpoints, before)
            if before != whole:
                raise Lost(f"{name}, round {number}, seed {seed}: not what an undisturbed process leaves")
            print(f"{name}: round {number + 1} of {rounds}, {tally['kills']} kills", flush=True)
    return table


def main() -> None:
    """Run the kills, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = torment(arguments.rounds, arguments.seed, Path(folder))
    seconds = time.perf_counter() - began

    import torch

    from benchmarks.common import report
    from flue_bench.training.device import prepare

    columns = list(dict.fromkeys(column for tally in table.values() for column in tally))
    rows = [[name, *(str(tally[column]) for column in columns)] for name, tally in table.items()]
    here = report.versions(prepare(torch.device("cpu"), "fp32", 128))
    text = (
        "# Killed and resumed\n\n"
        f"`python -m benchmarks.robustness.kills --rounds {arguments.rounds} --seed {arguments.seed}`, "
        f"{seconds:.0f} s. {report.machine_line(here)}\n\n"
        f"{report.markdown_table(['command', *columns], rows)}\n\n"
        "After every kill the command was run again, and in the end all was equal to what an undisturbed process "
        "leaves: scores, histories and predictions of `run`, the models it keeps, weights and losses of `distill`, "
        "every file of `corpus`. "
        "Nothing half written was ever read as whole, and nothing finished changed. "
        "What is killed when, and what exactly is compared: the script's first lines.\n"
    )
    print(text)
    report.write(arguments.results / "robustness", "kills", {"machine": here, "commands": table}, text)


if __name__ == "__main__":
    main()
