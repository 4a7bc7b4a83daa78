"""What stands in the fenced blocks of the documentation, and the world in which it is carried out."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from support import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
)
LANGUAGES = ("sh", "python", "toml", "text")
"""text is what programs print; it is not carried out."""


class Block(NamedTuple):
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        AssertionError: a fence is not closed, or is indented.
    """
    found, opened = [], None
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not (fence := re.match(r"( *)(`{3,}|~{3,})(.*)", line)):
            continue
        assert not fence[1] and fence[2] == "```", f"{page}:{number}: a fence is ``` at the beginning of a line"
        if opened is None:
            opened = number, fence[3].strip()
        else:
            first, language = opened
            found.append(Block(page, first, language, "".join(lines[first : number - 1])))
            opened = None
    assert opened is None, f"{page}: the fence of line {opened} is not closed"
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a block of shell, as words; control words and assignments before a command left out."""
    text = re.sub(r"(?<= -t) …", " TASK", text)
    for name, value in re.findall(r'^([A-Z]+)="(.*)"$', text, re.M):
        text = re.sub(rf"\${name}\b", value, text)
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if command:
                    yield command
                command = []
            elif not command and (word in ("do", "done", "then", "fi", "srun") or re.match(r"\w+=", word)):
                continue
            else:
                command.append(word)


@cache
def program() -> Any:
    """The command line, with the commands of plugins."""
    import typer

    from flue_bench import cli

    cli.add_plugins()
    return typer.main.get_command(cli.app)


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and the values of its options, as the command line reads them; nothing is run.

    Raises:
        click's UsageError: there is no such command or option, or a value does not fit.
    """
    context = program().make_context("flue-bench", [re.sub(r"\$\w+", "0", word) for word in words if word != "…"])
    names = []
    while hasattr(context.command, "resolve_command") and (left := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, left)
        names.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(names), context.params


@cache
def options_of(*command: str) -> str:
    """What a program of others says of itself."""
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, timeout=100)
    return done.stdout


# The world.

LONG = {"max_position_embeddings": 514}

COLUMNS_OF = {
    "sentence": ("text", "label"),
    "sentence-pair": ("text", "text_pair", "label"),
    "tokens": ("words", "tags"),
    "regression": ("text", "text_pair", "value"),
}


def rows(task: Any, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of our own for a task, under the names of its fields."""
    from itertools import islice

    from support.hub_standin import sentences

    made: list[dict[str, Any]] = []
    for index, sentence in enumerate(islice(sentences(seed), count)):
        label = task.labels[index % len(task.labels)] if task.labels else None
        words = sentence.split()
        row = {"id": f"{seed}-{index}", "text": f"{sentence} {label}", "text_pair": f"Oui, {sentence} {label}"}
        row["group"] = f"{seed}-{index // 2}"
        if task.kind == "tokens":
            first = next((name for name in task.labels if name != "O"), "O")
            tag = task.labels[(index + 1) % len(task.labels)] if not task.scheme else first.replace("I-", "B-")
            made.append({"words": words, "tags": [tag, *["O" if "O" in task.labels else tag] * (len(words) - 1)]})
        elif task.kind == "regression":
            low, high = task.options["range"]
            made.append(row | {"value": low + index % 6 / 5 * (high - low)})
        elif task.kind == "question-answering":
            answer = words[1]
            answers = {"text": [answer], "answer_start": [sentence.index(answer)]}
            made.append({"id": row["id"], "question": "Qui ?", "context": sentence, "answers": answers})
        elif task.kind == "senses":
            made.append({"words": words, "target": 1, "lemma": "voir", "senses": [f"voir-{index % 2}"]})
        else:
            made.append(row | {"label": label})
    return made


def fill_data(folder: Path) -> None:
    """Data of every installed task, as ``--data-dir`` takes them."""
    from flue_bench.data import registry

    for name, each in registry.registered().items():
        if name.startswith("mini"):
            continue
        for seed, split in enumerate(("test",) if each.task.train_from else ("train", "validation", "test")):
            many = max(24, len(each.task.labels))
            lines = "".join(json.dumps(row) + "\n" for row in rows(each.task, many, 10 * seed))
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def fill_files(task: Any, folder: Path) -> None:
    """The files that a task of a page names, beside it."""
    for source in task.source:
        for seed, (_, file) in enumerate(source.files.items()):
            columns = dict(file.columns or source.columns)
            path = folder / file.path.replace("*", "1")
            path.parent.mkdir(parents=True, exist_ok=True)
            fields = [*columns] if "text" in columns else COLUMNS_OF[task.kind]
            names = {field: columns.get(field, field) for field in fields}
            theirs = {ours: name for name, ours in source.label_names.items()}
            made = rows(task, 60, seed)
            for row in made:
                if "label" in row:
                    row["label"] = theirs.get(row["label"], row["label"])
            delimiter = source.delimiter or ("," if path.suffix == ".csv" else "\t")
            if path.suffix == ".jsonl":
                text = "".join(json.dumps({names[field]: row[field] for field in names}) + "\n" for row in made)
            elif task.kind == "tokens":
                text = "".join(
                    "".join(f"{word}\tx\tx\t{tag}\n" for word, tag in zip(row["words"], row["tags"], strict=True))
                    + "\n"
                    for row in made
                )
            else:
                table = [[str(row[field]) for field in names] for row in made]
                text = "".join(delimiter.join(cells) + "\n" for cells in [list(map(str, names.values())), *table])
            path.write_text(text, encoding=source.encoding)


class World:
    """A hub with tiny models, data for every task, and a process that carries out commands and Python."""

    def __init__(self, folder: Path, hub: Any) -> None:
        from support.hub_standin import folder_files

        self.folder = folder
        self.data = folder / "data"
        self.hub = hub
        fill_data(self.data)
        self._models()
        own = {
            "FLUE_BENCH_DATA": str(self.data),
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "HOME": str(folder / "home"),
        }
        self.env = hub.env(folder) | own | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        shell = [sys.executable, str(ROOT / "tests/support/page_shell.py")]
        self._shell = subprocess.Popen(
            shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.env, cwd=folder
        )
        self.results = self._results()
        self.hub.add_repo("org/records", "dataset", folder_files(self.results))

    def close(self) -> None:
        """End the process."""
        self._shell.communicate("", timeout=60)

    def ask(self, cwd: Path, **request: Any) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        assert self._shell.stdin and self._shell.stdout
        self._shell.stdin.write(json.dumps({"cwd": str(cwd), **request}) + "\n")
        self._shell.stdin.flush()
        code, said = json.loads(self._shell.stdout.readline())
        return code, said

    def _models(self) -> None:
        from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

        from support.hub_standin import folder_files, parquet
        from support.tiny import tiny

        self.local = self.folder / "models"
        for seed, name in enumerate(("teacher", "student", "mine", "random-weights")):
            tiny("camembert", self.local / name, seed=seed, **LONG)
        for seed, name in enumerate(("camembert", "almanach"), 5):
            tiny("camembert", self.local / name, num_hidden_layers=12, seed=seed, **LONG)
        nli = {"id2label": dict(enumerate(("contradiction", "entailment", "neutral")))}
        nli["label2id"] = {name: number for number, name in nli["id2label"].items()}
        ner = {"id2label": dict(enumerate(("O", "I-LOC", "I-PER", "I-MISC", "I-ORG")))}
        ner["label2id"] = {name: number for number, name in ner["id2label"].items()}
        tiny("camembert", self.local / "nli", auto=AutoModelForSequenceClassification, **nli, **LONG)
        tiny("camembert", self.local / "ner", auto=AutoModelForTokenClassification, **ner, **LONG)
        files = {path.name: folder_files(path) for path in self.local.iterdir()}
        for name, of in {
            "camembert-base": "camembert",
            "almanach/camembert-base": "almanach",
            "almanach/camembertv2-base": "teacher",
            "cmarkea/distilcamembert-base": "student",
            "cmarkea/distilcamembert-base-nli": "nli",
            "cmarkea/distilcamembert-base-ner": "ner",
            "Jean-Baptiste/camembert-ner": "ner",
        }.items():
            self.hub.add_repo(name, "model", files[of])
        steps = {"step-1000": files["teacher"], "step-2000": files["student"]}
        self.hub.add_repo("org/name", "model", files["student"], revisions=steps)
        self.articles = parquet({"text": [row["text"] for row in rows(_Bare, 400)]})
        part = "- config_name: 20231101.fr\n  data_files:\n  - split: train\n    path: 20231101.fr/train-*\n"
        wikipedia = {
            "README.md": f"---\nconfigs:\n{part}---\n".encode(),
            "20231101.fr/train-00000-of-00001.parquet": self.articles,
        }
        self.hub.add_repo("wikimedia/wikipedia", "dataset", wikipedia)

    def _results(self) -> Path:
        """Records of a model, its student and a floor on all of FLUE."""
        folder = self.folder / "first"
        folder.mkdir()
        models = [word for name in ("camembert-base", "cmarkea/distilcamembert-base") for word in ("-m", name)]
        floor = shutil.copytree(self.local / "random-weights", folder / "random-weights")
        code, said = self.ask(folder, words=["run", *models, "-m", str(floor), "-t", "flue", "--seeds", "2"])
        assert code == 0, said
        return folder / "results"

    def page(self, name: str) -> Path:
        """A folder with what the pages take for granted: models, texts, records, task files with their data."""
        from flue_bench.data import registry

        folder = self.folder / "pages" / re.sub(r"\W", "-", name)
        folder.mkdir(parents=True)
        shutil.copytree(self.results, folder / "results")
        distils = any("flue-bench distill" in block.text for block in blocks(name))
        for model in ("STUDENT",) if distils else ("my-student", "student", "STUDENT"):
            shutil.copytree(self.local / "mine", folder / model)
        for model in ("teacher", "TEACHER", "pretraining/checkpoint-1", "OUT/checkpoint-1"):
            shutil.copytree(self.local / "teacher", folder / model)
        shutil.copytree(self.local / "random-weights", folder / "random-weights")
        shutil.copytree(self.local / "nli", folder / "my-model")
        shutil.copytree(self.local / "mine", folder / "work/student")
        shutil.copytree(self.local / "student", folder / "work/student/checkpoint-10000")
        for where in (folder, folder / "work"):
            (where / "oscar").mkdir()
            texts = "".join(json.dumps({"content": row["text"]}) + "\n" for row in rows(_Bare, 400))
            (where / "oscar/part.jsonl").write_text(texts, encoding="utf-8")
        (folder / "work/wikipedia").mkdir()
        (folder / "work/wikipedia/part.parquet").write_bytes(self.articles)
        if "results/embedded" in (ROOT / name).read_text(encoding="utf-8"):
            shutil.copytree(ROOT / "results/embedded", folder / "results/embedded")
        (folder / "mirror/HuggingFace_Models").mkdir(parents=True)
        os.symlink(self.data, folder / "mirror/HuggingFace")
        os.symlink(self.local / "camembert", folder / "mirror/HuggingFace_Models/camembert-base")
        shutil.copy(ROOT / "examples/clusters/slurm.toml", folder)
        for block in blocks(name):
            if block.language == "toml" and "\nkind = " in block.text:
                called = re.findall(r'^name = "(.*)"', block.text, re.M)[0]
                inside = folder / "tasks" if f"tasks/{called}.toml" in (ROOT / name).read_text("utf-8") else folder
                inside.mkdir(exist_ok=True)
                (inside / f"{called}.toml").write_text(block.text, encoding="utf-8")
                (each,) = registry.select([str(inside / f"{called}.toml")])
                if each.task.kind in COLUMNS_OF:
                    fill_files(each.task, inside)
        (folder / "mine.toml").write_text(MINE, encoding="utf-8")
        (each,) = registry.select([str(folder / "mine.toml")])
        fill_files(each.task, folder)
        return folder


MINE = """name = "mine"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[[source]]
files = { train = "mine-train.jsonl", validation = "mine-dev.jsonl", test = "mine-test.jsonl" }
"""


class _Bare:
    kind, labels = "sentence", ()


def actual(word: str, folder: Path, env: Mapping[str, str]) -> str:
    """A word with its variables filled in, and with what a page leaves open (…, a digest) looked up."""
    word = re.sub(r"\$(\w+)", lambda name: env.get(name[1], name[0]), word)
    word = re.sub(r"@[0-9a-f]+…$", "", word)
    if "/" not in word or not re.search(r"…|0123456789abcdef", word):
        return word
    pattern = re.sub(r"seed\d+-(…|0123456789abcdef)", "seed*", word).replace("/…/", "/**/").replace("…", "*")
    found = sorted(path for path in folder.glob(pattern) if "predictions" not in path.name)
    assert found, f"nothing is called {word}"
    return str(found[0].relative_to(folder))
