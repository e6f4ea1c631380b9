"""Backup, restore, and what people do after one, by the command line against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from aval.adapters.cli.exits import Exit
from tests.adapters.cli.pair import EHPAD, Shell, running_pair
from tests.adapters.cli.test_acts import NEED, OWN
from tests.waiting import until


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """`aval` beside two running houses."""
    with running_pair(tmp_path_factory.mktemp("restored") / "pair") as pair:
        yield Shell(pair)


def test_a_house_restores_its_node_and_verifies_its_units(shell: Shell) -> None:
    unit = shell.declare(places=4)
    settings = shell.pair.node(EHPAD).config
    copy = str(shell.pair.folder / "nuit.db")
    dry = ("node", "backup", "--config", settings, "--to", copy, "--dry-run")
    assert "rien n’a été écrit" in shell.run(*dry).stderr
    assert shell.said("node", "backup", "--config", settings, "--to", copy).startswith("Sauvegardé et vérifié : ")
    refused = shell.run("node", "backup", "--config", settings, "--to", copy, exit_code=Exit.CONFLICT)
    assert "exists already" in refused.stderr
    made = shell.json("request", "create", *NEED, "--ask", unit)
    assert made["asks"][0]["known"]["state"] == "STATE_ASKED"
    asyncio.run(shell.pair.stop(EHPAD))
    restore = ("node", "restore", "--config", settings, "--from", copy)
    assert "rien n’a été écrit" in shell.run(*restore, "--dry-run").stderr
    assert "--discard-newer" in shell.run(*restore, "--yes", exit_code=Exit.CONFLICT).stderr
    put = shell.said(*restore, "--discard-newer", "--yes")
    assert put.startswith("Remis en place : ")
    shell.run("units", "unverified", *OWN, exit_code=Exit.UNREACHABLE)
    asyncio.run(shell.pair.start([EHPAD]))

    async def reinstated() -> bool:
        return made["reference"] in shell.said("units", "unverified", *OWN)

    asyncio.run(until(reinstated, "the hub has said what it knows"))
    seen = shell.said("units", "unverified", *OWN)
    assert f"À vérifier : {unit}, depuis " in seen
    assert f"{made['reference']} : demandé selon le hub, inconnu selon le nœud ; rétabli" in seen
    (listed,) = [one for one in shell.json("units", "unverified", *OWN) if one["unit"].endswith(unit[-3:])]
    assert listed["reservations"][0]["taken"] is True
    assert shell.said("units", "verify", unit, *OWN) == f"Vérifiée : {unit}\n"
    assert f"À vérifier : {unit}" not in shell.said("units", "unverified", *OWN)


def test_the_cell_is_shown_reservations_without_a_request(shell: Shell) -> None:
    assert shell.json("hub", "orphans", "--context", "cellule") == []
    shell.run("hub", "orphans", "--context", "regulatrice", exit_code=Exit.NOT_ALLOWED)
