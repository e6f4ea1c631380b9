"""What is said of a file: each sentence whole in one language, of the same things in both, and none is missing."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import aval.adapters
from aval.adapters.counts.sentences import SENTENCES, said
from aval.adapters.csv.mapping import load_mapping
from aval.adapters.declared import declared_said
from aval.adapters.french import Language, typeset
from aval.kernel.declared import DeclaredFault
from tests.typography import faults

SOURCES = [
    source
    for folder in ("counts", "csv", "edxl", "fhir", "hl7v2")
    for source in sorted((Path(aval.adapters.__path__[0]) / folder).glob("*.py"))
] + [Path(aval.adapters.__path__[0]) / "markup.py"]

RAISED = re.compile(
    r"\b(?:BadCell|TableFault|MarkupFault|Unreadable|RecordUnreadable|_refuse|_problem\(row,)\(?\s*\"([a-z][\w-]*)\""
    r"|\b(?:LineProblem|Problem)\([^,\n]+,\s*[^,\n]+,\s*\"([a-z][\w-]*)\""
    r"|\.wrong\([^,\n]+,\s*\"([a-z][\w-]*)\""
)
"""How the code names a fault."""


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_each_sentence_is_said_in_both_languages_of_the_same_things() -> None:
    for key, (french, english) in SENTENCES.items():
        assert fields(french) == fields(english), key


def test_the_french_is_set_as_french_and_the_english_as_english() -> None:
    for key, (french, english) in SENTENCES.items():
        assert not faults(re.sub(r"\{\w+\}", "x", typeset(french)), but="08:30"), key
        assert not re.search("[«»’\u00a0\u202f]", english.replace("node’s", "")), key


def test_each_fault_that_the_code_names_has_its_sentence() -> None:
    named = {key for source in SOURCES for pair in RAISED.findall(source.read_text(encoding="utf-8")) for key in pair}
    assert len(named) > 40
    assert not named - {""} - set(SENTENCES)


@pytest.mark.parametrize(
    ("text", "french", "english"),
    [
        (
            b"[columns]\nbeds = 'x'",
            "columns.beds : inconnu ; connus : unit, gender, ",
            "columns.beds: unknown; known are",
        ),
        (b"[format]\ndate = ['%d']", "format.date : champ inconnu", "format.date: unknown field"),
        (b"[columns.female]\nfree = 2", "columns : un texte est attendu", "columns: a text is expected"),
        (b"[columns\n", "TOML mal formé, ligne 1, colonne 9", "malformed TOML, line 1, column 9"),
        (b"\xff", "pas de l’UTF-8 à partir de l’octet 0", "not UTF-8 from byte 0 on"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_said_in_the_readers_language(
    text: bytes, french: str, english: str, tmp_path: Path
) -> None:
    path = tmp_path / "lits.toml"
    path.write_bytes(text)
    with pytest.raises(DeclaredFault) as raised:
        load_mapping(path)
    told = declared_said(raised.value).replace("\u00a0", " ").replace("\u202f", " ")
    assert told.startswith(f"{path} : {french}"), told
    assert declared_said(raised.value, Language.ENGLISH).startswith(f"{path}: {english}")


@pytest.mark.parametrize("key", sorted(key for key in SENTENCES if key.startswith(("fhir", "xml"))))
def test_no_word_of_another_language_is_put_into_a_sentence(key: str) -> None:
    """Parsers speak English: what they say is named, and never quoted."""
    french, english = SENTENCES[key]
    assert not fields(french) & {"problem", "error", "text"}
    assert said(key, Language.ENGLISH) != said(key) or french == english
