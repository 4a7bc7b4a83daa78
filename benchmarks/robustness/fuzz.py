"""What do strangers' files do to the commands? Good ones are damaged at random, and real code reads them.

    python -m benchmarks.robustness.fuzz --minutes 30 --seed 0

A trial damages files of one input (a results folder, a task with its data or archives, a model, a corpus): bytes,
values of JSON and TOML, or a link, a pipe, a device or a folder in the place of a file. A process of its own, which may
take 2 GiB of memory and some seconds, then reads it as the commands do. What it finds:

- a traceback: an exception that is not meant for a user;
- a hang: the time is over;
- memory: it ran out;
- a write: a file was opened for writing, made, renamed or removed outside the trial's folder.

Every finding names its trial; ``--trial SEED-INPUT-NUMBER`` does that one alone again and shows what it printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.robustness.kills import FORKED, PRELOADED, TASK

MEMORY = 2**31
SECONDS = 60
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**400, -(10**19), 1e308, float("nan"), float("inf"), "", "..", "../../x",
    "/dev/zero", "a\0b", "\ud800", "\x1b[2J", "é" * 5000, "=1+1", [], {}, [[]], {"a": {}}, [None] * 10_000, "NaN",
    "main/../..", "**/" * 20,
)  # fmt: skip
PIECES = (
    b"\n", b"\t", b'"', b"\0", b"{", b"[" * 5000, b"\xff\xfe", b"\xe9", b",", b"9" * 5000, b"\r", b"../", b"-1", b"e9",
)  # fmt: skip


class Input(NamedTuple):
    """An input of the commands, as a folder, and what reads it."""

    make: Callable[[Path], object]
    """Writes a good one into an empty folder."""
    read: Callable[[Path, random.Random], object]


def command(*words: str) -> None:
    """Run a command of flue-bench in this process."""
    from flue_bench.cli import app

    app([*words], standalone_mode=False)


def read_results(folder: Path, draw: random.Random) -> None:
    """Read a results folder by one of the commands that do."""
    command(
        *draw.choice(
            [
                ["leaderboard", "--results", str(folder)],
                ["leaderboard", "--results", str(folder), "--out", str(folder / "board.html")],
                ["verify", str(folder)],
                ["compare", "embedded:untrained", "embedded:untrained", "--results", str(folder)],
                ["card", "--model", "embedded:untrained", "--results", str(folder)],
            ]
        )
    )


def read_task(folder: Path, draw: random.Random) -> None:
    """Check a task, or fetch its data from the folder."""
    task = str(folder / "essai.toml")
    command(*draw.choice([["tasks", "check", task], ["tasks", "show", task], ["fetch", "-t", task]]))


def read_archive(folder: Path, draw: random.Random) -> None:
    """Unpack one of the archives."""
    from flue_bench.data import archives

    archives.unpack([folder / draw.choice(["a.zip", "a.tar.gz"])], folder / "unpacked")


def read_model(folder: Path, draw: random.Random) -> None:
    """Load a model as a run does before its first step."""
    from flue_bench.data import registry
    from flue_bench.training import models

    model = models.resolve(str(folder / "model"))
    models.load_tokenizer(model)
    models.load_model(model, registry.load_file(folder.parent / "task" / "essai.toml").task, 0, None)


def read_corpus(folder: Path, draw: random.Random) -> None:
    """Read the documents of every file, as a build does."""
    from flue_distill.corpus import texts

    file = draw.choice(sorted(folder.iterdir()))
    for _ in texts.batches(texts.find([file]), "text", 0, None):
        pass


def rows() -> list[tuple[str, str]]:
    """Return some texts with labels."""
    nouns, ends = ("livre", "film", "disque", "roman"), ("très beau", "trop long", "bien écrit", "sans âme")
    return [(f"Le {nouns[i % 4]} {i} est {ends[i // 4 % 4]}.", ("non", "oui")[i % 2]) for i in range(32)]


def make_task(folder: Path) -> None:
    """Write a task and its data."""
    (folder / "essai.toml").write_text(TASK, encoding="utf-8")
    lines = ["text\tlabel", *("\t".join(row) for row in rows())]
    (folder / "d.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_parquet_task(folder: Path) -> None:
    """Write a task whose splits are parquet, JSON lines and a JSON list."""
    import pyarrow
    from pyarrow import parquet

    named = [{"text": text, "label": label} for text, label in rows()]
    parquet.write_table(pyarrow.Table.from_pylist(named), folder / "d.parquet")
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, named)), encoding="utf-8")
    (folder / "d.json").write_text(json.dumps(named), encoding="utf-8")
    files = TASK.replace("d.tsv", "d.parquet", 1).replace("d.tsv", "d.jsonl", 1).replace("d.tsv", "d.json")
    (folder / "essai.toml").write_text(files, encoding="utf-8")


def make_archives(folder: Path) -> None:
    """Write a zip and a tar of the same files."""
    make_task(folder)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(folder / "d.tsv", "in/d.tsv")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        tar.add(folder / "d.tsv", "in/d.tsv")


def make_model(folder: Path) -> None:
    """Copy an embedded model."""
    from flue_bench.data.model_names import EMBEDDED

    shutil.copytree(EMBEDDED / "untrained", folder / "model")


def make_results(folder: Path) -> None:
    """Run one cell."""
    make_task(folder.parent / "task")
    task = str(folder.parent / "task" / "essai.toml")
    command("run", "-m", "embedded:untrained", "-t", task, "--device", "cpu", "--results", str(folder))


def make_corpus(folder: Path) -> None:
    """Write the texts as a text file, JSON lines and parquet."""
    make_parquet_task(folder)
    (folder / "essai.toml").unlink()
    (folder / "d.json").unlink()
    (folder / "d.txt").write_text("\n\n".join(text for text, _ in rows()), encoding="utf-8")


INPUTS = {
    "task": Input(make_task, read_task),
    "tables": Input(make_parquet_task, read_task),
    "archives": Input(make_archives, read_archive),
    "results": Input(make_results, read_results),
    "model": Input(make_model, read_model),
    "corpus": Input(make_corpus, read_corpus),
}


def damage(folder: Path, outside: Path, draw: random.Random) -> None:
    """Damage one or two files of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    for path in draw.sample(files, min(len(files), draw.randint(1, 2))):
        how = draw.random()
        if how < 0.12:
            path.unlink()
            match draw.choice(("link", "device", "pipe", "folder", "empty", "loop")):
                case "link":
                    path.symlink_to(outside / "precious")
                case "device":
                    path.symlink_to("/dev/zero")
                case "pipe":
                    os.mkfifo(path)
                case "folder":
                    path.mkdir()
                case "empty":
                    path.touch()
                case "loop":
                    path.symlink_to(path.name)
        elif how < 0.6 and path.suffix == ".json":
            path.write_text(json.dumps(changed(json.loads(path.read_bytes()), draw)))
        else:
            path.write_bytes(cut(path.read_bytes(), draw))


def changed(value: Any, draw: random.Random) -> Any:
    """Return a JSON value in which one thing, somewhere, is another."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        return {**value, key: changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        return [*value[:place], changed(value[place], draw), *value[place + 1 :]]
    return draw.choice(HOSTILE)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Return bytes of which some are others, cut out, put in or repeated."""
    changing = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, min(len(changing), draw.choice((64, 10**9))))
        changing[at : at + draw.randint(0, 8)] = draw.choice((draw.choice(PIECES), draw.randbytes(draw.randint(1, 8))))
    return bytes(changing[: draw.randint(0, len(changing))] if draw.random() < 0.2 else changing)


def trial(name: str, number: int, seed: int, good: Path, place: Path) -> None:
    """Damage a copy of an input and read it, in this process; what is found goes to ``found`` beside the copy."""
    draw = random.Random(f"{seed}-{name}-{number}")
    folder, outside, temporary = place / name, place.parent / "outside", place / "tmp"
    shutil.copytree(good, place, dirs_exist_ok=True)
    temporary.mkdir()
    os.environ |= {"FLUE_BENCH_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary)}
    tempfile.tempdir = str(temporary)
    damage(folder, outside, draw)
    found: list[str] = []

    def audit(event: str, details: tuple[Any, ...]) -> None:
        changed: tuple[Any, ...]
        if event == "open":
            changed = details[:1] if isinstance(details[2], int) and details[2] & os.O_ACCMODE else ()
        elif event in ("os.symlink", "os.link"):
            changed = details[1:2]
        else:
            changed = details[: 1 + (event == "os.rename")] if event in CHANGES else ()
        for path in changed:
            if isinstance(path, str | bytes | os.PathLike):
                where = Path(os.fsdecode(path))
                if not where.is_absolute() and event in ("os.remove", "os.rmdir") and details[1] >= 0:
                    where = Path(os.readlink(f"/proc/self/fd/{details[1]}")) / where
                real = os.path.join(os.path.realpath(where.parent), where.name)
                if not real.startswith((f"{place}/", "/dev/null", "/dev/tty")):
                    found.append(f"write: {event} of {real}")

    said = io.StringIO()
    sys.addaudithook(audit)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            INPUTS[name].read(folder, draw)
        except MemoryError:
            found.append(f"memory: {traceback.format_exc()}")
        except Exception as error:
            from click.exceptions import ClickException, Exit

            from flue_bench.errors import FlueBenchError

            if not isinstance(error, FlueBenchError | ClickException | Exit):
                found.append(f"traceback: {traceback.format_exc()}")
            elif len(str(error).splitlines()) > 4 or len(str(error)) > 5000:
                found.append(f"long message: {str(error)[:500]}")
        except SystemExit:
            pass
    (place / "said").write_text(said.getvalue(), encoding="utf-8", errors="replace")
    (place / "found").write_text("\n".join(dict.fromkeys(found)), encoding="utf-8", errors="replace")


def attempt(name: str, number: int, seed: int, folder: Path) -> str:
    """Run one trial in a process of its own, and return what it found; empty if nothing."""
    place = folder / f"{name}-{number}"
    place.mkdir()
    process = FORKED.Process(target=trial, args=(name, number, seed, folder / "good", place))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return f"hang: more than {SECONDS} s"
    found = (place / "found").read_text(encoding="utf-8") if (place / "found").is_file() else ""
    if process.exitcode != 0 and not found:
        code = process.exitcode or 0
        ended = signal.Signals(-code).name if code < 0 else code
        found = f"crash: the process ended with {ended}"
    if (folder / "outside" / "precious").read_text() != "precious" or len(list((folder / "outside").iterdir())) != 1:
        found += "\nwrite: the sentinel was changed"
    return found.strip()


def prepare(folder: Path) -> None:
    """Write the good inputs and the sentinel."""
    (folder / "outside").mkdir()
    (folder / "outside" / "precious").write_text("precious")
    for name, each in INPUTS.items():
        (folder / "good" / name).mkdir(parents=True, exist_ok=True)
        process = FORKED.Process(target=each.make, args=(folder / "good" / name,))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"the good {name} could not be made")


def main() -> int:
    """Run trials until the time is over, print findings, and return 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=list(INPUTS))
    parser.add_argument("--trial", help="SEED-INPUT-NUMBER of a finding, to do again")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    FORKED.set_forkserver_preload([*PRELOADED, "flue_bench.data.archives"])
    with tempfile.TemporaryDirectory(prefix="flue-bench-fuzz-") as place:
        folder = Path(place).resolve()
        prepare(folder)
        if arguments.trial:
            seed, name, number = arguments.trial.split("-")
            print(attempt(name, int(number), int(seed), folder) or "nothing found")
            said = folder / f"{name}-{number}" / "said"
            print(said.read_text(encoding="utf-8") if said.is_file() else "")
            return 0
        began, tally, kinds = time.monotonic(), Counter[str](), Counter[str]()
        number, told = 0, began
        while (passed := time.monotonic() - began) < 60 * arguments.minutes:
            for name in arguments.inputs:
                if found := attempt(name, number, arguments.seed, folder):
                    kinds[found.splitlines()[-1][:200]] += 1
                    tally["findings"] += 1
                    print(f"--trial {arguments.seed}-{name}-{number}\n{found}\n", flush=True)
                shutil.rmtree(folder / f"{name}-{number}", ignore_errors=True)
                tally[name] += 1
            number += 1
            if time.monotonic() - told > 15:
                told = time.monotonic()
                left = arguments.minutes - passed / 60
                counts = ", ".join(f"{name} {count:,}" for name, count in tally.items())
                print(f"{counts}; {left:.1f} minutes left", flush=True)
        print(f"seed {arguments.seed}, {arguments.minutes:g} minutes: {dict(tally)}")
        for kind, count in kinds.most_common():
            print(f"{count:5} times: {kind}")
        return int(bool(kinds))


if __name__ == "__main__":
    sys.exit(main())
