"""Bad input as the command line meets it: one or two lines and an exit code, or a correct result. Never a traceback."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import pickle
import re
import shutil
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from support import command_line
from support.bad_files import PAIR, ROWS, SENTENCE, TEXTS, TOKENS, jsonl, put, table, tarred, tsv, zipped
from support.command_line import Said
from support.tiny import tiny

SENTENCES = "Le\tO\nchat\tO\nde\tO\nMarie\tPER\n\nPaul\tPER\ndort\tO\n\nIci\tO\nvit\tO\nLéa\tPER\n"


Call = Callable[..., Said]


@pytest.fixture
def flue_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line in this process, in ``tmp_path``, offline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> Said:
        said = command_line.flue_bench(*words)
        assert "Traceback" not in said.out + said.err, said.err
        return said

    return call


def told(said: Said, code: int, message: str) -> None:
    """The exit code, and the message in one or two lines of their own."""
    assert said.code == code, (said.code, said.out, said.err)
    assert re.search(message, said.err), said.err
    if "flue-bench: " in said.err:
        assert len(said.err[said.err.index("flue-bench: ") :].strip().splitlines()) <= 2, said.err
    assert len(said.err) < 2000, "a message is no dump"


# Options ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run -t mini-cls --keep --results own", "--keep needs a value, and --results is another option"),
        ("run --results --force", "--results needs a value, and --force is another option"),
        ("run -m -t mini-cls", "-m needs a value, and -t is another option"),
        ("run --set --limit 5", "--set needs a value, and --limit is another option"),
        ("leaderboard --out --format html", "--out needs a value, and --format is another option"),
        ("tasks check xnli --model --offline", "--model needs a value, and --offline is another option"),
        ("distill --out --steps 5", "--out needs a value, and --steps is another option"),
        ("run --keep some", r"Invalid value for '--keep': 'some' is not one of 'best', 'all'"),
    ],
)
def test_an_option_does_not_take_another_for_its_value(
    words: str, message: str, tmp_path: Path, flue_bench: Call
) -> None:
    told(flue_bench(*words.split()), 2, message)
    assert not list(tmp_path.iterdir())


# Task files ---------------------------------------------------------------------------------------------------------

TASK_FILES = {
    "not TOML": ('name = "essai', r"essai\.toml is not TOML"),
    "latin-1": ('name = "été"'.encode("latin-1"), r"essai\.toml is not TOML: .*utf-8"),
    "a key twice": ('name = "a"\nname = "b"', r"is not TOML"),
    "empty": ("", r"essai\.toml: name: missing"),
    "nested a thousand deep": ("a = " + "[" * 3000 + "]" * 3000, r"essai\.toml"),
    "labels is a text": (SENTENCE.replace('["non", "oui"]', '"oui"'), r"labels: .*not 'oui'"),
    "labels are numbers": (SENTENCE.replace('["non", "oui"]', "[0, 1]"), r"labels\[0\]: .*not 0"),
    "one label": (SENTENCE.replace('["non", "oui"]', '["oui"]'), r"labels: "),
    "version is a text": (SENTENCE.replace("kind", 'version = "deux"\nkind'), r"version: .*not 'deux'"),
    "name is a path": (SENTENCE.replace('"essai"', '"../../essai"'), r"name: .*not '\.\./\.\./essai'"),
    "source is no table": (SENTENCE.replace("[[source]]", "[source]"), r"source: "),
    "a file outside": (SENTENCE.replace("FILE", "a/../../secret.tsv"), r"source\[0\]\.files\.train: .*without '\.\.'"),
    "an absolute file": (SENTENCE.replace("FILE", "/etc/passwd"), r"is not a relative path"),
    "names code": (
        SENTENCE.replace("[[source]]", '[[source]]\nreader = "os:system"'),
        r"source\[0\]\.reader: Unknown reader 'os:system'",
    ),
    "a hub repository outside": (
        SENTENCE.replace("[[source]]", '[[source]]\nhub = "../../etc"\nrevision = "main"'),
        r"hub",
    ),
    "epochs is nan": (SENTENCE.replace("epochs = 1", "epochs = nan"), r"recipe\.standard: .*'epochs'"),
    "learning rate is infinite": (SENTENCE.replace("epochs = 1", "learning_rate = inf"), r"'learning_rate'"),
    "recipe is a list": (SENTENCE.replace("[recipe.standard]", "[[recipe.standard]]"), r"recipe\.standard"),
    "rows is negative": (SENTENCE.replace("[[source]]", "[rows]\ntrain = -1\n[[source]]"), r"rows\.train: .*not -1"),
    "share above one": (SENTENCE.replace("[[source]]", "[split]\ntest = 1.5\n[[source]]"), r"split\.test: .*not 1\.5"),
    "an archive over file://": (
        SENTENCE.replace("[[source]]", '[[source]]\narchives = ["file:///etc/passwd.tar.gz"]'),
        r"archives",
    ),
}


@pytest.mark.parametrize("case", TASK_FILES)
def test_a_task_file(case: str, flue_bench: Call, tmp_path: Path) -> None:
    content, message = TASK_FILES[case]
    (tmp_path / "essai.toml").write_bytes(content.encode() if isinstance(content, str) else content)
    told(flue_bench("tasks", "check", "essai.toml", "--offline"), 2, message)


def test_a_task_file_that_is_a_folder(flue_bench: Call, tmp_path: Path) -> None:
    (tmp_path / "essai.toml").mkdir()
    told(flue_bench("run", "-t", "essai.toml"), 2, r"essai\.toml is a folder without task files")


# Data ---------------------------------------------------------------------------------------------------------------

LONG = "mot " * 25_000
"""100,000 characters."""

DATA = {
    "a label outside the set": (SENTENCE, "d.tsv", tsv([*ROWS, ("bof", "peut-être")]), r"line 12: unknown label 'peut"),
    "a label in capitals": (SENTENCE, "d.tsv", tsv([*ROWS, ("bof", "OUI")]), r"line 12: unknown label 'OUI'"),
    "a label with a blank": (SENTENCE, "d.tsv", tsv([*ROWS, ("bof", "oui ")]), r"line 12: unknown label 'oui '"),
    "a label that is NaN": (SENTENCE, "d.jsonl", jsonl({"text": "a", "label": math.nan}), r"line 11: .* empty: nan"),
    "a label that is 0.5": (SENTENCE, "d.jsonl", jsonl({"text": "a", "label": 0.5}), r"line 11: unknown label 0\.5"),
    "a label that is true": (SENTENCE, "d.jsonl", jsonl({"text": "a", "label": True}), r"line 11: unknown label True"),
    "a text that is NaN": (SENTENCE, "d.jsonl", jsonl({"text": math.nan, "label": "oui"}), r"line 11: .*holds nan"),
    "a text that is null": (SENTENCE, "d.jsonl", jsonl({"text": None, "label": "oui"}), r"line 11: .*holds None"),
    "null in parquet": (SENTENCE, "d.parquet", table(text=["a", None], label=[0, 1]), r"row 2: .*holds None"),
    "NaN for labels in parquet": (
        SENTENCE, "d.parquet", table(text=["a", "b"], label=[0.0, math.nan]), r"row 2: the label is empty: nan"),
    "half a surrogate pair": (SENTENCE, "d.jsonl", jsonl({"text": "\ud83d", "label": "oui"}), r"line 11: .*surrogates"),
    "a long bad value": (SENTENCE, "d.tsv", tsv([*ROWS, ("bof", LONG)]), r"line 12: unknown label 'mot mot"),
    "a column short": (SENTENCE, "d.tsv", tsv([*ROWS, ("bof",)]), r"line 12 has 1 columns, the first line has 2"),
    "a tab in a text": (SENTENCE, "d.tsv", tsv([*ROWS, ("b\tof", "oui")]), r"line 12 has 3 columns"),
    "an open quote in a CSV": (SENTENCE, "d.csv", b'text,label\n"Le,oui\n', r"line 2: not CSV"),
    "UTF-16": (SENTENCE, "d.csv", "text,label\nLe,oui\n".encode("utf-16"), r"line 1: byte 0xff is not UTF-8"),
    "latin-1": (SENTENCE, "d.tsv", "text\tlabel\nété\toui\n".encode("latin-1"), r"line 2: byte 0xe9 is not UTF-8"),
    "empty": (SENTENCE, "d.tsv", b"", r"d\.tsv is empty"),
    "a header alone": (SENTENCE, "d.tsv", b"text\tlabel\n", r"has no example for its train split"),
    "no such column": (SENTENCE, "d.tsv", tsv(header="texte\tlabel"), r"no column 'text'\. It has: texte, label"),
    "HTML for a TSV": (SENTENCE, "d.tsv", b"<!DOCTYPE html>\n<p>Portail</p>\n", r"no column 'text'"),
    "a list for a row": (SENTENCE, "d.jsonl", b'["a", 1]\n', r"line 1 is not a JSON object"),
    "JSON a million deep": (SENTENCE, "d.jsonl", b"[" * 1_000_000, r"line 1 is not JSON"),
    "a number of 10,000 digits": (SENTENCE, "d.jsonl", b'{"text": "a", "label": ' + b"1" * 10_000 + b"}", r"line 1"),
    "a truncated parquet": (
        SENTENCE, "d.parquet", table(text=TEXTS, label=[0, 1] * 5)[:-30], r"d\.parquet cannot be read as parquet"),
    "a parquet with a hole": (
        SENTENCE, "d.parquet", b"PAR1" + bytes(200) + table(text=TEXTS, label=[0, 1] * 5)[204:], r"d\.parquet"),
    "a truncated gzip": (SENTENCE, "d.tsv.gz", gzip.compress(tsv())[:-9], r"d\.tsv\.gz cannot be read"),
    "no gzip at all": (SENTENCE, "d.tsv.gz", tsv(), r"d\.tsv\.gz cannot be read"),
    "bytes after the bzip2": (SENTENCE, "d.tsv.bz2", bz2.compress(tsv())[:-5], r"d\.tsv\.bz2 cannot be read"),
    "an unknown format": (SENTENCE, "d.xlsx", b"PK", r"suffix names its format"),
    "words but a text task": (SENTENCE, "d.conll", SENTENCES.encode(), r"CoNLL columns hold words and tags"),
    "one example": (SENTENCE.replace(', validation = "FILE", test = "FILE"', ""), "d.tsv", tsv(ROWS[:1]), r""),
    "a pair without its second": (PAIR, "d.tsv", tsv(), r"no column 'text_pair'"),
    "a tag outside the set": (TOKENS, "d.conll", (SENTENCES + "\nLyon\tLOC\n").encode(), r"unknown label 'LOC'"),
    "a line without its tag": (TOKENS, "d.conll", (SENTENCES + "\nLyon\n").encode(), r"line 1\d has 1 column, "),
    "tags and words of different length": (
        TOKENS, "d.jsonl", b'{"words": ["Le", "chat"], "tags": ["O"]}\n', r"line 1: 2 words but 1 tags"),
    "words in one text": (TOKENS, "d.jsonl", b'{"words": "Le chat", "tags": ["O"]}\n', r"line 1: .*no list"),
    "a word that is null": (TOKENS, "d.jsonl", b'{"words": [null], "tags": ["O"]}\n', r"line 1: .*holds None"),
    "a word that is a list": (TOKENS, "d.jsonl", b'{"words": [["Le"]], "tags": ["O"]}\n', r"line 1: .*no text"),
    "tokens as CSV": (TOKENS, "d.csv", b"words,tags\nLe,O\n", r"not from CSV"),
    "no sentence with words": (TOKENS, "d.jsonl", b'{"words": [], "tags": []}\n', r"no training example|no example"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_data(case: str, flue_bench: Call, tmp_path: Path) -> None:
    task, name, content, message = DATA[case]
    put(tmp_path, task, name, content)
    told(flue_bench("tasks", "check", "essai.toml", "--rows", "0"), 1, message)


def test_an_id_that_stands_twice(flue_bench: Call, tmp_path: Path) -> None:
    task = SENTENCE.replace("[recipe", 'columns = { id = "n" }\n[recipe')
    put(tmp_path, task, "d.tsv", b"text\tlabel\tn\nLe\toui\t1\nLa\tnon\t1\n")
    told(flue_bench("tasks", "check", "essai.toml", "--rows", "0"), 1, "an id occurs twice in train")


# Data that is odd and correct ---------------------------------------------------------------------------------------

ODD = {
    "empty texts": "",
    "blanks alone": "   ",
    "a no-break space": "\u00a0\u202f",
    "100,000 characters": LONG,
    "one word of 100,000 characters": "é" * 100_000,
    "control characters": "a\x00b\x07\x1b[31mrouge\x7f",
    "right to left": "\u202eabc\u202c \u200f\u05d0\u05d1\u05d2 \u0627\u0644\u0633\u0644\u0627\u0645",
    "zero width": "a\u200bb\ufeffc\u200d",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "emoji and what is beyond the first plane": "👩‍👩‍👧 𝔣𝔯𝔞𝔫ç𝔞𝔦𝔰 \U0010ffff",
    "a thousand accents on a letter": "e" + "\u0301" * 1000,
    "special tokens": "<s> </s> <pad> <mask> <unk>",
    "markup": "[bold]gras[/bold] <b>gras</b> {x} %s \\n",
    "NUL": "L\x00e",
    "quotes": 'il dit "oui" \'non\' «bon» "',
}


@pytest.mark.parametrize("kind", ["sentence", "tokens"])
def test_odd_texts_are_scored(kind: str, flue_bench: Call, tmp_path: Path, model: Path) -> None:
    """All at once, in training and in test: every row has its prediction, every probability is one."""
    if kind == "sentence":
        rows = [{"text": text, "label": i % 2} for i, text in enumerate((*ODD.values(), *TEXTS))]
    else:
        words = [[word] for word in ODD.values()] + [["Le", word, "fin"] for word in ODD.values()]
        rows = [{"words": row, "tags": [0] * (len(row) - 1) + [1]} for row in words]
    put(tmp_path, SENTENCE if kind == "sentence" else TOKENS, "d.jsonl", "\n".join(map(json.dumps, rows)).encode())
    said = flue_bench("run", "-t", "essai.toml", "-m", model)
    assert said.code == 0, said.err
    (record,) = records(tmp_path)
    assert all(math.isfinite(score) for score in record["scores"].values())
    assert record["truncation"]["examples"]["test"] >= 2  # the long ones, and it says so
    (file,) = tmp_path.glob("results/runs/*/*/*.parquet")
    found = parquet.read_table(file).to_pydict()
    assert len(found["id"]) == len(rows)
    for probabilities in found["probabilities"]:
        for row in [probabilities] if kind == "sentence" else probabilities:
            assert sum(row) == pytest.approx(1, abs=1e-3) or (kind == "tokens" and sum(row) == 0)


@pytest.mark.parametrize("case", ODD)
def test_an_odd_text_is_shown(case: str, flue_bench: Call, tmp_path: Path) -> None:
    put(tmp_path, SENTENCE, "d.jsonl", jsonl({"text": ODD[case], "label": "oui"}))
    said = flue_bench("tasks", "check", "essai.toml", "--rows", "11")
    assert said.code == 0, said.err
    assert "train: 11" in said.out and "train-10: oui" in said.out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", said.out), "control characters never reach the terminal"


def test_nfc_and_nfd_are_the_same_data(flue_bench: Call, tmp_path: Path) -> None:
    digests = []
    for form in ("NFC", "NFD"):
        texts = [(unicodedata.normalize(form, text), label) for text, label in (*ROWS, ("Où est l'élève ?", "oui"))]
        put(tmp_path, SENTENCE, "d.tsv", tsv(texts))
        digests += re.findall("digest ([0-9a-f]{16})", flue_bench("tasks", "check", "essai.toml", "--rows", "0").out)
    assert len(digests) == 2 and digests[0] == digests[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.tsv", b"\xef\xbb\xbf" + tsv()),
        ("d.tsv", tsv().replace(b"\n", b"\r\n")),
        ("d.tsv", tsv().rstrip(b"\n")),
        ("d.tsv.gz", gzip.compress(tsv())),
        ("d.csv", "".join(["text,label\r\n", *(f'"{text}",{label}\r\n' for text, label in ROWS)]).encode()),
        ("d.jsonl", jsonl() + b"\n\n"),
        ("d.parquet", table(text=TEXTS, label=["non", "oui"] * 5, more=[None] * 10)),
        ("d.parquet", table(text=TEXTS, label=[0.0, 1.0] * 5)),
    ],
    ids=["BOM", "CRLF", "no last newline", "gzip", "quoted CSV", "blank lines", "parquet", "labels as floats"],
)
def test_the_same_data_in_other_clothes(name: str, content: bytes, flue_bench: Call, tmp_path: Path) -> None:
    shown = []
    for each, bytes_ in (("plain.tsv", tsv()), (name, content)):
        put(tmp_path, SENTENCE, each, bytes_)
        said = flue_bench("tasks", "check", "essai.toml", "--rows", "0")
        assert said.code == 0, said.err
        shown += re.findall("digest ([0-9a-f]{16})", said.out)
    assert shown[0] == shown[1]


def test_quotes_in_a_tsv_are_text(flue_bench: Call, tmp_path: Path) -> None:
    put(tmp_path, SENTENCE, "d.tsv", tsv([('"Le thé', "oui"), ('est ""froid""', "non"), ('l\'"eau"', "oui")]))
    said = flue_bench("tasks", "check", "essai.toml", "--rows", "0")
    assert said.code == 0 and "train: 3" in said.out


# Archives -----------------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A zip of 80 kB that unpacks to 80 MB: a thousand to one."""
    return zipped(("d.tsv", b"text\tlabel\n" + b"0" * 80_000_000))


ARCHIVES = {
    "a path with ..": ("a.tar.gz", lambda: tarred(("../d.tsv", tsv())), r"'\.\./d\.tsv' leads out of its folder"),
    "an absolute path": ("a.tar.gz", lambda: tarred(("/tmp/d.tsv", tsv())), r"'/tmp/d\.tsv' leads out of its folder"),
    "a symbolic link": ("a.tar.gz", lambda: tarred(("d.tsv", "/etc/passwd"), kind=tarfile.SYMTYPE), r"link or"),
    "a hard link": ("a.tar.gz", lambda: tarred(("d.tsv", "/etc/passwd"), kind=tarfile.LNKTYPE), r"link or a device"),
    "a device": ("a.tar.gz", lambda: tarred(("d.tsv", ""), kind=tarfile.CHRTYPE), r"link or a device"),
    "a zip with ..": ("a.zip", lambda: zipped(("../../d.tsv", tsv())), r"leads out of its folder"),
    "a zip with a drive": ("a.zip", lambda: zipped(("C:\\d.tsv", tsv())), r"leads out of its folder"),
    "a zip bomb": ("a.zip", bomb, r"unpacks to more than .* bytes: refused"),
    "a truncated tar": ("a.tar.gz", lambda: tarred(("d.tsv", tsv() * 99))[:-40], r"cannot be unpacked .*delete it"),
    "a truncated zip": ("a.zip", lambda: zipped(("d.tsv", tsv() * 99))[:-40], r"cannot be unpacked .*delete it"),
    "HTML for an archive": ("a.tar.gz", lambda: b"<html>Portail</html>", r"cannot be unpacked .*delete it"),
    "without the file": ("a.zip", lambda: zipped(("autre.tsv", tsv())), r"has no \*\.tsv|has no"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive(case: str, flue_bench: Call, tmp_path: Path) -> None:
    name, make, message = ARCHIVES[case]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(make())
    pattern = "d.tsv" if case == "without the file" else "*d.tsv"
    task = SENTENCE.replace("[[source]]", f'[[source]]\narchives = ["https://example.org/{name}"]')
    (tmp_path / "essai.toml").write_text(task.replace("FILE", pattern), encoding="utf-8")
    before = {path for path in tmp_path.rglob("*")}
    told(flue_bench("tasks", "check", "essai.toml", "--data-dir", "data", "--rows", "0"), 1, message)
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert not left and not Path("/tmp/d.tsv").exists()


# Models -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("camembert", "bert")}


@pytest.fixture
def model(models: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(models["camembert"], tmp_path / "modele"))


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return put(tmp_path, SENTENCE, "d.tsv", tsv())


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key away."""
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8")


def poison(model: Path, value: float) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("query.weight"))
    weights[name][0, 0] = value
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


class Evil:
    """Unpickling this would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("owned", "w"))


def as_bin(model: Path, write: Callable[[Path], None]) -> None:
    (model / "model.safetensors").unlink()
    write(model / "pytorch_model.bin")


def no_pad(model: Path) -> None:
    edit(model / "tokenizer_config.json", pad_token=None)
    content = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<pad>"]
    (model / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    edit(model / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def lead_out(model: Path) -> None:
    (model / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"a": "../../../etc/passwd"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def own_code(model: Path) -> None:
    edit(model / "config.json", model_type="mine", auto_map={"AutoConfig": "c.C"})
    (model / "c.py").write_text("open('owned', 'w')", encoding="utf-8")


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda model: edit(model / "config.json", **changes)


def weights(content: bytes) -> Callable[[Path], Any]:
    return lambda model: (model / "model.safetensors").write_bytes(content)


def text(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda model: (model / name).write_bytes(content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NOT_LOADED = r"modele cannot be loaded as AutoModelForSequenceClassification"
NO_CONFIG = r"modele: config\.json cannot be used"
NO_TOKENIZER = r"The tokenizer of modele cannot be loaded"

MODELS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "a pickle posing as weights": (lambda m: as_bin(m, lambda f: f.write_bytes(pickle.dumps(Evil()))), 1, "modele"),
    "torch.save of code": (lambda m: as_bin(m, lambda f: torch.save({"a": Evil()}, f)), 1, "unpickles nothing else"),
    "a pickle named safetensors": (weights(pickle.dumps(Evil())), 1, NOT_LOADED),
    "truncated weights": (lambda m: cut(m / "model.safetensors", -100), 1, NOT_LOADED),
    "empty weights": (weights(b""), 1, NOT_LOADED),
    "a header that claims 2^60 bytes": (weights((2**60).to_bytes(8, "little") + b"{}"), 1, NOT_LOADED),
    "a git-lfs pointer for weights": (weights(LFS), 1, "is a pointer of git-LFS"),
    "weights that are an index": (
        lambda m: (m / "model.safetensors").rename(m / "model.safetensors.index.json"), 1, r"has no 'weight_map'"),
    "an index that leads out": (lead_out, 1, r"names '\.\./.*', which is not one of its weight files"),
    "NaN weights": (lambda m: poison(m, math.nan), 1, r"weight '.*' is not finite"),
    "infinite weights": (lambda m: poison(m, -math.inf), 1, r"weight '.*' is not finite"),
    "weights of another width": (config(hidden_size=64), 1, r"no fitting weights"),
    "a layer too many": (config(num_hidden_layers=3), 1, r"no fitting weights"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), 1, r"has no weights"),
    "no configuration": (lambda m: (m / "config.json").unlink(), 1, r"has no config\.json"),
    "a configuration that is no JSON": (text("config.json", b"{"), 1, NO_CONFIG),
    "a configuration that is a list": (text("config.json", b"[]"), 1, NO_CONFIG),
    "a configuration in latin-1": (text("config.json", '{"a": "é"}'.encode("latin-1")), 1, NO_CONFIG),
    "no model type": (config(model_type=None), 1, NO_CONFIG),
    "an unknown model type": (config(model_type="chatbert"), 1, NO_CONFIG),
    "code of its own": (own_code, 1, r"needs code of its own"),
    "a width that is a text": (config(hidden_size="grand"), 1, NO_CONFIG),
    "a width of 0": (config(hidden_size=0), 1, "modele"),
    "a vocabulary of 10^12": (config(vocab_size=10**12), 1, r"no model is that large"),
    "a vocabulary of null": (config(vocab_size=None), 1, "modele"),
    "no room for positions": (config(max_position_embeddings=20), 2, r"takes at most 18 sub-words"),
    "a decoder": (config(model_type="t5", d_model=32), 1, "modele"),
    "no tokenizer": (lambda m: [file.unlink() for file in m.glob("tokenizer*")], 1, r"has no tokenizer files"),
    "a truncated tokenizer": (lambda m: cut(m / "tokenizer.json", 500), 1, NO_TOKENIZER),
    "a tokenizer that is a list": (text("tokenizer.json", b"[]"), 1, NO_TOKENIZER),
    "a tokenizer without padding": (no_pad, 1, r"has no padding token"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_a_model(case: str, flue_bench: Call, tmp_path: Path, model: Path, task: Path) -> None:
    damage, code, message = MODELS[case]
    damage(model)
    said = flue_bench("run", "-t", task, "-m", model)
    told(said, code, message)
    assert "unexpected" not in said.err, said.err
    assert not (tmp_path / "owned").exists()
    assert not records(tmp_path)


def test_a_model_without_tokenizer_files_is_told_before_anything_runs(
    flue_bench: Call, tmp_path: Path, model: Path, task: Path
) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()
    alone = flue_bench("run", "-t", task, "-m", model)
    assert alone.err.count("has no tokenizer files") == 1 and "whole entry" not in alone.out + alone.err
    assert not (tmp_path / "results").exists()


def records(folder: Path) -> list[dict[str, Any]]:
    found = folder.glob("results/runs/*/*/*.json")
    return [json.loads(path.read_bytes()) for path in found if not path.name.endswith(".failed.json")]


def test_a_head_of_other_labels_gives_way(
    flue_bench: Call, tmp_path: Path, models: dict[str, Path], task: Path
) -> None:
    """``num_labels`` 5 in the configuration, a head of 5 in the weights; the task has 2."""
    import transformers

    auto = transformers.AutoModelForSequenceClassification
    model = tiny("camembert", tmp_path / "cinq", auto=auto, num_labels=5)
    said = flue_bench("run", "-t", task, "-m", model)
    assert said.code == 0, said.err
    (record,) = records(tmp_path)
    assert record["labels"] == ["non", "oui"] and set(record["per_class"]["class"]) == {"non", "oui"}


def test_a_tokenizer_without_mask_is_enough_to_fine_tune_and_not_to_distil(
    flue_bench: Call, tmp_path: Path, model: Path, task: Path
) -> None:
    edit(model / "tokenizer_config.json", mask_token=None, tokenizer_class="PreTrainedTokenizerFast")
    assert flue_bench("run", "-t", task, "-m", model).code == 0 and len(records(tmp_path)) == 1
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    told(flue_bench("corpus", "t.txt", "--tokenizer", model, "--out", "corpus"), 1, r"mask")


# Results and caches -------------------------------------------------------------------------------------------------


@pytest.fixture
def done(flue_bench: Call, tmp_path: Path, task: Path, model: Path) -> Path:
    """The record of a finished cell."""
    assert flue_bench("run", "-t", task, "-m", model).code == 0
    (path,) = (path for path in tmp_path.glob("results/runs/*/*/*.json"))
    return path


def test_a_record_from_the_future(done: Path, flue_bench: Call, task: Path, model: Path) -> None:
    edit(done, schema_version=99)
    before = done.read_bytes()
    told(flue_bench("run", "-t", task, "-m", model), 1, r"schema version 99, .*upgrade flue-bench")
    assert done.read_bytes() == before
    said = flue_bench("leaderboard")
    assert "upgrade flue-bench" in said.out + said.err


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: cut(path, 300),
        lambda path: edit(path, scores={"accuracy": math.nan}),
        lambda path: edit(path, scores={"accuracy": 17.0}),
        lambda path: edit(path, cell_digest="0" * 16),
        lambda path: next(path.parent.glob("*.parquet")).unlink(),
    ],
    ids=["cut off", "a NaN score", "a score of 17", "another digest", "without its predictions"],
)
def test_a_damaged_record_is_run_again(
    damage: Callable[[Path], Any], done: Path, flue_bench: Call, task: Path, model: Path
) -> None:
    sound = json.loads(done.read_bytes())
    damage(done)
    assert flue_bench("run", "-t", task, "-m", model).code == 0
    assert json.loads(done.read_bytes())["scores"] == sound["scores"]


def test_a_damaged_checkpoint(done: Path, flue_bench: Call, tmp_path: Path, task: Path, model: Path) -> None:
    folder = tmp_path / "results" / ".checkpoints" / json.loads(done.read_bytes())["cell_digest"]
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(pickle.dumps(Evil()))
    told(flue_bench("run", "-t", task, "-m", model, "--force"), 1, r"checkpoint\.pt cannot be read .*Delete the folder")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("state", [{}, {"model": 3}, [1, 2], {"model": {"a": torch.ones(2)}}, 7], ids=repr)
def test_a_checkpoint_of_something_else(
    state: Any, done: Path, flue_bench: Call, tmp_path: Path, task: Path, model: Path
) -> None:
    folder = tmp_path / "results" / ".checkpoints" / json.loads(done.read_bytes())["cell_digest"]
    folder.mkdir(parents=True)
    torch.save(state, folder / "checkpoint.pt")
    told(flue_bench("run", "-t", task, "-m", model, "--force"), 1, r"checkpoint\.pt is not one of this run .*Delete")


def test_results_that_are_a_file(flue_bench: Call, tmp_path: Path, task: Path, model: Path) -> None:
    (tmp_path / "results").write_text("")
    told(flue_bench("run", "-t", task, "-m", model), 1, r"results.*cannot be written: .*give another --results")


def test_a_corrupted_hub_cache(
    flue_bench: Call, tmp_path: Path, task: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As huggingface_hub lays it out, with a blob that is cut off: offline, nobody can fetch it anew."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--org--modele"
    shutil.copytree(model, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    cut(repo / "snapshots" / ("a" * 40) / "model.safetensors", 1000)
    told(flue_bench("run", "-t", task, "-m", "org/modele", "--offline"), 1, r"org/modele cannot be loaded as")
    assert not records(tmp_path)


# What is asked ------------------------------------------------------------------------------------------------------

ASKED = {
    "a model that is a file": (["-m", "essai.toml"], 1, r"essai\.toml"),
    "a model that is nothing": (["-m", ""], 2, r"Model '' is neither a folder here nor a hub id"),
    "a model by its address": (["-m", "https://huggingface.co/a/b"], 2, r"neither a folder here nor a hub id"),
    "a model above": (["-m", "../../a"], 2, r"neither a folder here nor a hub id"),
    "a model with an escape": (["-m", "a\x1b[31m/b"], 2, r"Model 'a\\x1b\[31m/b' is neither"),
    "a pattern with an escape": (["-m", "a\x1b[31m]/*"], 2, r"'a\\x1b\[31m\]/\*': no folder here fits this pattern"),
    "a model with a bracket": (["-m", "a[b"], 2, r"Model 'a\[b' is neither"),
    "a pattern that is an address": (["-m", "https://h.co/a?b=c"], 2, r"no folder here fits this pattern"),
    "a model with a newline": (["-m", "a\nb\nc"], 2, r"neither a folder here nor a hub id"),
    "no such data": (["--data-dir", "absent"], 2, r"--data-dir absent: no such folder"),
    "a rate of nan": (["--set", "learning_rate=nan"], 2, r"'learning_rate' cannot be 'nan'"),
    "a batch of 0": (["--set", "batch_size=0"], 2, r"'batch_size' cannot be '0'"),
    "a batch of 10^30": (["--set", f"batch_size={10**30}"], 2, r"it has to be less than or equal to 1048576"),
    "a batch of more than all rows": (["--set", f"batch_size={2**20}", "--set", "epochs=1"], 0, r"accuracy"),
    "no key": (["--set", "=3"], 2, r"--set needs KEY=VALUE, not '=3'"),
    "a length of 3": (["--set", "max_length=3"], 2, r"'max_length' cannot be '3'"),
    "more sub-words than there are positions": (["--set", "max_length=100000"], 2, r"takes at most \d+ sub-words"),
    "a negative seed": (["--seed", "-1"], 2, r"seed"),
    "no seed at all": (["--seeds", "0"], 2, r"seeds"),
    "a limit of 0": (["--limit", "0"], 2, r"limit"),
    "an unknown option": (["--lr", "1"], 2, r"No such option"),
    "a device of the future": (["--device", "tpu"], 2, r"[Dd]evice 'tpu'"),
    "the 99th device": (["--device", "cuda:99"], 2, r"CUDA device"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked(case: str, flue_bench: Call, tmp_path: Path, task: Path, model: Path) -> None:
    words, code, message = ASKED[case]
    models = [] if "-m" in words else ["-m", model]
    told(flue_bench("run", "-t", task, "--offline", *models, *words), code, message)
    assert bool(records(tmp_path)) == (code == 0)
