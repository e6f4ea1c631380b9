"""Scenarios 15 to 17: the command line as a person and a script use it, against the running town."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.cast import Cast
from aval.adapters.demo.processes import Territory
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import AUTOMATIC, PARTNER, PERSON, SMR, Play, Town
from tests.waiting import PATIENCE_SECONDS, until

NEED = ("--discipline", "smr-geriatrie", "--sex", "F", "--age", "84", "--date", "demain")


class Shell:
    """`aval` in a pipe, with the contexts of the town."""

    def __init__(self, town: Territory) -> None:
        self._contexts = town.folder / "contexts.toml"

    def run(self, *words: str, exit_code: Exit = Exit.DONE) -> subprocess.CompletedProcess[str]:
        """Runs it, and holds it to an exit code."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AVAL_CONTEXTS": str(self._contexts)}
        done = subprocess.run(
            [sys.executable, "-m", "aval.adapters.cli", *words],
            env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2, check=False,
        )  # fmt: skip
        assert done.returncode == exit_code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, exit_code: Exit = Exit.DONE) -> Any:
        """The same, with what it wrote."""
        return json.loads(self.run(*words, "--json", "all", exit_code=exit_code).stdout)


@pytest.fixture
def shell(town: Territory) -> Shell:
    """A shell of somebody in the town."""
    return Shell(town)


def declared(town: Territory, finess: str, *, by_person: bool = False) -> str:
    """A unit with one bed that the hub knows."""

    async def work() -> str:
        people = Play(town)
        unit = await people.declare(finess, beds=1, answering=PERSON if by_person else AUTOMATIC)
        await until(lambda: people.known_at_hub(unit), "the hub has heard of the unit")
        await Cast.close(people)
        return unit

    return asyncio.run(work())


def short(unit: str) -> str:
    """`FINESS/CODE`."""
    return unit.removeprefix("establishments/").replace("/units/", "/")


def test_15_a_bed_is_found_asked_held_and_confirmed_from_the_command_line(town: Territory, shell: Shell) -> None:
    """The main job, typed: find, create, confirm, show; and the same figures for a script."""
    unit = short(declared(town, SMR))
    found = shell.json("find", *NEED)
    assert unit in {short(one["unit"]["name"]) for one in found["ranked"]}
    table = shell.run("find", *NEED).stdout
    assert any(line.split("\t")[1] == unit for line in table.splitlines())
    made = shell.json("request", "create", *NEED, "--ask", f"{unit}:hold")
    reference = made["reference"]
    assert made["asks"][0]["known"]["state"] == "STATE_HELD"
    assert shell.json("request", "confirm", reference, "--yes")["state"] == "STATE_CONFIRMED"
    again = shell.run("request", "confirm", reference, "--yes", exit_code=Exit.CONFLICT)
    assert "ALREADY_CONFIRMED" in again.stderr
    assert reference in {one["reference"] for one in shell.json("request", "list")}
    own = shell.json("reservation", "show", reference, "--context", SMR)
    assert own["state"] == "STATE_CONFIRMED"
    shell.run("request", "show", "ZZ-ZZZ", exit_code=Exit.NOT_FOUND)
    cancelled = shell.json("request", "cancel", reference, "--reason", "patient-died", "--yes")
    assert cancelled["state"] == "STATE_CANCELLED"


def test_16_a_house_answers_from_the_command_line(town: Territory, shell: Shell) -> None:
    """A cadre reads what was asked, puts it on the waiting list, then says yes; the regulator's watch ends."""
    unit = short(declared(town, PARTNER, by_person=True))
    made = shell.json("request", "create", *NEED, "--ask", unit)
    reference = made["reference"]
    late = shell.run("request", "watch", reference, "--until", "held", "--timeout", "1s", exit_code=Exit.TIMED_OUT)
    assert late.stdout
    listed = shell.json("reservation", "list", "--context", PARTNER)
    assert reference in {one["reference"] for one in listed}
    shell.run("reservation", "accept", reference, exit_code=Exit.NOT_FOUND)
    waiting = shell.json("reservation", "waitlist", reference, "--reason", "no-bed-yet", "--context", PARTNER)
    assert waiting["state"] == "STATE_WAITLISTED"
    held = shell.json("reservation", "accept", reference, "--context", PARTNER)
    assert held["state"] == "STATE_HELD"
    heard = shell.run("request", "watch", reference, "--until", "accepted", "--json", "state,asks").stdout
    assert json.loads(heard.splitlines()[-1])["asks"][0]["known"]["state"] == "STATE_HELD"
    shell.run("request", "release", reference, PARTNER, "--reason", "offer-not-suitable")
    shell.run("report", exit_code=Exit.NOT_ALLOWED)
    document = shell.run("report", "--context", "direction", "--format", "have").stdout
    assert f'OrganisationID="{PARTNER}"' in document
    sheet = shell.run("report", "--context", "direction", "--format", "csv").stdout
    assert sheet.startswith("\ufeffdate;finess;")
    assert all(len(line.split(";")) == len(sheet.splitlines()[0].split(";")) for line in sheet.splitlines())


@outage(
    17, Fault.KILL, "nothing under way", Party.NODE,
    "on the command line: what is left, the missing house by name, and exit code 8",
)  # fmt: skip
def test_17_a_dead_node_makes_the_answer_partial(town: Town, shell: Shell) -> None:
    """Killed as by a power cut: what is left is answered, what is missing is named, and scripts see exit code 8."""
    declared(town, SMR)
    shell.run("hub", "nodes")
    killed = shell.run("demo", "kill-site", PARTNER, "--dir", str(town.folder))
    assert "SIMULATION" in killed.stdout
    try:
        asyncio.run(until(lambda: _is_away(town), "the hub has noticed"))
        partial = shell.run("find", *NEED, exit_code=Exit.PARTIAL)
        assert PARTNER in partial.stderr
        assert f"establishments/{PARTNER}" in shell.json("find", *NEED, exit_code=Exit.PARTIAL)["unreachable"]
        shell.run("units", "list", exit_code=Exit.PARTIAL)
        shell.run("hub", "nodes", exit_code=Exit.PARTIAL)
        shell.run("node", "status", "--context", PARTNER, "--timeout", "2s", exit_code=Exit.UNREACHABLE)
    finally:
        asyncio.run(town.start([PARTNER]))
    asyncio.run(_inquest(town))


async def _inquest(town: Town) -> None:
    people = Play(town)
    try:
        await inquest(people, town, [])
    finally:
        await Cast.close(people)


async def _is_away(town: Territory) -> bool:
    people = Cast(town)
    try:
        return PARTNER in await people.unreachable()
    finally:
        await people.close()
