from __future__ import annotations

import bz2
import tarfile
from pathlib import Path

import pytest

from flue_bench.data import hub, registry, sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError, HubError, OfflineError
from flue_bench.kinds.kind import kind_named
from flue_bench.task import CONVERTED, SPLITS, Example, Split
from support.hub_standin import cls_archive, cls_merged_files, parquet

FLUE = ("cls-books", "cls-dvd", "cls-music", "paws-x", "wikiner", "xnli")
HEADLINES = {
    "tokens": "entity_f1_micro",
    "regression": "pearson",
    "multiple-choice": "accuracy",
    "question-answering": "f1",
    "senses": "f1_micro",
}
REVIEW = (
    "<item><category>Livres</category><rating>{rating}</rating><asin>1</asin><url>u</url>"
    "<text>{text}</text><title>{title}</title><summary>s</summary></item>\n\n\n"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=sorted(registry.registered()))
def each(request: pytest.FixtureRequest) -> Registered:
    return registry.registered()[request.param]


def only(name: str) -> Registered:
    (chosen,) = registry.select([name])
    return chosen


def test_groups() -> None:
    assert tuple(each.task.name for each in registry.select(["flue"])) == FLUE
    assert [each.task.name for each in registry.select(["cls"])] == ["cls-books", "cls-dvd", "cls-music"]
    assert registry.members("cls") == ("cls-books", "cls-dvd", "cls-music")
    columns = {each.task.board_column for each in registry.select(["flue"])}
    assert columns == {"cls", "paws-x", "wikiner", "xnli"}


def test_every_task_says_what_it_is(each: Registered) -> None:
    task = each.task
    assert each.file.stem == task.name
    assert task.title and task.licence
    assert task.rows or task.name in ("sick-fr", "flue-vsd", "fquad", "fquad2")  # of which nobody says how many
    assert task.groups or task.name in ("mini-pawsx", "cls-merged")
    without_entities = task.kind == "tokens" and task.scheme is None
    assert task.metric == ("word_accuracy" if without_entities else HEADLINES.get(task.kind, "f1_macro"))
    if kind_named(task.kind).frozen:
        assert not task.recipe  # nothing is trained
        return
    assert {"standard", "quick"} <= set(task.recipe)
    assert task.named_recipe("quick").epochs < task.named_recipe("standard").epochs


@pytest.mark.parametrize("name", FLUE)
def test_every_task_of_flue_is_pinned_and_cited(name: str) -> None:
    task = only(name).task
    assert task.citation and task.homepage.startswith("https://")
    for declared in task.source:
        assert declared.hub or declared.archives
        assert declared.hub is None or (len(declared.revision or "") == 40 and int(declared.revision or "", 16))
        assert all(archive.url.startswith("https://") for archive in declared.archives)
        assert "train" in declared.files
    assert ("validation" in task.rows) == ("validation" in task.source[0].files)


@pytest.mark.parametrize(
    ("name", "standard", "flue"),
    [
        ("cls-books", (6, 512), 30),
        ("cls-dvd", (6, 512), 30),
        ("cls-music", (6, 512), 30),
        ("paws-x", (5, 128), 30),
        ("xnli", (3, 128), 10),
        ("wikiner", (3, 256), 10),
    ],
)
def test_recipes(name: str, standard: tuple[int, int], flue: int) -> None:
    task = only(name).task
    recipe = task.named_recipe("standard")
    assert (recipe.epochs, recipe.max_length) == standard
    assert (recipe.batch_size, recipe.learning_rate, recipe.warmup_ratio, recipe.weight_decay) == (32, 3e-5, 0.1, 0.01)
    published = task.named_recipe("flue")
    assert (published.epochs, published.batch_size, published.learning_rate) == (flue, 8, 5e-6)
    assert (published.max_length, published.dropout, published.schedule) == (512, 0.1, "linear")
    assert (published.warmup_ratio, published.weight_decay) == (0, 0)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("paws-x", {"train": (49_401,), "validation": (2_000,), "test": (2_000,)}),
        ("xnli", {"train": (392_702,), "validation": (2_490,), "test": (5_010,)}),
        ("wikiner", {"train": (120_682,), "test": (13_410,)}),
        ("cls-books", {"train": (2_000,), "test": (1_999, 2_000)}),
        ("cls-merged", {"train": (5_997,), "test": (5_999, 6_000)}),
    ],
)
def test_published_counts(name: str, rows: dict[str, tuple[int, ...]]) -> None:
    assert only(name).task.rows == rows


@pytest.mark.parametrize(
    ("name", "size", "sha256", "users"),
    [
        (
            "cls-acl10-unprocessed.tar.gz",
            314_687_066,
            "51504dea54dfad525ec5373db0606a263393feb9182ffc50c276682936e14ee5",
            ["cls-books", "cls-dvd", "cls-merged", "cls-music"],
        ),
        (
            "x-final.tar.gz",
            30_282_057,
            "4146db499101d66e68ae4c8ed3cf9dadecd625f44b7d8cf3d4a0fe93afc4fd9f",
            ["paws-x"],
        ),
        (
            "XNLI-MT-1.0.zip",
            466_098_360,
            "f732517ba2fb1d550e9f3c2aabaef6017c91ee2dcec90e878f138764d224db05",
            ["xnli"],
        ),
        ("XNLI-1.0.zip", 17_865_352, "4ba1d5e1afdb7161f0f23c66dc787802ccfa8a25a3ddd3b165a35e50df346ab1", ["xnli"]),
    ],
)
def test_archives_are_told_from_what_may_come_in_their_place(
    name: str, size: int, sha256: str, users: list[str]
) -> None:
    found = {
        (task, archive.size, archive.sha256)
        for task, each in registry.registered().items()
        for source in each.task.source
        for archive in source.archives
        if archive.name == name
    }
    assert sorted(found) == [(user, size, sha256) for user in users]


def test_the_three_categories_differ_where_they_must() -> None:
    books, dvd, music = (registry.registered()[f"cls-{category}"].task for category in ("books", "dvd", "music"))
    merged = only("cls-merged").task
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:  # as in the merged copy on the hub
        each = [task.rows[split] for task in (books, dvd, music)]
        assert merged.rows[split][-1] == sum(counts[-1] for counts in each)
    assert set(merged.rows["test"]) == {6_000 - 1, 6_000}
    apart = {"name", "title", "rows", "source", "notes", "groups", "column"}
    assert books.model_dump(exclude=apart) == merged.model_dump(exclude=apart)
    assert merged.board_column == "cls-merged" and not merged.groups  # never averaged with what FLUE reports
    differing = {"name", "title", "rows", "source", "notes"}
    assert books.model_dump(exclude=differing) == dvd.model_dump(exclude=differing)
    assert books.model_dump(exclude=differing) == music.model_dump(exclude=differing)


@pytest.mark.parametrize("name", (*FLUE, "cls-merged"))
def test_without_network_the_message_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match=rf"No data for task '{name}'.*--data-dir") as caught:
        sources.load(only(name), offline=True)
    advice = sources.lacking(only(name), offline=True)
    assert advice and advice in str(caught.value)
    asked = "log in and ask for it (https://zenodo.org/records/3251672" in advice
    assert asked == name.startswith("cls-")
    assert ("Save what you receive as D/cls-acl10-unprocessed.tar.gz and give --data-dir D." in advice) == asked


# The upstream formats


def cls_folder(folder: Path, train: str, test: str | None = None, head: str = "<items>") -> Path:
    data = folder / "D/cls-acl10-unprocessed/fr/dvd"
    data.mkdir(parents=True, exist_ok=True)
    for split, reviews in (("train", train), ("test", test or train)):
        content = f'<?xml version="1.0" encoding="utf-8"?>\n{head}{reviews}</items>\n'
        (data / f"{split}.review").write_text(content, encoding="utf-8")
    return folder / "D"


def texts(examples: list[Example]) -> dict[str, int]:
    return {example.text: example.label for example in examples}


def test_webis_cls(tmp_path: Path) -> None:
    reviews = (
        REVIEW.format(
            rating="5.0", text="Un film &amp; une fête,\n vus  &lt;deux&gt; fois &#39;hier&#39;.", title="Un titre"
        )
        + REVIEW.format(rating="1.0", text="Raté.", title="Un titre")
        + REVIEW.format(rating="2.0", text="Mal fermé.", title="Un titre").replace("</text>", "")
        + REVIEW.format(rating="4.0", text="", title="Un titre")
    )
    data = sources.load(only("cls-dvd"), data_dir=cls_folder(tmp_path, reviews), offline=True)
    assert texts(data.splits["test"]) == {
        "Un film & une fête, vus <deux> fois 'hier'.": 1,
        "Raté.": 0,
        "Mal fermé.": 0,
        "": 1,
    }
    assert (data.ref.cut, data.ref.canonical) == (("validation",), False)
    assert sorted(example.label for example in data.splits["validation"]) == [0, 1]
    with tarfile.open(tmp_path / "D/cls-acl10-unprocessed.tar.gz", "w:gz") as out:
        out.add(tmp_path / "D/cls-acl10-unprocessed", "cls-acl10-unprocessed")
    packed = sources.load(only("cls-dvd"), data_dir=tmp_path / "D", offline=True)
    assert packed.ref.digest == data.ref.digest
    assert packed.ref.source == "archive:cls-acl10-unprocessed.tar.gz"


def test_cls_merged_is_the_three_categories_in_one(tmp_path: Path) -> None:
    (tmp_path / "cls-acl10-unprocessed.tar.gz").write_bytes(cls_archive())
    merged = sources.load(only("cls-merged"), data_dir=tmp_path, offline=True)
    for split in SPLITS[::2]:
        parts: list[str] = []
        for category in ("books", "dvd", "music"):
            one = sources.load(only(f"cls-{category}"), data_dir=tmp_path, offline=True)
            cut = one.splits["validation"] if split == "train" else []
            parts += [example.text for example in (*one.splits[split], *cut)]
        cut = merged.splits["validation"] if split == "train" else []
        assert sorted(example.text for example in (*merged.splits[split], *cut)) == sorted(parts)
    assert merged.ref.rows == {"train": 116, "validation": 28, "test": 48}
    assert merged.ref.source == "archive:cls-acl10-unprocessed.tar.gz"
    assert [example.id for example in merged.splits["test"]] == [f"test-{row}" for row in range(48)]


def test_cls_merged_from_the_hubs_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody gave the archive: that copy serves, and is marked as what nobody pinned."""
    source = only("cls-merged").task.source[1]
    assert (source.hub, source.revision, source.pinned) == ("GETALP/flue", CONVERTED, False)
    for name, content in cls_merged_files().items():
        (tmp_path / "snapshot" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "snapshot" / name).write_bytes(content)
    asked = []

    def fetch(repo_id: str, **kwargs: object) -> hub.Snapshot:
        asked.append((repo_id, kwargs["revision"], kwargs["patterns"]))
        return hub.Snapshot(tmp_path / "snapshot", "0123456789abcdef" * 2 + "01234567")

    def refuse(*_: object, **__: object) -> None:
        raise HubError("zenodo.org answered HTTP 403: it requires permission.")

    monkeypatch.setattr(hub, "fetch", fetch)
    monkeypatch.setattr(hub, "download", refuse)
    data = sources.load(only("cls-merged"))
    assert asked == [("GETALP/flue", "refs/convert/parquet", ["CLS/train/*.parquet", "CLS/test/*.parquet"])]
    assert data.ref.source == "hub:GETALP/flue@0123456789ab"
    assert data.ref.deviations[0] == "unpinned revision refs/convert/parquet of GETALP/flue (commit 0123456789ab)"
    assert not data.ref.canonical
    assert data.ref.rows == {"train": 116, "validation": 28, "test": 48}
    for example in data.splits["test"]:
        assert example.label == ("Un plaisir rare" in example.text)

    whole = {"text": [f"n° {row}" for row in range(5_999)], "label": [0, 1] * 2_999 + [0]}
    (tmp_path / "snapshot/CLS/test/0000.parquet").write_bytes(parquet(whole))
    (tmp_path / "snapshot/CLS/train/0000.parquet").write_bytes(
        parquet({name: column[:5_997] for name, column in whole.items()})
    )
    ref = sources.load(only("cls-merged")).ref
    assert len(ref.deviations) == 1 and not ref.canonical  # all rows are there, and still nobody pinned it


@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        (REVIEW.replace("<rating>{rating}</rating>", ""), r"train\.review: item 1 has no rating"),
        (REVIEW.replace("<text>{text}</text>", ""), r"train\.review: item 1 has no text"),
        (REVIEW + REVIEW[:80], r"train\.review breaks off in the middle of an item"),
    ],
)
def test_broken_reviews(tmp_path: Path, reviews: str, message: str) -> None:
    folder = cls_folder(tmp_path, reviews.format(rating="5.0", text="Bon.", title="t"))
    with pytest.raises(DataError, match=message):
        sources.load(only("cls-dvd"), data_dir=folder, offline=True)
    file = folder / "cls-acl10-unprocessed/fr/dvd/train.review"
    file.write_bytes("été".encode("latin1"))
    with pytest.raises(DataError, match=r"train\.review, line 1: byte 0xe9 is not UTF-8"):
        sources.load(only("cls-dvd"), data_dir=folder, offline=True)


SENTENCES = [
    "Marie|NPP|I-PER Dupont|NPP|I-PER vit|V|O à|P|O Lyon|NPP|I-LOC",
    "La|DET|O SNCF|NPP|I-ORG et|CC|O Air|NPP|I-ORG France|NPP|B-ORG ||PONCT|O",
    *(f"Le|DET|O train|NC|O n°|NC|O {i}|NUM|O quitte|V|O Lyon|NPP|I-LOC" for i in range(40)),
]


def test_wikiner_upstream(tmp_path: Path) -> None:
    (tmp_path / "aij-wikiner-fr-wp3.bz2").write_bytes(bz2.compress(("\n" + "\n\n".join(SENTENCES)).encode()))
    data = sources.load(only("wikiner"), data_dir=tmp_path, offline=True)
    assert data.ref.cut == ("test", "validation")
    assert data.ref.rows == {"train": 36, "validation": 2, "test": 4}
    assert not data.ref.canonical
    found = {example.words: example.tags for split in SPLITS for example in data.splits[split]}
    labels = only("wikiner").task.labels
    assert [labels[tag] for tag in found["Marie", "Dupont", "vit", "à", "Lyon"]] == ["PER", "PER", "O", "O", "LOC"]
    tags = [labels[tag] for tag in found["La", "SNCF", "et", "Air", "France", "|"]]
    assert tags == ["O", "ORG", "O", "ORG", "ORG", "O"]
    for bad in ("Marie|I-PER", "Marie|NPP|I-DIV"):
        (tmp_path / "aij-wikiner-fr-wp3.bz2").write_bytes(bz2.compress(f"{SENTENCES[0]}\n{bad}\n".encode()))
        with pytest.raises(DataError, match=r"wp3, line 2: 'Marie\|.*' is not word\|POS\|TAG with a known tag"):
            sources.load(only("wikiner"), data_dir=tmp_path, offline=True)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "labels", "digest"),
    [
        ("cls-books", {"train": 2, "validation": 2, "test": 3}, [1, 1, 0], "da9bbd1f68cccac8"),
        ("cls-dvd", {"train": 2, "validation": 2, "test": 4}, [0, 0, 0, 0], "3f65080a0848b66c"),
        ("cls-music", {"train": 3, "validation": 1, "test": 4}, [0, 0, 0, 1], "9dc9dd33753a182c"),
        ("paws-x", {"train": 4, "validation": 4, "test": 4}, [1, 0, 0, 1], "3710a631ee9ec3f5"),
        ("xnli", {"train": 4, "validation": 1, "test": 1}, [2], "2a273b36f862341d"),
    ],
)
def test_real_rows_in_the_upstream_layouts(
    shared: Path, name: str, rows: dict[str, int], labels: list[int], digest: str
) -> None:
    data = sources.load(only(name), data_dir=shared / "data/upstream_samples", offline=True)
    assert data.ref.rows == rows
    assert data.ref.digest == digest  # that of version 0.1: what is read is what was read
    assert not data.ref.canonical
    assert data.ref.source.startswith("archive:")
    names = sorted(archive.name for archive in only(name).task.source[-1].archives)
    assert sorted(data.ref.files) == names
    others = [said.partition(" ")[0] for said in data.ref.deviations if "is not the published archive" in said]
    assert sorted(others) == names
    assert [example.label for example in data.splits["test"]] == labels
    for example in (example for split in SPLITS for example in data.splits[split]):
        assert len(example.text) > 20
        assert not {"<", "\t", "\n"} & set(example.text + (example.text_pair or ""))
