"""Small inputs after public reports of tools that read data wrongly without a word; what each does here.

``results/robustness/public-reports.md`` is the list with a verdict for each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_bench.data import registry, sources
from flue_bench.errors import FlueBenchError
from support import ROOT

SENTENCE = 'kind = "sentence"\nlabels = ["non", "oui"]\nmetric = "f1_macro"'
NER = 'kind = "tokens"\nlabels = ["O", "B-PER", "I-PER"]\nscheme = "IOB2"\nmetric = "entity_f1_micro"'
IOBES = NER.replace("IOB2", "IOBES").replace('"I-PER"', '"I-PER", "E-PER", "S-PER"')


class Report(NamedTuple):
    """An input, and what is read (as ``shown`` says it) or told: a pattern."""

    file: str
    content: str
    outcome: str
    task: str = SENTENCE
    source: str = ""


REPORTS = {
    "huggingface/datasets#4467": Report("a.csv", "text,label\nnull,oui\nNA,non\n", r"^null/1, NA/0$"),
    "googledatalab/pydatalab#398": Report(
        "a.csv", "text,label\na,NA\nb,oui\n", r"^a/0, b/1$", SENTENCE.replace("non", "NA")
    ),
    "pandas-dev/pandas#25228": Report(
        "a.tsv", 'text\tlabel\nDit "oui.\toui\nb\tnon\n"c\toui\n', r'^Dit "oui\./1, b/0, "c/1$'
    ),
    "apple/turicreate#1692": Report("a.csv", 'text,label\n"a",oui\n"b,non\nc,oui\n', r"a\.csv, line 4: not CSV"),
    "wireservice/csvkit#433": Report(
        "a.csv",
        'id,text,label\n1,a,oui\n2,"b,non\n3,c,oui\n4,d",non\n5,e,oui\n',
        r"hint: a\.csv: 1 quoted fields hold whole rows .*quoting = false",
    ),
    "google-research-datasets/wit#3": Report(
        "a.tsv", 'text\tlabel\n"a\nb"\toui\nc\tnon\n', r"line 2 has 1 columns.*quoting = true in the source"
    ),
    "apache/arrow#46853": Report(
        "a.csv", "text,label\na,001\nb,1\n", r"^a/1, b/0$", SENTENCE.replace('"non", "oui"', '"1", "001"')
    ),
    "huggingface/datasets#3729": Report(
        "a.tsv", "text\tlabel\na\u2029b\u2028c\toui\nd\tnon\n", "^a\u2029b\u2028c/1, d/0$"
    ),
    "huggingface/datasets#622": Report("a.tsv", "text\tlabel\na\rb\toui\nd\tnon\n", "^a\rb/1, d/0$"),
    "huggingface/datasets#7059": Report(
        "a.jsonl", '{"words": ["a", "b"], "tags": [null, "O"]}\n', r"line 1: the label is empty: None", NER
    ),
    "iuccio/csvToJson#10": Report(
        "a.csv",
        "text,label\nSyst\ufffdme digestif,oui\nm\ufffdtabolisme,non\n",
        r"hint: train: 2 of 2 texts hold \ufffd",
    ),
    "glottolog/glottolog-legacy#79": Report(
        "a.csv", "text,label\nÃ©tÃ©,oui\nlâ€™hiver,non\n", r"hint: train: 2 of 2 texts hold UTF-8 that was read as"
    ),
    "chakki-works/seqeval#23": Report(
        "a.conll", "Marie I-PER\nDurand I-PER\ndort O\n", r'begin with I-; IOB1 fits all\. Say `scheme = "IOB1"`', NER
    ),
    "webanno/webanno#1617": Report(
        "a.conll",
        "Marie I-PER\nDurand I-PER\nLéa B-PER\ndort O\n",
        r"^Marie Durand Léa dort/I-PER I-PER B-PER O$",
        NER.replace("IOB2", "IOB1"),
    ),
    "spyysalo/conlleval.py#1": Report(
        "a.conll",
        "North B-PER\nAfrican E-PER\nGrand B-PER\nPrix E-PER\ngagné O\n",
        r"^North African Grand Prix gagné/B-PER I-PER B-PER I-PER O$",
        IOBES,
    ),
    "chakki-works/seqeval#67": Report(
        "a.conll",
        "a B\nb I\nc O\n",
        r"labels: 'B' has no type: call it 'B-X'",
        NER.replace('"B-PER", "I-PER"', '"B", "I"'),
    ),
    "kamalkraj/BERT-NER#90": Report(
        "a.conll", "Marie U-PER\n", r"scheme: 'BILUO' is called BILOU here", NER.replace("IOB2", "BILUO")
    ),
    "CODAIT/Identifying-Incorrect-Labels-In-CoNLL-2003#33": Report(
        "a.conll", "X -X- _ B-PER\n- : 0 0\n", r"label '0', but 'B-PER' before it is a name", NER
    ),
    "HumanSignal/label-studio#1250": Report(
        "a.conll",
        "-DOCSTART- -X- O\nLa_voiture_roule -X- _ B-PER\n\nAutre -X- _ I-PER\n\nRien -X- _ O\n\n",
        r"hint: train: each of 3 sentences is a single word",
        NER,
    ),
    "doccano/doccano#7": Report(
        "a.conll",
        "".join(
            f"{c} {'B-PER' if i == 0 else 'I-PER' if i < 5 else 'O'}\n" for i, c in enumerate("Mariedortsouventici" * 2)
        ),
        r"hint: train: all words are single characters",
        NER,
    ),
    "doccano/doccano#2264": Report(
        "a.jsonl",
        '{"text": "De\\u0301partement", "label": [[0, 11, "org"]]}\n',
        r"spans of characters, as doccano",
        NER,
    ),
    "flairNLP/flair#3034": Report("a.conll", "Marie B-PER\nva O\n\t O\nici O\n", r"line 3 has 1 column", NER),
    "flairNLP/flair#3306": Report(
        "a.conll",
        "Bonjour O\n\nMoi O\nJohn NAME\n",
        r"^Bonjour/O, Moi John/O NAME$",
        NER.replace('"B-PER", "I-PER"', '"NAME"').replace("IOB2", "IO"),
    ),
    "flairNLP/flair#3194": Report(
        "a.txt", "1\tMarie\tB-PER\n2\tdort\tO\n\n1\tIl\tO\n2\trit\tO\n", r"the words are their own numbers, 1, 2", NER
    ),
    "flairNLP/flair#1980": Report(
        "a.conllu",
        "1\tIl\tO\n2-3\tdu\t_\n2\tde\tO\n3\tle\tO\n3.1\tx\t_\n4\tLéa\tB-PER\n",
        r"^Il de le Léa/O O O B-PER$",
        NER,
        "columns = { words = 1, tags = 2 }",
    ),
    "EmilStenstrom/conllu#54": Report(
        "a.conll", "Marie\tB-PER\ndort\tO\n\t\nLéa\tB-PER\n", r"^Marie dort/B-PER O, Léa/B-PER$", NER
    ),
    "dkpro/dkpro-core#1164": Report(
        "a.conllu", "1\t_\tB-PER\n2\t_\tO\n", r"2 of 2 words are '_'", NER, "columns = { words = 1, tags = 2 }"
    ),
    "Hironsan/anago#49": Report(
        "*.conll", "Marie B-PER\ndort O\n", r"hint: train does not have the label I-PER, .*\(1 in test\)", NER
    ),
}


def told(folder: Path, report: Report) -> str:
    """What is read from an input, with its hints, or the message."""
    names = dict.fromkeys(("train", "validation", "test"), report.file)
    if report.file.startswith("*"):  # the test split is another file, with one row more
        names["train"], names["validation"], names["test"] = "a.conll", "a.conll", "b.conll"
        (folder / "b.conll").write_text(f"{report.content}\nb B-PER\nc I-PER\n", encoding="utf-8")
    (folder / names["train"]).write_text(report.content, encoding="utf-8", newline="")
    files = ", ".join(f'{split} = "{name}"' for split, name in names.items())
    text = f'name = "essai"\n{report.task}\n[[source]]\nfiles = {{ {files} }}\n{report.source}\n'
    (folder / "essai.toml").write_text(text, encoding="utf-8")
    try:
        found = registry.load_file(folder / "essai.toml")
        data = sources.load(found, offline=True)
    except FlueBenchError as error:
        return str(error)
    labels = found.task.labels
    rows = [
        f"{' '.join(e.words)}/{' '.join(labels[tag] for tag in e.tags)}" if e.words else f"{e.text}/{e.label}"
        for e in data.splits["train"]
    ]
    hints = [f"hint: {hint}" for hint in data.hints if not hint.startswith("no split has")]
    return "; ".join([", ".join(rows), *hints])


@pytest.mark.parametrize(("name", "report"), REPORTS.items())
def test_what_others_have_met(tmp_path: Path, name: str, report: Report) -> None:
    said = told(tmp_path, report)
    assert re.search(report.outcome, said, re.DOTALL), said


def test_the_list_of_reports_holds_those_that_are_tested() -> None:
    listed = (ROOT / "results/robustness/public-reports.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| ([\w.-]+/[\w.-]+#\d+) \|", listed, re.MULTILINE)) == set(REPORTS)


# What these reports led to, beyond their own inputs.

CELL = st.text(st.sampled_from("abé ,.;!"), min_size=1, max_size=8)


@given(rows=st.lists(st.tuples(CELL, st.sampled_from(["oui", "non"])), min_size=8, max_size=12), data=st.data())
def test_a_quote_left_open_is_told_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(rows) - 4))
    last = data.draw(st.integers(first + 1, first + 2))
    lines = [[str(i), text.replace(",", ""), label] for i, (text, label) in enumerate(rows)]
    lines[first][1] = '"' + lines[first][1]
    lines[last][1] += '"'
    folder = tmp_path_factory.mktemp("quotes")
    content = "id,text,label\n" + "\n".join(",".join(line) for line in lines) + "\n"
    said = told(folder, Report("a.csv", content, ""))
    kept = [line[2] for i, line in enumerate(lines) if not first <= i < last]
    if lines[first][2] in kept:
        assert "quoted fields hold whole rows" in said or "not CSV" in said, (said, content)


@given(st.lists(st.text(st.sampled_from("aé ,\n.;!oui"), max_size=20), min_size=4, max_size=8, unique=True))
def test_line_breaks_in_quoted_texts_are_not_told(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv

    folder = tmp_path_factory.mktemp("breaks")
    with (folder / "b.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("id", "text", "label"), *((i, f"x{t}", "oui") for i, t in enumerate(texts))])
    said = told(folder, Report("a.csv", (folder / "b.csv").read_bytes().decode(), ""))
    inside = any(re.search(r",oui(\n|$)", text) for text in texts)
    assert inside or "whole rows" not in said


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (["été", "« Non », dit-il…", "Ça va ? Âge, Île, Ô", "fâché"], ""),
        (["Ã©tÃ©", "rien"], "1 of 2 texts hold UTF-8 that was read as Windows-1252"),
        (["l\ufffd\ufffdt\ufffd", "rien"], "1 of 2 texts hold \ufffd"),
        (["", "rien", "  "], "2 texts are empty"),
        (["Ã©tÃ©", *(f"texte {i}" for i in range(150))], ""),  # one in a hundred may be upstream's
    ],
)
def test_texts_that_were_damaged_before(tmp_path: Path, texts: list[str], hint: str) -> None:
    content = "".join(f'{{"text": "{text}", "label": "{("oui", "non")[i % 2]}"}}\n' for i, text in enumerate(texts))
    said = told(tmp_path, Report("a.jsonl", content, ""))
    assert (f"hint: train: {hint}" in said) if hint else ("hint" not in said), said
