from __future__ import annotations

import bz2
import tarfile
from pathlib import Path

import pytest

from flue_bench.data import registry, sources
from flue_bench.data.registry import Registered
from flue_bench.errors import DataError, OfflineError
from flue_bench.task import SPLITS, Example

FLUE = ("cls-books", "cls-dvd", "cls-music", "paws-x", "wikiner", "xnli")
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
    assert task.title and task.licence and task.rows
    assert task.groups or task.name == "mini-pawsx"
    assert task.metric == ("entity_f1_micro" if task.kind == "tokens" else "f1_macro")
    assert {"standard", "quick"} <= set(task.recipe)
    assert task.named_recipe("quick").epochs < task.named_recipe("standard").epochs


@pytest.mark.parametrize("name", FLUE)
def test_every_task_of_flue_is_pinned_and_cited(name: str) -> None:
    task = only(name).task
    assert task.citation and task.homepage.startswith("https://")
    for declared in task.source:
        assert declared.hub or declared.archives
        assert declared.hub is None or (len(declared.revision or "") == 40 and int(declared.revision or "", 16))
        assert all(url.startswith("https://") for url in declared.archives)
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
        ("paws-x", {"train": 49_401, "validation": 2_000, "test": 2_000}),
        ("xnli", {"train": 392_702, "validation": 2_490, "test": 5_010}),
        ("wikiner", {"train": 120_682, "test": 13_410}),
    ],
)
def test_published_counts(name: str, rows: dict[str, int]) -> None:
    assert only(name).task.rows == rows


def test_the_three_categories_differ_where_they_must() -> None:
    books, dvd, music = (registry.registered()[f"cls-{category}"].task for category in ("books", "dvd", "music"))
    assert sum(task.rows["train"] for task in (books, dvd, music)) == 5_997  # as in the merged copy on the hub
    differing = {"name", "title", "rows", "source", "notes"}
    assert books.model_dump(exclude=differing) == dvd.model_dump(exclude=differing)
    assert books.model_dump(exclude=differing) == music.model_dump(exclude=differing)


@pytest.mark.parametrize("name", FLUE)
def test_without_network_the_message_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match=rf"No data for task '{name}'.*--data-dir"):
        sources.load(only(name), offline=True)


# The upstream formats


def cls_archive(folder: Path, train: str, test: str | None = None, head: str = "<items>") -> Path:
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
    data = sources.load(only("cls-dvd"), data_dir=cls_archive(tmp_path, reviews), offline=True)
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


@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        (REVIEW.replace("<rating>{rating}</rating>", ""), r"train\.review: item 1 has no rating"),
        (REVIEW.replace("<text>{text}</text>", ""), r"train\.review: item 1 has no text"),
        (REVIEW + REVIEW[:80], r"train\.review breaks off in the middle of an item"),
    ],
)
def test_broken_reviews(tmp_path: Path, reviews: str, message: str) -> None:
    folder = cls_archive(tmp_path, reviews.format(rating="5.0", text="Bon.", title="t"))
    with pytest.raises(DataError, match=message):
        sources.load(only("cls-dvd"), data_dir=folder, offline=True)
    file = folder / "cls-acl10-unprocessed/fr/dvd/train.review"
    file.write_bytes("été".encode("latin1"))
    with pytest.raises(DataError, match=r"train\.review is not UTF-8: .* at byte 0"):
        sources.load(only("cls-dvd"), data_dir=folder, offline=True)


SENTENCES = [
    "Marie|NPP|I-PER Dupont|NPP|I-PER vit|V|O à|P|O Lyon|NPP|I-LOC",
    "La|DET|O SNCF|NPP|I-ORG et|CC|O Air|NPP|I-ORG France|NPP|B-ORG ||PONCT|O",
    *(f"Le|DET|O train|NC|O n°|NC|O {i}|NUM|O part|V|O" for i in range(40)),
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
    ("name", "rows", "labels"),
    [
        ("cls-books", {"train": 2, "validation": 2, "test": 3}, [1, 1, 0]),
        ("cls-dvd", {"train": 2, "validation": 2, "test": 4}, [0, 0, 0, 0]),
        ("cls-music", {"train": 3, "validation": 1, "test": 4}, [0, 0, 0, 1]),
        ("paws-x", {"train": 4, "validation": 4, "test": 4}, [1, 0, 0, 1]),
        ("xnli", {"train": 4, "validation": 1, "test": 1}, [2]),
    ],
)
def test_real_rows_in_the_upstream_layouts(shared: Path, name: str, rows: dict[str, int], labels: list[int]) -> None:
    data = sources.load(only(name), data_dir=shared / "data/upstream_samples", offline=True)
    assert data.ref.rows == rows
    assert not data.ref.canonical
    assert data.ref.source.startswith("archive:")
    assert sorted(data.ref.files) == sorted(url.rsplit("/", 1)[-1] for url in only(name).task.source[-1].archives)
    assert [example.label for example in data.splits["test"]] == labels
    for example in (example for split in SPLITS for example in data.splits[split]):
        assert len(example.text) > 20
        assert not {"<", "\t", "\n"} & set(example.text + (example.text_pair or ""))
