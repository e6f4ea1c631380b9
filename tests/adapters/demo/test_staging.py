"""What the demonstration plays with: every seed and size, and the territory without any one of its establishments."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aval.adapters.demo import GE_10
from aval.adapters.demo.building import HUB, PORTS, Tempo, build, free_ports, keep_only
from aval.adapters.demo.generator import movements
from aval.adapters.demo.processes import Territory
from aval.adapters.demo.staging import REQUESTER, UnknownHouse, chosen_houses, chosen_requesters, territory_text
from aval.adapters.territory import Severity, TerritoryFile, house_plan, load, read
from aval.kernel.disciplines import Discipline, discipline_of
from aval.kernel.statuses import Counting

FILE = load(GE_10)
EVERY = [one.finess for one in FILE.establishments]
NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)


def houses_with(file: TerritoryFile, discipline: Discipline, *, automatic: bool = False) -> list[str]:
    """Houses with a unit of that discipline, one that holds by itself if that is asked."""
    return [
        finess
        for finess, house in file.assumptions.houses.items()
        if any(
            discipline_of(unit.discipline) is discipline and (not automatic or unit.own.get("answering") == "automatic")
            for unit in house.units
        )
    ]


def can_be_played(file: TerritoryFile) -> list[str]:
    """What the story looks for and would not find; the rest it looks for when it is told."""
    missing = []
    requesters = chosen_requesters(file)
    if len(set(requesters)) < 2:
        missing.append("two regulators of two houses")
    elsewhere = [one for one in houses_with(file, Discipline.SMR_GERIATRIC) if one != requesters[0]]
    if len(elsewhere) < 3:
        missing.append("three houses to ask")
    immediate = houses_with(file, Discipline.SMR_GERIATRIC, automatic=True)
    if not [one for one in immediate if one != requesters[0] and file.assumptions.houses[one].source.is_automatic]:
        missing.append("a house that holds by itself, fed by a system")
    beds = [
        one
        for one in elsewhere
        if any(unit.counting is Counting.BEDS for unit in house_plan(file, one).units)
        and file.assumptions.houses[one].source.is_automatic
    ]
    if not beds:
        missing.append("a ward whose beds can be filled")
    return missing


@pytest.mark.parametrize("removed", EVERY)
def test_the_story_has_its_cast_without_any_one_establishment(removed: str) -> None:
    file = FILE.without(removed)
    assert len(file.establishments) == len(EVERY) - 1
    assert not can_be_played(file)
    assert removed not in chosen_requesters(file)
    assert (chosen_requesters(file)[0] == REQUESTER) == (removed != REQUESTER)


@pytest.mark.parametrize("removed", [EVERY[0], REQUESTER, "540003043", "540022837", EVERY[-1]])
def test_the_file_without_one_is_still_a_file(removed: str) -> None:
    """The text itself: what it says of its sums is then warned of, and nothing of it is an error."""
    reading = read(territory_text(GE_10, (removed,), None)[0])
    assert reading.file is not None
    assert {one.severity for one in reading.problems} == {Severity.WARNING}
    assert [one.finess for one in reading.file.establishments] == [one for one in EVERY if one != removed]
    assert removed not in reading.file.assumptions.houses


@pytest.mark.parametrize("count", [5, 6, 8, 12, 45])
def test_a_smaller_territory_keeps_whom_the_story_needs(count: int) -> None:
    for removed in ("", REQUESTER, "540003043"):
        whole = FILE.without(removed)
        kept = chosen_houses(whole, count)
        assert len(kept) == count
        file = whole.without(*(one for one in EVERY if one not in kept))
        assert not can_be_played(file), (count, removed)
        assert any(not house.source.is_automatic for house in file.assumptions.houses.values()), "somebody types"


def test_a_house_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(UnknownHouse, match="750712184"):
        territory_text(GE_10, ("750712184",), None)


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_seed_brings_another_day_of_the_same_houses(seed: int) -> None:
    plan = house_plan(FILE, REQUESTER)
    day = [movement.time for movement in movements(plan, seed, NOW, NOW)]
    other = [movement.time for movement in movements(plan, seed + 1, NOW, NOW)]
    assert day
    assert day != other
    assert day == [movement.time for movement in movements(plan, seed, NOW, NOW)]


def test_the_stage_has_its_own_certificate_port_and_database_for_each_house(tmp_path: Path) -> None:
    """The folder that `up` makes: nothing of one house is another's."""
    kept = EVERY[:5]
    text = keep_only(GE_10.read_text(encoding="utf-8"), kept)
    record = build(tmp_path / "demo", text, 7, NOW, Tempo(), kept[:2])
    territory = Territory.open(tmp_path / "demo")
    assert territory.houses == [one for one in EVERY if one in kept]
    addresses = [server.address for key, server in record.servers.items() if key in (*kept, HUB)]
    assert len(set(addresses)) == len(kept) + 1
    certificates = {(tmp_path / "demo" / "nodes" / one / "identity" / "cert.pem").read_text() for one in kept}
    assert len(certificates) == len(kept)


def test_ports_are_not_those_of_outgoing_connections() -> None:
    """A territory's own connections would take them, between the choice of a port and the start of its server."""
    ports = free_ports(60)
    assert len(set(ports)) == 60
    assert all(port in PORTS for port in ports)
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(given.read_text().split()[0]) if given.exists() else 49_152
    assert max(ports) < lowest
