"""A command that was not written as it can be: said in French what is wrong with it, and never in click's English."""

from __future__ import annotations

import re

import pytest

from aval.adapters.cli import run
from aval.adapters.cli.exits import Exit


@pytest.mark.parametrize(
    ("words", "what", "why"),
    [
        ("node import csv", "il manque FILE", ""),
        ("node backup --config x", "il manque --to", ""),
        ("node import csv a b c", "de trop : b c", ""),
        ("find --nead", "l’option --nead n’existe pas", "Vouliez-vous dire « --need » ?"),
        ("node backup --to", "l’option --to veut une valeur", ""),
        ("node import csv a --dry-run=1", "l’option --dry-run ne prend pas de valeur", ""),
        (
            "find --age abc",
            "ce qui est donné pour --age ne convient pas",
            "Il faut un nombre entier, au moins 0, au plus",
        ),
        ("hl7 replay a --to b --speed -1", "ce qui est donné pour --speed", "Il faut un nombre, au moins 0"),
    ],
)
def test_a_fault_of_usage_is_said_in_french(
    words: str, what: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == Exit.USAGE
    told = capsys.readouterr().err.replace("\u00a0", " ").replace("\u202f", " ")
    assert told.startswith(f"Erreur : {what}"), told
    assert why in told
    assert not re.search(r"\b(missing|option requires|no such|invalid|unexpected|argument)\b", told.casefold()), told
