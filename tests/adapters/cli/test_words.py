"""What the command line says: the same keys in both languages, French typography, and no word that is not said."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from string import Formatter

import pytest

import aval.adapters.cli
from aval.adapters.cli.requests import MARKS, show
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import ALL_WORDS, nearest, say
from aval.adapters.french import typeset
from aval.kernel.reasons import Reason
from aval.v1 import request_pb2
from tests.typography import faults

DATE_TO_TYPE = r"2026-11-25"
"""Where a person is told how to type a date, it is not one that is read."""

SOURCES = sorted(Path(aval.adapters.cli.__path__[0]).glob("*.py"))


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_each_key_is_said_in_both_languages_of_the_same_things() -> None:
    for key, (french, english) in ALL_WORDS.items():
        assert french.strip(), key
        assert english.strip(), key
        assert fields(french) == fields(english), key


def test_french_is_set_as_french() -> None:
    for key, (french, _) in ALL_WORDS.items():
        text = typeset(french)
        assert not faults(text, but=DATE_TO_TYPE), key
        assert "'" not in text, key


def test_every_key_that_the_code_says_exists() -> None:
    said = set()
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        said |= set(re.findall(r"\bsay\(\s*\"([a-z][\w.-]*)\"", text))
        said |= set(re.findall(r"help=\"(opt\.[\w-]+)\"", text))
    assert said
    assert not said - set(ALL_WORDS)


def test_each_refusal_has_its_words() -> None:
    assert {f"reason.{reason.value}" for reason in Reason} <= set(ALL_WORDS)


def test_a_mistyped_word_is_answered_by_the_nearest() -> None:
    assert "smr-geriatrie" in nearest("smr-geriatri", ["smr-geriatrie", "usld"])
    assert nearest("xyz", ["smr-geriatrie", "usld"]) == ""


def test_each_mark_of_a_request_is_a_field_of_the_contract_and_has_its_words() -> None:
    fields = request_pb2.Request.DESCRIPTOR.fields_by_name
    for mark in MARKS:
        assert fields[mark].type == fields[mark].TYPE_BOOL
        assert f"request.mark.{mark}" in ALL_WORDS


def test_what_people_must_know_of_a_request_stands_below_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    show(Terminal(timedelta(seconds=1)), request_pb2.Request(reference="K7-3F9", unverified=True, set_back=True))
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[1:]] == [say("request.mark.unverified"), say("request.mark.set_back")]


def test_who_lost_a_bed_reads_what_else_fits(capsys: pytest.CaptureFixture[str]) -> None:
    unit = "establishments/540000023/units/U1"
    ask = request_pb2.Ask(unit=unit, alternatives=[unit, unit.replace("U1", "U2")])
    show(Terminal(timedelta(seconds=1)), request_pb2.Request(reference="K7-3F9", asks=[ask]))
    last = capsys.readouterr().out.splitlines()[-1].strip()
    assert last == say("request.alternatives", names="540000023/U1, 540000023/U2")
