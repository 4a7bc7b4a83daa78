"""Tasks beside FLUE: each loads generated rows in the real layout of its files, as ``--data-dir`` has them."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest

from flue_bench.data import registry, sources
from flue_bench.errors import DataError
from flue_bench.task import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TEXTS = ["Une élève répare le vélo.", "Il pleut, dit-elle.", "L'été fut « très » long."]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_BENCH_CACHE", str(tmp_path / "cache"))


def load(name: str, folder: Path) -> Any:
    (chosen,) = registry.select([name])
    return sources.load(chosen, data_dir=folder, offline=True)


def parquet(path: Path, rows: list[dict[str, Any]], names: dict[str, list[str]] | None = None) -> None:
    """Write a file as ``datasets`` does: numbers of labels, and their names in the metadata."""
    table = pyarrow.Table.from_pylist(rows)
    features = {column: {"names": of, "_type": "ClassLabel"} for column, of in (names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_groups() -> None:
    def names(group: str) -> set[str]:
        return {each.task.name for each in registry.select([group])}

    assert names("similarity") == {"stsb-fr", "sick-fr"}
    assert names("ner") == {"wikiner", "french-ner"}
    assert names("flue") == {"cls-books", "cls-dvd", "cls-music", "paws-x", "xnli", "wikiner"}
    assert names("flue-open") == {"allocine", "flue-vsd", "paws-x", "wikiner", "xnli"}
    assert names("pos") == {"ud-gsd", "ud-partut", "ud-rhapsodie", "ud-sequoia"}
    assert names("qa") == {"piaf", "fquad", "fquad2"}
    # All open ones but our own and cls-merged, which has the rows of CLS in another cut, and a copy that may be gone.
    found = {n: each for n, each in registry.registered().items() if each.file.parent.name == "flue_tasks"}
    public = {n for n in found if not n.startswith("mini-")}
    assert names("french") == {n for n in public if found[n].open} - {"cls-merged"}
    assert public - names("french") == {"cls-books", "cls-dvd", "cls-music", "cls-merged", "fquad"}


def test_what_is_called_open_is() -> None:
    """Every task of these groups, and every generated one; CLS is the only one that is given on request."""
    for group in ("flue-open", "french", "similarity", "ner", "mini", "mini-kinds"):
        chosen = registry.select([group])
        assert all(each.open for each in chosen), group
        assert {each.task.name for each in chosen if each.moves} <= {"piaf", "fquad2"}  # PIAF's commit is nowhere named
    assert {each.task.name for each in registry.select(["flue"]) if not each.open} == set(registry.members("cls"))
    (merged,) = registry.select(["cls-merged"])
    assert merged.open and merged.moves  # the hub's own copy, on a branch


def test_a_task_is_as_open_as_the_one_it_is_trained_on(tmp_path: Path) -> None:
    text = """
name = "{name}"
kind = "sentence"
labels = ["non", "oui"]
metric = "f1_macro"
{more}
[[source]]
hub = "personne/{name}"
revision = "{revision}"
files = {{ {split} = "x.tsv" }}
"""
    request = 'access = "Ask for it."\n'
    first = text.format(name="un", more="", revision="main", split="train") + request
    (tmp_path / "un.toml").write_text(first, encoding="utf-8")
    second = text.format(name="deux", more='train_from = "un"', revision="0" * 40, split="test")
    (tmp_path / "deux.toml").write_text(second, encoding="utf-8")
    one, two = (each for name in ("un", "deux") for each in registry.select([tmp_path / f"{name}.toml"]))
    assert not one.open and not two.open
    (tmp_path / "un.toml").write_text(first.removesuffix(request), encoding="utf-8")
    one, two = (each for name in ("un", "deux") for each in registry.select([tmp_path / f"{name}.toml"]))
    assert one.open and one.moves and two.open


PUBLIC = sorted(
    name
    for name, each in registry.registered().items()
    if each.file.parent.name == "flue_tasks" and not name.startswith("mini-")
)
UNPINNED = {"fquad", "flue-vsd", "piaf"}
"""What is asked for, an archive without a published hash, a repository whose commit nobody states that we know of."""


@pytest.mark.parametrize("name", PUBLIC)
def test_every_task_is_pinned_and_cited(name: str) -> None:
    (chosen,) = registry.select([name])
    task = chosen.task
    assert task.citation and task.licence and task.notes and task.homepage.startswith("http")
    assert task.rows or "rows" in task.notes or task.train_from or name in UNPINNED
    first = task.source[0]
    by_hash = bool(first.archives) and all(archive.sha256 and archive.size for archive in first.archives)
    by_tag = bool(first.archives) and all("/archive/r2.16/" in archive.url for archive in first.archives)
    assert ((first.hub and first.pinned) or by_hash or by_tag) == (name not in UNPINNED)


def test_allocine(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"review": f"{text} {split}", "label": row % 2} for row, text in enumerate(TEXTS)]
        file = tmp_path / f"tblard/allocine/allocine/{split}-00000-of-00001.parquet"
        parquet(file, rows, {"label": ["neg", "pos"]})
    data = load("allocine", tmp_path)
    assert [(each.text, each.label) for each in data.splits["test"]] == [
        (f"{text} test", row % 2) for row, text in enumerate(TEXTS)
    ]
    assert data.hints == () and not data.ref.canonical
    parquet(file, rows, {"label": ["pos", "neg"]})  # were it the other way round, it would be said
    with pytest.raises(DataError, match="its numbers stand for pos, neg"):
        load("allocine", tmp_path)


def test_massive_intent(tmp_path: Path) -> None:
    intents = ["alarm_set", "datetime_query", "lists_query"]
    for split in SPLITS:
        rows = [
            {"id": str(row), "label": intent, "label_text": intent, "text": f"{text} {split}", "lang": "fr"}
            for row, (intent, text) in enumerate(zip(intents, TEXTS, strict=True))
        ]
        file = tmp_path / f"mteb/amazon_massive_intent/{split}/fr.json.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    data = load("massive-intent", tmp_path)
    (chosen,) = registry.select(["massive-intent"])
    assert len(chosen.task.labels) == 60
    found = [(each.id, each.text, chosen.task.labels[each.label]) for each in data.splits["train"]]
    assert found == [(str(row), f"{text} train", intents[row]) for row, text in enumerate(TEXTS)]


REQUESTS = [
    ("12", "test", "réveille-moi à [time : cinq heures] [date : demain]", "O O time time date"),
    ("3", "train", "éteins [device_type : la lampe] s'il te plaît", "O device_type device_type O O O"),
    ("4", "train", "[house_place : salon] [house_place : cuisine] lumières", "house_place house_place O"),
    ("5", "dev", "bonjour , à [date : demain]", "O O O date"),
    ("6", "train", "mets l'[song_name : hymne] , vite", "O O O O"),
]
"""Id, partition, annotated text, and the tag of each word; the last begins outside its slot."""


def massive(form: str, folder: Path, requests: list[tuple[str, ...]]) -> None:
    """Write requests as MASSIVE 1.1 has them: the archive of all languages, or the hub's parquet copy."""
    rows = []
    for row, (key, partition, marked, _) in enumerate(requests):
        plain = re.sub(r"\[\w+ : ([^\]]*)\]", r"\1", marked)
        rows.append(
            {"id": key, "locale": "fr-FR", "partition": partition, "scenario": "iot", "intent": "iot_hue_lighton"}
            | {"utt": plain, "annot_utt": marked, "worker_id": str(row)}
            | {"slot_method": [{"slot": "time", "method": "translation"}]}
            | {"judgments": [{"worker_id": "1", "intent_score": 1, "slots_score": 1, "grammar_score": 4}]}
        )
    if form == "archive":
        packed = folder / "amazon-massive-dataset-1.1.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            for locale in ("fr-FR", "de-DE"):
                other = [row | {"annot_utt": "[nicht : so"} for row in rows]
                lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in (rows if locale == "fr-FR" else other))
                member = tarfile.TarInfo(f"1.1/data/{locale}.jsonl")
                member.size = len(lines.encode())
                archive.addfile(member, io.BytesIO(lines.encode()))
        return
    for split, partition in zip(SPLITS, ("train", "dev", "test"), strict=True):
        part = [row | {"intent": 2, "scenario": 7} for row in rows if row["partition"] == partition]
        names = {"intent": ["a", "b", "iot_hue_lighton"]}
        parquet(folder / f"AmazonScience/massive/fr-FR/{split}/0000.parquet", part, names)


def test_massive_slots(tmp_path: Path) -> None:
    """Both forms give the same examples; a word is in the slot in which it begins."""
    (chosen,) = registry.select(["massive-slots"])
    digests = set()
    for form in ("archive", "hub"):
        (tmp_path / form).mkdir()
        massive(form, tmp_path / form, REQUESTS)
        data = load("massive-slots", tmp_path / form)
        digests.add(data.ref.digest)
        found = {each.id: each for split in SPLITS for each in data.splits[split]}
        for key, _, marked, tags in REQUESTS:
            words = re.sub(r"\[\w+ : ([^\]]*)\]", r"\1", marked).split()
            assert list(found[key].words) == words
            assert " ".join(chosen.task.labels[tag] for tag in found[key].tags) == tags
        assert [each.id for each in data.splits["train"]] == ["3", "4", "6"]
    assert len(digests) == 1
    assert len(chosen.task.labels) == 56 and len(set(chosen.task.labels)) == 56  # the authors count 55 types


@pytest.mark.parametrize("form", ["archive", "hub"])
@pytest.mark.parametrize(
    ("marked", "said"),
    [
        ("éteins [device_type : la lampe", "a bracket of its annot_utt is no mark of a slot"),
        ("éteins la lampe]", "a bracket of its annot_utt is no mark of a slot"),
        ("éteins [la lampe]", "a bracket of its annot_utt is no mark of a slot"),
        ("éteins [lampe : la lampe]", "'lampe' is not a slot of task 'massive-slots'"),
    ],
)
def test_marks_that_are_none(form: str, marked: str, said: str, tmp_path: Path) -> None:
    massive(form, tmp_path, [*REQUESTS, ("9", "train", marked, "")])
    place = "fr-FR.jsonl, line 6" if form == "archive" else "0000.parquet, row 4"
    with pytest.raises(DataError, match=re.escape(f"{place}: {said}")):
        load("massive-slots", tmp_path)


@pytest.mark.parametrize("where", ["default", "data"])
def test_french_ner(where: str, tmp_path: Path) -> None:
    """The hub's own copy, or the authors' files, whose tags are numbers without names."""
    for split in SPLITS:
        rows = [
            {"tokens": ["Ada", "vit", "à", "Lyon", split], "ner_tags": [1, 0, 0, 3, 0], "dataset": "wikiner"},
            {"tokens": ["La", "SNCF", "et", "Tintin", split], "ner_tags": [0, 2, 0, 4, 0], "dataset": "multinerd"},
        ]
        name = f"default/{split}/0000.parquet" if where == "default" else f"data/{split}-00000-of-00001.parquet"
        file = tmp_path / "CATIE-AQ/frenchNER_4entities" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pyarrow.Table.from_pylist(rows), file)
    data = load("french-ner", tmp_path)
    (chosen,) = registry.select(["french-ner"])
    tags = [[chosen.task.labels[tag] for tag in each.tags] for each in data.splits["test"]]
    assert tags == [["PER", "O", "O", "LOC", "O"], ["O", "ORG", "O", "MISC", "O"]]
    moved = [said for said in data.ref.deviations if "unpinned revision main of CATIE-AQ/frenchNER_4entities" in said]
    assert len(moved) == (where == "data")


def test_stsb_fr(tmp_path: Path) -> None:
    """Its scores are 32-bit floats."""
    for name in "train", "dev", "test":
        rows = {
            "sentence1": TEXTS,
            "sentence2": TEXTS[::-1],
            "similarity_score": pyarrow.array([0.0, 3.8, 5.0], pyarrow.float32()),
        }
        file = tmp_path / f"PhilipMay/stsb_multi_mt/fr/{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pyarrow.table(rows), file)
    data = load("stsb-fr", tmp_path)
    assert [(each.text, each.text_pair) for each in data.splits["validation"]] == list(
        zip(TEXTS, TEXTS[::-1], strict=True)
    )
    assert [each.value for each in data.splits["test"]] == pytest.approx([0.0, 3.8, 5.0])


def test_sick_fr(tmp_path: Path) -> None:
    """A CSV with the numbers of its rows in a first column without a name."""
    folder = tmp_path / "Lajavaness/SICK-fr"
    folder.mkdir(parents=True)
    for split in SPLITS:
        lines = [",sentence_A,sentence_B,relatedness_score"]
        for row, (text, score) in enumerate(zip(TEXTS, (1.0, 3.7, 5), strict=True)):
            lines.append(f'{row},"{text}","{TEXTS[-row]}",{score}')
        (folder / f"sick_{split}_fr.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = load("sick-fr", tmp_path)
    assert [(each.text, each.text_pair, each.value) for each in data.splits["train"]] == [
        (TEXTS[0], TEXTS[0], 1.0),
        (TEXTS[1], TEXTS[2], 3.7),
        (TEXTS[2], TEXTS[1], 5.0),
    ]
    (folder / "sick_test_fr.csv").write_text(lines[0] + "\n0,a,b,0.5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds 0\.5, and the task's numbers are from 1 to 5"):
        load("sick-fr", tmp_path)


def test_sick_nli_fr(tmp_path: Path) -> None:
    """A TSV with the columns of SICK; its labels are in capitals."""
    folder = tmp_path / "maximoss/sick-fr-mt"
    folder.mkdir(parents=True)
    header = ["pair_ID", "sentence_A", "sentence_B", "entailment_label", "relatedness_score"]
    for split in "train", "dev", "test":
        rows = [
            [str(10 + row), text, TEXTS[-row], label, "3.7"]
            for row, (text, label) in enumerate(zip(TEXTS, ("NEUTRAL", "ENTAILMENT", "CONTRADICTION"), strict=True))
        ]
        content = "\n".join("\t".join(cells) for cells in [header, *rows]) + "\n"
        (folder / f"SICK_{split}_fr_mt.tsv").write_text(content, encoding="utf-8")
    data = load("sick-nli-fr", tmp_path)
    assert [(each.id, each.text, each.text_pair, each.label) for each in data.splits["validation"]] == [
        ("10", TEXTS[0], TEXTS[0], 1),
        ("11", TEXTS[1], TEXTS[2], 0),
        ("12", TEXTS[2], TEXTS[1], 2),
    ]
    assert data.hints == () and [said for said in data.ref.deviations if "canonical is 4,439" in said]


def test_rte3_fr(tmp_path: Path) -> None:
    """Trained on XNLI; its own labels are numbers, with their names beside them."""
    names = ["entailment", "neutral", "contradiction"]
    for split in SPLITS:
        rows = [
            {"premise": f"{text} {split}", "hypothesis": TEXTS[-row], "label": row} for row, text in enumerate(TEXTS)
        ]
        parquet(tmp_path / f"facebook/xnli/fr/{split}-00000-of-00001.parquet", rows, {"label": names})
    folder = tmp_path / "maximoss/rte3-french"
    folder.mkdir(parents=True)
    lines = ["id\tlanguage\tpremise\thypothesis\tlabel\tlabel_text\ttask\tlength"]
    for row, text in enumerate(TEXTS):
        label = f"{2 - row}\t{names[2 - row]}"
        lines.append(f"{row + 1}\tfr\t{text}\t{TEXTS[-row]}\t{label}\tIE\tshort")
    (folder / "RTE3-FR-test-gold-3class.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = load("rte3-fr", tmp_path)
    assert [(each.text, each.label) for each in data.splits["test"]] == [
        (text, 2 - row) for row, text in enumerate(TEXTS)
    ]
    assert data.splits["train"][0].text == f"{TEXTS[0]} train" and "trained on" in data.ref.source


def test_gqnli_fr(tmp_path: Path) -> None:
    """Trained on XNLI; its table has the English texts too."""
    names = ["entailment", "neutral", "contradiction"]
    for split in SPLITS:
        rows = [
            {"premise": f"{text} {split}", "hypothesis": TEXTS[-row], "label": row} for row, text in enumerate(TEXTS)
        ]
        parquet(tmp_path / f"facebook/xnli/fr/{split}-00000-of-00001.parquet", rows, {"label": names})
    folder = tmp_path / "maximoss/gqnli-fr"
    folder.mkdir(parents=True)
    lines = ["uid\tpremise\thypothesis\tlabel\tlabel_text\tpremise_original\thypothesis_original"]
    lines += [f"{row}\t{text}\t{TEXTS[-row]}\t{row}\t{names[row]}\tA.\tB." for row, text in enumerate(TEXTS)]
    (folder / "gqnli.test.fr.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = load("gqnli-fr", tmp_path)
    assert [(each.id, each.text, each.text_pair, each.label) for each in data.splits["test"]] == [
        (str(row), text, TEXTS[-row], row) for row, text in enumerate(TEXTS)
    ]
    assert "trained on" in data.ref.source


@pytest.mark.shared
def test_rte3_fr_as_published(shared: Path, tmp_path: Path) -> None:
    """The labels that its numbers stand for are those of the column beside them; all 800 rows are read."""
    (chosen,) = registry.select(["rte3-fr"])
    file = shared / "data/rte3_fr/RTE3-FR-test-gold-3class.tsv"
    text = f"""
name = "rte3-alone"
kind = "sentence-pair"
labels = ["entailment", "neutral", "contradiction"]
metric = "f1_macro"
[[source]]
files = {{ train = "{file.name}", validation = "{file.name}", test = "{file.name}" }}
columns = {{ text = "premise", text_pair = "hypothesis", label = "%s" }}
"""
    read = []
    for column in "label", "label_text":
        (tmp_path / "t.toml").write_text(text % column, encoding="utf-8")
        data = sources.load(registry.load_file(tmp_path / "t.toml"), data_dir=file.parent, offline=True)
        read.append([each.label for each in data.splits["test"]])
    assert read[0] == read[1] and chosen.task.rows["test"] == (len(read[0]),) == (800,)


CONTEXT = "Le phare de Valmorin fut bâti en 1804. Un gardien l'a habité jusqu'en 1951."


def questions(split: str, articles: int = 40) -> list[dict[str, Any]]:
    """Rows as ``datasets`` writes SQuAD: four questions on each article, two on each of its texts."""
    answers = {"text": ["1804"], "answer_start": [CONTEXT.index("1804")]}
    return [
        {
            "id": f"{split}-{article}-{number}",
            "title": f"Phare {article}",
            "context": f"{CONTEXT} {article}, {number // 2}, {split}",
            "question": f"Quand {number} ?",
            "answers": answers,
        }
        for article in range(articles)
        for number in range(4)
    ]


def test_piaf_is_cut_by_article(tmp_path: Path) -> None:
    parquet(tmp_path / "AgentPublic/piaf/plain_text/train-00000-of-00001.parquet", questions("train"))
    data = load("piaf", tmp_path)
    assert data.ref.cut == ("test", "validation") and data.ref.rows == {"train": 116, "validation": 12, "test": 32}
    articles = {split: {each.id.split("-")[1] for each in data.splits[split]} for split in SPLITS}
    groups = {split: {each.group for each in data.splits[split]} for split in SPLITS}
    for kinds in articles, groups:
        assert sum(map(len, kinds.values())) == 40 == len(set().union(*kinds.values()))
    first = data.splits["train"][0]
    assert (first.answers, first.context[33:37]) == ((("1804", 33),), "1804")
    assert "unpinned revision main" in data.ref.deviations[0]


def test_fquad2(tmp_path: Path) -> None:
    """Trained on PIAF; only the files of questions with an answer are read."""
    parquet(tmp_path / "AgentPublic/piaf/plain_text/train-00000-of-00001.parquet", questions("train"))
    folder = tmp_path / "manu/fquad2_test/data"
    parquet(folder / "test_hasAns-00000-of-00001-4ba6abaa8b2e4d33.parquet", questions("test", 3))
    parquet(folder / "test-00000-of-00001-7afbf23107dc86df.parquet", questions("other", 5))
    data = load("fquad2", tmp_path)
    assert len(data.splits["test"]) == 12 and "trained on" in data.ref.source
    assert data.splits["test"][0].question == "Quand 0 ?"


def test_fquad(tmp_path: Path) -> None:
    """Files in the form of SQuAD 1.1, as one receives them; validation is cut by text."""
    for split, name in ("train", "train.json"), ("test", "valid.json"):
        articles: dict[str, dict[str, list[Any]]] = {}
        for row in questions(split):
            (text,), (start,) = row["answers"].values()
            asked = {"id": row["id"], "question": row["question"], "answers": [{"text": text, "answer_start": start}]}
            articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(asked)
        whole = [
            {"title": title, "paragraphs": [{"context": text, "qas": asked} for text, asked in texts.items()]}
            for title, texts in articles.items()
        ]
        (tmp_path / name).write_text(json.dumps({"version": "1.0", "data": whole}), encoding="utf-8")
    data = load("fquad", tmp_path)
    assert data.ref.cut == ("validation",) and data.ref.rows == {"train": 144, "validation": 16, "test": 160}
    assert not {each.group for each in data.splits["train"]} & {each.group for each in data.splits["validation"]}
    assert len({each.group for each in data.splits["test"]}) == 80  # two texts an article
    assert data.splits["test"][0].id == "test-0-0"
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Ask for FQuAD at .*D/train\.json and D/valid\.json"):
        load("fquad", empty)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "the whole has no 'data': it is not in the form of SQuAD"),
        ('{"data": {}}', "the whole: 'data' is no list"),
        ('{"data": [{"title": "t"}]}', "data[0] has no 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0] has no 'context'"),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]}',
            "data[0].paragraphs[0].qas[0] has no 'answers'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": [{"text": "c"}]}]}]}]}',
            "data[0].paragraphs[0].qas[0].answers[0] has no 'answer_start'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "is_impossible": true, "answers": '
            '[{"text": "c", "answer_start": 0}]}]}]}]}',
            "data[0].paragraphs[0].qas[0] has answers and is_impossible",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": [{"text": "d", '
            '"answer_start": 0}]}]}]}]}',
            "Reader squad, example 0 of train: the answer 'd' is nowhere in the context",
        ),
    ],
)
def test_a_file_that_is_not_in_the_form_of_squad(content: str, said: str, tmp_path: Path) -> None:
    for name in "train.json", "valid.json":
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load("fquad", tmp_path)
    assert said in str(caught.value)
