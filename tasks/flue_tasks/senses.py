"""Reader of corpora whose words have senses, in the format of Raganato, Camacho-Collados and Navigli (2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from flue_bench.errors import DataError, quoted
from flue_bench.lines import lines
from flue_bench.task import Example, Split, Task

WORDS, GOLD = ".data.xml", ".gold.key.txt"
SENTENCE, WORD, INSTANCE = "sentence", "wf", "instance"
"""Elements of the XML: a sentence, a word of it, and a word that has senses."""
POS = "V"
CHUNK = 2**16
"""Bytes of XML parsed at a time."""
LONGEST = 10_000
"""Words of a sentence; a file whose sentences do not end is no corpus."""


@dataclass(frozen=True, slots=True)
class Occurrence(Example):
    """A word of a sentence, the position of which is ``target``, its lemma, and its senses."""

    target: int = 0
    lemma: str = ""
    senses: tuple[str, ...] = ()


def french_semeval(folder: Path, split: Split, task: Task) -> Iterator[Occurrence]:
    """Yield the verbs of a split of FrenchSemEval, one example a verb: ``X.data.xml`` with ``X.gold.key.txt``.

    As in FLUE's scripts (getalp/Flaubert, ``flue/wsd/verbs``), a form of several words is cut at its blanks, and its
    last part is the word that is asked for. Words other than verbs, which the training examples have too, are left out.

    Raises:
        DataError: a file is damaged, its gold is missing or lacks a verb, or a word has no form or lemma.
    """
    source = next(source for source in task.source if source.reader == "french-semeval")
    if split not in source.files:
        return
    for path in sorted(folder.glob(source.files[split].path)):
        if path.name.endswith(WORDS):
            senses = _senses(path.with_name(path.name.removesuffix(WORDS) + GOLD))
            yield from _occurrences(path, senses)


def _senses(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the senses of each instance: a line has its id, then their names."""
    if not path.is_file():
        raise DataError(f"{path} is missing: it says which senses the words beside it have.")
    found: dict[str, tuple[str, ...]] = {}
    for number, line in lines(path):
        name, *senses = line.split() or [""]
        if name and (not senses or name in found):
            raise DataError(f"{path}, line {number}: '{name}' {'is there twice' if senses else 'has no sense'}.")
        if name:
            found[name] = tuple(dict.fromkeys(senses))
    return found


def _occurrences(path: Path, senses: dict[str, tuple[str, ...]]) -> Iterator[Occurrence]:
    for words, instances in _sentences(path):
        forms: list[str] = []
        ends = []
        for word in words:
            forms += word.split(" ")
            ends.append(len(forms) - 1)
        for place, name, lemma in instances:
            if name not in senses:
                raise DataError(f"{path}: the instance {quoted(name)} has no line in the file of its senses.")
            yield Occurrence(name, "", words=tuple(forms), target=ends[place], lemma=lemma, senses=senses[name])


Instance = tuple[int, str, str]
"""The number of a word in its sentence, its id, and its lemma."""


def _sentences(path: Path) -> Iterator[tuple[list[str], list[Instance]]]:
    """Yield the words of each sentence, and which of them are instances; the file is read in parts."""
    done: list[tuple[list[str], list[Instance]]] = []
    words: list[str] = []
    instances: list[Instance] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def fault(what: str) -> DataError:
        return DataError(f"{path}, line {parser.CurrentLineNumber}: {what}.")

    def started(tag: str, given: dict[str, str]) -> None:
        if tag == SENTENCE:
            words.clear()
            instances.clear()
        elif tag in (WORD, INSTANCE):
            if len(words) >= LONGEST:
                raise fault(f"a sentence of more than {LONGEST:,} words")
            if tag == INSTANCE and given.get("pos") == POS:
                if not given.get("id") or not given.get("lemma"):
                    raise fault("an instance without 'id' or 'lemma'")
                instances.append((len(words), given["id"], given["lemma"]))
            words.append("")
            parser.CharacterDataHandler = said

    def said(text: str) -> None:
        words[-1] += text

    def ended(tag: str) -> None:
        parser.CharacterDataHandler = None
        if tag in (WORD, INSTANCE) and not words[-1].strip():
            raise fault("a word without a form")
        if tag == SENTENCE:
            done.append((list(words), list(instances)))

    def refused(*_: object) -> None:
        raise fault("a document type, which such a corpus does not have: refused")

    parser.StartElementHandler, parser.EndElementHandler = started, ended
    parser.StartDoctypeDeclHandler = refused
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                parser.Parse(chunk, False)
                yield from done
                done.clear()
            parser.Parse(b"", True)
        yield from done
    except expat.ExpatError as error:
        raise DataError(f"{path} is not well-formed XML: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
