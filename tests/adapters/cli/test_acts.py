"""The acts of UX §6 on requests, reservations and units, typed against real servers: what is said, and what is true."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aval.adapters.cli.exits import Exit
from tests.adapters.cli.pair import EHPAD, HOSPITAL, Shell, running_pair
from tests.waiting import until

NEED = ("--discipline", "smr-geriatrie", "--sex", "F", "--age", "84", "--date", "demain")
OWN = ("--context", EHPAD)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside two running houses."""
    with running_pair(tmp_path_factory.mktemp("pair") / "territory") as pair:
        yield Shell(pair)


TODAY = datetime.now(ZoneInfo("Europe/Paris")).date()
"""As the session begins: it may pass midnight."""


def in_days(days: int) -> str:
    """A day, as it is typed."""
    return f"{TODAY + timedelta(days=days):%Y-%m-%d}"


def asked(shell: Shell, unit: str) -> str:
    """A request that the house considers; its reference."""
    made = shell.json("request", "create", *NEED, "--ask", unit)
    assert made["asks"][0]["known"]["state"] == "STATE_ASKED"
    return str(made["reference"])


# ------------------------------------------------------------------------------------------------ telephone, details


def test_a_refusal_by_telephone_is_applied_by_the_policy_of_the_house(shell: Shell) -> None:
    reference = asked(shell, shell.declare(beds=1))
    bare = shell.run("request", "note", reference, EHPAD, "--verdict", "non", exit_code=Exit.USAGE)
    assert "REASON_REQUIRED" in bare.stderr
    assert len(bare.stderr.splitlines()) >= 2
    said = shell.said(
        "request", "note", reference, EHPAD, "--verdict", "non", "--reason", "cannot-isolate",
        "--answered-by", "cadre de nuit",
    )  # fmt: skip
    assert "refusé (isolement impossible)" in said
    assert "Par téléphone : non (isolement impossible), dit par cadre de nuit" in said
    assert "appliqué" in said
    assert shell.json("reservation", "show", reference, *OWN)["state"] == "STATE_DECLINED"


def test_a_yes_by_telephone_waits_for_the_house_which_settles_it(shell: Shell) -> None:
    reference = asked(shell, shell.declare(beds=1))
    noted = shell.said("request", "note", reference, EHPAD, "--verdict", "oui", "--answered-by", "cadre")
    assert "attend la maison" in noted
    shown = shell.said("reservation", "show", reference, *OWN)
    assert "Par téléphone : oui, dit par cadre" in shown
    neither = shell.run("reservation", "settle-note", reference, *OWN, exit_code=Exit.USAGE)
    assert "--apply" in neither.stderr
    dry = shell.json("reservation", "settle-note", reference, "--apply", "--dry-run", *OWN)
    assert dry["state"] == "STATE_ASKED"
    held = shell.json("reservation", "settle-note", reference, "--apply", *OWN)
    assert held["state"] == "STATE_HELD"
    again = shell.run("reservation", "settle-note", reference, "--apply", *OWN, exit_code=Exit.NOT_FOUND)
    assert "NOTE_NOT_FOUND" in again.stderr


def test_a_rejected_note_changes_nothing(shell: Shell) -> None:
    reference = asked(shell, shell.declare(beds=1))
    shell.run("request", "note", reference, EHPAD, "--verdict", "wait")
    left = shell.json("reservation", "settle-note", reference, "--reject", *OWN)
    assert left["state"] == "STATE_ASKED"
    assert left["notes"][0]["fate"] == "FATE_REJECTED"


def test_questions_are_asked_and_answered(shell: Shell) -> None:
    reference = asked(shell, shell.declare(beds=1))
    shell.run("reservation", "ask-details", reference, "--question", "weight", "--question", "wandering", *OWN)
    assert "Complément demandé : poids, déambulation ou agitation" in shell.said("request", "show", reference)
    unread = shell.run("request", "details", reference, EHPAD, "--answer", "weight=lourd", exit_code=Exit.USAGE)
    assert "weight=92" in unread.stderr
    typo = shell.run("request", "details", reference, EHPAD, "--answer", "wieght=92", exit_code=Exit.USAGE)
    assert "weight" in typo.stderr
    shell.run("request", "details", reference, EHPAD, "--answer", "weight=92", "--answer", "wandering=non")
    shown = shell.said("reservation", "show", reference, *OWN)
    assert "Complément donné : poids = 92, déambulation ou agitation = non" in shown
    assert "Complément demandé" not in shown


# --------------------------------------------------------------------------------------- dates, colleagues, waiting


def test_a_confirmed_arrival_is_moved_by_the_word_of_the_house(shell: Shell) -> None:
    unit = shell.declare(beds=2, answering="AUTOMATIC")
    made = shell.json("request", "create", *NEED, "--ask", f"{unit}:hold")
    reference = made["reference"]
    early = shell.run("request", "reschedule", reference, "--date", in_days(32), exit_code=Exit.CONFLICT)
    assert "NOT_IN_THIS_STATE" in early.stderr
    shell.run("request", "confirm", reference, "--yes")
    before = shell.json("reservation", "show", reference, *OWN)["arrival"]
    moved = shell.json("request", "reschedule", reference, "--date", f"{in_days(2)}T14:30")
    assert moved["state"] == "STATE_CONFIRMED"
    after = shell.json("reservation", "show", reference, *OWN)["arrival"]
    local = datetime.fromisoformat(f"{in_days(2)}T14:30").replace(tzinfo=ZoneInfo("Europe/Paris"))
    assert before != after == f"{local.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_a_need_is_said_anew_and_a_colleague_takes_over(shell: Shell) -> None:
    made = shell.json("request", "create", *NEED)
    reference = made["reference"]
    changed = shell.json("request", "update", reference, *NEED[:-1], in_days(3), "--need", "o2")
    assert changed["need"]["required"] == ["FEATURE_OXYGEN"]
    assert changed["need"]["arrivalLatest"].startswith(in_days(3))
    taken = shell.json("request", "take-over", reference, "--context", "cellule")
    assert taken["handler"]["actor"] != taken["requester"]["actor"]
    assert "Suivie par cellule." in shell.said("request", "show", reference)
    assert "Handled by cellule." in shell.said("request", "show", reference, english=True)


def test_a_number_of_another_tool_stays_with_the_request(shell: Shell) -> None:
    unit = shell.declare(beds=1)
    made = shell.json(
        "request", "create", *NEED, "--ask", unit, "--external", "viatrajectoire:2026-118", "--choice", "named"
    )
    assert made["externalReference"] == {"system": "viatrajectoire", "number": "2026-118"}
    assert made["choice"] == "PATIENT_CHOICE_NAMED"
    there = shell.run("reservation", "show", made["reference"], "--json", "all", *OWN).stdout
    assert "2026-118" not in there, "it goes to no node"


def test_one_is_told_when_a_place_is_freed_or_no_more(shell: Shell) -> None:
    reference = shell.json("request", "create", *NEED)["reference"]
    assert "Vous serez prévenu" in shell.said("request", "notify", reference)
    assert shell.json("request", "show", reference)["notifyWhenFree"] is True
    assert shell.json("request", "notify", reference, "--stop")["notifyWhenFree"] is False
    shell.run("request", "notify", "ZZ-ZZZ", exit_code=Exit.NOT_FOUND)


# ------------------------------------------------------------------------------------------------------------- units


def test_a_person_counts_and_nothing_has_changed_is_one_command(shell: Shell) -> None:
    """The EHPAD's whole day: set, confirm; each answer says source, R335 01 and when."""
    unit = shell.declare(places=20)
    said = shell.said("units", "set", unit, "--free", "2", *OWN)
    assert f"Enregistré : {unit}, 2 places libres." in said
    assert re.search(r"Source : saisie \(R335 01\), cadre, à l’instant, \d+ h \d\d, à jour", said)
    shown = shell.json("units", "show", unit, *OWN)
    assert shown["r335"] == "01"
    assert shown["sources"][0]["kind"] == "SOURCE_KIND_PERSON"
    assert shown["ageMinutes"] < 1
    would = shell.said("units", "set", unit, "--free", "5", "--dry-run", *OWN)
    assert f"Serait enregistré : {unit}, 5 places libres." in would
    would = shell.said("units", "confirm", "--all", "--dry-run", *OWN)
    assert would.startswith("Serait confirmé : ")
    assert unit in would
    after = shell.json("units", "show", unit, *OWN)
    assert after["counts"] == shown["counts"]
    assert float(after["age"].rstrip("s")) > float(shown["age"].rstrip("s")), "a person's word would make it young"
    for wrong in (["U999"], [unit, "U999"]):
        shell.run("units", "confirm", *wrong, "--dry-run", *OWN, exit_code=Exit.NOT_FOUND)
    assert "aucune unité donnée" in shell.run("units", "confirm", *OWN, exit_code=Exit.USAGE).stderr
    of_women = shell.run("units", "set", unit, "--female", "1", *OWN, exit_code=Exit.USAGE)
    assert "indifférent" in of_women.stderr
    confirmed = shell.said("units", "confirm", "--all", *OWN)
    assert unit in confirmed
    assert "Source : saisie (R335 01), cadre, à l’instant" in confirmed
    assert len([line for line in confirmed.splitlines() if line.startswith("Confirmé")]) == 1
    too_many = shell.run("units", "set", unit, "--free", "21", *OWN, exit_code=Exit.USAGE)
    assert "COUNT_OUT_OF_RANGE" in too_many.stderr
    fewer = shell.json("units", "set", unit, "--free", "1", "--open", "18", *OWN)
    occupied = [one for one in fewer["counts"] if one["status"].endswith("OCCUPIED") and one["horizon"].endswith("NOW")]
    assert [one["count"] for one in occupied] == [17]


def test_a_person_stands_in_for_a_sheet_that_was_never_told(shell: Shell) -> None:
    """The node takes the person's word, and so does the hub: the figures are as old as that word, and sure."""
    unit = shell.declare(places=20, sheet="carnet")
    said = shell.said("units", "set", unit, "--free", "2", *OWN)
    assert re.search(r"Source : saisie \(R335 01\), cadre, à l’instant, \d+ h \d\d, à jour\n +Source : fichier", said)

    def at_hub() -> dict[str, Any]:
        shown: dict[str, Any] = shell.json("units", "show", unit, "--context", "cellule")
        return shown

    asyncio.run(until(lambda: at_hub()["freshness"] == "FRESHNESS_FRESH", "the hub takes it too"))
    shown = at_hub()
    assert shown["sources"][0]["kind"] == "SOURCE_KIND_PERSON"
    assert shown["ageMinutes"] < 1


def test_a_system_is_corrected_for_a_while_and_both_figures_are_shown(shell: Shell) -> None:
    unit = shell.declare(beds=2)
    refused = shell.run("units", "set", unit, "--free", "1", *OWN, exit_code=Exit.CONFLICT)
    assert "UNIT_COUNTS_BEDS" in refused.stderr
    assert f"aval units correct {unit} --free 1" in refused.stderr
    bare = shell.run("units", "correct", unit, "--free", "0", *OWN, exit_code=Exit.USAGE)
    assert "--reason" in bare.stderr
    long = shell.run(
        "units", "correct", unit, "--free", "0", "--reason", "x", "--for", "5h", *OWN, exit_code=Exit.USAGE
    )
    assert "CORRECTION_TOO_LONG" in long.stderr
    dry = shell.run("units", "correct", unit, "--free", "0", "--reason", "travaux", "--dry-run", *OWN)
    assert "À blanc" in dry.stderr
    would = shell.said("units", "correct", unit, "--free", "0", "--reason", "travaux", "--dry-run", *OWN)
    assert f"Serait corrigé : {unit}, 0 place libre jusqu’à " in would
    assert not shell.json("units", "show", unit, *OWN)["disagreements"]
    said = shell.said("units", "correct", unit, "--free", "0", "--reason", "lit en travaux", *OWN)
    assert f"Corrigé : {unit}, 0 place libre jusqu’à " in said
    shown = shell.said("units", "show", unit, *OWN)
    corrected = (
        r"SIH dit 2, corrigé à la main à 0 à \d+ h \d\d par cadre \(lit en travaux\), jusqu’à (?:demain )?\d+ h \d\d"
    )
    assert re.search(corrected, shown)
    assert "lit en travaux" not in shell.said("units", "show", unit, "--context", "cellule"), "a house's own words"
    assert "Source : SIH (R335 03)" in shown
    english = shell.said("units", "show", unit, *OWN, english=True)
    assert re.search(r"says 2, corrected by hand to 0 at \d+:\d\d [ap]m by cadre", english)


def test_doctor_says_why_a_node_is_silent(shell: Shell) -> None:
    """One command for a node that is well, one that is no member, and one that has died."""
    well = shell.said("doctor", EHPAD)
    assert "EHPAD d’essai : relié" in well
    assert "Commandes en attente : 0." in well
    stranger = shell.run("doctor", "750712184", exit_code=Exit.PROBLEM_FOUND)
    assert "membre" in stranger.stdout
    assert shell.run("doctor", "54000304", exit_code=Exit.USAGE).stderr
    asyncio.run(shell.pair.kill(EHPAD))
    try:

        def noticed() -> bool:
            found = shell.run("doctor", EHPAD, exit_code=None)
            return "hors liaison" in found.stdout

        asyncio.run(until(noticed, "the hub has noticed"))
        dead = shell.run("doctor", EHPAD, exit_code=Exit.PROBLEM_FOUND).stdout
        assert f"rien n’écoute à {shell.pair.node(EHPAD).address}" in dead
        assert "aval doctor --config node.toml" in dead
    finally:
        asyncio.run(shell.pair.start([EHPAD]))


def test_units_are_shown_with_their_age_and_source_to_everyone(shell: Shell) -> None:
    unit = shell.declare(places=10)
    for context in (HOSPITAL, "cellule", "regulatrice", EHPAD):
        said = shell.said("units", "show", unit, "--context", context)
        assert "Source : saisie (R335 01)" in said, context
        assert "à l’instant" in said or "il y a" in said
