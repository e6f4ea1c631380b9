"""Which houses speak by another way than the generator's, and what those ways say."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aval.adapters.csv import load_mapping, read_sheet
from aval.adapters.demo import GE_10
from aval.adapters.demo.coming import Counts
from aval.adapters.demo.generator import Kind, movements
from aval.adapters.demo.hl7_feed import EVENTS, hl7_mapping, message_of
from aval.adapters.demo.sheet_feed import NAME, SheetFeed
from aval.adapters.demo.ways import Way, chosen_ways
from aval.adapters.hl7v2.checking import Outcome, check, practice
from aval.adapters.hl7v2.mapping import read_mapping
from aval.adapters.hl7v2.stays import Phase
from aval.adapters.territory import house_plan, load
from aval.kernel.disciplines import DISCIPLINES
from aval.kernel.statuses import Counting
from tests.adapters.demo.hand_clock import HandClock

FILE = load(GE_10)
NOON = datetime(2026, 11, 24, 11, tzinfo=UTC)


def test_one_house_for_each_way_and_none_that_the_story_is_about() -> None:
    ways = chosen_ways(FILE, ())
    assert set(ways.values()) == set(Way)
    for finess, way in ways.items():
        plan = house_plan(FILE, finess)
        assert plan.source.is_automatic is (way is Way.HL7)
        if way is Way.SHEET:
            assert all(u.counting is Counting.PLACES and DISCIPLINES[u.discipline].is_bed for u in plan.units)
        assert finess not in chosen_ways(FILE, (finess,))


def test_a_territory_without_fitting_houses_has_no_ways() -> None:
    assert chosen_ways(FILE, tuple(one.finess for one in FILE.establishments)) == {}


async def test_a_sheet_says_what_a_person_would_count(tmp_path: Path) -> None:
    finess = next(finess for finess, way in chosen_ways(FILE, ()).items() if way is Way.SHEET)
    plan = house_plan(FILE, finess)
    (tmp_path / "traites").mkdir()
    (tmp_path / "traites" / f"1-{NAME}").touch()  # as who looks at the folder would leave it
    feed = SheetFeed(tmp_path, plan, 7, NOON, HandClock(NOON))
    await feed.run(NOON)
    assert feed.caught_up.is_set()
    rows, problems = read_sheet((tmp_path / NAME).read_bytes(), load_mapping(None), NOON)
    assert problems == []
    counts = Counts(plan)
    for movement in movements(plan, 7, NOON, NOON):
        counts.apply(movement)
    assert {row.unit: (row.open, row.occupied) for row in rows} == {
        unit.code: (unit.capacity - counts.closed[unit.code], counts.occupied(unit.code)) for unit in plan.units
    }
    assert {entry.name for entry in os.scandir(tmp_path)} == {"traites", NAME}


def test_each_movement_is_a_message_that_the_interface_understands(tmp_path: Path) -> None:
    finess = next(finess for finess, way in chosen_ways(FILE, ()).items() if way is Way.HL7)
    plan = house_plan(FILE, finess)
    (tmp_path / "map.toml").write_text(hl7_mapping(plan), encoding="utf-8")
    files, told, counts = [], set(), Counts(plan)
    for number, movement in enumerate(movements(plan, 7, NOON, NOON + timedelta(days=3))):
        counts.apply(movement)
        if movement.kind in EVENTS:
            told.add(movement.kind)
            files.append(tmp_path / f"{number:05}.hl7")
            files[-1].write_bytes(message_of(plan, 7, movement))
    assert told >= {Kind.ADMISSION, Kind.DISCHARGE, Kind.DEPARTURE_ANNOUNCED, Kind.ARRIVAL_EXPECTED}
    findings = check(files, read_mapping(tmp_path / "map.toml"), practice())
    assert {Outcome.REFUSED, Outcome.UNMAPPED} & {one.outcome for one in findings.checked} == set()
    assert len(findings.checked) == len(files)
    present = sum(one.phase is Phase.PRESENT for one in findings.checked if one.outcome is Outcome.TOLD)
    assert present >= sum(counts.occupied(unit.code) for unit in plan.units) > 0
