from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flue_bench.data import registry
from flue_bench.errors import TaskFileError, UnknownNameError, UsageError
from support.plugins import put_package

TASK = """
name = "{name}"
kind = "sentence"
labels = ["non", "oui"]
metric = "accuracy"
{more}

[[source]]
files = {{ train = "train.tsv" }}
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What is installed changes within these tests, so nothing is remembered from one to the next."""
    registry.registered.cache_clear()
    registry.readers.cache_clear()
    yield
    registry.registered.cache_clear()
    registry.readers.cache_clear()


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package as pip would: its files, and a dist-info with its entry points."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    packages = []

    def put(package: str, entries: str, **files: str) -> Path:
        folder = site / package
        folder.mkdir()
        packages.append(package)
        for name, content in {"__init__": "", **files}.items():
            (folder / f"{name}.{'py' if name == '__init__' else 'toml'}").write_text(content, encoding="utf-8")
        put_package(site, package, entries)
        return folder

    yield put
    for package in packages:
        sys.modules.pop(package, None)


def put(path: Path, name: str = "essai", more: str = "") -> Path:
    path.write_text(TASK.format(name=name, more=more), encoding="utf-8")
    return path


def test_a_task_in_few_lines(tmp_path: Path) -> None:
    task = registry.load_file(put(tmp_path / "essai.toml")).task
    assert (task.version, task.board_column, task.source[0].files["train"].path) == (1, "essai", "train.tsv")
    assert task.source[0].columns == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name =", "nmae =", r"essai\.toml: nmae: unknown key\. Did you mean 'name'\?"),
        (
            'kind = "sentence"',
            'kind = "phrase"',
            r"kind: Unknown kind of task 'phrase'\. Known: .*regression, senses, sentence",
        ),
        ("[[source]]", "[[source]]\nreaders = 'x'", r"source\[0\]\.readers: unknown key\. Did you mean 'reader'\?"),
        (
            "[[source]]",
            "[[source]]\ncolumns = { texte = 'x' }",
            r"source\[0\]\.columns\.texte: .* mean 'text'\?",
        ),
        ("[[source]]", "[[source]]\ncolumns = { text = 1.5 }", r"source\[0\]\.columns\.text: .*not 1\.5"),
        (
            "[[source]]",
            "[[source]]\ncolumns = { text = ['a'] }",
            r"source\[0\]\.columns\.text: kind 'sentence' reads it from one",
        ),
        ("[[source]]", "[[source]]\ncolumns = { text = 1.5 }", r"source\[0\]\.columns\.text: .*not 1\.5"),
        (
            "[[source]]",
            "[[source]]\nlabel_names = { yes = 'ouii' }",
            r"source\[0\]\.label_names\.yes: 'ouii' is not",
        ),
        ("[[source]]", "[[source]]\nreader = 'webis'", r"source\[0\]\.reader: Unknown reader 'webis'\. .* webis-cls"),
        ("[[source]]", "[[source]]\nhub = 'a/b'", r"source\[0\]: 'hub = \"a/b\"' needs a pinned 'revision'"),
        *(
            ("[[source]]", f"[[source]]\ndelimiter = {mark}", r"source\[0\]\.delimiter: .* should be one character")
            for mark in ("''", "'::'", "'\"'", '"\\n"')
        ),
        ("[[source]]", "[[source]]\nzzz = 1", r"source\[0\]\.zzz: unknown key\. Known: hub, revision"),
        ("train = ", "trian = ", r"source\[0\]\.files\.trian: it has to be 'train'"),
        (
            "[[source]]",
            "[[source]]\narchives = [{ url = 'https://x.org/a.zip', sha = '0' }]",
            r"source\[0\]\.archives\[0\]\.sha: unknown key\. Did you mean 'sha256'\?",
        ),
        (
            "[[source]]",
            "[[source]]\narchives = [{ url = 'https://x.org/a.zip', sha256 = '0' }]",
            r"source\[0\]\.archives\[0\]\.sha256: .*not '0'",
        ),
        ("[[source]]", "[[source]]\narchives = ['ftp://x.org/a.zip']", r"source\[0\]\.archives\[0\].*: .*not 'ftp"),
        (
            "[[source]]",
            "[[source]]\nhub = 'a/b'\nrevision = 'refs/pr/1'",
            r"source\[0\]\.revision: .*not 'refs/pr/1'",
        ),
        ("[[source]]", "[rows]\ntrain = []\n[[source]]", r"rows\.train: .*not \[\]"),
        ("[[source]]", "[rows]\ntrain = [3, -1]\n[[source]]", r"rows\.train\[1\]: .*not -1"),
        ('"train.tsv"', '{ paht = "x" }', r"source\[0\]\.files\.train\.paht: unknown key\. Did you mean 'path'\?"),
        ('"train.tsv"', "{ columns = {} }", r"source\[0\]\.files\.train\.path: missing"),
        ('"train.tsv"', '"/data/train.tsv"', r"source\[0\]\.files\.train: '/data/train\.tsv' is not a relative path"),
        (
            "[[source]]",
            "[recipe.standard]\nepoch = 3\n[[source]]",
            r"recipe\.standard: .*'epoch'\. .* epochs\?",
        ),
        ("[[source]]", "[recipe.a]\nepochs = 0\n[[source]]", r"recipe\.a: Recipe field 'epochs' cannot be 0"),
        ("[[source]]", "[split]\nvalid = 0.1\n[[source]]", r"split\.valid: unknown key\. Did you mean 'validation'\?"),
        ("[[source]]", "[rows]\ntrain = 'x'\n[[source]]", r"rows\.train: .*not 'x'"),
        ('["non", "oui"]', '["oui", "oui"]', r"essai\.toml: 'labels' holds a label twice"),
        ('"accuracy"', '"f2"', r"essai\.toml: metric: 'f2' is not one of accuracy"),
        ("name =", "name", r"essai\.toml is not TOML: .*line 2"),
        ("essai", "Mon essai", r"essai\.toml: name: .*not 'Mon essai'"),
    ],
)
def test_a_fault_is_named_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = put(tmp_path / "essai.toml")
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    with pytest.raises(TaskFileError, match=message) as caught:
        registry.load_file(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_files_that_are_no_task_files(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"absent\.toml cannot be read"):
        registry.load_file(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes('name = "été"'.encode("latin1"))
    with pytest.raises(TaskFileError, match=r"latin\.toml is not TOML"):
        registry.load_file(tmp_path / "latin.toml")


def test_a_package_brings_tasks(install: Install) -> None:
    tasks = {name: TASK.format(name=name, more='groups = ["paires"]\ncolumn = "paire"') for name in ("zeta", "alpha")}
    folder = install("paires_fr", "[flue_bench.tasks]\npaires = paires_fr\n", **tasks)
    known = registry.registered()
    assert (known["zeta"].package, known["zeta"].file) == ("paires_fr", folder / "zeta.toml")
    assert [each.task.name for each in registry.select(["zeta", "paires", "zeta"])] == ["zeta", "alpha"]
    assert registry.members("paire") == ("alpha", "zeta")
    assert list(known) == sorted(known)


@pytest.mark.parametrize(
    ("init", "files", "message"),
    [
        ("import absent_module", {"a": ""}, r"'essai = casse_fr' .* of package casse_fr cannot be loaded: ModuleNot"),
        ("1 / 0", {"a": ""}, r"of package casse_fr cannot be loaded: ZeroDivisionError"),
        ("", {}, r"casse_fr has no task"),
        ("", {"a": TASK.format(name="a", more="vresion = 2")}, r"casse_fr/a\.toml: vresion: .*'version'"),
        (
            "",
            {"a": TASK.format(name="xnli", more="")},
            r"Task name 'xnli' is taken twice: by .*a\.toml and ",
        ),
        ("", {"a": TASK.format(name="flue", more="")}, r"'flue' is a group in .*\.toml and a task in .*a\.toml"),
        ("", {"a": TASK.format(name="a", more='groups = ["xnli"]')}, r"'xnli' is a group in .*a\.toml and a task in"),
        ("", {"a": TASK.format(name="a", more='column = "xnli"')}, r"column: 'xnli' belongs to "),
    ],
)
def test_a_broken_plugin_is_an_error(install: Install, init: str, files: dict[str, str], message: str) -> None:
    install("casse_fr", "[flue_bench.tasks]\nessai = casse_fr\n", **{"__init__": init, **files})
    with pytest.raises(TaskFileError, match=message):
        registry.registered()


def test_readers(install: Install) -> None:
    assert {"webis-cls", "wikiner-upstream"} <= set(registry.readers())
    registry.readers.cache_clear()
    install("lecteur_fr", "[flue_bench.readers]\nlecteur = lecteur_fr:absent\n")
    with pytest.raises(TaskFileError, match=r"'lecteur = lecteur_fr:absent' .* cannot be loaded: AttributeError"):
        registry.readers()


def test_a_reader_name_taken_twice(install: Install) -> None:
    install("lecteur_fr", "[flue_bench.readers]\nwebis-cls = lecteur_fr:read\n", __init__="def read(*_): return []")
    with pytest.raises(TaskFileError, match="The name 'webis-cls' is taken twice"):
        registry.readers()


def test_loose_files(tmp_path: Path) -> None:
    first, second = put(tmp_path / "un.toml", "un"), put(tmp_path / "deux.toml", "deux")
    chosen = registry.select([str(second), "xnli", str(first), str(second)])
    assert [(each.task.name, each.package) for each in chosen] == [
        ("deux", ""),
        ("xnli", registry.registered()["xnli"].package),
        ("un", ""),
    ]
    assert registry.members("un") == ()
    with pytest.raises(TaskFileError, match=r"'un' is taken twice: by .*un\.toml and .*autre\.toml"):
        registry.select([str(first), str(put(tmp_path / "autre.toml", "un"))])
    installed = registry.registered()["xnli"].file
    assert registry.select([str(installed), "xnli"]) == [registry.registered()["xnli"]]


@pytest.mark.parametrize(("name", "more"), [("xnli", ""), ("flue", ""), ("essai", 'column = "cls"')])
def test_a_loose_file_takes_no_registered_name(tmp_path: Path, name: str, more: str) -> None:
    with pytest.raises(TaskFileError, match=r"essai\.toml: '.*takes a name of .*\.toml"):
        registry.select([str(put(tmp_path / "essai.toml", name, more))])


def test_unknown_names_have_neighbours() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown task 'pawsx'\. Did you mean paws-x"):
        registry.select(["xnli", "pawsx"])
    with pytest.raises(UnknownNameError, match=r"Did you mean .*flue"):
        registry.select(["fluee"])


HUB = 'hub = "org/data"\nrevision = {}'
PLACES = [
    ("files.train", HUB.format('"main"') + '\nfiles = { train = "../secret" }'),
    ("files.train", 'archives = ["https://example.org/a.zip"]\nfiles = { train = "../secret" }'),
    ("files.train", 'files = { train = "../a/../secret" }'),
    ("files.train", 'files = { train = "/dev/zero" }'),
    ("files.train", 'files = { train = "a/../../secret" }'),
    ("files.train", "files = { train = '..\\\\secret' }"),
    ("files.train", "files = { train = 'C:secret' }"),
    ("files.train", 'files = { train = "a\\u0000b.tsv" }'),
    ("files.train", 'files = { train = "a\\nb.tsv" }'),
    ("files.train", f'files = {{ train = "{"*/" * 200}a.tsv" }}'),
    ("files.train", f'files = {{ train = "{"**/" * 12}a.tsv" }}'),
    ("files.train", 'files = { train = "**/a/**/b.tsv" }'),
    ("revision", HUB.format('"../../../secret"')),
    ("revision", HUB.format('"/dev/zero"')),
    ("revision", HUB.format('"a/b"')),
    ("revision", HUB.format('".."')),
    ("revision", HUB.format('"refs/../../x"')),
    ("revision", HUB.format(f'"{"a" * 300}"')),
    ("hub", 'hub = "../../secret"\nrevision = "main"'),
    ("hub", 'hub = "/etc"\nrevision = "main"'),
    ("archives", 'archives = ["https://example.org/.."]'),
    ("archives", 'archives = ["https://example.org/a\\u0000.zip"]'),
    ("archives", "archives = ['https://example.org/..\\\\a.zip']"),
    ("archives", f'archives = ["https://example.org/{"a" * 300}.zip"]'),
    ("archives", 'archives = ["file:///etc/passwd"]'),
]


@pytest.mark.parametrize(("key", "source"), PLACES)
def test_a_task_file_names_no_place_outside_its_folder(tmp_path: Path, key: str, source: str) -> None:
    text = TASK.format(name="essai", more="").replace('files = { train = "train.tsv" }', source)
    if "files" not in source:
        text += 'files = { train = "train.tsv" }\n'
    (tmp_path / "essai.toml").write_text(text)
    with pytest.raises(TaskFileError, match=rf"essai\.toml: source\[0\]\.{key}") as error:
        registry.load_file(tmp_path / "essai.toml")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "refs/convert/parquet", "b8dd5d7af51114dbda02c0e3f6133f332186418e"]
)
def test_revisions_of_the_hub_are_accepted(tmp_path: Path, revision: str) -> None:
    hub = HUB.format(f'"{revision}"')
    (tmp_path / "essai.toml").write_text(TASK.format(name="essai", more="").replace("[[source]]", f"[[source]]\n{hub}"))
    assert registry.load_file(tmp_path / "essai.toml").task.source[0].revision == revision


LONG = "9" * 5000


@pytest.mark.parametrize(
    "more",
    [
        f"{LONG} = 1",
        f"[options]\n{LONG} = 1",
        f"[recipe.{LONG}]\nepochs = 0",
        f"[recipe.standard]\n{LONG} = 1",
        f"[[source]]\n{LONG} = 1",
        f'[[source]]\nfiles = {{ train = "t.tsv" }}\nlabel_names = {{ {LONG} = "autre" }}',
        f'[[source]]\nfiles = {{ train = "t.tsv" }}\ncolumns = {{ {LONG} = "a" }}',
        f'[[source]]\nfiles = {{ {LONG} = "t.tsv" }}',
        f'[[source]]\nfiles = {{ train = "t.tsv" }}\nwhere = {{ {LONG} = {{}} }}',
    ],
)
def test_long_names_make_short_messages(more: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        registry.load_file(put(tmp_path / "essai.toml", more=more))
    assert len(str(caught.value)) < 1500 and len(str(caught.value).splitlines()) <= 2
