"""What is said of settings and mappings that cannot be used: whole in one language, of each fault that is named."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from aval.adapters.cli import run
from aval.adapters.cli.exits import Exit
from aval.adapters.declared import FAULTS, declared_said
from aval.adapters.french import Language, typeset
from aval.kernel.declared import DeclaredFault
from tests.typography import faults

CHECKOUT = Path(__file__).parents[2]
SOURCES = [one for room in ("proto/aval", "node", "hub", "adapters") for one in (CHECKOUT / room).rglob("*.py")]

RAISED = re.compile(
    r"DeclaredFault\(\s*(?:[^,()]|\([^()]*\))+,\s*(?:f?\"[^\"]*\"|[\w.]+|\"\"\.join[^,]*),\s*\"([a-z][\w-]*)\"((?:\s*,\s*\w+=)?)"
)
"""How the code names a fault."""


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_each_fault_is_said_in_both_languages_of_the_same_things() -> None:
    for name, (french, english) in FAULTS.items():
        assert fields(french) == fields(english), name
        assert not faults(re.sub(r"\{\w+\}|\btrue\b|\bfalse\b", "x", typeset(french))), name
        assert not re.search("[«»’\u00a0\u202f]", english), name


def test_each_fault_that_the_code_names_has_its_sentence() -> None:
    named = {one[0] for source in SOURCES for one in RAISED.findall(source.read_text(encoding="utf-8"))}
    assert len(named) > 25, named
    decoded = {"field", "absent", "word", "type", *(name for name in FAULTS if name.startswith("type-"))}
    assert named | decoded == set(FAULTS)


NODE = 'territory = "t.internal"\nfiness = "540000023"\nidentity = "i"\ndatabase = "d"\n'
HUB = 'territory_file = "t"\nidentity = "i"\ndatabase = "d"\n'
HL7 = 'finess = "540000023"\nnode = "n"\nidentity = "i"\nsource = "s"\nmapping = "m"\nlisten = "0.0.0.0:2575"\n'


@pytest.mark.parametrize(
    ("server", "text", "said"),
    [
        ("node", NODE, "listen : il manque : ajoutez cette ligne"),
        ("node", NODE + "listen = 7401", "listen : un texte est attendu, entre guillemets"),
        ("node", NODE + 'listen = "7401"', "listen : « 7401 » : écrivez hôte:port"),
        ("node", NODE + "listen = ", "TOML mal formé, ligne 5, colonne 10"),
        ("hub", HUB + "roles = {anne = 'chef'}", "roles : « chef » n’est pas un des mots possibles"),
        ("hub", HUB + "replicas = 2", "replicas : champ inconnu"),
        ("hub", HUB.replace('"i"', "1"), "identity : un texte est attendu, entre guillemets"),
        ("hl7", HL7, "tls : absent : dites-le ; clear_text"),
        ("hl7", HL7 + "[limits]\nin_hand = 0", "limits.in_hand : plus de 0"),
        ("hl7", HL7 + "time_zone = 'Mars/Olympus'", "time_zone : « Mars/Olympus » n’est pas un fuseau"),
        ("fhir", 'identity = "i"\ncertificate = "c"', "dites l’un de hub et node"),
    ],
)
def test_a_server_that_does_not_start_says_in_french_what_to_mend(
    server: str, text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "reglages.toml"
    path.write_text(text, encoding="utf-8")
    assert run([server, "serve", "--config", str(path)]) != Exit.DONE
    told = capsys.readouterr().err.replace("\u00a0", " ").replace("\u202f", " ")
    assert f"{path} : {said}" in told, told
    assert not re.search(r"\b(expected|missing|invalid|unknown|must)\b", told.casefold()), told


def test_it_is_said_in_english_to_who_reads_english() -> None:
    fault = DeclaredFault("node.toml", "listen", "address", word="7401")
    assert declared_said(fault, Language.ENGLISH) == "node.toml: listen: “7401”: write host:port"
    assert str(fault) == "node.toml: listen: address {'word': '7401'}"
